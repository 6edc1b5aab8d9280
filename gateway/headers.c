/* Headers in both directions, by allow-list: a client sets no metadata that the configuration does
 * not name (grpc-timeout, x-forwarded-for ...), and a service none of its own on the client's side.
 *
 * Metadata whose name ends in -bin is bytes, which both protocols carry as base64. Under such a
 * name on both sides it stays base64; under another name on one side it is there as it is.
 */
#include "base/utf8.h"
#include "grpc_json.h"
#include "http/timeout.h"
#include "rpc_status.h"

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

ngx_int_t grpc_json_push_metadata(ngx_list_t *list, struct str name, struct str value)
{
    ngx_str_t key = {name.n, (u_char *)(uintptr_t)name.p};
    ngx_str_t text = {value.n, (u_char *)(uintptr_t)value.p};

    return push(list, key, text) ? NGX_OK : NGX_ERROR;
}

/* ---- what a client asks of the gateway ---- */

ngx_int_t grpc_json_read_wishes(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                struct problem *ret_problem)
{
    struct str value;
    unsigned lines;
    uint32_t ms;

    /* Which of two would the services believe? */
    if (grpc_json_client_header(r, STR("authorization"), &value, &lines) != NGX_OK)
        return NGX_ERROR;
    if (lines > 1) {
        problem_init(ret_problem, NGX_HTTP_BAD_REQUEST);
        problem_add(ret_problem, STR("authorization"), STR("must be there once"));
        return NGX_DECLINED;
    }
    if (grpc_json_client_header(r, STR("request-timeout"), &value, &lines) != NGX_OK)
        return NGX_ERROR;
    if (lines > 0 && request_timeout_read(value, &ms)) {
        problem_init(ret_problem, NGX_HTTP_BAD_REQUEST);
        problem_add(ret_problem, STR("requestTimeout"), STR("must be a number of seconds"));
        return NGX_DECLINED;
    }
    if (lines > 0)
        ctx->wishes.timeout = ms;
    return grpc_json_read_conditions(r, ctx, ret_problem);
}

/* ---- to the upstream ---- */

/* gRPC metadata is printable ASCII. */
static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    }
    return true;
}

/* Makes '?' of each byte that is not printable ASCII. */
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

static bool is_binary(ngx_str_t name)
{
    return str_ends(grpc_json_str(name), STR("-bin"));
}

/* What may be in a header as it is: text, ASCII or UTF-8. */
static bool is_text(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return utf8_valid(s);
}

/* One value on its way from a name to another. NGX_DECLINED: it is not base64 that must be, or
 * bytes that must be text. What a client says arrives as it is or not at all: another idempotency
 * key would be taken for somebody else's, and without a broken token its sender were anonymous. */
static ngx_int_t convert(ngx_http_request_t *r, ngx_str_t from, ngx_str_t to, bool to_service,
                         ngx_str_t *value)
{
    struct arena *arena = grpc_json_scratch();
    struct str bytes = grpc_json_str(*value);

    if (!is_binary(from) && !is_binary(to)) {
        if (!to_service)
            return clean_value(r, value);
        return is_printable(bytes) ? NGX_OK : NGX_DECLINED;
    }
    if (is_binary(from)) {
        int err = rpc_base64_decode(arena, bytes, &bytes);

        if (err)
            return err == -ENOMEM ? NGX_ERROR : NGX_DECLINED;
    }
    if (is_binary(to))
        bytes = rpc_base64_encode(arena, bytes);
    else if (to_service ? !is_printable(bytes) : !is_text(bytes))
        return NGX_DECLINED;
    if (!bytes.p)
        return NGX_ERROR;
    *value = grpc_json_copy(r, bytes);
    return value->data ? NGX_OK : NGX_ERROR;
}

/* The values of a header: binary ones may be joined with commas, which base64 does not have; text
 * is one value, whatever it means. Returns false at the end. */
static bool next_value(ngx_str_t name, struct str *rest, ngx_str_t *ret)
{
    const char *comma = is_binary(name) && rest->n ? memchr(rest->p, ',', rest->n) : NULL;
    struct str value = {rest->p, comma ? (size_t)(comma - rest->p) : rest->n};

    if (!rest->p)
        return false;
    *rest = comma ? str_skip(*rest, value.n + 1) : STR_NULL;
    while (comma && rest->n && rest->p[0] == ' ')
        *rest = str_skip(*rest, 1);
    *ret = (ngx_str_t){value.n, (u_char *)(uintptr_t)value.p};
    return true;
}

/* What the gateway says itself, a client does not. */
static bool is_own(const struct grpc_json_conf *conf, ngx_str_t name)
{
    return (conf->trace && (str_eq(grpc_json_str(name), STR("traceparent")) ||
                            str_eq(grpc_json_str(name), STR("tracestate")))) ||
           str_eq(grpc_json_str(name), STR("if-match")) ||
           str_eq(grpc_json_str(name), STR("if-none-match"));
}

static ngx_int_t push_header(ngx_http_request_t *r, ngx_str_t from, ngx_str_t to, struct str values,
                             ngx_list_t *list, size_t *size)
{
    ngx_str_t value;
    ngx_int_t rc;

    while (next_value(from, &values, &value)) {
        rc = convert(r, from, to, true, &value);
        if (rc != NGX_OK)
            return rc;
        if (!push(list, to, value))
            return NGX_ERROR;
        *size += to.len + value.len + GRPC_JSON_HEADER_OVERHEAD;
    }
    return NGX_OK;
}

/* What the header must be that goes to `to`. */
static struct str wanted_of(ngx_str_t from, ngx_str_t to)
{
    if (!is_binary(from))
        return STR("must be printable ASCII");
    return is_binary(to) ? STR("must be base64") : STR("must be base64 of printable ASCII");
}

/* Copies what is allowed of the client's headers and counts its size. NGX_DECLINED with what is
 * wrong with one that cannot be converted. */
static ngx_int_t push_allowed(ngx_http_request_t *r, const struct grpc_json_conf *conf,
                              ngx_list_t *to, size_t *size, struct problem_error *ret_error)
{
    struct grpc_json_lines at = grpc_json_client_lines(r);
    const ngx_table_elt_t *h;

    while ((h = grpc_json_next_header_line(&at)) != NULL) {
        ngx_str_t name = {h->key.len, h->lowcase_key};
        const ngx_str_t *key = h->hash ? allowed(conf->request_headers, grpc_json_str(name)) : NULL;
        ngx_int_t rc;

        if (!key || is_own(conf, *key))
            continue;
        rc = push_header(r, name, *key, grpc_json_str(h->value), to, size);
        if (rc != NGX_OK) {
            *ret_error = (struct problem_error){grpc_json_str(name), wanted_of(name, *key)};
            return rc;
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
        *size += header[i].name.len + value.len + GRPC_JSON_HEADER_OVERHEAD;
    }
    return NGX_OK;
}

/* The shorter one of what the configuration sets and what the client asks for. */
static ngx_msec_t timeout_of(const struct grpc_json_conf *conf, const struct grpc_json_ctx *ctx)
{
    ngx_msec_t asked = ctx->wishes.timeout;
    bool stream = ctx->match.method->server_streaming || ctx->match.method->client_streaming;
    ngx_msec_t most = stream ? conf->stream_timeout : conf->timeout;

    return asked && (!most || asked < most) ? asked : most;
}

ngx_int_t grpc_json_make_metadata(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_list_t *to,
                                  struct problem *ret_problem)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct problem_error error;
    size_t size = 0;
    ngx_int_t rc;

    ctx->timeout = timeout_of(conf, ctx);
    if (push_values(r, conf->set_headers, to, &size) != NGX_OK ||
        grpc_json_push_conditions(r, ctx, to, &size) != NGX_OK ||
        grpc_json_push_trace(r, ctx, to) != NGX_OK)
        return NGX_ERROR;
    rc = push_allowed(r, conf, to, &size, &error);
    if (rc == NGX_DECLINED) {
        problem_init(ret_problem, NGX_HTTP_BAD_REQUEST);
        problem_add(ret_problem, error.key, error.message);
    } else if (rc == NGX_OK && size > conf->request_header_limit) {
        problem_init(ret_problem, 431);
        rc = NGX_DECLINED;
    }
    return rc;
}

/* ---- from the upstream ---- */

/* One header's values. What cannot be a header is left out: the service's fault, and the rest of
 * its answer stands. */
static ngx_int_t collect_values(ngx_http_request_t *r, ngx_str_t from, ngx_str_t to,
                                struct str values, ngx_array_t *list, size_t *size)
{
    ngx_table_elt_t *copy;
    ngx_str_t value;
    ngx_int_t rc;

    while (next_value(from, &values, &value)) {
        rc = convert(r, from, to, false, &value);
        if (rc == NGX_ERROR)
            return NGX_ERROR;
        if (rc == NGX_DECLINED) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "grpc_json: metadata \"%V\" cannot be a header", &from);
            continue;
        }
        copy = ngx_array_push(list);
        if (!copy)
            return NGX_ERROR;
        ngx_memzero(copy, sizeof(*copy));
        copy->key = to;
        copy->value = value;
        *size += to.len + value.len + GRPC_JSON_HEADER_OVERHEAD;
    }
    return NGX_OK;
}

static ngx_int_t collect_metadata(ngx_http_request_t *r, const ngx_list_t *from,
                                  const ngx_array_t *rules, ngx_array_t *to, size_t *size)
{
    struct grpc_json_lines at = grpc_json_lines(from);
    const ngx_table_elt_t *h;

    while ((h = grpc_json_next_header_line(&at)) != NULL) {
        ngx_str_t name = {h->key.len, h->lowcase_key};
        const ngx_str_t *key = h->hash ? allowed(rules, grpc_json_str(name)) : NULL;

        if (key && collect_values(r, name, *key, grpc_json_str(h->value), to, size) != NGX_OK)
            return NGX_ERROR;
    }
    return NGX_OK;
}

ngx_int_t grpc_json_keep_metadata(ngx_http_request_t *r, ngx_list_t *list, struct str name,
                                  struct str value)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_str_t key, text;

    if (!allowed(conf->response_headers, name))
        return NGX_OK;
    key = grpc_json_copy(r, name);
    text = grpc_json_copy(r, value);
    return key.data && text.data && push(list, key, text) ? NGX_OK : NGX_ERROR;
}

ngx_int_t grpc_json_metadata(ngx_http_request_t *r, const ngx_list_t *kept, ngx_array_t **ret)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_array_t *all;
    size_t size = 0;

    *ret = NULL;
    if (!conf->response_headers)
        return NGX_OK;
    all = ngx_array_create(r->pool, 4, sizeof(ngx_table_elt_t));
    if (!all || collect_metadata(r, kept, conf->response_headers, all, &size) != NGX_OK)
        return NGX_ERROR;
    if (size > conf->response_header_limit)
        return NGX_DECLINED;
    *ret = all;
    return NGX_OK;
}
