/* What comes of looking at an article or a draft that is locked and may be changed. */
#ifndef STOA_POSTS_VERDICT_H
#define STOA_POSTS_VERDICT_H

#include "service/service.h"

enum verdict {
    MAY_CHANGE,
    NOT_FOUND,
    FORBIDDEN,
    CHANGED, /* a condition fails */
    REFUSED, /* for a reason of the handler's own, which it has kept */
    FAILED   /* the database said no, or there is no memory */
};

/* Ends the call unless the transaction changed what it was about, or REFUSED to; true: it has.
 * type, name: of what it was about. On the thread of the outcome. */
bool verdict_failed(struct rpc_call *call, const struct db_result *outcome, int verdict,
                    const char *type, struct str name);

#endif
