/* Items wait in one list. pump() makes statements of them as long as there may be another one, on
 * the engine thread: when it has woken after an item came, and when a statement is back, before
 * that is answered. So Postgres works on the next one while these are answered. */
#include "pg/group.h"

#include "pg/internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* How long the first that waits is held at most, and how long after a statement of several. */
#define HOLD_NS (1 * NSEC_PER_MSEC)
#define RECENT_NS (20 * NSEC_PER_MSEC)

TAILQ_HEAD(item_list, db_group_item);

struct db_group {
    struct db_group_options options;
    STAILQ_ENTRY(db_group) next;      /* in db->groups, and that it is there: */
    bool asked;                       /* both under the db's lock */
    STAILQ_ENTRY(db_group) next_held; /* in engine->held; engine thread */
    bool is_held;
    pthread_mutex_t lock; /* guards what follows */
    struct item_list waiting;
    size_t n_waiting, n_items; /* that wait; all that have not ended */
    unsigned n_statements;
    int64_t last_ns;     /* when the last one went */
    size_t n_last;       /* items of the last statement */
    int64_t returned_ns; /* when the last one came back */
    int64_t held_ns;     /* what waits is held until then; 0: it is not */
};

/* A statement on its way. */
struct batch {
    struct db_group *group;
    struct db *db;
    struct arena arena;
    size_t statement;
    size_t n;
    struct db_group_item *items[];
};

/* ---- answers ---- */

static void batch_free(struct batch *batch)
{
    arena_free(&batch->arena);
    free(batch);
}

/* The last that is done with an item that was sent. */
static void finish(const struct batch *batch, struct db_group_item *item,
                   const struct db_result *result, int row)
{
    const struct db_group_options *options = &batch->group->options;
    const struct db *db = batch->db;

    trace_statement_end(db->options.recorder, &item->statement,
                        db->statements[batch->statement].name, result->sqlstate,
                        result->error != DB_OK, batch->n);
    options->done(item, result, row);
}

/* Before its end is told, so that who hears of it finds room. */
static void leave(struct db_group *group, size_t n)
{
    pthread_mutex_lock(&group->lock);
    group->n_items -= n;
    pthread_mutex_unlock(&group->lock);
}

static void fail(struct db_group *group, struct db_group_item *item, enum db_error error)
{
    leave(group, 1);
    group->options.done(item, &(struct db_result){.error = error}, -1);
}

/* Whether the statement has certainly changed nothing, for a reason that may be one item's. */
static bool may_be_of_one(const struct batch *batch, enum db_error error)
{
    if (error == DB_UNAVAILABLE) /* of a read: it has taken several connections with it */
        return batch->db->statements[batch->group->options.many].kind == DB_READ;
    return error == DB_UNIQUE || error == DB_FOREIGN_KEY || error == DB_CHECK ||
           error == DB_CONFLICT || error == DB_INTERNAL;
}

/* Whose a row is. */
static struct db_group_item *owner_of(const struct batch *batch, const struct db_result *result,
                                      int row)
{
    int64_t number =
        batch->n > 1 ? db_get_int8(result, row, batch->group->options.number_column) : 1;

    assert(number >= 1 && (uint64_t)number <= batch->n);
    return batch->items[number - 1];
}

/* Gives each its list of rows. -ENOMEM. */
static int list_rows(struct batch *batch, const struct db_result *result)
{
    int *rows = arena_alloc(&batch->arena, (size_t)db_rows(result) * sizeof(*rows));

    if (!rows)
        return -ENOMEM;
    for (int row = 0; row < db_rows(result); row++)
        owner_of(batch, result, row)->n_rows++;
    for (size_t i = 0; i < batch->n; i++) {
        batch->items[i]->rows = rows;
        rows += batch->items[i]->n_rows;
        batch->items[i]->n_rows = 0;
    }
    for (int row = 0; row < db_rows(result); row++) {
        struct db_group_item *item = owner_of(batch, result, row);

        item->rows[item->n_rows++] = row;
    }
    return 0;
}

static void deliver(struct batch *batch, const struct db_result *result)
{
    static const struct db_result no_memory = {.error = DB_OVERLOADED};

    for (size_t i = 0; i < batch->n; i++) {
        batch->items[i]->row = -1;
        batch->items[i]->rows = NULL;
        batch->items[i]->n_rows = 0;
    }
    if (batch->group->options.several_rows && list_rows(batch, result) < 0)
        result = &no_memory;
    for (int row = 0; row < db_rows(result); row++)
        owner_of(batch, result, row)->row = row;
    leave(batch->group, batch->n);
    for (size_t i = 0; i < batch->n; i++)
        finish(batch, batch->items[i], result, batch->items[i]->row);
}

static void on_done(void *user, const struct db_result *result);

/* ---- sending ---- */

static struct batch *batch_new(struct db_group *group, struct db *db, size_t max_items)
{
    struct batch *batch = malloc(sizeof(*batch) + max_items * sizeof(struct db_group_item *));

    if (!batch)
        return NULL;
    batch->group = group;
    batch->db = db;
    batch->n = 0;
    arena_init(&batch->arena, 0); /* the items are bounded */
    return batch;
}

/* The statement that does for all of them. */
static size_t statement_of(const struct batch *batch)
{
    const struct db_group_options *options = &batch->group->options;
    bool plain = true;

    for (size_t i = 0; i < batch->n; i++)
        plain = plain && batch->items[i]->plain;
    if (batch->n > 1)
        return plain ? options->plain_many : options->many;
    return plain ? options->plain_one : options->one;
}

static int bind_and_submit(struct batch *batch)
{
    const struct db_group_options *options = &batch->group->options;
    bool many = batch->n > 1;
    struct db_query *query;
    int64_t deadline_ns = 0;

    batch->statement = statement_of(batch);
    query = db_query(batch->db, &batch->arena, batch->statement);

    if (!query)
        return -ENOMEM;
    for (size_t i = 0; i < batch->n; i++) {
        if (batch->items[i]->deadline_ns > deadline_ns)
            deadline_ns = batch->items[i]->deadline_ns;
    }
    if (many)
        options->bind_many(query, batch->items, batch->n);
    else
        options->bind_one(query, batch->items[0]);
    query->group = batch->group;
    return db_submit(query, deadline_ns, many ? NULL : batch->items[0]->cancelled, on_done, batch);
}

/* Those whose caller has gone need not be sent. */
static void drop_cancelled(struct batch *batch)
{
    size_t kept = 0;

    for (size_t i = 0; i < batch->n; i++) {
        struct db_group_item *item = batch->items[i];

        if (item->cancelled && atomic_load_explicit(item->cancelled, memory_order_relaxed))
            fail(batch->group, item, DB_CANCELLED);
        else
            batch->items[kept++] = item;
    }
    batch->n = kept;
}

/* False: it did not go, and its items have been told. Counts as a statement on its way until then.
 */
static bool send_batch(struct batch *batch)
{
    int r;

    drop_cancelled(batch);
    metrics_add(&batch->db->counts.group_items, batch->n);
    metrics_add(&batch->db->counts.group_statements, batch->n > 0);
    r = batch->n > 0 ? bind_and_submit(batch) : -ECANCELED;
    if (r == 0)
        return true;
    for (size_t i = 0; i < batch->n; i++)
        fail(batch->group, batch->items[i], r == -ESHUTDOWN ? DB_UNAVAILABLE : DB_OVERLOADED);
    batch_free(batch);
    return false;
}

static void count(struct db_group *group, int statements)
{
    pthread_mutex_lock(&group->lock);
    group->n_statements += (unsigned)statements;
    pthread_mutex_unlock(&group->lock);
}

/* The lock is held. */
static struct db_group_item *remove_first(struct db_group *group, struct db *db)
{
    struct db_group_item *item = TAILQ_FIRST(&group->waiting);

    TAILQ_REMOVE(&group->waiting, item, next);
    group->n_waiting--;
    atomic_fetch_sub_explicit(&db->counts.group_waiting, 1, memory_order_relaxed);
    return item;
}

static bool is_enough(const struct db_group *group)
{
    return group->n_waiting >= (group->n_last + 1) / 2;
}

/* Whether what waits is to wait for more: writes, each of which wants a commit. Under the lock. */
static bool hold(struct db_group *group, const struct db *db)
{
    int64_t now;

    if (group->n_statements > 0 || is_enough(group) ||
        db->statements[group->options.many].kind == DB_READ) {
        group->held_ns = 0;
        return false;
    }
    now = clock_monotonic_ns();
    if (group->held_ns == 0 && now - group->returned_ns < RECENT_NS)
        group->held_ns = now + HOLD_NS;
    if (group->held_ns > now)
        return true;
    group->held_ns = 0;
    return false;
}

/* Whether one more statement may go. Under the lock. */
static bool may_go(const struct db_group *group)
{
    const struct db_group_options *options = &group->options;

    if (group->n_statements >= options->max_statements)
        return false;
    return group->n_statements == 0 || !options->patience_ns ||
           clock_monotonic_ns() - group->last_ns >= options->patience_ns;
}

/* Takes what may go as one statement; NULL: there is nothing, or it has to wait. Called under the
 * lock. Without memory the first of those that wait is left in *ret_failed. */
static struct batch *take(struct db_group *group, struct db *db, struct db_group_item **ret_failed)
{
    const struct db_group_options *options = &group->options;
    size_t bytes = 0, max = options->max_items;
    struct db_group_item *item = TAILQ_FIRST(&group->waiting);
    struct batch *batch;

    *ret_failed = NULL;
    if (!may_go(group)) {
        group->held_ns = 0; /* what is on its way comes back here, and the engine may sleep */
        return NULL;
    }
    if (!item || hold(group, db))
        return NULL;
    batch = batch_new(group, db, group->n_waiting < max ? group->n_waiting : max);
    if (!batch) {
        *ret_failed = remove_first(group, db);
        return NULL;
    }
    while ((item = TAILQ_FIRST(&group->waiting)) != NULL && batch->n < max) {
        bytes += item->bytes;
        if (batch->n > 0 && bytes > options->max_bytes)
            break;
        batch->items[batch->n++] = remove_first(group, db);
    }
    group->n_statements++;
    group->n_last = batch->n;
    if (options->patience_ns)
        group->last_ns = clock_monotonic_ns();
    return batch;
}

static void pump(struct db_group *group, struct db *db)
{
    for (;;) {
        struct db_group_item *failed;
        struct batch *batch;

        pthread_mutex_lock(&group->lock);
        batch = take(group, db, &failed);
        pthread_mutex_unlock(&group->lock);
        if (failed)
            fail(group, failed, DB_OVERLOADED);
        else if (!batch)
            return;
        else if (!send_batch(batch))
            count(group, -1);
    }
}

/* ---- the engine's part ---- */

static int64_t held_until(struct db_group *group)
{
    int64_t ns;

    pthread_mutex_lock(&group->lock);
    ns = group->held_ns;
    pthread_mutex_unlock(&group->lock);
    return ns;
}

int64_t group_pump_asked(struct engine *e)
{
    struct group_list held;
    struct db *db = e->db;
    struct db_group *group;
    int64_t next_ns = NEVER;

    pthread_mutex_lock(&db->lock);
    /* Under the lock to the end: who is no longer asked may be put in again, by `next`. */
    while ((group = STAILQ_FIRST(&db->groups)) != NULL) {
        STAILQ_REMOVE_HEAD(&db->groups, next);
        group->asked = false;
        if (!group->is_held)
            STAILQ_INSERT_TAIL(&e->held, group, next_held);
        group->is_held = true;
    }
    db->asleep = false; /* what is submitted here is taken next */
    pthread_mutex_unlock(&db->lock);
    STAILQ_INIT(&held);
    STAILQ_CONCAT(&held, &e->held);
    while ((group = STAILQ_FIRST(&held)) != NULL) {
        int64_t ns;

        STAILQ_REMOVE_HEAD(&held, next_held);
        pump(group, db);
        ns = held_until(group);
        group->is_held = ns > 0;
        if (!group->is_held)
            continue;
        STAILQ_INSERT_TAIL(&e->held, group, next_held);
        next_ns = ns < next_ns ? ns : next_ns;
    }
    return next_ns;
}

void group_returned(struct engine *e, struct db_group *group)
{
    pthread_mutex_lock(&group->lock);
    group->n_statements--;
    group->returned_ns = clock_monotonic_ns();
    pthread_mutex_unlock(&group->lock);
    if (!group->is_held)
        STAILQ_INSERT_TAIL(&e->held, group, next_held);
    group->is_held = true;
    e->held_ns = 0; /* it does not sleep before it has pumped */
}

/* The db closes: db_submit() refuses all of it. */
static void give_up(struct db_group *group, struct db *db)
{
    do {
        pthread_mutex_lock(&group->lock);
        group->n_last = 0; /* nothing is held, until some have been refused */
        group->held_ns = 0;
        pthread_mutex_unlock(&group->lock);
        pump(group, db);
    } while (held_until(group) > 0);
}

void group_end(struct engine *e)
{
    struct db_group *group;

    pthread_mutex_lock(&e->db->lock);
    STAILQ_FOREACH(group, &e->db->groups, next)
    {
        if (!group->is_held)
            STAILQ_INSERT_TAIL(&e->held, group, next_held);
    }
    STAILQ_INIT(&e->db->groups);
    pthread_mutex_unlock(&e->db->lock);
    while ((group = STAILQ_FIRST(&e->held)) != NULL) {
        STAILQ_REMOVE_HEAD(&e->held, next_held);
        give_up(group, e->db);
    }
}

/* False: the engine has ended, or does so without looking again. */
static bool ask_engine(struct db *db, struct db_group *group)
{
    bool asleep, closing;

    pthread_mutex_lock(&db->lock);
    closing = db->closing;
    asleep = db->asleep && !closing;
    if (!closing) {
        if (!group->asked)
            STAILQ_INSERT_TAIL(&db->groups, group, next);
        group->asked = true;
        db->asleep = false; /* one ring is enough */
    }
    pthread_mutex_unlock(&db->lock);
    if (asleep)
        engine_ring(db);
    return !closing;
}

/* ---- the end of a statement ---- */

static void send_each(struct batch *batch)
{
    for (size_t i = 0; i < batch->n; i++) {
        struct batch *alone = batch_new(batch->group, batch->db, 1);

        if (!alone) {
            fail(batch->group, batch->items[i], DB_OVERLOADED);
            continue;
        }
        alone->items[alone->n++] = batch->items[i];
        count(batch->group, 1);
        if (!send_batch(alone))
            count(batch->group, -1);
    }
}

static void on_done(void *user, const struct db_result *result)
{
    struct batch *batch = user;
    const struct db_group_options *options = &batch->group->options;

    if (batch->n > 1 && may_be_of_one(batch, result->error))
        send_each(batch);
    else
        deliver(batch, result);
    if (options->all_done)
        options->all_done(options->user);
    batch_free(batch);
}

/* ---- life ---- */

const char *group_statement_name(const struct db_group *group, const struct db *db)
{
    return db->statements[group->options.one].name;
}

int db_group_submit(struct db_group *group, struct db *db, struct db_group_item *item)
{
    bool full, waits = false;

    item->statement = trace_statement_begin(item->trace);
    pthread_mutex_lock(&group->lock);
    full = group->n_items >= db->options.max_queue;
    if (!full) {
        TAILQ_INSERT_TAIL(&group->waiting, item, next);
        group->n_waiting++;
        group->n_items++;
        waits = !may_go(group) || (group->held_ns > 0 && !is_enough(group));
        metrics_add(&db->counts.group_waiting, 1);
    }
    pthread_mutex_unlock(&group->lock);
    if (full)
        return -ENOBUFS;
    if (!waits && !ask_engine(db, group))
        give_up(group, db);
    return 0;
}

int db_group_new(const struct db_group_options *options, struct db_group **ret)
{
    struct db_group *group = calloc(1, sizeof(*group));

    if (!group)
        return -ENOMEM;
    group->options = *options;
    pthread_mutex_init(&group->lock, NULL);
    TAILQ_INIT(&group->waiting);
    *ret = group;
    return 0;
}

void db_group_free(struct db_group *group)
{
    if (!group)
        return;
    pthread_mutex_destroy(&group->lock);
    free(group);
}
