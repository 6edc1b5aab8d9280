/* A session as a part of a stream that many share: its calls up as items, items for it as calls. */
#include "attach.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_IDS 64
/* Who reads slowly is noticed by what waits here: not by the megabytes that the kernel would take.
 */
#define SEND_BUFFER (32 << 10)
/* ms that the service's own DEADLINE_EXCEEDED has time to arrive. */
#define DEADLINE_GRACE 500

/* ---- ids: never used twice by a worker ---- */

static struct {
    struct slot {
        struct attach_call *call; /* NULL: free */
        uint32_t uses;
        uint32_t next_free;
    } * slots;
    uint32_t n, cap;
    uint32_t first_free; /* index + 1; 0: none */
} ids;

static bool grow_ids(void)
{
    uint32_t cap = ids.cap ? ids.cap * 2 : FIRST_IDS;
    struct slot *slots = realloc(ids.slots, cap * sizeof(*slots));

    if (!slots)
        return false;
    ids.slots = slots;
    ids.cap = cap;
    return true;
}

static bool take_id(struct attach_call *call)
{
    uint32_t i;

    if (!ids.first_free) {
        if (ids.n == ids.cap && !grow_ids())
            return false;
        ids.slots[ids.n] = (struct slot){0};
        ids.first_free = ++ids.n;
    }
    i = ids.first_free - 1;
    ids.first_free = ids.slots[i].next_free;
    ids.slots[i].call = call;
    ids.slots[i].uses++;
    call->id = (uint64_t)ids.slots[i].uses << 32 | i;
    return true;
}

static void give_id_back(const struct attach_call *call)
{
    uint32_t i = (uint32_t)call->id;

    ids.slots[i].call = NULL;
    ids.slots[i].next_free = ids.first_free;
    ids.first_free = i + 1;
}

struct attach_call *attach_find(uint64_t id)
{
    uint32_t i = (uint32_t)id;

    if (i >= ids.n || ids.slots[i].uses != id >> 32)
        return NULL;
    return ids.slots[i].call;
}

/* ---- the end of a call ---- */

void attach_unlink(struct attach_call *call)
{
    ngx_queue_remove(&call->place);
    ngx_queue_init(&call->place);
}

void attach_wait_no_more(struct attach_call *call)
{
    if (call->waiting) { /* several statements */
        ngx_queue_remove(&call->waits);
    }
    call->waiting = false;
}

/* tell: the instance does not know yet. */
static void free_call(struct attach_call *call, bool tell)
{
    if (tell && call->link)
        attach_link_put(call->link, call->id, ATTACH_CLOSE, STR(""));
    attach_want_no_more(call);
    attach_fanout_forget(call);
    attach_link_leave(call);
    give_id_back(call);
    free((void *)(uintptr_t)call->open.p);
    free((void *)(uintptr_t)call->state.p);
    free(call);
}

static void end_call(struct attach_call *call, bool tell, const struct grpc_h2_end *end)
{
    struct session *s = call->session;

    free_call(call, tell);
    session_end(s, end);
}

void attach_fail(struct attach_call *call, int status, struct str message)
{
    end_call(call, true, &(struct grpc_h2_end){.status = status, .message = message});
}

/* ---- from the client ---- */

static bool is_full(struct session *s)
{
    struct attach_call *call = s->call;

    /* What is said before an instance has accepted the call could be lost, and nobody would say so.
     */
    return !call->accepted || attach_link_is_busy(call);
}

static ngx_int_t send_message(struct session *s, struct str wire)
{
    struct attach_call *call = s->call;

    call->said += (uint32_t)wire.n + ATTACH_ITEM_OVERHEAD;
    attach_link_put(call->link, call->id, ATTACH_UP_MESSAGE, wire);
    return NGX_OK;
}

static void half_close(struct session *s)
{
    struct attach_call *call = s->call;

    attach_link_put(call->link, call->id, ATTACH_HALF_CLOSE, STR(""));
}

static void resume(struct session *s)
{
    struct attach_call *call = s->call;

    if (call->accepted)
        attach_link_put(call->link, call->id, ATTACH_DRAINED, STR(""));
}

static void cancel(struct session *s)
{
    free_call(s->call, true);
}

static const struct session_carrier carrier = {
    .is_full = is_full,
    .send = send_message,
    .half_close = half_close,
    .resume = resume,
    .cancel = cancel,
    .message_max = ATTACH_MESSAGE_MAX,
    .send_buffer = SEND_BUFFER,
};

/* ---- opening ---- */

/* A serialized Open; {NULL, 0} without memory. */
static struct str make_open(const struct session *s, const struct session_opening *opening)
{
    struct buf open = {.max = ATTACH_MESSAGE_MAX};
    char text[RPC_TIMEOUT_SIZE];

    attach_put_method(&open, s->method->path);
    for (size_t i = 0; i < opening->n; i++)
        attach_put_metadata(&open, opening->headers[i].name, opening->headers[i].value);
    if (opening->timeout)
        attach_put_metadata(&open, STR("grpc-timeout"),
                            (struct str){text, rpc_timeout_write(text, opening->timeout)});
    if (open.failed) {
        buf_free(&open);
        return STR_NULL;
    }
    return buf_str(&open);
}

int attach_open(struct session *s, struct str path, const struct session_opening *opening)
{
    struct attach_group *group = attach_group(opening->upstream, path);
    struct attach_call *call = group ? calloc(1, sizeof(*call)) : NULL;

    if (!call)
        return -ENOMEM;
    call->open = make_open(s, opening);
    if (!call->open.p || !take_id(call)) {
        free((void *)(uintptr_t)call->open.p);
        free(call);
        return -ENOMEM;
    }
    ngx_queue_init(&call->place);
    call->session = s;
    call->group = group;
    call->since = opening->came;
    s->carrier = &carrier;
    s->call = call;
    if (opening->timeout)
        s->deadline = ngx_current_msec + opening->timeout + DEADLINE_GRACE;
    attach_want(call);
    return 0;
}

/* What it was, and where its client is. */
static struct str make_resumed(const struct attach_call *call)
{
    struct buf *open = grpc_json_scratch_buf(ATTACH_REQUEST_MAX / 2);

    attach_put_method(open, call->session->method->path);
    attach_put_resumed(open, call->state);
    for (uint32_t i = 0; i < call->member.n; i++)
        attach_put_position(open, member_channel(&call->member, i),
                            member_seat(&call->member, i)->seq);
    return open->failed ? STR_NULL : buf_str(open);
}

void attach_announce(struct attach_call *call)
{
    struct str open = call->open.p ? call->open : make_resumed(call);

    if (!call->open.p)
        grpc_json_metrics_attach(call->link->server->metrics, ATTACH_RESUMED, 1);
    if (open.p)
        attach_link_put(call->link, call->id, ATTACH_OPEN, open);
    else
        attach_link_break(call->link);
}

/* ---- items ---- */

static void on_opened(struct attach_call *call)
{
    struct session *s = call->session;

    if (call->accepted)
        return;
    if (call->open.p)
        grpc_json_metrics_accepted(call->link->server->metrics, ngx_current_msec - call->since);
    free((void *)(uintptr_t)call->open.p);
    call->open = STR_NULL;
    call->accepted = true;
    attach_unlink(call);
    ngx_queue_insert_tail(&call->link->settled, &call->place);
    if (s->no_more || s->state == SESSION_LEAVING)
        half_close(s);
    session_opened(s);
    session_go_on(s);
}

static void on_message(struct attach_call *call, const struct attach_down *down)
{
    struct session *s = call->session;
    bool paused;

    if (down->bytes.n > ATTACH_MESSAGE_MAX) {
        ngx_log_error(NGX_LOG_ERR, s->c->log, 0, "grpc_json: a message of %uz bytes of %*s",
                      down->bytes.n, s->method->path.n, s->method->path.p);
        attach_fail(call, RPC_INTERNAL, STR("the service sent a message that is too large"));
        return;
    }
    paused = s->paused || down->tell_drained;
    (void)session_deliver(s, down->bytes); /* nobody waits: what is too much ends the session */
    s->paused = paused && s->call;
    attach_settle(s);
}

static void on_end(struct attach_call *call, const struct attach_down *down)
{
    struct grpc_h2_end end = {
        .status = down->code >= 0 && down->code <= RPC_UNAUTHENTICATED ? down->code : RPC_UNKNOWN,
        .from_upstream = true,
        .message = down->bytes,
        .details = down->details,
    };

    end_call(call, false, &end);
}

static void on_state(struct attach_call *call, struct str state)
{
    char *copy;

    if (state.n > ATTACH_STATE_MAX) {
        attach_link_break(call->link);
        return;
    }
    copy = malloc(state.n + 1); /* an empty one is one as well */
    if (!copy) {
        attach_fail(call, RPC_RESOURCE_EXHAUSTED, STR("out of memory"));
        return;
    }
    if (state.n)
        memcpy(copy, state.p, state.n);
    free((void *)(uintptr_t)call->state.p);
    call->state = (struct str){copy, state.n};
}

static void on_channel(struct attach_call *call, const struct attach_down *down)
{
    int err = channels_set(&call->link->channels, &call->member, down->channel, down->seq,
                           down->live, ATTACH_CHANNELS_MAX);

    if (err == -ENOSPC)
        attach_fail(call, RPC_INTERNAL, STR("the session is in too many channels"));
    else if (err)
        attach_fail(call, RPC_RESOURCE_EXHAUSTED, STR("out of memory"));
}

void attach_take(struct attach_call *call, const struct attach_down *down)
{
    if (down->what == ATTACH_OPENED) {
        on_opened(call);
    } else if (down->what == ATTACH_END) {
        on_end(call, down);
    } else if (!call->accepted) {
        if (down->what != ATTACH_NOTHING)
            attach_link_break(call->link);
    } else if (down->what == ATTACH_DOWN_MESSAGE) {
        on_message(call, down);
    } else if (down->what == ATTACH_RESUME_STATE) {
        on_state(call, down->bytes);
    } else if (down->what == ATTACH_CHANNEL) {
        on_channel(call, down);
    } else if (down->what == ATTACH_LEFT_CHANNEL) {
        channels_leave(&call->link->channels, &call->member, down->channel);
    }
}

/* ---- when the worker ends ---- */

void attach_shutdown(void)
{
    /* Sessions that are still there end without a word: the process does. */
    for (uint32_t i = 0; i < ids.n; i++) {
        struct attach_call *call = ids.slots[i].call;

        if (call) {
            call->session->call = NULL;
            free_call(call, false);
        }
    }
    free(ids.slots);
    ids.slots = NULL;
    ids.n = ids.cap = ids.first_free = 0;
    attach_groups_shutdown();
    attach_fanout_shutdown();
}
