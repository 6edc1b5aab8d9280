#!/usr/bin/python3
"""Chat while things break: a private suite with three chat instances, FAULT_RATE messages a second to 50 rooms, one fault
after the other, each for FAULT_SECONDS. Then everything is let be until all have everything, and what was acknowledged is
compared with what is stored and with what each subscriber was given. Fails on the first word of history.PROBLEMS.

usage: tests/live/fault.py        (make fault builds first)
Settings: FAULT_SECONDS (60), FAULT_SEED (1), FAULT_RATE (500), FAULT_ONLY, some of: none, kill, redis-restart, redis-stop,
postgres-restart, pause, network, reconnect, all.

The seed decides what happens when, who says what and who goes: not how the processes are scheduled."""
import asyncio
import collections
import concurrent.futures
import contextlib
import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract"))

from history import PROBLEMS, History, check  # noqa: E402
from members import Member, Stream, WebSocket, end, note_stalls, settled, stored, wholly  # noqa: E402
from proxy import Proxy  # noqa: E402
from stoa_contract import Contract, GrpcClient  # noqa: E402
from stoa_suite_fixture import Suite, descriptor_set, wait_until  # noqa: E402

SECONDS = float(os.environ.get("FAULT_SECONDS", "60"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
RATE = float(os.environ.get("FAULT_RATE", "500"))
INSTANCES = 3
ROOMS = 50
MEMBERS = 60
ROOMS_OF_EACH = 4  # with MEMBERS: 4 or 5 in each room
STREAMS = 20  # of the members by gRPC, the others by WebSocket
EDITS, REACTIONS = 0.07, 0.05  # of what is sent
SETTLE_S = 120  # within which all have everything, once nothing breaks any more
PACE_S = 0.01
SHOWN = 5  # problems of each kind that are printed


class World:
    """The suite, its accounts, and what faults do to it."""

    def __init__(self, suite):
        self.suite = suite
        self.contract = Contract(descriptor_set())
        self.call = GrpcClient(self.contract, suite.grpc)
        self.programs = [line.split()[0] for line in suite.command("status").stdout.splitlines() if line.startswith("chat")]
        if len(self.programs) != INSTANCES:
            raise RuntimeError(f"{len(self.programs)} chat instances run, not {INSTANCES}")
        self.done = collections.Counter()  # what faults did, for the report
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.tokens = dict(pool.map(self._account, range(MEMBERS)))

    def _account(self, i):
        user = {"username": f"member{i}", "email": f"member{i}@example.com", "password": "correct horse battery"}
        code, answer = self.call("auth", "CreateUser", {"user": user})
        if code != "OK":
            raise RuntimeError(f"CreateUser: {answer}")
        return user["username"], answer["user"]["token"]

    def must(self, method, token, **request):
        code, answer = self.call("chat", method, request, token)
        if code != "OK":
            raise RuntimeError(f"{method}: {answer}")
        return answer

    def make_rooms(self):
        """account -> its rooms, and all rooms."""
        names = list(self.tokens)
        rooms_of = {name: [] for name in names}
        rooms = [self.must("CreateRoom", self.tokens[names[i]], room={"name": "fault"})["room"]["id"] for i in range(ROOMS)]

        def join(number):
            name = names[number]
            for k in range(ROOMS_OF_EACH):
                room = rooms[(number + 13 * k) % ROOMS]
                self.must("JoinRoom", self.tokens[name], room=room)
                rooms_of[name].append(room)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(join, range(MEMBERS)))
        return rooms_of, rooms

    # ---- who connects ----

    def connector(self, number, token, rng):
        if number >= STREAMS:
            url = f"ws{self.suite.http.removeprefix('http')}/api/chat/ws"
            return lambda: WebSocket.connect(url, token)
        method = self.contract.method("LiveService", "Connect")
        addresses = self.addresses()
        return lambda: Stream.connect(rng.choice(addresses), method, self.contract.pool, token)

    def addresses(self):
        """Of gRPC, of all instances."""
        return [f"unix:{path}" for path in self.sockets()]

    def sockets(self):
        found = [self.suite.run_dir / "sock" / f"{program}.sock" for program in sorted(self.programs)]
        if missing := [path for path in found if not path.is_socket()]:
            raise RuntimeError(f"sockets of chat that are not there: {missing}")
        return found

    def read_log(self, token):
        async def read(room, after):
            events, last = [], None
            while last is None or after < last:
                answer = await asyncio.to_thread(self.must, "ListEvents", token, room=room, afterSeq=after, pageSize=100)
                events += answer["events"]
                last = int(answer["lastSeq"])
                if not answer["events"]:
                    break
                after = int(answer["events"][-1]["seq"])
            return events

        return read

    # ---- what breaks ----

    async def kill(self, program, number=signal.SIGKILL):
        self.done[f"{number.name} of {program}"] += 1
        await wholly(self.suite.kill, program, number)

    async def supervise(self, *command):
        self.done[" ".join(command)] += 1
        await wholly(self.suite.supervise, *command)

    async def pause(self, program, seconds):
        pid = await wholly(wait_until, lambda: self.suite.pid(program), f"{program} runs")
        try:
            os.kill(pid, signal.SIGSTOP)
            self.done[f"pauses of {program}"] += 1
            await asyncio.sleep(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):  # killed meanwhile
                os.kill(pid, signal.SIGCONT)


# ---- faults: each goes on until it is cancelled, and leaves everything running ----


async def fault_none(world, members, rng):
    await asyncio.Event().wait()


async def fault_kill(world, members, rng):
    """kill -9 of an instance every few seconds."""
    while True:
        await asyncio.sleep(rng.uniform(2, 5))
        await world.kill(rng.choice(world.programs))


async def fault_redis_restart(world, members, rng):
    while True:
        await asyncio.sleep(rng.uniform(4, 8))
        if rng.random() < 0.5:
            await world.kill("redis")
        else:
            await world.supervise("restart", "redis")


async def fault_redis_stop(world, members, rng):
    """Without Redis for 20 s, or half of the time when that is less."""
    away = min(20, SECONDS / 2)
    while True:
        await asyncio.sleep(rng.uniform(2, 5))
        try:
            await world.supervise("stop", "redis")
            await asyncio.sleep(away)
        finally:
            await world.supervise("start", "redis")


async def fault_postgres_restart(world, members, rng):
    """In order, and by SIGQUIT: then it recovers from its log."""
    while True:
        await asyncio.sleep(rng.uniform(8, 12))
        if rng.random() < 0.5:
            await world.supervise("restart", "postgres")
        else:
            await world.kill("postgres", signal.SIGQUIT)


async def fault_pause(world, members, rng):
    """SIGSTOP of an instance for 10 s, or a third of the time when that is less."""
    while True:
        await asyncio.sleep(rng.uniform(2, 4))
        await world.pause(rng.choice(world.programs), min(10, SECONDS / 3))


async def fault_network(world, members, rng):
    """Between the gateway and each instance: delays all the time; now and then a pause, a cut, or silence and a cut. Members
    come back meanwhile, so that it happens to subscriptions as well."""
    async with contextlib.AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(path, rng)) for path in world.sockets()]
        reloaded = await wholly(world.suite.command, "reload")  # workers that connect through them
        if reloaded.returncode != 0:
            raise RuntimeError(f"reload: {reloaded.stderr}")
        coming_back = asyncio.create_task(fault_reconnect(world, members, random.Random(rng.random())))
        stack.push_async_callback(end, [coming_back])
        try:
            while True:
                for proxy in proxies:
                    proxy.delay_s = rng.choice([0, 0.01, 0.05, 0.2])
                await asyncio.sleep(rng.uniform(1, 3))
                proxy, what = rng.choice(proxies), rng.choice(["pause", "cut", "silence"])
                if what == "cut":
                    proxy.cut()
                elif what == "pause":
                    await proxy.hold(rng.uniform(0.5, 4))
                else:
                    await proxy.swallow(rng.uniform(0.5, 4))
                world.done[f"network: {what}"] += 1
        finally:
            world.done["KB through proxies"] += sum(proxy.passed for proxy in proxies) // 1024
            world.done["connections through proxies"] += sum(proxy.connections for proxy in proxies)


async def fault_reconnect(world, members, rng):
    """Somebody goes, and comes back, ten times a second."""
    while True:
        await asyncio.sleep(0.1)
        await rng.choice(members).leave()
        world.done["members cut"] += 1


async def fault_all(world, members, rng):
    """The others at once; Postgres and Redis as seldom as they are by themselves."""
    together = (fault_kill, fault_redis_restart, fault_postgres_restart, fault_pause, fault_reconnect)
    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.create_task(fault(world, members, random.Random(rng.random()))) for fault in together]
        stack.push_async_callback(end, tasks)
        await asyncio.gather(*tasks)


FAULTS = {
    "none": fault_none,
    "kill": fault_kill,
    "redis-restart": fault_redis_restart,
    "redis-stop": fault_redis_stop,
    "postgres-restart": fault_postgres_restart,
    "pause": fault_pause,
    "network": fault_network,
    "reconnect": fault_reconnect,
    "all": fault_all,
}


# ---- a run ----


async def talk(members_of, rng):
    """RATE requests a second, until it is cancelled."""
    rooms = sorted(members_of)
    start, made = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - start) * RATE)
        for _ in range(due - made):
            room = rooms[made % len(rooms)]
            member, kind = rng.choice(members_of[room]), rng.random()
            if kind < REACTIONS and member.mine[room]:
                member.react(room)
            elif kind < REACTIONS + EDITS and member.mine[room]:
                member.edit(room)
            else:
                member.say(room)
            made += 1
        await asyncio.sleep(PACE_S)


async def run(world, name):
    """One fault, from rooms of its own to the verdict. Returns its History and Counts, and how often connections ended and
    requests failed for which reason."""
    rng = random.Random(f"{SEED} {name}")
    history = History()
    rooms_of, rooms = await asyncio.to_thread(world.make_rooms)
    members = []
    for number, (account, token) in enumerate(world.tokens.items()):
        own = random.Random(rng.random())
        connect = world.connector(number, token, own)
        members.append(Member(account, rooms_of[account], connect, world.read_log(token), history, own))
    members_of = {room: [member for member in members if room in member.rooms] for room in rooms}
    world.done.clear()
    chatting = [asyncio.create_task(member.run()) for member in members]
    listening = asyncio.create_task(note_stalls(history))
    try:
        breaking = asyncio.create_task(FAULTS[name](world, members, random.Random(rng.random())))
        talking = asyncio.create_task(talk(members_of, rng))
        finished, _ = await asyncio.wait([*chatting, breaking, talking], timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        for task in finished:
            task.result()  # raises what ended it
        await end([talking, breaking])
        if not await settled(world.suite, members, rooms, SETTLE_S):
            print(f"{name}: not settled within {SETTLE_S} s", flush=True)
    finally:
        await end([*chatting, listening])
    counts = check(history, await asyncio.to_thread(stored, world.suite, rooms))
    ends = collections.Counter(why[:100] for member in members for why in member.ends)
    return history, counts, ends, sum((member.errors for member in members), collections.Counter())


def report(name, history, counts, ends, errors, done):
    wrong = sum(map(len, history.problems.values()))
    late = max((to - since for since, to in history.stalls), default=0.0)
    print(f"{name:17} {counts.sent:8} {counts.acknowledged:8} {counts.given:9} {counts.again:7} {counts.subscriptions:7} {counts.resets:7} "
          f"{counts.median_ack:8.3f} {counts.longest_ack:8.2f} {counts.longest_silence:8.2f} {late:6.2f} {wrong:6}", flush=True)
    for what, number in sorted(done.items()):
        print(f"    {what}: {number}")
    for why, number in ends.most_common(3):
        print(f"    {number} connections ended: {why}")
    for why, number in errors.most_common(3):
        print(f"    {number} requests answered with an error, and tried again: {why}")
    for kind in PROBLEMS:
        sentences = history.problems.get(kind, [])
        if sentences:
            print(f"    {kind}: {len(sentences)}, such as")
            for sentence in sentences[:SHOWN]:
                print(f"        {sentence}")
    sys.stdout.flush()
    return wrong


async def run_all(world, chosen):
    """How many findings there are."""
    wrong = 0
    for name in chosen:
        history, counts, ends, errors = await run(world, name)
        wrong += report(name, history, counts, ends, errors, world.done)
        if not counts.acknowledged or not counts.given:
            sys.exit(f"fault: {name}: nothing was acknowledged, or nothing given")
        await wholly(wait_until, lambda: all(world.suite.pid(program) for program in world.programs), "all instances run", 60)
    return wrong


def main():
    chosen = os.environ.get("FAULT_ONLY", " ".join(FAULTS)).split()
    if unknown := set(chosen) - set(FAULTS):
        sys.exit(f"fault: FAULT_ONLY: {' '.join(unknown)} is none of {' '.join(FAULTS)}")
    settings = {"STOA_CHAT_INSTANCES": INSTANCES, "STOA_ADDRESS_STREAMS": "off", "STOA_AUTH_TOKEN_TTL_S": 86400,
                "STOA_ADDRESS_RATE": "off", "STOA_ACCOUNT_RATE": "off"}
    print(f"seed {SEED}, {RATE:.0f} requests a second, {MEMBERS} members ({STREAMS} by gRPC) of {ROOMS} rooms, {INSTANCES} instances, "
          f"{SECONDS:.0f} s each")
    print(f"{'':17} {'sent':>8} {'acked':>8} {'given':>9} {'again':>7} {'subscr.':>7} {'resets':>7} {'ack p50':>8} {'ack max':>8} {'silence':>8} {'late':>6} {'wrong':>6}",
          flush=True)
    with Suite(**settings) as suite:
        wrong = asyncio.run(run_all(World(suite), chosen))
    print("\nNothing acknowledged was lost, doubled or reordered; all saw the same." if not wrong else f"\n{wrong} findings.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
