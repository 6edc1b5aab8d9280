"""Articles: publish, read, list."""
import concurrent.futures
import re

import pytest

BLANK = ["can't be blank"]
AUTHOR = ("article.slug", "article.createdAt", "article.updatedAt", "article.title")


def article(unique, **changes):
    """A CreateArticle request for `both`: a fresh title each time it is made."""

    def request(surface):
        fields = {"title": unique(f"Title {surface} "), "description": "About it", "body": "The text.", "tagList": []}
        return {"article": {**fields, **changes}}

    return request


# ---- CreateArticle ----


def test_publish(both, new_account, unique):
    account = new_account()
    tags = ["zebra", "apple", "zebra", "mango"]
    code, _, http = both("posts", "CreateArticle", article(unique, tagList=tags), account["token"], ignore=AUTHOR)
    assert code == "OK" and http.status == 201
    made = http.json["article"]
    assert sorted(made) == sorted(
        "slug title description body tagList createdAt updatedAt favorited favoritesCount author".split()
    )
    assert made["tagList"] == ["apple", "mango", "zebra"]
    assert made["favorited"] is False and made["favoritesCount"] == 0
    assert made["author"] == {"username": account["username"], "bio": None, "image": None, "following": False}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z", made["createdAt"])
    assert made["createdAt"] == made["updatedAt"]


def test_publish_needs_a_token(both, unique):
    code, problem, http = both("posts", "CreateArticle", article(unique))
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}


def test_token_is_asked_for_before_anything_is_looked_at(both):
    _, _, http = both("posts", "CreateArticle", {"article": {"title": ""}})
    assert http.status == 401


@pytest.mark.parametrize("field", ["title", "description", "body"])
@pytest.mark.parametrize("value", ["", " \t\n", None])
def test_blank_fields(both, new_account, unique, field, value):
    _, problem, http = both("posts", "CreateArticle", article(unique, **{field: value}), new_account()["token"])
    assert http.status == 422 and http.json["errors"] == {field: BLANK}
    assert problem.fields == [f"article.{field}"]


@pytest.mark.parametrize("field, limit", [("title", 256), ("description", 1024), ("body", 262144)])
def test_limits(both, new_account, unique, field, limit):
    token = new_account()["token"]
    # Characters count, not bytes.
    code, _, _ = both("posts", "CreateArticle", article(unique, **{field: "é" * limit}), token, ignore=AUTHOR)
    assert code == "OK"
    _, _, http = both("posts", "CreateArticle", article(unique, **{field: "é" * (limit + 1)}), token)
    assert http.status == 422
    assert http.json["errors"] == {field: [f"is too long (maximum is {limit} characters)"]}


def test_too_many_tags(both, new_account, unique):
    tags = [f"tag{i}" for i in range(33)]
    _, _, http = both("posts", "CreateArticle", article(unique, tagList=tags), new_account()["token"])
    assert http.status == 422 and list(http.json["errors"]) == ["tagList"]


def test_bad_tag_is_named_by_its_place(both, new_account, unique):
    _, problem, http = both("posts", "CreateArticle", article(unique, tagList=["ok", " "]), new_account()["token"])
    assert problem.fields == ["article.tag_list[1]"] and http.json["errors"] == {"tagList": BLANK}


def test_equal_titles_get_different_slugs(new_account, publish, unique):
    account, title = new_account(), unique("The Same, Title! ")
    slugs = [publish(account, title=title)["slug"] for _ in range(3)]
    assert len(set(slugs)) == 3
    assert slugs[0] == title.lower().replace(", ", "-").replace("! ", "-").replace(" ", "-")
    assert all(slug.startswith(slugs[0]) for slug in slugs)


def test_many_at_once_are_each_their_own(new_account, publish, unique, call_http):
    """Creates that come while others commit go together: nobody gets somebody else's article."""
    accounts, tag, same = [new_account() for _ in range(4)], unique("t"), unique("Same ")
    titles = [same if i % 5 == 0 else f"{same} {i}" for i in range(200)]

    def create(i):
        tags = sorted([tag, f"{tag}-{i % 7}"])
        made = publish(accounts[i % 4], title=titles[i], body=f"Body {i}", tagList=tags)
        assert made["title"] == titles[i] and made["tagList"] == tags and made["body"] == f"Body {i}"
        assert made["author"]["username"] == accounts[i % 4]["username"]
        return made["slug"]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        slugs = list(pool.map(create, range(200)))
    assert len(set(slugs)) == 200
    for i in range(0, 200, 13):
        read = call_http("GET", f"/api/articles/{slugs[i]}").json["article"]
        assert read["body"] == f"Body {i}" and read["author"]["username"] == accounts[i % 4]["username"]
    counts = {f"tag={tag}": 200, f"tag={tag}-3": 29, **{f"author={account['username']}": 50 for account in accounts}}
    for filter, count in counts.items():
        assert call_http("GET", f"/api/articles?limit=1&{filter}").json["articlesCount"] == count


def test_reads_at_once_are_each_their_own(new_account, publish, unique, call_http, call_grpc):
    """Reads that come while another is on its way go together: nobody gets somebody else's article, or what is somebody
    else's of it, and everybody sees what they have just done."""
    author, fan, other = (new_account() for _ in range(3))
    slugs = [publish(author, title=unique("Shared "), body=f"Body {i}")["slug"] for i in range(8)]
    call_http("POST", f"/api/profiles/{author['username']}/follow", token=fan["token"])
    call_http("POST", f"/api/articles/{slugs[3]}/favorite", token=fan["token"])
    own = [publish(other, title=unique("Mine "))["slug"] for _ in range(8)]

    def read(i):
        reader = (None, fan, other)[i % 3]
        slug = unique("nothing-") if i % 9 == 8 else slugs[i % 8]
        code, answer = call_grpc("posts", "GetArticle", {"slug": slug}, reader and reader["token"])
        if i % 9 == 8:
            assert code == "NOT_FOUND"
            return
        assert code == "OK" and answer["article"]["slug"] == slug and answer["article"]["body"] == f"Body {i % 8}"
        assert answer["article"].get("favorited", False) == (reader is fan and i % 8 == 3)
        assert answer["article"]["author"].get("following", False) == (reader is fan)

    def change(i):
        for n in range(5):
            body = f"Changed {i} {n}"
            call_http("PUT", f"/api/articles/{own[i]}", {"article": {"body": body}}, other["token"])
            assert call_http("GET", f"/api/articles/{own[i]}").json["article"]["body"] == body

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        changes = [pool.submit(change, i) for i in range(8)]
        list(pool.map(read, range(600)))
        for each in changes:
            each.result()


def test_equal_lists_at_once_are_each_their_own(new_account, publish, unique, call_http, call_grpc):
    """Equal lists that come while one is on its way are read once: only for the same caller, list, page and form of it,
    and never from before the call."""
    author, fan, tag = new_account(), new_account(), unique("t")
    slugs = [publish(author, title=unique("Listed "), tagList=[tag])["slug"] for _ in range(12)]
    call_http("POST", f"/api/articles/{slugs[0]}/favorite", token=fan["token"])
    call_http("POST", f"/api/profiles/{author['username']}/follow", token=fan["token"])
    lists = [("ListArticles", request, who) for who in (None, fan, author) for request in (
        {"tag": tag, "limit": 5}, {"author": author["username"], "limit": 5}, {"tag": tag, "limit": 5, "offset": 5},
        {"tag": tag, "pageSize": 4}, {"author": author["username"], "pageSize": 5})]
    lists += [("ListFeed", request, who) for who in (fan, author) for request in ({"limit": 5}, {"pageSize": 4})]
    expected = [call_grpc("posts", method, request, who and who["token"]) for method, request, who in lists]
    assert [each[0] for each in expected] == ["OK"] * len(lists)
    assert sum("nextPageToken" in answer for _, answer in expected) == 7
    mine = unique("mine")

    def read(i):
        method, request, who = lists[i % len(lists)]
        return call_grpc("posts", method, request, who and who["token"]) == expected[i % len(lists)]

    def write(_):
        for _ in range(10):
            made = publish(fan, title=unique("Mine "), tagList=[mine])["slug"]
            found = call_grpc("posts", "ListArticles", {"tag": mine, "limit": 20}, None)[1]["articles"]
            assert made in [article["slug"] for article in found]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        written = [pool.submit(write, i) for i in range(2)]
        assert all(pool.map(read, range(50 * len(lists))))
        for each in written:
            each.result()


def test_text_is_kept_to_the_byte(both, new_account, publish, unique):
    body = "  Ünï\u202ecode 🙂\r\n\ttabs, \"quotes\", \\backslashes\\ and </script>\u2028 \x7f "
    made = publish(new_account(), body=body)
    _, answer, http = both("posts", "GetArticle", {"slug": made["slug"]})
    assert http.json["article"]["body"] == body == answer["article"]["body"]


def test_title_without_letters(new_account, publish):
    first, second = (publish(new_account(), title="!!!")["slug"] for _ in range(2))
    assert first and second and first != second


# ---- GetArticle ----


def test_read_by_anybody(both, new_account, publish):
    made = publish(new_account())
    for token in (None, new_account()["token"]):
        code, answer, http = both("posts", "GetArticle", {"slug": made["slug"]}, token)
        assert code == "OK" and answer["article"] == made


def test_unicode_slug(both, new_account, publish, unique):
    made = publish(new_account(), title=unique("Привет, мир "))
    assert made["slug"].startswith("привет-мир-")
    assert both("posts", "GetArticle", {"slug": made["slug"]})[0] == "OK"


def test_unknown_article(both, unique):
    for slug in (unique("no-such"), "a/b", "%2e%2e", "x" * 512):
        code, problem, http = both("posts", "GetArticle", {"slug": slug})
        assert code == "NOT_FOUND" and http.status == 404
        assert http.json["errors"] == {"article": ["not found"]} and problem.reason == "NOT_FOUND"


def test_slug_too_long(both):
    _, _, http = both("posts", "GetArticle", {"slug": "x" * 513})
    assert http.status == 422 and list(http.json["errors"]) == ["slug"]


# ---- ListArticles ----


def slugs(answer):
    return [each["slug"] for each in answer["articles"]]


def test_list_by_author(both, new_account, publish):
    account = new_account()
    made = [publish(account)["slug"] for _ in range(3)]
    _, answer, http = both("posts", "ListArticles", {"author": account["username"]})
    assert slugs(answer) == made[::-1], "newest first"
    assert http.json["articlesCount"] == 3
    assert all("body" not in each for each in http.json["articles"]), "lists leave the body out"
    _, answer, _ = both("posts", "ListArticles", {"author": account["username"].upper()})
    assert slugs(answer) == made[::-1]


def test_list_by_tag(both, new_account, publish, unique):
    tag, account = unique("tag"), new_account()
    made = [publish(account, tagList=[tag, "other"])["slug"] for _ in range(2)]
    publish(account, tagList=["other"])
    _, answer, _ = both("posts", "ListArticles", {"tag": tag})
    assert slugs(answer) == made[::-1] and answer["articlesCount"] == 2


def test_filters_combine(both, new_account, publish, unique):
    tag, one, two = unique("tag"), new_account(), new_account()
    publish(one, tagList=[tag])
    wanted = publish(two, tagList=[tag])
    publish(two)
    _, answer, _ = both("posts", "ListArticles", {"tag": tag, "author": two["username"]})
    assert slugs(answer) == [wanted["slug"]] and answer["articlesCount"] == 1


@pytest.mark.parametrize("filter", ["tag", "author", "favorited"])
def test_filter_that_nothing_matches(both, unique, filter):
    _, answer, http = both("posts", "ListArticles", {filter: unique("nobody")})
    assert http.json == {"articles": [], "articlesCount": 0}


def test_pages(both, new_account, publish):
    account = new_account()
    made = [publish(account)["slug"] for _ in range(5)][::-1]
    for limit, offset in ((2, 0), (2, 2), (2, 4), (2, 6), (0, 0), (100, 0)):
        request = {"author": account["username"], "limit": limit, "offset": offset}
        _, answer, http = both("posts", "ListArticles", request)
        assert slugs(answer) == made[offset : offset + limit]
        assert http.json["articlesCount"] == 5, "the total for the filter, not the page"


def test_page_size_default_and_maximum(both, new_account, publish):
    account = new_account()
    for _ in range(101):
        publish(account)
    _, answer, _ = both("posts", "ListArticles", {"author": account["username"]})
    assert len(answer["articles"]) == 20
    _, answer, _ = both("posts", "ListArticles", {"author": account["username"], "limit": 2147483647})
    assert len(answer["articles"]) == 100
    _, answer, _ = both("posts", "ListArticles", {"author": account["username"], "pageSize": 101})
    assert len(answer["articles"]) == 100 and answer["nextPageToken"]


@pytest.mark.parametrize("name", ["limit", "offset"])
def test_negative_page(both, name):
    _, _, http = both("posts", "ListArticles", {name: -1})
    assert http.status == 422 and http.json["errors"] == {name: ["must be greater than or equal to 0"]}


@pytest.mark.parametrize("text", ["abc", "1.5", "2147483648", "", "1e400", "%00"])
def test_query_that_is_no_number(call_http, text):
    answer = call_http("GET", f"/api/articles?limit={text}")
    assert answer.status == 422 and list(answer.json["errors"]) == ["limit"]


def test_unknown_query_parameters_are_ignored(call_http):
    assert call_http("GET", "/api/articles?limit=1&utm_source=x&page=2").status == 200
