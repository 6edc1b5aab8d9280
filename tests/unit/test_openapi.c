/* lib/openapi: the OpenAPI document of a descriptor set. */
#include "openapi/openapi.h"
#include "schema_fixture.h"

#include <errno.h>
#include <jansson.h>

static json_t *document; /* as Stoa's gateway prints: print_unset */

static json_t *make(const struct schema *of, const struct openapi_options *options)
{
    struct buf json CLEANUP(buf_free) = {.max = 16 << 20};
    struct arena errors;
    struct str error;
    json_error_t at;
    json_t *root;

    arena_init(&errors, 0);
    if (openapi_write(of, options, &json, &errors, &error))
        fail_msg("%.*s", STR_FMT(error));
    root = json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        fail_msg("line %d: %s", at.line, at.text);
    arena_free(&errors);
    return root;
}

static int set_up(void **state)
{
    const struct openapi_options options = {
        .title = STR("Library"), .version = STR("7"), .print_unset = true};

    (void)state;
    schema = fixture_load_files("--include_source_info openapi.proto");
    document = make(schema, &options);
    return 0;
}

static int free_all(void **state)
{
    (void)state;
    json_decref(document);
    schema_free(schema);
    return 0;
}

/* What is at "a|b|0|c"; NULL when there is nothing. */
static json_t *at(const json_t *root, const char *path)
{
    json_t *value = (json_t *)root;
    char key[256];
    size_t n;

    for (; value && *path; path += n + (path[n] == '|')) {
        n = strcspn(path, "|");
        assert_true(n < sizeof(key));
        memcpy(key, path, n);
        key[n] = '\0';
        value = json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10))
                                     : json_object_get(value, key);
    }
    return value;
}

/* expected: JSON, or NULL for nothing. */
static void expect_in(const json_t *root, const char *path, const char *expected)
{
    json_t *value = at(root, path), *wanted;
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    if (!expected) {
        if (value)
            fail_msg("%s is %s", path, text);
        return;
    }
    wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
    assert_non_null(wanted);
    if (!value || !json_equal(value, wanted))
        fail_msg("%s is %s, not %s", path, text ? text : "nothing", expected);
    free(text);
    json_decref(wanted);
}

static void expect(const char *path, const char *expected)
{
    expect_in(document, path, expected);
}

/* ---- the frame ---- */

static void test_frame(void **state)
{
    (void)state;
    expect("openapi", "\"3.1.0\"");
    expect("info", "{\"title\": \"Library\", \"version\": \"7\"}");
    expect("servers", "[{\"url\": \"/\", \"description\": \"This server.\"}]");
    /* A service without a comment has its file's. */
    expect("tags", "[{\"name\": \"BookService\", \"description\":"
                   " \"The library: what the tests of lib/openapi describe.\"},"
                   " {\"name\": \"ShelfService\","
                   " \"description\": \"Another service with an RPC of the same name.\"}]");
    expect("components|securitySchemes|bearer|scheme", "\"bearer\"");
}

static void test_settings(void **state)
{
    const struct openapi_server servers[] = {{STR("https://a.example"), STR("Main.")},
                                             {STR("/b"), STR("")}};
    const struct openapi_options options = {.title = STR("T"),
                                            .version = STR("1"),
                                            .description = STR("Words."),
                                            .servers = servers,
                                            .n_servers = 2,
                                            .refuse_unknown = true};
    json_t *other = make(schema, &options);

    (void)state;
    expect_in(other, "info|description", "\"Words.\"");
    expect_in(other, "servers",
              "[{\"url\": \"https://a.example\", \"description\": \"Main.\"}, {\"url\": \"/b\"}]");
    expect_in(other, "components|schemas|CreateBookBody|additionalProperties", "false");
    expect_in(other, "components|schemas|GetBookResponse|additionalProperties", NULL);
    /* What is left out when it is not set is not required. */
    expect_in(other, "components|schemas|SearchResponse|required", NULL);
    json_decref(other);
}

/* ---- operations ---- */

static void test_words(void **state)
{
    (void)state;
    expect("paths|/v1/shelves/{shelfId}/books|post|summary", "\"Add a book\"");
    /* Members have their JSON names, directives are no words. */
    expect("paths|/v1/shelves/{shelfId}/books|post|description",
           "\"Add a book. Its pageCount is\\ncounted; see `shelfId` too.\\n\\n- one\\n- two\"");
    expect("paths|/v1/books/{id}|get|summary", "\"Get book\"");
    expect("paths|/v1/books/{id}|get|description", NULL);
    expect("paths|/v1/books/{id}|delete|deprecated", "true");
    expect("paths|/v1/books/{id}|get|deprecated", NULL);
}

static void test_names_of_operations(void **state)
{
    (void)state;
    expect("paths|/v1/books/{id}|get|operationId", "\"GetBook\"");
    expect("paths|/v1/shelves/{name_shelves}/books/{name_books}|get|operationId", "\"GetBook_2\"");
    expect("paths|/v1/search|get|operationId", "\"BookService_Search\"");
    expect("paths|/v1/shelves:search|post|operationId", "\"ShelfService_Search\"");
    expect("paths|/v1/search|get|x-grpc-method", "\"/stoa.library.v1.BookService/Search\"");
    expect("paths|/v1/search|get|tags", "[\"BookService\"]");
}

static void test_access(void **state)
{
    (void)state;
    expect("paths|/v1/search|get|security", "[{\"bearer\": []}]");
    expect("paths|/v1/search|get|responses|401|$ref", "\"#/components/responses/Unauthorized\"");
    expect("paths|/v1/books/{id}|get|security", "[{}, {\"bearer\": []}]");
    expect("paths|/v1/books/{id}|delete|security", "[]");
    expect("paths|/v1/books/{id}|delete|responses|401", NULL);
}

static void test_paths_that_differ_in_names_only(void **state)
{
    (void)state;
    expect("paths|/v1/books/{book}", NULL);
    expect("paths|/v1/books/{bookId}", NULL);
    expect("paths|/v1/books/{id}|delete|parameters|0|name", "\"id\"");
    expect("paths|/v1/books/{id}|put|parameters|0|name", "\"id\"");
    expect("paths|/v1/books/{id}|put|parameters|0|schema|pattern", "\"^[1-9][0-9]*$\"");
    /* OpenAPI 3.1 has no word for other methods. */
    expect("paths|/v1/books/{id}|x-additionalOperations|PURGE|operationId", "\"Purge\"");
}

static void test_variables_of_several_segments(void **state)
{
    const char *two = "paths|/v1/shelves/{name_shelves}/books/{name_books}|get|parameters";
    json_t *parameters = at(document, two);

    (void)state;
    expect_in(parameters, "0",
              "{\"name\": \"name_shelves\", \"in\": \"path\", \"required\": true,"
              " \"description\": \"Part of `name`.\", \"schema\": {\"type\": \"string\"}}");
    expect_in(parameters, "1|name", "\"name_books\"");
    /* The second binding has id in the query. */
    expect_in(parameters, "2|name", "\"id\"");
    expect_in(parameters, "2|in", "\"query\"");
    expect("paths|/v1/files/{path}|get|parameters|0|x-segments", "true");
    expect("paths|/v1/files/{path}|get|responses|200|content", "{\"*/*\": {}}");
}

static void expect_parameter(const char *name, const char *expected)
{
    json_t *parameters = at(document, "paths|/v1/search|get|parameters"), *p;
    size_t i;

    json_array_foreach(parameters, i, p)
    {
        if (strcmp(json_string_value(json_object_get(p, "name")), name) == 0) {
            expect_in(p, "schema", expected);
            return;
        }
    }
    if (expected)
        fail_msg("there is no parameter %s", name);
}

static void test_query(void **state)
{
    (void)state;
    expect_parameter("words", "{\"type\": \"array\", \"items\": {\"type\": \"string\"}}");
    expect("paths|/v1/search|get|parameters|0|description", "\"What to look for.\"");
    expect_parameter("genre", "{\"$ref\": \"#/components/schemas/Genre\"}");
    expect_parameter("pages.from",
                     "{\"type\": \"integer\", \"format\": \"int32\", \"minimum\": 0}");
    expect_parameter("lent", "{\"type\": [\"boolean\", \"null\"]}");
    expect_parameter("like.title",
                     "{\"type\": \"string\", \"pattern\": \"\\\\S\", \"maxLength\": 200}");
    /* Not within itself, and not what a query cannot have. */
    expect_parameter("pages.inner.from", NULL);
    expect_parameter("like.sequel.title", NULL);
    expect_parameter("labels", NULL);
    expect_parameter("like.other", NULL);
    /* A rule that the zero value breaks makes a parameter needed. */
    expect("paths|/v1/books/{id}|get|parameters|2|name", "\"language\"");
    expect("paths|/v1/books/{id}|get|parameters|2|required", "true");
    expect("paths|/v1/books/{id}|get|parameters|1|required", NULL);
}

static void test_bodies(void **state)
{
    const char *create = "paths|/v1/shelves/{shelfId}/books|post|requestBody";

    (void)state;
    expect_in(at(document, create), "required", "true");
    expect_in(at(document, create), "content|application/json|schema",
              "{\"$ref\": \"#/components/schemas/CreateBookBody\"}");
    /* What is in the path is not in the body. */
    expect("components|schemas|CreateBookBody|properties|shelfId", NULL);
    expect("components|schemas|CreateBookBody|required", "[\"book\"]");
    expect("paths|/v1/books/{id}|put|requestBody|content|application/json|schema|properties|id",
           NULL);
    expect("paths|/v1/books/{id}|put|requestBody|content|application/json|schema|properties|title"
           "|maxLength",
           "200");
    expect("paths|/v1/search|get|requestBody", NULL);
}

static void test_answers(void **state)
{
    (void)state;
    expect("paths|/v1/shelves/{shelfId}/books|post|responses|201|description", "\"A book.\"");
    expect("paths|/v1/shelves/{shelfId}/books|post|responses|201|content|application/json|schema",
           "{\"$ref\": \"#/components/schemas/Book\"}");
    expect("paths|/v1/books/{id}|delete|responses|204",
           "{\"description\": \"Done; there is no body.\"}");
    expect("paths|/v1/books/{id}|put|responses|200|content|application/json|schema",
           "{\"type\": \"string\"}");
    expect("paths|/v1/search|get|responses|default|$ref", "\"#/components/responses/Error\"");
    expect("paths|/v1/search|get|responses|400", NULL);
    expect("paths|/v1/shelves/{shelfId}/books|post|responses|400|$ref",
           "\"#/components/responses/BadRequest\"");
    expect("components|responses|TooManyRequests|headers|Retry-After|schema|type", "\"integer\"");
    expect("components|schemas|Problem|required", "[\"type\", \"title\", \"status\", \"errors\"]");
}

static void test_conditions(void **state)
{
    (void)state;
    expect("paths|/v1/books/{id}|get|parameters|3|name", "\"If-None-Match\"");
    expect("paths|/v1/books/{id}|get|responses|200|headers|ETag|schema|type", "\"string\"");
    expect("paths|/v1/books/{id}|get|responses|304|content", NULL);
    assert_non_null(at(document, "paths|/v1/books/{id}|get|responses|304"));
    expect("paths|/v1/books/{id}|put|parameters|1|name", "\"If-Match\"");
    expect("paths|/v1/books/{id}|put|responses|412|$ref",
           "\"#/components/responses/PreconditionFailed\"");
    expect("paths|/v1/search|get|responses|304", NULL);
}

/* What a method says of headers that no field of its messages knows. */
static void test_headers(void **state)
{
    (void)state;
    expect("paths|/v1/shelves/{shelfId}/books|post|parameters|1|name", "\"Idempotency-Key\"");
    expect("paths|/v1/shelves/{shelfId}/books|post|responses|201|headers|ETag|schema|type",
           "\"string\"");
    expect("paths|/v1/shelves/{shelfId}/books|post|responses|304", NULL);
    expect("paths|/v1/books/{id}|delete|parameters|1|name", "\"If-Match\"");
    expect("paths|/v1/books/{id}|delete|responses|412|$ref",
           "\"#/components/responses/PreconditionFailed\"");
    expect("paths|/v1/search|get|responses|200|headers|Link|schema|type", "\"string\"");
    expect("paths|/v1/search|get|responses|200|headers|ETag", NULL);
}

static void test_streams(void **state)
{
    const char *schema_of_book = "{\"schema\": {\"$ref\": \"#/components/schemas/Book\"}}";
    json_t *content = at(document, "paths|/v1/watch|get|responses|200|content");

    (void)state;
    assert_int_equal(json_object_size(content), 2);
    expect_in(content, "text/event-stream", schema_of_book);
    expect_in(content, "application/x-ndjson", schema_of_book);
    expect("paths|/v1/talk|get|responses|101|description", "\"The WebSocket is open (RFC 6455).\"");
    expect("paths|/v1/talk|get|responses|426|$ref", "\"#/components/responses/UpgradeRequired\"");
    expect("paths|/v1/talk|get|responses|200", NULL);
    expect("paths|/v1/talk|get|x-websocket|receive|$ref", "\"#/components/schemas/Line\"");
    expect("paths|/v1/talk|get|x-websocket|send|$ref", "\"#/components/schemas/LineInput\"");
}

/* ---- schemas ---- */

static void expect_sent(const char *field, const char *expected)
{
    expect_in(at(document, "components|schemas|BookInput|properties"), field, expected);
}

static void expect_got(const char *field, const char *expected)
{
    expect_in(at(document, "components|schemas|Book|properties"), field, expected);
}

static void test_scalars(void **state)
{
    (void)state;
    expect_got("cover", "{\"type\": \"string\", \"contentEncoding\": \"base64\","
                        " \"description\": \"At most 1024 bytes.\"}");
    expect_got("lent", "{\"type\": \"boolean\", \"deprecated\": true}");
    expect_got("weight",
               "{\"anyOf\": [{\"type\": \"number\", \"format\": \"double\"}, {\"type\": \"string\","
               " \"enum\": [\"NaN\", \"Infinity\", \"-Infinity\"]}]}");
    /* No NaN passes both bounds. */
    expect_got("ratio", "{\"type\": \"number\", \"format\": \"float\", \"minimum\": 0.0,"
                        " \"exclusiveMaximum\": 1.0}");
    expect("components|schemas|Genre",
           "{\"type\": \"string\","
           " \"enum\": [\"GENRE_UNSPECIFIED\", \"GENRE_NOVEL\", \"GENRE_ESSAY\"],"
           " \"description\": \"- `GENRE_NOVEL`: Made up.\"}");
}

static void test_well_known_types(void **state)
{
    (void)state;
    expect_got("boughtAt", "{\"type\": \"string\", \"format\": \"date-time\","
                           " \"description\": \"Must be in the past.\"}");
    expect_got("loan", "{\"type\": \"string\", \"pattern\": \"^-?[0-9]+(\\\\.[0-9]{1,9})?s$\"}");
    expect_got("other|required", "[\"@type\"]");
    expect_got("notes", "{\"type\": \"object\"}");
    expect_got("anything", "{}");
    expect_got("rank", "{\"type\": \"integer\", \"format\": \"int32\"}");
    expect_sent("rank|type", "[\"integer\", \"null\"]");
    expect_got("pageCount", "{\"type\": [\"integer\", \"null\"], \"format\": \"int32\","
                            " \"description\": \"Optional, and null when not known.\"}");
    expect_got("sequel", "{\"$ref\": \"#/components/schemas/Book\"}");
    expect_sent("sequel", "{\"$ref\": \"#/components/schemas/BookInput\"}");
}

static void test_rules(void **state)
{
    (void)state;
    expect_sent("id", "{\"type\": \"string\", \"format\": \"int64\","
                      " \"pattern\": \"^[1-9][0-9]*$\"}");
    expect_sent("title", "{\"type\": \"string\", \"pattern\": \"\\\\S\", \"maxLength\": 200,"
                         " \"examples\": [\"Meditations\"]}");
    expect_sent("genre", "{\"$ref\": \"#/components/schemas/Genre\","
                         " \"not\": {\"enum\": [\"GENRE_UNSPECIFIED\"]}}");
    expect_sent("tags", "{\"type\": \"array\", \"items\": {\"type\": \"string\", \"minLength\": 2},"
                        " \"maxItems\": 3, \"uniqueItems\": true}");
    expect_sent("counts",
                "{\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\","
                " \"format\": \"uint64\", \"pattern\": \"^(0|[1-9][0-9]*)$\"}, \"propertyNames\":"
                " {\"type\": \"string\", \"pattern\": \"^a\\\\.b\"}, \"maxProperties\": 9}");
    expect_sent("votes|propertyNames", "{\"pattern\": \"^(0|-?[1-9][0-9]*)$\"}");
    /* The empty text passes as well. */
    expect("components|schemas|CreateBookBody|properties|comment",
           "{\"type\": \"string\", \"anyOf\": [{\"const\": \"\"}, {\"format\": \"email\"}]}");
    /* A pattern that JSON Schema would read otherwise is said in words. */
    expect("components|schemas|LineInput|properties|text",
           "{\"type\": \"string\", \"pattern\": \"\\\\.$\","
           " \"description\": \"Must match the pattern ^(?i)x.\"}");
}

static void test_what_is_required(void **state)
{
    (void)state;
    /* Of what is sent, that of which the zero value breaks a rule. */
    expect("components|schemas|BookInput|required", "[\"id\", \"title\", \"genre\"]");
    /* Of what comes, that which is always printed. */
    expect("components|schemas|Book|required",
           "[\"id\", \"title\", \"pageCount\", \"genre\", \"tags\", \"counts\", \"cover\","
           " \"weight\", \"ratio\", \"lent\", \"votes\"]");
    expect("components|schemas|BookInput|oneOf",
           "[{\"required\": [\"shelf\"]}, {\"required\": [\"box\"]}, {\"not\": {\"anyOf\":"
           " [{\"required\": [\"shelf\"]}, {\"required\": [\"box\"]}]}}]");
    expect("components|schemas|Book|oneOf", NULL);
}

static void test_only_what_is_referred_to(void **state)
{
    json_t *schemas = at(document, "components|schemas");

    (void)state;
    assert_non_null(json_object_get(schemas, "Book"));
    assert_null(json_object_get(schemas, "CreateBookRequest"));
    assert_null(json_object_get(schemas, "SearchRequest"));
    assert_null(json_object_get(schemas, "GetBookResponseInput"));
}

static void test_types_of_one_name(void **state)
{
    const struct openapi_options options = {.title = STR("T"), .version = STR("1")};
    struct schema *other =
        fixture_load("syntax = \"proto3\"; import \"google/api/annotations.proto\";"
                     "import \"google/rpc/status.proto\";"
                     "message Status { google.rpc.Status inner = 1; Problem problem = 2; }"
                     "message Problem { int32 code = 1; }"
                     "service S { rpc Get(Status) returns (Status) {"
                     " option (google.api.http) = {get: \"/\"}; } }");
    json_t *root = make(other, &options);

    (void)state;
    expect_in(root, "components|schemas|Status|properties|inner|$ref",
              "\"#/components/schemas/google.rpc.Status\"");
    expect_in(root, "components|schemas|Status|properties|problem|$ref",
              "\"#/components/schemas/Problem_\"");
    expect_in(root, "components|schemas|Problem|properties|title|type", "\"string\"");
    /* A set that does not know our options says nothing of access. */
    expect_in(root, "paths|/|get|security", "[]");
    expect_in(root, "components|securitySchemes", NULL);
    json_decref(root);
    schema_free(other);
}

/* ---- examples ---- */

static void test_examples(void **state)
{
    json_t *example = at(document, "paths|/v1/shelves/{shelfId}/books|post|requestBody|content|"
                                   "application/json|example");

    (void)state;
    expect_in(example, "shelfId", NULL);
    expect_in(example, "comment", "\"ada@example.com\"");
    expect_in(example, "book|title", "\"Meditations\"");
    expect_in(example, "book|id", "\"1\"");
    expect_in(example, "book|genre", "\"GENRE_NOVEL\"");
    expect_in(example, "book|tags", "[\"string\"]");
    expect_in(example, "book|shelf", "\"string\"");
    expect_in(example, "book|box", NULL);    /* of a oneof the first */
    expect_in(example, "book|sequel", NULL); /* not within itself */
    /* Nobody can make up a text for any pattern. */
    expect("paths|/v1/shelves:search|post|requestBody|content|application/json|example", NULL);
}

static void test_bad_example(void **state)
{
    const struct openapi_options options = {.title = STR("T"), .version = STR("1")};
    struct schema *bad =
        fixture_load("syntax = \"proto3\"; import \"google/api/annotations.proto\";"
                     "import \"stoa/api/v1/annotations.proto\";"
                     "message M { int32 n = 1 [(stoa.api.v1.field).example = \"1 2\"]; }"
                     "service S { rpc Get(M) returns (M) {"
                     " option (google.api.http) = {get: \"/\"}; } }");
    struct buf json CLEANUP(buf_free) = {.max = 1 << 20};
    struct arena errors;
    struct str error;

    (void)state;
    arena_init(&errors, 0);
    assert_int_equal(openapi_write(bad, &options, &json, &errors, &error), -EINVAL);
    assert_non_null(strstr(error.p, "the example of field n is not JSON"));
    arena_free(&errors);
    schema_free(bad);
}

static void test_limit(void **state)
{
    const struct openapi_options options = {.title = STR("T"), .version = STR("1")};
    struct buf json CLEANUP(buf_free) = {.max = 1000};
    struct arena errors;
    struct str error;

    (void)state;
    arena_init(&errors, 0);
    assert_int_equal(openapi_write(schema, &options, &json, &errors, &error), -EFBIG);
    arena_free(&errors);
}

/* Types, methods and paths of each route's own, and none is lost among many. What it costs is in
 * bench/codec.c. */
static void test_many_routes(void **state)
{
    const struct openapi_options options = {.title = STR("T"), .version = STR("1")};
    const unsigned n = 1200;
    struct buf proto CLEANUP(buf_free) = {.max = 16 << 20};
    struct schema *many;
    json_t *root;

    (void)state;
    buf_append_str(&proto,
                   STR("syntax = \"proto3\"; package t; import \"google/api/annotations.proto\";"));
    for (unsigned i = 0; i < n; i++)
        buf_printf(
            &proto,
            "message A%u { string a = 1; } message B%u { string a = 1; } service S%u { rpc R%u(A%u)"
            " returns (B%u) { option (google.api.http) = {get: \"/r%u/{a}\"}; } }",
            i, i, i, i, i, i, i);
    buf_append(&proto, "", 1);
    many = fixture_load(proto.p);
    root = make(many, &options);
    assert_int_equal(json_object_size(at(root, "paths")), n);
    for (unsigned i = 0; i < n; i++) {
        char path[128], name[32];

        snprintf(path, sizeof(path),
                 "paths|/r%u/{a}|get|responses|200|content|application/json|schema|$ref", i);
        snprintf(name, sizeof(name), "#/components/schemas/B%u", i);
        assert_non_null(at(root, path));
        assert_string_equal(json_string_value(at(root, path)), name);
    }
    json_decref(root);
    schema_free(many);
}

/* ---- memory ---- */

static long allocations, until_failure;

static void *counted_malloc(size_t n)
{
    void *p = until_failure && --until_failure == 0 ? NULL : malloc(n);

    allocations += p != NULL;
    return p;
}

static void counted_free(void *p)
{
    allocations -= p != NULL;
    free(p);
}

static int write_with_failure(long nth, struct buf *json)
{
    const struct openapi_options options = {
        .title = STR("T"), .version = STR("1"), .print_unset = true};
    struct arena errors;
    struct str error;
    int err;

    arena_init(&errors, 0);
    until_failure = nth;
    err = openapi_write(schema, &options, json, &errors, &error);
    arena_free(&errors);
    return err;
}

/* Every 31st allocation of jansson's fails once: an error or the same document, and nothing is left
 * behind. */
static void test_out_of_memory(void **state)
{
    struct buf whole CLEANUP(buf_free) = {.max = 16 << 20};
    struct buf json CLEANUP(buf_free) = {.max = 16 << 20};
    long nth, refused = 0;

    (void)state;
    json_set_alloc_funcs(counted_malloc, counted_free);
    assert_int_equal(write_with_failure(0, &whole), 0);
    for (nth = 1; nth == 1 || until_failure == 0; nth += 31) {
        int err = write_with_failure(nth, &json);

        if (err) {
            assert_int_equal(err, -ENOMEM);
            refused++;
        } else {
            assert_true(str_eq(buf_str(&json), buf_str(&whole)));
        }
        json.n = 0;
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(refused > 100);
    assert_int_equal(allocations, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_names_of_operations),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_paths_that_differ_in_names_only),
        cmocka_unit_test(test_variables_of_several_segments),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_well_known_types),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_what_is_required),
        cmocka_unit_test(test_only_what_is_referred_to),
        cmocka_unit_test(test_types_of_one_name),
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_bad_example),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_many_routes),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, free_all);
}
