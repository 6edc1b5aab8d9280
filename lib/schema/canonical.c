/* Wire to wire: one form for each message, the one that protobuf's own libraries write when they
 * are asked to be deterministic.
 *
 * Pure functions on bytes that have passed the check, which bounds the recursion; any thread.
 * Sources: protobuf.dev "Encoding" and "Proto Serialization Is Not Canonical" for what varies.
 */
#include "schema/json.h"

static int put_message(struct json_context *c, const struct schema_message *type, struct str wire);

/* ---- values ---- */

/* Types of 32 bits have only the low half of a varint, in which a negative one is extended; any
 * bit makes a bool true. */
static uint64_t shortest(enum schema_type type, uint64_t v)
{
    switch (type) {
    case SCHEMA_BOOL:
        return v != 0;
    case SCHEMA_INT32:
    case SCHEMA_ENUM:
        return (uint64_t)(int32_t)v;
    case SCHEMA_UINT32:
    case SCHEMA_SINT32:
        return (uint32_t)v;
    default:
        return v;
    }
}

static void put_bytes(struct json_context *c, uint32_t number, struct str bytes)
{
    char head[JSON_SHORT] = {0};
    char *to = json_varint(json_tag(head, number, SCHEMA_WIRE_LENGTH), bytes.n);

    json_put_short(c, head, (size_t)(to - head));
    buf_append_str(c->out, bytes);
}

static int put_group(struct json_context *c, const struct schema_field *f, struct str inside)
{
    int err;

    schema_put_tag(c->out, f->number, SCHEMA_WIRE_START_GROUP);
    err = put_message(c, f->message, inside);
    schema_put_tag(c->out, f->number, SCHEMA_WIRE_END_GROUP);
    return err;
}

static int put_value(struct json_context *c, const struct schema_field *f,
                     const struct schema_wire_field *value)
{
    size_t mark;
    int err;

    switch (f->type) {
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        put_bytes(c, f->number, value->bytes);
        return 0;
    case SCHEMA_GROUP:
        return put_group(c, f, value->bytes);
    case SCHEMA_MESSAGE:
        mark = schema_put_begin(c->out, f->number);
        err = put_message(c, f->message, value->bytes);
        schema_put_end(c->out, mark);
        return err;
    default:
        json_put_scalar(c, f, shortest(f->type, value->scalar), false);
        return 0;
    }
}

static int put_singular(struct json_context *c, struct json_fields *f)
{
    const struct schema_field *field = f->field;
    struct json_mark mark = json_scratch_mark(c);
    struct schema_wire_field value;
    int err = json_fields_take(c, f, &value);

    if (err)
        return err;
    if (field->presence || value.bytes.n || shortest(field->type, value.scalar))
        err = put_value(c, field, &value);
    json_scratch_release(c, mark);
    return err;
}

/* ---- lists ---- */

static bool is_unknown_value(const struct schema_field *f, uint64_t v)
{
    return f->type == SCHEMA_ENUM && f->enumeration->closed &&
           !schema_enum_by_number(f->enumeration, (int32_t)v);
}

static bool is_packed(const struct schema_field *f, const struct schema_wire_field *value)
{
    return value->wire_type == SCHEMA_WIRE_LENGTH && json_wire_type(f->type) != SCHEMA_WIRE_LENGTH;
}

/* The known values of a packed chunk, or else the unknown ones, which are no more packed. */
static int put_chunk(struct json_context *c, const struct schema_field *f, struct str bytes,
                     bool unknown)
{
    struct schema_reader r = schema_reader_of(bytes);
    uint64_t v;

    while (r.at < r.end) {
        if (json_packed_next(&r, json_wire_type(f->type), &v))
            return json_fault(c, "is not well-formed protobuf");
        if (is_unknown_value(f, v) == unknown)
            json_put_scalar(c, f, shortest(f->type, v), f->packed && !unknown);
    }
    return 0;
}

static int put_elements(struct json_context *c, struct json_fields *f)
{
    const struct schema_field *field = f->field;
    int err;

    while (f->field == field) {
        if (is_packed(field, &f->value)) {
            err = put_chunk(c, field, f->value.bytes, false);
        } else if (field->packed) {
            json_put_scalar(c, field, shortest(field->type, f->value.scalar), true);
            err = 0;
        } else {
            err = put_value(c, field, &f->value);
        }
        if (!err)
            err = json_fields_next(c, f);
        if (err)
            return err;
    }
    return 0;
}

static int put_list(struct json_context *c, struct json_fields *f)
{
    size_t before = c->out->n, mark;
    int err;

    if (!f->field->packed)
        return put_elements(c, f);
    mark = schema_put_begin(c->out, f->field->number);
    err = put_elements(c, f);
    if (c->out->n > mark)
        schema_put_end(c->out, mark);
    else
        c->out->n = before;
    return err;
}

/* ---- maps ---- */

static int put_entry(struct json_context *c, const struct schema_field *f, struct str bytes)
{
    struct json_mark scratch = json_scratch_mark(c);
    const struct schema_message *type = f->message;
    size_t mark = schema_put_begin(c->out, f->number);
    struct json_entry entry;
    int err = json_entry_read(c, type, bytes, &entry);

    if (!err)
        err = put_value(c, &type->fields[0], &entry.key);
    if (!err)
        err = put_value(c, &type->fields[1], &entry.value);
    schema_put_end(c->out, mark);
    json_scratch_release(c, scratch);
    return err;
}

/* The entries with a known value and their keys; keys[i].position is an index of entries. f moves
 * behind them. */
static int collect_entries(struct json_context *c, struct json_fields *f, struct str *entries,
                           struct json_map_key *keys, size_t *ret_n)
{
    const struct schema_field *field = f->field;
    struct json_mark mark = json_scratch_mark(c);
    struct json_entry entry;
    size_t n = 0;
    int err = 0;

    while (!err && f->field == field) {
        entries[n] = f->value.bytes;
        err = json_entry_read(c, field->message, entries[n], &entry);
        if (err)
            return err;
        keys[n] = json_entry_key(field->message, &entry, n);
        n += !entry.unknown;
        json_scratch_release(c, mark);
        err = json_fields_next(c, f);
    }
    *ret_n = n;
    return err;
}

/* The last entry of a key is the one that counts. */
static int put_map(struct json_context *c, struct json_fields *f)
{
    const struct schema_field *field = f->field;
    struct json_mark mark = json_scratch_mark(c);
    struct json_map_key *keys;
    struct str *entries;
    size_t n;
    int err = json_fields_count(c, f, &n);

    if (err)
        return err;
    entries = json_scratch_alloc(c, n * sizeof(*entries));
    keys = json_scratch_alloc(c, n * sizeof(*keys));
    if (!entries || !keys)
        return -ENOMEM;
    err = collect_entries(c, f, entries, keys, &n);
    if (err)
        return err;
    json_sort_keys(keys, n);
    for (size_t i = 0; !err && i < n; i++) {
        if (i + 1 == n || !json_same_key(&keys[i], &keys[i + 1]))
            err = put_entry(c, field, entries[keys[i].position]);
    }
    json_scratch_release(c, mark);
    return err;
}

/* ---- messages ---- */

/* What is left of a field that is known by its number. */
static int put_rest(struct json_context *c, const struct schema_message *type,
                    const struct schema_field *f, const struct schema_wire_field *value,
                    struct str raw)
{
    struct json_mark mark = json_scratch_mark(c);
    struct json_entry entry;
    int err = 0;

    if (!json_usable(type, f, value)) {
        buf_append_str(c->out, raw);
    } else if (f->map) {
        err = json_entry_read(c, f->message, value->bytes, &entry);
        if (!err && entry.unknown)
            buf_append_str(c->out, raw);
    } else if (f->type == SCHEMA_ENUM && f->enumeration->closed && is_packed(f, value)) {
        err = put_chunk(c, f, value->bytes, true);
    }
    json_scratch_release(c, mark);
    return err;
}

static int put_unknown(struct json_context *c, const struct schema_message *type, struct str wire)
{
    struct schema_reader r = schema_reader_of(wire);
    const char *at = (const char *)r.at;
    struct schema_wire_field value;
    int err = 0;

    while (!err && schema_read_field(&r, &value) > 0) {
        const struct schema_field *f = schema_field_by_number(type, value.number);
        struct str raw = {at, (size_t)((const char *)r.at - at)};

        if (f)
            err = put_rest(c, type, f, &value, raw);
        else
            buf_append_str(c->out, raw);
        at = (const char *)r.at;
    }
    return err;
}

static int put_message(struct json_context *c, const struct schema_message *type, struct str wire)
{
    struct json_mark mark = json_scratch_mark(c);
    struct json_fields f;
    int err = json_fields_open(c, &f, type, wire.p ? wire : STR(""));

    while (!err && f.field) {
        if (f.field->map)
            err = put_map(c, &f);
        else if (f.field->repeated)
            err = put_list(c, &f);
        else
            err = put_singular(c, &f);
    }
    json_scratch_release(c, mark);
    return err ? err : put_unknown(c, type, wire);
}

int schema_canonical_wire(const struct schema_message *type, struct str bytes, struct buf *to,
                          struct arena *arena, struct schema_fault *ret_fault)
{
    size_t before = to->n;
    struct json_context c;
    int err = schema_check_wire(type, bytes, arena, ret_fault);

    if (err)
        return err;
    json_context_init(&c, NULL, NULL, to, arena, ret_fault);
    err = put_message(&c, type, bytes);
    if (!err)
        err = buf_error(to);
    if (err)
        to->n = before;
    return err;
}
