/* Rooms that are followed here: finding out about them, and their order. Who follows them is in
 * live_subscription.c. */
#include "live_internal.h"
#include "live_parts.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define READ_TIMEOUT (5 * NSEC_PER_SEC)
#define RETRY (1 * NSEC_PER_SEC)
#define BUSY (100 * NSEC_PER_MSEC)
/* How long an event may wait for its predecessors, which are most likely on their way. */
#define GAP (20 * NSEC_PER_MSEC)
/* How long a room stays known that nobody follows: who is cut off comes back. */
#define LINGER (30 * NSEC_PER_SEC)
#define MIN_ROOM_BYTES ((size_t)16 << 10)
#define MAX_READ_BYTES ((size_t)128 << 20)

static void begin_read(struct room *room);

/* ---- the table of rooms ---- */

struct room *room_find(struct hub *hub, int64_t id)
{
    struct room *room;

    HASH_FIND(hh, hub->rooms, &id, sizeof(id), room);
    return room;
}

static struct room *room_new(struct hub *hub, int64_t id)
{
    struct room *room = calloc(1, sizeof(*room));
    unsigned before = HASH_COUNT(hub->rooms);

    if (!room)
        return NULL;
    room->id = id;
    room->hub = hub;
    window_init(&room->window, 0);
    TAILQ_INIT(&room->behind);
    TAILQ_INIT(&room->alone);
    TAILQ_INIT(&room->shared);
    arena_init(&room->arena, MAX_READ_BYTES);
    room->read_ns = INT64_MAX;
    HASH_ADD(hh, hub->rooms, id, sizeof(room->id), room);
    if (HASH_COUNT(hub->rooms) == before) {
        free(room);
        return NULL;
    }
    metrics_add(&hub->counts.rooms, 1);
    bus_follow(hub->bus, id, true); /* before it is read: what comes after that is heard */
    return room;
}

void room_free(struct room *room)
{
    window_free(&room->window);
    account_set_free(&room->members);
    arena_free(&room->arena);
    free(room->carriers);
    free(room);
}

/* Nobody follows it: it is forgotten. */
static void forget(struct room *room)
{
    HASH_DEL(room->hub->rooms, room);
    count_down(&room->hub->counts.rooms);
    bus_follow(room->hub->bus, room->id, false);
    if (room->reading)
        room->detached = true; /* on_read() frees it */
    else
        room_free(room);
}

void room_subscribe(struct hub *hub, struct live_session *session, int64_t id, int64_t after_seq,
                    const char *action_id)
{
    struct subscription *subscription = session_subscription(session, id);
    struct room *room = room_find(hub, id);

    if (subscription)
        subscription_end(subscription);
    if (!room)
        room = room_new(hub, id);
    subscription = room ? subscription_new(session, room, after_seq, action_id) : NULL;
    if (!subscription) {
        session_refuse(session, action_id, id, &live_no_memory);
        return;
    }
    if (room->known)
        subscription_decide(subscription);
    else if (!room->reading)
        begin_read(room);
}

/* ---- the order ---- */

/* What is kept of each room gets less when there are many. */
static void trim(struct room *room)
{
    const struct live_settings *settings = &room->hub->settings;
    size_t n = HASH_COUNT(room->hub->rooms);
    size_t share = (size_t)settings->cache_bytes / (n > 0 ? n : 1);

    share = share > MIN_ROOM_BYTES ? share : MIN_ROOM_BYTES;
    if (share > (size_t)settings->replay_bytes)
        share = (size_t)settings->replay_bytes;
    window_trim(&room->window, (size_t)settings->replay_events, share);
}

size_t room_broadcast(struct room *room, int64_t seq, const struct rpc_packed *bytes)
{
    struct subscription *subscription = TAILQ_FIRST(&room->alone), *next;
    size_t n = 0;

    for (; subscription; subscription = next) {
        next = TAILQ_NEXT(subscription, next);
        n += session_send(subscription->session, bytes); /* one that has ended is gone from here */
    }
    for (size_t i = 0; i < room->n_carriers; i++) {
        struct live_carrier *carrier = room->carriers[i].carrier;

        n += room->carriers[i].n;
        carrier->transport->broadcast(carrier, room->id, seq, bytes);
    }
    return n;
}

/* Who is no member any more gets nothing after the event that says so. */
static void end_of_account(struct subscription_list *list, int64_t account, int kind)
{
    struct subscription *subscription = TAILQ_FIRST(list), *next;

    for (; subscription; subscription = next) {
        next = TAILQ_NEXT(subscription, next);
        if (subscription->session->caller.account_id == account)
            subscription_gone(subscription, kind);
    }
}

static void follow_members(struct room *room, const struct window_entry *entry)
{
    switch (entry->kind) {
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_JOINED:
        if (account_set_add(&room->members, entry->subject) < 0)
            log_error("no memory for a member of a room", LOG_I("room", room->id));
        break;
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_LEFT:
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_REMOVED:
        account_set_remove(&room->members, entry->subject);
        end_of_account(&room->alone, entry->subject, entry->kind);
        end_of_account(&room->shared, entry->subject, entry->kind);
        break;
    default:
        break;
    }
}

/* The lag is by two clocks, Postgres' and this machine's; ahead of that one it counts as none. */
static void count_delivery(const struct room *room, int64_t created_us, size_t subscribers)
{
    struct live_counts *counts = &room->hub->counts;
    int64_t now_us = clock_realtime_us();

    metrics_add(&counts->events, 1);
    metrics_add(&counts->deliveries, subscribers);
    if (created_us > 0 && subscribers > 0)
        metrics_observe_ns(&counts->lag,
                           created_us < now_us ? (now_us - created_us) * NSEC_PER_USEC : 0);
}

/* The event after the last one; taken over. */
static void deliver(struct room *room, struct window_entry entry)
{
    struct rpc_packed *bytes = rpc_packed_ref(entry.bytes);

    window_append(&room->window, entry);
    trim(room);
    count_delivery(room, entry.created_us, room_broadcast(room, room->window.last, bytes));
    follow_members(room, &entry);
    rpc_packed_unref(bytes);
}

static void deliver_early(struct room *room)
{
    struct window_entry entry;

    while (window_take_early(&room->window, &entry))
        deliver(room, entry);
    if (room->window.n_early == 0 && !room->reading)
        room->read_ns = INT64_MAX;
}

void room_event(struct room *room, int64_t seq, struct window_entry entry)
{
    if (!room->known && seq > room->heard)
        room->heard = seq;
    if (!room->known || seq <= room->window.last) {
        rpc_packed_unref(entry.bytes); /* it is being read, or here already */
        return;
    }
    if (seq == room->window.last + 1) {
        deliver(room, entry);
        deliver_early(room);
        room_decide(room);
        return;
    }
    window_keep_early(&room->window, seq, entry);
    if (room->read_ns == INT64_MAX) {
        room->read_ns = clock_monotonic_ns() + GAP;
        hub_look_at(room->hub, room->read_ns);
    }
}

/* All subscriptions; `end` may end the one that it is given. */
static void end_all(struct room *room, void (*end)(struct subscription *subscription))
{
    struct subscription_list *lists[] = {&room->behind, &room->alone, &room->shared};

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        struct subscription *subscription = TAILQ_FIRST(lists[i]), *next;

        for (; subscription; subscription = next) {
            next = TAILQ_NEXT(subscription, next);
            end(subscription);
        }
    }
}

void room_deleted(struct room *room)
{
    end_all(room, subscription_deleted);
    forget(room);
}

void room_keeps(struct room *room, int64_t first_seq)
{
    if (first_seq <= room->first_seq)
        return;
    room->first_seq = first_seq;
    if (first_seq <= room->window.last + 1) {
        window_trim(&room->window, (size_t)(room->window.last + 1 - first_seq), SIZE_MAX);
        return;
    }
    /* So far behind that what comes next is gone. */
    window_free(&room->window);
    window_init(&room->window, first_seq - 1);
    end_all(room, subscription_overtaken);
}

/* ---- reading ---- */

/* What a read has brought; not under the lock. */
struct page {
    int64_t last_seq, first_seq;
    size_t n;
    int64_t first; /* seq of the first */
    struct event_row *rows;
    struct window_entry *entries; /* their references are given away one by one */
};

static int make_entry(const struct room *room, const struct db_result *result, int row,
                      struct event_row *event, struct window_entry *ret)
{
    int r = event_from_row(result, row, room->id, (struct arena *)&room->arena, event);

    if (r < 0)
        return r;
    *ret = (struct window_entry){
        .bytes = part_event(room->id, &event->event),
        .kind = (int)event->event.kind,
        .message = event->event.message ? event->event.message->seq : 0,
        .created_us = part_time_us(event->event.created_at),
        .subject = db_is_null(result, row, EVENT_SUBJECT_ID)
                       ? 0
                       : db_get_int8(result, row, EVENT_SUBJECT_ID),
    };
    return ret->bytes ? 0 : -ENOMEM;
}

static int read_page(struct room *room, const struct db_result *result, struct page *ret)
{
    size_t n = db_is_null(result, 0, EVENT_SEQ) ? 0 : (size_t)db_rows(result);
    int r = 0;

    *ret = (struct page){
        .last_seq = db_get_int8(result, 0, MESSAGES_LAST_SEQ),
        .first_seq = db_get_int8(result, 0, MESSAGES_FIRST_SEQ),
        .first = n > 0 ? db_get_int8(result, 0, EVENT_SEQ) : 0,
        .rows = arena_calloc(&room->arena, n, sizeof(*ret->rows)),
        .entries = arena_calloc(&room->arena, n, sizeof(*ret->entries)),
    };
    if (!ret->rows || !ret->entries)
        return -ENOMEM;
    for (; r == 0 && ret->n < n; ret->n += r == 0)
        r = make_entry(room, result, (int)ret->n, &ret->rows[ret->n], &ret->entries[ret->n]);
    return r;
}

static void free_page(struct page *page)
{
    for (size_t i = 0; i < page->n; i++)
        rpc_packed_unref(page->entries[i].bytes);
}

static struct window_entry take_entry(struct page *page, size_t i)
{
    struct window_entry entry = page->entries[i];

    page->entries[i].bytes = NULL;
    return entry;
}

/* The room as it is found for the first time. */
static int know(struct room *room, const struct db_result *result, struct page *page)
{
    int r =
        account_set_read(&room->members, db_get_text(result, db_rows(result) - 1, EVENT_MEMBERS));

    if (r < 0)
        return r;
    room->public =
        db_get_int4(result, 0, EVENT_ROOM_KIND) == STOA__CHAT__V1__ROOM_KIND__ROOM_KIND_PUBLIC;
    room->first_seq = page->first_seq;
    window_init(&room->window, page->n > 0 ? page->first - 1 : page->last_seq);
    for (size_t i = 0; i < page->n; i++)
        window_append(&room->window, take_entry(page, i));
    trim(room);
    room->known = true;
    return 0;
}

static struct rpc_packed *show_again(const struct window_entry *old, void *message)
{
    return part_event_again(rpc_packed_bytes(old->bytes), message);
}

/* What a change takes away is not to be seen in a later replay either. */
static void hide_old(struct room *room, const struct event_row *row)
{
    const Stoa__Chat__V1__Event *event = &row->event;

    if (event->message && (event->kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE_EDITED ||
                           event->kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE_DELETED))
        window_show_again(&room->window, event->message->seq, show_again, event->message);
    if (!event->actor) /* the account has been deleted, and its name may be in what is kept */
        window_clear(&room->window);
}

/* What a room that is known has more: before what is kept of it, and after. */
static void take_page(struct room *room, struct page *page)
{
    int64_t first;
    size_t n_before = 0;

    room_keeps(room, page->first_seq);
    first = window_first(&room->window);
    if (page->n > 0 && page->first < first && page->first + (int64_t)page->n >= first) {
        struct window_entry *before = page->entries;

        n_before = (size_t)(first - page->first);
        for (size_t i = 0; i < n_before; i++)
            rpc_packed_ref(before[i].bytes);
        if (!window_prepend(&room->window, before, n_before))
            log_warn("no memory for a replay", LOG_I("room", room->id));
        trim(room);
    }
    for (size_t i = n_before; i < page->n; i++) {
        if (page->first + (int64_t)i != room->window.last + 1)
            continue;
        hide_old(room, &page->rows[i]);
        deliver(room, take_entry(page, i));
    }
    deliver_early(room);
    room->again = room->again || page->last_seq > room->window.last;
}

/* A read has brought nothing: who waits for what it would have said is told, the others go on. */
static void read_failed_for(struct room *room)
{
    struct subscription *subscription = TAILQ_FIRST(&room->behind), *next;

    for (; subscription; subscription = next) {
        next = TAILQ_NEXT(subscription, next);
        if (subscription->state == ASKED)
            subscription_unread(subscription);
    }
    if (!room->known) {
        forget(room);
        return;
    }
    room->again = false;
    room->read_ns = clock_monotonic_ns() + RETRY;
    hub_look_at(room->hub, room->read_ns);
}

static void mark_read_for(struct room *room)
{
    struct subscription *subscription;

    TAILQ_FOREACH(subscription, &room->behind, next)
    {
        if (subscription->waits && room->n_done > subscription->born)
            subscription->read_for = true;
    }
}

static void after_read(struct room *room)
{
    room->read_ns = INT64_MAX;
    mark_read_for(room);
    /* Once: whatever somebody says, it is Postgres that has the numbers. */
    room->again = room->again || room->heard > room->window.last || room->window.n_early > 0;
    room->heard = 0;
    room_settle(room);
    if (room->again && !room->reading)
        begin_read(room);
}

static void on_read(void *user, const struct db_result *result)
{
    struct room *room = user;
    struct hub *hub = room->hub;
    struct page page = {.n = 0};
    bool ok = result->error == DB_OK, gone = ok && db_rows(result) == 0;

    if (!ok && result->error != DB_UNAVAILABLE)
        log_warn("a room could not be read", LOG_I("room", room->id),
                 LOG_S("cause", db_cause(result)));
    if (ok && !gone && read_page(room, result, &page) < 0) {
        log_error("no memory for what a room has", LOG_I("room", room->id));
        ok = false;
    }
    hub_lock(hub);
    room->reading = false;
    room->n_done = room->n_begun;
    if (ok && !gone && !room->detached && !room->known)
        ok = know(room, result, &page) == 0;
    else if (ok && !gone && !room->detached)
        take_page(room, &page);
    free_page(&page);
    arena_free(&room->arena);
    if (room->detached)
        room_free(room);
    else if (gone)
        room_deleted(room);
    else if (!ok)
        read_failed_for(room);
    else
        after_read(room);
    hub_unlock(hub);
}

/* After what number the room has to be read: a replay may want what is no longer kept. */
static int64_t read_after(struct room *room)
{
    struct subscription *subscription;
    int64_t after = room->known ? room->window.last : INT64_MAX;

    TAILQ_FOREACH(subscription, &room->behind, next)
    {
        bool wanted = room->known ? subscription->state == REPLAYING &&
                                        !window_at(&room->window, subscription->seq + 1)
                                  : subscription->seq >= 0;

        if (wanted && subscription->seq < after)
            after = subscription->seq;
    }
    return after;
}

static void begin_read(struct room *room)
{
    struct db_query *query = db_query(service_db(room->hub->service), &room->arena, ROOM_EVENTS);

    room->again = false;
    room->n_begun++;
    if (query) {
        db_bind_int8(query, 0);
        db_bind_int8(query, room->id);
        db_bind_int8(query, read_after(room));
        db_bind_int4(query, (int32_t)room->hub->settings.replay_events);
        db_bind_bool(query, !room->known);
    }
    room->reading =
        query && db_submit(query, clock_monotonic_ns() + READ_TIMEOUT, NULL, on_read, room) == 0;
    if (!room->reading) { /* too much waits already: who waits for this goes on waiting */
        arena_free(&room->arena);
        room->n_begun--;
        room->read_ns = clock_monotonic_ns() + BUSY;
        hub_look_at(room->hub, room->read_ns);
    }
}

void room_read(struct room *room)
{
    if (room->reading || !room->known)
        room->again = true;
    else
        begin_read(room);
}

int64_t room_look(struct room *room, int64_t now)
{
    if (room->n_subscriptions == 0 && now - room->idle_ns > LINGER && !room->reading) {
        forget(room);
        return INT64_MAX;
    }
    if (room->read_ns > now)
        return room->read_ns;
    room->read_ns = INT64_MAX;
    if (room->known && room->window.n_early > 0)
        metrics_add(&room->hub->counts.early, 1);
    if (room->known)
        room_read(room);
    else if (!room->reading)
        begin_read(room);
    return room->read_ns;
}
