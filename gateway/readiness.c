/* grpc_json_ready: a location that answers 200 when every upstream named says SERVING to
 * grpc.health.v1.Health/Check, and 503 with the names of those that do not. */
#include "grpc_json.h"
#include "rpc_status.h"

#define CHECK_PATH "/grpc.health.v1.Health/Check"
#define CHECK_TIMEOUT 2000 /* ms for a probe */
#define MESSAGE_LIMIT 64   /* bytes of a HealthCheckResponse */

struct probe {
    struct ready *ready;
    const ngx_str_t *upstream;     /* its name */
    struct grpc_h2_stream *stream; /* NULL: has ended, or could not be made */
    bool serving;
};

/* In the request's pool. */
struct ready {
    ngx_http_request_t *request;
    ngx_uint_t waiting; /* probes without an answer */
    ngx_uint_t n_probes;
    struct probe *probes;
    ngx_event_t done; /* posted: there are none */
};

/* ---- the answer ---- */

static ngx_int_t make_answer(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                             const struct ready *ready)
{
    struct problem problem;

    problem_init(&problem, NGX_HTTP_SERVICE_UNAVAILABLE);
    for (ngx_uint_t i = 0; i < ready->n_probes; i++) {
        if (!ready->probes[i].serving)
            problem_add(&problem, grpc_json_str(*ready->probes[i].upstream), STR("is not ready"));
    }
    if (problem.n_errors)
        return grpc_json_set_problem(r, ctx, &problem);
    ctx->answer.status = NGX_HTTP_OK;
    ngx_str_set(&ctx->answer.content_type, "application/json");
    ngx_str_set(&ctx->answer.body, "{\"status\":\"ready\"}");
    return NGX_OK;
}

static void on_done(ngx_event_t *event)
{
    const struct ready *ready = event->data;
    ngx_http_request_t *r = ready->request;
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    ngx_connection_t *c = r->connection;
    ngx_int_t rc = NGX_ERROR;

    ngx_http_set_log_request(c->log, r);
    if (make_answer(r, ctx, ready) == NGX_OK)
        rc = grpc_json_send(r, ctx);
    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}

/* ---- the probes ---- */

static void probe_ended(struct probe *probe)
{
    probe->stream = NULL;
    if (--probe->ready->waiting == 0) { /* several statements */
        ngx_post_event(&probe->ready->done, &ngx_posted_events);
    }
}

static void on_opened(void *data)
{
    (void)data; /* what counts is the message and the status */
}

static bool on_message(void *data, struct str message)
{
    struct probe *probe = data;

    probe->serving = rpc_health_serving(message);
    return true;
}

static void on_writable(void *data)
{
    (void)data; /* all there is to say was said at the beginning */
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    struct probe *probe = data;

    probe->serving = probe->serving && end->by_status && end->status == RPC_OK;
    probe_ended(probe);
}

static const struct grpc_h2_callbacks callbacks = {
    .opened = on_opened, .message = on_message, .writable = on_writable, .ended = on_ended};

static void start_probe(struct probe *probe)
{
    ngx_http_request_t *r = probe->ready->request;
    char frame[RPC_PREFIX_SIZE] = {0}; /* an empty HealthCheckRequest: the server as a whole */
    struct grpc_h2_call call = {
        .upstream = grpc_json_upstream_named(r, *probe->upstream),
        .path = STR(CHECK_PATH),
        .frame = {frame, sizeof(frame)},
        .timeout = CHECK_TIMEOUT,
        .max_message = MESSAGE_LIMIT,
        .idempotent = true,
        .keeps_worker = true,
    };

    if (call.upstream)
        probe->stream = grpc_h2_call(&call, &callbacks, probe, r->connection->log);
    if (!probe->stream)
        probe_ended(probe);
}

static void clean_up(void *data)
{
    struct ready *ready = data;

    for (ngx_uint_t i = 0; i < ready->n_probes; i++) {
        if (ready->probes[i].stream)
            grpc_h2_cancel(ready->probes[i].stream);
        ready->probes[i].stream = NULL;
    }
    if (ready->done.posted) { /* several statements */
        ngx_delete_posted_event(&ready->done);
    }
}

static struct ready *new_ready(ngx_http_request_t *r, const ngx_array_t *upstreams)
{
    struct ready *ready = ngx_pcalloc(r->pool, sizeof(*ready));
    ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(r, 0);
    const ngx_str_t *names = upstreams->elts;

    if (!ready || !cleanup)
        return NULL;
    ready->probes = ngx_pcalloc(r->pool, upstreams->nelts * sizeof(*ready->probes));
    if (!ready->probes)
        return NULL;
    ready->request = r;
    ready->n_probes = ready->waiting = upstreams->nelts;
    for (ngx_uint_t i = 0; i < ready->n_probes; i++) {
        ready->probes[i].ready = ready;
        ready->probes[i].upstream = &names[i];
    }
    ready->done.handler = on_done;
    ready->done.data = ready;
    ready->done.log = r->connection->log;
    cleanup->handler = clean_up;
    cleanup->data = ready;
    return ready;
}

ngx_int_t grpc_json_ready_handler(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct ready *ready;
    ngx_int_t rc;

    if (!grpc_json_begin_document(r, &rc))
        return rc;
    ready = grpc_json_ctx(r) ? new_ready(r, conf->ready) : NULL;
    if (!ready)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    for (ngx_uint_t i = 0; i < ready->n_probes; i++)
        start_probe(&ready->probes[i]);
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;
    return NGX_DONE;
}
