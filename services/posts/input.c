/* Texts, tags and slugs of a request. */
#include "input.h"

#include "base/log.h"
#include "tags.h"
#include "text/plain_text.h"

#include <errno.h>
#include <unistd.h>

bool read_tags(struct rpc_call *call, const char *of, char **tags, size_t n, struct tag_list *ret)
{
    struct arena *arena = rpc_call_arena(call);
    struct tags_fault fault;
    int kept = tags_normalise((const char *const *)tags, n, arena, &ret->tags, &fault);

    if (kept == -EINVAL) {
        struct str field = arena_printf(arena, "%s.tag_list[%zu]", of, fault.index);
        service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS",
                           field.p ? field.p : "tag_list", fault.description);
        return false;
    }
    if (kept < 0) {
        service_fail_memory(call);
        return false;
    }
    ret->n = (size_t)kept;
    return true;
}

size_t add_if_blank(struct schema_fault *faults, size_t n, const char *path, const char *text)
{
    if (text && text_is_blank(str_of(text)))
        faults[n++] = (struct schema_fault){str_of(path), STR("can't be blank")};
    return n;
}

int try_slugs(const struct slug *slug, struct arena *arena, struct slugs *ret)
{
    uint8_t random[SLUG_RANDOM_BYTES];

    if (getentropy(random, sizeof(random)) < 0) {
        log_error("no random numbers", LOG_C("error", strerror(errno)));
        return -EIO;
    }
    ret->unique = slug_with_suffix(slug->text, random, arena);
    ret->preferred = slug->needs_suffix ? ret->unique : slug->text;
    return ret->unique.p ? 0 : -ENOMEM;
}

bool make_slugs(struct rpc_call *call, const struct slug *slug, struct slugs *ret)
{
    int r = try_slugs(slug, rpc_call_arena(call), ret);

    if (r == -EIO)
        rpc_fail(call, RPC_INTERNAL, "internal error");
    else if (r < 0)
        service_fail_memory(call);
    return r == 0;
}

bool slug_was_taken(const struct db_result *result)
{
    return result->error == DB_UNIQUE && str_eq(result->constraint, STR("articles_slug_key"));
}

void fail_slug_taken(struct rpc_call *call)
{
    rpc_fail_with(call, &(struct rpc_error){
                            .code = RPC_ABORTED,
                            .message = STR("too many articles with this title at once; try again"),
                            .reason = "CONFLICT"});
}
