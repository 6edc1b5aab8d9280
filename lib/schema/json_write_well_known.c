/* Wire to JSON text: the types of google/protobuf/ that have a JSON form of their own. Their fields
 * are as google/protobuf declares them, which is checked when the schema is loaded. */
#include "schema/json.h"

#include <assert.h>

/* ---- time ---- */

static int write_time(struct json_context *c, const struct schema_message *type, struct str wire)
{
    struct schema_reader r = {(const uint8_t *)wire.p, (const uint8_t *)wire.p + wire.n};
    char bytes[JSON_SHORT] = {0};
    struct schema_wire_field f;
    struct json_time t = {0};
    int got, n;

    while ((got = schema_read_field(&r, &f)) > 0) {
        if (f.wire_type == SCHEMA_WIRE_VARINT && f.number == 1)
            t.seconds = (int64_t)f.scalar;
        else if (f.wire_type == SCHEMA_WIRE_VARINT && f.number == 2)
            t.nanos = (int32_t)f.scalar;
    }
    if (got < 0)
        return json_fault(c, "is not well-formed protobuf");
    n = type->well_known == SCHEMA_TIMESTAMP ? json_format_timestamp(bytes, t, c->long_fractions)
                                             : json_format_duration(bytes, t);
    if (n < 0)
        return json_fault(c, "is out of range");
    json_put_short(c, bytes, (size_t)n);
    return 0;
}

/* ---- field masks ---- */

static bool is_lower(char ch)
{
    return ch >= 'a' && ch <= 'z';
}

/* The path in camelCase, unless that could not be read back. */
static int write_mask_path(struct json_context *c, struct str path)
{
    char *to = json_room(c, path.n);

    if (!to)
        return buf_error(c->out);
    if (str_eq(path, STR("*"))) { /* all fields (AIP-134) */
        *to++ = '*';
        path.n = 0;
    }
    for (size_t i = 0; i < path.n; i++) {
        char ch = path.p[i];

        if (ch == '_') {
            if (++i == path.n || !is_lower(path.p[i]))
                return json_fault(c, "has a path that has no form in camelCase");
            ch = (char)(path.p[i] & ~0x20);
        } else if (!is_lower(ch) && ch != '.' && !(ch >= '0' && ch <= '9')) {
            return json_fault(c, "has a path that has no form in camelCase");
        }
        *to++ = ch;
    }
    c->out->n = (size_t)(to - c->out->p);
    return 0;
}

static int write_field_mask(struct json_context *c, const struct schema_message *type,
                            struct str wire)
{
    struct json_mark mark = json_scratch_mark(c);
    struct json_fields f;
    int err = json_fields_open(c, &f, type, wire);
    bool first = true;

    json_put_char(c, '"');
    while (!err && f.field) {
        if (!first)
            json_put_char(c, ',');
        first = false;
        err = f.value.bytes.n ? write_mask_path(c, f.value.bytes)
                              : json_fault(c, "has an empty path");
        if (!err)
            err = json_fields_next(c, &f);
    }
    json_put_char(c, '"');
    json_scratch_release(c, mark);
    return err;
}

/* ---- Struct, ListValue, Value ---- */

/* A Struct or ListValue is its only field. */
static int write_container(struct json_context *c, const struct schema_message *type,
                           struct str wire)
{
    bool list = type->well_known == SCHEMA_LIST_VALUE;
    struct json_mark mark = json_scratch_mark(c);
    struct json_fields f;
    int err = json_fields_open(c, &f, type, wire);

    if (err)
        return err;
    if (f.field) {
        err = list ? json_write_list(c, &f) : json_write_map(c, &f);
    } else {
        err = json_enter(c);
        buf_append_str(c->out, list ? STR("[]") : STR("{}"));
        json_leave(c);
    }
    json_scratch_release(c, mark);
    return err;
}

static bool is_finite(uint64_t bits)
{
    return (bits >> 52 & 0x7ff) != 0x7ff;
}

static int write_value(struct json_context *c, const struct schema_message *type, struct str wire)
{
    struct json_mark mark = json_scratch_mark(c);
    struct schema_wire_field value;
    const struct schema_field *field;
    struct json_fields f;
    int err = json_fields_open(c, &f, type, wire);

    if (err)
        return err;
    field = f.field;
    if (!field) { /* none of its kinds is set */
        buf_append_str(c->out, STR("null"));
        return 0;
    }
    err = json_fields_take(c, &f, &value);
    if (!err && field->type == SCHEMA_DOUBLE && !is_finite(value.scalar))
        err = json_fault(c, "is a number that JSON does not have");
    if (!err)
        err = json_write_value(c, field, &value);
    json_scratch_release(c, mark);
    return err;
}

/* ---- wrappers ---- */

static int write_wrapper(struct json_context *c, const struct schema_message *type, struct str wire)
{
    struct json_mark mark = json_scratch_mark(c);
    struct schema_wire_field value = {.bytes = STR("")};
    struct json_fields f;
    int err = json_fields_open(c, &f, type, wire);

    if (!err && f.field)
        err = json_fields_take(c, &f, &value);
    if (!err)
        err = json_write_value(c, &type->fields[0], &value);
    json_scratch_release(c, mark);
    return err;
}

/* ---- Any ---- */

static int write_any_value(struct json_context *c, const struct schema_message *type,
                           struct json_segment *here, struct str content)
{
    here->name = STR("value");
    buf_append_str(c->out, STR(",\"value\":"));
    return json_write_message(c, type, content);
}

static int write_type_url(struct json_context *c, const struct schema_message *type, struct str url)
{
    if (!type)
        return json_fault(c, "is not the URL of a known message type");
    buf_append_str(c->out, STR("\"@type\":"));
    return json_write_string(c, url);
}

static int write_any_members(struct json_context *c, struct str url, struct str content)
{
    const struct schema_message *type = json_type_of_url(c, url);
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_MEMBER, .name = STR("@type")};
    bool plain = type && (type->well_known == SCHEMA_PLAIN || type->well_known == SCHEMA_EMPTY);
    int err;

    c->path = &here;
    err = write_type_url(c, type, url);
    if (!err && !plain)
        err = write_any_value(c, type, &here, content);
    c->path = here.up;
    return !err && plain ? json_write_members(c, type, content) : err;
}

static int write_any(struct json_context *c, const struct schema_message *type, struct str wire)
{
    struct json_mark mark = json_scratch_mark(c);
    struct schema_wire_field url = {.bytes = STR("")}, content = {.bytes = STR("")};
    struct json_fields f;
    int err = json_fields_open(c, &f, type, wire);

    if (!err && f.field == &type->fields[0])
        err = json_fields_take(c, &f, &url);
    if (!err && f.field == &type->fields[1])
        err = json_fields_take(c, &f, &content);
    if (!err)
        err = json_enter(c);
    if (err)
        return err;
    json_put_char(c, '{');
    if (url.bytes.n || content.bytes.n)
        err = write_any_members(c, url.bytes, content.bytes);
    json_put_char(c, '}');
    json_leave(c);
    json_scratch_release(c, mark);
    return err;
}

int json_write_well_known(struct json_context *c, const struct schema_message *type,
                          struct str wire)
{
    switch (type->well_known) {
    case SCHEMA_ANY:
        return write_any(c, type, wire);
    case SCHEMA_TIMESTAMP:
    case SCHEMA_DURATION:
        return write_time(c, type, wire);
    case SCHEMA_FIELD_MASK:
        return write_field_mask(c, type, wire);
    case SCHEMA_STRUCT:
    case SCHEMA_LIST_VALUE:
        return write_container(c, type, wire);
    case SCHEMA_VALUE:
        return write_value(c, type, wire);
    case SCHEMA_WRAPPER:
        return write_wrapper(c, type, wire);
    case SCHEMA_PLAIN:
    case SCHEMA_EMPTY:
        break;
    }
    assert(!"a type that has a JSON form of its own");
    return -EINVAL;
}
