/* Who is typing, in rooms that somebody follows here: told to those who follow them at this
 * instance, at most once a second a room, and to the other instances, for whom the same is done
 * there. Nothing of it is stored.
 *
 * Any thread; the hub's lock may be held unless it says otherwise, and presence's.
 */
#ifndef STOA_CHAT_TYPING_H
#define STOA_CHAT_TYPING_H

#include "bus.h"
#include "chat.h"

struct hub;
struct presence;
struct typing;

/* -ENOMEM. */
int typing_new(struct service *service, struct typing **ret) MUST_CHECK;
/* Once, before anything that follows. bus: NULL: there is no other instance. */
void typing_start(struct typing *typing, struct presence *presence, struct hub *hub,
                  struct bus *bus);
/* After the last call, and the database. NULL is nothing. */
void typing_free(struct typing *typing);

/* The account, a session of which follows the room, says so: who does not any more when this has
 * found out the name is not told of. Costs a query when it has not been said for a minute. Neither
 * the hub's lock nor presence's may be held. */
void typing_said(struct typing *typing, int64_t room, int64_t account);
/* Another instance says so: bytes are what it has published. */
void typing_heard(struct typing *typing, int64_t room, struct str bytes);
/* No session of the account follows the room here any more: it is over at once. */
void typing_left(struct typing *typing, int64_t room, int64_t account);
/* Tells what is due, some times a second. Neither the hub's lock nor presence's may be held. */
void typing_tell(struct typing *typing, int64_t now_ns);

#endif
