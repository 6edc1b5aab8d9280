/* lib/http/websocket_reader.c: RFC 6455 sections 5 to 8, in pieces of any size. Compression is in
 * test_websocket_deflate.c. */
#include "websocket_frames.h"

#include <errno.h>
#include <stdio.h>

#define MAX 100000

#define MASK "\0\0\0\0" /* leaves bytes as they are */

/* ---- the protocol's rules ---- */

static void frames_that_break_the_protocol(void **state)
{
    static const struct {
        struct str bytes;
        const char *told;
    } cases[] = {
        {BYTES("\x81\x01x"), "error 71 1002: a frame is not masked\n"},
        {BYTES("\x89\x00"), "error 71 1002: a frame is not masked\n"},
        {BYTES("\xc1\x81"), "error 71 1002: compression where there is none\n"},
        {BYTES("\xa1\x81"), "error 71 1002: a reserved bit is set\n"},
        {BYTES("\x91\x81"), "error 71 1002: a reserved bit is set\n"},
        {BYTES("\x99\x81"), "error 71 1002: a reserved bit is set\n"},
        {BYTES("\x83\x80"), "error 71 1002: an unknown opcode\n"},
        {BYTES("\x07\x80"), "error 71 1002: an unknown opcode\n"},
        {BYTES("\x8b\x80"), "error 71 1002: an unknown opcode\n"},
        {BYTES("\x8f\x80"), "error 71 1002: an unknown opcode\n"},
        {BYTES("\x09\x80"), "error 71 1002: a control frame in fragments\n"},
        {BYTES("\x08\x80"), "error 71 1002: a control frame in fragments\n"},
        {BYTES("\x89\xfe\0\x7e" MASK), "error 71 1002: a control frame is too long\n"},
        {BYTES("\x88\xff"), "error 71 1002: a control frame is too long\n"},
        {BYTES("\x80\x80"), "error 71 1002: a continuation of no message\n"},
        {BYTES("\x00\x80"), "error 71 1002: a continuation of no message\n"},
        {BYTES("\x01\x80" MASK "\x82\x80" MASK), "error 71 1002: a message inside another one\n"},
        {BYTES("\x02\x81" MASK "x\x02\x81" MASK), "error 71 1002: a message inside another one\n"},
        {BYTES("\x82\x81" MASK "x\x80\x80" MASK),
         "binary [1:x]\nerror 71 1002: a continuation of no message\n"},
        {BYTES("\x82\xfe\0\x7d" MASK), "error 71 1002: a length in more bytes than it needs\n"},
        {BYTES("\x82\xff\0\0\0\0\0\0\xff\xff" MASK),
         "error 71 1002: a length in more bytes than it needs\n"},
        {BYTES("\x82\xff\0\0\0\0\0\0\0\0" MASK),
         "error 71 1002: a length in more bytes than it needs\n"},
        {BYTES("\x82\xff\x80\0\0\0\0\0\0\x01" MASK),
         "error 71 1002: a length of more than 63 bits\n"},
        {BYTES("\x88\x81" MASK "\x03"), "error 71 1002: a close code of one byte\n"},
        {BYTES("\x88\x82" MASK "\x03\xed"), "error 71 1002: a close code that has no meaning\n"},
        {BYTES("\x88\x84" MASK "\x03\xe8\xc3("), "error 84 1007: a close reason is not UTF-8\n"},
        {BYTES("\x88\x83" MASK "\x03\xe8\xc3"), "error 84 1007: a close reason is not UTF-8\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_tells(MAX, false, cases[i].bytes, cases[i].told);
}

/* A length that no memory could hold is too big, not broken. */
static void the_longest_length(void **state)
{
    (void)state;
    assert_tells(UINT32_MAX, false, BYTES("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" MASK),
                 "error 90 1009: the message is too large\n");
}

static void close_codes(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= UINT16_MAX; code++) {
        char bytes[] = "\x88\x82" MASK "??";
        bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                     (code >= 3000 && code <= 4999);
        struct websocket_input in = {bytes, sizeof(bytes) - 1};
        struct websocket_reader reader;
        struct websocket_event event;

        bytes[6] = (char)(code >> 8);
        bytes[7] = (char)(code & 0xff);
        websocket_reader_init(&reader, MAX, false);
        assert_int_equal(websocket_read(&reader, &in, &event), valid ? 1 : -EPROTO);
        assert_int_equal(event.opcode, WEBSOCKET_CLOSE);
        assert_int_equal(event.code, valid ? code : WEBSOCKET_PROTOCOL_ERROR);
        websocket_reader_free(&reader);
    }
}

static void nothing_is_read_after_the_end(void **state)
{
    struct listener l;

    (void)state;
    listener_init(&l, MAX, false);
    hear(&l, BYTES("\x01\x81" MASK "x\x88\x85" MASK "\x03\xe8"
                   "bye\x89\x80" MASK));
    assert_told(&l, "close 1000 [3:bye]\n");
    hear(&l, BYTES("\x80\x81" MASK "y\x83"));
    assert_told(&l, "");
    assert_false(websocket_reader_busy(&l.reader));
    listener_free(&l);

    listener_init(&l, MAX, false);
    hear(&l, BYTES("\x01\x81" MASK "x\x83"));
    assert_told(&l, "error 71 1002: an unknown opcode\n");
    assert_null(l.reader.bytes.p);
    hear(&l, BYTES("\x89\x80" MASK));
    assert_told(&l, "");
    assert_int_equal(l.rc, 0);
    listener_free(&l);
}

/* ---- any pieces ---- */

/* All that may follow each other: control frames between fragments that end inside characters,
 * empty fragments, all three forms of lengths, and a close. */
static void put_all_kinds(struct buf *to)
{
    static char bytes[300];

    put_frame(to, FIN | WEBSOCKET_PING, STR("p"));
    put_frame(to, WEBSOCKET_TEXT, STR("h\xc3"));
    put_frame(to, FIN | WEBSOCKET_PING, STR("between"));
    put_frame(to, WEBSOCKET_CONTINUATION, STR("\xa9llo \xf0\x9f"));
    put_frame(to, WEBSOCKET_CONTINUATION, STR(""));
    put_frame(to, FIN | WEBSOCKET_PONG, STR(""));
    put_frame(to, FIN | WEBSOCKET_CONTINUATION, STR("\x98\x80!"));
    put_frame(to, FIN | WEBSOCKET_TEXT, STR(""));
    put_frame(to, WEBSOCKET_BINARY, STR(""));
    put_frame(to, FIN | WEBSOCKET_PONG, STR("pong"));
    put_frame(to, FIN | WEBSOCKET_CONTINUATION, STR("\xff\0\x80"));
    memset(bytes, 'a', sizeof(bytes));
    put_frame(to, FIN | WEBSOCKET_PING, (struct str){bytes, 125});
    put_frame(to, FIN | WEBSOCKET_TEXT, (struct str){bytes, 126});
    put_frame(to, WEBSOCKET_TEXT, STR("one "));
    put_frame(to, FIN | WEBSOCKET_CONTINUATION, STR("two"));
    put_frame(to, FIN | WEBSOCKET_CLOSE, STR("\x03\xe8gr\xc3\xbc\xc3\x9f"));
}

static const char *all_kinds_told(void)
{
    static char text[1000];
    char a[127];

    memset(a, 'a', sizeof(a));
    snprintf(text, sizeof(text),
             "ping [1:p]\nping [7:between]\npong [0:]\ntext [12:h\xc3\xa9llo \xf0\x9f\x98\x80!]\n"
             "text [0:]\npong [4:pong]\nbinary [3:\xff#\x80]\nping [125:%.125s]\n"
             "text [126:%.126s]\ntext [7:one two]\nclose 1000 [6:gr\xc3\xbc\xc3\x9f]\n",
             a, a);
    *strchr(text, '#') = '\0'; /* the NUL of the binary message */
    return text;
}

static size_t all_kinds_told_size(void)
{
    const char *text = all_kinds_told();
    size_t before = strlen(text);

    return before + 1 + strlen(text + before + 1);
}

static void assert_all_kinds(struct str bytes, size_t first, size_t size)
{
    struct listener l;
    size_t n = all_kinds_told_size();

    listener_init(&l, MAX, false);
    hear_in_pieces(&l, bytes, first, size);
    assert_int_equal(l.told.n, n);
    assert_memory_equal(l.told.p, all_kinds_told(), n);
    listener_free(&l);
}

static void any_pieces(void **state)
{
    struct buf bytes;

    (void)state;
    buf_init(&bytes, SIZE_MAX);
    put_all_kinds(&bytes);
    for (size_t first = 1; first <= bytes.n; first++) {
        assert_all_kinds(buf_str(&bytes), first, bytes.n);
        assert_all_kinds(buf_str(&bytes), bytes.n - first + 1, 1);
        assert_all_kinds(buf_str(&bytes), first % 7, first);
    }
    for (size_t first = 1; first < bytes.n; first += 3) {
        for (size_t second = 1; second < bytes.n - first; second += 5)
            assert_all_kinds(buf_str(&bytes), first, second);
    }
    buf_free(&bytes);
}

/* Of every length up to that of several words, with every position of the mask. */
static void unmasking(void **state)
{
    char text[80];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7 + 1);
    for (size_t n = 0; n < sizeof(text); n++) {
        for (size_t first = 1; first < 24; first++) {
            struct listener l;
            struct buf bytes;

            buf_init(&bytes, SIZE_MAX);
            put_frame(&bytes, FIN | WEBSOCKET_BINARY, (struct str){text, n});
            listener_init(&l, MAX, false);
            hear_in_pieces(&l, buf_str(&bytes), first, first % 5 + 3);
            assert_memory_equal(l.told.p + l.told.n - n - 2, text, n);
            listener_free(&l);
            buf_free(&bytes);
        }
    }
}

static void lengths(void **state)
{
    static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536, 70000};
    char *payload = calloc(1, 70000);

    (void)state;
    assert_non_null(payload);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct listener l;
        struct buf bytes;

        buf_init(&bytes, SIZE_MAX);
        put_frame(&bytes, FIN | WEBSOCKET_TEXT, (struct str){payload, sizes[i]});
        put_frame(&bytes, FIN | WEBSOCKET_PING, STR("after"));
        listener_init(&l, MAX, false);
        hear(&l, buf_str(&bytes));
        assert_true(str_ends(buf_str(&l.told), STR("]\nping [5:after]\n")));
        assert_int_equal(l.told.n,
                         (size_t)snprintf(NULL, 0, "text [%zu:]\nping [5:after]\n", sizes[i]) +
                             sizes[i]);
        listener_free(&l);
        buf_free(&bytes);
    }
    free(payload);
}

/* A whole frame in one piece is not copied. */
static void in_place(void **state)
{
    char bytes[] = "\x82\x83" MASK "abc\x89\x82" MASK "de";
    struct websocket_input in = {bytes, sizeof(bytes) - 1};
    struct websocket_reader reader;
    struct websocket_event event;

    (void)state;
    websocket_reader_init(&reader, MAX, false);
    assert_int_equal(websocket_read(&reader, &in, &event), 1);
    assert_ptr_equal(event.payload.p, bytes + 6);
    assert_int_equal(in.n, 8); /* the caller may stop here */
    assert_int_equal(websocket_read(&reader, &in, &event), 1);
    assert_ptr_equal(event.payload.p, bytes + 15);
    assert_int_equal(websocket_read(&reader, &in, &event), 0);
    assert_null(reader.bytes.p);
    websocket_reader_free(&reader);
}

static void busy(void **state)
{
    struct listener l;

    (void)state;
    listener_init(&l, MAX, false);
    assert_false(websocket_reader_busy(&l.reader));
    hear(&l, BYTES("\x01"));
    assert_true(websocket_reader_busy(&l.reader));
    hear(&l, BYTES("\x82" MASK "h"));
    assert_true(websocket_reader_busy(&l.reader));
    hear(&l, BYTES("e"));
    assert_true(websocket_reader_busy(&l.reader)); /* the frame is whole, the message is not */
    hear(&l, BYTES("\x80\x80" MASK));
    assert_false(websocket_reader_busy(&l.reader));
    assert_told(&l, "text [2:he]\n");
    listener_free(&l);
}

/* ---- UTF-8 (8.1) ---- */

/* How many bytes of a text of 200 the reader takes before it fails; 200: all. */
static size_t taken(struct str start)
{
    struct listener l;
    size_t n = 0;

    listener_init(&l, MAX, false);
    hear(&l, BYTES("\x81\xfe\0\xc8" MASK));
    while (l.rc == 0 && n < 200) {
        hear(&l, n < start.n ? (struct str){start.p + n, 1} : STR("x"));
        n++;
    }
    if (l.rc)
        assert_told(&l, "error 84 1007: text is not UTF-8\n");
    listener_free(&l);
    return n;
}

static void text_fails_at_its_first_wrong_byte(void **state)
{
    static const struct {
        struct str text;
        size_t taken;
    } cases[] = {
        {STR("plain"), 200},
        {STR("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"), 200},
        {STR("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"), 13},
        {STR("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80"), 13},
        {STR("\xff"), 1},
        {STR("\xc0\x80"), 1},
        {STR("\xf5\x80\x80\x80"), 1},
        {STR("\xe2\x82("), 3},
        {STR("ab\xc3"), 4}, /* an x follows */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(taken(cases[i].text), cases[i].taken);
}

static void text_ends_inside_a_character(void **state)
{
    (void)state;
    assert_tells(MAX, false, BYTES("\x81\x82" MASK "x\xc3"),
                 "error 84 1007: text ends inside a character\n");
    assert_tells(MAX, false, BYTES("\x01\x81" MASK "\xc3\x80\x80" MASK),
                 "error 84 1007: text ends inside a character\n");
    /* A control frame in between is no part of the text, nor is a binary message text. */
    assert_tells(MAX, false, BYTES("\x01\x81" MASK "\xc3\x89\x81" MASK "\xff\x80\x81" MASK "\xa9"),
                 "ping [1:\xff]\ntext [2:\xc3\xa9]\n");
    assert_tells(MAX, false, BYTES("\x82\x81" MASK "\xc3\x81\x81" MASK "y"),
                 "binary [1:\xc3]\ntext [1:y]\n");
}

/* ---- limits ---- */

static void messages_are_bounded(void **state)
{
    static const char told[] = "error 90 1009: the message is too large\n";

    (void)state;
    assert_tells(4, false, BYTES("\x82\x84" MASK "abcd"), "binary [4:abcd]\n");
    assert_tells(4, false, BYTES("\x82\x85" MASK), told); /* before a byte of it has come */
    assert_tells(4, false, BYTES("\x02\x83" MASK "abc\x80\x81" MASK "d"), "binary [4:abcd]\n");
    assert_tells(4, false, BYTES("\x02\x83" MASK "abc\x00\x82" MASK), told);
    assert_tells(4, false, BYTES("\x02\x84" MASK "abcd\x00\x80" MASK "\x80\x81" MASK), told);
    /* A control frame does not count. */
    assert_tells(4, false, BYTES("\x02\x84" MASK "abcd\x89\x86" MASK "ping!!\x80\x80" MASK),
                 "ping [6:ping!!]\nbinary [4:abcd]\n");
    assert_tells(0, false, BYTES("\x81\x80" MASK "\x81\x81" MASK),
                 "text [0:]\nerror 90 1009: the message is too large\n");
    assert_tells(UINT32_MAX, false, BYTES("\x82\xff\0\0\0\0\x40\0\0\x01" MASK), told);
}

/* 16 MiB in 65,536 fragments, each read with an empty one and a ping between. */
static void many_fragments(void **state)
{
    const size_t fragments = 65536, size = 256;
    struct websocket_reader reader;
    struct websocket_event event;
    struct buf bytes;
    size_t pings = 0;
    char fill[256];

    (void)state;
    websocket_reader_init(&reader, (uint32_t)(fragments * size), false);
    buf_init(&bytes, SIZE_MAX);
    for (size_t i = 0; i < fragments; i++) {
        bool last = i == fragments - 1;
        struct websocket_input in;

        memset(fill, (int)(i * 31 % 251), sizeof(fill));
        bytes.n = 0;
        put_frame(&bytes, i ? WEBSOCKET_CONTINUATION : WEBSOCKET_BINARY, (struct str){fill, size});
        put_frame(&bytes, FIN | WEBSOCKET_PING, STR(""));
        put_frame(&bytes, (last ? FIN : 0) | WEBSOCKET_CONTINUATION, STR(""));
        in = (struct websocket_input){bytes.p, bytes.n};
        assert_int_equal(websocket_read(&reader, &in, &event), 1);
        assert_int_equal(event.opcode, WEBSOCKET_PING);
        pings++;
        assert_int_equal(websocket_read(&reader, &in, &event), last);
    }
    assert_int_equal(pings, fragments);
    assert_int_equal(event.opcode, WEBSOCKET_BINARY);
    assert_int_equal(event.payload.n, fragments * size);
    for (size_t i = 0; i < event.payload.n; i++) {
        if ((unsigned char)event.payload.p[i] != i / size * 31 % 251)
            fail_msg("byte %zu is wrong", i);
    }
    websocket_reader_free(&reader);
    buf_free(&bytes);
}

/* A header promises much; memory is taken for what has come. */
static void memory_follows_what_has_come(void **state)
{
    struct listener l;

    (void)state;
    listener_init(&l, WEBSOCKET_MESSAGE_MAX, false);
    hear(&l, BYTES("\x82\xff\0\0\0\0\x40\0\0\0" MASK "0123456789"));
    assert_int_equal(l.rc, 0);
    assert_in_range(l.reader.bytes.cap, 10, 1000);
    listener_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_that_break_the_protocol),
        cmocka_unit_test(the_longest_length),
        cmocka_unit_test(close_codes),
        cmocka_unit_test(nothing_is_read_after_the_end),
        cmocka_unit_test(any_pieces),
        cmocka_unit_test(unmasking),
        cmocka_unit_test(lengths),
        cmocka_unit_test(in_place),
        cmocka_unit_test(busy),
        cmocka_unit_test(text_fails_at_its_first_wrong_byte),
        cmocka_unit_test(text_ends_inside_a_character),
        cmocka_unit_test(messages_are_bounded),
        cmocka_unit_test(many_fragments),
        cmocka_unit_test(memory_follows_what_has_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
