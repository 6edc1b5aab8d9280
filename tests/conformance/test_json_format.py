"""Our codec beside protobuf's own (Python's json_format on its C++ core): messages in random values that a
seed fixes must be the same bytes and the same JSON to both, in both directions, and what is damaged must be
refused or mean the same.

The messages are those of tests/unit/protos, the codec is the testee of the conformance suite. Where the two
are known to differ is said where it is left out: Python's JSON knows no -0, and reads no lists of null.
"""
import base64
import json
import os
import random
import re
import struct
import subprocess

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TESTEE = os.path.join(os.environ.get("STOA_OUT", os.path.join(ROOT, "build/release")), "tests/conformance/testee")
TYPES = ("All", "Scalars", "Lists", "Maps", "Node", "Choice", "Names", "WellKnown", "Old")
CASES = 100  # of each type, in each test
WIRE, JSON = 1, 2
IGNORE_UNKNOWN = 3
EXTENSIONS = ("more", "checked", "Holder.note", "Holder.side")  # Python cannot read repeated ones


class Refused(Exception):
    pass


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


class Codec:
    """The testee, as testee.c says it is spoken to."""

    def __init__(self, descriptor_set):
        self.process = subprocess.Popen([TESTEE, descriptor_set], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def convert(self, type_name, source, payload, target, ignore_unknown=False):
        request = field(source, payload) + b"\x18" + varint(target) + field(4, b"stoa.test." + type_name.encode())
        if ignore_unknown:
            request += b"\x28" + varint(IGNORE_UNKNOWN)
        self.process.stdin.write(struct.pack("<I", len(request)) + request)
        self.process.stdin.flush()
        size, = struct.unpack("<I", self.process.stdout.read(4))
        answer = self.process.stdout.read(size)
        kind, at = answer[0] >> 3, 1
        while answer[at] & 0x80:
            at += 1
        if kind not in (3, 4):
            assert kind in (1, 6), answer
            raise Refused(answer[at + 1:].decode())
        return answer[at + 1:]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0


@pytest.fixture(scope="module")
def descriptor_set(tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "types.binpb"
    subprocess.run(["protoc", "--include_imports", "-o", path, "-Itests/unit/protos", "-Iproto", "-I/usr/include",
                    "json_types.proto", "json_types2.proto"], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="module")
def codec(descriptor_set):
    made = Codec(descriptor_set)
    yield made
    made.close()


@pytest.fixture(scope="module")
def theirs(descriptor_set):
    return Theirs(descriptor_set)


class Theirs:
    def __init__(self, descriptor_set):
        self.pool = pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set.read_bytes()).file:
            pool.Add(file)
        factory = message_factory.MessageFactory(pool)
        self.types = {name: factory.GetPrototype(pool.FindMessageTypeByName("stoa.test." + name)) for name in TYPES}
        self.factory = factory
        for name in EXTENSIONS:
            self.types["Old"].RegisterExtension(pool.FindExtensionByName("stoa.test." + name))

    def bytes(self, made):
        load_maps(made)
        return made.SerializeToString(deterministic=True)

    def read(self, type_name, text, ignore_unknown=False):
        made = json_format.Parse(text, self.types[type_name](), ignore_unknown_fields=ignore_unknown,
                                 descriptor_pool=self.pool)
        if not made.IsInitialized():
            raise json_format.ParseError("lacks a required field")
        return self.bytes(made)

    def write(self, made):
        text = json_format.MessageToJson(made, descriptor_pool=self.pool, indent=None)
        return json.dumps(in_order(json.loads(text)))


def in_order(value):
    """Maps are printed in any order, which would make cases that cannot be repeated. The bytes inside an Any follow
    the order of its members, which has to stay."""
    if isinstance(value, dict) and "@type" not in value:
        return {name: in_order(value[name]) for name in sorted(value)}
    return [in_order(each) for each in value] if isinstance(value, list) else value


def load_maps(made):
    """A dynamic message drops doubled keys only once a map has been looked at."""
    for descriptor, value in made.ListFields():
        if descriptor.message_type is None:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            dict(value)
            below = [value[key] for key in value if isinstance(value[key], message.Message)]
        else:
            below = value if descriptor.label == descriptor.LABEL_REPEATED else [value]
        for each in below:
            load_maps(each)


def outcome(convert, *refusals):
    """What it gives, and why it refuses if it does."""
    try:
        return convert(), None
    except refusals as refused:
        return None, str(refused)


# ---- random messages ----

INTEGERS = {
    "int32": (-2**31, 2**31 - 1), "int64": (-2**63, 2**63 - 1),
    "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1),
}
TEXTS = ("", "a", "\"\\/\b\f\n\r\t", "\x01\x1f\x7f", "é谷😁\u2028", "  ", "<&'>", "x" * 130, "\ufeff\U0010ffff")


class Maker:
    def __init__(self, theirs, seed):
        self.theirs = theirs
        self.random = random.Random(seed)

    def integer(self, kind):
        low, high = INTEGERS[kind]
        few = self.random.choice((low, high, 0, 1, 127, 128, low + 1, high - 1))
        return self.random.choice((few, self.random.randint(low, high), self.random.randint(max(low, -300), 300)))

    def double(self, narrow):
        value = self.random.choice((
            0.0, 1.0, -1.5, 0.1, 1e21, 1e-7, 123456789.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"),
            float("nan"), self.random.uniform(-1, 1), self.random.uniform(-1e9, 1e9), self.random.gauss(0, 1) * 1e30,
            round(self.random.uniform(-1e4, 1e4), 3), float(self.random.randint(-2**53, 2**53))))
        if narrow:
            try:
                value, = struct.unpack("f", struct.pack("f", value))
            except OverflowError:
                value = 3.4028234663852886e38
        return value + 0.0 if value else 0.0

    def scalar(self, descriptor):
        kind = descriptor.cpp_type
        if kind == descriptor.CPPTYPE_BOOL:
            return self.random.random() < 0.5
        if kind == descriptor.CPPTYPE_ENUM:
            numbers = [value.number for value in descriptor.enum_type.values]
            if descriptor.enum_type.file.syntax == "proto3" and descriptor.enum_type.name != "NullValue":
                numbers += [7, -2**31]
            return self.random.choice(numbers)
        if kind == descriptor.CPPTYPE_STRING:
            if descriptor.type == descriptor.TYPE_BYTES:
                return self.random.randbytes(self.random.choice((0, 1, 2, 3, 40)))
            return self.random.choice(TEXTS)
        if kind in (descriptor.CPPTYPE_DOUBLE, descriptor.CPPTYPE_FLOAT):
            return self.double(kind == descriptor.CPPTYPE_FLOAT)
        return self.integer({descriptor.CPPTYPE_INT32: "int32", descriptor.CPPTYPE_INT64: "int64",
                             descriptor.CPPTYPE_UINT32: "uint32", descriptor.CPPTYPE_UINT64: "uint64"}[kind])

    def fill(self, made, depth=0):
        name = made.DESCRIPTOR.full_name
        special = getattr(self, name.rsplit(".", 1)[1].lower(), None) if name.startswith("google.protobuf.") else None
        if special:
            special(made, depth)
            return made
        fields = list(made.DESCRIPTOR.fields)
        chance = min(0.7, 4 / (len(fields) + 1))
        for each in fields:
            if each.label == each.LABEL_REQUIRED or self.random.random() < chance:
                self.fill_field(made, each, depth)
        if name == "stoa.test.Old":
            for each in EXTENSIONS:
                extension = self.theirs.pool.FindExtensionByName("stoa.test." + each)
                if self.random.random() < 0.2 and (depth < 4 or not extension.message_type):
                    if extension.message_type:
                        made.Extensions[extension].SetInParent()
                        self.fill(made.Extensions[extension], depth + 1)
                    else:
                        made.Extensions[extension] = self.scalar(extension)
        return made

    def fill_field(self, made, descriptor, depth):
        if descriptor.name == "nothings":  # Python does not read lists and maps of null
            return
        target = getattr(made, descriptor.name)
        if descriptor.message_type and depth > 4 and descriptor.label != descriptor.LABEL_REQUIRED:
            return
        if descriptor.message_type and descriptor.message_type.GetOptions().map_entry:
            key, value = (descriptor.message_type.fields_by_name[name] for name in ("key", "value"))
            for _ in range(self.random.randint(0, 3)):
                if value.message_type:
                    self.fill(target[self.scalar(key)], depth + 1)
                else:
                    target[self.scalar(key)] = self.scalar(value)
        elif descriptor.label == descriptor.LABEL_REPEATED:
            for _ in range(self.random.randint(0, 4)):
                if descriptor.message_type:
                    self.fill(target.add(), depth + 1)
                else:
                    target.append(self.scalar(descriptor))
        elif descriptor.message_type:
            target.SetInParent()
            self.fill(target, depth + 1)
        else:
            setattr(made, descriptor.name, self.scalar(descriptor))

    # Types of google/protobuf that do not take any values of their fields.

    def timestamp(self, made, _depth):
        made.seconds = self.random.choice((0, -62135596800, 253402300799, self.random.randint(-10**10, 10**10)))
        made.nanos = self.random.choice((0, 1, 999999999, 120000000, 123456000))

    def duration(self, made, _depth):
        sign = self.random.choice((1, -1))
        made.seconds = sign * self.random.choice((0, 1, 315576000000, self.random.randint(0, 10**6)))
        made.nanos = 0 if abs(made.seconds) == 315576000000 else sign * self.random.choice((0, 1, 999999999, 5 * 10**8))

    def fieldmask(self, made, _depth):
        made.paths.extend(self.random.sample(("a", "user.display_name", "a_b_c", "x1.y2"), self.random.randint(0, 3)))

    def any(self, made, depth):
        names = ["Node", "Scalars", "Choice"] if depth < 4 else []
        chosen = self.random.choice(names + ["google.protobuf.Duration", "google.protobuf.Int64Value", "", ""])
        if not chosen:
            return
        full = chosen if "." in chosen else "stoa.test." + chosen
        inner = self.theirs.factory.GetPrototype(self.theirs.pool.FindMessageTypeByName(full))()
        made.Pack(self.fill(inner, depth + 2), deterministic=True)

    def value(self, made, depth):
        kind = self.random.choice(("null", "number", "string", "bool") + (("struct", "list") if depth < 4 else ()))
        if kind == "null":
            made.null_value = 0
        elif kind == "number":
            made.number_value = self.random.choice((0.0, -1.5, 1e300, 12345.0))
        elif kind == "string":
            made.string_value = self.random.choice(TEXTS)
        elif kind == "bool":
            made.bool_value = self.random.random() < 0.5
        elif kind == "struct":
            made.struct_value.SetInParent()
            self.fill(made.struct_value, depth + 1)
        else:
            made.list_value.SetInParent()
            self.fill(made.list_value, depth + 1)


def cases(theirs, type_name, salt):
    for i in range(CASES):
        maker = Maker(theirs, f"{salt} {type_name} {i}")
        yield maker, maker.fill(theirs.types[type_name]())


# ---- tests ----

@pytest.mark.parametrize("type_name", TYPES)
def test_messages_are_the_same_json(codec, theirs, type_name):
    """Theirs and ours print the same values, and each reads what the other prints."""
    for _, made in cases(theirs, type_name, "print"):
        wire = theirs.bytes(made)
        ours = codec.convert(type_name, WIRE, wire, JSON)
        their_text = theirs.write(made)
        assert json.loads(ours) == json.loads(their_text)
        assert theirs.read(type_name, ours) == wire, ours
        read = codec.convert(type_name, JSON, their_text.encode(), WIRE)
        assert codec.convert(type_name, WIRE, read, WIRE) == wire, their_text


@pytest.mark.parametrize("type_name", TYPES)
def test_merged_bytes_are_the_same_message(codec, theirs, type_name):
    """Serializations one after the other are one message: merged, replaced and ordered alike."""
    for maker, made in cases(theirs, type_name, "merge"):
        wire = theirs.bytes(made) + theirs.bytes(maker.fill(theirs.types[type_name]()))
        if maker.random.random() < 0.3:
            wire += field(5000, b"unknown") + theirs.bytes(maker.fill(theirs.types[type_name]()))
        merged = theirs.types[type_name].FromString(wire)
        assert codec.convert(type_name, WIRE, wire, WIRE) == theirs.bytes(merged)
        ours, our_reason = outcome(lambda: codec.convert(type_name, WIRE, wire, JSON), Refused)
        their, their_reason = outcome(lambda: theirs.write(merged), json_format.SerializeToJsonError, ValueError)
        if ours is None or their is None:  # merged durations may have a nanos of another sign
            assert ours is None and their is None, (our_reason, their_reason)
        else:
            assert json.loads(ours) == json.loads(their)


@pytest.mark.parametrize("type_name", TYPES)
def test_damaged_bytes(codec, theirs, type_name):
    """What we take, they take, and it means the same. (We refuse more: text that is not UTF-8 or has a NUL in
    proto2, known fields of a wrong wire type.)"""
    taken = 0
    for maker, made in cases(theirs, type_name, "damage"):
        wire = bytearray(theirs.bytes(made))
        for _ in range(maker.random.randint(1, 3)):
            if wire:
                wire[maker.random.randrange(len(wire))] = maker.random.choice((0, 1, 8, 10, 127, 128, 255))
        if maker.random.random() < 0.2:
            del wire[maker.random.randrange(len(wire) + 1):]
        try:
            ours = codec.convert(type_name, WIRE, bytes(wire), WIRE)
        except Refused:
            continue
        taken += 1
        both = [theirs.types[type_name].FromString(bytes(each)) for each in (wire, ours)]
        for each in both:
            each.DiscardUnknownFields()
        assert theirs.bytes(both[0]) == theirs.bytes(both[1])
    assert taken > CASES / 20


# ---- JSON in other forms than it is printed in ----

class Varier:
    """Prints a message's JSON again: names as declared, numbers in quotes or as 1e3, enums by number, base64 of
    the other alphabet, null for what is unset, members in any order, escapes."""

    def __init__(self, maker):
        self.random = maker.random

    def often(self):
        return self.random.random() < 0.5

    def text(self, descriptor, value):
        return json.dumps(self.message(descriptor, value), ensure_ascii=self.often(),
                          indent=self.random.choice((None, 1)))

    def message(self, descriptor, value):
        if descriptor.full_name.startswith("google.protobuf."):
            return value
        fields = {each.json_name: each for each in descriptor.fields}
        members = [(name, self.field(fields[name], each)) if name in fields else (name, each)
                   for name, each in value.items()]
        members += [(name, None) for name, each in fields.items()
                    if name not in value and self.random.random() < 0.1 and not self.has_null(each)]
        self.random.shuffle(members)
        return {fields[name].name if name in fields and self.often() else name: each for name, each in members}

    def has_null(self, descriptor):
        """Whether null is more than unset (or, for lists of such, more than Python reads)."""
        return descriptor.label == descriptor.LABEL_REQUIRED or descriptor.name.rstrip("s") in ("value", "nothing")

    def field(self, descriptor, value):
        if descriptor.message_type and descriptor.message_type.GetOptions().map_entry:
            below = descriptor.message_type.fields_by_name["value"]
            members = list(value.items())
            self.random.shuffle(members)
            return {key: self.one(below, each) for key, each in members}
        if descriptor.label == descriptor.LABEL_REPEATED:
            return [self.one(descriptor, each) for each in value]
        return self.one(descriptor, value)

    def one(self, descriptor, value):
        if descriptor.message_type:
            return self.message(descriptor.message_type, value)
        if self.often() or value is None:
            return value
        if descriptor.cpp_type == descriptor.CPPTYPE_ENUM:
            return descriptor.enum_type.values_by_name[value].number if isinstance(value, str) else str(value)
        if descriptor.type == descriptor.TYPE_BYTES:
            value = base64.urlsafe_b64encode(base64.b64decode(value)).decode()
            return value.rstrip("=") if self.often() else value
        if descriptor.cpp_type in (descriptor.CPPTYPE_DOUBLE, descriptor.CPPTYPE_FLOAT):
            return value if isinstance(value, str) else repr(value)
        if isinstance(value, str) and descriptor.type != descriptor.TYPE_STRING:
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value) if self.often() and abs(value) < 2**31 else str(value)
        return value


@pytest.mark.parametrize("type_name", TYPES)
def test_json_in_other_forms(codec, theirs, type_name):
    for maker, made in cases(theirs, type_name, "vary"):
        text = Varier(maker).text(made.DESCRIPTOR, json.loads(theirs.write(made)))
        expected = theirs.read(type_name, text)
        read = codec.convert(type_name, JSON, text.encode(), WIRE)
        assert codec.convert(type_name, WIRE, read, WIRE) == expected == theirs.bytes(made), text


# ---- JSON that is wrong ----

TOKENS = ("null", "true", "1", "-1", "0", "1.5", "1e3", "2147483648", "-2147483649", "4294967296", "1e400",
          "18446744073709551616", '""', '"1"', '"x"', "{}", "[]", "[1]", '{"a":1}', '"1s"', '"2026-01-31T08:30:00Z"',
          '"RED"', '"0001-01-01T00:00:00Z"', '"-315576000001s"', '"\\ud800"', '"a,bC"', '"AQI"')
VALUE = re.compile(r'(?<=[:\[,])(?:null|true|false|-?[0-9][^,}\]]*|"(?:[^"\\]|\\.)*"(?!:))')

# What Python takes: any number or bool as an enum, 037 in quotes, a bool as a number, infinity in a Value, any
# characters in base64 and in field masks.
THEY_TAKE = re.compile(r"must be (the name of a value|a whole number|a number|a string of base64|a list of field paths)")
# What Python refuses: where unknown members are ignored, an unknown name of an enum in a list or map; null for an
# extension.
WE_TAKE = re.compile(r"Invalid enum value|Protocol message has no")


def spoil(maker, text):
    """Mostly a value of another kind, else a byte that belongs elsewhere."""
    values = list(VALUE.finditer(text))
    if values and maker.random.random() < 0.8:
        chosen = maker.random.choice(values)
        return text[:chosen.start()] + maker.random.choice(TOKENS) + text[chosen.end():]
    at = maker.random.randrange(len(text))
    return text[:at] + maker.random.choice('{}[]:,"x0 ') + text[at + 1:]


@pytest.mark.parametrize("type_name", TYPES)
def test_spoilt_json(codec, theirs, type_name):
    """Refused by both, or by one for a reason that is known, or the same to both."""
    taken = refused = 0
    for maker, made in cases(theirs, type_name, "spoil"):
        text = spoil(maker, json.dumps(json.loads(theirs.write(made)), separators=(",", ":")))
        ignore = maker.random.random() < 0.5
        ours, our_reason = outcome(lambda: codec.convert(type_name, JSON, text.encode(), WIRE, ignore), Refused)
        # json_format lets some errors of its own through.
        their, their_reason = outcome(lambda: theirs.read(type_name, text, ignore), json_format.ParseError,
                                      ValueError, AttributeError, OverflowError, TypeError)
        if ours is not None and their is not None:
            taken += 1
            assert codec.convert(type_name, WIRE, ours, WIRE) == their, text
        elif ours is not None:
            assert WE_TAKE.search(their_reason), (text, their_reason)
        elif their is not None:
            assert THEY_TAKE.search(our_reason), (text, our_reason)
        else:
            refused += 1
    assert taken > CASES / 20 and refused > CASES / 20
