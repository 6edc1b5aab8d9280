/* Counting what happens, and the location that tells it (grpc_json_metrics). metrics.h says what is
 * kept where; metrics_text.c writes it out. */
#include "metrics.h"
#include "grpc_json.h"

#include <errno.h>
#include <signal.h>

#define LAYOUT_VERSION 2
#define MIN_SLOTS 16
/* Old workers may stay beside new ones after several reloads. */
#define SLOTS_PER_WORKER 4
#define MIN_ZONE_SIZE (16 * 4096)
#define MAX_TEXT_SIZE (64 << 20)
/* Instances come and go with the configurations, and series stay: more than so many are one. */
#define MAX_INSTANCES 64
#define OTHER_INSTANCES "other"

struct grpc_json_metrics {
    ngx_shm_zone_t *zone;
    struct metrics_table *table;
    struct metrics_series *other;      /* requests of no RPC */
    struct metrics_series **upstreams; /* in nginx's order */
    time_t configured;
};

/* This worker's cells, and what they are cells of; NULL: nothing is counted. */
static uint32_t slot;
static struct grpc_json_metrics *mine;

/* ---- numbers ---- */

static const uint16_t statuses[METRICS_N_STATUS - 1] = {
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400,
    401, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415,
    416, 421, 422, 426, 428, 429, 431, 499, 500, 501, 502, 503, 504};

/* Which member of `status` counts an HTTP status; 0: all others. */
static unsigned status_index(ngx_uint_t status)
{
    /* Sorted; most answers are among the first. */
    for (unsigned i = 0; i < METRICS_N_STATUS - 1 && statuses[i] <= status; i++) {
        if (statuses[i] == status)
            return i;
    }
    return METRICS_N_STATUS - 1;
}

unsigned metrics_status_at(unsigned index)
{
    return index < METRICS_N_STATUS - 1 ? statuses[index] : 0;
}

bool metrics_slot_alive(const struct metrics_slot *s)
{
    ngx_atomic_uint_t pid = __atomic_load_n(&s->pid, __ATOMIC_RELAXED);

    return pid && (kill((pid_t)pid, 0) == 0 || errno != ESRCH);
}

static uint64_t load(const struct metrics_series *series, uint32_t i, size_t offset)
{
    const char *member = (const char *)&series->cells[i] + offset;

    return __atomic_load_n((const uint64_t *)(const void *)member, __ATOMIC_RELAXED);
}

uint64_t metrics_sum(const struct metrics_table *table, const struct metrics_series *series,
                     size_t offset)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < table->n_slots; i++)
        sum += load(series, i, offset);
    return sum;
}

uint64_t metrics_open(const struct metrics_table *table, const struct metrics_series *series,
                      size_t begun, size_t ended)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < table->n_slots; i++) {
        uint64_t out = load(series, i, ended), in = load(series, i, begun);

        if (in > out && metrics_slot_alive(&table->slots[i]))
            sum += in - out;
    }
    return sum;
}

static void add(uint64_t *to, uint64_t n)
{
    __atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

static struct metrics_cell *cell_of(struct metrics_series *series)
{
    return &series->cells[slot];
}

/* ---- the zone, when the configuration is loaded ---- */

static struct metrics_table *new_table(ngx_slab_pool_t *pool, ngx_cycle_t *cycle)
{
    ngx_core_conf_t *core = (ngx_core_conf_t *)ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    uint32_t n = ngx_max(MIN_SLOTS, SLOTS_PER_WORKER * (uint32_t)core->worker_processes);
    struct metrics_table *table =
        ngx_slab_calloc(pool, sizeof(*table) + n * sizeof(struct metrics_slot));

    if (!table)
        return NULL;
    table->version = LAYOUT_VERSION;
    table->n_slots = n;
    return table;
}

static struct metrics_series *find_series(const struct metrics_table *table, enum metrics_kind kind,
                                          struct str name)
{
    for (struct metrics_series *s = table->first; s; s = s->next) {
        if (s->kind == kind && str_eq(grpc_json_str(s->name), name))
            return s;
    }
    return NULL;
}

/* The one of that name, made when there is none. Workers of the configuration before may be reading
 * the list meanwhile. */
static struct metrics_series *series(ngx_slab_pool_t *pool, struct metrics_table *table,
                                     enum metrics_kind kind, struct str name)
{
    struct metrics_series *s = find_series(table, kind, name);

    if (s)
        return s;
    s = ngx_slab_calloc(pool, sizeof(*s) + name.n);
    if (!s)
        return NULL;
    s->cells = ngx_slab_calloc(pool, table->n_slots * sizeof(*s->cells));
    if (!s->cells) {
        ngx_slab_free(pool, s);
        return NULL;
    }
    s->kind = kind;
    s->name = (ngx_str_t){name.n, (u_char *)(s + 1)};
    ngx_memcpy(s->name.data, name.p, name.n);
    s->next = table->first;
    __atomic_store_n(&table->first, s, __ATOMIC_RELEASE);
    return s;
}

static ngx_int_t rpc_series(ngx_slab_pool_t *pool, struct metrics_table *table, ngx_cycle_t *cycle,
                            struct grpc_json_main_conf *conf)
{
    struct grpc_json_schema *loaded = conf->schemas.elts;

    for (ngx_uint_t i = 0; i < conf->schemas.nelts; i++) {
        size_t n = schema_method_count(loaded[i].schema);

        loaded[i].series = ngx_pcalloc(cycle->pool, (n + 1) * sizeof(*loaded[i].series));
        if (!loaded[i].series)
            return NGX_ERROR;
        for (size_t k = 0; k < n; k++) {
            loaded[i].series[k] =
                series(pool, table, METRICS_RPC, schema_method_at(loaded[i].schema, k)->path);
            if (!loaded[i].series[k])
                return NGX_ERROR;
        }
    }
    return NGX_OK;
}

static ngx_int_t upstream_series(ngx_slab_pool_t *pool, struct grpc_json_metrics *metrics,
                                 ngx_cycle_t *cycle)
{
    ngx_http_upstream_main_conf_t *all =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_upstream_module);
    ngx_http_upstream_srv_conf_t **upstream = all->upstreams.elts;

    metrics->upstreams =
        ngx_pcalloc(cycle->pool, (all->upstreams.nelts + 1) * sizeof(*metrics->upstreams));
    if (!metrics->upstreams)
        return NGX_ERROR;
    for (ngx_uint_t i = 0; i < all->upstreams.nelts; i++) {
        metrics->upstreams[i] =
            series(pool, metrics->table, METRICS_UPSTREAM, grpc_json_str(upstream[i]->host));
        if (!metrics->upstreams[i])
            return NGX_ERROR;
    }
    return NGX_OK;
}

static unsigned count_series(const struct metrics_table *table, enum metrics_kind kind)
{
    unsigned n = 0;

    for (const struct metrics_series *s = table->first; s; s = s->next)
        n += s->kind == kind;
    return n;
}

static ngx_int_t instance_series(ngx_slab_pool_t *pool, struct metrics_table *table,
                                 const ngx_http_upstream_srv_conf_t *upstream)
{
    const ngx_http_upstream_server_t *server = upstream->servers ? upstream->servers->elts : NULL;

    for (ngx_uint_t i = 0; server && i < upstream->servers->nelts; i++) {
        for (ngx_uint_t k = 0; k < server[i].naddrs; k++) {
            if (count_series(table, METRICS_ATTACH) <= MAX_INSTANCES &&
                !series(pool, table, METRICS_ATTACH, grpc_json_str(server[i].addrs[k].name)))
                return NGX_ERROR;
        }
    }
    return NGX_OK;
}

/* Which upstreams are attached to is known when a variable has a value: each server may be one. */
static ngx_int_t attach_series(ngx_slab_pool_t *pool, struct metrics_table *table,
                               ngx_cycle_t *cycle)
{
    ngx_http_upstream_main_conf_t *all =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_upstream_module);
    ngx_http_upstream_srv_conf_t **upstream = all->upstreams.elts;

    if (!series(pool, table, METRICS_ATTACH, STR(OTHER_INSTANCES)))
        return NGX_ERROR;
    for (ngx_uint_t i = 0; i < all->upstreams.nelts; i++) {
        if (instance_series(pool, table, upstream[i]) != NGX_OK)
            return NGX_ERROR;
    }
    return NGX_OK;
}

static ngx_int_t limit_series(ngx_slab_pool_t *pool, struct metrics_table *table,
                              struct grpc_json_main_conf *conf)
{
    ngx_str_t name;

    for (ngx_uint_t i = 0; i < conf->limit_zones.nelts; i++) {
        name = grpc_json_limit_name(conf, i);
        if (!series(pool, table, METRICS_LIMIT, grpc_json_str(name)))
            return NGX_ERROR;
    }
    name = grpc_json_overload_name();
    if (!series(pool, table, METRICS_LIMIT, grpc_json_str(name)))
        return NGX_ERROR;
    name = grpc_json_unread_name();
    if (!series(pool, table, METRICS_LIMIT, grpc_json_str(name)))
        return NGX_ERROR;
    name = grpc_json_opening_name();
    return series(pool, table, METRICS_LIMIT, grpc_json_str(name)) ? NGX_OK : NGX_ERROR;
}

static ngx_int_t init_zone(ngx_shm_zone_t *zone, void *old)
{
    struct grpc_json_main_conf *conf = zone->data;
    struct grpc_json_metrics *metrics = conf->metrics;
    ngx_slab_pool_t *pool = (ngx_slab_pool_t *)zone->shm.addr;
    /* nginx is still at work on the configuration that this belongs to. */
    ngx_cycle_t *cycle = conf->cycle;

    (void)old;
    pool->log_nomem = 0;
    if (!pool->data)
        pool->data = new_table(pool, cycle);
    metrics->table = pool->data;
    if (metrics->table && metrics->table->version != LAYOUT_VERSION) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "grpc_json_metrics_zone: another build of the module made the zone: restart "
                      "nginx, or change the zone's size");
        return NGX_ERROR;
    }
    if (metrics->table) {
        metrics->configured = ngx_time();
        metrics->other = series(pool, metrics->table, METRICS_RPC, STR(""));
        if (metrics->other && rpc_series(pool, metrics->table, cycle, conf) == NGX_OK &&
            upstream_series(pool, metrics, cycle) == NGX_OK &&
            limit_series(pool, metrics->table, conf) == NGX_OK &&
            (!conf->attaches || attach_series(pool, metrics->table, cycle) == NGX_OK))
            return NGX_OK;
    }
    ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                  "grpc_json_metrics_zone: %uz bytes are too few for the RPCs and upstreams of the "
                  "configuration",
                  zone->shm.size);
    return NGX_ERROR;
}

/* ---- directives ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char is_too_small[] = "wants a size, 64k or more";
static char needs_zone[] = "needs a grpc_json_metrics_zone before it";

char *grpc_json_metrics_set_zone(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_main_conf *conf = data;
    ngx_str_t *args = cf->args->elts, name = ngx_string("grpc_json_metrics");
    ssize_t size = ngx_parse_size(&args[1]);

    (void)command;
    if (conf->metrics)
        return is_duplicate;
    if (size < MIN_ZONE_SIZE)
        return is_too_small;
    conf->metrics = ngx_pcalloc(cf->pool, sizeof(*conf->metrics));
    if (!conf->metrics)
        return NGX_CONF_ERROR;
    conf->cycle = cf->cycle;
    conf->metrics->zone =
        ngx_shared_memory_add(cf, &name, (size_t)size, &ngx_http_grpc_json_module);
    if (!conf->metrics->zone)
        return NGX_CONF_ERROR;
    conf->metrics->zone->init = init_zone;
    conf->metrics->zone->data = conf;
    return NGX_CONF_OK;
}

static ngx_int_t handler(ngx_http_request_t *r);

char *grpc_json_metrics_set(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_main_conf *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    (void)command;
    (void)data;
    if (!conf->metrics)
        return needs_zone;
    core->handler = handler;
    return NGX_CONF_OK;
}

/* ---- workers ---- */

/* What a worker that was killed had open ends with it. */
static void close_all(const struct metrics_table *table, uint32_t i)
{
    for (struct metrics_series *s = table->first; s; s = s->next) {
        __atomic_store_n(&s->cells[i].ended, load(s, i, offsetof(struct metrics_cell, begun)),
                         __ATOMIC_RELAXED);
        __atomic_store_n(&s->cells[i].session_ended,
                         load(s, i, offsetof(struct metrics_cell, session_begun)),
                         __ATOMIC_RELAXED);
        __atomic_store_n(&s->cells[i].queued, 0, __ATOMIC_RELAXED);
    }
}

void grpc_json_metrics_start(ngx_cycle_t *cycle)
{
    struct grpc_json_main_conf *conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_grpc_json_module);
    struct metrics_table *table = conf && conf->metrics ? conf->metrics->table : NULL;

    mine = table ? conf->metrics : NULL;
    for (uint32_t i = 0; table && i < table->n_slots; i++) {
        ngx_atomic_uint_t pid = table->slots[i].pid;

        slot = i;
        if ((pid == 0 || !metrics_slot_alive(&table->slots[i])) &&
            ngx_atomic_cmp_set(&table->slots[i].pid, pid, (ngx_atomic_uint_t)ngx_pid)) {
            close_all(table, i);
            return;
        }
    }
    /* More workers than slots: the last one is shared. */
}

/* ---- requests ---- */

static struct metrics_series *series_of(ngx_http_request_t *r, struct grpc_json_main_conf *conf)
{
    size_t i;
    const struct grpc_json_schema *loaded = grpc_json_loaded(r, &i);

    return loaded && loaded->series ? loaded->series[i] : conf->metrics->other;
}

static void add_duration(struct metrics_cell *cell, uint64_t ms)
{
    add(&cell->bucket[metrics_bucket_of(&metrics_gateway_durations, ms)], 1);
    add(&cell->total_ms, ms);
}

static void on_end(void *data)
{
    struct metrics_series *s = data;

    add(&cell_of(s)->ended, 1);
}

/* PRECONTENT phase, once a request. */
static ngx_int_t begin(ngx_http_request_t *r)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_conf *location = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx;
    ngx_http_cleanup_t *cleanup;
    struct metrics_series *s;

    if (!conf->metrics || !location->enabled || r != r->main)
        return NGX_DECLINED;
    ctx = grpc_json_ctx(r);
    cleanup = ngx_http_cleanup_add(r, 0);
    if (!ctx || !cleanup)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    (void)grpc_json_route(r, ctx);
    s = series_of(r, conf);
    add(&cell_of(s)->begun, 1);
    cleanup->handler = on_end;
    cleanup->data = s;
    return NGX_DECLINED;
}

/* One try with the upstream for each of nginx's states; the gRPC code is the last one's. */
static void count_upstream(ngx_http_request_t *r, struct grpc_json_metrics *metrics,
                           const ngx_http_upstream_srv_conf_t *called, int code)
{
    ngx_http_upstream_main_conf_t *all = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
    ngx_http_upstream_srv_conf_t **upstream = all->upstreams.elts;
    ngx_http_upstream_state_t *state = r->upstream_states->elts;
    struct metrics_cell *cell = NULL;

    for (ngx_uint_t i = 0; i < all->upstreams.nelts; i++) {
        if (upstream[i] == called)
            cell = cell_of(metrics->upstreams[i]);
    }
    if (!cell)
        return;
    for (ngx_uint_t i = 0; i < r->upstream_states->nelts; i++) {
        if (!state[i].peer)
            continue;
        add(&cell->status[status_index(state[i].status)], 1);
        /* -1: not known, because it was cut off. */
        if (state[i].response_time != (ngx_msec_t)-1)
            add_duration(cell, state[i].response_time);
        add(&cell->received, (uint64_t)state[i].bytes_received);
        add(&cell->sent, (uint64_t)state[i].bytes_sent);
    }
    if (code >= 0 && code < METRICS_NO_CODE)
        add(&cell->code[code], 1);
}

static uint64_t elapsed_ms(ngx_http_request_t *r)
{
    ngx_time_t *now = ngx_timeofday();
    ngx_msec_int_t ms =
        (ngx_msec_int_t)((now->sec - r->start_sec) * 1000 +
                         ((ngx_msec_int_t)now->msec - (ngx_msec_int_t)r->start_msec));

    return ms > 0 ? (uint64_t)ms : 0;
}

void grpc_json_metrics_limited(const struct grpc_json_main_conf *conf, ngx_str_t name)
{
    struct metrics_series *limit = NULL;

    if (conf->metrics)
        limit = find_series(conf->metrics->table, METRICS_LIMIT, grpc_json_str(name));
    if (limit)
        add(&cell_of(limit)->ended, 1);
}

/* LOG phase. */
static ngx_int_t count(ngx_http_request_t *r)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);
    int code = ctx ? ctx->grpc_status : -1;
    struct metrics_cell *cell;
    uint64_t ms = elapsed_ms(r);

    if (!conf->metrics || r != r->main)
        return NGX_OK;
    cell = cell_of(series_of(r, conf));
    add(&cell->status[status_index(r->err_status ? r->err_status : r->headers_out.status)], 1);
    if (code >= 0 && code < METRICS_NO_CODE)
        add(&cell->code[code], 1);
    add_duration(cell, ms);
    add(&cell->received, (uint64_t)r->request_length);
    add(&cell->sent, (uint64_t)r->connection->sent);
    if (ctx && ctx->called)
        count_upstream(r, conf->metrics, ctx->called, code);
    if (ctx && ctx->limited.len)
        grpc_json_metrics_limited(conf, ctx->limited);
    return NGX_OK;
}

/* ---- sessions that outlive their request ---- */

void *grpc_json_metrics_session(ngx_http_request_t *r)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    struct metrics_series *s = conf->metrics ? series_of(r, conf) : NULL;

    if (s)
        add(&cell_of(s)->session_begun, 1);
    return s;
}

void grpc_json_metrics_session_bytes(void *session, size_t received, size_t sent)
{
    struct metrics_series *s = session;

    if (!s)
        return;
    add(&cell_of(s)->received, received);
    add(&cell_of(s)->sent, sent);
}

void grpc_json_metrics_session_end(void *session)
{
    struct metrics_series *s = session;

    if (s)
        add(&cell_of(s)->session_ended, 1);
}

void grpc_json_metrics_session_slow(void *session)
{
    struct metrics_series *s = session;

    if (s)
        add(&cell_of(s)->session_slow, 1);
}

/* ---- sessions that share streams ---- */

#define MEMBER(name) offsetof(struct metrics_cell, name)

static const size_t attach_counts[ATTACH_N_COUNTS] = {
    [ATTACH_LINKS_BEGUN] = MEMBER(begun),
    [ATTACH_LINKS_ENDED] = MEMBER(ended),
    [ATTACH_CALLS_BEGUN] = MEMBER(session_begun),
    [ATTACH_CALLS_ENDED] = MEMBER(session_ended),
    [ATTACH_RESUMED] = MEMBER(resumed),
    [ATTACH_MESSAGES_SENT] = MEMBER(messages_sent),
    [ATTACH_BYTES_SENT] = MEMBER(sent),
    [ATTACH_MESSAGES_RECEIVED] = MEMBER(messages_received),
    [ATTACH_BYTES_RECEIVED] = MEMBER(received),
    [ATTACH_DELIVERIES] = MEMBER(deliveries),
};

void *grpc_json_metrics_instance(ngx_str_t address)
{
    struct metrics_series *s = NULL;

    if (!mine)
        return NULL;
    s = find_series(mine->table, METRICS_ATTACH, grpc_json_str(address));
    return s ? s : find_series(mine->table, METRICS_ATTACH, STR(OTHER_INSTANCES));
}

void grpc_json_metrics_attach(void *instance, enum grpc_json_attach_count what, size_t n)
{
    struct metrics_series *s = instance;
    char *cell = s ? (char *)cell_of(s) : NULL;

    if (cell)
        add((uint64_t *)(void *)(cell + attach_counts[what]), n);
}

void grpc_json_metrics_accepted(void *instance, ngx_msec_t ms)
{
    struct metrics_series *s = instance;

    if (s)
        add_duration(cell_of(s), ms);
}

void grpc_json_metrics_queued(size_t bytes)
{
    if (mine)
        __atomic_store_n(&cell_of(mine->other)->queued, bytes, __ATOMIC_RELAXED);
}

/* ---- telling ---- */

static ngx_int_t answer(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                        const struct grpc_json_metrics *metrics)
{
    struct buf *text = grpc_json_scratch_buf(MAX_TEXT_SIZE);

    metrics_print(metrics->table, metrics->configured, text);
    if (text->failed)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->answer.status = NGX_HTTP_OK;
    ngx_str_set(&ctx->answer.content_type, METRICS_CONTENT_TYPE);
    ctx->answer.body = grpc_json_copy(r, buf_str(text));
    return ctx->answer.body.data ? grpc_json_send(r, ctx) : NGX_ERROR;
}

static ngx_int_t handler(ngx_http_request_t *r)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    struct grpc_json_ctx *ctx;
    ngx_int_t rc;

    if (!grpc_json_begin_document(r, &rc))
        return rc;
    ctx = grpc_json_ctx(r);
    return ctx ? answer(r, ctx, conf->metrics) : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

ngx_int_t grpc_json_metrics_install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *precontent =
        ngx_array_push(&core->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    ngx_http_handler_pt *log = ngx_array_push(&core->phases[NGX_HTTP_LOG_PHASE].handlers);

    if (!precontent || !log)
        return NGX_ERROR;
    *precontent = begin;
    *log = count;
    return NGX_OK;
}
