/* Accounts and sign-in.
 *
 *   CreateUser: who is called so already? -> hash -> account, session and key in one statement
 *   Login:      find the account -> verify -> session and key in one statement
 *
 * Handlers start on a poller thread and go on where each answer arrives: on the database's engine
 * thread or on a hashing thread. A call is in one place at a time.
 */
#include "auth.h"

#include "base/log.h"
#include "names.h"
#include "text/username_key.h"

#include <errno.h>

#define RETRY_AFTER_MS 1000
#define MAX_USERNAME_KEY_BYTES 1024 /* some characters are many when they are folded */

#define HAS_BEEN_TAKEN STR("has already been taken")

/* A sign-up or sign-in on its way; in the call's arena. */
struct sign_in {
    struct auth *auth;
    struct rpc_call *call;
    struct str username, username_key, email, email_key;
    char *password;     /* the request's; wiped when it has been handed on */
    int64_t account_id; /* 0: there is no such account */
    struct str password_hash;
    struct auth_session_id session;
};

/* ---- shared steps ---- */

static void fail_busy(struct rpc_call *call)
{
    rpc_fail_with(call, &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                            .message = STR("too many people are signing in"),
                                            .reason = "OVERLOADED",
                                            .retry_after_ms = RETRY_AFTER_MS});
}

static struct sign_in *new_sign_in(struct auth *auth, struct rpc_call *call)
{
    struct sign_in *s = arena_calloc(rpc_call_arena(call), 1, sizeof(*s));

    if (s) {
        s->auth = auth;
        s->call = call;
    }
    return s;
}

static struct db_query *query_of(struct sign_in *s, enum auth_statement statement)
{
    return db_query(service_db(s->auth->service), rpc_call_arena(s->call), statement);
}

/* Before a call ends that has not got as far as hashing. */
static void forget_password(struct sign_in *s)
{
    explicit_bzero(s->password, strlen(s->password));
}

static struct password_request password_request(struct sign_in *s, password_done_fn *done)
{
    return (struct password_request){
        .password = s->password,
        .deadline_ns = rpc_call_deadline_ns(s->call),
        .cancelled = rpc_call_cancelled(s->call),
        .done = done,
        .user = s,
    };
}

static void fail_hashing(struct sign_in *s, enum password_outcome outcome)
{
    switch (outcome) {
    case PASSWORD_DEADLINE:
        rpc_fail(s->call, RPC_DEADLINE_EXCEEDED, "the deadline passed");
        return;
    case PASSWORD_CANCELLED:
        rpc_fail(s->call, RPC_CANCELLED, "the caller has gone");
        return;
    case PASSWORD_DONE:
    case PASSWORD_WRONG:
    case PASSWORD_FAILED:
        break;
    }
    log_error("a password could not be hashed", LOG_I("account_id", s->account_id));
    rpc_fail(s->call, RPC_INTERNAL, "internal error");
}

/* Text of a row for an answer, which is packed before the row goes away. */
static char *column(const struct db_result *result, int col)
{
    return (char *)db_get_text(result, 0, col).p;
}

/* Columns email, username, bio, image. */
static Stoa__Auth__V1__User user_of_row(const struct db_result *result, struct str token)
{
    Stoa__Auth__V1__User user = STOA__AUTH__V1__USER__INIT;

    user.email = column(result, 0);
    user.token = (char *)token.p;
    user.username = column(result, 1);
    if (!db_is_null(result, 0, 2)) {
        user._bio_case = STOA__AUTH__V1__USER___BIO_BIO;
        user.bio = column(result, 2);
    }
    if (!db_is_null(result, 0, 3)) {
        user._image_case = STOA__AUTH__V1__USER___IMAGE_IMAGE;
        user.image = column(result, 3);
    }
    return user;
}

/* A token for the session that has just been stored; fails the call without one. */
static struct str issue_token(struct sign_in *s)
{
    struct str token =
        auth_issue_token(s->auth, s->account_id, &s->session, rpc_call_arena(s->call));

    if (!token.p) {
        log_error("a token could not be signed");
        rpc_fail(s->call, RPC_INTERNAL, "internal error");
    }
    return token;
}

/* ---- CreateUser ---- */

static void fail_taken(struct rpc_call *call, bool username, bool email)
{
    struct schema_fault violations[2];
    size_t n = 0;

    if (username)
        violations[n++] = (struct schema_fault){STR("user.username"), HAS_BEEN_TAKEN};
    if (email)
        violations[n++] = (struct schema_fault){STR("user.email"), HAS_BEEN_TAKEN};
    rpc_fail_with(call, &(struct rpc_error){
                            .code = RPC_ALREADY_EXISTS,
                            .message = STR("username or e-mail address has already been taken"),
                            .reason = "ALREADY_TAKEN",
                            .violations = violations,
                            .n_violations = n,
                        });
}

static void on_account_created(void *user, const struct db_result *result)
{
    struct sign_in *s = user;
    Stoa__Auth__V1__User account = STOA__AUTH__V1__USER__INIT;
    Stoa__Auth__V1__CreateUserResponse response = STOA__AUTH__V1__CREATE_USER_RESPONSE__INIT;
    bool username = str_eq(result->constraint, AUTH_USERNAME_UNIQUE);
    bool email = str_eq(result->constraint, AUTH_EMAIL_UNIQUE);

    if (result->error == DB_UNIQUE && (username || email)) {
        fail_taken(s->call, username, email); /* another sign-up was quicker */
        return;
    }
    if (service_query_failed(s->call, result))
        return;
    s->account_id = db_get_int8(result, 0, 0);
    account.token = (char *)issue_token(s).p;
    if (!account.token)
        return;
    account.email = (char *)s->email.p;
    account.username = (char *)s->username.p;
    response.user = &account;
    rpc_reply(s->call, &response.base);
}

static void store_account(struct sign_in *s)
{
    struct db_query *query = query_of(s, AUTH_CREATE_ACCOUNT);

    if (query) {
        db_bind_text(query, s->username);
        db_bind_text(query, s->username_key);
        db_bind_text(query, s->email);
        db_bind_text(query, s->email_key);
        db_bind_text(query, s->password_hash);
        db_bind_uuid(query, s->session.bytes);
        db_bind_text(query, jwt_signer_key_id(s->auth->signer));
        db_bind_text(query, jwt_signer_public_jwk(s->auth->signer));
    }
    service_query_with(s->call, query, on_account_created, s);
}

static void on_hashed(void *user, enum password_outcome outcome, const char *encoded)
{
    struct sign_in *s = user;

    if (outcome != PASSWORD_DONE || auth_new_session_id(&s->session) < 0) {
        fail_hashing(s, outcome);
        return;
    }
    s->password_hash = str_of(encoded); /* bound, and so copied, before this returns */
    store_account(s);
}

static void on_taken(void *user, const struct db_result *result)
{
    struct sign_in *s = user;
    struct password_request request = password_request(s, on_hashed);
    int r;

    if (result->error != DB_OK || db_get_bool(result, 0, 0) || db_get_bool(result, 0, 1))
        forget_password(s); /* the call's memory is gone after it has failed */
    if (service_query_failed(s->call, result))
        return;
    if (db_get_bool(result, 0, 0) || db_get_bool(result, 0, 1)) {
        fail_taken(s->call, db_get_bool(result, 0, 0), db_get_bool(result, 0, 1));
        return;
    }
    r = password_hash(s->auth->passwords, rpc_call_arena(s->call), &request);
    if (r < 0)
        fail_busy(s->call);
}

/* Fills in the names and their keys. False: the call has been failed. */
static bool accept_names(struct sign_in *s, const Stoa__Auth__V1__CreateUserRequest__NewUser *user)
{
    struct arena *arena = rpc_call_arena(s->call);
    const char *fault;

    s->username = str_of(user->username);
    s->email = str_of(user->email);
    s->email_key = email_key(s->email, arena);
    if (!s->email_key.p || username_key(s->username, arena, &s->username_key) < 0) {
        forget_password(s);
        service_fail_memory(s->call);
        return false;
    }
    fault = username_fault(s->username);
    if (!fault && s->username_key.n > MAX_USERNAME_KEY_BYTES)
        fault = "is too long in its compatibility form";
    if (!fault)
        return true;
    forget_password(s);
    service_fail_field(s->call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", "user.username", fault);
    return false;
}

static void create_user(struct auth *auth, struct rpc_call *call,
                        const Stoa__Auth__V1__CreateUserRequest *request)
{
    struct sign_in *s = new_sign_in(auth, call);
    struct db_query *query;

    if (!s) {
        service_fail_memory(call);
        return;
    }
    s->password = request->user->password;
    if (!accept_names(s, request->user))
        return;
    query = query_of(s, AUTH_TAKEN);
    if (query) {
        db_bind_text(query, s->username_key);
        db_bind_text(query, s->email_key);
    }
    service_query_with(s->call, query, on_taken, s);
}

/* ---- Login ---- */

/* The same words whether the account or the password is wrong. */
static void fail_credentials(struct rpc_call *call)
{
    service_fail_field(call, RPC_UNAUTHENTICATED, "CREDENTIALS_INVALID", "credentials", "invalid");
}

static void on_session_started(void *user, const struct db_result *result)
{
    struct sign_in *s = user;
    Stoa__Auth__V1__LoginResponse response = STOA__AUTH__V1__LOGIN_RESPONSE__INIT;
    Stoa__Auth__V1__User account;
    struct str token;

    if (service_query_failed(s->call, result))
        return;
    if (db_rows(result) == 0) { /* the password was changed while we verified the old one */
        fail_credentials(s->call);
        return;
    }
    token = issue_token(s);
    if (!token.p)
        return;
    account = user_of_row(result, token);
    response.user = &account;
    rpc_reply(s->call, &response.base);
}

static void on_verified(void *user, enum password_outcome outcome, const char *encoded)
{
    struct sign_in *s = user;
    struct db_query *query;

    (void)encoded;
    if (outcome == PASSWORD_WRONG) {
        fail_credentials(s->call);
        return;
    }
    if (outcome != PASSWORD_DONE || auth_new_session_id(&s->session) < 0) {
        fail_hashing(s, outcome);
        return;
    }
    query = query_of(s, AUTH_START_SESSION);
    if (query) {
        db_bind_int8(query, s->account_id);
        db_bind_text(query, s->password_hash);
        db_bind_uuid(query, s->session.bytes);
        db_bind_text(query, jwt_signer_key_id(s->auth->signer));
        db_bind_text(query, jwt_signer_public_jwk(s->auth->signer));
    }
    service_query_with(s->call, query, on_session_started, s);
}

static void on_account_found(void *user, const struct db_result *result)
{
    struct sign_in *s = user;
    struct arena *arena = rpc_call_arena(s->call);
    struct password_request request = password_request(s, on_verified);
    int r;

    if (result->error != DB_OK)
        forget_password(s);
    if (service_query_failed(s->call, result))
        return;
    if (db_rows(result) == 1) {
        s->account_id = db_get_int8(result, 0, 0);
        s->password_hash = arena_copy(arena, db_get_text(result, 0, 1));
        if (!s->password_hash.p) {
            forget_password(s);
            service_fail_memory(s->call);
            return;
        }
    }
    r = password_verify(s->auth->passwords, arena, &request, s->password_hash);
    if (r < 0)
        fail_busy(s->call);
}

static void login(struct auth *auth, struct rpc_call *call,
                  const Stoa__Auth__V1__LoginRequest *request)
{
    struct sign_in *s = new_sign_in(auth, call);
    struct db_query *query;

    if (!s) {
        service_fail_memory(call);
        return;
    }
    s->password = request->user->password;
    s->email_key = email_key(str_of(request->user->email), rpc_call_arena(call));
    query = s->email_key.p ? query_of(s, AUTH_FIND_ACCOUNT) : NULL;
    if (query)
        db_bind_text(query, s->email_key);
    service_query_with(s->call, query, on_account_found, s);
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
    account = user_of_row(result, token);
    response.user = &account;
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

void auth_create_user_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    create_user(service, call, (const Stoa__Auth__V1__CreateUserRequest *)request);
}

void auth_login_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    login(service, call, (const Stoa__Auth__V1__LoginRequest *)request);
}
