"""Server streams through the gateway: server-sent events, lines of JSON, raw bodies; over HTTP/1.1 and
HTTP/2, with real sockets. Upstream is the test server (tests/testserver)."""
import array
import contextlib
import fcntl
import json
import signal
import socket
import termios
import zlib

import h2.connection
import h2.events
import httpx
import pytest
from gateway_fixture import TestGateway, wait_until

EVENTS = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def client(test_gateway):
    with httpx.Client(base_url=f"http://127.0.0.1:{test_gateway.port}", timeout=30, trust_env=False) as client:
        yield client


def events(text):
    """The events of a stream as EventSource would give them: (name, id, data); comments as (":", None, None)."""
    out = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        name, number, data = "message", None, []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line.startswith(":"):
                out.append((":", None, None))
            elif field == "event":
                name = value
            elif field == "id":
                number = value
            elif field == "data":
                data.append(value)
        if data:
            out.append((name, number, "\n".join(data)))
    return out


def numbers(text):
    return [json.loads(data)["number"] for name, _, data in events(text) if name == "message"]


# ---- forms ----


def test_events(client):
    response = client.get("/test/count?count=3", headers=EVENTS)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Content-Length" not in response.headers
    assert not [name for name in response.headers if name.startswith("grpc-")]
    assert events(response.text) == [("message", str(n), json.dumps({"number": str(n)}).replace(" ", "")) for n in (1, 2, 3)]


def test_lines(client):
    response = client.get("/test/count?count=3", headers=LINES)
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in response.text.splitlines()] == [{"number": str(n)} for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("accept", "form"),
    (
        ("*/*", "text/event-stream"),
        ("text/*", "text/event-stream"),
        ("application/*", "application/x-ndjson"),
        ("text/event-stream;q=0.4, application/x-ndjson;q=0.5", "application/x-ndjson"),
        ("application/x-ndjson;q=0.4, */*;q=0.3", "application/x-ndjson"),
        ("application/json, text/plain, */*", "text/event-stream"),
    ),
)
def test_accept(client, accept, form):
    response = client.get("/test/count?count=1", headers={"Accept": accept})
    assert response.headers["Content-Type"] == form


@pytest.mark.parametrize("accept", ("application/json", "text/html", "text/event-stream;q=0"))
def test_not_acceptable(test_gateway, accept):
    answer = test_gateway.get("/test/count?count=1", headers={"Accept": accept})
    assert answer.status == 406 and answer.problem()


def test_post(client):
    response = client.post("/test/count", json={"count": 2, "after": 1}, headers=EVENTS)
    assert numbers(response.text) == ["2"]


def test_messages_of_all_sizes(client):
    """Smaller and larger than nginx's buffers, and none: all arrive, in order, whole."""
    for size in (0, 1, 100, 5000, 16384, 100_000, 3_000_000):
        response = client.get(f"/test/count?count=5&padding={size}", headers=LINES)
        lines = [json.loads(line) for line in response.text.splitlines()]
        assert [line["number"] for line in lines] == ["1", "2", "3", "4", "5"]
        assert {len(line.get("padding", "")) for line in lines} == {size}


def test_empty_stream(client):
    response = client.get("/test/count?count=5&after=5", headers=EVENTS)
    assert (response.status_code, response.text) == (200, "")


def test_head(test_gateway):
    """The header only; the endless stream behind it is ended."""
    with contextlib.closing(test_gateway.connect()) as connection:
        for _ in range(3):  # the connection stays usable
            connection.request("HEAD", "/test/count", headers=EVENTS)
            response = connection.getresponse()
            assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
            assert response.read() == b""


# ---- ids ----


def test_last_event_id(client):
    first = client.get("/test/count?count=3", headers=EVENTS)
    last = events(first.text)[-1][1]
    again = client.get("/test/count?count=5", headers={**EVENTS, "Last-Event-ID": last})
    assert numbers(again.text) == ["4", "5"]


def test_last_event_id_stands_above_the_query(client):
    response = client.get("/test/count?count=5&after=1", headers={**EVENTS, "Last-Event-ID": "4"})
    assert numbers(response.text) == ["5"]


@pytest.mark.parametrize("value", ("x", "1e3", "1.5", "9223372036854775808", "0x1", "1 2", "\xff"))
def test_bad_last_event_id(test_gateway, value):
    answer = test_gateway.get("/test/count?count=3", headers={**EVENTS, "Last-Event-ID": value.encode("latin-1")})
    assert answer.status == 400
    assert list(answer.errors()) == ["lastEventId"]


def test_empty_last_event_id(client):
    response = client.get("/test/count?count=2", headers={**EVENTS, "Last-Event-ID": ""})
    assert numbers(response.text) == ["1", "2"]


# ---- failures ----


def outcome(code, message="as you wish", **more):
    return {"status": {"code": code, "message": message, **more}}


def test_early_failure_is_a_problem(test_gateway):
    for headers in (EVENTS, LINES):
        answer = test_gateway.post(
            "/test/count", {"count": 1, "after": 1, "outcome": outcome(5, "no such thing")}, headers={"Content-Type": "application/json", **headers}
        )
        assert answer.status == 404
        assert answer.problem()["detail"] == "no such thing"


def test_refused_request_is_a_problem(test_gateway):
    answer = test_gateway.get("/test/count?count=-1", headers=EVENTS)
    assert answer.status == 400 and answer.problem()


def test_late_failure_in_events(client):
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    body = {"count": 2, "outcome": outcome(14, "come back", details=[retry])}
    response = client.post("/test/count", json=body, headers=EVENTS)
    assert response.status_code == 200
    *before, (name, number, data) = events(response.text)
    assert [e[1] for e in before] == ["1", "2"]
    assert (name, number) == ("error", None)
    problem = json.loads(data)
    assert problem["status"] == 503 and problem["type"] == "about:blank" and problem["errors"]
    assert "retry: 7000\n" in response.text


def test_late_failure_in_lines(client):
    response = client.post("/test/count", json={"count": 2, "outcome": outcome(5, "gone")}, headers=LINES)
    *before, last = [json.loads(line) for line in response.text.splitlines()]
    assert before == [{"number": "1"}, {"number": "2"}]
    assert last["error"]["status"] == 404 and last["error"]["detail"] == "gone"


def test_upstream_dies():
    gateway = TestGateway()
    try:
        gateway.start()
        with httpx.stream(
            "GET", f"http://127.0.0.1:{gateway.port}/test/count?interval=0.01s", headers=EVENTS, timeout=30, trust_env=False
        ) as response:
            text = response.iter_text()
            seen = next(text)
            gateway.server.kill()
            gateway.server.wait()
            gateway.server = None
            for part in text:
                seen += part
        name, _, data = events(seen)[-1]
        assert name == "error" and json.loads(data)["status"] == 502
    finally:
        gateway.stop()


def test_deadline():
    gateway = TestGateway({"grpc_json_timeout 10s;": "grpc_json_timeout 10s; grpc_json_stream_timeout 2s;"})
    try:
        gateway.start()
        response = httpx.get(
            f"http://127.0.0.1:{gateway.port}/test/count?interval=30s", headers=EVENTS, timeout=30, trust_env=False
        )
        *_, (name, _, data) = events(response.text)
        assert name == "error" and json.loads(data)["status"] == 504
    finally:
        gateway.stop()


# ---- time ----


@pytest.fixture(scope="module")
def quiet_gateway():
    """Heartbeats, and a service that may be silent for longer than a call without a stream may take."""
    gateway = TestGateway(
        {
            "grpc_json_timeout 10s;": "grpc_json_timeout 3s; grpc_json_heartbeat 400ms;",
            "gzip_types application/json": "gzip_types text/event-stream application/json",
            "listen ": "http2_max_concurrent_streams 64; listen ",
        }
    )
    try:
        yield gateway.start()
    finally:
        gateway.stop()


def test_header_comes_without_a_message(client):
    """The first message is a minute away."""
    with client.stream("POST", "/test/count", json={"outcome": {"delay": "60s"}}, headers=EVENTS) as response:
        assert response.status_code == 200


def test_heartbeats_of_a_quiet_stream(quiet_gateway):
    """Ten heartbeats take longer than grpc_json_timeout; then the client leaves."""
    with socket.create_connection(("127.0.0.1", quiet_gateway.port), timeout=30) as s:
        s.sendall(b"GET /test/count?interval=60s HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        seen = b""
        while seen.count(b":\n\n") < 10:
            more = s.recv(65536)
            assert more, seen
            seen += more
    assert b'data: {"number":"1"}\n\n' in seen and b"event: error" not in seen


def test_compression_does_not_delay(quiet_gateway):
    with socket.create_connection(("127.0.0.1", quiet_gateway.port), timeout=30) as s:
        s.sendall(
            b"GET /test/count?interval=60s HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        reader = s.makefile("rb")
        assert reader.readline().startswith(b"HTTP/1.1 200")
        header = b""
        while (line := reader.readline()) != b"\r\n":
            header += line.lower()
        assert b"content-encoding: gzip" in header
        inflate, text = zlib.decompressobj(31), b""
        while b'{"number":"1"}\n\n' not in text:
            size = int(reader.readline(), 16)
            text += inflate.decompress(reader.read(size))
            reader.read(2)


def test_each_message_comes_at_once(client):
    """The second number is a minute away when the first is read."""
    with client.stream("GET", "/test/count?interval=60s", headers=LINES) as response:
        assert json.loads(next(response.iter_lines())) == {"number": "1"}


# ---- back-pressure, leaving, ending ----


def test_a_client_that_does_not_read_costs_little(test_gateway):
    """An endless stream of large messages waits in the service, not in the worker."""
    with socket.create_connection(("127.0.0.1", test_gateway.port), timeout=30) as s:
        before = test_gateway.private_kb()
        s.sendall(b"GET /test/count?padding=100000 HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n")
        assert s.recv(1000)
        # Until nothing moves any more: what has come stays what it is.
        state = None

        def still():
            nonlocal state
            last, state = state, (test_gateway.private_kb(), _unread(s))
            return last == state

        wait_until(still)
        assert test_gateway.private_kb() - before < 4096
        # It goes on where it was, in order.
        seen, expected, rest = 0, 1, b""
        while seen < 30_000_000:
            data = s.recv(1 << 20)
            assert data
            seen += len(data)
            *parts, rest = (rest + data).split(b'{"number":"')
            for part in parts[1:] if expected == 1 and seen == len(data) else parts:
                head = part.split(b'"', 1)[0]
                if head.isdigit():
                    assert int(head) >= expected
                    expected = int(head)
            rest = b'{"number":"' + rest if parts else rest
    assert expected > 100
    wait_until(lambda: test_gateway.private_kb() - before < 4096)


def _unread(s):
    n = array.array("i", [0])
    fcntl.ioctl(s, termios.FIONREAD, n)
    return n[0]


def test_a_long_stream_leaves_no_memory_behind(client, test_gateway):
    with client.stream("GET", "/test/count", headers=LINES) as response:
        lines = response.iter_lines()
        for _ in range(5000):
            next(lines)
        before = test_gateway.private_kb()
        for _ in range(100_000):
            next(lines)
        assert test_gateway.private_kb() - before < 1024


def test_reload_ends_events_well():
    """The old worker ends its streams: a stream of events simply ends, and the client, who comes back with the
    last id that it has, goes on with the new worker; a stream of lines is told."""
    gateway = TestGateway()
    try:
        gateway.start()
        url = f"http://127.0.0.1:{gateway.port}/test/count?interval=60s"
        with httpx.Client(timeout=30, trust_env=False) as client:
            with client.stream("GET", url, headers=EVENTS) as a, client.stream("GET", url, headers=LINES) as b:
                a_text, b_text = a.iter_text(), b.iter_text()
                a_seen, b_seen = next(a_text), next(b_text)
                gateway.process.send_signal(signal.SIGHUP)
                a_seen += "".join(a_text)
                b_seen += "".join(b_text)
        assert [e[0] for e in events(a_seen)] == ["message"]
        assert json.loads(b_seen.splitlines()[-1])["error"]["status"] == 503
        again = httpx.get(
            f"http://127.0.0.1:{gateway.port}/test/count?count=3",
            headers={**EVENTS, "Last-Event-ID": events(a_seen)[-1][1]}, timeout=30, trust_env=False,
        )
        assert numbers(again.text) == ["2", "3"]
    finally:
        gateway.stop()


# ---- HTTP/1.0 and HTTP/2 ----


def test_http_1_0(test_gateway):
    with socket.create_connection(("127.0.0.1", test_gateway.port), timeout=30) as s:
        s.sendall(b"GET /test/count?count=2 HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
        text = b"".join(iter(lambda: s.recv(65536), b""))
    header, body = text.split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in header.lower()
    assert numbers(body.decode()) == ["1", "2"]


@pytest.fixture(scope="module")
def http2():
    """h2(method, path, headers, body) over HTTP/2 in the clear."""
    gateway = TestGateway({" default_server;": " default_server http2;"})
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{gateway.port}", timeout=30, trust_env=False, http1=False, http2=True
    )
    try:
        gateway.start()
        yield client
    finally:
        client.close()
        gateway.stop()


def test_http2_streams(http2):
    response = http2.get("/test/count?count=3", headers=EVENTS)
    assert response.http_version == "HTTP/2"
    assert numbers(response.text) == ["1", "2", "3"]
    assert not [name for name in response.headers if name.startswith("grpc-")]
    big = http2.get("/test/count?count=20&padding=300000", headers=LINES)
    assert [json.loads(line)["number"] for line in big.text.splitlines()] == [str(n) for n in range(1, 21)]


def test_http2_failures(http2):
    early = http2.post("/test/count", json={"count": 1, "after": 1, "outcome": outcome(5)}, headers=EVENTS)
    assert early.status_code == 404 and early.json()["status"] == 404
    late = http2.post("/test/count", json={"count": 1, "outcome": outcome(5)}, headers=EVENTS)
    assert [e[0] for e in events(late.text)] == ["message", "error"]


class Http2:
    """A connection on which streams can be reset; httpx does not tell its peer that it has left."""

    def __init__(self, url):
        self.socket = socket.create_connection((url.host, url.port), timeout=30)
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.got = {}

    def get(self, path, accept, method="GET"):
        stream = self.h2.get_next_available_stream_id()
        fields = {":method": method, ":scheme": "http", ":authority": "a", ":path": path, "accept": accept}
        self.h2.send_headers(stream, fields.items(), end_stream=True)
        self.got[stream] = []
        return stream

    def read(self):
        self.socket.sendall(self.h2.data_to_send())
        data = self.socket.recv(65536)
        assert data, "the connection was closed"
        for event in self.h2.receive_data(data):
            if getattr(event, "stream_id", None) in self.got:
                self.got[event.stream_id].append(event)
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def wait_for(self, stream, kind):
        while not any(isinstance(event, kind) for event in self.got[stream]):
            self.read()


def test_http2_cancel(http2):
    """A stream that is left ends, and does not disturb its connection."""
    connection = Http2(http2.base_url)
    with connection.socket:
        for _ in range(5):
            stream = connection.get("/test/count?padding=1000", "application/x-ndjson")
            connection.wait_for(stream, h2.events.DataReceived)
            connection.h2.reset_stream(stream)
            stream = connection.get("/test/count?count=1", "text/event-stream")
            connection.wait_for(stream, h2.events.StreamEnded)
        head = connection.get("/test/count", "text/event-stream", "HEAD")
        connection.wait_for(head, h2.events.StreamEnded)
        assert (b":status", b"200") in _fields(connection.got[head])


def _fields(events_of_stream):
    (response,) = [e for e in events_of_stream if isinstance(e, h2.events.ResponseReceived)]
    return [tuple(part if isinstance(part, bytes) else part.encode() for part in field) for field in response.headers]


def test_http2_window(http2):
    """A stream whose window is closed holds nothing up: others of its connection go on, and it does when read."""
    connection = Http2(http2.base_url)
    with connection.socket:
        connection.h2.increment_flow_control_window(1 << 20)
        slow = connection.get("/test/count?padding=1000", "application/x-ndjson")
        connection.wait_for(slow, h2.events.DataReceived)
        connection.h2.acknowledge_received_data = lambda *_: None  # from now on no window is given back
        for _ in range(5):
            quick = connection.get("/test/count?count=1", "text/event-stream")
            connection.wait_for(quick, h2.events.StreamEnded)


# ---- google.api.HttpBody ----

BYTES = bytes(range(256)) * 300


def test_raw_body_both_ways(test_gateway):
    for path in ("/test/body", "/test/body/whole"):
        for kind in ("image/png", "text/plain; charset=latin-1", "application/json"):
            answer = test_gateway.post(path, BYTES, headers={"Content-Type": kind})
            assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, kind, BYTES)
            assert int(answer.headers["Content-Length"]) == len(BYTES)


def test_raw_body_without_type(test_gateway):
    answer = test_gateway.raw(b"POST /test/body HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")[0]
    assert (answer.headers["Content-Type"], answer.body) == ("application/octet-stream", b"abc")


def test_empty_raw_body(test_gateway):
    answer = test_gateway.post("/test/body", b"", headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.body) == (200, b"")


def test_large_raw_body(test_gateway):
    body = BYTES * 200  # 15 MB
    answer = test_gateway.post("/test/body/whole", body, headers={"Content-Type": "application/x-large"})
    assert answer.body == body


def test_compressed_raw_body_is_refused(test_gateway):
    answer = test_gateway.post("/test/body", b"abc", headers={"Content-Encoding": "gzip", "Content-Type": "a/b"})
    assert answer.status == 415 and answer.problem()


def test_raw_stream(client):
    body = {"text": "hello, stream", "part": 5, "contentType": "text/plain", "interval": "0.01s"}
    with client.stream("POST", "/test/download", json=body) as response:
        assert response.headers["Content-Type"] == "text/plain"
        assert "".join(response.iter_text()) == "hello, stream"


def test_raw_stream_type_is_a_header(client):
    """What a service says about its bytes cannot end the header."""
    body = {"text": "x", "contentType": "text/plain\r\nX-Evil: 1"}
    response = client.post("/test/download", json=body)
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert "X-Evil" not in response.headers


def test_raw_stream_as_events(client):
    body = {"text": "one\ntwo\r\nthree\n", "contentType": "text/plain"}
    response = client.post("/test/download", json=body, headers=EVENTS)
    assert response.headers["Content-Type"] == "text/event-stream"
    assert events(response.text) == [("message", None, "one\ntwo\nthree\n")]


def test_raw_stream_as_lines(client):
    response = client.post("/test/download", json={"text": "abcd", "part": 2}, headers=LINES)
    assert [json.loads(line) for line in response.text.splitlines()] == [{"data": "YWI="}, {"data": "Y2Q="}]


def test_raw_stream_that_fails_is_cut(client):
    """Bytes have no other way to say that they are not all."""
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/test/download", json={"text": "abc", "outcome": outcome(13)})


def test_raw_stream_that_fails_early(test_gateway):
    answer = test_gateway.post("/test/download", {"outcome": outcome(7)})
    assert answer.status == 403 and answer.problem()
