#include "account_set.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#define ID_BYTES sizeof(uint64_t)

void account_set_free(struct account_set *set)
{
    free(set->ids);
    *set = (struct account_set){NULL, 0, 0};
}

static int reserve(struct account_set *set, size_t n)
{
    size_t cap = set->cap ? set->cap : 8;
    int64_t *ids;

    while (cap < n)
        cap *= 2;
    if (cap == set->cap)
        return 0;
    ids = reallocarray(set->ids, cap, sizeof(*ids));
    if (!ids)
        return -ENOMEM;
    set->ids = ids;
    set->cap = cap;
    return 0;
}

int account_set_read(struct account_set *set, struct str bytes)
{
    size_t n = bytes.n / ID_BYTES;

    if (bytes.n % ID_BYTES != 0)
        return -EBADMSG;
    if (reserve(set, n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        uint64_t id;

        memcpy(&id, bytes.p + i * ID_BYTES, sizeof(id));
        set->ids[i] = (int64_t)be64toh(id);
        if (i > 0 && set->ids[i] <= set->ids[i - 1])
            return -EBADMSG;
    }
    set->n = n;
    return 0;
}

/* Where it is, or would be. */
static size_t place(const struct account_set *set, int64_t id)
{
    size_t low = 0, high = set->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool account_set_has(const struct account_set *set, int64_t id)
{
    size_t i = place(set, id);

    return i < set->n && set->ids[i] == id;
}

int account_set_add(struct account_set *set, int64_t id)
{
    size_t i = place(set, id);

    if (i < set->n && set->ids[i] == id)
        return 0;
    if (reserve(set, set->n + 1) < 0)
        return -ENOMEM;
    memmove(&set->ids[i + 1], &set->ids[i], (set->n - i) * sizeof(*set->ids));
    set->ids[i] = id;
    set->n++;
    return 0;
}

void account_set_remove(struct account_set *set, int64_t id)
{
    size_t i = place(set, id);

    if (i == set->n || set->ids[i] != id)
        return;
    set->n--;
    memmove(&set->ids[i], &set->ids[i + 1], (set->n - i) * sizeof(*set->ids));
}
