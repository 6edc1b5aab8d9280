/* Streams that are made while they are sent. A few messages are with the transport at a time; when
 * it has taken them, `drained` goes on. So a stream without end costs no more than a short one, and
 * a caller who does not read stops it. */
#include "testserver.h"

#include <errno.h>

/* Bytes that may be queued at a time; one message may be larger. */
#define WINDOW ((int64_t)64 << 10)

struct producer {
    struct timer timer;
    pthread_mutex_t lock;
    struct rpc_call *call;
    const struct producer_source *source;
    void *state;
    enum production due; /* known and not done yet */
    bool waits;          /* for the timer, which holds a reference to the call */
    bool ended;          /* by us or by the caller */
    int64_t queued;      /* bytes, since the queue was last empty */
};

static void fire(struct timer *timer);

struct producer *producer_new(struct rpc_call *call, const struct producer_source *source,
                              void *state)
{
    struct producer *producer = arena_calloc(rpc_call_arena(call), 1, sizeof(*producer));

    if (!producer)
        return NULL;
    *producer =
        (struct producer){.timer = {.fire = fire}, .call = call, .source = source, .state = state};
    pthread_mutex_init(&producer->lock, NULL);
    rpc_call_set_context(call, producer);
    return producer;
}

void *producer_state(struct producer *producer)
{
    return producer->state;
}

/* ---- the next step; the lock is held ---- */

void producer_fail(struct producer *producer, enum rpc_code code, struct str message)
{
    if (producer->ended)
        return;
    producer->ended = true;
    rpc_stream_cancel(producer->call, &(struct rpc_error){.code = code, .message = message});
}

static void wait_before(struct producer *producer, int64_t delay_us)
{
    rpc_call_ref(producer->call);
    producer->waits = true;
    if (timer_set(&producer->timer, clock_monotonic_ns() + delay_us * NSEC_PER_USEC) == 0)
        return;
    producer->waits = false;
    producer_fail(producer, RPC_RESOURCE_EXHAUSTED, STR("no memory for a timer"));
    rpc_call_unref(producer->call);
}

static void send_message(struct producer *producer)
{
    int64_t size = producer->source->send(producer->state, producer->call);

    if (size == -ENOBUFS) { /* too large beside what is queued */
        producer->due = PRODUCE_MESSAGE;
        producer->queued = WINDOW;
    } else if (size < 0) {
        producer_fail(producer, RPC_INTERNAL, STR("the message could not be sent"));
    } else {
        producer->queued += size + 1;
    }
}

static void find_next(struct producer *producer)
{
    int64_t delay_us = 0;

    producer->due = producer->source->next(producer->state, &delay_us);
    if (producer->due != PRODUCE_NOTHING && delay_us > 0)
        wait_before(producer, delay_us);
}

static void do_next(struct producer *producer)
{
    enum production due = producer->due;

    producer->due = PRODUCE_NOTHING;
    if (due == PRODUCE_MESSAGE) {
        send_message(producer);
    } else {
        producer->ended = true;
        producer->source->end(producer->state, producer->call);
    }
}

static void go_on(struct producer *producer)
{
    while (!producer->ended && !producer->waits && producer->queued < WINDOW) {
        if (timers_hurried()) {
            producer_fail(producer, RPC_UNAVAILABLE, STR("the server is stopping"));
            return;
        }
        if (producer->due == PRODUCE_NOTHING)
            find_next(producer);
        if (producer->due == PRODUCE_NOTHING || producer->waits)
            return;
        do_next(producer);
    }
}

/* ---- what makes it go on ---- */

static void fire(struct timer *timer)
{
    struct producer *producer = CONTAINER_OF(timer, struct producer, timer);

    pthread_mutex_lock(&producer->lock);
    producer->waits = false;
    go_on(producer);
    pthread_mutex_unlock(&producer->lock);
    rpc_call_unref(producer->call);
}

void producer_lock(struct producer *producer)
{
    pthread_mutex_lock(&producer->lock);
}

void producer_unlock(struct producer *producer)
{
    go_on(producer);
    pthread_mutex_unlock(&producer->lock);
}

void producer_drained(void *service UNUSED, struct rpc_call *call)
{
    struct producer *producer = rpc_call_context(call);

    if (!producer) /* it was refused when it opened */
        return;
    pthread_mutex_lock(&producer->lock);
    producer->queued = 0;
    go_on(producer);
    pthread_mutex_unlock(&producer->lock);
}

void producer_closed(void *service UNUSED, struct rpc_call *call)
{
    struct producer *producer = rpc_call_context(call);

    if (!producer)
        return;
    pthread_mutex_lock(&producer->lock);
    producer->ended = true;
    pthread_mutex_unlock(&producer->lock);
    if (timer_cancel(&producer->timer))
        rpc_call_unref(call);
}
