"""Comments on articles."""
import concurrent.futures
import contextlib

import psycopg2
import pytest
from stoa_suite_fixture import wait_until

BLANK = ["can't be blank"]
OWN = ("comment.id", "comment.createdAt", "comment.updatedAt")


@pytest.fixture
def say(call_grpc):
    """say(account, article, text) -> the comment"""

    def make(account, article, text="Well said."):
        request = {"slug": article["slug"], "comment": {"body": text}}
        code, answer = call_grpc("posts", "CreateComment", request, account["token"])
        assert code == "OK", answer
        return answer["comment"]

    return make


def test_comment(both, new_account, publish):
    article, account = publish(new_account()), new_account()
    request = {"slug": article["slug"], "comment": {"body": "  Ünï\u202ecode 🙂\r\n\ttabs "}}
    code, _, http = both("posts", "CreateComment", request, account["token"], ignore=OWN)
    assert code == "OK" and http.status == 201
    made = http.json["comment"]
    assert sorted(made) == ["author", "body", "createdAt", "id", "updatedAt"]
    assert type(made["id"]) is int and made["id"] > 0
    assert made["body"] == request["comment"]["body"], "to the byte"
    assert made["author"] == {"username": account["username"], "bio": None, "image": None, "following": False}
    assert made["createdAt"] == made["updatedAt"]


def test_list_is_newest_first(both, new_account, publish, say):
    article, one, two = publish(new_account()), new_account(), new_account()
    _, answer, http = both("posts", "ListComments", {"slug": article["slug"]})
    assert http.status == 200 and http.json == {"comments": []}
    said = [say(account, article, text) for account, text in ((one, "a"), (two, "b"), (one, "c"))]
    for token in (None, two["token"]):
        _, answer, _ = both("posts", "ListComments", {"slug": article["slug"]}, token)
        assert answer["comments"] == said[::-1]
    other = publish(new_account())
    assert both("posts", "ListComments", {"slug": other["slug"]})[1] == {"comments": []}, "each article has its own"


def test_readers_see_whom_they_follow(both, call_http, new_account, publish, say):
    article, author, reader = publish(new_account()), new_account(), new_account()
    say(author, article)
    call_http("POST", f"/api/profiles/{author['username']}/follow", None, reader["token"])
    for token, follows in ((reader["token"], True), (author["token"], False), (None, False)):
        _, answer, _ = both("posts", "ListComments", {"slug": article["slug"]}, token)
        assert answer["comments"][0]["author"]["following"] is follows


@pytest.mark.parametrize("comment", [{"body": ""}, {"body": " \n\t"}, {"body": None}, {}])
def test_blank(both, new_account, publish, comment):
    request = {"slug": publish(new_account())["slug"], "comment": comment}
    _, problem, http = both("posts", "CreateComment", request, new_account()["token"])
    assert http.status == 422 and http.json["errors"] == {"body": BLANK} and problem.fields == ["comment.body"]


@pytest.mark.parametrize("body, status, key", [
    (b"", 422, "comment"), (b"{}", 422, "comment"), (b'{"comment": null}', 422, "comment"),
    (b"{", 400, "body"), (b'{"comment": 5}', 400, "body"), (b'{"comment": {"body": 5}}', 400, "body"),
    (b'{"comment": {"body": "a\\u0000b"}}', 422, "body"), (b'{"comment": {"body": "\xff"}}', 400, "body"),
])
def test_wrong_bodies(call_http, new_account, publish, body, status, key):
    path = f"/api/articles/{publish(new_account())['slug']}/comments"
    answer = call_http("POST", path, body, new_account()["token"], {"Content-Type": "application/json"})
    assert answer.status == status and list(answer.json["errors"]) == [key]


def test_limit(both, new_account, publish):
    slug, token = publish(new_account())["slug"], new_account()["token"]
    code, *_ = both("posts", "CreateComment", {"slug": slug, "comment": {"body": "é" * 8192}}, token, ignore=OWN)
    assert code == "OK"
    _, _, http = both("posts", "CreateComment", {"slug": slug, "comment": {"body": "é" * 8193}}, token)
    assert http.json["errors"] == {"body": ["is too long (maximum is 8192 characters)"]}


def test_no_such_article(both, new_account, unique):
    slug, token = unique("none"), new_account()["token"]
    for method, request in (
        ("CreateComment", {"slug": slug, "comment": {"body": "x"}}),
        ("ListComments", {"slug": slug}),
        ("DeleteComment", {"slug": slug, "id": 1}),
    ):
        _, _, http = both("posts", method, request, token)
        assert http.status == 404 and http.json["errors"] == {"article": ["not found"]}, method


def test_who_may(both, new_account, publish, unique):
    for method, request in (
        ("CreateComment", {"slug": unique("none"), "comment": {"body": "x"}}),
        ("DeleteComment", {"slug": unique("none"), "id": 1}),
    ):
        _, _, http = both("posts", method, request)
        assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}, method


def test_delete(both, new_account, publish, say):
    article, account = publish(new_account()), new_account()
    kept = say(account, article)
    made = {surface: say(account, article) for surface in ("grpc", "http")}
    code, _, http = both(
        "posts", "DeleteComment", lambda surface: {"slug": article["slug"], "id": made[surface]["id"]}, account["token"]
    )
    assert code == "OK" and http.status == 204
    assert both("posts", "ListComments", {"slug": article["slug"]})[1]["comments"] == [kept]
    _, _, http = both("posts", "DeleteComment", {"slug": article["slug"], "id": made["http"]["id"]}, account["token"])
    assert http.status == 404 and http.json["errors"] == {"comment": ["not found"]}


def test_delete_only_ones_own(both, new_account, publish, say):
    author = new_account()
    article = publish(author)
    made = say(new_account(), article)
    for account in (new_account(), author):
        _, _, http = both("posts", "DeleteComment", {"slug": article["slug"], "id": made["id"]}, account["token"])
        assert http.status == 403 and http.json["errors"] == {"comment": ["forbidden"]}


def test_delete_by_another_article(both, new_account, publish, say):
    account = new_account()
    article, other = publish(account), publish(account)
    made = say(account, article)
    _, _, http = both("posts", "DeleteComment", {"slug": other["slug"], "id": made["id"]}, account["token"])
    assert http.status == 404 and http.json["errors"] == {"comment": ["not found"]}


@pytest.mark.parametrize("id", ["0", "-1", "x", "4294967296", "1.5"])
def test_ids_that_are_none(call_http, new_account, publish, id):
    answer = call_http("DELETE", f"/api/articles/{publish(new_account())['slug']}/comments/{id}", None, new_account()["token"])
    assert answer.status == 422 and list(answer.json["errors"]) == ["id"]


def test_while_the_article_is_deleted(suite, call_http, new_account, publish):
    """The comment has seen the article, and waits for who deletes it: here, behind the counters' back, so that it comes back."""
    account = new_account()
    slug = publish(account)["slug"]
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_posts"))) as database, database.cursor() as cursor:
        cursor.execute("DELETE FROM posts.articles a WHERE slug = %s RETURNING a::text", (slug,))
        article = cursor.fetchone()[0]

        def waits():
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
            return cursor.fetchone()[0]

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            comment = pool.submit(call_http, "POST", f"/api/articles/{slug}/comments", {"comment": {"body": "x"}}, account["token"])
            wait_until(waits, "the comment waits")
            database.commit()
        cursor.execute("INSERT INTO posts.articles OVERRIDING SYSTEM VALUE SELECT (%s::posts.articles).*", (article,))
        database.commit()
        assert comment.result().status == 404 and comment.result().json["errors"] == {"article": ["not found"]}
