#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_SIZE 4096 /* a typical call fits in one block */

struct arena_block {
    struct arena_block *next;
    size_t size; /* of data */
    _Alignas(max_align_t) char data[];
};

void arena_init(struct arena *a, size_t max)
{
    *a = (struct arena){.max = max};
}

void arena_free(struct arena *a)
{
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    arena_init(a, a->max);
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;

    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        if (!keep && b->size == BLOCK_SIZE)
            keep = b;
        else
            free(b);
    }
    arena_init(a, a->max);
    if (keep) {
        keep->next = NULL;
        a->head = keep;
        a->at = keep->data;
        a->end = keep->data + keep->size;
        a->total = sizeof(*keep) + keep->size;
    }
}

static bool arena_grow(struct arena *a, size_t n)
{
    size_t size = n > BLOCK_SIZE ? n : BLOCK_SIZE;
    size_t total;
    struct arena_block *b;

    if (__builtin_add_overflow(size, a->total + sizeof(*b), &total) || (a->max && total > a->max))
        return false;
    b = malloc(sizeof(*b) + size);
    if (!b)
        return false;
    b->size = size;
    a->total = total;
    b->next = a->head;
    a->head = b;
    a->at = b->data;
    a->end = b->data + size;
    return true;
}

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t align = _Alignof(max_align_t);
    void *p;

    if (n > SIZE_MAX - align)
        return NULL;
    n = (n + align - 1) & ~(align - 1);
    if (n == 0)
        n = align;
    if ((size_t)(a->end - a->at) < n && !arena_grow(a, n))
        return NULL;
    p = a->at;
    a->at += n;
    return p;
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
    size_t n;
    void *p;

    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    p = arena_alloc(a, n);
    if (p)
        memset(p, 0, n);
    return p;
}

struct str arena_copy(struct arena *a, struct str s)
{
    char *p = s.n == SIZE_MAX ? NULL : arena_alloc(a, s.n + 1);

    if (!p)
        return STR_NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    size_t room = (size_t)(a->end - a->at);
    va_list ap;
    int n;
    char *p;

    /* Where it will be, if there is room: as a rule. */
    va_start(ap, fmt);
    n = vsnprintf(a->at, room, fmt, ap);
    va_end(ap);
    if (n < 0)
        return STR_NULL;
    p = arena_alloc(a, (size_t)n + 1);
    if (!p)
        return STR_NULL;
    if ((size_t)n >= room) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return (struct str){p, (size_t)n};
}
