/* Answers that wait for clients who do not read them. nginx keeps an answer in memory until it is
 * in the socket's buffer, and send_timeout begins anew with each byte that a client takes. Whoever
 * reads next to nothing on many connections, or in many streams of HTTP/2 ones, so holds an answer
 * with each request that the limits let through. So a worker has so much for all of them, and
 * beyond it those are ended that have waited longest. */
#include "grpc_json.h"

#define NAME "unread" /* in metrics and variables, among the limits */
#define MAX_BYTES ((size_t)64 << 20)
/* Less is not counted: the requests of a connection take as much themselves. */
#define LEAST ((size_t)8 << 10)

/* In its request's pool. */
struct unread {
    ngx_queue_t queue; /* the oldest first */
    ngx_http_request_t *r;
    size_t n; /* 0: not in the queue any more */
};

/* Of the worker. */
static ngx_queue_t waiting = {&waiting, &waiting};
static size_t bytes;
static ngx_event_t enforce;

ngx_str_t grpc_json_unread_name(void)
{
    ngx_str_t name = ngx_string(NAME);

    return name;
}

static void leave(struct unread *unread)
{
    if (unread->n == 0)
        return;
    ngx_queue_remove(&unread->queue);
    bytes -= unread->n;
    unread->n = 0;
}

static void end_of_request(void *data)
{
    leave(data);
}

/* As if its client had not read for send_timeout. */
static void end(struct unread *unread)
{
    ngx_http_request_t *r = unread->r;
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    ngx_event_t *writes = r->connection->write;

    leave(unread);
    if (ctx) {
        ngx_str_set(&ctx->limited, NAME);
    }
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0, "grpc_json: too many answers are not read");
    writes->timedout = 1;
    writes->handler(writes);
}

static void on_enforce(ngx_event_t *event)
{
    (void)event;
    while (bytes > MAX_BYTES)
        end(ngx_queue_data(ngx_queue_head(&waiting), struct unread, queue));
}

ngx_int_t grpc_json_unread(ngx_http_request_t *r, size_t n)
{
    ngx_pool_cleanup_t *cleanup;
    struct unread *unread;

    if (n < LEAST || !(r->buffered || r->connection->buffered))
        return NGX_OK;
    cleanup = ngx_pool_cleanup_add(r->pool, sizeof(*unread));
    if (!cleanup)
        return NGX_ERROR;
    cleanup->handler = end_of_request;
    unread = cleanup->data;
    unread->r = r;
    unread->n = n;
    ngx_queue_insert_tail(&waiting, &unread->queue);
    bytes += n;
    /* Not now: this request is not yet where it can wait. */
    enforce.handler = on_enforce;
    enforce.log = ngx_cycle->log;
    if (bytes > MAX_BYTES && !enforce.posted) {
        ngx_post_event(&enforce, &ngx_posted_events);
    }
    return NGX_OK;
}
