/* Queries ordered by deadline: a binary heap of pointers in which each query knows its place, so
 * that a finished one leaves without a search. Engine thread only. */
#include "pg/internal.h"

#include <assert.h>

static void put(struct heap *h, size_t i, struct db_query *q)
{
    h->items[i] = q;
    q->heap_index = i;
}

static void sift_up(struct heap *h, size_t i, struct db_query *q)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;

        if (h->items[parent]->deadline_ns <= q->deadline_ns)
            break;
        put(h, i, h->items[parent]);
        i = parent;
    }
    put(h, i, q);
}

static void sift_down(struct heap *h, size_t i, struct db_query *q)
{
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->items[child + 1]->deadline_ns < h->items[child]->deadline_ns)
            child++;
        if (q->deadline_ns <= h->items[child]->deadline_ns)
            break;
        put(h, i, h->items[child]);
        i = child;
    }
    put(h, i, q);
}

void heap_add(struct heap *h, struct db_query *q)
{
    assert(h->n < h->max); /* db_submit() bounds the queries */
    h->n++;
    sift_up(h, h->n - 1, q);
}

void heap_remove(struct heap *h, struct db_query *q)
{
    size_t i = q->heap_index;
    struct db_query *last;

    if (i == HEAP_NONE)
        return;
    assert(i < h->n && h->items[i] == q);
    q->heap_index = HEAP_NONE;
    last = h->items[--h->n];
    if (last == q)
        return;
    if (last->deadline_ns < q->deadline_ns)
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}

struct db_query *heap_first(const struct heap *h)
{
    return h->n ? h->items[0] : NULL;
}
