/* Every SQL statement of auth, with the index that serves it. */
#include "statements.h"

/* A session is started only together with the publication of the key that signs its tokens. The
 * first look, by signing_keys_pkey, is all that happens but once a day. */
#define PUBLISH_KEY_ONCE_A_DAY(key_id, public_jwk)                                       \
    "key AS ("                                                                           \
    " INSERT INTO auth.signing_keys (key_id, public_jwk) SELECT " key_id ", " public_jwk \
    " WHERE NOT EXISTS (SELECT FROM auth.signing_keys AS k"                              \
    "  WHERE k.key_id = " key_id " AND k.last_used_at > now() - interval '1 day')"       \
    " ON CONFLICT (key_id) DO UPDATE SET last_used_at = now())"

const struct db_statement auth_statements[AUTH_N_STATEMENTS] = {
    /* Is somebody called so already? Asked before a password is hashed; the constraints decide.
     * users_username_key_unique, users_email_key_unique.
     * 1 username_key, 2 email_key -> username taken, email taken */
    [AUTH_TAKEN] = {.name = "taken",
                    .kind = DB_READ,
                    .params = {DB_TEXT, DB_TEXT},
                    .sql = "SELECT EXISTS (SELECT FROM auth.users WHERE username_key = $1),"
                           " EXISTS (SELECT FROM auth.users WHERE email_key = $2)"},

    /* A new account, signed in.
     * 1 username, 2 username_key, 3 email, 4 email_key, 5 password_hash, 6 session id, 7 key id,
     * 8 public key -> id */
    [AUTH_CREATE_ACCOUNT] =
        {.name = "create_account",
         .kind = DB_WRITE,
         .params = {DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_UUID, DB_TEXT, DB_TEXT},
         .sql = "WITH account AS ("
                " INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                " VALUES ($1, $2, $3, $4, $5) RETURNING id),"
                " session AS ("
                " INSERT INTO auth.sessions (id, user_id) SELECT $6, id FROM account),"
                " " PUBLISH_KEY_ONCE_A_DAY("$7", "$8") " SELECT id FROM account"},

    /* Whom does this e-mail address belong to? users_email_key_unique.
     * 1 email_key -> id, password_hash */
    [AUTH_FIND_ACCOUNT] = {.name = "find_account",
                           .kind = DB_READ,
                           .params = {DB_TEXT},
                           .sql = "SELECT id, password_hash FROM auth.users WHERE email_key = $1"},

    /* Signs in, unless the password was changed since it was verified. users_pkey.
     * 1 account id, 2 password_hash, 3 session id, 4 key id, 5 public key
     * -> email, username, bio, image */
    [AUTH_START_SESSION] =
        {.name = "start_session",
         .kind = DB_WRITE,
         .params = {DB_INT8, DB_TEXT, DB_UUID, DB_TEXT, DB_TEXT},
         .sql = "WITH account AS ("
                " SELECT id, email, username, bio, image FROM auth.users"
                " WHERE id = $1 AND password_hash = $2),"
                " session AS ("
                " INSERT INTO auth.sessions (id, user_id) SELECT $3, id FROM account),"
                " " PUBLISH_KEY_ONCE_A_DAY(
                    "$4", "$5") " SELECT email, username, bio, image FROM account"},

    /* The caller's own account. users_pkey.
     * 1 account id -> email, username, bio, image */
    [AUTH_CURRENT_ACCOUNT] =
        {.name = "current_account",
         .kind = DB_READ,
         .params = {DB_INT8},
         .sql = "SELECT email, username, bio, image FROM auth.users WHERE id = $1"},

    /* At start: makes this instance's key known, and drops keys that can't have signed a token that
     * still lives: 31 days is the longest life (lib/jwt), 1 day the precision of last_used_at.
     * signing_keys_pkey; the table has a row for each instance.
     * 1 key id, 2 public key */
    [AUTH_PUBLISH_KEY] = {.name = "publish_key",
                          .kind = DB_WRITE,
                          .params = {DB_TEXT, DB_TEXT},
                          .sql = "WITH gone AS (DELETE FROM auth.signing_keys"
                                 " WHERE last_used_at < now() - interval '33 days'"
                                 " AND key_id <> $1)"
                                 " INSERT INTO auth.signing_keys (key_id, public_jwk)"
                                 " VALUES ($1, $2)"
                                 " ON CONFLICT (key_id) DO UPDATE SET last_used_at = now()"},

    /* -> public key */
    [AUTH_PUBLISHED_KEYS] = {.name = "published_keys",
                             .kind = DB_READ,
                             .params = {DB_END},
                             .sql = "SELECT public_jwk FROM auth.verification_keys"
                                    " ORDER BY key_id"},
};
