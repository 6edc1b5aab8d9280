#include "bulk.h"

#include <stdlib.h>
#include <sys/mman.h>

#define LARGE ((size_t)256 << 10) /* fewer bytes take fewer pages than a large one costs */
#define LARGE_PAGE ((size_t)2 << 20)

struct bulk_block {
    struct bulk_block *next;
    _Alignas(max_align_t) char data[];
};

static void *take_block(struct bulk *b, struct bulk_block *block)
{
    if (!block)
        return NULL;
    block->next = b->blocks;
    b->blocks = block;
    return block->data;
}

static bool make_room(struct bulk *b, size_t n)
{
    size_t bytes = (n + sizeof(struct bulk_block) + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
    struct bulk_block *block = aligned_alloc(LARGE_PAGE, bytes);
    char *data = take_block(b, block);

    if (!data)
        return false;
    /* Advice: where it is not taken, the pages are small ones. */
    (void)madvise(block, bytes, MADV_HUGEPAGE);
    b->at = data;
    b->end = (char *)block + bytes;
    return true;
}

void *bulk_alloc(struct bulk *b, size_t count, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    size_t n;
    void *p;

    if (__builtin_mul_overflow(count, size, &n) || n > SIZE_MAX / 2)
        return NULL;
    n = n ? (n + align - 1) & ~(align - 1) : align;
    if ((size_t)(b->end - b->at) < n) {
        if (n < LARGE)
            return take_block(b, malloc(sizeof(struct bulk_block) + n));
        if (!make_room(b, n))
            return NULL;
    }
    p = b->at;
    b->at += n;
    return p;
}

void bulk_free(struct bulk *b)
{
    for (struct bulk_block *block = b->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *b = (struct bulk){.blocks = NULL};
}
