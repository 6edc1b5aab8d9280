/* A session with a gRPC stream of its own on the worker's shared connections. Runs in a worker. */
#include "session.h"

#include <errno.h>

/* ---- to the service ---- */

static bool is_full(struct session *s)
{
    return s->full;
}

static ngx_int_t send_message(struct session *s, struct str wire)
{
    ngx_int_t rc = grpc_h2_send(s->call, wire);

    if (rc != NGX_AGAIN)
        return rc;
    s->full = true;
    return NGX_OK;
}

static void half_close(struct session *s)
{
    grpc_h2_half_close(s->call);
}

static void resume(struct session *s)
{
    grpc_h2_resume(s->call);
}

static void cancel(struct session *s)
{
    grpc_h2_cancel(s->call);
}

static const struct session_carrier carrier = {
    .is_full = is_full,
    .send = send_message,
    .half_close = half_close,
    .resume = resume,
    .cancel = cancel,
};

/* ---- from the service ---- */

static void on_opened(void *data)
{
    session_opened(data);
}

static bool on_message(void *data, struct str wire)
{
    struct session *s = data;
    bool more = session_deliver(s, wire);

    if (s->call)
        return more;
    session_settle(s);
    return false;
}

static void on_writable(void *data)
{
    struct session *s = data;

    s->full = false;
    session_go_on(s);
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    session_end(data, end);
}

static const struct grpc_h2_callbacks callbacks = {
    .opened = on_opened, .message = on_message, .writable = on_writable, .ended = on_ended};

int session_open_stream(struct session *s, const struct session_opening *opening)
{
    s->carrier = &carrier;
    s->call = grpc_h2_open(opening->upstream, s->method->path, opening->headers, opening->n,
                           opening->timeout, s->conf->response_limit, &callbacks, s, s->c->log);
    return s->call ? 0 : -ENOMEM;
}
