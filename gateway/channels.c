#include "channels.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_TABLE 16
#define FIRST_SEATS 2
#define FIRST_PLACES 2

struct channel {
    struct channel *next; /* of the table's chain */
    uint64_t id;
    struct seat *seats;
    uint32_t n, cap;
};

struct place {
    struct channel *channel;
    uint32_t seat;
};

/* ---- the table ---- */

/* Ids may be anything: multiples of a power of two as well. */
static size_t slot_of(uint64_t id, size_t cap)
{
    id *= UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(id >> 32) & (cap - 1);
}

static struct channel *find(const struct channels *channels, uint64_t id)
{
    struct channel *channel = channels->cap ? channels->table[slot_of(id, channels->cap)] : NULL;

    while (channel && channel->id != id)
        channel = channel->next;
    return channel;
}

static void put(struct channel **table, size_t cap, struct channel *channel)
{
    struct channel **slot = &table[slot_of(channel->id, cap)];

    channel->next = *slot;
    *slot = channel;
}

static int grow(struct channels *channels)
{
    size_t cap = channels->cap ? channels->cap * 2 : FIRST_TABLE;
    struct channel **table = calloc(cap, sizeof(struct channel *));

    if (!table)
        return -ENOMEM;
    for (size_t i = 0; i < channels->cap; i++) {
        for (struct channel *channel = channels->table[i], *next; channel; channel = next) {
            next = channel->next;
            put(table, cap, channel);
        }
    }
    free(channels->table);
    channels->table = table;
    channels->cap = cap;
    return 0;
}

/* Without channels there is no memory to be given back by anybody else. */
static void drop_table_if_empty(struct channels *channels)
{
    if (channels->n)
        return;
    free(channels->table);
    *channels = (struct channels){0};
}

static struct channel *make(struct channels *channels, uint64_t id)
{
    struct channel *channel;

    if (channels->n == channels->cap && grow(channels))
        return NULL;
    channel = calloc(1, sizeof(*channel));
    if (!channel) {
        drop_table_if_empty(channels);
        return NULL;
    }
    channel->id = id;
    put(channels->table, channels->cap, channel);
    channels->n++;
    return channel;
}

static void drop_if_empty(struct channels *channels, struct channel *channel)
{
    struct channel **at = &channels->table[slot_of(channel->id, channels->cap)];

    if (channel->n)
        return;
    while (*at != channel)
        at = &(*at)->next;
    *at = channel->next;
    free(channel->seats);
    free(channel);
    channels->n--;
    drop_table_if_empty(channels);
}

/* ---- seats and places ---- */

/* Both sides of one more place. */
static int reserve(struct channel *channel, struct member *member)
{
    if (channel->n == channel->cap) {
        uint32_t cap = channel->cap ? channel->cap * 2 : FIRST_SEATS;
        struct seat *seats = realloc(channel->seats, cap * sizeof(*seats));

        if (!seats)
            return -ENOMEM;
        channel->seats = seats;
        channel->cap = cap;
    }
    if (member->n == member->cap) {
        uint32_t cap = member->cap ? member->cap * 2 : FIRST_PLACES;
        struct place *places = realloc(member->places, cap * sizeof(*places));

        if (!places)
            return -ENOMEM;
        member->places = places;
        member->cap = cap;
    }
    return 0;
}

/* A member's place in a channel; member->n: none. Through the shorter of the two. */
static uint32_t place_in(const struct channel *channel, const struct member *member)
{
    if (channel->n < member->n) {
        for (uint32_t i = 0; i < channel->n; i++) {
            if (channel->seats[i].member == member)
                return channel->seats[i].place;
        }
        return member->n;
    }
    for (uint32_t i = 0; i < member->n; i++) {
        if (member->places[i].channel == channel)
            return i;
    }
    return member->n;
}

static struct seat *seat_of(const struct place *place)
{
    return &place->channel->seats[place->seat];
}

static void join(struct channel *channel, struct member *member, int64_t seq, bool live)
{
    channel->seats[channel->n] =
        (struct seat){.member = member, .seq = seq, .place = member->n, .live = live};
    member->places[member->n++] = (struct place){channel, channel->n++};
}

/* The last one of each side takes the place that becomes free. */
static void leave(struct channels *channels, struct member *member, uint32_t at)
{
    struct place gone = member->places[at];
    struct channel *channel = gone.channel;
    const struct seat *last = &channel->seats[--channel->n];

    if (gone.seat != channel->n) {
        channel->seats[gone.seat] = *last;
        last->member->places[last->place].seat = gone.seat;
    }
    member->n--;
    if (at != member->n) {
        member->places[at] = member->places[member->n];
        seat_of(&member->places[at])->place = at;
    }
    if (member->n == 0) {
        free(member->places);
        *member = (struct member){0};
    }
    drop_if_empty(channels, channel);
}

int channels_set(struct channels *channels, struct member *member, uint64_t id, int64_t seq,
                 bool live, uint32_t most)
{
    struct channel *channel = find(channels, id);
    uint32_t at = channel ? place_in(channel, member) : member->n;

    if (at < member->n) {
        seat_of(&member->places[at])->seq = seq;
        seat_of(&member->places[at])->live = live;
        return 0;
    }
    if (member->n >= most)
        return -ENOSPC;
    if (!channel)
        channel = make(channels, id);
    if (!channel)
        return -ENOMEM;
    if (reserve(channel, member)) {
        drop_if_empty(channels, channel);
        return -ENOMEM;
    }
    join(channel, member, seq, live);
    return 0;
}

void channels_leave(struct channels *channels, struct member *member, uint64_t id)
{
    const struct channel *channel = find(channels, id);
    uint32_t at = channel ? place_in(channel, member) : member->n;

    if (at < member->n)
        leave(channels, member, at);
}

void channels_leave_all(struct channels *channels, struct member *member)
{
    while (member->n)
        leave(channels, member, member->n - 1);
    free(member->places);
    *member = (struct member){0};
}

int channels_move(struct channels *from, struct channels *to, struct member *member)
{
    struct member moved = {0};
    int err = 0;

    for (uint32_t i = 0; i < member->n && !err; i++)
        err = channels_set(to, &moved, member->places[i].channel->id, member_seat(member, i)->seq,
                           false, UINT32_MAX);
    channels_leave_all(err ? to : from, err ? &moved : member);
    if (err)
        return err;
    *member = moved;
    for (uint32_t i = 0; i < member->n; i++)
        seat_of(&member->places[i])->member = member;
    return 0;
}

struct seat *channels_seats(const struct channels *channels, uint64_t id, size_t *ret_n)
{
    struct channel *channel = find(channels, id);

    *ret_n = channel ? channel->n : 0;
    return channel ? channel->seats : NULL;
}

uint64_t member_channel(const struct member *member, uint32_t i)
{
    return member->places[i].channel->id;
}

const struct seat *member_seat(const struct member *member, uint32_t i)
{
    return seat_of(&member->places[i]);
}
