/* The statements of chat on a real Postgres: one order without holes for all that happens in a
 * room, one change for all its doubles, roles, and pages that begin at a key. */
#include "sql_fixture.h"

#include "../../services/chat/statements.h"

static struct db *db;
static struct arena arena;

enum { ADA = 1, BOB = 2, CLEO = 3, DAN = 4 };
enum { ACCOUNTS = 4, PUBLIC = 1, PRIVATE = 2, DIRECT = 3 };
enum { MEMBER = 1, MODERATOR = 2, OWNER = 3 };

static int setup(void **state UNUSED)
{
    if (sql_group_setup("chat") != 0)
        return -1;
    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT n, lower(n), n, n, ''"
                 " FROM unnest(ARRAY['Ada', 'Bob', 'Cleo', 'Dan']) n");
    arena_init(&arena, 0);
    db = pg_open_db(&(struct db_options){.connections = 8}, chat_statements, CHAT_STATEMENTS);
    return 0;
}

static int teardown(void **state)
{
    db_close(db);
    arena_free(&arena);
    return pg_group_teardown(state);
}

static int empty_tables(void **state UNUSED)
{
    pg_sql("TRUNCATE chat.rooms, chat.members, chat.messages, chat.events, chat.reactions,"
           " chat.reaction_counts, chat.forgotten_accounts RESTART IDENTITY");
    return 0;
}

/* ---- calls ---- */

#define NONE ((const char *)NULL) /* of a text */
#define NO_NUMBER INT64_MIN       /* of a number */

/* One argument for each parameter: int64_t for numbers, const char * for text. */
static struct db_query *bind(enum chat_statement statement, va_list args)
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

static void submit(struct answer *a, enum chat_statement statement, ...)
{
    va_list args;

    va_start(args, statement);
    answer_submit(a, bind(statement, args), SECONDS(60));
    va_end(args);
}

static void run(struct answer *a, enum chat_statement statement, ...)
{
    va_list args;

    va_start(args, statement);
    assert_int_equal(answer_run(a, bind(statement, args)), DB_OK);
    va_end(args);
}

static void take_outcome(struct answer *a, const char *want)
{
    assert_int_equal(answer_wait(a), DB_OK);
    assert_int_equal(db_rows(&a->result), 1);
    assert_string_equal(db_get_text(&a->result, 0, OUTCOME).p, want);
    answer_free(a);
}

/* Runs a change and expects its outcome. */
static void change(const char *want, enum chat_statement statement, ...)
{
    struct answer a;
    va_list args;

    va_start(args, statement);
    answer_submit(&a, bind(statement, args), SECONDS(60));
    va_end(args);
    take_outcome(&a, want);
}

static int64_t create(int64_t creator, int kind)
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
static int64_t create_with_members(int kind)
{
    int64_t room = create(ADA, kind);

    change("ok", INVITE_MEMBER, I(ADA), room, "bob");
    change("ok", INVITE_MEMBER, I(ADA), room, "cleo");
    change("ok", SET_MEMBER_ROLE, I(ADA), room, "bob", I(MODERATOR));
    return room;
}

/* Of a message that has been stored the answer leaves out what was given. */
static const char *answered_text(const struct answer *a, int row, const char *given)
{
    return db_is_null(&a->result, row, MESSAGE_TEXT) ? given
                                                     : db_get_text(&a->result, row, MESSAGE_TEXT).p;
}

/* How many messages there are with this number and text. */
static int64_t stored_as(int64_t room, int64_t seq, const char *text)
{
    char sql[200];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM chat.messages WHERE room_id = %lld AND seq = %lld"
             " AND text = $t$%s$t$",
             (long long)room, (long long)seq, text);
    return pg_sql(sql);
}

static void expect_sent(int64_t room, int64_t author, const char *text, const char *client_id,
                        int64_t seq, const char *stored)
{
    struct answer a;

    run(&a, SEND_MESSAGE, author, room, text, NO_NUMBER, client_id);
    assert_string_equal(db_get_text(&a.result, 0, OUTCOME).p, "ok");
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), seq);
    assert_string_equal(answered_text(&a, 0, text), stored);
    answer_free(&a);
    assert_int_equal(stored_as(room, seq, stored), 1);
}

static void send(int64_t room, int64_t author, const char *text)
{
    change("ok", SEND_MESSAGE, author, room, text, NO_NUMBER, NONE);
}

/* All that is true of every room at all times. */
static void expect_whole(void)
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

static int whole(void **state UNUSED)
{
    expect_whole();
    return 0;
}

/* ---- messages ---- */

static void messages_are_numbered_in_their_room(void **state UNUSED)
{
    int64_t room = create(ADA, PUBLIC), other = create(BOB, PUBLIC);

    change("ok", JOIN_ROOM, I(BOB), room);
    expect_sent(room, ADA, "two", NULL, 2, "two");
    expect_sent(room, BOB, "three", NULL, 3, "three");
    expect_sent(room, ADA, "four", "c", 4, "four");
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 4);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 2"), 0);
    expect_sent(other, BOB, "one", NULL, 1, "one");
}

static void a_double_gets_the_first_answer(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);

    expect_sent(room, ADA, "first", "c1", 4, "first");
    expect_sent(room, ADA, "again", "c1", 4, "first");
    expect_sent(room, BOB, "another's", "c1", 5, "another's");
    expect_sent(room, ADA, "next", "c2", 6, "next");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 3);
}

static void without_room_or_account_nothing_is_stored(void **state UNUSED)
{
    struct answer a;

    change("no_account", CREATE_ROOM, I(999), I(PUBLIC), "Room", "", NONE, I(0), I(0));
    create(ADA, PUBLIC);
    change("no_room", SEND_MESSAGE, I(ADA), I(99), "no room", NO_NUMBER, NONE);
    change("no_account", SEND_MESSAGE, I(999), I(1), "no account", NO_NUMBER, NONE);
    change("no_account", JOIN_ROOM, I(999), I(1));
    change("no_account", OPEN_DIRECT_ROOM, I(999), "ada");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 0);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 0);
    run(&a, GET_ROOM, I(ADA), I(99));
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
}

static void replies_are_to_messages_of_the_room(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), other = create(ADA, PUBLIC);
    struct answer a;

    send(room, ADA, "question"); /* 4 */
    send(other, ADA, "elsewhere");
    run(&a, SEND_MESSAGE, I(CLEO), room, "answer", I(4), "c1");
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), 5);
    answer_free(&a);
    run(&a, SEND_MESSAGE, I(CLEO), room, "answer", I(4), "c1");
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), 5);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_REPLY_TO), 4);
    answer_free(&a);
    change("no_reply", SEND_MESSAGE, I(CLEO), room, "to an event", I(3), NONE);
    change("no_reply", SEND_MESSAGE, I(CLEO), room, "to what will be", I(6), NONE);
    change("ok", DELETE_MESSAGE, I(ADA), room, I(4), NONE);
    change("no_reply", SEND_MESSAGE, I(CLEO), room, "to what was", I(4), NONE);
}

static void edits_and_deletions_have_their_place(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    send(room, CLEO, "words"); /* 4 */
    change("ok", ADD_REACTION, I(ADA), room, I(4), "+1", NONE);
    run(&a, EDIT_MESSAGE, I(CLEO), room, I(4), "better words", "e1"); /* 6 */
    assert_string_equal(db_get_text(&a.result, 0, MESSAGE_TEXT).p, "better words");
    assert_false(db_is_null(&a.result, 0, MESSAGE_EDITED_AT));
    assert_false(db_is_null(&a.result, 0, MESSAGE_REACTIONS));
    answer_free(&a);
    change("ok", EDIT_MESSAGE, I(CLEO), room, I(4), "again", "e1");        /* a double */
    change("ok", EDIT_MESSAGE, I(CLEO), room, I(4), "better words", NONE); /* nothing new */
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 6);
    change("client_id_used", DELETE_MESSAGE, I(CLEO), room, I(4), "e1");
    change("client_id_used", ADD_REACTION, I(CLEO), room, I(4), "+1", "e1");
    change("forbidden", EDIT_MESSAGE, I(ADA), room, I(4), "not mine", NONE);
    change("no_message", EDIT_MESSAGE, I(CLEO), room, I(3), "an event", NONE);

    send(room, ADA, "an owner's"); /* 7 */
    change("forbidden", DELETE_MESSAGE, I(CLEO), room, I(7), NONE);
    change("ok", DELETE_MESSAGE, I(BOB), room, I(7), NONE);  /* a moderator: 8 */
    change("ok", DELETE_MESSAGE, I(CLEO), room, I(4), "d1"); /* the author: 9 */
    change("ok", DELETE_MESSAGE, I(CLEO), room, I(4), "d1");
    change("ok", DELETE_MESSAGE, I(BOB), room, I(4), NONE);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 9);
    change("deleted", EDIT_MESSAGE, I(CLEO), room, I(4), "back", NONE);
    change("deleted", ADD_REACTION, I(CLEO), room, I(4), "+1", NONE);
    change("no_message", DELETE_MESSAGE, I(BOB), room, I(99), NONE);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE text <> ''"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reactions"), 0);
}

static void expect_reactions(int64_t viewer, const char *want)
{
    struct answer a;
    struct str *texts;
    char got[256] = "";
    int n;

    run(&a, LIST_MESSAGES_AFTER, viewer, I(1), I(0), I(INT64_MAX), I(10));
    n = db_get_text_array(&a.result, 0, MESSAGE_REACTIONS, &arena, &texts);
    for (int i = 0; i < n; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%.*s ", STR_FMT(texts[i]));
    assert_string_equal(got, want);
    answer_free(&a);
}

static void reactions_are_counted(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    send(room, ADA, "words"); /* 4 */
    expect_reactions(ADA, "");
    change("ok", ADD_REACTION, I(BOB), room, I(4), "z", "r1");
    change("ok", ADD_REACTION, I(CLEO), room, I(4), "a", NONE);
    run(&a, ADD_REACTION, I(CLEO), room, I(4), "z", NONE);
    assert_int_equal(db_get_int4(&a.result, 0, REACTION_COUNT), 2);
    assert_true(db_get_bool(&a.result, 0, REACTION_MINE));
    answer_free(&a);
    change("ok", ADD_REACTION, I(CLEO), room, I(4), "z", NONE); /* once more: nothing */
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 7);
    expect_reactions(CLEO, "2+z 1+a ");
    expect_reactions(BOB, "2+z 1-a ");
    run(&a, REMOVE_REACTION, I(BOB), room, I(4), "z", NONE);
    assert_int_equal(db_get_int4(&a.result, 0, REACTION_COUNT), 1);
    assert_false(db_get_bool(&a.result, 0, REACTION_MINE));
    answer_free(&a);
    change("ok", REMOVE_REACTION, I(BOB), room, I(4), "z", NONE);
    change("ok", ADD_REACTION, I(BOB), room, I(4), "z", "r1"); /* late: it had been done */
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 8);
    change("ok", REMOVE_REACTION, I(CLEO), room, I(4), "a", NONE);
    expect_reactions(BOB, "1-z ");
    change("no_message", ADD_REACTION, I(BOB), room, I(3), "z", NONE);
    change("no_message", REMOVE_REACTION, I(BOB), room, I(3), "z", NONE);
}

static void reactions_have_limits(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);

    send(room, ADA, "words");
    for (int i = 0; i < 20; i++)
        change("ok", ADD_REACTION, I(ADA), room, I(4), arena_printf(&arena, "e%d", i).p, NONE);
    change("too_many_emoji", ADD_REACTION, I(BOB), room, I(4), "one more", NONE);
    change("ok", ADD_REACTION, I(BOB), room, I(4), "e1", NONE);
    pg_sql("WITH r AS (INSERT INTO chat.reactions SELECT 1, 4, i, 'e2'"
           "           FROM generate_series(1000, 5978) i RETURNING 1)"
           " UPDATE chat.reaction_counts SET n = n + (SELECT count(*) FROM r) WHERE emoji = 'e2'");
    change("too_many_reactions", ADD_REACTION, I(BOB), room, I(4), "e2", NONE);
    change("ok", REMOVE_REACTION, I(ADA), room, I(4), "e5", NONE);
    change("ok", ADD_REACTION, I(BOB), room, I(4), "e2", NONE);
}

/* ---- races ---- */

/* Doubles sent at once. */
static void numbers_have_no_holes_after_a_race(void **state UNUSED)
{
    enum { N = 300, DOUBLES = 6 };
    static struct answer answers[N];

    create(ADA, PUBLIC);
    for (int i = 0; i < N; i++)
        submit(&answers[i], SEND_MESSAGE, I(ADA), I(1), "text", NO_NUMBER,
               arena_printf(&arena, "c%d", i / DOUBLES).p);
    for (int i = 0; i < N; i++)
        take_outcome(&answers[i], "ok");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), N / DOUBLES);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), N / DOUBLES);
}

/* One of several that are sent as one statement, and what comes of it. */
struct together {
    int64_t caller, room, reply;
    const char *text, *client_id;
    const char *outcome;
    int64_t seq; /* 0: it is refused */
    const char *stored;
};

/* In a room 1 of Ada's with Bob, which has number 3, and a room 2 of hers. */
static void send_together(const struct together *all, size_t n)
{
    struct db_query *query = db_query(db, &arena, SEND_MESSAGES);
    int64_t callers[8], rooms[8], replies[8];
    struct str texts[8], client_ids[8];
    struct answer a;

    assert_true(n <= ARRAY_SIZE(callers));
    create(ADA, PUBLIC);
    create(ADA, PUBLIC);
    change("ok", INVITE_MEMBER, I(ADA), I(1), "bob");
    change("ok", JOIN_ROOM, I(CLEO), I(1));
    change("ok", LEAVE_ROOM, I(CLEO), I(1));
    for (size_t i = 0; i < n; i++) {
        callers[i] = all[i].caller;
        rooms[i] = all[i].room;
        replies[i] = all[i].reply;
        texts[i] = str_of(all[i].text);
        client_ids[i] = str_of(all[i].client_id);
    }
    db_bind_int8_array(query, callers, n);
    db_bind_int8_array(query, rooms, n);
    db_bind_text_array(query, texts, n);
    db_bind_int8_array(query, replies, n);
    db_bind_text_array(query, client_ids, n);
    assert_int_equal(answer_run(&a, query), DB_OK);
    assert_int_equal(db_rows(&a.result), n);
    for (int row = 0; row < (int)n; row++) {
        const struct together *one = &all[db_get_int8(&a.result, row, SENT_NUMBER) - 1];

        assert_string_equal(db_get_text(&a.result, row, OUTCOME).p, one->outcome);
        assert_int_equal(db_is_null(&a.result, row, MESSAGE_SEQ), one->seq == 0);
        if (one->seq == 0)
            continue;
        assert_int_equal(db_get_int8(&a.result, row, MESSAGE_SEQ), one->seq);
        assert_string_equal(answered_text(&a, row, one->text), one->stored);
        assert_false(db_is_null(&a.result, row, MESSAGE_CREATED_AT));
        assert_false(db_is_null(&a.result, row, MESSAGE_AUTHOR_USERNAME));
        assert_int_equal(stored_as(one->room, one->seq, one->stored), 1);
    }
    answer_free(&a);
}

/* As one statement, in the order in which they are given in each room. */
static void messages_go_together(void **state UNUSED)
{
    static const struct together all[] = {
        {ADA, 2, 0, "two", "same", "ok", 1, "two"},
        {BOB, 1, 0, "one", "", "ok", 4, "one"},
        {ADA, 1, 0, "three", "same", "ok", 5, "three"},
        {BOB, 1, 0, "four", "other", "ok", 6, "four"},
        {ADA, 2, 0, "five", "", "ok", 2, "five"},
    };

    send_together(all, ARRAY_SIZE(all));
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), ARRAY_SIZE(all));
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 6);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 2"), 2);
}

/* Whoever may not write, and who writes twice, is told so and holds nobody up. */
static void messages_go_together_with_some_that_do_not(void **state UNUSED)
{
    static const struct together all[] = {
        {ADA, 2, 0, "two", "same", "ok", 1, "two"},
        {BOB, 1, 0, "one", "", "ok", 4, "one"},
        {CLEO, 1, 0, "stranger", "", "not_member", 0, NULL},
        {ADA, 1, 0, "three", "", "ok", 5, "three"},
        {ADA, 2, 1, "four", "same", "ok", 1, "two"},
        {BOB, 1, 77, "lost", "", "no_reply", 0, NULL},
    };

    send_together(all, ARRAY_SIZE(all));
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 3);
}

/* All of them may be stored, but that one is there twice: the numbers have no hole. */
static void messages_go_together_with_a_double(void **state UNUSED)
{
    static const struct together all[] = {
        {ADA, 1, 0, "one", "same", "ok", 4, "one"},
        {BOB, 1, 0, "two", "same", "ok", 5, "two"},
        {ADA, 1, 0, "again", "same", "ok", 4, "one"},
        {ADA, 1, 0, "three", "", "ok", 6, "three"},
    };

    send_together(all, ARRAY_SIZE(all));
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 3);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 6);
}

/* Two hundred changes of every kind at once, each twice. */
static void everything_at_once_has_one_order(void **state UNUSED)
{
    enum { N = 200 };
    static struct answer answers[2 * N];
    static const char *const emoji[] = {"a", "b", "c"};
    int64_t room = create_with_members(PUBLIC);

    for (int i = 0; i < 8; i++)
        send(room, 1 + i % 3, "text"); /* 4 to 11: Ada's, Bob's, Cleo's */
    for (int i = 0; i < 2 * N; i++) {
        int k = i / 2;
        struct answer *a = &answers[i];
        int64_t seq = 4 + k % 8, author = 1 + k % 8 % 3, other = 1 + k % 3;
        const char *id = arena_printf(&arena, "c%d", k).p;

        switch (k % 5) {
        case 0:
            submit(a, SEND_MESSAGE, other, room, id, NO_NUMBER, id);
            break;
        case 1:
            submit(a, EDIT_MESSAGE, author, room, seq, id, id);
            break;
        case 2:
            submit(a, ADD_REACTION, other, room, seq, emoji[k % 3], id);
            break;
        case 3:
            submit(a, REMOVE_REACTION, other, room, seq, emoji[k % 3], id);
            break;
        default:
            submit(a, k % 2 ? JOIN_ROOM : LEAVE_ROOM, I(DAN), room);
        }
    }
    for (int i = 0; i < 2 * N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        if (i / 2 % 5 < 4)
            assert_string_equal(db_get_text(&answers[i].result, 0, OUTCOME).p, "ok");
        answer_free(&answers[i]);
    }
    expect_whole();
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 8 + N / 5);
    /* Each edit once, and what is stored is the text of the last one. */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.events WHERE kind = 2"), N / 5);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages m WHERE edited_at IS NOT NULL"
                            " AND text <> (SELECT client_id FROM chat.events e WHERE kind = 2"
                            "  AND e.message_seq = m.seq ORDER BY seq DESC LIMIT 1)"),
                     0);
    /* Whether somebody reacts is what the last event about it says. */
    assert_int_equal(
        pg_sql("SELECT count(*) FROM (SELECT DISTINCT ON (message_seq, actor_id, emoji)"
               " message_seq, actor_id, emoji, kind FROM chat.events WHERE kind IN (4, 5)"
               " ORDER BY message_seq, actor_id, emoji, seq DESC) e WHERE (kind = 4) <>"
               " EXISTS (SELECT FROM chat.reactions x WHERE x.seq = e.message_seq"
               "         AND x.account_id = e.actor_id AND x.emoji = e.emoji)"),
        0);
}

/* A message is before its author's removal, or is refused. */
static void nobody_writes_after_being_removed(void **state UNUSED)
{
    enum { N = 100 };
    static struct answer answers[N];
    struct answer removed;
    int64_t room = create_with_members(PRIVATE);
    int sent = 0;

    for (int i = 0; i < N; i++) {
        submit(&answers[i], SEND_MESSAGE, I(CLEO), room, "text", NO_NUMBER, NONE);
        if (i == N / 2)
            submit(&removed, REMOVE_MEMBER, I(BOB), room, "cleo");
    }
    take_outcome(&removed, "ok");
    for (int i = 0; i < N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        if (strcmp(db_get_text(&answers[i].result, 0, OUTCOME).p, "ok") == 0)
            sent++;
        else
            assert_string_equal(db_get_text(&answers[i].result, 0, OUTCOME).p, "no_room");
        answer_free(&answers[i]);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), sent);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE seq >"
                            " (SELECT seq FROM chat.events WHERE kind = 8)"),
                     0);
}

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

/* ---- reading ---- */

static int64_t unread(int64_t account)
{
    struct answer a;
    int64_t n;

    run(&a, LIST_MY_ROOMS, account, I(INT64_MAX), I(INT64_MAX), I(10));
    assert_int_equal(db_rows(&a.result), 1);
    n = db_get_int8(&a.result, 0, ROOM_UNREAD);
    answer_free(&a);
    return n;
}

static void mark(int64_t account, int64_t seq, int64_t want_seq, int64_t want_unread)
{
    struct answer a;

    run(&a, MARK_READ, account, I(1), seq);
    assert_true(db_get_bool(&a.result, 0, MARK_MAY_READ));
    assert_int_equal(db_get_int8(&a.result, 0, MARK_READ_SEQ), want_seq);
    assert_int_equal(db_get_int8(&a.result, 0, MARK_UNREAD), want_unread);
    answer_free(&a);
    assert_int_equal(unread(account), want_unread);
}

static void unread_is_what_others_wrote(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);

    assert_int_equal(unread(CLEO), 0); /* events are no messages */
    send(room, ADA, "4");
    send(room, CLEO, "5");
    send(room, BOB, "6");
    change("ok", ADD_REACTION, I(ADA), room, I(6), "+1", NONE); /* 7 */
    send(room, ADA, "8");
    assert_int_equal(unread(CLEO), 3);
    assert_int_equal(unread(ADA), 2);
    mark(CLEO, 4, 4, 2);
    mark(CLEO, 6, 6, 1);
    mark(CLEO, 7, 7, 1);
    mark(CLEO, 3, 7, 1);    /* never back */
    mark(CLEO, 1000, 8, 0); /* nor ahead of what there is */
    send(room, BOB, "9");
    assert_int_equal(unread(CLEO), 1);
    change("ok", JOIN_ROOM, I(DAN), room);
    assert_int_equal(unread(DAN), 0); /* what was before is not new */
    pg_sql("WITH s AS (INSERT INTO chat.messages (room_id, seq, author_id, text, created_at)"
           "   SELECT 1, i, 1, '', clock_timestamp() FROM generate_series(11, 2010) i RETURNING 1)"
           " UPDATE chat.rooms SET last_seq = last_seq + (SELECT count(*) FROM s)");
    pg_sql("UPDATE chat.rooms SET active_at = (SELECT max(created_at) FROM chat.messages)");
    assert_int_equal(unread(CLEO), CHAT_MAX_UNREAD);
}

static void a_mark_never_moves_back(void **state UNUSED)
{
    enum { N = 100 };
    static struct answer answers[N];
    int64_t room = create(ADA, PUBLIC);

    for (int i = 0; i < N; i++)
        send(room, ADA, "text");
    for (int i = 0; i < N; i++)
        submit(&answers[i], MARK_READ, I(ADA), room, I(1 + i * 37 % N));
    for (int i = 0; i < N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        assert_true(db_get_int8(&answers[i].result, 0, MARK_READ_SEQ) >= 1 + i * 37 % N);
        answer_free(&answers[i]);
    }
    assert_int_equal(pg_sql("SELECT read_seq FROM chat.members"), N);
}

static void expect_messages(enum chat_statement statement, int64_t after, int64_t before, int limit,
                            const char *want)
{
    char seqs[128] = "";
    struct answer a;

    run(&a, statement, I(ADA), I(1), after, before, I(limit));
    for (int i = 0; i < db_rows(&a.result); i++) {
        assert_true(db_get_bool(&a.result, i, MESSAGES_MAY_READ));
        assert_int_equal(db_get_int8(&a.result, i, MESSAGES_LAST_SEQ), 7);
        if (db_is_null(&a.result, i, MESSAGE_SEQ))
            continue;
        int64_t seq = db_get_int8(&a.result, i, MESSAGE_SEQ);
        snprintf(seqs + strlen(seqs), sizeof(seqs) - strlen(seqs), "%d ", (int)seq);
        /* Odd ones are Ada's; another's client_id is not for her. */
        assert_int_equal(db_is_null(&a.result, i, MESSAGE_CLIENT_ID), seq % 2 == 0);
    }
    assert_string_equal(seqs, want);
    answer_free(&a);
}

static void pages_go_both_ways(void **state UNUSED)
{
    int64_t room = create(ADA, PUBLIC);

    change("ok", JOIN_ROOM, I(BOB), room); /* 1 */
    for (int i = 2; i <= 7; i++)
        expect_sent(room, i % 2 ? ADA : BOB, "text", arena_printf(&arena, "c%d", i).p, i, "text");
    expect_messages(LIST_MESSAGES_BEFORE, 0, INT64_MAX, 50, "2 3 4 5 6 7 ");
    expect_messages(LIST_MESSAGES_BEFORE, 0, INT64_MAX, 2, "6 7 ");
    expect_messages(LIST_MESSAGES_BEFORE, 0, 6, 2, "4 5 ");
    expect_messages(LIST_MESSAGES_BEFORE, 0, 1, 2, "");
    expect_messages(LIST_MESSAGES_AFTER, 0, INT64_MAX, 2, "2 3 ");
    expect_messages(LIST_MESSAGES_AFTER, 5, INT64_MAX, 50, "6 7 ");
    expect_messages(LIST_MESSAGES_AFTER, 7, INT64_MAX, 50, "");
    expect_messages(LIST_MESSAGES_AFTER, 2, 5, 50, "3 4 ");
    expect_messages(LIST_MESSAGES_AFTER, INT64_MAX, INT64_MAX, 50, "");
}

/* The log alone is enough: whoever reads it in pages has every number once, and each message as it
 * is now. */
static void the_log_has_everything(void **state UNUSED)
{
    static const int kinds[] = {6, 6, 9, 1, 1, 2, 4, 5, 3, 10, 8, 7};
    int64_t room = create_with_members(PUBLIC), after = 0;
    struct answer a;

    send(room, ADA, "old");                                                     /* 4 */
    send(room, BOB, "gone soon");                                               /* 5 */
    change("ok", EDIT_MESSAGE, I(ADA), room, I(4), "new", NONE);                /* 6 */
    change("ok", ADD_REACTION, I(BOB), room, I(4), "+1", NONE);                 /* 7 */
    change("ok", REMOVE_REACTION, I(BOB), room, I(4), "+1", NONE);              /* 8 */
    change("ok", DELETE_MESSAGE, I(BOB), room, I(5), NONE);                     /* 9 */
    change("ok", UPDATE_ROOM, I(ADA), room, NONE, "new", NO_NUMBER, NO_NUMBER); /* 10 */
    change("ok", REMOVE_MEMBER, I(ADA), room, "cleo");                          /* 11 */
    change("ok", LEAVE_ROOM, I(BOB), room);                                     /* 12 */
    while (after < 12) {
        run(&a, LIST_EVENTS, I(ADA), room, after, I(5));
        for (int i = 0; i < db_rows(&a.result); i++) {
            int kind = db_get_int4(&a.result, i, EVENT_KIND);

            assert_int_equal(db_get_int8(&a.result, i, EVENT_SEQ), ++after);
            assert_int_equal(kind, kinds[after - 1]);
            assert_int_equal(db_get_int8(&a.result, i, MESSAGES_LAST_SEQ), 12);
            assert_false(db_is_null(&a.result, i, EVENT_ACTOR_USERNAME));
            if (kind <= 3)
                assert_string_equal(db_get_text(&a.result, i, MESSAGE_TEXT).p,
                                    db_get_int8(&a.result, i, MESSAGE_SEQ) == 4 ? "new" : "");
            if (kind == 4 || kind == 5)
                assert_int_equal(db_get_int4(&a.result, i, EVENT_REACTION_COUNT), 0);
            assert_int_equal(db_is_null(&a.result, i, EVENT_SUBJECT_USERNAME),
                             kind < 6 || kind == 10);
        }
        answer_free(&a);
    }
    run(&a, LIST_EVENTS, I(ADA), room, I(12), I(5));
    assert_int_equal(db_rows(&a.result), 1);
    assert_true(db_is_null(&a.result, 0, EVENT_SEQ));
    answer_free(&a);
}

static void expect_found(int64_t account, int64_t room, const char *words, const char *want)
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

/* More than Postgres would keep unsorted by itself, which is 4 MB. */
static void nobody_who_sends_sorts_the_index(void **state UNUSED)
{
    enum { PAGE_BYTES = 8192, USUAL_BYTES = 4 << 20 };
    struct answer a;

    (void)create(ADA, PUBLIC);
    run(&a, SORT_SEARCH_INDEX);
    answer_free(&a);
    pg_sql("INSERT INTO chat.messages (room_id, seq, author_id, text, created_at)"
           " SELECT 1, i, 1, 'one two three four five six seven eight nine ten eleven twelve w' || "
           "i, now()"
           " FROM generate_series(1000, 25000) i");
    run(&a, SORT_SEARCH_INDEX); /* answers with how many pages */
    assert_in_range(db_get_int8(&a.result, 0, 0), 1.2 * USUAL_BYTES / PAGE_BYTES, INT32_MAX);
    answer_free(&a);
    expect_found(ADA, NO_NUMBER, "w12345", "1/12345 ");
    pg_sql("DELETE FROM chat.messages"); /* which took no numbers of the room */
}

static void search_finds_words_in_my_rooms(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), other = create(BOB, PRIVATE);
    struct answer a;

    send(room, ADA, "The quick brown Fox");   /* 1/4 */
    send(room, BOB, "the slow FOX, r1 ' 2'"); /* 1/5 */
    send(other, BOB, "a private fox");        /* 2/1 */
    expect_found(ADA, NO_NUMBER, "fox", "1/5 1/4 ");
    expect_found(BOB, NO_NUMBER, "fox", "2/1 1/5 1/4 ");
    expect_found(BOB, other, "fox", "2/1 ");
    expect_found(BOB, NO_NUMBER, "fox -slow", "2/1 1/4 ");
    expect_found(BOB, NO_NUMBER, "\"quick brown\"", "1/4 ");
    expect_found(BOB, NO_NUMBER, "quick or private", "2/1 1/4 ");
    expect_found(DAN, NO_NUMBER, "fox", "");
    expect_found(ADA, NO_NUMBER, "!!! ' | & <->", ""); /* no words */
    expect_found(ADA, NO_NUMBER, "' 1'", "");
    change("ok", EDIT_MESSAGE, I(ADA), room, I(4), "dog", NONE);
    change("ok", DELETE_MESSAGE, I(BOB), other, I(1), NONE);
    expect_found(BOB, NO_NUMBER, "fox", "1/5 ");
    expect_found(ADA, NO_NUMBER, "dog", "1/4 ");
    run(&a, SORT_SEARCH_INDEX);
    answer_free(&a);
    expect_found(BOB, NO_NUMBER, "fox", "1/5 ");
    /* A room that is not the caller's: known when it is public. */
    run(&a, SEARCH_MESSAGES, I(DAN), room, "fox", I(INT64_MAX), I(INT64_MAX), I(INT64_MAX), I(10));
    assert_false(db_get_bool(&a.result, 0, MESSAGES_MAY_READ));
    assert_true(db_is_null(&a.result, 0, MESSAGE_SEQ));
    answer_free(&a);
    run(&a, SEARCH_MESSAGES, I(DAN), other, "fox", I(INT64_MAX), I(INT64_MAX), I(INT64_MAX), I(10));
    assert_true(db_is_null(&a.result, 0, MESSAGES_MAY_READ));
    answer_free(&a);
}

/* ---- what goes ---- */

static void a_deleted_room_is_removed_bit_by_bit(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), kept = create_with_members(PUBLIC);
    struct answer a;
    int64_t n = 1;
    int batches = 0;

    pg_sql("WITH s AS (INSERT INTO chat.messages (room_id, seq, author_id, text, created_at)"
           "   SELECT 1, i, 1, 'text', clock_timestamp() FROM generate_series(4, 2503) i"
           "   RETURNING 1)"
           " UPDATE chat.rooms SET last_seq = last_seq + (SELECT count(*) FROM s) WHERE id = 1");
    change("ok", ADD_REACTION, I(ADA), room, I(4), "+1", NONE);
    send(kept, ADA, "stays");
    change("ok", ADD_REACTION, I(ADA), kept, I(4), "+1", NONE);
    change("ok", DELETE_ROOM, I(ADA), room);
    for (; n > 0; batches++) {
        run(&a, PURGE_ROOM);
        n = db_get_int8(&a.result, 0, 0);
        assert_true(n <= CHAT_PURGE_BATCH);
        answer_free(&a);
    }
    assert_true(batches > 6);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.events"), 4);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members"), 3);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reactions"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reaction_counts"), 1);
}

static void a_forgotten_account_leaves_no_word(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), alone = create(ADA, PRIVATE);

    expect_sent(room, ADA, "mine", "c1", 4, "mine");
    send(room, CLEO, "Cleo's");                                 /* 5 */
    change("ok", ADD_REACTION, I(ADA), room, I(5), "a", "r1");  /* 6 */
    change("ok", ADD_REACTION, I(BOB), room, I(5), "a", NONE);  /* 7 */
    change("ok", ADD_REACTION, I(ADA), room, I(5), "b", NONE);  /* 8 */
    change("ok", ADD_REACTION, I(CLEO), room, I(4), "c", NONE); /* 9 */
    send(room, ADA, "mine too");                                /* 10 */
    change("ok", OPEN_DIRECT_ROOM, I(ADA), "bob");              /* room 3 */
    change("ok", OPEN_DIRECT_ROOM, I(DAN), "cleo");             /* room 4 */
    send(3, ADA, "to Bob");
    sql_as("auth", "SELECT chat.forget_account(1)");
    /* Two messages, two reactions, the membership, and Bob is the owner now. */
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 16);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id = 1"
                            " AND (text <> '' OR deleted_at IS NULL OR client_id IS NOT NULL)"),
                     0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id = 1"), 3);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reactions"), 1); /* Bob's */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.events WHERE client_id IS NOT NULL"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members WHERE account_id = 1"), 0);
    assert_int_equal(pg_sql("SELECT role FROM chat.members WHERE room_id = 1 AND account_id = 2"),
                     OWNER);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms WHERE deleted_at IS NOT NULL"), 1);
    change("no_room", SEND_MESSAGE, I(ADA), alone, "gone", NO_NUMBER, NONE);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members WHERE room_id = 3"), 1);
    expect_whole();
    sql_as("auth", "SELECT chat.forget_account(1)"); /* again, and one that never was */
    sql_as("auth", "SELECT chat.forget_account(99)");
    expect_whole();
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 16);
}

/* What a statement on its way leaves behind goes some minutes later. */
static void what_comes_late_is_erased_too(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    sql_as("auth", "SELECT chat.forget_account(3)");
    change("ok", JOIN_ROOM, I(CLEO), room); /* her account is still seen */
    send(room, CLEO, "late");
    run(&a, PURGE_ACCOUNT);
    assert_int_equal(db_get_int8(&a.result, 0, 0), 0); /* not yet due */
    answer_free(&a);
    pg_sql("UPDATE chat.forgotten_accounts SET forgotten_at = now() - interval '6 minutes'");
    run(&a, PURGE_ACCOUNT);
    assert_int_equal(db_get_int8(&a.result, 0, 0), 1);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE text <> ''"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members WHERE account_id = 3"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.forgotten_accounts"), 0);
}

/* Accounts that are deleted while everybody writes: nobody waits in a circle. */
static void accounts_go_while_others_write(void **state UNUSED)
{
    enum { N = 200 };
    static struct answer answers[N];

    for (int r = 0; r < 5; r++)
        create_with_members(PUBLIC);
    for (int i = 0; i < N; i++) {
        if (i % 4)
            submit(&answers[i], SEND_MESSAGE, I(1 + i % 3), I(1 + i % 5), "text", NO_NUMBER, NONE);
        else
            submit(&answers[i], JOIN_ROOM, I(3 + i % 8 / 4), I(1 + i % 5));
        if (i == N / 2)
            sql_as("auth", "SELECT chat.forget_account(3), chat.forget_account(2)");
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        answer_free(&answers[i]);
    }
    sql_as("auth", "SELECT chat.forget_account(3), chat.forget_account(2)");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id IN (2, 3)"
                            " AND text <> ''"),
                     0);
}

static bool refused(const char *role, const char *sql)
{
    char conninfo[sizeof(sql_admin) + 32];
    PGconn *pg;
    PGresult *res;
    bool denied;

    snprintf(conninfo, sizeof(conninfo), "%s user=stoa_%s", sql_admin, role);
    pg = PQconnectdb(conninfo);
    res = PQexec(pg, sql);
    denied = PQresultErrorField(res, PG_DIAG_SQLSTATE) &&
             strcmp(PQresultErrorField(res, PG_DIAG_SQLSTATE), "42501") == 0;
    PQclear(res);
    PQfinish(pg);
    return denied;
}

static void only_auth_may_forget(void **state UNUSED)
{
    assert_true(refused("posts", "SELECT chat.forget_account(1)"));
    assert_true(refused("auth", "SELECT chat.erase_account(1)"));
    assert_true(refused("auth", "SELECT * FROM chat.messages"));
    assert_true(refused("auth", "SELECT chat.send_message(1, 1, 'x', NULL, NULL)"));
}

/* ---- what is kept no longer ---- */

/* What happened up to this number did so many hours earlier; then the room may be due. */
static void grow_old(int64_t room, int64_t last, int hours)
{
    static const char *const tables[] = {"messages", "events"};

    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        pg_sql(arena_printf(&arena,
                            "UPDATE chat.%s SET created_at = created_at - interval '%d hours'"
                            " WHERE room_id = %d AND seq <= %d",
                            tables[i], hours, (int)room, (int)last)
                   .p);
    pg_sql("UPDATE chat.rooms SET retention_due = now() WHERE retention_due IS NOT NULL");
}

/* Sweeps until no room is due; how many batches there were. */
static int sweep(int64_t max_days, int64_t max_messages)
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

static void keep(int64_t room, int64_t days, int64_t messages)
{
    change("ok", UPDATE_ROOM, I(ADA), room, NONE, NONE, days, messages);
}

static void expect_first(int64_t room, int64_t want)
{
    struct answer a;

    run(&a, GET_ROOM, I(ADA), room);
    assert_int_equal(db_get_int8(&a.result, 0, ROOM_FIRST_SEQ), want);
    answer_free(&a);
    expect_whole();
}

static void what_is_old_goes(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    expect_sent(room, ADA, "an old needle", "c4", 4, "an old needle");
    send(room, BOB, "another old needle");                          /* 5 */
    change("ok", ADD_REACTION, I(CLEO), room, I(5), "+1", NONE);    /* 6 */
    send(room, BOB, "a new needle");                                /* 7 */
    change("ok", EDIT_MESSAGE, I(BOB), room, I(5), "late", NONE);   /* 8 */
    change("ok", ADD_REACTION, I(ADA), room, I(5), "+1", NONE);     /* 9 */
    change("ok", ADD_REACTION, I(ADA), room, I(7), "+1", NONE);     /* 10 */
    change("ok", SEND_MESSAGE, I(ADA), room, "answer", I(5), NONE); /* 11 */
    keep(room, 2, 0);                                               /* 12 */
    assert_int_equal(unread(CLEO), 4);
    assert_int_equal(sweep(0, 0), 1);
    expect_first(room, 1); /* nothing is old */
    grow_old(room, 6, 47);
    assert_int_equal(sweep(0, 0), 1);
    expect_first(room, 1);
    grow_old(room, 6, 2);
    assert_int_equal(sweep(0, 0), 1);
    expect_first(room, 7);
    assert_int_equal(sweep(0, 0), 0); /* not due again */
    assert_int_equal(pg_sql("SELECT events_before FROM chat.rooms"), 4);

    /* Lists, search, unread messages, marks. */
    run(&a, LIST_MESSAGES_AFTER, I(ADA), room, I(0), I(INT64_MAX), I(50));
    assert_int_equal(db_rows(&a.result), 2);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), 7);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGES_FIRST_SEQ), 7);
    assert_int_equal(db_get_int8(&a.result, 1, MESSAGE_REPLY_TO), 5);
    answer_free(&a);
    run(&a, LIST_EVENTS, I(ADA), room, I(2), I(50));
    assert_int_equal(db_rows(&a.result), 6);
    assert_int_equal(db_get_int8(&a.result, 0, EVENT_SEQ), 7);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGES_FIRST_SEQ), 7);
    assert_true(db_is_null(&a.result, 1, MESSAGE_SEQ)); /* edited, and gone */
    assert_int_equal(db_get_int8(&a.result, 1, EVENT_MESSAGE_SEQ), 5);
    assert_int_equal(db_get_int4(&a.result, 2, EVENT_REACTION_COUNT), 0);
    assert_false(db_get_bool(&a.result, 2, EVENT_REACTION_MINE));
    assert_int_equal(db_get_int4(&a.result, 3, EVENT_REACTION_COUNT), 1);
    answer_free(&a);
    expect_found(ADA, NO_NUMBER, "needle", "1/7 ");
    assert_int_equal(unread(CLEO), 2);
    mark(CLEO, 5, 5, 2);
    mark(CLEO, 7, 7, 1);

    /* What is gone cannot be answered, changed or reacted to. */
    change("no_reply", SEND_MESSAGE, I(ADA), room, "too late", I(5), NONE);
    change("no_message", EDIT_MESSAGE, I(ADA), room, I(4), "too late", NONE);
    change("no_message", DELETE_MESSAGE, I(ADA), room, I(4), NONE);
    change("no_message", ADD_REACTION, I(ADA), room, I(5), "+1", NONE);
    change("no_message", REMOVE_REACTION, I(CLEO), room, I(5), "+1", NONE);
    expect_sent(room, ADA, "its double is gone too", "c4", 13, "its double is gone too");

    /* All of it: numbers go on. */
    grow_old(room, 13, 96);
    sweep(0, 0);
    expect_first(room, 14);
    assert_int_equal(unread(CLEO), 0);
    send(room, BOB, "the next"); /* 14 */
    assert_int_equal(unread(CLEO), 1);
    run(&a, LIST_EVENTS, I(ADA), room, I(13), I(50));
    assert_int_equal(db_get_int8(&a.result, 0, EVENT_SEQ), 14);
    answer_free(&a);
    expect_whole();
    sql_as("auth", "SELECT chat.forget_account(2)");
}

static void as_many_stay_as_are_kept(void **state UNUSED)
{
    int64_t room = create_with_members(PRIVATE);

    for (int i = 0; i < 10; i++) { /* messages 4, 6 ... 22, an event after each */
        send(room, ADA, "text");
        change("ok", ADD_REACTION, I(BOB), room, I(4 + 2 * i), "+1", NONE);
    }
    keep(room, 0, 4); /* 24 */
    sweep(0, 0);
    expect_first(room, 1); /* all of it is younger than a day */
    grow_old(room, 12, 25);
    sweep(0, 0);
    expect_first(room, 13);
    grow_old(room, 24, 25);
    sweep(0, 0);
    expect_first(room, 15); /* an event, then 16, 18, 20, 22 */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 4);
    for (int64_t n = 3; n >= 1; n--) {
        keep(room, 0, n);
        grow_old(room, 99, 25);
        sweep(0, 0);
        assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), n);
        expect_whole();
    }
    keep(room, 0, 0);
    sweep(0, 0); /* no limit: it is not looked at any more */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms WHERE retention_due IS NULL"), 1);
    /* Either limit suffices. */
    keep(room, 3, 100);
    grow_old(room, 99, 99);
    sweep(0, 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 0);
    expect_whole();
}

/* A batch has a bounded number of rows, and rooms take turns. */
static void a_long_room_goes_in_batches(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), other = create_with_members(PUBLIC);
    long before, first = 1;
    struct answer a;

    pg_sql("WITH s AS (INSERT INTO chat.messages (room_id, seq, author_id, text, created_at,"
           "                                      reaction_kinds)"
           "   SELECT 1, i, 1, 'text', clock_timestamp(), 1 FROM generate_series(4, 1803) i"
           "   RETURNING 1)"
           " UPDATE chat.rooms SET last_seq = last_seq + (SELECT count(*) FROM s),"
           "  active_at = clock_timestamp() WHERE id = 1");
    /* Each message has a reaction, those at 1000 and 1001 very many. */
    pg_sql("INSERT INTO chat.reactions SELECT 1, seq, account, '+1' FROM chat.messages,"
           " generate_series(1, CASE WHEN seq IN (1000, 1001) THEN 3000 ELSE 1 END) account");
    pg_sql("INSERT INTO chat.reaction_counts SELECT room_id, seq, emoji, count(*), seq"
           " FROM chat.reactions GROUP BY 1, 2, 3");
    send(other, BOB, "text");
    keep(room, 1, 0);
    keep(other, 1, 0);
    grow_old(room, 9999, 25);
    grow_old(other, 9999, 25);
    while (first < 1804) {
        before = pg_sql("SELECT count(*) FROM chat.reactions WHERE room_id = 1");
        run(&a, SWEEP_ROOM, I(0), I(0), I(600));
        assert_int_equal(db_get_int8(&a.result, 0, 0), 1);
        answer_free(&a);
        long now = pg_sql("SELECT first_seq FROM chat.rooms WHERE id = 1");
        assert_true(now >= first && now <= first + CHAT_SWEEP_BATCH);
        assert_true(before - pg_sql("SELECT count(*) FROM chat.reactions WHERE room_id = 1") <=
                    4 * CHAT_SWEEP_BATCH + 3000);
        first = now;
        expect_whole();
    }
    /* The other one did not wait for all of it. */
    assert_int_equal(pg_sql("SELECT first_seq FROM chat.rooms WHERE id = 2"), 6);
    sweep(0, 0);
    expect_first(room, 1805); /* and that it was said so */
}

static void owners_say_what_is_kept(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    change("forbidden", UPDATE_ROOM, I(BOB), room, "Ours", NONE, I(1), I(0));
    change("not_member", UPDATE_ROOM, I(DAN), room, NONE, NONE, I(1), I(0));
    change("ok", UPDATE_ROOM, I(BOB), room, "Ours", NONE, NO_NUMBER, NO_NUMBER); /* 4 */
    keep(room, 30, 1000);                                                        /* 5 */
    keep(room, 30, 1000);                                                        /* as it was */
    change("ok", OPEN_DIRECT_ROOM, I(ADA), "bob");
    change("direct_room", UPDATE_ROOM, I(ADA), I(2), NONE, NONE, I(1), I(0));
    run(&a, GET_ROOM, I(CLEO), room);
    assert_int_equal(db_get_int8(&a.result, 0, ROOM_LAST_SEQ), 5);
    assert_int_equal(db_get_int4(&a.result, 0, ROOM_RETAIN_DAYS), 30);
    assert_int_equal(db_get_int4(&a.result, 0, ROOM_RETAIN_MESSAGES), 1000);
    answer_free(&a);
    run(&a, CREATE_ROOM, I(ADA), I(PUBLIC), "Room", "", NONE, I(7), I(0));
    assert_int_equal(db_get_int8(&a.result, 0, OUTCOME_ROOM), 3);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms WHERE retention_due IS NOT NULL"), 2);
    /* The version before knows nothing of it. */
    assert_int_equal(pg_sql("SELECT (chat.create_room(1, 1, 'Room', '', NULL)).room"), 4);
    pg_sql("SELECT 1 FROM chat.update_room(1, 1, 'Other', NULL)");
    assert_int_equal(pg_sql("SELECT retain_days FROM chat.rooms WHERE name = 'Other'"), 30);
}

static int64_t limit_rooms(void)
{
    struct answer a;
    int64_t n;

    run(&a, LIMIT_ROOMS);
    n = db_get_int8(&a.result, 0, 0);
    answer_free(&a);
    return n;
}

static void all_rooms_may_have_limits(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), strict = create_with_members(PUBLIC);

    for (int i = 0; i < 6; i++) { /* 4 to 9 */
        send(room, ADA, "text");
        send(strict, ADA, "text");
    }
    keep(strict, 2, 0); /* 10 */
    assert_int_equal(limit_rooms(), 1);
    assert_int_equal(limit_rooms(), 0);
    grow_old(room, 5, 80);
    grow_old(strict, 6, 50);
    sweep(3, 0);
    expect_first(room, 6);
    expect_first(strict, 7);
    grow_old(room, 9, 25);
    grow_old(strict, 10, 25);
    sweep(3, 2);
    expect_first(room, 8);
    expect_first(strict, 8);
    sweep(0, 0); /* nothing is due yet */
    grow_old(room, 0, 0);
    sweep(0, 0); /* they have no limit any more, but the one of its own */
    assert_int_equal(pg_sql("SELECT id FROM chat.rooms WHERE retention_due IS NULL"), 1);
}

/* Nobody who writes meanwhile is lost, nor gets a number twice. */
static void rooms_are_swept_while_others_write(void **state UNUSED)
{
    enum { N = 300 };
    static struct answer answers[N], sweeps[N];
    int64_t room = create_with_members(PUBLIC);

    for (int i = 0; i < 40; i++)
        send(room, ADA, "text"); /* 4 to 43 */
    keep(room, 1, 0);
    grow_old(room, 44, 30);
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0)
            submit(&answers[i], SEND_MESSAGE, I(1 + i % 2), room, "text", I(4 + i % 40), NONE);
        else if (i % 3 == 1)
            submit(&answers[i], ADD_REACTION, I(BOB), room, I(4 + i % 40), "+1", NONE);
        else
            submit(&answers[i], SEND_MESSAGE, I(CLEO), room, "text", NO_NUMBER, NONE);
        submit(&sweeps[i], SWEEP_ROOM, I(0), I(0), I(1));
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        answer_free(&answers[i]);
        assert_int_equal(answer_wait(&sweeps[i]), DB_OK);
        answer_free(&sweeps[i]);
    }
    assert_true(pg_sql("SELECT first_seq FROM chat.rooms") >= 45);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id = 3"), N / 3);
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
             "set -e; for f in services/chat/migrations/000[3-9]_*.sql; do"
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

/* ---- plans ---- */

static void nothing_grows_with_the_tables(void **state UNUSED)
{
    static const struct {
        enum chat_statement statement;
        const char *arguments;
        long max_pages;
    } cases[] = {
        {CREATE_ROOM, "1, 1, 'name', '', NULL, 0, 0",
         2200}, /* counts the account's rooms, at most 500 */
        {CREATE_ROOM, "3000, 1, 'name', '', 'c1', 30, 0", 85},
        {OPEN_DIRECT_ROOM, "3000, 'u3001'", 110},
        {UPDATE_ROOM, "1, 77, 'other', '', 30, 0", 60},
        {DELETE_ROOM, "1, 77", 40},
        {GET_ROOM, "1, 77", 15},
        {LIST_ROOMS, "1, 5000, 51", 300},
        {LIST_MY_ROOMS, "1, 'infinity', 9223372036854775807, 51", 2200},
        {JOIN_ROOM, "3000, 77", 95},
        {LEAVE_ROOM, "2, 1", 60},
        {LIST_MEMBERS, "1, 1, 2000, 51", 260},
        {INVITE_MEMBER, "1, 77, 'u3000'", 110},
        {REMOVE_MEMBER, "1, 1, 'u3000'", 70},
        {SET_MEMBER_ROLE, "1, 1, 'u3000', 2", 70},
        {SEND_MESSAGE, "1, 1, 'text', NULL, NULL", 60},
        {SEND_MESSAGE, "1, 1, 'text', 77, 'c77'", 60},
        {SEND_MESSAGES, "'{1,1,1,1}', '{1,1,2,2}', '{a,b,c,d}', '{0,77,0,0}', '{\"\",c77,x,\"\"}'",
         200},
        {EDIT_MESSAGE, "1, 1, 20000, 'other', 'e1'", 100},
        {DELETE_MESSAGE, "1, 1, 20000, 'e1'", 110},
        {ADD_REACTION, "1, 1, 20000, '+1', 'e1'", 80},
        {REMOVE_REACTION, "2, 1, 20000, '+1', 'e1'", 80},
        {MARK_READ, "1, 1, 30000", 40},
        {LIST_MESSAGES_AFTER, "1, 1, 20000, 9223372036854775807, 50", 300},
        {LIST_MESSAGES_BEFORE, "1, 1, 0, 20000, 50", 300},
        {LIST_MESSAGES_BEFORE, "1, 1, 0, 9223372036854775807, 50", 300},
        {LIST_EVENTS, "1, 1, 20000, 50", 700},
        {ROOM_EVENTS, "0, 1, 20000, 50, false", 700},
        {ROOM_EVENTS, "0, 1, 59990, 1000, true", 1600}, /* 100 events and 4,000 members */
        {ROOMS_AHEAD, "'{1,2,77,9999}', '{1,60000,0,0}', '{1,1,1,1}'", 40},
        {DATABASE_IDENTITY, NULL, 20},
        {SEARCH_MESSAGES,
         "1, NULL, 'w123', 'infinity', 9223372036854775807, 9223372036854775807, 21", 3500},
        {SEARCH_MESSAGES, "1, 1, 'w123', 'infinity', 9223372036854775807, 9223372036854775807, 21",
         80},
        {PROFILES, "'{2000,2010,2020,2030,2040,2050,2060,2070,2080,2090}'", 60},
        {ROOM_PRESENCE, "1, 1, '{2000,2010,2020,2030,2040,2050,2060,2070,2080,2090}'", 100},
        {SWEEP_ROOM, "0, 0, 600",
         25000},                    /* removes a batch: what is written costs, not what stays */
        {LIMIT_ROOMS, NULL, 20000}, /* a batch of rooms */
        {PURGE_ROOM, NULL, 40},
        {PURGE_ACCOUNT, NULL, 40},
        {SORT_SEARCH_INDEX, NULL, 20000}, /* what has been written since the last time */
    };
    bool seen[CHAT_STATEMENTS] = {false};

    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT 'u' || i, 'u' || i, i, i, '' FROM generate_series(5, 5000) i");
    /* Ada owns 490 rooms; the first two are long, with an event after every second message. */
    pg_sql("INSERT INTO chat.rooms (name, description, created_by, last_seq, event_count,"
           "                        member_count, kind)"
           " SELECT 'Room ' || i, '', 1, CASE WHEN i < 3 THEN 60000 ELSE 0 END,"
           " CASE WHEN i < 3 THEN 20000 ELSE 0 END, 1, 1 + i % 7 / 6"
           " FROM generate_series(1, 10000) i");
    pg_sql("INSERT INTO chat.members (room_id, account_id, role)"
           " SELECT i, CASE WHEN i <= 490 THEN 1 ELSE 5 + i % 4000 END, 3"
           " FROM generate_series(1, 10000) i"
           " UNION ALL SELECT 1, i, 1 FROM generate_series(2, 4000) i");
    pg_sql("INSERT INTO chat.messages (room_id, seq, author_id, client_id, text, created_at,"
           "                           reaction_kinds)"
           " SELECT room, seq, 1 + seq / 3 % 2, 'c' || seq, 'text w' || seq % 5000,"
           " now() + seq * interval '1 second', CASE WHEN seq % 5 = 0 THEN 2 ELSE 0 END"
           " FROM generate_series(1, 2) room, generate_series(1, 60000) seq WHERE seq % 3 <> 0");
    pg_sql("INSERT INTO chat.events (room_id, seq, number, kind, actor_id, created_at, message_seq,"
           "                         emoji)"
           " SELECT room, seq, seq / 3, 4, 2, now() + seq * interval '1 second', seq - 1, '+1'"
           " FROM generate_series(1, 2) room, generate_series(3, 60000, 3) seq");
    pg_sql("INSERT INTO chat.reactions SELECT room_id, seq, account, emoji FROM chat.messages,"
           " generate_series(2, 4) account, unnest(ARRAY['+1', '-1']) emoji"
           " WHERE reaction_kinds > 0");
    pg_sql("INSERT INTO chat.reaction_counts SELECT room_id, seq, emoji, count(*), seq"
           " FROM chat.reactions GROUP BY 1, 2, 3");
    sql_as_admin("UPDATE chat.members SET role = 3 WHERE room_id = 1 AND account_id = 1");
    pg_sql("UPDATE chat.rooms SET deleted_at = now() WHERE id > 9990");
    /* The second one has reactions to sweep too. */
    pg_sql(
        "UPDATE chat.rooms SET retain_days = 1, retention_due = now() WHERE id BETWEEN 2 AND 900");
    pg_sql(
        "UPDATE chat.messages SET created_at = created_at - interval '3 days' WHERE room_id = 2");
    pg_sql("UPDATE chat.events SET created_at = created_at - interval '3 days' WHERE room_id = 2");
    pg_sql("UPDATE chat.rooms SET retention_due = now() - interval '1 hour' WHERE id = 2");
    pg_sql("INSERT INTO chat.forgotten_accounts VALUES (4999, now() - interval '1 hour')");
    sql_as_admin("VACUUM ANALYZE");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        sql_expect_plan(&chat_statements[cases[i].statement], cases[i].arguments,
                        "forgotten_accounts", cases[i].max_pages);
        seen[cases[i].statement] = true;
    }
    sql_expect_all_seen(seen, chat_statements, CHAT_STATEMENTS);
}

/* Postgres reads and plans each CHECK of a table anew in every statement that writes to it. */
static void who_sends_asks_no_rule(void **state UNUSED)
{
    static const char *const breaches[] = {
        "kind = 4",
        "kind = 3",
        "kind = 3, direct_low = 2, direct_high = 1",
        "direct_low = 1, direct_high = 2",
        "member_count = -1",
        "first_seq = 0",
        "first_seq = last_seq + 2",
        "events_before = first_seq",
        "events_before = -1",
        "retain_days = -1",
        "retain_messages = -1",
    };

    assert_int_equal(pg_sql("SELECT count(*) FROM pg_constraint WHERE contype = 'c'"
                            " AND conrelid IN ('chat.rooms'::regclass, 'chat.messages'::regclass)"),
                     0);
    sql_as_admin("INSERT INTO chat.rooms (name, description, created_by, member_count)"
                 " VALUES ('r', '', 1, 0)");
    for (size_t i = 0; i < ARRAY_SIZE(breaches); i++) {
        char sql[512];

        snprintf(sql, sizeof(sql),
                 "DO $$ BEGIN UPDATE chat.rooms SET %s;"
                 " RAISE 'a room with %s'; EXCEPTION WHEN check_violation THEN NULL; END $$",
                 breaches[i], breaches[i]);
        pg_sql(sql);
    }
    pg_sql("DO $$ BEGIN INSERT INTO chat.rooms (name, description, created_by, kind)"
           " VALUES ('r', '', 1, 4); RAISE 'a room of no kind';"
           " EXCEPTION WHEN check_violation THEN NULL; END $$");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, empty_tables, whole)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_are_numbered_in_their_room),
        TEST(a_double_gets_the_first_answer),
        TEST(without_room_or_account_nothing_is_stored),
        TEST(replies_are_to_messages_of_the_room),
        TEST(messages_go_together),
        TEST(messages_go_together_with_some_that_do_not),
        TEST(messages_go_together_with_a_double),
        TEST(edits_and_deletions_have_their_place),
        TEST(reactions_are_counted),
        TEST(numbers_have_no_holes_after_a_race),
        TEST(everything_at_once_has_one_order),
        TEST(nobody_writes_after_being_removed),
        TEST(a_direct_room_is_opened_once),
        TEST(a_create_sent_again_makes_nothing),
        TEST(the_last_owner_stays),
        TEST(roles_say_who_may),
        TEST(a_removed_member_stays_out),
        TEST(unread_is_what_others_wrote),
        TEST(a_mark_never_moves_back),
        TEST(pages_go_both_ways),
        TEST(the_log_has_everything),
        TEST(nobody_who_sends_sorts_the_index),
        TEST(search_finds_words_in_my_rooms),
        TEST(a_deleted_room_is_removed_bit_by_bit),
        TEST(a_forgotten_account_leaves_no_word),
        TEST(what_comes_late_is_erased_too),
        TEST(accounts_go_while_others_write),
        TEST(only_auth_may_forget),
        TEST(memberships_have_limits),
        TEST(what_is_old_goes),
        TEST(as_many_stay_as_are_kept),
        TEST(a_long_room_goes_in_batches),
        TEST(owners_say_what_is_kept),
        TEST(all_rooms_may_have_limits),
        TEST(rooms_are_swept_while_others_write),
        /* These put in rows without what belongs to them. */
        cmocka_unit_test_setup(reactions_have_limits, empty_tables),
        cmocka_unit_test_setup(old_rooms_have_members, empty_tables),
        cmocka_unit_test_setup(who_sends_asks_no_rule, empty_tables),
        cmocka_unit_test_setup(nothing_grows_with_the_tables, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
