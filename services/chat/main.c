/* The chat service: rooms, who is in them, and what is said there. */
#include "limits.h"
#include "live.h"
#include "presence.h"

#include "base/log.h"
#include "edge/edge.h"
#include "service/purge.h"

#include <errno.h>
#include <stdlib.h>

extern const struct db_migration migrations[]; /* made from migrations/ */
extern const size_t n_migrations;

struct chat_config {
    int64_t purge_interval_s;
    struct live_settings live;
    struct redis_settings redis;
    struct str rooms_redis; /* empty: the same */
    struct retention_settings retention;
    struct limit_settings limits;
    struct presence_settings presence;
};

struct chat {
    struct purge *purge;
    struct hub *hub;
    struct sends *sends;
    struct edge *edge;
    struct limits *limits;
    struct presence *presence;
    struct redis *redis; /* for limits and presence; NULL: each instance by itself */
};

#define LIVE(member) offsetof(struct chat_config, live.member)
#define REDIS(member) offsetof(struct chat_config, redis.member)
#define LIMITS(member) offsetof(struct chat_config, limits.member)
#define RETENTION(member) offsetof(struct chat_config, retention.member)

static const struct config_setting settings[] = {
    {"STOA_CHAT_PURGE_INTERVAL_S", CONFIG_INT, offsetof(struct chat_config, purge_interval_s), "5",
     1, 86400, false,
     "How often new messages are sorted into the search index, and deleted rooms and remains of "
     "accounts are removed, in seconds."},
    {"STOA_CHAT_MAX_CONNECTIONS", CONFIG_INT, LIVE(max_connections), "64", 1, 1000000, false,
     "Live connections of an account at this instance; more are refused."},
    {"STOA_CHAT_MAX_SUBSCRIPTIONS", CONFIG_INT, LIVE(max_subscriptions), "500", 1, 1000000, false,
     "Rooms that a live connection may follow."},
    {"STOA_CHAT_MAX_ACTIONS", CONFIG_INT, LIVE(max_actions), "128", 1, 100000, false,
     "Actions of a live connection that may wait for their answers; more are refused."},
    {"STOA_CHAT_MAX_WAITING", CONFIG_INT, LIVE(max_waiting), "1024", 16, 1000000, false,
     "Messages that may wait to be read by a client; one that is slower is cut off."},
    {"STOA_CHAT_MAX_WAITING_BYTES", CONFIG_INT, LIVE(waiting_bytes), "1048576", 65536, 1 << 30,
     false, "Bytes that may wait to be read by a client; one that is slower is cut off."},
    {"STOA_CHAT_REPLAY_EVENTS", CONFIG_INT, LIVE(replay_events), "1000", 1, CHAT_MAX_REPLAY, false,
     "Missed events of a room that a returning client is given at most; one that is further behind "
     "is told to read the history."},
    {"STOA_CHAT_REPLAY_BYTES", CONFIG_INT, LIVE(replay_bytes), "1048576", 65536, 1 << 30, false,
     "Bytes of missed events of a room that a returning client is given at most."},
    {"STOA_CHAT_CACHE_BYTES", CONFIG_INT, LIVE(cache_bytes), "67108864", 65536, INT64_C(1) << 40,
     false,
     "About how much memory the latest events of all rooms followed here may take, in bytes."},
    REDIS_SETTINGS(REDIS, "Redis, where instances tell each other what has happened, and count "
                          "together: unix:/path or host:port; empty: each asks Postgres once a "
                          "second, and counts by itself."),
    {"STOA_CHAT_ROOMS_REDIS", CONFIG_STRING, offsetof(struct chat_config, rooms_redis), "", 0, 0,
     false,
     "Several Redis servers that share the rooms' events between instances, comma separated, in "
     "the same order everywhere: each has a part of the rooms. Empty: STOA_REDIS has all."},
    {"STOA_CHAT_RETENTION_DAYS", CONFIG_INT, RETENTION(days), "0", 0, 36500, false,
     "Days for which every room keeps what happens there, at most; its owner may set fewer. 0: for "
     "ever."},
    {"STOA_CHAT_RETENTION_MESSAGES", CONFIG_INT, RETENTION(messages), "0", 0, 100000000, false,
     "Messages that every room keeps, at most; its owner may set fewer. 0: all. What is younger "
     "than a day is always kept."},
    {"STOA_CHAT_RETENTION_INTERVAL_S", CONFIG_INT, RETENTION(interval_s), "600", 1, 86400, false,
     "Seconds, at least, between two looks at a room for what it need not keep any more."},
    LIMIT_SETTINGS(LIMITS),
    {"STOA_CHAT_PRESENCE_NAMES", CONFIG_INT, offsetof(struct chat_config, presence.names), "100", 0,
     CROWD_MAX_NAMES, false,
     "Members online in a room up to which its followers are told who they are; of more they are "
     "told only how many."},
    {"STOA_CHAT_PRESENCE_INTERVAL_MS", CONFIG_INT,
     offsetof(struct chat_config, presence.interval_ms), "2000", 100, 600000, false,
     "Milliseconds, at least, between two messages to a room's followers about who has come and "
     "gone; three times that where they are told only how many."},
};

const struct retention_settings *chat_retention(struct service *service)
{
    const struct chat_config *config = service_config(service);

    return &config->retention;
}

static void bind_sweep(struct service *service, struct db_query *query)
{
    const struct retention_settings *limits = chat_retention(service);

    db_bind_int4(query, (int32_t)limits->days);
    db_bind_int4(query, (int32_t)limits->messages);
    db_bind_int4(query, (int32_t)limits->interval_s);
}

static bool all_rooms_have_limits(struct service *service)
{
    const struct retention_settings *limits = chat_retention(service);

    return limits->days > 0 || limits->messages > 0;
}

static const struct purge_step purge_steps[] = {
    {.statement = SORT_SEARCH_INDEX, .batch = INT64_MAX},
    {.statement = PURGE_ROOM, .batch = 1},
    {.statement = PURGE_ACCOUNT, .batch = 1},
    {.statement = LIMIT_ROOMS, .batch = CHAT_PURGE_BATCH, .wanted = all_rooms_have_limits},
    {.statement = SWEEP_ROOM, .batch = 1, .bind = bind_sweep},
};

/* The hub, with its bus on servers of its own where there are some. */
static int new_hub(struct service *service, const struct chat_config *config, struct hub **ret,
                   struct str *ret_error)
{
    struct redis_settings redis = config->redis;

    if (config->rooms_redis.n > 0) {
        if (redis.address.n == 0) {
            *ret_error = STR("STOA_CHAT_ROOMS_REDIS: set STOA_REDIS as well, which has the rest");
            return -EINVAL;
        }
        redis.name = "STOA_CHAT_ROOMS_REDIS";
        redis.address = config->rooms_redis;
    }
    return hub_new(service, &config->live, &redis, ret, ret_error);
}

static void write_redis_metrics(void *user, struct buf *text)
{
    const struct chat *chat = user;
    struct redis_use uses[1 + BUS_MAX_USES] = {{"commands", chat->redis}};
    size_t n = 1 + bus_uses(hub_bus(chat->hub), uses + 1);

    redis_write_metrics(uses, n, text);
}

static int start(struct service *service, struct str *ret_error)
{
    const struct rpc_handler handlers[] = {
        create_room_handler,     open_direct_room_handler, get_room_handler,
        list_rooms_handler,      list_my_rooms_handler,    update_room_handler,
        delete_room_handler,     join_room_handler,        leave_room_handler,
        list_members_handler,    invite_member_handler,    remove_member_handler,
        set_member_role_handler, send_message_handler,     list_messages_handler,
        edit_message_handler,    delete_message_handler,   add_reaction_handler,
        remove_reaction_handler, mark_read_handler,        search_messages_handler,
        list_events_handler,     export_room_handler,      get_presence_handler,
    };
    const struct rpc_handler live_handlers[] = {connect_handler, subscribe_handler};
    const struct chat_config *config = service_config(service);
    struct chat *chat;
    int r = rpc_server_add(service_rpc(service), &stoa__chat__v1__room_service__descriptor,
                           handlers, ARRAY_SIZE(handlers), service, ret_error);

    if (r == 0)
        r = rpc_server_add(service_rpc(service), &stoa__chat__v1__live_service__descriptor,
                           live_handlers, ARRAY_SIZE(live_handlers), service, ret_error);
    if (r < 0)
        return r;
    *ret_error = STR("out of memory");
    chat = calloc(1, sizeof(*chat));
    if (!chat)
        return -ENOMEM;
    service_set_state(service, chat);
    r = live_attach_new(service, &chat->edge);
    if (r == 0)
        r = edge_add(chat->edge, service_rpc(service), ret_error);
    if (r < 0)
        return r;
    r = purge_new(service, purge_steps, ARRAY_SIZE(purge_steps), config->purge_interval_s,
                  &chat->purge);
    if (r == 0)
        r = new_hub(service, config, &chat->hub, ret_error);
    if (r == 0)
        r = sends_new(chat->hub, chat->edge, &chat->sends);
    if (r == 0)
        r = limits_new(service, &config->limits, &chat->limits, ret_error);
    if (r == 0 && config->redis.address.n > 0)
        r = service_open_redis(service, &config->redis, (struct redis_options){.max_queue = 0},
                               &chat->redis, ret_error);
    if (r == 0 && chat->redis)
        r = limits_use_redis(chat->limits, chat->redis);
    if (r == 0)
        r = presence_new(service, &config->presence, &chat->presence);
    if (r < 0)
        return r;
    service_add_metrics(service, write_redis_metrics, chat);
    hub_use_presence(chat->hub, chat->presence);
    r = presence_start(chat->presence, chat->hub, hub_bus(chat->hub), chat->redis);
    if (r < 0)
        *ret_error = STR("no thread for who is online");
    return r;
}

struct hub *chat_hub(struct service *service)
{
    const struct chat *chat = service_state(service);

    return chat->hub;
}

struct sends *chat_sends(struct service *service)
{
    const struct chat *chat = service_state(service);

    return chat->sends;
}

struct presence *chat_presence(struct service *service)
{
    const struct chat *chat = service_state(service);

    return chat->presence;
}

struct limits *chat_limits(struct service *service)
{
    const struct chat *chat = service_state(service);

    return chat->limits;
}

static void database_ready(struct service *service)
{
    if (hub_database_ready(chat_hub(service)) < 0)
        log_error("no thread for the clock of live rooms: what gets lost on the way stays lost");
}

static int tick(struct service *service)
{
    const struct chat *chat = service_state(service);

    return purge_tick(chat->purge);
}

static void stopping(struct service *service)
{
    const struct chat *chat = service_state(service);

    edge_stop(chat->edge); /* first: its sessions go on elsewhere, and are not ended */
    presence_stop(chat->presence);
    hub_stop(chat->hub);
}

static void stop(struct service *service)
{
    struct chat *chat = service_state(service);

    presence_stop(chat->presence);
    redis_close(chat->redis); /* its thread may still use what follows */
    hub_free(chat->hub);
    sends_free(chat->sends);
    edge_free(chat->edge);
    limits_free(chat->limits);
    presence_free(chat->presence);
    purge_free(chat->purge);
    free(chat);
}

int main(int argc, char **argv)
{
    static struct chat_config config;
    const struct service_definition definition = {
        .name = "chat",
        .about = "rooms and the messages in them",
        .settings = settings,
        .n_settings = ARRAY_SIZE(settings),
        .config = &config,
        .statements = chat_statements,
        .n_statements = CHAT_STATEMENTS,
        .migrations = migrations,
        .n_migrations = n_migrations,
        .start = start,
        .database_ready = database_ready,
        .tick = tick,
        .stopping = stopping,
        .stop = stop,
    };

    return service_main(&definition, argc, argv);
}
