"""Favourites of articles, and what counts them."""
import concurrent.futures

import pytest


@pytest.fixture(scope="module")
def crowd(new_account):
    """Twenty accounts."""
    return [new_account("fan") for _ in range(20)]


def favorite(call_http, slug, account, verb="POST"):
    return call_http(verb, f"/api/articles/{slug}/favorite", None, account["token"])


@pytest.mark.parametrize("method, favorited", [("FavoriteArticle", True), ("UnfavoriteArticle", False)])
def test_twice_is_once(both, call_http, new_account, publish, method, favorited):
    made, fan = publish(new_account(), tagList=["b", "a"]), new_account()
    if not favorited:
        favorite(call_http, made["slug"], fan)
    for _ in range(2):
        code, answer, http = both("posts", method, {"slug": made["slug"]}, fan["token"])
        assert code == "OK" and http.status == 200
        assert answer["article"] == {**made, "favorited": favorited, "favoritesCount": int(favorited)}
    for token, mine in ((fan["token"], favorited), (new_account()["token"], False), (None, False)):
        article = both("posts", "GetArticle", {"slug": made["slug"]}, token)[1]["article"]
        assert (article["favorited"], article["favoritesCount"]) == (mine, int(favorited))


def test_a_stray_body_is_ignored(call_http, new_account, publish):
    path, fan = f"/api/articles/{publish(new_account())['slug']}/favorite", new_account()
    for body in (b"", b"{}", b"rubbish"):
        answer = call_http("POST", path, body, fan["token"], {"Content-Type": "application/json"})
        assert answer.status == 200 and answer.json["article"]["favoritesCount"] == 1
    assert call_http("DELETE", path, b"{}", fan["token"], {"Content-Type": "application/json"}).status == 200


@pytest.mark.parametrize("method", ["FavoriteArticle", "UnfavoriteArticle"])
def test_wrong_calls(both, new_account, unique, method):
    _, _, http = both("posts", method, {"slug": unique("none")}, new_account()["token"])
    assert http.status == 404 and http.json["errors"] == {"article": ["not found"]}
    _, _, http = both("posts", method, {"slug": unique("none")})
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}
    _, _, http = both("posts", method, {"slug": "x" * 513}, new_account()["token"])
    assert http.status == 422 and list(http.json["errors"]) == ["slug"]


def test_list_of_favourites_is_by_article(both, call_http, new_account, publish):
    fan, author = new_account(), new_account()
    made = [publish(author)["slug"] for _ in range(3)]
    for slug in (made[1], made[2], made[0]):
        favorite(call_http, slug, fan)
    request = {"favorited": fan["username"]}
    _, answer, _ = both("posts", "ListArticles", request, fan["token"])
    assert [each["slug"] for each in answer["articles"]] == made[::-1] and answer["articlesCount"] == 3
    assert all(each["favorited"] for each in answer["articles"])
    favorite(call_http, made[1], fan, "DELETE")
    _, answer, _ = both("posts", "ListArticles", request)
    assert [each["slug"] for each in answer["articles"]] == [made[2], made[0]] and answer["articlesCount"] == 2
    assert not any(each["favorited"] for each in answer["articles"])


def test_a_hundred_togglers(call_http, crowd, new_account, publish):
    """Five calls at once of each of twenty accounts: whatever their order, nothing is counted twice or lost."""
    slug = publish(new_account())["slug"]
    calls = [(account, verb) for account in crowd for verb in ("POST", "DELETE", "POST", "DELETE", "POST")]

    def toggle(call):
        return favorite(call_http, slug, *call)

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(toggle, calls))
    assert [answer.status for answer in answers] == [200] * 100, {answer.text for answer in answers if answer.status != 200}
    marked = [call_http("GET", f"/api/articles/{slug}", token=account["token"]).json["article"]["favorited"] for account in crowd]
    assert call_http("GET", f"/api/articles/{slug}").json["article"]["favoritesCount"] == sum(marked)
    for account, mine in zip(crowd, marked):
        found = call_http("GET", f"/api/articles?favorited={account['username']}").json
        assert (found["articlesCount"], len(found["articles"])) == (int(mine), int(mine))
    # And all of them the same way at last.
    for verb, count in (("POST", len(crowd)), ("DELETE", 0)):
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            list(pool.map(toggle, [(account, verb) for account in crowd]))
        assert call_http("GET", f"/api/articles/{slug}").json["article"]["favoritesCount"] == count


def test_togglers_do_not_wait_in_a_circle(suite, call_http, crowd, new_account, publish):
    """Of several articles, while these are commented on and others are created under their titles. Postgres undoes none
    of the statements, which lib/pg would send again."""
    author = new_account()
    made = [publish(author) for _ in range(3)]
    begin = len(suite.log("postgres"))

    def act(number):
        account, article = crowd[number % len(crowd)], made[number // 2 % len(made)]
        path, token = f"/api/articles/{article['slug']}", account["token"]
        if number % 5 == 0:
            return call_http("POST", f"{path}/comments", {"comment": {"body": "!"}}, token).status
        if number % 5 == 1:
            article = {"title": article["title"], "description": "d", "body": "b", "tagList": ["x", "y"]}
            return call_http("POST", "/api/articles", {"article": article}, token).status
        return favorite(call_http, article["slug"], account, "POST" if number // 10 % 2 else "DELETE").status

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert set(pool.map(act, range(500))) == {200, 201}
    assert "deadlock detected" not in suite.log("postgres")[begin:]
    for article in made:
        path = f"/api/articles/{article['slug']}"
        marked = [call_http("GET", path, token=account["token"]).json["article"]["favorited"] for account in crowd]
        assert call_http("GET", path).json["article"]["favoritesCount"] == sum(marked)
        assert call_http("DELETE", path, token=author["token"]).status == 204
    for account in crowd:
        assert call_http("GET", f"/api/articles?favorited={account['username']}").json["articlesCount"] == 0


def test_while_the_article_is_deleted(call_http, crowd, new_account, publish):
    author = new_account()
    slug = publish(author)["slug"]

    def act(account):
        if account is author:
            return call_http("DELETE", f"/api/articles/{slug}", None, author["token"]).status
        return favorite(call_http, slug, account).status

    with concurrent.futures.ThreadPoolExecutor(21) as pool:
        statuses = list(pool.map(act, [*crowd[:10], author, *crowd[10:]]))
    assert statuses[10] == 204 and set(statuses) <= {200, 204, 404}
    for account in crowd:
        assert call_http("GET", f"/api/articles?favorited={account['username']}").json["articlesCount"] == 0
