#!/usr/bin/python3
"""Measures what a flood of sign-ins does to readers, and how quickly what is too much is refused.

Readers ask for articles at a steady rate, first alone and then beside BENCH_FLOOD sign-ins a second, twice:

  one address     the limits are those for production: nearly all is refused by the address's limit
  many addresses  no limit holds, as in a flood from everywhere: what the hashing threads can't take is refused

usage: bench/flood.py            (make bench-flood builds first)
Settings: BENCH_SECONDS (8) a row, BENCH_FLOOD (1000) sign-ins a second, BENCH_READS (400) reads a second,
BENCH_ARTICLES (100000) seeded.
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

from bench import ARTICLES, SECONDS, Suite, fail

FLOOD = int(os.environ.get("BENCH_FLOOD", "1000"))
READS = int(os.environ.get("BENCH_READS", "400"))
FLOOD_CONNECTIONS = 100
READ_CONNECTIONS = 16
HEAD_START_S = 1  # of the flood, before the readers begin

# What is promised.
READ_TIMES = 2.0
EXCESS_MS = 10.0

PRODUCTION = {
    "STOA_AUTH_LOGIN_ADDRESS_RATE": "60/1m",
    "STOA_AUTH_LOGIN_PAIR_RATE": "10/10m",
    "STOA_AUTH_LOGIN_ACCOUNT_RATE": "100/1h",
}
NO_LIMITS = dict.fromkeys(PRODUCTION, "off")


def h2load(scratch, name, url, connections, rate, seconds, body=None):
    """Requests at a steady rate over HTTP/1.1; [(status, milliseconds)]."""
    log = scratch / f"{name}.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", "-t1", f"-c{connections}", "-m1", f"--rps={rate / connections}", f"-D{seconds}"]
    command += [f"--log-file={log}"]
    if body is not None:
        payload = scratch / f"{name}.body"
        payload.write_text(json.dumps(body))
        command += ["-d", str(payload), "-H", "content-type: application/json"]
    ran = subprocess.run([*command, url], capture_output=True, text=True)
    answers = []
    for line in log.read_text().splitlines() if log.exists() else []:
        _, status, microseconds = line.split()
        answers.append((int(status), int(microseconds) / 1e3))
    if not answers:
        fail(f"h2load gave no result: {ran.stdout}{ran.stderr}")
    return answers


def percentile(times, share):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * share))]


def read(suite, scratch):
    url = f"{suite.url}/api/articles/article-title-1"
    answers = h2load(scratch, "reads", url, READ_CONNECTIONS, READS, SECONDS)
    bad = [status for status, _ in answers if status != 200]
    if bad:
        fail(f"{len(bad)} of {len(answers)} reads were not answered with 200: {sorted(set(bad))}")
    return [ms for _, ms in answers]


def flood(suite, scratch, into):
    body = {"user": {"email": "nobody@example.com", "password": "not the password"}}
    seconds = SECONDS + 2 * HEAD_START_S
    into.extend(
        h2load(scratch, "flood", f"{suite.url}/api/users/login", FLOOD_CONNECTIONS, FLOOD, seconds, body)
    )


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
    with suite:
        suite.seed(SEED_ARTICLES=ARTICLES)
        read(suite, scratch)  # warms up
        quiet = read(suite, scratch)
        row(f"GET article, quiet ({READS}/s)", quiet)
        answers = []
        flooding = threading.Thread(target=flood, args=(suite, scratch, answers))
        flooding.start()
        time.sleep(HEAD_START_S)
        busy = read(suite, scratch)
        flooding.join()
    times = percentile(busy, 0.99) / percentile(quiet, 0.99)
    row(f"GET article, sign-ins from {name}", busy, f"p99 {times:.2f} times the quiet one")
    tried = [ms for status, ms in answers if status in (200, 401)]
    excess = [ms for status, ms in answers if status in (429, 503)]
    others = sorted({status for status, _ in answers if status not in (200, 401, 429, 503)})
    rate = len(answers) / (SECONDS + 2 * HEAD_START_S)
    if tried:
        row("  sign-ins that were tried", tried, f"of {rate:.0f}/s")
    if others or not excess:
        fail(f"a flood of {len(answers)} sign-ins was answered with {others or 'no refusal'}")
    row("  sign-ins that were refused (429, 503)", excess)
    return times <= READ_TIMES and percentile(excess, 0.99) < EXCESS_MS


def main():
    if not shutil.which("h2load"):
        fail("h2load is missing: run `make bench-flood`, which installs it")
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
