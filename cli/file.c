#include "file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define LINKS_MAX 40   /* as many as the kernel follows */
#define SPARE_LINES 64 /* room for lines that are appended */

static int fail(struct files *f, int err, const char *what, const char *name)
{
    f->error = arena_printf(f->arena, "cannot %s %s: %s", what, name, strerror(-err));
    if (!f->error.p)
        f->error = STR("out of memory");
    return err;
}

/* ---- names ---- */

/* The path without symbolic links of a file that may not be there yet. */
static int resolve(struct files *f, const char *name, const char **ret)
{
    char target[PATH_MAX], folder[PATH_MAX];
    struct str path = str_of(name);
    const char *slash;
    ssize_t n;

    assert(name);
    for (int i = 0; i < LINKS_MAX; i++) {
        slash = strrchr(path.p, '/');
        n = readlink(path.p, target, sizeof(target));
        if (n < 0 || (size_t)n == sizeof(target)) {
            struct str start = arena_copy(
                f->arena, slash ? (struct str){path.p, (size_t)(slash - path.p) + 1} : STR("."));

            if (!start.p)
                return fail(f, -ENOMEM, "open", name);
            if (!realpath(start.p, folder))
                return fail(f, -errno, "open the folder of", name);
            path = arena_printf(f->arena, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
                                slash ? slash + 1 : path.p);
            if (!path.p)
                return fail(f, -ENOMEM, "open", name);
            *ret = path.p;
            return 0;
        }
        path = target[0] == '/' || !slash
                   ? arena_copy(f->arena, (struct str){target, (size_t)n})
                   : arena_printf(f->arena, "%.*s%.*s", (int)(slash - path.p) + 1, path.p, (int)n,
                                  target);
        if (!path.p)
            return fail(f, -ENOMEM, "open", name);
    }
    return fail(f, -ELOOP, "open", name);
}

static const char *base_of(const struct file *file)
{
    return strrchr(file->path, '/') + 1;
}

/* ---- locks ---- */

static int compare_folders(const void *a, const void *b)
{
    const struct stat *x = a, *y = b;

    if (x->st_dev != y->st_dev)
        return x->st_dev < y->st_dev ? -1 : 1;
    return (x->st_ino > y->st_ino) - (x->st_ino < y->st_ino);
}

static int open_folders(struct files *f, struct stat *ret_stats)
{
    for (size_t i = 0; i < f->n; i++) {
        struct file *file = &f->file[i];
        size_t n = (size_t)(base_of(file) - file->path);
        struct str folder = arena_copy(f->arena, (struct str){file->path, n});

        if (!folder.p)
            return fail(f, -ENOMEM, "open", file->name);
        file->folder = open(folder.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (file->folder < 0 || fstat(file->folder, &ret_stats[i]))
            return fail(f, -errno, "open the folder", folder.p);
    }
    return 0;
}

/* The folder is what is locked: the file itself is another one after each change. */
static int lock_folders(struct files *f)
{
    struct stat stats[FILES_MAX], sorted[FILES_MAX];
    int err;

    memset(stats, 0, sizeof(stats));
    err = open_folders(f, stats);
    if (err)
        return err;
    memcpy(sorted, stats, sizeof(sorted));
    qsort(sorted, f->n, sizeof(*sorted), compare_folders);
    for (size_t i = 0; i < f->n; i++) {
        size_t which = 0;

        if (i > 0 && compare_folders(&sorted[i], &sorted[i - 1]) == 0)
            continue;
        while (compare_folders(&stats[which], &sorted[i]) != 0)
            which++;
        f->locks[f->n_locks] = f->file[which].folder;
        while (flock(f->locks[f->n_locks], LOCK_EX)) {
            if (errno != EINTR)
                return fail(f, -errno, "lock the folder of", f->file[which].name);
        }
        f->n_locks++;
    }
    return 0;
}

/* ---- reading ---- */

static bool make_room(struct files *f, struct file *file, size_t room)
{
    struct file_line *lines;

    if (room <= file->room)
        return true;
    lines = bulk_alloc(&f->bulk, room, sizeof(*lines));
    if (!lines)
        return false;
    if (file->n)
        memcpy(lines, file->lines, file->n * sizeof(*lines));
    file->lines = lines;
    file->room = room;
    return true;
}

/* By parts of a size that the compiler knows, which it then counts many bytes at a time. */
static size_t count_line_ends(struct str bytes)
{
    unsigned char part[128];
    size_t n = 0;

    for (size_t at = 0; at < bytes.n; at += sizeof(part)) {
        size_t left = bytes.n - at;
        unsigned char ends = 0;

        if (left < sizeof(part))
            memset(part, 0, sizeof(part));
        memcpy(part, bytes.p + at, left < sizeof(part) ? left : sizeof(part));
        for (size_t i = 0; i < sizeof(part); i++)
            ends = (unsigned char)(ends + (part[i] == '\n'));
        n += ends;
    }
    return n;
}

static bool split(struct files *f, struct file *file, struct str bytes)
{
    file->n = 0;
    if (!make_room(f, file, count_line_ends(bytes) + 1 + SPARE_LINES))
        return false;
    for (const char *p = bytes.p, *end = p + bytes.n; bytes.n && p < end;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *stop = lf ? lf : end;
        enum line_end kind = lf ? LINE_END_LF : LINE_END_NONE;

        if (lf && stop > p && stop[-1] == '\r') {
            stop--;
            kind = LINE_END_CRLF;
        }
        file->lines[file->n++] = (struct file_line){{p, (size_t)(stop - p)}, kind};
        p = lf ? lf + 1 : end;
    }
    return true;
}

static int read_bytes(struct files *f, struct file *file, int fd)
{
    size_t size = (size_t)file->as_read.st_size;

    if (file->as_read.st_size > FILE_BYTES_MAX)
        return fail(f, -EFBIG, "read", file->name);
    file->bytes = bulk_alloc(&f->bulk, size + 1, 1);
    if (!file->bytes)
        return fail(f, -ENOMEM, "read", file->name);
    while (file->size < size) {
        ssize_t n = read(fd, file->bytes + file->size, size - file->size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(f, -errno, "read", file->name);
        if (n == 0)
            break; /* was made shorter meanwhile */
        file->size += (size_t)n;
    }
    if (!split(f, file, (struct str){file->bytes, file->size}))
        return fail(f, -ENOMEM, "read", file->name);
    return 0;
}

static int load(struct files *f, struct file *file)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int err = 0;

    if (fd < 0 && errno == ENOENT) {
        file->is_new = true;
        return 0;
    }
    if (fd < 0 || fstat(fd, &file->as_read)) {
        err = fail(f, -errno, "read", file->name);
    } else if (S_ISCHR(file->as_read.st_mode)) {
        file->is_device = true;
    } else if (!S_ISREG(file->as_read.st_mode)) {
        f->error = arena_printf(f->arena, "cannot read %s: not a file", file->name);
        err = -EINVAL;
    } else {
        err = read_bytes(f, file, fd);
    }
    if (fd >= 0)
        close(fd);
    return err;
}

static int add_names(struct files *f, struct arena *arena, const char *const *names, size_t n)
{
    *f = (struct files){.arena = arena};
    for (size_t i = 0; i < n; i++) {
        struct file *file = &f->file[f->n];
        int err;

        *file = (struct file){.name = names[i], .folder = -1};
        err = resolve(f, names[i], &file->path);
        if (err)
            return err;
        assert(file->path);
        for (f->given[i] = 0; f->given[i] < f->n; f->given[i]++) {
            if (strcmp(f->file[f->given[i]].path, file->path) == 0)
                break;
        }
        if (f->given[i] == f->n)
            f->n++;
    }
    return 0;
}

static int load_all(struct files *f)
{
    int err = 0;

    for (size_t i = 0; i < f->n && !err; i++)
        err = load(f, &f->file[i]);
    return err;
}

int files_look(struct files *f, struct arena *arena, const char *const *names, size_t n)
{
    int err = add_names(f, arena, names, n);

    return err ? err : load_all(f);
}

int files_begin(struct files *f, struct arena *arena, const char *const *names, size_t n)
{
    int err = add_names(f, arena, names, n);

    if (!err)
        err = lock_folders(f);
    return err ? err : load_all(f);
}

void files_end(struct files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        if (f->file[i].folder >= 0)
            close(f->file[i].folder); /* and with it its lock */
    }
    bulk_free(&f->bulk);
    f->n = f->n_locks = 0;
}

/* ---- changing ---- */

void file_set(struct file *file, size_t at, struct str text)
{
    file->lines[at].text = text;
    file->changed = true;
}

void file_append(struct files *f, struct file *file, struct str text)
{
    enum line_end end = LINE_END_LF;

    if (file->n == file->room && !make_room(f, file, file->room * 2 + SPARE_LINES)) {
        f->no_memory = true;
        return;
    }
    if (file->n) {
        struct file_line *last = &file->lines[file->n - 1];
        /* A line end like those that are there. */
        const struct file_line *like = last->end == LINE_END_NONE && file->n > 1 ? last - 1 : last;

        if (like->end == LINE_END_CRLF)
            end = LINE_END_CRLF;
        if (last->end == LINE_END_NONE)
            last->end = end;
    }
    file->lines[file->n++] = (struct file_line){text, end};
    file->changed = true;
}

void file_remove_empty(struct file *file)
{
    size_t kept = 0;

    for (size_t i = 0; i < file->n; i++) {
        if (!file_line_is_empty(file, i))
            file->lines[kept++] = file->lines[i];
    }
    if (kept != file->n)
        file->changed = true;
    file->n = kept;
}

void file_replace(struct files *f, struct file *file, struct str bytes)
{
    if (!split(f, file, bytes))
        f->no_memory = true;
    file->changed = true;
}

/* ---- writing ---- */

struct pending {
    struct file *file;
    struct buf bytes;
    struct str name, temporary, backup; /* in the folder */
    bool written;                       /* the temporary file is there */
    bool in_place;                      /* and now it is the file */
};

static void print_lines(const struct file *file, struct buf *to)
{
    static const struct str ends[] = {{"", 0}, {"\n", 1}, {"\r\n", 2}};

    for (size_t i = 0; i < file->n; i++) {
        buf_append_str(to, file->lines[i].text);
        buf_append_str(to, ends[file->lines[i].end]);
    }
}

int read_all(int fd, struct buf *to)
{
    for (;;) {
        size_t room = to->max - to->n > 65536 ? 65536 : 4096;
        char *part = buf_reserve(to, room);
        ssize_t n = part ? read(fd, part, room) : 0;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : buf_error(to);
        to->n += (size_t)n;
    }
}

int read_path(const char *path, struct buf *to)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 ? -errno : read_all(fd, to);

    if (fd > STDIN_FILENO)
        close(fd);
    return err == -EMSGSIZE ? -EFBIG : err;
}

int write_all(int fd, struct str bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes = str_skip(bytes, (size_t)n);
    }
    return 0;
}

/* Mode and owner of the file that is replaced. Its owner may be another one, who let us write in
 * the folder: then it becomes ours, as any file that is replaced. */
static int take_over(const struct file *file, int fd)
{
    if (file->is_new)
        return 0;
    if ((file->as_read.st_uid != geteuid() || file->as_read.st_gid != getegid()) &&
        fchown(fd, file->as_read.st_uid, file->as_read.st_gid) && errno != EPERM)
        return -errno;
    return fchmod(fd, file->as_read.st_mode & 07777) ? -errno : 0;
}

static int write_temporary(struct files *f, struct pending *p)
{
    int folder = p->file->folder;
    int fd, err;

    /* One that a killed program left behind: we hold the lock, so nobody is writing it. */
    if (unlinkat(folder, p->temporary.p, 0) && errno != ENOENT)
        return fail(f, -errno, "write", p->file->name);
    fd = openat(folder, p->temporary.p, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                f->new_mode ? f->new_mode : 0666);
    if (fd < 0)
        return fail(f, -errno, "write", p->file->name);
    p->written = true;
    err = write_all(fd, buf_str(&p->bytes));
    if (!err)
        err = take_over(p->file, fd);
    if (!err && fsync(fd))
        err = -errno;
    if (close(fd) && !err)
        err = -errno;
    return err ? fail(f, err, "write", p->file->name) : 0;
}

/* An editor knows nothing of our lock. */
static int check_unchanged(struct files *f, const struct pending *p)
{
    const struct stat *old = &p->file->as_read;
    struct stat now;
    bool same;

    assert(p->name.p);
    if (fstatat(p->file->folder, p->name.p, &now, AT_SYMLINK_NOFOLLOW))
        same = errno == ENOENT && p->file->is_new;
    else
        same = !p->file->is_new && now.st_ino == old->st_ino && now.st_size == old->st_size &&
               now.st_mtim.tv_sec == old->st_mtim.tv_sec &&
               now.st_mtim.tv_nsec == old->st_mtim.tv_nsec;
    if (same)
        return 0;
    f->error = arena_printf(f->arena, "%s was changed by another program just now; try again",
                            p->file->name);
    return -EBUSY;
}

/* The old file keeps its bytes under another name; no copy is made. Where hard links are not to be
 * had (some file systems, files of others) there is no .bak. */
static int keep_backup(struct files *f, const struct pending *p)
{
    int folder = p->file->folder;

    if (!p->file->keep_backup || p->file->is_new)
        return 0;
    if (unlinkat(folder, p->backup.p, 0) && errno != ENOENT)
        return fail(f, -errno, "replace the backup of", p->file->name);
    if (linkat(folder, p->name.p, folder, p->backup.p, 0) && errno != EPERM &&
        errno != EOPNOTSUPP && errno != EMLINK)
        return fail(f, -errno, "make the backup of", p->file->name);
    return 0;
}

static int put_in_place(struct files *f, struct pending *p)
{
    int err = check_unchanged(f, p);

    if (!err)
        err = keep_backup(f, p);
    if (err)
        return err;
    if (renameat(p->file->folder, p->temporary.p, p->file->folder, p->name.p))
        return fail(f, -errno, "replace", p->file->name);
    p->written = false;
    p->in_place = true;
    if (fsync(p->file->folder))
        return fail(f, -errno, "flush the folder of", p->file->name);
    return 0;
}

static int write_device(struct files *f, const struct pending *p)
{
    int fd = open(p->file->path, O_WRONLY | O_CLOEXEC);
    int err = fd < 0 ? -errno : write_all(fd, buf_str(&p->bytes));

    if (fd >= 0 && close(fd) && !err)
        err = -errno;
    return err ? fail(f, err, "write", p->file->name) : 0;
}

static int prepare(struct files *f, struct pending *p)
{
    const char *base = base_of(p->file);

    buf_init(&p->bytes, FILE_BYTES_MAX);
    print_lines(p->file, &p->bytes);
    p->name = str_of(base);
    p->temporary = arena_printf(f->arena, ".%s.stoa-new", base);
    p->backup = arena_printf(f->arena, "%s.bak", base);
    if (buf_error(&p->bytes) || !p->temporary.p || !p->backup.p || f->no_memory)
        return fail(f, buf_error(&p->bytes) ? buf_error(&p->bytes) : -ENOMEM, "write",
                    p->file->name);
    return p->file->is_device ? 0 : write_temporary(f, p);
}

static void tell_journal(struct files *f, const struct pending *pending, size_t n)
{
    struct file_change changes[FILES_MAX];
    size_t told = 0;

    for (size_t i = 0; i < n; i++) {
        const struct file *file = pending[i].file;
        struct str before = {file->bytes, file->size}, after = buf_str(&pending[i].bytes);

        if (!file->is_device && !str_eq(before, after))
            changes[told++] = (struct file_change){file->path, before, after};
    }
    if (f->journal && told)
        f->journal(f->journal_data, changes, told);
}

int files_commit(struct files *f)
{
    struct pending pending[FILES_MAX];
    size_t n = 0;
    bool some = false;
    int err = 0;

    for (size_t i = 0; i < f->n && !err; i++) {
        if (f->file[i].changed) {
            pending[n] = (struct pending){.file = &f->file[i]};
            err = prepare(f, &pending[n++]);
        }
    }
    if (!err)
        tell_journal(f, pending, n);
    for (size_t i = 0; i < n && !err; i++)
        err = pending[i].file->is_device ? write_device(f, &pending[i])
                                         : put_in_place(f, &pending[i]);
    for (size_t i = 0; i < n; i++) {
        some |= pending[i].in_place;
        if (pending[i].written) /* the error that counts is the one above */
            unlinkat(pending[i].file->folder, pending[i].temporary.p, 0);
        buf_free(&pending[i].bytes);
    }
    if (err) {
        struct str error =
            arena_printf(f->arena, "%.*s; %s", STR_FMT(f->error),
                         some ? "a part of the change is written" : "nothing was changed");
        if (error.p)
            f->error = error;
    }
    return err;
}
