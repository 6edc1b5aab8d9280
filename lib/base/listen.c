/* The core of gRPC, and others, say only that an address could not be bound, so what can go wrong
 * is looked at first, and told in one line. */
#include "base/listen.h"

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

struct place {
    const char *address;
    struct arena *arena;
    struct str *ret_error;
};

static int refuse(const struct place *place, int error, const char *subject, const char *cause)
{
    *place->ret_error = arena_printf(place->arena, "%s: %s", subject, cause);
    return error;
}

/* ---- unix sockets ---- */

static int connect_error(const struct sockaddr_un *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

    if (fd < 0)
        return -errno;
    r = connect(fd, (const struct sockaddr *)name, sizeof(*name)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static int check_folder(const struct place *place, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct str folder = {path, slash ? (size_t)(slash - path) : 0};
    const char *name = slash == path ? "/" : slash ? arena_copy(place->arena, folder).p : ".";

    if (!name)
        return -ENOMEM;
    return access(name, W_OK | X_OK) < 0 ? refuse(place, -errno, path, strerror(errno)) : 0;
}

/* Clears the way for bind(): a socket file that nobody listens on goes, anything else stays. */
static int remove_stale(const struct place *place, const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat st;
    size_t n = strlen(path);
    int r;

    if (n == 0 || n >= sizeof(name.sun_path))
        return refuse(place, -EINVAL, place->address,
                      "the path of a unix socket has 1 to 107 bytes");
    memcpy(name.sun_path, path, n + 1);
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? check_folder(place, path)
                               : refuse(place, -errno, path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return refuse(place, -EADDRINUSE, path,
                      "a file that is no socket is in the way: remove it or set another path");
    r = connect_error(&name);
    if (r != -ECONNREFUSED)
        return refuse(place, -EADDRINUSE, path,
                      r == 0 || r == -EAGAIN
                          ? "another server listens here: stop it or set another path"
                          : strerror(-r));
    if (unlink(path) < 0 && errno != ENOENT)
        return refuse(place, -errno, path, strerror(errno));
    return 0;
}

/* ---- TCP ---- */

static int bind_error(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
    int on = 1, r;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    r = bind(fd, info->ai_addr, info->ai_addrlen) < 0 ? -errno : 0;
    close(fd);
    return r;
}

/* Cuts "host:port" or "[host]:port" in two; host gets no brackets. */
static bool split_address(struct arena *arena, const char *address, const char **host,
                          const char **port)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    bool brackets = n >= 2 && address[0] == '[' && address[n - 1] == ']';
    int64_t number;

    if (n == 0 || str_to_int64(str_of(colon + 1), &number) < 0 || number < 0 || number > 65535 ||
        (!brackets && memchr(address, ':', n)))
        return false;
    *port = colon + 1;
    *host = brackets ? arena_copy(arena, (struct str){address + 1, n - 2}).p
                     : arena_copy(arena, (struct str){address, n}).p;
    return *host != NULL;
}

static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                      .ai_flags = AI_PASSIVE | AI_NUMERICSERV};

static int check_tcp(const struct place *place)
{
    const char *host, *port;
    struct addrinfo *infos;
    int r;

    if (!split_address(place->arena, place->address, &host, &port))
        return refuse(place, -EINVAL, place->address,
                      "not an address: unix:/path, host:port or [ipv6]:port");
    r = getaddrinfo(host, port, &hints, &infos);
    if (r != 0)
        return refuse(place, -EINVAL, place->address, gai_strerror(r));
    r = 0;
    for (const struct addrinfo *info = infos; info && r == 0; info = info->ai_next)
        r = bind_error(info);
    freeaddrinfo(infos);
    if (r == -EADDRINUSE)
        return refuse(place, r, place->address,
                      "the port is taken: stop the other server or set another port");
    return r < 0 ? refuse(place, r, place->address, strerror(-r)) : 0;
}

/* ---- both ---- */

static bool is_unix(const char *address)
{
    return strncmp(address, "unix:", 5) == 0;
}

int listen_check(const char *address, struct arena *arena, struct str *ret_error)
{
    const struct place place = {address, arena, ret_error};

    *ret_error = STR("out of memory");
    return is_unix(address) ? remove_stale(&place, address + 5) : check_tcp(&place);
}

static int open_socket(const struct sockaddr *name, socklen_t length, int *ret_fd)
{
    int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, r;

    if (fd < 0)
        return -errno;
    if (name->sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (name->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, name, length) < 0 || listen(fd, BACKLOG) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static int open_unix(const char *path, int *ret_fd)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    mode_t old =
        umask(0777 & ~LISTEN_SOCKET_MODE); /* the file has its mode from the first moment */
    int r;

    memcpy(name.sun_path, path, strlen(path) + 1); /* remove_stale() has seen its length */
    r = open_socket((const struct sockaddr *)&name, sizeof(name), ret_fd);
    umask(old);
    return r;
}

/* The first of the host's addresses. */
static int open_tcp(const struct place *place, int *ret_fd)
{
    const char *host, *port;
    struct addrinfo *infos;
    int r;

    if (!split_address(place->arena, place->address, &host, &port))
        return -EINVAL;
    r = getaddrinfo(host, port, &hints, &infos);
    if (r != 0)
        return refuse(place, -EINVAL, place->address, gai_strerror(r));
    r = open_socket(infos->ai_addr, infos->ai_addrlen, ret_fd);
    freeaddrinfo(infos);
    return r;
}

int listen_open(const char *address, struct arena *arena, int *ret_fd, struct str *ret_error)
{
    const struct place place = {address, arena, ret_error};
    int r = listen_check(address, arena, ret_error);

    if (r < 0)
        return r;
    r = is_unix(address) ? open_unix(address + 5, ret_fd) : open_tcp(&place, ret_fd);
    return r < 0 ? refuse(&place, r, address, strerror(-r)) : 0;
}
