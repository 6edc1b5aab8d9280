/* chat rooms, join, history, send. */
#include "chat.h"

#include "post.h"
#include "text_source.h"

#include <sys/random.h>
#include <unistd.h>

#define ROOMS_PAGE 100
#define CONNECT_PAUSE_MAX_MS 5000

/* ---- connections ---- */

int64_t connect_pause(int64_t *pause_ms)
{
    int64_t most = *pause_ms, half = most / 2;
    uint32_t chance = 0;

    *pause_ms = most * 2 < CONNECT_PAUSE_MAX_MS ? most * 2 : CONNECT_PAUSE_MAX_MS;
    if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) != sizeof(chance))
        return most;
    return most - half + (int64_t)chance % (half + 1);
}

/* ---- which room ---- */

struct str room_title(struct client *c, const Stoa__Chat__V1__Room *room)
{
    if (room->kind == STOA__CHAT__V1__ROOM_KIND__ROOM_KIND_DIRECT)
        return TEXT(c, "@%s", room->peer ? room->peer->username : "(deleted)");
    return str_of(room->name);
}

static int direct_room(struct client *c, char *username, int64_t *ret)
{
    Stoa__Chat__V1__OpenDirectRoomRequest request = STOA__CHAT__V1__OPEN_DIRECT_ROOM_REQUEST__INIT;
    const struct call call = {
        .service = ROOMS, .method = "OpenDirectRoom", .request = &request.base};
    const Stoa__Chat__V1__OpenDirectRoomResponse *response;
    struct rpc_answer answer;
    int status;

    request.username = username;
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    response = (const Stoa__Chat__V1__OpenDirectRoomResponse *)answer.response;
    *ret = response->room ? response->room->id : 0;
    return 0;
}

static int my_rooms(struct client *c, char *page, struct rpc_answer *ret)
{
    Stoa__Chat__V1__ListMyRoomsRequest request = STOA__CHAT__V1__LIST_MY_ROOMS_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "ListMyRooms", .request = &request.base};

    request.page_size = ROOMS_PAGE;
    request.page_token = page;
    return make_call(c, &call, ret);
}

/* Names need not be unique: then the number says which. */
static int named_room(struct client *c, const char *name, int64_t *ret)
{
    const Stoa__Chat__V1__ListMyRoomsResponse *response;
    struct rpc_answer answer;
    char none[] = "", *page = none;
    int64_t found = 0;

    do {
        int status = my_rooms(c, page, &answer);

        if (status)
            return status;
        response = (const Stoa__Chat__V1__ListMyRoomsResponse *)answer.response;
        for (size_t i = 0; i < response->n_rooms; i++) {
            if (strcmp(response->rooms[i]->name, name) != 0)
                continue;
            if (found)
                return fail(c, CONFLICT, "rooms %lld and %lld are both named %s: give the number",
                            (long long)found, (long long)response->rooms[i]->id, name);
            found = response->rooms[i]->id;
        }
        page = response->next_page_token;
    } while (*page);
    *ret = found;
    return found ? 0
                 : fail(c, MISSING,
                        "you are in no room named %s: `stoa chat rooms' lists yours, `stoa chat "
                        "rooms --all' the public ones",
                        name);
}

int room_find(struct client *c, char *text, int64_t *ret)
{
    if (str_to_int64(str_of(text), ret) == 0 && *ret > 0)
        return 0;
    return text[0] == '@' && text[1] ? direct_room(c, text + 1, ret) : named_room(c, text, ret);
}

int room_get(struct client *c, int64_t room, const Stoa__Chat__V1__Room **ret)
{
    Stoa__Chat__V1__GetRoomRequest request = STOA__CHAT__V1__GET_ROOM_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "GetRoom", .request = &request.base};
    struct rpc_answer answer;
    int status;

    request.room = room;
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    *ret = ((const Stoa__Chat__V1__GetRoomResponse *)answer.response)->room;
    return *ret ? 0 : fail(c, FAILED, "the answer has no room in it");
}

/* ---- rooms ---- */

static int list_public(struct client *c, char *page, struct rpc_answer *ret)
{
    Stoa__Chat__V1__ListRoomsRequest request = STOA__CHAT__V1__LIST_ROOMS_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "ListRooms", .request = &request.base};

    request.page_size = ROOMS_PAGE;
    request.page_token = page;
    return make_call(c, &call, ret);
}

int chat_rooms(struct client *c)
{
    static const struct column columns[] = {
        {"ROOM", true, false},   {"NAME", false, true}, {"MEMBERS", true, false},
        {"UNREAD", true, false}, {"LAST", true, false}, {"DESCRIPTION", false, true},
    };
    char *page = (char *)(has_option(c, 'p') ? option_of(c, 'p') : "");
    bool all = has_option(c, 'a');
    Stoa__Chat__V1__Room *const *rooms;
    struct rpc_answer answer;
    const char *next;
    struct table table;
    size_t n;
    int status = all ? list_public(c, page, &answer) : my_rooms(c, page, &answer);

    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    if (all) {
        const Stoa__Chat__V1__ListRoomsResponse *r =
            (const Stoa__Chat__V1__ListRoomsResponse *)answer.response;

        rooms = r->rooms, n = r->n_rooms, next = r->next_page_token;
    } else {
        const Stoa__Chat__V1__ListMyRoomsResponse *r =
            (const Stoa__Chat__V1__ListMyRoomsResponse *)answer.response;

        rooms = r->rooms, n = r->n_rooms, next = r->next_page_token;
    }
    table_begin(&table, c, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < n; i++) {
        table_addf(&table, "%lld", (long long)rooms[i]->id);
        table_add(&table, room_title(c, rooms[i]));
        table_addf(&table, "%lld", (long long)rooms[i]->member_count);
        table_addf(&table, "%lld", (long long)rooms[i]->unread_count);
        table_addf(&table, "%lld", (long long)rooms[i]->last_seq);
        table_add(&table, str_of(rooms[i]->description));
    }
    table_end(&table);
    if (*next && c->set.output == OUTPUT_TABLE)
        say(c, "More: stoa chat rooms%s --page %s", all ? " --all" : "", next);
    return DONE;
}

int chat_join(struct client *c)
{
    Stoa__Chat__V1__JoinRoomRequest request = STOA__CHAT__V1__JOIN_ROOM_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "JoinRoom", .request = &request.base};
    const Stoa__Chat__V1__JoinRoomResponse *response;
    struct rpc_answer answer;
    int status;

    if (!number_argument(c, c->argv[0], "room", 1, &request.room))
        return USAGE;
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    response = (const Stoa__Chat__V1__JoinRoomResponse *)answer.response;
    say(c, "You are in %s.", response->room ? room_title(c, response->room).p : c->argv[0]);
    return DONE;
}

/* ---- messages ---- */

int say_message(struct client *c, const Stoa__Chat__V1__Message *m)
{
    const char *author = m->author ? m->author->username : "(deleted)";
    struct buf *out = &c->out;

    if (c->set.output == OUTPUT_JSON)
        return say_json(c, &m->base);
    if (c->set.output == OUTPUT_PLAIN) {
        buf_printf(out, "%lld\t%s\t", (long long)m->seq, time_text(c, m->created_at).p);
        say_line_of(c, str_of(author));
        buf_append_char(out, '\t');
        say_line_of(c, m->deleted_at ? STR("") : str_of(m->text));
        buf_append_char(out, '\n');
        return DONE;
    }
    buf_append_str(out, str_of(style(c, DIM)));
    buf_printf(out, "%s ", time_text(c, m->created_at).p);
    buf_append_str(out, str_of(style(c, PLAIN)));
    buf_append_str(out, str_of(style(c, BOLD)));
    say_line_of(c, str_of(author));
    buf_append_str(out, str_of(style(c, PLAIN)));
    buf_append_str(out, STR("  "));
    say_text_of(c, m->deleted_at ? STR("(deleted)") : str_of(m->text));
    buf_append_str(out, m->edited_at && !m->deleted_at ? STR(" (changed)\n") : STR("\n"));
    return DONE;
}

/* The caller has read up to there. 0 or an exit status, told. */
static MUST_CHECK int mark_read(struct client *c, int64_t room, int64_t seq)
{
    Stoa__Chat__V1__MarkReadRequest request = STOA__CHAT__V1__MARK_READ_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "MarkRead", .request = &request.base};
    struct rpc_answer answer;

    request.room = room;
    request.seq = seq;
    return make_call(c, &call, &answer);
}

int chat_history(struct client *c)
{
    Stoa__Chat__V1__ListMessagesRequest request = STOA__CHAT__V1__LIST_MESSAGES_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "ListMessages", .request = &request.base};
    const Stoa__Chat__V1__ListMessagesResponse *response;
    struct rpc_answer answer;
    int64_t limit;
    int status;

    if (!number_option(c, 'n', 1, 100, 50, &limit) ||
        !number_option(c, 'b', 1, INT64_MAX, 0, &request.before_seq) ||
        !number_option(c, 'a', 0, INT64_MAX, 0, &request.after_seq))
        return USAGE;
    if (has_option(c, 'a') && has_option(c, 'b'))
        return fail(c, USAGE, "--after and --before exclude each other");
    if (has_option(c, 'b'))
        request._before_seq_case = STOA__CHAT__V1__LIST_MESSAGES_REQUEST___BEFORE_SEQ_BEFORE_SEQ;
    if (has_option(c, 'a'))
        request._after_seq_case = STOA__CHAT__V1__LIST_MESSAGES_REQUEST___AFTER_SEQ_AFTER_SEQ;
    request.page_size = (int32_t)limit;
    status = room_find(c, c->argv[0], &request.room);
    if (!status)
        status = make_call(c, &call, &answer);
    if (status)
        return status;
    response = (const Stoa__Chat__V1__ListMessagesResponse *)answer.response;
    if (has_option(c, 'r') && response->n_messages)
        status = mark_read(c, request.room, response->messages[response->n_messages - 1]->seq);
    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    for (size_t i = 0; i < response->n_messages; i++)
        say_message(c, response->messages[i]);
    return DONE;
}

/* Sends a text; with the same client_id again after a lost answer. The code. */
static enum rpc_code send_text(struct client *c, int64_t room, struct str text,
                               struct str client_id, struct rpc_answer *ret)
{
    Stoa__Chat__V1__SendMessageRequest request = STOA__CHAT__V1__SEND_MESSAGE_REQUEST__INIT;
    Stoa__Chat__V1__SendMessageRequest__NewMessage message =
        STOA__CHAT__V1__SEND_MESSAGE_REQUEST__NEW_MESSAGE__INIT;
    struct call call = {.service = ROOMS, .method = "SendMessage", .request = &request.base};

    request.room = room;
    request.message = &message;
    message.text = (char *)must_str(arena_copy(&c->arena, text)).p;
    message.client_id = (char *)client_id.p;
    call.repeatable = true; /* client_id: the room has it once */
    return try_call(c, &call, ret);
}

int chat_send(struct client *c)
{
    const Stoa__Chat__V1__SendMessageResponse *response;
    struct rpc_answer answer;
    struct text_source source;
    struct str text;
    int64_t room = 0;
    int status = room_find(c, c->argv[0], &room);

    if (!status)
        status = text_source_words(&source, c, &text);
    if (status)
        return status;
    if (send_text(c, room, text, new_key(c), &answer) != RPC_OK) {
        struct str line;

        status = describe(c, SERVICE_CHAT, &answer, &line);
        return text_source_fail(&source, c, status, line, source.text,
                                TEXT(c, "stoa chat send %lld", (long long)room).p);
    }
    text_source_done(&source);
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    response = (const Stoa__Chat__V1__SendMessageResponse *)answer.response;
    if (c->set.output == OUTPUT_PLAIN)
        say(c, "%lld", response->message ? (long long)response->message->seq : 0);
    return DONE; /* on a terminal it has been typed: there is nothing to add */
}
