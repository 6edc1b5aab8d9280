/* Path templates of google.api.http:
 *
 *     Template = "/" Segments [ Verb ] ;          Segments = Segment { "/" Segment } ;
 *     Segment  = "*" | "**" | LITERAL | Variable ; Verb = ":" LITERAL ;
 *     Variable = "{" FieldPath [ "=" Segments ] "}" ;
 *
 * Pure functions; any thread.
 */
#include "base/hex.h"
#include "schema/route.h"

#include <errno.h>

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int route_normalize(struct str segment, char to[ROUTE_MAX_LITERAL])
{
    int n = 0;

    for (size_t i = 0; i < segment.n; i++) {
        char c = segment.p[i];
        int high, low;

        if (n > ROUTE_MAX_LITERAL - 3)
            return -1;
        if (c != '%') {
            to[n++] = c;
            continue;
        }
        if (segment.n - i < 3)
            return -1;
        high = hex_value(segment.p[i + 1]);
        low = hex_value(segment.p[i + 2]);
        if (high < 0 || low < 0)
            return -1;
        i += 2;
        if (is_unreserved((char)(high << 4 | low))) {
            to[n++] = (char)(high << 4 | low);
        } else {
            to[n++] = '%';
            to[n++] = hex_digit_upper((unsigned)high);
            to[n++] = hex_digit_upper((unsigned)low);
        }
    }
    return n;
}

bool route_is_dots(struct str segment)
{
    unsigned dots = 0;

    while (segment.n) {
        if (segment.p[0] == '.')
            segment = str_skip(segment, 1);
        else if (segment.n >= 3 && segment.p[0] == '%' && segment.p[1] == '2' &&
                 (segment.p[2] | 0x20) == 'e')
            segment = str_skip(segment, 3);
        else
            return false;
        dots++;
    }
    return dots == 1 || dots == 2;
}

struct parser {
    const char *at, *end;
    struct arena *arena;
    struct route_template *template; /* with room for the most there can be */
    const char *cause;
};

static int wrong(struct parser *p, const char *cause)
{
    p->cause = cause;
    return -EINVAL;
}

static bool is_at(const struct parser *p, char c)
{
    return p->at < p->end && *p->at == c;
}

/* What RFC 3986 allows in a segment, and what a template does not use itself. */
static bool is_literal_char(char c)
{
    return is_unreserved(c) || (c && strchr("%!$&'()+,;=@:", c));
}

static int copy_normalized(struct parser *p, struct str text, struct str *ret)
{
    char normal[ROUTE_MAX_LITERAL];
    int n = route_normalize(text, normal);

    if (n < 0)
        return wrong(p, "has a literal that is too long or has a bad percent escape");
    *ret = arena_copy(p->arena, (struct str){normal, (size_t)n});
    return ret->p ? 0 : -ENOMEM;
}

static int add_segment(struct parser *p, enum route_segment_kind kind, struct str literal)
{
    struct route_template *t = p->template;
    struct route_segment *s = &t->segments[t->n_segments];

    if (t->n_segments == ROUTE_MAX_SEGMENTS)
        return wrong(p, "has too many segments");
    if (t->n_segments && s[-1].kind == ROUTE_REST)
        return wrong(p, "has something behind **");
    *s = (struct route_segment){.kind = kind};
    t->n_segments++;
    return kind == ROUTE_LITERAL ? copy_normalized(p, literal, &s->literal) : 0;
}

/* The last ':' of the last segment starts the verb, so a literal there ends before it. */
static const char *literal_end(const struct parser *p, bool in_variable)
{
    const char *end = p->at, *colon = NULL;

    for (; end < p->end && is_literal_char(*end); end++) {
        if (*end == ':')
            colon = end;
    }
    return end == p->end && colon && !in_variable ? colon : end;
}

static int parse_literal(struct parser *p, bool in_variable)
{
    const char *start = p->at;

    p->at = literal_end(p, in_variable);
    if (p->at == start)
        return wrong(p, start == p->end || strchr("/:}", *start)
                            ? "has an empty segment"
                            : "has a character that cannot be in a path template");
    if (route_is_dots((struct str){start, (size_t)(p->at - start)}))
        return wrong(p, "has a dot segment, which no path has");
    return add_segment(p, ROUTE_LITERAL, (struct str){start, (size_t)(p->at - start)});
}

static int parse_star(struct parser *p)
{
    p->at++;
    if (!is_at(p, '*'))
        return add_segment(p, ROUTE_STAR, STR_NULL);
    p->at++;
    return add_segment(p, ROUTE_REST, STR_NULL);
}

static int parse_plain_segments(struct parser *p)
{
    int err;

    for (;;) {
        err = is_at(p, '*') ? parse_star(p) : parse_literal(p, true);
        if (err || !is_at(p, '/'))
            return err;
        p->at++;
    }
}

static bool is_field_path_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

static int parse_variable(struct parser *p)
{
    struct route_template *t = p->template;
    struct route_variable *v = &t->variables[t->n_variables];
    const char *start = ++p->at;
    int err;

    if (t->n_variables == SCHEMA_MAX_CAPTURES)
        return wrong(p, "has too many variables");
    *v = (struct route_variable){.first = t->n_segments};
    while (p->at < p->end && is_field_path_char(*p->at))
        p->at++;
    v->field_path = arena_copy(p->arena, (struct str){start, (size_t)(p->at - start)});
    if (!v->field_path.p)
        return -ENOMEM;
    if (is_at(p, '=')) {
        p->at++;
        err = parse_plain_segments(p);
    } else {
        err = add_segment(p, ROUTE_STAR, STR_NULL);
    }
    if (err)
        return err;
    if (!is_at(p, '}'))
        return wrong(p, "has a variable that is not closed");
    p->at++;
    v->n = t->n_segments - v->first;
    v->multi = v->n > 1 || t->segments[v->first].kind == ROUTE_REST;
    t->n_variables++;
    return 0;
}

static int parse_segments(struct parser *p)
{
    int err;

    for (;;) {
        if (is_at(p, '{'))
            err = parse_variable(p);
        else
            err = is_at(p, '*') ? parse_star(p) : parse_literal(p, false);
        if (err || !is_at(p, '/'))
            return err;
        p->at++;
    }
}

static int parse_verb(struct parser *p)
{
    struct str verb;

    if (p->at == p->end)
        return 0;
    if (*p->at != ':')
        return wrong(p, "has a character that cannot be in a path template");
    verb = (struct str){p->at + 1, (size_t)(p->end - p->at) - 1};
    if (verb.n == 0)
        return wrong(p, "has an empty verb");
    for (size_t i = 0; i < verb.n; i++) {
        if (!is_literal_char(verb.p[i]) || verb.p[i] == ':')
            return wrong(p, "has a character that cannot be in a verb");
    }
    return copy_normalized(p, verb, &p->template->verb);
}

/* Copies an array to its size. */
static void *shrink(struct arena *arena, const void *from, size_t n, size_t size)
{
    void *to = arena_calloc(arena, n, size);

    if (to && n)
        memcpy(to, from, n * size);
    return to;
}

int route_parse(struct str text, struct arena *arena, struct route_template *ret,
                const char **ret_cause)
{
    struct route_segment segments[ROUTE_MAX_SEGMENTS];
    struct route_variable variables[SCHEMA_MAX_CAPTURES];
    struct parser p = {.at = text.p, .end = text.p + text.n, .arena = arena, .template = ret};
    int err = 0;

    *ret = (struct route_template){
        .text = arena_copy(arena, text),
        .segments = segments,
        .variables = variables,
        .verb = STR(""),
    };
    if (!ret->text.p)
        return -ENOMEM;
    if (text.n == 0 || *p.at++ != '/')
        err = wrong(&p, "does not start with /");
    else if (p.at < p.end) /* else "/" alone */
        err = parse_segments(&p);
    if (!err)
        err = parse_verb(&p);
    ret->segments = shrink(arena, segments, ret->n_segments, sizeof(*segments));
    ret->variables = shrink(arena, variables, ret->n_variables, sizeof(*variables));
    *ret_cause = p.cause;
    return ret->segments && ret->variables ? err : -ENOMEM;
}
