/* Whatever allocation fails while a WebSocket is read or written to, an error comes of it. */
#include "http/websocket_deflate.h"
#include "http/websocket_handshake.h"

#include "websocket_frames.h"

#include <dlfcn.h>
#include <errno.h>

/* ---- malloc and realloc of this program and of the libraries in it ---- */

static unsigned until_failure; /* 0: none fails */

/* Called before ThreadSanitizer is ready. */
#define BARE __attribute__((no_sanitize_thread))

static BARE bool fails_now(void)
{
    return until_failure && --until_failure == 0;
}

BARE void *malloc(size_t n)
{
    static void *(*real)(size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "malloc");
    return fails_now() ? NULL : real(n);
}

BARE void *realloc(void *p, size_t n)
{
    static void *(*real)(void *, size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "realloc");
    return fails_now() ? NULL : real(p, n);
}

/* ---- */

/* What is tried returns 0 or the error. Calls it with each allocation failing in turn, until none
 * does; returns how many there are. */
static unsigned fail_each(int (*attempt)(void *), void *arg)
{
    for (unsigned n = 1;; n++) {
        bool unused;
        int rc;

        until_failure = n;
        rc = attempt(arg);
        unused = until_failure > 0;
        until_failure = 0;
        if (unused) {
            assert_int_equal(rc, 0);
            return n - 1;
        }
        assert_int_equal(rc, -ENOMEM);
    }
}

struct stream {
    struct buf bytes;
    size_t piece;
};

/* A session to its close. */
static int read_stream(void *arg)
{
    struct stream *s = arg;
    char copy[4096];
    struct websocket_reader reader;
    struct websocket_event event;
    int rc = 0;

    assert_true(s->bytes.n <= sizeof(copy));
    memcpy(copy, s->bytes.p, s->bytes.n);
    websocket_reader_init(&reader, 100000, true);
    for (size_t at = 0; at < s->bytes.n && rc >= 0; at += s->piece) {
        size_t left = s->bytes.n - at;
        struct websocket_input in = {copy + at, left < s->piece ? left : s->piece};

        do
            rc = websocket_read(&reader, &in, &event);
        while (rc == 1);
    }
    if (rc < 0) {
        assert_int_equal(event.opcode, WEBSOCKET_CLOSE);
        assert_int_equal(event.code, WEBSOCKET_INTERNAL_ERROR);
        assert_null(reader.bytes.p);
    }
    websocket_reader_free(&reader);
    return rc;
}

static void put_stream(struct buf *to)
{
    static char text[3000];
    struct buf payload;

    memset(text, 'x', sizeof(text));
    buf_init(&payload, sizeof(text) + 4);
    assert_int_equal(websocket_deflate((struct str){text, sizeof(text)}, &payload), 1);
    buf_init(to, SIZE_MAX);
    put_frame(to, FIN | WEBSOCKET_PING, STR("ping"));
    put_frame(to, WEBSOCKET_TEXT, (struct str){text, 1000});
    put_frame(to, FIN | WEBSOCKET_CONTINUATION, (struct str){text, 1000});
    put_frame(to, FIN | RSV1 | WEBSOCKET_TEXT, buf_str(&payload));
    put_frame(to, FIN | WEBSOCKET_CLOSE, STR("\x03\xe8"));
    buf_free(&payload);
}

static void reading(void **state)
{
    struct stream s = {.piece = SIZE_MAX};
    unsigned whole, pieces;

    (void)state;
    put_stream(&s.bytes);
    s.piece = s.bytes.n;
    whole = fail_each(read_stream, &s);
    s.piece = 3;
    pieces = fail_each(read_stream, &s);
    assert_true(whole >= 4); /* fragments, zlib's state and its window, the inflated message */
    assert_true(pieces > whole);
    buf_free(&s.bytes);
}

static int deflate_message(void *arg)
{
    struct buf to;
    int rc;

    buf_init(&to, SIZE_MAX);
    rc = websocket_deflate(*(struct str *)arg, &to);
    if (rc != 1)
        assert_int_equal(to.n, 0);
    buf_free(&to);
    return rc == 1 ? 0 : rc;
}

static void deflating(void **state)
{
    struct str message = STR("again and again and again and again and again and again");

    (void)state;
    assert_true(fail_each(deflate_message, &message) >= 5);
}

/* libcrypto gets over some failures, but not when it makes itself ready at its first use, which
 * nginx has it do before any request. */
static void handshake(void **state)
{
    static const struct str key = {"dGhlIHNhbXBsZSBub25jZQ==", 24};
    char accept[WEBSOCKET_ACCEPT_SIZE];
    unsigned errors = 0;
    bool unused = false;

    (void)state;
    assert_int_equal(websocket_accept(key, accept), 0);
    for (unsigned n = 1; !unused; n++) {
        int rc;

        until_failure = n;
        rc = websocket_accept(key, accept);
        unused = until_failure > 0;
        until_failure = 0;
        if (rc == 0) {
            assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof(accept));
        } else {
            assert_int_equal(rc, -ENOMEM);
            errors++;
        }
    }
    assert_true(errors > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),
        cmocka_unit_test(deflating),
        cmocka_unit_test(handshake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
