"""Drafts: articles that only their author sees, until they are published."""
import concurrent.futures
import contextlib
import time

import psycopg2
import pytest
from stoa_suite_fixture import wait_until
from test_pages import follow

WHOLE = {"title": "Hello, drafts", "description": "About it", "body": "The text.", "tagList": ["b", "a"]}


@pytest.fixture
def draft(call_grpc):
    """draft(account, title=...) -> a draft that could be published, as CreateDraft answers it"""

    def make(account, **changes):
        code, answer = call_grpc("posts", "CreateDraft", {"draft": {**WHOLE, **changes}}, account["token"])
        assert code == "OK", answer
        return answer["draft"]

    return make


def path_of(made):
    return f"/api/drafts/{made['id']}"


# ---- a draft's life ----


def test_create_get_list(both, call_http, new_account):
    account = new_account()
    _, answer, http = both("posts", "CreateDraft", {"draft": WHOLE}, account["token"],
                           ignore=("draft.id", "draft.createdAt", "draft.updatedAt"))
    made = http.json["draft"]
    assert set(made) == {"id", "title", "description", "body", "tagList", "createdAt", "updatedAt"}
    assert {name: made[name] for name in WHOLE} == {**WHOLE, "tagList": ["a", "b"]}
    assert made["createdAt"] == made["updatedAt"]
    _, _, got = both("posts", "GetDraft", {"id": made["id"]}, account["token"])
    assert got.json["draft"] == made and got.headers["ETag"] == http.headers["ETag"]
    _, _, listed = both("posts", "ListDrafts", {}, account["token"])
    assert [each["id"] for each in listed.json["drafts"]] == [made["id"], answer["draft"]["id"]]
    assert "body" not in listed.json["drafts"][0] and "nextPageToken" not in listed.json
    seen = call_http("GET", "/api/drafts", None, account["token"])
    assert call_http("GET", "/api/drafts", None, account["token"], {"If-None-Match": seen.headers["ETag"]}).status == 304


@pytest.mark.parametrize("fields", [{}, {"title": ""}, {"title": " ", "body": "\n"}, {"tagList": []}, {"body": "x"}])
def test_a_draft_may_be_unfinished(both, new_account, fields):
    account = new_account()
    _, _, http = both("posts", "CreateDraft", {"draft": fields}, account["token"],
                      ignore=("draft.id", "draft.createdAt", "draft.updatedAt"))
    made = http.json["draft"]
    empty = {"title": "", "description": "", "body": "", "tagList": []}
    assert {name: made[name] for name in empty} == {**empty, **fields}


@pytest.mark.parametrize("fields, faulty", [
    ({"title": "x" * 257}, "title"), ({"description": "x" * 1025}, "description"), ({"body": "x" * 262145}, "body"),
    ({"tagList": ["x"] * 33}, "tagList"), ({"tagList": [" "]}, "tagList"), ({"tagList": ["a\tb"]}, "tagList")])
def test_limits(both, draft, new_account, fields, faulty):
    account = new_account()
    made = draft(account)
    for name, request in (("CreateDraft", {"draft": fields}), ("UpdateDraft", {"id": made["id"], "draft": fields})):
        code, problem, http = both("posts", name, request, account["token"])
        assert code == "INVALID_ARGUMENT" and http.status == 422 and list(http.json["errors"]) == [faulty], (name, problem)
    assert both("posts", "CreateDraft", {}, account["token"])[2].status == 422


def test_change(both, call_http, draft, new_account):
    account = new_account()
    made = draft(account)

    def change(body, method="PUT"):
        answer = call_http(method, path_of(made), body, account["token"])
        assert answer.status == 200, answer.text
        assert call_http("GET", path_of(made), None, account["token"]).json == answer.json
        return {name: answer.json["draft"][name] for name in WHOLE}

    now = {**WHOLE, "tagList": ["a", "b"]}
    for changes in ({"title": "Another"}, {"body": ""}, {"description": "new", "tagList": ["z", "z"]}, {"tagList": []}, {}):
        now = {**now, **changes, "tagList": sorted(set(changes.get("tagList", now["tagList"])))}
        assert change({"draft": changes}) == now
    assert change({"draft": {"title": None}}, "PATCH") == {**now, "title": ""}
    assert change({"draft": {"title": "T", "body": "B"}, "updateMask": "body"}, "PATCH") == {**now, "title": "", "body": "B"}
    both("posts", "UpdateDraft", {"id": made["id"], "draft": {"title": "x"}, "updateMask": "nothing"}, account["token"])
    code, answer, _ = both("posts", "UpdateDraft", {"id": made["id"], "draft": {"title": "x"}}, account["token"],
                           ignore=("draft.updatedAt",))
    assert code == "OK" and answer["draft"]["updatedAt"] > made["updatedAt"] and answer["draft"]["createdAt"] == made["createdAt"]


def test_delete(both, call_http, draft, new_account):
    account = new_account()
    made = draft(account)
    assert call_http("DELETE", path_of(made), None, account["token"]).status == 204
    for name in ("GetDraft", "DeleteDraft", "PublishDraft"):
        code, problem, http = both("posts", name, {"id": made["id"]}, account["token"])
        assert code == "NOT_FOUND" and http.json["errors"] == {"draft": ["not found"]}


def test_pages(call_http, call_grpc, draft, new_account):
    account, other = new_account(), new_account()
    made = [draft(account)["id"] for _ in range(5)][::-1]
    draft(other)
    pages = list(follow(call_http, "/api/drafts?page_size=2", account["token"]))
    assert [[each["id"] for each in page.json["drafts"]] for page in pages] == [made[:2], made[2:4], made[4:]]
    token = pages[0].json["nextPageToken"]
    _, answer = call_grpc("posts", "ListDrafts", {"pageToken": token}, account["token"])
    assert [each["id"] for each in answer["drafts"]] == made[2:]
    assert call_http("GET", "/api/drafts?page_token=x", None, account["token"]).status == 422


# ---- who sees it ----


def test_only_the_author_sees_it(both, call_http, draft, new_account, unique):
    author, other = new_account(), new_account()
    word = unique("secret")
    made = draft(author, title=f"The {word}", body=word, tagList=[word])
    requests = {"GetDraft": {"id": made["id"]}, "UpdateDraft": {"id": made["id"], "draft": {"title": "mine"}},
                "DeleteDraft": {"id": made["id"]}, "PublishDraft": {"id": made["id"]}}
    for name, request in requests.items():
        code, problem, http = both("posts", name, request, other["token"])
        assert code == "NOT_FOUND" and http.json["errors"] == {"draft": ["not found"]}
        never = {**request, "id": 4294967295}
        assert both("posts", name, never, other["token"])[1].errors == problem.errors, "as if there were none"
        assert both("posts", name, request)[0] == "UNAUTHENTICATED"
    assert both("posts", "ListDrafts", {})[0] == "UNAUTHENTICATED"
    assert both("posts", "ListDrafts", {}, other["token"])[2].json["drafts"] == []
    assert call_http("GET", path_of(made), None, author["token"]).json["draft"] == made


def test_nothing_else_knows_of_it(call_http, draft, new_account, unique):
    author, fan = new_account(), new_account()
    word = unique("secret")
    call_http("POST", f"/api/profiles/{author['username']}/follow", None, fan["token"])
    draft(author, title=word, body=word, tagList=[word])
    time.sleep(1)  # longer than the search needs
    for account in (author, fan):
        token = account["token"]
        for path in (f"/api/articles?author={author['username']}", f"/api/articles?tag={word}", f"/api/articles?q={word}",
                     "/api/articles/feed"):
            answer = call_http("GET", path, None, token).json
            assert (answer["articles"], answer["articlesCount"]) == ([], 0), path
        assert word not in call_http("GET", "/api/articles?limit=100", None, token).text
        assert word not in call_http("GET", "/api/tags", None, token).text
        for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/favorite"), ("DELETE", "/favorite"),
                             ("GET", "/comments"), ("POST", "/comments")):
            body = {"article": {"body": "x"}} if method == "PUT" else {"comment": {"body": "x"}} if path == "/comments" else None
            assert call_http(method, f"/api/articles/{word}{path}", body if method != "GET" else None, token).status == 404


# ---- publishing ----


def test_publish(both, call_http, draft, new_account, publish, unique):
    account, reader = new_account(), new_account()
    made = {surface: draft(account, title=unique("Draft "), tagList=[unique("tag")]) for surface in ("grpc", "http")}
    first = publish(account)["slug"]
    time.sleep(0.01)
    ignored = [f"article.{name}" for name in ("slug", "title", "createdAt", "updatedAt", "tagList")]
    _, answer, http = both("posts", "PublishDraft", lambda surface: {"id": made[surface]["id"]}, account["token"],
                           ignore=ignored)
    article, was = http.json["article"], made["http"]
    assert {name: article[name] for name in WHOLE} == {name: was[name] for name in WHOLE}
    assert article["createdAt"] == article["updatedAt"] > was["createdAt"], "as old as its publication"
    got = call_http("GET", f"/api/articles/{article['slug']}", None, account["token"])
    assert got.json["article"] == article and got.headers["ETag"] == http.headers["ETag"]
    listed = call_http("GET", f"/api/articles?author={account['username']}").json
    assert [each["slug"] for each in listed["articles"]] == [article["slug"], answer["article"]["slug"], first]
    assert listed["articlesCount"] == 3
    assert call_http("GET", f"/api/articles?tag={was['tagList'][0]}").json["articlesCount"] == 1
    assert call_http("GET", path_of(was), None, account["token"]).status == 404
    assert call_http("POST", f"/api/articles/{article['slug']}/favorite", None, reader["token"]).status == 200
    wait_until(lambda: call_http("GET", f'/api/articles?q="{article["title"]}"').json["articlesCount"] == 1, "it is found")


@pytest.mark.parametrize("missing", [["title"], ["description", "body"], ["title", "description", "body"]])
@pytest.mark.parametrize("blank", [" ", "\u3000"])
def test_what_is_missing_is_said(both, call_http, draft, new_account, missing, blank):
    account = new_account()
    made = draft(account, **{name: blank for name in missing})
    code, problem, http = both("posts", "PublishDraft", {"id": made["id"]}, account["token"])
    assert code == "INVALID_ARGUMENT" and http.status == 422
    assert http.json["errors"] == {name: ["can't be blank"] for name in missing}
    assert call_http("GET", path_of(made), None, account["token"]).status == 200, "it is still there"
    assert call_http("GET", f"/api/articles?author={account['username']}").json["articlesCount"] == 0


def test_equal_titles(call_http, draft, new_account, unique):
    account, title = new_account(), unique("Same ")
    made = [draft(account, title=title) for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: call_http("POST", f"{path_of(each)}:publish", None, account["token"]), made))
    assert {answer.status for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.json["article"]["slug"] for answer in answers}) == 8


def test_a_draft_is_published_once(call_http, draft, new_account):
    account = new_account()
    made = draft(account)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: call_http("POST", f"{path_of(made)}:publish", None, account["token"]).status, range(8)))
    assert sorted(statuses) == [201] + [404] * 7
    assert call_http("GET", f"/api/articles?author={account['username']}").json["articlesCount"] == 1


# ---- conditions ----


@pytest.mark.parametrize("method, suffix, body", [("PUT", "", {"draft": {"body": "new"}}), ("PATCH", "", {"draft": {}}),
                                                  ("DELETE", "", None), ("POST", ":publish", None)])
def test_conditions_of_changes(call_http, draft, new_account, method, suffix, body):
    account = new_account()
    made = draft(account)
    stale = call_http("GET", path_of(made), None, account["token"]).headers["ETag"]
    fresh = call_http("PUT", path_of(made), {"draft": {"title": "Quicker"}}, account["token"]).headers["ETag"]
    assert stale != fresh == call_http("GET", path_of(made), None, account["token"]).headers["ETag"]
    for headers, status in (({"If-Match": stale}, 412), ({"If-Match": '"x"'}, 412), ({"If-None-Match": fresh}, 412),
                            ({"If-Match": "x"}, 400)):
        answer = call_http(method, path_of(made) + suffix, body, account["token"], headers)
        assert answer.status == status, answer.text
        assert status == 400 or answer.json["errors"] == {"draft": ["has been changed meanwhile"]}
        assert call_http("GET", path_of(made), None, account["token"]).json["draft"]["title"] == "Quicker"
    other = call_http(method, path_of(made) + suffix, body, new_account()["token"], {"If-Match": fresh})
    assert other.status == 404, "whose it is comes before its state"
    assert call_http(method, path_of(made) + suffix, body, account["token"], {"If-Match": fresh}).status in (200, 201, 204)


def test_what_has_not_changed_is_not_sent_again(call_http, draft, new_account):
    account = new_account()
    path = path_of(draft(account))
    seen = call_http("GET", path, None, account["token"]).headers["ETag"]
    assert call_http("GET", path, None, account["token"], {"If-None-Match": seen}).status == 304
    call_http("PUT", path, {"draft": {"body": "new"}}, account["token"])
    assert call_http("GET", path, None, account["token"], {"If-None-Match": seen}).status == 200


# ---- Idempotency-Key ----


def test_a_create_once(call_http, new_account, unique):
    account, key = new_account(), {"Idempotency-Key": unique("key")}
    first = call_http("POST", "/api/drafts", {"draft": WHOLE}, account["token"], key)
    call_http("PUT", path_of(first.json["draft"]), {"draft": {"body": "else"}}, account["token"])
    again = call_http("POST", "/api/drafts", {"draft": WHOLE}, account["token"], key)
    assert (again.status, again.json, again.headers["ETag"]) == (201, first.json, first.headers["ETag"])
    assert len(call_http("GET", "/api/drafts", None, account["token"]).json["drafts"]) == 1
    for path, body in (("/api/drafts", {"draft": {}}), ("/api/articles", {"article": WHOLE})):
        answer = call_http("POST", path, body, account["token"], key)
        assert answer.status == 422 and list(answer.json["errors"]) == ["idempotencyKey"]


def test_a_publication_is_answered_again(call_http, draft, new_account, unique):
    account, key = new_account(), {"Idempotency-Key": unique("key")}
    made = draft(account, title=unique("Once "))
    path = f"{path_of(made)}:publish"
    first = call_http("POST", path, None, account["token"], key)
    assert first.status == 201
    article = f"/api/articles/{first.json['article']['slug']}"

    def again():
        answer = call_http("POST", path, None, account["token"], key)
        assert (answer.status, answer.json, answer.headers["ETag"]) == (201, first.json, first.headers["ETag"])

    again()
    call_http("PUT", article, {"article": {"title": "else", "body": "else", "tagList": []}}, account["token"])
    again()
    call_http("PUT", "/api/user", {"user": {"bio": "somebody else"}}, account["token"])
    answer = call_http("POST", path, None, account["token"], key)
    assert answer.json["article"]["author"]["bio"] == "somebody else", "only the author is of today"
    assert answer.json["article"]["body"] == WHOLE["body"]
    other = draft(account)
    answer = call_http("POST", f"{path_of(other)}:publish", None, account["token"], key)
    assert answer.status == 422 and list(answer.json["errors"]) == ["idempotencyKey"]
    assert call_http("GET", path_of(other), None, account["token"]).status == 200
    assert call_http("POST", path, None, account["token"], {"Idempotency-Key": unique("key")}).status == 404
    assert call_http("POST", path, None, account["token"]).status == 404
    assert call_http("POST", path, None, new_account()["token"], key).status == 404, "a key is the account's own"


def test_a_publication_in_double(call_http, draft, new_account, unique):
    account, key = new_account(), {"Idempotency-Key": unique("key")}
    path = f"{path_of(draft(account))}:publish"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: call_http("POST", path, None, account["token"], key), range(8)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert call_http("GET", f"/api/articles?author={account['username']}").json["articlesCount"] == 1


# ---- accounts that are deleted ----


def test_a_deleted_account_leaves_no_draft(suite, call_http, draft, new_account):
    account = new_account()
    made = draft(account)
    assert call_http("DELETE", "/api/user", None, account["token"]).status == 204
    assert call_http("GET", path_of(made), None, account["token"]).status in (401, 404)
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_posts"))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM posts.drafts WHERE id = %s", (made["id"],))
        assert cursor.fetchone() == (0,)
