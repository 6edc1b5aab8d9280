/* Certificates for tests of TLS: a CA and what it signs, as PEM files in a folder. */
#ifndef STOA_TESTS_RPC_CERTIFICATES_H
#define STOA_TESTS_RPC_CERTIFICATES_H

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

struct test_identity {
    EVP_PKEY *key;
    X509 *certificate;
};

static inline void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

/* issuer NULL: a CA that signs itself. Valid for "localhost" for a day. */
static inline struct test_identity make_identity(const char *name, long serial,
                                                 const struct test_identity *issuer)
{
    struct test_identity id = {EVP_EC_gen("P-256"), X509_new()};
    X509_NAME *subject = X509_get_subject_name(id.certificate);
    X509 *signer = issuer ? issuer->certificate : id.certificate;

    assert(id.key && id.certificate);
    X509_set_version(id.certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.certificate), serial);
    X509_gmtime_adj(X509_getm_notBefore(id.certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(id.certificate), 24L * 3600);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(id.certificate, X509_get_subject_name(signer));
    X509_set_pubkey(id.certificate, id.key);
    add_extension(id.certificate, signer, NID_basic_constraints,
                  issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    add_extension(id.certificate, signer, NID_subject_alt_name, "DNS:localhost");
    assert(X509_sign(id.certificate, issuer ? issuer->key : id.key, EVP_sha256()) > 0);
    return id;
}

static inline void free_identity(struct test_identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->certificate);
}

static inline void write_certificate(const struct test_identity *id, const char *path)
{
    FILE *file = fopen(path, "we");

    assert(file);
    PEM_write_X509(file, id->certificate);
    fclose(file);
}

static inline void write_key(const struct test_identity *id, const char *path)
{
    FILE *file = fopen(path, "we");

    assert(file);
    PEM_write_PrivateKey(file, id->key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

/* The PEM text of a certificate or key, NUL-terminated; the caller frees it. */
static inline char *pem_text(const struct test_identity *id, int key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *text;
    long n;

    if (key)
        PEM_write_bio_PrivateKey(bio, id->key, NULL, NULL, 0, NULL, NULL);
    else
        PEM_write_bio_X509(bio, id->certificate);
    n = BIO_get_mem_data(bio, &data);
    text = calloc(1, (size_t)n + 1); /* data ends without a NUL */
    memcpy(text, data, (size_t)n);
    BIO_free(bio);
    return text;
}

#endif
