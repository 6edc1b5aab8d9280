/* What the client gets: status, headers and body, in one piece and with a Content-Length. */
#include "grpc_json.h"

#define PROBLEM_MAX_SIZE 65536

/* ---- making ---- */

static ngx_int_t problem_instance(ngx_http_request_t *r, struct str *ret)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_str_t value;

    *ret = STR_NULL;
    if (!conf->instance)
        return NGX_OK;
    if (ngx_http_complex_value(r, conf->instance, &value) != NGX_OK)
        return NGX_ERROR;
    *ret = grpc_json_str(value);
    return NGX_OK;
}

ngx_int_t grpc_json_set_problem(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                struct problem *problem)
{
    struct grpc_json_answer *answer = &ctx->answer;
    struct buf *json = grpc_json_scratch_buf(PROBLEM_MAX_SIZE);
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);

    if (problem_instance(r, &problem->instance) != NGX_OK)
        return NGX_ERROR;
    problem->type = grpc_json_str(conf->problem_type);
    problem_print(problem, json);
    if (json->failed) {
        /* More to tell than fits: the status alone then. */
        json = grpc_json_scratch_buf(PROBLEM_MAX_SIZE);
        problem_init(problem, problem->status);
        problem_print(problem, json);
    }
    answer->status = (ngx_uint_t)problem->status;
    answer->retry_after = problem->retry_after;
    ngx_str_null(&answer->language);
    if (problem->language.n) {
        answer->language = grpc_json_copy(r, problem->language);
        if (!answer->language.data)
            return NGX_ERROR;
    }
    ngx_str_set(&answer->content_type, "application/problem+json");
    answer->body = grpc_json_copy(r, buf_str(json));
    return answer->body.data && !json->failed ? NGX_OK : NGX_ERROR;
}

ngx_int_t grpc_json_set_status(ngx_http_request_t *r, struct grpc_json_ctx *ctx, int status)
{
    struct problem problem;

    problem_init(&problem, status);
    return grpc_json_set_problem(r, ctx, &problem);
}

/* ---- sending ---- */

/* Known to nginx as well: what it compresses gets a weak one (RFC 9110 section 8.8.1). */
static ngx_int_t push_etag(ngx_http_request_t *r, ngx_str_t etag)
{
    r->headers_out.etag = grpc_json_push_header(r, "ETag", etag);
    return r->headers_out.etag ? NGX_OK : NGX_ERROR;
}

static bool has_metadata(const ngx_array_t *metadata, struct str name)
{
    const ngx_table_elt_t *h = metadata ? metadata->elts : NULL;

    for (ngx_uint_t i = 0; metadata && i < metadata->nelts; i++) {
        if (str_eq(grpc_json_str(h[i].key), name))
            return true;
    }
    return false;
}

/* Who keeps the answer, for how long, and by which name of its state. */
static ngx_int_t push_caching(ngx_http_request_t *r, const struct grpc_json_answer *answer)
{
    if (answer->etag.len && push_etag(r, answer->etag) != NGX_OK)
        return NGX_ERROR;
    if (answer->cache_control.len && !has_metadata(answer->metadata, STR("cache-control")) &&
        !grpc_json_push_header(r, "Cache-Control", answer->cache_control))
        return NGX_ERROR;
    if (answer->status == NGX_HTTP_NOT_MODIFIED) {
        r->headers_out.content_length_n = -1;
#if (NGX_HTTP_GZIP)
        /* The whole answer would have said Vary (RFC 9110 section 15.4.5). */
        r->gzip_vary = 1;
#endif
    }
    return NGX_OK;
}

static ngx_int_t push_metadata(ngx_http_request_t *r, const ngx_array_t *metadata)
{
    const ngx_table_elt_t *from = metadata ? metadata->elts : NULL;

    for (ngx_uint_t i = 0; metadata && i < metadata->nelts; i++) {
        ngx_table_elt_t *h = ngx_list_push(&r->headers_out.headers);

        if (!h)
            return NGX_ERROR;
        *h = from[i];
        h->hash = 1;
    }
    return NGX_OK;
}

static ngx_int_t push_retry_after(ngx_http_request_t *r, ngx_uint_t seconds)
{
    ngx_str_t value = {0, ngx_pnalloc(r->pool, NGX_INT_T_LEN)};

    if (!value.data)
        return NGX_ERROR;
    value.len = (size_t)(ngx_sprintf(value.data, "%ui", seconds) - value.data);
    return grpc_json_push_header(r, "Retry-After", value) ? NGX_OK : NGX_ERROR;
}

/* What to upgrade to (RFC 9110 sections 7.8 and 15.5.22, RFC 6455 section 4.4). HTTP/2 has no such
 * headers. */
static ngx_int_t push_upgrade(ngx_http_request_t *r)
{
    ngx_str_t protocol = ngx_string("websocket"), option = ngx_string("Upgrade"),
              version = ngx_string("13");

    if (r->stream)
        return NGX_OK;
    if (!grpc_json_push_header(r, "Upgrade", protocol) ||
        !grpc_json_push_header(r, "Connection", option) ||
        !grpc_json_push_header(r, "Sec-WebSocket-Version", version))
        return NGX_ERROR;
    return NGX_OK;
}

/* RFC 9110 section 15.5.2: a 401 carries a challenge. RFC 6750 section 3.1: that says what is wrong
 * with a token, unless there was none; a method that takes none has judged something else. */
static ngx_str_t challenge(const ngx_http_request_t *r, const struct grpc_json_ctx *ctx)
{
    static const ngx_str_t none = ngx_null_string, bearer = ngx_string("Bearer"),
                           invalid = ngx_string("Bearer error=\"invalid_token\"");
    bool judged = ctx->routed && !ctx->route_error && ctx->match.method->auth != SCHEMA_AUTH_NONE;
    bool given = r->headers_in.authorization && r->headers_in.authorization->value.len > 0;

    if (ctx->answer.status != NGX_HTTP_UNAUTHORIZED)
        return none;
    return judged && given ? invalid : bearer;
}

/* What the answer is, and what another request would have to be. */
static ngx_int_t push_negotiation(ngx_http_request_t *r, const struct grpc_json_ctx *ctx)
{
    const struct grpc_json_answer *answer = &ctx->answer;
    const struct {
        const char *name;
        ngx_str_t value;
    } headers[] = {
        {"Allow", answer->allow},
        {"Content-Language", answer->language},
        {"Accept", answer->accept},
        {"Accept-Encoding", answer->accept_encoding},
        {"WWW-Authenticate", challenge(r, ctx)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        if (headers[i].value.len && !grpc_json_push_header(r, headers[i].name, headers[i].value))
            return NGX_ERROR;
    }
    return NGX_OK;
}

static ngx_int_t set_headers(ngx_http_request_t *r, const struct grpc_json_ctx *ctx)
{
    const struct grpc_json_answer *answer = &ctx->answer;
    struct str title = problem_title((int)answer->status);
    u_char *line;

    ngx_http_clean_header(r);
    r->headers_out.status = answer->status;
    if (answer->status >= NGX_HTTP_BAD_REQUEST) {
        /* nginx has no phrase for some of these. */
        line = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 1 + title.n);
        if (!line)
            return NGX_ERROR;
        r->headers_out.status_line.data = line;
        r->headers_out.status_line.len =
            (size_t)(ngx_sprintf(line, "%ui %*s", answer->status, title.n, title.p) - line);
    }
    r->headers_out.content_type = answer->content_type;
    r->headers_out.content_type_len = answer->content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    if (!answer->open_ended)
        r->headers_out.content_length_n = (off_t)answer->body.len;
    if (push_negotiation(r, ctx) != NGX_OK || push_caching(r, answer) != NGX_OK)
        return NGX_ERROR;
    if (answer->retry_after && push_retry_after(r, answer->retry_after) != NGX_OK)
        return NGX_ERROR;
    if (answer->status == 426 && push_upgrade(r) != NGX_OK)
        return NGX_ERROR;
    return push_metadata(r, answer->metadata);
}

ngx_int_t grpc_json_send_header(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    if (ctx->keepalive_known)
        r->keepalive = ctx->keepalive;
    if (set_headers(r, ctx) != NGX_OK)
        return NGX_ERROR;
    return grpc_json_next_header(r);
}

ngx_int_t grpc_json_send(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_answer *answer = &ctx->answer;
    ngx_buf_t *b = ngx_calloc_buf(r->pool);
    ngx_chain_t out;
    ngx_int_t rc;

    if (!b)
        return NGX_ERROR;
    ctx->state = GRPC_JSON_SENT;
    rc = grpc_json_send_header(r, ctx);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    b->pos = b->start = answer->body.data;
    b->last = b->end = answer->body.data + answer->body.len;
    b->memory = answer->body.len > 0;
    b->last_buf = 1;
    b->last_in_chain = 1;
    out.buf = b;
    out.next = NULL;
    rc = grpc_json_next_body(r, &out);
    return rc == NGX_ERROR || grpc_json_unread(r, answer->body.len) != NGX_OK ? NGX_ERROR : rc;
}

/* ---- OPTIONS ---- */

ngx_int_t grpc_json_send_options(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_int_t rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK)
        return rc;
    ctx->answer.status = NGX_HTTP_NO_CONTENT;
    return grpc_json_send(r, ctx);
}

bool grpc_json_begin_document(ngx_http_request_t *r, ngx_int_t *ret_rc)
{
    struct grpc_json_ctx *ctx;

    if (r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD)) {
        *ret_rc = ngx_http_discard_request_body(r);
        return *ret_rc == NGX_OK;
    }
    ctx = grpc_json_ctx(r);
    if (!ctx) {
        *ret_rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        return false;
    }
    ngx_str_set(&ctx->answer.allow, "GET, HEAD, OPTIONS");
    *ret_rc = r->method == NGX_HTTP_OPTIONS ? grpc_json_send_options(r, ctx) : NGX_HTTP_NOT_ALLOWED;
    return false;
}
