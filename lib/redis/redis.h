/* Redis: one connection, driven by one engine thread, on hiredis and libevent.
 *
 * Commands go out in the order in which they were submitted; each one's completion runs on the
 * engine thread, which may finish an RPC there and then. Completions must not block.
 *
 * Redis is a help and never the truth, so nobody waits for a Redis that is away: the caller hears
 * at once, or in bounded time, and goes on without it.
 *
 *   not connected        redis_submit() returns -ENOTCONN at once
 *   queue full           redis_submit() returns -ENOBUFS at once
 *   an error of Redis    REDIS_REFUSED, with its words
 *   no answer in time    REDIS_TIMED_OUT; the connection is given up
 *   connection lost      REDIS_LOST: nobody knows whether the command ran; it is not sent again
 *
 * Answers come in order, so when one is late all behind it would be, too: a time-out gives the
 * connection up, with all that is in flight. Then the engine connects again, with a back-off that
 * grows to a second. A connection counts once Redis has answered a PING on it: a stopped process
 * also accepts connections, and one that is still loading its data is of no use.
 *
 * A subscriber has a connection of its own, which hears channels and takes no commands.
 *
 * The process ignores SIGPIPE, as every service does: hiredis writes to what may be closed.
 */
#ifndef STOA_REDIS_REDIS_H
#define STOA_REDIS_REDIS_H

#include "base/arena.h"
#include "base/buf.h"

struct redis;
struct redisReply; /* hiredis' */

struct redis_options {
    struct str address;            /* "unix:/run/redis.sock", "HOST:PORT", "[::1]:PORT" */
    struct str username, password; /* for AUTH; without a password there is none */
    int64_t timeout_ms;            /* for an answer, and for a connection; 0: 250 */
    size_t max_queue;              /* commands waiting or in flight; 0: 1024 */
    /* Called on the engine thread when Redis comes into reach and goes out of it; also once at
     * redis_close() if it was there. May be NULL. */
    void (*on_ready)(void *user, bool ready);
    void *on_ready_user;
    /* If it is set, this is a subscriber's connection: redis_submit() returns -ENOTCONN. Called
     * with each message of a subscribed channel, on the engine thread; the strings live during the
     * call. on_ready then says whether all subscriptions are in effect, or messages may get lost.
     */
    void (*on_message)(void *user, struct str channel, struct str message);
    void *on_message_user;
    int64_t beat_ms; /* how often a subscriber's connection is tried; 0: 5,000 */
};

enum redis_outcome { REDIS_ANSWERED, REDIS_REFUSED, REDIS_TIMED_OUT, REDIS_LOST };

/* What became of a command; valid during the completion. */
struct redis_result {
    enum redis_outcome outcome;
    struct str message; /* REDIS_REFUSED: Redis' own words, "NOSCRIPT ..."; for the log */
    const struct redisReply *reply; /* REDIS_ANSWERED */
};

struct redis_command;
typedef void redis_done_fn(void *user, const struct redis_result *result);

/* Starts the engine thread, which connects in the background and again after every loss. Strings
 * are copied. -EINVAL (address, limits), -ENOMEM, -EAGAIN (thread). */
int redis_open(const struct redis_options *options, struct redis **ret) MUST_CHECK;

/* Fails what is queued with REDIS_LOST, ends the thread. */
void redis_close(struct redis *redis);

/* A connection, and what a service has it for: a label. */
struct redis_use {
    const char *name;
    const struct redis *redis; /* NULL: left out */
};
/* Appends the families stoa_redis_... of a service's connections (metrics/server.h). Any thread. */
void redis_write_metrics(const struct redis_use *uses, size_t n, struct buf *text);

/* Any thread: whether redis_submit() would send now. */
bool redis_ready(const struct redis *redis);

#define REDIS_MAX_WORDS 1024

/* A command of n words (bytes, any), REDIS_MAX_WORDS at most, in the arena, to be submitted once.
 * The arena must outlive the completion. NULL without memory. */
struct redis_command *redis_command(struct redis *redis, struct arena *arena,
                                    const struct str *words, size_t n) MUST_CHECK;

/* Any thread. done runs exactly once, on the engine thread, unless an error is returned: -ENOTCONN,
 * -ENOBUFS. */
int redis_submit(struct redis_command *command, redis_done_fn *done, void *user) MUST_CHECK;

/* A timer on the engine thread: runs fn once, so long after it was started. Starting it again
 * before begins the time anew. redis_close() frees it, and nothing runs after. NULL without memory.
 */
struct redis_timer;
struct redis_timer *redis_timer_new(struct redis *redis, void (*fn)(void *user),
                                    void *user) MUST_CHECK;
/* On the engine thread, as completions are. */
void redis_timer_start(struct redis_timer *timer, int64_t ns);

/* Any thread, on a subscriber's connection: the channel is heard from some moment on, also after
 * every loss of the connection, until it is unsubscribed. Both do nothing when it is so already.
 * -ENOMEM. */
int redis_subscribe(struct redis *redis, struct str channel) MUST_CHECK;
int redis_unsubscribe(struct redis *redis, struct str channel) MUST_CHECK;

/* The integer at an index of a list; false when the answer is no list, or has none there. */
bool redis_get_int(const struct redis_result *result, size_t index, int64_t *ret) MUST_CHECK;
/* The same of a string, which lives during the completion. */
bool redis_get_text(const struct redis_result *result, size_t index, struct str *ret) MUST_CHECK;

#endif
