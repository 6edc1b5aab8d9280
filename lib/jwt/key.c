/* JSON Web Keys: making, reading and checking P-256 keys. Pure functions, any thread. */
#include "jwt/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jose/jwk.h>
#include <jose/openssl.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COORDINATE_CHARS 43 /* 32 bytes in base64url */

/* libjose writes its complaints to standard error unless told otherwise; a forged token is no news
 * for the log. */
static void ignore_error(void *misc, const char *file, int line, uint64_t err, const char *fmt,
                         va_list ap)
{
    (void)misc, (void)file, (void)line, (void)err, (void)fmt, (void)ap;
}

struct jose_cfg *jwt_jose_cfg(void)
{
    struct jose_cfg *cfg = jose_cfg();

    if (cfg)
        jose_cfg_set_err_func(cfg, ignore_error, NULL);
    return cfg;
}

/* ---- public keys ---- */

/* Whether the point is on the curve (RFC 8725 section 3.4). */
static bool point_is_on_curve(const json_t *jwk)
{
    jose_cfg_auto_t *cfg = jwt_jose_cfg();
    EVP_PKEY *pkey = cfg ? jose_openssl_jwk_to_EVP_PKEY(cfg, jwk) : NULL;
    EVP_PKEY_CTX *ctx = pkey ? EVP_PKEY_CTX_new(pkey, NULL) : NULL;
    bool valid = ctx && EVP_PKEY_public_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return valid;
}

static bool is_coordinate(const char *s)
{
    return s && strlen(s) == COORDINATE_CHARS && jwt_base64url_is_canonical(str_of(s));
}

/* An absent member is fine. */
static bool absent_or(const json_t *jwk, const char *name, const char *wanted)
{
    const json_t *value = json_object_get(jwk, name);
    return !value || (json_is_string(value) && strcmp(json_string_value(value), wanted) == 0);
}

static const char *text_member(const json_t *jwk, const char *name)
{
    return json_string_value(json_object_get(jwk, name));
}

static bool is_p256(const json_t *jwk)
{
    const char *kty = text_member(jwk, "kty"), *crv = text_member(jwk, "crv");

    return kty && crv && strcmp(kty, "EC") == 0 && strcmp(crv, "P-256") == 0 &&
           is_coordinate(text_member(jwk, "x")) && is_coordinate(text_member(jwk, "y")) &&
           absent_or(jwk, "alg", "ES256") && absent_or(jwk, "use", "sig");
}

static json_t *parse_jwk(struct str text)
{
    json_t *json = text.n <= JWT_MAX_JWK_BYTES
                       ? json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, NULL)
                       : NULL;

    if (json && is_p256(json))
        return json;
    json_decref(json);
    return NULL;
}

static bool copy_kid(const json_t *jwk, char ret_kid[JWT_MAX_KID_BYTES + 1])
{
    struct str kid = str_of(text_member(jwk, "kid"));

    if (!kid.p || kid.n == 0 || kid.n > JWT_MAX_KID_BYTES)
        return false;
    memcpy(ret_kid, kid.p, kid.n + 1);
    return true;
}

int jwt_key_parse_public(struct str text, json_t **ret_jwk, char ret_kid[JWT_MAX_KID_BYTES + 1])
{
    json_t *given = parse_jwk(text), *jwk = NULL;
    int r = -EINVAL;

    if (given && copy_kid(given, ret_kid) && !json_object_get(given, "d")) {
        jwk = json_pack("{s:s, s:s, s:s, s:s, s:s}", "kty", "EC", "crv", "P-256", "x",
                        text_member(given, "x"), "y", text_member(given, "y"), "alg", "ES256");
        r = jwk ? 0 : -ENOMEM;
    }
    json_decref(given);
    if (r == 0 && !point_is_on_curve(jwk)) {
        json_decref(jwk);
        r = -EINVAL;
    }
    if (r == 0)
        *ret_jwk = jwk;
    return r;
}

/* ---- the private key's file ---- */

static int write_all(int fd, struct str text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text = str_skip(text, (size_t)n);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* A new file that only the owner may read, durable before it gets its name. */
static int write_private(const char *path, struct str text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r;

    if (fd < 0)
        return -errno;
    r = write_all(fd, text);
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

static int sync_folder_of(const char *path)
{
    char copy[PATH_MAX];
    int fd, r;

    snprintf(copy, sizeof(copy), "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

/* The new key as JSON text, to be wiped and freed by the caller; NULL without memory. */
static char *generate(void)
{
    jose_cfg_auto_t *cfg = jwt_jose_cfg();
    json_t *jwk = json_pack("{s:s, s:s}", "alg", "ES256", "use", "sig");
    char *text = NULL;

    if (cfg && jwk && jose_jwk_gen(cfg, jwk))
        text = json_dumps(jwk, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(jwk);
    return text;
}

int jwt_key_create(const char *path)
{
    char temporary[PATH_MAX];
    char *text;
    int n, r;

    if (access(path, F_OK) == 0)
        return 0;
    n = snprintf(temporary, sizeof(temporary), "%s.%ld.%llx.tmp", path, (long)getpid(),
                 (unsigned long long)clock_monotonic_ns());
    if (n < 0 || (size_t)n >= sizeof(temporary))
        return -ENAMETOOLONG;
    text = generate();
    if (!text)
        return -ENOMEM;
    r = write_private(temporary, str_of(text));
    explicit_bzero(text, strlen(text));
    free(text);
    /* link(2), unlike rename(2), leaves the file of an instance that was quicker. */
    if (r == 0 && link(temporary, path) < 0 && errno != EEXIST)
        r = -errno;
    if (r != -EEXIST)
        unlink(temporary);
    return r == 0 ? sync_folder_of(path) : r;
}

int jwt_key_replace(const char *from, const char *to)
{
    return rename(from, to) < 0 ? -errno : sync_folder_of(to);
}
