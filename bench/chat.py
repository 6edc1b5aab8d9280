#!/usr/bin/python3
"""Measures chat, and Socket.IO beside it when there are peers: the same driver (bench/chat.c) gives both the same
work, ours all through the gateway.

usage: bench/chat.py             (make bench-chat builds first)
Settings: BENCH_SECONDS (8) a row, BENCH_IDLE (5000) idle WebSockets, BENCH_HELD (20000) held while a room is busy,
BENCH_STORM (5000) clients that come back at once, BENCH_CONNECTS (10000) a second; BENCH_ONLY, some of: idle, room,
rooms, slow, storm, connects, held.
"""

import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error

from bench import PEERS, PG_BIN, REPO, SECONDS, TICK, WARM_UP_SECONDS, Peer, Suite, cpu, fail, free_ports, processes, send
from gateway import OUT, open_websocket

IDLE = int(os.environ.get("BENCH_IDLE", "5000"))
HELD = int(os.environ.get("BENCH_HELD", "20000"))
STORM = int(os.environ.get("BENCH_STORM", "5000"))
CONNECTS = int(os.environ.get("BENCH_CONNECTS", "10000"))
PARTS = ("idle", "room", "rooms", "slow", "storm", "connects", "held")
ONLY = os.environ.get("BENCH_ONLY", " ".join(PARTS)).split()

MEMBERS, ROOMS, IN_A_ROOM = 500, 50, 10
OUTSTANDING = (1, 4, 16, 64)
ROOMS_OUTSTANDING = (64, 256)
STEADY = 100  # messages a second
STALLED = 5
MISSED = 10  # numbers that each client of the storm has to be given
TLS_SOCKETS = 1000
# A driver has one file for each client, and as many as the system lets it.
OF_A_DRIVER = 10000
SOURCES = 4  # loopback addresses that it connects from
DRIVER = REPO / "build/bench/chat"


class Driver:
    """bench/chat.c with clients of one side."""

    def __init__(self, dialect, hosts, tokens=()):
        # On the last CPU: both sides are given the same.
        last = max(os.sched_getaffinity(0))
        self.process = subprocess.Popen(
            [DRIVER, dialect, hosts, str(SOURCES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {last}),
        )
        for token in tokens:
            self.ask(f"token {token}")

    def ask(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            fail(f"the driver ended (status {self.process.wait()}) at {' '.join(command.split()[:2])}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        if self.process.wait() != 0:
            fail("the driver failed")


# ---- sides ----


class Stoa(Suite):
    """A suite with accounts in one room of all, and in rooms of ten."""

    label = ""

    def __init__(self, scratch):
        super().__init__(scratch)
        (self.https,) = free_ports(1)
        certificates = scratch / "tls"
        subprocess.run([REPO / "deploy/self-signed-certificate", certificates, "localhost"], check=True, capture_output=True)
        self.certificate = certificates / "certificate.pem"
        self.environment.update(
            STOA_HTTPS_PORT=str(self.https),
            STOA_HTTPS_CERTIFICATE=str(self.certificate),
            STOA_HTTPS_KEY=str(certificates / "key.pem"),
            STOA_ADDRESS_STREAMS="off",
            STOA_ADDRESS_CONNECTIONS="off",
            STOA_ACCOUNT_STREAMS="off",
            STOA_CHAT_MAX_CONNECTIONS="1000",
            STOA_MAX_CALLS="100000",
            STOA_AUTH_TOKEN_TTL_S="86400",
            STOA_HTTP_CONNECTIONS="19000",
        )

    def fill(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:  # more sign up at once only where cores hash them
            self.tokens = list(pool.map(self._account, range(MEMBERS)))
            self.room = self._room(self.tokens[0])
            self.rooms = [self._room(self.tokens[i * IN_A_ROOM]) for i in range(ROOMS)]
            list(pool.map(self._join, range(MEMBERS)))

    def _account(self, i):
        user = {"username": f"chatter{i}", "email": f"chatter{i}@example.com", "password": "password123"}
        return send(f"{self.url}/api/users", {"user": user})["user"]["token"]

    def _room(self, token):
        return send(f"{self.url}/api/chat/rooms", {"room": {"name": "bench"}}, token)["room"]["id"]

    def _join(self, i):
        for room in (self.room, self.rooms[i // IN_A_ROOM]):
            send(f"{self.url}/api/chat/rooms/{room}/join", {}, self.tokens[i])

    def driver(self):
        return Driver("stoa", f"127.0.0.1:{self.http}", self.tokens)

    def sql(self, text):
        command = [f"{PG_BIN}/psql", "-qAXt", "-v", "ON_ERROR_STOP=1", "-c", text, self.conninfo("postgres")]
        ran = subprocess.run(command, env=self.passwords(), capture_output=True, text=True)
        if ran.returncode != 0:
            fail(ran.stderr.strip())
        return ran.stdout.strip()

    def stored(self):
        return int(self.sql("SELECT count(*) FROM chat.messages"))

    def named(self, *names):
        """pids of the suite's processes of these names."""
        found = processes()
        inside, roots = set(), self.roots()
        for pid in found:
            at = pid
            while at in found and at not in roots:
                at = found[at][1]
            if at in roots and found[pid][0] in names:
                inside.add(pid)
        return inside


class SocketIo(Peer):
    """The Socket.IO peer with so many processes, its Redis adapter between them."""

    room = 1

    def __init__(self, scratch, n_processes):
        super().__init__(scratch)
        self.n_processes = n_processes
        self.label = f"Socket.IO by {n_processes}: "  # processes
        self.rooms = range(2, 2 + ROOMS)

    def start(self):
        self.run("rest", "./run.sh", "seed")
        self.run("chat", "npm", "ci", "--silent")
        self.run("chat", "./run.sh", "schema")
        self.run("chat", "./run.sh", "start", str(self.n_processes))

    def stop(self):
        if (self.home / "chat/server.pid").exists():
            self.run("chat", "./run.sh", "stop")

    def servers(self):
        return [int(pid) for pid in (self.home / "chat/server.pid").read_text().split()]

    def roots(self):
        redis = int((self.data / "redis/redis.pid").read_text())
        return [*self.servers(), redis, self.postgres()]

    def driver(self):
        hosts = ",".join(f"127.0.0.1:{17010 + i}" for i in range(self.n_processes))
        return Driver("socket.io", hosts)


def fresh_folder(stack):
    # 0711: the suite's own user must reach its folder, and nobody else may list it.
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="stoa-bench-"))
    stack.callback(shutil.rmtree, scratch, ignore_errors=True)
    scratch.chmod(0o711)
    return scratch


# ---- rows ----


def busy_seconds():
    """CPU seconds that this machine has spent on anything."""
    fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def parts(spent, count):
    """CPU microseconds by process, for each of `count`; what is below a hundredth of all is left out."""
    largest = sorted(spent.items(), key=lambda each: -each[1])
    return " ".join(f"{name} {s * 1e6 / count:.2f}" for name, s in largest if s * 100 >= sum(spent.values()))


class Table:
    """A row is a load; CPU of the servers is divided by deliveries."""

    def __init__(self):
        self.rows = {}
        print(f"{'':56} {'messages/s':>10} {'deliver./s':>10} {'ack p50':>8} {'p99 ms':>8} {'all p50':>8} {'p99 ms':>8} "
              f"{'CPU µs':>7}  of it; cores of driver and others", flush=True)

    def measure(self, name, side, driver, command):
        """command without its seconds: "send closed 4"."""
        driver.ask(f"{command} {WARM_UP_SECONDS}")
        before, begin, busy = cpu(processes(), side.roots()), time.monotonic(), busy_seconds()
        result = driver.ask(f"{command} {SECONDS}")
        spent = {k: v - before.get(k, 0) for k, v in cpu(processes(), side.roots()).items()}
        others = busy_seconds() - busy - sum(spent.values()) - result["driver_cpu"]
        if not result["messages"] or not result["deliveries"]:
            fail(f"{side.label}{name}: nothing came")
        row = {
            "messages": result["messages"] / result["seconds"],
            "deliveries": result["deliveries"] / result["seconds"],
            "cpu": sum(spent.values()) * 1e6 / result["deliveries"],
            **{key: result[key] for key in ("ack_p50", "ack_p99", "delivery_p50", "delivery_p99")},
        }
        split = parts(spent, result["deliveries"])
        took = time.monotonic() - begin
        lost = f"; LOST {result['undelivered']}, unanswered {result['unanswered']}" if result["undelivered"] or result["unanswered"] else ""
        print(f"{side.label + name:56} {row['messages']:10.0f} {row['deliveries']:10.0f} {row['ack_p50']:8.2f} {row['ack_p99']:8.2f} "
              f"{row['delivery_p50']:8.2f} {row['delivery_p99']:8.2f} {row['cpu']:7.2f}  {split}; "
              f"{result['driver_cpu'] / result['seconds']:.2f}, {max(0, others) / took:.2f}{lost}", flush=True)
        if lost and isinstance(side, Stoa):
            fail("messages were lost")
        self.rows[side.label + name] = row
        return row


def open_room(side, driver):
    driver.ask(f"open {MEMBERS} {side.room} 0 {MEMBERS}")


def open_rooms(side, driver, in_a_room, *more):
    """Sockets in every small room, of its ten accounts."""
    for i, room in enumerate(side.rooms):
        driver.ask(" ".join(map(str, ("open", in_a_room, room, i * IN_A_ROOM, (i + 1) * IN_A_ROOM, *more))))


def measure_room(table, side):
    with side.driver() as driver:
        open_room(side, driver)
        for outstanding in OUTSTANDING:
            table.measure(f"room of {MEMBERS}, {outstanding} outstanding", side, driver, f"send closed {outstanding}")
        table.measure(f"room of {MEMBERS}, {STEADY}/s", side, driver, f"send rate {STEADY}")


def measure_rooms(table, side):
    with side.driver() as driver:
        open_rooms(side, driver, IN_A_ROOM)
        before = side.stored() if isinstance(side, Stoa) else None
        for outstanding in ROOMS_OUTSTANDING:
            table.measure(f"{ROOMS} rooms of {IN_A_ROOM}, {outstanding} outstanding", side, driver, f"send closed {outstanding}")
        table.measure(f"{ROOMS} rooms of {IN_A_ROOM}, {STEADY}/s", side, driver, f"send rate {STEADY}")
        if before is not None and side.stored() == before:
            fail("nothing was stored")


def memory_kb(pids):
    """What these processes have together. A page that some of them share counts once (Pss): when a worker writes to one of
    its master's, so that each has it alone from then on, that is one page more and not two."""
    total = 0
    for pid in pids:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss: *(\d+) kB", rollup, re.M)[1])
    return total


def kernel_kb():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1])
    fail("/proc/meminfo has no Slab")


def measure_idle(side, pids):
    """KB of the servers' memory for each idle WebSocket with one room, and what the kernel has for both its ends."""
    with side.driver() as driver:
        open_rooms(side, driver, IN_A_ROOM, "idle")  # what the first ones leave behind is not theirs
        before, kernel = {pid: memory_kb([pid]) for pid in pids}, kernel_kb()
        sockets = IDLE // ROOMS * ROOMS
        open_rooms(side, driver, IDLE // ROOMS, "idle")
        time.sleep(2)  # what is said about those who come has been said
        names = {pid: pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
        by_name = collections.Counter()
        for pid in pids:
            by_name[names[pid]] += (memory_kb([pid]) - before[pid]) / sockets
        kernel = (kernel_kb() - kernel) / sockets
        tls = measure_tls(side) if isinstance(side, Stoa) else ""
    split = ", ".join(f"{name} {kb:.2f}" for name, kb in by_name.items())
    print(f"{side.label}{sockets} idle WebSockets: {sum(by_name.values()):.2f} KB each ({split}); kernel {kernel:.1f} KB for both ends{tls}")
    return sum(by_name.values())


def measure_tls(side):
    """The same through TLS, one after the other and without a room, while the others are open: memory that has been freed
    would serve them."""
    tls = ssl.create_default_context(cafile=side.certificate)
    pids = side.named("nginx", "chat")

    def opened(count):
        return [
            open_websocket(side.https, "/api/chat/ws", f"Authorization: Bearer {side.tokens[i % MEMBERS]}\r\n",
                           lambda s: tls.wrap_socket(s, server_hostname="localhost"))
            for i in range(count)
        ]

    sockets = opened(100)
    before = memory_kb(pids)
    sockets += opened(TLS_SOCKETS)
    kb = (memory_kb(pids) - before) / TLS_SOCKETS
    for each in sockets:
        each.close()
    return f"; without a room, but through TLS {kb:.2f} KB"


def measure_slow(table, side):
    with side.driver() as driver:
        open_room(side, driver)
        pids = side.named("nginx", "chat") if isinstance(side, Stoa) else side.servers()
        memory = memory_kb(pids)
        quiet = table.measure(f"room of {MEMBERS}, {STEADY}/s, all read", side, driver, f"send rate {STEADY}")
        driver.ask(f"stall {STALLED}")
        slow = table.measure(f"room of {MEMBERS}, {STEADY}/s, {STALLED} never read", side, driver, f"send rate {STEADY}")
        # More than the system's own buffers take.
        table.measure(f"room of {MEMBERS}, 64 outstanding, {STALLED} never read", side, driver, "send closed 64")
        grown = memory_kb(pids) - memory
        closed = driver.ask("resume")["closed"]
        codes = ", ".join(f"{n} with {code}" if code != "0" else f"{n} without a code" for code, n in closed.items()) or "none"
        print(f"  p99 of deliveries {slow['delivery_p99'] / quiet['delivery_p99']:.2f} times, of acks {slow['ack_p99'] / quiet['ack_p99']:.2f} times;"
              f" servers' memory {grown:+d} KB; of the {STALLED} were cut: {codes}")


EXECUTED = re.compile(r"stoa_chat@stoa LOG:  (?:execute (\S+?)|statement): ([^;\s]*)")


def statements(side, during):
    """What chat executed while during() ran: name -> how often."""
    log = side.run_dir / "log/postgres.log"
    side.sql("ALTER SYSTEM SET log_statement = 'all'")
    side.sql("SELECT pg_reload_conf()")
    end, begin = time.monotonic() + 30, log.stat().st_size
    while b"began" not in log.read_bytes()[begin:]:  # until it is in force
        if time.monotonic() > end:
            fail("Postgres does not write its statements down")
        side.sql("SELECT 'began'")
    begin = log.stat().st_size
    result = during()
    side.sql("SELECT 'ended'")
    side.sql("ALTER SYSTEM RESET log_statement")
    side.sql("SELECT pg_reload_conf()")
    while b"SELECT 'ended'" not in log.read_bytes()[begin:]:
        if time.monotonic() > end + SECONDS + 60:
            fail("Postgres does not write its statements down")
        time.sleep(0.1)
    text = log.read_bytes()[begin:].decode(errors="replace").split("SELECT 'ended'")[0]
    return result, collections.Counter(name or sql for name, sql in EXECUTED.findall(text))


def measure_storm(side):
    with side.driver() as driver:
        open_rooms(side, driver, STORM // ROOMS)
        # So that each room has numbers that its clients can have missed.
        messages = 0
        while messages < ROOMS * MISSED * 2:
            messages += driver.ask("send closed 256 1")["messages"]
        before = cpu(processes(), side.roots())
        result, executed = statements(side, lambda: driver.ask(f"storm {MISSED}"))
        spent = {k: v - before.get(k, 0) for k, v in cpu(processes(), side.roots()).items()}
    names = ", ".join(f"{name} {n}" for name, n in executed.most_common(8))
    print(f"{result['clients']} clients cut, back at once in {ROOMS} rooms, {MISSED} numbers missed: all have everything after"
          f" {result['seconds']:.2f} s (p50 {result['back_p50']:.0f}, p99 {result['back_p99']:.0f}, max {result['back_max']:.0f} ms;"
          f" {result['tried_again']} tries more, {result['deliveries']} events; CPU of the servers {sum(spent.values()):.2f} s, of the driver"
          f" {result['driver_cpu']:.2f}); {sum(executed.values())} statements: {names}")


def measure_connects(side):
    with side.driver() as driver:
        before, begin, busy = cpu(processes(), side.roots()), time.monotonic(), busy_seconds()
        r = driver.ask(f"visits {CONNECTS} {SECONDS}")
        took, busy = time.monotonic() - begin, busy_seconds() - busy
        spent = {k: v - before.get(k, 0) for k, v in cpu(processes(), side.roots()).items()}
    split = parts(spent, max(1, r["accepted"] + r["refused"]))
    def times(kind):
        return ", ".join(f"{name} {r[f'{kind}_{name}']:.1f}" for name in ("p50", "p99", "max")) + " ms"

    print(f"{side.label}{CONNECTS} connects a second for {SECONDS} s, {r['begun']}: {r['accepted']} accepted, {r['refused']} refused,"
          f" {r['failed']} failed, {r['hung']} hung, {r['late']} connected at a second try, {r['skipped']} not made since 8192 waited;"
          + ";".join(f" {kind} within {times(kind)}, of which the server {times(kind + '_server')}" for kind in ("accepted", "refused") if r[kind])
          + f"; CPU µs each: {split}; cores of driver and others: {r['driver_cpu'] / took:.2f},"
          f" {max(0, busy - sum(spent.values()) - r['driver_cpu']) / took:.2f}")


def measure_held(table, side):
    with contextlib.ExitStack() as stack:
        others = HELD - MEMBERS
        first = stack.enter_context(side.driver())
        open_room(side, first)
        for driver, share in ((first, min(others, OF_A_DRIVER - MEMBERS)), (None, others - min(others, OF_A_DRIVER - MEMBERS))):
            if share >= ROOMS:
                driver = driver or stack.enter_context(side.driver())
                open_rooms(side, driver, share // ROOMS, "idle")
        table.measure(f"room of {MEMBERS}, {STEADY}/s, {HELD} held", side, first, f"send rate {STEADY}")
        table.measure(f"room of {MEMBERS}, 64 outstanding, {HELD} held", side, first, "send closed 64")


# ---- all of it ----


def measure_side(table, side):
    """What is compared."""
    for part, measure in (("room", measure_room), ("rooms", measure_rooms), ("slow", measure_slow)):
        if part in ONLY:
            measure(table, side)


def compare(table, kb, peer_kb):
    """Ours beside the best of the peer's."""
    peers = sorted({name.split(": ")[0] for name in table.rows if name.startswith("Socket.IO")})
    print()
    for name, ours in table.rows.items():
        theirs = [table.rows[f"{peer}: {name}"] for peer in peers if f"{peer}: {name}" in table.rows]
        if not theirs:
            continue
        deliveries, messages = (max(row[key] for row in theirs) for key in ("deliveries", "messages"))
        least = {key: min(row[key] for row in theirs) for key in ("ack_p50", "ack_p99", "delivery_p99", "cpu")}
        print(f"{name}: {ours['deliveries'] / deliveries:.2f} times the peer's best deliveries a second, "
              f"{ours['messages'] / messages:.2f} times its messages; "
              + ", ".join(f"{key.replace('_', ' ')} {ours[key] / value:.2f}" for key, value in least.items()))
    if kb and peer_kb:
        print(f"an idle WebSocket: {kb:.2f} KB, the peer's {min(peer_kb):.2f}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))  # with what it has started
    if set(ONLY) - set(PARTS):
        fail(f"BENCH_ONLY: some of {' '.join(PARTS)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < OF_A_DRIVER + 1000:
        fail(f"at most {most} open files are allowed; raise the limit to {OF_A_DRIVER + 1000}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    table, kb, peer_kb = Table(), None, []
    with contextlib.ExitStack() as stack:
        side = stack.enter_context(Stoa(fresh_folder(stack)))
        side.fill()
        if "idle" in ONLY:
            kb = measure_idle(side, side.named("nginx", "chat"))
        measure_side(table, side)
        if "storm" in ONLY:
            measure_storm(side)
        if "connects" in ONLY:
            measure_connects(side)
        if "held" in ONLY:
            measure_held(table, side)
    for n in (1, 2) if PEERS else ():
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(SocketIo(fresh_folder(stack), n))
            if "idle" in ONLY:
                peer_kb.append(measure_idle(peer, peer.servers()))
            measure_side(table, peer)
            if "connects" in ONLY:
                measure_connects(peer)
    compare(table, kb, peer_kb)


if __name__ == "__main__":
    try:
        main()
    except urllib.error.URLError as error:
        fail(f"the suite does not answer: {error}")
