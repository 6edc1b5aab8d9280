/* Streams of requests as WebSockets (RFC 6455): from the client's GET to the 101.
 *
 *   websocket.c  directives, and what a request must be to become a WebSocket
 *   opening.c    whether it is one of too many that come at once
 *   upgrade.c    the request's stream, the time until it is known to work, the 101 or a problem
 *   session.h    what is left when the request has gone
 */
#ifndef STOA_GATEWAY_WEBSOCKET_H
#define STOA_GATEWAY_WEBSOCKET_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "target.h"

/* opening.c: how long those may wait who come all at once (standing_delay.h). */
struct grpc_json_opening {
    ngx_flag_t enabled;
    ngx_msec_t target, burst;
};

/* Part of struct grpc_json_conf. */
struct grpc_json_websocket {
    struct grpc_json_target target;   /* grpc_json_websocket */
    ngx_array_t *protocols;           /* struct str: grpc_json_websocket_protocol */
    size_t message_limit;             /* grpc_json_websocket_message_limit */
    size_t memory;                    /* grpc_json_websocket_memory; of a worker */
    struct grpc_json_opening opening; /* grpc_json_websocket_opening */
    ngx_flag_t deflate;               /* grpc_json_websocket_deflate */
    ngx_array_t *attach;              /* struct str: grpc_json_websocket_attach, in pairs */
    ngx_uint_t queue_messages;        /* grpc_json_websocket_attach_queue */
    size_t queue_bytes;
    /* ms: grpc_json_websocket_..._timeout, grpc_json_websocket_ping_interval */
    ngx_msec_t open_timeout, close_timeout, ping_interval, ping_timeout, idle_timeout,
        attach_timeout;
};

struct grpc_json_ctx;
struct schema_method;

void grpc_json_websocket_init(struct grpc_json_websocket *conf);
char *grpc_json_websocket_set_protocols(ngx_conf_t *cf, ngx_command_t *command, void *conf);
char *grpc_json_websocket_set_attach(ngx_conf_t *cf, ngx_command_t *command, void *conf);
char *grpc_json_websocket_set_queue(ngx_conf_t *cf, ngx_command_t *command, void *conf);
char *grpc_json_websocket_merge(const struct grpc_json_websocket *prev,
                                struct grpc_json_websocket *conf);
ngx_int_t grpc_json_websocket_install(ngx_conf_t *cf);

/* The RPC on whose streams sessions for this method are items; {NULL, 0}: each has a stream of its
 * own. */
struct str grpc_json_websocket_attach(const struct grpc_json_websocket *conf,
                                      const struct schema_method *method);

/* PRECONTENT phase, for a request whose RPC takes a stream of requests. Returns as a phase handler:
 * NGX_DONE, or a status of which ctx->answer is the problem. */
ngx_int_t grpc_json_websocket(ngx_http_request_t *r, struct grpc_json_ctx *ctx);

/* What the handshake has agreed on; strings live as long as the request. */
struct handshake {
    ngx_str_t accept;   /* Sec-WebSocket-Accept */
    ngx_str_t protocol; /* Sec-WebSocket-Protocol; empty: none */
    unsigned window;    /* of the client's permessage-deflate; 0: no compression */
};

/* session_io.c: bytes that all sessions of this worker hold of what is not whole yet. */
size_t grpc_json_websocket_held(void);

/* upgrade.c: opens the stream, and answers when it is known to work or not. Returns the same. */
ngx_int_t grpc_json_upgrade(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                            const struct handshake *handshake);

/* ---- opening.c ---- */

void grpc_json_opening_init(struct grpc_json_opening *conf);
char *grpc_json_opening_set(ngx_conf_t *cf, ngx_command_t *command, void *conf);
void grpc_json_opening_merge(const struct grpc_json_opening *prev, struct grpc_json_opening *conf);
/* When descriptor sets have been loaded. */
ngx_int_t grpc_json_opening_install(ngx_conf_t *cf);
/* REWRITE phase, for a handshake: NGX_DECLINED, or a status of which ctx->answer is the problem. */
ngx_int_t grpc_json_opening(ngx_http_request_t *r);
/* Among the names of limits. */
ngx_str_t grpc_json_opening_name(void);

#endif
