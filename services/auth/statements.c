/* Every SQL statement of auth, with the index that serves it. */
#include "statements.h"

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)
#define PURGE_BATCH STRINGIFY(AUTH_PURGE_BATCH)

/* A session is started only together with the publication of the key that signs its tokens. The
 * first look, by signing_keys_pkey, is all that happens but once a day.
 * $8 key id, $9 public key. */
#define PUBLISH_KEY_ONCE_A_DAY                                             \
    "key AS ("                                                             \
    " INSERT INTO auth.signing_keys (key_id, public_jwk) SELECT $8, $9"    \
    " WHERE NOT EXISTS (SELECT FROM auth.signing_keys AS k"                \
    "  WHERE k.key_id = $8 AND k.last_used_at > now() - interval '1 day')" \
    " ON CONFLICT (key_id) DO UPDATE SET last_used_at = now())"

/* What every statement that makes an access token begins with, and binds first:
 * $1 session id, $2 family hash, $3 refresh hash, $4 address, $5 user agent, $6 seconds that the
 * access token lives, $7 seconds that the session lives, $8 key id, $9 public key. */
#define TOKEN_PARAMS \
    DB_UUID, DB_BYTEA, DB_BYTEA, DB_TEXT, DB_TEXT, DB_INT8, DB_INT8, DB_TEXT, DB_TEXT
#define TOKENS_EXPIRE "now() + make_interval(secs => $6)"
#define SESSION_EXPIRES "now() + make_interval(secs => $7)"

#define NEW_SESSION_OF_ACCOUNT                                                     \
    "session AS ("                                                                 \
    " INSERT INTO auth.sessions (id, user_id, family_hash, refresh_hash, address," \
    "  user_agent, tokens_expire_at, expires_at)"                                  \
    " SELECT $1, id, $2, $3, $4::inet, $5, " TOKENS_EXPIRE ", " SESSION_EXPIRES " FROM account)"

/* ended: the rows of auth.sessions that a statement deletes. Those whose access tokens have expired
 * need no revocation; the minute is for clocks that differ. */
#define ENDED_COLUMNS "s.id, s.tokens_expire_at"
#define REVOKE_ENDED                                                \
    "revoked AS ("                                                  \
    " INSERT INTO auth.revoked_sessions (session_id, expires_at)"   \
    " SELECT id, tokens_expire_at + interval '1 minute' FROM ended" \
    " WHERE tokens_expire_at + interval '1 minute' > now())"

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
     * 1-9 TOKEN_PARAMS, 10 username, 11 username_key, 12 email, 13 email_key, 14 password_hash
     * -> id */
    [AUTH_CREATE_ACCOUNT] =
        {.name = "create_account",
         .kind = DB_WRITE,
         .params = {TOKEN_PARAMS, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT},
         .sql = "WITH account AS ("
                " INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                " VALUES ($10, $11, $12, $13, $14) RETURNING id),"
                " " NEW_SESSION_OF_ACCOUNT ", " PUBLISH_KEY_ONCE_A_DAY " SELECT id FROM account"},

    /* Whom does this e-mail address belong to? users_email_key_unique.
     * 1 email_key -> id, password_hash */
    [AUTH_FIND_ACCOUNT] = {.name = "find_account",
                           .kind = DB_READ,
                           .params = {DB_TEXT},
                           .sql = "SELECT id, password_hash FROM auth.users WHERE email_key = $1"},

    /* Signs in, unless the password was changed since it was verified. The lock makes a change wait
     * (see AUTH_CHANGE_ACCOUNT), so that it ends this session too. users_pkey.
     * 1-9 TOKEN_PARAMS, 10 account id, 11 password_hash -> email, username, bio, image */
    [AUTH_START_SESSION] = {.name = "start_session",
                            .kind = DB_WRITE,
                            .params = {TOKEN_PARAMS, DB_INT8, DB_TEXT},
                            .sql = "WITH account AS ("
                                   " SELECT id, email, username, bio, image FROM auth.users"
                                   " WHERE id = $10 AND password_hash = $11 FOR SHARE),"
                                   " " NEW_SESSION_OF_ACCOUNT ", " PUBLISH_KEY_ONCE_A_DAY
                                   " SELECT email, username, bio, image FROM account"},

    /* A refresh token is used: the current one is replaced, the one before counts for a few seconds
     * more, and an older one ends the session. Who uses one at the same time waits for the lock and
     * then sees what became of the session. sessions_pkey, users_pkey.
     * 1-9 TOKEN_PARAMS ($3: of the token that is used), 10 hash of its successor, 11 the nonce that
     * made it, 12 seconds that the one before counts
     * -> enum auth_rotation, nonce of the successor before, account id, email, username, bio,
     * image, tokens_expire_at; no row: not a token of a session that lives */
    [AUTH_REFRESH_SESSION] =
        {.name = "refresh_session",
         .kind = DB_WRITE,
         .params = {TOKEN_PARAMS, DB_BYTEA, DB_BYTEA, DB_INT8},
         .sql = "WITH session AS ("
                " SELECT id, user_id, successor_nonce, tokens_expire_at, CASE"
                "  WHEN refresh_hash = $3 THEN 1"
                "  WHEN previous_hash = $3 AND rotated_at > now() - make_interval(secs => $12)"
                "  THEN 2 ELSE 3 END AS outcome"
                " FROM auth.sessions"
                " WHERE id = $1 AND family_hash = $2 AND expires_at > now() FOR UPDATE),"
                " refreshed AS ("
                " UPDATE auth.sessions AS s SET last_used_at = now(),"
                "  address = $4::inet, user_agent = $5, tokens_expire_at = " TOKENS_EXPIRE ","
                "  expires_at = CASE WHEN s.expires_at"
                "    < " SESSION_EXPIRES " - make_interval(secs => $7 / 30)"
                "   THEN " SESSION_EXPIRES " ELSE s.expires_at END,"
                "  refresh_hash = CASE outcome WHEN 1 THEN $10 ELSE s.refresh_hash END,"
                "  previous_hash = CASE outcome WHEN 1 THEN $3 ELSE s.previous_hash END,"
                "  rotated_at = CASE outcome WHEN 1 THEN now() ELSE s.rotated_at END,"
                "  successor_nonce = CASE outcome WHEN 1 THEN $11 ELSE s.successor_nonce END"
                " FROM session WHERE s.id = session.id AND outcome IN (1, 2)),"
                " ended AS ("
                " DELETE FROM auth.sessions AS s USING session"
                " WHERE s.id = session.id AND outcome = 3 RETURNING " ENDED_COLUMNS "),"
                " " REVOKE_ENDED ", " PUBLISH_KEY_ONCE_A_DAY
                " SELECT outcome, successor_nonce, a.id, email, username, bio, image,"
                "  tokens_expire_at"
                " FROM session JOIN auth.users AS a ON a.id = session.user_id"},

    /* The caller's own account. users_pkey.
     * 1 account id -> email, username, bio, image */
    [AUTH_CURRENT_ACCOUNT] =
        {.name = "current_account",
         .kind = DB_READ,
         .params = {DB_INT8},
         .sql = "SELECT email, username, bio, image FROM auth.users WHERE id = $1"},

    /* Before an account is changed. users_pkey, sessions_pkey, users_username_key_unique,
     * users_email_key_unique.
     * 1 account id, 2 session id, 3 seconds for which a sign-in is young, 4 username_key, 5
     * email_key -> password_hash, young, username taken, email taken; no row: the session has
     * ended */
    [AUTH_BEFORE_CHANGE] =
        {.name = "before_change",
         .kind = DB_READ,
         .params = {DB_INT8, DB_UUID, DB_INT8, DB_TEXT, DB_TEXT},
         .sql = "SELECT password_hash, s.created_at > now() - make_interval(secs => $3),"
                " EXISTS (SELECT FROM auth.users WHERE username_key = $4 AND id <> $1),"
                " EXISTS (SELECT FROM auth.users WHERE email_key = $5 AND id <> $1)"
                " FROM auth.users AS a JOIN auth.sessions AS s ON s.user_id = a.id"
                " WHERE a.id = $1 AND s.id = $2"},

    /* Changes what is given, while the session lives, and the password is still the one that was
     * verified. users_pkey, sessions_pkey.
     * 1 account id, 2 session id, 3 username, 4 username_key, 5 email, 6 email_key, 7 and 8 whether
     * bio changes and to what, 9 and 10 image likewise, 11 password_hash, 12 the one before
     * -> email, username, bio, image */
    [AUTH_CHANGE_ACCOUNT] =
        {.name = "change_account",
         .kind = DB_WRITE,
         .params = {DB_INT8, DB_UUID, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_BOOL, DB_TEXT, DB_BOOL,
                    DB_TEXT, DB_TEXT, DB_TEXT},
         .sql = "UPDATE auth.users SET username = coalesce($3, username),"
                " username_key = coalesce($4, username_key), email = coalesce($5, email),"
                " email_key = coalesce($6, email_key),"
                " bio = CASE WHEN $7 THEN $8 ELSE bio END,"
                " image = CASE WHEN $9 THEN $10 ELSE image END,"
                " password_hash = coalesce($11, password_hash), updated_at = now()"
                " WHERE id = $1 AND ($11 IS NULL OR password_hash = $12)"
                " AND EXISTS (SELECT FROM auth.sessions WHERE id = $2 AND user_id = $1)"
                " RETURNING email, username, bio, image"},

    /* An account's sessions, latest sign-in first. sessions_by_user_newest.
     * 1 account id, 2 those before this id, 3 how many
     * -> id, user_agent, address, created_at, last_used_at */
    [AUTH_LIST_SESSIONS] = {.name = "list_sessions",
                            .kind = DB_READ,
                            .params = {DB_INT8, DB_UUID, DB_INT4},
                            .sql = "SELECT id, user_agent, host(address), created_at, last_used_at"
                                   " FROM auth.sessions WHERE user_id = $1"
                                   " AND id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff')"
                                   " AND expires_at > now() ORDER BY id DESC LIMIT $3"},

    /* sessions_pkey. 1 account id, 2 session id -> the ended one: id, tokens_expire_at */
    [AUTH_END_SESSION] = {.name = "end_session",
                          .kind = DB_WRITE,
                          .params = {DB_INT8, DB_UUID},
                          .sql = "WITH ended AS ("
                                 " DELETE FROM auth.sessions AS s WHERE user_id = $1 AND id = $2"
                                 " RETURNING " ENDED_COLUMNS "), " REVOKE_ENDED
                                 " SELECT id, tokens_expire_at FROM ended"},

    /* sessions_by_user_newest.
     * 1 account id, 2 the session that stays -> the ended ones: id, tokens_expire_at */
    [AUTH_END_OTHER_SESSIONS] =
        {.name = "end_other_sessions",
         .kind = DB_WRITE,
         .params = {DB_INT8, DB_UUID},
         .sql = "WITH ended AS ("
                " DELETE FROM auth.sessions AS s WHERE user_id = $1 AND id <> $2"
                " RETURNING " ENDED_COLUMNS "), " REVOKE_ENDED
                " SELECT id, tokens_expire_at FROM ended"},

    /* Takes the account for its deletion, or for a change of one state of it: a sign-in that is
     * under way ends first, and a later one waits, of a deletion in vain. users_pkey,
     * sessions_pkey. 1 account id, 2 session id -> email, username, bio, image, when both are there
     */
    [AUTH_LOCK_ACCOUNT] = {.name = "lock_account",
                           .kind = DB_WRITE,
                           .params = {DB_INT8, DB_UUID},
                           .sql = "SELECT email, username, bio, image FROM auth.users"
                                  " WHERE id = $1 AND EXISTS ("
                                  " SELECT FROM auth.sessions WHERE id = $2 AND user_id = $1)"
                                  " FOR UPDATE"},

    /* sessions_by_user_newest. 1 account id -> the ended ones: id, tokens_expire_at */
    [AUTH_END_ALL_SESSIONS] = {.name = "end_all_sessions",
                               .kind = DB_WRITE,
                               .params = {DB_INT8},
                               .sql = "WITH ended AS ("
                                      " DELETE FROM auth.sessions AS s WHERE user_id = $1"
                                      " RETURNING " ENDED_COLUMNS "), " REVOKE_ENDED
                                      " SELECT id, tokens_expire_at FROM ended"},

    /* Removes the account, and what the other services have of it (migrations/0003_deletion.sql).
     * users_pkey; sessions_by_user_newest. 1 account id */
    [AUTH_DELETE_ACCOUNT] = {.name = "delete_account",
                             .kind = DB_WRITE,
                             .params = {DB_INT8},
                             .sql = "WITH elsewhere AS MATERIALIZED ("
                                    " SELECT auth.forget_account_elsewhere($1))"
                                    " DELETE FROM auth.users"
                                    " WHERE id = $1 AND EXISTS (SELECT FROM elsewhere)"},

    /* Removes sessions that nobody has refreshed, some at a time; their access tokens have expired
     * long ago. sessions_by_expiry, sessions_pkey. -> how many */
    [AUTH_PURGE_SESSIONS] = {.name = "purge_sessions",
                             .kind = DB_WRITE,
                             .params = {DB_END},
                             .sql = "WITH gone AS (DELETE FROM auth.sessions WHERE id = ANY (ARRAY("
                                    " SELECT id FROM auth.sessions WHERE expires_at < now()"
                                    " ORDER BY expires_at LIMIT " PURGE_BATCH
                                    " FOR UPDATE SKIP LOCKED))"
                                    " RETURNING 1) SELECT count(*) FROM gone"},

    /* Removes revocations of tokens that have expired. revoked_sessions_by_expiry,
     * revoked_sessions_pkey. -> how many */
    [AUTH_PURGE_REVOCATIONS] =
        {.name = "purge_revocations",
         .kind = DB_WRITE,
         .params = {DB_END},
         .sql = "WITH gone AS (DELETE FROM auth.revoked_sessions WHERE seq = ANY (ARRAY("
                " SELECT seq FROM auth.revoked_sessions WHERE expires_at < now()"
                " ORDER BY expires_at LIMIT " PURGE_BATCH " FOR UPDATE SKIP LOCKED))"
                " RETURNING 1) SELECT count(*) FROM gone"},

    /* Makes a key known before it signs, and drops keys that can't have signed a token that still
     * lives: those retired for good, and those of instances that are gone: 31 days is the longest
     * life (lib/jwt), 1 day the precision of last_used_at.
     * signing_keys_pkey; the table has a row for each instance.
     * 1 key id, 2 public key */
    [AUTH_PUBLISH_KEY] = {.name = "publish_key",
                          .kind = DB_WRITE,
                          .params = {DB_TEXT, DB_TEXT},
                          .sql = "WITH gone AS (DELETE FROM auth.signing_keys"
                                 " WHERE (last_used_at < now() - interval '33 days'"
                                 "  OR retires_at < now())"
                                 " AND key_id <> $1)"
                                 " INSERT INTO auth.signing_keys (key_id, public_jwk)"
                                 " VALUES ($1, $2)"
                                 " ON CONFLICT (key_id) DO UPDATE"
                                 " SET last_used_at = now(), retires_at = NULL"},

    /* A key that signs no more counts for its last token. signing_keys_pkey.
     * 1 key id, 2 seconds */
    [AUTH_RETIRE_KEY] = {.name = "retire_key",
                         .kind = DB_WRITE,
                         .params = {DB_TEXT, DB_INT8},
                         .sql = "UPDATE auth.signing_keys"
                                " SET retires_at = now() + make_interval(secs => $2)"
                                " WHERE key_id = $1"},

    /* -> public key */
    [AUTH_PUBLISHED_KEYS] = {.name = "published_keys",
                             .kind = DB_READ,
                             .params = {DB_END},
                             .sql = "SELECT public_jwk FROM auth.verification_keys"
                                    " ORDER BY key_id"},

    /* secrets_pkey. -> what attempts are counted by (throttle.h) */
    [AUTH_THROTTLE_SECRET] = {.name = "throttle_secret",
                              .kind = DB_READ,
                              .params = {DB_END},
                              .sql = "SELECT value FROM auth.secrets WHERE name = 'throttle'"},
};
