/* What the files of ngx_http_grpc_json_module share. README.md tells how a request goes through
 * them.
 *
 * Everything here runs in an nginx worker: one thread, events. nginx's pools hold what lives as
 * long as the request; a scratch arena (grpc_json_scratch()) holds what is used up before returning
 * to the event loop.
 *
 * What takes an ngx_conf_t runs before that, while the configuration is read, and what it makes
 * lives as long as the configuration. It returns what nginx wants: a directive's set function and a
 * merge NGX_CONF_OK, NGX_CONF_ERROR with a line in the log, or what is wrong; the others NGX_OK, or
 * NGX_ERROR without memory.
 */
#ifndef STOA_GATEWAY_GRPC_JSON_H
#define STOA_GATEWAY_GRPC_JSON_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "edge.h"
#include "metadata.h"
#include "problem.h"
#include "schema/schema.h"
#include "websocket.h"

extern ngx_module_t ngx_http_grpc_json_module;

/* ---- configuration (module.c) ---- */

/* A header that is let through, and the name that it gets on the other side; both lower case. */
struct grpc_json_header_rule {
    ngx_str_t from, to;
};

/* A header that the gateway adds itself. */
struct grpc_json_header_value {
    ngx_str_t name; /* lower case */
    ngx_http_complex_value_t value;
};

enum grpc_json_print {
    GRPC_JSON_PRINT_UNSET = 2,
    GRPC_JSON_PRINT_LONG_FRACTIONS = 4,
};

/* Descriptor sets are compiled once, however many places of the configuration name them. */
struct grpc_json_schema {
    ngx_str_t path;
    struct schema *schema;
    struct metrics_series **series; /* metrics.c: by method; NULL: not counted */
    struct overload *overload;      /* overload.c: two of each method, of this worker */
    struct standing_delay *opening; /* opening.c: the same */
};

struct grpc_json_main_conf {
    ngx_array_t schemas;                         /* module.c: those loaded */
    struct grpc_json_metrics *metrics;           /* metrics.c; NULL: nothing is counted */
    ngx_cycle_t *cycle;                          /* metrics.c: that this configuration makes */
    ngx_array_t limit_zones;                     /* limit.c */
    struct limit_zone *connections;              /* limit.c: that of connections; NULL: none */
    struct grpc_json_trace_export *trace_export; /* trace_export.c; NULL: nothing is */
    ngx_msec_t leave_timeout;                    /* grpc_json_leave_timeout; 0: none */
    bool attaches;                               /* there is a grpc_json_websocket_attach */
};

struct grpc_json_conf {
    ngx_flag_t enabled;                   /* grpc_json */
    struct grpc_json_target pass;         /* grpc_json_pass: calls, but for WebSockets */
    ngx_flag_t problems;                  /* grpc_json_problems */
    ngx_flag_t refuse_unknown;            /* grpc_json_refuse_unknown */
    ngx_uint_t print;                     /* grpc_json_print */
    ngx_msec_t timeout;                   /* grpc_json_timeout */
    ngx_msec_t stream_timeout;            /* grpc_json_stream_timeout */
    ngx_msec_t heartbeat;                 /* grpc_json_heartbeat; 0: none */
    size_t response_limit;                /* grpc_json_response_limit */
    ngx_int_t array_limit;                /* grpc_json_array_limit; 0: none */
    ngx_flag_t trace;                     /* grpc_json_trace */
    size_t request_header_limit;          /* grpc_json_request_header_limit */
    size_t response_header_limit;         /* grpc_json_response_header_limit */
    ngx_array_t *request_headers;         /* struct grpc_json_header_rule */
    ngx_array_t *set_headers;             /* struct grpc_json_header_value */
    ngx_array_t *response_headers;        /* struct grpc_json_header_rule */
    ngx_http_complex_value_t *instance;   /* grpc_json_problem_instance */
    ngx_str_t problem_type;               /* grpc_json_problem_type */
    ngx_str_t carry;                      /* grpc_json_carry; empty: none */
    ngx_array_t *ready;                   /* ngx_str_t: upstreams of grpc_json_ready */
    struct grpc_json_openapi *openapi;    /* grpc_json_openapi of this location; not inherited */
    struct schema *schema;                /* grpc_json_descriptor_set */
    ngx_str_t overload;                   /* grpc_json_overload, or "off" */
    ngx_array_t *limits;                  /* limit.c: zones of grpc_json_limit; NULL: none */
    struct grpc_json_cors cors;           /* grpc_json_cors_... */
    struct grpc_json_websocket websocket; /* grpc_json_websocket_... */
};

/* ---- state of a request ---- */

/* What goes to the client instead of what nginx or the upstream would send. */
struct grpc_json_answer {
    ngx_uint_t status; /* 0: none made yet */
    ngx_str_t content_type;
    ngx_str_t body;
    ngx_str_t allow;        /* Allow header; empty: none */
    ngx_uint_t retry_after; /* seconds; 0: no header */
    bool open_ended;        /* body comes later; its length is not known */
    ngx_array_t *metadata;  /* ngx_table_elt_t: headers from the upstream; NULL: none */
    ngx_str_t etag;         /* these: empty: no header */
    ngx_str_t cache_control;
    ngx_str_t language;
    ngx_str_t accept, accept_encoding; /* of a 415: what would have been taken */
};

enum grpc_json_state {
    GRPC_JSON_NEW,
    GRPC_JSON_READING, /* the body is being read, or there is a call */
    GRPC_JSON_REFUSED, /* the request is not passed on; answer says why */
    GRPC_JSON_SENT,    /* answer is with the client; whatever else nginx produces is dropped */
};

struct grpc_json_call;
struct grpc_json_stream;
struct upgrade;

struct grpc_json_ctx {
    enum grpc_json_state state;

    /* Routing, done once, when first asked for. */
    bool routed;
    int route_error; /* of schema_route() */
    struct schema_match match;

    /* nginx closes the connection after some errors by number; ours leave it usable. */
    bool keepalive_known, keepalive;

    struct grpc_json_wishes wishes;
    struct grpc_json_trace trace;

    ngx_event_t *body_due;                /* when the body has to be whole; NULL: there is none */
    ngx_msec_t timeout;                   /* for the whole call; 0: none */
    struct grpc_json_call *call;          /* call.c; NULL: none yet */
    ngx_http_upstream_srv_conf_t *called; /* its upstream; NULL: it was not made */
    struct str message;                   /* of a unary call; {NULL, 0}: none has come */
    unsigned form;                        /* enum grpc_json_form of a server stream */
    struct grpc_json_stream *stream;      /* NULL: not begun, or none */
    struct upgrade *upgrade;              /* NULL: the request becomes no WebSocket */
    ngx_msec_t came;                      /* opening.c: when the last of a handshake came */
    int grpc_status;                      /* -1: not known */
    struct grpc_json_answer answer;

    ngx_array_t *limits;          /* limit.c: what each zone said; NULL: not asked yet */
    ngx_str_t limited;            /* the zone that refused the request; empty: none did */
    struct grpc_json_hold **hold; /* limit.c: what counts it as a stream; NULL: nothing does */
};

/* The request's state, made when there is none; NULL without memory. */
struct grpc_json_ctx *grpc_json_ctx(ngx_http_request_t *r);

/* Where the worker keeps what it knows of the request's RPC: the descriptor set, and the method's
 * number in it. NULL: the request has no RPC, or has not been routed. */
const struct grpc_json_schema *grpc_json_loaded(ngx_http_request_t *r, size_t *ret_method);

/* ---- memory.c ---- */

/* The worker's scratch arena, emptied. */
struct arena *grpc_json_scratch(void);
/* The worker's scratch buffer, emptied, for at most max bytes. */
struct buf *grpc_json_scratch_buf(size_t max);
/* When the worker ends. */
void grpc_json_free_scratch(ngx_cycle_t *cycle);
/* A copy in the request's pool; data is NULL without memory, and len 0. */
ngx_str_t grpc_json_copy(ngx_http_request_t *r, struct str s);

static inline struct str grpc_json_str(ngx_str_t s)
{
    return (struct str){(const char *)s.data, s.len};
}

/* ---- random.c ---- */

/* n <= 4096 random bytes that nobody else gets. NGX_OK, or NGX_ERROR: the kernel has none. */
ngx_int_t grpc_json_random(u_char *to, size_t n);

/* ---- request.c: from HTTP to gRPC ---- */

/* Finds the route of the request's method and path. Returns what schema_route() does. */
int grpc_json_route(ngx_http_request_t *r, struct grpc_json_ctx *ctx);
/* What a phase handler returns for a request that is not passed on, when ctx->answer could be made
 * (rc is NGX_OK) or not. */
ngx_int_t grpc_json_refuse(struct grpc_json_ctx *ctx, ngx_int_t rc);
ngx_int_t grpc_json_refuse_status(ngx_http_request_t *r, struct grpc_json_ctx *ctx, int status);
/* Something in the client's input: a fault of the body is one of syntax or type (400), one of path,
 * query or a field is a value that does not fit there (422). */
ngx_int_t grpc_json_refuse_fault(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                 struct arena *arena, enum schema_part part,
                                 const struct schema_fault *fault);
/* Makes ctx->answer.allow, if it is not made yet: the methods of the routes that the path has, or
 * of a file (RFC 9110 section 10.2.1). NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_set_allow(ngx_http_request_t *r, struct grpc_json_ctx *ctx);
/* PRECONTENT phase: reads the body and makes the call, or refuses it. */
ngx_int_t grpc_json_precontent(ngx_http_request_t *r);

/* ---- negotiate.c ---- */

/* How much the client wants a media type (lower case), in thousandths; 0: not at all. */
unsigned grpc_json_accepts(ngx_http_request_t *r, struct str type);
/* Whether the body can be taken as it stands: raw, or JSON in UTF-8. NGX_OK, or NGX_DECLINED and
 * the problem. */
ngx_int_t grpc_json_check_body_type(ngx_http_request_t *r, struct grpc_json_ctx *ctx, bool raw,
                                    struct problem *problem);

/* ---- headers.c ---- */

/* What a header costs beyond its text (RFC 9113 section 6.5.2, as HTTP/2 peers count it). */
#define GRPC_JSON_HEADER_OVERHEAD 32

/* Makes the metadata of a call: the gateway's own, what is allowed of the client's, conditions and
 * trace; and sets ctx->timeout. After grpc_json_read_wishes(), while the client's headers are in
 * sight. to: a list of ngx_table_elt_t; what gRPC itself wants (grpc-timeout ...) is not among it.
 * NGX_OK, NGX_ERROR, or NGX_DECLINED with a problem, when a value is not the base64 or the ASCII
 * that it must be, or all are more than services accept. */
ngx_int_t grpc_json_make_metadata(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_list_t *to,
                                  struct problem *ret_problem);
/* Keeps a copy of a line of the service's metadata when the configuration lets it through. list: of
 * ngx_table_elt_t. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_keep_metadata(ngx_http_request_t *r, ngx_list_t *list, struct str name,
                                  struct str value);
/* What was kept, as headers of the answer. NGX_OK, NGX_ERROR, or NGX_DECLINED when it is more than
 * the configuration allows. */
ngx_int_t grpc_json_metadata(ngx_http_request_t *r, const ngx_list_t *kept, ngx_array_t **ret);

/* ---- unary.c ---- */

/* Makes the request's unary call. frame: the message behind its prefix. Returns as a phase handler:
 * NGX_DONE, or a status of which ctx->answer is the problem. */
ngx_int_t grpc_json_unary(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str frame);

/* ---- answer.c: what the client gets ---- */

/* Makes ctx->answer a problem. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_set_problem(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                                struct problem *problem);
/* The same with nothing to say but the status. */
ngx_int_t grpc_json_set_status(ngx_http_request_t *r, struct grpc_json_ctx *ctx, int status);
/* Sends ctx->answer's header. Returns as a header filter does. */
ngx_int_t grpc_json_send_header(ngx_http_request_t *r, struct grpc_json_ctx *ctx);
/* Sends ctx->answer, header and body. Returns as a body filter does. */
ngx_int_t grpc_json_send(ngx_http_request_t *r, struct grpc_json_ctx *ctx);

/* An answer to OPTIONS with ctx->answer.allow. Returns as a content handler does. */
ngx_int_t grpc_json_send_options(ngx_http_request_t *r, struct grpc_json_ctx *ctx);
/* The beginning of a content handler that has something to be read: whether to go on. If not,
 * OPTIONS has been answered, or the method is refused, and the handler returns *ret_rc. */
bool grpc_json_begin_document(ngx_http_request_t *r, ngx_int_t *ret_rc);

/* ---- unread.c ---- */

/* n bytes of the answer are in the request's pool, and have been sent as far as the client reads.
 * The request may be ended from a later event. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_unread(ngx_http_request_t *r, size_t n);
/* As what it counts among the limits. */
ngx_str_t grpc_json_unread_name(void);

/* ---- response.c: the filters ---- */

/* The filters behind ours, for answers that are to pass the latter by. */
extern ngx_http_output_header_filter_pt grpc_json_next_header;
extern ngx_http_output_body_filter_pt grpc_json_next_body;
ngx_int_t grpc_json_install_filters(ngx_conf_t *cf);

/* ---- exit.c ---- */

/* Something that ends with the worker: handler(data) is called once when that is to end. Its
 * owner's, who sets handler and data. */
struct grpc_json_exit_hook {
    ngx_queue_t queue; /* exit.c's, when `waits` */
    void (*handler)(void *data);
    void *data;
    bool waits;
};

/* When a worker begins. NGX_OK, or NGX_ERROR: there is no connection left. */
ngx_int_t grpc_json_exit_start(ngx_cycle_t *cycle);
/* The hook waits; its owner forgets it before the memory goes. */
void grpc_json_exit_wait(struct grpc_json_exit_hook *hook);
/* The hook waits no more; also when it does not. */
void grpc_json_exit_forget(struct grpc_json_exit_hook *hook);

/* ---- openapi.c: the document of a descriptor set ---- */

struct grpc_json_openapi {
    ngx_str_t title, version, description;
    ngx_array_t *servers;     /* ngx_str_t: URLs; NULL: this one */
    ngx_str_t document, etag; /* made when the configuration is merged */
};

char *grpc_json_set_openapi(ngx_conf_t *cf, ngx_command_t *command, void *data);
char *grpc_json_set_openapi_description(ngx_conf_t *cf, ngx_command_t *command, void *data);
char *grpc_json_set_openapi_server(ngx_conf_t *cf, ngx_command_t *command, void *data);
/* Makes the document, by the location's settings. NGX_OK, or NGX_ERROR with a line in the log. */
ngx_int_t grpc_json_make_openapi(ngx_conf_t *cf, struct grpc_json_conf *conf);
/* The location's content handler. */
ngx_int_t grpc_json_openapi_handler(ngx_http_request_t *r);

/* ---- variables.c ---- */

ngx_int_t grpc_json_add_variables(ngx_conf_t *cf);

#define GRPC_JSON_CLIENT_SIZE (NGX_INET6_ADDRSTRLEN + sizeof("/64"))
/* Whom to hold responsible: an IPv4 address, or the /64 network of an IPv6 address, which is what
 * one subscriber has. In memory, or the connection's own. */
ngx_str_t grpc_json_client(const ngx_connection_t *c, u_char memory[GRPC_JSON_CLIENT_SIZE]);

/* ---- readiness.c ---- */

/* The content handler of a location with grpc_json_ready. */
ngx_int_t grpc_json_ready_handler(ngx_http_request_t *r);

#endif
