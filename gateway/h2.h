/* gRPC streams on a connection that many share: HTTP/2 by libnghttp2, inside an nginx worker.
 *
 * ngx_http_grpc_module opens a connection for each call in flight. Here all calls and streams of a
 * worker share one for each peer of an upstream: what many of them have to say at a time is written
 * together, and what comes for them is read together.
 *
 * Everything runs on the worker's event loop. No callback is called from inside a function of this
 * header, except where it says so: callbacks come from the event loop, so a user may call anything
 * here from a callback, grpc_h2_cancel() included.
 */
#ifndef STOA_GATEWAY_H2_H
#define STOA_GATEWAY_H2_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "base/base.h"

struct grpc_h2_stream;

/* The end of a stream as gRPC sees it. */
struct grpc_h2_end {
    int status;         /* gRPC code; trouble with the connection is 14 (UNAVAILABLE) */
    bool from_upstream; /* the service said so; false: the connection was refused, lost or broken */
    bool by_status;     /* from_upstream, and by a grpc-status */
    int http_status;    /* of the answer; 0: there was none */
    struct str message; /* percent-decoded grpc-message; valid during the callback */
    struct str details; /* decoded grpc-status-details-bin; the same */
};

struct grpc_h2_server;

struct grpc_h2_callbacks {
    /* A server has been chosen, by turns or because the one before has failed. Also comes while
     * grpc_h2_open() or grpc_h2_call() runs; nothing of this header may be called from it. May be
     * NULL. */
    void (*chosen)(void *data, const struct grpc_h2_server *server);
    /* A line of the service's metadata, initial or trailing, gRPC's own among them. The bytes are
     * valid during the callback, and nothing of this header may be called from it. Return false
     * without memory: that ends the stream. May be NULL. */
    bool (*metadata)(void *data, struct str name, struct str value, bool trailing);
    /* The service's initial metadata has come (once, before any message; may be missing when the
     * stream ends at once). */
    void (*opened)(void *data);
    /* One gRPC message, whole. The bytes are valid during the callback. Return false to get no
     * more until grpc_h2_resume(): what is received then waits, and flow control stops the service.
     */
    bool (*message)(void *data, struct str message);
    /* Queued bytes fell below the low-water mark after grpc_h2_send() had returned NGX_AGAIN. */
    void (*writable)(void *data);
    /* The server wants to go (GOAWAY): the stream goes on for now, new ones get another connection.
     * Once; may be NULL. */
    void (*going)(void *data);
    /* The stream has ended; the last callback. The stream is freed afterwards. */
    void (*ended)(void *data, const struct grpc_h2_end *end);
};

struct grpc_h2_header {
    struct str name, value; /* name in lower case; copied */
};

/* Opens a stream to a peer of the upstream (an `upstream {}` block or a plain address),
 * connecting when there is no connection yet. path: "/package.Service/Method".
 * timeout_ms: told to the service as grpc-timeout, 0: none. NULL: out of memory, or too many
 * streams. Failures to connect are told by `ended`. */
struct grpc_h2_stream *grpc_h2_open(ngx_http_upstream_srv_conf_t *upstream, struct str path,
                                    const struct grpc_h2_header *headers, size_t n,
                                    ngx_msec_t timeout_ms, size_t max_message,
                                    const struct grpc_h2_callbacks *callbacks, void *data,
                                    ngx_log_t *log);

/* A call with one message to the service. */
struct grpc_h2_call {
    ngx_http_upstream_srv_conf_t *upstream;
    struct str path;
    const struct grpc_h2_header *headers;
    size_t n;
    struct str frame; /* the message behind its prefix (rpc_prefix_write()); copied */
    ngx_msec_t timeout;
    size_t max_message;
    struct str carrier; /* the RPC that may carry the call together with others, where the server
                         * knows it (CallService/Carry); lives on. {NULL, 0}: none */
    bool idempotent;    /* may be sent again when a connection is lost under it */
    bool keeps_worker;  /* from exiting, until it has ended: a day at most */
};

/* As grpc_h2_open(), with the one message and the half close. What differs:
 *
 * - Until the service's header has come the call is kept, and it goes elsewhere when the service
 *   cannot have begun with it: refused, behind GOAWAY, or none of it was written; or when the
 *   service says UNAVAILABLE and that nothing was done (grpc-retry-pushback-ms, gRFC A6). An
 *   idempotent one does so as well when the connection is lost, or after any UNAVAILABLE or
 *   CANCELLED that comes instead of an answer.
 * - A server that has just failed to be reached is asked again at once when it is the only one.
 * - A server under which a call is lost or runs out of time has failed (max_fails), and a
 *   connection on which nothing was heard meanwhile gets no new calls.
 */
struct grpc_h2_stream *grpc_h2_call(const struct grpc_h2_call *call,
                                    const struct grpc_h2_callbacks *callbacks, void *data,
                                    ngx_log_t *log);

/* A server of an upstream; the same one has the same `address`. */
struct grpc_h2_server {
    ngx_http_upstream_srv_conf_t *upstream;
    ngx_http_upstream_rr_peer_t *address;
};

/* Chooses the server whose turn it is, for a user who shares one stream among many things: of those
 * that suits() agrees to, and that this worker has not just failed to connect to. NGX_OK, or
 * NGX_DECLINED: there is none now. */
ngx_int_t grpc_h2_choose(ngx_http_upstream_srv_conf_t *upstream,
                         bool (*suits)(const struct grpc_h2_server *server, void *data), void *data,
                         struct grpc_h2_server *ret);
/* grpc_h2_open() to this server and no other, without a time limit. */
struct grpc_h2_stream *grpc_h2_open_at(const struct grpc_h2_server *server, struct str path,
                                       size_t max_message,
                                       const struct grpc_h2_callbacks *callbacks, void *data,
                                       ngx_log_t *log);

/* Queues one message (copied, framed here). NGX_OK; NGX_AGAIN: queued, but wait for `writable`
 * before sending more; NGX_DECLINED: the stream has ended, as `ended` will tell, or it was half
 * closed; NGX_ERROR: out of memory. */
ngx_int_t grpc_h2_send(struct grpc_h2_stream *stream, struct str message);
/* No more messages from this side. */
void grpc_h2_half_close(struct grpc_h2_stream *stream);
/* More messages are wanted. */
void grpc_h2_resume(struct grpc_h2_stream *stream);
/* Ends the stream without a callback: RST_STREAM CANCEL. The stream is gone when this returns. */
void grpc_h2_cancel(struct grpc_h2_stream *stream);

/* When the worker ends: closes everything, without callbacks. Streams are gone. While the worker is
 * exiting (ngx_exiting), streams go on, and a connection without streams is closed. */
void grpc_h2_shutdown(ngx_cycle_t *cycle);

/* Of this worker; there are defaults. All in ms. */
struct grpc_h2_settings {
    ngx_msec_t connect_timeout; /* until the peer's SETTINGS have come */
    ngx_msec_t ping_interval;   /* of silence, while there are streams. gRPC servers by default end
                                 * connections that ping more than once in five minutes */
    ngx_msec_t ping_timeout;    /* for an answer */
    ngx_msec_t idle_timeout;    /* a connection without streams is closed after it */
};
void grpc_h2_configure(const struct grpc_h2_settings *settings);

/* Of this worker, for metrics and leak checks. */
struct grpc_h2_stats {
    ngx_uint_t connections, streams;
};
void grpc_h2_stats(struct grpc_h2_stats *ret);

#endif
