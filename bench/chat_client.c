/* Sockets and WebSocket frames (RFC 6455) of the load driver, on one thread. chat.h. */
#include "chat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SERVERS 8
#define MAX_EVENTS 1024
#define MAX_FRAME (1u << 20)
#define INPUT_SIZE (2 * MAX_FRAME)

#define OPCODE_TEXT 1
#define OPCODE_CLOSE 8
#define OPCODE_PING 9
#define OPCODE_PONG 10

static struct {
    const struct dialect *dialect;
    int epoll;
    struct sockaddr_in servers[MAX_SERVERS];
    unsigned n_servers, n_sources;
    int close_code;         /* of the close frame that was read last */
    char input[INPUT_SIZE]; /* of whoever is being read */
} it;

static void add_server(char *host)
{
    struct sockaddr_in *address = &it.servers[it.n_servers];
    char *colon = strchr(host, ':');
    int64_t port;

    if (it.n_servers == MAX_SERVERS || !colon || str_to_int64(str_of(colon + 1), &port) != 0)
        fail("%s: not ADDRESS:PORT, or too many", host);
    *colon = '\0';
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &address->sin_addr) != 1)
        fail("%s: not an IPv4 address", host);
    it.n_servers++;
}

void clients_init(const struct dialect *dialect, const char *hosts, unsigned sources)
{
    char *list = strdup(hosts), *rest = NULL;

    if (!list)
        fail("no memory");
    for (char *host = strtok_r(list, ",", &rest); host; host = strtok_r(NULL, ",", &rest))
        add_server(host);
    free(list);
    it.dialect = dialect;
    it.n_sources = sources;
    it.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (it.epoll < 0 || it.n_servers == 0 || sources < 1 || sources > 250)
        fail("no server, no epoll, or not 1 to 250 source addresses");
}

static void watch(struct client *client, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};

    if (epoll_ctl(it.epoll, operation, client->fd, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void close_socket(struct client *client)
{
    close(client->fd);
    client->fd = -1;
    client->state = CLIENT_CLOSED;
    client->wants_write = false;
    buf_free(&client->in);
    buf_free(&client->out);
}

static void lost(struct client *client)
{
    int code = it.close_code;

    close_socket(client);
    chat_on_closed(client, code);
}

/* ---- out ---- */

static void flush(struct client *client)
{
    struct buf *out = &client->out;
    ssize_t n = send(client->fd, out->p, out->n, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN) {
        it.close_code = 0;
        lost(client);
        return;
    }
    if (n > 0) {
        memmove(out->p, out->p + n, out->n - (size_t)n);
        out->n -= (size_t)n;
    }
    if ((out->n > 0) != client->wants_write) {
        client->wants_write = out->n > 0;
        watch(client, EPOLL_CTL_MOD, EPOLLIN | (client->wants_write ? EPOLLOUT : 0));
    }
    if (out->n == 0)
        buf_free(out);
}

static void append_frame(struct buf *out, unsigned char opcode, const char *p, size_t n)
{
    static uint32_t mask = UINT32_C(0x9e3779b9);
    unsigned char head[8] = {(unsigned char)(0x80 | opcode)}, key[4];
    size_t used = 2;
    char *to;

    if (n > UINT16_MAX)
        fail("a frame of %zu bytes", n);
    if (n < 126) {
        head[1] = (unsigned char)(0x80 | n);
    } else {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(n >> 8);
        head[3] = (unsigned char)n;
        used = 4;
    }
    mask = mask * UINT32_C(1664525) + UINT32_C(1013904223);
    memcpy(key, &mask, sizeof(key));
    memcpy(head + used, key, sizeof(key));
    used += sizeof(key);
    to = buf_reserve(out, used + n);
    if (!to)
        fail("more waits for a server than fits");
    memcpy(to, head, used);
    for (size_t i = 0; i < n; i++)
        to[used + i] = (char)((unsigned char)p[i] ^ key[i % 4]);
    out->n += used + n;
}

static void send_frame(struct client *client, unsigned char opcode, const char *p, size_t n)
{
    append_frame(&client->out, opcode, p, n);
    if (!client->wants_write)
        flush(client);
}

void client_send(struct client *client, const char *p, size_t n)
{
    send_frame(client, OPCODE_TEXT, p, n);
}

/* ---- in ---- */

/* The payload of the frame at p; its bytes in all in *ret_frame, or 0 when it has not come as a
 * whole. */
static struct str frame_at(const unsigned char *p, size_t n, size_t *ret_frame)
{
    size_t head = 2, size;

    *ret_frame = 0;
    if (n < 2)
        return STR_NULL;
    size = p[1] & 127;
    if (size == 126) {
        if (n < 4)
            return STR_NULL;
        size = (size_t)p[2] << 8 | p[3];
        head = 4;
    } else if (size == 127) {
        if (n < 10)
            return STR_NULL;
        size = (size_t)p[6] << 24 | (size_t)p[7] << 16 | (size_t)p[8] << 8 | p[9];
        head = 10;
    }
    if (size > MAX_FRAME - head)
        fail("the server sends a frame of %zu bytes", size);
    if (n < head + size)
        return STR_NULL;
    *ret_frame = head + size;
    return (struct str){(const char *)p + head, size};
}

static void on_frame(struct client *client, unsigned char first, struct str payload)
{
    switch (first) {
    case 0x80 | OPCODE_TEXT:
        it.dialect->text(client, payload.p, payload.n);
        break;
    case 0x80 | OPCODE_PING:
        send_frame(client, OPCODE_PONG, payload.p, payload.n);
        break;
    case 0x80 | OPCODE_PONG:
        break;
    case 0x80 | OPCODE_CLOSE:
        if (payload.n >= 2)
            it.close_code = (unsigned char)payload.p[0] << 8 | (unsigned char)payload.p[1];
        break; /* the end follows */
    default:
        fail("the server sends a frame that begins with %02x", first);
    }
}

/* Takes the answer to the handshake off; how many bytes it has, or 0 while it has not come as a
 * whole. */
static size_t on_answer(struct client *client, const char *p, size_t n)
{
    const char *end = memmem(p, n, "\r\n\r\n", 4);

    if (!end || n < 12)
        return 0;
    client->state = CLIENT_SUBSCRIBING;
    if (client->visit || memcmp(p + 9, "101", 3) != 0)
        chat_on_answered(client, atoi(p + 9));
    else
        it.dialect->upgraded(client);
    return (size_t)(end - p) + 4;
}

/* Whether there is a socket still, after a callback that may have closed it. */
static bool is_open(const struct client *client)
{
    return client->state != CLIENT_CLOSED;
}

static void parse(struct client *client, const char *p, size_t n)
{
    size_t used = 0, frame = 0;

    if (client->state == CLIENT_UPGRADING)
        used = on_answer(client, p, n);
    while (is_open(client) && client->state != CLIENT_UPGRADING) {
        struct str payload = frame_at((const unsigned char *)p + used, n - used, &frame);

        if (frame == 0)
            break;
        on_frame(client, (unsigned char)p[used], payload);
        used += frame;
    }
    if (!is_open(client))
        return;
    client->in.n = 0;
    if (used == n)
        buf_free(&client->in);
    else
        buf_append(&client->in, p + used, n - used);
    if (buf_error(&client->in) != 0)
        fail("the server's frames grow too large");
}

/* recv() that learns when the system had what it reads. */
static ssize_t receive_stamped(struct client *client, void *p, size_t n)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct scm_timestamping))];
    } control;
    struct iovec into = {p, n};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t received = recvmsg(client->fd, &message, 0);
    const struct cmsghdr *at = received > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    struct scm_timestamping stamps;

    if (at && at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_TIMESTAMPING) {
        memcpy(&stamps, CMSG_DATA(at), sizeof(stamps));
        client->answered_us =
            stamps.ts[0].tv_sec * USEC_PER_SEC + stamps.ts[0].tv_nsec / NSEC_PER_USEC;
    }
    return received;
}

/* Whether something was read. */
static bool read_some(struct client *client)
{
    size_t kept = client->in.n, room = sizeof(it.input) - kept;
    ssize_t n;

    if (kept > 0)
        memcpy(it.input, client->in.p, kept);
    if (client->visit)
        n = receive_stamped(client, it.input + kept, room);
    else
        n = recv(client->fd, it.input + kept, room, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        lost(client);
        return false;
    }
    parse(client, it.input, kept + (size_t)n);
    return is_open(client);
}

/* ---- life ---- */

void client_open(struct client *client)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    const struct sockaddr_in *server = &it.servers[client->number % it.n_servers];
    int yes = 1, stamps = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;

    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + client->number % it.n_sources);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        fail("socket: %s", strerror(errno));
    /* The port is chosen when the other end is known: then one address has as many for each of
     * them. */
    if (setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) != 0 ||
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) != 0 ||
        bind(client->fd, (const struct sockaddr *)&source, sizeof(source)) != 0)
        fail("a socket: %s", strerror(errno));
    if (client->visit &&
        setsockopt(client->fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof(stamps)) != 0)
        fail("SO_TIMESTAMPING: %s", strerror(errno));
    client->state = CLIENT_CONNECTING;
    client->began = clock_monotonic_ns();
    client->wants_write = true;
    buf_init(&client->in, MAX_FRAME);
    buf_init(&client->out, MAX_FRAME);
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
    if (connect(client->fd, (const struct sockaddr *)server, sizeof(*server)) != 0 &&
        errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
}

/* Whether nothing came back for the first time that a connection was asked for. */
static bool was_asked_again(const struct client *client)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);

    if (getsockopt(client->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        fail("TCP_INFO: %s", strerror(errno));
    return info.tcpi_total_retrans > 0;
}

static void connected(struct client *client)
{
    if (client->visit) {
        client->late = was_asked_again(client);
        client->asked_us = client->answered_us = clock_realtime_us();
    }
    client->state = CLIENT_UPGRADING;
    client->wants_write = false;
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
    it.dialect->handshake(client, &client->out);
    flush(client);
}

void client_cut(struct client *client)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) != 0)
        fail("SO_LINGER: %s", strerror(errno));
    close_socket(client);
}

void client_stall(struct client *client)
{
    watch(client, EPOLL_CTL_DEL, 0);
    client->state = CLIENT_STALLED;
}

void client_resume(struct client *client)
{
    client->state = CLIENT_READY;
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
    it.close_code = 0;
    while (read_some(client))
        ;
}

void clients_step(int milliseconds)
{
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(it.epoll, events, MAX_EVENTS, milliseconds);

    for (int i = 0; i < n; i++) {
        struct client *client = events[i].data.ptr;

        /* One that an event before this has closed. */
        if (!is_open(client) || client->state == CLIENT_STALLED)
            continue;
        it.close_code = 0;
        if (client->state == CLIENT_CONNECTING) {
            if (events[i].events & (EPOLLERR | EPOLLHUP))
                lost(client);
            else
                connected(client);
            continue;
        }
        if (client->wants_write && (events[i].events & EPOLLOUT))
            flush(client);
        if (is_open(client) && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
            read_some(client);
    }
}
