#include "idempotency.h"

#include "base/log.h"
#include "statements.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

/* ---- the key of a request ---- */

static bool is_key(struct str key)
{
    if (key.n == 0 || key.n > IDEMPOTENCY_KEY_MAX)
        return false;
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    }
    return true;
}

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
    *ret = (struct idempotency){.key = rpc_call_metadata(call, "idempotency-key")};
    if (!ret->key.p)
        return true;
    if (!is_key(ret->key)) {
        service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_IDEMPOTENCY_KEY", "idempotency_key",
                           "must be 1 to 255 visible ASCII characters");
        return false;
    }
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

void fail_key_used(struct rpc_call *call)
{
    service_fail_field(call, RPC_INVALID_ARGUMENT, "IDEMPOTENCY_KEY_USED", "idempotency_key",
                       "has been used for another request");
}

/* ---- keys that have served ---- */

struct purge {
    struct service *service;
    int interval_ms;
    struct arena arena; /* of the batch on its way */
    atomic_bool busy;
};

int purge_new(struct service *service, int64_t interval_s, struct purge **ret)
{
    struct purge *purge = calloc(1, sizeof(*purge));

    if (!purge)
        return -ENOMEM;
    purge->service = service;
    purge->interval_ms = (int)(interval_s * 1000);
    arena_init(&purge->arena, 64 * 1024);
    *ret = purge;
    return 0;
}

void purge_free(struct purge *purge)
{
    arena_free(&purge->arena);
    free(purge);
}

static void on_purged(void *user, const struct db_result *result);

/* Submits a batch; the purge is busy, and is not any more when that fails. */
static void purge_batch(struct purge *purge)
{
    struct db_query *query;
    int r;

    arena_free(&purge->arena);
    query = db_query(service_db(purge->service), &purge->arena, PURGE_KEYS);
    r = query ? db_submit(query, INT64_MAX, NULL, on_purged, purge) : -ENOMEM;
    if (r == 0)
        return;
    atomic_store(&purge->busy, false);
    log_warn("idempotency keys are not purged; trying again", LOG_C("error", strerror(-r)));
}

/* The next batch goes when this one was full. */
static void on_purged(void *user, const struct db_result *result)
{
    struct purge *purge = user;

    if (result->error == DB_OK && db_get_int8(result, 0, 0) == POSTS_PURGE_BATCH) {
        purge_batch(purge);
        return;
    }
    if (result->error != DB_OK)
        log_warn("idempotency keys are not purged; trying again", LOG_S("cause", result->message));
    atomic_store(&purge->busy, false);
}

int purge_tick(struct purge *purge)
{
    if (!atomic_exchange(&purge->busy, true))
        purge_batch(purge);
    return purge->interval_ms;
}
