/* The posts service: articles and what belongs to them. */
#include "posts.h"

#include "stoa/posts/v1/posts.pb-c.h"

extern const struct db_migration migrations[]; /* made from migrations/ */
extern const size_t n_migrations;

static int start(struct service *service, struct str *ret_error)
{
    const struct rpc_handler articles[] = {
        create_article_handler,   get_article_handler,        list_articles_handler,
        list_feed_handler,        update_article_handler,     delete_article_handler,
        favorite_article_handler, unfavorite_article_handler, list_tags_handler,
    };
    const struct rpc_handler comments[] = {create_comment_handler, list_comments_handler,
                                           delete_comment_handler};
    const struct rpc_handler profiles[] = {get_profile_handler, follow_profile_handler,
                                           unfollow_profile_handler};
    struct rpc_server *rpc = service_rpc(service);
    int r = rpc_server_add(rpc, &stoa__posts__v1__article_service__descriptor, articles,
                           ARRAY_SIZE(articles), service, ret_error);

    if (r == 0)
        r = rpc_server_add(rpc, &stoa__posts__v1__comment_service__descriptor, comments,
                           ARRAY_SIZE(comments), service, ret_error);
    if (r == 0)
        r = rpc_server_add(rpc, &stoa__posts__v1__profile_service__descriptor, profiles,
                           ARRAY_SIZE(profiles), service, ret_error);
    return r;
}

int main(int argc, char **argv)
{
    const struct service_definition definition = {
        .name = "posts",
        .about = "articles and what belongs to them",
        .statements = posts_statements,
        .n_statements = POSTS_STATEMENTS,
        .migrations = migrations,
        .n_migrations = n_migrations,
        .start = start,
    };

    return service_main(&definition, argc, argv);
}
