/* The pure parts of live rooms: the window of a room's latest events, sets of accounts, and what
 * clients are told. */
#include "../../services/chat/account_set.h"
#include "../../services/chat/live_parts.h"
#include "../../services/chat/window.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef Stoa__Chat__V1__ConnectResponse response;

/* ---- the window: an event's bytes are its number ---- */

static struct window_entry entry(int64_t seq)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)seq);
    return (struct window_entry){.bytes = rpc_packed_copy(str_of(text)), .kind = 1, .message = seq};
}

static void expect_window(const struct window *w, int64_t first, int64_t last)
{
    size_t bytes = 0;

    assert_int_equal(window_first(w), first);
    assert_int_equal(w->last, last);
    assert_null(window_at(w, first - 1));
    assert_null(window_at(w, last + 1));
    for (int64_t seq = first; seq <= last; seq++) {
        char text[24];

        snprintf(text, sizeof(text), "%lld", (long long)seq);
        assert_true(str_eq(rpc_packed_bytes(window_at(w, seq)->bytes), str_of(text)));
        bytes += strlen(text);
    }
    assert_int_equal(w->bytes, bytes);
}

static void append_to(struct window *w, int64_t last)
{
    while (w->last < last)
        window_append(w, entry(w->last + 1));
}

static void the_window_is_one_piece(void **state UNUSED)
{
    struct window w;

    window_init(&w, 41);
    expect_window(&w, 42, 41);
    append_to(&w, 100);
    expect_window(&w, 42, 100);
    window_trim(&w, 10, 1000);
    expect_window(&w, 91, 100);
    append_to(&w, 1100); /* round the ring, and larger */
    expect_window(&w, 91, 1100);
    window_trim(&w, 1000, 9);
    expect_window(&w, 1099, 1100); /* two of four bytes */
    window_trim(&w, 1000, 3);
    expect_window(&w, 1101, 1100);
    window_free(&w);
}

static void older_events_go_before(void **state UNUSED)
{
    struct window_entry before[40];
    struct window w;

    window_init(&w, 100);
    append_to(&w, 105);
    for (int i = 0; i < 40; i++)
        before[i] = entry(61 + i);
    assert_true(window_prepend(&w, before, 40));
    expect_window(&w, 61, 105);
    append_to(&w, 300);
    expect_window(&w, 61, 300);
    window_free(&w);
    window_init(&w, 60); /* into an empty one */
    for (int i = 0; i < 20; i++)
        before[i] = entry(41 + i);
    assert_true(window_prepend(&w, before, 20));
    expect_window(&w, 41, 60);
    window_free(&w);
}

static int64_t take_all(struct window *w)
{
    struct window_entry early;

    while (window_take_early(w, &early))
        window_append(w, early);
    return w->last;
}

static void early_events_wait_for_their_predecessors(void **state UNUSED)
{
    struct window w;

    window_init(&w, 10);
    window_keep_early(&w, 14, entry(14));
    window_keep_early(&w, 12, entry(12));
    window_keep_early(&w, 12, entry(12)); /* once more */
    window_keep_early(&w, 13, entry(13));
    assert_int_equal(take_all(&w), 10);
    assert_int_equal(w.n_early, 3);
    append_to(&w, 11);
    assert_int_equal(take_all(&w), 14);
    assert_int_equal(w.n_early, 0);
    window_keep_early(&w, 16, entry(16));
    window_keep_early(&w, 20, entry(20));
    append_to(&w, 18); /* 16 has come another way */
    assert_int_equal(take_all(&w), 18);
    assert_int_equal(w.n_early, 1);
    append_to(&w, 19);
    assert_int_equal(take_all(&w), 20);
    expect_window(&w, 11, 20);
    for (int64_t seq = 1000; seq < 1000 + 2 * WINDOW_MAX_EARLY; seq++)
        window_keep_early(&w, seq, entry(seq)); /* most find no room */
    assert_int_equal(w.n_early, WINDOW_MAX_EARLY);
    window_clear(&w);
    expect_window(&w, 21, 20);
    assert_int_equal(w.n_early, 0);
    window_free(&w);
}

/* However events come, in random order and some twice, the window is the order. */
static void any_order_becomes_the_order(void **state UNUSED)
{
    unsigned seed = 7;

    for (int round = 0; round < 200; round++) {
        enum { N = 60 };
        int64_t order[2 * N] = {0};
        struct window w;

        for (int i = 0; i < 2 * N; i++) {
            int j = rand_r(&seed) % (i + 1);

            order[i] = order[j];
            order[j] = i % N + 1;
        }
        window_init(&w, 0);
        for (int i = 0; i < 2 * N; i++) {
            if (order[i] == w.last + 1)
                window_append(&w, entry(order[i]));
            else if (order[i] > w.last)
                window_keep_early(&w, order[i], entry(order[i]));
            take_all(&w);
        }
        expect_window(&w, 1, N);
        assert_int_equal(w.n_early, 0);
        window_free(&w);
    }
}

static struct rpc_packed *changed(const struct window_entry *old, void *user)
{
    assert_int_equal(old->message, *(int64_t *)user);
    return rpc_packed_copy(STR("changed"));
}

static struct rpc_packed *nothing(const struct window_entry *old UNUSED, void *user UNUSED)
{
    return NULL;
}

static void what_has_changed_is_shown_so(void **state UNUSED)
{
    int64_t message = 5;
    struct window w;

    window_init(&w, 0);
    append_to(&w, 9);
    window_append(&w, (struct window_entry){rpc_packed_copy(STR("edited")), 2, 5, 0, 0});
    window_show_again(&w, message, changed, &message);
    assert_true(str_eq(rpc_packed_bytes(window_at(&w, 5)->bytes), STR("changed")));
    assert_true(str_eq(rpc_packed_bytes(window_at(&w, 10)->bytes), STR("changed")));
    assert_true(str_eq(rpc_packed_bytes(window_at(&w, 6)->bytes), STR("6")));
    assert_int_equal(w.bytes, 8 + 2 * strlen("changed"));
    window_show_again(&w, message, nothing, NULL); /* without memory it is shown to nobody */
    expect_window(&w, 11, 10);
    window_free(&w);
}

/* ---- sets of accounts ---- */

static void sets_of_accounts(void **state UNUSED)
{
    uint64_t wire[1000];
    struct account_set set = {NULL, 0, 0};

    for (uint64_t i = 0; i < 1000; i++)
        wire[i] = htobe64(2 * i + 2);
    assert_int_equal(account_set_read(&set, (struct str){(const char *)wire, sizeof(wire)}), 0);
    for (int64_t id = -1; id <= 2002; id++)
        assert_int_equal(account_set_has(&set, id), id >= 2 && id <= 2000 && id % 2 == 0);
    for (int64_t id = 2001; id >= 1; id -= 2)
        assert_int_equal(account_set_add(&set, id), 0);
    assert_int_equal(account_set_add(&set, 7), 0);
    assert_int_equal(set.n, 2001);
    for (int64_t id = 2; id <= 2002; id += 2)
        account_set_remove(&set, id);
    for (int64_t id = 0; id <= 2002; id++)
        assert_int_equal(account_set_has(&set, id), id % 2 == 1);
    account_set_free(&set);
    assert_false(account_set_has(&set, 1));
    assert_int_equal(account_set_read(&set, STR_NULL), 0);
    assert_int_equal(account_set_read(&set, STR("1234567")), -EBADMSG);
    wire[1] = wire[0];
    assert_int_equal(account_set_read(&set, (struct str){(const char *)wire, sizeof(wire)}),
                     -EBADMSG);
    account_set_free(&set);
}

/* ---- parts ---- */

static response *unpack(struct rpc_packed *part)
{
    struct str bytes = rpc_packed_bytes(part);
    response *r = stoa__chat__v1__connect_response__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);

    assert_non_null(r);
    return r;
}

static void free_response(response *r)
{
    stoa__chat__v1__connect_response__free_unpacked(r, NULL);
}

static Stoa__Chat__V1__Author ada = {PROTOBUF_C_MESSAGE_INIT(&stoa__chat__v1__author__descriptor),
                                     .username = (char *)"ada"};

static void make_message(Stoa__Chat__V1__Message *message, const char *text)
{
    stoa__chat__v1__message__init(message);
    message->room = 7;
    message->seq = 42;
    message->text = (char *)text;
    message->author = &ada;
    message->_client_id_case = STOA__CHAT__V1__MESSAGE___CLIENT_ID_CLIENT_ID;
    message->client_id = (char *)"secret";
}

/* Of both kinds of streams the same bytes. */
static void parts_are_for_everybody(void **state UNUSED)
{
    Stoa__Chat__V1__Message message;
    Stoa__Chat__V1__SubscribeResponse *other;
    struct rpc_packed *part;
    int64_t created_us;
    struct str bytes;
    response *r;

    make_message(&message, "hello");
    part = part_message(7, &message);
    bytes = rpc_packed_bytes(part);
    r = unpack(part);
    other = stoa__chat__v1__subscribe_response__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);
    assert_int_equal(r->what_case, STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_EVENT);
    assert_int_equal(other->what_case, STOA__CHAT__V1__SUBSCRIBE_RESPONSE__WHAT_EVENT);
    assert_int_equal(r->seq, 42);
    assert_int_equal(other->seq, 42);
    assert_string_equal(other->event->event->message->text, "hello");
    assert_int_equal(r->event->event->message->_client_id_case, 0);
    assert_string_equal(r->event->event->actor->username, "ada");
    assert_true(part_is_message(bytes, 7, 42, &created_us));
    assert_int_equal(created_us, part_time_us(message.created_at));
    assert_false(part_is_message(bytes, 7, 43, &created_us));
    assert_false(part_is_message(bytes, 8, 42, &created_us));
    stoa__chat__v1__subscribe_response__free_unpacked(other, NULL);
    free_response(r);
    rpc_packed_unref(part);
}

static void only_messages_are_taken_from_others(void **state UNUSED)
{
    Stoa__Chat__V1__Event event = STOA__CHAT__V1__EVENT__INIT;
    struct rpc_packed *part;
    int64_t created_us;

    event.seq = 42;
    event.kind = STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_LEFT;
    part = part_event(7, &event);
    assert_false(part_is_message(rpc_packed_bytes(part), 7, 42, &created_us));
    rpc_packed_unref(part);
    part = part_live(7, 42);
    assert_false(part_is_message(rpc_packed_bytes(part), 7, 42, &created_us));
    rpc_packed_unref(part);
    assert_false(part_is_message(STR("\xff\xff garbage"), 7, 42, &created_us));
    assert_false(part_is_message(STR(""), 7, 42, &created_us));
}

static bool is_taken(Stoa__Chat__V1__Message *message)
{
    struct rpc_packed *part = part_message(7, message);
    int64_t created_us;
    bool is = part_is_message(rpc_packed_bytes(part), 7, 42, &created_us);

    rpc_packed_unref(part);
    return is;
}

/* Redis is everybody's who reaches it. */
static void what_no_instance_says_is_not_taken(void **state UNUSED)
{
    static const int64_t bad[] = {INT64_MIN, -1, INT64_C(253402300800), INT64_MAX};
    Stoa__Chat__V1__Message message;
    Google__Protobuf__Timestamp created = GOOGLE__PROTOBUF__TIMESTAMP__INIT, edited = created;
    struct rpc_packed *part;
    char *large = calloc(1, PART_BYTES_MAX + 1);

    make_message(&message, "hello");
    message.created_at = &created;
    message.edited_at = &edited;
    assert_true(is_taken(&message));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        edited.seconds = bad[i];
        assert_false(is_taken(&message));
        edited.seconds = 0;
        edited.nanos = bad[i] < 0 ? -1 : 1000000000;
        assert_false(is_taken(&message));
        edited.nanos = 0;
        created.seconds = bad[i];
        assert_false(is_taken(&message));
        created.seconds = 0;
    }
    assert_non_null(large);
    memset(large, 'x', PART_BYTES_MAX);
    message.text = large;
    assert_false(is_taken(&message));
    free(large);

    part = part_read(7, NULL, 42);
    assert_true(part_is_read(rpc_packed_bytes(part), 7));
    assert_false(part_is_read(rpc_packed_bytes(part), 8));
    rpc_packed_unref(part);
    part = part_live(7, 42);
    assert_false(part_is_read(rpc_packed_bytes(part), 7));
    rpc_packed_unref(part);
    assert_false(part_is_read(STR(""), 7));
    assert_false(part_is_read(STR("\xff"), 7));
}

static void a_deleted_message_is_nowhere(void **state UNUSED)
{
    Stoa__Chat__V1__Message message;
    struct rpc_packed *part, *again;
    response *r;

    make_message(&message, "hello");
    part = part_message(7, &message);
    stoa__chat__v1__message__init(&message); /* with its account gone too */
    message.room = 7;
    message.seq = 42;
    again = part_event_again(rpc_packed_bytes(part), &message);
    r = unpack(again);
    assert_int_equal(r->seq, 42);
    assert_int_equal(r->event->room, 7);
    assert_int_equal(r->event->event->seq, 42);
    assert_string_equal(r->event->event->message->text, "");
    assert_null(r->event->event->actor);
    assert_null(r->event->event->message->author);
    assert_null(memmem(rpc_packed_bytes(again).p, rpc_packed_bytes(again).n, "ada", 3));
    free_response(r);
    rpc_packed_unref(again);
    rpc_packed_unref(part);
}

static void errors_say_all(void **state UNUSED)
{
    const struct schema_fault faults[] = {{STR("send.text"), STR("can't be blank")},
                                          {STR_NULL, STR("is odd")}};
    const struct rpc_error error = {.code = RPC_INVALID_ARGUMENT,
                                    .message = STR("send.text can't be blank"),
                                    .reason = "INVALID_FIELDS",
                                    .violations = faults,
                                    .n_violations = 2,
                                    .retry_after_ms = 5};
    struct rpc_packed *part = part_error("17", 7, &error);
    response *r = unpack(part);

    assert_string_equal(r->error->id, "17");
    assert_int_equal(r->error->room, 7);
    assert_int_equal(r->error->code, 3);
    assert_string_equal(r->error->reason, "INVALID_FIELDS");
    assert_string_equal(r->error->message, "send.text can't be blank");
    assert_int_equal(r->error->n_violations, 2);
    assert_string_equal(r->error->violations[0]->field, "send.text");
    assert_string_equal(r->error->violations[1]->field, "");
    assert_int_equal(r->error->retry_after_ms, 5);
    free_response(r);
    rpc_packed_unref(part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_is_one_piece),
        cmocka_unit_test(older_events_go_before),
        cmocka_unit_test(early_events_wait_for_their_predecessors),
        cmocka_unit_test(any_order_becomes_the_order),
        cmocka_unit_test(what_has_changed_is_shown_so),
        cmocka_unit_test(sets_of_accounts),
        cmocka_unit_test(parts_are_for_everybody),
        cmocka_unit_test(only_messages_are_taken_from_others),
        cmocka_unit_test(what_no_instance_says_is_not_taken),
        cmocka_unit_test(a_deleted_message_is_nowhere),
        cmocka_unit_test(errors_say_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
