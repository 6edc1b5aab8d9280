/* What the files behind h2.h share.
 *
 *   h2_stream.c      a stream as its user sees it: queues, callbacks, the end
 *   h2_peer.c        which server of the upstream, which of its connections, when to try again
 *   h2_connection.c  a connection: connecting, reading, writing, pings, closing
 *   h2_session.c     nghttp2's callbacks, from frames to streams and back
 *
 * A stream is attached to at most one connection: first in `waiting`, then, with an id, in `open`.
 * It is detached as soon as its end is known; what its user has yet to hear waits in the stream.
 * nghttp2's callbacks only note things; whatever may end a connection happens after they returned.
 */
#ifndef STOA_GATEWAY_H2_INTERNAL_H
#define STOA_GATEWAY_H2_INTERNAL_H

#include "h2.h"
#include "rpc_stream.h"

#include <nghttp2/nghttp2.h>

#define H2_STREAM_WINDOW 65535         /* bytes of a paused stream that wait at most */
#define H2_CONNECTION_WINDOW (1 << 20) /* paused streams do not use it up */
/* Of a stream that is never paused: the answers to several groups of calls do not wait for us. */
#define H2_CARRIER_WINDOW (256 << 10)

/* ---- peers (h2_peer.c) ---- */

/* A server of an upstream, as this worker knows it. Lives as long as the worker. */
struct h2_peer {
    struct h2_peer *next;                 /* of all */
    ngx_http_upstream_rr_peer_t *address; /* of the configuration */
    ngx_queue_t connections;
    ngx_uint_t n_connections;
    ngx_uint_t failures; /* to connect, since it last worked */
    ngx_msec_t retry_at; /* no attempt before; when failures > 0 */
};

/* Room for a choice among an upstream's servers. *ret_tried: set when it has to be freed.
 * *ret_tries: how often one may be chosen. false without memory. */
bool h2_choice_init(ngx_http_upstream_rr_peer_data_t *choice,
                    ngx_http_upstream_srv_conf_t *upstream, uintptr_t **ret_tried,
                    ngx_uint_t *ret_tries);
/* Gives a stream that has no connection one, or ends it. */
void h2_dispatch(struct grpc_h2_stream *s);
/* The same, staying with the peer that it has: another connection. */
void h2_dispatch_again(struct grpc_h2_stream *s);
/* Gives the peer back. state: 0 or NGX_PEER_FAILED. */
void h2_peer_release(struct grpc_h2_stream *s, ngx_uint_t state);
/* No connection to it could be made: no attempt for a while that grows. */
void h2_peer_failed(struct h2_peer *peer);
void h2_peer_works(struct h2_peer *peer);
/* When the worker ends: before the streams go, and after. */
void h2_peers_free_carriers(void);
void h2_peers_shutdown(void);

/* ---- connections (h2_connection.c) ---- */

enum h2_state {
    H2_CONNECTING, /* until connect() is through */
    H2_GREETING,   /* until the peer's SETTINGS: what waits is safe to move elsewhere */
    H2_OPEN,       /* takes streams */
    H2_DRAINING,   /* takes no more; closed when the last has ended */
};

struct h2_connection {
    ngx_queue_t link; /* of the peer's connections */
    struct h2_peer *peer;
    ngx_connection_t *c;
    nghttp2_session *session;
    enum h2_state state;
    ngx_queue_t waiting, open; /* streams */
    ngx_uint_t n_open;         /* those that nghttp2 has, cancelled ones that linger included */
    bool greeted, goaway;      /* SETTINGS, GOAWAY received */
    bool broken;               /* there was no memory to tell the peer something */
    bool timed_busy;           /* what the timer was set for: a ping; else: idle */
    bool ping_sent;
    ngx_msec_t heard_at; /* when bytes last came */
    ngx_event_t timer;   /* connecting, idle, ping: by state */
    ngx_event_t flush;   /* posted */
    struct buf out;      /* bytes that the socket has not yet taken */
    size_t out_at;
    ngx_uint_t turn;            /* how often `out` was filled */
    struct h2_carrier *carrier; /* NULL: no call has asked for one */
};

/* NULL: refused at once, or without memory. */
struct h2_connection *h2_connection_start(struct h2_peer *peer);
/* For a stream without a connection. */
void h2_connection_attach(struct h2_connection *conn, struct grpc_h2_stream *s);
/* Whether another stream may be opened. */
bool h2_connection_has_room(struct h2_connection *conn);
/* Something is to be written, or a stream has gone: look at it from the event loop. */
void h2_connection_touch(struct h2_connection *conn);
/* A call ran out of time that was sent at that time (ms): when nothing was heard since, new calls
 * get another connection. The peer may be gone without a word, and a ping is for later. */
void h2_connection_doubt(struct h2_connection *conn, ngx_msec_t sent_at);
/* Whether nothing of a stream, or of a carried call, has been written. */
bool h2_connection_unsent(const struct h2_connection *conn, const struct grpc_h2_stream *s);
/* Its streams are told, or moved if that is safe. reason: for them and for the log. */
void h2_connection_close(struct h2_connection *conn, const char *reason);

extern struct grpc_h2_settings h2_settings;

/* ---- sessions (h2_session.c) ---- */

/* Makes conn->session, with our SETTINGS to be written. NGX_OK, or NGX_ERROR without memory. */
ngx_int_t h2_session_start(struct h2_connection *conn);
/* Sends the request. NGX_OK, NGX_DECLINED: this connection takes no more; NGX_ERROR. */
ngx_int_t h2_session_submit(struct h2_connection *conn, struct grpc_h2_stream *s);
/* Lets the server send so much of a stream that has been opened before we have read it. */
void h2_session_widen(struct h2_connection *conn, const struct grpc_h2_stream *s, int32_t window);

/* ---- carriers (h2_carrier.c) ---- */

struct carry_answer;
struct h2_request;

/* A call of this connection has gone by itself that its `carrier` could have carried: the next one
 * may be. */
void h2_carrier_begin(struct h2_connection *conn, const struct grpc_h2_stream *s);
/* Whether its metadata can be that of a carried call: less than HTTP/2 allows. */
bool h2_carrier_suits(const struct h2_request *request);
/* Whether the call travels with others; then its `carried` is set. */
bool h2_carrier_take(struct h2_connection *conn, struct grpc_h2_stream *s);
/* Before the connection writes: what has been taken goes. */
void h2_carrier_flush(struct h2_connection *conn);
/* The carried call has ended here. cancelled: the server is told. */
void h2_carrier_forget(struct h2_connection *conn, struct grpc_h2_stream *s, bool cancelled);
/* Calls in it, and streams of HTTP/2 that it has for itself: none, or one. */
ngx_uint_t h2_carrier_calls(const struct h2_connection *conn);
ngx_uint_t h2_carrier_streams(const struct h2_connection *conn);
/* The connection ends; its calls are still in its list. */
void h2_carrier_free(struct h2_connection *conn);

/* ---- streams (h2_stream.c) ---- */

/* A request's headers, kept until the service has answered, in case that it must be sent again. */
struct h2_request {
    size_t n, own; /* own: how many come before the caller's */
    size_t size;   /* bytes of the caller's */
    struct str path;
    nghttp2_nv headers[];
};

struct grpc_h2_stream {
    ngx_queue_t all;   /* of the worker's streams */
    ngx_queue_t link;  /* of the connection's waiting or open ones */
    ngx_queue_t ready; /* of those with something to tell; see is_ready */
    struct h2_connection *conn;
    int32_t id;         /* 0: not submitted */
    uint64_t carried;   /* by conn->carrier, with this id; 0: not */
    struct str carrier; /* grpc_h2_call.carrier */
    ngx_msec_t timeout; /* of a call; 0: none */

    ngx_http_upstream_srv_conf_t *upstream;
    struct h2_peer *peer;
    ngx_http_upstream_rr_peer_t *wanted; /* the only server that will do; NULL: any */
    ngx_http_upstream_rr_peer_data_t choice;
    uintptr_t *choice_tried; /* of an upstream with many servers */
    ngx_uint_t tries;        /* peers that may yet be asked */

    const struct grpc_h2_callbacks *callbacks;
    void *data;
    struct h2_request *request;
    ngx_event_t deadline;

    struct rpc_reader reader;
    size_t unconsumed; /* bytes that flow control does not yet know as read */
    struct buf out;    /* framed messages; of a call it stays until the service has answered */
    size_t out_at;
    ngx_uint_t turn;    /* of the connection, when it was submitted */
    ngx_msec_t sent_at; /* when it was submitted */

    struct rpc_result result;
    int code;           /* the end, when `finished` */
    const char *reason; /* instead of the service's message */
    bool from_upstream;

    bool call;       /* by grpc_h2_call() */
    bool idempotent; /* a call that may be sent again */
    bool suits;      /* a call that may be carried */
    bool failed;     /* its peer has */
    bool is_ready;   /* in the queue of ready streams */
    bool delivering; /* in a callback: freed when it returns */
    bool cancelled;
    bool headers_came;
    bool open_due, writable_due, going_due; /* callbacks */
    bool paused;                            /* by the user */
    bool blocked;                           /* the user waits for `writable` */
    bool half_closed;                       /* by the user */
    bool sent;                              /* bytes of a message have gone out */
    bool again;                             /* has to be sent again, elsewhere */
    bool finished;
};

/* Of this worker. */
ngx_uint_t h2_streams_count(void);
/* Users hear what is new from the event loop. */
void h2_post_delivery(void);

/* From nghttp2's callbacks; none of them tells the user at once. */
void h2_stream_header(struct grpc_h2_stream *s, struct str name, struct str value);
void h2_stream_headers(struct grpc_h2_stream *s, bool last);
void h2_stream_data(struct grpc_h2_stream *s, const void *p, size_t n);
void h2_stream_finish(struct grpc_h2_stream *s); /* END_STREAM */
/* What a carried call is answered, or a piece of it. While its carrier's message is delivered: its
 * user may hear at once, and do anything; the stream may be gone afterwards. */
void h2_stream_answer(struct grpc_h2_stream *s, const struct carry_answer *answer);
/* A stream for the connection's own use. NULL: without memory, or it takes no more. */
struct grpc_h2_stream *h2_stream_open_on(struct h2_connection *conn,
                                         ngx_http_upstream_srv_conf_t *upstream, struct str path,
                                         size_t max_message,
                                         const struct grpc_h2_callbacks *callbacks, void *data);
void h2_stream_closed(struct grpc_h2_stream *s, uint32_t error);
/* Up to n bytes to send; *ret_end: nothing comes after them. */
size_t h2_stream_read(struct grpc_h2_stream *s, uint8_t *to, size_t n, bool *ret_end);
/* Its connection takes no more streams. */
void h2_stream_going(struct grpc_h2_stream *s);
/* Its connection has gone. unsent: nothing of it was written. */
void h2_stream_lost(struct grpc_h2_stream *s, bool unsent);
/* Ends it with a reason of our own; resets it when it is open. */
void h2_stream_fail(struct grpc_h2_stream *s, int code, const char *reason);

#endif
