/* auth: accounts, sign-in, and the keys that access tokens are verified with. */
#include "admission.h"
#include "keys.h"
#include "service/purge.h"

#include <errno.h>
#include <stdlib.h>

extern const struct db_migration migrations[];
extern const size_t n_migrations;

#define PURGE_INTERVAL_S 60

#define REDIS(member) offsetof(struct auth_config, admission.redis.member)
#define ADMISSION(member) offsetof(struct auth_config, admission.member)

static const struct config_setting settings[] = {
    {"STOA_AUTH_LOGIN_ADDRESS_RATE", CONFIG_STRING, ADMISSION(login_address), "60/1m", 1, 32, false,
     "Sign-ins that one address (IPv6: one /64) may try in a time; off: any number."},
    {"STOA_AUTH_LOGIN_PAIR_RATE", CONFIG_STRING, ADMISSION(login_pair), "10/10m", 1, 32, false,
     "Sign-ins that one address may try on one account in a time; off: any number."},
    {"STOA_AUTH_LOGIN_ACCOUNT_RATE", CONFIG_STRING, ADMISSION(login_account), "100/1h", 1, 32,
     false, "Sign-ins that may be tried on one account in a time, from anywhere; off: any number."},
    {"STOA_AUTH_REGISTER_ADDRESS_RATE", CONFIG_STRING, ADMISSION(register_address), "30/1h", 1, 32,
     false, "Accounts that one address may try to make in a time; off: any number."},
    {"STOA_AUTH_REGISTER_ACCOUNT_RATE", CONFIG_STRING, ADMISSION(register_account), "10/1h", 1, 32,
     false, "Accounts that may be tried for one e-mail address in a time; off: any number."},
    {"STOA_AUTH_REFRESH_ADDRESS_RATE", CONFIG_STRING, ADMISSION(refresh_address), "600/1m", 1, 32,
     false, "Refreshes of sessions that one address may try in a time; off: any number."},
    {"STOA_AUTH_REFRESH_SESSION_RATE", CONFIG_STRING, ADMISSION(refresh_session), "20/1m", 1, 32,
     false, "Refreshes of one session in a time; off: any number."},
    {"STOA_AUTH_THROTTLE_ENTRIES", CONFIG_INT, ADMISSION(entries), "65536", 64, 1 << 24, false,
     "Addresses and accounts whose attempts an instance remembers by itself; 16 bytes each."},
    REDIS_SETTINGS(REDIS, "Redis, where all instances count attempts together: unix:/path or "
                          "host:port; empty: each counts by itself."),
    {"STOA_AUTH_KEY", CONFIG_STRING, offsetof(struct auth_config, key_path), NULL, 1, 0, false,
     "File of the private signing key (JWK); made at the first start. One for each instance."},
    {"STOA_AUTH_KEY_ROTATION_S", CONFIG_INT, offsetof(struct auth_config, key_rotation_s),
     "2592000", 0, 400 * 86400, false,
     "At what age a signing key is replaced by a new one, in seconds; 0: only by SIGHUP."},
    {"STOA_AUTH_KEY_LEAD_S", CONFIG_INT, offsetof(struct auth_config, key_lead_s), "600", 0, 86400,
     false,
     "How long a new key is published before it signs, in seconds; others may cache the key set for"
     " 300."},
    {"STOA_AUTH_TOKEN_TTL_S", CONFIG_INT, offsetof(struct auth_config, token_ttl_s), "900", 10,
     30 * 86400, false, "How long an access token lives, in seconds."},
    {"STOA_AUTH_SESSION_TTL_S", CONFIG_INT, offsetof(struct auth_config, session_ttl_s), "2592000",
     60, 400 * 86400, false, "How long a session lasts without a refresh, in seconds."},
    {"STOA_AUTH_REFRESH_GRACE_S", CONFIG_INT, offsetof(struct auth_config, refresh_grace_s), "10",
     1, 60, false,
     "How long a refresh token stays good after it was exchanged, in case the answer was lost, in "
     "seconds."},
    {"STOA_AUTH_YOUNG_SIGN_IN_S", CONFIG_INT, offsetof(struct auth_config, young_sign_in_s), "900",
     0, 86400, false,
     "How long after a sign-in the password may be changed, and the account deleted, without the"
     " current password, in seconds."},
    {"STOA_AUTH_REFUSE_COMMON_PASSWORDS", CONFIG_BOOL,
     offsetof(struct auth_config, refuse_common_passwords), "on", 0, 0, false,
     "Whether new passwords that many people use (password123) are refused."},
    {"STOA_AUTH_HASH_THREADS", CONFIG_INT, offsetof(struct auth_config, hash_threads), "0", 0, 256,
     false,
     "Threads that hash passwords, at a lower priority than everything else; each takes 19 MiB. 0: "
     "one less than there are cores, at least one, and no more than fit into half of a container's "
     "memory."},
    {"STOA_AUTH_HASH_QUEUE", CONFIG_INT, offsetof(struct auth_config, hash_queue), "0", 0, 100000,
     false,
     "Passwords that may wait for a thread; more are refused with RESOURCE_EXHAUSTED. 0: one for "
     "each thread, at least three."},
};

static const struct rpc_handler handlers[] = {
    {"CreateUser", auth_create_user_rpc, NULL},
    {"Login", auth_login_rpc, NULL},
    {"GetCurrentUser", auth_get_current_user_rpc, NULL},
    {"UpdateCurrentUser", auth_update_current_user_rpc, NULL},
    {"DeleteCurrentUser", auth_delete_current_user_rpc, NULL},
    {"GetJsonWebKeySet", auth_get_json_web_key_set_rpc, NULL},
};

static const struct rpc_handler session_handlers[] = {
    {"RefreshSession", auth_refresh_session_rpc, NULL},
    {"EndCurrentSession", auth_end_current_session_rpc, NULL},
    {"ListSessions", auth_list_sessions_rpc, NULL},
    {"EndSession", auth_end_session_rpc, NULL},
    {"EndOtherSessions", auth_end_other_sessions_rpc, NULL},
};

static int add_services(struct auth *auth, struct str *ret_error)
{
    struct rpc_server *rpc = service_rpc(auth->service);
    int r = rpc_server_add(rpc, &stoa__auth__v1__auth_service__descriptor, handlers,
                           ARRAY_SIZE(handlers), auth, ret_error);

    return r < 0 ? r
                 : rpc_server_add(rpc, &stoa__auth__v1__session_service__descriptor,
                                  session_handlers, ARRAY_SIZE(session_handlers), auth, ret_error);
}

static unsigned hash_threads(const struct auth_config *config)
{
    return config->hash_threads > 0 ? (unsigned)config->hash_threads : password_pool_threads();
}

static size_t hash_queue(const struct auth_config *config)
{
    return config->hash_queue > 0 ? (size_t)config->hash_queue
                                  : password_pool_queue(hash_threads(config));
}

/* Sessions that nobody has refreshed and revocations of tokens that have expired; the access tokens
 * of such sessions have expired long ago. */
static const struct purge_step purge_steps[] = {
    {.statement = AUTH_PURGE_SESSIONS, .batch = AUTH_PURGE_BATCH},
    {.statement = AUTH_PURGE_REVOCATIONS, .batch = AUTH_PURGE_BATCH},
};

static int start(struct service *service, struct str *ret_error)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    int r;

    if (!auth)
        return -ENOMEM;
    auth->service = service;
    auth->config = service_config(service);
    service_set_state(service, auth); /* from here on, stop() cleans up */
    service_set_condition(service, AUTH_KEY_CONDITION, false);
    if (auth->config->session_ttl_s < auth->config->token_ttl_s) {
        *ret_error = STR("STOA_AUTH_SESSION_TTL_S: set no less than STOA_AUTH_TOKEN_TTL_S");
        return -EINVAL;
    }
    r = auth_keys_new(auth, &auth->keys, ret_error);
    if (r < 0)
        return r;
    r = password_pool_new(&(struct password_pool_options){.threads = hash_threads(auth->config),
                                                          .max_queue = hash_queue(auth->config)},
                          &auth->passwords);
    if (r < 0) {
        *ret_error = STR("no memory or threads for hashing: lower STOA_AUTH_HASH_THREADS");
        return r;
    }
    r = admission_new(auth, &auth->admission, ret_error);
    if (r < 0)
        return r;
    service_add_metrics(service, auth_write_metrics, auth);
    r = purge_new(service, purge_steps, ARRAY_SIZE(purge_steps), PURGE_INTERVAL_S, &auth->purge);
    return r < 0 ? r : add_services(auth, ret_error);
}

static int tick(struct service *service)
{
    struct auth *auth = service_state(service);

    int purge_ms = purge_tick(auth->purge), keys_ms = auth_keys_tick(auth->keys);

    return purge_ms < keys_ms ? purge_ms : keys_ms;
}

static void reload(struct service *service)
{
    struct auth *auth = service_state(service);

    auth_keys_rotate(auth->keys);
}

static void database_ready(struct service *service)
{
    struct auth *auth = service_state(service);

    auth_keys_publish(auth->keys);
    admission_database_ready(auth->admission);
}

static void stop(struct service *service)
{
    struct auth *auth = service_state(service);

    purge_free(auth->purge);
    admission_free(auth->admission);
    password_pool_free(auth->passwords);
    auth_keys_free(auth->keys);
    free(auth);
}

int main(int argc, char **argv)
{
    static struct auth_config config;
    const struct service_definition definition = {
        .name = "auth",
        .about = "accounts, sign-in, and the keys that access tokens are verified with",
        .settings = settings,
        .n_settings = ARRAY_SIZE(settings),
        .config = &config,
        .statements = auth_statements,
        .n_statements = AUTH_N_STATEMENTS,
        .migrations = migrations,
        .n_migrations = n_migrations,
        .start = start,
        .database_ready = database_ready,
        .tick = tick,
        .reload = reload,
        .reload_about = "change the signing key: to what STOA_AUTH_KEY holds, or to a new one",
        .stop = stop,
    };

    return service_main(&definition, argc, argv);
}
