/* The way from a message to the field in it, or in a message that it holds, that an option marks.
 */
#include "schema/load.h"

#include <errno.h>

/* Messages looked at for one search: what a contract may cost. */
#define MAX_VISITS 4096

/* One level of a search that goes a level deeper each time: the nearest field wins. */
struct search {
    load_marked_fn *marked;
    const struct schema_field *way[SCHEMA_MAX_WAY];   /* to where the search is */
    const struct schema_field *found[SCHEMA_MAX_WAY]; /* to the last field of this level */
    size_t length;                                    /* of the ways of this level */
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
        } else if (search->marked(f)) {
            memcpy(search->found, search->way, sizeof(search->found));
            search->n_found++;
        }
    }
}

int load_way(struct schema *schema, const struct schema_message *type, load_marked_fn *marked,
             struct schema_way *ret)
{
    struct search search = {.marked = marked};
    const struct schema_field **way;

    *ret = (struct schema_way){NULL, 0};
    while (search.n_found == 0 && search.length < SCHEMA_MAX_WAY) {
        search.length++;
        look(&search, type, 0);
    }
    if (search.n_found != 1 || search.visits > MAX_VISITS)
        return 0;
    way = arena_calloc(&schema->arena, search.length, sizeof(struct schema_field *));
    if (!way)
        return -ENOMEM;
    memcpy(way, search.found, search.length * sizeof(struct schema_field *));
    *ret = (struct schema_way){way, search.length};
    return 0;
}
