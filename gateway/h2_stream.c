/* A stream as its user sees it. What nghttp2 reports is noted; users hear of it from one posted
 * event, stream by stream, so that they may do anything in a callback. */
#include "h2_internal.h"

#include "grpc/carry_wire.h"

#include <errno.h>

#define HIGH_WATER (64 << 10) /* queued bytes at which grpc_h2_send() says NGX_AGAIN */
#define LOW_WATER (16 << 10)
#define OUT_MAX (64 << 20) /* of a user who does not listen */
#define KEPT 4096          /* a larger queue is given back when it is empty */
#define CARRIER_KEPT \
    (64 << 10) /* there is one for each connection, and it is in use all the time */
/* ms that the service's own DEADLINE_EXCEEDED has time to arrive. */
#define DEADLINE_GRACE 500
#define TIMEOUT_MAX 86400000 /* ms of a call without a time limit: nothing lasts for ever */

static ngx_queue_t all = {&all, &all};
static ngx_queue_t ready = {&ready, &ready};
static ngx_uint_t count;
static ngx_event_t delivery;
static bool delivering;

/* ---- to the user, from the event loop ---- */

static void free_stream(struct grpc_h2_stream *s)
{
    if (s->is_ready) { /* several statements */
        ngx_queue_remove(&s->ready);
    }
    if (s->deadline.timer_set)
        ngx_del_timer(&s->deadline);
    h2_peer_release(s, s->failed ? NGX_PEER_FAILED : 0);
    ngx_queue_remove(&s->all);
    count--;
    rpc_reader_free(&s->reader);
    rpc_result_free(&s->result);
    buf_free(&s->out);
    ngx_free(s->request);
    ngx_free(s->choice_tried);
    ngx_free(s);
}

/* What came cannot be read. The end may have come with it; what the service says in it of a success
 * is then not so. */
static void fail_reading(struct grpc_h2_stream *s, int code, const char *reason)
{
    rpc_reader_free(&s->reader);
    if (s->finished && s->code == RPC_OK) {
        s->code = code;
        s->reason = reason;
    } else {
        h2_stream_fail(s, code, reason);
    }
}

static void deliver_message(struct grpc_h2_stream *s, struct str message)
{
    s->paused = true; /* so that the callback may call grpc_h2_resume() and return false */
    if (s->callbacks->message(s->data, message))
        s->paused = false;
}

static void deliver_messages(struct grpc_h2_stream *s)
{
    struct str message;
    int rc = 0;

    while (!s->paused && !s->cancelled && (rc = rpc_reader_next(&s->reader, &message)) > 0)
        deliver_message(s, message);
    if (rc == -EMSGSIZE)
        fail_reading(s, RPC_RESOURCE_EXHAUSTED, "the message is larger than the limit");
    else if (rc < 0)
        fail_reading(s, RPC_INTERNAL, "the message is compressed, which was not offered");
    if (!s->paused && s->conn && s->unconsumed) {
        if (nghttp2_session_consume_stream(s->conn->session, s->id, s->unconsumed))
            s->conn->broken = true;
        s->unconsumed = 0;
        h2_connection_touch(s->conn);
    }
}

static void tell_end(struct grpc_h2_stream *s)
{
    struct grpc_h2_end end = {
        .status = s->code,
        .from_upstream = s->from_upstream,
        .by_status = s->from_upstream && !s->reason,
        .http_status = s->result.http_status,
    };
    struct arena arena;

    arena_init(&arena, 0);
    if (s->reason) {
        end.message = str_of(s->reason);
    } else if (s->result.decoded) {
        end.message = s->result.message;
        end.details = s->result.details;
    } else {
        int rc = 0;

        if (s->result.message.n)
            end.message = rpc_percent_decode(&arena, s->result.message);
        if (s->result.details.n)
            rc = rpc_base64_decode(&arena, s->result.details, &end.details);
        /* Of damaged ones the code stands; without memory nobody knows what they say of it. */
        if (rc == -ENOMEM)
            end = (struct grpc_h2_end){.status = RPC_RESOURCE_EXHAUSTED,
                                       .message = STR("out of memory")};
    }
    s->callbacks->ended(s->data, &end);
    arena_free(&arena);
}

/* Whether the end can be told: nothing comes before it. */
static bool at_end(struct grpc_h2_stream *s)
{
    if (!s->finished || s->cancelled)
        return false;
    if (s->paused && rpc_reader_left(&s->reader) > 0)
        return false;
    if (rpc_reader_left(&s->reader) > 0 && s->code == RPC_OK) {
        s->code = RPC_INTERNAL;
        s->reason = "the last message is incomplete";
    }
    return true;
}

static void deliver(struct grpc_h2_stream *s)
{
    s->delivering = true;
    if (s->again && !s->finished) {
        h2_peer_release(s, s->failed ? NGX_PEER_FAILED : 0);
        s->again = s->failed = false;
        h2_dispatch(s);
    }
    if (s->open_due && !s->cancelled) {
        s->open_due = false;
        s->callbacks->opened(s->data);
    }
    deliver_messages(s);
    if (s->going_due && !s->cancelled && !s->finished) {
        s->going_due = false;
        if (s->callbacks->going)
            s->callbacks->going(s->data);
    }
    if (s->writable_due && !s->cancelled && !s->finished) {
        s->writable_due = false;
        s->callbacks->writable(s->data);
    }
    if (at_end(s)) {
        tell_end(s);
        s->cancelled = true;
    }
    s->delivering = false;
    if (s->cancelled)
        free_stream(s);
}

static void on_delivery(ngx_event_t *event)
{
    ngx_queue_t now = {&now, &now};
    struct grpc_h2_stream *s;

    (void)event;
    /* What becomes ready meanwhile waits for the next turn, or a user who opens a stream whenever
     * one has ended could keep us here. */
    if (!ngx_queue_empty(&ready)) { /* several statements */
        ngx_queue_add(&now, &ready);
    }
    ngx_queue_init(&ready);
    delivering = true;
    while (!ngx_queue_empty(&now)) {
        s = ngx_queue_data(ngx_queue_head(&now), struct grpc_h2_stream, ready);
        ngx_queue_remove(&s->ready);
        s->is_ready = false;
        deliver(s);
    }
    delivering = false;
}

void h2_post_delivery(void)
{
    delivery.handler = on_delivery;
    delivery.log = ngx_cycle->log;
    ngx_post_event(&delivery, delivering ? &ngx_posted_next_events : &ngx_posted_events);
}

static void make_ready(struct grpc_h2_stream *s)
{
    h2_post_delivery();
    if (s->is_ready)
        return;
    s->is_ready = true;
    ngx_queue_insert_tail(&ready, &s->ready);
}

/* ---- from nghttp2 ---- */

/* Nothing of the connection's concerns this stream any more. */
static void detach(struct grpc_h2_stream *s)
{
    if (!s->conn)
        return;
    if (s->carried)
        h2_carrier_forget(s->conn, s, false);
    if (s->id)
        nghttp2_session_set_stream_user_data(s->conn->session, s->id, NULL);
    ngx_queue_remove(&s->link);
    h2_connection_touch(s->conn);
    s->conn = NULL;
    s->id = 0;
}

/* A stream that the service was not told of would go on there: better none of the connection. */
static void reset(struct grpc_h2_stream *s, uint32_t error)
{
    if (s->conn && s->carried) {
        h2_carrier_forget(s->conn, s, error == NGHTTP2_CANCEL);
        return;
    }
    if (s->conn && s->id &&
        nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, error))
        s->conn->broken = true;
}

static void end(struct grpc_h2_stream *s, int code, bool from_upstream, const char *reason)
{
    s->finished = true;
    s->code = code;
    s->from_upstream = from_upstream;
    s->reason = reason;
    detach(s);
    buf_free(&s->out);
}

static void finish(struct grpc_h2_stream *s, int code, bool from_upstream, const char *reason)
{
    if (s->finished)
        return;
    end(s, code, from_upstream, reason);
    make_ready(s);
}

void h2_stream_fail(struct grpc_h2_stream *s, int code, const char *reason)
{
    reset(s, NGHTTP2_CANCEL);
    finish(s, code, false, reason);
}

void h2_stream_finish(struct grpc_h2_stream *s)
{
    int code = rpc_result_code(&s->result);

    /* A server that has answered takes no more; unless we are done as well, it has to be told. */
    reset(s, NGHTTP2_NO_ERROR);
    finish(s, code, true, s->result.code >= 0 ? NULL : "the service ended without a status");
}

static void tell_header(struct grpc_h2_stream *s, struct str name, struct str value)
{
    /* Before the status, and with one of 1xx, it is not about the answer. */
    if (s->finished || s->result.http_status == 0 || !s->callbacks->metadata)
        return;
    if (!s->callbacks->metadata(s->data, name, value, s->headers_came))
        h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

void h2_stream_header(struct grpc_h2_stream *s, struct str name, struct str value)
{
    int rc = rpc_result_add(&s->result, name, value);

    if (rc == -EBADMSG)
        h2_stream_fail(s, RPC_INTERNAL, "the service's headers are broken");
    else if (rc)
        h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "the service's headers are too large");
    else
        tell_header(s, name, value);
}

/* It goes elsewhere, from the event loop. */
static void send_again(struct grpc_h2_stream *s)
{
    detach(s);
    s->id = 0;
    s->out_at = 0;
    s->sent = false;
    s->again = true;
    make_ready(s);
}

/* Whether the service has refused a call, in its only headers, so that another one may have it: it
 * says that nothing was done, or the call may be repeated. CANCELLED is what gRPC's C core says of
 * a call that comes while it is shut down: nobody here has cancelled. */
static bool is_refused(const struct grpc_h2_stream *s)
{
    int code = s->result.code;

    /* One of the tries is not for another server, but for a new connection to the same. */
    if (!s->call || s->tries <= 1)
        return false;
    if (code == RPC_UNAVAILABLE && s->result.untouched)
        return true;
    return s->idempotent && (code == RPC_UNAVAILABLE || code == RPC_CANCELLED);
}

static void take_headers(struct grpc_h2_stream *s, bool last)
{
    if (s->result.http_status == 0)
        return; /* 1xx: the real ones follow */
    if (!s->headers_came && last && is_refused(s)) {
        reset(s, NGHTTP2_NO_ERROR);
        rpc_result_free(&s->result);
        rpc_result_init(&s->result);
        send_again(s);
        return;
    }
    if (!s->headers_came) {
        s->headers_came = true;
        ngx_free(s->request);
        s->request = NULL;
        if (s->call && s->out_at == s->out.n) {
            buf_free(&s->out);
            s->out_at = 0;
        }
        if (s->result.code < 0 && (s->result.http_status != 200 || !s->result.is_grpc)) {
            reset(s, NGHTTP2_CANCEL);
            finish(s, rpc_code_of_http(s->result.http_status), true, "not an answer of gRPC");
            return;
        }
        s->open_due = !last;
    }
    if (last)
        h2_stream_finish(s);
}

void h2_stream_headers(struct grpc_h2_stream *s, bool last)
{
    take_headers(s, last);
    make_ready(s);
}

void h2_stream_data(struct grpc_h2_stream *s, const void *p, size_t n)
{
    s->unconsumed += n;
    if (rpc_reader_add(&s->reader, p, n))
        h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
    make_ready(s);
}

/* As nghttp2 has seen to it for what comes by itself. */
static bool is_header(struct str name, struct str value)
{
    return nghttp2_check_header_name((const uint8_t *)name.p, name.n) &&
           nghttp2_check_header_value((const uint8_t *)value.p, value.n);
}

/* The metadata of a carried call's answer that is (not) trailing. */
static bool answer_metadata(struct grpc_h2_stream *s, const struct carry_answer *answer,
                            bool trailing)
{
    struct schema_reader r = schema_reader_of(answer->item);
    struct carry_metadata m;

    while (!s->finished && carry_next_metadata(&r, &m) == 1) {
        if (!is_header(m.name, m.value) || m.name.p[0] == ':')
            h2_stream_fail(s, RPC_INTERNAL, "the service's headers are broken");
        else if (m.trailing == trailing)
            h2_stream_header(s, m.name, m.value);
    }
    return !s->finished;
}

/* As the headers of a call of its own would be. Of an error they are all in one place. */
static bool answer_headers(struct grpc_h2_stream *s, const struct carry_answer *answer, bool last)
{
    s->result.http_status = NGX_HTTP_OK;
    s->result.is_grpc = true;
    if (!answer_metadata(s, answer, false) || (last && !answer_metadata(s, answer, true)))
        return false;
    take_headers(s, last);
    return !s->finished && !s->again;
}

/* The first piece of several: what comes are then the bytes of a stream of its own. */
static bool answer_begins(struct grpc_h2_stream *s, const struct carry_answer *answer)
{
    unsigned char prefix[RPC_PREFIX_SIZE];
    size_t size = answer->size ? answer->size : answer->message.n;

    if (size > UINT32_MAX) {
        h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "the message is larger than the limit");
        return false;
    }
    rpc_prefix_write(prefix, (uint32_t)size);
    if (rpc_reader_add(&s->reader, prefix, sizeof(prefix)) == 0)
        return true;
    h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
    return false;
}

static bool is_whole(const struct grpc_h2_stream *s, const struct carry_answer *answer)
{
    return answer->ended && answer->message.n <= s->reader.max &&
           (answer->size == 0 || answer->size == answer->message.n);
}

/* A whole answer. What its carrier has to tell is being delivered, so the user may hear at once,
 * while the carrier's bytes are there: none is copied, and the event loop need not come round. */
static void deliver_answer(struct grpc_h2_stream *s, struct str message)
{
    reset(s, NGHTTP2_NO_ERROR);
    end(s, RPC_OK, true, NULL);
    s->delivering = true;
    s->callbacks->opened(s->data);
    if (!s->cancelled)
        deliver_message(s, message.p ? message : STR(""));
    if (!s->cancelled)
        tell_end(s);
    free_stream(s);
}

void h2_stream_answer(struct grpc_h2_stream *s, const struct carry_answer *answer)
{
    bool first = !s->headers_came, last = answer->ended && answer->code != RPC_OK;

    if (answer->ended && (answer->code < RPC_OK || answer->code > RPC_UNAUTHENTICATED))
        h2_stream_fail(s, RPC_INTERNAL, "the service's headers are broken");
    else if (answer->ended &&
             rpc_result_end(&s->result, answer->code, answer->text, answer->details))
        h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
    if (s->finished || (first && !answer_headers(s, answer, last)))
        return;
    if (first && is_whole(s, answer)) {
        if (answer_metadata(s, answer, true))
            deliver_answer(s, answer->message);
        return;
    }
    if (first && !answer_begins(s, answer))
        return;
    if (rpc_reader_add(&s->reader, answer->message.p, answer->message.n))
        h2_stream_fail(s, RPC_RESOURCE_EXHAUSTED, "out of memory");
    if (answer->ended && !s->finished && answer_metadata(s, answer, true))
        h2_stream_finish(s);
    make_ready(s);
}

void h2_stream_closed(struct grpc_h2_stream *s, uint32_t error)
{
    if (error == NGHTTP2_REFUSED_STREAM && !s->headers_came && (s->call || !s->sent) &&
        s->tries > 0) {
        send_again(s);
        return;
    }
    /* What was refused has not been seen by the service. */
    finish(s, rpc_code_of_reset(error), error != NGHTTP2_REFUSED_STREAM,
           error == NGHTTP2_REFUSED_STREAM ? "the service refuses the stream"
                                           : "the service has reset the stream");
}

void h2_stream_going(struct grpc_h2_stream *s)
{
    s->going_due = true;
    make_ready(s);
}

void h2_stream_lost(struct grpc_h2_stream *s, bool unsent)
{
    s->id = 0;
    s->failed = s->call;
    if (s->call && (s->idempotent || unsent) && !s->headers_came && s->tries > 0)
        send_again(s);
    else
        finish(s, RPC_UNAVAILABLE, false, "the connection to the service was lost");
}

size_t h2_stream_read(struct grpc_h2_stream *s, uint8_t *to, size_t n, bool *ret_end)
{
    size_t left = s->out.n - s->out_at;

    n = ngx_min(n, left);
    if (n) {
        ngx_memcpy(to, s->out.p + s->out_at, n);
        s->out_at += n;
        s->sent = true;
        left -= n;
    }
    if (left == 0 && !s->call) {
        s->out.n = s->out_at = 0;
        if (s->out.cap > s->reader.kept)
            buf_free(&s->out);
    }
    if (s->blocked && left < LOW_WATER) {
        s->blocked = false;
        s->writable_due = true;
        make_ready(s);
    }
    *ret_end = left == 0 && s->half_closed;
    return n;
}

/* ---- opening ---- */

static void put_header(struct h2_request *request, struct str name, struct str value)
{
    request->headers[request->n++] = (nghttp2_nv){
        .name = (uint8_t *)name.p,
        .value = (uint8_t *)value.p,
        .namelen = name.n,
        .valuelen = value.n,
    };
}

/* The headers point into one block behind them. */
static void own_headers(struct h2_request *request, u_char *block)
{
    for (size_t i = 0; i < request->n; i++) {
        nghttp2_nv *header = &request->headers[i];
        u_char *value = ngx_cpymem(block, header->name, header->namelen);

        header->name = block;
        block = ngx_cpymem(value, header->value, header->valuelen);
        header->value = value;
    }
}

static bool valid(const struct grpc_h2_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_header(headers[i].name, headers[i].value))
            return false;
    }
    return true;
}

/* A socket's path is no name. */
static struct str authority(const ngx_http_upstream_srv_conf_t *upstream)
{
    struct str host = {(const char *)upstream->host.data, upstream->host.len};

    return host.n == 0 || str_starts(host, STR("unix:")) ? STR("localhost") : host;
}

#define OWN_HEADERS 7

static struct h2_request *make_request(const ngx_http_upstream_srv_conf_t *upstream,
                                       struct str path, const struct grpc_h2_header *headers,
                                       size_t n, ngx_msec_t timeout, ngx_log_t *log)
{
    size_t table = sizeof(struct h2_request) + (n + OWN_HEADERS) * sizeof(nghttp2_nv);
    size_t size = 256 + upstream->host.len + path.n;
    struct h2_request *request;
    char text[RPC_TIMEOUT_SIZE];

    for (size_t i = 0; i < n; i++)
        size += headers[i].name.n + headers[i].value.n;
    request = ngx_alloc(table + size, log);
    if (!request)
        return NULL;
    request->n = 0;
    request->path = path;
    request->size = size;
    put_header(request, STR(":method"), STR("POST"));
    put_header(request, STR(":scheme"), STR("http"));
    put_header(request, STR(":path"), path);
    put_header(request, STR(":authority"), authority(upstream));
    put_header(request, STR("te"), STR("trailers"));
    put_header(request, STR("content-type"), STR("application/grpc"));
    if (timeout)
        put_header(request, STR("grpc-timeout"),
                   (struct str){text, rpc_timeout_write(text, timeout)});
    request->own = request->n;
    for (size_t i = 0; i < n; i++)
        put_header(request, headers[i].name, headers[i].value);
    own_headers(request, (u_char *)request + table);
    return request;
}

static void on_deadline(ngx_event_t *event)
{
    struct grpc_h2_stream *s = event->data;

    if (s->call && !s->headers_came) {
        s->failed = true;
        if (s->conn)
            h2_connection_doubt(s->conn, s->sent_at);
    }
    h2_stream_fail(s, RPC_DEADLINE_EXCEEDED, "the service did not answer in time");
}

static struct grpc_h2_stream *new_stream(size_t max_message,
                                         const struct grpc_h2_callbacks *callbacks, void *data,
                                         ngx_log_t *log)
{
    struct grpc_h2_stream *s = ngx_calloc(sizeof(*s), log);

    if (!s)
        return NULL;
    rpc_reader_init(&s->reader, max_message, H2_STREAM_WINDOW, KEPT);
    rpc_result_init(&s->result);
    buf_init(&s->out, OUT_MAX);
    s->callbacks = callbacks;
    s->data = data;
    s->deadline.handler = on_deadline;
    s->deadline.data = s;
    s->deadline.log = ngx_cycle->log;
    s->deadline.cancelable = 1;
    ngx_queue_insert_tail(&all, &s->all);
    count++;
    return s;
}

static void begin(struct grpc_h2_stream *s, const struct grpc_h2_header *headers, size_t n)
{
    if (s->suits || valid(headers, n))
        h2_dispatch(s);
    else
        h2_stream_fail(s, RPC_INVALID_ARGUMENT, "a header has bytes that HTTP does not allow");
}

struct grpc_h2_stream *grpc_h2_open(ngx_http_upstream_srv_conf_t *upstream, struct str path,
                                    const struct grpc_h2_header *headers, size_t n,
                                    ngx_msec_t timeout_ms, size_t max_message,
                                    const struct grpc_h2_callbacks *callbacks, void *data,
                                    ngx_log_t *log)
{
    struct grpc_h2_stream *s = new_stream(max_message, callbacks, data, log);

    if (!s)
        return NULL;
    s->upstream = upstream;
    s->request = make_request(upstream, path, headers, n, timeout_ms, log);
    if (!s->request || !h2_choice_init(&s->choice, upstream, &s->choice_tried, &s->tries)) {
        free_stream(s);
        return NULL;
    }
    if (timeout_ms)
        ngx_add_timer(&s->deadline, timeout_ms + DEADLINE_GRACE);
    begin(s, headers, n);
    return s;
}

struct grpc_h2_stream *grpc_h2_call(const struct grpc_h2_call *call,
                                    const struct grpc_h2_callbacks *callbacks, void *data,
                                    ngx_log_t *log)
{
    struct grpc_h2_stream *s = new_stream(call->max_message, callbacks, data, log);

    if (!s)
        return NULL;
    s->upstream = call->upstream;
    s->call = s->half_closed = true;
    s->idempotent = call->idempotent;
    s->carrier = call->carrier;
    s->timeout = call->timeout;
    s->request =
        make_request(call->upstream, call->path, call->headers, call->n, call->timeout, log);
    buf_append_str(&s->out, call->frame);
    if (!s->request || s->out.failed ||
        !h2_choice_init(&s->choice, call->upstream, &s->choice_tried, &s->tries)) {
        free_stream(s);
        return NULL;
    }
    s->suits = s->carrier.p && h2_carrier_suits(s->request);
    s->deadline.cancelable = !call->keeps_worker;
    if (call->timeout || call->keeps_worker)
        ngx_add_timer(&s->deadline, call->timeout ? call->timeout + DEADLINE_GRACE : TIMEOUT_MAX);
    begin(s, call->headers, call->n);
    return s;
}

struct grpc_h2_stream *grpc_h2_open_at(const struct grpc_h2_server *server, struct str path,
                                       size_t max_message,
                                       const struct grpc_h2_callbacks *callbacks, void *data,
                                       ngx_log_t *log)
{
    struct grpc_h2_stream *s = new_stream(max_message, callbacks, data, log);

    if (!s)
        return NULL;
    s->upstream = server->upstream;
    s->wanted = server->address;
    s->tries = 1;
    s->request = make_request(server->upstream, path, NULL, 0, 0, log);
    if (!s->request) {
        free_stream(s);
        return NULL;
    }
    h2_dispatch(s);
    return s;
}

struct grpc_h2_stream *h2_stream_open_on(struct h2_connection *conn,
                                         ngx_http_upstream_srv_conf_t *upstream, struct str path,
                                         size_t max_message,
                                         const struct grpc_h2_callbacks *callbacks, void *data)
{
    struct grpc_h2_stream *s = new_stream(max_message, callbacks, data, ngx_cycle->log);

    if (!s)
        return NULL;
    s->upstream = upstream;
    rpc_reader_init(&s->reader, max_message, H2_CARRIER_WINDOW, CARRIER_KEPT);
    s->request = make_request(upstream, path, NULL, 0, 0, ngx_cycle->log);
    if (!s->request || h2_session_submit(conn, s) != NGX_OK) {
        free_stream(s);
        return NULL;
    }
    ngx_queue_insert_tail(&conn->open, &s->link);
    s->conn = conn;
    h2_connection_touch(conn);
    return s;
}

/* ---- from the user ---- */

/* nghttp2 asks for more only when it is told that there is some. */
static void resume_data(struct grpc_h2_stream *s)
{
    if (!s->conn || !s->id)
        return;
    /* An error that is not fatal says that the stream was not waiting for data. */
    if (nghttp2_is_fatal(nghttp2_session_resume_data(s->conn->session, s->id)))
        s->conn->broken = true;
    h2_connection_touch(s->conn);
}

ngx_int_t grpc_h2_send(struct grpc_h2_stream *s, struct str message)
{
    unsigned char prefix[RPC_PREFIX_SIZE];

    if (s->finished || s->half_closed)
        return NGX_DECLINED;
    if (message.n > UINT32_MAX)
        return NGX_ERROR;
    if (s->out_at > s->out.n / 2) {
        memmove(s->out.p, s->out.p + s->out_at, s->out.n - s->out_at);
        s->out.n -= s->out_at;
        s->out_at = 0;
    }
    if (!buf_reserve(&s->out, sizeof(prefix) + message.n)) {
        s->out.failed = s->out.no_memory = false; /* nothing was added: what waits is still whole */
        return NGX_ERROR;
    }
    rpc_prefix_write(prefix, (uint32_t)message.n);
    buf_append(&s->out, prefix, sizeof(prefix));
    buf_append_str(&s->out, message);
    resume_data(s);
    if (s->out.n - s->out_at < HIGH_WATER)
        return NGX_OK;
    s->blocked = true;
    return NGX_AGAIN;
}

void grpc_h2_half_close(struct grpc_h2_stream *s)
{
    if (s->half_closed || s->finished)
        return;
    s->half_closed = true;
    resume_data(s);
}

void grpc_h2_resume(struct grpc_h2_stream *s)
{
    s->paused = false;
    make_ready(s);
}

void grpc_h2_cancel(struct grpc_h2_stream *s)
{
    reset(s, NGHTTP2_CANCEL);
    detach(s);
    s->cancelled = true;
    if (!s->delivering)
        free_stream(s);
}

/* ---- all of them ---- */

ngx_uint_t h2_streams_count(void)
{
    return count;
}

void grpc_h2_shutdown(ngx_cycle_t *cycle)
{
    (void)cycle;
    h2_peers_free_carriers();
    while (!ngx_queue_empty(&all)) {
        struct grpc_h2_stream *s = ngx_queue_data(ngx_queue_head(&all), struct grpc_h2_stream, all);

        detach(s);
        free_stream(s);
    }
    h2_peers_shutdown();
    if (delivery.posted) { /* several statements */
        ngx_delete_posted_event(&delivery);
    }
}
