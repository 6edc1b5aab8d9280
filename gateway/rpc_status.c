#include "rpc_status.h"

#include "base/base64.h"
#include "base/hex.h"
#include "schema/tables.h"

#include <errno.h>

void rpc_prefix_write(unsigned char prefix[RPC_PREFIX_SIZE], uint32_t size)
{
    prefix[0] = 0;
    prefix[1] = (unsigned char)(size >> 24);
    prefix[2] = (unsigned char)(size >> 16);
    prefix[3] = (unsigned char)(size >> 8);
    prefix[4] = (unsigned char)size;
}

int rpc_prefix_read(const unsigned char prefix[RPC_PREFIX_SIZE], uint32_t *ret_size)
{
    if (prefix[0] != 0)
        return -EBADMSG;
    *ret_size = (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 | (uint32_t)prefix[3] << 8 |
                prefix[4];
    return 0;
}

int rpc_code_read(struct str value, int *ret_code)
{
    int64_t code;

    if (str_to_int64(value, &code) || code < 0)
        return -EBADMSG;
    *ret_code = code <= RPC_UNAUTHENTICATED ? (int)code : RPC_UNKNOWN;
    return 0;
}

/* The one table of codes. */
static const int http_statuses[] = {
    [RPC_OK] = 200,
    [RPC_CANCELLED] = 499,
    [RPC_UNKNOWN] = 500,
    [RPC_INVALID_ARGUMENT] = 400,
    [RPC_DEADLINE_EXCEEDED] = 504,
    [RPC_NOT_FOUND] = 404,
    [RPC_ALREADY_EXISTS] = 409,
    [RPC_PERMISSION_DENIED] = 403,
    [RPC_RESOURCE_EXHAUSTED] = 429,
    [RPC_FAILED_PRECONDITION] = 400,
    [RPC_ABORTED] = 409,
    [RPC_OUT_OF_RANGE] = 400,
    [RPC_UNIMPLEMENTED] = 501,
    [RPC_INTERNAL] = 500,
    [RPC_UNAVAILABLE] = 503,
    [RPC_DATA_LOSS] = 500,
    [RPC_UNAUTHENTICATED] = 401,
};

int rpc_http_status(int code, bool violations)
{
    if (code == RPC_INVALID_ARGUMENT && violations)
        return 422;
    if (code < 0 || (size_t)code >= ARRAY_SIZE(http_statuses))
        code = RPC_UNKNOWN;
    return http_statuses[code];
}

bool rpc_health_serving(struct str wire)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    uint64_t status = 0;
    int rc;

    while ((rc = schema_read_field(&r, &f)) > 0) {
        if (f.number == 1 && f.wire_type == SCHEMA_WIRE_VARINT)
            status = f.scalar;
    }
    return rc == 0 && status == 1;
}

/* ---- text encodings of headers ---- */

struct str rpc_percent_decode(struct arena *arena, struct str s)
{
    char *out = arena_alloc(arena, s.n);
    size_t n = 0;

    if (!out)
        return STR_NULL;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && s.n - i > 2 && hex_value(s.p[i + 1]) >= 0 &&
            hex_value(s.p[i + 2]) >= 0) {
            out[n++] = (char)(hex_value(s.p[i + 1]) << 4 | hex_value(s.p[i + 2]));
            i += 2;
        } else {
            out[n++] = s.p[i];
        }
    }
    return (struct str){out, n};
}

int rpc_base64_decode(struct arena *arena, struct str s, struct str *ret)
{
    char *out = arena_alloc(arena, s.n);
    ssize_t n = out ? base64_decode(out, s) : 0;

    *ret = STR_NULL;
    if (!out)
        return -ENOMEM;
    if (n < 0)
        return -EBADMSG;
    *ret = (struct str){out, (size_t)n};
    return 0;
}

struct str rpc_base64_encode(struct arena *arena, struct str s)
{
    char *out = arena_alloc(arena, BASE64_SIZE(s.n));

    if (!out)
        return STR_NULL;
    return (struct str){out, (size_t)(base64_encode(out, s) - out)};
}
