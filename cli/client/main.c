/* stoa-client: options, the choice of the command, the exit status. */
#include "client.h"

#include "../file.h"
#include "../paths.h"
#include "../usage.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define WIDTH_DEFAULT 80
#define ERROR_MAX 4096

const char *argp_program_version = "stoa " STOA_VERSION;

/* ---- what every command needs ---- */

int fail(struct client *c, enum exit_status status, const char *fmt, ...)
{
    struct buf line = {.max = ERROR_MAX};
    char text[ERROR_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    terminal_clean(&line, str_of(text), false);
    if (c->notice)
        c->notice(c->notice_data, buf_str(&line));
    else
        fprintf(stderr, "stoa: %.*s\n", STR_FMT(buf_str(&line)));
    buf_free(&line);
    return status;
}

void *must_have(void *p)
{
    if (p)
        return p;
    fputs("stoa: out of memory\n", stderr);
    exit(LOCAL);
}

struct str must_str(struct str s)
{
    must_have((void *)s.p);
    return s;
}

int flush(struct client *c)
{
    int err = buf_error(&c->out) ? buf_error(&c->out) : terminal_write(buf_str(&c->out));

    c->out.n = 0;
    return err ? fail(c, LOCAL, "cannot write the output: %s", strerror(-err)) : 0;
}

static bool number(struct client *c, const char *text, const char *what, int64_t min, int64_t max,
                   int64_t *ret)
{
    if (str_to_int64(str_of(text), ret) == 0 && *ret >= min && *ret <= max)
        return true;
    if (max == INT64_MAX)
        fail(c, USAGE, "%s '%s': write a number, %lld or more", what, text, (long long)min);
    else
        fail(c, USAGE, "%s '%s': write a number, %lld to %lld", what, text, (long long)min,
             (long long)max);
    return false;
}

bool number_option(struct client *c, char letter, int64_t min, int64_t max, int64_t fallback,
                   int64_t *ret)
{
    const char name[] = {'-', letter, '\0'};

    *ret = fallback;
    return !has_option(c, letter) || number(c, option_of(c, letter), name, min, max, ret);
}

bool number_argument(struct client *c, const char *text, const char *what, int64_t min,
                     int64_t *ret)
{
    return number(c, text, what, min, INT64_MAX, ret);
}

int read_text(struct client *c, const char *path, struct str *ret)
{
    struct buf text CLEANUP(buf_free) = {.max = DOCUMENT_MAX};
    int err = read_path(path, &text);

    if (err)
        return fail(c, LOCAL, "cannot read %s: %s", path, strerror(-err));
    if (text.n && memchr(text.p, '\0', text.n)) /* what is sent would end there */
        return fail(c, REFUSED, "there is a NUL byte in %s: it is no text", path);
    *ret = must_str(arena_copy(&c->arena, text.p ? buf_str(&text) : STR("")));
    return 0;
}

/* ---- options ---- */

enum {
    OPTION_TIMEOUT = 256,
    OPTION_AUTH,
    OPTION_POSTS,
    OPTION_CHAT,
    OPTION_TLS,
    OPTION_NO_TLS,
    OPTION_CA,
    OPTION_CERTIFICATE,
    OPTION_KEY,
};

static const struct {
    int key;
    const char *variable, *value; /* value NULL: the option's own */
} option_variables[] = {
    {'o', "STOA_OUTPUT", NULL},
    {OPTION_TIMEOUT, "STOA_TIMEOUT", NULL},
    {OPTION_AUTH, "STOA_AUTH_ADDRESS", NULL},
    {OPTION_POSTS, "STOA_POSTS_ADDRESS", NULL},
    {OPTION_CHAT, "STOA_CHAT_ADDRESS", NULL},
    {OPTION_TLS, "STOA_TLS", "on"},
    {OPTION_NO_TLS, "STOA_TLS", "off"},
    {OPTION_CA, "STOA_CA_FILE", NULL},
    {OPTION_CERTIFICATE, "STOA_CERTIFICATE_FILE", NULL},
    {OPTION_KEY, "STOA_KEY_FILE", NULL},
};

const struct argp_option common_options[] = {
    {NULL, 0, NULL, 0, "Options of every command:", 2},
    {"output", 'o', "FORMAT", 0, "table, plain (lines with tabs) or json", 2},
    {"timeout", OPTION_TIMEOUT, "SECONDS", 0, "how long to wait for an answer (10)", 2},
    {"auth-address", OPTION_AUTH, "HOST:PORT", 0, "where auth is (127.0.0.1:9001)", 2},
    {"posts-address", OPTION_POSTS, "HOST:PORT", 0, "where posts is (127.0.0.1:9002)", 2},
    {"chat-address", OPTION_CHAT, "HOST:PORT", 0, "where chat is (127.0.0.1:9003)", 2},
    {"tls", OPTION_TLS, NULL, 0, "encrypted, as it is but for this machine", 2},
    {"no-tls", OPTION_NO_TLS, NULL, 0, "not encrypted, wherever it goes", 2},
    {"ca-file", OPTION_CA, "FILE", 0, "who may sign certificates (PEM)", 2},
    {"certificate-file", OPTION_CERTIFICATE, "FILE", 0, "a certificate to show (PEM)", 2},
    {"key-file", OPTION_KEY, "FILE", 0, "its key (PEM)", 2},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t take(int key, char *arg, struct argp_state *state)
{
    struct client *c = state->input;
    const struct command *command = c->command;

    for (size_t i = 0; i < ARRAY_SIZE(option_variables); i++) {
        if (option_variables[i].key == key) {
            const char *value = option_variables[i].value ? option_variables[i].value : arg;

            if (setenv(option_variables[i].variable, value, 1))
                must_have(NULL);
            return 0;
        }
    }
    if (key == ARGP_KEY_ARG) {
        if (command->max >= 0 && c->argc >= command->max)
            usage_error(state, "too many arguments: '%s'", arg);
        c->argv[c->argc++] = arg;
        return 0;
    }
    if (key == ARGP_KEY_END) {
        if (c->argc < command->min)
            usage_error(state, "%s is missing", command->arguments);
        return 0;
    }
    for (const struct argp_option *o = command->options; o && (o->name || o->key); o++) {
        if (o->key == key) {
            c->options[key] = arg ? arg : "";
            return 0;
        }
    }
    return ARGP_ERR_UNKNOWN;
}

static size_t count_options(const struct argp_option *o)
{
    size_t n = 0;

    while (o && (o[n].name || o[n].key || o[n].doc))
        n++;
    return n;
}

/* "SUMMARY\vDETAILS Examples: ...", as argp has it. */
static char *help_text(struct client *c)
{
    const struct command *command = c->command;
    struct buf text = {.max = 65536};

    buf_printf(&text, "%c%s.\v%s%s", command->summary[0] - 32, command->summary + 1,
               command->details ? command->details : "", command->details ? "\n\n" : "");
    buf_append_str(&text, STR("Examples:\n"));
    for (const char *p = command->examples; *p;) {
        size_t n = strcspn(p, "\n");

        buf_printf(&text, "  stoa %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    if (!*command->group && is_group(command->name)) {
        buf_append_str(&text, STR("\nCommands:\n"));
        print_commands(&text, command->name);
    }
    buf_append_char(&text, '\0');
    if (buf_error(&text))
        must_have(NULL);
    return text.p;
}

static int parse(struct client *c, int words, int argc, char **argv)
{
    size_t own = count_options(c->command->options), common = ARRAY_SIZE(common_options);
    struct argp_option *options = must_have(calloc(own + common, sizeof(*options)));
    char *doc = help_text(c);
    struct argp argp = {
        .options = options,
        .parser = take,
        .args_doc = *c->command->arguments ? c->command->arguments : NULL,
        .doc = doc,
        .children = usage_children,
    };
    error_t err;

    if (own)
        memcpy(options, c->command->options, own * sizeof(*options));
    memcpy(options + own, common_options, common * sizeof(*options));
    c->argv = must_have(calloc((size_t)argc + 1, sizeof(*c->argv)));
    argv[words] = (char *)command_name(c, c->command).p;
    err = argp_parse(&argp, argc - words, argv + words, ARGP_NO_HELP | ARGP_NO_ERRS, NULL, c);
    free(doc);
    free(options);
    return err ? fail(c, LOCAL, "%s", strerror(err)) : 0;
}

/* ---- running ---- */

static int load_settings(struct client *c)
{
    const char *config = paths_xdg(&c->arena, "XDG_CONFIG_HOME", "/.config");
    struct str error;

    if (settings_load(&c->set, config ? TEXT(c, "%s/stoa/config", config).p : NULL, &c->arena,
                      &error))
        return fail(c, USAGE, "%.*s", STR_FMT(error));
    c->on_terminal = isatty(STDOUT_FILENO);
    c->color = terminal_has_color();
    c->width = terminal_columns();
    if (!c->width)
        c->width = WIDTH_DEFAULT;
    if (!c->set.output_name.n)
        c->set.output = c->on_terminal ? OUTPUT_TABLE : OUTPUT_PLAIN;
    return 0;
}

static int finish(struct client *c, int status)
{
    int err = buf_error(&c->out);

    if (!err)
        err = c->on_terminal ? terminal_page(buf_str(&c->out)) : terminal_write(buf_str(&c->out));
    if (err)
        status = fail(c, LOCAL, "cannot write the output: %s", strerror(-err));
    credentials_close(&c->credentials);
    for (size_t i = 0; i < N_SERVICES; i++)
        rpc_client_free(c->channels[i]);
    schema_free(c->schema);
    free(c->argv);
    buf_free(&c->out);
    arena_free(&c->arena);
    return status;
}

static int no_command(struct client *c, int argc, char **argv)
{
    if (argc > 1 && is_group(argv[1])) {
        if (argc == 2 || strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-?") == 0) {
            print_group(c, argv[1]);
            return argc == 2 ? USAGE : DONE;
        }
        return fail(c, USAGE, "there is no command '%s %s': `stoa %s --help' lists them", argv[1],
                    argv[2], argv[1]);
    }
    return fail(c, USAGE, "there is no command '%s': `stoa --help' lists them",
                argc > 1 ? argv[1] : "");
}

static int run(struct client *c, int argc, char **argv)
{
    int words = 0, status;

    if (argc > 2 && strcmp(argv[1], "--man") == 0)
        return print_manual(c, argv[2]);
    if (argc > 1 && strcmp(argv[1], "complete") == 0) {
        print_completions(c, argv + 2, argc - 2);
        return DONE;
    }
    c->command = command_find(argv + 1, argc - 1, &words);
    if (!c->command)
        return no_command(c, argc, argv);
    status = parse(c, words, argc, argv);
    if (!status)
        status = load_settings(c);
    return status ? status : c->command->run(c);
}

int main(int argc, char **argv)
{
    struct client c = {.command = NULL};

    argp_err_exit_status = USAGE;
    if (setenv("ARGP_HELP_FMT", "opt-doc-col=34", 0)) /* behind the longest option */
        must_have(NULL);
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN); /* terminal_write() sees to it */
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(), not the end */
    /* What the core has to say of a connection is in the answers. */
    setenv("GRPC_VERBOSITY", "NONE", 0);
    /* Names as every program of the system finds them: c-ares knows no nsswitch.conf. */
    setenv("GRPC_DNS_RESOLVER", "native", 0);
    arena_init(&c.arena, 0);
    buf_init(&c.out, OUTPUT_MAX);
    return finish(&c, run(&c, argc, argv));
}
