/* What somebody types: editing, and what was typed before. A line, but when what was pasted has
 * more of them. Pure; one thread. */
#ifndef STOA_CLI_CLIENT_INPUT_LINE_H
#define STOA_CLI_CLIENT_INPUT_LINE_H

#include "base/buf.h"

#define INPUT_BYTES_MAX 4096 /* as a message */
#define INPUT_HISTORY 100

struct input_line {
    char text[INPUT_BYTES_MAX + 1];
    size_t n, cursor;             /* bytes; cursor at a character's beginning */
    char *history[INPUT_HISTORY]; /* the oldest first */
    size_t n_history, at;         /* at == n_history: the new line */
    char *set_aside;              /* the new line, while an old one is looked at */
};

enum input_key {
    INPUT_LEFT,
    INPUT_RIGHT,
    INPUT_HOME,
    INPUT_END,
    INPUT_BACKSPACE,
    INPUT_DELETE,
    INPUT_KILL_LINE, /* to the beginning */
    INPUT_KILL_WORD, /* the one before the cursor */
    INPUT_UP,        /* the line before */
    INPUT_DOWN,
};

void input_key(struct input_line *l, enum input_key key);
/* Puts a character in. False: there is no room, or it is a control character other than a line end
 * and a tab. */
bool input_character(struct input_line *l, uint32_t c);
/* Empties the line, and remembers what it was. */
void input_done(struct input_line *l);
void input_free(struct input_line *l);

/* The part that is shown in `width` columns with the cursor in it, made in `to` in place of what it
 * had; *ret_column: the cursor's. Line ends are shown as arrows. */
struct str input_shown(const struct input_line *l, size_t width, struct buf *to,
                       size_t *ret_column);

#endif
