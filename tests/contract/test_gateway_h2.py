"""gateway/h2.h: gRPC streams on shared HTTP/2 connections, against servers that behave, that restart, and
that do what no server should."""
import base64
import os
import socket
import struct
import threading

import h2.events
import h2.settings
import pytest
from gateway_fixture import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RESPONSE,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    RawUpstream,
    frame,
    free_port,
    headers_frame,
    wait_for_close,
)
from h2_fixture import H2Gateway, H2Service, crc, grpc_message, wait_streams, wait_until

CONTINUATION, PING, WINDOW_UPDATE = 9, 6, 8
UNAVAILABLE = 14
Requested, Data, Ended = h2.events.RequestReceived, h2.events.DataReceived, h2.events.StreamEnded


@pytest.fixture(scope="module")
def gateway():
    gateway = H2Gateway(tcp_port=free_port()).start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def hasty():
    """A gateway whose time limits are short, for tests in which they are to pass; what a peer is to keep, it can on a busy
    machine."""
    gateway = H2Gateway("3s 200ms 3s 200ms").start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def alone():
    """A gateway for a test that leaves a server behind which is not to be tried again for a while."""
    gateway = H2Gateway(tcp_port=free_port()).start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def serve(gateway):
    """serve(name, settings=…, rpcs={path: rpc}) starts a service. After the test nothing of it is left."""
    made = []

    def start(name="one", at=None, **kwargs):
        made.append(H2Service((at or gateway).socket_path(name), **kwargs))
        return made[-1]

    yield start
    for service in made:
        service.stop()
    wait_streams(gateway, 0, 0)


@pytest.fixture
def raw(gateway):
    made = []

    def start(script, name="one"):
        made.append(RawUpstream(gateway.socket_path(name), script))
        return made[-1]

    yield start
    for upstream in made:
        upstream.stop()
    wait_streams(gateway, 0, 0)


def opened(gateway, path="/t/Echo", upstream="one", *args):
    user = gateway.user(upstream).open(path, *args)
    user.hear("opened")
    return user


# ---- in order ----


def test_echo(gateway, serve):
    service = serve()
    with gateway.user() as user:
        user.open("/t/Echo", 1 << 20, 5000, "x-one=1", "authorization=Bearer-abc")
        user.hear("opened")
        for size in (0, 1, 16384, 70000, 1 << 20):
            user.say(f"send 1 {size}")
            assert user.hear("sent")[1] in ("OK", "AGAIN")
            while (line := user.hear("message", "writable"))[0] == "writable":
                pass
            assert (int(line[1]), int(line[2])) == (size, crc(b"x" * size))
        user.say("half")
        assert user.hear("ended", "writable")[0] == "ended"
    headers = service.requests[0]
    assert headers[":method"] == "POST" and headers[":path"] == "/t/Echo" and headers[":authority"] == "one"
    assert headers["te"] == "trailers" and headers["content-type"] == "application/grpc"
    assert headers["grpc-timeout"] == "5000m"
    assert headers["x-one"] == "1" and headers["authorization"] == "Bearer-abc"


def test_streams_share_a_connection(gateway, serve):
    service = serve()
    users = [gateway.user().open("/t/Echo") for _ in range(50)]
    for user in users:
        user.hear("opened")
        user.say("send 1 10")
    for user in users:
        user.hear("sent")
        assert user.message()[0] == 10
    assert len(service.connections) == 1
    assert gateway.stats() == (1, 50)
    for user in users[:25]:
        user.say("half")
        assert user.end()[:2] == (0, True)
    for user in users[25:]:
        user.say("cancel")
        user.hear("cancelled")
    wait_streams(gateway, 1, 0)
    streams = service.connections[0].streams.values()
    wait_until(lambda: all(s.reset == 8 or s.ended for s in streams))
    for user in users:
        user.close()


def test_messages_in_any_pieces(gateway, serve):
    payload = b"".join(grpc_message(bytes([65 + i]) * i) for i in range(20))

    def pieces(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            for i in range(len(payload)):
                connection.h2.send_data(stream.number, payload[i : i + 1])
            connection.trailers(stream, 0)

    serve(rpcs={"/t/Pieces": pieces})
    with opened(gateway, "/t/Pieces") as user:
        for i in range(20):
            assert user.message() == (i, crc(bytes([65 + i]) * i))
        assert user.end() == (0, True, "", b"")


def test_status_of_the_service(gateway, serve):
    details = base64.b64encode(b"\x08\x05\x12\x01x").rstrip(b"=").decode()

    def trailers_only(connection, stream, event):
        if isinstance(event, Requested):
            more = (("grpc-status", "5"), ("grpc-message", "caf%C3%A9 100%25 %zz"), ("grpc-status-details-bin", details))
            connection.respond(stream, *more, end=True)

    def late(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            connection.trailers(stream, 99, "unheard of")

    serve(rpcs={"/t/Only": trailers_only, "/t/Late": late})
    with gateway.user() as user:
        user.open("/t/Only")
        assert user.end() == (5, True, "café 100% %zz", b"\x08\x05\x12\x01x")
        user.open("/t/Late").hear("opened")
        assert user.end() == (2, True, "unheard of", b"")


@pytest.mark.parametrize(
    "status, code", ((400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (500, 2))
)
def test_http_status(gateway, serve, status, code):
    def answer(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream, status=str(status), kind="text/html")
            connection.h2.send_data(stream.number, b"<html>")

    serve(rpcs={"/t/Http": answer})
    with gateway.user() as user:
        user.open("/t/Http")
        assert user.end()[:2] == (code, True)


def test_not_grpc(gateway, serve):
    def answer(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream, kind="text/html")

    def no_status(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            connection.h2.end_stream(stream.number)

    serve(rpcs={"/t/Html": answer, "/t/NoStatus": no_status})
    with gateway.user() as user:
        user.open("/t/Html")
        assert user.end()[:2] == (2, True)
        user.open("/t/NoStatus").hear("opened")
        assert user.end()[:2] == (2, True)


@pytest.mark.parametrize(
    "error, code", ((0, 13), (1, 13), (2, 13), (3, 13), (5, 2), (7, 14), (8, 1), (11, 8), (12, 7), (13, 2), (999, 2))
)
def test_reset(gateway, serve, error, code):
    def reset(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            stream.reset = error
            connection.h2.reset_stream(stream.number, error)

    serve(rpcs={"/t/Reset": reset})
    with opened(gateway, "/t/Reset") as user:
        assert user.end()[:2] == (code, error != 7)


def test_refused_before_it_was_seen_is_sent_again(gateway, serve):
    calls = []

    def refuse(connection, stream, event):
        if isinstance(event, Requested):
            calls.append(stream.number)
            if len(calls) == 1:
                stream.reset = 7
                connection.h2.reset_stream(stream.number, 7)
            else:
                connection.respond(stream)

    serve(rpcs={"/t/Refuse": refuse})
    with opened(gateway, "/t/Refuse"):
        assert len(calls) == 2


def test_forbidden_header(gateway, serve):
    serve()
    with gateway.user() as user:
        user.open("/t/Echo", 100, 0, "x-bad=a\rb")
        assert user.end()[:2] == (3, False)


def test_deadline(gateway, serve):
    service = serve()
    with gateway.user() as user:
        user.open("/t/Silent", 100, 100)
        assert user.end()[:2] == (4, False)
    wait_until(lambda: service.connections[0].streams[1].reset == 8)


# ---- limits and flow control ----


def test_message_limit(gateway, serve):
    def big(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            stream.waiting = grpc_message(b"x" * 100) + grpc_message(b"x" * 101)

    service = serve(rpcs={"/t/Big": big})
    with opened(gateway, "/t/Big", "one", 100) as user:
        assert user.message()[0] == 100
        assert user.end()[:2] == (8, False)
    wait_until(lambda: service.connections[0].streams[1].reset == 8)


def test_compressed_flag(gateway, serve):
    def compressed(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            stream.waiting = grpc_message(b"good") + grpc_message(b"bad", flag=1)

    serve(rpcs={"/t/Compressed": compressed})
    with opened(gateway, "/t/Compressed") as user:
        assert user.message()[0] == 4
        assert user.end()[:2] == (13, False)


@pytest.mark.parametrize("bad, code", ((grpc_message(b"x" * 101), 8), (grpc_message(b"x", flag=1), 13)), ids=("large", "compressed"))
@pytest.mark.parametrize("status", (0, 5))
def test_end_with_a_message_that_cannot_be_read(gateway, serve, bad, code, status):
    """They come with one read: a success it is not, and what else the service says stands."""

    def rpc(connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            connection.respond(stream)
            stream.waiting = grpc_message(b"good") + bad
            connection.trailers(stream, status)

    serve(rpcs={"/t/Bad": rpc})
    with gateway.user() as user:
        user.open("/t/Bad", 100)
        user.hear("opened")
        assert user.message()[0] == 4
        assert user.end()[0] == (status or code)


def test_incomplete_message(gateway, serve):
    def cut(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            stream.waiting = grpc_message(b"abc", length=4)
            connection.trailers(stream, 0)

    serve(rpcs={"/t/Cut": cut})
    with opened(gateway, "/t/Cut") as user:
        assert user.end()[0] == 13


def test_paused_stream_stops_the_service(gateway, serve):
    """And only this one: another stream of the connection goes on."""
    total = 300

    def flood(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            stream.waiting = grpc_message(b"y" * 10000) * total
            connection.trailers(stream, 0)

    service = serve(rpcs={"/t/Flood": flood})
    with gateway.user() as user, opened(gateway) as other:
        user.say("pause 3")
        user.open("/t/Flood").hear("opened")
        for _ in range(3):
            assert user.message()[0] == 10000
        stream = next(s for s in service.connections[0].streams.values() if s.path == "/t/Flood")
        sent = total * 10005 - len(stream.waiting)
        for size in (100, 60000, 200000):
            other.say(f"send 1 {size}")
            while other.hear("message", "sent", "writable")[0] != "message":
                pass
        user.nothing()
        assert total * 10005 - len(stream.waiting) == max(sent, 0) <= 3 * 65535
        user.say("resume")
        for _ in range(total - 3):
            assert user.message()[0] == 10000
        assert user.end()[:2] == (0, True)


def test_end_waits_for_paused_messages(gateway, serve):
    def three(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
            stream.waiting = grpc_message(b"1") + grpc_message(b"22") + grpc_message(b"333")
            connection.trailers(stream, 0)

    service = serve(rpcs={"/t/Three": three})
    with gateway.user() as user:
        user.say("pause 1")
        user.open("/t/Three").hear("opened")
        assert user.message()[0] == 1
        wait_until(lambda: service.connections[0].streams[1].ended)
        user.nothing()
        user.say("resume")
        assert [user.message()[0], user.message()[0], user.end()[0]] == [2, 3, 0]


def test_service_that_does_not_read(gateway, serve):
    """The user is told to wait, and to go on."""
    unread = []

    def lazy(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream)
        elif isinstance(event, Data):
            stream.received += event.data
            unread.append(event)

    service = serve(rpcs={"/t/Lazy": lazy})
    with opened(gateway, "/t/Lazy") as user:
        user.say("send 40 10000")
        assert user.hear("sent")[1] == "AGAIN"
        connection = service.connections[0]
        wait_until(lambda: sum(e.flow_controlled_length for e in unread) == 65535)
        user.nothing()

        def read(connection):
            while unread:
                connection.consume(unread.pop())

        while len(connection.streams[1].received) < 400000 + 40 * 5:
            connection.do(read)
            wait_until(lambda: unread or len(connection.streams[1].received) == 400200)
        user.hear("writable")
        user.nothing()


def test_window_of_zero(gateway, serve):
    service = serve(settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    with opened(gateway) as user:
        user.say("send 1 10", "send 1 10", "half")
        assert user.hear("sent")[1] == user.hear("sent")[1] == "OK"
        user.nothing()
        service.connections[0].do(lambda c: c.h2.increment_flow_control_window(100, 1))
        assert user.message()[0] == user.message()[0] == 10
        assert user.end()[0] == 0


def test_more_streams_than_a_connection_takes(gateway, serve):
    service = serve(settings={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    users = [gateway.user().open("/t/Echo") for _ in range(10)]
    for user in users:
        user.hear("opened")
    assert [len(c.streams) for c in service.connections] == [3, 3, 3, 1]
    assert gateway.stats() == (4, 10)
    users.pop(0).close()
    wait_until(lambda: any(s.reset == 8 for c in service.connections for s in c.streams.values()))
    users.append(opened(gateway))
    assert len(service.connections) == 4
    for user in users:
        user.close()
    wait_streams(gateway, 4, 0)


def test_no_streams_at_all(alone, serve):
    serve(at=alone, settings={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 0})
    with alone.user() as user:
        user.open("/t/Echo")
        assert user.end()[:2] == (UNAVAILABLE, False)


# ---- users that act inside a callback ----


@pytest.mark.parametrize("event", ("opened", "message"))
def test_cancel_in_a_callback(gateway, serve, event):
    service = serve()
    with gateway.user() as user:
        user.say(f"on {event} cancel")
        user.open("/t/Echo")
        user.hear("opened")
        if event == "message":
            user.say("send 5 100")
            user.hear("sent")
            assert user.message()[0] == 100
    wait_streams(gateway, 1, 0)
    wait_until(lambda: service.connections[0].streams[1].reset == 8)


def test_resume_in_a_callback_that_pauses(gateway, serve):
    serve()
    with gateway.user() as user:
        user.say("pause 1", "on message resume")
        user.open("/t/Echo").hear("opened")
        user.say("send 1 1")
        user.hear("sent")
        user.message()
        user.say("resume", "half")
        assert user.end()[0] == 0


def test_reopen_when_ended(gateway, serve):
    def fail(connection, stream, event):
        if isinstance(event, Requested):
            connection.respond(stream, ("grpc-status", "9"), end=True)

    service = serve(rpcs={"/t/Fail": fail})
    with gateway.user() as user:
        for _ in range(5):
            user.say("on ended reopen")
            user.open("/t/Fail")
            assert user.end()[0] == 9
            assert user.end()[0] == 9
    assert len(service.requests) == 10 and len(service.connections) == 1


def test_cancel_at_once(gateway, serve):
    """Before the request, or even the connection, has gone out."""
    serve()
    with gateway.user() as user:
        for _ in range(200):
            user.say("open /t/Echo 100 0", "cancel")
        for _ in range(200):
            user.hear("cancelled")
        user.open("/t/Echo").hear("opened")
        for _ in range(200):
            user.say("cancel", "open /t/Echo 100 0")
            assert user.hear("cancelled", "opened")
    # Those that are not yet reset on the wire count, and there may be a hundred on a connection.
    wait_until(lambda: gateway.stats()[0] <= 4 and gateway.stats()[1] == 0)
    with opened(gateway):
        assert gateway.stats()[1] == 1


# ---- connections that come and go ----


def test_no_service(alone):
    path = alone.socket_path("one")
    if os.path.exists(path):
        os.unlink(path)
    with alone.user() as user:
        user.open("/t/Echo")
        assert user.end() == (UNAVAILABLE, False, "the service cannot be reached", b"")
        for _ in range(20):  # most of them while it waits before it tries again
            user.open("/t/Echo")
            assert user.end()[0] == UNAVAILABLE
    assert alone.stats() == (0, 0)


def test_service_restarts(gateway, serve):
    service = serve()
    with opened(gateway) as user, opened(gateway) as other:
        service.stop()
        for each in user, other:
            assert each.end() == (UNAVAILABLE, False, "the connection to the service was lost", b"")
        service = serve()

        def again():
            user.open("/t/Echo")
            return user.hear("opened", "ended")[0] == "opened"

        wait_until(again)
        assert len(service.connections) == 1


def test_goaway(gateway, raw):
    """New streams go to a new connection; those of the old one end when they end."""
    told = threading.Event()

    def script(connection, stream):
        connection.sendall(headers_frame(stream, RESPONSE) + frame(GOAWAY, 0, 0, struct.pack(">II", stream, 0)))
        told.wait(20)
        last = headers_frame(stream, TRAILERS, end=True)
        connection.sendall(frame(DATA, 0, stream, grpc_message(b"still here")) + last)
        wait_for_close(connection)

    raw(script)
    with opened(gateway) as user, opened(gateway) as other:
        assert gateway.stats() == (2, 2)
        told.set()
        for each in user, other:
            assert each.message()[0] == 10
            assert each.end()[:2] == (0, True)
    wait_streams(gateway, 0, 0)


def test_two_servers(gateway, serve):
    a, b = serve("a"), serve("b")
    users = [opened(gateway, "/t/Echo", "two") for _ in range(6)]
    assert len(a.requests) == len(b.requests) == 3
    a.stop()
    ended = [user for user in users if _lost(user)]
    assert len(ended) == 3
    for user in ended:
        user.open("/t/Echo").hear("opened")
    assert len(b.requests) == 6
    for user in users:
        user.close()


def _lost(user):
    """Whether the stream has ended instead of answering."""
    user.say("send 1 1")
    heard = {user.hear("message", "sent", "ended")[0] for _ in range(2)}
    assert "sent" in heard
    return "ended" in heard


def test_weights(gateway, serve):
    a, b = serve("a"), serve("b")
    users = [opened(gateway, "/t/Echo", "weighted") for _ in range(8)]
    assert (len(a.requests), len(b.requests)) == (6, 2)
    for user in users:
        user.close()


def test_tcp(alone):
    service = H2Service(("127.0.0.1", alone.tcp_port))
    try:
        with opened(alone, "/t/Echo", "tcp") as user:
            user.say("send 1 100000", "half")
            while user.hear("sent", "writable", "message")[0] != "message":
                pass
            assert user.hear("ended")[1] == "0"
    finally:
        service.stop()
    wait_streams(alone, 0, 0)
    with alone.user("tcp") as user:
        user.open("/t/Echo")
        assert user.end()[:2] == (UNAVAILABLE, False)


def test_idle_connection_is_closed(hasty, serve):
    service = serve(at=hasty)
    with opened(hasty):
        assert hasty.stats() == (1, 1)
    wait_streams(hasty, 0, 0)
    wait_until(lambda: service.connections[0].ended)
    assert service.connections[0].goaway


def test_ping(hasty, serve):
    """Silence is fine as long as pings are answered; then the stream ends."""
    service = serve(at=hasty)
    with opened(hasty, "/t/Open") as user:
        wait_until(lambda: service.connections[0].pings >= 3)
        user.nothing()
        stopped = threading.Event()
        service.connections[0].do(lambda c: stopped.wait(20))
        assert user.end() == (UNAVAILABLE, False, "the connection to the service was lost", b"")
        stopped.set()
    assert "does not answer a ping" in hasty.log()


def test_silent_peer(hasty):
    """It accepts, and says nothing: not even SETTINGS."""
    path = hasty.socket_path("one")
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o777)
        listener.listen(8)
        with hasty.user() as user:
            user.open("/t/Echo")
            assert user.end()[:2] == (UNAVAILABLE, False)
    assert hasty.stats() == (0, 0)


# ---- hostile ----


def plays(data):
    def script(connection, stream):
        connection.sendall(data(stream))
        wait_for_close(connection)

    return script


def many(kind, flags, stream, payload, n):
    return frame(kind, flags, stream, payload) * n


HOSTILE = {
    "garbage": lambda s: b"\xff" * 100,
    "http/1": lambda s: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "closed": None,
    "frame too large": lambda s: frame(DATA, 0, s, b"x" * 20000),
    "data before headers": lambda s: frame(DATA, 0, s, grpc_message(b"x")),
    "headers of nobody": lambda s: headers_frame(s + 2, RESPONSE),
    "push": lambda s: frame(SETTINGS, ACK, 0) + frame(5, END_HEADERS, s, struct.pack(">I", 2)),
    "broken hpack": lambda s: frame(HEADERS, END_HEADERS, s, b"\x80"),
    "upper case": lambda s: headers_frame(s, RESPONSE + (("X-Upper", "1"),)),
    "no status": lambda s: headers_frame(s, (("content-type", "application/grpc"),)),
    "odd status": lambda s: headers_frame(s, ((":status", "abc"), ("content-type", "application/grpc"))),
    "odd grpc-status": lambda s: headers_frame(s, RESPONSE + (("grpc-status", "one"),), end=True),
    "trailers without end": lambda s: headers_frame(s, RESPONSE) + headers_frame(s, TRAILERS),
    "more data than the window": lambda s: headers_frame(s, RESPONSE)
    + many(DATA, 0, s, b"\x00\x00\x10\x00\x00" + b"x" * 16000, 5),
    "many headers": lambda s: headers_frame(s, RESPONSE + tuple((f"x-{i}", "") for i in range(1200))),
    "huge header": lambda s: frame(HEADERS, 0, s, b"\x00\x01x\x7f\x81\xff\x03" + b"y" * 16000)
    + many(CONTINUATION, 0, s, b"y" * 16000, 4),
    "continuation flood": lambda s: frame(HEADERS, 0, s, b"") + many(CONTINUATION, 0, s, b"", 10000),
    "settings flood": lambda s: many(SETTINGS, 0, 0, b"", 20000),
    "ping flood": lambda s: many(PING, 0, 0, b"12345678", 200000),
    "window overflow": lambda s: frame(WINDOW_UPDATE, 0, s, struct.pack(">I", 2**31 - 1)),
    "window overflow of the connection": lambda s: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)),
    "reset, then more": lambda s: frame(RST_STREAM, 0, s, struct.pack(">I", 2))
    + frame(DATA, 0, s, grpc_message(b"x")),
    "goaway for streams to come": lambda s: frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11) + b"calm"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_service(gateway, raw, case):
    """The stream ends with an error, soon, and the worker goes on."""
    data = HOSTILE[case]

    def script(connection, stream):
        if data:
            connection.sendall(data(stream))
            if case != "ping flood":
                wait_for_close(connection)

    raw(script)
    with gateway.user() as user:
        user.open("/t/Any", 1 << 24)
        while (line := user.hear("opened", "message", "ended"))[0] != "ended":
            pass
        assert int(line[1]) in (2, 8, 13, 14), line


GREETINGS = {"none": b"", "zeros": b"\x00" * 9, "http/1": b"HTTP/1.1 400 Bad Request\r\n\r\n", "ones": b"\xff" * 1000}


@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS)
def test_hostile_greeting(alone, greeting):
    path = alone.socket_path("one")
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen(8)

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
                peer.sendall(greeting)
                peer.shutdown(socket.SHUT_WR)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        with alone.user() as user:
            user.open("/t/Echo")
            assert user.end()[:2] == (UNAVAILABLE, False)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    wait_streams(alone, 0, 0)


def test_worker_leaves(tmp_path):
    """With a stream open, the worker ends without an alert of nginx about sockets left."""
    gateway = H2Gateway().start()
    service = H2Service(gateway.socket_path("one"))
    try:
        user = opened(gateway)
        assert gateway.stats() == (1, 1)
        user.say("send 100 10000")
        user.hear("sent")
    finally:
        gateway.stop()
        service.stop()
        user.close()
