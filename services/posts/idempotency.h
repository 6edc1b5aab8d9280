/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a create that is sent again, because
 * its answer was lost, gets the first answer and makes nothing.
 *
 * The statement that creates also stores the key, so both are there or neither. A key that is there
 * already breaks its primary key and takes the rest of the statement back; of doubles at once the
 * second waits for the first there. Then the handler asks for what was stored. A key is the
 * account's own, and good for a day. */
#ifndef STOA_POSTS_IDEMPOTENCY_H
#define STOA_POSTS_IDEMPOTENCY_H

#include "service/service.h"

#define REQUEST_HASH_BYTES 32

struct idempotency {
    struct str key; /* {NULL, 0}: none was sent */
    uint8_t request_hash[REQUEST_HASH_BYTES];
};

/* Reads the metadata `idempotency-key`. On a fault it ends the call and returns false. */
bool read_idempotency(struct rpc_call *call, const ProtobufCMessage *request,
                      struct idempotency *ret) MUST_CHECK;

/* The two parameters of a statement: key and hash. */
void bind_idempotency(struct db_query *query, const struct idempotency *idempotency);

/* Whether a create failed because its key had been used. */
bool key_was_used(const struct db_result *result);

/* What came of asking for what was stored with the key. */
enum replay {
    REPLAY_FIRST, /* the row is the first answer */
    REPLAY_GONE,  /* no row: the key has served, and is gone */
    REPLAY_FAILED /* the call has been ended: the database said no, or it was another request's */
};

/* same_column: of a row, whether it was made for this request. */
enum replay read_replay(struct rpc_call *call, const struct db_result *result,
                        int same_column) MUST_CHECK;

/* ABORTED: it goes again and again while it is looked at. */
void fail_key_going(struct rpc_call *call);

#endif
