/* Where a response says which state of a resource it shows: the (stoa.api.v1.field).entity_tag. */
#include "schema/load.h"

static bool is_entity_tag(const struct schema_field *f)
{
    return f->entity_tag;
}

int load_entity_tags(struct load *load)
{
    int err = 0;

    for (size_t i = 0; !err && i < load->schema->n_methods; i++) {
        struct schema_method *method = &load->schema->methods[i];

        err = load_way(load->schema, method->output, is_entity_tag, &method->entity_tag);
    }
    return err;
}

/* ---- reading ---- */

/* By the rules of the wire format: of a field that is there several times the last one counts, and
 * messages that are there several times are merged, so that all of them are looked at. */
static struct str read_tag(const struct schema_field *const *way, size_t n, struct str wire)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    struct str tag = STR_NULL, inner;

    while (schema_read_field(&r, &f) == 1) {
        if (f.number != way[0]->number || f.wire_type != SCHEMA_WIRE_LENGTH)
            continue;
        inner = n == 1 ? f.bytes : read_tag(way + 1, n - 1, f.bytes);
        if (inner.p)
            tag = inner;
    }
    return tag;
}

struct str schema_entity_tag(const struct schema_method *method, struct str wire)
{
    return method->entity_tag.n ? read_tag(method->entity_tag.fields, method->entity_tag.n, wire)
                                : STR_NULL;
}
