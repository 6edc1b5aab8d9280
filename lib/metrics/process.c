#include "metrics/process.h"

#include "base/version.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct figures {
    double cpu_s, start_s;
    uint64_t virtual_bytes, resident_bytes, threads;
};

/* A small file of /proc as a string; false: there is none. */
static bool read_proc(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, to, size - 1);

    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    to[n] = '\0';
    return true;
}

/* When the machine was started, in seconds since 1970; 0: not known. */
static double boot_time(void)
{
    FILE *file = fopen("/proc/stat", "re");
    char *line = NULL;
    size_t size = 0;
    double at = 0;

    while (file && at == 0 && getline(&line, &size, file) > 0)
        at = strncmp(line, "btime ", 6) == 0 ? strtod(line + 6, NULL) : 0;
    free(line);
    if (file)
        fclose(file);
    return at;
}

/* proc(5), /proc/PID/stat: fields by their numbers, from the third on. The second is the program's
 * name in brackets, which may hold anything. */
static bool read_figures(pid_t pid, struct figures *ret)
{
    enum { UTIME = 14, STIME, THREADS = 20, START = 22, VSIZE, RSS, LAST = RSS };
    double fields[LAST + 1] = {0}, ticks = (double)sysconf(_SC_CLK_TCK);
    char path[32], text[1024], *at;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_proc(path, text, sizeof(text)))
        return false;
    at = strrchr(text, ')');
    if (!at || strlen(at) < 4)
        return false;
    at += 3; /* past the state, the third field */
    for (unsigned i = 4; i <= LAST; i++)
        fields[i] = strtod(at, &at);
    *ret = (struct figures){
        .cpu_s = (fields[UTIME] + fields[STIME]) / ticks,
        .start_s = boot_time() + fields[START] / ticks,
        .virtual_bytes = (uint64_t)fields[VSIZE],
        .resident_bytes = (uint64_t)(fields[RSS] * (double)sysconf(_SC_PAGESIZE)),
        .threads = (uint64_t)fields[THREADS],
    };
    return true;
}

#define FAMILY(n, t, h) ((struct metrics_family){"process", (n), (t), (h)})

static void write_real(struct buf *text, const struct metrics_family family, double value)
{
    metrics_begin(text, &family);
    metrics_sample_real(text, &family, METRICS_NO_LABELS, value);
}

static void write_figures(struct buf *text, const struct figures *figures)
{
    write_real(text,
               FAMILY("cpu_seconds_total", METRICS_COUNTER, "Processor time used, in seconds."),
               figures->cpu_s);
    write_real(text,
               FAMILY("start_time_seconds", METRICS_GAUGE,
                      "When the process was started, in seconds since 1970."),
               figures->start_s);
    metrics_single(text, &FAMILY("virtual_memory_bytes", METRICS_GAUGE, "Address space in use."),
                   figures->virtual_bytes);
    metrics_single(text, &FAMILY("resident_memory_bytes", METRICS_GAUGE, "Memory in use."),
                   figures->resident_bytes);
    metrics_single(text, &FAMILY("threads", METRICS_GAUGE, "Threads."), figures->threads);
}

static bool count_open_files(uint64_t *ret)
{
    DIR *folder = opendir("/proc/self/fd");

    if (!folder)
        return false;
    *ret = 0;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        *ret += entry->d_name[0] != '.';
    closedir(folder);
    *ret -= 1; /* the folder itself */
    return true;
}

void metrics_write_process(struct buf *text)
{
    struct figures figures;
    struct rlimit limit;
    uint64_t open_files;

    if (read_figures(getpid(), &figures))
        write_figures(text, &figures);
    if (count_open_files(&open_files))
        metrics_single(text, &FAMILY("open_fds", METRICS_GAUGE, "Open files, sockets included."),
                       open_files);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metrics_single(text, &FAMILY("max_fds", METRICS_GAUGE, "How many it may have open."),
                       limit.rlim_cur);
}

void metrics_write_processes(struct buf *text, const pid_t *pids, size_t n)
{
    struct figures sum = {0}, one;

    for (size_t i = 0; i < n; i++) {
        if (!read_figures(pids[i], &one))
            continue;
        sum.cpu_s += one.cpu_s;
        sum.virtual_bytes += one.virtual_bytes;
        sum.resident_bytes += one.resident_bytes;
        sum.threads += one.threads;
        if (one.start_s > sum.start_s)
            sum.start_s = one.start_s;
    }
    write_figures(text, &sum);
}

void metrics_write_build(struct buf *text, const char *service)
{
    static const struct metrics_family family = {"stoa", "build_info", METRICS_GAUGE,
                                                 "What runs: always 1."};

    metrics_begin(text, &family);
    metrics_sample(text, &family,
                   METRICS_LABELS(METRICS_LABEL("service", str_of(service)),
                                  METRICS_LABEL("version", STR(STOA_VERSION))),
                   1);
}
