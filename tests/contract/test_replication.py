"""A service in a database of its own: posts on another cluster, with what auth offers arriving by logical replication
(deploy/replication, docs/scaling.md)."""
import contextlib
import os
import subprocess

import psycopg2
import pytest
from stoa_contract import GrpcClient, account_maker
from stoa_suite_fixture import REPOSITORY, SERVICES, Suite, clean_environment, output_folder, wait_until

SUBSCRIPTION = "stoa_posts_reads_auth"


def ask(suite, sql, *values):
    """The rows of a statement, as the superuser."""
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else None


def run_sql(suite, file, **environment):
    database = suite.database()
    command = ["psql", "-Xq", "-h", database["host"], "-U", "postgres", "-d", "stoa", "-f", REPOSITORY / "deploy" / file]
    done = subprocess.run(command, env={**os.environ, "PGPASSWORD": database["password"], **environment}, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def publish(suite):
    """auth's database, ready to be followed. Returns how it is reached from another server of this machine."""
    ask(suite, "ALTER SYSTEM SET wal_level = logical")
    suite.supervise("restart", "postgres")
    wait_until(lambda: suite.command("status").returncode == 0, "ready again", 60)
    run_sql(suite, "replication/publisher.sql")
    secret = "only-for-this-test"
    ask(suite, "ALTER ROLE stoa_replica PASSWORD %s", secret)
    # The other server is the same account's.
    passfile = suite.run_dir / "secrets/replica"
    passfile.write_text(f"*:*:*:stoa_replica:{secret}\n")
    passfile.chmod(0o600)
    if os.geteuid() == 0:
        owner = (suite.run_dir / "secrets").stat()
        os.chown(passfile, owner.st_uid, owner.st_gid)
    return f"host={suite.run_dir}/sock dbname=stoa user=stoa_replica passfile={passfile}"


def move_posts(second, connection):
    """A cluster that has never had anything of auth's, with posts on it."""
    second.supervise("stop", "gateway", *SERVICES)
    ask(second, "DROP SCHEMA auth, posts, chat CASCADE")
    run_sql(second, "bootstrap.sql")
    run_sql(second, "replication/subscriber.sql", STOA_AUTH_CONNECTION=connection, STOA_SUBSCRIPTION=SUBSCRIPTION)
    database = second.database("stoa_posts")
    environment = {
        **clean_environment(), "STOA_LISTEN": "unix:/nowhere/posts.sock",
        "STOA_DATABASE": f"host={database['host']} dbname=stoa user=stoa_posts", "STOA_DATABASE_PASSWORD": database["password"],
    }
    migrated = subprocess.run([output_folder() / "bin/posts", "migrate"], env=environment, capture_output=True, text=True)
    assert migrated.returncode == 0, migrated.stderr
    second.supervise("start", "posts")


@pytest.fixture(scope="module")
def split(contract, unique):
    """(the suite with auth, the suite with posts, call_grpc of both)"""
    with Suite(own_cluster=True) as first, Suite(own_cluster=True) as second:
        move_posts(second, publish(first))
        first.supervise("stop", "posts")
        call_grpc = GrpcClient(contract, lambda service: (first if service == "auth" else second).grpc(service))
        yield first, second, call_grpc


@pytest.fixture(scope="module")
def call(split):
    """call(service, method, request, token): until it succeeds, as with what is still on its way; the answer"""
    _, _, call_grpc = split

    def make(service, method, request, token=None):
        return wait_until(lambda: (answer := call_grpc(service, method, request, token))[0] == "OK" and answer, method, 60)[1]

    return make


@pytest.fixture(scope="module")
def writer(split, unique, call):
    """An account, and an article of it in the other database."""
    account = account_maker(split[2], unique)("writer")
    fields = {"title": unique("Title "), "description": "About it", "body": "The text."}
    article = call("posts", "CreateArticle", {"article": fields}, account["token"])["article"]
    assert article["author"]["username"] == account["username"]
    return account, article["slug"]


def test_views_are_the_same(split):
    """What auth's migrations make and what subscriber.sql makes: names, types, and the expression of each."""
    columns = """SELECT table_name, column_name, data_type, collation_name FROM information_schema.columns
        WHERE table_schema = 'auth' AND table_name IN (SELECT viewname FROM pg_views WHERE schemaname = 'auth')
        ORDER BY table_name, ordinal_position"""
    views = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'auth' ORDER BY viewname"
    first, second, _ = split
    assert len(ask(first, views)) == 3
    assert ask(first, columns) == ask(second, columns) and ask(first, views) == ask(second, views)


def test_nothing_private_goes_along(split):
    first, second, _ = split
    columns = ask(second, "SELECT column_name FROM information_schema.columns"
                          " WHERE table_schema = 'auth' AND table_name = 'users'")
    assert sorted(name for (name,) in columns) == ["bio", "id", "image", "username", "username_key"]
    role = {**first.database("stoa_auth"), "user": "stoa_replica", "password": "only-for-this-test"}
    with contextlib.closing(psycopg2.connect(**role)) as connection, connection.cursor() as cursor:
        for table in ("auth.users", "auth.sessions", "posts.articles"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"SELECT * FROM {table}")
            connection.rollback()


def test_a_changed_profile_arrives(split, call, writer):
    account, slug = writer
    call("auth", "UpdateCurrentUser", {"user": {"bio": "Has moved."}}, account["token"])
    wait_until(lambda: call("posts", "GetArticle", {"slug": slug})["article"]["author"].get("bio") == "Has moved.", "the new profile")


def test_an_ended_session_is_refused(split, call, writer):
    account, slug = writer
    credentials = {"email": account["email"], "password": account["password"]}
    token = call("auth", "Login", {"user": credentials})["user"]["token"]
    call("posts", "FavoriteArticle", {"slug": slug}, token)
    call("auth", "EndCurrentSession", {}, token)
    call_grpc = split[2]
    wait_until(lambda: call_grpc("posts", "FavoriteArticle", {"slug": slug}, token)[0] == "UNAUTHENTICATED", "refused")


def test_without_auths_database(split, call, writer, unique):
    """It goes on with what it has, and catches up by itself."""
    first, second, call_grpc = split
    account, slug = writer
    first.supervise("stop", "postgres")
    call("posts", "GetArticle", {"slug": slug})
    call("posts", "FavoriteArticle", {"slug": slug}, account["token"])
    first.supervise("start", "postgres")
    name = unique("late")
    request = {"user": {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}}
    late = call("auth", "CreateUser", request)
    call("posts", "FavoriteArticle", {"slug": slug}, late["user"]["token"])


def test_a_deleted_account_is_forgotten(split, call, writer):
    account, slug = writer
    call("auth", "DeleteCurrentUser", {}, account["token"])
    call_grpc = split[2]
    wait_until(lambda: call_grpc("posts", "GetArticle", {"slug": slug})[0] == "NOT_FOUND", "its articles are gone")
