/* Private to lib/service: the running service and its parts. */
#ifndef STOA_SERVICE_INTERNAL_H
#define STOA_SERVICE_INTERNAL_H

#include "base/network.h"
#include "service/service.h"

#include <pthread.h>

/* Settings that every service has. */
struct service_settings {
    struct str listen, database, database_password, log_level, issuer, audience, gateways;
    struct str metrics_listen, traces;
    struct str tls_certificate, tls_key, tls_client_ca;
    int64_t database_connections, database_queue, max_calls, patience_ms, max_request_bytes,
        grace_ms, drain_ms;
    int64_t trace_one_in;
};

#define SERVICE_MAX_CONDITIONS 8

struct service_condition {
    const char *reason;
    bool holds;
};

struct identity; /* identity.c */

struct service {
    const struct service_definition *definition;
    struct service_settings settings;
    struct arena arena; /* settings and start-up; freed last */
    struct schema *schema;
    struct rpc_server *rpc;
    struct db *db;
    struct identity *identity;
    struct tracing *tracing; /* NULL: no traces */
    void *state;
    struct network_list gateways;
    struct metrics_writer writers[METRICS_MAX_WRITERS];
    size_t n_writers;
    struct metrics_server *metrics; /* NULL: no address is set */
    struct str conninfo;            /* settings.database with the password; secret */
    bool started;                   /* the server runs */
    int wake_fd;                    /* eventfd: the main thread has something to do */

    pthread_mutex_t lock; /* guards what follows */
    struct service_condition conditions[SERVICE_MAX_CONDITIONS];
    size_t n_conditions;
    bool ready;
};

/* Wakes the main thread. Any thread. */
void service_wake(struct service *service);

/* ---- tracing.c: spans, to an OpenTelemetry collector by OTLP/gRPC ---- */

/* With the settings' address of a collector; starts the thread that exports. On error one line in
 * *ret_error. */
int tracing_new(struct service *service, struct tracing **ret, struct str *ret_error) MUST_CHECK;
/* Exports what waits, for two seconds at most. NULL is nothing. */
void tracing_free(struct tracing *tracing);
struct trace_recorder *tracing_recorder(const struct tracing *tracing); /* NULL of NULL */
/* Appends the families stoa_trace_...; NULL: nothing is traced. Any thread. */
void tracing_write_metrics(const struct tracing *tracing, struct buf *text);

/* ---- identity.c: who is calling, and the keys that tell ---- */

/* What lib/service adds behind the service's own statements; also that of revocations.h. */
extern const struct db_statement service_keys_statement;

int identity_new(struct service *service, struct identity **ret) MUST_CHECK;
void identity_free(struct identity *identity);

bool identity_caller_ended(struct identity *identity, const struct service_caller *caller,
                           struct rpc_error *ret_error) MUST_CHECK;

/* Whether there are keys to check tokens with: never before the revocations are known. */
bool identity_knows_keys(const struct identity *identity);
/* The authenticate hook of lib/grpc; context is the struct identity. */
void identity_authenticate(void *context, struct rpc_call *call);

/* Main thread: starts a refresh of the keys and of the revocations when one is due. Returns
 * milliseconds until it wants to be called again. */
int identity_tick(struct identity *identity);

/* Appends the families stoa_token_... */
void identity_write_metrics(const struct identity *identity, struct buf *text);

/* Engine thread: Postgres can be reached again. */
void identity_database_ready(struct identity *identity);

void identity_session_ended(struct identity *identity, const struct uuid *session,
                            int64_t expires_at_us);

/* Fails every call that waits for keys; no more is parked afterwards. */
void identity_stop(struct identity *identity);

#endif
