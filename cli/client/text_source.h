/* A text that is to be sent: from a file, standard input or the editor; and kept in a file when it
 * could not be sent. One thread. */
#ifndef STOA_CLI_CLIENT_TEXT_SOURCE_H
#define STOA_CLI_CLIENT_TEXT_SOURCE_H

#include "../editor.h"
#include "client.h"

struct text_source {
    struct str text;
    bool edited;      /* by the editor: it has a file of its own */
    const char *file; /* -F: the user's own file; NULL: none */
    struct editor editor;
};

/* Option -F, or else standard input when that is no terminal, or else the editor, which begins with
 * `start`. 0 or an exit status, told. */
int text_source_read(struct text_source *s, struct client *c, struct str start) MUST_CHECK;

/* The arguments from the second one on, or else the same; without blanks at its end, and with a NUL
 * behind it. The source has no text then that is the arguments'. */
int text_source_words(struct text_source *s, struct client *c, struct str *ret) MUST_CHECK;

/* There is nothing to send. An exit status, told. */
int text_source_nothing(struct text_source *s, struct client *c) MUST_CHECK;

/* It is sent: the editor's file goes. */
void text_source_done(struct text_source *s);

/* It could not be sent: keeps `text` (the source's own, or what else is to be known of it), and
 * returns where. NULL: it is in the user's own file. A failure is told. */
const char *text_source_keep(struct text_source *s, struct client *c, struct str text);

/* The same, then tells the line of the error, where the text is and that `again -F FILE` sends it.
 * Returns the status. text: STR_NULL, there is nothing to keep. */
int text_source_fail(struct text_source *s, struct client *c, int status, struct str line,
                     struct str text, const char *again);

#endif
