/* Messages, fields and enums as JSON Schema: what the proto3 JSON mapping makes of them, in the
 * form that the gateway prints and that is best to send. */
#include "openapi/internal.h"

#include <assert.h>

bool is_http_body(const struct schema_message *m)
{
    return str_eq(m->full_name, STR("google.api.HttpBody"));
}

/* ---- fields that are elsewhere ---- */

static bool is_here(const struct except *e, const struct route_variable *v)
{
    return v->n_fields > e->level &&
           memcmp(v->fields, e->above, e->level * sizeof(e->above[0])) == 0;
}

bool is_excepted(const struct except *e, const struct schema_field *f)
{
    for (unsigned i = 0; e && i < e->n; i++) {
        const struct route_variable *v = &e->variables[i];

        if (is_here(e, v) && v->n_fields == e->level + 1 && v->fields[e->level] == f)
            return true;
    }
    return false;
}

bool except_below(const struct except *e, const struct schema_field *f, struct except *ret)
{
    for (unsigned i = 0; e && i < e->n; i++) {
        const struct route_variable *v = &e->variables[i];

        if (is_here(e, v) && v->n_fields > e->level + 1 && v->fields[e->level] == f) {
            *ret = *e;
            ret->above[ret->level++] = f;
            return true;
        }
    }
    return false;
}

/* ---- scalars ---- */

static json_t *typed(const char *type, const char *format)
{
    return format ? json_pack("{s:s, s:s}", "type", type, "format", format)
                  : json_pack("{s:s}", "type", type);
}

static json_t *long_integer(const char *format, const char *pattern)
{
    return json_pack("{s:s, s:s, s:s}", "type", "string", "format", format, "pattern", pattern);
}

/* A rule that no NaN and no infinity passes. */
static bool is_finite(const struct schema_rules *rules)
{
    bool low = false, high = false;

    for (size_t i = 0; rules && rules->class == RULE_FLOAT && i < rules->n_checks; i++) {
        enum check_op op = rules->checks[i].op;

        if (op == CHECK_FINITE || op == CHECK_IN || op == CHECK_CONST)
            return true;
        low |= op == CHECK_GT || op == CHECK_GTE;
        high |= op == CHECK_LT || op == CHECK_LTE;
    }
    return low && high;
}

static json_t *number(const char *format, const struct schema_rules *rules)
{
    if (is_finite(rules))
        return typed("number", format);
    return json_pack("{s:[{s:s, s:s}, {s:s, s:[s, s, s]}]}", "anyOf", "type", "number", "format",
                     format, "type", "string", "enum", "NaN", "Infinity", "-Infinity");
}

static json_t *scalar(struct document *d, enum schema_type type, const struct schema_enum *e,
                      const struct schema_rules *rules)
{
    switch (type) {
    case SCHEMA_DOUBLE:
        return number("double", rules);
    case SCHEMA_FLOAT:
        return number("float", rules);
    case SCHEMA_INT64:
    case SCHEMA_SINT64:
    case SCHEMA_SFIXED64:
        return long_integer("int64", "^(0|-?[1-9][0-9]*)$");
    case SCHEMA_UINT64:
    case SCHEMA_FIXED64:
        return long_integer("uint64", "^(0|[1-9][0-9]*)$");
    case SCHEMA_INT32:
    case SCHEMA_SINT32:
    case SCHEMA_SFIXED32:
        return typed("integer", "int32");
    case SCHEMA_UINT32:
    case SCHEMA_FIXED32:
        return typed("integer", "uint32");
    case SCHEMA_BOOL:
        return typed("boolean", NULL);
    case SCHEMA_BYTES:
        return json_pack("{s:s, s:s}", "type", "string", "contentEncoding", "base64");
    case SCHEMA_ENUM:
        assert(e);
        return e->null_value ? typed("null", NULL) : enum_ref(d, e);
    default:
        return typed("string", NULL);
    }
}

json_t *enum_schema(struct document *d, const struct schema_enum *e)
{
    json_t *schema = json_object(), *names = json_array();
    struct str words = note_of(d, e->full_name)->comment;
    struct buf list CLEANUP(buf_free) = {.max = 1 << 20};

    for (size_t i = 0; i < e->n_values; i++) {
        const char *name = e->values[i].name.p;
        const struct note *note = note_of(d, text(d, "%s.%s", e->full_name.p, name));

        append(d, names, json_text(e->values[i].name));
        if (note->comment.n)
            buf_printf(&list, "%s- `%s`: %.*s", list.n ? "\n" : "", name, STR_FMT(note->comment));
    }
    if (list.n)
        words =
            text(d, "%.*s%s%.*s", STR_FMT(words), words.n ? "\n\n" : "", STR_FMT(keep(d, &list)));
    put(d, schema, "type", json_string("string"));
    put(d, schema, "enum", names);
    if (words.n)
        put_str(d, schema, "description", words);
    return schema;
}

/* ---- well-known types ---- */

static json_t *any_schema(void)
{
    return json_pack("{s:s, s:s, s:{s:{s:s, s:s}}, s:[s]}", "type", "object", "description",
                     "Any message: its type, and its members beside it.", "properties", "@type",
                     "type", "string", "description",
                     "URL of the type, such as "
                     "`type.googleapis.com/google.protobuf.Duration`.",
                     "required", "@type");
}

static json_t *message_value(struct document *d, const struct schema_field *f,
                             const struct schema_message *m, enum direction direction)
{
    switch (m->well_known) {
    case SCHEMA_ANY:
        return any_schema();
    case SCHEMA_TIMESTAMP:
        return typed("string", "date-time");
    case SCHEMA_DURATION:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^-?[0-9]+(\\.[0-9]{1,9})?s$");
    case SCHEMA_FIELD_MASK:
        return typed("string", NULL);
    case SCHEMA_STRUCT:
    case SCHEMA_EMPTY:
        return typed("object", NULL);
    case SCHEMA_VALUE:
        return json_object(); /* anything */
    case SCHEMA_LIST_VALUE:
        return json_pack("{s:s, s:{}}", "type", "array", "items");
    case SCHEMA_WRAPPER:
        return scalar(d, m->fields[0].type, NULL, f->rules);
    default:
        return is_http_body(m) ? typed("object", NULL) : message_ref(d, m, direction);
    }
}

/* ---- fields ---- */

/* One value: the field itself when it is singular, an item, or a value of a map. */
static json_t *one_value(struct document *d, const struct schema_field *f,
                         const struct schema_rules *rules, enum direction direction,
                         const struct schema_field *whole, struct buf *sentences)
{
    json_t *schema;
    enum schema_type type = f->type;

    if (f->message) {
        schema = message_value(d, f, f->message, direction);
        if (f->message->well_known == SCHEMA_WRAPPER)
            type = f->message->fields[0].type;
    } else {
        schema = scalar(d, f->type, f->enumeration, rules);
    }
    add_rules(d, schema, rules, type, f->enumeration, whole, sentences);
    return schema;
}

/* An item says its own sentences. */
static json_t *item(struct document *d, const struct schema_field *f,
                    const struct schema_rules *rules, enum direction direction)
{
    struct buf sentences CLEANUP(buf_free) = {.max = 1 << 20};
    json_t *schema = one_value(d, f, rules, direction, NULL, &sentences);

    if (sentences.n)
        put_str(d, schema, "description", keep(d, &sentences));
    return schema;
}

static json_t *map_value(struct document *d, const struct schema_field *f, enum direction direction)
{
    const struct schema_field *key, *value;
    json_t *schema = typed("object", NULL);

    assert(f->message);
    key = &f->message->fields[0];
    value = &f->message->fields[1];
    put(d, schema, "additionalProperties",
        item(d, value, f->rules ? f->rules->items : NULL, direction));
    /* Keys are strings in JSON, whatever their type. */
    if (f->rules && f->rules->keys && key->type == SCHEMA_STRING)
        put(d, schema, "propertyNames", item(d, key, f->rules->keys, direction));
    else if (key->type == SCHEMA_BOOL)
        put(d, schema, "propertyNames", json_pack("{s:[s, s]}", "enum", "true", "false"));
    else if (key->type != SCHEMA_STRING)
        put(d, schema, "propertyNames", json_pack("{s:s}", "pattern", "^(0|-?[1-9][0-9]*)$"));
    return schema;
}

static json_t *list_value(struct document *d, const struct schema_field *f,
                          enum direction direction)
{
    json_t *schema = typed("array", NULL);

    put(d, schema, "items", item(d, f, f->rules ? f->rules->items : NULL, direction));
    return schema;
}

/* schema or null. */
static json_t *nullable(struct document *d, json_t *schema)
{
    json_t *type = json_object_get(schema, "type"), *any;

    if (json_is_string(type) && !json_object_get(schema, "enum") &&
        !json_object_get(schema, "const")) {
        put(d, schema, "type", json_pack("[O, s]", type, "null"));
        return schema;
    }
    any = json_array();
    append(d, any, schema);
    append(d, any, typed("null", NULL));
    schema = json_object();
    put(d, schema, "anyOf", any);
    return schema;
}

static bool can_be_null(const struct schema_field *f, enum direction direction)
{
    if (f->null_when_unset)
        return true;
    return direction == INPUT && !f->repeated && f->message &&
           f->message->well_known == SCHEMA_WRAPPER && !(f->rules && f->rules->required);
}

static void describe(struct document *d, json_t *schema, const struct schema_message *in,
                     const struct schema_field *f, const struct buf *sentences)
{
    const struct note *note = note_of(d, text(d, "%s.%s", in->full_name.p, f->name.p));
    struct str words = comment_in(d, note->comment, in);
    json_t *example = own_example(d, f);

    if (sentences->n)
        words =
            text(d, "%.*s%s%.*s", STR_FMT(words), words.n ? " " : "", STR_FMT(buf_str(sentences)));
    if (words.n)
        put_str(d, schema, "description", words);
    if (note->deprecated)
        put_true(d, schema, "deprecated");
    if (example)
        put(d, schema, "examples", json_pack("[o]", example));
}

json_t *field_schema(struct document *d, const struct schema_message *in,
                     const struct schema_field *f, enum direction direction)
{
    struct buf sentences CLEANUP(buf_free) = {.max = 1 << 20};
    json_t *schema;

    if (f->map || f->repeated) {
        schema = f->map ? map_value(d, f, direction) : list_value(d, f, direction);
        add_rules(d, schema, f->rules, f->type, NULL, f, &sentences);
    } else {
        schema = one_value(d, f, f->rules, direction, f, &sentences);
    }
    if (can_be_null(f, direction))
        schema = nullable(d, schema);
    if (in)
        describe(d, schema, in, f, &sentences);
    return schema;
}

/* ---- messages ---- */

bool is_needed(struct document *d, const struct schema_field *f)
{
    int accepts_zero;

    if (f->required || (f->rules && f->rules->required && f->rules->ignore != IGNORE_ALWAYS))
        return true;
    if (f->presence || !f->rules)
        return false;
    accepts_zero = rules_accept_zero(f->rules);
    if (accepts_zero < 0)
        d->failed = true;
    return accepts_zero == 0;
}

/* What the gateway prints even when it is not set (lib/schema/json_write.c). */
static bool is_printed(const struct document *d, const struct schema_field *f)
{
    return f->required || (d->options->print_unset && (!f->presence || f->null_when_unset));
}

static json_t *required_one(struct document *d, const struct schema_field *f)
{
    json_t *names = json_array(), *schema = json_object();

    append(d, names, json_text(f->json_name));
    put(d, schema, "required", names);
    return schema;
}

/* Two members of a oneof are an error; none is one only when the rules say so. */
static void add_oneof(struct document *d, json_t *schema, const struct schema_message *m, size_t i,
                      const struct except *except)
{
    json_t *one = json_array(), *none = json_array();
    bool required = m->oneofs[i].required, elsewhere = false;

    for (size_t j = 0; j < m->n_fields; j++) {
        if (m->fields[j].oneof != (int)i)
            continue;
        elsewhere |= is_excepted(except, &m->fields[j]);
        append(d, one, required_one(d, &m->fields[j]));
        append(d, none, required_one(d, &m->fields[j]));
    }
    if (elsewhere || (json_array_size(one) < 2 && !required)) {
        json_decref(one);
        json_decref(none);
        return;
    }
    if (required)
        json_decref(none);
    else
        append(d, one, json_pack("{s:{s:o}}", "not", "anyOf", none));
    add_keyword(d, schema, "oneOf", one);
}

static json_t *member_schema(struct document *d, const struct schema_message *m,
                             const struct schema_field *f, enum direction direction,
                             const struct except *except)
{
    struct except below;

    if (except_below(except, f, &below) && f->message)
        return message_schema(d, f->message, direction, &below);
    return field_schema(d, m, f, direction);
}

json_t *message_schema(struct document *d, const struct schema_message *m, enum direction direction,
                       const struct except *except)
{
    json_t *schema = typed("object", NULL), *properties = json_object(), *required = json_array();
    const struct note *note = note_of(d, m->full_name);

    if (note->comment.n)
        put_str(d, schema, "description", message_comment(d, m));
    if (note->deprecated)
        put_true(d, schema, "deprecated");
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct schema_field *f = &m->fields[i];

        if (is_excepted(except, f))
            continue;
        put(d, properties, f->json_name.p, member_schema(d, m, f, direction, except));
        if (direction == INPUT ? is_needed(d, f) : is_printed(d, f))
            append(d, required, json_text(f->json_name));
    }
    put(d, schema, "properties", properties);
    if (json_array_size(required))
        put(d, schema, "required", required);
    else
        json_decref(required);
    for (size_t i = 0; direction == INPUT && i < m->n_oneofs; i++) {
        if (!m->oneofs[i].synthetic)
            add_oneof(d, schema, m, i, except);
    }
    if (direction == INPUT && d->options->refuse_unknown)
        put(d, schema, "additionalProperties", json_false());
    return schema;
}
