/* Options of the contract that are extensions: google.api.http, buf.validate, stoa.api.v1.
 *
 * protobuf-c leaves them as unknown fields. A compiler may write one option as several records, and
 * protobuf-c does not merge the members of a oneof, so the records are merged here, as bytes,
 * before they are unpacked.
 */
#include "base/utf8.h"
#include "schema/load.h"

#include <errno.h>

#define MAX_DEPTH 64        /* of nested types in a file */
#define MAX_OPTION_DEPTH 16 /* of rules in rules, bindings in bindings */
#define MAX_OPTION_BYTES (1 << 20)
#define MAX_OPTION_FIELDS 64

static enum schema_wire_type wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return SCHEMA_WIRE_32BIT;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return SCHEMA_WIRE_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return SCHEMA_WIRE_LENGTH;
    default:
        return SCHEMA_WIRE_VARINT;
    }
}

static int check_level(const ProtobufCMessageDescriptor *type, struct str bytes, unsigned depth);

static int check_field(const ProtobufCFieldDescriptor *field, const struct schema_wire_field *f,
                       unsigned depth)
{
    enum schema_wire_type declared = wire_type_of(field->type);

    if (f->wire_type != declared) {
        bool packed = field->label == PROTOBUF_C_LABEL_REPEATED &&
                      f->wire_type == SCHEMA_WIRE_LENGTH && declared != SCHEMA_WIRE_LENGTH;
        return packed ? 0 : -EBADMSG;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return utf8_valid(f->bytes) && !memchr(f->bytes.p, 0, f->bytes.n) ? 0 : -EBADMSG;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_level(field->descriptor, f->bytes, depth + 1);
    return 0;
}

static int check_level(const ProtobufCMessageDescriptor *type, struct str bytes, unsigned depth)
{
    struct schema_reader r = schema_reader_of(bytes);
    struct schema_wire_field f;
    int got;

    if (depth > MAX_DEPTH)
        return -EBADMSG;
    while ((got = schema_read_field(&r, &f)) == 1) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, f.number);

        if (f.wire_type == SCHEMA_WIRE_START_GROUP)
            return -EBADMSG; /* protobuf-c refuses groups */
        if (field && check_field(field, &f, depth))
            return -EBADMSG;
    }
    return got;
}

int load_check_bytes(const ProtobufCMessageDescriptor *type, struct str bytes)
{
    return check_level(type, bytes, 1);
}

/* ---- merging ---- */

struct merge {
    struct load *load;
    uint32_t file;
    struct str element;
    bool strict;
};

static int merge_message(const struct merge *m, const ProtobufCMessageDescriptor *type,
                         struct str bytes, unsigned depth, struct buf *to);

/* What a buffer of bytes of options has come to. */
static int check_size(const struct merge *m, const struct buf *b)
{
    int err = buf_error(b);

    return err == -EMSGSIZE ? load_fail(m->load, m->file, m->element, "an option is too long")
                            : err;
}

/* The contents of all occurrences of a message field from r on, one after the other: by the rules
 * of the wire format that is the merged message. */
static void gather(struct schema_reader r, uint32_t number, struct buf *to)
{
    struct schema_wire_field f;

    while (schema_read_field(&r, &f) == 1) {
        if (f.number == number)
            buf_append_str(to, f.bytes);
    }
}

static int merge_field(const struct merge *m, const ProtobufCFieldDescriptor *field,
                       struct str content, unsigned depth, struct buf *to)
{
    size_t mark = schema_put_begin(to, field->id);
    int err = merge_message(m, field->descriptor, content, depth + 1, to);

    if (!err)
        schema_put_end(to, mark);
    return err;
}

static int merge_singular(const struct merge *m, const ProtobufCFieldDescriptor *field,
                          struct schema_reader from, unsigned depth, struct buf *to)
{
    struct buf all CLEANUP(buf_free) = {.max = MAX_OPTION_BYTES};
    int err;

    gather(from, field->id, &all);
    err = check_size(m, &all);
    return err ? err : merge_field(m, field, buf_str(&all), depth, to);
}

static int merge_message(const struct merge *m, const ProtobufCMessageDescriptor *type,
                         struct str bytes, unsigned depth, struct buf *to)
{
    struct schema_reader r = schema_reader_of(bytes), at = r;
    struct schema_wire_field f;
    uint64_t merged = 0; /* bit set of fields that are written already */
    int err;

    if (depth > MAX_OPTION_DEPTH || type->n_fields > MAX_OPTION_FIELDS)
        return load_fail(m->load, m->file, m->element, "an option is nested too deeply");
    for (; schema_read_field(&r, &f) == 1; at = r) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, f.number);
        uint64_t bit = field ? UINT64_C(1) << (field - type->fields) : 0;

        if (!field && m->strict)
            return load_fail(m->load, m->file, m->element, "unknown option: field %u of %s",
                             f.number, type->name);
        if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE) {
            buf_append(to, at.at, (size_t)(r.at - at.at));
            continue;
        }
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            err = merge_field(m, field, f.bytes, depth, to);
        else
            err = merged & bit ? 0 : merge_singular(m, field, at, depth, to);
        if (err)
            return err;
        merged |= bit;
    }
    return 0;
}

/* The bytes of all records of an extension, concatenated. */
static int option_bytes(const struct merge *m, const ProtobufCMessage *options, uint32_t number,
                        struct buf *to, bool *ret_found)
{
    *ret_found = false;
    for (unsigned i = 0; i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *u = &options->unknown_fields[i];
        struct schema_reader r = {u->data, u->data + u->len};
        uint64_t n;

        if (u->tag != number)
            continue;
        if (u->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED || schema_read_varint(&r, &n) ||
            n != (uint64_t)(r.end - r.at))
            return load_fail(m->load, m->file, m->element, "option %u is damaged", number);
        buf_append(to, r.at, (size_t)n);
        *ret_found = true;
    }
    return 0;
}

static int unpack_option(const struct merge *m, const ProtobufCMessageDescriptor *type,
                         struct str raw, ProtobufCMessage **ret)
{
    struct buf merged CLEANUP(buf_free) = {.max = MAX_OPTION_BYTES};
    int err;

    if (load_check_bytes(type, raw))
        return load_fail(m->load, m->file, m->element, "option %s is damaged", type->name);
    err = merge_message(m, type, raw, 1, &merged);
    if (!err)
        err = check_size(m, &merged);
    if (!err)
        err = load_unpack(m->load, type, buf_str(&merged), ret);
    if (err == -EBADMSG)
        return load_fail(m->load, m->file, m->element, "option %s is damaged", type->name);
    return err;
}

int load_option(struct load *load, uint32_t file, struct str element,
                const ProtobufCMessage *options, uint32_t number,
                const ProtobufCMessageDescriptor *type, bool strict, ProtobufCMessage **ret)
{
    const struct merge m = {.load = load, .file = file, .element = element, .strict = strict};
    struct buf raw CLEANUP(buf_free) = {.max = MAX_OPTION_BYTES};
    bool found = false;
    int err;

    *ret = NULL;
    if (!options)
        return 0;
    err = option_bytes(&m, options, number, &raw, &found);
    if (err || !found)
        return err;
    err = check_size(&m, &raw);
    return err ? err : unpack_option(&m, type, buf_str(&raw), ret);
}

bool load_has_option(const ProtobufCMessage *options, uint32_t number)
{
    for (unsigned i = 0; i < options->n_unknown_fields; i++) {
        if (options->unknown_fields[i].tag == number)
            return true;
    }
    return false;
}
