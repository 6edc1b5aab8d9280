"""Live rooms: Connect and Subscribe, over gRPC and through the gateway. Who may follow is in test_chat_live_access.py."""
import contextlib
import itertools
import signal
import threading
import time
import urllib.request

import grpc
import psycopg2
import pytest
from chat_fixture import call, open_room  # noqa: F401: fixtures
from live_fixture import SECONDS, Ended, GrpcEvents, GrpcLive, ServerSentEvents, WebSocketLive
from metrics_fixture import Numbers, settled
from stoa_contract import HttpClient
from stoa_suite_fixture import wait_until
from world_fixture import INSTANCES, REPLAY, three, world  # noqa: F401: fixtures

TRANSPORTS = ("grpc", "websocket")


@pytest.fixture
def connect(suite, contract):
    """connect(account) over the transport that the test is for."""
    opened = []

    def make(account, transport="grpc"):
        token = account if isinstance(account, str) else account["token"]
        opened.append(
            GrpcLive(contract, suite.grpc("chat"), token) if transport == "grpc"
            else WebSocketLive(suite.ports["STOA_HTTP_PORT"], token))
        assert opened[-1].expect("welcome")["expiresAt"]
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_send_and_receive(open_room, connect, call, transport):
    room, host, guest = open_room(members=1)
    a, b = connect(host, transport), connect(guest, transport)
    assert a.follow(room) == [] and b.follow(room) == []
    ack = a.done(send={"room": room, "text": "hello", "clientId": "c-1"})
    assert ack["room"] == room and ack["seq"] == "2"
    for each in (a, b):
        (event,) = each.events(1)
        assert event["seq"] == "2" and event["kind"] == "EVENT_KIND_MESSAGE"
        assert event["message"]["text"] == "hello" and "clientId" not in event["message"]
        assert event["actor"]["username"] == host["username"] == event["message"]["author"]["username"]
    assert call("ListMessages", guest, room=room)["messages"][0]["text"] == "hello"
    # Sent again: the same answer, and nothing new.
    assert a.done(send={"room": room, "text": "hello", "clientId": "c-1"})["seq"] == "2"
    assert a.done(send={"room": room, "text": "next", "clientId": "c-2"})["seq"] == "3"
    assert [event["seq"] for event in b.events(1)] == ["3"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_replay_and_live(open_room, connect, transport):
    room, host = open_room()
    a = connect(host, transport)
    for n in range(10):
        a.done(send={"room": room, "text": str(n), "clientId": str(n)})
    assert [each["seq"] for each in a.follow(room, after=4)] == ["5", "6", "7", "8", "9", "10"]
    a.done(send={"room": room, "text": "live", "clientId": "live"})
    assert a.events(1)[0]["seq"] == "11"
    b = connect(host, transport)
    assert [each["seq"] for each in b.follow(room, after=0)] == [str(n) for n in range(1, 12)]


def test_events_of_all_kinds(open_room, connect, call, new_account):
    room, host, guest = open_room(members=1)
    a = connect(host)
    a.follow(room)
    a.done(send={"room": room, "text": "one", "clientId": "1"})
    a.done(edit={"room": room, "seq": 2, "text": "two", "clientId": "2"})
    a.done(react={"room": room, "seq": 2, "emoji": "+1", "clientId": "3"})
    a.done(react={"room": room, "seq": 2, "emoji": "+1", "remove": True, "clientId": "4"})
    a.done(delete={"room": room, "seq": 2, "clientId": "5"})
    call("UpdateRoom", host, room=room, changes={"name": "Other"})
    call("SetMemberRole", host, room=room, username=guest["username"], role="ROLE_MODERATOR")
    call("LeaveRoom", guest, room=room)
    events = a.events(8)
    assert [each["kind"].removeprefix("EVENT_KIND_") for each in events] == [
        "MESSAGE", "MESSAGE_EDITED", "REACTION_ADDED", "REACTION_REMOVED", "MESSAGE_DELETED", "ROOM_UPDATED",
        "MEMBER_ROLE_CHANGED", "MEMBER_LEFT"]
    assert [int(each["seq"]) for each in events] == list(range(2, 10))


@pytest.mark.parametrize("events_of", ("grpc", "sse"))
def test_subscribe(suite, contract, open_room, connect, events_of):
    room, host = open_room()

    def subscribe(**more):
        if events_of == "grpc":
            return GrpcEvents(contract, suite.grpc("chat"), host["token"], room, **more)
        return ServerSentEvents(suite.ports["STOA_HTTP_PORT"], host["token"], room, **more)

    a = connect(host)
    events = subscribe()
    assert events.next() == ("live", {"room": room, "seq": "0"})
    a.done(send={"room": room, "text": "one", "clientId": "1"})
    name, value = events.next()
    assert name == "event" and value["event"]["message"]["text"] == "one" and events.last_id == "1"
    events.close()
    a.done(send={"room": room, "text": "two", "clientId": "2"})
    events = subscribe(after=1) if events_of == "grpc" else subscribe(last_id=events.last_id)
    assert events.next()[1]["event"]["message"]["text"] == "two"
    assert events.next()[0] == "live"
    events.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_acknowledged_comes_before_live(open_room, connect, transport):
    """Who has sent is answered before anybody is told; who begins to follow in between is not live too early."""
    room, host = open_room()
    follower, sender, other = (connect(host, transport) for _ in range(3))
    follower.follow(room)
    for n in range(100):
        last = int(sender.done(send={"room": room, "text": str(n), "clientId": str(n)})["seq"])
        if n % 4 == 3:  # a change, of which followers are told by what is read
            sender.done(react={"room": room, "seq": last, "emoji": "+1", "clientId": f"r{n}"})
            last += 1
        assert [int(each["seq"]) for each in other.follow(room, after=last - 1)] == [last]
        other.done(unsubscribe={"room": room})


# ---- several instances ----


class Sender(threading.Thread):
    """Sends until it is stopped, and remembers what was acknowledged: {seq: text}."""

    def __init__(self, client, room, name):
        super().__init__(daemon=True)
        self._client, self._room, self._name = client, room, name
        self._stop_it = threading.Event()
        self.acknowledged = {}
        self.start()

    def run(self):
        for n in itertools.count():
            if self._stop_it.is_set():
                return
            text = f"{self._name} {n}"
            ack = self._client.done(send={"room": self._room, "text": text, "clientId": text})
            assert int(ack["seq"]) not in self.acknowledged
            self.acknowledged[int(ack["seq"])] = text

    def stop(self):
        self._stop_it.set()
        self.join(SECONDS)
        assert not self.is_alive()
        return self.acknowledged

    def wait(self, more):
        wanted = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= wanted, f"{more} more messages of {self._name}", SECONDS)


def read_to(client, room, last):
    """(seq, text) of what the client gets up to a number."""
    seen = []
    while not seen or seen[-1][0] < last:
        name, value = client.next()
        if name == "event" and value["room"] == room:
            seen.append((int(value["event"]["seq"]), value["event"].get("message", {}).get("text")))
    return seen


def check_order(seen, first, last):
    assert [seq for seq, _ in seen] == list(range(first, last + 1))


def senders(world, room, accounts):
    return [Sender(world.connect(account, instance), room, f"at {instance}")
            for account, instance in zip(accounts, INSTANCES)]


def stop_all(running):
    acknowledged = {}
    for each in running:
        acknowledged.update(each.stop())
    return acknowledged


def test_one_order_for_all(world):
    """Whoever sends where, everybody sees the same order, and what was acknowledged is in Postgres."""
    room, *accounts = world.room(1, 2)
    readers = [world.connect(account, where) for account, where in zip(accounts, ("chat", "chat-3", "gateway"))]
    for each in readers:
        each.follow(room, after=0)
    running = senders(world, room, accounts)
    for each in running:
        each.wait(60)
    acknowledged = stop_all(running)
    last = max(acknowledged)
    logs = [read_to(each, room, last) for each in readers]
    check_order(logs[0], 3, last)
    assert logs[0] == logs[1] == logs[2]
    assert world.stored(room) == acknowledged == dict(logs[0])


def test_reconnecting_anywhere(world):
    """Over and over, while others send: what was missed, and then what happens, without hole or double."""
    room, *accounts = world.room(1, 2)
    running = senders(world, room, accounts)
    last = 2
    for turn in range(30):
        client = world.connect(accounts[0], (*INSTANCES, "gateway")[turn % 4])
        client.act(subscribe={"room": room, "afterSeq": str(last)})
        name, _ = client.next()
        assert name == "ack"
        events = [int(event["seq"]) for event in client.until_live(room)]
        events += [int(event["seq"]) for event in client.events(5)]
        assert events == list(range(last + 1, last + 1 + len(events)))
        last = events[-1]
        client.close()
    acknowledged = stop_all(running)
    assert world.stored(room) == acknowledged


@pytest.mark.parametrize("fault", ("stopped", "cut off", "mute"))
def test_without_redis(world, fault):
    """Redis gone, its subscribers cut off, or nothing published: everything comes all the same."""
    room, *accounts = world.room(1, 2)
    readers = [world.connect(account, where) for account, where in zip(accounts, ("chat-2", "chat-3"))]
    for each in readers:
        each.follow(room, after=0)
    running = senders(world, room, accounts)
    running[0].wait(5)
    if fault == "stopped":
        world.suite.supervise("stop", "redis")
    elif fault == "mute":
        world.redis("ACL", "SETUSER", "default", "-publish")
    for _ in range(3):
        if fault == "cut off":
            world.redis("CLIENT", "KILL", "TYPE", "pubsub")
        running[0].wait(10)
    between = max(running[0].acknowledged)
    logs = [read_to(each, room, between) for each in readers]
    if fault == "stopped":
        world.suite.supervise("start", "redis")
    elif fault == "mute":
        world.redis("ACL", "SETUSER", "default", "+publish")
    running[0].wait(10)
    last = max(stop_all(running))
    for log, reader in zip(logs, readers):
        if log[-1][0] < last:
            log += read_to(reader, room, last)
    check_order(logs[0], 3, last)
    assert logs[0] == logs[1] and dict(logs[0]) == world.stored(room)


@pytest.mark.parametrize("fault", ("stopped", "mute"))
def test_without_redis_where_nobody_sends(world, fault):
    """No number of its own tells an instance that it has missed some: it asks Postgres."""
    room, host, guest = world.room(1)
    reader = world.connect(guest, "chat-2")
    reader.follow(room)
    world.redis("ACL", "SETUSER", "default", "-publish") if fault == "mute" else world.suite.supervise("stop", "redis")
    try:
        for seq in range(2, 5):
            world.rpc("SendMessage", host, room=room, message={"text": "Can you hear me?"})
            assert reader.expect("event")["event"]["seq"] == str(seq)
    finally:
        world.redis("ACL", "SETUSER", "default", "+publish") if fault == "mute" else world.suite.supervise("start", "redis")


def test_an_instance_dies(world):
    """kill -9: what was acknowledged is there, and its clients go on at another."""
    room, *accounts = world.room(1, 2)
    reader = world.connect(accounts[0], "chat-2")
    reader.follow(room, after=0)
    sender = Sender(world.connect(accounts[1], "chat"), room, "goes on")
    seen = [seq for seq, _ in read_to(reader, room, 10)]
    pid = world.suite.kill("chat-2")
    with contextlib.suppress(Ended):
        while True:
            name, value = reader.next()
            seen += [int(value["event"]["seq"])] if name == "event" else []
    assert reader.ended[0] == "UNAVAILABLE"
    last = seen[-1]
    other = world.connect(accounts[0], "chat-3")
    other.act(subscribe={"room": room, "afterSeq": str(last)})
    assert other.next()[0] == "ack"
    seen += [int(event["seq"]) for event in other.until_live(room)]
    end = max(sender.stop())
    if seen[-1] < end:
        seen += [seq for seq, _ in read_to(other, room, end)]
    assert seen == list(range(3, end + 1))
    world.suite.wait_restarted("chat-2", pid)


def test_an_instance_stops(world):
    """SIGTERM: its streams end with a word to go elsewhere."""
    _, host = world.room()
    client = world.connect(host, "chat-3")
    pid = world.suite.kill("chat-3", signal.SIGTERM)
    code, reason = client.end()
    assert code == "UNAVAILABLE" and "connect again" in reason
    world.suite.wait_restarted("chat-3", pid)


def test_postgres_restarts(world):
    """Connections stay; what could not be said to be stored is sent again, and is one message."""
    room, *accounts = world.room(1)
    reader, writer = (world.connect(account, instance) for account, instance in zip(accounts, ("chat-3", "chat")))
    reader.follow(room, after=0)
    restart = threading.Thread(target=world.suite.supervise, args=("restart", "postgres"))
    restart.start()
    sent = 0
    while restart.is_alive() or sent < 40:
        name, value = writer.answer(writer.act(send={"room": room, "text": str(sent), "clientId": str(sent)}))
        if name == "ack":
            sent += 1
            continue
        assert value["code"] in (4, 14), value  # nobody knows: the same one once more
        time.sleep(0.02)
    assert read_to(reader, room, sent + 1) == [(n + 2, str(n)) for n in range(sent)]
    assert world.stored(room) == {n + 2: str(n) for n in range(sent)}


def test_without_postgres_who_asks_is_told(world):
    """Whoever wants to follow a room that nobody can read now hears so, and the connection goes on."""
    room, host = world.room()
    client = world.connect(host, "chat-2")
    world.suite.supervise("stop", "postgres")
    try:
        error = client.refused(subscribe={"room": room, "afterSeq": "0"})
        assert error["code"] == 14 and error["reason"] == "DATABASE_UNAVAILABLE" and int(error["retryAfterMs"]) > 0
    finally:
        world.suite.supervise("start", "postgres")
    wait_until(lambda: client.answer(client.act(subscribe={"room": room, "afterSeq": "0"}))[0] == "ack", "the room is read", SECONDS)
    world.connect(host).done(send={"room": room, "text": "here again", "clientId": "1"})
    assert read_to(client, room, 1) == [(1, "here again")]


def test_the_gateway_does_without_one(world):
    """/readyz says who is missing; calls and connections go to the others."""
    host = world.account()
    get = HttpClient(world.suite.http)
    wait_until(lambda: get("GET", "/readyz").status == 200, "all are ready", SECONDS)
    world.suite.supervise("stop", "chat-2")
    try:
        answer = get("GET", "/readyz")
        assert answer.status == 503 and "one-chat-2" in answer.text
        for _ in range(9):
            assert get("GET", "/api/chat/rooms", token=host["token"]).status == 200
        for _ in range(4):
            world.connect(host, "gateway").close()
    finally:
        world.suite.supervise("start", "chat-2")
    wait_until(lambda: get("GET", "/readyz").status == 200, "all are ready again", SECONDS)


# ---- limits, and what is wrong ----


def send_many(client, room, count, text="", at_once=40):
    """Some at once, as many as may wait."""
    numbers = []
    for n in range(count):
        numbers.append(client.act(send={"room": room, "text": text + str(n), "clientId": str(n)}))
        if len(numbers) == at_once or n == count - 1:
            for number in numbers:
                assert client.answer(number)[0] == "ack"
            numbers = []


def test_answers_and_news_go_together(world):
    """To a worker of the gateway an answer and what it makes known are one message."""
    count = 300
    room, host = world.room()
    client = world.connect(host, "gateway")
    client.follow(room)

    def received():
        with urllib.request.urlopen(f"{world.suite.http}/metrics", timeout=SECONDS) as answer:
            found = Numbers(answer.read().decode(), "grpc_json_")
        return {name: found.get("attach_received_messages_total", instance=name) for name in found.names("instance")}

    before = received()
    send_many(client, room, count, at_once=1)
    assert [int(event["seq"]) for event in client.events(count)] == list(range(1, count + 1))
    # Of the instance that has it; some are about who is online, or that it lives.
    assert count <= max(number - before[name] for name, number in received().items()) < 1.7 * count


def test_too_far_behind(world):
    room, host = world.room()
    client = world.connect(host)
    send_many(client, room, REPLAY + 1)
    client.done(subscribe={"room": room, "afterSeq": "0"})
    assert client.expect("reset") == {"room": room, "lastSeq": str(REPLAY + 1)}
    assert len(client.follow(room, after=1)) == REPLAY
    # From the future, as after the loss of a database.
    client.done(subscribe={"room": room, "afterSeq": str(REPLAY + 2)})
    assert client.expect("reset") == {"room": room, "lastSeq": str(REPLAY + 1)}
    # It follows the room no longer: of what is said now it hears nothing until it subscribes, from after that.
    said = client.done(send={"room": room, "text": "unheard", "clientId": "unheard"})["seq"]
    assert client.follow(room, after=said) == []


def test_bad_actions(world):
    """They are answered, and the connection goes on."""
    room, host = world.room()
    for instance in ("chat", "gateway"):
        client = world.connect(host, instance)
        error = client.refused(send={"room": room, "text": " ", "clientId": "1"})
        assert error["reason"] == "INVALID_FIELDS" and error["violations"][0]["field"] == "send.text"
        assert client.refused(send={"room": room, "text": "without"})["violations"][0]["field"] == "send.client_id"
        assert client.refused(subscribe={"room": "0"})["violations"][0]["field"] == "subscribe.room"
        assert client.refused()["reason"] == "INVALID_FIELDS"
        assert client.refused(edit={"room": room, "seq": "99", "text": "x"})["reason"] == "NOT_FOUND"
        assert client.refused(react={"room": room, "seq": "1", "emoji": "a b"})["violations"][0]["field"] == "emoji"
        assert client.done(unsubscribe={"room": room}) == {"id": "7", "room": room, "seq": "0"}


@pytest.mark.parametrize("instance", ("chat", "gateway"))
def test_an_id_that_is_too_long(world, instance):
    """It comes back cut, wherever its characters end, and the connection goes on."""
    client = world.connect(world.account(), instance)
    for number in ("x" * 1000, "€" * 100, "x" + "é" * 200, "😀" * 65):
        client.transmit({"id": number, "unsubscribe": {"room": "1"}})
        error = client.expect("error")
        assert error["violations"][0]["field"] == "id"
        assert number.startswith(error["id"]) and 64 <= len(error["id"]) and 253 <= len(error["id"].encode()) <= 256
    client.done(unsubscribe={"room": "1"})


def test_limits(world):
    host = world.account()
    rooms = [world.rpc("CreateRoom", host, room={"name": str(n)})["room"]["id"] for n in range(6)]
    client = world.connect(host)
    for room in rooms[:5]:
        client.follow(room)
    assert client.refused(subscribe={"room": rooms[5]})["reason"] == "TOO_MANY_SUBSCRIPTIONS"
    client.follow(rooms[0])
    client.done(unsubscribe={"room": rooms[0]})
    client.follow(rooms[5])
    # Connections, of this account at this instance.
    more = [world.connect(host) for _ in range(5)]
    with pytest.raises(Ended) as refused:
        world.connect(host)
    assert refused.value.code == "RESOURCE_EXHAUSTED"
    more[0].close()
    wait_until(lambda: connects(world, host), "a connection is free again")


def connects(world, account):
    with contextlib.suppress(Ended):
        return world.connect(account)
    return None


def test_too_many_actions(world):
    room, host = world.room()
    client = world.connect(host)
    with contextlib.closing(psycopg2.connect(**world.suite.database())) as database, database.cursor() as cursor:
        cursor.execute("SELECT FROM chat.rooms WHERE id = %s FOR UPDATE", (room,))  # so that they wait
        numbers = [client.act(send={"room": room, "text": str(n), "clientId": str(n)}) for n in range(45)]
        refused = [client.expect("error") for _ in range(5)]
        assert {each["reason"] for each in refused} == {"TOO_MANY_ACTIONS"}
        assert [each["id"] for each in refused] == numbers[40:]
    acks = [client.expect("ack") for _ in range(40)]
    # The order of one connection is that of its messages.
    assert sorted(acks, key=lambda ack: int(ack["seq"])) == sorted(acks, key=lambda ack: int(ack["id"]))
    assert [world.stored(room)[n + 1] for n in range(40)] == [str(n) for n in range(40)]


# ---- slow clients, and many at once ----


def slow_client(world, account):
    """One that takes no more than it has been asked for."""
    channel = grpc.insecure_channel(
        world.suite.grpc_address("chat"), options=[("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)])
    client = GrpcLive(world.contract, channel, account["token"])
    world.opened.append(client)
    client.expect("welcome")
    return client


def test_who_is_removed_in_a_replay_gets_no_more(world):
    """A replay waits for its reader, who is removed meanwhile: it ends there, and does not go on to what is said then."""
    room, host, guest = world.room(1)
    slow, writer = slow_client(world, guest), world.connect(host)
    for begin in range(0, REPLAY - 20, 20):
        numbers = [writer.act(send={"room": room, "text": "x" * 3500, "clientId": str(begin + n)}) for n in range(20)]
        for number in numbers:
            assert writer.answer(number)[0] == "ack"
    slow.done(subscribe={"room": room, "afterSeq": "0"})
    world.rpc("RemoveMember", host, room=room, username=guest["username"])
    writer.done(send={"room": room, "text": "among us", "clientId": "among us"})
    parts = []
    while not parts or parts[-1][0] == "event":
        parts.append(slow.next())
    assert parts[-2][1]["event"]["kind"] == "EVENT_KIND_MEMBER_REMOVED" and parts[-1] == ("gone", {"room": room, "reason": "GONE_REASON_REMOVED"})
    assert slow.refused(typing={"room": room})["reason"] == "NOT_SUBSCRIBED"


def test_one_that_does_not_read(world):
    """It is cut off with a word how to go on; nobody else notices."""
    room, host, guest = world.room(1)
    slow, reader = slow_client(world, guest), world.connect(host, "chat")
    for each in (slow, reader):
        each.follow(room)
    sender = world.connect(host, "chat-2")
    text = "x" * 4000
    for begin in range(0, 600, 40):
        numbers = [sender.act(send={"room": room, "text": text, "clientId": str(begin + n)}) for n in range(40)]
        for number in numbers:
            assert sender.answer(number)[0] == "ack"
        assert [int(event["seq"]) for event in reader.events(40)] == list(range(begin + 2, begin + 42))
    code, reason = slow.end()
    assert code == "RESOURCE_EXHAUSTED" and reason.startswith("SLOW_CONSUMER")
    settled(world.suite, "chat", lambda n: n.get("stoa_chat_slow_consumers_total") >= 1)


def test_a_storm(world):
    """Of many that come back to an instance that knows nothing, the database sees a query for each room."""
    accounts = [world.account() for _ in range(20)]
    rooms = [world.room(*accounts)[0] for _ in range(3)]
    with contextlib.closing(psycopg2.connect(**world.suite.database())) as database, database.cursor() as cursor:
        database.autocommit = True
        world.suite.wait_restarted("chat-2", world.suite.kill("chat-2"))
        cursor.execute("ALTER SYSTEM SET log_statement = 'all'")
        cursor.execute("SELECT pg_reload_conf()")
        try:
            wait_until(lambda: "execute rooms_ahead" in world.suite.log("postgres")
                       or "execute revocations" in world.suite.log("postgres"), "statements are logged")
            begin = len(world.suite.log("postgres"))
            clients = [world.connect(account, "chat-2") for account in accounts for _ in range(3)]
            waiting = [(client, client.act(subscribe={"room": room, "afterSeq": "4"})) for client in clients for room in rooms]
            for client, number in waiting:
                assert client.answer(number)[0] == "ack"
            for client in clients:
                seen = [client.next() for _ in range(len(rooms) * 17)]  # 20 joined; and live
                for room in rooms:
                    mine = [value for name, value in seen if value["room"] == room]
                    assert [value["event"]["seq"] for value in mine[:-1]] == [str(n) for n in range(5, 21)]
            executed = world.suite.log("postgres")[begin:].count("execute room_events")
        finally:
            cursor.execute("ALTER SYSTEM RESET log_statement")
            cursor.execute("SELECT pg_reload_conf()")
    assert executed == len(rooms)
