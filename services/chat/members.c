/* Who is in a room: each handler binds one statement on a poller thread and answers from its
 * outcome on the database's engine thread. */
#include "chat.h"
#include "page_token.h"

/* ---- LeaveRoom, RemoveMember ---- */

static void leave_room(struct service *service, struct rpc_call *call,
                       const Stoa__Chat__V1__LeaveRoomRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, LEAVE_ROOM, message->room, &query);

    if (request && !limit_failed(request, LIMIT_CHANGE, ""))
        submit_change(request, query, &stoa__chat__v1__leave_room_response__descriptor);
}
RPC_UNARY(leave_room, struct service, Stoa__Chat__V1__LeaveRoomRequest)

static void remove_member(struct service *service, struct rpc_call *call,
                          const Stoa__Chat__V1__RemoveMemberRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, REMOVE_MEMBER, message->room, &query);

    if (request && request_bind_username(request, query, message->username) &&
        !limit_failed(request, LIMIT_CHANGE, ""))
        submit_change(request, query, &stoa__chat__v1__remove_member_response__descriptor);
}
RPC_UNARY(remove_member, struct service, Stoa__Chat__V1__RemoveMemberRequest)

/* ---- InviteMember, SetMemberRole ---- */

static void on_invited(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__InviteMemberResponse response = STOA__CHAT__V1__INVITE_MEMBER_RESPONSE__INIT;
    struct member_row member;

    if (change_failed(request, result))
        return;
    member_from_row(result, 0, &member);
    response.member = &member.member;
    rpc_reply(request->call, &response.base);
}

static void invite_member(struct service *service, struct rpc_call *call,
                          const Stoa__Chat__V1__InviteMemberRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, INVITE_MEMBER, message->room, &query);

    if (request && request_bind_username(request, query, message->username) &&
        !limit_failed(request, LIMIT_CHANGE, ""))
        (void)service_query_with(call, query, on_invited, request);
}
RPC_UNARY(invite_member, struct service, Stoa__Chat__V1__InviteMemberRequest)

static void on_role_set(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__SetMemberRoleResponse response = STOA__CHAT__V1__SET_MEMBER_ROLE_RESPONSE__INIT;
    struct member_row member;

    if (change_failed(request, result))
        return;
    member_from_row(result, 0, &member);
    response.member = &member.member;
    rpc_reply(request->call, &response.base);
}

static void set_member_role(struct service *service, struct rpc_call *call,
                            const Stoa__Chat__V1__SetMemberRoleRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, SET_MEMBER_ROLE, message->room, &query);

    if (!request || !request_bind_username(request, query, message->username) ||
        limit_failed(request, LIMIT_CHANGE, ""))
        return;
    db_bind_int4(query, (int32_t)message->role);
    (void)service_query_with(call, query, on_role_set, request);
}
RPC_UNARY(set_member_role, struct service, Stoa__Chat__V1__SetMemberRoleRequest)

/* ---- ListMembers ---- */

static void on_members(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct arena *arena = rpc_call_arena(request->call);
    Stoa__Chat__V1__ListMembersResponse response = STOA__CHAT__V1__LIST_MEMBERS_RESPONSE__INIT;
    char next[PAGE_TOKEN_SIZE] = "";
    struct member_row *members;
    int rows, n;

    if (read_failed(request, result))
        return;
    rows = db_is_null(result, 0, MEMBER_ACCOUNT_ID) ? 0 : db_rows(result);
    n = rows < request->page_size ? rows : request->page_size;
    members = arena_calloc(arena, (size_t)n, sizeof(*members));
    response.members = arena_calloc(arena, (size_t)n, sizeof(*response.members));
    if (!members || !response.members) {
        service_fail_memory(request->call);
        return;
    }
    for (int i = 0; i < n; i++) {
        member_from_row(result, i, &members[i]);
        response.members[i] = &members[i].member;
    }
    response.n_members = (size_t)n;
    if (rows > n) {
        const int64_t last = db_get_int8(result, n - 1, MEMBER_ACCOUNT_ID);

        page_token_write(&last, 1, next);
    }
    response.next_page_token = next;
    rpc_reply(request->call, &response.base);
}

static void list_members(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__ListMembersRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, LIST_MEMBERS, message->room, &query);
    int64_t after = 0;

    if (!request || !read_page_token(call, message->page_token, &after, 1))
        return;
    request->page_size = chat_page_size(message->page_size, CHAT_USUAL_PAGE);
    db_bind_int8(query, after);
    db_bind_int4(query, request->page_size + 1);
    (void)service_query_with(call, query, on_members, request);
}
RPC_UNARY(list_members, struct service, Stoa__Chat__V1__ListMembersRequest)

const struct rpc_handler leave_room_handler = {.method = "LeaveRoom", .unary = leave_room_rpc},
                         list_members_handler = {.method = "ListMembers",
                                                 .unary = list_members_rpc},
                         invite_member_handler = {.method = "InviteMember",
                                                  .unary = invite_member_rpc},
                         remove_member_handler = {.method = "RemoveMember",
                                                  .unary = remove_member_rpc},
                         set_member_role_handler = {.method = "SetMemberRole",
                                                    .unary = set_member_role_rpc};
