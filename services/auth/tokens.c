/* Session ids and access tokens. Pure but for the clock and random numbers; any thread. */
#include "auth.h"

#include <errno.h>
#include <sys/random.h>

/* UUID version 7 (RFC 9562 section 5.7): ordered by time, so that new sessions lie together in the
 * index. */
int auth_new_session_id(struct auth_session_id *ret)
{
    uint64_t ms = (uint64_t)clock_realtime_us() / 1000;
    uint8_t *b = ret->bytes;

    if (getrandom(b, sizeof(ret->bytes), 0) != sizeof(ret->bytes))
        return -EIO;
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)(ms >> (40 - 8 * i));
    b[6] = (uint8_t)(0x70 | (b[6] & 0x0f));
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
    return 0;
}

static struct str uuid_text(const uint8_t b[16], struct arena *arena)
{
    return arena_printf(
        arena, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
        b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static struct str new_token_id(struct arena *arena)
{
    uint64_t id[2];

    if (getrandom(id, sizeof(id), 0) != sizeof(id))
        return STR_NULL;
    return arena_printf(arena, "%016llx%016llx", (unsigned long long)id[0],
                        (unsigned long long)id[1]);
}

struct str auth_issue_token(const struct auth *auth, int64_t account_id,
                            const struct auth_session_id *session, struct arena *arena)
{
    int64_t now = clock_realtime_us() / 1000000;
    struct jwt_claims claims = {
        .issuer = service_token_issuer(auth->service),
        .audience = service_token_audience(auth->service),
        .subject = arena_printf(arena, "%lld", (long long)account_id),
        .session = uuid_text(session->bytes, arena),
        .id = new_token_id(arena),
        .issued_at = now,
        .not_before = now,
        .expires_at = now + auth->config->token_ttl_s,
    };
    struct str token;

    return jwt_sign(auth->signer, &claims, arena, &token) == 0 ? token : STR_NULL;
}
