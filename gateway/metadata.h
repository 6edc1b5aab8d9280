/* What headers say beside the message: conditions, patience, traces. Part of grpc_json.h. */
#ifndef STOA_GATEWAY_METADATA_H
#define STOA_GATEWAY_METADATA_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "http/trace_context.h"

struct grpc_json_ctx;
struct problem;

/* What a client's headers ask of the gateway. Strings live as long as the request. */
struct grpc_json_wishes {
    struct str if_match, if_none_match; /* all lines joined; {NULL, 0}: not there */
    ngx_msec_t timeout;                 /* Request-Timeout; 0: not there */
};

struct grpc_json_trace {
    bool started;
    struct trace_context context; /* of the gateway's own span */
    struct str state;             /* tracestate to pass on; {NULL, 0}: none */
};

/* ---- header_list.c ---- */

/* A walk over a list of headers. */
struct grpc_json_lines {
    const ngx_list_part_t *part;
    ngx_uint_t next;
};

struct grpc_json_lines grpc_json_lines(const ngx_list_t *list);
/* Over those that the client sent. */
struct grpc_json_lines grpc_json_client_lines(ngx_http_request_t *r);
/* The next header; NULL at the end. */
const ngx_table_elt_t *grpc_json_next_header_line(struct grpc_json_lines *at);
/* The next line of one name (lower case); false at the end. */
bool grpc_json_next_line(struct grpc_json_lines *at, struct str name, struct str *ret);

/* The first line of a header of the client's (lower case); {NULL, 0}: there is none. */
struct str grpc_json_request_header(ngx_http_request_t *r, struct str name);
/* All lines of a header of the client's, joined with commas (RFC 9110 section 5.3); {NULL, 0} when
 * it is not there. name: lower case. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_client_header(ngx_http_request_t *r, struct str name, struct str *ret,
                                  unsigned *ret_lines);
/* Adds a header to the answer; NULL without memory. Nothing is copied. */
ngx_table_elt_t *grpc_json_push_header(ngx_http_request_t *r, const char *name, ngx_str_t value);

/* ---- headers.c ---- */

/* Appends metadata to a list of headers for the upstream. Nothing is copied. NGX_OK or NGX_ERROR.
 */
ngx_int_t grpc_json_push_metadata(ngx_list_t *list, struct str name, struct str value);

/* Fills ctx->wishes. NGX_OK, NGX_ERROR, or NGX_DECLINED with a problem when a header is one that
 * cannot be taken: before anything has been done for the request. */
ngx_int_t grpc_json_read_wishes(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                struct problem *ret_problem);

/* ---- conditional.c ---- */

/* Fills the conditions of ctx->wishes; as grpc_json_read_wishes(). */
ngx_int_t grpc_json_read_conditions(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                    struct problem *ret_problem);
/* Conditions that are the service's to judge: those of methods that change something. */
ngx_int_t grpc_json_push_conditions(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                    ngx_list_t *to, size_t *size);
/* Gives the success in ctx->answer its ETag and Cache-Control, and makes a 304 or 412 of it when
 * the conditions of a GET or HEAD say so. message: as the service sent it; etag: its metadata of
 * that name, {NULL, 0}: none. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_apply_conditions(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                     struct str message, struct str etag);

/* ---- trace.c ---- */

/* Continues the client's trace or starts one; once for a request. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_start_trace(ngx_http_request_t *r, struct grpc_json_ctx *ctx);
/* traceparent and tracestate for the upstream, with the gateway's span as the parent. */
ngx_int_t grpc_json_push_trace(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_list_t *to);

/* ---- trace_export.c: spans of requests, to a collector ---- */

/* Whether a trace that begins here is sampled. */
bool grpc_json_trace_sampled(ngx_http_request_t *r, const struct trace_context *trace);
char *grpc_json_trace_export_set(ngx_conf_t *cf, ngx_command_t *command, void *data);
ngx_int_t grpc_json_trace_export_install(ngx_conf_t *cf);
/* When a worker begins and ends. */
ngx_int_t grpc_json_trace_export_start(ngx_cycle_t *cycle);
void grpc_json_trace_export_exit(void);

#endif
