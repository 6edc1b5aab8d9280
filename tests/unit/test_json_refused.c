/* JSON that is refused: where, and in which words. */
#include "json_schema.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct schema *schema;

static int load(void **state UNUSED)
{
    schema = json_test_schema();
    return 0;
}

static int unload(void **state UNUSED)
{
    schema_free(schema);
    return 0;
}

/* All with refuse_unknown. */
static const struct refusal {
    const char *type, *json, *path, *message;
} refused[] = {
    {"Scalars", "", "", "is not valid JSON: unexpected end at byte 1"},
    {"Scalars", " ", "", "is not valid JSON: unexpected end at byte 2"},
    {"Scalars", "{", "", "is not valid JSON: unexpected end at byte 2"},
    {"Scalars", "{}x", "", "is not valid JSON: unexpected character at byte 3"},
    {"Scalars", "{} {}", "", "is not valid JSON: unexpected character at byte 4"},
    {"Scalars", "\xef\xbb\xbf{}", "", "is not valid JSON: unexpected character at byte 1"},
    {"Scalars", "{\"int32Value\":1,}", "", "is not valid JSON: unexpected character at byte 17"},
    {"Scalars", "{\"int32Value\":1 \"int64Value\":2}", "",
     "is not valid JSON: unexpected character at byte 17"},
    {"Scalars", "{int32Value:1}", "", "is not valid JSON: unexpected character at byte 2"},
    {"Scalars", "{'int32Value':1}", "", "is not valid JSON: unexpected character at byte 2"},
    {"Scalars", "{\"int32Value\"=1}", "", "is not valid JSON: unexpected character at byte 14"},
    {"Scalars", "{\"int32Value\":01}", "", "is not valid JSON: unexpected character at byte 16"},
    {"Scalars", "{\"int32Value\":-01}", "", "is not valid JSON: unexpected character at byte 17"},
    {"Scalars", "{\"int32Value\":+1}", "", "is not valid JSON: unexpected character at byte 15"},
    {"Scalars", "{\"int32Value\":1.}", "", "is not valid JSON: unexpected character at byte 17"},
    {"Scalars", "{\"int32Value\":.5}", "", "is not valid JSON: unexpected character at byte 15"},
    {"Scalars", "{\"int32Value\":1e}", "", "is not valid JSON: unexpected character at byte 17"},
    {"Scalars", "{\"int32Value\":-}", "", "is not valid JSON: unexpected character at byte 16"},
    {"Scalars", "{\"int32Value\":0x1}", "", "is not valid JSON: unexpected character at byte 16"},
    {"Scalars", "{/*no*/}", "", "is not valid JSON: unexpected character at byte 2"},
    {"Scalars", "{\"doubleValue\":NaN}", "", "is not valid JSON: unexpected character at byte 16"},
    {"Scalars", "{\"doubleValue\":Infinity}", "",
     "is not valid JSON: unexpected character at byte 16"},
    {"Scalars", "{\"doubleValue\":-Infinity}", "",
     "is not valid JSON: unexpected character at byte 17"},
    {"Scalars", "{\"boolValue\":True}", "", "is not valid JSON: unexpected character at byte 14"},
    {"Scalars", "{\"boolValue\":tru}", "", "is not valid JSON: unexpected character at byte 14"},
    {"Scalars", "{\"boolValue\":truee}", "", "is not valid JSON: unexpected character at byte 18"},
    {"Scalars", "{\"color\":RED}", "", "is not valid JSON: unexpected character at byte 10"},
    {"Scalars", "{\"stringValue\":nul}", "", "is not valid JSON: unexpected character at byte 16"},
    {"Scalars", "{\"stringValue\":\"abc", "", "is not valid JSON: unexpected end at byte 20"},
    {"Scalars", "{\"stringValue\":\"abc\\", "", "is not valid JSON: unexpected end at byte 21"},
    {"Scalars", "{\"stringValue\":\"a\\x\"}", "", "is not valid JSON: unknown escape at byte 18"},
    {"Scalars", "{\"stringValue\":\"\\U8C37\"}", "",
     "is not valid JSON: unknown escape at byte 17"},
    {"Scalars", "{\"stringValue\":\"\\u8C3\"}", "", "is not valid JSON: unknown escape at byte 17"},
    {"Scalars", "{\"stringValue\":\"\\uXXXX\"}", "",
     "is not valid JSON: unknown escape at byte 17"},
    {"Scalars", "{\"stringValue\":\"\\ud800\"}", "",
     "is not valid JSON: lone surrogate at byte 17"},
    {"Scalars", "{\"stringValue\":\"\\udc00\"}", "",
     "is not valid JSON: lone surrogate at byte 17"},
    {"Scalars", "{\"stringValue\":\"\\ude01\\ud83d\"}", "",
     "is not valid JSON: lone surrogate at byte 17"},
    {"Scalars", "{\"stringValue\":\"\\ud83dx\"}", "",
     "is not valid JSON: lone surrogate at byte 17"},
    {"Scalars", "{\"stringValue\":\"a\nb\"}", "",
     "is not valid JSON: control character in a string at byte 18"},
    {"Scalars", "{\"stringValue\":\"a\tb\"}", "",
     "is not valid JSON: control character in a string at byte 18"},
    {"Lists", "{\"int32s\":[1,]}", "", "is not valid JSON: unexpected character at byte 14"},
    {"Lists", "{\"int32s\":[1 2]}", "", "is not valid JSON: unexpected character at byte 14"},
    {"Lists", "{\"int32s\":[1", "", "is not valid JSON: unexpected end at byte 13"},
    {"Maps", "{\"int32s\":{1:2}}", "", "is not valid JSON: unexpected character at byte 12"},
    {"Maps", "{\"int32s\":{null:2}}", "", "is not valid JSON: unexpected character at byte 12"},
    {"Scalars", "null", "", "must be an object"},
    {"Scalars", "[]", "", "must be an object"},
    {"Scalars", "\"x\"", "", "must be an object"},
    {"Scalars", "1", "", "must be an object"},
    {"Scalars", "{\"stringValue\":1}", "stringValue", "must be a string"},
    {"Scalars", "{\"stringValue\":{}}", "stringValue", "must be a string"},
    {"Scalars", "{\"boolValue\":1}", "boolValue", "must be true or false"},
    {"Scalars", "{\"boolValue\":\"true\"}", "boolValue", "must be true or false"},
    {"Scalars", "{\"bytesValue\":1}", "bytesValue", "must be a string of base64"},
    {"Scalars", "{\"bytesValue\":\"a\"}", "bytesValue", "must be a string of base64"},
    {"Scalars", "{\"bytesValue\":\"YQ=\"}", "bytesValue", "must be a string of base64"},
    {"Scalars", "{\"bytesValue\":\"Y===\"}", "bytesValue", "must be a string of base64"},
    {"Scalars", "{\"bytesValue\":\"YQ==YQ==\"}", "bytesValue", "must be a string of base64"},
    {"Scalars", "{\"bytesValue\":\"Y Q=\"}", "bytesValue", "must be a string of base64"},
    {"Scalars", "{\"color\":true}", "color", "must be the name of a value"},
    {"Scalars", "{\"color\":1.5}", "color",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"color\":2147483648}", "color",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"color\":\"red\"}", "color", "is not one of the known values"},
    {"Scalars", "{\"nothing\":false}", "nothing", "must be the name of a value"},
    {"Scalars", "{\"int32Value\":2147483648}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":-2147483649}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":0.5}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":1e-1}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":1e99999999999999999999}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":true}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":\"x\"}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":\"\"}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":\" 1\"}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":\"1 \"}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":\"3x3\"}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":\"0x10\"}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":\"01\"}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"int32Value\":[1]}", "int32Value",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Scalars", "{\"uint32Value\":-1}", "uint32Value",
     "must be a whole number from 0 to 4294967295"},
    {"Scalars", "{\"uint32Value\":4294967296}", "uint32Value",
     "must be a whole number from 0 to 4294967295"},
    {"Scalars", "{\"int64Value\":\"9223372036854775808\"}", "int64Value",
     "must be a whole number from -9223372036854775808 to 9223372036854775807"},
    {"Scalars", "{\"int64Value\":-9223372036854775809}", "int64Value",
     "must be a whole number from -9223372036854775808 to 9223372036854775807"},
    {"Scalars", "{\"uint64Value\":18446744073709551616}", "uint64Value",
     "must be a whole number from 0 to 18446744073709551615"},
    {"Scalars", "{\"uint64Value\":100000000000000000000}", "uint64Value",
     "must be a whole number from 0 to 18446744073709551615"},
    {"Scalars", "{\"fixed32Value\":-1}", "fixed32Value",
     "must be a whole number from 0 to 4294967295"},
    {"Scalars", "{\"sint64Value\":\"0.5\"}", "sint64Value",
     "must be a whole number from -9223372036854775808 to 9223372036854775807"},
    {"Scalars", "{\"doubleValue\":1.89769e308}", "doubleValue",
     "must be a number from -1.7976931348623157e+308 to 1.7976931348623157e+308"},
    {"Scalars", "{\"doubleValue\":\"nan\"}", "doubleValue", "must be a number"},
    {"Scalars", "{\"doubleValue\":\"inf\"}", "doubleValue", "must be a number"},
    {"Scalars", "{\"doubleValue\":true}", "doubleValue", "must be a number"},
    {"Scalars", "{\"doubleValue\":\" 1\"}", "doubleValue", "must be a number"},
    {"Scalars", "{\"floatValue\":3.502823e38}", "floatValue",
     "must be a number from -3.4028235e+38 to 3.4028235e+38"},
    {"Scalars", "{\"floatValue\":-3.502823e38}", "floatValue",
     "must be a number from -3.4028235e+38 to 3.4028235e+38"},
    {"Lists", "{\"int32s\":1}", "int32s", "must be a list"},
    {"Lists", "{\"int32s\":{}}", "int32s", "must be a list"},
    {"Lists", "{\"int32s\":[1,null]}", "int32s[1]",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Lists", "{\"int32s\":[1,\"x\"]}", "int32s[1]",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Lists", "{\"strings\":[\"a\",1]}", "strings[1]", "must be a string"},
    {"Lists", "{\"strings\":[null]}", "strings[0]", "must be a string"},
    {"Lists", "{\"nodes\":[{},null]}", "nodes[1]", "must be an object"},
    {"Lists", "{\"nodes\":[{},{\"id\":\"x\"}]}", "nodes[1].id",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Lists", "{\"nodes\":[{\"children\":[{},{\"left\":{\"name\":1}}]}]}",
     "nodes[0].children[1].left.name", "must be a string"},
    {"Lists", "{\"colors\":[\"RED\",\"BLUE\"]}", "colors[1]", "is not one of the known values"},
    {"Lists", "{\"int32s\":[1],\"int32s\":[2]}", "int32s", "is given twice"},
    {"Maps", "{\"int32s\":[]}", "int32s", "must be an object"},
    {"Maps", "{\"int32s\":{\"x\":1}}", "int32s[\"x\"]",
     "its key must be a whole number from -2147483648 to 2147483647"},
    {"Maps", "{\"int32s\":{\"1.5\":1}}", "int32s[\"1.5\"]",
     "its key must be a whole number from -2147483648 to 2147483647"},
    {"Maps", "{\"int32s\":{\"2147483648\":1}}", "int32s[\"2147483648\"]",
     "its key must be a whole number from -2147483648 to 2147483647"},
    {"Maps", "{\"int32s\":{\"1\":null}}", "int32s[\"1\"]",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Maps", "{\"int32s\":{\"1\":2,\"2\":3,\"1\":4}}", "int32s", "has a key twice"},
    {"Maps", "{\"int32s\":{\"1\":2,\"1e0\":4}}", "int32s", "has a key twice"},
    {"Maps", "{\"strings\":{\"a\":\"1\",\"\\u0061\":\"2\"}}", "strings", "has a key twice"},
    {"Maps", "{\"bools\":{\"yes\":true}}", "bools[\"yes\"]", "its key must be true or false"},
    {"Maps", "{\"colors\":{\"a\":\"BLUE\"}}", "colors[\"a\"]", "is not one of the known values"},
    {"Maps", "{\"nodes\":{\"a\":{\"left\":{\"id\":\"x\"}}}}", "nodes[\"a\"].left.id",
     "must be a whole number from -2147483648 to 2147483647"},
    {"Maps", "{\"doubles\":{\"-1\":0}}", "doubles[\"-1\"]",
     "its key must be a whole number from 0 to 18446744073709551615"},
    {"Maps", "{\"values\":{\"a\":1,\"a\":2}}", "values", "has a key twice"},
    {"Scalars", "{\"int32Value\":1,\"int32Value\":1}", "int32Value", "is given twice"},
    {"Scalars", "{\"int32Value\":null,\"int32_value\":1}", "int32Value", "is given twice"},
    {"Scalars", "{\"nope\":1}", "nope", "is not a known field"},
    {"Node", "{\"left\":{\"nope\":{}}}", "left.nope", "is not a known field"},
    {"Names", "{\"renamed_\":1}", "renamed_", "is not a known field"},
    {"Names", "{\"anotherName\":\"x\"}", "anotherName", "is not a known field"},
    {"Choice", "{\"number\":1,\"text\":\"a\"}", "text", "only one member of \"kind\" may be given"},
    {"Choice", "{\"text\":\"a\",\"nothing\":null}", "nothing",
     "only one member of \"kind\" may be given"},
    {"Choice", "{\"text\":\"a\",\"value\":null}", "value",
     "only one member of \"kind\" may be given"},
    {"Node", "{\"choice\":{\"node\":{\"choice\":{\"number\":1,\"text\":\"\"}}}}",
     "choice.node.choice.text", "only one member of \"kind\" may be given"},
    {"WellKnown", "{\"timestamp\":0}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"0000-01-01T00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"10000-01-01T00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01T00:00:00\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01 00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01t00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01T00:00:00z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-02-29T00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-04-31T00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-13-01T00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01T24:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01T00:00:60Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01T00:00:00.Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01T00:00:00.1234567890Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-01-01T00:00:00+0100\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"0001-01-01T00:00:00+00:01\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"9999-12-31T23:59:59-00:01\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"timestamp\":\"2026-1-01T00:00:00Z\"}", "timestamp",
     "must be a time stamp such as \"2026-01-31T08:30:00Z\""},
    {"WellKnown", "{\"duration\":1}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"1\"}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"s\"}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"1.s\"}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\".5s\"}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"+1s\"}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"--1s\"}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"315576000001s\"}", "duration",
     "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"-315576000001s\"}", "duration",
     "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"99999999999999999999s\"}", "duration",
     "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"1.0000000001s\"}", "duration",
     "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"duration\":\"1s \"}", "duration", "must be a duration such as \"1.5s\""},
    {"WellKnown", "{\"mask\":\"bar_bar\"}", "mask",
     "must be a list of field paths such as \"user.displayName,photo\""},
    {"WellKnown", "{\"mask\":\"a,\"}", "mask",
     "must be a list of field paths such as \"user.displayName,photo\""},
    {"WellKnown", "{\"mask\":\",a\"}", "mask",
     "must be a list of field paths such as \"user.displayName,photo\""},
    {"WellKnown", "{\"mask\":\"a b\"}", "mask",
     "must be a list of field paths such as \"user.displayName,photo\""},
    {"WellKnown", "{\"mask\":[\"a\"]}", "mask",
     "must be a list of field paths such as \"user.displayName,photo\""},
    {"WellKnown", "{\"struct\":[]}", "struct", "must be an object"},
    {"WellKnown", "{\"struct\":{\"a\":{\"b\":1,\"b\":2}}}", "struct[\"a\"]", "has a key twice"},
    {"WellKnown", "{\"struct\":{\"a\":[1,1e999]}}", "struct[\"a\"][1]",
     "must be a number from -1.7976931348623157e+308 to 1.7976931348623157e+308"},
    {"WellKnown", "{\"value\":nul}", "", "is not valid JSON: unexpected character at byte 10"},
    {"WellKnown", "{\"value\":}", "", "is not valid JSON: unexpected character at byte 10"},
    {"WellKnown", "{\"list\":{}}", "list", "must be a list"},
    {"WellKnown", "{\"list\":[1,]}", "", "is not valid JSON: unexpected character at byte 12"},
    {"WellKnown", "{\"empty\":[]}", "empty", "must be an object"},
    {"WellKnown", "{\"empty\":{\"a\":1}}", "empty.a", "is not a known field"},
    {"WellKnown", "{\"int32\":\"x\"}", "int32",
     "must be a whole number from -2147483648 to 2147483647"},
    {"WellKnown", "{\"bool\":0}", "bool", "must be true or false"},
    {"WellKnown", "{\"strings\":[\"a\",null]}", "strings[1]", "must be a string"},
    {"WellKnown", "{\"any\":1}", "any", "must be an object"},
    {"WellKnown", "{\"any\":{\"id\":1}}", "any.@type", "is required"},
    {"WellKnown", "{\"any\":{\"@type\":1}}", "any.@type", "must be a string"},
    {"WellKnown", "{\"any\":{\"@type\":\"\"}}", "any.@type",
     "is not the URL of a known message type"},
    {"WellKnown", "{\"any\":{\"@type\":\"stoa.test.Node\"}}", "any.@type",
     "is not the URL of a known message type"},
    {"WellKnown", "{\"any\":{\"@type\":\"x/no.such.Type\"}}", "any.@type",
     "is not the URL of a known message type"},
    {"WellKnown", "{\"any\":{\"@type\":\"x/stoa.test.Node\",\"@type\":\"x/stoa.test.Node\"}}",
     "any.@type", "is given twice"},
    {"WellKnown", "{\"any\":{\"@type\":\"x/stoa.test.Node\",\"id\":\"x\"}}", "any.id",
     "must be a whole number from -2147483648 to 2147483647"},
    {"WellKnown", "{\"any\":{\"@type\":\"x/google.protobuf.Duration\"}}", "any.value",
     "is required"},
    {"WellKnown", "{\"any\":{\"@type\":\"x/google.protobuf.Duration\",\"value\":1}}", "any.value",
     "must be a duration such as \"1.5s\""},
    {"WellKnown",
     "{\"any\":{\"@type\":\"x/google.protobuf.Duration\",\"value\":\"1s\",\"more\":1}}", "any.more",
     "is not a known field"},
    {"WellKnown",
     "{\"any\":{\"@type\":\"x/google.protobuf.Duration\",\"value\":\"1s\",\"value\":\"1s\"}}",
     "any.value", "is given twice"},
    {"WellKnown",
     "{\"anys\":[{},{\"@type\":\"x/google.protobuf.Any\",\"value\":{\"@type\":\"x/"
     "stoa.test.Node\",\"left\":{\"id\":{}}}}]}",
     "anys[1].value.left.id", "must be a whole number from -2147483648 to 2147483647"},
    {"Old", "{\"closed\":3}", "closed", "is not one of the known values"},
    {"Old", "{\"closed\":\"THIRD\"}", "closed", "is not one of the known values"},
    {"Old", "{\"closeds\":[\"FIRST\",3]}", "closeds[1]", "is not one of the known values"},
    {"Old", "{\"strict\":{}}", "strict.id", "is required"},
    {"Old", "{\"strict\":{\"id\":null}}", "strict.id", "is required"},
    {"Old", "{\"pair\":1}", "pair", "must be an object"},
    {"Old", "{\"more\":1}", "more", "is not a known field"},
    {"Old", "{\"[stoa.test.nothing]\":1}", "[stoa.test.nothing]", "is not a known field"},
    {"Old", "{\"[stoa.test.Old.number]\":1}", "[stoa.test.Old.number]", "is not a known field"},
    {"Strict", "{\"id\":1,\"[stoa.test.more]\":1}", "[stoa.test.more]", "is not a known field"},
    {"Old", "{\"[stoa.test.more]\":1,\"[stoa.test.more]\":1}", "[stoa.test.more]",
     "is given twice"},
    {"Old", "{\"[stoa.test.levels]\":[1,3]}", "[stoa.test.levels][1]",
     "is not one of the known values"},
    {"Old", "{\"[stoa.test.Holder.side]\":{\"old\":{\"[stoa.test.checked]\":{}}}}",
     "[stoa.test.Holder.side].old.[stoa.test.checked].id", "is required"},
    {"Old", "{\"item\":[{\"name\":1}]}", "item[0].name", "must be a string"},
    {"Old", "{\"pair\":{\"inner\":{\"strict\":{\"note\":\"\"}}}}", "pair.inner.strict.id",
     "is required"},
};

/* Not valid UTF-8; unknown members are checked as well as known ones. */
static const struct refusal refused_anyway[] = {
    {"Scalars", "{\"stringValue\":\"a\xff\"}", "", "is not valid JSON: invalid UTF-8 at byte 18"},
    {"Scalars", "{\"stringValue\":\"\xc0\x80\"}", "",
     "is not valid JSON: invalid UTF-8 at byte 17"},
    {"Scalars", "{\"stringValue\":\"\xed\xa0\x80\"}", "",
     "is not valid JSON: invalid UTF-8 at byte 17"},
    {"Scalars", "{\"stringValue\":\"\xe8\xb0\"}", "",
     "is not valid JSON: invalid UTF-8 at byte 17"},
    {"Scalars", "{\"stringValue\":\"\xf4\x90\x80\x80\"}", "",
     "is not valid JSON: invalid UTF-8 at byte 17"},
    {"Scalars", "{\"\xff\":1}", "", "is not valid JSON: invalid UTF-8 at byte 3"},
    {"Scalars", "{\"x\":\"\xff\"}", "", "is not valid JSON: invalid UTF-8 at byte 7"},
    {"Scalars", "{\"x\":{\"a\":[1,2,}}", "", "is not valid JSON: unexpected character at byte 16"},
    {"Scalars", "{\"x\":[}", "", "is not valid JSON: unexpected character at byte 7"},
    {"Scalars", "{\"x\":{\"a\"}}", "", "is not valid JSON: unexpected character at byte 10"},
    {"Scalars", "{\"x\":{\"a\":1,}}", "", "is not valid JSON: unexpected character at byte 13"},
    {"Scalars", "{\"x\":\"\\ud800\"}", "", "is not valid JSON: lone surrogate at byte 7"},
    {"Scalars", "{\"x\":01}", "", "is not valid JSON: unexpected character at byte 7"},
    {"Scalars", "{\"x\":nul}", "", "is not valid JSON: unexpected character at byte 6"},
    {"Scalars", "{\"x\":}", "", "is not valid JSON: unexpected character at byte 6"},
    {"Scalars", "{\"x\":[1", "", "is not valid JSON: unexpected end at byte 8"},
    {"Scalars", "{\"x\"", "", "is not valid JSON: unexpected end at byte 5"},
};

static void check_refusal(const struct refusal *r, const struct schema_json_options *options)
{
    struct schema_fault fault = {0};
    struct arena arena;
    struct buf wire;
    int err;

    arena_init(&arena, 1 << 20);
    buf_init(&wire, 1 << 20);
    buf_append_str(&wire, STR("kept"));
    err = schema_json_read(schema, json_test_type(schema, r->type), str_of(r->json), options, &wire,
                           &arena, &fault);
    if (err != -EBADMSG)
        print_message("%s\n", r->json);
    assert_int_equal(err, -EBADMSG);
    if (!str_eq(fault.path, str_of(r->path)) || !str_eq(fault.message, str_of(r->message)))
        print_message("%s: \"%.*s\" \"%.*s\"\n", r->json, STR_FMT(fault.path),
                      STR_FMT(fault.message));
    assert_true(str_eq(fault.path, str_of(r->path)));
    assert_true(str_eq(fault.message, str_of(r->message)));
    assert_true(str_eq(buf_str(&wire), STR("kept")));
    buf_free(&wire);
    arena_free(&arena);
}

static void refuses(void **state UNUSED)
{
    const struct schema_json_options strict = {.refuse_unknown = true};

    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        check_refusal(&refused[i], &strict);
}

static void refuses_broken_text_anywhere(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(refused_anyway); i++)
        check_refusal(&refused_anyway[i], NULL);
}

/* A path holds whole characters of a long key, not all of it. */
static void shortens_keys_in_paths(void **state UNUSED)
{
    static const char json[] = "{\"int32s\":{\"0123456789012345678901234567890123456789"
                               "01234567890123456789012é456\":1}}";
    struct schema_fault fault = {0};
    struct arena arena;
    struct buf wire;

    arena_init(&arena, 1 << 20);
    buf_init(&wire, 1 << 20);
    assert_int_equal(schema_json_read(schema, json_test_type(schema, "Maps"), str_of(json), NULL,
                                      &wire, &arena, &fault),
                     -EBADMSG);
    assert_true(str_eq(fault.path, STR("int32s[\"0123456789012345678901234567890123456789"
                                       "01234567890123456789012\"]")));
    buf_free(&wire);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_broken_text_anywhere),
        cmocka_unit_test(shortens_keys_in_paths),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
