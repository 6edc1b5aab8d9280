"""WebSockets of chat, which share a stream to each instance: an instance that dies or stops drops none of them, and
nobody misses an event, gets one twice or in another order."""
import itertools
import json

import pytest
from live_fixture import WebSocketLive
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


def test_refused_before_the_101(chat):
    with pytest.raises(Refused) as got:
        WebSocketLive(chat.ports["STOA_HTTP_PORT"], "nonsense")
    assert got.value.status == 401
    assert json.loads(got.value.body)["reason"] == "TOKEN_INVALID"
