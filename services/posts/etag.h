/* Entity tags: which state of an article, comment or profile an answer shows.
 *
 * A tag is "VERSION.VIEW". The version changes when the resource itself is changed, and is all that
 * If-Match and If-None-Match of a change are judged by: whoever edits an article does not lose to
 * somebody who likes it. The view is a hash of what else the answer shows, such as the author's
 * picture and whether the caller follows the author, so that a cached answer is never called
 * current when it is not. A profile has a view alone, and so has a list.
 *
 * Over gRPC the tag is the answer's metadata `etag`, and conditions are the request's metadata
 * `if-match` and `if-none-match`; over HTTP they are the headers of these names. */
#ifndef STOA_POSTS_ETAG_H
#define STOA_POSTS_ETAG_H

#include "rows.h"
#include "service/service.h"

/* Add the tag to an answer that is about to be given. On a fault these end the call and return
 * false. Any thread. */
bool tag_article(struct rpc_call *call, const struct article *article) MUST_CHECK;
bool tag_draft(struct rpc_call *call, const struct draft *draft) MUST_CHECK;
bool tag_comment(struct rpc_call *call, const struct comment *comment) MUST_CHECK;
bool tag_profile(struct rpc_call *call, const Stoa__Posts__V1__Profile *profile) MUST_CHECK;
/* Of a list, for several calls: packed and hashed once, in the arena of one of them, which ends
 * last.
 */
struct tagged {
    struct str bytes, view;
};
int tagged_make(struct arena *arena, const ProtobufCMessage *response,
                struct tagged *ret) MUST_CHECK; /* -ENOMEM */
void reply_made(struct rpc_call *call, const struct tagged *tagged);

/* Whether a call's conditions let it change what has this version. Any thread. */
bool conditions_hold(struct rpc_call *call, struct version version);

#endif
