/* What a gRPC client reads from an HTTP/2 stream: messages out of DATA, a result out of headers and
 * trailers, and the codes for streams that end without one. Free of nginx and of HTTP/2 itself.
 * Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
#ifndef STOA_GATEWAY_RPC_STREAM_H
#define STOA_GATEWAY_RPC_STREAM_H

#include "rpc_status.h"

/* ---- messages ---- */

/* Bytes as they come, messages as they go. */
struct rpc_reader {
    struct buf bytes;
    size_t at;   /* the first byte that is not yet read */
    size_t max;  /* of a message */
    size_t kept; /* a larger buffer is given back when nothing waits */
};

/* window: the most bytes that are added before what is complete is read. */
void rpc_reader_init(struct rpc_reader *r, size_t max, size_t window, size_t kept);
void rpc_reader_free(struct rpc_reader *r);
/* Returns 0 or -ENOMEM. */
int rpc_reader_add(struct rpc_reader *r, const void *p, size_t n) MUST_CHECK;
/* The next whole message, valid until the reader is called again. Returns 1; 0: there is none;
 * -EBADMSG: compressed, which we never offered; -EMSGSIZE: larger than max. */
int rpc_reader_next(struct rpc_reader *r, struct str *ret) MUST_CHECK;
/* Bytes that are not yet read: after rpc_reader_next() gave 0, those of a broken message. */
size_t rpc_reader_left(const struct rpc_reader *r);

/* ---- headers and trailers ---- */

#define RPC_RESULT_MAX (32 << 10) /* bytes of headers and trailers; 32 more for each of them */

struct rpc_result {
    int http_status;             /* 0: not known */
    int code;                    /* of grpc-status; -1: there was none */
    bool is_grpc;                /* by content-type */
    bool decoded;                /* message and details are as they were meant, not as sent */
    bool untouched;              /* nothing was done for the call (grpc-retry-pushback-ms) */
    struct str message, details; /* as sent; malloc */
    size_t size;
};

void rpc_result_init(struct rpc_result *result);
void rpc_result_free(struct rpc_result *result);
/* Takes one header or trailer. Returns 0; -E2BIG: they are too many; -EBADMSG: a broken one;
 * -ENOMEM. */
int rpc_result_add(struct rpc_result *result, struct str name, struct str value) MUST_CHECK;
/* What a carried call ended with. Returns 0 or -ENOMEM. */
int rpc_result_end(struct rpc_result *result, int code, struct str message,
                   struct str details) MUST_CHECK;
/* The gRPC code of a stream that ended in order: grpc-status, or what HTTP says. */
int rpc_result_code(const struct rpc_result *result);

/* ---- codes ---- */

/* For an HTTP status without a grpc-status.
 * https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
int rpc_code_of_http(int status);
/* For an HTTP/2 error code (RFC 9113 section 7) in RST_STREAM. */
int rpc_code_of_reset(uint32_t error);

/* ---- grpc-timeout ---- */

#define RPC_TIMEOUT_SIZE 10
/* At most eight digits and a unit, as long as asked or a little longer; returns its length. */
size_t rpc_timeout_write(char text[RPC_TIMEOUT_SIZE], uint64_t ms);

#endif
