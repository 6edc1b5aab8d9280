/* Refresh tokens: what they look like, and how one follows another. Pure but for random numbers;
 * any thread.
 *
 * A token is the id of its session and two secrets: one that all tokens of the session share, and
 * one of its own. The database has the hashes of both, so what it has cannot be used as a token;
 * who knows the first secret and comes with an old second one has had a token of this session, and
 * who does not know it has guessed.
 *
 * The successor is made of the token and a random number that is kept with the hashes: so it can be
 * given once more to who has the token, and to nobody else.
 */
#ifndef STOA_AUTH_REFRESH_TOKEN_H
#define STOA_AUTH_REFRESH_TOKEN_H

#include "base/uuid.h"

/* Tells programs that look for leaked secrets what they have found. */
#define REFRESH_TOKEN_PREFIX "stoa_rt_"
#define REFRESH_TOKEN_CHARS (8 + 86)
#define REFRESH_HASH_BYTES 32
#define REFRESH_NONCE_BYTES 32

struct refresh_token {
    struct uuid session;
    uint8_t family[16];
    uint8_t secret[32];
};

/* The first token of a session. -EIO: the system gives no random numbers. */
int refresh_token_new(const struct uuid *session, struct refresh_token *ret) MUST_CHECK;

int refresh_token_nonce(uint8_t ret[REFRESH_NONCE_BYTES]) MUST_CHECK; /* -EIO */

/* -ENOMEM. */
int refresh_token_successor(const struct refresh_token *token,
                            const uint8_t nonce[REFRESH_NONCE_BYTES],
                            struct refresh_token *ret) MUST_CHECK;

/* SHA-256 of each secret. -ENOMEM. */
int refresh_token_hashes(const struct refresh_token *token, uint8_t ret_family[REFRESH_HASH_BYTES],
                         uint8_t ret_secret[REFRESH_HASH_BYTES]) MUST_CHECK;

/* NUL-terminated. -ENOMEM. */
int refresh_token_print(const struct refresh_token *token,
                        char ret[REFRESH_TOKEN_CHARS + 1]) MUST_CHECK;

/* -EINVAL unless refresh_token_print() could have written it. */
int refresh_token_parse(struct str text, struct refresh_token *ret) MUST_CHECK;

#endif
