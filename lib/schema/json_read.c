/* JSON text to wire: messages, fields, lists and maps.
 *
 * Recursive descent over the text, which writes wire bytes as it goes: a nested message's length is
 * filled in when it ends. Every byte of the text is looked at a bounded number of times (the
 * members of an Any before its "@type" are gone over twice, which has a budget), and moved at most
 * once for each level of nesting.
 */
#include "base/base64.h"
#include "schema/json.h"

#include <math.h>

/* ---- scalars ---- */

/* A number, or a string with nothing but a number in it (whose text may be in scratch). Returns 0,
 * an error, or IS_SPECIAL if special is not NULL and was filled: NaN and the infinities stand in
 * strings. */
#define IS_SPECIAL 1

static bool special_double(struct str text, double *ret)
{
    if (str_eq(text, STR("NaN")))
        *ret = (double)NAN;
    else if (str_eq(text, STR("Infinity")))
        *ret = (double)INFINITY;
    else if (str_eq(text, STR("-Infinity")))
        *ret = (double)-INFINITY;
    else
        return false;
    return true;
}

static int scan_number(struct json_context *c, struct json_number *ret, const char *message,
                       double *special)
{
    struct str text;
    const char *end, *stop;
    int err;

    if (json_at(c, '"')) {
        err = json_scan_text(c, &text);
        if (err)
            return err;
        if (special && special_double(text, special))
            return IS_SPECIAL;
        end = json_parse_number(text.p, text.p + text.n, ret, &stop);
        return end == text.p + text.n ? 0 : json_fault(c, message);
    }
    end = json_parse_number(c->at, c->end, ret, &stop);
    if (!end)
        return json_wrong_kind(c, message);
    c->at = end;
    return 0;
}

struct integer_range {
    uint64_t below_zero; /* the largest magnitude of a negative number */
    uint64_t max;
    const char *message;
};

static const struct integer_range *range_of(enum schema_type type)
{
    static const struct integer_range
        int32 = {UINT64_C(1) << 31, INT32_MAX,
                 "must be a whole number from -2147483648 to 2147483647"},
        uint32 = {0, UINT32_MAX, "must be a whole number from 0 to 4294967295"},
        int64 = {UINT64_C(1) << 63, INT64_MAX,
                 "must be a whole number from -9223372036854775808 to 9223372036854775807"},
        uint64 = {0, UINT64_MAX, "must be a whole number from 0 to 18446744073709551615"};

    switch (type) {
    case SCHEMA_INT64:
    case SCHEMA_SINT64:
    case SCHEMA_SFIXED64:
        return &int64;
    case SCHEMA_UINT64:
    case SCHEMA_FIXED64:
        return &uint64;
    case SCHEMA_UINT32:
    case SCHEMA_FIXED32:
        return &uint32;
    default:
        return &int32;
    }
}

/* A parsed number as what goes onto the wire; false if it is not whole or out of range. */
static bool integer_bits(enum schema_type type, const struct json_number *n, uint64_t *ret)
{
    const struct integer_range *range = range_of(type);
    uint64_t v;

    if (json_number_to_uint64(n, &v) || v > (n->negative ? range->below_zero : range->max))
        return false;
    if (n->negative)
        v = -v;
    *ret = type == SCHEMA_SINT32 || type == SCHEMA_SINT64 ? json_zigzag((int64_t)v) : v;
    return true;
}

static int read_integer(struct json_context *c, enum schema_type type, uint64_t *ret)
{
    struct json_number n;
    const char *message = range_of(type)->message;
    int err = scan_number(c, &n, message, NULL);

    if (err)
        return err;
    return integer_bits(type, &n, ret) ? 0 : json_fault(c, message);
}

static int read_double(struct json_context *c, uint64_t *ret_bits)
{
    struct json_number n;
    double v = 0;
    int err = scan_number(c, &n, "must be a number", &v);

    if (!err)
        err = json_number_to_double(c, &n, &v);
    if (err == -ERANGE)
        return json_fault(
            c, "must be a number from -1.7976931348623157e+308 to 1.7976931348623157e+308");
    if (err < 0)
        return err;
    memcpy(ret_bits, &v, sizeof(v));
    return 0;
}

static int read_float(struct json_context *c, uint64_t *ret_bits)
{
    struct json_number n;
    uint32_t bits;
    double special = 0;
    float v = 0;
    int err = scan_number(c, &n, "must be a number", &special);

    if (err == IS_SPECIAL)
        v = (float)special;
    else if (!err)
        err = json_number_to_float(c, &n, &v);
    if (err == -ERANGE)
        return json_fault(c, "must be a number from -3.4028235e+38 to 3.4028235e+38");
    if (err < 0)
        return err;
    memcpy(&bits, &v, sizeof(v));
    *ret_bits = bits;
    return 0;
}

static int read_bool(struct json_context *c, uint64_t *ret)
{
    *ret = json_take_literal(c, STR("true"));
    if (*ret || json_take_literal(c, STR("false")))
        return 0;
    return json_wrong_kind(c, "must be true or false");
}

static int unknown_enum_value(struct json_context *c)
{
    return c->refuse_unknown ? json_fault(c, "is not one of the known values") : JSON_IGNORED;
}

static int read_enum_number(struct json_context *c, const struct schema_enum *e,
                            const struct json_number *n, uint64_t *ret)
{
    if (!integer_bits(SCHEMA_INT32, n, ret))
        return json_fault(c, range_of(SCHEMA_INT32)->message);
    if (e->closed && !schema_enum_by_number(e, (int32_t)*ret))
        return unknown_enum_value(c);
    return 0;
}

/* By name; else by number, which may stand in a string as other numbers may. */
static int read_enum(struct json_context *c, const struct schema_enum *e, uint64_t *ret)
{
    const struct schema_enum_value *value;
    struct json_number n;
    const char *stop, *end;
    struct str name;
    int err;

    if (e->null_value && json_take_literal(c, STR("null"))) {
        *ret = 0;
        return 0;
    }
    if (!json_at(c, '"')) {
        err = scan_number(c, &n, "must be the name of a value", NULL);
        return err ? err : read_enum_number(c, e, &n, ret);
    }
    err = json_scan_text(c, &name);
    if (err)
        return err;
    value = schema_enum_by_name(e, name);
    if (value) {
        *ret = (uint64_t)(int64_t)value->number;
        return 0;
    }
    end = json_parse_number(name.p, name.p + name.n, &n, &stop);
    return end == name.p + name.n ? read_enum_number(c, e, &n, ret) : unknown_enum_value(c);
}

static int read_scalar(struct json_context *c, const struct schema_field *f, uint64_t *ret)
{
    switch (f->type) {
    case SCHEMA_DOUBLE:
        return read_double(c, ret);
    case SCHEMA_FLOAT:
        return read_float(c, ret);
    case SCHEMA_BOOL:
        return read_bool(c, ret);
    case SCHEMA_ENUM:
        return read_enum(c, f->enumeration, ret);
    default:
        return read_integer(c, f->type, ret);
    }
}

void json_put_scalar(struct json_context *c, const struct schema_field *f, uint64_t v, bool bare)
{
    enum schema_wire_type type = json_wire_type(f->type);
    char bytes[JSON_SHORT] = {0};
    char *to = bare ? bytes : json_tag(bytes, f->number, type);

    if (type == SCHEMA_WIRE_VARINT) {
        to = json_varint(to, v);
    } else {
        for (unsigned left = type == SCHEMA_WIRE_64BIT ? 8 : 4; left; left--, v >>= 8)
            *to++ = (char)v;
    }
    json_put_short(c, bytes, (size_t)(to - bytes));
}

static int read_string(struct json_context *c, const struct schema_field *f, bool keep_zero)
{
    char head[JSON_SHORT] = {0};
    struct json_string s;
    char *to;
    int err;

    if (!json_at(c, '"'))
        return json_wrong_kind(c, "must be a string");
    err = json_scan_string(c, &s);
    if (err || (s.size == 0 && !keep_zero))
        return err;
    to = json_varint(json_tag(head, f->number, SCHEMA_WIRE_LENGTH), s.size);
    json_put_short(c, head, (size_t)(to - head));
    to = json_room(c, s.size);
    if (!to)
        return buf_error(c->out);
    if (s.size == s.raw.n)
        memcpy(to, s.raw.p, s.size);
    else
        json_unescape(&s, to);
    c->out->n += s.size;
    return 0;
}

static int read_bytes(struct json_context *c, const struct schema_field *f, bool keep_zero)
{
    size_t before = c->out->n, start;
    struct str text;
    ssize_t size;
    char *to;
    int err;

    if (!json_at(c, '"'))
        return json_wrong_kind(c, "must be a string of base64");
    err = json_scan_text(c, &text);
    if (err)
        return err;
    start = schema_put_begin(c->out, f->number);
    to = json_room(c, text.n / 4 * 3 + 2);
    if (!to)
        return buf_error(c->out);
    size = base64_decode(to, text);
    if (size < 0)
        return json_fault(c, "must be a string of base64");
    c->out->n += (size_t)size;
    schema_put_end(c->out, start);
    if (size == 0 && !keep_zero)
        c->out->n = before;
    return 0;
}

/* ---- values ---- */

static int read_submessage(struct json_context *c, const struct schema_field *f)
{
    size_t start;
    int err;

    if (f->type == SCHEMA_GROUP) {
        schema_put_tag(c->out, f->number, SCHEMA_WIRE_START_GROUP);
        err = json_read_message(c, f->message);
        schema_put_tag(c->out, f->number, SCHEMA_WIRE_END_GROUP);
        return err;
    }
    start = schema_put_begin(c->out, f->number);
    err = json_read_message(c, f->message);
    if (!err)
        schema_put_end(c->out, start);
    return err;
}

int json_read_value(struct json_context *c, const struct schema_field *f, bool bare, bool keep_zero)
{
    struct json_mark mark = json_scratch_mark(c);
    uint64_t v = 0;
    int err;

    switch (f->type) {
    case SCHEMA_STRING:
        return read_string(c, f, keep_zero);
    case SCHEMA_MESSAGE:
    case SCHEMA_GROUP:
        return read_submessage(c, f);
    case SCHEMA_BYTES:
        err = read_bytes(c, f, keep_zero);
        break;
    default:
        err = read_scalar(c, f, &v);
        if (!err && (v || keep_zero))
            json_put_scalar(c, f, v, bare);
        break;
    }
    json_scratch_release(c, mark);
    return err;
}

static int read_elements(struct json_context *c, const struct schema_field *f,
                         struct json_segment *here)
{
    int more, err;

    for (more = json_first(c, ']'); more > 0; more = json_next(c, ']')) {
        err = json_count_item(c);
        if (!err)
            err = json_read_value(c, f, f->packed, true);
        if (err < 0)
            return err;
        here->index++;
    }
    return more;
}

static int read_packed(struct json_context *c, const struct schema_field *f,
                       struct json_segment *here)
{
    size_t before = c->out->n, start = schema_put_begin(c->out, f->number);
    int err = read_elements(c, f, here);

    if (err)
        return err;
    if (c->out->n > start)
        schema_put_end(c->out, start);
    else
        c->out->n = before;
    return 0;
}

int json_read_list(struct json_context *c, const struct schema_field *f)
{
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_INDEX};
    int err;

    if (!json_at(c, '['))
        return json_wrong_kind(c, "must be a list");
    err = json_enter(c);
    if (err)
        return err;
    c->at++;
    c->path = &here;
    err = f->packed ? read_packed(c, f, &here) : read_elements(c, f, &here);
    c->path = here.up;
    json_leave(c);
    return err;
}

/* ---- maps ---- */

static int read_map_key(struct json_context *c, const struct schema_field *f, struct str name)
{
    char head[JSON_SHORT] = {0};
    const char *stop, *end;
    struct json_number n;
    uint64_t v;
    char *to;

    switch (f->type) {
    case SCHEMA_STRING:
        to = json_varint(json_tag(head, f->number, SCHEMA_WIRE_LENGTH), name.n);
        json_put_short(c, head, (size_t)(to - head));
        buf_append_str(c->out, name);
        return 0;
    case SCHEMA_BOOL:
        v = str_eq(name, STR("true"));
        if (!v && !str_eq(name, STR("false")))
            return json_fault(c, "its key must be true or false");
        break;
    default:
        end = json_parse_number(name.p, name.p + name.n, &n, &stop);
        if (!end || end != name.p + name.n || !integer_bits(f->type, &n, &v))
            return json_faultf(c, "its key %s", range_of(f->type)->message);
        break;
    }
    json_put_scalar(c, f, v, false);
    return 0;
}

static int read_map_entry(struct json_context *c, const struct schema_field *f, struct str name)
{
    const struct schema_field *fields = f->message->fields;
    size_t before = c->out->n, start = schema_put_begin(c->out, f->number);
    int err = read_map_key(c, &fields[0], name);

    if (!err)
        err = json_read_value(c, &fields[1], false, true);
    if (err == JSON_IGNORED)
        c->out->n = before;
    else if (!err)
        schema_put_end(c->out, start);
    return err;
}

/* Refuses a key that occurs twice among the entries that have just been written from `start`. Done
 * on the wire form, where 1 and 1e0 are the same key; sorted, so that nobody's choice of keys makes
 * it slow. */
static int check_keys(struct json_context *c, struct json_segment *here, size_t start, size_t n)
{
    struct json_mark mark = json_scratch_mark(c);
    struct json_map_key *keys = json_scratch_alloc(c, n * sizeof(*keys));
    struct schema_wire_field entry, key;
    struct schema_reader entries, inside;

    if (!keys)
        return -ENOMEM;
    entries = (struct schema_reader){(const uint8_t *)c->out->p + start,
                                     (const uint8_t *)c->out->p + c->out->n};
    for (size_t i = 0; i < n; i++) {
        int got = schema_read_field(&entries, &entry);

        inside = (struct schema_reader){(const uint8_t *)entry.bytes.p,
                                        (const uint8_t *)entry.bytes.p + entry.bytes.n};
        if (got == 1)
            got = schema_read_field(&inside, &key);
        if (got != 1)
            return -EMSGSIZE; /* an entry longer than wire lengths can say */
        keys[i] = (struct json_map_key){.text = key.bytes, .number = key.scalar, .position = i};
    }
    json_sort_keys(keys, n);
    for (size_t i = 1; i < n; i++) {
        if (json_same_key(&keys[i - 1], &keys[i])) {
            here->kind = JSON_SEGMENT_NONE;
            return json_fault(c, "has a key twice");
        }
    }
    json_scratch_release(c, mark);
    return 0;
}

static int read_entries(struct json_context *c, const struct schema_field *f,
                        struct json_segment *here)
{
    struct json_mark mark = json_scratch_mark(c);
    size_t start = c->out->n, n = 0;
    int more, err;

    for (more = json_first(c, '}'); more > 0; more = json_next(c, '}')) {
        err = json_count_item(c);
        if (!err)
            err = json_scan_name(c, &here->name);
        if (!err)
            err = read_map_entry(c, f, here->name);
        if (err < 0)
            return err;
        n += !err;
        json_scratch_release(c, mark);
    }
    if (!more && n > 1 && !c->out->failed)
        return check_keys(c, here, start, n);
    return more;
}

int json_read_map(struct json_context *c, const struct schema_field *f)
{
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_KEY};
    int err;

    if (!json_at(c, '{'))
        return json_wrong_kind(c, "must be an object");
    err = json_enter(c);
    if (err)
        return err;
    c->at++;
    c->path = &here;
    err = read_entries(c, f, &here);
    c->path = here.up;
    json_leave(c);
    return err;
}

/* ---- members ---- */

#define SMALL_SEEN 4 /* words: fields and oneofs of all but huge messages */

struct members {
    const struct schema_message *type;
    uint64_t *seen; /* a bit for each field, then for each oneof */
    uint64_t small[SMALL_SEEN];
    size_t expected; /* index of the field that follows the last one */
    bool in_any, type_seen;
    bool masked;     /* a mask is made of what is given */
    bool has_masked; /* the member that type->masked is, and ... */
    uint64_t given;  /* ... what it gives */
};

static int members_init(struct json_context *c, struct members *m,
                        const struct schema_message *type, bool in_any)
{
    size_t words = (type->n_fields + type->n_oneofs + 63) / 64;

    m->type = type;
    m->expected = 0;
    m->in_any = in_any;
    m->type_seen = false;
    m->masked = c->mask_next;
    m->has_masked = false;
    m->given = 0;
    c->mask_next = false;
    m->seen = m->small;
    if (words > SMALL_SEEN) {
        m->seen = json_scratch_alloc(c, words * sizeof(*m->seen));
        if (!m->seen)
            return -ENOMEM;
    }
    memset(m->seen, 0, words * sizeof(*m->seen));
    return 0;
}

static bool seen(const struct members *m, size_t bit)
{
    return m->seen[bit / 64] >> (bit % 64) & 1;
}

static bool see(struct members *m, size_t bit)
{
    bool before = seen(m, bit);

    m->seen[bit / 64] |= UINT64_C(1) << (bit % 64);
    return before;
}

/* Members mostly come in the order of the fields. */
static const struct schema_field *find_field(struct members *m, struct str name)
{
    const struct schema_field *f;

    if (m->expected < m->type->n_fields) {
        f = &m->type->fields[m->expected];
        if (str_eq(f->json_name, name))
            return f;
    }
    return schema_field_by_json_name(m->type, name);
}

static int read_unknown_member(struct json_context *c, struct members *m, struct str name)
{
    if (m->in_any && str_eq(name, STR("@type"))) {
        if (m->type_seen)
            return json_fault(c, "is given twice");
        m->type_seen = true;
    } else if (c->refuse_unknown) {
        return json_fault(c, "is not a known field");
    }
    return json_skip_value(c);
}

/* For most fields null means unset. */
static bool has_null(const struct schema_field *f)
{
    if (f->repeated)
        return false;
    if (f->type == SCHEMA_ENUM)
        return f->enumeration->null_value;
    return f->message && f->message->well_known == SCHEMA_VALUE;
}

static int read_null(struct json_context *c, const struct members *m, const struct schema_field *f)
{
    if (f->required)
        return json_fault(c, "is required");
    if (m->masked && f->repeated) {
        int err = json_fault(c, "can't be null");

        return err == -EBADMSG ? -EDOM : err;
    }
    return 0;
}

static int read_masked(struct json_context *c, struct members *m, const struct schema_field *f)
{
    int err;

    c->mask_next = true;
    err = json_read_value(c, f, false, true);
    m->has_masked = true;
    m->given = c->seen;
    return err;
}

static int read_field(struct json_context *c, struct members *m, const struct schema_field *f)
{
    size_t index = (size_t)(f - m->type->fields);
    int err;

    m->expected = index + 1;
    if (see(m, index))
        return json_fault(c, "is given twice");
    if (json_at(c, 'n') && !has_null(f) && json_take_literal(c, STR("null")))
        return read_null(c, m, f);
    if (f->oneof >= 0 && see(m, m->type->n_fields + (size_t)f->oneof))
        return json_faultf(c, "only one member of \"%.*s\" may be given",
                           STR_FMT(m->type->oneofs[f->oneof].name));
    if (f->map)
        return json_read_map(c, f);
    if (f->repeated)
        return json_read_list(c, f);
    if (f == m->type->masked)
        return read_masked(c, m, f);
    err = json_read_value(c, f, false, f->presence);
    if (err == JSON_IGNORED)
        return f->required ? json_fault(c, "is not one of the known values") : 0;
    return err;
}

static int check_required(struct json_context *c, const struct members *m,
                          struct json_segment *here)
{
    for (size_t i = 0; i < m->type->n_fields; i++) {
        if (m->type->fields[i].required && !seen(m, i)) {
            here->name = m->type->fields[i].json_name;
            return json_fault(c, "is required");
        }
    }
    return 0;
}

static int read_members(struct json_context *c, struct members *m, struct json_segment *here)
{
    struct json_mark mark = json_scratch_mark(c);
    int more, err;

    for (more = json_first(c, '}'); more > 0; more = json_next(c, '}')) {
        const struct schema_field *f;
        struct str name;

        err = json_scan_name(c, &name);
        if (err)
            return err;
        f = find_field(m, name);
        here->name = f ? f->json_name : name;
        err = f ? read_field(c, m, f) : read_unknown_member(c, m, name);
        if (err)
            return err;
        json_scratch_release(c, mark);
    }
    return more ? more : check_required(c, m, here);
}

/* The mask that the caller has not given, of what it has given. */
static void put_mask(struct json_context *c, const struct members *m)
{
    const struct schema_message *type = m->type, *masked;
    size_t mask, path;

    if (!m->has_masked || seen(m, (size_t)(type->mask - type->fields)))
        return;
    masked = type->masked->message;
    mask = schema_put_begin(c->out, type->mask->number);
    for (size_t i = 0; i < masked->n_fields; i++) {
        if (!(m->given >> i & 1))
            continue;
        path = schema_put_begin(c->out, 1); /* google.protobuf.FieldMask.paths */
        buf_append_str(c->out, masked->fields[i].name);
        schema_put_end(c->out, path);
    }
    schema_put_end(c->out, mask);
}

int json_read_members(struct json_context *c, const struct schema_message *type, bool in_any)
{
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_MEMBER};
    struct json_mark mark = json_scratch_mark(c);
    struct members m;
    int err = members_init(c, &m, type, in_any);

    if (err)
        return err;
    c->path = &here;
    err = read_members(c, &m, &here);
    if (!err)
        put_mask(c, &m);
    c->seen = m.seen[0];
    c->path = here.up;
    json_scratch_release(c, mark);
    return err;
}

int json_read_message(struct json_context *c, const struct schema_message *type)
{
    int err;

    if (type->well_known != SCHEMA_PLAIN && type->well_known != SCHEMA_EMPTY)
        return json_read_well_known(c, type);
    if (!json_at(c, '{'))
        return json_wrong_kind(c, "must be an object");
    err = json_enter(c);
    if (err)
        return err;
    c->at++;
    err = json_read_members(c, type, false);
    json_leave(c);
    return err;
}

int schema_json_read(const struct schema *schema, const struct schema_message *type,
                     struct str json, const struct schema_json_options *options, struct buf *wire,
                     struct arena *arena, struct schema_fault *ret_fault)
{
    size_t before = wire->n, guess = json.n < wire->max - wire->n ? json.n : wire->max - wire->n;
    struct json_context c;
    int err;

    json_context_init(&c, schema, options, wire, arena, ret_fault);
    c.start = c.at = json.p ? json.p : "";
    c.end = c.start + json.n;
    /* Wire is mostly shorter than JSON. */
    if (!buf_reserve(wire, guess))
        return buf_error(wire);
    json_skip_space(&c);
    err = json_read_message(&c, type);
    json_skip_space(&c);
    if (!err && c.at < c.end)
        err = json_unexpected(&c);
    /* Lengths on the wire end at INT32_MAX. */
    if (!err)
        err = buf_error(wire);
    if (!err && wire->n - before > INT32_MAX)
        err = -EMSGSIZE;
    if (err)
        wire->n = before;
    return err;
}
