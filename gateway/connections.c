/* How many connections an address has, over all workers: a grpc_json_limit_zone with connections=N.
 *
 * A connection counts from the moment it is accepted, so that headers that do not come and
 * handshakes of TLS count as well, of which nginx has no request yet. One that is open when the
 * address has N already may send a request, to be told so, and is closed after it; those beyond an
 * eighth more are closed at once.
 *
 * Not all that takes part is a connection of its client's. Requests of HTTP/2 share one, and count
 * besides it while they are in work. A proxy that is believed (real_ip_header) has connections for
 * many clients: once it has named another one, its connection does not count any more, and each
 * request does, for its client. A WebSocket counts as a stream, and not as a connection. */
#include "limit.h"

#include <errno.h>

/* A place in the zone, which a cleanup of the connection's pool gives back, or of the request's. */
struct place {
    struct limit_zone *zone;         /* NULL: none is held */
    const struct sockaddr *sockaddr; /* a connection's own address */
    bool beyond;                     /* N are open besides */
    unsigned char key[STREAM_COUNT_KEY_SIZE];
};

static void give_back(void *data)
{
    struct place *place = data;

    if (place->zone)
        limit_leave(place->zone, place->key);
    place->zone = NULL;
}

static struct place *find(const ngx_pool_t *pool)
{
    for (ngx_pool_cleanup_t *cleanup = pool->cleanup; cleanup; cleanup = cleanup->next) {
        if (cleanup->handler == give_back)
            return cleanup->data;
    }
    return NULL;
}

/* A place without a zone; NULL without memory. */
static struct place *make(ngx_pool_t *pool, const ngx_connection_t *c)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(pool, sizeof(struct place));
    unsigned char hash[EVP_MAX_MD_SIZE];
    u_char client[GRPC_JSON_CLIENT_SIZE];
    struct place *place;

    if (!cleanup || limit_hash_key(grpc_json_client(c, client), hash) != NGX_OK)
        return NULL;
    place = cleanup->data;
    *place = (struct place){.sockaddr = c->sockaddr};
    ngx_memcpy(place->key, hash, sizeof(place->key));
    cleanup->handler = give_back;
    return place;
}

static int enter(struct place *place, struct limit_zone *zone, uint32_t most)
{
    int err = limit_enter(zone, place->key, most);

    if (!err)
        place->zone = zone;
    return err;
}

void grpc_json_connections_leave(ngx_connection_t *c)
{
    struct place *place = find(c->pool);

    if (place)
        give_back(place);
}

/* ---- connections ---- */

/* 0: the connection may stay; -EBUSY, -ENOMEM. When the zone has no room for another caller, it is
 * its requests that are refused. */
static int admit(ngx_connection_t *c, struct limit_zone *zone)
{
    struct place *place = make(c->pool, c);
    int err;

    if (!place)
        return -ENOMEM;
    err = enter(place, zone, zone->most);
    if (err == -EBUSY) {
        place->beyond = true;
        err = enter(place, zone, zone->most + zone->most / 8 + 1);
    }
    return err == -EBUSY ? err : 0;
}

/* In place of nginx's own handler of accepted connections. A unix socket has no addresses: what
 * comes by it comes from a proxy. */
static void on_accept(ngx_connection_t *c)
{
    struct grpc_json_main_conf *conf =
        ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_grpc_json_module);

    int err = c->sockaddr->sa_family == AF_UNIX ? 0 : admit(c, conf->connections);

    if (err == -EBUSY) {
        ngx_log_error(NGX_LOG_INFO, c->log, 0, "grpc_json: over the limit \"%V\"",
                      &conf->connections->name);
        grpc_json_metrics_limited(conf, conf->connections->name);
    }
    if (err)
        ngx_http_close_connection(c);
    else
        ngx_http_init_connection(c);
}

void grpc_json_connections_init(ngx_cycle_t *cycle)
{
    struct grpc_json_main_conf *conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_grpc_json_module);
    ngx_listening_t *listening = cycle->listening.elts;

    if (!conf || !conf->connections)
        return;
    for (ngx_uint_t i = 0; i < cycle->listening.nelts; i++) {
        if (listening[i].handler == ngx_http_init_connection)
            listening[i].handler = on_accept;
    }
}

/* ---- requests ---- */

/* NGX_DECLINED: it may go on. */
static ngx_int_t count_request(ngx_http_request_t *r, struct limit_zone *zone)
{
    struct grpc_json_ctx *ctx = grpc_json_ctx(r);
    struct place *place = ctx ? make(r->pool, r->connection) : NULL;
    int err;

    if (!place)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    err = enter(place, zone, zone->most);
    return err ? limit_refuse(r, ctx, zone, err) : NGX_DECLINED;
}

static ngx_int_t refuse_connection(ngx_http_request_t *r, struct limit_zone *zone)
{
    struct grpc_json_ctx *ctx = grpc_json_ctx(r);

    r->keepalive = 0;
    return ctx ? limit_refuse(r, ctx, zone, -EBUSY) : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/* PREACCESS phase, before the limits of limit.c. nginx's realip module has set the address of a
 * proxy's client for the time of the request. */
static ngx_int_t preaccess(ngx_http_request_t *r)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);
    struct place *place;
    bool own;

    if (!conf->connections || r != r->main || find(r->pool))
        return NGX_DECLINED;
    place = find(r->connection->pool);
    own = place && place->zone && place->sockaddr == r->connection->sockaddr;
    if (own && !r->stream)
        return place->beyond ? refuse_connection(r, conf->connections) : NGX_DECLINED;
    if (place && !own)
        give_back(place);
    return count_request(r, conf->connections);
}

ngx_int_t grpc_json_connections_install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *handler = ngx_array_push(&core->phases[NGX_HTTP_PREACCESS_PHASE].handlers);

    if (!handler)
        return NGX_ERROR;
    *handler = preaccess;
    return NGX_OK;
}
