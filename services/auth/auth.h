/* What the files of auth share. */
#ifndef STOA_AUTH_AUTH_H
#define STOA_AUTH_AUTH_H

#include "password.h"
#include "service/service.h"
#include "statements.h"
#include "stoa/auth/v1/auth.pb-c.h"

struct auth_config {
    struct str key_path;
    int64_t token_ttl_s, hash_threads, hash_queue;
};

struct auth {
    struct service *service;
    const struct auth_config *config;
    struct jwt_signer *signer;
    struct password_pool *passwords;

    /* Of the publication of the key in flight; the database's engine thread's alone (keys.c). */
    struct arena publish_arena;
    bool publishing;
    unsigned publish_attempts;
};

/* ---- accounts.c: CreateUser, Login, GetCurrentUser ---- */

void auth_create_user_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request);
void auth_login_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request);
void auth_get_current_user_rpc(void *service, struct rpc_call *call,
                               const ProtobufCMessage *request);

/* ---- keys.c: the signing key and GetJsonWebKeySet ---- */

/* Makes the key file if there is none, and loads it. On error one line in *ret_error. */
int auth_load_key(struct auth *auth, struct str *ret_error) MUST_CHECK;

/* Engine thread: makes the key known to all services; then the service may be ready. */
void auth_publish_key(struct auth *auth);

#define AUTH_KEY_CONDITION "signing key published"

void auth_get_json_web_key_set_rpc(void *service, struct rpc_call *call,
                                   const ProtobufCMessage *request);

/* ---- tokens.c ---- */

struct auth_session_id {
    uint8_t bytes[16]; /* a UUID, version 7 */
};

int auth_new_session_id(struct auth_session_id *ret) MUST_CHECK;

/* A new access token for an account and session, NUL-terminated in the arena; {NULL, 0} on error.
 */
struct str auth_issue_token(const struct auth *auth, int64_t account_id,
                            const struct auth_session_id *session, struct arena *arena) MUST_CHECK;

#endif
