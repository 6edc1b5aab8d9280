/* Filters. Errors that nginx makes itself (a refused request, a bad request line) pass them and
 * become problems, with nginx's own page dropped; answers that are made here go past them. */
#include "grpc_json.h"

ngx_http_output_header_filter_pt grpc_json_next_header;
ngx_http_output_body_filter_pt grpc_json_next_body;

/* What another module of nginx passes on from elsewhere: its errors are its own. */
static bool from_upstream(ngx_http_request_t *r)
{
    return r->upstream && r->upstream->cleanup && r->upstream->headers_in.status_n;
}

/* What nginx refuses by itself. It has one reason for a 501, and that is not the method. */
static ngx_int_t set_problem_of_nginx(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    int status = (int)r->headers_out.status;
    struct problem problem;

    if (status != NGX_HTTP_NOT_IMPLEMENTED)
        return grpc_json_set_status(r, ctx, status);
    problem_init(&problem, status);
    problem_add(&problem, STR("transferEncoding"), STR("must be chunked"));
    return grpc_json_set_problem(r, ctx, &problem);
}

/* An error that nginx made: ours by way of the phase handler, or its own. */
static ngx_int_t send_problem(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = grpc_json_ctx(r);

    if (!ctx)
        return NGX_ERROR;
    if (ctx->answer.status != r->headers_out.status && set_problem_of_nginx(r, ctx) != NGX_OK)
        return NGX_ERROR;
    if (ctx->answer.status == NGX_HTTP_NOT_ALLOWED && grpc_json_set_allow(r, ctx) != NGX_OK)
        return NGX_ERROR;
    return grpc_json_send(r, ctx);
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);

    if (r == r->main && r->headers_out.status >= NGX_HTTP_BAD_REQUEST && !from_upstream(r) &&
        (conf->problems || (ctx && ctx->state == GRPC_JSON_REFUSED)))
        return send_problem(r);
    return grpc_json_next_header(r);
}

static ngx_int_t body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    if (!ctx || ctx->state != GRPC_JSON_SENT || !in)
        return grpc_json_next_body(r, in);
    for (; in; in = in->next) {
        in->buf->pos = in->buf->last;
        in->buf->file_pos = in->buf->file_last;
    }
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
