"""WebSockets through the gateway, over time: when the 101 is sent, clients that are slow, silent or gone, services
that fail, stall or die, workers that end; and that nothing is left of any of it. Upstream is the test server, or a
service on python3-h2 (h2_fixture.py) that does what a correct one would not."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import h2.events
import pytest
from gateway_fixture import NGINX, ROOT, TestGateway, grpc_message, wait_until
from h2_fixture import Connection, H2Service
from websocket_fixture import BINARY, PING, PONG, TEXT, Refused, Socket, close_frame, frame

WEBSOCKET = "grpc_json_websocket test;"
CHAT, CHAT_RAW, COLLECT = (f"/stoa.test.v1.EchoService/{name}" for name in ("Chat", "ChatRaw", "Collect"))


class OddGateway(TestGateway):
    """With a service of our own in place of the test server: rpcs, by path, as H2Service has them."""

    def __init__(self, rpcs, changes=None, service=H2Service):
        self.rpcs = rpcs
        self.kind = service
        self.service = None
        super().__init__(changes)

    def start_server(self):
        self.service = self.kind(self.socket_path("test"), rpcs=self.rpcs)

    def stop_server(self):
        if self.service:
            self.service.stop()

    def streams(self):
        return [stream for c in self.service.connections for stream in list(c.streams.values())]

    def stream(self, number=0):
        """Of one WebSocket after the other. Its 101 may be out before the service has heard of it."""
        return wait_until(lambda: self.streams()[number:])[0]


@contextlib.contextmanager
def serving(gateway):
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@pytest.fixture
def gateway():
    """One whose server and workers a test may end."""
    with serving(TestGateway({WEBSOCKET: WEBSOCKET + "grpc_json_websocket_close_timeout 1s;"})) as started:
        yield started


def opened(connection, stream, event):
    if isinstance(event, h2.events.RequestReceived):
        connection.respond(stream)
    elif isinstance(event, h2.events.DataReceived):
        connection.consume(event)
        stream.received += event.data


def silent(connection, stream, event):
    if isinstance(event, h2.events.DataReceived):
        connection.consume(event)
        stream.received += event.data


# ---- the 101 ----

PATIENT = {WEBSOCKET: WEBSOCKET + "grpc_json_websocket_open_timeout 1h;"}


def fails(code, message, late=False):
    """Ends at once: by its headers alone, or with headers and trailers."""

    def rpc(connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            if late:
                connection.respond(stream)
                connection.trailers(stream, code, message)
            else:
                connection.respond(stream, ("grpc-status", str(code)), ("grpc-message", message), end=True)

    return rpc


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("code", "status"), [(16, 401), (7, 403), (5, 404), (8, 429), (13, 500), (14, 503)])
def test_failure_at_once_is_an_http_answer(code, status, late):
    with serving(OddGateway({CHAT: fails(code, "no, you may not", late)}, PATIENT)) as gateway:
        with pytest.raises(Refused) as got:
            Socket(gateway.port, "/test/echo")
        assert got.value.status == status
        problem = json.loads(got.value.body)
        assert problem.get("detail") == ("no, you may not" if status < 500 else None)
        assert (got.value.headers["WWW-Authenticate"] is not None) == (status == 401)
        entry = gateway.wait_for_log(lambda e: e["rpc"] == CHAT)
        assert (entry["status"], entry["grpc_status"]) == (str(status), str(code))


def test_refused_connection_serves_on():
    """After a problem the connection goes on as any other."""
    with serving(OddGateway({CHAT: fails(16, "who?")}, PATIENT)) as gateway:
        connection = gateway.connect()
        for _ in range(3):
            connection.request("GET", "/test/echo", headers={
                "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 401


def test_service_that_says_nothing():
    """No metadata until the first message: the 101 does not wait for ever."""
    with serving(OddGateway({CHAT: silent})) as gateway, Socket(gateway.port, "/test/echo") as s:
        s.send(TEXT, "{}")
        wait_until(lambda: gateway.stream().received == grpc_message(b""))
        s.drop()
        wait_until(lambda: gateway.stream().reset is not None)


def test_client_that_does_not_wait():
    """One that leaves before the 101 ends the RPC."""
    with serving(OddGateway({CHAT: silent}, PATIENT)) as gateway:
        s = Socket(gateway.port, "/test/echo", wait=False)
        wait_until(lambda: gateway.service.connections and gateway.streams())
        s.drop()
        wait_until(lambda: gateway.stream().reset is not None)
        assert gateway.wait_for_log(lambda e: e["rpc"] == CHAT)["status"] == "499"


def test_messages_before_the_101():
    """A service that speaks first: all of it comes, in order, and the end."""

    def rpc(connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            connection.respond(stream)
            stream.waiting = b"".join(grpc_message(b"\x10" + bytes([n])) for n in range(1, 100))
            connection.trailers(stream, 9, "enough")

    with serving(OddGateway({CHAT: rpc})) as gateway, Socket(gateway.port, "/test/echo") as s:
        assert [json.loads(s.message())["number"] for n in range(1, 100)] == [str(n) for n in range(1, 100)]
        assert s.ends() == (4009, "enough")


def test_end_at_once():
    def rpc(connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            connection.respond(stream)
            connection.trailers(stream, 0)

    with serving(OddGateway({CHAT: rpc})) as gateway, Socket(gateway.port, "/test/echo") as s:
        assert s.ends() == (1000, "")


def test_metadata():
    """The same as of a call: a token among the subprotocols is Authorization, and stays out of logs."""
    with serving(OddGateway({CHAT: opened})) as gateway:
        for seen, headers in enumerate(({"Sec-WebSocket-Protocol": "test.v1, bearer.se.cr.et"}, {"Authorization": "Bearer se.cr.et"})):
            with Socket(gateway.port, "/test/echo", headers) as s:
                assert "se.cr.et" not in str(s.headers)
                metadata = wait_until(lambda seen=seen: gateway.service.requests[seen:])[0]
                assert metadata["authorization"] == "Bearer se.cr.et"
                assert metadata["x-request-id"] == s.headers["X-Request-Id"]
                assert metadata["te"] == "trailers" and "grpc-timeout" not in metadata
                assert not [name for name in metadata if "websocket" in name or name in ("upgrade", "connection", "origin")]
        wait_until(lambda: len(gateway.log_entries()) == 2)
        for log in pathlib.Path(gateway.dir, "log").iterdir():
            assert b"se.cr.et" not in log.read_bytes()


def refused_late(refused):
    """A 503 that says when to come back, some seconds apart."""
    assert 1 <= int(refused.headers["Retry-After"]) <= 4
    return refused.status == 503 and json.loads(refused.body)["status"] == 503


@pytest.mark.parametrize(("opening", "seconds", "let_in"),
                         [("200ms 0", 0.5, False), ("200ms 1h", 0.5, True), ("200ms 1s", 1.5, True), ("off", 0.5, True)])
def test_who_waits_too_long(opening, seconds, let_in):
    """For a worker that does not come to them: before it has accepted them, and after that. Who is refused is so before
    the service hears of it, until nobody waits any more. A few whom it gets to within the burst are let in, however long it
    had stood still: they do not wait for each other."""
    settings = {WEBSOCKET: f"{WEBSOCKET}grpc_json_websocket_opening {opening};"}
    with serving(OddGateway({CHAT: opened}, settings)) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as accepted:
            accepted.sendall(b"GET /test/echo HTTP/1.1\r\nHost: a\r\n")
            (worker,) = gateway.worker_pids()
            os.kill(worker, signal.SIGSTOP)
            sockets = [Socket(gateway.port, "/test/echo", wait=False) for _ in range(20)]
            other = Socket(gateway.port, "/test/echo/none", wait=False)
            accepted.sendall(b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            time.sleep(seconds)
            os.kill(worker, signal.SIGCONT)
            assert accepted.recv(12) == (b"HTTP/1.1 101" if let_in else b"HTTP/1.1 503")
            for s in sockets:
                if let_in:
                    s.open()
                else:
                    with pytest.raises(Refused) as got:
                        s.open()
                    assert refused_late(got.value)
            # The 101 does not wait for a service that is slow to hear of it, and who leaves before that is nobody there.
            wait_until(lambda: len(gateway.service.requests) >= (21 if let_in else 0))
            assert len(gateway.service.requests) == (21 if let_in else 0)
        for s in sockets:
            s.drop()
        # What has a form of its own is not asked for it.
        with pytest.raises(Refused) as got:
            other.open()
        assert got.value.status == 404

        def is_let_in():
            with contextlib.suppress(Refused), Socket(gateway.port, "/test/echo"):
                return True

        wait_until(is_let_in)


def test_errors_name_the_client():
    """Also those of a session, whose request has gone with what nginx knew of its client."""
    with serving(OddGateway({CHAT: opened}, {"nginx-error.log warn;": "nginx-error.log info;"})) as gateway:
        with Socket(gateway.port, "/test/echo") as s:
            s.raw(b"\xff\xff")
            assert s.ends()[0] == 1002
        log = pathlib.Path(gateway.dir, "log/nginx-error.log")
        assert wait_until(lambda: re.search(r"websocket: closed with 1002: .*, client: 127\.0\.0\.1, server: ", log.read_text()))


def test_deadline():
    with serving(OddGateway({CHAT: opened})) as gateway:
        with Socket(gateway.port, "/test/echo", {"Request-Timeout": "1"}) as s:
            assert wait_until(lambda: gateway.service.requests)[-1]["grpc-timeout"] == "1000m"
            assert s.ends()[0] == 4004


def test_handshake_when_the_socket_is_full():
    """Behind an answer that the client has not read there may be no room for the 101, or for a part of it: with one
    of these sizes, whatever the kernel makes of the buffers' sizes."""
    sizes = range(8000, 12000, 20)
    upgrade = (b"GET /test/echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    body = b"GET /test/echo-unary/x?padding=%d HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving(TestGateway({" default_server;": " default_server sndbuf=4k;"})) as gateway:
        sockets = []
        for size in sizes:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(30)
            s.connect(("127.0.0.1", gateway.port))
            s.sendall(body % size + upgrade)
            sockets.append(s)
        time.sleep(0.3)
        for size, s in zip(sizes, sockets, strict=True):
            with s, s.makefile("rb") as reader:
                first = http.client.HTTPResponse(s)
                first.fp = reader
                first.begin()
                assert len(json.loads(reader.read(int(first.headers["Content-Length"])))["padding"]) == size
                assert reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
                while reader.readline() != b"\r\n":
                    pass
                s.sendall(frame(TEXT, '{"message":"in"}'))
                assert reader.read(18) == b'\x81\x10{"message":"in"}'


# ---- what a service does wrong ----


@pytest.mark.parametrize(
    ("payload", "path", "code"), [
        (grpc_message(b"\xff\xff"), "/test/echo", 1011),
        (grpc_message(b"\x0a\xff"), "/test/echo/raw", 1011),
        (grpc_message(b"", flag=1), "/test/echo", 1011),
        (grpc_message(b"", length=21 << 20), "/test/echo", 1011),
    ])
def test_broken_message(payload, path, code):
    def rpc(connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            connection.respond(stream)
        elif isinstance(event, h2.events.DataReceived):
            stream.waiting = payload

    with serving(OddGateway({CHAT: rpc, CHAT_RAW: rpc})) as gateway, Socket(gateway.port, path) as s:
        s.send(TEXT, "{}")
        assert s.ends()[0] == code
        wait_until(lambda: gateway.stream().reset is not None)


def test_text_that_is_none():
    """A service may call anything text: what is not UTF-8 goes as bytes."""

    def rpc(connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            connection.respond(stream)
            for data in (b"text", b"\xff\xfe"):
                body = b"\x0a\x0atext/plain\x12" + bytes([len(data)]) + data
                stream.waiting += grpc_message(body)

    with serving(OddGateway({CHAT_RAW: rpc})) as gateway, Socket(gateway.port, "/test/echo/raw") as s:
        assert s.receive() == (TEXT, b"text")
        assert s.receive() == (BINARY, b"\xff\xfe")


def test_service_is_killed(gateway):
    with Socket(gateway.port, "/test/echo") as s, Socket(gateway.port, "/test/echo/raw") as t:
        gateway.server.kill()
        gateway.server.wait()
        for each in (s, t):
            assert each.ends() == (1012, "the connection to the service was lost")
        gateway.start_server()
        with Socket(gateway.port, "/test/echo") as again:
            again.send(TEXT, '{"message":"back"}')
            assert again.message() == '{"message":"back"}'


# ---- the closing handshake ----


def test_client_that_does_not_answer_a_close(gateway):
    with Socket(gateway.port, "/test/echo") as s:
        s.send(TEXT, '{"message": "bye"}')
        assert s.code() == (1000, "")
        assert s.receive() is None


def test_service_that_goes_on_after_a_close():
    changes = {WEBSOCKET: WEBSOCKET + "grpc_json_websocket_close_timeout 300ms;"}
    with serving(OddGateway({CHAT: opened}, changes)) as gateway, Socket(gateway.port, "/test/echo") as s:
        assert s.close(3333) == 3333
        wait_until(lambda: gateway.stream().reset is not None)


def test_client_that_does_not_hang_up(gateway):
    """Nor does one that sends on and on."""
    with Socket(gateway.port, "/test/echo") as s:
        s.raw(close_frame(1000))
        assert s.code() == (1000, "")
        with pytest.raises(OSError):  # noqa: PT011
            while True:
                s.raw(b"x" * 10000)
                time.sleep(0.01)


def test_input_after_an_error_does_not_take_the_close_away(gateway):
    """Closing with input unread would reset the connection, and with it the Close frame."""
    with Socket(gateway.port, "/test/echo/raw") as s:
        s.raw(frame(TEXT, b"\xff") + frame(BINARY, b"x" * (1 << 20)))
        time.sleep(0.05)
        assert s.code()[0] == 1007


# ---- silence ----


def test_pings():
    changes = {WEBSOCKET: WEBSOCKET + "grpc_json_websocket_ping_interval 100ms; grpc_json_websocket_ping_timeout 3s;"}
    with serving(TestGateway(changes)) as gateway, Socket(gateway.port, "/test/echo") as s:
        for _ in range(4):
            assert s.receive() == (PING, b"")
            s.send(PONG)
        assert s.receive() == (PING, b"")
        assert s.receive() is None, "without an answer it is gone"


def test_idle():
    changes = {WEBSOCKET: WEBSOCKET + "grpc_json_websocket_idle_timeout 3s;"}
    with serving(TestGateway(changes)) as gateway, Socket(gateway.port, "/test/echo") as s:
        for _ in range(5):
            time.sleep(0.75)
            s.send(TEXT, "{}")
            assert s.message() == "{}"
        s.send(PING, "x")
        assert s.receive() == (PONG, b"x")
        assert s.ends() == (1001, "no message for too long")


# ---- clients that are slow or gone ----


def memory_kb(gateway):
    """Under valgrind nothing: what it needs for itself hides what the worker does."""
    (pid,) = gateway.worker_pids()
    if any("valgrind" in part for part in NGINX):
        return 0
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError(pid)


def descriptors(gateway):
    (pid,) = gateway.worker_pids()
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_slow_reader(gateway):
    """One who sends and does not read is not read either: memory stays flat, and nothing is lost."""
    data = frame(BINARY, b"0123456789" * 1000)
    with Socket(gateway.port, "/test/echo/raw", receive_buffer=32768) as s:
        before = memory_kb(gateway)
        sent, last = 0, -1
        s.socket.settimeout(0.3)
        while sent != last:  # until the socket takes no more
            last = sent
            with contextlib.suppress(TimeoutError):
                while True:
                    sent += s.socket.send(data[sent % len(data):])
        assert sent < 64 << 20
        assert memory_kb(gateway) - before < 4096
        s.socket.settimeout(30)
        rest = threading.Thread(target=lambda: s.raw(data[sent % len(data):] + frame(TEXT, "end")))
        rest.start()
        n = 0
        while (got := s.receive()) != (TEXT, b"end"):
            assert got == (BINARY, b"0123456789" * 1000)
            n += 1
        rest.join()
        assert n == sent // len(data) + 1
        assert s.close() == 1000


def test_one_who_does_not_read_holds_nobody_up(gateway):
    """Its stream has a window of its own."""
    with Socket(gateway.port, "/test/echo/raw", receive_buffer=32768) as slow, Socket(gateway.port, "/test/echo") as s:
        slow.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while True:
                slow.raw(frame(BINARY, b"x" * 60000))
        for _ in range(10):
            s.send(TEXT, '{"message":"quick"}')
            assert s.message() == '{"message":"quick"}'
        assert s.close() == 1000


def test_one_who_never_reads_is_dropped():
    with serving(TestGateway({WEBSOCKET: WEBSOCKET + "send_timeout 500ms;"})) as gateway:
        with Socket(gateway.port, "/test/echo/raw", receive_buffer=32768) as s:
            with pytest.raises(ConnectionError):
                while True:
                    s.raw(frame(BINARY, b"x" * 60000))


def test_pings_without_reading(gateway):
    """Pongs that nobody reads do not pile up."""
    with Socket(gateway.port, "/test/echo", receive_buffer=32768) as s:
        before = memory_kb(gateway)
        pings = frame(PING, b"p" * 125) * 1000
        sent, last = 0, -1
        s.socket.settimeout(0.3)
        while sent != last:
            last = sent
            with contextlib.suppress(TimeoutError):
                while True:
                    sent += s.socket.send(pings[sent % len(pings):])
        assert memory_kb(gateway) - before < 2048
        s.socket.settimeout(30)
        rest = threading.Thread(target=lambda: s.raw(pings[sent % len(pings):] + frame(TEXT, '{"message":"end"}')))
        rest.start()
        n = 0
        while (got := s.receive()) == (PONG, b"p" * 125):
            n += 1
        rest.join()
        assert got == (TEXT, b'{"message":"end"}')
        assert n == (sent // len(pings) + 1) * 1000


def test_lost_client_ends_the_rpc():
    with serving(OddGateway({CHAT: opened}, PATIENT)) as gateway:
        for how in ("close", "reset"):
            s = Socket(gateway.port, "/test/echo")
            if how == "reset":
                s.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.drop()
            wait_until(lambda: gateway.streams()[-1].reset is not None)
        assert [stream.reset for stream in gateway.streams()] == [8, 8]  # CANCEL


def test_lost_client_while_it_is_not_read():
    """The service takes nothing, so nothing is read: a reset is noticed all the same."""

    def rpc(connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            connection.respond(stream)

    with serving(OddGateway({CHAT_RAW: rpc})) as gateway:
        s = Socket(gateway.port, "/test/echo/raw")
        s.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while True:
                s.raw(frame(BINARY, b"x" * 60000))
        s.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.drop()
        wait_until(lambda: gateway.stream().reset is not None)


# ---- workers that end ----


def test_reload(gateway):
    """Old sessions are told to come again, and find the new worker."""
    old = gateway.worker_pids()
    with Socket(gateway.port, "/test/echo") as s, Socket(gateway.port, "/test/echo/raw") as t:
        gateway.process.send_signal(signal.SIGHUP)
        for each in (s, t):
            assert each.ends() == (1001, "the server restarts")
        wait_until(lambda: not set(old) & set(gateway.worker_pids()))
        with Socket(gateway.port, "/test/echo") as again:
            assert again.close() == 1000


class LateService(H2Service):
    """Greets its first connection when it is told to."""

    def __init__(self, *args, **kwargs):
        self.came, self.greets = threading.Event(), threading.Event()
        super().__init__(*args, **kwargs)

    def _accept(self):
        peer, _ = self.socket.accept()
        self.came.set()
        self.greets.wait(30)
        self.connections.append(Connection(self, peer))
        self.connections[0].start()
        super()._accept()


def test_reload_before_the_service_has_greeted():
    """A handshake that waits when its worker begins to end is answered all the same, by that connection."""
    with serving(OddGateway({CHAT: opened}, PATIENT, service=LateService)) as gateway:
        (old,) = gateway.worker_pids()
        with Socket(gateway.port, "/test/echo", wait=False) as s:
            assert gateway.service.came.wait(30)
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(gateway.worker_pids()) == 2)
            time.sleep(0.3)  # nginx waits for 0.1 s before it tells the old one
            gateway.service.greets.set()
            s.open()
            assert s.ends() == (1001, "the server restarts")
        assert len(gateway.service.connections) == 1
        wait_until(lambda: old not in gateway.worker_pids())


def test_reload_is_bounded(gateway):
    """A client that does not answer holds the old worker no longer than the closing handshake may take."""
    old = gateway.worker_pids()
    with Socket(gateway.port, "/test/echo") as s:
        gateway.process.send_signal(signal.SIGHUP)
        assert s.code()[0] == 1001
        wait_until(lambda: not set(old) & set(gateway.worker_pids()))


def test_shutdown_timeout():
    """worker_shutdown_timeout ends what is left at once."""
    changes = {"worker_shutdown_timeout 10s;": "worker_shutdown_timeout 300ms;",
               WEBSOCKET: WEBSOCKET + "grpc_json_websocket_close_timeout 1h;"}
    with serving(TestGateway(changes)) as gateway, Socket(gateway.port, "/test/echo") as s:
        old = gateway.worker_pids()
        gateway.process.send_signal(signal.SIGHUP)
        assert s.code()[0] == 1001
        wait_until(lambda: not set(old) & set(gateway.worker_pids()))
        assert s.receive() is None


# ---- TLS ----


def test_tls(tmp_path):
    subprocess.run([ROOT / "deploy" / "self-signed-certificate", tmp_path], check=True, capture_output=True)
    listen = f"ssl; ssl_certificate {tmp_path}/certificate.pem; ssl_certificate_key {tmp_path}/key.pem;"
    changes = {" default_server;": f" default_server {listen}", WEBSOCKET: WEBSOCKET + "grpc_json_websocket_close_timeout 1s;"}
    context = ssl.create_default_context(cafile=f"{tmp_path}/certificate.pem")

    def wrap(plain):
        return context.wrap_socket(plain, server_hostname="localhost")

    with serving(TestGateway(changes)) as gateway:
        with Socket(gateway.port, "/test/echo/raw", wrap=wrap, early=frame(TEXT, "early")) as s:
            assert s.message() == "early"
            for n in (0, 1, 16384, 1 << 24):
                payload = b"t" * n
                s.send(BINARY, payload)
                assert s.message() == payload
            # By turns: Python's TLS sockets are not for two threads.
            for first in range(0, 5000, 100):
                for n in range(first, first + 100):
                    s.send(TEXT, str(n) * 50)
                for n in range(first, first + 100):
                    assert s.message() == str(n) * 50
            assert s.close() == 1000
        with Socket(gateway.port, "/test/echo/raw", wrap=wrap) as s:
            s.raw(frame(TEXT, b"\xff"))
            assert s.code()[0] == 1007
            assert s.receive() is None


# ---- what is left ----

METRICS = {
    "    server {": "    grpc_json_metrics_zone 1m;\n    server {",
    "        location / {": "        location = /metrics { grpc_json_metrics; }\n        location / {",
}


def metric(gateway, name, rpc):
    text = gateway.get("/metrics").body.decode()
    line = [line for line in text.splitlines() if line.startswith(f'grpc_json_{name}{{') and f'rpc="{rpc}"' in line]
    return sum(int(float(each.rsplit(" ", 1)[1])) for each in line)


def test_metrics():
    with serving(TestGateway(METRICS)) as gateway:
        with Socket(gateway.port, "/test/echo/raw") as s:
            wait_until(lambda: metric(gateway, "sessions_open", CHAT_RAW) == 1)
            assert metric(gateway, "requests_open", CHAT_RAW) == 0
            before = [metric(gateway, name, CHAT_RAW) for name in ("received_bytes_total", "sent_bytes_total")]
            s.send(BINARY, b"x" * 1000)
            assert s.message() == b"x" * 1000
            s.close()
        wait_until(lambda: metric(gateway, "sessions_open", CHAT_RAW) == 0)
        after = [metric(gateway, name, CHAT_RAW) for name in ("received_bytes_total", "sent_bytes_total")]
        assert after[0] - before[0] == len(frame(BINARY, b"x" * 1000)) + len(close_frame(1000))
        assert after[1] - before[1] == len(frame(BINARY, b"x" * 1000)) + len(close_frame(1000)) - 8
        assert metric(gateway, "requests_total", CHAT_RAW) == 1


def abort_at_random(port, seed, times):
    """A client that does anything, and leaves at any time."""
    random_of = random.Random(seed)
    for _ in range(times):
        try:
            s = Socket(port, random_of.choice(("/test/echo", "/test/echo/raw", "/test/collect")),
                       wait=random_of.random() < 0.8)
        except (OSError, Refused):
            continue
        with contextlib.suppress(OSError, AssertionError, AttributeError, TypeError):
            for _ in range(random_of.randrange(5)):
                data = random_of.choice((
                    frame(TEXT, '{"message":"x"}'), frame(TEXT, "{}"), frame(PING, b"p"), frame(TEXT, "{", fin=False),
                    frame(BINARY, b"b" * random_of.randrange(100000)), close_frame(1000), random_of.randbytes(20),
                    frame(TEXT, '{"message":"fail 3"}'), frame(BINARY, b"b" * 1000)[:500]))
                s.raw(data)
                if random_of.random() < 0.3:
                    s.socket.settimeout(0.05)
                    s.receive()
            if random_of.random() < 0.3:
                s.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.drop()


def storm(gateway, times, n=16):
    threads = [threading.Thread(target=abort_at_random, args=(gateway.port, seed, times)) for seed in range(n)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_aborts_at_random_leave_nothing():
    changes = {**METRICS, WEBSOCKET: WEBSOCKET + "grpc_json_websocket_close_timeout 200ms;"}
    with serving(TestGateway(changes)) as gateway:

        def quiet():
            return all(metric(gateway, name, rpc) == 0 for name in ("sessions_open", "requests_open")
                       for rpc in (CHAT, CHAT_RAW, COLLECT))

        storm(gateway, 20)
        wait_until(quiet)
        files, memory = descriptors(gateway), memory_kb(gateway)
        storm(gateway, 40)
        wait_until(quiet)
        assert wait_until(lambda: descriptors(gateway) <= files)
        assert memory_kb(gateway) < memory + 2048
        with Socket(gateway.port, "/test/echo") as s:
            assert s.close() == 1000


def test_idle_sessions_are_small():
    """A thousand of them, the streams that they have included."""
    with serving(TestGateway()) as gateway:
        sockets = [Socket(gateway.port, "/test/echo") for _ in range(100)]  # what grows once has grown
        before = memory_kb(gateway)
        sockets += [Socket(gateway.port, "/test/echo") for _ in range(400)]
        grown = memory_kb(gateway) - before
        for s in sockets:
            s.drop()
        assert grown < 400 * 8
        print("KB a session:", grown / 400)
