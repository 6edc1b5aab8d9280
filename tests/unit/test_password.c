/* The hashing pool: right answers, equal work, bounds, and passwords that don't stay behind. */
#include "../../services/auth/password.h"

#include <argon2.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- what is hashed: the pool's calls of the library come here, and do what its own do ---- */

/* struct sched_attr of sched_getattr(2). */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static struct {
    atomic_uint hashes, verifications;
    char parameters[32];   /* of the last verification: "$argon2id$v=19$m=19456,t=2,p=1$" */
    size_t n_hash, n_text; /* of the last verification: lengths of the hash and of the password */
    struct attributes thread; /* of whom called last */
} seen;

static struct attributes attributes_of_thread(void)
{
    struct attributes attributes = {0};

    assert_int_equal(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0), 0);
    return attributes;
}

int argon2id_hash_encoded(const uint32_t passes, const uint32_t memory, const uint32_t lanes,
                          const void *text, const size_t n_text, const void *salt,
                          const size_t n_salt, const size_t n_hash, char *encoded,
                          const size_t n_encoded)
{
    seen.thread = attributes_of_thread();
    atomic_fetch_add(&seen.hashes, 1);
    return argon2_hash(passes, memory, lanes, text, n_text, salt, n_salt, NULL, n_hash, encoded,
                       n_encoded, Argon2_id, ARGON2_VERSION_NUMBER);
}

int argon2id_verify(const char *encoded, const void *text, const size_t n_text)
{
    snprintf(seen.parameters, sizeof(seen.parameters), "%s", encoded);
    seen.n_hash = strlen(encoded);
    seen.n_text = n_text;
    seen.thread = attributes_of_thread();
    atomic_fetch_add(&seen.verifications, 1);
    return argon2_verify(encoded, text, n_text, Argon2_id);
}

/* One job that is waited for. */
struct wait {
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    unsigned done, by_outcome[PASSWORD_FAILED + 1];
    char encoded[128];
    pthread_mutex_t *gate; /* done waits for it: keeps the thread busy */
};

static struct password_pool *pool;
static struct arena arena;

static void wait_init(struct wait *w)
{
    *w = (struct wait){.lock = PTHREAD_MUTEX_INITIALIZER, .done_cond = PTHREAD_COND_INITIALIZER};
}

static void on_done(void *user, enum password_outcome outcome, const char *encoded)
{
    struct wait *w = user;

    if (w->gate) {
        pthread_mutex_lock(w->gate);
        pthread_mutex_unlock(w->gate);
    }
    pthread_mutex_lock(&w->lock);
    w->done++;
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER); /* whoever hashes calls nobody */
    w->by_outcome[outcome]++;
    snprintf(w->encoded, sizeof(w->encoded), "%s", encoded ? encoded : "");
    pthread_cond_broadcast(&w->done_cond);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for(struct wait *w, unsigned n)
{
    pthread_mutex_lock(&w->lock);
    while (w->done < n)
        pthread_cond_wait(&w->done_cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

/* The pool takes the text over, so each job gets a copy. */
static char *copy(const char *text)
{
    return (char *)arena_copy(&arena, str_of(text)).p;
}

static struct password_request request(struct wait *w, char *password)
{
    return (struct password_request){
        .password = password, .deadline_ns = INT64_MAX, .done = on_done, .user = w};
}

static enum password_outcome verify(const char *password, struct str encoded)
{
    struct wait w;
    struct password_request r = request(&w, copy(password));

    wait_init(&w);
    assert_int_equal(password_verify(pool, &arena, &r, encoded), 0);
    wait_for(&w, 1);
    assert_string_equal(w.encoded, "");
    for (int outcome = 0; outcome <= PASSWORD_FAILED; outcome++) {
        if (w.by_outcome[outcome])
            return (enum password_outcome)outcome;
    }
    return PASSWORD_FAILED;
}

static struct str hash(const char *password)
{
    struct wait w;
    struct password_request r = request(&w, copy(password));

    wait_init(&w);
    assert_int_equal(password_hash(pool, &arena, &r), 0);
    wait_for(&w, 1);
    assert_int_equal(w.by_outcome[PASSWORD_DONE], 1);
    return arena_copy(&arena, str_of(w.encoded));
}

static int setup_with(unsigned threads, size_t max_queue)
{
    arena_init(&arena, 0);
    return password_pool_new(
        &(struct password_pool_options){.threads = threads, .max_queue = max_queue}, &pool);
}

static int setup(void **state UNUSED)
{
    return setup_with(2, 64);
}

static int setup_small(void **state UNUSED)
{
    return setup_with(1, 3);
}

static int teardown(void **state UNUSED)
{
    password_pool_free(pool);
    pool = NULL;
    arena_free(&arena);
    return 0;
}

/* ---- answers ---- */

static void right_password_is_told_from_wrong_ones(void **state UNUSED)
{
    struct str encoded = hash("correct horse");

    assert_int_equal(verify("correct horse", encoded), PASSWORD_DONE);
    assert_int_equal(verify("correct horsf", encoded), PASSWORD_WRONG);
    assert_int_equal(verify("correct hors", encoded), PASSWORD_WRONG);
    assert_int_equal(verify("correct horse ", encoded), PASSWORD_WRONG);
    assert_int_equal(verify("Correct horse", encoded), PASSWORD_WRONG);
    assert_int_equal(verify("", encoded), PASSWORD_WRONG);
}

static void hash_says_how_it_was_made_and_has_its_own_salt(void **state UNUSED)
{
    struct str one = hash("password123"), two = hash("password123");

    assert_true(str_starts(one, STR("$argon2id$v=19$m=19456,t=2,p=1$")));
    assert_false(str_eq(one, two));
    /* the library by itself agrees */
    assert_int_equal(argon2id_verify(one.p, "password123", 11), ARGON2_OK);
}

static void unknown_account_is_wrong_whatever_the_password(void **state UNUSED)
{
    assert_int_equal(verify("password123", STR_NULL), PASSWORD_WRONG);
    assert_int_equal(verify("", STR_NULL), PASSWORD_WRONG);
}

/* Equal work: the library verifies the same password against hashes of the same parameters, once.
 */
static void unknown_account_costs_what_a_known_one_does(void **state UNUSED)
{
    const struct str hashes[] = {hash("password123"), STR_NULL};
    size_t n_hash = hashes[0].n;

    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
        memset(&seen, 0, sizeof(seen));
        assert_int_equal(verify("another", hashes[i]), PASSWORD_WRONG);
        assert_int_equal(seen.verifications, 1);
        assert_int_equal(seen.hashes, 0);
        assert_string_equal(seen.parameters, "$argon2id$v=19$m=19456,t=2,p=1$");
        assert_int_equal(seen.n_hash, n_hash);
        assert_int_equal(seen.n_text, strlen("another"));
    }
}

static void damaged_hash_is_no_verdict(void **state UNUSED)
{
    assert_int_equal(verify("x", STR("")), PASSWORD_FAILED);
    assert_int_equal(verify("x", STR("plain")), PASSWORD_FAILED);
    assert_int_equal(verify("x", STR("$argon2id$v=19$m=19456,t=2,p=1$AAAA")), PASSWORD_FAILED);
}

/* The same letters, typed on systems that compose them differently. */
static void composed_and_decomposed_are_one_password(void **state UNUSED)
{
    struct str encoded = hash("p\xc3\xa4sswort");

    assert_int_equal(verify("pa\xcc\x88sswort", encoded), PASSWORD_DONE);
    assert_int_equal(verify("passwort", encoded), PASSWORD_WRONG);
}

static void longest_password_counts_to_its_last_character(void **state UNUSED)
{
    char text[257];

    memset(text, 'x', 256);
    text[256] = '\0';
    struct str encoded = hash(text);
    assert_int_equal(verify(text, encoded), PASSWORD_DONE);
    text[255] = 'y';
    assert_int_equal(verify(text, encoded), PASSWORD_WRONG);
}

static void bytes_that_are_no_text_are_refused(void **state UNUSED)
{
    struct wait w;
    struct password_request r = request(&w, copy("pass\xffword"));

    wait_init(&w);
    assert_int_equal(password_hash(pool, &arena, &r), -EILSEQ);
    assert_int_equal(r.password[0], 0);
}

/* ---- nothing stays behind ---- */

static bool is_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i])
            return false;
    }
    return true;
}

static void passwords_are_wiped(void **state UNUSED)
{
    static const char *const texts[] = {"password123", "p\xc3\xa4sswort"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct wait w;
        char *mine = copy(texts[i]);
        struct password_request r = request(&w, mine);

        wait_init(&w);
        assert_int_equal(password_hash(pool, &arena, &r), 0);
        wait_for(&w, 1);
        assert_true(is_zero(mine, strlen(texts[i])));
    }
}

/* ---- bounds ---- */

/* What waits costs everybody behind it: no more than one for each thread, and enough for one. */
static void queue_is_as_long_as_there_are_threads(void **state UNUSED)
{
    assert_int_equal(password_pool_queue(1), 3);
    assert_int_equal(password_pool_queue(3), 3);
    assert_int_equal(password_pool_queue(4), 4);
    assert_int_equal(password_pool_queue(256), 256);
}

/* One thread, held in its done function; the queue takes three; the next is refused and wiped. */
static void full_queue_refuses_at_once(void **state UNUSED)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct wait busy, queued;
    struct password_request r = request(&busy, copy("password123"));
    char *refused = copy("password123");
    int accepted = 0, result;

    wait_init(&busy);
    wait_init(&queued);
    busy.gate = &gate;
    pthread_mutex_lock(&gate);
    assert_true(password_pool_has_room(pool));
    assert_int_equal(password_hash(pool, &arena, &r), 0);
    do { /* the thread may or may not have taken the first yet */
        r = request(&queued, copy("password123"));
        result = password_hash(pool, &arena, &r);
        accepted += result == 0;
    } while (result == 0);
    assert_int_equal(result, -ENOBUFS);
    assert_true(accepted == 2 || accepted == 3);
    r = request(&queued, refused);
    if (password_hash(pool, &arena, &r) == 0)
        accepted++; /* the thread took the first meanwhile */
    else
        assert_true(is_zero(refused, strlen("password123")));
    while (password_pool_has_room(pool)) { /* likewise */
        r = request(&queued, copy("password123"));
        accepted += password_hash(pool, &arena, &r) == 0;
    }
    pthread_mutex_unlock(&gate);
    wait_for(&busy, 1);
    wait_for(&queued, (unsigned)accepted);
    assert_int_equal(queued.by_outcome[PASSWORD_DONE], accepted);
    assert_true(password_pool_has_room(pool));
}

/* Everything else comes first, and stays where it was. Kernels before 6.12 know no slices: there
 * none is seen of a thread that has one either. */
static void hashing_steps_back(void **state UNUSED)
{
    struct attributes mine = attributes_of_thread();

    hash("password123");
    assert_int_equal(seen.thread.policy, SCHED_IDLE);
    assert_int_equal(seen.thread.nice, 19);
    assert_int_equal(seen.thread.runtime, mine.runtime ? 100 * NSEC_PER_MSEC : 0);
    assert_int_equal(attributes_of_thread().policy, mine.policy);
    assert_int_equal(attributes_of_thread().nice, mine.nice);
    assert_int_equal(attributes_of_thread().runtime, mine.runtime);
}

static void late_and_abandoned_jobs_are_not_worked_on(void **state UNUSED)
{
    struct wait w;
    struct password_request r = request(&w, copy("password123"));
    atomic_bool gone = true;

    wait_init(&w);
    memset(&seen, 0, sizeof(seen));
    for (unsigned i = 0; i < 200; i++) {
        r = request(&w, copy("password123"));
        r.deadline_ns = i % 2 ? INT64_MAX : clock_monotonic_ns() - 1;
        r.cancelled = i % 2 ? &gone : NULL;
        assert_int_equal(password_hash(pool, &arena, &r), 0);
        wait_for(&w, i + 1);
    }
    assert_int_equal(w.by_outcome[PASSWORD_DEADLINE], 100);
    assert_int_equal(w.by_outcome[PASSWORD_CANCELLED], 100);
    assert_int_equal(seen.hashes, 0);
}

/* Every accepted job is answered, also when the pool closes before its turn. */
static void closing_answers_what_waits(void **state UNUSED)
{
    struct wait w;
    unsigned accepted = 0;

    wait_init(&w);
    for (int i = 0; i < 4; i++) {
        struct password_request r = request(&w, copy("password123"));
        accepted += password_hash(pool, &arena, &r) == 0;
    }
    password_pool_free(pool);
    pool = NULL;
    assert_int_equal(w.done, accepted);
    assert_int_equal(w.by_outcome[PASSWORD_DONE] + w.by_outcome[PASSWORD_FAILED], accepted);
}

static void options_are_checked(void **state UNUSED)
{
    struct password_pool *none;

    assert_int_equal(password_pool_new(&(struct password_pool_options){0, 1}, &none), -EINVAL);
    assert_int_equal(password_pool_new(&(struct password_pool_options){1, 0}, &none), -EINVAL);
    assert_int_equal(password_pool_new(&(struct password_pool_options){10000, 1}, &none), -EINVAL);
}

static void write_limit(const char *folder, const char *name, const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void threads_leave_a_core_and_half_of_the_memory(void **state)
{
    char folder[] = "/tmp/stoa-cgroup-XXXXXX", inner[64], command[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(password_pool_threads_of(0, folder), 1);
    assert_int_equal(password_pool_threads_of(1, folder), 1);
    assert_int_equal(password_pool_threads_of(2, folder), 1);
    assert_int_equal(password_pool_threads_of(64, folder), 63);
    assert_int_equal(password_pool_threads_of(1000, folder), 256);

    snprintf(inner, sizeof(inner), "%s/memory", folder);
    assert_int_equal(mkdir(inner, 0700), 0);
    write_limit(inner, "memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    assert_int_equal(password_pool_threads_of(64, folder), 63);
    write_limit(inner, "memory.limit_in_bytes", "402653184\n");
    assert_int_equal(password_pool_threads_of(64, folder), 10);

    write_limit(folder, "memory.max", "max\n");
    assert_int_equal(password_pool_threads_of(64, folder), 63);
    write_limit(folder, "memory.max", "201326592\n"); /* deploy/compose.yaml's 192 MiB */
    assert_int_equal(password_pool_threads_of(64, folder), 5);
    assert_int_equal(password_pool_threads_of(3, folder), 2);
    write_limit(folder, "memory.max", "1048576\n");
    assert_int_equal(password_pool_threads_of(64, folder), 1);

    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define SMALL(fn) cmocka_unit_test_setup_teardown(fn, setup_small, teardown)
    const struct CMUnitTest tests[] = {
        CASE(right_password_is_told_from_wrong_ones),
        CASE(hash_says_how_it_was_made_and_has_its_own_salt),
        CASE(unknown_account_is_wrong_whatever_the_password),
        CASE(unknown_account_costs_what_a_known_one_does),
        CASE(damaged_hash_is_no_verdict),
        CASE(composed_and_decomposed_are_one_password),
        CASE(longest_password_counts_to_its_last_character),
        CASE(bytes_that_are_no_text_are_refused),
        CASE(passwords_are_wiped),
        cmocka_unit_test(threads_leave_a_core_and_half_of_the_memory),
        cmocka_unit_test(queue_is_as_long_as_there_are_threads),
        SMALL(full_queue_refuses_at_once),
        CASE(hashing_steps_back),
        CASE(late_and_abandoned_jobs_are_not_worked_on),
        SMALL(closing_answers_what_waits),
        cmocka_unit_test(options_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
