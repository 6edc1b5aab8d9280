/* The chat service: rooms, who is in them, and what is said there. */
#include "chat.h"
#include "service/purge.h"

extern const struct db_migration migrations[]; /* made from migrations/ */
extern const size_t n_migrations;

struct chat_config {
    int64_t purge_interval_s;
};

static const struct config_setting settings[] = {
    {"STOA_CHAT_PURGE_INTERVAL_S", CONFIG_INT, offsetof(struct chat_config, purge_interval_s), "5",
     1, 86400, false,
     "How often new messages are sorted into the search index, and deleted rooms and remains of "
     "accounts are removed, in seconds."},
};

static const struct purge_step purge_steps[] = {
    {SORT_SEARCH_INDEX, INT64_MAX}, {PURGE_ROOM, 1}, {PURGE_ACCOUNT, 1}};

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
        list_events_handler,
    };
    const struct chat_config *config = service_config(service);
    struct purge *purge;
    int r = rpc_server_add(service_rpc(service), &stoa__chat__v1__room_service__descriptor,
                           handlers, ARRAY_SIZE(handlers), service, ret_error);

    if (r < 0)
        return r;
    r = purge_new(service, purge_steps, ARRAY_SIZE(purge_steps), config->purge_interval_s, &purge);
    if (r < 0) {
        *ret_error = STR("out of memory");
        return r;
    }
    service_set_state(service, purge);
    return 0;
}

static int tick(struct service *service)
{
    return purge_tick(service_state(service));
}

static void stop(struct service *service)
{
    purge_free(service_state(service));
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
        .tick = tick,
        .stop = stop,
    };

    return service_main(&definition, argc, argv);
}
