#include "http/entity_tag.h"

#include <errno.h>

#define WEAK STR("W/")

/* etagc: what may stand between the quotes. */
static bool is_opaque(unsigned char c)
{
    return c == 0x21 || (c >= 0x23 && c != 0x7f);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static size_t opaque_length(struct str s)
{
    size_t n = 0;

    while (n < s.n && is_opaque((unsigned char)s.p[n]))
        n++;
    return n;
}

/* The length of the entity tag that s starts with; 0: it starts with none. */
static size_t tag_length(struct str s)
{
    size_t start = str_starts(s, WEAK) ? 3 : 1, n;

    if (s.n < start || s.p[start - 1] != '"')
        return 0;
    n = start + opaque_length(str_skip(s, start));
    return n < s.n && s.p[n] == '"' ? n + 1 : 0;
}

int entity_tag_of(struct arena *arena, struct str value, struct str *ret)
{
    *ret = STR_NULL;
    if (value.n == 0 || value.n > ENTITY_TAG_MAX)
        return -EBADMSG;
    if (tag_length(value) == value.n)
        *ret = arena_copy(arena, value);
    else if (opaque_length(value) == value.n)
        *ret = arena_printf(arena, "\"%.*s\"", STR_FMT(value));
    else
        return -EBADMSG;
    return ret->p ? 0 : -ENOMEM;
}

/* ---- lists ---- */

/* Takes the next tag off a list, whose elements may be empty (RFC 9110 section 5.6.1.2). Returns 1,
 * 0 at the end, -1 when what comes is none. */
static int next_tag(struct str *rest, struct str *ret)
{
    size_t i = 0, n;
    bool parted = false;

    while (i < rest->n && (is_space(rest->p[i]) || rest->p[i] == ','))
        i++;
    *rest = str_skip(*rest, i);
    if (rest->n == 0)
        return 0;
    n = tag_length(*rest);
    if (n == 0)
        return -1;
    *ret = (struct str){rest->p, n};
    *rest = str_skip(*rest, n);
    /* Behind it the list ends or a comma comes. */
    for (i = 0; i < rest->n && !parted; i++) {
        if (rest->p[i] == ',')
            parted = true;
        else if (!is_space(rest->p[i]))
            return -1;
    }
    return 1;
}

static bool is_any(struct str header)
{
    while (header.n && is_space(header.p[0]))
        header = str_skip(header, 1);
    while (header.n && is_space(header.p[header.n - 1]))
        header.n--;
    return str_eq(header, STR("*"));
}

bool entity_tags_valid(struct str header)
{
    struct str tag;
    bool some = false;
    int got;

    if (is_any(header))
        return true;
    while ((got = next_tag(&header, &tag)) == 1)
        some = true;
    return got == 0 && some;
}

bool entity_tag_is_weak(struct str tag)
{
    return str_starts(tag, WEAK);
}

static struct str opaque_part(struct str tag)
{
    return entity_tag_is_weak(tag) ? str_skip(tag, WEAK.n) : tag;
}

bool entity_tags_match(struct str header, struct str tag, enum entity_tag_comparison comparison)
{
    struct str other;

    if (is_any(header))
        return true;
    if (!tag.p || (comparison == ENTITY_TAG_STRONG && entity_tag_is_weak(tag)))
        return false;
    while (next_tag(&header, &other) == 1) {
        if (comparison == ENTITY_TAG_STRONG ? str_eq(tag, other)
                                            : str_eq(opaque_part(tag), opaque_part(other)))
            return true;
    }
    return false;
}

bool entity_tags_match_prefix(struct str header, struct str prefix)
{
    struct str tag;

    if (is_any(header))
        return true;
    while (next_tag(&header, &tag) == 1) {
        if (str_starts(opaque_part(tag), prefix))
            return true;
    }
    return false;
}

enum entity_tag_verdict entity_tag_judge(struct str if_match, struct str if_none_match,
                                         struct str tag)
{
    if (if_match.p && !entity_tags_match(if_match, tag, ENTITY_TAG_STRONG))
        return ENTITY_TAG_FAILED;
    if (if_none_match.p && entity_tags_valid(if_none_match) &&
        entity_tags_match(if_none_match, tag, ENTITY_TAG_WEAK))
        return ENTITY_TAG_NOT_MODIFIED;
    return ENTITY_TAG_SEND;
}
