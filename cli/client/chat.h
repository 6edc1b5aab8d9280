/* What the commands about chat share. */
#ifndef STOA_CLI_CLIENT_CHAT_H
#define STOA_CLI_CLIENT_CHAT_H

#include "client.h"

#include "stoa/chat/v1/chat.pb-c.h"

#define ROOMS &stoa__chat__v1__room_service__descriptor

/* The room that an argument names: a number, "@ada", or a name of one of the caller's rooms. 0 or
 * an exit status, told. */
int room_find(struct client *c, char *text, int64_t *ret) MUST_CHECK;
/* As GetRoom has it. */
int room_get(struct client *c, int64_t room, const Stoa__Chat__V1__Room **ret) MUST_CHECK;
/* "engine", "@ada" */
struct str room_title(struct client *c, const Stoa__Chat__V1__Room *room);

/* A message as a line of output, or an object a line with JSON. */
int say_message(struct client *c, const Stoa__Chat__V1__Message *message);

/* What an event that is no message tells: "ada has joined"; not cleaned. */
struct str event_text(struct client *c, const Stoa__Chat__V1__Event *e);

#define CONNECT_PAUSE_MS 200 /* how long a lost connection waits at first */
/* How long to wait now: by chance between half of *pause_ms and all of it, since others have lost
 * theirs at the same time. The next pause is twice as long, 5 s at most. */
int64_t connect_pause(int64_t *pause_ms);

/* A stream that says nothing for so long is asked about: the other end may be gone without a word.
 */
static inline int64_t silence_ms(const struct client *c)
{
    return c->set.timeout_s * 3000;
}

#endif
