/* Types that are described once, under components/schemas, and their names there: the name of the
 * type without its package, while no other type has the same. A message that is both sent and
 * received has two forms, and the one that clients send is called ...Input. */
#include "openapi/internal.h"

static struct component *find(const struct document *d, const void *type, enum direction direction)
{
    for (size_t i = 0; i < d->n_components; i++) {
        if (d->components[i].type == type && d->components[i].direction == direction)
            return &d->components[i];
    }
    return NULL;
}

static struct component *add(struct document *d, struct component component)
{
    if (!d->components)
        d->components = arena_calloc(&d->arena, MAX_COMPONENTS, sizeof(*d->components));
    if (!d->components || d->n_components == MAX_COMPONENTS)
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

static bool is_shared(const struct document *d, const struct component *c, struct str name)
{
    for (size_t i = 0; i < d->n_components; i++) {
        if (d->components[i].type != c->type &&
            str_eq(short_name(d, d->components[i].full_name), name))
            return true;
    }
    return str_eq(name, STR("Problem"));
}

static bool is_taken(const struct document *d, struct str name)
{
    for (size_t i = 0; i < d->n_components; i++) {
        if (d->components[i].name.p && str_eq(d->components[i].name, name))
            return true;
    }
    return json_object_getn(d->schemas, name.p, name.n) != NULL;
}

struct str component_name(struct document *d, struct str wanted)
{
    while (wanted.n && is_taken(d, wanted))
        wanted = text(d, "%.*s_", STR_FMT(wanted));
    return wanted;
}

void name_components(struct document *d)
{
    for (size_t i = 0; i < d->n_components; i++) {
        struct component *c = &d->components[i];
        struct str name = short_name(d, c->full_name);

        if (is_shared(d, c, name))
            name = c->full_name;
        if (!c->is_enum && c->direction == INPUT && find(d, c->type, OUTPUT))
            name = text(d, "%.*sInput", STR_FMT(name));
        c->name = component_name(d, name);
    }
}

/* The first pass finds out which types are referred to, the second has their names. */
static json_t *ref(struct document *d, struct component wanted)
{
    const struct component *c = find(d, wanted.type, wanted.direction);

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
