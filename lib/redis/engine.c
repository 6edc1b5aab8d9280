/* The engine: one thread that connects, sends what was submitted, and runs completions. Everything
 * here runs on it but redis_engine_init() and redis_engine_free().
 *
 * hiredis tells of the end of a connection in two ways: it calls the callback of every command that
 * is in flight with no reply, and then on_disconnect() (or on_connect() when there never was one).
 * Both also happen inside redisAsyncFree(), by which we give a connection up.
 */
#include "base/log.h"
#include "redis/internal.h"

#include <errno.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
/* hiredis' adapters include hiredis by paths of its own. */
#include <hiredis/adapters/libevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BACKOFF_FIRST_NS (20 * NSEC_PER_MSEC)
#define BACKOFF_MAX_NS (1 * NSEC_PER_SEC)
#define LOG_INTERVAL_NS (10 * NSEC_PER_SEC)
#define CAUSE_BYTES 256

/* ---- completions ---- */

static void complete(struct redis_command *command, const struct redis_result *result)
{
    struct redis *redis = command->redis;

    atomic_fetch_sub(&redis->n_commands, 1);
    metrics_add(&redis->counts.outcomes[result->outcome], 1);
    if (result->outcome <= REDIS_REFUSED) /* Redis has answered */
        metrics_observe_ns(&redis->counts.duration, clock_monotonic_ns() - command->due_ns +
                                                        redis->options.timeout_ms * NSEC_PER_MSEC);
    command->done(command->user, result); /* command may be gone now */
}

static void fail(struct redis_command *command, enum redis_outcome outcome)
{
    complete(command, &(struct redis_result){.outcome = outcome});
}

static void on_reply(redisAsyncContext *context, void *reply, void *user)
{
    struct redis_command *command = user;
    struct engine *e = &command->redis->engine;
    const redisReply *r = reply;

    (void)context;
    TAILQ_REMOVE(&e->in_flight, command, next);
    if (!r)
        fail(command, e->late ? REDIS_TIMED_OUT : REDIS_LOST);
    else if (r->type == REDIS_REPLY_ERROR)
        complete(command,
                 &(struct redis_result){.outcome = REDIS_REFUSED, .message = {r->str, r->len}});
    else
        complete(command, &(struct redis_result){.outcome = REDIS_ANSWERED, .reply = r});
}

/* ---- the connection ---- */

static void announce(struct engine *e, bool ready)
{
    const struct redis_options *options = &e->redis->options;

    if (ready == atomic_load(&e->redis->ready))
        return;
    atomic_store(&e->redis->ready, ready);
    if (options->on_ready)
        options->on_ready(options->on_ready_user, ready);
}

/* The connection is gone: its context is hiredis' again. */
static void is_down(struct engine *e, const char *cause)
{
    int64_t now = clock_monotonic_ns();
    bool was_ready = e->state == CONNECTION_READY;

    channels_lost(e);
    e->state = CONNECTION_DOWN;
    e->context = NULL;
    e->late = false;
    e->backoff_ns = e->backoff_ns ? 2 * e->backoff_ns : BACKOFF_FIRST_NS;
    if (e->backoff_ns > BACKOFF_MAX_NS)
        e->backoff_ns = BACKOFF_MAX_NS;
    e->due_ns = now + e->backoff_ns;
    metrics_add(was_ready ? &e->redis->counts.losses : &e->redis->counts.failures, 1);
    if (was_ready)
        log_warn("redis connection lost", LOG_C("cause", cause));
    else if (!e->logged_ns || now - e->logged_ns >= LOG_INTERVAL_NS)
        log_warn("cannot connect to redis; trying again", LOG_C("cause", cause));
    else
        return;
    e->logged_ns = now;
}

static void give_up(struct engine *e, const char *cause)
{
    redisAsyncContext *context = e->context;
    char copy[CAUSE_BYTES]; /* the cause may be the context's own */

    snprintf(copy, sizeof(copy), "%s", cause);
    announce(e, false); /* what completions submit is refused at once */
    context->data = NULL;
    redisAsyncFree(context);
    is_down(e, copy);
}

static void on_disconnect(const redisAsyncContext *context, int status)
{
    struct engine *e = context->data;

    (void)status;
    if (!e)
        return; /* given up */
    announce(e, false);
    is_down(e, context->err ? context->errstr : "closed");
}

static void on_connect(const redisAsyncContext *context, int status)
{
    if (status != REDIS_OK && context->data)
        is_down(context->data, context->errstr);
}

void engine_is_ready(struct engine *e)
{
    if (e->state == CONNECTION_READY)
        return;
    metrics_add(&e->redis->counts.connects, 1);
    e->state = CONNECTION_READY;
    e->backoff_ns = e->logged_ns = 0;
    log_info(redis_is_subscriber(e->redis) ? "redis subscribed" : "redis connected");
    announce(e, true);
}

/* The answer to AUTH or PING. */
static void on_greeted(redisAsyncContext *context, void *reply, void *user)
{
    struct engine *e = context->data;
    const redisReply *r = reply;

    if (!e || !r)
        return; /* the connection's end says it all */
    if (r->type == REDIS_REPLY_ERROR) {
        give_up(e, r->str);
        return;
    }
    if (!user)
        return; /* AUTH; PING's answer is still to come */
    if (!redis_is_subscriber(e->redis))
        engine_is_ready(e);
    else if (channels_begin(e) < 0)
        give_up(e, "out of memory");
}

static int send_words(struct engine *e, const struct str *words, size_t n, void *user)
{
    char *wire;
    int length = redis_format(words, n, &wire), r;

    if (length < 0)
        return length;
    r = redisAsyncFormattedCommand(e->context, on_greeted, user, wire, (size_t)length);
    explicit_bzero(wire, (size_t)length);
    redisFreeCommand(wire);
    return r == REDIS_OK ? 0 : -ENOMEM;
}

static int greet(struct engine *e)
{
    const struct redis_options *options = &e->redis->options;
    const struct str ping[] = {{"PING", 4}};
    const struct str with_user[] = {{"AUTH", 4}, options->username, options->password};
    const struct str without[] = {{"AUTH", 4}, options->password};
    int r = 0;

    if (options->password.n > 0 && options->username.n > 0)
        r = send_words(e, with_user, ARRAY_SIZE(with_user), NULL);
    else if (options->password.n > 0)
        r = send_words(e, without, ARRAY_SIZE(without), NULL);
    return r < 0 ? r : send_words(e, ping, ARRAY_SIZE(ping), e);
}

static void start_connecting(struct engine *e)
{
    const struct redis *redis = e->redis;
    redisAsyncContext *context = redis->path ? redisAsyncConnectUnix(redis->path)
                                             : redisAsyncConnect(redis->host, redis->port);

    e->due_ns = clock_monotonic_ns() + redis->options.timeout_ms * NSEC_PER_MSEC;
    e->state = CONNECTION_GREETING;
    e->context = context;
    if (!context) {
        is_down(e, "out of memory");
        return;
    }
    context->data = e;
    if (context->err)
        give_up(e, context->errstr);
    else if (redisLibeventAttach(context, e->base) != REDIS_OK ||
             redisAsyncSetConnectCallback(context, on_connect) != REDIS_OK ||
             redisAsyncSetDisconnectCallback(context, on_disconnect) != REDIS_OK || greet(e) < 0)
        give_up(e, "out of memory");
}

/* ---- timers ---- */

static void on_user_timer(int fd, short events, void *user)
{
    const struct redis_timer *timer = user;

    (void)fd;
    (void)events;
    timer->fn(timer->user);
}

/* Any thread: the engine's base is touched when it is started. */
struct redis_timer *redis_timer_new(struct redis *redis, void (*fn)(void *user), void *user)
{
    struct redis_timer *timer = calloc(1, sizeof(*timer));

    if (!timer)
        return NULL;
    *timer = (struct redis_timer){.fn = fn, .user = user};
    timer->event = event_new(redis->engine.base, -1, 0, on_user_timer, timer);
    if (!timer->event) {
        free(timer);
        return NULL;
    }
    pthread_mutex_lock(&redis->lock);
    SLIST_INSERT_HEAD(&redis->engine.timers, timer, next);
    pthread_mutex_unlock(&redis->lock);
    return timer;
}

static struct timeval timeval_of(int64_t ns)
{
    return (struct timeval){.tv_sec = ns / NSEC_PER_SEC,
                            .tv_usec = ns % NSEC_PER_SEC / NSEC_PER_USEC + 1};
}

void redis_timer_start(struct redis_timer *timer, int64_t ns)
{
    struct timeval wait = timeval_of(ns);

    event_add(timer->event, &wait);
}

static void free_timers(struct engine *e)
{
    struct redis_timer *timer;

    while ((timer = SLIST_FIRST(&e->timers)) != NULL) {
        SLIST_REMOVE_HEAD(&e->timers, next);
        event_free(timer->event);
        free(timer);
    }
}

/* ---- what was submitted ---- */

/* False: the engine must end. */
static bool take_incoming(struct redis *redis, struct command_list *ret)
{
    bool closing;

    TAILQ_INIT(ret);
    pthread_mutex_lock(&redis->lock);
    TAILQ_CONCAT(ret, &redis->incoming, next);
    closing = redis->closing;
    pthread_mutex_unlock(&redis->lock);
    return !closing;
}

static void send_command(struct engine *e, struct redis_command *command)
{
    if (e->state != CONNECTION_READY) {
        fail(command, REDIS_LOST);
        return;
    }
    TAILQ_INSERT_TAIL(&e->in_flight, command, next);
    if (redisAsyncFormattedCommand(e->context, on_reply, command, command->wire.p,
                                   command->wire.n) != REDIS_OK) {
        TAILQ_REMOVE(&e->in_flight, command, next);
        fail(command, REDIS_LOST);
    }
}

/* ---- time ---- */

static int64_t next_due(const struct engine *e)
{
    const struct redis_command *oldest = TAILQ_FIRST(&e->in_flight);

    if (e->state != CONNECTION_READY)
        return e->due_ns;
    if (redis_is_subscriber(e->redis))
        return e->beat_ns;
    return oldest ? oldest->due_ns : INT64_MAX;
}

/* The timer is left alone while it rings soon enough: when it rings too early it is set again. */
static void set_timer(struct engine *e)
{
    int64_t due = next_due(e), ns;
    struct timeval wait;

    if (due == INT64_MAX ||
        (e->state == CONNECTION_READY && event_pending(e->timer, EV_TIMEOUT, NULL)))
        return;
    ns = due - clock_monotonic_ns();
    wait = timeval_of(ns > 0 ? ns : 0);
    event_add(e->timer, &wait);
}

static void look_at_time(struct engine *e)
{
    if (next_due(e) > clock_monotonic_ns())
        return;
    if (e->state == CONNECTION_DOWN) {
        start_connecting(e);
    } else if (e->state == CONNECTION_READY && redis_is_subscriber(e->redis) && !e->beating) {
        if (channels_beat(e) < 0)
            give_up(e, "out of memory");
    } else {
        e->late = true;
        give_up(e, "no answer in time");
    }
}

/* ---- the loop ---- */

static void on_timer(int fd, short events, void *user)
{
    struct engine *e = user;

    (void)fd;
    (void)events;
    look_at_time(e);
}

static void on_doorbell(int fd, short events, void *user)
{
    struct engine *e = user;
    struct command_list taken;
    struct redis_command *command;
    uint64_t rings;
    ssize_t n UNUSED = read(fd, &rings, sizeof(rings));

    (void)events;
    if (!take_incoming(e->redis, &taken))
        event_base_loopbreak(e->base); /* redis_engine_main() then fails what is sent here */
    while ((command = TAILQ_FIRST(&taken)) != NULL) {
        TAILQ_REMOVE(&taken, command, next);
        send_command(e, command);
    }
    if (redis_is_subscriber(e->redis) && channels_change(e) < 0 && e->context)
        give_up(e, "out of memory"); /* all of it is asked for again */
}

void *redis_engine_main(void *arg)
{
    struct redis *redis = arg;
    struct engine *e = &redis->engine;

    start_connecting(e);
    do
        set_timer(e);
    while (event_base_loop(e->base, EVLOOP_ONCE) == 0 && !event_base_got_break(e->base));
    announce(e, false);
    if (e->context) {
        e->context->data = NULL;
        redisAsyncFree(e->context);
    }
    return NULL;
}

int redis_engine_init(struct redis *redis)
{
    struct engine *e = &redis->engine;

    e->redis = redis;
    TAILQ_INIT(&e->in_flight);
    e->base = event_base_new();
    if (!e->base)
        return -ENOMEM;
    e->doorbell = event_new(e->base, redis->doorbell_fd, EV_READ | EV_PERSIST, on_doorbell, e);
    e->timer = event_new(e->base, -1, 0, on_timer, e);
    return e->doorbell && e->timer && event_add(e->doorbell, NULL) == 0 ? 0 : -ENOMEM;
}

void redis_engine_free(struct engine *e)
{
    channels_free(e);
    free_timers(e);
    if (e->timer)
        event_free(e->timer);
    if (e->doorbell)
        event_free(e->doorbell);
    if (e->base)
        event_base_free(e->base);
}
