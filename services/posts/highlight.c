#include "highlight.h"

static struct str html_of(char c)
{
    switch (c) {
    case HIGHLIGHT_START:
        return STR("<mark>");
    case HIGHLIGHT_STOP:
        return STR("</mark>");
    case '&':
        return STR("&amp;");
    case '<':
        return STR("&lt;");
    case '>':
        return STR("&gt;");
    case '"':
        return STR("&quot;");
    case '\'':
        return STR("&#39;");
    default:
        return STR_NULL;
    }
}

struct str highlight_html(struct str text, struct arena *arena)
{
    size_t n = 0;
    char *html, *at;

    for (size_t i = 0; i < text.n; i++) {
        struct str each = html_of(text.p[i]);
        n += each.p ? each.n : 1;
    }
    at = html = arena_alloc(arena, n + 1);
    if (!html)
        return STR_NULL;
    for (size_t i = 0; i < text.n; i++) {
        struct str each = html_of(text.p[i]);

        if (each.p)
            at = mempcpy(at, each.p, each.n);
        else
            *at++ = text.p[i];
    }
    *at = '\0';
    return (struct str){html, n};
}
