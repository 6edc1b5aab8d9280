/* Headers in both directions, by allow-list: a client sets no metadata that the configuration does
 * not name (grpc-timeout, x-forwarded-for ...), and a service none of its own on the client's side.
 */
#include "grpc_json.h"
#include "rpc_status.h"

/* What a header costs beyond its text (RFC 9113 section 6.5.2, as HTTP/2 peers count it). */
#define HEADER_OVERHEAD 32

static ngx_table_elt_t *push(ngx_list_t *list, ngx_str_t key, ngx_str_t value)
{
    ngx_table_elt_t *h = ngx_list_push(list);

    if (!h)
        return NULL;
    ngx_memzero(h, sizeof(*h));
    h->key = key;
    h->value = value;
    h->lowcase_key = key.data;
    h->hash = ngx_hash_key(key.data, key.len);
    return h;
}

static ngx_int_t push_grpc_headers(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_list_t *list = &r->headers_in.headers;
    ngx_str_t key = ngx_string("content-type"), value = ngx_string("application/grpc");
    ngx_table_elt_t *te = ngx_pcalloc(r->pool, sizeof(*te));

    if (!te || !push(list, key, value))
        return NGX_ERROR;
    /* ngx_http_grpc_module asks this pointer whether trailers are wanted. */
    ngx_str_set(&te->key, "te");
    ngx_str_set(&te->value, "trailers");
    r->headers_in.te = te;
    r->headers_in.content_length = NULL;
    if (ctx->timeout == 0)
        return NGX_OK;
    ngx_str_set(&key, "grpc-timeout");
    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 1);
    if (!value.data)
        return NGX_ERROR;
    value.len = (size_t)(ngx_sprintf(value.data, "%Mm", ctx->timeout) - value.data);
    return push(list, key, value) ? NGX_OK : NGX_ERROR;
}

/* gRPC metadata is printable ASCII. A byte that is not becomes '?', so that the value stays there
 * for its reader to refuse: dropping a broken token would make its sender anonymous. */
static ngx_int_t clean_value(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char *copy = NULL;

    for (size_t i = 0; i < value->len; i++) {
        if (value->data[i] >= 0x20 && value->data[i] <= 0x7e)
            continue;
        if (!copy) {
            copy = ngx_pnalloc(r->pool, value->len);
            if (!copy)
                return NGX_ERROR;
            ngx_memcpy(copy, value->data, value->len);
            value->data = copy;
        }
        copy[i] = '?';
    }
    return NGX_OK;
}

/* Where a name leads, NULL if nowhere. */
static const ngx_str_t *allowed(const ngx_array_t *rules, struct str name)
{
    const struct grpc_json_header_rule *rule;

    if (!rules)
        return NULL;
    rule = rules->elts;
    for (ngx_uint_t i = 0; i < rules->nelts; i++) {
        if (str_eq(name, grpc_json_str(rule[i].from)))
            return &rule[i].to;
    }
    return NULL;
}

/* Copies what is allowed of the client's headers and counts its size. */
static ngx_int_t push_allowed(ngx_http_request_t *r, const ngx_list_t *from,
                              const ngx_array_t *rules, ngx_list_t *to, size_t *size)
{
    for (const ngx_list_part_t *part = &from->part; part; part = part->next) {
        ngx_table_elt_t *h = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            struct str name = {(char *)h[i].lowcase_key, h[i].key.len};
            const ngx_str_t *key = h[i].hash ? allowed(rules, name) : NULL;
            ngx_str_t value = h[i].value;

            if (!key)
                continue;
            if (clean_value(r, &value) != NGX_OK || !push(to, *key, value))
                return NGX_ERROR;
            *size += key->len + value.len + HEADER_OVERHEAD;
        }
    }
    return NGX_OK;
}

/* The gateway's own headers. Their values are evaluated while $http_... still finds the client's.
 */
static ngx_int_t push_values(ngx_http_request_t *r, const ngx_array_t *headers, ngx_list_t *to,
                             size_t *size)
{
    struct grpc_json_header_value *header = headers ? headers->elts : NULL;
    ngx_str_t value;

    for (ngx_uint_t i = 0; headers && i < headers->nelts; i++) {
        if (ngx_http_complex_value(r, &header[i].value, &value) != NGX_OK)
            return NGX_ERROR;
        if (value.len == 0)
            continue;
        if (clean_value(r, &value) != NGX_OK || !push(to, header[i].name, value))
            return NGX_ERROR;
        *size += header[i].name.len + value.len + HEADER_OVERHEAD;
    }
    return NGX_OK;
}

static ngx_int_t init_list(ngx_http_request_t *r, ngx_list_t *list)
{
    return ngx_list_init(list, r->pool, 8, sizeof(ngx_table_elt_t));
}

/* An ngx_list_t that has not outgrown its first part points into itself: copied with care. */
static void move_list(ngx_list_t *to, const ngx_list_t *from)
{
    *to = *from;
    if (from->last == &from->part)
        to->last = &to->part;
}

ngx_int_t grpc_json_headers_replace(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_list_t list;
    size_t size = 0;

    if (init_list(r, &list) != NGX_OK ||
        push_values(r, conf->set_headers, &list, &size) != NGX_OK ||
        push_allowed(r, &r->headers_in.headers, conf->request_headers, &list, &size) != NGX_OK)
        return NGX_ERROR;
    if (size > conf->request_header_limit)
        return NGX_DECLINED;
    move_list(&ctx->headers, &r->headers_in.headers);
    move_list(&r->headers_in.headers, &list);
    ctx->content_length = r->headers_in.content_length;
    ctx->te = r->headers_in.te;
    ctx->headers_replaced = true;
    ctx->timeout = conf->timeout;
    return push_grpc_headers(r, ctx);
}

ngx_int_t grpc_json_headers_minimal(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    if (init_list(r, &r->headers_in.headers) != NGX_OK)
        return NGX_ERROR;
    return push_grpc_headers(r, ctx);
}

void grpc_json_headers_restore(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    if (!ctx->headers_replaced)
        return;
    ctx->headers_replaced = false;
    move_list(&r->headers_in.headers, &ctx->headers);
    r->headers_in.content_length = ctx->content_length;
    r->headers_in.te = ctx->te;
}

/* ---- from the upstream ---- */

static ngx_int_t collect_metadata(ngx_http_request_t *r, const ngx_list_t *from,
                                  const ngx_array_t *rules, ngx_array_t *to)
{
    for (const ngx_list_part_t *part = &from->part; part; part = part->next) {
        ngx_table_elt_t *h = part->elts, *copy;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            struct str name = {(char *)h[i].lowcase_key, h[i].key.len};
            const ngx_str_t *key = h[i].hash ? allowed(rules, name) : NULL;
            ngx_str_t value = h[i].value;

            if (!key)
                continue;
            copy = ngx_array_push(to);
            if (!copy || clean_value(r, &value) != NGX_OK)
                return NGX_ERROR;
            ngx_memzero(copy, sizeof(*copy));
            copy->key = *key;
            copy->value = value;
        }
    }
    return NGX_OK;
}

ngx_int_t grpc_json_metadata(ngx_http_request_t *r, ngx_array_t **ret)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_http_upstream_headers_in_t *in = &r->upstream->headers_in;

    *ret = NULL;
    if (!conf->response_headers)
        return NGX_OK;
    *ret = ngx_array_create(r->pool, 4, sizeof(ngx_table_elt_t));
    if (!*ret || collect_metadata(r, &in->headers, conf->response_headers, *ret) != NGX_OK ||
        collect_metadata(r, &in->trailers, conf->response_headers, *ret) != NGX_OK)
        return NGX_ERROR;
    return NGX_OK;
}
