/* The posts service: articles and what belongs to them. */
#include "articles.h"
#include "statements.h"

extern const struct db_migration migrations[]; /* made from migrations/ */
extern const size_t n_migrations;

int main(int argc, char **argv)
{
    const struct service_definition definition = {
        .name = "posts",
        .about = "articles and what belongs to them",
        .statements = posts_statements,
        .n_statements = POSTS_STATEMENTS,
        .migrations = migrations,
        .n_migrations = n_migrations,
        .start = articles_register,
    };

    return service_main(&definition, argc, argv);
}
