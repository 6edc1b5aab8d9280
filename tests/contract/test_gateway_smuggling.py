"""Request smuggling: bytes that two parsers could read as different requests.

smuggling/*.http are such bytes, as a client would send them; `expected.txt` says of each what the gateway
answers and how many requests reach the service. Each is followed, on the same connection, by the marker of
an innocent request: whatever the outcome, the service must never see the smuggled path, nor a request more
than those that stand there for everybody.
"""
import pathlib
import socket
import urllib.parse

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from gateway_fixture import Messages, compile_demo, serving_items

FOLDER = pathlib.Path(__file__).parent / "smuggling"


def expectations():
    """name -> (statuses, paths of items that the service saw, as text)"""
    found = {}
    for line in (FOLDER / "expected.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, statuses, seen = line.split()
            found[name] = (statuses.split(","), [] if seen == "-" else seen.split(","))
    return found


EXPECTED = expectations()


def test_every_file_has_an_outcome():
    assert sorted(EXPECTED) == sorted(path.stem for path in FOLDER.glob("*.http"))
    assert len(EXPECTED) >= 40


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    descriptor_set = compile_demo(tmp_path_factory.mktemp("demo"))
    changes = {f"{name} {limit}": f"{name} 1s" for name, limit in
               (("client_header_timeout", "10s"), ("client_body_timeout", "15s"), ("keepalive_timeout", "65s"))}
    with serving_items(descriptor_set, Messages(descriptor_set), changes) as started:
        yield started


def exchange(gateway, data):
    """All that the gateway answers until it closes, as statuses."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
        s.sendall(data)
        answer = b""
        try:
            while more := s.recv(65536):
                answer += more
        except ConnectionError:
            pass
    statuses = []
    while answer:
        if not answer.startswith(b"HTTP/"):
            return statuses + ["0.9"]  # a body alone, up to the end
        head, _, rest = answer.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        assert line.startswith("HTTP/1.1 "), line
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        assert "transfer-encoding" not in headers
        length = int(headers.get("content-length", 0))
        assert b"<html" not in rest[:length].lower()
        statuses.append(line.split()[1])
        answer = rest[length:]
    return statuses


def names_seen(service):
    """The items that requests were for, escaped as in expected.txt."""
    names = [request.name if path.endswith("/GetItem") else request.item.name for path, request, _ in service.calls]
    return [urllib.parse.quote(name, safe="") or "(empty)" for name in names]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_corpus(gateway, name):
    statuses, seen = EXPECTED[name]
    del gateway.service.calls[:]
    assert exchange(gateway, (FOLDER / f"{name}.http").read_bytes()) == [each for each in statuses if each != "-"]
    assert names_seen(gateway.service) == seen
    # A request smuggled in would be for this.
    assert "smuggled" not in seen
    assert exchange(gateway, b"GET /demo/items/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == ["200"]
    assert gateway.service.calls[-1][1].name == "next"


# ---- HTTP/2: what would become another request, were it written out as HTTP/1 ----

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/demo/items/a"), (":authority", "x")]
POST = [(":method", "POST"), (":scheme", "http"), (":path", "/demo/items"), (":authority", "x")]
BODY = b'{"item":{"name":"a"}}'
SMUGGLED = b"GET /demo/items/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

HTTP2 = {
    "plain": (GET, b"", "200", ["a"]),
    "content-length too small": (POST + [("content-length", "0")], SMUGGLED, "400", []),
    "content-length too large": (POST + [("content-length", "99")], BODY, "400", []),
    "content-length twice": (POST + [("content-length", "21"), ("content-length", "0")], BODY, "400", []),
    "content-length no number": (POST + [("content-length", "21x")], BODY, "400", []),
    "transfer-encoding": (POST + [("transfer-encoding", "chunked")], b"0\r\n\r\n" + SMUGGLED, "400", []),
    "connection": (GET + [("connection", "keep-alive, content-length")], b"", "200", ["a"]),
    "upgrade": (GET + [("upgrade", "h2c")], b"", "200", ["a"]),
    "te": (GET + [("te", "chunked")], b"", "200", ["a"]),
    "line ends in a value": (GET + [("x-a", "b\r\n\r\n" + SMUGGLED.decode())], b"", "reset", []),
    "line end in a name": (GET + [("x-a\r\nhost", "y")], b"", "reset", []),
    "NUL in a value": (GET + [("x-a", "b\0c")], b"", "reset", []),
    "upper case": (GET + [("Transfer-Encoding", "chunked")], b"", "reset", []),
    "colon in a name": (GET + [("x:a", "b")], b"", "reset", []),
    "empty name": (GET + [("", "b")], b"", "reset", []),
    "line ends in the path": (GET[:2] + [(":path", "/demo/items/a HTTP/1.1\r\nHost: y\r\n\r\n"), GET[3]], b"", "reset", []),
    "space in the path": (GET[:2] + [(":path", "/demo/items/a b"), GET[3]], b"", "400", []),
    "line ends in the method": ([(":method", "GET /demo/items/smuggled HTTP/1.1\r\n\r\n")] + GET[1:], b"", "reset", []),
    "space in the method": ([(":method", "GET /x")] + GET[1:], b"", "400", []),
    "line ends in the authority": (GET[:3] + [(":authority", "x\r\n\r\n" + SMUGGLED.decode())], b"", "reset", []),
    "path twice": (GET + [(":path", "/demo/items/smuggled")], b"", "400", []),
    "method twice": (GET + [(":method", "POST")], b"", "400", []),
    "authority twice": (GET + [(":authority", "y")], b"", "400", []),
    "unknown pseudo-header": (GET + [(":protocol", "websocket")], b"", "400", []),
    # Malformed (RFC 9113 section 8.3), yet of one meaning only.
    "pseudo-header behind headers": (GET[:2] + [("x-a", "b")] + GET[2:], b"", "200", ["a"]),
    "no method": (GET[1:], b"", "400", []),
    "no path": (GET[:2] + GET[3:], b"", "400", []),
    "no scheme": (GET[:1] + GET[2:], b"", "400", []),
    "no authority": (GET[:3], b"", "400", []),
    "host twice": (GET + [("host", "y"), ("host", "z")], b"", "400", []),
    "host that is another": (GET + [("host", "y")], b"", "400", []),
    "path without slash": (GET[:2] + [(":path", "demo/items/a"), GET[3]], b"", "400", []),
    "absolute path": (GET[:2] + [(":path", "http://y/demo/items/a"), GET[3]], b"", "400", []),
    "forged metadata": (GET + [("grpc-timeout", "1n"), ("x-client-address", "1.2.3.4")], b"", "200", ["a"]),
}


@pytest.fixture(scope="module")
def gateway2(tmp_path_factory):
    descriptor_set = compile_demo(tmp_path_factory.mktemp("demo2"))
    changes = {"default_server backlog=4096;": "default_server http2 backlog=4096;"}
    with serving_items(descriptor_set, Messages(descriptor_set), changes) as started:
        yield started


def ask2(gateway, pairs, body):
    """The status of the answer, or "reset"."""
    config = h2.config.H2Configuration(
        header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
    )
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    connection.send_headers(1, pairs, end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    status = None
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
        s.sendall(connection.data_to_send())
        while True:
            data = s.recv(65536)
            if not data:
                return "reset"
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.StreamEnded):
                    return status
                elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    return status or "reset"
            s.sendall(connection.data_to_send())


@pytest.mark.parametrize("name", list(HTTP2))
def test_http2(gateway2, name):
    pairs, body, status, seen = HTTP2[name]
    del gateway2.service.calls[:]
    assert ask2(gateway2, pairs, body) == status
    assert names_seen(gateway2.service) == seen
    for _, _, metadata in gateway2.service.calls:
        assert metadata["x-client-address"] == "127.0.0.1"
    assert ask2(gateway2, GET, b"") == "200"
