/* UpdateCurrentUser and DeleteCurrentUser: one changes one's own account.
 *
 *   look at it -> is it really its owner? -> hash a new password -> change it in a transaction
 *
 * A new password, and the end of the account, ask for more than an access token, which may have
 * been stolen: the current password, or a sign-in that is young. The transaction ends the sessions
 * that must end, and runs on a thread of the database's pool: a sign-in with the old password that
 * is under way is waited for (AUTH_START_SESSION), and a second statement then sees its session.
 */
#include "admission.h"

#include "text/plain_text.h"

#include <errno.h>

/* A change on its way; in the call's arena. */
struct change {
    struct auth *auth;
    struct rpc_call *call;
    bool deletes; /* the account; nothing is changed then */
    struct auth_names names;
    bool has_bio, has_image; /* they change, to these texts; {NULL, 0}: they are cleared */
    struct str new_bio, new_image;
    char *password, *current_password; /* the request's, or NULL; wiped when they are handed on */
    struct str old_hash, new_hash;     /* new_hash: {NULL, 0} without a new password */

    /* What the transaction has found; its last run counts. */
    struct str email, username, bio, image;
    struct uuid *ended;
    int64_t *ended_expire;
    size_t n_ended;
};

static void forget_passwords(struct change *c)
{
    auth_forget_password(c->password);
    auth_forget_password(c->current_password);
}

static void fail_memory(struct change *c)
{
    forget_passwords(c);
    service_fail_memory(c->call);
}

/* The session, and perhaps the account, has been ended since the token was verified. */
static void fail_ended(struct change *c)
{
    service_fail_field(c->call, RPC_UNAUTHENTICATED, "TOKEN_REVOKED", "token", "is invalid");
}

static void fail_current_password(struct change *c, const char *reason, const char *fault)
{
    service_fail_field(c->call, RPC_INVALID_ARGUMENT, reason, "current_password", fault);
}

/* ---- the transaction ---- */

/* A query whose first parameter is the account. */
static struct db_query *query_of(struct change *c, enum auth_statement statement)
{
    struct db_query *query =
        db_query(service_db(c->auth->service), rpc_call_arena(c->call), statement);

    if (query)
        db_bind_int8(query, service_caller_id(c->call));
    return query;
}

/* And whose second one is the session. */
static struct db_query *query_of_session(struct change *c, enum auth_statement statement)
{
    struct db_query *query = query_of(c, statement);

    if (query)
        db_bind_uuid(query, service_caller(c->call)->session.bytes);
    return query;
}

/* Keeps which sessions a statement has ended. */
static int keep_ended(struct change *c, const struct db_result *result)
{
    struct arena *arena = rpc_call_arena(c->call);

    c->n_ended = (size_t)db_rows(result);
    c->ended = arena_calloc(arena, c->n_ended, sizeof(*c->ended));
    c->ended_expire = arena_calloc(arena, c->n_ended, sizeof(*c->ended_expire));
    if (!c->ended || !c->ended_expire)
        return -ENOMEM;
    for (size_t i = 0; i < c->n_ended; i++) {
        memcpy(c->ended[i].bytes, db_get_text(result, (int)i, 0).p, sizeof(c->ended[i].bytes));
        c->ended_expire[i] = db_get_timestamp(result, (int)i, 1);
    }
    return 0;
}

/* Runs a bound query; -ENOMEM, or -EIO when Postgres refused: the transaction's outcome says why.
 */
static int run(struct db_tx *tx, struct db_query *query, struct db_result *ret)
{
    if (!query)
        return -ENOMEM;
    return db_tx_run(tx, query, ret) == DB_OK ? 0 : -EIO;
}

static int end_sessions(struct change *c, struct db_tx *tx, struct db_query *query)
{
    struct db_result result;
    int r = run(tx, query, &result);

    return r < 0 ? r : keep_ended(c, &result);
}

static void bind_changes(const struct change *c, struct db_query *query)
{
    db_bind_text(query, c->names.username);
    db_bind_text(query, c->names.username_key);
    db_bind_text(query, c->names.email);
    db_bind_text(query, c->names.email_key);
    db_bind_bool(query, c->has_bio);
    db_bind_text(query, c->new_bio);
    db_bind_bool(query, c->has_image);
    db_bind_text(query, c->new_image);
    db_bind_text(query, c->new_hash);
    db_bind_text(query, c->old_hash);
}

/* {NULL, 0} for NULL; false without memory. */
static bool copy_column(struct change *c, const struct db_result *result, int col, struct str *ret)
{
    struct str text = db_get_text(result, 0, col);

    *ret = text.p ? arena_copy(rpc_call_arena(c->call), text) : STR_NULL;
    return !text.p || ret->p;
}

static int keep_account(struct change *c, const struct db_result *result)
{
    bool kept = copy_column(c, result, 0, &c->email) && copy_column(c, result, 1, &c->username) &&
                copy_column(c, result, 2, &c->bio) && copy_column(c, result, 3, &c->image);

    return kept ? 0 : -ENOMEM;
}

/* -ESTALE: there is nothing any more that could be changed. -ECANCELED: it is in another state than
 * the call's conditions ask for. */
static int lock_account(struct change *c, struct db_tx *tx)
{
    struct db_result result;
    Stoa__Auth__V1__User account;
    bool holds;
    int r = run(tx, query_of_session(c, AUTH_LOCK_ACCOUNT), &result);

    if (r < 0)
        return r;
    if (db_rows(&result) == 0)
        return -ESTALE;
    account = auth_user_of_row(&result, 0, NULL);
    r = auth_conditions_hold(c->call, &account, &holds);
    if (r == 0 && !holds)
        r = copy_column(c, &result, 1, &c->username) ? -ECANCELED : -ENOMEM;
    return r;
}

static int change_body(struct db_tx *tx, void *user)
{
    struct change *c = user;
    int r = service_has_conditions(c->call) ? lock_account(c, tx) : 0;
    struct db_query *query = r == 0 ? query_of_session(c, AUTH_CHANGE_ACCOUNT) : NULL;
    struct db_result result;

    if (r < 0)
        return r;
    if (query)
        bind_changes(c, query);
    r = run(tx, query, &result);
    if (r == 0)
        r = db_rows(&result) > 0 ? keep_account(c, &result) : -ESTALE;
    if (r == 0 && c->new_hash.p)
        r = end_sessions(c, tx, query_of_session(c, AUTH_END_OTHER_SESSIONS));
    return r;
}

static int delete_body(struct db_tx *tx, void *user)
{
    struct change *c = user;
    struct db_result result;
    int r = lock_account(c, tx);

    if (r == 0)
        r = end_sessions(c, tx, query_of(c, AUTH_END_ALL_SESSIONS));
    if (r == 0)
        r = run(tx, query_of(c, AUTH_DELETE_ACCOUNT), &result);
    return r;
}

static void reply_changed(struct change *c)
{
    Stoa__Auth__V1__UpdateCurrentUserResponse response =
        STOA__AUTH__V1__UPDATE_CURRENT_USER_RESPONSE__INIT;
    Stoa__Auth__V1__User account = STOA__AUTH__V1__USER__INIT;
    struct str token = arena_copy(rpc_call_arena(c->call), service_caller(c->call)->token);

    if (!token.p) {
        service_fail_memory(c->call);
        return;
    }
    account.token = (char *)token.p;
    account.email = (char *)c->email.p;
    account.username = (char *)c->username.p;
    if (c->bio.p) {
        account._bio_case = STOA__AUTH__V1__USER___BIO_BIO;
        account.bio = (char *)c->bio.p;
    }
    if (c->image.p) {
        account._image_case = STOA__AUTH__V1__USER___IMAGE_IMAGE;
        account.image = (char *)c->image.p;
    }
    response.user = &account;
    if (auth_tag_account(c->call, &account))
        rpc_reply(c->call, &response.base);
}

static void reply_deleted(struct change *c)
{
    static const Stoa__Auth__V1__DeleteCurrentUserResponse response =
        STOA__AUTH__V1__DELETE_CURRENT_USER_RESPONSE__INIT;

    rpc_reply(c->call, &response.base);
}

static void on_committed(void *user, const struct db_result *outcome, int body_result)
{
    struct change *c = user;

    if (auth_found_taken(c->call, outcome) || service_query_failed(c->call, outcome))
        return;
    if (body_result == -ESTALE) {
        fail_ended(c);
        return;
    }
    if (body_result == -ECANCELED) {
        service_fail_changed(c->call, "account", c->username);
        return;
    }
    if (body_result < 0) {
        service_fail_memory(c->call);
        return;
    }
    for (size_t i = 0; i < c->n_ended; i++)
        service_session_ended(c->auth->service, &c->ended[i], c->ended_expire[i]);
    if (c->deletes)
        reply_deleted(c);
    else
        reply_changed(c);
}

static void store(struct change *c)
{
    service_transaction(c->call, service_db(c->auth->service),
                        c->deletes ? delete_body : change_body, on_committed, c);
}

/* ---- is it its owner? ---- */

static void on_hashed(void *user, enum password_outcome outcome, const char *encoded)
{
    struct change *c = user;

    if (outcome == PASSWORD_DONE)
        c->new_hash = arena_copy(rpc_call_arena(c->call), str_of(encoded));
    if (outcome != PASSWORD_DONE)
        auth_fail_hashing(c->call, outcome);
    else if (!c->new_hash.p)
        service_fail_memory(c->call);
    else
        store(c);
}

static void on_owner_confirmed(struct change *c)
{
    struct password_request request = auth_password_request(c->call, c->password, on_hashed, c);

    if (!c->password)
        store(c);
    else if (password_hash(c->auth->passwords, rpc_call_arena(c->call), &request) < 0)
        auth_fail_busy(c->call);
}

static void on_current_verified(void *user, enum password_outcome outcome, const char *encoded)
{
    struct change *c = user;

    (void)encoded;
    if (outcome == PASSWORD_DONE) {
        on_owner_confirmed(c);
        return;
    }
    auth_forget_password(c->password);
    if (outcome == PASSWORD_WRONG)
        fail_current_password(c, "PASSWORD_WRONG", "is wrong");
    else
        auth_fail_hashing(c->call, outcome);
}

/* Who has stolen an access token must not guess on by it. */
static void on_admitted(void *user, const struct shared_rate_verdict *verdict)
{
    struct change *c = user;
    struct password_request request =
        auth_password_request(c->call, c->current_password, on_current_verified, c);

    if (!verdict->allowed) {
        forget_passwords(c);
        admission_fail(c->call, verdict);
    } else if (password_verify(c->auth->passwords, rpc_call_arena(c->call), &request, c->old_hash) <
               0) {
        auth_forget_password(c->password);
        auth_fail_busy(c->call);
    }
}

static void confirm_owner(struct change *c, bool sign_in_is_young)
{
    if (!c->current_password && sign_in_is_young) {
        on_owner_confirmed(c);
    } else if (!c->current_password) {
        forget_passwords(c);
        fail_current_password(c, "PASSWORD_NEEDED", "is needed, since the sign-in was a while ago");
    } else {
        int64_t account = service_caller_id(c->call);

        admission_ask(c->auth->admission, c->call, THROTTLE_LOGIN,
                      (struct str){(const char *)&account, sizeof(account)}, on_admitted, c);
    }
}

/* ---- looking at it ---- */

static void on_looked_at(struct change *c, const struct db_result *result)
{
    enum { PASSWORD_HASH, YOUNG, USERNAME_TAKEN, EMAIL_TAKEN };
    bool username = db_get_bool(result, 0, USERNAME_TAKEN);
    bool email = db_get_bool(result, 0, EMAIL_TAKEN);

    c->old_hash = arena_copy(rpc_call_arena(c->call), db_get_text(result, 0, PASSWORD_HASH));
    if (!c->old_hash.p) {
        fail_memory(c);
    } else if (username || email) {
        forget_passwords(c);
        auth_fail_taken(c->call, username, email);
    } else if (c->password || c->deletes) {
        confirm_owner(c, db_get_bool(result, 0, YOUNG));
    } else {
        auth_forget_password(c->current_password);
        store(c);
    }
}

static void on_before_change(void *user, const struct db_result *result)
{
    struct change *c = user;

    if (result->error != DB_OK || db_rows(result) == 0)
        forget_passwords(c);
    if (service_query_failed(c->call, result))
        return;
    if (db_rows(result) == 0)
        fail_ended(c);
    else
        on_looked_at(c, result);
}

static void look_at_account(struct change *c)
{
    struct db_query *query = query_of_session(c, AUTH_BEFORE_CHANGE);

    if (query) {
        db_bind_int8(query, c->auth->config->young_sign_in_s);
        db_bind_text(query, c->names.username_key);
        db_bind_text(query, c->names.email_key);
    }
    service_query_with(c->call, query, on_before_change, c);
}

/* ---- the RPCs ---- */

typedef Stoa__Auth__V1__UpdateCurrentUserRequest__Changes changes;

struct faults {
    struct schema_fault list[8];
    size_t n;
};

static void add_fault(struct faults *faults, const char *path, const char *message)
{
    if (message && faults->n < ARRAY_SIZE(faults->list))
        faults->list[faults->n++] = (struct schema_fault){str_of(path), str_of(message)};
}

static bool names(const Google__Protobuf__FieldMask *mask, const char *field, bool is_set)
{
    bool named = !mask && is_set; /* without a mask what is set counts (AIP-134) */

    for (size_t i = 0; mask && i < mask->n_paths; i++)
        named = named || strcmp(mask->paths[i], field) == 0 || strcmp(mask->paths[i], "*") == 0;
    return named;
}

static void check_mask(const Google__Protobuf__FieldMask *mask, struct faults *faults)
{
    static const struct str known[] = {{"*", 1},        {"username", 8}, {"email", 5},
                                       {"password", 8}, {"bio", 3},      {"image", 5}};

    for (size_t i = 0; mask && i < mask->n_paths; i++) {
        bool found = false;

        for (size_t k = 0; k < ARRAY_SIZE(known); k++)
            found = found || str_eq(str_of(mask->paths[i]), known[k]);
        if (!found) {
            add_fault(faults, "update_mask", "names a field that an account does not have");
            return;
        }
    }
}

/* A text that cannot be cleared. */
static char *take_text(const Google__Protobuf__FieldMask *mask, const char *field, char *value,
                       const char *path, struct faults *faults)
{
    if (!names(mask, field, value != NULL))
        return NULL;
    if (!value)
        add_fault(faults, path, "can't be blank");
    return value;
}

/* One that can: an empty one is none. */
static struct str take_clearable(const char *value, enum plain_text kind, const char *path,
                                 struct faults *faults)
{
    struct str text = value && *value ? str_of(value) : STR_NULL;

    add_fault(faults, path, plain_text_fault(text, kind));
    return text;
}

/* Fields with presence are members of a oneof: one that is not set is NULL. */
static void take_changes(struct change *c, const Stoa__Auth__V1__UpdateCurrentUserRequest *request,
                         struct faults *faults)
{
    const Google__Protobuf__FieldMask *mask = request->update_mask;
    const changes *from = request->user; /* there, by the contract's rules */

    check_mask(mask, faults);
    c->names.username =
        str_of(take_text(mask, "username", from->username, "user.username", faults));
    c->names.email = str_of(take_text(mask, "email", from->email, "user.email", faults));
    c->password = take_text(mask, "password", from->password, "user.password", faults);
    add_fault(faults, "user.password", auth_password_fault(c->auth, c->password));
    c->has_bio = names(mask, "bio", from->bio != NULL);
    if (c->has_bio)
        c->new_bio = take_clearable(from->bio, PLAIN_TEXT_LINES, "user.bio", faults);
    c->has_image = names(mask, "image", from->image != NULL);
    if (c->has_image)
        c->new_image = take_clearable(from->image, PLAIN_TEXT_ONE_LINE, "user.image", faults);
    if (auth_complete_names(&c->names, rpc_call_arena(c->call)) == -EINVAL)
        add_fault(faults, "user.username", c->names.fault);
}

/* False: the call has been failed. */
static bool accept_changes(struct change *c,
                           const Stoa__Auth__V1__UpdateCurrentUserRequest *request)
{
    struct faults faults = {.n = 0};
    bool complete;

    take_changes(c, request, &faults);
    complete = (!c->names.username.p || c->names.username_key.p) &&
               (!c->names.email.p || c->names.email_key.p);
    if (faults.n == 0 && complete)
        return true;
    auth_forget_password(request->user->password);
    auth_forget_password(c->current_password);
    if (faults.n > 0)
        service_fail_fields(c->call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", faults.list, faults.n);
    else
        service_fail_memory(c->call);
    return false;
}

/* False: the call has been failed. */
static bool read_conditions(struct change *c)
{
    if (service_read_conditions(c->call))
        return true;
    forget_passwords(c);
    return false;
}

static void update_current_user(struct auth *auth, struct rpc_call *call,
                                const Stoa__Auth__V1__UpdateCurrentUserRequest *request)
{
    struct change *c = arena_calloc(rpc_call_arena(call), 1, sizeof(*c));

    if (!c) {
        service_fail_memory(call);
        return;
    }
    c->auth = auth;
    c->call = call;
    c->current_password = request->current_password;
    if (accept_changes(c, request) && read_conditions(c))
        look_at_account(c);
}

void auth_update_current_user_rpc(void *service, struct rpc_call *call,
                                  const ProtobufCMessage *request)
{
    update_current_user(service, call, (const Stoa__Auth__V1__UpdateCurrentUserRequest *)request);
}

void auth_delete_current_user_rpc(void *service, struct rpc_call *call,
                                  const ProtobufCMessage *request)
{
    struct change *c = arena_calloc(rpc_call_arena(call), 1, sizeof(*c));

    if (!c) {
        service_fail_memory(call);
        return;
    }
    c->auth = service;
    c->call = call;
    c->deletes = true;
    c->current_password =
        ((const Stoa__Auth__V1__DeleteCurrentUserRequest *)request)->current_password;
    if (read_conditions(c))
        look_at_account(c);
}
