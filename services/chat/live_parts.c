#include "live_parts.h"

typedef Stoa__Chat__V1__ConnectResponse response;

#define RESPONSE(WHAT)                                                          \
    {                                                                           \
        PROTOBUF_C_MESSAGE_INIT(&stoa__chat__v1__connect_response__descriptor), \
            .what_case = STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_##WHAT          \
    }

static void set_seq(response *r, int64_t seq)
{
    r->_seq_case = STOA__CHAT__V1__CONNECT_RESPONSE___SEQ_SEQ;
    r->seq = seq;
}

struct rpc_packed *part_welcome(int64_t expires_us)
{
    Stoa__Chat__V1__Welcome welcome = STOA__CHAT__V1__WELCOME__INIT;
    Google__Protobuf__Timestamp expires_at;
    response r = RESPONSE(WELCOME);

    service_set_time(&expires_at, expires_us);
    welcome.expires_at = &expires_at;
    r.welcome = &welcome;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_resumed(void)
{
    Stoa__Chat__V1__Resumed resumed = STOA__CHAT__V1__RESUMED__INIT;
    response r = RESPONSE(RESUMED);

    r.resumed = &resumed;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_ack(const char *id, int64_t room, int64_t seq)
{
    Stoa__Chat__V1__Ack ack = STOA__CHAT__V1__ACK__INIT;
    response r = RESPONSE(ACK);

    ack.id = (char *)id;
    ack.room = room;
    ack.seq = seq;
    r.ack = &ack;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_typing(int64_t room, Stoa__Chat__V1__Author **accounts, size_t n,
                               int32_t count)
{
    Stoa__Chat__V1__Typing typing = STOA__CHAT__V1__TYPING__INIT;
    response r = RESPONSE(TYPING);

    typing.room = room;
    typing.accounts = accounts;
    typing.n_accounts = n;
    typing.count = count;
    r.typing = &typing;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_presence(int64_t room, int64_t online, Stoa__Chat__V1__Author **came,
                                 size_t n_came, Stoa__Chat__V1__Author **went, size_t n_went)
{
    Stoa__Chat__V1__Presence presence = STOA__CHAT__V1__PRESENCE__INIT;
    response r = RESPONSE(PRESENCE);

    presence.room = room;
    presence.online = (int32_t)online;
    presence.came = came;
    presence.n_came = n_came;
    presence.went = went;
    presence.n_went = n_went;
    r.presence = &presence;
    return rpc_pack(&r.base);
}

/* A NUL-terminated copy of a string. */
static char *text(struct arena *arena, struct str s)
{
    return (char *)arena_copy(arena, s).p;
}

static bool set_violations(struct arena *arena, const struct rpc_error *error,
                           Stoa__Chat__V1__LiveError *ret)
{
    size_t n = error->n_violations;
    Stoa__Chat__V1__LiveError__Violation *violations = arena_calloc(arena, n, sizeof(*violations));

    ret->violations = arena_calloc(arena, n, sizeof(*ret->violations));
    if (!violations || !ret->violations)
        return false;
    ret->n_violations = n;
    for (size_t i = 0; i < n; i++) {
        stoa__chat__v1__live_error__violation__init(&violations[i]);
        violations[i].field = text(arena, error->violations[i].path);
        violations[i].description = text(arena, error->violations[i].message);
        ret->violations[i] = &violations[i];
        if (!violations[i].field || !violations[i].description)
            return false;
    }
    return true;
}

struct rpc_packed *part_error(const char *id, int64_t room, const struct rpc_error *error)
{
    struct arena arena CLEANUP(arena_free) = {.max = 0};
    Stoa__Chat__V1__LiveError e = STOA__CHAT__V1__LIVE_ERROR__INIT;
    response r = RESPONSE(ERROR);

    e.id = (char *)id;
    e.room = room;
    e.code = (int32_t)error->code;
    if (error->reason)
        e.reason = (char *)error->reason;
    e.message = text(&arena, error->message);
    e.retry_after_ms = error->retry_after_ms;
    if (!e.message || !set_violations(&arena, error, &e))
        return NULL;
    r.error = &e;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_event(int64_t room, Stoa__Chat__V1__Event *event)
{
    Stoa__Chat__V1__RoomEvent room_event = STOA__CHAT__V1__ROOM_EVENT__INIT;
    response r = RESPONSE(EVENT);

    room_event.room = room;
    room_event.event = event;
    r.event = &room_event;
    set_seq(&r, event->seq);
    return rpc_pack(&r.base);
}

struct rpc_packed *part_live(int64_t room, int64_t seq)
{
    Stoa__Chat__V1__CaughtUp live = STOA__CHAT__V1__CAUGHT_UP__INIT;
    response r = RESPONSE(LIVE);

    live.room = room;
    live.seq = seq;
    r.live = &live;
    set_seq(&r, seq);
    return rpc_pack(&r.base);
}

struct rpc_packed *part_reset(int64_t room, int64_t last_seq)
{
    Stoa__Chat__V1__Reset reset = STOA__CHAT__V1__RESET__INIT;
    response r = RESPONSE(RESET);

    reset.room = room;
    reset.last_seq = last_seq;
    r.reset = &reset;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_read(int64_t room, Stoa__Chat__V1__Author *account, int64_t seq)
{
    Stoa__Chat__V1__ReadMark mark = STOA__CHAT__V1__READ_MARK__INIT;
    response r = RESPONSE(READ);

    mark.room = room;
    mark.account = account;
    mark.seq = seq;
    r.read = &mark;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_gone(int64_t room, Stoa__Chat__V1__GoneReason reason)
{
    Stoa__Chat__V1__Gone gone = STOA__CHAT__V1__GONE__INIT;
    response r = RESPONSE(GONE);

    gone.room = room;
    gone.reason = reason;
    r.gone = &gone;
    return rpc_pack(&r.base);
}

struct rpc_packed *part_message(int64_t room, const Stoa__Chat__V1__Message *message)
{
    Stoa__Chat__V1__Message shown = *message;
    Stoa__Chat__V1__Event event = STOA__CHAT__V1__EVENT__INIT;

    shown._client_id_case = STOA__CHAT__V1__MESSAGE___CLIENT_ID__NOT_SET;
    event.seq = message->seq;
    event.kind = STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE;
    event.created_at = message->created_at;
    event.actor = message->author;
    event.message = &shown;
    return part_event(room, &event);
}

struct rpc_packed *part_event_again(struct str bytes, const Stoa__Chat__V1__Message *message)
{
    response *old =
        stoa__chat__v1__connect_response__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);
    Stoa__Chat__V1__Event event;
    struct rpc_packed *packed;

    if (!old)
        return NULL;
    event = *old->event->event;
    event.message = (Stoa__Chat__V1__Message *)message;
    if (event.kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE)
        event.actor = message->author; /* none any more when the account has been deleted */
    packed = part_event(old->event->room, &event);
    stoa__chat__v1__connect_response__free_unpacked(old, NULL);
    return packed;
}

int64_t part_time_us(const Google__Protobuf__Timestamp *time)
{
    return time ? time->seconds * USEC_PER_SEC + time->nanos / NSEC_PER_USEC : 0;
}

/* NULL: nothing that another instance could have sent. */
static response *heard(struct str bytes)
{
    return bytes.n <= PART_BYTES_MAX
               ? stoa__chat__v1__connect_response__unpack(NULL, bytes.n, (const uint8_t *)bytes.p)
               : NULL;
}

/* Of a year that can be shown, or none. */
static bool is_time(const Google__Protobuf__Timestamp *time)
{
    return !time || (time->seconds >= 0 && time->seconds <= LAST_TIME_S && time->nanos >= 0 &&
                     time->nanos < NSEC_PER_SEC);
}

static bool is_new_message(const Stoa__Chat__V1__Event *event, int64_t room, int64_t seq)
{
    const Stoa__Chat__V1__Message *message = event->message;

    return event->seq == seq && event->kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE &&
           is_time(event->created_at) && message && message->room == room && message->seq == seq &&
           is_time(message->created_at) && is_time(message->edited_at) &&
           is_time(message->deleted_at);
}

bool part_is_message(struct str bytes, int64_t room, int64_t seq, int64_t *ret_created_us)
{
    response *r = heard(bytes);
    const Stoa__Chat__V1__Event *event;
    bool is;

    if (!r)
        return false;
    event = r->what_case == STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_EVENT ? r->event->event : NULL;
    is = event && r->event->room == room && r->seq == seq && is_new_message(event, room, seq);
    *ret_created_us = is ? part_time_us(event->created_at) : 0;
    stoa__chat__v1__connect_response__free_unpacked(r, NULL);
    return is;
}

bool part_is_read(struct str bytes, int64_t room)
{
    response *r = heard(bytes);
    bool is =
        r && r->what_case == STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_READ && r->read->room == room;

    stoa__chat__v1__connect_response__free_unpacked(r, NULL);
    return is;
}
