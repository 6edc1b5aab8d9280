/* Cross-origin resource sharing, by the Fetch standard (section 3.2): which pages of other origins
 * may read the answers. It protects people's browsers, not the services: whoever is no browser does
 * what it likes.
 *
 * A header filter adds the headers to whatever answer goes out, errors of nginx included. A
 * preflight is a plain OPTIONS request, answered by request.c with the methods that the path's
 * routes have; here it gets the headers that a browser looks for. */
#include "grpc_json.h"
#include "http/origin.h"

static ngx_http_output_header_filter_pt next_header;

/* ---- configuration ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char is_no_origin[] = "wants \"off\", \"*\", or origins such as https://app.example.com, "
                             "https://*.example.com, http://localhost:*";
static char any_with_credentials[] =
    "\"grpc_json_cors *\" excludes \"grpc_json_cors_credentials on\": name the origins";

void grpc_json_cors_init(struct grpc_json_cors *cors)
{
    cors->origins = cors->request_headers = cors->expose = NGX_CONF_UNSET_PTR;
    cors->any = cors->credentials = NGX_CONF_UNSET;
    cors->max_age = NGX_CONF_UNSET;
}

/* Appends the directive's arguments. */
static ngx_int_t add_names(ngx_conf_t *cf, ngx_array_t **list)
{
    ngx_str_t *args = cf->args->elts, *name;

    if (*list == NGX_CONF_UNSET_PTR)
        *list = ngx_array_create(cf->pool, cf->args->nelts, sizeof(*name));
    for (ngx_uint_t i = 1; *list && i < cf->args->nelts; i++) {
        name = ngx_array_push(*list);
        if (!name)
            return NGX_ERROR;
        *name = args[i];
    }
    return *list ? NGX_OK : NGX_ERROR;
}

char *grpc_json_cors_set_origins(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_cors *cors = &((struct grpc_json_conf *)data)->cors;
    ngx_str_t *args = cf->args->elts;
    bool alone = cf->args->nelts == 2;

    (void)command;
    if (cors->origins != NGX_CONF_UNSET_PTR)
        return is_duplicate;
    cors->any = 0;
    if (alone && str_eq(grpc_json_str(args[1]), STR("off"))) {
        cors->origins = NULL;
        return NGX_CONF_OK;
    }
    if (alone && str_eq(grpc_json_str(args[1]), STR("*"))) {
        cors->any = 1;
        cors->origins = NULL;
        return NGX_CONF_OK;
    }
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        if (!origin_pattern_valid(grpc_json_str(args[i])))
            return is_no_origin;
    }
    return add_names(cf, &cors->origins) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}

char *grpc_json_cors_set_names(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    ngx_array_t **list = (ngx_array_t **)((char *)data + command->offset);

    return add_names(cf, list) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}

/* The size of a list with ", " behind each name. */
static size_t names_size(const ngx_array_t *names, const ngx_array_t *rules)
{
    const struct grpc_json_header_rule *rule = rules ? rules->elts : NULL;
    const ngx_str_t *name = names ? names->elts : NULL;
    size_t n = 0;

    for (ngx_uint_t i = 0; name && i < names->nelts; i++)
        n += name[i].len + 2;
    for (ngx_uint_t i = 0; rule && i < rules->nelts; i++)
        n += ngx_max(rule[i].from.len, rule[i].to.len) + 2;
    return n;
}

/* "a, b, c": the names, and what the header rules call a header on the client's side. */
static ngx_int_t join(ngx_conf_t *cf, const ngx_array_t *names, const ngx_array_t *rules,
                      bool to_client, ngx_str_t *ret)
{
    const struct grpc_json_header_rule *rule = rules ? rules->elts : NULL;
    const ngx_str_t *name = names ? names->elts : NULL;
    u_char *p = ngx_pnalloc(cf->pool, names_size(names, rules) + 1);

    if (!p)
        return NGX_ERROR;
    ret->data = p;
    for (ngx_uint_t i = 0; name && i < names->nelts; i++)
        p = ngx_sprintf(p, "%V, ", &name[i]);
    for (ngx_uint_t i = 0; rule && i < rules->nelts; i++)
        p = ngx_sprintf(p, "%V, ", to_client ? &rule[i].to : &rule[i].from);
    ret->len = (size_t)(p - ret->data);
    ret->len -= ret->len ? 2 : 0;
    return NGX_OK;
}

char *grpc_json_cors_merge(ngx_conf_t *cf, struct grpc_json_conf *before,
                           struct grpc_json_conf *conf)
{
    struct grpc_json_cors *prev = &before->cors, *cors = &conf->cors;

    /* The two are set together. */
    ngx_conf_merge_ptr_value(cors->origins, prev->origins, NULL);
    ngx_conf_merge_value(cors->any, prev->any, 0);
    ngx_conf_merge_value(cors->credentials, prev->credentials, 0);
    /* What browsers take for granted when nothing is said: 5 seconds. */
    ngx_conf_merge_value(cors->max_age, prev->max_age, 5);
    ngx_conf_merge_ptr_value(cors->request_headers, prev->request_headers, NULL);
    ngx_conf_merge_ptr_value(cors->expose, prev->expose, NULL);
    if (!cors->any && !cors->origins)
        return NGX_CONF_OK;
    if (cors->any && cors->credentials)
        return any_with_credentials;
    if (join(cf, cors->request_headers, conf->request_headers, false, &cors->allow_headers) !=
            NGX_OK ||
        join(cf, cors->expose, conf->response_headers, true, &cors->expose_headers) != NGX_OK)
        return NGX_CONF_ERROR;
    return NGX_CONF_OK;
}

/* ---- answers ---- */

bool grpc_json_cors_allows(const struct grpc_json_cors *cors, struct str origin)
{
    const ngx_str_t *pattern = cors->origins ? cors->origins->elts : NULL;

    if (cors->any)
        return true;
    for (ngx_uint_t i = 0; pattern && i < cors->origins->nelts; i++) {
        if (origin_matches(grpc_json_str(pattern[i]), origin))
            return true;
    }
    return false;
}

/* One that the client sent, once: a name that came twice counts as not sent. */
static struct str client_header(ngx_http_request_t *r, struct str name)
{
    struct grpc_json_lines at = grpc_json_client_lines(r);
    struct str found = STR_NULL, another;

    if (!grpc_json_next_line(&at, name, &found) || grpc_json_next_line(&at, name, &another))
        return STR_NULL;
    return found;
}

static ngx_int_t push(ngx_http_request_t *r, const char *name, ngx_str_t value)
{
    return value.len == 0 || grpc_json_push_header(r, name, value) ? NGX_OK : NGX_ERROR;
}

static ngx_int_t push_max_age(ngx_http_request_t *r, time_t seconds)
{
    ngx_str_t value = {0, ngx_pnalloc(r->pool, NGX_TIME_T_LEN)};

    if (!value.data)
        return NGX_ERROR;
    value.len = (size_t)(ngx_sprintf(value.data, "%T", seconds) - value.data);
    return push(r, "Access-Control-Max-Age", value);
}

/* The answer to a preflight: what a later request may do. The methods are those of Allow. */
static ngx_int_t push_preflight(ngx_http_request_t *r, const struct grpc_json_cors *cors)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    if (r->method != NGX_HTTP_OPTIONS || !ctx || !ctx->answer.allow.len ||
        !client_header(r, STR("access-control-request-method")).p)
        return NGX_OK;
    if (push(r, "Access-Control-Allow-Methods", ctx->answer.allow) != NGX_OK ||
        push(r, "Access-Control-Allow-Headers", cors->allow_headers) != NGX_OK)
        return NGX_ERROR;
    return push_max_age(r, cors->max_age);
}

static ngx_int_t share(ngx_http_request_t *r, const struct grpc_json_cors *cors)
{
    ngx_str_t vary = ngx_string("Origin"), any = ngx_string("*"), yes = ngx_string("true");
    struct str origin = client_header(r, STR("origin"));
    ngx_str_t same = {origin.n, (u_char *)(uintptr_t)origin.p};

    /* Without the header as well: what a cache keeps of that answer must not serve a browser. */
    if (!cors->any && push(r, "Vary", vary) != NGX_OK)
        return NGX_ERROR;
    if (!origin.p || !grpc_json_cors_allows(cors, origin))
        return NGX_OK;
    if (push(r, "Access-Control-Allow-Origin", cors->any ? any : same) != NGX_OK)
        return NGX_ERROR;
    if (cors->credentials && push(r, "Access-Control-Allow-Credentials", yes) != NGX_OK)
        return NGX_ERROR;
    if (push(r, "Access-Control-Expose-Headers", cors->expose_headers) != NGX_OK)
        return NGX_ERROR;
    return push_preflight(r, cors);
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);

    if (r == r->main && (conf->cors.any || conf->cors.origins) && share(r, &conf->cors) != NGX_OK)
        return NGX_ERROR;
    return next_header(r);
}

void grpc_json_cors_install(void)
{
    next_header = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
}
