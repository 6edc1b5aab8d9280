/* Removes from time to time what nobody needs any more, by statements of the service that each
 * remove a bounded number of rows. Every instance does it; the statements skip each other's rows.
 */
#ifndef STOA_SERVICE_PURGE_H
#define STOA_SERVICE_PURGE_H

#include "service/service.h"

/* A statement that answers with how many rows it removed, one int8. */
struct purge_step {
    size_t statement; /* index in the service's table of statements */
    /* As many as it removes at most. As many, and it is run again at once, for half of the
     * interval: what takes longer holds up no other step. */
    int64_t batch;
    /* Binds its parameters, on any thread. NULL: it has none. */
    void (*bind)(struct service *service, struct db_query *query);
    /* Whether it is run at all, on any thread. NULL: always. */
    bool (*wanted)(struct service *service);
};

struct purge;

/* For start() and stop() of the service. steps, one after the other, stay the caller's and must
 * outlive *ret. -ENOMEM. */
int purge_new(struct service *service, const struct purge_step *steps, size_t n_steps,
              int64_t interval_s, struct purge **ret) MUST_CHECK;
void purge_free(struct purge *purge);

/* Main thread: begins, unless the last time has not ended or it is not yet due. Returns
 * milliseconds until it wants to be called again. */
int purge_tick(struct purge *purge);

#endif
