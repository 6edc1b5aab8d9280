/* Files that are never lost: read whole, changed in memory, put back whole.
 *
 * A change holds one to FILES_MAX files. files_begin() locks their folders (flock, in one order, so
 * that two programs never wait for each other), files_commit() writes each changed file beside the
 * old one, flushes it to the disk, and only when all of them are written renames them into place
 * and flushes the folders. So at any moment each file is whole, the old or the new one, and an
 * error before the first rename changes nothing. Several files change in the order in which they
 * were given: a task that moves is first in the one that takes it, so that a cut between leaves it
 * in both, in none never.
 *
 * Bytes that are not touched stay as they are: line ends (LF, CRLF, none at the end), any encoding,
 * NUL. A symbolic link is followed, its target is replaced. Mode and owner stay; a new file has
 * new_mode. A character device
 * (/dev/null) gets what was appended. One thread; the arena of the change owns the texts.
 */
#ifndef STOA_CLI_FILE_H
#define STOA_CLI_FILE_H

#include "bulk.h"

#include "base/arena.h"
#include "base/buf.h"

#include <sys/stat.h>

#define FILES_MAX 4
#define FILE_BYTES_MAX (INT64_C(1) << 30) /* of one file */

enum line_end { LINE_END_NONE, LINE_END_LF, LINE_END_CRLF };

struct file_line {
    struct str text;   /* without its end */
    enum line_end end; /* LINE_END_NONE: only the last line of a file */
};

struct file {
    const char *name; /* as it was given */
    const char *path; /* absolute, without symbolic links */
    int folder;       /* open; -1: only read */
    struct stat as_read;
    bool is_device, is_new; /* new: there was no such file */
    char *bytes;            /* as read */
    size_t size;
    struct file_line *lines;
    size_t n, room;
    bool changed;
    bool keep_backup; /* the file that is replaced stays as NAME.bak, as with todo.sh */
};

/* What a journal is told before the first rename. before and after: whole contents, which differ.
 */
struct file_change {
    const char *path;
    struct str before, after;
};

struct files {
    struct arena *arena;
    struct bulk bulk; /* of the files; also for those who work on them, until files_end() */
    struct file file[FILES_MAX];
    size_t n;
    size_t given[FILES_MAX]; /* which file the name at that place in the call means */
    int locks[FILES_MAX];    /* among the folders */
    size_t n_locks;
    mode_t new_mode; /* of files that are made, less the umask; 0: 0666 */
    bool no_memory;  /* a change to the lines failed; files_commit() says so */
    /* NULL or called once in files_commit(); cannot stop it. */
    void (*journal)(void *data, const struct file_change *changes, size_t n);
    void *journal_data;
    struct str error; /* one line for people, when a function below fails */
};

/* Reads without a lock: a look. Then files_at(), and files_end(). A file that is not there
 * is empty. Negative errno, with files->error. */
int files_look(struct files *f, struct arena *arena, const char *const *names, size_t n) MUST_CHECK;

/* The same under lock, for a change. */
int files_begin(struct files *f, struct arena *arena, const char *const *names,
                size_t n) MUST_CHECK;

/* Puts back what has changed. Negative errno, with f->error, which says whether anything was
 * changed. */
int files_commit(struct files *f) MUST_CHECK;

/* Unlocks and frees. Safe after any of the above, also when it failed. */
void files_end(struct files *f);

/* The file of the name at that place of the call; the same file under two names is one. */
static inline struct file *files_at(struct files *f, size_t place)
{
    return &f->file[f->given[place]];
}

/* Lines count from 0 here. The text is kept, not copied, and has no line end. */
void file_set(struct file *file, size_t at, struct str text);
void file_append(struct files *f, struct file *file, struct str text);
void file_remove_empty(struct file *file);
/* All of it; for an editor's result. Keeps bytes, does not copy. */
void file_replace(struct files *f, struct file *file, struct str bytes);

/* Appends what there is up to the end, also of a pipe. Negative errno; -EMSGSIZE: it is more than
 * the buffer takes. */
int read_all(int fd, struct buf *to) MUST_CHECK;

/* The same of a file; "-": standard input. -EFBIG: it is more than the buffer takes. */
int read_path(const char *path, struct buf *to) MUST_CHECK;

/* Writes all of it, however often the kernel takes only a part. Negative errno. */
int write_all(int fd, struct str bytes) MUST_CHECK;

static inline bool file_line_is_empty(const struct file *file, size_t at)
{
    return file->lines[at].text.n == 0;
}

#endif
