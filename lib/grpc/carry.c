/* stoa.edge.v1.CallService (proto/stoa/edge/v1/call.proto): unary calls that an edge makes together
 * on one stream, a carrier. Each becomes a call object without the core's part of it, and goes the
 * way of all calls.
 *
 * Answers wait in the carrier's queue, and with each goes a reference to its call, so that
 * max_calls bounds what waits. Calls that are refused do not count there: those have a bound of
 * their own, and nothing of their requests is kept. What is answered while a poller handles an
 * event goes together when that is done, as one message; while one is with the transport, what
 * comes waits. A large answer goes in pieces, by turns with the others. */
#include "grpc/internal.h"

#include "base/base64.h"
#include "grpc/carry_wire.h"
#include "stoa/edge/v1/call.pb-c.h"

#include <errno.h>
#include <stdlib.h>

/* A CarryResponse is made until it has this size. */
#define BATCH_BYTES ((size_t)256 << 10)
/* Calls of a carrier that are not answered, and answers that wait: twice what an edge may have
 * open, since it counts a cancelled one no more before we know. */
#define MAX_CALLS (2 * CARRY_CALLS_MAX)

/* Carried calls of all carriers that are there, when max_calls may be in work: beyond that edges
 * ask, and do not read that they are refused. */
#define MAX_ALIVE(max_calls) (2 * (max_calls) + MAX_CALLS)

/* A longer time limit is none. */
#define MAX_TIMEOUT_MS ((uint64_t)(INT64_MAX / NSEC_PER_MSEC / 2))

TAILQ_HEAD(answers, carried_call);

struct carrier {
    LIST_ENTRY(carrier) siblings; /* of the server's; under their lock */
    struct rpc_carriers *all;
    struct carrier *turn; /* the next in a poller's list */
    atomic_uint refs;
    pthread_mutex_t lock; /* guards what follows */
    struct rpc_call *call;
    struct carried_call *calls; /* by id: neither answered nor cancelled */
    struct answers answers;     /* wait to be sent */
    struct answers done;        /* sent or not wanted: let go of when the lock is */
    size_t n_answers;
    size_t n_waiting, n_sending; /* bytes of them; of the message with the transport */
    bool in_turn;                /* in a poller's list */
    bool sending;                /* a message is with the transport */
    bool going;                  /* the edge is to be told so */
    bool half_closed;            /* no calls will follow */
    bool over;                   /* nothing more is sent, and the call may be gone */
    char peer[];                 /* as rpc_call_peer() */
};

struct rpc_carriers {
    struct rpc_server *server;
    metrics_number calls, messages;
    atomic_size_t n_alive; /* carried calls that somebody refers to */
    pthread_mutex_t lock;  /* guards what follows; taken before that of a carrier */
    LIST_HEAD(, carrier) list;
    bool stopping;
};

/* Carriers with something to send, of the event that this poller handles. */
static __thread struct carrier *turn;
static __thread bool on_poller;

static const struct rpc_error no_memory = {.code = RPC_RESOURCE_EXHAUSTED,
                                           .message = STR("out of memory")};

/* ---- references ---- */

static void carrier_unref(struct carrier *carrier)
{
    if (atomic_fetch_sub(&carrier->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&carrier->lock);
    free(carrier);
}

/* A call that nobody refers to any more comes back here for the lock. */
static void unlock(struct carrier *carrier)
{
    struct answers done = TAILQ_HEAD_INITIALIZER(done);
    struct carried_call *carried;

    TAILQ_CONCAT(&done, &carrier->done, next);
    pthread_mutex_unlock(&carrier->lock);
    while ((carried = TAILQ_FIRST(&done)) != NULL) {
        TAILQ_REMOVE(&done, carried, next);
        grpc_slice_unref(carried->response);
        status_free(&carried->status);
        rpc_call_unref(carried->call);
    }
}

/* ---- sending; the carrier's lock is held ---- */

static void put_header(struct buf *to, const grpc_metadata *item, bool trailing)
{
    struct str name = slice_str(&item->key), value = slice_str(&item->value);
    size_t size = BASE64_SIZE(value.n);
    char *text;

    if (!str_ends(name, STR("-bin"))) {
        carry_put_header(to, name, value, trailing);
        return;
    }
    text = malloc(size + 1);
    if (text) {
        base64_encode(text, value);
        carry_put_header(to, name, (struct str){text, size}, trailing);
    } else {
        to->failed = true;
    }
    free(text);
}

static void put_headers(struct buf *to, const struct rpc_metadata *metadata, bool trailing)
{
    for (size_t i = 0; metadata && i < metadata->n; i++)
        put_header(to, &metadata->items[i], trailing);
}

/* The next piece of an answer. Returns whether it is the last. */
static bool put_piece(struct buf *to, struct carried_call *carried)
{
    struct rpc_call *call = carried->call;
    struct str whole = slice_str(&carried->response);
    struct carry_answer piece = {.message = str_skip(whole, carried->sent)};
    bool first = carried->sent == 0;
    size_t mark = carry_begin_answer(to, carried->id);

    piece.ended = piece.message.n <= CARRY_PIECE_MAX;
    if (!piece.ended) {
        piece.message.n = CARRY_PIECE_MAX;
        piece.size = first ? whole.n : 0;
    }
    carried->sent += piece.message.n;
    if (first)
        put_headers(to, call->headers, false);
    if (piece.ended) {
        put_headers(to, call->trailers, true);
        piece.code = (int32_t)carried->status.code;
        piece.text = slice_str(&carried->status.message);
        piece.details = slice_str(&carried->status.details);
    }
    carry_end_answer(to, mark, &piece);
    return piece.ended;
}

static void let_go(struct carrier *carrier, struct carried_call *carried)
{
    TAILQ_REMOVE(&carrier->answers, carried, next);
    TAILQ_INSERT_TAIL(&carrier->done, carried, next);
    carrier->n_answers--;
    carrier->n_waiting -= GRPC_SLICE_LENGTH(carried->response);
}

static void let_go_of_all(struct carrier *carrier)
{
    struct carried_call *carried;

    while ((carried = TAILQ_FIRST(&carrier->answers)) != NULL)
        let_go(carrier, carried);
}

/* Nobody waits for the answer any more, or it is there. */
static void forget(struct carried_call *carried)
{
    if (!carried->open)
        return;
    carried->open = false;
    HASH_DEL(carried->carrier->calls, carried);
}

/* The edge asks again elsewhere, where it may. */
static void give_up(struct carrier *carrier, const struct rpc_error *error)
{
    if (carrier->over)
        return;
    carrier->over = true;
    let_go_of_all(carrier);
    rpc_stream_cancel(carrier->call, error);
}

static void put_answers(struct carrier *carrier, struct buf *to)
{
    struct carried_call *carried;

    while (to->n < BATCH_BYTES && (carried = TAILQ_FIRST(&carrier->answers)) != NULL) {
        if (put_piece(to, carried)) {
            let_go(carrier, carried);
        } else {
            TAILQ_REMOVE(&carrier->answers, carried, next);
            TAILQ_INSERT_TAIL(&carrier->answers, carried, next);
        }
    }
}

static void send_message(struct carrier *carrier, struct buf *bytes)
{
    size_t n = bytes->n;
    struct rpc_packed *packed = rpc_packed_take(bytes);
    int r = packed ? rpc_stream_send_packed(carrier->call, packed) : -ENOMEM;

    rpc_packed_unref(packed);
    metrics_add(&carrier->all->messages, 1);
    carrier->sending = true; /* of one that is gone `closed` tells */
    carrier->n_sending = n;
    if (r < 0 && r != -EPIPE)
        give_up(carrier, &no_memory);
}

static void send_next(struct carrier *carrier)
{
    struct buf bytes;

    if (carrier->sending || carrier->over)
        return;
    buf_init(&bytes, CARRY_RESPONSE_MAX);
    if (carrier->going)
        carry_put_going(&bytes);
    carrier->going = false;
    put_answers(carrier, &bytes);
    if (bytes.n > 0 || bytes.failed) {
        send_message(carrier, &bytes);
    } else if (carrier->half_closed && !carrier->calls) {
        carrier->over = true;
        rpc_stream_finish(carrier->call, NULL);
    }
    buf_free(&bytes);
}

/* All that waits for the edge. Of one that is none it is limited (held.c). */
static void tell_held(struct carrier *carrier)
{
    if (!carrier->over)
        stream_hold(carrier->call, carrier->n_waiting + carrier->n_sending);
}

/* ---- turns of a poller ---- */

/* There may be something to send: at once, or with what else the event brings. */
static void send_soon(struct carrier *carrier)
{
    if (!on_poller) {
        send_next(carrier);
        return;
    }
    if (carrier->in_turn)
        return; /* of this poller or of another one, which is about to */
    carrier->in_turn = true;
    atomic_fetch_add(&carrier->refs, 1);
    carrier->turn = turn;
    turn = carrier;
}

void carry_begin_turns(void)
{
    on_poller = true;
}

void carry_end_turn(void)
{
    struct carrier *carrier;

    while ((carrier = turn) != NULL) {
        turn = carrier->turn;
        pthread_mutex_lock(&carrier->lock);
        carrier->in_turn = false;
        send_next(carrier);
        tell_held(carrier);
        unlock(carrier);
        carrier_unref(carrier);
    }
}

/* ---- calls ---- */

void carry_answer(struct rpc_call *call, const grpc_slice *response, const struct rpc_error *error)
{
    struct carried_call *carried = call->carried;
    struct carrier *carrier = carried->carrier;

    status_make(&carried->status, error);
    carried->response = response ? *response : grpc_empty_slice();
    rpc_call_ref(call);
    pthread_mutex_lock(&carrier->lock);
    TAILQ_INSERT_TAIL(&carrier->answers, carried, next);
    carrier->n_answers++;
    carrier->n_waiting += GRPC_SLICE_LENGTH(carried->response);
    if (!carried->open || carrier->over) /* nobody waits for it */
        let_go(carrier, carried);
    forget(carried);
    send_soon(carrier);
    tell_held(carrier);
    unlock(carrier);
}

void carry_release(struct rpc_call *call)
{
    struct carrier *carrier = call->carried->carrier;

    pthread_mutex_lock(&carrier->lock);
    forget(call->carried);
    unlock(carrier);
    atomic_fetch_sub_explicit(&carrier->all->n_alive, 1, memory_order_relaxed);
    carrier_unref(carrier);
}

/* Handlers run on pollers. The doorbell is there: a server that stops waits for the call. */
void carry_proceed(struct rpc_call *call)
{
    if (on_poller) {
        call_handle(call);
        return;
    }
    rpc_call_ref(call);
    server_ring(call->server, &call->on_message);
}

static bool is_valid(const Stoa__Edge__V1__CarriedCall *item)
{
    for (size_t i = 0; i < item->n_metadata; i++) {
        if (!carry_is_metadata(str_of(item->metadata[i]->name), str_of(item->metadata[i]->value)))
            return false;
    }
    return true;
}

static int keep_metadata(struct rpc_call *call, const Stoa__Edge__V1__CarriedCall *item)
{
    struct rpc_local_metadata *metadata =
        arena_calloc(&call->arena, item->n_metadata, sizeof(*metadata));

    if (!metadata)
        return -ENOMEM;
    for (size_t i = 0; i < item->n_metadata; i++) {
        metadata[i].key = arena_copy(&call->arena, str_of(item->metadata[i]->name));
        metadata[i].value = arena_copy(&call->arena, str_of(item->metadata[i]->value));
        if (!metadata[i].key.p || !metadata[i].value.p)
            return -ENOMEM;
    }
    call->given = metadata;
    call->n_given = item->n_metadata;
    return 0;
}

int carry_keep(struct rpc_call *call)
{
    const Stoa__Edge__V1__CarriedCall *item = call->carried->item;
    struct str request = {(const char *)item->message.data, item->message.len};

    call->carried->request = arena_copy(&call->arena, request);
    return call->carried->request.p ? keep_metadata(call, item) : -ENOMEM;
}

static bool too_many(const struct rpc_carriers *all)
{
    return atomic_load_explicit(&all->n_alive, memory_order_relaxed) >=
           MAX_ALIVE(all->server->options.max_calls);
}

/* The call is open from now on. 0, -EEXIST, -ENOSPC or -ENOMEM. */
static int enter(struct carrier *carrier, struct carried_call *carried)
{
    struct carried_call *other;
    unsigned before;
    int r = 0;

    pthread_mutex_lock(&carrier->lock);
    before = HASH_COUNT(carrier->calls);
    HASH_FIND(hh, carrier->calls, &carried->id, sizeof(carried->id), other);
    if (other) {
        r = -EEXIST;
    } else if (before + carrier->n_answers >= MAX_CALLS || too_many(carrier->all)) {
        r = -ENOSPC;
    } else {
        HASH_ADD(hh, carrier->calls, id, sizeof(carried->id), carried);
        carried->open = HASH_COUNT(carrier->calls) > before;
        r = carried->open ? 0 : -ENOMEM;
    }
    unlock(carrier);
    return r;
}

/* Makes a carried call of a call object. 0, -EINVAL, or as the function above. */
static int fill(struct carrier *carrier, struct rpc_call *call,
                const Stoa__Edge__V1__CarriedCall *item)
{
    struct carried_call *carried = arena_calloc(&call->arena, 1, sizeof(*carried));
    int r;

    if (!carried)
        return -ENOMEM;
    *carried =
        (struct carried_call){.call = call, .carrier = carrier, .id = item->id, .item = item};
    r = is_valid(item) ? enter(carrier, carried) : -EINVAL;
    if (r < 0)
        return r;
    atomic_fetch_add(&carrier->refs, 1);
    atomic_fetch_add_explicit(&carrier->all->n_alive, 1, memory_order_relaxed);
    call->carried = carried;
    call->peer = str_of(carrier->peer);
    return 0;
}

static void fail(struct carrier *carrier, int r)
{
    static const struct rpc_error twice = {.code = RPC_INVALID_ARGUMENT,
                                           .message = STR("a call is begun twice")},
                                  metadata = {.code = RPC_INVALID_ARGUMENT,
                                              .message = STR("metadata that is no header's")},
                                  many = {.code = RPC_RESOURCE_EXHAUSTED,
                                          .message = STR("too many calls that are not answered")};

    pthread_mutex_lock(&carrier->lock);
    give_up(carrier, r == -EEXIST   ? &twice
                     : r == -EINVAL ? &metadata
                     : r == -ENOSPC ? &many
                                    : &no_memory);
    unlock(carrier);
}

/* Returns 0, or why the carrier has been given up. */
static int begin(struct carrier *carrier, const Stoa__Edge__V1__CarriedCall *item)
{
    struct rpc_call *call = pool_take(carrier->all->server);
    int64_t deadline_ns = INT64_MAX;
    int r = call ? fill(carrier, call, item) : -ENOMEM;

    if (r < 0) {
        if (call)
            pool_put(call);
        fail(carrier, r);
        return r;
    }
    metrics_add(&carrier->all->calls, 1);
    if (item->timeout_ms > 0 && item->timeout_ms < MAX_TIMEOUT_MS)
        deadline_ns = clock_monotonic_ns() + (int64_t)item->timeout_ms * NSEC_PER_MSEC;
    call_begin(call, str_of(item->method), deadline_ns);
    return 0;
}

static void cancel(struct carrier *carrier, uint64_t id)
{
    struct carried_call *carried;

    pthread_mutex_lock(&carrier->lock);
    HASH_FIND(hh, carrier->calls, &id, sizeof(id), carried);
    if (carried) {
        atomic_store(&carried->call->cancelled, true);
        forget(carried);
        send_soon(carrier); /* the last one, perhaps */
    }
    unlock(carrier);
}

/* ---- the stream ---- */

static void on_open(void *service, struct rpc_call *call, const ProtobufCMessage *request UNUSED)
{
    struct rpc_carriers *all = service;
    struct str peer = rpc_call_peer(call);
    struct carrier *carrier = calloc(1, sizeof(*carrier) + peer.n + 1);

    if (!carrier) {
        rpc_stream_finish(call, &no_memory);
        return;
    }
    carrier->all = all;
    atomic_init(&carrier->refs, 1);
    pthread_mutex_init(&carrier->lock, NULL);
    carrier->call = call;
    TAILQ_INIT(&carrier->answers);
    TAILQ_INIT(&carrier->done);
    memcpy(carrier->peer, peer.p, peer.n);
    rpc_call_set_context(call, carrier);
    pthread_mutex_lock(&all->lock);
    LIST_INSERT_HEAD(&all->list, carrier, siblings);
    carrier->going = all->stopping;
    pthread_mutex_unlock(&all->lock);
    pthread_mutex_lock(&carrier->lock);
    send_soon(carrier);
    unlock(carrier);
}

static void on_message(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Stoa__Edge__V1__CarryRequest *request = (const Stoa__Edge__V1__CarryRequest *)message;
    struct carrier *carrier = rpc_call_context(call);

    for (size_t i = 0; i < request->n_calls; i++) {
        if (begin(carrier, request->calls[i]) < 0)
            return;
    }
    for (size_t i = 0; i < request->n_cancelled; i++)
        cancel(carrier, request->cancelled[i]);
}

static void on_half_close(void *service UNUSED, struct rpc_call *call)
{
    struct carrier *carrier = rpc_call_context(call);

    pthread_mutex_lock(&carrier->lock);
    carrier->half_closed = true;
    send_soon(carrier);
    unlock(carrier);
}

static void on_drained(void *service UNUSED, struct rpc_call *call)
{
    struct carrier *carrier = rpc_call_context(call);

    if (!carrier)
        return;
    pthread_mutex_lock(&carrier->lock);
    carrier->sending = false;
    carrier->n_sending = 0;
    send_next(carrier);
    tell_held(carrier);
    unlock(carrier);
}

static void on_closed(void *service, struct rpc_call *call)
{
    struct rpc_carriers *all = service;
    struct carrier *carrier = rpc_call_context(call);
    struct carried_call *carried;

    if (!carrier)
        return;
    pthread_mutex_lock(&all->lock);
    LIST_REMOVE(carrier, siblings);
    pthread_mutex_unlock(&all->lock);
    pthread_mutex_lock(&carrier->lock);
    carrier->over = true;
    while ((carried = carrier->calls) != NULL) {
        atomic_store(&carried->call->cancelled, true);
        forget(carried);
    }
    let_go_of_all(carrier);
    unlock(carrier);
    carrier_unref(carrier);
}

/* ---- of a server ---- */

int carry_new(struct rpc_server *server)
{
    static const struct rpc_stream_handler stream = {
        .open = on_open,
        .message = on_message,
        .half_close = on_half_close,
        .drained = on_drained,
        .closed = on_closed,
    };
    static const struct rpc_handler handlers[] = {{.method = "Carry", .stream = &stream}};
    struct rpc_carriers *all;

    /* Where a message may not be as large, calls have to come by themselves. */
    if (server->options.max_request_bytes < CARRY_REQUEST_MAX)
        return 0;
    all = calloc(1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    all->server = server;
    pthread_mutex_init(&all->lock, NULL);
    server->carriers = all;
    return server_add_built_in(server, &stoa__edge__v1__call_service__descriptor, NULL, handlers,
                               ARRAY_SIZE(handlers), all);
}

void carry_stop(struct rpc_server *server)
{
    struct rpc_carriers *all = server->carriers;
    struct carrier *carrier;

    if (!all)
        return;
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    LIST_FOREACH(carrier, &all->list, siblings)
    {
        pthread_mutex_lock(&carrier->lock);
        carrier->going = true;
        send_soon(carrier);
        unlock(carrier);
    }
    pthread_mutex_unlock(&all->lock);
}

void carry_free(struct rpc_server *server)
{
    if (!server->carriers)
        return;
    pthread_mutex_destroy(&server->carriers->lock);
    free(server->carriers);
    server->carriers = NULL;
}

void carry_count(const struct rpc_server *server, uint64_t *ret_calls, uint64_t *ret_messages)
{
    *ret_calls = server->carriers ? metrics_get(&server->carriers->calls) : 0;
    *ret_messages = server->carriers ? metrics_get(&server->carriers->messages) : 0;
}
