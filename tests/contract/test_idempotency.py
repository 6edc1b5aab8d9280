"""Idempotency-Key on what creates: articles and comments, rooms and messages."""
import concurrent.futures
import contextlib
import http.client
import json
import urllib.parse

import psycopg2
import pytest
from stoa_contract import PATIENCE_SECONDS
from stoa_suite_fixture import wait_until


@pytest.fixture
def kind(request, call_http, new_account, publish, unique):
    """What is created: kind.create(key, **changes) -> HttpAnswer, kind.count() -> how many there are."""
    account = new_account()

    class Article:
        path, token = "/api/articles", account["token"]
        name, title = account["username"], unique("Once ")

        def body(self, **changes):
            return {"article": {"title": self.title, "description": "d", "body": "b", "tagList": ["z", "a"], **changes}}

        def count(self):
            return call_http("GET", f"/api/articles?author={self.name}").json["articlesCount"]

    class Comment:
        path, token = f"/api/articles/{publish(account)['slug']}/comments", account["token"]

        def body(self, **changes):
            return {"comment": {"body": "Once", **changes}}

        def count(self):
            return len(call_http("GET", self.path).json["comments"])

    class Room:
        path, token = "/api/chat/rooms", account["token"]

        def body(self, body="Once", **changes):
            return {"room": {"name": body, "description": "d", **changes}}

        def count(self):
            return len(call_http("GET", "/api/chat/rooms/mine", token=self.token).json["rooms"])

    class Message:
        token = account["token"]

        def __init__(self):
            self.room = call_http("POST", "/api/chat/rooms", {"room": {"name": "r"}}, self.token).json["room"]["id"]
            self.path = f"/api/chat/rooms/{self.room}/messages"

        def body(self, body="Once", **changes):
            return {"message": {"text": body, **changes}}

        def count(self):
            return len(call_http("GET", self.path, token=self.token).json["messages"])

    made = {"article": Article, "comment": Comment, "room": Room, "message": Message}[request.param]()
    made.create = lambda key, token=None, **changes: call_http(
        "POST", made.path, made.body(**changes), token or made.token, {"Idempotency-Key": key} if key is not None else {})
    before = made.count()
    made.made = lambda: made.count() - before
    return made


all_kinds = pytest.mark.parametrize("kind", ["article", "comment", "room", "message"], indirect=True)


@all_kinds
def test_a_replay_gets_the_first_answer(kind):
    first, second = kind.create('"key-1"'), kind.create('"key-1"')
    assert first.status == 201 == second.status, second.text
    assert first.json == second.json and first.headers.get("ETag") == second.headers.get("ETag")
    assert kind.made() == 1
    assert kind.create('"key-2"').json != first.json and kind.create(None).json != first.json
    assert kind.made() == 3


@all_kinds
def test_another_request_under_the_same_key(kind):
    first = kind.create("key")
    answer = kind.create("key", body="Something else")
    assert answer.status == 422 and answer.json["errors"] == {"idempotencyKey": ["has been used for another request"]}
    assert answer.json["reason"] == "IDEMPOTENCY_KEY_USED"
    assert kind.create("key").json == first.json and kind.made() == 1


@all_kinds
def test_doubles_at_once_do_the_work_once(kind):
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: kind.create("key"), range(20)))
    assert {answer.status for answer in answers} == {201}, [answer.text for answer in answers if answer.status != 201]
    assert all(answer.json == answers[0].json for answer in answers) and kind.made() == 1


@all_kinds
def test_a_key_is_the_accounts_own(kind, call_http, new_account):
    first, other = kind.create("key"), new_account()["token"]
    if kind.path.endswith("/messages"):
        assert call_http("POST", kind.path.replace("messages", "join"), None, other).status == 200
    assert kind.create("key", other).status == 201
    assert kind.create("key").json == first.json


@all_kinds
@pytest.mark.parametrize("key", ["two words", "x" * 256])
def test_keys_that_are_none(kind, key):
    answer = kind.create(key)
    assert answer.status == 422 and list(answer.json["errors"]) == ["idempotencyKey"]
    assert kind.made() == 0
    assert kind.create("~" * 255).status == 201


def test_a_key_is_given_once(call_grpc, new_account, publish):
    """Of two, whichever was taken would be a guess: the first may have been used for something else."""
    account = new_account()
    request = {"slug": publish(account)["slug"], "comment": {"body": "!"}}
    for keys in (("k1", "k2"), ("k1", "k1")):
        metadata = [("idempotency-key", key) for key in keys]
        code, problem = call_grpc("posts", "CreateComment", request, account["token"], metadata=metadata)
        assert code == "INVALID_ARGUMENT" and problem.errors == {"idempotencyKey": ["is given twice"]}, problem


@all_kinds
def test_two_lines_of_a_key(suite, kind):
    """A proxy may make one line of two."""
    assert kind.create("k1").status == 201
    made = kind.made()
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(suite.http).netloc, timeout=PATIENCE_SECONDS)
    body = json.dumps(kind.body(body="Something else")).encode()
    connection.putrequest("POST", kind.path)
    for name, value in (("Authorization", f"Token {kind.token}"), ("Idempotency-Key", "k2"), ("Idempotency-Key", "k1"),
                        ("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
        connection.putheader(name, value)
    connection.endheaders(body)
    with contextlib.closing(connection):
        answer = connection.getresponse()
        assert answer.status == 422 and json.load(answer)["errors"] == {"idempotencyKey": ["is given twice"]}
    assert kind.made() == made


@all_kinds
def test_what_failed_can_be_tried_again(kind):
    assert kind.create("key", body="").status == 422
    assert kind.create("key").status == 201, "nothing had been made under the key"


def test_a_comment_and_an_article_do_not_share_a_key(call_http, new_account, publish):
    account = new_account()
    path, key = f"/api/articles/{publish(account)['slug']}/comments", {"Idempotency-Key": "k"}
    assert call_http("POST", path, {"comment": {"body": "!"}}, account["token"], key).status == 201
    body = {"article": {"title": "t", "description": "d", "body": "b"}}
    assert call_http("POST", "/api/articles", body, account["token"], key).status == 422


@pytest.mark.parametrize("kind", ["room", "message"], indirect=True)
def test_in_chat_it_is_a_client_id(kind, call_http):
    """Where the request has none; a client_id of its own counts, and the key does not."""
    name = "room" if kind.path.endswith("rooms") else "message"
    first = kind.create("key").json[name]
    assert kind.create(None, clientId="key").json[name] == first
    assert kind.create("key", clientId="own").json[name] != first and kind.made() == 2
    long = [kind.create("x" * 254 + end).json[name] for end in "aab"]
    assert long[0] == long[1] != long[2] and kind.made() == 4


def test_a_room_or_message_that_has_changed_since(call_http, new_account):
    """What it was opened with or said is not known any more: the key gets what there is."""
    token, key = new_account()["token"], {"Idempotency-Key": "k"}
    room = lambda **kind: call_http("POST", "/api/chat/rooms", {"room": {"name": "before", **kind}}, token, key)
    path = f"/api/chat/rooms/{room().json['room']['id']}"
    message = lambda text, **reply: call_http("POST", f"{path}/messages", {"message": {"text": text, **reply}}, token, key)
    seq = message("before").json["message"]["seq"]
    assert message("before", replyTo=seq).status == 422
    assert call_http("PATCH", f"{path}/messages/{seq}", {"text": "after"}, token).status == 200
    assert message("before").json["message"]["text"] == "after"
    assert call_http("DELETE", f"{path}/messages/{seq}", None, token).status == 204
    assert message("before").json["message"]["seq"] == seq
    assert call_http("PATCH", path, {"changes": {"name": "after"}}, token).status == 200
    assert room().json["room"]["name"] == "after"
    # That stays for ever.
    assert room(kind="ROOM_KIND_PRIVATE").status == 422


@pytest.mark.parametrize("kind", ["article"], indirect=True)
def test_the_answer_outlives_what_was_made(kind, call_http):
    first = kind.create("key")
    path = f"/api/articles/{first.json['article']['slug']}"
    call_http("PUT", path, {"article": {"body": "new"}}, kind.token)
    assert kind.create("key").json == first.json
    call_http("DELETE", path, None, kind.token)
    assert kind.create("key").json == first.json and kind.made() == 0


@pytest.mark.parametrize("kind", ["article"], indirect=True)
def test_a_failed_create_leaves_no_counter_behind(kind, call_http, unique):
    tag = unique("tag")
    for _ in range(3):
        assert kind.create("key", tagList=[tag]).status == 201
    assert call_http("GET", f"/api/articles?tag={tag}").json["articlesCount"] == 1


def test_keys_go_after_a_day(suite, unique):
    """All of them, though a batch is 1,000."""
    old, new = unique("old"), unique("new")
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_posts"))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO posts.idempotency_keys SELECT -1, %s || i, 'h', i, NULL, now() - interval '25 hours'"
            " FROM generate_series(1, 2500) i", (old,))
        cursor.execute("INSERT INTO posts.idempotency_keys VALUES (-1, %s, 'h', 1, NULL, now() - interval '23 hours')",
                       (new,))
        connection.commit()

        def left():
            connection.rollback()
            cursor.execute("SELECT count(*) FROM posts.idempotency_keys WHERE account_id = -1")
            return cursor.fetchone()[0]

        wait_until(lambda: left() == 1, "only what is younger than a day is left")
        cursor.execute("DELETE FROM posts.idempotency_keys WHERE account_id = -1 RETURNING key")
        assert cursor.fetchall() == [(new,)]
        connection.commit()


def test_over_grpc(call_grpc, new_account, publish):
    account = new_account()
    slug, key = publish(account)["slug"], (("idempotency-key", "k"),)
    request = {"slug": slug, "comment": {"body": "!"}}
    first, second = (call_grpc("posts", "CreateComment", request, account["token"], metadata=key) for _ in range(2))
    assert first == second and first[0] == "OK"
    code, problem = call_grpc("posts", "CreateComment", {"slug": slug, "comment": {"body": "?"}}, account["token"],
                              metadata=key)
    assert code == "INVALID_ARGUMENT" and problem.fields == ["idempotency_key"]
