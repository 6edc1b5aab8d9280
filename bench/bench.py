#!/usr/bin/python3
"""Measures Stoa on this machine and prints one table: requests a second, latency, and CPU
microseconds a request split by process.

All rows come from one run, so that they can be compared with each other; absolute figures of a
shared machine can't. The first rows are ceilings: what nginx and Postgres alone can do. With
STOA_BENCH_PEERS=folder the Fastify peer of that folder is up all the while as well, and each load is
measured in turns, ours and the peer's: the machine's own speed drifts within minutes.

usage: bench/bench.py            (make bench builds first)
Settings: BENCH_SECONDS (8) a turn, BENCH_TURNS (2) a row, BENCH_CONNECTIONS (64), BENCH_ARTICLES (100000) seeded.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent
SECONDS = int(os.environ.get("BENCH_SECONDS", "8"))
TURNS = int(os.environ.get("BENCH_TURNS", "2"))
CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", "64"))
ARTICLES = int(os.environ.get("BENCH_ARTICLES", "100000"))
PEERS = os.environ.get("STOA_BENCH_PEERS")
PG_BIN = "/usr/lib/postgresql/15/bin"
TICK = os.sysconf("SC_CLK_TCK")
FOREIGN_CORES = 0.1  # used by other programs: a row says it
WAITING_CORES = 0.02  # used by the side whose turn it is not: a row says it
WARM_UP_SECONDS = 1  # before each turn: plans, caches, connections; with Node its compiler


def free_ports(count):
    """Held all at once, or one could come twice."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def fail(message):
    sys.exit(f"bench: {message}")


def send(url, body=None, token=None):
    """JSON of the answer to a GET, or with a body to a POST."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"Token {token}"
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


# ---- CPU time ----


def processes():
    """pid -> (name, parent, CPU seconds) of every process; with those of its children that ended."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2 :].split()
        found[int(entry)] = (name, int(fields[1]), sum(map(int, fields[11:15])) / TICK)
    return found


def below(found, roots):
    """The pids in `found` that are in `roots` or descend from them."""
    inside = set(roots)
    while True:
        more = {pid for pid, (_, parent, _) in found.items() if parent in inside} - inside
        if not more:
            return inside
        inside |= more


def cpu(found, roots):
    """name -> CPU seconds so far of the processes below roots."""
    total = {}
    for pid in below(found, roots):
        if pid in found:
            name, _, seconds = found[pid]
            total[name] = total.get(name, 0) + seconds
    return total


def used(before, after, roots):
    """name -> CPU seconds between two looks at processes()."""
    start = cpu(before, roots)
    return {name: seconds - start.get(name, 0) for name, seconds in cpu(after, roots).items()}


class Others:
    """The cores that other programs than those below roots and this one use, from now on."""

    def __init__(self, roots):
        self.roots = [*roots, os.getpid()]
        self.start = time.monotonic()
        self.before = self._seconds()

    def _seconds(self):
        found = processes()
        ours = below(found, self.roots)
        return sum(seconds for pid, (_, _, seconds) in found.items() if pid not in ours)

    def cores(self):
        """What a program has used that has ended meanwhile is in its parent's time, also what it used before."""
        return max(self._seconds() - self.before, 0) / (time.monotonic() - self.start)


# ---- rows ----


@dataclasses.dataclass
class Row:
    """What is measured: load(seconds) -> (requests, seconds, p50, p99); roots: the processes that serve it. And what came of
    its turns: the totals, and the percentiles of the worst turn."""

    name: str
    roots: list
    load: object
    requests: int = 0
    seconds: float = 0
    p50: float = 0
    p99: float = 0
    spent: dict = dataclasses.field(default_factory=dict)
    # The most cores that were used in a turn by the other rows' processes, which wait, and by other programs.
    waiting: float = 0
    foreign: float = 0

    def take_turn(self, others):
        """others: roots of the rows that wait."""
        self.load(WARM_UP_SECONDS)
        before, foreign, start = processes(), Others([*self.roots, *others]), time.monotonic()
        requests, seconds, p50, p99 = self.load(SECONDS)
        if requests == 0:
            fail(f"{self.name}: no request was answered")
        self.foreign = max(self.foreign, foreign.cores())
        after = processes()
        for name, seconds_of in used(before, after, self.roots).items():
            self.spent[name] = self.spent.get(name, 0) + seconds_of
        self.waiting = max(self.waiting, sum(used(before, after, others).values()) / (time.monotonic() - start))
        self.requests += requests
        self.seconds += seconds
        self.p50, self.p99 = max(self.p50, p50), max(self.p99, p99)

    @property
    def rate(self):
        return self.requests / self.seconds

    @property
    def split(self):
        """CPU microseconds a request by the process' name."""
        each = {name: seconds * 1e6 / self.requests for name, seconds in self.spent.items()}
        return {name: cost for name, cost in each.items() if cost >= 0.5}

    @property
    def cpu(self):
        return sum(self.split.values())

    def __str__(self):
        text = " ".join(f"{name} {cost:.0f}" for name, cost in sorted(self.split.items(), key=lambda each: -each[1]))
        if self.waiting >= WAITING_CORES:
            text += f"; who waited used {self.waiting:.2f} cores"
        if self.foreign >= FOREIGN_CORES:
            text += f"; other programs used {self.foreign:.2f} cores"
        return f"{self.name:32} {self.rate:8.0f} {self.p50:8.2f} {self.p99:8.2f} {self.cpu:11.1f}  {text}"


class Table:
    """The printed table."""

    def __init__(self):
        self.rows = {}
        print(
            f"{'':32} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs/req':>11}  by process", flush=True
        )

    def measure(self, name, roots, load):
        """Measures a row by itself, in one turn."""
        (row,) = self.compare([Row(name, roots, load)], turns=1)
        return row

    def compare(self, rows, turns=TURNS):
        """Measures rows in turns, so that a machine that is slower for some seconds is so for each of them."""
        for _ in range(turns):
            for row in rows:
                row.take_turn([pid for other in rows if other is not row for pid in other.roots])
        for row in rows:
            print(row, flush=True)
            self.rows[row.name] = row
        return rows


def wrk(script, url, token=""):
    """A load(seconds) by wrk: one thread, CONNECTIONS keep-alive connections."""
    environment = dict(
        os.environ,
        BENCH_WRK=str(HERE / "wrk"),
        BENCH_ARTICLES=str(ARTICLES),
        BENCH_TOKEN=token,
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--timeout", "10s", "-s", str(HERE / "wrk" / script), url]

    def load(seconds):
        ran = subprocess.run(
            command[:3] + [f"-d{seconds}s"] + command[3:],
            env={**environment, "BENCH_RUN": str(time.time_ns())},
            capture_output=True,
            text=True,
        )
        match = re.search(r"RESULT (\{.*\})", ran.stdout)
        if not match:
            fail(f"wrk gave no result for {url}: {ran.stdout}{ran.stderr}")
        result = json.loads(match[1])
        if result["bad_status"] or result["socket_errors"]:
            fail(f"{url}: {result['bad_status']} bad answers, {result['socket_errors']} socket errors")
        return result["requests"], result["seconds"], result["p50_ms"], result["p99_ms"]

    return load


def h2load(base, path, message, scratch):
    """A load(seconds) of unary gRPC calls by h2load: CONNECTIONS connections with one stream each."""
    payload = scratch / "request.bin"
    payload.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    log = scratch / "h2load.log"

    def load(seconds):
        log.unlink(missing_ok=True)
        ran = subprocess.run(
            ["h2load", "-t1", f"-c{CONNECTIONS}", "-m1", f"-D{seconds}", "-d", str(payload)]
            + ["-H", "content-type: application/grpc", "-H", "te: trailers"]
            + [f"--log-file={log}", base + path],
            capture_output=True,
            text=True,
        )
        times = []
        for line in log.read_text().splitlines() if log.exists() else []:
            _, status, microseconds = line.split()
            if status == "200":
                times.append(int(microseconds))
        if not times:
            fail(f"h2load gave no result: {ran.stdout}{ran.stderr}")
        times.sort()
        return len(times), seconds, times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3

    return load


def pgbench(suite, sql, scratch):
    """A load(seconds) of one prepared statement by pgbench."""
    script = scratch / "lookup.sql"
    script.write_text(sql)
    log = scratch / "pgbench_log"

    def load(seconds):
        for old in scratch.glob("pgbench_log*"):
            old.unlink()
        ran = subprocess.run(
            [f"{PG_BIN}/pgbench", "-n", "-M", "prepared", "-c16", "-j1", f"-T{seconds}", "-f", str(script)]
            + ["-l", f"--log-prefix={log}", suite.conninfo("stoa_posts")],
            env=suite.passwords(),
            capture_output=True,
            text=True,
        )
        times = sorted(
            int(line.split()[2]) for file in scratch.glob("pgbench_log*") for line in file.open()
        )
        if not times:
            fail(f"pgbench gave no result: {ran.stdout}{ran.stderr}")
        return len(times), seconds, times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3

    return load


# ---- the suite ----


def warm(conninfo, environment):
    """Does for data that is new what Postgres does by itself within minutes, and what reading does bit by bit: neither is to
    happen while one side is measured."""
    sql = ["VACUUM (ANALYZE)", "CREATE EXTENSION IF NOT EXISTS pg_prewarm",
           "SELECT count(pg_prewarm(oid)) FROM pg_class WHERE relkind IN ('r', 'i', 't')"]
    ran = subprocess.run([f"{PG_BIN}/psql", "-qX", "-v", "ON_ERROR_STOP=1", conninfo] + [word for each in sql for word in ("-c", each)],
                         env=environment, capture_output=True, text=True)
    if ran.returncode != 0:
        fail(ran.stderr.strip())


class Suite:
    """A private suite on free ports with seeded articles."""

    def __init__(self, scratch):
        self.run_dir = scratch / "run"
        self.http, self.auth, self.posts, self.chat = free_ports(4)
        self.environment = dict(
            os.environ,
            STOA_RUN_DIR=str(self.run_dir),
            STOA_HTTP_PORT=str(self.http),
            STOA_AUTH_PORT=str(self.auth),
            STOA_POSTS_PORT=str(self.posts),
            STOA_CHAT_PORT=str(self.chat),
            # Counted, never reached: all load comes from one address.
            STOA_ADDRESS_RATE="1000000/1s",
            STOA_ADDRESS_CONNECTIONS="3600",
            STOA_ACCOUNT_RATE="1000000/1s",
            # As the peers have it, which write no log of requests.
            STOA_ACCESS_LOG="errors",
            STOA_POSTGRES_BUFFERS="512MB",
        )
        self.url = f"http://127.0.0.1:{self.http}"

    def __enter__(self):
        self._suite("up")
        return self

    def __exit__(self, *_):
        self._suite("down")

    def _suite(self, command):
        ran = subprocess.run([str(REPO / "deploy/suite"), command], env=self.environment, capture_output=True, text=True)
        if ran.returncode != 0:
            fail(f"deploy/suite {command}: {ran.stdout}{ran.stderr}")

    def conninfo(self, role):
        return f"host={self.run_dir}/sock dbname=stoa user={role}"

    def passwords(self):
        """The environment in which libpq finds the roles' passwords."""
        return dict(os.environ, PGPASSFILE=f"{self.run_dir}/secrets/pgpass")

    def seed(self, **sizes):
        """sizes: settings of bench/seed."""
        settings = {name: str(value) for name, value in sizes.items()}
        ran = subprocess.run([HERE / "seed"], env={**self.environment, **settings}, capture_output=True, text=True)
        if ran.returncode != 0:
            fail(ran.stderr.strip())
        warm(self.conninfo("postgres"), self.passwords())

    def roots(self):
        return [int((self.run_dir / "tmp/supervisord.pid").read_text())]

    def reader(self, followed):
        """The token of a fresh account that follows these."""
        user = {"username": "bench", "email": "bench@example.com", "password": "password123"}
        token = send(f"{self.url}/api/users", {"user": user})["user"]["token"]
        for name in followed:
            send(f"{self.url}/api/profiles/{name}/follow", {}, token)
        return token


class Peer:
    """A folder of peers from STOA_BENCH_PEERS, copied, since they install modules beside themselves, with their Postgres
    and Redis."""

    def __init__(self, scratch):
        self.home = scratch / "peers"
        shutil.copytree(PEERS, self.home, ignore=shutil.ignore_patterns("node_modules"))
        subprocess.run(["chmod", "-R", "u+w", str(self.home)], check=True)
        self.data = scratch / "peers-data"
        self.data.mkdir()
        self.environment = dict(os.environ, PEERS_DATA=str(self.data))

    def run(self, folder, *command):
        ran = subprocess.run(command, cwd=self.home / folder, env=self.environment, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        if ran.returncode != 0:
            fail(f"peer: {' '.join(command)}: {ran.stdout}")

    def __enter__(self):
        self.run("rest", "npm", "ci", "--silent")
        self.run("rest", "./run.sh", "infra")
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        self.run("rest", "./run.sh", "infra-stop")

    def postgres(self):
        return int((self.data / "pg/data/postmaster.pid").read_text().split()[0])


class FastifyPeer(Peer):
    """The blog with two workers and pipelined pg."""

    def __init__(self, scratch):
        super().__init__(scratch)
        (self.port,) = free_ports(1)
        self.environment["PG_PIPELINE"] = "4"
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        # Its own script makes as many as it was written for.
        script = self.home / "rest/seed.sql"
        script.write_text(re.sub(r"\b10000\b", str(ARTICLES), script.read_text()))
        self.run("rest", "./run.sh", "seed")
        warm(f"host={self.data}/pg port=17032 dbname=conduit user=postgres", self.environment)
        self.run("rest", "./run.sh", "start", "fastify", "2", str(self.port))
        count = self.wait_answers()["articlesCount"]
        if count != ARTICLES:
            fail(f"the peer has {count} articles, not {ARTICLES}")

    def wait_answers(self):
        """Its script waits for five seconds, which a busy machine may need."""
        end = time.monotonic() + 60
        while True:
            try:
                return send(f"{self.url}/api/articles?limit=1")
            except urllib.error.URLError as error:
                if time.monotonic() > end:
                    fail(f"the peer does not answer: {error}; {(self.home / 'rest/server.log').read_text()}")
                time.sleep(0.1)

    def stop(self):
        self.run("rest", "./run.sh", "stop")

    def roots(self):
        return [int((self.home / "rest/server.pid").read_text()), self.postgres()]

    def reader(self):
        """The token of an account that follows twenty."""
        user = {"email": "user1@mail.com", "password": "password"}
        return send(f"{self.url}/api/users/login", {"user": user})["user"]["token"]


# Both sides have the same articles; AUTHOR is how the accounts are named. What the peer's user1 follows, our reader does.
LOADS = [
    ("GET article", "article.lua", ""),
    ("list of 20", "get.lua", "/api/articles?limit=20"),
    ("list by tag", "get.lua", "/api/articles?tag=tag042&limit=20"),
    ("list by author", "get.lua", "/api/articles?author=AUTHOR42&limit=20"),
    ("list by any author", "any.lua", "/api/articles?author=AUTHORANY&limit=20"),
    ("feed", "feed.lua", "/api/articles/feed?limit=20"),
    ("POST article", "create.lua", ""),
]
FOLLOWED = [1 + (1 + k * 7) % 1000 for k in range(1, 21)]


def main():
    for tool in ("wrk", "h2load", f"{PG_BIN}/pgbench"):
        if not shutil.which(tool):
            fail(f"{tool} is missing: run `make bench`, which installs it")
    # 0711: the suite's own user must reach its folder, and nobody else may list it.
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="stoa-bench-"))
    scratch.chmod(0o711)
    try:
        run(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


PEER = "Fastify peer, "


def run(scratch):
    table = Table()
    with contextlib.ExitStack() as up:
        suite = up.enter_context(Suite(scratch))
        suite.seed(SEED_ARTICLES=ARTICLES)
        sides = [("", suite, "writer", suite.reader(f"writer{i}" for i in FOLLOWED))]
        measure_ceilings(table, suite, scratch)
        if PEERS:
            peer = up.enter_context(FastifyPeer(scratch))
            sides.append((PEER, peer, "user", peer.reader()))
        for name, script, path in LOADS:
            table.compare([Row(prefix + name, side.roots(), wrk(script, side.url + path.replace("AUTHOR", author), token))
                           for prefix, side, author, token in sides])
    print()
    if PEERS:
        waiting = {prefix: max(table.rows[prefix + name].waiting for name, _, _ in LOADS) for prefix in ("", PEER)}
        print(f"While it waited for its turn the peer used {waiting['']:.3f} cores at most, and we used {waiting[PEER]:.3f}.")
    static = table.rows["nginx, return 200"]
    for name, _, _ in LOADS:
        ours, theirs = table.rows[name], table.rows.get(PEER + name)
        line = f"{name}: {ours.cpu:.0f} µs of CPU; worker {ours.split.get('nginx', 0) / static.split['nginx']:.1f} times a static answer"
        if theirs:
            line += (
                f"; against the peer {ours.rate / theirs.rate:.2f} times its req/s,"
                f" p99 {ours.p99 / theirs.p99:.2f} times, CPU {ours.cpu / theirs.cpu:.2f} times"
            )
            # Not a little off: beside a busy machine's programs Node was seen at a hundredth of its own speed.
            if max(ours.foreign, theirs.foreign) >= FOREIGN_CORES:
                line += "; NOT COMPARABLE, other programs used the cores"
        print(line)


def measure_ceilings(table, suite, scratch):
    roots = suite.roots()
    table.measure("nginx, return 200", roots, wrk("get.lua", suite.url + "/healthz"))
    lookup = "SELECT slug, title, description, body, tag_list, created_at FROM posts.articles WHERE slug = 'article-title-1';"
    table.measure("pgbench, article by slug", roots, pgbench(suite, lookup, scratch))
    message = b"\x0a" + bytes([len("article-title-1")]) + b"article-title-1"
    table.measure(
        "gRPC GetArticle, direct",
        roots,
        h2load(f"http://127.0.0.1:{suite.posts}", "/stoa.posts.v1.ArticleService/GetArticle", message, scratch),
    )


if __name__ == "__main__":
    try:
        main()
    except urllib.error.URLError as error:
        fail(f"the suite does not answer: {error}")
