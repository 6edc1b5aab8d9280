/* Title to slug, by libunistring's tables. Pure; any thread. */
#include "slug.h"

#include <errno.h>
#include <stdlib.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

/* For titles without a letter or digit. */
#define NEUTRAL "article"

/* Names that routes beside /api/articles/{slug} have taken. */
static const struct str reserved[] = {{"feed", 4}};

enum kind { SEPARATOR, LETTER, MARK, INVISIBLE };

static enum kind kind_of(ucs4_t c)
{
    if (c < 0x80) /* for speed only; the tables say the same */
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? LETTER : SEPARATOR;
    if (uc_is_property_default_ignorable_code_point(c) ||
        uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Cf))
        return INVISIBLE;
    if (uc_is_general_category_withtable(c, UC_CATEGORY_MASK_L | UC_CATEGORY_MASK_N))
        return LETTER;
    if (uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Mn | UC_CATEGORY_MASK_Mc))
        return MARK;
    return SEPARATOR;
}

/* A slug while it is written. */
struct writer {
    uint8_t *p;
    size_t n, chars;
    size_t word_end;       /* bytes before the last '-' ... */
    size_t word_end_chars; /* ... and code points */
    bool gap;              /* a separator is due before the next letter */
};

/* Returns false when the slug is full. */
static bool put(struct writer *w, ucs4_t c)
{
    size_t need = w->gap ? 2 : 1;

    if (w->chars + need > SLUG_MAX_CHARS)
        return false;
    if (w->gap) {
        w->word_end = w->n;
        w->word_end_chars = w->chars;
        w->p[w->n++] = '-';
        w->gap = false;
    }
    w->n += (size_t)u8_uctomb(w->p + w->n, c, 6);
    w->chars += need;
    return true;
}

/* The slug is full and its last word goes on: ends with the word before, unless that leaves little.
 */
static void cut(struct writer *w)
{
    if (!w->gap && w->word_end_chars >= SLUG_MAX_CHARS / 2)
        w->n = w->word_end;
}

static void write_slug(struct writer *w, const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        ucs4_t c;
        enum kind kind;

        i += (size_t)u8_mbtouc(&c, s + i, n - i);
        kind = kind_of(c);
        /* A mark belongs to the letter before it, and to nothing else. */
        if (kind == MARK && (w->n == 0 || w->gap))
            kind = INVISIBLE;
        if (kind == SEPARATOR) {
            w->gap = w->n > 0;
        } else if (kind != INVISIBLE && !put(w, c)) {
            cut(w);
            return;
        }
    }
}

/* NFKC, lower case, NFKC again since lower case may decompose. malloc'ed; NULL without memory. */
static uint8_t *fold(struct str title, size_t *ret_n)
{
    size_t n = 0;
    uint8_t *folded = NULL;
    uint8_t *normal = u8_normalize(UNINORM_NFKC, (const uint8_t *)title.p, title.n, NULL, &n);

    if (normal)
        folded = u8_tolower(normal, n, NULL, UNINORM_NFKC, NULL, ret_n);
    free(normal);
    return folded;
}

static bool is_reserved(struct str slug)
{
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
        if (str_eq(slug, reserved[i]))
            return true;
    }
    return false;
}

int slug_from_title(struct str title, struct arena *arena, struct slug *ret)
{
    struct writer w = {.p = arena_alloc(arena, SLUG_MAX_CHARS * 4 + 7)};
    size_t n = 0;
    uint8_t *folded;

    if (!w.p)
        return -ENOMEM;
    if (u8_check((const uint8_t *)title.p, title.n))
        return -EILSEQ;
    folded = fold(title, &n);
    if (!folded)
        return -ENOMEM;
    write_slug(&w, folded, n);
    free(folded);
    w.p[w.n] = '\0';
    ret->text = w.n > 0 ? (struct str){(const char *)w.p, w.n} : STR(NEUTRAL);
    ret->needs_suffix = w.n == 0 || is_reserved(ret->text);
    return 0;
}

struct str slug_with_suffix(struct str base, const uint8_t random[SLUG_RANDOM_BYTES],
                            struct arena *arena)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's base 32 */
    uint64_t bits = 0;
    char suffix[SLUG_SUFFIX_CHARS] = "-";

    for (size_t i = 0; i < SLUG_RANDOM_BYTES; i++)
        bits = bits << 8 | random[i];
    for (size_t i = 1; i < SLUG_SUFFIX_CHARS; i++) {
        suffix[i] = digits[bits & 31];
        bits >>= 5;
    }
    return arena_printf(arena, "%.*s%.*s", STR_FMT(base), (int)sizeof(suffix), suffix);
}
