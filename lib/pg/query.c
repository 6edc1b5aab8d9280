/* Parameters into the wire's binary form, rows out of it. Runs on whichever thread has the query
 * or the result; nothing is shared. Numbers on the wire are big-endian. */
#include "pg/internal.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>

/* Postgres counts microseconds from 2000-01-01; its ends of the range mean -infinity, infinity. */
#define EPOCH_US INT64_C(946684800000000)
#define MAX_VALUE_BYTES (INT32_C(1) << 30) /* Postgres takes no larger value */
#define ARRAY_HEADER 20                    /* dimensions, flags, type, length, lower bound */

Oid type_oid(enum db_type type)
{
    static const Oid oids[] = {
        [DB_BOOL] = 16,          [DB_INT4] = 23,
        [DB_INT8] = 20,          [DB_TEXT] = 25,
        [DB_BYTEA] = 17,         [DB_UUID] = 2950,
        [DB_TIMESTAMPTZ] = 1184, [DB_TEXT_ARRAY] = 1009,
        [DB_INT8_ARRAY] = 1016,  [DB_TIMESTAMPTZ_ARRAY] = 1185,
    };
    assert(type > DB_END && (size_t)type < ARRAY_SIZE(oids));
    return oids[type];
}

static char *put32(char *at, uint32_t v)
{
    v = htobe32(v);
    memcpy(at, &v, sizeof(v));
    return at + sizeof(v);
}

static char *put64(char *at, uint64_t v)
{
    v = htobe64(v);
    memcpy(at, &v, sizeof(v));
    return at + sizeof(v);
}

static uint32_t get32(const char *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return be32toh(v);
}

static uint64_t get64(const char *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return be64toh(v);
}

/* ---- parameters ---- */

static unsigned count_params(const struct db_statement *s)
{
    unsigned n = 0;

    while (n < DB_MAX_PARAMS && s->params[n] != DB_END)
        n++;
    return n;
}

struct db_query *db_query(struct db *db, struct arena *arena, size_t statement)
{
    struct db_query *q;
    unsigned n;

    assert(statement < db->n_statements);
    n = count_params(&db->statements[statement]);
    q = arena_calloc(arena, 1, sizeof(*q) + n * (sizeof(*q->values) + sizeof(*q->lengths)));
    if (!q)
        return NULL;
    q->db = db;
    q->arena = arena;
    q->statement = &db->statements[statement];
    q->n_params = n;
    q->values = (const char **)(q + 1);
    q->lengths = (int *)(q->values + n);
    q->heap_index = HEAP_NONE;
    return q;
}

void db_trace(struct db_query *q, const struct trace_context *parent)
{
    q->trace = trace_statement_begin(parent);
}

/* The next parameter's place for n bytes; NULL and failed without memory. */
static char *bind(struct db_query *q, enum db_type type, size_t n)
{
    unsigned i = q->n_bound;
    char *p;

    assert(q->state == QUERY_BOUND && i < q->n_params);
    assert(q->statement->params[i] == type);
    q->n_bound++;
    p = n > MAX_VALUE_BYTES ? NULL : arena_alloc(q->arena, n);
    if (!p) {
        q->failed = true;
        return NULL;
    }
    q->values[i] = p;
    q->lengths[i] = (int)n;
    return p;
}

void db_bind_null(struct db_query *q)
{
    assert(q->state == QUERY_BOUND && q->n_bound < q->n_params);
    q->n_bound++; /* values start as NULL */
}

void db_bind_bool(struct db_query *q, bool v)
{
    char *p = bind(q, DB_BOOL, 1);

    if (p)
        *p = v;
}

void db_bind_int4(struct db_query *q, int32_t v)
{
    char *p = bind(q, DB_INT4, sizeof(v));

    if (p)
        put32(p, (uint32_t)v);
}

void db_bind_int8(struct db_query *q, int64_t v)
{
    char *p = bind(q, DB_INT8, sizeof(v));

    if (p)
        put64(p, (uint64_t)v);
}

static void bind_bytes(struct db_query *q, enum db_type type, const void *v, size_t n)
{
    char *p = bind(q, type, n);

    if (p && n)
        memcpy(p, v, n);
}

void db_bind_text(struct db_query *q, struct str v)
{
    if (!v.p)
        db_bind_null(q);
    else
        bind_bytes(q, DB_TEXT, v.p, v.n);
}

void db_bind_bytea(struct db_query *q, struct str v)
{
    if (!v.p)
        db_bind_null(q);
    else
        bind_bytes(q, DB_BYTEA, v.p, v.n);
}

void db_bind_uuid(struct db_query *q, const uint8_t v[16])
{
    bind_bytes(q, DB_UUID, v, 16);
}

static int64_t since_epoch(int64_t unix_us)
{
    int64_t v;

    if (unix_us == INT64_MAX)
        return INT64_MAX;
    return __builtin_sub_overflow(unix_us, EPOCH_US, &v) ? INT64_MIN : v;
}

void db_bind_timestamp(struct db_query *q, int64_t unix_us)
{
    char *p = bind(q, DB_TIMESTAMPTZ, sizeof(unix_us));

    if (p)
        put64(p, (uint64_t)since_epoch(unix_us));
}

/* Begins a one-dimensional array and returns where its elements go. An empty one has no dimension,
 * hence a shorter header. */
static char *bind_array(struct db_query *q, enum db_type type, enum db_type element, size_t n,
                        size_t bytes, bool has_null)
{
    bool fits = n <= INT32_MAX && bytes <= MAX_VALUE_BYTES;
    size_t header = n ? ARRAY_HEADER : 12;
    char *p = bind(q, type, fits ? header + bytes : SIZE_MAX);

    if (!p)
        return NULL;
    p = put32(p, n ? 1 : 0);
    p = put32(p, has_null);
    p = put32(p, type_oid(element));
    if (n) {
        p = put32(p, (uint32_t)n);
        p = put32(p, 1);
    }
    return p;
}

void db_bind_text_array(struct db_query *q, const struct str *v, size_t n)
{
    size_t bytes = 0;
    bool has_null = false;
    char *p;

    for (size_t i = 0; i < n; i++) {
        if (__builtin_add_overflow(bytes, v[i].n, &bytes) ||
            __builtin_add_overflow(bytes, 4, &bytes))
            bytes = SIZE_MAX / 2; /* refused below */
        has_null |= !v[i].p;
    }
    p = bind_array(q, DB_TEXT_ARRAY, DB_TEXT, n, bytes, has_null);
    for (size_t i = 0; p && i < n; i++) {
        if (!v[i].p) {
            p = put32(p, UINT32_MAX); /* NULL */
            continue;
        }
        p = put32(p, (uint32_t)v[i].n);
        memcpy(p, v[i].p, v[i].n);
        p += v[i].n;
    }
}

/* Of elements of eight bytes. */
static char *bind_array64(struct db_query *q, enum db_type type, enum db_type element, size_t n)
{
    return bind_array(q, type, element, n, n > MAX_VALUE_BYTES / 12 ? SIZE_MAX / 2 : n * 12, false);
}

static char *put_element64(char *at, int64_t v)
{
    return put64(put32(at, sizeof(v)), (uint64_t)v);
}

void db_bind_int8_array(struct db_query *q, const int64_t *v, size_t n)
{
    char *p = bind_array64(q, DB_INT8_ARRAY, DB_INT8, n);

    for (size_t i = 0; p && i < n; i++)
        p = put_element64(p, v[i]);
}

void db_bind_timestamp_array(struct db_query *q, const int64_t *unix_us, size_t n)
{
    char *p = bind_array64(q, DB_TIMESTAMPTZ_ARRAY, DB_TIMESTAMPTZ, n);

    for (size_t i = 0; p && i < n; i++)
        p = put_element64(p, since_epoch(unix_us[i]));
}

/* ---- rows ---- */

int db_rows(const struct db_result *r)
{
    return r->rows ? PQntuples(r->rows) : 0;
}

static void check_place(const struct db_result *r, int row, int col)
{
    assert(r->rows && row >= 0 && row < PQntuples(r->rows));
    assert(col >= 0 && col < PQnfields(r->rows));
}

bool db_is_null(const struct db_result *r, int row, int col)
{
    check_place(r, row, col);
    return PQgetisnull(r->rows, row, col);
}

/* A value that must be there and have this length: anything else is a wrong statement. libpq gives
 * no length to NULL and to places that the result does not have. */
static const char *fixed(const struct db_result *r, int row, int col, int length)
{
    assert(PQgetlength(r->rows, row, col) == length);
    return PQgetvalue(r->rows, row, col);
}

bool db_get_bool(const struct db_result *r, int row, int col)
{
    return *fixed(r, row, col, 1) != 0;
}

int32_t db_get_int4(const struct db_result *r, int row, int col)
{
    return (int32_t)get32(fixed(r, row, col, 4));
}

int64_t db_get_int8(const struct db_result *r, int row, int col)
{
    return (int64_t)get64(fixed(r, row, col, 8));
}

/* Nearly all of what is read of lists: libpq, which tests each place, is not asked more than is
 * needed. */
struct str db_get_text(const struct db_result *r, int row, int col)
{
    int n = PQgetlength(r->rows, row, col);

    if (n == 0 && db_is_null(r, row, col))
        return STR_NULL;
    return (struct str){PQgetvalue(r->rows, row, col), (size_t)n};
}

int64_t db_get_timestamp(const struct db_result *r, int row, int col)
{
    int64_t v = (int64_t)get64(fixed(r, row, col, 8));

    if (v == INT64_MIN || __builtin_add_overflow(v, EPOCH_US, &v))
        return v == INT64_MIN ? INT64_MIN : INT64_MAX;
    return v;
}

/* Cuts the elements out of an array value; -EBADMSG if its lengths do not add up. */
static int read_elements(struct str value, struct str *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t length;

        if (value.n < 4)
            return -EBADMSG;
        length = (int32_t)get32(value.p);
        value = str_skip(value, 4);
        if (length == -1) {
            items[i] = STR_NULL;
            continue;
        }
        if (length < 0 || (size_t)length > value.n)
            return -EBADMSG;
        items[i] = (struct str){value.p, (size_t)length};
        value = str_skip(value, (size_t)length);
    }
    return value.n == 0 ? 0 : -EBADMSG;
}

int db_get_text_array(const struct db_result *r, int row, int col, struct arena *arena,
                      struct str **ret)
{
    struct str value = db_get_text(r, row, col);
    uint32_t dimensions, n;
    int error;

    *ret = NULL;
    if (!value.p)
        return 0;
    if (value.n < 12)
        return -EBADMSG;
    dimensions = get32(value.p);
    if (dimensions == 0)
        return 0;
    if (dimensions != 1 || value.n < ARRAY_HEADER)
        return -EBADMSG;
    n = get32(value.p + 12);
    value = str_skip(value, ARRAY_HEADER);
    if (n > value.n / 4) /* each element has a length of its own */
        return -EBADMSG;
    *ret = arena_calloc(arena, n, sizeof(**ret));
    if (!*ret)
        return -ENOMEM;
    error = read_elements(value, *ret, n);
    return error < 0 ? error : (int)n;
}
