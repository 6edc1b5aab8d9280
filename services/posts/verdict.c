#include "verdict.h"

#include "etag.h"
#include "posts.h"

bool verdict_failed(struct rpc_call *call, const struct db_result *outcome, int verdict,
                    const char *type, struct str name)
{
    if (service_query_failed(call, outcome))
        return true;
    switch ((enum verdict)verdict) {
    case MAY_CHANGE:
    case REFUSED:
        return false;
    case NOT_FOUND:
        service_fail_not_found(call, type, name);
        return true;
    case FORBIDDEN:
        fail_forbidden(call, type, name);
        return true;
    case CHANGED:
        service_fail_changed(call, type, name);
        return true;
    case FAILED: /* without a database error: no memory */
        break;
    }
    service_fail_memory(call);
    return true;
}
