"""Rooms and their messages."""
import concurrent.futures
import contextlib

import psycopg2
import pytest
from stoa_suite_fixture import wait_until

BLANK = ["can't be blank"]
ROOM = ("room.id", "room.createdAt")


@pytest.fixture
def open_room(call_grpc, new_account):
    """open_room() -> the id of a new room, and the token of who opened it"""

    def make(name="A room"):
        token = new_account("host")["token"]
        code, answer = call_grpc("chat", "CreateRoom", {"room": {"name": name}}, token)
        assert code == "OK", answer
        return answer["room"]["id"], token

    return make


@pytest.fixture
def send(call_grpc):
    """send(room, token, text, client_id="") -> the message"""

    def make(room, token, text, client_id=""):
        request = {"room": room, "message": {"text": text, "clientId": client_id}}
        code, answer = call_grpc("chat", "SendMessage", request, token)
        assert code == "OK", answer
        return answer["message"]

    return make


# ---- rooms ----


def test_open_and_get(both, new_account):
    token = new_account()["token"]
    request = {"room": {"name": "Général ", "description": "About\nall"}}
    code, _, http = both("chat", "CreateRoom", request, token, ignore=ROOM)
    assert code == "OK" and http.status == 201
    room = http.json["room"]
    assert sorted(room) == ["createdAt", "description", "id", "lastSeq", "name"]
    assert room["name"] == "Général " and room["description"] == "About\nall" and room["lastSeq"] == "0"
    _, _, got = both("chat", "GetRoom", {"room": room["id"]}, token)
    assert got.status == 200 and got.json["room"] == room


@pytest.mark.parametrize(
    "method, request_",
    [
        ("CreateRoom", {"room": {"name": "x"}}),
        ("GetRoom", {"room": 1}),
        ("ListRooms", {}),
        ("SendMessage", {"room": 1, "message": {"text": "x"}}),
        ("ListMessages", {"room": 1}),
    ],
)
def test_everything_needs_a_token(both, method, request_):
    _, _, http = both("chat", method, request_)
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}


@pytest.mark.parametrize(
    "room, errors",
    [
        ({"name": " "}, {"name": BLANK}),
        ({}, {"name": BLANK}),
        ({"name": "é" * 101}, {"name": ["is too long (maximum is 100 characters)"]}),
        (
            {"name": "x", "description": "é" * 1001},
            {"description": ["is too long (maximum is 1000 characters)"]},
        ),
    ],
)
def test_bad_rooms(both, new_account, room, errors):
    _, _, http = both("chat", "CreateRoom", {"room": room}, new_account()["token"])
    assert http.status == 422 and http.json["errors"] == errors


def test_limits_of_a_room(both, new_account):
    request = {"room": {"name": "é" * 100, "description": "é" * 1000}}
    code, _, _ = both("chat", "CreateRoom", request, new_account()["token"], ignore=ROOM)
    assert code == "OK"


def test_unknown_room(both, new_account):
    token = new_account()["token"]
    for method, more in (("GetRoom", {}), ("ListMessages", {}), ("SendMessage", {"message": {"text": "x"}})):
        _, problem, http = both("chat", method, {"room": 2**62, **more}, token)
        assert http.status == 404 and http.json["errors"] == {"room": ["not found"]}


def test_impossible_room(both, new_account):
    _, _, http = both("chat", "GetRoom", {"room": -1}, new_account()["token"])
    assert http.status == 422
    assert http.json["errors"] == {"room": ["must be greater than or equal to 1"]}


def test_rooms_newest_first_in_pages(both, call_grpc, open_room):
    mine = [open_room(f"Room {i}")[0] for i in range(5)]
    token = open_room("Last")[1]
    seen, page_token = [], ""
    while not set(mine) <= set(seen):
        request = {"pageSize": 2, "pageToken": page_token}
        code, answer = call_grpc("chat", "ListRooms", request, token)
        assert code == "OK" and 1 <= len(answer["rooms"]) <= 2
        seen += [room["id"] for room in answer["rooms"]]
        page_token = answer["nextPageToken"]
        assert page_token or set(mine) <= set(seen)
    assert [int(id_) for id_ in seen] == sorted(map(int, seen), reverse=True)
    assert len(set(seen)) == len(seen)


def test_the_last_page_has_no_next(call_grpc, open_room):
    first, token = open_room()
    page_token = f"{int(first) + 1:016x}"  # after the room that comes next: the page begins at ours
    code, answer = call_grpc("chat", "ListRooms", {"pageSize": 100, "pageToken": page_token}, token)
    assert code == "OK" and answer["rooms"][0]["id"] == first
    while answer["nextPageToken"]:
        request = {"pageSize": 100, "pageToken": answer["nextPageToken"]}
        code, answer = call_grpc("chat", "ListRooms", request, token)
        assert code == "OK" and answer["rooms"]


@pytest.mark.parametrize("page_token", ["x", "0" * 16, "f" * 16, "0" * 15 + "G"])
def test_bad_page_token(both, new_account, page_token):
    _, _, http = both("chat", "ListRooms", {"pageToken": page_token}, new_account()["token"])
    assert http.status == 422 and http.json["errors"] == {"pageToken": ["is not a page token"]}


# ---- messages ----


def test_send(both, open_room, new_account):
    room, token = open_room()
    account = new_account()
    request = {"room": room, "message": {"text": " héllo\r\n\U0001f409 "}}
    ignore = ("message.seq", "message.createdAt")
    code, _, http = both("chat", "SendMessage", request, account["token"], ignore=ignore)
    assert code == "OK" and http.status == 201
    message = http.json["message"]
    assert message["text"] == " héllo\r\n\U0001f409 " and message["room"] == room
    assert message["author"] == {"username": account["username"], "image": None}
    assert "clientId" not in message
    _, _, http = both("chat", "ListMessages", {"room": room}, token)
    assert http.status == 200 and http.json["messages"][-1]["text"] == message["text"]
    assert [m["seq"] for m in http.json["messages"]] == ["1", "2"] and http.json["lastSeq"] == "2"


@pytest.mark.parametrize(
    "message, errors",
    [
        ({"text": ""}, {"text": BLANK}),
        ({"text": "\n\t"}, {"text": BLANK}),
        ({"text": "é" * 4097}, {"text": ["is too long (maximum is 4096 characters)"]}),
        ({"text": "x", "clientId": "é" * 65}, {"clientId": ["is too long (maximum is 64 characters)"]}),
    ],
)
def test_bad_messages(both, open_room, message, errors):
    room, token = open_room()
    _, _, http = both("chat", "SendMessage", {"room": room, "message": message}, token)
    assert http.status == 422 and http.json["errors"] == errors


def test_sent_again_it_is_the_same_message(both, open_room, send, call_grpc):
    room, token = open_room()
    first = send(room, token, "first", "id-1")
    request = {"room": room, "message": {"text": "again", "clientId": "id-1"}}
    code, again, http = both("chat", "SendMessage", request, token)
    assert code == "OK" and again["message"] == first and http.status == 201
    _, answer = call_grpc("chat", "GetRoom", {"room": room}, token)
    assert answer["room"]["lastSeq"] == "1"


def test_a_client_id_is_its_authors(open_room, send, new_account, call_grpc):
    room, token = open_room()
    other = new_account()["token"]
    assert send(room, token, "mine", "id")["seq"] == "1"
    assert send(room, other, "yours", "id")["seq"] == "2"
    _, answer = call_grpc("chat", "ListMessages", {"room": room}, token)
    assert [m.get("clientId") for m in answer["messages"]] == ["id", None]


def test_numbers_have_no_holes_under_concurrency(open_room, send, new_account):
    room, token = open_room()
    tokens = [token, new_account()["token"]]

    def one(i):  # each message four times, from both accounts
        sent = send(room, tokens[i % 2], f"text {i}", f"id-{i // 8}")
        return i % 2, i // 8, int(sent["seq"]), sent["text"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(400)))
    stored = {}
    for account, client_id, seq, text in answers:
        stored.setdefault((account, client_id), set()).add((seq, text))
    assert all(len(each) == 1 for each in stored.values())
    assert sorted(seq for each in stored.values() for seq, _ in each) == list(range(1, 101))


def test_pages_of_messages(both, open_room, send):
    room, token = open_room()
    for i in range(6):
        send(room, token, f"text {i}")

    def seqs(**request):
        _, _, http = both("chat", "ListMessages", {"room": room, **request}, token)
        assert http.json["lastSeq"] == "6"
        return [int(message["seq"]) for message in http.json["messages"]]

    assert seqs() == [1, 2, 3, 4, 5, 6]
    assert seqs(pageSize=2) == [5, 6]
    assert seqs(pageSize=2, beforeSeq=5) == [3, 4]
    assert seqs(pageSize=2, afterSeq=0) == [1, 2]
    assert seqs(afterSeq=4) == [5, 6]
    assert seqs(afterSeq=6) == []
    assert seqs(afterSeq=1, beforeSeq=4) == [2, 3]
    assert seqs(beforeSeq=1) == []
    assert seqs(pageSize=1000) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "bad, errors",
    [
        ({"afterSeq": -1}, {"afterSeq": ["must be greater than or equal to 0"]}),
        ({"beforeSeq": 0}, {"beforeSeq": ["must be greater than or equal to 1"]}),
        ({"pageSize": -1}, {"pageSize": ["must be greater than or equal to 0"]}),
    ],
)
def test_bad_pages(both, open_room, bad, errors):
    room, token = open_room()
    _, _, http = both("chat", "ListMessages", {"room": room, **bad}, token)
    assert http.status == 422 and http.json["errors"] == errors




# ---- accounts that are deleted ----


def test_a_deleted_account_leaves_its_places(both, open_room, send, new_account, call_grpc):
    """Numbers stay without holes; author and text go, and no message can be told by whom it was."""
    room, token = open_room()
    host, guest = token, new_account()
    for text in ("one", "two"):
        send(room, guest["token"], text, f"id of {text}")
        send(room, host, "and I")
    assert call_grpc("auth", "DeleteCurrentUser", {}, guest["token"])[0] == "OK"
    code, answer, http = both("chat", "ListMessages", {"room": room}, host)
    assert code == "OK" and [each["seq"] for each in answer["messages"]] == ["1", "2", "3", "4"]
    assert [each["text"] for each in answer["messages"]] == ["", "and I", "", "and I"]
    assert [each["author"] is None for each in http.json["messages"]] == [True, False, True, False]
    assert http.json["messages"][0].keys() == http.json["messages"][1].keys()
    assert send(room, host, "next")["seq"] == "5"


def test_a_room_outlives_who_opened_it(both, open_room, send, new_account, call_grpc):
    room, token = open_room("Still here")
    assert call_grpc("auth", "DeleteCurrentUser", {}, token)[0] == "OK"
    guest = new_account()["token"]
    assert both("chat", "GetRoom", {"room": room}, guest)[1]["room"]["name"] == "Still here"
    assert send(room, guest, "hello")["seq"] == "1"


def test_what_a_deletion_missed_is_erased_later(suite, open_room, send, new_account):
    """By chat itself; STOA_CHAT_PURGE_INTERVAL_S."""
    room, token = open_room()
    send(room, token, "left behind by a statement on its way")
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_chat"))) as database, database.cursor() as cursor:
        database.autocommit = True
        cursor.execute("INSERT INTO chat.forgotten_accounts SELECT author_id, now() - interval '6 minutes'"
                       " FROM chat.messages WHERE room_id = %s", (room,))

        def erased():
            cursor.execute("SELECT text, author_id FROM chat.messages WHERE room_id = %s", (room,))
            return cursor.fetchone() == ("", None)

        wait_until(erased, "the message is erased")
