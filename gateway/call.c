/* A unary call: a stream on a connection that it shares with others (h2.h), and the one answer made
 * of what comes. While it runs nginx has nothing to do for the request but to see whether the
 * client is still there. */
#include "rpc_status.h"
#include "stream.h"

#include <errno.h>

/* JSON can be larger than its wire: names, and "false," for one byte of a packed list. */
#define JSON_GROWTH 16
#define JSON_BASE 65536

/* In the request's pool. */
struct grpc_json_call {
    ngx_http_request_t *r;
    struct grpc_json_ctx *ctx;
    struct grpc_h2_stream *stream; /* NULL: has ended */
    size_t sent;                   /* bytes of the message, with its prefix */
    ngx_msec_t began;              /* with the server of now */
    ngx_list_t metadata;           /* what of the service's the client may see, as it came */
    struct str etag;               /* the service's; a trailing one stands above the other */
    bool etag_trails;
    struct str message; /* {NULL, 0}: none has come */
};

/* ---- what nginx's log and our metrics know of an upstream ---- */

static ngx_http_upstream_state_t *state_of(const struct grpc_json_call *call)
{
    ngx_array_t *states = call->r->upstream_states;

    return states && states->nelts ? (ngx_http_upstream_state_t *)states->elts + states->nelts - 1
                                   : NULL;
}

/* The try is over. status: of its answer, or what stands for it; 0: nobody waited for that. */
static void close_state(const struct grpc_json_call *call, ngx_uint_t status)
{
    ngx_http_upstream_state_t *state = state_of(call);

    if (!state || state->response_time != (ngx_msec_t)-1)
        return;
    state->status = status;
    state->response_time = ngx_current_msec - call->began;
    state->bytes_sent = (off_t)call->sent;
    if (call->message.p)
        state->bytes_received = (off_t)(call->message.n + RPC_PREFIX_SIZE);
}

static void on_chosen(void *data, const struct grpc_h2_server *server)
{
    struct grpc_json_call *call = data;
    ngx_http_upstream_state_t *state;

    close_state(call, NGX_HTTP_BAD_GATEWAY);
    call->began = ngx_current_msec;
    state = ngx_array_push(call->r->upstream_states);
    if (!state)
        return; /* told by nginx; the call itself needs none */
    ngx_memzero(state, sizeof(*state));
    state->peer = &server->address->name;
    /* A connection is not made for a call. */
    state->connect_time = state->header_time = state->response_time = (ngx_msec_t)-1;
}

/* ---- making the answer ---- */

static ngx_int_t answer_broken(struct grpc_json_call *call, const char *how)
{
    ngx_log_error(NGX_LOG_ERR, call->r->connection->log, 0, "grpc_json: upstream sent %s", how);
    return grpc_json_set_status(call->r, call->ctx, NGX_HTTP_BAD_GATEWAY);
}

/* A google.api.HttpBody: its bytes are the answer's. */
static ngx_int_t answer_raw(struct grpc_json_call *call)
{
    struct grpc_json_ctx *ctx = call->ctx;
    struct str body, type, data;

    if (schema_raw_response(&ctx->match, call->message, &body) ||
        schema_read_http_body(body, &type, &data))
        return answer_broken(call, "an answer that is no HttpBody");
    ctx->answer.content_type = grpc_json_raw_type(call->r, type);
    ctx->answer.body = (ngx_str_t){data.n, (u_char *)(uintptr_t)data.p}; /* in r->pool */
    return ctx->answer.content_type.data ? NGX_OK : NGX_ERROR;
}

static ngx_int_t answer_json(struct grpc_json_call *call)
{
    ngx_http_request_t *r = call->r;
    struct grpc_json_ctx *ctx = call->ctx;
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct schema_json_options options = {
        .print_unset = (conf->print & GRPC_JSON_PRINT_UNSET) != 0,
        .long_fractions = (conf->print & GRPC_JSON_PRINT_LONG_FRACTIONS) != 0,
    };
    struct buf *json = grpc_json_scratch_buf(JSON_BASE + JSON_GROWTH * call->message.n);
    struct schema_fault fault = {STR_NULL, STR_NULL};
    int err;

    ctx->answer.status = (ngx_uint_t)ctx->match.method->http_status;
    if (ctx->answer.status == NGX_HTTP_NO_CONTENT)
        return NGX_OK;
    if (schema_match_raw_response(&ctx->match))
        return answer_raw(call);
    err = schema_response(conf->schema, &ctx->match, call->message, &options, json,
                          grpc_json_scratch(), &fault);
    if (err == -ENOMEM)
        return grpc_json_set_status(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    if (err) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "grpc_json: answer of %*s is no such message: %*s: %*s",
                      ctx->match.method->path.n, ctx->match.method->path.p, fault.path.n,
                      fault.path.p, fault.message.n, fault.message.p);
        return grpc_json_set_status(r, ctx, NGX_HTTP_BAD_GATEWAY);
    }
    ngx_str_set(&ctx->answer.content_type, "application/json");
    ctx->answer.body = grpc_json_copy(r, buf_str(json));
    return ctx->answer.body.data ? NGX_OK : NGX_ERROR;
}

/* The call ended well. */
static ngx_int_t answer_success(struct grpc_json_call *call)
{
    if (!call->message.p)
        return answer_broken(call, "no whole message");
    if (answer_json(call) != NGX_OK)
        return NGX_ERROR;
    if (call->ctx->answer.status >= NGX_HTTP_BAD_REQUEST)
        return NGX_OK;
    return grpc_json_apply_conditions(call->r, call->ctx, call->message, call->etag);
}

static ngx_int_t answer_failure(struct grpc_json_call *call, const struct grpc_h2_end *end)
{
    struct problem problem;

    if (rpc_problem_decoded(&problem, end->status, end->message, end->details, grpc_json_scratch()))
        return grpc_json_set_status(call->r, call->ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    grpc_json_overload_heard(call->r, call->ctx, &problem);
    return grpc_json_set_problem(call->r, call->ctx, &problem);
}

/* The service has said how the call ended. */
static ngx_int_t make_answer(struct grpc_json_call *call, const struct grpc_h2_end *end)
{
    switch (grpc_json_metadata(call->r, &call->metadata, NULL, &call->ctx->answer.metadata)) {
    case NGX_OK:
        break;
    case NGX_DECLINED:
        return answer_broken(call, "more metadata than grpc_json_response_header_limit");
    default:
        return NGX_ERROR;
    }
    call->ctx->grpc_status = end->status;
    return end->status == RPC_OK ? answer_success(call) : answer_failure(call, end);
}

/* ---- the end ---- */

/* Goes on with the request from an event of our own, as nginx would from one of the client's. */
static void finalize(struct grpc_json_call *call, ngx_int_t rc)
{
    ngx_connection_t *c = call->r->connection;

    call->stream = NULL;
    ngx_http_set_log_request(c->log, call->r);
    ngx_http_finalize_request(call->r, rc);
    ngx_http_run_posted_requests(c);
}

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

static void fail(struct grpc_json_call *call, int status)
{
    close_state(call, (ngx_uint_t)status);
    finalize(call, grpc_json_refuse_status(call->r, call->ctx, status));
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    struct grpc_json_call *call = data;
    struct grpc_json_ctx *ctx = call->ctx;

    if (!end->by_status) {
        ngx_log_error(NGX_LOG_ERR, call->r->connection->log, 0, "grpc_json: %*s failed: %*s",
                      ctx->match.method->path.n, ctx->match.method->path.p, end->message.n,
                      end->message.p);
        fail(call, failure_status(end));
        return;
    }
    close_state(call, (ngx_uint_t)end->http_status);
    finalize(call,
             make_answer(call, end) == NGX_OK ? grpc_json_send(call->r, ctx) : NGX_ERROR);
}

/* ---- while it runs ---- */

static void on_opened(void *data)
{
    const struct grpc_json_call *call = data;
    ngx_http_upstream_state_t *state = state_of(call);

    if (state && state->header_time == (ngx_msec_t)-1)
        state->header_time = ngx_current_msec - call->began;
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
    ngx_str_t copy;

    if (call->message.p) {
        grpc_h2_cancel(call->stream);
        ngx_log_error(NGX_LOG_ERR, call->r->connection->log, 0,
                      "grpc_json: upstream sent a message too many");
        fail(call, NGX_HTTP_BAD_GATEWAY);
        return false;
    }
    copy = grpc_json_copy(call->r, message);
    if (!copy.data) {
        grpc_h2_cancel(call->stream);
        fail(call, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return false;
    }
    call->message = grpc_json_str(copy);
    return true;
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

/* The request ends, before the call when the client has left. */
static void clean_up(void *data)
{
    struct grpc_json_call *call = data;

    if (!call->stream)
        return;
    grpc_h2_cancel(call->stream);
    call->stream = NULL;
    close_state(call, 0);
}

/* ---- the beginning ---- */

static struct grpc_json_call *new_call(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_call *call = ngx_pcalloc(r->pool, sizeof(*call));
    ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(r, 0);

    r->upstream_states = ngx_array_create(r->pool, 1, sizeof(ngx_http_upstream_state_t));
    if (!call || !cleanup || !r->upstream_states ||
        ngx_list_init(&call->metadata, r->pool, 2, sizeof(ngx_table_elt_t)) != NGX_OK)
        return NULL;
    call->r = r;
    call->ctx = ctx;
    cleanup->handler = clean_up;
    cleanup->data = call;
    return call;
}

static ngx_int_t start(ngx_http_request_t *r, struct grpc_json_ctx *ctx, const ngx_list_t *metadata,
                       struct str frame)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_call *call = new_call(r, ctx);
    struct grpc_h2_call rpc = {
        .upstream = grpc_json_target_find(r, &conf->pass),
        .path = ctx->match.method->path,
        .frame = frame,
        .timeout = ctx->timeout,
        .max_message = conf->response_limit,
        .idempotent = ctx->match.method->idempotent,
    };

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

ngx_int_t grpc_json_call(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str frame)
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
        return start(r, ctx, &metadata, frame);
    case NGX_DECLINED:
        return grpc_json_refuse(ctx, grpc_json_set_problem(r, ctx, &problem));
    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}
