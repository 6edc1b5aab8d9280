/* The JSON mapping at its limits: depth, room, memory, big and hostile inputs, other locales, many
 * threads, and numbers of every kind. */
#include "json_fixture.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>

/* One conversion with everything that it needs. */
struct conversion {
    struct arena arena;
    struct buf out;
    struct schema_fault fault;
};

static void begin(struct conversion *c, size_t max_out, size_t max_arena)
{
    arena_init(&c->arena, max_arena);
    buf_init(&c->out, max_out);
    c->fault = (struct schema_fault){0};
}

static void end(struct conversion *c)
{
    buf_free(&c->out);
    arena_free(&c->arena);
}

static int read_json(struct conversion *c, const char *type, struct str json, unsigned max_depth)
{
    const struct schema_json_options options = {.max_depth = max_depth};

    return schema_json_read(schema, json_test_type(schema, type), json, &options, &c->out,
                            &c->arena, &c->fault);
}

static int write_json(struct conversion *c, const char *type, struct str wire, unsigned max_depth)
{
    const struct schema_json_options options = {.max_depth = max_depth};

    return schema_json_write(schema, json_test_type(schema, type), wire, &options, &c->out,
                             &c->arena, &c->fault);
}

static void repeat(struct buf *b, struct str s, size_t n)
{
    while (n--)
        buf_append_str(b, s);
}

/* ---- depth ---- */

/* Brackets are counted alike for messages, lists, maps, Any, and members that are skipped. */
static void limits_depth(void **state UNUSED)
{
    static const struct {
        const char *type, *open, *middle, *close;
        unsigned brackets; /* of each open */
    } cases[] = {
        {"Node", "{\"left\":", "{}", "}", 1},
        {"Node", "{\"children\":[", "{}", "]}", 2},
        {"Node", "{\"choice\":{\"value\":", "null", "}}", 2},
        {"Maps", "{\"unknown\":[", "1", "]}", 2},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned leaf = strcmp(cases[i].middle, "{}") == 0;
        unsigned repeats = i < 2 ? 98 / cases[i].brackets : 1;

        for (unsigned over = 0; over <= 1; over++) {
            unsigned depth = repeats * cases[i].brackets + leaf;
            struct conversion c;
            struct buf json;
            int err;

            buf_init(&json, 1 << 20);
            repeat(&json, str_of(cases[i].open), repeats);
            buf_append_str(&json, str_of(cases[i].middle));
            repeat(&json, str_of(cases[i].close), repeats);
            begin(&c, 1 << 20, 1 << 20);
            err = read_json(&c, cases[i].type, buf_str(&json), depth - over);
            assert_int_equal(err, over ? -EBADMSG : 0);
            if (over) {
                assert_int_equal(c.fault.path.n, 0);
                assert_true(str_starts(c.fault.message, STR("is nested too deeply")));
            }
            end(&c);
            buf_free(&json);
        }
    }
}

static void default_depth_is_100(void **state UNUSED)
{
    for (unsigned depth = 100; depth <= 101; depth++) {
        struct conversion c;
        struct buf json;

        buf_init(&json, 1 << 20);
        repeat(&json, STR("["), depth - 1);
        repeat(&json, STR("]"), depth - 1);
        begin(&c, 1 << 20, 1 << 20);
        buf_append_str(&c.out, STR("{\"value\":"));
        buf_append_str(&c.out, buf_str(&json));
        buf_append_str(&c.out, STR("}"));
        buf_free(&json);
        json = c.out;
        buf_init(&c.out, 1 << 20);
        assert_int_equal(read_json(&c, "WellKnown", buf_str(&json), 0),
                         depth == 100 ? 0 : -EBADMSG);
        end(&c);
        buf_free(&json);
    }
}

/* However deep a hostile text or message is, and whatever the options say, the stack is safe. */
static void survives_endless_nesting(void **state UNUSED)
{
    static const char *const openings[] = {
        "[", "{\"a\":", "{\"left\":", "{\"children\":[", "{\"any\":{\"value\":", "{\"unknown\":["};
    static const char *const types[] = {"WellKnown", "Node", "Maps"};

    for (size_t i = 0; i < ARRAY_SIZE(openings) * ARRAY_SIZE(types); i++) {
        struct conversion c;
        struct buf json;

        buf_init(&json, 64 << 20);
        repeat(&json, str_of(openings[i / ARRAY_SIZE(types)]), 100000);
        begin(&c, 64 << 20, 64 << 20);
        assert_int_equal(read_json(&c, types[i % ARRAY_SIZE(types)], buf_str(&json), 1000000),
                         -EBADMSG);
        end(&c);
        buf_free(&json);
    }
}

/* Nodes inside of nodes, from the inside out. */
static void nested_wire(struct buf *wire, unsigned levels)
{
    struct buf inner;

    buf_init(wire, 1 << 20);
    for (unsigned i = 1; i < levels; i++) {
        size_t n = wire->n;
        char head[] = {0x1a, (char)(n | 0x80), (char)(n >> 7 | 0x80), (char)(n >> 14)};

        inner = *wire;
        buf_init(wire, 1 << 20);
        buf_append(wire, head, sizeof(head));
        buf_append_str(wire, buf_str(&inner));
        buf_free(&inner);
    }
}

static void limits_depth_of_wire(void **state UNUSED)
{
    for (unsigned levels = 100; levels <= 101; levels++) {
        struct conversion c;
        struct buf wire;

        nested_wire(&wire, levels);
        begin(&c, 1 << 20, 1 << 20);
        assert_int_equal(write_json(&c, "Node", buf_str(&wire), 0), levels == 100 ? 0 : -EBADMSG);
        end(&c);
        buf_free(&wire);
    }
}

/* ---- room and memory ---- */

static const char big_json[] =
    "{\"scalars\":{\"stringValue\":\"a\\nb\",\"bytesValue\":\"AQID\",\"doubleValue\":0."
    "1234567890123},"
    "\"lists\":{\"int32s\":[1,2,300],\"strings\":[\"x\",\"\"],\"nodes\":[{\"id\":1},{}]},"
    "\"maps\":{\"strings\":{\"a\":\"b\",\"c\\n\":\"d\"},\"values\":{\"v\":[1,{\"w\":null}]}},"
    "\"wellKnown\":{\"any\":{\"@type\":\"x/stoa.test.Node\",\"id\":5},"
    "\"timestamp\":\"2026-01-31T08:30:00Z\",\"mask\":\"a,bC\"}}";

/* Too little room is said as such at every size, and leaves what was there. */
static void says_when_room_is_used_up(void **state UNUSED)
{
    struct conversion whole, c;
    struct buf wire;

    begin(&whole, 1 << 20, 0);
    assert_int_equal(read_json(&whole, "All", str_of(big_json), 0), 0);
    wire = whole.out;
    for (size_t max = 0; max < wire.n; max++) {
        begin(&c, max, 0);
        assert_int_equal(read_json(&c, "All", str_of(big_json), 0), -EMSGSIZE);
        assert_int_equal(c.out.n, 0);
        end(&c);
    }
    for (size_t max = 0;; max++) {
        int err;

        begin(&c, max, 0);
        err = write_json(&c, "All", buf_str(&wire), 0);
        if (err == 0) {
            assert_int_equal(c.out.n, max);
            end(&c);
            break;
        }
        assert_int_equal(err, -EMSGSIZE);
        assert_int_equal(c.out.n, 0);
        end(&c);
    }
    end(&whole);
}

/* Memory may end at any allocation. */
static void says_when_memory_is_used_up(void **state UNUSED)
{
    static const struct str texts[] = {
        STR("{\"maps\":{\"strings\":{\"a\\n\":\"b\",\"c\\n\":\"d\"}},\"wellKnown\":{\"any\":"
            "{\"id\":1,\"@type\":\"x\\/stoa.test.Node\"}}}"),
        STR("{\"node\":{\"left\":{\"id\":\"x\"}}}"),
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        const int expected = i == 0 ? 0 : -EBADMSG;
        int err = -ENOMEM;

        for (size_t max = 1; max <= 1 << 16 && err == -ENOMEM; max *= 2) {
            struct conversion c;

            begin(&c, 1 << 20, max);
            err = read_json(&c, "All", texts[i], 0);
            assert_true(err == -ENOMEM || err == expected);
            end(&c);
        }
        assert_int_equal(err, expected);
    }
}

static void appends_to_what_is_there(void **state UNUSED)
{
    struct conversion c;

    begin(&c, 1 << 10, 0);
    buf_append_str(&c.out, STR("before:"));
    assert_int_equal(write_json(&c, "Node", STR("\x08\x05"), 0), 0);
    assert_true(str_eq(buf_str(&c.out), STR("before:{\"id\":5}")));
    end(&c);
}

/* A missing pointer is an empty text: no JSON, but a message with nothing set. */
static void takes_absent_input(void **state UNUSED)
{
    struct conversion c;

    begin(&c, 1 << 10, 0);
    assert_int_equal(read_json(&c, "Node", STR_NULL, 0), -EBADMSG);
    assert_int_equal(write_json(&c, "Node", STR_NULL, 0), 0);
    assert_true(str_eq(buf_str(&c.out), STR("{}")));
    end(&c);
}

/* ---- big and hostile ---- */

/* The work must not grow with the square of the input: each of these would take minutes. */
#define MANY 200000

static void finds_one_doubled_key_among_many(void **state UNUSED)
{
    for (unsigned doubled = 0; doubled <= 1; doubled++) {
        struct conversion c;
        struct buf json;

        buf_init(&json, 64 << 20);
        buf_append_str(&json, STR("{\"strings\":{\"k0\":\"\""));
        for (unsigned i = 1; i < MANY; i++)
            buf_printf(&json, ",\"k%u\":\"\"", i);
        if (doubled)
            buf_append_str(&json, STR(",\"k77\":\"\""));
        buf_append_str(&json, STR("}}"));
        begin(&c, 64 << 20, 0);
        assert_int_equal(read_json(&c, "Maps", buf_str(&json), 0), doubled ? -EBADMSG : 0);
        end(&c);
        buf_free(&json);
    }
}

/* An Any in an Any in ... with n bytes inside, each with its "@type" before or behind its value. */
static void nest_anys(struct buf *text, unsigned levels, size_t n, bool type_first)
{
    const struct str type = STR("\"@type\":\"x/google.protobuf.Any\"");

    for (unsigned i = 0; i < levels; i++) {
        buf_append_char(text, '{');
        if (type_first)
            buf_printf(text, "%s,", type.p);
        buf_append_str(text, STR("\"value\":"));
    }
    buf_append_str(text, STR("{\"@type\":\"x/google.protobuf.Value\",\"value\":[0"));
    for (size_t i = 0; i < n / 2; i++)
        buf_append_str(text, STR(",0"));
    buf_append_str(text, STR("]}"));
    for (unsigned i = 0; i < levels; i++) {
        if (!type_first)
            buf_printf(text, ",%s", type.p);
        buf_append_char(text, '}');
    }
}

/* To find the types behind large values again and again would take the square of the text. */
static void types_behind_much_have_a_limit(void **state UNUSED)
{
    static const struct {
        unsigned levels;
        size_t n;
        bool type_first;
        int err;
    } cases[] = {
        {90, 400, false, 0},           {3, 300000, false, 0},         {90, 300000, true, 0},
        {90, 300000, false, -EBADMSG}, {20, 300000, false, -EBADMSG},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct conversion c;
        struct buf text;

        buf_init(&text, 1 << 20);
        buf_append_str(&text, STR("{\"any\":"));
        nest_anys(&text, cases[i].levels, cases[i].n, cases[i].type_first);
        buf_append_char(&text, '}');
        begin(&c, 16 << 20, 0);
        assert_int_equal(read_json(&c, "WellKnown", buf_str(&text), 0), cases[i].err);
        if (cases[i].err)
            assert_true(str_ends(c.fault.path, STR(".@type")));
        end(&c);
        buf_free(&text);
    }
}

/* Items count in lists and maps of all levels together, known members only. */
static void items_have_a_limit(void **state UNUSED)
{
    static const char six[] =
        "{\"unknown\":[1,2,3,4,5,6,7],\"wellKnown\":{\"value\":[[1,2],{\"a\":null}]},"
        "\"maps\":{\"strings\":{\"a\":\"b\"}}}";
    static const struct {
        size_t max;
        int err;
    } cases[] = {{0, 0}, {6, 0}, {5, -EBADMSG}, {1, -EBADMSG}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct schema_json_options options = {.max_items = cases[i].max};
        struct conversion c;

        begin(&c, 1 << 20, 0);
        assert_int_equal(schema_json_read(schema, json_test_type(schema, "All"), str_of(six),
                                          &options, &c.out, &c.arena, &c.fault),
                         cases[i].err);
        if (cases[i].err)
            assert_true(str_starts(c.fault.message, STR("has too many items")));
        end(&c);
    }
}

static void merges_many_pieces_of_a_message(void **state UNUSED)
{
    struct conversion c;
    struct buf wire;

    buf_init(&wire, 64 << 20);
    repeat(&wire, STR("\x1a\x02\x2a\x00"), MANY); /* left { children {} } */
    begin(&c, 64 << 20, 0);
    assert_int_equal(write_json(&c, "Node", buf_str(&wire), 0), 0);
    assert_true(str_starts(buf_str(&c.out), STR("{\"left\":{\"children\":[{},{},{}")));
    assert_int_equal(c.out.n, strlen("{\"left\":{\"children\":[]}}") + 3 * (size_t)MANY - 1);
    end(&c);
    buf_free(&wire);
}

static void replaces_many_map_entries(void **state UNUSED)
{
    struct conversion c;
    struct buf wire;

    buf_init(&wire, 64 << 20);
    for (unsigned i = 0; i < MANY; i++)
        buf_append(&wire, (char[]){0x12, 4, 0x08, (char)(i % 100), 0x10, (char)(i % 3)}, 6);
    begin(&c, 64 << 20, 0);
    assert_int_equal(write_json(&c, "Maps", buf_str(&wire), 0), 0);
    assert_true(c.out.n < 2000);
    end(&c);
    buf_free(&wire);
}

/* Two lists whose elements alternate, and a oneof that changes its mind each time. */
static void orders_many_fields(void **state UNUSED)
{
    struct conversion c;
    struct buf wire;

    buf_init(&wire, 64 << 20);
    repeat(&wire, STR("\x18\x01\x42\x01x"), MANY);
    begin(&c, 64 << 20, 0);
    assert_int_equal(write_json(&c, "Lists", buf_str(&wire), 0), 0);
    assert_true(str_starts(buf_str(&c.out), STR("{\"int32s\":[1,1,1")));
    assert_true(str_ends(buf_str(&c.out), STR("\"x\",\"x\"]}")));
    end(&c);
    wire.n = 0;
    repeat(&wire, STR("\x08\x05\x12\x01x"), MANY);
    begin(&c, 64 << 20, 0);
    assert_int_equal(write_json(&c, "Choice", buf_str(&wire), 0), 0);
    assert_true(str_eq(buf_str(&c.out), STR("{\"text\":\"x\"}")));
    end(&c);
    buf_free(&wire);
}

/* Scratch memory is given back: what many messages need in turn does not add up. */
static void keeps_memory_flat(void **state UNUSED)
{
    struct conversion c;
    struct buf wire, json;

    buf_init(&wire, 64 << 20);
    repeat(&wire, STR("\x2a\x05\x12\x01x\x08\x01"), MANY); /* children out of order */
    begin(&c, 64 << 20, 16 << 10);
    assert_int_equal(write_json(&c, "Node", buf_str(&wire), 0), 0);
    json = c.out;
    buf_init(&c.out, 64 << 20);
    assert_int_equal(read_json(&c, "Node", buf_str(&json), 0), 0);
    assert_int_equal(c.out.n, wire.n);
    buf_free(&json);
    end(&c);
    buf_free(&wire);
}

static void reads_endless_numbers(void **state UNUSED)
{
    static const struct {
        const char *head, *digit, *tail;
        int err;
    } cases[] = {
        {"{\"doubleValue\":1", "0", "e-200000}", 0}, {"{\"doubleValue\":0.", "3", "}", 0},
        {"{\"doubleValue\":1e", "0", "1}", 0},       {"{\"int32Value\":1.", "0", "}", 0},
        {"{\"int32Value\":1", "0", "e-200000}", 0},  {"{\"int32Value\":0.", "0", "1e200001}", 0},
        {"{\"int32Value\":1", "0", "}", -EBADMSG},   {"{\"int32Value\":1e", "9", "}", -EBADMSG},
        {"{\"int32Value\":1e-", "9", "}", -EBADMSG}, {"{\"doubleValue\":1", "0", "}", -EBADMSG},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct conversion c;
        struct buf json;

        buf_init(&json, 1 << 20);
        buf_append_str(&json, str_of(cases[i].head));
        repeat(&json, str_of(cases[i].digit), MANY);
        buf_append_str(&json, str_of(cases[i].tail));
        begin(&c, 1 << 20, 0);
        assert_int_equal(read_json(&c, "Scalars", buf_str(&json), 0), cases[i].err);
        end(&c);
        buf_free(&json);
    }
}

/* ---- numbers ---- */

/* A fixed sequence: failures can be repeated. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void check_bits(const char *head, size_t size, uint64_t bits)
{
    struct conversion text, back;
    struct buf wire;

    buf_init(&wire, 64);
    buf_append(&wire, head, 1);
    for (size_t i = 0; i < size; i++)
        buf_append_char(&wire, (char)(bits >> (8 * i)));
    begin(&text, 128, 1 << 16);
    begin(&back, 128, 1 << 16);
    assert_int_equal(write_json(&text, "Scalars", buf_str(&wire), 0), 0);
    assert_int_equal(read_json(&back, "Scalars", buf_str(&text.out), 0), 0);
    if (!str_eq(buf_str(&back.out), buf_str(&wire)))
        print_message("%016lx: %.*s\n", bits, STR_FMT(buf_str(&text.out)));
    assert_true(str_eq(buf_str(&back.out), buf_str(&wire)));
    end(&text);
    end(&back);
    buf_free(&wire);
}

static void prints_numbers_that_read_back_the_same(void **state UNUSED)
{
    uint64_t random = 88172645463325252;

    for (unsigned i = 0; i < 20000; i++) {
        uint64_t bits = next_random(&random);
        double decimal = (double)(int64_t)(bits % 2000000000) / 1000;
        float narrow = (float)decimal;
        uint32_t narrow_bits;

        if ((bits >> 52 & 0x7ff) != 0x7ff)
            check_bits("\x09", 8, bits);
        if ((bits >> 23 & 0xff) != 0xff && (uint32_t)bits)
            check_bits("\x15", 4, bits);
        memcpy(&bits, &decimal, 8);
        check_bits("\x09", 8, bits);
        memcpy(&narrow_bits, &narrow, 4);
        if (narrow_bits)
            check_bits("\x15", 4, narrow_bits);
    }
}

/* In most of Europe the C library writes and wants a comma. False where German cannot be made for
 * want of its sources (Debian's package locales). */
static bool german_locale(void)
{
    char directory[] = "/tmp/stoa-locale-XXXXXX", command[128];
    bool set;

    if (!mkdtemp(directory))
        return false;
    snprintf(command, sizeof(command), "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>&1",
             directory);
    set = system(command) == 0 && setenv("LOCPATH", directory, 1) == 0 &&
          setlocale(LC_ALL, "de_DE.UTF-8");
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command) == 0 && set;
}

static void numbers_do_not_follow_the_locale(void **state UNUSED)
{
    bool german = german_locale();
    struct conversion text, back;

    begin(&text, 1 << 10, 0);
    begin(&back, 1 << 10, 0);
    assert_int_equal(read_json(&back, "Scalars",
                               STR("{\"doubleValue\":0.30000000000000004,\"floatValue\":1.5e-9}"),
                               0),
                     0);
    assert_int_equal(write_json(&text, "Scalars", buf_str(&back.out), 0), 0);
    assert_true(str_eq(buf_str(&text.out),
                       STR("{\"doubleValue\":0.30000000000000004,\"floatValue\":1.5e-09}")));
    end(&text);
    end(&back);
    if (german)
        assert_string_equal(localeconv()->decimal_point, ",");
    setlocale(LC_ALL, "C");
    if (!german)
        skip();
}

/* ---- threads ---- */

static void *convert_often(void *failures)
{
    for (unsigned i = 0; i < 200; i++) {
        struct conversion wire, json;

        begin(&wire, 1 << 16, 1 << 16);
        begin(&json, 1 << 16, 1 << 16);
        if (read_json(&wire, "All", str_of(big_json), 0) ||
            write_json(&json, "All", buf_str(&wire.out), 0))
            ++*(unsigned *)failures;
        end(&wire);
        end(&json);
    }
    return NULL;
}

static void threads_share_a_schema(void **state UNUSED)
{
    pthread_t threads[4];
    unsigned failures[ARRAY_SIZE(threads)] = {0};

    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, convert_often, &failures[i]), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(failures[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(default_depth_is_100),
        cmocka_unit_test(survives_endless_nesting),
        cmocka_unit_test(limits_depth_of_wire),
        cmocka_unit_test(says_when_room_is_used_up),
        cmocka_unit_test(says_when_memory_is_used_up),
        cmocka_unit_test(appends_to_what_is_there),
        cmocka_unit_test(takes_absent_input),
        cmocka_unit_test(finds_one_doubled_key_among_many),
        cmocka_unit_test(types_behind_much_have_a_limit),
        cmocka_unit_test(items_have_a_limit),
        cmocka_unit_test(merges_many_pieces_of_a_message),
        cmocka_unit_test(replaces_many_map_entries),
        cmocka_unit_test(orders_many_fields),
        cmocka_unit_test(keeps_memory_flat),
        cmocka_unit_test(reads_endless_numbers),
        cmocka_unit_test(prints_numbers_that_read_back_the_same),
        cmocka_unit_test(numbers_do_not_follow_the_locale),
        cmocka_unit_test(threads_share_a_schema),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
