/* Connections for which no file is left. The core (1.51) stops listening for good when accept4()
 * fails for anything but EAGAIN: after one moment without a file to have, an instance would hear
 * nobody until it is started again. So this stands in front of it, as the dynamic linker takes a
 * program's own function before a library's: with a file that is kept for that, it takes the
 * connection and closes it. */
#include "grpc/internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_PAUSE NSEC_PER_SEC

static struct {
    pthread_mutex_t lock; /* guards what follows */
    int fd;               /* -1: none */
    int64_t logged_ns;
} spare = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static void keep_spare(void)
{
    if (spare.fd < 0)
        spare.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void accept_init(void)
{
    pthread_mutex_lock(&spare.lock);
    keep_spare();
    pthread_mutex_unlock(&spare.lock);
}

static int take(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    return (int)syscall(SYS_accept4, listener, address, length, flags);
}

/* False: there was none, or there is no file even so. */
static bool refuse(int listener)
{
    int64_t now = clock_monotonic_ns();
    int fd = -1;

    pthread_mutex_lock(&spare.lock);
    if (spare.fd >= 0) {
        close(spare.fd);
        spare.fd = -1;
        fd = take(listener, NULL, NULL, SOCK_CLOEXEC);
    }
    if (fd >= 0)
        close(fd);
    keep_spare();
    if (now - spare.logged_ns > LOG_PAUSE) {
        log_warn("no file is left: connections are refused");
        spare.logged_ns = now;
    }
    pthread_mutex_unlock(&spare.lock);
    return fd >= 0;
}

/* What accept(2) says to go on after: the connection is to blame, which is gone. */
static bool is_of_connection(int error)
{
    return error == ECONNABORTED || error == EPROTO || error == ENETDOWN || error == ENOPROTOOPT ||
           error == EHOSTDOWN || error == ENONET || error == EHOSTUNREACH || error == ENETUNREACH ||
           error == EPERM;
}

int accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    const socklen_t room = length ? *length : 0;
    int fd;

    while ((fd = take(listener, address, length, flags)) < 0) {
        if (errno == ENOBUFS || errno == ENOMEM) {
            errno = EAGAIN;
            break;
        }
        if (errno == EMFILE || errno == ENFILE) {
            if (!refuse(listener)) {
                errno = EAGAIN;
                break;
            }
        } else if (!is_of_connection(errno)) {
            break;
        }
        if (length)
            *length = room;
    }
    return fd;
}
