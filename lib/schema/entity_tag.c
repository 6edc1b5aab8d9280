/* Where a response says which state of a resource it shows: the (stoa.api.v1.field).entity_tag. */
#include "schema/load.h"

#include <errno.h>

/* Messages around the field, the response included; and messages looked at for one method: what a
 * contract may cost. */
#define MAX_WAY 4
#define MAX_VISITS 4096

/* One level of a search that goes a level deeper each time: the nearest tag wins. */
struct search {
    const struct schema_field *way[MAX_WAY];   /* to where the search is */
    const struct schema_field *found[MAX_WAY]; /* to the last tag of this level */
    size_t length;                             /* of the ways of this level */
    unsigned n_found, visits;
};

static void look(struct search *search, const struct schema_message *type, size_t depth)
{
    if (search->visits++ >= MAX_VISITS)
        return;
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct schema_field *f = &type->fields[i];

        search->way[depth] = f;
        if (depth + 1 < search->length) {
            if (f->message && !f->repeated)
                look(search, f->message, depth + 1);
        } else if (f->entity_tag) {
            memcpy(search->found, search->way, sizeof(search->found));
            search->n_found++;
        }
    }
}

static int find_tag(struct schema *schema, struct schema_method *method)
{
    struct search search = {.length = 0};
    const struct schema_field **way;

    while (search.n_found == 0 && search.length < MAX_WAY) {
        search.length++;
        look(&search, method->output, 0);
    }
    if (search.n_found != 1 || search.visits > MAX_VISITS)
        return 0;
    way = arena_calloc(&schema->arena, search.length, sizeof(struct schema_field *));
    if (!way)
        return -ENOMEM;
    memcpy(way, search.found, search.length * sizeof(struct schema_field *));
    method->entity_tag = way;
    method->n_entity_tag = search.length;
    return 0;
}

int load_entity_tags(struct load *load)
{
    int err = 0;

    for (size_t i = 0; !err && i < load->schema->n_methods; i++)
        err = find_tag(load->schema, &load->schema->methods[i]);
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
    return method->n_entity_tag ? read_tag(method->entity_tag, method->n_entity_tag, wire)
                                : STR_NULL;
}
