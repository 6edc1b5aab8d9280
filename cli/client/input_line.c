#include "input_line.h"

#include "../cli.h"

#include <stdlib.h>
#include <unistr.h>

/* Where the character before `at` begins, with what combines with it. */
static size_t before(const struct input_line *l, size_t at)
{
    size_t width = 0;

    while (at && !width) {
        do
            at--;
        while (at && ((unsigned char)l->text[at] & 0xc0) == 0x80);
        terminal_character(l->text + at, l->n - at, &width);
    }
    return at;
}

static size_t after(const struct input_line *l, size_t at)
{
    size_t width;

    if (at < l->n)
        at += terminal_character(l->text + at, l->n - at, &width);
    while (at < l->n) {
        size_t n = terminal_character(l->text + at, l->n - at, &width);

        if (width)
            break;
        at += n;
    }
    return at;
}

static void cut(struct input_line *l, size_t from, size_t to)
{
    memmove(l->text + from, l->text + to, l->n - to);
    l->n -= to - from;
    l->cursor = from;
}

static void kill_word(struct input_line *l)
{
    size_t from = l->cursor;

    while (from && l->text[from - 1] == ' ')
        from--;
    while (from && l->text[from - 1] != ' ')
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

    if (n <= 0 || c < 0x20 || (c >= 0x7f && c < 0xa0) || l->n + (size_t)n > INPUT_BYTES_MAX)
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

struct str input_shown(const struct input_line *l, size_t width, size_t *ret_column)
{
    size_t from = 0, column = terminal_width((struct str){l->text, l->cursor}), used = 0, to;

    while (column >= width && from < l->cursor) {
        size_t w, n = terminal_character(l->text + from, l->n - from, &w);

        from += n;
        column -= w;
    }
    for (to = from; to < l->n;) {
        size_t w, n = terminal_character(l->text + to, l->n - to, &w);

        if (used + w > width)
            break;
        used += w;
        to += n;
    }
    *ret_column = column;
    return (struct str){l->text + from, to - from};
}
