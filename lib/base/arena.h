/* Memory by lifetime: many allocations, one release.
 *
 * An arena belongs to one owner (a call, a session, a load step) and is used by one thread at a
 * time. Nothing in it is freed on its own; arena_free() releases everything in one step.
 */
#ifndef STOA_BASE_ARENA_H
#define STOA_BASE_ARENA_H

#include "base/base.h"

struct arena_block;

struct arena {
    struct arena_block *head; /* newest block first */
    char *at, *end;           /* free space in the newest block */
    size_t total;             /* bytes taken from malloc so far */
    size_t max;               /* never takes more than this; 0: no limit */
};

/* max: the most bytes that the arena may take from malloc; 0 for no limit. Takes none yet. */
void arena_init(struct arena *a, size_t max);

/* Releases all memory; the arena can then be used again. */
void arena_free(struct arena *a);

/* Like arena_free(), but keeps one small block, so that a pooled owner starts without a malloc. */
void arena_reset(struct arena *a);

/* n bytes aligned for any type, not cleared; NULL when memory or the limit is used up.
 * n == 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t n) MUST_CHECK;

/* Like arena_alloc() of count * size bytes, cleared; NULL also when the product overflows. */
void *arena_calloc(struct arena *a, size_t count, size_t size) MUST_CHECK;

/* A NUL-terminated copy; {NULL, 0} without memory. */
struct str arena_copy(struct arena *a, struct str s) MUST_CHECK;

/* A NUL-terminated formatted string; {NULL, 0} without memory. */
struct str arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

#endif
