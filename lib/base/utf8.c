#include "base/utf8.h"

#define ONES UINT64_C(0x0101010101010101)
#define HIGH_BITS UINT64_C(0x8080808080808080)

/* How much of the text is ASCII from its start, in steps of eight bytes. Taking one from each byte
 * borrows into the high bit exactly when one of them is NUL. */
static inline size_t ascii_words(const char *p, size_t n, bool nul_allowed)
{
    size_t at = 0;
    uint64_t w;

    for (; n - at >= 8; at += 8) {
        memcpy(&w, p + at, 8);
        if ((w | (nul_allowed ? 0 : w - ONES)) & HIGH_BITS)
            break;
    }
    return at;
}

/* How much of the text is whole, valid characters. */
static inline size_t valid_bytes(const char *p, size_t n, bool nul_allowed)
{
    size_t at = 0, length;

    while (at < n) {
        at += ascii_words(p + at, n - at, nul_allowed);
        for (size_t i = 0; i < 8 && at < n && (unsigned char)p[at] < 0x80; i++, at++) {
            if (p[at] == 0 && !nul_allowed)
                return at;
        }
        while (at < n && (unsigned char)p[at] >= 0x80) {
            length = utf8_length(p + at, n - at);
            if (length == 0)
                return at;
            at += length;
        }
    }
    return at;
}

bool utf8_valid(struct str s)
{
    return valid_bytes(s.p, s.n, true) == s.n;
}

bool utf8_valid_without_nul(struct str s)
{
    return valid_bytes(s.p, s.n, false) == s.n;
}

/* ---- pieces ---- */

/* Inside a character: how many bytes are to come, or which lead the next one follows. */
enum { WHOLE, ONE, TWO, THREE, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4, INVALID };

static unsigned char after_lead(unsigned char c)
{
    if (c < 0x80)
        return WHOLE;
    if (c < 0xc2 || c > 0xf4)
        return INVALID;
    switch (c) {
    case 0xe0:
        return AFTER_E0;
    case 0xed:
        return AFTER_ED;
    case 0xf0:
        return AFTER_F0;
    case 0xf4:
        return AFTER_F4;
    default:
        return c < 0xe0 ? ONE : c < 0xf0 ? TWO : THREE;
    }
}

static unsigned char after(unsigned char state, unsigned char c)
{
    static const struct {
        unsigned char low, high, next;
    } rules[] = {
        [ONE] = {0x80, 0xbf, WHOLE},    [TWO] = {0x80, 0xbf, ONE},
        [THREE] = {0x80, 0xbf, TWO},    [AFTER_E0] = {0xa0, 0xbf, ONE},
        [AFTER_ED] = {0x80, 0x9f, ONE}, [AFTER_F0] = {0x90, 0xbf, TWO},
        [AFTER_F4] = {0x80, 0x8f, TWO},
    };

    if (state == WHOLE)
        return after_lead(c);
    return c < rules[state].low || c > rules[state].high ? INVALID : rules[state].next;
}

bool utf8_check(unsigned char *state, struct str piece)
{
    size_t at = 0;

    for (; at < piece.n && *state != WHOLE; at++) {
        *state = after(*state, (unsigned char)piece.p[at]);
        if (*state == INVALID)
            return false;
    }
    at += valid_bytes(piece.p + at, piece.n - at, true);
    /* What is left is a character that is cut off, or none. */
    for (; at < piece.n; at++) {
        *state = after(*state, (unsigned char)piece.p[at]);
        if (*state == INVALID)
            return false;
    }
    return true;
}
