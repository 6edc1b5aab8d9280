/* lib/grpc: what can be added and listened on, TLS, and the graceful stop. */
#include "rpc_certificates.h"
#include "rpc_fixture.h"

#include "grpc/internal.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- adding services ---- */

static const struct rpc_handler missing_one[] = {
    {.method = "Say", .unary = say_back},
    {.method = "Publish", .unary = publish_ok},
    {.method = "Count", .stream = &finish_at_once},
    {.method = "Join", .stream = &finish_at_once},
};
static const struct rpc_handler unknown_one[] = {
    {.method = "Say", .unary = say_back},           {.method = "Publish", .unary = publish_ok},
    {.method = "Count", .stream = &finish_at_once}, {.method = "Join", .stream = &finish_at_once},
    {.method = "Chat", .stream = &finish_at_once},  {.method = "Shout", .unary = say_back},
};
static const struct rpc_handler wrong_kind[] = {
    {.method = "Say", .unary = say_back},          {.method = "Publish", .unary = publish_ok},
    {.method = "Count", .unary = say_back},        {.method = "Join", .stream = &finish_at_once},
    {.method = "Chat", .stream = &finish_at_once},
};

static void expect_refused(const struct rpc_handler *handlers, size_t n, const char *line)
{
    struct schema *schema = load_echo_schema();
    struct rpc_server_options options = {.schema = schema};
    struct rpc_server *server;
    struct str error;

    assert_int_equal(rpc_server_new(&options, &server), 0);
    assert_int_equal(rpc_server_add(server, &echo_descriptor, handlers, n, NULL, &error), -EINVAL);
    assert_true(str_eq(error, str_of(line)));
    rpc_server_free(server);
    schema_free(schema);
}

static void test_bad_handlers(void **state UNUSED)
{
    expect_refused(missing_one, ARRAY_SIZE(missing_one),
                   "needs one handler: stoa.test.v1.Echo/Chat");
    expect_refused(unknown_one, ARRAY_SIZE(unknown_one), "no such method: stoa.test.v1.Echo/Shout");
    expect_refused(wrong_kind, ARRAY_SIZE(wrong_kind),
                   "handler of the wrong kind: stoa.test.v1.Echo/Count");
}

/* ---- listening ---- */

struct listener {
    struct schema *schema;
    struct rpc_server *server;
    struct str error;
    char folder[32], path[64], address[80];
};

static void new_listener(struct listener *l)
{
    struct rpc_server_options options = {0};
    struct str error;

    options.schema = l->schema = load_echo_schema();
    assert_int_equal(rpc_server_new(&options, &l->server), 0);
    assert_int_equal(rpc_server_add(l->server, &echo_descriptor, plain_handlers,
                                    ARRAY_SIZE(plain_handlers), NULL, &error),
                     0);
    snprintf(l->folder, sizeof(l->folder), "/tmp/stoa-rpc-XXXXXX");
    assert_non_null(mkdtemp(l->folder));
    snprintf(l->path, sizeof(l->path), "%s/sock", l->folder);
    snprintf(l->address, sizeof(l->address), "unix:%s", l->path);
}

static void free_listener(struct listener *l)
{
    rpc_server_stop(l->server, 10000);
    rpc_server_free(l->server);
    schema_free(l->schema);
    unlink(l->path);
    rmdir(l->folder);
}

static int listen_on(struct listener *l, const char *address)
{
    return rpc_server_listen(l->server, address, NULL, 0, NULL, &l->error);
}

static bool error_has(const struct listener *l, const char *part)
{
    return memmem(l->error.p, l->error.n, part, strlen(part)) != NULL &&
           memchr(l->error.p, '\n', l->error.n) == NULL;
}

static int bind_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(name.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_unix_mode(void **state UNUSED)
{
    struct listener l;
    struct stat st;

    new_listener(&l);
    assert_int_equal(listen_on(&l, l.address), 0);
    assert_int_equal(stat(l.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    free_listener(&l);
    new_listener(&l);
    assert_int_equal(rpc_server_listen(l.server, l.address, NULL, 0600, NULL, &l.error), 0);
    assert_int_equal(stat(l.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    free_listener(&l);
}

static void test_stale_socket_is_replaced(void **state UNUSED)
{
    struct listener l;
    struct client client;

    new_listener(&l);
    close(bind_unix(l.path)); /* the file stays, nobody listens */
    assert_int_equal(listen_on(&l, l.address), 0);
    assert_int_equal(rpc_server_start(l.server), 0);
    client_open(&client, l.address);
    assert_int_equal(say(&client, "x", 0, NULL, 0), 0);
    client_close(&client);
    free_listener(&l);
}

static int connect_unix(int fd, const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    memcpy(name.sun_path, path, strlen(path) + 1);
    return connect(fd, (struct sockaddr *)&name, sizeof(name));
}

/* Connections that find no file are closed, and the next ones heard when there is one again. */
static void test_no_file_left(void **state UNUSED)
{
    const struct timeval patience = {.tv_sec = 30};
    struct rlimit before, none;
    struct listener l;
    struct client client;
    int fds[3], next;
    char c;

    new_listener(&l);
    assert_int_equal(listen_on(&l, l.address), 0);
    assert_int_equal(rpc_server_start(l.server), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fds[i] >= 0);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    }
    next = dup(fds[0]);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        assert_int_equal(connect_unix(fds[i], l.path), 0);
        assert_int_equal(read(fds[i], &c, 1), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    client_open(&client, l.address);
    assert_int_equal(say(&client, "x", 30000, NULL, 0), 0);
    client_close(&client);
    free_listener(&l);
}

static void test_socket_in_use(void **state UNUSED)
{
    struct listener l;
    int fd;

    new_listener(&l);
    fd = bind_unix(l.path);
    assert_int_equal(listen_on(&l, l.address), -EADDRINUSE);
    assert_true(error_has(&l, l.path));
    assert_true(error_has(&l, "another server"));
    close(fd);
    free_listener(&l);
}

static void test_file_in_the_way(void **state UNUSED)
{
    struct listener l;
    FILE *file;

    new_listener(&l);
    file = fopen(l.path, "we");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(listen_on(&l, l.address), -EADDRINUSE);
    assert_true(error_has(&l, "no socket"));
    assert_int_equal(access(l.path, F_OK), 0);
    free_listener(&l);
}

static void test_bad_addresses(void **state UNUSED)
{
    char long_path[160];
    const char *bad[] = {"",           "9001",         ":9001",  "127.0.0.1",
                         "127.0.0.1:", "127.0.0.1:x",  "unix:",  "127.0.0.1:65536",
                         "::1:9001",   "127.0.0.1:-1", long_path};
    struct listener l;

    snprintf(long_path, sizeof(long_path), "unix:/tmp/%0120d", 0);
    new_listener(&l);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(listen_on(&l, bad[i]), -EINVAL);
        assert_true(error_has(&l, bad[i]));
    }
    assert_true(listen_on(&l, "unix:/nonexistent/folder/sock") < 0);
    assert_true(error_has(&l, "/nonexistent/folder/sock"));
    free_listener(&l);
}

static void test_taken_port(void **state UNUSED)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char address[32];
    struct listener l;

    assert_int_equal(bind(fd, (struct sockaddr *)&name, n), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &n), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(name.sin_port));
    new_listener(&l);
    assert_int_equal(listen_on(&l, address), -EADDRINUSE);
    assert_true(error_has(&l, address));
    assert_true(error_has(&l, "taken"));
    close(fd);
    free_listener(&l);
}

/* Two of our own servers never share a port. */
static void test_port_of_another_server(void **state UNUSED)
{
    struct listener first, second;
    struct client client;
    char address[32];
    int port = 0;

    new_listener(&first);
    assert_int_equal(rpc_server_listen(first.server, "127.0.0.1:0", NULL, 0, &port, &first.error),
                     0);
    assert_true(port > 0);
    assert_int_equal(rpc_server_start(first.server), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    new_listener(&second);
    assert_int_equal(listen_on(&second, address), -EADDRINUSE);
    free_listener(&second);
    client_open(&client, address);
    assert_int_equal(say(&client, "x", 0, NULL, 0), 0);
    client_close(&client);
    free_listener(&first);
}

/* ---- TLS ---- */

struct tls_files {
    struct test_identity ca, server, client, stranger;
    char certificate[64], key[64], ca_file[64];
};

static void make_files(struct tls_files *t, const char *folder)
{
    t->ca = make_identity("Test CA", 1, NULL);
    t->server = make_identity("server", 2, &t->ca);
    t->client = make_identity("client", 3, &t->ca);
    t->stranger = make_identity("stranger", 4, NULL);
    snprintf(t->certificate, sizeof(t->certificate), "%s/server.pem", folder);
    snprintf(t->key, sizeof(t->key), "%s/server.key", folder);
    snprintf(t->ca_file, sizeof(t->ca_file), "%s/ca.pem", folder);
    write_certificate(&t->server, t->certificate);
    write_key(&t->server, t->key);
    write_certificate(&t->ca, t->ca_file);
}

static void free_files(struct tls_files *t)
{
    free_identity(&t->ca);
    free_identity(&t->server);
    free_identity(&t->client);
    free_identity(&t->stranger);
    unlink(t->certificate);
    unlink(t->key);
    unlink(t->ca_file);
}

/* The client retries a connection that is refused until its deadline. */
#define REFUSED_MS 300
#define PATIENCE_MS 60000

/* A call over TLS by someone who shows an identity (NULL: none); the status code. */
static int say_over_tls(const char *address, const struct tls_files *t,
                        const struct test_identity *id, int64_t timeout_ms)
{
    char *ca = pem_text(&t->ca, 0), *certificate = id ? pem_text(id, 0) : NULL;
    char *key = id ? pem_text(id, 1) : NULL;
    grpc_ssl_pem_key_cert_pair pair = {key, certificate};
    struct client client;
    int code;

    client_open_with(&client, address,
                     grpc_ssl_credentials_create_ex(ca, id ? &pair : NULL, NULL, NULL), "localhost",
                     false);
    code = say(&client, "over tls", timeout_ms, NULL, 0);
    client_close(&client);
    free(ca);
    free(certificate);
    free(key);
    return code;
}

static void with_tls(bool mutual, bool unix_socket)
{
    struct tls_files t;
    struct listener l;
    struct rpc_tls tls;
    struct client plain;
    char address[80];
    int port = 0;

    new_listener(&l);
    make_files(&t, l.folder);
    tls = (struct rpc_tls){t.certificate, t.key, mutual ? t.ca_file : NULL};
    assert_int_equal(rpc_server_listen(l.server, unix_socket ? l.address : "127.0.0.1:0", &tls, 0,
                                       &port, &l.error),
                     0);
    assert_int_equal(rpc_server_start(l.server), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    assert_int_equal(say_over_tls(unix_socket ? l.address : address, &t, &t.client, PATIENCE_MS),
                     0);
    if (mutual) {
        assert_int_not_equal(say_over_tls(address, &t, NULL, REFUSED_MS), 0);
        assert_int_not_equal(say_over_tls(address, &t, &t.stranger, REFUSED_MS), 0);
    } else {
        assert_int_equal(say_over_tls(unix_socket ? l.address : address, &t, NULL, PATIENCE_MS), 0);
    }
    client_open(&plain, unix_socket ? l.address : address);
    assert_int_not_equal(say(&plain, "in the clear", REFUSED_MS, NULL, 0), 0);
    client_close(&plain);
    free_files(&t);
    free_listener(&l);
}

static void test_tls(void **state UNUSED)
{
    with_tls(false, false);
    with_tls(false, true);
}

static void test_mutual_tls(void **state UNUSED)
{
    with_tls(true, false);
}

static void expect_bad_tls(struct listener *l, struct rpc_tls tls, const char *part)
{
    assert_true(rpc_server_listen(l->server, l->address, &tls, 0, NULL, &l->error) < 0);
    assert_true(error_has(l, part));
}

static void test_bad_tls_files(void **state UNUSED)
{
    struct tls_files t;
    struct listener l;

    new_listener(&l);
    make_files(&t, l.folder);
    expect_bad_tls(&l, (struct rpc_tls){"/nonexistent.pem", t.key, NULL}, "/nonexistent.pem");
    expect_bad_tls(&l, (struct rpc_tls){t.key, t.key, NULL}, t.key);
    expect_bad_tls(&l, (struct rpc_tls){t.certificate, t.certificate, NULL}, t.certificate);
    expect_bad_tls(&l, (struct rpc_tls){t.certificate, t.key, t.key}, t.key);
    write_key(&t.client, t.key);
    expect_bad_tls(&l, (struct rpc_tls){t.certificate, t.key, NULL}, t.key);
    free_files(&t);
    free_listener(&l);
}

/* ---- stopping ---- */

static struct rpc_call *_Atomic parked;

static void park(void *service UNUSED, struct rpc_call *call,
                 const ProtobufCMessage *request UNUSED)
{
    atomic_store(&parked, call);
}

static const struct rpc_handler parking_handlers[] = UNARY_HANDLERS(park, publish_ok);

struct stop {
    struct rpc_server *server;
    int64_t grace_ms;
    atomic_bool done;
};

static void *stop_server(void *arg)
{
    struct stop *stop = arg;

    rpc_server_stop(stop->server, stop->grace_ms);
    atomic_store(&stop->done, true);
    return NULL;
}

static void begin_call(struct fixture *f, struct client_call *call)
{
    text_message request = TEXT("x");

    client_request(&f->client, call, ECHO "Say", 0, &request.base);
    WAIT_UNTIL(atomic_load(&parked));
}

/* A server that stops, on a thread of its own, while a call is parked. */
static pthread_t stop_with_a_call(struct fixture *f, struct client_call *call, struct stop *stop,
                                  int64_t grace_ms)
{
    pthread_t thread;

    fixture_start(f, (struct rpc_server_options){0}, parking_handlers, NULL);
    begin_call(f, call);
    *stop = (struct stop){.server = f->server, .grace_ms = grace_ms};
    assert_int_equal(pthread_create(&thread, NULL, stop_server, stop), 0);
    return thread;
}

static void end_parked(void)
{
    text_message answer = TEXT("in time");

    rpc_reply(atomic_exchange(&parked, NULL), &answer.base);
}

/* Whether newcomers find nobody: the empty request would be answered INVALID_ARGUMENT. Who refuses
 * says that nothing was done. */
static bool refuses_calls(const char *target)
{
    struct client client;
    struct client_call call;
    int code;

    client_open(&client, target);
    client_request_bytes(&client, &call, ECHO "Publish", REFUSED_MS, STR(""));
    code = client_status(&call);
    if (code == RPC_UNAVAILABLE)
        assert_true(str_eq(client_find(&call.trailers, "grpc-retry-pushback-ms"), STR("0")));
    client_end(&call);
    client_close(&client);
    return code == RPC_UNAVAILABLE;
}

static void test_stop_lets_calls_finish(void **state UNUSED)
{
    struct fixture f;
    struct stop stop;
    struct client_call call;
    pthread_t thread;

    fixture_start(&f, (struct rpc_server_options){0}, plain_handlers, NULL);
    fixture_stop(&f); /* with nothing to wait for */
    fixture_start(&f, (struct rpc_server_options){0}, parking_handlers, NULL);
    begin_call(&f, &call);
    stop = (struct stop){.server = f.server, .grace_ms = 60000};
    assert_int_equal(pthread_create(&thread, NULL, stop_server, &stop), 0);
    WAIT_UNTIL(refuses_calls(f.target));
    assert_false(atomic_load(&stop.done));
    assert_false(atomic_load(rpc_call_cancelled(atomic_load(&parked))));
    end_parked();
    client_skip(&call);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
    pthread_join(thread, NULL);
    fixture_stop(&f);
}

static void test_stop_cancels_beyond_grace(void **state UNUSED)
{
    struct fixture f;
    struct stop stop;
    struct client_call call;
    pthread_t thread = stop_with_a_call(&f, &call, &stop, 50);

    WAIT_UNTIL(atomic_load(rpc_call_cancelled(atomic_load(&parked))));
    assert_false(atomic_load(&stop.done)); /* the handler still has the call */
    assert_int_not_equal(client_status(&call), 0);
    end_parked();
    pthread_join(thread, NULL);
    client_end(&call);
    fixture_stop(&f);
}

enum { CALLS_AT_ONCE = 8 };

/* A poller that is held up: while calls gather in the socket, and, when it has read them all and
 * taken the first, until the server has told it to pause. */
struct held_poller {
    struct fixture f;
    struct stop stop;
    pthread_t thread;
    int calls; /* that it has taken; its own */
    atomic_bool holds, gathered;
};

static void hold_poller(void *context, struct rpc_call *call)
{
    struct held_poller *held = context;

    if (++held->calls == 1) {
        atomic_store(&held->holds, true);
        WAIT_UNTIL(atomic_load(&held->gathered));
    } else if (held->calls == 2) {
        held->stop = (struct stop){.server = held->f.server};
        assert_int_equal(pthread_create(&held->thread, NULL, stop_server, &held->stop), 0);
        WAIT_UNTIL(atomic_load(&held->f.server->paused));
    }
    rpc_call_proceed(call);
}

/* One look at the sockets brings many calls. Those that nobody had taken yet when the pollers
 * paused are refused, and not cancelled. */
static void test_stop_refuses_what_was_read_last(void **state UNUSED)
{
    struct held_poller held = {.calls = 0};
    struct rpc_server_options options = {
        .pollers = 1, .authenticate = hold_poller, .authenticate_context = &held};
    struct client_call first, calls[CALLS_AT_ONCE];
    text_message request = TEXT("x");

    fixture_start(&held.f, options, plain_handlers, NULL);
    client_request(&held.f.client, &first, ECHO "Say", 0, &request.base);
    WAIT_UNTIL(atomic_load(&held.holds));
    for (size_t i = 0; i < CALLS_AT_ONCE; i++)
        client_request(&held.f.client, &calls[i], ECHO "Say", 0, &request.base);
    atomic_store(&held.gathered, true);
    client_skip(&first);
    client_end(&first);
    for (size_t i = 0; i < CALLS_AT_ONCE; i++) {
        client_skip(&calls[i]);
        /* The one that was taken is in work when the grace is over. */
        if (i > 0) {
            assert_int_equal(client_status(&calls[i]), RPC_UNAVAILABLE);
            assert_true(
                str_eq(client_find(&calls[i].trailers, "grpc-retry-pushback-ms"), STR("0")));
        }
        client_end(&calls[i]);
    }
    pthread_join(held.thread, NULL);
    fixture_stop(&held.f);
}

static void keep_open(void *service UNUSED, struct rpc_call *call UNUSED,
                      const ProtobufCMessage *request UNUSED)
{
}

static const struct rpc_stream_handler open_end = {.open = keep_open, .message = ignore_message};

static void test_stop_cancels_streams(void **state UNUSED)
{
    const struct rpc_handler handlers[] = {
        {.method = "Say", .unary = say_back},     {.method = "Publish", .unary = publish_ok},
        {.method = "Count", .stream = &open_end}, {.method = "Join", .stream = &open_end},
        {.method = "Chat", .stream = &open_end},  {.method = "List", .unary = publish_ok},
    };
    struct fixture f;
    struct client_call count, join, chat;

    fixture_start(&f, (struct rpc_server_options){0}, handlers, NULL);
    client_request_bytes(&f.client, &count, ECHO "Count", 0, STR(""));
    client_begin(&f.client, &join, ECHO "Join", 0, NULL, 0);
    client_begin(&f.client, &chat, ECHO "Chat", 0, NULL, 0);
    client_headers(&count);
    client_headers(&chat);
    client_send_bytes(&join, STR(""));
    rpc_server_stop(f.server, 50);
    assert_int_not_equal(client_status(&count), 0);
    assert_int_not_equal(client_status(&join), 0);
    assert_int_not_equal(client_status(&chat), 0);
    client_end(&count);
    client_end(&join);
    client_end(&chat);
    fixture_stop(&f);
}

/* ---- errands on the pollers ---- */

enum { ERRAND_THREADS = 4 };

static atomic_size_t errands_run;

static void run_errand(void *arg)
{
    assert_ptr_equal(arg, &errands_run);
    atomic_fetch_add(&errands_run, 1);
}

/* Gives errands until none are taken any more; how many were. */
static void *give_errands(void *server)
{
    size_t taken = 0;
    int r;

    while ((r = rpc_server_run(server, run_errand, &errands_run)) == 0) {
        taken++;
        usleep(50);
    }
    assert_int_equal(r, -EAGAIN);
    return (void *)taken;
}

/* Each that was taken has run when the server has stopped, whenever that is. */
static void test_errands(void **state UNUSED)
{
    struct fixture f;
    pthread_t threads[ERRAND_THREADS];
    size_t taken = 0;

    fixture_start(&f, (struct rpc_server_options){.pollers = 2}, plain_handlers, NULL);
    atomic_store(&errands_run, 0);
    for (size_t i = 0; i < ERRAND_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, give_errands, f.server), 0);
    WAIT_UNTIL(atomic_load(&errands_run) > 1000);
    rpc_server_stop(f.server, 1000);
    for (size_t i = 0; i < ERRAND_THREADS; i++) {
        void *each;

        pthread_join(threads[i], &each);
        taken += (size_t)each;
    }
    assert_int_equal(atomic_load(&errands_run), taken);
    assert_int_equal(rpc_server_run(f.server, run_errand, &errands_run), -EAGAIN);
    fixture_stop(&f);
}

static void test_no_errands_before_the_start(void **state UNUSED)
{
    struct rpc_server_options options = {.schema = load_echo_schema()};
    struct rpc_server *server;

    assert_int_equal(rpc_server_new(&options, &server), 0);
    assert_int_equal(rpc_server_run(server, run_errand, &errands_run), -EAGAIN);
    rpc_server_free(server);
    schema_free((struct schema *)options.schema);
}

static void answer_parked(void *arg UNUSED)
{
    end_parked();
}

/* A call that ends in an errand, when the server already stops. */
static void test_an_errand_ends_a_call(void **state UNUSED)
{
    struct fixture f;
    struct stop stop;
    struct client_call call;
    pthread_t thread = stop_with_a_call(&f, &call, &stop, 60000);

    WAIT_UNTIL(refuses_calls(f.target));
    assert_int_equal(rpc_server_run(f.server, answer_parked, NULL), 0);
    client_skip(&call);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
    pthread_join(thread, NULL);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_handlers),
        cmocka_unit_test(test_unix_mode),
        cmocka_unit_test(test_stale_socket_is_replaced),
        cmocka_unit_test(test_no_file_left),
        cmocka_unit_test(test_socket_in_use),
        cmocka_unit_test(test_file_in_the_way),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_taken_port),
        cmocka_unit_test(test_port_of_another_server),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_mutual_tls),
        cmocka_unit_test(test_bad_tls_files),
        cmocka_unit_test(test_stop_lets_calls_finish),
        cmocka_unit_test(test_stop_cancels_beyond_grace),
        cmocka_unit_test(test_stop_refuses_what_was_read_last),
        cmocka_unit_test(test_stop_cancels_streams),
        cmocka_unit_test(test_errands),
        cmocka_unit_test(test_no_errands_before_the_start),
        cmocka_unit_test(test_an_errand_ends_a_call),
    };

    return cmocka_run_group_tests_name("rpc server", tests, NULL, NULL);
}
