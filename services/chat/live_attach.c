/* Connect as calls in an Attach: many sessions on the stream of an edge, which copies what all in a
 * room get. On poller threads; what the session layer says is queued from any.
 *
 * A session is authenticated as the call would be, by one of the process's own. It is told that it
 * is accepted with the first thing that the session layer sends, so that one which is refused there
 * is a refused call. */
#include "live.h"

#include "base/log.h"
#include "edge/edge.h"

#include <errno.h>
#include <stdlib.h>

/* Of a message, unpacked. */
#define MESSAGE_MEMORY (1 << 20)

#define CONNECT "/stoa.chat.v1.LiveService/Connect"

/* An edge's stream. */
struct attached {
    struct live_carrier carrier; /* as long as sessions refer to it */
    struct service *service;
    struct edge_stream *stream; /* until it is detached */
    atomic_uint refs;
    struct rpc_call *decoder; /* knows the method; NULL until the first message */
    struct arena arena;       /* of a message */
};

enum attached_state {
    OPENING,
    OPEN,
    CLOSED, /* the edge's call has ended; while it was OPEN the session layer has been told */
};

struct attached_session {
    struct live_session session;
    struct attached *in;       /* a reference */
    struct edge_session *edge; /* a reference */
    atomic_uint refs;          /* the edge's, the opening call's, the session layer's */
    atomic_int state;          /* enum attached_state */
    bool accepted;             /* under the hub's lock */
};

struct position {
    int64_t room, seq;
};

/* A session that is being authenticated; in the arena of its call. */
struct opening {
    struct attached_session *s;
    bool resumed;
    struct position *positions;
    size_t n_positions;
};

static const struct rpc_error out_of_memory = {
    .code = RPC_RESOURCE_EXHAUSTED, .message = STR("out of memory"), .reason = "OVERLOADED"};

static const struct rpc_error busy = {
    .code = RPC_UNAVAILABLE, .message = STR("the service is overloaded"), .reason = "OVERLOADED"};

/* ---- references ---- */

static void attached_unref(struct attached *in)
{
    if (atomic_fetch_sub(&in->refs, 1) == 1)
        free(in);
}

static void session_unref(struct attached_session *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    edge_unref(s->edge);
    attached_unref(s->in);
    free(s);
}

/* ---- the transport ---- */

static struct attached_session *session_of(struct live_session *session)
{
    return CONTAINER_OF(session, struct attached_session, session);
}

static struct attached_session *accepted(struct live_session *session)
{
    struct attached_session *s = session_of(session);

    if (!s->accepted)
        edge_accept(s->edge);
    s->accepted = true;
    return s;
}

/* Who reads too slowly is the edge's to judge. */
static int send_part(struct live_session *session, const struct rpc_packed *part)
{
    edge_send(accepted(session)->edge, rpc_packed_bytes(part));
    return 0;
}

static int send_event(struct live_session *session, const struct rpc_packed *part, int64_t channel,
                      int64_t seq)
{
    edge_send_at(accepted(session)->edge, rpc_packed_bytes(part), (uint64_t)channel, seq);
    return 0;
}

static bool is_busy(struct live_session *session)
{
    return edge_is_busy(session_of(session)->edge);
}

static void place(struct live_session *session, int64_t channel, int64_t seq, bool live)
{
    edge_join(accepted(session)->edge, (uint64_t)channel, seq, live);
}

static void left(struct live_session *session, int64_t channel)
{
    edge_leave(session_of(session)->edge, (uint64_t)channel);
}

static void broadcast(struct live_carrier *carrier, int64_t channel, int64_t seq,
                      const struct rpc_packed *message)
{
    edge_broadcast(CONTAINER_OF(carrier, struct attached, carrier)->stream, (uint64_t)channel, seq,
                   rpc_packed_bytes(message));
}

static void resume_state(struct live_session *session, struct str state)
{
    edge_keep(session_of(session)->edge, state);
}

static void end(struct live_session *session, const struct rpc_error *error, bool at_once UNUSED)
{
    edge_end(session_of(session)->edge, error);
}

static void free_session(struct live_session *session)
{
    session_unref(session_of(session));
}

static const struct live_transport transport = {
    .send = send_part,
    .send_event = send_event,
    .busy = is_busy,
    .place = place,
    .left = left,
    .broadcast = broadcast,
    .resume_state = resume_state,
    .end = end,
    .free = free_session,
};

/* ---- a session begins ---- */

/* A gateway says what the session was given before; anybody else could say anything, as often as
 * they like. */
static void follow_again(const struct opening *opening, struct rpc_call *call)
{
    struct live_session *session = &opening->s->session;
    bool gateway = service_called_by_gateway(opening->s->in->service, call);

    for (size_t i = 0; i < opening->n_positions; i++) {
        const struct position *position = &opening->positions[i];

        if (gateway)
            live_subscribe(session, position->room, position->seq, NULL);
        else
            live_ask(session, position->room, position->seq, NULL);
    }
}

/* Its caller is known. */
static void proceed(void *user, struct rpc_call *call)
{
    const struct opening *opening = user;
    struct attached_session *s = opening->s;
    int expected = OPENING;

    if (atomic_load(&s->state) == OPENING) {
        const struct service_caller *caller = service_caller(call);

        atomic_fetch_add(&s->refs, 1);
        live_open(&s->session, &s->in->carrier, LIVE_CONNECT, caller, opening->resumed);
        edge_keep(s->edge, caller->token);
        follow_again(opening, call);
        if (!atomic_compare_exchange_strong(&s->state, &expected, OPEN))
            live_closed(&s->session);
    }
    rpc_local_end(call);
    session_unref(s);
}

static void failed(void *user, struct rpc_call *call UNUSED, const struct rpc_error *error)
{
    const struct opening *opening = user;

    edge_end(opening->s->edge, error);
    session_unref(opening->s);
}

/* The metadata of the call that it would have been, in the call's arena. -ENOMEM. */
static int set_metadata(struct rpc_call *call, const struct attached *in,
                        const Stoa__Edge__V1__Open *open)
{
    struct arena *arena = rpc_call_arena(call);
    size_t n = open->resumed ? 1 : open->n_metadata;
    struct rpc_local_metadata *metadata = arena_calloc(arena, n, sizeof(*metadata));
    struct str peer = arena_copy(arena, rpc_call_peer(edge_stream_call(in->stream)));
    bool whole = metadata && peer.p;

    for (size_t i = 0; whole && !open->resumed && i < n; i++) {
        metadata[i].key = arena_copy(arena, str_of(open->metadata[i]->name));
        metadata[i].value = arena_copy(arena, str_of(open->metadata[i]->value));
        whole = metadata[i].key.p && metadata[i].value.p;
    }
    if (whole && open->resumed) {
        metadata[0].key = STR("authorization");
        metadata[0].value = arena_printf(arena, "Bearer %.*s", (int)open->resume_state.len,
                                         (const char *)open->resume_state.data);
        whole = metadata[0].value.p;
    }
    rpc_local_set_metadata(call, metadata, whole ? n : 0, peer);
    return whole ? 0 : -ENOMEM;
}

/* NULL without memory. */
static struct opening *make_opening(struct rpc_call *call, struct attached_session *s,
                                    const Stoa__Edge__V1__Open *open)
{
    struct arena *arena = rpc_call_arena(call);
    struct opening *opening = arena_calloc(arena, 1, sizeof(*opening));

    if (!opening)
        return NULL;
    opening->s = s;
    opening->resumed = open->resumed;
    opening->n_positions = open->n_positions;
    opening->positions = arena_calloc(arena, open->n_positions, sizeof(*opening->positions));
    for (size_t i = 0; opening->positions && i < open->n_positions; i++)
        opening->positions[i] =
            (struct position){(int64_t)open->positions[i]->channel, open->positions[i]->seq};
    return opening->positions ? opening : NULL;
}

static void authenticate(struct attached_session *s, const Stoa__Edge__V1__Open *open)
{
    static const struct rpc_local local = {.method = CONNECT, .proceed = proceed, .failed = failed};
    struct opening *opening;
    struct rpc_call *call;
    int r = rpc_local_new(service_rpc(s->in->service), &local, &call);

    if (r < 0) {
        edge_end(s->edge, r == -ENOMEM ? &out_of_memory : &busy);
        return;
    }
    opening = make_opening(call, s, open);
    if (!opening || set_metadata(call, s->in, open) < 0) {
        edge_end(s->edge, &out_of_memory);
        rpc_local_end(call);
        return;
    }
    atomic_fetch_add(&s->refs, 1);
    rpc_local_set_user(call, opening);
    rpc_local_authenticate(call);
}

static void on_open(void *context UNUSED, struct edge_session *edge,
                    const Stoa__Edge__V1__Open *open)
{
    static const struct rpc_error unknown = {.code = RPC_UNIMPLEMENTED,
                                             .message = STR("there is no such method here")};
    struct attached *in = edge_stream_context(edge_stream_of(edge));
    struct attached_session *s = in ? calloc(1, sizeof(*s)) : NULL;

    edge_set_context(edge, s);
    if (!s) {
        edge_end(edge, &out_of_memory);
        return;
    }
    s->in = in;
    s->edge = edge;
    atomic_fetch_add(&in->refs, 1);
    edge_ref(edge);
    atomic_init(&s->refs, 1);
    atomic_init(&s->state, OPENING);
    if (strcmp(open->method, CONNECT) == 0)
        authenticate(s, open);
    else
        edge_end(edge, &unknown);
}

static void on_closed(void *context UNUSED, struct edge_session *edge)
{
    struct attached_session *s = edge_context(edge);

    if (!s)
        return;
    if (atomic_exchange(&s->state, CLOSED) == OPEN)
        live_closed(&s->session);
    session_unref(s);
}

/* ---- what it says ---- */

static struct rpc_call *decoder_of(struct attached *in)
{
    static const struct rpc_local local = {.method = CONNECT};

    if (!in->decoder && rpc_local_new(service_rpc(in->service), &local, &in->decoder) < 0)
        in->decoder = NULL;
    return in->decoder;
}

static void on_message(void *context UNUSED, struct edge_session *edge, struct str bytes)
{
    struct attached_session *s = edge_context(edge);
    struct rpc_call *decoder = s ? decoder_of(s->in) : NULL;
    const ProtobufCMessage *message;
    struct rpc_error error;
    int r;

    if (!decoder) {
        edge_end(edge, &busy);
        return;
    }
    r = rpc_local_decode(decoder, bytes, &s->in->arena, &message, &error);
    if (r == 0)
        live_message(&s->session, (const Stoa__Chat__V1__ConnectRequest *)message);
    else if (r == -EDOM)
        live_refused(&s->session, (const Stoa__Chat__V1__ConnectRequest *)message, &error);
    else
        edge_end(edge, &error);
    arena_free(&s->in->arena);
}

static void on_half_close(void *context UNUSED, struct edge_session *edge)
{
    struct attached_session *s = edge_context(edge);

    if (s)
        live_half_closed(&s->session);
}

static void on_drained(void *context UNUSED, struct edge_session *edge)
{
    struct attached_session *s = edge_context(edge);

    if (s)
        live_drained(&s->session);
}

/* ---- streams ---- */

static void on_attached(void *context, struct edge_stream *stream)
{
    struct attached *in = calloc(1, sizeof(*in));

    if (!service_called_by_gateway(context, edge_stream_call(stream)))
        edge_stream_is_guest(stream);
    edge_stream_set_context(stream, in);
    if (!in) {
        log_error("no memory for the stream of an edge");
        return;
    }
    in->service = context;
    in->stream = stream;
    atomic_init(&in->refs, 1);
    arena_init(&in->arena, MESSAGE_MEMORY);
    live_carrier_init(&in->carrier, chat_hub(context), &transport);
}

static void on_detached(void *context UNUSED, struct edge_stream *stream)
{
    struct attached *in = edge_stream_context(stream);

    if (!in)
        return;
    if (in->decoder)
        rpc_local_end(in->decoder);
    attached_unref(in);
}

/* Before an instance knows whose tokens count, it would have to refuse those who come back. */
static bool is_ready(void *context)
{
    return service_knows_callers(context);
}

int live_attach_new(struct service *service, struct edge **ret)
{
    static const struct edge_handler handler = {
        .ready = is_ready,
        .attached = on_attached,
        .detached = on_detached,
        .open = on_open,
        .message = on_message,
        .half_close = on_half_close,
        .drained = on_drained,
        .closed = on_closed,
    };

    return edge_new(&handler, service, ret);
}
