/* Calls that travel together: one stream of a connection, stoa.edge.v1.CallService/Carry
 * (proto/stoa/edge/v1/call.proto), carries those that are small and of one message each way. What
 * the requests of a turn of the event loop ask goes as one message, and costs both sides less than
 * streams of their own.
 *
 * To the rest of the files behind h2.h a carried call is a stream without an id of HTTP/2: it is in
 * the connection's list of open ones, is lost, fails or is cancelled with them, and goes elsewhere
 * for the same reasons. A server that does not know the RPC, a stream that takes no more for now, a
 * call that is large: those go by themselves. */
#include "h2_internal.h"

#include "grpc/carry_wire.h"

#define FIRST_SLOTS 64
#define AGAIN 10000 /* ms */

/* An id is a slot's index and, above it, how often it was used. */
#define SLOT_BITS 16
#define SLOT_MASK ((1u << SLOT_BITS) - 1)

struct slot {
    struct grpc_h2_stream *s; /* NULL: free */
    uint64_t id;              /* the last one */
    uint32_t next;            /* the next free one */
};

struct h2_carrier {
    struct h2_connection *conn;
    struct grpc_h2_stream *stream; /* NULL: has ended */
    ngx_msec_t again_at;           /* when it may begin once more, if `again` */
    bool again;         /* it has ended, and not since the server does not know the RPC */
    bool works;         /* the server knows the RPC */
    bool going;         /* takes no new calls */
    bool full;          /* takes none for now */
    struct buf up;      /* the next CarryRequest */
    ngx_uint_t went_at; /* the connection's turn when `up` last went */
    struct slot *slots;
    uint32_t n_slots, free; /* free: n_slots: there is none */
    ngx_uint_t n_calls;
};

/* ---- slots ---- */

static bool grow(struct h2_carrier *carrier)
{
    uint32_t n = carrier->n_slots ? carrier->n_slots * 2 : FIRST_SLOTS;
    struct slot *slots = n > CARRY_CALLS_MAX ? NULL : ngx_alloc(n * sizeof(*slots), ngx_cycle->log);

    if (!slots)
        return false;
    if (carrier->n_slots)
        ngx_memcpy(slots, carrier->slots, carrier->n_slots * sizeof(*slots));
    for (uint32_t i = carrier->n_slots; i < n; i++)
        slots[i] = (struct slot){.id = i, .next = i + 1};
    ngx_free(carrier->slots);
    carrier->slots = slots;
    carrier->n_slots = n;
    return true;
}

static struct slot *take_slot(struct h2_carrier *carrier)
{
    struct slot *slot;

    if (carrier->free == carrier->n_slots && !grow(carrier))
        return NULL;
    slot = &carrier->slots[carrier->free];
    carrier->free = slot->next;
    slot->id += 1u << SLOT_BITS;
    return slot;
}

static struct grpc_h2_stream *find(const struct h2_carrier *carrier, uint64_t id)
{
    uint32_t at = id & SLOT_MASK;

    return at < carrier->n_slots && carrier->slots[at].id == id ? carrier->slots[at].s : NULL;
}

static void give_slot(struct h2_carrier *carrier, uint64_t id)
{
    uint32_t at = id & SLOT_MASK;

    carrier->slots[at].s = NULL;
    carrier->slots[at].next = carrier->free;
    carrier->free = at;
    carrier->n_calls--;
}

/* ---- up ---- */

/* False without memory: what waits is what it was, and whole. */
static bool has_put(struct h2_carrier *carrier, size_t before)
{
    if (!carrier->up.failed)
        return true;
    carrier->up.n = before;
    carrier->up.failed = carrier->up.no_memory = false;
    return false;
}

static bool put_call(struct h2_carrier *carrier, const struct grpc_h2_stream *s, uint64_t id)
{
    const struct h2_request *request = s->request;
    struct str message = str_skip(buf_str(&s->out), RPC_PREFIX_SIZE);
    size_t before = carrier->up.n;
    size_t mark = carry_begin_call(&carrier->up, id, request->path);

    for (size_t i = request->own; i < request->n; i++) {
        const nghttp2_nv *h = &request->headers[i];

        carry_put_metadata(&carrier->up, (struct str){(const char *)h->name, h->namelen},
                           (struct str){(const char *)h->value, h->valuelen});
    }
    carry_end_call(&carrier->up, mark, message, s->timeout);
    return has_put(carrier, before);
}

/* A server that is not told does what nobody waits for; the other calls do not suffer for it. */
static void put_cancelled(struct h2_carrier *carrier, uint64_t id)
{
    size_t before = carrier->up.n;

    carry_put_cancelled(&carrier->up, id);
    if (!has_put(carrier, before))
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "gRPC server %V: out of memory: it is not told that a caller has gone",
                      &carrier->conn->peer->address->name);
}

bool h2_carrier_suits(const struct h2_request *request)
{
    if (request->n - request->own > CARRY_METADATA_MAX || request->path.n > CARRY_NAME_MAX)
        return false;
    for (size_t i = request->own; i < request->n; i++) {
        const nghttp2_nv *h = &request->headers[i];

        if (!carry_is_metadata((struct str){(const char *)h->name, h->namelen},
                               (struct str){(const char *)h->value, h->valuelen}))
            return false;
    }
    return true;
}

static bool has_room(const struct h2_carrier *carrier)
{
    return carrier && carrier->works && !carrier->going && !carrier->full &&
           carrier->up.n < CARRY_REQUEST_MAX / 2;
}

bool h2_carrier_take(struct h2_connection *conn, struct grpc_h2_stream *s)
{
    struct h2_carrier *carrier = conn->carrier;
    struct slot *slot;

    if (!s->suits || s->request->size + s->out.n > CARRY_CALL_MAX || !has_room(carrier))
        return false;
    slot = take_slot(carrier);
    if (!slot)
        return false;
    slot->s = s;
    carrier->n_calls++;
    if (!put_call(carrier, s, slot->id)) {
        give_slot(carrier, slot->id);
        return false;
    }
    s->carried = slot->id;
    s->turn = conn->turn;
    s->sent_at = ngx_current_msec;
    return true;
}

void h2_carrier_flush(struct h2_connection *conn)
{
    struct h2_carrier *carrier = conn->carrier;
    ngx_int_t rc = NGX_OK;

    if (!carrier || !carrier->stream || carrier->stream->finished || carrier->full)
        return; /* when its stream has ended, what waits never goes: on_ended() comes */
    if (carrier->up.n)
        rc = grpc_h2_send(carrier->stream, buf_str(&carrier->up));
    carrier->went_at = conn->turn;
    carrier->full = rc == NGX_AGAIN;
    if (rc == NGX_ERROR)
        conn->broken = true;
    carrier->up.n = 0;
    if (carrier->going)
        grpc_h2_half_close(carrier->stream);
}

void h2_carrier_forget(struct h2_connection *conn, struct grpc_h2_stream *s, bool cancelled)
{
    if (cancelled && conn->carrier->stream)
        put_cancelled(conn->carrier, s->carried);
    give_slot(conn->carrier, s->carried);
    s->carried = 0;
}

/* ---- down ---- */

static void on_opened(void *data)
{
    struct h2_carrier *carrier = data;

    carrier->works = true;
    h2_session_widen(carrier->conn, carrier->stream, H2_CARRIER_WINDOW);
}

static void on_writable(void *data)
{
    struct h2_carrier *carrier = data;

    carrier->full = false;
    h2_connection_touch(carrier->conn);
}

static void on_going(void *data)
{
    struct h2_carrier *carrier = data;

    carrier->going = true;
    h2_connection_touch(carrier->conn);
}

/* Whether nothing of a call has been written: it still waits here, perhaps. */
static bool is_unsent(const struct h2_carrier *carrier, const struct grpc_h2_stream *s)
{
    return (ngx_int_t)(s->turn - carrier->went_at) > 0 || h2_connection_unsent(carrier->conn, s);
}

/* Its stream has ended: so have its calls, as if the connection had. */
static void lose_calls(struct h2_carrier *carrier, int status, struct str reason)
{
    if (carrier->n_calls)
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "gRPC server %V: calls that travelled together are lost: %d: %*s",
                      &carrier->conn->peer->address->name, status, reason.n, reason.p);
    carrier->stream = NULL;
    carrier->works = carrier->going = carrier->full = false;
    carrier->again = status != RPC_UNIMPLEMENTED;
    carrier->again_at = ngx_current_msec + AGAIN;
    for (uint32_t i = 0; i < carrier->n_slots; i++) {
        struct grpc_h2_stream *s = carrier->slots[i].s;

        if (s)
            h2_stream_lost(s, is_unsent(carrier, s));
    }
    carrier->up.n = 0;
}

static bool on_message(void *data, struct str wire)
{
    struct h2_carrier *carrier = data;
    struct schema_reader r = schema_reader_of(wire);
    struct carry_answer answer;
    struct grpc_h2_stream *s;
    bool going = false;
    int got;

    while ((got = carry_next(&r, &answer, &going)) == 1) {
        s = find(carrier, answer.id);
        if (s)
            h2_stream_answer(s, &answer);
    }
    if (going)
        on_going(carrier);
    if (got == 0)
        return true;
    grpc_h2_cancel(carrier->stream);
    lose_calls(carrier, RPC_INTERNAL, STR("a CarryResponse is broken"));
    return false;
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    lose_calls(data, end->status, end->message);
}

static const struct grpc_h2_callbacks callbacks = {
    .opened = on_opened,
    .message = on_message,
    .writable = on_writable,
    .going = on_going,
    .ended = on_ended,
};

/* ---- beginning and end ---- */

static struct h2_carrier *new_carrier(struct h2_connection *conn)
{
    struct h2_carrier *carrier = ngx_calloc(sizeof(*carrier), ngx_cycle->log);

    if (!carrier)
        return NULL;
    carrier->conn = conn;
    buf_init(&carrier->up, CARRY_REQUEST_MAX);
    return carrier;
}

static bool is_time(const struct h2_carrier *carrier)
{
    return carrier->again && (ngx_msec_int_t)(carrier->again_at - ngx_current_msec) <= 0;
}

/* Without memory calls go by themselves, and the next one tries again. */
void h2_carrier_begin(struct h2_connection *conn, const struct grpc_h2_stream *s)
{
    if (conn->carrier && !is_time(conn->carrier))
        return;
    if (!conn->carrier)
        conn->carrier = new_carrier(conn);
    if (!conn->carrier)
        return;
    conn->carrier->stream = h2_stream_open_on(conn, s->upstream, s->carrier, CARRY_RESPONSE_MAX,
                                              &callbacks, conn->carrier);
    conn->carrier->again = !conn->carrier->stream;
}

ngx_uint_t h2_carrier_calls(const struct h2_connection *conn)
{
    return conn->carrier ? conn->carrier->n_calls : 0;
}

/* One that has ended is none of the connection's, also while that is not yet told. */
ngx_uint_t h2_carrier_streams(const struct h2_connection *conn)
{
    return conn->carrier && conn->carrier->stream && conn->carrier->stream->id ? 1 : 0;
}

void h2_carrier_free(struct h2_connection *conn)
{
    struct h2_carrier *carrier = conn->carrier;

    if (!carrier)
        return;
    if (carrier->stream)
        grpc_h2_cancel(carrier->stream);
    for (uint32_t i = 0; i < carrier->n_slots; i++) {
        if (carrier->slots[i].s)
            carrier->slots[i].s->carried = 0;
    }
    buf_free(&carrier->up);
    ngx_free(carrier->slots);
    ngx_free(carrier);
    conn->carrier = NULL;
}
