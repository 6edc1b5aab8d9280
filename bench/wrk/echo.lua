-- POST of a JSON message to the path on wrk's command line.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = string.format('{"message":"%s"}', string.rep("m", 100))
