/* Conditional requests (RFC 9110 section 13). What a GET or HEAD asks is judged here, by the entity
 * tag of the answer. What a method that changes something asks is the service's to judge, in the
 * transaction that changes it: it gets the headers as metadata. */
#include "grpc_json.h"
#include "http/entity_tag.h"

#include <errno.h>

static bool is_read(const ngx_http_request_t *r)
{
    return r->method == NGX_HTTP_GET || r->method == NGX_HTTP_HEAD;
}

ngx_int_t grpc_json_read_conditions(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                    struct problem *ret_problem)
{
    struct grpc_json_wishes *wishes = &ctx->wishes;
    unsigned lines;

    if (grpc_json_client_header(r, STR("if-match"), &wishes->if_match, &lines) != NGX_OK ||
        grpc_json_client_header(r, STR("if-none-match"), &wishes->if_none_match, &lines) != NGX_OK)
        return NGX_ERROR;
    problem_init(ret_problem, NGX_HTTP_BAD_REQUEST);
    if (wishes->if_match.p && !entity_tags_valid(wishes->if_match))
        problem_add(ret_problem, STR("ifMatch"), STR("must be * or a list of entity tags"));
    /* Of a read it only saves bytes: without it the answer is the whole one. */
    if (wishes->if_none_match.p && !entity_tags_valid(wishes->if_none_match) && !is_read(r))
        problem_add(ret_problem, STR("ifNoneMatch"), STR("must be * or a list of entity tags"));
    return ret_problem->n_errors ? NGX_DECLINED : NGX_OK;
}

static ngx_int_t push(ngx_list_t *to, struct str name, struct str value, size_t *size)
{
    if (!value.p)
        return NGX_OK;
    *size += name.n + value.n + GRPC_JSON_HEADER_OVERHEAD;
    return grpc_json_push_metadata(to, name, value);
}

ngx_int_t grpc_json_push_conditions(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                    ngx_list_t *to, size_t *size)
{
    if (is_read(r))
        return NGX_OK;
    if (push(to, STR("if-match"), ctx->wishes.if_match, size) != NGX_OK)
        return NGX_ERROR;
    return push(to, STR("if-none-match"), ctx->wishes.if_none_match, size);
}

/* ---- the answer ---- */

/* By metadata, which is about this very answer, or else by the message's field. */
static ngx_int_t find_tag(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str message,
                          struct str value)
{
    struct arena *arena = grpc_json_scratch();
    struct str tag;

    if (!value.p)
        value = schema_entity_tag(ctx->match.method, message);
    if (value.n == 0)
        return NGX_OK;
    switch (entity_tag_of(arena, value, &tag)) {
    case 0:
        break;
    case -ENOMEM:
        return NGX_ERROR;
    default:
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "grpc_json: what %*s gives as entity tag cannot be one",
                      ctx->match.method->path.n, ctx->match.method->path.p);
        return NGX_OK;
    }
    ctx->answer.etag = grpc_json_copy(r, tag);
    return ctx->answer.etag.data ? NGX_OK : NGX_ERROR;
}

static ngx_int_t answer_failed(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_str_null(&ctx->answer.etag);
    ngx_str_null(&ctx->answer.cache_control);
    return grpc_json_set_status(r, ctx, NGX_HTTP_PRECONDITION_FAILED);
}

/* Who has a compressed answer knows the weak form of its tag, and a cache does not find that by the
 * strong one (RFC 9111 section 4.3.4). */
static ngx_int_t weaken_tag(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_str_t *tag = &ctx->answer.etag;
    u_char *weak;

    if (entity_tag_is_weak(grpc_json_str(*tag)) ||
        entity_tags_match(ctx->wishes.if_none_match, grpc_json_str(*tag), ENTITY_TAG_STRONG))
        return NGX_OK;
    weak = ngx_pnalloc(r->pool, tag->len + 2);
    if (!weak)
        return NGX_ERROR;
    *tag = (ngx_str_t){(size_t)(ngx_sprintf(weak, "W/%V", tag) - weak), weak};
    return NGX_OK;
}

static ngx_int_t answer_not_modified(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ctx->answer.status = NGX_HTTP_NOT_MODIFIED;
    ngx_str_null(&ctx->answer.content_type);
    ngx_str_null(&ctx->answer.body);
    return ctx->answer.etag.len ? weaken_tag(r, ctx) : NGX_OK;
}

ngx_int_t grpc_json_apply_conditions(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                     struct str message, struct str etag)
{
    struct grpc_json_wishes *wishes = &ctx->wishes;
    struct str cache_control = ctx->match.method->cache_control;

    if (find_tag(r, ctx, message, etag) != NGX_OK)
        return NGX_ERROR;
    ctx->answer.cache_control.data = (u_char *)(uintptr_t)cache_control.p;
    ctx->answer.cache_control.len = cache_control.n;
    if (!is_read(r))
        return NGX_OK;
    switch (entity_tag_judge(wishes->if_match, wishes->if_none_match,
                             grpc_json_str(ctx->answer.etag))) {
    case ENTITY_TAG_FAILED:
        return answer_failed(r, ctx);
    case ENTITY_TAG_NOT_MODIFIED:
        return answer_not_modified(r, ctx);
    default:
        return NGX_OK;
    }
}
