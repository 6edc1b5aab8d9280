"""A service that does with its Attach what a correct one would not, and one that wants to go: tests write its items by
hand (h2_fixture.py)."""
import struct

import h2.events
import pytest
from attach_fixture import ATTACH, DIRECTIVE, ROOM
from gateway_fixture import GOAWAY, TEST_DESCRIPTOR_SET, Messages, TestGateway, frame, grpc_message, wait_until
from h2_fixture import H2Service
from websocket_fixture import TEXT, Socket

MESSAGES = Messages(TEST_DESCRIPTOR_SET)
REQUEST, RESPONSE = MESSAGES.type("stoa.edge.v1.AttachRequest"), MESSAGES.type("stoa.edge.v1.AttachResponse")
ANSWER = MESSAGES.new("stoa.test.v1.RoomResponse", text="hello").SerializeToString()


class Edge:
    """What the gateway has said on all Attach streams, and a way to answer."""

    def __init__(self):
        self.streams = []  # (connection, stream, [Up])
        self.takes_over = False  # whether calls that are announced again are accepted, with a message

    def rpc(self, connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            stream.ups, stream.beats = [], 0
            self.streams.append((connection, stream))
            connection.respond(stream)
        elif isinstance(event, h2.events.DataReceived):
            connection.consume(event)
            stream.received += event.data
            while len(stream.received) >= 5 and len(stream.received) >= 5 + (n := struct.unpack(">I", stream.received[1:5])[0]):
                request = REQUEST.FromString(stream.received[5:5 + n])
                stream.ups += request.items
                stream.beats += request.beat
                for up in request.items if self.takes_over else ():
                    if up.open.resumed:
                        self.say(self.streams.index((connection, stream)), item(up.session, opened={}), item(up.session, message=ANSWER))
                stream.received = stream.received[5 + n:]

    def ups(self, i, kind):
        """Those of a kind on stream i."""
        return [up for up in self.streams[i][1].ups if up.WhichOneof("what") == kind] if len(self.streams) > i else []

    def wait(self, i, kind, n=1):
        return wait_until(lambda: len(got := self.ups(i, kind)) >= n and got)

    def say(self, i, *items):
        self.raw(i, grpc_message(RESPONSE(items=items).SerializeToString()))

    def raw(self, i, data):
        connection, stream = self.streams[i]

        def send(_):
            stream.waiting += data

        connection.do(send)


def item(session, **what):
    made = RESPONSE().items.add(session=session)
    for name, value in what.items():
        if isinstance(value, dict):
            getattr(made, name).SetInParent()
            for field, part in value.items():
                setattr(getattr(made, name), field, part)
        else:
            setattr(made, name, value)
    return made


class EdgeGateway(TestGateway):
    def __init__(self, n=1, settings=""):
        self.n, self.more, self.edge, self.services = n, settings, Edge(), []
        super().__init__()

    def write_config(self, changes):
        servers = " ".join(f"server unix:{self.socket_path(i)} max_fails=0;" for i in range(self.n))
        super().write_config({f"server unix:{self.dir}/sock/test.sock;": servers, DIRECTIVE: DIRECTIVE + self.more, **changes})

    def start_server(self):
        self.services = [H2Service(self.socket_path(i), rpcs={ATTACH: self.edge.rpc}) for i in range(self.n)]

    def stop_server(self):
        for service in self.services:
            service.stop()

    def open(self, i=0):
        """A WebSocket that is accepted, and its session."""
        known = len(self.edge.ups(i, "open"))
        s = Socket(self.port, ROOM)
        session = self.edge.wait(i, "open", known + 1)[-1].session
        self.edge.say(i, item(session, opened={}), item(session, resume_state=b"state"))
        return s, session


@pytest.fixture
def gateway():
    started = EdgeGateway(settings="grpc_json_websocket_open_timeout 10ms; grpc_json_websocket_attach_timeout 20s;")
    try:
        yield started.start()
    finally:
        started.stop()


def beats(gateway, i, more):
    """Waits until the gateway has asked so much more often whether stream i lives."""
    enough = gateway.edge.streams[i][1].beats + more
    wait_until(lambda: gateway.edge.streams[i][1].beats >= enough)


def alive(gateway, i):
    gateway.edge.raw(i, grpc_message(RESPONSE(beat=True).SerializeToString()))


def text(s):
    assert s.message() == '{"text":"hello"}'


def test_what_a_call_begins_with(gateway):
    s, session = gateway.open()
    (up,) = gateway.edge.ups(0, "open")
    metadata = {each.name: each.value for each in up.open.metadata}
    assert up.open.method == "/stoa.test.v1.EchoService/Room" and not up.open.resumed
    assert metadata == {"x-request-id": s.headers["X-Request-Id"]}
    s.drop()
    assert gateway.edge.wait(0, "close")[0].session == session


BROKEN = {
    "no message": lambda _: b"\x0a\x05\x08",
    "not opened": lambda session: RESPONSE(items=[item(session + 1, message=ANSWER)]).SerializeToString(),
    "large state": lambda session: RESPONSE(items=[item(session, resume_state=b"x" * 5000)]).SerializeToString(),
    "large response": lambda session: RESPONSE(items=[item(session, message=b"x" * (1 << 20))]).SerializeToString(),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_response_ends_only_the_stream(gateway, broken):
    """Its sessions are announced on the next one."""
    s, session = gateway.open()
    other = Socket(gateway.port, ROOM)  # is not accepted yet
    gateway.edge.wait(0, "open", 2)
    gateway.edge.say(0, item(session, channel={"channel": 7, "seq": 3, "live": True}))
    waiting = gateway.edge.ups(0, "open")[1].session
    gateway.edge.raw(0, grpc_message(BROKEN[broken](session if "state" in broken or "response" in broken else waiting - 1)))
    opens = {up.session: up.open for up in gateway.edge.wait(1, "open", 2)}
    assert opens[session].resumed and opens[session].resume_state == b"state" and not opens[session].metadata
    assert [(p.channel, p.seq) for p in opens[session].positions] == [(7, 3)]
    assert not opens[waiting].resumed and opens[waiting].metadata
    gateway.edge.say(1, item(session, opened={}), item(session, message=ANSWER), item(waiting, opened={}),
                     item(waiting, message=ANSWER))
    text(s)
    text(other)


def test_items_that_are_for_nobody(gateway):
    """Ended sessions, ids that never were, kinds that are not known yet, channels that nobody is in."""
    s, session = gateway.open()
    gateway.edge.say(
        0, item(99, message=ANSWER), item(1 << 40, end={"code": 5}), item(session, left_channel=9), item(session),
        item(0, broadcast={"channel": 5, "seq": 1, "message": ANSWER}), item(0, message=ANSWER))
    gateway.edge.raw(0, grpc_message(b""))
    gateway.edge.say(0, item(session, message=ANSWER))
    text(s)
    gateway.edge.say(0, item(session, end={}), item(session, message=ANSWER))
    assert s.ends() == (1000, "")


def test_who_is_live_hears_what_is_after_its_place(gateway):
    s, session = gateway.open()

    def broadcast(number):
        answer = MESSAGES.new("stoa.test.v1.RoomResponse", text=str(number)).SerializeToString()
        return item(0, broadcast={"channel": 7, "seq": number, "message": answer})

    gateway.edge.say(0, item(session, channel={"channel": 7, "seq": 3}), broadcast(4))
    gateway.edge.say(0, item(session, channel={"channel": 7, "seq": 5, "live": True}), *map(broadcast, (4, 5, 6, 0, 6, 8)))
    assert [s.message() for _ in range(3)] == ['{"text":"6"}', '{"text":"0"}', '{"text":"8"}']
    gateway.edge.say(0, item(session, left_channel=7), broadcast(9), item(session, message=ANSWER))
    text(s)


def test_end(gateway):
    status = MESSAGES.new("google.rpc.Status", code=7, message="no")
    s, session = gateway.open()
    gateway.edge.say(0, item(session, end={"code": 7, "message": "no", "details": status.SerializeToString()}))
    assert s.ends() == (4007, "no")
    s, session = gateway.open()
    gateway.edge.say(0, item(session, end={"code": 99, "message": "x"}))
    assert s.ends()[0] == 4002


def test_broken_message(gateway):
    """It is that session's end, or that of those who would have got it."""
    s, session = gateway.open()
    gateway.edge.say(0, item(session, message=b"\xff"))
    assert s.ends() == (1011, "the service sent a broken message")
    for broken in (b"\xff", b"\x32" + b"\xff\xff\x07" + b"x" * 131071):
        (s, session), (other, alive) = gateway.open(), gateway.open()
        gateway.edge.say(0, item(session, channel={"channel": 7, "live": True}),
                         item(0, broadcast={"channel": 7, "seq": 1, "message": broken}))
        assert s.ends() == (1011, "the service sent a broken message")
        gateway.edge.say(0, item(alive, message=ANSWER))
        text(other)


def test_too_many_channels(gateway):
    s, session = gateway.open()
    gateway.edge.say(0, *(item(session, channel={"channel": i}) for i in range(1024)))
    gateway.edge.say(0, item(session, channel={"channel": 5, "live": True}), item(session, message=ANSWER))
    text(s)
    gateway.edge.say(0, item(session, channel={"channel": 1024}))
    assert s.ends()[0] == 1011
    assert gateway.edge.wait(0, "close")[0].session == session


def test_without_a_state_it_is_not_resumed(gateway):
    s = Socket(gateway.port, ROOM)
    session = gateway.edge.wait(0, "open")[0].session
    gateway.edge.say(0, item(session, opened={}), item(session, message=ANSWER))
    text(s)
    gateway.edge.streams[0][0].close()
    assert s.ends() == (1012, "the connection to the service was lost")


def test_drained(gateway):
    """Told once, after what was to be told of."""
    s, session = gateway.open()
    flagged = item(session, message=ANSWER)
    flagged.tell_drained = True
    gateway.edge.say(0, item(session, message=ANSWER), flagged)
    text(s)
    text(s)
    assert gateway.edge.wait(0, "drained")[0].session == session
    gateway.edge.say(0, item(session, message=ANSWER))
    text(s)
    assert len(gateway.edge.ups(0, "drained")) == 1


def test_service_that_does_not_answer():
    """Who is not accepted for so long is told; what it said meanwhile went nowhere."""
    gateway = EdgeGateway(settings="grpc_json_websocket_open_timeout 10ms; grpc_json_websocket_attach_timeout 2s;")
    try:
        s = Socket(gateway.start().port, ROOM)
        s.send(TEXT, "{}")
        assert s.ends() == (1012, "the service does not answer")
        assert not gateway.edge.ups(0, "message")
    finally:
        gateway.stop()


def test_server_that_wants_to_go():
    """GOAWAY: its sessions go to another server as soon as that takes them, and hear nothing of the first one any more."""
    gateway = EdgeGateway(2, "grpc_json_websocket_open_timeout 10ms;")
    try:
        s = Socket(gateway.start().port, ROOM)
        edge = gateway.edge
        first = wait_until(lambda: [i for i in range(2) if edge.ups(i, "open")])[0]
        session = edge.ups(first, "open")[0].session
        edge.say(first, item(session, opened={}), item(session, resume_state=b"state"))
        edge.say(first, item(session, channel={"channel": 7, "seq": 3, "live": True}), item(session, message=ANSWER))
        text(s)
        goaway = frame(GOAWAY, 0, 0, struct.pack(">II", (1 << 31) - 1, 0))
        edge.streams[first][0].do(lambda c: c.peer.sendall(goaway))
        (again,) = edge.wait(1 - first, "open")
        assert again.session == session and again.open.resumed
        assert [(p.channel, p.seq) for p in again.open.positions] == [(7, 3)]
        assert edge.wait(first, "close")[0].session == session
        edge.say(first, item(session, message=b"\xff"))
        edge.say(1 - first, item(session, opened={}), item(session, message=ANSWER))
        text(s)
        s.send(TEXT, "{}")
        edge.wait(1 - first, "message")
        assert not edge.ups(first, "message")
    finally:
        gateway.stop()


def test_instances_that_do_not_say_that_they_live():
    """Where none ever has, they are of an older contract. Otherwise another one takes the calls of one that is silent."""
    gateway = EdgeGateway(2, "grpc_json_websocket_open_timeout 10ms;")
    gateway.edge.takes_over = True
    try:
        gateway.start()
        s = Socket(gateway.port, ROOM)
        first = wait_until(lambda: [i for i in range(len(gateway.edge.streams)) if gateway.edge.ups(i, "open")])[0]
        session = gateway.edge.ups(first, "open")[0].session
        gateway.edge.say(first, item(session, opened={}), item(session, resume_state=b"state"))
        beats(gateway, first, 8)
        alive(gateway, first)
        # Neither says any more that it lives: the call goes to and fro, and is in one place at a time.
        for _ in range(3):
            text(s)
        resumed = [up.open for i in range(len(gateway.edge.streams)) for up in gateway.edge.ups(i, "open") if up.open.resumed]
        assert len(resumed) >= 3 and {up.resume_state for up in resumed} == {b"state"}
        s.drop()
    finally:
        gateway.stop()


def test_silence_of_the_only_instance(gateway):
    s, session = gateway.open()
    alive(gateway, 0)
    beats(gateway, 0, 8)
    assert len(gateway.edge.streams) == 1
    gateway.edge.say(0, item(session, message=ANSWER))
    text(s)
    s.drop()
