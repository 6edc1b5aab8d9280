#include "etag.h"

#include "base/hex.h"
#include "http/entity_tag.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
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

/* {NULL, 0} without memory. */
static struct str packed(struct arena *arena, const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_alloc(arena, n);

    if (!bytes)
        return STR_NULL;
    protobuf_c_message_pack(message, bytes);
    return (struct str){(const char *)bytes, n};
}

/* Hashes a packed message, and beside it a number that says the rest. {NULL, 0} without memory. */
static struct str view_of_packed(struct arena *arena, struct str message, uint64_t rest)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    char *hex = arena_alloc(arena, 2 * VIEW_BYTES);
    EVP_MD_CTX *ctx = hex && message.p ? EVP_MD_CTX_new() : NULL;
    bool hashed = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
                  EVP_DigestUpdate(ctx, message.p, message.n) == 1 &&
                  EVP_DigestUpdate(ctx, &rest, sizeof(rest)) == 1 &&
                  EVP_DigestFinal_ex(ctx, hash, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    if (!hashed)
        return STR_NULL;
    for (size_t i = 0; i < VIEW_BYTES; i++) {
        hex[2 * i] = hex_digit(hash[i] >> 4);
        hex[2 * i + 1] = hex_digit(hash[i]);
    }
    return (struct str){hex, 2 * VIEW_BYTES};
}

static struct str view_of(struct arena *arena, const ProtobufCMessage *message, uint64_t rest)
{
    return view_of_packed(arena, packed(arena, message), rest);
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

/* Packed once: a list is as long as all else that is done for it. */
int tagged_make(struct arena *arena, const ProtobufCMessage *response, struct tagged *ret)
{
    ret->bytes = packed(arena, response);
    ret->view = view_of_packed(arena, ret->bytes, 0);
    return ret->view.p ? 0 : -ENOMEM;
}

void reply_made(struct rpc_call *call, const struct tagged *tagged)
{
    if (add_tag(call, STR("\""), tagged->view))
        rpc_reply_packed(call, tagged->bytes);
}

void reply_tagged(struct rpc_call *call, const ProtobufCMessage *response)
{
    struct tagged tagged;

    if (tagged_make(rpc_call_arena(call), response, &tagged) < 0)
        service_fail_memory(call);
    else
        reply_made(call, &tagged);
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
