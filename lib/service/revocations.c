/* The set of ended sessions, and reading it from Postgres by sequence number.
 *
 * Numbers are given before their transactions commit, so a number that is missing below others may
 * still come. `settled` is the number up to which nothing can come any more, and each reading
 * starts there: it moves over numbers without a hole, and over holes once the row behind them is
 * older than any transaction may be (a minute; statements have 30 seconds). Rows that are read
 * twice do no harm. This holds wherever commits are seen in their order, also when the table
 * arrives by logical replication.
 */
#include "service/revocations.h"

#include "base/log.h"
#include "base/rwlock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define INTERVAL (250 * NSEC_PER_MSEC)
/* Shorter than what is promised (a second): a lost connection must not hold the next try up. */
#define TIMEOUT (500 * NSEC_PER_MSEC)
#define PAGE_ROWS 1000

const struct db_statement revocations_statement = {
    .name = "revocations",
    .sql = "SELECT seq, session_id, expires_at, revoked_at < now() - interval '1 minute'"
           " FROM auth.revocations WHERE seq > $1 ORDER BY seq LIMIT 1000",
    .kind = DB_READ,
    .params = {DB_INT8},
};

enum column { COLUMN_SEQ, COLUMN_SESSION, COLUMN_EXPIRES, COLUMN_SETTLED };

struct entry {
    struct uuid session;
    int64_t expires_at_us;
    UT_hash_handle hh;
};

struct revocations {
    struct revocations_options options;

    pthread_rwlock_t lock; /* guards entries */
    struct entry *entries; /* in order of arrival, which is about that of expiry */
    atomic_size_t n;       /* of entries: most of the time there are none to look through */

    pthread_mutex_t reading_lock; /* guards what follows */
    struct arena arena;           /* of the reading in flight */
    bool reading, again, known;
    int64_t settled, from; /* from: where the reading in flight begins */
    int64_t next_ns;
};

/* ---- the set ---- */

/* Removes, from the oldest on, what has expired before. Called under the lock for writing. */
static void remove_expired(struct revocations *r, int64_t before_us)
{
    struct entry *entry, *next;

    HASH_ITER(hh, r->entries, entry, next)
    {
        if (entry->expires_at_us >= before_us)
            return;
        HASH_DEL(r->entries, entry);
        free(entry);
        atomic_fetch_sub(&r->n, 1);
    }
}

static void drop_expired(struct revocations *r)
{
    pthread_rwlock_wrlock(&r->lock);
    remove_expired(r, clock_realtime_us());
    pthread_rwlock_unlock(&r->lock);
}

/* Called under the lock for writing. */
static int insert(struct revocations *r, const struct uuid *session, int64_t expires_at_us)
{
    struct entry *entry;
    unsigned before = HASH_COUNT(r->entries);

    HASH_FIND(hh, r->entries, session, sizeof(*session), entry);
    if (entry)
        return 0;
    entry = malloc(sizeof(*entry));
    if (!entry)
        return -ENOMEM;
    *entry = (struct entry){.session = *session, .expires_at_us = expires_at_us};
    HASH_ADD(hh, r->entries, session, sizeof(entry->session), entry);
    if (HASH_COUNT(r->entries) == before) {
        free(entry);
        return -ENOMEM;
    }
    atomic_fetch_add(&r->n, 1);
    return 0;
}

static int add(struct revocations *r, const struct uuid *session, int64_t expires_at_us)
{
    int err;

    if (expires_at_us < clock_realtime_us())
        return 0;
    pthread_rwlock_wrlock(&r->lock);
    err = insert(r, session, expires_at_us);
    pthread_rwlock_unlock(&r->lock);
    return err;
}

void revocations_add(struct revocations *r, const struct uuid *session, int64_t expires_at_us)
{
    if (add(r, session, expires_at_us) < 0)
        log_warn("no memory for a revocation: it counts from the next reading on");
}

bool revocations_have(struct revocations *r, const struct uuid *session)
{
    struct entry *entry;

    if (atomic_load(&r->n) == 0)
        return false;
    pthread_rwlock_rdlock(&r->lock);
    HASH_FIND(hh, r->entries, session, sizeof(*session), entry);
    pthread_rwlock_unlock(&r->lock);
    return entry != NULL;
}

/* ---- reading ---- */

/* Takes over a page. Returns the number of the last row, 0 for none, or -ENOMEM. */
static int64_t take_rows(struct revocations *r, const struct db_result *result, int64_t *settled)
{
    int64_t seq = 0;

    for (int i = 0; i < db_rows(result); i++) {
        struct uuid session;

        memcpy(session.bytes, db_get_text(result, i, COLUMN_SESSION).p, sizeof(session.bytes));
        if (add(r, &session, db_get_timestamp(result, i, COLUMN_EXPIRES)) < 0)
            return -ENOMEM;
        seq = db_get_int8(result, i, COLUMN_SEQ);
        if (seq == *settled + 1 || db_get_bool(result, i, COLUMN_SETTLED))
            *settled = seq;
    }
    return seq;
}

/* Decides where and when the next reading begins. True: now all are known, and were not before. */
static bool plan_next(struct revocations *r, int n_rows, int64_t last, int64_t settled)
{
    bool whole = n_rows < PAGE_ROWS && !r->again, first = whole && !r->known;

    r->settled = r->again ? 0 : settled;
    r->from = whole || r->again ? r->settled : last;
    r->again = false;
    r->known = r->known || whole;
    r->next_ns = whole ? clock_monotonic_ns() + INTERVAL : 0;
    return first;
}

static void finish(struct revocations *r, bool first)
{
    pthread_mutex_lock(&r->reading_lock);
    r->reading = false;
    pthread_mutex_unlock(&r->reading_lock);
    if (first && r->options.known)
        r->options.known(r->options.user);
    r->options.wake(r->options.user);
}

static void on_rows(void *user, const struct db_result *result)
{
    struct revocations *r = user;
    int64_t settled, last;
    bool first = false;

    pthread_mutex_lock(&r->reading_lock);
    settled = r->settled;
    pthread_mutex_unlock(&r->reading_lock);
    last = result->error == DB_OK ? take_rows(r, result, &settled) : 0;
    pthread_mutex_lock(&r->reading_lock);
    if (result->error == DB_OK && last >= 0)
        first = plan_next(r, db_rows(result), last, settled);
    else
        r->next_ns = clock_monotonic_ns() + INTERVAL;
    pthread_mutex_unlock(&r->reading_lock);
    if (last < 0)
        log_error("no memory for revocations");
    else if (result->error != DB_OK && result->error != DB_UNAVAILABLE)
        log_warn("revocations could not be read", LOG_S("cause", db_cause(result)));
    finish(r, first);
}

static void start_reading(struct revocations *r, struct db *db, size_t statement, int64_t from)
{
    struct db_query *query;

    arena_reset(&r->arena);
    query = db_query(db, &r->arena, statement);
    if (query)
        db_bind_int8(query, from);
    if (query && db_submit(query, clock_monotonic_ns() + TIMEOUT, NULL, on_rows, r) == 0)
        return;
    pthread_mutex_lock(&r->reading_lock);
    r->reading = false;
    r->next_ns = clock_monotonic_ns() + INTERVAL;
    pthread_mutex_unlock(&r->reading_lock);
}

int revocations_tick(struct revocations *r, struct db *db, size_t statement)
{
    int64_t now = clock_monotonic_ns(), wait = INTERVAL, from;
    bool due;

    pthread_mutex_lock(&r->reading_lock);
    due = !r->reading && r->next_ns <= now;
    if (!r->reading && !due)
        wait = r->next_ns - now;
    from = r->from;
    r->reading = r->reading || due;
    pthread_mutex_unlock(&r->reading_lock);
    if (due) {
        drop_expired(r);
        start_reading(r, db, statement, from);
    }
    return (int)(wait / NSEC_PER_MSEC) + 1;
}

void revocations_read_again(struct revocations *r)
{
    pthread_mutex_lock(&r->reading_lock);
    if (r->reading)
        r->again = true;
    else
        r->settled = r->from = 0;
    r->next_ns = 0;
    pthread_mutex_unlock(&r->reading_lock);
    r->options.wake(r->options.user);
}

bool revocations_are_known(struct revocations *r)
{
    bool known;

    pthread_mutex_lock(&r->reading_lock);
    known = r->known;
    pthread_mutex_unlock(&r->reading_lock);
    return known;
}

/* ---- life ---- */

int revocations_new(const struct revocations_options *options, struct revocations **ret)
{
    struct revocations *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->options = *options;
    rwlock_init(&r->lock);
    pthread_mutex_init(&r->reading_lock, NULL);
    arena_init(&r->arena, 64 * 1024);
    *ret = r;
    return 0;
}

void revocations_free(struct revocations *r)
{
    if (!r)
        return;
    remove_expired(r, INT64_MAX);
    arena_free(&r->arena);
    pthread_mutex_destroy(&r->reading_lock);
    pthread_rwlock_destroy(&r->lock);
    free(r);
}
