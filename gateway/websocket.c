/* What a request must be to become a WebSocket: HTTP/1.1's Upgrade, by RFC 6455 section 4.2, from a
 * page that may, with a credential that a browser can send. Whatever is wrong is told by a problem
 * before anything has been done for the request. */
#include "grpc_json.h"

#include "http/websocket_handshake.h"

#include <errno.h>

#define DEFAULT_MESSAGE_LIMIT (1 << 20)
/* For a service near by to say no; one that says nothing yet is not waited for. */
#define DEFAULT_OPEN_TIMEOUT 200
#define DEFAULT_CLOSE_TIMEOUT 10000
/* Below the minute after which proxies and NATs forget a connection. */
#define DEFAULT_PING_INTERVAL 30000
#define DEFAULT_PING_TIMEOUT 20000
/* Of a worker: many messages of the default's size. */
#define DEFAULT_MEMORY (64 << 20)
/* What may wait for a client that shares a stream: a second of a very busy channel. */
#define DEFAULT_QUEUE_MESSAGES 1024
#define DEFAULT_QUEUE_BYTES (256 << 10)
#define MIN_QUEUE_MESSAGES 16
#define MIN_QUEUE_BYTES (64 << 10) /* one message has room */
/* For an instance to come back. */
#define DEFAULT_ATTACH_TIMEOUT 30000
/* A message is held in memory as a whole. */
#define MAX_MESSAGE_LIMIT (32 << 20)

/* ---- configuration ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char is_no_protocol[] = "wants names of subprotocols";
static char is_no_method[] = "wants two methods, such as /package.Service/Method";
static char is_no_queue[] = "wants a number of messages, 16 or more, and a size, 64k or more";
static char is_too_large[] = "grpc_json_websocket_message_limit: 32m is the most";

void grpc_json_websocket_init(struct grpc_json_websocket *conf)
{
    conf->target.enabled = conf->deflate = NGX_CONF_UNSET;
    conf->protocols = conf->attach = NGX_CONF_UNSET_PTR;
    conf->queue_messages = NGX_CONF_UNSET_UINT;
    conf->queue_bytes = NGX_CONF_UNSET_SIZE;
    conf->attach_timeout = NGX_CONF_UNSET_MSEC;
    conf->message_limit = conf->memory = NGX_CONF_UNSET_SIZE;
    grpc_json_opening_init(&conf->opening);
    conf->open_timeout = conf->close_timeout = conf->idle_timeout = NGX_CONF_UNSET_MSEC;
    conf->ping_interval = conf->ping_timeout = NGX_CONF_UNSET_MSEC;
}

struct str grpc_json_websocket_attach(const struct grpc_json_websocket *conf,
                                      const struct schema_method *method)
{
    const struct str(*pair)[2] = conf->attach ? conf->attach->elts : NULL;

    for (ngx_uint_t i = 0; pair && i < conf->attach->nelts; i++) {
        if (str_eq(pair[i][0], method->path))
            return pair[i][1];
    }
    return STR_NULL;
}

/* "/package.Service/Method" */
static bool is_method(struct str path)
{
    const char *slash = path.n > 1 ? memchr(path.p + 1, '/', path.n - 1) : NULL;

    return path.n > 0 && path.p[0] == '/' && slash && slash > path.p + 1 &&
           slash + 1 < path.p + path.n;
}

/* Whether a name can be a subprotocol that is chosen. */
static bool is_protocol(struct str name)
{
    struct websocket_protocols offer = {STR_NULL, STR_NULL};

    return websocket_protocols_read(name, &name, 1, &offer) == 0 && str_eq(offer.chosen, name);
}

char *grpc_json_websocket_set_protocols(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_websocket *conf = &((struct grpc_json_conf *)data)->websocket;
    ngx_str_t *args = cf->args->elts;
    struct str *name;

    (void)command;
    if (conf->protocols != NGX_CONF_UNSET_PTR)
        return is_duplicate;
    conf->protocols = ngx_array_create(cf->pool, cf->args->nelts, sizeof(*name));
    for (ngx_uint_t i = 1; conf->protocols && i < cf->args->nelts; i++) {
        if (!is_protocol(grpc_json_str(args[i])))
            return is_no_protocol;
        name = ngx_array_push(conf->protocols);
        if (!name)
            return NGX_CONF_ERROR;
        *name = grpc_json_str(args[i]);
    }
    return conf->protocols ? NGX_CONF_OK : NGX_CONF_ERROR;
}

/* METHOD ATTACH */
char *grpc_json_websocket_set_attach(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_websocket *conf = &((struct grpc_json_conf *)data)->websocket;
    struct grpc_json_main_conf *all =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    ngx_str_t *args = cf->args->elts;
    struct str *pair;

    (void)command;
    all->attaches = true;
    if (conf->attach == NGX_CONF_UNSET_PTR)
        conf->attach = ngx_array_create(cf->pool, 2, 2 * sizeof(*pair));
    pair = conf->attach ? ngx_array_push(conf->attach) : NULL;
    if (!pair)
        return NGX_CONF_ERROR;
    pair[0] = grpc_json_str(args[1]);
    pair[1] = grpc_json_str(args[2]);
    return is_method(pair[0]) && is_method(pair[1]) ? NGX_CONF_OK : is_no_method;
}

/* MESSAGES SIZE */
char *grpc_json_websocket_set_queue(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_websocket *conf = &((struct grpc_json_conf *)data)->websocket;
    ngx_str_t *args = cf->args->elts;
    ngx_int_t messages = ngx_atoi(args[1].data, args[1].len);
    ssize_t bytes = ngx_parse_size(&args[2]);

    (void)command;
    if (conf->queue_messages != NGX_CONF_UNSET_UINT)
        return is_duplicate;
    if (messages < MIN_QUEUE_MESSAGES || bytes < MIN_QUEUE_BYTES)
        return is_no_queue;
    conf->queue_messages = (ngx_uint_t)messages;
    conf->queue_bytes = (size_t)bytes;
    return NGX_CONF_OK;
}

char *grpc_json_websocket_merge(const struct grpc_json_websocket *prev,
                                struct grpc_json_websocket *conf)
{
    grpc_json_target_merge(&prev->target, &conf->target);
    ngx_conf_merge_value(conf->deflate, prev->deflate, 0);
    ngx_conf_merge_ptr_value(conf->protocols, prev->protocols, NULL);
    ngx_conf_merge_size_value(conf->message_limit, prev->message_limit, DEFAULT_MESSAGE_LIMIT);
    ngx_conf_merge_ptr_value(conf->attach, prev->attach, NULL);
    ngx_conf_merge_uint_value(conf->queue_messages, prev->queue_messages, DEFAULT_QUEUE_MESSAGES);
    ngx_conf_merge_size_value(conf->queue_bytes, prev->queue_bytes, DEFAULT_QUEUE_BYTES);
    ngx_conf_merge_msec_value(conf->attach_timeout, prev->attach_timeout, DEFAULT_ATTACH_TIMEOUT);
    ngx_conf_merge_size_value(conf->memory, prev->memory, DEFAULT_MEMORY);
    grpc_json_opening_merge(&prev->opening, &conf->opening);
    ngx_conf_merge_msec_value(conf->open_timeout, prev->open_timeout, DEFAULT_OPEN_TIMEOUT);
    ngx_conf_merge_msec_value(conf->close_timeout, prev->close_timeout, DEFAULT_CLOSE_TIMEOUT);
    ngx_conf_merge_msec_value(conf->ping_interval, prev->ping_interval, DEFAULT_PING_INTERVAL);
    ngx_conf_merge_msec_value(conf->ping_timeout, prev->ping_timeout, DEFAULT_PING_TIMEOUT);
    ngx_conf_merge_msec_value(conf->idle_timeout, prev->idle_timeout, 0);
    return conf->message_limit > MAX_MESSAGE_LIMIT ? is_too_large : NGX_CONF_OK;
}

/* ---- credentials ---- */

static struct str trim(struct str s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s = str_skip(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Whether a comma-separated list has an element, in any case. */
static bool has_element(struct str list, struct str wanted)
{
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;

        if (str_eq_nocase(trim((struct str){list.p, n}), wanted))
            return true;
        list = str_skip(list, n + 1);
    }
    return false;
}

static ngx_int_t push_authorization(ngx_http_request_t *r, struct str token)
{
    ngx_table_elt_t *h = ngx_list_push(&r->headers_in.headers);

    if (!h)
        return NGX_ERROR;
    ngx_memzero(h, sizeof(*h));
    h->value.data = ngx_pnalloc(r->pool, sizeof("Bearer ") + token.n);
    if (!h->value.data)
        return NGX_ERROR;
    h->value.len =
        (size_t)(ngx_sprintf(h->value.data, "Bearer %*s", token.n, token.p) - h->value.data);
    ngx_str_set(&h->key, "Authorization");
    h->lowcase_key = (u_char *)(uintptr_t) "authorization";
    h->hash = ngx_hash_key(h->lowcase_key, h->key.len);
    if (!r->headers_in.authorization)
        r->headers_in.authorization = h;
    return NGX_OK;
}

static bool wants_websocket(ngx_http_request_t *r)
{
    struct str upgrade;
    unsigned lines;

    return grpc_json_client_header(r, STR("upgrade"), &upgrade, &lines) == NGX_OK &&
           has_element(upgrade, STR("websocket"));
}

/* REWRITE phase, before anything is done for the request, and before limits are counted by
 * credential: a browser cannot set Authorization for a WebSocket, only name subprotocols. From here
 * on its token is where others have theirs. */
static ngx_int_t rewrite(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct websocket_protocols offer = {STR_NULL, STR_NULL};
    struct str protocols;
    unsigned lines;

    if (!conf->enabled || !conf->websocket.target.enabled || r != r->main || r->internal ||
        !r->headers_in.upgrade || !wants_websocket(r))
        return NGX_DECLINED;
    if (grpc_json_client_header(r, STR("sec-websocket-protocol"), &protocols, &lines) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    /* What is wrong with the list is told later. */
    if (lines && websocket_protocols_read(protocols, NULL, 0, &offer) == 0 && offer.bearer.p &&
        push_authorization(r, offer.bearer) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return grpc_json_opening(r);
}

ngx_int_t grpc_json_websocket_install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *handler = ngx_array_push(&core->phases[NGX_HTTP_REWRITE_PHASE].handlers);

    if (!handler)
        return NGX_ERROR;
    *handler = rewrite;
    return grpc_json_opening_install(cf);
}

/* ---- what is asked for ---- */

static ngx_int_t refuse(struct problem *problem, int status, struct str key, struct str message)
{
    problem_init(problem, status);
    problem_add(problem, key, message);
    return NGX_DECLINED;
}

static ngx_int_t check_upgrade(ngx_http_request_t *r, struct problem *problem)
{
    struct str connection, version;
    unsigned lines;

    if (grpc_json_client_header(r, STR("connection"), &connection, &lines) != NGX_OK ||
        grpc_json_client_header(r, STR("sec-websocket-version"), &version, &lines) != NGX_OK)
        return NGX_ERROR;
    problem_init(problem, 426);
    /* HTTP/2 has a way of its own (RFC 8441), which this nginx has not. */
    if (r->stream || r->http_version < NGX_HTTP_VERSION_11 || r->method != NGX_HTTP_GET ||
        !wants_websocket(r) || !has_element(connection, STR("upgrade")))
        return NGX_DECLINED;
    if (!str_eq(version, STR("13")))
        return refuse(problem, 426, STR("secWebsocketVersion"), STR("must be 13"));
    /* Bytes behind the header are frames, and nothing else. */
    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked)
        return refuse(problem, NGX_HTTP_BAD_REQUEST, STR("body"), STR("must be empty"));
    return NGX_OK;
}

static ngx_int_t check_key(ngx_http_request_t *r, struct handshake *handshake,
                           struct problem *problem)
{
    struct str key;
    unsigned lines;

    if (grpc_json_client_header(r, STR("sec-websocket-key"), &key, &lines) != NGX_OK)
        return NGX_ERROR;
    handshake->accept.data = ngx_pnalloc(r->pool, WEBSOCKET_ACCEPT_SIZE);
    handshake->accept.len = WEBSOCKET_ACCEPT_SIZE;
    if (!handshake->accept.data)
        return NGX_ERROR;
    switch (websocket_accept(key, (char *)handshake->accept.data)) {
    case 0:
        return NGX_OK;
    case -EINVAL:
        return refuse(problem, NGX_HTTP_BAD_REQUEST, STR("secWebsocketKey"),
                      STR("must be 16 bytes in base64"));
    default:
        return NGX_ERROR;
    }
}

/* Host and port, whatever the scheme: a proxy in front may have taken TLS off. */
static bool is_same_host(ngx_http_request_t *r, struct str origin)
{
    const char *colon = origin.n ? memchr(origin.p, ':', origin.n) : NULL;
    struct str rest = colon ? str_skip(origin, (size_t)(colon - origin.p)) : STR_NULL;

    return r->headers_in.host && str_starts(rest, STR("://")) &&
           str_eq_nocase(str_skip(rest, 3), grpc_json_str(r->headers_in.host->value));
}

/* Browsers let any page open a WebSocket anywhere, and leave it to the server to say no (RFC 6455
 * section 10.2). Without the header it is no browser. */
static ngx_int_t check_origin(ngx_http_request_t *r, struct problem *problem)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct str origin;
    unsigned lines;

    if (grpc_json_client_header(r, STR("origin"), &origin, &lines) != NGX_OK)
        return NGX_ERROR;
    if (lines == 0 ||
        (lines == 1 && (is_same_host(r, origin) || grpc_json_cors_allows(&conf->cors, origin))))
        return NGX_OK;
    return refuse(problem, NGX_HTTP_FORBIDDEN, STR("origin"), STR("is not allowed"));
}

/* The token itself is never chosen: browsers want one of their offers back, so a page offers a
 * protocol of the configuration beside it. */
static ngx_int_t choose_protocol(ngx_http_request_t *r, struct handshake *handshake,
                                 struct problem *problem)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    const ngx_array_t *known = conf->websocket.protocols;
    struct websocket_protocols offer = {STR_NULL, STR_NULL};
    struct str list;
    unsigned lines;

    if (grpc_json_client_header(r, STR("sec-websocket-protocol"), &list, &lines) != NGX_OK)
        return NGX_ERROR;
    if (lines && websocket_protocols_read(list, known ? known->elts : NULL,
                                          known ? known->nelts : 0, &offer))
        return refuse(problem, NGX_HTTP_BAD_REQUEST, STR("secWebsocketProtocol"),
                      STR("must be a list of tokens, with one access token at most"));
    handshake->protocol = (ngx_str_t){offer.chosen.n, (u_char *)(uintptr_t)offer.chosen.p};
    return NGX_OK;
}

static ngx_int_t choose_extensions(ngx_http_request_t *r, struct handshake *handshake,
                                   struct problem *problem)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct str list;
    unsigned lines;

    if (grpc_json_client_header(r, STR("sec-websocket-extensions"), &list, &lines) != NGX_OK)
        return NGX_ERROR;
    if (lines && websocket_extensions_read(list, &handshake->window))
        return refuse(problem, NGX_HTTP_BAD_REQUEST, STR("secWebsocketExtensions"),
                      STR("must be a list of extensions"));
    if (!conf->websocket.deflate)
        handshake->window = 0;
    return NGX_OK;
}

/* A worker that has no room for messages takes no one else who will send some. */
static ngx_int_t check_memory(const struct grpc_json_conf *conf, struct problem *problem)
{
    if (grpc_json_websocket_held() < conf->websocket.memory)
        return NGX_OK;
    problem_init(problem, NGX_HTTP_SERVICE_UNAVAILABLE);
    problem->retry_after = 1;
    return NGX_DECLINED;
}

static ngx_int_t check(ngx_http_request_t *r, struct handshake *handshake, struct problem *problem)
{
    const struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_int_t rc = check_upgrade(r, problem);

    if (rc == NGX_OK)
        rc = check_key(r, handshake, problem);
    if (rc == NGX_OK)
        rc = check_origin(r, problem);
    if (rc == NGX_OK)
        rc = choose_protocol(r, handshake, problem);
    if (rc == NGX_OK)
        rc = choose_extensions(r, handshake, problem);
    if (rc == NGX_OK)
        rc = check_memory(conf, problem);
    return rc;
}

/* A WebSocket begins with a GET, which the route must have. */
static bool is_served(const struct schema_match *match)
{
    struct schema_binding_description binding;

    schema_binding_describe(match->binding, &binding);
    return str_eq(binding.http_method, STR("GET")) || str_eq(binding.http_method, STR("*"));
}

ngx_int_t grpc_json_websocket(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct handshake handshake = {0};
    struct problem problem;

    /* No error from here on spoils the connection, unless there is a body to pass over. */
    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        ctx->keepalive_known = true;
        ctx->keepalive = r->keepalive != 0;
    }
    if (!conf->websocket.target.enabled || !is_served(&ctx->match))
        return grpc_json_refuse_status(r, ctx, NGX_HTTP_NOT_IMPLEMENTED);
    switch (check(r, &handshake, &problem)) {
    case NGX_OK:
        return grpc_json_upgrade(r, ctx, &handshake);
    case NGX_DECLINED:
        return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}
