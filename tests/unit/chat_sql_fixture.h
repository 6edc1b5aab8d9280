/* For tests of chat's statements on a real Postgres: accounts, calls, and what is true of every
 * room at all times. */
#ifndef STOA_TESTS_CHAT_SQL_FIXTURE_H
#define STOA_TESTS_CHAT_SQL_FIXTURE_H

#include "sql_fixture.h"

#include "../../services/chat/statements.h"

enum { ADA = 1, BOB = 2, CLEO = 3, DAN = 4 };
enum { ACCOUNTS = 4, PUBLIC = 1, PRIVATE = 2, DIRECT = 3 };
enum { MEMBER = 1, MODERATOR = 2, OWNER = 3 };

static UNUSED int setup(void **state UNUSED)
{
    if (sql_db_setup("chat", 8, chat_statements, CHAT_STATEMENTS) != 0)
        return -1;
    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT n, lower(n), n, n, ''"
                 " FROM unnest(ARRAY['Ada', 'Bob', 'Cleo', 'Dan']) n");
    return 0;
}

static UNUSED int empty_tables(void **state UNUSED)
{
    pg_sql("TRUNCATE chat.rooms, chat.members, chat.messages, chat.events, chat.reactions,"
           " chat.reaction_counts, chat.forgotten_accounts RESTART IDENTITY");
    return 0;
}

/* ---- calls ---- */

#define NONE ((const char *)NULL) /* of a text */
#define NO_NUMBER INT64_MIN       /* of a number */

/* One argument for each parameter: int64_t for numbers, const char * for text. */
static UNUSED struct db_query *bind(enum chat_statement statement, va_list args)
{
    struct db_query *q = db_query(db, &arena, statement);
    const enum db_type *type = chat_statements[statement].params;
    int64_t n;

    for (; *type != DB_END; type++) {
        switch (*type) {
        case DB_TEXT:
            db_bind_text(q, str_of(va_arg(args, const char *)));
            break;
        case DB_INT4:
            n = va_arg(args, int64_t);
            if (n == NO_NUMBER)
                db_bind_null(q);
            else
                db_bind_int4(q, (int32_t)n);
            break;
        case DB_TIMESTAMPTZ:
            db_bind_timestamp(q, va_arg(args, int64_t));
            break;
        default:
            n = va_arg(args, int64_t);
            if (n == NO_NUMBER)
                db_bind_null(q);
            else
                db_bind_int8(q, n);
        }
    }
    return q;
}

#define I(n) ((int64_t)(n))

static UNUSED void submit(struct answer *a, enum chat_statement statement, ...)
{
    va_list args;

    va_start(args, statement);
    answer_submit(a, bind(statement, args), SECONDS(60));
    va_end(args);
}

static UNUSED void run(struct answer *a, enum chat_statement statement, ...)
{
    va_list args;

    va_start(args, statement);
    assert_int_equal(answer_run(a, bind(statement, args)), DB_OK);
    va_end(args);
}

static UNUSED void take_outcome(struct answer *a, const char *want)
{
    assert_int_equal(answer_wait(a), DB_OK);
    assert_int_equal(db_rows(&a->result), 1);
    assert_string_equal(db_get_text(&a->result, 0, OUTCOME).p, want);
    answer_free(a);
}

/* Runs a change and expects its outcome. */
static UNUSED void change(const char *want, enum chat_statement statement, ...)
{
    struct answer a;
    va_list args;

    va_start(args, statement);
    answer_submit(&a, bind(statement, args), SECONDS(60));
    va_end(args);
    take_outcome(&a, want);
}

static UNUSED int64_t create(int64_t creator, int kind)
{
    struct answer a;
    int64_t room;

    run(&a, CREATE_ROOM, creator, I(kind), "Room", "", NONE, I(0), I(0));
    assert_string_equal(db_get_text(&a.result, 0, OUTCOME).p, "ok");
    room = db_get_int8(&a.result, 0, OUTCOME_ROOM);
    answer_free(&a);
    return room;
}

/* A room of Ada's with Bob as a moderator and Cleo as a member: three events. */
static UNUSED int64_t create_with_members(int kind)
{
    int64_t room = create(ADA, kind);

    change("ok", INVITE_MEMBER, I(ADA), room, "bob");
    change("ok", INVITE_MEMBER, I(ADA), room, "cleo");
    change("ok", SET_MEMBER_ROLE, I(ADA), room, "bob", I(MODERATOR));
    return room;
}

/* Of a message that has been stored the answer leaves out what was given. */
static UNUSED const char *answered_text(const struct answer *a, int row, const char *given)
{
    return db_is_null(&a->result, row, MESSAGE_TEXT) ? given
                                                     : db_get_text(&a->result, row, MESSAGE_TEXT).p;
}

/* How many messages there are with this number and text. */
static UNUSED int64_t stored_as(int64_t room, int64_t seq, const char *text)
{
    char sql[200];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM chat.messages WHERE room_id = %lld AND seq = %lld"
             " AND text = $t$%s$t$",
             (long long)room, (long long)seq, text);
    return pg_sql(sql);
}

static UNUSED void expect_sent(int64_t room, int64_t author, const char *text,
                               const char *client_id, int64_t seq, const char *stored)
{
    struct answer a;

    run(&a, SEND_MESSAGE, author, room, text, NO_NUMBER, client_id);
    assert_string_equal(db_get_text(&a.result, 0, OUTCOME).p, "ok");
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), seq);
    assert_string_equal(answered_text(&a, 0, text), stored);
    answer_free(&a);
    assert_int_equal(stored_as(room, seq, stored), 1);
}

static UNUSED void send(int64_t room, int64_t author, const char *text)
{
    change("ok", SEND_MESSAGE, author, room, text, NO_NUMBER, NONE);
}

/* All that is true of every room at all times. */
static UNUSED void expect_whole(void)
{
    /* Each number that is kept is one message or one event. */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms r WHERE last_seq - first_seq + 1 <> ("
                            " SELECT count(DISTINCT seq)"
                            " FROM (SELECT seq FROM chat.messages WHERE room_id = r.id UNION ALL"
                            "       SELECT seq FROM chat.events WHERE room_id = r.id) s"
                            " WHERE seq BETWEEN first_seq AND last_seq)"
                            " OR last_seq - first_seq + 1 <>"
                            "    (SELECT count(*) FROM chat.messages WHERE room_id = r.id)"
                            "  + (SELECT count(*) FROM chat.events WHERE room_id = r.id)"),
                     0);
    assert_int_equal(pg_sql("SELECT count(*) FROM (SELECT number, event_count, events_before,"
                            " row_number() OVER (PARTITION BY room_id ORDER BY seq) AS place,"
                            " count(*) OVER (PARTITION BY room_id) AS n"
                            " FROM chat.events e JOIN chat.rooms r ON r.id = e.room_id) s"
                            " WHERE number <> events_before + place"
                            " OR event_count <> events_before + n"),
                     0);
    /* What belongs to a message goes with it. */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reactions x WHERE NOT EXISTS (SELECT"
                            " FROM chat.messages m WHERE m.room_id = x.room_id AND m.seq = x.seq)"),
                     0);
    /* Time runs as the numbers do. */
    assert_int_equal(pg_sql("SELECT count(*) FROM (SELECT created_at < lag(created_at)"
                            " OVER (PARTITION BY room_id ORDER BY seq) AS back FROM"
                            " (SELECT room_id, seq, created_at FROM chat.messages UNION ALL"
                            "  SELECT room_id, seq, created_at FROM chat.events) s) t WHERE back"),
                     0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM chat.rooms r WHERE member_count <> (SELECT count(*)"
               " FROM chat.members WHERE room_id = r.id AND role > 0)"),
        0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM chat.rooms r WHERE kind <> 3 AND deleted_at IS NULL"
               " AND NOT EXISTS (SELECT FROM chat.members WHERE room_id = r.id"
               "                 AND role = 3)"),
        0);
    /* Counters of reactions. */
    assert_int_equal(
        pg_sql("SELECT count(*) FROM (SELECT room_id, seq, emoji, count(*) FROM chat.reactions"
               " GROUP BY 1, 2, 3) x FULL JOIN chat.reaction_counts c USING (room_id, seq, emoji)"
               " WHERE x.count IS DISTINCT FROM c.n"),
        0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM chat.messages m WHERE reaction_kinds <> (SELECT count(*)"
               " FROM chat.reaction_counts c WHERE c.room_id = m.room_id AND c.seq = m.seq)"),
        0);
}

static UNUSED int whole(void **state UNUSED)
{
    expect_whole();
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, empty_tables, whole)

/* ---- reading ---- */

static UNUSED int64_t unread(int64_t account)
{
    struct answer a;
    int64_t n;

    run(&a, LIST_MY_ROOMS, account, I(INT64_MAX), I(INT64_MAX), I(10));
    assert_int_equal(db_rows(&a.result), 1);
    n = db_get_int8(&a.result, 0, ROOM_UNREAD);
    answer_free(&a);
    return n;
}

static UNUSED void mark(int64_t account, int64_t seq, int64_t want_seq, int64_t want_unread)
{
    struct answer a;

    run(&a, MARK_READ, account, I(1), seq);
    assert_true(db_get_bool(&a.result, 0, MARK_MAY_READ));
    assert_int_equal(db_get_int8(&a.result, 0, MARK_READ_SEQ), want_seq);
    assert_int_equal(db_get_int8(&a.result, 0, MARK_UNREAD), want_unread);
    answer_free(&a);
    assert_int_equal(unread(account), want_unread);
}

static UNUSED void expect_found(int64_t account, int64_t room, const char *words, const char *want)
{
    char found[128] = "";
    struct answer a;

    run(&a, SEARCH_MESSAGES, account, room, words, I(INT64_MAX), I(INT64_MAX), I(INT64_MAX), I(10));
    for (int i = 0; i < db_rows(&a.result); i++) {
        if (!db_is_null(&a.result, i, MESSAGE_SEQ))
            snprintf(found + strlen(found), sizeof(found) - strlen(found), "%d/%d ",
                     (int)db_get_int8(&a.result, i, SEARCH_ROOM),
                     (int)db_get_int8(&a.result, i, MESSAGE_SEQ));
    }
    assert_string_equal(found, want);
    answer_free(&a);
}

/* ---- what is kept no longer ---- */

/* Sweeps until no room is due; how many batches there were. */
static UNUSED int sweep(int64_t max_days, int64_t max_messages)
{
    struct answer a;

    for (int batches = 0;; batches++) {
        run(&a, SWEEP_ROOM, max_days, max_messages, I(600));
        bool done = db_get_int8(&a.result, 0, 0) == 0;
        answer_free(&a);
        if (done)
            return batches;
    }
}

#endif
