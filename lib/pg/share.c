/* Whoever is on its way with a key is in a table by keys, and who waits for it is in its list. When
 * it is back, the first of these goes for all. */
#include "pg/share.h"

#include "pg/internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define BUCKETS 256 /* few are on their way: as many as there are statements */

LIST_HEAD(flight_list, db_share_item);

struct db_share {
    void (*done)(struct db_share_item *item, const struct db_result *result);
    int64_t patience_ns;
    pthread_mutex_t lock; /* guards what follows, and the share's fields of items in it */
    struct flight_list buckets[BUCKETS];
};

/* ---- the table; under the lock ---- */

/* FNV-1a. */
static struct flight_list *bucket_of(struct db_share *share, struct str key)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * UINT64_C(1099511628211);
    return &share->buckets[(h ^ h >> 32) % BUCKETS];
}

static struct db_share_item *find(struct db_share *share, struct str key)
{
    struct db_share_item *item;

    LIST_FOREACH(item, bucket_of(share, key), flight)
    {
        if (str_eq(item->key, key))
            return item;
    }
    return NULL;
}

static void list(struct db_share_item *item)
{
    item->sent_ns = clock_monotonic_ns();
    item->listed = true;
    LIST_INSERT_HEAD(bucket_of(item->share, item->key), item, flight);
}

static void unlist(struct db_share_item *item)
{
    if (item->listed)
        LIST_REMOVE(item, flight);
    item->listed = false;
}

/* ---- a statement for some ---- */

/* The first of those that waited for item goes for all of them. NULL: nobody waited. */
static struct db_share_item *take_waiting(struct db_share_item *item)
{
    struct db_share_item *next;

    pthread_mutex_lock(&item->share->lock);
    unlist(item);
    next = STAILQ_FIRST(&item->waiting);
    if (next) {
        STAILQ_REMOVE_HEAD(&item->waiting, next);
        STAILQ_CONCAT(&next->others, &item->waiting);
        list(next);
    }
    pthread_mutex_unlock(&item->share->lock);
    return next;
}

static void on_done(void *user, const struct db_result *result);

static int submit(struct db_share_item *item)
{
    const atomic_bool *cancelled = STAILQ_EMPTY(&item->others) ? item->cancelled : NULL;
    int64_t deadline_ns = item->deadline_ns;
    const struct db_share_item *other;

    STAILQ_FOREACH(other, &item->others, next)
    {
        if (other->deadline_ns > deadline_ns)
            deadline_ns = other->deadline_ns;
    }
    if (item->query)
        return db_submit(item->query, deadline_ns, cancelled, on_done, item);
    item->grouped.deadline_ns = deadline_ns;
    item->grouped.cancelled = cancelled;
    return db_group_submit(item->group, item->db, &item->grouped);
}

static void trace_end(const struct db_share_item *item, const struct db_result *result, size_t n)
{
    const struct db *db = item->query ? item->query->db : item->db;
    const char *name =
        item->query ? item->query->statement->name : group_statement_name(item->group, db);

    trace_statement_end(db->options.recorder, &item->statement, name, result->sqlstate,
                        result->error != DB_OK, n);
}

/* The last that is done with an item, and with those that it is served with. */
static void finish(struct db_share_item *item, const struct db_result *result)
{
    const struct db_share_item *other;
    size_t n = 1;

    STAILQ_FOREACH(other, &item->others, next)
    {
        n++;
    }
    trace_end(item, result, n);
    STAILQ_FOREACH(other, &item->others, next)
    {
        trace_end(other, result, n);
    }
    item->share->done(item, result);
}

static enum db_error error_of(int r)
{
    return r == -ESHUTDOWN ? DB_UNAVAILABLE : DB_OVERLOADED;
}

/* Sends it, and when that fails those that wait behind it, until one is sent or nobody is left. */
static void send_waiting(struct db_share_item *item)
{
    while (item) {
        struct db_share_item *next;
        int r = submit(item);

        if (r == 0)
            return;
        next = take_waiting(item);
        finish(item, &(struct db_result){.error = error_of(r)});
        item = next;
    }
}

static void on_done(void *user, const struct db_result *result)
{
    struct db_share_item *item = user;

    send_waiting(take_waiting(item)); /* first: Postgres works while these are answered */
    finish(item, result);
}

void db_share_grouped(struct db_group_item *grouped, const struct db_result *result, int row UNUSED)
{
    on_done(CONTAINER_OF(grouped, struct db_share_item, grouped), result);
}

/* ---- life ---- */

/* What was to be served with item waits behind it. */
static void give_up(struct db_share_item *item)
{
    pthread_mutex_lock(&item->share->lock);
    STAILQ_CONCAT(&item->others, &item->waiting);
    STAILQ_CONCAT(&item->waiting, &item->others);
    pthread_mutex_unlock(&item->share->lock);
}

int db_share_submit(struct db_share *share, struct db_share_item *item)
{
    struct db_share_item *ahead;
    bool waits;
    int r;

    assert(item->key.n > 0);
    item->share = share;
    item->statement = trace_statement_begin(item->trace);
    item->listed = false;
    STAILQ_INIT(&item->others);
    STAILQ_INIT(&item->waiting);
    pthread_mutex_lock(&share->lock);
    ahead = find(share, item->key);
    waits = ahead && clock_monotonic_ns() - ahead->sent_ns < share->patience_ns;
    if (waits) {
        STAILQ_INSERT_TAIL(&ahead->waiting, item, next);
    } else {
        if (ahead) { /* too slow: who waits for it goes with this one */
            unlist(ahead);
            STAILQ_CONCAT(&item->others, &ahead->waiting);
        }
        list(item);
    }
    pthread_mutex_unlock(&share->lock);
    if (waits)
        return 0;
    r = submit(item);
    if (r < 0) {
        give_up(item);
        send_waiting(take_waiting(item));
    }
    return r;
}

int db_share_new(void (*done)(struct db_share_item *item, const struct db_result *result),
                 int64_t patience_ns, struct db_share **ret)
{
    struct db_share *share = calloc(1, sizeof(*share));

    if (!share)
        return -ENOMEM;
    share->done = done;
    share->patience_ns = patience_ns;
    pthread_mutex_init(&share->lock, NULL);
    *ret = share;
    return 0;
}

void db_share_free(struct db_share *share)
{
    if (!share)
        return;
    pthread_mutex_destroy(&share->lock);
    free(share);
}
