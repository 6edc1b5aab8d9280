/* Preloaded into the command line: its N-th step on the way to the disk fails, or is its last.
 *
 *     STOA_IO_STEP=N            which call, counted from 1; 0 only counts
 *     STOA_IO_FAULT=kill        SIGKILL before the call
 *     STOA_IO_FAULT=half        a write puts down half of its bytes, then SIGKILL
 *     STOA_IO_FAULT=ENOSPC      the call fails with that error (ENOSPC, EIO, EROFS, EACCES)
 *     STOA_IO_COUNT=path        a file for the number of steps, written at the end
 *
 * After a call that failed, all later ones that write or make files fail, too, as on a full disk.
 *
 * Steps: opening for writing, writing (not to the standard streams), fsync, fchmod, link, rename,
 * unlink, truncate. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int steps;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* 0: go on; 1: after half of it; -1: fail with errno. */
static int step(void)
{
    static const struct {
        const char *name;
        int value;
    } errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EROFS", EROFS}, {"EACCES", EACCES}};
    const char *at = getenv("STOA_IO_STEP"), *fault = getenv("STOA_IO_FAULT");
    int which = at ? atoi(at) : 0;

    steps++;
    if (!which || steps < which || !fault)
        return 0;
    if (strcmp(fault, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(fault, "half") == 0)
        return 1;
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        if (strcmp(fault, errors[i].name) == 0) {
            errno = errors[i].value;
            return -1;
        }
    }
    return 0;
}

static void half_is_done(int result)
{
    if (result == 1)
        raise(SIGKILL);
}

static __attribute__((destructor)) void write_count(void)
{
    const char *path = getenv("STOA_IO_COUNT");
    FILE *to = path ? fopen(path, "w") : NULL;

    if (to) {
        fprintf(to, "%d\n", steps);
        fclose(to);
    }
}

static int is_writing(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    va_start(ap, flags);
    if (flags & O_CREAT)
        mode = va_arg(ap, mode_t);
    va_end(ap);
    if (is_writing(flags) && step() < 0)
        return -1;
    return REAL(open)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    va_start(ap, flags);
    if (flags & O_CREAT)
        mode = va_arg(ap, mode_t);
    va_end(ap);
    if (is_writing(flags) && step() < 0)
        return -1;
    return REAL(openat)(folder, path, flags, mode);
}

ssize_t write(int fd, const void *p, size_t n)
{
    int result = fd > STDERR_FILENO ? step() : 0;
    ssize_t done;

    if (result < 0)
        return -1;
    done = REAL(write)(fd, p, result == 1 ? n / 2 : n);
    half_is_done(result);
    return done;
}

int fsync(int fd)
{
    int result = step();

    half_is_done(result);
    return result < 0 ? -1 : REAL(fsync)(fd);
}

int fchmod(int fd, mode_t mode)
{
    int result = step();

    half_is_done(result);
    return result < 0 ? -1 : REAL(fchmod)(fd, mode);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    int result = step();

    half_is_done(result);
    return result < 0 ? -1 : REAL(linkat)(from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new)
{
    int result = step();

    half_is_done(result);
    return result < 0 ? -1 : REAL(renameat)(from, old, to, new);
}

int rename(const char *old, const char *new)
{
    int result = step();

    half_is_done(result);
    return result < 0 ? -1 : REAL(rename)(old, new);
}

int unlinkat(int folder, const char *path, int flags)
{
    int result = step();

    half_is_done(result);
    return REAL(unlinkat)(folder, path, flags); /* a full disk lets one remove */
}

int ftruncate(int fd, off_t length)
{
    int result = step();

    half_is_done(result);
    return result < 0 ? -1 : REAL(ftruncate)(fd, length);
}
