/* Who follows a room: asking to, what was missed, what is live, and the end of it. */
#include "live_internal.h"
#include "live_parts.h"

#include <errno.h>
#include <stdlib.h>

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

void subscription_gone(struct subscription *subscription, int kind)
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
            subscription_gone(subscription, entry->kind);
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

void subscription_decide(struct subscription *subscription)
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
            subscription_decide(subscription);
    }
}

struct subscription *subscription_new(struct live_session *session, struct room *room,
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

/* ---- what becomes of the room ---- */

void subscription_unread(struct subscription *subscription)
{
    if (!subscription->room->known || needs_read(subscription))
        refuse_unavailable(subscription);
    else
        begin_replay(subscription);
}

void subscription_deleted(struct subscription *subscription)
{
    if (subscription->state == ASKED)
        refuse_stranger(subscription, false);
    else
        end_with(subscription, part_gone(subscription->room->id,
                                         STOA__CHAT__V1__GONE_REASON__GONE_REASON_DELETED));
}

void subscription_overtaken(struct subscription *subscription)
{
    if (subscription->state != ASKED)
        end_reset(subscription);
}

/* ---- all of a room ---- */

void room_settle(struct room *room)
{
    struct subscription *subscription = TAILQ_FIRST(&room->behind), *next;

    for (; subscription; subscription = next) {
        next = TAILQ_NEXT(subscription, next);
        if (subscription->state == ASKED)
            subscription_decide(subscription);
        else
            subscription_pump(subscription);
    }
}
