"""What the services' roles may do in Postgres: their own schema, and of another's what is listed here."""
import contextlib

import psycopg2
import pytest

ROLES = ("stoa_auth", "stoa_posts", "stoa_chat")
READ_OF_AUTH = {("auth.profiles", "SELECT"), ("auth.verification_keys", "SELECT"), ("auth.revocations", "SELECT")}
# With the caller's rights, so it lets nobody do what they could not do anyway.
HARMLESS = {"auth.forget_account_elsewhere(bigint)", "posts.shard()"}
OFFERED = {
    "stoa_auth": {("posts.forget_account(bigint)", "EXECUTE"), ("chat.forget_account(bigint)", "EXECUTE")},
    "stoa_posts": READ_OF_AUTH,
    "stoa_chat": READ_OF_AUTH,
}


@pytest.fixture(scope="module")
def ask(suite):
    """ask(sql, **values) -> rows, as the superuser"""
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def make(sql, **values):
            cursor.execute(sql, values)
            return cursor.fetchall()

        yield make


@pytest.mark.parametrize("role", ROLES)
def test_what_others_offer_and_nothing_else(ask, role):
    """As Postgres would decide, whatever the grants are that lead to it."""
    elsewhere = "WHERE n.nspname IN ('auth', 'posts', 'chat') AND n.nspname <> split_part(%(role)s, '_', 2)"
    usable = " AND has_schema_privilege(%(role)s, n.oid, 'USAGE')"
    tables = ask(
        "SELECT c.oid::regclass::text, privilege FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) privilege "
        f"{elsewhere} AND c.relkind IN ('r', 'v', 'm', 'p', 'f') AND (has_table_privilege(%(role)s, c.oid, privilege)"
        "  OR privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege(%(role)s, c.oid, privilege))",
        role=role)
    sequences = ask(
        "SELECT c.oid::regclass::text, privilege FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,"
        f" unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) privilege {elsewhere} AND c.relkind = 'S'"
        " AND has_sequence_privilege(%(role)s, c.oid, privilege)", role=role)
    functions = ask(
        "SELECT p.oid::regprocedure::text, 'EXECUTE' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        f"{elsewhere}{usable} AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')", role=role)
    may = {*tables, *sequences, *(each for each in functions if each[0] not in HARMLESS)}
    assert may == OFFERED[role]


def test_harmless_functions_have_the_rights_of_their_caller(ask):
    for name in HARMLESS:
        assert ask("SELECT prosecdef FROM pg_proc WHERE oid = %(name)s::regprocedure", name=name) == [(False,)]


def test_what_runs_with_its_owners_rights_fixes_where_it_looks(ask):
    """A function for others must not be led astray by the caller's search_path."""
    rows = ask("SELECT oid::regprocedure::text, proconfig FROM pg_proc WHERE prosecdef"
               " AND pronamespace::regnamespace::text IN ('auth', 'posts', 'chat')")
    assert {name for name, _ in rows} == {"posts.forget_account(bigint)", "chat.forget_account(bigint)"}
    assert all(config == ["search_path=pg_catalog, pg_temp"] for _, config in rows)


@pytest.mark.parametrize("role", ROLES)
def test_ordinary_roles(ask, role):
    attributes = ask("SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = %(role)s",
                     role=role)
    assert attributes == [(False,) * 5]
    assert ask("SELECT roleid::regrole::text FROM pg_auth_members WHERE member = %(role)s::regrole", role=role) == []
    assert ask("SELECT datname, privilege FROM pg_database, unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) privilege"
               " WHERE datallowconn AND has_database_privilege(%(role)s, datname, privilege)", role=role) == [("stoa", "CONNECT")]
    assert ask("SELECT n.nspname FROM pg_namespace n WHERE has_schema_privilege(%(role)s, n.oid, 'CREATE')", role=role) == [
        (role.removeprefix("stoa_"),)]
