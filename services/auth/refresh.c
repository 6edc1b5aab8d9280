/* RefreshSession: a refresh token is exchanged for new tokens, in one statement that decides what
 * becomes of the session (AUTH_REFRESH_SESSION). */
#include "admission.h"

#include "base/log.h"

#include <errno.h>

enum column {
    COLUMN_OUTCOME,
    COLUMN_NONCE,
    COLUMN_ACCOUNT,
    COLUMN_USER, /* four */
    COLUMN_TOKENS_EXPIRE = COLUMN_USER + 4,
};

/* A refresh on its way; in the call's arena. */
struct refresh {
    struct auth *auth;
    struct rpc_call *call;
    struct auth_tokens tokens; /* what is used */
    struct refresh_token successor;
    uint8_t successor_hash[REFRESH_HASH_BYTES], nonce[REFRESH_NONCE_BYTES];
};

static void count(const struct refresh *r, enum auth_refresh result)
{
    metrics_add(&r->auth->counts.refreshes[result], 1);
}

/* The same words whether a token is made up, ended, expired or used twice. */
static void fail_token(struct rpc_call *call)
{
    service_fail_field(call, RPC_UNAUTHENTICATED, "REFRESH_TOKEN_INVALID", "refresh_token",
                       "is invalid");
}

static void on_used_twice(struct refresh *r, const struct db_result *result)
{
    log_warn("a refresh token was used again after its time: its session is ended",
             LOG_CALL(r->call), LOG_I("account_id", db_get_int8(result, 0, COLUMN_ACCOUNT)));
    service_session_ended(r->auth->service, &r->tokens.refresh.session,
                          db_get_timestamp(result, 0, COLUMN_TOKENS_EXPIRE));
    fail_token(r->call);
}

/* The token was replaced a moment ago: its successor is made again, of the same parts. */
static int remake_successor(struct refresh *r, const struct db_result *result)
{
    struct str nonce = db_get_text(result, 0, COLUMN_NONCE);

    if (nonce.n != REFRESH_NONCE_BYTES)
        return -EBADMSG;
    return refresh_token_successor(&r->tokens.refresh, (const uint8_t *)nonce.p, &r->successor);
}

static void reply(struct refresh *r, const struct db_result *result)
{
    Stoa__Auth__V1__RefreshSessionResponse response =
        STOA__AUTH__V1__REFRESH_SESSION_RESPONSE__INIT;
    Stoa__Auth__V1__User account;
    char *token = auth_issue_token(r->auth, r->call, db_get_int8(result, 0, COLUMN_ACCOUNT),
                                   &r->tokens.refresh.session);

    if (!token)
        return;
    response.refresh_token = auth_refresh_token_text(r->call, &r->successor);
    if (!response.refresh_token)
        return;
    account = auth_user_of_row(result, COLUMN_USER, token);
    response.user = &account;
    rpc_reply(r->call, &response.base);
}

static void on_decided(void *user, const struct db_result *result)
{
    struct refresh *r = user;
    int32_t outcome;

    if (result->error != DB_OK)
        count(r, REFRESH_FAILED);
    if (service_query_failed(r->call, result))
        return;
    outcome = db_rows(result) > 0 ? db_get_int4(result, 0, COLUMN_OUTCOME) : 0;
    if (outcome == AUTH_USED_TWICE) {
        count(r, REFRESH_USED_TWICE);
        on_used_twice(r, result);
    } else if (outcome != AUTH_ROTATED && outcome != AUTH_ROTATED_BEFORE) {
        count(r, REFRESH_INVALID);
        fail_token(r->call);
    } else if (outcome == AUTH_ROTATED_BEFORE && remake_successor(r, result) < 0) {
        count(r, REFRESH_FAILED);
        log_error("a refresh token's successor can't be made again", LOG_CALL(r->call));
        rpc_fail(r->call, RPC_INTERNAL, "internal error");
    } else {
        count(r, outcome == AUTH_ROTATED ? REFRESH_OK : REFRESH_REPEATED);
        reply(r, result);
    }
}

static int prepare(struct refresh *r, struct str text)
{
    uint8_t family[REFRESH_HASH_BYTES];
    int err = refresh_token_parse(text, &r->tokens.refresh);

    if (!err)
        err =
            refresh_token_hashes(&r->tokens.refresh, r->tokens.family_hash, r->tokens.refresh_hash);
    if (!err)
        err = refresh_token_nonce(r->nonce);
    if (!err)
        err = refresh_token_successor(&r->tokens.refresh, r->nonce, &r->successor);
    return err ? err : refresh_token_hashes(&r->successor, family, r->successor_hash);
}

static void on_admitted(void *user, const struct shared_rate_verdict *verdict)
{
    struct refresh *r = user;
    struct db_query *query;

    if (!verdict->allowed) {
        admission_fail(r->call, verdict);
        return;
    }
    query = db_query(service_db(r->auth->service), rpc_call_arena(r->call), AUTH_REFRESH_SESSION);
    if (query) {
        auth_bind_tokens(r->auth, r->call, query, &r->tokens);
        db_bind_bytea(query, (struct str){(const char *)r->successor_hash, REFRESH_HASH_BYTES});
        db_bind_bytea(query, (struct str){(const char *)r->nonce, REFRESH_NONCE_BYTES});
        db_bind_int8(query, r->auth->config->refresh_grace_s);
    }
    service_query_with(r->call, query, on_decided, r);
}

static void refresh_session(struct auth *auth, struct rpc_call *call,
                            const Stoa__Auth__V1__RefreshSessionRequest *request)
{
    struct refresh *r = arena_calloc(rpc_call_arena(call), 1, sizeof(*r));
    int err = r ? prepare(r, str_of(request->refresh_token)) : -ENOMEM;

    if (err == -EINVAL) {
        metrics_add(&auth->counts.refreshes[REFRESH_INVALID], 1);
        fail_token(call);
        return;
    }
    if (err < 0) {
        service_fail_memory(call);
        return;
    }
    r->auth = auth;
    r->call = call;
    /* By the secret that all tokens of the session share: who has none of them can't use up what
     * the session may do. */
    admission_ask(auth->admission, call, THROTTLE_REFRESH,
                  (struct str){(const char *)r->tokens.family_hash, REFRESH_HASH_BYTES},
                  on_admitted, r);
}

void auth_refresh_session_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    refresh_session(service, call, (const Stoa__Auth__V1__RefreshSessionRequest *)request);
}
