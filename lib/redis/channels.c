/* Which channels a subscriber's connection hears. On the engine thread.
 *
 *     OFF --SUBSCRIBE--> COMING --answered--> ON --UNSUBSCRIBE--> GOING --answered--> OFF
 *
 * hiredis keeps one callback a channel, and forgets it when the answer to an UNSUBSCRIBE comes,
 * also when a SUBSCRIBE has gone out after that. So a channel waits for the answer to the one
 * before it asks for the other.
 *
 * One channel that nobody publishes in is always subscribed: hiredis then never leaves the mode,
 * and subscribing to it once more is answered, which shows that Redis is alive. */
#include "base/log.h"
#include "redis/internal.h"

#include <errno.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define ALIVE STR("stoa:alive")

enum channel_state { OFF, COMING, ON, GOING };

struct channel {
    bool wanted;
    enum channel_state state;
    UT_hash_handle hh;
    size_t n;
    char name[];
};

static struct channel *find(struct engine *e, struct str name)
{
    struct channel *channel;

    HASH_FIND(hh, e->channels, name.p, name.n, channel);
    return channel;
}

static struct channel *add(struct engine *e, struct str name)
{
    struct channel *channel = calloc(1, sizeof(*channel) + name.n);
    unsigned before = HASH_COUNT(e->channels);

    if (!channel)
        return NULL;
    channel->n = name.n;
    memcpy(channel->name, name.p, name.n);
    HASH_ADD_KEYPTR(hh, e->channels, channel->name, channel->n, channel);
    if (HASH_COUNT(e->channels) == before) {
        free(channel);
        return NULL;
    }
    return channel;
}

static void forget(struct engine *e, struct channel *channel)
{
    HASH_DEL(e->channels, channel);
    free(channel);
}

static void on_reply(redisAsyncContext *context, void *reply, void *user);

static int ask(struct engine *e, struct str command, struct str name)
{
    const struct str words[] = {command, name};
    char *wire;
    int length = redis_format(words, ARRAY_SIZE(words), &wire), r;

    if (length < 0)
        return length;
    r = redisAsyncFormattedCommand(e->context, on_reply, NULL, wire, (size_t)length);
    redisFreeCommand(wire);
    return r == REDIS_OK ? 0 : -ENOMEM;
}

/* Asks for what the channel is to be. It may be gone after. */
static int settle(struct engine *e, struct channel *channel)
{
    struct str name = {channel->name, channel->n};

    if (channel->state == OFF && !channel->wanted) {
        forget(e, channel);
    } else if (e->subscribing && channel->state == OFF) {
        channel->state = COMING;
        return ask(e, STR("SUBSCRIBE"), name);
    } else if (e->subscribing && channel->state == ON && !channel->wanted) {
        channel->state = GOING;
        return ask(e, STR("UNSUBSCRIBE"), name);
    }
    return 0;
}

/* "subscribe", "unsubscribe" or "message"; the channel; how many there are, or the message. */
static void on_reply(redisAsyncContext *context, void *reply, void *user)
{
    struct engine *e = context->data;
    const redisReply *r = reply;
    const struct redis_options *options;
    struct channel *channel;
    struct str kind, name;

    (void)user;
    if (!e || !r || r->type != REDIS_REPLY_ARRAY || r->elements < 3)
        return; /* the connection's end says it all */
    options = &e->redis->options;
    kind = (struct str){r->element[0]->str, r->element[0]->len};
    name = (struct str){r->element[1]->str, r->element[1]->len};
    if (str_eq(name, ALIVE)) {
        e->beating = false;
        e->beat_ns = clock_monotonic_ns() + options->beat_ms * NSEC_PER_MSEC;
        engine_is_ready(e); /* it is subscribed after all others */
        return;
    }
    channel = find(e, name);
    if (!channel)
        return;
    if (str_eq(kind, STR("message"))) {
        metrics_add(&e->redis->counts.messages, 1);
        if (channel->wanted && r->element[2]->type == REDIS_REPLY_STRING)
            options->on_message(options->on_message_user, name,
                                (struct str){r->element[2]->str, r->element[2]->len});
        return;
    }
    channel->state = str_eq(kind, STR("subscribe")) ? ON : OFF;
    if (settle(e, channel) < 0)
        e->beat_ns = 0; /* the next sign of life fails too, and then all is asked for anew */
}

int channels_begin(struct engine *e)
{
    struct channel *channel, *next;

    e->subscribing = true;
    HASH_ITER(hh, e->channels, channel, next)
    {
        if (settle(e, channel) < 0)
            return -ENOMEM;
    }
    return ask(e, STR("SUBSCRIBE"), ALIVE);
}

int channels_beat(struct engine *e)
{
    e->beating = true;
    e->beat_ns = clock_monotonic_ns() + e->redis->options.timeout_ms * NSEC_PER_MSEC;
    return ask(e, STR("SUBSCRIBE"), ALIVE);
}

/* ---- what others want ---- */

static int apply(struct engine *e, const struct channel_change *change)
{
    struct str name = {change->name, change->n};
    struct channel *channel = find(e, name);

    if (!channel && change->wanted)
        channel = add(e, name);
    if (!channel && change->wanted)
        log_error("no memory for a channel: its messages are not heard", LOG_S("channel", name));
    if (!channel)
        return 0;
    channel->wanted = change->wanted;
    return settle(e, channel);
}

int channels_change(struct engine *e)
{
    struct redis *redis = e->redis;
    struct change_list taken = STAILQ_HEAD_INITIALIZER(taken);
    struct channel_change *change;
    int r = 0;

    pthread_mutex_lock(&redis->lock);
    STAILQ_CONCAT(&taken, &redis->changes);
    pthread_mutex_unlock(&redis->lock);
    while ((change = STAILQ_FIRST(&taken)) != NULL) {
        STAILQ_REMOVE_HEAD(&taken, next);
        if (apply(e, change) < 0)
            r = -ENOMEM;
        free(change);
    }
    return r;
}

/* ---- the end ---- */

void channels_lost(struct engine *e)
{
    e->subscribing = e->beating = false;
    for (struct channel *channel = e->channels; channel; channel = channel->hh.next)
        channel->state = OFF; /* channels_begin() forgets those that are wanted no longer */
}

void channels_free(struct engine *e)
{
    struct channel *channel = e->channels, *next;
    struct channel_change *change;

    HASH_CLEAR(hh, e->channels); /* its table; they are still a list */
    for (; channel; channel = next) {
        next = channel->hh.next;
        free(channel);
    }
    while (e->redis && (change = STAILQ_FIRST(&e->redis->changes)) != NULL) {
        STAILQ_REMOVE_HEAD(&e->redis->changes, next);
        free(change);
    }
}
