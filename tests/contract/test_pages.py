"""Pages by token: articles, feed and comments. Pages by limit and offset are tested with their lists."""
import urllib.parse

import pytest
import requests


def follow(call_http, path, token=None, limit=50):
    """All pages from path on, by the Link of each."""
    while path:
        answer = call_http("GET", path, None, token)
        assert answer.status == 200, answer.text
        yield answer
        link = requests.utils.parse_header_links(answer.headers.get("Link", ""))
        path = urllib.parse.urljoin(path, link[0]["url"]) if link else None
        assert not link or link[0]["rel"] == "next"
        limit -= 1
        assert limit, "pages without end"


def slugs(answer):
    return [article["slug"] for article in answer.json["articles"]]


@pytest.fixture
def lists(call_http, new_account, publish, unique):
    """{name of a list: (its path, token)}, each with the same seven articles; and their slugs, newest first."""
    author, reader, tag = new_account(), new_account(), unique("tag é&=+/")
    made = [publish(author, tagList=[tag])["slug"] for _ in range(7)][::-1]
    for slug in made:
        call_http("POST", f"/api/articles/{slug}/favorite", None, reader["token"])
    call_http("POST", f"/api/profiles/{author['username']}/follow", None, reader["token"])
    name, fan, tag = author["username"], reader["username"], urllib.parse.quote(tag)
    filters = {"author": f"author={name}", "tag": f"tag={tag}", "favorited": f"favorited={fan}",
               "combined": f"tag={tag}&author={name}&favorited={fan}"}
    made_lists = {key: (f"/api/articles?{value}", None) for key, value in filters.items()}
    return {**made_lists, "feed": ("/api/articles/feed?", reader["token"])}, made


LISTS = ["author", "tag", "favorited", "combined", "feed"]


@pytest.mark.parametrize("name", LISTS)
def test_pages_are_the_list(call_http, lists, name):
    (path, token), made = lists[0][name], lists[1]
    for size in (1, 3, 7, 8):
        pages = list(follow(call_http, f"{path}&page_size={size}", token))
        assert [slugs(page) for page in pages] == [made[i : i + size] for i in range(0, 7, size)]
        assert all(page.json["articlesCount"] == 7 for page in pages)
        assert ["nextPageToken" in page.json for page in pages] == [True] * (len(pages) - 1) + [False]


@pytest.mark.parametrize("name", LISTS)
def test_pages_of_realworld_are_linked_too(call_http, lists, name):
    (path, token), made = lists[0][name], lists[1]
    first, *more = follow(call_http, f"{path}&limit=3&offset=1", token)
    assert set(first.json) == {"articles", "articlesCount"}, "no member that RealWorld does not know"
    assert [slug for page in (first, *more) for slug in slugs(page)] == made[1:]
    for last in ("limit=7", "limit=3&offset=4", "limit=0", "offset=7"):
        assert "Link" not in call_http("GET", f"{path}&{last}", None, token).headers


def test_new_articles_move_nothing(call_http, new_account, publish):
    account = new_account()
    made = [publish(account)["slug"] for _ in range(6)][::-1]
    seen = []
    for page in follow(call_http, f"/api/articles?author={account['username']}&page_size=2"):
        seen += slugs(page)
        publish(account)
        if len(seen) == 2:  # the article of the cursor itself may go
            call_http("DELETE", f"/api/articles/{seen[-1]}", None, account["token"])
    assert seen == made


def test_over_grpc_and_http(both, new_account, publish):
    account = new_account()
    made = [publish(account)["slug"] for _ in range(5)][::-1]
    request, seen = {"author": account["username"], "pageSize": 2}, []
    while True:
        _, answer, http = both("posts", "ListArticles", request)
        seen += slugs(http)
        if "nextPageToken" not in answer:
            break
        request["pageToken"] = answer["nextPageToken"]
    assert seen == made


def test_comments(call_http, new_account, publish):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}/comments"
    made = [call_http("POST", path, {"comment": {"body": "!"}}, account["token"]).json["comment"]["id"] for _ in range(5)]
    pages = list(follow(call_http, f"{path}?page_size=2"))
    assert [[comment["id"] for comment in page.json["comments"]] for page in pages] == [
        made[:2:-1], made[2:0:-1], made[:1]]
    whole = call_http("GET", path)
    assert set(whole.json) == {"comments"} and len(whole.json["comments"]) == 5 and "Link" not in whole.headers
    other = f"/api/articles/{publish(account)['slug']}/comments"
    answer = call_http("GET", f"{other}?page_token={pages[0].json['nextPageToken']}")
    assert answer.status == 422 and list(answer.json["errors"]) == ["pageToken"]


def test_more_comments_than_a_page(call_http, new_account, publish):
    account = new_account()
    path = f"/api/articles/{publish(account)['slug']}/comments"
    for _ in range(101):
        call_http("POST", path, {"comment": {"body": "!"}}, account["token"])
    assert [len(page.json["comments"]) for page in follow(call_http, path)] == [100, 1]


def test_tokens_that_are_none(call_http, lists):
    (path, _), _ = lists[0]["author"], lists[1]
    token = call_http("GET", f"{path}&page_size=1").json["nextPageToken"]
    wrong = [token[:i] + ("1" if token[i] == "0" else "0") + token[i + 1 :] for i in range(len(token))]
    wrong += ["x", token + "0", token[:-1], token.upper() if token.upper() != token else "-", "%ff", "%20" * 40]
    for each in wrong:
        answer = call_http("GET", f"{path}&page_token={each}")
        assert answer.status == 422 and list(answer.json["errors"]) == ["pageToken"], each


def test_a_token_is_for_its_list(call_http, lists):
    tokens = {name: call_http("GET", f"{lists[0][name][0]}&page_size=1", None, lists[0][name][1]).json["nextPageToken"]
              for name in LISTS}
    for name in LISTS:
        path, caller = lists[0][name]
        for other, token in tokens.items():
            status = call_http("GET", f"{path}&page_size=1&page_token={token}", None, caller).status
            assert status == (200 if other == name else 422), (name, other)


def test_sizes(call_http, lists):
    (path, _), made = lists[0]["author"], lists[1]
    answer = call_http("GET", f"{path}&page_size=2147483647")
    assert slugs(answer) == made
    assert call_http("GET", f"{path}&page_size=-1").json["errors"] == {
        "pageSize": ["must be greater than or equal to 0"]}
    token = call_http("GET", f"{path}&page_size=6").json["nextPageToken"]
    assert slugs(call_http("GET", f"{path}&page_token={token}")) == made[6:]
    for mixed in ("limit=1", "offset=1"):
        answer = call_http("GET", f"{path}&page_token={token}&{mixed}")
        assert answer.json["errors"] == {"pageToken": ["can't be combined with limit or offset"]}
