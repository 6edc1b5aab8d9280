/* A text that is changed in $VISUAL or $EDITOR, by way of a file. One thread. */
#ifndef STOA_CLI_EDITOR_H
#define STOA_CLI_EDITOR_H

#include "base/arena.h"

#include <limits.h>

struct editor {
    struct arena *arena;
    char path[PATH_MAX]; /* the file; the caller removes it when it is needed no more */
    struct str error;    /* one line, when a function below fails */
};

/* Writes the text to a new file of the owner's alone, in `folder` (NULL: $TMPDIR or /tmp), whose
 * name ends with `suffix`. Negative errno. */
int editor_write(struct editor *e, struct arena *arena, const char *folder, const char *suffix,
                 struct str text) MUST_CHECK;

/* Opens it in the editor, waits for its end, and reads what is there then. Negative errno. */
int editor_run(struct editor *e, struct str *ret) MUST_CHECK;

#endif
