#include "idempotency.h"

#include <errno.h>
#include <openssl/evp.h>

/* ---- the key of a request ---- */

/* Of the method and the message. */
static int hash_request(struct rpc_call *call, const ProtobufCMessage *request, uint8_t *ret)
{
    struct str path = rpc_call_method(call)->path;
    size_t n = protobuf_c_message_get_packed_size(request);
    char *bytes = arena_alloc(rpc_call_arena(call), path.n + n);

    if (!bytes)
        return -ENOMEM;
    memcpy(bytes, path.p, path.n);
    protobuf_c_message_pack(request, (uint8_t *)bytes + path.n);
    return EVP_Digest(bytes, path.n + n, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

bool read_idempotency(struct rpc_call *call, const ProtobufCMessage *request,
                      struct idempotency *ret)
{
    *ret = (struct idempotency){.key = STR_NULL};
    if (!service_idempotency_key(call, &ret->key))
        return false;
    if (!ret->key.p)
        return true;
    if (hash_request(call, request, ret->request_hash) < 0) {
        service_fail_memory(call);
        return false;
    }
    return true;
}

void bind_idempotency(struct db_query *query, const struct idempotency *idempotency)
{
    db_bind_text(query, idempotency->key);
    if (idempotency->key.p)
        db_bind_bytea(query,
                      (struct str){(const char *)idempotency->request_hash, REQUEST_HASH_BYTES});
    else
        db_bind_null(query);
}

bool key_was_used(const struct db_result *result)
{
    return result->error == DB_UNIQUE && str_eq(result->constraint, STR("idempotency_keys_pkey"));
}

enum replay read_replay(struct rpc_call *call, const struct db_result *result, int same_column)
{
    if (service_query_failed(call, result))
        return REPLAY_FAILED;
    if (db_rows(result) == 0)
        return REPLAY_GONE;
    if (db_get_bool(result, 0, same_column))
        return REPLAY_FIRST;
    service_fail_key_used(call);
    return REPLAY_FAILED;
}

void fail_key_going(struct rpc_call *call)
{
    rpc_fail(call, RPC_ABORTED, "the idempotency key is being removed; try again");
}
