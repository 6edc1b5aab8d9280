/* What instances tell each other by Redis of who is online: that an instance lives, who is there in
 * a room, and who is at the others. */
#include "presence_internal.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>

/* After so long without a beat an instance is gone. */
#define ALIVE_MS "4000"
/* What an instance has told is forgotten after a minute, and told again before. */
#define FORGET_S "60"
#define TELL_AGAIN (20 * NSEC_PER_SEC)
/* Between two reads of a room. */
#define READ_PAUSE (500 * NSEC_PER_MSEC)

#define PEOPLE_BYTES_MAX ((CROWD_MAX_NAMES + 1) * sizeof(" -9223372036854775808"))

bool presence_redis_there(const struct presence *presence)
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

    if (!presence_redis_there(presence) || !bus_key(presence->bus, "instances", 0, instances) ||
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

void presence_mark_all(struct presence *presence, bool changed)
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
            presence_mark_all(presence, !was_known);
        presence->alive = alive;
    } else if (result->outcome == REDIS_REFUSED) {
        log_warn("redis does not keep who is online", LOG_S("cause", result->message));
    }
    arena_free(&presence->beat_arena);
    pthread_mutex_unlock(&presence->lock);
}

void presence_beat(struct presence *presence)
{
    const struct str id = str_of(presence->instance);

    if (presence->beating)
        return;
    arena_free(&presence->beat_arena);
    presence->beating =
        run(presence, &presence->beat_arena, beat_script, &id, 1, 0, on_beat, presence) == 0;
}

static void on_ended(void *user, const struct redis_result *result)
{
    (void)user;
    (void)result; /* a moment later it is so by itself */
}

void presence_tell_end(struct presence *presence)
{
    const struct str id = str_of(presence->instance);

    if (presence->beating)
        return;
    arena_free(&presence->beat_arena);
    if (run(presence, &presence->beat_arena, end_script, &id, 1, 0, on_ended, presence) < 0)
        log_info("others notice a moment later that nobody is here any more");
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

void presence_tell(struct presence *presence, struct place *place, int64_t now)
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

int presence_read_crowd(const struct redis_result *result, size_t names, struct crowd *ret)
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

int presence_ask_others(struct presence *presence, struct arena *arena, int64_t room,
                        redis_done_fn *done, void *user)
{
    const struct str id = str_of(presence->instance);

    return run(presence, arena, read_script, &id, 1, room, done, user);
}

static void on_read(void *user, const struct redis_result *result)
{
    struct place *place = user;
    struct presence *presence = place->presence;
    struct crowd others;

    pthread_mutex_lock(&presence->lock);
    place->reading = false;
    if (result->outcome == REDIS_ANSWERED &&
        presence_read_crowd(result, (size_t)presence->settings.names, &others) == 0) {
        crowd_free(&place->others);
        place->others = others;
        place->heard = true;
    } else {
        place->stale = true;
    }
    arena_free(&place->read_arena);
    pthread_mutex_unlock(&presence->lock);
}

void presence_read_others(struct presence *presence, struct place *place, int64_t now)
{
    arena_free(&place->read_arena);
    if (presence_ask_others(presence, &place->read_arena, place->id, on_read, place) < 0)
        return;
    place->reading = true;
    place->stale = false;
    place->read_ns = now + READ_PAUSE;
}
