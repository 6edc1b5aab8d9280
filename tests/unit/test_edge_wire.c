/* lib/edge/attach_wire.c: what it writes is what protobuf-c reads, and the other way round. */
#include "edge/attach_wire.h"

#include "stoa/edge/v1/edge.pb-c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

typedef Stoa__Edge__V1__AttachRequest request_type;
typedef Stoa__Edge__V1__AttachResponse response_type;
typedef Stoa__Edge__V1__Down down_type;

/* ---- up ---- */

static request_type *unpack(const struct buf *wire)
{
    request_type *request;

    assert_int_equal(buf_error(wire), 0);
    request = stoa__edge__v1__attach_request__unpack(NULL, wire->n, (const uint8_t *)wire->p);
    assert_non_null(request);
    return request;
}

static void writes_items(void **state)
{
    struct buf wire = {.max = ATTACH_REQUEST_MAX};
    static char large[ATTACH_MESSAGE_MAX];
    request_type *request;

    (void)state;
    attach_put_item(&wire, 1, ATTACH_UP_MESSAGE, STR("hello"));
    attach_put_item(&wire, UINT64_MAX, ATTACH_UP_MESSAGE, (struct str){large, sizeof(large)});
    attach_put_item(&wire, 300, ATTACH_HALF_CLOSE, STR(""));
    attach_put_item(&wire, 300, ATTACH_CLOSE, STR(""));
    attach_put_item(&wire, 300, ATTACH_DRAINED, STR(""));
    request = unpack(&wire);
    assert_false(request->beat);
    stoa__edge__v1__attach_request__free_unpacked(request, NULL);
    assert_false(attach_has_beat(buf_str(&wire)));
    attach_put_beat(&wire);
    assert_true(attach_has_beat(buf_str(&wire)));
    assert_true(wire.n <= sizeof(large) + sizeof("hello") + 5 * ATTACH_ITEM_OVERHEAD);
    request = unpack(&wire);
    assert_int_equal(request->n_items, 5);
    assert_true(request->beat);
    assert_int_equal(request->items[0]->session, 1);
    assert_int_equal(request->items[0]->what_case, STOA__EDGE__V1__UP__WHAT_MESSAGE);
    assert_int_equal(request->items[0]->message.len, 5);
    assert_memory_equal(request->items[0]->message.data, "hello", 5);
    assert_int_equal(request->items[1]->session, UINT64_MAX);
    assert_int_equal(request->items[1]->message.len, sizeof(large));
    assert_int_equal(request->items[2]->what_case, STOA__EDGE__V1__UP__WHAT_HALF_CLOSE);
    assert_int_equal(request->items[3]->what_case, STOA__EDGE__V1__UP__WHAT_CLOSE);
    assert_int_equal(request->items[4]->what_case, STOA__EDGE__V1__UP__WHAT_DRAINED);
    assert_int_equal(request->items[4]->session, 300);
    stoa__edge__v1__attach_request__free_unpacked(request, NULL);
    buf_free(&wire);
}

static void writes_an_open(void **state)
{
    struct buf open = {.max = 10000}, wire = {.max = 10000};
    const Stoa__Edge__V1__Open *got;
    request_type *request;

    (void)state;
    attach_put_method(&open, STR("/a.B/C"));
    attach_put_metadata(&open, STR("authorization"), STR("Bearer x"));
    attach_put_metadata(&open, STR("empty"), STR(""));
    attach_put_resumed(&open, STR("\0state"));
    attach_put_position(&open, 7, 9);
    attach_put_position(&open, 0, 0);
    attach_put_position(&open, UINT64_MAX, -1);
    attach_put_item(&wire, 5, ATTACH_OPEN, buf_str(&open));
    request = unpack(&wire);
    assert_int_equal(request->n_items, 1);
    assert_int_equal(request->items[0]->what_case, STOA__EDGE__V1__UP__WHAT_OPEN);
    got = request->items[0]->open;
    assert_string_equal(got->method, "/a.B/C");
    assert_int_equal(got->n_metadata, 2);
    assert_string_equal(got->metadata[0]->name, "authorization");
    assert_string_equal(got->metadata[0]->value, "Bearer x");
    assert_string_equal(got->metadata[1]->value, "");
    assert_true(got->resumed);
    assert_int_equal(got->resume_state.len, 6);
    assert_int_equal(got->n_positions, 3);
    assert_int_equal(got->positions[0]->channel, 7);
    assert_int_equal(got->positions[0]->seq, 9);
    assert_int_equal(got->positions[1]->channel, 0);
    assert_true(got->positions[2]->channel == UINT64_MAX && got->positions[2]->seq == -1);
    stoa__edge__v1__attach_request__free_unpacked(request, NULL);
    buf_free(&open);
    buf_free(&wire);
}

/* ---- down ---- */

static struct attach_down read_one(down_type *item)
{
    static uint8_t wire[1000];
    response_type response = STOA__EDGE__V1__ATTACH_RESPONSE__INIT;
    struct buf again = {.max = sizeof(wire)};
    struct schema_reader r;
    struct attach_down down;
    size_t n;

    response.items = &item;
    response.n_items = 1;
    n = stoa__edge__v1__attach_response__pack(&response, wire);
    assert_true(n < sizeof(wire));
    assert_true(attach_is_whole((struct str){(const char *)wire, n}));
    r = schema_reader_of((struct str){(const char *)wire, n});
    assert_int_equal(attach_next(&r, &down), 1);
    assert_int_equal(down.session, item->session);
    assert_int_equal(down.tell_drained, item->tell_drained);
    attach_put_down(&again, &down);
    assert_int_equal(again.n, n);
    assert_memory_equal(again.p, wire, n);
    buf_free(&again);
    return down;
}

static down_type down_of(uint64_t session, int what)
{
    down_type down = STOA__EDGE__V1__DOWN__INIT;

    down.session = session;
    down.what_case = (Stoa__Edge__V1__Down__WhatCase)what;
    return down;
}

static ProtobufCBinaryData data_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void reads_messages(void **state)
{
    down_type item = down_of(1 << 20, STOA__EDGE__V1__DOWN__WHAT_MESSAGE);
    struct attach_down down;

    (void)state;
    item.message = data_of("hello");
    item.tell_drained = true;
    down = read_one(&item);
    assert_int_equal(down.what, ATTACH_DOWN_MESSAGE);
    assert_true(str_eq(down.bytes, STR("hello")));
    item.what_case = STOA__EDGE__V1__DOWN__WHAT_RESUME_STATE;
    item.resume_state = data_of("");
    down = read_one(&item);
    assert_int_equal(down.what, ATTACH_RESUME_STATE);
    assert_int_equal(down.bytes.n, 0);
}

static void reads_ends(void **state)
{
    Stoa__Edge__V1__Opened opened = STOA__EDGE__V1__OPENED__INIT;
    Stoa__Edge__V1__End end = STOA__EDGE__V1__END__INIT;
    down_type item = down_of(3, STOA__EDGE__V1__DOWN__WHAT_OPENED);
    struct attach_down down;
    char message[] = "no";

    (void)state;
    item.opened = &opened;
    assert_int_equal(read_one(&item).what, ATTACH_OPENED);
    item.what_case = STOA__EDGE__V1__DOWN__WHAT_END;
    item.end = &end;
    down = read_one(&item);
    assert_int_equal(down.what, ATTACH_END);
    assert_int_equal(down.code, 0);
    assert_null(down.details.p);
    end.code = 16;
    end.message = message;
    end.details = data_of("details");
    down = read_one(&item);
    assert_int_equal(down.code, 16);
    assert_true(str_eq(down.bytes, STR("no")) && str_eq(down.details, STR("details")));
}

static void reads_channels(void **state)
{
    Stoa__Edge__V1__ChannelState channel = STOA__EDGE__V1__CHANNEL_STATE__INIT;
    Stoa__Edge__V1__Broadcast broadcast = STOA__EDGE__V1__BROADCAST__INIT;
    down_type item = down_of(3, STOA__EDGE__V1__DOWN__WHAT_CHANNEL);
    struct attach_down down;

    (void)state;
    channel.channel = UINT64_MAX;
    channel.seq = INT64_MAX;
    channel.live = true;
    item.channel = &channel;
    down = read_one(&item);
    assert_int_equal(down.what, ATTACH_CHANNEL);
    assert_true(down.channel == UINT64_MAX && down.seq == INT64_MAX && down.live);
    item = down_of(0, STOA__EDGE__V1__DOWN__WHAT_BROADCAST);
    item.broadcast = &broadcast;
    broadcast.channel = 5;
    broadcast.seq = 6;
    broadcast.message = data_of("all");
    down = read_one(&item);
    assert_int_equal(down.what, ATTACH_BROADCAST);
    assert_true(down.channel == 5 && down.seq == 6 && str_eq(down.bytes, STR("all")));
    item = down_of(9, STOA__EDGE__V1__DOWN__WHAT_LEFT_CHANNEL);
    item.left_channel = 5;
    down = read_one(&item);
    assert_int_equal(down.what, ATTACH_LEFT_CHANNEL);
    assert_int_equal(down.channel, 5);
}

/* Of a oneof the last one counts; what a newer contract has is passed over. */
static void reads_what_others_write(void **state)
{
    static const char wire[] =
        "\x0a\x09\x2a\x01x\x08\x05\x1a\x02hi" /* resume_state, session, message */
        "\x12\x01z"                           /* field 2 */
        "\x0a\x05\x08\x06\xa2\x06\x00"        /* field 100 */
        "\x0a\x00";
    struct schema_reader r = schema_reader_of((struct str){wire, sizeof(wire) - 1});
    struct attach_down down;

    (void)state;
    assert_int_equal(attach_next(&r, &down), 1);
    assert_int_equal(down.session, 5);
    assert_int_equal(down.what, ATTACH_DOWN_MESSAGE);
    assert_true(str_eq(down.bytes, STR("hi")));
    assert_int_equal(attach_next(&r, &down), 1);
    assert_int_equal(down.session, 6);
    assert_int_equal(down.what, ATTACH_NOTHING);
    assert_int_equal(attach_next(&r, &down), 1);
    assert_int_equal(down.session, 0);
    assert_int_equal(attach_next(&r, &down), 0);
}

static void refuses_broken_ones(void **state)
{
    static const struct str broken[] = {
        STR("\x0a"),                     /* no length */
        STR("\x0a\x05\x08\x01"),         /* cut off */
        STR("\x0a\x04\x08\x01\x1a\x05"), /* a message that is longer than its item */
        STR("\x0a\x04\x22\x02\x08\xff"), /* in an End */
        STR("\x0a\x04\x42\x02\x1a\x09"), /* in a Broadcast */
        STR("\x0f"),                     /* no such wire type */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
        assert_false(attach_is_whole(broken[i]));
    assert_true(attach_is_whole(STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_items),        cmocka_unit_test(writes_an_open),
        cmocka_unit_test(reads_messages),      cmocka_unit_test(reads_ends),
        cmocka_unit_test(reads_channels),      cmocka_unit_test(reads_what_others_write),
        cmocka_unit_test(refuses_broken_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
