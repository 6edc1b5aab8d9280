/* The chat service: rooms and their messages. */
#include "rooms.h"
#include "statements.h"

#include "service/purge.h"

extern const struct db_migration migrations[]; /* made from migrations/ */
extern const size_t n_migrations;

struct chat_config {
    int64_t purge_interval_s;
};

static const struct config_setting settings[] = {
    {"STOA_CHAT_PURGE_INTERVAL_S", CONFIG_INT, offsetof(struct chat_config, purge_interval_s), "60",
     1, 86400, false, "How often remains of accounts are removed, in seconds."},
};

static const struct purge_step purge_steps[] = {{PURGE_ACCOUNT, 1}};

static int start(struct service *service, struct str *ret_error)
{
    const struct chat_config *config = service_config(service);
    struct purge *purge;
    int r = rooms_register(service, ret_error);

    if (r < 0)
        return r;
    r = purge_new(service, purge_steps, ARRAY_SIZE(purge_steps), config->purge_interval_s, &purge);
    if (r == 0)
        service_set_state(service, purge);
    else
        *ret_error = STR("out of memory");
    return r;
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
        .statements = chat_statements,
        .n_statements = CHAT_STATEMENTS,
        .migrations = migrations,
        .n_migrations = n_migrations,
        .start = start,
        .tick = tick,
        .stop = stop,
        .settings = settings,
        .n_settings = ARRAY_SIZE(settings),
        .config = &config,
    };

    return service_main(&definition, argc, argv);
}
