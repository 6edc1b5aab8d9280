"""Revisions: what an article was before it was changed. For its author alone."""


def change(call_http, account, slug, **fields):
    answer = call_http("PUT", f"/api/articles/{slug}", {"article": fields}, account["token"])
    assert answer.status == 200, answer.text
    return answer.json["article"]


def test_each_change_leaves_one(both, call_http, new_account, publish, unique):
    account = new_account()
    first = publish(account, tagList=["b", "a"])
    second = change(call_http, account, first["slug"], body="Another.", tagList=["c"])
    third = change(call_http, account, first["slug"], title=unique("New "))
    slug = third["slug"]
    assert slug != first["slug"]
    _, _, http = both("posts", "ListRevisions", {"slug": slug}, account["token"])
    listed = http.json["revisions"]
    assert [each["number"] for each in listed] == [2, 1] and not any("body" in each for each in listed)
    for number, was in ((1, first), (2, second)):
        _, _, http = both("posts", "GetRevision", {"slug": slug, "number": number}, account["token"])
        revision = http.json["revision"]
        assert {name: revision[name] for name in ("title", "description", "body", "tagList")} == {
            name: was[name] for name in ("title", "description", "body", "tagList")}
        # HTTP prints longer fractions than gRPC.
        assert revision["createdAt"].startswith(was["updatedAt"][:-1])
        assert {**listed[2 - number], "body": was["body"]} == revision


def test_what_is_no_change_leaves_none(call_http, new_account, publish):
    account, reader = new_account(), new_account()
    article = publish(account)
    path = f"/api/articles/{article['slug']}"
    change(call_http, account, article["slug"])
    change(call_http, account, article["slug"], title=article["title"], body=article["body"])
    assert call_http("POST", f"{path}/favorite", None, reader["token"]).status == 200
    assert call_http("PUT", path, {"article": {"body": "x"}}, account["token"], {"If-Match": '"x"'}).status == 412
    assert call_http("GET", f"{path}/revisions", None, account["token"]).json == {"revisions": []}


def test_the_last_twenty_are_kept(call_http, new_account, publish):
    account = new_account()
    slug = publish(account, body="0")["slug"]
    for i in range(1, 24):
        change(call_http, account, slug, body=str(i))
    path = f"/api/articles/{slug}/revisions"
    listed = call_http("GET", path, None, account["token"]).json["revisions"]
    assert [each["number"] for each in listed] == list(range(23, 3, -1))
    assert call_http("GET", f"{path}/4", None, account["token"]).json["revision"]["body"] == "3"
    assert call_http("GET", f"{path}/3", None, account["token"]).status == 404


def test_who_sees_them(both, call_http, new_account, publish, unique):
    author, other = new_account(), new_account()
    slug = publish(author)["slug"]
    change(call_http, author, slug, body="else")
    for name, more in (("ListRevisions", {}), ("GetRevision", {"number": 1})):
        assert both("posts", name, {"slug": slug, **more})[0] == "UNAUTHENTICATED"
        code, _, http = both("posts", name, {"slug": slug, **more}, other["token"])
        assert code == "PERMISSION_DENIED" and http.json["errors"] == {"article": ["forbidden"]}
        code, _, http = both("posts", name, {"slug": unique("none"), **more}, author["token"])
        assert code == "NOT_FOUND" and http.json["errors"] == {"article": ["not found"]}
    code, _, http = both("posts", "GetRevision", {"slug": slug, "number": 2}, author["token"])
    assert code == "NOT_FOUND" and http.json["errors"] == {"revision": ["not found"]}
    for number in ("0", "-1", "x", "2147483648"):
        assert call_http("GET", f"/api/articles/{slug}/revisions/{number}", None, author["token"]).status == 422


def test_tags_and_deletion(call_http, new_account, publish):
    account = new_account()
    slug = publish(account)["slug"]
    change(call_http, account, slug, body="else")
    for path in (f"/api/articles/{slug}/revisions", f"/api/articles/{slug}/revisions/1"):
        tag = call_http("GET", path, None, account["token"]).headers["ETag"]
        assert call_http("GET", path, None, account["token"], {"If-None-Match": tag}).status == 304
    assert call_http("DELETE", f"/api/articles/{slug}", None, account["token"]).status == 204
    assert call_http("GET", f"/api/articles/{slug}/revisions", None, account["token"]).status == 404
