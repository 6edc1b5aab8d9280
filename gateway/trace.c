/* W3C traces: each request is a span of the gateway's, in the client's trace or in one of its own,
 * and the service's parent. */
#include "grpc_json.h"

/* In an arena of its own: whoever asks for a variable may be using the worker's. */
static void keep_state(ngx_http_request_t *r, struct grpc_json_trace *trace, struct str header)
{
    struct arena arena;
    struct str state;

    arena_init(&arena, 0);
    state = trace_state(&arena, header);
    if (state.p)
        trace->state = grpc_json_str(grpc_json_copy(r, state));
    arena_free(&arena);
}

ngx_int_t grpc_json_start_trace(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_trace *trace = &ctx->trace;
    unsigned char random[TRACE_RANDOM_SIZE];
    struct str parent, state;
    unsigned lines;

    if (trace->started)
        return NGX_OK;
    if (grpc_json_random(random, sizeof(random)) != NGX_OK ||
        grpc_json_client_header(r, STR("traceparent"), &parent, &lines) != NGX_OK)
        return NGX_ERROR;
    trace->started = true;
    /* A state belongs to its parent (section 3.3). Two parents, joined, are not a valid one. */
    if (!trace_start(&trace->context, parent, random)) {
        trace->context.sampled = grpc_json_trace_sampled(r, &trace->context);
        return NGX_OK;
    }
    if (grpc_json_client_header(r, STR("tracestate"), &state, &lines) != NGX_OK)
        return NGX_ERROR;
    if (state.p)
        keep_state(r, trace, state);
    return NGX_OK;
}

ngx_int_t grpc_json_push_trace(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_list_t *to)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    char *parent;

    if (!conf->trace)
        return NGX_OK;
    parent = ngx_pnalloc(r->pool, TRACE_PARENT_SIZE);
    if (!parent || grpc_json_start_trace(r, ctx) != NGX_OK)
        return NGX_ERROR;
    trace_parent(&ctx->trace.context, parent);
    if (grpc_json_push_metadata(to, STR("traceparent"), (struct str){parent, TRACE_PARENT_SIZE}) !=
        NGX_OK)
        return NGX_ERROR;
    return ctx->trace.state.p ? grpc_json_push_metadata(to, STR("tracestate"), ctx->trace.state)
                              : NGX_OK;
}
