#include "text/plain_text.h"

#include <unictype.h>
#include <unistr.h>

static bool ends_line(ucs4_t c)
{
    const ucs4_t next_line = 0x85, line_separator = 0x2028, paragraph_separator = 0x2029;

    return c == '\n' || c == '\r' || c == next_line || c == line_separator ||
           c == paragraph_separator;
}

static bool changes_direction_around(ucs4_t c)
{
    return c >= 0x202a && c <= 0x202e;
}

static const char *character_fault(ucs4_t c, enum plain_text kind)
{
    if (ends_line(c) || c == '\t')
        return kind == PLAIN_TEXT_LINES ? NULL : "must be one line";
    if (uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Cc))
        return "must not contain control characters";
    if (changes_direction_around(c))
        return "must not contain characters that change the direction of text around them";
    if (uc_is_property_not_a_character(c))
        return "must not contain characters that are none";
    return NULL;
}

/* Printable ASCII, which most texts are made of. */
static bool is_plain(uint8_t c)
{
    return c >= ' ' && c <= '~';
}

bool text_is_blank(struct str text)
{
    const uint8_t *at = (const uint8_t *)text.p, *end = at + text.n;

    while (at < end) {
        ucs4_t c;

        at += u8_mbtouc(&c, at, (size_t)(end - at));
        if (!uc_is_property_white_space(c))
            return false;
    }
    return true;
}

const char *plain_text_fault(struct str text, enum plain_text kind)
{
    const uint8_t *at = (const uint8_t *)text.p, *end = at + text.n;

    while (at < end) {
        const char *fault;
        ucs4_t c;
        int n;

        if (is_plain(*at)) {
            at++;
            continue;
        }
        n = u8_mbtoucr(&c, at, (size_t)(end - at));
        if (n <= 0)
            return "is not valid text";
        fault = character_fault(c, kind);
        if (fault)
            return fault;
        at += n;
    }
    return NULL;
}
