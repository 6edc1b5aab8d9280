/* The undo journal: the last changes, newest last, and the way back.
 *
 * One file for each todo file, in $XDG_STATE_HOME/stoa/undo/ (folder and file are the owner's
 * alone): an entry holds, for each task file of a change, the place and the bytes that it took away
 * and put there, and the size and hash of the whole file before and after. An entry is written
 * before the files are; one whose change then did not happen is seen by its hashes and dropped. It
 * keeps JOURNAL_BYTES_MAX: the oldest entries go. A torn entry (a kill, a power cut) is passed
 * over. One thread. The caller holds the locks of the task files (file.h), which is the journal's
 * lock too.
 */
#ifndef STOA_CLI_TASK_JOURNAL_H
#define STOA_CLI_TASK_JOURNAL_H

#include "../file.h"

#define JOURNAL_BYTES_MAX (4 << 20)

struct journal {
    struct arena *arena;
    const char *path;   /* NULL: there is no place for one */
    struct str command; /* what is done, for the entry: "do 3" */
    struct str problem; /* one line, when an entry could not be written */
};

/* Where the journal of todo_path is; makes its folders. Without a place j->problem says why. */
void journal_open(struct journal *j, struct arena *arena, const char *todo_path);

/* A files.journal: adds an entry. data: struct journal. On failure sets j->problem. */
void journal_add(void *data, const struct file_change *changes, size_t n);

/* The names of the files that the newest entry changed, for files_begin(). -ENOENT: no entry. */
int journal_newest(struct journal *j, const char **ret_names, size_t *ret_n) MUST_CHECK;

/* Puts back in `files`, which have been begun with those names, what the newest entry took; does
 * not commit them. ret_command: what is undone. -ENOENT: the entry's change never happened, call
 * journal_drop() and begin again; -ESTALE: a file was changed since by something else. */
int journal_undo(struct journal *j, struct files *files, struct str *ret_command) MUST_CHECK;

/* Forgets the newest entry; after files_commit(). */
int journal_drop(struct journal *j) MUST_CHECK;

#endif
