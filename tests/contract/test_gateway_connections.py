"""How many connections one address has: whatever it does with them, others are served, and are not counted with it."""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import struct

import pytest
from gateway_fixture import (
    DATA,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SERVICE,
    SETTINGS,
    Answer,
    Gateway,
    RawUpstream,
    frame,
    free_port,
    headers_frame,
    serving_items,
    wait_until,
)
from test_gateway_stream_limits import BEFORE, METRICS, LimitGateway
from websocket_fixture import TEXT, Socket

MOST, HELD = 16, 16 + 3  # connections of an address; with those that are only told so
ZONE = "grpc_json_limit_zone $grpc_json_client zone=address_connections:1m connections={};"
# So few that all of them are taken when the limit does not hold.
FEW = {"worker_connections 4096;": "worker_connections 64;"}
HERE = " default_server backlog=4096;"
TRUSTED = {"real_ip_recursive on;\n": "real_ip_recursive on;\nset_real_ip_from 127.0.0.1;"}
ITEM = b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_A_BODY = "POST /demo/items HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{}\r\n{{"


@contextlib.contextmanager
def running(descriptor_set, messages, certificate, changes=(), most=MOST, **kwargs):
    tls_port, h2_port = free_port(), free_port()
    listen = (
        f"{HERE} listen 127.0.0.1:{h2_port} http2; listen 127.0.0.1:{tls_port} ssl http2;"
        f" ssl_certificate {certificate}/certificate.pem; ssl_certificate_key {certificate}/key.pem;"
    )
    changes = {"@ADDRESS_CONNECTIONS@": ZONE.format(most), HERE: listen, **dict(changes)}
    with serving_items(descriptor_set, messages, changes, **kwargs) as gateway:
        gateway.tls_port, gateway.h2_port = tls_port, h2_port
        yield gateway


def connect(port, receive_buffer=None):
    s = socket.socket()
    s.settimeout(30)
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.connect(("127.0.0.1", port))
    return s


def sending(data):
    def open_one(gateway):
        s = connect(gateway.port)
        s.sendall(data)
        return s

    return open_one


def slow_reader(gateway):
    s = connect(gateway.port, receive_buffer=4096)
    s.sendall(b"GET /demo/items/large HTTP/1.1\r\nHost: x\r\n\r\n")
    return s


def half_a_handshake(gateway):
    s = connect(gateway.tls_port)
    s.sendall(b"\x16\x03\x01\x01\x00\x01")  # the head of a record (RFC 8446 section 5.1) of 256 bytes, and one of them
    return s


def http2(port):
    s = connect(port)
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
    return s


def post_headers(stream, extra=()):
    pairs = ((":method", "POST"), (":scheme", "http"), (":path", "/demo/items"), (":authority", "x"))
    return headers_frame(stream, (*pairs, ("content-length", "100"), ("content-type", "application/json"), *extra))


def http2_half_a_body(gateway):
    s = http2(gateway.h2_port)
    s.sendall(post_headers(1))
    return s


def is_open(s):
    """Whether the gateway has not closed it. What has come is not looked at."""
    with contextlib.suppress(BlockingIOError):
        try:
            s.setblocking(False)
            while s.recv(65536):
                pass
            return False
        except ConnectionError:
            return False
    return True


def take(gateway, open_one, n):
    """So many connections, opened one after another."""
    taken = []
    for _ in range(n):
        with contextlib.suppress(ConnectionError):  # closed before all is sent
            taken.append(open_one(gateway))
    return taken


def ask(gateway, source="127.0.0.1", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30, source_address=(source, 0))
    try:
        connection.request("GET", "/demo/items/a", headers=headers or {})
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


def answers(gateway, **kwargs):
    """Whether there is an answer other than a refusal."""
    try:
        return ask(gateway, **kwargs).status == 200
    except ConnectionError:
        return False


def refusals(gateway):
    # At the limit the question is refused like others.
    answer = wait_until(lambda: (a := gateway.get("/metrics")).status == 200 and a)
    return int(re.search(r'^grpc_json_limit_refused_total\{limit="address_connections"\} (\d+)$', answer.body.decode(), re.M)[1])


def judge_refusal(answer, most=MOST):
    assert answer.status == 429
    problem = answer.problem()
    assert problem["errors"] == {"connections": ["are too many at once"]}
    assert problem["detail"] == f"More than {most} connections at once."
    assert answer.headers["Retry-After"] is None


KINDS = {
    "silent": sending(b""),
    "half a header": sending(b"GET /demo/items/a HTTP/1.1\r\nX-A: "),
    "half a body": sending(HALF_A_BODY.format("").encode()),
    "kept": sending(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    "slow reader": slow_reader,
    "half a handshake": half_a_handshake,
    "http2": lambda gateway: http2(gateway.h2_port),
    "http2, half a body": http2_half_a_body,
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_address_does_not_take_all(descriptor_set, messages, certificate, kind):
    with running(descriptor_set, messages, certificate, FEW) as gateway:
        large = messages.new("demo.v1.GetItemResponse", item={"name": "x" * 4_000_000})
        small = messages.new("demo.v1.GetItemResponse")
        gateway.service.answers[SERVICE + "GetItem"] = lambda r, c: large if r.name == "large" else small
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                for s in take(gateway, KINDS[kind], 25):
                    stack.enter_context(s)
                for _ in range(5):
                    assert ask(gateway, "127.0.0.2").status == 200
        # All of them are given back.
        wait_until(lambda: answers(gateway))
        with contextlib.ExitStack() as stack:
            for _ in range(MOST):
                stack.enter_context(sending(b"")(gateway))
            wait_until(lambda: not answers(gateway))
        wait_until(lambda: answers(gateway))


@pytest.mark.parametrize("workers", (1, 3))
def test_how_many(descriptor_set, messages, certificate, workers):
    """Those within the limit are served; a few beyond it are told so, and closed; the others are closed at once."""
    with running(descriptor_set, messages, certificate, workers=workers) as gateway, contextlib.ExitStack() as stack:
        before = refusals(gateway)
        held = [stack.enter_context(s) for s in take(gateway, KINDS["half a header"], MOST)]
        # Of several workers one may be sooner than those that accept these.
        wait_until(lambda: not answers(gateway))
        for _ in range(3):
            judge_refusal(ask(gateway))
        assert ask(gateway, "127.0.0.2").status == 200
        entry = gateway.wait_for_log(lambda e: e["status"] == "429")
        assert entry["limited"] == "address_connections" and entry["client"] == "127.0.0.1"
        # Also where no call is made, and whether or not more is sent.
        connection = gateway.connect()
        connection.request("GET", "/app/index.html")
        response = connection.getresponse()
        assert response.headers["Connection"] == "close"
        judge_refusal(Answer(response, response.read()))
        connection.close()
        more = take(gateway, KINDS["half a header"], 20)

        def all_that_may_be_are_open():
            n = sum(map(is_open, held + more))
            if n < HELD:  # those who were told so had places yet
                more.extend(take(gateway, KINDS["half a header"], 1))
            return n == HELD

        wait_until(all_that_may_be_are_open)
        assert all(map(is_open, held))
        with pytest.raises(ConnectionError):
            ask(gateway)
        assert ask(gateway, "127.0.0.2").status == 200
        held[0].close()
        [s.close() for s in more]
        wait_until(lambda: answers(gateway))
        assert refusals(gateway) - before >= 3 + 1 + 17 + 1


def test_what_is_cut_is_given_back(descriptor_set, messages, certificate):
    """By the time limits on slow senders alone: the client closes nothing."""
    slow = {"client_header_timeout 10s": "client_header_timeout 4s"}
    with running(descriptor_set, messages, certificate, slow) as gateway, contextlib.ExitStack() as stack:
        for s in take(gateway, KINDS["half a header"], MOST):
            stack.enter_context(s)
        assert not answers(gateway)
        wait_until(lambda: answers(gateway))


class Frames:
    """What comes on an HTTP/2 connection."""

    def __init__(self, s):
        self.socket = s

    def status(self, stream):
        """Of the answer: the last digits of the field that begins the header block."""
        while True:
            kind, _flags, number, payload = RawUpstream.read_frame(self.socket)
            if (kind, number) == (HEADERS, stream):
                # An index of the static table (RFC 7541), or a literal with the name's index 8.
                return {0x88: 200}.get(payload[0]) or int(re.search(rb"[\x08\x48]\x03(\d{3})", payload)[1])


def test_requests_of_http2(descriptor_set, messages, certificate):
    """They are not connections, but take as much: those in work count besides the one that they share."""
    with running(descriptor_set, messages, certificate) as gateway, http2(gateway.h2_port) as s:
        frames, body = Frames(s), b'{"item":{}}'.ljust(100)
        streams = range(1, 2 * MOST - 1, 2)
        for stream in streams:
            s.sendall(post_headers(stream))
        last = streams[-1]
        s.sendall(post_headers(last + 2))
        assert frames.status(last + 2) == 429
        assert ask(gateway, "127.0.0.2").status == 200
        judge_refusal(ask(gateway))
        s.sendall(frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
        wait_until(lambda: answers(gateway))
        s.sendall(post_headers(last + 4) + frame(DATA, END_STREAM, last + 4, body))
        assert frames.status(last + 4) == 201


@pytest.mark.parametrize("protocol", ("HTTP/1.1", "HTTP/2"))
def test_clients_of_a_trusted_proxy(descriptor_set, messages, certificate, protocol):
    """Each counts for itself, and the proxy's connections for nobody."""
    ada, bob, ada_as_well = "2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:2:ffff::9"

    def of(client):
        def open_one(gateway):
            if protocol == "HTTP/2":
                s = http2(gateway.h2_port)
                s.sendall(post_headers(1, (("x-forwarded-for", client),)))
                return s
            return sending(HALF_A_BODY.format(f"X-Forwarded-For: {client}\r\n").encode())(gateway)

        return open_one

    def ask_as(client):
        return ask(gateway, headers={"X-Forwarded-For": client})

    with running(descriptor_set, messages, certificate, TRUSTED) as gateway, contextlib.ExitStack() as stack:
        # One after another: the proxy's connection is its own until it says whose request this is.
        for n in range(MOST):
            stack.enter_context(of(ada)(gateway))
            wait_until(lambda: answers(gateway, headers={"X-Forwarded-For": ada}) == (n + 1 < MOST))
        judge_refusal(ask_as(ada_as_well))
        for n in range(2 * MOST):
            stack.enter_context(of(f"198.51.100.{n}")(gateway))
        assert ask_as(bob).status == 200
        assert ask_as("198.51.100.1").status == 200
        assert answers(gateway) and answers(gateway, source="127.0.0.2")
        entry = gateway.wait_for_log(lambda e: e["status"] == "429")
        assert entry["limited"] == "address_connections" and entry["client"] == ada_as_well
        # A connection that a proxy keeps is for whoever it says.
        kept = stack.enter_context(contextlib.closing(gateway.connect()))
        for client, status in ((bob, 200), (ada, 429), (bob, 200)):
            assert gateway.get("/demo/items/a", headers={"X-Forwarded-For": client}, connection=kept).status == status


def test_who_is_no_proxy_speaks_for_nobody(descriptor_set, messages, certificate):
    with running(descriptor_set, messages, certificate) as gateway, contextlib.ExitStack() as stack:
        for n in range(MOST):
            stack.enter_context(sending(HALF_A_BODY.format(f"X-Forwarded-For: 198.51.100.{n}\r\n").encode())(gateway))
        wait_until(lambda: not answers(gateway, headers={"X-Forwarded-For": "198.51.100.200"}))


@pytest.mark.parametrize("tls", (False, True), ids=("plain", "tls"))
def test_websockets_count_as_streams_alone(certificate, tls):
    port = free_port()
    listen = f" default_server; listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}/certificate.pem;"
    changes = {
        " default_server;": f"{listen} ssl_certificate_key {certificate}/key.pem;",
        BEFORE: f"{BEFORE} grpc_json_metrics_zone 1m; {ZONE.format(MOST)}",
        **METRICS,
    }
    context = ssl.create_default_context(cafile=f"{certificate}/certificate.pem")
    wrap = (lambda s: context.wrap_socket(s, server_hostname="localhost")) if tls else None
    gateway = LimitGateway(changes)
    try:
        gateway.start()
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(Socket(port if tls else gateway.port, "/test/echo", wrap=wrap)) for _ in range(3 * MOST)]
            for websocket in (sockets[0], sockets[-1]):
                websocket.send(TEXT, '{"message":"a"}')
                assert json.loads(websocket.message())["message"] == "a"
            assert gateway.get("/test/echo-unary/a").status == 200
            assert refusals(gateway) == 0
    finally:
        gateway.stop()


def reload(gateway):
    before = gateway.worker_pids()
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: set(gateway.worker_pids()) - set(before))


def test_reloads_keep_the_count(descriptor_set, messages, certificate):
    """The worker before has its connections until they are done."""
    with running(descriptor_set, messages, certificate) as gateway, contextlib.ExitStack() as stack:
        held = [stack.enter_context(s) for s in take(gateway, KINDS["half a body"], MOST)]
        wait_until(lambda: not answers(gateway))
        reload(gateway)
        judge_refusal(wait_until(lambda: ask(gateway)))
        for s in held:
            s.close()
        wait_until(lambda: answers(gateway))


def test_a_worker_that_dies_leaves_none_behind(descriptor_set, messages, certificate):
    with running(descriptor_set, messages, certificate) as gateway, contextlib.ExitStack() as stack:
        gateway.is_trouble = lambda line: "[emerg]" in line
        for s in take(gateway, KINDS["half a body"], MOST):
            stack.enter_context(s)
        wait_until(lambda: not answers(gateway))
        (worker,) = gateway.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: answers(gateway))


@pytest.mark.parametrize(
    "zone, says",
    [
        (ZONE.format(0), "connections=NUMBER"),
        (ZONE.format("x"), "connections=NUMBER"),
        (ZONE.format(""), "connections=NUMBER"),
        (ZONE.format(5).replace("$grpc_json_client", "$remote_addr"), "counts connections by $grpc_json_client alone"),
        (ZONE.format(5) + ZONE.format(5).replace("address_connections", "other"), "duplicate"),
        (ZONE.format(5) + "grpc_json_limit address_connections;", "holds everywhere"),
    ],
)
def test_bad_configuration(descriptor_set, zone, says):
    gateway = Gateway(descriptor_set, {"@ADDRESS_CONNECTIONS@": zone})
    result = gateway.test_config()
    gateway.stop()
    assert result.returncode != 0 and says in result.stderr
