/* chat: a room on the whole screen.
 *
 *     title, who is there, state of the connection
 *     what has been said, the latest at the bottom
 *     who is typing, what went wrong
 *     > what is being typed
 *
 * One loop waits for the keyboard and for the connection (live.h). What is sent waits in the view
 * until it is acknowledged, and goes out again, with the same client_id, over the next connection.
 */
#include "chat.h"

#include "post.h"
#include "screen.h"
#include "text_source.h"

#include <curses.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <term.h>
#include <time.h>
#include <unistd.h>

#define PAGE 100
#define TYPING_EVERY_MS 3000
#define TYPING_LASTS_MS 6000
#define TICK_MS 1000
#define LEAVE_MS 2000 /* that the end waits for what has just been sent */
#define ESCAPE_MS 25  /* that curses waits for the rest of a key */

static int64_t in_ms(int64_t ms)
{
    return clock_monotonic_ns() + ms * NSEC_PER_MSEC;
}

/* ---- the terminal ---- */

/* What was to be said last, for when the screen is gone: also when the program ends in the middle.
 */
static char last_words[512];

static void leave_curses(void)
{
    if (!isendwin()) {
        endwin();
        keyboard_end();
    }
    if (*last_words)
        fprintf(stderr, "stoa: %s\n", last_words);
    *last_words = '\0';
}

static void notice(void *data, struct str line)
{
    struct screen *s = data;

    snprintf(s->problem, sizeof(s->problem), "%.*s", STR_FMT(line));
    snprintf(last_words, sizeof(last_words), "%.*s", STR_FMT(line));
}

static int enter_curses(struct screen *s)
{
    int err = 0;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return fail(s->c, LOCAL, "the screen needs a terminal: `stoa chat tail' and `send' do not");
    if (setupterm(NULL, STDOUT_FILENO, &err) != OK || !cursor_address || !clear_screen)
        return fail(s->c, LOCAL,
                    "the terminal '%s' can show no screen: set TERM to what it is, or use `stoa "
                    "chat tail'",
                    getenv("TERM") ? getenv("TERM") : "");
    (void)del_curterm(cur_term); /* initscr() makes its own */
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0 && !setlocale(LC_CTYPE, "C.UTF-8"))
        return fail(s->c, LOCAL, "the locale is not of UTF-8: set LC_ALL=C.UTF-8");
    set_escdelay(ESCAPE_MS);
    if (!initscr())
        return fail(s->c, LOCAL, "the terminal cannot be used");
    atexit(leave_curses);
    s->c->notice = notice;
    s->c->notice_data = s;
    keyboard_begin();
    return 0;
}

/* ---- the room's past ---- */

static void put_message(struct screen *s, const Stoa__Chat__V1__Message *m)
{
    struct view_entry *e =
        room_view_put(&s->view, m->seq, m->author ? m->author->username : "(deleted)", m->text,
                      m->created_at ? m->created_at->seconds : 0);

    if (!e)
        return;
    e->edited = m->edited_at != NULL;
    e->deleted = m->deleted_at != NULL;
    for (size_t i = 0; i < m->n_reactions; i++)
        room_view_react(&s->view, m->seq, m->reactions[i]->emoji, (int)m->reactions[i]->count);
}

/* The latest messages of a room, or those before a number. 0 or an exit status, told. */
static int ask_for_messages(struct screen *s, int64_t room, int64_t before,
                            const Stoa__Chat__V1__ListMessagesResponse **ret)
{
    Stoa__Chat__V1__ListMessagesRequest request = STOA__CHAT__V1__LIST_MESSAGES_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "ListMessages", .request = &request.base};
    struct rpc_answer answer;
    int status;

    request.room = room;
    request.page_size = PAGE;
    if (before) {
        request._before_seq_case = STOA__CHAT__V1__LIST_MESSAGES_REQUEST___BEFORE_SEQ_BEFORE_SEQ;
        request.before_seq = before;
    }
    status = make_call(s->c, &call, &answer);
    *ret = (const Stoa__Chat__V1__ListMessagesResponse *)answer.response;
    return status;
}

static void put_messages(struct screen *s, const Stoa__Chat__V1__ListMessagesResponse *page)
{
    for (size_t i = 0; i < page->n_messages; i++)
        put_message(s, page->messages[i]);
    s->has_all = page->n_messages < PAGE;
}

static int load_older(struct screen *s)
{
    const Stoa__Chat__V1__ListMessagesResponse *page;
    int64_t first = s->view.n ? s->view.entries[0].seq : 0;
    int status = ask_for_messages(s, s->room, first, &page);

    if (!status)
        put_messages(s, page);
    return status;
}

/* ---- the connection ---- */

static void lose(struct screen *s)
{
    live_stop(&s->live);
    channel_renew(s->c, SERVICE_CHAT);
    s->connection = LOST;
    s->retry_at_ns = in_ms(connect_pause(&s->pause_ms));
}

static void connect_again(struct screen *s)
{
    int status = access_token(s->c, STR_NULL, &s->token);
    int err;

    if (status) {
        if (status == SIGN_IN) {
            s->stops = true;
            s->status = status;
        } else {
            lose(s);
        }
        return;
    }
    if (!s->token.p) {
        s->stops = true;
        s->status = fail(s->c, SIGN_IN, "nobody is signed in: `stoa login EMAIL'");
        return;
    }
    err = live_start(&s->live, channel(s->c, SERVICE_CHAT), s->token);
    s->connection = CONNECTING;
    s->heard_ns = clock_monotonic_ns();
    s->asked = false;
    if (err) {
        fail(s->c, FAILED, "cannot connect: %s", strerror(-err));
        lose(s);
    }
}

/* That the connection goes on with the token that it has changes nothing, and is answered. */
static void ask_for_a_sign(struct screen *s)
{
    Stoa__Chat__V1__ConnectRequest request = STOA__CHAT__V1__CONNECT_REQUEST__INIT;
    Stoa__Chat__V1__RenewAction action = STOA__CHAT__V1__RENEW_ACTION__INIT;

    action.access_token = (char *)s->token.p;
    request.id = (char *)"renew";
    request.action_case = STOA__CHAT__V1__CONNECT_REQUEST__ACTION_RENEW;
    request.renew = &action;
    s->asked = true;
    (void)!live_send(&s->live, &request);
}

static void mind_silence(struct screen *s)
{
    int64_t silent_ms = (clock_monotonic_ns() - s->heard_ns) / NSEC_PER_MSEC;

    if (s->connection == LOST || silent_ms < silence_ms(s->c))
        return;
    if (silent_ms >= silence_ms(s->c) + s->c->set.timeout_s * 1000) {
        fail(s->c, UNREACHABLE, "no answer from chat at %.*s",
             STR_FMT(s->c->set.address[SERVICE_CHAT]));
        lose(s);
    } else if (!s->asked) {
        ask_for_a_sign(s);
    }
}

static void send_pending(struct screen *s, const struct view_entry *e)
{
    Stoa__Chat__V1__ConnectRequest request = STOA__CHAT__V1__CONNECT_REQUEST__INIT;
    Stoa__Chat__V1__SendAction action = STOA__CHAT__V1__SEND_ACTION__INIT;

    action.room = s->room;
    action.text = e->sent;
    action.client_id = (char *)e->id;
    request.id = (char *)e->id;
    request.action_case = STOA__CHAT__V1__CONNECT_REQUEST__ACTION_SEND;
    request.send = &action;
    (void)!live_send(&s->live, &request); /* it ended: the end is on its way, and this is kept */
}

static void subscribe(struct screen *s)
{
    Stoa__Chat__V1__ConnectRequest request = STOA__CHAT__V1__CONNECT_REQUEST__INIT;
    Stoa__Chat__V1__SubscribeAction action = STOA__CHAT__V1__SUBSCRIBE_ACTION__INIT;
    const struct view_entry *e;
    size_t at = 0;

    action.room = s->room;
    action._after_seq_case = STOA__CHAT__V1__SUBSCRIBE_ACTION___AFTER_SEQ_AFTER_SEQ;
    action.after_seq = s->after;
    request.action_case = STOA__CHAT__V1__CONNECT_REQUEST__ACTION_SUBSCRIBE;
    request.id = (char *)"subscribe";
    request.subscribe = &action;
    s->connection = CATCHING_UP;
    (void)!live_send(&s->live, &request);
    while ((e = room_view_pending(&s->view, &at)))
        send_pending(s, e);
}

static void say_read(struct screen *s)
{
    Stoa__Chat__V1__ConnectRequest request = STOA__CHAT__V1__CONNECT_REQUEST__INIT;
    Stoa__Chat__V1__ReadAction action = STOA__CHAT__V1__READ_ACTION__INIT;

    if (s->connection != CONNECTED || s->scroll || s->after <= s->marked)
        return;
    action.room = s->room;
    action.seq = s->marked = s->after;
    request.action_case = STOA__CHAT__V1__CONNECT_REQUEST__ACTION_READ;
    request.read = &action;
    (void)!live_send(&s->live, &request);
}

static void say_typing(struct screen *s)
{
    Stoa__Chat__V1__ConnectRequest request = STOA__CHAT__V1__CONNECT_REQUEST__INIT;
    Stoa__Chat__V1__TypingAction action = STOA__CHAT__V1__TYPING_ACTION__INIT;

    if (s->connection != CONNECTED || s->said_typing_ns > clock_monotonic_ns())
        return;
    s->said_typing_ns = in_ms(TYPING_EVERY_MS);
    action.room = s->room;
    request.action_case = STOA__CHAT__V1__CONNECT_REQUEST__ACTION_TYPING;
    request.typing = &action;
    (void)!live_send(&s->live, &request);
}

/* ---- what comes ---- */

static void take_event(struct screen *s, const Stoa__Chat__V1__Event *e)
{
    int64_t at = e->created_at ? e->created_at->seconds : 0;
    struct str text;

    if (e->message && (e->kind == STOA__CHAT__V1__EVENT_KIND__EVENT_KIND_MESSAGE ||
                       room_view_find(&s->view, e->message->seq))) {
        put_message(s, e->message);
        return;
    }
    if (e->reaction) {
        room_view_react(&s->view, e->message_seq, e->reaction->emoji, (int)e->reaction->count);
        return;
    }
    if (e->message || e->message_seq) /* about one that is not in the view */
        return;
    text = event_text(s->c, e);
    if (text.n)
        (void)room_view_put(&s->view, e->seq, NULL, text.p, at);
}

static void take_error(struct screen *s, const Stoa__Chat__V1__LiveError *error)
{
    const char *problem = error->n_violations ? error->violations[0]->description : error->message;

    if (strcmp(error->id, "subscribe") == 0) {
        s->stops = true;
        s->status = fail(s->c, error->code == RPC_NOT_FOUND ? MISSING : FORBIDDEN, "%s", problem);
        return;
    }
    if (error->code == RPC_UNAVAILABLE || error->code == RPC_DEADLINE_EXCEEDED)
        return; /* still on its way: it is sent again over the next connection */
    if (*error->id)
        room_view_refuse(&s->view, error->id, problem);
}

static void take_typing(struct screen *s, const Stoa__Chat__V1__Typing *typing)
{
    const char *own = login_name(s->c);
    struct buf text CLEANUP(buf_free) = {.max = sizeof(s->typing)};
    size_t others = 0;

    for (size_t i = 0; i < typing->n_accounts; i++) {
        const char *name = typing->accounts[i]->username;

        if (own && strcmp(name, own) == 0)
            continue;
        buf_append_str(&text, others++ ? STR(", ") : STR(""));
        terminal_clean(&text, str_of(name), false);
    }
    terminal_part(&text, 0);
    snprintf(s->typing, sizeof(s->typing), "%.*s %s typing", STR_FMT(buf_str(&text)),
             others > 1 ? "are" : "is");
    s->typing_until_ns = others ? in_ms(TYPING_LASTS_MS) : 0;
}

/* What is not yet acknowledged stays. */
static void take_reset(struct screen *s)
{
    const Stoa__Chat__V1__ListMessagesResponse *page;

    if (ask_for_messages(s, s->room, 0, &page)) {
        lose(s);
        return;
    }
    room_view_forget(&s->view);
    put_messages(s, page);
    s->after = page->last_seq;
    subscribe(s);
}

static void take_gone(struct screen *s, const Stoa__Chat__V1__Gone *gone)
{
    s->stops = true;
    if (gone->reason == STOA__CHAT__V1__GONE_REASON__GONE_REASON_DELETED)
        s->status = fail(s->c, MISSING, "the room has been deleted");
    else if (gone->reason == STOA__CHAT__V1__GONE_REASON__GONE_REASON_REMOVED)
        s->status = fail(s->c, FORBIDDEN, "you have been removed from the room");
    else
        s->status = fail(s->c, FORBIDDEN, "you are no member of the room any more");
}

static void take_response(struct screen *s, const Stoa__Chat__V1__ConnectResponse *r)
{
    switch (r->what_case) {
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_WELCOME:
        subscribe(s);
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_ACK:
        room_view_acknowledge(&s->view, r->ack->id, r->ack->seq);
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_ERROR:
        take_error(s, r->error);
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_EVENT:
        if (r->event->event)
            take_event(s, r->event->event);
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_LIVE:
        s->connection = CONNECTED;
        s->pause_ms = CONNECT_PAUSE_MS;
        *s->problem = *last_words = '\0';
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_RESET:
        take_reset(s);
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_TYPING:
        take_typing(s, r->typing);
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_PRESENCE:
        s->online = r->presence->online;
        break;
    case STOA__CHAT__V1__CONNECT_RESPONSE__WHAT_GONE:
        take_gone(s, r->gone);
        break;
    default:
        break;
    }
    if (r->_seq_case == STOA__CHAT__V1__CONNECT_RESPONSE___SEQ_SEQ)
        s->after = r->seq;
}

static void take_end(struct screen *s, const struct rpc_answer *end)
{
    struct str next, line;
    int status;

    if (end->code == RPC_UNAUTHENTICATED) {
        status = access_token(s->c, s->token, &next);
        if (!status && !str_eq(next, s->token)) {
            live_stop(&s->live);
            connect_again(s);
            return;
        }
        if (status == UNREACHABLE || status == LOCAL) {
            lose(s);
            return;
        }
        s->stops = true;
        s->status = status ? status : told(s->c, SERVICE_CHAT, end);
    } else if (is_lost(end->code)) {
        (void)describe(s->c, SERVICE_CHAT, end, &line);
        snprintf(s->problem, sizeof(s->problem), "%.*s", STR_FMT(line));
        lose(s);
    } else {
        s->stops = true;
        s->status = told(s->c, SERVICE_CHAT, end);
    }
}

static void take_items(struct screen *s)
{
    struct live_item *item;

    while (!s->stops && (item = live_next(&s->live))) {
        s->heard_ns = clock_monotonic_ns();
        s->asked = false;
        if (item->is_end)
            take_end(s, &item->answer);
        else
            take_response(s, (const Stoa__Chat__V1__ConnectResponse *)item->answer.response);
        live_item_free(item);
    }
    say_read(s);
}

/* ---- the keyboard ---- */

static bool has_pending(const struct screen *s)
{
    size_t at = 0;

    return room_view_pending(&s->view, &at) != NULL;
}

/* All of it is asked for before the room that is shown goes. */
static int open_room(struct screen *s, int64_t room)
{
    const Stoa__Chat__V1__ListMessagesResponse *page;
    const Stoa__Chat__V1__Room *found;
    int status = room_get(s->c, room, &found);

    if (!status)
        status = ask_for_messages(s, room, 0, &page);
    if (status)
        return status;
    live_stop(&s->live);
    room_view_free(&s->view);
    s->room = room;
    s->online = -1;
    s->scroll = 0;
    s->marked = found->read_seq;
    snprintf(s->title, sizeof(s->title), "%s", room_title(s->c, found).p);
    put_messages(s, page);
    s->after = page->last_seq;
    connect_again(s);
    return 0;
}

static void change_room(struct screen *s, char *name)
{
    int64_t room;

    if (has_pending(s))
        fail(s->c, CONFLICT, "a message is still on its way: go when it has arrived");
    else if (room_find(s->c, name, &room) == 0)
        (void)open_room(s, room); /* what went wrong is on the screen */
}

static void run_line(struct screen *s)
{
    char line[INPUT_BYTES_MAX + 1];
    size_t n = s->input.n;

    memcpy(line, s->input.text, n);
    while (n && line[n - 1] == '\n') /* which a copied line often has */
        n--;
    line[n] = '\0';
    input_done(&s->input);
    *s->problem = *last_words = '\0';
    if (str_is_blank(str_of(line)))
        return;
    s->scroll = 0;
    if (strcmp(line, "/quit") == 0) {
        s->stops = true;
    } else if (strncmp(line, "/room ", 6) == 0) {
        change_room(s, line + 6);
    } else if (line[0] == '/' && line[1] != '/') {
        fail(s->c, USAGE,
             "/room ROOM goes to another room, /quit ends; // begins a message with /");
    } else {
        const char *text = line[0] == '/' ? line + 1 : line, *name = login_name(s->c);

        if (!room_view_pend(&s->view, new_key(s->c).p, name ? name : "", text, time(NULL)))
            must_have(NULL);
        if (s->connection >= CATCHING_UP)
            send_pending(s, &s->view.entries[s->view.n - 1]);
        s->said_typing_ns = 0;
    }
}

static void scroll_up(struct screen *s)
{
    size_t page = LINES > 5 ? (size_t)LINES - 4 : 1, before = s->scroll;

    s->scroll += page;
    screen_draw(s); /* takes back what there is not */
    if (s->scroll < before + page && !s->has_all && load_older(s) == 0) {
        s->scroll = before + page;
        screen_draw(s);
    }
}

static void scroll_down(struct screen *s)
{
    size_t page = LINES > 5 ? (size_t)LINES - 4 : 1;

    s->scroll -= s->scroll > page ? page : s->scroll;
}

static void take_character(struct screen *s, const struct key *key)
{
    if (input_character(&s->input, key->character))
        say_typing(s);
    else if (key->does == PASTED && s->input.n + 4 > INPUT_BYTES_MAX)
        snprintf(s->problem, sizeof(s->problem),
                 "what was pasted is cut: a message has at most %d bytes", INPUT_BYTES_MAX);
}

static void take_key(struct screen *s, const struct key *key)
{
    switch (key->does) {
    case TYPED:
    case PASTED:
        take_character(s, key);
        break;
    case EDITS:
        input_key(&s->input, key->edit);
        break;
    case ENTERS:
        run_line(s);
        break;
    case PAGES_UP:
        scroll_up(s);
        break;
    case PAGES_DOWN:
        scroll_down(s);
        break;
    case REDRAWS:
        clearok(curscr, TRUE);
        break;
    case ENDS:
        if (s->input.n)
            input_key(&s->input, INPUT_DELETE);
        else
            s->stops = true;
        break;
    case INTERRUPTS:
        s->stops = true;
        break;
    }
}

/* ---- the loop ---- */

static void loop(struct screen *s)
{
    while (!s->stops) {
        struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {s->live.wake_fd, POLLIN, 0}};
        struct key key;

        screen_draw(s);
        (void)poll(fds, ARRAY_SIZE(fds), TICK_MS); /* a signal: the size may be another one */
        if (fds[0].revents & (POLLHUP | POLLERR))
            s->stops = true; /* the terminal is gone */
        while (!s->stops && keyboard_next(&s->keyboard, &key))
            take_key(s, &key);
        take_items(s);
        if (!s->stops)
            mind_silence(s);
        if (!s->stops && s->connection == LOST && s->retry_at_ns <= clock_monotonic_ns())
            connect_again(s);
    }
}

/* Where something happened last. */
static int latest_room(struct client *c, int64_t *ret)
{
    Stoa__Chat__V1__ListMyRoomsRequest request = STOA__CHAT__V1__LIST_MY_ROOMS_REQUEST__INIT;
    const struct call call = {.service = ROOMS, .method = "ListMyRooms", .request = &request.base};
    const Stoa__Chat__V1__ListMyRoomsResponse *response;
    struct rpc_answer answer;
    int status;

    request.page_size = 1;
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    response = (const Stoa__Chat__V1__ListMyRoomsResponse *)answer.response;
    if (!response->n_rooms)
        return fail(c, MISSING,
                    "you are in no room: `stoa chat rooms --all' lists those that you may "
                    "join");
    *ret = response->rooms[0]->id;
    return 0;
}

/* After Enter and Ctrl-C, one behind the other; perhaps before the first connection was there. */
static void wait_for_acknowledgement(struct screen *s)
{
    int64_t end = in_ms(LEAVE_MS), now;

    s->stops = false;
    while (!s->stops && has_pending(s) && s->connection != LOST &&
           (now = clock_monotonic_ns()) < end) {
        struct pollfd fd = {s->live.wake_fd, POLLIN, 0};

        (void)poll(&fd, 1, (int)((end - now) / NSEC_PER_MSEC) + 1);
        take_items(s);
    }
}

/* At the end: what is not acknowledged, and what was being typed when the end came by itself, is
 * kept. The exit status. */
static int keep_unsent(struct screen *s)
{
    struct buf text CLEANUP(buf_free) = {.max = DOCUMENT_MAX};
    struct text_source source = {.file = NULL};
    const struct view_entry *e;
    size_t at = 0;
    struct str why = s->status ? must_str(arena_copy(&s->c->arena, str_of(last_words)))
                               : STR("it is not sure that all is sent");

    while ((e = room_view_pending(&s->view, &at)))
        buf_printf(&text, "%s\n", e->sent);
    if (s->status && s->input.n)
        buf_printf(&text, "%.*s\n", (int)s->input.n, s->input.text);
    if (!text.n || buf_error(&text))
        return s->status;
    return text_source_fail(&source, s->c, s->status ? s->status : UNREACHABLE, why, buf_str(&text),
                            TEXT(s->c, "stoa chat send %lld", (long long)s->room).p);
}

int chat_screen(struct client *c)
{
    struct screen s = {.c = c, .pause_ms = CONNECT_PAUSE_MS, .online = -1};
    int64_t room = 0;
    int status = c->argc ? room_find(c, c->argv[0], &room) : latest_room(c, &room), err;

    if (status)
        return status;
    err = live_init(&s.live);
    if (err)
        return fail(c, LOCAL, "no connection can be made: %s", strerror(-err));
    status = enter_curses(&s);
    if (!status)
        status = open_room(&s, room);
    if (!status) {
        loop(&s);
        if (!s.status) {
            *last_words = '\0'; /* it was ended by a key: what went wrong before is over */
            wait_for_acknowledgement(&s);
        }
        status = keep_unsent(&s);
    }
    c->notice = NULL;
    live_free(&s.live);
    room_view_free(&s.view);
    input_free(&s.input);
    return status;
}
