/* How often sign-in, sign-up and refresh may be tried: by one address, on one account, and by
 * one address on one account.
 *
 * Instances count together, and without Redis each by itself (redis/shared_rate.h).
 *
 * Nothing here knows whether an account exists: limits are the same for those that do not.
 */
#ifndef STOA_AUTH_THROTTLE_H
#define STOA_AUTH_THROTTLE_H

#include "redis/shared_rate.h"

struct throttle; /* any thread */

enum throttle_attempt { THROTTLE_LOGIN, THROTTLE_REGISTER, THROTTLE_REFRESH, THROTTLE_N_ATTEMPTS };

/* What an attempt is counted by, in this order: who is refused by one does not use up the next, so
 * that a flood from one address does not lock an account's owner out. */
enum throttle_subject { THROTTLE_ADDRESS, THROTTLE_PAIR, THROTTLE_ACCOUNT, THROTTLE_N_SUBJECTS };

struct throttle_options {
    struct rate_limit limits[THROTTLE_N_ATTEMPTS][THROTTLE_N_SUBJECTS]; /* quota 0: no limit */
    size_t entries; /* callers that the table remembers; 16 bytes each */
};

/* -ENOMEM, -EIO (no random numbers). */
int throttle_new(const struct throttle_options *options, struct throttle **ret) MUST_CHECK;
void throttle_free(struct throttle *throttle);

/* What counts: for shared_rate_use_redis() before the first attempt, and shared_rate_set_secret(),
 * since Redis must hold neither addresses nor e-mail addresses. */
struct shared_rate *throttle_rate(struct throttle *throttle);

/* address: an IP address, of whose IPv6 form the first 64 bits count; {NULL, 0}: of this machine.
 * account: an e-mail address's key, or what stands for it (any bytes). Returns -ENOMEM, or runs
 * done exactly once: at once, or on the engine thread of Redis within its time-out. The arena must
 * outlive done.
 */
int throttle_ask(struct throttle *throttle, struct arena *arena, enum throttle_attempt attempt,
                 struct str address, struct str account, shared_rate_done_fn *done,
                 void *user) MUST_CHECK;

#endif
