/* Requests at a steady rate, whatever becomes of those before: for `make bench-flood`; README.md.
 *
 * Arrivals are random (exponential gaps, the same ones each time), as those of many clients are. A
 * request's time counts from when it was due, so that what a slow answer keeps from being sent is
 * not missing from the figures. While all connections wait for an answer, requests that are due
 * wait for one of them, and what has waited so for too long is not sent: that says nothing of the
 * server but that it did not answer sooner. HTTP/1.1 with keep-alive; the latest free connection
 * goes first.
 *
 * This program stands for machines elsewhere: where it may, it runs at a real-time priority, so
 * that what it waits for is the server and not a core to read the answer on. */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000
#define PATIENCE ((int64_t)10 * SECOND) /* for the last answers */
#define MAX_REQUEST 65536
#define MAX_HEAD 16384
#define EVENTS 256
/* Instead of a status. */
#define NO_ANSWER 0
#define NOT_SENT (-1)

struct connection {
    struct connection *next_free;
    int fd;          /* -1: not open */
    int64_t due;     /* of its request */
    int64_t sent;    /* likewise */
    size_t n_head;   /* of the answer's head, so far */
    int64_t rest;    /* of its body; -1: the head is not whole */
    int status;      /* NO_ANSWER: none came */
    bool busy, last; /* last: the server closes it after this answer */
    char head[MAX_HEAD + 1];
};

static struct {
    struct sockaddr_in address;
    char request[MAX_REQUEST];
    size_t n_request;
    int epoll;
    struct connection *connections, *free;
    size_t n_connections;
    int64_t *due; /* times, ascending */
    size_t n_due, n_sent, n_answered;
} load;

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "steady: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static int64_t now_ns(void)
{
    struct timespec t;

    must(clock_gettime(CLOCK_MONOTONIC, &t) == 0, "clock");
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

/* ---- a connection ---- */

static void open_connection(struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(c->fd >= 0, "socket");
    must(connect(c->fd, (struct sockaddr *)&load.address, sizeof(load.address)) == 0, "connect");
    must(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "TCP_NODELAY");
    must(epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &event) == 0, "epoll");
}

static void close_connection(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static void tell(int status, int64_t since_due, int64_t since_sent)
{
    printf("%d %lld %lld\n", status, (long long)since_due / 1000, (long long)since_sent / 1000);
}

/* The request was answered, or its connection broke. */
static void end_request(struct connection *c)
{
    int64_t now = now_ns();

    tell(c->status, now - c->due, now - c->sent);
    load.n_answered++;
    if (c->status == NO_ANSWER || c->last)
        close_connection(c);
    c->busy = false;
    c->next_free = load.free;
    load.free = c;
}

static void send_request(struct connection *c, int64_t due)
{
    if (c->fd < 0)
        open_connection(c);
    c->due = due;
    c->sent = now_ns();
    c->n_head = 0;
    c->rest = -1;
    c->status = NO_ANSWER;
    c->last = false;
    c->busy = true;
    /* A request is small: it fits into an empty socket. */
    if (send(c->fd, load.request, load.n_request, MSG_NOSIGNAL) != (ssize_t)load.n_request)
        end_request(c);
}

/* ---- an answer ---- */

static const char *header(const struct connection *c, const char *name)
{
    const char *at = strcasestr(c->head, name);

    return at ? at + strlen(name) : NULL;
}

/* The head has ended at `end`: what it says about the body. */
static void read_head(struct connection *c, const char *end)
{
    const char *length = header(c, "\r\nContent-Length:");

    must(sscanf(c->head, "HTTP/1.1 %d ", &c->status) == 1, "an answer that is no HTTP");
    must(length && end, "an answer that doesn't say its length");
    c->last = header(c, "\r\nConnection: close") != NULL;
    c->rest = strtoll(length, NULL, 10) - (c->head + c->n_head - end);
}

static void read_answer(struct connection *c)
{
    char body[65536];
    bool in_head = c->rest < 0;
    char *to = in_head ? c->head + c->n_head : body;
    ssize_t n = recv(c->fd, to, in_head ? MAX_HEAD - c->n_head : sizeof(body), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (!c->busy) { /* an idle connection that the server has closed */
        must(n <= 0, "an answer that was not asked for");
        close_connection(c);
        return;
    }
    if (n <= 0) {
        c->status = NO_ANSWER;
        end_request(c);
        return;
    }
    if (in_head) {
        char *end;

        c->n_head += (size_t)n;
        c->head[c->n_head] = '\0';
        end = strstr(c->head, "\r\n\r\n");
        must(end || c->n_head < MAX_HEAD, "an answer with a long head");
        if (!end)
            return;
        read_head(c, end + 4);
    } else {
        c->rest -= n;
    }
    must(c->rest >= 0, "an answer that is longer than it says");
    if (c->rest == 0)
        end_request(c);
}

/* ---- the load ---- */

static void plan(double rate, double seconds)
{
    unsigned short seed[3] = {1, 2, 3};
    double at = (double)now_ns(), end = at + seconds * SECOND;

    load.due = calloc((size_t)(2 * rate * seconds) + 1000, sizeof(*load.due));
    must(load.due != NULL, "memory");
    while ((at += -log(1 - erand48(seed)) / rate * SECOND) < end)
        load.due[load.n_due++] = (int64_t)at;
    must(load.n_due > 0, "no request is due");
}

/* Sends all that is due, as far as connections are free; returns until when answers may come before
 * there is more to send. */
static int64_t send_due(int64_t now)
{

    while (load.n_sent < load.n_due && load.due[load.n_sent] <= now && load.free) {
        struct connection *c = load.free;

        load.free = c->next_free;
        send_request(c, load.due[load.n_sent++]);
    }
    if (load.n_sent < load.n_due && load.free)
        return load.due[load.n_sent];
    return load.due[load.n_due - 1] + PATIENCE;
}

/* What is not answered by now, or not even sent. */
static void give_up(int64_t now)
{
    for (size_t i = 0; i < load.n_connections; i++) {
        if (load.connections[i].busy)
            tell(NO_ANSWER, now - load.connections[i].due, now - load.connections[i].sent);
    }
    for (; load.n_sent < load.n_due; load.n_sent++)
        tell(NOT_SENT, now - load.due[load.n_sent], 0);
}

static void run(void)
{
    struct epoll_event events[EVENTS];

    while (load.n_answered < load.n_due) {
        int64_t now = now_ns(), wait = send_due(now) - now;
        struct timespec timeout = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
        int n;

        if (wait <= 0) {
            give_up(now);
            return;
        }
        n = epoll_pwait2(load.epoll, events, EVENTS, &timeout, NULL);
        must(n >= 0, "epoll");
        for (int i = 0; i < n; i++)
            read_answer(events[i].data.ptr);
    }
}

int main(int argc, char **argv)
{
    struct sched_param priority = {.sched_priority = 1};

    if (argc != 5) {
        fputs("usage: steady PORT RATE SECONDS CONNECTIONS <REQUEST\n"
              "Prints a line for each request: the status of its answer (0: none came; -1: it was\n"
              "not sent, since all connections waited), and the microseconds since it was due and\n"
              "since it was sent.\n",
              stderr);
        return 2;
    }
    load.address = (struct sockaddr_in){.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)atoi(argv[1])),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    load.n_connections = strtoul(argv[4], NULL, 10);
    load.n_request = fread(load.request, 1, sizeof(load.request), stdin);
    load.connections = calloc(load.n_connections, sizeof(*load.connections));
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    must(load.connections && load.epoll >= 0, "start");
    for (size_t i = load.n_connections; i-- > 0; load.free = &load.connections[i])
        load.connections[i] = (struct connection){.fd = -1, .next_free = load.free};
    sched_setscheduler(0, SCHED_FIFO, &priority); /* refused: it takes its turn as others do */
    plan(atof(argv[2]), atof(argv[3]));
    run();
    return 0;
}
