/* lib/schema/load.c, types.c, symbols.c, names.c: what a descriptor set becomes, and what is
 * refused. */
#include "schema/tables.h"
#include "schema_fixture.h"

#include <errno.h>
#include <google/protobuf/descriptor.pb-c.h>

static const char shapes[] =
    "syntax = \"proto3\";\n"
    "package a.b;\n"
    "import \"google/protobuf/timestamp.proto\";\n"
    "import \"google/protobuf/wrappers.proto\";\n"
    "import \"google/protobuf/struct.proto\";\n"
    "import \"google/protobuf/descriptor.proto\";\n"
    "import \"stoa/api/v1/annotations.proto\";\n"
    "extend google.protobuf.MethodOptions { string note = 60001; }\n"
    "extend google.protobuf.MethodOptions { int32 level = 60000; }\n"
    "enum Color { option allow_alias = true; NONE = 0; RED = 5; CRIMSON = 5; DARK = -1; }\n"
    "message M {\n"
    "  int32 plain_number = 1;\n"
    "  optional string maybe = 2 [(stoa.api.v1.field).null_when_unset = true];\n"
    "  repeated sint64 many = 3;\n"
    "  repeated bool unpacked = 4 [packed = false];\n"
    "  repeated string texts = 5;\n"
    "  map<string, Inner> by_name = 6;\n"
    "  oneof choice { Color color = 7; M again = 8; }\n"
    "  google.protobuf.Timestamp at = 9;\n"
    "  google.protobuf.Int32Value wrapped = 10;\n"
    "  string renamed = 11 [json_name = \"otherName\"];\n"
    "  google.protobuf.Value anything = 13;\n"
    "  int32 far = 536870911;\n"
    "  message Inner { M up = 1; }\n"
    "}\n"
    "service S {\n"
    "  rpc Quiet(M) returns (M.Inner);\n"
    "  rpc Talk(stream M) returns (stream M) {\n"
    "    option idempotency_level = IDEMPOTENT;\n"
    "    option (stoa.api.v1.method).auth = AUTH_OPTIONAL;\n"
    "    option (stoa.api.v1.method).http_status = 204;\n"
    "  }\n"
    "}\n";

static int set_up(void **state UNUSED)
{
    arena_init(&arena, 0);
    schema = fixture_load(shapes);
    return 0;
}

static const struct schema_message *message(const char *name)
{
    const struct schema_message *m = schema_message(schema, str_of(name));

    assert_non_null(m);
    return m;
}

static const struct schema_field *field(const char *name)
{
    const struct schema_field *f = schema_field_by_name(message("a.b.M"), str_of(name));

    assert_non_null(f);
    return f;
}

static void test_messages(void **state)
{
    (void)state;
    assert_string_equal(schema_message_name(message("a.b.M.Inner")).p, "a.b.M.Inner");
    assert_null(schema_message(schema, STR(".a.b.M")));
    assert_null(schema_message(schema, STR("a.b.Color")));
    assert_null(schema_message(schema, STR("")));
    assert_int_equal(message("google.protobuf.Timestamp")->well_known, SCHEMA_TIMESTAMP);
    assert_int_equal(message("google.protobuf.Int32Value")->well_known, SCHEMA_WRAPPER);
    assert_int_equal(message("google.protobuf.Value")->well_known, SCHEMA_VALUE);
    assert_int_equal(message("a.b.M")->well_known, SCHEMA_PLAIN);
    assert_true(message("a.b.M.ByNameEntry")->map_entry);
}

static void test_fields(void **state)
{
    const struct schema_message *m = message("a.b.M");

    (void)state;
    for (size_t i = 1; i < m->n_fields; i++)
        assert_true(m->fields[i - 1].number < m->fields[i].number);
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct schema_field *f = &m->fields[i];

        assert_ptr_equal(schema_field_by_number(m, f->number), f);
        assert_ptr_equal(schema_field_by_name(m, f->name), f);
        assert_ptr_equal(schema_field_by_json_name(m, f->name), f);
        assert_ptr_equal(schema_field_by_json_name(m, f->json_name), f);
    }
    assert_null(schema_field_by_number(m, 0));
    assert_null(schema_field_by_number(m, 12));
    assert_null(schema_field_by_number(m, UINT32_MAX));
    assert_null(schema_field_by_json_name(m, STR("nothing")));
    assert_null(schema_field_by_json_name(m, STR("")));
    assert_string_equal(field("plain_number")->json_name.p, "plainNumber");
    assert_string_equal(field("renamed")->json_name.p, "otherName");
}

static void test_field_kinds(void **state)
{
    const struct schema_message *m = message("a.b.M");

    (void)state;
    assert_false(field("plain_number")->presence);
    assert_true(field("maybe")->presence);
    assert_true(field("maybe")->null_when_unset);
    assert_true(field("maybe")->utf8);
    assert_true(m->oneofs[field("maybe")->oneof].synthetic);
    assert_true(field("many")->packed);
    assert_false(field("unpacked")->packed);
    assert_false(field("texts")->packed);
    assert_true(field("by_name")->map && field("by_name")->repeated);
    assert_true(field("color")->presence && field("again")->presence && field("at")->presence);
    assert_int_equal(field("color")->oneof, field("again")->oneof);
    assert_false(m->oneofs[field("color")->oneof].synthetic);
    assert_ptr_equal(field("again")->message, m);
    assert_int_equal(field("plain_number")->oneof, -1);
}

static void test_enums(void **state)
{
    const struct schema_enum *e = field("color")->enumeration;

    (void)state;
    assert_non_null(e);
    assert_string_equal(schema_enum_by_number(e, 5)->name.p, "RED"); /* not its alias */
    assert_int_equal(schema_enum_by_name(e, STR("CRIMSON"))->number, 5);
    assert_string_equal(schema_enum_by_number(e, -1)->name.p, "DARK");
    assert_null(schema_enum_by_number(e, 1));
    assert_null(schema_enum_by_name(e, STR("red")));
    assert_false(e->closed);
}

static void test_proto2(void **state)
{
    struct schema *old = fixture_load("syntax = \"proto2\"; package p;\n"
                                      "enum E { A = 1; }\n"
                                      "message M {\n"
                                      "  required int32 need = 1;\n"
                                      "  optional string text = 2 [default = \"hi\"];\n"
                                      "  repeated int32 loose = 3;\n"
                                      "  repeated int32 tight = 4 [packed = true];\n"
                                      "  optional group Part = 5 { optional E e = 1; }\n"
                                      "  extensions 100 to max;\n"
                                      "}\n"
                                      "extend M { optional int32 more = 100; }\n");
    const struct schema_message *m = schema_message(old, STR("p.M"));

    (void)state;
    assert_true(m->fields[0].required && m->fields[0].presence);
    assert_string_equal(m->fields[1].default_value.p, "hi");
    assert_false(m->fields[1].utf8);
    assert_false(m->fields[2].packed);
    assert_true(m->fields[3].packed);
    assert_int_equal(m->fields[4].type, SCHEMA_GROUP);
    assert_true(m->fields[4].message->fields[0].enumeration->closed);
    assert_int_equal(m->n_fields, 6);
    assert_string_equal(m->fields[5].name.p, "[p.more]");
    assert_string_equal(m->fields[5].json_name.p, "[p.more]");
    assert_true(m->fields[5].extension && m->fields[5].presence && !m->fields[0].extension);
    assert_ptr_equal(schema_field_by_number(m, 100), &m->fields[5]);
    assert_ptr_equal(schema_field_by_json_name(m, STR("[p.more]")), &m->fields[5]);
    assert_null(schema_field_by_json_name(m, STR("more")));
    schema_free(old);
}

static void test_methods(void **state)
{
    const struct schema_method *quiet = schema_method(schema, STR("/a.b.S/Quiet"));
    const struct schema_method *talk = schema_method(schema, STR("/a.b.S/Talk"));

    (void)state;
    assert_true(quiet && talk);
    assert_string_equal(quiet->service.p, "a.b.S");
    assert_ptr_equal(quiet->output, message("a.b.M.Inner"));
    assert_int_equal(quiet->auth, SCHEMA_AUTH_REQUIRED); /* who says nothing is closed */
    assert_int_equal(quiet->http_status, 200);
    assert_false(quiet->idempotent || quiet->client_streaming || quiet->server_streaming);
    assert_int_equal(talk->auth, SCHEMA_AUTH_OPTIONAL); /* two records of one option */
    assert_int_equal(talk->http_status, 204);
    assert_true(talk->idempotent && talk->client_streaming && talk->server_streaming);
    assert_null(schema_method(schema, STR("/a.b.S/Other")));
    assert_null(schema_method(schema, STR("")));
    assert_int_equal(schema_method_count(schema), 2);
    assert_ptr_equal(schema_method_at(schema, 0), quiet);
    assert_null(schema_method_at(schema, 2));
}

/* ---- reflection ---- */

static void expect_file(struct str bytes, const char *name)
{
    Google__Protobuf__FileDescriptorProto *proto =
        google__protobuf__file_descriptor_proto__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);

    assert_non_null(proto);
    assert_string_equal(proto->name, name);
    google__protobuf__file_descriptor_proto__free_unpacked(proto, NULL);
}

static void test_files_by_symbol(void **state)
{
    static const char *const symbols[] = {"a.b.M",     "a.b.M.Inner", "a.b.M.maybe",
                                          "a.b.Color", "a.b.CRIMSON", "a.b.M.choice",
                                          "a.b.S",     "a.b.S.Talk",  "a.b.note"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(symbols); i++)
        expect_file(schema_file_by_symbol(schema, str_of(symbols[i])), "test.proto");
    expect_file(schema_file_by_symbol(schema, STR("google.protobuf.Timestamp.nanos")),
                "google/protobuf/timestamp.proto");
    expect_file(schema_file_by_name(schema, STR("stoa/api/v1/annotations.proto")),
                "stoa/api/v1/annotations.proto");
    assert_null(schema_file_by_symbol(schema, STR("a.b.Nothing")).p);
    assert_null(schema_file_by_name(schema, STR("nothing.proto")).p);
}

static void test_imports(void **state)
{
    const struct str *imports;

    (void)state;
    assert_int_equal(schema_file_imports(schema, STR("test.proto"), &imports), 5);
    assert_string_equal(imports[0].p, "google/protobuf/timestamp.proto");
    assert_int_equal(schema_file_imports(schema, STR("google/protobuf/timestamp.proto"), &imports),
                     0);
    assert_int_equal(schema_file_imports(schema, STR("nothing.proto"), &imports), 0);
}

static void test_extensions(void **state)
{
    const struct str options = STR("google.protobuf.MethodOptions");
    const int32_t *numbers;

    (void)state;
    assert_int_equal(schema_extension_numbers(schema, options, &numbers), 3);
    assert_int_equal(numbers[0], 51000);
    assert_int_equal(numbers[1], 60000);
    assert_int_equal(numbers[2], 60001);
    expect_file(schema_file_by_extension(schema, options, 60000), "test.proto");
    expect_file(schema_file_by_extension(schema, options, 51000), "stoa/api/v1/annotations.proto");
    assert_null(schema_file_by_extension(schema, options, 1).p);
    assert_null(schema_file_by_extension(schema, STR("a.b.M"), 1).p);
    assert_int_equal(schema_extension_numbers(schema, STR("a.b.M"), &numbers), 0);
}

/* ---- sets that no compiler would write ---- */

#define LABEL_OPTIONAL GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_OPTIONAL
#define TYPE_INT32 GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT32

/* A file with message M { int32 a = 1; int32 b = 2; }, to be spoiled. */
struct odd {
    Google__Protobuf__FileDescriptorProto file, *files[2];
    Google__Protobuf__DescriptorProto message, *messages[2];
    Google__Protobuf__FieldDescriptorProto fields[2], *field_list[2];
    char *dependency;
};

static void odd_init(struct odd *o)
{
    google__protobuf__file_descriptor_proto__init(&o->file);
    google__protobuf__descriptor_proto__init(&o->message);
    for (int i = 0; i < 2; i++) {
        google__protobuf__field_descriptor_proto__init(&o->fields[i]);
        o->fields[i].name = (char *)(i ? "b" : "a");
        o->fields[i].has_number = true;
        o->fields[i].number = i + 1;
        o->fields[i].has_label = true;
        o->fields[i].label = LABEL_OPTIONAL;
        o->fields[i].has_type = true;
        o->fields[i].type = TYPE_INT32;
        o->field_list[i] = &o->fields[i];
        o->files[i] = &o->file;
        o->messages[i] = &o->message;
    }
    o->message.name = (char *)"M";
    o->message.n_field = 2;
    o->message.field = o->field_list;
    o->file.name = (char *)"odd.proto";
    o->file.syntax = (char *)"proto3";
    o->file.n_message_type = 1;
    o->file.message_type = o->messages;
}

/* expected: NULL when it loads. */
static void load_odd(struct odd *o, size_t n_files, const char *expected)
{
    Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    struct schema *loaded = NULL;
    struct str error;
    uint8_t bytes[2048];
    size_t n;
    int err;

    set.n_file = n_files;
    set.file = o->files;
    assert_true(google__protobuf__file_descriptor_set__get_packed_size(&set) < sizeof(bytes));
    n = google__protobuf__file_descriptor_set__pack(&set, bytes);
    err = schema_load((struct str){(char *)bytes, n}, &arena, &loaded, &error);
    if (!expected) {
        assert_int_equal(err, 0);
        schema_free(loaded);
        return;
    }
    assert_int_equal(err, -EINVAL);
    assert_string_equal(error.p, expected);
}

static void test_odd_names(void **state)
{
    struct odd o;

    (void)state;
    odd_init(&o);
    load_odd(&o, 1, NULL);
    load_odd(&o, 2, "odd.proto: is in the set twice");
    o.fields[1].name = (char *)"a";
    load_odd(&o, 1, "odd.proto: M.a: is declared twice");
    o.fields[1].name = (char *)"b\nc";
    load_odd(&o, 1, "odd.proto: M: \"b?c\" is not a name");
    o.fields[1].name = (char *)"1b";
    load_odd(&o, 1, "odd.proto: M: \"1b\" is not a name");
    odd_init(&o);
    o.file.n_message_type = 2;
    load_odd(&o, 1, "odd.proto: M: is declared twice");
    odd_init(&o);
    o.file.package = (char *)"a..b";
    load_odd(&o, 1, "odd.proto: \"a..b\" is not a package name");
    odd_init(&o);
    o.fields[1].json_name = (char *)"a";
    load_odd(&o, 1, "odd.proto: M: two fields have the JSON name a");
    o.fields[1].json_name = (char *)"a\"b";
    load_odd(&o, 1, "odd.proto: M: field b: json_name has a control character, quote or backslash");
}

static void test_odd_files(void **state)
{
    struct odd o;

    (void)state;
    odd_init(&o);
    o.file.name = NULL;
    load_odd(&o, 1, "descriptor set: a file has no name");
    odd_init(&o);
    o.file.syntax = (char *)"editions";
    load_odd(&o, 1, "odd.proto: syntax \"editions\" is not supported");
    odd_init(&o);
    o.dependency = (char *)"other.proto";
    o.file.n_dependency = 1;
    o.file.dependency = &o.dependency;
    load_odd(&o, 1, "odd.proto: imports other.proto, which is not in the set");
}

static void test_odd_fields(void **state)
{
    static const int numbers[] = {0, -1, 1 << 29};
    char expected[128];
    struct odd o;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        odd_init(&o);
        o.fields[0].number = numbers[i];
        snprintf(expected, sizeof(expected), "odd.proto: M: field a: number %d is out of range",
                 numbers[i]);
        load_odd(&o, 1, expected);
    }
    odd_init(&o);
    o.fields[1].number = 1;
    load_odd(&o, 1, "odd.proto: M: fields a and b have the same number");
    odd_init(&o);
    o.fields[0].type = 99;
    load_odd(&o, 1, "odd.proto: M: field a: unknown type 99");
    o.fields[0].type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE;
    load_odd(&o, 1, "odd.proto: M: field a: unknown type ");
    o.fields[0].type_name = (char *)".Other";
    load_odd(&o, 1, "odd.proto: M: field a: unknown type .Other");
    o.fields[0].type_name = (char *)"M";
    load_odd(&o, 1, "odd.proto: M: field a: unknown type M");
    o.fields[0].type_name = (char *)".M.b";
    load_odd(&o, 1, "odd.proto: M: field a: unknown type .M.b");
    o.fields[0].type_name = (char *)".M";
    load_odd(&o, 1, NULL);
    o.fields[0].has_type = false;
    load_odd(&o, 1, NULL);
    odd_init(&o);
    o.fields[0].has_oneof_index = true;
    o.fields[0].oneof_index = 3;
    load_odd(&o, 1, "odd.proto: M: field a: is in no oneof of the message");
}

static void test_odd_extensions(void **state)
{
    static const Google__Protobuf__FieldDescriptorProto none =
        GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__INIT;
    Google__Protobuf__FieldDescriptorProto more = none, *list = &more;
    struct odd o;

    (void)state;
    odd_init(&o);
    o.file.n_extension = 1;
    o.file.extension = &list;
    more.name = (char *)"more";
    more.has_number = more.has_label = more.has_type = true;
    more.number = 3;
    more.label = LABEL_OPTIONAL;
    more.type = TYPE_INT32;
    load_odd(&o, 1, "odd.proto: extension more extends nothing");
    more.extendee = (char *)".N";
    load_odd(&o, 1, "odd.proto: more: extends an unknown type .N");
    more.extendee = (char *)".M";
    load_odd(&o, 1, NULL);
    more.number = 2;
    load_odd(&o, 1, "odd.proto: M: fields b and [more] have the same number");
    more.number = 0;
    load_odd(&o, 1, "odd.proto: more: field more: number 0 is out of range");
    more.number = 3;
    more.label = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REQUIRED;
    load_odd(&o, 1, "odd.proto: more: an extension cannot be required");
    more.has_oneof_index = true;
    load_odd(&o, 1, "odd.proto: more: an extension cannot be in a oneof");
}

/* Generated code could not be asked whether they are kept. */
static void test_rules_for_extensions_are_refused(void **state)
{
    struct schema *loaded;
    struct str error;
    struct buf set;

    (void)state;
    fixture_compile("syntax = \"proto2\"; package p; import \"buf/validate/validate.proto\";\n"
                    "message M { extensions 1 to 9; }\n"
                    "extend M { optional int32 more = 1 [(buf.validate.field).int32.gt = 1]; }\n",
                    &set);
    assert_int_equal(schema_load(buf_str(&set), &arena, &loaded, &error), -EINVAL);
    assert_string_equal(error.p, "test.proto: p.more: rules for extensions are not supported");
    buf_free(&set);
}

static void test_odd_maps_and_well_known_types(void **state)
{
    Google__Protobuf__MessageOptions options = GOOGLE__PROTOBUF__MESSAGE_OPTIONS__INIT;
    struct odd o;

    (void)state;
    odd_init(&o);
    o.file.package = (char *)"google.protobuf";
    o.message.name = (char *)"Timestamp";
    load_odd(&o, 1,
             "odd.proto: google.protobuf.Timestamp: is not the well-known type of this name");
    odd_init(&o);
    options.has_map_entry = options.map_entry = true;
    o.message.options = &options;
    load_odd(&o, 1, NULL);
    o.fields[0].number = 3;
    load_odd(&o, 1, "odd.proto: M: is not the entry of a map");
    odd_init(&o);
    o.message.options = &options;
    o.fields[1].type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE;
    o.fields[1].type_name = (char *)".M";
    load_odd(&o, 1, "odd.proto: M: field b: a map entry outside a map");
}

static void test_odd_services(void **state)
{
    Google__Protobuf__ServiceDescriptorProto service =
                                                 GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT,
                                             *services = &service;
    Google__Protobuf__MethodDescriptorProto method =
                                                GOOGLE__PROTOBUF__METHOD_DESCRIPTOR_PROTO__INIT,
                                            *methods[2] = {&method, &method};
    struct odd o;

    (void)state;
    odd_init(&o);
    o.file.n_service = 1;
    o.file.service = &services;
    service.name = (char *)"S";
    service.n_method = 1;
    service.method = methods;
    method.name = (char *)"Do";
    method.input_type = (char *)".M";
    load_odd(&o, 1, "odd.proto: /S/Do: unknown type ");
    method.output_type = (char *)".N";
    load_odd(&o, 1, "odd.proto: /S/Do: unknown type .N");
    method.output_type = (char *)".M";
    load_odd(&o, 1, NULL);
    service.n_method = 2;
    load_odd(&o, 1, "odd.proto: S.Do: is declared twice");
}

/* Nesting costs stack in protobuf-c, so a set that nests without end never gets there. */
static void test_deep_nesting(void **state)
{
    struct schema *loaded;
    struct str error;
    struct buf b;
    size_t file, marks[1000];

    (void)state;
    buf_init(&b, 1 << 16);
    file = schema_put_begin(&b, 1);
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
        marks[i] = schema_put_begin(&b, i ? 3 : 4);
    for (size_t i = ARRAY_SIZE(marks); i-- > 0;)
        schema_put_end(&b, marks[i]);
    schema_put_end(&b, file);
    assert_int_equal(schema_load(buf_str(&b), &arena, &loaded, &error), -EINVAL);
    assert_string_equal(error.p, "descriptor set: is damaged or nested too deeply");
    buf_free(&b);
}

/* Each prefix of a real set, and a set with one byte changed at a time, loads or is refused. */
static void test_damaged_sets(void **state)
{
    struct schema *loaded;
    struct arena errors;
    struct str error;
    struct buf set;

    (void)state;
    arena_init(&errors, 0);
    fixture_compile("syntax = \"proto3\"; package t; enum E { A = 0; }\n"
                    "message M { string a = 1; map<string, M> b = 2; oneof c { E d = 3; } }\n"
                    "service S { rpc Do(M) returns (M); }\n",
                    &set);
    for (size_t n = 0; n < set.n; n++) {
        if (schema_load((struct str){set.p, n}, &errors, &loaded, &error) == 0)
            schema_free(loaded);
    }
    for (size_t i = 0; i < set.n; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            set.p[i] = (char)(set.p[i] ^ 1 << bit);
            if (schema_load(buf_str(&set), &errors, &loaded, &error) == 0)
                schema_free(loaded);
            set.p[i] = (char)(set.p[i] ^ 1 << bit);
        }
        arena_reset(&errors);
    }
    buf_free(&set);
    arena_free(&errors);
}

static void test_files(void **state)
{
    char path[] = "/tmp/stoa-set-XXXXXX";
    struct schema *loaded;
    struct str error;
    struct buf set;
    int fd;

    (void)state;
    assert_int_equal(schema_load_file("/nonexistent/api.binpb", &arena, &loaded, &error), -EINVAL);
    assert_string_equal(error.p, "/nonexistent/api.binpb: cannot read the descriptor set: "
                                 "No such file or directory");
    assert_int_equal(schema_load_file("/", &arena, &loaded, &error), -EINVAL);
    fixture_compile(shapes, &set);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, set.p, set.n), set.n);
    close(fd);
    assert_int_equal(schema_load_file(path, &arena, &loaded, &error), 0);
    assert_non_null(schema_message(loaded, STR("a.b.M")));
    schema_free(loaded);
    unlink(path);
    buf_free(&set);
}

/* ---- name tables ---- */

static void test_names(void **state)
{
    struct schema_names names = {0};
    struct str keys[500];
    uint32_t found;

    (void)state;
    assert_false(schema_names_find(&names, STR("x"), &found));
    for (uint32_t i = 0; i < ARRAY_SIZE(keys); i++) {
        /* Alike at both ends, and of every length. */
        keys[i] = arena_printf(&arena, "same-beginning-%0*u-same-end", (int)(i % 40), i);
        assert_int_equal(schema_names_add(&names, &arena, keys[i], i), 0);
        assert_int_equal(schema_names_add(&names, &arena, keys[i], 0), -EEXIST);
    }
    for (uint32_t i = 0; i < ARRAY_SIZE(keys); i++) {
        assert_true(schema_names_find(&names, keys[i], &found));
        assert_int_equal(found, i);
    }
    assert_int_equal(schema_names_add(&names, &arena, STR(""), 7), 0);
    assert_true(schema_names_find(&names, STR(""), &found));
    assert_int_equal(found, 7);
    assert_false(schema_names_find(&names, STR("same-beginning-"), &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_field_kinds),
        cmocka_unit_test(test_enums),
        cmocka_unit_test(test_proto2),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_files_by_symbol),
        cmocka_unit_test(test_imports),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_odd_names),
        cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_odd_fields),
        cmocka_unit_test(test_odd_extensions),
        cmocka_unit_test(test_rules_for_extensions_are_refused),
        cmocka_unit_test(test_odd_maps_and_well_known_types),
        cmocka_unit_test(test_odd_services),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_damaged_sets),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("schema load", tests, set_up, tear_down);
}
