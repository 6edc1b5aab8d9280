/* Login: may one try? -> find the account -> verify the password -> session and key in one
 * statement. Each step runs where the answer of the one before arrives; accounts.c says where that
 * is. */
#include "admission.h"

/* A sign-in on its way; in the call's arena. */
struct sign_in {
    struct auth *auth;
    struct rpc_call *call;
    char *password;     /* the request's; wiped when it has been handed on */
    int64_t account_id; /* 0: there is no such account */
    struct str email_key, password_hash;
    struct auth_tokens tokens;
};

static void count(const struct sign_in *s, enum auth_sign_in result)
{
    metrics_add(&s->auth->counts.sign_ins[result], 1);
}

/* The same words whether the account or the password is wrong. */
static void fail_credentials(const struct sign_in *s)
{
    count(s, SIGN_IN_WRONG);
    service_fail_field(s->call, RPC_UNAUTHENTICATED, "CREDENTIALS_INVALID", "credentials",
                       "invalid");
}

static void on_session_started(void *user, const struct db_result *result)
{
    struct sign_in *s = user;
    Stoa__Auth__V1__LoginResponse response = STOA__AUTH__V1__LOGIN_RESPONSE__INIT;
    Stoa__Auth__V1__User account;
    char *token;

    if (result->error != DB_OK)
        count(s, SIGN_IN_FAILED);
    if (service_query_failed(s->call, result))
        return;
    if (db_rows(result) == 0) { /* the password was changed while we verified the old one */
        fail_credentials(s);
        return;
    }
    token = auth_issue_token(s->auth, s->call, s->account_id, &s->tokens.refresh.session);
    if (!token)
        return;
    response.refresh_token = auth_refresh_token_text(s->call, &s->tokens.refresh);
    if (!response.refresh_token)
        return;
    account = auth_user_of_row(result, 0, token);
    response.user = &account;
    count(s, SIGN_IN_OK);
    rpc_reply(s->call, &response.base);
}

static void start_session(struct sign_in *s)
{
    struct db_query *query =
        db_query(service_db(s->auth->service), rpc_call_arena(s->call), AUTH_START_SESSION);

    if (query) {
        auth_bind_tokens(s->auth, s->call, query, &s->tokens);
        db_bind_int8(query, s->account_id);
        db_bind_text(query, s->password_hash);
    }
    service_query_with(s->call, query, on_session_started, s);
}

static void on_verified(void *user, enum password_outcome outcome, const char *encoded)
{
    struct sign_in *s = user;

    (void)encoded;
    if (outcome == PASSWORD_WRONG) {
        fail_credentials(s);
    } else if (outcome == PASSWORD_DONE && auth_new_tokens(&s->tokens) == 0) {
        start_session(s);
    } else {
        count(s, SIGN_IN_FAILED);
        auth_fail_hashing(s->call, outcome);
    }
}

static void on_account_found(void *user, const struct db_result *result)
{
    struct sign_in *s = user;
    struct arena *arena = rpc_call_arena(s->call);
    struct password_request request = auth_password_request(s->call, s->password, on_verified, s);

    if (result->error != DB_OK) {
        count(s, SIGN_IN_FAILED);
        auth_forget_password(s->password);
    }
    if (service_query_failed(s->call, result))
        return;
    if (db_rows(result) == 1) {
        s->account_id = db_get_int8(result, 0, 0);
        s->password_hash = arena_copy(arena, db_get_text(result, 0, 1));
        if (!s->password_hash.p) {
            auth_forget_password(s->password);
            service_fail_memory(s->call);
            return;
        }
    }
    if (password_verify(s->auth->passwords, arena, &request, s->password_hash) < 0) {
        count(s, SIGN_IN_BUSY);
        auth_fail_busy(s->call);
    }
}

static void on_admitted(void *user, const struct shared_rate_verdict *verdict)
{
    struct sign_in *s = user;
    struct db_query *query;

    if (!admission_passed(s->auth, s->call, s->password, verdict)) {
        if (verdict->allowed)
            count(s, SIGN_IN_BUSY);
        return;
    }
    query = db_query(service_db(s->auth->service), rpc_call_arena(s->call), AUTH_FIND_ACCOUNT);
    if (query)
        db_bind_text(query, s->email_key);
    service_query_with(s->call, query, on_account_found, s);
}

static void login(struct auth *auth, struct rpc_call *call,
                  const Stoa__Auth__V1__LoginRequest *request)
{
    struct sign_in *s = arena_calloc(rpc_call_arena(call), 1, sizeof(*s));
    struct auth_names names = {.email = str_of(request->user->email)};

    if (!s || auth_complete_names(&names, rpc_call_arena(call)) < 0) {
        service_fail_memory(call);
        return;
    }
    *s = (struct sign_in){.auth = auth,
                          .call = call,
                          .password = request->user->password,
                          .email_key = names.email_key};
    if (auth_has_room(auth, call, s->password))
        admission_ask(auth->admission, call, THROTTLE_LOGIN, names.email_key, on_admitted, s);
}

void auth_login_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    login(service, call, (const Stoa__Auth__V1__LoginRequest *)request);
}
