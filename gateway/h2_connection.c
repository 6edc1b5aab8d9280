/* A connection to a gRPC server: its life, from connect() to close().
 *
 * Reading: bytes go to nghttp2, its callbacks note what happened to streams, and then the
 * connection looks at itself once (settle()). Writing: whoever has something to send touches the
 * connection, and a posted event writes what all of them had, at once.
 *
 * All timers are cancelable: they never keep a worker from exiting. */
#include "h2_internal.h"

#define READ_SIZE (64 << 10)
#define READS_AT_ONCE 16 /* then other connections have their turn */
#define WRITE_SIZE (64 << 10)
#define OUT_MAX (WRITE_SIZE + (1 << 20)) /* nghttp2 hands out a whole header block at once */

struct grpc_h2_settings h2_settings = {
    .connect_timeout = 5000,
    .ping_interval = 360000,
    .ping_timeout = 20000,
    .idle_timeout = 60000,
};

static unsigned char read_buffer[READ_SIZE];

static bool busy(const struct h2_connection *conn)
{
    return conn->n_open > h2_carrier_streams(conn) || !ngx_queue_empty(&conn->waiting) ||
           h2_carrier_calls(conn) > 0;
}

/* ---- closing ---- */

static void take_waiting(struct h2_connection *conn, ngx_queue_t *ret)
{
    ngx_queue_init(ret);
    if (!ngx_queue_empty(&conn->waiting)) { /* several statements */
        ngx_queue_add(ret, &conn->waiting);
    }
    ngx_queue_init(&conn->waiting);
}

static struct grpc_h2_stream *pop(ngx_queue_t *queue)
{
    struct grpc_h2_stream *s = ngx_queue_data(ngx_queue_head(queue), struct grpc_h2_stream, link);

    ngx_queue_remove(&s->link);
    s->conn = NULL;
    return s;
}

/* It was submitted after the last bytes were made, or for those that have not begun to go. */
bool h2_connection_unsent(const struct h2_connection *conn, const struct grpc_h2_stream *s)
{
    return s->turn == conn->turn ||
           (s->turn + 1 == conn->turn && conn->out.n > 0 && conn->out_at == 0);
}

static void lose_streams(struct h2_connection *conn)
{
    ngx_queue_t waiting;
    struct grpc_h2_stream *s;

    while (!ngx_queue_empty(&conn->open)) {
        s = pop(&conn->open);
        h2_stream_lost(s, h2_connection_unsent(conn, s));
    }
    take_waiting(conn, &waiting);
    while (!ngx_queue_empty(&waiting)) {
        s = pop(&waiting);
        h2_peer_release(s, NGX_PEER_FAILED);
        h2_dispatch(s);
    }
}

static void close_socket(struct h2_connection *conn)
{
    if (conn->timer.timer_set)
        ngx_del_timer(&conn->timer);
    if (conn->flush.posted) { /* several statements */
        ngx_delete_posted_event(&conn->flush);
    }
    if (conn->c)
        ngx_close_connection(conn->c);
}

void h2_connection_close(struct h2_connection *conn, const char *reason)
{
    ngx_uint_t level = busy(conn) ? NGX_LOG_ERR : NGX_LOG_INFO;

    if (conn->state < H2_OPEN)
        h2_peer_failed(conn->peer);
    ngx_log_error(level, ngx_cycle->log, 0, "gRPC server %V: %s", &conn->peer->address->name,
                  reason);
    ngx_queue_remove(&conn->link);
    conn->peer->n_connections--;
    h2_carrier_free(conn);
    close_socket(conn);
    nghttp2_session_del(conn->session);
    conn->session = NULL;
    lose_streams(conn);
    buf_free(&conn->out);
    ngx_free(conn);
}

/* ---- writing ---- */

/* Moves what nghttp2 has to send into conn->out, up to WRITE_SIZE. */
static ngx_int_t gather(struct h2_connection *conn)
{
    const uint8_t *p;
    ssize_t n;

    conn->turn++;
    while (conn->out.n < WRITE_SIZE) {
        n = nghttp2_session_mem_send(conn->session, &p);
        if (n < 0)
            return NGX_ERROR;
        if (n == 0)
            return NGX_OK;
        buf_append(&conn->out, p, (size_t)n);
        if (conn->out.failed)
            return NGX_ERROR;
    }
    return NGX_OK;
}

/* A unix socket tells of whatever its peer reads that there is room, and would wake the worker once
 * more for each request. So it is asked only while something waits for room. */
static ngx_int_t watch_room(struct h2_connection *conn, bool wanted)
{
    ngx_event_t *event = conn->c->write;

    if (wanted)
        return ngx_handle_write_event(event, 0);
    if (!event->active || !(ngx_event_flags & NGX_USE_CLEAR_EVENT))
        return NGX_OK;
    return ngx_del_event(event, NGX_WRITE_EVENT, NGX_CLEAR_EVENT);
}

/* NGX_OK: all has gone; NGX_AGAIN; NGX_ERROR. */
static ngx_int_t write_out(struct h2_connection *conn)
{
    while (conn->out_at < conn->out.n) {
        ssize_t n = conn->c->send(conn->c, (u_char *)conn->out.p + conn->out_at,
                                  conn->out.n - conn->out_at);

        if (n == NGX_AGAIN)
            return watch_room(conn, true) == NGX_OK ? NGX_AGAIN : NGX_ERROR;
        if (n <= 0)
            return NGX_ERROR;
        conn->out_at += (size_t)n;
    }
    conn->out.n = conn->out_at = 0;
    return watch_room(conn, false);
}

static ngx_int_t write_all(struct h2_connection *conn)
{
    ngx_int_t rc;

    do {
        /* Only into an empty buffer, so that what waits does not grow. */
        if (conn->out.n == 0 && gather(conn) != NGX_OK)
            return NGX_ERROR;
        if (conn->out.n == 0)
            return NGX_OK;
        rc = write_out(conn);
    } while (rc == NGX_OK);
    return rc;
}

/* ---- what follows from what has happened ---- */

/* The peer's SETTINGS have come: what waited is sent, as far as it may be. Otherwise the peer is as
 * good as not there, and says why not. */
static const char *greet(struct h2_connection *conn)
{
    ngx_queue_t waiting;
    struct grpc_h2_stream *s;

    if (conn->goaway)
        return "it is going away";
    if (nghttp2_session_get_remote_settings(conn->session,
                                            NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) == 0)
        return "it allows no streams";
    ngx_del_timer(&conn->timer);
    conn->state = H2_OPEN;
    h2_peer_works(conn->peer);
    take_waiting(conn, &waiting);
    while (!ngx_queue_empty(&waiting)) {
        s = pop(&waiting);
        if (h2_connection_has_room(conn))
            h2_connection_attach(conn, s);
        else
            h2_dispatch_again(s);
    }
    return NULL;
}

/* One timer, for what the connection waits for now. */
static void set_timer(struct h2_connection *conn)
{
    if (conn->state < H2_OPEN)
        return; /* connecting has its own */
    if (conn->timer.timer_set && conn->timed_busy == busy(conn))
        return;
    conn->timed_busy = busy(conn);
    ngx_add_timer(&conn->timer,
                  conn->timed_busy ? h2_settings.ping_interval : h2_settings.idle_timeout);
}

/* Why the connection has come to its end; NULL: it has not. */
static const char *end_of(const struct h2_connection *conn)
{
    if (conn->broken)
        return "out of memory";
    if (conn->out.n)
        return NULL;
    if (conn->state == H2_DRAINING && !busy(conn))
        return "drained";
    if (!nghttp2_session_want_read(conn->session) && !nghttp2_session_want_write(conn->session))
        return conn->state < H2_OPEN ? "it does not speak HTTP/2" : "HTTP/2 has ended";
    return NULL;
}

/* Writes what there is and looks at where the connection stands. It may be gone afterwards. */
static void progress(struct h2_connection *conn)
{
    const char *reason;

    /* A worker that exits still has requests: what they need is one connection, not one each. */
    if (conn->state == H2_OPEN && (conn->goaway || (ngx_exiting && !busy(conn))))
        conn->state = H2_DRAINING;
    h2_carrier_flush(conn);
    if (write_all(conn) == NGX_ERROR)
        reason = "writing failed";
    else
        reason = end_of(conn);
    if (reason)
        h2_connection_close(conn, reason);
    else
        set_timer(conn);
}

/* Nobody needs it: says so and closes it. */
static void end_idle(struct h2_connection *conn)
{
    if (conn->state == H2_OPEN &&
        nghttp2_session_terminate_session(conn->session, NGHTTP2_NO_ERROR) == 0) {
        conn->state = H2_DRAINING;
        progress(conn);
        return;
    }
    h2_connection_close(conn, "idle");
}

/* ---- events ---- */

static void on_timer(ngx_event_t *event)
{
    struct h2_connection *conn = event->data;
    ngx_msec_t silence = ngx_current_msec - conn->heard_at;

    if (conn->state < H2_OPEN) {
        h2_connection_close(conn, "connecting took too long");
    } else if (!busy(conn)) {
        end_idle(conn);
    } else if (silence < h2_settings.ping_interval && !conn->ping_sent) {
        ngx_add_timer(&conn->timer, h2_settings.ping_interval - silence);
    } else if (conn->ping_sent ||
               nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL) != 0) {
        h2_connection_close(conn, "it does not answer a ping");
    } else {
        conn->ping_sent = true;
        ngx_add_timer(&conn->timer, h2_settings.ping_timeout);
        progress(conn);
    }
}

static void on_flush(ngx_event_t *event)
{
    progress(event->data);
}

void h2_connection_touch(struct h2_connection *conn)
{
    if (conn->session) {
        ngx_post_event(&conn->flush, &ngx_posted_events);
    }
}

/* connect() is through: HTTP/2 may begin. */
static ngx_int_t begin(struct h2_connection *conn)
{
    int family = conn->peer->address->sockaddr->sa_family;

    if ((family == AF_INET || family == AF_INET6) && ngx_tcp_nodelay(conn->c) != NGX_OK)
        return NGX_ERROR;
    conn->state = H2_GREETING;
    if (h2_session_start(conn) != NGX_OK)
        return NGX_ERROR;
    h2_connection_touch(conn);
    return NGX_OK;
}

static void on_connect(struct h2_connection *conn)
{
    int error = 0;
    socklen_t size = sizeof(error);

    if (getsockopt(conn->c->fd, SOL_SOCKET, SO_ERROR, &error, &size) == -1)
        error = ngx_socket_errno;
    if (error)
        h2_connection_close(conn, strerror(error));
    else if (begin(conn) != NGX_OK)
        h2_connection_close(conn, "out of memory");
}

static void on_write(ngx_event_t *event)
{
    struct h2_connection *conn = ((ngx_connection_t *)event->data)->data;

    if (conn->state == H2_CONNECTING)
        on_connect(conn);
    else
        progress(conn);
}

/* NULL: go on; else why the connection is at its end. */
static const char *take(struct h2_connection *conn, size_t n)
{
    ssize_t rc;

    conn->heard_at = ngx_current_msec;
    conn->ping_sent = false;
    rc = nghttp2_session_mem_recv(conn->session, read_buffer, n);
    if (rc < 0)
        return nghttp2_strerror((int)rc);
    if (conn->state == H2_GREETING && conn->greeted)
        return greet(conn);
    return NULL;
}

static void read_some(struct h2_connection *conn)
{
    ngx_event_t *event = conn->c->read;
    const char *reason = NULL;
    ssize_t n = 0;

    h2_post_delivery(); /* what the users then send goes out together with what nghttp2 has to */
    for (int i = 0; i < READS_AT_ONCE && !reason; i++) {
        n = conn->c->recv(conn->c, read_buffer, sizeof(read_buffer));
        if (n == NGX_AGAIN)
            break;
        reason = n > 0 ? take(conn, (size_t)n) : "it has closed the connection";
        if (n > 0 && !event->ready) {
            n = NGX_AGAIN;
            break;
        }
    }
    if (!reason && n != NGX_AGAIN) {
        ngx_post_event(event, &ngx_posted_next_events);
    } else if (!reason && ngx_handle_read_event(event, 0) != NGX_OK) {
        reason = "no event";
    }
    if (reason)
        h2_connection_close(conn, reason);
    else
        h2_connection_touch(conn);
}

static void on_read(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    struct h2_connection *conn = c->data;

    /* nginx calls like this when the worker begins to exit (ngx_close_idle_connections). */
    if (c->close && !busy(conn))
        end_idle(conn);
    else if (conn->state != H2_CONNECTING)
        read_some(conn);
    else if (!c->close)
        on_connect(conn);
}

/* ---- beginning ---- */

static void init_events(struct h2_connection *conn)
{
    ngx_connection_t *c = conn->c;

    c->data = conn;
    c->idle = 1;
    c->read->handler = on_read;
    c->write->handler = on_write;
    conn->timer.handler = on_timer;
    conn->timer.data = conn;
    conn->timer.log = c->log;
    conn->timer.cancelable = 1;
    conn->flush.handler = on_flush;
    conn->flush.data = conn;
    conn->flush.log = c->log;
}

static struct h2_connection *new_connection(struct h2_peer *peer)
{
    struct h2_connection *conn = ngx_calloc(sizeof(*conn), ngx_cycle->log);

    if (!conn)
        return NULL;
    conn->peer = peer;
    conn->heard_at = ngx_current_msec;
    ngx_queue_init(&conn->waiting);
    ngx_queue_init(&conn->open);
    buf_init(&conn->out, OUT_MAX);
    return conn;
}

struct h2_connection *h2_connection_start(struct h2_peer *peer)
{
    struct h2_connection *conn = new_connection(peer);
    ngx_peer_connection_t pc = {
        .sockaddr = peer->address->sockaddr,
        .socklen = peer->address->socklen,
        .name = &peer->address->name,
        .get = ngx_event_get_peer,
        .log = ngx_cycle->log,
        .log_error = NGX_ERROR_ERR,
        .so_keepalive = 1,
    };
    ngx_int_t rc;

    if (!conn)
        return NULL;
    rc = ngx_event_connect_peer(&pc);
    if (rc != NGX_OK && rc != NGX_AGAIN) {
        if (pc.connection)
            ngx_close_connection(pc.connection);
        ngx_free(conn);
        h2_peer_failed(peer);
        return NULL;
    }
    conn->c = pc.connection;
    init_events(conn);
    ngx_queue_insert_tail(&peer->connections, &conn->link);
    peer->n_connections++;
    ngx_add_timer(&conn->timer, h2_settings.connect_timeout);
    if (rc == NGX_OK && begin(conn) != NGX_OK) {
        h2_connection_close(conn, "out of memory");
        return NULL;
    }
    return conn;
}

bool h2_connection_has_room(struct h2_connection *conn)
{
    return conn->state == H2_OPEN && !conn->goaway &&
           conn->n_open < nghttp2_session_get_remote_settings(
                              conn->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

void h2_connection_attach(struct h2_connection *conn, struct grpc_h2_stream *s)
{
    ngx_int_t rc = NGX_OK;

    if (conn->state < H2_OPEN) {
        ngx_queue_insert_tail(&conn->waiting, &s->link);
        s->conn = conn;
        return;
    }
    if (!s->call || !h2_carrier_take(conn, s))
        rc = h2_session_submit(conn, s);
    if (rc == NGX_OK) {
        ngx_queue_insert_tail(&conn->open, &s->link);
        s->conn = conn;
        h2_connection_touch(conn);
        if (s->carrier.p && !s->carried)
            h2_carrier_begin(conn, s);
    } else if (rc == NGX_DECLINED) { /* its stream numbers are used up */
        conn->goaway = true;
        h2_connection_touch(conn);
        h2_dispatch_again(s);
    } else {
        h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
    }
}

void h2_connection_doubt(struct h2_connection *conn, ngx_msec_t sent_at)
{
    if ((ngx_msec_int_t)(conn->heard_at - sent_at) > 0 || conn->state < H2_OPEN)
        return;
    conn->goaway = true;
    h2_connection_touch(conn);
}

void grpc_h2_configure(const struct grpc_h2_settings *settings)
{
    h2_settings = *settings;
}
