/* Memory for what is as large as a file: its bytes, its lines, the order of a list.
 *
 * A page costs the kernel more than it costs to fill it: 320 of them as long as all else that a
 * list of 10,000 tasks needs. What is large is therefore taken from pages of 2 MiB, where the
 * kernel has them (madvise(2), MADV_HUGEPAGE), several pieces from one; what is small from
 * malloc(), each for itself, so that checkers of memory see its end. Nothing is freed on its own.
 * One thread.
 */
#ifndef STOA_CLI_BULK_H
#define STOA_CLI_BULK_H

#include "base/base.h"

struct bulk_block;

/* All zero: empty. */
struct bulk {
    struct bulk_block *blocks; /* newest first */
    char *at, *end;            /* what is left of the newest large one */
};

/* count * size bytes aligned for any type, not cleared; NULL without memory. */
void *bulk_alloc(struct bulk *b, size_t count, size_t size) MUST_CHECK;

/* Releases all; the bulk can then be used again. */
void bulk_free(struct bulk *b);

#endif
