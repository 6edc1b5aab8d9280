/* nghttp2's side of a connection: its options, and its callbacks, which find the stream and note
 * what has happened. */
#include "h2_internal.h"

#include <errno.h>

/* As long as the service has not said how many streams it takes. */
#define STREAMS_BEFORE_SETTINGS 100

static struct grpc_h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* ---- what arrives ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *data)
{
    struct grpc_h2_stream *s = stream_of(session, frame->hd.stream_id);

    (void)flags;
    (void)data;
    if (s)
        h2_stream_header(s, (struct str){(const char *)name, name_size},
                         (struct str){(const char *)value, value_size});
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *data)
{
    struct grpc_h2_stream *s = stream_of(session, id);

    (void)flags;
    (void)data;
    /* The connection's window is given back at once: a paused stream must not stop the others. */
    if (nghttp2_session_consume_connection(session, n))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (s)
        h2_stream_data(s, p, n);
    return 0;
}

static void tell_going(struct h2_connection *conn)
{
    for (ngx_queue_t *q = ngx_queue_head(&conn->open); q != &conn->open; q = ngx_queue_next(q))
        h2_stream_going(ngx_queue_data(q, struct grpc_h2_stream, link));
}

static void on_goaway(struct h2_connection *conn, const nghttp2_goaway *goaway)
{
    if (!conn->goaway)
        tell_going(conn);
    conn->goaway = true;
    if (goaway->error_code != NGHTTP2_NO_ERROR)
        ngx_log_error(NGX_LOG_WARN, conn->c->log, 0, "gRPC server %V sent GOAWAY: %s, \"%*s\"",
                      &conn->peer->address->name, nghttp2_http2_strerror(goaway->error_code),
                      ngx_min(goaway->opaque_data_len, 80), goaway->opaque_data);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct h2_connection *conn = data;
    struct grpc_h2_stream *s;
    bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        conn->greeted = true;
        break;
    case NGHTTP2_GOAWAY:
        on_goaway(conn, &frame->goaway);
        break;
    case NGHTTP2_HEADERS:
        s = stream_of(session, frame->hd.stream_id);
        if (s)
            h2_stream_headers(s, last);
        break;
    case NGHTTP2_DATA:
        s = stream_of(session, frame->hd.stream_id);
        if (s && last)
            h2_stream_finish(s);
        break;
    default:
        break;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *data)
{
    struct h2_connection *conn = data;
    struct grpc_h2_stream *s = stream_of(session, id);

    conn->n_open--;
    if (s)
        h2_stream_closed(s, error);
    h2_connection_touch(conn);
    return 0;
}

/* ---- what goes out ---- */

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
                       nghttp2_data_source *source, void *data)
{
    /* Not by source: the stream may be gone while nghttp2 still has its id. */
    struct grpc_h2_stream *s = stream_of(session, id);
    bool end = false;
    size_t size;

    (void)source;
    (void)data;
    if (!s)
        return NGHTTP2_ERR_DEFERRED;
    size = h2_stream_read(s, to, n, &end);
    if (end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (size == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)size;
}

ngx_int_t h2_session_submit(struct h2_connection *conn, struct grpc_h2_stream *s)
{
    const nghttp2_data_provider provider = {.read_callback = on_read};
    int32_t id = nghttp2_submit_request(conn->session, NULL, s->request->headers, s->request->n,
                                        &provider, s);

    if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
        return NGX_DECLINED;
    if (id < 0)
        return NGX_ERROR;
    s->id = id;
    s->turn = conn->turn;
    s->sent_at = ngx_current_msec;
    conn->n_open++;
    return NGX_OK;
}

void h2_session_widen(struct h2_connection *conn, const struct grpc_h2_stream *s, int32_t window)
{
    if (nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, s->id, window))
        conn->broken = true;
    h2_connection_touch(conn);
}

/* ---- the session ---- */

static nghttp2_session *new_session(struct h2_connection *conn)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option = NULL;
    nghttp2_session *session = NULL;

    if (nghttp2_session_callbacks_new(&callbacks))
        return NULL;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    if (nghttp2_option_new(&option) == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_peer_max_concurrent_streams(option, STREAMS_BEFORE_SETTINGS);
        if (nghttp2_session_client_new2(&session, callbacks, conn, option))
            session = NULL;
        nghttp2_option_del(option);
    }
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

ngx_int_t h2_session_start(struct h2_connection *conn)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, RPC_RESULT_MAX},
    };

    conn->session = new_session(conn);
    if (!conn->session)
        return NGX_ERROR;
    if (nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings)) ||
        nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
                                              H2_CONNECTION_WINDOW))
        return NGX_ERROR;
    return NGX_OK;
}
