/* Broadcasts. A message is decoded, printed as JSON and framed once, and compressed once if anybody
 * wants it so; who is in the channel gets a reference. What all of them have is then written, each
 * client's with one call.
 *
 * Writing is nearly all that a broadcast costs, and it costs the same for one message as for ten.
 * So when the last round of writing took some time, the next one begins as much later, and takes
 * along what comes meanwhile: half of the worker's time at most goes into it while it is not late,
 * and nobody waits longer than REST_MAX. A round that took less than a millisecond delays nothing.
 */
#include "attach.h"

#include <errno.h>

/* Forms of a message that are kept while it is given out: by location and binding. */
#define FORMS 4
#define REST_MAX (4 * NSEC_PER_MSEC)
/* Broadcasts after which is written in any case: what is larger would fill the queues of clients
 * who read well. */
#define ROUND_BYTES (64 << 10)
#define ROUND_MESSAGES 256
/* What waits of one session's own messages before it is written at once. */
#define OWN_BYTES (64 << 10)
#define OWN_MESSAGES 256
/* What may wait for a session while all that waits in this worker is more than it may be. */
#define PRESSED_BYTES (16 << 10)

static ngx_queue_t dirty = {&dirty, &dirty};
static ngx_event_t round_event;
static int64_t rest_until;
static size_t round_bytes, round_messages;

/* ---- those who do not keep up ---- */

/* They do not have to be told what they missed: it is with the service. */
static void close_slow(struct session *s)
{
    ngx_log_error(NGX_LOG_INFO, s->c->log, 0, "websocket: the client reads too slowly");
    grpc_json_metrics_session_slow(s->metrics);
    /* TLS has begun with bytes of more than the first. */
    if (!s->c->ssl)
        frame_queue_trim(&s->out);
    session_close(s, WEBSOCKET_TRY_LATER,
                  STR("too slow: connect again and go on after the last message"));
}

/* For who keeps up next to nothing waits. So when all that waits is too much, the others go. */
static bool is_behind(const struct session *s, size_t more)
{
    const struct grpc_json_websocket *conf = &s->conf->websocket;

    return s->out.count >= conf->queue_messages || s->out.bytes + more > conf->queue_bytes ||
           (frame_memory() > conf->memory && s->out.bytes > PRESSED_BYTES);
}

void attach_settle(struct session *s)
{
    if (s->out.bytes >= OWN_BYTES || s->out.count >= OWN_MESSAGES)
        session_write(s);
    if (s->call && is_behind(s, 0))
        close_slow(s);
    session_settle(s);
}

/* ---- rounds of writing ---- */

static void close_failed(struct session *s, unsigned code)
{
    if (code == WEBSOCKET_TRY_LATER)
        close_slow(s);
    else
        session_close(s, code, STR(SESSION_BROKEN));
}

static void write_round(void)
{
    int64_t began = clock_monotonic_ns(), took;

    if (ngx_queue_empty(&dirty))
        return;
    round_bytes = round_messages = 0;
    while (!ngx_queue_empty(&dirty)) {
        struct attach_call *call =
            ngx_queue_data(ngx_queue_head(&dirty), struct attach_call, dirty);
        struct session *s = call->session;

        ngx_queue_remove(&call->dirty);
        call->written_later = false;
        if (call->close_code)
            close_failed(s, call->close_code);
        session_write(s);
        session_settle(s);
    }
    took = clock_monotonic_ns() - began;
    rest_until = began + took + (took < REST_MAX ? took : REST_MAX);
}

static void on_round(ngx_event_t *event)
{
    (void)event;
    write_round();
}

static void plan_round(void)
{
    int64_t ms;

    if (round_bytes >= ROUND_BYTES || round_messages >= ROUND_MESSAGES) {
        write_round();
        return;
    }
    if (round_event.posted || round_event.timer_set || ngx_queue_empty(&dirty))
        return;
    round_event.handler = on_round;
    round_event.log = ngx_cycle->log;
    round_event.cancelable = 1;
    ms = (rest_until - clock_monotonic_ns()) / NSEC_PER_MSEC;
    if (ms > 0) {
        ngx_add_timer(&round_event, (ngx_msec_t)ms);
    } else {
        ngx_post_event(&round_event, &ngx_posted_events);
    }
}

void attach_fanout_forget(struct attach_call *call)
{
    if (call->written_later) { /* several statements */
        ngx_queue_remove(&call->dirty);
    }
    call->written_later = false;
}

static void write_later(struct attach_call *call)
{
    if (call->written_later)
        return;
    call->written_later = true;
    ngx_queue_insert_tail(&dirty, &call->dirty);
}

/* ---- a message and its forms ---- */

struct form {
    const struct grpc_json_conf *conf;
    const struct schema_binding *binding;
    struct frame *plain, *small; /* NULL: not made yet; the plain one: because of code */
    struct str payload;          /* in the plain one */
    enum websocket_opcode opcode;
    unsigned code; /* what a session that wants it is closed with; 0: there it is */
};

struct message {
    struct str wire;
    struct form forms[FORMS];
    size_t n;
};

static void free_forms(struct message *m)
{
    for (size_t i = 0; i < m->n; i++) {
        frame_release(m->forms[i].plain);
        frame_release(m->forms[i].small);
    }
    m->n = 0;
}

static struct form make_form(const struct session *s, struct str wire)
{
    struct form form = {.conf = s->conf, .binding = s->binding};
    struct schema_fault fault = SESSION_NO_FAULT;
    struct session_text text;
    int err = wire.n > ATTACH_MESSAGE_MAX ? -EBADMSG : session_print(s, wire, &text, &fault);

    if (err == -EBADMSG)
        session_log_broken(s, &fault);
    if (!err)
        form.plain = session_frame(&text, false);
    if (!form.plain) {
        form.code = WEBSOCKET_INTERNAL_ERROR;
        return form;
    }
    form.opcode = text.opcode;
    form.payload = (struct str){form.plain->bytes + form.plain->n - text.payload.n, text.payload.n};
    return form;
}

static struct form *form_for(struct message *m, const struct session *s)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->forms[i].conf == s->conf && m->forms[i].binding == s->binding)
            return &m->forms[i];
    }
    if (m->n == FORMS)
        free_forms(m);
    m->forms[m->n] = make_form(s, m->wire);
    return &m->forms[m->n++];
}

/* NULL: form->code says why. */
static struct frame *frame_for(struct form *form, const struct session *s)
{
    struct session_text text = {form->opcode, form->payload};

    if (!form->plain || !session_wants_deflate(s, form->payload.n))
        return form->plain;
    if (!form->small)
        form->small = session_frame(&text, true);
    return form->small ? form->small : form->plain;
}

/* ---- giving it out ---- */

static void give(struct attach_call *call, struct message *m)
{
    struct session *s = call->session;
    struct form *form = form_for(m, s);
    struct frame *frame = frame_for(form, s);

    if (call->close_code)
        return;
    if (!frame)
        call->close_code = (uint16_t)form->code;
    else if (is_behind(s, frame->n))
        call->close_code = WEBSOCKET_TRY_LATER;
    else if (!frame_queue_push(&s->out, frame))
        call->close_code = WEBSOCKET_INTERNAL_ERROR;
    s->used_at = ngx_current_msec;
    write_later(call);
}

void attach_broadcast(struct attach_link *link, const struct attach_down *down)
{
    struct message m = {.wire = down->bytes};
    size_t n;
    struct seat *seats = channels_seats(&link->channels, down->channel, &n);
    size_t given = 0;

    for (size_t i = 0; i < n; i++) {
        if (!seats[i].live || (down->seq && down->seq <= seats[i].seq))
            continue;
        if (down->seq)
            seats[i].seq = down->seq;
        given++;
        give(CONTAINER_OF(seats[i].member, struct attach_call, member), &m);
    }
    if (m.n) {
        round_bytes += m.forms[0].plain ? m.forms[0].plain->n : 0;
        round_messages++;
    }
    free_forms(&m);
    grpc_json_metrics_attach(link->server->metrics, ATTACH_DELIVERIES, given);
    grpc_json_metrics_queued(frame_queue_waiting());
    plan_round();
}

void attach_fanout_shutdown(void)
{
    if (round_event.timer_set)
        ngx_del_timer(&round_event);
    if (round_event.posted) { /* several statements */
        ngx_delete_posted_event(&round_event);
    }
}
