/* A message on the bus: who sends it (8 bytes, an instance's own number), its kind (1), seq (8, in
 * network order), then the bytes. */
#include "bus.h"

#include "base/log.h"
#include "metrics/metrics.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define HEALTH "redis"
#define QUEUE 16384
#define MAX_PREFIX 100
#define MAX_NAME (MAX_PREFIX + 24)
#define SENDER_BYTES 8
#define HEAD_BYTES (SENDER_BYTES + 1 + sizeof(uint64_t))

struct bus {
    struct service *service;
    struct bus_options options;
    void *user;
    struct redis *out[BUS_MAX_SERVERS], *in[BUS_MAX_SERVERS];
    size_t n; /* servers */
    metrics_number published, lost;
    uint8_t sender[SENDER_BYTES];
    pthread_mutex_t lock; /* guards what follows */
    char prefix[MAX_PREFIX];
    size_t n_ready; /* servers that can be told something */
};

/* Which server has a room's channel. */
static size_t server_of(const struct bus *bus, int64_t room)
{
    return (uint64_t)room % bus->n;
}

/* ---- names ---- */

/* False: the database is not known yet. */
static bool channel_name(struct bus *bus, int64_t room, char ret[MAX_NAME])
{
    bool known;

    pthread_mutex_lock(&bus->lock);
    snprintf(ret, MAX_NAME, "%s%lld", bus->prefix, (long long)room);
    known = bus->prefix[0] != '\0';
    pthread_mutex_unlock(&bus->lock);
    return known;
}

bool bus_key(struct bus *bus, const char *kind, int64_t room, char ret[BUS_KEY_SIZE])
{
    bool known;

    if (!bus)
        return false;
    pthread_mutex_lock(&bus->lock);
    known = bus->prefix[0] != '\0';
    if (known)
        snprintf(ret, BUS_KEY_SIZE, "%s%s:%lld", bus->prefix, kind, (long long)room);
    pthread_mutex_unlock(&bus->lock);
    return known;
}

/* The room of a channel; 0: it is not one of ours. */
static int64_t room_of(struct bus *bus, struct str channel)
{
    struct str prefix;
    int64_t room = 0;

    pthread_mutex_lock(&bus->lock);
    prefix = str_of(bus->prefix);
    if (prefix.n == 0 || !str_starts(channel, prefix) ||
        str_to_int64(str_skip(channel, prefix.n), &room) < 0)
        room = 0;
    pthread_mutex_unlock(&bus->lock);
    return room;
}

static void prefix_of(struct str identity, char ret[MAX_PREFIX])
{
    snprintf(ret, MAX_PREFIX, "stoa:chat:%.*s:", STR_FMT(identity));
}

void bus_set_database(struct bus *bus, struct str identity)
{
    if (!bus)
        return;
    pthread_mutex_lock(&bus->lock);
    prefix_of(identity, bus->prefix);
    pthread_mutex_unlock(&bus->lock);
}

bool bus_is_database(struct bus *bus, struct str identity)
{
    char prefix[MAX_PREFIX];
    bool same;

    if (!bus)
        return true;
    prefix_of(identity, prefix);
    pthread_mutex_lock(&bus->lock);
    same = strcmp(prefix, bus->prefix) == 0;
    pthread_mutex_unlock(&bus->lock);
    return same;
}

/* ---- hearing ---- */

static void on_message(void *user, struct str channel, struct str message)
{
    struct bus *bus = user;
    int64_t room = room_of(bus, channel);
    uint64_t seq;

    if (room <= 0 || message.n < HEAD_BYTES ||
        memcmp(message.p, bus->sender, sizeof(bus->sender)) == 0)
        return;
    memcpy(&seq, message.p + SENDER_BYTES + 1, sizeof(seq));
    bus->options.on_news(bus->user, room, (enum bus_kind)message.p[SENDER_BYTES],
                         (int64_t)be64toh(seq), str_skip(message, HEAD_BYTES));
}

static void on_heard(void *user, bool ready)
{
    struct bus *bus = user;

    if (ready)
        bus->options.on_heard(bus->user);
}

void bus_follow(struct bus *bus, int64_t room, bool follow)
{
    char name[MAX_NAME];
    struct redis *in;
    int r;

    if (!bus || !channel_name(bus, room, name))
        return;
    in = bus->in[server_of(bus, room)];
    r = follow ? redis_subscribe(in, str_of(name)) : redis_unsubscribe(in, str_of(name));
    if (r < 0)
        log_error("no memory for a channel of the bus", LOG_I("room", room));
}

/* ---- telling ---- */

struct publication {
    struct bus *bus;
    struct arena arena;
};

static void on_published(void *user, const struct redis_result *result)
{
    struct publication *publication = user;

    metrics_add(result->outcome == REDIS_ANSWERED ? &publication->bus->published
                                                  : &publication->bus->lost,
                1);
    if (result->outcome == REDIS_REFUSED)
        log_warn("redis refused a publication", LOG_S("cause", result->message));
    arena_free(&publication->arena);
    free(publication);
}

static int publish(struct bus *bus, struct redis *out, struct publication *publication,
                   const char *name, enum bus_kind kind, int64_t seq, struct str bytes)
{
    size_t n = HEAD_BYTES + bytes.n;
    char *message = arena_alloc(&publication->arena, n);
    uint64_t number = htobe64((uint64_t)seq);
    struct str words[] = {STR("PUBLISH"), str_of(name), {message, n}};
    struct redis_command *command;

    if (!message)
        return -ENOMEM;
    memcpy(message, bus->sender, SENDER_BYTES);
    message[SENDER_BYTES] = (char)kind;
    memcpy(message + SENDER_BYTES + 1, &number, sizeof(number));
    if (bytes.n > 0)
        memcpy(message + HEAD_BYTES, bytes.p, bytes.n);
    command = redis_command(out, &publication->arena, words, ARRAY_SIZE(words));
    return command ? redis_submit(command, on_published, publication) : -ENOMEM;
}

/* What does not get out is found by the others' clocks. */
void bus_publish(struct bus *bus, int64_t room, enum bus_kind kind, int64_t seq, struct str bytes)
{
    struct publication *publication;
    struct redis *out = bus ? bus->out[server_of(bus, room)] : NULL;
    char name[MAX_NAME];

    if (!bus)
        return;
    publication =
        redis_ready(out) && channel_name(bus, room, name) ? calloc(1, sizeof(*publication)) : NULL;
    if (!publication) {
        metrics_add(&bus->lost, 1);
        return;
    }
    publication->bus = bus;
    arena_init(&publication->arena, 0);
    if (publish(bus, out, publication, name, kind, seq, bytes) < 0) {
        metrics_add(&bus->lost, 1);
        arena_free(&publication->arena);
        free(publication);
    }
}

/* ---- metrics ---- */

void bus_write_metrics(const struct bus *bus, struct buf *text)
{
    static const struct metrics_family family = {
        "stoa_chat", "publications_total", METRICS_COUNTER,
        "What was told to other instances; lost: Redis did not take it, and they ask Postgres."};

    metrics_begin(text, &family);
    metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("outcome", STR("sent"))),
                   bus ? metrics_get(&bus->published) : 0);
    metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("outcome", STR("lost"))),
                   bus ? metrics_get(&bus->lost) : 0);
}

size_t bus_uses(const struct bus *bus, struct redis_use uses[BUS_MAX_USES])
{
    static const char *const names[] = {
#define SERVER(N) "publisher" N, "subscriber" N
        SERVER(""),    SERVER("-2"),  SERVER("-3"),  SERVER("-4"),  SERVER("-5"),  SERVER("-6"),
        SERVER("-7"),  SERVER("-8"),  SERVER("-9"),  SERVER("-10"), SERVER("-11"), SERVER("-12"),
        SERVER("-13"), SERVER("-14"), SERVER("-15"), SERVER("-16"),
#undef SERVER
    };
    size_t n = 0;

    static_assert(ARRAY_SIZE(names) == BUS_MAX_USES, "a name for each");
    for (size_t i = 0; bus && i < bus->n; i++) {
        uses[n] = (struct redis_use){names[n], bus->out[i]};
        n++;
        uses[n] = (struct redis_use){names[n], bus->in[i]};
        n++;
    }
    return n;
}

/* ---- life ---- */

static void on_ready(void *user, bool ready)
{
    struct bus *bus = user;

    pthread_mutex_lock(&bus->lock);
    bus->n_ready += ready ? 1 : -1;
    rpc_server_set_part(service_rpc(bus->service), HEALTH, bus->n_ready == bus->n);
    pthread_mutex_unlock(&bus->lock);
}

static int open_server(struct bus *bus, struct redis_settings settings, size_t i,
                       struct str *ret_error)
{
    int r = service_open_redis(
        bus->service, &settings,
        (struct redis_options){.max_queue = QUEUE, .on_ready = on_ready, .on_ready_user = bus},
        &bus->out[i], ret_error);

    if (r == 0)
        r = service_open_redis(bus->service, &settings,
                               (struct redis_options){.on_ready = on_heard,
                                                      .on_ready_user = bus,
                                                      .on_message = on_message,
                                                      .on_message_user = bus},
                               &bus->in[i], ret_error);
    return r;
}

/* Cuts the list into addresses. -EINVAL: too many. */
static int split(struct service *service, struct str list, struct str ret[BUS_MAX_SERVERS],
                 size_t *ret_n)
{
    size_t n = 0;

    for (;; n++) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t length = comma ? (size_t)(comma - list.p) : list.n;

        if (n == BUS_MAX_SERVERS)
            return -EINVAL;
        ret[n] = arena_copy(service_arena(service), (struct str){list.p, length});
        if (!ret[n].p)
            return -ENOMEM;
        if (!comma)
            break;
        list = str_skip(list, length + 1);
    }
    *ret_n = n + 1;
    return 0;
}

int bus_new(struct service *service, const struct redis_settings *settings,
            const struct bus_options *options, void *user, struct bus **ret, struct str *ret_error)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    struct redis_settings server = *settings;
    struct str addresses[BUS_MAX_SERVERS];
    int r = bus ? split(service, settings->address, addresses, &bus->n) : -ENOMEM;

    if (r == -EINVAL)
        *ret_error = arena_printf(service_arena(service), "%s: set %d servers at most",
                                  redis_settings_name(settings), BUS_MAX_SERVERS);
    if (r < 0) {
        free(bus);
        return r;
    }
    bus->service = service;
    bus->options = *options;
    bus->user = user;
    pthread_mutex_init(&bus->lock, NULL);
    rpc_server_set_part(service_rpc(service), HEALTH, false);
    if (getrandom(bus->sender, sizeof(bus->sender), 0) != sizeof(bus->sender))
        r = -EIO;
    for (size_t i = 0; r == 0 && i < bus->n; i++) {
        server.address = addresses[i];
        r = open_server(bus, server, i, ret_error);
    }
    if (r < 0) {
        bus_free(bus);
        return r;
    }
    *ret = bus;
    return 0;
}

void bus_free(struct bus *bus)
{
    if (!bus)
        return;
    for (size_t i = 0; i < bus->n; i++) {
        redis_close(bus->in[i]);
        redis_close(bus->out[i]);
    }
    pthread_mutex_destroy(&bus->lock);
    free(bus);
}
