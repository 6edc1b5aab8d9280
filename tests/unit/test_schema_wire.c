/* lib/schema/wire.c: what comes from strangers is checked to the byte. */
#include "schema/tables.h"
#include "schema_fixture.h"

#include <errno.h>

static int set_up(void **state UNUSED)
{
    arena_init(&arena, 0);
    schema = fixture_load("syntax = \"proto3\";\n"
                          "message Node {\n"
                          "  string name = 1;\n"
                          "  Node child = 2;\n"
                          "  repeated Node nodes = 3;\n"
                          "  repeated int32 numbers = 4;\n"
                          "  repeated fixed64 wide = 5;\n"
                          "  map<string, Node> labels = 6;\n"
                          "  bytes raw = 7;\n"
                          "  fixed32 narrow = 8;\n"
                          "  int64 count = 9;\n"
                          "  int32 far = 500000;\n"
                          "  oneof pick { Node left = 10; Node right = 11; int32 none = 12; }\n"
                          "  optional string maybe = 13;\n"
                          "}\n");
    return 0;
}

#define BYTES(literal) ((struct str){"" literal, sizeof(literal) - 1})

static struct schema_reader reader(struct str s)
{
    return schema_reader_of(s);
}

/* ---- primitives ---- */

static void test_varints(void **state)
{
    static const struct {
        struct str bytes;
        int err;
        uint64_t value;
    } cases[] = {
        {BYTES("\x00"), 0, 0},
        {BYTES("\x7f"), 0, 127},
        {BYTES("\x80\x01"), 0, 128},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 0, UINT64_MAX},
        {BYTES("\x80\x80\x00"), 0, 0}, /* longer than it need be */
        {BYTES("\x80"), -EBADMSG, 0},
        {BYTES(""), -EBADMSG, 0},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -EBADMSG, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schema_reader r = reader(cases[i].bytes);
        uint64_t v = 0;

        assert_int_equal(schema_read_varint(&r, &v), cases[i].err);
        if (cases[i].err == 0) {
            assert_true(v == cases[i].value);
            assert_ptr_equal(r.at, r.end);
        }
    }
}

static void test_varints_round_trip(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 64; shift++) {
        uint64_t v = UINT64_C(1) << shift, got;
        struct schema_reader r;
        struct buf b;

        buf_init(&b, 64);
        schema_put_varint(&b, v - 1);
        schema_put_varint(&b, v);
        r = reader(buf_str(&b));
        assert_int_equal(schema_read_varint(&r, &got), 0);
        assert_true(got == v - 1);
        assert_int_equal(schema_read_varint(&r, &got), 0);
        assert_true(got == v);
        buf_free(&b);
    }
}

static void test_fields(void **state)
{
    struct schema_reader r = reader(BYTES("\x08\x05"             /* 1: varint */
                                          "\x11\1\0\0\0\0\0\0\0" /* 2: 64 bit */
                                          "\x1a\x02hi"           /* 3: length */
                                          "\x23\x08\x01\x24"     /* 4: group */
                                          "\x2d\2\0\0\0"));      /* 5: 32 bit */
    struct schema_wire_field f;

    (void)state;
    assert_int_equal(schema_read_field(&r, &f), 1);
    assert_true(f.number == 1 && f.wire_type == SCHEMA_WIRE_VARINT && f.scalar == 5);
    assert_int_equal(schema_read_field(&r, &f), 1);
    assert_true(f.number == 2 && f.wire_type == SCHEMA_WIRE_64BIT && f.scalar == 1);
    assert_int_equal(schema_read_field(&r, &f), 1);
    assert_true(f.number == 3 && str_eq(f.bytes, STR("hi")));
    assert_int_equal(schema_read_field(&r, &f), 1);
    assert_true(f.number == 4 && str_eq(f.bytes, BYTES("\x08\x01")));
    assert_int_equal(schema_read_field(&r, &f), 1);
    assert_true(f.number == 5 && f.wire_type == SCHEMA_WIRE_32BIT && f.scalar == 2);
    assert_int_equal(schema_read_field(&r, &f), 0);
}

static void test_damaged_fields(void **state)
{
    static const struct str cases[] = {
        BYTES("\x08"),                         /* no value */
        BYTES("\x00\x01"),                     /* field 0 */
        BYTES("\x0e\x01"),                     /* wire type 6 */
        BYTES("\x0c"),                         /* the end of no group */
        BYTES("\x0b\x14"),                     /* the end of another group */
        BYTES("\x0b\x08\x01"),                 /* a group without end */
        BYTES("\x0a\x05hi"),                   /* cut short */
        BYTES("\x0a\xff\xff\xff\xff\x0f"),     /* 4 GiB */
        BYTES("\x0a\x80\x80\x80\x80\x80\x00"), /* a length of six bytes */
        BYTES("\x80\x80\x80\x80\x80\x00\x01"), /* a tag of six bytes */
        BYTES("\x80\x80\x80\x80\x10\x01"),     /* field 2^29 */
        BYTES("\x0d\x01\x02\x03"),             /* 32 bit cut short */
        BYTES("\x09\x01\x02\x03\x04"),         /* 64 bit cut short */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schema_reader r = reader(cases[i]);
        struct schema_wire_field f;

        assert_int_equal(schema_read_field(&r, &f), -EBADMSG);
    }
}

static void test_group_nesting_has_a_limit(void **state)
{
    char bytes[400];
    struct schema_wire_field f;

    (void)state;
    for (size_t levels = 1; levels <= 150; levels++) {
        struct schema_reader r;

        memset(bytes, 0x0b, levels);
        memset(bytes + levels, 0x0c, levels);
        r = reader((struct str){bytes, 2 * levels});
        assert_int_equal(schema_read_field(&r, &f), levels <= 100 ? 1 : -EBADMSG);
    }
}

static void test_length_in_place(void **state)
{
    static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, 70000};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct schema_wire_field f;
        struct schema_reader r;
        struct buf b;
        size_t outer, inner;

        buf_init(&b, 1 << 20);
        outer = schema_put_begin(&b, 1);
        inner = schema_put_begin(&b, 2);
        for (size_t j = 0; j < sizes[i]; j++)
            buf_append_char(&b, (char)j);
        schema_put_end(&b, inner);
        schema_put_end(&b, outer);
        assert_false(b.failed);
        r = reader(buf_str(&b));
        assert_int_equal(schema_read_field(&r, &f), 1);
        assert_ptr_equal(r.at, r.end);
        r = reader(f.bytes);
        assert_int_equal(schema_read_field(&r, &f), 1);
        assert_int_equal(f.number, 2);
        assert_int_equal(f.bytes.n, sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(f.bytes.p[j], (char)j);
        buf_free(&b);
    }
}

static void test_full_buffer_stays_failed(void **state)
{
    struct buf b;
    size_t mark;

    (void)state;
    buf_init(&b, 3);
    mark = schema_put_begin(&b, 1);
    buf_append_str(&b, STR("long"));
    schema_put_end(&b, mark);
    assert_true(b.failed);
    buf_free(&b);
}

/* ---- schema_check_wire ---- */

static void expect(struct str bytes, const char *path, const char *message)
{
    const struct schema_message *type = schema_message(schema, STR("Node"));
    struct schema_fault fault = {STR_NULL, STR_NULL};
    int err = schema_check_wire(type, bytes, &arena, &fault);

    if (!message) {
        assert_int_equal(err, 0);
        return;
    }
    assert_int_equal(err, -EBADMSG);
    assert_string_equal(arena_copy(&arena, fault.path).p, path);
    assert_string_equal(arena_copy(&arena, fault.message).p, message);
}

static void test_check_accepts(void **state)
{
    (void)state;
    expect(STR_NULL, NULL, NULL);
    expect(BYTES("\x0a\x05hello"), NULL, NULL);
    expect(BYTES("\x12\x03\x0a\x01x"), NULL, NULL);
    expect(BYTES("\x22\x03\x01\x80\x01"), NULL, NULL); /* packed */
    expect(BYTES("\x20\x01\x20\x02"), NULL, NULL);     /* not packed */
    expect(BYTES("\x2a\x08"
                 "12345678"),
           NULL, NULL);
    expect(BYTES("\x29"
                 "12345678"),
           NULL, NULL);
    expect(BYTES("\x3a\x03\xff\x00\xfe"), NULL, NULL);     /* bytes are no text */
    expect(BYTES("\xa0\x06\x01"), NULL, NULL);             /* unknown: varint */
    expect(BYTES("\xa2\x06\x02\xff\xff"), NULL, NULL);     /* unknown: bytes */
    expect(BYTES("\xa3\x06\x08\x01\xa4\x06"), NULL, NULL); /* unknown: group */
}

static void test_check_names_the_place(void **state)
{
    (void)state;
    expect(BYTES("\x0a\x02\xff\xff"), "name", "is not valid UTF-8");
    expect(BYTES("\x0a\x03g\x00h"), "name", "must not contain a NUL character");
    expect(BYTES("\x0a\x0c"
                 "12345678\x00"
                 "abc"),
           "name", "must not contain a NUL character");
    expect(BYTES("\x12\x04\x0a\x02\xc3x"), "child.name", "is not valid UTF-8");
    expect(BYTES("\x1a\x00\x1a\x00\x1a\x03\x0a\x01\xff"), "nodes[2].name", "is not valid UTF-8");
    expect(BYTES("\x1a\x05\x1a\x03\x0a\x01\xff"), "nodes[0].nodes[0].name", "is not valid UTF-8");
    expect(BYTES("\x32\x05\x12\x03\x0a\x01\xff"), "labels[0].value.name", "is not valid UTF-8");
    expect(BYTES("\x32\x03\x0a\x01\xff"), "labels[0].key", "is not valid UTF-8");
    expect(BYTES("\x08\x01"), "name", "has the wrong wire type");
    expect(BYTES("\x10\x01"), "child", "has the wrong wire type");
    expect(BYTES("\x42\x04"
                 "1234"),
           "narrow", "has the wrong wire type"); /* only repeated fields are packed */
    expect(BYTES("\x22\x02\x01\x80"), "numbers[0]", "is cut short");
    expect(BYTES("\x2a\x07"
                 "1234567"),
           "wide[0]", "is cut short");
    expect(BYTES("\x0a\x05hi"), "", "is not well-formed protobuf");
    expect(BYTES("\x12\x02\x0a\x05"), "child", "is not well-formed protobuf");
}

static void nest(struct buf *b, unsigned levels)
{
    size_t marks[200];

    buf_init(b, 1 << 16);
    for (unsigned i = 0; i < levels; i++)
        marks[i] = schema_put_begin(b, 2);
    for (unsigned i = levels; i-- > 0;)
        schema_put_end(b, marks[i]);
}

static void test_check_limits_depth(void **state)
{
    const struct schema_message *type = schema_message(schema, STR("Node"));
    struct schema_fault fault;
    struct buf b;

    (void)state;
    nest(&b, 99); /* and the message itself: 100 */
    assert_int_equal(schema_check_wire(type, buf_str(&b), &arena, &fault), 0);
    buf_free(&b);
    nest(&b, 100);
    assert_int_equal(schema_check_wire(type, buf_str(&b), &arena, &fault), -EBADMSG);
    assert_string_equal(fault.message.p, "is nested too deeply");
    buf_free(&b);
}

/* ---- schema_clean_wire ---- */

static void expect_clean(struct str bytes, struct str expected)
{
    const struct schema_message *type = schema_message(schema, STR("Node"));
    struct schema_fault fault;
    struct str clean;

    assert_int_equal(schema_clean_wire(type, bytes, &arena, &clean, &fault), 0);
    assert_int_equal(clean.n, expected.n);
    assert_memory_equal(clean.p, expected.p, expected.n);
}

static void test_clean_bytes_are_not_copied(void **state)
{
    static const struct str good = BYTES("\x0a\x02hi\x12\x03\x0a\x01x\x1a\x00\x1a\x00");
    struct schema_fault fault;
    struct str clean;

    (void)state;
    assert_int_equal(
        schema_clean_wire(schema_message(schema, STR("Node")), good, &arena, &clean, &fault), 0);
    assert_ptr_equal(clean.p, good.p);
    assert_int_equal(
        schema_clean_wire(schema_message(schema, STR("Node")), STR("\x0a"), &arena, &clean, &fault),
        -EBADMSG);
}

static void test_messages_are_merged(void **state)
{
    (void)state;
    /* child {name: "a"} name: "n" child {count: 5} */
    expect_clean(BYTES("\x12\x03\x0a\x01"
                       "a\x0a\x01n\x12\x02\x48\x05"),
                 BYTES("\x12\x05\x0a\x01"
                       "a\x48\x05\x0a\x01n"));
    /* In a repeated message, and twice inside each other. */
    expect_clean(BYTES("\x1a\x08\x12\x02\x12\x00\x12\x02\x12\x00"),
                 BYTES("\x1a\x04\x12\x02\x12\x00"));
    /* Only the last run of a oneof's member counts: left, right, left, left. */
    expect_clean(BYTES("\x52\x02\x48\x01\x5a\x00\x52\x02\x48\x02\x52\x02\x48\x03"),
                 BYTES("\x52\x04\x48\x02\x48\x03"));
    /* left, left, none: the last one wins. */
    expect_clean(BYTES("\x52\x00\x52\x00\x60\x01"), BYTES("\x60\x01"));
}

static void test_groups_are_left_out(void **state)
{
    (void)state;
    expect_clean(BYTES("\xa3\x06\x08\x01\xa4\x06\x48\x05"), BYTES("\x48\x05"));
    expect_clean(BYTES("\x12\x04\xa3\x06\xa4\x06"), BYTES("\x12\x00"));
    expect_clean(BYTES("\xa3\x06\xa4\x06"), BYTES(""));
}

/* Twice at each of many levels: the work doubles at each, up to a bound. */
static void test_merging_has_a_bound(void **state)
{
    const struct schema_message *type = schema_message(schema, STR("Node"));
    struct schema_fault fault;
    struct buf inner, outer;
    struct str clean;
    int err = 0;

    (void)state;
    buf_init(&inner, 64 << 20);
    for (int i = 0; i < 90 && err == 0; i++) {
        size_t mark;

        buf_init(&outer, 64 << 20);
        for (int j = 0; j < 1000; j++)
            buf_append_str(&outer, STR("\x12\x00"));
        mark = schema_put_begin(&outer, 2);
        buf_append_str(&outer, buf_str(&inner));
        for (int j = 0; j < 10000; j++)
            buf_append_str(&outer, STR("\xa0\x06\x01"));
        schema_put_end(&outer, mark);
        assert_false(outer.failed);
        buf_free(&inner);
        inner = outer;
        err = schema_clean_wire(type, buf_str(&inner), &arena, &clean, &fault);
    }
    assert_int_equal(err, -EBADMSG);
    assert_string_equal(fault.message.p, "has too many messages that occur several times");
    buf_free(&inner);
}

static void test_required_fields(void **state)
{
    struct schema *old = fixture_load("syntax = \"proto2\"; message M { required int32 a = 1;"
                                      " repeated M m = 2; required M n = 3; }");
    const struct schema_message *type = schema_message(old, STR("M"));
    struct schema_fault fault;

    (void)state;
    assert_int_equal(schema_check_wire(type, STR_NULL, &arena, &fault), -EBADMSG);
    assert_string_equal(fault.path.p, "a");
    assert_string_equal(fault.message.p, "is required");
    assert_int_equal(schema_check_wire(type, STR("\x08\x01\x12\x02\x08\x01"), &arena, &fault),
                     -EBADMSG);
    assert_string_equal(fault.path.p, "m[0].n");
    schema_free(old);
}

/* Every prefix and every changed byte of a good message gives an answer, not a crash. */
static void test_check_survives_damage(void **state)
{
    static const struct str good =
        BYTES("\x0a\x02hi\x12\x06\x0a\x01x\x1a\x01\x00\x22\x03\x01\x80\x01\x32\x05\x0a\x01k\x12\x00"
              "\x3a\x01z\x45\x01\x02\x03\x04\xa0\x92\xf4\x01\x07");
    const struct schema_message *type = schema_message(schema, STR("Node"));
    struct schema_fault fault;
    char bytes[64];

    (void)state;
    for (size_t n = 0; n <= good.n; n++) {
        char *exact = malloc(n ? n : 1); /* so that AddressSanitizer sees a byte too much */

        assert_non_null(exact);
        memcpy(exact, good.p, n);
        (void)!schema_check_wire(type, (struct str){exact, n}, &arena, &fault);
        free(exact);
    }
    for (size_t i = 0; i < good.n; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(bytes, good.p, good.n);
            bytes[i] = (char)(bytes[i] ^ 1 << bit);
            (void)!schema_check_wire(type, (struct str){bytes, good.n}, &arena, &fault);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varints),
        cmocka_unit_test(test_varints_round_trip),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_damaged_fields),
        cmocka_unit_test(test_group_nesting_has_a_limit),
        cmocka_unit_test(test_length_in_place),
        cmocka_unit_test(test_full_buffer_stays_failed),
        cmocka_unit_test(test_check_accepts),
        cmocka_unit_test(test_check_names_the_place),
        cmocka_unit_test(test_check_limits_depth),
        cmocka_unit_test(test_clean_bytes_are_not_copied),
        cmocka_unit_test(test_messages_are_merged),
        cmocka_unit_test(test_groups_are_left_out),
        cmocka_unit_test(test_merging_has_a_bound),
        cmocka_unit_test(test_required_fields),
        cmocka_unit_test(test_check_survives_damage),
    };

    return cmocka_run_group_tests_name("schema wire", tests, set_up, tear_down);
}
