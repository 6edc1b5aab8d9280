/* A unary call: its one answer is made once the service has said how the call ended. */
#include "call.h"
#include "rpc_status.h"
#include "stream.h"

#include <errno.h>

/* JSON can be larger than its wire: names, and "false," for one byte of a packed list. */
#define JSON_GROWTH 16
#define JSON_BASE 65536

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

    if (schema_raw_response(&ctx->match, ctx->message, &body) ||
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
    struct buf *json = grpc_json_scratch_buf(JSON_BASE + JSON_GROWTH * ctx->message.n);
    struct schema_fault fault = {STR_NULL, STR_NULL};
    int err;

    ctx->answer.status = (ngx_uint_t)ctx->match.method->http_status;
    if (ctx->answer.status == NGX_HTTP_NO_CONTENT)
        return NGX_OK;
    if (schema_match_raw_response(&ctx->match))
        return answer_raw(call);
    err = schema_response(conf->schema, &ctx->match, ctx->message, &options, json,
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

static ngx_int_t answer_success(struct grpc_json_call *call)
{
    struct grpc_json_ctx *ctx = call->ctx;

    if (!ctx->message.p)
        return answer_broken(call, "no whole message");
    if (answer_json(call) != NGX_OK)
        return NGX_ERROR;
    if (ctx->answer.status < NGX_HTTP_BAD_REQUEST &&
        grpc_json_apply_conditions(call->r, ctx, ctx->message, call->etag) != NGX_OK)
        return NGX_ERROR;
    if (!schema_match_raw_response(&ctx->match)) /* as large as the answer, and not a part of it */
        ngx_pfree(call->r->pool, (void *)(uintptr_t)ctx->message.p);
    return NGX_OK;
}

static ngx_int_t make_answer(struct grpc_json_call *call, const struct grpc_h2_end *end)
{
    if (!end->by_status)
        return grpc_json_call_problem(call, end);
    switch (grpc_json_metadata(call->r, &call->metadata, &call->ctx->answer.metadata)) {
    case NGX_OK:
        return end->status == RPC_OK ? answer_success(call) : grpc_json_call_problem(call, end);
    case NGX_DECLINED:
        return answer_broken(call, "more metadata than grpc_json_response_header_limit");
    default:
        return NGX_ERROR;
    }
}

/* Goes on with the request from an event of our own, as nginx would from one of the client's. made:
 * whether ctx->answer could be. */
static void finish(struct grpc_json_call *call, ngx_int_t made)
{
    ngx_http_request_t *r = call->r;
    ngx_connection_t *c = r->connection;

    ngx_http_finalize_request(r, made == NGX_OK ? grpc_json_send(r, call->ctx) : NGX_ERROR);
    ngx_http_run_posted_requests(c);
}

static void on_ended(struct grpc_json_call *call, const struct grpc_h2_end *end)
{
    finish(call, make_answer(call, end));
}

static void on_opened(struct grpc_json_call *call)
{
    (void)call; /* a status may yet follow that is no success */
}

static bool on_message(struct grpc_json_call *call, struct str message)
{
    ngx_str_t copy;

    if (call->ctx->message.p) {
        grpc_json_call_cancel(call);
        finish(call, answer_broken(call, "a message too many"));
        return false;
    }
    copy = grpc_json_copy(call->r, message);
    if (!copy.data) {
        grpc_json_call_cancel(call);
        finish(call, grpc_json_set_status(call->r, call->ctx, NGX_HTTP_INTERNAL_SERVER_ERROR));
        return false;
    }
    call->ctx->message = grpc_json_str(copy);
    return true;
}

static const struct grpc_json_call_handlers handlers = {
    .opened = on_opened, .message = on_message, .ended = on_ended};

ngx_int_t grpc_json_unary(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str frame)
{
    return grpc_json_call(r, ctx, frame, &handlers);
}
