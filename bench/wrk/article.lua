-- GET of one of the seeded articles, chosen at random. wrk shares the cores with the suite, so a request is put together
-- from what is the same in all of them.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
local articles = tonumber(os.getenv("BENCH_ARTICLES"))
math.randomseed(42)
local before, after
function init()
  before, after = wrk.format("GET", "/api/articles/article-title-#"):match("^(.-)#(.*)$")
end
function request()
  return before .. math.random(1, articles) .. after
end
