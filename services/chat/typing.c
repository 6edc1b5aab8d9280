#include "typing.h"

#include "live.h"
#include "live_parts.h"
#include "presence.h"
#include "typists.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* Between two announcements in a room. */
#define PAUSE (1 * NSEC_PER_SEC)
#define NAMES_TIMEOUT (5 * NSEC_PER_SEC)
/* So long a name is believed that has been read, of so many accounts. */
#define KNOWN_FOR (60 * NSEC_PER_SEC)
#define KNOWN_MAX 4096
#define MAX_DUE 1024

/* Where somebody types, or did until a moment ago. */
struct typing_room {
    int64_t id;
    struct typists typists;
    int64_t tell_ns;               /* at the earliest */
    struct typing_room *next_over; /* of those that are to be freed */
    UT_hash_handle hh;
};

/* An account that has typed lately. */
struct known {
    int64_t account;
    int64_t until_ns;
    char *username;
    char *image; /* NULL: none */
    UT_hash_handle hh;
};

struct typing {
    struct service *service;
    struct presence *presence;
    struct hub *hub;
    struct bus *bus;
    pthread_mutex_t lock; /* guards what follows */
    struct typing_room *rooms;
    struct known *known; /* who has been known longest comes first */
};

/* ---- names; the lock is held ---- */

static void free_known(struct known *known)
{
    free(known->username);
    free(known->image);
    free(known);
}

static void forget(struct typing *typing, struct known *known)
{
    HASH_DEL(typing->known, known);
    free_known(known);
}

/* NULL: not known, or for too long. */
static struct known *find_known(struct typing *typing, int64_t account, int64_t now)
{
    struct known *known;

    HASH_FIND(hh, typing->known, &account, sizeof(account), known);
    if (!known || known->until_ns > now)
        return known;
    forget(typing, known);
    return NULL;
}

/* Without memory it is read again next time. */
static void remember(struct typing *typing, int64_t account, const Stoa__Chat__V1__Author *author,
                     int64_t now)
{
    struct known *known;
    unsigned before;

    HASH_FIND(hh, typing->known, &account, sizeof(account), known);
    if (known)
        forget(typing, known);
    if (HASH_COUNT(typing->known) >= KNOWN_MAX)
        forget(typing, typing->known);
    known = calloc(1, sizeof(*known));
    if (!known)
        return;
    known->account = account;
    known->until_ns = now + KNOWN_FOR;
    known->username = strdup(author->username);
    known->image = author->_image_case ? strdup(author->image) : NULL;
    before = HASH_COUNT(typing->known);
    if (known->username && (known->image || !author->_image_case))
        HASH_ADD(hh, typing->known, account, sizeof(known->account), known);
    if (HASH_COUNT(typing->known) == before)
        free_known(known);
}

static Stoa__Chat__V1__Author author_of(const struct known *known)
{
    Stoa__Chat__V1__Author author = STOA__CHAT__V1__AUTHOR__INIT;

    author.username = known->username;
    if (known->image) {
        author._image_case = STOA__CHAT__V1__AUTHOR___IMAGE_IMAGE;
        author.image = known->image;
    }
    return author;
}

/* ---- rooms; the lock is held ---- */

static struct typing_room *find_room(struct typing *typing, int64_t id)
{
    struct typing_room *room;

    HASH_FIND(hh, typing->rooms, &id, sizeof(id), room);
    return room;
}

/* NULL without memory. */
static struct typing_room *make_room(struct typing *typing, int64_t id)
{
    struct typing_room *room = find_room(typing, id);
    unsigned before = HASH_COUNT(typing->rooms);

    if (room)
        return room;
    room = calloc(1, sizeof(*room));
    if (!room)
        return NULL;
    room->id = id;
    HASH_ADD(hh, typing->rooms, id, sizeof(room->id), room);
    if (HASH_COUNT(typing->rooms) > before)
        return room;
    free(room);
    return NULL;
}

static void free_typists(struct typing_room *room)
{
    typists_free(&room->typists);
    free(room);
}

static bool add(struct typing *typing, int64_t id, const Stoa__Chat__V1__Author *author)
{
    struct typing_room *room = make_room(typing, id);

    return room && typists_add(&room->typists, author, clock_monotonic_ns());
}

/* Here, and what the others are to be told; NULL: nothing. */
static struct rpc_packed *say(struct typing *typing, int64_t room, Stoa__Chat__V1__Author *author)
{
    Stoa__Chat__V1__Author *list[] = {author};

    return add(typing, room, author) ? part_typing(room, list, 1, 1) : NULL;
}

/* ---- somebody says so ---- */

/* Owned by the query on its way. */
struct typist_query {
    struct typing *typing;
    int64_t room, account;
    struct arena arena;
};

static void publish(struct typing *typing, int64_t room, struct rpc_packed *part)
{
    if (part)
        bus_publish(typing->bus, room, BUS_TYPING, 0, rpc_packed_bytes(part));
    rpc_packed_unref(part);
}

static void on_typist(void *user, const struct db_result *result)
{
    struct typist_query *query = user;
    struct typing *typing = query->typing;
    Stoa__Chat__V1__Author author;
    struct rpc_packed *part = NULL;

    if (result->error == DB_OK && db_rows(result) == 1 &&
        author_from_row(result, 0, PROFILE_USERNAME, PROFILE_IMAGE, &author)) {
        bool here = presence_has(typing->presence, query->room, query->account);

        pthread_mutex_lock(&typing->lock);
        remember(typing, query->account, &author, clock_monotonic_ns());
        if (here)
            part = say(typing, query->room, &author);
        pthread_mutex_unlock(&typing->lock);
    }
    publish(typing, query->room, part);
    arena_free(&query->arena);
    free(query);
}

static void read_name(struct typing *typing, int64_t room, int64_t account)
{
    struct typist_query *q = calloc(1, sizeof(*q));
    struct db_query *query;

    if (!q)
        return; /* it is said again soon */
    *q = (struct typist_query){.typing = typing, .room = room, .account = account};
    arena_init(&q->arena, 0);
    query = db_query(service_db(typing->service), &q->arena, PROFILES);
    if (query)
        db_bind_int8_array(query, &account, 1);
    if (!query || db_submit(query, clock_monotonic_ns() + NAMES_TIMEOUT, NULL, on_typist, q) < 0) {
        arena_free(&q->arena);
        free(q);
    }
}

void typing_said(struct typing *typing, int64_t room, int64_t account)
{
    struct rpc_packed *part = NULL;
    const struct known *known;

    if (!presence_has(typing->presence, room, account))
        return; /* it has been removed, or has left, since it was looked */
    pthread_mutex_lock(&typing->lock);
    known = find_known(typing, account, clock_monotonic_ns());
    if (known) {
        Stoa__Chat__V1__Author author = author_of(known);

        part = say(typing, room, &author);
    }
    pthread_mutex_unlock(&typing->lock);
    if (known)
        publish(typing, room, part);
    else
        read_name(typing, room, account);
}

void typing_heard(struct typing *typing, int64_t room, struct str bytes)
{
    Stoa__Chat__V1__ConnectResponse *response =
        stoa__chat__v1__connect_response__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);
    const Stoa__Chat__V1__Typing *said;

    if (!response)
        return;
    said = response->what_case == STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_TYPING ? response->typing
                                                                                : NULL;
    if (said && said->room == room && said->n_accounts == 1) {
        pthread_mutex_lock(&typing->lock);
        (void)add(typing, room, said->accounts[0]);
        pthread_mutex_unlock(&typing->lock);
    }
    stoa__chat__v1__connect_response__free_unpacked(response, NULL);
}

void typing_left(struct typing *typing, int64_t room, int64_t account)
{
    struct typing_room *at;
    const struct known *known;

    pthread_mutex_lock(&typing->lock);
    at = find_room(typing, room);
    known = at ? find_known(typing, account, 0) : NULL;
    if (known)
        typists_remove(&at->typists, known->username);
    pthread_mutex_unlock(&typing->lock);
}

/* ---- what is due ---- */

/* NULL: there is no memory. The lock is held. */
static struct rpc_packed *due(struct typing_room *room, int64_t now)
{
    Stoa__Chat__V1__Author authors[TYPISTS_NAMED], *list[TYPISTS_NAMED];
    size_t n = typists_named(&room->typists, authors);

    for (size_t i = 0; i < n; i++)
        list[i] = &authors[i];
    room->typists.changed = false;
    room->tell_ns = now + PAUSE;
    return part_typing(room->id, list, n, (int32_t)room->typists.n);
}

void typing_tell(struct typing *typing, int64_t now)
{
    struct {
        int64_t room;
        struct rpc_packed *part;
    } parts[MAX_DUE];
    struct typing_room *room, *next, *over = NULL;
    size_t n = 0;

    pthread_mutex_lock(&typing->lock);
    /* Those beyond MAX_DUE a moment later. */
    for (room = typing->rooms; room && typing->rooms && n < MAX_DUE; room = next) {
        next = room->hh.next;
        typists_drop(&room->typists, now);
        if (room->typists.changed && now >= room->tell_ns) {
            parts[n].room = room->id;
            parts[n++].part = due(room, now);
        }
        /* When it could be said again that somebody types. */
        if (room->typists.n == 0 && !room->typists.changed && now >= room->tell_ns) {
            HASH_DEL(typing->rooms, room);
            room->next_over = over;
            over = room;
        }
    }
    pthread_mutex_unlock(&typing->lock);
    for (size_t i = 0; i < n; i++) {
        if (parts[i].part)
            hub_announce_here(typing->hub, parts[i].room, parts[i].part);
        rpc_packed_unref(parts[i].part);
    }
    for (; over; over = next) {
        next = over->next_over;
        free_typists(over);
    }
}

/* ---- life ---- */

int typing_new(struct service *service, struct typing **ret)
{
    struct typing *typing = calloc(1, sizeof(*typing));

    if (!typing)
        return -ENOMEM;
    typing->service = service;
    pthread_mutex_init(&typing->lock, NULL);
    *ret = typing;
    return 0;
}

void typing_start(struct typing *typing, struct presence *presence, struct hub *hub,
                  struct bus *bus)
{
    typing->presence = presence;
    typing->hub = hub;
    typing->bus = bus;
}

void typing_free(struct typing *typing)
{
    struct typing_room *room, *next_room;
    struct known *known, *next_known;

    if (!typing)
        return;
    room = typing->rooms;
    known = typing->known;
    HASH_CLEAR(hh, typing->rooms); /* both are still lists */
    HASH_CLEAR(hh, typing->known);
    for (; room; room = next_room) {
        next_room = room->hh.next;
        free_typists(room);
    }
    for (; known; known = next_known) {
        next_known = known->hh.next;
        free_known(known);
    }
    pthread_mutex_destroy(&typing->lock);
    free(typing);
}
