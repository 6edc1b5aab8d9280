"""bench/seed, which `make seed` runs: what it makes is what the API would have made."""
import subprocess

import psycopg2
import pytest
from stoa_contract import HttpClient
from stoa_suite_fixture import REPOSITORY, Suite

SIZES = {"SEED_ARTICLES": "300", "SEED_ACCOUNTS": "20", "SEED_COMMENTS": "2", "SEED_FAVORITES": "3", "SEED_FOLLOWS": "4"}


def seed(suite, **settings):
    environment = {**suite.environment(), **SIZES, **settings}
    return subprocess.run([REPOSITORY / "bench/seed"], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def seeded():
    with Suite() as suite:
        user = {"user": {"username": "ada", "email": "ada@example.com", "password": "password123"}}
        token = HttpClient(suite.http)("POST", "/api/users", user).json["user"]["token"]
        new = {"article": {"title": "There before", "description": "d", "body": "b", "tagList": ["tag001"]}}
        assert HttpClient(suite.http)("POST", "/api/articles", new, token).status == 201
        ran = seed(suite)
        assert ran.returncode == 0 and ran.stdout.startswith("Seeded: 300 articles of 20 accounts"), ran.stderr
        yield suite


def test_the_api_shows_it(seeded):
    get = lambda path: HttpClient(seeded.http)("GET", path).json
    assert get("/api/articles")["articlesCount"] == 301
    assert get("/api/articles?author=writer7")["articlesCount"] == 15
    assert get("/api/articles?tag=tag001")["articlesCount"] == 16
    assert get("/api/articles?favorited=writer7")["articlesCount"] == 45
    article = get("/api/articles/article-title-300")["article"]
    assert article["favoritesCount"] == 3 and len(article["tagList"]) == 5 and 900 < len(article["body"]) < 1200
    assert len(get("/api/articles/article-title-300/comments")["comments"]) == 2
    assert get("/api/articles?q=filler+tag001")["articlesCount"] == 15
    assert [each["slug"] for each in get("/api/articles?author=writer1&limit=2")["articles"]] == ["article-title-300", "article-title-280"]


def test_what_is_counted_is_there(seeded):
    """Whatever a counter says is what counting says."""
    differences = {
        "articles": "SELECT sum(n) FROM posts.article_counts EXCEPT SELECT count(*) FROM posts.articles",
        "tags": "SELECT tag, sum(n) FROM posts.tag_counts GROUP BY 1 EXCEPT SELECT tag, count(*) FROM posts.article_tags GROUP BY 1",
        "authors": "SELECT account_id, sum(articles) FROM posts.account_counts GROUP BY 1 EXCEPT"
        " SELECT author_id, count(*) FROM posts.articles GROUP BY 1",
        "fans": "SELECT account_id, sum(favorites) FROM posts.account_counts WHERE favorites > 0 GROUP BY 1 EXCEPT"
        " SELECT account_id, count(*) FROM posts.favorites GROUP BY 1",
        "favorites": "SELECT id, favorites_count FROM posts.articles WHERE favorites_count > 0 EXCEPT"
        " SELECT article_id, count(*)::int FROM posts.favorites GROUP BY 1",
        "orphans": "SELECT article_id FROM posts.favorites UNION SELECT article_id FROM posts.comments"
        " UNION SELECT article_id FROM posts.article_tags EXCEPT SELECT id FROM posts.articles",
    }
    with psycopg2.connect(**seeded.database()) as connection, connection.cursor() as cursor:
        for what, sql in differences.items():
            cursor.execute(sql)
            assert cursor.fetchall() == [], what
        cursor.execute("SELECT count(*) FROM posts.follows")
        assert cursor.fetchone() == (80,)


def test_written_on(seeded):
    """Ids and slugs go on behind what was seeded."""
    http = HttpClient(seeded.http)
    user = {"user": {"username": "bob", "email": "bob@example.com", "password": "password123"}}
    token = http("POST", "/api/users", user).json["user"]["token"]
    new = {"article": {"title": "Article title 300", "description": "d", "body": "b", "tagList": ["tag001"]}}
    made = http("POST", "/api/articles", new, token)
    assert made.status == 201 and made.json["article"]["slug"].startswith("article-title-300-")
    assert http("GET", "/api/articles?tag=tag001").json["articlesCount"] == 17


@pytest.mark.parametrize("settings, words", [
    ({}, "has been seeded"),
    ({"SEED_ARTICLES": "many"}, "SEED_ARTICLES=many: set a number from 1 to 10000000"),
    ({"STOA_RUN_DIR": "/nonexistent"}, "no suite is running in /nonexistent"),
])
def test_refused_in_one_line(seeded, settings, words):
    ran = seed(seeded, **settings)
    assert ran.returncode == 1 and words in ran.stderr and ran.stderr.count("\n") == 1
