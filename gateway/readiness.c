/* grpc_json_ready: a location that answers 200 when every upstream named says SERVING to
 * grpc.health.v1.Health/Check, and 503 with the names of those that do not.
 *
 * Each upstream is asked by a background subrequest to the RPC's path; the configuration has a
 * location for that path, which passes to $grpc_json_ready_upstream under short time limits. */
#include "grpc_json.h"
#include "rpc_status.h"

#define CHECK_PATH "/grpc.health.v1.Health/Check"
#define CHECK_TIMEOUT 2000 /* ms for a probe */
#define MESSAGE_LIMIT 64   /* bytes of a HealthCheckResponse */

struct grpc_json_probe {
    struct grpc_json_ready *ready;
    ngx_str_t upstream;
    struct grpc_json_message message;
    bool serving;
};

struct grpc_json_ready {
    ngx_http_request_t *request;
    ngx_uint_t waiting; /* probes without an answer */
    ngx_uint_t n_probes;
    struct grpc_json_probe *probes;
    ngx_http_posted_request_t posted; /* of the request, once all probes have ended */
};

const ngx_str_t *grpc_json_probe_upstream(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    return ctx && ctx->probe ? &ctx->probe->upstream : NULL;
}

ngx_int_t grpc_json_probe_body(ngx_http_request_t *r, struct grpc_json_probe *probe,
                               ngx_chain_t *in)
{
    if (grpc_json_collect(r, &probe->message, MESSAGE_LIMIT, in) != NGX_OK)
        return NGX_ERROR;
    /* Nothing more is wanted from this upstream. */
    if (probe->message.broken)
        r->upstream->error = 1;
    return NGX_OK;
}

/* ---- the answer ---- */

static ngx_int_t make_answer(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_ready *ready = ctx->ready;
    struct problem problem;

    problem_init(&problem, NGX_HTTP_SERVICE_UNAVAILABLE);
    for (ngx_uint_t i = 0; i < ready->n_probes; i++) {
        if (!ready->probes[i].serving)
            problem_add(&problem, grpc_json_str(ready->probes[i].upstream), STR("is not ready"));
    }
    if (problem.n_errors)
        return grpc_json_set_problem(r, ctx, &problem);
    ctx->answer.status = NGX_HTTP_OK;
    ngx_str_set(&ctx->answer.content_type, "application/json");
    ngx_str_set(&ctx->answer.body, "{\"status\":\"ready\"}");
    return NGX_OK;
}

static void answer(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    ngx_int_t rc = NGX_ERROR;

    if (make_answer(r, ctx) == NGX_OK)
        rc = grpc_json_send(r, ctx);
    ngx_http_finalize_request(r, rc);
}

/* ---- the probes ---- */

/* A probe has ended, one way or the other. What nginx thinks of it is not for the client. */
static ngx_int_t probe_ended(ngx_http_request_t *r, void *data, ngx_int_t rc)
{
    struct grpc_json_probe *probe = data;
    struct grpc_json_message *m = &probe->message;
    struct grpc_json_ready *ready = probe->ready;
    int code;

    if (rc == NGX_OK && r->upstream && !m->broken && m->bytes && m->have == m->size &&
        rpc_code_read(grpc_json_upstream_header(r, STR("grpc-status")), &code) == 0 && code == 0)
        probe->serving = rpc_health_serving((struct str){(char *)m->bytes, m->size});
    if (--ready->waiting == 0) {
        ready->request->write_event_handler = answer;
        (void)ngx_http_post_request(ready->request, &ready->posted); /* takes no memory */
    }
    return NGX_OK;
}

/* An empty HealthCheckRequest: the server as a whole. */
static ngx_int_t set_empty_message(ngx_http_request_t *r)
{
    ngx_http_request_body_t *body = ngx_pcalloc(r->pool, sizeof(*body));
    ngx_chain_t *chain = ngx_alloc_chain_link(r->pool);
    ngx_buf_t *b = ngx_create_temp_buf(r->pool, RPC_PREFIX_SIZE);

    if (!body || !chain || !b)
        return NGX_ERROR;
    rpc_prefix_write(b->last, 0);
    b->last += RPC_PREFIX_SIZE;
    chain->buf = b;
    chain->next = NULL;
    body->bufs = chain;
    r->request_body = body;
    r->headers_in.content_length_n = RPC_PREFIX_SIZE;
    r->headers_in.chunked = 0;
    return NGX_OK;
}

static ngx_int_t start_probe(ngx_http_request_t *r, struct grpc_json_probe *probe)
{
    ngx_http_post_subrequest_t *ended = ngx_palloc(r->pool, sizeof(*ended));
    ngx_str_t path = ngx_string(CHECK_PATH);
    ngx_http_request_t *sr;
    struct grpc_json_ctx *ctx;

    if (!ended)
        return NGX_ERROR;
    *ended = (ngx_http_post_subrequest_t){probe_ended, probe};
    if (ngx_http_subrequest(r, &path, NULL, &sr, ended, NGX_HTTP_SUBREQUEST_BACKGROUND) != NGX_OK)
        return NGX_ERROR;
    probe->ready->waiting++;
    ctx = grpc_json_ctx(sr);
    if (!ctx)
        return NGX_ERROR;
    ctx->probe = probe;
    sr->method = NGX_HTTP_PUT; /* may be retried, when a kept connection turns out dead */
    ngx_str_set(&sr->method_name, "POST");
    ctx->timeout = CHECK_TIMEOUT;
    if (grpc_json_headers_minimal(sr, ctx) != NGX_OK)
        return NGX_ERROR;
    return set_empty_message(sr);
}

static struct grpc_json_ready *new_ready(ngx_http_request_t *r, const ngx_array_t *upstreams)
{
    struct grpc_json_ready *ready = ngx_pcalloc(r->pool, sizeof(*ready));
    const ngx_str_t *names = upstreams->elts;

    if (!ready)
        return NULL;
    ready->request = r;
    ready->n_probes = upstreams->nelts;
    ready->probes = ngx_pcalloc(r->pool, upstreams->nelts * sizeof(*ready->probes));
    if (!ready->probes)
        return NULL;
    for (ngx_uint_t i = 0; i < ready->n_probes; i++) {
        ready->probes[i].ready = ready;
        ready->probes[i].upstream = names[i];
    }
    return ready;
}

ngx_int_t grpc_json_ready_handler(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx;
    ngx_int_t rc;

    if (!grpc_json_begin_document(r, &rc))
        return rc;
    ctx = grpc_json_ctx(r);
    if (!ctx)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->ready = new_ready(r, conf->ready);
    if (!ctx->ready)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    for (ngx_uint_t i = 0; i < ctx->ready->n_probes; i++) {
        if (start_probe(r, &ctx->ready->probes[i]) != NGX_OK)
            return NGX_ERROR;
    }
    r->main->count++;
    return NGX_DONE;
}
