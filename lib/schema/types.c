/* Compiles messages and enums of a descriptor set, once load.c has declared every name. */
#include "schema/load.h"

#include <errno.h>
#include <stdlib.h>

#include <stoa/api/v1/annotations.pb-c.h>

#define MAX_FIELD_NUMBER ((1 << 29) - 1)
#define OPTION_FIELD 51000

/* Where an error is: the message or enum that is being compiled. */
struct place {
    struct load *load;
    uint32_t file;
    bool proto3;
    struct str name; /* full name of the type */
};

#define FAIL(place, ...) load_fail((place)->load, (place)->file, (place)->name, __VA_ARGS__)

static struct schema_symbol *find_type(const struct load *load, const char *type_name)
{
    uint32_t i;

    /* protoc writes fully qualified names, with a leading dot. */
    if (!type_name || type_name[0] != '.' ||
        !schema_names_find(&load->schema->symbol_names, str_of(type_name + 1), &i))
        return NULL;
    return &load->schema->symbols[i];
}

struct schema_message *load_find_message(const struct load *load, const char *type_name)
{
    const struct schema_symbol *s = find_type(load, type_name);

    return s && s->kind == SYMBOL_MESSAGE ? &load->schema->messages[s->index] : NULL;
}

static struct schema_enum *find_enum(const struct load *load, const char *type_name)
{
    const struct schema_symbol *s = find_type(load, type_name);

    return s && s->kind == SYMBOL_ENUM ? &load->schema->enums[s->index] : NULL;
}

/* ---- enums ---- */

static int compare_values(const void *a, const void *b, void *values)
{
    const struct schema_enum_value *v = values;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;

    if (v[i].number != v[j].number)
        return v[i].number < v[j].number ? -1 : 1;
    return i < j ? -1 : i > j;
}

static int compile_enum(const struct place *at, struct schema_enum *e,
                        const Google__Protobuf__EnumDescriptorProto *proto)
{
    struct arena *arena = &at->load->schema->arena;
    struct schema_enum_value *values = arena_calloc(arena, proto->n_value, sizeof(*values));
    uint32_t *order = arena_calloc(arena, proto->n_value, sizeof(*order));

    if (!values || !order)
        return -ENOMEM;
    if (proto->n_value == 0)
        return FAIL(at, "an enum needs a value");
    for (uint32_t i = 0; i < proto->n_value; i++) {
        values[i].name = arena_copy(arena, str_of(proto->value[i]->name));
        values[i].number = proto->value[i]->number;
        order[i] = i;
        if (!values[i].name.p)
            return -ENOMEM;
        /* Names are unique: load.c has declared them. */
        if (schema_names_add(&e->by_name, arena, values[i].name, i))
            return -ENOMEM;
    }
    qsort_r(order, proto->n_value, sizeof(*order), compare_values, values);
    e->values = values;
    e->n_values = proto->n_value;
    e->by_number = order;
    e->closed = !at->proto3;
    e->null_value = str_eq(e->full_name, STR("google.protobuf.NullValue"));
    return 0;
}

/* ---- fields ---- */

static bool is_packable(enum schema_type type)
{
    return type != SCHEMA_STRING && type != SCHEMA_BYTES && type != SCHEMA_MESSAGE &&
           type != SCHEMA_GROUP;
}

/* lower_snake to lowerCamel, as protoc does it. */
static struct str camel_case(struct arena *arena, struct str name)
{
    char *p = arena_alloc(arena, name.n + 1);
    size_t n = 0;
    bool upper = false;

    if (!p)
        return STR_NULL;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if (c == '_') {
            upper = true;
            continue;
        }
        p[n++] = upper && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        upper = false;
    }
    p[n] = '\0';
    return (struct str){p, n};
}

static bool is_plain_json_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((uint8_t)s.p[i] < 0x20 || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

static int set_names(const struct place *at, struct schema_field *f,
                     const Google__Protobuf__FieldDescriptorProto *proto)
{
    struct arena *arena = &at->load->schema->arena;

    f->name = arena_copy(arena, str_of(proto->name));
    if (!f->name.p)
        return -ENOMEM;
    if (proto->json_name)
        f->json_name = arena_copy(arena, str_of(proto->json_name));
    else
        f->json_name = camel_case(arena, f->name);
    if (!f->json_name.p)
        return -ENOMEM;
    if (!is_plain_json_name(f->json_name))
        return FAIL(at, "field %s: json_name has a control character, quote or backslash",
                    proto->name);
    return 0;
}

static int set_type(const struct place *at, struct schema_field *f,
                    const Google__Protobuf__FieldDescriptorProto *proto)
{
    const struct schema_symbol *symbol = find_type(at->load, proto->type_name);
    int type = (int)proto->type;

    if (proto->type_name && (!symbol || symbol->kind > SYMBOL_ENUM))
        return FAIL(at, "field %s: unknown type %s", proto->name, proto->type_name);
    if (!proto->has_type)
        type = !symbol ? 0 : symbol->kind == SYMBOL_ENUM ? SCHEMA_ENUM : SCHEMA_MESSAGE;
    if (type < SCHEMA_DOUBLE || type > SCHEMA_SINT64)
        return FAIL(at, "field %s: unknown type %d", proto->name, type);
    f->type = (enum schema_type)type;
    if (type == SCHEMA_MESSAGE || type == SCHEMA_GROUP)
        f->message = load_find_message(at->load, proto->type_name);
    else if (type == SCHEMA_ENUM)
        f->enumeration = find_enum(at->load, proto->type_name);
    else if (symbol)
        return FAIL(at, "field %s: a scalar with type name %s", proto->name, proto->type_name);
    if (((type == SCHEMA_MESSAGE || type == SCHEMA_GROUP) && !f->message) ||
        (type == SCHEMA_ENUM && !f->enumeration))
        return FAIL(at, "field %s: unknown type %s", proto->name,
                    proto->type_name ? proto->type_name : "");
    return 0;
}

static int set_oneof(const struct place *at, struct schema_field *f, const struct schema_message *m,
                     struct schema_oneof *oneofs,
                     const Google__Protobuf__FieldDescriptorProto *proto)
{
    f->oneof = -1;
    if (!proto->has_oneof_index)
        return 0;
    if (proto->oneof_index < 0 || (size_t)proto->oneof_index >= m->n_oneofs || f->repeated)
        return FAIL(at, "field %s: is in no oneof of the message", proto->name);
    f->oneof = proto->oneof_index;
    if (proto->proto3_optional)
        oneofs[f->oneof].synthetic = true;
    return 0;
}

static int set_field_options(const struct place *at, struct schema_field *f,
                             const Google__Protobuf__FieldDescriptorProto *proto)
{
    const Google__Protobuf__FieldOptions *options = proto->options;
    const Stoa__Api__V1__FieldRules *rules;
    ProtobufCMessage *own;
    int err;

    f->packed = f->repeated && is_packable(f->type) &&
                (options && options->has_packed ? options->packed : at->proto3);
    err = load_option(at->load, at->file, at->name, options ? &options->base : NULL, OPTION_FIELD,
                      &stoa__api__v1__field_rules__descriptor, false, &own);
    if (err || !own)
        return err;
    rules = (const Stoa__Api__V1__FieldRules *)own;
    f->null_when_unset = rules->null_when_unset;
    f->entity_tag = rules->entity_tag;
    if (f->entity_tag && (f->repeated || f->type != SCHEMA_STRING))
        return FAIL(at, "field %s: an entity_tag must be one string", proto->name);
    if (rules->example && *rules->example) {
        f->example = arena_copy(&at->load->schema->arena, str_of(rules->example));
        if (!f->example.p)
            return -ENOMEM;
    }
    if (rules->mask_of && *rules->mask_of) {
        f->mask_of = arena_copy(&at->load->schema->arena, str_of(rules->mask_of));
        if (!f->mask_of.p)
            return -ENOMEM;
    }
    f->event_id = rules->event_id;
    f->last_event_id = rules->last_event_id;
    if ((f->event_id || f->last_event_id) && !load_is_id_type(f))
        return FAIL(at, "field %s: an event id must be one string or integer", proto->name);
    f->apart = rules->apart;
    if (f->apart && (f->repeated || f->type != SCHEMA_STRING))
        return FAIL(at, "field %s: what is counted apart must be one string", proto->name);
    return 0;
}

static int compile_field(const struct place *at, struct schema_field *f,
                         const struct schema_message *m, struct schema_oneof *oneofs,
                         const Google__Protobuf__FieldDescriptorProto *proto)
{
    int err = set_names(at, f, proto);

    if (err)
        return err;
    if (proto->number < 1 || proto->number > MAX_FIELD_NUMBER)
        return FAIL(at, "field %s: number %d is out of range", proto->name, proto->number);
    f->number = (uint32_t)proto->number;
    f->repeated = proto->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED;
    f->required = proto->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REQUIRED;
    err = set_type(at, f, proto);
    if (!err)
        err = set_oneof(at, f, m, oneofs, proto);
    if (!err)
        err = set_field_options(at, f, proto);
    if (err)
        return err;
    f->utf8 = f->type == SCHEMA_STRING && at->proto3;
    f->presence = !f->repeated && (f->message || f->oneof >= 0 || !at->proto3);
    if (proto->default_value) {
        f->default_value = arena_copy(&at->load->schema->arena, str_of(proto->default_value));
        if (!f->default_value.p)
            return -ENOMEM;
    }
    return 0;
}

/* Known to JSON by its full name in brackets. */
static int compile_extension(struct load *load, struct schema_field *f,
                             const struct schema_message *m, const struct load_extension *extension)
{
    const struct place at = {load, extension->file, load_is_proto3(load, extension->file),
                             extension->full_name};
    int err;

    if (extension->proto->has_oneof_index)
        return FAIL(&at, "an extension cannot be in a oneof");
    err = compile_field(&at, f, m, NULL, extension->proto);
    if (err)
        return err;
    if (f->required)
        return FAIL(&at, "an extension cannot be required");
    f->name = arena_printf(&load->schema->arena, "[%.*s]", STR_FMT(extension->full_name));
    if (!f->name.p)
        return -ENOMEM;
    f->json_name = f->name;
    f->extension = true;
    f->presence = !f->repeated;
    return 0;
}

/* ---- messages ---- */

static int compare_fields(const void *a, const void *b)
{
    const struct schema_field *f = a, *g = b;

    return f->number < g->number ? -1 : f->number > g->number;
}

static int index_numbers(const struct place *at, struct schema_message *m)
{
    const struct schema_field **dense;
    size_t n = 4 * m->n_fields + 16;

    for (size_t i = 1; i < m->n_fields; i++) {
        if (m->fields[i].number == m->fields[i - 1].number)
            return FAIL(at, "fields %s and %s have the same number", m->fields[i - 1].name.p,
                        m->fields[i].name.p);
    }
    if (m->n_fields == 0)
        return 0;
    if (n > m->fields[m->n_fields - 1].number)
        n = m->fields[m->n_fields - 1].number + 1;
    dense = arena_calloc(&at->load->schema->arena, n, sizeof(*dense));
    if (!dense)
        return -ENOMEM;
    for (size_t i = 0; i < m->n_fields && m->fields[i].number < n; i++)
        dense[m->fields[i].number] = &m->fields[i];
    m->dense = dense;
    m->n_dense = (uint32_t)n;
    return 0;
}

static int index_names(const struct place *at, struct schema_message *m)
{
    struct arena *arena = &at->load->schema->arena;
    int err;

    for (uint32_t i = 0; i < m->n_fields; i++) {
        err = schema_names_add(&m->by_json_name, arena, m->fields[i].json_name, i);
        if (err == -EEXIST && at->proto3)
            return FAIL(at, "two fields have the JSON name %s", m->fields[i].json_name.p);
        if (err == -ENOMEM)
            return err;
    }
    for (uint32_t i = 0; i < m->n_fields; i++) {
        err = schema_names_add(&m->by_json_name, arena, m->fields[i].name, i);
        if (err == -ENOMEM)
            return err;
    }
    return 0;
}

static int compile_oneofs(const struct place *at, struct schema_oneof *oneofs,
                          const Google__Protobuf__DescriptorProto *proto)
{
    for (size_t i = 0; i < proto->n_oneof_decl; i++) {
        oneofs[i].name = arena_copy(&at->load->schema->arena, str_of(proto->oneof_decl[i]->name));
        if (!oneofs[i].name.p)
            return -ENOMEM;
    }
    return 0;
}

static int compile_fields(const struct place *at, struct schema_message *m,
                          struct schema_field *fields, struct schema_oneof *oneofs,
                          const struct load_message *source)
{
    const Google__Protobuf__DescriptorProto *proto = source->proto;
    size_t n = proto->n_field;
    int err = 0;

    for (size_t i = 0; !err && i < n; i++)
        err = compile_field(at, &fields[i], m, oneofs, proto->field[i]);
    for (const struct load_extension *e = source->extensions; !err && e; e = e->next)
        err = compile_extension(at->load, &fields[n++], m, e);
    return err;
}

static int compile_message(const struct place *at, struct schema_message *m,
                           const struct load_message *source)
{
    const Google__Protobuf__DescriptorProto *proto = source->proto;
    struct arena *arena = &at->load->schema->arena;
    size_t n_fields = proto->n_field + source->n_extensions;
    struct schema_field *fields = arena_calloc(arena, n_fields, sizeof(*fields));
    struct schema_oneof *oneofs = arena_calloc(arena, proto->n_oneof_decl, sizeof(*oneofs));
    int err;

    if (!fields || !oneofs)
        return -ENOMEM;
    m->n_oneofs = proto->n_oneof_decl;
    m->oneofs = oneofs;
    m->map_entry = proto->options && proto->options->map_entry;
    err = compile_oneofs(at, oneofs, proto);
    if (!err)
        err = compile_fields(at, m, fields, oneofs, source);
    if (err)
        return err;
    qsort(fields, n_fields, sizeof(*fields), compare_fields);
    m->fields = fields;
    m->n_fields = n_fields;
    for (size_t i = 0; i < m->n_fields && i < 64; i++)
        m->required |= (uint64_t)fields[i].required << i;
    err = index_numbers(at, m);
    return err ? err : index_names(at, m);
}

/* ---- maps ---- */

static bool is_map_key(const struct schema_field *f)
{
    switch (f->type) {
    case SCHEMA_DOUBLE:
    case SCHEMA_FLOAT:
    case SCHEMA_BYTES:
    case SCHEMA_ENUM:
    case SCHEMA_MESSAGE:
    case SCHEMA_GROUP:
        return false;
    default:
        return true;
    }
}

static int check_map_entry(const struct place *at, const struct schema_message *m)
{
    if (m->n_fields != 2 || m->fields[0].number != 1 || m->fields[1].number != 2 ||
        m->fields[0].repeated || m->fields[1].repeated || !is_map_key(&m->fields[0]) ||
        m->fields[1].type == SCHEMA_GROUP)
        return FAIL(at, "is not the entry of a map");
    return 0;
}

/* Map entries are known only when every message is compiled. */
static int link_maps(const struct place *at, struct schema_message *m)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        struct schema_field *f = (struct schema_field *)&m->fields[i];

        if (!f->message || !f->message->map_entry)
            continue;
        if (!f->repeated || f->type != SCHEMA_MESSAGE)
            return FAIL(at, "field %s: a map entry outside a map", f->name.p);
        f->map = true;
    }
    return m->map_entry ? check_map_entry(at, m) : 0;
}

/* ---- well-known types ---- */

struct shape_field {
    uint32_t number;
    enum schema_type type;
    bool repeated;
};

struct shape {
    struct str name;
    enum schema_well_known kind;
    size_t n_fields;
    struct shape_field fields[6];
};

/* What google/protobuf's own files declare. The JSON mapping relies on it. */
static const struct shape shapes[] = {
    {STR("Any"), SCHEMA_ANY, 2, {{1, SCHEMA_STRING, false}, {2, SCHEMA_BYTES, false}}},
    {STR("Timestamp"), SCHEMA_TIMESTAMP, 2, {{1, SCHEMA_INT64, false}, {2, SCHEMA_INT32, false}}},
    {STR("Duration"), SCHEMA_DURATION, 2, {{1, SCHEMA_INT64, false}, {2, SCHEMA_INT32, false}}},
    {STR("FieldMask"), SCHEMA_FIELD_MASK, 1, {{1, SCHEMA_STRING, true}}},
    {STR("Struct"), SCHEMA_STRUCT, 1, {{1, SCHEMA_MESSAGE, true}}},
    {STR("Value"),
     SCHEMA_VALUE,
     6,
     {{1, SCHEMA_ENUM, false},
      {2, SCHEMA_DOUBLE, false},
      {3, SCHEMA_STRING, false},
      {4, SCHEMA_BOOL, false},
      {5, SCHEMA_MESSAGE, false},
      {6, SCHEMA_MESSAGE, false}}},
    {STR("ListValue"), SCHEMA_LIST_VALUE, 1, {{1, SCHEMA_MESSAGE, true}}},
    {STR("Empty"), SCHEMA_EMPTY, 0, {{0}}},
    {STR("DoubleValue"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_DOUBLE, false}}},
    {STR("FloatValue"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_FLOAT, false}}},
    {STR("Int64Value"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_INT64, false}}},
    {STR("UInt64Value"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_UINT64, false}}},
    {STR("Int32Value"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_INT32, false}}},
    {STR("UInt32Value"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_UINT32, false}}},
    {STR("BoolValue"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_BOOL, false}}},
    {STR("StringValue"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_STRING, false}}},
    {STR("BytesValue"), SCHEMA_WRAPPER, 1, {{1, SCHEMA_BYTES, false}}},
};

static bool is_named(const struct schema_message *m, const char *full_name)
{
    return m && str_eq(m->full_name, str_of(full_name));
}

/* The message and enum types that the fields of Struct, Value and ListValue refer to. */
static bool has_right_types(const struct schema_message *m, enum schema_well_known kind)
{
    const struct schema_field *f = m->fields;

    switch (kind) {
    case SCHEMA_STRUCT:
        return f[0].map && f[0].message->fields[0].type == SCHEMA_STRING &&
               is_named(f[0].message->fields[1].message, "google.protobuf.Value");
    case SCHEMA_VALUE:
        return f[0].enumeration->null_value && is_named(f[4].message, "google.protobuf.Struct") &&
               is_named(f[5].message, "google.protobuf.ListValue");
    case SCHEMA_LIST_VALUE:
        return is_named(f[0].message, "google.protobuf.Value");
    default:
        return true;
    }
}

static bool has_shape(const struct schema_message *m, const struct shape *shape)
{
    if (m->n_fields != shape->n_fields)
        return false;
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct schema_field *f = &m->fields[i];

        if (f->number != shape->fields[i].number || f->type != shape->fields[i].type ||
            f->repeated != shape->fields[i].repeated)
            return false;
    }
    return has_right_types(m, shape->kind);
}

static int set_well_known(const struct place *at, struct schema_message *m)
{
    const struct str package = STR("google.protobuf.");
    struct str name;

    if (!str_starts(m->full_name, package))
        return 0;
    name = str_skip(m->full_name, package.n);
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        if (!str_eq(name, shapes[i].name))
            continue;
        if (!has_shape(m, &shapes[i]))
            return FAIL(at, "is not the well-known type of this name");
        m->well_known = shapes[i].kind;
    }
    return 0;
}

/* ---- field masks ---- */

/* What a mask can be made for: its members have a bit each. */
static bool is_maskable(const struct schema_field *f)
{
    return f && f->message && !f->repeated && f->type == SCHEMA_MESSAGE &&
           f->message->well_known == SCHEMA_PLAIN && f->message->n_fields <= 64;
}

static int link_mask(const struct place *at, struct schema_message *m)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct schema_field *f = &m->fields[i];

        if (!f->mask_of.p)
            continue;
        m->masked = schema_field_by_name(m, f->mask_of);
        if (m->mask || f->repeated || !f->message || f->message->well_known != SCHEMA_FIELD_MASK ||
            !is_maskable(m->masked))
            return FAIL(at, "field %s: mask_of needs one FieldMask, and names a message beside it",
                        f->name.p);
        m->mask = f;
    }
    return 0;
}

/* ---- all ---- */

typedef int message_step(const struct place *at, struct schema_message *m);

static int each_message(struct load *load, message_step *step)
{
    int err = 0;

    for (size_t i = 0; !err && i < load->schema->n_messages; i++) {
        struct schema_message *m = &load->schema->messages[i];
        const struct place at = {load, load->messages[i].file,
                                 load_is_proto3(load, load->messages[i].file), m->full_name};

        err = step(&at, m);
    }
    return err;
}

static int compile_step(const struct place *at, struct schema_message *m)
{
    return compile_message(at, m, &at->load->messages[m - at->load->schema->messages]);
}

/* Hands every extension to the message that it extends. */
static int link_extensions(struct load *load)
{
    for (size_t i = 0; i < load->schema->n_extensions; i++) {
        struct load_extension *e = &load->extensions[i];
        const struct schema_message *extendee = load_find_message(load, e->proto->extendee);
        struct load_message *m;

        if (!extendee)
            return load_fail(load, e->file, e->full_name, "extends an unknown type %s",
                             e->proto->extendee);
        m = &load->messages[extendee - load->schema->messages];
        e->next = m->extensions;
        m->extensions = e;
        m->n_extensions++;
    }
    return 0;
}

int load_types(struct load *load)
{
    int err = link_extensions(load);

    for (size_t i = 0; !err && i < load->schema->n_enums; i++) {
        struct schema_enum *e = &load->schema->enums[i];
        const struct place at = {load, load->enums[i].file,
                                 load_is_proto3(load, load->enums[i].file), e->full_name};

        err = compile_enum(&at, e, load->enums[i].proto);
    }
    if (!err)
        err = each_message(load, compile_step);
    if (!err)
        err = each_message(load, link_maps);
    if (!err)
        err = each_message(load, set_well_known);
    if (!err)
        err = each_message(load, link_mask);
    return err;
}
