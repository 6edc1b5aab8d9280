#!/usr/bin/python3
"""A suite under load while it is rolled: ROLL_RATE requests a second, reads and writes of all services, and ROLL_SOCKETS
WebSockets that chat; `deploy/suite roll` replaces each service in turn and then nginx, ROLL_TIMES times, with one instance of
each service and then with two. Fails on any failed request or handshake, and when a WebSocket has missed or seen twice anything.

usage: tests/live/roll.py        (make roll-test builds first)
Settings: ROLL_RATE (200), ROLL_SOCKETS (200), ROLL_TIMES (3), ROLL_SEED (1)."""
import asyncio
import collections
import contextlib
import dataclasses
import os
import pathlib
import random
import sys

import psycopg2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract"))

from history import History, check  # noqa: E402
from load import ACCOUNTS, Load, World, report  # noqa: E402
from members import Member, WebSocket, end, settled, stored, wholly  # noqa: E402
from stoa_suite_fixture import Suite, wait_until  # noqa: E402

SOCKETS_OF_A_ROOM = 10
MESSAGES_PER_S = 20
SETTLE_S = 60
SETTINGS = {"STOA_ADDRESS_RATE": "off", "STOA_ACCOUNT_RATE": "off", "STOA_AUTH_TOKEN_TTL_S": 86400}


@dataclasses.dataclass
class Findings:
    load: Load
    counts: object  # history.Counts
    wrong: list  # sentences: what chat or the database has not as it was acknowledged
    refused: list  # handshakes of WebSockets that failed: why
    ends: collections.Counter  # of WebSockets, by reason

    @property
    def failures(self):
        """Of requests and handshakes; empty when nobody noticed anything."""
        return [f"{each.rpc}: {each.failure}" for each in self.load.failed] + self.refused + self.load.broken


def read_log(world, token):
    def read(room, after):
        events = []
        while answer := world.must("GET", f"/api/chat/rooms/{room}/log?afterSeq={after}&pageSize=100", None, token)["events"]:
            events += answer
            after = int(answer[-1]["seq"])
        return events

    return lambda room, after: asyncio.to_thread(read, room, after)


def make_members(world, sockets, rng, history):
    members = []
    url = f"ws://{world.address}/api/chat/ws"
    for number in range(sockets):
        if number % SOCKETS_OF_A_ROOM == 0:
            room = world.must("POST", "/api/chat/rooms", {"room": {"name": "roll"}}, world.tokens[0])["room"]["id"]
            world.join(room)
        token = world.tokens[number % ACCOUNTS]
        members.append(Member(f"socket{number}", [room], lambda token=token: WebSocket.connect(url, token), read_log(world, token),
                              history, random.Random(rng.random()), world.users[number % ACCOUNTS]))
    return members


async def talk(members, rng):
    while True:
        member = rng.choice(members)
        member.say(member.rooms[0])
        await asyncio.sleep(1 / MESSAGES_PER_S)


async def under_load(suite, act, rate=200, sockets=200, seed=1, keeps=False, asked=World):
    """What is found when act(), in a thread, does something to the suite; before it and after, and while it takes its time,
    requests are served and WebSockets chat. asked: what there is to ask for."""
    rng = random.Random(seed)
    history = History()
    world = await asyncio.to_thread(asked, suite.http)
    members = await asyncio.to_thread(make_members, world, sockets, rng, history)
    chatting = [asyncio.create_task(member.run()) for member in members]
    talking = asyncio.create_task(talk(members, rng))

    def more(load):
        wanted = len(load.outcomes) + 2 * rate
        wait_until(lambda: len(load.outcomes) >= wanted, "requests are answered", 120)

    try:
        with Load(world, rate, seed, keeps=keeps) as load:
            try:
                await wholly(more, load)
                await wholly(act)
                await wholly(more, load)
            finally:
                await end([talking])
        rooms = sorted({room for member in members for room in member.rooms})
        wrong = [] if await settled(suite, members, rooms, SETTLE_S) else [f"not settled within {SETTLE_S} s"]
    finally:
        await end(chatting)
    counts = check(history, await asyncio.to_thread(stored, suite, rooms))
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
        wrong += load.check_writes(world.stored(cursor))
    wrong += [f"{kind}: {sentence}" for kind, sentences in history.problems.items() for sentence in sentences]
    ends = [why for member in members for why in member.ends]
    refused = [why for why in ends if why.startswith("no WebSocket")]
    return Findings(load, counts, wrong, refused, collections.Counter(why[:100] for why in ends))


def roll(suite):
    done = suite.command("roll")
    if done.returncode != 0:
        raise RuntimeError(f"roll: {done.stdout}{done.stderr}")


def print_findings(found):
    print("\n".join(report(found.load.outcomes)))
    print(f"{len(found.load.outcomes)} requests, {len(found.failures)} failures; {found.load.late:.2f} s late at worst")
    print(f"WebSockets: {found.counts.acknowledged} messages acknowledged, {found.counts.given} given, {found.counts.again} again, "
          f"{found.counts.subscriptions} subscriptions, {len(found.wrong)} findings")
    for why, number in found.ends.most_common(5):
        print(f"    {number} connections ended: {why}")
    for sentence, number in collections.Counter([*found.failures, *found.wrong]).most_common(20):
        print(f"    {number} times {sentence}")
    sys.stdout.flush()


def main():
    rate, sockets = float(os.environ.get("ROLL_RATE", "200")), int(os.environ.get("ROLL_SOCKETS", "200"))
    times, seed = int(os.environ.get("ROLL_TIMES", "3")), int(os.environ.get("ROLL_SEED", "1"))
    bad = 0
    for instances in (1, 2):
        print(f"{instances} of each service, rolled {times} times; {rate:.0f} requests a second, {sockets} WebSockets, seed {seed}", flush=True)
        with Suite(**SETTINGS, **{f"STOA_{name}_INSTANCES": instances for name in ("AUTH", "POSTS", "CHAT")}) as suite:
            found = asyncio.run(under_load(suite, lambda: [roll(suite) for _ in range(times)], rate, sockets, seed))
        print_findings(found)
        bad += len(found.failures) + len(found.wrong)
    print("\nNobody noticed." if not bad else f"\n{bad} failures and findings.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
