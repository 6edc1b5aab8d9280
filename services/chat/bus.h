/* The bus between the instances of chat: Redis pub/sub, one channel a room. It may lose anything;
 * it tells nothing that has not committed.
 *
 * Over several Redis servers each has the channels of its part of the rooms, by a room's number;
 * the others know nothing of that, and one that is gone takes only its own rooms' news along.
 *
 * Channels carry the identity of the database in their names: what comes from an instance of
 * another one is not for us. */
#ifndef STOA_CHAT_BUS_H
#define STOA_CHAT_BUS_H

#include "service/redis_settings.h"

struct bus;

#define BUS_KEY_SIZE 160
#define BUS_MAX_SERVERS 16

enum bus_kind {
    BUS_MESSAGE = 'M',  /* a message's event, encoded, with its seq */
    BUS_CHANGE = 'C',   /* something has changed in the room: read it */
    BUS_PART = 'P',     /* a part without a place in the order, encoded */
    BUS_PRESENCE = 'O', /* others are online at the instance than before */
    BUS_TYPING = 'T',   /* somebody is typing: a part that names them */
};

struct bus_options {
    /* From another instance. On the engine thread of the room's subscriber; bytes live during the
     * call. */
    void (*on_news)(void *user, int64_t room, enum bus_kind kind, int64_t seq, struct str bytes);
    /* All rooms of a server that are followed are heard from now on: before, something may have
     * been missed. On its subscriber's engine thread. */
    void (*on_heard)(void *user);
};

/* settings->address: one server, or up to BUS_MAX_SERVERS parted by commas, in the order that all
 * instances have. -EINVAL, -ENOMEM, -EAGAIN, with one line in *ret_error. */
int bus_new(struct service *service, const struct redis_settings *settings,
            const struct bus_options *options, void *user, struct bus **ret,
            struct str *ret_error) MUST_CHECK;
/* NULL is nothing, here and below: then there is one instance. */
void bus_free(struct bus *bus);

/* Any thread. Nothing is published or heard before the database is known. Rooms that are followed
 * when it becomes another one must be unfollowed before, and followed after. */
void bus_set_database(struct bus *bus, struct str identity);
bool bus_is_database(struct bus *bus, struct str identity);

/* Any thread; they do not wait. */
void bus_follow(struct bus *bus, int64_t room, bool follow);
void bus_publish(struct bus *bus, int64_t room, enum bus_kind kind, int64_t seq, struct str bytes);

/* Any thread. */
void bus_write_metrics(const struct bus *bus, struct buf *text);
/* Its connections, for redis_write_metrics(): "publisher", "subscriber", "publisher-2" … Returns
 * how many. */
#define BUS_MAX_USES (2 * BUS_MAX_SERVERS)
size_t bus_uses(const struct bus *bus, struct redis_use uses[BUS_MAX_USES]);

/* The name of a key in Redis about a room (0: about none): "presence". False: the database is not
 * known yet, or there is no bus. */
bool bus_key(struct bus *bus, const char *kind, int64_t room, char ret[BUS_KEY_SIZE]) MUST_CHECK;

#endif
