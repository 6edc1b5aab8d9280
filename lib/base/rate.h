/* Rate limits for very many callers in a fixed piece of memory.
 *
 * Each caller has one number, the theoretical arrival time of the generic cell rate algorithm
 * (ITU-T I.371): a token bucket that needs no timer. A caller whose time has passed is as good as
 * unknown, so that a table forgets nothing by giving its place to another.
 *
 * A table is a cache of sets: a caller's key names its set, and a full set gives up the member with
 * the earliest time, which is the one that loses least. So a flood of new keys never frees one that
 * is being held back. No pointers inside: several processes may map it at different addresses. The
 * caller serialises access.
 */
#ifndef STOA_BASE_RATE_H
#define STOA_BASE_RATE_H

#include "base/base.h"

#define RATE_KEY_SIZE 16
/* Quota and window: products stay far from the limits of 64 bits. */
#define RATE_MAX_QUOTA 1000000000
#define RATE_MAX_WINDOW_S 86400

struct rate_limit {
    uint64_t interval_us; /* between requests at the sustained rate; 1 at least */
    uint64_t quota;       /* requests that may come at once */
};

struct rate_verdict {
    bool allowed;
    uint64_t remaining;  /* requests that may come at once now */
    uint64_t reset_s;    /* until the quota is whole again; if refused: until there is some */
    uint64_t required_s; /* seconds to wait if refused, 1 at least; otherwise 0 */
};

struct rate_table;

/* Makes an empty table in n bytes of memory, aligned to 64. NULL: too little for one set. */
struct rate_table *rate_table_init(void *memory, size_t n);
/* How many callers it remembers. */
size_t rate_table_capacity(const struct rate_table *table);

/* A request of a caller at a time (microseconds, never going back by much). Keys must be evenly
 * distributed and unguessable: a cryptographic hash. A refused request costs nothing. */
struct rate_verdict rate_take(struct rate_table *table, const struct rate_limit *limit,
                              const unsigned char key[RATE_KEY_SIZE], uint64_t now_us);

/* Somebody else has let requests through for the caller: its time is at least so far ahead, but not
 * further than the limit allows. */
void rate_raise(struct rate_table *table, const struct rate_limit *limit,
                const unsigned char key[RATE_KEY_SIZE], uint64_t now_us, uint64_t ahead_us);

/* Whether the caller's time is still to come: there were requests, and their quota is not whole
 * again. */
bool rate_is_ahead(const struct rate_table *table, const unsigned char key[RATE_KEY_SIZE],
                   uint64_t now_us);
/* The caller's quota is whole again. */
void rate_forget(struct rate_table *table, const unsigned char key[RATE_KEY_SIZE]);

/* "600/1m", "10/s", "5/15m": so many requests in so much time. Returns 0 or -EINVAL. */
int rate_parse(struct str text, struct rate_limit *ret) MUST_CHECK;
/* Seconds in which a quota that is used up is whole again, rounded up. */
uint64_t rate_window_s(const struct rate_limit *limit);

#endif
