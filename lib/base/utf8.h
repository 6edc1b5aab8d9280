/* Whether bytes are UTF-8, as RFC 3629 section 4 has it: no overlong forms, no surrogates, nothing
 * above U+10FFFF. Pure functions; any thread.
 */
#ifndef STOA_BASE_UTF8_H
#define STOA_BASE_UTF8_H

#include "base/base.h"

/* Of text that is there as a whole; empty text is valid. */
bool utf8_valid(struct str s);
/* The same, and no U+0000, which Postgres' text cannot hold. */
bool utf8_valid_without_nul(struct str s);

/* Text that comes in pieces. *state: 0 before the first one, and whenever a character is whole; so
 * the text is valid when it ends with 0. False at the first byte that cannot be part of valid text;
 * the state then means nothing. */
bool utf8_check(unsigned char *state, struct str piece) MUST_CHECK;

/* The length of the character at p, of which there are `left` bytes; 0: there is none. */
static inline size_t utf8_length(const char *p, size_t left)
{
    const uint8_t *b = (const uint8_t *)p;
    uint8_t low = 0x80, high = 0xbf;
    size_t n;

    if (left && b[0] < 0x80)
        return 1;
    if (!left || b[0] < 0xc2 || b[0] > 0xf4)
        return 0;
    n = b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    if (left < n)
        return 0;
    if (b[0] == 0xe0)
        low = 0xa0; /* overlong */
    else if (b[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (b[0] == 0xf0)
        low = 0x90; /* overlong */
    else if (b[0] == 0xf4)
        high = 0x8f; /* above U+10FFFF */
    if (b[1] < low || b[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

#endif
