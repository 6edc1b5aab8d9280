/* Compiles buf.validate options into lists of checks, at load. A rule that is unknown, of the wrong
 * type for its field or has a bad pattern is an error here, never at a request. */
#include "schema/rules.h"
#include "schema/load.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <buf/validate/validate.pb-c.h>

#define OPTION_NUMBER 1159
#define MAX_CHECKS 24 /* more than any type has rules */

/* Patterns have machine code outside the arena. */
struct schema_rules_list {
    struct schema_rules_list *next;
    pcre2_code *pattern;
};

/* What rules are for: a field, its items, or the keys or values of a map. */
struct subject {
    struct load *load;
    uint32_t file;
    struct str element; /* "stoa.posts.v1.Article.tag_list" */
    enum schema_type type;
    const struct schema_message *message;
    const struct schema_enum *enumeration;
    bool repeated, map;
};

/* Checks that are being collected. */
struct collect {
    const struct subject *of;
    struct rule_domain domain;
    struct rule_check checks[MAX_CHECKS];
    size_t n;
    const struct rule_value *low, *high; /* of gt/gte and lt/lte, settled at the end */
    bool low_inclusive, high_inclusive;
};

#define FAIL(subject, ...) \
    load_fail((subject)->load, (subject)->file, (subject)->element, __VA_ARGS__)

static struct arena *arena_of(const struct collect *c)
{
    return &c->of->load->schema->arena;
}

/* ---- all rules, by name ---- */

struct rule_name {
    const char *name;
    enum check_op op;
    bool flag; /* a bool that turns the check on */
    const char *words;
    const char *unit, *plural; /* when words has a count in it */
    rule_format *format;
};

#define CHARS "character", "characters"
#define BYTES "byte", "bytes"

static const struct rule_name names[] = {
    {"const", CHECK_CONST, false, "must be ", NULL, NULL, NULL},
    {"in", CHECK_IN, false, "must be one of: ", NULL, NULL, NULL},
    {"not_in", CHECK_NOT_IN, false, "must be none of: ", NULL, NULL, NULL},
    {"lt", CHECK_LT, false, NULL, NULL, NULL, NULL},
    {"lte", CHECK_LTE, false, NULL, NULL, NULL, NULL},
    {"gt", CHECK_GT, false, NULL, NULL, NULL, NULL},
    {"gte", CHECK_GTE, false, NULL, NULL, NULL, NULL},
    {"finite", CHECK_FINITE, true, "must be a finite number", NULL, NULL, NULL},
    {"defined_only", CHECK_DEFINED, true, "must be a known value", NULL, NULL, NULL},
    {"lt_now", CHECK_PAST, true, "must be in the past", NULL, NULL, NULL},
    {"gt_now", CHECK_FUTURE, true, "must be in the future", NULL, NULL, NULL},
    {"within", CHECK_WITHIN, false, NULL, NULL, NULL, NULL},
    {"len", CHECK_LENGTH, false, "has the wrong length (must be ", CHARS, NULL},
    {"min_len", CHECK_MIN_LENGTH, false, "is too short (minimum is ", CHARS, NULL},
    {"max_len", CHECK_MAX_LENGTH, false, "is too long (maximum is ", CHARS, NULL},
    {"len_bytes", CHECK_SIZE, false, "has the wrong length (must be ", BYTES, NULL},
    {"min_bytes", CHECK_MIN_SIZE, false, "is too short (minimum is ", BYTES, NULL},
    {"max_bytes", CHECK_MAX_SIZE, false, "is too long (maximum is ", BYTES, NULL},
    {"pattern", CHECK_PATTERN, false, NULL, NULL, NULL, NULL},
    {"prefix", CHECK_PREFIX, false, "must start with ", NULL, NULL, NULL},
    {"suffix", CHECK_SUFFIX, false, "must end with ", NULL, NULL, NULL},
    {"contains", CHECK_CONTAINS, false, "must contain ", NULL, NULL, NULL},
    {"not_contains", CHECK_NOT_CONTAINS, false, "must not contain ", NULL, NULL, NULL},
    {"email", CHECK_FORMAT, true, "is not a valid email address", NULL, NULL, format_email},
    {"hostname", CHECK_FORMAT, true, "is not a valid host name", NULL, NULL, format_hostname},
    {"ip", CHECK_FORMAT, true, "is not a valid IP address", NULL, NULL, format_ip},
    {"ipv4", CHECK_FORMAT, true, "is not a valid IPv4 address", NULL, NULL, format_ipv4},
    {"ipv6", CHECK_FORMAT, true, "is not a valid IPv6 address", NULL, NULL, format_ipv6},
    {"uri", CHECK_FORMAT, true, "is not a valid URI", NULL, NULL, format_uri},
    {"uri_ref", CHECK_FORMAT, true, "is not a valid URI reference", NULL, NULL, format_uri_ref},
    {"uuid", CHECK_FORMAT, true, "is not a valid UUID", NULL, NULL, format_uuid},
    {"min_items", CHECK_MIN_ITEMS, false, "has too few items (minimum is ", "", "", NULL},
    {"max_items", CHECK_MAX_ITEMS, false, "has too many items (maximum is ", "", "", NULL},
    {"min_pairs", CHECK_MIN_ITEMS, false, "has too few entries (minimum is ", "", "", NULL},
    {"max_pairs", CHECK_MAX_ITEMS, false, "has too many entries (maximum is ", "", "", NULL},
    {"unique", CHECK_UNIQUE, true, "has doubled items", NULL, NULL, NULL},
};

/* ---- words ---- */

/* `must start with "x"`, `must be one of: a, b` */
static int value_message(const struct collect *c, struct rule_check *check, const char *before)
{
    bool list = check->op == CHECK_IN || check->op == CHECK_NOT_IN;
    struct str quote = c->domain.type == SCHEMA_STRING && !list ? STR("\"") : STR("");
    struct buf b CLEANUP(buf_free) = {.max = 64 << 10};

    buf_append_str(&b, str_of(before));
    for (size_t i = 0; i < check->n_values; i++) {
        if (i)
            buf_append_str(&b, STR(", "));
        buf_append_str(&b, quote);
        rule_print(&b, &c->domain, &check->values[i]);
        buf_append_str(&b, quote);
    }
    if (b.no_memory)
        return -ENOMEM;
    if (b.failed)
        return FAIL(c->of, "a list of values is too long");
    check->message = arena_copy(arena_of(c), buf_str(&b));
    return check->message.p ? 0 : -ENOMEM;
}

/* "is too short (minimum is 8 characters)" */
static int count_message(const struct collect *c, struct rule_check *check,
                         const struct rule_name *rule)
{
    uint64_t n = (uint64_t)check->values[0].i;
    bool bytes = c->domain.type == SCHEMA_BYTES;
    const char *unit = bytes ? "byte" : rule->unit, *plural = bytes ? "bytes" : rule->plural;

    check->message = arena_printf(arena_of(c), "%s%llu%s%s)", rule->words, (unsigned long long)n,
                                  *unit ? " " : "", n == 1 ? unit : plural);
    return check->message.p ? 0 : -ENOMEM;
}

/* ---- one rule ---- */

static int copy_text(const struct collect *c, struct rule_value *v)
{
    if (!v->s.n) {
        v->s = STR("");
        return 0;
    }
    v->s = arena_copy(arena_of(c), v->s);
    return v->s.p ? 0 : -ENOMEM;
}

/* The values of a rule, one or (of in, not_in) several. */
static int copy_values(const struct collect *c, const ProtobufCMessage *rules,
                       const ProtobufCFieldDescriptor *f, struct rule_check *check)
{
    const char *at = (const char *)rules + f->offset;
    struct rule_value *values;
    size_t n = 1;

    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        n = *(const size_t *)((const char *)rules + f->quantifier_offset);
        at = *(char *const *)at;
    }
    values = arena_calloc(arena_of(c), n, sizeof(*values));
    if (!values)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        values[i] = rule_read(f->type, at + i * rule_element_size(f->type));
        if (copy_text(c, &values[i]))
            return -ENOMEM;
    }
    check->values = values;
    check->n_values = n;
    return 0;
}

static int compile_pattern(const struct collect *c, struct rule_check *check)
{
    struct schema *schema = c->of->load->schema;
    struct str pattern = check->values[0].s;
    struct schema_rules_list *item;
    int code;
    size_t at;

    if (str_eq(pattern, STR("\\S"))) {
        check->op = CHECK_NOT_BLANK;
        check->message = STR("can't be blank");
        return 0;
    }
    item = arena_calloc(&schema->arena, 1, sizeof(*item));
    if (!item)
        return -ENOMEM;
    item->pattern =
        pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n,
                      PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!item->pattern && code == PCRE2_ERROR_HEAP_FAILED)
        return -ENOMEM;
    if (!item->pattern)
        return FAIL(c->of, "pattern \"%s\" is wrong at offset %zu", pattern.p, at);
    item->next = schema->rules;
    schema->rules = item;
    /* Where machine code may not be made, the interpreter does the work. */
    (void)pcre2_jit_compile(item->pattern, PCRE2_JIT_COMPLETE);
    check->pattern = item->pattern;
    check->message = arena_printf(&schema->arena, "must match the pattern %s", pattern.p);
    return check->message.p ? 0 : -ENOMEM;
}

void schema_rules_free(struct schema_rules_list *rules)
{
    for (; rules; rules = rules->next)
        pcre2_code_free(rules->pattern);
}

/* gt/gte (low) and lt/lte (high) are put together when all rules are read. */
static void note_bound(struct collect *c, const struct rule_check *check)
{
    if (check->op == CHECK_LT || check->op == CHECK_LTE) {
        c->high = check->values;
        c->high_inclusive = check->op == CHECK_LTE;
    } else {
        c->low = check->values;
        c->low_inclusive = check->op == CHECK_GTE;
    }
}

static bool is_bound(enum check_op op)
{
    return op == CHECK_LT || op == CHECK_LTE || op == CHECK_GT || op == CHECK_GTE;
}

/* A length of bytes counts bytes. */
static enum check_op op_for(const struct collect *c, enum check_op op)
{
    if (c->domain.type != SCHEMA_BYTES || op < CHECK_LENGTH || op > CHECK_MAX_LENGTH)
        return op;
    return op - CHECK_LENGTH + CHECK_SIZE;
}

static int within_message(const struct collect *c, struct rule_check *check)
{
    const struct rule_domain duration = {.class = RULE_TIME};
    struct buf b CLEANUP(buf_free) = {.max = 256};

    buf_append_str(&b, STR("must be within "));
    rule_print(&b, &duration, &check->values[0]);
    buf_append_str(&b, STR(" of now"));
    check->message = arena_copy(arena_of(c), buf_str(&b));
    return check->message.p ? 0 : -ENOMEM;
}

static int finish_check(const struct collect *c, struct rule_check *check,
                        const struct rule_name *rule)
{
    bool has_value = check->op == CHECK_PATTERN || check->op == CHECK_WITHIN || rule->unit;

    assert(!has_value || check->values);
    if (check->op == CHECK_PATTERN)
        return compile_pattern(c, check);
    if (check->op == CHECK_WITHIN)
        return within_message(c, check);
    if (rule->unit)
        return count_message(c, check, rule);
    return value_message(c, check, rule->words);
}

static const struct rule_name *find_rule(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i].name, name) == 0)
            return &names[i];
    }
    return NULL;
}

/* One field that is set in a rules message such as StringRules. */
static int add_rule(struct collect *c, const ProtobufCMessage *rules,
                    const ProtobufCFieldDescriptor *f)
{
    const struct rule_name *rule = find_rule(f->name);
    struct rule_check check = {.enumeration = c->domain.enumeration};
    int err = 0;

    if (!rule)
        return FAIL(c->of, "rule %s is not supported", f->name);
    check.op = op_for(c, rule->op);
    check.format = rule->format;
    if (rule->flag) {
        if (rule_is_zero(f->type, (const char *)rules + f->offset))
            return 0;
    } else {
        err = copy_values(c, rules, f, &check);
    }
    if (!err && is_bound(check.op)) {
        note_bound(c, &check);
        return 0;
    }
    if (!err)
        err = finish_check(c, &check, rule);
    if (!err)
        c->checks[c->n++] = check;
    return err;
}

/* ---- bounds ---- */

static int compare(const struct collect *c, const struct rule_value *a, const struct rule_value *b)
{
    if (c->domain.class == RULE_FLOAT)
        return a->d < b->d ? -1 : a->d > b->d;
    return a->i < b->i ? -1 : a->i > b->i;
}

static int add_bound(struct collect *c, enum check_op op, const struct rule_value *value,
                     const char *words)
{
    struct rule_check check = {.op = op, .values = value, .n_values = 1};
    int err = value_message(c, &check, words);

    if (!err)
        c->checks[c->n++] = check;
    return err;
}

/* An upper bound below the lower one means: outside of the two. */
static int add_outside(struct collect *c)
{
    struct rule_check check = {.op = CHECK_OUTSIDE, .n_values = 2};
    struct buf b CLEANUP(buf_free) = {.max = 1024};
    struct rule_value *values = arena_calloc(arena_of(c), 2, sizeof(*values));

    if (!values)
        return -ENOMEM;
    values[0] = *c->high;
    values[1] = *c->low;
    check.values = values;
    check.inclusive[0] = c->high_inclusive;
    check.inclusive[1] = c->low_inclusive;
    buf_printf(&b, "must be less than %s", c->high_inclusive ? "or equal to " : "");
    rule_print(&b, &c->domain, c->high);
    buf_printf(&b, ", or greater than %s", c->low_inclusive ? "or equal to " : "");
    rule_print(&b, &c->domain, c->low);
    check.message = arena_copy(arena_of(c), buf_str(&b));
    if (!check.message.p)
        return -ENOMEM;
    c->checks[c->n++] = check;
    return 0;
}

static int settle_bounds(struct collect *c)
{
    int order, err = 0;

    if (c->low && c->high) {
        order = compare(c, c->high, c->low);
        if (order < 0 || (order == 0 && !(c->low_inclusive && c->high_inclusive)))
            return add_outside(c);
    }
    if (c->low)
        err = add_bound(c, c->low_inclusive ? CHECK_GTE : CHECK_GT, c->low,
                        c->low_inclusive ? "must be greater than or equal to "
                                         : "must be greater than ");
    if (!err && c->high)
        err =
            add_bound(c, c->high_inclusive ? CHECK_LTE : CHECK_LT, c->high,
                      c->high_inclusive ? "must be less than or equal to " : "must be less than ");
    return err;
}

/* ---- the rules of a field ---- */

/* Which fields a member of FieldRules.type is for, by its number. */
static const struct {
    enum schema_type type;
    enum rule_class class;
} subjects[] = {
    [1] = {SCHEMA_FLOAT, RULE_FLOAT},       [2] = {SCHEMA_DOUBLE, RULE_FLOAT},
    [3] = {SCHEMA_INT32, RULE_INTEGER},     [4] = {SCHEMA_INT64, RULE_INTEGER},
    [5] = {SCHEMA_UINT32, RULE_INTEGER},    [6] = {SCHEMA_UINT64, RULE_INTEGER},
    [7] = {SCHEMA_SINT32, RULE_INTEGER},    [8] = {SCHEMA_SINT64, RULE_INTEGER},
    [9] = {SCHEMA_FIXED32, RULE_INTEGER},   [10] = {SCHEMA_FIXED64, RULE_INTEGER},
    [11] = {SCHEMA_SFIXED32, RULE_INTEGER}, [12] = {SCHEMA_SFIXED64, RULE_INTEGER},
    [13] = {SCHEMA_BOOL, RULE_INTEGER},     [14] = {SCHEMA_STRING, RULE_TEXT},
    [15] = {SCHEMA_BYTES, RULE_TEXT},       [16] = {SCHEMA_ENUM, RULE_INTEGER},
};

static bool is_well_known(const struct subject *s, enum schema_well_known kind)
{
    return s->message && s->message->well_known == kind;
}

/* The domain of the checks, or RULE_NONE when the rules are not for such a field. */
static struct rule_domain domain_of(const struct subject *s, unsigned type_case)
{
    enum schema_type type = s->type;

    if (type_case == BUF__VALIDATE__FIELD_RULES__TYPE_MAP)
        return (struct rule_domain){.class = s->map ? RULE_LIST : RULE_NONE};
    if (type_case == BUF__VALIDATE__FIELD_RULES__TYPE_REPEATED)
        return (struct rule_domain){.class = s->repeated && !s->map ? RULE_LIST : RULE_NONE};
    if (s->repeated)
        return (struct rule_domain){.class = RULE_NONE};
    if (type_case == BUF__VALIDATE__FIELD_RULES__TYPE_DURATION)
        return (struct rule_domain){.class =
                                        is_well_known(s, SCHEMA_DURATION) ? RULE_TIME : RULE_NONE};
    if (type_case == BUF__VALIDATE__FIELD_RULES__TYPE_TIMESTAMP)
        return (struct rule_domain){
            .class = is_well_known(s, SCHEMA_TIMESTAMP) ? RULE_TIME : RULE_NONE, .timestamp = true};
    if (is_well_known(s, SCHEMA_WRAPPER))
        type = s->message->fields[0].type;
    if (type_case >= ARRAY_SIZE(subjects) || subjects[type_case].type != type)
        return (struct rule_domain){.class = RULE_NONE};
    return (struct rule_domain){
        .class = subjects[type_case].class, .type = type, .enumeration = s->enumeration};
}

static int compile_rules(const struct subject *s, const Buf__Validate__FieldRules *proto,
                         const struct schema_rules **ret);

static int compile_item_rules(const struct subject *s, const Buf__Validate__FieldRules *proto,
                              const struct schema_field *of, const struct schema_rules **ret)
{
    const struct subject item = {.load = s->load,
                                 .file = s->file,
                                 .element = s->element,
                                 .type = of->type,
                                 .message = of->message,
                                 .enumeration = of->enumeration};

    return compile_rules(&item, proto, ret);
}

/* items, keys and values; of stands for the items of a repeated field. */
static int compile_nested(const struct subject *s, const Buf__Validate__FieldRules *proto,
                          struct schema_rules *rules)
{
    const struct schema_field item = {
        .type = s->type, .message = s->message, .enumeration = s->enumeration};
    int err;

    if (s->map) {
        err = compile_item_rules(s, proto->map->keys, &s->message->fields[0], &rules->keys);
        return err ? err
                   : compile_item_rules(s, proto->map->values, &s->message->fields[1],
                                        &rules->items);
    }
    if (proto->repeated->unique && s->message)
        return FAIL(s, "rule unique is for scalars and enums");
    return compile_item_rules(s, proto->repeated->items, &item, &rules->items);
}

static int compile_checks(const struct subject *s, const Buf__Validate__FieldRules *proto,
                          struct schema_rules *rules)
{
    const ProtobufCMessage *own = &proto->repeated->base; /* any member of the union */
    struct collect c = {.of = s, .domain = domain_of(s, proto->type_case)};
    struct rule_check *checks;
    int err = 0;

    if (c.domain.class == RULE_NONE)
        return FAIL(s, "%s are not for a field of this type", own->descriptor->short_name);
    if (own->descriptor->n_fields > MAX_CHECKS)
        return FAIL(s, "%s are not supported", own->descriptor->short_name);
    for (unsigned i = 0; !err && i < own->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &own->descriptor->fields[i];

        if (rule_is_set(own, f) && f->descriptor != &buf__validate__field_rules__descriptor)
            err = add_rule(&c, own, f);
    }
    if (!err)
        err = settle_bounds(&c);
    if (!err && c.domain.class == RULE_LIST)
        err = compile_nested(s, proto, rules);
    if (err)
        return err;
    checks = arena_calloc(&s->load->schema->arena, c.n, sizeof(*checks));
    if (!checks)
        return -ENOMEM;
    memcpy(checks, c.checks, c.n * sizeof(*checks));
    rules->class = c.domain.class;
    rules->checks = checks;
    rules->n_checks = c.n;
    return 0;
}

/* Recursion is bounded by what load_option() lets through. */
static int compile_rules(const struct subject *s, const Buf__Validate__FieldRules *proto,
                         const struct schema_rules **ret)
{
    struct schema_rules *rules;
    int err = 0;

    *ret = NULL;
    if (!proto)
        return 0;
    rules = arena_calloc(&s->load->schema->arena, 1, sizeof(*rules));
    if (!rules)
        return -ENOMEM;
    if (proto->ignore != BUF__VALIDATE__IGNORE__IGNORE_UNSPECIFIED &&
        proto->ignore != BUF__VALIDATE__IGNORE__IGNORE_IF_ZERO_VALUE &&
        proto->ignore != BUF__VALIDATE__IGNORE__IGNORE_ALWAYS)
        return FAIL(s, "unknown ignore %d", (int)proto->ignore);
    rules->required = proto->required;
    rules->ignore = (enum rule_ignore)proto->ignore;
    if (proto->type_case != BUF__VALIDATE__FIELD_RULES__TYPE__NOT_SET)
        err = compile_checks(s, proto, rules);
    *ret = rules;
    return err;
}

/* ---- all messages ---- */

static int field_rules(struct load *load, size_t m,
                       const Google__Protobuf__FieldDescriptorProto *proto)
{
    const struct schema_message *message = &load->schema->messages[m];
    struct schema_field *f =
        (struct schema_field *)schema_field_by_number(message, (uint32_t)proto->number);
    struct subject s = {.load = load,
                        .file = load->messages[m].file,
                        .type = f->type,
                        .message = f->message,
                        .enumeration = f->enumeration,
                        .repeated = f->repeated,
                        .map = f->map};
    ProtobufCMessage *option;
    int err;

    s.element = arena_printf(&load->scratch, "%s.%s", message->full_name.p, f->name.p);
    if (!s.element.p)
        return -ENOMEM;
    err = load_option(load, s.file, s.element, proto->options ? &proto->options->base : NULL,
                      OPTION_NUMBER, &buf__validate__field_rules__descriptor, true, &option);
    if (err)
        return err;
    return compile_rules(&s, (const Buf__Validate__FieldRules *)option, &f->rules);
}

static int oneof_rules(struct load *load, size_t m, size_t i,
                       const Google__Protobuf__OneofDescriptorProto *proto)
{
    const struct schema_message *message = &load->schema->messages[m];
    struct schema_oneof *oneof = (struct schema_oneof *)&message->oneofs[i];
    struct str element = arena_printf(&load->scratch, "%s.%s", message->full_name.p, oneof->name.p);
    ProtobufCMessage *option;
    int err;

    if (!element.p)
        return -ENOMEM;
    err = load_option(load, load->messages[m].file, element,
                      proto->options ? &proto->options->base : NULL, OPTION_NUMBER,
                      &buf__validate__oneof_rules__descriptor, true, &option);
    if (!err && option)
        oneof->required = ((const Buf__Validate__OneofRules *)option)->required;
    return err;
}

static int message_rules(struct load *load, size_t m)
{
    const Google__Protobuf__DescriptorProto *proto = load->messages[m].proto;
    struct schema_message *message = &load->schema->messages[m];
    int err = 0;

    if (proto->options && load_has_option(&proto->options->base, OPTION_NUMBER))
        return load_fail(load, load->messages[m].file, message->full_name,
                         "rules for whole messages are not supported");
    for (size_t i = 0; !err && i < proto->n_field; i++)
        err = field_rules(load, m, proto->field[i]);
    for (size_t i = 0; !err && i < proto->n_oneof_decl; i++)
        err = oneof_rules(load, m, i, proto->oneof_decl[i]);
    for (size_t i = 0; !err && i < message->n_fields; i++)
        message->has_rules |= message->fields[i].rules != NULL;
    for (size_t i = 0; !err && i < message->n_oneofs; i++)
        message->has_rules |= message->oneofs[i].required;
    return err;
}

/* Generated code keeps extensions as bytes, where rules would not be looked at. */
static int refuse_rules(struct load *load, const struct load_extension *extension)
{
    const Google__Protobuf__FieldOptions *options = extension->proto->options;

    if (options && load_has_option(&options->base, OPTION_NUMBER))
        return load_fail(load, extension->file, extension->full_name,
                         "rules for extensions are not supported");
    return 0;
}

static bool has_rules_below(const struct schema_message *m)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct schema_field *f = &m->fields[i];

        if (!f->extension && f->message && f->message->has_rules)
            return true;
    }
    return false;
}

/* has_rules goes up from message to message; types may refer to each other in circles. */
static void spread_has_rules(struct schema *schema)
{
    bool changed;

    do {
        changed = false;
        for (size_t i = schema->n_messages; i-- > 0;) {
            struct schema_message *m = &schema->messages[i];

            if (!m->has_rules && has_rules_below(m))
                changed = m->has_rules = true;
        }
    } while (changed);
}

int load_rules(struct load *load)
{
    int err = 0;

    for (size_t i = 0; !err && i < load->schema->n_messages; i++)
        err = message_rules(load, i);
    for (size_t i = 0; !err && i < load->schema->n_extensions; i++)
        err = refuse_rules(load, &load->extensions[i]);
    if (!err)
        spread_has_rules(load->schema);
    return err;
}
