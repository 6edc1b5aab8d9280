/* Every SQL statement of auth, by name. */
#ifndef STOA_AUTH_STATEMENTS_H
#define STOA_AUTH_STATEMENTS_H

#include "pg/db.h"

enum auth_statement {
    AUTH_TAKEN,
    AUTH_CREATE_ACCOUNT,
    AUTH_FIND_ACCOUNT,
    AUTH_START_SESSION,
    AUTH_CURRENT_ACCOUNT,
    AUTH_PUBLISH_KEY,
    AUTH_PUBLISHED_KEYS,
    AUTH_N_STATEMENTS,
};

extern const struct db_statement auth_statements[AUTH_N_STATEMENTS];

/* Constraints that tell what is taken (migrations/0001_accounts.sql). */
#define AUTH_USERNAME_UNIQUE STR("users_username_key_unique")
#define AUTH_EMAIL_UNIQUE STR("users_email_key_unique")

#endif
