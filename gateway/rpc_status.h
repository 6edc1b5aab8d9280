/* The gRPC side of an answer: message frames, status, message and details, and what they mean over
 * HTTP. Free of nginx. Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
#ifndef STOA_GATEWAY_RPC_STATUS_H
#define STOA_GATEWAY_RPC_STATUS_H

#include "grpc/code.h"
#include "problem.h"

/* A message on the wire is preceded by a flag (1: compressed) and its length. */
#define RPC_PREFIX_SIZE 5

void rpc_prefix_write(unsigned char prefix[RPC_PREFIX_SIZE], uint32_t size);
/* Returns 0, or -EBADMSG when the flag is not 0: we never offered a compression. */
int rpc_prefix_read(const unsigned char prefix[RPC_PREFIX_SIZE], uint32_t *ret_size) MUST_CHECK;

/* The number in a grpc-status header; -EBADMSG when it is none. Codes that gRPC doesn't define
 * count as UNKNOWN. */
int rpc_code_read(struct str value, int *ret_code) MUST_CHECK;

/* A grpc-message as it was meant. What is no valid escape stays as it is: a message is never lost
 * over its encoding. {NULL, 0} without memory. */
struct str rpc_percent_decode(struct arena *arena, struct str s) MUST_CHECK;
/* The bytes of a "-bin" header (base/base64.h). 0, -EBADMSG (it is not base64) or -ENOMEM, with
 * *ret {NULL, 0}. */
int rpc_base64_decode(struct arena *arena, struct str s, struct str *ret) MUST_CHECK;
/* {NULL, 0} without memory. */
struct str rpc_base64_encode(struct arena *arena, struct str s) MUST_CHECK;

/* HTTP status for a gRPC code other than OK. violations: the answer names what is wrong with the
 * request, so an INVALID_ARGUMENT was understood (422) and not garbage (400). */
int rpc_http_status(int code, bool violations);

/* Whether a serialized grpc.health.v1.HealthCheckResponse says SERVING. */
bool rpc_health_serving(struct str wire);

/* What a service says when the state that a request names in If-Match is not the current one: as
 * reason of a FAILED_PRECONDITION or ABORTED it makes the answer a 412. */
#define RPC_REASON_ETAG_MISMATCH "ETAG_MISMATCH"

/* rpc_details.c: fills *p from a failed call. message: grpc-message, decoded; details: the bytes of
 * grpc-status-details-bin, a google.rpc.Status, or {NULL, 0}. What a service says about its own
 * failures (5xx) stays inside, but for when to try again; so does DebugInfo always. Strings are in
 * the arena. 0 or -ENOMEM: what is left of the problem would say something else. */
int rpc_problem(struct problem *p, int code, struct str message, struct str details,
                struct arena *arena) MUST_CHECK;

#endif
