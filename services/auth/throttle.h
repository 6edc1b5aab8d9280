/* How often sign-in, sign-up and refreshment may be tried: by one address, on one account, and by
 * one address on one account.
 *
 * Each limit is a token bucket (base/rate.h): N may come at once, then N in the time. It is kept
 * twice: in a table of this process, which is asked first and always, and in Redis, which counts
 * for all instances together. So a flood costs Redis no more than what the limits let through, and
 * without Redis each instance still holds the limits by itself.
 *
 * Nothing here knows whether an account exists: limits are the same for those that do not.
 */
#ifndef STOA_AUTH_THROTTLE_H
#define STOA_AUTH_THROTTLE_H

#include "base/rate.h"
#include "redis/redis.h"

struct throttle; /* any thread */

enum throttle_attempt { THROTTLE_LOGIN, THROTTLE_REGISTER, THROTTLE_REFRESH, THROTTLE_N_ATTEMPTS };

/* What an attempt is counted by, in this order: who is refused by one does not use up the next, so
 * that a flood from one address does not lock an account's owner out. */
enum throttle_subject { THROTTLE_ADDRESS, THROTTLE_PAIR, THROTTLE_ACCOUNT, THROTTLE_N_SUBJECTS };

struct throttle_options {
    struct rate_limit limits[THROTTLE_N_ATTEMPTS][THROTTLE_N_SUBJECTS]; /* quota 0: no limit */
    size_t entries; /* callers that the table remembers; 16 bytes each */
};

#define THROTTLE_SECRET_BYTES 32

/* -ENOMEM, -EIO (no random numbers). */
int throttle_new(const struct throttle_options *options, struct throttle **ret) MUST_CHECK;
void throttle_free(struct throttle *throttle);

/* Once, before the first attempt: where all instances count together. It outlives every attempt. */
void throttle_use_redis(struct throttle *throttle, struct redis *redis);

/* What all instances make keys with, so that Redis holds neither addresses nor e-mail addresses.
 * Until it is known, Redis is not asked. */
void throttle_set_secret(struct throttle *throttle, const uint8_t secret[THROTTLE_SECRET_BYTES]);

struct throttle_verdict {
    bool allowed;
    int64_t retry_after_ms; /* if refused: 1 at least */
};

typedef void throttle_done_fn(void *user, const struct throttle_verdict *verdict);

/* address: an IP address, of whose IPv6 form the first 64 bits count; {NULL, 0}: of this machine.
 * account: an e-mail address's key, or what stands for it (any bytes). Returns -ENOMEM, or runs
 * done exactly once: at once, or on the engine thread of Redis within its time-out. The arena must
 * outlive done.
 */
int throttle_ask(struct throttle *throttle, struct arena *arena, enum throttle_attempt attempt,
                 struct str address, struct str account, throttle_done_fn *done,
                 void *user) MUST_CHECK;

#endif
