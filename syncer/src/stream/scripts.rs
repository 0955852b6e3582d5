//! The relay's steps as Redis carries them out: each looks at the lease and acts, with nothing between the two.
//!
//! `KEYS[1]` is the lease; but for [`LEAD`], `ARGV[1]` is what it must hold.

use redis::Cmd;

/// What a script answers when the lease is not the caller's.
pub(super) const REFUSED: i64 = -1;

/// `KEYS[2]`: the count of terms. `ARGV`: who asks, milliseconds. Answers whether it is theirs, and the term or the holder.
pub(super) const LEAD: &str = r"
local held = redis.call('GET', KEYS[1])
local holder = held and string.match(held, '^%d+ (.*)$')
if held and holder ~= ARGV[1] then return {0, holder or held} end
local term = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], term .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {1, tostring(term)}
";

/// Gives the lease back.
pub(super) const RESIGN: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
return redis.call('DEL', KEYS[1])
";

/// `KEYS[2]`: the stream. `ARGV`: entries at most; then of each record its id, the number of words that follow, names and values.
pub(super) const ADD: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {-1, 0} end
local published, refused, at = 0, 0, 3
while at <= #ARGV do
  local words = tonumber(ARGV[at + 1])
  local reply = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], ARGV[at], unpack(ARGV, at + 2, at + 1 + words))
  if type(reply) == 'table' and reply.err then
    if not string.find(reply.err, 'equal or smaller', 1, true) then return reply end
    refused = refused + 1
  else
    published = published + 1
  end
  at = at + 2 + words
end
return {published, refused}
";

/// `KEYS[2]`: the sign of life. `ARGV`: milliseconds of the lease, the head or nothing, seconds of the sign.
pub(super) const BEAT: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4]) end
return 1
";

/// `KEYS[2]`: the stream. `ARGV`: the first id to keep.
pub(super) const TRIM: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
return redis.call('XTRIM', KEYS[2], 'MINID', '~', ARGV[2])
";

/// `KEYS[2]`: the stream, `KEYS[3]`: when edges lived last. `ARGV`: the edge.
pub(super) const DESTROY: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('ZREM', KEYS[3], ARGV[2])
return redis.call('XGROUP', 'DESTROY', KEYS[2], 'edge:' .. ARGV[2])
";

/// `KEYS[2]`: when edges lived last. `ARGV`: the edge.
pub(super) const FORGET: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
return redis.call('ZREM', KEYS[2], ARGV[2])
";

/// A script with its keys; arguments come after.
pub(super) fn call(script: &str, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}
