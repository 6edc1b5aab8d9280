/* What Postgres' errors mean to us (https://www.postgresql.org/docs/15/errcodes-appendix.html). */
#include "pg/internal.h"

static const char *sqlstate_of(const PGresult *res)
{
    const char *s = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    return s && strlen(s) == 5 ? s : "";
}

bool error_is(const PGresult *res, const char *sqlstate)
{
    return strcmp(sqlstate_of(res), sqlstate) == 0;
}

static enum db_error classify(const char *s)
{
    static const struct {
        const char *prefix;
        enum db_error error;
    } table[] = {
        {"23505", DB_UNIQUE},      {"23503", DB_FOREIGN_KEY},
        {"23", DB_CHECK},          {"22", DB_CHECK},
        {"40001", DB_CONFLICT},    {"40P01", DB_CONFLICT},
        {"55P03", DB_CONFLICT}, /* lock_timeout or NOWAIT */
        {"57014", DB_DEADLINE}, /* cancelled, by us or by statement_timeout */
        {"57P", DB_UNAVAILABLE},   {"08", DB_UNAVAILABLE},
        {"25006", DB_UNAVAILABLE}, /* we are talking to a standby */
        {"53", DB_OVERLOADED},     {"57", DB_OVERLOADED},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strncmp(s, table[i].prefix, strlen(table[i].prefix)) == 0)
            return table[i].error;
    }
    return s[0] ? DB_INTERNAL : DB_UNAVAILABLE; /* without a code libpq made it: no connection */
}

void error_read(const PGresult *res, struct db_result *ret)
{
    const char *sqlstate = sqlstate_of(res);
    const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    *ret = (struct db_result){.error = classify(sqlstate)};
    memcpy(ret->sqlstate, sqlstate, strlen(sqlstate));
    ret->constraint = str_of(PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME));
    ret->message = str_of(message ? message : PQresultErrorMessage(res));
}

struct str db_cause(const struct db_result *result)
{
    static const char *const own[] = {
        [DB_UNAVAILABLE] = "no connection to Postgres",
        [DB_DEADLINE] = "no answer within the deadline",
        [DB_CANCELLED] = "the caller was gone",
        [DB_OVERLOADED] = "too much waits, or there is no memory",
    };
    bool ours = result->message.n == 0 && result->error < ARRAY_SIZE(own);

    return ours ? str_of(own[result->error]) : result->message;
}

bool error_is_loss(const PGresult *res)
{
    const char *s = sqlstate_of(res);
    return !s[0] || strncmp(s, "57P", 3) == 0 || strncmp(s, "08", 2) == 0;
}

bool error_is_of_standby(const PGresult *res)
{
    return error_is(res, "25006");
}

bool error_is_stale(const PGresult *res)
{
    const char *where = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);

    if (error_is(res, "26000")) /* no such prepared statement */
        return true;
    /* 0A000 alone is any unsupported feature; this is "cached plan must not change result type",
     * after a migration changed a column. The words are translated, the function's name is not. */
    return error_is(res, "0A000") && where && strcmp(where, "RevalidateCachedQuery") == 0;
}
