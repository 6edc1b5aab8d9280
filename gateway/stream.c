/* The answer of a server stream: message by message, at the speed of the client.
 *
 * The client's header waits for the first message, or a moment longer than the service's own, so
 * that a call that fails at once is answered by a problem with its status. What the call says is
 * made text as it comes; a posted event sends what all of it makes. Runs in a worker. */
#include "stream.h"

#include "call.h"
#include "http/sse.h"
#include "rpc_status.h"

/* Text of so many bytes goes out before more messages are taken. */
#define TEXT_TARGET 32768
/* Memory for text that an idle stream keeps. */
#define TEXT_KEPT 4096
/* ms for a failure to follow the service's header. */
#define HEADER_DELAY 10

/* ---- the form ---- */

enum grpc_json_form grpc_json_stream_form(ngx_http_request_t *r, const struct schema_match *match)
{
    unsigned events = grpc_json_accepts(r, STR("text/event-stream"));
    unsigned lines = grpc_json_accepts(r, STR("application/x-ndjson"));

    if (schema_match_raw_response(match)) {
        /* Bytes of any type, unless one of the two is what is asked for. */
        unsigned any = grpc_json_accepts(r, STR("application/octet-stream"));

        if (events <= any && lines <= any)
            return GRPC_JSON_RAW;
    }
    if (!events && !lines)
        return GRPC_JSON_NO_FORM;
    if (lines == events)
        return match->method->json_lines ? GRPC_JSON_LINES : GRPC_JSON_EVENTS;
    return lines > events ? GRPC_JSON_LINES : GRPC_JSON_EVENTS;
}

/* ---- the end ---- */

static void clean_up(void *data)
{
    struct grpc_json_stream *s = data;

    if (s->timer.timer_set)
        ngx_del_timer(&s->timer);
    if (s->go.posted) { /* several statements */
        ngx_delete_posted_event(&s->go);
    }
    grpc_json_exit_forget(&s->exit_hook);
    buf_free(&s->text);
    buf_free(&s->going);
}

/* Something is to be sent, or the request is to end. */
static void go_soon(struct grpc_json_stream *s)
{
    ngx_post_event(&s->go, &ngx_posted_events);
}

/* Nothing more of the service's is wanted. */
static void stop(struct grpc_json_stream *s)
{
    s->ended = true;
    if (s->timer.timer_set)
        ngx_del_timer(&s->timer);
    grpc_json_exit_forget(&s->exit_hook);
    grpc_json_call_cancel(s->ctx->call);
}

/* ctx->answer is a problem. */
static ngx_int_t fail(struct grpc_json_stream *s)
{
    ngx_int_t rc;

    stop(s);
    if (!s->started) {
        s->done = true;
        rc = grpc_json_send(s->r, s->ctx);
        return rc == NGX_ERROR || rc > NGX_OK ? NGX_ERROR : NGX_OK;
    }
    if (grpc_json_stream_error(s) != NGX_OK) {
        /* Bytes have no end but a wrong one: the connection is cut, the stream is reset. */
        ngx_log_error(NGX_LOG_ERR, s->r->connection->log, 0,
                      "grpc_json: a stream of bodies failed with status %ui",
                      s->ctx->answer.status);
        return NGX_ERROR;
    }
    s->last = true;
    return NGX_OK;
}

static ngx_int_t fail_with(struct grpc_json_stream *s, int status)
{
    return grpc_json_set_status(s->r, s->ctx, status) == NGX_OK ? fail(s) : NGX_ERROR;
}

/* What the client has is all there is. */
static void end_well(struct grpc_json_stream *s)
{
    if (s->ended)
        return;
    stop(s);
    s->last = true;
}

/* The client's header, or a problem, and the stream has ended. message: the first one; {NULL, 0}:
 * there is none yet. */
static ngx_int_t start(struct grpc_json_stream *s, struct str message)
{
    ngx_http_request_t *r = s->r;
    struct grpc_json_ctx *ctx = s->ctx;
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_int_t rc;

    switch (grpc_json_metadata(r, &ctx->call->metadata, &ctx->answer.metadata)) {
    case NGX_OK:
        break;
    case NGX_DECLINED:
        ngx_log_error(
            NGX_LOG_ERR, r->connection->log, 0,
            "grpc_json: upstream sent more metadata than grpc_json_response_header_limit");
        return fail_with(s, NGX_HTTP_BAD_GATEWAY);
    default:
        return NGX_ERROR;
    }
    s->started = true;
    ctx->answer.status = (ngx_uint_t)ctx->match.method->http_status;
    ctx->answer.content_type = grpc_json_stream_type(s, message);
    ctx->answer.open_ended = true;
    ngx_str_set(&ctx->answer.cache_control, "no-store");
    if (ctx->match.method->cache_control.p)
        ctx->answer.cache_control =
            (ngx_str_t){ctx->match.method->cache_control.n,
                        (u_char *)(uintptr_t)ctx->match.method->cache_control.p};
    if (!ctx->answer.content_type.data)
        return NGX_ERROR;
    rc = grpc_json_send_header(r, ctx);
    if (rc == NGX_ERROR || rc > NGX_OK)
        return NGX_ERROR;
    s->flush = !message.p;
    if (r->header_only) {
        stop(s);
        s->done = true;
    } else if (s->form == GRPC_JSON_EVENTS && conf->heartbeat) {
        ngx_add_timer(&s->timer, conf->heartbeat);
    } else if (s->timer.timer_set) {
        ngx_del_timer(&s->timer);
    }
    return NGX_OK;
}

/* ---- from the service ---- */

static ngx_int_t take_message(struct grpc_json_stream *s, struct str wire)
{
    if (!s->started && start(s, wire) != NGX_OK)
        return NGX_ERROR;
    if (s->ended)
        return NGX_OK;
    switch (grpc_json_stream_message(s, wire)) {
    case NGX_OK:
        return NGX_OK;
    case NGX_DECLINED:
        return fail_with(s, NGX_HTTP_BAD_GATEWAY);
    default:
        return fail_with(s, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}

/* Ends the stream when that could not be done as it should. */
static void check(struct grpc_json_stream *s, ngx_int_t rc)
{
    if (rc != NGX_OK) {
        stop(s);
        s->failed = true;
    }
    go_soon(s);
}

static bool on_message(struct grpc_json_call *call, struct str wire)
{
    struct grpc_json_stream *s = call->ctx->stream;

    check(s, take_message(s, wire));
    s->paused = !s->ended && s->text.n >= TEXT_TARGET;
    return !s->ended && !s->paused;
}

/* The type of bytes is known with the first of them. */
static void on_opened(struct grpc_json_call *call)
{
    struct grpc_json_stream *s = call->ctx->stream;

    if (s->form != GRPC_JSON_RAW)
        ngx_add_timer(&s->timer, HEADER_DELAY);
}

static ngx_int_t finish(struct grpc_json_stream *s, const struct grpc_h2_end *end)
{
    if (!end->by_status || end->status != RPC_OK)
        return grpc_json_call_problem(s->ctx->call, end) == NGX_OK ? fail(s) : NGX_ERROR;
    if (!s->started && start(s, STR_NULL) != NGX_OK)
        return NGX_ERROR;
    end_well(s);
    return NGX_OK;
}

static void on_ended(struct grpc_json_call *call, const struct grpc_h2_end *end)
{
    struct grpc_json_stream *s = call->ctx->stream;

    check(s, finish(s, end));
}

static const struct grpc_json_call_handlers handlers = {
    .opened = on_opened, .message = on_message, .ended = on_ended};

/* ---- to the client ---- */

static void forget_text(struct grpc_json_stream *s)
{
    s->sending = false;
    s->going.n = 0;
    if (s->going.cap > TEXT_KEPT)
        buf_free(&s->going);
}

static ngx_int_t send_text(struct grpc_json_stream *s)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(s->r, ngx_http_grpc_json_module);
    ngx_chain_t out = {&s->out, NULL};
    struct buf empty = s->going;
    ngx_int_t rc;

    if (s->text.failed)
        return NGX_ERROR;
    s->going = s->text;
    s->text = empty;
    ngx_memzero(&s->out, sizeof(s->out));
    s->out.pos = s->out.start = (u_char *)s->going.p;
    s->out.last = s->out.end = (u_char *)s->going.p + s->going.n;
    s->out.temporary = s->going.n > 0;
    s->out.flush = 1;
    s->flush = false;
    s->out.last_buf = s->last;
    s->out.last_in_chain = s->last;
    s->sending = true;
    if (s->last)
        s->done = true;
    else if (s->timer.timer_set)
        ngx_add_timer(&s->timer, conf->heartbeat);
    rc = grpc_json_next_body(s->r, &out);
    if (s->out.pos == s->out.last)
        forget_text(s);
    return rc;
}

/* Sends what there is, until the client takes no more or nothing is left. NGX_ERROR: it cannot be
 * gone on with. */
static ngx_int_t pump(struct grpc_json_stream *s)
{
    ngx_int_t rc = NGX_OK;

    if (s->sending) {
        rc = grpc_json_next_body(s->r, NULL);
        if (s->out.pos == s->out.last)
            forget_text(s);
    }
    while (rc != NGX_ERROR && !s->done && !s->sending && (s->text.n || s->last || s->flush))
        rc = send_text(s);
    if (s->paused && !s->ended && !s->sending) {
        s->paused = false;
        grpc_h2_resume(s->ctx->call->stream);
    }
    return rc;
}

/* A client that takes nothing has send_timeout, from its last sign of life on. */
static ngx_int_t watch_client(struct grpc_json_stream *s, bool alive)
{
    const ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(s->r, ngx_http_core_module);
    ngx_event_t *event = s->r->connection->write;

    if (!s->sending && !s->r->connection->buffered) {
        if (event->timer_set && !event->delayed)
            ngx_del_timer(event);
        return NGX_OK;
    }
    if ((alive || !event->timer_set) && !event->delayed)
        ngx_add_timer(event, core->send_timeout);
    return ngx_handle_write_event(event, core->send_lowat);
}

static void advance(struct grpc_json_stream *s, bool alive)
{
    ngx_int_t rc;

    if (s->go.posted) { /* several statements */
        ngx_delete_posted_event(&s->go);
    }
    rc = s->failed ? NGX_ERROR : pump(s);
    if (rc == NGX_ERROR)
        ngx_http_finalize_request(s->r, NGX_ERROR);
    else if (s->done)
        ngx_http_finalize_request(s->r, NGX_OK); /* nginx sees to what is on its way */
    else if (watch_client(s, alive) != NGX_OK)
        ngx_http_finalize_request(s->r, NGX_ERROR);
}

/* nginx has an event of the client's. */
static void on_write(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    if (r->connection->write->timedout) {
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }
    advance(ctx->stream, true);
}

/* ---- events of our own ---- */

/* Goes on with the request as nginx would from an event of the client's. */
static void go_on(struct grpc_json_stream *s)
{
    ngx_connection_t *c = s->r->connection;

    ngx_http_set_log_request(c->log, s->r);
    advance(s, false);
    ngx_http_run_posted_requests(c);
}

static void on_go(ngx_event_t *event)
{
    go_on(event->data);
}

static void on_timer(ngx_event_t *event)
{
    struct grpc_json_stream *s = event->data;
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(s->r, ngx_http_grpc_json_module);

    if (!s->started) {
        check(s, start(s, STR_NULL));
        return;
    }
    ngx_add_timer(event, conf->heartbeat);
    if (s->sending || s->text.n)
        return; /* the client reads too slowly to be reassured */
    s->text.max = s->text.n + TEXT_KEPT;
    sse_comment(&s->text);
    go_on(s);
}

/* The worker ends. A client of events connects again, and goes on after the last event that it has;
 * others are told. */
static void leave(struct grpc_json_stream *s)
{
    ngx_int_t rc = NGX_OK;

    if (s->form != GRPC_JSON_EVENTS) {
        rc = fail_with(s, NGX_HTTP_SERVICE_UNAVAILABLE);
    } else {
        if (!s->started)
            rc = start(s, STR_NULL);
        end_well(s);
    }
    check(s, rc);
}

static void on_exit_asked(void *data)
{
    leave(data);
    go_on(data); /* a worker that has nothing to wait for runs no posted events any more */
}

/* ---- the beginning ---- */

static struct grpc_json_stream *new_stream(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_stream *s = ngx_pcalloc(r->pool, sizeof(*s));
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, 0);

    if (!s || !cleanup)
        return NULL;
    s->form = ctx->form;
    s->r = r;
    s->ctx = ctx;
    s->timer.handler = on_timer;
    s->timer.data = s;
    s->timer.log = r->connection->log;
    s->timer.cancelable = 1;
    s->go.handler = on_go;
    s->go.data = s;
    s->go.log = r->connection->log;
    s->exit_hook.handler = on_exit_asked;
    s->exit_hook.data = s;
    cleanup->handler = clean_up;
    cleanup->data = s;
    ctx->stream = s;
    return s;
}

ngx_int_t grpc_json_stream(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str frame)
{
    struct grpc_json_stream *s = new_stream(r, ctx);
    ngx_int_t rc;

    if (!s)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    rc = grpc_json_call(r, ctx, frame, &handlers);
    if (rc != NGX_DONE)
        return rc;
    r->write_event_handler = on_write;
    if (ngx_exiting)
        leave(s); /* nobody is told any more */
    else
        grpc_json_exit_wait(&s->exit_hook);
    return NGX_DONE;
}
