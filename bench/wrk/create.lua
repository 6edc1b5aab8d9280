-- POST of a new article of about 1 KB with five tags, put together as in article.lua.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
wrk.headers["Authorization"] = "Token " .. os.getenv("BENCH_TOKEN")
wrk.headers["Content-Type"] = "application/json"
local text = string.rep("A sentence of filler that makes the article about a kilobyte long. ", 15)
local title = string.format('{"article":{"title":"Bench %s article ', os.getenv("BENCH_RUN"))
local rest, n = {}, 0
for i = 0, 99 do
  local tags = {}
  for k = 0, 4 do
    tags[k + 1] = string.format('"tag%03d"', (i + k * 19) % 100 + 1)
  end
  rest[i] = string.format('","description":"A short description","body":"%s","tagList":[%s]}}', text, table.concat(tags, ","))
end
local before, after
function init()
  before, after = wrk.format("POST", "/api/articles", nil, "#"):match("^(.*Content%-Length: )1(\r\n.*)#$")
end
function request()
  n = n + 1
  local number, tail = tostring(n), rest[n % 100]
  return before .. (#title + #number + #tail) .. after .. title .. number .. tail
end
