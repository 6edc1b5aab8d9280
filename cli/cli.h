/* What the programs of the command line share: terminals, and text in manual pages. One thread. */
#ifndef STOA_CLI_CLI_H
#define STOA_CLI_CLI_H

#include "base/base.h"
#include "base/buf.h"
#include "base/version.h"

#include <stdio.h>

/* A group of commands: `stoa task ...`. main gets argv[0] as the group's name. */
struct command_group {
    const char *name, *summary; /* NULL: not for people */
    int (*main)(int argc, char **argv);
};

/* Whether output may have colours: a terminal that knows them, and NO_COLOR (https://no-color.org)
 * not set. */
bool terminal_has_color(void);

/* Whether NO_COLOR forbids colours. */
bool terminal_no_color(void);

/* Columns that a text takes: two for CJK and emoji, none for combining marks and for escape codes
 * of colours; a byte that is no UTF-8 counts as one. A flag, a family, a skin tone, a sign that is
 * asked to be an emoji: what is one for the reader has two columns, as in terminals that know
 * grapheme clusters (mode 2027). Others show its parts: terminal_part(). */
size_t terminal_width(struct str s);

/* Appends s, cut to `width` columns at a character's end and filled with spaces up to it. */
void terminal_pad(struct buf *to, struct str s, size_t width);

/* Appends somebody else's text so that a terminal shows it and does nothing else: control
 * characters (C0, DEL, C1) become pictures or U+FFFD, as do what turns the direction of a text and
 * what is no UTF-8. Line ends stay with `lines`, and tabs become spaces; without, both become one
 * space. */
void terminal_clean(struct buf *to, struct str s, bool lines);

/* The same for JSON: what JSON itself lets through becomes \uXXXX. */
void terminal_clean_json(struct buf *to, struct str json);

/* Takes emoji apart in what was appended since `from`: without joiners, skin tones and what asks
 * for one or another look. All terminals then agree on the columns; for where it must be known in
 * which one something is. */
void terminal_part(struct buf *b, size_t from);

/* Columns of the terminal at standard output; 0: it is none, or does not say. */
size_t terminal_columns(void);

/* The bytes of the character at p (an escape code of colours counts as one, and so does all that
 * combines with it or is joined to it), at least 1, and the columns that it takes. */
size_t terminal_character(const char *p, size_t left, size_t *ret_width);

/* Takes the next line of at most `width` columns off *rest: up to a line end, else parted at the
 * last space, else anywhere between two characters. Text that is empty gives one empty line. */
struct str terminal_wrap(struct str *rest, size_t width);

/* Writes text to standard output; when that is a terminal with fewer rows than the text has lines,
 * by way of $PAGER (less). 0 or negative errno. */
int terminal_page(struct str text) MUST_CHECK;

/* Writes to standard output. A reader that is gone ends the program silently, as a signal would. */
int terminal_write(struct str text) MUST_CHECK;

/* Manual pages in roff. A line of text must not begin with a dot or an apostrophe there, and a
 * hyphen and a backslash are what they are.
 *
 * The title, which comes first; page: "stoa-task". */
void roff_title(struct buf *out, const char *page);

/* A line as it is, for headings and where lines are not filled. */
void roff_line(struct buf *out, const char *text);

/* Text that is filled: its source has short lines. */
void roff_text(struct buf *out, const char *text);

#endif
