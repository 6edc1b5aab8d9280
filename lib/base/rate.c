#include "base/rate.h"

#include <errno.h>

#define MAX_SKEW_US USEC_PER_SEC
/* Two cache lines. */
#define WAYS 8

struct entry {
    uint64_t tag;     /* the part of the key that does not name the set */
    uint64_t arrival; /* theoretical arrival time, us */
};

struct set {
    struct entry entries[WAYS];
};

struct rate_table {
    uint64_t n_sets;
    uint64_t unused[7]; /* sets begin on a cache line */
    struct set sets[];
};

struct rate_table *rate_table_init(void *memory, size_t n)
{
    struct rate_table *table = memory;

    if (n < sizeof(*table) + sizeof(struct set))
        return NULL;
    memset(memory, 0, n);
    table->n_sets = (n - sizeof(*table)) / sizeof(struct set);
    return table;
}

size_t rate_table_capacity(const struct rate_table *table)
{
    return table->n_sets * WAYS;
}

static uint64_t seconds_up(uint64_t us)
{
    return (us + USEC_PER_SEC - 1) / USEC_PER_SEC;
}

uint64_t rate_window_s(const struct rate_limit *limit)
{
    return seconds_up(limit->interval_us * limit->quota);
}

/* The caller's entry, or the one that it may have. */
static struct entry *find(struct set *set, uint64_t tag)
{
    struct entry *earliest = &set->entries[0];

    for (size_t i = 0; i < WAYS; i++) {
        if (set->entries[i].tag == tag)
            return &set->entries[i];
        if (set->entries[i].arrival < earliest->arrival)
            earliest = &set->entries[i];
    }
    *earliest = (struct entry){tag, 0};
    return earliest;
}

struct rate_verdict rate_take(struct rate_table *table, const struct rate_limit *limit,
                              const unsigned char key[RATE_KEY_SIZE], uint64_t now_us)
{
    uint64_t window = limit->interval_us * limit->quota, arrival, next, part[2];
    struct entry *entry;

    memcpy(part, key, sizeof(part));
    entry = find(&table->sets[part[0] % table->n_sets], part[1]);
    arrival = entry->arrival > now_us ? entry->arrival : now_us;
    /* The limit has become narrower since. Not for less: another process' clock may be ahead of
     * ours by a moment, and what is cut off here is given away. */
    if (arrival > now_us + window + MAX_SKEW_US)
        entry->arrival = arrival = now_us + window;
    next = arrival + limit->interval_us;
    if (next > now_us + window) {
        uint64_t wait = seconds_up(next - now_us - window);

        return (struct rate_verdict){false, 0, wait, wait};
    }
    entry->arrival = next;
    return (struct rate_verdict){true, (window - (next - now_us)) / limit->interval_us,
                                 seconds_up(next - now_us), 0};
}

/* The caller's time; 0: it is not known. */
static uint64_t arrival_of(const struct rate_table *table, const unsigned char key[RATE_KEY_SIZE])
{
    const struct set *set;
    uint64_t part[2];

    memcpy(part, key, sizeof(part));
    set = &table->sets[part[0] % table->n_sets];
    for (size_t i = 0; i < WAYS; i++) {
        if (set->entries[i].tag == part[1])
            return set->entries[i].arrival;
    }
    return 0;
}

void rate_raise(struct rate_table *table, const struct rate_limit *limit,
                const unsigned char key[RATE_KEY_SIZE], uint64_t now_us, uint64_t ahead_us)
{
    uint64_t window = limit->interval_us * limit->quota, part[2];
    uint64_t arrival = now_us + (ahead_us < window ? ahead_us : window);
    struct entry *entry;

    memcpy(part, key, sizeof(part));
    entry = find(&table->sets[part[0] % table->n_sets], part[1]);
    if (entry->arrival < arrival)
        entry->arrival = arrival;
}

bool rate_is_ahead(const struct rate_table *table, const unsigned char key[RATE_KEY_SIZE],
                   uint64_t now_us)
{
    return arrival_of(table, key) > now_us;
}

void rate_forget(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE])
{
    uint64_t part[2];

    memcpy(part, key, sizeof(part));
    find(&table->sets[part[0] % table->n_sets], part[1])->arrival = 0;
}

/* ---- text ---- */

static int parse_number(struct str text, uint64_t max, uint64_t *ret)
{
    int64_t number;

    /* No sign. */
    if (text.n == 0 || text.p[0] < '0' || text.p[0] > '9' || str_to_int64(text, &number) ||
        number < 1 || (uint64_t)number > max)
        return -EINVAL;
    *ret = (uint64_t)number;
    return 0;
}

/* "s", "15m", "1h" */
static int parse_window(struct str text, uint64_t *ret_s)
{
    uint64_t unit, count = 1;

    if (!text.p || text.n == 0)
        return -EINVAL;
    switch (text.p[text.n - 1]) {
    case 's':
        unit = 1;
        break;
    case 'm':
        unit = 60;
        break;
    case 'h':
        unit = 3600;
        break;
    default:
        return -EINVAL;
    }
    text.n--;
    if (text.n && parse_number(text, RATE_MAX_WINDOW_S, &count))
        return -EINVAL;
    *ret_s = count * unit;
    return *ret_s <= RATE_MAX_WINDOW_S ? 0 : -EINVAL;
}

int rate_parse(struct str text, struct rate_limit *ret)
{
    struct str quota = text;
    uint64_t window;

    for (size_t i = 0; i < quota.n; i++) {
        if (quota.p[i] == '/')
            quota.n = i;
    }
    if (parse_number(quota, RATE_MAX_QUOTA, &ret->quota) ||
        parse_window(str_skip(text, quota.n + 1), &window))
        return -EINVAL;
    ret->interval_us = window * USEC_PER_SEC / ret->quota;
    return ret->interval_us ? 0 : -EINVAL;
}
