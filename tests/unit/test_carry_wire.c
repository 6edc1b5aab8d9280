/* lib/grpc/carry_wire.c: what it writes is what protobuf-c reads, and what a server writes is read
 * again to the same. */
#include "grpc/carry_wire.h"

#include "stoa/edge/v1/call.pb-c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

typedef Stoa__Edge__V1__CarryRequest request_type;
typedef Stoa__Edge__V1__CarryResponse response_type;

static void writes_calls(void **state)
{
    struct buf wire = {.max = 1 << 20};
    static char large[100000];
    request_type *request;
    size_t mark;

    (void)state;
    mark = carry_begin_call(&wire, UINT64_MAX, STR("/a.B/C"));
    carry_put_metadata(&wire, STR("authorization"), STR("Bearer x"));
    carry_put_metadata(&wire, STR("empty"), STR(""));
    carry_end_call(&wire, mark, (struct str){large, sizeof(large)}, 10000);
    mark = carry_begin_call(&wire, 1, STR("/a.B/D"));
    carry_end_call(&wire, mark, STR(""), 0);
    carry_put_cancelled(&wire, 300);
    carry_put_cancelled(&wire, 1);
    assert_int_equal(buf_error(&wire), 0);
    request = stoa__edge__v1__carry_request__unpack(NULL, wire.n, (const uint8_t *)wire.p);
    assert_non_null(request);
    assert_int_equal(request->n_calls, 2);
    assert_true(request->calls[0]->id == UINT64_MAX);
    assert_string_equal(request->calls[0]->method, "/a.B/C");
    assert_int_equal(request->calls[0]->n_metadata, 2);
    assert_string_equal(request->calls[0]->metadata[0]->name, "authorization");
    assert_string_equal(request->calls[0]->metadata[0]->value, "Bearer x");
    assert_string_equal(request->calls[0]->metadata[1]->name, "empty");
    assert_string_equal(request->calls[0]->metadata[1]->value, "");
    assert_int_equal(request->calls[0]->message.len, sizeof(large));
    assert_int_equal(request->calls[0]->timeout_ms, 10000);
    assert_int_equal(request->calls[1]->n_metadata, 0);
    assert_int_equal(request->calls[1]->message.len, 0);
    assert_int_equal(request->calls[1]->timeout_ms, 0);
    assert_int_equal(request->n_cancelled, 2);
    assert_int_equal(request->cancelled[0], 300);
    stoa__edge__v1__carry_request__free_unpacked(request, NULL);
    buf_free(&wire);
}

static void put_answers(struct buf *wire)
{
    size_t mark = carry_begin_answer(wire, 5);

    carry_put_header(wire, STR("x-initial"), STR("one"), false);
    carry_end_answer(wire, mark, &(struct carry_answer){.message = STR("first "), .size = 12});
    mark = carry_begin_answer(wire, 5);
    carry_put_header(wire, STR("x-trailing"), STR("two"), true);
    carry_end_answer(wire, mark, &(struct carry_answer){.message = STR("second"), .ended = true});
    mark = carry_begin_answer(wire, 6);
    carry_end_answer(
        wire, mark,
        &(struct carry_answer){
            .ended = true, .code = 5, .text = STR("not here"), .details = STR("\0details")});
    carry_put_going(wire);
    assert_int_equal(buf_error(wire), 0);
}

static void writes_answers(void **state)
{
    struct buf wire = {.max = 10000};
    response_type *response;

    (void)state;
    put_answers(&wire);
    response = stoa__edge__v1__carry_response__unpack(NULL, wire.n, (const uint8_t *)wire.p);
    assert_non_null(response);
    assert_true(response->going);
    assert_int_equal(response->n_answers, 3);
    assert_int_equal(response->answers[0]->id, 5);
    assert_int_equal(response->answers[0]->size, 12);
    assert_null(response->answers[0]->end);
    assert_string_equal(response->answers[0]->metadata[0]->value, "one");
    assert_int_equal(response->answers[1]->end->code, 0);
    assert_string_equal(response->answers[1]->trailers[0]->name, "x-trailing");
    assert_int_equal(response->answers[2]->end->code, 5);
    assert_string_equal(response->answers[2]->end->message, "not here");
    assert_int_equal(response->answers[2]->end->details.len, 8);
    stoa__edge__v1__carry_response__free_unpacked(response, NULL);
    buf_free(&wire);
}

static void assert_metadata(struct str item, struct str name, struct str value, bool trailing)
{
    struct schema_reader r = schema_reader_of(item);
    struct carry_metadata m;

    assert_int_equal(carry_next_metadata(&r, &m), 1);
    assert_true(str_eq(m.name, name) && str_eq(m.value, value));
    assert_int_equal(m.trailing, trailing);
    assert_int_equal(carry_next_metadata(&r, &m), 0);
}

static void reads_answers(void **state)
{
    struct buf wire = {.max = 10000};
    struct carry_answer answer;
    struct schema_reader r;
    bool going = false;

    (void)state;
    put_answers(&wire);
    r = schema_reader_of(buf_str(&wire));
    assert_int_equal(carry_next(&r, &answer, &going), 1);
    assert_true(answer.id == 5 && answer.size == 12 && !answer.ended);
    assert_true(str_eq(answer.message, STR("first ")));
    assert_metadata(answer.item, STR("x-initial"), STR("one"), false);
    assert_int_equal(carry_next(&r, &answer, &going), 1);
    assert_true(answer.id == 5 && answer.size == 0 && answer.ended && answer.code == 0);
    assert_true(str_eq(answer.message, STR("second")));
    assert_metadata(answer.item, STR("x-trailing"), STR("two"), true);
    assert_int_equal(carry_next(&r, &answer, &going), 1);
    assert_true(answer.id == 6 && answer.ended && answer.code == 5);
    assert_true(str_eq(answer.text, STR("not here")));
    assert_true(str_eq(answer.details, STR("\0details")));
    assert_false(going);
    assert_int_equal(carry_next(&r, &answer, &going), 0);
    assert_true(going);
    buf_free(&wire);
}

static void refuses_what_is_cut_off(void **state)
{
    struct buf wire = {.max = 10000};
    size_t whole = 0;

    (void)state;
    put_answers(&wire);
    for (size_t n = 0; n < wire.n; n++) {
        struct schema_reader r = schema_reader_of((struct str){wire.p, n});
        struct carry_answer answer;
        bool going = false;
        int got;

        while ((got = carry_next(&r, &answer, &going)) == 1)
            ;
        assert_true(got == 0 || got == -EBADMSG);
        whole += got == 0;
    }
    assert_int_equal(whole, 4); /* nothing, or cut off between two items */
    buf_free(&wire);
}

static void knows_metadata(void **state)
{
    static char value[CARRY_VALUE_MAX + 1], name[CARRY_NAME_MAX + 1];
    struct str long_name = {name, CARRY_NAME_MAX}, long_value = {value, CARRY_VALUE_MAX};

    (void)state;
    memset(value, '~', sizeof(value));
    memset(name, 'n', sizeof(name));
    assert_true(carry_is_metadata(STR("x-1_a.b"), STR(" ~")));
    assert_true(carry_is_metadata(STR("x"), STR("")));
    assert_true(carry_is_metadata(long_name, long_value));
    long_value.n++;
    assert_false(carry_is_metadata(STR("x"), long_value));
    long_name.n++;
    assert_false(carry_is_metadata(long_name, STR("")));
    assert_false(carry_is_metadata(STR(""), STR("")));
    assert_false(carry_is_metadata(STR("X"), STR("")));
    assert_false(carry_is_metadata(STR("x y"), STR("")));
    assert_false(carry_is_metadata(STR("x-bin"), STR("AAAA")));
    assert_false(carry_is_metadata(STR("x"), STR("\n")));
    assert_false(carry_is_metadata(STR("x"), STR("\x7f")));
    assert_false(carry_is_metadata(STR("x"), STR("\xc3\xa4")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_calls),   cmocka_unit_test(writes_answers),
        cmocka_unit_test(reads_answers),  cmocka_unit_test(refuses_what_is_cut_off),
        cmocka_unit_test(knows_metadata),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
