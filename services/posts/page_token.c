#include "page_token.h"

#include "base/hex.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>

/* A token for this list and place. The check is no signature: it keeps apart what was not meant. */
struct str page_token_make(struct arena *arena, struct str list, struct cursor cursor)
{
    struct str text = arena_printf(arena, "%016" PRIx64 "%016" PRIx64 "%.*s",
                                   (uint64_t)cursor.order, (uint64_t)cursor.id, STR_FMT(list));
    uint8_t hash[EVP_MAX_MD_SIZE];

    if (!text.p || EVP_Digest(text.p, text.n, hash, NULL, EVP_sha256(), NULL) != 1)
        return STR_NULL;
    return arena_printf(arena, "%.32s%02x%02x%02x%02x", text.p, hash[0], hash[1], hash[2], hash[3]);
}

int page_token_read(struct arena *arena, struct str list, struct str token, struct cursor *ret)
{
    uint64_t order, id;
    struct str made;

    if (token.n != PAGE_TOKEN_CHARS || !hex_to_uint64((struct str){token.p, 16}, &order) ||
        !hex_to_uint64((struct str){token.p + 16, 16}, &id))
        return -EINVAL;
    *ret = (struct cursor){(int64_t)order, (int64_t)id};
    made = page_token_make(arena, list, *ret);
    if (!made.p)
        return -ENOMEM;
    return str_eq(made, token) ? 0 : -EINVAL;
}
