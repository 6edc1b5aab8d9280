#include "filter.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>

enum term_kind { TERM_LITERAL, TERM_PATTERN, TERM_PRIORITY, TERM_DATE };
enum compare { LESS = 1, EQUAL = 2, GREATER = 4, NONE = 8, ANY = 16 };

struct term {
    enum term_kind kind;
    bool negated;
    struct str literal; /* in lower case */
    regex_t pattern;
    bool on_text;    /* the pattern looks at the line of the file */
    char from, to;   /* TERM_PRIORITY; 0: none */
    struct str date; /* TERM_DATE: which */
    int compare;     /* enum compare, one or more */
    date_t than;
};

struct filter {
    struct term *terms;
    size_t n;
};

/* ---- reading ---- */

static bool is_literal(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c < ' ' || c > '~' || strchr("\\.[]*^$", c))
            return false;
    }
    return true;
}

static int make_literal(struct term *t, struct str s, struct arena *arena)
{
    char *lower = arena_alloc(arena, s.n + 1);

    if (!lower)
        return -ENOMEM;
    for (size_t i = 0; i < s.n; i++)
        lower[i] = (char)tolower((unsigned char)s.p[i]);
    t->kind = TERM_LITERAL;
    t->literal = (struct str){lower, s.n};
    return 0;
}

static int make_pattern(struct term *t, const char *pattern, int flags, struct arena *arena,
                        struct str *ret_error)
{
    char why[128];
    int err = regcomp(&t->pattern, pattern, flags | REG_ICASE);

    t->kind = TERM_PATTERN;
    if (!err)
        return 0;
    t->kind = TERM_LITERAL; /* nothing to be freed */
    regerror(err, &t->pattern, why, sizeof(why));
    *ret_error = arena_printf(arena, "%s: %s", pattern, why);
    return -EINVAL;
}

static bool read_priorities(struct str s, struct term *t)
{
    struct str v = str_skip(s, 4);

    if (!str_starts(s, STR("pri:")))
        return false;
    t->kind = TERM_PRIORITY;
    if (str_eq(v, STR("none")))
        return true;
    if ((v.n != 1 && v.n != 3) || (v.n == 3 && v.p[1] != '-'))
        return false;
    t->from = (char)toupper((unsigned char)v.p[0]);
    t->to = (char)toupper((unsigned char)v.p[v.n - 1]);
    return t->from >= 'A' && t->to <= 'Z' && t->from <= t->to;
}

static bool read_date(struct str s, date_t today, struct term *t)
{
    static const struct str dates[] = {{"due", 3}, {"t", 1}, {"created", 7}, {"done", 4}};

    t->kind = TERM_DATE;
    t->date = STR_NULL;
    for (size_t i = 0; i < ARRAY_SIZE(dates); i++) {
        if (str_starts(s, dates[i]) && s.n > dates[i].n && strchr("<>=:", s.p[dates[i].n]))
            t->date = dates[i];
    }
    if (!t->date.p)
        return false;
    s = str_skip(s, t->date.n);
    if (str_eq(s, STR(":none")) || str_eq(s, STR(":any"))) {
        t->compare = s.p[1] == 'n' ? NONE : ANY;
        return true;
    }
    t->compare = s.p[0] == '<' ? LESS : s.p[0] == '>' ? GREATER : s.p[0] == '=' ? EQUAL : 0;
    s = str_skip(s, 1);
    if (s.n && s.p[0] == '=' && t->compare != EQUAL && t->compare) {
        t->compare |= EQUAL;
        s = str_skip(s, 1);
    }
    return t->compare && date_read_human(s, today, &t->than) == 0;
}

/* What looks like one of these and is none, like due:tomorrow in a task, is a term of todo.sh. */
static bool read_extended(struct str s, date_t today, struct term *t)
{
    struct term try = *t;

    if (!read_priorities(s, &try)) {
        try = *t;
        if (!read_date(s, today, &try))
            return false;
    }
    *t = try;
    return true;
}

static int make_term(const char *text, bool extended, date_t today, struct arena *arena,
                     struct term *t, struct str *ret_error)
{
    struct str s = str_of(text), inner;

    *t = (struct term){.negated = s.n && s.p[0] == '-'};
    s = str_skip(s, t->negated);
    if (extended && read_extended(s, today, t))
        return 0;
    if (extended && s.n > 2 && s.p[0] == '/' && s.p[s.n - 1] == '/') {
        inner = arena_copy(arena, (struct str){s.p + 1, s.n - 2});
        t->on_text = true;
        return inner.p ? make_pattern(t, inner.p, REG_EXTENDED, arena, ret_error) : -ENOMEM;
    }
    return is_literal(s) ? make_literal(t, s, arena) : make_pattern(t, s.p, 0, arena, ret_error);
}

int filter_make(const char *const *terms, size_t n, bool extended, date_t today,
                struct arena *arena, struct filter **ret, struct str *ret_error)
{
    struct filter *f = arena_calloc(arena, 1, sizeof(*f));
    int err = 0;

    *ret = f;
    if (f)
        f->terms = arena_calloc(arena, n, sizeof(*f->terms));
    if (!f || !f->terms) {
        *ret = NULL;
        *ret_error = STR("out of memory");
        return -ENOMEM;
    }
    while (f->n < n && !err) {
        err = make_term(terms[f->n], extended, today, arena, &f->terms[f->n], ret_error);
        f->n += !err;
    }
    if (err == -ENOMEM)
        *ret_error = STR("out of memory");
    return err;
}

void filter_free(struct filter *f)
{
    for (size_t i = 0; f && i < f->n; i++) {
        if (f->terms[i].kind == TERM_PATTERN)
            regfree(&f->terms[i].pattern);
    }
}

/* ---- matching ---- */

/* Of ASCII, as literals are; tolower() looks up the locale each time. */
static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool contains(struct str s, struct str lower)
{
    if (!lower.n)
        return true;
    for (size_t i = 0; i + lower.n <= s.n; i++) {
        size_t k = 0;

        while (k < lower.n && fold(s.p[i + k]) == lower.p[k])
            k++;
        if (k == lower.n)
            return true;
    }
    return false;
}

static bool matches_pattern(const regex_t *pattern, struct str s)
{
    regmatch_t whole = {0, (regoff_t)s.n};

    return regexec(pattern, s.p ? s.p : "", 1, &whole, REG_STARTEND) == 0;
}

static bool matches_date(const struct term *t, const struct line *l)
{
    date_t d = t->date.p[0] == 'c'            ? l->created
               : str_eq(t->date, STR("done")) ? l->completed
                                              : line_tag_date(l->body, t->date);

    if (t->compare & (NONE | ANY))
        return (d == DATE_NONE) == (t->compare == NONE);
    if (d == DATE_NONE)
        return false;
    return t->compare & (d < t->than ? LESS : d == t->than ? EQUAL : GREATER);
}

static bool matches(const struct term *t, struct str shown, struct str text)
{
    struct line l;

    switch (t->kind) {
    case TERM_LITERAL:
        return contains(shown, t->literal);
    case TERM_PATTERN:
        return matches_pattern(&t->pattern, t->on_text ? text : shown);
    case TERM_PRIORITY:
        line_read(text, &l);
        return t->from ? l.priority >= t->from && l.priority <= t->to : !l.priority;
    default:
        line_read(text, &l);
        return matches_date(t, &l);
    }
}

bool filter_matches(const struct filter *f, struct str shown, size_t text_length)
{
    struct str text = str_skip(shown, shown.n - text_length);

    for (size_t i = 0; i < f->n; i++) {
        if (matches(&f->terms[i], shown, text) == f->terms[i].negated)
            return false;
    }
    return true;
}

void filter_describe(const char *const *terms, size_t n, struct buf *to)
{
    for (size_t i = 0; i < n; i++) {
        bool negated = terms[i][0] == '-';

        buf_append_str(to, i ? STR(" | grep ") : STR("grep "));
        buf_append_str(to, negated ? STR("-v -i '") : STR("-i '"));
        for (const char *p = terms[i] + negated; *p; p++) {
            if (*p == '\'')
                buf_append_str(to, STR("'\\''"));
            else
                buf_append_char(to, *p);
        }
        buf_append_char(to, '\'');
    }
}
