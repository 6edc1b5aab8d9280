/* JSON text as tokens: strings with their escapes, base64, white space, and moving over a value
 * that nobody wants.
 *
 * Text comes from strangers: every read is inside c->end, and a string is checked in full (escapes,
 * surrogates, control characters, UTF-8) before a byte of it is used.
 */
#include "base/base64.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "schema/json.h"

#include <endian.h>

#define BYTES(b) (UINT64_C(0x0101010101010101) * (b))

/* The first byte in [at, end) that cannot be copied as it is, reading or writing: a quote, a
 * backslash, a control character, or any byte above ASCII. Eight bytes at a time: the high bit of a
 * byte is set when subtracting makes it borrow, exact for the lowest such byte. */
static inline const char *plain_end(const char *at, const char *end)
{
    while (end - at >= 8) {
        uint64_t w, special;

        memcpy(&w, at, 8);
        w = le64toh(w);
        special = (w | (w - BYTES(0x20)) | ((w ^ BYTES('"')) - BYTES(1)) |
                   ((w ^ BYTES('\\')) - BYTES(1))) &
                  BYTES(0x80);
        if (special)
            return at + (__builtin_ctzll(special) >> 3);
        at += 8;
    }
    while (at < end && *at >= 0x20 && *at != '"' && *at != '\\' && (uint8_t)*at < 0x80)
        at++;
    return at;
}

/* ---- reading strings ---- */

/* The code unit of the \uXXXX at `at`, or -1. */
static int32_t code_unit(const char *at, const char *end)
{
    int32_t unit = 0;

    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (size_t i = 2; i < 6; i++) {
        int digit = hex_value(at[i]);

        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static bool is_high_surrogate(int32_t unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low_surrogate(int32_t unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* Checks the escape at `at`: its length in the text and the bytes that it means. */
static int scan_escape(struct json_context *c, const char *at, size_t *ret_length, size_t *ret_size)
{
    int32_t unit;

    *ret_length = 2;
    *ret_size = 1;
    if (c->end - at < 2)
        return json_syntax(c, "unexpected end", c->end);
    if (at[1] != 'u')
        return memchr("\"\\/bfnrt", at[1], 8) ? 0 : json_syntax(c, "unknown escape", at);
    unit = code_unit(at, c->end);
    if (unit < 0)
        return json_syntax(c, "unknown escape", at);
    *ret_length = 6;
    *ret_size = unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
    if (is_high_surrogate(unit) && is_low_surrogate(code_unit(at + 6, c->end))) {
        *ret_length = 12;
        *ret_size = 4;
    } else if (is_high_surrogate(unit) || is_low_surrogate(unit)) {
        return json_syntax(c, "lone surrogate", at);
    }
    return 0;
}

int json_scan_string(struct json_context *c, struct json_string *ret)
{
    const char *begin = c->at + 1, *at = begin;
    size_t saved = 0, length, size;
    int err;

    for (;;) {
        at = plain_end(at, c->end);
        if (at == c->end)
            return json_syntax(c, "unexpected end", at);
        if (*at == '"')
            break;
        if (*at == '\\') {
            err = scan_escape(c, at, &length, &size);
            if (err)
                return err;
            at += length;
            saved += length - size;
        } else if ((uint8_t)*at < 0x80) {
            return json_syntax(c, "control character in a string", at);
        }
        while (at < c->end && (uint8_t)*at >= 0x80) {
            length = utf8_length(at, (size_t)(c->end - at));
            if (!length)
                return json_syntax(c, "invalid UTF-8", at);
            at += length;
        }
    }
    ret->raw = (struct str){begin, (size_t)(at - begin)};
    ret->size = ret->raw.n - saved;
    c->at = at + 1;
    return 0;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

static char unescaped(char ch)
{
    switch (ch) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return ch; /* quote, backslash, slash */
    }
}

void json_unescape(const struct json_string *s, char *to)
{
    const char *at = s->raw.p, *end = at + s->raw.n, *escape;
    int32_t unit;

    while (at < end) {
        escape = memchr(at, '\\', (size_t)(end - at));
        if (!escape)
            escape = end;
        memcpy(to, at, (size_t)(escape - at));
        to += escape - at;
        at = escape;
        if (at == end)
            break;
        if (at[1] != 'u') {
            *to++ = unescaped(at[1]);
            at += 2;
            continue;
        }
        unit = code_unit(at, end);
        at += 6;
        if (is_high_surrogate(unit)) {
            unit = 0x10000 + ((unit - 0xd800) << 10) + (code_unit(at, end) - 0xdc00);
            at += 6;
        }
        to = put_utf8(to, (uint32_t)unit);
    }
}

int json_scan_text(struct json_context *c, struct str *ret)
{
    struct json_string s;
    char *text;
    int err = json_scan_string(c, &s);

    if (err)
        return err;
    *ret = s.raw;
    if (s.size == s.raw.n)
        return 0;
    text = json_scratch_alloc(c, s.size);
    if (!text)
        return -ENOMEM;
    json_unescape(&s, text);
    *ret = (struct str){text, s.size};
    return 0;
}

int json_scan_name(struct json_context *c, struct str *ret)
{
    int err;

    if (!json_at(c, '"'))
        return json_unexpected(c);
    err = json_scan_text(c, ret);
    if (err)
        return err;
    json_skip_space(c);
    if (!json_at(c, ':'))
        return json_unexpected(c);
    c->at++;
    json_skip_space(c);
    return 0;
}

/* ---- structure ---- */

int json_first(struct json_context *c, char close)
{
    json_skip_space(c);
    if (!json_at(c, close))
        return 1;
    c->at++;
    return 0;
}

int json_next(struct json_context *c, char close)
{
    json_skip_space(c);
    if (json_at(c, close)) {
        c->at++;
        return 0;
    }
    if (!json_at(c, ','))
        return json_unexpected(c);
    c->at++;
    json_skip_space(c);
    return 1;
}

bool json_take_literal(struct json_context *c, struct str literal)
{
    if ((size_t)(c->end - c->at) < literal.n || memcmp(c->at, literal.p, literal.n) != 0)
        return false;
    c->at += literal.n;
    return true;
}

static int skip_object(struct json_context *c)
{
    struct json_string name;
    int more, err;

    for (more = json_first(c, '}'); more > 0; more = json_next(c, '}')) {
        if (!json_at(c, '"'))
            return json_unexpected(c);
        err = json_scan_string(c, &name);
        if (err)
            return err;
        json_skip_space(c);
        if (!json_at(c, ':'))
            return json_unexpected(c);
        c->at++;
        json_skip_space(c);
        err = json_skip_value(c);
        if (err)
            return err;
    }
    return more;
}

static int skip_array(struct json_context *c)
{
    int more, err;

    for (more = json_first(c, ']'); more > 0; more = json_next(c, ']')) {
        err = json_skip_value(c);
        if (err)
            return err;
    }
    return more;
}

static int skip_number(struct json_context *c)
{
    struct json_number n;
    const char *stop, *end = json_parse_number(c->at, c->end, &n, &stop);

    if (!end) {
        c->at = stop;
        return json_unexpected(c);
    }
    c->at = end;
    return 0;
}

/* Recursion is bounded by json_enter(). */
int json_skip_value(struct json_context *c)
{
    struct json_string s;
    char open;
    int err;

    if (c->at == c->end)
        return json_unexpected(c);
    switch (*c->at) {
    case '"':
        return json_scan_string(c, &s);
    case '{':
    case '[':
        open = *c->at;
        err = json_enter(c);
        if (err)
            return err;
        c->at++;
        err = open == '{' ? skip_object(c) : skip_array(c);
        json_leave(c);
        return err;
    case 't':
        return json_take_literal(c, STR("true")) ? 0 : json_unexpected(c);
    case 'f':
        return json_take_literal(c, STR("false")) ? 0 : json_unexpected(c);
    case 'n':
        return json_take_literal(c, STR("null")) ? 0 : json_unexpected(c);
    default:
        return skip_number(c);
    }
}

bool schema_json_valid(struct str json, unsigned max_depth)
{
    const struct schema_json_options options = {.max_depth = max_depth};
    struct arena arena;
    struct schema_fault unused;
    struct json_context c;
    bool valid;

    arena_init(&arena, 0);
    json_context_init(&c, NULL, &options, NULL, &arena, &unused);
    c.start = c.at = json.p;
    c.end = json.p + json.n;
    json_skip_space(&c);
    valid = json_skip_value(&c) == 0;
    json_skip_space(&c);
    valid = valid && c.at == c.end;
    arena_free(&arena);
    return valid;
}

/* ---- writing strings ---- */

/* The escape of a character that cannot stand in a string; returns its length. */
static size_t escape_of(char ch, char to[6])
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    to[0] = '\\';
    for (size_t i = 0; i < sizeof(short_forms) - 1; i += 2) {
        if (short_forms[i] == ch) {
            to[1] = short_forms[i + 1];
            return 2;
        }
    }
    memcpy(to + 1, "u00", 3);
    to[4] = hex_digit((uint8_t)ch >> 4);
    to[5] = hex_digit((uint8_t)ch);
    return 6;
}

/* The end of the run at `at` that can be printed as it is, checking UTF-8: NULL if it is invalid.
 */
static const char *printable_end(const char *at, const char *end)
{
    for (;;) {
        at = plain_end(at, end);
        if (at == end || (uint8_t)*at < 0x80)
            return at;
        while (at < end && (uint8_t)*at >= 0x80) {
            size_t length = utf8_length(at, (size_t)(end - at));

            if (!length)
                return NULL;
            at += length;
        }
    }
}

int json_write_string(struct json_context *c, struct str s)
{
    const char *at = s.p, *end = s.p + s.n, *stop;
    char escape[6];
    char *to;

    json_put_char(c, '"');
    while (at < end) {
        stop = printable_end(at, end);
        if (!stop)
            return json_fault(c, "is not valid UTF-8");
        to = json_room(c, (size_t)(stop - at) + 1);
        if (!to)
            return buf_error(c->out);
        memcpy(to, at, (size_t)(stop - at));
        c->out->n += (size_t)(stop - at);
        at = stop;
        if (at < end)
            buf_append(c->out, escape, escape_of(*at++, escape));
    }
    json_put_char(c, '"');
    return 0;
}

/* ---- base64 ---- */

int json_write_base64(struct json_context *c, struct str s)
{
    size_t size = BASE64_SIZE(s.n) + 2; /* wire bytes are at most INT32_MAX long */
    char *to = json_room(c, size);

    if (!to)
        return buf_error(c->out);
    *to++ = '"';
    to = base64_encode(to, s);
    *to = '"';
    c->out->n += size;
    return 0;
}
