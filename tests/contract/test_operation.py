"""What operators rely on: restarts, a database that goes away, stopping, TLS, two suites side by side."""
import os
import signal
import subprocess
import threading
import time

import grpc
import psycopg2
import pytest
from stoa_contract import GrpcClient, HttpClient
from stoa_suite_fixture import wait_until


def account(call, name="ada"):
    request = {"user": {"username": name, "email": f"{name}@example.com", "password": "password123"}}
    code, answer = call("auth", "CreateUser", request)
    assert code == "OK", answer
    return answer["user"]["token"]


class Load(threading.Thread):
    """Makes calls in a loop until told to stop, and keeps (time, code, what)."""

    def __init__(self, make):
        super().__init__(daemon=True)
        self._make = make
        self._ended = threading.Event()
        self.results = []

    def run(self):
        while not self._ended.is_set():
            self.results.append((time.monotonic(), *self._make()))

    def end(self):
        self._ended.set()
        self.join(60)
        assert not self.is_alive()
        return self.results


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
    writers, readers = [Load(write) for _ in range(4)], [Load(read) for _ in range(4)]
    for load in writers + readers:
        load.start()
    for _ in range(3):
        before = sum(len(load.results) for load in writers)
        wait_until(lambda: sum(len(load.results) for load in writers) > before + 50, "writes go on")
        suite.wait_restarted("postgres", suite.kill("postgres", signal.SIGQUIT))

    def back():
        return call("posts", "GetArticle", {"slug": "article-0"})[0] == "OK"

    wait_until(back, "posts answers again")
    last = time.monotonic()
    wait_until(lambda: all(any(r[0] > last and r[1] == "OK" for r in l.results) for l in writers), "writes succeed")
    written = [result for load in writers for result in load.end()]
    reads = [result for load in readers for result in load.end()]
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
    suite = own_suite()
    http = HttpClient(suite.http)
    assert http("GET", "/readyz").status == 200
    pid = suite.pid("postgres")
    os.kill(pid, signal.SIGSTOP)
    try:
        # Liveness is another question.
        assert http("GET", "/healthz").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    supervisor = suite.command("status")
    assert supervisor.returncode == 0
    suite.wait_restarted("postgres", suite.kill("postgres", signal.SIGQUIT))
    wait_until(lambda: http("GET", "/readyz").status == 200, "ready again")


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
    """A stopped service gives problem+json at once, and the others go on."""
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


def test_stopping_lets_running_calls_end(own_suite, contract):
    """SIGTERM under load: calls in work end well, later ones are refused cleanly."""
    suite = own_suite()
    call = GrpcClient(contract, suite.grpc)
    codes = []

    def read():
        code, answer = call("posts", "ListArticles", {}, timeout=10)
        codes.append(code)
        return code, answer

    loads = [Load(read) for _ in range(6)]
    for load in loads:
        load.start()
    for _ in range(3):
        more = len(codes)
        wait_until(lambda: len(codes) > more + 200 and codes[-1] == "OK", "load runs")
        pid = suite.kill("posts", signal.SIGTERM)
        suite.wait_restarted("posts", pid)
    for load in loads:
        load.end()
    assert {code: codes.count(code) for code in set(codes) - {"OK", "UNAVAILABLE"}} == {}
    assert "stopped" in suite.log("posts")


@pytest.fixture
def certificate(tmp_path):
    """A self-signed pair for localhost that the suite's account can read."""
    tmp_path.chmod(0o755)
    for folder in list(tmp_path.parents)[:2]:
        folder.chmod(0o711)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "key.pem").chmod(0o644)
    return tmp_path


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
