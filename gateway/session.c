/* A session's states: how it begins when its request goes, what its timer is for, how it ends. The
 * table of states is in session.h. Runs in a worker. */
#include "session.h"

#include "rpc_status.h"

#include <stdlib.h>

/* ---- the timer: one, that of c->read ---- */

static ngx_msec_t least(ngx_msec_t a, ngx_msec_t b)
{
    return a && (!b || a < b) ? a : b;
}

/* What is left of a limit; at least a millisecond. */
static ngx_msec_t left(ngx_msec_t limit, ngx_msec_t since)
{
    ngx_msec_t passed = ngx_current_msec - since;

    return passed < limit ? limit - passed : 1;
}

/* At least a millisecond as well. */
static ngx_msec_t until(ngx_msec_t at)
{
    ngx_msec_int_t ms = (ngx_msec_int_t)(at - ngx_current_msec);

    return ms > 0 ? (ngx_msec_t)ms : 1;
}

/* For the next thing that can happen to an open session. */
static void set_open_timer(struct session *s)
{
    const struct grpc_json_websocket *conf = &s->conf->websocket;
    ngx_msec_t next = 0;

    if (s->ping_sent)
        next = left(conf->ping_timeout, s->heard_at);
    else if (conf->ping_interval)
        next = left(conf->ping_interval, s->heard_at);
    if (conf->idle_timeout)
        next = least(left(conf->idle_timeout, s->used_at), next);
    if (s->deadline)
        next = least(until(s->deadline), next);
    if (next)
        ngx_add_timer(s->c->read, next);
}

static void ping(struct session *s)
{
    struct frame *frame = frame_new(WEBSOCKET_PING, WEBSOCKET_FIN, STR(""));

    if (!frame || !frame_queue_push(&s->out, frame))
        session_gone(s);
    frame_release(frame);
    s->ping_sent = true;
    s->heard_at = ngx_current_msec;
    session_wants_write(s);
}

/* A client that is not read, or does not read, cannot be asked whether it is there: limits of their
 * own are for those. */
static bool can_be_judged(struct session *s)
{
    return !session_is_blocked(s) && s->out.count == 0;
}

static void say_late(struct session *s)
{
    session_say_end(s, &(struct grpc_h2_end){.status = RPC_DEADLINE_EXCEEDED,
                                             .message = STR("the service did not answer in time")});
}

static void on_open_timer(struct session *s)
{
    const struct grpc_json_websocket *conf = &s->conf->websocket;

    if (s->deadline && (ngx_msec_int_t)(s->deadline - ngx_current_msec) <= 0) {
        say_late(s);
        return;
    }

    if (!can_be_judged(s)) {
        s->heard_at = ngx_current_msec;
        s->ping_sent = false;
    }
    if (s->ping_sent && ngx_current_msec - s->heard_at >= conf->ping_timeout) {
        ngx_log_error(NGX_LOG_INFO, s->c->log, 0, "websocket: the client does not answer a ping");
        session_gone(s);
        return;
    }
    if (conf->idle_timeout && ngx_current_msec - s->used_at >= conf->idle_timeout &&
        !websocket_reader_busy(&s->reader)) {
        session_close(s, WEBSOCKET_GOING_AWAY, STR("no message for too long"));
        return;
    }
    if (!s->ping_sent && conf->ping_interval &&
        ngx_current_msec - s->heard_at >= conf->ping_interval)
        ping(s);
    if (s->state == SESSION_OPEN)
        set_open_timer(s);
}

/* The time of a state is over. */
void session_on_timer(struct session *s)
{
    switch (s->state) {
    case SESSION_OPEN:
        on_open_timer(s);
        break;
    case SESSION_LEAVING:
        /* The service goes on although the client has gone. */
        session_close(s, s->code, STR(""));
        break;
    default:
        session_gone(s);
        break;
    }
}

static void enter(struct session *s, enum session_state state)
{
    s->state = state;
    /* Not cancelable: a worker that ends waits for it. */
    if (state != SESSION_GONE && !s->upgrade)
        ngx_add_timer(s->c->read, s->conf->websocket.close_timeout);
}

/* ---- states ---- */

static void cancel(struct session *s)
{
    if (s->call)
        s->carrier->cancel(s);
    s->call = NULL;
}

void session_gone(struct session *s)
{
    cancel(s);
    s->state = SESSION_GONE;
}

void session_ended(struct session *s)
{
    cancel(s);
    websocket_reader_free(&s->reader);
    session_count(s);
    enter(s, SESSION_ENDED);
    session_wants_write(s);
}

void session_close(struct session *s, unsigned code, struct str reason)
{
    struct frame *frame = frame_new_close(code, reason);
    bool left_before = s->state == SESSION_LEAVING;

    cancel(s);
    if (!frame || !frame_queue_push(&s->out, frame)) {
        session_gone(s);
    } else if (left_before) {
        session_ended(s);
    } else {
        enter(s, SESSION_CLOSING);
        session_wants_write(s);
        session_wants_read(s);
    }
    frame_release(frame);
}

void session_left(struct session *s, unsigned code)
{
    if (s->state == SESSION_CLOSING) {
        session_ended(s);
        return;
    }
    /* The answer to a Close has its code (RFC 6455 section 5.5.1). */
    s->code = code == WEBSOCKET_NO_CODE ? WEBSOCKET_NORMAL : (uint16_t)code;
    enter(s, SESSION_LEAVING);
    s->carrier->half_close(s);
}

/* ---- the beginning ---- */

struct session *session_new(ngx_http_request_t *r, struct upgrade *upgrade, unsigned window)
{
    const struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    struct session *s = ngx_calloc(sizeof(*s), r->connection->log);

    if (!s)
        return NULL;
    s->c = r->connection;
    s->upgrade = upgrade;
    s->conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    s->binding = ctx->match.binding;
    s->method = ctx->match.method;
    s->raw_in = schema_match_raw_stream(&ctx->match);
    s->raw_out = schema_match_raw_response(&ctx->match);
    s->window = (uint8_t)window;
    s->send_timeout = core->send_timeout;
    websocket_reader_init(&s->reader, (uint32_t)s->conf->websocket.message_limit, window != 0);
    return s;
}

/* nginx's buffers for the next request, which will not come. */
static void free_buffers(ngx_connection_t *c, ngx_http_connection_t *http)
{
    ngx_chain_t *lists[] = {http->busy, http->free};

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (ngx_chain_t *link = lists[i]; link; link = link->next)
            ngx_pfree(c->pool, link->buf->start);
    }
    http->busy = http->free = NULL;
    http->nbusy = 0;
    if (c->buffer && ngx_pfree(c->pool, c->buffer->start) == NGX_OK)
        c->buffer = NULL;
    if (c->ssl)
        ngx_ssl_free_buffer(c);
}

/* What stays of what nginx has in a connection's pool. */
struct kept {
    ngx_log_t log;
    ngx_http_log_ctx_t ctx; /* for the error log */
    char text[];            /* the client's address in words; in front of it the other one */
};

/* Exchanges the connection's pool, which has room for requests that will not come, for a small one:
 * a kilobyte less for an idle session. TLS lives in the pool, and keeps it; so does a connection
 * for which there is no memory. Nobody has pointers into it any more: the request has gone. */
static void leave_pool(ngx_connection_t *c)
{
    size_t address = (c->socklen + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
    size_t size = sizeof(struct kept) + address + c->addr_text.len;
    ngx_pool_t *pool, *before = c->pool;
    struct kept *kept;

    if (c->ssl)
        return;
    pool = ngx_create_pool(sizeof(*pool) + size, c->log);
    if (!pool)
        return;
    kept = ngx_palloc(pool, size);
    if (!kept) {
        ngx_destroy_pool(pool);
        return;
    }
    kept->log = *c->log;
    kept->ctx = (ngx_http_log_ctx_t){.connection = c};
    kept->log.data = &kept->ctx;
    memcpy(kept->text, c->sockaddr, c->socklen);
    memcpy(kept->text + address, c->addr_text.data, c->addr_text.len);
    c->sockaddr = (struct sockaddr *)(void *)kept->text;
    c->addr_text.data = (u_char *)kept->text + address;
    c->local_sockaddr = c->listening->sockaddr;
    c->local_socklen = c->listening->socklen;
    c->proxy_protocol = NULL;
    c->buffer = NULL;
    c->log = c->read->log = c->write->log = pool->log = &kept->log;
    c->pool = pool;
    ngx_destroy_pool(before);
}

static void take_connection(struct session *s)
{
    static char action[] = "in a WebSocket"; /* for the error log */
    ngx_connection_t *c = s->c;

    c->data = s;
    c->destroyed = 0;
    c->log->action = action;
    c->read->handler = session_on_read;
    c->write->handler = session_on_write;
    if (c->read->timer_set)
        ngx_del_timer(c->read);
    if (c->write->timer_set)
        ngx_del_timer(c->write);
    if (s->carrier->send_buffer &&
        setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &s->carrier->send_buffer, sizeof(int)) == -1)
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno, "setsockopt(SO_SNDBUF) failed");
    /* nginx tells idle connections that the worker ends. */
    c->idle = 1;
    s->heard_at = s->used_at = ngx_current_msec;
}

void session_detach(struct session *s, ngx_http_request_t *r)
{
    ngx_buf_t *in = r->header_in;
    ngx_http_connection_t *http = r->http_connection;
    int err = session_hold(s, in->pos, (size_t)(in->last - in->pos));

    s->upgrade = NULL;
    s->metrics = grpc_json_metrics_session(r);
    s->hold = grpc_json_limit_take(ngx_http_get_module_ctx(r, ngx_http_grpc_json_module));
    ngx_http_free_request(r, 0);
    grpc_json_connections_leave(s->c);
    free_buffers(s->c, http);
    leave_pool(s->c);
    take_connection(s);
    if (err) {
        session_gone(s);
    } else if (s->state == SESSION_WAITING) {
        s->state = SESSION_OPEN;
        set_open_timer(s);
    } else {
        enter(s, s->state); /* now it has a timer */
    }
    if (s->state == SESSION_OPEN && ngx_exiting)
        session_close(s, WEBSOCKET_GOING_AWAY, STR("the server restarts"));
    session_wants_write(s);
    session_wants_read(s);
    session_settle(s);
}

/* ---- the end ---- */

void session_free(struct session *s)
{
    cancel(s);
    grpc_json_limit_release(s->hold);
    websocket_reader_free(&s->reader);
    frame_queue_clear(&s->out);
    grpc_json_metrics_queued(frame_queue_waiting());
    free((void *)(uintptr_t)s->first.p);
    free((void *)(uintptr_t)s->held.p);
    s->held = STR_NULL;
    session_count(s);
    ngx_free(s);
}

void session_settle(struct session *s)
{
    ngx_connection_t *c = s->c;

    if (s->state != SESSION_GONE || s->upgrade)
        return;
    grpc_json_metrics_session_end(s->metrics);
    session_free(s);
    c->idle = 0;
    ngx_http_close_connection(c);
}
