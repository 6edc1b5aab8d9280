/* Handshakes of WebSockets that come all at once. What they wait for is measured, and when that
 * does not go away by itself some are refused before anything is done for them, which takes less
 * than half of what it takes to let them in (standing_delay.h). Each worker decides for itself, of
 * each RPC. */
#include "attach.h"
#include "standing_delay.h"

#include <netinet/tcp.h>

#define NAME "opening" /* in metrics and variables, among the limits */

/* A wait of several turns of a worker that has much to do, and not yet one that a person notices.
 */
#define DEFAULT_TARGET 100
/* In which a worker lets some thousands in. */
#define DEFAULT_BURST 1000
/* Seconds after which those come back that were refused: not all of them at once. */
#define COME_BACK_MIN 1
#define COME_BACK_MAX 4

/* ---- configuration ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char is_no_time[] = "wants two times, such as 100ms 1s, or off";

void grpc_json_opening_init(struct grpc_json_opening *conf)
{
    conf->enabled = NGX_CONF_UNSET;
    conf->target = conf->burst = NGX_CONF_UNSET_MSEC;
}

/* TARGET BURST, or off */
char *grpc_json_opening_set(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_opening *conf = &((struct grpc_json_conf *)data)->websocket.opening;
    ngx_str_t *args = cf->args->elts;
    ngx_int_t target, burst;

    (void)command;
    if (conf->enabled != NGX_CONF_UNSET)
        return is_duplicate;
    conf->enabled = cf->args->nelts == 3;
    if (!conf->enabled)
        return str_eq(grpc_json_str(args[1]), STR("off")) ? NGX_CONF_OK : is_no_time;
    target = ngx_parse_time(&args[1], 0);
    burst = ngx_parse_time(&args[2], 0);
    if (target == NGX_ERROR || burst == NGX_ERROR)
        return is_no_time;
    conf->target = (ngx_msec_t)target;
    conf->burst = (ngx_msec_t)burst;
    return NGX_CONF_OK;
}

void grpc_json_opening_merge(const struct grpc_json_opening *prev, struct grpc_json_opening *conf)
{
    ngx_conf_merge_value(conf->enabled, prev->enabled, 1);
    ngx_conf_merge_msec_value(conf->target, prev->target, DEFAULT_TARGET);
    ngx_conf_merge_msec_value(conf->burst, prev->burst, DEFAULT_BURST);
}

ngx_int_t grpc_json_opening_install(ngx_conf_t *cf)
{
    struct grpc_json_main_conf *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    struct grpc_json_schema *loaded = conf->schemas.elts;

    for (ngx_uint_t i = 0; i < conf->schemas.nelts; i++) {
        loaded[i].opening = ngx_pcalloc(cf->pool, schema_method_count(loaded[i].schema) *
                                                      sizeof(*loaded[i].opening));
        if (!loaded[i].opening)
            return NGX_ERROR;
    }
    return NGX_OK;
}

ngx_str_t grpc_json_opening_name(void)
{
    ngx_str_t name = ngx_string(NAME);

    return name;
}

/* ---- waits ---- */

/* ms since the last of the request came, which the system knows: in its queue of connections that
 * nobody has accepted, in the socket, and in the worker's turn. Those that are no TCP cannot tell.
 */
static ngx_msec_t waited(const ngx_connection_t *c)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);

    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == -1)
        return 0;
    return info.tcpi_last_data_recv;
}

/* How long it is going to wait until an instance has accepted it. */
static ngx_msec_t will_wait(ngx_http_request_t *r, const struct grpc_json_ctx *ctx)
{
    const struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct str attach = grpc_json_websocket_attach(&conf->websocket, ctx->match.method);
    const ngx_http_upstream_srv_conf_t *upstream =
        attach.p ? grpc_json_target_find(r, &conf->websocket.target) : NULL;

    return upstream ? attach_delay(upstream, attach) : 0;
}

/* ---- who begins ---- */

/* While some are refused, the worker takes all connections that wait for it in one turn, as
 * `multi_accept on` has it: what the system has no room for it drops, and clients ask again after
 * seconds. At other times one in a turn leaves the others to the other workers. */
static void take_all_that_wait(bool all)
{
    static ngx_flag_t configured = NGX_CONF_UNSET;
    ngx_event_conf_t *events = ngx_event_get_conf(ngx_cycle->conf_ctx, ngx_event_core_module);

    if (configured == NGX_CONF_UNSET)
        configured = events->multi_accept;
    events->multi_accept = all || configured;
}

static ngx_int_t refuse(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct problem problem;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0, "websocket: too many begin at once");
    ctx->limited = grpc_json_opening_name();
    problem_init(&problem, NGX_HTTP_SERVICE_UNAVAILABLE);
    problem.retry_after =
        COME_BACK_MIN + (unsigned)ngx_random() % (COME_BACK_MAX - COME_BACK_MIN + 1);
    return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
}

ngx_int_t grpc_json_opening(ngx_http_request_t *r)
{
    const struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    const struct grpc_json_opening *opening = &conf->websocket.opening;
    const struct standing_delay_limits limits = {opening->target, opening->burst};
    struct grpc_json_ctx *ctx = grpc_json_ctx(r);
    const struct grpc_json_schema *loaded;
    ngx_msec_t wait = waited(r->connection);
    size_t i;
    bool may;

    if (!ctx)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->came = ngx_current_msec - wait;
    if (!opening->enabled || grpc_json_route(r, ctx) || !ctx->match.method->client_streaming)
        return NGX_DECLINED;
    loaded = grpc_json_loaded(r, &i);
    if (!loaded)
        return NGX_DECLINED;
    may = standing_delay_admits(&loaded->opening[i], &limits, ngx_current_msec,
                                wait + will_wait(r, ctx));
    take_all_that_wait(!may);
    return may ? NGX_DECLINED : refuse(r, ctx);
}
