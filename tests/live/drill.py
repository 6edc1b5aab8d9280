#!/usr/bin/python3
"""The availability drill: DRILL_RATE requests a second for DRILL_SECONDS, and every DRILL_EVERY seconds a random instance of
auth, posts or chat is killed with SIGKILL; supervision starts it again. At least 99.99% of the idempotent requests have to
succeed, at the first try of the client's. Writes are sent again with their key until they are acknowledged; each has to be
there exactly once in the end.

usage: tests/live/drill.py        (make drill builds first)
Settings: DRILL_SECONDS (600), DRILL_EVERY (10), DRILL_RATE (200), DRILL_INSTANCES (2; of each service), DRILL_SEED (1).
The seed decides what is killed when and what is asked; not how the machine schedules it."""
import contextlib
import os
import pathlib
import random
import sys
import time

import psycopg2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract"))

from load import Load, World, report  # noqa: E402
from stoa_suite_fixture import SERVICES, Suite, wait_until  # noqa: E402

AIM = 0.9999
SETTINGS = {"STOA_ADDRESS_RATE": "off", "STOA_ACCOUNT_RATE": "off", "STOA_AUTH_TOKEN_TTL_S": 86400}


def kill_all_the_time(suite, programs, rng, seconds, every):
    """Kills; waits in between for what was killed to run again, so that of a service always one does. Returns their names."""
    end, killed = time.monotonic() + seconds, []
    due = time.monotonic() + every
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due, time.monotonic()) + every
        name = rng.choice(programs)
        old = suite.kill(name)
        killed.append(name)
        print(f"{seconds - (end - time.monotonic()):6.1f} s: killed {name}", flush=True)
        suite.wait_restarted(name, old)
    time.sleep(max(0.0, end - time.monotonic()))
    return killed


def judge(load, stored):
    """Sentences for the report, and whether the aim is met."""
    safe = [each for each in load.outcomes if each.idempotent]
    failed = [each for each in safe if each.failure]
    share = 1 - len(failed) / max(1, len(safe))
    wrong = load.check_writes(stored)
    lines = [
        f"idempotent requests: {len(safe)}, failed {len(failed)}: {share:.4%} succeeded, {AIM:.2%} are the aim",
        f"writes: {len(load.acknowledged)} acknowledged, {len(load.given_up)} given up after {len(load.outcomes) - len(safe)} tries; "
        f"{len(wrong)} not there exactly once",
        *wrong[:20], *load.broken,
    ]
    return lines, bool(safe and load.acknowledged) and share >= AIM and not (wrong or load.given_up or load.broken)


def main():
    seconds, every = float(os.environ.get("DRILL_SECONDS", "600")), float(os.environ.get("DRILL_EVERY", "10"))
    rate, instances = float(os.environ.get("DRILL_RATE", "200")), int(os.environ.get("DRILL_INSTANCES", "2"))
    seed = int(os.environ.get("DRILL_SEED", "1"))
    rng = random.Random(seed)
    print(f"{instances} of each service, {rate:.0f} requests a second for {seconds:.0f} s, a kill every {every:.0f} s, seed {seed}", flush=True)
    with Suite(**SETTINGS, **{f"STOA_{name.upper()}_INSTANCES": instances for name in SERVICES}) as suite:
        programs = [line.split()[0] for line in suite.command("status").stdout.splitlines() if line.startswith(SERVICES)]
        world = World(suite.http)
        with Load(world, rate, seed, retries=True) as load:
            killed = kill_all_the_time(suite, programs, rng, seconds, every)
        wait_until(lambda: suite.command("status").returncode == 0, "all is ready", 60)
        with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
            stored = world.stored(cursor)
    lines, holds = judge(load, stored)
    print("\n".join(report(load.outcomes)))
    print(f"{len(killed)} kills: {', '.join(f'{killed.count(name)} of {name}' for name in programs)}; {load.late:.2f} s late at worst")
    print("\n".join(lines))
    print("\nThe aim is met." if holds else "\nThe aim is missed.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
