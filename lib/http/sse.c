/* Server-sent events, as text. */
#include "http/sse.h"

#include "base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd"

bool sse_id(struct buf *to, struct str id)
{
    if (memchr(id.p, '\n', id.n) || memchr(id.p, '\r', id.n) || memchr(id.p, '\0', id.n) ||
        !utf8_valid(id))
        return false;
    buf_append_str(to, STR("id: "));
    buf_append_str(to, id);
    buf_append_char(to, '\n');
    return true;
}

void sse_name(struct buf *to, struct str name)
{
    buf_append_str(to, STR("event: "));
    buf_append_str(to, name);
    buf_append_char(to, '\n');
}

void sse_retry(struct buf *to, unsigned ms)
{
    buf_printf(to, "retry: %u\n", ms);
}

void sse_begin_data(struct buf *to)
{
    buf_append_str(to, STR("data: "));
}

void sse_end(struct buf *to)
{
    buf_append_str(to, STR("\n\n"));
}

static void append_clean(struct buf *to, struct str text)
{
    if (utf8_valid(text)) {
        buf_append_str(to, text);
        return;
    }
    while (text.n > 0) {
        size_t n = utf8_length(text.p, text.n);

        buf_append_str(to, n ? (struct str){text.p, n} : STR(REPLACEMENT));
        text = str_skip(text, n ? n : 1);
    }
}

/* Where the first line of text ends. */
static size_t line_end(struct str text)
{
    size_t i = 0;

    while (i < text.n && text.p[i] != '\n' && text.p[i] != '\r')
        i++;
    return i;
}

void sse_data(struct buf *to, struct str text)
{
    size_t n;
    bool more;

    do {
        n = line_end(text);
        more = n < text.n;
        sse_begin_data(to);
        append_clean(to, (struct str){text.p, n});
        buf_append_char(to, '\n');
        if (more && text.p[n] == '\r' && n + 1 < text.n && text.p[n + 1] == '\n')
            n++;
        text = str_skip(text, n + 1);
    } while (more);
    buf_append_char(to, '\n');
}

void sse_comment(struct buf *to)
{
    buf_append_str(to, STR(":\n\n"));
}
