/* Rooms that are followed here: finding out about them, their order, and replays. */
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

/* ---- subscriptions ---- */

struct subscription *session_subscription(struct live_session *session, int64_t room)
{
    struct subscription *subscription;

    LIST_FOREACH(subscription, &session->subscriptions, siblings)
    {
        if (subscription->room->id == room)
            break;
    }
    return subscription;
}

static const struct live_transport *transport_of(const struct subscription *subscription)
{
    return subscription->session->carrier->transport;
}

static struct subscription_list *list_of(struct subscription *subscription)
{
    struct room *room = subscription->room;

    if (subscription->state != LIVE)
        return &room->behind;
    return transport_of(subscription)->broadcast ? &room->shared : &room->alone;
}

/* One session more that is live by this carrier; -ENOMEM. */
static int add_to_carrier(struct room *room, struct live_carrier *carrier)
{
    for (size_t i = 0; i < room->n_carriers; i++) {
        if (room->carriers[i].carrier == carrier) {
            room->carriers[i].n++;
            return 0;
        }
    }
    if (room->n_carriers == room->cap_carriers) {
        size_t cap = room->cap_carriers ? 2 * room->cap_carriers : 4;
        struct room_carrier *more = reallocarray(room->carriers, cap, sizeof(*more));

        if (!more)
            return -ENOMEM;
        room->carriers = more;
        room->cap_carriers = cap;
    }
    room->carriers[room->n_carriers++] = (struct room_carrier){carrier, 1};
    return 0;
}

static void remove_from_carrier(struct room *room, const struct live_carrier *carrier)
{
    for (size_t i = 0; i < room->n_carriers; i++) {
        if (room->carriers[i].carrier == carrier && --room->carriers[i].n == 0)
            room->carriers[i] = room->carriers[--room->n_carriers];
    }
}

void subscription_end(struct subscription *subscription)
{
    struct live_session *session = subscription->session;
    struct room *room = subscription->room;

    TAILQ_REMOVE(list_of(subscription), subscription, next);
    if (list_of(subscription) == &room->shared)
        remove_from_carrier(room, session->carrier);
    if (list_of(subscription) == &room->alone)
        atomic_fetch_sub(&room->hub->n_alone, 1);
    count_down(&room->hub->counts.subscriptions);
    if (--room->n_subscriptions == 0)
        room->idle_ns = clock_monotonic_ns();
    LIST_REMOVE(subscription, siblings);
    session->n_subscriptions--;
    if (subscription->state != ASKED)
        presence_leave(room->hub->presence, room->id, session->caller.account_id);
    if (subscription->state != ASKED && !session->ended && transport_of(subscription)->left)
        transport_of(subscription)->left(session, room->id);
    free(subscription->id);
    free(subscription);
}

/* The client is told by a last part, which is taken over. It comes before the session's place is
 * taken away: a session that is resumed elsewhere without the place would never hear of the end. */
static void end_with(struct subscription *subscription, struct rpc_packed *part)
{
    struct live_session *session = subscription->session;

    if (!session_tell(session, part)) /* nor is the subscription there any more */
        return;
    subscription_end(subscription);
    session_after_room(session);
}

/* Told first as well: a live one has a place. */
static void refuse(struct subscription *subscription, const struct rpc_error *error)
{
    struct live_session *session = subscription->session;

    session_refuse(session, subscription->id, subscription->room->id, error);
    if (!session->ended)
        subscription_end(subscription);
}

static void refuse_memory(struct subscription *subscription)
{
    refuse(subscription, &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                             .message = STR("the service is overloaded"),
                                             .reason = "OVERLOADED",
                                             .retry_after_ms = RETRY_AFTER_MS});
}

static void refuse_unavailable(struct subscription *subscription)
{
    refuse(subscription, &(struct rpc_error){.code = RPC_UNAVAILABLE,
                                             .message = STR("the database is not available"),
                                             .reason = "DATABASE_UNAVAILABLE",
                                             .retry_after_ms = RETRY_AFTER_MS});
}

static void refuse_stranger(struct subscription *subscription, bool public)
{
    char number[24];
    struct rpc_error error;

    snprintf(number, sizeof(number), "%lld", (long long)subscription->room->id);
    room_error(public, str_of(number), &error);
    refuse(subscription, &error);
}

/* ---- replays ---- */

static bool is_own_end(const struct subscription *subscription, int64_t seq,
                       const struct window_entry *entry)
{
    return (entry->kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_LEFT ||
            entry->kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_REMOVED) &&
           entry->subject == subscription->session->caller.account_id &&
           seq > subscription->member_since;
}

static void end_gone(struct subscription *subscription, int kind)
{
    end_with(subscription, part_gone(subscription->room->id,
                                     kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_LEFT
                                         ? STOA__CHAT__V1__GONE_REASON__GONE_REASON_LEFT
                                         : STOA__CHAT__V1__GONE_REASON__GONE_REASON_REMOVED));
}

static void end_reset(struct subscription *subscription)
{
    metrics_add(&subscription->room->hub->counts.resets, 1);
    end_with(subscription, part_reset(subscription->room->id, subscription->room->window.last));
}

/* All has been given: what comes from now on is for it too. */
static void go_live(struct subscription *subscription)
{
    struct live_session *session = subscription->session;
    const struct live_transport *transport = transport_of(subscription);
    struct room *room = subscription->room;

    if (!session_tell(session, part_live(room->id, room->window.last)))
        return;
    if (transport->broadcast && add_to_carrier(room, session->carrier) < 0) {
        refuse_memory(subscription);
        return;
    }
    TAILQ_REMOVE(&room->behind, subscription, next);
    subscription->state = LIVE;
    TAILQ_INSERT_TAIL(list_of(subscription), subscription, next);
    if (list_of(subscription) == &room->alone)
        atomic_fetch_add(&room->hub->n_alone, 1);
    if (transport->place)
        transport->place(session, room->id, room->window.last, true);
}

void subscription_pump(struct subscription *subscription)
{
    struct live_session *session = subscription->session;
    struct room *room = subscription->room;
    int64_t behind = room->window.last - subscription->seq;

    if (behind > room->hub->settings.replay_events) {
        end_reset(subscription);
        return;
    }
    while (subscription->seq < room->window.last) {
        int64_t seq = subscription->seq + 1;
        const struct window_entry *entry = window_at(&room->window, seq);

        if (!entry && subscription->read_for) {
            end_reset(subscription);
            return;
        }
        if (!entry) {
            if (!subscription->waits) {
                subscription->waits = true;
                subscription->born = room->n_begun;
            }
            room_read(room);
            return;
        }
        if (transport_of(subscription)->busy(session))
            return;
        if (!session_send_event(session, entry->bytes, room->id, seq))
            return;
        metrics_add(&room->hub->counts.replayed, 1);
        subscription->seq = seq;
        subscription->waits = subscription->read_for = false;
        if (is_own_end(subscription, seq, entry)) {
            end_gone(subscription, entry->kind);
            return;
        }
    }
    go_live(subscription);
}

/* ---- who may follow ---- */

/* What is asked for can be decided by what is known of the room now. */
static void begin_replay(struct subscription *subscription)
{
    struct live_session *session = subscription->session;
    struct room *room = subscription->room;
    int64_t last = room->window.last;

    if (subscription->seq < 0)
        subscription->seq = last;
    else if (subscription->seq == 0) /* the beginning is where what is kept begins */
        subscription->seq = room->first_seq - 1;
    subscription->state = REPLAYING;
    presence_enter(room->hub->presence, room->id, session->caller.account_id);
    subscription->member_since = last;
    /* Before the ack: whoever has that may rely on it that a session which is resumed elsewhere
     * still follows the room. */
    if (transport_of(subscription)->place)
        transport_of(subscription)->place(session, room->id, subscription->seq, false);
    if (subscription->id && !session_tell(session, part_ack(subscription->id, room->id, last)))
        return;
    free(subscription->id);
    subscription->id = NULL;
    if (subscription->seq > last) /* of a future that this database does not have */
        end_reset(subscription);
    else
        subscription_pump(subscription);
}

static bool is_member(const struct subscription *subscription)
{
    return account_set_has(&subscription->room->members, subscription->session->caller.account_id);
}

/* Whoever is no member here, or knows of more than is known here, may come from another instance:
 * only Postgres can tell. */
static bool needs_read(const struct subscription *subscription)
{
    return !is_member(subscription) || subscription->seq > subscription->room->window.last;
}

/* Something may have been acknowledged here that is still on its way into the window. */
static bool lags(const struct room *room)
{
    return room->reading || room->again || room->window.n_early > 0 ||
           hub_is_storing(room->hub, room->id);
}

static void decide(struct subscription *subscription)
{
    struct room *room = subscription->room;
    bool read_since = room->n_done > subscription->born;

    if (!read_since && needs_read(subscription))
        room_read(room);
    else if (!read_since && lags(room))
        return; /* whatever ends that comes back */
    else if (!is_member(subscription))
        refuse_stranger(subscription, room->public);
    else
        begin_replay(subscription);
}

void room_decide(struct room *room)
{
    struct subscription *subscription = TAILQ_FIRST(&room->behind), *next;

    if (!room->known)
        return;
    for (; subscription; subscription = next) {
        next = TAILQ_NEXT(subscription, next);
        if (subscription->state == ASKED)
            decide(subscription);
    }
}

/* NULL without memory. id: of the action that is to be answered; NULL or empty: none. */
static struct subscription *subscription_new(struct live_session *session, struct room *room,
                                             int64_t after_seq, const char *id)
{
    struct subscription *subscription = calloc(1, sizeof(*subscription));

    if (subscription && id && *id)
        subscription->id = strdup(id);
    if (!subscription || (id && *id && !subscription->id)) {
        free(subscription);
        return NULL;
    }
    subscription->session = session;
    subscription->room = room;
    subscription->seq = after_seq;
    subscription->born = room->n_begun;
    LIST_INSERT_HEAD(&session->subscriptions, subscription, siblings);
    session->n_subscriptions++;
    TAILQ_INSERT_TAIL(&room->behind, subscription, next);
    room->n_subscriptions++;
    metrics_add(&room->hub->counts.subscriptions, 1);
    return subscription;
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
        decide(subscription);
    else if (!room->reading)
        begin_read(room);
}

/* Goes on with all that wait for what has been read. */
static void settle(struct room *room)
{
    struct subscription *subscription = TAILQ_FIRST(&room->behind), *next;

    for (; subscription; subscription = next) {
        next = TAILQ_NEXT(subscription, next);
        if (subscription->state == ASKED)
            decide(subscription);
        else
            subscription_pump(subscription);
    }
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
            end_gone(subscription, kind);
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

static void end_deleted(struct subscription *subscription)
{
    if (subscription->state == ASKED)
        refuse_stranger(subscription, false);
    else
        end_with(subscription, part_gone(subscription->room->id,
                                         STOA__CHAT__V1__GONE_REASON__GONE_REASON_DELETED));
}

void room_deleted(struct room *room)
{
    end_all(room, end_deleted);
    forget(room);
}

/* What is only asked for begins where what is kept does. */
static void end_overtaken(struct subscription *subscription)
{
    if (subscription->state != ASKED)
        end_reset(subscription);
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
    end_all(room, end_overtaken);
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
        if (subscription->state != ASKED)
            continue;
        if (!room->known || needs_read(subscription))
            refuse_unavailable(subscription);
        else
            begin_replay(subscription);
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
    settle(room);
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
                 LOG_S("cause", result->message));
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
