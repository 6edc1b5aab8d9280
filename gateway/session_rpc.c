/* Between a session's frames and its RPC's messages, and what the RPC's end means to a client.
 * Runs in a worker. */
#include "session.h"

#include "base/utf8.h"
#include "http/websocket_deflate.h"
#include "rpc_status.h"

#include <errno.h>
#include <stdlib.h>

/* What waits for a client that reads slowly, when the service has to wait as well. */
#define OUT_HIGH (64 << 10)
#define OUT_COUNT_HIGH 1024
/* Smaller messages gain little by compression. */
#define DEFLATE_MIN 256
#define DEFLATE_ROOM 16 /* what it may need beyond the message's size */
/* Wire can be larger than its JSON, and JSON than its wire: see request.c and response.c. */
#define WIRE_GROWTH 8
#define JSON_GROWTH 16
#define TEXT_BASE 65536
/* Close codes from 4000 to 4999 are for private use (RFC 6455 section 7.4.2). */
#define CLOSE_CODE_OF_RPC 4000

static struct schema_match match_of(const struct session *s)
{
    return (struct schema_match){.binding = s->binding, .method = s->method};
}

/* ---- from the client ---- */

/* JSON of the wrong shape is an argument that is invalid; what is no JSON at all is bad data. */
static void refuse_json(struct session *s, struct str json, struct arena *arena,
                        const struct schema_fault *fault)
{
    struct str reason = fault->message;

    if (!schema_json_valid(json, 0)) {
        session_close(s, WEBSOCKET_BAD_DATA, reason);
        return;
    }
    if (fault->path.n)
        reason = arena_printf(arena, "%.*s: %.*s", STR_FMT(fault->path), STR_FMT(fault->message));
    session_close(s, CLOSE_CODE_OF_RPC + RPC_INVALID_ARGUMENT, reason);
}

/* Appends the message that a frame means. false: the session has been closed. */
static bool read_message(struct session *s, struct str payload, struct str type, struct buf *wire)
{
    struct schema_json_options options = {.refuse_unknown = s->conf->refuse_unknown != 0,
                                          .max_items = (size_t)s->conf->array_limit,
                                          .content_type = type};
    struct schema_match match = match_of(s);
    struct schema_fault fault = {STR_NULL, STR_NULL};
    struct arena *arena = grpc_json_scratch();
    int err =
        schema_stream_request(s->conf->schema, &match, payload, &options, wire, arena, &fault);

    if (err == 0) {
        buf_append_str(wire, s->first);
        err = buf_error(wire);
    }
    if (err == 0)
        return true;
    if (err == -EBADMSG)
        refuse_json(s, payload, arena, &fault);
    else if (err == -EMSGSIZE)
        session_close(s, WEBSOCKET_TOO_BIG, STR("the message is too large"));
    else
        session_close(s, WEBSOCKET_INTERNAL_ERROR, STR("out of memory"));
    return false;
}

static void send_message(struct session *s, struct str wire)
{
    /* One that has ended tells so by itself. */
    if (s->carrier->send(s, wire) == NGX_ERROR)
        session_close(s, WEBSOCKET_INTERNAL_ERROR, STR("out of memory"));
}

void session_take_message(struct session *s, enum websocket_opcode opcode, struct str payload)
{
    bool text = opcode == WEBSOCKET_TEXT;
    struct buf *wire;

    s->used_at = ngx_current_msec;
    if (s->no_more) {
        session_close(s, WEBSOCKET_POLICY, STR("no message may follow the empty one"));
        return;
    }
    if (!s->raw_in && !text) {
        session_close(s, WEBSOCKET_UNACCEPTABLE, STR("messages are JSON in text frames"));
        return;
    }
    if (!s->raw_in && payload.n == 0) {
        s->no_more = true;
        s->carrier->half_close(s);
        return;
    }
    wire = grpc_json_scratch_buf(TEXT_BASE + WIRE_GROWTH * (payload.n + s->first.n));
    if (!read_message(s, payload,
                      text ? STR("text/plain; charset=utf-8") : STR("application/octet-stream"),
                      wire))
        return;
    if (s->carrier->message_max && wire->n > s->carrier->message_max) {
        session_close(s, WEBSOCKET_TOO_BIG, STR("the message is too large"));
        return;
    }
    free((void *)(uintptr_t)s->first.p);
    s->first = STR_NULL;
    send_message(s, buf_str(wire));
}

/* ---- from the service ---- */

static bool is_text(struct str type, struct str data)
{
    return type.n >= 5 && str_eq_nocase((struct str){type.p, 5}, STR("text/")) && utf8_valid(data);
}

int session_print(const struct session *s, struct str wire, struct session_text *ret,
                  struct schema_fault *fault)
{
    struct schema_json_options options = {
        .print_unset = (s->conf->print & GRPC_JSON_PRINT_UNSET) != 0,
        .long_fractions = (s->conf->print & GRPC_JSON_PRINT_LONG_FRACTIONS) != 0,
    };
    struct schema_match match = match_of(s);
    struct str body, type = STR("");
    struct buf *json;
    int err;

    ret->opcode = WEBSOCKET_TEXT;
    if (s->raw_out) {
        err = schema_raw_response(&match, wire, &body);
        if (!err)
            err = schema_read_http_body(body, &type, &ret->payload);
        if (!err && !is_text(type, ret->payload))
            ret->opcode = WEBSOCKET_BINARY;
        return err;
    }
    json = grpc_json_scratch_buf(TEXT_BASE + JSON_GROWTH * wire.n);
    err =
        schema_response(s->conf->schema, &match, wire, &options, json, grpc_json_scratch(), fault);
    if (!err)
        err = buf_error(json);
    ret->payload = buf_str(json);
    return err;
}

bool session_wants_deflate(const struct session *s, size_t n)
{
    return n >= DEFLATE_MIN && websocket_deflate_suits(s->window, n);
}

struct frame *session_frame(const struct session_text *text, bool deflate)
{
    struct buf small = {.max = text->payload.n + DEFLATE_ROOM};
    struct frame *frame;

    if (!deflate || websocket_deflate(text->payload, &small) != 1)
        frame = frame_new(text->opcode, WEBSOCKET_FIN, text->payload);
    else
        frame = frame_new(text->opcode, WEBSOCKET_FIN | WEBSOCKET_COMPRESSED, buf_str(&small));
    buf_free(&small);
    return frame;
}

void session_log_broken(const struct session *s, const struct schema_fault *fault)
{
    ngx_log_error(NGX_LOG_ERR, s->c->log, 0,
                  "grpc_json: message of %*s is no such message: %*s: %*s", s->method->path.n,
                  s->method->path.p, fault->path.n, fault->path.p, fault->message.n,
                  fault->message.p);
}

static void queue_message(struct session *s, struct str wire)
{
    struct schema_fault fault = SESSION_NO_FAULT;
    struct session_text text;
    struct frame *frame;
    int err = session_print(s, wire, &text, &fault);

    if (err == -EBADMSG) {
        session_log_broken(s, &fault);
        session_close(s, WEBSOCKET_INTERNAL_ERROR, STR(SESSION_BROKEN));
        return;
    }
    frame = err ? NULL : session_frame(&text, session_wants_deflate(s, text.payload.n));
    if (!frame || !frame_queue_push(&s->out, frame))
        session_close(s, WEBSOCKET_INTERNAL_ERROR, STR("out of memory"));
    frame_release(frame);
    s->used_at = ngx_current_msec;
    session_wants_write(s);
}

bool session_deliver(struct session *s, struct str wire)
{
    queue_message(s, wire);
    s->paused = s->call && (s->out.bytes >= OUT_HIGH || s->out.count >= OUT_COUNT_HIGH);
    return !s->paused;
}

void session_go_on(struct session *s)
{
    session_wants_read(s);
}

void session_opened(struct session *s)
{
    if (s->upgrade)
        upgrade_opened(s->upgrade);
}

/* ---- the RPC's end ---- */

/* A service's own words are for the caller, as in a problem: those about its own failures are not.
 */
static struct str reason_of(const struct grpc_h2_end *end)
{
    struct problem problem;
    int err;

    if (!end->from_upstream)
        return end->message;
    err = rpc_problem(&problem, end->status, end->message, end->details, grpc_json_scratch());
    return !err && problem.detail.n ? problem.detail : problem_title(problem.status);
}

/* What is not the service's own word, but about it. */
static unsigned code_of_loss(int status)
{
    switch (status) {
    case RPC_UNAVAILABLE:
        return WEBSOCKET_RESTART;
    case RPC_DEADLINE_EXCEEDED:
        return CLOSE_CODE_OF_RPC + RPC_DEADLINE_EXCEEDED;
    default:
        return WEBSOCKET_INTERNAL_ERROR;
    }
}

void session_say_end(struct session *s, const struct grpc_h2_end *end)
{
    if (!end->from_upstream)
        ngx_log_error(NGX_LOG_ERR, s->c->log, 0, "websocket: %*s ended: %*s", s->method->path.n,
                      s->method->path.p, end->message.n, end->message.p);
    if (!end->from_upstream)
        session_close(s, code_of_loss(end->status), reason_of(end));
    else if (end->status != RPC_OK)
        session_close(s, CLOSE_CODE_OF_RPC + (unsigned)end->status, reason_of(end));
    else
        session_close(s, s->state == SESSION_LEAVING ? s->code : WEBSOCKET_NORMAL, STR(""));
}

void session_end(struct session *s, const struct grpc_h2_end *end)
{
    s->call = NULL;
    if (s->upgrade) {
        upgrade_ended(s->upgrade, end);
        return;
    }
    session_say_end(s, end);
    session_settle(s);
}
