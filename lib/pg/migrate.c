/* Migrations: numbered SQL files applied once each, in order. Blocking; on the caller's thread with
 * a connection of its own.
 *
 * SCHEMA.schema_migrations holds one row for each applied file. The rows must be a prefix of the
 * files: 1, 2, 3 ... with the same checksums. Whatever else is found is refused, since going on
 * would build on a schema that nobody has tested. */
#include "pg/internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_NS (10 * NSEC_PER_SEC)
#define CHECKSUM_BYTES 32 /* SHA-256 */

/* A migration waits for a lock so long, since whoever comes after it waits as well, and less than
 * Postgres' deadlock_timeout, since that could end somebody else's statement. Then it is undone and
 * tried again when a while has passed. */
#define LOCK_TIMEOUT "250ms"
#define MAX_TRIES 100
#define RETRY_INTERVAL_US 200000

struct run {
    PGconn *pg;
    const char *schema;
    const char *quoted; /* the schema as an SQL identifier */
    const struct db_migration *migrations;
    size_t n;
    size_t n_applied; /* rows in schema_migrations */
    struct arena *arena;
    struct str *error;
};

/* ---- errors ---- */

static const char *cause_of(const struct run *run, const PGresult *res)
{
    char cause[CAUSE_BYTES];
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    struct str copy;

    copy_cause(cause, primary ? primary : PQerrorMessage(run->pg));
    copy = arena_copy(run->arena, str_of(cause));
    return copy.p ? copy.p : "out of memory";
}

/* The line of sql in which Postgres found the error; 0 when it does not say. */
static unsigned error_line(const PGresult *res, const char *sql)
{
    const char *field = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION);
    int64_t position;
    unsigned line = 1;

    if (!field || str_to_int64(str_of(field), &position) < 0)
        return 0;
    for (; *sql && position > 1; sql++) {
        line += *sql == '\n';
        position -= ((unsigned char)sql[1] & 0xc0) != 0x80; /* counted in characters */
    }
    return line;
}

/* ---- statements ---- */

static PGresult *query(const struct run *run, const char *sql, const char *param)
{
    const char *const values[] = {param};

    return PQexecParams(run->pg, sql, param ? 1 : 0, NULL, values, NULL, NULL, 1);
}

/* Runs a command whose failure concerns no single migration. */
static int command(struct run *run, struct str sql, const char *param)
{
    PGresult *res = sql.p ? query(run, sql.p, param) : NULL;
    ExecStatusType status = PQresultStatus(res);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        *run->error = arena_printf(run->arena,
                                   "cannot prepare schema %s for migrations: %s; check "
                                   "that the role owns the schema and that Postgres runs",
                                   run->schema, cause_of(run, res));
    PQclear(res);
    return run->error->p ? -EIO : 0;
}

static bool checksum(struct str sql, unsigned char ret[CHECKSUM_BYTES])
{
    return EVP_Digest(sql.p, sql.n, ret, NULL, EVP_sha256(), NULL) == 1;
}

/* ---- checks ---- */

static int check_files(struct run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        const struct db_migration *m = &run->migrations[i];

        if (m->version < 1 || (size_t)m->version != i + 1) {
            *run->error = arena_printf(run->arena,
                                       "migration %s has number %d where %zu is due; "
                                       "number them 1, 2, 3 ... without holes",
                                       m->name, m->version, i + 1);
            return -EINVAL;
        }
        if (m->sql.n && memchr(m->sql.p, '\0', m->sql.n)) {
            *run->error =
                arena_printf(run->arena, "migration %s has a NUL byte; remove it", m->name);
            return -EINVAL;
        }
    }
    return 0;
}

static int check_row(struct run *run, const struct db_result *rows, int row)
{
    int version = db_get_int4(rows, row, 0);
    struct str name = db_get_text(rows, row, 1), sum = db_get_text(rows, row, 2);
    const struct db_migration *m = &run->migrations[row];
    unsigned char own[CHECKSUM_BYTES];

    if (version != row + 1) {
        *run->error = arena_printf(run->arena,
                                   "migration %d is missing in %s.schema_migrations, "
                                   "but a later one (%.*s) is there; restore the table from a "
                                   "backup",
                                   row + 1, run->schema, STR_FMT(name));
        return -EBADMSG;
    }
    if ((size_t)row >= run->n) {
        *run->error = arena_printf(run->arena,
                                   "schema %s has migration %.*s, newer than this "
                                   "program, which ends at %zu; run the newer program",
                                   run->schema, STR_FMT(name), run->n);
        return -EEXIST;
    }
    if (!checksum(m->sql, own))
        return -EIO;
    if (!str_eq(sum, (struct str){(const char *)own, sizeof(own)})) {
        *run->error = arena_printf(run->arena,
                                   "migration %s has changed since it was applied to "
                                   "schema %s; restore the file and put the change into a new one",
                                   m->name, run->schema);
        return -EBADMSG;
    }
    return 0;
}

/* Reads what is applied and compares it with the files. */
static int check_applied(struct run *run)
{
    struct str sql = arena_printf(
        run->arena, "SELECT version, name, checksum FROM %s.schema_migrations ORDER BY version",
        run->quoted);
    PGresult *res = sql.p ? query(run, sql.p, NULL) : NULL;
    struct db_result rows = {.rows = res};
    int error = 0;

    if (PQresultStatus(res) != PGRES_TUPLES_OK) {
        *run->error = arena_printf(run->arena,
                                   "cannot read %s.schema_migrations: %s; check that "
                                   "the role owns the schema",
                                   run->schema, cause_of(run, res));
        error = -EIO;
    }
    run->n_applied = error ? 0 : (size_t)db_rows(&rows);
    for (int i = 0; error == 0 && i < db_rows(&rows); i++)
        error = check_row(run, &rows, i);
    PQclear(res);
    return error;
}

/* ---- applying ---- */

static int record(struct run *run, const struct db_migration *m)
{
    unsigned char sum[CHECKSUM_BYTES];
    uint32_t version = __builtin_bswap32((uint32_t)m->version);
    const char *const values[] = {(const char *)&version, m->name, (const char *)sum};
    const int lengths[] = {sizeof(version), 0, sizeof(sum)};
    const int formats[] = {1, 0, 1};
    const Oid types[] = {23, 25, 17};
    struct str sql = arena_printf(
        run->arena,
        "INSERT INTO %s.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        run->quoted);
    PGresult *res = NULL;
    int error = -EIO;

    if (sql.p && checksum(m->sql, sum))
        res = PQexecParams(run->pg, sql.p, 3, types, values, lengths, formats, 0);
    if (PQresultStatus(res) == PGRES_COMMAND_OK)
        error = 0;
    else
        *run->error = arena_printf(run->arena,
                                   "migration %s could not be recorded: %s; nothing of "
                                   "it was applied",
                                   m->name, cause_of(run, res));
    PQclear(res);
    return error;
}

/* lock_not_available, deadlock_detected */
static bool lock_not_available(const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    return state && (strcmp(state, "55P03") == 0 || strcmp(state, "40P01") == 0);
}

static int run_sql(struct run *run, const struct db_migration *m)
{
    struct str sql = arena_copy(run->arena, m->sql);
    PGresult *res = sql.p ? PQexec(run->pg, sql.p) : NULL;
    ExecStatusType status = PQresultStatus(res);
    int error = 0;

    if (lock_not_available(res)) {
        *run->error = arena_printf(run->arena,
                                   "migration %s did not get the locks that it needs: %s; nothing "
                                   "of it was applied: migrate again when long transactions have "
                                   "ended",
                                   m->name, cause_of(run, res));
        error = -EAGAIN;
    } else if (status == PGRES_FATAL_ERROR || !res) {
        unsigned line = sql.p ? error_line(res, sql.p) : 0;
        struct str where = line ? arena_printf(run->arena, " in line %u", line) : STR("");

        *run->error = arena_printf(run->arena,
                                   "migration %s failed%.*s: %s; nothing of it was "
                                   "applied: correct it and migrate again",
                                   m->name, STR_FMT(where), cause_of(run, res));
        error = -EIO;
    } else if (PQtransactionStatus(run->pg) != PQTRANS_INTRANS) {
        *run->error = arena_printf(run->arena,
                                   "migration %s ends the transaction that it runs in; "
                                   "it was not recorded: take out its BEGIN, COMMIT, ROLLBACK or "
                                   "COPY and look at what it left behind",
                                   m->name);
        error = -EINVAL;
    }
    PQclear(res);
    return error;
}

static int try_to_apply(struct run *run, const struct db_migration *m)
{
    int error = command(run, STR("BEGIN"), NULL);

    if (error == 0)
        error = command(run, STR("SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'"), NULL);
    if (error == 0)
        error = run_sql(run, m);
    if (error == 0)
        error = record(run, m);
    if (error == 0) {
        PGresult *res = PQexec(run->pg, "COMMIT");

        /* Deferred constraints fail here; COMMIT of a failed transaction answers ROLLBACK. */
        if (PQresultStatus(res) != PGRES_COMMAND_OK || strcmp(PQcmdStatus(res), "COMMIT") != 0) {
            *run->error = arena_printf(run->arena,
                                       "migration %s could not be committed: %s; "
                                       "migrate again",
                                       m->name, cause_of(run, res));
            error = -EIO;
        }
        PQclear(res);
    }
    if (error < 0)
        PQclear(PQexec(run->pg, "ROLLBACK"));
    return error;
}

static int apply(struct run *run, const struct db_migration *m)
{
    int error = try_to_apply(run, m);

    for (int tries = 1; error == -EAGAIN && tries < MAX_TRIES; tries++) {
        *run->error = STR_NULL;
        usleep(RETRY_INTERVAL_US);
        error = try_to_apply(run, m);
    }
    return error;
}

/* ---- the two ways in ---- */

static int start(struct run *run, const char *conninfo)
{
    char cause[CAUSE_BYTES] = "";
    char *quoted;
    struct str copy;

    *run->error = STR_NULL;
    if (check_files(run) < 0)
        return -EINVAL;
    run->pg = pg_connect(conninfo, -1, clock_monotonic_ns() + CONNECT_TIMEOUT_NS, cause);
    if (!run->pg) {
        *run->error = arena_printf(run->arena,
                                   "cannot connect to Postgres: %s; check the "
                                   "connection settings and that Postgres runs",
                                   cause);
        return -ECONNREFUSED;
    }
    quoted = PQescapeIdentifier(run->pg, run->schema, strlen(run->schema));
    copy = arena_copy(run->arena, str_of(quoted));
    PQfreemem(quoted);
    run->quoted = copy.p;
    return copy.p ? 0 : -ENOMEM;
}

static int table_exists(struct run *run, bool *ret)
{
    struct str name = arena_printf(run->arena, "%s.schema_migrations", run->quoted);
    PGresult *res = name.p ? query(run, "SELECT to_regclass($1) IS NOT NULL", name.p) : NULL;
    struct db_result rows = {.rows = res};
    int error = 0;

    if (PQresultStatus(res) == PGRES_TUPLES_OK) {
        *ret = db_get_bool(&rows, 0, 0);
    } else {
        *run->error = arena_printf(run->arena, "cannot read schema %s: %s; check the role's rights",
                                   run->schema, cause_of(run, res));
        error = -EIO;
    }
    PQclear(res);
    return error;
}

/* CREATE SCHEMA IF NOT EXISTS asks for a right on the database even when the schema exists, which
 * a service's role does not have. */
static int create_table(struct run *run)
{
    struct str name = str_of(run->quoted);
    PGresult *res = query(run, "SELECT to_regnamespace($1) IS NOT NULL", name.p);
    struct db_result rows = {.rows = res};
    bool has_schema = PQresultStatus(res) == PGRES_TUPLES_OK && db_get_bool(&rows, 0, 0);
    int error = 0;

    PQclear(res);
    if (!has_schema)
        error = command(run, arena_printf(run->arena, "CREATE SCHEMA %s", name.p), NULL);
    if (error < 0)
        return error;
    return command(run,
                   arena_printf(run->arena,
                                "CREATE TABLE %s.schema_migrations (version integer PRIMARY KEY, "
                                "name text NOT NULL, checksum bytea NOT NULL, "
                                "applied_at timestamptz NOT NULL DEFAULT now())",
                                name.p),
                   NULL);
}

static int migrate(struct run *run, const char *conninfo, int *ret_applied)
{
    bool exists = false;
    int error = start(run, conninfo);

    /* Until the connection ends. The key is the schema's name, so that schemas do not wait. */
    if (error == 0)
        error = command(
            run, STR("SELECT pg_advisory_lock(hashtextextended('stoa migrations ' || $1, 0))"),
            run->schema);
    if (error == 0)
        error = table_exists(run, &exists);
    if (error == 0 && !exists)
        error = create_table(run);
    if (error == 0)
        error = check_applied(run);
    for (size_t i = run->n_applied; error == 0 && i < run->n; i++) {
        error = apply(run, &run->migrations[i]);
        *ret_applied += error == 0;
    }
    return error;
}

static int end(struct run *run, int error)
{
    PQfinish(run->pg);
    if (error < 0 && !run->error->p)
        *run->error = STR("migrations: out of memory");
    return error;
}

int db_migrate(const char *conninfo, const char *schema, const struct db_migration *migrations,
               size_t n, struct arena *arena, int *ret_applied, struct str *ret_error)
{
    struct run run = {
        .schema = schema, .migrations = migrations, .n = n, .arena = arena, .error = ret_error};

    *ret_applied = 0;
    return end(&run, migrate(&run, conninfo, ret_applied));
}

int db_migrations_current(const char *conninfo, const char *schema,
                          const struct db_migration *migrations, size_t n, struct arena *arena,
                          struct str *ret_error)
{
    struct run run = {
        .schema = schema, .migrations = migrations, .n = n, .arena = arena, .error = ret_error};
    bool exists = false;
    int error = start(&run, conninfo);

    if (error == 0)
        error = table_exists(&run, &exists);
    if (error == 0 && exists)
        error = check_applied(&run);
    if (error == 0 && run.n_applied < n) {
        *ret_error = arena_printf(arena,
                                  "schema %s lacks %zu migration%s, the first is %s; run the "
                                  "migrate command",
                                  schema, n - run.n_applied, n - run.n_applied == 1 ? "" : "s",
                                  migrations[run.n_applied].name);
        error = -ENODATA;
    }
    return end(&run, error);
}
