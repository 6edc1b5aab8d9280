/* A blocking gRPC client: unary calls and streams, with typed messages, for programs such as the
 * command line.
 *
 * A client is one channel to one address; it connects with its first call. Calls of one client may
 * be made on several threads, each call on one; a stream has one thread that receives and one that
 * sends, and is cancelled on any. What comes from the peer is checked as a server checks requests
 * (schema_clean_wire) before it is unpacked. Answers, their texts and messages lie in the arena
 * that the caller gives.
 */
#ifndef STOA_GRPC_CLIENT_H
#define STOA_GRPC_CLIENT_H

#include "base/arena.h"
#include "grpc/code.h"
#include "schema/schema.h"

#include <protobuf-c/protobuf-c.h>

struct rpc_client;
struct rpc_client_stream;

struct rpc_client_options {
    const struct schema *schema; /* outlives the client */
    const char *address;         /* "127.0.0.1:9001", "stoa.example:443", "unix:/path" */
    const char *user_agent;      /* "stoa/1.0": the core adds what it is */
    bool tls;
    const char *ca_file; /* PEM: who may sign the service's certificate; NULL: /etc/ssl's */
    const char *certificate_file, *key_file; /* PEM, our own for mTLS; NULL: none */
    size_t max_response_bytes;               /* 0: 16 MiB. Larger: RESOURCE_EXHAUSTED */
};

/* Does not connect yet. -ENOMEM, or -EINVAL for files that cannot be read; one line in *ret_error
 * (in the arena). */
int rpc_client_new(const struct rpc_client_options *options, struct arena *arena,
                   struct rpc_client **ret, struct str *ret_error) MUST_CHECK;
/* After the end of all its calls. NULL does nothing. */
void rpc_client_free(struct rpc_client *client);

struct rpc_pair { /* metadata: a key in lower case */
    struct str key, value;
};

struct rpc_request {
    const ProtobufCServiceDescriptor *service;
    const char *method;              /* "GetArticle"; must be one of the service */
    const ProtobufCMessage *message; /* NULL: a stream of requests, see rpc_client_send() */
    const struct rpc_pair *metadata; /* RPC_CLIENT_METADATA at most */
    size_t n_metadata;
    int64_t timeout_ms; /* 0: none; then the core answers DEADLINE_EXCEEDED */
};

#define RPC_CLIENT_METADATA 8

struct rpc_answer {
    enum rpc_code code;
    struct str message;     /* one sentence, the peer's, or the core's when no peer answered */
    bool by_peer;           /* it is the service's word: it came with google.rpc.Status */
    const char *reason;     /* ErrorInfo.reason; "": none */
    int64_t retry_after_ms; /* RetryInfo; 0: none */
    const struct schema_fault *violations; /* BadRequest.field_violations */
    size_t n_violations;
    const struct rpc_pair *headers; /* initial metadata; of streams none */
    size_t n_headers;
    struct str bytes;                 /* OK: the response as it came, checked */
    const ProtobufCMessage *response; /* OK: the same, unpacked */
};

/* Makes a unary call and waits for its end. 0, also when answer->code is no success; -ENOMEM. A
 * response that is no such message is INTERNAL, metadata that HTTP/2 forbids INVALID_ARGUMENT. */
int rpc_client_call(struct rpc_client *client, const struct rpc_request *request,
                    struct arena *arena, struct rpc_answer *ret) MUST_CHECK;

/* {NULL, 0}: there is none. */
struct str rpc_answer_header(const struct rpc_answer *answer, const char *key);

/* ---- streams ---- */

/* Begins one, without waiting: a peer that cannot be reached shows itself in rpc_client_receive().
 * -ENOMEM, -EINVAL (metadata that HTTP/2 forbids). */
int rpc_client_open(struct rpc_client *client, const struct rpc_request *request,
                    struct rpc_client_stream **ret) MUST_CHECK;

/* 0, or -EPIPE: the stream has ended; rpc_client_receive() says how. */
int rpc_client_send(struct rpc_client_stream *stream, const ProtobufCMessage *message) MUST_CHECK;

/* The next message, in ret->response and ret->bytes. -EAGAIN: none within timeout_ms (negative:
 * waits for ever). -EPIPE: there will be none, the stream has ended with ret->code. -ENOMEM. */
int rpc_client_receive(struct rpc_client_stream *stream, int64_t timeout_ms, struct arena *arena,
                       struct rpc_answer *ret) MUST_CHECK;

/* The stream ends with CANCELLED, unless it has ended. Any thread. */
void rpc_client_cancel(struct rpc_client_stream *stream);

/* Cancels it, waits until the core is done with it, and frees it. NULL does nothing. */
void rpc_client_close(struct rpc_client_stream *stream);

#endif
