-- GET of one of the seeded articles, chosen at random.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
local articles = tonumber(os.getenv("BENCH_ARTICLES"))
math.randomseed(42)
function request()
  return wrk.format("GET", "/api/articles/article-title-" .. math.random(1, articles))
end
