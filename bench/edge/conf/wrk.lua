-- TARGETS names a file of "host<TAB>path" lines, one of which is asked for at random each time, in an
-- order of SEED; without it wrk sends its one request. Ends with a line for programs (see edge_bench/load.py).
local targets = os.getenv("TARGETS")
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

if targets then
  local requests = {}

  function init()
    math.randomseed(tonumber(os.getenv("SEED")) * 100 + number)
    for line in io.lines(targets) do
      local host, path = line:match("^(%S+)\t(%S+)$")
      local headers = {}
      for name, value in pairs(wrk.headers) do headers[name] = value end
      headers["Host"] = host
      requests[#requests + 1] = wrk.format("GET", path, headers)
    end
  end

  function request()
    return requests[math.random(#requests)]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %.0f %.0f\n",
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99)))
end
