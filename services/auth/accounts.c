/* CreateUser and GetCurrentUser.
 *
 *   CreateUser: may one try? -> who is called so already? -> hash -> account, session and key in
 * one statement
 *
 * Handlers start on a poller thread and go on where each answer arrives: on the database's engine
 * thread or on a hashing thread. A call is in one place at a time.
 */
#include "admission.h"

/* ---- CreateUser ---- */

/* A sign-up on its way; in the call's arena. */
struct sign_up {
    struct auth *auth;
    struct rpc_call *call;
    struct auth_names names;
    char *password; /* the request's; wiped when it has been handed on */
    struct str password_hash;
    struct auth_tokens tokens;
};

static void on_account_created(void *user, const struct db_result *result)
{
    struct sign_up *s = user;
    Stoa__Auth__V1__User account = STOA__AUTH__V1__USER__INIT;
    Stoa__Auth__V1__CreateUserResponse response = STOA__AUTH__V1__CREATE_USER_RESPONSE__INIT;

    if (auth_found_taken(s->call, result) || service_query_failed(s->call, result))
        return;
    account.token =
        auth_issue_token(s->auth, s->call, db_get_int8(result, 0, 0), &s->tokens.refresh.session);
    if (!account.token)
        return;
    response.refresh_token = auth_refresh_token_text(s->call, &s->tokens.refresh);
    if (!response.refresh_token)
        return;
    account.email = (char *)s->names.email.p;
    account.username = (char *)s->names.username.p;
    response.user = &account;
    rpc_reply(s->call, &response.base);
}

static void store_account(struct sign_up *s)
{
    struct db_query *query =
        db_query(service_db(s->auth->service), rpc_call_arena(s->call), AUTH_CREATE_ACCOUNT);

    if (query) {
        auth_bind_tokens(s->auth, s->call, query, &s->tokens);
        db_bind_text(query, s->names.username);
        db_bind_text(query, s->names.username_key);
        db_bind_text(query, s->names.email);
        db_bind_text(query, s->names.email_key);
        db_bind_text(query, s->password_hash);
    }
    service_query_with(s->call, query, on_account_created, s);
}

static void on_hashed(void *user, enum password_outcome outcome, const char *encoded)
{
    struct sign_up *s = user;

    if (outcome != PASSWORD_DONE || auth_new_tokens(&s->tokens) < 0) {
        auth_fail_hashing(s->call, outcome);
        return;
    }
    s->password_hash = str_of(encoded); /* bound, and so copied, before this returns */
    store_account(s);
}

static void on_taken(void *user, const struct db_result *result)
{
    struct sign_up *s = user;
    struct password_request request = auth_password_request(s->call, s->password, on_hashed, s);
    bool ok = result->error == DB_OK;
    bool username = ok && db_get_bool(result, 0, 0), email = ok && db_get_bool(result, 0, 1);

    if (!ok || username || email)
        auth_forget_password(s->password); /* the call's memory is gone after it has failed */
    if (service_query_failed(s->call, result))
        return;
    if (username || email)
        auth_fail_taken(s->call, username, email);
    else if (password_hash(s->auth->passwords, rpc_call_arena(s->call), &request) < 0)
        auth_fail_busy(s->call);
}

static void on_admitted(void *user, const struct shared_rate_verdict *verdict)
{
    struct sign_up *s = user;
    struct db_query *query;

    if (!admission_passed(s->auth, s->call, s->password, verdict))
        return;
    query = db_query(service_db(s->auth->service), rpc_call_arena(s->call), AUTH_TAKEN);
    if (query) {
        db_bind_text(query, s->names.username_key);
        db_bind_text(query, s->names.email_key);
    }
    service_query_with(s->call, query, on_taken, s);
}

static void create_user(struct auth *auth, struct rpc_call *call,
                        const Stoa__Auth__V1__CreateUserRequest *request)
{
    const Stoa__Auth__V1__CreateUserRequest__NewUser *user = request->user;
    struct sign_up *s = arena_calloc(rpc_call_arena(call), 1, sizeof(*s));
    const char *fault = auth_password_fault(auth, user->password);

    if (!s) {
        service_fail_memory(call);
        return;
    }
    *s = (struct sign_up){
        .auth = auth,
        .call = call,
        .names = {.username = str_of(user->username), .email = str_of(user->email)},
        .password = user->password};
    if (auth_complete_names(&s->names, rpc_call_arena(call)) < 0) {
        auth_forget_password(s->password);
        auth_fail_names(call, &s->names);
        return;
    }
    if (fault) {
        auth_forget_password(s->password);
        service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", "user.password", fault);
        return;
    }
    if (auth_has_room(auth, call, s->password))
        admission_ask(auth->admission, call, THROTTLE_REGISTER, s->names.email_key, on_admitted, s);
}

void auth_create_user_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    create_user(service, call, (const Stoa__Auth__V1__CreateUserRequest *)request);
}

/* ---- GetCurrentUser ---- */

static void on_current_account(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    Stoa__Auth__V1__GetCurrentUserResponse response =
        STOA__AUTH__V1__GET_CURRENT_USER_RESPONSE__INIT;
    Stoa__Auth__V1__User account;
    struct str token;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) { /* the account is gone, and with it the token's meaning */
        service_fail_field(call, RPC_UNAUTHENTICATED, "TOKEN_INVALID", "token", "is invalid");
        return;
    }
    token = arena_copy(rpc_call_arena(call), service_caller(call)->token);
    if (!token.p) {
        service_fail_memory(call);
        return;
    }
    account = auth_user_of_row(result, 0, (char *)token.p);
    response.user = &account;
    if (auth_tag_account(call, &account))
        rpc_reply(call, &response.base);
}

void auth_get_current_user_rpc(void *service, struct rpc_call *call,
                               const ProtobufCMessage *request)
{
    struct auth *auth = service;
    struct db_query *query =
        db_query(service_db(auth->service), rpc_call_arena(call), AUTH_CURRENT_ACCOUNT);

    (void)request;
    if (query)
        db_bind_int8(query, service_caller_id(call));
    service_query(call, query, on_current_account);
}
