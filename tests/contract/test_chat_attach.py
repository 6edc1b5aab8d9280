"""WebSockets of chat, which share a stream to each instance: an instance that dies or stops drops none of them, and
nobody misses an event, gets one twice or in another order."""
import base64
import concurrent.futures
import itertools
import json
import queue
import threading

import grpc
import pytest
from live_fixture import SECONDS, WebSocketLive
from stoa_contract import HttpClient
from stoa_suite_fixture import Suite
from websocket_fixture import Refused

INSTANCES = ("chat", "chat-2")


@pytest.fixture(scope="module")
def chat():
    with Suite(STOA_CHAT_INSTANCES=2) as suite:
        yield suite


@pytest.fixture(scope="module")
def http(chat):
    return HttpClient(chat.http)


@pytest.fixture(scope="module")
def account(http, unique):
    def make():
        name = unique("edge")
        user = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}
        return http("POST", "/api/users", {"user": user}).json["user"]

    return make


@pytest.fixture
def room(http, account):
    """A room and its owner."""
    owner = account()
    created = http("POST", "/api/chat/rooms", {"room": {"name": "A room", "kind": "ROOM_KIND_PUBLIC"}}, owner["token"])
    return created.json["room"]["id"], owner


class Member(WebSocketLive):
    """Somebody who listens, and says again what was not acknowledged when another instance takes over."""

    def __init__(self, chat, room, token):
        super().__init__(chat.ports["STOA_HTTP_PORT"], token)
        self.room, self.numbers, self.resumed, self.unanswered = room, [], 0, {}
        self.expect("welcome")
        self.act(subscribe={"room": room, "afterSeq": "0"})
        self.listen(lambda name, _: name == "live")

    def listen(self, condition):
        while True:
            name, value = self.next()
            if name == "event":
                self.numbers.append(int(value["event"]["seq"]))
            elif name == "resumed":
                self.resumed += 1
                for client_id in list(self.unanswered.values()):
                    self.say_once(client_id)
            elif name in ("ack", "error"):
                assert name == "ack", value
                self.unanswered.pop(value["id"], None)
            if condition(name, value):
                return

    def say_once(self, client_id):
        self.unanswered = {number: each for number, each in self.unanswered.items() if each != client_id}
        number = self.act(send={"room": self.room, "text": client_id, "clientId": client_id})
        self.unanswered[number] = client_id

    def say(self, client_id):
        """Returns when it is acknowledged."""
        self.say_once(client_id)
        self.listen(lambda *_: client_id not in self.unanswered.values())

    def check(self, last):
        if not self.numbers or self.numbers[-1] < last:
            self.listen(lambda *_: self.numbers and self.numbers[-1] >= last)
        assert self.numbers == list(range(1, last + 1))


def last_number(http, room, owner):
    return int(http("GET", f"/api/chat/rooms/{room}", None, owner["token"]).json["room"]["lastSeq"])


def talk(members, ids, rounds):
    for _ in range(rounds):
        for member in members:
            member.say(f"text-{next(ids)}")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_lost_instance_drops_no_websocket(chat, http, room, how):
    number, owner = room
    ids = itertools.count(1)
    members = [Member(chat, number, owner["token"]) for _ in range(6)]
    talk(members, ids, 2)
    for instance in INSTANCES:
        old = chat.pid(instance)
        chat.kill(instance, 9 if how == "kill" else 15)
        talk(members, ids, 2)
        chat.wait_restarted(instance, old)
        talk(members, ids, 1)
    last = last_number(http, number, owner)
    assert last == next(ids) - 1  # nothing was said twice
    for member in members:
        member.check(last)
        assert member.resumed > 0
        member.close()


def test_both_instances_lost(chat, http, room):
    """The same when there is none for a while."""
    number, owner = room
    ids = itertools.count(1)
    members = [Member(chat, number, owner["token"]) for _ in range(4)]
    talk(members, ids, 1)
    old = [chat.kill(instance) for instance in INSTANCES]
    talk(members, ids, 1)
    for instance, pid in zip(INSTANCES, old):
        chat.wait_restarted(instance, pid)
    last = last_number(http, number, owner)
    assert last == 8
    for member in members:
        member.check(last)
        member.close()


def test_both_instances_lost_with_many(chat, account):
    """Those that begin take nobody before they can check tokens: all come at once, and those that could not wait for that
    would be refused for their tokens."""
    tokens = 60 * [account()["token"] for _ in range(10)]
    welcomed = threading.Semaphore(0)

    def stay(client):
        with client:
            client.socket.socket.settimeout(2 * SECONDS)  # the gateway's first ping comes after 30 s of silence
            client.expect("welcome")
            welcomed.release()
            client.expect("resumed")

    # Each is read all the time: opening them can take longer than the gateway waits for the answer to a ping.
    with concurrent.futures.ThreadPoolExecutor(len(tokens)) as pool:
        stays = [pool.submit(stay, WebSocketLive(chat.ports["STOA_HTTP_PORT"], token)) for token in tokens]
        for _ in stays:
            assert welcomed.acquire(timeout=SECONDS), "not everybody is welcome"
        old = [chat.kill(instance) for instance in INSTANCES]
        for each in stays:
            each.result()
    for instance, pid in zip(INSTANCES, old):
        chat.wait_restarted(instance, pid)


def test_refused_before_the_101(chat):
    with pytest.raises(Refused) as got:
        WebSocketLive(chat.ports["STOA_HTTP_PORT"], "nonsense")
    assert got.value.status == 401
    assert json.loads(got.value.body)["reason"] == "TOKEN_INVALID"


class Edge:
    """The stream of a worker of a gateway, with one session in it. early: what that says with its first word, before it is
    opened."""

    def __init__(self, contract, channel, token, early=None):
        self.method, self.connect = contract.method("stoa.edge.v1.EdgeService", "Attach"), contract.method("stoa.chat.v1.LiveService", "Connect")
        self.requests = queue.SimpleQueue()
        attach = channel.stream_stream(self.method.path, self.method.request.SerializeToString, self.method.response.FromString)
        self.call = attach(iter(self.requests.get, None), timeout=SECONDS * 2)
        self.items = (item for response in self.call for item in response.items)
        first = {"method": self.connect.path, "metadata": [{"name": "authorization", "value": f"Bearer {token}"}]}
        self.say({"open": first}, *([early] if early else []))
        if not early:
            assert self.until("resume_state") == ["opened", "welcome", "resume_state"]

    def say(self, *items):
        self.requests.put(self.method.request(items=[{"session": 1, **item} for item in items]))

    def act(self, **action):
        self.say({"message": self.connect.request(id="1", **action).SerializeToString()})

    def until(self, last):
        """What comes for the session, item by item; what all get is passed over."""
        names = []
        while last not in names:
            item = next(self.items)
            name = item.WhichOneof("what")
            if name == "message":
                name = self.connect.response.FromString(item.message).WhichOneof("what")
            if item.session and name != "presence":
                names.append(name)
        return names

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call.cancel()


def test_no_place_is_lost_with_a_stream(chat, contract, http, room):
    """A stream may be lost after any item, and the session is then resumed with the places that the gateway knows: so it
    knows a place before the client can rely on it, and until the client has heard that it has none."""
    number, owner = room
    with Edge(contract, chat.grpc("chat"), owner["token"]) as edge:
        edge.act(subscribe={"room": int(number), "after_seq": 0})
        assert edge.until("live") == ["channel", "ack", "live"]
        assert edge.until("channel") == ["channel"]  # it is live
        edge.act(subscribe={"room": int(number), "after_seq": 99})
        assert edge.until("reset") == ["left_channel", "channel", "ack", "reset"]
        assert edge.until("left_channel") == ["left_channel"]
        edge.act(subscribe={"room": int(number)})
        assert edge.until("live") == ["channel", "ack", "live"]
        assert edge.until("channel") == ["channel"]
        assert http("DELETE", f"/api/chat/rooms/{number}", None, owner["token"]).status == 204
        assert edge.until("left_channel") == ["gone", "left_channel"]


@pytest.mark.parametrize("what", [{"message": b""}, {"half_close": {}}, {"drained": {}}], ids=lambda what: next(iter(what)))
def test_nobody_speaks_before_the_call_is_opened(chat, contract, account, what):
    """A token that names an unknown key waits for the keys to be read again. Whoever reaches chat's port may send one, and
    what is said in the call meanwhile."""
    header, claims, signature = account()["token"].split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": "unknown"}).encode()).decode().rstrip("=")
    pid = chat.pid("chat")
    with Edge(contract, chat.grpc("chat"), f"{header}.{claims}.{signature}", early=what) as edge:
        with pytest.raises(grpc.RpcError) as end:
            next(edge.items)
    assert end.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "before it is opened" in end.value.details()
    assert chat.pid("chat") == pid
