/* Limits, each a zone of shared memory in which callers are counted by a key of the configuration's
 * choice: an address, a credential. The key itself is not kept, only a hash of it. A zone counts
 * either requests in a time (lib/base/rate.h) or what is open (stream_count.c): streams, of which
 * server streams count while their request is in work and WebSockets while their session lives, or
 * connections (connections.c).
 *
 * What a caller has left is told with every answer, in the fields of
 * draft-ietf-httpapi-ratelimit-headers (revision 09: RateLimit and RateLimit-Policy as lists of
 * policies); a request too many gets 429 with Retry-After, a stream too many 429. */
#include "limit.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#define MIN_ZONE_SIZE (8 * 4096)
/* `"name";r=…;t=…` with numbers of 20 digits. */
#define MAX_ITEM_EXTRA 64

/* A stream that is counted. It outlives its request when that becomes a session. */
struct grpc_json_hold {
    size_t n;
    struct {
        struct limit_zone *zone;
        unsigned char key[STREAM_COUNT_KEY_SIZE];
    } places[];
};

/* What a zone said about a request. */
struct outcome {
    const struct limit_zone *zone;
    struct rate_verdict verdict;
};

static ngx_http_output_header_filter_pt next_header;

/* ---- configuration ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char is_unknown[] = "names a zone that no grpc_json_limit_zone before it has defined";
static char is_no_zone[] = "wants zone=NAME:SIZE (a name of letters, digits, - and _; 32k or more) "
                           "and rate=REQUESTS/TIME, such as 600/1m, or streams=NUMBER or "
                           "connections=NUMBER";
static char is_no_address[] = "counts connections by $grpc_json_client alone";
static char counts_connections[] = "names a zone of connections, which holds everywhere";

static struct limit_zone *find_zone(ngx_conf_t *cf, ngx_str_t name)
{
    struct grpc_json_main_conf *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    struct limit_zone **zone = conf->limit_zones.elts;

    for (ngx_uint_t i = 0; i < conf->limit_zones.nelts; i++) {
        if (str_eq(grpc_json_str(zone[i]->name), grpc_json_str(name)))
            return zone[i];
    }
    return NULL;
}

/* All that nginx has left of the zone's pages becomes one table. */
static void *make_table(const struct limit_zone *zone)
{
    for (ngx_uint_t pages = zone->pool->pfree; pages > 0; pages--) {
        size_t n = pages * ngx_pagesize;
        void *memory = ngx_slab_alloc(zone->pool, n);

        if (memory && zone->most)
            return stream_count_init(memory, n);
        if (memory)
            return rate_table_init(memory, n);
    }
    return NULL;
}

/* A reload finds its callers again: nginx keeps a zone of the same name and size. */
static ngx_int_t init_zone(ngx_shm_zone_t *memory, void *old)
{
    struct limit_zone *zone = memory->data;
    const struct limit_zone *before = old;

    if (before && !before->most != !zone->most) {
        ngx_log_error(NGX_LOG_EMERG, memory->shm.log, 0,
                      "grpc_json_limit_zone: \"%V\" has counted something else until now: give it "
                      "another name or size",
                      &zone->name);
        return NGX_ERROR;
    }
    zone->pool = (ngx_slab_pool_t *)memory->shm.addr;
    zone->pool->log_nomem = 0;
    if (!zone->pool->data)
        zone->pool->data = make_table(zone);
    zone->table.memory = zone->pool->data;
    return zone->table.memory ? NGX_OK : NGX_ERROR;
}

static bool name_valid(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_'))
            return false;
    }
    return name.n > 0;
}

/* "zone=NAME:SIZE" */
static bool parse_zone(ngx_str_t text, ngx_str_t *ret_name, size_t *ret_size)
{
    u_char *colon = ngx_strlchr(text.data, text.data + text.len, ':');
    ssize_t size;
    ngx_str_t rest;

    if (text.len < 5 || ngx_strncmp(text.data, "zone=", 5) != 0 || !colon)
        return false;
    *ret_name = (ngx_str_t){(size_t)(colon - text.data) - 5, text.data + 5};
    rest = (ngx_str_t){(size_t)(text.data + text.len - colon) - 1, colon + 1};
    size = ngx_parse_size(&rest);
    *ret_size = (size_t)size;
    return size >= MIN_ZONE_SIZE && name_valid(grpc_json_str(*ret_name));
}

/* "rate=REQUESTS/TIME", "streams=NUMBER" or "connections=NUMBER" */
static bool parse_limit(ngx_str_t text, struct limit_zone *zone)
{
    static const size_t rate = sizeof("rate=") - 1, streams = sizeof("streams=") - 1,
                        connections = sizeof("connections=") - 1;
    ngx_int_t most;
    size_t n;

    if (str_starts(grpc_json_str(text), STR("rate=")))
        return rate_parse(str_skip(grpc_json_str(text), rate), &zone->limit) == 0;
    zone->connections = str_starts(grpc_json_str(text), STR("connections="));
    if (!zone->connections && !str_starts(grpc_json_str(text), STR("streams=")))
        return false;
    n = zone->connections ? connections : streams;
    most = ngx_atoi(text.data + n, text.len - n);
    zone->most = (uint32_t)most;
    return most > 0 && most <= INT32_MAX;
}

char *grpc_json_limit_set_zone(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_main_conf *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    struct limit_zone *zone = ngx_pcalloc(cf->pool, sizeof(*zone));
    struct limit_zone **slot = ngx_array_push(&conf->limit_zones);
    ngx_http_compile_complex_value_t compile = {0};
    ngx_str_t *args = cf->args->elts;
    size_t size;

    (void)command;
    (void)data;
    if (!zone || !slot)
        return NGX_CONF_ERROR;
    *slot = zone;
    if (!parse_zone(args[2], &zone->name, &size) || !parse_limit(args[3], zone))
        return is_no_zone;
    if (zone->connections) {
        if (!str_eq(grpc_json_str(args[1]), STR("$grpc_json_client")))
            return is_no_address;
        if (conf->connections)
            return is_duplicate;
        conf->connections = zone;
    }
    compile.cf = cf;
    compile.value = &args[1];
    compile.complex_value = &zone->key;
    if (ngx_http_compile_complex_value(&compile) != NGX_OK)
        return NGX_CONF_ERROR;
    zone->memory = ngx_shared_memory_add(cf, &zone->name, size, &ngx_http_grpc_json_module);
    if (!zone->memory)
        return NGX_CONF_ERROR;
    if (zone->memory->data)
        return is_duplicate;
    zone->memory->init = init_zone;
    zone->memory->data = zone;
    return NGX_CONF_OK;
}

char *grpc_json_limit_set(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_conf *conf = data;
    ngx_str_t *args = cf->args->elts;
    struct limit_zone **zone;

    (void)command;
    if (conf->limits != NGX_CONF_UNSET_PTR)
        return is_duplicate;
    conf->limits = NULL;
    if (cf->args->nelts == 2 && str_eq(grpc_json_str(args[1]), STR("off")))
        return NGX_CONF_OK;
    conf->limits = ngx_array_create(cf->pool, cf->args->nelts, sizeof(*zone));
    for (ngx_uint_t i = 1; conf->limits && i < cf->args->nelts; i++) {
        zone = ngx_array_push(conf->limits);
        if (!zone)
            return NGX_CONF_ERROR;
        *zone = find_zone(cf, args[i]);
        if (!*zone)
            return is_unknown;
        if ((*zone)->connections)
            return counts_connections;
    }
    return conf->limits ? NGX_CONF_OK : NGX_CONF_ERROR;
}

ngx_str_t grpc_json_limit_name(const struct grpc_json_main_conf *conf, ngx_uint_t i)
{
    struct limit_zone **zone = conf->limit_zones.elts;

    return zone[i]->name;
}

/* ---- counting ---- */

static EVP_MD_CTX *digest_ctx; /* NULL until the first request; then it knows its algorithm */

static void forget_algorithm(void)
{
    EVP_MD_CTX_free(digest_ctx);
    digest_ctx = NULL;
}

static bool digest(ngx_str_t key, unsigned char ret[EVP_MAX_MD_SIZE])
{
    /* OpenSSL looks an algorithm up by name each time that it is told one: more work than hashing.
     */
    const EVP_MD *algorithm = digest_ctx ? NULL : EVP_sha256();

    if (!digest_ctx)
        digest_ctx = EVP_MD_CTX_new();
    if (!digest_ctx)
        return false;
    if (EVP_DigestInit_ex(digest_ctx, algorithm, NULL) != 1) {
        forget_algorithm();
        return false;
    }
    return EVP_DigestUpdate(digest_ctx, key.data, key.len) == 1 &&
           EVP_DigestFinal_ex(digest_ctx, ret, NULL) == 1;
}

/* What is counted by: nobody finds another's place in the table, and the table holds no
 * credential. What goes wrong here must not be found by a connection with TLS, which asks the same
 * queue of errors. */
ngx_int_t limit_hash_key(ngx_str_t key, unsigned char ret[EVP_MAX_MD_SIZE])
{
    if (digest(key, ret))
        return NGX_OK;
    ERR_clear_error();
    return NGX_ERROR;
}

/* The caller, as a zone knows it. NGX_DECLINED: the zone does not count this request. */
static ngx_int_t caller_of(ngx_http_request_t *r, struct limit_zone *zone,
                           unsigned char ret[EVP_MAX_MD_SIZE])
{
    ngx_str_t key;

    if (ngx_http_complex_value(r, &zone->key, &key) != NGX_OK)
        return NGX_ERROR;
    return key.len == 0 ? NGX_DECLINED : limit_hash_key(key, ret);
}

/* NGX_OK: *ret holds the verdict; NGX_DECLINED: the zone does not count this request. */
static ngx_int_t ask(ngx_http_request_t *r, struct limit_zone *zone, struct rate_verdict *ret)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    ngx_int_t rc = caller_of(r, zone, hash);

    if (rc != NGX_OK)
        return rc;
    /* nginx frees this lock when a worker dies with it. */
    ngx_shmtx_lock(&zone->pool->mutex);
    *ret = rate_take(zone->table.rates, &zone->limit, hash, (uint64_t)ngx_current_msec * 1000);
    ngx_shmtx_unlock(&zone->pool->mutex);
    return NGX_OK;
}

static ngx_int_t refuse_with(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                             const struct limit_zone *zone, struct problem *problem)
{
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0, "grpc_json: over the limit \"%V\"",
                  &zone->name);
    if (grpc_json_set_problem(r, ctx, problem) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->limited = zone->name;
    ctx->state = GRPC_JSON_REFUSED;
    return problem->status;
}

static ngx_int_t refuse(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                        const struct outcome *outcome)
{
    const struct limit_zone *zone = outcome->zone;
    struct problem problem;

    problem_init(&problem, NGX_HTTP_TOO_MANY_REQUESTS);
    problem.retry_after = (unsigned)outcome->verdict.required_s;
    problem.detail = arena_printf(
        grpc_json_scratch(), "More than %llu requests in %llu s; try again in %llu s.",
        (unsigned long long)zone->limit.quota, (unsigned long long)rate_window_s(&zone->limit),
        (unsigned long long)outcome->verdict.required_s);
    return refuse_with(r, ctx, zone, &problem);
}

/* ---- what is open ---- */

int limit_enter(struct limit_zone *zone, const unsigned char key[STREAM_COUNT_KEY_SIZE],
                uint32_t most)
{
    int err;

    ngx_shmtx_lock(&zone->pool->mutex);
    err = stream_count_enter(zone->table.streams, key, (uint32_t)ngx_pid, most);
    ngx_shmtx_unlock(&zone->pool->mutex);
    return err;
}

void limit_leave(struct limit_zone *zone, const unsigned char key[STREAM_COUNT_KEY_SIZE])
{
    ngx_shmtx_lock(&zone->pool->mutex);
    stream_count_leave(zone->table.streams, key, (uint32_t)ngx_pid);
    ngx_shmtx_unlock(&zone->pool->mutex);
}

ngx_int_t limit_refuse(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                       const struct limit_zone *zone, int err)
{
    const char *what = zone->connections ? "connections" : "streams";
    struct problem problem;

    if (err == -EBUSY) {
        problem_init(&problem, NGX_HTTP_TOO_MANY_REQUESTS);
        problem_add(&problem, str_of(what), STR("are too many at once"));
        problem.detail = arena_printf(grpc_json_scratch(), "More than %u %s at once.",
                                      (unsigned)zone->most, what);
    } else {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "grpc_json_limit_zone: \"%V\" has no room for another caller", &zone->name);
        problem_init(&problem, NGX_HTTP_SERVICE_UNAVAILABLE);
    }
    return refuse_with(r, ctx, zone, &problem);
}

/* ---- streams ---- */

void grpc_json_limit_release(struct grpc_json_hold *hold)
{
    for (size_t i = 0; hold && i < hold->n; i++)
        limit_leave(hold->places[i].zone, hold->places[i].key);
    free(hold);
}

struct grpc_json_hold *grpc_json_limit_take(struct grpc_json_ctx *ctx)
{
    struct grpc_json_hold *hold = ctx->hold ? *ctx->hold : NULL;

    if (hold)
        *ctx->hold = NULL;
    return hold;
}

static void end_of_request(void *data)
{
    struct grpc_json_hold **hold = data;

    grpc_json_limit_release(*hold);
}

/* Room for what n zones hold of the request. */
static ngx_int_t make_hold(ngx_http_request_t *r, struct grpc_json_ctx *ctx, size_t n)
{
    ngx_pool_cleanup_t *cleanup;

    if (ctx->hold)
        return NGX_OK;
    cleanup = ngx_pool_cleanup_add(r->pool, sizeof(*ctx->hold));
    if (!cleanup)
        return NGX_ERROR;
    ctx->hold = cleanup->data;
    *ctx->hold = calloc(1, sizeof(**ctx->hold) + n * sizeof((*ctx->hold)->places[0]));
    cleanup->handler = end_of_request;
    return *ctx->hold ? NGX_OK : NGX_ERROR;
}

static bool is_stream(ngx_http_request_t *r, struct grpc_json_ctx *ctx)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);

    /* What nginx sends elsewhere is the same request, and has been counted. */
    return conf->enabled && !r->internal && grpc_json_route(r, ctx) == 0 &&
           (ctx->match.method->server_streaming || ctx->match.method->client_streaming);
}

/* Counts a stream, which make_hold() has room for. NGX_DECLINED: it may go on. */
static ngx_int_t count_stream(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                              struct limit_zone *zone)
{
    struct grpc_json_hold *hold = *ctx->hold;
    unsigned char hash[EVP_MAX_MD_SIZE];
    ngx_int_t rc = caller_of(r, zone, hash);
    int err;

    if (rc != NGX_OK)
        return rc;
    err = limit_enter(zone, hash, zone->most);
    if (err)
        return limit_refuse(r, ctx, zone, err);
    hold->places[hold->n].zone = zone;
    ngx_memcpy(hold->places[hold->n++].key, hash, STREAM_COUNT_KEY_SIZE);
    return NGX_DECLINED;
}

/* A worker that died has left its streams behind; one of that number will not do so again. */
static bool is_gone(uint32_t process)
{
    return process == (uint32_t)ngx_pid || (kill((pid_t)process, 0) == -1 && errno == ESRCH);
}

static void sweep(ngx_cycle_t *cycle)
{
    struct grpc_json_main_conf *conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_grpc_json_module);
    struct limit_zone **zone = conf ? conf->limit_zones.elts : NULL;

    for (ngx_uint_t i = 0; zone && i < conf->limit_zones.nelts; i++) {
        if (zone[i]->most == 0)
            continue;
        ngx_shmtx_lock(&zone[i]->pool->mutex);
        stream_count_sweep(zone[i]->table.streams, is_gone);
        ngx_shmtx_unlock(&zone[i]->pool->mutex);
    }
}

void grpc_json_limit_start(ngx_cycle_t *cycle)
{
    sweep(cycle);
}

void grpc_json_limit_exit(ngx_cycle_t *cycle)
{
    forget_algorithm();
    sweep(cycle);
}

/* ---- the phase ---- */

/* NGX_DECLINED: the request may go on. */
static ngx_int_t ask_rate(ngx_http_request_t *r, struct grpc_json_ctx *ctx, struct limit_zone *zone)
{
    struct rate_verdict verdict;
    struct outcome *outcome;
    ngx_int_t rc = ask(r, zone, &verdict);

    if (rc == NGX_DECLINED)
        return rc;
    outcome = rc == NGX_OK ? ngx_array_push(ctx->limits) : NULL;
    if (!outcome)
        return NGX_ERROR;
    *outcome = (struct outcome){zone, verdict};
    return verdict.allowed ? NGX_DECLINED : refuse(r, ctx, outcome);
}

static ngx_int_t ask_streams(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                             struct limit_zone *zone, size_t n)
{
    if (!is_stream(r, ctx))
        return NGX_DECLINED;
    return make_hold(r, ctx, n) == NGX_OK ? count_stream(r, ctx, zone) : NGX_ERROR;
}

/* PREACCESS phase. The zones are asked in the order of the directive; the first that refuses ends
 * it. */
static ngx_int_t preaccess(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    struct limit_zone **zone = conf->limits ? conf->limits->elts : NULL;
    ngx_int_t rc = NGX_DECLINED;
    struct grpc_json_ctx *ctx;

    if (!zone || r != r->main)
        return NGX_DECLINED;
    ctx = grpc_json_ctx(r);
    if (!ctx)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (ctx->limits)
        return NGX_DECLINED;
    ctx->limits = ngx_array_create(r->pool, conf->limits->nelts, sizeof(struct outcome));
    if (!ctx->limits)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    for (ngx_uint_t i = 0; i < conf->limits->nelts && rc == NGX_DECLINED; i++) {
        if (zone[i]->most)
            rc = ask_streams(r, ctx, zone[i], conf->limits->nelts);
        else
            rc = ask_rate(r, ctx, zone[i]);
    }
    return rc == NGX_ERROR ? NGX_HTTP_INTERNAL_SERVER_ERROR : rc;
}

/* ---- telling ---- */

/* RateLimit-Policy: "address";q=600;w=60 and RateLimit: "address";r=599;t=1 */
static ngx_int_t push_fields(ngx_http_request_t *r, const ngx_array_t *limits)
{
    const struct outcome *outcome = limits->elts;
    ngx_str_t policy, left;
    size_t size = 0;
    u_char *p, *q;

    for (ngx_uint_t i = 0; i < limits->nelts; i++)
        size += outcome[i].zone->name.len + MAX_ITEM_EXTRA;
    p = policy.data = ngx_pnalloc(r->pool, size);
    q = left.data = ngx_pnalloc(r->pool, size);
    if (!p || !q)
        return NGX_ERROR;
    for (ngx_uint_t i = 0; i < limits->nelts; i++) {
        const struct limit_zone *zone = outcome[i].zone;
        const struct rate_verdict *verdict = &outcome[i].verdict;
        const char *comma = i ? ", " : "";

        p = ngx_sprintf(p, "%s\"%V\";q=%uL;w=%uL", comma, &zone->name, zone->limit.quota,
                        rate_window_s(&zone->limit));
        q = ngx_sprintf(q, "%s\"%V\";r=%uL;t=%uL", comma, &zone->name, verdict->remaining,
                        verdict->reset_s);
    }
    policy.len = (size_t)(p - policy.data);
    left.len = (size_t)(q - left.data);
    return grpc_json_push_header(r, "RateLimit-Policy", policy) &&
                   grpc_json_push_header(r, "RateLimit", left)
               ? NGX_OK
               : NGX_ERROR;
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    struct grpc_json_ctx *ctx = ngx_http_get_module_ctx(r, ngx_http_grpc_json_module);

    if (r == r->main && ctx && ctx->limits && ctx->limits->nelts &&
        push_fields(r, ctx->limits) != NGX_OK)
        return NGX_ERROR;
    return next_header(r);
}

ngx_int_t grpc_json_limit_install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *handler = ngx_array_push(&core->phases[NGX_HTTP_PREACCESS_PHASE].handlers);

    if (!handler)
        return NGX_ERROR;
    *handler = preaccess;
    next_header = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    return NGX_OK;
}
