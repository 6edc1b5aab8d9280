/* Takes the words of articles that were published or changed into the search
 * (migrations/0005_search.sql). In the background, a few articles at a time, with about a twentieth
 * of its time in work: so a bulk load is found later, and does not slow down who reads and writes.
 */
#ifndef STOA_POSTS_INDEXER_H
#define STOA_POSTS_INDEXER_H

#include "service/service.h"

struct indexer;

/* For start() and stop() of the service. interval_ms: between two looks at the queue. -ENOMEM. */
int indexer_new(struct service *service, int64_t interval_ms, struct indexer **ret) MUST_CHECK;
void indexer_free(struct indexer *indexer);

/* Main thread: begins, unless it is at work or not yet due. Returns milliseconds until it wants to
 * be called again. */
int indexer_tick(struct indexer *indexer);

#endif
