/* register, login, logout, whoami, sessions. */
#include "client.h"
#include "prompt.h"

#include "stoa/auth/v1/auth.pb-c.h"
#include "stoa/auth/v1/sessions.pb-c.h"

#include <unistd.h>

#define AUTH &stoa__auth__v1__auth_service__descriptor
#define SESSIONS &stoa__auth__v1__session_service__descriptor

/* An argument, or the answer to a question. */
static int argument_or_ask(struct client *c, int at, const char *prompt, char **ret)
{
    struct str line;
    int status;

    *ret = at < c->argc ? c->argv[at] : NULL;
    if (*ret)
        return 0;
    status = prompt_line(c, prompt, &line);
    if (!status && !line.n)
        status = fail(c, USAGE, "%s is missing", c->command->arguments);
    *ret = (char *)line.p;
    return status;
}

static int say_signed_in(struct client *c, const Stoa__Auth__V1__User *user)
{
    if (c->set.output == OUTPUT_JSON) {
        const struct rpc_pair members[] = {{STR("username"), str_of(user->username)},
                                           {STR("email"), str_of(user->email)}};

        return say_json_object(c, members, ARRAY_SIZE(members));
    }
    say(c, "Signed in as %s.", user->username);
    return DONE;
}

static int signed_in(struct client *c, const Stoa__Auth__V1__User *user, const char *refresh_token)
{
    int status;

    if (!user)
        return fail(c, FAILED, "the answer has no account in it");
    status = keep_login(c, user->username, user->token, refresh_token);
    return status ? status : say_signed_in(c, user);
}

/* Typed blind it is asked for twice. */
static int new_password(struct client *c, struct str *ret)
{
    struct str again;
    int status = prompt_password(c, "Password: ", ret);

    if (status || !isatty(STDIN_FILENO))
        return status;
    status = prompt_password(c, "The same again: ", &again);
    if (!status && !str_eq(*ret, again))
        status = fail(c, REFUSED, "these are two different passwords");
    if (!status)
        prompt_wipe(again);
    return status;
}

int account_register(struct client *c)
{
    Stoa__Auth__V1__CreateUserRequest request = STOA__AUTH__V1__CREATE_USER_REQUEST__INIT;
    Stoa__Auth__V1__CreateUserRequest__NewUser user =
        STOA__AUTH__V1__CREATE_USER_REQUEST__NEW_USER__INIT;
    const struct call call = {.service = AUTH, .method = "CreateUser", .request = &request.base};
    const Stoa__Auth__V1__CreateUserResponse *response;
    struct rpc_answer answer;
    struct str password;
    int status = argument_or_ask(c, 0, "Username: ", &user.username);

    if (!status)
        status = argument_or_ask(c, 1, "E-mail address: ", &user.email);
    if (!status)
        status = new_password(c, &password);
    if (status)
        return status;
    user.password = (char *)password.p;
    request.user = &user;
    status = make_call(c, &call, &answer);
    prompt_wipe(password);
    if (status)
        return status;
    response = (const Stoa__Auth__V1__CreateUserResponse *)answer.response;
    return signed_in(c, response->user, response->refresh_token);
}

int account_login(struct client *c)
{
    Stoa__Auth__V1__LoginRequest request = STOA__AUTH__V1__LOGIN_REQUEST__INIT;
    Stoa__Auth__V1__LoginRequest__Credentials user =
        STOA__AUTH__V1__LOGIN_REQUEST__CREDENTIALS__INIT;
    const struct call call = {.service = AUTH, .method = "Login", .request = &request.base};
    const Stoa__Auth__V1__LoginResponse *response;
    struct rpc_answer answer;
    struct str password;
    int status = argument_or_ask(c, 0, "E-mail address: ", &user.email);

    if (!status)
        status = prompt_password(c, "Password: ", &password);
    if (status)
        return status;
    user.password = (char *)password.p;
    request.user = &user;
    (void)try_call(c, &call, &answer);
    prompt_wipe(password);
    if (answer.code == RPC_UNAUTHENTICATED)
        return fail(c, SIGN_IN,
                    "the e-mail address or the password is wrong: try again, or make an account "
                    "with `stoa register'");
    if (answer.code != RPC_OK)
        return told(c, SERVICE_AUTH, &answer);
    response = (const Stoa__Auth__V1__LoginResponse *)answer.response;
    return signed_in(c, response->user, response->refresh_token);
}

int account_logout(struct client *c)
{
    Stoa__Auth__V1__EndCurrentSessionRequest request =
        STOA__AUTH__V1__END_CURRENT_SESSION_REQUEST__INIT;
    const struct call call = {
        .service = SESSIONS, .method = "EndCurrentSession", .request = &request.base};
    struct rpc_answer answer;
    int status;

    if (!login_name(c))
        return fail(c, SIGN_IN, "nobody is signed in at %.*s",
                    STR_FMT(c->set.address[SERVICE_AUTH]));
    if (!has_option(c, 'f') && try_call(c, &call, &answer) != RPC_OK &&
        answer.code != RPC_UNAUTHENTICATED) {
        struct str line;

        status = describe(c, SERVICE_AUTH, &answer, &line);
        return fail(c, status,
                    "%.*s; still signed in: `stoa logout --forget' forgets the tokens here",
                    STR_FMT(line));
    }
    status = forget_login(c);
    if (!status && c->set.output != OUTPUT_JSON)
        say(c, "Signed out.");
    return status;
}

int account_whoami(struct client *c)
{
    Stoa__Auth__V1__GetCurrentUserRequest request = STOA__AUTH__V1__GET_CURRENT_USER_REQUEST__INIT;
    const struct call call = {
        .service = AUTH, .method = "GetCurrentUser", .request = &request.base};
    const Stoa__Auth__V1__User *user;
    struct rpc_answer answer;
    int status = make_call(c, &call, &answer);

    if (status)
        return status;
    user = ((const Stoa__Auth__V1__GetCurrentUserResponse *)answer.response)->user;
    if (!user)
        return fail(c, FAILED, "the answer has no account in it");
    if (c->set.output == OUTPUT_JSON) {
        const struct rpc_pair members[] = {
            {STR("username"), str_of(user->username)},
            {STR("email"), str_of(user->email)},
            {STR("bio"), str_of(user->bio ? user->bio : "")},
            {STR("image"), str_of(user->image ? user->image : "")},
        };

        return say_json_object(c, members, ARRAY_SIZE(members)); /* without the token */
    }
    if (c->set.output == OUTPUT_PLAIN)
        say(c, "%s", user->username);
    else
        say(c, "%s, %s", user->username, user->email);
    if (c->set.output == OUTPUT_TABLE && user->bio && *user->bio) {
        say_text_of(c, str_of(user->bio));
        buf_append_char(&c->out, '\n');
    }
    return DONE;
}

/* ---- sessions ---- */

int sessions_list(struct client *c)
{
    static const struct column columns[] = {
        {"ID", false, false},    {"DEVICE", false, true},    {"FROM", false, false},
        {"SINCE", false, false}, {"LAST USE", false, false}, {"THIS", false, false},
    };
    Stoa__Auth__V1__ListSessionsRequest request = STOA__AUTH__V1__LIST_SESSIONS_REQUEST__INIT;
    const struct call call = {
        .service = SESSIONS, .method = "ListSessions", .request = &request.base};
    const Stoa__Auth__V1__ListSessionsResponse *response;
    struct rpc_answer answer;
    struct table table;
    int status;

    request.page_size = 100;
    request.page_token = (char *)(has_option(c, 'p') ? option_of(c, 'p') : "");
    status = make_call(c, &call, &answer);
    if (status)
        return status;
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer.response);
    response = (const Stoa__Auth__V1__ListSessionsResponse *)answer.response;
    table_begin(&table, c, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < response->n_sessions; i++) {
        const Stoa__Auth__V1__Session *s = response->sessions[i];

        table_add(&table, str_of(s->id));
        table_add(&table, str_of(s->device ? s->device : ""));
        table_add(&table, str_of(s->address ? s->address : ""));
        table_add(&table, time_text(c, s->created_at));
        table_add(&table, time_text(c, s->last_used_at));
        table_add(&table, s->current ? STR("yes") : STR(""));
    }
    table_end(&table);
    if (*response->next_page_token && c->set.output == OUTPUT_TABLE)
        say(c, "More: stoa sessions --page %s", response->next_page_token);
    return DONE;
}

int sessions_end(struct client *c)
{
    Stoa__Auth__V1__EndSessionRequest request = STOA__AUTH__V1__END_SESSION_REQUEST__INIT;
    const struct call call = {
        .service = SESSIONS, .method = "EndSession", .request = &request.base};
    struct rpc_answer answer;
    int status;

    request.session = c->argv[0];
    status = make_call(c, &call, &answer);
    if (!status && c->set.output != OUTPUT_JSON)
        say(c, "Ended %s.", c->argv[0]);
    return status;
}

int sessions_end_others(struct client *c)
{
    Stoa__Auth__V1__EndOtherSessionsRequest request =
        STOA__AUTH__V1__END_OTHER_SESSIONS_REQUEST__INIT;
    const struct call call = {
        .service = SESSIONS, .method = "EndOtherSessions", .request = &request.base};
    struct rpc_answer answer;
    int status = make_call(c, &call, &answer);

    if (!status && c->set.output != OUTPUT_JSON)
        say(c, "All other sessions are ended.");
    return status;
}
