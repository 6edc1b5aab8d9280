/* Media types. See media.h. */
#include "http/media.h"

#include <errno.h>

struct scan {
    const char *at, *end;
};

static void skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t'))
        s->at++;
}

static bool take(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* RFC 9110 section 5.6.2. */
static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Empty when there is none. */
static struct str token(struct scan *s)
{
    const char *start = s->at;

    while (s->at < s->end && is_token_char(*s->at))
        s->at++;
    return (struct str){start, (size_t)(s->at - start)};
}

/* Behind the opening quote. The text keeps its backslashes: no value that means anything here has
 * one. */
static int quoted(struct scan *s, struct str *ret)
{
    const char *start = s->at;

    for (; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            *ret = (struct str){start, (size_t)(s->at - start)};
            s->at++;
            return 0;
        }
        if (*s->at == '\\' && s->at + 1 < s->end)
            s->at++;
    }
    return -EINVAL;
}

static int read_name(struct scan *s, struct str *ret)
{
    struct str type = token(s), subtype;

    if (!type.n || !take(s, '/'))
        return -EINVAL;
    subtype = token(s);
    *ret = (struct str){type.p, (size_t)(s->at - type.p)};
    return subtype.n ? 0 : -EINVAL;
}

/* The next parameter. Returns 1, 0 (there is none) or -EINVAL. */
static int read_parameter(struct scan *s, struct str *ret_name, struct str *ret_value)
{
    for (;;) {
        skip_space(s);
        if (!take(s, ';'))
            return 0;
        skip_space(s);
        *ret_name = token(s);
        if (ret_name->n)
            break; /* else an empty one, which is allowed */
    }
    if (!take(s, '='))
        return -EINVAL;
    if (take(s, '"'))
        return quoted(s, ret_value) ? -EINVAL : 1;
    *ret_value = token(s);
    return ret_value->n ? 1 : -EINVAL;
}

int media_type_read(struct str header, struct media_type *ret)
{
    struct scan s = {header.p, header.p + header.n};
    struct str name, value;
    int more;

    ret->charset = STR("");
    skip_space(&s);
    if (read_name(&s, &ret->name))
        return -EINVAL;
    while ((more = read_parameter(&s, &name, &value)) > 0) {
        if (!str_eq_nocase(name, STR("charset")))
            continue;
        if (ret->charset.n && !str_eq_nocase(ret->charset, value))
            return -EINVAL; /* two that differ */
        ret->charset = value;
    }
    return more == 0 && s.at == s.end ? 0 : -EINVAL;
}

/* ---- Accept ---- */

/* "0.5" in thousandths; more digits than three are dropped. -EINVAL if it is no quality. */
static int read_quality(struct str text, unsigned *ret)
{
    static const unsigned place[] = {100, 10, 1};

    if (!text.n || text.p[0] < '0' || text.p[0] > '1' || (text.n > 1 && text.p[1] != '.'))
        return -EINVAL;
    *ret = text.p[0] == '1' ? 1000 : 0;
    for (size_t i = 2; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -EINVAL;
        if (i - 2 < ARRAY_SIZE(place))
            *ret += (unsigned)(text.p[i] - '0') * place[i - 2];
    }
    return *ret > 1000 ? -EINVAL : 0;
}

/* To what follows the next comma that is not in quotes. */
static void skip_range(struct scan *s)
{
    struct str unused;

    while (s->at < s->end) {
        char c = *s->at++;

        if (c == ',')
            return;
        if (c == '"' && quoted(s, &unused))
            return;
    }
}

/* One range and its quality. Parameters other than q are of a variant that we do not have, and are
 * passed over. */
static int read_range(struct scan *s, struct str *ret_name, unsigned *ret_quality)
{
    struct str name, value;
    int more;

    *ret_quality = 1000;
    if (read_name(s, ret_name))
        return -EINVAL;
    while ((more = read_parameter(s, &name, &value)) > 0) {
        if (str_eq_nocase(name, STR("q")) && read_quality(value, ret_quality))
            return -EINVAL;
    }
    if (more < 0)
        return -EINVAL;
    skip_space(s);
    return s->at == s->end || *s->at == ',' ? 0 : -EINVAL;
}

/* How exactly a range names a type: 3 itself, 2 its kind, 1 everything, 0 not at all. */
static unsigned fit(struct str range, struct str name)
{
    size_t kind;

    if (str_eq_nocase(range, name))
        return 3;
    if (str_eq(range, STR("*/*")))
        return 1;
    if (!str_ends(range, STR("/*")))
        return 0;
    kind = range.n - 1; /* with the slash */
    return name.n > kind && str_eq_nocase((struct str){range.p, kind}, (struct str){name.p, kind})
               ? 2
               : 0;
}

unsigned media_accepts(struct str accept, struct str name)
{
    struct scan s = {accept.p, accept.p + accept.n};
    unsigned best = 0, quality = 0, n = 0;

    while (s.at < s.end) {
        struct str range;
        unsigned q, exact;

        skip_space(&s);
        if (take(&s, ','))
            continue;
        if (s.at == s.end)
            break;
        if (read_range(&s, &range, &q) == 0) {
            n++;
            exact = fit(range, name);
            if (exact > best || (exact && exact == best && q > quality)) {
                best = exact;
                quality = q;
            }
        }
        skip_range(&s);
    }
    return n ? quality : 1000;
}
