/* Which server of an upstream a stream goes to, and on which connection.
 *
 * The choice is nginx's own weighted round robin, with its weights, backup servers, max_fails and
 * fail_timeout, on nginx's own counters. Balancers that choose by a request (hash, ip_hash) have
 * none to look at here, since a stream may outlive its request. */
#include "h2_internal.h"

#define CONNECTIONS_MAX 64 /* of a worker to one peer */
/* ms until a peer that could not be reached is tried again: twice as long each time. */
#define RETRY_MIN 50
#define RETRY_MAX 2000

static struct h2_peer *peers;

static struct h2_peer *make_peer(ngx_http_upstream_rr_peer_t *address)
{
    struct h2_peer *peer = ngx_calloc(sizeof(*peer), ngx_cycle->log);

    if (!peer)
        return NULL;
    peer->address = address;
    ngx_queue_init(&peer->connections);
    peer->next = peers;
    peers = peer;
    return peer;
}

static struct h2_peer *find_peer(ngx_http_upstream_rr_peer_t *address)
{
    for (struct h2_peer *peer = peers; peer; peer = peer->next) {
        if (peer->address == address)
            return peer;
    }
    return make_peer(address);
}

/* ---- reachable or not ---- */

void h2_peer_failed(struct h2_peer *peer)
{
    ngx_msec_t delay = RETRY_MIN;

    for (ngx_uint_t i = 0; i < peer->failures && delay < RETRY_MAX; i++)
        delay *= 2;
    delay = ngx_min(delay, RETRY_MAX);
    peer->failures++;
    /* Workers should not come back all at once. */
    peer->retry_at = ngx_current_msec + delay / 2 + (ngx_msec_t)ngx_random() % (delay / 2 + 1);
}

void h2_peer_works(struct h2_peer *peer)
{
    peer->failures = 0;
}

static bool too_early(const struct h2_peer *peer)
{
    return peer->failures && (ngx_msec_int_t)(peer->retry_at - ngx_current_msec) > 0;
}

/* ---- choosing ---- */

static struct h2_connection *find_connection(struct h2_peer *peer)
{
    struct h2_connection *coming = NULL;

    for (ngx_queue_t *q = ngx_queue_head(&peer->connections); q != &peer->connections;
         q = ngx_queue_next(q)) {
        struct h2_connection *conn = ngx_queue_data(q, struct h2_connection, link);

        if (conn->state == H2_OPEN && h2_connection_has_room(conn))
            return conn;
        if (conn->state < H2_OPEN)
            coming = conn;
    }
    return coming;
}

/* A stream is opened again and again by those who hold it: they wait. Somebody waits for a call,
 * and asks once. */
static struct h2_connection *get_connection(const struct grpc_h2_stream *s)
{
    struct h2_peer *peer = s->peer;
    struct h2_connection *conn = find_connection(peer);

    if (conn || (too_early(peer) && !s->call))
        return conn;
    if (peer->n_connections >= CONNECTIONS_MAX) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "gRPC server %V: %d connections are full",
                      &peer->address->name, CONNECTIONS_MAX);
        return NULL;
    }
    return h2_connection_start(peer);
}

/* nginx's balancers keep their servers as round robin made them. */
bool h2_choice_init(ngx_http_upstream_rr_peer_data_t *choice,
                    ngx_http_upstream_srv_conf_t *upstream, uintptr_t **ret_tried,
                    ngx_uint_t *ret_tries)
{
    ngx_http_upstream_rr_peers_t *all = upstream->peer.data;
    ngx_uint_t n = all->number;

    if (all->next && all->next->number > n)
        n = all->next->number;
    choice->peers = all;
    *ret_tries = all->number + (all->next ? all->next->number : 0) + 1;
    choice->tried = &choice->data;
    if (n <= 8 * sizeof(uintptr_t))
        return true;
    n = (n + 8 * sizeof(uintptr_t) - 1) / (8 * sizeof(uintptr_t));
    *ret_tried = ngx_calloc(n * sizeof(uintptr_t), ngx_cycle->log);
    choice->tried = *ret_tried;
    return *ret_tried != NULL;
}

static bool can_be_asked(ngx_http_upstream_rr_peer_t *address)
{
    struct h2_peer *peer = find_peer(address);

    return peer && (!too_early(peer) || find_connection(peer));
}

ngx_int_t grpc_h2_choose(ngx_http_upstream_srv_conf_t *upstream,
                         bool (*suits)(const struct grpc_h2_server *server, void *data), void *data,
                         struct grpc_h2_server *ret)
{
    ngx_http_upstream_rr_peer_data_t choice = {0};
    uintptr_t *tried = NULL;
    ngx_int_t rc = NGX_DECLINED;
    ngx_uint_t tries;

    if (!h2_choice_init(&choice, upstream, &tried, &tries))
        return NGX_DECLINED;
    for (; rc == NGX_DECLINED && tries > 0; tries--) {
        ngx_peer_connection_t pc = {.tries = tries, .log = ngx_cycle->log};

        if (ngx_http_upstream_get_round_robin_peer(&pc, &choice) != NGX_OK)
            break;
        *ret = (struct grpc_h2_server){upstream, choice.current};
        /* Its turn is over at once: it is not one more connection. */
        ngx_http_upstream_free_round_robin_peer(&pc, &choice, 0);
        if (can_be_asked(ret->address) && suits(ret, data))
            rc = NGX_OK;
    }
    ngx_free(tried);
    return rc;
}

static void tell_choice(struct grpc_h2_stream *s)
{
    const struct grpc_h2_server server = {s->upstream, s->peer->address};

    if (s->callbacks->chosen)
        s->callbacks->chosen(s->data, &server);
}

static struct h2_peer *choose(struct grpc_h2_stream *s)
{
    ngx_peer_connection_t pc = {.tries = s->tries, .log = ngx_cycle->log};

    if (s->wanted) {
        s->peer = find_peer(s->wanted);
        return s->peer;
    }
    if (ngx_http_upstream_get_round_robin_peer(&pc, &s->choice) != NGX_OK)
        return NULL;
    s->peer = find_peer(s->choice.current);
    if (s->peer)
        tell_choice(s);
    else
        ngx_http_upstream_free_round_robin_peer(&pc, &s->choice, 0);
    return s->peer;
}

void h2_peer_release(struct grpc_h2_stream *s, ngx_uint_t state)
{
    ngx_peer_connection_t pc = {.tries = s->tries + 1, .log = ngx_cycle->log};

    if (!s->peer)
        return;
    s->peer = NULL;
    if (s->wanted)
        return; /* was not chosen */
    ngx_http_upstream_free_round_robin_peer(&pc, &s->choice, state);
}

void h2_dispatch(struct grpc_h2_stream *s)
{
    while (s->tries > 0 && choose(s)) {
        struct h2_connection *conn = get_connection(s);

        s->tries--;
        if (conn) {
            h2_connection_attach(conn, s);
            return;
        }
        h2_peer_release(s, NGX_PEER_FAILED);
    }
    h2_stream_fail(s, RPC_UNAVAILABLE, "the service cannot be reached");
}

void h2_dispatch_again(struct grpc_h2_stream *s)
{
    struct h2_connection *conn = get_connection(s);

    if (conn)
        h2_connection_attach(conn, s);
    else
        h2_stream_fail(s, RPC_UNAVAILABLE, "the service takes no more streams");
}

/* ---- all of them ---- */

void grpc_h2_stats(struct grpc_h2_stats *ret)
{
    ret->connections = 0;
    ret->streams = h2_streams_count();
    for (const struct h2_peer *peer = peers; peer; peer = peer->next)
        ret->connections += peer->n_connections;
}

void h2_peers_free_carriers(void)
{
    for (const struct h2_peer *peer = peers; peer; peer = peer->next) {
        for (ngx_queue_t *q = ngx_queue_head(&peer->connections);
             q != ngx_queue_sentinel(&peer->connections); q = ngx_queue_next(q))
            h2_carrier_free(ngx_queue_data(q, struct h2_connection, link));
    }
}

void h2_peers_shutdown(void)
{
    struct h2_peer *peer;

    while ((peer = peers)) {
        while (!ngx_queue_empty(&peer->connections))
            h2_connection_close(
                ngx_queue_data(ngx_queue_head(&peer->connections), struct h2_connection, link),
                "the worker ends");
        peers = peer->next;
        ngx_free(peer);
    }
}
