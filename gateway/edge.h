/* What stands between strangers and the calls: cross-origin sharing, rate limits, metrics. Part of
 * grpc_json.h. */
#ifndef STOA_GATEWAY_EDGE_H
#define STOA_GATEWAY_EDGE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "base/base.h"

/* ---- cors.c ---- */

struct grpc_json_cors {
    ngx_array_t *origins;         /* ngx_str_t: patterns; NULL: no sharing */
    ngx_flag_t any;               /* every origin, without credentials */
    ngx_flag_t credentials;       /* grpc_json_cors_credentials */
    time_t max_age;               /* grpc_json_cors_max_age, seconds */
    ngx_array_t *request_headers; /* ngx_str_t: grpc_json_cors_request_header */
    ngx_array_t *expose;          /* ngx_str_t: grpc_json_cors_expose_header */
    /* Values of the answers' headers, made of the lists and of the headers that are let through. */
    ngx_str_t allow_headers, expose_headers;
};

struct grpc_json_conf;
struct grpc_json_ctx;
struct problem;

void grpc_json_cors_init(struct grpc_json_cors *cors);
char *grpc_json_cors_set_origins(ngx_conf_t *cf, ngx_command_t *command, void *conf);
char *grpc_json_cors_set_names(ngx_conf_t *cf, ngx_command_t *command, void *conf);
/* After the header rules have been merged. */
char *grpc_json_cors_merge(ngx_conf_t *cf, struct grpc_json_conf *prev,
                           struct grpc_json_conf *conf);
/* Before the filters of response.c are installed, so that every answer passes. */
void grpc_json_cors_install(void);
/* Whether a page of this origin may use the location. */
bool grpc_json_cors_allows(const struct grpc_json_cors *cors, struct str origin);

/* ---- overload.c ---- */

ngx_int_t grpc_json_overload_install(ngx_conf_t *cf);
/* What a service says of a call that failed. */
void grpc_json_overload_heard(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                              const struct problem *problem);
/* Among the names of limits. */
ngx_str_t grpc_json_overload_name(void);

/* ---- limit.c ---- */

char *grpc_json_limit_set_zone(ngx_conf_t *cf, ngx_command_t *command, void *conf);
char *grpc_json_limit_set(ngx_conf_t *cf, ngx_command_t *command, void *conf);
/* Before the filters of response.c are installed, so that every answer passes. */
ngx_int_t grpc_json_limit_install(ngx_conf_t *cf);
/* When a worker begins, and when it ends. */
void grpc_json_limit_start(ngx_cycle_t *cycle);
void grpc_json_limit_exit(ngx_cycle_t *cycle);
/* What counts a request as a stream, taken from it for a session; NULL: nothing does. */
struct grpc_json_hold;
struct grpc_json_ctx;
struct grpc_json_hold *grpc_json_limit_take(struct grpc_json_ctx *ctx);
/* The session is over; hold may be NULL. */
void grpc_json_limit_release(struct grpc_json_hold *hold);
struct grpc_json_main_conf;
/* The name of a zone of the configuration. */
ngx_str_t grpc_json_limit_name(const struct grpc_json_main_conf *conf, ngx_uint_t i);

/* ---- connections.c ---- */

/* When a cycle's configuration has been read, and its sockets are there. */
void grpc_json_connections_init(ngx_cycle_t *cycle);
/* After grpc_json_limit_install(): nginx calls the handlers of a phase last one first. */
ngx_int_t grpc_json_connections_install(ngx_conf_t *cf);
/* The connection counts no more. */
void grpc_json_connections_leave(ngx_connection_t *c);

/* ---- metrics.c ---- */

struct grpc_json_metrics;

char *grpc_json_metrics_set_zone(ngx_conf_t *cf, ngx_command_t *command, void *conf);
char *grpc_json_metrics_set(ngx_conf_t *cf, ngx_command_t *command, void *conf);
/* After grpc_json_precontent() is installed: nginx calls the handlers of a phase last one first. */
ngx_int_t grpc_json_metrics_install(ngx_conf_t *cf);
/* When a worker starts. */
void grpc_json_metrics_start(ngx_cycle_t *cycle);

/* The limit of that name has refused something. */
void grpc_json_metrics_limited(const struct grpc_json_main_conf *conf, ngx_str_t name);

/* A session that outlives its request begins; returns what the other two want (NULL is fine). */
void *grpc_json_metrics_session(ngx_http_request_t *r);
void grpc_json_metrics_session_bytes(void *session, size_t received, size_t sent);
void grpc_json_metrics_session_end(void *session);
/* It is closed since its client reads too slowly. */
void grpc_json_metrics_session_slow(void *session);

/* What an instance of a service carries on its Attach (attach.h). */
enum grpc_json_attach_count {
    ATTACH_LINKS_BEGUN,
    ATTACH_LINKS_ENDED,
    ATTACH_CALLS_BEGUN,
    ATTACH_CALLS_ENDED,
    ATTACH_RESUMED, /* calls that were announced again */
    ATTACH_MESSAGES_SENT,
    ATTACH_BYTES_SENT,
    ATTACH_MESSAGES_RECEIVED,
    ATTACH_BYTES_RECEIVED,
    ATTACH_DELIVERIES, /* of broadcasts, to one client each */
    ATTACH_N_COUNTS,
};

/* The instance of that address, for the next one; NULL: nothing is counted. As long as the worker.
 */
void *grpc_json_metrics_instance(ngx_str_t address);
/* It has accepted a session that it had not had before, so many ms after the handshake. */
void grpc_json_metrics_accepted(void *instance, ngx_msec_t ms);
void grpc_json_metrics_attach(void *instance, enum grpc_json_attach_count what, size_t n);
/* Bytes that wait for clients of sessions now, in this worker. */
void grpc_json_metrics_queued(size_t bytes);

/* ---- leave.c ---- */

/* Before the filters of response.c are installed, so that every answer passes. */
ngx_int_t grpc_json_leave_install(ngx_conf_t *cf);

#endif
