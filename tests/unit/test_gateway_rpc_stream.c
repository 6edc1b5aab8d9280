/* gateway/rpc_stream.c: messages out of bytes, results out of headers, codes. */
#include "../../gateway/rpc_stream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

#define LIMIT 1000
#define KEPT 4096

static void add(struct rpc_reader *r, const char *bytes, size_t n)
{
    assert_int_equal(rpc_reader_add(r, bytes, n), 0);
}

static void assert_next(struct rpc_reader *r, const char *expected)
{
    struct str message;

    assert_int_equal(rpc_reader_next(r, &message), 1);
    assert_int_equal(message.n, strlen(expected));
    assert_memory_equal(message.p, expected, message.n);
}

static void messages_in_any_pieces(void **state)
{
    static const size_t sizes[] = {1, 0, 3};
    static const char wire[] = "\0\0\0\0\1a\0\0\0\0\0\0\0\0\0\3bcd";
    struct rpc_reader r;
    struct str message;

    (void)state;
    for (size_t piece = 1; piece < sizeof(wire); piece++) {
        size_t seen = 0;

        rpc_reader_init(&r, LIMIT, LIMIT, KEPT);
        for (size_t at = 0; at < sizeof(wire) - 1; at += piece) {
            size_t left = sizeof(wire) - 1 - at;

            add(&r, wire + at, left < piece ? left : piece);
            while (seen < ARRAY_SIZE(sizes) && rpc_reader_next(&r, &message) == 1) {
                assert_int_equal(message.n, sizes[seen]);
                assert_memory_equal(message.p, seen == 0 ? "a" : "bcd", message.n);
                seen++;
            }
        }
        assert_int_equal(seen, 3);
        assert_int_equal(rpc_reader_left(&r), 0);
        rpc_reader_free(&r);
    }
}

static void messages_wait(void **state)
{
    struct rpc_reader r;
    struct str message;

    (void)state;
    rpc_reader_init(&r, LIMIT, LIMIT, KEPT);
    add(&r, "\0\0\0\0\1a\0\0\0\0\1b", 12);
    assert_next(&r, "a");
    add(&r, "\0\0\0\0\1c\0\0", 8);
    assert_next(&r, "b");
    assert_next(&r, "c");
    assert_int_equal(rpc_reader_next(&r, &message), 0);
    assert_int_equal(rpc_reader_left(&r), 2);
    rpc_reader_free(&r);
}

static void broken_messages(void **state)
{
    struct rpc_reader r;
    struct str message;
    char most[RPC_PREFIX_SIZE + 4] = "\0\0\0\0\4";

    (void)state;
    rpc_reader_init(&r, 4, LIMIT, KEPT);
    add(&r, most, sizeof(most));
    assert_int_equal(rpc_reader_next(&r, &message), 1);
    add(&r, "\0\0\0\0\5", 5); /* refused by its length, before any of it has come */
    assert_int_equal(rpc_reader_next(&r, &message), -EMSGSIZE);
    rpc_reader_free(&r);

    rpc_reader_init(&r, 4, LIMIT, KEPT);
    add(&r, "\1\0\0\0\1x", 6);
    assert_int_equal(rpc_reader_next(&r, &message), -EBADMSG);
    rpc_reader_free(&r);

    rpc_reader_init(&r, 4, 1, KEPT);
    assert_int_equal(rpc_reader_add(&r, "0123456789a", 11), -ENOMEM);
    rpc_reader_free(&r);
}

static int take(struct rpc_result *result, const char *name, const char *value)
{
    return rpc_result_add(result, str_of(name), str_of(value));
}

static void results(void **state)
{
    struct rpc_result result;

    (void)state;
    rpc_result_init(&result);
    assert_int_equal(take(&result, ":status", "103"), 0);
    assert_int_equal(result.http_status, 0);
    assert_int_equal(take(&result, ":status", "200"), 0);
    assert_int_equal(take(&result, "content-type", "application/grpc+proto"), 0);
    assert_true(result.is_grpc);
    assert_int_equal(rpc_result_code(&result), RPC_UNKNOWN);
    assert_int_equal(take(&result, "grpc-status", "0"), 0);
    assert_int_equal(take(&result, "grpc-message", "first"), 0);
    assert_int_equal(take(&result, "grpc-message", "second"), 0);
    assert_int_equal(take(&result, "grpc-status-details-bin", "CAU"), 0);
    assert_int_equal(rpc_result_code(&result), RPC_OK);
    assert_true(str_eq(result.message, STR("second")));
    assert_true(str_eq(result.details, STR("CAU")));
    rpc_result_free(&result);
}

static void result_types(void **state)
{
    static const struct {
        const char *type;
        bool is_grpc;
    } cases[] = {
        {"application/grpc", true},      {"application/grpc;charset=utf-8", true},
        {"application/grpc+json", true}, {"application/grpc-web", false},
        {"application/json", false},     {"", false},
    };
    struct rpc_result result;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        rpc_result_init(&result);
        assert_int_equal(take(&result, "content-type", cases[i].type), 0);
        assert_int_equal(result.is_grpc, cases[i].is_grpc);
        rpc_result_free(&result);
    }
}

static void refused_results(void **state)
{
    struct rpc_result result;
    int rc = 0, n = 0;

    (void)state;
    rpc_result_init(&result);
    assert_int_equal(take(&result, ":status", "x"), -EBADMSG);
    assert_int_equal(take(&result, ":status", "99"), -EBADMSG);
    assert_int_equal(take(&result, "grpc-status", "-1"), -EBADMSG);
    assert_int_equal(take(&result, "grpc-status", ""), -EBADMSG);
    rpc_result_free(&result);
    while (!rc && n++ < RPC_RESULT_MAX)
        rc = take(&result, "x", "");
    assert_int_equal(rc, -E2BIG);
    assert_int_equal(n, RPC_RESULT_MAX / 33 + 1);
    rpc_result_free(&result);
    assert_int_equal(rpc_result_add(&result, STR("x"), (struct str){"", SIZE_MAX}), -E2BIG);
}

static void codes(void **state)
{
    (void)state;
    assert_int_equal(rpc_code_of_http(404), RPC_UNIMPLEMENTED);
    assert_int_equal(rpc_code_of_http(503), RPC_UNAVAILABLE);
    assert_int_equal(rpc_code_of_http(0), RPC_UNKNOWN);
    assert_int_equal(rpc_code_of_reset(0x7), RPC_UNAVAILABLE);
    assert_int_equal(rpc_code_of_reset(0x8), RPC_CANCELLED);
    assert_int_equal(rpc_code_of_reset(0xb), RPC_RESOURCE_EXHAUSTED);
    assert_int_equal(rpc_code_of_reset(0xd), RPC_UNKNOWN);
    assert_int_equal(rpc_code_of_reset(UINT32_MAX), RPC_UNKNOWN);
}

static void assert_timeout(uint64_t ms, const char *expected)
{
    char text[RPC_TIMEOUT_SIZE];

    assert_int_equal(rpc_timeout_write(text, ms), strlen(expected));
    assert_string_equal(text, expected);
}

static void timeouts(void **state)
{
    (void)state;
    assert_timeout(1, "1m");
    assert_timeout(99999999, "99999999m");
    assert_timeout(100000000, "100000S");
    assert_timeout(100000001, "100001S");
    assert_timeout(UINT64_C(99999999) * 1000, "99999999S");
    assert_timeout(UINT64_C(100000000) * 1000, "1666667M");
    assert_timeout(UINT64_MAX, "99999999H");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_in_any_pieces),
        cmocka_unit_test(messages_wait),
        cmocka_unit_test(broken_messages),
        cmocka_unit_test(results),
        cmocka_unit_test(result_types),
        cmocka_unit_test(refused_results),
        cmocka_unit_test(codes),
        cmocka_unit_test(timeouts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
