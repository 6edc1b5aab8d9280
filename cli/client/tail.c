/* chat tail: what happens in a room, from a message on and then live; after a cut it goes on where
 * it was. */
#include "chat.h"

#include "stoa/chat/v1/live.pb-c.h"

#include <errno.h>
#include <time.h>

#define LIVE &stoa__chat__v1__live_service__descriptor

#define PAGE 100

/* What becomes of a tail that does not end with an exit status. */
enum {
    ON = -1,   /* the stream, or the next one */
    LOST = -2, /* the next one, after a while */
};

struct tail {
    struct client *c;
    int64_t room, after;  /* the last number that has been seen */
    struct arena scratch; /* of the event that is printed */
    int64_t pause_ms;
    char problem[512]; /* what was to be told last */
    bool said_lost;
};

/* ---- printing ---- */

static const char *name_of(const Stoa__Chat__V1__Author *author)
{
    return author ? author->username : "(deleted)";
}

struct str event_text(struct client *c, const Stoa__Chat__V1__Event *e)
{
    const char *actor = name_of(e->actor);
    const char *member = e->member ? name_of(e->member->account) : "";

    switch (e->kind) {
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE_EDITED:
        if (!e->message) /* it is kept no longer */
            return TEXT(c, "%s changed message %lld", actor, (long long)e->message_seq);
        return TEXT(c, "%s changed message %lld: %s", actor, (long long)e->message->seq,
                    e->message->text);
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE_DELETED:
        return TEXT(c, "%s deleted message %lld", actor,
                    (long long)(e->message ? e->message->seq : e->message_seq));
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_REACTION_ADDED:
        return TEXT(c, "%s reacts to message %lld: %s", actor, (long long)e->message_seq,
                    e->reaction ? e->reaction->emoji : "");
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_REACTION_REMOVED:
        return TEXT(c, "%s takes back from message %lld: %s", actor, (long long)e->message_seq,
                    e->reaction ? e->reaction->emoji : "");
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_JOINED:
        return TEXT(c, "%s has joined", member);
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_LEFT:
        return TEXT(c, "%s has left", member);
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_REMOVED:
        return TEXT(c, "%s has removed %s", actor, member);
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MEMBER_ROLE_CHANGED:
        return TEXT(c, "%s has given %s another role", actor, member);
    case STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_ROOM_UPDATED:
        return TEXT(c, "%s has changed the room's name or description", actor);
    default:
        return STR("");
    }
}

static void say_event(struct client *c, const Stoa__Chat__V1__Event *e)
{
    struct str text;

    if (c->set.output == OUTPUT_JSON) {
        say_json(c, &e->base);
    } else if (e->kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE) {
        if (e->message)
            say_message(c, e->message);
    } else if (c->set.output == OUTPUT_TABLE && (text = event_text(c, e)).n) {
        buf_printf(&c->out, "%s%s * ", style(c, DIM), time_text(c, e->created_at).p);
        say_text_of(c, text);
        buf_printf(&c->out, "%s\n", style(c, PLAIN));
    }
}

/* What printing needs of memory is given back: a tail runs for days. */
static int print_event(struct tail *t, const Stoa__Chat__V1__Event *e)
{
    struct client *c = t->c;
    struct arena own = c->arena;

    c->arena = t->scratch;
    say_event(c, e);
    t->scratch = c->arena;
    c->arena = own;
    arena_reset(&t->scratch);
    return flush(c);
}

/* ---- what was before ---- */

static int list(struct tail *t, int64_t page_size, bool after,
                const Stoa__Chat__V1__ListMessagesResponse **ret)
{
    Stoa__Chat__V1__ListMessagesRequest request = STOA__CHAT__V1__LIST_MESSAGES_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "ListMessages", .request = &request.base};
    struct rpc_answer answer;
    int status;

    request.room = t->room;
    request.page_size = (int32_t)page_size;
    if (after) {
        request._after_seq_case = STOA__CHAT__V1__LIST_MESSAGES_REQUEST___AFTER_SEQ_AFTER_SEQ;
        request.after_seq = t->after;
    }
    status = make_call(t->c, &call, &answer);
    *ret = (const Stoa__Chat__V1__ListMessagesResponse *)answer.response;
    return status;
}

static int print_messages(struct tail *t, const Stoa__Chat__V1__ListMessagesResponse *page,
                          size_t from)
{
    for (size_t i = from; i < page->n_messages; i++) {
        Stoa__Chat__V1__Event event = STOA__CHAT__V1__EVENT__INIT;
        int status;

        event.seq = page->messages[i]->seq;
        event.kind = STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE;
        event.created_at = page->messages[i]->created_at;
        event.actor = page->messages[i]->author;
        event.message = page->messages[i];
        status = print_event(t, &event);
        if (status)
            return status;
    }
    return 0;
}

static int begin(struct tail *t)
{
    const Stoa__Chat__V1__ListMessagesResponse *page;
    int64_t count;
    int status;

    if (!number_option(t->c, 'n', 0, PAGE, 10, &count) ||
        !number_option(t->c, 'a', 0, INT64_MAX, 0, &t->after))
        return USAGE;
    status = room_find(t->c, t->c->argv[0], &t->room);
    if (status || has_option(t->c, 'a'))
        return status;
    status = list(t, count ? count : 1, false, &page);
    if (status)
        return status;
    t->after = page->last_seq;
    return print_messages(t, page, count ? 0 : page->n_messages);
}

/* Too far behind to be given all: the messages up to there. */
static int catch_up(struct tail *t, int64_t last_seq)
{
    const Stoa__Chat__V1__ListMessagesResponse *page;

    for (;;) {
        int status = list(t, PAGE, true, &page);

        if (!status)
            status = print_messages(t, page, 0);
        if (status)
            return status;
        if (!page->n_messages || page->messages[page->n_messages - 1]->seq >= last_seq)
            break;
        t->after = page->messages[page->n_messages - 1]->seq;
    }
    if (t->after < last_seq)
        t->after = last_seq;
    return 0;
}

/* ---- live ---- */

static int say_gone(struct client *c, const Stoa__Chat__V1__Gone *gone)
{
    switch (gone->reason) {
    case STOA__CHAT__V1__GONE_REASON__GONE_REASON_REMOVED:
        return fail(c, FORBIDDEN, "you have been removed from the room");
    case STOA__CHAT__V1__GONE_REASON__GONE_REASON_DELETED:
        return fail(c, MISSING, "the room has been deleted");
    default:
        return fail(c, FORBIDDEN, "you are no member of the room any more");
    }
}

/* ON, or an exit status. */
static int take(struct tail *t, const Stoa__Chat__V1__SubscribeResponse *response, bool *ret_again)
{
    int status = 0;

    switch (response->what_case) {
    case STOA__CHAT__V1__SUBSCRIBE_RESPONSE__WHAT_EVENT:
        if (response->event->event)
            status = print_event(t, response->event->event);
        break;
    case STOA__CHAT__V1__SUBSCRIBE_RESPONSE__WHAT_RESET:
        *ret_again = true;
        return catch_up(t, response->reset->last_seq);
    case STOA__CHAT__V1__SUBSCRIBE_RESPONSE__WHAT_GONE:
        return say_gone(t->c, response->gone);
    default:
        break;
    }
    if (response->_seq_case == STOA__CHAT__V1__SUBSCRIBE_RESPONSE___SEQ_SEQ)
        t->after = response->seq;
    t->pause_ms = CONNECT_PAUSE_MS;
    t->said_lost = false;
    return status ? status : ON;
}

/* What asking needs of memory is given back, as of printing. */
static bool still_there(struct tail *t)
{
    struct client *c = t->c;
    struct arena own = c->arena;
    struct rpc_answer answer;
    bool lost;

    (void)channel(c, SERVICE_CHAT); /* stays */
    c->arena = t->scratch;
    ask_health(c, SERVICE_CHAT, &answer);
    lost = is_lost(answer.code);
    t->scratch = c->arena;
    c->arena = own;
    arena_reset(&t->scratch);
    return !lost;
}

/* How the stream has ended. */
static int take_end(struct tail *t, struct str token, const struct rpc_answer *end)
{
    struct str next;
    int status;

    if (end->code == RPC_UNAUTHENTICATED) {
        status = access_token(t->c, token, &next);
        if (status)
            return status == SIGN_IN ? status : LOST;
        return str_eq(next, token) ? told(t->c, SERVICE_CHAT, end) : ON;
    }
    status = told(t->c, SERVICE_CHAT, end);
    return end->code == RPC_OK || is_lost(end->code) ? LOST : status;
}

static int follow(struct tail *t, struct rpc_client_stream *stream, struct str token)
{
    bool again = false;

    for (;;) {
        struct rpc_answer answer;
        struct arena arena;
        int status = ON, err;

        arena_init(&arena, 0);
        err = rpc_client_receive(stream, silence_ms(t->c), &arena, &answer);
        if (err == -ENOMEM)
            must_have(NULL);
        if (!err)
            status = take(t, (const Stoa__Chat__V1__SubscribeResponse *)answer.response, &again);
        else if (err == -EPIPE)
            status = take_end(t, token, &answer);
        else if (!still_there(t))
            status = fail(t->c, UNREACHABLE, "no answer from chat at %.*s",
                          STR_FMT(t->c->set.address[SERVICE_CHAT]));
        arena_free(&arena);
        if (status == UNREACHABLE || status == TOO_MUCH)
            return LOST;
        if (err == -EPIPE || again || status != ON)
            return again && !status ? ON : status;
    }
}

/* One stream, from its beginning to its end. */
static int stream_once(struct tail *t)
{
    Stoa__Chat__V1__SubscribeRequest request = STOA__CHAT__V1__SUBSCRIBE_REQUEST__INIT;
    struct rpc_client_stream *stream;
    struct rpc_pair metadata;
    const struct rpc_request call = {.service = LIVE,
                                     .method = "Subscribe",
                                     .message = &request.base,
                                     .metadata = &metadata,
                                     .n_metadata = 1};
    struct str token;
    int status = access_token(t->c, STR_NULL, &token);

    if (status)
        return status == SIGN_IN ? status : LOST;
    if (!token.p)
        return fail(t->c, SIGN_IN, "nobody is signed in: `stoa login EMAIL'");
    metadata = (struct rpc_pair){STR("authorization"), TEXT(t->c, "Bearer %.*s", STR_FMT(token))};
    request.room = t->room;
    request._after_seq_case = STOA__CHAT__V1__SUBSCRIBE_REQUEST___AFTER_SEQ_AFTER_SEQ;
    request.after_seq = t->after;
    if (rpc_client_open(channel(t->c, SERVICE_CHAT), &call, &stream))
        must_have(NULL);
    status = follow(t, stream, token);
    rpc_client_close(stream);
    return status;
}

static void wait_a_little(struct tail *t)
{
    int64_t ms = connect_pause(&t->pause_ms);

    if (!t->said_lost && t->c->on_terminal)
        fprintf(stderr, "stoa: %s; trying again\n", t->problem);
    t->said_lost = true;
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    channel_renew(t->c, SERVICE_CHAT);
}

/* Whether it is the end shows itself later. */
static void hold_back(void *data, struct str line)
{
    struct tail *t = data;

    snprintf(t->problem, sizeof(t->problem), "%.*s", STR_FMT(line));
}

int chat_tail(struct client *c)
{
    struct tail t = {.c = c, .pause_ms = CONNECT_PAUSE_MS};
    int status;

    arena_init(&t.scratch, 0);
    status = begin(&t);
    if (!status) {
        c->notice = hold_back;
        c->notice_data = &t;
        do {
            status = stream_once(&t);
            if (status == LOST)
                wait_a_little(&t);
        } while (status < 0);
        c->notice = NULL;
        status = fail(c, status, "%s", t.problem);
    }
    arena_free(&t.scratch);
    return status;
}
