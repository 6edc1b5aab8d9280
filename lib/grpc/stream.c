/* Streaming calls.
 *
 * Sending: any thread queues messages in a ring; one SEND is outstanding at a time, and its tag
 * starts the next. The status goes last, as one more item of that order. Callbacks run on poller
 * threads, one at a time per call: open, message..., half_close, and closed when both the receiving
 * side and the call have come to their end. The owner's reference is dropped after closed. */
#include "grpc/internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define FIRST_RING 8
/* Bound of a queue in bytes, beside the one in messages, unless the handler gives others; one
 * message may always wait. */
#define MAX_QUEUE_BYTES ((size_t)4 << 20)
/* A paced stream stops reading when this much of its queue is taken. */
#define PACED_QUEUE_BYTES (MAX_QUEUE_BYTES / 16)
#define PACED_QUEUE_SHARE 8

struct item {
    grpc_slice message;
    bool shared; /* with other streams */
};

struct rpc_stream {
    bool counted;               /* by held.c */
    bool proceeded;             /* past the authenticate hook */
    bool opened;                /* callbacks have begun */
    atomic_int pending;         /* ends to come before closed: the call's, the receiving side's */
    struct arena message_arena; /* of the message being handled */

    pthread_mutex_t lock; /* guards what follows */
    struct item *ring;
    size_t head, count, cap; /* cap is a power of two */
    size_t bytes;            /* in the ring */
    size_t max_count, max_bytes;
    /* What is kept for this stream alone: in the ring, with the transport, and by its handler. */
    size_t own_waiting, own_sending, own_elsewhere;
    bool sending;        /* on_sent is to come */
    bool headers_wanted; /* send them though nothing else is there to send */
    bool headers_sent;
    bool held;  /* paced: the next message is read when the queue is empty */
    bool ended; /* nothing more may be queued */
    bool status_sent;
    enum rpc_code code;       /* once ended */
    struct rpc_status status; /* valid between ended and status_sent */
};

int stream_new(struct rpc_call *call)
{
    struct rpc_stream *stream = arena_calloc(&call->arena, 1, sizeof(*stream));

    if (!stream)
        return -ENOMEM;
    pthread_mutex_init(&stream->lock, NULL);
    stream->max_count = call->server->options.max_stream_queue;
    stream->max_bytes = MAX_QUEUE_BYTES;
    arena_init(&stream->message_arena, call->arena.max);
    atomic_init(&stream->pending, 2);
    status_make(&stream->status, NULL);
    call->stream = stream;
    stream->counted = held_is_counted(call);
    return 0;
}

/* ---- the queue; the lock is held ---- */

static struct item *ring_at(struct rpc_stream *stream, size_t i)
{
    return &stream->ring[(stream->head + i) & (stream->cap - 1)];
}

static bool ring_grow(struct rpc_stream *stream)
{
    size_t cap = stream->cap ? stream->cap * 2 : FIRST_RING;
    struct item *ring = malloc(cap * sizeof(*ring));

    if (!ring)
        return false;
    for (size_t i = 0; i < stream->count; i++)
        ring[i] = *ring_at(stream, i);
    free(stream->ring);
    stream->ring = ring;
    stream->head = 0;
    stream->cap = cap;
    return true;
}

static int push(struct rpc_stream *stream, struct item item)
{
    size_t n = GRPC_SLICE_LENGTH(item.message);

    /* The bytes are more than their bound when a single large message waits. */
    if (stream->count >= stream->max_count ||
        (stream->count > 0 && stream->bytes + n > stream->max_bytes) ||
        (stream->count == stream->cap && !ring_grow(stream)))
        return -ENOBUFS;
    *ring_at(stream, stream->count++) = item;
    stream->bytes += n;
    if (!item.shared)
        stream->own_waiting += n;
    return 0;
}

static struct item pop(struct rpc_stream *stream)
{
    struct item item = *ring_at(stream, 0);
    size_t n = GRPC_SLICE_LENGTH(item.message);

    stream->head = (stream->head + 1) & (stream->cap - 1);
    stream->count--;
    stream->bytes -= n;
    if (!item.shared)
        stream->own_waiting -= n;
    return item;
}

static void drop_queue(struct rpc_stream *stream)
{
    while (stream->count > 0)
        grpc_slice_unref(pop(stream).message);
}

/* Nobody is there to be sent anything, or all has been sent. */
static void abandon(struct rpc_stream *stream)
{
    drop_queue(stream);
    if (!stream->ended)
        stream->code = RPC_CANCELLED;
    stream->own_elsewhere = 0;
    stream->ended = stream->status_sent = true;
}

void stream_free(struct rpc_call *call)
{
    struct rpc_stream *stream = call->stream;

    drop_queue(stream);
    free(stream->ring);
    status_free(&stream->status);
    arena_free(&stream->message_arena);
    pthread_mutex_destroy(&stream->lock);
}

/* ---- sending ---- */

/* Collects what can be sent now; the caller starts it after unlocking. */
static void next_batch(struct rpc_call *call, struct batch *batch)
{
    struct rpc_stream *stream = call->stream;

    batch->n = 0;
    if (stream->sending || stream->status_sent)
        return;
    if (!stream->headers_sent && (stream->count > 0 || stream->ended || stream->headers_wanted)) {
        batch_headers(batch, call);
        stream->headers_sent = true;
    }
    if (stream->count > 0) {
        struct item item = pop(stream);
        stream->own_sending = item.shared ? 0 : GRPC_SLICE_LENGTH(item.message);
        /* Only the last one that waits asks for its own write to the socket. */
        batch_message(batch, call, item.message, stream->count > 0 ? GRPC_WRITE_BUFFER_HINT : 0);
    }
    if (stream->count == 0 && stream->ended) {
        batch_status(batch, call, &stream->status);
        stream->status_sent = true;
    }
    stream->sending = batch->n > 0;
}

/* The lock is held. */
static void tell_held(struct rpc_call *call)
{
    const struct rpc_stream *stream = call->stream;

    if (stream->counted)
        held_set(call, stream->own_waiting + stream->own_sending + stream->own_elsewhere);
}

static void unlock_and_start(struct rpc_call *call)
{
    struct batch batch;

    next_batch(call, &batch);
    tell_held(call);
    pthread_mutex_unlock(&call->stream->lock);
    if (batch.n > 0)
        batch_start(&batch, call, &call->on_sent);
}

static void unlock_and_send(struct rpc_call *call)
{
    struct rpc_server *server = call->server; /* the call may be gone once it is sent */

    unlock_and_start(call);
    held_enforce(server);
}

/* Whether reading waits for the queue to empty. While something is queued it is being sent, so
 * stream_sent() will come. */
static bool hold_reading(struct rpc_call *call)
{
    struct rpc_stream *stream = call->stream;
    bool held;

    pthread_mutex_lock(&stream->lock);
    held = call->method->stream->paced && stream->sending &&
           (stream->bytes > PACED_QUEUE_BYTES ||
            stream->count > call->server->options.max_stream_queue / PACED_QUEUE_SHARE);
    stream->held = held;
    pthread_mutex_unlock(&stream->lock);
    return held;
}

static bool has_ended(struct rpc_call *call);
static void one_end_came(struct rpc_call *call);

static void resume_reading(struct rpc_call *call)
{
    if (has_ended(call))
        one_end_came(call);
    else
        call_receive(call);
}

void stream_sent(struct rpc_call *call, bool ok)
{
    const struct rpc_stream_handler *handler = call->method->stream;
    struct rpc_stream *stream = call->stream;
    bool resumed, drained;

    pthread_mutex_lock(&stream->lock);
    grpc_byte_buffer_destroy(call->outgoing);
    call->outgoing = NULL;
    stream->sending = false;
    stream->own_sending = 0;
    if (!ok) /* the caller has gone; RECV_CLOSE tells */
        abandon(stream);
    resumed = stream->held && stream->count == 0;
    if (resumed)
        stream->held = false;
    drained = stream->count == 0 && !stream->ended;
    unlock_and_send(call);
    if (drained && stream->opened && handler->drained)
        handler->drained(call->method->service, call);
    if (resumed)
        resume_reading(call);
}

bool stream_headers_sent(struct rpc_call *call)
{
    bool sent;

    pthread_mutex_lock(&call->stream->lock);
    sent = call->stream->headers_sent;
    pthread_mutex_unlock(&call->stream->lock);
    return sent;
}

/* Takes over the slice. */
static int send_item(struct rpc_call *call, struct item item)
{
    struct rpc_stream *stream = call->stream;
    int r;

    pthread_mutex_lock(&stream->lock);
    r = stream->ended ? -EPIPE : push(stream, item);
    unlock_and_send(call);
    if (r < 0)
        grpc_slice_unref(item.message);
    return r;
}

int rpc_stream_send(struct rpc_call *call, const ProtobufCMessage *message)
{
    assert(call->stream && message->descriptor == call->method->output);
    return send_item(call, (struct item){.message = message_pack(message)});
}

int rpc_stream_send_packed(struct rpc_call *call, const struct rpc_packed *packed)
{
    assert(call->stream);
    return send_item(call, (struct item){grpc_slice_ref(packed->bytes), .shared = true});
}

void rpc_stream_bound(struct rpc_call *call, size_t messages, size_t bytes)
{
    pthread_mutex_lock(&call->stream->lock);
    call->stream->max_count = messages;
    call->stream->max_bytes = bytes;
    pthread_mutex_unlock(&call->stream->lock);
}

void rpc_stream_waiting(struct rpc_call *call, size_t *ret_messages, size_t *ret_bytes)
{
    pthread_mutex_lock(&call->stream->lock);
    *ret_messages = call->stream->count;
    *ret_bytes = call->stream->bytes;
    pthread_mutex_unlock(&call->stream->lock);
}

/* ---- the end ---- */

/* Either nothing more is received or the call is closed; after both the handler hears no more. */
static void one_end_came(struct rpc_call *call)
{
    const struct rpc_stream_handler *handler = call->method->stream;

    if (atomic_fetch_sub(&call->stream->pending, 1) > 1)
        return;
    count_end(call, call->stream->code);
    if (call->stream->opened && handler->closed)
        handler->closed(call->method->service, call);
    rpc_call_unref(call);
}

/* Ends the stream with this status unless it has ended; the lock is held. */
static void end(struct rpc_stream *stream, const struct rpc_error *error)
{
    if (stream->ended)
        return;
    stream->ended = true;
    stream->code = error ? error->code : RPC_OK;
    status_free(&stream->status);
    status_make(&stream->status, error);
}

void rpc_stream_finish(struct rpc_call *call, const struct rpc_error *error)
{
    struct rpc_stream *stream = call->stream;
    bool refused = !stream->proceeded; /* by the authenticate hook: nothing was received */
    bool twice = atomic_exchange(&call->finished, true);

    assert(!twice); /* a stream is finished exactly once */
    (void)twice;
    pthread_mutex_lock(&stream->lock);
    end(stream, error);
    unlock_and_send(call);
    if (refused)
        one_end_came(call);
}

static void cut_off(struct rpc_call *call, const struct rpc_error *error)
{
    struct rpc_stream *stream = call->stream;
    bool stuck;

    pthread_mutex_lock(&stream->lock);
    drop_queue(stream);
    end(stream, error);
    stuck = stream->sending;
    if (stuck) /* the status can't overtake what is being sent: the core cuts it off */
        stream->status_sent = true;
    unlock_and_start(call);
    if (stuck) {
        char message[256];
        size_t n = error->message.n < sizeof(message) ? error->message.n : sizeof(message) - 1;
        if (n > 0)
            memcpy(message, error->message.p, n);
        message[n] = '\0';
        grpc_call_cancel_with_status(call->core, (grpc_status_code)error->code, message, NULL);
    }
}

void rpc_stream_cancel(struct rpc_call *call, const struct rpc_error *error)
{
    static const struct rpc_error cancelled = {.code = RPC_CANCELLED,
                                               .message = STR("the stream was cancelled")};

    assert(call->stream->proceeded);
    atomic_store(&call->finished, true);
    cut_off(call, error ? error : &cancelled);
}

void stream_give_up(struct rpc_call *call)
{
    cut_off(call, &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                      .message = STR("the answers were not read")});
}

void stream_hold(struct rpc_call *call, size_t bytes)
{
    struct rpc_stream *stream = call->stream;

    if (!stream->counted)
        return;
    pthread_mutex_lock(&stream->lock);
    if (!stream->status_sent)
        stream->own_elsewhere = bytes;
    unlock_and_send(call);
}

void stream_reply(struct rpc_call *call, const ProtobufCMessage *response)
{
    /* The one response of a client stream: nothing is queued before it. */
    if (rpc_stream_send(call, response) < 0) {
        rpc_stream_cancel(call, NULL);
        return;
    }
    rpc_stream_finish(call, NULL);
}

/* ---- callbacks ---- */

static bool has_ended(struct rpc_call *call)
{
    bool ended;

    pthread_mutex_lock(&call->stream->lock);
    ended = call->stream->ended;
    pthread_mutex_unlock(&call->stream->lock);
    return ended;
}

/* The runtime ends a stream whose input is bad. */
static void refuse_input(struct rpc_call *call, const struct rpc_error *error)
{
    pthread_mutex_lock(&call->stream->lock);
    end(call->stream, error);
    unlock_and_send(call);
}

void stream_closed(struct rpc_call *call)
{
    struct rpc_stream *stream = call->stream;

    pthread_mutex_lock(&stream->lock);
    abandon(stream);
    tell_held(call);
    pthread_mutex_unlock(&stream->lock);
    one_end_came(call);
}

static void open_stream(struct rpc_call *call, const ProtobufCMessage *request)
{
    struct rpc_stream *stream = call->stream;

    stream->opened = true;
    call->method->stream->open(call->method->service, call, request);
    if (call->method->stream->begins_late)
        return;
    /* The caller sees that the stream has begun, even when its first message is far. */
    pthread_mutex_lock(&stream->lock);
    stream->headers_wanted = true;
    unlock_and_send(call);
}

void stream_proceed(struct rpc_call *call)
{
    struct batch doorbell = {.n = 0}; /* to a poller thread */

    call->stream->proceeded = true;
    if (call->method->schema->client_streaming)
        batch_start(&doorbell, call, &call->on_open);
    else
        call_receive(call);
}

void stream_opened(struct rpc_call *call)
{
    open_stream(call, NULL);
    if (has_ended(call))
        one_end_came(call);
    else
        call_receive(call);
}

static void received_last(struct rpc_call *call)
{
    const struct rpc_stream_handler *handler = call->method->stream;

    if (!call->stream->opened) /* server streaming */
        refuse_input(call, &(struct rpc_error){.code = RPC_UNIMPLEMENTED,
                                               .message = STR("the call has no request message")});
    else if (handler->half_close && !grpc_call_failed_before_recv_message(call->core) &&
             !has_ended(call))
        handler->half_close(call->method->service, call);
    one_end_came(call);
}

/* Returns whether more may follow. */
static bool received_one(struct rpc_call *call)
{
    const struct rpc_method *method = call->method;
    bool many = method->schema->client_streaming;
    struct arena *arena = many ? &call->stream->message_arena : &call->arena;
    const ProtobufCMessage *message;
    struct rpc_error error;
    int r = message_decode(call, arena, &message, &error);

    if (r == -EDOM && many && method->stream->refused)
        method->stream->refused(method->service, call, message, &error);
    else if (r < 0)
        refuse_input(call, &error);
    else if (many)
        method->stream->message(method->service, call, message);
    else
        open_stream(call, message);
    if (many)
        arena_free(arena);
    return many;
}

void stream_received(struct rpc_call *call)
{
    if (!call->incoming)
        received_last(call);
    else if (has_ended(call) || !received_one(call) || has_ended(call))
        one_end_came(call);
    else if (!hold_reading(call))
        call_receive(call);
}
