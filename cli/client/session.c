/* Who is signed in: tokens from the file, renewed without a word.
 *
 * A refresh token may be used once (services/auth): so a program that renews holds the lock of the
 * file from before it reads the token until the next one is written. Before it asks, it writes the
 * file as it is: when the disk is full that fails while the token is still good. */
#include "client.h"

#include "../paths.h"

#include "stoa/auth/v1/sessions.pb-c.h"

#include <errno.h>
#include <time.h>

/* A token that expires sooner is renewed: the call and clocks that differ take their time. */
#define MARGIN_S 30

static int file_trouble(struct client *c)
{
    return fail(c, LOCAL, "%.*s", STR_FMT(c->credentials.error));
}

static int open_credentials(struct client *c)
{
    const char *state;

    if (c->credentials.path)
        return 0;
    state = paths_xdg(&c->arena, "XDG_STATE_HOME", "/.local/state");
    if (!state)
        return fail(c, LOCAL, "set HOME or XDG_STATE_HOME to an absolute path: for the tokens");
    return credentials_open(&c->credentials, &c->arena, TEXT(c, "%s/stoa/client", state).p)
               ? file_trouble(c)
               : 0;
}

static void find_login(struct client *c)
{
    int err = credentials_find(&c->credentials, c->set.servers, &c->login);

    if (err == -ENOMEM)
        must_have(NULL);
    c->login_is_read = true;
}

static int read_login(struct client *c)
{
    int status = c->login_is_read ? 0 : open_credentials(c);

    if (c->login_is_read || status)
        return status;
    if (credentials_look(&c->credentials))
        return file_trouble(c);
    find_login(c);
    return 0;
}

const char *login_name(struct client *c)
{
    return read_login(c) || !c->login.username.n ? NULL : c->login.username.p;
}

static int put_login(struct client *c)
{
    if (credentials_put(&c->credentials, &c->login) || credentials_commit(&c->credentials))
        return file_trouble(c);
    return 0;
}

int keep_login(struct client *c, const char *username, const char *access_token,
               const char *refresh_token)
{
    int status = open_credentials(c);

    if (status)
        return status;
    if (credentials_lock(&c->credentials))
        return file_trouble(c);
    c->login = (struct login){
        .servers = c->set.servers,
        .username = str_of(username),
        .access_token = str_of(access_token),
        .refresh_token = str_of(refresh_token),
        .expires_at_s = token_expires_at_s(str_of(access_token)),
    };
    c->login_is_read = true;
    return put_login(c);
}

int forget_login(struct client *c)
{
    int status = open_credentials(c);

    if (status)
        return status;
    if (credentials_lock(&c->credentials))
        return file_trouble(c);
    c->login = (struct login){.servers = c->set.servers};
    if (credentials_drop(&c->credentials, c->set.servers))
        return credentials_commit(&c->credentials) ? file_trouble(c) : 0;
    credentials_unlock(&c->credentials);
    return 0;
}

/* ---- renewing ---- */

static bool is_good(const struct login *login, struct str refused)
{
    return login->access_token.n && !str_eq(login->access_token, refused) &&
           (!login->expires_at_s || login->expires_at_s - MARGIN_S > time(NULL));
}

/* The session has ended: what is kept of it is of no use. Locked. */
static int drop_ended(struct client *c)
{
    struct str name = c->login.username;

    c->login = (struct login){.servers = c->set.servers};
    credentials_drop(&c->credentials, c->set.servers);
    if (credentials_commit(&c->credentials))
        return file_trouble(c);
    return fail(c, SIGN_IN, "the session of %.*s has ended: sign in again with `stoa login'",
                STR_FMT(name));
}

/* Locked, and the login is the one of the file. */
static int ask_for_next(struct client *c)
{
    Stoa__Auth__V1__RefreshSessionRequest request = STOA__AUTH__V1__REFRESH_SESSION_REQUEST__INIT;
    const Stoa__Auth__V1__RefreshSessionResponse *response;
    const struct call call = {.service = &stoa__auth__v1__session_service__descriptor,
                              .method = "RefreshSession",
                              .request = &request.base};
    struct rpc_answer answer;

    request.refresh_token = (char *)c->login.refresh_token.p;
    if (try_call(c, &call, &answer) == RPC_UNAUTHENTICATED)
        return drop_ended(c);
    if (answer.code != RPC_OK) {
        credentials_unlock(&c->credentials);
        return told(c, SERVICE_AUTH, &answer);
    }
    response = (const Stoa__Auth__V1__RefreshSessionResponse *)answer.response;
    if (response->user) {
        c->login.username = str_of(response->user->username);
        c->login.access_token = str_of(response->user->token);
    }
    c->login.refresh_token = str_of(response->refresh_token);
    c->login.expires_at_s = token_expires_at_s(c->login.access_token);
    return put_login(c);
}

static int renew(struct client *c, struct str refused)
{
    if (credentials_lock(&c->credentials))
        return file_trouble(c);
    find_login(c);
    if (!c->login.refresh_token.n || is_good(&c->login, refused)) {
        credentials_unlock(&c->credentials); /* another program was here first */
        return 0;
    }
    if (credentials_put(&c->credentials, &c->login) || credentials_commit(&c->credentials) ||
        credentials_lock(&c->credentials))
        return file_trouble(c);
    find_login(c);
    if (!is_good(&c->login, refused))
        return ask_for_next(c);
    credentials_unlock(&c->credentials);
    return 0;
}

int access_token(struct client *c, struct str refused, struct str *ret)
{
    int status = read_login(c);

    *ret = STR_NULL;
    if (!status && c->login.refresh_token.n && !is_good(&c->login, refused))
        status = renew(c, refused);
    if (!status && c->login.access_token.n)
        *ret = c->login.access_token;
    return status;
}
