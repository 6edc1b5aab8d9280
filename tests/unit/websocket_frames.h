/* Frames as a client sends them, and what a reader makes of them in pieces of any size, as text
 * that can be compared. */
#ifndef STOA_TESTS_WEBSOCKET_FRAMES_H
#define STOA_TESTS_WEBSOCKET_FRAMES_H

#include "http/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES(literal) ((struct str){"" literal, sizeof(literal) - 1})

#define FIN WEBSOCKET_FIN
#define RSV1 WEBSOCKET_COMPRESSED

/* A masked frame. first: its first byte. The key is another one each time. */
static inline void put_frame(struct buf *to, unsigned first, struct str payload)
{
    static unsigned key = 0x37fa213d;
    char header[WEBSOCKET_HEADER_MAX];
    size_t n = websocket_header(header, first & 0xf, first & 0xf0, payload.n);
    unsigned char mask[4];

    key = key * 1664525 + 1013904223;
    memcpy(mask, &key, sizeof(mask));
    header[1] = (char)(header[1] | 0x80);
    buf_append(to, header, n);
    buf_append(to, mask, sizeof(mask));
    for (size_t i = 0; i < payload.n; i++)
        buf_append_char(to, (char)(payload.p[i] ^ mask[i % 4]));
    assert_false(to->failed);
}

/* A session that tells what it reads. */
struct listener {
    struct websocket_reader reader;
    struct buf told;
    int rc; /* of the last call of websocket_read() */
};

static inline void listener_init(struct listener *l, uint32_t max, bool deflate)
{
    websocket_reader_init(&l->reader, max, deflate);
    buf_init(&l->told, SIZE_MAX);
    l->rc = 0;
}

static inline void listener_free(struct listener *l)
{
    websocket_reader_free(&l->reader);
    assert_null(l->reader.bytes.p);
    buf_free(&l->told);
}

static inline void tell(struct listener *l, const struct websocket_event *event)
{
    static const char *const names[] = {
        [WEBSOCKET_TEXT] = "text", [WEBSOCKET_BINARY] = "binary", [WEBSOCKET_CLOSE] = "close",
        [WEBSOCKET_PING] = "ping", [WEBSOCKET_PONG] = "pong",
    };

    if (l->rc < 0) {
        buf_printf(&l->told, "error %d %u: %.*s\n", -l->rc, event->code, STR_FMT(event->payload));
        return;
    }
    buf_append_str(&l->told, str_of(names[event->opcode]));
    if (event->opcode == WEBSOCKET_CLOSE)
        buf_printf(&l->told, " %u", event->code);
    buf_printf(&l->told, " [%zu:", event->payload.n);
    buf_append_str(&l->told, event->payload);
    buf_append_str(&l->told, STR("]\n"));
}

/* The bytes in a block of their own, so that AddressSanitizer sees its bounds. */
static inline void hear(struct listener *l, struct str bytes)
{
    char *block = malloc(bytes.n ? bytes.n : 1);
    struct websocket_input in = {block, bytes.n};
    struct websocket_event event;

    assert_non_null(block);
    memcpy(block, bytes.p, bytes.n);
    do {
        l->rc = websocket_read(&l->reader, &in, &event);
        if (l->rc)
            tell(l, &event);
    } while (l->rc == 1);
    if (l->rc == 0)
        assert_int_equal(in.n, 0);
    if (!websocket_reader_busy(&l->reader))
        assert_null(l->reader.bytes.p);
    free(block);
    assert_false(l->told.failed);
}

/* In two pieces, and then in pieces of one size. */
static inline void hear_in_pieces(struct listener *l, struct str bytes, size_t first, size_t size)
{
    while (bytes.n) {
        size_t n = first < bytes.n ? first : bytes.n;

        hear(l, (struct str){bytes.p, n});
        bytes = str_skip(bytes, n);
        first = size;
    }
}

static inline void assert_told(struct listener *l, const char *expected)
{
    buf_append_char(&l->told, '\0');
    assert_string_equal(l->told.p, expected);
    l->told.n = 0;
}

/* What a new session tells of these bytes, whole and byte by byte. */
static inline void assert_tells(uint32_t max, bool deflate, struct str bytes, const char *expected)
{
    for (size_t piece = bytes.n ? bytes.n : 1;; piece = 1) {
        struct listener l;

        listener_init(&l, max, deflate);
        hear_in_pieces(&l, bytes, piece, piece);
        assert_told(&l, expected);
        listener_free(&l);
        if (piece == 1)
            return;
    }
}

#endif
