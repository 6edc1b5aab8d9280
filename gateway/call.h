/* A call that a request makes: a stream on a connection that it shares with others (h2.h). While it
 * runs nginx has nothing to do for the request but to see whether the client is still there; when
 * the request ends before it, the call is cancelled. Unary calls and server streams alike.
 *
 *   call.c    the call, and what nginx's log and the metrics know of it
 *   unary.c   its one message as one answer
 *   stream.c  its messages as they come
 */
#ifndef STOA_GATEWAY_CALL_H
#define STOA_GATEWAY_CALL_H

#include "grpc_json.h"

struct grpc_json_call;

/* From the event loop; all are there. In them the call may be cancelled, and once it is, or has
 * ended, the request may end as well. */
struct grpc_json_call_handlers {
    /* The service's metadata has come. */
    void (*opened)(struct grpc_json_call *call);
    /* As in h2.h. */
    bool (*message)(struct grpc_json_call *call, struct str message);
    /* Not after it was cancelled. */
    void (*ended)(struct grpc_json_call *call, const struct grpc_h2_end *end);
};

/* In the request's pool. */
struct grpc_json_call {
    ngx_http_request_t *r;
    struct grpc_json_ctx *ctx;
    const struct grpc_json_call_handlers *handlers;
    struct grpc_h2_stream *stream; /* NULL: has ended */
    size_t sent, received;         /* bytes of messages, with their prefixes */
    ngx_msec_t began;              /* with the server of now */
    ngx_list_t metadata;           /* what of the service's the client may see, as it came */
    struct str etag;               /* the service's; a trailing one stands above the other */
    bool etag_trails;
};

/* Begins ctx->call. frame: the request's message behind its prefix. Returns as a phase handler:
 * NGX_DONE, or a status of which ctx->answer is the problem. No handler is called before it
 * returns. */
ngx_int_t grpc_json_call(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str frame,
                         const struct grpc_json_call_handlers *handlers);
/* Nothing more is wanted; when it has ended as well. */
void grpc_json_call_cancel(struct grpc_json_call *call);
/* Makes ctx->answer the problem of a call that did not end well. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_call_problem(struct grpc_json_call *call, const struct grpc_h2_end *end);

#endif
