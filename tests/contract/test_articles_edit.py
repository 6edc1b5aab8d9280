"""Articles: change and delete."""
import concurrent.futures

import pytest

BLANK = ["can't be blank"]
# What two articles that were made alike do not share.
OWN = tuple(f"article.{name}" for name in ("slug", "title", "createdAt", "updatedAt"))


@pytest.fixture
def edit(both, publish):
    """edit(account, before, changes): publishes an article for each surface, changes it, and returns the one of HTTP
    before, and both answers. Over gRPC it names what changes; over HTTP the gateway does that."""

    def run(account, before, changes, route=0):
        made = {surface: publish(account, **before) for surface in ("grpc", "http")}

        def request(surface):
            mask = {"updateMask": ",".join(changes)} if surface == "grpc" else {}
            return {"slug": made[surface]["slug"], "article": changes, **mask}

        answers = both("posts", "UpdateArticle", request, account["token"], ignore=OWN, route=route)
        return made["http"], *answers

    return run


# ---- UpdateArticle ----

CHANGES = {
    "title": {"title": "Another title"},
    "description": {"description": "Another description"},
    "body": {"body": "Another\r\nbody"},
    "tags": {"tagList": ["new", "b", "new"]},
    "no tags": {"tagList": []},
    "all": {"title": "All is new", "description": "d", "body": "b", "tagList": ["z"]},
    "nothing": {},
}


@pytest.mark.parametrize("route", [0, 1], ids=["put", "patch"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_only_what_is_given_changes(edit, new_account, changes, route):
    before, code, _, http = edit(new_account(), {"tagList": ["a", "b"]}, changes, route)
    assert code == "OK" and http.status == 200
    after, expected = http.json["article"], {**before, **changes}
    expected["tagList"] = sorted(set(expected["tagList"]))
    for name in ("title", "description", "body", "tagList", "createdAt", "favorited", "favoritesCount", "author"):
        # HTTP prints longer fractions than gRPC.
        assert after[name].startswith(before[name][:-1]) if name == "createdAt" else \
            {**after, "author": after["author"]["username"]}[name] == {
                **expected, "author": expected["author"]["username"]}[name]
    assert after["updatedAt"][:-1] > before["updatedAt"][:-1], "every PUT moves it"
    assert (after["slug"] != before["slug"]) == ("title" in changes), "a changed title changes it, and nothing else does"


def test_what_was_changed_is_what_is_read(both, call_http, new_account, publish, unique):
    account, title = new_account(), unique("Now this ")
    made = publish(account, tagList=["x"])
    changed = call_http("PUT", f"/api/articles/{made['slug']}", {"article": {"title": title, "tagList": ["y"]}},
                        account["token"]).json
    assert changed["article"]["slug"] == title.lower().replace(" ", "-")
    _, _, read = both("posts", "GetArticle", {"slug": changed["article"]["slug"]}, account["token"])
    assert read.json == changed
    assert both("posts", "GetArticle", {"slug": made["slug"]})[2].status == 404, "its old name is gone"


def test_the_same_title_keeps_the_slug(call_http, new_account, publish, unique):
    account, title = new_account(), unique("Twice ")
    publish(account, title=title)
    second = publish(account, title=title)
    answer = call_http("PUT", f"/api/articles/{second['slug']}", {"article": {"title": title}}, account["token"])
    assert answer.json["article"]["slug"] == second["slug"]


def test_a_slug_is_free_for_its_own_article(call_http, new_account, publish, unique):
    account, title = new_account(), unique("Spelling ")
    path = f"/api/articles/{publish(account, title=title)['slug']}"
    answer = call_http("PUT", path, {"article": {"title": f"{title.upper()}!"}}, account["token"])
    assert answer.status == 200 and f"/api/articles/{answer.json['article']['slug']}" == path


def test_a_title_that_is_taken_gives_another_slug(call_http, new_account, publish, unique):
    account, title = new_account(), unique("Taken ")
    first, second = publish(account, title=title), publish(account)
    answer = call_http("PUT", f"/api/articles/{second['slug']}", {"article": {"title": title}}, account["token"])
    assert answer.status == 200 and answer.json["article"]["title"] == title
    assert answer.json["article"]["slug"].startswith(first["slug"] + "-")


def test_equal_titles_at_once_get_different_slugs(call_http, new_account, publish, unique):
    account, title = new_account(), unique("Race ")
    made = [publish(account)["slug"] for _ in range(12)]

    def rename(slug):
        return call_http("PUT", f"/api/articles/{slug}", {"article": {"title": title}}, account["token"])

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(rename, made))
    assert [answer.status for answer in answers] == [200] * 12, [answer.text for answer in answers]
    assert len({answer.json["article"]["slug"] for answer in answers}) == 12


@pytest.mark.parametrize("field", ["title", "description", "body"])
@pytest.mark.parametrize("value", ["", " \t\n", None])
def test_what_is_given_cannot_be_blank(both, new_account, publish, field, value):
    account = new_account()
    made = publish(account)

    def request(surface):
        mask = {"updateMask": field} if surface == "grpc" else {}
        return {"slug": made["slug"], "article": {field: value}, **mask}

    _, problem, http = both("posts", "UpdateArticle", request, account["token"])
    assert http.status == 422 and http.json["errors"] == {field: BLANK}
    assert problem.fields == [f"article.{field}"]
    assert both("posts", "GetArticle", {"slug": made["slug"]})[1]["article"] == made, "nothing has changed"


def test_all_that_is_null_is_told(call_http, new_account, publish):
    account = new_account()
    answer = call_http("PUT", f"/api/articles/{publish(account)['slug']}",
                       {"article": {"title": None, "description": None, "body": None}}, account["token"])
    assert answer.status == 422 and answer.json["errors"] == dict.fromkeys(("title", "description", "body"), BLANK)


def test_tags_cannot_be_null(call_http, new_account, publish):
    account = new_account()
    made = publish(account, tagList=["a"])
    answer = call_http("PUT", f"/api/articles/{made['slug']}", {"article": {"tagList": None}}, account["token"])
    assert answer.status == 422 and answer.json["errors"] == {"tagList": ["can't be null"]}
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert call_http("GET", f"/api/articles/{made['slug']}").json["article"]["tagList"] == ["a"]


@pytest.mark.parametrize("field, limit", [("title", 256), ("description", 1024), ("body", 262144)])
def test_limits(edit, both, new_account, publish, field, limit):
    account = new_account()
    assert edit(account, {}, {field: "é" * limit})[1] == "OK"
    request = {"slug": publish(account)["slug"], "article": {field: "é" * (limit + 1)}}
    _, _, http = both("posts", "UpdateArticle", request, account["token"])
    assert http.json["errors"] == {field: [f"is too long (maximum is {limit} characters)"]}


@pytest.mark.parametrize("body, key", [
    ('{"article": {"title": 5}}', "body"),
    ('{"article": {"tagList": "x"}}', "body"),
    ('{"article": []}', "body"),
    ("{", "body"),
    ("", "article"),
    ("{}", "article"),
    ('{"article": null}', "article"),
])
def test_bodies_that_say_nothing(call_http, new_account, publish, body, key):
    account = new_account()
    answer = call_http("PUT", f"/api/articles/{publish(account)['slug']}", body.encode(), account["token"],
                       {"Content-Type": "application/json"})
    assert answer.status == (400 if key == "body" else 422) and list(answer.json["errors"]) == [key]


def test_a_mask_says_what_counts(both, call_grpc, new_account, publish):
    account = new_account()

    def update(changes, **more):
        slug = publish(account, tagList=["a"])["slug"]
        return call_grpc("posts", "UpdateArticle", {"slug": slug, "article": changes, **more}, account["token"])

    # Without one, what is set (AIP-134).
    assert update({"body": "new"})[1]["article"]["body"] == "new"
    assert update({"tagList": []})[1]["article"]["tagList"] == ["a"]
    assert update({"tagList": []}, updateMask="tagList")[1]["article"]["tagList"] == []
    # What it does not name is left alone, whatever the article says.
    changed = update({"body": "new", "description": "new"}, updateMask="description")[1]["article"]
    assert (changed["body"], changed["description"]) == ("The text.", "new")
    code, problem = update({"body": "new"}, updateMask="author")
    assert code == "INVALID_ARGUMENT" and problem.fields == ["update_mask"]
    code, problem = update({"title": "t", "body": "b"}, updateMask="*")
    assert problem.fields == ["article.description"], "all of it, and then nothing may be missing"
    code, answer = update({"title": "t", "description": "d", "body": "b"}, updateMask="*")
    assert code == "OK" and answer["article"]["tagList"] == []


def test_a_mask_over_http(call_http, new_account, publish):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}"
    answer = call_http("PATCH", path, {"article": {"body": "x", "description": "y"}, "updateMask": "body"}, account["token"])
    assert answer.json["article"]["body"] == "x" and answer.json["article"]["description"] == "About it"
    answer = call_http("PATCH", path, {"article": {"title": "t", "body": "b"}, "updateMask": "*"}, account["token"])
    assert answer.status == 422 and answer.json["errors"] == {"description": ["can't be blank"]}, answer.text
    answer = call_http("PATCH", path, {"article": {"title": "t", "body": "b", "description": "d"}, "updateMask": "*"}, account["token"])
    assert answer.status == 200 and answer.json["article"]["tagList"] == []


def test_tags_move_in_lists_and_counts(call_http, new_account, publish, unique):
    account, old, new = new_account(), unique("old"), unique("new")
    made = publish(account, tagList=[old, "stays"])
    call_http("PUT", f"/api/articles/{made['slug']}", {"article": {"tagList": [new, "stays"]}}, account["token"])
    assert call_http("GET", f"/api/articles?tag={old}").json == {"articles": [], "articlesCount": 0}
    found = call_http("GET", f"/api/articles?tag={new}").json
    assert [each["slug"] for each in found["articles"]] == [made["slug"]] and found["articlesCount"] == 1


def test_changes_at_once_are_all_counted(call_http, new_account, publish, unique):
    """Tags, and what counts them, stay exact however changes of one article meet."""
    account = new_account()
    tags = [unique("tag") for _ in range(6)]
    path = f"/api/articles/{publish(account)['slug']}"

    def change(i):
        chosen = [tag for bit, tag in enumerate(tags) if i * 7 >> bit & 1]
        return call_http("PUT", path, {"article": {"tagList": chosen}}, account["token"]).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(change, range(40))) == {200}
    left = call_http("GET", path).json["article"]["tagList"]
    for tag in tags:
        found = call_http("GET", f"/api/articles?tag={tag}").json
        assert (len(found["articles"]), found["articlesCount"]) == ((1, 1) if tag in left else (0, 0))


# ---- whose it is ----


@pytest.mark.parametrize("method", ["UpdateArticle", "DeleteArticle"])
def test_only_ones_own(both, new_account, publish, method):
    made = publish(new_account())
    request = {"slug": made["slug"], **({"article": {"body": "mine"}} if method == "UpdateArticle" else {})}
    _, problem, http = both("posts", method, request, new_account()["token"])
    assert http.status == 403 and http.json["errors"] == {"article": ["forbidden"]} and problem.reason == "FORBIDDEN"
    assert both("posts", "GetArticle", {"slug": made["slug"]})[1]["article"] == made


@pytest.mark.parametrize("method", ["UpdateArticle", "DeleteArticle"])
def test_no_such_article(both, new_account, unique, method):
    request = {"slug": unique("none"), **({"article": {"body": "b"}} if method == "UpdateArticle" else {})}
    _, _, http = both("posts", method, request, new_account()["token"])
    assert http.status == 404 and http.json["errors"] == {"article": ["not found"]}
    # Who has no token does not even learn that.
    _, _, http = both("posts", method, request)
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}


# ---- DeleteArticle ----


def test_delete(both, call_http, new_account, publish, unique):
    account, fan, tag = new_account(), new_account(), unique("tag")
    made = {surface: publish(account, tagList=[tag])["slug"] for surface in ("grpc", "http")}
    for slug in made.values():
        assert call_http("POST", f"/api/articles/{slug}/favorite", None, fan["token"]).status == 200
        assert call_http("POST", f"/api/articles/{slug}/comments", {"comment": {"body": "!"}}, fan["token"]).status == 201
    code, _, http = both("posts", "DeleteArticle", lambda surface: {"slug": made[surface]}, account["token"])
    assert code == "OK" and http.status == 204
    for slug in made.values():
        assert call_http("GET", f"/api/articles/{slug}").status == 404
        assert call_http("GET", f"/api/articles/{slug}/comments").status == 404
        assert call_http("DELETE", f"/api/articles/{slug}", None, account["token"]).status == 404
    for filter in (f"tag={tag}", f"author={account['username']}", f"favorited={fan['username']}"):
        assert call_http("GET", f"/api/articles?{filter}").json == {"articles": [], "articlesCount": 0}


def test_an_author_may_like_what_they_delete(call_http, new_account, publish):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}"
    call_http("POST", f"{path}/favorite", None, account["token"])
    assert call_http("DELETE", path, None, account["token"]).status == 204
    assert call_http("GET", f"/api/articles?favorited={account['username']}").json["articlesCount"] == 0
