/* What the files of posts share: their handlers, and answers that several of them give. */
#ifndef STOA_POSTS_POSTS_H
#define STOA_POSTS_POSTS_H

#include "indexer.h"
#include "statements.h"

#include "service/purge.h"

/* The service's state. */
struct posts {
    struct purge *purge;
    struct indexer *indexer;
    struct db_group *creations, *lookups, *author_listings;
    struct db_share *listings;
};

/* articles.c */
extern const struct rpc_handler create_article_handler, get_article_handler;
/* Creates that go together, for struct posts. -ENOMEM. */
int creations_new(struct db_group **ret) MUST_CHECK;
/* Reads of one article that go together, for struct posts. -ENOMEM. */
int lookups_new(struct db_group **ret) MUST_CHECK;
/* lists.c */
extern const struct rpc_handler list_articles_handler, list_feed_handler, list_tags_handler;
/* Lists that are read once for several, and those of authors, which go together, for struct posts.
 * -ENOMEM. */
int listings_new(struct db_share **ret) MUST_CHECK;
int author_listings_new(struct db_group **ret) MUST_CHECK;
/* edits.c */
extern const struct rpc_handler update_article_handler, delete_article_handler;
/* revisions.c */
extern const struct rpc_handler list_revisions_handler, get_revision_handler;
/* drafts.c */
extern const struct rpc_handler create_draft_handler, get_draft_handler, list_drafts_handler,
    update_draft_handler, delete_draft_handler;
/* publish.c */
extern const struct rpc_handler publish_draft_handler;
/* favorites.c */
extern const struct rpc_handler favorite_article_handler, unfavorite_article_handler;
/* comments.c */
extern const struct rpc_handler create_comment_handler, list_comments_handler,
    delete_comment_handler;
/* profiles.c */
extern const struct rpc_handler get_profile_handler, follow_profile_handler,
    unfollow_profile_handler;

/* UNAUTHENTICATED: the token has outlived its account. */
static inline void fail_no_account(struct rpc_call *call)
{
    service_fail_field(call, RPC_UNAUTHENTICATED, "TOKEN_INVALID", "token", "is invalid");
}

/* PERMISSION_DENIED: errors: {type: ["forbidden"]}. */
static inline void fail_forbidden(struct rpc_call *call, const char *type, struct str name)
{
    rpc_fail_with(call, &(struct rpc_error){.code = RPC_PERMISSION_DENIED,
                                            .message = STR("it belongs to somebody else"),
                                            .reason = "FORBIDDEN",
                                            .resource_type = type,
                                            .resource_name = name,
                                            .resource_description = "forbidden"});
}

#endif
