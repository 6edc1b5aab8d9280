/* buf.validate rules as JSON Schema keywords (JSON Schema Validation 2020-12). What they cannot say
 * (lengths in bytes, moments relative to now, bounds of 64-bit integers, which are strings in JSON)
 * becomes a sentence of the description. */
#include "openapi/internal.h"

#include <ctype.h>

struct target {
    struct document *d;
    json_t *keywords;
    const struct schema_rules *rules;
    enum schema_type type;
    const struct schema_enum *enumeration;
    struct buf *sentences;
};

void add_keyword(struct document *d, json_t *schema, const char *key, json_t *value)
{
    json_t *all, *one;

    if (!json_object_get(schema, key)) {
        put(d, schema, key, value);
        return;
    }
    all = json_object_get(schema, "allOf");
    if (!all) {
        all = json_array();
        put(d, schema, "allOf", all);
    }
    one = json_object();
    put(d, one, key, value);
    append(d, all, one);
}

static void set(const struct target *t, const char *key, json_t *value)
{
    add_keyword(t->d, t->keywords, key, value);
}

/* "must be in the past" -> "Must be in the past." */
static void say(const struct target *t, const char *sentence)
{
    if (t->sentences->n)
        buf_append_char(t->sentences, ' ');
    buf_append_char(t->sentences, (char)toupper((unsigned char)sentence[0]));
    buf_append_str(t->sentences, str_of(sentence + 1));
    buf_append_char(t->sentences, '.');
}

static bool is_64_bit(enum schema_type type)
{
    return type == SCHEMA_INT64 || type == SCHEMA_UINT64 || type == SCHEMA_FIXED64 ||
           type == SCHEMA_SFIXED64 || type == SCHEMA_SINT64;
}

/* ---- values ---- */

static json_t *value_json(const struct target *t, const struct rule_value *v)
{
    struct rule_domain domain = {t->rules->class, t->type, t->enumeration, false};
    struct buf b CLEANUP(buf_free) = {.max = 1 << 16};
    const struct schema_enum_value *e;

    if (t->rules->class == RULE_TEXT)
        return json_text(v->s);
    if (t->rules->class == RULE_FLOAT)
        return json_real(v->d);
    if (t->type == SCHEMA_BOOL)
        return json_boolean(v->i != 0);
    if (t->type == SCHEMA_ENUM) {
        e = schema_enum_by_number(t->enumeration, (int32_t)v->i);
        return e ? json_text(e->name) : json_integer((json_int_t)v->i);
    }
    if (!is_64_bit(t->type))
        return json_integer((json_int_t)v->i);
    rule_print(&b, &domain, v);
    return json_text(buf_str(&b));
}

static json_t *value_list(const struct target *t, const struct rule_check *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->n_values; i++)
        append(t->d, list, value_json(t, &c->values[i]));
    return list;
}

static json_t *object_of(struct document *d, const char *key, json_t *value)
{
    json_t *object = json_object();

    put(d, object, key, value);
    return object;
}

/* ---- numbers ---- */

static const char *bound_keyword(enum check_op op)
{
    switch (op) {
    case CHECK_LT:
        return "exclusiveMaximum";
    case CHECK_LTE:
        return "maximum";
    case CHECK_GT:
        return "exclusiveMinimum";
    default:
        return "minimum";
    }
}

/* 64-bit integers are strings: a pattern says which sign they have, words the rest. */
static void add_long_bound(const struct target *t, const struct rule_check *c)
{
    __int128 low = c->values[0].i + (c->op == CHECK_GT);

    if ((c->op == CHECK_GT || c->op == CHECK_GTE) && low >= 0)
        put(t->d, t->keywords, "pattern",
            json_string(low > 0 ? "^[1-9][0-9]*$" : "^(0|[1-9][0-9]*)$"));
    if (c->op == CHECK_LT || c->op == CHECK_LTE || low < 0 || low > 1)
        say(t, c->message.p);
}

static void add_outside(const struct target *t, const struct rule_check *c)
{
    json_t *any = json_array();

    append(t->d, any,
           object_of(t->d, bound_keyword(c->inclusive[0] ? CHECK_LTE : CHECK_LT),
                     value_json(t, &c->values[0])));
    append(t->d, any,
           object_of(t->d, bound_keyword(c->inclusive[1] ? CHECK_GTE : CHECK_GT),
                     value_json(t, &c->values[1])));
    set(t, "anyOf", any);
}

static void add_number(const struct target *t, const struct rule_check *c)
{
    switch (c->op) {
    case CHECK_LT:
    case CHECK_LTE:
    case CHECK_GT:
    case CHECK_GTE:
        if (is_64_bit(t->type))
            add_long_bound(t, c);
        else
            set(t, bound_keyword(c->op), value_json(t, &c->values[0]));
        break;
    case CHECK_OUTSIDE:
        if (is_64_bit(t->type))
            say(t, c->message.p);
        else
            add_outside(t, c);
        break;
    case CHECK_FINITE:
        set(t, "type", json_string("number"));
        break;
    default: /* CHECK_DEFINED: the schema of an enum has no other values */
        break;
    }
}

/* ---- text ---- */

/* Whether a pattern means in ECMA-262, which JSON Schema uses, what it means in RE2's syntax. */
static bool is_portable(struct str pattern)
{
    for (size_t i = 0; i + 1 < pattern.n; i++) {
        char c = pattern.p[i], next = pattern.p[i + 1];

        if (c == '\\' && strchr("AzZQEapPCx", next))
            return false;
        if (c == '(' && next == '?' && (i + 2 == pattern.n || pattern.p[i + 2] != ':'))
            return false;
        if (c == '[' && next == ':')
            return false;
        if (c == '\\')
            i++;
    }
    return true;
}

/* A pattern that finds just this text, at the start or at the end of the whole if so wanted. */
static json_t *literal_pattern(struct document *d, const char *before, struct str s,
                               const char *after)
{
    struct buf b CLEANUP(buf_free) = {.max = 1 << 16};

    buf_append_str(&b, str_of(before));
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] && strchr("\\^$.|?*+()[]{}/-", s.p[i]))
            buf_append_char(&b, '\\');
        buf_append_char(&b, s.p[i]);
    }
    buf_append_str(&b, str_of(after));
    return json_text(keep(d, &b));
}

static void add_format(const struct target *t, const struct rule_check *c)
{
    static const struct {
        rule_format *format;
        const char *name;
    } names[] = {
        {format_email, "email"},
        {format_hostname, "hostname"},
        {format_ipv4, "ipv4"},
        {format_ipv6, "ipv6"},
        {format_uri, "uri"},
        {format_uuid, "uuid"},
        {format_uri_ref, "uri-reference"},
    };
    json_t *any;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].format == c->format) {
            set(t, "format", json_string(names[i].name));
            return;
        }
    }
    any = json_array(); /* format_ip */
    append(t->d, any, object_of(t->d, "format", json_string("ipv4")));
    append(t->d, any, object_of(t->d, "format", json_string("ipv6")));
    set(t, "anyOf", any);
}

static void say_bytes(const struct target *t, const char *words, const struct rule_check *c)
{
    struct str sentence = text(t->d, "%s %lld bytes", words, (long long)c->values[0].i);

    if (sentence.n)
        say(t, sentence.p);
}

static void add_length(const struct target *t, const struct rule_check *c)
{
    json_int_t n = (json_int_t)c->values[0].i;

    switch (c->op) {
    case CHECK_LENGTH:
        set(t, "minLength", json_integer(n));
        set(t, "maxLength", json_integer(n));
        break;
    case CHECK_MIN_LENGTH:
        set(t, "minLength", json_integer(n));
        break;
    case CHECK_MAX_LENGTH:
        set(t, "maxLength", json_integer(n));
        break;
    case CHECK_SIZE:
        say_bytes(t, "exactly", c);
        break;
    case CHECK_MIN_SIZE:
        say_bytes(t, "at least", c);
        break;
    default: /* CHECK_MAX_SIZE */
        say_bytes(t, "at most", c);
        break;
    }
}

static void add_text(const struct target *t, const struct rule_check *c)
{
    struct str value = c->n_values ? c->values[0].s : STR("");

    switch (c->op) {
    case CHECK_NOT_BLANK:
        set(t, "pattern", json_string("\\S"));
        break;
    case CHECK_PATTERN:
        if (is_portable(value))
            set(t, "pattern", json_text(value));
        else
            say(t, c->message.p);
        break;
    case CHECK_PREFIX:
        set(t, "pattern", literal_pattern(t->d, "^", value, ""));
        break;
    case CHECK_SUFFIX:
        set(t, "pattern", literal_pattern(t->d, "", value, "$"));
        break;
    case CHECK_CONTAINS:
        set(t, "pattern", literal_pattern(t->d, "", value, ""));
        break;
    case CHECK_NOT_CONTAINS:
        set(t, "not", object_of(t->d, "pattern", literal_pattern(t->d, "", value, "")));
        break;
    case CHECK_FORMAT:
        add_format(t, c);
        break;
    default:
        add_length(t, c);
        break;
    }
}

/* ---- lists and maps ---- */

static void add_list(const struct target *t, const struct rule_check *c, bool map)
{
    if (c->op == CHECK_UNIQUE)
        set(t, "uniqueItems", json_true());
    else if (c->op == CHECK_MIN_ITEMS)
        set(t, map ? "minProperties" : "minItems", json_integer((json_int_t)c->values[0].i));
    else
        set(t, map ? "maxProperties" : "maxItems", json_integer((json_int_t)c->values[0].i));
}

/* ---- the whole ---- */

static void add_check(const struct target *t, const struct rule_check *c, bool map)
{
    if (t->rules->class == RULE_LIST) {
        add_list(t, c, map);
        return;
    }
    /* Times are text in JSON, and so are bytes, in another form than the rule's. */
    if (t->rules->class == RULE_TIME ||
        (t->type == SCHEMA_BYTES && (c->op < CHECK_LENGTH || c->op > CHECK_MAX_SIZE))) {
        say(t, c->message.p);
        return;
    }
    if (c->op == CHECK_CONST)
        set(t, "const", value_json(t, &c->values[0]));
    else if (c->op == CHECK_IN)
        set(t, "enum", value_list(t, c));
    else if (c->op == CHECK_NOT_IN)
        set(t, "not", object_of(t->d, "enum", value_list(t, c)));
    else if (t->rules->class == RULE_TEXT)
        add_text(t, c);
    else
        add_number(t, c);
}

/* `required` without presence: not the zero value. */
static void add_not_zero(const struct target *t, const struct schema_field *f)
{
    if (f->map)
        put(t->d, t->keywords, "minProperties", json_integer(1));
    else if (f->repeated)
        put(t->d, t->keywords, "minItems", json_integer(1));
    else if (t->type == SCHEMA_STRING || t->type == SCHEMA_BYTES)
        put(t->d, t->keywords, "minLength", json_integer(1));
    else if (t->type == SCHEMA_BOOL)
        put(t->d, t->keywords, "const", json_true());
    else if (t->type == SCHEMA_ENUM)
        set(t, "not", object_of(t->d, "const", json_text(t->enumeration->values[0].name)));
    else
        set(t, "not",
            object_of(t->d, "const", is_64_bit(t->type) ? json_string("0") : json_integer(0)));
}

static json_t *zero_json(const struct target *t, const struct schema_field *f)
{
    const struct rule_value zero = {.s = STR("")};

    if (f && f->map)
        return json_object();
    if (f && f->repeated)
        return json_array();
    if (t->type == SCHEMA_BYTES)
        return json_string("");
    return value_json(t, &zero);
}

/* Puts the keywords beside those of the type. A pattern of theirs is narrower than the type's. */
static void merge(struct document *d, json_t *schema, json_t *keywords)
{
    const char *key;
    json_t *value;

    json_object_foreach(keywords, key, value)
    {
        if (strcmp(key, "pattern") == 0 || strcmp(key, "type") == 0)
            put(d, schema, key, json_incref(value));
        else
            add_keyword(d, schema, key, json_incref(value));
    }
}

void add_rules(struct document *d, json_t *schema, const struct schema_rules *rules,
               enum schema_type type, const struct schema_enum *enumeration,
               const struct schema_field *f, struct buf *sentences)
{
    struct target t = {d, NULL, rules, type, enumeration, sentences};
    json_t *any;

    if (!rules || rules->ignore == IGNORE_ALWAYS)
        return;
    t.keywords = json_object();
    for (size_t i = 0; i < rules->n_checks; i++)
        add_check(&t, &rules->checks[i], f && f->map);
    if (rules->required && f && !f->presence && rules->ignore == IGNORE_UNSET)
        add_not_zero(&t, f);
    if (rules->ignore == IGNORE_ZERO && json_object_size(t.keywords) && rules->class != RULE_TIME) {
        any = json_array();
        append(d, any, object_of(d, "const", zero_json(&t, f)));
        append(d, any, t.keywords);
        add_keyword(d, schema, "anyOf", any);
        return;
    }
    merge(d, schema, t.keywords);
    json_decref(t.keywords);
}
