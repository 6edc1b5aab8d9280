"""Calls on shared connections: what they share, and what happens to those in flight when a connection, a
server, a client or a worker goes."""
import contextlib
import os
import pathlib
import signal
import socket
import threading
from concurrent import futures

import h2.connection
import h2.events
import h2.settings
import pytest
from gateway_fixture import SERVICE, Gateway, Messages, compile_demo, grpc_message, wait_until
from h2_fixture import H2Service

GET, CREATE, WATCH = SERVICE + "GetItem", SERVICE + "CreateItem", SERVICE + "WatchItems"
REFUSED_STREAM = 7
CALLS = 20


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return Messages(compile_demo(tmp_path_factory.mktemp("demo")))


@contextlib.contextmanager
def running(messages, **changes):
    gateway = Gateway(messages.path, changes)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def shared(messages):
    with running(messages) as gateway:
        yield gateway


@pytest.fixture
def serve(shared, messages):
    """serve(rpc) starts a service: rpc(connection, stream) gets each call, once it is complete."""
    made = []

    def start(rpc, address=None, **kwargs):
        def on_event(connection, stream, event):
            if isinstance(event, h2.events.DataReceived):
                connection.consume(event)
                stream.received += event.data
            if event.__class__ is h2.events.StreamEnded:
                rpc(connection, stream)

        made.append(H2Service(address or shared.socket_path("chat"), rpcs={path: on_event for path in (GET, CREATE, WATCH)}, **kwargs))
        return made[-1]

    yield start
    for service in made:
        service.stop()


@pytest.fixture
def answer(messages):
    """answer(connection, stream) answers a call well: one that creates, with what it got."""

    def send(connection, stream, size=0):
        request = messages.new("demo.v1.CreateItemRequest" if stream.path == CREATE else "demo.v1.GetItemRequest")
        request.ParseFromString(stream.received[5:])
        response = messages.new("demo.v1.GetItemResponse")
        response.item.name = request.item.name if stream.path == CREATE else request.name
        response.item.note = "x" * size
        connection.respond(stream)
        stream.waiting = grpc_message(response.SerializeToString())
        connection.trailers(stream, 0)

    return send


class Clients:
    """Clients whose connections the worker knows: what they then send, it can see all at once."""

    def __init__(self, gateway, count):
        self.pool = futures.ThreadPoolExecutor(count)
        self.connections = [gateway.connect() for _ in range(count)]
        self.gateway = gateway

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        for connection in self.connections:
            connection.close()

    def ask(self, method="GET", path="/demo/items/{}", body=None):
        """Starts a request on each connection."""
        return [
            self.pool.submit(self.gateway.request, method, path.format(i), connection=connection,
                             body=body and {"item": {"name": str(i)}})
            for i, connection in enumerate(self.connections)
        ]

    def create(self):
        return self.ask("POST", "/demo/items", True)


def results(asked):
    return [each.result(60) for each in asked]


def all_well(asked, status=200):
    for i, each in enumerate(results(asked)):
        assert (each.status, each.json()["item"]["name"]) == (status, str(i))


@contextlib.contextmanager
def stopped(gateway):
    """The worker sleeps, and then sees all that has happened meanwhile in one turn of its loop."""
    (worker,) = gateway.worker_pids()
    wait_until(lambda: state_of(worker) == "S")  # it has nothing to do
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: state_of(worker) == "T")
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rpartition(")")[2].split()[0]


def all_wait(clients):
    """Whether each client's request is where the worker will read it."""
    waiting = set()
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            _, here, there, state, queues = line.split()[:5]
            port, peer = (int(address.partition(":")[2], 16) for address in (here, there))
            if port == clients.gateway.port and state == "01" and int(queues.partition(":")[2], 16) > 0:
                waiting.add(peer)
    return {c.sock.getsockname()[1] for c in clients.connections} <= waiting


# ---- sharing ----


def test_calls_share_a_connection_and_its_writes(shared, serve, answer):
    service = serve(answer)
    with Clients(shared, CALLS) as clients:
        all_well(clients.ask())
        before = len(service.reads)
        with stopped(shared):
            asked = clients.ask()
            wait_until(lambda: all_wait(clients))
        all_well(asked)
    assert len(service.connections) == 1
    assert service.reads[before:] == [CALLS], "requests of one turn of the loop are one write"


def test_stream_limit(shared, serve, answer):
    """More calls than a connection takes are more connections, and no call is lost."""
    held, most = [], []

    def hold(connection, stream):
        held.append((connection, stream))
        most.append(sum(not s.ended for s in connection.streams.values()))

    service = serve(hold, settings={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    with Clients(shared, CALLS) as clients:
        asked = clients.ask()
        wait_until(lambda: len(held) == CALLS)
        for connection, stream in held:
            connection.do(lambda c, s=stream: answer(c, s))
        all_well(asked)
    assert max(most) <= 3 and len(service.connections) >= CALLS / 3


def test_one_that_stalls_stops_no_other(shared, serve, answer):
    """Half of an answer that is larger than all windows comes, and then others; a client does not read its own."""
    stalled = threading.Event()

    def rpc(connection, stream):
        if b"stall" in stream.received:
            connection.respond(stream)
            stream.waiting = grpc_message(b"x" * 3_000_000, length=6_000_000)
            stalled.set()
        else:
            answer(connection, stream, 1_000_000 if b"slow" in stream.received else 0)

    service = serve(rpc)
    with socket.socket() as slow, socket.create_connection(("127.0.0.1", shared.port)) as stall:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", shared.port))
        for s, name in ((slow, b"slow"), (stall, b"stall")):
            s.sendall(b"GET /demo/items/" + name + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stalled.wait(20)
        with Clients(shared, CALLS) as clients:
            all_well(clients.ask())
        assert len(service.connections) == 1
        (stream,) = [s for s in service.connections[0].streams.values() if b"stall" in s.received]
        assert stream.reset is None
    # Both have left, and only their calls end with them.
    wait_until(lambda: stream.reset == 8)
    assert shared.get("/demo/items/a").status == 200
    assert len(service.connections) == 1


def test_a_client_that_leaves_ends_its_stream(shared, serve, messages):
    """And no other one, nor a call."""

    def rpc(connection, stream):
        connection.respond(stream)
        stream.waiting = grpc_message(messages.new("demo.v1.WatchItemsResponse").SerializeToString())

    service = serve(rpc)
    sockets = []
    for _ in range(CALLS):
        sockets.append(socket.create_connection(("127.0.0.1", shared.port), timeout=30))
        sockets[-1].sendall(b"GET /demo/watch HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        assert sockets[-1].recv(1000).startswith(b"HTTP/1.1 200 ")
    streams = service.connections[0].streams.values()
    for s in sockets[1:]:
        s.close()
    wait_until(lambda: sum(stream.reset == 8 for stream in streams) == CALLS - 1)
    assert len(service.connections) == 1 and len(streams) == CALLS
    sockets[0].close()
    wait_until(lambda: all(stream.reset == 8 for stream in streams))


# ---- connections that go ----


def held_calls(service_calls, count):
    wait_until(lambda: len(service_calls) == count)
    (connection,) = {connection for connection, _ in service_calls}
    return connection


def test_lost_connection(shared, serve, answer):
    """All calls on it were under way: those that may be repeated are, the others are answered."""
    held = []

    def rpc(connection, stream):
        if connection is connection.service.connections[0]:
            held.append((connection, stream))
        else:
            answer(connection, stream)

    serve(rpc)
    with Clients(shared, CALLS) as readers, Clients(shared, CALLS) as writers:
        reads, writes = readers.ask(), writers.create()
        held_calls(held, 2 * CALLS).close()
        all_well(reads)
        for each in results(writes):
            assert each.status == 502 and list(each.errors()) == ["service"]
        all_well(writers.create(), 201)
    path = shared.socket_path("chat")
    entry = shared.wait_for_log(lambda e: e["request"] == "GET /demo/items/3" and ", " in e["upstream"])
    assert entry["upstream"] == f"unix:{path}, unix:{path}" and entry["status"] == "200"


@pytest.mark.parametrize("how", ("refused", "going away"))
def test_not_seen_is_sent_elsewhere(shared, serve, answer, how):
    """A service that has not begun with a call says so: then also one that changes something is sent again, whole."""
    held = []

    def rpc(connection, stream):
        if connection is connection.service.connections[0]:
            held.append((connection, stream))
        else:
            answer(connection, stream)

    def refuse(connection):
        if how == "going away":
            connection.h2.close_connection(last_stream_id=0)
            return
        connection.h2.close_connection(last_stream_id=max(connection.streams))
        for stream in connection.streams.values():
            stream.reset = REFUSED_STREAM
            connection.h2.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN
            connection.h2.reset_stream(stream.number, REFUSED_STREAM)

    service = serve(rpc)
    with Clients(shared, CALLS) as clients:
        asked = clients.create()
        held_calls(held, CALLS).do(refuse)
        all_well(asked, 201)
    assert len(service.connections) == 2


def test_not_written_is_sent_elsewhere(shared, serve, answer):
    """The connection ends while the calls are on their way to it: none of them has gone out."""
    service = serve(answer)
    with Clients(shared, CALLS) as clients:
        all_well(clients.ask())
        with stopped(shared):
            asked = clients.create()
            wait_until(lambda: all_wait(clients))
            service.connections[0].close()
            wait_until(lambda: service.connections[0].ended)
        all_well(asked, 201)
    assert len(service.connections) == 2


# ---- servers that say nothing ----


def test_silent_connection_gets_no_more_calls(messages, serve, answer):
    """A server that went without a word is found out by the first call that has no answer, not by a ping much later."""
    released = threading.Event()

    def rpc(connection, stream):
        if b"stuck" in stream.received:
            released.wait(60)  # and so does all that comes on this connection
        answer(connection, stream)

    with running(messages) as gateway:
        service = serve(rpc, gateway.socket_path("chat"))
        assert gateway.get("/demo/items/a").status == 200
        assert gateway.get("/demo/items/stuck", headers={"Request-Timeout": "0.1"}).status == 504
        assert len(service.connections) == 1
        assert gateway.get("/demo/items/a").status == 200
        assert len(service.connections) == 2
        released.set()
        wait_until(lambda: service.connections[0].ended)
        assert gateway.get("/demo/items/a").status == 200 and len(service.connections) == 2


def test_silent_server_is_passed_over(messages, serve, answer):
    """By max_fails and fail_timeout, as nginx has them: one call has to find it out."""
    two = "server unix:{0}/sock/chat.sock fail_timeout=1h; server unix:{0}/sock/other.sock fail_timeout=1h;"

    with running(messages) as gateway:
        config, one = pathlib.Path(gateway.config), f"server unix:{gateway.socket_path('chat')};"
        assert one in config.read_text()
        config.write_text(config.read_text().replace(one, two.format(gateway.dir)))
        (worker,) = gateway.worker_pids()
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: gateway.worker_pids() and worker not in gateway.worker_pids())
        silent = serve(lambda connection, stream: None, gateway.socket_path("chat"))
        serve(answer, gateway.socket_path("other"))
        statuses = [gateway.get("/demo/items/a", headers={"Request-Timeout": "3"}).status for _ in range(12)]
        assert sorted(statuses) == [200] * 11 + [504]
        assert len(silent.requests) == 1


# ---- workers that go ----


def test_worker_leaves_after_its_calls(shared, serve, answer):
    held = []
    serve(lambda connection, stream: held.append((connection, stream)))
    (worker,) = shared.worker_pids()
    with Clients(shared, CALLS) as clients:
        asked = clients.create()
        connection = held_calls(held, CALLS)
        shared.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(shared.worker_pids()) == 2)
        for _, stream in held:
            connection.do(lambda c, s=stream: answer(c, s))
        all_well(asked, 201)
    wait_until(lambda: worker not in shared.worker_pids())
    wait_until(lambda: connection.ended)


# ---- configuration ----


def test_not_configured(messages):
    with running(messages, **{"grpc_json_pass $stoa_upstream;": ""}) as gateway:
        answer = gateway.get("/demo/items/a")
        assert answer.status == 501 and answer.problem()
    with running(messages, **{"demo.* chat;": "demo.* nowhere;"}) as gateway:
        assert gateway.get("/demo/items/a").status == 502


def test_twice(messages):
    gateway = Gateway(messages.path, {"grpc_json_pass $stoa_upstream;": "grpc_json_pass chat; grpc_json_pass off;"})
    try:
        refused = gateway.test_config()
        assert refused.returncode == 1 and '"grpc_json_pass" directive is duplicate' in refused.stderr
    finally:
        gateway.stop()
