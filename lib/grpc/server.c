/* The server: its methods, its poller threads, its start and its graceful stop. */
#include "grpc/internal.h"

#include <assert.h>
#include <errno.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cond.h"
#include "base/log.h"

/* Requests that wait for a caller: the next is posted as soon as one is accepted, so this only has
 * to cover a burst of accepts. */
#define POSTED_REQUESTS 128

#define MAX_STREAMS_PER_CONNECTION 1024
#define HANDSHAKE_TIMEOUT_MS 10000
/* A caller with open calls that has vanished without a word is noticed after this. */
#define KEEPALIVE_TIME_MS 60000
#define KEEPALIVE_TIMEOUT_MS 20000

#define CORE_BYTES_PER_CALL ((size_t)32 << 10)
/* Of the largest size, on their way at once. */
#define CORE_REQUESTS 64

#define MAX_TICK_NS NSEC_PER_SEC
#define MIN_TICK_NS (10 * NSEC_PER_MSEC)

/* ---- the core ---- */

static pthread_once_t core_once = PTHREAD_ONCE_INIT;

/* The core's own error lines, in the form of ours. */
static void log_core(gpr_log_func_args *args)
{
    if (args->severity == GPR_LOG_SEVERITY_ERROR)
        log_warn("grpc core", LOG_C("cause", args->message), LOG_C("file", args->file),
                 LOG_I("line", args->line));
    else
        log_debug("grpc core", LOG_C("cause", args->message), LOG_C("file", args->file));
}

/* Threads of this library leave signals to the threads of the program. */
static void block_signals(sigset_t *old)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
}

/* absl::SetMutexDeadlockDetectionMode(OnDeadlockCycle), as Debian 12's Abseil names it to linkers;
 * where another one is installed it may not be there. */
extern void set_deadlock_detection(int mode) __asm__(
    "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE") __attribute__((weak));

/* Debian's Abseil is built with assertions, and so each lock that the core takes is looked up under
 * one lock for all threads in a graph of locks: a twentieth of a service's time. */
static void no_deadlock_detection(void)
{
    enum { IGNORE }; /* kIgnore */

    if (set_deadlock_detection)
        set_deadlock_detection(IGNORE);
}

/* Once per process, and never undone: grpc_shutdown() can wait ten seconds for a poller that looks
 * after a blocked write. */
static void core_init(void)
{
    sigset_t old;

    block_signals(&old);
    gpr_set_log_function(log_core);
    no_deadlock_detection();
    grpc_init();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static grpc_arg int_arg(const char *key, int64_t value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER,
                      .key = (char *)key,
                      .value.integer = value > INT32_MAX ? INT32_MAX : (int)value};
}

/* What the core may hold of all connections together: calls, and requests that are not whole yet.
 * Beyond it the core ends streams at random until there is less (ENHANCE_YOUR_CALM). */
static grpc_resource_quota *core_quota(const struct rpc_server_options *options)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("server");

    grpc_resource_quota_resize(quota, options->max_calls * CORE_BYTES_PER_CALL +
                                          options->max_request_bytes * CORE_REQUESTS);
    return quota;
}

static grpc_server *core_server(const struct rpc_server_options *options)
{
    grpc_resource_quota *quota = core_quota(options);
    grpc_server *core;
    grpc_arg args[] = {
        {.type = GRPC_ARG_POINTER,
         .key = (char *)GRPC_ARG_RESOURCE_QUOTA,
         .value.pointer = {quota, grpc_resource_quota_arg_vtable()}},
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int64_t)options->max_request_bytes),
        int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, MAX_STREAMS_PER_CONNECTION),
        int_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
        /* A second server on the same port is an error, not a silent partner. */
        int_arg(GRPC_ARG_ALLOW_REUSEPORT, 0),
        /* Compressed requests are refused: the core inflates them before it looks at their size. */
        int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1),
        int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION,
                0), /* or each call has a filter for it */
        int_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        /* Its pings reach nginx's idle connections, and nginx closes those: measured, one request
         * in three then needs a new connection. */
        int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
    };
    grpc_channel_args all = {ARRAY_SIZE(args), args};

    core = grpc_server_create(&all, NULL);
    grpc_resource_quota_unref(quota); /* the core holds it */
    return core;
}

/* ---- making ---- */

static void fill_defaults(struct rpc_server_options *options)
{
    if (!options->max_request_bytes)
        options->max_request_bytes = (size_t)4 << 20;
    if (!options->max_calls)
        options->max_calls = 4096;
    if (!options->max_stream_queue)
        options->max_stream_queue = 1024;
    if (!options->max_call_ms)
        options->max_call_ms = 30000;
    if (!options->pollers)
        options->pollers = 1;
}

static bool valid_options(const struct rpc_server_options *options)
{
    return options->schema && options->max_request_bytes <= INT32_MAX && options->max_call_ms > 0 &&
           options->patience_ms >= 0 && options->max_call_ms <= INT64_C(24) * 3600 * 1000 &&
           options->pollers <= 64;
}

static int64_t tick_for(int64_t max_call_ms)
{
    int64_t tick = max_call_ms * NSEC_PER_MSEC / 8;

    if (tick > MAX_TICK_NS)
        tick = MAX_TICK_NS;
    return tick < MIN_TICK_NS ? MIN_TICK_NS : tick;
}

static void on_drained(struct ev *ev, bool ok UNUSED)
{
    struct rpc_server *server = CONTAINER_OF(ev, struct rpc_server, on_drained);

    pthread_mutex_lock(&server->lock);
    server->drained = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

int rpc_server_new(const struct rpc_server_options *options, struct rpc_server **ret)
{
    struct rpc_server *server = calloc(1, sizeof(*server));
    int r;

    if (!server)
        return -ENOMEM;
    server->options = *options;
    fill_defaults(&server->options);
    if (!valid_options(&server->options)) {
        free(server);
        return -EINVAL;
    }
    pthread_once(&core_once, core_init);
    accept_init();
    read_init();
    arena_init(&server->arena, 0);
    pthread_mutex_init(&server->lock, NULL);
    held_init(&server->held);
    cond_init(&server->changed);
    server->on_drained.fn = on_drained;
    atomic_init(&server->due_ns, INT64_MAX);
    server->tick_ns = tick_for(server->options.max_call_ms);
    server->cq = grpc_completion_queue_create_for_next(NULL);
    server->core = core_server(&server->options);
    grpc_server_register_completion_queue(server->core, server->cq, NULL);
    r = health_new(server);
    if (r == 0)
        r = reflection_add(server);
    if (r == 0)
        r = carry_new(server);
    if (r < 0) {
        rpc_server_free(server);
        return r;
    }
    *ret = server;
    return 0;
}

/* ---- methods ---- */

static const struct rpc_handler *find_handler(const struct rpc_handler *handlers, size_t n,
                                              const char *method)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(handlers[i].method, method) == 0)
            return &handlers[i];
    return NULL;
}

static const ProtobufCMethodDescriptor *find_method(const ProtobufCServiceDescriptor *descriptor,
                                                    const char *name)
{
    for (unsigned i = 0; i < descriptor->n_methods; i++)
        if (strcmp(descriptor->methods[i].name, name) == 0)
            return &descriptor->methods[i];
    return NULL;
}

static int refuse(struct rpc_server *server, struct str *ret_error, const char *what,
                  const char *service, const char *method)
{
    *ret_error = arena_printf(&server->arena, "%s: %s/%s", what, service, method);
    return -EINVAL;
}

/* Makes room for one more element of an array in the server's arena. */
static void *grow(struct rpc_server *server, const void *array, size_t n, size_t *cap, size_t size)
{
    size_t wanted = *cap ? *cap * 2 : 16;
    void *grown;

    if (n < *cap)
        return (void *)array;
    grown = arena_calloc(&server->arena, wanted, size);
    if (!grown)
        return NULL;
    if (n > 0)
        memcpy(grown, array, n * size);
    *cap = wanted;
    return grown;
}

static int add_method(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                      const ProtobufCServiceDescriptor *types, unsigned i,
                      const struct rpc_handler *handler, void *service, struct str *ret_error)
{
    const ProtobufCMethodDescriptor *method = &descriptor->methods[i];
    const ProtobufCMethodDescriptor *type = &types->methods[i];
    struct str path = arena_printf(&server->arena, "/%s/%s", descriptor->name, method->name);
    struct str type_path = arena_printf(&server->arena, "/%s/%s", types->name, type->name);
    const struct schema_method *schema;
    struct rpc_method *methods =
        grow(server, server->methods, server->n_methods, &server->cap_methods, sizeof(*methods));

    struct rpc_counts *counts = arena_calloc(&server->arena, 1, sizeof(*counts));

    if (!path.p || !type_path.p || !methods || !counts)
        return -ENOMEM;
    server->methods = methods;
    schema = schema_method(server->options.schema, type_path);
    if (!schema)
        return refuse(server, ret_error, "not in the schema", descriptor->name, method->name);
    if (!handler || !handler->unary == !handler->stream)
        return refuse(server, ret_error, "needs one handler", descriptor->name, method->name);
    if (!handler->stream != !(schema->client_streaming || schema->server_streaming) ||
        (handler->stream &&
         (!handler->stream->open || (schema->client_streaming && !handler->stream->message))))
        return refuse(server, ret_error, "handler of the wrong kind", descriptor->name,
                      method->name);
    methods[server->n_methods++] = (struct rpc_method){
        .path = path,
        .schema = schema,
        .input = type->input,
        .output = type->output,
        .unary = handler->unary,
        .stream = handler->stream,
        .service = service,
        .counts = counts,
        .apart = schema->apart
                     ? protobuf_c_message_descriptor_get_field(type->input, schema->apart_number)
                     : NULL,
    };
    return 0;
}

static int add_service(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                       const ProtobufCServiceDescriptor *types, const struct rpc_handler *handlers,
                       size_t n, void *service, struct str *ret_error)
{
    const char **services = grow(server, server->services, server->n_services,
                                 &server->cap_services, sizeof(*services));
    int r = 0;

    assert(!server->started);
    if (!services)
        return -ENOMEM;
    server->services = services;
    if (server_has_service(server, descriptor->name))
        return refuse(server, ret_error, "added twice", descriptor->name, "*");
    for (size_t i = 0; i < n; i++)
        if (!find_method(descriptor, handlers[i].method))
            return refuse(server, ret_error, "no such method", descriptor->name,
                          handlers[i].method);
    for (unsigned i = 0; r == 0 && i < descriptor->n_methods; i++)
        r = add_method(server, descriptor, types, i,
                       find_handler(handlers, n, descriptor->methods[i].name), service, ret_error);
    if (r == 0)
        services[server->n_services++] = descriptor->name;
    return r;
}

int rpc_server_add(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                   const struct rpc_handler *handlers, size_t n, void *service,
                   struct str *ret_error)
{
    *ret_error = STR("out of memory");
    return add_service(server, descriptor, descriptor, handlers, n, service, ret_error);
}

int server_add_built_in(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                        const ProtobufCServiceDescriptor *types, const struct rpc_handler *handlers,
                        size_t n, void *service)
{
    size_t first = server->n_methods;
    struct str error;
    int r =
        add_service(server, descriptor, types ? types : descriptor, handlers, n, service, &error);

    for (size_t i = first; i < server->n_methods; i++) {
        server->methods[i].built_in = true;
        server->methods[i].vital = !server->methods[i].stream;
    }
    return r;
}

bool server_has_service(const struct rpc_server *server, const char *name)
{
    for (size_t i = 0; i < server->n_services; i++)
        if (strcmp(server->services[i], name) == 0)
            return true;
    return false;
}

/* FNV-1a. */
static size_t hash(struct str s)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
    return (size_t)h;
}

static int build_table(struct rpc_server *server)
{
    size_t size = 16;

    while (size < server->n_methods * 2)
        size *= 2;
    server->table = arena_calloc(&server->arena, size, sizeof(*server->table));
    if (!server->table)
        return -ENOMEM;
    server->table_mask = size - 1;
    for (size_t i = 0; i < server->n_methods; i++) {
        size_t at = hash(server->methods[i].path) & server->table_mask;
        while (server->table[at])
            at = (at + 1) & server->table_mask;
        server->table[at] = &server->methods[i];
    }
    return 0;
}

const struct rpc_method *server_method(const struct rpc_server *server, struct str path)
{
    size_t at = hash(path) & server->table_mask;

    while (server->table[at] && !str_eq(server->table[at]->path, path))
        at = (at + 1) & server->table_mask;
    return server->table[at];
}

/* ---- pollers ---- */

static void pause_poller(struct rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->n_paused++;
    pthread_cond_broadcast(&server->changed);
    while (atomic_load(&server->paused))
        pthread_cond_wait(&server->changed, &server->lock);
    server->n_paused--;
    pthread_mutex_unlock(&server->lock);
}

static void take_event(const grpc_event *event)
{
    struct ev *ev = event->tag;

    TAG_ACQUIRE(ev);
    ev->fn(ev, event->success != 0);
}

/* Returns when the next tick is. */
static int64_t look_at_clock(struct rpc_server *server, int64_t tick_at_ns)
{
    int64_t now_ns = clock_monotonic_ns();

    if (now_ns >= atomic_load(&server->due_ns))
        pool_end_overdue(server, now_ns);
    if (now_ns < tick_at_ns)
        return tick_at_ns;
    pool_tick(server);
    return now_ns + server->tick_ns;
}

static void *poll_queue(void *arg, bool ticks)
{
    struct rpc_server *server = arg;
    int64_t tick_at_ns = ticks ? clock_monotonic_ns() + server->tick_ns : INT64_MAX;
    unsigned since_look = 0;

    carry_begin_turns();
    for (;;) {
        int64_t due_ns = atomic_load_explicit(&server->due_ns, memory_order_relaxed);
        int64_t until_ns = due_ns < tick_at_ns ? due_ns : tick_at_ns;
        grpc_event event = grpc_completion_queue_next(
            server->cq, gpr_time_from_nanos(until_ns, GPR_CLOCK_MONOTONIC), NULL);

        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (event.type == GRPC_OP_COMPLETE)
            take_event(&event);
        /* A busy queue never times out: look at the clock now and then. */
        if (event.type == GRPC_QUEUE_TIMEOUT || ++since_look >= 256) {
            since_look = 0;
            tick_at_ns = look_at_clock(server, tick_at_ns);
        }
        carry_end_turn();
        if (atomic_load_explicit(&server->paused, memory_order_relaxed))
            pause_poller(server);
    }
}

static void *poll_and_tick(void *arg)
{
    return poll_queue(arg, true);
}

static void *poll_only(void *arg)
{
    return poll_queue(arg, false);
}

static int start_pollers(struct rpc_server *server)
{
    sigset_t old;
    int r = 0;

    server->threads = calloc(server->options.pollers, sizeof(*server->threads));
    if (!server->threads)
        return -ENOMEM;
    block_signals(&old);
    for (unsigned i = 0; r == 0 && i < server->options.pollers; i++) {
        r = pthread_create(&server->threads[i], NULL, i == 0 ? poll_and_tick : poll_only, server);
        if (r == 0) {
            char name[16];
            snprintf(name, sizeof(name), "rpc-%u", i);
            pthread_setname_np(server->threads[i], name);
            server->n_threads++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return server->n_threads > 0 ? 0 : -r;
}

/* ---- errands ---- */

/* An event of our own for the pollers. */
struct errand {
    struct ev ev;
    void (*fn)(void *arg);
    void *arg;
};

static void on_errand(struct ev *ev, bool ok UNUSED)
{
    struct errand *errand = CONTAINER_OF(ev, struct errand, ev);

    errand->fn(errand->arg);
    free(errand);
}

static void hang_doorbell(struct rpc_server *server)
{
    grpc_channel *channel = grpc_lame_client_channel_create("", GRPC_STATUS_UNAVAILABLE, "");

    server->doorbell = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, server->cq,
                                                grpc_slice_from_static_string("/"), NULL,
                                                gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_channel_destroy(channel); /* the call holds it */
    server->rings = true;
}

/* An empty batch ends at once. */
void server_ring(struct rpc_server *server, struct ev *ev)
{
    grpc_call_error error;

    TAG_RELEASE(ev);
    error = grpc_call_start_batch(server->doorbell, NULL, 0, ev, NULL);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

int rpc_server_run(struct rpc_server *server, void (*fn)(void *arg), void *arg)
{
    struct errand *errand = malloc(sizeof(*errand));
    bool rings;

    if (!errand)
        return -ENOMEM;
    *errand = (struct errand){{on_errand}, fn, arg};
    pthread_mutex_lock(&server->lock); /* nothing may follow the end of the queue */
    rings = server->rings;
    if (rings)
        server_ring(server, &errand->ev);
    pthread_mutex_unlock(&server->lock);
    if (rings)
        return 0;
    free(errand);
    return -EAGAIN;
}

/* What has been rung still runs. */
static void unhang_doorbell(struct rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->rings = false;
    pthread_mutex_unlock(&server->lock);
    if (server->doorbell)
        grpc_call_unref(server->doorbell);
    server->doorbell = NULL;
}

/* Health and reflection are asked by who wants to know what is wrong. */
static int make_places(struct rpc_server *server)
{
    unsigned n_cores = cpu_count();

    for (size_t i = 0; server->options.patience_ms > 0 && i < server->n_methods; i++) {
        struct rpc_method *method = &server->methods[i];

        if (!method->unary || method->built_in)
            continue;
        method->in_flight =
            arena_calloc(&server->arena, count_places(method), sizeof(*method->in_flight));
        if (!method->in_flight)
            return -ENOMEM;
        for (size_t k = 0; k < count_places(method); k++)
            in_flight_init(&method->in_flight[k], (unsigned)server->options.max_calls,
                           server->options.patience_ms * NSEC_PER_MSEC, n_cores);
    }
    return 0;
}

static void free_places(struct rpc_server *server)
{
    for (size_t i = 0; i < server->n_methods; i++) {
        const struct rpc_method *method = &server->methods[i];

        for (size_t k = 0; method->in_flight && k < count_places(method); k++)
            in_flight_free(&method->in_flight[k]);
    }
}

int rpc_server_start(struct rpc_server *server)
{
    int r = build_table(server);

    assert(!server->started);
    if (r == 0)
        r = make_places(server);
    if (r < 0)
        return r;
    grpc_server_start(server->core);
    server->started = true;
    hang_doorbell(server);
    pool_post(server, POSTED_REQUESTS);
    return start_pollers(server);
}

/* ---- stopping ---- */

/* The core answers CANCELLED to a call that reaches it between grpc_server_shutdown_and_notify()
 * and the caller's reading of GOAWAY, as if the caller had given up. So the core is not told to
 * shut down while anybody reads from its sockets: first new calls are refused with UNAVAILABLE and
 * those in work end, then the pollers pause, what their last look at the sockets has brought is
 * refused as well, and only then come GOAWAY and the end of all connections. */

static bool wait_until(struct rpc_server *server, bool (*done)(const struct rpc_server *server),
                       int64_t deadline_ns)
{
    bool is_done;
    int r = 0;

    pthread_mutex_lock(&server->lock);
    while (!(is_done = done(server)) && r != ETIMEDOUT) {
        if (deadline_ns == INT64_MAX)
            r = pthread_cond_wait(&server->changed, &server->lock);
        else
            r = cond_wait_until(&server->changed, &server->lock, deadline_ns);
    }
    pthread_mutex_unlock(&server->lock);
    return is_done;
}

static bool is_idle(const struct rpc_server *server)
{
    return atomic_load(&server->active) == 0;
}

static bool is_drained(const struct rpc_server *server)
{
    return server->drained && server->n_alive == 0;
}

static bool are_paused(const struct rpc_server *server)
{
    return server->n_paused == server->n_threads;
}

static void on_wake(struct ev *ev UNUSED, bool ok UNUSED)
{
}

/* Nobody polls when this returns. Each poller pauses after its next event, so each gets one. */
static void pause_pollers(struct rpc_server *server)
{
    static struct ev wake = {on_wake};

    atomic_store(&server->paused, true);
    for (unsigned i = 0; i < server->n_threads; i++)
        server_ring(server, &wake);
    wait_until(server, are_paused, INT64_MAX);
}

static void resume_pollers(struct rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    atomic_store(&server->paused, false);
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

struct marker {
    struct ev ev;
    bool came;
};

static void on_marker(struct ev *ev, bool ok UNUSED)
{
    CONTAINER_OF(ev, struct marker, ev)->came = true;
}

/* Takes what is in the queue. Sockets are looked at only when there is nothing, and there is the
 * marker: unless somebody puts something in at that very moment, which the queue may take for
 * nothing. Whether calls were among it. */
static bool take_queued(struct rpc_server *server)
{
    struct marker marker = {.ev = {on_marker}};
    size_t before = atomic_load(&server->n_came);

    server_ring(server, &marker.ev);
    while (!marker.came) {
        grpc_event event =
            grpc_completion_queue_next(server->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

        take_event(&event);
    }
    return atomic_load(&server->n_came) != before;
}

/* Nobody polls. One look at the sockets may bring many calls, of which a poller has taken one. */
static void refuse_queued(struct rpc_server *server)
{
    for (int quiet = 0; quiet < 2;) /* what came with the marker is found after it */
        quiet = take_queued(server) ? 0 : quiet + 1;
}

static void shut_down_core(struct rpc_server *server)
{
    TAG_RELEASE(&server->on_drained);
    grpc_server_shutdown_and_notify(server->core, server->cq, &server->on_drained);
    grpc_server_cancel_all_calls(server->core);
}

static void drain_queue(struct rpc_server *server)
{
    unhang_doorbell(server);
    grpc_completion_queue_shutdown(server->cq);
    for (unsigned i = 0; i < server->n_threads; i++)
        pthread_join(server->threads[i], NULL);
    if (server->n_threads == 0) /* never started: the queue has nobody else */
        poll_queue(server, false);
}

void rpc_server_stop(struct rpc_server *server, int64_t grace_ms)
{
    int64_t deadline_ns = clock_monotonic_ns() + (grace_ms > 0 ? grace_ms : 0) * NSEC_PER_MSEC;

    if (server->stopped)
        return;
    server->stopped = true;
    atomic_store(&server->draining, true);
    health_stop(server);
    carry_stop(server);
    if (server->n_threads > 0) {
        wait_until(server, is_idle, deadline_ns);
        pause_pollers(server);
        refuse_queued(server);
    }
    shut_down_core(server);
    if (server->n_threads > 0) {
        resume_pollers(server);
        wait_until(server, is_drained, INT64_MAX);
    }
    drain_queue(server);
}

void rpc_server_free(struct rpc_server *server)
{
    if (!server)
        return;
    rpc_server_stop(server, 0);
    grpc_server_destroy(server->core);
    grpc_completion_queue_destroy(server->cq);
    pool_free(server);
    health_free(server);
    carry_free(server);
    free(server->threads);
    free_places(server);
    held_free(&server->held);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    arena_free(&server->arena);
    free(server);
}

void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *ret)
{
    *ret = (struct rpc_server_stats){
        .started = atomic_load(&server->started_calls),
        .finished = atomic_load(&server->finished_calls),
        .refused = atomic_load(&server->refused_calls),
        .active = atomic_load(&server->active),
    };
}
