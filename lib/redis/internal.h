/* Private to lib/redis.
 *
 *   client.c   what any thread may call, and opening and closing
 *   engine.c   the engine thread: its connection, what is in flight, time; owns struct engine
 *   channels.c the same of a subscriber's connection: which channels are heard
 *
 * States of the connection (enum connection_state):
 *
 *   DOWN --retry time--> GREETING --PING answered--> READY
 *    ^                       |                         |
 *    `----refused, late------'-----lost, late----------'
 *
 * A subscriber's connection subscribes between PONG and READY.
 */
#ifndef STOA_REDIS_INTERNAL_H
#define STOA_REDIS_INTERNAL_H

#include "metrics/metrics.h"
#include "redis/redis.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

struct event;
struct event_base;
struct redisAsyncContext;

struct redis_command {
    struct redis *redis;
    struct str wire; /* as it is sent */
    redis_done_fn *done;
    void *user;
    int64_t due_ns;
    TAILQ_ENTRY(redis_command) next;
};
TAILQ_HEAD(command_list, redis_command);

struct redis_timer {
    struct event *event;
    void (*fn)(void *user);
    void *user;
    SLIST_ENTRY(redis_timer) next;
};

/* Of a subscriber: one that is to be heard, or is, or was a moment ago. */
struct channel;

/* What another thread wants of a channel. */
struct channel_change {
    bool wanted;
    STAILQ_ENTRY(channel_change) next;
    size_t n;
    char name[];
};
STAILQ_HEAD(change_list, channel_change);

enum connection_state { CONNECTION_DOWN, CONNECTION_GREETING, CONNECTION_READY };

/* The engine thread's alone. */
struct engine {
    struct redis *redis;
    struct event_base *base;
    struct event *doorbell, *timer;
    enum connection_state state;
    struct redisAsyncContext *context; /* NULL when down */
    struct command_list in_flight;     /* in the order of their answers */
    struct channel *channels;          /* by name */
    bool subscribing;                  /* the connection takes subscriptions */
    bool beating;                      /* an answer that shows that it is alive is to come */
    int64_t beat_ns;                   /* when it is late, or else when to ask for it */
    bool late;                         /* the connection is given up since an answer is late */
    int64_t due_ns;                    /* of the greeting; when down, of the next try */
    int64_t backoff_ns, logged_ns;
    SLIST_HEAD(, redis_timer) timers; /* all; under the lock */
};

/* What /metrics tells. */
struct redis_counts {
    metrics_number connects, losses, failures, messages;
    metrics_number outcomes[REDIS_LOST + 1];
    struct metrics_histogram duration; /* of commands that were answered */
};

struct redis {
    struct redis_options options; /* with copies of the strings, in the arena */
    struct arena arena;
    const char *path; /* of a unix socket; NULL: host and port */
    const char *host;
    int port;
    int doorbell_fd; /* eventfd */
    pthread_t thread;
    struct engine engine;
    atomic_bool ready;
    atomic_size_t n_commands; /* waiting or in flight */
    struct redis_counts counts;

    pthread_mutex_t lock; /* guards what follows */
    struct command_list incoming;
    struct change_list changes;
    bool closing;
};

/* Writes words as Redis wants them, to be freed with redisFreeCommand(). Returns the length, or
 * -ENOMEM. */
int redis_format(const struct str *words, size_t n, char **ret) MUST_CHECK;

static inline bool redis_is_subscriber(const struct redis *redis)
{
    return redis->options.on_message;
}

/* ---- engine.c, for channels.c ---- */

/* All channels are heard. */
void engine_is_ready(struct engine *e);

/* ---- channels.c; on the engine thread ---- */

/* Subscribes to all that is wanted; engine_is_ready() is called when that is so. -ENOMEM. */
int channels_begin(struct engine *e) MUST_CHECK;
/* What other threads have asked for since. -ENOMEM: some of it is not so. */
int channels_change(struct engine *e) MUST_CHECK;
/* The connection is gone. */
void channels_lost(struct engine *e);
/* Asks for a sign of life. -ENOMEM. */
int channels_beat(struct engine *e) MUST_CHECK;
void channels_free(struct engine *e);

/* -ENOMEM. */
int redis_engine_init(struct redis *redis) MUST_CHECK;
void redis_engine_free(struct engine *e);
void *redis_engine_main(void *redis); /* the thread */

#endif
