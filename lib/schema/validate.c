/* Applies the compiled buf.validate rules to a decoded message. No state; any thread. */
#include "schema/rules.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_VIOLATIONS 64
#define MAX_DEPTH 100
/* What a pattern may cost on one value; beyond that it counts as not matched. */
#define PATTERN_MATCH_LIMIT 1000000
#define PATTERN_DEPTH_LIMIT 10000
#define PATTERN_HEAP_KIB 4096

/* The way from the top to the value under test, on the stack; becomes text only for a violation. */
struct path {
    const struct path *up;
    struct str name; /* of a field or oneof; {NULL, 0}: an item of the field above */
    bool keyed;      /* the item of a map */
    size_t index;
    struct str key; /* as it is printed */
    unsigned depth; /* of messages */
};

struct validation {
    struct arena *arena;
    struct schema_fault *faults;
    int n;
    int err;        /* -ENOMEM */
    int64_t now_us; /* 0: not asked yet */
    pcre2_match_data *match_data;
    pcre2_match_context *match_context;
};

/* ---- violations ---- */

static struct str path_text(struct arena *arena, const struct path *p)
{
    struct str up;

    if (!p)
        return STR("");
    up = path_text(arena, p->up);
    if (p->name.p)
        return arena_printf(arena, "%.*s%s%.*s", STR_FMT(up), up.n ? "." : "", STR_FMT(p->name));
    if (p->keyed)
        return arena_printf(arena, "%.*s[%.*s]", STR_FMT(up), STR_FMT(p->key));
    return arena_printf(arena, "%.*s[%zu]", STR_FMT(up), p->index);
}

static bool is_over(const struct validation *v)
{
    return v->err || v->n == MAX_VIOLATIONS;
}

static void violation(struct validation *v, const struct path *at, struct str message)
{
    struct schema_fault *f;

    if (is_over(v))
        return;
    if (!v->faults)
        v->faults = arena_calloc(v->arena, MAX_VIOLATIONS, sizeof(*v->faults));
    if (!v->faults) {
        v->err = -ENOMEM;
        return;
    }
    f = &v->faults[v->n];
    f->path = path_text(v->arena, at);
    f->message = message;
    if (f->path.p)
        v->n++;
    else
        v->err = -ENOMEM;
}

/* ---- single checks: whether a value passes ---- */

static bool is_among(const struct rule_check *c, const struct rule_value *value,
                     enum rule_class class)
{
    for (size_t i = 0; i < c->n_values; i++) {
        const struct rule_value *x = &c->values[i];

        if (class == RULE_TEXT    ? str_eq(x->s, value->s)
            : class == RULE_FLOAT ? x->d == value->d
                                  : x->i == value->i)
            return true;
    }
    return false;
}

static bool is_outside(const struct rule_check *c, const struct rule_value *x,
                       enum rule_class class)
{
    const struct rule_value *high = &c->values[0], *low = &c->values[1];

    if (class == RULE_FLOAT)
        return x->d < high->d || x->d > low->d || (c->inclusive[0] && x->d == high->d) ||
               (c->inclusive[1] && x->d == low->d);
    return x->i < high->i || x->i > low->i || (c->inclusive[0] && x->i == high->i) ||
           (c->inclusive[1] && x->i == low->i);
}

/* Comparisons with NaN are false, so that NaN passes no bound. */
static bool passes_float(const struct rule_check *c, double d)
{
    switch (c->op) {
    case CHECK_LT:
        return d < c->values[0].d;
    case CHECK_LTE:
        return d <= c->values[0].d;
    case CHECK_GT:
        return d > c->values[0].d;
    case CHECK_GTE:
        return d >= c->values[0].d;
    default:
        return isfinite(d);
    }
}

static __int128 now_ns(struct validation *v)
{
    if (v->now_us == 0)
        v->now_us = clock_realtime_us();
    return (__int128)v->now_us * NSEC_PER_USEC;
}

static bool passes_integer(struct validation *v, const struct rule_check *c, __int128 i)
{
    __int128 distance;

    switch (c->op) {
    case CHECK_LT:
        return i < c->values[0].i;
    case CHECK_LTE:
        return i <= c->values[0].i;
    case CHECK_GT:
        return i > c->values[0].i;
    case CHECK_GTE:
        return i >= c->values[0].i;
    case CHECK_DEFINED:
        return schema_enum_by_number(c->enumeration, (int32_t)i) != NULL;
    case CHECK_PAST:
        return i < now_ns(v);
    case CHECK_FUTURE:
        return i > now_ns(v);
    default: /* CHECK_WITHIN */
        distance = i - now_ns(v);
        return (distance < 0 ? -distance : distance) <= c->values[0].i;
    }
}

/* Code points of valid UTF-8: every byte but the continuations. */
static size_t length_of(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
    return n;
}

static bool passes_length(const struct rule_check *c, struct str s)
{
    __int128 limit = c->values[0].i;

    switch (c->op) {
    case CHECK_LENGTH:
        return (__int128)length_of(s) == limit;
    case CHECK_MIN_LENGTH:
        return (__int128)s.n >= limit && (__int128)length_of(s) >= limit;
    case CHECK_MAX_LENGTH:
        return (__int128)s.n <= limit || (__int128)length_of(s) <= limit;
    case CHECK_SIZE:
        return (__int128)s.n == limit;
    case CHECK_MIN_SIZE:
        return (__int128)s.n >= limit;
    default: /* CHECK_MAX_SIZE */
        return (__int128)s.n <= limit;
    }
}

static bool prepare_patterns(struct validation *v)
{
    if (v->match_data)
        return true;
    v->match_data = pcre2_match_data_create(1, NULL);
    v->match_context = pcre2_match_context_create(NULL);
    if (!v->match_data || !v->match_context)
        return false;
    pcre2_set_match_limit(v->match_context, PATTERN_MATCH_LIMIT);
    pcre2_set_depth_limit(v->match_context, PATTERN_DEPTH_LIMIT);
    pcre2_set_heap_limit(v->match_context, PATTERN_HEAP_KIB);
    return true;
}

static bool passes_pattern(struct validation *v, const struct rule_check *c, struct str s)
{
    int got = PCRE2_ERROR_NOMEMORY;

    if (prepare_patterns(v))
        got = pcre2_match(c->pattern, (PCRE2_SPTR)(s.p ? s.p : ""), s.n, 0, 0, v->match_data,
                          v->match_context);
    if (got == PCRE2_ERROR_NOMEMORY)
        v->err = -ENOMEM;
    return got >= 0;
}

/* As RE2's \S: anything but space, \t, \n, \f and \r. */
static bool is_blank(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\n' && s.p[i] != '\f' && s.p[i] != '\r')
            return false;
    }
    return true;
}

static bool contains(struct str s, struct str part)
{
    return part.n == 0 || (s.n && memmem(s.p, s.n, part.p, part.n));
}

static bool passes_text(struct validation *v, const struct rule_check *c, struct str s)
{
    switch (c->op) {
    case CHECK_NOT_BLANK:
        return !is_blank(s);
    case CHECK_PATTERN:
        return passes_pattern(v, c, s);
    case CHECK_PREFIX:
        return str_starts(s, c->values[0].s);
    case CHECK_SUFFIX:
        return str_ends(s, c->values[0].s);
    case CHECK_CONTAINS:
        return contains(s, c->values[0].s);
    case CHECK_NOT_CONTAINS:
        return !contains(s, c->values[0].s);
    case CHECK_FORMAT:
        return c->format(s);
    default:
        return passes_length(c, s);
    }
}

static bool passes(struct validation *v, const struct schema_rules *rules,
                   const struct rule_check *c, const struct rule_value *value)
{
    switch (c->op) {
    case CHECK_CONST:
    case CHECK_IN:
        return is_among(c, value, rules->class);
    case CHECK_NOT_IN:
        return !is_among(c, value, rules->class);
    case CHECK_OUTSIDE:
        return is_outside(c, value, rules->class);
    default:
        break;
    }
    if (rules->class == RULE_TEXT)
        return passes_text(v, c, value->s);
    if (rules->class == RULE_FLOAT)
        return passes_float(c, value->d);
    return passes_integer(v, c, value->i);
}

/* ---- values ---- */

static const struct str blank = STR("can't be blank");

/* An empty or blank text that breaks rules is reported once, as blank. */
static bool is_blank_violation(const struct rule_check *c, const struct schema_rules *rules,
                               const struct rule_value *value)
{
    return rules->class == RULE_TEXT && (value->s.n == 0 || c->op == CHECK_NOT_BLANK);
}

static void check_value(struct validation *v, const struct schema_rules *rules,
                        const struct rule_value *value, const struct path *at)
{
    int before = v->n;

    for (size_t i = 0; i < rules->n_checks && !is_over(v); i++) {
        const struct rule_check *c = &rules->checks[i];

        if (passes(v, rules, c, value) || is_over(v))
            continue;
        if (is_blank_violation(c, rules, value)) {
            v->n = before;
            violation(v, at, blank);
            return;
        }
        violation(v, at, c->message);
    }
}

static void check_message(struct validation *v, const struct schema_message *type,
                          const ProtobufCMessage *message, const struct path *at);

static const ProtobufCFieldDescriptor *descriptor_of(const ProtobufCMessage *message,
                                                     const struct schema_message *type, size_t i)
{
    const ProtobufCMessageDescriptor *d = message->descriptor;

    /* Both are sorted by number. */
    if (i < d->n_fields && d->fields[i].id == type->fields[i].number)
        return &d->fields[i];
    return protobuf_c_message_descriptor_get_field(d, type->fields[i].number);
}

/* One value that is there: of a singular field, an item, or a key or value of a map. */
static void check_element(struct validation *v, const struct schema_rules *rules,
                          const struct schema_message *type, ProtobufCType c_type, const void *in,
                          const struct path *at)
{
    const ProtobufCMessage *message;
    struct rule_value value;

    if (rules && rules->ignore == IGNORE_ZERO && rule_is_zero(c_type, in))
        return;
    if (c_type != PROTOBUF_C_TYPE_MESSAGE) {
        value = rule_read(c_type, in);
        if (rules)
            check_value(v, rules, &value, at);
        return;
    }
    message = *(ProtobufCMessage *const *)in;
    if (!message)
        return;
    if (rules && rules->class == RULE_TIME) {
        value = rule_read(c_type, in);
        check_value(v, rules, &value, at);
    } else if (rules && rules->n_checks) { /* a wrapper: the rules are for what it holds */
        const ProtobufCFieldDescriptor *f = descriptor_of(message, type, 0);

        value = rule_read(f->type, (const char *)message + f->offset);
        check_value(v, rules, &value, at);
    }
    check_message(v, type, message, at);
}

/* ---- repeated fields and maps ---- */

/* An item has no presence: `required` means that it is not zero. */
static void check_item(struct validation *v, const struct schema_rules *rules,
                       const struct schema_message *type, ProtobufCType c_type, const void *in,
                       const struct path *at)
{
    if (rules && rules->ignore == IGNORE_ALWAYS)
        return;
    if (rules && rules->required && rule_is_zero(c_type, in))
        violation(v, at, blank);
    else
        check_element(v, rules, type, c_type, in, at);
}

static int compare_items(const void *a, const void *b)
{
    const struct str *s = a, *t = b;
    size_t n = s->n < t->n ? s->n : t->n;
    int order = n ? memcmp(s->p, t->p, n) : 0;

    return order ? order : s->n < t->n ? -1 : s->n > t->n;
}

static bool has_doubles(struct validation *v, const ProtobufCFieldDescriptor *f, const char *items,
                        size_t n)
{
    size_t size = rule_element_size(f->type);
    struct str *sorted = arena_calloc(v->arena, n, sizeof(*sorted));
    bool text = f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_BYTES;

    if (!sorted) {
        v->err = -ENOMEM;
        return false;
    }
    for (size_t i = 0; i < n; i++)
        sorted[i] =
            text ? rule_read(f->type, items + i * size).s : (struct str){items + i * size, size};
    qsort(sorted, n, sizeof(*sorted), compare_items);
    for (size_t i = 1; i < n; i++) {
        if (str_eq(sorted[i], sorted[i - 1]))
            return true;
    }
    return false;
}

static void check_list_rules(struct validation *v, const struct schema_rules *rules,
                             const ProtobufCFieldDescriptor *f, const char *items, size_t n,
                             const struct path *at)
{
    for (size_t i = 0; i < rules->n_checks; i++) {
        const struct rule_check *c = &rules->checks[i];
        bool ok;

        if (c->op == CHECK_MIN_ITEMS)
            ok = (__int128)n >= c->values[0].i;
        else if (c->op == CHECK_MAX_ITEMS)
            ok = (__int128)n <= c->values[0].i;
        else
            ok = !has_doubles(v, f, items, n);
        if (!ok)
            violation(v, at, c->message);
    }
}

/* "\"a\"" or "5", made only when there is a map with rules. */
static struct str key_text(struct arena *arena, const ProtobufCFieldDescriptor *f, const void *at)
{
    struct rule_value key = rule_read(f->type, at);

    if (f->type == PROTOBUF_C_TYPE_STRING)
        return arena_printf(arena, "\"%.*s\"", STR_FMT(key.s));
    if (f->type == PROTOBUF_C_TYPE_BOOL)
        return key.i ? STR("true") : STR("false");
    if (key.i > INT64_MAX)
        return arena_printf(arena, "%llu", (unsigned long long)key.i);
    return arena_printf(arena, "%lld", (long long)key.i);
}

static void check_entry(struct validation *v, const struct schema_rules *rules,
                        const struct schema_message *type, const ProtobufCMessage *entry,
                        struct path *at)
{
    const ProtobufCFieldDescriptor *key = descriptor_of(entry, type, 0);
    const ProtobufCFieldDescriptor *value = descriptor_of(entry, type, 1);

    assert(key && value);
    at->keyed = true;
    at->key = key_text(v->arena, key, (const char *)entry + key->offset);
    if (!at->key.p) {
        v->err = -ENOMEM;
        return;
    }
    check_item(v, rules ? rules->keys : NULL, NULL, key->type, (const char *)entry + key->offset,
               at);
    check_item(v, rules ? rules->items : NULL, type->fields[1].message, value->type,
               (const char *)entry + value->offset, at);
}

static void check_list(struct validation *v, const struct schema_field *field,
                       const ProtobufCFieldDescriptor *f, const ProtobufCMessage *message,
                       const struct path *at)
{
    const struct schema_rules *rules = field->rules;
    size_t n = *(const size_t *)((const char *)message + f->quantifier_offset);
    const char *items = *(char *const *)((const char *)message + f->offset);
    bool below =
        (rules && (rules->items || rules->keys)) || (field->message && field->message->has_rules);

    if (rules)
        check_list_rules(v, rules, f, items, n, at);
    for (size_t i = 0; below && i < n && !is_over(v); i++) {
        const void *item = items + i * rule_element_size(f->type);
        struct path here = {.up = at, .index = i, .depth = at->depth};

        if (field->map)
            check_entry(v, rules, field->message, *(ProtobufCMessage *const *)item, &here);
        else
            check_item(v, rules ? rules->items : NULL, field->message, f->type, item, &here);
    }
}

/* ---- messages ---- */

static void check_field(struct validation *v, const struct schema_field *field,
                        const ProtobufCFieldDescriptor *f, const ProtobufCMessage *message,
                        const struct path *up, unsigned depth)
{
    const struct schema_rules *rules = field->rules;
    const struct path here = {.up = up, .name = field->name, .depth = depth};
    bool set = rule_is_set(message, f);

    if (rules && rules->ignore == IGNORE_ALWAYS)
        return;
    if (rules && rules->required && !set) {
        violation(v, &here, blank);
        return;
    }
    /* Without presence the zero value is checked too. */
    if (!set && (field->presence || (rules && rules->ignore == IGNORE_ZERO)))
        return;
    if (field->repeated)
        check_list(v, field, f, message, &here);
    else
        check_element(v, rules, field->message, f->type, (const char *)message + f->offset, &here);
}

static void check_oneofs(struct validation *v, const struct schema_message *type,
                         const ProtobufCMessage *message, const struct path *up, unsigned depth)
{
    for (size_t i = 0; i < type->n_oneofs; i++) {
        const struct path here = {.up = up, .name = type->oneofs[i].name, .depth = depth};
        bool set = !type->oneofs[i].required;

        for (size_t j = 0; !set && j < type->n_fields; j++) {
            const ProtobufCFieldDescriptor *f = descriptor_of(message, type, j);

            set = type->fields[j].oneof == (int)i && f && rule_is_set(message, f);
        }
        if (!set)
            violation(v, &here, blank);
    }
}

static void check_message(struct validation *v, const struct schema_message *type,
                          const ProtobufCMessage *message, const struct path *up)
{
    unsigned depth = up ? up->depth + 1 : 1;

    if (!type->has_rules)
        return;
    if (depth > MAX_DEPTH) {
        violation(v, up, STR("is nested too deeply"));
        return;
    }
    for (size_t i = 0; i < type->n_fields && !is_over(v); i++) {
        const struct schema_field *field = &type->fields[i];
        const ProtobufCFieldDescriptor *f;

        if (field->extension || (!field->rules && !(field->message && field->message->has_rules)))
            continue;
        f = descriptor_of(message, type, i);
        assert(f); /* the generated code and the descriptor set are of one build */
        check_field(v, field, f, message, up, depth);
    }
    check_oneofs(v, type, message, up, depth);
}

int rules_accept_zero(const struct schema_rules *rules)
{
    const struct rule_value zero = {.s = STR("")};
    struct validation v = {0};
    bool ok = !rules->required || rules->ignore == IGNORE_ALWAYS;

    for (size_t i = 0; ok && rules->ignore == IGNORE_UNSET && i < rules->n_checks; i++) {
        const struct rule_check *c = &rules->checks[i];

        if (rules->class == RULE_LIST)
            ok = c->op != CHECK_MIN_ITEMS || c->values[0].i <= 0;
        else
            ok = passes(&v, rules, c, &zero);
    }
    pcre2_match_data_free(v.match_data);
    pcre2_match_context_free(v.match_context);
    return v.err ? v.err : ok;
}

int schema_validate(const struct schema_message *type, const ProtobufCMessage *message,
                    struct arena *arena, struct schema_fault **ret_violations)
{
    struct validation v = {.arena = arena};

    check_message(&v, type, message, NULL);
    pcre2_match_data_free(v.match_data);
    pcre2_match_context_free(v.match_context);
    *ret_violations = v.faults;
    return v.err ? v.err : v.n;
}
