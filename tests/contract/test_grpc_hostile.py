"""Callers of the services' own gRPC ports that send frames which no client would, or read no answers: what that costs in
memory, and whether the others are served meanwhile. Anybody can do all of it, without an account; large articles are there."""
import contextlib
import itertools
import pathlib
import re
import socket
import struct
import threading
import urllib.request

import pytest

from gateway_fixture import DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame, grpc_message, headers_frame
from stoa_contract import GrpcClient, account_maker
from stoa_suite_fixture import output_folder, wait_until
from test_grpc import GET, raw

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL = struct.pack(">I", 8)
INITIAL_WINDOW_SIZE = 4
WINDOW_UPDATE = 8
NO_ERROR, ENHANCE_YOUR_CALM = 0, 11
CHECK, WATCH, ATTACH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/stoa.edge.v1.EdgeService/Attach"
NOBODY = b"\x0a\x01x"  # GetArticleRequest {slug: "x"}


def request_headers(path, stream, *more):
    pairs = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"))
    return headers_frame(stream, (*pairs, ("content-type", "application/grpc"), *more))


class Stranger:
    """A connection to a service's port, of bytes."""

    def __init__(self, suite, service, **settings):
        self.socket = socket.create_connection(("127.0.0.1", suite.ports[f"STOA_{service.upper()}_PORT"]), timeout=60)
        # The service's own end in the system's table, but one that only waits for what is late. How many files the service has
        # otherwise is its own matter.
        mine, its = self.socket.getsockname()[1], self.socket.getpeername()[1]
        self.end = re.compile(f":{its:04X} 0100007F:{mine:04X} (?!06)")
        self.buffer = b""
        chosen = b"".join(struct.pack(">HI", number, value) for number, value in settings.get("settings", {}).items())
        self.send(PREFACE + frame(SETTINGS, 0, 0, chosen))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        wait_until(lambda: not self.end.search(pathlib.Path("/proc/net/tcp").read_text()), "the service closes its end")

    def send(self, data):
        self.socket.sendall(data)

    def frame(self):
        """The next one: (kind, flags, stream, payload); None at the end."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            data = self.socket.recv(65536)
            if not data:
                return None
            self.buffer += data
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big")
        payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
        return kind, flags, stream, payload

    def call(self, path, stream, request, *more):
        self.send(request_headers(path, stream, *more) + frame(DATA, END_STREAM, stream, grpc_message(request)))

    def answered(self, stream):
        """Reads up to the end of a stream."""
        while (read := self.frame()) and not (read[2] == stream and (read[1] & END_STREAM or read[0] == RST_STREAM)):
            assert read[0] != GOAWAY, read
        assert read


def resident_kb(suite, service, which="VmRSS"):
    for line in pathlib.Path(f"/proc/{suite.pid(service)}/status").read_text().splitlines():
        if line.startswith(which + ":"):
            return int(line.split()[1])


def check_memory(suite, service, before_kb, limit_mb):
    if output_folder().name == "release":  # a sanitizer keeps what has been freed
        assert resident_kb(suite, service, "VmHWM") - before_kb < limit_mb << 10


def resets_of(stranger, wanted):
    """Reads until so many streams have been reset; their error codes."""
    codes = []
    while len(codes) < wanted:
        kind, _, _, payload = stranger.frame()
        if kind == RST_STREAM:
            codes.append(int.from_bytes(payload, "big"))
    return codes


class Windows:
    """What may be sent (RFC 9113, section 6.9): on the connection (0), and on each stream."""

    def __init__(self, streams):
        self.initial = 65535
        self.left = dict.fromkeys((0, *streams), self.initial)

    def take(self, stream, most):
        """At most a frame's worth, which counts as sent."""
        n = max(0, min(self.left[0], self.left[stream], most, 16384))
        self.left[0] -= n
        self.left[stream] -= n
        return n

    def read(self, kind, stream, payload):
        if kind == WINDOW_UPDATE and stream in self.left:
            self.left[stream] += int.from_bytes(payload, "big")
        for number, value in struct.iter_unpack(">HI", payload) if kind == SETTINGS else ():
            if number == INITIAL_WINDOW_SIZE:
                for each in self.left.keys() - {0}:
                    self.left[each] += value - self.initial
                self.initial = value


def served(suite):
    """A service answers at its port and behind the gateway."""
    return raw(suite.grpc("posts"), GET, NOBODY)[0] == raw(suite.grpc("posts", "unix"), GET, NOBODY)[0] == "NOT_FOUND"


def test_streams_that_are_reset_at_once(own_suite):
    """CVE-2023-44487: what is reset does not count among a connection's streams, so that only the order in which things are
    done bounds how many there are. Others are answered while there is more to read of these."""
    suite = own_suite()
    assert served(suite)
    before = resident_kb(suite, "posts")
    resets = 30_000
    sent = []

    def attack():
        with Stranger(suite, "posts") as stranger:
            for first in range(1, 2 * resets, 400):
                stranger.send(b"".join(
                    request_headers(GET, stream) + frame(RST_STREAM, 0, stream, CANCEL) for stream in range(first, first + 400, 2)))
                sent.append(200)
            stranger.call(CHECK, 2 * resets + 1, b"")
            stranger.answered(2 * resets + 1)

    attacker = threading.Thread(target=attack)
    with Stranger(suite, "posts") as other:
        stream, meanwhile = 1, 0
        attacker.start()
        while attacker.is_alive():
            other.call(CHECK, stream, b"")
            other.answered(stream)
            stream += 2
            meanwhile += attacker.is_alive()
        attacker.join()
    assert sum(sent) == resets
    assert meanwhile > 5
    check_memory(suite, "posts", before, 64)
    assert served(suite)


def test_streams_that_are_held_open(own_suite):
    """Whoever has no account may watch a service's health, and do nothing else, until no call more is taken: for the callers
    of a gateway a part is kept."""
    suite = own_suite(STOA_MAX_CALLS=400)
    with contextlib.ExitStack() as stack:
        stranger = stack.enter_context(Stranger(suite, "posts"))
        for stream in range(1, 800, 2):
            stranger.call(WATCH, stream, b"")
        wait_until(lambda: raw(suite.grpc("posts"), GET, NOBODY)[0] == "RESOURCE_EXHAUSTED", "no more are taken")
        assert raw(suite.grpc("posts", "unix"), GET, NOBODY)[0] == "NOT_FOUND"
        with urllib.request.urlopen(f"{suite.http}/api/articles") as answer:
            assert answer.status == 200
        assert raw(suite.grpc("posts"), CHECK, b"") == ("OK", b"\x08\x01")
    wait_until(lambda: served(suite), "they are closed with their connection")


def test_requests_that_are_never_whole(own_suite):
    """Each stream sends all of a large message but its end."""
    suite = own_suite(STOA_MAX_CALLS=400, STOA_MAX_REQUEST_BYTES=1 << 20)  # of which 64 and 12 MiB may be held
    assert served(suite)
    before, size, streams = resident_kb(suite, "posts"), (1 << 20) - 1, 250
    with Stranger(suite, "posts") as stranger:
        left = dict.fromkeys(range(1, 2 * streams, 2), size)
        windows = Windows(left)
        for stream in left:
            start = grpc_message(b"", length=size)
            stranger.send(request_headers(GET, stream) + frame(DATA, 0, stream, start[:windows.take(stream, len(start))]))
        calmed = 0
        while not calmed:
            for stream in left:
                if n := windows.take(stream, left[stream] - 1):
                    stranger.send(frame(DATA, 0, stream, b"x" * n))
                    left[stream] -= n
            kind, _, stream, payload = stranger.frame()
            windows.read(kind, stream, payload)
            if kind == RST_STREAM:
                assert int.from_bytes(payload, "big") in (NO_ERROR, ENHANCE_YOUR_CALM)
                calmed += int.from_bytes(payload, "big") == ENHANCE_YOUR_CALM
        # Which streams are ended is chance, so one of somebody else may be.
        wait_until(lambda: served(suite), "others are served while this one stays")
    check_memory(suite, "posts", before, 110)


def test_sessions_of_nobody(own_suite, contract):
    """Streams as a gateway's, from somebody who is none, opens sessions without end and reads no answer."""
    suite = own_suite()
    request = contract.message("stoa.edge.v1.AttachRequest")
    before = resident_kb(suite, "chat")
    with Stranger(suite, "chat", settings={INITIAL_WINDOW_SIZE: 0}) as stranger:
        streams = range(1, 2 * 16, 2)
        for stream in streams:
            stranger.send(request_headers(ATTACH, stream))
        windows, ended = Windows(streams), 0
        # 16 MB of answers and more.
        for first in range(1, 60_000, 1000):
            items = [{"session": number, "open": {"method": "/" + "x" * 8}} for number in range(first, first + 1000)]
            message = grpc_message(request(items=items).SerializeToString())
            for stream in streams:
                at = 0
                while at < len(message) and not ended:
                    if n := windows.take(stream, len(message) - at):
                        stranger.send(frame(DATA, 0, stream, message[at:at + n]))
                        at += n
                    else:
                        kind, _, number, payload = stranger.frame()
                        windows.read(kind, number, payload)
                        ended += kind == RST_STREAM
        assert ended or resets_of(stranger, 1)
    check_memory(suite, "chat", before, 300)


REFLECT, CARRY = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/stoa.edge.v1.CallService/Carry"
ANSWERS = 300  # of a megabyte each, or as much


def ask_for_each(suite, stranger, contract, request):
    """A call for each answer. Its header comes, whatever the windows are."""
    for stream in range(1, 2 * ANSWERS, 2):
        stranger.call(GET, stream, request)
        yield from until_header(stranger, stream)


def until_header(stranger, stream):
    """Streams that are reset meanwhile."""
    while True:
        kind, _, number, _ = stranger.frame()
        if kind == RST_STREAM:
            yield number
        if kind == HEADERS and number == stream:
            return


def ask_together(suite, stranger, contract, request):
    """All calls in one stream."""
    message = contract.message("stoa.edge.v1.CarryRequest")
    stranger.send(request_headers(CARRY, 1))
    for number in range(1, ANSWERS + 1):
        calls = message(calls=[{"id": number, "method": GET, "message": request}]).SerializeToString()
        stranger.send(frame(DATA, 0, 1, grpc_message(calls)))
        assert served(suite)  # after the one before
    yield resets_of(stranger, 1)


def ask_for_files(suite, stranger, contract, _):
    """Files of reflection, of which one stream may ask for many."""
    request = contract.message("grpc.reflection.v1.ServerReflectionRequest")(file_containing_symbol="stoa.chat.v1.RoomService")
    for stream in range(1, 2 * ANSWERS, 2):
        stranger.send(request_headers(REFLECT, stream) + frame(DATA, 0, stream, grpc_message(request.SerializeToString()) * 12))
        yield from until_header(stranger, stream)


@pytest.mark.parametrize("ask", (ask_for_each, ask_together, ask_for_files))
def test_answers_that_are_not_read(own_suite, contract, ask):
    """No window is opened for any of them. What waits so is ended, and those who read are answered."""
    suite = own_suite()
    client, numbers = GrpcClient(contract, suite.grpc), itertools.count()
    account = account_maker(client, lambda stem: f"{stem}{next(numbers)}")()
    article = {"title": "Large", "description": "-", "body": "\U0001F989" * 262_144}
    code, answer = client("posts", "CreateArticle", {"article": article}, account["token"])
    assert code == "OK", answer
    request = contract.message("stoa.posts.v1.GetArticleRequest")(slug=answer["article"]["slug"]).SerializeToString()
    assert served(suite)
    before = resident_kb(suite, "posts")
    with Stranger(suite, "posts", settings={INITIAL_WINDOW_SIZE: 0}) as stranger:
        assert list(ask(suite, stranger, contract, request))
        code, whole = raw(suite.grpc("posts"), GET, request)
        assert code == "OK" and len(whole) > 1 << 20
        assert served(suite)
    check_memory(suite, "posts", before, 200)
