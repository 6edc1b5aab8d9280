/* lib/http/websocket_writer.c: frames to clients. */
#include "base/utf8.h"
#include "http/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BYTES(literal) ((struct str){"" literal, sizeof(literal) - 1})

static void headers(void **state)
{
    static const struct {
        enum websocket_opcode opcode;
        unsigned flags;
        uint64_t length;
        struct str bytes;
    } cases[] = {
        {WEBSOCKET_TEXT, WEBSOCKET_FIN, 0, BYTES("\x81\x00")},
        {WEBSOCKET_TEXT, 0, 125, BYTES("\x01\x7d")},
        {WEBSOCKET_CONTINUATION, WEBSOCKET_FIN, 126, BYTES("\x80\x7e\x00\x7e")},
        {WEBSOCKET_BINARY, WEBSOCKET_FIN, 0xffff, BYTES("\x82\x7e\xff\xff")},
        {WEBSOCKET_BINARY, WEBSOCKET_FIN, 0x10000, BYTES("\x82\x7f\0\0\0\0\0\x01\0\0")},
        {WEBSOCKET_TEXT, WEBSOCKET_FIN | WEBSOCKET_COMPRESSED, UINT64_C(0x7fffffffffffffff),
         BYTES("\xc1\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")},
    };
    char to[WEBSOCKET_HEADER_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t n = websocket_header(to, cases[i].opcode, cases[i].flags, cases[i].length);

        assert_int_equal(n, cases[i].bytes.n);
        assert_memory_equal(to, cases[i].bytes.p, n);
    }
}

static void control_frames(void **state)
{
    char to[WEBSOCKET_CONTROL_FRAME_MAX], payload[WEBSOCKET_CONTROL_PAYLOAD_MAX];

    (void)state;
    assert_int_equal(websocket_control_frame(to, WEBSOCKET_PONG, STR("abc")), 5);
    assert_memory_equal(to,
                        "\x8a\x03"
                        "abc",
                        5);
    assert_int_equal(websocket_control_frame(to, WEBSOCKET_PING, STR_NULL), 2);
    assert_memory_equal(to, "\x89\0", 2);
    memset(payload, 'x', sizeof(payload));
    assert_int_equal(
        websocket_control_frame(to, WEBSOCKET_PONG, (struct str){payload, sizeof(payload)}), 127);
    assert_memory_equal(to, "\x8a\x7d", 2);
    assert_memory_equal(to + 2, payload, sizeof(payload));
}

/* The close frame's payload. */
static struct str close_payload(unsigned code, struct str reason)
{
    static char to[WEBSOCKET_CONTROL_FRAME_MAX];
    size_t n = websocket_close_frame(to, code, reason);

    assert_in_range(n, 2, sizeof(to));
    assert_int_equal((unsigned char)to[0], 0x88);
    assert_int_equal(to[1], n - 2);
    return (struct str){to + 2, n - 2};
}

static void close_frames(void **state)
{
    static const struct {
        unsigned code;
        struct str reason, payload;
    } cases[] = {
        {1000, BYTES(""), BYTES("\x03\xe8")},
        {1011, BYTES("why"), BYTES("\x03\xf3why")},
        {4016, BYTES("\xc3\xbc"), BYTES("\x0f\xb0\xc3\xbc")},
        {1002, BYTES("a\xff\x62\xc3"),
         BYTES("\x03\xea"
               "a\xef\xbf\xbd"
               "b\xef\xbf\xbd")},
        {WEBSOCKET_NO_CODE, BYTES("unsaid"), BYTES("")},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_true(str_eq(close_payload(cases[i].code, cases[i].reason), cases[i].payload));
}

/* A reason is cut between characters, of every length, at every place. */
static void long_reasons(void **state)
{
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                             "\xff"};

    (void)state;
    for (size_t shift = 0; shift < 5; shift++) {
        for (size_t c = 0; c < ARRAY_SIZE(characters); c++) {
            size_t width = c == 4 ? 3 : strlen(characters[c]); /* U+FFFD for what is none */
            struct buf reason;
            struct str payload;

            buf_init(&reason, SIZE_MAX);
            buf_append(&reason, "xxxxx", shift);
            for (size_t i = 0; i < 200; i++)
                buf_append_str(&reason, str_of(characters[c]));
            payload = str_skip(close_payload(1000, buf_str(&reason)), 2);
            assert_true(utf8_valid(payload));
            assert_int_equal(payload.n, shift + (123 - shift) / width * width);
            if (c < 4)
                assert_memory_equal(payload.p, reason.p, payload.n);
            buf_free(&reason);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(control_frames),
        cmocka_unit_test(close_frames),
        cmocka_unit_test(long_reasons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
