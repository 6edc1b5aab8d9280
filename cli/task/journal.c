#include "journal.h"

#include "../file.h"
#include "../paths.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC "stoa-undo-1"
#define HEADER_MAX 128

/* Not against an adversary: whoever may write the journal may write the task files. */
static uint64_t hash(struct str s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ s.n;

    while (s.n >= 8) {
        uint64_t word;

        memcpy(&word, s.p, 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
        s = str_skip(s, 8);
    }
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return h ^ (h >> 32);
}

/* ---- where ---- */

void journal_open(struct journal *j, struct arena *arena, const char *todo_path)
{
    const char *state, *folder;
    int err;

    *j = (struct journal){.arena = arena};
    state = paths_xdg(arena, "XDG_STATE_HOME", "/.local/state");
    if (!state) {
        j->problem = STR("no undo: set HOME or XDG_STATE_HOME to an absolute path");
        return;
    }
    folder = arena_printf(arena, "%s/stoa/undo", state).p;
    err = folder ? paths_make_folders(folder, 0700) : -ENOMEM;
    if (err)
        j->problem = arena_printf(arena, "no undo: cannot make the folder %s: %s",
                                  folder ? folder : "", strerror(-err));
    else
        j->path = arena_printf(arena, "%s/%016" PRIx64, folder, hash(str_of(todo_path))).p;
}

/* ---- entries ---- */

/*     stoa-undo-1 BYTES HASH\n     of the body that follows:
 *     COMMAND-BYTES FILES\n COMMAND
 *     for each file: PATH OFFSET OLD NEW BEFORE-SIZE BEFORE-HASH AFTER-SIZE AFTER-HASH\n, where
 * PATH, OLD and NEW are numbers of bytes, and then these bytes. */
struct entry_file {
    struct str path, old, new;
    size_t offset, before_size, after_size;
    uint64_t before_hash, after_hash;
};

struct entry {
    size_t at; /* in the journal */
    struct str command;
    struct entry_file file[FILES_MAX];
    size_t n;
};

static void print_file(const struct file_change *c, struct buf *to)
{
    size_t shorter = c->before.n < c->after.n ? c->before.n : c->after.n;
    size_t head = 0, tail = 0;

    while (head < shorter && c->before.p[head] == c->after.p[head])
        head++;
    while (tail < shorter - head &&
           c->before.p[c->before.n - tail - 1] == c->after.p[c->after.n - tail - 1])
        tail++;
    buf_printf(to, "%zu %zu %zu %zu %zu %" PRIx64 " %zu %" PRIx64 "\n", strlen(c->path), head,
               c->before.n - head - tail, c->after.n - head - tail, c->before.n, hash(c->before),
               c->after.n, hash(c->after));
    buf_append_str(to, str_of(c->path));
    buf_append(to, c->before.p ? c->before.p + head : "", c->before.n - head - tail);
    buf_append(to, c->after.p ? c->after.p + head : "", c->after.n - head - tail);
}

static bool take_bytes(struct str *rest, size_t n, struct str *ret)
{
    if (n > rest->n)
        return false;
    *ret = (struct str){rest->p, n};
    *rest = str_skip(*rest, n);
    return true;
}

/* A line of numbers, of which there are n; they say their base. */
static bool take_numbers(struct str *rest, const char *bases, uint64_t *ret)
{
    size_t most = rest->n < HEADER_MAX * 2 ? rest->n : HEADER_MAX * 2;
    const char *lf = most ? memchr(rest->p, '\n', most) : NULL;
    char text[HEADER_MAX * 2 + 1], *p = text;
    size_t n = lf ? (size_t)(lf - rest->p) : 0;

    if (!lf)
        return false;
    memcpy(text, rest->p, n);
    text[n] = '\0';
    *rest = str_skip(*rest, n + 1);
    for (; *bases; bases++, ret++) {
        char *end;

        errno = 0;
        *ret = strtoull(p, &end, *bases == 'x' ? 16 : 10);
        if (errno || end == p)
            return false;
        p = end;
    }
    return *p == '\0';
}

static bool read_file(struct str *rest, struct entry_file *f)
{
    uint64_t v[8];

    if (!take_numbers(rest, "dddddxdx", v) || !take_bytes(rest, v[0], &f->path) ||
        !take_bytes(rest, v[2], &f->old) || !take_bytes(rest, v[3], &f->new))
        return false;
    f->offset = v[1];
    f->before_size = v[4];
    f->before_hash = v[5];
    f->after_size = v[6];
    f->after_hash = v[7];
    return f->offset <= f->after_size && f->new.n <= f->after_size - f->offset &&
           f->before_size == f->after_size - f->new.n + f->old.n;
}

/* The entry at the start of *rest; false: the end, or damage. */
static bool read_entry(struct str *rest, struct entry *ret)
{
    struct str body;
    uint64_t v[2];

    if (!str_starts(*rest, STR(MAGIC " ")))
        return false;
    *rest = str_skip(*rest, sizeof(MAGIC));
    if (!take_numbers(rest, "dx", v) || !take_bytes(rest, v[0], &body) || hash(body) != v[1])
        return false;
    if (!take_numbers(&body, "dd", v) || !take_bytes(&body, v[0], &ret->command) || v[1] < 1 ||
        v[1] > FILES_MAX)
        return false;
    ret->n = v[1];
    for (size_t i = 0; i < ret->n; i++) {
        if (!read_file(&body, &ret->file[i]))
            return false;
    }
    return true;
}

static int read_journal(const struct journal *j, struct buf *ret)
{
    int fd = open(j->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int err;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    err = read_all(fd, ret);
    close(fd);
    return err;
}

/* A journal never grows beyond two entries of the greatest size. */
#define JOURNAL_READ_MAX (3 * JOURNAL_BYTES_MAX)

static bool newest_entry(struct str all, struct entry *ret)
{
    struct str rest = all;
    struct entry e;
    bool found = false;

    while (rest.n) {
        const char *next;

        e.at = all.n - rest.n;
        if (read_entry(&rest, &e)) {
            *ret = e;
            found = true;
            continue;
        }
        /* A program that was killed left a part of an entry; whole ones may follow it. */
        rest = str_skip(all, e.at + 1);
        next = rest.p && rest.n ? memmem(rest.p, rest.n, MAGIC, sizeof(MAGIC) - 1) : NULL;
        rest = next ? str_skip(rest, (size_t)(next - rest.p)) : STR_NULL;
    }
    return found;
}

/* ---- writing ---- */

static int write_journal(const struct journal *j, struct str bytes)
{
    struct str new = arena_printf(j->arena, "%s.new", j->path);
    int fd, err;

    if (!new.p)
        return -ENOMEM;
    fd = open(new.p, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    err = write_all(fd, bytes);
    if (close(fd) && !err)
        err = -errno;
    return !err && rename(new.p, j->path) ? -errno : err;
}

/* Where the entries begin that stay when n bytes come: half of the room is made at once. */
static size_t first_kept(struct str all, size_t n)
{
    struct str rest = all;
    struct entry e;

    if (all.n + n <= JOURNAL_BYTES_MAX)
        return 0;
    while (rest.n > JOURNAL_BYTES_MAX / 2 && read_entry(&rest, &e))
        ;
    return rest.n > JOURNAL_BYTES_MAX / 2 ? all.n : all.n - rest.n;
}

static int append(const struct journal *j, struct str entry)
{
    int fd = open(j->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    int err = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st)) {
        err = -errno;
    } else if ((uint64_t)st.st_size + entry.n > JOURNAL_BYTES_MAX) {
        err = -EFBIG;
    } else {
        n = write(fd, entry.p, entry.n);
        if (n < 0 || (size_t)n < entry.n) {
            err = n < 0 ? -errno : -ENOSPC;
            /* A torn entry would hide those that come after it. */
            if (ftruncate(fd, st.st_size))
                err = -errno;
        }
    }
    if (close(fd) && !err)
        err = -errno;
    return err;
}

static int add(const struct journal *j, struct buf *entry)
{
    struct buf all CLEANUP(buf_free) = {.max = JOURNAL_READ_MAX};
    struct buf kept CLEANUP(buf_free) = {.max = JOURNAL_READ_MAX};
    int err = append(j, buf_str(entry));

    if (err != -EFBIG)
        return err;
    err = read_journal(j, &all);
    if (err)
        return err;
    buf_append_str(&kept, str_skip(buf_str(&all), first_kept(buf_str(&all), entry->n)));
    buf_append_str(&kept, buf_str(entry));
    return buf_error(&kept) ? buf_error(&kept) : write_journal(j, buf_str(&kept));
}

void journal_add(void *data, const struct file_change *changes, size_t n)
{
    struct journal *j = data;
    struct buf body CLEANUP(buf_free) = {.max = JOURNAL_BYTES_MAX};
    struct buf entry CLEANUP(buf_free) = {.max = JOURNAL_BYTES_MAX};
    int err;

    if (!j->path)
        return;
    buf_printf(&body, "%zu %zu\n", j->command.n, n);
    buf_append_str(&body, j->command);
    for (size_t i = 0; i < n; i++)
        print_file(&changes[i], &body);
    buf_printf(&entry, MAGIC " %zu %" PRIx64 "\n", body.n, hash(buf_str(&body)));
    buf_append_str(&entry, buf_str(&body));
    err = buf_error(&body) ? buf_error(&body) : buf_error(&entry);
    if (!err)
        err = add(j, &entry);
    if (err)
        j->problem = err == -EMSGSIZE
                         ? STR("this change is too large to be undone")
                         : arena_printf(j->arena, "this change cannot be undone: %s: %s", j->path,
                                        strerror(-err));
}

/* ---- undo ---- */

int journal_newest(struct journal *j, const char **ret_names, size_t *ret_n)
{
    struct buf all CLEANUP(buf_free) = {.max = JOURNAL_READ_MAX};
    struct entry e;
    int err = j->path ? read_journal(j, &all) : -ENOENT;

    if (err)
        return err;
    if (!newest_entry(buf_str(&all), &e))
        return -ENOENT;
    for (size_t i = 0; i < e.n; i++) {
        /* In the other direction: what was written last goes first. */
        ret_names[i] = arena_copy(j->arena, e.file[e.n - 1 - i].path).p;
        if (!ret_names[i])
            return -ENOMEM;
    }
    *ret_n = e.n;
    return 0;
}

static bool is_content(const struct file *file, size_t size, uint64_t h)
{
    return file->size == size && hash((struct str){file->bytes, file->size}) == h;
}

static int put_back(struct files *files, struct file *file, const struct entry_file *e)
{
    struct buf bytes = {.max = FILE_BYTES_MAX};
    struct str whole = {file->bytes, file->size}, kept;

    buf_append(&bytes, file->bytes ? file->bytes : "", e->offset);
    buf_append_str(&bytes, e->old);
    buf_append_str(&bytes, str_skip(whole, e->offset + e->new.n));
    kept = buf_error(&bytes) ? STR_NULL : arena_copy(files->arena, buf_str(&bytes));
    buf_free(&bytes);
    if (!kept.p)
        return -ENOMEM;
    file_replace(files, file, kept);
    return 0;
}

int journal_undo(struct journal *j, struct files *files, struct str *ret_command)
{
    struct buf all CLEANUP(buf_free) = {.max = JOURNAL_READ_MAX};
    struct entry e;
    bool happened = false;
    int err = read_journal(j, &all);

    if (err)
        return err;
    if (!newest_entry(buf_str(&all), &e))
        return -ENOENT;
    for (size_t i = 0; i < e.n && !err; i++) {
        const struct entry_file *ef = &e.file[i];
        struct file *file = files_at(files, e.n - 1 - i);

        if (!str_eq(str_of(file->path), ef->path))
            return -ESTALE; /* another change came first, or the path leads elsewhere now */
        if (is_content(file, ef->after_size, ef->after_hash)) {
            happened = true;
            err = put_back(files, file, ef);
        } else if (!is_content(file, ef->before_size, ef->before_hash)) {
            return -ESTALE;
        }
    }
    if (err || !happened)
        return err ? err : -ENOENT;
    *ret_command = arena_copy(j->arena, e.command);
    return ret_command->p ? 0 : -ENOMEM;
}

int journal_drop(struct journal *j)
{
    struct buf all CLEANUP(buf_free) = {.max = JOURNAL_READ_MAX};
    struct entry e;
    int err = read_journal(j, &all);

    if (err || !newest_entry(buf_str(&all), &e))
        return err;
    return truncate(j->path, (off_t)e.at) ? -errno : 0;
}
