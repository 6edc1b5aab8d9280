/* For tests of a service's statements: a private Postgres with the roles, schemas and migrations of
 * all services, and plans as the services get them. */
#ifndef STOA_TESTS_SQL_FIXTURE_H
#define STOA_TESTS_SQL_FIXTURE_H

#include "pg/internal.h"
#include "pg_fixture.h"

static char sql_admin[256]; /* conninfo of the superuser in the database stoa */

/* Of sql_db_setup(): the service's statements, and memory for queries. */
static UNUSED struct db *db;
static UNUSED struct arena arena;

static UNUSED PRINTF_LIKE(1, 2) void sql_shell(const char *fmt, ...)
{
    char command[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* As pg_group_setup(); then pg_conninfo is the service's own. */
static UNUSED int sql_group_setup(const char *service)
{
    static const char *const services[] = {"auth", "posts", "chat"};
    char base[128];

    if (pg_group_setup(NULL) != 0)
        return -1;
    snprintf(base, sizeof(base), "%.127s", pg_conninfo);
    snprintf(sql_admin, sizeof(sql_admin), "%s dbname=stoa", base);
    sql_shell("psql -Xq '%s' -f deploy/bootstrap.sql", base);
    for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
        snprintf(pg_conninfo, sizeof(pg_conninfo), "%s dbname=stoa user=stoa_%s", base,
                 services[i]);
        sql_shell("for f in services/%s/migrations/*.sql; do"
                  " psql -Xq1 -v ON_ERROR_STOP=1 '%s' -f $f || exit; done",
                  services[i], pg_conninfo);
    }
    snprintf(pg_conninfo, sizeof(pg_conninfo), "%s dbname=stoa user=stoa_%s", base, service);
    return 0;
}

/* The same with the service's statements, prepared on so many connections. */
static UNUSED int sql_db_setup(const char *service, unsigned connections,
                               const struct db_statement *statements, size_t n)
{
    if (sql_group_setup(service) != 0)
        return -1;
    arena_init(&arena, 0);
    db = pg_open_db(&(struct db_options){.connections = connections}, statements, n);
    return 0;
}

static UNUSED int teardown(void **state)
{
    db_close(db);
    arena_free(&arena);
    return pg_group_teardown(state);
}

static long sql_with(const char *conninfo, const char *sql)
{
    char own[sizeof(pg_conninfo)];
    long value;

    memcpy(own, pg_conninfo, sizeof(own));
    snprintf(pg_conninfo, sizeof(pg_conninfo), "%s", conninfo);
    value = pg_sql(sql);
    memcpy(pg_conninfo, own, sizeof(own));
    return value;
}

/* SQL as the superuser. */
static UNUSED long sql_as_admin(const char *sql)
{
    return sql_with(sql_admin, sql);
}

/* SQL with the role of a service. */
static UNUSED long sql_as(const char *service, const char *sql)
{
    char conninfo[sizeof(sql_admin) + 32];

    snprintf(conninfo, sizeof(conninfo), "%s user=stoa_%s", sql_admin, service);
    return sql_with(conninfo, sql);
}

/* ---- plans ---- */

static const char *sql_type(enum db_type type)
{
    static const char *const names[] = {
        [DB_BOOL] = "bool",
        [DB_INT4] = "int4",
        [DB_INT8] = "int8",
        [DB_TEXT] = "text",
        [DB_BYTEA] = "bytea",
        [DB_UUID] = "uuid",
        [DB_TIMESTAMPTZ] = "timestamptz",
        [DB_TEXT_ARRAY] = "text[]",
        [DB_INT8_ARRAY] = "int8[]",
        [DB_TIMESTAMPTZ_ARRAY] = "timestamptz[]",
    };
    return names[type];
}

/* A result that the caller clears. */
static UNUSED PGresult *sql_exec(PGconn *pg, const char *sql)
{
    PGresult *res = PQexec(pg, sql);

    if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(pg));
    return res;
}

/* The pages of tables and indexes that the plan touched: its topmost line about buffers. */
static long sql_plan_pages(const char *plan)
{
    const char *at = strstr(plan, "Buffers: shared"), *end = at ? strchr(at, '\n') : NULL;
    long pages = 0;

    if (!at)
        return 0; /* it touches none */
    assert_non_null(end);
    for (const char *eq = strchr(at, '='); eq && eq < end; eq = strchr(eq + 1, '='))
        pages += strtol(eq + 1, NULL, 10);
    return pages;
}

/* The rows that the plan took from an index. */
static UNUSED long sql_plan_rows(const char *plan, const char *index)
{
    char name[128];
    long rows = 0;

    snprintf(name, sizeof(name), " using %s on ", index);
    for (const char *at = plan; (at = strstr(at, name)); at++) {
        const char *actual = strstr(at, "(actual rows=");
        long each, loops;

        if (actual && sscanf(actual, "(actual rows=%ld loops=%ld)", &each, &loops) == 2)
            rows += each * loops;
    }
    return rows;
}

/* Runs the statement as the service would, with arguments in SQL (NULL: none), and gives its plan.
 * Its changes are rolled back. */
static void sql_plan(const struct db_statement *s, const char *arguments, char *ret, size_t size)
{
    static const char *const no_timeout[] = {"0"};
    PGconn *pg = PQconnectdb(pg_conninfo);
    char sql[16384], types[256] = "";
    PGresult *res;

    /* By itself: what is set in a transaction is rolled back with it. */
    res = PQexecParams(pg, pg_session_sql, 1, NULL, no_timeout, NULL, NULL, 0);
    if (PQresultStatus(res) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", pg_session_sql, PQerrorMessage(pg));
    PQclear(res);
    for (int i = 0; i < DB_MAX_PARAMS && s->params[i] != DB_END; i++)
        snprintf(types + strlen(types), sizeof(types) - strlen(types), "%s%s", i ? "," : "",
                 sql_type(s->params[i]));
    snprintf(sql, sizeof(sql), "PREPARE s%s%s%s AS %s", *types ? "(" : "", types, *types ? ")" : "",
             s->sql);
    PQclear(sql_exec(pg, sql));
    PQclear(sql_exec(pg, "BEGIN"));
    snprintf(sql, sizeof(sql), "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE s%s%s%s",
             arguments ? "(" : "", arguments ? arguments : "", arguments ? ")" : "");
    PQclear(sql_exec(pg, sql)); /* the first run also pays for reading the catalogue */
    PQclear(sql_exec(pg, "ROLLBACK; BEGIN"));
    res = sql_exec(pg, sql);
    *ret = '\0';
    for (int i = 0; i < PQntuples(res); i++)
        snprintf(ret + strlen(ret), size - strlen(ret), "%s\n", PQgetvalue(res, i, 0));
    PQclear(res);
    PQfinish(pg);
}

/* Checks a statement's plan: no table is read from end to end, except (if not NULL) one that cannot
 * grow; and it touches at most max_pages pages. */
static UNUSED void sql_expect_plan(const struct db_statement *s, const char *arguments,
                                   const char *except, long max_pages)
{
    char plan[65536];

    sql_plan(s, arguments, plan, sizeof(plan));
    for (const char *at = plan; (at = strstr(at, "Seq Scan on ")); at++) {
        const char *table = at + strlen("Seq Scan on ");
        if (!except || strncmp(table, except, strlen(except)) != 0)
            fail_msg("%s reads a table from end to end:\n%s", s->name, plan);
    }
    if (strstr(plan, "Parallel") || sql_plan_pages(plan) > max_pages)
        fail_msg("%s touches too much (at most %ld pages):\n%s", s->name, max_pages, plan);
}

/* Every statement of a service's table has been looked at: seen[i] for statements[i]. */
static UNUSED void sql_expect_all_seen(const bool *seen, const struct db_statement *statements,
                                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!seen[i])
            fail_msg("the plan of %s is not looked at", statements[i].name);
    }
}

#endif
