/* What drafts.c and publish.c share. */
#ifndef STOA_POSTS_DRAFTS_H
#define STOA_POSTS_DRAFTS_H

#include "rows.h"
#include "verdict.h"

/* Within a transaction: locks a draft of the caller's, fills *ret from it (copies) and judges the
 * call's conditions. MAY_CHANGE, NOT_FOUND (also of somebody else's), CHANGED, FAILED. */
enum verdict lock_draft(struct service *service, struct rpc_call *call, struct db_tx *tx,
                        uint32_t id, struct draft *ret) MUST_CHECK;

/* Likewise: deletes a draft that is locked. MAY_CHANGE or FAILED. */
enum verdict delete_locked_draft(struct service *service, struct rpc_call *call, struct db_tx *tx,
                                 uint32_t id) MUST_CHECK;

/* A draft's id as text, for errors; {NULL, 0} without memory. */
struct str draft_name(struct rpc_call *call, uint32_t id);

#endif
