/* Text in manual pages. */
#include "cli.h"

void roff_line(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n'))
            buf_append_str(out, STR("\\&"));
        if (*p == '\\')
            buf_append_str(out, STR("\\e"));
        else if (*p == '-')
            buf_append_str(out, STR("\\-"));
        else
            buf_append_char(out, *p);
    }
    buf_append_char(out, '\n');
}
