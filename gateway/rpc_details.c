/* google.rpc.Status details (https://google.aip.dev/193) into a problem. They are read as they come
 * off the wire; what is damaged ends where the damage is, and the rest of the problem stands. */
#include "rpc_status.h"

#include "schema/tables.h"

#include <errno.h>

#define MAX_RETRY_AFTER 86400 /* a day: longer is not a hint any more */
#define MAX_LANGUAGE 35       /* RFC 5646 section 4.4.1 */
#define NANOS_PER_SECOND 1000000000

/* The fields of google.rpc's messages, as their first ones: each has at most four strings or
 * messages that matter. */
#define MAX_FIELDS 4

/* Where text goes that is made here. */
struct room {
    struct arena *arena;
    bool full;
};

struct texts {
    struct str at[MAX_FIELDS + 1]; /* by field number */
};

static struct texts read_texts(struct str wire)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    struct texts texts = {.at = {STR_NULL}};

    while (schema_read_field(&r, &f) > 0) {
        if (f.wire_type == SCHEMA_WIRE_LENGTH && f.number <= MAX_FIELDS)
            texts.at[f.number] = f.bytes;
    }
    return texts;
}

/* Calls take for each occurrence of field `number`. */
static void each(struct str wire, uint32_t number, struct problem *p, struct room *room,
                 void (*take)(struct problem *p, struct room *room, const struct texts *texts))
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;

    while (schema_read_field(&r, &f) > 0) {
        if (f.number == number && f.wire_type == SCHEMA_WIRE_LENGTH) {
            struct texts texts = read_texts(f.bytes);

            take(p, room, &texts);
        }
    }
}

static void add_error(struct problem *p, struct room *room, struct str path, struct str message)
{
    struct str key = problem_key(room->arena, path);

    if (!key.p)
        room->full = true;
    else if (message.n)
        problem_add(p, key, message);
}

/* ---- the details ---- */

static void take_field_violation(struct problem *p, struct room *room, const struct texts *texts)
{
    struct str localized = read_texts(texts->at[4]).at[2];

    add_error(p, room, texts->at[1], localized.n ? localized : texts->at[2]);
}

static void read_bad_request(struct problem *p, struct room *room, struct str wire)
{
    each(wire, 1, p, room, take_field_violation);
}

static void take_metadata(struct problem *p, struct room *room, const struct texts *texts)
{
    unsigned i = 0;

    (void)room;
    if (!texts->at[1].n)
        return;
    /* A map's entry that comes again is the one that counts. */
    while (i < p->n_metadata && !str_eq(p->metadata[i].name, texts->at[1]))
        i++;
    if (i == PROBLEM_MAX_METADATA)
        return;
    p->metadata[i] = (struct problem_pair){texts->at[1], texts->at[2]};
    if (i == p->n_metadata)
        p->n_metadata++;
}

static void read_error_info(struct problem *p, struct room *room, struct str wire)
{
    struct texts texts = read_texts(wire);

    if (texts.at[1].n)
        p->reason = texts.at[1];
    if (texts.at[2].n)
        p->domain = texts.at[2];
    each(wire, 3, p, room, take_metadata);
}

static void take_quota(struct problem *p, struct room *room, const struct texts *texts)
{
    (void)room;
    if (texts->at[2].n)
        problem_add(p, STR("quota"), texts->at[2]);
    if (p->n_quota < PROBLEM_MAX_VIOLATIONS)
        p->quota[p->n_quota++] = (struct problem_violation){STR_NULL, texts->at[1], texts->at[2]};
}

static void read_quota_failure(struct problem *p, struct room *room, struct str wire)
{
    each(wire, 1, p, room, take_quota);
}

static void take_precondition(struct problem *p, struct room *room, const struct texts *texts)
{
    (void)room;
    if (texts->at[3].n)
        problem_add(p, STR("precondition"), texts->at[3]);
    if (p->n_preconditions < PROBLEM_MAX_VIOLATIONS)
        p->preconditions[p->n_preconditions++] = (struct problem_violation){
            texts->at[1].p ? texts->at[1] : STR(""), texts->at[2], texts->at[3]};
}

static void read_precondition_failure(struct problem *p, struct room *room, struct str wire)
{
    each(wire, 1, p, room, take_precondition);
}

/* Whose the resource is, is not for everybody who asks: owner is left out. */
static void read_resource_info(struct problem *p, struct room *room, struct str wire)
{
    struct texts texts = read_texts(wire);

    add_error(p, room, texts.at[1], texts.at[4]);
    if (texts.at[1].n) {
        p->resource_type = texts.at[1];
        p->resource_name = texts.at[2];
    }
}

/* Only what a page may link to without harm. */
static bool is_web_url(struct str url)
{
    return str_starts(url, STR("https://")) || str_starts(url, STR("http://"));
}

static void take_link(struct problem *p, struct room *room, const struct texts *texts)
{
    (void)room;
    if (is_web_url(texts->at[2]) && p->n_links < PROBLEM_MAX_LINKS)
        p->links[p->n_links++] = (struct problem_link){texts->at[1], texts->at[2]};
}

static void read_help(struct problem *p, struct room *room, struct str wire)
{
    each(wire, 1, p, room, take_link);
}

static bool is_language(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!((s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
              (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-'))
            return false;
    }
    return s.n > 0 && s.n <= MAX_LANGUAGE;
}

/* Says in the caller's language what the status message says to a developer. */
static void read_localized_message(struct problem *p, struct room *room, struct str wire)
{
    struct texts texts = read_texts(wire);

    (void)room;
    if (!texts.at[2].n)
        return;
    p->detail = texts.at[2];
    p->language = is_language(texts.at[1]) ? texts.at[1] : STR_NULL;
}

/* RetryInfo.retry_delay, a Duration, rounded up to seconds. */
static void read_retry_info(struct problem *p, struct room *room, struct str wire)
{
    struct schema_reader r = schema_reader_of(read_texts(wire).at[1]);
    struct schema_wire_field f;
    uint64_t seconds = 0, nanos = 0;

    (void)room;
    while (schema_read_field(&r, &f) > 0) {
        if (f.number == 1 && f.wire_type == SCHEMA_WIRE_VARINT)
            seconds = f.scalar;
        else if (f.number == 2 && f.wire_type == SCHEMA_WIRE_VARINT)
            nanos = f.scalar;
    }
    /* Negative ones are huge here. */
    if (seconds <= MAX_RETRY_AFTER && nanos < NANOS_PER_SECOND)
        p->retry_after = (unsigned)seconds + (nanos > 0);
}

/* ---- all ---- */

struct reader {
    struct str type;
    bool always; /* also of a failure of the service's own */
    void (*read)(struct problem *p, struct room *room, struct str wire);
};

/* What is not here is not for callers: DebugInfo, RequestInfo, a service's own types. */
static const struct reader readers[] = {
    {STR("/google.rpc.RetryInfo"), true, read_retry_info},
    {STR("/google.rpc.BadRequest"), false, read_bad_request},
    {STR("/google.rpc.ErrorInfo"), false, read_error_info},
    {STR("/google.rpc.QuotaFailure"), false, read_quota_failure},
    {STR("/google.rpc.PreconditionFailure"), false, read_precondition_failure},
    {STR("/google.rpc.ResourceInfo"), false, read_resource_info},
    {STR("/google.rpc.Help"), false, read_help},
    {STR("/google.rpc.LocalizedMessage"), false, read_localized_message},
};

static void read_detail(struct problem *p, struct room *room, struct str any)
{
    struct texts texts = read_texts(any);

    for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
        if (str_ends(texts.at[1], readers[i].type) && (readers[i].always || p->status < 500))
            readers[i].read(p, room, texts.at[2]);
    }
}

static bool is_etag_mismatch(int code, struct str reason)
{
    return (code == RPC_FAILED_PRECONDITION || code == RPC_ABORTED) &&
           str_eq(reason, STR(RPC_REASON_ETAG_MISMATCH));
}

int rpc_problem(struct problem *p, int code, struct str message, struct str details,
                struct arena *arena)
{
    struct room room = {arena, false};
    struct schema_reader r = schema_reader_of(details);
    struct schema_wire_field f;

    problem_init(p, rpc_http_status(code, false));
    if (p->status < 500 && message.n)
        p->detail = message;
    while (schema_read_field(&r, &f) > 0) {
        if (f.number == 3 && f.wire_type == SCHEMA_WIRE_LENGTH)
            read_detail(p, &room, f.bytes);
    }
    p->status = is_etag_mismatch(code, p->reason) ? 412 : rpc_http_status(code, p->n_errors > 0);
    return room.full ? -ENOMEM : 0;
}
