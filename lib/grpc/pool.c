/* Call objects: a pool of them, the requests posted with them, and the unary calls whose deadline
 * the core does not look after: those without one, and carried ones. Any thread; all under
 * server->lock.
 *
 * A pooled call keeps one block of its arena, so that a typical call needs no malloc of ours. */
#include "grpc/internal.h"

#include <assert.h>
#include <stdlib.h>

#define MAX_POOL 1024

/* ---- the pool ---- */

static void leave(struct rpc_server *server);

struct rpc_call *pool_take(struct rpc_server *server)
{
    struct rpc_call *call;

    pthread_mutex_lock(&server->lock);
    call = server->pool;
    if (call) {
        server->pool = call->next;
        server->n_pool--;
    }
    server->n_alive++;
    pthread_mutex_unlock(&server->lock);
    if (call) {
        call->next = NULL;
        return call;
    }
    call = calloc(1, sizeof(*call));
    if (call) {
        call_init(call, server);
        return call;
    }
    pthread_mutex_lock(&server->lock);
    leave(server);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

/* For rpc_server_stop(), which waits for calls to end; the lock is held. */
static void tell_changed(struct rpc_server *server)
{
    if (atomic_load(&server->draining))
        pthread_cond_broadcast(&server->changed);
}

/* One call less is alive; the lock is held. */
static void leave(struct rpc_server *server)
{
    server->n_alive--;
    tell_changed(server);
}

void pool_dismiss(struct rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    atomic_fetch_sub(&server->active, 1);
    tell_changed(server);
    pthread_mutex_unlock(&server->lock);
}

static void unref_metadata(struct rpc_metadata *metadata)
{
    for (size_t i = 0; metadata && i < metadata->n; i++) {
        grpc_slice_unref(metadata->items[i].key);
        grpc_slice_unref(metadata->items[i].value);
    }
}

/* Back to what call_init() made of it, except for the arena's first block. */
static void clear(struct rpc_call *call)
{
    grpc_byte_buffer_destroy(call->incoming);
    grpc_byte_buffer_destroy(call->outgoing);
    unref_metadata(call->headers);
    unref_metadata(call->trailers);
    if (call->stream)
        stream_free(call);
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    if (call->core)
        grpc_call_unref(call->core);
    arena_reset(&call->arena);
    call_init(call, call->server);
}

void pool_put(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    bool keep, admitted = call->admitted;

    assert(atomic_load(&call->held) == 0);
    call_end_trace(call);
    if (call->carried)
        carry_release(call);
    clear(call);
    pthread_mutex_lock(&server->lock);
    if (admitted) {
        atomic_fetch_sub(&server->active, 1);
        atomic_fetch_add_explicit(&server->finished_calls, 1, memory_order_relaxed);
    }
    keep = server->n_pool < MAX_POOL;
    if (keep) {
        call->next = server->pool;
        server->pool = call;
        server->n_pool++;
    }
    leave(server);
    pthread_mutex_unlock(&server->lock);
    if (!keep) {
        arena_free(&call->arena);
        free(call);
    }
}

void pool_free(struct rpc_server *server)
{
    assert(server->n_alive == 0);
    for (struct rpc_call *call = server->pool, *next; call; call = next) {
        next = call->next;
        arena_free(&call->arena);
        free(call);
    }
    server->pool = NULL;
}

/* ---- posted requests ---- */

static void post(struct rpc_server *server)
{
    struct rpc_call *call = pool_take(server);
    grpc_call_error error;

    if (!call) {
        pthread_mutex_lock(&server->lock);
        server->n_missing++;
        pthread_mutex_unlock(&server->lock);
        return;
    }
    TAG_RELEASE(&call->on_request);
    error = grpc_server_request_call(server->core, &call->core, &call->details, &call->metadata,
                                     server->cq, server->cq, &call->on_request);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

void pool_post(struct rpc_server *server, size_t n)
{
    while (n-- > 0)
        post(server);
}

/* Makes up for requests that could not be posted for want of memory. */
static void post_missing(struct rpc_server *server)
{
    size_t n;

    pthread_mutex_lock(&server->lock);
    n = atomic_load(&server->draining) ? 0 : server->n_missing;
    server->n_missing = 0;
    server->n_alive++; /* stop waits for this function too */
    pthread_mutex_unlock(&server->lock);
    pool_post(server, n);
    pthread_mutex_lock(&server->lock);
    leave(server);
    pthread_mutex_unlock(&server->lock);
}

/* ---- unary calls whose end we look after, by deadline; under the lock ---- */

static void note_due(struct rpc_server *server)
{
    atomic_store(&server->due_ns, server->first_due ? server->first_due->deadline_ns : INT64_MAX);
}

/* Most have the same time limit, so that one that begins is the last to end. */
static void link_call(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    struct rpc_call *before = server->last_due;

    while (before && before->deadline_ns > call->deadline_ns)
        before = before->prev;
    call->prev = before;
    call->next = before ? before->next : server->first_due;
    *(before ? &before->next : &server->first_due) = call;
    *(call->next ? &call->next->prev : &server->last_due) = call;
    note_due(server);
}

static void unlink_call(struct rpc_call *call)
{
    struct rpc_server *server = call->server;

    *(call->prev ? &call->prev->next : &server->first_due) = call->next;
    *(call->next ? &call->next->prev : &server->last_due) = call->prev;
    call->prev = call->next = NULL;
    note_due(server);
}

void bound_call(struct rpc_call *call)
{
    struct rpc_server *server = call->server;

    call->bounded = true;
    pthread_mutex_lock(&server->lock);
    link_call(call);
    pthread_mutex_unlock(&server->lock);
}

void unbound_call(struct rpc_call *call)
{
    pthread_mutex_lock(&call->server->lock);
    unlink_call(call);
    pthread_mutex_unlock(&call->server->lock);
}

/* Whether the runtime is to answer, which then has a reference. Whoever finds that it is, lets go
 * of the call without a look at the list: the reference comes first. Whoever was quicker has his
 * until the lock is free, since he unlinks the call. */
static bool claim_overdue(struct rpc_call *call)
{
    rpc_call_ref(call);
    if (!atomic_exchange(&call->answered, true))
        return true;
    rpc_call_unref(call);
    return false;
}

/* The first call that is overdue and not yet answered, with a reference; claimed. */
static struct rpc_call *take_overdue(struct rpc_server *server, int64_t now)
{
    struct rpc_call *call;

    pthread_mutex_lock(&server->lock);
    call = server->first_due;
    while (call && call->deadline_ns <= now && !claim_overdue(call))
        call = call->next;
    if (call && call->deadline_ns > now)
        call = NULL;
    if (call)
        unlink_call(call);
    pthread_mutex_unlock(&server->lock);
    return call;
}

void pool_end_overdue(struct rpc_server *server, int64_t now_ns)
{
    struct rpc_call *call;

    while ((call = take_overdue(server, now_ns))) {
        atomic_store(&call->cancelled, true);
        count_end(call, RPC_DEADLINE_EXCEEDED);
        call_answer(call, &(struct rpc_error){.code = RPC_DEADLINE_EXCEEDED,
                                              .message = STR("the call took too long")});
        rpc_call_unref(call);
    }
}

void pool_tick(struct rpc_server *server)
{
    post_missing(server);
    count_queue_wait(server);
}
