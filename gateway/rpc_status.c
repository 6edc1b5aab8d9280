#include "rpc_status.h"

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

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

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

/* Either alphabet (RFC 4648 sections 4 and 5). */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

int rpc_base64_decode(struct arena *arena, struct str s, struct str *ret)
{
    char *out;
    size_t n = 0;
    uint32_t bits = 0;
    unsigned held = 0;

    *ret = STR_NULL;
    for (unsigned padding = 0; padding < 2 && s.n && s.p[s.n - 1] == '='; padding++)
        s.n--;
    if (s.n % 4 == 1)
        return -EBADMSG;
    out = arena_alloc(arena, s.n + 1);
    if (!out)
        return -ENOMEM;
    for (size_t i = 0; i < s.n; i++) {
        int v = base64_value(s.p[i]);

        if (v < 0)
            return -EBADMSG;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (char)(bits >> held & 0xff);
        }
    }
    *ret = (struct str){out, n};
    return 0;
}

struct str rpc_base64_encode(struct arena *arena, struct str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = arena_alloc(arena, s.n / 3 * 4 + 4);
    size_t n = 0;

    if (!out)
        return STR_NULL;
    for (size_t i = 0; i < s.n; i += 3) {
        uint32_t bits = (uint32_t)(unsigned char)s.p[i] << 16;

        bits |= i + 1 < s.n ? (uint32_t)(unsigned char)s.p[i + 1] << 8 : 0;
        bits |= i + 2 < s.n ? (unsigned char)s.p[i + 2] : 0;
        out[n++] = digits[bits >> 18];
        out[n++] = digits[bits >> 12 & 63];
        out[n++] = i + 1 < s.n ? digits[bits >> 6 & 63] : '=';
        out[n++] = i + 2 < s.n ? digits[bits & 63] : '=';
    }
    return (struct str){out, n};
}
