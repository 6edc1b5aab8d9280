/* GET /metrics on addresses of its own, by a thread of its own.
 *
 * It is for Prometheus on an inner network or on this machine: no TLS, no access control beyond who
 * reaches the address. Whoever does can cost little: a request is one line and headers of 8 KiB at
 * most, a connection carries one and has five seconds, 16 are open at once and the others wait
 * to be accepted, and one scrape is made at a time. (libevent's own evhttp bounds neither the
 * number of connections nor how long one takes, hence the few lines of HTTP here.)
 */
#ifndef STOA_METRICS_SERVER_H
#define STOA_METRICS_SERVER_H

#include "metrics/metrics.h"

#include "base/arena.h"

#define METRICS_MAX_WRITERS 16

/* Appends families to the text: on the server's thread, between metrics_server_start() and
 * metrics_server_stop(). It may take locks that are held shortly, and waits for nothing else. */
typedef void metrics_write_fn(void *user, struct buf *text);

struct metrics_writer {
    metrics_write_fn *write;
    void *user;
};

struct metrics_server;

/* addresses: comma separated, as listen_open() takes them; at least one. writers are copied; they
 * write in this order. -EINVAL, -EADDRINUSE, -ENOMEM and others, with one line in *ret_error,
 * static or in the arena. */
int metrics_server_start(struct str addresses, const struct metrics_writer *writers, size_t n,
                         struct arena *arena, struct metrics_server **ret,
                         struct str *ret_error) MUST_CHECK;

/* Ends the thread: no writer runs after. NULL is nothing. */
void metrics_server_stop(struct metrics_server *server);

#endif
