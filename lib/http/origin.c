#include "http/origin.h"

#define MAX_PORT_DIGITS 5

/* An origin taken apart. port is {NULL, 0} when there is none. */
struct origin {
    struct str scheme, host, port;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool scheme_valid(struct str scheme)
{
    for (size_t i = 0; i < scheme.n; i++) {
        char c = scheme.p[i];

        if (!is_letter(c) && (i == 0 || !(is_digit(c) || c == '+' || c == '-' || c == '.')))
            return false;
    }
    return scheme.n > 0;
}

/* A name or an IPv4 address; no label is empty. */
static bool name_valid(struct str host)
{
    char last = '.';

    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];

        if (!is_letter(c) && !is_digit(c) && c != '-' && c != '_' && (c != '.' || last == '.'))
            return false;
        last = c;
    }
    return last != '.';
}

/* "[2001:db8::1]" */
static bool ip6_valid(struct str host)
{
    if (host.n < 4 || host.p[0] != '[' || host.p[host.n - 1] != ']')
        return false;
    for (size_t i = 1; i < host.n - 1; i++) {
        char c = host.p[i];

        if (!is_digit(c) && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f') && c != ':' && c != '.')
            return false;
    }
    return true;
}

static bool host_valid(struct str host)
{
    return host.n && (host.p[0] == '[' ? ip6_valid(host) : name_valid(host));
}

static bool port_valid(struct str port)
{
    for (size_t i = 0; i < port.n; i++) {
        if (!is_digit(port.p[i]))
            return false;
    }
    return port.n > 0 && port.n <= MAX_PORT_DIGITS;
}

/* Where the host ends: the last colon that no bracket holds, or the end. */
static size_t host_length(struct str s)
{
    for (size_t i = s.n; i > 0 && s.p[i - 1] != ']'; i--) {
        if (s.p[i - 1] == ':')
            return i - 1;
    }
    return s.n;
}

/* Parts only; whether they are any good is asked elsewhere. */
static bool split(struct str text, struct origin *ret)
{
    struct str rest;
    size_t n = 0;

    while (n < text.n && text.p[n] != ':')
        n++;
    ret->scheme = (struct str){text.p, n};
    rest = str_skip(text, n);
    if (!str_starts(rest, STR("://")))
        return false;
    rest = str_skip(rest, 3);
    n = host_length(rest);
    ret->host = (struct str){rest.p, n};
    ret->port = n < rest.n ? str_skip(rest, n + 1) : STR_NULL;
    return true;
}

bool origin_pattern_valid(struct str pattern)
{
    struct origin o;

    if (!split(pattern, &o))
        return false;
    if (str_starts(o.host, STR("*.")))
        o.host = str_skip(o.host, 2);
    return scheme_valid(o.scheme) && host_valid(o.host) &&
           (!o.port.p || str_eq(o.port, STR("*")) || port_valid(o.port));
}

static bool host_matches(struct str pattern, struct str host)
{
    struct str suffix;

    if (!str_starts(pattern, STR("*.")))
        return str_eq_nocase(pattern, host);
    /* ".example.com", with at least one character in front. */
    suffix = str_skip(pattern, 1);
    return host.n > suffix.n && str_eq_nocase(suffix, str_skip(host, host.n - suffix.n));
}

static bool port_matches(struct str pattern, struct str port)
{
    if (!pattern.p)
        return !port.p;
    return str_eq(pattern, STR("*")) || (port.p && str_eq(pattern, port));
}

bool origin_matches(struct str pattern, struct str origin)
{
    struct origin want, is;

    if (!split(pattern, &want) || !split(origin, &is))
        return false;
    return scheme_valid(is.scheme) && host_valid(is.host) && (!is.port.p || port_valid(is.port)) &&
           str_eq_nocase(want.scheme, is.scheme) && host_matches(want.host, is.host) &&
           port_matches(want.port, is.port);
}
