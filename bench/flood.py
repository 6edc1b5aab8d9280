#!/usr/bin/python3
"""Measures what a flood of sign-ins does to readers, and how quickly what is too much is refused.

Readers ask for articles at a steady rate, in turns alone and beside BENCH_FLOOD sign-ins a second, of two kinds:

  one address     the limits are those for production: nearly all is refused by the address's limit
  many addresses  no limit holds, as in a flood from everywhere: what the hashing threads can't take is refused

usage: bench/flood.py            (make bench-flood builds first)
Settings: BENCH_SECONDS (8) a turn, BENCH_TURNS (2) alone and as many beside the flood, BENCH_FLOOD (1000) sign-ins a
second, BENCH_READS (400) reads a second, BENCH_ARTICLES (100000) seeded.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from bench import ARTICLES, REPO, SECONDS, TURNS, Others, Suite, fail

STEADY = REPO / "build/bench/steady"
FLOOD = int(os.environ.get("BENCH_FLOOD", "1000"))
READS = int(os.environ.get("BENCH_READS", "400"))
NOT_SENT = -1  # instead of a status: steady.c
CONNECTIONS = 1000  # at most; as many are opened as are waiting for an answer at once
HEAD_START_S = 1  # of the flood, before the readers begin, and as long behind them

# What is promised.
READ_TIMES = 2.0
EXCESS_MS = 10.0

PRODUCTION = {
    "STOA_AUTH_LOGIN_ADDRESS_RATE": "60/1m",
    "STOA_AUTH_LOGIN_PAIR_RATE": "10/10m",
    "STOA_AUTH_LOGIN_ACCOUNT_RATE": "100/1h",
}
NO_LIMITS = dict.fromkeys(PRODUCTION, "off")


def steady(suite, rate, seconds, request, body=None):
    """Requests at a steady rate; [(status, milliseconds since it was due, and since it was sent)]."""
    lines = [f"{request} HTTP/1.1", f"Host: 127.0.0.1:{suite.http}"]
    text = ""
    if body is not None:
        text = json.dumps(body)
        lines += ["Content-Type: application/json", f"Content-Length: {len(text)}"]
    ran = subprocess.run(
        [str(STEADY), str(suite.http), str(rate), str(seconds), str(CONNECTIONS)],
        input="\r\n".join([*lines, "", text]),
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        fail(ran.stderr.strip())
    answers = [line.split() for line in ran.stdout.splitlines()]
    return [(int(status), int(due) / 1e3, int(sent) / 1e3) for status, due, sent in answers]


def percentile(times, share):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * share))]


def read(suite):
    answers = steady(suite, READS, SECONDS, "GET /api/articles/article-title-1")
    bad = [status for status, _, _ in answers if status != 200]
    if bad:
        fail(f"{len(bad)} of {len(answers)} reads were not answered with 200: {sorted(set(bad))}")
    return [ms for _, ms, _ in answers]


def flood(suite, into):
    body = {"user": {"email": "nobody@example.com", "password": "not the password"}}
    into.extend(steady(suite, FLOOD, SECONDS + 2 * HEAD_START_S, "POST /api/users/login", body))


def read_beside_flood(suite, answers):
    """The readers' times; those of the sign-ins are added to `answers`."""
    flooding = threading.Thread(target=flood, args=(suite, answers))
    flooding.start()
    time.sleep(HEAD_START_S)
    times = read(suite)
    flooding.join()
    return times


def row(name, times, extra=""):
    print(
        f"{name:44} {len(times):7} {percentile(times, 0.5):8.2f} {percentile(times, 0.99):8.2f}"
        f" {max(times):8.2f}  {extra}",
        flush=True,
    )


def measure(name, settings, scratch):
    """Prints the rows of one kind of flood. Returns whether what is promised held."""
    suite = Suite(scratch)
    suite.environment.update(settings)
    quiet, busy, answers = [], [], []
    with suite:
        suite.seed(SEED_ARTICLES=ARTICLES)
        read(suite)  # warms up
        others = Others(suite.roots())
        for _ in range(TURNS):
            quiet += read(suite)
            busy += read_beside_flood(suite, answers)
        foreign = others.cores()
    tried = [ms for status, ms, _ in answers if status in (200, 401)]
    excess = [ms for status, ms, _ in answers if status in (429, 503)]
    wrong = sorted({status for status, _, _ in answers if status not in (200, 401, 429, 503)})
    if wrong or not tried or not excess:
        fail(f"a flood of {len(answers)} sign-ins: {len(tried)} tried, {len(excess)} refused, answered otherwise {wrong}")
    times = percentile(busy, 0.99) / percentile(quiet, 0.99)
    row(f"GET article, quiet ({READS}/s)", quiet)
    row(f"GET article, sign-ins from {name}", busy, f"p99 {times:.2f} times the quiet one")
    row(f"  sign-ins that were tried, of {FLOOD}/s", tried)
    row("  sign-ins that were refused (429, 503)", excess)
    print(f"  other programs used {foreign:.2f} cores meanwhile", flush=True)
    return times <= READ_TIMES and percentile(excess, 0.99) < EXCESS_MS


def main():
    if not STEADY.exists():
        fail(f"{STEADY} is missing: run `make bench-flood`, which builds it")
    held = []
    print(f"{'':44} {'answers':>7} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}", flush=True)
    for name, settings in (("one address", PRODUCTION), ("many addresses", NO_LIMITS)):
        # 0711: the suite's own user must reach its folder, and nobody else may list it.
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="stoa-bench-"))
        scratch.chmod(0o711)
        try:
            held.append(measure(name, settings, scratch))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"\nReads within {READ_TIMES:g} times their quiet p99, and the excess refused in under {EXCESS_MS:g} ms (p99):"
          f" {'yes' if all(held) else 'no'}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
