/* What a token may look like: size, shape, encoding, header and claims. Pure functions, any thread.
 *
 * This is the layer that decides what reaches the cryptography. It takes only what our own signer
 * makes: RFC 8725 sections 3.1 (algorithm), 3.8 (issuer), 3.10 (claims of a header that point to
 * keys) and 3.11 (typ).
 */
#include "base/base64.h"
#include "jwt/internal.h"

#include <errno.h>
#include <jose/b64.h>

#define JSON_FLAGS JSON_REJECT_DUPLICATES
#define SIGNATURE_BYTES 64 /* r and s of P-256 */

static int base64url_value(char c)
{
    return c == '+' || c == '/' ? -1 : base64_value(c);
}

bool jwt_base64url_is_canonical(struct str s)
{
    /* Bits of the last character that no byte takes: they must be zero, or the same bytes would
     * have several spellings. */
    static const int unused_bits[4] = {0, -1, 0x0f, 0x03};
    int unused = unused_bits[s.n % 4];

    if (s.n == 0 || unused < 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (base64url_value(s.p[i]) < 0)
            return false;
    }
    return (base64url_value(s.p[s.n - 1]) & unused) == 0;
}

/* Takes the bytes before the next dot off *rest; all of it when there is none. */
static struct str take_part(struct str *rest)
{
    const char *dot = rest->n ? memchr(rest->p, '.', rest->n) : NULL;
    struct str part = {rest->p, dot ? (size_t)(dot - rest->p) : rest->n};

    *rest = dot ? str_skip(*rest, part.n + 1) : STR_NULL;
    return part;
}

int jwt_split(struct str token, struct jwt_parts *ret)
{
    struct str rest = token;

    if (token.n == 0 || token.n > JWT_MAX_BYTES)
        return -EINVAL;
    ret->header = take_part(&rest);
    ret->payload = take_part(&rest);
    ret->signature = rest; /* a further dot is no base64url character */
    if (!jwt_base64url_is_canonical(ret->header) || !jwt_base64url_is_canonical(ret->payload) ||
        !jwt_base64url_is_canonical(ret->signature))
        return -EINVAL;
    return ret->signature.n == (SIGNATURE_BYTES * 4 + 2) / 3 ? 0 : -EINVAL;
}

/* Decodes a part and parses it as a JSON object; NULL when it is anything else. */
static json_t *parse_object(struct str encoded)
{
    char text[JWT_MAX_BYTES];
    size_t n = jose_b64_dec_buf(encoded.p, encoded.n, text, sizeof(text));
    json_t *json;

    if (n > sizeof(text))
        return NULL;
    json = json_loadb(text, n, JSON_FLAGS, NULL);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

static struct str string_member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? (struct str){json_string_value(value), json_string_length(value)}
                                 : STR_NULL;
}

/* alg and kid, perhaps typ, and nothing else: crit asks for extensions that we don't have; jwk,
 * jku, x5u and x5c offer keys that a stranger chose. */
static bool header_is_ours(const json_t *header)
{
    struct str typ = string_member(header, "typ");
    size_t expected = json_object_get(header, "typ") ? 3 : 2;

    if (!str_eq(string_member(header, "alg"), STR("ES256")))
        return false;
    if (expected == 3 && !str_eq_nocase(typ, STR("JWT")) && !str_eq_nocase(typ, STR("at+jwt")))
        return false;
    return json_object_size(header) == expected;
}

int jwt_read_header(struct str encoded, char ret_kid[JWT_MAX_KID_BYTES + 1])
{
    json_t *header = parse_object(encoded);
    struct str kid = string_member(header, "kid");
    int r = -EINVAL;

    if (header && header_is_ours(header) && kid.n > 0 && kid.n <= JWT_MAX_KID_BYTES) {
        memcpy(ret_kid, kid.p, kid.n + 1);
        r = 0;
    }
    json_decref(header);
    return r;
}

static bool read_string(const json_t *object, const char *name, struct str *ret)
{
    *ret = string_member(object, name);
    return ret->p != NULL;
}

/* Whole numbers only: a fraction or an exponent is a JSON real. */
static bool read_time(const json_t *object, const char *name, int64_t *ret)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_integer(value))
        return false;
    *ret = json_integer_value(value);
    return true;
}

static bool text_is_sane(struct str s)
{
    return s.p && s.n > 0 && s.n <= JWT_MAX_CLAIM_BYTES && !memchr(s.p, '\0', s.n);
}

static bool time_is_sane(int64_t t)
{
    return t >= 0 && t <= LAST_TIME_S;
}

bool jwt_claims_are_sane(const struct jwt_claims *c)
{
    return text_is_sane(c->issuer) && text_is_sane(c->audience) && text_is_sane(c->subject) &&
           text_is_sane(c->session) && text_is_sane(c->id) && time_is_sane(c->issued_at) &&
           time_is_sane(c->not_before) && time_is_sane(c->expires_at) &&
           c->expires_at > c->not_before && c->expires_at > c->issued_at &&
           c->expires_at - c->not_before <= JWT_MAX_LIFETIME_S;
}

int jwt_read_claims(struct str encoded, json_t **ret_json, struct jwt_claims *ret)
{
    json_t *json = parse_object(encoded);

    if (json && read_string(json, "iss", &ret->issuer) &&
        read_string(json, "aud", &ret->audience) && read_string(json, "sub", &ret->subject) &&
        read_string(json, "sid", &ret->session) && read_string(json, "jti", &ret->id) &&
        read_time(json, "iat", &ret->issued_at) && read_time(json, "nbf", &ret->not_before) &&
        read_time(json, "exp", &ret->expires_at) && jwt_claims_are_sane(ret)) {
        *ret_json = json;
        return 0;
    }
    json_decref(json);
    return -EINVAL;
}
