#include "etag.h"

#include "base/hex.h"

#include <errno.h>

#define VERSION_MAX (2 * (HEX_UINT64_MAX + 1))

/* What every tag of this version begins with, behind its first quote. */
static struct str version_prefix(struct version version, char text[VERSION_MAX])
{
    char *p = hex_from_uint64(text, (uint64_t)version.id);

    *p++ = '.';
    p = hex_from_uint64(p, (uint64_t)version.changed_us);
    *p++ = '.';
    return (struct str){text, (size_t)(p - text)};
}

static struct str view_of(struct arena *arena, const ProtobufCMessage *message, uint64_t rest)
{
    return service_view(arena, service_pack(arena, message), rest);
}

bool tag_article(struct rpc_call *call, const struct article *article)
{
    char text[VERSION_MAX];
    uint64_t rest =
        (uint64_t)article->message.favorites_count << 1 | (article->message.favorited ? 1 : 0);

    return service_add_tag(call, version_prefix(article->version, text),
                           view_of(rpc_call_arena(call), &article->author.base, rest));
}

bool tag_draft(struct rpc_call *call, const struct draft *draft)
{
    char text[VERSION_MAX];

    return service_add_tag(call, version_prefix(draft->version, text),
                           STR("0")); /* shows nothing else */
}

bool tag_comment(struct rpc_call *call, const struct comment *comment)
{
    char text[VERSION_MAX];

    return service_add_tag(call, version_prefix(comment->version, text),
                           view_of(rpc_call_arena(call), &comment->author.base, 0));
}

bool tag_profile(struct rpc_call *call, const Stoa__Posts__V1__Profile *profile)
{
    return service_add_tag(call, STR(""), view_of(rpc_call_arena(call), &profile->base, 0));
}

/* Packed once: a list is as long as all else that is done for it. */
int tagged_make(struct arena *arena, const ProtobufCMessage *response, struct tagged *ret)
{
    ret->bytes = service_pack(arena, response);
    ret->view = service_view(arena, ret->bytes, 0);
    return ret->view.p ? 0 : -ENOMEM;
}

void reply_made(struct rpc_call *call, const struct tagged *tagged)
{
    if (service_add_tag(call, STR(""), tagged->view))
        rpc_reply_packed(call, tagged->bytes);
}

bool conditions_hold(struct rpc_call *call, struct version version)
{
    char text[1 + VERSION_MAX] = "\"";
    struct str prefix = version_prefix(version, text + 1);

    return service_conditions_hold(call, (struct str){text, prefix.n + 1});
}
