/* What waits for callers who do not read it. How much of an answer a caller takes is his to say:
 * the core keeps the rest, and knows no end to it (1.51: a resource quota is of what comes in).
 * Whoever opens the window of none of his streams would so hold an answer of the largest size for
 * each call that may be in work. So what is made for callers for whom nothing is kept
 * (is_preferred) has a limit together. Beyond it those calls are ended that have waited longest
 * since anything of them was taken: who reads waits for less time than who does not.
 *
 * Any thread. The lock is taken last, and a call is ended under no other of ours. */
#include "grpc/internal.h"

#include "base/log.h"

#include <assert.h>

#define MAX_HELD ((size_t)64 << 20)
#define LOG_PAUSE NSEC_PER_SEC

void held_init(struct held *held)
{
    pthread_mutex_init(&held->lock, NULL);
    TAILQ_INIT(&held->calls);
}

void held_free(struct held *held)
{
    assert(TAILQ_EMPTY(&held->calls));
    pthread_mutex_destroy(&held->lock);
}

bool held_is_counted(struct rpc_call *call)
{
    const struct rpc_server_options *options = &call->server->options;

    return call->core &&
           !(options->is_preferred && options->is_preferred(options->is_preferred_context, call));
}

/* The lock is held. */
static void set(struct held *held, struct rpc_call *call, size_t n)
{
    size_t before = atomic_load(&call->held);
    bool comes = before == 0 && n > 0, is_taken = n < before;

    if (is_taken)
        TAILQ_REMOVE(&held->calls, call, among_held);
    if (comes || (is_taken && n > 0))
        TAILQ_INSERT_TAIL(&held->calls, call, among_held);
    atomic_store(&call->held, n);
    atomic_fetch_add(&held->bytes, n - before); /* less too: modulo its range */
}

void held_set(struct rpc_call *call, size_t n)
{
    struct held *held = &call->server->held;

    if (n < HELD_LEAST)
        n = 0;
    if (n == atomic_load_explicit(&call->held, memory_order_relaxed))
        return;
    pthread_mutex_lock(&held->lock);
    if (!call->unread) /* or it is about to go */
        set(held, call, n);
    pthread_mutex_unlock(&held->lock);
}

/* The call that has waited longest, with a reference, when too much waits. */
static struct rpc_call *take_oldest(struct held *held, bool *ret_logs)
{
    struct rpc_call *call = NULL;
    int64_t now = clock_monotonic_ns();

    pthread_mutex_lock(&held->lock);
    if (atomic_load(&held->bytes) > MAX_HELD) {
        call = TAILQ_FIRST(&held->calls);
        rpc_call_ref(call);
        call->unread = true;
        set(held, call, 0);
        *ret_logs = held->logged_ns == 0 || now - held->logged_ns > LOG_PAUSE;
        if (*ret_logs)
            held->logged_ns = now;
    }
    pthread_mutex_unlock(&held->lock);
    return call;
}

void held_enforce(struct rpc_server *server)
{
    struct held *held = &server->held;
    struct rpc_call *call;
    bool logs = false;

    while (atomic_load_explicit(&held->bytes, memory_order_relaxed) > MAX_HELD &&
           (call = take_oldest(held, &logs)) != NULL) {
        metrics_add(&held->ended, 1);
        if (logs)
            log_warn("callers do not read their answers: the oldest are ended",
                     LOG_S("rpc", call->method->path));
        if (call->stream)
            stream_give_up(call);
        else
            grpc_call_cancel_with_status(call->core, GRPC_STATUS_RESOURCE_EXHAUSTED,
                                         "the answer was not read", NULL);
        rpc_call_unref(call);
    }
}
