/* permessage-deflate: lib/http/websocket_deflate.c, alone and in the reader. */
#include "http/websocket_deflate.h"

#include "websocket_frames.h"

#include <errno.h>
#include <zlib.h>

#define MAX 100000

#define DAMAGED "error 74 1007: compression is damaged\n"

/* ---- RFC 7692 section 7.2.3 ---- */

static void examples(void **state)
{
    static const struct {
        struct str payload;
        const char *message;
    } cases[] = {
        {BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello"},
        {BYTES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), "Hello"},         /* stored */
        {BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "Hello"},                     /* BFINAL */
        {BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00"), "Hello"},                         /* and no more */
        {BYTES("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), "Hello"}, /* two blocks */
        /* Behind a last block another one, whose match is in the first. */
        {BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"), "HelloHello"},
        {BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x00\x11\x00\x00"), "HelloHello"},
        {BYTES("\x00"), ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf to;

        buf_init(&to, strlen(cases[i].message));
        assert_int_equal(websocket_inflate(cases[i].payload, &to), 0);
        assert_true(str_eq(buf_str(&to), str_of(cases[i].message)));
        buf_free(&to);
    }
}

static void example_frames(void **state)
{
    (void)state;
    assert_tells(MAX, true, BYTES("\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"),
                 "text [5:Hello]\n");
    /* In fragments, a control frame between them. */
    assert_tells(MAX, true,
                 BYTES("\x41\x83\0\0\0\0\xf2\x48\xcd\x89\x81\0\0\0\0x"
                       "\x80\x84\0\0\0\0\xc9\xc9\x07\x00"),
                 "ping [1:x]\ntext [5:Hello]\n");
    /* The second one needs what the first one left in the window, which we said we do not keep. */
    assert_tells(MAX, true,
                 BYTES("\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"
                       "\xc1\x85\0\0\0\0\xf2\x00\x11\x00\x00"),
                 "text [5:Hello]\n" DAMAGED);
    /* Some messages are, others not. */
    assert_tells(MAX, true,
                 BYTES("\x81\x81\0\0\0\0a\xc2\x81\0\0\0\0\0\x82\x81\0\0\0\0\xff"
                       "\xc2\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"),
                 "text [1:a]\nbinary [0:]\nbinary [1:\xff]\nbinary [5:Hello]\n");
}

static void rsv1_where_it_means_nothing(void **state)
{
    static const char told[] = "error 71 1002: compression where there is none\n";

    (void)state;
    assert_tells(MAX, false, BYTES("\xc1\x80"), told);
    assert_tells(MAX, true, BYTES("\xc9\x80"), told);
    assert_tells(MAX, true, BYTES("\x01\x80\0\0\0\0\xc0\x80"), told);
    assert_tells(MAX, true, BYTES("\x41\x80\0\0\0\0\xc0\x80"), told);
    assert_tells(MAX, true, BYTES("\xe1\x80"), "error 71 1002: a reserved bit is set\n");
}

/* ---- damage ---- */

static void damaged(void **state)
{
    (void)state;
    assert_tells(MAX, true, BYTES("\xc1\x80\0\0\0\0"), DAMAGED);             /* nothing at all */
    assert_tells(MAX, true, BYTES("\xc1\x81\0\0\0\0\x06"), DAMAGED);         /* no such block */
    assert_tells(MAX, true, BYTES("\xc1\x82\0\0\0\0\xf2\x48"), DAMAGED);     /* cut off */
    assert_tells(MAX, true, BYTES("\xc1\x83\0\0\0\0\x02\x11\x00"), DAMAGED); /* too far back */
    assert_tells(MAX, true, BYTES("\xc1\x88\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00\x06"), DAMAGED);
}

/* Every beginning of a payload of one block is an error. */
static void cut_off(void **state)
{
    static char text[2000];
    struct buf payload, to;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i * i % 23);
    buf_init(&payload, sizeof(text) + 4);
    assert_int_equal(websocket_deflate((struct str){text, sizeof(text)}, &payload), 1);
    for (size_t n = 0; n <= payload.n; n++) {
        buf_init(&to, MAX);
        assert_int_equal(websocket_inflate((struct str){payload.p, n}, &to),
                         n < payload.n ? -EBADMSG : 0);
        buf_free(&to);
    }
    buf_free(&payload);
}

static void text_that_is_not_utf8(void **state)
{
    struct buf frames;

    (void)state;
    buf_init(&frames, SIZE_MAX);
    put_frame(&frames, FIN | RSV1 | WEBSOCKET_BINARY, BYTES("\x00\x01\x00\xfe\xff\xc3\x00"));
    put_frame(&frames, FIN | RSV1 | WEBSOCKET_TEXT, BYTES("\x00\x01\x00\xfe\xff\xc3\x00"));
    assert_tells(MAX, true, buf_str(&frames),
                 "binary [1:\xc3]\nerror 84 1007: text is not UTF-8\n");
    buf_free(&frames);
}

/* ---- limits ---- */

static const char too_large[] = "error 90 1009: the message is too large\n";

/* 16 MiB of zeros in 16 KB. */
static void bombs(void **state)
{
    const size_t size = 16 << 20;
    char *zeros = calloc(1, size);
    struct buf payload, frames, to;

    (void)state;
    assert_non_null(zeros);
    buf_init(&payload, SIZE_MAX);
    assert_int_equal(websocket_deflate((struct str){zeros, size}, &payload), 1);
    assert_in_range(payload.n, 1, size / 500);

    buf_init(&frames, SIZE_MAX);
    put_frame(&frames, FIN | RSV1 | WEBSOCKET_BINARY, buf_str(&payload));
    assert_tells(MAX, true, buf_str(&frames), too_large);
    buf_init(&to, size - 1);
    assert_int_equal(websocket_inflate(buf_str(&payload), &to), -EMSGSIZE);
    buf_free(&to);
    buf_init(&to, size);
    assert_int_equal(websocket_inflate(buf_str(&payload), &to), 0);
    assert_int_equal(to.n, size);
    assert_memory_equal(to.p, zeros, size);
    buf_free(&to);
    buf_free(&frames);
    buf_free(&payload);
    free(zeros);
}

/* Payloads that end exactly at the limit, and one byte behind it. */
static void bounds(void **state)
{
    (void)state;
    assert_tells(5, true, BYTES("\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"),
                 "text [5:Hello]\n");
    assert_tells(4, true, BYTES("\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"), too_large);
    assert_tells(0, true, BYTES("\xc1\x81\0\0\0\0\0"), "text [0:]\n");
    /* The next message has all of the limit again, and a control frame its room besides. */
    assert_tells(5, true,
                 BYTES("\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"
                       "\x01\x85\0\0\0\0"
                       "again\x89\x82\0\0\0\0hi\x80\x80\0\0\0\0"),
                 "text [5:Hello]\nping [2:hi]\ntext [5:again]\n");
    /* What is compressed may be a little larger than the message, but there is an end to that. */
    assert_tells(64, true, BYTES("\xc2\xfe\0\x89\0\0\0\0"), too_large);
    assert_tells(64, true, BYTES("\xc2\xfe\0\x88\0\0\0\0"), "");
}

/* Random bytes at the limit, from compressors of the least memory: their blocks are the smallest.
 */
static void incompressible(void **state)
{
    static unsigned char text[MAX], out[2 * MAX];
    static const int levels[] = {0, 1, 6, 9};
    uint32_t random = 1;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        random = random * 1664525 + 1013904223;
        text[i] = (unsigned char)(random >> 24);
    }
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        z_stream z = {0};
        struct listener l;
        struct buf frames;

        assert_int_equal(deflateInit2(&z, levels[i], Z_DEFLATED, -9, 1, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_in = text;
        z.avail_in = sizeof(text);
        z.next_out = out;
        z.avail_out = sizeof(out);
        assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
        assert_true(z.avail_out > 0 && z.total_out > sizeof(text));
        buf_init(&frames, SIZE_MAX);
        put_frame(&frames, FIN | RSV1 | WEBSOCKET_BINARY,
                  (struct str){(char *)out, z.total_out - 4});
        deflateEnd(&z);
        listener_init(&l, MAX, true);
        hear_in_pieces(&l, buf_str(&frames), 10000, 1000);
        assert_true(str_starts(buf_str(&l.told), STR("binary [100000:")));
        assert_memory_equal(l.told.p + l.told.n - sizeof(text) - 2, text, sizeof(text));
        listener_free(&l);
        buf_free(&frames);
    }
}

/* ---- out ---- */

/* Inflates with a window of the client's size, which zlib enforces. */
static void assert_readable(struct str payload, unsigned window, struct str message)
{
    static unsigned char out[1 << 17];
    z_stream z = {0};

    assert_int_equal(inflateInit2(&z, -(int)window), Z_OK);
    z.next_in = (unsigned char *)payload.p;
    z.avail_in = (unsigned)payload.n;
    /* In small steps, so that matches come out of the window instead of the output. */
    z.next_out = out;
    do {
        z.avail_out = 64;
        assert_true(z.next_out + 64 <= out + sizeof(out));
    } while (inflate(&z, Z_SYNC_FLUSH) == Z_OK && z.avail_out == 0);
    assert_int_equal(z.total_out, message.n);
    assert_memory_equal(out, message.p, message.n);
    inflateEnd(&z);
}

/* Text that repeats only beyond the window that we say we use. */
static void window(void **state)
{
    static char text[30000];
    struct str message = {text, sizeof(text)};
    uint32_t random = 1;
    struct buf payload;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        random = random * 1664525 + 1013904223;
        text[i] = i < 5000 ? (char)('a' + (random >> 24) % 16) : text[i - 5000];
    }
    buf_init(&payload, sizeof(text) + 4);
    assert_int_equal(websocket_deflate(message, &payload), 1);
    assert_readable(buf_str(&payload), WEBSOCKET_WINDOW, message);
    buf_free(&payload);
}

static void round_trips(void **state)
{
    static const size_t sizes[] = {16, 200, 256, 257, 512, 1024, 4096, 5000, 40000, 100000};
    static char text[100000];

    (void)state;
    /* Words that repeat at every distance. */
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + (i % 7 + i / 300 % 11 * (i % 3)) % 26);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct str message = {text, sizes[i]};
        struct buf payload, back;

        buf_init(&payload, sizes[i] + 4 + 1);
        buf_append_char(&payload, '!'); /* it appends */
        assert_int_equal(websocket_deflate(message, &payload), 1);
        assert_true(payload.n - 1 < sizes[i] && payload.p[0] == '!');
        buf_init(&back, MAX + 1);
        buf_append_char(&back, '!');
        assert_int_equal(websocket_inflate(str_skip(buf_str(&payload), 1), &back), 0);
        assert_true(back.p[0] == '!' && str_eq(str_skip(buf_str(&back), 1), message));
        for (unsigned window = 8; window <= 15; window++) {
            if (websocket_deflate_suits(window, sizes[i]))
                assert_readable(str_skip(buf_str(&payload), 1), window, message);
            else
                assert_true(window < 12 && sizes[i] > 1u << window);
        }
        assert_false(websocket_deflate_suits(0, sizes[i]));
        buf_free(&back);
        buf_free(&payload);
    }
}

static void nothing_gained(void **state)
{
    static const char *const small[] = {"", "a", "ab", "abcdefgh"};
    struct buf to;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(small); i++) {
        buf_init(&to, 100);
        buf_append_str(&to, STR("before"));
        assert_int_equal(websocket_deflate(str_of(small[i]), &to), 0);
        assert_true(str_eq(buf_str(&to), STR("before")));
        assert_false(to.failed);
        buf_free(&to);
    }
    buf_init(&to, 20); /* no room for as much as the message */
    assert_int_equal(websocket_deflate(STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), &to),
                     -ENOMEM);
    assert_true(to.failed);
    assert_int_equal(to.n, 0);
    buf_free(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(example_frames),
        cmocka_unit_test(rsv1_where_it_means_nothing),
        cmocka_unit_test(damaged),
        cmocka_unit_test(cut_off),
        cmocka_unit_test(text_that_is_not_utf8),
        cmocka_unit_test(bombs),
        cmocka_unit_test(bounds),
        cmocka_unit_test(incompressible),
        cmocka_unit_test(window),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(nothing_gained),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
