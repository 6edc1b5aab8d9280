/* What auth, posts and chat have in common: settings, start-up, the migrate subcommand, identity of
 * the caller, readiness and graceful stop. A service is a table of this plus its handlers.
 *
 *     NAME [serve]    serve until SIGTERM or SIGINT
 *     NAME migrate    apply missing migrations and exit
 *     NAME check      ask the serving process whether it is ready; exit 0 when it is
 *     NAME --help     usage and the table of settings
 *
 * SIGHUP does what the service's `reload` does.
 */
#ifndef STOA_SERVICE_SERVICE_H
#define STOA_SERVICE_SERVICE_H

#include "base/config.h"
#include "base/uuid.h"
#include "grpc/rpc.h"
#include "jwt/jwt.h"
#include "metrics/server.h"
#include "pg/group.h"
#include "pg/share.h"

#include "google/protobuf/timestamp.pb-c.h"

struct service; /* a running service */

struct service_definition {
    const char *name;  /* "posts": the Postgres schema, the name in logs */
    const char *about; /* one sentence for --help */
    /* Settings of its own beside the common ones; fills *config. */
    const struct config_setting *settings;
    size_t n_settings;
    void *config;
    const struct db_statement *statements;
    size_t n_statements;
    /* Completions run on the poller threads, not on the database's engine thread: the answers of a
     * wake-up then cost one hand-over, and not a wake-up of a poller each. One thread does all the
     * answering, so this is for services that do little else. */
    bool completes_on_pollers;
    const struct db_migration *migrations;
    size_t n_migrations;
    /* Before the server starts: makes the service's state and adds its RPC services. service_db()
     * is for handlers; there is none yet. On error a negative errno and one line in *ret_error. */
    int (*start)(struct service *service, struct str *ret_error);
    /* Runs on the database's engine thread each time the database becomes reachable, before the
     * service says it is ready. May be NULL. */
    void (*database_ready)(struct service *service);
    /* Main thread, while the database is reachable and migrations are current, from time to time:
     * starts what is due and does not wait for it. Returns milliseconds until it wants to be called
     * again. May be NULL. */
    int (*tick)(struct service *service);
    /* Main thread, at SIGHUP; then tick. NULL: the signal is ignored. */
    void (*reload)(struct service *service);
    const char *reload_about; /* what it does, for --help */
    /* Main thread: the service is about to stop. Ends the streams, which would otherwise be cut off
     * when the grace period is over; calls of other kinds have it. May be NULL. */
    void (*stopping)(struct service *service);
    /* After the last call has ended. May be NULL. */
    void (*stop)(struct service *service);
};

/* The whole main(). Returns the exit status. */
int service_main(const struct service_definition *definition, int argc, char **argv);

/* Parts for handlers and start(). */
struct rpc_server *service_rpc(struct service *service);
struct db *service_db(struct service *service);
const struct schema *service_schema(const struct service *service);
void *service_config(struct service *service);
void service_set_state(struct service *service, void *state);
void *service_state(struct service *service);
struct str service_token_issuer(const struct service *service);
struct str service_token_audience(const struct service *service);
/* Long-lived memory, freed after stop(). Not thread-safe: for start() only. */
struct arena *service_arena(struct service *service);

/* For start(): families of the service's own in /metrics. They are written until stop() is called.
 */
void service_add_metrics(struct service *service, metrics_write_fn *write, void *user);

/* A condition of readiness of the service's own (signing key published, ...): not ready while any
 * condition is false. reason: a static string that names it; logged when it changes. Any thread. */
void service_set_condition(struct service *service, const char *reason, bool holds);

/* ---- the caller ---- */

struct service_caller {
    int64_t account_id;  /* the token's sub */
    struct uuid session; /* sid */
    int64_t expires_us;  /* exp, Unix time */
    struct str token;    /* as sent, for answers that repeat it */
};

/* NULL for an anonymous caller (only on methods with AUTH_OPTIONAL or AUTH_NONE). In the call's
 * arena. */
const struct service_caller *service_caller(const struct rpc_call *call);
/* 0 for an anonymous caller; for binding to SQL. */
int64_t service_caller_id(const struct rpc_call *call);

/* Whether access tokens can be checked: not yet when a process begins. From any thread. */
bool service_knows_callers(const struct service *service);
/* A stream outlives the check at its beginning: whether the caller's token would pass it now. True:
 * *ret_error says why it would not, in the message as well, which is all that is left of it in a
 * WebSocket's Close. Any thread. */
bool service_caller_ended(struct service *service, const struct service_caller *caller,
                          struct rpc_error *ret_error) MUST_CHECK;

/* The same caller on a call of the process's own (rpc_local_new()): copied, without the token.
 * -ENOMEM. */
int service_call_as(struct rpc_call *call, const struct service_caller *caller) MUST_CHECK;

/* Where a call comes from. The gateway, that is whoever may use the service's unix socket or has an
 * address of STOA_GATEWAYS, says for whom it calls (metadata x-client-address and
 * x-forwarded-user-agent); everybody else speaks for themselves, whatever metadata they send. */
struct service_client {
    struct str address;    /* an IP address as text; {NULL, 0}: of this machine, and not said */
    struct str user_agent; /* at most 512 bytes of ASCII; {NULL, 0}: not said */
};

/* Whether it is the gateway that calls. */
bool service_called_by_gateway(const struct service *service, struct rpc_call *call);

/* Strings live as the call. */
struct service_client service_client(const struct service *service, struct rpc_call *call);

/* auth only: a session has been ended, in a transaction that has committed. Its access tokens are
 * refused here at once; the other processes read it from Postgres. expires_at_us: when the last of
 * them has expired. Any thread. */
void service_session_ended(struct service *service, const struct uuid *session,
                           int64_t expires_at_us);

/* ---- log lines ---- */

/* Fields of a line about a call (base/log.h): its RPC, and the trace and the request by whose ids
 * the gateway's lines are found. An id that the caller did not say, or not in the gateway's form,
 * is left out. */
#define LOG_CALL(call)                                                                    \
    LOG_S("rpc", rpc_call_method(call)->path), LOG_S("trace_id", service_trace_id(call)), \
        LOG_S("request_id", service_request_id(call))

/* Live as the call. */
struct str service_trace_id(const struct rpc_call *call);
struct str service_request_id(const struct rpc_call *call);

/* ---- answers that handlers share ---- */

/* Submits a query for a call; done gets the call as its user pointer, and finishes it. When the
 * query can't be queued the call is failed here (RESOURCE_EXHAUSTED, with RetryInfo). */
void service_query(struct rpc_call *call, struct db_query *query, db_done_fn *done);

/* service_query() for a call with state of its own (in its arena): done gets user. False: the call
 * has been failed, and done will not run. */
bool service_query_with(struct rpc_call *call, struct db_query *query, db_done_fn *done,
                        void *user);

/* db_group_submit() for a call; fills in the item's deadline, cancelled and trace. False: the call
 * has been failed, and the group's done() will not run. */
bool service_group(struct rpc_call *call, struct db_group *group, struct db *db,
                   struct db_group_item *item);

/* db_share_submit() for a call; fills in the item's deadline, cancelled and trace. False: the call
 * has been failed, and the share's done() will not run. */
bool service_share(struct rpc_call *call, struct db_share *share, struct db_share_item *item);

/* db_transaction() for a call: done gets user. False: the call has been failed, and done will not
 * run. */
bool service_transaction(struct rpc_call *call, struct db *db, db_tx_fn *body,
                         void (*done)(void *user, const struct db_result *outcome, int body_result),
                         void *user);

/* If the result is an error, fails the call with the fitting code (UNAVAILABLE, DEADLINE_EXCEEDED,
 * ABORTED, RESOURCE_EXHAUSTED, INTERNAL), logs what operators should see, and returns true. Handle
 * DB_UNIQUE and the like before it. */
bool service_query_failed(struct rpc_call *call, const struct db_result *result);

/* INVALID_ARGUMENT (or code) with one field violation: errors: {field: [description]}. */
void service_fail_field(struct rpc_call *call, enum rpc_code code, const char *reason,
                        const char *field, const char *description);

/* The same with several violations. */
void service_fail_fields(struct rpc_call *call, enum rpc_code code, const char *reason,
                         const struct schema_fault *violations, size_t n);

/* The metadata `idempotency-key` (draft-ietf-httpapi-idempotency-key-header) of a create; {NULL, 0}
 * when there is none. False: it is no key, and the call has been failed. */
#define SERVICE_IDEMPOTENCY_KEY_MAX 255
bool service_idempotency_key(struct rpc_call *call, struct str *ret) MUST_CHECK;

/* INVALID_ARGUMENT: the key has served for another request. */
void service_fail_key_used(struct rpc_call *call);

/* NOT_FOUND with ResourceInfo: errors: {type: ["not found"]}. */
void service_fail_not_found(struct rpc_call *call, const char *type, struct str name);

/* The error of that, for who has no call to fail: message is "TYPE not found". */
void service_not_found(struct str message, const char *type, struct str name,
                       struct rpc_error *ret);

/* RESOURCE_EXHAUSTED, with RetryInfo: too much waits already. */
void service_fail_overloaded(struct rpc_call *call);

/* RESOURCE_EXHAUSTED: the call's arena is at its limit. */
void service_fail_memory(struct rpc_call *call);

/* ---- entity tags (entity_tag.c) ----
 *
 * Which state of something an answer shows: metadata `etag`, and of a request `if-match` and
 * `if-none-match`; over HTTP the headers of these names (RFC 9110 sections 8.8.3 and 13). Any
 * thread. */

/* {NULL, 0} without memory. */
struct str service_pack(struct arena *arena, const ProtobufCMessage *message);

/* What tells a packed message, and beside it a number that says the rest, from all others: 24 hex
 * digits. packed may be {NULL, 0}; {NULL, 0} without memory. */
struct str service_view(struct arena *arena, struct str packed, uint64_t rest);

/* Adds the tag "VERSION VIEW", in quotes and without a space, to an answer that is about to be
 * given. False: the call has been failed, as when view is {NULL, 0}. */
bool service_add_tag(struct rpc_call *call, struct str version, struct str view) MUST_CHECK;

/* Ends the call with an answer whose tag is of all that it says. */
void service_reply_tagged(struct rpc_call *call, const ProtobufCMessage *response);

/* False: conditions of a change are damaged, and the call has been failed. */
bool service_read_conditions(struct rpc_call *call) MUST_CHECK;

/* Whether If-Match or If-None-Match is among the call's metadata. */
bool service_has_conditions(const struct rpc_call *call);

/* Whether they let it change what has a tag that begins like this, the first quote included. */
bool service_conditions_hold(const struct rpc_call *call, struct str prefix);

/* FAILED_PRECONDITION, which is 412 over HTTP: errors: {type: ["has been changed meanwhile"]}. */
void service_fail_changed(struct rpc_call *call, const char *type, struct str name);

/* A time stamp of a row as a message. */
void service_set_time(Google__Protobuf__Timestamp *ret, int64_t unix_us);

#endif
