#include "keyboard.h"

#include <curses.h>
#include <term.h>

#define SEQUENCE_MS 500  /* that the rest of a sequence may take */
#define PASTE_BEGINS 200 /* ESC [ 200 ~ */
#define PASTE_ENDS 201
#define PASTE_ON \
    "\033[?2004h" /* "bracketed paste", of xterm; what does not know it passes it over */
#define PASTE_OFF "\033[?2004l"
#define KEY_CTRL(c) ((c)&0x1f)

void keyboard_begin(void)
{
    raw();  /* Ctrl-C is a key: the terminal is put back in any case */
    nonl(); /* Enter is \r, which is not what a line of a pasted text ends with */
    noecho();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    putp(PASTE_ON);
    (void)!fflush(stdout); /* curses has a buffer of its own */
}

void keyboard_end(void)
{
    putp(PASTE_OFF);
    (void)!fflush(stdout);
}

static const struct {
    wint_t code;
    bool is_function_key;
    struct key key;
} keys[] = {
    {KEY_LEFT, true, {EDITS, INPUT_LEFT, 0}},
    {KEY_RIGHT, true, {EDITS, INPUT_RIGHT, 0}},
    {KEY_HOME, true, {EDITS, INPUT_HOME, 0}},
    {KEY_END, true, {EDITS, INPUT_END, 0}},
    {KEY_BACKSPACE, true, {EDITS, INPUT_BACKSPACE, 0}},
    {KEY_DC, true, {EDITS, INPUT_DELETE, 0}},
    {KEY_UP, true, {EDITS, INPUT_UP, 0}},
    {KEY_DOWN, true, {EDITS, INPUT_DOWN, 0}},
    {KEY_PPAGE, true, {.does = PAGES_UP}},
    {KEY_NPAGE, true, {.does = PAGES_DOWN}},
    {KEY_ENTER, true, {.does = ENTERS}},
    {KEY_CTRL('a'), false, {EDITS, INPUT_HOME, 0}},
    {KEY_CTRL('e'), false, {EDITS, INPUT_END, 0}},
    {KEY_CTRL('b'), false, {EDITS, INPUT_LEFT, 0}},
    {KEY_CTRL('f'), false, {EDITS, INPUT_RIGHT, 0}},
    {KEY_CTRL('h'), false, {EDITS, INPUT_BACKSPACE, 0}},
    {0x7f, false, {EDITS, INPUT_BACKSPACE, 0}},
    {KEY_CTRL('u'), false, {EDITS, INPUT_KILL_LINE, 0}},
    {KEY_CTRL('w'), false, {EDITS, INPUT_KILL_WORD, 0}},
    {KEY_CTRL('p'), false, {EDITS, INPUT_UP, 0}},
    {KEY_CTRL('n'), false, {EDITS, INPUT_DOWN, 0}},
    {KEY_CTRL('l'), false, {.does = REDRAWS}},
    {KEY_CTRL('c'), false, {.does = INTERRUPTS}},
    {KEY_CTRL('d'), false, {.does = ENDS}},
    {'\r', false, {.does = ENTERS}},
    {'\n', false, {.does = ENTERS}},
};

static bool read_key(wint_t code, bool is_function_key, struct key *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].code == code && keys[i].is_function_key == is_function_key) {
            *ret = keys[i].key;
            return true;
        }
    }
    *ret = (struct key){.does = TYPED, .character = (uint32_t)code};
    return !is_function_key;
}

static bool read_pasted(struct keyboard *k, wint_t code, struct key *ret)
{
    bool is_second = code == '\n' && k->cr;

    k->cr = code == '\r';
    *ret = (struct key){.does = PASTED, .character = k->cr ? '\n' : (uint32_t)code};
    return !is_second && (code >= 0x20 || code == '\r' || code == '\n' || code == '\t');
}

static bool end_sequence(struct keyboard *k, wint_t last, struct key *ret)
{
    static const enum input_key arrows[] = {INPUT_UP, INPUT_DOWN, INPUT_RIGHT, INPUT_LEFT};

    k->escape = NO_ESCAPE;
    if (last == '~' && (k->number == PASTE_BEGINS || k->number == PASTE_ENDS)) {
        k->pasting = k->number == PASTE_BEGINS;
        k->cr = false;
    }
    if (last < 'A' || last > 'D' || k->pasting)
        return false;
    *ret = (struct key){.does = EDITS, .edit = arrows[last - 'A']};
    return true;
}

/* What follows an Escape that curses has no name for: a sequence to its end, or Alt with a key.
 * None of it is text; arrows are known in both of their forms. */
static bool read_escape(struct keyboard *k, wint_t code, struct key *ret)
{
    if (k->escape == ESCAPE) {
        k->number = 0;
        k->escape = code == '[' ? SEQUENCE : code == 'O' ? LETTER : NO_ESCAPE;
        return false;
    }
    if (k->escape == LETTER || (code >= '@' && code <= '~'))
        return end_sequence(k, code, ret);
    if (code >= '0' && code <= '9' && k->number < 10000)
        k->number = k->number * 10 + (int)(code - '0');
    return false;
}

static bool read_code(struct keyboard *k, wint_t code, bool is_function_key, struct key *ret)
{
    if (!is_function_key && code == '\033') {
        k->escape = ESCAPE;
        k->escape_ends_ns = clock_monotonic_ns() + SEQUENCE_MS * NSEC_PER_MSEC;
        return false;
    }
    if (k->escape && !is_function_key)
        return read_escape(k, code, ret);
    if (k->pasting)
        return !is_function_key && read_pasted(k, code, ret);
    return read_key(code, is_function_key, ret);
}

bool keyboard_next(struct keyboard *k, struct key *ret)
{
    wint_t code;
    int what;

    if (k->escape && k->escape_ends_ns <= clock_monotonic_ns())
        k->escape = NO_ESCAPE; /* it was the key alone */
    while ((what = get_wch(&code)) != ERR) {
        if (read_code(k, code, what == KEY_CODE_YES, ret))
            return true;
    }
    if (k->escape == ESCAPE) /* nothing came with it */
        k->escape = NO_ESCAPE;
    return false;
}
