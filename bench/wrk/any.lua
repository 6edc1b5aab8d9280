-- GET of the path on wrk's command line, with a number from 1 to 1000 for ANY: few ask for the same.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
math.randomseed(42)
local requests = {}
function init()
  for i = 1, 1000 do
    requests[i] = wrk.format("GET", (wrk.path:gsub("ANY", i)))
  end
end
function request()
  return requests[math.random(1, 1000)]
end
