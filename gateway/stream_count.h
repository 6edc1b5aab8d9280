/* How many streams each caller has open, in a fixed piece of memory that several processes share.
 *
 * Free of nginx. An entry is what one process holds for one caller, so that the entries of a
 * process that has died can be found and dropped; a caller's streams are the sum of its entries. No
 * pointers inside: processes may map it at different addresses. The caller serialises access.
 */
#ifndef STOA_GATEWAY_STREAM_COUNT_H
#define STOA_GATEWAY_STREAM_COUNT_H

#include "base/base.h"

#define STREAM_COUNT_KEY_SIZE 16

struct stream_count;

/* Makes an empty table in n bytes of memory, aligned to 8. NULL: too little for one entry. */
struct stream_count *stream_count_init(void *memory, size_t n);

/* One more stream of a caller, held by a process. Keys must be evenly distributed and unguessable:
 * a cryptographic hash. Returns 0; -EBUSY: the caller has `most` already; -ENOSPC: the table has no
 * room for another caller. */
int stream_count_enter(struct stream_count *table, const unsigned char key[STREAM_COUNT_KEY_SIZE],
                       uint32_t process, uint32_t most) MUST_CHECK;
/* One that has been entered is over. */
void stream_count_leave(struct stream_count *table, const unsigned char key[STREAM_COUNT_KEY_SIZE],
                        uint32_t process);
/* Drops what processes hold that is_gone() says are no more. */
void stream_count_sweep(struct stream_count *table, bool (*is_gone)(uint32_t process));

#endif
