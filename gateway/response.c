/* The answer's side: filters behind ngx_http_grpc_module.
 *
 * The upstream's header is held back, because an RPC's status comes last. Its message is collected;
 * at the end, whatever the end is, one answer goes out: JSON, or a problem. Errors that nginx makes
 * itself (a refused request, a dead upstream, a bad request line) pass the same filters and become
 * problems, with nginx's own page dropped. */
#include "grpc_json.h"
#include "rpc_status.h"
#include "stream.h"

#include <errno.h>

ngx_http_output_header_filter_pt grpc_json_next_header;
ngx_http_output_body_filter_pt grpc_json_next_body;

/* ---- reading the answer ---- */

struct str grpc_json_upstream_header(ngx_http_request_t *r, struct str name)
{
    ngx_http_upstream_headers_in_t *in = &r->upstream->headers_in;
    struct grpc_json_lines trailers = grpc_json_lines(&in->trailers);
    struct grpc_json_lines headers = grpc_json_lines(&in->headers);
    struct str value = STR_NULL;

    /* A call that failed at once has its status in the only header block. */
    if (!in->trailers.part.elts || !grpc_json_next_line(&trailers, name, &value))
        (void)grpc_json_next_line(&headers, name, &value);
    return value;
}

static ngx_int_t start_message(ngx_http_request_t *r, struct grpc_json_message *m, size_t limit)
{
    uint32_t size;

    if (rpc_prefix_read(m->prefix, &size) || size > limit) {
        m->broken = true;
        return NGX_OK;
    }
    m->size = size;
    m->bytes = ngx_palloc(r->pool, size ? size : 1);
    return m->bytes ? NGX_OK : NGX_ERROR;
}

static ngx_int_t collect_bytes(ngx_http_request_t *r, struct grpc_json_message *m, size_t limit,
                               const u_char *p, size_t n)
{
    size_t part;

    if (!m->bytes) {
        part = ngx_min(n, RPC_PREFIX_SIZE - m->prefix_have);
        ngx_memcpy(m->prefix + m->prefix_have, p, part);
        m->prefix_have += part;
        p += part;
        n -= part;
        if (m->prefix_have < RPC_PREFIX_SIZE)
            return NGX_OK;
        if (start_message(r, m, limit) != NGX_OK)
            return NGX_ERROR;
    }
    if (m->broken || n > m->size - m->have) {
        m->broken = true;
        return NGX_OK;
    }
    ngx_memcpy(m->bytes + m->have, p, n);
    m->have += n;
    return NGX_OK;
}

ngx_int_t grpc_json_collect(ngx_http_request_t *r, struct grpc_json_message *message, size_t limit,
                            ngx_chain_t *in)
{
    for (; in; in = in->next) {
        ngx_buf_t *b = in->buf;

        if (!message->broken && ngx_buf_in_memory(b) && b->last > b->pos &&
            collect_bytes(r, message, limit, b->pos, (size_t)(b->last - b->pos)) != NGX_OK)
            return NGX_ERROR;
        if (ngx_buf_in_memory(b))
            b->pos = b->last;
    }
    return NGX_OK;
}

/* ---- making the answer ---- */

/* An upstream that speaks HTTP, not gRPC: its status says at most how it failed. */
static int status_of_http(ngx_uint_t status)
{
    return status == 429 || status == 503 || status == 504 ? (int)status : NGX_HTTP_BAD_GATEWAY;
}

static ngx_int_t answer_broken(ngx_http_request_t *r, struct grpc_json_ctx *ctx, const char *how)
{
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "grpc_json: upstream sent %s", how);
    return grpc_json_set_status(r, ctx, status_of_http(r->upstream->headers_in.status_n));
}

static ngx_int_t answer_rpc_error(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct problem problem;

    if (rpc_problem(&problem, ctx->grpc_status, grpc_json_upstream_header(r, STR("grpc-message")),
                    grpc_json_upstream_header(r, STR("grpc-status-details-bin")),
                    grpc_json_scratch()))
        return grpc_json_set_status(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    grpc_json_overload_heard(r, ctx, &problem);
    return grpc_json_set_problem(r, ctx, &problem);
}

static ngx_int_t make_problem(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct str status = grpc_json_upstream_header(r, STR("grpc-status"));

    if (ctx->upstream_broken)
        return answer_broken(r, ctx, "a broken answer");
    if (ctx->message.broken)
        return answer_broken(r, ctx,
                             "a message that is compressed, cut, too large or one too many");
    if (!status.p || rpc_code_read(status, &ctx->grpc_status))
        return answer_broken(r, ctx, "no grpc-status");
    return ctx->grpc_status != 0 ? answer_rpc_error(r, ctx) : NGX_DECLINED;
}

ngx_int_t grpc_json_judge(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    switch (make_problem(r, ctx)) {
    case NGX_DECLINED: /* there is none */
        return NGX_OK;
    case NGX_OK:
        return NGX_DECLINED;
    default:
        return NGX_ERROR;
    }
}

/* What should have been a stream was none. */
static ngx_int_t make_answer(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    switch (grpc_json_judge(r, ctx)) {
    case NGX_OK:
        return answer_broken(r, ctx, "no stream");
    case NGX_DECLINED:
        return NGX_OK;
    default:
        return NGX_ERROR;
    }
}

static ngx_int_t finish(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    if (make_answer(r, ctx) != NGX_OK)
        return NGX_ERROR;
    return grpc_json_send(r, ctx);
}

int grpc_json_cut_off_status(const struct grpc_json_ctx *ctx)
{
    return ctx->upstream_rc == NGX_HTTP_GATEWAY_TIME_OUT ? NGX_HTTP_GATEWAY_TIME_OUT
                                                         : NGX_HTTP_BAD_GATEWAY;
}

/* The upstream failed after its header: reset, cut off, or silent for too long. */
static ngx_int_t finish_cut_off(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    if (grpc_json_set_status(r, ctx, grpc_json_cut_off_status(ctx)) != NGX_OK)
        return NGX_ERROR;
    return grpc_json_send(r, ctx);
}

/* ---- the filters ---- */

static bool from_upstream(ngx_http_request_t *r)
{
    return r->upstream && r->upstream->cleanup && r->upstream->headers_in.status_n;
}

/* An error that nginx made: ours by way of the phase handler, or its own. */
static ngx_int_t send_problem(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = grpc_json_ctx(r);

    if (!ctx)
        return NGX_ERROR;
    if (ctx->answer.status != r->headers_out.status &&
        grpc_json_set_status(r, ctx, (int)r->headers_out.status) != NGX_OK)
        return NGX_ERROR;
    if (ctx->answer.status == NGX_HTTP_NOT_ALLOWED && grpc_json_set_allow(r, ctx) != NGX_OK)
        return NGX_ERROR;
    return grpc_json_send(r, ctx);
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);

    if (r != r->main)
        return ctx && ctx->probe ? NGX_OK : grpc_json_next_header(r);
    if (ctx && ctx->state == GRPC_JSON_PASSED && from_upstream(r)) {
        if (ctx->upstream != r->upstream)
            grpc_json_hook_request(r, ctx); /* an address that was resolved at run time */
        if (ctx->match.method->server_streaming && r->headers_out.status == NGX_HTTP_OK)
            return grpc_json_stream_header(r, ctx);
        ctx->state = GRPC_JSON_HELD;
        return NGX_OK;
    }
    if (r->headers_out.status >= NGX_HTTP_BAD_REQUEST && !from_upstream(r) &&
        (conf->problems || (ctx && ctx->state == GRPC_JSON_REFUSED)))
        return send_problem(r);
    return grpc_json_next_header(r);
}

/* Whether a chain ends the answer. */
static bool is_last(ngx_chain_t *in)
{
    for (; in; in = in->next) {
        if (in->buf->last_buf)
            return true;
    }
    return false;
}

static void drop(ngx_chain_t *in)
{
    for (; in; in = in->next) {
        in->buf->pos = in->buf->last;
        in->buf->file_pos = in->buf->file_last;
    }
}

static ngx_int_t held_body(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_chain_t *in)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);

    if (grpc_json_collect(r, &ctx->message, conf->response_limit, in) != NGX_OK)
        return NGX_ERROR;
    if (is_last(in))
        return finish(r, ctx);
    if (!r->upstream->cleanup)
        return finish_cut_off(r, ctx);
    /* Nothing more is wanted from this upstream. */
    if (ctx->message.broken)
        r->upstream->error = 1;
    return NGX_OK;
}

static ngx_int_t body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    if (!ctx)
        return grpc_json_next_body(r, in);
    if (ctx->probe)
        return grpc_json_probe_body(r, ctx->probe, in);
    if (ctx->state == GRPC_JSON_HELD)
        return held_body(r, ctx, in);
    if (ctx->state == GRPC_JSON_STREAM || ctx->state == GRPC_JSON_SENT_STREAM)
        return grpc_json_stream_body(r, ctx, in);
    if (ctx->state != GRPC_JSON_SENT || !in)
        return grpc_json_next_body(r, in);
    drop(in);
    return r->buffered || r->connection->buffered ? NGX_AGAIN : NGX_OK;
}

ngx_int_t grpc_json_install_filters(ngx_conf_t *cf)
{
    (void)cf;
    grpc_json_next_header = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    grpc_json_next_body = ngx_http_top_body_filter;
    ngx_http_top_body_filter = body_filter;
    return NGX_OK;
}
