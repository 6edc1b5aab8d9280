/* stoa-client: what its files share.
 *
 * The program calls the services over gRPC; `stoa` starts it for all commands but `task`, which so
 * need not load the gRPC library. One run is one command and one struct client; memory lives as
 * long as the run, and whoever asks for it gets it or the program ends. One thread, but for the
 * reader of live.c.
 *
 * A command returns its exit status (enum exit_status). What it prints goes to c->out and is
 * written at the end; an error is one line on standard error with the cure in it. No byte that
 * somebody else has written reaches the terminal but through terminal_clean().
 */
#ifndef STOA_CLI_CLIENT_CLIENT_H
#define STOA_CLI_CLIENT_CLIENT_H

#include "../cli.h"
#include "credentials.h"
#include "settings.h"

#include "grpc/client.h"

#include <argp.h>

#define OUTPUT_MAX ((size_t)64 << 20)
#define DOCUMENT_MAX ((size_t)1 << 20) /* of a file or standard input that is sent */

/* Documented in the manual page; they stay. */
enum exit_status {
    DONE = 0,
    FAILED = 1,      /* the service could not do it */
    USAGE = 2,       /* wrong options or arguments */
    SIGN_IN = 3,     /* not signed in, or the password is wrong */
    FORBIDDEN = 4,   /* signed in, and not allowed */
    MISSING = 5,     /* there is no such thing */
    REFUSED = 6,     /* what was sent breaks a rule */
    CONFLICT = 7,    /* it is not (any more) in the state for that */
    TOO_MUCH = 8,    /* a limit: later again */
    UNREACHABLE = 9, /* no answer */
    LOCAL = 10,      /* a file, a terminal or an editor of this machine */
};

struct client {
    struct arena arena;
    struct buf out;
    struct settings set;
    const struct command *command;
    int argc; /* of what follows the command's name and is no option */
    char **argv;
    const char *options[128]; /* by letter: the value, "" without one; NULL: not given */
    struct schema *schema;    /* NULL: not yet needed */
    struct rpc_client *channels[N_SERVICES];
    struct credentials credentials;
    struct login login;
    bool login_is_read;
    bool on_terminal; /* standard output is one */
    bool color;
    size_t width; /* of the terminal; 80 when there is none */
    /* Takes the line of an error instead of standard error; NULL: nobody does. */
    void (*notice)(void *data, struct str line);
    void *notice_data;
};

/* ---- main.c ---- */

/* One line on standard error; returns `status`. */
int fail(struct client *c, enum exit_status status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Memory, or the end of the program. */
void *must_have(void *p);
struct str must_str(struct str s);
#define TEXT(c, ...) must_str(arena_printf(&(c)->arena, __VA_ARGS__))

static inline bool has_option(const struct client *c, char letter)
{
    return c->options[(unsigned char)letter] != NULL;
}
static inline const char *option_of(const struct client *c, char letter)
{
    return c->options[(unsigned char)letter];
}
/* The number that an option has; `fallback` without it. Out of [min, max]: false, and told. */
bool number_option(struct client *c, char letter, int64_t min, int64_t max, int64_t fallback,
                   int64_t *ret) MUST_CHECK;
bool number_argument(struct client *c, const char *text, const char *what, int64_t min,
                     int64_t *ret) MUST_CHECK;

/* Reads all of a file, "-": standard input; at most DOCUMENT_MAX. 0 or an exit status, told. */
int read_text(struct client *c, const char *path, struct str *ret) MUST_CHECK;

/* Writes what is in c->out now. 0 or LOCAL. */
int flush(struct client *c) MUST_CHECK;

/* ---- call.c ---- */

struct call {
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const ProtobufCMessage *request;
    struct str idempotency_key, if_match; /* {NULL, 0}: none */
    bool repeatable;                      /* the request itself says that it is the same again */
};

/* Makes the call, with the access token where the contract knows of one. What is safe to repeat is
 * repeated a few times while the service is not there; what a service refuses for a while is sent
 * again when it said, unless somebody takes the errors (notice), who is not to wait. Returns the
 * code; the answer is in *ret. Nothing is told of it. */
enum rpc_code try_call(struct client *c, const struct call *call, struct rpc_answer *ret);

/* The same; what is no success is told. 0 or an exit status. */
int make_call(struct client *c, const struct call *call, struct rpc_answer *ret) MUST_CHECK;

/* Tells of an answer that is no success. Its exit status. */
int told(struct client *c, enum service service, const struct rpc_answer *answer);
/* The line that it tells, and its status. */
int describe(struct client *c, enum service service, const struct rpc_answer *answer,
             struct str *ret);

/* The channel to a service; ends the program when it cannot be made. */
struct rpc_client *channel(struct client *c, enum service service);
/* Another one in its place: what it was connected to may be gone without a word. No call of it may
 * be open. */
void channel_renew(struct client *c, enum service service);
/* Whether a stream that ends so is begun anew after a while. */
bool is_lost(enum rpc_code code);
const struct schema *contract(struct client *c);

/* ---- certificate.c ---- */

/* What is wrong with the certificate that a service shows, and the cure: "that has expired: ...".
 * Asks it once more, for at most some seconds. */
struct str certificate_problem(struct client *c, enum service service);

/* ---- session.c: who is signed in ---- */

/* The access token, renewed when it is about to expire or is `refused`. {NULL, 0} when nobody is
 * signed in. 0 or an exit status, told. */
int access_token(struct client *c, struct str refused, struct str *ret) MUST_CHECK;
/* Keeps a new login, and forgets the one of these services. 0 or an exit status, told. */
int keep_login(struct client *c, const char *username, const char *access_token,
               const char *refresh_token) MUST_CHECK;
int forget_login(struct client *c) MUST_CHECK;
/* NULL: nobody is signed in, or the file cannot be read. */
const char *login_name(struct client *c);

/* ---- output.c ---- */

struct column {
    const char *title;
    bool right; /* figures */
    bool grows; /* is cut when the terminal is too narrow */
};

struct table {
    struct client *c;
    const struct column *columns;
    size_t n;
    struct str *cells;
    size_t n_cells, room;
};

/* A table for people; with --output plain a line a row, cells separated by tabs. */
void table_begin(struct table *t, struct client *c, const struct column *columns, size_t n);
/* The next cell. Any text: it is cleaned. */
void table_add(struct table *t, struct str text);
void table_addf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
void table_end(struct table *t);

/* The answer as the HTTP API has it, in JSON. */
int say_json(struct client *c, const ProtobufCMessage *message);
/* An object of names and texts: what has no message of its own. */
int say_json_object(struct client *c, const struct rpc_pair *members, size_t n);

/* For people: "2026-12-01 14:05" in the time zone of the user; else RFC 3339. */
struct Google__Protobuf__Timestamp;
struct str time_text(struct client *c, const struct Google__Protobuf__Timestamp *t);

/* A line of output, cleaned. */
void say(struct client *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Somebody's text of one line, or of several. */
void say_line_of(struct client *c, struct str text);
void say_text_of(struct client *c, struct str text);
/* "\033[1m" when there are colours, else "". */
const char *style(const struct client *c, const char *code);
#define BOLD "\033[1m"
#define DIM "\033[2m"
#define PLAIN "\033[0m"

/* ---- help.c ---- */

struct command {
    const char *group; /* "post"; "": a command of its own */
    const char *name;  /* "list" */
    const char *arguments, *summary;
    const char *details;  /* NULL or more lines */
    const char *examples; /* lines, without the program's name */
    const struct argp_option *options;
    int min, max; /* arguments; max < 0: any number */
    int (*run)(struct client *c);
};

extern const struct command commands[];
extern const size_t n_commands;

/* The command that the words name; *ret_words of them. NULL: there is none. */
const struct command *command_find(char **words, int n, int *ret_words);
bool is_group(const char *name);
/* "stoa post list" */
struct str command_name(struct client *c, const struct command *command);
/* The commands of a group, a line each; the second one as its help. */
void print_commands(struct buf *to, const char *group);
void print_group(struct client *c, const char *group);
/* The manual page "stoa", "stoa-post", "stoa-chat". */
int print_manual(struct client *c, const char *page);
/* What may stand for the last of these words (after `stoa`). */
void print_completions(struct client *c, char **words, int n);

/* ---- the commands ---- */

int account_register(struct client *c);
int account_login(struct client *c);
int account_logout(struct client *c);
int account_whoami(struct client *c);
int sessions_list(struct client *c);
int sessions_end(struct client *c);
int sessions_end_others(struct client *c);

int post_list(struct client *c);
int post_search(struct client *c);
int post_show(struct client *c);
int post_new(struct client *c);
int post_edit(struct client *c);
int post_publish(struct client *c);
int post_delete(struct client *c);
int comment_list(struct client *c);
int comment_add(struct client *c);
int comment_delete(struct client *c);
int people_follow(struct client *c);
int people_unfollow(struct client *c);
int people_feed(struct client *c);

int chat_rooms(struct client *c);
int chat_join(struct client *c);
int chat_history(struct client *c);
int chat_send(struct client *c);
int chat_tail(struct client *c);
int chat_screen(struct client *c);

int service_status(struct client *c);
/* Whether a service is there, without a token; one try. */
void ask_health(struct client *c, enum service service, struct rpc_answer *ret);

#endif
