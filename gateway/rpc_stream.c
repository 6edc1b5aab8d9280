#include "rpc_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_OVERHEAD 32 /* what RFC 9113 section 6.5.2 counts for a header besides its bytes */

/* ---- messages ---- */

void rpc_reader_init(struct rpc_reader *r, size_t max, size_t window, size_t kept)
{
    size_t limit;

    if (__builtin_add_overflow(max, window + RPC_PREFIX_SIZE, &limit))
        limit = SIZE_MAX;
    *r = (struct rpc_reader){.max = max, .kept = kept};
    buf_init(&r->bytes, limit);
}

void rpc_reader_free(struct rpc_reader *r)
{
    buf_free(&r->bytes);
    r->at = 0;
}

size_t rpc_reader_left(const struct rpc_reader *r)
{
    return r->bytes.n - r->at;
}

int rpc_reader_add(struct rpc_reader *r, const void *p, size_t n)
{
    if (r->at) {
        memmove(r->bytes.p, r->bytes.p + r->at, rpc_reader_left(r));
        r->bytes.n -= r->at;
        r->at = 0;
    }
    buf_append(&r->bytes, p, n);
    return r->bytes.failed ? -ENOMEM : 0;
}

static void give_back(struct rpc_reader *r)
{
    r->at = r->bytes.n = 0;
    if (r->bytes.cap > r->kept)
        buf_free(&r->bytes);
}

int rpc_reader_next(struct rpc_reader *r, struct str *ret)
{
    const unsigned char *prefix;
    uint32_t size;

    if (rpc_reader_left(r) == 0)
        give_back(r);
    if (rpc_reader_left(r) < RPC_PREFIX_SIZE)
        return 0;
    prefix = (const unsigned char *)r->bytes.p + r->at;
    if (rpc_prefix_read(prefix, &size))
        return -EBADMSG;
    if (size > r->max)
        return -EMSGSIZE;
    if (rpc_reader_left(r) - RPC_PREFIX_SIZE < size)
        return 0;
    *ret = (struct str){(const char *)prefix + RPC_PREFIX_SIZE, size};
    r->at += RPC_PREFIX_SIZE + size;
    return 1;
}

/* ---- headers and trailers ---- */

void rpc_result_init(struct rpc_result *result)
{
    *result = (struct rpc_result){.code = -1};
}

void rpc_result_free(struct rpc_result *result)
{
    free((char *)result->message.p);
    free((char *)result->details.p);
    rpc_result_init(result);
}

static int keep(struct str *to, struct str value)
{
    char *copy = malloc(value.n ? value.n : 1);

    if (!copy)
        return -ENOMEM;
    if (value.n)
        memcpy(copy, value.p, value.n);
    free((char *)to->p);
    *to = (struct str){copy, value.n};
    return 0;
}

/* "application/grpc", "application/grpc+proto", "application/grpc; charset=..." */
static bool is_grpc(struct str type)
{
    struct str rest = str_skip(type, sizeof("application/grpc") - 1);

    return str_starts(type, STR("application/grpc")) &&
           (rest.n == 0 || rest.p[0] == '+' || rest.p[0] == ';');
}

static int read_http_status(struct rpc_result *result, struct str value)
{
    int64_t status;

    if (str_to_int64(value, &status) || status < 100 || status > 999)
        return -EBADMSG;
    if (status >= 200)
        result->http_status = (int)status;
    return 0;
}

int rpc_result_add(struct rpc_result *result, struct str name, struct str value)
{
    if (name.n > RPC_RESULT_MAX || value.n > RPC_RESULT_MAX)
        return -E2BIG;
    result->size += name.n + value.n + HEADER_OVERHEAD;
    if (result->size > RPC_RESULT_MAX)
        return -E2BIG;
    if (str_eq(name, STR(":status")))
        return read_http_status(result, value);
    if (str_eq(name, STR("grpc-status")))
        return rpc_code_read(value, &result->code);
    if (str_eq(name, STR("grpc-message")))
        return keep(&result->message, value);
    if (str_eq(name, STR("grpc-status-details-bin")))
        return keep(&result->details, value);
    /* gRFC A6: when to try again; what is no number says never. */
    if (str_eq(name, STR("grpc-retry-pushback-ms")))
        result->untouched = value.n > 0 && value.p[0] >= '0' && value.p[0] <= '9';
    if (str_eq(name, STR("content-type")))
        result->is_grpc = is_grpc(value);
    return 0;
}

int rpc_result_end(struct rpc_result *result, int code, struct str message, struct str details)
{
    result->code = code;
    result->decoded = true;
    if ((message.n && keep(&result->message, message)) ||
        (details.n && keep(&result->details, details)))
        return -ENOMEM;
    return 0;
}

int rpc_result_code(const struct rpc_result *result)
{
    if (result->code >= 0)
        return result->code;
    return rpc_code_of_http(result->http_status);
}

/* ---- codes ---- */

int rpc_code_of_http(int status)
{
    switch (status) {
    case 400:
        return RPC_INTERNAL;
    case 401:
        return RPC_UNAUTHENTICATED;
    case 403:
        return RPC_PERMISSION_DENIED;
    case 404:
        return RPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return RPC_UNAVAILABLE;
    default:
        return RPC_UNKNOWN;
    }
}

int rpc_code_of_reset(uint32_t error)
{
    static const unsigned char codes[] = {
        [0x0] = RPC_INTERNAL,           /* NO_ERROR */
        [0x1] = RPC_INTERNAL,           /* PROTOCOL_ERROR */
        [0x2] = RPC_INTERNAL,           /* INTERNAL_ERROR */
        [0x3] = RPC_INTERNAL,           /* FLOW_CONTROL_ERROR */
        [0x4] = RPC_INTERNAL,           /* SETTINGS_TIMEOUT */
        [0x5] = RPC_UNKNOWN,            /* STREAM_CLOSED */
        [0x6] = RPC_INTERNAL,           /* FRAME_SIZE_ERROR */
        [0x7] = RPC_UNAVAILABLE,        /* REFUSED_STREAM */
        [0x8] = RPC_CANCELLED,          /* CANCEL */
        [0x9] = RPC_INTERNAL,           /* COMPRESSION_ERROR */
        [0xa] = RPC_INTERNAL,           /* CONNECT_ERROR */
        [0xb] = RPC_RESOURCE_EXHAUSTED, /* ENHANCE_YOUR_CALM */
        [0xc] = RPC_PERMISSION_DENIED,  /* INADEQUATE_SECURITY */
    };

    return error < ARRAY_SIZE(codes) ? codes[error] : RPC_UNKNOWN;
}

/* ---- grpc-timeout ---- */

size_t rpc_timeout_write(char text[RPC_TIMEOUT_SIZE], uint64_t ms)
{
    static const struct {
        char unit;
        uint64_t ms;
    } units[] = {{'m', 1}, {'S', 1000}, {'M', 60000}, {'H', 3600000}};
    const uint64_t most = 99999999;
    uint64_t n = most;
    char unit = 'H';

    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        uint64_t count = ms / units[i].ms + (ms % units[i].ms > 0);

        if (count <= most) {
            n = count;
            unit = units[i].unit;
            break;
        }
    }
    return (size_t)snprintf(text, RPC_TIMEOUT_SIZE, "%u%c", (unsigned)n, unit);
}
