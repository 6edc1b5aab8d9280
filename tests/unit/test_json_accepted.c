/* JSON that is accepted, and the wire bytes that it means. The bytes are those that protobuf's own
 * Python library makes, where it accepts the same text. */
#include "json_fixture.h"

#include <errno.h>

static const struct {
    const char *type, *json, *wire;
} accepted[] = {
    {"Scalars", "{}", ""},
    {"Scalars", " \t\r\n{ \n} ", ""},
    {"Scalars",
     "{\"doubleValue\":1.5,\"floatValue\":-2.5,\"int32Value\":-1,\"int64Value\":\"-1\","
     "\"uint32Value\":1,\"uint64Value\":\"1\",\"sint32Value\":-1,\"sint64Value\":\"-1\","
     "\"fixed32Value\":1,\"fixed64Value\":\"1\",\"sfixed32Value\":-1,\"sfixed64Value\":\"-1\","
     "\"boolValue\":true,\"stringValue\":\"a\",\"bytesValue\":\"AQI=\",\"color\":\"RED\"}",
     "09000000000000f83f15000020c018ffffffffffffffffff0120ffffffffffffffffff0128013001380140014d010"
     "000005101000000000000005dffffffff61ffffffffffffffff68017201617a020102800101"},
    {"Scalars", "{\"double_value\":1,\"int32_value\":2}", "09000000000000f03f1802"},
    {"Scalars", "{\"int32\\u0056alue\":2}", "1802"},
    {"Scalars", "{\"int32Value\":2147483647}", "18ffffffff07"},
    {"Scalars", "{\"int32Value\":-2147483648}", "1880808080f8ffffffff01"},
    {"Scalars", "{\"int32Value\":\"12\"}", "180c"},
    {"Scalars", "{\"int32Value\":\"1\\u0032\"}", "180c"},
    {"Scalars", "{\"int32Value\":1e3}", "18e807"},
    {"Scalars", "{\"int32Value\":1.0}", "1801"},
    {"Scalars", "{\"int32Value\":\"1E+2\"}", "1864"},
    {"Scalars", "{\"int32Value\":1200e-2}", "180c"},
    {"Scalars", "{\"int32Value\":2.147483647e9}", "18ffffffff07"},
    {"Scalars", "{\"int32Value\":0.000000000000000000000000000000012e33}", "180c"},
    {"Scalars", "{\"int32Value\":0}", ""},
    {"Scalars", "{\"int32Value\":-0}", ""},
    {"Scalars", "{\"int32Value\":0e999999999999}", ""},
    {"Scalars", "{\"uint32Value\":4294967295}", "28ffffffff0f"},
    {"Scalars", "{\"int64Value\":9223372036854775807}", "20ffffffffffffffff7f"},
    {"Scalars", "{\"int64Value\":\"-9223372036854775808\"}", "2080808080808080808001"},
    {"Scalars", "{\"uint64Value\":18446744073709551615}", "30ffffffffffffffffff01"},
    {"Scalars", "{\"uint64Value\":\"10000000000000000001\"}", "308180a0cfc8e0c8e38a01"},
    {"Scalars", "{\"uint64Value\":1844674407370955161500000e-5}", "30ffffffffffffffffff01"},
    {"Scalars", "{\"sint32Value\":-2147483648}", "38ffffffff0f"},
    {"Scalars", "{\"sint64Value\":\"-9223372036854775808\"}", "40ffffffffffffffffff01"},
    {"Scalars", "{\"fixed64Value\":\"18446744073709551615\"}", "51ffffffffffffffff"},
    {"Scalars", "{\"sfixed32Value\":-2147483648}", "5d00000080"},
    {"Scalars", "{\"doubleValue\":0}", ""},
    {"Scalars", "{\"doubleValue\":\"1.5\"}", "09000000000000f83f"},
    {"Scalars", "{\"doubleValue\":\"NaN\"}", "09000000000000f87f"},
    {"Scalars", "{\"doubleValue\":\"Infinity\"}", "09000000000000f07f"},
    {"Scalars", "{\"doubleValue\":\"-Infinity\"}", "09000000000000f0ff"},
    {"Scalars", "{\"doubleValue\":1.7976931348623157e308}", "09ffffffffffffef7f"},
    {"Scalars", "{\"doubleValue\":5e-324}", "090100000000000000"},
    {"Scalars", "{\"doubleValue\":1e-400}", ""},
    {"Scalars", "{\"doubleValue\":0.1}", "099a9999999999b93f"},
    {"Scalars", "{\"doubleValue\":123456789012345678901234567890}", "093e376cff90eef845"},
    {"Scalars", "{\"doubleValue\":9007199254740993}", "090000000000004043"},
    {"Scalars", "{\"floatValue\":3.4028235e38}", "15ffff7f7f"},
    {"Scalars", "{\"floatValue\":\"-Infinity\"}", "15000080ff"},
    {"Scalars", "{\"floatValue\":0.1}", "15cdcccc3d"},
    {"Scalars", "{\"floatValue\":16777217}", "150000804b"},
    {"Scalars", "{\"boolValue\":false}", ""},
    {"Scalars", "{\"stringValue\":\"\"}", ""},
    {"Scalars", "{\"stringValue\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u8C37\\ud83d\\uDE01\"}",
     "7211225c2f080c0a0d09c3a9e8b0b7f09f9881"},
    {"Scalars", "{\"stringValue\":\"é谷😁\"}", "7209c3a9e8b0b7f09f9881"},
    {"Scalars", "{\"stringValue\":\"a\\u0000b\"}", "7203610062"},
    {"Scalars", "{\"stringValue\":\"0123456789abcdef\\n0123456789\"}",
     "721b303132333435363738396162636465660a30313233343536373839"},
    {"Scalars", "{\"bytesValue\":\"\"}", ""},
    {"Scalars", "{\"bytesValue\":\"-_\"}", "7a01fb"},
    {"Scalars", "{\"bytesValue\":\"+\\/==\"}", "7a01fb"},
    {"Scalars", "{\"bytesValue\":\"AQID\"}", "7a03010203"},
    {"Scalars", "{\"bytesValue\":\"AQI\"}", "7a020102"},
    {"Scalars", "{\"color\":\"CRIMSON\"}", "800101"},
    {"Scalars", "{\"color\":-1}", "8001ffffffffffffffffff01"},
    {"Scalars", "{\"color\":77}", "80014d"},
    {"Scalars", "{\"color\":\"2\"}", "800102"},
    {"Scalars", "{\"nothing\":null}", ""},
    {"Scalars", "{\"nothing\":\"NULL_VALUE\"}", ""},
    {"Scalars",
     "{\"doubleValue\":null,\"floatValue\":null,\"int32Value\":null,\"int64Value\":null,"
     "\"boolValue\":null,\"stringValue\":null,\"bytesValue\":null,\"color\":null}",
     ""},
    {"Lists", "{\"doubles\":null,\"strings\":null,\"nodes\":null}", ""},
    {"Lists", "{\"int32s\":[],\"nodes\":[]}", ""},
    {"Lists",
     "{\"doubles\":[1,-0.5],\"floats\":[1],\"int32s\":[1,0,-1],\"int64s\":[\"1\",2],\"fixed32s\":["
     "1,2],\"sfixed64s\":[\"-1\"],\"bools\":[true,false],\"strings\":[\"\",\"a\"],\"blobs\":[\"\","
     "\"AQ==\"],\"colors\":[\"RED\",2,7],\"nodes\":[{},{\"id\":1}],\"unpacked\":[0,1]}",
     "0a10000000000000f03f000000000000e0bf12040000803f1a0c0100ffffffffffffffffff01220201022a0801000"
     "000020000003208ffffffffffffffff3a02010042004201614a004a010152030102075a005a02080160006001"},
    {"Lists", "{\"nothings\":[null,\"NULL_VALUE\",0]}", "6a03000000"},
    {"Maps", "{\"strings\":{}}", ""},
    {"Maps", "{\"strings\":null}", ""},
    {"Maps", "{\"strings\":{\"\":\"\",\"a\\nb\":\"c\"}}", "0a040a0012000a080a03610a62120163"},
    {"Maps", "{\"int32s\":{\"-1\":2}}", "120d08ffffffffffffffffff011002"},
    {"Maps", "{\"int32s\":{\"\\u0031\":0}}", "120408011000"},
    {"Maps", "{\"int64s\":{\"9223372036854775807\":18446744073709551615}}",
     "1a1508ffffffffffffffff7f10ffffffffffffffffff01"},
    {"Maps", "{\"bools\":{\"true\":false,\"false\":true}}", "220408011000220408001001"},
    {"Maps", "{\"colors\":{\"x\":\"RED\"}}", "2a050a01781001"},
    {"Maps", "{\"nodes\":{\"x\":{\"id\":1}}}", "32070a017812020801"},
    {"Maps", "{\"blobs\":{\"-1\":\"AQ\"}}", "3a050801120101"},
    {"Maps", "{\"doubles\":{\"1\":\"NaN\"}}", "421209010000000000000011000000000000f87f"},
    {"Maps", "{\"values\":{\"a\":null,\"b\":[1]}}",
     "4a070a0161120208004a120a0162120d320b0a0911000000000000f03f"},
    {"Maps", "{\"nothings\":{\"1\":null}}", "520408011000"},
    {"Node",
     "{\"left\":{\"right\":{\"id\":1}},\"children\":[{\"name\":\"x\"}],\"choice\":{\"number\":0}}",
     "1a04220208012a0312017832020800"},
    {"Node", "{\"left\":{}}", "1a00"},
    {"Node", "{\"left\":null}", ""},
    {"Choice", "{\"number\":0}", "0800"},
    {"Choice", "{\"text\":\"\"}", "1200"},
    {"Choice", "{\"node\":{}}", "1a00"},
    {"Choice", "{\"number\":null,\"text\":\"a\"}", "120161"},
    {"Choice", "{\"text\":\"a\",\"number\":null}", "120161"},
    {"Choice", "{\"nothing\":null}", "2000"},
    {"Choice", "{\"value\":null}", "2a020800"},
    {"Choice", "{\"maybe\":0,\"maybeText\":\"\"}", "30003a00"},
    {"Names",
     "{\"plain\":\"a\",\"snakeCaseName\":\"b\",\"Leading\":\"c\",\"trailing\":\"d\",\"with9Digit\":"
     "\"e\",\"another@name\":\"f\",\"farAway\":1}",
     "0a01611201621a01632201642a0165320166807d01"},
    {"Names",
     "{\"snake_case_name\":\"b\",\"_leading\":\"c\",\"trailing_\":\"d\",\"with_9_digit\":\"e\","
     "\"renamed\":\"f\",\"far_away\":1}",
     "1201621a01632201642a0165320166807d01"},
    {"WellKnown", "{\"timestamp\":\"1970-01-01T00:00:00Z\"}", "1200"},
    {"WellKnown", "{\"timestamp\":\"0001-01-01T00:00:00Z\"}", "120b088092b8c398feffffff01"},
    {"WellKnown", "{\"timestamp\":\"9999-12-31T23:59:59.999999999Z\"}",
     "120d08ff82d1ffaf0710ff93ebdc03"},
    {"WellKnown", "{\"timestamp\":\"2024-02-29T12:00:00.5+02:30\"}",
     "120c08989d81af061080cab5ee01"},
    {"WellKnown", "{\"timestamp\":\"1969-12-31T16:00:00-08:00\"}", "1200"},
    {"WellKnown", "{\"timestamp\":\"1969-12-31T23:59:59.1Z\"}",
     "121008ffffffffffffffffff011080c2d72f"},
    {"WellKnown", "{\"duration\":\"0s\"}", "1a00"},
    {"WellKnown", "{\"duration\":\"-0.5s\"}", "1a0b1080b6ca91feffffffff01"},
    {"WellKnown", "{\"duration\":\"1.000000001s\"}", "1a0408011001"},
    {"WellKnown", "{\"duration\":\"-315576000000.999999999s\"}",
     "1a160880c4d1b1e8f6ffffff011081ec94a3fcffffffff01"},
    {"WellKnown", "{\"mask\":\"\"}", "2200"},
    {"WellKnown", "{\"mask\":\"*\"}", "22030a012a"},
    {"WellKnown", "{\"mask\":\"foo,barBaz.quxX\"}", "22140a03666f6f0a0d6261725f62617a2e7175785f78"},
    {"WellKnown", "{\"struct\":{}}", "2a00"},
    {"WellKnown",
     "{\"struct\":{\"a\":1,\"b\":\"x\",\"c\":null,\"d\":true,\"e\":[1,\"2\",{}],\"f\":{\"g\":0}}}",
     "2a620a0e0a0161120911000000000000f03f0a080a016212031a01780a070a0163120208000a070a0164120220010"
     "a1b0a0165121632140a0911000000000000f03f0a031a01320a022a000a170a016612122a100a0e0a016712091100"
     "00000000000000"},
    {"WellKnown", "{\"value\":null}", "32020800"},
    {"WellKnown", "{\"value\":1.5}", "320911000000000000f83f"},
    {"WellKnown", "{\"value\":\"x\"}", "32031a0178"},
    {"WellKnown", "{\"value\":false}", "32022000"},
    {"WellKnown", "{\"value\":{\"a\":[]}}", "320b2a090a070a016112023200"},
    {"WellKnown", "{\"value\":[null]}", "320632040a020800"},
    {"WellKnown", "{\"list\":[]}", "3a00"},
    {"WellKnown", "{\"list\":[1,[2]]}", "3a1a0a0911000000000000f03f0a0d320b0a09110000000000000040"},
    {"WellKnown", "{\"empty\":{}}", "4200"},
    {"WellKnown",
     "{\"bool\":false,\"int32\":0,\"int64\":\"0\",\"uint32\":0,\"uint64\":0,\"float\":0,\"double\":"
     "0,\"string\":\"\",\"bytes\":\"\"}",
     "4a0052005a0062006a0072007a008201008a0100"},
    {"WellKnown",
     "{\"bool\":true,\"int32\":1,\"int64\":\"1\",\"uint32\":1,\"uint64\":1,\"float\":1,\"double\":"
     "1,\"string\":\"a\",\"bytes\":\"AQ==\"}",
     "4a020801520208015a020801620208016a02080172050d0000803f7a0909000000000000f03f8201030a01618a010"
     "30a0101"},
    {"WellKnown", "{\"bool\":null,\"int32\":null,\"string\":null}", ""},
    {"WellKnown",
     "{\"values\":[null,1,[]],\"strings\":[\"\",  "
     "\"a\"],\"lists\":[[],[1]],\"timestamps\":[\"1970-01-01T00:00:01Z\"]}",
     "9a010208009a010911000000000000f03f9a01023200a20100a201030a0161aa0100aa010b0a0911000000000000f"
     "03f9201020801"},
    {"WellKnown", "{\"any\":{}}", "0a00"},
    {"WellKnown", "{\"any\":{\"@type\":\"type.googleapis.com/stoa.test.Node\",\"id\":7}}",
     "0a280a22747970652e676f6f676c65617069732e636f6d2f73746f612e746573742e4e6f646512020807"},
    {"WellKnown", "{\"any\":{\"id\":7,\"@type\":\"type.googleapis.com/stoa.test.Node\"}}",
     "0a280a22747970652e676f6f676c65617069732e636f6d2f73746f612e746573742e4e6f646512020807"},
    {"WellKnown", "{\"any\":{\"@type\":\"x.y/z/stoa.test.Node\"}}",
     "0a160a14782e792f7a2f73746f612e746573742e4e6f6465"},
    {"WellKnown",
     "{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1.5s\"}}",
     "0a380a2c747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e4475726174696"
     "f6e120808011080cab5ee01"},
    {"WellKnown",
     "{\"any\":{\"value\":{\"foo\":1},\"@type\":\"type.googleapis.com/google.protobuf.Struct\"}}",
     "0a400a2a747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e5374727563741"
     "2120a100a03666f6f120911000000000000f03f"},
    {"WellKnown",
     "{\"any\":{\"@type\":\"type.googleapis.com/"
     "google.protobuf.Any\",\"value\":{\"@type\":\"type.googleapis.com/"
     "google.protobuf.Int32Value\",\"value\":12345}}}",
     "0a600a27747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e416e7912350a2"
     "e747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e496e74333256616c7565"
     "120308b960"},
    {"WellKnown",
     "{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Value\",\"value\":null}}",
     "0a2f0a29747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e56616c7565120"
     "20800"},
    {"WellKnown", "{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Empty\"}}",
     "0a2b0a29747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e456d707479"},
    {"Old",
     "{\"number\":0,\"text\":\"\",\"closed\":\"FIRST\",\"closeds\":[1,\"SECOND\"],"
     "\"packedCloseds\":[\"FIRST\"],\"switches\":{\"a\":\"ON\"},\"pair\":{\"a\":1,\"inner\":{"
     "\"number\":2}},\"item\":[{\"name\":\"x\"},{}],\"closedKind\":\"SECOND\",\"raw\":\"AQ==\","
     "\"plainList\":[1,2]}",
     "080012001801200120022a010132050a016110013b0801120208023c430a017844434448025a010168016802"},
    {"Old", "{\"strict\":{\"id\":0}}", "62020800"},
    {"Old", "{\"[stoa.test.more]\":5}", "a00605"},
    {"Old", "{\"[stoa.test.more]\":0}", "a00600"},
    {"Old", "{\"[stoa.test.more]\":null,\"number\":1}", "0801"},
    {"Old",
     "{\"number\":1,\"[stoa.test.levels]\":[\"FIRST\",2],\"[stoa.test.Holder.offsets]\":[-1,1]}",
     "0801a80601a80602c206020102"},
    {"Old", "{\"[stoa.test.checked]\":{\"id\":3}}", "b206020803"},
    {"Old", "{\"[stoa.test.Holder.note]\":\"\"}", "ba0600"},
    {"Old", "{\"[stoa.test.Holder.side]\":{\"old\":{\"[stoa.test.more]\":1}}}",
     "cb060a03a00601cc06"},
    {"All", "{\"last\":1,\"middle\":2}", "f00101a00102"},
};

static void reads_accepted(void **state UNUSED)
{
    const struct schema_json_options strict = {.refuse_unknown = true};

    for (size_t i = 0; i < ARRAY_SIZE(accepted); i++) {
        struct schema_fault fault = {0};
        struct arena arena;
        struct buf wire;
        int err;

        arena_init(&arena, 1 << 20);
        buf_init(&wire, 1 << 20);
        err = schema_json_read(schema, json_test_type(schema, accepted[i].type),
                               str_of(accepted[i].json), &strict, &wire, &arena, &fault);
        if (err)
            print_message("%s: %d, %.*s %.*s\n", accepted[i].json, err, STR_FMT(fault.path),
                          STR_FMT(fault.message));
        assert_int_equal(err, 0);
        json_test_equal_hex(accepted[i].json, buf_str(&wire), accepted[i].wire);
        buf_free(&wire);
        arena_free(&arena);
    }
}

/* The same without options, and what only they refuse. */
static const struct {
    const char *type, *json, *wire;
} ignored[] = {
    {"Scalars",
     "{\"nope\":1,\"int32Value\":2,\"more\":[{\"a\":[\"\\u0041\",true,false,null,-1.5e3]}]}",
     "1802"},
    {"Scalars", "{\"nope\":{},\"nope\":{}}", ""},
    {"Scalars", "{\"color\":\"BLUE\"}", ""},
    {"Lists", "{\"colors\":[\"RED\",\"BLUE\",\"GREEN\"]}", "52020102"},
    {"Lists", "{\"colors\":[\"BLUE\"]}", ""},
    {"Maps", "{\"colors\":{\"a\":\"BLUE\",\"b\":\"RED\"}}", "2a050a01621001"},
    {"Old", "{\"closed\":9,\"closeds\":[1,9]}", "2001"},
    {"Old", "{\"[stoa.test.nothing]\":9,\"more\":1,\"[stoa.test.levels]\":[9,2]}", "a80602"},
    {"WellKnown",
     "{\"any\":{\"@type\":\"x/google.protobuf.Duration\",\"more\":1,\"value\":\"1s\"}}",
     "0a200a1a782f676f6f676c652e70726f746f6275662e4475726174696f6e12020801"},
};

static void ignores_unknown(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++) {
        struct schema_fault fault = {0};
        struct arena arena;
        struct buf wire;

        arena_init(&arena, 1 << 20);
        buf_init(&wire, 1 << 20);
        assert_int_equal(schema_json_read(schema, json_test_type(schema, ignored[i].type),
                                          str_of(ignored[i].json), NULL, &wire, &arena, &fault),
                         0);
        json_test_equal_hex(ignored[i].json, buf_str(&wire), ignored[i].wire);
        buf_free(&wire);
        arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_accepted),
        cmocka_unit_test(ignores_unknown),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
