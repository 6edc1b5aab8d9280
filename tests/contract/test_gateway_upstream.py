"""Upstreams that are down, slow, broken or hostile: the caller gets a 502, 503 or 504 problem, soon, and
the gateway goes on."""
import os
import pathlib
import socket
import struct
import threading
import time

import pytest

from gateway_fixture import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RESPONSE,
    RST_STREAM,
    SERVICE,
    SETTINGS,
    TRAILERS,
    FakeService,
    Gateway,
    Messages,
    RawUpstream,
    compile_demo,
    frame,
    grpc_message,
    headers_frame,
    send_until_reset,
    wait_for_close,
    wait_until,
)

LIMIT = 100_000


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return Messages(compile_demo(tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def gateway(messages):
    gateway = Gateway(messages.path, {"grpc_json_response_limit 8m": f"grpc_json_response_limit {LIMIT}"})
    gateway.messages = messages
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def upstream(gateway):
    """Makes the chat upstream play a script."""
    made = []

    def make(script):
        made.append(RawUpstream(gateway.socket_path("chat"), script))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def service(gateway, messages):
    service = FakeService(messages, gateway.socket_path("chat"))
    yield service
    service.stop()


def item(messages, **values):
    return messages.new("demo.v1.GetItemResponse", item=messages.new("demo.v1.Item", **values)).SerializeToString()


def good_answer(messages, stream, **values):
    return (
        headers_frame(stream, RESPONSE)
        + frame(DATA, 0, stream, grpc_message(item(messages, **values)))
        + headers_frame(stream, TRAILERS, end=True)
    )


HASTY = {"Request-Timeout": "0.7"}  # for what ends by that alone


def refuses(gateway, status, key="service"):
    """Each method gets the problem, and a HEAD gets no body."""
    headers = HASTY if status == 504 else {}
    answer = gateway.get("/demo/items/a", headers=headers)
    assert answer.status == status, answer.body
    assert list(answer.errors()) == [key]
    assert "detail" not in answer.problem()
    head = gateway.request("HEAD", "/demo/items/a", headers=headers)
    assert head.status == status and head.body == b""
    return answer


# ---- down ----


def test_no_socket(gateway):
    pathlib.Path(gateway.socket_path("chat")).unlink(missing_ok=True)
    refuses(gateway, 502)
    connection = gateway.connect()
    assert gateway.post("/demo/items", {}, connection=connection).status == 502
    assert gateway.get("/healthz", connection=connection).status == 200
    connection.close()


def test_nobody_listens(gateway):
    path = gateway.socket_path("chat")
    pathlib.Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    os.chmod(path, 0o777)
    refuses(gateway, 502)


def test_comes_back(gateway, messages):
    """A restarted service is used at once, also over connections that were kept from before."""
    service = FakeService(messages, gateway.socket_path("chat"))
    service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new("demo.v1.GetItemResponse")
    for _ in range(3):
        assert gateway.get("/demo/items/a").status == 200
    service.stop()
    assert gateway.get("/demo/items/a").status == 502
    service.start()
    try:
        for _ in range(10):
            assert gateway.get("/demo/items/a").status == 200
    finally:
        service.stop()


# ---- silent ----


def test_silent_before_the_header(gateway, upstream):
    upstream(lambda connection, stream: wait_for_close(connection))
    refuses(gateway, 504)


def test_silent_after_the_header(gateway, upstream):
    def script(connection, stream):
        connection.sendall(headers_frame(stream, RESPONSE))
        wait_for_close(connection)

    upstream(script)
    refuses(gateway, 504)


def test_silent_amid_the_message(gateway, messages, upstream):
    def script(connection, stream):
        message = grpc_message(item(messages, name="abc"))
        connection.sendall(headers_frame(stream, RESPONSE) + frame(DATA, 0, stream, message[:7]))
        wait_for_close(connection)

    upstream(script)
    refuses(gateway, 504)


def test_silent_before_the_trailers(gateway, messages, upstream):
    def script(connection, stream):
        connection.sendall(
            headers_frame(stream, RESPONSE) + frame(DATA, 0, stream, grpc_message(item(messages, name="abc")))
        )
        wait_for_close(connection)

    upstream(script)
    refuses(gateway, 504)


def test_late_failure_keeps_the_connection(gateway, upstream):
    def script(connection, stream):
        connection.sendall(headers_frame(stream, RESPONSE))
        wait_for_close(connection)

    upstream(script)
    connection = gateway.connect()
    for _ in range(2):
        assert gateway.get("/demo/items/a", connection=connection, headers=HASTY).status == 504
        assert connection.sock is not None
    connection.close()


@pytest.mark.parametrize("payload", [b"", b"\0"])
def test_trickle(gateway, upstream, payload):
    """Each frame renews nginx's time limit between two reads; the call has one as a whole."""

    def script(connection, stream):
        connection.sendall(headers_frame(stream, RESPONSE) + frame(DATA, 0, stream, grpc_message(b"", length=90_000)))
        while True:
            connection.sendall(frame(DATA, 0, stream, payload))
            time.sleep(0.05)

    upstream(script)
    refuses(gateway, 504)


# ---- broken ----


def broken_answers(wire):
    """Name, and what the upstream sends before it closes its connection."""
    message = grpc_message(wire)
    header = lambda s: headers_frame(s, RESPONSE)  # noqa: E731
    trailer = lambda s: headers_frame(s, TRAILERS, end=True)  # noqa: E731
    data = lambda s, payload, flags=0: frame(DATA, flags, s, payload)  # noqa: E731
    return {
        "nothing": lambda s: b"",
        "garbage": lambda s: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 10,
        "random bytes": lambda s: bytes(range(256)) * 20,
        "half a frame header": lambda s: b"\0\0",
        "half a header": lambda s: header(s)[:20],
        "only the header": header,
        "header, garbage": lambda s: header(s) + bytes(range(255, 0, -1)) * 20,
        "header, half a message": lambda s: header(s) + data(s, message[:8]),
        "half a data frame": lambda s: header(s) + data(s, message)[:-3],
        "no trailers": lambda s: header(s) + data(s, message),
        "no trailers, end of stream": lambda s: header(s) + data(s, message, END_STREAM),
        "half the trailers": lambda s: header(s) + data(s, message) + trailer(s)[:15],
        "no message": lambda s: header(s) + trailer(s),
        "no message, all in one": lambda s: headers_frame(s, RESPONSE + TRAILERS, end=True),
        "less than a prefix": lambda s: header(s) + data(s, b"\0\0\0") + trailer(s),
        "truncated message": lambda s: header(s) + data(s, grpc_message(b"\x0a\x00", length=9)) + trailer(s),
        "two messages": lambda s: header(s) + data(s, message) + data(s, message) + trailer(s),
        "a message and a byte": lambda s: header(s) + data(s, message + b"\0") + trailer(s),
        "compressed": lambda s: header(s) + data(s, grpc_message(b"\x1f\x8b", flag=1)) + trailer(s),
        "no protobuf": lambda s: header(s) + data(s, grpc_message(b"\xff\xff\xff\xff")) + trailer(s),
        "invalid UTF-8": lambda s: header(s) + data(s, grpc_message(b"\x0a\x03\x0a\x01\xff")) + trailer(s),
        "reset at once": lambda s: frame(RST_STREAM, 0, s, struct.pack(">I", 2)),
        "reset after the header": lambda s: header(s) + frame(RST_STREAM, 0, s, struct.pack(">I", 2)),
        "reset amid the message": lambda s: header(s) + data(s, message[:8]) + frame(RST_STREAM, 0, s, b"\0\0\0\2"),
        "go away": lambda s: frame(GOAWAY, 0, 0, struct.pack(">II", 0, 2)),
        "go away after the header": lambda s: header(s) + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 2)),
        "bad status": lambda s: headers_frame(s, ((":status", "abc"),), end=True),
        "bad grpc-status": lambda s: header(s) + data(s, message) + headers_frame(s, (("grpc-status", "x"),), end=True),
        "no status at all": lambda s: headers_frame(s, (("content-type", "application/grpc"),), end=True),
        "plain HTTP 500": lambda s: headers_frame(s, ((":status", "500"), ("content-type", "text/html")))
        + data(s, b"<html>secret</html>", END_STREAM),
        "plain HTTP 200": lambda s: headers_frame(s, ((":status", "200"), ("content-type", "text/html")))
        + data(s, b"<html>secret</html>", END_STREAM),
        "a redirect": lambda s: headers_frame(s, ((":status", "302"), ("location", "http://evil/")), end=True),
        "content-length too small": lambda s: headers_frame(s, RESPONSE + (("content-length", "2"),))
        + data(s, message) + trailer(s),
        "content-length too large": lambda s: headers_frame(s, RESPONSE + (("content-length", "99"),))
        + data(s, message) + trailer(s),
        "huge header": lambda s: headers_frame(s, RESPONSE + (("x-a", "a" * 15_000), ("x-b", "b" * 15_000)), end=False),
    }


@pytest.mark.parametrize("name", list(broken_answers(b"")))
def test_broken(gateway, messages, upstream, name):
    make = broken_answers(item(messages, name="abc"))[name]
    upstream(lambda connection, stream: connection.sendall(make(stream)))
    answer = refuses(gateway, 502)
    assert b"secret" not in answer.body and answer.headers["Location"] is None


def test_broken_byte_by_byte(gateway, messages, upstream):
    """However the bytes are cut, the answer is read the same."""

    def script(connection, stream):
        for byte in good_answer(messages, stream, name="abc", tag_list=["x"] * 5):
            connection.sendall(bytes([byte]))
        wait_for_close(connection)

    upstream(script)
    answer = gateway.get("/demo/items/a")
    assert answer.status == 200 and answer.json()["item"]["name"] == "abc"


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_cut_anywhere(gateway, messages, upstream, cut):
    full = len(good_answer(messages, 1, name="abc"))

    def script(connection, stream):
        connection.sendall(good_answer(messages, stream, name="abc")[:cut])
        if cut >= full:
            wait_for_close(connection)  # closing with bytes unread would be a reset

    upstream(script)
    answer = gateway.get("/demo/items/a")
    assert answer.status == (502 if cut < full else 200)


@pytest.mark.parametrize("status, expected", [(503, 503), (504, 504), (429, 429), (401, 502), (404, 502)])
def test_http_status_of_a_proxy_between(gateway, upstream, status, expected):
    def script(connection, stream):
        connection.sendall(headers_frame(stream, ((":status", str(status)),), end=True))
        wait_for_close(connection)  # closing with bytes unread would be a reset

    upstream(script)
    assert gateway.get("/demo/items/a").status == expected


# ---- too much ----


def test_oversized_by_its_length(gateway, upstream):
    def script(connection, stream):
        connection.sendall(headers_frame(stream, RESPONSE) + frame(DATA, 0, stream, grpc_message(b"", length=2**32 - 1)))
        send_until_reset(connection)

    upstream(script)
    refuses(gateway, 502)


def test_oversized_message(gateway, messages, service):
    service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new(
        "demo.v1.GetItemResponse", item=messages.new("demo.v1.Item", note="x" * (LIMIT + 1))
    )
    refuses(gateway, 502)
    service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new(
        "demo.v1.GetItemResponse", item=messages.new("demo.v1.Item", note="x" * (LIMIT - 100))
    )
    assert gateway.get("/demo/items/a").status == 200


def test_endless_small_frames(gateway, upstream):
    """An upstream that never stops: cut at the first byte that is too many."""

    def script(connection, stream):
        connection.sendall(headers_frame(stream, RESPONSE) + frame(DATA, 0, stream, grpc_message(b"", length=10)))
        send_until_reset(connection, frame(DATA, 0, stream, b"\0" * 100))

    upstream(script)
    refuses(gateway, 502)


def test_early_answer(gateway, messages, upstream):
    """An answer before the request's end is taken."""

    def script(connection, stream):
        connection.sendall(good_answer(messages, stream, name="early"))
        wait_for_close(connection)

    upstream(script)
    body = b'{"item":{"name":"' + b"x" * 1_000_000 + b'"}}'
    assert gateway.post("/demo/items", body).status in (201, 502)


# ---- connections and retries ----


def test_connections_are_reused(gateway, messages, service):
    service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new(
        "demo.v1.GetItemResponse", item=messages.new("demo.v1.Item", note=c.peer())
    )
    path = gateway.socket_path("chat")
    for i in range(30):
        answer = gateway.get("/demo/items/a", headers={"X-Request-Id": f"reuse-{i}"})
        assert answer.status == 200
    entry = gateway.wait_for_log(lambda e: e["request_id"] == "reuse-29")
    assert path in entry["upstream"]
    # One worker, one call at a time: one connection serves them all, or two when a call came before the end of the one
    # before had been read. The kernel's table is read in pieces and may lack a line while others come and go.
    wait_until(lambda: connections_to(path) in (1, 2))


def connections_to(path):
    """Accepted connections of a unix socket, as the kernel counts them."""
    with open("/proc/net/unix", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    # A listening socket has the flag 00010000; the others with this path are its connections.
    return sum(1 for row in rows if row[-1] == path and row[3] != "00010000")


def closes_kept_connection(messages, seen):
    """Serves one call; the next one on the same connection finds it closing."""

    def script(connection, stream):
        seen.append("first")
        connection.sendall(good_answer(messages, stream))
        while True:
            kind, _flags, number, _payload = RawUpstream.read_frame(connection)
            # The stream after the first call's is the one that would carry calls.
            if kind == HEADERS and number > stream + 2:
                seen.append("again")
                return

    return script


def test_idempotent_call_is_retried(gateway, messages, upstream):
    seen = []
    upstream(closes_kept_connection(messages, seen))
    assert gateway.get("/demo/items/a").status == 200
    # The kept connection dies under this call; a fresh one serves it.
    assert gateway.get("/demo/items/a").status == 200
    assert seen == ["first", "again", "first"]


def test_write_is_not_retried(gateway, messages, upstream):
    seen = []
    upstream(closes_kept_connection(messages, seen))
    assert gateway.post("/demo/items", {}).status == 201
    assert gateway.post("/demo/items", {}).status == 502
    assert seen == ["first", "again"]


def test_client_leaves(gateway, messages, service):
    """The call is cancelled when nobody waits for its answer any more."""
    started, cancelled = threading.Event(), threading.Event()

    def answer(request, context):
        context.add_callback(cancelled.set)
        started.set()
        cancelled.wait(20)
        return messages.new("demo.v1.GetItemResponse")

    service.answers[SERVICE + "GetItem"] = answer
    with socket.create_connection(("127.0.0.1", gateway.port)) as s:
        s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\n\r\n")
        assert started.wait(20)
    assert cancelled.wait(20)
    assert gateway.wait_for_log(lambda e: e["request_id"] == "left")["status"] == "499"


def test_many_clients_leave(gateway, messages, service):
    """Every call of a client that left ends, soon enough for the service to notice."""
    started, ended = [], []

    def answer(request, context):
        done = threading.Event()
        started.append(1)
        if context.add_callback(done.set):
            done.wait(30)
        if done.is_set() or not context.is_active():
            ended.append(1)
        return messages.new("demo.v1.GetItemResponse")

    service.answers[SERVICE + "GetItem"] = answer
    sockets = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(20)]
    for s in sockets:
        s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n\r\n")
    # Those that the gateway's deadline has ended by now have ended, too.
    wait_until(lambda: len(started) >= 20)
    for s in sockets:
        s.close()
    wait_until(lambda: len(ended) >= 20)
    service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new("demo.v1.GetItemResponse")
    assert gateway.get("/demo/items/a").status == 200


def test_slow_reader_gets_everything(gateway, messages, service):
    note = "x" * (LIMIT - 100)
    service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new(
        "demo.v1.GetItemResponse", item=messages.new("demo.v1.Item", note=note)
    )
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", gateway.port))
        s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" )
        data = b""
        while True:
            more = s.recv(2000)
            if not more:
                break
            data += more
    assert data.count(b"x") >= LIMIT - 100 and data.endswith(b"}}")


def test_settings_flood(gateway, messages, upstream):
    def script(connection, stream):
        connection.sendall(frame(SETTINGS, 0, 0) * 200 + good_answer(messages, stream, name="abc"))
        wait_for_close(connection)

    upstream(script)
    assert gateway.get("/demo/items/a").status in (200, 502)
