"""What operators rely on: restarts, a database that goes away, stopping, TLS, two suites side by side."""
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import psycopg2
import pytest
from gateway_fixture import GOAWAY
from metrics_fixture import settled
from stoa_contract import GrpcClient, HttpClient
from stoa_suite_fixture import SERVICES, call_loads, clean_environment, output_folder, wait_until


def account(call, name="ada"):
    request = {"user": {"username": name, "email": f"{name}@example.com", "password": "password123"}}
    code, answer = call("auth", "CreateUser", request)
    assert code == "OK", answer
    return answer["user"]["token"]


SERVING, NOT_SERVING = 1, 2  # grpc.health.v1


def health(suite, contract, service, method, name):
    """Asks grpc.health.v1 of a service about a name: a response (Check), or their stream (Watch)."""
    kind = {"Check": "unary_unary", "Watch": "unary_stream"}[method]
    method = contract.method("grpc.health.v1.Health", method)
    call = getattr(suite.grpc(service), kind)(
        method.path, method.request.SerializeToString, method.response.FromString
    )
    return call(method.request(service=name), timeout=60)


def test_postgres_restarts_under_load(own_suite, contract):
    """Writes in flight fail UNAVAILABLE, acknowledged ones are there, reads are retried, and the service
    is back by itself; nobody restarts it."""
    suite = own_suite()
    call = GrpcClient(contract, suite.grpc)
    token = account(call)
    numbers = iter(range(10**9))
    lock = threading.Lock()

    def write():
        with lock:
            title = f"article {next(numbers)}"
        request = {"article": {"title": title, "description": "d", "body": "b"}}
        code, answer = call("posts", "CreateArticle", request, token, timeout=20)
        return code, answer["article"]["slug"] if code == "OK" else answer

    def read():
        return call("posts", "ListArticles", {"limit": 5}, timeout=20)

    pids = {name: suite.pid(name) for name in ("auth", "posts", "chat")}

    def back():
        return call("posts", "GetArticle", {"slug": "article-0"})[0] == "OK"

    with call_loads(*[write] * 4) as writers, call_loads(*[read] * 4) as readers:
        for _ in range(3):
            before = sum(len(load.results) for load in writers)
            wait_until(lambda: sum(len(load.results) for load in writers) > before + 50, "writes go on")
            suite.wait_restarted("postgres", suite.kill("postgres", signal.SIGQUIT))
        wait_until(back, "posts answers again")
        last = time.monotonic()
        wait_until(lambda: all(any(r[0] > last and r[1] == "OK" for r in l.results) for l in writers), "writes succeed")
    written = [result for load in writers for result in load.results]
    reads = [result for load in readers for result in load.results]
    assert {code for _, code, _ in written} <= {"OK", "UNAVAILABLE"}
    assert {code for _, code, _ in reads} == {"OK"}, "reads are retried while their deadline lasts"
    acknowledged = {what for _, code, what in written if code == "OK"}
    with psycopg2.connect(**suite.database("stoa_posts")) as database, database.cursor() as cursor:
        cursor.execute("SELECT slug FROM posts.articles")
        stored = {slug for slug, in cursor}
        cursor.execute("SELECT sum(n) FROM posts.article_counts")
        assert cursor.fetchone()[0] == len(stored)
    assert acknowledged <= stored
    assert {name: suite.pid(name) for name in pids} == pids, "no service was restarted"


def test_readiness_follows_postgres(own_suite, contract):
    """Without Postgres nobody is ready and everybody is alive; who watches is told at once; and all comes
    back by itself."""
    suite = own_suite(STOA_DATABASE_CONNECTIONS=16)
    http = HttpClient(suite.http)
    watched = health(suite, contract, "posts", "Watch", "")
    assert next(watched).status == SERVING
    assert http("GET", "/readyz").status == 200
    for service in SERVICES:  # ready with its first connection; the others may be yet to come
        settled(suite, service, lambda n: n.get("stoa_db_connections", state="down") == 0)
    suite.supervise("stop", "postgres")
    assert next(watched).status == NOT_SERVING
    assert health(suite, contract, "posts", "Check", "stoa.posts.v1.ArticleService").status == NOT_SERVING
    assert health(suite, contract, "posts", "Check", "liveness").status == SERVING
    unready = wait_until(lambda: (a := http("GET", "/readyz")).status == 503 and a, "not ready")
    assert unready.headers["Content-Type"].startswith("application/problem+json")
    assert http("GET", "/healthz").status == 200
    for service in SERVICES:
        down = settled(suite, service, lambda n: n.get("stoa_db_connections", state="down") == 16)
        assert down.get("stoa_db_up") == down.get("stoa_ready") == down.get("stoa_condition", condition="database reachable") == 0
        assert down.get("stoa_db_connections_lost_total") >= 16
    suite.supervise("start", "postgres")
    assert next(watched).status == SERVING
    wait_until(lambda: http("GET", "/readyz").status == 200, "ready again")
    for service in SERVICES:
        again = settled(suite, service, lambda n: n.get("stoa_db_connects_total") >= 32 and n.get("stoa_db_connections", state="down") == 0)
        assert again.get("stoa_db_up") == again.get("stoa_ready") == 1
        assert again.get("stoa_db_connect_failures_total") > 0


def test_killed_service_is_restarted(own_suite, contract):
    suite = own_suite()
    http = HttpClient(suite.http)
    call = GrpcClient(contract, suite.grpc)
    token = account(call)
    for name in ("posts", "auth", "chat", "gateway", "redis"):
        suite.wait_restarted(name, suite.kill(name))

    def ready():
        try:
            return http("GET", "/readyz").status == 200
        except OSError:
            return False

    wait_until(ready, "ready again")
    assert http("GET", "/api/user", token=token).status == 200, "the signing key has stayed"
    assert "exited: posts" in suite.log("supervisord")


def test_gateway_without_service(own_suite):
    """A service that hangs or is down gives problem+json, and the others go on."""
    suite = own_suite()
    http = HttpClient(suite.http)
    pid = suite.pid("posts")
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = wait_until(lambda: (a := http("GET", "/readyz", timeout=15)).status == 503 and a, "not ready")
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert http("GET", "/.well-known/jwks.json").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: http("GET", "/readyz").status == 200, "ready again")
    suite.supervise("stop", "posts")
    answer = http("GET", "/api/articles")
    assert answer.status == 502 and answer.headers["Content-Type"].startswith("application/problem+json")
    assert http("GET", "/.well-known/jwks.json").status == 200
    suite.supervise("start", "posts")
    wait_until(lambda: http("GET", "/api/articles").status == 200, "articles again")


def test_stopping_lets_running_calls_end(own_suite, contract):
    """SIGTERM under load: calls in work end well, later ones are refused cleanly."""
    suite = own_suite()
    call = GrpcClient(contract, suite.grpc)
    codes = []

    def read():
        code, answer = call("posts", "ListArticles", {})
        codes.append(code)
        return code, answer

    with call_loads(*[read] * 6):
        for _ in range(3):
            more = len(codes)
            wait_until(lambda: len(codes) > more + 200 and codes[-1] == "OK", "load runs")
            pid = suite.kill("posts", signal.SIGTERM)
            suite.wait_restarted("posts", pid)
    assert {code: codes.count(code) for code in set(codes) - {"OK", "UNAVAILABLE"}} == {}
    assert "stopped" in suite.log("posts")


class RawCaller:
    """Calls on one HTTP/2 connection, to see what a gRPC library hides: GOAWAY and the end of the connection."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._socket.sendall(self._h2.data_to_send())
        self._pending = b""
        self.goaways = []  # their error codes
        self.ended = {}  # grpc-status by stream

    def call(self, path, request):
        stream = self._h2.get_next_available_stream_id()
        pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        self._h2.send_headers(stream, [*pairs, ("content-type", "application/grpc"), ("te", "trailers")])
        self._h2.send_data(stream, struct.pack(">BI", 0, len(request)) + request, end_stream=True)
        self._socket.sendall(self._h2.data_to_send())
        return stream

    def status(self, stream):
        while stream not in self.ended:
            assert self._read(), "closed in the midst"
        return self.ended[stream]

    def read_to_the_end(self):
        try:
            while self._read():
                pass
        except ConnectionError:
            pass  # it was closed while we answered a PING
        self._socket.close()

    def _read(self):
        data = self._socket.recv(65536)
        for event in self._h2.receive_data(self._without_goaway(data)):
            if isinstance(event, (h2.events.TrailersReceived, h2.events.ResponseReceived)):
                status = dict(event.headers).get("grpc-status")
                if status is not None:
                    self.ended[event.stream_id] = int(status)
        self._socket.sendall(self._h2.data_to_send())
        return bool(data)

    def _without_goaway(self, data):
        """Whole frames; the library would refuse to read on behind a GOAWAY, where the rest of the answers are."""
        self._pending += data
        passed = b""
        while len(self._pending) >= 9 and len(self._pending) >= (size := 9 + int.from_bytes(self._pending[:3], "big")):
            frame, self._pending = self._pending[:size], self._pending[size:]
            if frame[3] == GOAWAY:
                self.goaways.append(int.from_bytes(frame[13:17], "big"))
            else:
                passed += frame
        return passed


def test_stop_drains_and_says_goaway(own_suite, contract):
    """SIGTERM: the call in work is answered, one that comes later is refused with UNAVAILABLE, then the
    connection ends with GOAWAY, and the process long before its grace is over."""
    suite = own_suite(STOA_GRACE_MS=60000)
    get, request = "/stoa.posts.v1.ArticleService/GetArticle", b"\x0a\x01x"
    caller = RawCaller(suite.grpc_address("posts"))
    watched = health(suite, contract, "posts", "Watch", "")
    assert next(watched).status == SERVING
    with psycopg2.connect(**suite.database("stoa_posts")) as lock, lock.cursor() as cursor:
        cursor.execute("LOCK TABLE posts.articles IN ACCESS EXCLUSIVE MODE")
        in_work = caller.call(get, request)
        wait_until(lambda: waiting(cursor), "the call waits for the table")
        pid = suite.kill("posts", signal.SIGTERM)
        with pytest.raises(grpc.RpcError):
            list(watched)  # ends once the service refuses calls
        assert caller.status(caller.call(get, request)) == grpc.StatusCode.UNAVAILABLE.value[0]
        assert not caller.goaways and in_work not in caller.ended
    assert caller.status(in_work) == grpc.StatusCode.NOT_FOUND.value[0]
    caller.read_to_the_end()
    assert caller.goaways and caller.goaways[0] == h2.errors.ErrorCodes.NO_ERROR
    suite.wait_restarted("posts", pid)


def waiting(cursor):
    """How many statements wait for a lock."""
    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return cursor.fetchone()[0]


def at_once(call, count):
    """Calls call(i) from as many threads; what each returned."""
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


def test_full_queues_refuse_at_once(own_suite, contract):
    """More than may wait for Postgres or for a password's hash is RESOURCE_EXHAUSTED, over HTTP 429, with a
    time to come back; what was accepted is answered; and sign-ins never hold up anything else."""
    suite = own_suite(STOA_DATABASE_QUEUE=64, STOA_AUTH_HASH_THREADS=1, STOA_AUTH_HASH_QUEUE=1)
    call, http = GrpcClient(contract, suite.grpc), HttpClient(suite.http)
    token = account(call)

    with psycopg2.connect(**suite.database("stoa_posts")) as lock, lock.cursor() as cursor:
        cursor.execute("LOCK TABLE posts.articles IN ACCESS EXCLUSIVE MODE")
        method = contract.method("posts", "GetArticle")
        read = suite.grpc("posts").unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
        calls = [read.future(method.request(slug="x"), timeout=60) for _ in range(100)]

        def full():
            """A query of the service's own may have had a place for a moment: then there is one more."""
            waiting = sum(not each.done() for each in calls)
            if waiting < 64:
                calls.append(read.future(method.request(slug="x"), timeout=60))
            return waiting == 64

        wait_until(full, "what has no place is refused")
        refused = [call_.exception() for call_ in calls if call_.done()]
        over_http = http("GET", "/api/articles/x")
    assert {error.code().name for error in refused} == {"RESOURCE_EXHAUSTED"}
    problem = call.problem(refused[0])
    assert problem.reason == "OVERLOADED" and problem.retry_after == 1
    assert over_http.status == 429 and over_http.headers["Retry-After"] == "1"
    assert over_http.headers["Content-Type"].startswith("application/problem+json")
    assert {each.exception().code().name for each in calls if each.exception() not in refused} == {"NOT_FOUND"}

    sign_in = {"user": {"email": "ada@example.com", "password": "password123"}}
    flood = at_once(lambda i: call("auth", "Login", sign_in) if i % 4 else call("auth", "GetCurrentUser", {}, token), 48)
    assert {code for code, _ in flood[::4]} == {"OK"}
    signed_in = [answer for i, answer in enumerate(flood) if i % 4]
    assert {code for code, _ in signed_in} == {"OK", "RESOURCE_EXHAUSTED"}
    assert {answer.retry_after for code, answer in signed_in if code != "OK"} == {1}


@pytest.fixture
def certificate():
    """A self-signed pair for localhost that the suite's account can read; not in pytest's own folder, which every
    run of pytest closes to others."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-") as folder:
        os.chmod(folder, 0o755)
        yield make_certificate(pathlib.Path(folder))


def make_certificate(folder):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "key.pem").chmod(0o644)
    return folder


def test_tls(own_suite, contract, certificate):
    """TCP speaks TLS, the gateway's unix sockets stay plain."""
    suite = own_suite(STOA_TLS_CERTIFICATE=certificate / "cert.pem", STOA_TLS_KEY=certificate / "key.pem")
    credentials = grpc.ssl_channel_credentials((certificate / "cert.pem").read_bytes())
    with grpc.secure_channel(suite.grpc_address("posts"), credentials) as channel:
        assert GrpcClient(contract, lambda _: channel)("posts", "ListArticles", {})[0] == "OK"
    assert GrpcClient(contract, suite.grpc)("posts", "ListArticles", {}, timeout=3)[0] != "OK"
    assert HttpClient(suite.http)("GET", "/api/articles").status == 200


@pytest.mark.parametrize(
    "settings, cause",
    [
        ({"STOA_HTTP_PORT": "http"}, "STOA_HTTP_PORT=http: set a whole number from 1 to 65535"),
        ({"STOA_AUTH_PORT": "0"}, "STOA_AUTH_PORT=0"),
        ({"STOA_RUN_DIR": "/proc/stoa"}, "/proc/stoa"),
        ({"STOA_OUT": "/nonexistent"}, "not built"),
        ({"STOA_LOG_LEVEL": "loud"}, "STOA_LOG_LEVEL=loud"),
        ({"STOA_POSTGRES_BIN": "/nonexistent"}, "/nonexistent"),
    ],
)
def test_wrong_setting_is_one_line(suite, tmp_path, settings, cause):
    environment = {**suite.environment(), "STOA_RUN_DIR": str(tmp_path / "run"), **settings}
    for name in ("STOA_HTTP_PORT", "STOA_AUTH_PORT", "STOA_POSTS_PORT", "STOA_CHAT_PORT"):
        if name not in settings:
            environment.pop(name)
    ran = subprocess.run(
        ["deploy/suite", "up"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode != 0
    lines = [line for line in ran.stderr.splitlines() if line]
    assert len(lines) == 1 and cause in lines[0], ran.stderr


@pytest.mark.parametrize(
    "settings, cause",
    [
        ({"STOA_LISTEN": "nowhere"}, "STOA_LISTEN: nowhere: not an address"),
        ({"STOA_METRICS_LISTEN": "nowhere"}, "STOA_METRICS_LISTEN: nowhere: not an address"),
        ({"STOA_DATABASE": "host=x dbname"}, 'STOA_DATABASE: missing "=" after "dbname"'),
        ({"STOA_DATABASE": "hots=x"}, 'STOA_DATABASE: invalid connection option "hots"'),
        ({"STOA_TLS_CLIENT_CA": "/ca.pem"}, "STOA_TLS_CLIENT_CA: without TLS"),
    ],
)
def test_wrong_setting_of_a_service_names_itself(tmp_path, settings, cause):
    """What could only fail later, or would do nothing, is refused at the start."""
    good = {"STOA_LISTEN": f"unix:{tmp_path}/posts.sock", "STOA_DATABASE": f"host={tmp_path}"}
    ran = subprocess.run(
        [output_folder() / "bin/posts"], env={**clean_environment(), **good, **settings}, capture_output=True, timeout=60
    )
    assert ran.returncode == 1
    errors = [said for said in map(json.loads, ran.stderr.decode().splitlines()) if said["level"] == "error"]
    assert len(errors) == 1 and errors[0]["cause"].startswith(cause), ran.stderr


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("words", [["serv"], ["--version"], ["serve", "now"]])
def test_wrong_command_is_one_line(service, words):
    ran = subprocess.run([output_folder() / "bin" / service, *words], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 1 and f"'{words[-1]}'" in ran.stderr and "--help" in ran.stderr


def test_taken_port_is_one_line(suite, tmp_path):
    environment = {**suite.environment(), "STOA_RUN_DIR": str(tmp_path / "run")}
    ran = subprocess.run(["deploy/suite", "up"], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode != 0 and str(suite.ports["STOA_HTTP_PORT"]) in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_two_suites_side_by_side(suite, own_suite, contract):
    other = own_suite()
    name = f"only-here-{os.getpid()}"
    account(GrpcClient(contract, other.grpc), name)
    request = {"user": {"email": f"{name}@example.com", "password": "password123"}}
    assert GrpcClient(contract, other.grpc)("auth", "Login", request)[0] == "OK"
    assert GrpcClient(contract, suite.grpc)("auth", "Login", request)[0] == "UNAUTHENTICATED"


def test_roles_see_only_their_own(suite):
    """Least privilege in Postgres: a role has its schema, and auth's two views."""
    tables = {
        "stoa_auth": "auth.users",
        "stoa_posts": "posts.articles",
        "stoa_chat": "chat.rooms",
    }
    for role, own in tables.items():
        database = psycopg2.connect(**suite.database(role))
        database.autocommit = True
        with database.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {own}")
            cursor.execute("SELECT count(*) FROM auth.profiles")
            forbidden = [f"SELECT count(*) FROM {table}" for table in tables.values() if table != own]
            forbidden += ["CREATE TABLE public.x (i int)", "CREATE SCHEMA x", "CREATE ROLE x"]
            if role != "stoa_auth":
                forbidden += ["UPDATE auth.profiles SET bio = ''", "SELECT password_hash FROM auth.users"]
            for sql in forbidden:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(sql)
        database.close()


def test_secrets_are_nowhere(suite, new_account, call_grpc):
    """No password and no token in logs or in a process's arguments."""
    account = new_account(password="a very secret password")
    call_grpc("auth", "Login", {"user": {"email": account["email"], "password": "a wrong secret password"}})
    call_grpc("auth", "GetCurrentUser", {}, account["token"])
    database = suite.database("stoa_auth")["password"]
    secrets = ["secret password", account["token"], account["token"].split(".")[2], database]
    texts = {name: suite.log(name) for name in ("auth", "posts", "chat", "gateway", "postgres", "supervisord")}
    texts["ps"] = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    for name, text in texts.items():
        assert not [secret for secret in secrets if secret in text], name
