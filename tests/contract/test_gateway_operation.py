"""Running the gateway: configuration errors, reload, liveness and readiness, leaks."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest

from gateway_fixture import (
    DATA,
    DEMO_PROTO,
    RESPONSE,
    SERVICE,
    FakeService,
    Gateway,
    RawUpstream,
    compile_demo,
    frame,
    headers_frame,
    send_until_reset,
    wait_for_close,
    wait_until,
)


@contextlib.contextmanager
def running(descriptor_set, **kwargs):
    gateway = Gateway(descriptor_set, **kwargs)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


@contextlib.contextmanager
def services(messages, gateway, *names):
    made = {name: FakeService(messages, gateway.socket_path(name)) for name in names}
    try:
        yield made
    finally:
        for service in made.values():
            service.stop()


# ---- configuration ----


def config_error(descriptor_set, changes=None):
    gateway = Gateway(descriptor_set, changes)
    try:
        result = gateway.test_config()
    finally:
        gateway.stop()
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if "[emerg]" in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_good_configuration(descriptor_set):
    gateway = Gateway(descriptor_set)
    try:
        result = gateway.test_config()
        assert result.returncode == 0 and result.stderr == ""
    finally:
        gateway.stop()


def test_missing_descriptor_set(tmp_path):
    line = config_error(tmp_path / "none.binpb")
    assert "none.binpb" in line and "No such file" in line


@pytest.mark.parametrize("content", [b"\xff" * 100, b"not a descriptor set", b"\x0a\x05\x0a\x7fabc"])
def test_garbage_descriptor_set(tmp_path, content):
    path = tmp_path / "bad.binpb"
    path.write_bytes(content)
    assert "bad.binpb" in config_error(path)


def test_impossible_route(tmp_path):
    broken = DEMO_PROTO.replace('get: "/demo/watch"', 'get: "/demo/{name"')
    assert "WatchItems" in config_error(compile_demo(tmp_path, broken))


def test_conflicting_routes(tmp_path):
    double = DEMO_PROTO.replace('get: "/demo/watch"', 'get: "/demo/items"')
    line = config_error(compile_demo(tmp_path, double))
    assert "WatchItems" in line and "/demo/items" in line


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("    grpc_json_descriptor_set @DESCRIPTOR_SET@;", "", "grpc_json_descriptor_set"),
        ("grpc_json_timeout 10s", "grpc_json_timeout soon", "grpc_json_timeout"),
        ("grpc_json_response_limit 8m", "grpc_json_response_limit 8q", "grpc_json_response_limit"),
        ("grpc_json_request_header Accept-Language;", "grpc_json_request_header x grpc-timeout;", "grpc_json_request_header"),
        ("grpc_json_request_header Accept-Language;", "grpc_json_request_header TE;", "grpc_json_request_header"),
        ("grpc_json_print unset", "grpc_json_print pretty", "pretty"),
        ("grpc_json_problem_type urn:problem:;", "grpc_json_problem_type 'a b';", "grpc_json_problem_type"),
        ("grpc_json_problems on;", "grpc_json_problems on; grpc_json_problems off;", "duplicate"),
    ],
)
def test_bad_directives(descriptor_set, old, new, says):
    text = (pathlib.Path(__file__).resolve().parents[2] / "gateway" / "nginx.conf.in").read_text()
    assert old in text
    # The rendering has filled in the descriptor set by the time a change is made.
    old = old.replace("@DESCRIPTOR_SET@", str(descriptor_set))
    assert says in config_error(descriptor_set, {old: new})


def test_reload_without_a_failed_request(descriptor_set, messages):
    with running(descriptor_set) as gateway, services(messages, gateway, "chat") as made:
        made["chat"].answers[SERVICE + "GetItem"] = lambda r, c: messages.new("demo.v1.GetItemResponse")
        stop, failures, served = threading.Event(), [], []

        def ask():
            connection = gateway.connect()
            while not stop.is_set():
                try:
                    answer = gateway.get("/demo/items/a", connection=connection)
                    served.append(answer.status)
                    if answer.status != 200:
                        failures.append(answer.body)
                    if answer.headers["Connection"] == "close":
                        connection.close()
                except (ConnectionError, OSError) as error:
                    # A worker that leaves closes idle connections: what HTTP clients retry.
                    connection.close()
                    if not isinstance(error, ConnectionError) and "RemoteDisconnected" not in repr(error):
                        failures.append(repr(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            before = set(gateway.worker_pids())
            wait_until(lambda n=len(served): len(served) > n + 20)
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda b=before: not b & set(gateway.worker_pids()))
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, pathlib.Path(f"{gateway.dir}/log/nginx-error.log").read_text() + str(failures)
        assert len(served) > 60


def test_bad_reload_keeps_the_old_configuration(descriptor_set, messages, tmp_path):
    copy = tmp_path / "api.binpb"
    copy.write_bytes(pathlib.Path(descriptor_set).read_bytes())
    with running(copy) as gateway:
        before = gateway.worker_pids()
        copy.write_bytes(b"\xff\xff")
        gateway.process.send_signal(signal.SIGHUP)
        log = pathlib.Path(f"{gateway.dir}/log/nginx-error.log")
        wait_until(lambda: "api.binpb" in log.read_text())
        assert gateway.get("/demo/items").status == 502
        assert gateway.worker_pids() == before
        log.write_text("")


# ---- health ----


def test_alive_without_services(descriptor_set):
    with running(descriptor_set) as gateway:
        answer = gateway.get("/healthz")
        assert answer.status == 200 and answer.json() == {"status": "ok"}
        assert answer.headers["Content-Type"] == "application/json"


def test_readiness(descriptor_set, messages):
    with running(descriptor_set) as gateway:
        answer = gateway.get("/readyz")
        assert answer.status == 503
        assert answer.errors() == {"auth": ["is not ready"], "posts": ["is not ready"]}
        with services(messages, gateway, "auth", "posts") as made:
            answer = gateway.get("/readyz")
            assert answer.status == 200 and answer.json() == {"status": "ready"}
            assert gateway.request("HEAD", "/readyz").body == b""
            made["posts"].health = "NOT_SERVING"
            answer = gateway.get("/readyz")
            assert answer.status == 503
            assert answer.errors() == {"posts": ["is not ready"]}
            made["posts"].health = "SERVING"
            assert gateway.get("/readyz").status == 200
            made["auth"].stop()
            assert gateway.get("/readyz").errors() == {"auth": ["is not ready"]}
            made["auth"].start()
            assert gateway.get("/readyz").status == 200
            del made["auth"].answers["/grpc.health.v1.Health/Check"]
            assert gateway.get("/readyz").errors() == {"auth": ["is not ready"]}
        assert gateway.get("/readyz").status == 503


def test_readiness_method(descriptor_set):
    with running(descriptor_set) as gateway:
        answer = gateway.post("/readyz", "{}")
        assert answer.status == 405 and answer.errors()


@pytest.mark.parametrize(
    "script",
    [
        lambda connection, stream: wait_for_close(connection),
        lambda connection, stream: connection.sendall(b"garbage" * 100),
        lambda connection, stream: connection.sendall(headers_frame(stream, ((":status", "200"),), end=True)),
        lambda connection, stream: None,
    ],
    ids=["silent", "garbage", "no gRPC", "closes"],
)
def test_readiness_never_hangs(descriptor_set, messages, script):
    with running(descriptor_set) as gateway, services(messages, gateway, "auth"):
        upstream = RawUpstream(gateway.socket_path("posts"), script)
        started = time.monotonic()
        answer = gateway.get("/readyz")
        assert answer.status == 503
        assert answer.errors() == {"posts": ["is not ready"]}
        assert time.monotonic() - started < 10
        upstream.stop()


def test_readiness_of_a_trickling_service(descriptor_set, messages):
    """Whatever comes and is no answer does not make the probe any longer."""
    ended = threading.Event()

    def script(connection, stream):
        connection.sendall(headers_frame(stream, RESPONSE))
        send_until_reset(connection, frame(DATA, 0, stream, b""), pause=0.1)
        ended.set()

    with running(descriptor_set) as gateway, services(messages, gateway, "auth"):
        upstream = RawUpstream(gateway.socket_path("posts"), script)
        started = time.monotonic()
        assert gateway.get("/readyz").errors() == {"posts": ["is not ready"]}
        assert time.monotonic() - started < 10
        assert ended.wait(10), "the probe goes on after its answer"
        upstream.stop()


def test_readiness_asked_by_many(descriptor_set, messages):
    with running(descriptor_set) as gateway, services(messages, gateway, "auth", "posts"):
        statuses = []

        def ask():
            for _ in range(10):
                statuses.append(gateway.get("/readyz").status)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 80


def test_readiness_has_a_limit(descriptor_set, messages):
    """One request of a stranger is one to each service."""
    changes = {"zone=readiness:1m rate=100/1s": "zone=readiness:1m rate=3/1h"}
    with running(descriptor_set, changes=changes) as gateway, services(messages, gateway, "auth", "posts") as made:
        answers = [gateway.get("/readyz") for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 3 + [429] * 2
        assert answers[3].errors() and int(answers[3].headers["Retry-After"]) > 1000
        assert len(made["auth"].calls) == 3
        assert gateway.get("/healthz").status == 200


def test_readiness_client_leaves(descriptor_set, messages):
    with running(descriptor_set) as gateway, services(messages, gateway, "auth"):
        upstream = RawUpstream(gateway.socket_path("posts"), lambda connection, stream: wait_for_close(connection))
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", gateway.port)) as s:
                s.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
                wait_until(lambda: upstream.connections)
        assert gateway.get("/healthz").status == 200
        assert gateway.get("/readyz").status == 503
        upstream.stop()


# ---- several services, one gateway ----


def test_packages_lead_to_their_services(descriptor_set, messages):
    with running(descriptor_set) as gateway, services(messages, gateway, "auth", "posts") as made:
        new = messages.new
        made["auth"].answers["/stoa.auth.v1.AuthService/Login"] = lambda r, c: new(
            "stoa.auth.v1.LoginResponse", user=new("stoa.auth.v1.User", email=r.user.email, bio="")
        )
        made["posts"].answers["/stoa.posts.v1.ArticleService/GetArticle"] = lambda r, c: new(
            "stoa.posts.v1.GetArticleResponse", article=new("stoa.posts.v1.Article", slug=r.slug)
        )
        answer = gateway.post("/api/users/login", {"user": {"email": "a@b.c", "password": "x"}})
        assert answer.status == 200
        assert answer.json() == {
            "user": {"email": "a@b.c", "token": "", "username": "", "bio": "", "image": None},
            "refreshToken": "",
        }
        answer = gateway.get("/api/articles/my-slug")
        article = answer.json()["article"]
        assert article["slug"] == "my-slug" and article["favorited"] is False and article["favoritesCount"] == 0
        assert [path for path, _, _ in made["auth"].calls] == ["/stoa.auth.v1.AuthService/Login"]


# ---- leaks ----


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")))


def test_nothing_leaks(descriptor_set, messages):
    """Descriptors and memory of the worker after many requests of all kinds are those of before."""
    with running(descriptor_set) as gateway, services(messages, gateway, "chat") as made:
        new = messages.new
        made["chat"].answers[SERVICE + "GetItem"] = lambda r, c: new("demo.v1.GetItemResponse")
        made["chat"].answers[SERVICE + "CreateItem"] = lambda r, c: new("demo.v1.CreateItemResponse", item=r.item)

        def round_of_requests():
            connection = gateway.connect()
            for i in range(300):
                gateway.get("/demo/items/a", connection=connection)
                gateway.post("/demo/items", {"item": {"note": "x" * 20_000}}, connection=connection)
                gateway.post("/demo/items", "{", connection=connection)
                gateway.get("/nope", connection=connection)
            connection.close()
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", gateway.port)) as s:
                    s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n\r\n")

        (worker,) = gateway.worker_pids()
        round_of_requests()
        wait_until(lambda: descriptors(worker) < 60)
        files, memory = descriptors(worker), resident_kb(worker)
        for _ in range(3):
            round_of_requests()
        wait_until(lambda: descriptors(worker) <= files + 40)
        assert resident_kb(worker) < memory + 2048


def test_log_is_json_for_every_request(descriptor_set):
    with running(descriptor_set) as gateway:
        gateway.get("/nope")
        gateway.raw(b'GET /no\xff"\xc3\xa4?secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        gateway.raw(b"\x16\x03\x01\x02\x00\r\n\r\n")
        gateway.get("/healthz")
        gateway.wait_for_log(lambda e: e["status"] == "400")
        text = pathlib.Path(f"{gateway.dir}/log/nginx-access.log").read_bytes()
        entries = [json.loads(line.decode()) for line in text.splitlines()]
        # Probes are not worth a line.
        assert sorted(e["status"] for e in entries) == ["400", "404", "404"]
        assert {e["request"] for e in entries if e["status"] == "404"} == {"GET /nope", 'GET /no%FF"%C3%A4'}


# ---- HTTP/2 towards clients ----


def curl_http2(gateway, *args):
    command = ["curl", "-s", "--max-time", "20", "--http2-prior-knowledge", "-o", "/dev/null"]
    command += ["-w", "%{http_version} %{http_code} %{size_download} %{content_type}"]
    return subprocess.run(command + list(args), capture_output=True, text=True).stdout


def test_http2_clients(descriptor_set, messages, tmp_path):
    changes = {"default_server backlog=4096": "default_server http2 backlog=4096"}
    with running(descriptor_set, changes=changes) as gateway, services(messages, gateway, "chat") as made:
        new = messages.new
        made["chat"].answers[SERVICE + "GetItem"] = lambda r, c: new("demo.v1.GetItemResponse")
        made["chat"].answers[SERVICE + "CreateItem"] = lambda r, c: new("demo.v1.CreateItemResponse", item=r.item)
        made["chat"].answers[SERVICE + "DeleteItem"] = lambda r, c: new("demo.v1.DeleteItemResponse")
        items = f"http://127.0.0.1:{gateway.port}/demo/items"
        big = tmp_path / "big.json"
        big.write_text('{"item":{"name":"' + "x" * 1_500_000 + '"}}')
        as_json = ("-H", "Content-Type: application/json", "--data-binary")
        assert curl_http2(gateway, items + "/a").startswith("2 200 ")
        assert curl_http2(gateway, "-I", items + "/a").startswith("2 200 0 ")
        assert curl_http2(gateway, "-X", "DELETE", items + "/a").startswith("2 204 0")
        assert curl_http2(gateway, *as_json, "{", items).endswith("application/problem+json")
        assert curl_http2(gateway, *as_json, f"@{big}", items).startswith("2 201 1500")
        made["chat"].stop()
        assert curl_http2(gateway, items + "/a").startswith("2 502 ")
        assert curl_http2(gateway, "-I", items + "/a").startswith("2 502 0 ")
