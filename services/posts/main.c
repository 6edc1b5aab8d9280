/* The posts service: articles and what belongs to them. */
#include "posts.h"

#include "stoa/posts/v1/posts.pb-c.h"

#include <errno.h>

extern const struct db_migration migrations[]; /* made from migrations/ */
extern const size_t n_migrations;

struct posts_config {
    int64_t purge_interval_s, index_interval_ms;
};

static const struct config_setting settings[] = {
    {"STOA_POSTS_PURGE_INTERVAL_S", CONFIG_INT, offsetof(struct posts_config, purge_interval_s),
     "5", 1, 86400, false,
     "How often old idempotency keys and remains of deleted articles and accounts are removed, in "
     "seconds."},
    {"STOA_POSTS_INDEX_INTERVAL_MS", CONFIG_INT, offsetof(struct posts_config, index_interval_ms),
     "250", 10, 60000, false,
     "How often changed articles are taken into the search index, in milliseconds."},
};

static const struct purge_step purge_steps[] = {
    {.statement = PURGE_KEYS, .batch = POSTS_PURGE_BATCH},
    {.statement = PURGE_ARTICLES, .batch = 1},
    {.statement = PURGE_ACCOUNT, .batch = 1},
    {.statement = PURGE_TAGS, .batch = POSTS_PURGE_BATCH},
};

/* What runs beside the calls; stop() ends it, also when not all of it is there. */
static int start_chores(struct service *service)
{
    static struct posts posts;
    const struct posts_config *config = service_config(service);
    int r;

    service_set_state(service, &posts);
    r = purge_new(service, purge_steps, ARRAY_SIZE(purge_steps), config->purge_interval_s,
                  &posts.purge);
    if (r == 0)
        r = indexer_new(service, config->index_interval_ms, &posts.indexer);
    if (r == 0)
        r = creations_new(&posts.creations);
    if (r == 0)
        r = lookups_new(&posts.lookups);
    if (r == 0)
        r = author_listings_new(&posts.author_listings);
    return r == 0 ? listings_new(&posts.listings) : r;
}

static int start(struct service *service, struct str *ret_error)
{
    const struct rpc_handler articles[] = {
        create_article_handler,   get_article_handler,        list_articles_handler,
        list_feed_handler,        update_article_handler,     delete_article_handler,
        favorite_article_handler, unfavorite_article_handler, list_tags_handler,
        list_revisions_handler,   get_revision_handler,
    };
    const struct rpc_handler drafts[] = {create_draft_handler, get_draft_handler,
                                         list_drafts_handler,  update_draft_handler,
                                         delete_draft_handler, publish_draft_handler};
    const struct rpc_handler comments[] = {create_comment_handler, list_comments_handler,
                                           delete_comment_handler};
    const struct rpc_handler profiles[] = {get_profile_handler, follow_profile_handler,
                                           unfollow_profile_handler};
    struct rpc_server *rpc = service_rpc(service);
    int r = rpc_server_add(rpc, &stoa__posts__v1__article_service__descriptor, articles,
                           ARRAY_SIZE(articles), service, ret_error);

    if (r == 0)
        r = rpc_server_add(rpc, &stoa__posts__v1__draft_service__descriptor, drafts,
                           ARRAY_SIZE(drafts), service, ret_error);
    if (r == 0)
        r = rpc_server_add(rpc, &stoa__posts__v1__comment_service__descriptor, comments,
                           ARRAY_SIZE(comments), service, ret_error);
    if (r == 0)
        r = rpc_server_add(rpc, &stoa__posts__v1__profile_service__descriptor, profiles,
                           ARRAY_SIZE(profiles), service, ret_error);
    if (r == 0) {
        r = start_chores(service);
        if (r < 0)
            *ret_error = STR("out of memory");
    }
    return r;
}

static int tick(struct service *service)
{
    const struct posts *posts = service_state(service);
    int purge_ms = purge_tick(posts->purge), index_ms = indexer_tick(posts->indexer);

    return index_ms < purge_ms ? index_ms : purge_ms;
}

static void stop(struct service *service)
{
    const struct posts *posts = service_state(service);

    db_group_free(posts->creations);
    db_group_free(posts->lookups);
    db_group_free(posts->author_listings);
    db_share_free(posts->listings);
    purge_free(posts->purge);
    indexer_free(posts->indexer);
}

int main(int argc, char **argv)
{
    static struct posts_config config;
    const struct service_definition definition = {
        .name = "posts",
        .about = "articles and what belongs to them",
        .statements = posts_statements,
        .n_statements = POSTS_STATEMENTS,
        .completes_on_pollers = true,
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
