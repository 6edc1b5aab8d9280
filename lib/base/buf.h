/* A growing byte buffer that states its limit when it is made.
 *
 * Failure is sticky: once an append does not fit (limit or memory), `failed` stays set and later
 * appends do nothing, so that a long run of appends is checked once at its end.
 */
#ifndef STOA_BASE_BUF_H
#define STOA_BASE_BUF_H

#include "base/base.h"

struct buf {
    char *p;
    size_t n;       /* bytes used */
    size_t cap;     /* bytes allocated */
    size_t max;     /* bytes that may ever be used */
    bool failed;    /* an append did not fit, or memory ran out */
    bool no_memory; /* which of the two, when failed */
};

/* Takes no memory yet. One owner, one thread at a time. */
void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b); /* then as after buf_init() with the same limit */

/* Makes room for n more bytes and returns where they go; the caller then adds to b->n what it
 * wrote. NULL (and failed) if they do not fit. */
char *buf_reserve(struct buf *b, size_t n) MUST_CHECK;

/* Copies, whole or not at all: after a failure nothing is appended. */
void buf_append(struct buf *b, const void *p, size_t n);
void buf_append_str(struct buf *b, struct str s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* 0, or why appends failed: -EMSGSIZE, the limit, or -ENOMEM. */
int buf_error(const struct buf *b) MUST_CHECK;

static inline void buf_append_char(struct buf *b, char c)
{
    if (b->n < b->cap && !b->failed)
        b->p[b->n++] = c;
    else
        buf_append(b, &c, 1);
}

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

#endif
