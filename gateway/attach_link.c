/* One stream to one instance. Up: what all sessions say in one turn of the event loop goes
 * together, each with a share, in turn. Down: an AttachResponse is taken as a whole or not at all.
 */
#include "attach.h"

#include <stdlib.h>

/* Bytes that wait to go; then sessions wait. */
#define UP_HIGH (64 << 10)
/* Bytes that a session may say in one turn. */
#define SHARE (16 << 10)
/* Sessions whose turn comes at once. */
#define TURNS 256
/* An instance that has calls is asked when it has been silent for a BEAT (ms), and counts as dead
 * after so many: as one that a load balancer drops, within two seconds. Beats are counted, not
 * milliseconds: while the worker itself stands still, there are none. */
#define BEAT 400
#define BEATS_MISSED 4

static void count(const struct attach_link *link, enum grpc_json_attach_count what, size_t n)
{
    grpc_json_metrics_attach(link->server->metrics, what, n);
}

/* ---- up ---- */

static void post_flush(struct attach_link *link)
{
    ngx_post_event(&link->flush, &ngx_posted_events);
}

void attach_link_break(struct attach_link *link)
{
    link->broken = true;
    if (link->stream)
        post_flush(link);
}

bool attach_link_has_room(const struct attach_link *link)
{
    return !link->full && link->up.n < UP_HIGH;
}

void attach_link_put(struct attach_link *link, uint64_t session, enum attach_up what,
                     struct str value)
{
    if (!link->stream)
        return;
    attach_put_item(&link->up, session, what, value);
    /* What would be missing from then on, nobody could know: the others are better elsewhere. */
    if (link->up.failed)
        attach_link_break(link);
    post_flush(link);
}

bool attach_link_is_busy(struct attach_call *call)
{
    struct attach_link *link = call->link;

    if (call->turn != link->turn) {
        call->turn = link->turn;
        call->said = 0;
    }
    if (!call->waiting && attach_link_has_room(link) && call->said < SHARE)
        return false;
    if (!call->waiting) {
        call->waiting = true;
        ngx_queue_insert_tail(&link->waiting, &call->waits);
        post_flush(link);
    }
    return true;
}

/* Those that waited longest have their turn. */
static void call_up(struct attach_link *link)
{
    for (int i = 0; i < TURNS && !ngx_queue_empty(&link->waiting); i++) {
        struct attach_call *call =
            ngx_queue_data(ngx_queue_head(&link->waiting), struct attach_call, waits);

        attach_wait_no_more(call);
        session_go_on(call->session);
    }
    /* Who had a turn may have had nothing to say. */
    if (!ngx_queue_empty(&link->waiting)) {
        ngx_post_event(&link->flush, &ngx_posted_next_events);
    }
}

static void lose(struct attach_link *link, const char *reason)
{
    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "gRPC server %V, %*s: %s",
                  &link->server->at.address->name, link->group->path.n, link->group->path.p,
                  reason);
    if (link->stream)
        grpc_h2_cancel(link->stream);
    link->stream = NULL;
    attach_link_lost(link);
}

static void on_flush(ngx_event_t *event)
{
    struct attach_link *link = event->data;
    ngx_int_t rc;

    if (!link->broken && link->up.n && !link->full) {
        rc = grpc_h2_send(link->stream, buf_str(&link->up));
        count(link, ATTACH_MESSAGES_SENT, 1);
        count(link, ATTACH_BYTES_SENT, link->up.n);
        link->up.n = 0;
        link->full = rc == NGX_AGAIN;
        link->broken = rc == NGX_ERROR;
    }
    if (link->broken) {
        lose(link, "out of memory");
        return;
    }
    if (link->full)
        return;
    if (link->up.cap > UP_HIGH)
        buf_free(&link->up);
    link->turn++;
    call_up(link);
    if (!ngx_queue_empty(&link->group->pending))
        attach_group_touch(link->group);
}

static void on_writable(void *data)
{
    struct attach_link *link = data;

    link->full = false;
    post_flush(link);
}

/* ---- whether the instance lives ---- */

bool attach_link_is_late(const struct attach_link *link)
{
    return link->group->beats && link->missed >= BEATS_MISSED;
}

static void ask(struct attach_link *link)
{
    if (link->full)
        return;
    attach_put_beat(&link->up);
    post_flush(link);
}

/* One that stands still, such as a process that was stopped, keeps its connection: nothing else
 * tells. Without another instance there is nothing better than to wait for it. */
static void on_beat(ngx_event_t *event)
{
    struct attach_link *link = event->data;

    ngx_add_timer(event, BEAT);
    link->missed = link->heard || link->n_calls == 0 ? 0 : link->missed + 1;
    link->heard = false;
    if (attach_link_is_late(link) && attach_has_other(link)) {
        lose(link, "it does not answer");
        return;
    }
    if (link->missed)
        ask(link);
}

/* ---- down ---- */

static void on_opened(void *data)
{
    struct attach_link *link = data;

    link->state = ATTACH_WORKS;
    link->counted = true;
    count(link, ATTACH_LINKS_BEGUN, 1);
    link->works_since = ngx_current_msec;
    ngx_add_timer(&link->beat, BEAT);
    ask(link); /* whether it knows that question */
    attach_group_touch(link->group);
}

static void take(struct attach_link *link, const struct attach_down *down)
{
    struct attach_call *call;

    if (!down->session) {
        if (down->what == ATTACH_BROADCAST)
            attach_broadcast(link, down);
        return;
    }
    call = attach_find(down->session);
    /* Another instance has it by now, or it has ended. */
    if (call && call->link == link)
        attach_take(call, down);
}

static bool on_message(void *data, struct str wire)
{
    struct attach_link *link = data;
    struct schema_reader r = schema_reader_of(wire);
    struct attach_down down;

    link->heard = true;
    count(link, ATTACH_MESSAGES_RECEIVED, 1);
    count(link, ATTACH_BYTES_RECEIVED, wire.n);
    link->group->beats = link->group->beats || attach_has_beat(wire);
    if (!attach_is_whole(wire)) {
        lose(link, "an AttachResponse is broken");
        return false;
    }
    while (!link->broken && attach_next(&r, &down) == 1)
        take(link, &down);
    if (!link->broken)
        return true;
    lose(link, link->up.failed ? "out of memory" : "an AttachResponse makes no sense");
    return false;
}

static void on_going(void *data)
{
    attach_link_going(data);
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    struct attach_link *link = data;

    link->stream = NULL;
    /* The connection has told already why it was lost. */
    if (end->from_upstream && !ngx_exiting)
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0, "gRPC server %V, %*s: ended with %d: %*s",
                      &link->server->at.address->name, link->group->path.n, link->group->path.p,
                      end->status, end->message.n, end->message.p);
    attach_link_lost(link);
}

static const struct grpc_h2_callbacks callbacks = {
    .opened = on_opened,
    .message = on_message,
    .writable = on_writable,
    .going = on_going,
    .ended = on_ended,
};

/* ---- beginning and end ---- */

struct attach_link *attach_link_start(struct attach_server *server)
{
    struct attach_link *link = ngx_calloc(sizeof(*link), ngx_cycle->log);

    if (!link)
        return NULL;
    link->group = server->group;
    link->server = server;
    ngx_queue_init(&link->announced);
    ngx_queue_init(&link->settled);
    ngx_queue_init(&link->waiting);
    buf_init(&link->up, ATTACH_REQUEST_MAX);
    link->flush.handler = on_flush;
    link->flush.data = link;
    link->flush.log = ngx_cycle->log;
    link->beat.handler = on_beat;
    link->beat.data = link;
    link->beat.log = ngx_cycle->log;
    link->beat.cancelable = 1;
    link->stream = grpc_h2_open_at(&server->at, server->group->path, ATTACH_RESPONSE_MAX,
                                   &callbacks, link, ngx_cycle->log);
    if (!link->stream) {
        ngx_free(link);
        return NULL;
    }
    ngx_queue_insert_tail(&server->group->links, &link->queue);
    return link;
}

void attach_link_close(struct attach_link *link)
{
    if (link->flush.posted) { /* several statements */
        ngx_delete_posted_event(&link->flush);
    }
    if (link->counted)
        count(link, ATTACH_LINKS_ENDED, 1);
    link->counted = false;
    if (link->beat.timer_set)
        ngx_del_timer(&link->beat);
    ngx_queue_remove(&link->queue);
    buf_free(&link->up);
}

void attach_link_free(struct attach_link *link)
{
    ngx_free(link);
}

void attach_link_enter(struct attach_link *link, struct attach_call *call)
{
    call->link = link;
    call->accepted = false;
    link->n_calls++;
    count(link, ATTACH_CALLS_BEGUN, 1);
    ngx_queue_insert_tail(&link->announced, &call->place);
}

void attach_link_leave(struct attach_call *call)
{
    struct attach_link *link = call->link;

    if (!link)
        return;
    channels_leave_all(&link->channels, &call->member);
    attach_wait_no_more(call);
    attach_unlink(call);
    call->link = NULL;
    count(link, ATTACH_CALLS_ENDED, 1);
    if (--link->n_calls == 0 && link->state == ATTACH_LOST)
        attach_link_free(link);
}
