//! A repository's stream in Redis as the relay writes it: `meta:<repo>`, the sign of life `relay:<repo>`, the lease `lead:<repo>`
//! with the count of its terms `fence:<repo>`, and `edges:<repo>`, where each edge says when it lived last.
//!
//! Every step that writes is a script that looks at the lease first: Redis runs a script as one step, so what a deposed leader
//! still has in its hands is refused.

mod groups;
mod scripts;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::streams::{StreamId, StreamInfoStreamReply, StreamRangeReply};
use redis::{Cmd, FromRedisValue, RedisError, RedisResult};
use shared::change::{Change, ChangeId};
use shared::redis::{Connection, Redis};
use shared::sync::{Added, Fence, Lead, StreamStore, StreamWriter, WriteError};

/// How long the sign of life lasts, in seconds.
const HEARTBEAT_EXPIRY_SECONDS: u64 = 5;

/// How long Redis may take to accept a connection or answer. Nothing here blocks in Redis.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a repository's stream is.
pub(crate) struct Store {
    redis: Redis,
    repository: String,
    /// What the lease calls this process.
    holder: String,
    /// About how many entries the stream may have at any time.
    entries_max: u64,
}

impl Store {
    /// The stream of `repository`.
    pub(crate) fn new(redis: Redis, repository: &str, entries_max: u64) -> Self {
        Self { redis, repository: repository.to_owned(), holder: holder(), entries_max }
    }
}

/// A name that no other process has, and an operator recognises.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}/{:08x}", host.trim(), std::process::id(), rand::random::<u32>())
}

impl StreamStore for Store {
    type Writer = Stream;

    async fn connect(&self) -> Result<Stream, WriteError> {
        let connection = self.redis.connect(RESPONSE_TIMEOUT).await;
        let connection = connection.map_err(|error| WriteError::Unavailable(error.to_string()))?;
        let key = |kind: &str| self.redis.key(kind, &self.repository);
        Ok(Stream {
            connection,
            repository: self.repository.clone(),
            holder: self.holder.clone(),
            entries_max: self.entries_max,
            key: key("meta"),
            sign: key("relay"),
            lease: key("lead"),
            terms: key("fence"),
            edges: key("edges"),
        })
    }
}

/// A connection to one repository's stream.
#[derive(Clone)]
pub(crate) struct Stream {
    connection: Connection,
    repository: String,
    holder: String,
    entries_max: u64,
    key: String,
    sign: String,
    lease: String,
    terms: String,
    edges: String,
}

impl StreamWriter for Stream {
    fn name(&self) -> &str {
        &self.key
    }

    async fn lead(&mut self, lease: Duration) -> Result<Lead, WriteError> {
        let mut command = scripts::call(scripts::LEAD, &[&self.lease, &self.terms]);
        command.arg(&self.holder).arg(millis(lease));
        let (ours, text): (bool, String) = self.run(&command).await?;
        if ours {
            let term = text.parse().map_err(|_| WriteError::Unavailable(format!("redis: {text:?} is no term")))?;
            return Ok(Lead::Ours(Fence { term, holder: self.holder.clone() }));
        }
        Ok(Lead::Taken { by: text })
    }

    async fn resign(&mut self, fence: &Fence) -> Result<(), WriteError> {
        let mut command = scripts::call(scripts::RESIGN, &[&self.lease]);
        self.fenced(command.arg(value(fence))).await.map(drop)
    }

    async fn last_id(&mut self) -> Result<ChangeId, WriteError> {
        let reply: RedisResult<StreamInfoStreamReply> =
            redis::cmd("XINFO").arg("STREAM").arg(&self.key).query_async(&mut self.connection).await;
        match reply {
            Ok(info) => info
                .last_generated_id
                .parse()
                .map_err(|_| WriteError::NotAStream(format!("its last id is {:?}", info.last_generated_id))),
            Err(error) if is(&error, "no such key") => Ok(ChangeId::ZERO),
            Err(error) => Err(judge(&error)),
        }
    }

    async fn add(&mut self, fence: &Fence, changes: &[Change]) -> Result<Added, WriteError> {
        let mut command = scripts::call(scripts::ADD, &[&self.lease, &self.key]);
        command.arg(value(fence)).arg(self.entries_max);
        for change in changes {
            let fields = change.to_fields();
            command.arg(change.id.to_string()).arg(fields.len() * 2);
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
        }
        match self.run::<(i64, u64)>(&command).await? {
            (scripts::REFUSED, _) => Err(WriteError::NotLeading),
            (published, refused) => Ok(Added { published: published.unsigned_abs(), refused }),
        }
    }

    async fn beat(&mut self, fence: &Fence, head: Option<ChangeId>, lease: Duration) -> Result<(), WriteError> {
        let mut command = scripts::call(scripts::BEAT, &[&self.lease, &self.sign]);
        command.arg(value(fence)).arg(millis(lease));
        command.arg(head.map(|head| head.to_string()).unwrap_or_default()).arg(HEARTBEAT_EXPIRY_SECONDS);
        self.fenced(&command).await.map(drop)
    }

    async fn slowest(&mut self) -> Result<Option<ChangeId>, WriteError> {
        groups::slowest(self).await
    }

    async fn first_younger(&mut self, age: Duration) -> Result<Option<ChangeId>, WriteError> {
        let since = now_seconds().saturating_sub(age.as_secs());
        let Some((first, recorded)) = self.entry("XRANGE", "-", "+").await? else { return Ok(None) };
        if recorded >= since {
            return Ok(Some(first));
        }
        let Some((last, recorded)) = self.entry("XREVRANGE", "+", "-").await? else { return Ok(None) };
        if recorded < since {
            return Ok(None);
        }
        // The first one is too old and the last one is not: between them, ids and times grow together.
        let (mut old, mut young) = if first.epoch == last.epoch { (first.seq, last.seq) } else { (0, last.seq) };
        while young - old > 1 {
            let middle = ChangeId { epoch: last.epoch, seq: old + (young - old) / 2 };
            match self.entry("XRANGE", &middle.to_string(), "+").await? {
                Some((found, recorded)) if recorded < since => old = found.seq.max(middle.seq).min(young - 1),
                _ => young = middle.seq,
            }
        }
        Ok(Some(ChangeId { epoch: last.epoch, seq: young }))
    }

    async fn trim(&mut self, fence: &Fence, first_kept: ChangeId) -> Result<u64, WriteError> {
        let mut command = scripts::call(scripts::TRIM, &[&self.lease, &self.key]);
        self.fenced(command.arg(value(fence)).arg(first_kept.to_string())).await
    }

    async fn retire(&mut self, fence: &Fence, age: Duration) -> Result<Vec<String>, WriteError> {
        groups::retire(self, fence, age).await
    }
}

impl Stream {
    async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, WriteError> {
        command.query_async(&mut self.connection).await.map_err(|error| judge(&error))
    }

    /// Runs a script that answers a count, or that the lease is not ours.
    async fn fenced(&mut self, command: &Cmd) -> Result<u64, WriteError> {
        match self.run::<i64>(command).await? {
            scripts::REFUSED => Err(WriteError::NotLeading),
            count => Ok(count.unsigned_abs()),
        }
    }

    /// The first entry of a range, with the time of its record in Unix seconds; a record without one is as old as can be.
    async fn entry(&mut self, command: &str, from: &str, to: &str) -> Result<Option<(ChangeId, u64)>, WriteError> {
        let mut command = redis::cmd(command);
        command.arg(&self.key).arg(from).arg(to).arg("COUNT").arg(1);
        let reply: StreamRangeReply = self.run(&command).await?;
        let id_of = |entry: &StreamId| {
            entry.id.parse().map_err(|_| WriteError::NotAStream(format!("it has an entry {:?}", entry.id)))
        };
        let recorded = |entry: &StreamId| entry.get::<u64>("timestamp").unwrap_or_default();
        reply.ids.first().map(|entry| Ok((id_of(entry)?, recorded(entry)))).transpose()
    }
}

/// What the lease holds for a term.
fn value(fence: &Fence) -> String {
    format!("{} {}", fence.term, fence.holder)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn judge(error: &RedisError) -> WriteError {
    if error.code() == Some("WRONGTYPE") { WriteError::NotAStream(error.to_string()) } else { unavailable(error) }
}

fn unavailable(error: &RedisError) -> WriteError {
    WriteError::Unavailable(format!("redis: {error}"))
}

fn is(error: &RedisError, words: &str) -> bool {
    error.detail().is_some_and(|detail| detail.contains(words)) || error.to_string().contains(words)
}

#[cfg(test)]
mod tests;
