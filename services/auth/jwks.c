/* GetJsonWebKeySet: the public keys of all instances, as the world reads them. */
#include "auth.h"

#include <jansson.h>

static char *copy_member(const json_t *jwk, const char *name, struct arena *arena)
{
    const char *value = json_string_value(json_object_get(jwk, name));

    return (char *)arena_copy(arena, str_of(value ? value : "")).p;
}

/* NULL without memory, or when the row holds no JWK. */
static Stoa__Auth__V1__JsonWebKey *read_key(struct str text, struct arena *arena)
{
    Stoa__Auth__V1__JsonWebKey *key = arena_alloc(arena, sizeof(*key));
    json_t *jwk = key ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool whole;

    if (!jwk)
        return NULL;
    stoa__auth__v1__json_web_key__init(key);
    key->kty = copy_member(jwk, "kty", arena);
    key->crv = copy_member(jwk, "crv", arena);
    key->x = copy_member(jwk, "x", arena);
    key->y = copy_member(jwk, "y", arena);
    key->kid = copy_member(jwk, "kid", arena);
    key->use = copy_member(jwk, "use", arena);
    key->alg = copy_member(jwk, "alg", arena);
    whole = key->kty && key->crv && key->x && key->y && key->kid && key->use && key->alg;
    json_decref(jwk);
    return whole ? key : NULL;
}

static void on_published_keys(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Auth__V1__GetJsonWebKeySetResponse response =
        STOA__AUTH__V1__GET_JSON_WEB_KEY_SET_RESPONSE__INIT;
    int n;

    if (service_query_failed(call, result))
        return;
    n = db_rows(result);
    response.keys = arena_calloc(arena, (size_t)n, sizeof(*response.keys));
    for (int i = 0; response.keys && i < n; i++) {
        response.keys[i] = read_key(db_get_text(result, i, 0), arena);
        if (!response.keys[i]) {
            rpc_fail(call, RPC_INTERNAL, "a published key can't be read");
            return;
        }
    }
    if (!response.keys) {
        service_fail_memory(call);
        return;
    }
    response.n_keys = (size_t)n;
    service_reply_tagged(call, &response.base);
}

void auth_get_json_web_key_set_rpc(void *service, struct rpc_call *call,
                                   const ProtobufCMessage *request)
{
    struct auth *auth = service;
    struct db_query *query =
        db_query(service_db(auth->service), rpc_call_arena(call), AUTH_PUBLISHED_KEYS);

    (void)request;
    service_query(call, query, on_published_keys);
}
