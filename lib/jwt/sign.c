/* Signing: one private key, loaded once. A signer is immutable; any thread may sign. */
#include "jwt/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#include <jose/openssl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define THUMBPRINT_BYTES 32

struct jwt_signer {
    json_t *jwk;      /* with the private part */
    char kid[64];     /* RFC 7638 thumbprint, base64url */
    char *public_jwk; /* JSON text */
};

/* ---- loading ---- */

/* 0, -EPERM when anybody but the owner may do something with the file, -EINVAL for no file. */
static int check_rights(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if ((st.st_mode & 077) != 0 || (st.st_uid != geteuid() && st.st_uid != 0))
        return -EPERM;
    return st.st_size > JWT_MAX_JWK_BYTES ? -EINVAL : 0;
}

/* Returns the number of bytes read, at most n. */
static ssize_t read_all(int fd, char *p, size_t n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t r = read(fd, p + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

static int load_private(const char *path, json_t **ret)
{
    char text[JWT_MAX_JWK_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = check_rights(fd);
    if (n == 0)
        n = read_all(fd, text, sizeof(text));
    close(fd);
    if (n < 0)
        return (int)n;
    *ret = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
    explicit_bzero(text, sizeof(text));
    return *ret ? 0 : -EINVAL;
}

/* Whether the private and the public part belong together. */
static bool pair_is_valid(struct jose_cfg *cfg, const json_t *jwk)
{
    EVP_PKEY *pkey = jose_openssl_jwk_to_EVP_PKEY(cfg, jwk);
    EVP_PKEY_CTX *ctx = pkey ? EVP_PKEY_CTX_new(pkey, NULL) : NULL;
    bool valid = ctx && EVP_PKEY_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return valid;
}

/* The key reduced to what signing needs, whatever else the file says. */
static json_t *signing_jwk(const json_t *given)
{
    const char *kty, *crv, *x, *y, *d;

    if (json_unpack((json_t *)given, "{s:s, s:s, s:s, s:s, s:s}", "kty", &kty, "crv", &crv, "x", &x,
                    "y", &y, "d", &d) < 0 ||
        strcmp(kty, "EC") != 0 || strcmp(crv, "P-256") != 0)
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "kty", kty, "crv", crv, "x", x, "y", y, "d",
                     d, "alg", "ES256");
}

static int describe_public(struct jwt_signer *signer)
{
    json_t *jwk =
        json_pack("{s:s, s:s, s:O, s:O, s:s, s:s, s:s}", "kty", "EC", "crv", "P-256", "x",
                  json_object_get(signer->jwk, "x"), "y", json_object_get(signer->jwk, "y"), "alg",
                  "ES256", "use", "sig", "kid", signer->kid);
    json_t *check = NULL;
    char kid[JWT_MAX_KID_BYTES + 1];
    int r;

    signer->public_jwk = jwk ? json_dumps(jwk, JSON_COMPACT) : NULL;
    json_decref(jwk);
    if (!signer->public_jwk)
        return -ENOMEM;
    /* What verifiers would refuse must not sign. */
    r = jwt_key_parse_public(str_of(signer->public_jwk), &check, kid);
    if (r == 0)
        json_decref(check);
    return r;
}

static int set_up(struct jwt_signer *signer, const json_t *given)
{
    jose_cfg_auto_t *cfg = jwt_jose_cfg();
    uint8_t thumbprint[THUMBPRINT_BYTES];
    size_t n;

    if (!cfg)
        return -ENOMEM;
    signer->jwk = signing_jwk(given);
    if (!signer->jwk || !pair_is_valid(cfg, signer->jwk))
        return -EINVAL;
    if (jose_jwk_thp_buf(cfg, signer->jwk, "S256", thumbprint, sizeof(thumbprint)) !=
        sizeof(thumbprint))
        return -EINVAL;
    n = jose_b64_enc_buf(thumbprint, sizeof(thumbprint), signer->kid, sizeof(signer->kid) - 1);
    if (n >= sizeof(signer->kid))
        return -EINVAL;
    return describe_public(signer);
}

int jwt_signer_open(const char *path, struct jwt_signer **ret)
{
    struct jwt_signer *signer = calloc(1, sizeof(*signer));
    json_t *given = NULL;
    int r;

    if (!signer)
        return -ENOMEM;
    r = load_private(path, &given);
    if (r == 0)
        r = set_up(signer, given);
    json_decref(given);
    if (r < 0) {
        jwt_signer_free(signer);
        return r;
    }
    *ret = signer;
    return 0;
}

void jwt_signer_free(struct jwt_signer *signer)
{
    if (!signer)
        return;
    json_decref(signer->jwk);
    free(signer->public_jwk);
    free(signer);
}

struct str jwt_signer_key_id(const struct jwt_signer *signer)
{
    return str_of(signer->kid);
}

struct str jwt_signer_public_jwk(const struct jwt_signer *signer)
{
    return str_of(signer->public_jwk);
}

/* ---- signing ---- */

static json_t *text_value(struct str s)
{
    return json_stringn(s.p, s.n); /* NULL when it is not UTF-8 */
}

/* The payload member of a JWS: the claims as base64url text. */
static json_t *encode_claims(const struct jwt_claims *c)
{
    json_t *claims =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "iss", text_value(c->issuer), "aud",
                  text_value(c->audience), "sub", text_value(c->subject), "sid",
                  text_value(c->session), "jti", text_value(c->id), "iat", (json_int_t)c->issued_at,
                  "nbf", (json_int_t)c->not_before, "exp", (json_int_t)c->expires_at);
    json_t *encoded = claims ? jose_b64_enc_dump(claims) : NULL;

    json_decref(claims);
    return encoded;
}

static int compact(const json_t *jws, struct arena *arena, struct str *ret)
{
    const char *header, *payload, *signature;

    if (json_unpack((json_t *)jws, "{s:s, s:s, s:s}", "protected", &header, "payload", &payload,
                    "signature", &signature) < 0)
        return -ENOMEM;
    *ret = arena_printf(arena, "%s.%s.%s", header, payload, signature);
    if (!ret->p)
        return -ENOMEM;
    return ret->n <= JWT_MAX_BYTES ? 0 : -EINVAL;
}

int jwt_sign(const struct jwt_signer *signer, const struct jwt_claims *claims, struct arena *arena,
             struct str *ret)
{
    jose_cfg_auto_t *cfg = jwt_jose_cfg();
    json_t *payload, *jws = NULL, *header = NULL;
    int r = -ENOMEM;

    if (!cfg)
        return -ENOMEM;
    if (!jwt_claims_are_sane(claims))
        return -EINVAL;
    payload = encode_claims(claims);
    if (!payload)
        return -EINVAL;
    jws = json_pack("{s:o}", "payload", payload);
    header = json_pack("{s:{s:s, s:s, s:s}}", "protected", "alg", "ES256", "kid", signer->kid,
                       "typ", "JWT");
    if (jws && header && jose_jws_sig(cfg, jws, header, signer->jwk))
        r = compact(jws, arena, ret);
    json_decref(header);
    json_decref(jws);
    return r;
}
