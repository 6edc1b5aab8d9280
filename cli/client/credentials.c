#include "credentials.h"

#include "../paths.h"

#include "base/base64.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define TOKEN_BYTES_MAX 8192

static int fail(struct credentials *c, int err, struct str error)
{
    c->error = error.p ? error : STR("out of memory");
    return err;
}

int credentials_open(struct credentials *c, struct arena *arena, const char *folder)
{
    int err;

    *c = (struct credentials){.arena = arena};
    c->path = arena_printf(arena, "%s/logins", folder).p;
    if (!c->path)
        return fail(c, -ENOMEM, STR_NULL);
    err = paths_make_folders(folder, 0700);
    if (err)
        return fail(c, err, arena_printf(arena, "cannot make %s: %s", folder, strerror(-err)));
    return 0;
}

void credentials_unlock(struct credentials *c)
{
    if (c->locked)
        files_end(&c->files);
    c->locked = false;
}

void credentials_close(struct credentials *c)
{
    credentials_unlock(c);
    json_decref(c->logins);
    c->logins = NULL;
}

/* ---- reading ---- */

static int parse(struct credentials *c, const struct file *file)
{
    json_error_t error;

    json_decref(c->logins);
    c->logins = file->size ? json_loadb(file->bytes, file->size, 0, &error) : json_array();
    if (!c->logins && !file->size)
        return fail(c, -ENOMEM, STR_NULL);
    if (!json_is_array(c->logins)) {
        json_decref(c->logins);
        c->logins = NULL;
        return fail(c, -EINVAL,
                    arena_printf(c->arena, "%s is damaged: remove it and sign in again", c->path));
    }
    if (!file->is_new && file->as_read.st_mode & 077)
        return fail(c, -EPERM,
                    arena_printf(c->arena, "others may read %s: `chmod 600' it and sign in again",
                                 c->path));
    return 0;
}

int credentials_look(struct credentials *c)
{
    struct files files;
    int err = files_look(&files, c->arena, &c->path, 1);

    err = err ? fail(c, err, files.error) : parse(c, &files.file[0]);
    files_end(&files);
    return err;
}

int credentials_lock(struct credentials *c)
{
    int err = files_begin(&c->files, c->arena, &c->path, 1);

    assert(!c->locked);
    c->locked = true;
    c->files.new_mode = 0600;
    err = err ? fail(c, err, c->files.error) : parse(c, &c->files.file[0]);
    if (err)
        credentials_unlock(c);
    return err;
}

static json_t *find(const struct credentials *c, struct str servers, size_t *ret_at)
{
    size_t i;
    json_t *login;

    json_array_foreach(c->logins, i, login)
    {
        if (str_eq(str_of(json_string_value(json_object_get(login, "servers"))), servers)) {
            *ret_at = i;
            return login;
        }
    }
    return NULL;
}

static bool copy_text(struct credentials *c, const json_t *login, const char *name, struct str *ret)
{
    const char *text = json_string_value(json_object_get(login, name));

    *ret = arena_copy(c->arena, text ? str_of(text) : STR(""));
    return ret->p;
}

int credentials_find(struct credentials *c, struct str servers, struct login *ret)
{
    size_t at;
    const json_t *login = find(c, servers, &at);

    *ret = (struct login){.servers = servers};
    if (!login)
        return -ENOENT;
    if (!copy_text(c, login, "username", &ret->username) ||
        !copy_text(c, login, "accessToken", &ret->access_token) ||
        !copy_text(c, login, "refreshToken", &ret->refresh_token))
        return -ENOMEM;
    ret->expires_at_s = json_integer_value(json_object_get(login, "expiresAt"));
    return 0;
}

/* ---- changing ---- */

bool credentials_drop(struct credentials *c, struct str servers)
{
    size_t at;
    bool was = find(c, servers, &at) != NULL;

    assert(c->locked);
    return was && json_array_remove(c->logins, at) == 0;
}

static json_t *text_value(struct str s)
{
    return json_stringn(s.p ? s.p : "", s.n);
}

int credentials_put(struct credentials *c, const struct login *login)
{
    json_t *object = json_object();
    int err = 0;

    credentials_drop(c, login->servers);
    err |= json_object_set_new(object, "servers", text_value(login->servers));
    err |= json_object_set_new(object, "username", text_value(login->username));
    err |= json_object_set_new(object, "accessToken", text_value(login->access_token));
    err |= json_object_set_new(object, "refreshToken", text_value(login->refresh_token));
    err |= json_object_set_new(object, "expiresAt", json_integer(login->expires_at_s));
    err |= json_array_append(c->logins, object);
    json_decref(object);
    return err ? fail(c, -ENOMEM, STR_NULL) : 0;
}

int credentials_commit(struct credentials *c)
{
    char *text = json_dumps(c->logins, JSON_INDENT(2));
    struct str copy = text ? arena_copy(c->arena, str_of(text)) : STR_NULL;
    int err = copy.p ? 0 : -ENOMEM;

    assert(c->locked);
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    if (err) {
        err = fail(c, err, STR_NULL);
    } else {
        file_replace(&c->files, &c->files.file[0], copy);
        err = files_commit(&c->files);
        if (err)
            c->error = c->files.error;
    }
    credentials_unlock(c);
    return err;
}

/* ---- what an access token says ---- */

int64_t token_expires_at_s(struct str token)
{
    char text[TOKEN_BYTES_MAX];
    const char *dot = token.n ? memchr(token.p, '.', token.n) : NULL, *end;
    json_t *claims;
    int64_t at;
    ssize_t n;

    if (!dot || token.n > sizeof(text))
        return 0;
    token = str_skip(token, (size_t)(dot - token.p) + 1);
    end = memchr(token.p, '.', token.n);
    if (!end)
        return 0;
    n = base64_decode(text, (struct str){token.p, (size_t)(end - token.p)});
    claims = n < 0 ? NULL : json_loadb(text, (size_t)n, 0, NULL);
    at = json_integer_value(json_object_get(claims, "exp"));
    json_decref(claims);
    return at > 0 ? at : 0;
}
