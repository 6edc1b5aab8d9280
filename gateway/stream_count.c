#include "stream_count.h"

#include <errno.h>

/* Of all entries, so many may be in use: a search ends at one that is not. */
#define USABLE(n) ((n) - (n) / 8 - 1)

struct entry {
    uint64_t key[2];
    uint32_t process;
    uint32_t streams; /* 0: the entry is free */
};

struct stream_count {
    uint64_t n, used;
    struct entry entries[];
};

struct stream_count *stream_count_init(void *memory, size_t n)
{
    struct stream_count *table = memory;

    if (n < sizeof(*table) + 2 * sizeof(struct entry))
        return NULL;
    memset(memory, 0, n);
    table->n = (n - sizeof(*table)) / sizeof(struct entry);
    return table;
}

static struct entry entry_of(const unsigned char key[STREAM_COUNT_KEY_SIZE], uint32_t process)
{
    struct entry e = {.process = process};

    memcpy(e.key, key, sizeof(e.key));
    return e;
}

static bool same_caller(const struct entry *a, const struct entry *b)
{
    return a->key[0] == b->key[0] && a->key[1] == b->key[1];
}

/* The place of wanted, or the free one where it belongs; all entries of its caller are between
 * there and the caller's first place. */
static uint64_t find(const struct stream_count *table, const struct entry *wanted,
                     uint64_t *ret_streams)
{
    uint64_t i = wanted->key[0] % table->n, found = table->n;

    *ret_streams = 0;
    for (; table->entries[i].streams; i = (i + 1) % table->n) {
        if (!same_caller(&table->entries[i], wanted))
            continue;
        *ret_streams += table->entries[i].streams;
        if (table->entries[i].process == wanted->process)
            found = i;
    }
    return found < table->n ? found : i;
}

int stream_count_enter(struct stream_count *table, const unsigned char key[STREAM_COUNT_KEY_SIZE],
                       uint32_t process, uint32_t most)
{
    struct entry wanted = entry_of(key, process);
    uint64_t streams, i = find(table, &wanted, &streams);

    if (streams >= most)
        return -EBUSY;
    if (table->entries[i].streams == 0) {
        if (table->used >= USABLE(table->n))
            return -ENOSPC;
        table->entries[i] = wanted;
        table->used++;
    }
    table->entries[i].streams++;
    return 0;
}

/* Those behind a place that becomes free move up, when they would not be found any more. */
static void drop(struct stream_count *table, uint64_t i)
{
    table->used--;
    for (uint64_t k = (i + 1) % table->n; table->entries[k].streams; k = (k + 1) % table->n) {
        uint64_t home = table->entries[k].key[0] % table->n;

        if ((k + table->n - home) % table->n >= (k + table->n - i) % table->n) {
            table->entries[i] = table->entries[k];
            i = k;
        }
    }
    table->entries[i].streams = 0;
}

void stream_count_leave(struct stream_count *table, const unsigned char key[STREAM_COUNT_KEY_SIZE],
                        uint32_t process)
{
    struct entry wanted = entry_of(key, process);
    uint64_t streams, i = find(table, &wanted, &streams);

    if (table->entries[i].streams > 1)
        table->entries[i].streams--;
    else if (table->entries[i].streams == 1)
        drop(table, i);
}

void stream_count_sweep(struct stream_count *table, bool (*is_gone)(uint32_t process))
{
    for (uint64_t i = 0; i < table->n;) {
        if (table->entries[i].streams && is_gone(table->entries[i].process))
            drop(table, i); /* another one may have moved here */
        else
            i++;
    }
}
