/* A worker that leaves (reload, graceful stop) without a failed request.
 *
 * nginx closes a leaving worker's idle connections at once, also those on which a client is just
 * sending its next request: that one is lost. With grpc_json_leave_timeout an idle connection stays
 * for that long; a request that comes meanwhile is served and told "Connection: close", which is
 * how HTTP/1.1 lets a server go (RFC 9112 section 9.6). HTTP/2 has GOAWAY for it, and needs none of
 * this.
 *
 * How: once a connection has become idle, its read handler is replaced by ours. nginx calls that
 * one to close (c->close), and for everything else, which goes on to the handler that was there. */
#include "grpc_json.h"

/* Lives in the connection's pool, from its first request on. */
struct leave {
    ngx_connection_t *connection;
    ngx_http_connection_t *http; /* what an idle connection has as its data */
    ngx_msec_t timeout;
    ngx_event_t posted; /* looks whether the connection has become idle */
    ngx_event_handler_pt next;
    bool leaving;
};

static ngx_http_output_header_filter_pt next_header;

static void on_close(void *data)
{
    struct leave *leave = data;

    /* A macro of several statements. */
    if (leave->posted.posted) {
        ngx_delete_posted_event(&leave->posted);
    }
}

static struct leave *find(ngx_connection_t *c)
{
    for (ngx_pool_cleanup_t *cleanup = c->pool->cleanup; cleanup; cleanup = cleanup->next) {
        if (cleanup->handler == on_close)
            return cleanup->data;
    }
    return NULL;
}

static void on_read(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    struct leave *leave = find(c);

    if (c->close && !c->error && !event->timedout && !leave->leaving) {
        leave->leaving = true;
        c->close = 0;
        ngx_add_timer(event, leave->timeout);
        return;
    }
    event->handler = leave->next;
    leave->next(event);
}

/* The request has been freed meanwhile. Idle is what nginx calls so, and still has as it left it: a
 * connection that somebody took over has data of another kind. */
static void on_posted(ngx_event_t *event)
{
    struct leave *leave = event->data;
    ngx_connection_t *c = leave->connection;

    if (!c->idle || c->data != leave->http || c->read->handler == on_read)
        return;
    leave->next = c->read->handler;
    c->read->handler = on_read;
}

static struct leave *make(ngx_http_request_t *r, ngx_msec_t timeout)
{
    ngx_connection_t *c = r->connection;
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(c->pool, sizeof(struct leave));
    struct leave *leave;

    if (!cleanup)
        return NULL;
    leave = cleanup->data;
    *leave = (struct leave){.connection = c, .http = r->http_connection, .timeout = timeout};
    leave->posted.handler = on_posted;
    leave->posted.data = leave;
    leave->posted.log = c->log;
    cleanup->handler = on_close;
    return leave;
}

/* LOG phase: whether the connection becomes idle is decided right after it. */
static ngx_int_t watch(ngx_http_request_t *r)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    struct leave *leave;

    if (!conf->leave_timeout || r != r->main || r->stream || ngx_exiting)
        return NGX_OK;
    leave = find(r->connection);
    if (!leave)
        leave = make(r, conf->leave_timeout);
    if (leave) {
        ngx_post_event(&leave->posted, &ngx_posted_events);
    }
    return NGX_OK;
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    if (ngx_exiting && r == r->main && !r->stream)
        r->keepalive = 0;
    return next_header(r);
}

ngx_int_t grpc_json_leave_install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *handler = ngx_array_push(&core->phases[NGX_HTTP_LOG_PHASE].handlers);

    if (!handler)
        return NGX_ERROR;
    *handler = watch;
    next_header = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    return NGX_OK;
}
