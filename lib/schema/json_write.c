/* Wire to JSON text: messages, fields, lists and maps.
 *
 * Recursive descent over the wire bytes. The text is as protobuf's own libraries print it, without
 * white space; a member's comma is written unless its object has just been opened, which the last
 * byte of the text tells.
 */
#include "schema/json.h"

/* ---- scalars ---- */

static int32_t unzigzag32(uint64_t v)
{
    uint32_t u = (uint32_t)v;

    return (int32_t)(u >> 1 ^ -(u & 1));
}

static int64_t unzigzag64(uint64_t v)
{
    return (int64_t)(v >> 1 ^ -(v & 1));
}

static size_t format_quoted(char *to, bool is_signed, uint64_t v)
{
    size_t n;

    to[0] = '"';
    n = is_signed ? json_format_int64(to + 1, (int64_t)v) : json_format_uint64(to + 1, v);
    to[n + 1] = '"';
    return n + 2;
}

static size_t format_double_bits(char *to, uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof(v));
    return json_format_double(to, v);
}

static size_t format_float_bits(char *to, uint64_t bits)
{
    uint32_t narrow = (uint32_t)bits;
    float v;

    memcpy(&v, &narrow, sizeof(v));
    return json_format_float(to, v);
}

/* Numbers; integers of 64 bits in quotes. */
static size_t format_number(char *to, enum schema_type type, uint64_t v)
{
    switch (type) {
    case SCHEMA_DOUBLE:
        return format_double_bits(to, v);
    case SCHEMA_FLOAT:
        return format_float_bits(to, v);
    case SCHEMA_INT64:
    case SCHEMA_SFIXED64:
        return format_quoted(to, true, v);
    case SCHEMA_SINT64:
        return format_quoted(to, true, (uint64_t)unzigzag64(v));
    case SCHEMA_UINT64:
    case SCHEMA_FIXED64:
        return format_quoted(to, false, v);
    case SCHEMA_UINT32:
    case SCHEMA_FIXED32:
        return json_format_uint64(to, (uint32_t)v);
    case SCHEMA_SINT32:
        return json_format_int64(to, unzigzag32(v));
    default:
        return json_format_int64(to, (int32_t)v);
    }
}

/* An identifier in quotes. */
static void write_name(struct json_context *c, struct str name)
{
    char *to = json_room(c, name.n + 2);

    if (!to)
        return; /* the buffer remembers */
    *to++ = '"';
    memcpy(to, name.p, name.n);
    to[name.n] = '"';
    c->out->n += name.n + 2;
}

/* By name; by number if it has none. */
static void write_enum(struct json_context *c, const struct schema_enum *e, int32_t number)
{
    const struct schema_enum_value *value;
    char bytes[JSON_SHORT] = {0};

    if (e->null_value) {
        buf_append_str(c->out, STR("null"));
        return;
    }
    value = schema_enum_by_number(e, number);
    if (value)
        write_name(c, value->name);
    else
        json_put_short(c, bytes, json_format_int64(bytes, number));
}

int json_write_value(struct json_context *c, const struct schema_field *f,
                     const struct schema_wire_field *value)
{
    char bytes[JSON_SHORT] = {0};

    switch (f->type) {
    case SCHEMA_STRING:
        return json_write_string(c, value->bytes);
    case SCHEMA_BYTES:
        return json_write_base64(c, value->bytes);
    case SCHEMA_MESSAGE:
    case SCHEMA_GROUP:
        return json_write_message(c, f->message, value->bytes);
    case SCHEMA_ENUM:
        write_enum(c, f->enumeration, (int32_t)value->scalar);
        return 0;
    case SCHEMA_BOOL:
        buf_append_str(c->out, value->scalar ? STR("true") : STR("false"));
        return 0;
    default:
        json_put_short(c, bytes, format_number(bytes, f->type, value->scalar));
        return 0;
    }
}

/* ---- lists ---- */

/* The comma before all elements and members but the first. */
static void write_comma(struct json_context *c, char open)
{
    const struct buf *b = c->out;

    if (b->n && b->p[b->n - 1] != open)
        json_put_char(c, ',');
}

static int write_element(struct json_context *c, const struct schema_field *f,
                         const struct schema_wire_field *value)
{
    write_comma(c, '[');
    return json_write_value(c, f, value);
}

static int write_packed(struct json_context *c, struct json_segment *here,
                        const struct schema_field *f, struct str bytes)
{
    struct schema_reader r = {(const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n};
    enum schema_wire_type type = json_wire_type(f->type);
    struct schema_wire_field value = {.number = f->number, .wire_type = type};
    bool closed = f->type == SCHEMA_ENUM && f->enumeration->closed;
    int err;

    while (r.at < r.end) {
        if (json_packed_next(&r, type, &value.scalar))
            return json_fault(c, "is not well-formed protobuf");
        if (closed && !schema_enum_by_number(f->enumeration, (int32_t)value.scalar))
            continue;
        err = write_element(c, f, &value);
        if (err)
            return err;
        here->index++;
    }
    return 0;
}

static int write_elements(struct json_context *c, struct json_fields *f, struct json_segment *here)
{
    const struct schema_field *field = f->field;
    int err;

    while (f->field == field) {
        if (f->value.wire_type == SCHEMA_WIRE_LENGTH &&
            json_wire_type(field->type) != SCHEMA_WIRE_LENGTH) {
            err = write_packed(c, here, field, f->value.bytes);
        } else {
            err = write_element(c, field, &f->value);
            here->index++;
        }
        if (!err)
            err = json_fields_next(c, f);
        if (err)
            return err;
    }
    return 0;
}

int json_write_list(struct json_context *c, struct json_fields *f)
{
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_INDEX};
    int err = json_enter(c);

    if (err)
        return err;
    json_put_char(c, '[');
    c->path = &here;
    err = write_elements(c, f, &here);
    c->path = here.up;
    json_put_char(c, ']');
    json_leave(c);
    return err;
}

/* ---- maps ---- */

/* Marks the entries that a later one of the same key replaces. */
static int find_replaced(struct json_context *c, const struct json_fields *f, size_t n,
                         bool *replaced)
{
    const struct schema_message *type = f->field->message;
    struct json_map_key *keys = json_scratch_alloc(c, n * sizeof(*keys));
    struct json_fields ahead = *f;
    struct json_mark mark = json_scratch_mark(c);
    struct json_entry entry;
    size_t n_keys = 0;
    int err;

    if (!keys)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        err = json_entry_read(c, type, ahead.value.bytes, &entry);
        if (!err)
            err = json_fields_next(c, &ahead);
        if (err)
            return err;
        if (!entry.unknown)
            keys[n_keys++] = json_entry_key(type, &entry, i);
        json_scratch_release(c, mark);
    }
    json_sort_keys(keys, n_keys);
    for (size_t i = 0; i + 1 < n_keys; i++)
        replaced[keys[i].position] = json_same_key(&keys[i], &keys[i + 1]);
    return 0;
}

/* A key as text without quotes; numbers are put together in `to`. */
static struct str key_text(const struct schema_field *f, const struct schema_wire_field *key,
                           char to[JSON_SHORT])
{
    size_t n;

    switch (f->type) {
    case SCHEMA_STRING:
        return key->bytes;
    case SCHEMA_BOOL:
        return key->scalar ? STR("true") : STR("false");
    default:
        n = format_number(to, f->type, key->scalar);
        return *to == '"' ? (struct str){to + 1, n - 2} : (struct str){to, n};
    }
}

static int write_default(struct json_context *c, const struct schema_field *f)
{
    struct schema_wire_field zero = {.bytes = STR("")};

    return json_write_value(c, f, &zero);
}

static int write_entry(struct json_context *c, const struct schema_message *type,
                       struct json_segment *here, struct str bytes)
{
    struct json_mark mark = json_scratch_mark(c);
    const struct schema_field *value = &type->fields[1];
    char number[JSON_SHORT];
    struct json_entry entry;
    int err;

    here->kind = JSON_SEGMENT_NONE; /* until the key is known to be text */
    err = json_entry_read(c, type, bytes, &entry);
    if (err || entry.unknown)
        return err;
    write_comma(c, '{');
    here->name = key_text(&type->fields[0], &entry.key, number);
    err = json_write_string(c, here->name);
    if (err)
        return err;
    json_put_char(c, ':');
    here->kind = JSON_SEGMENT_KEY;
    err = entry.has_value ? json_write_value(c, value, &entry.value) : write_default(c, value);
    json_scratch_release(c, mark);
    return err;
}

static int write_entries(struct json_context *c, struct json_fields *f, struct json_segment *here)
{
    const struct schema_message *type = f->field->message;
    bool *replaced;
    size_t n;
    int err = json_fields_count(c, f, &n);

    if (err)
        return err;
    replaced = json_scratch_alloc(c, n * sizeof(*replaced));
    if (!replaced)
        return -ENOMEM;
    memset(replaced, 0, n * sizeof(*replaced));
    if (n > 1)
        err = find_replaced(c, f, n, replaced);
    for (size_t i = 0; !err && i < n; i++) {
        if (!replaced[i])
            err = write_entry(c, type, here, f->value.bytes);
        if (!err)
            err = json_fields_next(c, f);
    }
    return err;
}

int json_write_map(struct json_context *c, struct json_fields *f)
{
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_KEY};
    struct json_mark mark = json_scratch_mark(c);
    int err = json_enter(c);

    if (err)
        return err;
    json_put_char(c, '{');
    c->path = &here;
    err = write_entries(c, f, &here);
    c->path = here.up;
    json_scratch_release(c, mark);
    json_put_char(c, '}');
    json_leave(c);
    return err;
}

/* ---- members ---- */

static void write_member_name(struct json_context *c, const struct schema_field *f)
{
    size_t n = f->json_name.n;
    char *to = json_room(c, n + 4);

    if (!to)
        return; /* the buffer remembers */
    if (to[-1] != '{')
        *to++ = ',';
    *to++ = '"';
    memcpy(to, f->json_name.p, n);
    to += n;
    *to++ = '"';
    *to++ = ':';
    c->out->n = (size_t)(to - c->out->p);
}

static int write_empty(struct json_context *c, struct str brackets)
{
    int err = json_enter(c);

    buf_append_str(c->out, brackets);
    json_leave(c);
    return err;
}

/* What a field looks like that is not on the wire, if it is to be seen at all. */
static int write_unset(struct json_context *c, const struct schema_field *f)
{
    if (f->required)
        return json_fault(c, "is required");
    if (!c->print_unset || (f->presence && !f->null_when_unset))
        return 0;
    write_member_name(c, f);
    if (f->repeated && !f->null_when_unset)
        return write_empty(c, f->map ? STR("{}") : STR("[]"));
    if (!f->null_when_unset)
        return write_default(c, f);
    buf_append_str(c->out, STR("null"));
    return 0;
}

static int write_unset_range(struct json_context *c, struct json_segment *here,
                             const struct schema_field *f, const struct schema_field *end)
{
    for (; f < end; f++) {
        int err;

        here->name = f->json_name;
        err = write_unset(c, f);
        if (err)
            return err;
    }
    return 0;
}

/* A list or map with nothing in it is unset, although an empty packed chunk or an entry with an
 * unknown value may be on the wire. */
static void drop_empty(struct json_context *c, size_t before)
{
    struct buf *b = c->out;

    if (!b->failed && (b->p[b->n - 2] == '[' || b->p[b->n - 2] == '{') && !c->print_unset)
        b->n = before;
}

/* Without presence, the default on the wire is the same as nothing there. Types of 32 bits have
 * only the low half of a varint; a NullValue has no other value in JSON. */
static bool is_default(const struct schema_field *f, const struct schema_wire_field *value)
{
    switch (f->type) {
    case SCHEMA_ENUM:
        return f->enumeration->null_value || (uint32_t)value->scalar == 0;
    case SCHEMA_INT32:
    case SCHEMA_UINT32:
    case SCHEMA_SINT32:
        return (uint32_t)value->scalar == 0;
    default:
        return !value->scalar && !value->bytes.n;
    }
}

static int write_field(struct json_context *c, struct json_fields *f)
{
    const struct schema_field *field = f->field;
    struct json_mark mark = json_scratch_mark(c);
    struct schema_wire_field value;
    size_t before = c->out->n;
    int err;

    if (field->repeated) {
        write_member_name(c, field);
        err = field->map ? json_write_map(c, f) : json_write_list(c, f);
        if (!err)
            drop_empty(c, before);
        return err;
    }
    err = json_fields_take(c, f, &value);
    if (err)
        return err;
    if (!field->presence && is_default(field, &value))
        return write_unset(c, field);
    write_member_name(c, field);
    err = json_write_value(c, field, &value);
    json_scratch_release(c, mark);
    return err;
}

int json_write_members(struct json_context *c, const struct schema_message *type, struct str wire)
{
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_MEMBER};
    const struct schema_field *next = type->fields, *end = type->fields + type->n_fields;
    struct json_mark mark = json_scratch_mark(c);
    struct json_fields f;
    int err = json_fields_open(c, &f, type, wire);

    c->path = &here;
    while (!err && f.field) {
        const struct schema_field *field = f.field;

        err = write_unset_range(c, &here, next, field);
        here.name = field->json_name;
        if (!err)
            err = write_field(c, &f);
        next = field + 1;
    }
    if (!err)
        err = write_unset_range(c, &here, next, end);
    c->path = here.up;
    json_scratch_release(c, mark);
    return err;
}

int json_write_message(struct json_context *c, const struct schema_message *type, struct str wire)
{
    int err;

    if (type->well_known != SCHEMA_PLAIN && type->well_known != SCHEMA_EMPTY)
        return json_write_well_known(c, type, wire);
    err = json_enter(c);
    if (err)
        return err;
    json_put_char(c, '{');
    err = json_write_members(c, type, wire);
    json_put_char(c, '}');
    json_leave(c);
    return err;
}

int schema_json_write(const struct schema *schema, const struct schema_message *type,
                      struct str wire, const struct schema_json_options *options, struct buf *json,
                      struct arena *arena, struct schema_fault *ret_fault)
{
    size_t before = json->n, left = json->max - json->n, guess = wire.n + wire.n / 2 + 256;
    struct json_context c;
    int err;

    json_context_init(&c, schema, options, json, arena, ret_fault);
    if (guess > left)
        guess = left;
    if (!buf_reserve(json, guess))
        return buf_error(json);
    err = json_write_message(&c, type, wire.p ? wire : STR(""));
    if (!err)
        err = buf_error(json);
    if (err)
        json->n = before;
    return err;
}
