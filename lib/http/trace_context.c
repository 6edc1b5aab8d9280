#include "http/trace_context.h"

#include "base/hex.h"

#define LONG_MEMBER 128
#define ID_AT 3
#define SPAN_AT 36
#define FLAGS_AT 53
#define SAMPLED 1

/* ---- traceparent ---- */

/* Section 3.2.2 has no capitals. */
static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (hex_value(s.p[i]) < 0 || (s.p[i] >= 'A' && s.p[i] <= 'F'))
            return false;
    }
    return true;
}

static bool is_zero(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '0')
            return false;
    }
    return true;
}

/* A later version may go on behind the flags, after another dash (section 4.3). */
static bool is_traceparent(struct str s)
{
    struct str version, id, span;

    if (s.n < TRACE_PARENT_SIZE || s.p[ID_AT - 1] != '-' || s.p[SPAN_AT - 1] != '-' ||
        s.p[FLAGS_AT - 1] != '-')
        return false;
    version = (struct str){s.p, ID_AT - 1};
    id = (struct str){s.p + ID_AT, TRACE_ID_SIZE};
    span = (struct str){s.p + SPAN_AT, TRACE_SPAN_SIZE};
    if (!is_hex(version) || !is_hex(id) || !is_hex(span) ||
        !is_hex((struct str){s.p + FLAGS_AT, 2}) || is_zero(id) || is_zero(span) ||
        str_eq(version, STR("ff")))
        return false;
    return s.n == TRACE_PARENT_SIZE ||
           (!str_eq(version, STR("00")) && s.p[TRACE_PARENT_SIZE] == '-');
}

/* n bytes as hex, never all zero. */
static void print_hex(char *to, const unsigned char *bytes, size_t n)
{
    to = hex_encode(to, bytes, n);
    if (is_zero((struct str){to - 2 * n, 2 * n}))
        to[-1] = '1';
}

bool trace_start(struct trace_context *trace, struct str traceparent,
                 const unsigned char random[TRACE_RANDOM_SIZE])
{
    bool valid = is_traceparent(traceparent);

    print_hex(trace->span, random, TRACE_SPAN_SIZE / 2);
    if (!valid) {
        print_hex(trace->id, random + TRACE_SPAN_SIZE / 2, TRACE_ID_SIZE / 2);
        trace->has_parent = false;
        trace->sampled = true;
        return false;
    }
    memcpy(trace->parent, traceparent.p + SPAN_AT, TRACE_SPAN_SIZE);
    trace->has_parent = true;
    memcpy(trace->id, traceparent.p + ID_AT, TRACE_ID_SIZE);
    trace->sampled = hex_value(traceparent.p[FLAGS_AT + 1]) & SAMPLED;
    return true;
}

void trace_child(struct trace_context *trace, const struct trace_context *parent,
                 const unsigned char random[TRACE_SPAN_SIZE / 2])
{
    *trace = *parent;
    memcpy(trace->parent, parent->span, TRACE_SPAN_SIZE);
    trace->has_parent = true;
    print_hex(trace->span, random, TRACE_SPAN_SIZE / 2);
}

struct str trace_id_of(struct str traceparent)
{
    return is_traceparent(traceparent) ? (struct str){traceparent.p + ID_AT, TRACE_ID_SIZE}
                                       : STR_NULL;
}

void trace_parent(const struct trace_context *trace, char to[TRACE_PARENT_SIZE])
{
    memcpy(to, "00-", 3);
    memcpy(to + ID_AT, trace->id, TRACE_ID_SIZE);
    to[SPAN_AT - 1] = '-';
    memcpy(to + SPAN_AT, trace->span, TRACE_SPAN_SIZE);
    memcpy(to + FLAGS_AT - 1, trace->sampled ? "-01" : "-00", 3);
}

/* ---- tracestate ---- */

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_key_part(struct str s, size_t max)
{
    if (s.n == 0 || s.n > max)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_lower_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '-' && s.p[i] != '*' &&
            s.p[i] != '/')
            return false;
    }
    return true;
}

/* A name, or tenant@system (section 3.3.1.3.1). */
static bool is_key(struct str s)
{
    const char *at = s.n ? memchr(s.p, '@', s.n) : NULL;
    struct str tenant, system;

    if (!at)
        return is_key_part(s, 256) && s.p[0] >= 'a' && s.p[0] <= 'z';
    tenant = (struct str){s.p, (size_t)(at - s.p)};
    system = str_skip(s, tenant.n + 1);
    return is_key_part(tenant, 241) && is_lower_alnum(tenant.p[0]) && is_key_part(system, 14) &&
           system.p[0] >= 'a' && system.p[0] <= 'z';
}

static bool is_value(struct str s)
{
    if (s.n == 0 || s.n > 256 || s.p[s.n - 1] == ' ')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] > 0x7e || s.p[i] == ',' || s.p[i] == '=')
            return false;
    }
    return true;
}

struct members {
    struct str items[TRACE_STATE_MEMBERS]; /* "key=value" */
    size_t n;
    size_t size; /* of all, with the commas between */
};

static struct str key_of(struct str member)
{
    const char *equals = member.n ? memchr(member.p, '=', member.n) : NULL;

    return equals ? (struct str){member.p, (size_t)(equals - member.p)} : STR_NULL;
}

static bool add_member(struct members *members, struct str member)
{
    struct str key = key_of(member);

    if (!key.p || !is_key(key) || !is_value(str_skip(member, key.n + 1)) ||
        members->n == TRACE_STATE_MEMBERS)
        return false;
    for (size_t i = 0; i < members->n; i++) {
        if (str_eq(key, key_of(members->items[i])))
            return false;
    }
    members->size += member.n + (members->n > 0);
    members->items[members->n++] = member;
    return true;
}

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_skip(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool read_members(struct str s, struct members *members)
{
    while (s.n) {
        const char *comma = memchr(s.p, ',', s.n);
        struct str member = {s.p, comma ? (size_t)(comma - s.p) : s.n};

        s = str_skip(s, member.n + (comma != NULL));
        member = trim(member);
        if (member.n && !add_member(members, member))
            return false;
    }
    return true;
}

static void remove_member(struct members *members, size_t i)
{
    members->size -= members->items[i].n + (members->n > 1);
    members->n--;
    memmove(&members->items[i], &members->items[i + 1],
            (members->n - i) * sizeof(members->items[0]));
}

static void shorten(struct members *members)
{
    for (size_t i = members->n; i > 0 && members->size > TRACE_STATE_SIZE; i--) {
        if (members->items[i - 1].n > LONG_MEMBER)
            remove_member(members, i - 1);
    }
    while (members->size > TRACE_STATE_SIZE)
        remove_member(members, members->n - 1);
}

struct str trace_state(struct arena *arena, struct str tracestate)
{
    struct members members = {.n = 0};
    char *out;
    size_t n = 0;

    if (!read_members(tracestate, &members))
        return STR_NULL;
    shorten(&members);
    out = members.n ? arena_alloc(arena, members.size) : NULL;
    if (!out)
        return STR_NULL;
    for (size_t i = 0; i < members.n; i++) {
        if (i > 0)
            out[n++] = ',';
        memcpy(out + n, members.items[i].p, members.items[i].n);
        n += members.items[i].n;
    }
    return (struct str){out, n};
}
