/* What the files of auth share. */
#ifndef STOA_AUTH_AUTH_H
#define STOA_AUTH_AUTH_H

#include "metrics/metrics.h"
#include "password.h"
#include "refresh_token.h"
#include "service/redis_settings.h"
#include "service/service.h"
#include "statements.h"
#include "stoa/auth/v1/auth.pb-c.h"
#include "stoa/auth/v1/sessions.pb-c.h"

/* Limits on attempts: "10/1m", or "off". */
struct admission_config {
    struct str login_address, login_pair, login_account, register_address, register_account;
    struct str refresh_address, refresh_session;
    struct redis_settings redis;
    int64_t entries;
};

struct auth_config {
    struct admission_config admission;
    struct str key_path;
    int64_t key_rotation_s, key_lead_s;
    int64_t token_ttl_s, session_ttl_s, refresh_grace_s, young_sign_in_s;
    int64_t hash_threads, hash_queue;
    bool refuse_common_passwords;
};

/* How a sign-in and a refresh end. */
enum auth_sign_in {
    SIGN_IN_OK,
    SIGN_IN_WRONG,  /* no such account, or another password */
    SIGN_IN_BUSY,   /* too many passwords wait to be hashed */
    SIGN_IN_FAILED, /* anything that is not the caller's doing */
    SIGN_INS
};
enum auth_refresh {
    REFRESH_OK,
    REFRESH_REPEATED,   /* the answer before may have been lost: the same successor again */
    REFRESH_INVALID,    /* unknown, ended or expired */
    REFRESH_USED_TWICE, /* stolen, or kept too long: the session has been ended */
    REFRESH_FAILED,
    REFRESHES
};

/* What /metrics tells of auth (counts.c). */
struct auth_counts {
    metrics_number sign_ins[SIGN_INS], refreshes[REFRESHES];
};

/* Families stoa_auth_...; a metrics_write_fn of the struct auth. */
void auth_write_metrics(void *auth, struct buf *text);

struct auth {
    struct auth_counts counts;
    struct service *service;
    const struct auth_config *config;
    struct password_pool *passwords;
    struct auth_keys *keys;
    struct purge *purge;
    struct admission *admission;
};

/* ---- the RPCs ---- */

void auth_create_user_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request);
void auth_get_current_user_rpc(void *service, struct rpc_call *call,
                               const ProtobufCMessage *request);
void auth_login_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request);
void auth_update_current_user_rpc(void *service, struct rpc_call *call,
                                  const ProtobufCMessage *request);
void auth_delete_current_user_rpc(void *service, struct rpc_call *call,
                                  const ProtobufCMessage *request);
void auth_get_json_web_key_set_rpc(void *service, struct rpc_call *call,
                                   const ProtobufCMessage *request);

void auth_refresh_session_rpc(void *service, struct rpc_call *call,
                              const ProtobufCMessage *request);
void auth_list_sessions_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request);
void auth_end_session_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request);
void auth_end_current_session_rpc(void *service, struct rpc_call *call,
                                  const ProtobufCMessage *request);
void auth_end_other_sessions_rpc(void *service, struct rpc_call *call,
                                 const ProtobufCMessage *request);

/* ---- keys.c: the signing key ---- */

/* What signs now; it stays valid. Any thread. */
const struct jwt_signer *auth_signer(const struct auth *auth);

/* ---- tokens.c: what a sign-in or a refresh gives ---- */

struct auth_tokens {
    struct refresh_token refresh; /* also says which session */
    uint8_t family_hash[REFRESH_HASH_BYTES], refresh_hash[REFRESH_HASH_BYTES];
};

/* For a new session. -EIO, -ENOMEM. */
int auth_new_tokens(struct auth_tokens *ret) MUST_CHECK;

/* Binds the first nine parameters of a statement that makes an access token (TOKEN_PARAMS in
 * statements.c). */
void auth_bind_tokens(const struct auth *auth, struct rpc_call *call, struct db_query *query,
                      const struct auth_tokens *tokens);

/* A new access token for an account and session, NUL-terminated in the call's arena; NULL: the call
 * has been failed. */
char *auth_issue_token(const struct auth *auth, struct rpc_call *call, int64_t account_id,
                       const struct uuid *session) MUST_CHECK;

/* The refresh token's text in the call's arena; NULL: the call has been failed. */
char *auth_refresh_token_text(struct rpc_call *call, const struct refresh_token *token) MUST_CHECK;

/* ---- account_row.c: what rows and names become ---- */

/* Columns email, username, bio and image, the first of them in this column. The texts are the
 * row's, so the answer is packed before the row goes away. */
Stoa__Auth__V1__User auth_user_of_row(const struct db_result *result, int first_column,
                                      char *token);

/* The entity tag is of all that the answer shows, the caller's token included. False: the call has
 * been failed. */
bool auth_tag_account(struct rpc_call *call, const Stoa__Auth__V1__User *account) MUST_CHECK;

/* Whether the call's conditions let it change an account of this state, whichever session they were
 * seen by. -ENOMEM. */
int auth_conditions_hold(struct rpc_call *call, const Stoa__Auth__V1__User *account,
                         bool *ret) MUST_CHECK;

/* A username and an e-mail address with their keys; {NULL, 0} for one that is not given. */
struct auth_names {
    struct str username, username_key, email, email_key;
    const char *fault; /* what is wrong with the username */
};

/* Fills in the keys. -EINVAL: the username is not acceptable; -ENOMEM. auth_fail_names() says
 * either to the caller. */
int auth_complete_names(struct auth_names *names, struct arena *arena) MUST_CHECK;
void auth_fail_names(struct rpc_call *call, const struct auth_names *names);

void auth_fail_taken(struct rpc_call *call, bool username, bool email);

/* True, and the call has been failed, when a statement found a name taken. */
bool auth_found_taken(struct rpc_call *call, const struct db_result *result) MUST_CHECK;

/* ---- hashing.c: passwords of calls ---- */

/* What waits for the password pool as long as the call does. */
struct password_request auth_password_request(struct rpc_call *call, char *password,
                                              password_done_fn *done, void *user);

/* What is wrong with a new password beyond the rules of the contract, in plain words, or NULL.
 * password: may be NULL. */
const char *auth_password_fault(const struct auth *auth, const char *password);

void auth_forget_password(char *password); /* may be NULL */

/* Whether the pool would take a password now. False: the call has been failed, and the password
 * wiped. Asked before Redis is, and again before anything is looked up, so that what is too much in
 * a flood costs next to nothing; such a try counts for no limit, since nothing was tried. */
bool auth_has_room(const struct auth *auth, struct rpc_call *call, char *password) MUST_CHECK;

/* The pool's queue is full. */
void auth_fail_busy(struct rpc_call *call);

/* Any outcome but PASSWORD_DONE and PASSWORD_WRONG. */
void auth_fail_hashing(struct rpc_call *call, enum password_outcome outcome);

#endif
