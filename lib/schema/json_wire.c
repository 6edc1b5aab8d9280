/* The fields of a wire message in order of their numbers, with the wire format's rules for doubled
 * ones applied (protobuf.dev "Encoding", Last One Wins).
 *
 * Costs: one pass over the tags of a message to see that it is in order, which it is when a
 * protobuf library wrote it; else eight bytes of scratch for each field and a sort. Nested messages
 * are passed over by their length, so nothing is looked at more often than it is deep.
 */
#include "schema/json.h"

#include <assert.h>
#include <stdlib.h>

const uint8_t json_wire_types[] = {
    [SCHEMA_DOUBLE] = SCHEMA_WIRE_64BIT,   [SCHEMA_FLOAT] = SCHEMA_WIRE_32BIT,
    [SCHEMA_INT64] = SCHEMA_WIRE_VARINT,   [SCHEMA_UINT64] = SCHEMA_WIRE_VARINT,
    [SCHEMA_INT32] = SCHEMA_WIRE_VARINT,   [SCHEMA_FIXED64] = SCHEMA_WIRE_64BIT,
    [SCHEMA_FIXED32] = SCHEMA_WIRE_32BIT,  [SCHEMA_BOOL] = SCHEMA_WIRE_VARINT,
    [SCHEMA_STRING] = SCHEMA_WIRE_LENGTH,  [SCHEMA_GROUP] = SCHEMA_WIRE_START_GROUP,
    [SCHEMA_MESSAGE] = SCHEMA_WIRE_LENGTH, [SCHEMA_BYTES] = SCHEMA_WIRE_LENGTH,
    [SCHEMA_UINT32] = SCHEMA_WIRE_VARINT,  [SCHEMA_ENUM] = SCHEMA_WIRE_VARINT,
    [SCHEMA_SFIXED32] = SCHEMA_WIRE_32BIT, [SCHEMA_SFIXED64] = SCHEMA_WIRE_64BIT,
    [SCHEMA_SINT32] = SCHEMA_WIRE_VARINT,  [SCHEMA_SINT64] = SCHEMA_WIRE_VARINT,
};

/* A field of another wire type than declared is an unknown one; so is an unknown value of a closed
 * enum (but in a map it makes the entry unknown, which is the map's concern). */
bool json_usable(const struct schema_message *type, const struct schema_field *f,
                 const struct schema_wire_field *value)
{
    enum schema_wire_type declared = json_wire_type(f->type);

    if (value->wire_type != declared)
        return f->repeated && value->wire_type == SCHEMA_WIRE_LENGTH &&
               declared != SCHEMA_WIRE_START_GROUP;
    if (f->type == SCHEMA_ENUM && f->enumeration->closed && !type->map_entry)
        return schema_enum_by_number(f->enumeration, (int32_t)value->scalar) != NULL;
    return true;
}

/* Reads up to and with the next usable field, which starts at *ret_tag; f->field is NULL at the
 * end. */
static int read_usable(struct json_context *c, struct json_fields *f, const uint8_t **ret_tag)
{
    int got;

    do {
        *ret_tag = f->reader.at;
        got = schema_read_field(&f->reader, &f->value);
        if (got < 0)
            return json_fault(c, "is not well-formed protobuf");
        f->field = got ? schema_field_by_number(f->type, f->value.number) : NULL;
    } while (got && (!f->field || !json_usable(f->type, f->field, &f->value)));
    return 0;
}

int json_fields_next(struct json_context *c, struct json_fields *f)
{
    const uint8_t *tag;

    if (!f->order)
        return read_usable(c, f, &tag);
    if (f->next == f->n_order) {
        f->field = NULL;
        return 0;
    }
    f->reader.at = f->start + (uint32_t)f->order[f->next++];
    return read_usable(c, f, &tag);
}

static bool in_real_oneof(const struct schema_message *type, const struct schema_field *field)
{
    return field->oneof >= 0 && !type->oneofs[field->oneof].synthetic;
}

/* Counts the usable fields and finds out whether they can be written as they stand. */
static int survey(struct json_context *c, struct json_fields *f, size_t *ret_count,
                  bool *ret_in_order)
{
    uint64_t oneofs = 0; /* seen; a bit may stand for several, which only costs an index */
    uint32_t last = 0;
    const uint8_t *tag;
    int err;

    *ret_count = 0;
    *ret_in_order = true;
    for (;;) {
        err = read_usable(c, f, &tag);
        if (err || !f->field)
            return err;
        ++*ret_count;
        if (f->value.number <= last && !(f->value.number == last && f->field->repeated))
            *ret_in_order = false;
        last = f->value.number;
        if (in_real_oneof(f->type, f->field)) {
            uint64_t bit = UINT64_C(1) << (f->field->oneof % 64);

            if (oneofs & bit)
                *ret_in_order = false;
            oneofs |= bit;
        }
    }
}

static int compare_order(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

/* The member of a oneof that came last, and where its last uninterrupted run starts. */
struct winner {
    uint32_t field;
    uint32_t from;
};

/* Removes the members of oneofs that another one came after. */
static size_t drop_losers(const struct schema_message *type, const struct winner *winners,
                          uint64_t *order, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t index = (uint32_t)(order[i] >> 32), at = (uint32_t)order[i];
        const struct schema_field *field = &type->fields[index];

        if (!in_real_oneof(type, field) ||
            (winners[field->oneof].field == index && winners[field->oneof].from <= at))
            order[kept++] = order[i];
    }
    return kept;
}

static int index_fields(struct json_context *c, struct json_fields *f, size_t n)
{
    const struct schema_message *type = f->type;
    uint64_t *order = json_scratch_alloc(c, n * sizeof(*order));
    struct winner *winners = json_scratch_alloc(c, type->n_oneofs * sizeof(*winners));
    const uint8_t *tag;
    int err;

    if (!order || !winners)
        return -ENOMEM;
    for (size_t i = 0; i < type->n_oneofs; i++)
        winners[i].field = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        uint32_t index, at;

        err = read_usable(c, f, &tag);
        if (err)
            return err;
        index = (uint32_t)(f->field - type->fields);
        at = (uint32_t)(tag - f->start);
        order[i] = (uint64_t)index << 32 | at;
        if (in_real_oneof(type, f->field) && winners[f->field->oneof].field != index)
            winners[f->field->oneof] = (struct winner){index, at};
    }
    f->n_order = drop_losers(type, winners, order, n);
    qsort(order, f->n_order, sizeof(*order), compare_order);
    f->order = order;
    f->next = 0;
    return 0;
}

int json_fields_open(struct json_context *c, struct json_fields *f,
                     const struct schema_message *type, struct str wire)
{
    size_t n;
    bool in_order;
    int err;

    f->type = type;
    f->start = (const uint8_t *)wire.p;
    f->reader = (struct schema_reader){f->start, f->start + wire.n};
    f->order = NULL;
    err = survey(c, f, &n, &in_order);
    if (err)
        return err;
    f->reader.at = f->start;
    if (!in_order) {
        if (wire.n > UINT32_MAX)
            return -EMSGSIZE;
        err = index_fields(c, f, n);
        if (err)
            return err;
    }
    return json_fields_next(c, f);
}

/* Appends the occurrences of the message field at hand to the first one. */
static int merge(struct json_context *c, struct json_fields *f, struct str *bytes)
{
    const struct schema_field *field = f->field;
    struct json_fields ahead = *f;
    size_t size = bytes->n;
    char *merged;
    int err = 0;

    while (!err && ahead.field == field) {
        size += ahead.value.bytes.n;
        err = json_fields_next(c, &ahead);
    }
    if (err)
        return err;
    merged = json_scratch_alloc(c, size);
    if (!merged)
        return -ENOMEM;
    size = 0;
    for (;;) {
        if (bytes->n)
            memcpy(merged + size, bytes->p, bytes->n);
        size += bytes->n;
        if (f->field != field)
            break;
        *bytes = f->value.bytes;
        err = json_fields_next(c, f);
        if (err)
            return err;
    }
    *bytes = (struct str){merged, size};
    return 0;
}

int json_fields_take(struct json_context *c, struct json_fields *f, struct schema_wire_field *ret)
{
    const struct schema_field *field = f->field;
    int err;

    assert(field);
    *ret = f->value;
    err = json_fields_next(c, f);
    while (!err && f->field == field) {
        if (field->message)
            return merge(c, f, &ret->bytes);
        *ret = f->value;
        err = json_fields_next(c, f);
    }
    return err;
}

int json_fields_count(struct json_context *c, const struct json_fields *f, size_t *ret)
{
    struct json_fields ahead = *f;
    int err = 0;

    for (*ret = 0; !err && ahead.field == f->field; ++*ret)
        err = json_fields_next(c, &ahead);
    return err;
}

/* ---- maps ---- */

int json_entry_read(struct json_context *c, const struct schema_message *type, struct str bytes,
                    struct json_entry *ret)
{
    const struct schema_field *value = &type->fields[1];
    struct json_fields f;
    int err;

    *ret = (struct json_entry){.key.bytes = STR(""), .value.bytes = STR("")};
    err = json_fields_open(c, &f, type, bytes);
    if (!err && f.field == &type->fields[0])
        err = json_fields_take(c, &f, &ret->key);
    if (!err && f.field == value) {
        ret->has_value = true;
        err = json_fields_take(c, &f, &ret->value);
    }
    if (err)
        return err;
    ret->unknown = ret->has_value && value->type == SCHEMA_ENUM && value->enumeration->closed &&
                   !schema_enum_by_number(value->enumeration, (int32_t)ret->value.scalar);
    return 0;
}

#define SIGN_32 (UINT32_C(1) << 31)
#define SIGN_64 (UINT64_C(1) << 63)

/* A key's value in a form that has its order: differently encoded equal keys are found equal, and
 * negative ones come first. */
static uint64_t key_number(enum schema_type type, uint64_t v)
{
    switch (type) {
    case SCHEMA_BOOL:
        return v != 0;
    case SCHEMA_INT32:
    case SCHEMA_SFIXED32:
        return (uint32_t)v ^ SIGN_32;
    case SCHEMA_SINT32:
        return ((uint32_t)v >> 1 ^ -((uint32_t)v & 1)) ^ SIGN_32;
    case SCHEMA_UINT32:
        return (uint32_t)v;
    case SCHEMA_INT64:
    case SCHEMA_SFIXED64:
        return v ^ SIGN_64;
    case SCHEMA_SINT64:
        return (v >> 1 ^ -(v & 1)) ^ SIGN_64;
    default:
        return v;
    }
}

struct json_map_key json_entry_key(const struct schema_message *type,
                                   const struct json_entry *entry, size_t position)
{
    return (struct json_map_key){.text = entry->key.bytes,
                                 .number = key_number(type->fields[0].type, entry->key.scalar),
                                 .position = position};
}

static int compare_keys(const struct json_map_key *a, const struct json_map_key *b)
{
    size_t n;
    int order;

    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    n = a->text.n < b->text.n ? a->text.n : b->text.n;
    order = n ? memcmp(a->text.p, b->text.p, n) : 0;
    return order ? order : (a->text.n > n) - (b->text.n > n);
}

static int compare_entries(const void *a, const void *b)
{
    const struct json_map_key *x = a, *y = b;
    int order = compare_keys(x, y);

    if (order)
        return order;
    return x->position < y->position ? -1 : x->position > y->position;
}

bool json_same_key(const struct json_map_key *a, const struct json_map_key *b)
{
    return compare_keys(a, b) == 0;
}

void json_sort_keys(struct json_map_key *keys, size_t n)
{
    qsort(keys, n, sizeof(*keys), compare_entries);
}
