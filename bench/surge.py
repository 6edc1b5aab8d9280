#!/usr/bin/python3
"""Measures what happens when more is asked than the suite can do: load goes up in steps, and down again.

  sign-ins   the costliest call by far: 15 ms of a core each, on the threads that hash passwords
  searches   a read that Postgres works on for some milliseconds
  articles   the cheapest, up to 4 times: a service answers all that reach it, and what is too much waits in the sockets.
             To refuse one would cost a quarter of answering it, and to ask for it costs as much

Each of the load generator's 1,000 connections has one request at a time. While all of them wait for an answer, so does what is
due; what has found none ten seconds after the end was never sent. Only articles are answered so slowly.

A row for each step: offered and answered well a second; the time of the 99th percentile of what was answered well, from when it
was due and from when it was sent, and of what was refused (429, 503), from when it was due; how many were answered otherwise or
not at all; how many were never sent; and the cores that the load generator took from the machine. What is wanted: answered well,
at least 80 % of the best step, or of what was asked for where that is less; p99 of those, at most three times that of a tenth of
the load; refusals in under 10 ms; all as before two seconds after the end.

The load generator stands for machines elsewhere, and at the top takes a good part of this one. So a step's goodput is also told
as a share of what the best step would have had with the cores that were left, and that is what is held against the 80 %.

usage: bench/surge.py            (make bench-surge builds first)
Settings: BENCH_SECONDS (8) a step, BENCH_ARTICLES (100000) seeded, BENCH_ONLY: kinds, parted by spaces.
"""
import json
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time
import urllib.request

from bench import ARTICLES, SECONDS, Others, Suite, fail
from flood import NO_LIMITS, NOT_SENT, STEADY, percentile, steady

UP = (1, 2, 5, 10, 30, 100)
STEPS = {"sign-ins": UP + UP[-2::-1], "searches": UP + UP[-2::-1], "articles": (1, 2, 4, 2, 1)}
ONLY = os.environ.get("BENCH_ONLY", "").split() or list(STEPS)
FIRST_GUESS = {"sign-ins": 300, "searches": 2000, "articles": 40000}  # a second: more than can be done, to find out what can
QUERY = "article"
QUIET_SHARE = 0.1
RECOVERY_S = 2

CORES = len(os.sched_getaffinity(0))
GOODPUT = 0.8
TIMES = 3.0
EXCESS_MS = 10.0

USER = {"username": "surge", "email": "surge@example.com", "password": "a long password"}
REQUESTS = {
    "sign-ins": ("POST /api/users/login", {"user": {key: USER[key] for key in ("email", "password")}}),
    "searches": (f"GET /api/articles?limit=20&q={QUERY}", None),
    "articles": ("GET /api/articles/article-title-1", None),
}


def generator_seconds():
    """The CPU time of load generators that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Step:
    def __init__(self, suite, kind, rate, seconds=SECONDS):
        request, body = REQUESTS[kind]
        began, before = time.monotonic(), generator_seconds()
        answers = steady(suite, rate, seconds, request, body)
        took = max(seconds, time.monotonic() - began)
        self.generator = (generator_seconds() - before) / took
        self.left = CORES - self.generator
        self.good = [ms for status, ms, _ in answers if status == 200]
        self.refused = [ms for status, ms, _ in answers if status in (429, 503)]
        self.unsent = sum(status == NOT_SENT for status, _, _ in answers)
        self.wrong = len(answers) - len(self.good) - len(self.refused) - self.unsent
        self.offered, self.goodput = len(answers) / seconds, len(self.good) / took
        self.p99 = percentile(self.good, 0.99) if self.good else float("inf")
        self.sent_p99 = percentile([ms for status, _, ms in answers if status == 200], 0.99) if self.good else float("inf")
        self.refused_p99 = percentile(self.refused, 0.99) if self.refused else 0.0

    def row(self, name):
        print(f"{name:28} {self.offered:9.0f} {self.goodput:9.0f} {self.p99:9.2f} {self.sent_p99:9.2f} {self.refused_p99:9.2f}"
              f" {self.wrong:6} {self.unsent:7} {self.generator:9.2f}", flush=True)


def register(suite):
    request = urllib.request.Request(
        f"{suite.url}/api/users", json.dumps({"user": USER}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        if answer.status != 201:
            fail(f"sign-up was answered with {answer.status}")


def measure(suite, kind):
    """Prints the rows of one kind of load. Returns whether what is wanted held."""
    capacity = Step(suite, kind, FIRST_GUESS[kind]).goodput
    time.sleep(RECOVERY_S)
    quiet = Step(suite, kind, capacity * QUIET_SHARE, seconds=2 * SECONDS)
    quiet.row(f"{kind}: a tenth of the load")
    steps = []
    for times in STEPS[kind]:
        steps.append(Step(suite, kind, capacity * times))
        steps[-1].row(f"{kind}: {times} x {capacity:.0f}/s")
    time.sleep(RECOVERY_S)
    after = Step(suite, kind, capacity * QUIET_SHARE, seconds=2 * SECONDS)
    after.row(f"{kind}: {RECOVERY_S} s later")
    best = max(steps, key=lambda step: step.goodput)
    plain = min(step.goodput / best.goodput for step in steps)
    share = min(step.goodput / min(step.offered, best.goodput * min(1, step.left / best.left)) for step in steps)
    p99 = max(step.p99 for step in steps) / quiet.p99
    refused = max(step.refused_p99 for step in steps)
    held = {
        f"{share:.0%} of the best goodput, by what was asked for and the cores that were left (wanted {GOODPUT:.0%}); plainly {plain:.0%}": share >= GOODPUT,
        f"p99 {p99:.1f} times the quiet one (wanted {TIMES:g})": p99 <= TIMES,
        f"refusals' p99 {refused:.2f} ms (wanted {EXCESS_MS:g})": refused < EXCESS_MS,
        f"{after.refused and len(after.refused) or 0} refused afterwards, p99 {after.p99:.2f} ms": not after.refused
        and after.p99 <= TIMES * quiet.p99,
        f"{sum(step.wrong for step in steps)} answered otherwise or not at all": not any(step.wrong for step in steps),
    }
    for what, holds in held.items():
        print(f"    {'yes' if holds else 'NO':4} {what}", flush=True)
    return all(held.values())


def main():
    if not STEADY.exists():
        fail(f"{STEADY} is missing: run `make bench-surge`, which builds it")
    # 0711: the suite's own user must reach its folder, and nobody else may list it.
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="stoa-bench-"))
    scratch.chmod(0o711)
    suite = Suite(scratch)
    suite.environment.update(NO_LIMITS)
    print(f"{'':28} {'offered/s':>9} {'good/s':>9} {'p99 ms':>9} {'from sent':>9} {'refused':>9} {'wrong':>6} {'unsent':>7} {'generator':>9}", flush=True)
    try:
        with suite:
            suite.seed(SEED_ARTICLES=ARTICLES)
            register(suite)
            others = Others(suite.roots())
            held = [measure(suite, kind) for kind in ONLY]
            print(f"\nother programs used {others.cores():.2f} cores meanwhile; what is wanted held: {'yes' if all(held) else 'no'}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
