/* How long a connection is read before the others have their turns. The core (1.51) goes on while
 * there is something to read, and up to half a megabyte at once; what has come is served after
 * that. Whoever sends faster than it reads would be heard alone, and all calls that he begins wait
 * in memory, also those whose streams he has reset (CVE-2023-44487: 800 MB after 10 MB of them, and
 * no answer for anybody). So this stands in front of it, as accept.c does: of a TCP connection so
 * much is read and no more until somebody has asked again which connections can be read. Beyond it
 * there is nothing to read for now, and setting the socket's low-water mark has the kernel tell at
 * once that there is (tcp_set_rcvlowat(), Linux 4.18). */
#include "grpc/internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TURN_BYTES ((size_t)32 << 10)
#define MAX_PARTS 8

static atomic_uint turns;

/* What this thread has read of a connection in a turn. */
static __thread struct {
    int fd;
    unsigned turn;
    size_t bytes;
} taken = {.fd = -1};

void read_init(void)
{
}

int epoll_wait(int epfd, struct epoll_event *events, int n, int timeout_ms)
{
    atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
    return (int)syscall(SYS_epoll_pwait, epfd, events, n, timeout_ms, NULL, 0);
}

/* Unix sockets, which are the gateways', have nothing that would tell of what is left. */
static bool is_tcp(int fd)
{
    int domain = AF_UNSPEC;
    socklen_t length = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
           (domain == AF_INET || domain == AF_INET6);
}

static bool tells_again(int fd)
{
    int low = 1;

    return setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) == 0;
}

static size_t room_in(const struct msghdr *message)
{
    size_t n = 0;

    for (size_t i = 0; i < message->msg_iovlen; i++)
        n += message->msg_iov[i].iov_len;
    return n;
}

/* No more than `max` bytes of a message that has room for more. */
static ssize_t receive_some(int fd, struct msghdr *message, int flags, size_t max)
{
    struct iovec parts[MAX_PARTS], *all = message->msg_iov;
    const size_t n_all = message->msg_iovlen;
    size_t n = 0;
    ssize_t r;

    for (; n < MAX_PARTS && n < n_all && max > 0; n++) {
        parts[n] = all[n];
        if (parts[n].iov_len > max)
            parts[n].iov_len = max;
        max -= parts[n].iov_len;
    }
    message->msg_iov = parts;
    message->msg_iovlen = n;
    r = syscall(SYS_recvmsg, fd, message, flags);
    message->msg_iov = all;
    message->msg_iovlen = n_all;
    return r;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    unsigned turn = atomic_load_explicit(&turns, memory_order_relaxed);
    size_t room = room_in(message);
    ssize_t n;

    if (taken.fd != fd || taken.turn != turn) {
        taken.fd = fd;
        taken.turn = turn;
        taken.bytes = 0;
    }
    if (taken.bytes + room <= TURN_BYTES || !is_tcp(fd)) {
        n = syscall(SYS_recvmsg, fd, message, flags);
    } else if (taken.bytes < TURN_BYTES) {
        n = receive_some(fd, message, flags, TURN_BYTES - taken.bytes);
    } else if (tells_again(fd)) {
        errno = EAGAIN;
        return -1;
    } else {
        return -1; /* the socket is to blame */
    }
    if (n > 0)
        taken.bytes += (size_t)n;
    return n;
}
