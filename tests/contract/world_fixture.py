"""A suite with three instances of chat, for the tests of live rooms."""
import contextlib
import dataclasses
import itertools
import socket

import psycopg2
import pytest
from live_fixture import SECONDS, GrpcLive, WebSocketLive
from stoa_contract import GrpcClient
from stoa_suite_fixture import Suite

INSTANCES = ("chat", "chat-2", "chat-3")
REPLAY = 300
LIMITS = {"STOA_CHAT_REPLAY_EVENTS": REPLAY, "STOA_CHAT_MAX_SUBSCRIPTIONS": 5, "STOA_CHAT_MAX_CONNECTIONS": 6,
          "STOA_CHAT_MAX_ACTIONS": 40}


@dataclasses.dataclass
class World:
    """Three instances of chat, and an account's way to each."""

    suite: object
    contract: object
    opened: list = dataclasses.field(default_factory=list)
    names: object = dataclasses.field(default_factory=itertools.count)

    def rpc(self, method, account=None, _instance="chat", **request):
        service = "auth" if method in ("CreateUser", "DeleteCurrentUser", "Login", "RefreshSession", "EndCurrentSession") else "chat"
        client = GrpcClient(self.contract, lambda name: self.suite.grpc(_instance if name == "chat" else name))
        code, answer = client(service, method, request, account and account["token"])
        assert code == "OK", f"{method}: {code} {answer}"
        return answer

    def account(self):
        name = f"user{next(self.names)}"
        request = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}
        answer = self.rpc("CreateUser", user=request)
        return {**request, **answer["user"], "refreshToken": answer["refreshToken"]}

    def room(self, *members, kind="ROOM_KIND_PRIVATE"):
        host = self.account()
        room = self.rpc("CreateRoom", host, room={"name": "A room", "kind": kind})["room"]["id"]
        others = [self.account() for _ in members] if members and not isinstance(members[0], dict) else members
        for other in others:
            self.rpc("InviteMember", host, room=room, username=other["username"])
        return (room, host, *others)

    def connect(self, account, instance="chat"):
        token = account if isinstance(account, str) else account["token"]
        port = self.suite.ports["STOA_HTTP_PORT"]
        client = WebSocketLive(port, token) if instance == "gateway" else \
            GrpcLive(self.contract, self.suite.grpc(instance), token)
        self.opened.append(client)
        assert client.expect("welcome")["expiresAt"]
        return client

    def redis(self, *words):
        """A command's answer, as it is on the wire."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(self.suite.socket("redis")))
            parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
            connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
            answer = connection.recv(65536).decode()
        assert not answer.startswith("-"), answer
        return answer

    def stored(self, room):
        """{seq: text} in Postgres."""
        with contextlib.closing(psycopg2.connect(**self.suite.database())) as database, database.cursor() as cursor:
            cursor.execute("SELECT seq, text FROM chat.messages WHERE room_id = %s", (room,))
            return dict(cursor.fetchall())


@pytest.fixture(scope="module")
def three(contract):
    with Suite(STOA_CHAT_INSTANCES=3, **LIMITS) as suite:
        yield World(suite, contract)


@pytest.fixture
def world(three):
    yield three
    while three.opened:
        three.opened.pop().close()
