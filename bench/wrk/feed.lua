-- GET of the path on wrk's command line, signed in.
dofile(os.getenv("BENCH_WRK") .. "/get.lua")
wrk.headers["Authorization"] = "Token " .. os.getenv("BENCH_TOKEN")
