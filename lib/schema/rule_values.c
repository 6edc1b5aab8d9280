/* Values of rules and of the fields they are for: read from decoded messages, printed for people.
 * Pure functions; any thread. */
#include "schema/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- reading ---- */

static __int128 member(const ProtobufCMessage *message, unsigned number)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(message->descriptor, number);

    return f && f->type != PROTOBUF_C_TYPE_MESSAGE
               ? rule_read(f->type, (const char *)message + f->offset).i
               : 0;
}

/* Duration and Timestamp have the same two members. */
static __int128 read_time(const ProtobufCMessage *message)
{
    return message ? member(message, 1) * NSEC_PER_SEC + member(message, 2) : 0;
}

struct rule_value rule_read(ProtobufCType type, const void *at)
{
    struct rule_value v = {0};

    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        v.i = *(const int32_t *)at;
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        v.i = *(const int64_t *)at;
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        v.i = *(const uint32_t *)at;
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        v.i = *(const uint64_t *)at;
        break;
    case PROTOBUF_C_TYPE_BOOL:
        v.i = *(const protobuf_c_boolean *)at != 0;
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        v.d = (double)*(const float *)at;
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        v.d = *(const double *)at;
        break;
    case PROTOBUF_C_TYPE_STRING:
        v.s = str_of(*(char *const *)at);
        if (!v.s.p)
            v.s = STR("");
        break;
    case PROTOBUF_C_TYPE_BYTES:
        v.s = (struct str){(const char *)((const ProtobufCBinaryData *)at)->data,
                           ((const ProtobufCBinaryData *)at)->len};
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        v.i = read_time(*(ProtobufCMessage *const *)at);
        break;
    }
    return v;
}

size_t rule_element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

bool rule_is_zero(ProtobufCType type, const void *at)
{
    struct rule_value v;

    if (type == PROTOBUF_C_TYPE_MESSAGE)
        return *(ProtobufCMessage *const *)at == NULL;
    v = rule_read(type, at);
    return v.i == 0 && v.d == 0 && v.s.n == 0;
}

bool rule_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *f)
{
    const char *at = (const char *)message + f->offset;
    const char *quantifier = (const char *)message + f->quantifier_offset;

    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)quantifier > 0;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)quantifier == f->id;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(ProtobufCMessage *const *)at != NULL;
    if (f->label == PROTOBUF_C_LABEL_NONE)
        return !rule_is_zero(f->type, at);
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return *(char *const *)at && *(const void *const *)at != f->default_value;
    return f->label == PROTOBUF_C_LABEL_REQUIRED || *(const protobuf_c_boolean *)quantifier;
}

/* ---- printing ---- */

static void print_float(struct buf *b, double d)
{
    char text[32];

    /* The shortest form that reads back as the same number. */
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    buf_append_str(b, str_of(text));
}

static void print_integer(struct buf *b, __int128 i)
{
    if (i > INT64_MAX)
        buf_printf(b, "%llu", (unsigned long long)i);
    else
        buf_printf(b, "%lld", (long long)i);
}

/* Nanoseconds as seconds with as many of the nine digits as are needed. */
static void print_seconds(struct buf *b, __int128 ns)
{
    __int128 whole = ns / NSEC_PER_SEC, rest = ns % NSEC_PER_SEC;
    char digits[16];
    int n;

    if (ns < 0)
        buf_append_char(b, '-');
    print_integer(b, whole < 0 ? -whole : whole);
    if (rest == 0)
        return;
    n = snprintf(digits, sizeof(digits), "%09lld", (long long)(rest < 0 ? -rest : rest));
    while (n > 1 && digits[n - 1] == '0')
        n--;
    buf_printf(b, ".%.*s", n, digits);
}

static void print_time(struct buf *b, __int128 ns)
{
    time_t seconds = (time_t)(ns / NSEC_PER_SEC);
    struct tm tm;
    char text[64];

    if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        print_seconds(b, ns);
    else
        buf_append_str(b, str_of(text));
}

static void print_bytes(struct buf *b, struct str s)
{
    buf_append_str(b, STR("0x"));
    for (size_t i = 0; i < s.n; i++)
        buf_printf(b, "%02x", (unsigned)(uint8_t)s.p[i]);
}

static void print_whole(struct buf *b, const struct rule_domain *domain, __int128 i)
{
    const struct schema_enum_value *e = NULL;

    if (domain->enumeration)
        e = schema_enum_by_number(domain->enumeration, (int32_t)i);
    if (e)
        buf_append_str(b, e->name);
    else if (domain->type == SCHEMA_BOOL)
        buf_append_str(b, i ? STR("true") : STR("false"));
    else
        print_integer(b, i);
}

void rule_print(struct buf *b, const struct rule_domain *domain, const struct rule_value *v)
{
    switch (domain->class) {
    case RULE_INTEGER:
        print_whole(b, domain, v->i);
        break;
    case RULE_FLOAT:
        print_float(b, v->d);
        break;
    case RULE_TIME:
        if (domain->timestamp) {
            print_time(b, v->i);
            break;
        }
        print_seconds(b, v->i);
        buf_append_char(b, 's');
        break;
    default:
        if (domain->type == SCHEMA_BYTES)
            print_bytes(b, v->s);
        else
            buf_append_str(b, v->s);
    }
}
