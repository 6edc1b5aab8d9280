/* A gRPC server for tests: grpc.testing.TestService and stoa.test.v1.EchoService on lib/grpc. */
#include "testserver.h"

#include "base/config.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

/* testserver.binpb, linked in. */
extern const char stoa_api_descriptor_set[], stoa_api_descriptor_set_end[];

struct settings {
    struct str listen, rooms;
    int64_t max_request_bytes, grace_ms;
};

static const struct config_setting table[] = {
    {"STOA_TEST_LISTEN", CONFIG_STRING, offsetof(struct settings, listen), "127.0.0.1:9010", 1, 0,
     false, "Where gRPC is served in the clear: addresses, comma separated."},
    {"STOA_TEST_ROOMS", CONFIG_STRING, offsetof(struct settings, rooms), "/tmp", 1, 0, false,
     "The folder in which rooms are kept; several servers may share it."},
    {"STOA_TEST_MAX_REQUEST_BYTES", CONFIG_INT, offsetof(struct settings, max_request_bytes),
     "17825792", 1024, 1 << 30, false, "Largest request message; 17 MiB."},
    {"STOA_TEST_GRACE_MS", CONFIG_INT, offsetof(struct settings, grace_ms), "1000", 0, 600000,
     false, "How long calls in work may go on after SIGTERM, in milliseconds."},
};

#define MAX_CALL_MS 120000

static int listen_all(struct rpc_server *server, struct str rest, struct arena *arena,
                      struct str *ret_error)
{
    while (rest.n > 0) {
        const char *comma = memchr(rest.p, ',', rest.n);
        size_t length = comma ? (size_t)(comma - rest.p) : rest.n;
        struct str address = arena_copy(arena, (struct str){rest.p, length});
        int port = 0;
        int r = address.p ? rpc_server_listen(server, address.p, NULL, 0666, &port, ret_error)
                          : -ENOMEM;

        if (r < 0)
            return r;
        log_info("listening", LOG_S("address", address), LOG_I("port", port));
        rest = str_skip(rest, length + 1);
    }
    return 0;
}

static int start(struct rpc_server *server, const struct settings *settings, struct arena *arena,
                 struct str *ret_error)
{
    int r = interop_add(server, ret_error);

    if (r == 0)
        r = echo_add(server, ret_error);
    if (r == 0)
        r = rooms_add(server, settings->rooms.p, ret_error);
    if (r == 0)
        r = listen_all(server, settings->listen, arena, ret_error);
    if (r == 0)
        r = rpc_server_start(server);
    if (r == 0)
        rpc_server_set_ready(server, true);
    return r;
}

/* Serves until a signal. */
static int serve(const struct settings *settings, const struct schema *schema,
                 const sigset_t *signals, struct arena *arena, struct str *ret_error)
{
    const struct rpc_server_options options = {
        .schema = schema,
        .max_request_bytes = (size_t)settings->max_request_bytes,
        .max_calls = 100000,
        .max_call_ms = MAX_CALL_MS,
    };
    struct rpc_server *server;
    int caught, r = rpc_server_new(&options, &server);

    if (r < 0)
        return r;
    r = start(server, settings, arena, ret_error);
    if (r == 0) {
        sigwait(signals, &caught);
        timers_hurry();
        rooms_stop();
        rpc_server_stop(server, settings->grace_ms);
    }
    rpc_server_free(server);
    rooms_free();
    return r;
}

static int run(struct arena *arena, struct str *ret_error)
{
    const struct str descriptor_set = {
        stoa_api_descriptor_set, (size_t)(stoa_api_descriptor_set_end - stoa_api_descriptor_set)};
    struct settings settings;
    struct schema *schema = NULL;
    sigset_t signals;
    int r = config_read(table, ARRAY_SIZE(table), &settings, arena, ret_error);

    if (r == 0)
        r = schema_load(descriptor_set, arena, &schema, ret_error);
    if (r != 0)
        return r;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are threads */
    r = timers_start();
    if (r == 0) {
        r = serve(&settings, schema, &signals, arena, ret_error);
        timers_stop();
    }
    schema_free(schema);
    return r;
}

int main(int argc, char **argv)
{
    struct arena arena CLEANUP(arena_free) = {.max = 1 << 20};
    struct str error = STR("out of memory or threads");

    (void)argv;
    if (argc > 1) {
        puts("testserver: gRPC services for tests. It takes no arguments, but settings:\n");
        config_print_help(table, ARRAY_SIZE(table), stdout);
        return 0;
    }
    log_setup("testserver", LOG_INFO);
    if (run(&arena, &error) == 0)
        return 0;
    log_error("could not start", LOG_S("cause", error));
    return 1;
}
