"""gateway/h2.h when memory runs out: each allocation of a stream's life fails once (tests/faults). The stream ends
with a code, the worker lives, the service is left with no stream of nobody's, and the next stream is as before."""
import contextlib

import h2.events
import pytest
from faults_fixture import FROM, ONCE, SECONDS, Control, each_place
from gateway_fixture import NGINX, wait_until
from h2_fixture import H2Gateway, H2Service

# An idle connection is closed at once, so that each stream has to connect.
AT_ONCE = "30s 1h 1h 1ms"
FOR_LONG = "30s 1h 1h 1h"
SIZES = (0, 100, 40_000, 200_000)
# RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE: what a user may be told then.
CODES = ("8", "13", "14")


class FaultGateway(H2Gateway):
    def __init__(self, times):
        self.control = Control()
        self.nginx = self.control.preload(NGINX)
        super().__init__(times)

    def is_trouble(self, line):
        return super().is_trouble(line) and "Cannot allocate memory" not in line


@contextlib.contextmanager
def running(times):
    gateway = FaultGateway(times)
    service = H2Service(gateway.socket_path("one"), rpcs={"/t/Fail": fail})
    try:
        yield gateway.start(), service
    finally:
        service.stop()
        gateway.stop()


def fail(connection, stream, event):
    if isinstance(event, h2.events.RequestReceived):
        connection.respond(stream)
        connection.trailers(stream, 5, "n\u00f6", ("grpc-status-details-bin", "CAUSAXg"))


def is_over(stream):
    return stream.ended or stream.reset is not None


def story(gateway, service, path="/t/Echo", sizes=SIZES):
    """What the user of a stream was told, from its opening to its end."""
    told = []

    def hear(user, kind):
        """The next line, but for those on sending. False: it is another one, or the connection was closed."""
        while line := user.reader.readline().decode().split():
            if line in (["sent", "OK"], ["sent", "AGAIN"], ["writable"]):
                continue
            told.append(" ".join(line))
            return line[0] == kind
        return False

    def sent_back(user, size):
        user.say(f"send 1 {size}")
        return hear(user, "message")

    with contextlib.suppress(ConnectionError), gateway.user() as user:
        user.socket.settimeout(SECONDS)
        user.open(path, 1 << 20, 20_000, "x-name=value")
        if hear(user, "opened") and all(sent_back(user, size) for size in sizes):
            user.say("half")
            hear(user, "ended")
    return settled(service, told)


def settled(service, told):
    """Once nothing of the stream is left in the service."""
    wait_until(lambda: all(c.ended or all(map(is_over, c.streams.values())) for c in service.connections))
    service.connections[:] = service.open_connections()
    return told


def ended_or_failed(told, expected):
    """As it should be, or up to somewhere and then the end, or nothing any more; the end may have less to say."""
    if told == expected or (told[:-1] == expected[:-1] and told[-1:] and told[-1].split()[:3] == expected[-1].split()[:3]):
        return True
    if told and told[-1] in ("no memory", "sent ERROR"):
        told = told[:-1]
    if told and told[-1].split()[:1] == ["ended"] and told[-1].split()[1] in CODES:
        told = told[:-1]
    return told == expected[: len(told)]


def try_all(gateway, ask, mode=ONCE):
    """A server that could not be connected to is not asked again for a while: at most 2 s."""
    each_place(gateway.control, gateway.worker_pids()[0], ask, ended_or_failed, mode, patience=4)


@pytest.mark.parametrize("mode", (ONCE, FROM), ids=("once", "all after"))
def test_stream_with_its_connection(mode):
    with running(AT_ONCE) as (gateway, service):

        def ask():
            told = story(gateway, service)
            wait_until(lambda: not service.open_connections())
            return told

        try_all(gateway, ask, mode)
        assert gateway.stats() == (0, 0)


@pytest.mark.parametrize("path", ("/t/Echo", "/t/Fail"))
def test_stream_on_a_shared_connection(path):
    sizes = SIZES if path == "/t/Echo" else ()
    with running(FOR_LONG) as (gateway, service):
        try_all(gateway, lambda: story(gateway, service, path, sizes))
        assert gateway.stats()[1] == 0
