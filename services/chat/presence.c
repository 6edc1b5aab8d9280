#include "presence.h"

#include "base/cond.h"
#include "base/log.h"
#include "crowd.h"
#include "live.h"
#include "live_parts.h"
#include "typing.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define TICK (250 * NSEC_PER_MSEC)
#define BEAT (1 * NSEC_PER_SEC)
/* After so long without a beat an instance is gone. */
#define ALIVE_MS "4000"
/* What an instance has told is forgotten after a minute, and told again before. */
#define FORGET_S "60"
#define TELL_AGAIN (20 * NSEC_PER_SEC)
/* What has been heard of other instances is read again, should a hint have been lost. */
#define READ_AGAIN (15 * NSEC_PER_SEC)
/* What others have told is still believed when Redis has gone, and they have told it again when it
 * is back. */
#define BELIEVED (10 * NSEC_PER_SEC)
#define TOLD_AGAIN (3 * NSEC_PER_SEC)
/* Between two reads of a room. */
#define READ_PAUSE (500 * NSEC_PER_MSEC)
/* Big rooms are told less often. */
#define BIG_FACTOR 3
#define NAMES_TIMEOUT (5 * NSEC_PER_SEC)

#define INSTANCE_CHARS 16
#define PEOPLE_BYTES_MAX ((CROWD_MAX_NAMES + 1) * sizeof(" -9223372036854775808"))

/* An account that is here. */
struct person {
    int64_t account;
    size_t n; /* sessions that follow the room */
    UT_hash_handle hh;
};

/* A room that somebody here follows, or did until a moment ago. */
struct place {
    struct presence *presence;
    int64_t id;
    struct person *people;
    bool changed; /* which Redis does not know yet */
    bool stale;   /* others may have changed */
    bool heard;   /* others have been read, or there are none */
    struct crowd others;
    struct crowd told;                     /* to followers */
    int64_t tell_ns, read_ns, announce_ns; /* when, at the earliest, or again */
    bool telling, reading, announcing;
    struct arena tell_arena, read_arena;
    UT_hash_handle hh;
};

struct presence {
    struct service *service;
    struct presence_settings settings;
    struct hub *hub;
    struct bus *bus;
    struct redis *redis;
    struct typing *typing;
    char instance[INSTANCE_CHARS + 1];
    pthread_t thread;
    bool runs;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool stopping;
    struct place *places;
    int64_t beat_ns;
    bool beating;
    bool was_ready, alone; /* Redis is there; it has been gone for long */
    int64_t lost_ns;
    uint64_t alive; /* a hash of the instances that live */
    struct arena beat_arena;
};

/* ---- places; the lock is held ---- */

static struct place *find(struct presence *presence, int64_t room)
{
    struct place *place;

    HASH_FIND(hh, presence->places, &room, sizeof(room), place);
    return place;
}

static void place_free(struct place *place)
{
    struct person *person = place->people, *next;

    HASH_CLEAR(hh, place->people); /* the people are still a list */
    for (; person; person = next) {
        next = person->hh.next;
        free(person);
    }
    crowd_free(&place->others);
    crowd_free(&place->told);
    arena_free(&place->tell_arena);
    arena_free(&place->read_arena);
    free(place);
}

static struct place *make(struct presence *presence, int64_t room)
{
    struct place *place = calloc(1, sizeof(*place));
    unsigned before = HASH_COUNT(presence->places);

    if (!place)
        return NULL;
    place->presence = presence;
    place->id = room;
    arena_init(&place->tell_arena, 0);
    arena_init(&place->read_arena, 0);
    place->others.listed = place->told.listed = true;
    place->stale = true;
    place->heard = !presence->redis || presence->alone;
    HASH_ADD(hh, presence->places, id, sizeof(place->id), place);
    if (HASH_COUNT(presence->places) == before) {
        free(place);
        return NULL;
    }
    return place;
}

static struct person *add_person(struct place *place, int64_t account)
{
    struct person *person = calloc(1, sizeof(*person));
    unsigned before = HASH_COUNT(place->people);

    if (!person)
        return NULL;
    person->account = account;
    HASH_ADD(hh, place->people, account, sizeof(person->account), person);
    if (HASH_COUNT(place->people) == before) {
        free(person);
        return NULL;
    }
    place->changed = true;
    return person;
}

void presence_enter(struct presence *presence, int64_t room, int64_t account)
{
    struct place *place;
    struct person *person = NULL;

    pthread_mutex_lock(&presence->lock);
    place = find(presence, room);
    if (!place)
        place = make(presence, room);
    if (place)
        HASH_FIND(hh, place->people, &account, sizeof(account), person);
    if (place && !person)
        person = add_person(place, account);
    if (person)
        person->n++;
    else
        log_error("no memory for who is online", LOG_I("room", room));
    pthread_mutex_unlock(&presence->lock);
}

void presence_leave(struct presence *presence, int64_t room, int64_t account)
{
    struct place *place;
    struct person *person = NULL;

    pthread_mutex_lock(&presence->lock);
    place = find(presence, room);
    if (place)
        HASH_FIND(hh, place->people, &account, sizeof(account), person);
    if (person && --person->n == 0) {
        HASH_DEL(place->people, person);
        free(person);
        place->changed = true;
        typing_left(presence->typing, room, account);
    }
    pthread_mutex_unlock(&presence->lock);
}

bool presence_has(struct presence *presence, int64_t room, int64_t account)
{
    const struct place *place;
    struct person *person = NULL;

    pthread_mutex_lock(&presence->lock);
    place = find(presence, room);
    if (place)
        HASH_FIND(hh, place->people, &account, sizeof(account), person);
    pthread_mutex_unlock(&presence->lock);
    return person != NULL;
}

struct typing *presence_typing(const struct presence *presence)
{
    return presence->typing;
}

void presence_hear_change(struct presence *presence, int64_t room)
{
    struct place *place;

    pthread_mutex_lock(&presence->lock);
    place = find(presence, room);
    if (place)
        place->stale = true;
    pthread_mutex_unlock(&presence->lock);
}

/* Those here and elsewhere. -ENOMEM. */
static int everybody(const struct presence *presence, const struct place *place,
                     const struct crowd *others, struct crowd *ret)
{
    size_t here = place ? HASH_COUNT(place->people) : 0, n = 0;

    *ret = (struct crowd){.online = (int64_t)here + others->online, .listed = others->listed};
    if (here > (size_t)presence->settings.names)
        ret->listed = false;
    if (!ret->listed)
        return 0;
    ret->ids = calloc(here + others->n + 1, sizeof(*ret->ids));
    if (!ret->ids)
        return -ENOMEM;
    for (const struct person *p = place ? place->people : NULL; p; p = p->hh.next)
        ret->ids[n++] = p->account;
    if (others->n > 0)
        memcpy(ret->ids + n, others->ids, others->n * sizeof(*ret->ids));
    ret->n = n + others->n;
    crowd_settle(ret, (size_t)presence->settings.names);
    return 0;
}

/* ---- Redis ---- */

static bool redis_there(const struct presence *presence)
{
    return presence->redis && redis_ready(presence->redis);
}

/* -ENOTCONN: Redis is not there, or the database is not known yet. */
static int run(struct presence *presence, struct arena *arena, const char *script,
               const struct str *more, size_t n_more, int64_t room, redis_done_fn *done, void *user)
{
    char instances[BUS_KEY_SIZE], people[BUS_KEY_SIZE];
    struct str words[8] = {STR("EVAL"), str_of(script), STR("2")};
    struct redis_command *command;

    if (!redis_there(presence) || !bus_key(presence->bus, "instances", 0, instances) ||
        !bus_key(presence->bus, "presence", room, people))
        return -ENOTCONN;
    words[3] = str_of(instances);
    words[4] = str_of(people);
    for (size_t i = 0; i < n_more; i++)
        words[5 + i] = more[i];
    command = redis_command(presence->redis, arena, words, 5 + n_more);
    return command ? redis_submit(command, done, user) : -ENOMEM;
}

#define NOW_MS                        \
    "local time = redis.call('TIME')" \
    " local now = time[1] * 1000 + math.floor(time[2] / 1000)"

/* This instance lives. -> whether it was known to, then all that do, in their order. */
static const char beat_script[] =
    NOW_MS " local was = redis.call('ZSCORE', KEYS[1], ARGV[1])"
           " redis.call('ZADD', KEYS[1], now, ARGV[1])"
           " redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10 * " ALIVE_MS ")"
           " redis.call('EXPIRE', KEYS[1], " FORGET_S ")"
           " local alive = redis.call('ZRANGEBYSCORE', KEYS[1], now - " ALIVE_MS ", '+inf')"
           " table.sort(alive)"
           " return {was and tonumber(was) >= now - " ALIVE_MS " and 1 or 0, unpack(alive)}";

static const char end_script[] = "return redis.call('ZREM', KEYS[1], ARGV[1])";

/* Who is at this instance. */
static const char tell_script[] = "if ARGV[2] == '' then redis.call('HDEL', KEYS[2], ARGV[1])"
                                  " else redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])"
                                  " redis.call('EXPIRE', KEYS[2], " FORGET_S ") end"
                                  " return 1";

/* Who is at the others that live. -> each one's people */
static const char read_script[] =
    NOW_MS " local all, people = redis.call('HGETALL', KEYS[2]), {}"
           " for i = 1, #all, 2 do"
           "  local seen = tonumber(redis.call('ZSCORE', KEYS[1], all[i]) or 0)"
           "  if seen < now - " ALIVE_MS " then redis.call('HDEL', KEYS[2], all[i])"
           "  elseif all[i] ~= ARGV[1] then people[#people + 1] = all[i + 1] end"
           " end"
           " return people";

static void mark_all(struct presence *presence, bool changed)
{
    struct place *place, *next;

    HASH_ITER(hh, presence->places, place, next)
    {
        place->stale = true;
        place->changed = place->changed || changed;
    }
}

static uint64_t hash_of(const struct redis_result *result)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    struct str name;

    for (size_t i = 1; redis_get_text(result, i, &name); i++) {
        for (size_t k = 0; k < name.n; k++)
            hash = (hash ^ (unsigned char)name.p[k]) * UINT64_C(1099511628211);
    }
    return hash;
}

static void on_beat(void *user, const struct redis_result *result)
{
    struct presence *presence = user;
    int64_t was_known;

    pthread_mutex_lock(&presence->lock);
    presence->beating = false;
    if (redis_get_int(result, 0, &was_known)) {
        uint64_t alive = hash_of(result);

        /* Others may have taken this instance for gone, and Redis may be another one than before.
         */
        if (!was_known || alive != presence->alive)
            mark_all(presence, !was_known);
        presence->alive = alive;
    } else if (result->outcome == REDIS_REFUSED) {
        log_warn("redis does not keep who is online", LOG_S("cause", result->message));
    }
    arena_free(&presence->beat_arena);
    pthread_mutex_unlock(&presence->lock);
}

static void beat(struct presence *presence)
{
    const struct str id = str_of(presence->instance);

    if (presence->beating)
        return;
    arena_free(&presence->beat_arena);
    presence->beating =
        run(presence, &presence->beat_arena, beat_script, &id, 1, 0, on_beat, presence) == 0;
}

static void on_told(void *user, const struct redis_result *result)
{
    struct place *place = user;
    struct presence *presence = place->presence;
    bool told = result->outcome == REDIS_ANSWERED;
    int64_t room = place->id; /* which may be gone when the lock is free */

    pthread_mutex_lock(&presence->lock);
    place->telling = false;
    arena_free(&place->tell_arena);
    if (!told)
        place->changed = true;
    pthread_mutex_unlock(&presence->lock);
    if (told)
        bus_publish(presence->bus, room, BUS_PRESENCE, 0, STR(""));
}

/* How many, and who if they are few; empty: nobody. {NULL, 0} without memory. */
static struct str people_text(const struct presence *presence, const struct place *place,
                              struct arena *arena)
{
    struct buf text CLEANUP(buf_free) = {.max = PEOPLE_BYTES_MAX};
    unsigned n = HASH_COUNT(place->people);

    if (n == 0)
        return STR("");
    buf_printf(&text, "%u", n);
    if (n <= (unsigned)presence->settings.names) {
        for (const struct person *p = place->people; p; p = p->hh.next)
            buf_printf(&text, " %" PRId64, p->account);
    }
    return text.failed ? STR_NULL : arena_copy(arena, buf_str(&text));
}

static void tell(struct presence *presence, struct place *place, int64_t now)
{
    struct str more[2] = {str_of(presence->instance)};

    arena_free(&place->tell_arena);
    more[1] = people_text(presence, place, &place->tell_arena);
    if (!more[1].p ||
        run(presence, &place->tell_arena, tell_script, more, 2, place->id, on_told, place) < 0)
        return;
    place->telling = true;
    place->changed = false;
    place->tell_ns = now + TELL_AGAIN;
}

static int read_crowd(const struct redis_result *result, size_t names, struct crowd *ret)
{
    struct str text;
    int r = 0;

    *ret = (struct crowd){.listed = true};
    for (size_t i = 0; r == 0 && redis_get_text(result, i, &text); i++)
        r = crowd_add(ret, text);
    if (r == 0)
        crowd_settle(ret, names);
    else
        crowd_free(ret);
    return r;
}

static void on_read(void *user, const struct redis_result *result)
{
    struct place *place = user;
    struct presence *presence = place->presence;
    struct crowd others;

    pthread_mutex_lock(&presence->lock);
    place->reading = false;
    if (result->outcome == REDIS_ANSWERED &&
        read_crowd(result, (size_t)presence->settings.names, &others) == 0) {
        crowd_free(&place->others);
        place->others = others;
        place->heard = true;
    } else {
        place->stale = true;
    }
    arena_free(&place->read_arena);
    pthread_mutex_unlock(&presence->lock);
}

static void read_others(struct presence *presence, struct place *place, int64_t now)
{
    const struct str id = str_of(presence->instance);

    arena_free(&place->read_arena);
    if (run(presence, &place->read_arena, read_script, &id, 1, place->id, on_read, place) < 0)
        return;
    place->reading = true;
    place->stale = false;
    place->read_ns = now + READ_PAUSE;
}

/* ---- announcements ---- */

/* Owned by the query on its way. */
struct announcement {
    struct presence *presence;
    int64_t room, online;
    int64_t *ids; /* who came, then who went */
    size_t n_came, n_went;
    struct arena arena;
};

/* The names of some accounts; those that have been deleted have none. */
static size_t authors(const struct db_result *result, const int64_t *ids, size_t n,
                      Stoa__Chat__V1__Author *authors, Stoa__Chat__V1__Author **ret)
{
    size_t n_found = 0;

    for (int row = 0; result->error == DB_OK && row < db_rows(result); row++) {
        int64_t id = db_get_int8(result, row, PROFILE_ID);

        for (size_t i = 0; i < n; i++) {
            if (ids[i] != id)
                continue;
            author_from_row(result, row, PROFILE_USERNAME, PROFILE_IMAGE, &authors[n_found]);
            ret[n_found] = &authors[n_found];
            n_found++;
        }
    }
    return n_found;
}

static struct rpc_packed *part_of(struct announcement *a, const struct db_result *result)
{
    size_t n = a->n_came + a->n_went;
    Stoa__Chat__V1__Author *all = arena_calloc(&a->arena, n + 1, sizeof(*all));
    Stoa__Chat__V1__Author **came = arena_calloc(&a->arena, n + 1, sizeof(*came));
    size_t n_came, n_went;

    if (!all || !came)
        return NULL;
    n_came = authors(result, a->ids, a->n_came, all, came);
    n_went = authors(result, a->ids + a->n_came, a->n_went, all + n_came, came + n_came);
    return part_presence(a->room, a->online, came, n_came, came + n_came, n_went);
}

static void announce(struct announcement *a, const struct db_result *result)
{
    struct presence *presence = a->presence;
    struct rpc_packed *part = part_of(a, result);
    struct place *place;

    if (part)
        hub_announce_here(presence->hub, a->room, part);
    rpc_packed_unref(part);
    pthread_mutex_lock(&presence->lock);
    place = find(presence, a->room);
    if (place)
        place->announcing = false;
    pthread_mutex_unlock(&presence->lock);
    free(a->ids);
    arena_free(&a->arena);
    free(a);
}

static void on_names(void *user, const struct db_result *result)
{
    announce(user, result);
}

static struct announcement *difference(struct presence *presence, const struct place *place,
                                       const struct crowd *now)
{
    struct announcement *a = calloc(1, sizeof(*a));
    const struct crowd *before = &place->told;

    if (!a)
        return NULL;
    *a = (struct announcement){.presence = presence, .room = place->id, .online = now->online};
    arena_init(&a->arena, 0);
    a->ids = calloc(now->n + before->n + 1, sizeof(*a->ids));
    if (!a->ids || !now->listed || !before->listed)
        return a;
    for (size_t i = 0; i < now->n; i++) {
        if (!crowd_has(before, now->ids[i]))
            a->ids[a->n_came++] = now->ids[i];
    }
    for (size_t i = 0; i < before->n; i++) {
        if (!crowd_has(now, before->ids[i]))
            a->ids[a->n_came + a->n_went++] = before->ids[i];
    }
    return a;
}

/* NULL: nothing has changed, or there is no memory. The lock is held. */
static struct announcement *due_announcement(struct presence *presence, struct place *place,
                                             int64_t now)
{
    struct crowd crowd;
    struct announcement *a;

    if (everybody(presence, place, &place->others, &crowd) < 0)
        return NULL;
    if (crowd_equals(&crowd, &place->told)) {
        crowd_free(&crowd);
        return NULL;
    }
    a = difference(presence, place, &crowd);
    if (!a) {
        crowd_free(&crowd);
        return NULL;
    }
    place->announce_ns =
        now + presence->settings.interval_ms * NSEC_PER_MSEC * (crowd.listed ? 1 : BIG_FACTOR);
    crowd_free(&place->told);
    place->told = crowd;
    place->announcing = true;
    return a;
}

/* The lock is not held. */
static void ask_names(struct presence *presence, struct announcement *a)
{
    struct db_query *query = NULL;

    if (a->n_came + a->n_went > 0)
        query = db_query(service_db(presence->service), &a->arena, PROFILES);
    if (query) {
        db_bind_int8_array(query, a->ids, a->n_came + a->n_went);
        if (db_submit(query, clock_monotonic_ns() + NAMES_TIMEOUT, NULL, on_names, a) == 0)
            return;
    }
    announce(a, &(struct db_result){.error = DB_UNAVAILABLE});
}

/* ---- the thread ---- */

/* What is to be done for a place when the lock is free again. */
struct due {
    struct announcement *announcement;
};

#define MAX_DUE 1024

/* Whether nobody is there, and nothing is on its way. */
static bool is_over(const struct place *place)
{
    return !place->people && !place->changed && !place->telling && !place->reading &&
           !place->announcing;
}

static void look_at_place(struct presence *presence, struct place *place, int64_t now,
                          struct due *ret)
{
    bool there = redis_there(presence);

    *ret = (struct due){NULL};
    if (there && !place->telling && (place->changed || (place->people && now >= place->tell_ns)))
        tell(presence, place, now);
    if (!there && !place->people)
        place->changed = false; /* it is forgotten there by itself */
    if (there && place->people && !place->reading && now >= place->read_ns &&
        (place->stale || now >= place->read_ns + READ_AGAIN))
        read_others(presence, place, now);
    if (place->people && place->heard && !place->announcing && now >= place->announce_ns)
        ret->announcement = due_announcement(presence, place, now);
}

/* Only who is here counts. */
static void forget_others(struct presence *presence)
{
    struct place *place, *next;

    presence->alone = true;
    HASH_ITER(hh, presence->places, place, next)
    {
        crowd_free(&place->others);
        place->others.listed = place->heard = true;
    }
}

static void listen_again(struct presence *presence, int64_t now)
{
    struct place *place, *next;

    presence->alone = false;
    mark_all(presence, true);
    HASH_ITER(hh, presence->places, place, next)
    {
        place->read_ns = now + TOLD_AGAIN;
    }
}

static void look_at_redis(struct presence *presence, int64_t now)
{
    bool there = redis_there(presence);

    if (there && now >= presence->beat_ns) {
        presence->beat_ns = now + BEAT;
        beat(presence);
    }
    if (there && !presence->was_ready)
        listen_again(presence, now);
    else if (!there && presence->was_ready)
        presence->lost_ns = now;
    presence->was_ready = there;
    if (!there && presence->redis && !presence->alone && now - presence->lost_ns > BELIEVED)
        forget_others(presence);
}

static void do_due(struct presence *presence, struct due *due, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (due[i].announcement)
            ask_names(presence, due[i].announcement);
    }
}

/* Looks at all places, and does some of what is due; what is left over is due a moment later. */
static void look(struct presence *presence)
{
    int64_t now = clock_monotonic_ns();
    struct place *place, *next;
    struct due due[MAX_DUE];
    size_t n = 0;

    look_at_redis(presence, now);
    HASH_ITER(hh, presence->places, place, next)
    {
        if (n == MAX_DUE)
            break;
        look_at_place(presence, place, now, &due[n]);
        n += due[n].announcement != NULL;
        if (is_over(place)) {
            HASH_DEL(presence->places, place);
            place_free(place);
        }
    }
    pthread_mutex_unlock(&presence->lock);
    do_due(presence, due, n);
    typing_tell(presence->typing, now);
    pthread_mutex_lock(&presence->lock);
}

static void *thread_main(void *user)
{
    struct presence *presence = user;

    pthread_mutex_lock(&presence->lock);
    while (!presence->stopping) {
        int64_t until = clock_monotonic_ns() + TICK;

        look(presence);
        if (!presence->stopping)
            (void)cond_wait_until(&presence->wake, &presence->lock, until);
    }
    pthread_mutex_unlock(&presence->lock);
    return NULL;
}

/* ---- who asks ---- */

struct question {
    struct presence *presence;
    int64_t room;
    presence_done_fn *done;
    void *user;
    struct arena arena;
};

/* others: of the question's room; NULL: they could not be asked. */
static void answer(struct question *q, const struct crowd *others)
{
    const struct crowd nobody = {.listed = true};
    struct presence *presence = q->presence;
    struct crowd crowd;
    int r;

    pthread_mutex_lock(&presence->lock);
    r = everybody(presence, find(presence, q->room), others ? others : &nobody, &crowd);
    pthread_mutex_unlock(&presence->lock);
    if (r < 0)
        crowd = (struct crowd){.online = 0};
    q->done(q->user, &(struct presence_answer){.online = crowd.online,
                                               .ids = crowd.ids,
                                               .n = crowd.n,
                                               .partial = r < 0 || (!others && presence->redis)});
    arena_free(&q->arena);
    free(q);
}

static void on_asked(void *user, const struct redis_result *result)
{
    struct question *q = user;
    struct crowd others;

    if (result->outcome != REDIS_ANSWERED ||
        read_crowd(result, (size_t)q->presence->settings.names, &others) < 0) {
        answer(q, NULL);
        return;
    }
    answer(q, &others);
    crowd_free(&others);
}

void presence_ask(struct presence *presence, int64_t room, presence_done_fn *done, void *user)
{
    const struct str id = str_of(presence->instance);
    struct question *q = calloc(1, sizeof(*q));

    if (!q) {
        done(user, &(struct presence_answer){.partial = true});
        return;
    }
    *q = (struct question){.presence = presence, .room = room, .done = done, .user = user};
    arena_init(&q->arena, 0);
    if (run(presence, &q->arena, read_script, &id, 1, room, on_asked, q) < 0)
        answer(q, NULL);
}

/* ---- life ---- */

int presence_new(struct service *service, const struct presence_settings *settings,
                 struct presence **ret)
{
    struct presence *presence = calloc(1, sizeof(*presence));
    uint64_t number;

    if (!presence)
        return -ENOMEM;
    presence->service = service;
    presence->settings = *settings;
    pthread_mutex_init(&presence->lock, NULL);
    cond_init(&presence->wake);
    arena_init(&presence->beat_arena, 0);
    if (typing_new(service, &presence->typing) < 0) {
        presence_free(presence);
        return -ENOMEM;
    }
    if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
        presence_free(presence);
        return -EIO;
    }
    snprintf(presence->instance, sizeof(presence->instance), "%016" PRIx64, number);
    *ret = presence;
    return 0;
}

int presence_start(struct presence *presence, struct hub *hub, struct bus *bus, struct redis *redis)
{
    int r;

    presence->hub = hub;
    presence->bus = bus;
    presence->redis = redis;
    typing_start(presence->typing, presence, hub, bus);
    r = -pthread_create(&presence->thread, NULL, thread_main, presence);
    presence->runs = r == 0;
    return r;
}

static void on_ended(void *user, const struct redis_result *result)
{
    (void)user;
    (void)result; /* a moment later it is so by itself */
}

void presence_stop(struct presence *presence)
{
    const struct str id = presence ? str_of(presence->instance) : STR_NULL;

    if (!presence || !presence->runs)
        return;
    pthread_mutex_lock(&presence->lock);
    presence->stopping = true;
    pthread_cond_signal(&presence->wake);
    pthread_mutex_unlock(&presence->lock);
    pthread_join(presence->thread, NULL);
    presence->runs = false;
    pthread_mutex_lock(&presence->lock);
    if (!presence->beating) {
        arena_free(&presence->beat_arena);
        if (run(presence, &presence->beat_arena, end_script, &id, 1, 0, on_ended, presence) < 0)
            log_info("others notice a moment later that nobody is here any more");
    }
    pthread_mutex_unlock(&presence->lock);
}

void presence_free(struct presence *presence)
{
    struct place *place, *next;

    if (!presence)
        return;
    place = presence->places;
    HASH_CLEAR(hh, presence->places); /* the places are still a list */
    for (; place; place = next) {
        next = place->hh.next;
        place_free(place);
    }
    typing_free(presence->typing);
    arena_free(&presence->beat_arena);
    pthread_cond_destroy(&presence->wake);
    pthread_mutex_destroy(&presence->lock);
    free(presence);
}
