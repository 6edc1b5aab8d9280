/* Connect and Subscribe as gRPC streams: a session each. On the service's one poller thread, so
 * that `drained` does not run beside `closed`; what the session layer sends is queued from any. */
#include "live.h"

#include <errno.h>
#include <stdlib.h>

/* A replay goes on while less than this waits. */
#define BUSY_MESSAGES 64
#define BUSY_BYTES ((size_t)64 << 10)

struct stream_session {
    struct live_session session;
    struct live_carrier carrier;
    struct rpc_call *call; /* until live_closed() */
    bool ended;            /* its status is on its way; under the hub's lock */
};

static struct stream_session *stream_of(struct live_session *session)
{
    return CONTAINER_OF(session, struct stream_session, session);
}

/* ---- the transport ---- */

static int send_part(struct live_session *session, const struct rpc_packed *part)
{
    int r = rpc_stream_send_packed(stream_of(session)->call, part);

    return r == -ENOBUFS ? r : 0; /* of one that is gone `closed` tells */
}

static bool is_busy(struct live_session *session)
{
    size_t messages, bytes;

    rpc_stream_waiting(stream_of(session)->call, &messages, &bytes);
    return messages >= BUSY_MESSAGES || bytes >= BUSY_BYTES;
}

static void end(struct live_session *session, const struct rpc_error *error, bool at_once)
{
    struct stream_session *stream = stream_of(session);

    if (at_once)
        rpc_stream_cancel(stream->call, error);
    else if (!stream->ended)
        rpc_stream_finish(stream->call, error);
    stream->ended = true;
}

static void free_session(struct live_session *session)
{
    free(stream_of(session));
}

static const struct live_transport transport = {
    .send = send_part, .busy = is_busy, .end = end, .free = free_session};

/* ---- callbacks of the streams ---- */

static struct stream_session *session_of(const struct rpc_call *call)
{
    return rpc_call_context(call);
}

/* NULL: the call has been failed. */
static struct live_session *begin(struct service *service, struct rpc_call *call,
                                  enum live_kind kind)
{
    struct hub *hub = chat_hub(service);
    const struct live_settings *settings = hub_settings(hub);
    struct stream_session *stream = calloc(1, sizeof(*stream));
    const struct service_caller *caller = service_caller(call);

    rpc_call_set_context(call, stream);
    if (!stream) {
        service_fail_memory(call);
        return NULL;
    }
    stream->call = call;
    rpc_stream_bound(call, (size_t)settings->max_waiting, (size_t)settings->waiting_bytes);
    live_carrier_init(&stream->carrier, hub, &transport);
    live_open(&stream->session, &stream->carrier, kind, caller, false);
    return &stream->session;
}

static void open_connect(void *service, struct rpc_call *call,
                         const ProtobufCMessage *request UNUSED)
{
    (void)begin(service, call, LIVE_CONNECT);
}

static void open_subscribe(void *service, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Stoa__Chat__V1__SubscribeRequest *request =
        (const Stoa__Chat__V1__SubscribeRequest *)message;
    struct live_session *session = begin(service, call, LIVE_SUBSCRIBE);

    if (session)
        live_subscribe(session, request->room, request->_after_seq_case ? request->after_seq : -1,
                       NULL);
}

static void on_message(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *message)
{
    if (session_of(call))
        live_message(&session_of(call)->session, (const Stoa__Chat__V1__ConnectRequest *)message);
}

static void on_refused(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *message,
                       const struct rpc_error *error)
{
    if (session_of(call))
        live_refused(&session_of(call)->session, (const Stoa__Chat__V1__ConnectRequest *)message,
                     error);
}

static void on_half_close(void *service UNUSED, struct rpc_call *call)
{
    if (session_of(call))
        live_half_closed(&session_of(call)->session);
}

static void on_drained(void *service UNUSED, struct rpc_call *call)
{
    if (session_of(call))
        live_drained(&session_of(call)->session);
}

static void on_closed(void *service UNUSED, struct rpc_call *call)
{
    if (session_of(call))
        live_closed(&session_of(call)->session);
}

static const struct rpc_stream_handler connect_stream = {.open = open_connect,
                                                         .message = on_message,
                                                         .refused = on_refused,
                                                         .half_close = on_half_close,
                                                         .drained = on_drained,
                                                         .closed = on_closed},
                                       subscribe_stream = {.open = open_subscribe,
                                                           .drained = on_drained,
                                                           .closed = on_closed,
                                                           .begins_late = true};

const struct rpc_handler connect_handler = {.method = "Connect", .stream = &connect_stream},
                         subscribe_handler = {.method = "Subscribe", .stream = &subscribe_stream};
