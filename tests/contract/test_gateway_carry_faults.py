"""Calls that travel together when memory runs out: each allocation of a carried call's life fails once (tests/faults).
Its client gets its answer or a problem that is not its fault, the worker lives and keeps nothing, the service hears of
a caller that has gone, and calls travel together again."""
import pathlib
import socket
import time

import h2.settings
import pytest
from faults_fixture import (
    FAULT_MODULE, FROM, NO_MEMORY, ONCE, SECONDS, Control, each_place, expected_or_failed, http1, read_http1, receive,
)
from gateway_fixture import NGINX, Gateway, Messages, compile_demo, wait_until
from test_gateway_carry import Carrier

# What the service can't read fails the test.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

# A carrier that has ended is begun again after 10 s.
PATIENCE = 30
LINK = {"name": "link", "value": "</next>; rel=next"}
BODY = b'{"item": {"name": "a"}}'
# Headers of calls by themselves would be kept for the next ones, with the connection: what is held has no end soon.
NO_TABLE = {h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0}
GET = "GET /demo/items/a HTTP/1.1", b""
POST = f"POST /demo/items HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}", BODY


class FaultGateway(Gateway):
    module = FAULT_MODULE

    def __init__(self, descriptor_set):
        self.control = Control()
        self.nginx = self.control.preload(NGINX)
        super().__init__(descriptor_set)

    def is_trouble(self, line):
        return super().is_trouble(line) and not NO_MEMORY.search(line)


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return Messages(compile_demo(tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def gateway(messages):
    gateway = FaultGateway(messages.path)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@pytest.fixture
def carrier(gateway, messages):
    made = Carrier(messages, gateway.socket_path("chat"), NO_TABLE)
    made.prime(gateway)
    yield made
    made.service.stop()


def with_metadata(carrier, stream, calls):
    carrier.say(stream, *(carrier.answer(call, metadata=[LINK], trailers=[LINK]) for call in calls))


def failure(carrier, stream, calls):
    new = carrier.messages.new
    status = new("google.rpc.Status", code=5, message="no such")
    status.details.add().Pack(new("google.rpc.ErrorInfo", reason="NOT_HERE", domain="demo"))
    end = new("stoa.edge.v1.End", code=5, message=status.message, details=status.SerializeToString())
    carrier.say(stream, *(new("stoa.edge.v1.CarriedAnswer", id=call.id, end=end) for call in calls))


def in_pieces(carrier, stream, calls):
    for call in calls:
        whole = carrier.response(call.method, call.message, "x" * 100_000).SerializeToString()
        for at in range(0, len(whole), 40_000):
            more = {"size": len(whole)} if at == 0 else {"end": {}} if at + 40_000 >= len(whole) else {}
            carrier.say(stream, carrier.messages.new(
                "stoa.edge.v1.CarriedAnswer", id=call.id, message=whole[at:at + 40_000], **more))


ANSWERS = {
    "read": (Carrier.answer_all, GET),
    "write": (Carrier.answer_all, POST),
    "metadata": (with_metadata, GET),
    "failure": (failure, GET),
    "pieces": (in_pieces, GET),
}


def try_all(gateway, carrier, act, judge, mode):
    """act() returns what its client saw, which is judged. Expected is also that its call travelled with others: where a failure ended
    that, the next places wait until it is so again."""

    def ask():
        carrier.requests.clear()
        carrier.alone.clear()
        carrier.cancelled.clear()
        seen = act()
        carried = bool(carrier.requests) and not carrier.alone
        if not carried:
            time.sleep(0.05)
        return seen, carried

    assert ask()[1]
    (pid,) = gateway.worker_pids()
    each_place(gateway.control, pid, ask, lambda told, expected: judge(told[0], expected[0]), mode, patience=PATIENCE)


@pytest.mark.parametrize("mode", (ONCE, FROM), ids=("once", "all after"))
@pytest.mark.parametrize("kind", ANSWERS)
def test_call(gateway, carrier, kind, mode):
    take, request = ANSWERS[kind]
    by_itself = http1(gateway.port, *request)  # as it is answered where it can't travel with others
    carrier.take = take

    def judge(seen, expected):
        return expected_or_failed(seen, expected) or expected_or_failed(seen, by_itself)

    try_all(gateway, carrier, lambda: http1(gateway.port, *request), judge, mode)


LEFT, NOT_TOLD = "left", "left, and there was no memory to tell of it"


def not_told(gateway):
    log = pathlib.Path(f"{gateway.dir}/log/nginx-error.log")
    return log.exists() and log.read_text().count("it is not told that a caller has gone")


def leave(gateway, carrier, held):
    """A client that goes once its call is with the service."""
    held.clear()
    before = not_told(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=SECONDS) as client:
        client.sendall(GET[0].encode() + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.setblocking(False)
        wait_until(lambda: held or is_answered(client))
        if not held:
            client.settimeout(SECONDS)
            return read_http1(receive(client), "GET")

    # It may have been sent a second time.
    def is_heard():
        return all(call.id in carrier.cancelled or stream.connection.ended for stream, call in held)

    wait_until(lambda: is_heard() or not_told(gateway) > before)
    return LEFT if is_heard() else NOT_TOLD


def is_answered(client):
    try:
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("mode", (ONCE, FROM), ids=("once", "all after"))
def test_client_leaves(gateway, carrier, mode):
    """The service hears of it, or loses the connection. Without memory for telling it, other calls stay as they are."""
    by_itself = http1(gateway.port, *GET)
    held = carrier.hold()

    def judge(seen, _):
        return seen in (LEFT, NOT_TOLD) or expected_or_failed(seen, by_itself)

    try_all(gateway, carrier, lambda: leave(gateway, carrier, held), judge, mode)
