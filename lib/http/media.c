/* Media types. See media.h. */
#include "http/media.h"

#include "http/scan.h"

static int read_name(struct scan *s, struct str *ret)
{
    struct str type = scan_token(s), subtype;

    if (!type.n || !scan_take(s, '/'))
        return -EINVAL;
    subtype = scan_token(s);
    *ret = (struct str){type.p, (size_t)(s->at - type.p)};
    return subtype.n ? 0 : -EINVAL;
}

/* The next parameter. Returns 1, 0 (there is none) or -EINVAL. */
static int read_parameter(struct scan *s, struct str *ret_name, struct str *ret_value)
{
    for (;;) {
        scan_space(s);
        if (!scan_take(s, ';'))
            return 0;
        scan_space(s);
        *ret_name = scan_token(s);
        if (ret_name->n)
            break; /* else an empty one, which is allowed */
    }
    if (!scan_take(s, '='))
        return -EINVAL;
    if (scan_take(s, '"'))
        return scan_quoted(s, ret_value) ? -EINVAL : 1;
    *ret_value = scan_token(s);
    return ret_value->n ? 1 : -EINVAL;
}

int media_type_read(struct str header, struct media_type *ret)
{
    struct scan s = scan_of(header);
    struct str name, value;
    int more;

    ret->charset = STR("");
    scan_space(&s);
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
        if (c == '"' && scan_quoted(s, &unused))
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
    scan_space(s);
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
    struct scan s = scan_of(accept);
    unsigned best = 0, quality = 0, n = 0;

    while (s.at < s.end) {
        struct str range;
        unsigned q, exact;

        scan_space(&s);
        if (scan_take(&s, ','))
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
