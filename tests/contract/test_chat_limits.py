"""How much an account, and everybody in a room, may do in a time: over gRPC, over HTTP and over live connections, at two
instances."""
import collections
import contextlib
import os
import queue
import subprocess
import time

import grpc
import psycopg2
import pytest
from chat_fixture import chat_caller
from live_fixture import GrpcLive, WebSocketLive
from stoa_contract import Both, GrpcClient, HttpClient, account_maker
from stoa_suite_fixture import Suite, output_folder, wait_until

# A day each: nothing comes back while a test runs.
LIMITS = {
    "STOA_CHAT_SEND_ACCOUNT_RATE": "6/24h", "STOA_CHAT_SEND_ROOM_RATE": "15/24h", "STOA_CHAT_CHANGE_ACCOUNT_RATE": "5/24h",
    "STOA_CHAT_CHANGE_ROOM_RATE": "8/24h", "STOA_CHAT_ROOMS_RATE": "3/24h", "STOA_CHAT_EXPORT_RATE": "2/24h",
    "STOA_CHAT_TYPING_RATE": "4/24h", "STOA_CHAT_FOLLOW_RATE": "6/24h",
}


@pytest.fixture(scope="module")
def limited():
    with Suite(STOA_CHAT_INSTANCES=2, **LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def first(limited, contract):
    """Calls of the first instance, over gRPC."""
    channels = {"chat": grpc.insecure_channel(f"unix:{limited.socket('chat')}")}
    return GrpcClient(contract, lambda service: channels.get(service) or limited.grpc(service))


@pytest.fixture(scope="module")
def second(limited, contract):
    channel = grpc.insecure_channel(f"unix:{limited.socket('chat-2')}")
    return GrpcClient(contract, lambda _: channel)


@pytest.fixture(scope="module")
def new_account(limited, first, unique):
    """Shadows the shared suite's."""
    return account_maker(first, unique)


@pytest.fixture
def call(first):
    return chat_caller(first)


@pytest.fixture
def open_room(call, new_account):
    """open_room(1) -> the id of a room, who opened it, and its other members, who have joined it"""

    def make(members=0):
        host, *others = people = [new_account() for _ in range(1 + members)]
        room = call("CreateRoom", host, room={"name": "A room"})["room"]["id"]
        for other in others:
            call("JoinRoom", other, room=room)
        return (room, *people)

    return make


def is_too_fast(answer):
    code, problem = answer
    return code == "RESOURCE_EXHAUSTED" and problem.reason == "TOO_FAST" and 1 <= problem.retry_after <= 86400


def send(client, room, account, **message):
    return client("chat", "SendMessage", {"room": room, "message": {"text": "text", **message}}, account["token"])


def hear(instance, room, account):
    """How much the instance still lets through of an account that has used up what it may: it hears of that with the
    first message that it lets through, which nobody sees from outside; so it is asked less and less often."""
    let_through = 0
    while not is_too_fast(send(instance, room, account)):
        time.sleep(0.05 * 3**let_through)
        let_through += 1
    return let_through


def test_sends_of_an_account(limited, contract, first, second, open_room):
    room, host, guest = open_room(1)
    both = Both(contract, first, HttpClient(limited.http))
    for _ in range(6):
        assert send(first, room, host)[0] == "OK"
    hear(second, room, host)  # the gateway's calls go to any instance
    request = {"room": room, "message": {"text": "one more"}}
    _, problem, http = both("chat", "SendMessage", request, host["token"])
    assert is_too_fast(("RESOURCE_EXHAUSTED", problem))
    assert http.status == 429 and http.json["type"] == "urn:problem:stoa:TOO_FAST"
    assert 1 <= int(http.headers["Retry-After"]) <= 86400 // 6
    # In whatever room; others are not concerned, nor what else the account does.
    elsewhere = first("chat", "CreateRoom", {"room": {"name": "Another"}}, host["token"])[1]["room"]["id"]
    assert is_too_fast(send(first, elsewhere, host))
    assert send(first, room, guest)[0] == "OK"
    assert first("chat", "EditMessage", {"room": room, "seq": 2, "text": "changed"}, host["token"])[0] == "OK"


def test_what_is_sent_again(first, second, open_room):
    """After a lost answer, it costs nothing of what new messages have; and not without end either."""
    room, host = open_room()
    for i in range(3):
        assert send(first, room, host, clientId=f"c{i}")[0] == "OK"
    for i in range(6):
        code, answer = send(first, room, host, clientId=f"c{i % 3}")
        assert code == "OK" and answer["message"]["seq"] == str(i % 3 + 1)
    assert is_too_fast(send(first, room, host, clientId="c0"))
    for i in range(3, 6):
        assert send(first, room, host, clientId=f"c{i}")[0] == "OK"
    # What was refused has not been let through: it is new, however often it comes.
    for _ in range(3):
        assert is_too_fast(send(first, room, host, clientId="refused"))


def test_sends_to_a_room(first, open_room):
    room, *people = open_room(3)
    for account in people[:2]:
        for _ in range(6):
            assert send(first, room, account)[0] == "OK"
    for _ in range(3):
        assert send(first, room, people[2])[0] == "OK"
    assert is_too_fast(send(first, room, people[2])) and is_too_fast(send(first, room, people[3]))
    own = first("chat", "CreateRoom", {"room": {"name": "Another"}}, people[3]["token"])[1]["room"]["id"]
    assert send(first, own, people[3])[0] == "OK"


def test_strangers_cost_a_room_nothing(call, first, new_account):
    """A room's id is a number that anybody can guess: who is not in it uses up no share of those who are."""
    host, guest = new_account(), new_account()
    room = call("CreateRoom", host, room={"name": "A room", "kind": "ROOM_KIND_PRIVATE"})["room"]["id"]
    seq = call("SendMessage", host, room=room, message={"text": "text"})["message"]["seq"]
    call("InviteMember", host, room=room, username=guest["username"])
    call("AddReaction", guest, room=room, seq=seq, emoji="+1")
    call("SendMessage", guest, room=room, message={"text": "text"})
    call("RemoveMember", host, room=room, username=guest["username"])
    for stranger in (guest, new_account(), new_account(), new_account()):
        for _ in range(5):
            assert send(first, room, stranger)[0] == "NOT_FOUND"
        for _ in range(4):
            assert first("chat", "AddReaction", {"room": room, "seq": seq, "emoji": "-1"}, stranger["token"])[0] == "NOT_FOUND"
    for _ in range(5):
        assert send(first, room, host)[0] == "OK"
    for emoji in ("+1", "-1", "!"):
        call("AddReaction", host, room=room, seq=seq, emoji=emoji)
    # Nor are strangers told that it is used up.
    assert first("chat", "AddReaction", {"room": room, "seq": seq, "emoji": "?"}, host["token"])[1].reason == "TOO_FAST"
    assert first("chat", "AddReaction", {"room": room, "seq": seq, "emoji": "?"}, new_account()["token"])[0] == "NOT_FOUND"


def test_who_may_not_join_costs_a_room_nothing(call, first, limited, open_room, new_account):
    room, host = open_room()
    with contextlib.closing(psycopg2.connect(**limited.database())) as database, database, database.cursor() as cursor:
        cursor.execute("UPDATE chat.rooms SET member_count = 1000000 WHERE id = %s", (room,))
    for stranger in [new_account() for _ in range(3)]:
        for _ in range(5):
            assert first("chat", "JoinRoom", {"room": room}, stranger["token"])[1].reason == "TOO_MANY_MEMBERS"
    call("UpdateRoom", host, room=room, changes={"name": "As ever"})


@pytest.mark.parametrize("transport", ["grpc", "websocket"])
def test_a_live_connection_is_no_way_round(limited, contract, first, open_room, transport):
    room, host = open_room()
    with (GrpcLive(contract, grpc.insecure_channel(f"unix:{limited.socket('chat')}"), host["token"]) if transport == "grpc"
          else WebSocketLive(limited.ports["STOA_HTTP_PORT"], host["token"])) as live:
        live.expect("welcome")
        for i in range(3):
            live.done(send={"room": room, "text": "text", "clientId": f"c{i}"})
        if transport == "grpc":  # through the gateway it may be at the other instance
            for _ in range(3):
                assert send(first, room, host)[0] == "OK"
        else:
            for i in range(3, 6):
                live.done(send={"room": room, "text": "text", "clientId": f"c{i}"})
        error = live.refused(send={"room": room, "text": "text", "clientId": "one more"})
        assert error["code"] == 8 and error["reason"] == "TOO_FAST" and error["room"] == room
        assert 1 <= int(error["retryAfterMs"]) <= 86400 * 1000
        # The connection goes on, and so does what it was let through.
        assert live.done(send={"room": room, "text": "text", "clientId": "c0"})["seq"] == "1"
        live.done(edit={"room": room, "seq": 1, "text": "changed"})
        if transport == "grpc":
            assert is_too_fast(send(first, room, host))


@pytest.mark.parametrize("transport", ["grpc", "websocket"])
def test_what_only_a_live_connection_asks(limited, contract, first, open_room, transport):
    """To follow rooms, there or not, to mark them read and to go on with a token: an RPC that does it is limited with the requests
    at the gateway, which does not see these."""
    room, host = open_room()
    with (GrpcLive(contract, grpc.insecure_channel(f"unix:{limited.socket('chat')}"), host["token"]) if transport == "grpc"
          else WebSocketLive(limited.ports["STOA_HTTP_PORT"], host["token"])) as live:
        live.expect("welcome")
        live.follow(room)
        for _ in range(2):
            assert live.refused(subscribe={"room": "4000000"})["reason"] == "NOT_FOUND"
            live.done(read={"room": room, "seq": "0"})
        live.done(renew={"accessToken": host["token"]})
        for action in ({"subscribe": {"room": room}}, {"read": {"room": room, "seq": "0"}}, {"renew": {"accessToken": host["token"]}}):
            error = live.refused(**action)
            assert error["code"] == 8 and error["reason"] == "TOO_FAST" and 1 <= int(error["retryAfterMs"]) <= 86400 * 1000
        # It goes on, and what it follows as well.
        live.done(send={"room": room, "text": "text", "clientId": "c"})
        assert live.expect("event")["event"]["seq"] == "1"


def test_who_is_no_gateway_resumes_nothing_beyond_it(limited, contract, open_room):
    """Whoever reaches chat's port may say that a session followed rooms; a gateway is believed."""
    _, host = open_room()
    attach, connect = contract.method("stoa.edge.v1.EdgeService", "Attach"), contract.method("stoa.chat.v1.LiveService", "Connect")
    positions = [{"channel": 4000000 + i} for i in range(20)]
    opened = {"method": connect.path, "resumed": True, "resume_state": host["token"].encode(), "positions": positions}
    request = attach.request(items=[{"session": 1, "open": opened}])

    def reasons(over):
        requests, found = queue.SimpleQueue(), []
        requests.put(request)
        call = limited.grpc("chat", over).stream_stream(attach.path, attach.request.SerializeToString, attach.response.FromString)
        responses = call(iter(requests.get, None), timeout=60)
        while len(found) < len(positions):
            parts = (connect.response.FromString(item.message) for item in next(responses).items if item.HasField("message"))
            found += [part.error.reason for part in parts if part.HasField("error")]
        requests.put(None)
        responses.cancel()
        return collections.Counter(found)

    assert reasons("unix") == {"NOT_FOUND": 20}
    assert reasons("tcp") == {"NOT_FOUND": 6, "TOO_FAST": 14}


def test_changes(call, first, open_room):
    room, host, guest, other = open_room(2)
    seq = call("SendMessage", host, room=room, message={"text": "text"})["message"]["seq"]
    # The host has made the room, the others have joined it: that was one of their changes, and two of the room's.
    for method, more in (("EditMessage", {"text": "changed"}), ("AddReaction", {"emoji": "+1"}), ("RemoveReaction", {"emoji": "+1"})):
        call(method, host, room=room, seq=seq, **more)
    call("UpdateRoom", host, room=room, changes={"name": "Another"})
    call("SetMemberRole", host, room=room, username=guest["username"], role="ROLE_MODERATOR")
    for method, more in (("EditMessage", {"seq": seq, "text": "x"}), ("DeleteMessage", {"seq": seq}),
                         ("AddReaction", {"seq": seq, "emoji": "-1"}), ("RemoveReaction", {"seq": seq, "emoji": "-1"}),
                         ("UpdateRoom", {"changes": {"name": "x"}}), ("InviteMember", {"username": other["username"]}),
                         ("RemoveMember", {"username": other["username"]}), ("DeleteRoom", {}), ("LeaveRoom", {}),
                         ("SetMemberRole", {"username": guest["username"], "role": "ROLE_MEMBER"})):
        assert is_too_fast(first("chat", method, {"room": room, **more}, host["token"])), method
    call("AddReaction", guest, room=room, seq=seq, emoji="-1")
    assert is_too_fast(first("chat", "AddReaction", {"room": room, "seq": seq, "emoji": "x"}, other["token"])), "of the room"
    # Reading, and saying what is read, is not limited so.
    for _ in range(10):
        call("MarkRead", host, room=room, seq=1)
        call("ListMessages", host, room=room)


def test_rooms_and_exports(call, first, new_account):
    account, peer = new_account(), new_account()
    room = call("CreateRoom", account, room={"name": "A room", "clientId": "c"})["room"]["id"]
    assert call("CreateRoom", account, room={"name": "A room", "clientId": "c"})["room"]["id"] == room
    call("OpenDirectRoom", account, username=peer["username"])
    call("CreateRoom", account, room={"name": "A room"})
    assert is_too_fast(first("chat", "CreateRoom", {"room": {"name": "A room"}}, account["token"]))
    assert is_too_fast(first("chat", "OpenDirectRoom", {"username": peer["username"]}, account["token"]))
    for _ in range(2):
        call("ExportRoom", account, room=room)
    assert is_too_fast(first("chat", "ExportRoom", {"room": room}, account["token"]))


def test_instances_count_together(first, second, open_room):
    room, host = open_room()
    for _ in range(6):
        assert send(first, room, host)[0] == "OK"
    assert hear(second, room, host) < 6


def test_without_redis_each_instance_counts(limited, first, second, open_room):
    room, host = open_room()
    limited.supervise("stop", "redis")
    try:
        for instance in (first, second):
            for _ in range(6):
                assert send(instance, room, host)[0] == "OK"
            assert is_too_fast(send(instance, room, host))
    finally:
        limited.supervise("start", "redis")
    assert is_too_fast(send(first, room, host)), "a Redis that has forgotten it frees nobody"


def test_who_is_refused_costs_nobody_else(limited, first, open_room):
    """A flood of one account: the others' messages are all taken."""
    room, flooder, other = open_room(1)
    refused = 0
    for i in range(300):
        refused += is_too_fast(send(first, room, flooder))
        if i % 60 == 0:
            assert send(first, room, other)[0] == "OK"
    assert refused == 294


def test_what_is_refused_is_logged_in_one_line(limited, first, open_room):
    room, host = open_room()
    for _ in range(60):
        send(first, room, host)
    wait_until(lambda: '"messages and changes of chat"' in limited.log("chat"), "the log says it")
    assert limited.log("chat").count('"messages and changes of chat"') < 60


def test_for_trying_the_limits_are_wide(suite, contract, call_grpc, unique):
    name = unique("user")
    user = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}
    token = call_grpc("auth", "CreateUser", {"user": user})[1]["user"]["token"]
    room = call_grpc("chat", "CreateRoom", {"room": {"name": "A room"}}, token)[1]["room"]["id"]
    assert {send(call_grpc, room, {"token": token})[0] for _ in range(150)} == {"OK"}


def test_settings_are_checked(tmp_path):
    environment = {**os.environ, "STOA_LISTEN": f"unix:{tmp_path}/s", "STOA_DATABASE": "host=/nowhere"}
    for name, value in (("STOA_CHAT_SEND_ACCOUNT_RATE", "many"), ("STOA_CHAT_EXPORT_RATE", "5/2d"), ("STOA_REDIS", "localhost")):
        ended = subprocess.run(
            [output_folder() / "bin/chat"], env={**environment, name: value}, capture_output=True, text=True, timeout=30)
        (line,) = [line for line in ended.stderr.splitlines() if '"error"' in line]
        assert ended.returncode == 1 and f"{name}={value}: set " in line
