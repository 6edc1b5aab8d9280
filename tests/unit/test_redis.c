/* lib/redis against a real Redis: answers, errors, and a Redis that stops, pauses, is slow, is full
 * or wants a password. Whatever it does, each accepted command is answered once, and what is
 * subscribed is heard again afterwards. */
#include "redis_fixture.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

static struct arena arena;

struct watched {
    struct redis *redis;
    atomic_int ups, downs;
};

static void on_ready(void *user, bool ready)
{
    struct watched *w = user;

    atomic_fetch_add(ready ? &w->ups : &w->downs, 1);
}

static void open_with(struct redis_options options, struct watched *w)
{
    options.address = options.address.p ? options.address : str_of(redis_address);
    options.on_ready = on_ready;
    options.on_ready_user = w;
    assert_int_equal(redis_open(&options, &w->redis), 0);
}

static int each_setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int each_teardown(void **state)
{
    (void)state;
    redis_stop(SIGKILL);
    arena_free(&arena);
    return 0;
}

static enum redis_outcome ask(struct redis_answer *a, struct redis *redis, const char *text)
{
    assert_int_equal(redis_answer_submit(a, redis, &arena, text), 0);
    return redis_answer_wait(a);
}

static void answers_come(void **state)
{
    struct watched w = {.redis = NULL};
    struct redis_answer a;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 5000}, &w);
    redis_await(w.redis, true);
    assert_int_equal(ask(&a, w.redis, "SET key value"), REDIS_ANSWERED);
    assert_false(a.has_int); /* a status, no list */
    assert_int_equal(ask(&a, w.redis, "BITFIELD bits SET u8 0 7 GET u8 0"), REDIS_ANSWERED);
    assert_true(a.has_int);
    assert_int_equal(a.first, 0);
    redis_close(w.redis);
    assert_int_equal(w.ups, 1);
    assert_int_equal(w.downs, 1);
}

/* Words are bytes: nothing in them ends a command or begins another. */
static void words_are_bytes(void **state)
{
    struct watched w = {.redis = NULL};
    const struct str set[] = {STR("SET"), {"k\0\r\nFLUSHALL", 12}, {"\r\n\0", 3}};
    const struct str length[] = {STR("EVAL"),
                                 STR("return {redis.call('STRLEN', KEYS[1])}"),
                                 STR("1"),
                                 {"k\0\r\nFLUSHALL", 12}};
    struct redis_answer a;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 5000}, &w);
    redis_await(w.redis, true);
    redis_answer_init(&a);
    assert_int_equal(redis_submit(redis_command(w.redis, &arena, set, 3), redis_answer_done, &a),
                     0);
    assert_int_equal(redis_answer_wait(&a), REDIS_ANSWERED);
    redis_answer_init(&a);
    assert_int_equal(redis_submit(redis_command(w.redis, &arena, length, 4), redis_answer_done, &a),
                     0);
    assert_int_equal(redis_answer_wait(&a), REDIS_ANSWERED);
    assert_true(a.has_int);
    assert_int_equal(a.first, 3);
    redis_close(w.redis);
}

static void errors_are_told(void **state)
{
    struct watched w = {.redis = NULL};
    struct redis_answer a;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 5000}, &w);
    redis_await(w.redis, true);
    assert_int_equal(ask(&a, w.redis, "EVALSHA 0000000000000000000000000000000000000000 0"),
                     REDIS_REFUSED);
    assert_memory_equal(a.message, "NOSCRIPT", 8);
    assert_int_equal(ask(&a, w.redis, "PING"), REDIS_ANSWERED); /* the connection is still good */
    redis_close(w.redis);
    assert_int_equal(w.ups, 1);
}

static void without_redis_it_says_so_at_once(void **state)
{
    struct watched w = {.redis = NULL};
    struct redis_answer a;

    (void)state;
    open_with((struct redis_options){.timeout_ms = 100}, &w);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(redis_answer_submit(&a, w.redis, &arena, "PING"), -ENOTCONN);
        usleep(1000);
    }
    redis_start(); /* later: it is found */
    redis_await(w.redis, true);
    redis_close(w.redis);
    assert_int_equal(w.ups, 1);
    assert_int_equal(w.downs, 1);
}

static void a_restart_is_survived(void **state)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    struct watched w = {.redis = NULL};
    struct redis_answer a;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 5000}, &w);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        redis_await(w.redis, true);
        assert_int_equal(ask(&a, w.redis, "PING"), REDIS_ANSWERED);
        redis_stop(signals[i]);
        redis_await(w.redis, false); /* noticed without a command in flight */
        assert_int_equal(redis_answer_submit(&a, w.redis, &arena, "PING"), -ENOTCONN);
        redis_start();
    }
    redis_await(w.redis, true);
    assert_int_equal(ask(&a, w.redis, "PING"), REDIS_ANSWERED);
    redis_close(w.redis);
    assert_int_equal(w.ups, 3);
}

/* A stopped process accepts connections and says nothing. */
static void a_pause_costs_one_timeout(void **state)
{
    struct watched w = {.redis = NULL};
    struct redis_answer a[50];
    int64_t begun;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 1000}, &w);
    redis_await(w.redis, true);
    kill(redis_pid, SIGSTOP);
    begun = clock_monotonic_ns();
    for (size_t i = 0; i < ARRAY_SIZE(a); i++)
        assert_int_equal(redis_answer_submit(&a[i], w.redis, &arena, "PING"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(a); i++)
        assert_int_equal(redis_answer_wait(&a[i]), REDIS_TIMED_OUT);
    assert_true(clock_monotonic_ns() - begun >= SECONDS(1));
    redis_await(w.redis, false);
    for (int i = 0; i < 2500; i++) { /* the new connections that it accepts do not count */
        assert_int_equal(redis_answer_submit(&a[0], w.redis, &arena, "PING"), -ENOTCONN);
        usleep(1000);
    }
    kill(redis_pid, SIGCONT);
    redis_await(w.redis, true);
    assert_int_equal(ask(&a[0], w.redis, "PING"), REDIS_ANSWERED);
    redis_close(w.redis);
    assert_int_equal(w.ups, 2);
}

static void the_queue_is_bounded(void **state)
{
    enum { MAX = 8 };
    struct watched w = {.redis = NULL};
    struct redis_answer a[MAX + 1];

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 2000, .max_queue = MAX}, &w);
    redis_await(w.redis, true);
    kill(redis_pid, SIGSTOP);
    for (size_t i = 0; i < MAX; i++)
        assert_int_equal(redis_answer_submit(&a[i], w.redis, &arena, "PING"), 0);
    assert_int_equal(redis_answer_submit(&a[MAX], w.redis, &arena, "PING"), -ENOBUFS);
    for (size_t i = 0; i < MAX; i++)
        assert_int_equal(redis_answer_wait(&a[i]), REDIS_TIMED_OUT);
    kill(redis_pid, SIGCONT);
    redis_await(w.redis, true);
    assert_int_equal(ask(&a[0], w.redis, "PING"), REDIS_ANSWERED); /* there is room again */
    redis_close(w.redis);
}

static void closing_answers_what_is_in_flight(void **state)
{
    struct watched w = {.redis = NULL};
    struct redis_answer a[20];

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 20000}, &w);
    redis_await(w.redis, true);
    kill(redis_pid, SIGSTOP);
    for (size_t i = 0; i < ARRAY_SIZE(a); i++)
        assert_int_equal(redis_answer_submit(&a[i], w.redis, &arena, "PING"), 0);
    redis_close(w.redis);
    for (size_t i = 0; i < ARRAY_SIZE(a); i++) {
        assert_int_equal(a[i].times, 1);
        assert_int_equal(a[i].outcome, REDIS_LOST);
    }
}

static void a_full_redis_refuses(void **state)
{
    static const char *const full[] = {"--maxmemory", "1", "--maxmemory-policy", "noeviction",
                                       NULL};
    struct watched w = {.redis = NULL};
    struct redis_answer a;

    (void)state;
    redis_start_with(full);
    open_with((struct redis_options){.timeout_ms = 5000}, &w);
    redis_await(w.redis, true);
    assert_int_equal(ask(&a, w.redis, "SET key value"), REDIS_REFUSED);
    assert_memory_equal(a.message, "OOM", 3);
    redis_close(w.redis);
}

static void passwords(void **state)
{
    static const char *const with_password[] = {"--requirepass", "opened", "--user", "stoa", "on",
                                                ">sesame",       "~*",     "+@all",  NULL};
    struct watched right = {.redis = NULL}, named = {.redis = NULL}, wrong = {.redis = NULL},
                   none = {.redis = NULL};

    (void)state;
    redis_start_with(with_password);
    open_with((struct redis_options){.password = STR("opened"), .timeout_ms = 5000}, &right);
    open_with((struct redis_options){.username = STR("stoa"),
                                     .password = STR("sesame"),
                                     .timeout_ms = 5000},
              &named);
    open_with((struct redis_options){.password = STR("closed"), .timeout_ms = 5000}, &wrong);
    open_with((struct redis_options){.timeout_ms = 5000}, &none);
    redis_await(right.redis, true);
    redis_await(named.redis, true);
    usleep(300000); /* the others have had time for several tries */
    assert_false(redis_ready(wrong.redis));
    assert_false(redis_ready(none.redis));
    redis_close(right.redis);
    redis_close(named.redis);
    redis_close(wrong.redis);
    redis_close(none.redis);
}

static void addresses(void **state)
{
    static const char *const bad[] = {
        "", "unix:", "host", "host:", ":6379", "host:0", "host:65536", "host:x"};
    struct redis *redis = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(redis_open(&(struct redis_options){.address = str_of(bad[i])}, &redis),
                         -EINVAL);
}

/* A port where nobody listens is refused at once: the time-out here is longer than the test. */
static void over_tcp(void **state)
{
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(port);
    char number[8], address[32];
    const char *const more[] = {"--port", number, "--bind", "127.0.0.1", NULL};
    struct watched w = {.redis = NULL};
    struct redis_answer a;
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

    (void)state;
    /* Nobody else is given the port while it is bound here; Redis may listen on it all the same. */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&port, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&port, &size), 0);
    snprintf(number, sizeof(number), "%d", ntohs(port.sin_port));
    snprintf(address, sizeof(address), "127.0.0.1:%s", number);
    open_with((struct redis_options){.address = str_of(address), .timeout_ms = 60000}, &w);
    usleep(100000);
    assert_false(redis_ready(w.redis));
    redis_start_with(more);
    redis_await(w.redis, true);
    assert_int_equal(ask(&a, w.redis, "PING"), REDIS_ANSWERED);
    redis_stop(SIGKILL);
    redis_await(w.redis, false);
    redis_close(w.redis);
    close(fd);
}

/* Threads submit while Redis comes and goes: each accepted command is answered once. */

enum { SUBMITTERS = 4, PER_SUBMITTER = 3000 };

static atomic_int answered, accepted;

static void count(void *user, const struct redis_result *result)
{
    (void)user;
    (void)result;
    atomic_fetch_add(&answered, 1);
}

static void *submit_many(void *user)
{
    struct redis *redis = user;
    const struct str words[] = {STR("INCR"), STR("counter")};
    struct arena *own = calloc(1, sizeof(*own));

    arena_init(own, 0);
    for (int i = 0; i < PER_SUBMITTER; i++) {
        if (redis_submit(redis_command(redis, own, words, 2), count, NULL) == 0)
            atomic_fetch_add(&accepted, 1);
        if (i % 10 == 0)
            usleep(1000);
    }
    return own;
}

static void every_command_is_answered_once(void **state)
{
    struct watched w = {.redis = NULL};
    pthread_t threads[SUBMITTERS];
    void *arenas[SUBMITTERS];

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 50, .max_queue = 200}, &w);
    redis_await(w.redis, true);
    for (size_t i = 0; i < SUBMITTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, w.redis), 0);
    for (int i = 0; i < 3; i++) {
        usleep(30000);
        kill(redis_pid, SIGSTOP);
        usleep(70000);
        kill(redis_pid, SIGCONT);
        redis_await(w.redis, true);
        redis_stop(i % 2 ? SIGKILL : SIGTERM);
        redis_start();
    }
    for (size_t i = 0; i < SUBMITTERS; i++)
        pthread_join(threads[i], &arenas[i]);
    redis_close(w.redis);
    assert_true(accepted > 100);
    assert_int_equal(answered, accepted);
    for (size_t i = 0; i < SUBMITTERS; i++) {
        arena_free(arenas[i]);
        free(arenas[i]);
    }
}

/* ---- a subscriber's connection ---- */

#define HEARD 512

struct listener {
    struct watched watched;
    pthread_mutex_t lock;
    size_t n;
    char heard[HEARD][32]; /* "channel message" */
};

static void on_message(void *user, struct str channel, struct str message)
{
    struct listener *l = user;

    pthread_mutex_lock(&l->lock);
    assert_true(l->n < HEARD);
    snprintf(l->heard[l->n++], sizeof(l->heard[0]), "%.*s %.*s", STR_FMT(channel),
             STR_FMT(message));
    pthread_mutex_unlock(&l->lock);
}

static void listen_on(struct listener *l, struct redis_options options)
{
    *l = (struct listener){.n = 0};
    pthread_mutex_init(&l->lock, NULL);
    options.on_message = on_message;
    options.on_message_user = l;
    open_with(options, &l->watched);
}

static size_t count_heard(struct listener *l, const char *what)
{
    size_t n = 0;

    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->n; i++)
        n += strcmp(l->heard[i], what) == 0;
    pthread_mutex_unlock(&l->lock);
    return n;
}

/* Publishes in a channel until it is heard, or, without `heard`, until nobody is subscribed. */
static void publish_until(struct redis *out, struct listener *l, const char *channel, bool heard)
{
    int64_t until = clock_monotonic_ns() + SECONDS(30);
    char script[96], what[32];
    bool is = !heard;

    snprintf(script, sizeof(script), "EVAL return{redis.call('PUBLISH','%s','x')} 0", channel);
    snprintf(what, sizeof(what), "%s x", channel);
    while (is != heard) {
        struct redis_answer a;

        assert_true(clock_monotonic_ns() < until);
        if (redis_answer_submit(&a, out, &arena, script) < 0 ||
            redis_answer_wait(&a) != REDIS_ANSWERED || !a.has_int) {
            usleep(1000);
            continue;
        }
        is = heard ? count_heard(l, what) > 0 : a.first > 0;
    }
}

static void subscriptions(void **state)
{
    struct watched out = {.redis = NULL};
    struct listener l;
    struct redis_answer a;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 5000}, &out);
    listen_on(&l, (struct redis_options){.timeout_ms = 5000});
    assert_int_equal(redis_subscribe(l.watched.redis, STR("early")),
                     0); /* before it is connected */
    redis_await(out.redis, true);
    redis_await(l.watched.redis, true);
    publish_until(out.redis, &l, "early", true);
    assert_int_equal(redis_subscribe(l.watched.redis, STR("late")), 0);
    assert_int_equal(redis_subscribe(l.watched.redis, STR("late")),
                     0); /* once more is nothing more */
    publish_until(out.redis, &l, "late", true);
    assert_int_equal(redis_unsubscribe(l.watched.redis, STR("early")), 0);
    assert_int_equal(redis_unsubscribe(l.watched.redis, STR("unknown")), 0);
    publish_until(out.redis, &l, "early", false);
    publish_until(out.redis, &l, "late", true);
    /* It takes no commands. */
    assert_int_equal(redis_answer_submit(&a, l.watched.redis, &arena, "PING"), -ENOTCONN);
    redis_close(l.watched.redis);
    redis_close(out.redis);
    assert_int_equal(l.watched.ups, 1);
    assert_int_equal(l.watched.downs, 1);
}

/* Whatever is asked for while answers are on their way: what counts is what was asked for last. */
static void subscriptions_change_quickly(void **state)
{
    struct watched out = {.redis = NULL};
    struct listener l;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 5000}, &out);
    listen_on(&l, (struct redis_options){.timeout_ms = 5000});
    redis_await(out.redis, true);
    redis_await(l.watched.redis, true);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(redis_subscribe(l.watched.redis, STR("on")), 0);
        assert_int_equal(redis_unsubscribe(l.watched.redis, STR("on")), 0);
        assert_int_equal(redis_subscribe(l.watched.redis, STR("off")), 0);
        if (i % 50 == 0)
            usleep(1000);
        assert_int_equal(redis_subscribe(l.watched.redis, STR("on")), 0);
        assert_int_equal(redis_unsubscribe(l.watched.redis, STR("off")), 0);
    }
    publish_until(out.redis, &l, "on", true);
    publish_until(out.redis, &l, "off", false);
    redis_close(l.watched.redis);
    redis_close(out.redis);
}

static void subscriptions_survive_a_restart(void **state)
{
    struct watched out = {.redis = NULL};
    struct listener l;

    (void)state;
    redis_start();
    open_with((struct redis_options){.timeout_ms = 5000}, &out);
    listen_on(&l, (struct redis_options){.timeout_ms = 5000});
    assert_int_equal(redis_subscribe(l.watched.redis, STR("before")), 0);
    redis_await(l.watched.redis, true);
    redis_stop(SIGKILL);
    redis_await(l.watched.redis, false);
    assert_int_equal(redis_subscribe(l.watched.redis, STR("meanwhile")), 0);
    redis_start();
    redis_await(l.watched.redis, true);
    redis_await(out.redis, true);
    publish_until(out.redis, &l, "before", true);
    publish_until(out.redis, &l, "meanwhile", true);
    redis_close(l.watched.redis);
    redis_close(out.redis);
    assert_int_equal(l.watched.ups, 2);
}

/* A Redis that says nothing looks like one where nothing happens: it is asked. */
static void a_silent_redis_is_noticed(void **state)
{
    struct watched out = {.redis = NULL};
    struct listener l;

    (void)state;
    redis_start();
    listen_on(&l, (struct redis_options){.timeout_ms = 100, .beat_ms = 50});
    redis_await(l.watched.redis, true);
    kill(redis_pid, SIGSTOP);
    redis_await(l.watched.redis, false);
    kill(redis_pid, SIGCONT);
    redis_await(l.watched.redis, true);
    open_with((struct redis_options){.timeout_ms = 5000}, &out);
    redis_await(out.redis, true);
    assert_int_equal(redis_subscribe(l.watched.redis, STR("after")), 0);
    publish_until(out.redis, &l, "after", true);
    redis_close(l.watched.redis);
    redis_close(out.redis);
}

static void a_subscriber_with_a_password(void **state)
{
    static const char *const more[] = {"--requirepass", "secret", NULL};
    struct watched out = {.redis = NULL};
    struct listener l;

    (void)state;
    redis_start_with(more);
    listen_on(&l, (struct redis_options){.timeout_ms = 5000, .password = STR("secret")});
    open_with((struct redis_options){.timeout_ms = 5000, .password = STR("secret")}, &out);
    assert_int_equal(redis_subscribe(l.watched.redis, STR("channel")), 0);
    redis_await(l.watched.redis, true);
    redis_await(out.redis, true);
    publish_until(out.redis, &l, "channel", true);
    redis_close(l.watched.redis);
    redis_close(out.redis);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, each_setup, each_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_come),
        TEST(words_are_bytes),
        TEST(errors_are_told),
        TEST(without_redis_it_says_so_at_once),
        TEST(a_restart_is_survived),
        TEST(a_pause_costs_one_timeout),
        TEST(the_queue_is_bounded),
        TEST(closing_answers_what_is_in_flight),
        TEST(a_full_redis_refuses),
        TEST(passwords),
        TEST(addresses),
        TEST(over_tcp),
        TEST(every_command_is_answered_once),
        TEST(subscriptions),
        TEST(subscriptions_change_quickly),
        TEST(subscriptions_survive_a_restart),
        TEST(a_silent_redis_is_noticed),
        TEST(a_subscriber_with_a_password),
    };

    return cmocka_run_group_tests(tests, redis_group_setup, redis_group_teardown);
}
