/* What is typed on a screen of curses: keys, and text that is pasted. One thread. */
#ifndef STOA_CLI_CLIENT_KEYBOARD_H
#define STOA_CLI_CLIENT_KEYBOARD_H

#include "input_line.h"

/* Where in a sequence the keyboard is. */
enum escape { NO_ESCAPE, ESCAPE, SEQUENCE, LETTER };

struct keyboard {
    enum escape escape;
    int number; /* the one that the sequence has so far */
    int64_t escape_ends_ns;
    bool pasting, cr; /* cr: the last character that was pasted was one */
};

struct key {
    enum {
        TYPED,  /* a character */
        PASTED, /* likewise: part of one text, whatever key it is otherwise */
        EDITS,  /* the line */
        ENTERS, /* it */
        PAGES_UP,
        PAGES_DOWN,
        REDRAWS,
        INTERRUPTS,
        ENDS, /* the input */
    } does;
    enum input_key edit;
    uint32_t character;
};

/* After initscr(): keys come one by one, and text that is pasted is marked as such. */
void keyboard_begin(void);
/* After endwin(): it is no more. */
void keyboard_end(void);

/* The next key that means something. False: there is none now. */
bool keyboard_next(struct keyboard *k, struct key *ret);

#endif
