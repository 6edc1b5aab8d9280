/* Rows of the statements as messages. On the database's engine thread, within a completion. */
#include "chat.h"

#include <errno.h>

/* Postgres' text is NUL-terminated in the result. */
static char *text(const struct db_result *result, int row, int column)
{
    return (char *)db_get_text(result, row, column).p;
}

Stoa__Chat__V1__Author *author_from_row(const struct db_result *result, int row, int username,
                                        int image, Stoa__Chat__V1__Author *ret)
{
    if (db_is_null(result, row, username))
        return NULL;
    stoa__chat__v1__author__init(ret);
    ret->username = text(result, row, username);
    if (!db_is_null(result, row, image)) {
        ret->_image_case = STOA__CHAT__V1__AUTHOR___IMAGE_IMAGE;
        ret->image = text(result, row, image);
    }
    return ret;
}

static Google__Protobuf__Timestamp *time_from_row(const struct db_result *result, int row,
                                                  int column, Google__Protobuf__Timestamp *ret)
{
    if (db_is_null(result, row, column))
        return NULL;
    service_set_time(ret, db_get_timestamp(result, row, column));
    return ret;
}

/* The stricter one; 0: no limit. */
static int32_t stricter(int32_t own, int64_t of_all)
{
    return of_all > 0 && (own == 0 || of_all < own) ? (int32_t)of_all : own;
}

void room_from_row(const struct retention_settings *limits, const struct db_result *result, int row,
                   struct room_row *ret)
{
    Stoa__Chat__V1__Room *room = &ret->room;

    stoa__chat__v1__room__init(room);
    room->id = db_get_int8(result, row, ROOM_ID);
    room->name = text(result, row, ROOM_NAME);
    room->description = text(result, row, ROOM_DESCRIPTION);
    room->last_seq = db_get_int8(result, row, ROOM_LAST_SEQ);
    room->created_at = time_from_row(result, row, ROOM_CREATED_AT, &ret->created_at);
    room->kind = (Stoa__Chat__V1__RoomKind)db_get_int4(result, row, ROOM_KIND);
    room->member_count = db_get_int4(result, row, ROOM_MEMBER_COUNT);
    room->active_at = time_from_row(result, row, ROOM_ACTIVE_AT, &ret->active_at);
    room->role = (Stoa__Chat__V1__Role)db_get_int4(result, row, ROOM_ROLE);
    room->read_seq = db_get_int8(result, row, ROOM_READ_SEQ);
    room->unread_count = db_get_int8(result, row, ROOM_UNREAD);
    room->peer = author_from_row(result, row, ROOM_PEER_USERNAME, ROOM_PEER_IMAGE, &ret->peer);
    room->first_seq = db_get_int8(result, row, ROOM_FIRST_SEQ);
    stoa__chat__v1__retention__init(&ret->retention);
    ret->retention.days = stricter(db_get_int4(result, row, ROOM_RETAIN_DAYS), limits->days);
    ret->retention.messages =
        stricter(db_get_int4(result, row, ROOM_RETAIN_MESSAGES), limits->messages);
    room->retention = &ret->retention;
}

void member_from_row(const struct db_result *result, int row, struct member_row *ret)
{
    stoa__chat__v1__member__init(&ret->member);
    ret->member.role = (Stoa__Chat__V1__Role)db_get_int4(result, row, MEMBER_ROLE);
    ret->member.joined_at = time_from_row(result, row, MEMBER_JOINED_AT, &ret->joined_at);
    ret->member.account =
        author_from_row(result, row, MEMBER_USERNAME, MEMBER_IMAGE, &ret->account);
}

/* "12+:)" */
static int read_reaction(struct str s, struct arena *arena, Stoa__Chat__V1__Reaction *ret)
{
    size_t digits = 0;
    int64_t count;

    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    if (digits == s.n || str_to_int64((struct str){s.p, digits}, &count) < 0 || count > INT32_MAX)
        return -EBADMSG;
    stoa__chat__v1__reaction__init(ret);
    ret->count = (int32_t)count;
    ret->mine = s.p[digits] == '+';
    ret->emoji = (char *)arena_copy(arena, str_skip(s, digits + 1)).p;
    return ret->emoji ? 0 : -ENOMEM;
}

static int set_reactions(const struct db_result *result, int row, struct arena *arena,
                         Stoa__Chat__V1__Message *message)
{
    struct str *texts;
    int n = db_get_text_array(result, row, MESSAGE_REACTIONS, arena, &texts), r = 0;
    Stoa__Chat__V1__Reaction *reactions;

    if (n <= 0)
        return n;
    reactions = arena_calloc(arena, (size_t)n, sizeof(*reactions));
    message->reactions = arena_calloc(arena, (size_t)n, sizeof(*message->reactions));
    if (!reactions || !message->reactions)
        return -ENOMEM;
    for (int i = 0; r == 0 && i < n; i++) {
        r = read_reaction(texts[i], arena, &reactions[i]);
        message->reactions[i] = &reactions[i];
    }
    message->n_reactions = (size_t)n;
    return r;
}

int message_from_row(const struct db_result *result, int row, int64_t room, struct arena *arena,
                     struct message_row *ret)
{
    Stoa__Chat__V1__Message *message = &ret->message;

    stoa__chat__v1__message__init(message);
    message->room = room;
    message->seq = db_get_int8(result, row, MESSAGE_SEQ);
    message->text = text(result, row, MESSAGE_TEXT);
    if (!db_is_null(result, row, MESSAGE_CLIENT_ID)) {
        message->_client_id_case = STOA__CHAT__V1__MESSAGE___CLIENT_ID_CLIENT_ID;
        message->client_id = text(result, row, MESSAGE_CLIENT_ID);
    }
    if (!db_is_null(result, row, MESSAGE_REPLY_TO)) {
        message->_reply_to_case = STOA__CHAT__V1__MESSAGE___REPLY_TO_REPLY_TO;
        message->reply_to = db_get_int8(result, row, MESSAGE_REPLY_TO);
    }
    message->author =
        author_from_row(result, row, MESSAGE_AUTHOR_USERNAME, MESSAGE_AUTHOR_IMAGE, &ret->author);
    message->created_at = time_from_row(result, row, MESSAGE_CREATED_AT, &ret->created_at);
    message->edited_at = time_from_row(result, row, MESSAGE_EDITED_AT, &ret->edited_at);
    message->deleted_at = time_from_row(result, row, MESSAGE_DELETED_AT, &ret->deleted_at);
    return set_reactions(result, row, arena, message);
}

static void set_message_seq(const struct db_result *result, int row, struct event_row *ret)
{
    ret->event._message_seq_case = STOA__CHAT__V1__EVENT___MESSAGE_SEQ_MESSAGE_SEQ;
    ret->event.message_seq = db_get_int8(result, row, EVENT_MESSAGE_SEQ);
}

static void set_reaction(const struct db_result *result, int row, struct event_row *ret)
{
    Stoa__Chat__V1__Reaction *reaction = &ret->reaction;

    stoa__chat__v1__reaction__init(reaction);
    reaction->emoji = text(result, row, EVENT_EMOJI);
    reaction->count = db_get_int4(result, row, EVENT_REACTION_COUNT);
    reaction->mine = db_get_bool(result, row, EVENT_REACTION_MINE);
    ret->event.reaction = reaction;
    set_message_seq(result, row, ret);
}

static void set_member(const struct db_result *result, int row, struct event_row *ret)
{
    stoa__chat__v1__event_member__init(&ret->member);
    ret->member.account =
        author_from_row(result, row, EVENT_SUBJECT_USERNAME, EVENT_SUBJECT_IMAGE, &ret->subject);
    if (!db_is_null(result, row, EVENT_ROLE))
        ret->member.role = (Stoa__Chat__V1__Role)db_get_int4(result, row, EVENT_ROLE);
    ret->event.member = &ret->member;
}

int event_from_row(const struct db_result *result, int row, int64_t room, struct arena *arena,
                   struct event_row *ret)
{
    Stoa__Chat__V1__Event *event = &ret->event;
    int r = 0;

    stoa__chat__v1__event__init(event);
    event->seq = db_get_int8(result, row, EVENT_SEQ);
    event->kind = (Stoa__Chat__V1__EventKind)db_get_int4(result, row, EVENT_KIND);
    event->created_at = time_from_row(result, row, EVENT_CREATED_AT, &ret->created_at);
    event->actor =
        author_from_row(result, row, EVENT_ACTOR_USERNAME, EVENT_ACTOR_IMAGE, &ret->actor);
    switch (event->kind) {
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE:
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE_EDITED:
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE_DELETED:
        if (db_is_null(result, row, MESSAGE_SEQ)) { /* kept no longer */
            set_message_seq(result, row, ret);
            break;
        }
        r = message_from_row(result, row, room, arena, &ret->message);
        event->message = &ret->message.message;
        break;
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_REACTION_ADDED:
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_REACTION_REMOVED:
        set_reaction(result, row, ret);
        break;
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_JOINED:
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_LEFT:
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_REMOVED:
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_ROLE_CHANGED:
        set_member(result, row, ret);
        break;
    default: /* nothing to say but that it happened */
        break;
    }
    return r;
}
