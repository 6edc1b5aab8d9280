"""Fixtures of the tests about rooms, for those that import them."""
import pytest


def chat_caller(call_grpc):
    """call("GetRoom", account, room=7) -> the answer of a call that succeeds"""

    def call(method, account, **request):
        code, answer = call_grpc("chat", method, request, account["token"])
        assert code == "OK", f"{method}: {answer}"
        return answer

    return call


@pytest.fixture
def call(call_grpc):
    """call("GetRoom", account, room=7): chat_caller()"""
    return chat_caller(call_grpc)


@pytest.fixture
def open_room(call, new_account):
    """open_room(kind=..., members=...) -> the id of a new room, and the account that opened it; members: that many
    others are in it, and come with it"""

    def make(name="A room", kind="ROOM_KIND_PUBLIC", members=0):
        host = new_account("host")
        room = call("CreateRoom", host, room={"name": name, "kind": kind})["room"]["id"]
        others = [new_account("guest") for _ in range(members)]
        for other in others:
            call("InviteMember", host, room=room, username=other["username"])
        return (room, host, *others)

    return make


@pytest.fixture
def send(call):
    """send(room, account, text, clientId="") -> the message"""
    return lambda room, account, text="text", **more: call(
        "SendMessage", account, room=room, message={"text": text, **more})["message"]


@pytest.fixture
def log(call):
    """log(room, account) -> all events"""

    def make(room, account):
        events, last = [], -1
        while len(events) != last:
            answer = call("ListEvents", account, room=room, afterSeq=len(events), pageSize=7)
            events += answer["events"]
            last = int(answer["lastSeq"])
            assert [int(each["seq"]) for each in events] == list(range(1, len(events) + 1))
        return events

    return make
