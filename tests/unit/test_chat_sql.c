/* The statements of chat on a real Postgres: one order without holes for all that happens in a
 * room, one change for all its doubles, pages that begin at a key, and that nothing grows with the
 * tables. */
#include "chat_sql_fixture.h"

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

/* ---- reading ---- */

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

/* Which are looked in some at a time. */
static void search_finds_words_in_many_rooms(void **state UNUSED)
{
    enum { ROOMS = 100 };
    char want[1024] = "";

    for (int i = 0; i < ROOMS; i++) {
        int64_t room = create(ADA, i % 2 ? PRIVATE : PUBLIC);

        send(room, ADA, i % 10 ? "a dog" : "a fox");
        send(create(BOB, PUBLIC), BOB, "a fox");
    }
    for (int room = 2 * ROOMS - 19; room > 0; room -= 20)
        snprintf(want + strlen(want), sizeof(want) - strlen(want), "%d/1 ", room);
    expect_found(ADA, NO_NUMBER, "fox", want);
    expect_found(ADA, NO_NUMBER, "fox -a", "");
    expect_found(ADA, NO_NUMBER, "!!!", "");
}

/* A search is read in pages of so many, and not to the end if there are many. */
enum { PAGES_READ = 4 };

/* What it finds, as ROOM/SEQ with a space behind each. */
static void search_in_pages(char *ret, size_t size, int64_t room, const char *words, int page)
{
    int64_t time = INT64_MAX, last_room = INT64_MAX, seq = INT64_MAX;
    int rows = page + 1;
    size_t n = 0;

    *ret = '\0';
    for (int read = 0; read < PAGES_READ && rows > page; read++) {
        struct answer a;

        run(&a, SEARCH_MESSAGES, I(ADA), room, words, time, last_room, seq, I(page + 1));
        rows = db_is_null(&a.result, 0, MESSAGE_SEQ) ? 0 : db_rows(&a.result);
        assert_in_range(rows, 0, page + 1);
        for (int i = 0; i < rows && i < page; i++) {
            time = db_get_timestamp(&a.result, i, MESSAGE_CREATED_AT);
            last_room = db_get_int8(&a.result, i, SEARCH_ROOM);
            seq = db_get_int8(&a.result, i, MESSAGE_SEQ);
            n += (size_t)snprintf(ret + n, size - n, "%d/%d ", (int)last_room, (int)seq);
            assert_true(n < size);
        }
        answer_free(&a);
    }
}

static bool looks_in_the_index(const char *room, const char *words)
{
    char arguments[256], plan[65536];
    const char *at, *end;

    snprintf(arguments, sizeof(arguments),
             "1, %s, '%s', 'infinity', 9223372036854775807, 9223372036854775807, 101", room, words);
    sql_plan(&chat_statements[SEARCH_MESSAGES], arguments, plan, sizeof(plan));
    at = strstr(plan, "Bitmap Index Scan on messages_search");
    assert_non_null(at);
    end = strchr(at, '\n');
    at = strstr(at, "(never executed)");
    return !at || at > end;
}

/* Three rooms of Ada's and one that is not: the first is long, the second slower, the third silent
 * since before them. Of each two messages the time is the same, also in the second room. */
static void fill_for_search(void)
{
    for (int room = 1; room <= 4; room++)
        (void)create(room < 4 ? ADA : BOB, PUBLIC);
    pg_sql("INSERT INTO chat.messages (room_id, seq, author_id, text, created_at, deleted_at)"
           " SELECT room, seq, 1, 'quite common'"
           "        || CASE WHEN seq % 2 = 0 THEN ' half' ELSE ' other' END"
           "        || CASE WHEN seq % 400 = 1 THEN ' rare' ELSE '' END"
           "        || CASE WHEN seq > n - 90 THEN ' fresh' ELSE ' stale' END"
           "        || CASE WHEN seq % 100 = 1 THEN ' quite half' ELSE ' half quite' END,"
           "        '2026-01-01'::timestamptz + since + seq / 2 * step,"
           "        CASE WHEN seq % 7 = 0 THEN now() END"
           " FROM (VALUES (1, 1200, interval '0', interval '1 second'),"
           "              (2, 120, '0', '10 seconds'), (3, 1200, '-1 day', '1 second'),"
           "              (4, 1200, '0', '1 second')) room (room, n, since, step),"
           "      generate_series(1, n) seq");
    pg_sql("UPDATE chat.rooms SET last_seq = n, active_at = at FROM ("
           "  SELECT room_id, max(seq) AS n, max(created_at) AS at FROM chat.messages GROUP BY 1) m"
           " WHERE room_id = id");
}

/* What many messages have is looked for from the newest on, if these promise that this is less
 * work: with the same result. Of a room that says that it has no messages, it never is. */
static void a_search_is_the_same_from_the_newest_on_and_by_the_index(void **state UNUSED)
{
    static const struct {
        const char *words, *like; /* the same as a condition in SQL */
        bool many;
    } cases[] = {
        {"common", "true", true},
        {"-stale", "text NOT LIKE '%stale%'", false},
        {"-nothing", "true", true},
        {"common other", "text LIKE '%other%'", true},
        {"\"quite common\"", "true", true},
        {"\"common half\"", "text LIKE '%common half%'", true},
        {"\"quite half\"", "text LIKE '%quite half%'", false},
        {"common -\"quite half\"", "text NOT LIKE '%quite half%'", true},
        {"rare or other", "text LIKE '%rare%' OR text LIKE '%other%'", true},
        {"rare", "text LIKE '%rare%'", false},
        {"fresh", "text LIKE '%fresh%'",
         false}, /* of the newest all have it, but not as many as wanted */
        {"nothing", "false", false},
    };
    static const char *const rooms[] = {"NULL", "1", "2", "3"};
    static const int pages[] = {100, 7};
    PGconn *pg = PQconnectdb(pg_conninfo);

    fill_for_search();
    for (int by_index = 0; by_index < 2; by_index++) {
        if (by_index)
            pg_sql("UPDATE chat.rooms SET event_count = last_seq");
        for (size_t i = 0; i < ARRAY_SIZE(cases) * ARRAY_SIZE(rooms); i++) {
            size_t c = i / ARRAY_SIZE(rooms), r = i % ARRAY_SIZE(rooms);

            if (r != 2 &&
                looks_in_the_index(rooms[r], cases[c].words) != (by_index || !cases[c].many))
                fail_msg("%s is not looked for in room %s as it should be", cases[c].words,
                         rooms[r]);
            for (size_t p = 0; p < ARRAY_SIZE(pages); p++) {
                char sql[512], found[8192];
                PGresult *want;

                snprintf(sql, sizeof(sql),
                         "SELECT coalesce(string_agg(room_id || '/' || seq || ' ', ''"
                         " ORDER BY created_at DESC, room_id DESC, seq DESC), '') FROM ("
                         "  SELECT * FROM chat.messages WHERE room_id = coalesce(%s, room_id)"
                         "  AND room_id < 4 AND deleted_at IS NULL AND (%s)"
                         "  ORDER BY created_at DESC, room_id DESC, seq DESC LIMIT %d) m",
                         rooms[r], cases[c].like, PAGES_READ * pages[p]);
                want = sql_exec(pg, sql);
                search_in_pages(found, sizeof(found), r ? I(r) : NO_NUMBER, cases[c].words,
                                pages[p]);
                assert_string_equal(found, PQgetvalue(want, 0, 0));
                PQclear(want);
            }
        }
    }
    pg_sql("UPDATE chat.rooms SET event_count = 0");
    PQfinish(pg);
}

/* ---- plans ---- */

static void nothing_grows_with_the_tables(void **state UNUSED)
{
    static const struct {
        enum chat_statement statement;
        const char *arguments;
        long max_pages;
    } cases[] = {
        /* An account's rooms are counted in the index of its memberships. */
        {CREATE_ROOM, "1, 1, 'name', '', NULL, 0, 0", 85},
        {CREATE_ROOM, "3000, 1, 'name', '', 'c1', 30, 0", 85},
        {OPEN_DIRECT_ROOM, "1, 'u3001'", 110},
        {OPEN_DIRECT_ROOM, "3000, 'u3001'", 110},
        {OPEN_DIRECT_ROOM, "3000, 'ada'", 2200}, /* who has as many as others may put it into */
        {UPDATE_ROOM, "1, 77, 'other', '', 30, 0", 60},
        {DELETE_ROOM, "1, 77", 40},
        {GET_ROOM, "1, 77", 15},
        {LIST_ROOMS, "1, 5000, 51", 300},
        {LIST_MY_ROOMS, "1, 'infinity', 9223372036854775807, 51", 2200},
        {JOIN_ROOM, "3000, 77", 95},
        {LEAVE_ROOM, "2, 1", 60},
        {LIST_MEMBERS, "1, 1, 2000, 51", 260},
        {LIST_MEMBERS, "1, 1, 4000, 51", 30}, /* only those who were removed come after these */
        {INVITE_MEMBER, "1, 77, 'u3000'", 110},
        {REMOVE_MEMBER, "1, 1, 'u3000'", 60},
        {SET_MEMBER_ROLE, "1, 1, 'u3000', 2", 60},
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
         150},
        /* What all have; also in the middle. */
        {SEARCH_MESSAGES, "1, 1, 'text', 'infinity', 9223372036854775807, 9223372036854775807, 21",
         250},
        {SEARCH_MESSAGES, "1, 1, 'text', now() + interval '30000 seconds', 1, 30000, 101", 1300},
        {SEARCH_MESSAGES,
         "1, NULL, 'text', 'infinity', 9223372036854775807, 9223372036854775807, 101", 4000},
        {PROFILES, "'{2000,2010,2020,2030,2040,2050,2060,2070,2080,2090}'", 60},
        {ROOM_PRESENCE, "1, 1, '{2000,2010,2020,2030,2040,2050,2060,2070,2080,2090}'", 100},
        {SWEEP_ROOM, "0, 0, 600",
         25000},                    /* removes a batch: what is written costs, not what stays */
        {LIMIT_ROOMS, NULL, 20000}, /* a batch of rooms */
        {PURGE_ROOM, NULL, 40},
        {PURGE_ACCOUNT, NULL, 40000},     /* a batch of 40,000 messages and 32,000 reactions */
        {SORT_SEARCH_INDEX, NULL, 20000}, /* what has been written since the last time */
    };
    bool seen[CHAT_STATEMENTS] = {[LIMIT_SEARCH] = true}; /* reads no table */

    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT 'u' || i, 'u' || i, i, i, '' FROM generate_series(5, 5000) i");
    /* Ada owns 490 rooms; the first two are long, with an event after every second message. */
    pg_sql("INSERT INTO chat.rooms (name, description, created_by, last_seq, event_count,"
           "                        member_count, kind, active_at)"
           " SELECT 'Room ' || i, '', 1, CASE WHEN i < 3 THEN 60000 ELSE 0 END,"
           " CASE WHEN i < 3 THEN 20000 ELSE 0 END, 1, 1 + i % 7 / 6,"
           " now() + CASE WHEN i < 3 THEN interval '60000 seconds' ELSE '0' END"
           " FROM generate_series(1, 10000) i");
    pg_sql("INSERT INTO chat.members (room_id, account_id, role)"
           " SELECT i, CASE WHEN i <= 490 THEN 1 ELSE 5 + i % 4000 END, 3"
           " FROM generate_series(1, 10000) i"
           " UNION ALL SELECT 1, i, 1 FROM generate_series(2, 4000) i"
           " UNION ALL SELECT 1, i, 0 FROM generate_series(5001, 25000) i");
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
    pg_sql("INSERT INTO chat.forgotten_accounts VALUES (2, now() - interval '1 hour')");
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
        TEST(unread_is_what_others_wrote),
        TEST(a_mark_never_moves_back),
        TEST(pages_go_both_ways),
        TEST(the_log_has_everything),
        TEST(nobody_who_sends_sorts_the_index),
        TEST(search_finds_words_in_my_rooms),
        TEST(search_finds_words_in_many_rooms),
        TEST(a_search_is_the_same_from_the_newest_on_and_by_the_index),
        /* These put in rows without what belongs to them. */
        cmocka_unit_test_setup(reactions_have_limits, empty_tables),
        cmocka_unit_test_setup(who_sends_asks_no_rule, empty_tables),
        cmocka_unit_test_setup(nothing_grows_with_the_tables, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
