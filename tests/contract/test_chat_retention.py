"""How long rooms keep what happens in them; and rooms taken out whole."""
import contextlib
import json
import pathlib

import grpc
import psycopg2
import pytest
import requests
from chat_fixture import call, open_room, send  # noqa: F401: fixtures
from live_fixture import GrpcLive
from stoa_contract import GrpcClient, HttpClient
from stoa_suite_fixture import wait_until

MANY, WORDS = 20_000, "These are the words of a message, again and again. " * 20  # messages of 1,020 bytes
FEW, LONG = 1_500, "\U0001f409" * 4000  # of 16,000 bytes: more than lies on the way to a reader who does not read


@contextlib.contextmanager
def chat_database(suite):
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_chat"))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


@pytest.fixture
def age(suite):
    """age(room, seq, days): what happened up to there did so many days before, and the room is looked at at once."""

    def make(room, seq, days, suite=suite):
        with chat_database(suite) as cursor:
            about = {"room": room, "seq": seq, "days": days}
            for table in ("messages", "events"):
                cursor.execute(f"UPDATE chat.{table} SET created_at = created_at - %(days)s * interval '1 day'"
                               " WHERE room_id = %(room)s AND seq <= %(seq)s", about)
            cursor.execute("UPDATE chat.rooms SET retention_due = now() WHERE id = %(room)s", about)

    return make


# ---- retention ----


def test_a_room_says_what_it_keeps(both, call, open_room):
    room, host, guest, member = open_room(members=2)
    call("SetMemberRole", host, room=room, username=guest["username"], role="ROLE_MODERATOR")
    assert call("GetRoom", member, room=room)["room"]["retention"] == {"days": 0, "messages": 0}
    request = {"room": room, "changes": {"retention": {"days": 30, "messages": 1000}}}
    for account in (member, guest):
        _, problem, http = both("chat", "UpdateRoom", request, account["token"])
        assert http.status == 403 and problem.reason == "FORBIDDEN"
    _, answer, http = both("chat", "UpdateRoom", request, host["token"])
    assert http.status == 200 and answer["room"]["retention"] == {"days": 30, "messages": 1000}
    assert answer["room"]["lastSeq"] == "4"  # once, though said twice
    assert call("ListEvents", member, room=room, afterSeq=3)["events"][0]["kind"] == "EVENT_KIND_ROOM_UPDATED"
    # A moderator may change the name, and what the room keeps stays; it is replaced as a whole.
    call("UpdateRoom", guest, room=room, changes={"name": "Another"})
    assert call("GetRoom", member, room=room)["room"]["retention"] == {"days": 30, "messages": 1000}
    _, answer, _ = both("chat", "UpdateRoom", {"room": room, "changes": {"retention": {"days": 7}}}, host["token"])
    assert answer["room"]["retention"] == {"days": 7, "messages": 0}
    _, answer, _ = both("chat", "UpdateRoom", {"room": room, "changes": {"retention": {}}}, host["token"])
    assert answer["room"]["retention"] == {"days": 0, "messages": 0}
    made = {"name": "Short of memory", "retention": {"messages": 10}}
    _, answer, http = both("chat", "CreateRoom", {"room": made}, host["token"], ["room.id", "room.createdAt", "room.activeAt"])
    assert http.status == 201 and answer["room"]["retention"] == {"days": 0, "messages": 10}


@pytest.mark.parametrize("retention, errors", [
    ({"days": -1}, {"days": ["must be greater than or equal to 0"]}),
    ({"days": 36501}, {"days": ["must be less than or equal to 36500"]}),
    ({"messages": -1}, {"messages": ["must be greater than or equal to 0"]}),
    ({"messages": 100000001}, {"messages": ["must be less than or equal to 100000000"]}),
])
def test_what_a_room_cannot_keep(both, open_room, retention, errors):
    room, host = open_room()
    for method, request in (("UpdateRoom", {"room": room, "changes": {"retention": retention}}),
                            ("CreateRoom", {"room": {"name": "x", "retention": retention}})):
        _, _, http = both("chat", method, request, host["token"])
        assert http.status == 422 and http.json["errors"] == errors


def test_what_is_old_goes_from_everywhere(both, call, open_room, send, age):
    room, host, guest = open_room(members=1)  # 1
    for i in range(6):
        send(room, host, f"unforgettable number {i}", clientId=f"c{i}")  # 2 to 7
    call("AddReaction", guest, room=room, seq=3, emoji="+1")  # 8
    call("AddReaction", guest, room=room, seq=6, emoji="+1")  # 9
    call("EditMessage", host, room=room, seq=3, text="changed later")  # 10
    send(room, host, "an answer", replyTo=3)  # 11
    call("UpdateRoom", host, room=room, changes={"retention": {"days": 30}})  # 12
    age(room, 5, 31)
    wait_until(lambda: call("GetRoom", guest, room=room)["room"]["firstSeq"] == "6", "what is old is removed")
    _, _, http = both("chat", "GetRoom", {"room": room}, guest["token"])
    assert (http.json["room"]["lastSeq"], http.json["room"]["unreadCount"]) == ("12", "3")
    _, _, http = both("chat", "ListMessages", {"room": room}, guest["token"])
    assert [each["seq"] for each in http.json["messages"]] == ["6", "7", "11"] and http.json["firstSeq"] == "6"
    assert http.json["messages"][0]["reactions"] == [{"emoji": "+1", "count": 1, "mine": True}]
    assert http.json["messages"][2]["replyTo"] == "3"
    # A client that has everything up to 2 is told that it misses something; one that has 5 misses nothing.
    _, _, http = both("chat", "ListEvents", {"room": room, "afterSeq": 2}, guest["token"])
    events = http.json["events"]
    assert [each["seq"] for each in events] == [str(i) for i in range(6, 13)] and http.json["firstSeq"] == "6"
    assert events[2]["messageSeq"] == "3" and events[2]["reaction"] == {"emoji": "+1", "count": 0, "mine": False}
    assert events[4]["kind"] == "EVENT_KIND_MESSAGE_EDITED" and events[4]["messageSeq"] == "3" and "message" not in events[4]
    assert call("SearchMessages", guest, query="unforgettable or changed")["messages"] == call(
        "ListMessages", guest, room=room, beforeSeq=8)["messages"][::-1]
    for method, more in (("EditMessage", {"text": "x"}), ("DeleteMessage", {}), ("AddReaction", {"emoji": "+1"})):
        _, _, http = both("chat", method, {"room": room, "seq": 3, **more}, host["token"])
        assert http.status == 404 and http.json["errors"] == {"message": ["not found"]}
    _, _, http = both("chat", "SendMessage", {"room": room, "message": {"text": "x", "replyTo": 3}}, host["token"])
    assert http.status == 404
    _, answer, _ = both("chat", "MarkRead", {"room": room, "seq": 2}, guest["token"])
    assert answer == {"readSeq": "2", "unreadCount": "3"}


def test_a_room_that_nobody_writes_to(call, open_room, send, age):
    """By count; and what is younger than a day stays, so that what is sent again is found."""
    room, host = open_room()
    for i in range(8):
        send(room, host, f"text {i}", clientId=f"c{i}")
    call("UpdateRoom", host, room=room, changes={"retention": {"messages": 2}})  # 9
    age(room, 4, 2)
    wait_until(lambda: call("GetRoom", host, room=room)["room"]["firstSeq"] == "5", "what is old is removed")
    assert send(room, host, "again", clientId="c4")["seq"] == "5"
    age(room, 9, 2)
    wait_until(lambda: call("GetRoom", host, room=room)["room"]["firstSeq"] == "7", "as many are kept as were asked for")
    assert [each["seq"] for each in call("ListMessages", host, room=room)["messages"]] == ["7", "8"]
    assert send(room, host, "next")["seq"] == "10"


def test_who_follows_a_room(suite, contract, call, open_room, send, age):
    """What is kept no longer is not replayed either, from wherever; and what comes after it is."""
    room, host = open_room()
    for i in range(3):
        send(room, host, f"text {i}")  # 1 to 3
    call("EditMessage", host, room=room, seq=1, text="changed")  # 4
    send(room, host, "the last")  # 5
    with GrpcLive(contract, suite.grpc("chat"), host["token"]) as live:
        live.expect("welcome")
        assert [each["seq"] for each in live.follow(room, after=0)] == ["1", "2", "3", "4", "5"]  # which are known here now
        call("UpdateRoom", host, room=room, changes={"retention": {"days": 30}})  # 6
        assert [each["seq"] for each in live.events(1)] == ["6"]
        age(room, 2, 31)
        wait_until(lambda: call("GetRoom", host, room=room)["room"]["firstSeq"] == "3", "what is old is removed")

        def replay():
            live.done(subscribe={"room": room, "afterSeq": 0})
            return live.until_live(room)

        wait_until(lambda: len(replay()) == 4, "what is removed is not replayed")
        assert [each["seq"] for each in replay()] == ["3", "4", "5", "6"]
        assert [each["seq"] for each in live.follow(room, after=2)] == ["3", "4", "5", "6"]
        live.done(subscribe={"room": room, "afterSeq": 1})
        assert live.expect("reset")["lastSeq"] == "6"  # 2 is not to be had any more
        live.follow(room)
        live.done(edit={"room": room, "seq": "3", "text": "changed too"})
        assert live.events(1)[0]["message"]["text"] == "changed too"
        assert live.refused(edit={"room": room, "seq": "1", "text": "too late"})["code"] == 5


def test_limits_of_all_rooms(own_suite, contract, unique, age):
    own = own_suite(STOA_CHAT_RETENTION_DAYS=30, STOA_CHAT_RETENTION_MESSAGES=500, STOA_CHAT_PURGE_INTERVAL_S=1)
    client, http = GrpcClient(contract, own.grpc), HttpClient(own.http)
    name = unique("host")
    user = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}
    token = http("POST", "/api/users", {"user": user}).json["user"]["token"]

    def call(method, **request):
        code, answer = client("chat", method, request, token)
        assert code == "OK", answer
        return answer

    def retention(room):
        return call("GetRoom", room=room)["room"]["retention"]

    rooms = [call("CreateRoom", room={"name": "A room", "retention": kept})["room"]["id"]
             for kept in ({}, {"days": 7}, {"days": 365, "messages": 100})]
    assert [retention(room) for room in rooms] == [
        {"days": 30, "messages": 500}, {"days": 7, "messages": 500}, {"days": 30, "messages": 100}]
    for room in rooms:
        for _ in range(3):
            call("SendMessage", room=room, message={"text": "text"})
        age(room, 1, 31, own)
        age(room, 2, 8, own)
    for room, first in zip(rooms, ("2", "3", "2")):
        wait_until(lambda: call("GetRoom", room=room)["room"]["firstSeq"] == first, "what is old is removed")


# ---- export ----


def parts(answer):
    return [next(iter(item)) for item in answer["stream"]]


def test_a_room_is_taken_out(both, call, open_room, send):
    room, host, *guests = open_room(kind="ROOM_KIND_PRIVATE", members=2)  # 1, 2
    seq = send(room, guests[0], "old", clientId="c")["seq"]  # 3
    call("EditMessage", guests[0], room=room, seq=seq, text="new")  # 4
    call("AddReaction", host, room=room, seq=seq, emoji="+1")  # 5
    code, answer, http = both("chat", "ExportRoom", {"room": room}, guests[0]["token"])
    assert code == "OK" and http.headers["Cache-Control"] == "no-store"
    items = answer["stream"]
    assert parts(answer) == ["room"] + ["member"] * 3 + ["event"] * 5 + ["end"]
    assert items[0]["room"] == call("GetRoom", guests[0], room=room)["room"]
    assert [item["member"] for item in items[1:4]] == call("ListMembers", host, room=room)["members"]
    assert [item["event"] for item in items[4:9]] == call("ListEvents", guests[0], room=room)["events"]
    assert items[6]["event"]["message"]["clientId"] == "c" and items[9]["end"] == {"lastSeq": "5"}
    _, answer, _ = both("chat", "ExportRoom", {"room": room}, host["token"])
    assert "clientId" not in answer["stream"][6]["event"]["message"]
    # Goes on where it was, and after the last one.
    _, answer, _ = both("chat", "ExportRoom", {"room": room, "afterSeq": 3}, host["token"])
    assert parts(answer) == ["room", "event", "event", "end"] and answer["stream"][1]["event"]["seq"] == "4"
    for after in (5, 99):
        _, answer, _ = both("chat", "ExportRoom", {"room": room, "afterSeq": after}, host["token"])
        assert parts(answer) == ["room", "end"]
    _, _, http = both("chat", "ExportRoom", {"room": room, "afterSeq": -1}, host["token"])
    assert http.status == 422 and http.json["errors"] == {"afterSeq": ["must be greater than or equal to 0"]}


def test_forms_over_http(suite, open_room, send):
    room, host = open_room()
    for i in range(3):
        send(room, host, f"text {i}")
    url, token = f"{suite.http}/api/chat/rooms/{room}/export", {"Authorization": f"Bearer {host['token']}"}
    for accept in ("*/*", "text/html,*/*;q=0.8", "application/x-ndjson"):  # as curl, as a browser, as who knows
        answer = requests.get(url, headers={**token, "Accept": accept}, timeout=30)
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert [next(iter(json.loads(line))) for line in answer.text.splitlines()] == ["room", "member", *["event"] * 3, "end"]
    # As events, which a browser takes up again by itself.
    events = {**token, "Accept": "text/event-stream"}
    answer = requests.get(url, headers={**events, "Last-Event-ID": "2"}, timeout=30)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert [line for line in answer.text.splitlines() if line.startswith("id:")] == ["id: 3"]


def test_an_export_of_what_is_left(both, call, open_room, send, age):
    room, host = open_room()
    for i in range(6):
        send(room, host, f"text {i}")
    call("UpdateRoom", host, room=room, changes={"retention": {"days": 1}})  # 7
    age(room, 3, 2)
    wait_until(lambda: call("GetRoom", host, room=room)["room"]["firstSeq"] == "4", "what is old is removed")
    for after in (0, 1, 3):
        _, answer, _ = both("chat", "ExportRoom", {"room": room, "afterSeq": after}, host["token"])
        assert answer["stream"][0]["room"]["firstSeq"] == "4"
        assert [item["event"]["seq"] for item in answer["stream"] if "event" in item] == ["4", "5", "6", "7"]


@pytest.fixture(scope="module")
def big_room(suite, call_grpc, new_account):
    """big_room() -> a public room with messages of a host's, and a guest in it; of its own each time."""

    def make(n=FEW, text=LONG):
        host, guest = new_account("host"), new_account("guest")
        _, made = call_grpc("chat", "CreateRoom", {"room": {"name": "Big"}}, host["token"])
        room = made["room"]["id"]
        assert call_grpc("chat", "JoinRoom", {"room": room}, guest["token"])[0] == "OK"
        with chat_database(suite) as cursor:
            cursor.execute("WITH sent AS (INSERT INTO chat.messages (room_id, seq, author_id, text, created_at)"
                           "  SELECT r.id, r.last_seq + i, r.created_by, i || ' ' || %(text)s, clock_timestamp()"
                           "  FROM chat.rooms r, generate_series(1, %(n)s) i WHERE r.id = %(room)s RETURNING 1)"
                           " UPDATE chat.rooms SET last_seq = last_seq + (SELECT count(*) FROM sent),"
                           "  active_at = clock_timestamp() WHERE id = %(room)s", {"room": room, "n": n, "text": text})
        return room, host, guest

    return make


@pytest.fixture(scope="module")
def shared_big_room(big_room):
    return big_room(MANY, WORDS)


def peak_kb(pid):
    """The most memory that a process has had since forget_peak()."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def forget_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def test_a_big_room_in_little_memory(suite, shared_big_room):
    """Twenty megabytes and more, through the gateway, at the speed of a reader who stops for a while."""
    room, host, _ = shared_big_room
    pids = [suite.pid("chat"), suite.pid("gateway")]
    for pid in pids:
        forget_peak(pid)
    before = [peak_kb(pid) for pid in pids]
    url, token = f"{suite.http}/api/chat/rooms/{room}/export", {"Authorization": f"Bearer {host['token']}"}
    with requests.get(url, headers=token, timeout=60, stream=True) as answer:
        lines = answer.iter_lines(chunk_size=65536)
        first = json.loads(next(lines))
        # It is not made ahead of its reader: what happens meanwhile is not in it, what is changed meanwhile is shown so.
        assert requests.patch(f"{suite.http}/api/chat/rooms/{room}/messages/{MANY}", json={"text": "changed meanwhile"},
                              headers=token, timeout=30).status_code == 200
        items = [json.loads(line) for line in lines]
    assert first["room"]["lastSeq"] == str(MANY + 1)
    assert [next(iter(item)) for item in items] == ["member"] * 2 + ["event"] * (MANY + 1) + ["end"]
    assert [int(item["event"]["seq"]) for item in items[2:-1]] == list(range(1, MANY + 2))
    assert items[-1]["end"] == {"lastSeq": str(MANY + 1)}
    assert items[MANY + 1]["event"]["message"]["text"] == "changed meanwhile"
    grown = [peak_kb(pid) - had for pid, had in zip(pids, before)]
    if "san.so" not in pathlib.Path(f"/proc/{pids[0]}/maps").read_text():  # sanitizers keep what is freed
        assert max(grown) < 8192, f"KB more than before, of {MANY * len(WORDS) // 1024} that went through: {grown}"


def test_who_is_removed_gets_no_more(call, call_grpc, contract, big_room):
    room, host, guest = big_room()
    stream = call_grpc.stream("chat", "ExportRoom", contract.method("chat", "ExportRoom").request(room=int(room)), guest["token"])
    assert next(stream).room.id == int(room)
    call("RemoveMember", host, room=room, username=guest["username"])
    got = 0
    with pytest.raises(grpc.RpcError) as caught:
        for message in stream:
            got += message.WhichOneof("item") == "event"
            assert message.WhichOneof("item") != "end"
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED and got < FEW
    assert call_grpc.problem(caught.value).reason == "NOT_A_MEMBER"


def test_who_signs_out_gets_no_more(call_grpc, contract, big_room):
    room, _, guest = big_room()
    stream = call_grpc.stream("chat", "ExportRoom", contract.method("chat", "ExportRoom").request(room=int(room)), guest["token"])
    next(stream)
    assert call_grpc("auth", "EndCurrentSession", {}, guest["token"])[0] == "OK"
    wait_until(lambda: call_grpc("chat", "ListMyRooms", {}, guest["token"])[0] == "UNAUTHENTICATED", "the token is refused")
    with pytest.raises(grpc.RpcError) as caught:
        assert not any(message.WhichOneof("item") == "end" for message in stream)
    assert call_grpc.problem(caught.value).reason == "TOKEN_REVOKED"


def test_over_http_the_last_line_says_why(suite, call, big_room):
    """Of a room that is deleted meanwhile."""
    room, host, _ = big_room()
    url, token = f"{suite.http}/api/chat/rooms/{room}/export", {"Authorization": f"Bearer {host['token']}"}
    with requests.get(url, headers=token, timeout=60, stream=True) as answer:
        lines = answer.iter_lines()
        next(lines)
        call("DeleteRoom", host, room=room)
        items = [json.loads(line) for line in lines]
    assert "end" not in items[-1] and items[-1]["error"]["status"] == 404
    assert items[-1]["error"]["errors"] == {"room": ["not found"]}


def test_what_is_removed_before_it_was_read(suite, call, contract, call_grpc, big_room):
    """There is no hole: the export ends, and says so."""
    room, host, _ = big_room()
    stream = call_grpc.stream("chat", "ExportRoom", contract.method("chat", "ExportRoom").request(room=int(room)), host["token"])
    next(stream)
    with chat_database(suite) as cursor:
        for table in ("events", "messages"):
            cursor.execute(f"UPDATE chat.{table} SET created_at = created_at - interval '3 days' WHERE room_id = %s", (room,))
    call("UpdateRoom", host, room=room, changes={"retention": {"days": 1}})
    wait_until(lambda: int(call("GetRoom", host, room=room)["room"]["firstSeq"]) == FEW + 2, "what is old is removed", 60)
    seen = []
    with pytest.raises(grpc.RpcError) as caught:
        for message in stream:
            if message.WhichOneof("item") == "event":
                seen.append(message.event.seq)
    assert seen == list(range(1, len(seen) + 1)) and len(seen) < FEW
    assert caught.value.code() == grpc.StatusCode.ABORTED and call_grpc.problem(caught.value).reason == "KEPT_NO_LONGER"


def test_who_goes_ends_it(suite, call_grpc, contract, shared_big_room):
    """Readers who vanish at any moment leave nothing behind, and the service stops as always."""
    room, host, _ = shared_big_room
    for count in (0, 1, 5, 400):
        stream = call_grpc.stream("chat", "ExportRoom", contract.method("chat", "ExportRoom").request(room=int(room)), host["token"])
        for _ in range(count):
            next(stream)
        stream.cancel()
        url, token = f"{suite.http}/api/chat/rooms/{room}/export", {"Authorization": f"Bearer {host['token']}"}
        with requests.get(url, headers=token, timeout=60, stream=True) as answer:
            lines = answer.iter_lines()
            for _ in range(count):
                next(lines)
    with chat_database(suite) as cursor:
        def reads():
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'stoa_chat' AND state = 'active'"
                           " AND query LIKE '%chat.events%' AND pid <> pg_backend_pid()")
            return cursor.fetchone()[0]

        wait_until(lambda: reads() == 0, "nothing is read for nobody")
