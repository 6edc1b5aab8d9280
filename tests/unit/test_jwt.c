/* Which tokens are accepted and which are not: the attacks that RFC 8725 lists, damage of every
 * kind, and agreement with another implementation (PyJWT). */
#include "jwt_forge.h"

#include <openssl/evp.h>

static struct str signed_token(struct forge *f, struct jwt_claims claims)
{
    struct str token;

    assert_int_equal(jwt_sign(f->signer[0], &claims, &f->arena, &token), 0);
    return token;
}

static void signed_token_is_accepted_with_its_claims(void **state)
{
    struct forge *f = *state;
    struct str token = signed_token(f, forge_claims());
    struct jwt_claims got;

    for (int i = 0; i < 2; i++) { /* verified, then remembered */
        assert_int_equal(jwt_verify(f->verifier, token, FORGE_NOW, &f->arena, &got), JWT_OK);
        assert_true(str_eq(got.issuer, STR("stoa")));
        assert_true(str_eq(got.audience, STR("stoa")));
        assert_true(str_eq(got.subject, forge_claims().subject));
        assert_true(str_eq(got.session, forge_claims().session));
        assert_true(str_eq(got.id, forge_claims().id));
        assert_int_equal(got.issued_at, FORGE_NOW);
        assert_int_equal(got.not_before, FORGE_NOW);
        assert_int_equal(got.expires_at, FORGE_NOW + 900);
    }
}

static void forger_makes_acceptable_tokens(void **state)
{
    struct forge *f = *state;

    /* So that the refusals below are for the reason that each names. */
    assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), FORGE_PAYLOAD)),
                     JWT_OK);
}

/* ---- algorithm ---- */

static void alg_none_is_refused(void **state)
{
    struct forge *f = *state;
    static const char *const spellings[] = {"none", "None", "NONE", "nOnE", ""};

    for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
        struct str header = arena_printf(&f->arena, "{\"alg\":\"%s\",\"kid\":\"%s\"}", spellings[i],
                                         jwt_signer_key_id(f->signer[0]).p);
        struct str body = arena_printf(&f->arena, "%s.%s", forge_encode(&f->arena, header).p,
                                       forge_encode(&f->arena, STR(FORGE_PAYLOAD)).p);

        assert_int_equal(forge_verify(f, arena_printf(&f->arena, "%s.", body.p)), JWT_MALFORMED);
        assert_int_equal(forge_verify(f, body), JWT_MALFORMED);
        /* also with a signature that would be right */
        assert_int_equal(forge_verify(f, forge_token(f, 0, header.p, FORGE_PAYLOAD)),
                         JWT_MALFORMED);
    }
}

/* HMAC with a secret that everybody knows: the public key as JWK, as DER, as its point. */
static void alg_switch_to_hmac_is_refused(void **state)
{
    struct forge *f = *state;
    struct str header = arena_printf(&f->arena, "{\"alg\":\"HS256\",\"kid\":\"%s\"}",
                                     jwt_signer_key_id(f->signer[0]).p);
    struct str input = arena_printf(&f->arena, "%s.%s", forge_encode(&f->arena, header).p,
                                    forge_encode(&f->arena, STR(FORGE_PAYLOAD)).p);
    struct str jwk = jwt_signer_public_jwk(f->signer[0]);
    uint8_t *der = NULL, mac[32];
    int n = i2d_PUBKEY(f->key[0], &der);
    struct str secrets[] = {jwk, {(char *)der, (size_t)n}, {(char *)der + n - 65, 65}};

    assert_true(n > 65);
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++) {
        assert_non_null(HMAC(EVP_sha256(), secrets[i].p, (int)secrets[i].n,
                             (const uint8_t *)input.p, input.n, mac, NULL));
        struct str signature = forge_encode(&f->arena, (struct str){(char *)mac, sizeof(mac)});
        assert_int_equal(forge_verify(f, arena_printf(&f->arena, "%s.%s", input.p, signature.p)),
                         JWT_MALFORMED);
    }
    OPENSSL_free(der);
}

static void other_algorithms_are_refused(void **state)
{
    struct forge *f = *state;
    static const char *const algorithms[] = {"\"RS256\"",  "\"PS256\"", "\"ES384\"",   "\"ES512\"",
                                             "\"EdDSA\"",  "\"HS512\"", "\"es256\"",   "\"ES256 \"",
                                             "\"ES256K\"", "1",         "[\"ES256\"]", "null"};

    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        struct str header = arena_printf(&f->arena, "{\"alg\":%s,\"kid\":\"%s\"}", algorithms[i],
                                         jwt_signer_key_id(f->signer[0]).p);
        assert_int_equal(forge_verify(f, forge_token(f, 0, header.p, FORGE_PAYLOAD)),
                         JWT_MALFORMED);
    }
}

/* ---- keys ---- */

static void wrong_key_is_refused(void **state)
{
    struct forge *f = *state;

    assert_int_equal(forge_verify(f, forge_token(f, 1, forge_header(f, ""), FORGE_PAYLOAD)),
                     JWT_BAD_SIGNATURE);
}

static void unknown_key_is_told_apart(void **state)
{
    struct forge *f = *state;
    struct jwt_claims claims = forge_claims();
    struct str token;

    assert_int_equal(jwt_sign(f->signer[1], &claims, &f->arena, &token), 0);
    assert_int_equal(forge_verify(f, token), JWT_UNKNOWN_KEY);
    forge_use_keys(f, 0, 2);
    assert_int_equal(forge_verify(f, token), JWT_OK);
}

static void odd_key_ids_find_nothing(void **state)
{
    struct forge *f = *state;
    static const struct {
        const char *kid;
        enum jwt_result want;
    } cases[] = {
        {"\"../../../../dev/null\"", JWT_UNKNOWN_KEY},
        {"\"' OR '1'='1\"", JWT_UNKNOWN_KEY},
        {"\"\\n\\t\\u001f\"", JWT_UNKNOWN_KEY},
        {"\"%s%s%n\"", JWT_UNKNOWN_KEY},
        {"\"\\u043a\\u043b\\u044e\\u0447\"", JWT_UNKNOWN_KEY},
        {"\"a\\u0000b\"", JWT_MALFORMED},
        {"\"\"", JWT_MALFORMED},
        {"0", JWT_MALFORMED},
        {"null", JWT_MALFORMED},
        {"[\"k\"]", JWT_MALFORMED},
        {"{\"k\":1}", JWT_MALFORMED},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct str header = arena_printf(&f->arena, "{\"alg\":\"ES256\",\"kid\":%s}", cases[i].kid);
        assert_int_equal(forge_verify(f, forge_token(f, 0, header.p, FORGE_PAYLOAD)),
                         cases[i].want);
    }
    assert_int_equal(forge_verify(f, forge_token(f, 0, "{\"alg\":\"ES256\"}", FORGE_PAYLOAD)),
                     JWT_MALFORMED);
}

static void key_id_length_is_bounded(void **state)
{
    struct forge *f = *state;
    char kid[130];

    for (size_t n = 128; n <= 129; n++) {
        memset(kid, 'k', n);
        kid[n] = '\0';
        struct str header = arena_printf(&f->arena, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
        assert_int_equal(forge_verify(f, forge_token(f, 0, header.p, FORGE_PAYLOAD)),
                         n == 128 ? JWT_UNKNOWN_KEY : JWT_MALFORMED);
    }
}

/* A token that brings the key it was signed with, or says where to fetch it. */
static void embedded_keys_are_never_followed(void **state)
{
    struct forge *f = *state;
    struct str stranger = jwt_signer_public_jwk(f->signer[1]);
    struct str headers[] = {
        arena_printf(&f->arena, ",\"jwk\":%s", stranger.p),
        STR(",\"jku\":\"http://127.0.0.1:1/jwks.json\""),
        STR(",\"x5u\":\"http://127.0.0.1:1/cert.pem\""),
        STR(",\"x5c\":[\"MIIB\"]"),
        STR(",\"x5t\":\"AAAA\""),
        STR(",\"x5t#S256\":\"AAAA\""),
    };

    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        const char *header = forge_header(f, headers[i].p);
        assert_int_equal(forge_verify(f, forge_token(f, 0, header, FORGE_PAYLOAD)), JWT_MALFORMED);
        assert_int_equal(forge_verify(f, forge_token(f, 1, header, FORGE_PAYLOAD)), JWT_MALFORMED);
    }
}

/* ---- header ---- */

static void header_members_are_an_allow_list(void **state)
{
    struct forge *f = *state;
    static const char *const more[] = {
        ",\"crit\":[\"exp\"],\"exp\":1",
        ",\"crit\":[]",
        ",\"b64\":false,\"crit\":[\"b64\"]",
        ",\"b64\":false",
        ",\"zip\":\"DEF\"",
        ",\"enc\":\"A128GCM\"",
        ",\"cty\":\"JWT\"",
        ",\"x\":1",
        ",\"alg\":\"ES256\"",
        ",\"alg\":\"none\"",
        ",\"typ\":\"JWT\"",
        ",\"kid\":\"x\"",
    };

    for (size_t i = 0; i < ARRAY_SIZE(more); i++)
        assert_int_equal(
            forge_verify(f, forge_token(f, 0, forge_header(f, more[i]), FORGE_PAYLOAD)),
            JWT_MALFORMED);
}

static void typ_is_a_token_or_absent(void **state)
{
    struct forge *f = *state;
    static const struct {
        const char *typ;
        enum jwt_result want;
    } cases[] = {{"", JWT_OK},
                 {",\"typ\":\"JWT\"", JWT_OK},
                 {",\"typ\":\"jwt\"", JWT_OK},
                 {",\"typ\":\"at+jwt\"", JWT_OK},
                 {",\"typ\":\"JOSE\"", JWT_MALFORMED},
                 {",\"typ\":\"logout+jwt\"", JWT_MALFORMED},
                 {",\"typ\":\"\"", JWT_MALFORMED},
                 {",\"typ\":null", JWT_MALFORMED},
                 {",\"typ\":1", JWT_MALFORMED}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct str header = arena_printf(&f->arena, "{\"alg\":\"ES256\",\"kid\":\"%s\"%s}",
                                         jwt_signer_key_id(f->signer[0]).p, cases[i].typ);
        assert_int_equal(forge_verify(f, forge_token(f, 0, header.p, FORGE_PAYLOAD)),
                         cases[i].want);
    }
}

static void header_and_payload_must_be_json_objects(void **state)
{
    struct forge *f = *state;
    const struct str bad[] = {STR("[]"),
                              STR("null"),
                              STR("\"ES256\""),
                              STR("1"),
                              STR("{"),
                              STR("{}{}"),
                              STR("{\"a\":1,}"),
                              STR("\0"),
                              STR("{\"a\":\"\xff\"}"),
                              STR("\xef\xbb\xbf{}"),
                              STR("{} x")};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(
            forge_verify(f, forge_token_bytes(&f->arena, f->key[0], bad[i], STR(FORGE_PAYLOAD))),
            JWT_MALFORMED);
        assert_int_equal(forge_verify(f, forge_token_bytes(&f->arena, f->key[0],
                                                           str_of(forge_header(f, "")), bad[i])),
                         JWT_MALFORMED);
    }
}

static void deep_nesting_is_refused(void **state)
{
    struct forge *f = *state;
    char deep[1201];

    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), deep)), JWT_MALFORMED);
    for (size_t i = 0; i + 5 < sizeof(deep) - 1; i += 5)
        memcpy(deep + i, "{\"a\":", 5);
    assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), deep)), JWT_MALFORMED);
}

/* ---- times ---- */

static void times_hold_with_leeway_to_the_second(void **state)
{
    struct forge *f = *state;
    static const struct {
        int64_t at;
        enum jwt_result want;
    } cases[] = {{FORGE_NOW - 6, JWT_NOT_YET_VALID},
                 {FORGE_NOW - 5, JWT_OK},
                 {FORGE_NOW, JWT_OK},
                 {FORGE_NOW + 899, JWT_OK},
                 {FORGE_NOW + 904, JWT_OK},
                 {FORGE_NOW + 905, JWT_EXPIRED},
                 {FORGE_NOW + 906, JWT_EXPIRED},
                 {0, JWT_NOT_YET_VALID},
                 {INT64_MIN, JWT_NOT_YET_VALID},
                 {INT64_MAX, JWT_EXPIRED}};

    for (int remembered = 0; remembered < 2; remembered++) {
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            struct jwt_claims claims = forge_claims();
            char id[16];

            snprintf(id, sizeof(id), "%d-%zu", remembered, i); /* a token not seen before */
            claims.id = str_of(id);
            struct str token = signed_token(f, claims);
            if (remembered)
                assert_int_equal(forge_verify(f, token), JWT_OK);
            assert_int_equal(forge_verify_at(f, token, cases[i].at), cases[i].want);
        }
    }
}

static void expired_token_stays_refused_when_the_clock_goes_back(void **state)
{
    struct forge *f = *state;
    struct str token = signed_token(f, forge_claims());

    assert_int_equal(forge_verify(f, token), JWT_OK);
    assert_int_equal(forge_verify_at(f, token, FORGE_NOW + 1000), JWT_EXPIRED);
    assert_int_equal(forge_verify_at(f, token, FORGE_NOW - 1000), JWT_NOT_YET_VALID);
}

/* ---- claims ---- */

static void issuer_and_audience_must_be_ours(void **state)
{
    struct forge *f = *state;
    static const char *const others[] = {"Stoa", "stoa ", "stoa2", "sto", "*"};

    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        struct jwt_claims claims = forge_claims();
        claims.issuer = str_of(others[i]);
        assert_int_equal(forge_verify(f, signed_token(f, claims)), JWT_WRONG_ISSUER);
        claims = forge_claims();
        claims.audience = str_of(others[i]);
        assert_int_equal(forge_verify(f, signed_token(f, claims)), JWT_WRONG_AUDIENCE);
    }
}

/* FORGE_PAYLOAD with one member's value replaced; NULL: left out. */
static const char *payload_with(struct forge *f, const char *name, const char *value)
{
    json_t *claims = json_loads(FORGE_PAYLOAD, 0, NULL);
    struct str text;
    char *dump;

    json_object_del(claims, name);
    dump = json_dumps(claims, JSON_COMPACT);
    dump[strlen(dump) - 1] = '\0';
    text = value ? arena_printf(&f->arena, "%s,\"%s\":%s}", dump, name, value)
                 : arena_printf(&f->arena, "%s}", dump);
    free(dump);
    json_decref(claims);
    return text.p;
}

static void every_claim_is_required(void **state)
{
    struct forge *f = *state;
    static const char *const names[] = {"iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *payload = payload_with(f, names[i], NULL);
        assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), payload)),
                         JWT_MALFORMED);
    }
}

static void claims_have_strict_types(void **state)
{
    struct forge *f = *state;
    static const char *const strings[] = {"iss", "aud", "sub", "sid", "jti"};
    static const char *const not_strings[] = {"1",  "null", "true",         "[\"stoa\"]",
                                              "{}", "\"\"", "\"a\\u0000b\""};
    static const char *const numbers[] = {"iat", "nbf", "exp"};
    static const char *const not_numbers[] = {"\"1700000000\"",
                                              "1700000000.0",
                                              "1.7e9",
                                              "null",
                                              "true",
                                              "[1700000000]",
                                              "-1",
                                              "253402300800",
                                              "9223372036854775807",
                                              "9223372036854775808",
                                              "-9223372036854775809"};

    for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(not_strings); j++) {
            const char *payload = payload_with(f, strings[i], not_strings[j]);
            assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), payload)),
                             JWT_MALFORMED);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(not_numbers); j++) {
            const char *payload = payload_with(f, numbers[i], not_numbers[j]);
            assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), payload)),
                             JWT_MALFORMED);
        }
    }
}

static void life_is_positive_and_bounded(void **state)
{
    struct forge *f = *state;
    static const struct {
        const char *name, *value;
    } cases[] = {{"exp", "1700000000"}, {"exp", "1699999999"}, {"exp", "1702678401"},
                 {"nbf", "1700000900"}, {"iat", "1700000900"}, {"nbf", "0"}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *payload = payload_with(f, cases[i].name, cases[i].value);
        assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), payload)),
                         JWT_MALFORMED);
    }
    assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""),
                                                 payload_with(f, "exp", "1702678400"))),
                     JWT_OK);
}

static void doubled_claims_are_refused(void **state)
{
    struct forge *f = *state;
    static const char *const doubled[] = {"{\"sub\":\"1\"," /* the first would win */,
                                          "{\"exp\":1800000000,", "{\"iss\":\"evil\","};

    for (size_t i = 0; i < ARRAY_SIZE(doubled); i++) {
        struct str payload = arena_printf(&f->arena, "%s%s", doubled[i], FORGE_PAYLOAD + 1);
        assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), payload.p)),
                         JWT_MALFORMED);
    }
}

/* Claims that we don't know do no harm (RFC 7519 section 4), and none may make a token accepted. */
static void unknown_claims_are_ignored(void **state)
{
    struct forge *f = *state;
    const char *payload = payload_with(f, "scope", "[{\"a\":null}]");

    assert_int_equal(forge_verify(f, forge_token(f, 0, forge_header(f, ""), payload)), JWT_OK);
    assert_int_equal(forge_verify(f, forge_token(f, 1, forge_header(f, ""), payload)),
                     JWT_BAD_SIGNATURE);
}

/* ---- damage ---- */

static void truncated_token_is_refused_at_every_length(void **state)
{
    struct forge *f = *state;
    struct str token = signed_token(f, forge_claims());

    for (size_t n = 0; n < token.n; n++) {
        char *copy = malloc(n ? n : 1); /* exact size, so that a sanitizer sees any overrun */
        memcpy(copy, token.p, n);
        assert_int_not_equal(forge_verify(f, (struct str){copy, n}), JWT_OK);
        free(copy);
    }
}

static void every_changed_bit_is_noticed(void **state)
{
    struct forge *f = *state;
    struct str token = signed_token(f, forge_claims());
    char *copy = malloc(token.n);

    for (size_t i = 0; i < token.n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, token.p, token.n);
            copy[i] = (char)(copy[i] ^ (1 << bit));
            assert_int_not_equal(forge_verify(f, (struct str){copy, token.n}), JWT_OK);
        }
    }
    free(copy);
    assert_int_equal(forge_verify(f, token), JWT_OK);
}

/* The same bytes must not have a second spelling: a list of refused tokens could be dodged with it.
 */
static void non_canonical_encodings_are_refused(void **state)
{
    struct forge *f = *state;
    struct str token = signed_token(f, forge_claims());
    static const char *const around[] = {"%s=",  "%s==", " %s", "%s ",   "%s\n",
                                         "\n%s", "%s.",  ".%s", "%s.AA", "Bearer %s"};
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (size_t i = 0; i < ARRAY_SIZE(around); i++) {
        char text[JWT_MAX_BYTES];
        const char *hole = strstr(around[i], "%s");
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(hole - around[i]), around[i], token.p,
                 hole + 2);
        assert_int_equal(forge_verify(f, str_of(text)), JWT_MALFORMED);
    }
    /* the four unused bits of the last character */
    char *copy = strdup(token.p);
    size_t value = (size_t)(strchr(alphabet, copy[token.n - 1]) - alphabet);
    for (size_t low = 1; low < 16; low++) {
        copy[token.n - 1] = alphabet[value | low];
        assert_int_equal(forge_verify(f, (struct str){copy, token.n}), JWT_MALFORMED);
    }
    free(copy);
}

static void shapes_that_are_no_token_are_refused(void **state)
{
    struct forge *f = *state;
    const struct str shapes[] = {STR(""),           STR("."),
                                 STR(".."),         STR("..."),
                                 STR("a.b.c"),      STR("...."),
                                 STR("AA.AA.AA"),   STR("AA..AA"),
                                 STR(".AA.AA"),     STR("AA.AA."),
                                 STR("A+/=.AA.AA"), STR("null"),
                                 STR("\0\0\0"),     STR("{\"payload\":\"\",\"signatures\":[]}")};

    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
        assert_int_equal(forge_verify(f, shapes[i]), JWT_MALFORMED);
    assert_int_equal(forge_verify(f, STR_NULL), JWT_MALFORMED);
}

/* Signatures of the right size that are no point of the curve's order (CVE-2022-21449 and kin). */
static void degenerate_signatures_are_refused(void **state)
{
    struct forge *f = *state;
    struct str body =
        arena_printf(&f->arena, "%s.%s", forge_encode(&f->arena, str_of(forge_header(f, ""))).p,
                     forge_encode(&f->arena, STR(FORGE_PAYLOAD)).p);
    uint8_t raw[64];

    for (int fill = 0; fill < 256; fill += 51) {
        memset(raw, fill, sizeof(raw));
        struct str signature = forge_encode(&f->arena, (struct str){(char *)raw, sizeof(raw)});
        assert_int_equal(forge_verify(f, arena_printf(&f->arena, "%s.%s", body.p, signature.p)),
                         JWT_BAD_SIGNATURE);
    }
}

static void size_is_bounded(void **state)
{
    struct forge *f = *state;
    char padding[2048], *huge = malloc(1 << 20);
    size_t n = 1100;
    struct str token;

    memset(padding, 'p', sizeof(padding));
    do { /* the largest that fits, then one that doesn't */
        struct str value = arena_printf(&f->arena, "\"%.*s\"", (int)n, padding);
        token = forge_token(f, 0, forge_header(f, ""), payload_with(f, "pad", value.p));
        assert_int_equal(forge_verify(f, token), token.n <= JWT_MAX_BYTES ? JWT_OK : JWT_MALFORMED);
        n++;
    } while (token.n <= JWT_MAX_BYTES);
    memset(huge, 'A', 1 << 20);
    assert_int_equal(forge_verify(f, (struct str){huge, 1 << 20}), JWT_MALFORMED);
    free(huge);
}

/* ---- signing ---- */

static void signer_refuses_what_a_verifier_would(void **state)
{
    struct forge *f = *state;
    struct jwt_claims claims[8];
    char longest[257];
    struct str token;

    memset(longest, 'a', sizeof(longest));
    for (size_t i = 0; i < ARRAY_SIZE(claims); i++)
        claims[i] = forge_claims();
    claims[0].subject = STR("");
    claims[1].session = STR_NULL;
    claims[2].id = STR("\xff");
    claims[3].subject = STR("4\0002");
    claims[4].expires_at = claims[4].not_before;
    claims[5].issued_at = -1;
    claims[6].subject = (struct str){longest, 257};
    claims[7].expires_at = INT64_MAX;
    for (size_t i = 0; i < ARRAY_SIZE(claims); i++)
        assert_int_equal(jwt_sign(f->signer[0], &claims[i], &f->arena, &token), -22);
    for (size_t i = 0; i < 5; i++)
        claims[0].subject = claims[0].session = claims[0].id = claims[0].audience =
            claims[0].issuer = (struct str){longest, 256};
    assert_int_equal(jwt_sign(f->signer[0], &claims[0], &f->arena, &token), 0);
    assert_true(token.n <= JWT_MAX_BYTES);
}

/* ---- another implementation ---- */

/* Runs a Python program with PyJWT and returns the first line that it prints. */
static struct str python(struct forge *f, const char *program)
{
    struct str command = arena_printf(&f->arena, "/usr/bin/python3 -c '%s'", program);
    char line[JWT_MAX_BYTES + 2] = "";
    FILE *pipe = popen(command.p, "r");

    assert_non_null(pipe);
    if (!fgets(line, sizeof(line), pipe))
        line[0] = '\0';
    assert_int_equal(pclose(pipe), 0);
    line[strcspn(line, "\n")] = '\0';
    return arena_copy(&f->arena, str_of(line));
}

static void pyjwt_accepts_our_tokens(void **state)
{
    struct forge *f = *state;
    struct str token = signed_token(f, forge_claims());
    struct str program = arena_printf(
        &f->arena,
        "import jwt\n"
        "key = jwt.algorithms.ECAlgorithm.from_jwk(\"\"\"%s\"\"\")\n"
        "c = jwt.decode(\"%s\", key, algorithms=[\"ES256\"], issuer=\"stoa\", audience=\"stoa\",\n"
        "    options={\"verify_exp\": False, \"require\": [\"exp\", \"iat\", \"nbf\", \"jti\"]})\n"
        "print(c[\"sub\"], c[\"sid\"], c[\"jti\"], c[\"exp\"] - c[\"iat\"])\n",
        jwt_signer_public_jwk(f->signer[0]).p, token.p);

    assert_string_equal(python(f, program.p).p,
                        "42 0190c2f0-7e1a-7b6f-9d3e-1f2a3b4c5d6e AAAAAAAAAAAAAAAAAAAAAA 900");
}

static void we_accept_tokens_of_pyjwt(void **state)
{
    struct forge *f = *state;
    struct str program = arena_printf(
        &f->arena,
        "import json, jwt\n"
        "key = jwt.algorithms.ECAlgorithm.from_jwk(open(\"%s\").read())\n"
        "claims = json.loads(\"\"\"%s\"\"\")\n"
        "print(jwt.encode(claims, key, algorithm=\"ES256\", headers={\"kid\": \"%s\"}))\n",
        f->path[0], FORGE_PAYLOAD, jwt_signer_key_id(f->signer[0]).p);

    assert_int_equal(forge_verify(f, python(f, program.p)), JWT_OK);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, forge_setup, forge_teardown)
    const struct CMUnitTest tests[] = {
        CASE(signed_token_is_accepted_with_its_claims),
        CASE(forger_makes_acceptable_tokens),
        CASE(alg_none_is_refused),
        CASE(alg_switch_to_hmac_is_refused),
        CASE(other_algorithms_are_refused),
        CASE(wrong_key_is_refused),
        CASE(unknown_key_is_told_apart),
        CASE(odd_key_ids_find_nothing),
        CASE(key_id_length_is_bounded),
        CASE(embedded_keys_are_never_followed),
        CASE(header_members_are_an_allow_list),
        CASE(typ_is_a_token_or_absent),
        CASE(header_and_payload_must_be_json_objects),
        CASE(deep_nesting_is_refused),
        CASE(times_hold_with_leeway_to_the_second),
        CASE(expired_token_stays_refused_when_the_clock_goes_back),
        CASE(issuer_and_audience_must_be_ours),
        CASE(every_claim_is_required),
        CASE(claims_have_strict_types),
        CASE(life_is_positive_and_bounded),
        CASE(doubled_claims_are_refused),
        CASE(unknown_claims_are_ignored),
        CASE(truncated_token_is_refused_at_every_length),
        CASE(every_changed_bit_is_noticed),
        CASE(non_canonical_encodings_are_refused),
        CASE(shapes_that_are_no_token_are_refused),
        CASE(degenerate_signatures_are_refused),
        CASE(size_is_bounded),
        CASE(signer_refuses_what_a_verifier_would),
        CASE(pyjwt_accepts_our_tokens),
        CASE(we_accept_tokens_of_pyjwt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
