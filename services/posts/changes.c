#include "changes.h"

#include "text/plain_text.h"

struct faults {
    struct schema_fault list[8];
    size_t n;
};

static void add_fault(struct faults *faults, struct str path, const char *message)
{
    if (faults->n < ARRAY_SIZE(faults->list))
        faults->list[faults->n++] = (struct schema_fault){path, str_of(message)};
}

/* A text that changes: there, or null, which is as blank as it gets. */
static void take_text(struct arena *arena, const struct given *given, const char *name,
                      const char *value, struct str *ret, struct faults *faults)
{
    if (given->may_be_empty || (value && !text_is_blank(str_of(value))))
        *ret = str_of(value ? value : "");
    else
        add_fault(faults, arena_printf(arena, "%s.%s", given->of, name), "can't be blank");
}

/* What one path of the mask names. */
static void take_path(struct arena *arena, const struct given *given, struct str path,
                      struct changes *to, struct faults *faults)
{
    const struct {
        const char *name, *value;
        struct str *ret;
    } texts[] = {{"title", given->title, &to->title},
                 {"description", given->description, &to->description},
                 {"body", given->body, &to->body}};
    bool all = str_eq(path, STR("*")), known = all;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (all || str_eq(path, str_of(texts[i].name))) {
            take_text(arena, given, texts[i].name, texts[i].value, texts[i].ret, faults);
            known = true;
        }
    }
    if (all || str_eq(path, STR("tag_list")))
        known = to->has_tags = true;
    if (!known)
        add_fault(faults, STR("update_mask"), "names a field that is not there to change");
}

static void take_what_is_given(struct arena *arena, const struct given *given, struct changes *to,
                               struct faults *faults)
{
    if (given->title)
        take_text(arena, given, "title", given->title, &to->title, faults);
    if (given->description)
        take_text(arena, given, "description", given->description, &to->description, faults);
    if (given->body)
        take_text(arena, given, "body", given->body, &to->body, faults);
    to->has_tags = given->n_tag_list > 0;
}

bool read_changes(struct rpc_call *call, const struct given *given, struct changes *ret)
{
    struct faults faults = {.n = 0};

    *ret = (struct changes){.has_tags = false};
    if (!given->mask)
        take_what_is_given(rpc_call_arena(call), given, ret, &faults);
    for (size_t i = 0; given->mask && i < given->mask->n_paths; i++)
        take_path(rpc_call_arena(call), given, str_of(given->mask->paths[i]), ret, &faults);
    if (faults.n > 0) {
        service_fail_fields(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", faults.list, faults.n);
        return false;
    }
    return !ret->has_tags ||
           read_tags(call, given->of, given->tag_list, given->n_tag_list, &ret->tags);
}

void bind_changes(struct db_query *query, const struct changes *changes)
{
    db_bind_text(query, changes->title);
    db_bind_text(query, changes->description);
    db_bind_text(query, changes->body);
    if (changes->has_tags)
        db_bind_text_array(query, changes->tags.tags, changes->tags.n);
    else
        db_bind_null(query);
}
