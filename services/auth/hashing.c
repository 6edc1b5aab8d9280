/* Passwords of calls: what waits for the pool, and what callers are told when it fails. */
#include "auth.h"

#include "base/log.h"
#include "common_password.h"

#define RETRY_AFTER_MS 1000

struct password_request auth_password_request(struct rpc_call *call, char *password,
                                              password_done_fn *done, void *user)
{
    return (struct password_request){
        .password = password,
        .deadline_ns = rpc_call_deadline_ns(call),
        .cancelled = rpc_call_cancelled(call),
        .done = done,
        .user = user,
    };
}

const char *auth_password_fault(const struct auth *auth, const char *password)
{
    bool refused =
        auth->config->refuse_common_passwords && password && password_is_common(str_of(password));

    return refused ? "is too common: many people use it" : NULL;
}

void auth_forget_password(char *password)
{
    if (password)
        explicit_bzero(password, strlen(password));
}

bool auth_has_room(const struct auth *auth, struct rpc_call *call, char *password)
{
    if (password_pool_has_room(auth->passwords))
        return true;
    auth_forget_password(password);
    auth_fail_busy(call);
    return false;
}

void auth_fail_busy(struct rpc_call *call)
{
    rpc_fail_with(call, &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                            .message = STR("too many people are signing in"),
                                            .reason = "OVERLOADED",
                                            .retry_after_ms = RETRY_AFTER_MS});
}

void auth_fail_hashing(struct rpc_call *call, enum password_outcome outcome)
{
    switch (outcome) {
    case PASSWORD_DEADLINE:
        rpc_fail(call, RPC_DEADLINE_EXCEEDED, "the deadline passed");
        return;
    case PASSWORD_CANCELLED:
        rpc_fail(call, RPC_CANCELLED, "the caller has gone");
        return;
    case PASSWORD_DONE:
    case PASSWORD_WRONG:
    case PASSWORD_FAILED:
        break;
    }
    log_error("a password could not be hashed", LOG_CALL(call));
    rpc_fail(call, RPC_INTERNAL, "internal error");
}
