/* Every SQL statement of auth, by name. */
#ifndef STOA_AUTH_STATEMENTS_H
#define STOA_AUTH_STATEMENTS_H

#include "pg/db.h"

enum auth_statement {
    AUTH_TAKEN,
    AUTH_CREATE_ACCOUNT,
    AUTH_FIND_ACCOUNT,
    AUTH_START_SESSION,
    AUTH_REFRESH_SESSION,
    AUTH_CURRENT_ACCOUNT,
    AUTH_BEFORE_CHANGE,
    AUTH_CHANGE_ACCOUNT,
    AUTH_LIST_SESSIONS,
    AUTH_END_SESSION,
    AUTH_END_OTHER_SESSIONS,
    AUTH_LOCK_ACCOUNT,
    AUTH_END_ALL_SESSIONS,
    AUTH_DELETE_ACCOUNT,
    AUTH_PURGE_SESSIONS,
    AUTH_PURGE_REVOCATIONS,
    AUTH_PUBLISH_KEY,
    AUTH_RETIRE_KEY,
    AUTH_PUBLISHED_KEYS,
    AUTH_THROTTLE_SECRET,
    AUTH_N_STATEMENTS,
};

#define AUTH_PURGE_BATCH 1000 /* rows that a purge removes at most */

extern const struct db_statement auth_statements[AUTH_N_STATEMENTS];

/* What AUTH_REFRESH_SESSION did. */
enum auth_rotation {
    AUTH_ROTATED = 1,        /* the token was the current one: its successor is */
    AUTH_ROTATED_BEFORE = 2, /* it was just replaced: its successor stays */
    AUTH_USED_TWICE = 3,     /* it was replaced long ago: the session has been ended */
};

/* Constraints that tell what is taken (migrations/0001_accounts.sql). */
#define AUTH_USERNAME_UNIQUE STR("users_username_key_unique")
#define AUTH_EMAIL_UNIQUE STR("users_email_key_unique")

#endif
