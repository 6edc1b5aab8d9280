/* A session's socket. All sessions of a worker share one buffer for reading and one for writing;
 * what cannot go on is kept by the session, and then nothing more is read for it. */
#include "session.h"

#include <errno.h>
#include <stdlib.h>

#define READ_SIZE (64 << 10)
#define READS_AT_ONCE 8 /* then other connections have their turn */
#define WRITE_SIZE (64 << 10)
#define TLS_RECORD (16 << 10)
/* What waits for a client that reads slowly, before the service has to wait as well. */
#define OUT_LOW (16 << 10)

static char read_buffer[READ_SIZE];
static char write_buffer[WRITE_SIZE];

/* ---- later ---- */

void session_wants_write(struct session *s)
{
    /* What comes together goes out together. Each is several statements. */
    if (!s->upgrade && s->state != SESSION_GONE) {
        ngx_post_event(s->c->write, &ngx_posted_events);
    }
}

void session_wants_read(struct session *s)
{
    if (!s->upgrade && s->state != SESSION_GONE) {
        ngx_post_event(s->c->read, &ngx_posted_events);
    }
}

bool session_is_blocked(struct session *s)
{
    return s->state == SESSION_OPEN && (s->pongs_wait || s->carrier->is_full(s));
}

/* ---- writing ---- */

/* The client has read: those who waited for it go on. */
static void let_go_on(struct session *s)
{
    if (s->out.bytes > OUT_LOW)
        return;
    if (s->paused && s->call)
        s->carrier->resume(s);
    s->paused = false;
    if (s->pongs_wait) {
        s->pongs_wait = false;
        session_wants_read(s);
    }
}

/* Tells the client that nothing more comes, and leaves it time to hang up: closing at once, with
 * bytes of its unread, would reset the connection and take the Close frame away from it. */
static void hang_up(struct session *s)
{
    s->hung_up = true;
    if (s->c->ssl) {
        s->c->ssl->shutdown_without_free = 1;
        if (ngx_ssl_shutdown(s->c) != NGX_OK) {
            s->c->ssl->shutdown_without_free = 0;
            session_gone(s);
            return;
        }
    }
    if (ngx_shutdown_socket(s->c->fd, NGX_WRITE_SHUTDOWN) == -1)
        session_gone(s);
    session_wants_read(s);
}

/* NGX_OK: some went; NGX_AGAIN; NGX_ERROR. */
static ngx_int_t write_some(struct session *s)
{
    ngx_connection_t *c = s->c;
    size_t room = c->ssl ? TLS_RECORD : WRITE_SIZE;
    struct str next = frame_queue_peek(&s->out, write_buffer, room);
    ssize_t n = c->send(c, (u_char *)(uintptr_t)next.p, next.n);

    if (n == NGX_AGAIN)
        return NGX_AGAIN;
    if (n <= 0)
        return NGX_ERROR;
    /* nginx takes a write that was cut short for a full socket. When the rest went all the same, no
     * event would ever say that there is room. */
    if ((size_t)n == next.n)
        c->write->ready = 1;
    grpc_json_metrics_session_bytes(s->metrics, 0, (size_t)n);
    frame_queue_take(&s->out, (size_t)n);
    if (c->write->timer_set)
        ngx_del_timer(c->write);
    return NGX_OK;
}

static void write_all(struct session *s)
{
    ngx_connection_t *c = s->c;
    ngx_int_t rc = NGX_OK;

    while (s->out.count && rc == NGX_OK)
        rc = write_some(s);
    grpc_json_metrics_queued(frame_queue_waiting());
    let_go_on(s);
    if (rc == NGX_AGAIN && ngx_handle_write_event(c->write, 0) != NGX_OK)
        rc = NGX_ERROR;
    if (rc == NGX_ERROR)
        session_gone(s);
    else if (rc == NGX_AGAIN && !c->write->timer_set)
        ngx_add_timer(c->write, s->send_timeout);
    else if (rc == NGX_OK && s->state == SESSION_ENDED && !s->hung_up)
        hang_up(s);
}

void session_write(struct session *s)
{
    if (!s->upgrade && s->state != SESSION_GONE && s->c->write->ready)
        write_all(s);
}

void session_on_write(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    struct session *s = c->data;

    if (event->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT, "websocket: the client does not read");
        c->timedout = 1;
        session_gone(s);
    } else if (event->ready) {
        write_all(s);
    }
    session_settle(s);
}

/* ---- frames ---- */

static void answer_ping(struct session *s, struct str payload)
{
    struct frame *frame;

    if (s->state != SESSION_OPEN)
        return;
    frame = frame_new(WEBSOCKET_PONG, WEBSOCKET_FIN, payload);
    if (!frame || !frame_queue_push(&s->out, frame))
        session_gone(s);
    frame_release(frame);
    s->pongs_wait = s->out.bytes > OUT_LOW;
    session_wants_write(s);
}

static void take_event(struct session *s, const struct websocket_event *event)
{
    switch (event->opcode) {
    case WEBSOCKET_TEXT:
    case WEBSOCKET_BINARY:
        if (s->state == SESSION_OPEN)
            session_take_message(s, event->opcode, event->payload);
        break;
    case WEBSOCKET_PING:
        answer_ping(s, event->payload);
        break;
    case WEBSOCKET_CLOSE:
        session_left(s, event->code);
        break;
    default:
        break;
    }
}

/* The connection cannot be understood any more (RFC 6455 section 7.1.7). */
static void fail(struct session *s, const struct websocket_event *event)
{
    ngx_log_error(NGX_LOG_INFO, s->c->log, 0, "websocket: closed with %ui: %*s",
                  (ngx_uint_t)event->code, event->payload.n, event->payload.p);
    if (s->state == SESSION_OPEN)
        session_close(s, event->code, event->payload);
    if (s->state != SESSION_GONE)
        session_ended(s);
}

/* Reads frames until the session wants no more. */
static void take_input(struct session *s, struct websocket_input *in)
{
    struct websocket_event event;
    int rc = 1;

    while (rc == 1 && !session_is_blocked(s) &&
           (s->state == SESSION_OPEN || s->state == SESSION_CLOSING)) {
        rc = websocket_read(&s->reader, in, &event);
        if (rc == 1)
            take_event(s, &event);
        else if (rc < 0)
            fail(s, &event);
    }
    if (s->state != SESSION_OPEN && s->state != SESSION_CLOSING)
        in->n = 0;
}

/* ---- memory ---- */

static size_t held_by_all;

size_t grpc_json_websocket_held(void)
{
    return held_by_all;
}

void session_count(struct session *s)
{
    size_t now = s->reader.bytes.cap + s->held.n;

    held_by_all = held_by_all - s->counted + now;
    s->counted = (uint32_t)now; /* a message and what was read at once */
}

/* The session that asks for more ends: no other one's message is lost for it. */
static void limit_memory(struct session *s)
{
    size_t before = s->counted;

    session_count(s);
    if (s->counted <= before || held_by_all <= s->conf->websocket.memory ||
        s->state == SESSION_GONE)
        return;
    ngx_log_error(NGX_LOG_WARN, s->c->log, 0,
                  "grpc_json_websocket_memory: %uz bytes of messages that are not whole",
                  held_by_all);
    if (s->state == SESSION_OPEN)
        session_close(s, WEBSOCKET_TRY_LATER, STR("the server has too much to remember"));
    if (s->state != SESSION_GONE)
        session_ended(s);
}

/* ---- reading ---- */

int session_hold(struct session *s, const void *p, size_t n)
{
    char *copy = n ? malloc(n) : NULL;

    if (!n)
        return 0;
    if (!copy)
        return -ENOMEM;
    memcpy(copy, p, n);
    s->held = (struct str){copy, n};
    s->held_at = 0;
    return 0;
}

/* Goes on with input that has waited, if there is any. */
static void take_held(struct session *s)
{
    struct str rest = str_skip(s->held, s->held_at);
    struct websocket_input in = {(char *)(uintptr_t)rest.p, rest.n};

    /* Without any as well: the reader gives back the memory of a message that has been taken. */
    take_input(s, &in);
    s->held_at = s->held.n - in.n;
    if (in.n == 0) {
        free((void *)(uintptr_t)s->held.p);
        s->held = STR_NULL;
        s->held_at = 0;
    }
    limit_memory(s);
}

static void take_bytes(struct session *s, size_t n)
{
    struct websocket_input in = {read_buffer, n};

    grpc_json_metrics_session_bytes(s->metrics, n, 0);
    s->heard_at = ngx_current_msec;
    s->ping_sent = false;
    take_input(s, &in);
    if (in.n && session_hold(s, in.p, in.n))
        session_gone(s);
    limit_memory(s);
}

static bool wants_input(struct session *s)
{
    return s->state != SESSION_GONE && !s->held.p && !session_is_blocked(s);
}

/* While nothing is read, a client that has reset the connection is noticed here. */
static bool is_reset(ngx_connection_t *c)
{
    int error = 0;
    socklen_t size = sizeof(error);

    return c->read->pending_eof &&
           (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) == -1 || error);
}

static void read_some(struct session *s)
{
    ngx_connection_t *c = s->c;
    ssize_t n = NGX_AGAIN;

    take_held(s);
    for (int i = 0; i < READS_AT_ONCE && wants_input(s); i++) {
        n = c->recv(c, (u_char *)read_buffer, sizeof(read_buffer));
        if (n == NGX_AGAIN)
            break;
        if (n <= 0) {
            session_gone(s); /* without a Close, or after all */
            return;
        }
        take_bytes(s, (size_t)n);
    }
    if (!wants_input(s)) {
        if (is_reset(c))
            session_gone(s);
    } else if (n != NGX_AGAIN) {
        ngx_post_event(c->read, &ngx_posted_next_events);
    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        session_gone(s);
    }
}

void session_on_read(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    struct session *s = c->data;

    if (c->close && c->error) {
        session_gone(s); /* worker_shutdown_timeout */
    } else if (c->close) {
        /* The worker ends. nginx says so outside of its event loop, where nothing is posted. */
        c->close = 0;
        if (s->state == SESSION_OPEN)
            session_close(s, WEBSOCKET_GOING_AWAY, STR("the server restarts"));
        session_write(s);
    } else if (event->timedout) {
        event->timedout = 0;
        session_on_timer(s);
    } else {
        read_some(s);
    }
    session_settle(s);
}
