"""What belongs together changes together: a profile wherever it is shown, an account with all that it owned, and
counters with what they count."""
import concurrent.futures
import contextlib
import itertools

import psycopg2
import pytest
from stoa_contract import GrpcClient
from stoa_suite_fixture import call_loads, wait_until
from test_operation import account

# ---- a profile wherever it is shown ----


@pytest.fixture
def shown(call_grpc, new_account, publish, unique):
    """An author, and what shows it: [(service, method, request, token)]; in "NAME" the author's name is to be put."""
    author, reader = new_account(), new_account()
    tag = unique("tag")
    slug = publish(author, tagList=[tag])["slug"]
    theirs = publish(reader)["slug"]
    room = call_grpc("chat", "CreateRoom", {"room": {"name": "r"}}, author["token"])[1]["room"]["id"]
    for service, method, request, who in (
        ("posts", "FollowProfile", {"username": author["username"]}, reader),
        ("posts", "FavoriteArticle", {"slug": slug}, reader),
        ("posts", "CreateComment", {"slug": theirs, "comment": {"body": "b"}}, author),
        ("chat", "SendMessage", {"room": room, "message": {"text": "t"}}, author),
        ("chat", "JoinRoom", {"room": room}, reader),
    ):
        assert call_grpc(service, method, request, who["token"])[0] == "OK"
    return author, [
        ("posts", "GetArticle", {"slug": slug}, None),
        ("posts", "GetArticle", {"slug": slug}, reader["token"]),
        ("posts", "ListArticles", {"tag": tag}, None),
        ("posts", "ListArticles", {"author": "NAME"}, reader["token"]),
        ("posts", "ListArticles", {"favorited": reader["username"]}, None),
        ("posts", "ListArticles", {"tag": tag, "author": "NAME"}, None),
        ("posts", "ListFeed", {}, reader["token"]),
        ("posts", "ListComments", {"slug": theirs}, None),
        ("posts", "GetProfile", {"username": "NAME"}, reader["token"]),
        ("posts", "FavoriteArticle", {"slug": slug}, reader["token"]),
        ("posts", "FollowProfile", {"username": "NAME"}, reader["token"]),
        ("posts", "UpdateArticle", {"slug": slug, "article": {"body": "new"}}, author["token"]),
        ("auth", "GetCurrentUser", {}, author["token"]),
        ("chat", "ListMessages", {"room": room}, reader["token"]),
    ]


def profiles(answer):
    """Every profile in an answer."""
    if isinstance(answer, dict):
        if "username" in answer:
            yield answer
        for each in answer.values():
            yield from profiles(each)
    elif isinstance(answer, list):
        for each in answer:
            yield from profiles(each)


def named(request, name):
    return {key: name if value == "NAME" else value for key, value in request.items()}


def test_a_changed_profile_shows_at_once_wherever_it_appears(both, call_grpc, shown, unique):
    author, places = shown
    name = author["username"]
    for changes in ({"username": unique("renamed")}, {"bio": "new bio"}, {"image": "new image"}, {"bio": None, "image": None},
                    {"username": unique("again"), "bio": "b", "image": "i"}):
        mask = ",".join(changes)
        code, answer = call_grpc("auth", "UpdateCurrentUser", {"user": changes, "updateMask": mask}, author["token"])
        assert code == "OK", answer
        old, name = name, answer["user"]["username"]
        for service, method, request, token in places:
            code, answer, http = both(service, method, named(request, name), token, ignore=("article.updatedAt",))
            assert code == "OK", answer
            found = list(profiles(answer))
            assert found, method
            for each in (*found, *profiles(http.json)):
                assert each["username"] == name, method
                for field in {"bio", "image"} & changes.keys():
                    if (service, field) != ("chat", "bio"):
                        assert each.get(field) == changes[field], f"{method} {field}"
        if old != name:
            assert both("posts", "GetProfile", {"username": old})[0] == "NOT_FOUND"
            assert both("posts", "ListArticles", {"author": old})[1]["articlesCount"] == 0


def test_no_answer_mixes_a_profile_with_the_one_before(call_grpc, new_account, publish, unique):
    """Readers while the profile changes: in one answer all is of one moment, and no later answer is of an earlier one."""
    author, tag = new_account(), unique("tag")
    for _ in range(20):
        publish(author, tagList=[tag])
    base = unique("version")

    def version(profile):
        if not profile["username"].startswith(base):
            return 0
        number = profile["username"].removeprefix(base + "-")
        assert (profile["bio"], profile["image"]) == (f"bio {number}", f"image {number}")
        return int(number)

    def read():
        code, answer = call_grpc("posts", "ListArticles", {"tag": tag})
        return code, [version(each) for each in profiles(answer)]

    with call_loads(*[read] * 4) as readers:
        for number in range(1, 41):
            changes = {"username": f"{base}-{number}", "bio": f"bio {number}", "image": f"image {number}"}
            assert call_grpc("auth", "UpdateCurrentUser", {"user": changes}, author["token"])[0] == "OK"
            if number % 10 == 0:  # on a busy machine a reader may not get its turn in all that time
                for reader in readers:
                    reader.more(2)
    for reader in readers:
        assert {code for _, code, _ in reader.results} == {"OK"}
        assert all(len(versions) == 20 and len(set(versions)) == 1 for _, _, versions in reader.results)
        seen = [versions[0] for _, _, versions in reader.results]
        assert seen == sorted(seen) and len(set(seen)) > 3


# ---- an account with all that it owned ----


def test_an_account_goes_as_a_whole(call_grpc, new_account, publish):
    """Whoever looks while it is deleted: once anything of it is gone, all that is looked at afterwards is gone."""
    for _ in range(5):
        leaving, reader = new_account(), new_account()
        slugs = [publish(leaving)["slug"] for _ in range(5)]
        theirs = publish(reader)["slug"]
        call_grpc("posts", "FavoriteArticle", {"slug": theirs}, leaving["token"])
        call_grpc("posts", "CreateComment", {"slug": theirs, "comment": {"body": "b"}}, leaving["token"])
        looks = [
            lambda: call_grpc("posts", "GetProfile", {"username": leaving["username"]})[0] == "OK",
            lambda: call_grpc("posts", "GetArticle", {"slug": slugs[0]})[0] == "OK",
            lambda: call_grpc("posts", "GetArticle", {"slug": theirs})[1]["article"]["favoritesCount"] == 1,
            lambda: len(call_grpc("posts", "ListComments", {"slug": theirs})[1]["comments"]) == 1,
            lambda: call_grpc("posts", "ListArticles", {"author": leaving["username"]})[1]["articlesCount"] == 5,
        ]
        around = itertools.cycle(looks)
        with call_loads(*[lambda: ("looked", next(around)())] * 3) as looking:
            assert call_grpc("auth", "DeleteCurrentUser", {}, leaving["token"])[0] == "OK"
            assert not any(look() for look in looks), "gone when the answer is there"
        for each in looking:
            there = [there for _, _, there in each.results]
            assert there == sorted(there, reverse=True), "what was gone has not come back"


def test_a_deletion_that_fails_half_way_leaves_all(own_suite, contract):
    """The last of the services to forget the account refuses: then none has."""
    suite = own_suite()
    call = GrpcClient(contract, suite.grpc)
    token = account(call)
    slug = call("posts", "CreateArticle", {"article": {"title": "t", "description": "d", "body": "b", "tagList": ["x"]}}, token)[1]["article"]["slug"]
    room = call("chat", "CreateRoom", {"room": {"name": "r"}}, token)[1]["room"]["id"]
    call("chat", "SendMessage", {"room": room, "message": {"text": "hello"}}, token)
    with contextlib.closing(psycopg2.connect(**suite.database())) as database, database.cursor() as cursor:
        database.autocommit = True
        for schema in ("posts", "chat"):
            cursor.execute(f"ALTER FUNCTION {schema}.forget_account(bigint) RENAME TO forget_account_for_good")
            cursor.execute(f"CREATE FUNCTION {schema}.forget_account(account bigint) RETURNS void LANGUAGE plpgsql AS"
                           f" $$ BEGIN PERFORM {schema}.forget_account_for_good(account); RAISE 'not now'; END $$")
            code, problem = call("auth", "DeleteCurrentUser", {}, token)
            assert code == "INTERNAL" and "not now" not in problem.message, problem
            wait_until(lambda: "not now" in suite.log("auth"), "the operator sees why")
            assert call("auth", "GetCurrentUser", {}, token)[0] == "OK", "its sessions live"
            assert call("posts", "GetArticle", {"slug": slug})[0] == "OK"
            assert call("posts", "ListTags", {})[1]["tags"] == ["x"]
            assert call("chat", "ListMessages", {"room": room}, token)[1]["messages"][0]["text"] == "hello"
            cursor.execute(f"DROP FUNCTION {schema}.forget_account(bigint)")
            cursor.execute(f"ALTER FUNCTION {schema}.forget_account_for_good(bigint) RENAME TO forget_account")
    assert call("auth", "DeleteCurrentUser", {}, token)[0] == "OK"
    assert call("posts", "GetArticle", {"slug": slug})[0] == "NOT_FOUND"


# ---- counters ----

COUNTED = {
    "favourites of articles": "SELECT a.id, a.favorites_count FROM posts.articles a EXCEPT"
    " SELECT a.id, count(f.account_id)::int FROM posts.articles a LEFT JOIN posts.favorites f ON f.article_id = a.id GROUP BY 1",
    "articles": "SELECT coalesce(sum(n), 0) FROM posts.article_counts EXCEPT SELECT count(*) FROM posts.articles",
    "tags": "(SELECT tag, sum(n) FROM posts.tag_counts GROUP BY 1 HAVING sum(n) <> 0 EXCEPT"
    " SELECT tag, count(*) FROM posts.article_tags GROUP BY 1) UNION ALL (SELECT tag, count(*) FROM posts.article_tags GROUP BY 1"
    " EXCEPT SELECT tag, sum(n) FROM posts.tag_counts GROUP BY 1)",
    "articles of accounts": "SELECT u.id, (SELECT count(*) FROM posts.articles WHERE author_id = u.id)"
    " FROM auth.users u EXCEPT SELECT u.id, coalesce(sum(articles), 0)"
    " FROM auth.users u LEFT JOIN posts.account_counts c ON c.account_id = u.id GROUP BY 1",
    "favourites of accounts": "SELECT u.id, (SELECT count(*) FROM posts.favorites WHERE account_id = u.id)"
    " FROM auth.users u EXCEPT SELECT u.id, coalesce(sum(favorites), 0)"
    " FROM auth.users u LEFT JOIN posts.account_counts c ON c.account_id = u.id GROUP BY 1",
    "tags without article": "SELECT article_id FROM posts.article_tags EXCEPT SELECT id FROM posts.articles",
}
# What a statement on its way may leave behind of an account that is gone; nobody can ask for it.
REMAINS = "SELECT author_id FROM posts.articles UNION SELECT author_id FROM posts.comments" \
    " UNION SELECT account_id FROM posts.favorites UNION SELECT account_id FROM posts.account_counts" \
    " UNION SELECT follower_id FROM posts.follows UNION SELECT followee_id FROM posts.follows" \
    " EXCEPT SELECT id FROM auth.users"


def test_counters_are_exact_while_accounts_leave(suite, call_grpc, new_account, publish, unique):
    """Everybody writes, likes, changes and deletes at once, and some delete their account amid it."""
    tag, people = unique("tag"), [new_account() for _ in range(12)]
    slugs = [publish(each, tagList=[tag, "common"])["slug"] for each in people]

    def act(who, step):
        token, slug = people[who]["token"], slugs[(who + step) % len(slugs)]
        if step == 5 and who % 3 == 0:
            return call_grpc("auth", "DeleteCurrentUser", {}, token)[0]
        method, request = [
            ("FavoriteArticle", {"slug": slug}),
            ("CreateArticle", {"article": {"title": unique("t"), "description": "d", "body": "b", "tagList": [tag]}}),
            ("CreateComment", {"slug": slug, "comment": {"body": "b"}}),
            ("UnfavoriteArticle", {"slug": slug}),
            ("UpdateArticle", {"slug": slugs[who], "article": {"tagList": [tag, unique("new")]}}),
            ("FavoriteArticle", {"slug": slugs[who]}),
            ("DeleteArticle", {"slug": slugs[who]}),
        ][step % 7]
        return call_grpc("posts", method, request, token, timeout=30)[0]

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        codes = list(pool.map(lambda each: act(*each), [(who, step) for step in range(21) for who in range(12)]))
    assert set(codes) <= {"OK", "NOT_FOUND", "UNAUTHENTICATED", "ABORTED"}, set(codes)
    assert codes.count("OK") > 50
    with contextlib.closing(psycopg2.connect(**suite.database())) as database, database.cursor() as cursor:
        database.autocommit = True

        def rows(sql):
            cursor.execute(sql)
            return cursor.fetchall()

        assert not {what for what, sql in COUNTED.items() if rows(sql)}
        cursor.execute("UPDATE posts.forgotten_accounts SET forgotten_at = now() - interval '6 minutes'")
        wait_until(lambda: not rows("SELECT FROM posts.forgotten_accounts"), "what was left behind is erased")
        assert not {what for what, sql in COUNTED.items() if rows(sql)}
        assert rows(REMAINS) == []


@pytest.mark.parametrize("title", ["Привет, мир", "日本語の題", "مرحبا بالعالم", "Crème brûlée", "🙂", "e\u0301\u0323"])
def test_equal_titles_at_once_get_different_slugs(call_grpc, new_account, unique, title):
    token = new_account()["token"]
    request = {"article": {"title": title, "description": "d", "body": "b"}}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: call_grpc("posts", "CreateArticle", request, token), range(12)))
    assert {code for code, _ in answers} == {"OK"}, answers
    slugs = {answer["article"]["slug"] for _, answer in answers}
    assert len(slugs) == 12
    for slug in slugs:
        assert call_grpc("posts", "GetArticle", {"slug": slug})[1]["article"]["title"] == title
