"""Headers and metadata in both directions: binary ones, many of a name, limits; time-outs; traces."""
import base64
import contextlib
import re
import socket
import threading

import pytest

from gateway_fixture import SERVICE, FakeService, Gateway, Messages, RawUpstream, compile_demo, serving, wait_for_close, wait_until

SETTINGS = """    grpc_json_timeout 10s;
    grpc_json_request_header X-Colour;
    grpc_json_request_header X-Data-Bin;
    grpc_json_request_header X-Text x-text-bin;
    grpc_json_request_header X-Plain-Bin x-plain;
    grpc_json_request_header traceparent;
    grpc_json_response_header x-colour;
    grpc_json_response_header x-data-bin X-Data-Bin;
    grpc_json_response_header x-text-bin X-Text;
    grpc_json_response_header x-plain X-Plain-Bin;
    grpc_json_response_header set-cookie;
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    descriptor_set = compile_demo(tmp_path_factory.mktemp("demo"))
    with serving(descriptor_set, Messages(descriptor_set), {"    grpc_json_timeout 10s;\n": SETTINGS}) as gateway:
        yield gateway


class Call:
    def __init__(self, context):
        self.metadata = list(context.invocation_metadata())
        self.remaining = context.time_remaining()

    def all(self, name):
        return [value for key, value in self.metadata if key == name]


def calls_of(world, initial=(), trailing=()):
    """Makes the service answer so, and returns the list of its calls."""
    seen = []

    def answer(request, context):
        seen.append(Call(context))
        context.send_initial_metadata(initial)
        context.set_trailing_metadata(trailing)
        return world.messages.new("demo.v1.GetItemResponse")

    world.service.answers[SERVICE + "GetItem"] = answer
    return seen


def raw_get(world, *lines):
    head = b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return world.raw(head + b"".join(line + b"\r\n" for line in lines) + b"\r\n")[0]


# ---- to the service ----


def test_lines_of_a_header_stay_apart(world):
    seen = calls_of(world)
    assert raw_get(world, b"X-Colour: red", b"X-Colour: green, blue").status == 200
    assert seen[0].all("x-colour") == ["red", "green, blue"]


@pytest.mark.parametrize("text", ["aGk=", "aGk", "_-8", "/+8=", "", "AAECAw=="])
def test_binary_header(world, text):
    seen = calls_of(world)
    assert raw_get(world, b"X-Data-Bin: " + text.encode()).status == 200
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    assert seen[0].all("x-data-bin") == [base64.b64decode(plain + "=" * (-len(plain) % 4))]


def test_binary_headers_joined(world):
    seen = calls_of(world)
    assert raw_get(world, b"X-Data-Bin: YQ==, Yg", b"X-Data-Bin: Yw").status == 200
    assert seen[0].all("x-data-bin") == [b"a", b"b", b"c"]


@pytest.mark.parametrize("text", [b"a", b"a===", b"YQ=YQ", b"Y Q", b"\xff", b"*"])
def test_damaged_binary_header(world, text):
    seen = calls_of(world)
    answer = raw_get(world, b"X-Data-Bin: " + text)
    assert answer.status == 400
    assert answer.errors() == {"x-data-bin": ["must be base64"]}
    assert not seen


@pytest.mark.parametrize("text", ["grün".encode(), b"\xff", b"a\tb", b"a\x7f"])
@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key", "Accept-Language"])
def test_header_that_cannot_be_metadata(world, name, text):
    """Other text in its place would be another caller's token, or another call's key."""
    seen = calls_of(world)
    answer = raw_get(world, name.encode() + b": " + text)
    assert answer.status == 400
    assert answer.errors() == {name.lower(): ["must be printable ASCII"]}
    assert not seen


def test_text_that_becomes_bytes(world):
    seen = calls_of(world)
    assert raw_get(world, b"X-Text: gr\xc3\xbcn, \xff").status == 200
    assert seen[0].all("x-text-bin") == [b"gr\xc3\xbcn, \xff"]


def test_bytes_that_become_text(world):
    seen = calls_of(world)
    assert raw_get(world, b"X-Plain-Bin: " + base64.b64encode(b"a b")).status == 200
    assert seen[0].all("x-plain") == ["a b"]
    assert raw_get(world, b"X-Plain-Bin: " + base64.b64encode(b"a\r\nb: c")).status == 400
    assert len(seen) == 1


def test_two_tokens_are_refused(world):
    seen = calls_of(world)
    answer = raw_get(world, b"Authorization: Bearer a", b"Authorization: Bearer b")
    assert answer.status == 400
    # nginx refuses some doubled headers by itself.
    assert set(answer.errors()) <= {"authorization", "request"}
    assert not seen


def test_binary_headers_count_as_they_are_sent(world):
    seen = calls_of(world)
    assert raw_get(world, b"X-Text: " + b"a" * 6000).status == 431
    assert raw_get(world, b"X-Text: " + b"a" * 4500).status == 200
    assert len(seen) == 1


# ---- to the client ----


def test_metadata_of_one_name_stay_apart(world):
    calls_of(world, initial=(("x-colour", "red"), ("set-cookie", "a=1")), trailing=(("x-colour", "blue"), ("set-cookie", "b=2")))
    answer = world.get("/demo/items/a")
    assert answer.headers.get_all("X-Colour") == ["red", "blue"]
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_binary_metadata(world, data):
    calls_of(world, initial=(("x-data-bin", data),), trailing=(("x-data-bin", b"late"),))
    values = world.get("/demo/items/a").headers.get_all("X-Data-Bin")
    assert values == [base64.b64encode(data).decode(), "bGF0ZQ=="]


def test_binary_metadata_as_text(world):
    calls_of(world, trailing=(("x-text-bin", "grün".encode()), ("x-text-bin", b"a\r\nX-Evil: 1"), ("x-text-bin", b"\xff")))
    answer = world.get("/demo/items/a")
    assert [v.encode("latin-1") for v in answer.headers.get_all("X-Text")] == ["grün".encode()]
    assert answer.headers["X-Evil"] is None


def test_text_metadata_as_bytes(world):
    calls_of(world, trailing=(("x-plain", "a b"),))
    assert world.get("/demo/items/a").headers["X-Plain-Bin"] == base64.b64encode(b"a b").decode()


def test_too_much_metadata_of_the_service(world):
    calls_of(world, initial=(("x-colour", "a" * 4500),), trailing=(("x-colour", "a" * 3500),))
    assert world.get("/demo/items/a").status == 200
    calls_of(world, initial=(("x-colour", "a" * 4500),), trailing=(("x-colour", "a" * 3700),))
    answer = world.get("/demo/items/a")
    assert answer.status == 502
    assert answer.errors() == {"service": ["gave no usable answer"]}
    assert answer.headers["X-Colour"] is None


@pytest.mark.parametrize("name", ["grpc-status", "content-type", "te", "ETag", "Content-Length", "Connection", "Date", "Transfer-Encoding"])
def test_headers_that_are_not_the_services(world, tmp_path, name):
    gateway = Gateway(world.descriptor_set, {"    grpc_json_timeout 10s;\n": f"    grpc_json_response_header x-any {name};\n"})
    result = gateway.test_config()
    assert result.returncode != 0 and "must not name a header" in result.stderr
    gateway.stop()


# ---- time ----


@pytest.mark.parametrize("text, at_most", [("8", 8), ("7.25", 7.25), ("60", 10), ("999999999", 10), ("6.0005", 6.001)])
def test_request_timeout(world, text, at_most):
    seen = calls_of(world)
    assert world.get("/demo/items/a", headers={"Request-Timeout": text}).status == 200
    assert 0 < seen[0].remaining <= at_most


@pytest.mark.parametrize("text", ["0", "-1", "1s", "", "1.", ".5", "1e3", "inf", "1000000000", "1, 2", "0.0"])
def test_bad_request_timeout(world, text):
    seen = calls_of(world)
    answer = world.get("/demo/items/a", headers={"Request-Timeout": text})
    assert answer.status == 400
    assert answer.errors() == {"requestTimeout": ["must be a number of seconds"]}
    assert not seen


def test_two_request_timeouts(world):
    assert raw_get(world, b"Request-Timeout: 1", b"Request-Timeout: 1").status == 400


def test_request_timeout_ends_a_call(world):
    """Also of a service that does not look at its deadline."""
    gateway = Gateway(world.descriptor_set)
    upstream = RawUpstream(gateway.socket_path("chat"), lambda connection, stream: wait_for_close(connection))
    gateway.start()
    try:
        answer = gateway.get("/demo/items/a", headers={"Request-Timeout": "0.1"})
    finally:
        upstream.stop()
        gateway.stop()
    assert answer.status == 504
    assert answer.errors() == {"service": ["took too long"]}


@pytest.mark.parametrize("configured, least, most", (("", 0, 60), ("    grpc_json_timeout 0;\n", 86400, None)))
def test_without_a_configured_timeout(world, configured, least, most):
    """A call has a minute by default; where there is no limit, a caller's counts up to a day."""
    gateway = Gateway(world.descriptor_set, {"    grpc_json_timeout 10s;\n": configured})
    service = FakeService(world.messages, gateway.socket_path("chat"))
    seen = []

    def answer(request, context):
        seen.append(context.time_remaining())
        return world.messages.new("demo.v1.GetItemResponse")

    service.answers[SERVICE + "GetItem"] = answer
    gateway.start()
    try:
        assert gateway.get("/demo/items/a").status == 200
        assert gateway.get("/demo/items/a", headers={"Request-Timeout": "999999999"}).status == 200
    finally:
        service.stop()
        gateway.stop()
    if most:
        assert least < seen[0] <= most and least < seen[1] <= most
    else:
        assert seen[0] is None or seen[0] > 86400 * 365
        assert 0 < seen[1] <= least


# ---- traces ----

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def trace_of(call):
    """(trace id, span id, flags) of the one traceparent of a call."""
    values = call.all("traceparent")
    assert len(values) == 1
    match = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", values[0])
    assert match and match[1].strip("0") and match[2].strip("0")
    return match.groups()


@pytest.mark.parametrize("flags, passed", [("01", "01"), ("00", "00"), ("ff", "01")])
def test_trace_is_continued(world, flags, passed):
    seen = calls_of(world)
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}", "tracestate": "a=1, b@c=2"}
    answer = world.get("/demo/items/a", headers=headers)
    trace, span, got = trace_of(seen[0])
    assert trace == TRACE and span != SPAN and got == passed
    assert seen[0].all("tracestate") == ["a=1,b@c=2"]
    entry = world.wait_for_log(lambda e: e["request_id"] == answer.headers["X-Request-Id"])
    assert entry["trace_id"] == TRACE and entry["span_id"] == span


def test_trace_of_a_later_version(world):
    seen = calls_of(world)
    world.get("/demo/items/a", headers={"traceparent": f"cc-{TRACE}-{SPAN}-01-more"})
    assert trace_of(seen[0])[0] == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
    ],
)
def test_trace_is_made(world, parent):
    seen = calls_of(world)
    headers = {"tracestate": "a=1", **({} if parent is None else {"traceparent": parent})}
    for _ in range(2):
        answer = world.get("/demo/items/a", headers=headers)
    (first, one, flags), (second, two, _) = map(trace_of, seen)
    assert first != second and TRACE not in (first, second) and one != two and flags == "01"
    assert not seen[0].all("tracestate")  # a state belongs to its parent
    entry = world.wait_for_log(lambda e: e["request_id"] == answer.headers["X-Request-Id"])
    assert entry["trace_id"] == second


def test_two_parents_are_none(world):
    seen = calls_of(world)
    raw_get(world, f"traceparent: 00-{TRACE}-{SPAN}-01".encode(), f"traceparent: 00-{TRACE}-{SPAN}-01".encode())
    assert trace_of(seen[0])[0] != TRACE


def test_lines_of_a_state_belong_together(world):
    seen = calls_of(world)
    parent = f"traceparent: 00-{TRACE}-{SPAN}-01".encode()
    raw_get(world, parent, b"tracestate: a=1", b"tracestate: b=2")
    raw_get(world, parent, b"tracestate: a=1", b"tracestate: a=2")
    assert seen[0].all("tracestate") == ["a=1,b=2"]
    assert trace_of(seen[1])[0] == TRACE and not seen[1].all("tracestate")


def test_many_lines_of_a_header_cost_what_they_are(world):
    """Requests that stay for long: the memory of each follows its bytes, not the square of its lines."""
    lines = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" + b"tracestate:abcdefghijkl\r\n" * 900
    request = b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n"
    finish = threading.Event()
    arrived = []

    def answer(*_):
        arrived.append(1)
        finish.wait(30)
        return world.messages.new("demo.v1.GetItemResponse")

    world.service.answers[SERVICE + "GetItem"] = answer
    before = world.private_kb()
    with contextlib.ExitStack() as stack:
        stack.callback(finish.set)
        for _ in range(24):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", world.port)))
            s.sendall(request)
        wait_until(lambda: len(arrived) == 24)
        used = world.private_kb() - before
    assert used < 24 * 512, used


def test_refused_requests_have_a_trace_too(world):
    answer = world.get("/nope", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    entry = world.wait_for_log(lambda e: e["request_id"] == answer.headers["X-Request-Id"])
    assert entry["status"] == "404" and entry["trace_id"] == TRACE
    world.raw(b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert world.wait_for_log(lambda e: e["status"] == "400" and e["trace_id"])["trace_id"] != TRACE


def test_request_id_is_echoed_on_every_answer(world):
    calls_of(world)
    for path, headers in (("/demo/items/a", {}), ("/nope", {}), ("/demo/items/a", {"Request-Timeout": "x"})):
        assert world.get(path, headers={"X-Request-Id": "mine", **headers}).headers["X-Request-Id"] == "mine"
