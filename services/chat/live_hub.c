/* The hub: its life, its clock, and what the handlers tell it. */
#include "limits.h"
#include "live_internal.h"
#include "live_parts.h"
#include "typing.h"

#include "base/cond.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define ENDED_INTERVAL (250 * NSEC_PER_MSEC)
#define AHEAD_INTERVAL (1 * NSEC_PER_SEC)
#define AHEAD_TIMEOUT (2 * NSEC_PER_SEC)
#define IDENTITY_TIMEOUT (10 * NSEC_PER_SEC)
#define MANY_ALONE 16

/* ---- what has happened ---- */

static void take_message(struct hub *hub, const struct sent_message *message)
{
    struct room *room = room_find(hub, message->room);

    if (room)
        room_event(room, message->seq,
                   (struct window_entry){
                       .bytes = message->event,
                       .kind = STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE,
                       .message = message->seq,
                       .created_us = message->created_us,
                   });
    else
        rpc_packed_unref(message->event);
}

void hub_message_stored(struct hub *hub, int64_t room)
{
    size_t n = atomic_load_explicit(&hub->n_stored, memory_order_relaxed);

    assert(n < HUB_MAX_STORED);
    atomic_store_explicit(&hub->stored[n], room, memory_order_relaxed);
    atomic_store(&hub->n_stored, n + 1);
}

bool hub_is_storing(struct hub *hub, int64_t room)
{
    size_t n = atomic_load(&hub->n_stored);

    for (size_t i = 0; i < n; i++) {
        if (atomic_load_explicit(&hub->stored[i], memory_order_relaxed) == room)
            return true;
    }
    return false;
}

void hub_messages_sent(struct hub *hub, const struct sent_messages *messages)
{
    const struct sent_message *message;

    STAILQ_FOREACH(message, messages, next)
    {
        metrics_add(&hub->counts.sent, 1);
        if (message->event)
            bus_publish(hub->bus, message->room, BUS_MESSAGE, message->seq,
                        rpc_packed_bytes(message->event));
        else
            log_error("no memory for a message's event", LOG_I("room", message->room));
    }
    hub_lock(hub);
    STAILQ_FOREACH(message, messages, next)
    {
        if (message->event)
            take_message(hub, message);
    }
    atomic_store(&hub->n_stored, 0);
    STAILQ_FOREACH(message, messages, next)
    {
        struct room *room = room_find(hub, message->room);

        if (room)
            room_decide(room);
    }
    hub_unlock(hub);
}

bool hub_tells_many_alone(const struct hub *hub)
{
    return atomic_load(&hub->n_alone) > MANY_ALONE;
}

void hub_room_changed(struct hub *hub, int64_t room_id)
{
    struct room *room;

    bus_publish(hub->bus, room_id, BUS_CHANGE, 0, STR(""));
    hub_lock(hub);
    room = room_find(hub, room_id);
    if (room)
        room_read(room);
    hub_unlock(hub);
}

void hub_announce(struct hub *hub, int64_t room_id, const struct rpc_packed *message)
{
    bus_publish(hub->bus, room_id, BUS_PART, 0, rpc_packed_bytes(message));
    hub_announce_here(hub, room_id, message);
}

void hub_announce_here(struct hub *hub, int64_t room_id, const struct rpc_packed *message)
{
    struct room *room;

    hub_lock(hub);
    room = room_find(hub, room_id);
    if (room)
        room_broadcast(room, 0, message);
    hub_unlock(hub);
}

/* ---- what other instances say ---- */

/* Whoever writes to Redis could make it break every connection to the room, or, when it is kept,
 * each that comes. */
static bool is_response(const struct hub *hub, struct str bytes)
{
    struct arena arena CLEANUP(arena_free) = {.max = 0};
    struct schema_fault fault;

    if (schema_check_wire(hub->response, bytes, &arena, &fault) == 0)
        return true;
    log_warn("redis had something that no instance says", LOG_S("field", fault.path),
             LOG_S("cause", fault.message));
    return false;
}

static void take_news(struct room *room, enum bus_kind kind, int64_t seq, struct str bytes)
{
    struct window_entry entry = {.kind = STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE,
                                 .message = seq};

    switch (kind) {
    case BUS_CHANGE:
        room_read(room);
        break;
    case BUS_MESSAGE:
        if (is_response(room->hub, bytes) &&
            part_is_message(bytes, room->id, seq, &entry.created_us))
            entry.bytes = rpc_packed_copy(bytes);
        if (entry.bytes)
            room_event(room, seq, entry);
        break;
    case BUS_PART:
        if (is_response(room->hub, bytes) && part_is_read(bytes, room->id))
            entry.bytes = rpc_packed_copy(bytes);
        if (entry.bytes)
            room_broadcast(room, 0, entry.bytes);
        rpc_packed_unref(entry.bytes);
        break;
    case BUS_PRESENCE:
        presence_hear_change(room->hub->presence, room->id);
        break;
    case BUS_TYPING:
        if (is_response(room->hub, bytes))
            typing_heard(presence_typing(room->hub->presence), room->id, bytes);
        break;
    default: /* of a version to come */
        break;
    }
}

static void on_news(void *user, int64_t room_id, enum bus_kind kind, int64_t seq, struct str bytes)
{
    struct hub *hub = user;
    struct room *room;

    hub_lock(hub);
    room = room_find(hub, room_id);
    if (room)
        take_news(room, kind, seq, bytes);
    hub_unlock(hub);
}

/* Before, they may have said things that were not heard. */
static void on_heard(void *user)
{
    struct hub *hub = user;

    hub_lock(hub);
    hub->ahead_ns = 0;
    hub_look_at(hub, 0);
    hub_unlock(hub);
}

static void follow_all(struct hub *hub, bool follow)
{
    for (struct room *room = hub->rooms; room; room = room->hh.next)
        bus_follow(hub->bus, room->id, follow);
}

static void on_identity(void *user, const struct db_result *result)
{
    struct hub *hub = user;
    struct str identity = STR_NULL;

    if (result->error == DB_OK)
        identity = db_get_text(result, 0, 0);
    else if (result->error != DB_UNAVAILABLE) /* it will be back, and is asked again */
        log_error("the database does not say which one it is: instances do not hear each other",
                  LOG_S("cause", db_cause(result)));
    hub_lock(hub);
    if (identity.n > 0 && !bus_is_database(hub->bus, identity)) {
        limits_set_database(chat_limits(hub->service), identity);
        follow_all(hub, false);
        bus_set_database(hub->bus, identity);
        follow_all(hub, true);
    }
    hub->identified = hub->identified || identity.n > 0;
    hub->identifying = false;
    arena_free(&hub->identity_arena);
    hub_unlock(hub);
}

/* Under the lock. */
static void identify(struct hub *hub)
{
    struct db_query *query;

    if (!hub->bus || hub->identifying)
        return;
    query = db_query(service_db(hub->service), &hub->identity_arena, DATABASE_IDENTITY);
    hub->identifying = query && db_submit(query, clock_monotonic_ns() + IDENTITY_TIMEOUT, NULL,
                                          on_identity, hub) == 0;
    if (!hub->identifying)
        arena_free(&hub->identity_arena);
}

/* ---- what may have been missed ---- */

static void take_ahead(struct hub *hub, const struct db_result *result)
{
    for (int i = 0; i < db_rows(result); i++) {
        struct room *room = room_find(hub, db_get_int8(result, i, AHEAD_ROOM));

        if (!room || !room->known)
            continue;
        if (db_is_null(result, i, AHEAD_LAST_SEQ)) {
            room_deleted(room);
            continue;
        }
        room_keeps(room, db_get_int8(result, i, AHEAD_FIRST_SEQ));
        if (db_get_int8(result, i, AHEAD_LAST_SEQ) > room->window.last && !room->reading) {
            metrics_add(&hub->counts.behind, 1);
            room_read(room);
        }
    }
}

static void on_ahead(void *user, const struct db_result *result)
{
    struct hub *hub = user;

    if (result->error != DB_OK && result->error != DB_UNAVAILABLE)
        log_warn("rooms could not be looked at", LOG_S("cause", db_cause(result)));
    hub_lock(hub);
    if (result->error == DB_OK)
        take_ahead(hub, result);
    hub->asking = false;
    arena_free(&hub->ahead_arena);
    hub_unlock(hub);
}

/* One question for all rooms. False: there is no memory, or too much waits already. */
static bool ask_ahead(struct hub *hub)
{
    size_t max = HASH_COUNT(hub->rooms), n = 0;
    int64_t *ids = arena_calloc(&hub->ahead_arena, max, sizeof(*ids));
    int64_t *lasts = arena_calloc(&hub->ahead_arena, max, sizeof(*lasts));
    int64_t *firsts = arena_calloc(&hub->ahead_arena, max, sizeof(*firsts));
    struct db_query *query = db_query(service_db(hub->service), &hub->ahead_arena, ROOMS_AHEAD);

    if (!ids || !lasts || !firsts || !query)
        return false;
    for (struct room *room = hub->rooms; room; room = room->hh.next) {
        if (!room->known)
            continue;
        ids[n] = room->id;
        lasts[n] = room->window.last;
        firsts[n++] = room->first_seq;
    }
    if (n == 0)
        return false;
    db_bind_int8_array(query, ids, n);
    db_bind_int8_array(query, lasts, n);
    db_bind_int8_array(query, firsts, n);
    return db_submit(query, clock_monotonic_ns() + AHEAD_TIMEOUT, NULL, on_ahead, hub) == 0;
}

static void look_ahead(struct hub *hub)
{
    if (hub->asking || !hub->rooms)
        return;
    hub->asking = ask_ahead(hub);
    if (!hub->asking)
        arena_free(&hub->ahead_arena);
}

/* ---- the clock ---- */

void hub_look_at(struct hub *hub, int64_t ns)
{
    if (ns >= hub->clock_ns)
        return;
    hub->clock_ns = ns;
    pthread_cond_signal(&hub->wake);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t look_at_rooms(struct hub *hub, int64_t now)
{
    int64_t next_ns = INT64_MAX;
    struct room *room, *next;

    HASH_ITER(hh, hub->rooms, room, next)
    {
        next_ns = earlier(next_ns, room_look(room, now));
    }
    return next_ns;
}

static void look_at_sessions(struct hub *hub, int64_t now)
{
    struct live_session *session;

    TAILQ_FOREACH(session, &hub->sessions, next)
    {
        session_look(session, now);
    }
}

static void look(struct hub *hub)
{
    int64_t now = clock_monotonic_ns(), next_ns;

    if (now >= hub->ended_ns) {
        hub->ended_ns = now + ENDED_INTERVAL;
        look_at_sessions(hub, now);
    }
    if (now >= hub->ahead_ns) {
        hub->ahead_ns = now + AHEAD_INTERVAL;
        look_ahead(hub);
        if (!hub->identified)
            identify(hub);
    }
    next_ns = look_at_rooms(hub, now);
    hub->clock_ns = earlier(next_ns, earlier(hub->ended_ns, hub->ahead_ns));
}

static void *clock_main(void *user)
{
    struct hub *hub = user;

    hub_lock(hub);
    while (!hub->stopping) {
        look(hub);
        (void)cond_wait_until(&hub->wake, &hub->lock, hub->clock_ns);
    }
    hub_unlock(hub);
    return NULL;
}

/* ---- life ---- */

int hub_new(struct service *service, const struct live_settings *settings,
            const struct redis_settings *redis, struct hub **ret, struct str *ret_error)
{
    const struct bus_options options = {.on_news = on_news, .on_heard = on_heard};
    struct hub *hub = calloc(1, sizeof(*hub));
    int r = 0;

    if (!hub)
        return -ENOMEM;
    hub->service = service;
    hub->settings = *settings;
    hub->response = schema_message(service_schema(service), STR("stoa.chat.v1.ConnectResponse"));
    assert(hub->response);
    TAILQ_INIT(&hub->sessions);
    arena_init(&hub->ahead_arena, 0); /* bounded by the rooms */
    pthread_mutex_init(&hub->lock, NULL);
    cond_init(&hub->wake);
    if (redis->address.n == 0)
        log_info("STOA_REDIS is not set: other instances are heard once a second");
    else
        r = bus_new(service, redis, &options, hub, &hub->bus, ret_error);
    if (r < 0) {
        hub_free(hub);
        return r;
    }
    service_add_metrics(service, hub_write_metrics, hub);
    *ret = hub;
    return 0;
}

void hub_use_presence(struct hub *hub, struct presence *presence)
{
    hub->presence = presence;
}

struct bus *hub_bus(struct hub *hub)
{
    return hub->bus;
}

const struct live_settings *hub_settings(const struct hub *hub)
{
    return &hub->settings;
}

int hub_database_ready(struct hub *hub)
{
    int r = 0;

    hub_lock(hub);
    hub->ahead_ns = 0;
    hub_look_at(hub, 0);
    hub->identified = false;
    identify(hub);
    if (!hub->clock_runs && !hub->stopping) {
        r = -pthread_create(&hub->clock, NULL, clock_main, hub);
        hub->clock_runs = r == 0;
    }
    hub_unlock(hub);
    return r;
}

void hub_stop(struct hub *hub)
{
    struct live_session *session;
    bool runs;

    hub_lock(hub);
    hub->stopping = true;
    TAILQ_FOREACH(session, &hub->sessions, next)
    {
        session_end(session, &live_stopping, false);
    }
    runs = hub->clock_runs;
    hub->clock_runs = false;
    pthread_cond_signal(&hub->wake);
    hub_unlock(hub);
    if (runs)
        pthread_join(hub->clock, NULL);
}

void hub_free(struct hub *hub)
{
    struct room *room, *next;

    if (!hub)
        return;
    hub_stop(hub);
    bus_free(hub->bus);
    HASH_ITER(hh, hub->rooms, room, next)
    {
        HASH_DEL(hub->rooms, room);
        room_free(room);
    }
    arena_free(&hub->ahead_arena);
    arena_free(&hub->identity_arena);
    pthread_cond_destroy(&hub->wake);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}
