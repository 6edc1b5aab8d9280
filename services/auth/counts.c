/* How /metrics tells of auth. Nothing here says whose sign-in it was. */
#include "admission.h"

static const char *const sign_ins[SIGN_INS] = {
    [SIGN_IN_OK] = "ok",
    [SIGN_IN_WRONG] = "wrong",
    [SIGN_IN_BUSY] = "busy",
    [SIGN_IN_FAILED] = "failed",
};

static const char *const refreshes[REFRESHES] = {
    [REFRESH_OK] = "ok",           [REFRESH_REPEATED] = "repeated",
    [REFRESH_INVALID] = "invalid", [REFRESH_USED_TWICE] = "used_twice",
    [REFRESH_FAILED] = "failed",
};

#define FAMILY(n, t, h) ((struct metrics_family){"stoa_auth", (n), (t), (h)})

static void write_results(struct buf *text, const struct metrics_family family,
                          const char *const *names, const metrics_number *values, size_t n)
{
    metrics_begin(text, &family);
    for (size_t i = 0; i < n; i++)
        metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("result", str_of(names[i]))),
                       metrics_get(&values[i]));
}

static void write_hashing(struct password_pool *pool, struct buf *text)
{
    struct password_pool_stats stats;

    password_pool_stats(pool, &stats);
    metrics_single(text,
                   &FAMILY("hashes_waiting", METRICS_GAUGE, "Passwords that wait to be hashed."),
                   stats.waiting);
    metrics_single(
        text, &FAMILY("hashes_limit", METRICS_GAUGE, "Passwords that may wait; more are refused."),
        stats.max_queue);
    metrics_single(text, &FAMILY("hash_threads_busy", METRICS_GAUGE, "Threads that hash one."),
                   stats.busy);
    metrics_single(text, &FAMILY("hash_threads", METRICS_GAUGE, "Threads that may."),
                   stats.threads);
    metrics_single(text, &FAMILY("hashes_total", METRICS_COUNTER, "Passwords hashed or verified."),
                   stats.done);
    metrics_single(text,
                   &FAMILY("hashes_dropped_total", METRICS_COUNTER,
                           "Those for whose answer nobody waited any more."),
                   stats.dropped);
    metrics_single(text,
                   &FAMILY("hashes_refused_total", METRICS_COUNTER,
                           "Those that were refused since too many waited."),
                   stats.refused);
}

void auth_write_metrics(void *user, struct buf *text)
{
    struct auth *auth = user;

    write_results(
        text,
        FAMILY("sign_ins_total", METRICS_COUNTER, "Sign-ins that were let try, by how they ended."),
        sign_ins, auth->counts.sign_ins, SIGN_INS);
    write_results(
        text,
        FAMILY("refreshes_total", METRICS_COUNTER,
               "Refreshes that were let try, by how they ended; used_twice ended the session."),
        refreshes, auth->counts.refreshes, REFRESHES);
    write_hashing(auth->passwords, text);
    admission_write_metrics(auth->admission, text);
}
