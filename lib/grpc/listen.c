/* Listeners: unix sockets, TCP, TLS. Before the server starts; one thread.
 *
 * The core says only that a port could not be bound, so what can go wrong is looked at first, and
 * told in one line. */
#include "base/listen.h"
#include "grpc/internal.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/stat.h>

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
    r = listen_check(address, &server->arena, ret_error);
    if (r == 0)
        r = credentials(&listener, tls, &creds);
    if (r < 0)
        return r;
    if (is_unix) /* the file has its mode from the first moment */
        old = umask(0777 & ~(mode ? mode : LISTEN_SOCKET_MODE));
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
