/* What JSON and routes cost by themselves: CPU time of one conversion or lookup, ours beside
 * libprotobuf's on the same bytes in the same run. `make bench-codec` calls it; README.md. */
#include "libprotobuf.h"
#include "metrics/metrics.h"
#include "openapi/openapi.h"
#include "schema/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 31         /* a figure is the median of these */
#define ROUND_NS 10000000 /* CPU time of a round, about */
#define MESSAGE "stoa.posts.v1.GetArticleResponse"

#define SENTENCE "A sentence of filler that makes the article about a kilobyte long. "

static const char article[] =
    "{\"article\":{\"slug\":\"an-article-1x2f\",\"title\":\"An article\",\"description\":\"About "
    "nothing in \\\"particular\\\"\",\"body\":\"First line.\\n" SENTENCE SENTENCE SENTENCE SENTENCE
        SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE
    "\",\"tagList\":[\"bench\",\"protobuf\",\"json\",\"transcoding\",\"caf\xc3\xa9\"],"
    "\"createdAt\":\"2026-01-02T03:04:05.678Z\",\"updatedAt\":\"2026-02-03T04:05:06.789Z\","
    "\"favorited\":true,\"favoritesCount\":42,\"author\":{\"username\":\"somebody\",\"bio\":"
    "\"Writes "
    "articles.\",\"image\":\"https://example.com/somebody.png\",\"following\":true}}}";

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "codec: %s failed\n", what);
        exit(1);
    }
}

/* ---- measuring ---- */

/* One operation; returns a number that depends on its work. */
typedef size_t operation(void *subject);

static int64_t cpu_ns(void)
{
    struct timespec t;

    must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0, "clock_gettime");
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ns an operation, of `count` of them. */
static double batch(operation *run, void *subject, long count)
{
    int64_t start = cpu_ns();

    for (long i = 0; i < count; i++)
        must(run(subject) > 0, "an operation");
    return (double)(cpu_ns() - start) / (double)count;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

struct figure {
    operation *run;
    void *subject;
    double ns; /* result */
};

/* The operations take turns, so that what else the machine does meets them alike. */
static void measure(struct figure *figures, size_t n)
{
    double *rounds = calloc(n * ROUNDS, sizeof(*rounds));
    long *counts = calloc(n, sizeof(*counts));

    must(rounds && counts, "memory");
    for (size_t i = 0; i < n; i++) {
        batch(figures[i].run, figures[i].subject, 100); /* warm */
        counts[i] = (long)(ROUND_NS / batch(figures[i].run, figures[i].subject, 1000)) + 1;
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < n; i++)
            rounds[i * ROUNDS + round] = batch(figures[i].run, figures[i].subject, counts[i]);
    }
    for (size_t i = 0; i < n; i++) {
        qsort(&rounds[i * ROUNDS], ROUNDS, sizeof(*rounds), compare);
        figures[i].ns = rounds[i * ROUNDS + ROUNDS / 2];
    }
    free(rounds);
    free(counts);
}

/* ---- JSON ---- */

struct codec {
    struct schema *schema;
    const struct schema_message *type;
    struct schema_json_options options;
    struct arena arena;
    struct buf wire, json, out;
};

static size_t json_to_wire(void *subject)
{
    struct codec *c = subject;
    struct schema_fault fault;

    arena_reset(&c->arena);
    c->out.n = 0;
    return schema_json_read(c->schema, c->type, buf_str(&c->json), &c->options, &c->out, &c->arena,
                            &fault)
               ? 0
               : c->out.n;
}

static size_t wire_to_json(void *subject)
{
    struct codec *c = subject;
    struct schema_fault fault;

    arena_reset(&c->arena);
    c->out.n = 0;
    return schema_json_write(c->schema, c->type, buf_str(&c->wire), &c->options, &c->out, &c->arena,
                             &fault)
               ? 0
               : c->out.n;
}

static size_t their_json_to_message(void *subject)
{
    return libprotobuf_json_to_message(subject);
}

static size_t their_json_to_wire(void *subject)
{
    return libprotobuf_json_to_wire(subject);
}

static size_t their_message_to_json(void *subject)
{
    return libprotobuf_message_to_json(subject);
}

static size_t their_wire_to_json(void *subject)
{
    return libprotobuf_wire_to_json(subject);
}

static struct schema *load(const char *path)
{
    struct schema *schema;
    struct arena arena;
    struct str error = STR("no memory");

    arena_init(&arena, 0);
    if (schema_load_file(path, &arena, &schema, &error)) {
        fprintf(stderr, "codec: %.*s\n", STR_FMT(error));
        exit(1);
    }
    arena_free(&arena);
    return schema;
}

static void codec_init(struct codec *c, const char *set)
{
    *c = (struct codec){.schema = load(set)};
    c->type = schema_message(c->schema, STR(MESSAGE));
    must(c->type != NULL, MESSAGE);
    buf_init(&c->json, 1 << 20);
    buf_init(&c->wire, 1 << 20);
    buf_init(&c->out, 1 << 20);
    buf_append_str(&c->json, str_of(article));
    must(json_to_wire(c) > 0, "reading the article");
    buf_append_str(&c->wire, buf_str(&c->out));
    /* Both libraries must mean the same by it. */
    must(wire_to_json(c) == c->json.n && str_eq(buf_str(&c->out), buf_str(&c->json)),
         "writing the article");
}

static void codec_free(struct codec *c)
{
    schema_free(c->schema);
    arena_free(&c->arena);
    buf_free(&c->json);
    buf_free(&c->wire);
    buf_free(&c->out);
}

static void print_codec(const char *name, double ours, double alone, double both,
                        const char *alone_name, const char *both_name)
{
    printf("%-14s %8.2f µs\n", name, ours / 1e3);
    printf("  %-38s %8.2f µs  %5.1f times\n", alone_name, alone / 1e3, alone / ours);
    printf("  %-38s %8.2f µs  %5.1f times\n", both_name, both / 1e3, both / ours);
}

static void bench_codec(const char *set)
{
    struct codec c;
    struct libprotobuf *theirs;

    codec_init(&c, set);
    theirs = libprotobuf_new(c.json.p, c.json.n, c.wire.p, c.wire.n);
    must(theirs != NULL, "libprotobuf");
    must(libprotobuf_json_to_wire(theirs) == c.wire.n &&
             libprotobuf_wire_to_json(theirs) == c.json.n,
         "the same bytes by libprotobuf");
    {
        struct figure f[] = {
            {json_to_wire, &c, 0},
            {their_json_to_message, theirs, 0},
            {their_json_to_wire, theirs, 0},
            {wire_to_json, &c, 0},
            {their_message_to_json, theirs, 0},
            {their_wire_to_json, theirs, 0},
        };

        measure(f, ARRAY_SIZE(f));
        printf("article: %zu bytes of JSON, %zu of wire\n", c.json.n, c.wire.n);
        print_codec("JSON to wire", f[0].ns, f[1].ns, f[2].ns, "libprotobuf JsonStringToMessage",
                    "the same and SerializeToString");
        print_codec("wire to JSON", f[3].ns, f[4].ns, f[5].ns, "libprotobuf MessageToJsonString",
                    "ParseFromString and the same");
    }
    libprotobuf_free(theirs);
    codec_free(&c);
}

/* ---- routes ---- */

struct routing {
    struct schema *schema;
    unsigned n, step, next; /* routes asked for: each step-th */
    char (*paths)[64];
};

static size_t look_up(void *subject)
{
    struct routing *r = subject;
    struct schema_match match;
    const char *path = r->paths[r->next];

    r->next = (r->next + r->step) % r->n;
    return schema_route(r->schema, STR("GET"), str_of(path), &match) ? 0 : match.n_captures;
}

static void routing_init(struct routing *r, const char *set, unsigned asked)
{
    *r = (struct routing){.schema = load(set)};
    r->n = (unsigned)schema_binding_count(r->schema);
    must(r->n >= asked, "asking for so many routes");
    r->step = r->n / asked;
    r->paths = calloc(r->n, sizeof(*r->paths));
    must(r->paths != NULL, "memory");
    for (unsigned i = 0; i < r->n; i++)
        snprintf(r->paths[i], sizeof(*r->paths), "/v1/kind%u/some-name/things/1234", i);
}

static void routing_free(struct routing *r)
{
    schema_free(r->schema);
    free(r->paths);
}

static void bench_routes(const char *few, const char *many)
{
    struct routing r[3];

    routing_init(&r[0], few, 10);
    routing_init(&r[1], many, 10);
    routing_init(&r[2], many, 1000);
    {
        struct figure f[] = {{look_up, &r[0], 0}, {look_up, &r[1], 0}, {look_up, &r[2], 0}};

        measure(f, ARRAY_SIZE(f));
        printf("route lookup, two captures\n");
        printf("  %-38s %8.3f µs\n", "10 routes, all in turn", f[0].ns / 1e3);
        printf("  %-38s %8.3f µs  %5.2f times\n", "1,000 routes, ten of them in turn",
               f[1].ns / 1e3, f[1].ns / f[0].ns);
        printf("  %-38s %8.3f µs  %5.2f times\n", "1,000 routes, all in turn", f[2].ns / 1e3,
               f[2].ns / f[0].ns);
    }
    for (size_t i = 0; i < ARRAY_SIZE(r); i++)
        routing_free(&r[i]);
}

/* ---- the OpenAPI document ---- */

#define DOCUMENTS 9

static double document_ns(const char *set)
{
    const struct openapi_options options = {.title = STR("Bench"), .version = STR("1")};
    struct schema *schema = load(set);
    double rounds[DOCUMENTS];

    for (size_t i = 0; i < DOCUMENTS; i++) {
        struct buf json CLEANUP(buf_free) = {.max = 64 << 20};
        struct arena errors;
        struct str error;
        int64_t start = cpu_ns();

        arena_init(&errors, 0);
        must(openapi_write(schema, &options, &json, &errors, &error) == 0, "the document");
        rounds[i] = (double)(cpu_ns() - start);
        arena_free(&errors);
    }
    schema_free(schema);
    qsort(rounds, DOCUMENTS, sizeof(*rounds), compare);
    return rounds[DOCUMENTS / 2];
}

/* Ten times the routes: ten times the work, not a hundred times. */
static void bench_document(const char *few, const char *many)
{
    double of_few = document_ns(few) / 100, of_many = document_ns(many) / 1000;

    printf("OpenAPI document, each route with types of its own\n");
    printf("  %-38s %8.2f µs a route\n", "100 routes", of_few / 1e3);
    printf("  %-38s %8.2f µs a route  %5.2f times\n", "1,000 routes", of_many / 1e3,
           of_many / of_few);
}

/* ---- metrics ---- */

struct call_counts {
    metrics_number open, code, check, hit, outcome;
    struct metrics_histogram call, wait, statement;
};

/* What is counted of a call with a token and one statement (lib/grpc/count.c, lib/pg/count.c,
 * lib/service/identity.c). */
static size_t count_call(void *subject)
{
    struct call_counts *counts = subject;
    int64_t begun = clock_monotonic_ns(), submitted, sent;

    metrics_add(&counts->open, 1);
    metrics_add(&counts->hit, 1);
    metrics_add(&counts->check, 1);
    submitted = clock_monotonic_ns();
    sent = submitted + 20 * NSEC_PER_USEC;
    metrics_observe_ns(&counts->wait, sent - submitted);
    metrics_add(&counts->outcome, 1);
    metrics_observe_ns(&counts->statement, clock_monotonic_ns() + 500 * NSEC_PER_USEC - submitted);
    atomic_fetch_sub_explicit(&counts->open, 1, memory_order_relaxed);
    metrics_add(&counts->code, 1);
    metrics_observe_ns(&counts->call, clock_monotonic_ns() + 600 * NSEC_PER_USEC - begun);
    return metrics_get(&counts->code);
}

static void bench_metrics(void)
{
    static struct call_counts counts;
    struct figure f[] = {{count_call, &counts, 0}};

    measure(f, ARRAY_SIZE(f));
    printf("metrics\n");
    printf("  %-38s %8.3f µs\n", "a call with a token and a statement", f[0].ns / 1e3);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr,
                "usage: codec api.binpb routes-10.binpb routes-100.binpb routes-1000.binpb\n");
        return 2;
    }
    bench_codec(argv[1]);
    bench_routes(argv[2], argv[4]);
    bench_document(argv[3], argv[4]);
    bench_metrics();
    return 0;
}
