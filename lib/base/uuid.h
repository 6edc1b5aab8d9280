/* UUIDs (RFC 9562). Any thread. */
#ifndef STOA_BASE_UUID_H
#define STOA_BASE_UUID_H

#include "base/base.h"

struct uuid {
    uint8_t bytes[16]; /* in network order, as Postgres has it */
};

#define UUID_CHARS 36

/* A new one of version 7 (section 5.7): ordered by time, so that new rows lie together in an index.
 * -EIO: the system gives no random numbers. */
int uuid_new(struct uuid *ret) MUST_CHECK;

/* The canonical form, NUL-terminated, in lower case. */
void uuid_print(const struct uuid *id, char ret[UUID_CHARS + 1]);

/* Reads the canonical form, in either case. -EINVAL. */
int uuid_parse(struct str text, struct uuid *ret) MUST_CHECK;

#endif
