"""Calls that travel together on one stream (stoa.edge.v1.CallService), with a service that tests play by hand. Services
of lib/grpc do it in all tests of the suite; those that know nothing of it are in test_gateway_calls.py."""
import struct
import threading
from concurrent import futures

import h2.events
import pytest
from gateway_fixture import Gateway, Messages, compile_demo, grpc_message, wait_until
from h2_fixture import CARRY, H2Service
from test_gateway_calls import CALLS, CREATE, GET, Clients, all_wait, all_well, results, stopped
from test_gateway_instances import PUSHBACK, TwoInstances


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return Messages(compile_demo(tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def shared(messages):
    gateway = Gateway(messages.path)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


class Carrier:
    """A service with a carrier on each connection: `take(carrier, calls)` gets the calls of a CarryRequest, in the thread
    of the connection. Calls by themselves are counted, and answered."""

    def __init__(self, messages, address, settings=None):
        self.messages = messages
        self.streams = []  # of all connections
        self.requests = []  # CarryRequests that have calls
        self.cancelled = []
        self.alone = []  # paths
        self.ended = 0  # half closes
        self.take = Carrier.answer_all
        self.reads = True  # makes room for what follows
        self.service = H2Service(address, settings, {CARRY: self._carry, GET: self._alone, CREATE: self._alone})

    def _carry(self, connection, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            stream.connection = connection
            self.streams.append(stream)
            connection.respond(stream)
        elif isinstance(event, h2.events.DataReceived):
            if self.reads:
                connection.consume(event)
            else:
                connection.h2.increment_flow_control_window(event.flow_controlled_length)  # for other streams
            stream.received += event.data
            while len(stream.received) >= 5 and len(stream.received) >= 5 + (n := struct.unpack(">I", stream.received[1:5])[0]):
                request = self.messages.type("stoa.edge.v1.CarryRequest").FromString(stream.received[5:5 + n])
                stream.received = stream.received[5 + n:]
                self.cancelled += request.cancelled
                if request.calls:
                    self.requests.append(request)
                    self.take(self, stream, request.calls)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended += 1

    def _alone(self, connection, stream, event):
        if isinstance(event, h2.events.DataReceived):
            connection.consume(event)
            stream.received += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.alone.append(stream.path)
            connection.respond(stream)
            stream.waiting = grpc_message(self.response(stream.path, stream.received[5:]).SerializeToString())
            connection.trailers(stream, 0)

    def response(self, method, request, note=""):
        if method == CREATE:
            name = self.messages.type("demo.v1.CreateItemRequest").FromString(request).item.name
        else:
            name = self.messages.type("demo.v1.GetItemRequest").FromString(request).name
        return self.messages.new("demo.v1.GetItemResponse", item=self.messages.new("demo.v1.Item", name=name, note=note))

    def answer(self, call, **more):
        return self.messages.new("stoa.edge.v1.CarriedAnswer", id=call.id, message=self.response(call.method, call.message).SerializeToString(),
                                 end={}, **more)

    def say(self, stream, *answers, going=False):
        self.raw(stream, self.messages.new("stoa.edge.v1.CarryResponse", answers=answers, going=going).SerializeToString())

    def raw(self, stream, message):
        stream.waiting += grpc_message(message)

    def later(self, stream, *answers, **more):
        """say(), from a test's thread."""
        stream.connection.do(lambda _: self.say(stream, *answers, **more))

    def answer_all(self, stream, calls):
        self.say(stream, *(self.answer(call) for call in calls))

    def hold(self):
        """The next calls are kept: [(stream, call)]."""
        held = []
        self.take = lambda _, stream, calls: held.extend((stream, call) for call in calls)
        return held

    def prime(self, gateway):
        """Until the gateway knows that calls may travel together."""
        wait_until(lambda: gateway.get("/demo/items/prime").status == 200 and self.requests)
        self.requests.clear()
        self.alone.clear()


@pytest.fixture
def carrier(shared, messages):
    made = Carrier(messages, shared.socket_path("chat"))
    made.prime(shared)
    yield made
    made.service.stop()


# ---- together ----


def test_calls_of_a_turn_are_one_message(shared, carrier):
    with Clients(shared, CALLS) as clients:
        all_well(clients.create(), 201)
        carrier.requests.clear()
        with stopped(shared):
            asked = clients.create()
            wait_until(lambda: all_wait(clients))
        all_well(asked, 201)
    (request,) = carrier.requests
    assert len(request.calls) == CALLS == len({call.id for call in request.calls})
    for call in request.calls:
        assert call.method == CREATE and call.id > 0 and call.timeout_ms > 0
        names = [entry.name for entry in call.metadata]
        assert "x-request-id" in names and not [name for name in names if name.startswith((":", "grpc-", "te", "content-type"))]
    assert not carrier.alone


def test_answers_need_not_be_read_first(shared, carrier):
    """Those to several large groups go at once: the gateway has room for 256 KB of them, and gives it back."""
    stream = carrier.streams[0]
    room = lambda: stream.connection.h2.local_flow_control_window(stream.number)  # noqa: E731
    wait_until(lambda: room() > 192 << 10)
    carrier.take = lambda _, stream, calls: carrier.say(stream, *(
        carrier.messages.new("stoa.edge.v1.CarriedAnswer", id=call.id, end={},
                             message=carrier.response(call.method, call.message, note="x" * 15000).SerializeToString())
        for call in calls))
    for _ in range(40):
        assert shared.get("/demo/items/one").status == 200
    wait_until(lambda: room() > 128 << 10)


def test_errors_and_metadata(shared, carrier, messages):
    info = messages.new("google.rpc.ErrorInfo", reason="NOT_HERE", domain="demo")
    status = messages.new("google.rpc.Status", code=5, message="no such: 100 %")
    status.details.add().Pack(info)

    def refuse(_, stream, calls):
        end = messages.new("stoa.edge.v1.End", code=5, message=status.message, details=status.SerializeToString())
        carrier.say(stream, *(messages.new("stoa.edge.v1.CarriedAnswer", id=call.id, end=end) for call in calls))

    carrier.take = refuse
    answer = shared.get("/demo/items/a")
    assert answer.status == 404
    assert (answer.json()["reason"], answer.json()["detail"]) == ("NOT_HERE", "no such: 100 %")

    link = {"name": "link", "value": "</next>; rel=next"}
    carrier.take = lambda _, stream, calls: carrier.say(stream, *(carrier.answer(call, trailers=[link]) for call in calls))
    assert shared.get("/demo/items/a").headers["link"] == link["value"]
    carrier.take = lambda _, stream, calls: carrier.say(stream, *(carrier.answer(call, metadata=[link]) for call in calls))
    assert shared.get("/demo/items/a").headers["link"] == link["value"]


def test_answer_in_pieces(shared, carrier, messages):
    """And other answers between them."""
    held = carrier.hold()
    with futures.ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(shared.get, f"/demo/items/{i}") for i in range(2)]
        wait_until(lambda: len(held) == 2)
        (stream, large), (_, small) = held
        whole = carrier.response(large.method, large.message, "x" * 100_000).SerializeToString()

        def piece(at, n, **more):
            return messages.new("stoa.edge.v1.CarriedAnswer", id=large.id, message=whole[at:at + n], **more)

        carrier.later(stream, piece(0, 40_000, size=len(whole)), carrier.answer(small))
        carrier.later(stream, piece(40_000, 60_000))
        carrier.later(stream, piece(100_000, len(whole), end={}))
        got = results(asked)
    assert [each.status for each in got] == [200, 200]
    assert sorted(len(each.json()["item"]["note"] or "") for each in got) == [0, 100_000]


def test_large_requests_go_by_themselves(shared, carrier):
    assert shared.post("/demo/items", {"item": {"name": "x" * 20_000}}).status == 201
    assert carrier.alone == [CREATE] and not carrier.requests


# ---- what goes wrong ----


def test_client_leaves(shared, carrier):
    held = carrier.hold()
    connection = shared.connect()
    connection.request("GET", "/demo/items/a")
    wait_until(lambda: held)
    connection.close()
    (stream, call), = held
    wait_until(lambda: carrier.cancelled == [call.id])
    carrier.later(stream, carrier.answer(call))  # it had not heard of it; nobody has the id any more
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/b").json()["item"]["name"] == "b"
    assert carrier.requests[-1].calls[0].id != call.id


def test_time_is_up(shared, carrier):
    held = carrier.hold()
    assert shared.get("/demo/items/a", headers={"Request-Timeout": "1"}).status == 504
    assert held[0][1].timeout_ms == 1000
    wait_until(lambda: carrier.cancelled == [held[0][1].id])
    # Nothing at all was heard on that connection: new calls go by another one.
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/a").status == 200
    assert len(carrier.service.connections) == 2


@pytest.mark.parametrize("how", ("closed", "ended", "broken"))
def test_lost(shared, carrier, how):
    """The connection, its stream, or what is on it: what may be repeated is, and nothing else."""
    held = carrier.hold()
    with Clients(shared, CALLS) as readers, Clients(shared, CALLS) as writers:
        reads, writes = readers.ask(), writers.create()
        wait_until(lambda: len(held) == 2 * CALLS)
        carrier.take = Carrier.answer_all
        stream = held[0][0]
        if how == "closed":
            stream.connection.close()
        elif how == "ended":
            stream.connection.do(lambda connection: connection.trailers(stream, 8))
        else:
            stream.connection.do(lambda _: carrier.raw(stream, b"\x0a\x7f"))
        all_well(reads)
        assert [each.status for each in results(writes)] == [502] * CALLS
    assert shared.get("/demo/items/a").status == 200
    assert carrier.alone.count(GET) >= 1 and CREATE not in carrier.alone


def test_not_written_is_sent_again(shared, carrier):
    """The stream has ended, which the worker reads in the turn of its loop in which it is asked: the service has seen
    none of the calls."""
    with Clients(shared, CALLS) as clients:
        all_well(clients.create(), 201)
        stream = carrier.streams[-1]
        with stopped(shared):
            asked = clients.create()
            wait_until(lambda: all_wait(clients))
            sent = threading.Event()
            stream.connection.do(lambda connection: connection.trailers(stream, 13))
            stream.connection.do(lambda _: sent.set())  # by then the end is where the worker will read it
            assert sent.wait(60)
        all_well(asked, 201)
    assert carrier.alone == [CREATE] * CALLS


@pytest.mark.parametrize("pushback, status", ((PUSHBACK[0][1], 201), ("-1", 503)))
def test_refused(messages, pushback, status):
    """By an instance that has not begun with it, a call goes to another one, also when it changes something."""
    gateway = TwoInstances(messages.path)
    carriers = []
    try:
        gateway.start()
        carriers = [Carrier(messages, gateway.socket_path(name)) for name in ("chat", "chat-2")]
        wait_until(lambda: gateway.get("/demo/items/prime").status == 200 and all(each.requests for each in carriers))
        trailer = {"name": PUSHBACK[0][0], "value": pushback}
        carriers[0].take = lambda carrier, stream, calls: carrier.say(
            stream, *(messages.new("stoa.edge.v1.CarriedAnswer", id=call.id, end={"code": 14}, trailers=[trailer]) for call in calls))
        got = [gateway.post("/demo/items", {"item": {"name": "a"}}).status for _ in range(4)]
        assert sorted(got) == [201, 201, status, status]
        assert CREATE in [call.method for request in carriers[0].requests for call in request.calls]
        assert CREATE not in carriers[0].alone + carriers[1].alone
    finally:
        for each in carriers:
            each.service.stop()
        gateway.stop()


def test_service_that_does_not_read(shared, carrier):
    """What does not fit into its window, and the little that may wait for that, goes by itself; nothing is lost."""
    with Clients(shared, CALLS) as clients:
        all_well(clients.create(), 201)
        carrier.reads = False
        stream = carrier.streams[-1]
        body = {"item": {"name": "x" * 10_000}}
        asked = [clients.pool.submit(shared.request, "POST", "/demo/items", connection=c, body=body) for c in clients.connections]
        wait_until(lambda: carrier.alone)
        assert len(carrier.alone) <= CALLS - 12  # 64 KB twice
        carrier.reads = True
        stream.connection.do(lambda connection: connection.h2.acknowledge_received_data(65535, stream.number))
        assert [each.status for each in results(asked)] == [201] * CALLS
    carrier.alone.clear()
    assert shared.get("/demo/items/a").status == 200 and not carrier.alone


def test_answered_more_than_once(shared, carrier, messages):
    """The first answer is it, and no piece comes after the last."""
    held = carrier.hold()
    with futures.ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(shared.get, f"/demo/items/{i}") for i in range(2)]
        wait_until(lambda: len(held) == 2)
        stream, (one, other) = held[0][0], (call for _, call in held)
        again = messages.new("stoa.edge.v1.CarriedAnswer", id=one.id, message=b"x" * 100, end={"code": 5})
        carrier.later(stream, carrier.answer(one), again, carrier.answer(one))
        carrier.later(stream, again, carrier.answer(other))
        assert sorted(each.json()["item"]["name"] for each in results(asked)) == ["0", "1"]
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/a").status == 200


def test_answer_other_than_it_says(shared, carrier, messages):
    """More than was promised, at once or piece by piece, an end in the middle, a failure after a piece."""

    def answers(*pieces):
        carrier.take = lambda _, stream, calls: [carrier.say(stream, messages.new(
            "stoa.edge.v1.CarriedAnswer", id=call.id, **piece)) for call in calls for piece in pieces]
        return shared.get("/demo/items/a")

    whole = carrier.response(GET, b"", "x" * 100).SerializeToString()
    assert answers({"message": whole, "size": 10, "end": {}}).status == 502
    assert answers({"message": whole[:50], "size": len(whole)}, {"message": whole[50:] + whole, "end": {}}).status == 502
    assert answers({"message": whole[:50], "size": len(whole)}, {"end": {}}).status == 502
    assert answers({"message": whole, "size": len(whole)}, {"message": b"\0\0\0\0\0", "end": {}}).status == 502
    got = answers({"message": whole[:50], "size": len(whole)}, {"end": {"code": 5, "message": "not any more"}})
    assert (got.status, got.json()["detail"]) == (404, "not any more")
    assert answers({"message": whole[:50], "size": len(whole)}, {"message": whole[50:]}, {}, {"end": {}}).status == 200
    assert answers({"end": {}}).status == 200  # an empty message
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/a").status == 200


@pytest.mark.parametrize("name, value", (
    (":status", "404"),
    ("link", "a\r\nx-evil: 1"),
    ("link", "a\0b"),
    ("Link", "<a>"),
    ("", ""),
))
def test_metadata_that_is_no_header(shared, carrier, name, value):
    """As it would fail the stream of a call by itself."""
    for place in ("metadata", "trailers"):
        carrier.take = lambda _, stream, calls: carrier.say(
            stream, *(carrier.answer(call, **{place: [{"name": name, "value": value}]}) for call in calls))
        got = shared.get("/demo/items/a")
        assert got.status == 502 and list(got.errors()) == ["service"]
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/a").status == 200


def test_client_leaves_between_pieces(shared, carrier, messages):
    held = carrier.hold()
    connection = shared.connect()
    connection.request("GET", "/demo/items/a")
    wait_until(lambda: held)
    (stream, call), = held
    carrier.later(stream, messages.new("stoa.edge.v1.CarriedAnswer", id=call.id, message=b"x" * 1000, size=5000))
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/b").status == 200  # so the piece has come
    connection.close()
    wait_until(lambda: carrier.cancelled == [call.id])
    carrier.later(stream, messages.new("stoa.edge.v1.CarriedAnswer", id=call.id, message=b"x" * 4000, end={}))
    assert shared.get("/demo/items/c").status == 200


def test_replaced_by_one_that_does_not_know_it(shared, messages):
    """And by one that does: each connection finds out for itself."""
    address = shared.socket_path("chat")
    for knows in (True, False, True):
        made = Carrier(messages, address)
        if not knows:
            del made.service.rpcs[CARRY]
        wait_until(lambda: shared.get("/demo/items/a").status == 200)
        if knows:
            made.prime(shared)
        for _ in range(3):
            assert shared.get("/demo/items/a").status == 200
        assert bool(made.requests) == knows and bool(made.alone) != knows
        made.service.stop()
        wait_until(lambda made=made: not made.service.open_connections())


def test_nonsense_is_its_own_calls_alone(shared, carrier, messages):
    """A code that is none, and an answer that is shorter than it says; of calls that are not there nothing is heard."""
    held = carrier.hold()
    with futures.ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(shared.get, f"/demo/items/{i}") for i in range(3)]
        wait_until(lambda: len(held) == 3)
        stream, (code, size, good) = held[0][0], (call for _, call in held)
        carrier.later(
            stream,
            messages.new("stoa.edge.v1.CarriedAnswer", id=code.id, end={"code": 99}),
            messages.new("stoa.edge.v1.CarriedAnswer", id=size.id, message=b"x", size=1000, end={}),
            messages.new("stoa.edge.v1.CarriedAnswer", id=12345, end={}),
            messages.new("stoa.edge.v1.CarriedAnswer", id=0, end={}),
            carrier.answer(good),
        )
        assert sorted(each.status for each in results(asked)) == [200, 502, 502]
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/a").status == 200


def test_answer_over_the_limit(shared, carrier, messages):
    def boast(_, stream, calls):
        carrier.say(stream, *(messages.new("stoa.edge.v1.CarriedAnswer", id=call.id, message=b"x", size=1 << 30) for call in calls))

    carrier.take = boast
    assert shared.get("/demo/items/a").status == 502
    wait_until(lambda: carrier.cancelled)
    carrier.take = Carrier.answer_all
    assert shared.get("/demo/items/a").status == 200


def test_service_that_goes(shared, carrier):
    """It is answered what it had, gets the half close, and no new calls by this stream."""
    held = carrier.hold()
    with futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(shared.get, "/demo/items/a")
        wait_until(lambda: held)
        (stream, call), = held
        carrier.later(stream, going=True)
        wait_until(lambda: carrier.ended == 1)
        assert shared.get("/demo/items/b").status == 200
        assert carrier.alone == [GET] and len(held) == 1
        carrier.later(stream, carrier.answer(call))
        assert asked.result(60).json()["item"]["name"] == "a"
    stream.connection.do(lambda connection: connection.trailers(stream, 0))
    assert shared.get("/demo/items/c").status == 200
