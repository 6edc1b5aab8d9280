"""Profiles, who follows whom, and the feed."""
import concurrent.futures
import contextlib

import psycopg2
import pytest

FOLLOWED = 5000  # by one account, at most


def follow(call_http, username, account, verb="POST"):
    return call_http(verb, f"/api/profiles/{username}/follow", None, account["token"])


def profile_of(account, following=False):
    return {"username": account["username"], "bio": None, "image": None, "following": following}


# ---- profiles ----


def test_profile(both, new_account):
    account = new_account()
    for token in (None, account["token"], new_account()["token"]):
        _, _, http = both("posts", "GetProfile", {"username": account["username"]}, token)
        assert http.status == 200 and http.json == {"profile": profile_of(account)}
    # By whatever counts as the same name.
    for name in (account["username"].upper(), account["username"].replace("user", "ｕser")):
        assert both("posts", "GetProfile", {"username": name})[2].json == {"profile": profile_of(account)}


@pytest.mark.parametrize("method", ["GetProfile", "FollowProfile", "UnfollowProfile"])
def test_no_such_profile(both, new_account, unique, method):
    for name in (unique("nobody"), "a/b", "\u202e", "🙂"):
        _, _, http = both("posts", method, {"username": name}, new_account()["token"])
        assert http.status == 404 and http.json["errors"] == {"profile": ["not found"]}
    _, _, http = both("posts", method, {"username": "x" * 65}, new_account()["token"])
    assert http.status == 422 and list(http.json["errors"]) == ["username"]


@pytest.mark.parametrize("method", ["FollowProfile", "UnfollowProfile"])
def test_following_needs_a_token(both, unique, method):
    _, _, http = both("posts", method, {"username": unique("nobody")})
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}


@pytest.mark.parametrize("method, following", [("FollowProfile", True), ("UnfollowProfile", False)])
def test_twice_is_once(both, call_http, new_account, method, following):
    account, reader = new_account(), new_account()
    if not following:
        follow(call_http, account["username"], reader)
    for _ in range(2):
        _, _, http = both("posts", method, {"username": account["username"]}, reader["token"])
        assert http.status == 200 and http.json == {"profile": profile_of(account, following)}
    for token, mine in ((reader["token"], following), (account["token"], False), (None, False)):
        assert both("posts", "GetProfile", {"username": account["username"]}, token)[2].json["profile"]["following"] is mine


def test_as_many_as_a_feed_can_look_up(suite, both, call_http, new_account):
    """Whom one follows already counts no more, and who follows one less may follow another."""
    followed, other, reader = new_account(), new_account(), new_account()
    follow(call_http, followed["username"], reader)
    with contextlib.closing(psycopg2.connect(**suite.database())) as admin, admin, admin.cursor() as cursor:
        cursor.execute("SELECT id FROM auth.users WHERE username = %s", (reader["username"],))
        (account,) = cursor.fetchone()
        cursor.execute(
            "INSERT INTO posts.follows (follower_id, followee_id) SELECT %s, -n FROM generate_series(1, %s) n", (account, FOLLOWED - 1)
        )
    name = {"username": other["username"]}
    _, _, http = both("posts", "FollowProfile", name, reader["token"])
    assert http.status == 400 and http.json["reason"] == "TOO_MANY_FOLLOWED"
    assert http.json["errors"] == {"account": ["follows too many"]}
    assert both("posts", "GetProfile", name, reader["token"])[2].json == {"profile": profile_of(other)}
    assert both("posts", "FollowProfile", {"username": followed["username"]}, reader["token"])[2].status == 200
    assert both("posts", "ListFeed", {}, reader["token"])[2].json == {"articles": [], "articlesCount": 0}
    follow(call_http, followed["username"], reader, "DELETE")
    assert both("posts", "FollowProfile", name, reader["token"])[2].json == {"profile": profile_of(other, True)}


def test_a_stray_body_is_ignored(call_http, new_account):
    account, reader = new_account(), new_account()
    path = f"/api/profiles/{account['username']}/follow"
    for body in (b"", b"{}", b"rubbish"):
        assert call_http("POST", path, body, reader["token"], {"Content-Type": "application/json"}).status == 200


def test_articles_say_who_is_followed(both, call_http, new_account, publish):
    author, reader = new_account(), new_account()
    article = publish(author)
    follow(call_http, author["username"], reader)
    for token, follows in ((reader["token"], True), (author["token"], False), (None, False)):
        assert both("posts", "GetArticle", {"slug": article["slug"]}, token)[1]["article"]["author"]["following"] is follows
        _, answer, _ = both("posts", "ListArticles", {"author": author["username"]}, token)
        assert answer["articles"][0]["author"]["following"] is follows


def test_one_may_follow_oneself(call_http, new_account, publish):
    account = new_account()
    follow(call_http, account["username"], account)
    made = publish(account)
    assert made["author"]["following"] is True, "as whoever reads it sees"
    feed = call_http("GET", "/api/articles/feed", token=account["token"]).json
    assert [article["slug"] for article in feed["articles"]] == [made["slug"]]
    body, key = {"article": {"title": "t", "description": "d", "body": "b"}}, {"Idempotency-Key": "k"}
    first, again = (call_http("POST", "/api/articles", body, account["token"], key).json for _ in range(2))
    assert first == again and first["article"]["author"]["following"] is True


def test_many_at_once(call_http, new_account):
    account, reader = new_account(), new_account()

    def toggle(i):
        return follow(call_http, account["username"], reader, ("POST", "DELETE")[i % 2]).status

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert set(pool.map(toggle, range(40))) == {200}
    follow(call_http, account["username"], reader)
    assert call_http("GET", f"/api/profiles/{account['username']}", token=reader["token"]).json["profile"]["following"] is True


# ---- the feed ----


@pytest.fixture
def reader(call_http, new_account, publish):
    """An account that follows two others, who took turns with a third; and the slugs of its feed, newest first."""
    account, one, two, stranger = (new_account() for _ in range(4))
    for author in (one, two):
        follow(call_http, author["username"], account)
    made = [publish(author) for author in (one, two, stranger, one, stranger, two, one)]
    slugs = [article["slug"] for article in made if article["author"]["username"] != stranger["username"]]
    return account, slugs[::-1], (one, two)


def feed(answer):
    return [article["slug"] for article in answer["articles"]]


def test_feed(both, reader):
    account, slugs, _ = reader
    _, answer, http = both("posts", "ListFeed", {}, account["token"])
    assert http.status == 200 and feed(answer) == slugs and http.json["articlesCount"] == len(slugs)
    assert all("body" not in article and article["author"]["following"] for article in http.json["articles"])


def test_feed_in_pages(both, reader):
    account, slugs, _ = reader
    for limit, offset in ((1, 0), (2, 0), (2, 2), (2, 4), (2, 6), (0, 0), (100, 3), (2147483647, 2147483647)):
        _, answer, _ = both("posts", "ListFeed", {"limit": limit, "offset": offset}, account["token"])
        assert feed(answer) == slugs[offset : offset + limit] and answer["articlesCount"] == len(slugs)


def test_feed_follows_the_reader(both, call_http, reader, publish):
    account, slugs, (one, two) = reader
    follow(call_http, two["username"], account, "DELETE")
    _, answer, _ = both("posts", "ListFeed", {}, account["token"])
    assert len(feed(answer)) == answer["articlesCount"] == 3
    assert {article["author"]["username"] for article in answer["articles"]} == {one["username"]}
    new = publish(one)
    _, answer, _ = both("posts", "ListFeed", {"limit": 1}, account["token"])
    assert feed(answer) == [new["slug"]] and answer["articlesCount"] == 4


def test_empty_feed(both, new_account):
    account = new_account()
    _, _, http = both("posts", "ListFeed", {}, account["token"])
    assert http.json == {"articles": [], "articlesCount": 0}


def test_feed_is_for_accounts(both):
    _, _, http = both("posts", "ListFeed", {})
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}


@pytest.mark.parametrize("name", ["limit", "offset"])
def test_negative_pages(both, new_account, name):
    _, _, http = both("posts", "ListFeed", {name: -1}, new_account()["token"])
    assert http.status == 422 and http.json["errors"] == {name: ["must be greater than or equal to 0"]}


def test_feed_is_no_slug(call_http, new_account, publish):
    made = publish(new_account(), title="Feed")
    assert made["slug"].startswith("feed-"), "its URL is the feed's"


# ---- tags ----


def test_tags(both, new_account, publish, unique):
    tags = sorted(unique("tag") for _ in range(3))
    article = publish(new_account(), tagList=tags)
    _, answer, http = both("posts", "ListTags", {})
    assert http.status == 200 and list(http.json) == ["tags"]
    assert [tag for tag in answer["tags"] if tag in tags] == tags, "in order, once each"
    assert len(set(answer["tags"])) == len(answer["tags"])


def test_tags_go_with_their_last_article(both, call_http, new_account, publish, unique):
    account, tag = new_account(), unique("tag")
    one, two = (publish(account, tagList=[tag]) for _ in range(2))
    call_http("DELETE", f"/api/articles/{one['slug']}", None, account["token"])
    assert tag in both("posts", "ListTags", {})[1]["tags"]
    call_http("PUT", f"/api/articles/{two['slug']}", {"article": {"tagList": []}}, account["token"])
    assert tag not in both("posts", "ListTags", {})[1]["tags"]
