"""Migrations beside the version before: what it uses stays as it was, and it serves while they run."""
import contextlib
import dataclasses
import itertools
import re

import psycopg2
import pytest
from stoa_contract import GrpcClient
from stoa_suite_fixture import REPOSITORY, call_loads, load_tool, wait_until
from test_operation import account

SERVICES = ("auth", "posts", "chat")


describe_database = load_tool("describe-database")


# ---- the document ----


def test_the_document_is_current(suite):
    """docs/database.md against the schema that a suite runs on; `make database-doc` writes it."""
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
        before, written, _ = describe_database.parts(describe_database.DOCUMENT.read_text())
        assert written == describe_database.render(cursor)
        for table in describe_database.columns(cursor):
            assert table.endswith(".schema_migrations") or f"`{table}`" in before, f"say in docs/database.md what {table} is"


# ---- what a migration leaves as it was ----

# NOT NULL that went away: the version before may now read NULL there, and does right with it.
LOOSENED = {
    # An unknown author was nobody's profile already: the message was left out of its pages.
    "chat.messages.author_id",
    # Nobody reads it.
    "chat.rooms.created_by",
}


# Columns that came later, with the constraints on them: what the version before inserts has their defaults, which
# satisfy these.
SATISFIED = {"chat.rooms": ("kind", "member_count", "client_id", "direct_low", "first_seq", "events_before", "retain_")}


@dataclasses.dataclass
class Surface:
    """What statements of a service and of others rely on, in one schema."""

    columns: dict  # "posts.articles.slug": (type, may be null)
    required: set  # columns that an insert must give a value
    functions: dict  # signature: result
    constraints: dict  # (table, definition): what it forbids
    grants: set


def surface(cursor, schema):
    def rows(sql):
        cursor.execute(sql, {"schema": schema})
        return cursor.fetchall()

    fields = rows("""
        SELECT c.oid::regclass || '.' || a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
               a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND c.relkind <> 'v'
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace::regnamespace::text = %(schema)s AND c.relkind IN ('r', 'p', 'v')""")
    return Surface(
        columns={name: (kind, null) for name, kind, null, _ in fields},
        required={name for name, _, _, required in fields if required},
        functions=dict(rows("SELECT oid::regprocedure::text, pg_get_function_result(oid) FROM pg_proc"
                            " WHERE pronamespace::regnamespace::text = %(schema)s")),
        constraints={(table, unordered(text)): text for table, text in rows(
            "SELECT i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indrelid"
            " WHERE i.indisunique AND c.relnamespace::regnamespace::text = %(schema)s UNION ALL"
            " SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace::regnamespace::text = %(schema)s AND contype IN ('c', 'f', 'x')")},
        grants=set(rows("SELECT c.oid::regclass::text, a.grantee::regrole::text, a.privilege_type FROM pg_class c,"
                        " aclexplode(c.relacl) a WHERE c.relnamespace::regnamespace::text = %(schema)s")),
    )


def unordered(definition):
    """What a unique index forbids is the same in any order of its columns."""
    if not definition.startswith("CREATE UNIQUE INDEX"):
        return definition
    return re.sub(r"(?<=\()\w+(, \w+)+(?=\))", lambda columns: ", ".join(sorted(columns[0].split(", "))), definition, count=1)


@pytest.fixture(scope="module")
def steps():
    """"posts/0002_comments": (surface before, surface after), of every migration."""
    found = {}
    with describe_database.private_postgres(migrated=False) as conninfo:
        with contextlib.closing(psycopg2.connect(conninfo)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for service, file in migrations():
                before = surface(cursor, service)
                describe_database.migrate(conninfo, service, file)
                found[f"{service}/{file.stem}"] = before, surface(cursor, service)
    return found


def migrations():
    return [(service, file) for service in SERVICES for file in describe_database.migrations(service)]


def tables(surface):
    return {name.rpartition(".")[0] for name in surface.columns}


@pytest.mark.parametrize("name", [f"{service}/{file.stem}" for service, file in migrations()])
def test_the_version_before_finds_what_it_uses(steps, name):
    before, after = steps[name]
    gone = {column: kind for column, (kind, _) in before.columns.items() if after.columns.get(column, ("",))[0] != kind}
    assert not gone, "columns that are gone or of another type"
    for column, (_, null) in before.columns.items():
        assert after.columns[column][1] == null or (not null and column in LOOSENED), f"{column} may be null: {not null}"
    new = {column for column in after.required - before.required if column.rpartition(".")[0] in tables(before)}
    assert not new, "the inserts of the version before give them no value"
    assert before.functions.items() <= after.functions.items()
    assert before.grants <= after.grants
    stricter = {(table, text) for table, text in after.constraints.keys() - before.constraints.keys() if table in tables(before)
                and not any(column in text for column in SATISFIED.get(table, ()))}
    assert not stricter, "the version before may write what these refuse"


def test_what_would_break_is_found(steps):
    """The comparison by itself, on the largest schema."""
    _, good = steps["posts/0001_articles"]
    column = "posts.articles.slug"
    worse = {
        "dropped": dataclasses.replace(good, columns={name: kind for name, kind in good.columns.items() if name != column}),
        "other type": dataclasses.replace(good, columns={**good.columns, column: ("bytea", False)}),
        "null": dataclasses.replace(good, columns={**good.columns, column: ("text", True)}),
        "required": dataclasses.replace(good, required=good.required | {"posts.articles.new"}),
        "unique": dataclasses.replace(good, constraints={**good.constraints, ("posts.articles", "UNIQUE (title)"): ""}),
        "function": dataclasses.replace(good, functions={}),
    }
    for what, after in worse.items():
        with pytest.raises(AssertionError):
            test_the_version_before_finds_what_it_uses({"x": (good, after)}, "x")


# ---- live traffic ----


def test_a_newer_schema_beside_live_traffic(own_suite, contract):
    """The next version migrates (a column more in each table, a table, an index) while this one works: no call fails,
    and an instance of this version that starts afterwards serves as well."""
    suite = own_suite()
    call = GrpcClient(contract, suite.grpc)
    token = account(call)
    other = account(call, "bob")
    slug = call("posts", "CreateArticle", {"article": {"title": "t", "description": "d", "body": "b"}}, token)[1]["article"]["slug"]
    room = call("chat", "CreateRoom", {"room": {"name": "r"}}, token)[1]["room"]["id"]
    assert call("chat", "JoinRoom", {"room": room}, other)[0] == "OK"
    credentials = {"email": "ada@example.com", "password": "password123"}
    numbers = itertools.count()

    def calls():
        n = next(numbers)
        yield "auth", "GetCurrentUser", {}, token
        yield "auth", "UpdateCurrentUser", {"user": {"bio": f"bio {n}"}}, token
        yield "auth", "Login", {"user": credentials}, None
        yield "auth", "ListSessions", {}, token
        yield "posts", "CreateArticle", {"article": {"title": f"t {n}", "description": "d", "body": "b", "tagList": ["x"]}}, token
        yield "posts", "UpdateArticle", {"slug": slug, "article": {"body": f"b {n}", "tagList": [f"y{n}"]}}, token
        yield "posts", "GetArticle", {"slug": slug}, other
        yield "posts", "FavoriteArticle", {"slug": slug}, other
        yield "posts", "UnfavoriteArticle", {"slug": slug}, other
        yield "posts", "FollowProfile", {"username": "ada"}, other
        yield "posts", "ListFeed", {}, other
        yield "posts", "ListArticles", {"tag": "x", "author": "ada"}, other
        yield "posts", "ListArticles", {"tag": "x"}, None
        yield "posts", "CreateComment", {"slug": slug, "comment": {"body": "c"}}, other
        yield "posts", "ListComments", {"slug": slug}, None
        yield "posts", "ListTags", {}, None
        yield "chat", "SendMessage", {"room": room, "message": {"text": "m", "clientId": f"{n}"}}, token
        seq = call("chat", "ListMessages", {"room": room, "afterSeq": 0}, token)[1]["messages"][0]["seq"]
        yield "chat", "EditMessage", {"room": room, "seq": seq, "text": f"m {n}"}, token
        yield "chat", "AddReaction", {"room": room, "seq": seq, "emoji": "+1"}, other
        yield "chat", "RemoveReaction", {"room": room, "seq": seq, "emoji": "+1"}, other
        yield "chat", "MarkRead", {"room": room, "seq": n}, other
        yield "chat", "JoinRoom", {"room": room}, other
        yield "chat", "UpdateRoom", {"room": room, "changes": {"name": f"r {n}"}}, token
        yield "chat", "ListMyRooms", {}, other
        yield "chat", "ListMembers", {"room": room}, other
        yield "chat", "SearchMessages", {"query": "m"}, other
        yield "chat", "ListEvents", {"room": room, "afterSeq": n}, other
        yield "chat", "ListMessages", {"room": room}, other
        yield "chat", "ListRooms", {}, other

    def one_after_another():
        while True:
            for service, method, request, who in calls():
                yield service, method, request, who

    def make():
        todo = one_after_another()
        return lambda: call(*next(todo), timeout=20)

    with call_loads(make(), make(), make()) as workers:
        for worker in workers:
            worker.more(41)  # all calls have been made
        for service in SERVICES:
            migrate_further(suite, service)
        for worker in workers:
            worker.more(41)
    assert not [result for worker in workers for result in worker.results if result[1] != "OK"]
    for service in SERVICES:
        suite.wait_restarted(service, suite.kill(service))
    for service, method, request, who in calls():
        # The channels connect again when they find out.
        wait_until(lambda: call(service, method, request, who)[0] == "OK", f"{method} is served again")
        assert "newer than this binary" in suite.log(service)
    # And the whole suite starts, as after a rollback: its migrations have nothing to do.
    assert suite.command("down").returncode == 0
    suite.process.wait(60)  # the one in the foreground, which has the folder until then
    up = suite.command("up")
    try:
        assert up.returncode == 0, up.stderr
    finally:
        assert suite.command("down").returncode == 0


def migrate_further(suite, service):
    """As the next version's migrate would (lib/pg/migrate.c): in one transaction that gives way and comes again, as the
    service's role."""
    with contextlib.closing(psycopg2.connect(**suite.database(f"stoa_{service}"))) as connection:

        def migrated():
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '250ms'")
                    next_version(cursor, service)
                return True
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
                return False

        wait_until(migrated, "the migration gets its locks", 60)


def next_version(cursor, service):
    cursor.execute("SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'r' AND relnamespace = %s::regnamespace"
                   " AND relname <> 'schema_migrations' ORDER BY 1", (service,))
    for table, in cursor.fetchall():
        cursor.execute(f"ALTER TABLE {table} ADD COLUMN next_version text")
    cursor.execute(f"CREATE TABLE {service}.next_version (n bigint PRIMARY KEY)")
    busiest = {"auth": "sessions", "posts": "comments", "chat": "messages"}[service]
    cursor.execute(f"CREATE INDEX next_version_index ON {service}.{busiest} (created_at)")
    if service == "auth":
        cursor.execute("CREATE OR REPLACE VIEW auth.profiles AS"
                       " SELECT id, username, username_key, bio, image, next_version FROM auth.users")
    cursor.execute(f"INSERT INTO {service}.schema_migrations (version, name, checksum)"
                   f" SELECT max(version) + 1, 'next', '' FROM {service}.schema_migrations")
