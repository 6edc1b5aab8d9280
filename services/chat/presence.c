#include "presence_internal.h"

#include "base/cond.h"
#include "base/log.h"
#include "live_parts.h"
#include "typing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#define TICK (250 * NSEC_PER_MSEC)
#define BEAT (1 * NSEC_PER_SEC)
/* What has been heard of other instances is read again, should a hint have been lost. */
#define READ_AGAIN (15 * NSEC_PER_SEC)
/* What others have told is still believed when Redis has gone, and they have told it again when it
 * is back. */
#define BELIEVED (10 * NSEC_PER_SEC)
#define TOLD_AGAIN (3 * NSEC_PER_SEC)
/* Big rooms are told less often. */
#define BIG_FACTOR 3
#define NAMES_TIMEOUT (5 * NSEC_PER_SEC)

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

#define MAX_DUE 1024

/* Whether nobody is there, and nothing is on its way. */
static bool is_over(const struct place *place)
{
    return !place->people && !place->changed && !place->telling && !place->reading &&
           !place->announcing;
}

/* What is to be announced there when the lock is free again; NULL: nothing. */
static struct announcement *look_at_place(struct presence *presence, struct place *place,
                                          int64_t now)
{
    bool there = presence_redis_there(presence);

    if (there && !place->telling && (place->changed || (place->people && now >= place->tell_ns)))
        presence_tell(presence, place, now);
    if (!there && !place->people)
        place->changed = false; /* it is forgotten there by itself */
    if (there && place->people && !place->reading && now >= place->read_ns &&
        (place->stale || now >= place->read_ns + READ_AGAIN))
        presence_read_others(presence, place, now);
    if (place->people && place->heard && !place->announcing && now >= place->announce_ns)
        return due_announcement(presence, place, now);
    return NULL;
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
    presence_mark_all(presence, true);
    HASH_ITER(hh, presence->places, place, next)
    {
        place->read_ns = now + TOLD_AGAIN;
    }
}

static void look_at_redis(struct presence *presence, int64_t now)
{
    bool there = presence_redis_there(presence);

    if (there && now >= presence->beat_ns) {
        presence->beat_ns = now + BEAT;
        presence_beat(presence);
    }
    if (there && !presence->was_ready)
        listen_again(presence, now);
    else if (!there && presence->was_ready)
        presence->lost_ns = now;
    presence->was_ready = there;
    if (!there && presence->redis && !presence->alone && now - presence->lost_ns > BELIEVED)
        forget_others(presence);
}

/* Looks at all places, and does some of what is due; what is left over is due a moment later. */
static void look(struct presence *presence)
{
    int64_t now = clock_monotonic_ns();
    struct place *place, *next;
    struct announcement *due[MAX_DUE];
    size_t n = 0;

    look_at_redis(presence, now);
    HASH_ITER(hh, presence->places, place, next)
    {
        if (n == MAX_DUE)
            break;
        due[n] = look_at_place(presence, place, now);
        n += due[n] != NULL;
        if (is_over(place)) {
            HASH_DEL(presence->places, place);
            place_free(place);
        }
    }
    pthread_mutex_unlock(&presence->lock);
    for (size_t i = 0; i < n; i++)
        ask_names(presence, due[i]);
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
        presence_read_crowd(result, (size_t)q->presence->settings.names, &others) < 0) {
        answer(q, NULL);
        return;
    }
    answer(q, &others);
    crowd_free(&others);
}

void presence_ask(struct presence *presence, int64_t room, presence_done_fn *done, void *user)
{
    struct question *q = calloc(1, sizeof(*q));

    if (!q) {
        done(user, &(struct presence_answer){.partial = true});
        return;
    }
    *q = (struct question){.presence = presence, .room = room, .done = done, .user = user};
    arena_init(&q->arena, 0);
    if (presence_ask_others(presence, &q->arena, room, on_asked, q) < 0)
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

void presence_stop(struct presence *presence)
{
    if (!presence || !presence->runs)
        return;
    pthread_mutex_lock(&presence->lock);
    presence->stopping = true;
    pthread_cond_signal(&presence->wake);
    pthread_mutex_unlock(&presence->lock);
    pthread_join(presence->thread, NULL);
    presence->runs = false;
    pthread_mutex_lock(&presence->lock);
    presence_tell_end(presence);
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
