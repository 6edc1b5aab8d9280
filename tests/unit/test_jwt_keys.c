/* Key files and key sets: what is created, what is refused, and what a replaced set forgets. */
#include "jwt_forge.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- files ---- */

static void created_key_is_private_and_kept(void **state)
{
    struct forge *f = *state;
    struct jwt_signer *again;
    struct stat st;

    assert_int_equal(stat(f->path[0], &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(jwt_key_create(f->path[0]), 0);
    assert_int_equal(jwt_signer_open(f->path[0], &again), 0);
    assert_true(str_eq(jwt_signer_key_id(again), jwt_signer_key_id(f->signer[0])));
    assert_false(str_eq(jwt_signer_key_id(again), jwt_signer_key_id(f->signer[1])));
    jwt_signer_free(again);
}

static void creating_leaves_no_other_files(void **state)
{
    struct forge *f = *state;
    char pattern[96];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/*", f->folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 2);
    globfree(&found);
}

static void key_takes_the_place_of_another(void **state)
{
    struct forge *f = *state;
    struct jwt_signer *there;
    struct stat st;

    assert_int_equal(jwt_key_replace(f->path[1], f->path[0]), 0);
    assert_int_equal(jwt_signer_open(f->path[0], &there), 0);
    assert_true(str_eq(jwt_signer_key_id(there), jwt_signer_key_id(f->signer[1])));
    jwt_signer_free(there);
    assert_int_equal(stat(f->path[0], &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(jwt_key_replace(f->path[1], f->path[0]), -ENOENT); /* nothing is lost */
    assert_int_equal(stat(f->path[0], &st), 0);
}

static void *create_here(void *path)
{
    return (void *)(intptr_t)jwt_key_create(path);
}

/* Instances that start together agree on one key. */
static void concurrent_creation_makes_one_key(void **state)
{
    struct forge *f = *state;
    pthread_t threads[8];
    char path[96];
    struct jwt_signer *signer;

    snprintf(path, sizeof(path), "%s/shared.jwk", f->folder);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_here, path), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *r;
        pthread_join(threads[i], &r);
        assert_int_equal((intptr_t)r, 0);
    }
    assert_int_equal(jwt_signer_open(path, &signer), 0);
    jwt_signer_free(signer);
    unlink(path);
    creating_leaves_no_other_files(state);
}

static void key_that_others_may_read_is_refused(void **state)
{
    struct forge *f = *state;
    static const mode_t modes[] = {0640, 0604, 0620, 0601, 0666};
    struct jwt_signer *signer;

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        assert_int_equal(chmod(f->path[0], modes[i]), 0);
        assert_int_equal(jwt_signer_open(f->path[0], &signer), -EPERM);
    }
    assert_int_equal(chmod(f->path[0], 0400), 0);
    assert_int_equal(jwt_signer_open(f->path[0], &signer), 0);
    jwt_signer_free(signer);
}

static void missing_key_is_told(void **state)
{
    struct forge *f = *state;
    struct jwt_signer *signer;
    char path[96];

    snprintf(path, sizeof(path), "%s/none/key.jwk", f->folder);
    assert_int_equal(jwt_signer_open(path, &signer), -ENOENT);
    assert_int_equal(jwt_key_create(path), -ENOENT);
    assert_int_equal(jwt_signer_open(f->folder, &signer), -EINVAL); /* a folder is no key */
}

static int open_text(struct forge *f, const char *text)
{
    struct jwt_signer *signer = NULL;
    char path[96];
    int fd, r;

    snprintf(path, sizeof(path), "%s/odd.jwk", f->folder);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    r = jwt_signer_open(path, &signer);
    if (r == 0)
        jwt_signer_free(signer);
    unlink(path);
    return r;
}

static json_t *private_jwk(struct forge *f, int i)
{
    json_t *jwk = json_load_file(f->path[i], 0, NULL);

    assert_non_null(jwk);
    return jwk;
}

static int open_changed(struct forge *f, const char *name, json_t *value)
{
    json_t *jwk = private_jwk(f, 0);
    char *text;
    int r;

    if (value)
        json_object_set_new(jwk, name, value);
    else
        json_object_del(jwk, name);
    text = json_dumps(jwk, 0);
    r = open_text(f, text);
    free(text);
    json_decref(jwk);
    return r;
}

static void private_key_must_be_whole_and_on_the_curve(void **state)
{
    struct forge *f = *state;
    json_t *other = private_jwk(f, 1);
    static const char *const needed[] = {"kty", "crv", "x", "y", "d"};

    assert_int_equal(open_changed(f, "note", json_string("harmless")), 0);
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        assert_int_equal(open_changed(f, needed[i], NULL), -EINVAL);
        assert_int_equal(open_changed(f, needed[i], json_string("AAAA")), -EINVAL);
        assert_int_equal(open_changed(f, needed[i], json_integer(1)), -EINVAL);
    }
    /* parts of two pairs */
    assert_int_equal(open_changed(f, "d", json_incref(json_object_get(other, "d"))), -EINVAL);
    assert_int_equal(open_changed(f, "x", json_incref(json_object_get(other, "x"))), -EINVAL);
    assert_int_equal(open_changed(f, "crv", json_string("P-384")), -EINVAL);
    json_decref(other);
    assert_int_equal(open_text(f, ""), -EINVAL);
    assert_int_equal(open_text(f, "-----BEGIN PRIVATE KEY-----"), -EINVAL);
    assert_int_equal(open_text(f, "{\"kty\":\"oct\",\"k\":\"AAAA\"}"), -EINVAL);
}

static void public_key_tells_nothing_private(void **state)
{
    struct forge *f = *state;
    json_t *jwk = json_loads(jwt_signer_public_jwk(f->signer[0]).p, 0, NULL);

    assert_int_equal(json_object_size(jwk), 7);
    assert_null(json_object_get(jwk, "d"));
    assert_string_equal(json_string_value(json_object_get(jwk, "kid")),
                        jwt_signer_key_id(f->signer[0]).p);
    assert_string_equal(json_string_value(json_object_get(jwk, "alg")), "ES256");
    assert_string_equal(json_string_value(json_object_get(jwk, "use")), "sig");
    json_decref(jwk);
}

/* RFC 7638: SHA-256 over the required members in lexicographic order, without white space. */
static void key_id_is_the_thumbprint(void **state)
{
    struct forge *f = *state;
    json_t *jwk = json_loads(jwt_signer_public_jwk(f->signer[0]).p, 0, NULL);
    struct str text = arena_printf(
        &f->arena, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
        json_string_value(json_object_get(jwk, "x")), json_string_value(json_object_get(jwk, "y")));
    uint8_t digest[32];

    assert_int_equal(EVP_Digest(text.p, text.n, digest, NULL, EVP_sha256(), NULL), 1);
    assert_string_equal(forge_encode(&f->arena, (struct str){(char *)digest, 32}).p,
                        jwt_signer_key_id(f->signer[0]).p);
    json_decref(jwk);
}

/* ---- key sets ---- */

/* The key of RFC 7515 appendix A.3. */
#define RFC_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define RFC_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define RFC_D "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"

static void bad_key_leaves_the_old_set(void **state)
{
    struct forge *f = *state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC_X "\",\"y\":\"" RFC_Y "\"}", /* no kid */
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"\",\"x\":\"" RFC_X "\",\"y\":\"" RFC_Y "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"" RFC_X "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"" RFC_X "\",\"y\":\"" RFC_X "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"k\",\"x\":\"" RFC_X "\",\"y\":\"" RFC_Y "\"}",
        "{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
        "{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"AQAB\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"" RFC_X "\",\"y\":\"" RFC_Y
        "\",\"alg\":\"HS256\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"" RFC_X "\",\"y\":\"" RFC_Y
        "\",\"use\":\"enc\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"" RFC_X "\",\"y\":\"" RFC_Y
        "\",\"d\":\"" RFC_D "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"kid\":\"k\",\"x\":\"" RFC_X
        "\",\"y\":\"" RFC_Y "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\","
        "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
        "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
    };
    struct jwt_claims claims = forge_claims();
    struct str good = STR("{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"" RFC_X
                          "\",\"y\":\"" RFC_Y "\"}");
    struct str token;

    assert_int_equal(jwt_sign(f->signer[0], &claims, &f->arena, &token), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct str set[] = {good, str_of(bad[i])};
        assert_int_equal(jwt_verifier_set_keys(f->verifier, set, 2), -EINVAL);
        assert_int_equal(jwt_verifier_key_count(f->verifier), 1);
    }
    assert_int_equal(jwt_verifier_set_keys(f->verifier, (struct str[]){good, good}, 2), -EINVAL);
    assert_int_equal(forge_verify(f, token), JWT_OK);
    assert_int_equal(jwt_verifier_set_keys(f->verifier, &good, 1), 0);
    assert_int_equal(forge_verify(f, token), JWT_UNKNOWN_KEY);
}

static void removed_key_ends_its_remembered_tokens(void **state)
{
    struct forge *f = *state;
    struct jwt_claims claims = forge_claims();
    struct str old, new;

    assert_int_equal(jwt_sign(f->signer[0], &claims, &f->arena, &old), 0);
    assert_int_equal(jwt_sign(f->signer[1], &claims, &f->arena, &new), 0);
    forge_use_keys(f, 0, 2);
    assert_int_equal(forge_verify(f, old), JWT_OK);
    assert_int_equal(forge_verify(f, new), JWT_OK);
    forge_use_keys(f, 1, 1);
    assert_int_equal(forge_verify(f, old), JWT_UNKNOWN_KEY);
    assert_int_equal(forge_verify(f, new), JWT_OK);
    assert_int_equal(jwt_verifier_set_keys(f->verifier, NULL, 0), 0);
    assert_int_equal(forge_verify(f, new), JWT_UNKNOWN_KEY);
}

/* Another key under the same kid is another key. */
static void changed_key_ends_its_remembered_tokens(void **state)
{
    struct forge *f = *state;
    struct jwt_claims claims = forge_claims();
    json_t *jwk = json_loads(jwt_signer_public_jwk(f->signer[1]).p, 0, NULL);
    struct str token;
    char *text;

    assert_int_equal(jwt_sign(f->signer[0], &claims, &f->arena, &token), 0);
    assert_int_equal(forge_verify(f, token), JWT_OK);
    json_object_set_new(jwk, "kid", json_string(jwt_signer_key_id(f->signer[0]).p));
    text = json_dumps(jwk, 0);
    struct str set = str_of(text);
    assert_int_equal(jwt_verifier_set_keys(f->verifier, &set, 1), 0);
    assert_int_equal(forge_verify(f, token), JWT_BAD_SIGNATURE);
    free(text);
    json_decref(jwk);
}

static void verifier_options_are_checked(void **state)
{
    struct jwt_verifier *verifier;

    (void)state;
    assert_int_equal(
        jwt_verifier_new(&(struct jwt_verifier_options){.issuer = "a", .audience = NULL},
                         &verifier),
        -EINVAL);
    assert_int_equal(
        jwt_verifier_new(
            &(struct jwt_verifier_options){.issuer = "a", .audience = "b", .leeway_s = 61},
            &verifier),
        -EINVAL);
    assert_int_equal(
        jwt_verifier_new(
            &(struct jwt_verifier_options){.issuer = "a", .audience = "b", .leeway_s = -1},
            &verifier),
        -EINVAL);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, forge_setup, forge_teardown)
    const struct CMUnitTest tests[] = {
        CASE(created_key_is_private_and_kept),
        CASE(creating_leaves_no_other_files),
        CASE(key_takes_the_place_of_another),
        CASE(concurrent_creation_makes_one_key),
        CASE(key_that_others_may_read_is_refused),
        CASE(missing_key_is_told),
        CASE(private_key_must_be_whole_and_on_the_curve),
        CASE(public_key_tells_nothing_private),
        CASE(key_id_is_the_thumbprint),
        CASE(bad_key_leaves_the_old_set),
        CASE(removed_key_ends_its_remembered_tokens),
        CASE(changed_key_ends_its_remembered_tokens),
        CASE(verifier_options_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
