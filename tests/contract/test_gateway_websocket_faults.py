"""WebSockets when memory runs out: each allocation of a session's life fails once (tests/faults). The client gets
its answers up to there, and then a Close frame that says whose fault it is, a problem in place of the 101, or a
closed connection; the worker lives, keeps nothing, and the next session is as before."""
import http.client
import json
import re
import ssl
import struct
import zlib

import pytest
from faults_fixture import FROM, NOT_THE_CLIENTS_FAULT, ONCE, FaultGateway, each_place, http1, problem_status
from gateway_fixture import wait_until
from websocket_fixture import BINARY, CLOSE, CONTINUATION, PING, TEXT, Refused, Socket, close_frame, frame

# What a session may be closed with then: an internal error, or the loss of the connection that it shares.
NOT_THE_CLIENTS_CODE = (1011, 1012)
CUT = "cut"


@pytest.fixture(scope="module")
def gateway(certificate):
    gateway = FaultGateway(certificate)
    websocket = "grpc_json_websocket test;"
    gateway.write_config({websocket: websocket + "grpc_json_websocket_open_timeout 10ms; grpc_json_websocket_attach_timeout 200ms;"})
    try:
        yield gateway.start()
        wait_until(lambda: sessions(gateway) == 0)
    finally:
        gateway.stop()


def sessions(gateway):
    """How many WebSockets the gateway has open."""
    lines = re.findall(r"^grpc_json_sessions_open\{.*\} (\d+)$", gateway.get("/metrics").body.decode(), re.M)
    assert lines
    return sum(map(int, lines))


# ---- what a client does and sees ----


def receive(websocket):
    try:
        received = websocket.receive()
    except (AssertionError, ConnectionError, struct.error, ssl.SSLError):
        return CUT  # in the middle of a frame
    if received is None:
        return CUT
    opcode, payload = received
    if opcode != CLOSE:
        # Without memory for compressing, a message goes as it is.
        if websocket.compressed:
            payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
        return opcode, zlib.crc32(payload), len(payload)
    return CLOSE, struct.unpack(">H", payload[:2])[0] if payload else None, payload[2:]


def play(websocket, steps):
    """What is seen of the steps: bytes to be sent, and a number of frames to wait for."""
    told = [(101, websocket.headers["Sec-WebSocket-Protocol"], websocket.headers["Sec-WebSocket-Extensions"])]
    for step in steps:
        if isinstance(step, bytes):
            try:
                websocket.raw(step)
            except (ConnectionError, ssl.SSLError):
                pass  # what was said before can still be read
            continue
        for _ in range(step):
            told.append(receive(websocket))
            if told[-1] == CUT:
                return told
            if told[-1][0] == CLOSE:
                try:
                    websocket.raw(close_frame(1000))
                except (ConnectionError, ssl.SSLError):
                    pass
                return told + [receive(websocket)]
    return told


def story(port, path, *steps, headers=None, early=b"", wrap=None):
    try:
        with Socket(port, path, headers, early, wrap) as websocket:
            return play(websocket, steps)
    except Refused as refused:
        return [(refused.status, refused.headers["Content-Type"] and problem_status(refused.body))]
    except (ConnectionError, http.client.HTTPException, ssl.SSLError):
        return [CUT]


def expected_or_closed(told, expected):
    """As it should be, or up to somewhere and then the end, which may have less to say: of a service's failure only
    the status."""
    if told == expected or told[0][0] in NOT_THE_CLIENTS_FAULT:
        return True
    ends = [told[n] for n in range(len(told)) if told[: n + 1] != expected[: n + 1]]
    if not ends or ends[0] == CUT:
        return len(ends) == 1
    if ends[0][0] != CLOSE or ends[1:] != [CUT]:
        return False
    same = [end for end in expected if end[0] == CLOSE and end[1] == ends[0][1]]
    return ends[0][1] in NOT_THE_CLIENTS_CODE or (bool(same) and ends[0][2] in (b"", b"Not Found"))


# ---- sessions ----


def message(text="a", **more):
    """A frame."""
    fields = "".join(f',"{name}":{value}' for name, value in more.items())
    return frame(TEXT, f'{{"message":"{text}"{fields}}}')


def deflated(payload):
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(TEXT, data[:-4], rsv=4)


GOODBYE = (close_frame(1000), 1, 1)
LONG = "abcdefgh" * 5000
DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
TOKEN = {"Sec-WebSocket-Protocol": "test.v1, bearer.abc"}

STORIES = {
    "messages": (("/test/echo", message(), 1, message("b", number=5, extra='{"a":[1,"b"]}'), 1, *GOODBYE), {}),
    "long message": (("/test/echo", message(LONG), 1, *GOODBYE), {}),
    "many messages": (("/test/echo", message() * 50, 50, *GOODBYE), {}),
    "fragments": (
        ("/test/echo/raw", frame(BINARY, b"a" * 3000, fin=False), frame(PING, b"b"), frame(CONTINUATION, b"c" * 3000), 2, *GOODBYE),
        {},
    ),
    "deflate": (("/test/echo", deflated(f'{{"message":"{LONG}"}}'.encode()), 1, message(), 1, *GOODBYE), {"headers": DEFLATE}),
    "query and token": (("/test/echo?number=7", message(), 1, *GOODBYE), {"headers": TOKEN}),
    "early": (("/test/echo", 3, *GOODBYE), {"early": message() * 3}),
    "early and long": (("/test/echo/raw", 1, *GOODBYE), {"early": frame(BINARY, b"a" * 20_000)}),
    "no more": (("/test/collect", message(), message(), frame(TEXT), 2), {}),
    "bye": (("/test/echo", message(), 1, message("bye"), 2), {}),
    "failure": (("/test/echo", message("fail 5"), 2), {}),
    "bad json": (("/test/echo", frame(TEXT, "{"), 2), {}),
    "bad type": (("/test/echo", frame(TEXT, '{"number":"x"}'), 2), {}),
    "bad frame": (("/test/echo", frame(TEXT, "{}", mask=None), 2), {}),
    "too large": (("/test/echo", frame(BINARY, b"")[:1] + b"\xff" + struct.pack(">Q", 1 << 30) + bytes(4), 2), {}),
    "bad query": (("/test/echo?number=x",), {}),
    "bad key": (("/test/echo",), {"headers": {"Sec-WebSocket-Key": "a"}}),
    "bad origin": (("/test/echo",), {"headers": {"Origin": "https://example.net"}}),
    "no upgrade": (("/test/echo",), {"headers": {"Upgrade": None}}),
}
# A server that could not be connected to is not asked again for a while: at most 2 s.
PATIENCE = 4


@pytest.mark.parametrize("mode", (ONCE, FROM), ids=("once", "all after"))
@pytest.mark.parametrize("kind", STORIES)
def test_session(gateway, kind, mode):
    steps, how = STORIES[kind]

    def ask():
        return story(gateway.port, *steps, **how)

    each_place(gateway.control, gateway.worker(), ask, expected_or_closed, mode, patience=PATIENCE)


ACTIONS = (
    {"join": {"room": 1}}, {"shout": {"room": 1, "text": LONG[:300]}}, {"padding": 3000}, {"channel": 2}, {"leave": 1},
    {"metadata": "x-request-id"})


def talk(websocket):
    """Each action until it is answered; what was asked before another stream took over is asked again."""
    told = []
    for number, action in enumerate(ACTIONS):
        request = frame(TEXT, json.dumps({"id": str(number), **action}))
        websocket.raw(request)
        while True:
            opcode, payload = websocket.receive()
            if opcode == CLOSE:
                return [(CLOSE, int.from_bytes(payload[:2], "big"))]
            if websocket.compressed:
                payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
            answer = json.loads(payload)
            if "resumed" in answer:
                websocket.raw(request)
            elif answer.get("id") == str(number):
                told.append(len(answer.get("text", "")))
                break
    return [*told, websocket.close()]


@pytest.mark.parametrize("mode", (ONCE, FROM), ids=("once", "all after"))
@pytest.mark.parametrize("headers", (None, DEFLATE), ids=("plain", "deflate"))
def test_session_that_shares_a_stream(gateway, headers, mode):
    """What is lost with the stream goes on on the next one."""

    def ask():
        try:
            with Socket(gateway.port, "/test/room", headers) as websocket:
                return talk(websocket)
        except Refused as refused:
            return [(refused.status, None)]
        except (ConnectionError, TypeError, http.client.HTTPException):
            return [CUT]  # TypeError: in place of a frame

    def judge(told, expected):
        ended = isinstance(told[0], tuple) and (told[0][0] in NOT_THE_CLIENTS_FAULT or told[0][1] in NOT_THE_CLIENTS_CODE)
        # One that is leaving is not taken elsewhere.
        left = told[:-1] == expected[:-1] and told[-1] in NOT_THE_CLIENTS_CODE
        return told in (expected, [CUT]) or ended or left

    each_place(gateway.control, gateway.worker(), ask, judge, mode, patience=PATIENCE)


def test_tls(gateway, certificate):
    context = ssl.create_default_context(cafile=f"{certificate}/certificate.pem")
    steps, _ = STORIES["messages"]

    def ask():
        return story(gateway.tls_port, *steps, wrap=lambda s: context.wrap_socket(s, server_hostname="localhost"))

    # What nginx forgets of a connection: test_gateway_faults.py.
    each_place(gateway.control, gateway.worker(), ask, expected_or_closed, forgotten=40, patience=PATIENCE)


def test_requests_go_on(gateway):
    """After all that a plain request is answered as ever."""
    assert http1(gateway.port, "GET /test/echo-unary/hello HTTP/1.1").status == 200
