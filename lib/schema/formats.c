/* Named formats of strings in buf.validate rules. Pure functions; any thread. */
#include "base/hex.h"
#include "schema/rules.h"

#include <arpa/inet.h>
#include <assert.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return hex_value(c) >= 0;
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* Cuts s at the first c: returns what is before it, leaves what is behind in *rest ({NULL, 0} when
 * there is no c). */
static struct str cut(struct str s, char c, struct str *rest)
{
    const char *at = s.p ? memchr(s.p, c, s.n) : NULL;

    *rest = STR_NULL;
    if (!at)
        return s;
    *rest = (struct str){at + 1, s.n - (size_t)(at - s.p) - 1};
    return (struct str){s.p, (size_t)(at - s.p)};
}

/* 1 to 63 letters, digits and hyphens, no hyphen at either end. */
static bool is_label(struct str s)
{
    if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    }
    return true;
}

static bool is_all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return false;
    }
    return true;
}

static bool are_labels(struct str s, struct str *ret_last)
{
    do {
        *ret_last = cut(s, '.', &s);
        if (!is_label(*ret_last))
            return false;
    } while (s.p);
    return true;
}

bool format_email(struct str s)
{
    struct str domain, last, local = cut(s, '@', &domain);

    if (local.n == 0 || !domain.p)
        return false;
    for (size_t i = 0; i < local.n; i++) {
        if (!is_alnum(local.p[i]) && !is_one_of(local.p[i], ".!#$%&'*+/=?^_`{|}~-"))
            return false;
    }
    return are_labels(domain, &last);
}

bool format_hostname(struct str s)
{
    struct str last;

    if (s.n && s.p[s.n - 1] == '.')
        s.n--;
    return s.n && s.n <= 253 && are_labels(s, &last) && !is_all_digits(last);
}

static bool is_address(int family, struct str s)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char address[16];

    if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, 0, s.n))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(family, text, address) == 1;
}

bool format_ipv4(struct str s)
{
    return is_address(AF_INET, s);
}

bool format_ipv6(struct str s)
{
    struct str zone, address = cut(s, '%', &zone);

    return (!zone.p || zone.n) && is_address(AF_INET6, address);
}

bool format_ip(struct str s)
{
    return format_ipv4(s) || format_ipv6(s);
}

bool format_uuid(struct str s)
{
    if (s.n != 36)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;

        if (hyphen ? s.p[i] != '-' : !is_hex(s.p[i]))
            return false;
    }
    return true;
}

/* ---- RFC 3986 ---- */

/* unreserved, sub-delims, percent escapes, and the characters of extra. */
static bool are_uri_chars(struct str s, const char *extra)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '%') {
            if (s.n - i < 3 || !is_hex(s.p[i + 1]) || !is_hex(s.p[i + 2]))
                return false;
            i += 2;
        } else if (!is_alnum(c) && !is_one_of(c, "-._~!$&'()*+,;=") && !is_one_of(c, extra)) {
            return false;
        }
    }
    return true;
}

/* "v1.something" between the brackets. */
static bool is_ip_future(struct str s)
{
    size_t i = 1;

    if (s.n < 4 || (s.p[0] != 'v' && s.p[0] != 'V'))
        return false;
    while (i < s.n && is_hex(s.p[i]))
        i++;
    return i > 1 && i + 1 < s.n && s.p[i] == '.' && !memchr(s.p, '%', s.n) &&
           are_uri_chars(str_skip(s, i + 1), ":");
}

static bool is_port(struct str s)
{
    return s.n == 0 || (s.p[0] == ':' && is_all_digits(str_skip(s, 1)));
}

static bool is_authority(struct str s)
{
    struct str host, literal, port, user = cut(s, '@', &host);

    if (!host.p)
        host = s;
    else if (!are_uri_chars(user, ":"))
        return false;
    if (host.n && host.p[0] == '[') {
        literal = cut(str_skip(host, 1), ']', &port);
        return port.p && is_port(port) && (is_address(AF_INET6, literal) || is_ip_future(literal));
    }
    literal = cut(host, ':', &port);
    return are_uri_chars(literal, "") && is_all_digits(port);
}

/* What follows a scheme, or all of a relative reference: authority, path, query, fragment. */
static bool is_hierarchy(struct str s)
{
    struct str fragment, query, path;
    size_t n = 2;

    s = cut(s, '#', &fragment);
    path = cut(s, '?', &query);
    if (!are_uri_chars(fragment, ":@/?") || !are_uri_chars(query, ":@/?"))
        return false;
    if (str_starts(path, STR("//"))) {
        while (n < path.n && path.p[n] != '/')
            n++;
        if (!is_authority((struct str){path.p + 2, n - 2}))
            return false;
        path = str_skip(path, n);
    }
    return are_uri_chars(path, ":@/");
}

/* The length of "scheme:", or 0. */
static size_t scheme_length(struct str s)
{
    size_t i = 0;

    while (i < s.n && (is_alnum(s.p[i]) || is_one_of(s.p[i], "+-.")))
        i++;
    return i && i < s.n && s.p[i] == ':' && !is_digit(s.p[0]) && is_alnum(s.p[0]) ? i + 1 : 0;
}

bool format_uri(struct str s)
{
    size_t n = scheme_length(s);

    assert(s.p);
    return n && is_hierarchy(str_skip(s, n));
}

bool format_uri_ref(struct str s)
{
    size_t i = 0;

    assert(s.p);
    if (format_uri(s))
        return true;
    /* The first segment of a relative path has no colon, or it would be a scheme. */
    while (i < s.n && !is_one_of(s.p[i], ":/?#"))
        i++;
    return (i == s.n || s.p[i] != ':') && is_hierarchy(s);
}
