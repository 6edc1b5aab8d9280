/* Moving over the text of a header: white space, tokens, quoted strings (RFC 9110 section 5.6).
 * Inside lib/http.
 */
#ifndef STOA_HTTP_SCAN_H
#define STOA_HTTP_SCAN_H

#include "base/base.h"

#include <errno.h>

struct scan {
    const char *at, *end;
};

static inline struct scan scan_of(struct str text)
{
    return (struct scan){text.p, text.n ? text.p + text.n : text.p};
}

static inline void scan_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t'))
        s->at++;
}

/* Moves over c if it comes next. */
static inline bool scan_take(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static inline bool scan_is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Empty when there is none. */
static inline struct str scan_token(struct scan *s)
{
    const char *start = s->at;

    while (s->at < s->end && scan_is_token_char(*s->at))
        s->at++;
    return (struct str){start, (size_t)(s->at - start)};
}

/* Behind the opening quote. The text keeps its backslashes: no value that means anything in this
 * folder has one. Returns 0, or -EINVAL: it does not end. */
static inline int scan_quoted(struct scan *s, struct str *ret)
{
    const char *start = s->at;

    for (; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            *ret = (struct str){start, (size_t)(s->at - start)};
            s->at++;
            return 0;
        }
        if (*s->at == '\\' && s->at + 1 < s->end)
            s->at++;
    }
    return -EINVAL;
}

#endif
