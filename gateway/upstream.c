/* Between nginx's upstream machinery and ngx_http_grpc_module: for the requests that we made, their
 * callbacks are replaced before the first connection is tried.
 *
 * The place for that is the peer.init callback of every upstream of the configuration: it is the
 * last thing that nginx calls before it connects. */
#include "grpc_json.h"
#include "rpc_status.h"

#define FRAME_HEADER_SIZE 9
/* ms between the deadline that the service knows and ours: its own answer is the better one. */
#define DEADLINE_GRACE 500
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* An upstream of the configuration and the peer.init that was there. */
struct hooked_upstream {
    ngx_http_upstream_srv_conf_t *upstream;
    ngx_http_upstream_init_peer_pt init;
};

/* ---- retries ---- */

/* nginx builds a request for stream 1. On a kept connection it writes the real stream number over
 * that, in place, and when that connection breaks, a retry on a fresh one (whose first stream is 1)
 * still carries it; its answer is then refused as one for an unknown stream. So: back to 1. */
static void reset_stream(ngx_buf_t *b)
{
    u_char *p = b->start + sizeof(PREFACE) - 1;

    if ((size_t)(b->last - b->start) < sizeof(PREFACE) - 1 ||
        ngx_memcmp(b->start, PREFACE, sizeof(PREFACE) - 1) != 0)
        return;
    while (b->last - p >= FRAME_HEADER_SIZE) {
        size_t length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

        if (p[5] | p[6] | p[7] | p[8]) {
            p[5] = p[6] = p[7] = 0;
            p[8] = 1;
        }
        if ((size_t)(b->last - p) - FRAME_HEADER_SIZE < length)
            return;
        p += FRAME_HEADER_SIZE + length;
    }
}

static struct grpc_json_ctx *ctx_of(ngx_http_request_t *r)
{
    /* Not by the module's index: nginx clears that when another filter fails. */
    return r->upstream->input_filter_ctx;
}

static ngx_int_t reinit_request(ngx_http_request_t *r)
{
    if (r->upstream->request_bufs)
        reset_stream(r->upstream->request_bufs->buf);
    grpc_json_set_repeatable(r, ctx_of(r));
    return ctx_of(r)->reinit_request(r);
}

/* Whether the service has refused the call in its only header block, so that another instance may
 * have it: UNAVAILABLE from a service that says itself that nothing was done (gRFC A6), or any
 * UNAVAILABLE when the call may be repeated. CANCELLED is what gRPC's C core says of a call that
 * came when it was shut down: nobody here has cancelled. */
static bool is_refused(ngx_http_request_t *r, const struct grpc_json_ctx *ctx)
{
    struct str status = grpc_json_upstream_header(r, STR("grpc-status"));
    struct str pushback = grpc_json_upstream_header(r, STR("grpc-retry-pushback-ms"));
    int code;

    if (ctx->probe || !status.p || rpc_code_read(status, &code))
        return false;
    if (code == RPC_UNAVAILABLE && pushback.n > 0 && pushback.p[0] != '-')
        return true;
    return (code == RPC_UNAVAILABLE || code == RPC_CANCELLED) && ctx->match.method->idempotent;
}

/* As nginx itself asks before it goes on to the next server. */
static bool can_go_on(const ngx_http_upstream_t *u)
{
    ngx_msec_t timeout = u->conf->next_upstream_timeout;

    return u->peer.tries > 1 && (u->conf->next_upstream & NGX_HTTP_UPSTREAM_FT_HTTP_503) &&
           !(timeout && ngx_current_msec - u->peer.start_time >= timeout);
}

/* A refusal is to nginx a 503, which it has another server try; the last one's goes to the client
 * as it is. */
static ngx_int_t process_header(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ctx_of(r);
    ngx_int_t rc = ctx->process_header(r);

    if (rc == NGX_OK && can_go_on(r->upstream) && is_refused(r, ctx)) {
        r->upstream->headers_in.status_n = NGX_HTTP_SERVICE_UNAVAILABLE;
        r->method = NGX_HTTP_PUT; /* until reinit_request(): this one was not begun */
    }
    return rc;
}

/* ---- the deadline ---- */

/* nginx's own time limits are between two reads or writes: an upstream that trickles renews them
 * for ever. This one is for the call as a whole. It ends the call as nginx's own would, without a
 * retry. */
static void on_deadline(ngx_event_t *event)
{
    ngx_http_request_t *r = event->data;
    ngx_connection_t *c = r->upstream ? r->upstream->peer.connection : NULL;

    if (!c)
        return;
    r->upstream->peer.tries = 0;
    c->read->timedout = 1;
    c->read->handler(c->read);
}

static void cancel_deadline(void *data)
{
    struct grpc_json_ctx *ctx = data;

    if (ctx->deadline.timer_set)
        ngx_del_timer(&ctx->deadline);
}

static ngx_int_t arm_deadline(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_http_cleanup_t *cleanup;

    if (!ctx->timeout)
        return NGX_OK;
    cleanup = ngx_http_cleanup_add(r, 0);
    if (!cleanup)
        return NGX_ERROR;
    cleanup->handler = cancel_deadline;
    cleanup->data = ctx;
    ctx->deadline.handler = on_deadline;
    ctx->deadline.data = r;
    ctx->deadline.log = r->connection->log;
    ngx_add_timer(&ctx->deadline, ctx->timeout + DEADLINE_GRACE);
    return NGX_OK;
}

/* ---- failures ---- */

/* ngx_http_grpc_module found nonsense. nginx would cut the client off for it; ending the upstream's
 * answer here instead leads to a 502. */
static ngx_int_t result(struct grpc_json_ctx *ctx, ngx_int_t rc)
{
    if (rc != NGX_ERROR)
        return rc;
    ctx->upstream_broken = true;
    ctx->upstream->length = 0;
    ctx->upstream->keepalive = 0;
    return NGX_OK;
}

static ngx_int_t input_filter_init(void *data)
{
    struct grpc_json_ctx *ctx = data;

    return result(ctx, ctx->input_filter_init(ctx->input_filter_ctx));
}

static ngx_int_t input_filter(void *data, ssize_t bytes)
{
    struct grpc_json_ctx *ctx = data;

    if (ctx->upstream_broken)
        return NGX_OK;
    return result(ctx, ctx->input_filter(ctx->input_filter_ctx, bytes));
}

static void finalize_request(ngx_http_request_t *r, ngx_int_t rc)
{
    struct grpc_json_ctx *ctx = ctx_of(r);

    cancel_deadline(ctx);
    ctx->upstream_rc = rc;
    ctx->finalize_request(r, rc);
}

/* ---- hooking in ---- */

void grpc_json_hook_request(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    ngx_http_upstream_t *u = r->upstream;

    ctx->upstream = u;
    ctx->reinit_request = u->reinit_request;
    ctx->process_header = u->process_header;
    ctx->input_filter_init = u->input_filter_init;
    ctx->input_filter = u->input_filter;
    ctx->input_filter_ctx = u->input_filter_ctx;
    ctx->finalize_request = u->finalize_request;
    u->reinit_request = reinit_request;
    u->process_header = process_header;
    u->input_filter_init = input_filter_init;
    u->input_filter = input_filter;
    u->input_filter_ctx = ctx;
    u->finalize_request = finalize_request;
}

static const struct hooked_upstream *find(ngx_http_request_t *r,
                                          ngx_http_upstream_srv_conf_t *upstream)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    const struct hooked_upstream *hooked = conf->upstreams.elts;

    for (ngx_uint_t i = 0; i < conf->upstreams.nelts; i++) {
        if (hooked[i].upstream == upstream)
            return &hooked[i];
    }
    return NULL;
}

static ngx_int_t init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *upstream)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    const struct hooked_upstream *hooked = find(r, upstream);

    if (!hooked)
        return NGX_ERROR;
    if (ctx && (ctx->state == GRPC_JSON_PASSED || ctx->probe)) {
        if (arm_deadline(r, ctx) != NGX_OK)
            return NGX_ERROR;
        grpc_json_hook_request(r, ctx);
    }
    return hooked->init(r, upstream);
}

ngx_int_t grpc_json_hook_upstreams(ngx_conf_t *cf)
{
    struct grpc_json_main_conf *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    ngx_http_upstream_main_conf_t *all =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    ngx_http_upstream_srv_conf_t **upstream = all->upstreams.elts;
    struct hooked_upstream *hooked;

    if (ngx_array_init(&conf->upstreams, cf->pool, all->upstreams.nelts + 1, sizeof(*hooked)) !=
        NGX_OK)
        return NGX_ERROR;
    for (ngx_uint_t i = 0; i < all->upstreams.nelts; i++) {
        if (!upstream[i]->peer.init)
            continue;
        hooked = ngx_array_push(&conf->upstreams);
        if (!hooked)
            return NGX_ERROR;
        *hooked = (struct hooked_upstream){upstream[i], upstream[i]->peer.init};
        upstream[i]->peer.init = init_peer;
    }
    return NGX_OK;
}
