/* One thread with libevent: it accepts, reads the head of a request, answers and closes. */
#include "metrics/server.h"

#include "base/listen.h"
#include "base/log.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_LISTENERS 8
#define MAX_CONNECTIONS 16
#define MAX_HEAD 8192
#define MAX_TEXT ((size_t)16 << 20)

/* From accepting to the last byte. */
static const struct timeval time_limit = {.tv_sec = 5};
static const struct timeval pause_time = {.tv_sec = 1};

struct connection {
    struct metrics_server *server; /* NULL: free */
    struct bufferevent *stream;
    struct event *timer;
    bool answered;
};

struct metrics_server {
    pthread_t thread;
    struct event_base *base;
    struct event *stop, *pause;
    int stop_fd; /* eventfd */
    struct evconnlistener *listeners[MAX_LISTENERS];
    size_t n_listeners;
    struct metrics_writer writers[METRICS_MAX_WRITERS];
    size_t n_writers;
    struct connection connections[MAX_CONNECTIONS];
    size_t n_connections;
};

/* ---- connections ---- */

static void accept_more(struct metrics_server *server, bool more)
{
    for (size_t i = 0; i < server->n_listeners; i++) {
        if (more)
            evconnlistener_enable(server->listeners[i]);
        else
            evconnlistener_disable(server->listeners[i]);
    }
}

static void end(struct connection *connection)
{
    struct metrics_server *server = connection->server;

    if (connection->stream)
        bufferevent_free(connection->stream);
    if (connection->timer)
        event_free(connection->timer);
    *connection = (struct connection){.server = NULL};
    if (server->n_connections-- == MAX_CONNECTIONS)
        accept_more(server, true);
}

static void answer(struct connection *connection, const char *status, const char *type,
                   struct str body, bool head_only)
{
    struct evbuffer *out = bufferevent_get_output(connection->stream);

    connection->answered = true;
    bufferevent_disable(connection->stream, EV_READ);
    if (evbuffer_add_printf(out,
                            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                            "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                            status, type, body.n) < 0 ||
        (!head_only && evbuffer_add(out, body.p, body.n) < 0))
        end(connection); /* without memory: the scraper sees it closed */
}

static void refuse(struct connection *connection, const char *status)
{
    answer(connection, status, "text/plain; charset=utf-8", STR_NULL, false);
}

static void answer_metrics(struct connection *connection, bool head_only)
{
    struct metrics_server *server = connection->server;
    struct buf text CLEANUP(buf_free) = {.max = MAX_TEXT};

    for (size_t i = 0; i < server->n_writers; i++)
        server->writers[i].write(server->writers[i].user, &text);
    if (buf_error(&text) < 0) {
        log_error("the metrics did not fit", LOG_C("cause", strerror(-buf_error(&text))));
        refuse(connection, "500 Internal Server Error");
        return;
    }
    answer(connection, "200 OK", METRICS_CONTENT_TYPE, buf_str(&text), head_only);
}

/* The first word of the line, which is cut off with the space behind it. */
static struct str next_word(struct str *line)
{
    const char *space = line->n ? memchr(line->p, ' ', line->n) : NULL;
    struct str word = {line->p, space ? (size_t)(space - line->p) : line->n};

    *line = str_skip(*line, word.n + 1);
    return word;
}

/* RFC 9112 section 3; headers change nothing. */
static void serve(struct connection *connection, struct str line)
{
    struct str method = next_word(&line), target = next_word(&line);
    const char *query = target.n ? memchr(target.p, '?', target.n) : NULL;
    struct str path = {target.p, query ? (size_t)(query - target.p) : target.n};
    bool head = str_eq(method, STR("HEAD"));

    if (!str_eq(line, STR("HTTP/1.1")) && !str_eq(line, STR("HTTP/1.0")))
        refuse(connection, "400 Bad Request");
    else if (!str_eq(path, STR("/metrics")))
        refuse(connection, "404 Not Found");
    else if (!head && !str_eq(method, STR("GET")))
        refuse(connection, "405 Method Not Allowed");
    else
        answer_metrics(connection, head);
}

static void on_read(struct bufferevent *stream, void *user)
{
    struct connection *connection = user;
    struct evbuffer *in = bufferevent_get_input(stream);
    struct evbuffer_ptr blank = evbuffer_search(in, "\r\n\r\n", 4, NULL), eol;
    char *text;

    if (connection->answered)
        return;
    if (blank.pos < 0) {
        if (evbuffer_get_length(in) >= MAX_HEAD)
            refuse(connection, "431 Request Header Fields Too Large");
        return;
    }
    eol = evbuffer_search(in, "\r\n", 2, NULL);
    text = (char *)evbuffer_pullup(in, eol.pos);
    if (text || eol.pos == 0)
        serve(connection, (struct str){text, (size_t)eol.pos});
    else
        end(connection);
}

static void on_written(struct bufferevent *stream UNUSED, void *user)
{
    struct connection *connection = user;

    if (connection->answered)
        end(connection);
}

static void on_event(struct bufferevent *stream UNUSED, short what UNUSED, void *user)
{
    end(user);
}

static void on_late(evutil_socket_t fd UNUSED, short what UNUSED, void *user)
{
    end(user);
}

static void on_accept(struct evconnlistener *listener UNUSED, evutil_socket_t fd,
                      struct sockaddr *from UNUSED, int length UNUSED, void *user)
{
    struct metrics_server *server = user;
    struct connection *connection = server->connections;

    while (connection->server)
        connection++; /* there is one: else nothing is accepted */
    *connection = (struct connection){
        .server = server,
        .stream = bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE),
        .timer = event_new(server->base, -1, 0, on_late, connection),
    };
    if (++server->n_connections == MAX_CONNECTIONS)
        accept_more(server, false);
    if (!connection->stream)
        close(fd);
    if (!connection->stream || !connection->timer ||
        event_add(connection->timer, &time_limit) < 0 ||
        bufferevent_set_max_single_read(connection->stream, MAX_HEAD) < 0) {
        end(connection);
        return;
    }
    bufferevent_setwatermark(connection->stream, EV_READ, 0, MAX_HEAD);
    bufferevent_setcb(connection->stream, on_read, on_written, on_event, connection);
    if (bufferevent_enable(connection->stream, EV_READ) < 0)
        end(connection);
}

/* No file is left for another connection, and the like: the next look is a second later. */
static void on_accept_error(struct evconnlistener *listener UNUSED, void *user)
{
    struct metrics_server *server = user;

    log_warn("a connection for the metrics was not accepted",
             LOG_C("cause", strerror(EVUTIL_SOCKET_ERROR())));
    if (event_add(server->pause, &pause_time) == 0)
        accept_more(server, false);
}

static void on_pause_end(evutil_socket_t fd UNUSED, short what UNUSED, void *user)
{
    struct metrics_server *server = user;

    if (server->n_connections < MAX_CONNECTIONS)
        accept_more(server, true);
}

/* ---- life ---- */

static void on_stop(evutil_socket_t fd UNUSED, short what UNUSED, void *user)
{
    struct metrics_server *server = user;

    event_base_loopbreak(server->base);
}

static void *run(void *user)
{
    struct metrics_server *server = user;

    if (event_base_dispatch(server->base) < 0)
        log_error("the metrics are served no longer");
    return NULL;
}

static int listen_on(struct metrics_server *server, struct str address, struct arena *arena,
                     struct str *ret_error)
{
    struct str copy = arena_copy(arena, address);
    int fd, r;

    if (!copy.p)
        return -ENOMEM;
    if (server->n_listeners == MAX_LISTENERS) {
        *ret_error = STR("more than 8 addresses for the metrics");
        return -EINVAL;
    }
    r = listen_open(copy.p, arena, &fd, ret_error);
    if (r < 0)
        return r;
    server->listeners[server->n_listeners] = evconnlistener_new(
        server->base, on_accept, server, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!server->listeners[server->n_listeners]) {
        close(fd);
        return -ENOMEM;
    }
    evconnlistener_set_error_cb(server->listeners[server->n_listeners++], on_accept_error);
    log_info("listening for Prometheus", LOG_S("address", address));
    return 0;
}

static int listen_all(struct metrics_server *server, struct str addresses, struct arena *arena,
                      struct str *ret_error)
{
    int r = 0;

    while (r == 0 && addresses.n > 0) {
        const char *comma = memchr(addresses.p, ',', addresses.n);
        size_t n = comma ? (size_t)(comma - addresses.p) : addresses.n;

        r = listen_on(server, (struct str){addresses.p, n}, arena, ret_error);
        addresses = str_skip(addresses, n + 1);
    }
    return r;
}

static int prepare(struct metrics_server *server)
{
    server->base = event_base_new();
    server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!server->base || server->stop_fd < 0)
        return -ENOMEM;
    server->stop = event_new(server->base, server->stop_fd, EV_READ | EV_PERSIST, on_stop, server);
    server->pause = event_new(server->base, -1, 0, on_pause_end, server);
    return server->stop && server->pause && event_add(server->stop, NULL) == 0 ? 0 : -ENOMEM;
}

static void release(struct metrics_server *server)
{
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        if (server->connections[i].server)
            end(&server->connections[i]);
    }
    for (size_t i = 0; i < server->n_listeners; i++)
        evconnlistener_free(server->listeners[i]);
    if (server->stop)
        event_free(server->stop);
    if (server->pause)
        event_free(server->pause);
    if (server->base)
        event_base_free(server->base);
    if (server->stop_fd >= 0)
        close(server->stop_fd);
    free(server);
}

/* Signals are for the threads of the program. */
static int start_thread(struct metrics_server *server)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = -pthread_create(&server->thread, NULL, run, server);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pthread_setname_np(server->thread, "metrics");
    return r;
}

int metrics_server_start(struct str addresses, const struct metrics_writer *writers, size_t n,
                         struct arena *arena, struct metrics_server **ret, struct str *ret_error)
{
    struct metrics_server *server = calloc(1, sizeof(*server));
    int r;

    *ret_error = STR("out of memory or threads for the metrics");
    if (!server)
        return -ENOMEM;
    if (n > METRICS_MAX_WRITERS)
        abort(); /* a fixed list, written by the services' authors */
    server->stop_fd = -1;
    server->n_writers = n;
    memcpy(server->writers, writers, n * sizeof(*writers));
    r = prepare(server);
    if (r == 0)
        r = listen_all(server, addresses, arena, ret_error);
    if (r == 0)
        r = start_thread(server);
    if (r < 0) {
        release(server);
        return r;
    }
    *ret = server;
    return 0;
}

void metrics_server_stop(struct metrics_server *server)
{
    uint64_t one = 1;

    if (!server)
        return;
    /* The only failure is a full counter, and then the thread is awake already. */
    ssize_t n UNUSED = write(server->stop_fd, &one, sizeof(one));
    pthread_join(server->thread, NULL);
    release(server);
}
