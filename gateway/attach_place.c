/* Which instance a session is with. New ones are spread over the servers of the upstream by nginx's
 * round robin; when an instance is lost or wants to go, its sessions are announced to others, or to
 * the same one when it is back. They go a few at a time, so that thousands of them stop neither the
 * worker nor the instance. */
#include "attach.h"

#include <stdlib.h>

/* Calls that are placed in one turn of the event loop. */
#define PLACED_AT_ONCE 256
/* ms until a server that failed again is asked again: twice as long each time. */
#define RETRY_MIN 25
#define RETRY_MAX 800
/* A stream that has worked for so long was not refused. ms */
#define PROVEN 5000
/* How often it is looked whether calls have waited too long. ms */
#define WATCH_PENDING 50
#define WATCH_ANNOUNCED 1000

static struct attach_group *groups;

static void on_run(ngx_event_t *event);

static struct attach_group *find_group(const ngx_http_upstream_srv_conf_t *upstream,
                                       struct str path)
{
    struct attach_group *group = groups;

    while (group && !(group->upstream == upstream && str_eq(group->path, path)))
        group = group->next;
    return group;
}

struct attach_group *attach_group(ngx_http_upstream_srv_conf_t *upstream, struct str path)
{
    struct attach_group *group = find_group(upstream, path);

    if (group)
        return group;
    group = ngx_calloc(sizeof(*group), ngx_cycle->log);
    if (!group)
        return NULL;
    group->upstream = upstream;
    group->path = path;
    ngx_queue_init(&group->pending);
    ngx_queue_init(&group->links);
    group->run.handler = on_run;
    group->run.data = group;
    group->run.log = ngx_cycle->log;
    group->run.cancelable = 1;
    group->next = groups;
    groups = group;
    return group;
}

void attach_group_touch(struct attach_group *group)
{
    ngx_post_event(&group->run, &ngx_posted_events);
}

/* ---- servers ---- */

static struct attach_server *find_server(struct attach_group *group,
                                         const struct grpc_h2_server *at)
{
    struct attach_server *server = group->servers;

    while (server && server->at.address != at->address)
        server = server->next;
    if (server)
        return server;
    server = ngx_calloc(sizeof(*server), ngx_cycle->log);
    if (!server)
        return NULL;
    server->group = group;
    server->at = *at;
    server->metrics = grpc_json_metrics_instance(at->address->name);
    server->next = group->servers;
    group->servers = server;
    return server;
}

static void server_failed(struct attach_server *server)
{
    ngx_msec_t delay = server->failures ? RETRY_MIN : 0; /* at once, if it has worked */

    for (ngx_uint_t i = 1; i < server->failures && delay < RETRY_MAX; i++)
        delay *= 2;
    server->failures++;
    /* Workers should not come back all at once. */
    server->retry_at = ngx_current_msec + delay / 2 + (ngx_msec_t)ngx_random() % (delay / 2 + 1);
}

static bool may_be_tried(const struct attach_server *server)
{
    return !server->failures || (ngx_msec_int_t)(server->retry_at - ngx_current_msec) <= 0;
}

/* One with a stream that works, or with none yet that may be tried. */
static bool suits(const struct grpc_h2_server *at, void *data)
{
    const struct attach_server *server = find_server(data, at);

    if (!server)
        return false;
    if (server->link)
        return server->link->state == ATTACH_WORKS && !attach_link_is_late(server->link);
    return may_be_tried(server);
}

static void connect_to(struct attach_server *server)
{
    server->link = attach_link_start(server);
    if (!server->link)
        server_failed(server);
}

/* The stream whose turn it is. NULL: none works; *ret_hope: but some may soon. Those that have none
 * are connected to, and nobody waits for them while others work. */
static struct attach_link *choose(struct attach_group *group, bool *ret_hope)
{
    struct grpc_h2_server at;

    while (grpc_h2_choose(group->upstream, suits, group, &at) == NGX_OK) {
        struct attach_server *server = find_server(group, &at);

        if (server->link)
            return server->link;
        connect_to(server);
    }
    *ret_hope = false;
    for (const struct attach_server *server = group->servers; server; server = server->next)
        *ret_hope = *ret_hope || server->link;
    return NULL;
}

/* One that nobody has spoken to yet, or not for long enough. */
static bool is_new(const struct grpc_h2_server *at, void *data)
{
    const struct attach_server *server = find_server(data, at);

    return server && !server->link && may_be_tried(server);
}

bool attach_has_other(const struct attach_link *link)
{
    struct attach_group *group = link->group;
    struct grpc_h2_server at;

    for (const struct attach_server *server = group->servers; server; server = server->next) {
        if (server->link && server->link != link && server->link->state == ATTACH_WORKS &&
            !attach_link_is_late(server->link))
            return true;
    }
    while (grpc_h2_choose(group->upstream, is_new, group, &at) == NGX_OK)
        connect_to(find_server(group, &at));
    return false;
}

/* ---- placing ---- */

void attach_want(struct attach_call *call)
{
    attach_unlink(call);
    call->pending = true;
    ngx_queue_insert_tail(&call->group->pending, &call->place);
    attach_group_touch(call->group);
}

void attach_want_no_more(struct attach_call *call)
{
    if (call->pending)
        attach_unlink(call);
    call->pending = false;
}

/* Its places go along; the instance that it was with, if that is still there, is told. */
static void place(struct attach_call *call, struct attach_link *link)
{
    struct attach_link *before = call->link;
    struct member member = {0};

    attach_want_no_more(call);
    if (before && channels_move(&before->channels, &link->channels, &call->member)) {
        attach_fail(call, RPC_RESOURCE_EXHAUSTED, STR("out of memory"));
        return;
    }
    if (before) {
        attach_link_put(before, call->id, ATTACH_CLOSE, STR(""));
        member = call->member;
        call->member = (struct member){0}; /* no more there */
        attach_link_leave(call);
        call->member = member;
    }
    if (call->accepted)
        call->since = ngx_current_msec;
    attach_link_enter(link, call);
    attach_announce(call);
}

static struct attach_call *first_of(ngx_queue_t *queue)
{
    return ngx_queue_data(ngx_queue_head(queue), struct attach_call, place);
}

static bool waits_too_long(const struct attach_call *call)
{
    return !call->accepted &&
           ngx_current_msec - call->since >= call->session->conf->websocket.attach_timeout;
}

/* Of the one that waits longest. Those that an instance has accepted wait for nothing when they
 * move.
 */
static ngx_msec_t longest_wait(ngx_queue_t *queue)
{
    const struct attach_call *call = ngx_queue_empty(queue) ? NULL : first_of(queue);

    return call && !call->accepted ? ngx_current_msec - call->since : 0;
}

ngx_msec_t attach_delay(const ngx_http_upstream_srv_conf_t *upstream, struct str path)
{
    struct attach_group *group = find_group(upstream, path);
    const struct attach_server *server = group ? group->servers : NULL;
    ngx_msec_t least = NGX_MAX_INT_T_VALUE, wait;

    if (!group)
        return 0;
    /* An instance that stands still is none that others have to wait for. */
    for (; server; server = server->next) {
        if (!server->link || server->link->state != ATTACH_WORKS)
            continue;
        wait = longest_wait(&server->link->announced);
        least = ngx_min(least, wait);
    }
    wait = longest_wait(&group->pending);
    return least == NGX_MAX_INT_T_VALUE ? wait : ngx_max(least, wait);
}

/* Whether all have a place. */
static bool place_some(struct attach_group *group, bool *ret_hope)
{
    *ret_hope = true;
    for (int i = 0; i < PLACED_AT_ONCE && !ngx_queue_empty(&group->pending); i++) {
        struct attach_link *link = choose(group, ret_hope);

        if (!link || !attach_link_has_room(link))
            return false;
        place(first_of(&group->pending), link);
    }
    return ngx_queue_empty(&group->pending);
}

/* Ends those that wait in vain: new ones when there is nobody to wait for. */
static void give_up(struct attach_group *group, bool hope)
{
    ngx_queue_t *next;

    for (ngx_queue_t *q = ngx_queue_head(&group->pending); q != &group->pending; q = next) {
        struct attach_call *call = ngx_queue_data(q, struct attach_call, place);

        next = ngx_queue_next(q);
        if ((!hope && call->open.p) || waits_too_long(call))
            attach_fail(call, RPC_UNAVAILABLE, STR("the service cannot be reached"));
    }
}

/* Whether there are any. */
static bool watch_announced(struct attach_group *group)
{
    bool some = false;

    for (ngx_queue_t *q = ngx_queue_head(&group->links); q != &group->links;
         q = ngx_queue_next(q)) {
        struct attach_link *link = ngx_queue_data(q, struct attach_link, queue);

        while (!ngx_queue_empty(&link->announced) && waits_too_long(first_of(&link->announced)))
            attach_fail(first_of(&link->announced), RPC_UNAVAILABLE,
                        STR("the service does not answer"));
        some = some || !ngx_queue_empty(&link->announced);
    }
    return some;
}

static void on_run(ngx_event_t *event)
{
    struct attach_group *group = event->data;
    bool hope, done = place_some(group, &hope);
    bool announced = watch_announced(group);

    if (!done)
        give_up(group, hope);
    if (event->timer_set)
        ngx_del_timer(event);
    if (!ngx_queue_empty(&group->pending))
        ngx_add_timer(event, WATCH_PENDING);
    else if (announced)
        ngx_add_timer(event, WATCH_ANNOUNCED);
}

/* ---- what happens to a stream ---- */

/* Their instance has gone, and with it what it knew of them. */
static void displace(struct attach_call *call)
{
    if (call->accepted) {
        call->accepted = false;
        call->since = ngx_current_msec;
    }
    attach_wait_no_more(call);
    if (call->open.p || (call->state.p && call->session->state != SESSION_LEAVING))
        attach_want(call);
    else
        attach_fail(call, RPC_UNAVAILABLE, STR("the connection to the service was lost"));
}

static void displace_all(ngx_queue_t *queue)
{
    while (!ngx_queue_empty(queue))
        displace(first_of(queue));
}

/* Those that wanted to go from it already. */
static void displace_pending(struct attach_link *link)
{
    ngx_queue_t *next;

    for (ngx_queue_t *q = ngx_queue_head(&link->group->pending); q != &link->group->pending;
         q = next) {
        struct attach_call *call = ngx_queue_data(q, struct attach_call, place);

        next = ngx_queue_next(q);
        if (call->link == link && call->accepted)
            displace(call);
    }
}

void attach_link_lost(struct attach_link *link)
{
    struct attach_server *server = link->server;

    if (link->state == ATTACH_WORKS && ngx_current_msec - link->works_since >= PROVEN)
        server->failures = 0;
    if (server->link == link) {
        server->link = NULL;
        server_failed(server);
    }
    link->state = ATTACH_LOST;
    attach_link_close(link);
    attach_group_touch(link->group);
    link->n_calls++; /* kept until all of this is done */
    displace_pending(link);
    displace_all(&link->announced);
    displace_all(&link->settled);
    if (--link->n_calls == 0)
        attach_link_free(link);
}

void attach_link_going(struct attach_link *link)
{
    ngx_queue_t *next;

    if (link->state == ATTACH_LOST || ngx_exiting)
        return;
    link->state = ATTACH_GOING;
    if (link->server->link == link)
        link->server->link = NULL;
    for (ngx_queue_t *q = ngx_queue_head(&link->settled); q != &link->settled; q = next) {
        struct attach_call *call = ngx_queue_data(q, struct attach_call, place);

        next = ngx_queue_next(q);
        if (call->state.p && call->session->state != SESSION_LEAVING)
            attach_want(call);
    }
}

/* ---- when the worker ends ---- */

static void free_group(struct attach_group *group)
{
    struct attach_server *server;

    while (!ngx_queue_empty(&group->links)) {
        struct attach_link *link =
            ngx_queue_data(ngx_queue_head(&group->links), struct attach_link, queue);

        attach_link_close(link);
        attach_link_free(link);
    }
    while ((server = group->servers)) {
        group->servers = server->next;
        ngx_free(server);
    }
    if (group->run.timer_set)
        ngx_del_timer(&group->run);
    if (group->run.posted) { /* several statements */
        ngx_delete_posted_event(&group->run);
    }
    ngx_free(group);
}

void attach_groups_shutdown(void)
{
    struct attach_group *group;

    while ((group = groups)) {
        groups = group->next;
        free_group(group);
    }
}
