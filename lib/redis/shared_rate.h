/* Rate limits that several instances hold together.
 *
 * Each limit is a token bucket (base/rate.h): N may come at once, then N in the time. It is kept
 * twice: in a table of this process, which is asked first and always, and in Redis, which counts
 * for all instances together. So a flood costs Redis no more than what the limits let through, and
 * without Redis each instance still holds the limits by itself.
 *
 * There are two ways to ask. shared_rate_ask() lets Redis decide: nobody gets more than the limit,
 * and each request waits for an answer of Redis. shared_rate_take() decides at once by what the
 * process knows; Redis is told afterwards, many requests in one command, and its answer is what the
 * others have let through. It is told at once, then after a tenth of a second, or as soon as a
 * sixteenth of a quota has been used: so each instance more lets through that much more at most.
 */
#ifndef STOA_REDIS_SHARED_RATE_H
#define STOA_REDIS_SHARED_RATE_H

#include "base/rate.h"
#include "redis/redis.h"

struct shared_rate; /* any thread */

struct shared_rate_options {
    size_t entries;     /* callers that the table remembers; 16 bytes each */
    const char *prefix; /* of the keys in Redis; static */
    const char *about;  /* what is refused, for the log: "attempts to sign in"; static */
};

#define SHARED_RATE_SECRET_BYTES 32

/* -ENOMEM, -EIO (no random numbers). */
int shared_rate_new(const struct shared_rate_options *options, struct shared_rate **ret) MUST_CHECK;
/* After the Redis that it uses has been closed. */
void shared_rate_free(struct shared_rate *rate);

/* Once, before anything is asked: where all instances count together. -ENOMEM. */
int shared_rate_use_redis(struct shared_rate *rate, struct redis *redis) MUST_CHECK;

/* What all instances make keys with, so that Redis does not hold what is counted by. Until it is
 * known, Redis is not asked. */
void shared_rate_set_secret(struct shared_rate *rate,
                            const uint8_t secret[SHARED_RATE_SECRET_BYTES]);

/* A limit that a request meets. */
struct shared_rate_count {
    const struct rate_limit *limit; /* quota 0: none; it lives as long as what counts */
    struct str who;                 /* what it is counted by: any bytes, others for each limit */
};

/* That a request meets at most. */
#define SHARED_RATE_MAX 4

struct shared_rate_verdict {
    bool allowed;
    int64_t retry_after_ms; /* if refused: 1 at least */
};

typedef void shared_rate_done_fn(void *user, const struct shared_rate_verdict *verdict);

/* Who is refused by one limit does not use up those after it. Returns -ENOMEM, or runs done exactly
 * once: at once, or on the engine thread of Redis within its time-out. The arena must outlive done.
 */
int shared_rate_ask(struct shared_rate *rate, struct arena *arena,
                    const struct shared_rate_count *counts, size_t n, shared_rate_done_fn *done,
                    void *user) MUST_CHECK;

/* The same, decided now. *ret is valid if 0 is returned. -ENOMEM. */
int shared_rate_take(struct shared_rate *rate, const struct shared_rate_count *counts, size_t n,
                     struct shared_rate_verdict *ret) MUST_CHECK;

/* Whether the process has been told to remember this, less than so long ago; both in this process
 * alone. It forgets what is eldest when there is much. Without memory it knows and remembers
 * nothing. */
bool shared_rate_remembers(struct shared_rate *rate, struct str what);
void shared_rate_remember(struct shared_rate *rate, struct str what, int64_t seconds);
void shared_rate_forget(struct shared_rate *rate, struct str what);

#endif
