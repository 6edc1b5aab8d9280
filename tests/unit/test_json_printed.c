/* Wire bytes as JSON: what is printed, and which bytes are refused. The texts mean what protobuf's
 * own Python library prints for the same bytes. */
#include "json_fixture.h"

#include <errno.h>

enum { PLAIN, UNSET, LONG }; /* options: none, print_unset, long_fractions */

static const struct {
    const char *type, *wire;
    int options;
    const char *json;
} printed[] = {
    {"Scalars", "", PLAIN, "{}"},
    {"Scalars", "", UNSET,
     "{\"doubleValue\":0,\"floatValue\":0,\"int32Value\":0,\"int64Value\":\"0\",\"uint32Value\":0,"
     "\"uint64Value\":\"0\",\"sint32Value\":0,\"sint64Value\":\"0\",\"fixed32Value\":0,"
     "\"fixed64Value\":\"0\",\"sfixed32Value\":0,\"sfixed64Value\":\"0\",\"boolValue\":false,"
     "\"stringValue\":\"\",\"bytesValue\":\"\",\"color\":\"COLOR_UNSPECIFIED\",\"nothing\":null}"},
    {"Scalars",
     "09000000000000f83f15000020c018ffffffffffffffffff0120ffffffffffffffffff0128ffffffff0f30fffffff"
     "fffffffffff0138ffffffff0f40ffffffffffffffffff014dffffffff51ffffffffffffffff5dffffffff61ffffff"
     "ffffffffff68017201617a020102800101",
     PLAIN,
     "{\"doubleValue\":1.5,\"floatValue\":-2.5,\"int32Value\":-1,\"int64Value\":\"-1\","
     "\"uint32Value\":4294967295,\"uint64Value\":\"18446744073709551615\",\"sint32Value\":-"
     "2147483648,\"sint64Value\":\"-9223372036854775808\",\"fixed32Value\":4294967295,"
     "\"fixed64Value\":\"18446744073709551615\",\"sfixed32Value\":-1,\"sfixed64Value\":\"-1\","
     "\"boolValue\":true,\"stringValue\":\"a\",\"bytesValue\":\"AQI=\",\"color\":\"RED\"}"},
    {"Scalars", "099a9999999999b93f", PLAIN, "{\"doubleValue\":0.1}"},
    {"Scalars", "0950efe2d6e41a4b44", PLAIN, "{\"doubleValue\":1e+21}"},
    {"Scalars", "0948afbc9af2d77a3e", PLAIN, "{\"doubleValue\":1e-07}"},
    {"Scalars", "0900000054346f9d41", PLAIN, "{\"doubleValue\":123456789}"},
    {"Scalars", "090000002087d63241", PLAIN, "{\"doubleValue\":1234567.125}"},
    {"Scalars", "09343333333333d33f", PLAIN, "{\"doubleValue\":0.30000000000000004}"},
    {"Scalars", "090100000000000000", PLAIN, "{\"doubleValue\":5e-324}"},
    {"Scalars", "09ffffffffffffef7f", PLAIN, "{\"doubleValue\":1.7976931348623157e+308}"},
    {"Scalars", "090000000000000080", PLAIN, "{\"doubleValue\":-0}"},
    {"Scalars", "0900003426f56b0c43", PLAIN, "{\"doubleValue\":1000000000000000}"},
    {"Scalars", "090000000000004043", PLAIN, "{\"doubleValue\":9007199254740992}"},
    {"Scalars", "090000000000005940", PLAIN, "{\"doubleValue\":100}"},
    {"Scalars", "090000000000000440", PLAIN, "{\"doubleValue\":2.5}"},
    {"Scalars", "090000000000000ac0", PLAIN, "{\"doubleValue\":-3.25}"},
    {"Scalars", "09fca9f1d24d62503f", PLAIN, "{\"doubleValue\":0.001}"},
    {"Scalars", "09000000000000f87f", PLAIN, "{\"doubleValue\":\"NaN\"}"},
    {"Scalars", "09000000000000f07f", PLAIN, "{\"doubleValue\":\"Infinity\"}"},
    {"Scalars", "09000000000000f0ff", PLAIN, "{\"doubleValue\":\"-Infinity\"}"},
    {"Scalars", "0966de77832112dc42", PLAIN, "{\"doubleValue\":123456789012345.6}"},
    {"Scalars", "097dc39425ad49b254", PLAIN, "{\"doubleValue\":1e+100}"},
    {"Scalars", "0972daf8b8db9abf3f", PLAIN, "{\"doubleValue\":0.1234567}"},
    {"Scalars", "09f8ffffff64cdcd41", PLAIN, "{\"doubleValue\":999999999.999999}"},
    {"Scalars", "15cdcccc3d", PLAIN, "{\"floatValue\":0.1}"},
    {"Scalars", "15f9021550", PLAIN, "{\"floatValue\":1e+10}"},
    {"Scalars", "150000804b", PLAIN, "{\"floatValue\":16777216}"},
    {"Scalars", "15ffff7f7f", PLAIN, "{\"floatValue\":3.4028235e+38}"},
    {"Scalars", "1501000000", PLAIN, "{\"floatValue\":1e-45}"},
    {"Scalars", "159a99993e", PLAIN, "{\"floatValue\":0.3}"},
    {"Scalars", "150000c0bf", PLAIN, "{\"floatValue\":-1.5}"},
    {"Scalars", "150000c07f", PLAIN, "{\"floatValue\":\"NaN\"}"},
    {"Scalars", "155a20f147", PLAIN, "{\"floatValue\":123456.7}"},
    {"Scalars", "15f0237449", PLAIN, "{\"floatValue\":999999}"},
    {"Scalars", "1500247449", PLAIN, "{\"floatValue\":1000000}"},
    {"Scalars", "7210225c2f080c0a0d09017fc3a9f09f9881", PLAIN,
     "{\"stringValue\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001é😁\"}"},
    {"Scalars", "722230313233343536373839616263646566303132333435363738390a6162636465661f", PLAIN,
     "{\"stringValue\":\"0123456789abcdef0123456789\\nabcdef\\u001f\"}"},
    {"Scalars", "7203610062", PLAIN, "{\"stringValue\":\"a\\u0000b\"}"},
    {"Scalars", "7a0161", PLAIN, "{\"bytesValue\":\"YQ==\"}"},
    {"Scalars", "7a026162", PLAIN, "{\"bytesValue\":\"YWI=\"}"},
    {"Scalars", "7a03616263", PLAIN, "{\"bytesValue\":\"YWJj\"}"},
    {"Scalars", "7a02fbff", PLAIN, "{\"bytesValue\":\"+/8=\"}"},
    {"Scalars", "800101", PLAIN, "{\"color\":\"RED\"}"},
    {"Scalars", "800102", PLAIN, "{\"color\":\"GREEN\"}"},
    {"Scalars", "8001ffffffffffffffffff01", PLAIN, "{\"color\":\"NEGATIVE\"}"},
    {"Scalars", "80014d", PLAIN, "{\"color\":77}"},
    {"Scalars", "8001fbffffffffffffffff01", PLAIN, "{\"color\":-5}"},
    {"Scalars", "180068007200", PLAIN, "{}"},
    {"Scalars", "18011802", PLAIN, "{\"int32Value\":2}"},
    {"Scalars", "6880808080808080808001", PLAIN, "{\"boolValue\":true}"},
    {"Scalars", "188080808020", PLAIN, "{}"},
    {"Scalars", "28ffffffff1f", PLAIN, "{\"uint32Value\":4294967295}"},
    {"Scalars", "388280808020", PLAIN, "{\"sint32Value\":1}"},
    {"Scalars", "70011a0178", PLAIN, "{}"},
    {"Scalars", "c03e01ca3e0178d33e0801d43e1805", PLAIN, "{\"int32Value\":5}"},
    {"Scalars", "28071801720178720179", PLAIN,
     "{\"int32Value\":1,\"uint32Value\":7,\"stringValue\":\"y\"}"},
    {"Scalars", "1885808080808080808000", PLAIN, "{\"int32Value\":5}"},
    {"Scalars", "98800005", PLAIN, "{\"int32Value\":5}"},
    {"Lists", "", PLAIN, "{}"},
    {"Lists", "", UNSET,
     "{\"doubles\":[],\"floats\":[],\"int32s\":[],\"int64s\":[],\"fixed32s\":[],\"sfixed64s\":[],"
     "\"bools\":[],\"strings\":[],\"blobs\":[],\"colors\":[],\"nodes\":[],\"unpacked\":[],"
     "\"nothings\":[]}"},
    {"Lists",
     "0a10000000000000f03f000000000000044012040000803f1a0bffffffffffffffffff01002201012a04010000003"
     "208ffffffffffffffff3a02010042004201614a004a0161520201025a005a02080160016002",
     PLAIN,
     "{\"doubles\":[1,2.5],\"floats\":[1],\"int32s\":[-1,0],\"int64s\":[\"1\"],\"fixed32s\":[1],"
     "\"sfixed64s\":[\"-1\"],\"bools\":[true,false],\"strings\":[\"\",\"a\"],\"blobs\":[\"\",\"YQ=="
     "\"],\"colors\":[\"RED\",\"GREEN\"],\"nodes\":[{},{\"id\":1}],\"unpacked\":[1,2]}"},
    {"Lists", "18011a0202031804", PLAIN, "{\"int32s\":[1,2,3,4]}"},
    {"Lists", "18014201611802420162", PLAIN, "{\"int32s\":[1,2],\"strings\":[\"a\",\"b\"]}"},
    {"Lists", "1a00", PLAIN, "{}"},
    {"Lists", "1a00", UNSET,
     "{\"doubles\":[],\"floats\":[],\"int32s\":[],\"int64s\":[],\"fixed32s\":[],\"sfixed64s\":[],"
     "\"bools\":[],\"strings\":[],\"blobs\":[],\"colors\":[],\"nodes\":[],\"unpacked\":[],"
     "\"nothings\":[]}"},
    {"Lists", "62020102", PLAIN, "{\"unpacked\":[1,2]}"},
    {"Lists", "6a020000", PLAIN, "{\"nothings\":[null,null]}"},
    {"Maps", "", PLAIN, "{}"},
    {"Maps", "", UNSET,
     "{\"strings\":{},\"int32s\":{},\"int64s\":{},\"bools\":{},\"colors\":{},\"nodes\":{},"
     "\"blobs\":{},\"doubles\":{},\"values\":{},\"nothings\":{}}"},
    {"Maps",
     "0a060a0161120162120d08ffffffffffffffffff0110021a0d08fbffffffffffffffff0110062204080110002a050"
     "a0163100132070a016e120208013a050805120161421209ffffffffffffffff11000000000000f07f4a070a017612"
     "020800520408011000",
     PLAIN,
     "{\"strings\":{\"a\":\"b\"},\"int32s\":{\"-1\":2},\"int64s\":{\"-5\":\"6\"},\"bools\":{"
     "\"true\":false},\"colors\":{\"c\":\"RED\"},\"nodes\":{\"n\":{\"id\":1}},\"blobs\":{\"-3\":"
     "\"YQ==\"},\"doubles\":{\"18446744073709551615\":\"Infinity\"},\"values\":{\"v\":null},"
     "\"nothings\":{\"1\":null}}"},
    {"Maps", "0a060a01611201310a060a01621201320a060a0161120133", PLAIN,
     "{\"strings\":{\"b\":\"2\",\"a\":\"3\"}}"},
    {"Maps", "0a00", PLAIN, "{\"strings\":{\"\":\"\"}}"},
    {"Maps", "120032002a00", PLAIN,
     "{\"int32s\":{\"0\":0},\"colors\":{\"\":\"COLOR_UNSPECIFIED\"},\"nodes\":{\"\":{}}}"},
    {"Maps", "120410050806", PLAIN, "{\"int32s\":{\"6\":5}}"},
    {"Maps", "12080801080210031004", PLAIN, "{\"int32s\":{\"2\":4}}"},
    {"Maps", "320c0a016b120208011203120178", PLAIN,
     "{\"nodes\":{\"k\":{\"id\":1,\"name\":\"x\"}}}"},
    {"Maps", "12040801100112080881808080101009", PLAIN, "{\"int32s\":{\"1\":9}}"},
    {"Maps", "220408051001220408011000", PLAIN, "{\"bools\":{\"true\":false}}"},
    {"Node", "1a04220208012a031201782a00", PLAIN,
     "{\"left\":{\"right\":{\"id\":1}},\"children\":[{\"name\":\"x\"},{}]}"},
    {"Node", "1a02080112016e1a0312016d", PLAIN,
     "{\"name\":\"n\",\"left\":{\"id\":1,\"name\":\"m\"}}"},
    {"Node", "1a041a0208011a071a0512017a0802", PLAIN,
     "{\"left\":{\"left\":{\"id\":2,\"name\":\"z\"}}}"},
    {"Choice", "0805120161", PLAIN, "{\"text\":\"a\"}"},
    {"Choice", "1201610805", PLAIN, "{\"number\":5}"},
    {"Choice", "1a0208011a03120178", PLAIN, "{\"node\":{\"id\":1,\"name\":\"x\"}}"},
    {"Choice", "1a02080108051a03120178", PLAIN, "{\"node\":{\"name\":\"x\"}}"},
    {"Choice", "0800", PLAIN, "{\"number\":0}"},
    {"Choice", "2000", PLAIN, "{\"nothing\":null}"},
    {"Choice", "2a00", PLAIN, "{\"value\":null}"},
    {"Choice", "30003a00", PLAIN, "{\"maybe\":0,\"maybeText\":\"\"}"},
    {"Choice", "", PLAIN, "{}"},
    {"Choice", "", UNSET, "{\"maybeText\":null}"},
    {"Choice", "3a0178", UNSET, "{\"maybeText\":\"x\"}"},
    {"Names", "0a01611201621a01632201642a0165320166807d01", PLAIN,
     "{\"plain\":\"a\",\"snakeCaseName\":\"b\",\"Leading\":\"c\",\"trailing\":\"d\",\"with9Digit\":"
     "\"e\",\"another@name\":\"f\",\"farAway\":1}"},
    {"WellKnown", "1200", PLAIN, "{\"timestamp\":\"1970-01-01T00:00:00Z\"}"},
    {"WellKnown", "120b088092b8c398feffffff01", PLAIN, "{\"timestamp\":\"0001-01-01T00:00:00Z\"}"},
    {"WellKnown", "120d08ff82d1ffaf0710ff93ebdc03", PLAIN,
     "{\"timestamp\":\"9999-12-31T23:59:59.999999999Z\"}"},
    {"WellKnown", "120808011080cab5ee01", PLAIN, "{\"timestamp\":\"1970-01-01T00:00:01.500Z\"}"},
    {"WellKnown", "1205080110e807", PLAIN, "{\"timestamp\":\"1970-01-01T00:00:01.000001Z\"}"},
    {"WellKnown", "120408011001", PLAIN, "{\"timestamp\":\"1970-01-01T00:00:01.000000001Z\"}"},
    {"WellKnown", "121108ffffffffffffffffff0110ff93ebdc03", PLAIN,
     "{\"timestamp\":\"1969-12-31T23:59:59.999999999Z\"}"},
    {"WellKnown", "1206088098ecc503", PLAIN, "{\"timestamp\":\"2000-02-29T00:00:00Z\"}"},
    {"WellKnown", "120608ffbaf1c503", PLAIN, "{\"timestamp\":\"2000-02-29T23:59:59Z\"}"},
    {"WellKnown", "120608ffbed0a60f", PLAIN, "{\"timestamp\":\"2100-02-28T23:59:59Z\"}"},
    {"WellKnown", "120b08c0e381af0610809c9c39", PLAIN,
     "{\"timestamp\":\"2024-02-29T12:00:00.120Z\"}"},
    {"WellKnown", "12020801", LONG, "{\"timestamp\":\"1970-01-01T00:00:01.000Z\"}"},
    {"WellKnown", "1207080110809c9c39", LONG, "{\"timestamp\":\"1970-01-01T00:00:01.120Z\"}"},
    {"WellKnown", "1205080110e807", LONG, "{\"timestamp\":\"1970-01-01T00:00:01.000001Z\"}"},
    {"WellKnown", "1a020801", LONG, "{\"duration\":\"1s\"}"},
    {"WellKnown", "1a00", PLAIN, "{\"duration\":\"0s\"}"},
    {"WellKnown", "1a020801", PLAIN, "{\"duration\":\"1s\"}"},
    {"WellKnown", "1a1608ffffffffffffffffff011080b6ca91feffffffff01", PLAIN,
     "{\"duration\":\"-1.500s\"}"},
    {"WellKnown", "1a0b10ffffffffffffffffff01", PLAIN, "{\"duration\":\"-0.000000001s\"}"},
    {"WellKnown", "1a051080ade204", PLAIN, "{\"duration\":\"0.010s\"}"},
    {"WellKnown", "1a0d0880bcaece970910ff93ebdc03", PLAIN,
     "{\"duration\":\"315576000000.999999999s\"}"},
    {"WellKnown", "1a160880c4d1b1e8f6ffffff011081ec94a3fcffffffff01", PLAIN,
     "{\"duration\":\"-315576000000.999999999s\"}"},
    {"WellKnown", "1a05080510e807", PLAIN, "{\"duration\":\"5.000001s\"}"},
    {"WellKnown", "2200", PLAIN, "{\"mask\":\"\"}"},
    {"WellKnown", "22030a012a", PLAIN, "{\"mask\":\"*\"}"},
    {"WellKnown", "22100a03666f6f0a096261725f62617a2e71", PLAIN, "{\"mask\":\"foo,barBaz.q\"}"},
    {"WellKnown", "2a00", PLAIN, "{\"struct\":{}}"},
    {"WellKnown", "2a1d0a1b0a0161121632140a0911000000000000f03f0a031a01780a022a00", PLAIN,
     "{\"struct\":{\"a\":[1,\"x\",{}]}}"},
    {"WellKnown", "3200", PLAIN, "{\"value\":null}"},
    {"WellKnown", "32022000", PLAIN, "{\"value\":false}"},
    {"WellKnown", "3209110000000000000000", PLAIN, "{\"value\":0}"},
    {"WellKnown", "3a00", PLAIN, "{\"list\":[]}"},
    {"WellKnown", "3a060a000a020800", PLAIN, "{\"list\":[null,null]}"},
    {"WellKnown", "4200", PLAIN, "{\"empty\":{}}"},
    {"WellKnown", "4a0052005a0062006a0072007a008201008a0100", PLAIN,
     "{\"bool\":false,\"int32\":0,\"int64\":\"0\",\"uint32\":0,\"uint64\":\"0\",\"float\":0,"
     "\"double\":0,\"string\":\"\",\"bytes\":\"\"}"},
    {"WellKnown",
     "4a020801520b08ffffffffffffffffff015a0b08ffffffffffffffffff01620208016a02080172050d0000c03f7a0"
     "909000000000000f83f8201030a01618a01030a0161",
     PLAIN,
     "{\"bool\":true,\"int32\":-1,\"int64\":\"-1\",\"uint32\":1,\"uint64\":\"1\",\"float\":1.5,"
     "\"double\":1.5,\"string\":\"a\",\"bytes\":\"YQ==\"}"},
    {"WellKnown", "0a00", PLAIN, "{\"any\":{}}"},
    {"WellKnown",
     "0a280a22747970652e676f6f676c65617069732e636f6d2f73746f612e746573742e4e6f646512020807", PLAIN,
     "{\"any\":{\"@type\":\"type.googleapis.com/stoa.test.Node\",\"id\":7}}"},
    {"WellKnown", "0a240a22747970652e676f6f676c65617069732e636f6d2f73746f612e746573742e4e6f6465",
     PLAIN, "{\"any\":{\"@type\":\"type.googleapis.com/stoa.test.Node\"}}"},
    {"WellKnown",
     "0a320a2c747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e4475726174696"
     "f6e12020801",
     PLAIN,
     "{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1s\"}}"},
    {"WellKnown",
     "0a5f0a27747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e416e7912340a2"
     "e747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e496e74363456616c7565"
     "12020805",
     PLAIN,
     "{\"any\":{\"@type\":\"type.googleapis.com/"
     "google.protobuf.Any\",\"value\":{\"@type\":\"type.googleapis.com/"
     "google.protobuf.Int64Value\",\"value\":\"5\"}}}"},
    {"WellKnown",
     "0a370a2a747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e5374727563741"
     "2090a070a016112022001",
     PLAIN,
     "{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Struct\",\"value\":{\"a\":true}}}"},
    {"WellKnown",
     "0a2b0a29747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e456d707479",
     PLAIN, "{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Empty\"}}"},
    {"Old",
     "080012001801200120022a010232050a016110013b0801120208023c430a017844434448025a01616202080068016"
     "802",
     PLAIN,
     "{\"number\":0,\"text\":\"\",\"closed\":\"FIRST\",\"closeds\":[\"FIRST\",\"SECOND\"],"
     "\"packedCloseds\":[\"SECOND\"],\"switches\":{\"a\":\"ON\"},\"pair\":{\"a\":1,\"inner\":{"
     "\"number\":2}},\"item\":[{\"name\":\"x\"},{}],\"closedKind\":\"SECOND\",\"raw\":\"YQ==\","
     "\"strict\":{\"id\":0},\"plainList\":[1,2]}"},
    {"Old", "1809", PLAIN, "{}"},
    {"Old", "18011809", PLAIN, "{\"closed\":\"FIRST\"}"},
    {"Old", "200120092002", PLAIN, "{\"closeds\":[\"FIRST\",\"SECOND\"]}"},
    {"Old", "2a03010902", PLAIN, "{\"packedCloseds\":[\"FIRST\",\"SECOND\"]}"},
    {"Old", "2a0109", PLAIN, "{}"},
    {"Old", "32050a0161100932050a01621001", PLAIN, "{\"switches\":{\"b\":\"ON\"}}"},
    {"Old", "32050a0161100132050a01611009", PLAIN, "{\"switches\":{\"a\":\"ON\"}}"},
    {"Old", "3b08013c3b120208023c", PLAIN, "{\"pair\":{\"a\":1,\"inner\":{\"number\":2}}}"},
    {"Old", "", UNSET,
     "{\"closeds\":[],\"packedCloseds\":[],\"switches\":{},\"item\":[],\"plainList\":[],"
     "\"[stoa.test.levels]\":[],\"[stoa.test.Holder.offsets]\":[]}"},
    {"Old", "4801520174", PLAIN, "{\"textKind\":\"t\"}"},
    {"Old", "0801a80601a80602c206020102", PLAIN,
     "{\"number\":1,\"[stoa.test.levels]\":[\"FIRST\",\"SECOND\"],"
     "\"[stoa.test.Holder.offsets]\":[-1,1]}"},
    {"Old", "cb060a03a00601cc06a006000801", PLAIN,
     "{\"number\":1,\"[stoa.test.more]\":0,"
     "\"[stoa.test.Holder.side]\":{\"old\":{\"[stoa.test.more]\":1}}}"},
    {"Old", "f80c01", PLAIN, "{}"}, /* nobody's extension */
    {"All", "a00102f00101", PLAIN, "{\"middle\":2,\"last\":1}"},
    {"All", "f00101a0010222020801", PLAIN, "{\"node\":{\"id\":1},\"middle\":2,\"last\":1}"},
};

static const struct {
    const char *type, *wire, *path, *message;
} refused[] = {
    {"Scalars", "18", "", "is not well-formed protobuf"},
    {"Scalars", "1880", "", "is not well-formed protobuf"},
    {"Scalars", "0000", "", "is not well-formed protobuf"},
    {"Scalars", "090102", "", "is not well-formed protobuf"},
    {"Scalars", "1501", "", "is not well-formed protobuf"},
    {"Scalars", "72056162", "", "is not well-formed protobuf"},
    {"Scalars", "18ffffffffffffffffffff01", "", "is not well-formed protobuf"},
    {"Scalars", "0f", "", "is not well-formed protobuf"},
    {"Scalars", "0e", "", "is not well-formed protobuf"},
    {"Scalars", "0b0801", "", "is not well-formed protobuf"},
    {"Scalars", "0c", "", "is not well-formed protobuf"},
    {"Scalars", "0b14", "", "is not well-formed protobuf"},
    {"Scalars", "7201ff", "stringValue", "is not valid UTF-8"},
    {"Scalars", "720261c3", "stringValue", "is not valid UTF-8"},
    {"Scalars", "7203eda080", "stringValue", "is not valid UTF-8"},
    {"Scalars", "7202c080", "stringValue", "is not valid UTF-8"},
    {"Scalars", "7204f4908080", "stringValue", "is not valid UTF-8"},
    {"Old", "1201ff", "text", "is not valid UTF-8"},
    {"Lists", "0a03616263", "doubles[0]", "is not well-formed protobuf"},
    {"Lists", "12056162636465", "floats[1]", "is not well-formed protobuf"},
    {"Lists", "1a0180", "int32s[0]", "is not well-formed protobuf"},
    {"Lists", "600162020180", "unpacked[2]", "is not well-formed protobuf"},
    {"Lists", "4201614201ff", "strings[1]", "is not valid UTF-8"},
    {"Lists", "5a005a031201ff", "nodes[1].name", "is not valid UTF-8"},
    {"Maps", "0a030a01ff", "strings", "is not valid UTF-8"},
    {"Maps", "320a0a016b12051a031201ff", "nodes[\"k\"].left.name", "is not valid UTF-8"},
    {"Maps", "120108", "int32s", "is not well-formed protobuf"},
    {"Maps", "32060a016b120108", "nodes[\"k\"]", "is not well-formed protobuf"},
    {"Node", "1a052a030a0008", "left.children[0]", "is not well-formed protobuf"},
    {"Node", "1a0108120178", "left", "is not well-formed protobuf"},
    {"WellKnown", "120b08ff91b8c398feffffff01", "timestamp", "is out of range"},
    {"WellKnown", "1207088083d1ffaf07", "timestamp", "is out of range"},
    {"WellKnown", "120b10ffffffffffffffffff01", "timestamp", "is out of range"},
    {"WellKnown", "1206108094ebdc03", "timestamp", "is out of range"},
    {"WellKnown", "1a070881bcaece9709", "duration", "is out of range"},
    {"WellKnown", "1a0b08ffc3d1b1e8f6ffffff01", "duration", "is out of range"},
    {"WellKnown", "1a06108094ebdc03", "duration", "is out of range"},
    {"WellKnown", "1a0d080110ffffffffffffffffff01", "duration", "is out of range"},
    {"WellKnown", "1a0d08ffffffffffffffffff011001", "duration", "is out of range"},
    {"WellKnown", "120108", "timestamp", "is not well-formed protobuf"},
    {"WellKnown", "220c0a026f6b0a06666f6f426172", "mask",
     "has a path that has no form in camelCase"},
    {"WellKnown", "220f0a026f6b0a09666f6f5f335f626172", "mask",
     "has a path that has no form in camelCase"},
    {"WellKnown", "220e0a026f6b0a08666f6f5f5f626172", "mask",
     "has a path that has no form in camelCase"},
    {"WellKnown", "22070a026f6b0a015f", "mask", "has a path that has no form in camelCase"},
    {"WellKnown", "22080a026f6b0a02615f", "mask", "has a path that has no form in camelCase"},
    {"WellKnown", "22090a026f6b0a03612c62", "mask", "has a path that has no form in camelCase"},
    {"WellKnown", "22060a026f6b0a00", "mask", "has an empty path"},
    {"WellKnown", "2a100a0e0a0161120911000000000000f87f", "struct[\"a\"]",
     "is a number that JSON does not have"},
    {"WellKnown", "2a100a0e0a0161120911000000000000f07f", "struct[\"a\"]",
     "is a number that JSON does not have"},
    {"WellKnown", "2a100a0e0a0161120911000000000000f0ff", "struct[\"a\"]",
     "is a number that JSON does not have"},
    {"WellKnown", "0a03120178", "any.@type", "is not the URL of a known message type"},
    {"WellKnown", "0a0b0a09782f6e6f2e73756368", "any.@type",
     "is not the URL of a known message type"},
    {"WellKnown", "0a100a0e73746f612e746573742e4e6f6465", "any.@type",
     "is not the URL of a known message type"},
    {"WellKnown", "b20100b201150a10782f73746f612e746573742e4e6f6465120108", "anys[1]",
     "is not well-formed protobuf"},
    {"WellKnown",
     "0a2a0a1b782f676f6f676c652e70726f746f6275662e54696d657374616d70120b10ffffffffffffffffff01",
     "any.value", "is out of range"},
    {"Old", "6200", "strict.id", "is required"},
    {"Strict", "", "id", "is required"},
    {"Old", "3b120562031201783c", "pair.inner.strict.id", "is required"},
};

static void prints(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(printed); i++) {
        const struct schema_json_options options = {
            .print_unset = printed[i].options == UNSET,
            .long_fractions = printed[i].options == LONG,
        };
        struct schema_fault fault = {0};
        struct arena arena;
        struct buf json;
        int err;

        arena_init(&arena, 1 << 20);
        buf_init(&json, 1 << 20);
        err = schema_json_write(schema, json_test_type(schema, printed[i].type),
                                json_test_bytes(&arena, printed[i].wire), &options, &json, &arena,
                                &fault);
        assert_int_equal(err, 0);
        if (!str_eq(buf_str(&json), str_of(printed[i].json)))
            print_message("%s\n%.*s\n", printed[i].json, STR_FMT(buf_str(&json)));
        assert_true(str_eq(buf_str(&json), str_of(printed[i].json)));
        buf_free(&json);
        arena_free(&arena);
    }
}

static void refuses(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct schema_fault fault = {0};
        struct arena arena;
        struct buf json;
        int err;

        arena_init(&arena, 1 << 20);
        buf_init(&json, 1 << 20);
        buf_append_str(&json, STR("kept"));
        err = schema_json_write(schema, json_test_type(schema, refused[i].type),
                                json_test_bytes(&arena, refused[i].wire), NULL, &json, &arena,
                                &fault);
        if (err != -EBADMSG)
            print_message("%s\n", refused[i].wire);
        assert_int_equal(err, -EBADMSG);
        if (!str_eq(fault.path, str_of(refused[i].path)))
            print_message("%s: %.*s\n", refused[i].wire, STR_FMT(fault.path));
        assert_true(str_eq(fault.path, str_of(refused[i].path)));
        assert_true(str_eq(fault.message, str_of(refused[i].message)));
        assert_true(str_eq(buf_str(&json), STR("kept")));
        buf_free(&json);
        arena_free(&arena);
    }
}

/* What is printed is read back, strictly, to what is printed the same way. */
static void reads_back_what_it_prints(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(printed); i++) {
        const struct schema_json_options options = {.refuse_unknown = true,
                                                    .print_unset = printed[i].options == UNSET,
                                                    .long_fractions = printed[i].options == LONG};
        const struct schema_message *type = json_test_type(schema, printed[i].type);
        struct schema_fault fault = {0};
        struct arena arena;
        struct buf wire, json;

        arena_init(&arena, 1 << 20);
        buf_init(&wire, 1 << 20);
        buf_init(&json, 1 << 20);
        assert_int_equal(schema_json_read(schema, type, str_of(printed[i].json), &options, &wire,
                                          &arena, &fault),
                         0);
        assert_int_equal(
            schema_json_write(schema, type, buf_str(&wire), &options, &json, &arena, &fault), 0);
        assert_true(str_eq(buf_str(&json), str_of(printed[i].json)));
        buf_free(&wire);
        buf_free(&json);
        arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints),
        cmocka_unit_test(refuses),
        cmocka_unit_test(reads_back_what_it_prints),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
