"""Entity tags of articles, comments, profiles, accounts and lists, and the conditions of reads and changes."""
import concurrent.futures

import pytest
from stoa_contract import PATIENCE_SECONDS


@pytest.fixture
def tag_over_grpc(suite, contract, call_grpc):
    """tag_over_grpc("GetArticle", {"slug": slug}, token): the metadata `etag` of a success."""

    def run(name, request, token=None, service="posts"):
        method = contract.method(service, name)
        call = call_grpc.channel(method).unary_unary(
            method.path, method.request.SerializeToString, method.response.FromString)
        _, answer = call.with_call(method.request(**request), timeout=PATIENCE_SECONDS, metadata=call_grpc.metadata(token))
        return dict(answer.initial_metadata())["etag"]

    return run


@pytest.fixture
def tag(call_http):
    """tag(path, token): what a GET of it says."""
    return lambda path, token=None: call_http("GET", path, None, token).headers["ETag"]


# ---- reads ----


def test_the_same_tag_over_grpc_and_http(tag, tag_over_grpc, new_account, publish):
    account = new_account()
    slug = publish(account)["slug"]
    for token in (None, account["token"]):
        assert tag(f"/api/articles/{slug}", token) == tag_over_grpc("GetArticle", {"slug": slug}, token)
        name = account["username"]
        assert tag(f"/api/profiles/{name}", token) == tag_over_grpc("GetProfile", {"username": name}, token)


def test_what_has_not_changed_is_not_sent_again(call_http, tag, new_account, publish):
    account = new_account()
    for path in (f"/api/articles/{publish(account)['slug']}", f"/api/profiles/{account['username']}"):
        seen = tag(path)
        assert seen == tag(path)
        for header in (seen, f"W/{seen}", f'"other", {seen}', "*"):
            answer = call_http("GET", path, headers={"If-None-Match": header})
            # Weak for who has only the tag of a compressed answer.
            known = f"W/{seen}" if header == f"W/{seen}" else seen
            assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", known)
        assert call_http("GET", path, headers={"If-None-Match": '"other"'}).status == 200
        assert call_http("GET", path, headers={"If-Match": '"other"'}).status == 412


def test_a_tag_follows_all_that_the_answer_shows(call_http, tag, new_account, publish):
    """Whatever a reader would see differently gives another tag, and its return gives the old one back."""
    author, reader = new_account(), new_account()
    path, profile = f"/api/articles/{publish(author)['slug']}", f"/api/profiles/{author['username']}"
    first = tag(path, reader["token"])
    for change in (f"{path}/favorite", f"{profile}/follow"):
        call_http("POST", change, None, reader["token"])
        assert tag(path, reader["token"]) != first
        call_http("DELETE", change, None, reader["token"])
        assert tag(path, reader["token"]) == first
    call_http("POST", f"{path}/favorite", None, author["token"])
    assert tag(path, reader["token"]) != first, "the count"
    anonymous = tag(profile)
    call_http("POST", f"{profile}/follow", None, reader["token"])
    assert tag(profile, reader["token"]) != anonymous == tag(profile)


def test_every_answer_with_an_article_has_its_tag(call_http, tag, new_account, publish):
    account = new_account()
    path, token = f"/api/articles/{publish(account)['slug']}", account["token"]
    body = {"article": {"title": "t", "description": "d", "body": "b"}}
    made = call_http("POST", "/api/articles", body, token)
    assert made.headers["ETag"] == tag(f"/api/articles/{made.json['article']['slug']}", token)
    for method, to, sent in (("PUT", path, {"article": {"body": "new"}}), ("POST", f"{path}/favorite", None),
                             ("DELETE", f"{path}/favorite", None)):
        assert call_http(method, to, sent, token).headers["ETag"] == tag(path, token)


@pytest.fixture
def lists(new_account, publish, call_http, unique):
    """(author, reader, {RPC: (path, request, token)}) of lists that show an article of the author's."""
    author, reader, tag = new_account(), new_account(), unique("tag")
    slug = publish(author, tagList=[tag])["slug"]
    call_http("POST", f"/api/profiles/{author['username']}/follow", None, reader["token"])
    return author, reader, {
        "ListArticles": (f"/api/articles?tag={tag}", {"tag": tag}, reader["token"]),
        "ListFeed": ("/api/articles/feed", {}, reader["token"]),
        "ListComments": (f"/api/articles/{slug}/comments", {"slug": slug}, reader["token"]),
        "ListTags": ("/api/tags", {}, None),
    }


LISTS = ["ListArticles", "ListFeed", "ListComments", "ListTags"]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_has_not_changed_is_not_sent_again(call_http, tag, tag_over_grpc, lists, name):
    path, request, token = lists[2][name]
    seen = tag(path, token)
    assert seen == tag(path, token) == tag_over_grpc(name, request, token)
    answer = call_http("GET", path, None, token, {"If-None-Match": seen})
    assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", seen)
    assert call_http("GET", path, None, token, {"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize("name", LISTS)
def test_the_tag_of_a_list_follows_what_it_shows(call_http, tag, lists, publish, unique, name):
    author, reader, each = lists
    path, _, token = each[name]
    slug = call_http("GET", each["ListArticles"][0]).json["articles"][0]["slug"]
    tags = [tag(path, token)]

    def changes(method, to, body=None, by=author):
        assert call_http(method, to, body, by["token"]).status in (200, 201)
        tags.append(tag(path, token))

    if name == "ListTags":
        publish(author, tagList=["!" + unique("tag")])  # among the first 1,000
        tags.append(tag(path, token))
    elif name == "ListComments":
        changes("POST", path, {"comment": {"body": "!"}})
    else:
        changes("POST", f"/api/articles/{slug}/favorite", by=reader)
        changes("PUT", f"/api/articles/{slug}", {"article": {"description": "new"}})
        before = tags[-1]
        changes("PUT", f"/api/articles/{slug}", {"article": {"body": "of which a list shows when"}})
        assert before != tags[-1], "updatedAt"
    if name != "ListTags":
        changes("PUT", "/api/user", {"user": {"bio": "somebody else now"}})
    assert len(set(tags)) == len(tags)


def test_pages_of_a_list_have_tags_of_their_own(call_http, new_account, publish):
    account = new_account()
    for _ in range(3):
        publish(account)
    path = f"/api/articles?author={account['username']}&page_size=1"
    first = call_http("GET", path)
    second = call_http("GET", f"{path}&page_token={first.json['nextPageToken']}")
    assert first.headers["ETag"] != second.headers["ETag"]
    again = call_http("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304 and again.headers["Link"] == first.headers["Link"]


# ---- changes ----

CHANGES = [("PUT", {"article": {"body": "new"}}), ("PATCH", {"article": {"body": "new"}}), ("DELETE", None)]


@pytest.mark.parametrize("method, body", CHANGES)
def test_a_stale_change_is_refused(call_http, tag, new_account, publish, method, body):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}"
    stale = tag(path)
    call_http("PUT", path, {"article": {"body": "somebody was quicker"}}, account["token"])
    answer = call_http(method, path, body, account["token"], {"If-Match": stale})
    assert answer.status == 412 and answer.json["errors"] == {"article": ["has been changed meanwhile"]}
    assert answer.json["reason"] == "ETAG_MISMATCH"
    assert call_http("GET", path).json["article"]["body"] == "somebody was quicker", "nothing is lost"
    fresh = tag(path)
    assert call_http(method, path, body, account["token"], {"If-Match": f'"x", {fresh}'}).status in (200, 204)


@pytest.mark.parametrize("method, body", CHANGES)
def test_conditions_of_changes(call_http, tag, new_account, publish, method, body):
    account = new_account()

    def change(headers, expected):
        path = f"/api/articles/{publish(account)['slug']}"
        headers = {name: value.format(tag=tag(path)) for name, value in headers.items()}
        assert call_http(method, path, body, account["token"], headers).status == expected

    done = 204 if method == "DELETE" else 200
    change({"If-Match": "*"}, done)
    change({"If-Match": "W/{tag}"}, done)  # compression weakens tags
    change({"If-Match": '"other"'}, 412)
    change({"If-None-Match": "*"}, 412)
    change({"If-None-Match": "{tag}"}, 412)
    change({"If-None-Match": '"other"'}, done)
    change({"If-Match": "{tag}", "If-None-Match": "{tag}"}, 412)
    change({"If-Match": "tag without quotes"}, 400)


@pytest.mark.parametrize("method, body", CHANGES)
def test_a_favourite_does_not_stop_an_edit(call_http, tag, new_account, publish, method, body):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}"
    seen = tag(path, account["token"])
    call_http("POST", f"{path}/favorite", None, new_account()["token"])
    assert call_http(method, path, body, account["token"], {"If-Match": seen}).status in (200, 204)


def test_whose_it_is_comes_before_its_state(call_http, new_account, publish, unique):
    path, headers = f"/api/articles/{publish(new_account())['slug']}", {"If-Match": '"other"'}
    assert call_http("DELETE", path, None, None, headers).status == 401
    assert call_http("DELETE", path, None, new_account()["token"], headers).status == 403
    assert call_http("DELETE", f"/api/articles/{unique('none')}", None, new_account()["token"], headers).status == 404


def test_of_changes_at_once_one_wins(call_http, tag, new_account, publish):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}"
    seen = {"If-Match": tag(path)}

    def change(i):
        return i, call_http("PUT", path, {"article": {"body": f"by {i}"}}, account["token"], seen).status

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        outcomes = dict(pool.map(change, range(20)))
    winners = [i for i, status in outcomes.items() if status == 200]
    assert len(winners) == 1 and set(outcomes.values()) == {200, 412}
    assert call_http("GET", path).json["article"]["body"] == f"by {winners[0]}"


def test_a_damaged_condition_over_grpc(call_grpc, new_account, publish):
    account = new_account()
    slug = publish(account)["slug"]
    for name, request in (("UpdateArticle", {"slug": slug, "article": {"body": "b"}}), ("DeleteArticle", {"slug": slug}),
                          ("DeleteComment", {"slug": slug, "id": 1}), ("UpdateDraft", {"id": 1, "draft": {"body": "b"}}),
                          ("DeleteDraft", {"id": 1}), ("PublishDraft", {"id": 1})):
        code, problem = call_grpc("posts", name, request, account["token"], metadata=(("if-match", "x"),))
        assert code == "INVALID_ARGUMENT" and problem.reason == "INVALID_CONDITION"


def test_a_comment_is_deleted_by_its_tag(call_http, new_account, publish):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}/comments"
    made, other = (call_http("POST", path, {"comment": {"body": "!"}}, account["token"]) for _ in range(2))
    one = f"{path}/{made.json['comment']['id']}"
    answer = call_http("DELETE", one, None, account["token"], {"If-Match": other.headers["ETag"]})
    assert answer.status == 412 and answer.json["errors"] == {"comment": ["has been changed meanwhile"]}
    assert len(call_http("GET", path).json["comments"]) == 2
    assert call_http("DELETE", one, None, new_account()["token"], {"If-Match": '"x"'}).status == 403
    assert call_http("DELETE", one, None, account["token"], {"If-Match": made.headers["ETag"]}).status == 204
    assert call_http("DELETE", one, None, account["token"], {"If-Match": made.headers["ETag"]}).status == 404


def test_the_tag_of_a_comment_follows_its_author(call_http, new_account, publish):
    account, key = new_account(), {"Idempotency-Key": "k"}
    path = f"/api/articles/{publish(account)['slug']}/comments"
    make = lambda: call_http("POST", path, {"comment": {"body": "!"}}, account["token"], key)
    first = make()
    call_http("PUT", "/api/user", {"user": {"bio": "somebody else now"}}, account["token"])
    again = make()
    assert first.json != again.json and first.headers["ETag"] != again.headers["ETag"]


# ---- accounts ----


def test_what_auth_shows_has_a_tag(call_http, tag, new_account, sign_in):
    account = new_account()
    for path in ("/api/user", "/api/sessions", "/.well-known/jwks.json"):
        seen = tag(path, account["token"])
        answer = call_http("GET", path, None, account["token"], {"If-None-Match": seen})
        assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", seen), path
    before = tag("/api/sessions", account["token"])
    sign_in(account)
    assert tag("/api/sessions", account["token"]) != before


def test_the_tag_of_an_account_follows_its_token(call_http, tag_over_grpc, new_account, sign_in):
    """A browser that has kept the answer asks with its tag, and the page takes the token of the answer as its own: of the
    session before, it may have expired."""
    account = new_account()
    kept = call_http("GET", "/api/user", None, account["token"]).headers["ETag"]
    token = sign_in(account)["token"]
    again = call_http("GET", "/api/user", None, token, {"If-None-Match": kept})
    assert again.status == 200 and again.json["user"]["token"] == token
    assert tag_over_grpc("GetCurrentUser", {}, account["token"], "auth") == kept
    assert tag_over_grpc("GetCurrentUser", {}, token, "auth") == again.headers["ETag"]
    # It is the same account: a change may name what another session has seen.
    assert call_http("PUT", "/api/user", {"user": {"bio": "b"}}, token, {"If-Match": kept}).status == 200
    assert call_http("PUT", "/api/user", {"user": {"bio": "c"}}, token, {"If-Match": kept}).status == 412


def test_the_tag_of_an_account_follows_it(call_http, tag, new_account, unique):
    account, name = new_account(), unique("tagged")
    tags = [tag("/api/user", account["token"])]
    for changes in ({"bio": "b"}, {"image": "b"}, {"username": name}, {"email": f"{name}@example.org"}, {"bio": None}):
        answer = call_http("PATCH", "/api/user", {"user": changes}, account["token"], {"If-Match": tags[-1]})
        assert answer.status == 200 and answer.headers["ETag"] == tag("/api/user", account["token"])
        tags.append(answer.headers["ETag"])
    assert len(set(tags)) == len(tags)


ACCOUNT_CHANGES = [("PUT", {"user": {"bio": "new"}}), ("PATCH", {"user": {"bio": "new"}}), ("DELETE", {})]


@pytest.mark.parametrize("method, body", ACCOUNT_CHANGES)
def test_a_stale_change_of_an_account_is_refused(call_http, tag, new_account, method, body):
    account = new_account()
    stale = tag("/api/user", account["token"])
    call_http("PUT", "/api/user", {"user": {"bio": "somebody was quicker"}}, account["token"])
    change = lambda condition: call_http(method, "/api/user", body, account["token"], {"If-Match": condition})
    answer = change(stale)
    assert answer.status == 412 and answer.json["errors"] == {"account": ["has been changed meanwhile"]}
    assert change('"other"').status == 412 and change("no tag").status == 400
    assert call_http("GET", "/api/user", None, account["token"]).json["user"]["bio"] == "somebody was quicker"
    fresh = tag("/api/user", account["token"])
    assert change(f'"x", {fresh}').status in (200, 204)


def test_of_changes_of_an_account_at_once_one_wins(call_http, tag, new_account):
    account = new_account()
    seen = {"If-Match": tag("/api/user", account["token"])}
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda i: call_http("PATCH", "/api/user", {"user": {"bio": f"by {i}"}}, account["token"],
                                                     seen).status, range(20)))
    assert sorted(statuses) == [200] + [412] * 19


def test_a_stale_password_change_ends_no_session(call_http, call_grpc, new_account, sign_in):
    account = new_account()
    other = sign_in(account)["token"]
    body = {"user": {"password": "another password"}}
    assert call_http("PUT", "/api/user", body, account["token"], {"If-Match": '"other"'}).status == 412
    assert call_grpc("auth", "GetCurrentUser", {}, other)[0] == "OK"
    assert call_grpc("auth", "Login", {"user": {"email": account["email"], "password": "another password"}})[0] == "UNAUTHENTICATED"


def test_a_damaged_condition_of_an_account_over_grpc(call_grpc, new_account):
    token = new_account()["token"]
    for name, request in (("UpdateCurrentUser", {"user": {"bio": "b"}}), ("DeleteCurrentUser", {})):
        code, problem = call_grpc("auth", name, request, token, metadata=(("if-match", "x"),))
        assert code == "INVALID_ARGUMENT" and problem.reason == "INVALID_CONDITION"
