-- wrk: each request is that of a random user; the tokens stand in the file named by BENCH_TOKENS.

local requests = {}

function init(args)
  for token in io.lines(os.getenv("BENCH_TOKENS")) do
    requests[#requests + 1] = wrk.format("GET", os.getenv("BENCH_PATH"), {
      ["Host"] = wrk.headers["Host"], ["Authorization"] = "Bearer " .. token })
  end
  math.randomseed(tonumber(os.getenv("BENCH_SEED")))
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    'BENCH {"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
