/* The module's directives and its place in nginx's configuration. */
#include "attach.h"
#include "h2.h"

#define DEFAULT_RESPONSE_LIMIT (4 << 20)
#define DEFAULT_ARRAY_LIMIT 65536
#define DEFAULT_TIMEOUT 60000   /* ms */
#define DEFAULT_HEARTBEAT 15000 /* ms; HTML's server-sent events, section 9.2.7 */
/* gRPC C core refuses more than 8 KB of metadata; some of it is gRPC's own. */
#define DEFAULT_REQUEST_HEADER_LIMIT (7 << 10)
/* HTTP clients take 8 KB of headers at least, and 16 KB seldom. */
#define DEFAULT_RESPONSE_HEADER_LIMIT (8 << 10)

static void free_schema(void *data)
{
    schema_free(data);
}

static struct schema *find_schema(struct grpc_json_main_conf *main_conf, ngx_str_t path)
{
    struct grpc_json_schema *loaded = main_conf->schemas.elts;

    for (ngx_uint_t i = 0; i < main_conf->schemas.nelts; i++) {
        if (loaded[i].path.len == path.len &&
            ngx_memcmp(loaded[i].path.data, path.data, path.len) == 0)
            return loaded[i].schema;
    }
    return NULL;
}

/* The schema lives as long as the configuration that it belongs to. */
static struct schema *load_schema(ngx_conf_t *cf, ngx_str_t path)
{
    struct grpc_json_main_conf *main_conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    struct schema *schema = find_schema(main_conf, path);
    struct grpc_json_schema *loaded;
    ngx_pool_cleanup_t *cleanup;
    struct arena errors;
    struct str error = STR("out of memory");

    if (schema)
        return schema;
    cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    loaded = ngx_array_push(&main_conf->schemas);
    if (!cleanup || !loaded)
        return NULL;
    *loaded = (struct grpc_json_schema){0};
    arena_init(&errors, 0);
    if (schema_load_file((const char *)path.data, &errors, &schema, &error)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "grpc_json_descriptor_set \"%V\": %*s", &path,
                           error.n, error.p);
        schema = NULL;
    } else {
        cleanup->handler = free_schema;
        cleanup->data = schema;
        *loaded = (struct grpc_json_schema){.path = path, .schema = schema};
    }
    arena_free(&errors);
    return schema;
}

/* ---- directives ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char is_reserved[] = "must not name a header that gRPC itself uses";
static char is_written[] = "must not name a header that the gateway itself writes";
static char is_no_uri[] = "must be the start of a URI";

static char *set_descriptor_set(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_conf *conf = data;
    ngx_str_t *args = cf->args->elts;
    ngx_str_t path = args[1];

    (void)command;
    if (conf->schema != NGX_CONF_UNSET_PTR)
        return is_duplicate;
    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK)
        return NGX_CONF_ERROR;
    conf->schema = load_schema(cf, path);
    return conf->schema ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static ngx_int_t lower_case(ngx_conf_t *cf, ngx_str_t name, ngx_str_t *ret)
{
    ret->len = name.len;
    ret->data = ngx_pnalloc(cf->pool, name.len);
    if (!ret->data)
        return NGX_ERROR;
    ngx_strlow(ret->data, name.data, name.len);
    return NGX_OK;
}

static bool reserved(ngx_str_t name)
{
    return str_starts(grpc_json_str(name), STR("grpc-")) ||
           str_eq(grpc_json_str(name), STR("content-type")) ||
           str_eq(grpc_json_str(name), STR("te"));
}

/* Headers of an answer that nginx or we write. */
static bool written(ngx_str_t name)
{
    static const struct str names[] = {
        STR("connection"), STR("content-encoding"),  STR("content-length"), STR("date"),
        STR("etag"),       STR("keep-alive"),        STR("server"),         STR("trailer"),
        STR("upgrade"),    STR("transfer-encoding"),
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (str_eq(grpc_json_str(name), names[i]))
            return true;
    }
    return false;
}

/* NAME [OTHER_NAME], for both header lists. */
static char *set_header(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    ngx_array_t **rules = (ngx_array_t **)((char *)data + command->offset);
    ngx_str_t *args = cf->args->elts;
    ngx_str_t to = args[cf->args->nelts - 1];
    struct grpc_json_header_rule *rule;

    if (*rules == NGX_CONF_UNSET_PTR)
        *rules = ngx_array_create(cf->pool, 8, sizeof(*rule));
    rule = *rules ? ngx_array_push(*rules) : NULL;
    if (!rule || lower_case(cf, args[1], &rule->from) != NGX_OK ||
        lower_case(cf, to, &rule->to) != NGX_OK)
        return NGX_CONF_ERROR;
    if (command->offset == offsetof(struct grpc_json_conf, response_headers) && written(rule->to))
        return is_written;
    return reserved(rule->to) ? is_reserved : NGX_CONF_OK;
}

/* NAME VALUE */
static char *set_header_value(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_conf *conf = data;
    ngx_str_t *args = cf->args->elts;
    struct grpc_json_header_value *header;
    ngx_http_compile_complex_value_t compile = {0};

    (void)command;
    if (conf->set_headers == NGX_CONF_UNSET_PTR)
        conf->set_headers = ngx_array_create(cf->pool, 4, sizeof(*header));
    header = conf->set_headers ? ngx_array_push(conf->set_headers) : NULL;
    if (!header || lower_case(cf, args[1], &header->name) != NGX_OK)
        return NGX_CONF_ERROR;
    compile.cf = cf;
    compile.value = &args[2];
    compile.complex_value = &header->value;
    if (ngx_http_compile_complex_value(&compile) != NGX_OK)
        return NGX_CONF_ERROR;
    return reserved(header->name) ? is_reserved : NGX_CONF_OK;
}

/* URI: printed in problems as it stands. */
static char *set_problem_type(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_conf *conf = data;
    const ngx_str_t *args = cf->args->elts;

    (void)command;
    if (conf->problem_type.data)
        return is_duplicate;
    for (size_t i = 0; i < args[1].len; i++) {
        if (args[1].data[i] <= ' ' || args[1].data[i] > '~' || args[1].data[i] == '"' ||
            args[1].data[i] == '\\')
            return is_no_uri;
    }
    conf->problem_type = args[1];
    return NGX_CONF_OK;
}

/* Makes the location a readiness probe of the upstreams named. */
static char *set_ready(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_conf *conf = data;
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    ngx_str_t *args = cf->args->elts;
    ngx_str_t *name;

    (void)command;
    if (conf->ready)
        return is_duplicate;
    conf->ready = ngx_array_create(cf->pool, cf->args->nelts - 1, sizeof(*name));
    if (!conf->ready)
        return NGX_CONF_ERROR;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        name = ngx_array_push(conf->ready);
        if (!name)
            return NGX_CONF_ERROR;
        *name = args[i];
    }
    core->handler = grpc_json_ready_handler;
    return NGX_CONF_OK;
}

static ngx_conf_bitmask_t print_options[] = {
    {ngx_string("unset"), GRPC_JSON_PRINT_UNSET},
    {ngx_string("long_fractions"), GRPC_JSON_PRINT_LONG_FRACTIONS},
    {ngx_string("canonical"), NGX_CONF_BITMASK_SET},
    {ngx_null_string, 0},
};

#define EVERYWHERE (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF)
#define DIRECTIVE(name, where, set, member, extra)              \
    {                                                           \
        ngx_string(name), where, set, NGX_HTTP_LOC_CONF_OFFSET, \
            offsetof(struct grpc_json_conf, member), extra      \
    }

static ngx_command_t commands[] = {
    DIRECTIVE("grpc_json", EVERYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot, enabled, NULL),
    DIRECTIVE("grpc_json_pass", EVERYWHERE | NGX_CONF_TAKE1, grpc_json_target_set, pass, NULL),
    DIRECTIVE("grpc_json_carry", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_str_slot, carry, NULL),
    DIRECTIVE("grpc_json_descriptor_set", EVERYWHERE | NGX_CONF_TAKE1, set_descriptor_set, schema,
              NULL),
    DIRECTIVE("grpc_json_problems", EVERYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot, problems,
              NULL),
    DIRECTIVE("grpc_json_problem_instance", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_http_set_complex_value_slot, instance, NULL),
    DIRECTIVE("grpc_json_problem_type", EVERYWHERE | NGX_CONF_TAKE1, set_problem_type, problem_type,
              NULL),
    DIRECTIVE("grpc_json_trace", EVERYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot, trace, NULL),
    {ngx_string("grpc_json_trace_export"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE2,
     grpc_json_trace_export_set, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    DIRECTIVE("grpc_json_response_header_limit", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_size_slot, response_header_limit, NULL),
    DIRECTIVE("grpc_json_print", EVERYWHERE | NGX_CONF_1MORE, ngx_conf_set_bitmask_slot, print,
              print_options),
    DIRECTIVE("grpc_json_refuse_unknown", EVERYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot,
              refuse_unknown, NULL),
    DIRECTIVE("grpc_json_timeout", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_msec_slot, timeout,
              NULL),
    DIRECTIVE("grpc_json_stream_timeout", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_msec_slot,
              stream_timeout, NULL),
    DIRECTIVE("grpc_json_heartbeat", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_msec_slot, heartbeat,
              NULL),
    DIRECTIVE("grpc_json_response_limit", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_size_slot,
              response_limit, NULL),
    DIRECTIVE("grpc_json_array_limit", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_num_slot,
              array_limit, NULL),
    DIRECTIVE("grpc_json_request_header_limit", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_size_slot,
              request_header_limit, NULL),
    DIRECTIVE("grpc_json_request_header", EVERYWHERE | NGX_CONF_TAKE12, set_header, request_headers,
              NULL),
    DIRECTIVE("grpc_json_set_header", EVERYWHERE | NGX_CONF_TAKE2, set_header_value, set_headers,
              NULL),
    DIRECTIVE("grpc_json_response_header", EVERYWHERE | NGX_CONF_TAKE12, set_header,
              response_headers, NULL),
    DIRECTIVE("grpc_json_openapi", NGX_HTTP_LOC_CONF | NGX_CONF_TAKE2, grpc_json_set_openapi,
              openapi, NULL),
    DIRECTIVE("grpc_json_openapi_description", NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1,
              grpc_json_set_openapi_description, openapi, NULL),
    DIRECTIVE("grpc_json_openapi_server", NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1,
              grpc_json_set_openapi_server, openapi, NULL),
    DIRECTIVE("grpc_json_ready", NGX_HTTP_LOC_CONF | NGX_CONF_1MORE, set_ready, ready, NULL),
    DIRECTIVE("grpc_json_cors", EVERYWHERE | NGX_CONF_1MORE, grpc_json_cors_set_origins, cors,
              NULL),
    DIRECTIVE("grpc_json_cors_credentials", EVERYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot,
              cors.credentials, NULL),
    DIRECTIVE("grpc_json_cors_max_age", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_sec_slot,
              cors.max_age, NULL),
    DIRECTIVE("grpc_json_cors_request_header", EVERYWHERE | NGX_CONF_1MORE,
              grpc_json_cors_set_names, cors.request_headers, NULL),
    DIRECTIVE("grpc_json_cors_expose_header", EVERYWHERE | NGX_CONF_1MORE, grpc_json_cors_set_names,
              cors.expose, NULL),
    DIRECTIVE("grpc_json_websocket", EVERYWHERE | NGX_CONF_TAKE1, grpc_json_target_set,
              websocket.target, NULL),
    DIRECTIVE("grpc_json_websocket_protocol", EVERYWHERE | NGX_CONF_1MORE,
              grpc_json_websocket_set_protocols, websocket, NULL),
    DIRECTIVE("grpc_json_websocket_attach", EVERYWHERE | NGX_CONF_TAKE2,
              grpc_json_websocket_set_attach, websocket, NULL),
    DIRECTIVE("grpc_json_websocket_attach_queue", EVERYWHERE | NGX_CONF_TAKE2,
              grpc_json_websocket_set_queue, websocket, NULL),
    DIRECTIVE("grpc_json_websocket_attach_timeout", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_msec_slot, websocket.attach_timeout, NULL),
    DIRECTIVE("grpc_json_websocket_message_limit", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_size_slot, websocket.message_limit, NULL),
    DIRECTIVE("grpc_json_websocket_memory", NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
              ngx_conf_set_size_slot, websocket.memory, NULL),
    DIRECTIVE("grpc_json_websocket_opening", EVERYWHERE | NGX_CONF_TAKE12, grpc_json_opening_set,
              websocket.opening, NULL),
    DIRECTIVE("grpc_json_websocket_deflate", EVERYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot,
              websocket.deflate, NULL),
    DIRECTIVE("grpc_json_websocket_open_timeout", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_msec_slot, websocket.open_timeout, NULL),
    DIRECTIVE("grpc_json_websocket_close_timeout", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_msec_slot, websocket.close_timeout, NULL),
    DIRECTIVE("grpc_json_websocket_ping_interval", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_msec_slot, websocket.ping_interval, NULL),
    DIRECTIVE("grpc_json_websocket_ping_timeout", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_msec_slot, websocket.ping_timeout, NULL),
    DIRECTIVE("grpc_json_websocket_idle_timeout", EVERYWHERE | NGX_CONF_TAKE1,
              ngx_conf_set_msec_slot, websocket.idle_timeout, NULL),
    {ngx_string("grpc_json_limit_zone"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE3,
     grpc_json_limit_set_zone, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    DIRECTIVE("grpc_json_overload", EVERYWHERE | NGX_CONF_TAKE1, ngx_conf_set_str_slot, overload,
              NULL),
    DIRECTIVE("grpc_json_limit", EVERYWHERE | NGX_CONF_1MORE, grpc_json_limit_set, limits, NULL),
    {ngx_string("grpc_json_metrics_zone"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
     grpc_json_metrics_set_zone, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("grpc_json_metrics"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, grpc_json_metrics_set,
     NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("grpc_json_leave_timeout"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
     ngx_conf_set_msec_slot, NGX_HTTP_MAIN_CONF_OFFSET,
     offsetof(struct grpc_json_main_conf, leave_timeout), NULL},
    ngx_null_command,
};

/* ---- life of a configuration ---- */

static void *create_main_conf(ngx_conf_t *cf)
{
    struct grpc_json_main_conf *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

    if (!conf ||
        ngx_array_init(&conf->schemas, cf->pool, 1, sizeof(struct grpc_json_schema)) != NGX_OK ||
        ngx_array_init(&conf->limit_zones, cf->pool, 2, sizeof(void *)) != NGX_OK)
        return NULL;
    conf->leave_timeout = NGX_CONF_UNSET_MSEC;
    return conf;
}

static char *init_main_conf(ngx_conf_t *cf, void *data)
{
    struct grpc_json_main_conf *conf = data;

    (void)cf;
    ngx_conf_init_msec_value(conf->leave_timeout, 0);
    return NGX_CONF_OK;
}

static void *create_conf(ngx_conf_t *cf)
{
    struct grpc_json_conf *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

    if (!conf)
        return NULL;
    conf->enabled = conf->problems = conf->refuse_unknown = NGX_CONF_UNSET;
    conf->pass.enabled = NGX_CONF_UNSET;
    conf->timeout = conf->stream_timeout = conf->heartbeat = NGX_CONF_UNSET_MSEC;
    conf->trace = NGX_CONF_UNSET;
    conf->response_limit = conf->request_header_limit = NGX_CONF_UNSET_SIZE;
    conf->response_header_limit = NGX_CONF_UNSET_SIZE;
    conf->array_limit = NGX_CONF_UNSET;
    conf->request_headers = conf->response_headers = NGX_CONF_UNSET_PTR;
    conf->set_headers = NGX_CONF_UNSET_PTR;
    conf->schema = NGX_CONF_UNSET_PTR;
    conf->limits = NGX_CONF_UNSET_PTR;
    grpc_json_cors_init(&conf->cors);
    grpc_json_websocket_init(&conf->websocket);
    return conf;
}

static char *merge_conf(ngx_conf_t *cf, void *parent, void *child)
{
    struct grpc_json_conf *prev = parent, *conf = child;
    char *error;

    ngx_conf_merge_value(conf->enabled, prev->enabled, 0);
    grpc_json_target_merge(&prev->pass, &conf->pass);
    ngx_conf_merge_value(conf->problems, prev->problems, 0);
    ngx_conf_merge_value(conf->refuse_unknown, prev->refuse_unknown, 0);
    ngx_conf_merge_bitmask_value(conf->print, prev->print, NGX_CONF_BITMASK_SET);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, DEFAULT_TIMEOUT);
    ngx_conf_merge_msec_value(conf->stream_timeout, prev->stream_timeout, 0);
    ngx_conf_merge_msec_value(conf->heartbeat, prev->heartbeat, DEFAULT_HEARTBEAT);
    ngx_conf_merge_size_value(conf->response_limit, prev->response_limit, DEFAULT_RESPONSE_LIMIT);
    ngx_conf_merge_value(conf->array_limit, prev->array_limit, DEFAULT_ARRAY_LIMIT);
    ngx_conf_merge_size_value(conf->request_header_limit, prev->request_header_limit,
                              DEFAULT_REQUEST_HEADER_LIMIT);
    ngx_conf_merge_size_value(conf->response_header_limit, prev->response_header_limit,
                              DEFAULT_RESPONSE_HEADER_LIMIT);
    ngx_conf_merge_value(conf->trace, prev->trace, 0);
    ngx_conf_merge_str_value(conf->overload, prev->overload, "off");
    ngx_conf_merge_str_value(conf->problem_type, prev->problem_type, "");
    ngx_conf_merge_str_value(conf->carry, prev->carry, "");
    ngx_conf_merge_ptr_value(conf->request_headers, prev->request_headers, NULL);
    ngx_conf_merge_ptr_value(conf->set_headers, prev->set_headers, NULL);
    ngx_conf_merge_ptr_value(conf->response_headers, prev->response_headers, NULL);
    ngx_conf_merge_ptr_value(conf->schema, prev->schema, NULL);
    ngx_conf_merge_ptr_value(conf->limits, prev->limits, NULL);
    if (!conf->instance)
        conf->instance = prev->instance;
    if (conf->enabled && !conf->schema) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"grpc_json on\" needs a \"grpc_json_descriptor_set\"");
        return NGX_CONF_ERROR;
    }
    if (conf->openapi && grpc_json_make_openapi(cf, conf) != NGX_OK)
        return NGX_CONF_ERROR;
    error = grpc_json_websocket_merge(&prev->websocket, &conf->websocket);
    return error == NGX_CONF_OK ? grpc_json_cors_merge(cf, prev, conf) : error;
}

static ngx_int_t install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *handler =
        ngx_array_push(&core->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);

    if (!handler)
        return NGX_ERROR;
    *handler = grpc_json_precontent;
    if (grpc_json_metrics_install(cf) != NGX_OK || grpc_json_leave_install(cf) != NGX_OK ||
        grpc_json_websocket_install(cf) != NGX_OK || grpc_json_trace_export_install(cf) != NGX_OK)
        return NGX_ERROR;
    grpc_json_cors_install();
    /* nginx asks them in the reverse order. */
    if (grpc_json_overload_install(cf) != NGX_OK || grpc_json_limit_install(cf) != NGX_OK ||
        grpc_json_connections_install(cf) != NGX_OK)
        return NGX_ERROR;
    return grpc_json_install_filters(cf);
}

static ngx_int_t init_module(ngx_cycle_t *cycle)
{
    grpc_json_connections_init(cycle);
    return NGX_OK;
}

static ngx_int_t init_process(ngx_cycle_t *cycle)
{
    grpc_json_metrics_start(cycle);
    grpc_json_limit_start(cycle);
    if (grpc_json_trace_export_start(cycle) != NGX_OK)
        return NGX_ERROR;
    return grpc_json_exit_start(cycle);
}

static void exit_process(ngx_cycle_t *cycle)
{
    grpc_json_free_scratch(cycle);
    grpc_json_limit_exit(cycle);
    attach_shutdown();
    grpc_h2_shutdown(cycle);
    grpc_json_trace_export_exit();
}

static ngx_http_module_t module_context = {
    .preconfiguration = grpc_json_add_variables,
    .postconfiguration = install,
    .create_main_conf = create_main_conf,
    .init_main_conf = init_main_conf,
    .create_loc_conf = create_conf,
    .merge_loc_conf = merge_conf,
};

/* clang-format off */
ngx_module_t ngx_http_grpc_json_module = {
    NGX_MODULE_V1,
    .ctx = &module_context,
    .commands = commands,
    .type = NGX_HTTP_MODULE,
    .init_module = init_module,
    .init_process = init_process,
    .exit_process = exit_process,
};
/* clang-format on */

struct grpc_json_ctx *grpc_json_ctx(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    if (ctx)
        return ctx;
    ctx = ngx_pcalloc(r->pool, sizeof(*ctx));
    if (!ctx)
        return NULL;
    ctx->grpc_status = -1;
    ngx_http_set_ctx(r, ctx, ngx_http_grpc_json_module);
    return ctx;
}

const struct grpc_json_schema *grpc_json_loaded(ngx_http_request_t *r, size_t *ret_method)
{
    struct grpc_json_main_conf *main = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    const struct grpc_json_schema *loaded = main->schemas.elts;

    if (!ctx || !ctx->routed || ctx->route_error || !conf->schema)
        return NULL;
    for (ngx_uint_t i = 0; i < main->schemas.nelts; i++) {
        if (loaded[i].schema == conf->schema) {
            *ret_method = (size_t)(ctx->match.method - schema_method_at(conf->schema, 0));
            return &loaded[i];
        }
    }
    return NULL;
}
