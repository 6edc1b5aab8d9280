-- POST of a new article of about 1 KB with five tags.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
wrk.headers["Authorization"] = "Token " .. os.getenv("BENCH_TOKEN")
wrk.headers["Content-Type"] = "application/json"
local text = string.rep("A sentence of filler that makes the article about a kilobyte long. ", 15)
local run, n = os.getenv("BENCH_RUN"), 0
function request()
  n = n + 1
  local tags = {}
  for i = 0, 4 do
    tags[i + 1] = string.format('"tag%03d"', (n + i * 19) % 100 + 1)
  end
  return wrk.format("POST", "/api/articles", nil, string.format(
    '{"article":{"title":"Bench %s article %d","description":"A short description","body":"%s","tagList":[%s]}}',
    run, n, text, table.concat(tags, ",")))
end
