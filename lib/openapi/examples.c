/* Example values: those that the contract gives, and where it gives none, values made by type and
 * rules. */
#include "openapi/internal.h"

#include <assert.h>
#include <stdlib.h>

#define MAX_DEPTH 8

/* The messages around, so that a type within itself ends. */
struct around {
    const struct around *up;
    const struct schema_message *message;
    unsigned depth;
};

static json_t *message_inside(struct document *d, const struct schema_message *m,
                              enum direction direction, const struct except *except,
                              const struct around *up);

/* No value means that none can be made up; without memory it is another matter. */
static json_t *made(struct document *d, json_t *value)
{
    if (!value)
        d->failed = true;
    return value;
}

/* ---- given ---- */

/* Whether the JSON form is a string. */
static bool is_text(const struct schema_field *f)
{
    enum schema_type type = f->type;

    if (f->repeated)
        return false;
    if (f->message && f->message->well_known == SCHEMA_WRAPPER)
        type = f->message->fields[0].type;
    else if (f->message)
        return f->message->well_known == SCHEMA_TIMESTAMP ||
               f->message->well_known == SCHEMA_DURATION ||
               f->message->well_known == SCHEMA_FIELD_MASK;
    switch (type) {
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
    case SCHEMA_INT64:
    case SCHEMA_UINT64:
    case SCHEMA_SINT64:
    case SCHEMA_FIXED64:
    case SCHEMA_SFIXED64:
        return true;
    case SCHEMA_ENUM:
        return !f->enumeration || !f->enumeration->null_value;
    default:
        return false;
    }
}

json_t *own_example(struct document *d, const struct schema_field *f)
{
    json_error_t error;
    json_t *value;

    if (!f->example.n)
        return NULL;
    if (is_text(f))
        return made(d, json_text(f->example));
    value =
        json_loadb(f->example.p, f->example.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (!value && json_error_code(&error) == json_error_out_of_memory)
        d->failed = true;
    else if (!value)
        fail(d, "the example of field %s is not JSON: %s", f->name.p, error.text);
    return value;
}

/* ---- made ---- */

static const struct rule_check *find_check(const struct schema_rules *rules, enum check_op op)
{
    for (size_t i = 0; rules && i < rules->n_checks; i++) {
        if (rules->checks[i].op == op)
            return &rules->checks[i];
    }
    return NULL;
}

/* The one value, or the first, that a rule allows. */
static const struct rule_value *allowed(const struct schema_rules *rules)
{
    const struct rule_check *c = find_check(rules, CHECK_CONST);

    if (!c)
        c = find_check(rules, CHECK_IN);
    return c && c->n_values ? &c->values[0] : NULL;
}

static const char *format_example(const struct rule_check *c)
{
    if (c->format == format_email)
        return "ada@example.com";
    if (c->format == format_hostname)
        return "www.example.com";
    if (c->format == format_ip || c->format == format_ipv4)
        return "192.0.2.1";
    if (c->format == format_ipv6)
        return "2001:db8::1";
    if (c->format == format_uuid)
        return "0189dc9c-7a5e-7b1a-8f3e-4c2d5e6f7a8b";
    return "https://example.com/";
}

/* Text that is long enough and not too long. */
static json_t *sized(struct document *d, const struct schema_rules *rules)
{
    const struct rule_check *min = find_check(rules, CHECK_MIN_LENGTH);
    const struct rule_check *max = find_check(rules, CHECK_MAX_LENGTH);
    const struct rule_check *exact = find_check(rules, CHECK_LENGTH);
    struct buf b CLEANUP(buf_free) = {.max = 1 << 12};
    size_t low = min ? (size_t)min->values[0].i : 0, high = max ? (size_t)max->values[0].i : 6;

    if (exact)
        low = high = (size_t)exact->values[0].i;
    if (low > 1000)
        return NULL;
    for (size_t i = 0; i < low || (i < 6 && i < high); i++)
        buf_append_char(&b, "string"[i % 6]);
    return made(d, json_text(keep(d, &b)));
}

static json_t *string_example(struct document *d, const struct schema_rules *rules)
{
    const struct rule_value *value = allowed(rules);
    const struct rule_check *format = find_check(rules, CHECK_FORMAT);

    if (value)
        return made(d, json_text(value->s));
    if (format)
        return made(d, json_string(format_example(format)));
    for (size_t i = 0; rules && i < rules->n_checks; i++) {
        enum check_op op = rules->checks[i].op;

        if (op == CHECK_PATTERN || op == CHECK_PREFIX || op == CHECK_SUFFIX ||
            op == CHECK_CONTAINS || op == CHECK_SIZE || op == CHECK_MIN_SIZE)
            return NULL;
    }
    return sized(d, rules);
}

static __int128 integer_value(const struct schema_rules *rules)
{
    const struct rule_value *value = allowed(rules);
    const struct rule_check *low = find_check(rules, CHECK_GTE);
    const struct rule_check *above = find_check(rules, CHECK_GT);
    const struct rule_check *high = find_check(rules, CHECK_LTE);
    const struct rule_check *below = find_check(rules, CHECK_LT);
    __int128 n = 1;

    if (value)
        return value->i;
    if (low && n < low->values[0].i)
        n = low->values[0].i;
    if (above && n <= above->values[0].i)
        n = above->values[0].i + 1;
    if (high && n > high->values[0].i)
        n = high->values[0].i;
    if (below && n >= below->values[0].i)
        n = below->values[0].i - 1;
    return n;
}

static json_t *float_example(struct document *d, const struct schema_rules *rules)
{
    const struct rule_value *value = allowed(rules);
    const struct rule_check *low = find_check(rules, CHECK_GTE);
    const struct rule_check *above = find_check(rules, CHECK_GT);
    const struct rule_check *high = find_check(rules, CHECK_LTE);
    const struct rule_check *below = find_check(rules, CHECK_LT);

    if (value)
        return made(d, json_real(value->d));
    if (low || high)
        return made(d, json_real((low ? low : high)->values[0].d));
    if (above && below)
        return made(d, json_real((above->values[0].d + below->values[0].d) / 2));
    if (above || below)
        return made(d, json_real(above ? above->values[0].d + 1 : below->values[0].d - 1));
    return made(d, json_real(1.5));
}

static json_t *long_example(struct document *d, const struct schema_rules *rules)
{
    __int128 n = integer_value(rules);

    return made(d, json_text(n < 0 ? text(d, "%lld", (long long)n)
                                   : text(d, "%llu", (unsigned long long)n)));
}

/* The first value that is not zero and not forbidden. */
static json_t *enum_example(struct document *d, const struct schema_enum *e,
                            const struct schema_rules *rules)
{
    const struct rule_value *value = allowed(rules);
    const struct rule_check *not_in = find_check(rules, CHECK_NOT_IN);
    const struct schema_enum_value *found = NULL;

    assert(e);
    if (e->null_value)
        return json_null();
    if (value)
        found = schema_enum_by_number(e, (int32_t)value->i);
    for (size_t i = 0; !found && i < e->n_values; i++) {
        bool forbidden = e->values[i].number == 0 && e->n_values > 1;

        for (size_t j = 0; not_in && j < not_in->n_values; j++)
            forbidden |= not_in->values[j].i == e->values[i].number;
        if (!forbidden)
            found = &e->values[i];
    }
    return found ? made(d, json_text(found->name)) : NULL;
}

static json_t *scalar_example(struct document *d, enum schema_type type,
                              const struct schema_enum *e, const struct schema_rules *rules)
{
    switch (type) {
    case SCHEMA_DOUBLE:
    case SCHEMA_FLOAT:
        return float_example(d, rules);
    case SCHEMA_INT64:
    case SCHEMA_SINT64:
    case SCHEMA_SFIXED64:
    case SCHEMA_UINT64:
    case SCHEMA_FIXED64:
        return long_example(d, rules);
    case SCHEMA_INT32:
    case SCHEMA_SINT32:
    case SCHEMA_SFIXED32:
    case SCHEMA_UINT32:
    case SCHEMA_FIXED32:
        return made(d, json_integer((json_int_t)integer_value(rules)));
    case SCHEMA_BOOL:
        return json_boolean(!allowed(rules) || allowed(rules)->i);
    case SCHEMA_BYTES:
        return rules && rules->n_checks ? NULL : made(d, json_string("c3RvYQ=="));
    case SCHEMA_ENUM:
        return enum_example(d, e, rules);
    default:
        return string_example(d, rules);
    }
}

static json_t *well_known_example(struct document *d, const struct schema_message *m,
                                  const struct schema_rules *rules)
{
    bool ruled = rules && rules->n_checks;

    switch (m->well_known) {
    case SCHEMA_TIMESTAMP:
        return ruled ? NULL : made(d, json_string("2026-01-31T09:30:00.000Z"));
    case SCHEMA_DURATION:
        return ruled ? NULL : made(d, json_string("1.500s"));
    case SCHEMA_FIELD_MASK:
        return made(d, json_string(""));
    case SCHEMA_STRUCT:
    case SCHEMA_EMPTY:
        return made(d, json_object());
    case SCHEMA_LIST_VALUE:
        return made(d, json_array());
    case SCHEMA_WRAPPER:
        return scalar_example(d, m->fields[0].type, NULL, rules);
    default: /* an Any or a Value can be anything */
        return NULL;
    }
}

static bool is_around(const struct around *a, const struct schema_message *m)
{
    for (; a; a = a->up) {
        if (a->message == m)
            return true;
    }
    return false;
}

static json_t *one_example(struct document *d, const struct schema_field *f,
                           const struct schema_rules *rules, enum direction direction,
                           const struct around *around)
{
    if (!f->message)
        return scalar_example(d, f->type, f->enumeration, rules);
    if (f->message->well_known != SCHEMA_PLAIN)
        return well_known_example(d, f->message, rules);
    if (is_around(around, f->message) || (around && around->depth == MAX_DEPTH))
        return NULL;
    return message_inside(d, f->message, direction, NULL, around);
}

static json_t *list_example(struct document *d, const struct schema_field *f,
                            enum direction direction, const struct around *around)
{
    const struct schema_rules *rules = f->rules ? f->rules->items : NULL;
    const struct rule_check *min = find_check(f->rules, CHECK_MIN_ITEMS);
    json_t *list = made(d, json_array()), *value;

    if (min && min->values[0].i > 1) { /* several, perhaps different */
        json_decref(list);
        return NULL;
    }
    value = one_example(d, f, rules, direction, around);
    if (value)
        append(d, list, value);
    return list;
}

static json_t *map_example(struct document *d, const struct schema_field *f,
                           enum direction direction, const struct around *around)
{
    const struct schema_message *entry = f->message;
    json_t *map = made(d, json_object()), *value;
    enum schema_type key;

    assert(entry);
    key = entry->fields[0].type;
    if (f->rules && (f->rules->keys || f->rules->n_checks)) {
        json_decref(map);
        return NULL;
    }
    value = one_example(d, &entry->fields[1], f->rules ? f->rules->items : NULL, direction, around);
    if (value)
        put(d, map, key == SCHEMA_STRING ? "key" : key == SCHEMA_BOOL ? "true" : "1", value);
    return map;
}

static json_t *any_example(struct document *d, const struct schema_field *f,
                           enum direction direction, const struct around *around)
{
    json_t *own = own_example(d, f);

    if (own)
        return own;
    if (f->map)
        return map_example(d, f, direction, around);
    if (f->repeated)
        return list_example(d, f, direction, around);
    return one_example(d, f, f->rules, direction, around);
}

json_t *field_example(struct document *d, const struct schema_field *f, enum direction direction)
{
    return any_example(d, f, direction, NULL);
}

/* ---- messages ---- */

/* Of a oneof the first member alone. */
static bool is_other_member(const struct schema_message *m, const struct schema_field *f)
{
    if (f->oneof < 0 || m->oneofs[f->oneof].synthetic)
        return false;
    for (const struct schema_field *other = m->fields; other < f; other++) {
        if (other->oneof == f->oneof)
            return true;
    }
    return false;
}

static json_t *member_example(struct document *d, const struct schema_field *f,
                              enum direction direction, const struct except *except,
                              const struct around *around)
{
    struct except below;

    if (f->message && except_below(except, f, &below) && !is_around(around, f->message))
        return message_inside(d, f->message, direction, &below, around);
    return any_example(d, f, direction, around);
}

static json_t *message_inside(struct document *d, const struct schema_message *m,
                              enum direction direction, const struct except *except,
                              const struct around *up)
{
    const struct around here = {up, m, up ? up->depth + 1 : 1};
    json_t *message = made(d, json_object());

    for (size_t i = 0; i < m->n_fields; i++) {
        const struct schema_field *f = &m->fields[i];
        json_t *value;

        if (is_excepted(except, f) || is_other_member(m, f))
            continue;
        value = member_example(d, f, direction, except, &here);
        if (value) {
            put(d, message, f->json_name.p, value);
        } else if (direction == INPUT && is_needed(d, f)) {
            json_decref(message);
            return NULL;
        }
    }
    return message;
}

json_t *message_example(struct document *d, const struct schema_message *m,
                        enum direction direction, const struct except *except)
{
    if (m->well_known != SCHEMA_PLAIN || is_http_body(m))
        return NULL;
    return message_inside(d, m, direction, except, NULL);
}
