/* Lookups in the compiled tables: names, fields and enum values. Read-only after load; any thread.
 */
#include "schema/tables.h"

#include <errno.h>

/* ---- name tables ---- */

static uint64_t load64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t load32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t mix(uint64_t x)
{
    x *= UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 32;
}

/* The JSON reader asks once for each member, so this goes eight bytes at a time. */
static uint32_t name_hash(struct str s)
{
    uint64_t h = s.n, tail = 0;
    const char *p = s.p;
    size_t n = s.n;

    for (; n > 8; p += 8, n -= 8)
        h = mix(h ^ load64(p));
    if (n == 8)
        tail = load64(p);
    else if (n >= 4)
        tail = (uint64_t)load32(p) << 32 | load32(p + n - 4);
    else if (n)
        tail = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n / 2] << 8 | (uint8_t)p[n - 1];
    return (uint32_t)mix(mix(h ^ tail));
}

/* The slot that has the key, or the free one where it belongs. */
static struct schema_name *name_slot(const struct schema_names *names, struct str key,
                                     uint32_t hash)
{
    uint32_t i = hash & names->mask;

    while (names->slots[i].key.p &&
           (names->slots[i].hash != hash || !str_eq(names->slots[i].key, key)))
        i = (i + 1) & names->mask;
    return &names->slots[i];
}

static int names_grow(struct schema_names *names, struct arena *arena)
{
    uint32_t size = names->slots ? (names->mask + 1) * 2 : 8;
    struct schema_names bigger = {.mask = size - 1, .used = names->used};

    if (size > UINT32_C(1) << 30)
        return -ENOMEM;
    bigger.slots = arena_calloc(arena, size, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (uint32_t i = 0; names->slots && i <= names->mask; i++) {
        const struct schema_name *from = &names->slots[i];

        if (from->key.p)
            *name_slot(&bigger, from->key, from->hash) = *from;
    }
    *names = bigger;
    return 0;
}

int schema_names_add(struct schema_names *names, struct arena *arena, struct str key,
                     uint32_t index)
{
    uint32_t hash = name_hash(key);
    struct schema_name *slot;

    if ((!names->slots || names->used >= (names->mask + 1) / 2) && names_grow(names, arena))
        return -ENOMEM;
    slot = name_slot(names, key, hash);
    if (slot->key.p)
        return -EEXIST;
    *slot = (struct schema_name){.key = key, .hash = hash, .index = index};
    names->used++;
    return 0;
}

bool schema_names_find(const struct schema_names *names, struct str key, uint32_t *ret)
{
    const struct schema_name *slot;

    if (!names->slots)
        return false;
    slot = name_slot(names, key, name_hash(key));
    *ret = slot->index;
    return slot->key.p != NULL;
}

/* ---- fields ---- */

const struct schema_field *schema_field_search(const struct schema_message *m, uint32_t number)
{
    size_t low = 0, high = m->n_fields;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (m->fields[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->n_fields && m->fields[low].number == number ? &m->fields[low] : NULL;
}

const struct schema_field *schema_field_by_json_name(const struct schema_message *m,
                                                     struct str name)
{
    uint32_t i;

    return schema_names_find(&m->by_json_name, name, &i) ? &m->fields[i] : NULL;
}

const struct schema_field *schema_field_by_name(const struct schema_message *m, struct str name)
{
    const struct schema_field *f = schema_field_by_json_name(m, name);

    if (!f || str_eq(f->name, name))
        return f;
    /* Another field has this as its JSON name. */
    for (size_t i = 0; i < m->n_fields; i++) {
        if (str_eq(m->fields[i].name, name))
            return &m->fields[i];
    }
    return NULL;
}

/* ---- enum values ---- */

const struct schema_enum_value *schema_enum_by_name(const struct schema_enum *e, struct str name)
{
    uint32_t i;

    return schema_names_find(&e->by_name, name, &i) ? &e->values[i] : NULL;
}

const struct schema_enum_value *schema_enum_by_number(const struct schema_enum *e, int32_t number)
{
    size_t low = 0, high = e->n_values;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (e->values[e->by_number[middle]].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == e->n_values || e->values[e->by_number[low]].number != number)
        return NULL;
    return &e->values[e->by_number[low]];
}
