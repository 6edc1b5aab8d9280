/* Entity tags of answers, and the conditions of changes, as handlers of every service have them. */
#include "service/service.h"

#include "base/hex.h"
#include "http/entity_tag.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <pthread.h>

#define VIEW_BYTES 12

struct str service_pack(struct arena *arena, const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_alloc(arena, n);

    if (!bytes)
        return STR_NULL;
    protobuf_c_message_pack(message, bytes);
    return (struct str){(const char *)bytes, n};
}

/* OpenSSL looks an algorithm up by name each time that it is told EVP_sha256(): more work than to
 * hash a profile with it. */
static EVP_MD *sha256;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

struct str service_view(struct arena *arena, struct str packed, uint64_t rest)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    unsigned char hash[SHA256_DIGEST_LENGTH];
    char *hex = arena_alloc(arena, 2 * VIEW_BYTES);
    EVP_MD_CTX *ctx = hex && packed.p ? EVP_MD_CTX_new() : NULL;
    bool hashed;

    pthread_once(&once, fetch_sha256);
    hashed = ctx && EVP_DigestInit_ex(ctx, sha256 ? sha256 : EVP_sha256(), NULL) == 1 &&
             EVP_DigestUpdate(ctx, packed.p, packed.n) == 1 &&
             EVP_DigestUpdate(ctx, &rest, sizeof(rest)) == 1 &&
             EVP_DigestFinal_ex(ctx, hash, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!hashed)
        return STR_NULL;
    hex_encode(hex, hash, VIEW_BYTES);
    return (struct str){hex, 2 * VIEW_BYTES};
}

/* The tag in its quotes. NULL without memory, or without a view. */
static struct str tag_of(struct arena *arena, struct str version, struct str view)
{
    size_t n = version.n + view.n + 2;
    char *tag = view.p ? arena_alloc(arena, n) : NULL;

    if (!tag)
        return STR_NULL;
    tag[0] = tag[n - 1] = '"';
    memcpy(tag + 1, version.p, version.n);
    memcpy(tag + 1 + version.n, view.p, view.n);
    return (struct str){tag, n};
}

bool service_add_tag(struct rpc_call *call, struct str version, struct str view)
{
    struct str tag = tag_of(rpc_call_arena(call), version, view);

    if (tag.p && rpc_call_add_header(call, STR("etag"), tag) == 0)
        return true;
    service_fail_memory(call);
    return false;
}

void service_reply_tagged(struct rpc_call *call, const ProtobufCMessage *response)
{
    struct str packed = service_pack(rpc_call_arena(call), response);

    if (service_add_tag(call, STR(""), service_view(rpc_call_arena(call), packed, 0)))
        rpc_reply_packed(call, packed);
}

/* ---- conditions of a change ---- */

bool service_read_conditions(struct rpc_call *call)
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

bool service_has_conditions(const struct rpc_call *call)
{
    return rpc_call_metadata(call, "if-match").p || rpc_call_metadata(call, "if-none-match").p;
}

bool service_conditions_hold(const struct rpc_call *call, struct str prefix)
{
    struct str match = rpc_call_metadata(call, "if-match");
    struct str none_match = rpc_call_metadata(call, "if-none-match");

    if (match.p && !entity_tags_match_prefix(match, prefix))
        return false;
    return !none_match.p || !entity_tags_match_prefix(none_match, prefix);
}

void service_fail_changed(struct rpc_call *call, const char *type, struct str name)
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
