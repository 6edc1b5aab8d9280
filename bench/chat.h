/* The load driver of `make bench-chat`: thousands of WebSockets on one thread, in the dialect of
 * Stoa or of Socket.IO, so that both servers are given the same work by the same code.
 *
 *   chat.c           commands on the standard input, what is measured, answers
 *   chat_client.c    sockets and frames
 *   chat_dialect.c   what the frames say
 *
 * It does little a frame: what it costs the machine is taken from the servers. */
#ifndef STOA_BENCH_CHAT_H
#define STOA_BENCH_CHAT_H

#include "base/base.h"
#include "base/buf.h"

enum client_state {
    CLIENT_CLOSED,      /* has no socket */
    CLIENT_CONNECTING,  /* connect() has not finished */
    CLIENT_UPGRADING,   /* the handshake has gone out */
    CLIENT_SUBSCRIBING, /* the 101 has come, the room not yet */
    CLIENT_READY,
    CLIENT_STALLED, /* never reads */
};

struct room {
    char id[24]; /* decimal */
    int64_t seq; /* the highest that an answer has named; with Socket.IO 0 */
};

struct client {
    int fd;
    enum client_state state;
    unsigned number; /* among all, from 0: chooses server and source address */
    unsigned account;
    bool wants_write;
    bool visit;       /* goes when the handshake is answered */
    bool returning;   /* was cut, and comes back */
    unsigned refused; /* how often, since it was cut */
    int64_t back_at;  /* clock_monotonic_ns() when it tries again; 0: it does not wait */
    bool idle;        /* takes no part in what is sent */
    struct room *room;
    int64_t after; /* subscribes with this after_seq; -1: without */
    int64_t began; /* clock_monotonic_ns() of its connect() */
    /* Of a visit: when the handshake went, and when the system had the answer, as
     * clock_realtime_us() tells it. Between them the server alone is waited for, not this program.
     */
    int64_t asked_us, answered_us;
    bool late;     /* of a visit: the system had to ask for the connection more than once */
    struct buf in; /* the beginning of a frame, or of the answer to the handshake */
    struct buf out;
};

/* What a server is spoken to in. */
struct dialect {
    const char *name;
    /* Appends the handshake's request. */
    void (*handshake)(const struct client *client, struct buf *out);
    /* The 101 has come. */
    void (*upgraded)(struct client *client);
    /* Sends a message whose answer names id. */
    void (*send)(struct client *client, int64_t id, const char *text);
    /* A text message has come: calls one of the chat_on_... below, or answers by itself. */
    void (*text)(struct client *client, const char *p, size_t n);
};

extern const struct dialect dialect_stoa, dialect_socket_io;

/* ---- chat_client.c ---- */

/* Where the servers are, and how they are spoken to. hosts: "127.0.0.1:80,127.0.0.1:81", taken in
 * turns; sources: how many loopback addresses the clients come from, from 127.0.0.1 on, 1 to 250.
 */
void clients_init(const struct dialect *dialect, const char *hosts, unsigned sources);

void client_open(struct client *client);
/* A text frame. */
void client_send(struct client *client, const char *p, size_t n);
/* At once, as when a cable is pulled. */
void client_cut(struct client *client);
/* Reads nothing more from it. */
void client_stall(struct client *client);
/* Reads what a stalled client has been sent; chat_on_closed() is called if it has been cut
 * meanwhile. */
void client_resume(struct client *client);
/* Handles what has come; waits for something for at most so long. */
void clients_step(int milliseconds);

/* The account's token, for Stoa. Added by chat.c. */
const char *token_of(unsigned account);

/* ---- chat.c: what clients and dialects call ---- */

/* It has its room. */
void chat_on_ready(struct client *client);
void chat_on_delivery(struct client *client, const char *p, size_t n);
void chat_on_ack(int64_t id);
/* The handshake was answered with this status, which is not 101 unless it was a visit. */
void chat_on_answered(struct client *client, int status);
/* The server closed it; code: of its close frame, or 0. */
void chat_on_closed(struct client *client, int code);

/* Says why on the standard error and ends the program. */
void fail(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));

#endif
