"""Live rooms: Connect and Subscribe, over gRPC and through the gateway."""
import pytest
from live_fixture import Ended, GrpcEvents, GrpcLive, ServerSentEvents, WebSocketLive

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


@pytest.fixture
def call(call_grpc):
    def make(method, account, **request):
        code, answer = call_grpc("chat", method, request, account["token"])
        assert code == "OK", f"{method}: {answer}"
        return answer

    return make


@pytest.fixture
def open_room(call, new_account):
    """open_room(members=1) -> the id of a new room, who opened it, and its other members"""

    def make(members=0, kind="ROOM_KIND_PUBLIC"):
        host = new_account("host")
        room = call("CreateRoom", host, room={"name": "A room", "kind": kind})["room"]["id"]
        others = [new_account("guest") for _ in range(members)]
        for other in others:
            call("InviteMember", host, room=room, username=other["username"])
        return (room, host, *others)

    return make


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
