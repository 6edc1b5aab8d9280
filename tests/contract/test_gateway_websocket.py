"""WebSockets through the gateway: the handshake, frames right and wrong, messages of JSON and of bytes, what the
RPC's end becomes. Upstream is the test server (tests/testserver). test_gateway_websocket_life.py has clients and
services that stall, leave or die, test_gateway_websocket_clients.py real clients."""
import contextlib
import ctypes
import errno
import json
import os
import random
import socket
import stat
import struct
import zlib

import httpx
import pytest
from gateway_fixture import TestGateway, wait_until
from websocket_fixture import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Refused, Socket, close_frame, frame


@pytest.fixture
def echo(test_gateway):
    with Socket(test_gateway.port, "/test/echo") as s:
        yield s


@pytest.fixture
def raw(test_gateway):
    with Socket(test_gateway.port, "/test/echo/raw") as s:
        yield s


def refused(port, path="/test/echo", **headers):
    """What a handshake is refused with: (status, errors)."""
    with pytest.raises(Refused) as got:
        Socket(port, path, {name.replace("_", "-"): value for name, value in headers.items()})
    problem = json.loads(got.value.body)
    assert got.value.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == got.value.status
    return got.value.status, problem["errors"]


# ---- the handshake ----


def test_handshake(test_gateway, echo):
    assert echo.response.reason == "Switching Protocols"
    assert echo.headers["X-Request-Id"]
    for absent in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding"):
        assert absent not in echo.headers
    entry = test_gateway.wait_for_log(lambda e: e["rpc"] == "/stoa.test.v1.EchoService/Chat")
    assert entry["status"] == "101"


def socket_of(pids, port):
    """What one of these processes has towards this port of a client, for looking."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.ExitStack() as opened:
        for pid in pids:
            process = os.pidfd_open(pid)
            opened.callback(os.close, process)
            for number in os.listdir(f"/proc/{pid}/fd"):
                fd = libc.syscall(438, process, int(number), 0)  # pidfd_getfd
                if fd < 0 and ctypes.get_errno() == errno.EPERM:
                    pytest.skip("this system lets nobody look at another process's sockets")
                if fd < 0:
                    continue  # closed meanwhile
                opened.callback(os.close, fd)
                if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                    continue
                s = socket.socket(fileno=os.dup(fd))
                with contextlib.suppress(OSError):  # not connected
                    if s.family == socket.AF_INET and s.getpeername()[1] == port:
                        return s
                s.close()
    raise LookupError(port)


def test_messages_do_not_wait_for_each_other(test_gateway, echo):
    """Without this a second one goes when the client's system has acknowledged the first, 40 ms later."""
    with socket_of(test_gateway.worker_pids(), echo.socket.getsockname()[1]) as s:
        assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_header_names_and_lists_in_any_case(test_gateway):
    headers = {"Upgrade": "foo, WebSocket", "Connection": ["keep-alive", "x,UPGRADE"]}
    with Socket(test_gateway.port, "/test/echo", headers) as s:
        assert s.close() == 1000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_plain_request(test_gateway, method):
    connection = test_gateway.connect()
    for _ in range(2):  # the connection stays usable
        connection.request(method, "/test/echo")
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 426 and answer.reason == "Upgrade Required"
        assert answer.headers["Upgrade"] == "websocket"
        assert "upgrade" in ", ".join(answer.headers.get_all("Connection")).lower()
        assert answer.headers["Sec-WebSocket-Version"] == "13"
        assert method == "HEAD" or json.loads(body)["errors"] == {"upgrade": ["must be websocket, over HTTP/1.1"]}


def test_other_methods(test_gateway):
    answer = test_gateway.post("/test/echo", {})
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("version", ["8", "0", "", "13, 8", None])
def test_other_versions(test_gateway, version):
    with pytest.raises(Refused) as got:
        Socket(test_gateway.port, "/test/echo", {"Sec-WebSocket-Version": version})
    assert got.value.status == 426 and got.value.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize("headers", [{"Upgrade": None}, {"Upgrade": "h2c"}, {"Connection": "keep-alive"}])
def test_no_upgrade(test_gateway, headers):
    assert refused(test_gateway.port, **headers)[0] == 426


def test_http_1_0(test_gateway):
    request = b"GET /test/echo HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    assert test_gateway.raw(request)[0].status == 426


def test_http_2():
    """It has a way of its own, which nginx has not; and no headers of HTTP/1.1."""
    gateway = TestGateway({" default_server;": " default_server http2;"})
    try:
        gateway.start()
        with httpx.Client(http1=False, http2=True, trust_env=False) as client:
            answer = client.get(f"http://127.0.0.1:{gateway.port}/test/echo")
        assert answer.status_code == 426 and answer.json()["errors"]
        assert "Upgrade" not in answer.headers and "Connection" not in answer.headers
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    "key", [None, "", "short", "dGhlIHNhbXBsZSBub25jZ", "dGhlIHNhbXBsZSBub25jZTEyMw==", "dGhlIHNhbXBsZSBub25jZQ==" * 2,
            "!GhlIHNhbXBsZSBub25jZQ==", ["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="]])
def test_bad_key(test_gateway, key):
    assert refused(test_gateway.port, Sec_WebSocket_Key=key) == (
        400, {"secWebsocketKey": ["must be 16 bytes in base64"]})


@pytest.mark.parametrize("headers", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}])
def test_body(test_gateway, headers):
    """Bytes behind the header are frames. What would make a body of them is no handshake."""
    with pytest.raises(Refused) as got:
        Socket(test_gateway.port, "/test/echo", headers, early=b"0\r\n\r\n")
    assert got.value.status == 400


def test_early_frames(test_gateway):
    """Frames that a client sends without waiting for the 101, behind headers of any size."""
    early = frame(TEXT, '{"message":"early"}') + frame(PING, b"p") + frame(TEXT, '{"message":"bird"}')
    for padding in (0, 3000):
        with Socket(test_gateway.port, "/test/echo", {"X-Padding": "x" * padding}, early=early) as s:
            got = sorted(s.receive() for _ in range(3))
            assert got == [(TEXT, b'{"message":"bird"}'), (TEXT, b'{"message":"early"}'), (PONG, b"p")]
            assert s.close() == 1000


def test_handshake_after_other_requests(test_gateway):
    """On a connection that has served requests, one of them in the same packet."""
    plain = b"GET /test/count?count=1 HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n"
    s = Socket.__new__(Socket)
    s.key = "dGhlIHNhbXBsZSBub25jZQ=="
    s.socket = socket.create_connection(("127.0.0.1", test_gateway.port), timeout=30)
    upgrade = (f"GET /test/echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {s.key}\r\n\r\n").encode()
    s.socket.sendall(plain + upgrade)
    reader = s.socket.makefile("rb")
    while reader.readline() != b"0\r\n":
        pass
    assert reader.readline() == b"\r\n" and reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
    while reader.readline() != b"\r\n":
        pass
    s.reader = reader
    s.send(TEXT, '{"message":"late"}')
    assert s.message() == '{"message":"late"}'
    s.close()


# ---- pages of other origins ----


@pytest.fixture(scope="module")
def shared():
    gateway = TestGateway({"grpc_json on;": "grpc_json on; grpc_json_cors https://app.example.com http://localhost:*;"})
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@pytest.mark.parametrize("origin", [None, "https://app.example.com", "http://localhost:5173", "http://{host}", "https://{host}"])
def test_origin(shared, origin):
    host = f"127.0.0.1:{shared.port}"
    with Socket(shared.port, "/test/echo", {"Origin": origin.format(host=host) if origin else None}) as s:
        assert s.close() == 1000


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "https://app.example.com.evil.org", "http://127.0.0.1", "", "x",
               ["https://app.example.com", "https://app.example.com"]])
def test_foreign_origin(shared, origin):
    assert refused(shared.port, Origin=origin) == (403, {"origin": ["is not allowed"]})


def test_any_origin():
    gateway = TestGateway({"grpc_json on;": "grpc_json on; grpc_json_cors *;"})
    try:
        with Socket(gateway.start().port, "/test/echo", {"Origin": "https://anywhere.example"}) as s:
            assert s.close() == 1000
    finally:
        gateway.stop()


# ---- subprotocols and extensions ----


@pytest.mark.parametrize(
    ("offer", "chosen"), [("test.v1", "test.v1"), ("x, test.v1", "test.v1"), (["x", "test.v1,y"], "test.v1"),
                          ("bearer.abc.def-_, test.v1", "test.v1"), ("x, y", None), ("TEST.V1", None), ("bearer.abc", None)])
def test_subprotocol(test_gateway, offer, chosen):
    with Socket(test_gateway.port, "/test/echo", {"Sec-WebSocket-Protocol": offer}) as s:
        assert s.headers["Sec-WebSocket-Protocol"] == chosen
        assert s.close() == 1000


@pytest.mark.parametrize("offer", ["a b", "a/b", "\x7f", "bearer., x", "bearer.a, bearer.b"])
def test_bad_subprotocol(test_gateway, offer):
    status, errors = refused(test_gateway.port, Sec_WebSocket_Protocol=offer)
    assert status == 400 and list(errors) == ["secWebsocketProtocol"]


def test_token_twice(test_gateway):
    """Which of two would the service believe?"""
    headers = {"Authorization": "Bearer one", "Sec_WebSocket_Protocol": "test.v1, bearer.two"}
    assert refused(test_gateway.port, **headers) == (400, {"authorization": ["must be there once"]})


def test_bad_extension(test_gateway):
    assert refused(test_gateway.port, Sec_WebSocket_Extensions="permessage-deflate; =")[0] == 400


def test_deflate(test_gateway):
    offer = {"Sec-WebSocket-Extensions": "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits"}
    text = json.dumps({"message": "all the same " * 1000}, separators=(",", ":"))
    deflate = zlib.compressobj(wbits=-15)
    payload = (deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    with Socket(test_gateway.port, "/test/echo", offer) as s:
        assert s.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        s.send(TEXT, payload, rsv=4)
        head = s.reader.read(2)
        assert head[0] == 0xc1, "compressed text"
        n = head[1] if head[1] < 126 else struct.unpack(">H", s.reader.read(2))[0]
        assert n < 1000
        assert zlib.decompressobj(wbits=-15).decompress(s.reader.read(n) + b"\0\0\xff\xff").decode() == text
        s.send(TEXT, '{"message":"short"}')
        assert s.message() == '{"message":"short"}', "what gains nothing stays as it is"
        assert s.close() == 1000


def test_deflate_off():
    gateway = TestGateway({"grpc_json_websocket_deflate on;": ""})
    try:
        with Socket(gateway.start().port, "/test/echo", {"Sec-WebSocket-Extensions": "permessage-deflate"}) as s:
            assert "Sec-WebSocket-Extensions" not in s.headers
            s.send(TEXT, b"abc", rsv=4)
            assert s.ends()[0] == 1002
    finally:
        gateway.stop()


# ---- before the 101 ----


def test_bad_parameter(test_gateway):
    assert refused(test_gateway.port, "/test/echo?number=x") == (
        422, {"number": ["must be a whole number from -9223372036854775808 to 9223372036854775807"]})


def test_unknown_path(test_gateway):
    assert refused(test_gateway.port, "/test/echo/nothing")[0] == 404


def test_off():
    gateway = TestGateway({"grpc_json_websocket test;": ""})
    try:
        assert refused(gateway.start().port)[0] == 501
    finally:
        gateway.stop()


def test_unknown_upstream():
    gateway = TestGateway({"grpc_json_websocket test;": "grpc_json_websocket $arg_upstream;"})
    try:
        gateway.start()
        with Socket(gateway.port, "/test/echo?upstream=test") as s:
            assert s.close() == 1000
        assert refused(gateway.port, "/test/echo?upstream=other") == (502, {"service": ["gave no usable answer"]})
    finally:
        gateway.stop()


def test_no_service():
    gateway = TestGateway({"grpc_json_websocket test;": "grpc_json_websocket test; grpc_json_websocket_open_timeout 1h;"})
    try:
        gateway.start()
        gateway.stop_server()
        assert refused(gateway.port) == (502, {"service": ["gave no usable answer"]})
        gateway.start_server()

        def works():  # it is asked again after a moment
            try:
                return Socket(gateway.port, "/test/echo").close() == 1000
            except Refused:
                return False

        assert wait_until(works)
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    ("old", "new", "error"), [
        ("grpc_json_websocket test;", "grpc_json_websocket test; grpc_json_websocket off;", "is duplicate"),
        ("grpc_json_websocket test;", "grpc_json_websocket nowhere.invalid;", "no port in upstream"),
        ("websocket_protocol test.v1;", "websocket_protocol a/b;", "wants names of subprotocols"),
        ("websocket_protocol test.v1;", "websocket_protocol bearer.x;", "wants names of subprotocols"),
        ("websocket_message_limit 16m;", "websocket_message_limit 33m;", "32m is the most")])
def test_bad_configuration(old, new, error):
    gateway = TestGateway({old: new})
    try:
        got = gateway.test_config()
        assert got.returncode and error in got.stderr
    finally:
        gateway.stop()


# ---- messages of JSON ----


def test_messages(echo):
    for message in ({"message": "ü"}, {"number": "9223372036854775807"}, {"data": "AAEC"}, {"extra": {"a": [1, None]}}):
        echo.send(TEXT, json.dumps(message))
        assert json.loads(echo.message()) == message
    echo.send(TEXT, "{}")
    assert echo.message() == "{}"
    echo.send(TEXT, ' {"unknown": 1, "message": "known"} ')
    assert echo.message() == '{"message":"known"}'
    assert echo.close() == 1000


@pytest.mark.parametrize("text", ["{", "nonsense", '{"message":"x"} 1', '{"message":"\\ud800"}', '{"a":', "[1,]"])
def test_no_json(echo, text):
    echo.send(TEXT, text)
    code, reason = echo.ends()
    assert code == 1007 and reason


@pytest.mark.parametrize(
    ("text", "reason"), [
        ('{"extra": 5}', "extra: must be an object"), ("[]", "must be an object"), ("1", "must be an object"),
        ('{"message": 1}', "message: must be a string"), ('{"data": "*"}', "data: must be a string of base64")])
def test_json_of_another_shape(echo, text, reason):
    echo.send(TEXT, text)
    assert echo.ends() == (4003, reason)


def test_binary_is_no_json(echo):
    echo.send(BINARY, b'{"message":"x"}')
    assert echo.ends()[0] == 1003


def test_query_belongs_to_the_first_message(test_gateway):
    with Socket(test_gateway.port, "/test/echo?number=7&message=from%20the%20query") as s:
        s.send(TEXT, '{"message": "first", "data": "AA=="}')
        assert json.loads(s.message()) == {"message": "from the query", "number": "7", "data": "AA=="}
        s.send(TEXT, '{"message": "second"}')
        assert json.loads(s.message()) == {"message": "second"}
        assert s.close() == 1000


def test_end_of_messages(test_gateway):
    """A client stream: one response, and the end. The client says by an empty message that it has no more."""
    with Socket(test_gateway.port, "/test/collect") as s:
        for _ in range(3):
            s.send(TEXT, '{"message": "abc"}')
        s.send(TEXT, "")
        assert json.loads(s.message()) == {"messages": "3", "bytes": "9"}
        assert s.ends() == (1000, "")


def test_close_is_the_end_of_messages(test_gateway):
    """The same by a Close, which the response still comes before."""
    with Socket(test_gateway.port, "/test/collect") as s:
        s.send(TEXT, '{"message": "abc"}')
        s.raw(close_frame(1000))
        assert json.loads(s.message()) == {"messages": "1", "bytes": "3"}
        assert s.code() == (1000, "")
        assert s.receive() is None


def test_nothing_after_the_end_of_messages(test_gateway):
    with Socket(test_gateway.port, "/test/collect") as s:
        s.raw(frame(TEXT, "") + frame(TEXT, "{}"))
        got = s.receive()
        while got[0] != CLOSE:
            got = s.receive()
        assert struct.unpack(">H", got[1][:2])[0] in (1008, 1000)


@pytest.mark.parametrize("code", range(1, 17))
def test_status(echo, code):
    """The RPC's status is the close code; what a service says about failures of its own stays inside."""
    own = {2: "Internal Server Error", 4: "Gateway Timeout", 12: "Not Implemented", 13: "Internal Server Error",
           14: "Service Unavailable", 15: "Internal Server Error"}
    echo.send(TEXT, json.dumps({"message": f"fail {code}"}))
    assert echo.ends() == (4000 + code, own.get(code, "as you wish"))


def test_status_ok(echo):
    echo.send(TEXT, '{"message": "bye"}')
    assert echo.ends() == (1000, "")


# ---- raw messages ----


def test_raw_messages(raw):
    for text in ("", "x", "ü€😀", "x" * 200000):
        raw.send(TEXT, text)
        assert raw.message() == text
    for data in (b"", b"\0\xff", bytes(range(256)) * 1000):
        raw.send(BINARY, data, mask=b"\x01\x02\x03\x04" if len(data) < 1000 else b"\0\0\0\0")
        assert raw.message() == data
    assert raw.close() == 1000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_16_mebibytes(raw, opcode):
    payload = b"0123456789abcdef" * (1 << 20)
    raw.send(opcode, payload)
    got, back = raw.receive()
    assert got == opcode and back == payload
    assert raw.close() == 1000


@pytest.mark.parametrize(("opcode", "n", "size"), [(TEXT, 65536, 64), (BINARY, 40000, 1), (BINARY, 256, 65536)])
def test_fragments(raw, opcode, n, size):
    """Tens of thousands of them, the last of which may be empty."""
    part = b"f" * size
    frames = [frame(opcode, part, fin=False)] + [frame(CONTINUATION, part, fin=False)] * (n - 1) + [frame(CONTINUATION)]
    raw.raw(b"".join(frames))
    assert raw.receive() == (opcode, part * n)
    assert raw.close() == 1000


def test_control_frames_between_fragments(raw):
    raw.raw(frame(TEXT, "one ", fin=False) + frame(PING, b"a") + frame(CONTINUATION, "two ", fin=False) +
            frame(PONG, b"unasked") + frame(PING, b"b" * 125) + frame(CONTINUATION, "three"))
    got = [raw.receive() for _ in range(3)]
    assert got == [(PONG, b"a"), (PONG, b"b" * 125), (TEXT, b"one two three")]
    assert raw.close() == 1000


def test_bytes_one_by_one(raw):
    for data in frame(TEXT, "slow", fin=False, mask=b"abcd"), frame(PING, b"p", mask=b"\xff\0\0\1"), frame(CONTINUATION, "ly"):
        for i in range(len(data)):
            raw.raw(data[i : i + 1])
    assert (raw.receive(), raw.receive()) == ((PONG, b"p"), (TEXT, b"slowly"))


def test_random_pieces(test_gateway):
    """Messages and controls of all sizes, cut into fragments and packets at random."""
    random_of = random.Random(6455)
    for _ in range(10):
        wanted, sent = [], b""
        for _ in range(50):
            payload = random_of.randbytes(random_of.choice((0, 1, 125, 126, 127, 4096, 65535, 65536)))
            cuts = sorted(random_of.randrange(len(payload) + 1) for _ in range(random_of.randrange(4)))
            parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
            for i, part in enumerate(parts):
                sent += frame(CONTINUATION if i else BINARY, part, fin=i == len(parts) - 1)
                if random_of.random() < 0.2:
                    sent += frame(PONG, b"x")
            wanted.append(payload)
        with Socket(test_gateway.port, "/test/echo/raw") as s:
            while sent:
                n = random_of.choice((1, 2, 3, 14, 1000, 100000))
                s.raw(sent[:n])
                sent = sent[n:]
            assert [s.message() for _ in wanted] == wanted
            assert s.close() == 1000


# ---- frames that break the protocol ----


@pytest.mark.parametrize(
    ("data", "code"), [
        pytest.param(frame(TEXT, "x", mask=None), 1002, id="unmasked"),
        pytest.param(frame(TEXT, "x", rsv=1), 1002, id="rsv3"),
        pytest.param(frame(TEXT, "x", rsv=4), 1002, id="rsv1 without the extension"),
        pytest.param(frame(3), 1002, id="opcode 3"),
        pytest.param(frame(11), 1002, id="opcode 11"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(frame(PING, fin=False), 1002, id="ping in fragments"),
        pytest.param(frame(CONTINUATION, "x"), 1002, id="continuation of nothing"),
        pytest.param(frame(TEXT, "x", fin=False) + frame(TEXT, "y"), 1002, id="text within text"),
        pytest.param(b"\x81\xfe\0\1\0\0\0\0x", 1002, id="length that is too long, 16 bits"),
        pytest.param(b"\x81\xff\0\0\0\0\0\0\0\1\0\0\0\0x", 1002, id="length that is too long, 64 bits"),
        pytest.param(b"\x82\xff\xff" + b"\0" * 11, 1002, id="length of 64 bits with the first set"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="no UTF-8"),
        pytest.param(frame(TEXT, b"\xc3"), 1007, id="half a character"),
        pytest.param(frame(TEXT, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(frame(TEXT, b"ok \xf4\x90", fin=False), 1007, id="wrong before the end"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="close with one byte"),
        pytest.param(frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007, id="reason that is not UTF-8"),
        pytest.param(frame(BINARY, b"x" * 10)[:2].replace(b"\x8a", b"\xff") + struct.pack(">Q", (16 << 20) + 1) + b"\0" * 4,
                     1009, id="too large, by its header"),
    ])
def test_broken_frame(raw, data, code):
    raw.raw(data)
    got, reason = raw.code()
    assert got == code and reason
    assert raw.receive() is None


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_with_a_code_that_is_none(raw, code):
    raw.raw(close_frame(code))
    assert raw.code()[0] == 1002
    assert raw.receive() is None


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
def test_close_is_answered_alike(raw, code):
    assert raw.close(code) == code


def test_close_without_a_code(raw):
    raw.raw(close_frame())
    assert raw.code() == (1000, "")
    assert raw.receive() is None


def test_too_large_in_fragments(raw):
    part = frame(BINARY, b"x" * (8 << 20), fin=False)
    raw.raw(part)
    raw.raw(frame(CONTINUATION, b"x" * (8 << 20), fin=False))
    raw.raw(frame(CONTINUATION, b"x"))
    assert raw.code()[0] == 1009


def test_bomb(test_gateway):
    """Kilobytes that would be gigabytes."""
    deflate = zlib.compressobj(wbits=-15)
    payload = deflate.compress(b"\0" * (64 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with Socket(test_gateway.port, "/test/echo/raw", {"Sec-WebSocket-Extensions": "permessage-deflate"}) as s:
        s.send(BINARY, payload[:-4], rsv=4)
        assert s.code()[0] == 1009


def test_garbage(test_gateway):
    random_of = random.Random(1)
    for _ in range(100):
        with Socket(test_gateway.port, "/test/echo/raw") as s:
            s.raw(random_of.randbytes(random_of.randrange(1, 300)))
            if random_of.random() < 0.5:
                s.raw(close_frame(1000))
