/* The signing key of this instance, and the public keys of all.
 *
 * Each instance has a key of its own in a file, made at its first start. The public half goes to
 * auth.signing_keys, from where every service reads what it verifies with. Publishing runs on the
 * database's engine thread, each time that Postgres becomes reachable.
 */
#include "auth.h"

#include "base/log.h"

#include <errno.h>
#include <jansson.h>

#define MAX_PUBLISH_ATTEMPTS 5

/* ---- the key file ---- */

int auth_load_key(struct auth *auth, struct str *ret_error)
{
    const char *path = auth->config->key_path.p, *cure = "make its folder writable for this user";
    int r = jwt_key_create(path);

    if (r == 0)
        r = jwt_signer_open(path, &auth->signer);
    if (r == 0)
        return 0;
    if (r == -EPERM)
        cure = "it must be owned and readable by this user alone: chown it, chmod 600";
    else if (r == -EINVAL)
        cure = "it holds no P-256 private key as JWK: move it away, and a new one is made";
    else if (r == -ENOENT || r == -ENOTDIR)
        cure = "make its folder, or name another path";
    *ret_error = arena_printf(service_arena(auth->service), "STOA_AUTH_KEY=%s (%s): %s", path,
                              strerror(-r), cure);
    return r;
}

/* ---- publishing ---- */

static void publish(struct auth *auth);

static void on_published(void *user, const struct db_result *result)
{
    struct auth *auth = user;

    auth->publishing = false;
    if (result->error == DB_OK) {
        log_info("signing key published", LOG_S("key_id", jwt_signer_key_id(auth->signer)));
        service_set_condition(auth->service, AUTH_KEY_CONDITION, true);
        return;
    }
    if (result->error == DB_UNAVAILABLE)
        return; /* comes again when Postgres does */
    log_error("the signing key could not be published", LOG_C("sqlstate", result->sqlstate),
              LOG_S("cause", result->message), LOG_I("attempt", auth->publish_attempts));
    if (auth->publish_attempts < MAX_PUBLISH_ATTEMPTS)
        publish(auth);
}

static void publish(struct auth *auth)
{
    struct db_query *query;

    arena_reset(&auth->publish_arena);
    auth->publish_attempts++;
    query = db_query(service_db(auth->service), &auth->publish_arena, AUTH_PUBLISH_KEY);
    if (!query)
        return;
    db_bind_text(query, jwt_signer_key_id(auth->signer));
    db_bind_text(query, jwt_signer_public_jwk(auth->signer));
    auth->publishing = db_submit(query, INT64_MAX, NULL, on_published, auth) == 0;
}

void auth_publish_key(struct auth *auth)
{
    if (auth->publishing)
        return;
    auth->publish_attempts = 0;
    publish(auth);
}

/* ---- GetJsonWebKeySet ---- */

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
    rpc_reply(call, &response.base);
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
