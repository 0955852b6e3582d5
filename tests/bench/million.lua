-- wrk: asks for versions of tests/examples/million.rs, each as likely as any other. KEYS: how many there are.
local keys = tonumber(os.getenv("KEYS"))
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init()
  math.randomseed(seed)
end

function request()
  local i = math.random(0, keys - 1)
  return wrk.format("GET", "/bench.example/n" .. i % 997 .. "/@v/v1." .. i .. ".0.info")
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT %.0f %d\n", summary.requests / summary.duration * 1e6, failed))
end
