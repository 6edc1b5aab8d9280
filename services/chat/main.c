/* The chat service: rooms and their messages. */
#include "rooms.h"
#include "statements.h"

extern const struct db_migration migrations[]; /* made from migrations/ */
extern const size_t n_migrations;

int main(int argc, char **argv)
{
    const struct service_definition definition = {
        .name = "chat",
        .about = "rooms and the messages in them",
        .statements = chat_statements,
        .n_statements = CHAT_STATEMENTS,
        .migrations = migrations,
        .n_migrations = n_migrations,
        .start = rooms_register,
    };

    return service_main(&definition, argc, argv);
}
