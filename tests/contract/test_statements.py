"""How many statements each method sends to Postgres, whatever it returns: as many as STATEMENTS says."""
import contextlib
import re

import psycopg2
import pytest
from stoa_suite_fixture import Suite, wait_until
from test_authorization import METHODS, RULES, World

# By name (services/*/statements.c), for what is not one statement of a method's own. Transactions name what they begin
# and end with as well.
STATEMENTS = {
    "CreateUser": ["taken", "create_account"],
    "Login": ["find_account", "start_session"],
    "UpdateCurrentUser": ["before_change", "BEGIN", "change_account", "COMMIT"],
    "DeleteCurrentUser": ["before_change", "BEGIN", "lock_account", "end_all_sessions", "delete_account", "COMMIT"],
    "UpdateArticle": ["BEGIN", "lock_article", "update_article", "COMMIT"],
    # The room in the answer is read when the change has committed.
    **{name: [statement, "get_room"] for name, statement in (
        ("CreateRoom", "create_room"), ("OpenDirectRoom", "open_direct_room"), ("UpdateRoom", "update_room"), ("JoinRoom", "join_room"))},
    "SearchMessages": ["BEGIN", "limit_search", "search_messages", "COMMIT"],
    # One for each page, of which each has one.
    "ExportRoom": ["get_room", "list_members", "list_events"],
    "UpdateDraft": ["BEGIN", "lock_draft", "update_draft", "COMMIT"],
    "DeleteDraft": ["BEGIN", "lock_draft", "delete_draft", "COMMIT"],
    "PublishDraft": ["BEGIN", "lock_draft", "create_article", "delete_draft", "COMMIT"],
    "DeleteArticle": ["BEGIN", "lock_article", "delete_article", "COMMIT"],
}
# What the services do by themselves; <unnamed> is what lib/pg sets on a new connection.
OWN = {"<unnamed>", "verification_keys", "revocations", "publish_key", "purge_keys", "purge_account", "purge_articles", "purge_tags",
       "purge_sessions", "purge_revocations", "purge_room", "sweep_room", "sort_search_index", "database_identity", "rooms_ahead",
       "profiles"}
EXECUTED = re.compile(r"^(stoa_\w+) LOG:  (?:execute (\S+?)|statement): (.*)", re.MULTILINE)


@pytest.fixture(scope="module")
def logged():
    """A suite whose Postgres writes down every statement."""
    # Whatever is queued for the search stays there meanwhile.
    with Suite(STOA_POSTS_INDEX_INTERVAL_MS="60000") as suite, contextlib.closing(psycopg2.connect(**suite.database())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for setting, value in (("log_statement", "all"), ("log_line_prefix", "%u ")):
                cursor.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
            cursor.execute("SELECT pg_reload_conf()")
        yield suite


@pytest.fixture(scope="module")
def world(logged, unique):
    """With more than a page of everything."""
    made = World(logged, unique)
    for _ in range(22):
        made.publish(made.owner)
        made.say(made.owner)
        made.draw_up(made.owner)
        made.call("posts", "CreateArticle", {"article": {"title": "t", "description": "d", "body": "b"}}, made.other["token"])
        made.sign_in(made.owner)
        another = made.call("chat", "CreateRoom", {"room": {"name": "Another"}}, made.other["token"])["room"]["id"]
        made.call("chat", "JoinRoom", {"room": another}, made.owner["token"])
        guest = made.account("guest")
        made.call("chat", "JoinRoom", {"room": made.room["id"]}, guest["token"])
        made.call("chat", "SendMessage", {"room": made.room["id"], "message": {"text": "Hello"}}, made.other["token"])
    for _ in range(19):  # and the one that it begins with: as many as are kept
        change = {"slug": made.article["slug"], "article": {"body": unique("Another text. ")}}
        made.call("posts", "UpdateArticle", change, made.owner["token"])
    return made


def statements(suite, begin):
    """What the services' roles have executed since the log was `begin` long, and when it ended."""
    text = suite.log("postgres")[begin:]
    names = [name or sql.split()[0].rstrip(";") for _, name, sql in EXECUTED.findall(text)]
    return [name for name in names if name not in OWN]


def mark(suite, logged_by):
    """Lets the log catch up: waits until a statement that nobody else makes is in it."""
    begin = len(suite.log("postgres"))
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT '{logged_by}'")
    wait_until(lambda: logged_by in suite.log("postgres")[begin:], "the log has what was executed")


# What makes the account another one comes last.
@pytest.mark.parametrize("path", sorted(RULES, key=lambda path: RULES[path].spends or RULES[path].uses_up))
def test_as_many_as_it_says(logged, world, path, unique):
    rule, method = RULES[path], METHODS[path]
    name = path.rpartition("/")[2]
    request = rule.request(world, "owner")
    mark(logged, unique("before"))
    begin = len(logged.log("postgres"))
    code, answer = world.grpc(method.service, name, request, world.owner["token"])
    with world.spending(rule) if rule.spends or rule.uses_up else contextlib.nullcontext():
        assert code == "OK", answer
        mark(logged, unique("after"))
        executed = statements(logged, begin)
        wanted = STATEMENTS.get(name)
        assert executed == wanted if wanted else len(executed) == 1, executed
    for items in answer.values():
        if isinstance(items, list) and name not in ("GetJsonWebKeySet", "ListTags", "GetPresence"):
            assert len(items) >= 20, f"{name} has shown what it does for many"
