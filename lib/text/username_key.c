/* The comparison form of usernames, by libunistring. Pure; any thread. */
#include "text/username_key.h"

#include <errno.h>
#include <stdlib.h>
#include <unicase.h>
#include <uninorm.h>
#include <unistr.h>

/* Plain ASCII, the common case: folding is lower case, and NFKC changes nothing. */
static bool fold_ascii(struct str username, char *to)
{
    for (size_t i = 0; i < username.n; i++) {
        unsigned char c = (unsigned char)username.p[i];
        if (c >= 0x80)
            return false;
        to[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    return true;
}

static int fold_unicode(struct str username, struct arena *arena, struct str *ret)
{
    const uint8_t *name = (const uint8_t *)username.p;
    size_t n = 0;
    uint8_t *folded;

    if (u8_check(name, username.n))
        return -EILSEQ;
    folded = u8_casefold(name, username.n, NULL, UNINORM_NFKC, NULL, &n);
    if (!folded)
        return -ENOMEM;
    *ret = arena_copy(arena, (struct str){(const char *)folded, n});
    free(folded);
    return ret->p ? 0 : -ENOMEM;
}

int username_key(struct str username, struct arena *arena, struct str *ret)
{
    char *ascii = arena_alloc(arena, username.n + 1);

    if (!ascii)
        return -ENOMEM;
    if (!fold_ascii(username, ascii))
        return fold_unicode(username, arena, ret);
    ascii[username.n] = '\0';
    *ret = (struct str){ascii, username.n};
    return 0;
}
