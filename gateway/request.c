/* The request's side: finds the route, reads the body, and makes the client's request a call. One
 * that cannot be is refused here: its problem is made at once and nginx is told the status; the
 * filters (response.c) put the two together. */
#include "grpc_json.h"
#include "rpc_status.h"
#include "stream.h"

#include <errno.h>

/* Wire can be larger than its JSON ("0," is 2 bytes of JSON and 8 of a packed double), never more
 * than this. */
#define WIRE_GROWTH 8
#define WIRE_BASE 65536

#define BODY_TIMEOUTS 8 /* of client_body_timeout, for the whole of a body */

/* ---- routing ---- */

/* As the client wrote it, without query. */
static struct str raw_path(ngx_http_request_t *r)
{
    struct str path = grpc_json_str(r->unparsed_uri);

    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '?' || path.p[i] == '#')
            path.n = i;
    }
    return path;
}

int grpc_json_route(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);

    if (!ctx->routed) {
        ctx->routed = true;
        ctx->route_error =
            schema_route(conf->schema, grpc_json_str(r->method_name), raw_path(r), &ctx->match);
    }
    return ctx->route_error;
}

/* ---- refusing ---- */

ngx_int_t grpc_json_refuse(struct grpc_json_ctx *ctx, ngx_int_t rc)
{
    if (rc != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->state = GRPC_JSON_REFUSED;
    return (ngx_int_t)ctx->answer.status;
}

ngx_int_t grpc_json_refuse_status(ngx_http_request_t *r, struct grpc_json_ctx *ctx, int status)
{
    return grpc_json_refuse(ctx, grpc_json_set_status(r, ctx, status));
}

ngx_int_t grpc_json_refuse_fault(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                 struct arena *arena, enum schema_part part,
                                 const struct schema_fault *fault)
{
    struct problem problem;
    struct str key = STR("body"), message = fault->message;

    if (part == SCHEMA_PART_BODY) {
        problem_init(&problem, 400);
        if (fault->path.n)
            message = arena_printf(arena, "%.*s: %.*s", STR_FMT(fault->path), STR_FMT(message));
    } else {
        problem_init(&problem, 422);
        key = problem_key(arena, fault->path);
    }
    problem_add(&problem, key, message);
    return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
}

ngx_int_t grpc_json_set_allow(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct str allow = STR("GET, HEAD"); /* a file */
    /* nginx refuses these two before it looks for their location. */
    bool by_route = conf->enabled || r->method & (NGX_HTTP_TRACE | NGX_HTTP_CONNECT);

    if (ctx->answer.allow.len)
        return NGX_OK;
    if (by_route && conf->schema && grpc_json_route(r, ctx) == -EPERM)
        allow = schema_allow(conf->schema, &ctx->match, grpc_json_scratch());
    if (!allow.p)
        return NGX_ERROR;
    ctx->answer.allow = grpc_json_copy(r, allow);
    return ctx->answer.allow.data ? NGX_OK : NGX_ERROR;
}

/* The path exists, the method does not. */
static ngx_int_t refuse_method(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    if (grpc_json_set_allow(r, ctx) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (r->method != NGX_HTTP_OPTIONS)
        return grpc_json_refuse_status(r, ctx, NGX_HTTP_NOT_ALLOWED);
    /* NGX_OK would mean to go on with the next phase. */
    ngx_http_finalize_request(r, grpc_json_send_options(r, ctx));
    return NGX_DONE;
}

/* ---- the body ---- */

static size_t chain_size(ngx_chain_t *chain)
{
    size_t n = 0;

    for (; chain; chain = chain->next)
        n += (size_t)ngx_buf_size(chain->buf);
    return n;
}

static ngx_int_t copy_buf(ngx_buf_t *b, u_char *to)
{
    ssize_t n, got = 0;

    if (ngx_buf_in_memory(b)) {
        ngx_memcpy(to, b->pos, (size_t)(b->last - b->pos));
        return NGX_OK;
    }
    n = (ssize_t)ngx_buf_size(b);
    while (got < n) {
        ssize_t rc = ngx_read_file(b->file, to + got, (size_t)(n - got), b->file_pos + got);

        if (rc <= 0)
            return NGX_ERROR;
        got += rc;
    }
    return NGX_OK;
}

/* The body in one piece: in place when it is one already. */
static ngx_int_t whole_body(ngx_http_request_t *r, struct str *ret)
{
    ngx_chain_t *chain = r->request_body ? r->request_body->bufs : NULL;
    u_char *all;
    size_t n = 0;

    *ret = STR_NULL;
    if (!chain)
        return NGX_OK;
    if (!chain->next && ngx_buf_in_memory(chain->buf)) {
        *ret = (struct str){(char *)chain->buf->pos, (size_t)ngx_buf_size(chain->buf)};
        return NGX_OK;
    }
    all = ngx_palloc(r->pool, chain_size(chain) + 1);
    if (!all)
        return NGX_ERROR;
    for (; chain; chain = chain->next) {
        if (copy_buf(chain->buf, all + n) != NGX_OK)
            return NGX_ERROR;
        n += (size_t)ngx_buf_size(chain->buf);
    }
    *ret = (struct str){(char *)all, n};
    return NGX_OK;
}

/* ---- the gRPC request ---- */

/* The last event that the client has seen stands above what the request says itself. */
static int put_last_event_id(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct buf *wire,
                             struct arena *arena, struct schema_fault *fault)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct str id = grpc_json_request_header(r, STR("last-event-id"));

    return id.n == 0
               ? 0
               : schema_put_last_event_id(conf->schema, ctx->match.method, id, wire, arena, fault);
}

static ngx_int_t refuse_header(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                               const struct schema_fault *fault)
{
    struct problem problem;

    problem_init(&problem, NGX_HTTP_BAD_REQUEST);
    problem_add(&problem, fault->path, fault->message);
    return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
}

/* With the body at hand: makes the call. Returns as a phase handler. */
static ngx_int_t encode(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct schema_json_options options = {.refuse_unknown = conf->refuse_unknown != 0,
                                          .max_items = (size_t)conf->array_limit};
    struct arena *arena = grpc_json_scratch();
    struct schema_fault fault = {STR_NULL, STR_NULL};
    enum schema_part part = SCHEMA_PART_BODY;
    struct str body = STR_NULL;
    bool raw = schema_match_raw_request(&ctx->match);
    struct problem problem;
    struct buf *wire;
    int err;

    /* The body is read whole: no error from here on spoils the connection. */
    ctx->keepalive_known = true;
    ctx->keepalive = r->keepalive != 0;
    /* A stray body is of no interest, whatever its type. */
    if (schema_match_has_body(&ctx->match) && whole_body(r, &body) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (body.n && grpc_json_check_body_type(r, ctx, raw, &problem) != NGX_OK)
        return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
    wire = grpc_json_scratch_buf(WIRE_BASE + WIRE_GROWTH * (body.n + r->unparsed_uri.len));
    buf_append(wire, "\0\0\0\0", RPC_PREFIX_SIZE);
    if (raw && r->headers_in.content_type)
        options.content_type = grpc_json_str(r->headers_in.content_type->value);
    err = schema_request(conf->schema, &ctx->match, grpc_json_str(r->args), body, &options, wire,
                         arena, &part, &fault);
    if (!err && ctx->match.method->last_event_id.n) {
        err = put_last_event_id(r, ctx, wire, arena, &fault);
        if (err == -EBADMSG)
            return refuse_header(r, ctx, &fault);
    }
    switch (err) {
    case 0:
        if (wire->failed)
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        rpc_prefix_write((unsigned char *)wire->p, (uint32_t)(wire->n - RPC_PREFIX_SIZE));
        return ctx->match.method->server_streaming ? grpc_json_stream(r, ctx, buf_str(wire))
                                                   : grpc_json_unary(r, ctx, buf_str(wire));
    case -EBADMSG:
        return grpc_json_refuse_fault(r, ctx, arena, part, &fault);
    case -EMSGSIZE:
        return grpc_json_refuse_status(r, ctx, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE);
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* ---- the phase ---- */

static void forget_body(void *data)
{
    ngx_event_t *due = data;

    if (due->timer_set)
        ngx_del_timer(due);
}

/* As if nothing had come for client_body_timeout. */
static void on_body_due(ngx_event_t *due)
{
    ngx_http_request_t *r = due->data;
    ngx_event_t *reads = r->connection->read;

    reads->timedout = 1;
    reads->handler(reads);
}

/* client_body_timeout begins anew with each byte: so that a body has an end, it has a time as a
 * whole, too. */
static ngx_int_t bound_body(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_pool_cleanup_t *cleanup;

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked)
        return NGX_OK;
    cleanup = ngx_pool_cleanup_add(r->pool, sizeof(*ctx->body_due));
    if (!cleanup)
        return NGX_ERROR;
    cleanup->handler = forget_body;
    ctx->body_due = cleanup->data;
    ngx_memzero(ctx->body_due, sizeof(*ctx->body_due));
    ctx->body_due->handler = on_body_due;
    ctx->body_due->data = r;
    ctx->body_due->log = r->connection->log;
    ctx->body_due->cancelable = 1;
    return NGX_OK;
}

static void body_read(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    if (ctx->body_due)
        forget_body(ctx->body_due);
    r->preserve_body = 1;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

static ngx_int_t read_body(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    const ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    ngx_int_t rc;

    if (bound_body(r, ctx) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->state = GRPC_JSON_READING;
    r->request_body_in_single_buf = 1;
    rc = ngx_http_read_client_request_body(r, body_read);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE)
        return rc;
    if (rc == NGX_AGAIN && ctx->body_due)
        ngx_add_timer(ctx->body_due, core->client_body_timeout * BODY_TIMEOUTS);
    ngx_http_finalize_request(r, NGX_DONE);
    return NGX_DONE;
}

/* An answer is JSON or a problem; a client that takes neither is told before anything is done. One
 * without a body, or of bytes that the service names the type of, is nobody's to refuse. */
static bool is_acceptable(ngx_http_request_t *r, const struct schema_match *match)
{
    return match->method->http_status == NGX_HTTP_NO_CONTENT || schema_match_raw_response(match) ||
           grpc_json_accepts(r, STR("application/json")) ||
           grpc_json_accepts(r, STR("application/problem+json"));
}

static ngx_int_t begin(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct problem problem;

    /* nginx's own judgement of conditions is for files. */
    r->disable_not_modified = 1;
    switch (grpc_json_route(r, ctx)) {
    case 0:
        break;
    case -EPERM:
        return refuse_method(r, ctx);
    default:
        return grpc_json_refuse_status(r, ctx, NGX_HTTP_NOT_FOUND);
    }
    switch (grpc_json_read_wishes(r, ctx, &problem)) {
    case NGX_OK:
        break;
    case NGX_DECLINED:
        return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (ctx->match.method->client_streaming)
        return grpc_json_websocket(r, ctx);
    if (ctx->match.method->server_streaming)
        ctx->form = grpc_json_stream_form(r, &ctx->match);
    if (ctx->match.method->server_streaming ? !ctx->form : !is_acceptable(r, &ctx->match))
        return grpc_json_refuse_status(r, ctx, 406);
    return read_body(r, ctx);
}

ngx_int_t grpc_json_precontent(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx;

    if (!conf->enabled || r != r->main)
        return NGX_DECLINED;
    ctx = grpc_json_ctx(r);
    if (!ctx)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    switch (ctx->state) {
    case GRPC_JSON_NEW:
        return begin(r, ctx);
    case GRPC_JSON_READING:
        return encode(r, ctx);
    default:
        return NGX_DECLINED;
    }
}
