/* Types that are described once, under components/schemas, and their names there: the name of the
 * type without its package, while no other type has the same. A message that is both sent and
 * received has two forms, and the one that clients send is called ...Input. */
#include "openapi/internal.h"

static struct component *find(const struct document *d, struct str full_name,
                              enum direction direction)
{
    uint32_t i;

    return schema_names_find(&d->by_type[direction], full_name, &i) ? &d->components[i] : NULL;
}

/* NULL without memory. */
static struct component *add(struct document *d, struct component component)
{
    size_t cap = d->cap_components ? 2 * d->cap_components : 64;
    struct component *bigger;

    if (d->n_components == d->cap_components) {
        bigger = arena_calloc(&d->arena, cap, sizeof(*bigger));
        if (!bigger)
            return NULL;
        if (d->n_components)
            memcpy(bigger, d->components, d->n_components * sizeof(*bigger));
        d->components = bigger;
        d->cap_components = cap;
    }
    if (!add_name(d, &d->by_type[component.direction], component.full_name, d->n_components))
        return NULL;
    d->components[d->n_components++] = component;
    return &d->components[d->n_components - 1];
}

/* ---- names ---- */

static struct str short_name(const struct document *d, struct str full_name)
{
    size_t package = note_of(d, full_name)->package;

    return (struct str){full_name.p + package, full_name.n - package};
}

/* The short names that types of several packages have. */
static void find_shared_types(struct document *d, struct shared_names *ret)
{
    (void)add_name(d, &ret->shared, STR("Problem"), 0);
    for (size_t i = 0; i < d->n_components; i++) {
        struct str name = short_name(d, d->components[i].full_name);
        uint32_t first;

        if (!schema_names_find(&ret->first, name, &first))
            (void)add_name(d, &ret->first, name, i);
        else if (d->components[first].type != d->components[i].type)
            (void)add_name(d, &ret->shared, name, 0);
    }
}

struct str component_name(struct document *d, struct str wanted)
{
    while (wanted.n && !d->failed && !add_name(d, &d->component_names, wanted, 0))
        wanted = text(d, "%.*s_", STR_FMT(wanted));
    return wanted;
}

void name_components(struct document *d)
{
    struct shared_names names = {0};
    uint32_t unused;

    find_shared_types(d, &names);
    d->component_names = (struct schema_names){0};
    (void)component_name(d, STR("Problem"));
    for (size_t i = 0; i < d->n_components; i++) {
        struct component *c = &d->components[i];
        struct str name = short_name(d, c->full_name);

        if (schema_names_find(&names.shared, name, &unused))
            name = c->full_name;
        if (!c->is_enum && c->direction == INPUT && find(d, c->full_name, OUTPUT))
            name = text(d, "%.*sInput", STR_FMT(name));
        c->name = component_name(d, name);
    }
}

/* The first pass finds out which types are referred to, the second has their names. */
static json_t *ref(struct document *d, struct component wanted)
{
    const struct component *c = find(d, wanted.full_name, wanted.direction);

    if (!c)
        c = add(d, wanted);
    if (!c) {
        d->failed = true;
        return NULL;
    }
    return json_ref(d, "schemas", c->name);
}

json_t *message_ref(struct document *d, const struct schema_message *m, enum direction direction)
{
    return ref(d, (struct component){m, m->full_name, direction, false, STR_NULL});
}

json_t *enum_ref(struct document *d, const struct schema_enum *e)
{
    return ref(d, (struct component){e, e->full_name, OUTPUT, true, STR_NULL});
}
