/* The tokens of those who are signed in: $XDG_STATE_HOME/stoa/client/logins, JSON, the owner's
 * alone.
 *
 * A login belongs to the three addresses that it was made with, and is for no others: a token never
 * goes where it did not come from. Changes are made under a lock on the folder, and the file is at
 * any moment the old or the new one (../file.h). Whoever renews a token holds the lock meanwhile:
 * of several programs one asks, the others read what it got, so that no refresh token is used
 * twice. One thread.
 */
#ifndef STOA_CLI_CLIENT_CREDENTIALS_H
#define STOA_CLI_CLIENT_CREDENTIALS_H

#include "../file.h"

struct login {
    struct str servers; /* settings.servers */
    struct str username, access_token, refresh_token;
    int64_t expires_at_s; /* of the access token, Unix time; 0: it does not say */
};

struct json_t;

struct credentials {
    struct arena *arena;
    const char *path;
    struct json_t *logins; /* an array; NULL: not read */
    struct files files;
    bool locked;
    struct str error; /* one line for people, when a function below fails */
};

/* Makes the folder where it is missing. folder: $XDG_STATE_HOME/stoa/client. Negative errno. */
int credentials_open(struct credentials *c, struct arena *arena, const char *folder) MUST_CHECK;
void credentials_close(struct credentials *c);

/* Reads; the second takes the lock, until credentials_commit() or credentials_unlock(). -EPERM:
 * others may read the file. -EINVAL: it is damaged. Other negative errno. */
int credentials_look(struct credentials *c) MUST_CHECK;
int credentials_lock(struct credentials *c) MUST_CHECK;

/* The login of these servers; strings in the arena. -ENOENT, -ENOMEM. */
int credentials_find(struct credentials *c, struct str servers, struct login *ret) MUST_CHECK;

/* Under lock: in the place of the one of the same servers. -ENOMEM. */
int credentials_put(struct credentials *c, const struct login *login) MUST_CHECK;
/* Whether there was one. */
bool credentials_drop(struct credentials *c, struct str servers);

/* Writes what was put, and unlocks. Negative errno: the file is as before. */
int credentials_commit(struct credentials *c) MUST_CHECK;
void credentials_unlock(struct credentials *c);

/* When an access token (a JWT) expires, Unix time; 0: it does not say. It is not verified: that is
 * the services' business. */
int64_t token_expires_at_s(struct str token);

#endif
