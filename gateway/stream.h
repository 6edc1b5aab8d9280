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

/* A stream's answer. One piece of text is on its way to the client at a time, and one is being made
 * meanwhile; when that is large enough no more messages are taken, and flow control stops the
 * service. */
struct grpc_json_stream {
    enum grpc_json_form form;
    ngx_http_request_t *r;
    struct grpc_json_ctx *ctx;
    bool flush;   /* the header goes out though there is no text */
    bool started; /* the header is with the client */
    bool paused;  /* no more messages are taken for now */
    bool ended;   /* there are no more */
    bool last;    /* text ends the answer */
    bool sending; /* `going` is with the next filters, and they have not taken all of it */
    bool done;    /* all of the answer is with them: the request may end */
    bool failed;  /* the request has to end with its connection */

    struct buf text;  /* being made */
    struct buf going; /* being sent */
    ngx_buf_t out;    /* `going`, as the next filters see it */

    ngx_event_t go;    /* posted: sends what there is, or ends the request */
    ngx_event_t timer; /* until started: for the header without a message; then the heartbeat */
    struct grpc_json_exit_hook exit_hook;
};

/* The form that the client's Accept asks for; GRPC_JSON_NO_FORM: none that there is. */
enum grpc_json_form grpc_json_stream_form(ngx_http_request_t *r, const struct schema_match *match);

/* Begins the request's server stream. frame: its message behind the prefix. Returns as a phase
 * handler: NGX_DONE, or a status of which ctx->answer is the problem. */
ngx_int_t grpc_json_stream(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct str frame);

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
