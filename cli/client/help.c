/* The commands, each told once: for --help, for the manual pages and for completion. */
#include "client.h"

#include <stdlib.h>

extern const struct argp_option common_options[];

static const struct argp_option page_options[] = {
    {"page", 'p', "TOKEN", 0, "go on where a list said so", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option logout_options[] = {
    {"forget", 'f', NULL, 0, "only forget the tokens here, without asking auth", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option list_options[] = {
    {"tag", 't', "TAG", 0, "only with this tag", 1},
    {"author", 'a', "USER", 0, "only by this account", 1},
    {"favorited", 'f', "USER", 0, "only favourites of this account", 1},
    {"drafts", 'd', NULL, 0, "one's own drafts instead", 1},
    {"limit", 'n', "NUMBER", 0, "as many (20; 100 at most)", 1},
    {"page", 'p', "TOKEN", 0, "go on where a list said so", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option limit_options[] = {
    {"limit", 'n', "NUMBER", 0, "as many (20; 100 at most)", 1},
    {"page", 'p', "TOKEN", 0, "go on where a list said so", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option new_options[] = {
    {"file", 'F', "FILE", 0, "take it from a file (-: standard input), without an editor", 1},
    {"publish", 'P', NULL, 0, "an article at once, no draft", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option file_options[] = {
    {"file", 'F', "FILE", 0, "take it from a file (-: standard input), without an editor", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option delete_options[] = {
    {"yes", 'y', NULL, 0, "do not ask", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option rooms_options[] = {
    {"all", 'a', NULL, 0, "all public rooms, not only one's own", 1},
    {"page", 'p', "TOKEN", 0, "go on where a list said so", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp_option history_options[] = {
    {"limit", 'n', "NUMBER", 0, "as many (50; 100 at most)", 1},
    {"before", 'b', "SEQ", 0, "those before this number", 1},
    {"after", 'a', "SEQ", 0, "those after this number", 1},
    {"read", 'r', NULL, 0, "and mark them as read", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};

#define ROOM                                                                                 \
    "ROOM is a number of `stoa chat rooms', a room's whole name, or @USER: the direct room " \
    "with that account."
#define ARTICLE "SLUG names an article; draft/NUMBER one of one's own drafts."
#define DOCUMENT                                                                         \
    "The text has a head: lines `title:', `description:' and `tags:' (with commas), an " \
    "empty line, and then the body in Markdown. Without -F it is written in $VISUAL or " \
    "$EDITOR, or read from standard input when that is no terminal. What could not be "  \
    "sent is kept in a file."

#define TEXT_ARGUMENT                                                                        \
    "Without TEXT it is written in the editor, or read from standard input when that is no " \
    "terminal. What could not be sent is kept in a file."

static const struct argp_option tail_options[] = {
    {"lines", 'n', "NUMBER", 0, "so many messages at first (10; 100 at most)", 1},
    {"after", 'a', "SEQ", 0, "begin after this number, with all that happened since", 1},
    {NULL, 0, NULL, 0, NULL, 0},
};

const struct command commands[] = {
    {"", "register", "[USERNAME [EMAIL]]", "make an account, and sign in",
     "What is missing is asked for. The password is typed blind, or is the next line of standard "
     "input.",
     "register ada ada@example.com", NULL, 0, 2, account_register},
    {"", "login", "[EMAIL]", "sign in",
     "The password is typed blind, or is the next line of standard input. The tokens are kept in "
     "$XDG_STATE_HOME/stoa/client, for these addresses of the services, and renewed by "
     "themselves.",
     "login ada@example.com\nlogin ada@example.com <password-file", NULL, 0, 1, account_login},
    {"", "logout", "", "sign out: end the session", NULL, "logout\nlogout --forget", logout_options,
     0, 0, account_logout},
    {"", "whoami", "", "tell who is signed in", NULL, "whoami\nwhoami -o json", NULL, 0, 0,
     account_whoami},
    {"", "sessions", "", "list one's sign-ins",
     "`stoa sessions end ID' ends one, `stoa sessions end-others' all but this one.",
     "sessions\nsessions end 0192c127-b760-7740-b8de-0c1f6d1a3b52\nsessions end-others",
     page_options, 0, 0, sessions_list},
    {"sessions", "end", "ID", "end one of one's sessions", NULL,
     "sessions end 0192c127-b760-7740-b8de-0c1f6d1a3b52", NULL, 1, 1, sessions_end},
    {"sessions", "end-others", "", "end all of one's sessions but this one", NULL,
     "sessions end-others", NULL, 0, 0, sessions_end_others},
    {"", "feed", "", "list the articles of those whom one follows", NULL, "feed\nfeed -n 50",
     limit_options, 0, 0, people_feed},
    {"", "follow", "USER", "have somebody's articles in the feed", NULL, "follow ada", NULL, 1, 1,
     people_follow},
    {"", "unfollow", "USER", "have them no longer", NULL, "unfollow ada", NULL, 1, 1,
     people_unfollow},
    {"", "status", "", "tell whether the services answer, and how fast",
     "The latency is that of a call on a connection that stands.", "status\nstatus -o json", NULL,
     0, 0, service_status},

    {"post", "list", "", "list articles, the newest first", NULL,
     "post list\npost list --author ada --tag intro\npost list --drafts", list_options, 0, 0,
     post_list},
    {"post", "search", "WORD...", "search articles, the best match first",
     "All words; \"a phrase\" in quotes, or between two, - in front of what is not wanted (after "
     "`--').",
     "post search hello stoa\npost search -- hello -goodbye", limit_options, 1, -1, post_search},
    {"post", "show", "SLUG", "show an article or a draft",
     ARTICLE " With -o plain it is as `post edit -F' takes it.",
     "post show hello-stoa\npost show draft/42\npost show hello-stoa -o plain >hello.md", NULL, 1,
     1, post_show},
    {"post", "new", "", "write a draft, or with --publish an article", DOCUMENT,
     "post new\npost new -F hello.md\npost new --publish -F hello.md", new_options, 0, 0, post_new},
    {"post", "edit", "SLUG", "change an article or a draft",
     ARTICLE "\n" DOCUMENT
             " When somebody has changed it meanwhile, both texts are shown, and yours "
             "is kept.",
     "post edit hello-stoa\npost edit draft/42 -F hello.md", file_options, 1, 1, post_edit},
    {"post", "publish", "draft/NUMBER", "make an article of a draft", NULL, "post publish draft/42",
     NULL, 1, 1, post_publish},
    {"post", "delete", "SLUG", "delete an article with its comments, or a draft", ARTICLE,
     "post delete hello-stoa\npost delete -y draft/42", delete_options, 1, 1, post_delete},

    {"comment", "list", "SLUG", "list the comments on an article", NULL, "comment list hello-stoa",
     limit_options, 1, 1, comment_list},
    {"comment", "add", "SLUG [TEXT...]", "comment on an article", TEXT_ARGUMENT,
     "comment add hello-stoa 'I could not agree more.'\ncomment add hello-stoa -F thoughts.md",
     file_options, 1, -1, comment_add},
    {"comment", "delete", "SLUG NUMBER", "delete a comment of one's own", NULL,
     "comment delete hello-stoa 42", NULL, 2, 2, comment_delete},

    {"", "chat", "[ROOM]", "a room on the whole screen",
     ROOM
     "\nWithout ROOM the one where something happened last. Enter sends, Up and Down bring back "
     "what was sent, Page Up and Page Down go through the room's history; /room ROOM goes to "
     "another one, /quit or Ctrl-C ends. What cannot be sent while the connection is lost is sent "
     "when it is back.",
     "chat\nchat engine\nchat @ada", NULL, 0, 1, chat_screen},
    {"chat", "rooms", "", "list one's rooms, with what is unread", NULL,
     "chat rooms\nchat rooms --all", rooms_options, 0, 0, chat_rooms},
    {"chat", "join", "ROOM", "become a member of a public room",
     "ROOM is a number of "
     "`stoa chat rooms --all'.",
     "chat join 7", NULL, 1, 1, chat_join},
    {"chat", "history", "ROOM", "show messages of a room, the latest at the end", ROOM,
     "chat history 7\nchat history @ada -n 100\nchat history 7 --before 120", history_options, 1, 1,
     chat_history},
    {"chat", "send", "ROOM [TEXT...]", "send a message", ROOM "\n" TEXT_ARGUMENT,
     "chat send 7 Good morning\nchat send @ada <plan.md\nchat send engine -F plan.md", file_options,
     1, -1, chat_send},
    {"chat", "tail", "ROOM", "show what happens in a room, as it happens",
     ROOM
     "\nWhat is lost is connected to again, and nothing is left out or shown twice. With -o plain "
     "there are messages only, as of history; with -o json all events, one a line.",
     "chat tail 7\nchat tail @ada -n 100\nchat tail 7 --after 120 -o json", tail_options, 1, 1,
     chat_tail},
};

const size_t n_commands = ARRAY_SIZE(commands);

static const struct {
    const char *name, *summary;
} groups[] = {
    {"post", "articles and drafts"},
    {"comment", "comments on articles"},
    {"sessions", "one's sign-ins"},
    {"chat", "rooms and messages"},
};

/* ---- finding ---- */

const struct command *command_find(char **words, int n, int *ret_words)
{
    const struct command *found = NULL;

    for (size_t i = 0; i < n_commands; i++) {
        const struct command *c = &commands[i];

        if (!*c->group && n > 0 && strcmp(words[0], c->name) == 0 && !found) {
            found = c;
            *ret_words = 1;
        } else if (*c->group && n > 1 && strcmp(words[0], c->group) == 0 &&
                   strcmp(words[1], c->name) == 0) {
            found = c;
            *ret_words = 2;
        }
    }
    return found;
}

bool is_group(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
        if (strcmp(groups[i].name, name) == 0)
            return true;
    }
    return false;
}

struct str command_name(struct client *c, const struct command *command)
{
    return TEXT(c, "stoa %s%s%s", command->group, *command->group ? " " : "", command->name);
}

void print_commands(struct buf *to, const char *group)
{
    for (size_t i = 0; i < n_commands; i++) {
        struct buf call CLEANUP(buf_free) = {.max = 4096};

        if (strcmp(commands[i].group, group) != 0)
            continue;
        buf_printf(&call, "%s %s", commands[i].name, commands[i].arguments);
        buf_append_str(to, STR("  "));
        terminal_pad(to, buf_str(&call), 24);
        buf_printf(to, " %s\n", commands[i].summary);
    }
}

void print_group(struct client *c, const char *group)
{
    buf_printf(&c->out, "Usage: stoa %s COMMAND [OPTION...] [ARGUMENT...]\n\n", group);
    print_commands(&c->out, group);
    buf_printf(&c->out, "\n`stoa %s COMMAND --help' tells more, with examples.\n", group);
}

/* ---- the manual pages ---- */

static void manual_options(struct client *c, const struct argp_option *o)
{
    for (; o && (o->name || o->key || o->doc); o++) {
        struct str call;

        if (!o->name)
            continue;
        call = o->key < 128 ? TEXT(c, "-%c, --%s%s%s", o->key, o->name, o->arg ? " " : "",
                                   o->arg ? o->arg : "")
                            : TEXT(c, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        buf_append_str(&c->out, STR(".TP\n.B "));
        roff_line(&c->out, call.p);
        roff_text(&c->out, o->doc);
    }
}

static void manual_command(struct client *c, const struct command *command)
{
    struct buf *out = &c->out;

    buf_append_str(out, STR(".SS "));
    roff_line(out, TEXT(c, "%s%s%s", command_name(c, command).p, *command->arguments ? " " : "",
                        command->arguments)
                       .p);
    buf_printf(out, "%c", command->summary[0] - 32);
    roff_line(out, TEXT(c, "%s.", command->summary + 1).p);
    if (command->details) {
        buf_append_str(out, STR(".PP\n"));
        roff_text(out, command->details);
    }
    manual_options(c, command->options);
    buf_append_str(out, STR(".PP\nExamples:\n.PP\n.nf\n"));
    for (const char *p = command->examples; *p;) {
        size_t n = strcspn(p, "\n");

        roff_line(out, TEXT(c, "    stoa %.*s", (int)n, p).p);
        p += n + (p[n] == '\n');
    }
    buf_append_str(out, STR(".fi\n"));
}

struct page {
    const char *name, *about, *description;
    const char *groups[3]; /* whose commands it has; "": those without a group */
};

static const struct page pages[] = {
    {"stoa",
     "the command line of Stoa",
     "Calls the services of a Stoa suite: accounts, articles, chat. The commands for articles are "
     "in\n"
     "stoa-post(1), those for chat in stoa-chat(1), the task manager on local files in "
     "stoa-task(1).\n"
     "What a service refuses for a while, since too many ask at once, is sent again when the "
     "service says, for as long as --timeout in all.",
     {"", "sessions", NULL}},
    {"stoa-post",
     "articles, drafts and comments",
     "Reads and writes the blog of a Stoa suite.",
     {"post", "comment", NULL}},
    {"stoa-chat",
     "rooms and messages",
     "Reads and writes the chat of a Stoa suite.",
     {"chat", NULL, NULL}},
};

static void manual_settings(struct client *c)
{
    buf_append_str(
        &c->out, STR(".SH ENVIRONMENT\nOptions win over the environment, and that over the file\n"
                     ".IR $XDG_CONFIG_HOME/stoa/config ,\nwhose lines are\n.IR \"NAME = VALUE\" :\n"
                     "the names below without STOA_, in lower case, with hyphens.\n"));
    for (size_t i = 0; i < n_settings; i++) {
        buf_append_str(&c->out, STR(".TP\n.B "));
        roff_line(&c->out, settings_table[i].name);
        roff_text(&c->out, TEXT(c, "%s%s%s%s", settings_table[i].help,
                                *settings_table[i].fallback ? " (" : "", settings_table[i].fallback,
                                *settings_table[i].fallback ? ")" : "")
                               .p);
    }
    buf_append_str(&c->out, STR(".PP\nAlso NO_COLOR, PAGER, VISUAL, EDITOR, TZ, XDG_CONFIG_HOME,\n"
                                "XDG_STATE_HOME.\n"));
}

static void manual_status(struct client *c)
{
    buf_append_str(
        &c->out,
        STR(".SH FILES\n.TP\n.I $XDG_STATE_HOME/stoa/client/logins\nthe tokens, the owner's "
            "alone.\n"
            ".TP\n.I $XDG_STATE_HOME/stoa/client/kept\ntexts that could not be sent.\n"
            ".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nthe service could not do it\n.TP\n2\nwrong "
            "options, arguments or settings\n"
            ".TP\n3\nnot signed in, or the password is wrong\n"
            ".TP\n4\nnot allowed\n"
            ".TP\n5\nthere is no such thing\n"
            ".TP\n6\nwhat was sent breaks a rule\n"
            ".TP\n7\nit is not, or not any more, in the state for that; or there already\n"
            ".TP\n8\na limit is reached: try later\n"
            ".TP\n9\nno answer\n"
            ".TP\n10\na file, the terminal or the editor here\n"));
}

int print_manual(struct client *c, const char *name)
{
    const struct page *page = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        if (strcmp(pages[i].name, name) == 0)
            page = &pages[i];
    }
    if (!page)
        return fail(c, USAGE, "there is no page '%s': stoa, stoa-post, stoa-chat", name);
    roff_title(&c->out, page->name);
    buf_append_str(&c->out, STR(".SH NAME\n"));
    roff_line(&c->out, page->name);
    c->out.n--;
    buf_append_str(&c->out, STR(" \\- "));
    roff_line(&c->out, page->about);
    buf_append_str(&c->out, STR(".SH SYNOPSIS\n.B stoa\n\\fICOMMAND\\fR [\\fIOPTION\\fR...] "
                                "[\\fIARGUMENT\\fR...]\n.SH DESCRIPTION\n"));
    roff_text(&c->out, page->description);
    buf_append_str(&c->out, STR(".SH COMMANDS\n"));
    for (size_t g = 0; page->groups[g]; g++) {
        for (size_t i = 0; i < n_commands; i++) {
            if (strcmp(commands[i].group, page->groups[g]) == 0)
                manual_command(c, &commands[i]);
        }
    }
    buf_append_str(&c->out, STR(".SH OPTIONS\n"));
    manual_options(c, common_options);
    manual_settings(c);
    manual_status(c);
    buf_append_str(&c->out, STR(".SH SEE ALSO\nstoa(1), stoa\\-post(1), stoa\\-chat(1),\n"
                                "stoa\\-task(1)\n"));
    return DONE;
}

/* ---- completion ---- */

static void offer_options(struct client *c, const struct argp_option *o)
{
    for (; o && (o->name || o->key || o->doc); o++) {
        if (o->name)
            buf_printf(&c->out, "--%s\n", o->name);
    }
}

static void offer_commands(struct client *c, const char *group)
{
    for (size_t i = 0; i < n_commands; i++) {
        if (strcmp(commands[i].group, group) == 0)
            buf_printf(&c->out, "%s\n", commands[i].name);
    }
    if (*group)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
        int words;

        if (!command_find((char *[]){(char *)groups[i].name}, 1, &words)) /* it is there already */
            buf_printf(&c->out, "%s\n", groups[i].name);
    }
    buf_append_str(&c->out, STR("task\n--help\n--version\n"));
}

void print_completions(struct client *c, char **words, int n)
{
    const struct command *command;
    int used = 0;

    if (n < 2) {
        offer_commands(c, "");
        return;
    }
    if (strcmp(words[n - 2], "--output") == 0 || strcmp(words[n - 2], "-o") == 0) {
        buf_append_str(&c->out, STR("table\nplain\njson\n"));
        return;
    }
    command = command_find(words, n - 1, &used);
    if (words[n - 1][0] == '-') {
        offer_options(c, command ? command->options : NULL);
        offer_options(c, common_options);
        buf_append_str(&c->out, STR("--help\n"));
    } else if (n == 2 && is_group(words[0])) {
        offer_commands(c, words[0]);
    }
}
