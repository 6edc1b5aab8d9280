"""What nobody needs any more is removed as fast as it comes, and however much it is, nothing else waits for it."""
import contextlib

import psycopg2
import pytest
from chat_fixture import chat_caller
from stoa_contract import GrpcClient, account_maker
from stoa_suite_fixture import Suite, wait_until


@pytest.fixture(scope="module")
def purging():
    with Suite(STOA_CHAT_PURGE_INTERVAL_S=1) as suite:
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
