/* Private to presence*.c: the rooms that somebody here follows, and what is known of them. */
#ifndef STOA_CHAT_PRESENCE_INTERNAL_H
#define STOA_CHAT_PRESENCE_INTERNAL_H

#include "live.h" /* and uthash.h, as all of chat has it */
#include "presence.h"

#include <pthread.h>

#define INSTANCE_CHARS 16

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

/* ---- presence_redis.c; the lock is held, unless it says otherwise ---- */

/* Whether Redis is in reach. Any thread, with or without the lock. */
bool presence_redis_there(const struct presence *presence);

/* This instance lives; what has changed meanwhile is marked when the answer comes. */
void presence_beat(struct presence *presence);
/* It goes: the others need not wait until it is silent for long. */
void presence_tell_end(struct presence *presence);

/* Who is there, for the others. */
void presence_tell(struct presence *presence, struct place *place, int64_t now);
/* Who is at the others: `place` has it when the answer comes. */
void presence_read_others(struct presence *presence, struct place *place, int64_t now);
/* All places: others may have changed; changed: Redis does not know of them. */
void presence_mark_all(struct presence *presence, bool changed);

/* The same question for whoever asks, with or without the lock. done: as for redis_submit(), with
 * what presence_read_crowd() takes. -ENOTCONN: Redis is not there, or the database is not known
 * yet; other errors of redis_submit(). */
int presence_ask_others(struct presence *presence, struct arena *arena, int64_t room,
                        redis_done_fn *done, void *user) MUST_CHECK;
/* Who is at all of them together; names: how many are named at most. -ENOMEM; then
 * nothing is left in *ret. */
int presence_read_crowd(const struct redis_result *result, size_t names,
                        struct crowd *ret) MUST_CHECK;

#endif
