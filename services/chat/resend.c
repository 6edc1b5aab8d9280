/* What a create that is sent again is known by. */
#include "base/hex.h"
#include "chat.h"

#include <openssl/evp.h>

#define CLIENT_ID_MAX 64 /* by the contract's rules */
#define HASH_BYTES 32

/* As long as a client_id may be. */
static char *hash_of(struct arena *arena, struct str key)
{
    uint8_t hash[HASH_BYTES];
    char *text = arena_alloc(arena, sizeof(hash) * 2 + 1);

    if (!text || EVP_Digest(key.p, key.n, hash, NULL, EVP_sha256(), NULL) != 1)
        return NULL;
    *hex_encode(text, hash, sizeof(hash)) = '\0';
    return text;
}

bool read_resend(struct rpc_call *call, const char *client_id, struct resend *ret)
{
    struct arena *arena = rpc_call_arena(call);
    struct str key;

    *ret = (struct resend){.client_id = client_id};
    if (!service_idempotency_key(call, &key))
        return false;
    if (*client_id || !key.p)
        return true;
    ret->by_key = true;
    ret->client_id = key.n <= CLIENT_ID_MAX ? arena_copy(arena, key).p : hash_of(arena, key);
    if (!ret->client_id)
        service_fail_memory(call);
    return ret->client_id != NULL;
}
