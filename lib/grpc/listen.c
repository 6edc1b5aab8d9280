/* Listeners: unix sockets, TCP, TLS. Before the server starts; one thread.
 *
 * The core says only that a port could not be bound, so what can go wrong is looked at first, and
 * told in one line. */
#include "grpc/internal.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET_MODE 0660
#define MAX_PEM_BYTES ((size_t)1 << 20)

struct listener {
    struct rpc_server *server;
    const char *address;
    struct str *ret_error;
};

static int refuse(const struct listener *listener, int error, const char *subject,
                  const char *cause)
{
    *listener->ret_error = arena_printf(&listener->server->arena, "%s: %s", subject, cause);
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

static int check_folder(const struct listener *listener, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct str folder = {path, slash ? (size_t)(slash - path) : 0};
    const char *name = slash == path ? "/"
                       : slash       ? arena_copy(&listener->server->arena, folder).p
                                     : ".";

    if (!name)
        return -ENOMEM;
    return access(name, W_OK | X_OK) < 0 ? refuse(listener, -errno, path, strerror(errno)) : 0;
}

/* Clears the way for bind(): a socket file that nobody listens on goes, anything else stays. */
static int remove_stale(const struct listener *listener, const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat st;
    size_t n = strlen(path);
    int r;

    if (n == 0 || n >= sizeof(name.sun_path))
        return refuse(listener, -EINVAL, listener->address,
                      "the path of a unix socket has 1 to 107 bytes");
    memcpy(name.sun_path, path, n + 1);
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? check_folder(listener, path)
                               : refuse(listener, -errno, path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return refuse(listener, -EADDRINUSE, path,
                      "a file that is no socket is in the way: remove it or set another path");
    r = connect_error(&name);
    if (r != -ECONNREFUSED)
        return refuse(listener, -EADDRINUSE, path,
                      r == 0 || r == -EAGAIN
                          ? "another server listens here: stop it or set another path"
                          : strerror(-r));
    if (unlink(path) < 0 && errno != ENOENT)
        return refuse(listener, -errno, path, strerror(errno));
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

static int check_tcp(const struct listener *listener)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const char *host, *port;
    struct addrinfo *infos;
    int r;

    if (!split_address(&listener->server->arena, listener->address, &host, &port))
        return refuse(listener, -EINVAL, listener->address,
                      "not an address: unix:/path, host:port or [ipv6]:port");
    r = getaddrinfo(host, port, &hints, &infos);
    if (r != 0)
        return refuse(listener, -EINVAL, listener->address, gai_strerror(r));
    r = 0;
    for (const struct addrinfo *info = infos; info && r == 0; info = info->ai_next)
        r = bind_error(info);
    freeaddrinfo(infos);
    if (r == -EADDRINUSE)
        return refuse(listener, r, listener->address,
                      "the port is taken: stop the other server or set another port");
    return r < 0 ? refuse(listener, r, listener->address, strerror(-r)) : 0;
}

/* ---- TLS ---- */

static const char *openssl_cause(void)
{
    const char *cause = ERR_reason_error_string(ERR_peek_error());

    ERR_clear_error();
    return cause ? cause : "can't be read";
}

static int no_password(char *buf UNUSED, int size UNUSED, int writing UNUSED, void *user UNUSED)
{
    return 0;
}

/* Loads the files as the core will, to name the one that is wrong. */
static int check_tls(const struct listener *listener, const struct rpc_tls *tls)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    const char *wrong = NULL;
    int r = 0;

    if (!context)
        return -ENOMEM;
    SSL_CTX_set_default_passwd_cb(context, no_password);
    if (SSL_CTX_use_certificate_chain_file(context, tls->certificate_file) != 1)
        wrong = tls->certificate_file;
    else if (SSL_CTX_use_PrivateKey_file(context, tls->key_file, SSL_FILETYPE_PEM) != 1 ||
             SSL_CTX_check_private_key(context) != 1)
        wrong = tls->key_file;
    else if (tls->client_ca_file &&
             SSL_CTX_load_verify_locations(context, tls->client_ca_file, NULL) != 1)
        wrong = tls->client_ca_file;
    if (wrong)
        r = refuse(listener, -EINVAL, wrong, openssl_cause());
    SSL_CTX_free(context);
    return r;
}

/* A whole file, NUL-terminated; the arena is wiped by its owner. */
static int read_file(const struct listener *listener, const char *path, struct arena *arena,
                     const char **ret)
{
    FILE *file = fopen(path, "re");
    char *text = arena_alloc(arena, MAX_PEM_BYTES + 1);
    size_t n;
    int r = 0;

    if (!file)
        return refuse(listener, -errno, path, strerror(errno));
    n = text ? fread(text, 1, MAX_PEM_BYTES + 1, file) : 0;
    if (!text)
        r = -ENOMEM;
    else if (ferror(file))
        r = refuse(listener, -EIO, path, "can't be read");
    else if (n > MAX_PEM_BYTES)
        r = refuse(listener, -EINVAL, path, "is too large for a PEM file");
    else
        text[n] = '\0';
    fclose(file);
    if (r == 0)
        *ret = text;
    return r;
}

static int tls_credentials(const struct listener *listener, const struct rpc_tls *tls,
                           struct arena *arena, grpc_server_credentials **ret)
{
    grpc_ssl_pem_key_cert_pair pair = {NULL, NULL};
    const char *client_ca = NULL;
    int r = read_file(listener, tls->certificate_file, arena, &pair.cert_chain);

    if (r == 0)
        r = read_file(listener, tls->key_file, arena, &pair.private_key);
    if (r == 0 && tls->client_ca_file)
        r = read_file(listener, tls->client_ca_file, arena, &client_ca);
    if (r == 0)
        r = check_tls(listener, tls);
    if (r == 0)
        *ret = grpc_ssl_server_credentials_create_ex(
            client_ca, &pair, 1,
            client_ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                      : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            NULL);
    if (pair.private_key)
        explicit_bzero((char *)pair.private_key, strlen(pair.private_key));
    return r;
}

static int credentials(const struct listener *listener, const struct rpc_tls *tls,
                       grpc_server_credentials **ret)
{
    struct arena arena;
    int r;

    if (!tls) {
        *ret = grpc_insecure_server_credentials_create();
        return 0;
    }
    arena_init(&arena, 0);
    r = tls_credentials(listener, tls, &arena, ret);
    arena_free(&arena);
    return r;
}

/* ---- listening ---- */

int rpc_server_listen(struct rpc_server *server, const char *address, const struct rpc_tls *tls,
                      unsigned mode, int *ret_port, struct str *ret_error)
{
    const struct listener listener = {server, address, ret_error};
    const bool is_unix = strncmp(address, "unix:", 5) == 0;
    grpc_server_credentials *creds = NULL;
    mode_t old = 0;
    int r, port;

    *ret_error = STR("out of memory");
    r = is_unix ? remove_stale(&listener, address + 5) : check_tcp(&listener);
    if (r == 0)
        r = credentials(&listener, tls, &creds);
    if (r < 0)
        return r;
    if (is_unix) /* the file has its mode from the first moment */
        old = umask(0777 & ~(mode ? mode : DEFAULT_SOCKET_MODE));
    port = grpc_server_add_http2_port(server->core, address, creds);
    if (is_unix)
        umask(old);
    grpc_server_credentials_release(creds);
    if (port == 0)
        return refuse(&listener, -EADDRNOTAVAIL, address,
                      "can't be listened on: the log has the cause");
    if (ret_port)
        *ret_port = port;
    return 0;
}
