/* What any thread may call: making and submitting commands; opening and closing. */
#include "redis/internal.h"

#include <assert.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_MS 250
#define MAX_TIMEOUT_MS 60000
#define DEFAULT_BEAT_MS 5000
#define DEFAULT_QUEUE 1024
#define MAX_QUEUE 1000000
#define MAX_PORT 65535

/* ---- commands ---- */

int redis_format(const struct str *words, size_t n, char **ret)
{
    const char *argv[REDIS_MAX_WORDS];
    size_t lengths[REDIS_MAX_WORDS];
    int length;

    assert(n <= REDIS_MAX_WORDS);
    for (size_t i = 0; i < n; i++) {
        argv[i] = words[i].p ? words[i].p : "";
        lengths[i] = words[i].n;
    }
    length = redisFormatCommandArgv(ret, (int)n, argv, lengths);
    return length < 0 ? -ENOMEM : length;
}

struct redis_command *redis_command(struct redis *redis, struct arena *arena,
                                    const struct str *words, size_t n)
{
    struct redis_command *command = arena_calloc(arena, 1, sizeof(*command));
    char *wire;
    int length = command ? redis_format(words, n, &wire) : -ENOMEM;

    if (length < 0)
        return NULL;
    command->redis = redis;
    command->wire = arena_copy(arena, (struct str){wire, (size_t)length});
    redisFreeCommand(wire);
    return command->wire.p ? command : NULL;
}

static void wake_engine(struct redis *redis)
{
    uint64_t one = 1;
    /* The only failure is a full counter, and then the engine is awake already. */
    ssize_t n UNUSED = write(redis->doorbell_fd, &one, sizeof(one));
}

int redis_submit(struct redis_command *command, redis_done_fn *done, void *user)
{
    struct redis *redis = command->redis;
    bool first, accepted;

    if (!redis_ready(redis) || redis_is_subscriber(redis))
        return -ENOTCONN;
    if (atomic_fetch_add(&redis->n_commands, 1) >= redis->options.max_queue) {
        atomic_fetch_sub(&redis->n_commands, 1);
        return -ENOBUFS;
    }
    command->done = done;
    command->user = user;
    pthread_mutex_lock(&redis->lock);
    accepted = !redis->closing;
    first = TAILQ_EMPTY(&redis->incoming); /* one ring is enough */
    if (accepted) {
        /* Under the lock, so that what waits is in the order of its time. */
        command->due_ns = clock_monotonic_ns() + redis->options.timeout_ms * NSEC_PER_MSEC;
        TAILQ_INSERT_TAIL(&redis->incoming, command, next);
    }
    pthread_mutex_unlock(&redis->lock);
    if (!accepted) {
        atomic_fetch_sub(&redis->n_commands, 1);
        return -ENOTCONN;
    }
    if (first)
        wake_engine(redis);
    return 0;
}

/* ---- channels ---- */

static int want(struct redis *redis, struct str channel, bool wanted)
{
    struct channel_change *change = malloc(sizeof(*change) + channel.n);
    bool first;

    assert(redis_is_subscriber(redis));
    if (!change)
        return -ENOMEM;
    change->wanted = wanted;
    change->n = channel.n;
    memcpy(change->name, channel.p, channel.n);
    pthread_mutex_lock(&redis->lock);
    first = STAILQ_EMPTY(&redis->changes);
    STAILQ_INSERT_TAIL(&redis->changes, change, next);
    pthread_mutex_unlock(&redis->lock);
    if (first)
        wake_engine(redis);
    return 0;
}

int redis_subscribe(struct redis *redis, struct str channel)
{
    return want(redis, channel, true);
}

int redis_unsubscribe(struct redis *redis, struct str channel)
{
    return want(redis, channel, false);
}

bool redis_ready(const struct redis *redis)
{
    return atomic_load(&redis->ready);
}

bool redis_get_int(const struct redis_result *result, size_t index, int64_t *ret)
{
    const struct redisReply *list = result->reply;

    if (!list || list->type != REDIS_REPLY_ARRAY || index >= list->elements ||
        list->element[index]->type != REDIS_REPLY_INTEGER)
        return false;
    *ret = list->element[index]->integer;
    return true;
}

bool redis_get_text(const struct redis_result *result, size_t index, struct str *ret)
{
    const struct redisReply *list = result->reply;

    if (!list || list->type != REDIS_REPLY_ARRAY || index >= list->elements ||
        list->element[index]->type != REDIS_REPLY_STRING)
        return false;
    *ret = (struct str){list->element[index]->str, (size_t)list->element[index]->len};
    return true;
}

/* ---- opening and closing ---- */

static int parse_address(struct redis *redis, struct str address)
{
    const char *colon = address.n ? memrchr(address.p, ':', address.n) : NULL;
    struct str host = {address.p, colon ? (size_t)(colon - address.p) : 0};
    int64_t port;

    if (str_starts(address, STR("unix:"))) {
        redis->path = arena_copy(&redis->arena, str_skip(address, 5)).p;
        return address.n > 5 ? (redis->path ? 0 : -ENOMEM) : -EINVAL;
    }
    if (!colon || str_to_int64(str_skip(address, host.n + 1), &port) < 0 || port < 1 ||
        port > MAX_PORT)
        return -EINVAL;
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct str){host.p + 1, host.n - 2};
    redis->port = (int)port;
    redis->host = arena_copy(&redis->arena, host).p;
    return host.n > 0 ? (redis->host ? 0 : -ENOMEM) : -EINVAL;
}

static int set_options(struct redis *redis, const struct redis_options *options)
{
    struct redis_options *o = &redis->options;

    *o = *options;
    o->timeout_ms = o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
    o->max_queue = o->max_queue ? o->max_queue : DEFAULT_QUEUE;
    o->beat_ms = o->beat_ms ? o->beat_ms : DEFAULT_BEAT_MS;
    if (o->timeout_ms < 0 || o->timeout_ms > MAX_TIMEOUT_MS || o->beat_ms < 0 ||
        o->beat_ms > MAX_TIMEOUT_MS || o->max_queue > MAX_QUEUE)
        return -EINVAL;
    o->username = arena_copy(&redis->arena, options->username);
    o->password = arena_copy(&redis->arena, options->password);
    if (!o->username.p || !o->password.p)
        return -ENOMEM;
    return parse_address(redis, options->address);
}

static void release(struct redis *redis)
{
    redis_engine_free(&redis->engine);
    if (redis->doorbell_fd >= 0)
        close(redis->doorbell_fd);
    if (redis->options.password.n > 0)
        explicit_bzero((char *)redis->options.password.p, redis->options.password.n);
    pthread_mutex_destroy(&redis->lock);
    arena_free(&redis->arena);
    free(redis);
}

static int start(struct redis *redis)
{
    int r;

    redis->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (redis->doorbell_fd < 0)
        return -errno;
    r = redis_engine_init(redis);
    return r < 0 ? r : -pthread_create(&redis->thread, NULL, redis_engine_main, redis);
}

int redis_open(const struct redis_options *options, struct redis **ret)
{
    struct redis *redis = calloc(1, sizeof(*redis));
    int r;

    if (!redis)
        return -ENOMEM;
    redis->doorbell_fd = -1;
    pthread_mutex_init(&redis->lock, NULL);
    TAILQ_INIT(&redis->incoming);
    STAILQ_INIT(&redis->changes);
    arena_init(&redis->arena, 64 * 1024);
    r = set_options(redis, options);
    if (r == 0)
        r = start(redis);
    if (r < 0) {
        release(redis);
        return r;
    }
    *ret = redis;
    return 0;
}

void redis_close(struct redis *redis)
{
    if (!redis)
        return;
    pthread_mutex_lock(&redis->lock);
    redis->closing = true;
    pthread_mutex_unlock(&redis->lock);
    wake_engine(redis);
    pthread_join(redis->thread, NULL);
    release(redis);
}
