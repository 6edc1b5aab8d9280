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

/* It is sent: the editor's file goes. */
void text_source_done(struct text_source *s);

/* It could not be sent: keeps `text` (the source's own, or what else is to be known of it), and
 * returns where. NULL: it is in the user's own file. A failure is told. */
const char *text_source_keep(struct text_source *s, struct client *c, struct str text);

#endif
