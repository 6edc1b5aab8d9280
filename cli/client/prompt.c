#include "prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define LINE_BYTES_MAX 4096

/* One byte after the other: what follows the line is somebody else's. */
static ssize_t read_line(int fd, char *to, size_t room)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = n < room ? read(fd, to + n, 1) : 0;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (n == room)
            return -EMSGSIZE;
        if (got == 0 || to[n] == '\n')
            break;
        n++;
    }
    if (n && to[n - 1] == '\r')
        n--;
    return (ssize_t)n;
}

/* 0 also at the end of the input: that is an empty line. */
static int take_line(struct client *c, int fd, struct str *ret)
{
    char *line = must_have(arena_alloc(&c->arena, LINE_BYTES_MAX));
    ssize_t n = read_line(fd, line, LINE_BYTES_MAX - 1);

    if (n < 0)
        return fail(c, LOCAL, "cannot read the answer: %s", strerror((int)-n));
    line[n] = '\0';
    *ret = (struct str){line, (size_t)n};
    return 0;
}

int prompt_line(struct client *c, const char *prompt, struct str *ret)
{
    if (isatty(STDIN_FILENO))
        fputs(prompt, stderr);
    return take_line(c, STDIN_FILENO, ret);
}

/* ---- passwords ---- */

static struct termios as_before;
static int terminal = -1;

/* Ctrl-C and its like: first the terminal, then what they do. */
static void put_back_and_die(int number)
{
    (void)tcsetattr(terminal, TCSANOW, &as_before);
    signal(number, SIG_DFL);
    raise(number);
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};

int prompt_password(struct client *c, const char *prompt, struct str *ret)
{
    struct sigaction action = {.sa_handler = put_back_and_die}, before[ARRAY_SIZE(signals)];
    struct termios silent;
    int status;

    if (!isatty(STDIN_FILENO))
        return take_line(c, STDIN_FILENO, ret);
    terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (terminal < 0 || tcgetattr(terminal, &as_before))
        return fail(c, LOCAL, "no terminal to ask on (%s): pipe the password in", strerror(errno));
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &action, &before[i]);
    silent = as_before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(terminal, TCSAFLUSH, &silent))
        status = fail(c, LOCAL, "cannot hide what is typed (%s)", strerror(errno));
    else if (write(terminal, prompt, strlen(prompt)) < 0)
        status = fail(c, LOCAL, "cannot write to the terminal: %s", strerror(errno));
    else
        status = take_line(c, terminal, ret);
    (void)tcsetattr(terminal, TCSANOW, &as_before);
    (void)!write(terminal, "\n", 1);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &before[i], NULL);
    close(terminal);
    return status;
}

void prompt_wipe(struct str secret)
{
    explicit_bzero((void *)secret.p, secret.n);
}

bool prompt_yes(const char *prompt)
{
    char answer[16];
    ssize_t n;

    if (!isatty(STDIN_FILENO))
        return false;
    fprintf(stderr, "%s [y/N] ", prompt);
    n = read_line(STDIN_FILENO, answer, sizeof(answer));
    return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}
