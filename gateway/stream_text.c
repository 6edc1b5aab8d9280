/* A stream's messages and its end as the client sees them. */
#include "stream.h"

#include "http/sse.h"

#include <errno.h>

/* JSON can be larger than its wire: names, and "false," for one byte of a packed list. */
#define JSON_GROWTH 16
#define JSON_BASE 65536

static ngx_int_t broken(struct grpc_json_stream *s, const struct schema_fault *fault)
{
    ngx_log_error(NGX_LOG_ERR, s->r->connection->log, 0,
                  "grpc_json: message of %*s is no such message: %*s: %*s",
                  s->ctx->match.method->path.n, s->ctx->match.method->path.p, fault->path.n,
                  fault->path.p, fault->message.n, fault->message.p);
    return NGX_DECLINED;
}

static ngx_int_t append_json(struct grpc_json_stream *s, struct str wire)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(s->r, ngx_http_grpc_json_module);
    struct schema_json_options options = {
        .print_unset = (conf->print & GRPC_JSON_PRINT_UNSET) != 0,
        .long_fractions = (conf->print & GRPC_JSON_PRINT_LONG_FRACTIONS) != 0,
    };
    struct schema_fault fault = {STR_NULL, STR_NULL};
    int err = schema_response(conf->schema, &s->ctx->match, wire, &options, &s->text,
                              grpc_json_scratch(), &fault);

    if (err)
        return err == -ENOMEM ? NGX_ERROR : broken(s, &fault);
    return NGX_OK;
}

static ngx_int_t append_raw(struct grpc_json_stream *s, struct str wire)
{
    struct schema_fault fault = {STR_NULL, STR("is no HttpBody")};
    struct str body, type, data;

    if (schema_raw_response(&s->ctx->match, wire, &body) ||
        schema_read_http_body(body, &type, &data))
        return broken(s, &fault);
    if (s->form == GRPC_JSON_EVENTS)
        sse_data(&s->text, data);
    else
        buf_append_str(&s->text, data);
    return NGX_OK;
}

ngx_int_t grpc_json_stream_message(struct grpc_json_stream *s, struct str wire)
{
    bool raw = s->form != GRPC_JSON_LINES && schema_match_raw_response(&s->ctx->match);
    size_t before = s->text.n;
    char room[SCHEMA_EVENT_ID_ROOM];
    struct str id;
    ngx_int_t rc;

    s->text.max = before + JSON_BASE + JSON_GROWTH * wire.n;
    if (s->form == GRPC_JSON_EVENTS) {
        id = schema_event_id(s->ctx->match.method, wire, room);
        if (id.p && !sse_id(&s->text, id))
            ngx_log_error(NGX_LOG_WARN, s->r->connection->log, 0,
                          "grpc_json: an event of %*s has an id that cannot be sent",
                          s->ctx->match.method->path.n, s->ctx->match.method->path.p);
        if (!raw)
            sse_begin_data(&s->text);
    }
    rc = raw ? append_raw(s, wire) : append_json(s, wire);
    if (rc == NGX_OK && !raw && s->form == GRPC_JSON_EVENTS)
        sse_end(&s->text);
    else if (rc == NGX_OK && !raw)
        buf_append_char(&s->text, '\n');
    if (rc == NGX_OK && s->text.failed)
        rc = NGX_ERROR;
    if (rc != NGX_OK) {
        s->text.n = before; /* what was there is whole */
        s->text.failed = s->text.no_memory = false;
    }
    return rc;
}

ngx_int_t grpc_json_stream_error(struct grpc_json_stream *s)
{
    const struct grpc_json_answer *answer = &s->ctx->answer;

    s->text.max = s->text.n + JSON_BASE + 2 * answer->body.len;
    switch (s->form) {
    case GRPC_JSON_EVENTS:
        sse_name(&s->text, STR("error"));
        if (answer->retry_after)
            sse_retry(&s->text, (unsigned)answer->retry_after * 1000);
        sse_data(&s->text, grpc_json_str(answer->body));
        return NGX_OK;
    case GRPC_JSON_LINES:
        buf_append_str(&s->text, STR("{\"error\":"));
        buf_append_str(&s->text, grpc_json_str(answer->body));
        buf_append_str(&s->text, STR("}\n"));
        return NGX_OK;
    default:
        return NGX_DECLINED;
    }
}

/* ---- types ---- */

ngx_str_t grpc_json_raw_type(ngx_http_request_t *r, struct str type)
{
    for (size_t i = 0; i < type.n; i++) {
        if (type.p[i] < 0x20 || type.p[i] > 0x7e)
            type.n = 0; /* nothing that a header can hold */
    }
    return grpc_json_copy(r, type.n ? type : STR("application/octet-stream"));
}

ngx_str_t grpc_json_stream_type(struct grpc_json_stream *s, struct str wire)
{
    struct str body, type = STR(""), data;

    if (s->form == GRPC_JSON_EVENTS)
        return grpc_json_copy(s->r, STR("text/event-stream"));
    if (s->form == GRPC_JSON_LINES)
        return grpc_json_copy(s->r, STR("application/x-ndjson"));
    if (schema_raw_response(&s->ctx->match, wire, &body) ||
        schema_read_http_body(body, &type, &data))
        type = STR("");
    return grpc_json_raw_type(s->r, type);
}
