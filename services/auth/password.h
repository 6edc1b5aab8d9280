/* Password hashing: Argon2id (RFC 9106) on threads of its own that come after everything else on
 * the machine, so that a flood of sign-ins delays nothing but sign-ins. Waiting work is bounded. */
#ifndef STOA_AUTH_PASSWORD_H
#define STOA_AUTH_PASSWORD_H

#include "base/arena.h"

#include <stdatomic.h>

struct password_pool; /* any thread */

struct password_pool_options {
    unsigned threads; /* that hash; 1 to 256 */
    size_t max_queue; /* jobs that wait for one; 1 or more */
};

enum password_outcome {
    PASSWORD_DONE,      /* hashed; or verified: it is the right one */
    PASSWORD_WRONG,     /* verified: it is not */
    PASSWORD_DEADLINE,  /* nobody would have waited for the answer */
    PASSWORD_CANCELLED, /* the caller had gone */
    PASSWORD_FAILED,    /* no memory, a damaged hash, or the pool is closing */
};

/* Runs once for each accepted job, on a thread of the pool that doesn't hash (at the end on the one
 * that frees the pool), and never waits; what it got is valid until it returns.
 * encoded: a new hash as PHC string; NULL after verifying. */
typedef void password_done_fn(void *user, enum password_outcome outcome, const char *encoded);

struct password_request {
    char *password;               /* UTF-8, in the arena; taken over: wiped in every case */
    int64_t deadline_ns;          /* clock_monotonic_ns() terms */
    const atomic_bool *cancelled; /* may be NULL */
    password_done_fn *done;
    void *user;
};

/* How many threads may hash so that a core is left for everything else, and half of the memory that
 * the container may take: one less than the cores that this process may use, at least one. Without
 * the limit by memory, the first crowd on a machine with many cores would get the process killed.
 */
unsigned password_pool_threads(void);
unsigned password_pool_threads_of(unsigned cores, const char *cgroup);

/* How many jobs may wait for so many threads: one for each, at least three. The length of a queue
 * is what everybody waits once more comes than can be done, so this bounds a job's time to that of
 * two of them (of four with one thread), which is no more than two and a half times what chance
 * alone makes of it at a tenth of the load. A shorter queue would leave threads idle: with this one
 * they do 87 % of what they can when as much comes at random times, and all of it from twice that
 * on (M/D/n/2n).
 */
size_t password_pool_queue(unsigned threads);

/* -EINVAL, -ENOMEM, -EAGAIN (threads). */
int password_pool_new(const struct password_pool_options *options,
                      struct password_pool **ret) MUST_CHECK;

/* Ends waiting jobs with PASSWORD_FAILED, then the threads. */
void password_pool_free(struct password_pool *pool);

struct password_pool_stats {
    size_t waiting, max_queue;
    unsigned busy, threads;          /* that hash */
    uint64_t done, dropped, refused; /* jobs: nobody waited any more; the queue was full */
};
void password_pool_stats(struct password_pool *pool, struct password_pool_stats *ret);

/* Whether a job would be taken now. */
bool password_pool_has_room(struct password_pool *pool);

/* Both: 0, -ENOBUFS (too many are waiting), -ENOMEM, -EILSEQ (not UTF-8). The arena must outlive
 * done, and is not touched after it. */
int password_hash(struct password_pool *pool, struct arena *arena,
                  const struct password_request *request) MUST_CHECK;

/* encoded: a PHC string; {NULL, 0}: there is no such account. Then the same work is done, and the
 * outcome is PASSWORD_WRONG. */
int password_verify(struct password_pool *pool, struct arena *arena,
                    const struct password_request *request, struct str encoded) MUST_CHECK;

#endif
