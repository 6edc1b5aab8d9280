/* Access tokens, refresh tokens, and what the database gets to know of them. Any thread. */
#include "auth.h"

#include "base/log.h"

#include <errno.h>
#include <sys/random.h>

int auth_new_tokens(struct auth_tokens *ret)
{
    struct uuid session;
    int r = uuid_new(&session);

    if (r == 0)
        r = refresh_token_new(&session, &ret->refresh);
    return r < 0 ? r : refresh_token_hashes(&ret->refresh, ret->family_hash, ret->refresh_hash);
}

void auth_bind_tokens(const struct auth *auth, struct rpc_call *call, struct db_query *query,
                      const struct auth_tokens *tokens)
{
    struct service_client client = service_client(auth->service, call);
    /* One that signs later, when the answer comes, is published as well. */
    const struct jwt_signer *signer = auth_signer(auth);

    db_bind_uuid(query, tokens->refresh.session.bytes);
    db_bind_bytea(query, (struct str){(const char *)tokens->family_hash, REFRESH_HASH_BYTES});
    db_bind_bytea(query, (struct str){(const char *)tokens->refresh_hash, REFRESH_HASH_BYTES});
    db_bind_text(query, client.address);
    db_bind_text(query, client.user_agent);
    db_bind_int8(query, auth->config->token_ttl_s);
    db_bind_int8(query, auth->config->session_ttl_s);
    db_bind_text(query, jwt_signer_key_id(signer));
    db_bind_text(query, jwt_signer_public_jwk(signer));
}

static struct str new_token_id(struct arena *arena)
{
    uint64_t id[2];

    if (getrandom(id, sizeof(id), 0) != sizeof(id))
        return STR_NULL;
    return arena_printf(arena, "%016llx%016llx", (unsigned long long)id[0],
                        (unsigned long long)id[1]);
}

char *auth_issue_token(const struct auth *auth, struct rpc_call *call, int64_t account_id,
                       const struct uuid *session)
{
    struct arena *arena = rpc_call_arena(call);
    int64_t now = clock_realtime_us() / 1000000;
    char session_text[UUID_CHARS + 1];
    struct jwt_claims claims = {
        .issuer = service_token_issuer(auth->service),
        .audience = service_token_audience(auth->service),
        .subject = arena_printf(arena, "%lld", (long long)account_id),
        .session = {session_text, UUID_CHARS},
        .id = new_token_id(arena),
        .issued_at = now,
        .not_before = now,
        .expires_at = now + auth->config->token_ttl_s,
    };
    struct str token;

    uuid_print(session, session_text);
    if (jwt_sign(auth_signer(auth), &claims, arena, &token) == 0)
        return (char *)token.p;
    log_error("a token could not be signed", LOG_CALL(call));
    rpc_fail(call, RPC_INTERNAL, "internal error");
    return NULL;
}

char *auth_refresh_token_text(struct rpc_call *call, const struct refresh_token *token)
{
    char *text = arena_alloc(rpc_call_arena(call), REFRESH_TOKEN_CHARS + 1);

    if (text && refresh_token_print(token, text) == 0)
        return text;
    service_fail_memory(call);
    return NULL;
}
