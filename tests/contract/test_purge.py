"""What nobody needs any more is removed as fast as it comes, and however much it is, nothing else waits for it."""
import contextlib

import psycopg2
import pytest
from chat_fixture import chat_caller
from stoa_contract import GrpcClient, account_maker
from stoa_suite_fixture import Suite, wait_until
from test_consistency import COUNTED


@pytest.fixture(scope="module")
def purging():
    with Suite(STOA_POSTS_PURGE_INTERVAL_S=1, STOA_CHAT_PURGE_INTERVAL_S=1) as suite:
        yield suite


@pytest.fixture(scope="module")
def sql(purging):
    """sql("SELECT 1"): as the superuser; the first value of the answer, if it has one"""
    with contextlib.closing(psycopg2.connect(**purging.database())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:

            def run(statement, *values):
                cursor.execute(statement, values)
                return cursor.fetchone()[0] if cursor.description else None

            yield run


def test_many_expired_sessions(purging, sql):
    """Revocations have nothing to remove meanwhile."""
    sql("INSERT INTO auth.users (username, username_key, email, email_key, password_hash) VALUES ('a', 'a', 'a@x', 'a@x', '')")
    sql("INSERT INTO auth.sessions (id, user_id, expires_at)"
        " SELECT gen_random_uuid(), (SELECT id FROM auth.users WHERE username = 'a'), now() FROM generate_series(1, 4500)")
    purging.wait_restarted("auth", purging.kill("auth"))  # it begins with a purge
    wait_until(lambda: sql("SELECT count(*) FROM auth.sessions WHERE expires_at < now()") == 0, "all are removed")


def test_a_large_room_that_is_deleted(purging, sql, contract, unique):
    """It takes much longer to remove than new messages may wait for the search index."""
    call_grpc = GrpcClient(contract, purging.grpc)
    account, call = account_maker(call_grpc, unique)(), chat_caller(call_grpc)
    room = call("CreateRoom", account, room={"name": "Large"})["room"]["id"]
    sql("INSERT INTO chat.events (room_id, seq, number, kind, actor_id, created_at)"
        " SELECT %s, i, i, 10, 1, now() FROM generate_series(1, 500000) i", room)
    sql("ALTER SYSTEM SET log_statement = 'all'")
    sql("SELECT pg_reload_conf()")
    call("DeleteRoom", account, room=room)
    wait_until(lambda: sql("SELECT count(*) FROM chat.rooms WHERE id = %s", room) == 0, "the room is removed", 300)
    sql("ALTER SYSTEM RESET log_statement")
    sql("SELECT pg_reload_conf()")
    log = purging.log("postgres")
    removing = log[log.index("SELECT chat.purge_room("):log.rindex("SELECT chat.purge_room(")]
    assert removing.count("chat.purge_room(") > 100
    assert "gin_clean_pending_list(" in removing


def test_a_large_account_that_is_deleted_from_rooms(purging, sql, contract, unique):
    """Nobody sees what it wrote when the answer is there. What is left goes 500 messages at a time, and goes on after a crash."""
    call_grpc = GrpcClient(contract, purging.grpc)
    new_account, call = account_maker(call_grpc, unique), chat_caller(call_grpc)
    leaving, reader = new_account(), new_account()
    room = call("CreateRoom", reader, room={"name": "Large"})["room"]["id"]
    call("JoinRoom", leaving, room=room)
    author = account_id(sql, leaving)
    sql("INSERT INTO chat.messages (room_id, seq, author_id, text, created_at)"
        " SELECT %s, 1 + i, %s, 'needle ' || i, clock_timestamp() FROM generate_series(1, 40000) i", room, author)
    sql("UPDATE chat.rooms SET last_seq = 40001, active_at = clock_timestamp() WHERE id = %s", room)
    call("SendMessage", reader, room=room, message={"text": "an answer to the needle"})
    left = lambda: sql("SELECT count(*) FROM chat.messages WHERE author_id = %s", author)

    def looks_right():
        found = walk(call, "SearchMessages", "messages", reader, query="needle", room=room, pageSize=100)
        assert [each["text"] for each in found] == ["an answer to the needle"]
        for before in "40001", "20000", "100":
            page = call("ListMessages", reader, room=room, beforeSeq=before)["messages"]
            assert len(page) > 10 and all("author" not in each and not each["text"] and each["deletedAt"] for each in page)

    assert GrpcClient(contract, purging.grpc)("auth", "DeleteCurrentUser", {}, leaving["token"])[0] == "OK"
    assert left() > 30000, "the deletion does not wait for it"
    assert [each["account"]["username"] for each in call("ListMembers", reader, room=room)["members"]] == [reader["username"]]
    killed = purging.kill("chat")
    found = left()
    assert 0 < found and found % 500 == 0
    purging.wait_restarted("chat", killed)
    looks_right()
    wait_until(lambda: left() == 0, "it is gone", 120)
    looks_right()
    # Each of them was deleted, and its author left and came.
    assert call("GetRoom", reader, room=room)["room"]["lastSeq"] == str(1 + 40001 + 40000 + 1)
    assert "not purged" not in purging.log("chat")


# ---- posts ----


@pytest.fixture
def blog(purging, contract, unique):
    """(new_account, call): call(method, account, **request) -> its answer, which is OK"""
    call_grpc = GrpcClient(contract, purging.grpc)

    def call(method, account=None, **request):
        code, answer = call_grpc("posts", method, request, account and account["token"])
        assert code == "OK", answer
        return answer

    return account_maker(call_grpc, unique), call


def publish(call, author, title):
    return call("CreateArticle", author, article={"title": title, "description": "d", "body": "b", "tagList": [title]})["article"]["slug"]


def account_id(sql, account):
    return sql("SELECT id FROM auth.users WHERE username = %s", account["username"])


def walk(call, method, field, *account, **request):
    """What a list has, page by page to its end."""
    found, token = [], ""
    while True:
        answer = call(method, *account, **{"pageSize": 20, **request}, pageToken=token)
        found += answer[field]
        token = answer.get("nextPageToken", "")
        if not token:
            return found


def expect_exact_counts(sql):
    assert not [what for what, query in COUNTED.items() if sql(f"SELECT count(*) FROM ({query}) wrong")]


def test_a_large_article_that_is_deleted(purging, sql, blog):
    """It is gone at once for everybody. What belonged to it goes a thousand rows at a time, and goes on after a crash."""
    new_account, call = blog
    author, reader = new_account(), new_account()
    large, other = publish(call, author, "Large"), publish(call, author, "Other")
    for slug in large, other:
        call("FavoriteArticle", reader, slug=slug)
    article = sql("SELECT id FROM posts.articles WHERE slug = %s", large)
    sql("INSERT INTO posts.favorites SELECT 1000000 + i, id, created_at FROM posts.articles, generate_series(1, 60000) i"
        " WHERE id = %s", article)
    sql("UPDATE posts.articles SET favorites_count = 60001 WHERE id = %s", article)
    sql("INSERT INTO posts.account_counts (account_id, shard, favorites) SELECT 1000000 + i, 0, 1 FROM generate_series(1, 60000) i")
    sql("INSERT INTO posts.comments (article_id, author_id, body) SELECT %s, %s, 'c' FROM generate_series(1, 60000)",
        article, account_id(sql, reader))
    left = lambda: sql("SELECT count(*) FROM posts.favorites WHERE article_id = %s", article)

    def looks_right():
        answer = call("ListArticles", favorited=reader["username"])
        assert ([each["slug"] for each in answer["articles"]], answer["articlesCount"]) == ([other], 1)

    call("DeleteArticle", author, slug=large)
    assert left() > 50000, "the deletion does not wait for it"
    looks_right()
    expect_exact_counts(sql)
    wait_until(lambda: left() <= 58000, "it goes")
    killed = purging.kill("posts")
    found = left()
    assert 0 < found and (60001 - found) % 1000 == 0
    purging.wait_restarted("posts", killed)
    looks_right()
    wait_until(lambda: left() == 0 and not sql("SELECT count(*) FROM posts.comments WHERE article_id = %s", article), "it is gone", 120)
    looks_right()
    expect_exact_counts(sql)
    sql("UPDATE posts.deleted_articles SET deleted_at = now() - interval '6 minutes'")
    wait_until(lambda: not sql("SELECT count(*) FROM posts.deleted_articles"), "it is forgotten")
    wait_until(lambda: not sql("SELECT count(*) FROM posts.tag_counts WHERE tag = 'Large'"), "nobody uses its tag")
    assert "not purged" not in purging.log("posts")


def test_a_large_account_that_is_deleted(purging, sql, blog, contract):
    """Of thousands of articles none is shown when the answer is there, and lists that they were in go on behind them."""
    new_account, call = blog
    leaving, reader = new_account(), new_account()
    first = publish(call, reader, "First")
    author = account_id(sql, leaving)
    sql("INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list, favorites_count)"
        " SELECT 'of-leaving-' || i, %s, 't', 'd', 'b', '{crowd}', 1 FROM generate_series(1, 5000) i", author)
    sql("INSERT INTO posts.article_tags SELECT 'crowd', created_at, id FROM posts.articles WHERE author_id = %s", author)
    sql("INSERT INTO posts.favorites SELECT %s, id, created_at FROM posts.articles WHERE author_id = %s",
        account_id(sql, reader), author)
    sql("INSERT INTO posts.account_counts VALUES (%s, 20, 5000, 0), (%s, 20, 0, 5000)", author, account_id(sql, reader))
    sql("INSERT INTO posts.article_counts VALUES (20, 5000)")
    sql("INSERT INTO posts.tag_counts VALUES ('crowd', 20, 5000)")
    sql("INSERT INTO posts.comments (article_id, author_id, body) SELECT id, %s, 'c' FROM posts.articles, generate_series(1, 5000)"
        " WHERE slug = %s", author, first)
    total = call("ListArticles")["articlesCount"]
    assert GrpcClient(contract, purging.grpc)("auth", "DeleteCurrentUser", {}, leaving["token"])[0] == "OK"
    assert call("ListArticles")["articlesCount"] == total - 5000
    assert walk(call, "ListComments", "comments", slug=first) == []
    titles = [each["title"] for each in walk(call, "ListArticles", "articles")]
    assert "First" in titles and "t" not in titles
    wait_until(lambda: not sql("SELECT count(*) FROM posts.articles WHERE author_id = %s", author), "its articles are gone", 120)
    wait_until(lambda: not sql("SELECT count(*) FROM posts.favorites WHERE account_id = %s", account_id(sql, reader)), "and marks on them", 120)
    assert call("ListArticles", favorited=reader["username"])["articlesCount"] == 0
    wait_until(lambda: not sql("SELECT count(*) FROM posts.comments WHERE author_id = %s", author), "and its comments", 120)
    wait_until(lambda: not sql("SELECT count(*) FROM posts.tag_counts WHERE tag = 'crowd'"), "and its tag")
    expect_exact_counts(sql)


def test_pages_go_on_behind_what_is_not_shown(sql, blog):
    """What is left of an account that is gone, for as long as it may take: more than several pages of it."""
    new_account, call = blog
    reader = new_account()
    first = publish(call, reader, "Behind")
    sql("INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list)"
        " SELECT 'left-' || i, 999999999, 'left', 'd', 'b', '{}' FROM generate_series(1, 70) i")
    comment = call("CreateComment", reader, slug=first, comment={"body": "seen"})["comment"]["id"]
    sql("INSERT INTO posts.comments (article_id, author_id, body) SELECT id, 999999999, 'c' FROM posts.articles,"
        " generate_series(1, 70) WHERE slug = %s", first)
    titles = [each["title"] for each in walk(call, "ListArticles", "articles")]
    assert "Behind" in titles and "left" not in titles
    assert [each["id"] for each in walk(call, "ListComments", "comments", slug=first)] == [comment]
    sql("DELETE FROM posts.articles WHERE author_id = 999999999")
