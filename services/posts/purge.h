/* Removes, from time to time, what nobody needs any more: idempotency keys of more than a day, and
 * what forgotten accounts may have left behind (migrations/0004_forget_account.sql). */
#ifndef STOA_POSTS_PURGE_H
#define STOA_POSTS_PURGE_H

#include "service/service.h"

struct purge;

/* For start() and stop() of the service. -ENOMEM. */
int purge_new(struct service *service, int64_t interval_s, struct purge **ret) MUST_CHECK;
void purge_free(struct purge *purge);

/* Main thread: begins, unless the last time has not ended. Returns milliseconds until it wants to
 * be called again. */
int purge_tick(struct purge *purge);

#endif
