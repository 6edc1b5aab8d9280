#include "throttle.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

struct throttle {
    struct throttle_options options;
    struct shared_rate *rate;
};

/* ---- life ---- */

int throttle_new(const struct throttle_options *options, struct throttle **ret)
{
    const struct shared_rate_options rate = {
        .entries = options->entries,
        .prefix = "stoa:auth:throttle:",
        .about = "attempts to sign in, to sign up or to refresh",
    };
    struct throttle *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return -ENOMEM;
    t->options = *options;
    r = shared_rate_new(&rate, &t->rate);
    if (r < 0) {
        throttle_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void throttle_free(struct throttle *t)
{
    if (!t)
        return;
    shared_rate_free(t->rate);
    free(t);
}

struct shared_rate *throttle_rate(struct throttle *t)
{
    return t->rate;
}

/* ---- an attempt, and the limits that it meets ---- */

/* An address that a person has for themselves: of IPv6 that is a whole network of 64 bits. */
static size_t address_bytes(struct str address, unsigned char ret[sizeof(struct in6_addr)])
{
    char text[INET6_ADDRSTRLEN];

    if (address.n == 0 || address.n >= sizeof(text))
        return 0;
    memcpy(text, address.p, address.n);
    text[address.n] = '\0';
    if (inet_pton(AF_INET, text, ret) == 1)
        return sizeof(struct in_addr);
    return inet_pton(AF_INET6, text, ret) == 1 ? sizeof(struct in6_addr) / 2 : 0;
}

/* {NULL, 0} without memory. */
static struct str who(struct arena *arena, enum throttle_attempt attempt,
                      enum throttle_subject subject, struct str address, struct str account)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    bool by_address = subject != THROTTLE_ACCOUNT, by_account = subject != THROTTLE_ADDRESS;
    size_t n = by_address ? address_bytes(address, bytes) : 0;
    size_t n_account = by_account ? account.n : 0;
    char *text = arena_alloc(arena, 3 + n + n_account);

    if (!text)
        return STR_NULL;
    text[0] = (char)attempt;
    text[1] = (char)subject;
    text[2] = (char)n; /* where the account begins */
    memcpy(text + 3, bytes, n);
    if (n_account > 0)
        memcpy(text + 3 + n, account.p, n_account);
    return (struct str){text, 3 + n + n_account};
}

int throttle_ask(struct throttle *t, struct arena *arena, enum throttle_attempt attempt,
                 struct str address, struct str account, shared_rate_done_fn *done, void *user)
{
    struct shared_rate_count counts[THROTTLE_N_SUBJECTS];

    for (size_t i = 0; i < THROTTLE_N_SUBJECTS; i++) {
        counts[i] = (struct shared_rate_count){
            .limit = &t->options.limits[attempt][i],
            .who = who(arena, attempt, (enum throttle_subject)i, address, account),
        };
        if (!counts[i].who.p)
            return -ENOMEM;
    }
    return shared_rate_ask(t->rate, arena, counts, THROTTLE_N_SUBJECTS, done, user);
}
