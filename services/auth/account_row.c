/* Accounts as rows have them and as callers see them, and the names that they may have. */
#include "auth.h"

#include "names.h"
#include "text/username_key.h"

#include <errno.h>

#define MAX_USERNAME_KEY_BYTES 1024 /* some characters are many when they are folded */

static char *column(const struct db_result *result, int col)
{
    return (char *)db_get_text(result, 0, col).p;
}

Stoa__Auth__V1__User auth_user_of_row(const struct db_result *result, int first_column, char *token)
{
    enum { EMAIL, USERNAME, BIO, IMAGE };
    Stoa__Auth__V1__User user = STOA__AUTH__V1__USER__INIT;

    user.email = column(result, first_column + EMAIL);
    user.token = token;
    user.username = column(result, first_column + USERNAME);
    if (!db_is_null(result, 0, first_column + BIO)) {
        user._bio_case = STOA__AUTH__V1__USER___BIO_BIO;
        user.bio = column(result, first_column + BIO);
    }
    if (!db_is_null(result, 0, first_column + IMAGE)) {
        user._image_case = STOA__AUTH__V1__USER___IMAGE_IMAGE;
        user.image = column(result, first_column + IMAGE);
    }
    return user;
}

/* ---- entity tags ---- */

/* What every tag of an account in this state begins with, behind its first quote. */
static struct str version_of(struct rpc_call *call, const Stoa__Auth__V1__User *account)
{
    struct arena *arena = rpc_call_arena(call);
    Stoa__Auth__V1__User shown = *account;
    struct str view;

    shown.token = (char *)protobuf_c_empty_string;
    view = service_view(arena, service_pack(arena, &shown.base), 0);
    return view.p ? arena_printf(arena, "%.*s.", STR_FMT(view)) : STR_NULL;
}

/* The token is shown as well: a browser that kept the answer to a session before would otherwise be
 * told that its token is still the one to use. */
bool auth_tag_account(struct rpc_call *call, const Stoa__Auth__V1__User *account)
{
    struct str version = version_of(call, account);
    struct str view =
        version.p ? service_view(rpc_call_arena(call), str_of(account->token), 0) : STR_NULL;

    return service_add_tag(call, version, view);
}

int auth_conditions_hold(struct rpc_call *call, const Stoa__Auth__V1__User *account, bool *ret)
{
    struct str version = version_of(call, account);
    struct str prefix =
        version.p ? arena_printf(rpc_call_arena(call), "\"%.*s", STR_FMT(version)) : STR_NULL;

    if (!prefix.p)
        return -ENOMEM;
    *ret = service_conditions_hold(call, prefix);
    return 0;
}

/* ---- names ---- */

static int complete_username(struct auth_names *names, struct arena *arena)
{
    int r = username_key(names->username, arena, &names->username_key);

    if (r < 0)
        return r;
    names->fault = username_fault(names->username);
    if (!names->fault && names->username_key.n > MAX_USERNAME_KEY_BYTES)
        names->fault = "is too long in its compatibility form";
    return names->fault ? -EINVAL : 0;
}

int auth_complete_names(struct auth_names *names, struct arena *arena)
{
    if (names->email.p) {
        names->email_key = email_key(names->email, arena);
        if (!names->email_key.p)
            return -ENOMEM;
    }
    return names->username.p ? complete_username(names, arena) : 0;
}

void auth_fail_names(struct rpc_call *call, const struct auth_names *names)
{
    if (names->fault)
        service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", "user.username",
                           names->fault);
    else
        service_fail_memory(call);
}

void auth_fail_taken(struct rpc_call *call, bool username, bool email)
{
    static const struct str description = {"has already been taken", 22};
    struct schema_fault violations[2];
    size_t n = 0;

    if (username)
        violations[n++] = (struct schema_fault){STR("user.username"), description};
    if (email)
        violations[n++] = (struct schema_fault){STR("user.email"), description};
    rpc_fail_with(call, &(struct rpc_error){
                            .code = RPC_ALREADY_EXISTS,
                            .message = STR("username or e-mail address has already been taken"),
                            .reason = "ALREADY_TAKEN",
                            .violations = violations,
                            .n_violations = n,
                        });
}

bool auth_found_taken(struct rpc_call *call, const struct db_result *result)
{
    bool username = str_eq(result->constraint, AUTH_USERNAME_UNIQUE);
    bool email = str_eq(result->constraint, AUTH_EMAIL_UNIQUE);

    if (result->error != DB_UNIQUE || !(username || email))
        return false;
    auth_fail_taken(call, username, email); /* somebody else was quicker */
    return true;
}
