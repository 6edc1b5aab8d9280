/* Items that go together as one statement. While statements of a kind are in flight, later items
 * wait; when one comes back, those that wait go as one statement. They share one execution, one
 * round trip and, if they write, one commit. An item that comes alone waits for nobody. A read
 * never gets rows that were read before it came, since an item that waits is in no statement yet.
 *
 * Callers that were answered together often write again together. The first of them would go alone,
 * and make all others wait for it. So after a write of several items the next statement waits until
 * half as many are there, or for a millisecond or two.
 *
 * The db's engine thread makes the statements.
 *
 * When Postgres takes a statement of several items back (a key that was taken, a deadlock), it did
 * nothing. Then each item is sent once more by itself, so that nobody gets somebody else's error.
 * The same goes for reads whose statement was given up because it may be what kills the server. */
#ifndef STOA_PG_GROUP_H
#define STOA_PG_GROUP_H

#include "pg/db.h"

#include <sys/queue.h>

/* One of them, in its owner's memory until done() is called for it. */
struct db_group_item {
    int64_t deadline_ns;          /* clock_monotonic_ns() terms. A statement has the latest of its
                                     items' deadlines */
    const atomic_bool *cancelled; /* looked at before it is sent; may be NULL */
    const struct trace_context *trace; /* as for db_trace(): of this write, with its wait */
    size_t bytes;                      /* about how many its parameters have */
    bool plain;                        /* the plain statements do for it */

    /* In done(), with several_rows: its own rows in the result, in no order, its owner's to sort.
     */
    int *rows;
    size_t n_rows;

    struct trace_statement statement; /* the group's, as is what follows */
    TAILQ_ENTRY(db_group_item) next;
    int row;
};

struct db_group_options {
    size_t one, many; /* statements, indices in the db's table */
    /* With the same parameters and columns, cheaper: when all items are plain. */
    size_t plain_one, plain_many;
    unsigned max_statements; /* in flight before others wait, not counting those sent once more */
    int64_t patience_ns; /* 0: up to max_statements go beside each other. Otherwise one goes when
                            none is on its way, or when something comes so long after the last one
                            was sent. For what is best done all together, and is slow now and then
                            (a read from a disk) */
    unsigned max_items;  /* in one statement */
    size_t max_bytes;    /* in one statement of several */
    int number_column;   /* of a row of `many`: which item it belongs to, 1 … n; int8 */
    bool several_rows;   /* of reads: an item may have more than one */

    /* Bind all parameters of `one`, of `many`. Any thread. */
    void (*bind_one)(struct db_query *query, const struct db_group_item *item);
    void (*bind_many)(struct db_query *query, struct db_group_item *const *items, size_t n);

    /* Its end, as a db_done_fn; row: its own in the result, or one of several, -1: there is none.
     * Where completions run; within db_group_submit() only when the db closes, with
     * DB_UNAVAILABLE. */
    void (*done)(struct db_group_item *item, const struct db_result *result, int row);
    /* All of a statement have had their done(): what can wait for that. On the same thread. NULL:
     * nothing can. */
    void (*all_done)(void *user);
    void *user;
};

struct db_group;

/* Options are copied. -ENOMEM. */
int db_group_new(const struct db_group_options *options, struct db_group **ret) MUST_CHECK;

/* After db_close(). NULL is nothing. */
void db_group_free(struct db_group *group);

/* Any thread. db: the same each time. Returns 0 (done() is called once, perhaps before this
 * returns) or -ENOBUFS (as many have not ended as the db's queue may hold). */
int db_group_submit(struct db_group *group, struct db *db, struct db_group_item *item) MUST_CHECK;

#endif
