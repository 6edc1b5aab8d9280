#include "crowd.h"

#include <errno.h>
#include <stdlib.h>

void crowd_free(struct crowd *crowd)
{
    free(crowd->ids);
    *crowd = (struct crowd){.online = 0};
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void crowd_settle(struct crowd *crowd, size_t names)
{
    size_t n = 0;

    if (!crowd->listed)
        return;
    if (crowd->n) /* else there may be no ids at all */
        qsort(crowd->ids, crowd->n, sizeof(*crowd->ids), by_number);
    for (size_t i = 0; i < crowd->n; i++) {
        if (n == 0 || crowd->ids[n - 1] != crowd->ids[i])
            crowd->ids[n++] = crowd->ids[i];
    }
    crowd->n = n;
    crowd->online = (int64_t)n;
    if (n > names) {
        crowd->n = 0;
        crowd->listed = false;
    }
}

bool crowd_has(const struct crowd *crowd, int64_t id)
{
    return crowd->n && bsearch(&id, crowd->ids, crowd->n, sizeof(id), by_number);
}

bool crowd_equals(const struct crowd *a, const struct crowd *b)
{
    return a->online == b->online && a->listed == b->listed && a->n == b->n &&
           (a->n == 0 || memcmp(a->ids, b->ids, a->n * sizeof(*a->ids)) == 0);
}

int crowd_add(struct crowd *crowd, struct str text)
{
    const char *end = text.p + text.n;
    char *at = (char *)text.p;
    int64_t count = strtoll(at, &at, 10);
    int64_t *ids = reallocarray(crowd->ids, crowd->n + CROWD_MAX_NAMES, sizeof(*ids));
    size_t n = 0;

    if (!ids)
        return -ENOMEM;
    crowd->ids = ids;
    if (count <= 0 || count > INT32_MAX)
        return 0;
    for (; at < end && *at == ' ' && n < CROWD_MAX_NAMES; n++)
        ids[crowd->n + n] = strtoll(at, &at, 10);
    crowd->online += count;
    crowd->listed = crowd->listed && n == (size_t)count;
    crowd->n += n;
    return 0;
}
