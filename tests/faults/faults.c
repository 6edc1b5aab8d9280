/* malloc and its kin, with places that fail (faults.h). What comes next in the order of libraries,
 * libc or a checker, does the work. */
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Seconds that a child of FAULT_EACH has. */
#define CHILD_SECONDS 10

#define TRACE_DEPTH 24

static struct fault_control nobody;
struct fault_control *fault_control = &nobody;
static int64_t live;
static int trace_fd = -1; /* STOA_FAULT_TRACE: where the callers of a place that fails are told */

/* ---- the next malloc ---- */

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void *(*next_memalign)(size_t, size_t);
static int (*next_posix_memalign)(void **, size_t, size_t);
static void (*next_free)(void *);

/* What dlsym() itself asks for, before the next malloc is known; never given back. */
static _Alignas(16) char early[4096];
static size_t early_used;

static bool is_early(const void *p)
{
    return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

static void *take_early(size_t n)
{
    char *p = early + early_used;

    n = (n + 15) & ~(size_t)15;
    if (n > sizeof(early) - early_used)
        abort();
    early_used += n;
    return p;
}

/* A function pointer out of dlsym(), which C has no cast for. */
static void find(void *function, const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);

    memcpy(function, &p, sizeof(p));
}

static bool ready(void)
{
    static bool looking;

    if (next_free)
        return true;
    if (looking)
        return false;
    looking = true;
    find(&next_malloc, "malloc");
    find(&next_calloc, "calloc");
    find(&next_realloc, "realloc");
    find(&next_memalign, "memalign");
    find(&next_posix_memalign, "posix_memalign");
    find(&next_free, "free");
    return true;
}

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("STOA_FAULTS"), *trace = getenv("STOA_FAULT_TRACE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    if (trace)
        trace_fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    if (fd < 0)
        return;
    p = mmap(NULL, sizeof(*fault_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED)
        fault_control = p;
}

/* ---- places ---- */

static bool watched(void)
{
    int64_t pid = fault_control->pid;

    return pid == -1 || (pid != 0 && pid == getpid());
}

static void note_end(int64_t place, int status)
{
    struct fault_control *c = fault_control;

    if (WIFSIGNALED(status)) {
        if (c->crashed++ == 0)
            c->crash_at = place;
    } else if (WEXITSTATUS(status) == 0) {
        c->harmless++;
    } else {
        c->refused++;
    }
}

static void tell_callers(int64_t place)
{
    static bool telling; /* backtrace() may ask for memory itself */
    void *callers[TRACE_DEPTH];

    if (trace_fd < 0 || telling)
        return;
    telling = true;
    dprintf(trace_fd, "place %" PRId64 " fails:\n", place);
    backtrace_symbols_fd(callers, backtrace(callers, TRACE_DEPTH), trace_fd);
    telling = false;
}

/* In the child: true, and nothing is watched any more. */
static bool try_in_child(int64_t place)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fault_control = &nobody;
        alarm(CHILD_SECONDS);
        tell_callers(place);
        return true;
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid)
        note_end(place, status);
    return false;
}

static bool begun;

void stoa_fault_begin(void)
{
    /* nginx will ask for a user, and what libc reads first for that ends the process, without
     * memory. */
    (void)getpwnam("root");
    begun = true;
}

bool stoa_fault(void)
{
    struct fault_control *c = fault_control;
    int64_t place;

    if (!watched() || (c->mode == FAULT_EACH && !begun))
        return false;
    place = ++c->seen;
    if (c->mode == FAULT_EACH)
        return (c->stride == 0 || place % c->stride == 0) && try_in_child(place);
    if (c->fail_at == 0 || place < c->fail_at || (c->mode == FAULT_ONCE && place > c->fail_at))
        return false;
    c->failed++;
    tell_callers(place);
    return true;
}

/* ---- malloc and its kin ---- */

static void *counted(void *p, int n)
{
    live += p ? n : 0;
    if (watched())
        fault_control->live = live;
    return p;
}

static bool fails(void)
{
    if (!stoa_fault())
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    if (!ready())
        return take_early(n);
    return fails() ? NULL : counted(next_malloc(n), 1);
}

void *calloc(size_t count, size_t size)
{
    if (!ready())
        return take_early(count * size);
    return fails() ? NULL : counted(next_calloc(count, size), 1);
}

void *realloc(void *p, size_t n)
{
    if (!ready() || is_early(p))
        abort();
    if (n && fails())
        return NULL;
    if (p && n == 0)
        counted(p, -1);
    return counted(next_realloc(p, n), p ? 0 : 1);
}

void *memalign(size_t alignment, size_t n)
{
    return !ready() || fails() ? NULL : counted(next_memalign(alignment, n), 1);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return memalign(alignment, n);
}

int posix_memalign(void **ret, size_t alignment, size_t n)
{
    int rc = !ready() || fails() ? ENOMEM : next_posix_memalign(ret, alignment, n);

    if (rc == 0)
        counted(*ret, 1);
    return rc;
}

void free(void *p)
{
    int error = errno;

    if (p && !is_early(p) && ready()) {
        counted(p, -1);
        next_free(p);
    }
    errno = error;
}
