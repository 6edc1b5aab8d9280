/* The engine: one thread that takes submitted queries, chooses a connection for each, and waits
 * for sockets, the doorbell and deadlines. It never blocks elsewhere: connecting and cancelling
 * are done by threads of their own. Everything here runs on it but db_open(), db_close(),
 * db_submit() and db_ready().
 *
 * Routing. A connection answers in order, so a read behind a write that waits for a lock waits for
 * that lock too. Hence a quarter of the connections is the reads', and they go elsewhere only when
 * those take no more. They are few so that many reads share a sync, and for the same reason one
 * that works on a run of reads gets the next when it is done: behind those they would not be served
 * sooner, and each would wake its backend. The writes share the others
 * evenly, and those are many, because each connection can take part in one group commit: as many
 * writes are made durable by one fsync as there are connections.
 */
#include "pg/internal.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define MAX_QUEUE 1000000
#define BACKOFF_FIRST_NS (10 * NSEC_PER_MSEC)
#define BACKOFF_MAX_NS (250 * NSEC_PER_MSEC)
#define FAILED_LOG_NS (10 * NSEC_PER_SEC)
/* Reads that go to one connection before the next one gets its share of a wake-up: a sync and a
 * system call cost about as much as two short reads. */
#define READ_RUN 8

/* ---- queries ---- */

static struct query_list *list_of(struct engine *e, const struct db_query *q)
{
    return q->statement->kind == DB_READ ? &e->reads : &e->writes;
}

static void enlist(struct engine *e, struct db_query *q)
{
    q->state = QUERY_WAITING;
    q->conn = NULL;
    TAILQ_INSERT_TAIL(list_of(e, q), q, next);
}

void engine_wait_again(struct engine *e, struct db_query *q)
{
    assert(q->state == QUERY_IN_FLIGHT);
    enlist(e, q);
}

void engine_end(struct engine *e, struct db_query *q, const struct db_result *result, PGresult *res)
{
    bool sent = q->state == QUERY_IN_FLIGHT;

    if (q->state == QUERY_WAITING)
        TAILQ_REMOVE(list_of(e, q), q, next);
    heap_remove(&e->deadlines, q);
    count_statement(e->db, q->statement, result, sent ? clock_monotonic_ns() - q->sent_ns : -1);
    trace_statement_end(e->db->options.recorder, &q->trace, q->statement->name, result->sqlstate,
                        result->error != DB_OK, 1);
    q->state = QUERY_ENDED;
    q->result = *result;
    q->owned = res;
    TAILQ_INSERT_TAIL(&e->ended, q, next);
    if (q->group)
        group_returned(e, q->group);
}

void engine_fail(struct engine *e, struct db_query *q, enum db_error error)
{
    engine_end(e, q, &(struct db_result){.error = error}, NULL);
}

/* ---- completions ---- */

static void complete(struct db_query *q)
{
    const struct db_result result = q->result;
    PGresult *owned = q->owned;

    assert(q->state == QUERY_ENDED);
    atomic_fetch_sub(&q->db->n_queries, 1);
    q->done(q->user, &result); /* q may be gone before it returns */
    PQclear(owned);
}

/* One that is completed may be gone, so the next is known before. */
static void complete_list(struct db_query *first)
{
    for (struct db_query *q = first, *next; q; q = next) {
        next = q->next_ended;
        complete(q);
    }
}

void db_complete(struct db_query *ended)
{
    struct db *db = ended->db;

    complete_list(ended);
    pthread_mutex_lock(&db->lock);
    db->n_handed_over--;
    pthread_cond_signal(&db->returned);
    pthread_mutex_unlock(&db->lock);
}

static void count_handed_over(struct db *db, int change)
{
    pthread_mutex_lock(&db->lock);
    db->n_handed_over += (size_t)change;
    pthread_mutex_unlock(&db->lock);
}

/* What has ended, as a list without the engine's head. */
static struct db_query *take_ended(struct engine *e)
{
    struct db_query *first = TAILQ_FIRST(&e->ended), *q;

    TAILQ_FOREACH(q, &e->ended, next)
    {
        q->next_ended = TAILQ_NEXT(q, next);
    }
    TAILQ_INIT(&e->ended);
    return first;
}

/* All of a wake-up go together: the other thread is woken once. */
static void complete_ended(struct engine *e)
{
    const struct db_options *options = &e->db->options;
    struct db_query *ended = take_ended(e);

    if (!ended)
        return;
    if (options->hand_over) {
        count_handed_over(e->db, 1);
        if (options->hand_over(options->hand_over_user, ended) == 0)
            return;
        count_handed_over(e->db, -1);
    }
    complete_list(ended);
}

/* ---- routing ---- */

/* How many connections are the reads': a quarter, and two as soon as there are four. */
static unsigned count_readers(const struct engine *e, unsigned *ret_ready)
{
    unsigned ready = 0, quarter;

    for (unsigned i = 0; i < e->n_conns; i++)
        ready += e->conns[i].state == CONN_READY;
    *ret_ready = ready;
    quarter = (ready + 3) / 4;
    return quarter == 1 && ready >= 4 ? 2 : quarter;
}

static struct db_conn *pick_for_write(struct engine *e)
{
    struct db_conn *best = NULL;
    unsigned ready, readers = count_readers(e, &ready), nth = 0;

    for (unsigned i = 0; i < e->n_conns; i++) {
        struct db_conn *c = &e->conns[i];

        if (c->state == CONN_READY && nth++ < readers && ready > 1)
            continue;
        if (!conn_can_take(c))
            continue;
        if (!best || c->writes < best->writes ||
            (c->writes == best->writes && c->in_flight < best->in_flight))
            best = c;
    }
    return best;
}

static struct db_conn *pick_for_read(struct engine *e)
{
    struct db_conn *best = NULL, *behind_writes = NULL;
    unsigned ready, readers = count_readers(e, &ready), n = 0;

    for (unsigned i = 0; i < e->n_conns && n < readers; i++) {
        struct db_conn *c = &e->conns[i];

        if (!conn_can_take(c))
            continue;
        if (c->writes > 0) {
            if (!behind_writes || c->in_flight < behind_writes->in_flight)
                behind_writes = c;
            continue;
        }
        if (c->unsynced > 0 && c->unsynced < READ_RUN)
            return c;
        n++;
        if (c->in_flight > 0 && !c->unsynced)
            continue; /* it works on an earlier run */
        if (!best || c->in_flight < best->in_flight)
            best = c;
    }
    return n > 0 ? best : behind_writes;
}

static void dispatch_list(struct engine *e, struct query_list *list, int64_t now,
                          struct db_conn *(*pick)(struct engine *))
{
    struct db_query *q;

    while ((q = TAILQ_FIRST(list)) != NULL) {
        struct db_conn *c;

        if (q->cancelled && atomic_load_explicit(q->cancelled, memory_order_relaxed)) {
            engine_fail(e, q, DB_CANCELLED);
            continue;
        }
        c = pick(e);
        if (!c)
            return;
        TAILQ_REMOVE(list, q, next);
        q->state = QUERY_IN_FLIGHT;
        conn_send(c, q, now);
    }
}

/* ---- connections ---- */

static void announce(struct engine *e)
{
    bool ready = false;

    for (unsigned i = 0; i < e->n_conns && !ready; i++)
        ready = e->conns[i].state == CONN_READY;
    if (ready == e->announced)
        return;
    e->announced = ready;
    atomic_store(&e->db->ready, ready);
    if (ready) {
        e->failed_logged_ns = 0;
        log_info("postgres connected");
    }
    if (e->db->options.on_ready)
        e->db->options.on_ready(e->db->options.on_ready_user, ready);
}

static void connect_failed(struct engine *e, struct db_conn *c, const char *cause, int64_t now)
{
    metrics_add(&e->db->counts.connect_failures, 1);
    c->state = CONN_DOWN;
    c->backoff_ns = c->backoff_ns ? 2 * c->backoff_ns : BACKOFF_FIRST_NS;
    if (c->backoff_ns > BACKOFF_MAX_NS)
        c->backoff_ns = BACKOFF_MAX_NS;
    c->retry_ns = now + c->backoff_ns;
    if (e->failed_logged_ns && now - e->failed_logged_ns < FAILED_LOG_NS)
        return;
    e->failed_logged_ns = now;
    log_warn("cannot connect to postgres; trying again", LOG_C("cause", cause));
}

static int watch(struct engine *e, struct db_conn *c, const PGconn *pg)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    c->watches_write = false;
    return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, PQsocket(pg), &event) < 0 ? -errno : 0;
}

static void tend_connection(struct engine *e, struct db_conn *c, int64_t now)
{
    if (c->state == CONN_READY && c->check_ns <= now) {
        conn_check(c, now);
    } else if (c->state == CONN_DOWN && c->retry_ns <= now) {
        c->state = CONN_CONNECTING;
        connector_ask(e->db, c);
    } else if (c->state == CONN_CONNECTING) {
        char cause[CAUSE_BYTES];
        PGconn *pg;
        int error;

        if (!connector_take(e->db, c, &pg, cause))
            return;
        error = pg ? watch(e, c, pg) : 0;
        if (error < 0) {
            copy_cause(cause, strerror(-error));
            PQfinish(pg);
            pg = NULL;
        }
        if (!pg) {
            connect_failed(e, c, cause, now);
            return;
        }
        metrics_add(&e->db->counts.connects, 1);
        conn_opened(c, pg);
    }
}

/* ---- the loop ---- */

/* Takes what was submitted. Returns false when the engine must end. */
static bool take_incoming(struct engine *e)
{
    struct db *db = e->db;
    struct query_list taken = TAILQ_HEAD_INITIALIZER(taken);
    struct db_query *q;
    bool closing;

    pthread_mutex_lock(&db->lock);
    TAILQ_CONCAT(&taken, &db->incoming, next);
    db->asleep = false;
    closing = db->closing;
    pthread_mutex_unlock(&db->lock);
    while ((q = TAILQ_FIRST(&taken)) != NULL) {
        TAILQ_REMOVE(&taken, q, next);
        enlist(e, q);
        if (q->deadline_ns != NEVER)
            heap_add(&e->deadlines, q);
    }
    return !closing;
}

static void expire(struct engine *e, int64_t now)
{
    struct db_query *q;

    while ((q = heap_first(&e->deadlines)) != NULL && q->deadline_ns <= now) {
        heap_remove(&e->deadlines, q);
        if (q->state == QUERY_IN_FLIGHT)
            conn_expire(q->conn, q, now);
        else
            engine_fail(e, q, DB_DEADLINE);
    }
}

/* Milliseconds until something is due, rounded up; -1 for no end. */
static int wait_ms(const struct engine *e, int64_t now)
{
    const struct db_query *q = heap_first(&e->deadlines);
    int64_t due = q && q->deadline_ns < e->held_ns ? q->deadline_ns : e->held_ns;

    for (unsigned i = 0; i < e->n_conns; i++) {
        const struct db_conn *c = &e->conns[i];
        int64_t t = c->state == CONN_READY  ? c->check_ns
                    : c->state == CONN_DOWN ? c->retry_ns
                                            : NEVER;
        if (t < due)
            due = t;
    }
    if (due == NEVER)
        return -1;
    if (due <= now)
        return 0;
    due = (due - now) / NSEC_PER_MSEC + 1;
    return due > 60000 ? 60000 : (int)due;
}

/* Whether the engine may sleep: nothing was submitted meanwhile. From here on db_submit() rings. */
static bool fall_asleep(struct engine *e)
{
    struct db *db = e->db;
    bool idle;

    pthread_mutex_lock(&db->lock);
    idle = TAILQ_EMPTY(&db->incoming) && STAILQ_EMPTY(&db->groups) && !db->closing;
    db->asleep = idle;
    pthread_mutex_unlock(&db->lock);
    return idle;
}

/* Few connections ever wait for their socket to take more, so most wake-ups change nothing. */
static void watch_writes(struct engine *e)
{
    for (unsigned i = 0; i < e->n_conns; i++) {
        struct db_conn *c = &e->conns[i];
        struct epoll_event event = {.events = c->wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                    .data.ptr = c};

        if (c->state != CONN_READY || c->watches_write == c->wants_write)
            continue;
        c->watches_write = c->wants_write;
        if (epoll_ctl(e->epoll_fd, EPOLL_CTL_MOD, PQsocket(c->pg), &event) < 0)
            conn_lost(c, strerror(errno));
    }
}

static void wait_for_events(struct engine *e)
{
    struct epoll_event events[MAX_CONNECTIONS + 1];
    int ms, n;

    watch_writes(e);
    ms = fall_asleep(e) ? wait_ms(e, clock_monotonic_ns()) : 0;
    n = epoll_wait(e->epoll_fd, events, ARRAY_SIZE(events), ms);
    for (int i = 0; i < n; i++) {
        struct db_conn *c = events[i].data.ptr;

        if (!c) {
            uint64_t rings;
            ssize_t got UNUSED = read(e->db->doorbell_fd, &rings, sizeof(rings));
            continue;
        }
        if (c->state == CONN_READY && (events[i].events & ~(uint32_t)EPOLLOUT))
            conn_receive(c);
        if (c->state == CONN_READY && (events[i].events & EPOLLOUT))
            conn_flush(c);
    }
}

/* db_close(): nothing stays without an answer. */
static void fail_all(struct engine *e)
{
    struct db_query *q;

    for (unsigned i = 0; i < e->n_conns; i++) {
        if (e->conns[i].state == CONN_READY)
            conn_lost(&e->conns[i], NULL);
    }
    while ((q = TAILQ_FIRST(&e->reads)) != NULL || (q = TAILQ_FIRST(&e->writes)) != NULL)
        engine_fail(e, q, DB_UNAVAILABLE);
    complete_ended(e);
    announce(e);
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;

    for (;;) {
        int64_t now;

        e->held_ns = group_pump_asked(e);
        if (!take_incoming(e))
            break;
        now = clock_monotonic_ns();
        expire(e, now);
        for (unsigned i = 0; i < e->n_conns; i++)
            tend_connection(e, &e->conns[i], now);
        dispatch_list(e, &e->writes, now, pick_for_write);
        dispatch_list(e, &e->reads, now, pick_for_read);
        for (unsigned i = 0; i < e->n_conns; i++)
            conn_flush(&e->conns[i]);
        complete_ended(e); /* Postgres works meanwhile on what was sent */
        announce(e);
        count_connections(e);
        wait_for_events(e);
    }
    fail_all(e);
    group_end(e);
    return NULL;
}

void engine_ring(struct db *db)
{
    uint64_t one = 1;
    ssize_t n UNUSED = write(db->doorbell_fd, &one, sizeof(one));
}

/* ---- any thread ---- */

int db_submit(struct db_query *q, int64_t deadline_ns, const atomic_bool *cancelled,
              db_done_fn *done, void *user)
{
    struct db *db = q->db;
    bool closing, asleep = false;

    assert(q->state == QUERY_BOUND && q->n_bound == q->n_params);
    if (q->failed)
        return -ENOMEM;
    if (atomic_fetch_add(&db->n_queries, 1) >= db->options.max_queue) {
        atomic_fetch_sub(&db->n_queries, 1);
        return -ENOBUFS;
    }
    q->deadline_ns = deadline_ns;
    q->cancelled = cancelled;
    q->done = done;
    q->user = user;
    q->submitted_ns = clock_monotonic_ns();
    pthread_mutex_lock(&db->lock);
    closing = db->closing;
    if (!closing) {
        q->state = QUERY_WAITING;
        TAILQ_INSERT_TAIL(&db->incoming, q, next);
        asleep = db->asleep;
        db->asleep = false; /* one ring is enough */
    }
    pthread_mutex_unlock(&db->lock);
    if (closing) {
        atomic_fetch_sub(&db->n_queries, 1);
        return -ESHUTDOWN;
    }
    if (asleep)
        engine_ring(db);
    return 0;
}

bool db_ready(const struct db *db)
{
    return atomic_load(&db->ready);
}

/* ---- opening and closing ---- */

static int set_options(struct db *db, const struct db_options *options)
{
    struct db_options *o = &db->options;

    *o = *options;
    o->connections = o->connections ? o->connections : 16;
    o->pool_threads = o->pool_threads ? o->pool_threads : 2;
    o->max_queue = o->max_queue ? o->max_queue : 4096;
    o->max_pool_queue = o->max_pool_queue ? o->max_pool_queue : 256;
    o->statement_timeout_ms = o->statement_timeout_ms ? o->statement_timeout_ms : 30000;
    if (!o->conninfo || o->connections > MAX_CONNECTIONS || o->pool_threads > MAX_CONNECTIONS ||
        o->max_queue > MAX_QUEUE || o->max_pool_queue > MAX_QUEUE || o->statement_timeout_ms < 0 ||
        o->statement_timeout_ms > INT32_MAX)
        return -EINVAL;
    db->conninfo = strdup(o->conninfo);
    o->conninfo = db->conninfo;
    return db->conninfo ? 0 : -ENOMEM;
}

static int engine_init(struct db *db)
{
    struct engine *e = &db->engine;

    e->db = db;
    TAILQ_INIT(&e->reads);
    TAILQ_INIT(&e->writes);
    TAILQ_INIT(&e->ended);
    STAILQ_INIT(&e->held);
    e->n_conns = db->options.connections;
    e->conns = calloc(e->n_conns, sizeof(*e->conns));
    e->deadlines.max = db->options.max_queue;
    e->deadlines.items = calloc(e->deadlines.max, sizeof(struct db_query *));
    if (!e->conns || !e->deadlines.items)
        return -ENOMEM;
    for (unsigned i = 0; i < e->n_conns; i++)
        e->conns[i] = (struct db_conn){.engine = e, .check_ns = NEVER};
    return 0;
}

static int prepare(struct db *db, const struct db_options *options)
{
    struct epoll_event doorbell = {.events = EPOLLIN, .data.ptr = NULL};
    int error = set_options(db, options);

    if (error == 0)
        error = engine_init(db);
    if (error < 0)
        return error;
    db->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    db->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    db->engine.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (db->doorbell_fd < 0 || db->stop_fd < 0 || db->engine.epoll_fd < 0 ||
        epoll_ctl(db->engine.epoll_fd, EPOLL_CTL_ADD, db->doorbell_fd, &doorbell) < 0)
        return -errno;
    return 0;
}

static void release(struct db *db)
{
    if (db->doorbell_fd >= 0)
        close(db->doorbell_fd);
    if (db->stop_fd >= 0)
        close(db->stop_fd);
    if (db->engine.epoll_fd >= 0)
        close(db->engine.epoll_fd);
    pthread_cond_destroy(&db->returned);
    pthread_mutex_destroy(&db->lock);
    free(db->engine.conns);
    free(db->engine.deadlines.items);
    free(db->counts.durations);
    free(db->conninfo);
    free(db);
}

/* Ends every wait outside the engine. */
static void raise_stop(struct db *db)
{
    uint64_t one = 1;
    ssize_t n UNUSED = write(db->stop_fd, &one, sizeof(one));
}

static int start_threads(struct db *db)
{
    int error = canceller_start(&db->canceller);

    if (error < 0)
        return error;
    error = connector_start(db);
    if (error < 0)
        goto no_connector;
    error = pool_start(db);
    if (error < 0)
        goto no_pool;
    error = -pthread_create(&db->engine.thread, NULL, engine_main, &db->engine);
    if (error == 0)
        return 0;
    raise_stop(db);
    pool_stop(db);
no_pool:
    connector_stop(db);
no_connector:
    canceller_stop(db->canceller);
    return error;
}

int db_open(const struct db_options *options, const struct db_statement *statements, size_t n,
            struct db **ret)
{
    struct db *db = calloc(1, sizeof(*db));
    int error;

    if (!db)
        return -ENOMEM;
    db->statements = statements;
    db->n_statements = n;
    db->counts.durations = calloc(n + 1, sizeof(*db->counts.durations));
    if (!db->counts.durations) {
        free(db);
        return -ENOMEM;
    }
    db->doorbell_fd = db->stop_fd = db->engine.epoll_fd = -1;
    pthread_mutex_init(&db->lock, NULL);
    pthread_cond_init(&db->returned, NULL);
    TAILQ_INIT(&db->incoming);
    STAILQ_INIT(&db->groups);
    error = prepare(db, options);
    if (error == 0)
        error = start_threads(db);
    if (error < 0) {
        release(db);
        return error;
    }
    *ret = db;
    return 0;
}

static void await_handed_over(struct db *db)
{
    pthread_mutex_lock(&db->lock);
    while (db->n_handed_over > 0)
        pthread_cond_wait(&db->returned, &db->lock);
    pthread_mutex_unlock(&db->lock);
}

void db_close(struct db *db)
{
    pthread_mutex_lock(&db->lock);
    db->closing = true;
    pthread_mutex_unlock(&db->lock);
    raise_stop(db);
    engine_ring(db);
    pool_stop(db);
    pthread_join(db->engine.thread, NULL);
    connector_stop(db);
    canceller_stop(db->canceller);
    await_handed_over(db);
    release(db);
}
