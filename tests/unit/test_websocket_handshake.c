/* lib/http/websocket_handshake.c. */
#include "http/websocket_handshake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void keys(void **state)
{
    static const char *const bad[] = {
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25jZQA=",
        "dGhlIHNhbXBsZSBub25j-Q==",
        "dGhlIHNhbXBsZSBub25j Q==",
        " GhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==",
    };
    char accept[WEBSOCKET_ACCEPT_SIZE];

    (void)state;
    /* RFC 6455 section 1.3. */
    assert_int_equal(websocket_accept(STR("dGhlIHNhbXBsZSBub25jZQ=="), accept), 0);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof(accept));
    assert_int_equal(websocket_accept(STR("x3JJHMbDL1EzLkh9GBhXDw=="), accept), 0);
    assert_memory_equal(accept, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=", sizeof(accept));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(websocket_accept(str_of(bad[i]), accept), -EINVAL);
    assert_int_equal(websocket_accept(STR_NULL, accept), -EINVAL);
}

/* ---- Sec-WebSocket-Protocol ---- */

static const struct str known[] = {{"stoa.v1", 7}, {"stoa.v2", 7}};

#define NONE NULL

static void protocols(void **state)
{
    static const struct {
        const char *lines[2], *chosen, *bearer;
    } cases[] = {
        {{""}, NONE, NONE},
        {{"stoa.v1"}, "stoa.v1", NONE},
        {{"stoa.v2, stoa.v1"}, "stoa.v2", NONE}, /* the client's order */
        {{"other", "stoa.v1"}, "stoa.v1", NONE},
        {{"stoa.v2", "stoa.v1"}, "stoa.v2", NONE},
        {{"STOA.V1"}, NONE, NONE},
        {{"stoa.v1,bearer.eyJ.eyJ-_.x"}, "stoa.v1", "eyJ.eyJ-_.x"},
        {{"bearer.eyJ", "stoa.v1"}, "stoa.v1", "eyJ"},
        {{"bearer.eyJ"}, NONE, "eyJ"},
        {{" \t,, stoa.v1 , ,\tbearer.a , "}, "stoa.v1", "a"},
        {{"bearer", "Bearer.x"}, NONE, NONE},
        {{"stoa.v1", "stoa.v1"}, "stoa.v1", NONE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct websocket_protocols got = {STR_NULL, STR_NULL};

        for (size_t j = 0; j < 2 && cases[i].lines[j]; j++)
            assert_int_equal(
                websocket_protocols_read(str_of(cases[i].lines[j]), known, ARRAY_SIZE(known), &got),
                0);
        assert_true(str_eq(got.chosen, str_of(cases[i].chosen)));
        assert_int_equal(got.chosen.p == NULL, cases[i].chosen == NULL);
        assert_true(str_eq(got.bearer, str_of(cases[i].bearer)));
        assert_int_equal(got.bearer.p == NULL, cases[i].bearer == NULL);
    }
}

static void bad_protocols(void **state)
{
    static const char *const bad[] = {
        "stoa.v1 stoa.v2", "stoa.v1;x", "\"stoa.v1\"", "bearer.", "bearer.a, bearer.b",
        "bearer.a b",      "stoa/v1",   "st\xc3\xb6",  "a\x01",   "a=b",
    };
    struct websocket_protocols got;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        got = (struct websocket_protocols){STR_NULL, STR_NULL};
        assert_int_equal(websocket_protocols_read(str_of(bad[i]), known, ARRAY_SIZE(known), &got),
                         -EINVAL);
    }
    /* A second token in another line. */
    got = (struct websocket_protocols){STR_NULL, STR_NULL};
    assert_int_equal(websocket_protocols_read(STR("bearer.a"), NULL, 0, &got), 0);
    assert_int_equal(websocket_protocols_read(STR("bearer.a"), NULL, 0, &got), -EINVAL);
    got = (struct websocket_protocols){STR_NULL, STR_NULL};
    assert_int_equal(websocket_protocols_read((struct str){"a\0b", 3}, known, 2, &got), -EINVAL);
}

/* ---- Sec-WebSocket-Extensions ---- */

#define D "permessage-deflate"

static void extensions(void **state)
{
    static const struct {
        const char *lines[2];
        unsigned window;
    } cases[] = {
        {{""}, 0},
        {{"x-other"}, 0},
        {{"x-other; a=1; b=\"t\", " D}, 15},
        {{D}, 15},
        {{D "; client_max_window_bits"}, 15}, /* Chromium, Firefox */
        {{D ";client_max_window_bits=8 ; client_no_context_takeover"}, 15},
        {{D "; server_no_context_takeover; client_no_context_takeover"}, 15},
        {{D "; server_max_window_bits=15"}, 12},
        {{D "; server_max_window_bits=12; client_max_window_bits=12"},
         12}, /* Python's websockets */
        {{D "; server_max_window_bits=\"10\""}, 10},
        {{D "; server_max_window_bits = 8"}, 8},
        /* Broken offers are passed over, and the next one counts (RFC 7692 section 7). */
        {{D "; server_max_window_bits"}, 0},
        {{D "; server_max_window_bits=7"}, 0},
        {{D "; server_max_window_bits=16"}, 0},
        {{D "; server_max_window_bits=08"}, 0},
        {{D "; server_max_window_bits=+9"}, 0},
        {{D "; server_max_window_bits=0"}, 0},
        {{D "; server_max_window_bits=99999999999999999999"}, 0},
        {{D "; server_max_window_bits=10; server_max_window_bits=10"}, 0},
        {{D "; client_max_window_bits=7"}, 0},
        {{D "; client_max_window_bits=ten"}, 0},
        {{D "; client_max_window_bits; client_max_window_bits"}, 0},
        {{D "; server_no_context_takeover=1"}, 0},
        {{D "; client_no_context_takeover=true"}, 0},
        {{D "; server_no_context_takeover; server_no_context_takeover"}, 0},
        {{D "; client_no_context_takeover; client_no_context_takeover"}, 0},
        {{D "; unknown"}, 0},
        {{D "; SERVER_MAX_WINDOW_BITS=10"}, 0},
        {{D "; unknown, " D "; server_max_window_bits=9, " D}, 9},
        {{D "; server_max_window_bits=20", D}, 15},
        {{D "; server_max_window_bits=9", D}, 9},
        {{"\t, " D " ,,"}, 15},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned window = 0;

        for (size_t j = 0; j < 2 && cases[i].lines[j]; j++)
            assert_int_equal(websocket_extensions_read(str_of(cases[i].lines[j]), &window), 0);
        if (window != cases[i].window)
            fail_msg("\"%s\": %u", cases[i].lines[0], window);
    }
}

static void bad_extensions(void **state)
{
    static const char *const bad[] = {
        D ";",           D "; ;a",     D "; =1",       D "; a=",    D "; a=\"\"", D "; a=\"b",
        D "; a=\"b c\"", D "; a=\"\\", D "; a=\"b\"c", D " b",      "\"" D "\"",  ";" D,
        "a/b",           D "; a=\xff", D "; a b",      D "; a=b c",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        unsigned window = 0;

        assert_int_equal(websocket_extensions_read(str_of(bad[i]), &window), -EINVAL);
    }
}

static void answers(void **state)
{
    char text[WEBSOCKET_EXTENSIONS_SIZE];
    char expected[WEBSOCKET_EXTENSIONS_SIZE];
    size_t n = websocket_extensions_print(text, 15);

    (void)state;
    assert_string_equal(text, D "; server_no_context_takeover; client_no_context_takeover");
    assert_int_equal(n, strlen(text));
    for (unsigned window = 8; window <= 12; window++) {
        snprintf(expected, sizeof(expected),
                 D "; server_no_context_takeover; client_no_context_takeover; "
                   "server_max_window_bits=%u",
                 window);
        assert_int_equal(websocket_extensions_print(text, window), strlen(expected));
        assert_string_equal(text, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),           cmocka_unit_test(protocols),
        cmocka_unit_test(bad_protocols),  cmocka_unit_test(extensions),
        cmocka_unit_test(bad_extensions), cmocka_unit_test(answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
