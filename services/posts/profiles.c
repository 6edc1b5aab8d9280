/* GetProfile, FollowProfile, UnfollowProfile: each binds one statement on a poller thread and
 * answers from its outcome on a poller thread again. */
#include "etag.h"
#include "posts.h"
#include "rows.h"
#include "text/username_key.h"

/* A call on its way, in its arena. */
struct lookup {
    struct rpc_call *call;
    struct str username;
    bool needs_account; /* of the caller: without it the statement has no row */
    bool follows;       /* or it is one too many */
    void (*reply)(struct rpc_call *call, Stoa__Posts__V1__Profile *profile);
};

static void fail_too_many(struct rpc_call *call)
{
    rpc_fail_with(call, &(struct rpc_error){
                            .code = RPC_FAILED_PRECONDITION,
                            .message = STR("you follow as many accounts as an account may"),
                            .reason = "TOO_MANY_FOLLOWED",
                            .resource_type = "account",
                            .resource_name = STR(""),
                            .resource_description = "follows too many",
                        });
}

static void on_profile(void *user, const struct db_result *result)
{
    const struct lookup *lookup = user;
    struct rpc_call *call = lookup->call;
    const struct row row = {.result = result, .arena = rpc_call_arena(call)};
    Stoa__Posts__V1__Profile profile;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0 && lookup->needs_account)
        fail_no_account(call);
    else if (db_rows(result) == 0 || db_is_null(result, 0, PROFILE_USERNAME))
        service_fail_not_found(call, "profile", lookup->username);
    else if (profile_from_row(&row, 0, &profile) < 0)
        service_fail_memory(call);
    else if (lookup->follows && !profile.following)
        fail_too_many(call);
    else if (tag_profile(call, &profile))
        lookup->reply(call, &profile);
}

static void submit(struct service *service, struct rpc_call *call, enum posts_statement statement,
                   struct lookup with)
{
    struct arena *arena = rpc_call_arena(call);
    struct lookup *lookup = arena_alloc(arena, sizeof(*lookup));
    struct db_query *query = db_query(service_db(service), arena, statement);
    struct str key;

    if (!lookup || !query || username_key(with.username, arena, &key) < 0) {
        service_fail_memory(call); /* the contract has seen to it that the name is UTF-8 */
        return;
    }
    *lookup = with;
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, key);
    (void)service_query_with(call, query, on_profile, lookup);
}

static void reply_profile(struct rpc_call *call, Stoa__Posts__V1__Profile *profile)
{
    Stoa__Posts__V1__GetProfileResponse response = STOA__POSTS__V1__GET_PROFILE_RESPONSE__INIT;

    response.profile = profile;
    rpc_reply(call, &response.base);
}

static void get_profile(struct service *service, struct rpc_call *call,
                        const Stoa__Posts__V1__GetProfileRequest *request)
{
    submit(service, call, GET_PROFILE,
           (struct lookup){
               .call = call, .username = str_of(request->username), .reply = reply_profile});
}
RPC_UNARY(get_profile, struct service, Stoa__Posts__V1__GetProfileRequest)

static void reply_followed(struct rpc_call *call, Stoa__Posts__V1__Profile *profile)
{
    Stoa__Posts__V1__FollowProfileResponse response =
        STOA__POSTS__V1__FOLLOW_PROFILE_RESPONSE__INIT;

    response.profile = profile;
    rpc_reply(call, &response.base);
}

static void follow_profile(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__FollowProfileRequest *request)
{
    submit(service, call, FOLLOW_PROFILE,
           (struct lookup){.call = call,
                           .username = str_of(request->username),
                           .needs_account = true,
                           .follows = true,
                           .reply = reply_followed});
}
RPC_UNARY(follow_profile, struct service, Stoa__Posts__V1__FollowProfileRequest)

static void reply_unfollowed(struct rpc_call *call, Stoa__Posts__V1__Profile *profile)
{
    Stoa__Posts__V1__UnfollowProfileResponse response =
        STOA__POSTS__V1__UNFOLLOW_PROFILE_RESPONSE__INIT;

    response.profile = profile;
    rpc_reply(call, &response.base);
}

static void unfollow_profile(struct service *service, struct rpc_call *call,
                             const Stoa__Posts__V1__UnfollowProfileRequest *request)
{
    submit(service, call, UNFOLLOW_PROFILE,
           (struct lookup){.call = call,
                           .username = str_of(request->username),
                           .needs_account = true,
                           .reply = reply_unfollowed});
}
RPC_UNARY(unfollow_profile, struct service, Stoa__Posts__V1__UnfollowProfileRequest)

const struct rpc_handler get_profile_handler = {.method = "GetProfile", .unary = get_profile_rpc},
                         follow_profile_handler = {.method = "FollowProfile",
                                                   .unary = follow_profile_rpc},
                         unfollow_profile_handler = {.method = "UnfollowProfile",
                                                     .unary = unfollow_profile_rpc};
