/* Why a certificate is refused: the core says only that it is. So the handshake is made once more,
 * and the library asked. */
#include "client.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#define ASK_S 5
#define ASK_NAP_MS 20
#define CA_FILE_OF_SYSTEM "/etc/ssl/certs/ca-certificates.crt" /* as rpc_client_new() has it */

/* "localhost" of "localhost:9001", "::1" of "[::1]:9001". */
static struct str host_of(struct client *c, struct str address)
{
    const char *colon = memrchr(address.p, ':', address.n);
    struct str host = {address.p, colon ? (size_t)(colon - address.p) : address.n};

    if (host.n > 2 && host.p[0] == '[')
        host = (struct str){host.p + 1, host.n - 2};
    return must_str(arena_copy(&c->arena, host));
}

static long verify_result(struct client *c, SSL_CTX *context, struct str address)
{
    static const unsigned char protocols[] = "\2h2";
    struct str host = host_of(c, address);
    BIO *bio = BIO_new_ssl_connect(context);
    long result = X509_V_OK;
    SSL *ssl = NULL;

    if (!bio)
        return X509_V_ERR_OUT_OF_MEM;
    BIO_get_ssl(bio, &ssl);
    if (ssl && BIO_set_conn_hostname(bio, address.p) == 1 &&
        SSL_set_tlsext_host_name(ssl, host.p) == 1 &&
        SSL_set_alpn_protos(ssl, protocols, sizeof(protocols) - 1) == 0 &&
        BIO_set_nbio(bio, 1) == 1 && BIO_do_connect_retry(bio, ASK_S, ASK_NAP_MS) != 1)
        result = SSL_get_verify_result(ssl);
    BIO_free_all(bio);
    return result;
}

struct str certificate_problem(struct client *c, enum service service)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct str address = c->set.address[service];
    long result;

    if (!context)
        must_have(NULL);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    result = SSL_CTX_load_verify_locations(
                 context, c->set.ca_file.n ? c->set.ca_file.p : CA_FILE_OF_SYSTEM, NULL) == 1
                 ? verify_result(c, context, address)
                 : X509_V_OK;
    SSL_CTX_free(context);
    if (result == X509_V_ERR_CERT_HAS_EXPIRED)
        return STR("that has expired: it has to be renewed there, or is the clock here wrong?");
    if (result == X509_V_ERR_CERT_NOT_YET_VALID)
        return STR("that is not valid yet: is the clock here wrong?");
    return TEXT(c, "that is not trusted (%s): --ca-file names the file of who signed it",
                result == X509_V_OK ? "nobody known signed it"
                                    : X509_verify_cert_error_string(result));
}
