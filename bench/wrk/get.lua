-- GET of the path on wrk's command line.
dofile(os.getenv("BENCH_WRK") .. "/report.lua")
