/* Equal reads, such as those of a page that many look at, share a statement. While a read is in
 * flight, others with the same key wait; when it is back, one statement serves all of them. Nobody
 * gets rows that were read before they came, since those that wait are served by a statement that
 * is sent later. A read that comes alone waits for nobody. Reads with different keys do not wait
 * for each other, unless they go together as one statement for several keys (group.h). */
#ifndef STOA_PG_SHARE_H
#define STOA_PG_SHARE_H

#include "pg/group.h"

#include <sys/queue.h>

STAILQ_HEAD(db_share_list, db_share_item);

/* A read, in its owner's memory until done() is called for it. */
struct db_share_item {
    struct str key;         /* equal for reads that have the same answer; not empty */
    struct db_query *query; /* bound; sent for one of those that are served together. NULL:
                               what goes for them is `grouped`, in the group */
    struct db_group *group;
    struct db *db;
    int64_t deadline_ns;          /* clock_monotonic_ns() terms. A statement has the latest of
                                     those that it serves */
    const atomic_bool *cancelled; /* looked at before it is sent for this one alone; may be NULL */
    const struct trace_context *trace; /* as for db_trace(): of this read, with its wait */

    /* In done(): those that are served with it, linked by `next`, without itself. */
    struct db_share_list others;
    /* Its `bytes` are the owner's to set, and in done() its rows to read. */
    struct db_group_item grouped;

    STAILQ_ENTRY(db_share_item) next;
    struct trace_statement statement; /* the share's, as is what follows */
    struct db_share *share;
    struct db_share_list waiting; /* for the statement after it */
    LIST_ENTRY(db_share_item) flight;
    bool listed; /* in the share's table: the next one with its key waits for it */
    int64_t sent_ns;
};

struct db_share;

/* done: the end of item and of item->others, as a db_done_fn, called once for all of them; where
 * completions run, or within db_share_submit(). patience_ns: a read that comes so long after the
 * one in flight was sent does not wait for it. -ENOMEM. */
int db_share_new(void (*done)(struct db_share_item *item, const struct db_result *result),
                 int64_t patience_ns, struct db_share **ret) MUST_CHECK;

/* After db_close(). NULL is nothing. */
void db_share_free(struct db_share *share);

/* The `done` of a group whose items are `grouped`. */
void db_share_grouped(struct db_group_item *grouped, const struct db_result *result, int row);

/* Any thread. Returns 0 (done() is called once, perhaps before this returns), or as db_submit().
 * How many wait is bounded by the owner, as its calls are. */
int db_share_submit(struct db_share *share, struct db_share_item *item) MUST_CHECK;

#endif
