/* Calls in an Attach: rooms, and the streams of echo. A room is a file, a message a line of it, and
 * its number that of the line: so servers that share the folder are instances of one service, and
 * what was said outlives each of them. Everything is under one lock. */
#include "testserver.h"

#include "edge/edge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <unistd.h>

#define POLL_NS (5 * NSEC_PER_MSEC)
#define READ_SIZE 65536
#define MAX_REPEAT 100000

struct room {
    LIST_ENTRY(room) next;
    uint64_t id;
    int fd;
    off_t at;     /* what has been read */
    char **lines; /* all that is known */
    int64_t n, cap;
    char *rest; /* of a line that is not whole */
    size_t n_rest;
};

struct place {
    LIST_ENTRY(place) next;
    struct room *room;
    int64_t seq; /* up to where it has been given, until it is live */
    bool live;
};

struct client {
    LIST_ENTRY(client) next;
    struct edge_session *session;
    LIST_HEAD(, place) places;
    const struct kind *kind;
    int64_t messages, bytes; /* Collect */
    char request_id[64];     /* metadata x-request-id */
};

struct attached {
    LIST_ENTRY(attached) next;
    struct edge_stream *stream;
};

/* What a method does. */
struct kind {
    const char *method;
    void (*message)(struct client *client, struct str wire);
    void (*half_close)(struct client *client);
};

static struct {
    pthread_mutex_t lock;
    const char *folder;
    struct edge *edge;
    LIST_HEAD(, room) rooms;
    LIST_HEAD(, client) clients;
    LIST_HEAD(, attached) streams;
    struct timer timer;
    bool timer_runs;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *must(void *memory)
{
    if (!memory)
        abort(); /* a test server has enough, or is not to go on */
    return memory;
}

static void end(struct client *client, int code, const char *message)
{
    edge_end(client->session,
             &(struct rpc_error){.code = (enum rpc_code)code, .message = str_of(message)});
}

/* ---- answers ---- */

static struct str pack(const Stoa__Test__V1__RoomResponse *response, struct buf *to)
{
    size_t n = stoa__test__v1__room_response__get_packed_size(response);

    *to = (struct buf){.max = n + 1};
    stoa__test__v1__room_response__pack(response, (uint8_t *)must(buf_reserve(to, n + 1)));
    to->n = n;
    return buf_str(to);
}

static void answer(struct client *client, const Stoa__Test__V1__RoomResponse *response)
{
    struct buf wire;

    edge_send(client->session, pack(response, &wire));
    buf_free(&wire);
}

/* A message of a room, as all get it. */
static struct str pack_line(uint64_t room, int64_t number, const char *text, struct buf *to)
{
    Stoa__Test__V1__RoomResponse__Message message = STOA__TEST__V1__ROOM_RESPONSE__MESSAGE__INIT;
    Stoa__Test__V1__RoomResponse response = STOA__TEST__V1__ROOM_RESPONSE__INIT;

    message.room = room;
    message.number = number;
    message.text = (char *)(uintptr_t)text;
    response.what_case = STOA__TEST__V1__ROOM_RESPONSE__WHAT_MESSAGE;
    response.message = &message;
    return pack(&response, to);
}

static void done(struct client *client, const char *id, int64_t number)
{
    Stoa__Test__V1__RoomResponse response = STOA__TEST__V1__ROOM_RESPONSE__INIT;

    response.id = (char *)(uintptr_t)id;
    response.what_case = STOA__TEST__V1__ROOM_RESPONSE__WHAT_DONE;
    response.done = number;
    answer(client, &response);
}

static void say_text(struct client *client, const char *id, const char *text)
{
    Stoa__Test__V1__RoomResponse response = STOA__TEST__V1__ROOM_RESPONSE__INIT;

    response.id = (char *)(uintptr_t)id;
    response.what_case = STOA__TEST__V1__ROOM_RESPONSE__WHAT_TEXT;
    response.text = (char *)(uintptr_t)text;
    answer(client, &response);
}

/* ---- rooms ---- */

static void broadcast(uint64_t room, int64_t number, const char *text)
{
    struct attached *attached;
    struct buf wire;
    struct str message = pack_line(room, number, text, &wire);

    LIST_FOREACH(attached, &all.streams, next)
    {
        edge_broadcast(attached->stream, room, number, message);
    }
    buf_free(&wire);
}

static void add_line(struct room *room, const char *p, size_t n)
{
    if (room->n == room->cap) {
        room->cap = room->cap ? room->cap * 2 : 64;
        room->lines = must(realloc(room->lines, (size_t)room->cap * sizeof(*room->lines)));
    }
    room->lines[room->n++] = must(strndup(p, n));
    broadcast(room->id, room->n, room->lines[room->n - 1]);
}

/* Takes in what is new in the file. */
static void poll_room(struct room *room)
{
    static char buffer[READ_SIZE];
    ssize_t got;

    while ((got = pread(room->fd, buffer, sizeof(buffer), room->at)) > 0) {
        char *line, *end_of_line;

        room->at += got;
        room->rest = must(realloc(room->rest, room->n_rest + (size_t)got + 1));
        memcpy(room->rest + room->n_rest, buffer, (size_t)got);
        room->n_rest += (size_t)got;
        line = room->rest;
        while ((end_of_line = memchr(line, '\n', room->n_rest - (size_t)(line - room->rest)))) {
            add_line(room, line, (size_t)(end_of_line - line));
            line = end_of_line + 1;
        }
        room->n_rest -= (size_t)(line - room->rest);
        memmove(room->rest, line, room->n_rest);
    }
}

static struct room *find_room(uint64_t id)
{
    char path[4096];
    struct room *room;

    LIST_FOREACH(room, &all.rooms, next)
    {
        if (room->id == id)
            return room;
    }
    snprintf(path, sizeof(path), "%s/room-%llu", all.folder, (unsigned long long)id);
    room = must(calloc(1, sizeof(*room)));
    room->id = id;
    room->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (room->fd < 0)
        abort();
    LIST_INSERT_HEAD(&all.rooms, room, next);
    poll_room(room);
    return room;
}

/* Gives what a client has missed, as far as it reads; then it is live. */
static void pump(struct client *client, struct place *place)
{
    Stoa__Test__V1__RoomResponse live = STOA__TEST__V1__ROOM_RESPONSE__INIT;
    struct room *room = place->room;

    while (!place->live && place->seq < room->n) {
        struct buf wire;

        if (edge_is_busy(client->session))
            return;
        place->seq++;
        edge_send_at(client->session,
                     pack_line(room->id, place->seq, room->lines[place->seq - 1], &wire), room->id,
                     place->seq);
        buf_free(&wire);
    }
    if (place->live)
        return;
    place->live = true;
    edge_join(client->session, room->id, place->seq, true);
    live.what_case = STOA__TEST__V1__ROOM_RESPONSE__WHAT_LIVE;
    live.live = room->id;
    answer(client, &live);
}

static void pump_all(struct client *client)
{
    struct place *place;

    LIST_FOREACH(place, &client->places, next)
    {
        pump(client, place);
    }
}

static struct place *find_place(const struct client *client, uint64_t id)
{
    struct place *place;

    LIST_FOREACH(place, &client->places, next)
    {
        if (place->room->id == id)
            break;
    }
    return place;
}

/* The place where a client is already, as one that asks again after a resumption, or a new one.
 * What was said already is for pump() to give. */
static struct place *join(struct client *client, uint64_t id, int64_t after)
{
    struct place *place = find_place(client, id);

    if (place)
        return place;
    place = must(calloc(1, sizeof(*place)));
    place->room = find_room(id);
    poll_room(place->room);
    place->seq = after < place->room->n ? after : place->room->n;
    LIST_INSERT_HEAD(&client->places, place, next);
    edge_join(client->session, id, place->seq, false);
    return place;
}

static void leave(struct client *client, uint64_t id)
{
    struct place *place = find_place(client, id);

    if (!place)
        return;
    LIST_REMOVE(place, next);
    free(place);
    edge_leave(client->session, id);
}

/* Returns the number of the last line. */
static int64_t append(struct room *room, const char *text, int repeat)
{
    struct buf lines = {.max = SIZE_MAX};

    for (int i = 0; i < repeat; i++)
        buf_printf(&lines, "%s\n", text);
    /* While it is held nobody else says something, so that the last line is ours. */
    if (lines.failed || flock(room->fd, LOCK_EX) < 0 ||
        write(room->fd, lines.p, lines.n) != (ssize_t)lines.n)
        abort();
    poll_room(room);
    if (flock(room->fd, LOCK_UN) < 0)
        abort();
    buf_free(&lines);
    return room->n;
}

static void on_time(struct timer *timer)
{
    struct client *client;
    struct room *room;

    pthread_mutex_lock(&all.lock);
    LIST_FOREACH(room, &all.rooms, next)
    {
        poll_room(room);
    }
    LIST_FOREACH(client, &all.clients, next)
    {
        pump_all(client);
    }
    all.timer_runs = !timers_hurried() && !LIST_EMPTY(&all.clients) &&
                     timer_set(timer, clock_monotonic_ns() + POLL_NS) == 0;
    pthread_mutex_unlock(&all.lock);
}

/* ---- what methods do ---- */

static void say(struct client *client, const char *id, const Stoa__Test__V1__RoomRequest__Say *say)
{
    int repeat = say->repeat > 0 && say->repeat <= MAX_REPEAT ? say->repeat : 1;

    done(client, id, append(find_room(say->room), say->text, repeat));
}

static void pad(struct client *client, const char *id, int32_t n)
{
    char *text = must(calloc(1, (size_t)(n > 0 ? n : 0) + 1));

    memset(text, 'x', n > 0 ? (size_t)n : 0);
    say_text(client, id, text);
    free(text);
}

static void act(struct client *client, const Stoa__Test__V1__RoomRequest *request)
{
    struct place *place;

    switch (request->action_case) {
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_JOIN:
        place = join(client, request->join->room, request->join->after);
        done(client, request->id, 0); /* who has this keeps the place when this instance is lost */
        pump(client, place);
        break;
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_LEAVE:
        leave(client, request->leave);
        done(client, request->id, 0);
        break;
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_SAY:
        say(client, request->id, request->say);
        break;
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_SHOUT:
        broadcast(request->shout->room, 0, request->shout->text);
        done(client, request->id, 0);
        break;
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_FAIL:
        end(client, request->fail, "as you wish");
        break;
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_METADATA:
        say_text(client, request->id,
                 strcmp(request->metadata, "x-request-id") == 0 ? client->request_id : "");
        break;
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_PADDING:
        pad(client, request->id, request->padding);
        break;
    case STOA__TEST__V1__ROOM_REQUEST__ACTION_CHANNEL:
        edge_join(client->session, request->channel, 0, true);
        done(client, request->id, 0);
        break;
    default:
        done(client, request->id, 0);
        break;
    }
}

static void room_message(struct client *client, struct str wire)
{
    Stoa__Test__V1__RoomRequest *request =
        stoa__test__v1__room_request__unpack(NULL, wire.n, (const uint8_t *)wire.p);

    if (!request) {
        end(client, RPC_INVALID_ARGUMENT, "the message is malformed");
        return;
    }
    act(client, request);
    stoa__test__v1__room_request__free_unpacked(request, NULL);
}

/* The two messages are the same bytes. */
static void chat_message(struct client *client, struct str wire)
{
    Stoa__Test__V1__ChatRequest *request =
        stoa__test__v1__chat_request__unpack(NULL, wire.n, (const uint8_t *)wire.p);

    if (!request)
        end(client, RPC_INVALID_ARGUMENT, "the message is malformed");
    else if (strncmp(request->message, "fail ", 5) == 0)
        end(client, (int)strtol(request->message + 5, NULL, 10), "as you wish");
    else if (strcmp(request->message, "bye") == 0)
        edge_end(client->session, NULL);
    else
        edge_send(client->session, wire);
    if (request)
        stoa__test__v1__chat_request__free_unpacked(request, NULL);
}

static void raw_message(struct client *client, struct str wire)
{
    edge_send(client->session, wire);
}

static void collect_message(struct client *client, struct str wire)
{
    Stoa__Test__V1__CollectRequest *request =
        stoa__test__v1__collect_request__unpack(NULL, wire.n, (const uint8_t *)wire.p);

    if (!request) {
        end(client, RPC_INVALID_ARGUMENT, "the message is malformed");
        return;
    }
    client->messages++;
    client->bytes += (int64_t)(strlen(request->message) + request->data.len);
    stoa__test__v1__collect_request__free_unpacked(request, NULL);
}

static void collect_half_close(struct client *client)
{
    Stoa__Test__V1__CollectResponse sum = STOA__TEST__V1__COLLECT_RESPONSE__INIT;
    uint8_t wire[64];

    sum.messages = client->messages;
    sum.bytes = client->bytes;
    edge_send(client->session,
              (struct str){(char *)wire, stoa__test__v1__collect_response__pack(&sum, wire)});
    edge_end(client->session, NULL);
}

static void end_well(struct client *client)
{
    edge_end(client->session, NULL);
}

static const struct kind kinds[] = {
    {"/stoa.test.v1.EchoService/Room", room_message, end_well},
    {"/stoa.test.v1.EchoService/Chat", chat_message, end_well},
    {"/stoa.test.v1.EchoService/ChatRaw", raw_message, end_well},
    {"/stoa.test.v1.EchoService/Collect", collect_message, collect_half_close},
};

static const struct kind *find_kind(const char *method)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].method, method) == 0)
            return &kinds[i];
    }
    return NULL;
}

/* ---- from lib/edge ---- */

static void on_attached(void *context UNUSED, struct edge_stream *stream)
{
    struct attached *attached = must(calloc(1, sizeof(*attached)));

    attached->stream = stream;
    edge_stream_set_context(stream, attached);
    pthread_mutex_lock(&all.lock);
    LIST_INSERT_HEAD(&all.streams, attached, next);
    pthread_mutex_unlock(&all.lock);
}

static void on_detached(void *context UNUSED, struct edge_stream *stream)
{
    struct attached *attached = edge_stream_context(stream);

    pthread_mutex_lock(&all.lock);
    LIST_REMOVE(attached, next);
    pthread_mutex_unlock(&all.lock);
    free(attached);
}

static const char *metadata(const Stoa__Edge__V1__Open *open, const char *name)
{
    for (size_t i = 0; i < open->n_metadata; i++) {
        if (strcmp(open->metadata[i]->name, name) == 0)
            return open->metadata[i]->value;
    }
    return "";
}

/* Goes on where another instance, or this one before it was restarted, has stopped. */
static void resume(struct client *client, const Stoa__Edge__V1__Open *open)
{
    Stoa__Test__V1__RoomResponse resumed = STOA__TEST__V1__ROOM_RESPONSE__INIT;

    snprintf(client->request_id, sizeof(client->request_id), "%.*s", (int)open->resume_state.len,
             (const char *)open->resume_state.data);
    if (client->kind != &kinds[0])
        return;
    resumed.what_case = STOA__TEST__V1__ROOM_RESPONSE__WHAT_RESUMED;
    resumed.resumed = true;
    answer(client, &resumed);
    for (size_t i = 0; i < open->n_positions; i++)
        pump(client, join(client, open->positions[i]->channel, open->positions[i]->seq));
}

static void on_open(void *context UNUSED, struct edge_session *session,
                    const Stoa__Edge__V1__Open *open)
{
    struct client *client = must(calloc(1, sizeof(*client)));

    client->session = session;
    client->kind = find_kind(open->method);
    edge_set_context(session, client);
    pthread_mutex_lock(&all.lock);
    LIST_INSERT_HEAD(&all.clients, client, next);
    snprintf(client->request_id, sizeof(client->request_id), "%s", metadata(open, "x-request-id"));
    if (!client->kind) {
        end(client, RPC_UNIMPLEMENTED, "there is no such method here");
    } else if (strcmp(metadata(open, "authorization"), "Bearer bad") == 0) {
        end(client, RPC_UNAUTHENTICATED, "token is invalid");
    } else {
        edge_accept(session);
        if (open->resumed)
            resume(client, open);
        edge_keep(session, str_of(client->request_id));
    }
    if (!all.timer_runs)
        all.timer_runs = timer_set(&all.timer, clock_monotonic_ns() + POLL_NS) == 0;
    pthread_mutex_unlock(&all.lock);
}

static void on_message(void *context UNUSED, struct edge_session *session, struct str message)
{
    struct client *client = edge_context(session);

    pthread_mutex_lock(&all.lock);
    client->kind->message(client, message);
    pthread_mutex_unlock(&all.lock);
}

static void on_half_close(void *context UNUSED, struct edge_session *session)
{
    struct client *client = edge_context(session);

    pthread_mutex_lock(&all.lock);
    client->kind->half_close(client);
    pthread_mutex_unlock(&all.lock);
}

static void on_drained(void *context UNUSED, struct edge_session *session)
{
    pthread_mutex_lock(&all.lock);
    pump_all(edge_context(session));
    pthread_mutex_unlock(&all.lock);
}

static void on_closed(void *context UNUSED, struct edge_session *session)
{
    struct client *client = edge_context(session);
    struct place *place;

    pthread_mutex_lock(&all.lock);
    LIST_REMOVE(client, next);
    pthread_mutex_unlock(&all.lock);
    while ((place = LIST_FIRST(&client->places)) != NULL) {
        LIST_REMOVE(place, next);
        free(place);
    }
    free(client);
}

int rooms_add(struct rpc_server *server, const char *folder, struct str *ret_error)
{
    static const struct edge_handler handler = {
        .attached = on_attached,
        .detached = on_detached,
        .open = on_open,
        .message = on_message,
        .half_close = on_half_close,
        .drained = on_drained,
        .closed = on_closed,
    };
    int r = edge_new(&handler, NULL, &all.edge);

    all.folder = folder;
    all.timer.fire = on_time;
    return r < 0 ? r : edge_add(all.edge, server, ret_error);
}

void rooms_stop(void)
{
    edge_stop(all.edge);
}

void rooms_free(void)
{
    struct room *room;

    while ((room = LIST_FIRST(&all.rooms)) != NULL) {
        LIST_REMOVE(room, next);
        for (int64_t i = 0; i < room->n; i++)
            free(room->lines[i]);
        close(room->fd);
        free(room->lines);
        free(room->rest);
        free(room);
    }
    edge_free(all.edge);
}
