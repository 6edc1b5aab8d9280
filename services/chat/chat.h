/* What the files of chat share: their handlers, a call on its way, answers, and rows as messages.
 */
#ifndef STOA_CHAT_CHAT_H
#define STOA_CHAT_CHAT_H

#include "service/service.h"
#include "statements.h"

#include "stoa/chat/v1/chat.pb-c.h"
#include "stoa/chat/v1/live.pb-c.h"

struct edge;
struct sends;

/* What main.c keeps: the hub of live rooms (live.h), and the messages on their way (messages.c). */
struct hub *chat_hub(struct service *service);
struct sends *chat_sends(struct service *service);

/* Who is online (presence.h). */
struct presence *chat_presence(struct service *service); /* main.c */

/* How much may be done in a time (limits.h). */
struct limits *chat_limits(struct service *service); /* main.c */

/* How long every room keeps what happens there. */
struct retention_settings {
    int64_t days, messages; /* 0: no limit */
    int64_t interval_s;     /* until a room is looked at again */
};
const struct retention_settings *chat_retention(struct service *service); /* main.c */

/* ---- handlers ---- */

/* rooms.c */
extern const struct rpc_handler create_room_handler, open_direct_room_handler, get_room_handler,
    update_room_handler, delete_room_handler, join_room_handler;
/* room_lists.c */
extern const struct rpc_handler list_rooms_handler, list_my_rooms_handler;
/* members.c */
extern const struct rpc_handler leave_room_handler, list_members_handler, invite_member_handler,
    remove_member_handler, set_member_role_handler;
/* messages.c */
extern const struct rpc_handler send_message_handler, edit_message_handler, delete_message_handler;
/* reactions.c */
extern const struct rpc_handler add_reaction_handler, remove_reaction_handler;
/* history.c */
extern const struct rpc_handler list_messages_handler, list_events_handler, mark_read_handler;
/* online.c */
extern const struct rpc_handler get_presence_handler;
/* export.c */
extern const struct rpc_handler export_room_handler;
/* search.c */
extern const struct rpc_handler search_messages_handler;
/* live_stream.c */
extern const struct rpc_handler connect_handler, subscribe_handler;

/* ---- a call on its way ---- */

/* What is limited in a time. */
enum chat_limit {
    LIMIT_SEND,   /* messages */
    LIMIT_CHANGE, /* whatever else takes a number of a room */
    LIMIT_OPEN,   /* rooms */
    LIMIT_TYPING,
    LIMIT_FOLLOW, /* what else a live connection may ask for: rooms, read marks, its token's renewal
                   */
    LIMIT_EXPORT,
    CHAT_LIMITS
};

/* In the call's arena; what a handler does not need is zero. */
struct request {
    struct service *service;
    struct rpc_call *call;
    int64_t room;
    int64_t message;     /* seq; of SendMessage: what it answers */
    struct str username; /* as it was asked for */
    struct str emoji;
    int page_size;
    void (*reply)(struct rpc_call *call, Stoa__Chat__V1__Room *room); /* rooms.c */
    /* CreateRoom with an Idempotency-Key: what a room of before has been opened by as well. */
    const Stoa__Chat__V1__CreateRoomRequest__NewRoom *asked;
    const ProtobufCMessageDescriptor *empty_answer; /* submit_change() */
    bool tells;                                     /* the hub itself */
    enum {
        ROOM_WITHOUT_LIMIT,
        ROOM_COUNTED,
        ROOM_NOT_COUNTED, /* the caller is not known to be in it: it counts when it turns out so */
    } room_limit;
    enum chat_limit limit; /* then: what is limited */
};

/* A request about a room, as the first member of a struct of `size` bytes, the rest of which is
 * zero. NULL: the call has been failed. */
void *request_new(struct service *service, struct rpc_call *call, int64_t room,
                  size_t size) MUST_CHECK;

/* A request about a room, and its query with the caller and the room bound. room 0: not about one;
 * then only the caller is bound. NULL: the call has been failed. */
struct request *request_begin(struct service *service, struct rpc_call *call,
                              enum chat_statement statement, int64_t room,
                              struct db_query **ret_query) MUST_CHECK;

/* Binds the key of a username, and remembers it as asked for. False: the call has been failed. */
bool request_bind_username(struct request *request, struct db_query *query,
                           const char *username) MUST_CHECK;

/* Ends the call, and returns true, when the caller has done that too often lately, or others in the
 * request's room. client_id: empty when there is none. (limits.c) */
bool limit_failed(struct request *request, enum chat_limit limit, const char *client_id) MUST_CHECK;
/* What came of it: whether the caller is in the room. What strangers ask for is not counted there.
 */
void limit_settle(const struct request *request, bool member);

/* What a create that is sent again is known by, and found by (resend.c). */
struct resend {
    const char *client_id; /* empty: it is not */
    bool by_key;           /* it is its Idempotency-Key, which counts as a client_id */
};

/* The client_id of the request, or else the key that came with it. False: the call has been
 * failed. */
bool read_resend(struct rpc_call *call, const char *client_id, struct resend *ret) MUST_CHECK;

/* A client_id; none when empty. */
static inline void bind_client_id(struct db_query *query, const char *client_id)
{
    db_bind_text(query, *client_id ? str_of(client_id) : STR_NULL);
}

/* ---- messages on their way (messages.c) ---- */

/* -ENOMEM. */
int sends_new(struct hub *hub, struct edge *edge, struct sends **ret) MUST_CHECK;
void sends_free(struct sends *sends); /* after db_close(); NULL is nothing */

/* ---- pages ---- */

/* The page size that a request's page_size asks for; it is not negative, by the contract's rules.
 */
static inline int chat_page_size(int32_t asked, int usual)
{
    if (asked == 0)
        return usual;
    return asked > CHAT_MAX_PAGE ? CHAT_MAX_PAGE : asked;
}

#define CHAT_USUAL_PAGE 50

/* The numbers of a page token, those of the first page when there is none. False: the call has been
 * failed. */
bool read_page_token(struct rpc_call *call, const char *token, int64_t *numbers,
                     size_t n) MUST_CHECK;

/* ---- answers (outcomes.c) ---- */

/* Ends the call, and returns true, unless the query succeeded and its change was made. Those who
 * follow the room are then told of it, unless request->tells. */
bool change_failed(const struct request *request, const struct db_result *result) MUST_CHECK;
/* The same of a row of a statement that makes several changes. -1: there is none. */
bool change_failed_at(const struct request *request, const struct db_result *result,
                      int row) MUST_CHECK;

/* Ends the call, and returns true, unless the query succeeded and the caller may read the room:
 * the first column of the first row. */
bool read_failed(const struct request *request, const struct db_result *result) MUST_CHECK;

/* Why somebody may not follow a room: they are no member of a public one, or it does not exist for
 * them. number: its id, which lives as long as the error. */
void room_error(bool public, struct str number, struct rpc_error *ret);

/* NOT_FOUND for the request's room. */
void fail_no_room(const struct request *request);

/* NOT_A_MEMBER of the request's room. */
void fail_not_member(const struct request *request);

/* Submits a change that is answered with an empty message of this type. */
void submit_change(struct request *request, struct db_query *query,
                   const ProtobufCMessageDescriptor *answer);

/* What is wrong with a text that others see beside theirs ends the call with a violation of the
 * field; true: it has. */
bool text_failed(struct rpc_call *call, const char *field, const char *text,
                 bool one_line) MUST_CHECK;

/* ---- rows as messages (rows.c); strings are the result's ---- */

/* Messages and what is in them, each in one piece. */
struct room_row {
    Stoa__Chat__V1__Room room;
    Google__Protobuf__Timestamp created_at, active_at;
    Stoa__Chat__V1__Author peer;
    Stoa__Chat__V1__Retention retention;
};

struct message_row {
    Stoa__Chat__V1__Message message;
    Stoa__Chat__V1__Author author;
    Google__Protobuf__Timestamp created_at, edited_at, deleted_at;
};

struct member_row {
    Stoa__Chat__V1__Member member;
    Stoa__Chat__V1__Author account;
    Google__Protobuf__Timestamp joined_at;
};

struct event_row {
    Stoa__Chat__V1__Event event;
    Google__Protobuf__Timestamp created_at;
    Stoa__Chat__V1__Author actor, subject;
    Stoa__Chat__V1__EventMember member;
    Stoa__Chat__V1__Reaction reaction;
    struct message_row message;
};

/* NULL when there is none, or it has been deleted. username, image: columns. */
Stoa__Chat__V1__Author *author_from_row(const struct db_result *result, int row, int username,
                                        int image, Stoa__Chat__V1__Author *ret);

/* limits: of every room. */
void room_from_row(const struct retention_settings *limits, const struct db_result *result, int row,
                   struct room_row *ret);
void member_from_row(const struct db_result *result, int row, struct member_row *ret);

/* 0, -ENOMEM, or -EBADMSG when reactions are not as reaction_list() makes them. */
int message_from_row(const struct db_result *result, int row, int64_t room, struct arena *arena,
                     struct message_row *ret) MUST_CHECK;
int event_from_row(const struct db_result *result, int row, int64_t room, struct arena *arena,
                   struct event_row *ret) MUST_CHECK;

#endif
