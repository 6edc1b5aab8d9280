#include "etag.h"

#include "http/entity_tag.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

#define VIEW_BYTES 12
#define VERSION_MAX 48

/* What every tag of this version begins with, its first quote included. */
static struct str version_prefix(struct version version, char text[VERSION_MAX])
{
    int n = snprintf(text, VERSION_MAX, "\"%" PRIx64 ".%" PRIx64 ".", (uint64_t)version.id,
                     (uint64_t)version.changed_us);

    return (struct str){text, (size_t)n};
}

/* Hashes a message, and beside it a number that says the rest. {NULL, 0} without memory. */
static struct str view_of(struct arena *arena, const ProtobufCMessage *message, uint64_t rest)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_alloc(arena, n + sizeof(rest)), hash[EVP_MAX_MD_SIZE];
    char *hex = arena_alloc(arena, 2 * VIEW_BYTES + 1);

    if (!bytes || !hex)
        return STR_NULL;
    protobuf_c_message_pack(message, bytes);
    memcpy(bytes + n, &rest, sizeof(rest));
    if (EVP_Digest(bytes, n + sizeof(rest), hash, NULL, EVP_sha256(), NULL) != 1)
        return STR_NULL;
    for (size_t i = 0; i < VIEW_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    return (struct str){hex, 2 * VIEW_BYTES};
}

static bool add_tag(struct rpc_call *call, struct str prefix, struct str view)
{
    struct str tag =
        view.p ? arena_printf(rpc_call_arena(call), "%.*s%.*s\"", STR_FMT(prefix), STR_FMT(view))
               : STR_NULL;

    if (tag.p && rpc_call_add_header(call, STR("etag"), tag) == 0)
        return true;
    service_fail_memory(call);
    return false;
}

bool tag_article(struct rpc_call *call, const struct article *article)
{
    char text[VERSION_MAX];
    uint64_t rest =
        (uint64_t)article->message.favorites_count << 1 | (article->message.favorited ? 1 : 0);

    return add_tag(call, version_prefix(article->version, text),
                   view_of(rpc_call_arena(call), &article->author.base, rest));
}

bool tag_draft(struct rpc_call *call, const struct draft *draft)
{
    char text[VERSION_MAX];

    return add_tag(call, version_prefix(draft->version, text), STR("0")); /* shows nothing else */
}

bool tag_comment(struct rpc_call *call, const struct comment *comment)
{
    char text[VERSION_MAX];

    return add_tag(call, version_prefix(comment->version, text),
                   view_of(rpc_call_arena(call), &comment->author.base, 0));
}

bool tag_profile(struct rpc_call *call, const Stoa__Posts__V1__Profile *profile)
{
    return add_tag(call, STR("\""), view_of(rpc_call_arena(call), &profile->base, 0));
}

bool tag_response(struct rpc_call *call, const ProtobufCMessage *response)
{
    return add_tag(call, STR("\""), view_of(rpc_call_arena(call), response, 0));
}

/* ---- conditions of a change ---- */

static struct str if_match(const struct rpc_call *call)
{
    return rpc_call_metadata(call, "if-match");
}

static struct str if_none_match(const struct rpc_call *call)
{
    return rpc_call_metadata(call, "if-none-match");
}

bool read_conditions(struct rpc_call *call)
{
    static const struct {
        const char *header, *field;
    } names[] = {{"if-match", "if_match"}, {"if-none-match", "if_none_match"}};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct str header = rpc_call_metadata(call, names[i].header);

        if (header.p && !entity_tags_valid(header)) {
            service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_CONDITION", names[i].field,
                               "must be * or a list of entity tags");
            return false;
        }
    }
    return true;
}

bool conditions_hold(struct rpc_call *call, struct version version)
{
    char text[VERSION_MAX];
    struct str prefix = version_prefix(version, text);

    if (if_match(call).p && !entity_tags_match_prefix(if_match(call), prefix))
        return false;
    return !if_none_match(call).p || !entity_tags_match_prefix(if_none_match(call), prefix);
}

void fail_changed(struct rpc_call *call, const char *type, struct str name)
{
    rpc_fail_with(
        call, &(struct rpc_error){
                  .code = RPC_FAILED_PRECONDITION,
                  .message = arena_printf(rpc_call_arena(call),
                                          "the %s is not in the state that was asked for", type),
                  .reason = "ETAG_MISMATCH",
                  .resource_type = type,
                  .resource_name = name,
                  .resource_description = "has been changed meanwhile",
              });
}
