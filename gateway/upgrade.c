/* A request on its way to become a WebSocket. Its stream is opened at once; the 101 waits for the
 * service's metadata, or a moment, so that a call that fails at once is answered by a problem with
 * its status. Until then nginx has the request; afterwards there is only the session. */
#include "attach.h"

#include "http/websocket_handshake.h"
#include "rpc_status.h"

#include <errno.h>
#include <stdlib.h>

/* Path and query are small: a request line. */
#define FIRST_MAX 65536

/* In the request's pool. */
struct upgrade {
    ngx_http_request_t *r;
    struct grpc_json_ctx *ctx;
    struct session *session; /* NULL: it has the connection, or has gone */
    struct handshake handshake;
    ngx_event_t timer;
    ngx_event_t ready; /* posted: the 101 can go out */
};

/* ---- the end of waiting ---- */

static void clean_up(void *data)
{
    struct upgrade *u = data;

    if (u->timer.timer_set)
        ngx_del_timer(&u->timer);
    if (u->ready.posted) { /* several statements */
        ngx_delete_posted_event(&u->ready);
    }
    if (u->session)
        session_free(u->session);
    u->session = NULL;
}

/* Goes on with the request from an event of our own, as nginx would from one of the client's. */
static void finalize(struct upgrade *u, ngx_int_t rc)
{
    ngx_connection_t *c = u->r->connection;

    ngx_http_set_log_request(c->log, u->r);
    ngx_http_finalize_request(u->r, rc);
    ngx_http_run_posted_requests(c);
}

/* ---- the 101 ---- */

static ngx_int_t push(ngx_http_request_t *r, const char *name, ngx_str_t value)
{
    return value.len == 0 || grpc_json_push_header(r, name, value) ? NGX_OK : NGX_ERROR;
}

static ngx_int_t extensions(ngx_http_request_t *r, unsigned window, ngx_str_t *ret)
{
    ret->len = 0;
    if (!window)
        return NGX_OK;
    ret->data = ngx_pnalloc(r->pool, WEBSOCKET_EXTENSIONS_SIZE);
    if (!ret->data)
        return NGX_ERROR;
    ret->len = websocket_extensions_print((char *)ret->data, window);
    return NGX_OK;
}

/* nginx writes "Connection: upgrade" by itself. */
static ngx_int_t send_header(ngx_http_request_t *r, const struct handshake *handshake)
{
    ngx_str_t websocket = ngx_string("websocket"), extension;
    ngx_int_t rc;

    ngx_http_clean_header(r);
    r->keepalive = 0;
    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;
    ngx_str_set(&r->headers_out.status_line, "101 Switching Protocols");
    if (push(r, "Upgrade", websocket) != NGX_OK ||
        push(r, "Sec-WebSocket-Accept", handshake->accept) != NGX_OK ||
        push(r, "Sec-WebSocket-Protocol", handshake->protocol) != NGX_OK ||
        extensions(r, handshake->window, &extension) != NGX_OK ||
        push(r, "Sec-WebSocket-Extensions", extension) != NGX_OK)
        return NGX_ERROR;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK)
        return NGX_ERROR;
    return ngx_http_send_special(r, NGX_HTTP_FLUSH);
}

/* All of the header has to be out, and nobody else may touch the request: so from an event. */
static void detach(struct upgrade *u)
{
    struct session *s = u->session;

    u->session = NULL;
    session_detach(s, u->r);
}

/* The client's buffers were full of answers that came before. */
static void flush(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    ngx_event_t *event = r->connection->write;

    if (event->timedout) {
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }
    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }
    if (r->connection->buffered || r->buffered) {
        if (!event->timer_set)
            ngx_add_timer(event, core->send_timeout);
        if (ngx_handle_write_event(event, core->send_lowat) != NGX_OK)
            ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }
    ngx_post_event(&ctx->upgrade->ready, &ngx_posted_events);
}

static void on_ready(ngx_event_t *event)
{
    struct upgrade *u = event->data;
    ngx_http_request_t *r = u->r;
    const ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (u->timer.timer_set)
        ngx_del_timer(&u->timer);
    ngx_http_set_log_request(r->connection->log, r);
    if (u->session->state == SESSION_GONE ||
        (!r->header_sent && send_header(r, &u->handshake) == NGX_ERROR)) {
        finalize(u, NGX_ERROR);
        return;
    }
    if (r->connection->buffered || r->buffered) {
        r->write_event_handler = flush;
        flush(r);
        return;
    }
    /* As nginx does for its own upgrades: or a message waits until the client's system has
     * acknowledged the one before, some 40 ms. */
    if (core->tcp_nodelay && ngx_tcp_nodelay(r->connection) != NGX_OK) {
        finalize(u, NGX_ERROR);
        return;
    }
    detach(u);
}

static void be_ready(struct upgrade *u)
{
    if (!u->ready.posted) { /* several statements */
        ngx_post_event(&u->ready, &ngx_posted_events);
    }
}

static void on_timer(ngx_event_t *event)
{
    be_ready(event->data);
}

/* ---- the stream ---- */

void upgrade_opened(struct upgrade *u)
{
    /* What has come along with it is heard before that: it may be the end. */
    be_ready(u);
}

/* As for a unary call: the service's own failures by their code, those to reach it as 502 or
 * 504. */
static ngx_int_t set_problem(struct upgrade *u, const struct grpc_h2_end *end)
{
    struct problem problem;

    if (!end->from_upstream) {
        ngx_log_error(NGX_LOG_ERR, u->r->connection->log, 0, "websocket: %*s failed: %*s",
                      u->ctx->match.method->path.n, u->ctx->match.method->path.p, end->message.n,
                      end->message.p);
        return grpc_json_set_status(u->r, u->ctx,
                                    end->status == RPC_DEADLINE_EXCEEDED ? NGX_HTTP_GATEWAY_TIME_OUT
                                                                         : NGX_HTTP_BAD_GATEWAY);
    }
    if (rpc_problem(&problem, end->status, end->message, end->details, grpc_json_scratch()))
        return grpc_json_set_status(u->r, u->ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    return grpc_json_set_problem(u->r, u->ctx, &problem);
}

void upgrade_ended(struct upgrade *u, const struct grpc_h2_end *end)
{
    struct session *s = u->session;

    if (end->from_upstream)
        u->ctx->grpc_status = end->status;
    if (u->r->header_sent || (end->from_upstream && end->status == RPC_OK) || s->out.count) {
        session_say_end(s, end);
        be_ready(u);
        return;
    }
    ngx_http_set_log_request(u->r->connection->log, u->r);
    finalize(u, grpc_json_refuse(u->ctx, set_problem(u, end)));
}

/* What path and query say, checked now that there can be an answer about it. */
static int read_first(ngx_http_request_t *r, struct upgrade *u, struct arena *arena,
                      enum schema_part *part, struct schema_fault *fault)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct schema_json_options options = {.refuse_unknown = conf->refuse_unknown != 0,
                                          .max_items = (size_t)conf->array_limit};
    struct buf *wire = grpc_json_scratch_buf(FIRST_MAX);
    int err = schema_request(conf->schema, &u->ctx->match, grpc_json_str(r->args), STR_NULL,
                             &options, wire, arena, part, fault);
    char *copy;

    if (err || wire->n == 0)
        return err;
    copy = malloc(wire->n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, wire->p, wire->n);
    u->session->first = (struct str){copy, wire->n};
    return 0;
}

/* As the configuration says for the method: with a stream of its own, or with a part of one. */
static int open_call(struct session *s, const struct session_opening *opening)
{
    struct str attach = grpc_json_websocket_attach(&s->conf->websocket, s->method);

    return attach.p ? attach_open(s, attach, opening) : session_open_stream(s, opening);
}

static ngx_int_t open_stream(ngx_http_request_t *r, struct upgrade *u, const ngx_list_t *metadata)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct session_opening opening = {.upstream = grpc_json_target_find(r, &conf->websocket.target),
                                      .timeout = u->ctx->timeout,
                                      .came = u->ctx->came};

    if (!opening.upstream)
        return grpc_json_refuse_status(r, u->ctx, NGX_HTTP_BAD_GATEWAY);
    opening.headers = grpc_json_flatten(r, metadata, &opening.n);
    if (!opening.headers || open_call(u->session, &opening))
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_add_timer(&u->timer, conf->websocket.open_timeout);
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    return NGX_DONE;
}

/* ---- the beginning ---- */

static struct upgrade *new_upgrade(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                   const struct handshake *handshake)
{
    struct upgrade *u = ngx_pcalloc(r->pool, sizeof(*u));
    ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(r, 0);

    if (!u || !cleanup)
        return NULL;
    u->r = r;
    u->ctx = ctx;
    u->handshake = *handshake;
    u->timer.handler = on_timer;
    u->timer.data = u;
    u->timer.log = r->connection->log;
    u->ready.handler = on_ready;
    u->ready.data = u;
    u->ready.log = r->connection->log;
    u->session = session_new(r, u, handshake->window);
    cleanup->handler = clean_up;
    cleanup->data = u;
    ctx->upgrade = u;
    return u->session ? u : NULL;
}

ngx_int_t grpc_json_upgrade(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                            const struct handshake *handshake)
{
    struct upgrade *u = new_upgrade(r, ctx, handshake);
    struct arena *arena = grpc_json_scratch();
    struct schema_fault fault = {STR_NULL, STR_NULL};
    enum schema_part part = SCHEMA_PART_QUERY;
    struct problem problem;
    ngx_list_t metadata;

    if (!u || ngx_list_init(&metadata, r->pool, 8, sizeof(ngx_table_elt_t)) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    switch (read_first(r, u, arena, &part, &fault)) {
    case 0:
        break;
    case -EBADMSG:
        return grpc_json_refuse_fault(r, ctx, arena, part, &fault);
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    switch (grpc_json_make_metadata(r, ctx, &metadata, &problem)) {
    case NGX_OK:
        return open_stream(r, u, &metadata);
    case NGX_DECLINED:
        return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}
