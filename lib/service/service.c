/* Life of a service process: settings, start, waiting for signals, graceful stop.
 *
 * The main thread does no requests. It waits for SIGTERM, SIGINT or SIGHUP, checks migrations until
 * they are known to be current, and gives identity.c its clock.
 */
#include "service/internal.h"

#include "base/log.h"
#include "metrics/process.h"
#include "service/revocations.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* api.binpb, linked in: the contract that this binary was compiled from (api_descriptor.S). */
extern const char stoa_api_descriptor_set[], stoa_api_descriptor_set_end[];

#define AT(member) offsetof(struct service_settings, member)

static const struct config_setting common_settings[] = {
    {"STOA_LISTEN", CONFIG_STRING, AT(listen), NULL, 1, 0, false,
     "Where gRPC is served: addresses like unix:/run/x.sock or 127.0.0.1:9001, comma separated."},
    {"STOA_DATABASE", CONFIG_STRING, AT(database), NULL, 1, 0, false,
     "How Postgres is reached, as libpq keywords: host=... dbname=... user=..."},
    {"STOA_DATABASE_PASSWORD", CONFIG_STRING, AT(database_password), "", 0, 0, true,
     "Password of the database role; better given by STOA_DATABASE_PASSWORD_FILE."},
    {"STOA_DATABASE_CONNECTIONS", CONFIG_INT, AT(database_connections), "16", 1, 64, false,
     "Pipelined connections to Postgres: a quarter for reads, the others for writes."},
    {"STOA_DATABASE_QUEUE", CONFIG_INT, AT(database_queue), "8192", 16, 1000000, false,
     "Queries that may wait or be in flight; more are refused with RESOURCE_EXHAUSTED."},
    {"STOA_METRICS_LISTEN", CONFIG_STRING, AT(metrics_listen), "", 0, 0, false,
     "Where /metrics is served for Prometheus, over HTTP without TLS: addresses like "
     "127.0.0.1:9101 or unix:/run/x.metrics.sock, comma separated; empty: nowhere."},
    {"STOA_LOG_LEVEL", CONFIG_STRING, AT(log_level), "info", 1, 0, false,
     "The least important level that is logged: debug, info, warn or error."},
    {"STOA_TOKEN_ISSUER", CONFIG_STRING, AT(issuer), "stoa", 1, 256, false,
     "The iss of access tokens; the same for all services."},
    {"STOA_TOKEN_AUDIENCE", CONFIG_STRING, AT(audience), "stoa", 1, 256, false,
     "The aud of access tokens; the same for all services."},
    {"STOA_TLS_CERTIFICATE", CONFIG_STRING, AT(tls_certificate), "", 0, 0, false,
     "PEM file with the certificate chain: TCP addresses then speak TLS."},
    {"STOA_TLS_KEY", CONFIG_STRING, AT(tls_key), "", 0, 0, false,
     "PEM file with the certificate's private key."},
    {"STOA_TLS_CLIENT_CA", CONFIG_STRING, AT(tls_client_ca), "", 0, 0, false,
     "PEM file of authorities; callers must then show a certificate of theirs (mutual TLS)."},
    {"STOA_MAX_CALLS", CONFIG_INT, AT(max_calls), "8192", 1, 1000000, false,
     "Calls in progress at once, of up to 25 KB each, a quarter of them for gateways alone; more "
     "are refused with RESOURCE_EXHAUSTED."},
    {"STOA_PATIENCE_MS", CONFIG_INT, AT(patience_ms), "40", 0, 600000, false,
     "While the answers of an RPC take longer than this, and two to four times as long as alone, "
     "calls that would only wait are refused with RESOURCE_EXHAUSTED; in milliseconds. 0: none "
     "are."},
    {"STOA_MAX_REQUEST_BYTES", CONFIG_INT, AT(max_request_bytes), "4194304", 1024, 1 << 30, false,
     "Largest request message, in bytes."},
    {"STOA_GRACE_MS", CONFIG_INT, AT(grace_ms), "10000", 0, 600000, false,
     "How long calls in progress may go on after SIGTERM, in milliseconds."},
    {"STOA_DRAIN_MS", CONFIG_INT, AT(drain_ms), "0", 0, 600000, false,
     "How long after SIGTERM, before STOA_GRACE_MS begins, new calls are still taken while health "
     "already says NOT_SERVING, so that gateways go elsewhere; in milliseconds. A second signal "
     "ends it."},
    {"STOA_TRACES", CONFIG_STRING, AT(traces), "", 0, 0, false,
     "Where traces go: an OpenTelemetry collector's address for OTLP/gRPC in plain text, such as "
     "127.0.0.1:4317; empty: nowhere."},
    {"STOA_TRACE_ONE_IN", CONFIG_INT, AT(trace_one_in), "100", 0, 1000000000, false,
     "One in so many of the requests that belong to no trace yet is traced; 0: none. The others "
     "follow their traceparent."},
    {"STOA_GATEWAYS", CONFIG_STRING, AT(gateways), "", 0, 0, false,
     "Addresses and networks of gateways, comma separated: these, and whoever uses a unix socket, "
     "are believed when they say for which client they call."},
};

struct rpc_server *service_rpc(struct service *service)
{
    return service->rpc;
}

struct db *service_db(struct service *service)
{
    return service->db;
}

const struct schema *service_schema(const struct service *service)
{
    return service->schema;
}

void *service_config(struct service *service)
{
    return service->definition->config;
}

void service_set_state(struct service *service, void *state)
{
    service->state = state;
}

void *service_state(struct service *service)
{
    return service->state;
}

struct str service_token_issuer(const struct service *service)
{
    return service->settings.issuer;
}

struct str service_token_audience(const struct service *service)
{
    return service->settings.audience;
}

void service_session_ended(struct service *service, const struct uuid *session,
                           int64_t expires_at_us)
{
    identity_session_ended(service->identity, session, expires_at_us);
}

bool service_knows_callers(const struct service *service)
{
    return identity_knows_keys(service->identity);
}

bool service_caller_ended(struct service *service, const struct service_caller *caller,
                          struct rpc_error *ret_error)
{
    return identity_caller_ended(service->identity, caller, ret_error);
}

void service_add_metrics(struct service *service, metrics_write_fn *write, void *user)
{
    if (service->n_writers == METRICS_MAX_WRITERS)
        abort(); /* a fixed list, written by the services' authors */
    service->writers[service->n_writers++] = (struct metrics_writer){write, user};
}

struct arena *service_arena(struct service *service)
{
    return &service->arena;
}

void service_wake(struct service *service)
{
    uint64_t one = 1;
    /* The only failure is a full counter, and then the main thread is awake already. */
    ssize_t n UNUSED = write(service->wake_fd, &one, sizeof(one));
}

/* ---- readiness ---- */

static struct service_condition *find_condition(struct service *service, const char *reason)
{
    for (size_t i = 0; i < service->n_conditions; i++) {
        if (strcmp(service->conditions[i].reason, reason) == 0)
            return &service->conditions[i];
    }
    if (service->n_conditions == SERVICE_MAX_CONDITIONS)
        abort(); /* a fixed list, written by the services' authors */
    service->conditions[service->n_conditions] = (struct service_condition){.reason = reason};
    return &service->conditions[service->n_conditions++];
}

void service_set_condition(struct service *service, const char *reason, bool holds)
{
    bool changed, ready = true;

    pthread_mutex_lock(&service->lock);
    struct service_condition *condition = find_condition(service, reason);
    changed = condition->holds != holds;
    condition->holds = holds;
    for (size_t i = 0; i < service->n_conditions; i++)
        ready = ready && service->conditions[i].holds;
    if (changed)
        log_info(holds ? "condition holds" : "condition lost", LOG_C("condition", reason));
    if (ready != service->ready) {
        service->ready = ready;
        log_info(ready ? "ready" : "not ready");
        rpc_server_set_ready(service->rpc, ready);
    }
    pthread_mutex_unlock(&service->lock);
}

#define DATABASE_CONDITION "database reachable"
#define MIGRATIONS_CONDITION "migrations current"

static void on_database(void *user, bool reachable)
{
    struct service *service = user;

    /* The engine may be quicker than db_open() returns: service->db is there once the lock is. */
    pthread_mutex_lock(&service->lock);
    pthread_mutex_unlock(&service->lock);
    if (reachable)
        identity_database_ready(service->identity);
    if (reachable && service->definition->database_ready)
        service->definition->database_ready(service);
    service_set_condition(service, DATABASE_CONDITION, reachable);
    service_wake(service);
}

/* ---- metrics ---- */

static void write_state(struct service *service, struct buf *text)
{
    static const struct metrics_family ready = {"stoa", "ready", METRICS_GAUGE,
                                                "1: the service says that it is ready; 0: not."},
                                       condition = {"stoa", "condition", METRICS_GAUGE,
                                                    "1: what readiness needs holds; 0: not."};

    pthread_mutex_lock(&service->lock);
    metrics_single(text, &ready, service->ready);
    metrics_begin(text, &condition);
    for (size_t i = 0; i < service->n_conditions; i++)
        metrics_sample(
            text, &condition,
            METRICS_LABELS(METRICS_LABEL("condition", str_of(service->conditions[i].reason))),
            service->conditions[i].holds);
    pthread_mutex_unlock(&service->lock);
}

static void write_log(struct buf *text)
{
    static const struct metrics_family lost = {
        "stoa", "log_lines_lost_total", METRICS_COUNTER,
        "Log lines lost, since they could not be written at once."};

    metrics_single(text, &lost, log_lines_lost());
}

/* What every service tells. */
static void write_common(void *user, struct buf *text)
{
    struct service *service = user;

    metrics_write_build(text, service->definition->name);
    metrics_write_process(text);
    write_state(service, text);
    write_log(text);
    rpc_server_write_metrics(service->rpc, text);
    db_write_metrics(service->db, text);
    identity_write_metrics(service->identity, text);
    tracing_write_metrics(service->tracing, text);
}

/* Which setting an error of listening is about. */
static void name_setting(struct service *service, const char *name, struct str *error)
{
    *error = arena_printf(&service->arena, "%s: %.*s", name, STR_FMT(*error));
}

static int start_metrics(struct service *service, struct str *ret_error)
{
    int r;

    if (service->settings.metrics_listen.n == 0)
        return 0;
    r = metrics_server_start(service->settings.metrics_listen, service->writers, service->n_writers,
                             &service->arena, &service->metrics, ret_error);
    if (r < 0)
        name_setting(service, "STOA_METRICS_LISTEN", ret_error);
    return r;
}

/* ---- start ---- */

static int parse_log_level(struct str s, enum log_level *ret)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (str_eq(s, str_of(names[i]))) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* STOA_DATABASE with the password and the service's name added, for libpq. */
static struct str conninfo(struct service *service)
{
    const struct service_settings *settings = &service->settings;
    struct buf b CLEANUP(buf_free) = {.max = 16384};
    struct str copy;

    buf_printf(&b, "%s application_name=stoa-%s", settings->database.p, service->definition->name);
    if (settings->database_password.n > 0) {
        buf_append_str(&b, STR(" password='"));
        for (size_t i = 0; i < settings->database_password.n; i++) {
            char c = settings->database_password.p[i];
            if (c == '\'' || c == '\\')
                buf_append_char(&b, '\\');
            buf_append_char(&b, c);
        }
        buf_append_char(&b, '\'');
    }
    copy = b.failed ? STR_NULL : arena_copy(&service->arena, buf_str(&b));
    if (b.p)
        explicit_bzero(b.p, b.n);
    return copy;
}

static int read_gateways(struct service *service, struct str *ret_error)
{
    struct str wrong = STR_NULL;
    int r =
        network_list_parse(service->settings.gateways, &service->arena, &service->gateways, &wrong);

    if (r == -EINVAL)
        *ret_error = arena_printf(&service->arena,
                                  "STOA_GATEWAYS: \"%.*s\" is no address or network: set such as "
                                  "192.0.2.7,10.0.0.0/8",
                                  STR_FMT(wrong));
    return r;
}

static int read_settings(struct service *service, struct str *ret_error)
{
    const struct service_definition *definition = service->definition;
    struct service_settings *settings = &service->settings;
    struct str cause = STR_NULL;
    enum log_level level;
    int r = config_read(common_settings, ARRAY_SIZE(common_settings), settings, &service->arena,
                        ret_error);

    if (r < 0)
        return r;
    if (parse_log_level(settings->log_level, &level) < 0) {
        *ret_error = arena_printf(&service->arena,
                                  "STOA_LOG_LEVEL=%s: set debug, info, warn or "
                                  "error",
                                  settings->log_level.p);
        return -EINVAL;
    }
    log_setup(definition->name, level);
    if (strstr(settings->database.p, "://")) {
        *ret_error = STR("STOA_DATABASE: set libpq keywords (host=... dbname=...), not a URL");
        return -EINVAL;
    }
    if ((settings->tls_certificate.n > 0) != (settings->tls_key.n > 0)) {
        *ret_error = STR("STOA_TLS_CERTIFICATE and STOA_TLS_KEY go together: set both or none");
        return -EINVAL;
    }
    if (settings->tls_client_ca.n > 0 && settings->tls_certificate.n == 0) {
        *ret_error = STR("STOA_TLS_CLIENT_CA: without TLS nobody shows a certificate: set "
                         "STOA_TLS_CERTIFICATE and STOA_TLS_KEY as well");
        return -EINVAL;
    }
    r = read_gateways(service, ret_error);
    if (r < 0)
        return r;
    service->conninfo = conninfo(service);
    if (!service->conninfo.p)
        return -ENOMEM;
    r = db_conninfo_check(service->conninfo.p, &service->arena, &cause);
    if (r < 0) {
        *ret_error = arena_printf(&service->arena,
                                  "STOA_DATABASE: %.*s: set libpq keywords (host=... dbname=...)",
                                  STR_FMT(cause));
        return r;
    }
    return config_read(definition->settings, definition->n_settings, definition->config,
                       &service->arena, ret_error);
}

static void complete(void *ended)
{
    db_complete(ended);
}

static int hand_over(void *user, struct db_query *ended)
{
    struct service *service = user;

    return rpc_server_run(service->rpc, complete, ended);
}

static int open_database(struct service *service)
{
    const struct service_definition *definition = service->definition;
    size_t n = definition->n_statements;
    struct db_statement *statements = arena_calloc(&service->arena, n + 2, sizeof(*statements));
    int r;

    if (!statements)
        return -ENOMEM;
    if (n > 0)
        memcpy(statements, definition->statements, n * sizeof(*statements));
    statements[n] = service_keys_statement;
    statements[n + 1] = revocations_statement;
    pthread_mutex_lock(&service->lock);
    r = db_open(
        &(struct db_options){.conninfo = service->conninfo.p,
                             .connections = (unsigned)service->settings.database_connections,
                             .max_queue = (size_t)service->settings.database_queue,
                             .on_ready = on_database,
                             .on_ready_user = service,
                             .hand_over = definition->completes_on_pollers ? hand_over : NULL,
                             .hand_over_user = service,
                             .recorder = tracing_recorder(service->tracing)},
        statements, n + 2, &service->db);
    pthread_mutex_unlock(&service->lock);
    return r;
}

/* The next address of STOA_LISTEN, in the arena, and whether TLS is spoken there. 0: there is none.
 */
static int next_address(struct service *service, struct str *rest, struct str *ret, bool *ret_tls)
{
    const char *comma = rest->n ? memchr(rest->p, ',', rest->n) : NULL;
    size_t length = comma ? (size_t)(comma - rest->p) : rest->n;

    if (rest->n == 0)
        return 0;
    *ret = arena_copy(&service->arena, (struct str){rest->p, length});
    if (!ret->p)
        return -ENOMEM;
    *ret_tls = service->settings.tls_certificate.n > 0 && !str_starts(*ret, STR("unix:"));
    *rest = str_skip(*rest, length + 1);
    return 1;
}

static int listen_all(struct service *service, struct str *ret_error)
{
    const struct service_settings *settings = &service->settings;
    struct rpc_tls tls = {settings->tls_certificate.p, settings->tls_key.p,
                          settings->tls_client_ca.n > 0 ? settings->tls_client_ca.p : NULL};
    struct str rest = settings->listen, address;
    bool use_tls;
    int r;

    while ((r = next_address(service, &rest, &address, &use_tls)) > 0) {
        r = rpc_server_listen(service->rpc, address.p, use_tls ? &tls : NULL, 0, NULL, ret_error);
        if (r < 0) {
            name_setting(service, "STOA_LISTEN", ret_error);
            return r;
        }
        log_info("listening", LOG_S("address", address));
    }
    return r;
}

/* Behind a gateway are many callers, whom it limits one by one. */
static bool is_preferred(void *service, struct rpc_call *call)
{
    return service_called_by_gateway(service, call);
}

static int start_service(struct service *service, struct str *ret_error)
{
    struct str descriptor_set = {
        stoa_api_descriptor_set,
        (size_t)(stoa_api_descriptor_set_end - stoa_api_descriptor_set),
    };
    int r = schema_load(descriptor_set, &service->arena, &service->schema, ret_error);

    if (r < 0)
        return r;
    r = tracing_new(service, &service->tracing, ret_error);
    if (r < 0)
        return r;
    *ret_error = STR("out of memory or threads");
    service_add_metrics(service, write_common, service);
    r = identity_new(service, &service->identity);
    if (r < 0)
        return r;
    r = rpc_server_new(
        &(struct rpc_server_options){
            .schema = service->schema,
            .authenticate = identity_authenticate,
            .authenticate_context = service->identity,
            .max_request_bytes = (size_t)service->settings.max_request_bytes,
            .max_calls = (size_t)service->settings.max_calls,
            .is_preferred = is_preferred,
            .is_preferred_context = service,
            .patience_ms = service->settings.patience_ms,
            .recorder = tracing_recorder(service->tracing),
        },
        &service->rpc);
    if (r < 0)
        return r;
    service_set_condition(service, DATABASE_CONDITION, false);
    service_set_condition(service, MIGRATIONS_CONDITION, false);
    r = service->definition->start(service, ret_error);
    if (r >= 0)
        r = open_database(service); /* after start(): database_ready() may run at once */
    if (r >= 0)
        r = listen_all(service, ret_error);
    if (r >= 0)
        r = start_metrics(service, ret_error);
    if (r >= 0)
        r = rpc_server_start(service->rpc);
    service->started = r >= 0;
    return r;
}

/* ---- the main loop ---- */

/* Until migrations are known to be current: asks Postgres. Returns -ENODATA when some are missing;
 * an unreachable Postgres is no error, readiness says it. */
static int check_migrations(struct service *service, bool *current)
{
    const struct service_definition *definition = service->definition;
    struct arena arena CLEANUP(arena_free) = {.max = 1 << 20};
    struct str error = STR_NULL;
    int r;

    if (*current)
        return 0;
    r = db_migrations_current(service->conninfo.p, definition->name, definition->migrations,
                              definition->n_migrations, &arena, &error);
    if (r == -ENODATA || r == -EINVAL || r == -EBADMSG) {
        log_error("the database schema is not current: run this binary's migrate subcommand",
                  LOG_S("cause", error));
        return r;
    }
    if (r == -EEXIST) /* the next version has migrated already; migrations are safe beside us */
        log_warn("the database schema is newer than this binary", LOG_S("cause", error));
    else if (r < 0) {
        log_debug("migrations could not be checked", LOG_S("cause", error));
        return 0; /* db_open()'s threads say that Postgres can't be reached */
    }
    *current = true;
    service_set_condition(service, MIGRATIONS_CONDITION, true);
    return 0;
}

/* Calls the service's tick when it is due. Returns milliseconds until it is. */
static int tick_own(struct service *service, int64_t *due_ns)
{
    int64_t now = clock_monotonic_ns();

    if (!service->definition->tick)
        return INT_MAX;
    if (now >= *due_ns) {
        if (!db_ready(service->db))
            return INT_MAX; /* on_database() wakes this thread */
        *due_ns = now + service->definition->tick(service) * NSEC_PER_MSEC;
    }
    return (int)((*due_ns - now) / NSEC_PER_MSEC) + 1;
}

#define DRAINING_CONDITION "not draining"

/* The first signal to stop, when there is time for gateways to find other instances. */
static void begin_draining(struct service *service, int64_t *end_ns)
{
    *end_ns = clock_monotonic_ns() + service->settings.drain_ms * NSEC_PER_MSEC;
    log_info("draining", LOG_I("ms", service->settings.drain_ms));
    service_set_condition(service, DRAINING_CONDITION, false);
}

/* False: the service is to stop. */
static bool on_signal(struct service *service, int signal_fd, int64_t *tick_ns, int64_t *drained_ns)
{
    struct signalfd_siginfo info;

    if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
        return true;
    if (info.ssi_signo != SIGHUP && service->settings.drain_ms > 0 && *drained_ns == INT64_MAX) {
        begin_draining(service, drained_ns);
        return true;
    }
    if (info.ssi_signo != SIGHUP) {
        log_info("stopping", LOG_C("signal", sigabbrev_np((int)info.ssi_signo)));
        return false;
    }
    if (service->definition->reload) {
        service->definition->reload(service);
        *tick_ns = 0;
    }
    return true;
}

/* Returns 0 on a signal to stop, or a negative errno. */
static int main_loop(struct service *service, int signal_fd)
{
    bool migrations_current = false;
    int64_t tick_ns = 0, drained_ns = INT64_MAX;

    for (;;) {
        struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN},
                               {.fd = service->wake_fd, .events = POLLIN}};
        int wait_ms = identity_tick(service->identity);
        int r = check_migrations(service, &migrations_current);

        if (r < 0)
            return r;
        if (!migrations_current && wait_ms > 250)
            wait_ms = 250;
        if (migrations_current) {
            int own_ms = tick_own(service, &tick_ns);
            wait_ms = own_ms < wait_ms ? own_ms : wait_ms;
        }
        if (drained_ns != INT64_MAX) {
            int64_t left_ns = drained_ns - clock_monotonic_ns();

            if (left_ns <= 0) {
                log_info("stopping");
                return 0;
            }
            if (left_ns / NSEC_PER_MSEC < wait_ms)
                wait_ms = (int)(left_ns / NSEC_PER_MSEC) + 1;
        }
        if (poll(fds, ARRAY_SIZE(fds), wait_ms) < 0 && errno != EINTR)
            return -errno;
        if (fds[0].revents && !on_signal(service, signal_fd, &tick_ns, &drained_ns))
            return 0;
        if (fds[1].revents) {
            uint64_t count;
            ssize_t n UNUSED = read(service->wake_fd, &count, sizeof(count));
        }
    }
}

static void stop_service(struct service *service)
{
    metrics_server_stop(service->metrics); /* its thread looks at all that follows */
    if (service->identity)
        identity_stop(service->identity);
    if (service->started && service->definition->stopping)
        service->definition->stopping(service);
    if (service->started)
        rpc_server_stop(service->rpc, service->settings.grace_ms);
    if (service->db)
        db_close(service->db);
    if (service->definition->stop && service->state)
        service->definition->stop(service);
    if (service->rpc)
        rpc_server_free(service->rpc);
    tracing_free(service->tracing);
    identity_free(service->identity);
    schema_free(service->schema);
}

/* Blocks the signals that main_loop() waits for in all threads; they are read from the returned fd.
 */
static int block_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int serve(struct service *service)
{
    struct str error = STR_NULL;
    int signal_fd = block_signals();
    int r = start_service(service, &error);

    if (r < 0) {
        log_error("cannot start", LOG_S("cause", error), LOG_C("error", strerror(-r)));
    } else {
        log_info("serving");
        r = main_loop(service, signal_fd);
    }
    stop_service(service);
    log_info("stopped");
    close(signal_fd);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int migrate(struct service *service)
{
    const struct service_definition *definition = service->definition;
    struct str error = STR_NULL;
    int applied = 0;
    int r = db_migrate(service->conninfo.p, definition->name, definition->migrations,
                       definition->n_migrations, &service->arena, &applied, &error);

    if (r == -EEXIST) { /* rolled back: nothing is missing, and serving says the same */
        log_warn("the database schema is newer than this binary", LOG_S("cause", error));
        return EXIT_SUCCESS;
    }
    if (r < 0) {
        log_error("cannot migrate", LOG_S("cause", error), LOG_C("error", strerror(-r)));
        return EXIT_FAILURE;
    }
    log_info("migrated", LOG_I("applied", applied),
             LOG_I("current", (int64_t)definition->n_migrations));
    return EXIT_SUCCESS;
}

#define CHECK_TIMEOUT_MS 3000

/* For container engines and the like: asks the process that serves with the same settings. */
static int check(struct service *service)
{
    struct str rest = service->settings.listen, address, error = STR_NULL;
    bool use_tls;
    int r;

    while ((r = next_address(service, &rest, &address, &use_tls)) > 0 && use_tls)
        ;
    if (r < 0)
        error = STR("out of memory");
    else if (r == 0)
        error = STR("all addresses of STOA_LISTEN speak TLS: add one such as unix:/run/x.sock");
    else if (rpc_check_health(address.p, CHECK_TIMEOUT_MS, &service->arena, &error) == 0)
        return EXIT_SUCCESS;
    log_error("not serving", LOG_S("cause", error));
    return EXIT_FAILURE;
}

static void usage(const struct service_definition *definition)
{
    printf("%s: %s\n\n"
           "usage: %s [serve]    serve until SIGTERM or SIGINT\n"
           "       %s migrate    apply missing database migrations and exit\n"
           "       %s check      ask the serving process whether it is ready; exit 0 when it is\n"
           "       %s --help     this text\n\n%s%s%s"
           "Settings are environment variables; NAME_FILE gives NAME from a file.\n\n",
           definition->name, definition->about, definition->name, definition->name,
           definition->name, definition->name, definition->reload ? "SIGHUP: " : "",
           definition->reload ? definition->reload_about : "", definition->reload ? "\n\n" : "");
    config_print_help(common_settings, ARRAY_SIZE(common_settings), stdout);
    config_print_help(definition->settings, definition->n_settings, stdout);
}

int service_main(const struct service_definition *definition, int argc, char **argv)
{
    struct service service = {.definition = definition};
    const char *command = argc > 1 ? argv[1] : "serve";
    struct str error = STR_NULL;
    int status;

    if (strcmp(command, "--help") == 0) {
        usage(definition);
        return EXIT_SUCCESS;
    }
    if (argc > 2 || (strcmp(command, "serve") != 0 && strcmp(command, "migrate") != 0 &&
                     strcmp(command, "check") != 0)) {
        fprintf(stderr, "%s: %s '%s': `%s --help' tells what there is\n", definition->name,
                argc > 2 ? "too many arguments, such as" : "there is no command",
                argc > 2 ? argv[2] : command, definition->name);
        return 2;
    }
    log_setup(definition->name, LOG_INFO);
    pthread_mutex_init(&service.lock, NULL);
    arena_init(&service.arena, 0);
    service.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (service.wake_fd < 0 || read_settings(&service, &error) < 0) {
        log_error("bad settings", LOG_S("cause", error));
        status = EXIT_FAILURE;
    } else if (strcmp(command, "check") == 0) {
        status = check(&service);
    } else {
        status = strcmp(command, "migrate") == 0 ? migrate(&service) : serve(&service);
    }
    close(service.wake_fd);
    arena_free(&service.arena);
    pthread_mutex_destroy(&service.lock);
    return status;
}
