/* Text in manual pages. */
#include "cli.h"

#include <ctype.h>

#define LINE_BYTES 78 /* of a page's source, where a line may be parted */

void roff_title(struct buf *out, const char *page)
{
    buf_append_str(out, STR(".TH "));
    for (; *page; page++)
        buf_append_char(out, (char)toupper((unsigned char)*page));
    buf_append_str(out,
                   STR(" 1 " STOA_VERSION_DATE " \"Stoa " STOA_VERSION "\" \"User Commands\"\n"));
}

static void append(struct buf *out, char c)
{
    if ((c == '.' || c == '\'') && (!out->n || out->p[out->n - 1] == '\n'))
        buf_append_str(out, STR("\\&"));
    if (c == '\\')
        buf_append_str(out, STR("\\e"));
    else if (c == '-')
        buf_append_str(out, STR("\\-"));
    else
        buf_append_char(out, c);
}

void roff_line(struct buf *out, const char *text)
{
    for (; *text; text++)
        append(out, *text);
    buf_append_char(out, '\n');
}

/* The bytes of the word at p, as they are in the source. */
static size_t word_length(const char *p)
{
    size_t n = 0;

    for (; *p && *p != ' ' && *p != '\n'; p++)
        n += 1 + (*p == '-' || *p == '\\');
    return n;
}

void roff_text(struct buf *out, const char *text)
{
    size_t start = out->n;

    for (; *text; text++) {
        if (*text == '\n' || (*text == ' ' && out->n > start &&
                              out->n + 1 + word_length(text + 1) > start + LINE_BYTES)) {
            buf_append_char(out, '\n');
            start = out->n;
        } else {
            append(out, *text);
        }
    }
    buf_append_char(out, '\n');
}
