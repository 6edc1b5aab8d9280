/* Streams of edges, and the calls in them. Two locks for each stream: `turn` is held while
 * callbacks run, so that they come one at a time; `lock` guards what the functions of edge.h touch,
 * and is never held while anything else is called but lib/grpc. */
#include "edge/edge.h"
#include "base/id_table.h"
#include "edge/attach_wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

/* What waits goes in messages of about this size. */
#define BATCH_BYTES ((size_t)256 << 10)
/* What may wait for an edge. */
#define MAX_WAITING ((size_t)16 << 20)
/* The same for all together that are not known to be edges: anybody may say so. With a session of
 * each few bytes that wait it is ten times as much memory. */
#define MAX_HELD_BY_GUESTS MAX_WAITING
/* On its way to a client: more is busy. */
#define BUSY_MESSAGES 64
#define BUSY_BYTES ((size_t)64 << 10)

struct batch {
    TAILQ_ENTRY(batch) next;
    struct buf bytes;
};

struct edge_session {
    uint64_t id;
    struct edge_stream *stream; /* a reference */
    void *context;
    atomic_uint refs;
    bool opened, ended;             /* these: under the stream's lock */
    bool asked;                     /* `drained` is to come */
    size_t messages, bytes;         /* sent since the client was last known to have all */
    TAILQ_ENTRY(edge_session) next; /* in stream->ended */
    UT_hash_handle hh;              /* in stream->sessions, by id */
};

struct edge_stream {
    struct edge *edge;
    struct rpc_call *call; /* until `over` */
    void *context;
    atomic_uint refs;
    LIST_ENTRY(edge_stream) siblings; /* of the edge; under its lock */
    pthread_mutex_t turn;
    pthread_mutex_t lock; /* guards what follows */
    struct edge_session *sessions;
    TAILQ_HEAD(, edge_session) ended; /* by edge_end(): `closed` is to come */
    TAILQ_HEAD(batches, batch) waiting;
    size_t n_waiting; /* bytes; changed by set_held() */
    size_t n_sending; /* the same, with the transport */
    bool guest;       /* set before anything waits */
    bool sending;     /* a message is with the transport */
    bool over;        /* nothing more is sent, and the call may be gone */
};

struct edge {
    const struct edge_handler *handler;
    void *context;
    pthread_mutex_t lock;
    LIST_HEAD(, edge_stream) streams;
    bool stopping;
    atomic_uint held;             /* by so many: what waits is not sent, up to a batch */
    atomic_size_t held_by_guests; /* bytes that wait, or are with the transport */
};

static const struct rpc_error no_memory = {.code = RPC_RESOURCE_EXHAUSTED,
                                           .message = STR("out of memory")};

/* ---- references ---- */

static void stream_unref(struct edge_stream *stream)
{
    if (atomic_fetch_sub(&stream->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&stream->turn);
    pthread_mutex_destroy(&stream->lock);
    free(stream);
}

void edge_ref(struct edge_session *s)
{
    atomic_fetch_add(&s->refs, 1);
}

void edge_unref(struct edge_session *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    stream_unref(s->stream);
    free(s);
}

/* ---- sending; the stream's lock is held ---- */

/* part: n_waiting or n_sending. */
static void set_held(struct edge_stream *stream, size_t *part, size_t n)
{
    if (stream->guest)
        atomic_fetch_add(&stream->edge->held_by_guests, n - *part); /* less too: modulo its range */
    *part = n;
}

static bool has_room(const struct edge_stream *stream, size_t n)
{
    return stream->n_waiting + n <= MAX_WAITING &&
           (!stream->guest || atomic_load(&stream->edge->held_by_guests) + n <= MAX_HELD_BY_GUESTS);
}

static void drop_waiting(struct edge_stream *stream)
{
    struct batch *batch;

    while ((batch = TAILQ_FIRST(&stream->waiting)) != NULL) {
        TAILQ_REMOVE(&stream->waiting, batch, next);
        buf_free(&batch->bytes);
        free(batch);
    }
    set_held(stream, &stream->n_waiting, 0);
}

/* The edge takes the calls elsewhere. */
static void give_up(struct edge_stream *stream, const struct rpc_error *error)
{
    if (stream->over)
        return;
    stream->over = true;
    drop_waiting(stream);
    rpc_stream_cancel(stream->call, error);
}

static void send_next(struct edge_stream *stream)
{
    struct batch *batch = TAILQ_FIRST(&stream->waiting);
    struct rpc_packed *packed;

    if (stream->sending || stream->over || !batch)
        return;
    if (atomic_load(&stream->edge->held) > 0 && stream->n_waiting < BATCH_BYTES)
        return;
    TAILQ_REMOVE(&stream->waiting, batch, next);
    set_held(stream, &stream->n_waiting, stream->n_waiting - batch->bytes.n);
    set_held(stream, &stream->n_sending, batch->bytes.n);
    packed = rpc_packed_take(&batch->bytes);
    free(batch);
    if (!packed || rpc_stream_send_packed(stream->call, packed) == -ENOBUFS)
        give_up(stream, &no_memory);
    else
        stream->sending = true; /* of one that is gone `closed` tells */
    rpc_packed_unref(packed);
}

/* Where n bytes more go; NULL: the stream has been given up. */
static struct buf *room_for(struct edge_stream *stream, size_t n)
{
    static const struct rpc_error too_slow = {.code = RPC_RESOURCE_EXHAUSTED,
                                              .message = STR("too much waits to be read")};
    struct batch *batch = TAILQ_LAST(&stream->waiting, batches);

    if (!has_room(stream, n)) {
        give_up(stream, &too_slow);
        return NULL;
    }
    if (!batch || batch->bytes.n + n > BATCH_BYTES) {
        batch = calloc(1, sizeof(*batch));
        if (!batch) {
            give_up(stream, &no_memory);
            return NULL;
        }
        buf_init(&batch->bytes, ATTACH_RESPONSE_MAX);
        TAILQ_INSERT_TAIL(&stream->waiting, batch, next);
    }
    return &batch->bytes;
}

/* What has been appended to a batch, after `before` bytes, goes when its turn comes. */
static void put_done(struct edge_stream *stream, const struct buf *to, size_t before)
{
    set_held(stream, &stream->n_waiting, stream->n_waiting + to->n - before);
    if (to->failed)
        give_up(stream, &no_memory);
    else
        send_next(stream);
}

/* Items that go together. */
static void put(struct edge_stream *stream, const struct attach_down *items, size_t n)
{
    size_t size = 0, before;
    struct buf *to;

    if (stream->over)
        return;
    for (size_t i = 0; i < n; i++)
        size += items[i].bytes.n + items[i].details.n + 2 * ATTACH_ITEM_OVERHEAD;
    to = room_for(stream, size);
    if (!to)
        return;
    before = to->n;
    for (size_t i = 0; i < n; i++)
        attach_put_down(to, &items[i]);
    put_done(stream, to, before);
}

static void put_beat(struct edge_stream *stream)
{
    struct buf *to = stream->over ? NULL : room_for(stream, ATTACH_ITEM_OVERHEAD);
    size_t before;

    if (!to)
        return;
    before = to->n;
    attach_put_beat(to);
    put_done(stream, to, before);
}

/* ---- what is said to a client ---- */

static void say(struct edge_session *s, struct attach_down *items, size_t n)
{
    pthread_mutex_lock(&s->stream->lock);
    for (size_t i = 0; i < n; i++)
        items[i].session = s->id;
    if (!s->ended)
        put(s->stream, items, n);
    pthread_mutex_unlock(&s->stream->lock);
}

void edge_accept(struct edge_session *s)
{
    pthread_mutex_lock(&s->stream->lock);
    s->opened = true;
    pthread_mutex_unlock(&s->stream->lock);
    say(s, &(struct attach_down){.what = ATTACH_OPENED}, 1);
}

static bool is_busy(const struct edge_session *s)
{
    return s->messages >= BUSY_MESSAGES || s->bytes >= BUSY_BYTES;
}

static void send_items(struct edge_session *s, struct attach_down *items, size_t n)
{
    pthread_mutex_lock(&s->stream->lock);
    for (size_t i = 0; i < n; i++)
        items[i].session = s->id;
    s->messages++;
    s->bytes += items[0].bytes.n;
    if (is_busy(s) && !s->asked && !s->ended) {
        items[0].tell_drained = s->asked = true;
        s->messages = s->bytes = 0; /* from here on: what may still be under way then */
    }
    if (!s->ended)
        put(s->stream, items, n);
    pthread_mutex_unlock(&s->stream->lock);
}

void edge_send(struct edge_session *s, struct str message)
{
    send_items(s, &(struct attach_down){.what = ATTACH_DOWN_MESSAGE, .bytes = message}, 1);
}

void edge_send_at(struct edge_session *s, struct str message, uint64_t channel, int64_t seq)
{
    struct attach_down items[] = {
        {.what = ATTACH_DOWN_MESSAGE, .bytes = message},
        {.what = ATTACH_CHANNEL, .channel = channel, .seq = seq},
    };

    send_items(s, items, ARRAY_SIZE(items));
}

bool edge_is_busy(struct edge_session *s)
{
    bool busy;

    pthread_mutex_lock(&s->stream->lock);
    busy = s->asked;
    pthread_mutex_unlock(&s->stream->lock);
    return busy;
}

void edge_join(struct edge_session *s, uint64_t channel, int64_t seq, bool live)
{
    say(s,
        &(struct attach_down){.what = ATTACH_CHANNEL, .channel = channel, .seq = seq, .live = live},
        1);
}

void edge_leave(struct edge_session *s, uint64_t channel)
{
    say(s, &(struct attach_down){.what = ATTACH_LEFT_CHANNEL, .channel = channel}, 1);
}

void edge_keep(struct edge_session *s, struct str state)
{
    say(s, &(struct attach_down){.what = ATTACH_RESUME_STATE, .bytes = state}, 1);
}

void edge_end(struct edge_session *s, const struct rpc_error *error)
{
    struct edge_stream *stream = s->stream;
    struct rpc_packed *details = error ? rpc_error_details(error) : NULL;
    struct attach_down end = {
        .session = s->id,
        .what = ATTACH_END,
        .code = error ? (int32_t)error->code : RPC_OK,
        .bytes = error ? error->message : STR(""),
        .details = details ? rpc_packed_bytes(details) : STR_NULL,
    };

    pthread_mutex_lock(&stream->lock);
    if (!s->ended) {
        s->ended = true;
        HASH_DEL(stream->sessions, s);
        TAILQ_INSERT_TAIL(&stream->ended, s, next);
        put(stream, &end, 1);
    }
    pthread_mutex_unlock(&stream->lock);
    rpc_packed_unref(details);
}

void edge_broadcast(struct edge_stream *stream, uint64_t channel, int64_t seq, struct str message)
{
    const struct attach_down item = {
        .what = ATTACH_BROADCAST, .channel = channel, .seq = seq, .bytes = message};

    pthread_mutex_lock(&stream->lock);
    put(stream, &item, 1);
    pthread_mutex_unlock(&stream->lock);
}

/* ---- contexts ---- */

void edge_set_context(struct edge_session *s, void *context)
{
    s->context = context;
}

void *edge_context(const struct edge_session *s)
{
    return s->context;
}

struct edge_stream *edge_stream_of(const struct edge_session *s)
{
    return s->stream;
}

void edge_stream_is_guest(struct edge_stream *stream)
{
    stream->guest = true;
}

void edge_stream_set_context(struct edge_stream *stream, void *context)
{
    stream->context = context;
}

void *edge_stream_context(const struct edge_stream *stream)
{
    return stream->context;
}

struct rpc_call *edge_stream_call(const struct edge_stream *stream)
{
    return stream->call;
}

/* ---- the end of calls; `turn` is held ---- */

static void tell_closed(struct edge_stream *stream, struct edge_session *s)
{
    stream->edge->handler->closed(stream->edge->context, s);
    edge_unref(s);
}

static void tell_ended(struct edge_stream *stream)
{
    struct edge_session *s;

    for (;;) {
        pthread_mutex_lock(&stream->lock);
        s = TAILQ_FIRST(&stream->ended);
        if (s)
            TAILQ_REMOVE(&stream->ended, s, next);
        pthread_mutex_unlock(&stream->lock);
        if (!s)
            return;
        tell_closed(stream, s);
    }
}

/* ---- what comes; `turn` is held ---- */

static void fail(struct edge_stream *stream, const struct rpc_error *error)
{
    pthread_mutex_lock(&stream->lock);
    give_up(stream, error);
    pthread_mutex_unlock(&stream->lock);
}

static struct edge_session *find(struct edge_stream *stream, uint64_t id)
{
    struct edge_session *s;

    pthread_mutex_lock(&stream->lock);
    HASH_FIND(hh, stream->sessions, &id, sizeof(id), s);
    pthread_mutex_unlock(&stream->lock);
    return s;
}

static void on_open(struct edge_stream *stream, uint64_t id, const Stoa__Edge__V1__Open *open)
{
    static const struct rpc_error twice = {.code = RPC_INVALID_ARGUMENT,
                                           .message = STR("a session is opened twice")};
    struct edge_session *s = find(stream, id) ? NULL : calloc(1, sizeof(*s));
    unsigned before;

    if (!s) {
        fail(stream, find(stream, id) ? &twice : &no_memory);
        return;
    }
    s->id = id;
    s->stream = stream;
    atomic_init(&s->refs, 1);
    atomic_fetch_add(&stream->refs, 1);
    pthread_mutex_lock(&stream->lock);
    before = HASH_COUNT(stream->sessions);
    HASH_ADD(hh, stream->sessions, id, sizeof(s->id), s);
    if (HASH_COUNT(stream->sessions) == before) {
        give_up(stream, &no_memory);
        pthread_mutex_unlock(&stream->lock);
        edge_unref(s);
        return;
    }
    pthread_mutex_unlock(&stream->lock);
    stream->edge->handler->open(stream->edge->context, s, open);
}

static void on_close(struct edge_stream *stream, struct edge_session *s)
{
    bool ended;

    pthread_mutex_lock(&stream->lock);
    ended = s->ended; /* since it was found: it is in stream->ended */
    if (!ended)
        HASH_DEL(stream->sessions, s);
    s->ended = true;
    pthread_mutex_unlock(&stream->lock);
    if (!ended)
        tell_closed(stream, s);
}

static void on_drained(struct edge_stream *stream, struct edge_session *s)
{
    bool still;

    pthread_mutex_lock(&stream->lock);
    s->asked = false;
    still = s->ended;
    pthread_mutex_unlock(&stream->lock);
    if (!still)
        stream->edge->handler->drained(stream->edge->context, s);
}

/* Until the service has opened it, there is nobody yet to hear what it says. */
static bool may_speak(struct edge_stream *stream, const struct edge_session *s)
{
    static const struct rpc_error too_early = {
        .code = RPC_INVALID_ARGUMENT, .message = STR("a session speaks before it is opened")};
    bool opened;

    pthread_mutex_lock(&stream->lock);
    opened = s->opened;
    if (!opened && !s->ended)
        give_up(stream, &too_early);
    pthread_mutex_unlock(&stream->lock);
    return opened;
}

static void take(struct edge_stream *stream, const Stoa__Edge__V1__Up *up)
{
    const struct edge_handler *handler = stream->edge->handler;
    void *context = stream->edge->context;
    struct edge_session *s;

    if (up->what_case == STOA__EDGE__V1__UP__WHAT_OPEN) {
        on_open(stream, up->session, up->open);
        return;
    }
    s = find(stream, up->session);
    if (!s)
        return; /* it has ended, as the edge is about to hear */
    if (up->what_case == STOA__EDGE__V1__UP__WHAT_CLOSE) {
        on_close(stream, s);
        return;
    }
    if (!may_speak(stream, s))
        return;
    switch (up->what_case) {
    case STOA__EDGE__V1__UP__WHAT_MESSAGE:
        handler->message(context, s, (struct str){(char *)up->message.data, up->message.len});
        break;
    case STOA__EDGE__V1__UP__WHAT_HALF_CLOSE:
        handler->half_close(context, s);
        break;
    case STOA__EDGE__V1__UP__WHAT_DRAINED:
        on_drained(stream, s);
        break;
    default:
        break;
    }
}

/* ---- the streams ---- */

static struct edge_stream *new_stream(struct edge *edge, struct rpc_call *call)
{
    struct edge_stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    stream->edge = edge;
    stream->call = call;
    atomic_init(&stream->refs, 1);
    pthread_mutex_init(&stream->turn, NULL);
    pthread_mutex_init(&stream->lock, NULL);
    TAILQ_INIT(&stream->ended);
    TAILQ_INIT(&stream->waiting);
    return stream;
}

static const struct rpc_error stopping = {
    .code = RPC_UNAVAILABLE, .message = STR("the instance stops"), .reason = "STOPPING"};

static const struct rpc_error starting = {.code = RPC_UNAVAILABLE,
                                          .message = STR("the instance is not ready yet")};

static void stream_open(void *service, struct rpc_call *call,
                        const ProtobufCMessage *request UNUSED)
{
    struct edge *edge = service;
    bool ready = !edge->handler->ready || edge->handler->ready(edge->context);
    struct edge_stream *stream = ready ? new_stream(edge, call) : NULL;
    bool refused;

    rpc_call_set_context(call, stream);
    if (!stream) {
        rpc_stream_finish(call, ready ? &no_memory : &starting);
        return;
    }
    pthread_mutex_lock(&edge->lock);
    refused = edge->stopping;
    LIST_INSERT_HEAD(&edge->streams, stream, siblings);
    pthread_mutex_unlock(&edge->lock);
    if (edge->handler->attached)
        edge->handler->attached(edge->context, stream);
    if (refused)
        fail(stream, &stopping);
}

static void stream_message(void *service UNUSED, struct rpc_call *call,
                           const ProtobufCMessage *message)
{
    const Stoa__Edge__V1__AttachRequest *request = (const Stoa__Edge__V1__AttachRequest *)message;
    struct edge_stream *stream = rpc_call_context(call);

    if (!stream)
        return;
    pthread_mutex_lock(&stream->turn);
    for (size_t i = 0; i < request->n_items; i++)
        take(stream, request->items[i]);
    pthread_mutex_unlock(&stream->turn);
    if (request->beat) {
        pthread_mutex_lock(&stream->lock);
        put_beat(stream);
        pthread_mutex_unlock(&stream->lock);
    }
}

static void stream_half_close(void *service UNUSED, struct rpc_call *call)
{
    static const struct rpc_error detached = {.code = RPC_CANCELLED,
                                              .message = STR("the edge has detached")};

    if (rpc_call_context(call))
        fail(rpc_call_context(call), &detached);
}

static void stream_drained(void *service UNUSED, struct rpc_call *call)
{
    struct edge_stream *stream = rpc_call_context(call);

    if (!stream)
        return;
    pthread_mutex_lock(&stream->turn);
    tell_ended(stream);
    pthread_mutex_unlock(&stream->turn);
    pthread_mutex_lock(&stream->lock);
    stream->sending = false;
    set_held(stream, &stream->n_sending, 0);
    send_next(stream);
    pthread_mutex_unlock(&stream->lock);
}

static void stream_closed(void *service, struct rpc_call *call)
{
    struct edge *edge = service;
    struct edge_stream *stream = rpc_call_context(call);
    struct edge_session *s, *next;

    if (!stream)
        return;
    pthread_mutex_lock(&edge->lock);
    LIST_REMOVE(stream, siblings);
    pthread_mutex_unlock(&edge->lock);
    pthread_mutex_lock(&stream->turn);
    pthread_mutex_lock(&stream->lock);
    stream->over = true;
    drop_waiting(stream);
    set_held(stream, &stream->n_sending, 0);
    HASH_ITER(hh, stream->sessions, s, next)
    {
        HASH_DEL(stream->sessions, s);
        s->ended = true;
        TAILQ_INSERT_TAIL(&stream->ended, s, next);
    }
    pthread_mutex_unlock(&stream->lock);
    tell_ended(stream);
    pthread_mutex_unlock(&stream->turn);
    if (edge->handler->detached)
        edge->handler->detached(edge->context, stream);
    stream_unref(stream);
}

/* ---- all of them ---- */

int edge_new(const struct edge_handler *handler, void *context, struct edge **ret)
{
    struct edge *edge = calloc(1, sizeof(*edge));

    if (!edge)
        return -ENOMEM;
    edge->handler = handler;
    edge->context = context;
    pthread_mutex_init(&edge->lock, NULL);
    atomic_init(&edge->held, 0);
    atomic_init(&edge->held_by_guests, 0);
    LIST_INIT(&edge->streams);
    *ret = edge;
    return 0;
}

int edge_add(struct edge *edge, struct rpc_server *server, struct str *ret_error)
{
    static const struct rpc_stream_handler attach = {
        .open = stream_open,
        .message = stream_message,
        .half_close = stream_half_close,
        .drained = stream_drained,
        .closed = stream_closed,
    };
    static const struct rpc_handler handlers[] = {{.method = "Attach", .stream = &attach}};

    return rpc_server_add(server, &stoa__edge__v1__edge_service__descriptor, handlers,
                          ARRAY_SIZE(handlers), edge, ret_error);
}

void edge_stop(struct edge *edge)
{
    struct edge_stream *stream;

    pthread_mutex_lock(&edge->lock);
    edge->stopping = true;
    LIST_FOREACH(stream, &edge->streams, siblings)
    {
        fail(stream, &stopping);
    }
    pthread_mutex_unlock(&edge->lock);
}

void edge_hold(struct edge *edge)
{
    atomic_fetch_add(&edge->held, 1);
}

/* Whoever has seen that it is held has let go of the stream's lock by when it is taken here. */
void edge_release(struct edge *edge)
{
    struct edge_stream *stream;

    if (atomic_fetch_sub(&edge->held, 1) > 1)
        return;
    pthread_mutex_lock(&edge->lock);
    LIST_FOREACH(stream, &edge->streams, siblings)
    {
        pthread_mutex_lock(&stream->lock);
        send_next(stream);
        pthread_mutex_unlock(&stream->lock);
    }
    pthread_mutex_unlock(&edge->lock);
}

void edge_free(struct edge *edge)
{
    if (!edge)
        return;
    pthread_mutex_destroy(&edge->lock);
    free(edge);
}
