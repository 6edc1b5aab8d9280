/* Answers of server streams: server-sent events, lines of JSON, or raw bytes. */
#ifndef STOA_GATEWAY_STREAM_H
#define STOA_GATEWAY_STREAM_H

#include "grpc_json.h"

enum grpc_json_form {
    GRPC_JSON_NO_FORM,
    GRPC_JSON_EVENTS, /* text/event-stream */
    GRPC_JSON_LINES,  /* application/x-ndjson */
    GRPC_JSON_RAW,    /* what google.api.HttpBody says */
};

/* A stream's answer. Input that can't go on yet is held where it is, so that nginx stops reading
 * from the upstream: one piece of text is on its way to the client at a time. */
struct grpc_json_stream {
    enum grpc_json_form form;
    ngx_http_request_t *r;
    struct grpc_json_ctx *ctx;
    bool flush;   /* the header goes out though there is no text */
    bool started; /* the header is with the client */
    bool ended;   /* whatever else the upstream sends is dropped */
    bool sending; /* text is with the next filters, and they have not taken all of it */
    bool last;    /* text ends the answer */

    ngx_chain_t *in, **last_in;       /* input that is held */
    struct grpc_json_message message; /* that has come in part; bytes are malloc's */
    struct buf text;
    ngx_buf_t out; /* text, as the next filters see it */

    ngx_event_t timer; /* until started: for the header without a message; then the heartbeat */
    struct grpc_json_exit_hook exit_hook;
};

/* The form that the client's Accept asks for; GRPC_JSON_NO_FORM: none that there is. */
enum grpc_json_form grpc_json_stream_form(ngx_http_request_t *r, const struct schema_match *match);

/* The upstream's header has come. NGX_OK or NGX_ERROR. */
ngx_int_t grpc_json_stream_header(ngx_http_request_t *r, struct grpc_json_ctx *ctx);
/* A body filter. */
ngx_int_t grpc_json_stream_body(ngx_http_request_t *r, struct grpc_json_ctx *ctx, ngx_chain_t *in);

/* ---- stream_text.c: what of a message the client sees ---- */

/* Appends a message to the text. NGX_OK, NGX_DECLINED: it is none of its type, or NGX_ERROR: there
 * is no memory. */
ngx_int_t grpc_json_stream_message(struct grpc_json_stream *s, struct str wire);
/* Appends ctx->answer, a problem, as the end of the text. NGX_DECLINED: the form has no way. */
ngx_int_t grpc_json_stream_error(struct grpc_json_stream *s);
/* The Content-Type of the answer; wire: the first message, or nothing. data is NULL without memory.
 */
ngx_str_t grpc_json_stream_type(struct grpc_json_stream *s, struct str wire);
/* A Content-Type that a service names, or the one for bytes; in the request's pool. */
ngx_str_t grpc_json_raw_type(ngx_http_request_t *r, struct str type);

#endif
