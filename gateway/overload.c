/* Requests that a service would refuse for want of capacity are refused here, where it costs least:
 * before their body is read, without a call. Each worker learns from the answers that it hears, of
 * each RPC for itself (adaptive_throttle.h), and of what is counted apart of it. */
#include "adaptive_throttle.h"
#include "grpc_json.h"

#define NAME "overload" /* in metrics and variables, among the limits */

struct overload {
    struct adaptive_throttle throttle;
    /* What the service said last. */
    unsigned retry_after; /* seconds */
    size_t n_domain;
    char domain[64];
};

static bool is_on(const struct grpc_json_conf *conf)
{
    return conf->enabled && !str_eq(grpc_json_str(conf->overload), STR("off"));
}

/* Of the request's RPC, and of that the part that is counted apart; NULL: it is not one that is
 * counted. */
static struct overload *find(ngx_http_request_t *r, const struct grpc_json_ctx *ctx)
{
    size_t i;
    const struct grpc_json_schema *loaded = grpc_json_loaded(r, &i);

    if (!loaded || ctx->match.method->client_streaming || ctx->match.method->server_streaming)
        return NULL;
    return &loaded->overload[2 * i + schema_sets_apart(ctx->match.method, grpc_json_str(r->args))];
}

void grpc_json_overload_heard(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                              const struct problem *problem)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct overload *overload;

    if (!is_on(conf) || !str_eq(problem->reason, grpc_json_str(conf->overload)))
        return;
    overload = find(r, ctx);
    if (!overload)
        return;
    overload->retry_after = problem->retry_after;
    overload->n_domain = problem->domain.n <= sizeof(overload->domain) ? problem->domain.n : 0;
    ngx_memcpy(overload->domain, problem->domain.p, overload->n_domain);
    adaptive_throttle_refused(&overload->throttle, ngx_current_msec);
}

/* The service would say the same. */
static ngx_int_t refuse(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                        const struct overload *overload)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct problem problem;

    problem_init(&problem, NGX_HTTP_TOO_MANY_REQUESTS);
    problem.detail = STR("the service is overloaded");
    problem.retry_after = ngx_max(overload->retry_after, 1);
    problem.reason = grpc_json_str(conf->overload);
    problem.domain = (struct str){overload->domain, overload->n_domain};
    if (grpc_json_set_problem(r, ctx, &problem) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_str_set(&ctx->limited, NAME);
    ctx->state = GRPC_JSON_REFUSED;
    return problem.status;
}

/* PREACCESS phase, behind the limits of a caller: those tell who it is that asks too much. */
static ngx_int_t preaccess(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx;
    struct overload *overload;

    if (!is_on(conf) || r != r->main)
        return NGX_DECLINED;
    ctx = grpc_json_ctx(r);
    if (!ctx)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    (void)grpc_json_route(r, ctx);
    overload = find(r, ctx);
    if (!overload || adaptive_throttle_ask(&overload->throttle, ngx_current_msec))
        return NGX_DECLINED;
    return refuse(r, ctx, overload);
}

ngx_str_t grpc_json_overload_name(void)
{
    ngx_str_t name = ngx_string(NAME);

    return name;
}

ngx_int_t grpc_json_overload_install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    struct grpc_json_main_conf *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    struct grpc_json_schema *loaded = conf->schemas.elts;
    ngx_http_handler_pt *handler = ngx_array_push(&core->phases[NGX_HTTP_PREACCESS_PHASE].handlers);

    if (!handler)
        return NGX_ERROR;
    *handler = preaccess;
    for (ngx_uint_t i = 0; i < conf->schemas.nelts; i++) {
        loaded[i].overload = ngx_pcalloc(cf->pool, 2 * schema_method_count(loaded[i].schema) *
                                                       sizeof(*loaded[i].overload));
        if (!loaded[i].overload)
            return NGX_ERROR;
    }
    return NGX_OK;
}
