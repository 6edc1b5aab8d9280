/* For tests of lib/redis: a private Redis in a temporary folder, that can be stopped, started,
 * paused and made slow, and commands that are waited for. */
#ifndef STOA_TESTS_REDIS_FIXTURE_H
#define STOA_TESTS_REDIS_FIXTURE_H

#include "base/log.h"
#include "redis/redis.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SECONDS(n) ((n)*NSEC_PER_SEC)

static char redis_dir[64];
static char redis_address[96]; /* for redis_open() */
static pid_t redis_pid;

/* Starts the server; more: further options, NULL-terminated. */
static UNUSED void redis_start_with(const char *const *more)
{
    char socket[96];
    const char *argv[32] = {"/usr/bin/redis-server",
                            "--port",
                            "0",
                            "--save",
                            "",
                            "--unixsocket",
                            socket,
                            "--dir",
                            redis_dir,
                            "--loglevel",
                            "warning",
                            "--logfile",
                            "redis.log"};
    size_t n = 13;

    snprintf(socket, sizeof(socket), "%s/redis.sock", redis_dir);
    for (; *more; more++)
        argv[n++] = *more;
    redis_pid = fork();
    assert_true(redis_pid >= 0);
    if (redis_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* whatever becomes of the test */
        execv(argv[0], (char **)argv);
        _exit(127);
    }
}

static UNUSED void redis_start(void)
{
    static const char *const none[] = {NULL};

    redis_start_with(none);
}

static UNUSED void redis_stop(int signal_number)
{
    if (redis_pid <= 0)
        return;
    kill(redis_pid, signal_number);
    kill(redis_pid, SIGCONT);
    while (waitpid(redis_pid, NULL, 0) < 0 && errno == EINTR)
        ;
    redis_pid = 0;
}

static UNUSED int redis_group_setup(void **state)
{
    (void)state;
    log_setup("test", LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    snprintf(redis_dir, sizeof(redis_dir), "/tmp/stoa-redis-XXXXXX");
    if (!mkdtemp(redis_dir))
        return -1;
    snprintf(redis_address, sizeof(redis_address), "unix:%s/redis.sock", redis_dir);
    return 0;
}

static UNUSED int redis_group_teardown(void **state)
{
    char command[128];

    (void)state;
    redis_stop(SIGKILL);
    snprintf(command, sizeof(command), "rm -rf %s", redis_dir);
    return system(command);
}

/* Polls; a bound, not a measurement. */
static UNUSED void redis_await(const struct redis *redis, bool ready)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    while (redis_ready(redis) != ready) {
        assert_true(clock_monotonic_ns() < until);
        usleep(1000);
    }
}

/* ---- a command that is waited for ---- */

struct redis_answer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int times; /* that done has run */
    enum redis_outcome outcome;
    char message[128];
    bool has_int;
    int64_t first; /* element of a list, when has_int */
};

static UNUSED void redis_answer_init(struct redis_answer *a)
{
    *a = (struct redis_answer){.times = 0};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
}

static UNUSED void redis_answer_done(void *user, const struct redis_result *result)
{
    struct redis_answer *a = user;

    pthread_mutex_lock(&a->lock);
    a->times++;
    a->outcome = result->outcome;
    snprintf(a->message, sizeof(a->message), "%.*s", STR_FMT(result->message));
    a->has_int = redis_get_int(result, 0, &a->first);
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static UNUSED enum redis_outcome redis_answer_wait(struct redis_answer *a)
{
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&a->lock);
    while (a->times == 0 && error == 0)
        error = pthread_cond_timedwait(&a->changed, &a->lock, &until);
    pthread_mutex_unlock(&a->lock);
    assert_int_equal(error, 0);
    return a->outcome;
}

/* Splits at spaces; no word has one. Returns redis_submit()'s result. */
static UNUSED int redis_answer_submit(struct redis_answer *a, struct redis *redis,
                                      struct arena *arena, const char *text)
{
    struct str words[16];
    size_t n = 0;

    while (*text) {
        size_t length = strcspn(text, " ");

        words[n++] = (struct str){text, length};
        text += length + (text[length] == ' ');
    }
    redis_answer_init(a);
    return redis_submit(redis_command(redis, arena, words, n), redis_answer_done, a);
}

#endif
