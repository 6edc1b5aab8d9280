/* What came of a statement as a gRPC status. Any thread. */
#include "live.h"

#include "text/plain_text.h"

#define NOT_MEMBER 0

/* Of the functions in migrations/0003_members.sql; and what is in the way of what. */
static const struct outcome {
    const char *name;
    enum rpc_code code;
    const char *reason, *resource, *description, *sentence;
} outcomes[] = {
    [NOT_MEMBER] = {"not_member", RPC_PERMISSION_DENIED, "NOT_A_MEMBER", "room",
                    "is for its members", "only members of the room may do that"},
    {"removed", RPC_PERMISSION_DENIED, "REMOVED", "room", "has removed you",
     "you have been removed from the room"},
    {"forbidden", RPC_PERMISSION_DENIED, "FORBIDDEN", "room", "forbidden",
     "your role in the room does not allow that"},
    {"direct_room", RPC_FAILED_PRECONDITION, "DIRECT_ROOM", "room", "is a direct one",
     "a direct room stays as it is"},
    {"last_owner", RPC_FAILED_PRECONDITION, "LAST_OWNER", "room", "needs another owner first",
     "the room would lose its last owner"},
    {"room_full", RPC_FAILED_PRECONDITION, "TOO_MANY_MEMBERS", "room", "is full",
     "the room has as many members as a room may have"},
    {"too_many_rooms", RPC_FAILED_PRECONDITION, "TOO_MANY_ROOMS", "account", "is in too many rooms",
     "you are in as many rooms as an account may be"},
    {"they_have_too_many_rooms", RPC_FAILED_PRECONDITION, "TOO_MANY_ROOMS", "member",
     "is in too many rooms", "they are in as many rooms as an account may be"},
    {"self", RPC_FAILED_PRECONDITION, "SELF", "member", "is yourself",
     "that is for others, not for oneself"},
    {"deleted", RPC_FAILED_PRECONDITION, "MESSAGE_DELETED", "message", "has been deleted",
     "the message has been deleted"},
    {"too_many_emoji", RPC_FAILED_PRECONDITION, "TOO_MANY_EMOJI", "message",
     "has too many different reactions", "the message has as many different reactions as it may"},
    {"too_many_reactions", RPC_FAILED_PRECONDITION, "TOO_MANY_REACTIONS", "message",
     "has too many reactions", "the message has as many reactions as it may"},
};

static struct str number(struct rpc_call *call, int64_t n)
{
    return arena_printf(rpc_call_arena(call), "%lld", (long long)n);
}

static void outcome_error(const struct outcome *o, struct str resource_name, struct rpc_error *ret)
{
    *ret = (struct rpc_error){
        .code = o->code,
        .message = str_of(o->sentence),
        .reason = o->reason,
        .resource_type = o->resource,
        .resource_name = resource_name,
        .resource_description = o->description,
    };
}

void room_error(bool public, struct str number, struct rpc_error *ret)
{
    if (public)
        outcome_error(&outcomes[NOT_MEMBER], number, ret);
    else
        service_not_found(STR("room not found"), "room", number, ret);
}

void fail_no_room(const struct request *request)
{
    service_fail_not_found(request->call, "room", number(request->call, request->room));
}

static struct str resource_name(const struct request *request, const char *resource)
{
    if (strcmp(resource, "room") == 0)
        return number(request->call, request->room);
    if (strcmp(resource, "message") == 0)
        return number(request->call, request->message);
    return request->username;
}

static bool is(struct str outcome, const char *name)
{
    return str_eq(outcome, str_of(name));
}

static void fail_outcome(const struct request *request, struct str outcome)
{
    struct rpc_call *call = request->call;
    struct rpc_error error;

    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++) {
        const struct outcome *o = &outcomes[i];

        if (!is(outcome, o->name))
            continue;
        outcome_error(o, resource_name(request, o->resource), &error);
        rpc_fail_with(call, &error);
        return;
    }
    if (is(outcome, "no_account")) /* the token outlived it */
        service_fail_field(call, RPC_UNAUTHENTICATED, "TOKEN_INVALID", "token", "is invalid");
    else if (is(outcome, "no_room"))
        fail_no_room(request);
    else if (is(outcome, "no_message") || is(outcome, "no_reply"))
        service_fail_not_found(call, "message", number(call, request->message));
    else if (is(outcome, "no_user") || is(outcome, "no_member"))
        service_fail_not_found(call, is(outcome, "no_user") ? "account" : "member",
                               request->username);
    else if (is(outcome, "client_id_used"))
        service_fail_field(call, RPC_INVALID_ARGUMENT, "CLIENT_ID_USED", "client_id",
                           "has been used for another change");
    else
        rpc_fail(call, RPC_INTERNAL, "internal error");
}

void fail_not_member(const struct request *request)
{
    fail_outcome(request, STR("not_member"));
}

/* Of those who are not in the room, or may not be: whoever joins is told as well that it is full.
 */
static bool is_strangers(struct str outcome)
{
    return is(outcome, "no_room") || is(outcome, "not_member") || is(outcome, "removed") ||
           is(outcome, "no_account") || is(outcome, "room_full") || is(outcome, "too_many_rooms");
}

bool change_failed(const struct request *request, const struct db_result *result)
{
    return change_failed_at(request, result, 0);
}

bool change_failed_at(const struct request *request, const struct db_result *result, int row)
{
    struct str outcome;

    if (service_query_failed(request->call, result))
        return true;
    outcome = row >= 0 ? db_get_text(result, row, OUTCOME) : STR_NULL;
    limit_settle(request, !is_strangers(outcome));
    if (is(outcome, "ok")) {
        if (request->room > 0 && !request->tells)
            hub_room_changed(chat_hub(request->service), request->room);
        return false;
    }
    fail_outcome(request, outcome);
    return true;
}

bool read_failed(const struct request *request, const struct db_result *result)
{
    if (service_query_failed(request->call, result))
        return true;
    if (db_rows(result) == 0 || db_is_null(result, 0, OUTCOME))
        fail_no_room(request);
    else if (!db_get_bool(result, 0, OUTCOME))
        fail_not_member(request);
    else
        return false;
    return true;
}

static void on_changed(void *user, const struct db_result *result)
{
    const struct request *request = user;
    const ProtobufCMessageDescriptor *type = request->empty_answer;
    ProtobufCMessage *empty;

    if (change_failed(request, result))
        return;
    empty = arena_alloc(rpc_call_arena(request->call), type->sizeof_message);
    if (!empty) {
        service_fail_memory(request->call);
        return;
    }
    type->message_init(empty);
    rpc_reply(request->call, empty);
}

void submit_change(struct request *request, struct db_query *query,
                   const ProtobufCMessageDescriptor *answer)
{
    request->empty_answer = answer;
    (void)service_query_with(request->call, query, on_changed, request);
}

bool text_failed(struct rpc_call *call, const char *field, const char *text, bool one_line)
{
    const char *fault =
        plain_text_fault(str_of(text), one_line ? PLAIN_TEXT_ONE_LINE : PLAIN_TEXT_LINES);

    if (fault)
        service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", field, fault);
    return fault;
}
