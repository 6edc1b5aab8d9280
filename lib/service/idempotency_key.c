/* The Idempotency-Key that came with a create. */
#include "service/service.h"

static bool is_key(struct str key)
{
    if (key.n == 0 || key.n > SERVICE_IDEMPOTENCY_KEY_MAX)
        return false;
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    }
    return true;
}

bool service_idempotency_key(struct rpc_call *call, struct str *ret)
{
    const char *fault = "must be 1 to 255 visible ASCII characters";

    *ret = rpc_call_metadata(call, "idempotency-key");
    if (!ret->p)
        return true;
    /* Whichever was taken, the caller may have meant the other. */
    if (rpc_call_metadata_count(call, "idempotency-key") > 1)
        fault = "is given twice";
    else if (is_key(*ret))
        return true;
    service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_IDEMPOTENCY_KEY", "idempotency_key",
                       fault);
    return false;
}

void service_fail_key_used(struct rpc_call *call)
{
    service_fail_field(call, RPC_INVALID_ARGUMENT, "IDEMPOTENCY_KEY_USED", "idempotency_key",
                       "has been used for another request");
}
