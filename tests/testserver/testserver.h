/* What the files of the test server share. Handlers run on the server's one poller thread; what
 * waits for a time goes on on the timer thread. */
#ifndef STOA_TESTSERVER_H
#define STOA_TESTSERVER_H

#include "grpc/rpc.h"

#include "google/protobuf/duration.pb-c.h"
#include "stoa/test/v1/echo.pb-c.h"

#include <pthread.h>

/* ---- timer.c: one thread that calls back at a time ---- */

struct timer {
    void (*fire)(struct timer *timer); /* on the timer thread */
    int64_t at_ns;                     /* clock_monotonic_ns() terms */
    size_t place;                      /* in the heap; 0: not set */
};

int timers_start(void) MUST_CHECK;
/* fire() is called once, at this time or as soon as there is a hurry. -ENOMEM. */
int timer_set(struct timer *timer, int64_t at_ns) MUST_CHECK;
/* True: fire() will not be called. False: it has been or is being called, or was never set. */
bool timer_cancel(struct timer *timer);
/* The server stops: whatever waits goes on at once, now and from now on. */
void timers_hurry(void);
bool timers_hurried(void);
/* When nothing uses a timer any more. */
void timers_stop(void);

/* ---- producer.c: streams made at the speed of their reader ---- */

enum production {
    PRODUCE_NOTHING, /* until producer_wake() */
    PRODUCE_MESSAGE,
    PRODUCE_END,
};

struct producer;

/* All are called with the producer's lock held. */
struct producer_source {
    /* What comes next, and how long before it there is nothing. */
    enum production (*next)(void *state, int64_t *ret_delay_us);
    /* Sends the message; its size, or what rpc_stream_send() says. */
    int64_t (*send)(void *state, struct rpc_call *call);
    /* Ends the stream. */
    void (*end)(void *state, struct rpc_call *call);
};

/* Becomes the call's context. Memory is the call's arena. NULL without memory. */
struct producer *producer_new(struct rpc_call *call, const struct producer_source *source,
                              void *state);
void *producer_state(struct producer *producer);
/* Between these, state may be changed; unlocking goes on with the stream. */
void producer_lock(struct producer *producer);
void producer_unlock(struct producer *producer);
/* Ends the stream at once; the lock is held. */
void producer_fail(struct producer *producer, enum rpc_code code, struct str message);
/* For struct rpc_stream_handler. */
void producer_drained(void *service, struct rpc_call *call);
void producer_closed(void *service, struct rpc_call *call);

/* ---- outcome.c: how a call ends ---- */

/* Adds the metadata that the caller wants to have, and those of the interoperability tests (x-grpc-
 * test-echo-initial, x-grpc-test-echo-trailing-bin). outcome: NULL, none. When something is not
 * metadata, *ret_error says so, for INVALID_ARGUMENT. */
int outcome_metadata(struct rpc_call *call, const Stoa__Test__V1__Outcome *outcome,
                     struct rpc_error *ret_error) MUST_CHECK;
/* The error that the outcome asks for; false: none. Its details go into the trailers. */
bool outcome_error(struct rpc_call *call, const Stoa__Test__V1__Outcome *outcome,
                   struct rpc_error *ret_error);
/* A time to wait, from 0 to a minute. */
int64_t duration_us(const Google__Protobuf__Duration *duration);

/* ---- services ---- */

int interop_add(struct rpc_server *server, struct str *ret_error) MUST_CHECK; /* interop.c */
int echo_add(struct rpc_server *server, struct str *ret_error) MUST_CHECK;    /* echo.c */
/* rooms.c: the Attach of an edge. folder: where rooms are kept; instances may share it. */
int rooms_add(struct rpc_server *server, const char *folder, struct str *ret_error) MUST_CHECK;
void rooms_stop(void); /* before the server stops */
void rooms_free(void);
/* echo_streams.c */
extern const struct rpc_stream_handler echo_count, echo_download, echo_chat, echo_chat_raw,
    echo_collect, echo_room;

#endif
