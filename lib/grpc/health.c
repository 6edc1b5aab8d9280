/* grpc.health.v1 (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
 *
 * "" and the services are ready or not as the program says; "liveness" is SERVING as long as the
 * process answers; parts have names of their own. Watches are sent to from whatever thread changes
 * something. */
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/internal.h"

#include "base/version.h"

#include <errno.h>
#include <stdlib.h>

#define LIVENESS "liveness"

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

#define MAX_PARTS 4

/* The part with an index is SUBJECT_PARTS + index. */
enum subject { SUBJECT_READINESS, SUBJECT_LIVENESS, SUBJECT_UNKNOWN, SUBJECT_PARTS };

struct part {
    const char *name;
    bool serving;
};

struct watch {
    struct watch *prev, *next;
    struct rpc_call *call;
    enum subject subject;
    bool ended; /* the server has ended it; the list keeps it until it is closed */
};

struct rpc_health {
    const struct rpc_server *server;
    pthread_mutex_t lock;
    bool ready, stopped;
    struct watch *watches;
    struct part parts[MAX_PARTS];
    size_t n_parts;
};

/* Under the lock. */
static struct part *find_part(struct rpc_health *health, const char *name)
{
    for (size_t i = 0; i < health->n_parts; i++) {
        if (strcmp(health->parts[i].name, name) == 0)
            return &health->parts[i];
    }
    return NULL;
}

/* Under the lock. */
static enum subject subject_of(struct rpc_health *health, const char *service)
{
    const struct part *part = find_part(health, service);

    if (part)
        return SUBJECT_PARTS + (enum subject)(part - health->parts);
    if (strcmp(service, LIVENESS) == 0)
        return SUBJECT_LIVENESS;
    if (service[0] == '\0' || server_has_service(health->server, service))
        return SUBJECT_READINESS;
    return SUBJECT_UNKNOWN;
}

static serving_status status_of(const struct rpc_health *health, enum subject subject)
{
    switch (subject) {
    case SUBJECT_LIVENESS:
        return STATUS(SERVING);
    case SUBJECT_READINESS:
        return health->ready ? STATUS(SERVING) : STATUS(NOT_SERVING);
    case SUBJECT_UNKNOWN:
        return STATUS(SERVICE_UNKNOWN);
    default:
        break;
    }
    return health->parts[subject - SUBJECT_PARTS].serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
}

/* ---- Check ---- */

static void check(struct rpc_health *health, struct rpc_call *call, const health_request *request)
{
    health_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    enum subject subject;

    pthread_mutex_lock(&health->lock);
    subject = subject_of(health, request->service);
    response.status = status_of(health, subject);
    pthread_mutex_unlock(&health->lock);
    if (subject == SUBJECT_UNKNOWN)
        rpc_fail(call, RPC_NOT_FOUND, "unknown service");
    else if (rpc_call_add_header(call, STR("stoa-version"), STR(STOA_VERSION)))
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
    else
        rpc_reply(call, &response.base);
}

RPC_UNARY(check, struct rpc_health, health_request)

/* ---- Watch; the lock is held while a watch is in the list and sent to ---- */

static void tell(struct rpc_health *health, struct watch *watch)
{
    health_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

    if (watch->ended)
        return;
    response.status = status_of(health, watch->subject);
    if (rpc_stream_send(watch->call, &response.base) == -ENOBUFS) {
        watch->ended = true;
        rpc_stream_cancel(watch->call, NULL);
    }
}

static void end_watch(struct watch *watch)
{
    if (!watch->ended)
        rpc_fail(watch->call, RPC_UNAVAILABLE, "the server is stopping");
    watch->ended = true;
}

static void watch_open(void *service, struct rpc_call *call, const ProtobufCMessage *message)
{
    const health_request *request = (const health_request *)message;
    struct rpc_health *health = service;
    struct watch *watch = arena_calloc(rpc_call_arena(call), 1, sizeof(*watch));

    if (!watch) {
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    watch->call = call;
    rpc_call_set_context(call, watch);
    pthread_mutex_lock(&health->lock);
    watch->subject = subject_of(health, request->service);
    watch->next = health->watches;
    if (watch->next)
        watch->next->prev = watch;
    health->watches = watch;
    tell(health, watch);
    if (health->stopped)
        end_watch(watch);
    pthread_mutex_unlock(&health->lock);
}

static void watch_closed(void *service, struct rpc_call *call)
{
    struct rpc_health *health = service;
    struct watch *watch = rpc_call_context(call);

    if (!watch)
        return;
    pthread_mutex_lock(&health->lock);
    *(watch->prev ? &watch->prev->next : &health->watches) = watch->next;
    if (watch->next)
        watch->next->prev = watch->prev;
    pthread_mutex_unlock(&health->lock);
}

static const struct rpc_stream_handler watch_handler = {
    .open = watch_open,
    .closed = watch_closed,
};

/* ---- what changes ---- */

static void tell_all(struct rpc_health *health, enum subject subject)
{
    for (struct watch *watch = health->watches; watch; watch = watch->next) {
        if (watch->subject == subject)
            tell(health, watch);
    }
}

void rpc_server_set_ready(struct rpc_server *server, bool ready)
{
    struct rpc_health *health = server->health;

    pthread_mutex_lock(&health->lock);
    if (health->ready != ready && !health->stopped) {
        health->ready = ready;
        tell_all(health, SUBJECT_READINESS);
    }
    pthread_mutex_unlock(&health->lock);
}

void rpc_server_set_part(struct rpc_server *server, const char *name, bool serving)
{
    struct rpc_health *health = server->health;
    struct part *part;

    pthread_mutex_lock(&health->lock);
    part = find_part(health, name);
    if (!part) {
        if (health->n_parts == MAX_PARTS)
            abort(); /* a fixed list, written by the services' authors */
        part = &health->parts[health->n_parts++];
        *part = (struct part){.name = name};
    }
    if (part->serving != serving && !health->stopped) {
        part->serving = serving;
        tell_all(health, subject_of(health, name));
    }
    pthread_mutex_unlock(&health->lock);
}

void health_stop(struct rpc_server *server)
{
    struct rpc_health *health = server->health;

    if (!health)
        return;
    rpc_server_set_ready(server, false);
    pthread_mutex_lock(&health->lock);
    health->stopped = true;
    for (struct watch *watch = health->watches; watch; watch = watch->next)
        end_watch(watch);
    pthread_mutex_unlock(&health->lock);
}

/* ---- making ---- */

int health_new(struct rpc_server *server)
{
    static const struct rpc_handler handlers[] = {
        {.method = "Check", .unary = check_rpc},
        {.method = "Watch", .stream = &watch_handler},
    };
    struct rpc_health *health = calloc(1, sizeof(*health));

    if (!health)
        return -ENOMEM;
    health->server = server;
    pthread_mutex_init(&health->lock, NULL);
    server->health = health;
    return server_add_built_in(server, &grpc__health__v1__health__descriptor, NULL, handlers,
                               ARRAY_SIZE(handlers), health);
}

void health_free(struct rpc_server *server)
{
    if (!server->health)
        return;
    pthread_mutex_destroy(&server->health->lock);
    free(server->health);
    server->health = NULL;
}
