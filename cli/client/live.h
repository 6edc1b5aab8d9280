/* A Connect stream whose answers are read on a thread of its own, so that the keyboard is never
 * waited for by the room, nor the room by the keyboard. All functions are for the main thread. */
#ifndef STOA_CLI_CLIENT_LIVE_H
#define STOA_CLI_CLIENT_LIVE_H

#include "client.h"

#include "stoa/chat/v1/live.pb-c.h"

#include <pthread.h>

struct live_item {
    struct live_item *next;
    struct arena arena;
    bool is_end; /* of the stream: the answer has its code */
    struct rpc_answer answer;
};

struct live {
    struct rpc_client_stream *stream; /* NULL: there is none */
    pthread_t thread;
    int wake_fd;          /* eventfd: there is something in the queue */
    pthread_mutex_t lock; /* guards the queue */
    struct live_item *first, **last;
};

/* Once. -errno. */
int live_init(struct live *l) MUST_CHECK;
/* Begins a stream; does not wait for it. The end comes as an item. -errno. */
int live_start(struct live *l, struct rpc_client *client, struct str token) MUST_CHECK;
/* Ends it, if there is one, and drops what is in the queue. */
void live_stop(struct live *l);
void live_free(struct live *l);

/* The next item, or NULL; then live_item_free(). */
struct live_item *live_next(struct live *l);
void live_item_free(struct live_item *item);

/* For a stream that has said welcome. -EPIPE: it has ended. */
int live_send(struct live *l, const Stoa__Chat__V1__ConnectRequest *request) MUST_CHECK;

#endif
