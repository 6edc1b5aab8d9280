/* The cache of verified tokens: bounded, right under eviction, and safe while keys are replaced. */
#include "jwt_forge.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 4
#define ROUNDS 150
#define TOKENS 24

static struct str token_number(struct forge *f, int key, unsigned number)
{
    struct jwt_claims claims = forge_claims();
    char subject[24];
    struct str token;

    snprintf(subject, sizeof(subject), "%u", number);
    claims.subject = str_of(subject);
    assert_int_equal(jwt_sign(f->signer[key], &claims, &f->arena, &token), 0);
    return token;
}

static void use_cache_of(struct forge *f, size_t entries)
{
    jwt_verifier_free(f->verifier);
    assert_int_equal(jwt_verifier_new(&(struct jwt_verifier_options){.issuer = "stoa",
                                                                     .audience = "stoa",
                                                                     .cache_entries = entries},
                                      &f->verifier),
                     0);
    forge_use_keys(f, 0, 1);
}

static void check_subject(struct forge *f, struct str token, unsigned number)
{
    struct jwt_claims claims;
    struct arena arena;
    int64_t subject;

    arena_init(&arena, 0);
    assert_int_equal(jwt_verify(f->verifier, token, FORGE_NOW, &arena, &claims), JWT_OK);
    assert_int_equal(str_to_int64(claims.subject, &subject), 0);
    assert_int_equal(subject, number);
    arena_free(&arena);
}

/* More tokens than entries: each is right, again and again, whoever was pushed out. */
static void small_cache_answers_rightly(void **state)
{
    struct forge *f = *state;
    struct str tokens[64];

    use_cache_of(f, 1); /* one set */
    for (unsigned i = 0; i < ARRAY_SIZE(tokens); i++)
        tokens[i] = token_number(f, 0, i);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < ARRAY_SIZE(tokens); i++)
            check_subject(f, tokens[i], i);
        for (unsigned i = 0; i < 8; i++) /* hits */
            check_subject(f, tokens[63 - i], 63 - i);
    }
}

static void long_claims_are_accepted_without_being_remembered(void **state)
{
    struct forge *f = *state;
    struct jwt_claims claims = forge_claims(), got;
    char id[256];
    struct str token;

    memset(id, 'i', sizeof(id));
    claims.id = (struct str){id, sizeof(id)};
    assert_int_equal(jwt_sign(f->signer[0], &claims, &f->arena, &token), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(jwt_verify(f->verifier, token, FORGE_NOW, &f->arena, &got), JWT_OK);
        assert_true(str_eq(got.id, claims.id));
    }
}

static void full_arena_is_no_verdict(void **state)
{
    struct forge *f = *state;
    struct str token = token_number(f, 0, 7);
    struct jwt_claims claims;
    struct arena tiny;

    arena_init(&tiny, 1);
    assert_int_equal(jwt_verify(f->verifier, token, FORGE_NOW, &tiny, &claims), JWT_NO_MEMORY);
    check_subject(f, token, 7);
    assert_int_equal(jwt_verify(f->verifier, token, FORGE_NOW, &tiny, &claims), JWT_NO_MEMORY);
    arena_free(&tiny);
}

/* ---- threads ---- */

struct shared {
    struct forge *f;
    struct str tokens[2][TOKENS];
    atomic_bool stop;
    atomic_uint wrong, accepted, unknown;
};

/* Tokens of key 1 come and go with their key; tokens of key 0 are always good. */
static void *verify_loop(void *user)
{
    struct shared *s = user;
    struct arena arena;

    arena_init(&arena, 0);
    for (unsigned i = 0; !atomic_load(&s->stop) || i < ROUNDS; i++) {
        unsigned key = i % 2, number = (i / 2) % TOKENS;
        struct jwt_claims claims;
        int64_t subject = -1;
        enum jwt_result result =
            jwt_verify(s->f->verifier, s->tokens[key][number], FORGE_NOW, &arena, &claims);

        if (result == JWT_OK)
            atomic_fetch_add(&s->accepted, 1);
        if (result == JWT_UNKNOWN_KEY)
            atomic_fetch_add(&s->unknown, 1);
        if (result == JWT_OK &&
            (str_to_int64(claims.subject, &subject) < 0 || subject != (int64_t)number))
            atomic_fetch_add(&s->wrong, 1);
        if (result != JWT_OK && (key == 0 || result != JWT_UNKNOWN_KEY))
            atomic_fetch_add(&s->wrong, 1);
        arena_reset(&arena);
    }
    arena_free(&arena);
    return NULL;
}

static void keys_rotate_under_load(void **state)
{
    struct forge *f = *state;
    struct shared s = {.f = f};
    pthread_t threads[THREADS];

    use_cache_of(f, 16); /* small, so that entries are pushed out too */
    for (unsigned i = 0; i < TOKENS; i++) {
        s.tokens[0][i] = token_number(f, 0, i);
        s.tokens[1][i] = token_number(f, 1, i);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, verify_loop, &s), 0);
    for (int round = 0; round < ROUNDS; round++) {
        forge_use_keys(f, 0, 2);
        forge_use_keys(f, 0, 1);
        /* once the key is gone, so is everything it signed, also what was verified meanwhile */
        for (unsigned i = 0; i < TOKENS; i++)
            assert_int_equal(forge_verify(f, s.tokens[1][i]), JWT_UNKNOWN_KEY);
    }
    atomic_store(&s.stop, true);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(s.wrong, 0);
    assert_true(s.accepted > 0);
}

/* Prints what a hit and a first verification cost; no verdict depends on the machine. */
static void cost_is_printed(void **state)
{
    struct forge *f = *state;
    enum { FIRST = 200, HITS = 100000 };
    static struct str tokens[FIRST];
    struct jwt_claims claims;
    struct arena arena;
    int64_t start, first, hit;

    arena_init(&arena, 0);
    for (unsigned i = 0; i < FIRST; i++)
        tokens[i] = token_number(f, 0, i);
    start = clock_monotonic_ns();
    for (unsigned i = 0; i < FIRST; i++)
        assert_int_equal(jwt_verify(f->verifier, tokens[i], FORGE_NOW, &arena, &claims), JWT_OK);
    first = (clock_monotonic_ns() - start) / FIRST;
    start = clock_monotonic_ns();
    for (unsigned i = 0; i < HITS; i++) {
        enum jwt_result r = jwt_verify(f->verifier, tokens[i % FIRST], FORGE_NOW, &arena, &claims);
        if (r != JWT_OK)
            fail();
        arena_reset(&arena);
    }
    hit = (clock_monotonic_ns() - start) / HITS;
    print_message("first verification %lld ns, remembered %lld ns\n", (long long)first,
                  (long long)hit);
    arena_free(&arena);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, forge_setup, forge_teardown)
    const struct CMUnitTest tests[] = {
        CASE(small_cache_answers_rightly),
        CASE(long_claims_are_accepted_without_being_remembered),
        CASE(full_arena_is_no_verdict),
        CASE(keys_rotate_under_load),
        CASE(cost_is_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
