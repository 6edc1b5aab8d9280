#include "call.h"

#include "rpc_status.h"

/* ---- what nginx's log and our metrics know of an upstream ---- */

static ngx_http_upstream_state_t *state_of(const struct grpc_json_call *call)
{
    ngx_array_t *states = call->r->upstream_states;

    return states->nelts ? (ngx_http_upstream_state_t *)states->elts + states->nelts - 1 : NULL;
}

/* The try is over. status: of its answer, or what stands for it; 0: as it is known. */
static void close_state(const struct grpc_json_call *call, ngx_uint_t status)
{
    ngx_http_upstream_state_t *state = state_of(call);

    if (!state || state->response_time != (ngx_msec_t)-1)
        return;
    if (status)
        state->status = status;
    state->response_time = ngx_current_msec - call->began;
    state->bytes_sent = (off_t)call->sent;
    state->bytes_received = (off_t)call->received;
}

static void on_chosen(void *data, const struct grpc_h2_server *server)
{
    struct grpc_json_call *call = data;
    ngx_http_upstream_state_t *state;

    close_state(call, NGX_HTTP_BAD_GATEWAY);
    /* What the one before has said is no part of the answer. */
    call->metadata.last = &call->metadata.part;
    call->metadata.part.nelts = 0;
    call->metadata.part.next = NULL;
    call->etag = STR_NULL;
    call->etag_trails = false;
    call->began = ngx_current_msec;
    state = ngx_array_push(call->r->upstream_states);
    if (!state)
        return; /* told by nginx; the call itself needs none */
    ngx_memzero(state, sizeof(*state));
    state->peer = &server->address->name;
    /* No connection is made for a call. */
    state->connect_time = state->header_time = state->response_time = (ngx_msec_t)-1;
}

/* ---- how it ended ---- */

/* The service has given no answer of gRPC: one of HTTP, of a proxy between, says at most how it
 * failed. */
static int failure_status(const struct grpc_h2_end *end)
{
    if (!end->from_upstream)
        return end->status == RPC_DEADLINE_EXCEEDED ? NGX_HTTP_GATEWAY_TIME_OUT
                                                    : NGX_HTTP_BAD_GATEWAY;
    return end->http_status == 429 || end->http_status == 503 || end->http_status == 504
               ? end->http_status
               : NGX_HTTP_BAD_GATEWAY;
}

ngx_int_t grpc_json_call_problem(struct grpc_json_call *call, const struct grpc_h2_end *end)
{
    struct str path = call->ctx->match.method->path;
    struct problem problem;

    if (!end->by_status) {
        ngx_log_error(NGX_LOG_ERR, call->r->connection->log, 0, "grpc_json: %*s failed: %*s",
                      path.n, path.p, end->message.n, end->message.p);
        return grpc_json_set_status(call->r, call->ctx, failure_status(end));
    }
    if (rpc_problem(&problem, end->status, end->message, end->details, grpc_json_scratch()))
        return grpc_json_set_status(call->r, call->ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    grpc_json_overload_heard(call->r, call->ctx, &problem);
    return grpc_json_set_problem(call->r, call->ctx, &problem);
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    struct grpc_json_call *call = data;

    call->stream = NULL;
    ngx_http_set_log_request(call->r->connection->log, call->r);
    if (end->by_status)
        call->ctx->grpc_status = end->status;
    close_state(call, (ngx_uint_t)(end->by_status ? end->http_status : failure_status(end)));
    call->handlers->ended(call, end);
}

/* ---- while it runs ---- */

static void on_opened(void *data)
{
    struct grpc_json_call *call = data;
    ngx_http_upstream_state_t *state = state_of(call);

    if (state) {
        state->status = NGX_HTTP_OK;
        state->header_time = ngx_current_msec - call->began;
    }
    call->handlers->opened(call);
}

static bool on_metadata(void *data, struct str name, struct str value, bool trailing)
{
    struct grpc_json_call *call = data;
    ngx_str_t copy;

    if (str_eq(name, STR("etag")) && (!call->etag.p || (trailing && !call->etag_trails))) {
        copy = grpc_json_copy(call->r, value);
        if (!copy.data)
            return false;
        call->etag = grpc_json_str(copy);
        call->etag_trails = trailing;
    }
    return grpc_json_keep_metadata(call->r, &call->metadata, name, value) == NGX_OK;
}

static bool on_message(void *data, struct str message)
{
    struct grpc_json_call *call = data;

    call->received += RPC_PREFIX_SIZE + message.n;
    ngx_http_set_log_request(call->r->connection->log, call->r);
    return call->handlers->message(call, message);
}

static void on_writable(void *data)
{
    (void)data; /* all there is to say was said at the beginning */
}

static const struct grpc_h2_callbacks callbacks = {
    .chosen = on_chosen,
    .metadata = on_metadata,
    .opened = on_opened,
    .message = on_message,
    .writable = on_writable,
    .ended = on_ended,
};

void grpc_json_call_cancel(struct grpc_json_call *call)
{
    if (!call->stream)
        return;
    grpc_h2_cancel(call->stream);
    call->stream = NULL;
    close_state(call, 0);
}

static void clean_up(void *data)
{
    grpc_json_call_cancel(data);
}

/* ---- the beginning ---- */

static struct grpc_json_call *new_call(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                       const struct grpc_json_call_handlers *handlers)
{
    struct grpc_json_call *call = ngx_pcalloc(r->pool, sizeof(*call));
    ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(r, 0);

    r->upstream_states = ngx_array_create(r->pool, 1, sizeof(ngx_http_upstream_state_t));
    if (!call || !cleanup || !r->upstream_states ||
        ngx_list_init(&call->metadata, r->pool, 2, sizeof(ngx_table_elt_t)) != NGX_OK)
        return NULL;
    call->r = r;
    call->ctx = ctx;
    call->handlers = handlers;
    cleanup->handler = clean_up;
    cleanup->data = call;
    ctx->call = call;
    return call;
}

static ngx_int_t start(ngx_http_request_t *r, struct grpc_json_ctx *ctx, const ngx_list_t *metadata,
                       struct str frame, const struct grpc_json_call_handlers *handlers)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    const struct schema_method *method = ctx->match.method;
    struct grpc_json_call *call = new_call(r, ctx, handlers);
    struct grpc_h2_call rpc = {
        .upstream = grpc_json_target_find(r, &conf->pass),
        .path = method->path,
        .frame = frame,
        .timeout = ctx->timeout,
        .max_message = conf->response_limit,
        .idempotent = method->idempotent,
        .keeps_worker = !method->server_streaming,
    };

    if (!method->server_streaming && conf->carry.len)
        rpc.carrier = grpc_json_str(conf->carry);
    rpc.headers = grpc_json_flatten(r, metadata, &rpc.n);
    if (!call || !rpc.headers)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (!rpc.upstream)
        return grpc_json_refuse_status(r, ctx, NGX_HTTP_BAD_GATEWAY);
    ctx->called = rpc.upstream;
    call->sent = frame.n;
    call->stream = grpc_h2_call(&rpc, &callbacks, call, r->connection->log);
    if (!call->stream)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    return NGX_DONE;
}

ngx_int_t grpc_json_call(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str frame,
                         const struct grpc_json_call_handlers *handlers)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct problem problem;
    ngx_list_t metadata;

    if (!conf->pass.enabled)
        return grpc_json_refuse_status(r, ctx, NGX_HTTP_NOT_IMPLEMENTED);
    if (ngx_list_init(&metadata, r->pool, 8, sizeof(ngx_table_elt_t)) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    switch (grpc_json_make_metadata(r, ctx, &metadata, &problem)) {
    case NGX_OK:
        return start(r, ctx, &metadata, frame, handlers);
    case NGX_DECLINED:
        return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}
