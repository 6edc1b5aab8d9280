#include "input_line.h"

#include "../cli.h"

#include <stdlib.h>
#include <unistr.h>

/* Where the character before `at` begins, with what combines with it. */
static size_t before(const struct input_line *l, size_t at)
{
    size_t from = 0, width, n;

    while (from < at && from + (n = terminal_character(l->text + from, l->n - from, &width)) < at)
        from += n;
    return from;
}

static size_t after(const struct input_line *l, size_t at)
{
    size_t width;

    return at < l->n ? at + terminal_character(l->text + at, l->n - at, &width) : at;
}

static void cut(struct input_line *l, size_t from, size_t to)
{
    memmove(l->text + from, l->text + to, l->n - to);
    l->n -= to - from;
    l->cursor = from;
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

static void kill_word(struct input_line *l)
{
    size_t from = l->cursor;

    while (from && is_gap(l->text[from - 1]))
        from--;
    while (from && !is_gap(l->text[from - 1]))
        from--;
    cut(l, from, l->cursor);
}

static void show(struct input_line *l, const char *text)
{
    l->n = l->cursor = strlen(text);
    memcpy(l->text, text, l->n);
}

static void go_to(struct input_line *l, size_t at)
{
    if (l->at == l->n_history) {
        free(l->set_aside);
        l->set_aside = strndup(l->text, l->n);
    }
    l->at = at;
    show(l, at < l->n_history ? l->history[at] : l->set_aside ? l->set_aside : "");
}

void input_key(struct input_line *l, enum input_key key)
{
    switch (key) {
    case INPUT_LEFT:
        l->cursor = before(l, l->cursor);
        break;
    case INPUT_RIGHT:
        l->cursor = after(l, l->cursor);
        break;
    case INPUT_HOME:
        l->cursor = 0;
        break;
    case INPUT_END:
        l->cursor = l->n;
        break;
    case INPUT_BACKSPACE:
        cut(l, before(l, l->cursor), l->cursor);
        break;
    case INPUT_DELETE:
        cut(l, l->cursor, after(l, l->cursor));
        break;
    case INPUT_KILL_LINE:
        cut(l, 0, l->cursor);
        break;
    case INPUT_KILL_WORD:
        kill_word(l);
        break;
    case INPUT_UP:
        if (l->at)
            go_to(l, l->at - 1);
        break;
    case INPUT_DOWN:
        if (l->at < l->n_history)
            go_to(l, l->at + 1);
        break;
    }
}

bool input_character(struct input_line *l, uint32_t c)
{
    uint8_t utf8[6];
    int n = u8_uctomb(utf8, c, sizeof(utf8));

    if (n <= 0 || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0) ||
        l->n + (size_t)n > INPUT_BYTES_MAX)
        return false;
    memmove(l->text + l->cursor + n, l->text + l->cursor, l->n - l->cursor);
    memcpy(l->text + l->cursor, utf8, (size_t)n);
    l->n += (size_t)n;
    l->cursor += (size_t)n;
    return true;
}

void input_done(struct input_line *l)
{
    char *line = l->n ? strndup(l->text, l->n) : NULL;

    if (line && l->n_history == INPUT_HISTORY) {
        free(l->history[0]);
        memmove(l->history, l->history + 1, sizeof(*l->history) * (INPUT_HISTORY - 1));
        l->n_history--;
    }
    if (line)
        l->history[l->n_history++] = line;
    l->at = l->n_history;
    l->n = l->cursor = 0;
}

void input_free(struct input_line *l)
{
    for (size_t i = 0; i < l->n_history; i++)
        free(l->history[i]);
    free(l->set_aside);
    *l = (struct input_line){.n = 0};
}

/* On one line, each character as wide as every terminal has it. */
static void print_part(struct buf *to, struct str text)
{
    size_t from = to->n;

    for (; text.n; text = str_skip(text, 1)) {
        if (*text.p == '\n')
            buf_append_str(to, STR("\xe2\x86\xb5")); /* U+21B5 */
        else
            buf_append_char(to, *text.p == '\t' ? ' ' : *text.p);
    }
    terminal_part(to, from);
}

struct str input_shown(const struct input_line *l, size_t width, struct buf *to, size_t *ret_column)
{
    size_t from = 0, used, end, w, n;

    to->n = 0;
    print_part(to, (struct str){l->text, l->cursor});
    end = to->n;
    print_part(to, (struct str){l->text + l->cursor, l->n - l->cursor});
    *ret_column = 0;
    if (buf_error(to) || !to->n)
        return STR("");
    for (*ret_column = terminal_width((struct str){to->p, end}); *ret_column >= width && from < end;
         *ret_column -= w)
        from += terminal_character(to->p + from, end - from, &w);
    used = *ret_column;
    for (; end < to->n; end += n) {
        n = terminal_character(to->p + end, to->n - end, &w);
        if (used + w > width)
            break;
        used += w;
    }
    return (struct str){to->p + from, end - from};
}
