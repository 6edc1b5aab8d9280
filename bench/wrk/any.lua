-- GET of the path on wrk's command line, with a number from 1 to 1000 for ANY: few ask for the same.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
math.randomseed(42)
local path = wrk.path
function request()
  return wrk.format("GET", (path:gsub("ANY", math.random(1, 1000))))
end
