/* A user of gateway/h2.h for the contract tests: a location whose client drives one gRPC stream by
 * lines of text, and hears by lines what its callbacks were told.
 *
 *     h2_test UPSTREAM;
 *
 * After "HTTP/1.1 200" and an empty line the connection speaks this protocol:
 *
 *     open PATH MAX_MESSAGE TIMEOUT_MS [NAME=VALUE ...]
 *     send COUNT SIZE      COUNT messages of SIZE bytes; answers "sent OK|AGAIN|ERROR" for the last
 *     half | resume | cancel | stats
 *     pause N              the Nth message from now, and those after it, make the callback pause
 *     on EVENT ACTION      in the callback `opened`, `message`, `writable` or `ended`: `cancel`,
 *                          `resume` or `reopen` the stream
 *
 *     opened | message SIZE CRC32 | writable | ended CODE FROM_UPSTREAM MESSAGE DETAILS (in hex)
 *     stats CONNECTIONS STREAMS
 */
#include "h2.h"

#define LINE_MAX_SIZE 8192
#define HEADERS_MAX 16

enum event { OPENED, MESSAGE, WRITABLE, ENDED, EVENTS };
static const char *const event_names[EVENTS] = {"opened", "message", "writable", "ended"};

struct user {
    ngx_http_request_t *request;
    ngx_http_upstream_srv_conf_t *upstream;
    struct grpc_h2_stream *stream;
    char opening[LINE_MAX_SIZE]; /* the last `open` */
    char line[LINE_MAX_SIZE];
    size_t have;
    ngx_uint_t pause_at; /* messages until a pause; 0: never */
    char action[EVENTS];
    bool closed;
};

struct conf {
    ngx_http_upstream_srv_conf_t *upstream;
};

extern ngx_module_t ngx_http_h2_test_module;
static void run(struct user *user, char *line);

/* ---- lines to the client ---- */

/* Lines are short and few; a client that lets them pile up is a broken test. */
static void say(struct user *user, const char *text, size_t n)
{
    ngx_connection_t *c = user->request->connection;

    if (!user->closed && c->send(c, (u_char *)text, n) != (ssize_t)n)
        user->closed = true;
}

#define SAY(user, ...)                                          \
    do {                                                        \
        u_char text_[LINE_MAX_SIZE], *end_;                     \
        end_ = ngx_snprintf(text_, sizeof(text_), __VA_ARGS__); \
        say(user, (const char *)text_, (size_t)(end_ - text_)); \
    } while (0)

/* ---- callbacks ---- */

static void act(struct user *user, enum event event)
{
    char action = user->action[event];

    user->action[event] = 0;
    if (action == 'c' && user->stream) {
        grpc_h2_cancel(user->stream);
        user->stream = NULL;
    } else if (action == 'r' && user->stream) {
        grpc_h2_resume(user->stream);
    } else if (action == 'o') {
        char again[LINE_MAX_SIZE];

        ngx_memcpy(again, user->opening, sizeof(again));
        run(user, again);
    }
}

static void on_opened(void *data)
{
    SAY(data, "opened\n");
    act(data, OPENED);
}

static bool on_message(void *data, struct str message)
{
    struct user *user = data;
    bool go_on = user->pause_at != 1;

    if (user->pause_at > 1)
        user->pause_at--;
    SAY(user, "message %uz %uD\n", message.n, ngx_crc32_long((u_char *)message.p, message.n));
    act(user, MESSAGE);
    return go_on;
}

static void on_writable(void *data)
{
    SAY(data, "writable\n");
    act(data, WRITABLE);
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    struct user *user = data;
    u_char message[2048], details[2048];
    size_t n = ngx_min(end->message.n, sizeof(message) / 2);
    size_t m = ngx_min(end->details.n, sizeof(details) / 2);

    user->stream = NULL;
    SAY(user, "ended %d %d .%*s .%*s\n", end->status, end->from_upstream,
        (size_t)(ngx_hex_dump(message, (u_char *)end->message.p, n) - message), message,
        (size_t)(ngx_hex_dump(details, (u_char *)end->details.p, m) - details), details);
    act(user, ENDED);
}

static const struct grpc_h2_callbacks callbacks = {
    .opened = on_opened, .message = on_message, .writable = on_writable, .ended = on_ended};

/* ---- lines from the client ---- */

static void run_open(struct user *user, char *args)
{
    struct grpc_h2_header headers[HEADERS_MAX];
    char *save, *path = strtok_r(args, " ", &save);
    size_t max = strtoul(strtok_r(NULL, " ", &save), NULL, 10);
    ngx_msec_t timeout = strtoul(strtok_r(NULL, " ", &save), NULL, 10);
    size_t n = 0;
    char *header, *value;

    while (n < HEADERS_MAX && (header = strtok_r(NULL, " ", &save))) {
        value = strchr(header, '=');
        if (!value)
            continue;
        headers[n].name = (struct str){header, (size_t)(value - header)};
        headers[n++].value = str_of(value + 1);
    }
    user->stream = grpc_h2_open(user->upstream, str_of(path), headers, n, timeout, max, &callbacks,
                                user, user->request->connection->log);
    if (!user->stream)
        SAY(user, "no memory\n");
}

static void run_send(struct user *user, char *args)
{
    char *rest;
    unsigned long count = strtoul(args, &rest, 10);
    size_t size = strtoul(rest, NULL, 10);
    char *bytes = malloc(size + 1);
    ngx_int_t rc = NGX_ERROR;

    if (bytes && user->stream) {
        ngx_memset(bytes, 'x', size);
        do
            rc = grpc_h2_send(user->stream, (struct str){bytes, size});
        while (rc != NGX_ERROR && --count > 0);
    }
    free(bytes);
    SAY(user, "sent %s\n", rc == NGX_OK ? "OK" : rc == NGX_AGAIN ? "AGAIN" : "ERROR");
}

static void run_on(struct user *user, const char *args)
{
    for (size_t i = 0; i < EVENTS; i++) {
        size_t n = strlen(event_names[i]);

        if (strncmp(args, event_names[i], n) == 0 && args[n] == ' ')
            user->action[i] = strcmp(args + n + 1, "reopen") == 0 ? 'o' : args[n + 1];
    }
}

static void run(struct user *user, char *line)
{
    struct grpc_h2_stats stats;

    if (strncmp(line, "open ", 5) == 0) {
        ngx_memcpy(user->opening, line, strlen(line) + 1);
        run_open(user, line + 5);
    } else if (strncmp(line, "send ", 5) == 0) {
        run_send(user, line + 5);
    } else if (strncmp(line, "on ", 3) == 0) {
        run_on(user, line + 3);
    } else if (strncmp(line, "pause ", 6) == 0) {
        user->pause_at = strtoul(line + 6, NULL, 10);
    } else if (strcmp(line, "stats") == 0) {
        grpc_h2_stats(&stats);
        SAY(user, "stats %ui %ui\n", stats.connections, stats.streams);
    } else if (!user->stream) {
        SAY(user, "no stream\n");
    } else if (strcmp(line, "half") == 0) {
        grpc_h2_half_close(user->stream);
    } else if (strcmp(line, "resume") == 0) {
        user->pause_at = 0;
        grpc_h2_resume(user->stream);
    } else if (strcmp(line, "cancel") == 0) {
        grpc_h2_cancel(user->stream);
        user->stream = NULL;
        SAY(user, "cancelled\n");
    }
}

static void leave(struct user *user)
{
    ngx_http_request_t *r = user->request;

    if (user->stream)
        grpc_h2_cancel(user->stream);
    free(user);
    ngx_http_finalize_request(r, NGX_ERROR);
}

static void on_client(ngx_http_request_t *r)
{
    struct user *user = ngx_http_get_module_ctx(r, ngx_http_h2_test_module);
    ngx_connection_t *c = r->connection;
    char *end;
    ssize_t n;

    for (;;) {
        n = c->recv(c, (u_char *)user->line + user->have, sizeof(user->line) - user->have);
        if (n == NGX_AGAIN && !user->closed && ngx_handle_read_event(c->read, 0) == NGX_OK)
            return;
        if (n <= 0) {
            leave(user);
            return;
        }
        user->have += (size_t)n;
        while ((end = memchr(user->line, '\n', user->have))) {
            size_t used = (size_t)(end - user->line) + 1;
            char line[LINE_MAX_SIZE];

            ngx_memcpy(line, user->line, used);
            line[used - 1] = '\0';
            user->have -= used;
            memmove(user->line, user->line + used, user->have);
            run(user, line);
        }
    }
}

static ngx_int_t handle(ngx_http_request_t *r)
{
    struct conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_h2_test_module);
    struct user *user = calloc(1, sizeof(*user));

    if (!user)
        return NGX_ERROR;
    user->request = r;
    user->upstream = conf->upstream;
    ngx_http_set_ctx(r, user, ngx_http_h2_test_module);
    r->main->count++;
    r->keepalive = 0;
    r->read_event_handler = on_client;
    SAY(user, "HTTP/1.1 200 OK\r\n\r\n");
    return NGX_DONE;
}

/* ---- configuration ---- */

static char *set_upstream(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct conf *conf = data;
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    ngx_str_t *args = cf->args->elts;
    ngx_url_t url = {.url = args[1], .uri_part = 1, .no_resolve = 1};

    (void)command;
    conf->upstream = ngx_http_upstream_add(cf, &url, 0);
    core->handler = handle;
    return conf->upstream ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static struct grpc_h2_settings settings = {0};

static char *set_times(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    ngx_str_t *args = cf->args->elts;

    (void)command;
    (void)data;
    settings.connect_timeout = (ngx_msec_t)ngx_parse_time(&args[1], 0);
    settings.ping_interval = (ngx_msec_t)ngx_parse_time(&args[2], 0);
    settings.ping_timeout = (ngx_msec_t)ngx_parse_time(&args[3], 0);
    settings.idle_timeout = (ngx_msec_t)ngx_parse_time(&args[4], 0);
    return NGX_CONF_OK;
}

static void *create_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(struct conf));
}

static ngx_int_t init_process(ngx_cycle_t *cycle)
{
    (void)cycle;
    if (settings.connect_timeout)
        grpc_h2_configure(&settings);
    return NGX_OK;
}

static ngx_command_t commands[] = {
    {ngx_string("h2_test"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, set_upstream,
     NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    /* CONNECT PING_INTERVAL PING_TIMEOUT IDLE */
    {ngx_string("h2_test_times"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE4, set_times, 0, 0, NULL},
    ngx_null_command,
};

static ngx_http_module_t module_context = {.create_loc_conf = create_conf};

/* clang-format off */
ngx_module_t ngx_http_h2_test_module = {
    NGX_MODULE_V1,
    .ctx = &module_context,
    .commands = commands,
    .type = NGX_HTTP_MODULE,
    .init_process = init_process,
    .exit_process = grpc_h2_shutdown,
};
/* clang-format on */

/* What nginx looks for in a module that it loads. */
ngx_module_t *ngx_modules[] = {&ngx_http_h2_test_module, NULL};
static char name[] = "ngx_http_h2_test_module";
char *ngx_module_names[] = {name, NULL};
char *ngx_module_order[] = {NULL};
