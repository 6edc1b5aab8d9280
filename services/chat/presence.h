/* Who is there. Nothing of it is stored: each instance knows the accounts whose
 * sessions follow a room here, and tells Redis, by room, with a time after which it is forgotten;
 * what the others have told is read from there. An instance that has not said for some seconds that
 * it lives counts as gone, with all its people. Without Redis an instance knows its own people.
 *
 * Followers of a room are told what has changed, some time later and all at once, so that a
 * reconnection is no news; where many are there, only how many. One thread of its own does that,
 * and nobody waits for it: the hub's lock may be held when something here is called, unless it says
 * otherwise, and never the other way round.
 */
#ifndef STOA_CHAT_PRESENCE_H
#define STOA_CHAT_PRESENCE_H

#include "bus.h"
#include "chat.h"
#include "crowd.h"

struct hub;
struct presence; /* any thread */
struct typing;

struct presence_settings {
    int64_t names;       /* where more are online, nobody is named */
    int64_t interval_ms; /* between two announcements in a room, at least; three times that where
                            nobody is named */
};

/* -ENOMEM, -EIO. */
int presence_new(struct service *service, const struct presence_settings *settings,
                 struct presence **ret) MUST_CHECK;
/* Once, after the hub has been made. redis, bus: NULL: there is none; both outlive the thread,
 * which presence_stop() ends. -EAGAIN: no thread. */
int presence_start(struct presence *presence, struct hub *hub, struct bus *bus,
                   struct redis *redis) MUST_CHECK;
/* The hub's lock must not be held. NULL is nothing. */
void presence_stop(struct presence *presence);
/* After the last call, the database and Redis. NULL is nothing. */
void presence_free(struct presence *presence);

/* A session of the account follows the room from now on, or no longer. */
void presence_enter(struct presence *presence, int64_t room, int64_t account);
void presence_leave(struct presence *presence, int64_t room, int64_t account);

/* Another instance says that others are there than before. */
void presence_hear_change(struct presence *presence, int64_t room);

/* Whether a session of the account follows the room here. */
bool presence_has(struct presence *presence, int64_t room, int64_t account);

/* Who is typing (typing.h); presence's thread tells it. */
struct typing *presence_typing(const struct presence *presence);

/* Who is online. ids: the caller's to free(); none when there are more than are named. */
struct presence_answer {
    int64_t online;
    int64_t *ids;
    size_t n;
    bool partial; /* the others could not be asked */
};

typedef void presence_done_fn(void *user, struct presence_answer *answer);

/* Runs done exactly once: at once, or on the engine thread of Redis. The hub's lock must not be
 * held. */
void presence_ask(struct presence *presence, int64_t room, presence_done_fn *done, void *user);

#endif
