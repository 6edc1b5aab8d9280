#include "names.h"

#include <unictype.h>
#include <unistr.h>

#define ZERO_WIDTH_JOINER 0x200d
#define VARIATION_SELECTOR_16 0xfe0f
#define BRAILLE_BLANK 0x2800 /* a symbol without a dot */

/* White space of all scripts (the property White_Space). */
static bool is_white_space(ucs4_t c)
{
    return uc_is_property_white_space(c);
}

/* Emoji are built with two characters that are invisible by themselves. */
static bool joins_emoji(ucs4_t c, ucs4_t before)
{
    return (c == ZERO_WIDTH_JOINER || c == VARIATION_SELECTOR_16) &&
           (uc_is_general_category_withtable(before, UC_CATEGORY_MASK_S) ||
            before == VARIATION_SELECTOR_16);
}

static const char *character_fault(ucs4_t c, ucs4_t before)
{
    if (uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Cc | UC_CATEGORY_MASK_Zl |
                                                UC_CATEGORY_MASK_Zp))
        return "must not contain control characters";
    if (uc_is_property_bidi_control(c))
        return "must not contain characters that change the direction of text";
    if ((c == BRAILLE_BLANK || uc_is_property_default_ignorable_code_point(c) ||
         uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Cf)) &&
        !joins_emoji(c, before))
        return "must not contain invisible characters";
    if (uc_is_property_not_a_character(c))
        return "must not contain characters that are none";
    return NULL;
}

/* A URL path's dot segments are resolved before anybody sees them (RFC 3986 section 5.2.4). */
static bool is_dot_segment(struct str s)
{
    return str_eq(s, STR(".")) || str_eq(s, STR(".."));
}

const char *username_fault(struct str username)
{
    const uint8_t *at = (const uint8_t *)username.p, *end = at + username.n;
    bool edge = true, ends_white = false;
    ucs4_t before = 0;

    if (is_dot_segment(username))
        return "must not be \".\" or \"..\"";
    while (at < end) {
        ucs4_t c;
        const char *fault;
        int n = u8_mbtoucr(&c, at, (size_t)(end - at));

        if (n <= 0)
            return "is not valid text";
        fault = character_fault(c, before);
        if (fault)
            return fault;
        /* It would be drawn over what stands before the name. */
        if (edge && uc_is_general_category_withtable(c, UC_CATEGORY_MASK_M))
            return "must not begin with a combining mark";
        ends_white = is_white_space(c);
        if (edge && ends_white)
            break;
        edge = false;
        before = c;
        at += n;
    }
    return ends_white ? "must not begin or end with white space" : NULL;
}

struct str email_key(struct str email, struct arena *arena)
{
    char *key = arena_alloc(arena, email.n + 1);

    if (!key)
        return STR_NULL;
    for (size_t i = 0; i < email.n; i++) {
        char c = email.p[i];
        key[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    key[email.n] = '\0';
    return (struct str){key, email.n};
}
