/* The answer of a server stream: message by message, at the speed of the client.
 *
 * The client's header waits for the first message, or a moment longer than the upstream's own, so
 * that a call that fails at once is answered by a problem with its status. Runs in a worker. */
#include "stream.h"

#include "http/sse.h"
#include "rpc_status.h"

#include <errno.h>

/* Text of so many bytes goes out before more input is looked at. */
#define TEXT_TARGET 32768
/* Memory for text that an idle stream keeps. */
#define TEXT_KEPT 4096
/* ms for a failure to follow the upstream's header. */
#define HEADER_DELAY 10
/* A stream may be silent as long as it likes; its deadline and the client's absence end it. */
#define NO_READ_TIMEOUT ((ngx_msec_t)NGX_MAX_INT32_VALUE)

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

static void drop_input(ngx_http_request_t *r, struct grpc_json_stream *s)
{
    ngx_chain_t *link;

    while (s->in) {
        link = s->in;
        s->in = link->next;
        link->buf->pos = link->buf->last;
        ngx_free_chain(r->pool, link);
    }
    s->last_in = &s->in;
}

static void clean_up(void *data)
{
    struct grpc_json_stream *s = data;

    if (s->timer.timer_set)
        ngx_del_timer(&s->timer);
    grpc_json_exit_forget(&s->exit_hook);
    buf_free(&s->text);
    if (s->message.bytes)
        ngx_free(s->message.bytes);
    s->message.bytes = NULL;
}

/* Nothing more of the upstream's is wanted. While nginx still has it, it ends the request once the
 * text is out. */
static void stop(ngx_http_request_t *r, struct grpc_json_stream *s)
{
    s->ended = true;
    if (s->timer.timer_set)
        ngx_del_timer(&s->timer);
    grpc_json_exit_forget(&s->exit_hook);
    drop_input(r, s);
    if (r->upstream->cleanup)
        r->upstream->length = 0;
}

/* ctx->answer is a problem. */
static ngx_int_t fail(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_stream *s = ctx->stream;

    stop(r, s);
    if (!s->started)
        return grpc_json_send(r, ctx) == NGX_ERROR ? NGX_ERROR : NGX_OK;
    if (grpc_json_stream_error(s) != NGX_OK) {
        /* Bytes have no end but a wrong one: the connection is cut, the stream is reset. */
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "grpc_json: a stream of bodies failed with status %ui", ctx->answer.status);
        return NGX_ERROR;
    }
    s->last = true;
    return NGX_OK;
}

static ngx_int_t fail_with(ngx_http_request_t *r, struct grpc_json_ctx *ctx, int status)
{
    return grpc_json_set_status(r, ctx, status) == NGX_OK ? fail(r, ctx) : NGX_ERROR;
}

/* What the client has is all there is. */
static void end_well(ngx_http_request_t *r, struct grpc_json_stream *s)
{
    if (s->ended)
        return;
    stop(r, s);
    s->last = true;
}

/* The client's header, or a problem, and the stream has ended. message: the first one; {NULL, 0}:
 * there is none yet. */
static ngx_int_t start(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str message)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_stream *s = ctx->stream;
    ngx_int_t rc;

    switch (grpc_json_metadata(r, &r->upstream->headers_in.headers,
                               &r->upstream->headers_in.trailers, &ctx->answer.metadata)) {
    case NGX_OK:
        break;
    case NGX_DECLINED:
        ngx_log_error(
            NGX_LOG_ERR, r->connection->log, 0,
            "grpc_json: upstream sent more metadata than grpc_json_response_header_limit");
        return fail_with(r, ctx, NGX_HTTP_BAD_GATEWAY);
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
    s->flush = !message.p && !r->header_only;
    if (r->header_only)
        stop(r, s);
    else if (s->form == GRPC_JSON_EVENTS && conf->heartbeat)
        ngx_add_timer(&s->timer, conf->heartbeat);
    else if (s->timer.timer_set)
        ngx_del_timer(&s->timer);
    return NGX_OK;
}

/* The upstream's answer is complete, as far as nginx could tell. */
static ngx_int_t finish(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_stream *s = ctx->stream;

    ctx->message.broken = s->message.broken || s->message.prefix_have > 0;
    switch (grpc_json_judge(r, ctx)) {
    case NGX_OK:
        break;
    case NGX_DECLINED:
        return fail(r, ctx);
    default:
        return NGX_ERROR;
    }
    if (!s->started && start(r, ctx, STR_NULL) != NGX_OK)
        return NGX_ERROR;
    end_well(r, s);
    return NGX_OK;
}

/* ---- messages ---- */

static ngx_int_t take_message(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str wire)
{
    struct grpc_json_stream *s = ctx->stream;

    if (!s->started && start(r, ctx, wire) != NGX_OK)
        return NGX_ERROR;
    if (s->ended)
        return NGX_OK;
    switch (grpc_json_stream_message(s, wire)) {
    case NGX_OK:
        return NGX_OK;
    case NGX_DECLINED:
        return fail_with(r, ctx, NGX_HTTP_BAD_GATEWAY);
    default:
        return fail_with(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}

static ngx_int_t refuse_message(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "grpc_json: upstream sent a message that is compressed or too large");
    return fail_with(r, ctx, NGX_HTTP_BAD_GATEWAY);
}

/* The five bytes before a message. NGX_AGAIN: they are not complete. */
static ngx_int_t take_prefix(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_buf_t *b)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_message *m = &ctx->stream->message;
    size_t part = ngx_min((size_t)(b->last - b->pos), RPC_PREFIX_SIZE - m->prefix_have);
    uint32_t size;

    ngx_memcpy(m->prefix + m->prefix_have, b->pos, part);
    m->prefix_have += part;
    b->pos += part;
    if (m->prefix_have < RPC_PREFIX_SIZE)
        return NGX_AGAIN;
    if (rpc_prefix_read(m->prefix, &size) || size > conf->response_limit) {
        m->broken = true;
        return NGX_OK;
    }
    m->size = size;
    m->have = 0;
    return NGX_OK;
}

/* A message that is in the buffer as a whole is taken where it is. */
static ngx_int_t take_bytes(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_buf_t *b)
{
    struct grpc_json_message *m = &ctx->stream->message;
    size_t there = (size_t)(b->last - b->pos);
    struct str wire = {(char *)b->pos, m->size};
    ngx_int_t rc;

    if (m->bytes || there < m->size) {
        if (!m->bytes)
            m->bytes = ngx_alloc(m->size, r->connection->log);
        if (!m->bytes)
            return NGX_ERROR;
        there = ngx_min(there, m->size - m->have);
        ngx_memcpy(m->bytes + m->have, b->pos, there);
        m->have += there;
        b->pos += there;
        if (m->have < m->size)
            return NGX_OK;
        wire.p = (char *)m->bytes;
    } else {
        b->pos += m->size;
    }
    m->prefix_have = 0;
    rc = take_message(r, ctx, wire);
    if (m->bytes)
        ngx_free(m->bytes);
    m->bytes = NULL;
    return rc;
}

static ngx_int_t take_buf(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_buf_t *b)
{
    struct grpc_json_stream *s = ctx->stream;
    ngx_int_t rc = NGX_OK;

    while (rc == NGX_OK && !s->ended && s->text.n < TEXT_TARGET && b->pos < b->last) {
        if (s->message.prefix_have < RPC_PREFIX_SIZE && take_prefix(r, ctx, b) == NGX_AGAIN)
            break;
        rc = s->message.broken ? refuse_message(r, ctx) : take_bytes(r, ctx, b);
        /* One without bytes is complete with its prefix. */
    }
    return rc;
}

/* Input that is held becomes text, as far as there is room for text. */
static ngx_int_t take_input(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_stream *s = ctx->stream;
    ngx_int_t rc = NGX_OK;

    while (rc == NGX_OK && s->in && !s->ended && s->text.n < TEXT_TARGET) {
        ngx_chain_t *link = s->in;
        ngx_buf_t *b = link->buf;

        if (ngx_buf_in_memory(b) && b->pos < b->last) {
            rc = take_buf(r, ctx, b);
            continue;
        }
        s->in = link->next;
        if (!s->in)
            s->last_in = &s->in;
        ngx_free_chain(r->pool, link);
        if (b->last_buf)
            rc = finish(r, ctx);
        else if (!r->upstream->cleanup && !s->in)
            rc = fail_with(r, ctx, grpc_json_cut_off_status(ctx));
    }
    if (s->ended)
        drop_input(r, s);
    return rc;
}

/* ---- text ---- */

static void forget_text(struct grpc_json_stream *s)
{
    s->sending = false;
    s->text.n = 0;
    if (s->text.cap > TEXT_KEPT)
        buf_free(&s->text);
}

static ngx_int_t send_text(ngx_http_request_t *r, struct grpc_json_stream *s)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_chain_t out = {&s->out, NULL};
    ngx_int_t rc;

    if (s->text.failed)
        return NGX_ERROR;
    ngx_memzero(&s->out, sizeof(s->out));
    s->out.pos = s->out.start = (u_char *)s->text.p;
    s->out.last = s->out.end = (u_char *)s->text.p + s->text.n;
    s->out.temporary = s->text.n > 0;
    s->out.flush = 1;
    s->flush = false;
    s->out.last_buf = s->last;
    s->out.last_in_chain = s->last;
    s->sending = true;
    if (s->last)
        s->ctx->state = GRPC_JSON_SENT_STREAM;
    else if (s->timer.timer_set)
        ngx_add_timer(&s->timer, conf->heartbeat);
    rc = grpc_json_next_body(r, &out);
    if (s->out.pos == s->out.last)
        forget_text(s);
    return rc;
}

/* Sends what there is, until the client takes no more or nothing is left. */
static ngx_int_t pump(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_stream *s = ctx->stream;
    ngx_int_t rc = NGX_OK;

    while (ctx->state == GRPC_JSON_STREAM && rc != NGX_ERROR) {
        if (s->sending) {
            rc = grpc_json_next_body(r, NULL);
            if (s->out.pos < s->out.last)
                return rc;
            forget_text(s);
        }
        if (take_input(r, ctx) != NGX_OK)
            return NGX_ERROR;
        if (ctx->state != GRPC_JSON_STREAM || (s->text.n == 0 && !s->last && !s->flush))
            break;
        rc = send_text(r, s);
    }
    return rc;
}

/* After the end: what is on its way goes out, what still comes is dropped. */
static ngx_int_t flush_end(ngx_http_request_t *r, struct grpc_json_stream *s)
{
    ngx_int_t rc = grpc_json_next_body(r, NULL);

    if (s->sending && s->out.pos == s->out.last)
        forget_text(s);
    return rc;
}

static ngx_int_t hold(ngx_http_request_t *r, struct grpc_json_stream *s, ngx_chain_t *in)
{
    for (; in; in = in->next) {
        ngx_chain_t *link;

        if (s->ended) {
            in->buf->pos = in->buf->last;
            continue;
        }
        link = ngx_alloc_chain_link(r->pool);
        if (!link)
            return NGX_ERROR;
        link->buf = in->buf;
        link->next = NULL;
        *s->last_in = link;
        s->last_in = &link->next;
    }
    return NGX_OK;
}

ngx_int_t grpc_json_stream_body(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_chain_t *in)
{
    struct grpc_json_stream *s = ctx->stream;
    bool had_input = in != NULL;

    if (hold(r, s, in) != NGX_OK)
        return NGX_ERROR;
    if (ctx->state == GRPC_JSON_SENT_STREAM)
        return flush_end(r, s);
    if (!had_input && s->started && !s->sending && !s->in)
        return grpc_json_next_body(r, NULL);
    return pump(r, ctx);
}

/* ---- what does not come from the upstream ---- */

/* Goes on with the stream from an event of our own, as nginx would from one of the client's. */
static void go_on(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_connection_t *c = r->connection;

    ngx_http_set_log_request(c->log, r);
    if (pump(r, ctx) == NGX_ERROR)
        ngx_http_finalize_request(r, NGX_ERROR);
    else
        r->write_event_handler(r); /* ends the request, or sees to the client's time limit */
    ngx_http_run_posted_requests(c);
}

static void on_timer(ngx_event_t *event)
{
    struct grpc_json_stream *s = event->data;
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(s->r, ngx_http_grpc_json_module);
    ngx_http_request_t *r = s->r;

    if (!s->started) {
        if (start(r, s->ctx, STR_NULL) != NGX_OK) {
            ngx_connection_t *c = r->connection;

            ngx_http_finalize_request(r, NGX_ERROR);
            ngx_http_run_posted_requests(c);
            return;
        }
    } else {
        ngx_add_timer(event, conf->heartbeat);
        if (s->sending)
            return; /* the client reads too slowly to be reassured */
        s->text.max = s->text.n + TEXT_KEPT;
        sse_comment(&s->text);
    }
    go_on(r, s->ctx);
}

/* The worker ends. A client of events connects again, and goes on after the last event that it has;
 * others are told. */
static void on_exit_asked(void *data)
{
    struct grpc_json_stream *s = data;
    ngx_http_request_t *r = s->r;
    ngx_connection_t *c = r->connection;
    ngx_int_t rc = NGX_OK;

    if (s->form != GRPC_JSON_EVENTS) {
        rc = fail_with(r, s->ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
    } else {
        if (!s->started)
            rc = start(r, s->ctx, STR_NULL);
        end_well(r, s);
    }
    if (rc == NGX_OK) {
        go_on(r, s->ctx);
        return;
    }
    ngx_http_finalize_request(r, NGX_ERROR);
    ngx_http_run_posted_requests(c);
}

/* ---- the beginning ---- */

/* A copy of the upstream's configuration for this request: the stream may be silent, and its
 * trailers are nobody's. */
static ngx_int_t replace_conf(ngx_http_request_t *r)
{
    ngx_http_upstream_conf_t *conf = ngx_palloc(r->pool, sizeof(*conf));

    if (!conf)
        return NGX_ERROR;
    *conf = *r->upstream->conf;
    conf->read_timeout = NO_READ_TIMEOUT;
    conf->pass_trailers = 0;
    r->upstream->conf = conf;
    return NGX_OK;
}

ngx_int_t grpc_json_stream_header(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_stream *s = ngx_pcalloc(r->pool, sizeof(*s));
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, 0);

    if (!s || !cleanup || replace_conf(r) != NGX_OK)
        return NGX_ERROR;
    s->form = ctx->form;
    s->r = r;
    s->ctx = ctx;
    s->last_in = &s->in;
    s->timer.handler = on_timer;
    s->timer.data = s;
    s->timer.log = r->connection->log;
    s->timer.cancelable = 1;
    s->exit_hook.handler = on_exit_asked;
    s->exit_hook.data = s;
    grpc_json_exit_wait(&s->exit_hook);
    cleanup->handler = clean_up;
    cleanup->data = s;
    ctx->stream = s;
    ctx->state = GRPC_JSON_STREAM;
    /* The type of bytes is known with the first of them. */
    if (s->form != GRPC_JSON_RAW)
        ngx_add_timer(&s->timer, HEADER_DELAY);
    return NGX_OK;
}
