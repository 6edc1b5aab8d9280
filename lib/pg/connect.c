/* Opening a connection to Postgres, and the connector: the thread that does it for the engine,
 * because name resolution, the handshake and PREPARE may take long while the engine's other
 * connections have work to do. All waits end early when db_close() begins. */
#include "pg/internal.h"

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

void copy_cause(char *to, const char *message)
{
    size_t n = strcspn(message, "\n");

    snprintf(to, CAUSE_BYTES, "%.*s", (int)(n < CAUSE_BYTES ? n : CAUSE_BYTES - 1), message);
}

int db_conninfo_check(const char *conninfo, struct arena *arena, struct str *ret_cause)
{
    char cause[CAUSE_BYTES], *message = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &message);

    if (options) {
        PQconninfoFree(options);
        return 0;
    }
    if (!message)
        return -ENOMEM;
    copy_cause(cause, message);
    PQfreemem(message);
    *ret_cause = arena_copy(arena, str_of(cause));
    return ret_cause->p ? -EINVAL : -ENOMEM;
}

/* Waits until the socket is ready. */
static int pg_wait(const PGconn *pg, short events, int stop_fd, int64_t until_ns)
{
    struct pollfd fds[2] = {{.fd = PQsocket(pg), .events = events},
                            {.fd = stop_fd, .events = POLLIN}};

    if (fds[0].fd < 0)
        return -ENOTCONN;
    for (;;) {
        int64_t left = until_ns - clock_monotonic_ns();
        int64_t ms = left / NSEC_PER_MSEC + 1;
        int n;

        if (left <= 0)
            return -ETIMEDOUT;
        n = poll(fds, 2, ms > 60000 ? 60000 : (int)ms);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            return fds[1].revents ? -ECANCELED : 0;
    }
}

/* libpq prints notices on standard error otherwise. */
static void on_notice(void *user, const PGresult *res)
{
    (void)user;
    log_debug("postgres notice", LOG_C("notice", PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)));
}

static int finish_connecting(PGconn *pg, int stop_fd, int64_t until_ns)
{
    for (;;) {
        int error = 0;

        switch (PQconnectPoll(pg)) {
        case PGRES_POLLING_OK:
            return 0;
        case PGRES_POLLING_READING:
            error = pg_wait(pg, POLLIN, stop_fd, until_ns);
            break;
        case PGRES_POLLING_WRITING:
            error = pg_wait(pg, POLLOUT, stop_fd, until_ns);
            break;
        default:
            return -ECONNREFUSED;
        }
        if (error < 0)
            return error;
    }
}

PGconn *pg_connect(const char *conninfo, int stop_fd, int64_t until_ns, char *cause)
{
    /* Later ones win: what conninfo may override stands before it. */
    const char *const keywords[] = {"keepalives_idle", "tcp_user_timeout", "dbname",
                                    "client_encoding", NULL};
    const char *const values[] = {"10", "10000", conninfo, "UTF8", NULL};
    PGconn *pg = PQconnectStartParams(keywords, values, 1);
    int error;

    if (!pg) {
        copy_cause(cause, "out of memory");
        return NULL;
    }
    PQsetNoticeReceiver(pg, on_notice, NULL);
    error =
        PQstatus(pg) == CONNECTION_BAD ? -ECONNREFUSED : finish_connecting(pg, stop_fd, until_ns);
    if (error == 0)
        return pg;
    copy_cause(cause, error == -ETIMEDOUT   ? "no answer from Postgres"
                      : error == -ECANCELED ? "shutting down"
                      : *PQerrorMessage(pg) ? PQerrorMessage(pg)
                                            : strerror(-error));
    PQfinish(pg);
    return NULL;
}

/* Statements are planned once for all parameters: with parameters in mind Postgres would plan most
 * lists anew for each call, which costs more than running them. Such a plan stays when a table has
 * grown, and reading a small table as a whole is the cheapest there is when it is made: so what has
 * an index goes by the index. A page has few rows: to remember what was looked up for each, in case
 * it is wanted again, costs more than to look again, even in a list of one author's articles. */
const char pg_session_sql[] = "SELECT set_config('statement_timeout', $1, false),"
                              " set_config('plan_cache_mode', 'force_generic_plan', false),"
                              " set_config('enable_seqscan', 'off', false),"
                              " set_config('enable_memoize', 'off', false),"
                              " set_config('jit', 'off', false)";

static bool send_setup(PGconn *pg, const struct db *db)
{
    char timeout[32];
    const char *const values[] = {timeout};
    bool ok;

    snprintf(timeout, sizeof(timeout), "%lld", (long long)db->options.statement_timeout_ms);
    ok = PQsetnonblocking(pg, 1) == 0 && PQenterPipelineMode(pg) &&
         PQsendQueryParams(pg, pg_session_sql, 1, NULL, values, NULL, NULL, 0);
    for (size_t i = 0; ok && i < db->n_statements; i++) {
        const struct db_statement *s = &db->statements[i];
        Oid types[DB_MAX_PARAMS];
        int n = 0;

        for (; n < DB_MAX_PARAMS && s->params[n] != DB_END; n++)
            types[n] = type_oid(s->params[n]);
        ok = PQsendPrepare(pg, s->name, s->sql, n, types);
    }
    return ok && PQpipelineSync(pg);
}

int pg_next_result(PGconn *pg, int stop_fd, int64_t until_ns, PGresult **ret)
{
    for (;;) {
        int flushed = PQflush(pg);
        int error;

        if (flushed < 0)
            return -ENOTCONN;
        if (!PQisBusy(pg))
            break;
        error = pg_wait(pg, flushed ? POLLIN | POLLOUT : POLLIN, stop_fd, until_ns);
        if (error < 0)
            return error;
        if (!PQconsumeInput(pg))
            return -ENOTCONN;
    }
    *ret = PQgetResult(pg);
    return 0;
}

/* Reads the answers to send_setup(), up to its sync. */
static int await_setup(PGconn *pg, const struct db *db, int64_t until_ns, char *cause)
{
    size_t answers = 0;

    for (;;) {
        PGresult *res = NULL;
        int error = pg_next_result(pg, db->stop_fd, until_ns, &res);
        ExecStatusType status;

        if (error < 0) {
            copy_cause(cause, error == -ENOTCONN ? PQerrorMessage(pg) : strerror(-error));
            return error;
        }
        if (!res)
            continue;
        status = PQresultStatus(res);
        if (status == PGRES_FATAL_ERROR) {
            const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
            /* The first answer is to set_config. */
            const char *name = answers ? db->statements[answers - 1].name : "set_config";
            snprintf(cause, CAUSE_BYTES, "cannot prepare %s: %.180s", name,
                     message ? message : PQresultErrorMessage(res));
        }
        PQclear(res);
        answers++;
        if (status == PGRES_PIPELINE_SYNC)
            return 0;
        if (status == PGRES_FATAL_ERROR)
            return -EBADMSG;
    }
}

PGconn *pg_open(const struct db *db, int64_t until_ns, char *cause)
{
    PGconn *pg = pg_connect(db->conninfo, db->stop_fd, until_ns, cause);

    if (!pg)
        return NULL;
    if (!send_setup(pg, db))
        copy_cause(cause, PQerrorMessage(pg));
    else if (await_setup(pg, db, until_ns, cause) == 0)
        return pg;
    PQfinish(pg);
    return NULL;
}

/* ---- the connector thread ---- */

static struct db_conn *next_wanted(struct db *db)
{
    for (unsigned i = 0; i < db->engine.n_conns; i++) {
        if (db->engine.conns[i].connect_wanted)
            return &db->engine.conns[i];
    }
    return NULL;
}

static void *connector_main(void *arg)
{
    struct db *db = arg;
    struct connector *connector = &db->connector;

    pthread_mutex_lock(&connector->lock);
    while (!connector->stop) {
        struct db_conn *c = next_wanted(db);
        char cause[CAUSE_BYTES] = "";
        PGconn *pg;

        if (!c) {
            pthread_cond_wait(&connector->work, &connector->lock);
            continue;
        }
        c->connect_wanted = false;
        pthread_mutex_unlock(&connector->lock);
        pg = pg_open(db, clock_monotonic_ns() + OPEN_TIMEOUT_NS, cause);
        pthread_mutex_lock(&connector->lock);
        c->fresh = pg;
        memcpy(c->cause, cause, sizeof(cause));
        c->connect_done = true;
        engine_ring(db);
    }
    pthread_mutex_unlock(&connector->lock);
    return NULL;
}

int connector_start(struct db *db)
{
    struct connector *connector = &db->connector;

    pthread_mutex_init(&connector->lock, NULL);
    pthread_cond_init(&connector->work, NULL);
    return -pthread_create(&connector->thread, NULL, connector_main, db);
}

void connector_stop(struct db *db)
{
    struct connector *connector = &db->connector;

    pthread_mutex_lock(&connector->lock);
    connector->stop = true;
    pthread_cond_signal(&connector->work);
    pthread_mutex_unlock(&connector->lock);
    pthread_join(connector->thread, NULL);
    for (unsigned i = 0; i < db->engine.n_conns; i++)
        PQfinish(db->engine.conns[i].fresh);
}

void connector_ask(struct db *db, struct db_conn *c)
{
    pthread_mutex_lock(&db->connector.lock);
    c->connect_wanted = true;
    pthread_cond_signal(&db->connector.work);
    pthread_mutex_unlock(&db->connector.lock);
}

bool connector_take(struct db *db, struct db_conn *c, PGconn **ret, char *ret_cause)
{
    bool done;

    pthread_mutex_lock(&db->connector.lock);
    done = c->connect_done;
    if (done) {
        *ret = c->fresh;
        memcpy(ret_cause, c->cause, CAUSE_BYTES);
        c->fresh = NULL;
        c->connect_done = false;
    }
    pthread_mutex_unlock(&db->connector.lock);
    return done;
}
