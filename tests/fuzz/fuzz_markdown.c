/* libFuzzer target for what strangers write and a terminal shows: Markdown, plain text, documents.
 * Nothing comes out that does something to a terminal, each line keeps to its width where that is
 * possible, emoji in parts have one width for all terminals, and a document that is read is printed
 * and read again to the same. */
#include "../../cli/cli.h"
#include "../../cli/client/document.h"
#include "../../cli/client/markdown.h"
#include "base/utf8.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Escape codes of colours are our own; then there is no other control character. */
static void check_shown(struct str s, bool color)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (color && c == 0x1b) {
            check(i + 1 < s.n && s.p[i + 1] == '[');
            while (++i < s.n && s.p[i] != 'm')
                check(s.p[i] == '[' || s.p[i] == ';' || (s.p[i] >= '0' && s.p[i] <= '9'));
            continue;
        }
        check(c == '\n' || (c >= ' ' && c != 0x7f));
        check(c != 0xc2 || (i + 1 < s.n && (unsigned char)s.p[i + 1] >= 0xa0)); /* C1 */
    }
}

static void try_markdown(struct str text, size_t width, bool color)
{
    struct buf out = {.max = (size_t)16 << 20};

    check(markdown_render(&out, text, width, color) == 0);
    if (!buf_error(&out))
        check_shown(buf_str(&out), color);
    buf_free(&out);
}

/* Each code point on its own, as terminals have it that know no clusters. */
static size_t width_apart(struct str s)
{
    size_t sum = 0, n, width;

    for (; s.n; s = str_skip(s, n)) {
        n = utf8_length(s.p, s.n);
        n = n ? n : 1;
        terminal_character(s.p, n, &width);
        sum += width;
    }
    return sum;
}

static void try_text(struct str text)
{
    struct buf out = {.max = (size_t)16 << 20};
    struct str rest, line;

    terminal_clean(&out, text, true);
    check(!buf_error(&out));
    check_shown(buf_str(&out), false);
    rest = out.p ? buf_str(&out) : STR("");
    while (rest.n) {
        size_t before = rest.n;

        line = terminal_wrap(&rest, 10);
        check(terminal_width(line) <= 10 && rest.n < before);
    }
    terminal_part(&out, 0);
    check(terminal_width(buf_str(&out)) == width_apart(buf_str(&out)));
    buf_free(&out);
}

static void try_document(struct str text)
{
    struct document d, again;
    struct buf out = {.max = (size_t)16 << 20};
    struct arena arena;
    struct str error;

    arena_init(&arena, 0);
    if (document_read(text, &d, &arena, &error) == 0) {
        document_print(&d, &out);
        check(!buf_error(&out));
        check(document_read(buf_str(&out), &again, &arena, &error) == 0);
        check(str_eq(d.body, again.body) && document_same_tags(&d, &again));
        check(str_eq(d.key, again.key) && str_eq(d.etag, again.etag));
    }
    buf_free(&out);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};

    try_markdown(text, 40, false);
    try_markdown(text, 20, true);
    try_text(text);
    try_document(text);
    return 0;
}
