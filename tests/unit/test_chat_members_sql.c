/* The statements of chat on a real Postgres: rooms and their members, what roles may do, and the
 * migration of rooms from before there were members. */
#include "chat_sql_fixture.h"

/* ---- rooms ---- */

static void a_direct_room_is_opened_once(void **state UNUSED)
{
    enum { N = 100 };
    static struct answer answers[N];
    struct answer a;

    for (int i = 0; i < N; i++)
        submit(&answers[i], OPEN_DIRECT_ROOM, I(i % 2 ? ADA : BOB), i % 2 ? "bob" : "ada");
    for (int i = 0; i < N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        assert_string_equal(db_get_text(&answers[i].result, 0, OUTCOME).p, "ok");
        assert_int_equal(db_get_int8(&answers[i].result, 0, OUTCOME_ROOM), 1);
        answer_free(&answers[i]);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms"), 1);
    change("self", OPEN_DIRECT_ROOM, I(ADA), "ada");
    change("no_user", OPEN_DIRECT_ROOM, I(ADA), "nobody");
    run(&a, GET_ROOM, I(BOB), I(1));
    assert_string_equal(db_get_text(&a.result, 0, ROOM_PEER_USERNAME).p, "Ada");
    answer_free(&a);
    run(&a, GET_ROOM, I(CLEO), I(1));
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
    /* It stays as it is. */
    change("direct_room", LEAVE_ROOM, I(ADA), I(1));
    change("direct_room", INVITE_MEMBER, I(ADA), I(1), "cleo");
    change("direct_room", REMOVE_MEMBER, I(ADA), I(1), "bob");
    change("direct_room", SET_MEMBER_ROLE, I(ADA), I(1), "bob", I(OWNER));
    change("direct_room", UPDATE_ROOM, I(ADA), I(1), "name", NONE, NO_NUMBER, NO_NUMBER);
    change("direct_room", DELETE_ROOM, I(ADA), I(1));
    change("no_room", JOIN_ROOM, I(CLEO), I(1));
}

static void a_create_sent_again_makes_nothing(void **state UNUSED)
{
    enum { N = 50 };
    static struct answer answers[N];

    for (int i = 0; i < N; i++)
        submit(&answers[i], CREATE_ROOM, I(ADA), I(PRIVATE), "Room", "", "c1", I(0), I(0));
    for (int i = 0; i < N; i++)
        take_outcome(&answers[i], "ok");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms"), 1);
    change("ok", CREATE_ROOM, I(BOB), I(PRIVATE), "Room", "", "c1", I(0), I(0));
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms"), 2);
}

/* Owners who all leave at once: one stays. */
static void the_last_owner_stays(void **state UNUSED)
{
    static struct answer answers[3];
    int64_t room = create_with_members(PUBLIC);
    int left = 0;

    change("last_owner", LEAVE_ROOM, I(ADA), room);
    change("last_owner", SET_MEMBER_ROLE, I(ADA), room, "ada", I(MEMBER));
    change("ok", SET_MEMBER_ROLE, I(ADA), room, "ada", I(OWNER));
    change("ok", SET_MEMBER_ROLE, I(ADA), room, "bob", I(OWNER));
    change("ok", SET_MEMBER_ROLE, I(ADA), room, "cleo", I(OWNER));
    for (int i = 0; i < 3; i++)
        submit(&answers[i], LEAVE_ROOM, I(1 + i), room);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        left += strcmp(db_get_text(&answers[i].result, 0, OUTCOME).p, "ok") == 0;
        answer_free(&answers[i]);
    }
    assert_int_equal(left, 2);
}

/* ---- members ---- */

static void roles_say_who_may(void **state UNUSED)
{
    int64_t room = create_with_members(PRIVATE);

    /* Dan is nobody there, Cleo a member, Bob a moderator, Ada the owner. */
    change("no_room", INVITE_MEMBER, I(DAN), room, "dan");
    change("no_room", JOIN_ROOM, I(DAN), room);
    change("forbidden", INVITE_MEMBER, I(CLEO), room, "dan");
    change("forbidden", UPDATE_ROOM, I(CLEO), room, "Mine", NONE, NO_NUMBER, NO_NUMBER);
    change("forbidden", REMOVE_MEMBER, I(CLEO), room, "bob");
    change("forbidden", SET_MEMBER_ROLE, I(BOB), room, "cleo", I(MODERATOR));
    change("forbidden", SET_MEMBER_ROLE, I(CLEO), room, "cleo", I(OWNER));
    change("forbidden", DELETE_ROOM, I(BOB), room);
    change("forbidden", REMOVE_MEMBER, I(BOB), room, "ada");
    change("self", REMOVE_MEMBER, I(ADA), room, "ada");
    change("no_user", INVITE_MEMBER, I(BOB), room, "nobody");
    change("no_member", REMOVE_MEMBER, I(BOB), room, "dan");
    change("no_member", SET_MEMBER_ROLE, I(ADA), room, "dan", I(MEMBER));
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 3);

    change("ok", UPDATE_ROOM, I(BOB), room, "Ours", NONE, NO_NUMBER, NO_NUMBER); /* 4 */
    change("ok", UPDATE_ROOM, I(BOB), room, "Ours", "", NO_NUMBER, NO_NUMBER);   /* as it was */
    change("ok", INVITE_MEMBER, I(BOB), room, "dan");                            /* 5 */
    change("ok", INVITE_MEMBER, I(BOB), room, "dan");
    change("ok", REMOVE_MEMBER, I(BOB), room, "dan"); /* 6 */
    change("no_member", REMOVE_MEMBER, I(BOB), room, "dan");
    change("ok", SET_MEMBER_ROLE, I(ADA), room, "cleo", I(MODERATOR)); /* 7 */
    change("forbidden", REMOVE_MEMBER, I(BOB), room, "cleo");
    change("ok", REMOVE_MEMBER, I(ADA), room, "cleo"); /* 8 */
    change("ok", LEAVE_ROOM, I(BOB), room);            /* 9 */
    change("no_room", LEAVE_ROOM, I(BOB), room);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 9);
    change("ok", DELETE_ROOM, I(ADA), room);
    change("no_room", DELETE_ROOM, I(ADA), room);
    change("no_room", SEND_MESSAGE, I(ADA), room, "gone", NO_NUMBER, NONE);
}

/* Whoever was removed sees nothing more, and only an invitation changes that. */
static void a_removed_member_stays_out(void **state UNUSED)
{
    static const enum chat_statement reads[] = {LIST_MEMBERS, LIST_EVENTS};
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    send(room, ADA, "secret");
    change("ok", REMOVE_MEMBER, I(BOB), room, "cleo");
    change("removed", JOIN_ROOM, I(CLEO), room);
    change("not_member", SEND_MESSAGE, I(CLEO), room, "me", NO_NUMBER, NONE);
    for (size_t i = 0; i < ARRAY_SIZE(reads); i++) {
        run(&a, reads[i], I(CLEO), room, I(0), I(10));
        assert_int_equal(db_rows(&a.result), 1);
        assert_false(db_get_bool(&a.result, 0, MESSAGES_MAY_READ));
        assert_true(db_is_null(&a.result, 0, MESSAGE_SEQ));
        answer_free(&a);
    }
    run(&a, SEARCH_MESSAGES, I(CLEO), NO_NUMBER, "secret", I(INT64_MAX), I(INT64_MAX), I(INT64_MAX),
        I(10));
    assert_true(db_is_null(&a.result, 0, MESSAGE_SEQ));
    answer_free(&a);
    run(&a, LIST_MY_ROOMS, I(CLEO), I(INT64_MAX), I(INT64_MAX), I(10));
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
    change("ok", INVITE_MEMBER, I(BOB), room, "cleo");
    send(room, CLEO, "back");
}

static void memberships_have_limits(void **state UNUSED)
{
    int64_t room = create(ADA, PUBLIC);

    pg_sql("WITH made AS (INSERT INTO chat.rooms (name, description, created_by, member_count)"
           "   SELECT 'Room', '', 1, 1 FROM generate_series(1, 498) RETURNING id)"
           " INSERT INTO chat.members (room_id, account_id, role) SELECT id, 1, 3 FROM made");
    create(ADA, PUBLIC);
    change("too_many_rooms", CREATE_ROOM, I(ADA), I(PUBLIC), "Room", "", NONE, I(0), I(0));
    change("too_many_rooms", OPEN_DIRECT_ROOM, I(ADA), "bob");
    change("they_have_too_many_rooms", OPEN_DIRECT_ROOM, I(BOB), "ada");
    change("too_many_rooms", JOIN_ROOM, I(ADA), create(BOB, PUBLIC));
    change("they_have_too_many_rooms", INVITE_MEMBER, I(BOB), create(BOB, PRIVATE), "ada");
    change("ok", DELETE_ROOM, I(ADA), I(2));
    change("they_have_too_many_rooms", OPEN_DIRECT_ROOM, I(BOB), "ada"); /* only Ada may go on */
    change("ok", OPEN_DIRECT_ROOM, I(ADA), "bob");
    pg_sql("DELETE FROM chat.members WHERE account_id = 1 AND room_id BETWEEN 3 AND 103");
    pg_sql("DELETE FROM chat.rooms WHERE id BETWEEN 3 AND 103");
    change("ok", OPEN_DIRECT_ROOM, I(CLEO), "ada");
    change("they_have_too_many_rooms", OPEN_DIRECT_ROOM, I(DAN), "ada");

    pg_sql("INSERT INTO chat.members (room_id, account_id, role)"
           " SELECT 1, i, 1 FROM generate_series(1000, 10998) i");
    pg_sql("UPDATE chat.rooms SET member_count = 10000 WHERE id = 1");
    change("room_full", JOIN_ROOM, I(BOB), room);
    change("room_full", INVITE_MEMBER, I(ADA), room, "bob");
    pg_sql("DELETE FROM chat.members WHERE account_id = 1000");
    pg_sql("UPDATE chat.rooms SET member_count = 9999 WHERE id = 1");
    change("ok", JOIN_ROOM, I(BOB), room);
}

/* ---- the migration of what was there before there were members ---- */

static void old_rooms_have_members(void **state UNUSED)
{
    char command[512];
    struct answer a;

    db_close(db);
    sql_as_admin("DROP SCHEMA chat CASCADE; CREATE SCHEMA chat AUTHORIZATION stoa_chat");
    snprintf(command, sizeof(command),
             "psql -Xq1 -v ON_ERROR_STOP=1 '%s' -f services/chat/migrations/0001_rooms.sql",
             pg_conninfo);
    sql_shell("%s", command);
    snprintf(
        command, sizeof(command),
        "psql -Xq1 -v ON_ERROR_STOP=1 '%s' -f services/chat/migrations/0002_forget_account.sql",
        pg_conninfo);
    sql_shell("%s", command);
    pg_sql("INSERT INTO chat.rooms (name, description, created_by, last_seq)"
           " VALUES ('Ada''s', '', 1, 3), ('nobody''s', '', 99, 1), ('left', '', 99, 0)");
    pg_sql("INSERT INTO chat.messages VALUES (1, 1, 2, 'c', 'one', now()),"
           " (1, 2, 1, NULL, 'two', now()), (1, 3, 98, NULL, 'three', now()),"
           " (2, 1, 3, NULL, 'one', now())");
    snprintf(command, sizeof(command), /* all that came later */
             "set -e; for f in services/chat/migrations/*.sql; do"
             " case $f in */0001_*|*/0002_*) continue;; esac;"
             " psql -Xq1 -v ON_ERROR_STOP=1 '%s' -f $f; done",
             pg_conninfo);
    sql_shell("%s", command);
    db = pg_open_db(&(struct db_options){.connections = 8}, chat_statements, CHAT_STATEMENTS);
    assert_int_equal(pg_sql("SELECT role FROM chat.members WHERE room_id = 1 AND account_id = 1"),
                     OWNER);
    assert_int_equal(pg_sql("SELECT role FROM chat.members WHERE room_id = 1 AND account_id = 2"),
                     MEMBER);
    assert_int_equal(pg_sql("SELECT role FROM chat.members WHERE room_id = 2 AND account_id = 3"),
                     OWNER);
    assert_int_equal(pg_sql("SELECT member_count FROM chat.rooms WHERE id = 1"), 2);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members"), 3);
    assert_int_equal(unread(BOB), 0);
    expect_sent(1, BOB, "double", "c", 1, "one");
    expect_sent(1, BOB, "four", "d", 4, "four");
    change("ok", ADD_REACTION, I(ADA), I(1), I(2), "+1", NONE);
    /* The version before writes beside this one. */
    pg_sql("WITH room AS (UPDATE chat.rooms SET last_seq = last_seq + 1 WHERE id = 1"
           "              RETURNING id, last_seq)"
           " INSERT INTO chat.messages (room_id, seq, author_id, client_id, text, created_at)"
           " SELECT id, last_seq, 1, NULL, 'six', clock_timestamp() FROM room");
    assert_int_equal(unread(BOB), 1);
    assert_int_equal(unread(ADA), 1); /* four */
    run(&a, LIST_EVENTS, I(ADA), I(1), I(0), I(10));
    assert_int_equal(db_rows(&a.result), 6);
    assert_true(
        db_is_null(&a.result, 2, MESSAGE_AUTHOR_USERNAME)); /* has gone, but not its number */
    assert_int_equal(db_get_int8(&a.result, 2, MESSAGE_SEQ), 3);
    answer_free(&a);
    pg_sql("DELETE FROM chat.rooms WHERE id = 3"); /* whoever opened it has gone; nobody is in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_direct_room_is_opened_once),
        TEST(a_create_sent_again_makes_nothing),
        TEST(the_last_owner_stays),
        TEST(roles_say_who_may),
        TEST(a_removed_member_stays_out),
        TEST(memberships_have_limits),
        /* These put in rows without what belongs to them. */
        cmocka_unit_test_setup(old_rooms_have_members, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
