/* Answers that handlers of every service share: database outcomes and common errors as gRPC status.
 */
#include "base/log.h"
#include "service/internal.h"

#include <errno.h>

#define RETRY_AFTER_MS 1000
#define DISK_FULL "53100" /* SQLSTATE */

const struct service_caller *service_caller(const struct rpc_call *call)
{
    return rpc_call_context(call);
}

int64_t service_caller_id(const struct rpc_call *call)
{
    const struct service_caller *caller = service_caller(call);
    return caller ? caller->account_id : 0;
}

int service_call_as(struct rpc_call *call, const struct service_caller *caller)
{
    struct service_caller *copy = arena_alloc(rpc_call_arena(call), sizeof(*copy));

    if (!copy)
        return -ENOMEM;
    *copy = *caller;
    copy->token = STR_NULL;
    rpc_call_set_context(call, copy);
    return 0;
}

void service_fail_overloaded(struct rpc_call *call)
{
    rpc_fail_with(call, &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                            .message = STR("the service is overloaded"),
                                            .reason = "OVERLOADED",
                                            .retry_after_ms = RETRY_AFTER_MS});
}

static void fail_unavailable(struct rpc_call *call, struct str message)
{
    rpc_fail_with(call, &(struct rpc_error){.code = RPC_UNAVAILABLE,
                                            .message = message,
                                            .reason = "DATABASE_UNAVAILABLE",
                                            .retry_after_ms = RETRY_AFTER_MS});
}

/* Whether work was taken into a queue; the call is failed when not. */
static bool is_queued(struct rpc_call *call, int r)
{
    if (r == -ESHUTDOWN)
        fail_unavailable(call, STR("the service is stopping"));
    else if (r < 0)
        service_fail_overloaded(call);
    return r >= 0;
}

bool service_query_with(struct rpc_call *call, struct db_query *query, db_done_fn *done, void *user)
{
    if (query)
        db_trace(query, rpc_call_trace(call));
    return is_queued(call, query ? db_submit(query, rpc_call_deadline_ns(call),
                                             rpc_call_cancelled(call), done, user)
                                 : -ENOMEM);
}

bool service_group(struct rpc_call *call, struct db_group *group, struct db *db,
                   struct db_group_item *item)
{
    item->deadline_ns = rpc_call_deadline_ns(call);
    item->cancelled = rpc_call_cancelled(call);
    item->trace = rpc_call_trace(call);
    return is_queued(call, db_group_submit(group, db, item));
}

bool service_share(struct rpc_call *call, struct db_share *share, struct db_share_item *item)
{
    item->deadline_ns = rpc_call_deadline_ns(call);
    item->cancelled = rpc_call_cancelled(call);
    item->trace = rpc_call_trace(call);
    return is_queued(call, db_share_submit(share, item));
}

bool service_transaction(struct rpc_call *call, struct db *db, db_tx_fn *body,
                         void (*done)(void *user, const struct db_result *outcome, int body_result),
                         void *user)
{
    return is_queued(call, db_transaction(db, rpc_call_deadline_ns(call), rpc_call_cancelled(call),
                                          rpc_call_trace(call), body, done, user));
}

void service_query(struct rpc_call *call, struct db_query *query, db_done_fn *done)
{
    (void)service_query_with(call, query, done, call);
}

/* What an operator has to hear of; the caller need not. */
static void log_failure(struct rpc_call *call, const struct db_result *result)
{
    log_error("query failed", LOG_CALL(call), LOG_C("statement", result->statement),
              LOG_C("sqlstate", result->sqlstate), LOG_S("constraint", result->constraint),
              LOG_S("cause", db_cause(result)));
}

bool service_query_failed(struct rpc_call *call, const struct db_result *result)
{
    /* Without a connection, or a place in our queue, Postgres has said nothing. */
    bool refused =
        result->sqlstate[0] && (result->error == DB_UNAVAILABLE || result->error == DB_OVERLOADED);

    if (refused)
        log_failure(call, result);
    switch (result->error) {
    case DB_OK:
        return false;
    case DB_UNAVAILABLE:
        fail_unavailable(call, STR("the database is not available"));
        return true;
    case DB_DEADLINE:
        rpc_fail(call, RPC_DEADLINE_EXCEEDED, "the deadline passed");
        return true;
    case DB_CANCELLED:
        rpc_fail(call, RPC_CANCELLED, "the caller has gone");
        return true;
    case DB_CONFLICT:
        rpc_fail_with(call, &(struct rpc_error){.code = RPC_ABORTED,
                                                .message = STR("another change came first"),
                                                .reason = "CONFLICT"});
        return true;
    case DB_OVERLOADED:
        /* A full disk is no matter of how much is asked for: it is our fault, and lasts. */
        if (strcmp(result->sqlstate, DISK_FULL) == 0)
            fail_unavailable(call, STR("the database is not available"));
        else
            service_fail_overloaded(call);
        return true;
    case DB_UNIQUE:
    case DB_FOREIGN_KEY:
    case DB_CHECK:
    case DB_INTERNAL:
        break;
    }
    log_failure(call, result); /* what a handler did not expect is a bug of ours */
    rpc_fail(call, RPC_INTERNAL, "internal error");
    return true;
}

void service_fail_fields(struct rpc_call *call, enum rpc_code code, const char *reason,
                         const struct schema_fault *violations, size_t n)
{
    struct str more =
        n > 1 ? arena_printf(rpc_call_arena(call), " (and %zu more)", n - 1) : STR("");

    rpc_fail_with(call, &(struct rpc_error){
                            .code = code,
                            .message = arena_printf(rpc_call_arena(call), "%.*s %.*s%.*s",
                                                    STR_FMT(violations[0].path),
                                                    STR_FMT(violations[0].message), STR_FMT(more)),
                            .reason = reason,
                            .violations = violations,
                            .n_violations = n,
                        });
}

void service_fail_field(struct rpc_call *call, enum rpc_code code, const char *reason,
                        const char *field, const char *description)
{
    const struct schema_fault violation = {str_of(field), str_of(description)};

    service_fail_fields(call, code, reason, &violation, 1);
}

void service_not_found(struct str message, const char *type, struct str name, struct rpc_error *ret)
{
    *ret = (struct rpc_error){
        .code = RPC_NOT_FOUND,
        .message = message,
        .reason = "NOT_FOUND",
        .resource_type = type,
        .resource_name = name,
        .resource_description = "not found",
    };
}

void service_fail_not_found(struct rpc_call *call, const char *type, struct str name)
{
    struct rpc_error error;

    service_not_found(arena_printf(rpc_call_arena(call), "%s not found", type), type, name, &error);
    rpc_fail_with(call, &error);
}

void service_fail_memory(struct rpc_call *call)
{
    rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "the request needs too much memory");
}

void service_set_time(Google__Protobuf__Timestamp *ret, int64_t unix_us)
{
    const int64_t usec_per_sec = 1000000;
    int64_t fraction = unix_us % usec_per_sec;

    google__protobuf__timestamp__init(ret);
    if (fraction < 0) /* before 1970: nanos count forward all the same */
        fraction += usec_per_sec;
    ret->seconds = (unix_us - fraction) / usec_per_sec;
    ret->nanos = (int32_t)(fraction * NSEC_PER_USEC);
}
