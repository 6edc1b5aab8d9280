#include "rpc_status.h"

#include "schema/tables.h"

#include <errno.h>

enum rpc_code {
    RPC_OK = 0,
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_NOT_FOUND = 5,
    RPC_ALREADY_EXISTS = 6,
    RPC_PERMISSION_DENIED = 7,
    RPC_RESOURCE_EXHAUSTED = 8,
    RPC_FAILED_PRECONDITION = 9,
    RPC_ABORTED = 10,
    RPC_OUT_OF_RANGE = 11,
    RPC_UNIMPLEMENTED = 12,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14,
    RPC_DATA_LOSS = 15,
    RPC_UNAUTHENTICATED = 16,
};

#define MAX_RETRY_AFTER 86400 /* a day: longer is not a hint any more */

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

int rpc_http_status(int code, bool violations)
{
    switch (code) {
    case RPC_CANCELLED:
        return 499;
    case RPC_INVALID_ARGUMENT:
        return violations ? 422 : 400;
    case RPC_FAILED_PRECONDITION:
    case RPC_OUT_OF_RANGE:
        return 400;
    case RPC_UNAUTHENTICATED:
        return 401;
    case RPC_PERMISSION_DENIED:
        return 403;
    case RPC_NOT_FOUND:
        return 404;
    case RPC_ALREADY_EXISTS:
    case RPC_ABORTED:
        return 409;
    case RPC_RESOURCE_EXHAUSTED:
        return 429;
    case RPC_UNIMPLEMENTED:
        return 501;
    case RPC_UNAVAILABLE:
        return 503;
    case RPC_DEADLINE_EXCEEDED:
        return 504;
    default:
        return 500;
    }
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

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

struct str rpc_base64_decode(struct arena *arena, struct str s)
{
    char *out;
    size_t n = 0;
    uint32_t bits = 0;
    unsigned held = 0;

    while (s.n && s.p[s.n - 1] == '=')
        s.n--;
    out = arena_alloc(arena, s.n);
    if (!out)
        return STR_NULL;
    for (size_t i = 0; i < s.n; i++) {
        int v = base64_value(s.p[i]);

        if (v < 0)
            return STR_NULL;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (char)(bits >> held & 0xff);
        }
    }
    return (struct str){out, n};
}

/* ---- google.rpc.Status ---- */

/* The two strings of a message: fields number a and b. */
static void read_strings(struct str wire, uint32_t a, struct str *ret_a, uint32_t b,
                         struct str *ret_b)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;

    *ret_a = *ret_b = STR_NULL;
    while (schema_read_field(&r, &f) > 0) {
        if (f.wire_type != SCHEMA_WIRE_LENGTH)
            continue;
        if (f.number == a)
            *ret_a = f.bytes;
        else if (f.number == b)
            *ret_b = f.bytes;
    }
}

static void add_error(struct problem *p, struct arena *arena, struct str path, struct str message)
{
    struct str key = problem_key(arena, path);

    if (key.p && message.n)
        problem_add(p, key, message);
}

static void read_bad_request(struct problem *p, struct arena *arena, struct str wire)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    struct str field, description;

    while (schema_read_field(&r, &f) > 0) {
        if (f.number != 1 || f.wire_type != SCHEMA_WIRE_LENGTH)
            continue;
        read_strings(f.bytes, 1, &field, 2, &description);
        add_error(p, arena, field, description);
    }
}

static void read_resource_info(struct problem *p, struct arena *arena, struct str wire)
{
    struct str type, description;

    read_strings(wire, 1, &type, 4, &description);
    add_error(p, arena, type, description);
}

/* RetryInfo.retry_delay, a Duration, rounded up to seconds. */
static void read_retry_info(struct problem *p, struct str wire)
{
    struct schema_reader r;
    struct schema_wire_field f;
    struct str delay, none;
    uint64_t seconds = 0, nanos = 0;

    read_strings(wire, 1, &delay, 0, &none);
    r = schema_reader_of(delay);
    while (schema_read_field(&r, &f) > 0) {
        if (f.number == 1 && f.wire_type == SCHEMA_WIRE_VARINT)
            seconds = f.scalar;
        else if (f.number == 2 && f.wire_type == SCHEMA_WIRE_VARINT)
            nanos = f.scalar;
    }
    if (seconds <= MAX_RETRY_AFTER)
        p->retry_after = (unsigned)seconds + (nanos > 0);
}

static void read_detail(struct problem *p, struct arena *arena, struct str any)
{
    struct str type, value, reason, none;

    read_strings(any, 1, &type, 2, &value);
    if (str_ends(type, STR("/google.rpc.RetryInfo")))
        read_retry_info(p, value);
    if (p->status >= 500)
        return;
    if (str_ends(type, STR("/google.rpc.BadRequest"))) {
        read_bad_request(p, arena, value);
    } else if (str_ends(type, STR("/google.rpc.ResourceInfo"))) {
        read_resource_info(p, arena, value);
    } else if (str_ends(type, STR("/google.rpc.ErrorInfo"))) {
        read_strings(value, 1, &reason, 0, &none);
        if (reason.n)
            p->reason = reason;
    }
}

void rpc_problem(struct problem *p, int code, struct str message, struct str details,
                 struct arena *arena)
{
    struct schema_reader r = schema_reader_of(rpc_base64_decode(arena, details));
    struct schema_wire_field f;

    problem_init(p, rpc_http_status(code, false));
    if (p->status < 500 && message.n)
        p->detail = rpc_percent_decode(arena, message);
    while (schema_read_field(&r, &f) > 0) {
        if (f.number == 3 && f.wire_type == SCHEMA_WIRE_LENGTH)
            read_detail(p, arena, f.bytes);
    }
    p->status = rpc_http_status(code, p->n_errors > 0);
}
