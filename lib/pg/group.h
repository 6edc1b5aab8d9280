/* Writes that go together: while some statements of a kind are on their way, what comes next waits,
 * and goes as one statement when one of them is back. One commit, one execution and one round trip
 * serve all of it, and a write that comes alone waits for nobody.
 *
 * A statement of several that Postgres has taken back (a key that was taken, a deadlock) did
 * nothing, so each of its writes is sent once more by itself: nobody gets somebody else's error. */
#ifndef STOA_PG_GROUP_H
#define STOA_PG_GROUP_H

#include "pg/db.h"

#include <sys/queue.h>

/* A write, in its owner's memory until done() is called for it. */
struct db_group_item {
    int64_t deadline_ns;          /* clock_monotonic_ns() terms. A statement has the latest of its
                                     items' deadlines */
    const atomic_bool *cancelled; /* looked at before it is sent; may be NULL */
    const struct trace_context *trace; /* as for db_trace(): of this write, with its wait */
    size_t bytes;                      /* about how many its parameters have */

    struct trace_statement statement;
    TAILQ_ENTRY(db_group_item) next; /* the group's, as is what follows */
    int row;
};

struct db_group_options {
    size_t one, many;        /* statements, indices in the db's table */
    unsigned max_statements; /* on their way before others wait, but for those sent once more */
    unsigned max_items;      /* in one statement */
    size_t max_bytes;        /* in one statement of several */
    int number_column;       /* of a row of `many`: which item it belongs to, 1 … n; int8 */

    /* Bind all parameters of `one`, of `many`. Any thread. */
    void (*bind_one)(struct db_query *query, const struct db_group_item *item);
    void (*bind_many)(struct db_query *query, struct db_group_item *const *items, size_t n);

    /* The write's end, as a db_done_fn; row: its own in the result, -1: there is none. On the
     * engine thread, or within db_group_submit(). */
    void (*done)(struct db_group_item *item, const struct db_result *result, int row);
};

struct db_group;

int db_group_new(const struct db_group_options *options, struct db_group **ret) MUST_CHECK;

/* After db_close(). NULL is nothing. */
void db_group_free(struct db_group *group);

/* Any thread. db: the same each time. Returns 0 (done() is called once, perhaps before this
 * returns) or -ENOBUFS (as many wait as the db's queue may hold). */
int db_group_submit(struct db_group *group, struct db *db, struct db_group_item *item) MUST_CHECK;

#endif
