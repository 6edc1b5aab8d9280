/* Variables for configuration and log. The ones about the route find it when they are first asked
 * for, so they can be used in any phase: to choose the upstream, to limit rates, to log. */
#include "grpc_json.h"

enum trace_part { TRACE_PART_ID, TRACE_PART_SPAN };
enum route_part { ROUTE_PACKAGE, ROUTE_SERVICE, ROUTE_METHOD };

static void set_value(ngx_http_variable_value_t *v, const void *data, size_t n)
{
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = (unsigned)n & 0x0fffffff;
    v->data = (u_char *)(uintptr_t)data;
}

static ngx_int_t not_found(ngx_http_variable_value_t *v)
{
    v->not_found = 1;
    return NGX_OK;
}

static struct str package_of(struct str service)
{
    size_t n = service.n;

    while (n > 0 && service.p[n - 1] != '.')
        n--;
    return (struct str){service.p, n ? n - 1 : 0};
}

static ngx_int_t get_route(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t part)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx;
    struct str value;

    if (!conf->enabled || r != r->main)
        return not_found(v);
    ctx = grpc_json_ctx(r);
    if (!ctx)
        return NGX_ERROR;
    if (grpc_json_route(r, ctx))
        return not_found(v);
    value = part == ROUTE_METHOD ? ctx->match.method->path : ctx->match.method->service;
    if (part == ROUTE_PACKAGE)
        value = package_of(value);
    set_value(v, value.p, value.n);
    return NGX_OK;
}

static ngx_int_t get_grpc_status(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                                 uintptr_t data)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r->main, ngx_http_grpc_json_module);
    u_char *text, *end;

    (void)data;
    if (!ctx || ctx->grpc_status < 0)
        return not_found(v);
    text = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (!text)
        return NGX_ERROR;
    end = ngx_sprintf(text, "%d", ctx->grpc_status);
    set_value(v, text, (size_t)(end - text));
    return NGX_OK;
}

/* 128 bits in hexadecimal; any location. */
static ngx_int_t get_request_id(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char bytes[16], *text = ngx_pnalloc(r->pool, 2 * sizeof(bytes));

    (void)data;
    if (!text || grpc_json_random(bytes, sizeof(bytes)) != NGX_OK)
        return NGX_ERROR;
    ngx_hex_dump(text, bytes, sizeof(bytes));
    set_value(v, text, 2 * sizeof(bytes));
    return NGX_OK;
}

/* Also of a request that never reached a service: its log line belongs to the trace. */
static ngx_int_t get_trace(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t part)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx;

    if (!conf->trace)
        return not_found(v);
    ctx = grpc_json_ctx(r->main);
    if (!ctx || grpc_json_start_trace(r->main, ctx) != NGX_OK)
        return NGX_ERROR;
    if (part == TRACE_PART_ID)
        set_value(v, ctx->trace.context.id, TRACE_ID_SIZE);
    else
        set_value(v, ctx->trace.context.span, TRACE_SPAN_SIZE);
    return NGX_OK;
}

ngx_str_t grpc_json_client(const ngx_connection_t *c, u_char memory[GRPC_JSON_CLIENT_SIZE])
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)c->sockaddr;
    u_char network[16] = {0}, *bytes = in6->sin6_addr.s6_addr;
    ngx_str_t client = {0, memory};

    if (in6->sin6_family != AF_INET6)
        return c->addr_text;
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        client.len = ngx_inet_ntop(AF_INET, bytes + 12, memory, NGX_INET6_ADDRSTRLEN);
        return client;
    }
    ngx_memcpy(network, bytes, 8);
    client.len = ngx_inet6_ntop(network, memory, NGX_INET6_ADDRSTRLEN);
    client.len = (size_t)(ngx_cpymem(memory + client.len, "/64", 3) - memory);
    return client;
}

static ngx_int_t get_client(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t client = r->connection->addr_text;
    u_char *memory;

    (void)data;
    if (r->connection->sockaddr->sa_family == AF_INET6) {
        memory = ngx_pnalloc(r->pool, GRPC_JSON_CLIENT_SIZE);
        if (!memory)
            return NGX_ERROR;
        client = grpc_json_client(r->connection, memory);
    }
    set_value(v, client.data, client.len);
    return NGX_OK;
}

/* The limit that refused the request. */
static ngx_int_t get_limited(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r->main, ngx_http_grpc_json_module);

    (void)data;
    if (!ctx || !ctx->limited.len)
        return not_found(v);
    set_value(v, ctx->limited.data, ctx->limited.len);
    return NGX_OK;
}

/* For the log: the path as it came. A query may hold what a log must not. A byte that no URI has is
 * percent-encoded (RFC 3986 section 2.1), since JSON is UTF-8. */
static ngx_int_t get_path(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    static const char digits[] = "0123456789ABCDEF";
    const u_char *uri = r->unparsed_uri.data;
    u_char *text, *end;
    size_t n = 0, odd = 0;

    (void)data;
    for (; n < r->unparsed_uri.len && uri[n] != '?'; n++)
        odd += uri[n] >= 0x80;
    if (odd == 0) {
        set_value(v, uri, n);
        return NGX_OK;
    }
    text = ngx_pnalloc(r->pool, n + 2 * odd);
    if (!text)
        return NGX_ERROR;
    end = text;
    for (size_t i = 0; i < n; i++) {
        if (uri[i] < 0x80) {
            *end++ = uri[i];
        } else {
            *end++ = '%';
            *end++ = (u_char)digits[uri[i] >> 4];
            *end++ = (u_char)digits[uri[i] & 0xf];
        }
    }
    set_value(v, text, (size_t)(end - text));
    return NGX_OK;
}

static ngx_http_variable_t variables[] = {
    {ngx_string("grpc_json_package"), NULL, get_route, ROUTE_PACKAGE, 0, 0},
    {ngx_string("grpc_json_service"), NULL, get_route, ROUTE_SERVICE, 0, 0},
    {ngx_string("grpc_json_method"), NULL, get_route, ROUTE_METHOD, 0, 0},
    {ngx_string("grpc_json_status"), NULL, get_grpc_status, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("grpc_json_path"), NULL, get_path, 0, 0, 0},
    {ngx_string("grpc_json_client"), NULL, get_client, 0, 0, 0},
    {ngx_string("grpc_json_limited"), NULL, get_limited, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("grpc_json_request_id"), NULL, get_request_id, 0, 0, 0},
    {ngx_string("grpc_json_trace_id"), NULL, get_trace, TRACE_PART_ID, 0, 0},
    {ngx_string("grpc_json_span_id"), NULL, get_trace, TRACE_PART_SPAN, 0, 0},
};

ngx_int_t grpc_json_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t *variable;

    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        variable = ngx_http_add_variable(cf, &variables[i].name, variables[i].flags);
        if (!variable)
            return NGX_ERROR;
        variable->get_handler = variables[i].get_handler;
        variable->data = variables[i].data;
    }
    return NGX_OK;
}
