"""What one caller may take: rate limits, sizes, time; and that nobody passes as another."""
import contextlib
import pathlib
import re
import socket
import struct
import threading

import pytest

from gateway_fixture import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SERVICE,
    SETTINGS,
    Gateway,
    frame,
    free_port,
    headers_frame,
    hpack_length,
    serving_items,
    wait_until,
)
from stoa_suite_fixture import output_folder

RATES = {"zone=address:4m rate=1000000/1s": "zone=address:4m rate=10/1h"}
# A field of draft-ietf-httpapi-ratelimit-headers-09: a list of strings with whole numbers as parameters.
ITEM = r'"([a-z]+)"((?:;[a-z]+=[0-9]+)+)'


@contextlib.contextmanager
def running(descriptor_set, messages, changes=None, **kwargs):
    with serving_items(descriptor_set, messages, changes, **kwargs) as gateway:
        yield gateway, gateway.service


def field(answer, name):
    """{"address": {"q": 10, "w": 3600}} of a field"""
    (text,) = answer.headers.get_all(name)
    assert re.fullmatch(f"{ITEM}(, {ITEM})*", text), text
    return {
        policy: {key: int(value) for key, value in re.findall(r";([a-z]+)=([0-9]+)", parameters)}
        for policy, parameters in re.findall(ITEM, text)
    }


# ---- rates ----


def test_quota_of_an_address(descriptor_set, messages):
    with running(descriptor_set, messages, RATES) as (gateway, service):
        for left in range(9, -1, -1):
            answer = gateway.get("/demo/items/a")
            assert answer.status == 200
            assert field(answer, "RateLimit-Policy") == {"address": {"q": 10, "w": 3600}}
            said = field(answer, "RateLimit")["address"]
            assert said["r"] == left and 0 < said["t"] <= 3600
            assert "Retry-After" not in answer.headers
        for _ in range(3):
            answer = gateway.get("/demo/items/a")
            assert answer.status == 429
            problem = answer.problem()
            assert problem["errors"] == {"request": ["comes too often"]}
            wait = int(answer.headers["Retry-After"])
            assert 0 < wait <= 360 and f"{wait} s" in problem["detail"]
            assert field(answer, "RateLimit") == {"address": {"r": 0, "t": wait}}
            assert field(answer, "RateLimit-Policy") == {"address": {"q": 10, "w": 3600}}
        assert len(service.calls) == 10
        # Probes are nobody's requests.
        assert gateway.get("/healthz").status == 200
        entry = gateway.wait_for_log(lambda e: e["status"] == "429")
        assert entry["limited"] == "address" and entry["rpc"] == SERVICE + "GetItem"


def test_refusal_leaves_the_connection(descriptor_set, messages):
    with running(descriptor_set, messages, RATES) as (gateway, _):
        connection = gateway.connect()
        statuses = [gateway.post("/demo/items", {"item": {}}, connection=connection).status for _ in range(12)]
        assert statuses == [201] * 10 + [429] * 2
        connection.close()


def test_every_kind_of_request_counts(descriptor_set, messages):
    with running(descriptor_set, messages, RATES) as (gateway, _):
        for method, path in (("GET", "/nope"), ("DELETE", "/demo/items"), ("OPTIONS", "/demo/items")) * 3:
            assert gateway.request(method, path).status in (404, 405, 204)
        assert field(gateway.get("/demo/items/a"), "RateLimit")["address"]["r"] == 0
        assert gateway.get("/nope").status == 429


def test_quota_of_an_account(descriptor_set, messages):
    """The credential counts, not how its scheme is written; the callers are told apart."""
    changes = {"zone=account:4m rate=1000000/1s": "zone=account:4m rate=3/1h"}
    with running(descriptor_set, messages, changes) as (gateway, _):

        def ask(credential):
            return gateway.get("/demo/items/a", headers={"Authorization": credential} if credential else {})

        for written in ("Bearer abc.def.ghi", "Token abc.def.ghi", "bEaReR   abc.def.ghi"):
            answer = ask(written)
            assert answer.status == 200
        assert field(answer, "RateLimit")["account"]["r"] == 0
        assert set(field(answer, "RateLimit-Policy")) == {"address", "account"}
        answer = ask("token \t abc.def.ghi")
        assert answer.status == 429 and field(answer, "RateLimit")["account"]["r"] == 0
        assert gateway.wait_for_log(lambda e: e["status"] == "429")["limited"] == "account"
        assert ask("Bearer abc.def.ghj").status == 200
        for _ in range(5):
            answer = ask(None)
            assert answer.status == 200 and set(field(answer, "RateLimit")) == {"address"}


def test_limits_of_all_workers_together(descriptor_set, messages):
    changes = {"zone=address:4m rate=1000000/1s": "zone=address:4m rate=50/1h"}
    with running(descriptor_set, messages, changes, workers=3) as (gateway, service):
        statuses = []

        def ask():
            for _ in range(20):
                statuses.append(gateway.get("/demo/items/a").status)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses.count(200) == 50 and statuses.count(429) == 70
        assert len(service.calls) == 50


def test_limits_survive_reload(descriptor_set, messages):
    with running(descriptor_set, messages, RATES) as (gateway, _):
        for _ in range(10):
            assert gateway.get("/demo/items/a").status == 200
        before = set(gateway.worker_pids())
        gateway.process.send_signal(1)
        wait_until(lambda: not before & set(gateway.worker_pids()))
        assert gateway.get("/demo/items/a").status == 429


def test_limits_off(descriptor_set, messages):
    with running(descriptor_set, messages, {"grpc_json_limit address account;": "grpc_json_limit off;"}) as (gateway, _):
        answer = gateway.get("/demo/items/a")
        assert answer.status == 200 and "RateLimit" not in answer.headers and "RateLimit-Policy" not in answer.headers


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("zone=address:4m rate=1000000/1s", "zone=address:4m rate=0/1s", "grpc_json_limit_zone"),
        ("zone=address:4m rate=1000000/1s", "zone=address:4m rate=10r/s", "grpc_json_limit_zone"),
        ("zone=address:4m rate=1000000/1s", "zone=address:4m burst=1", "grpc_json_limit_zone"),
        ("zone=address:4m", "zone=address:1k", "grpc_json_limit_zone"),
        ("zone=address:4m", "zone=addr\"ess:4m", "grpc_json_limit_zone"),
        ("zone=address:4m", "zone=account:4m", "duplicate"),
        ("grpc_json_limit address account;", "grpc_json_limit other;", "grpc_json_limit"),
        ("grpc_json_limit address account;", "grpc_json_limit off; grpc_json_limit off;", "duplicate"),
    ],
)
def test_bad_configuration(descriptor_set, old, new, says):
    gateway = Gateway(descriptor_set, {old: new})
    result = gateway.test_config()
    gateway.stop()
    assert result.returncode != 0 and says in result.stderr


# ---- sizes ----


def test_items_of_lists(descriptor_set, messages):
    """A few bytes of text each, but dozens in the memory of whoever unpacks them."""
    with running(descriptor_set, messages) as (gateway, service):
        answer = gateway.post("/demo/items", {"item": {"tagList": [""] * 65536}})
        assert answer.status == 201 and len(service.calls[-1][1].item.tag_list) == 65536
        answer = gateway.post("/demo/items", {"item": {"tagList": [""] * 65537}})
        assert answer.status == 400
        assert answer.errors() == {"body": ["has too many items in lists and maps (maximum is 65536)"]}
        assert len(service.calls) == 1
    with running(descriptor_set, messages, {"grpc_json_trace on;": "grpc_json_trace on; grpc_json_array_limit 0;"}) as (gateway, _):
        assert gateway.post("/demo/items", {"item": {"tagList": [""] * 65537}}).status == 201


# ---- who asks ----


def client_of(gateway, service, headers, address="127.0.0.1", family=socket.AF_INET):
    """What the service is told of a caller that sends these headers, and the log line."""
    with socket.socket(family) as s:
        s.connect((address, gateway.port))
        text = "".join(f"{name}: {value}\r\n" for name, value in headers)
        s.sendall(f"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{text}\r\n".encode())
        while s.recv(65536):
            pass
    _, _, metadata = service.calls[-1]
    return metadata


FORGED = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-User", "admin"),
    ("X-Real-IP", "203.0.113.9"),
    ("Forwarded", "for=203.0.113.9"),
    ("True-Client-IP", "203.0.113.9"),
    ("X-Client-Address", "203.0.113.9"),
    ("X-Stoa-User", "1"),
    ("X-User-Id", "1"),
    ("grpc-timeout", "1n"),
    ("grpc-encoding", "gzip"),
    ("x-authenticated-userid", "1"),
]


def test_forged_headers_are_dropped(descriptor_set, messages):
    with running(descriptor_set, messages) as (gateway, service):
        metadata = client_of(gateway, service, FORGED)
        assert metadata["x-client-address"] == "127.0.0.1"
        for name, value in FORGED:
            assert name.lower() == "x-client-address" or name.lower() not in metadata
            assert value not in (metadata.get("x-client-address"),)
        assert gateway.wait_for_log(lambda e: e["status"] == "200")["client"] == "127.0.0.1"


def test_trusted_proxy(descriptor_set, messages):
    """Believed is what the trusted proxy added, not what the client made up before it."""
    here = "real_ip_recursive on;\n"
    with running(descriptor_set, messages, {here: here + "set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8;"}) as (
        gateway,
        service,
    ):
        for said, client in (
            ("198.51.100.7", "198.51.100.7"),
            ("203.0.113.9, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
            ("2001:db8::5", "2001:db8::5"),
            ("nonsense", "127.0.0.1"),
        ):
            metadata = client_of(gateway, service, [("X-Forwarded-For", said), ("X-Real-IP", "203.0.113.9")])
            assert metadata["x-client-address"] == client
            assert "x-forwarded-for" not in metadata


def test_addresses_that_count_as_one(descriptor_set, messages):
    """An IPv6 subscriber has a /64 to itself: changing addresses inside it brings nothing."""
    here = "real_ip_recursive on;\n"
    changes = {here: here + "set_real_ip_from 127.0.0.0/8;", **RATES}
    with running(descriptor_set, messages, changes) as (gateway, _):

        def left(address):
            answer = gateway.get("/demo/items/a", headers={"X-Forwarded-For": address})
            return field(answer, "RateLimit")["address"]["r"]

        assert left("2001:db8:1:2::1") == 9
        assert left("2001:db8:1:2:ffff::9") == 8
        assert left("2001:db8:1:3::1") == 9
        assert left("198.51.100.1") == 9
        assert left("198.51.100.2") == 9
        assert left("::ffff:198.51.100.2") == 8


# ---- time ----

SLOW = {
    "client_header_timeout 10s": "client_header_timeout 300ms",
    "client_body_timeout 15s": "client_body_timeout 300ms",
    "send_timeout 30s": "send_timeout 300ms",
    "keepalive_timeout 65s": "keepalive_timeout 300ms",
}


def read_all(s):
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := s.recv(65536):
            data += more
    return data


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /demo/ite",
        b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST /demo/items HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /demo/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=["half a line", "half a header", "half a body", "half a chunk"],
)
def test_slow_senders_are_cut(descriptor_set, messages, sent):
    with running(descriptor_set, messages, SLOW) as (gateway, service):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
            s.sendall(sent)
            assert read_all(s) == b""  # ends only when the gateway closes
        gateway.wait_for_log(lambda e: e["status"] == "408")
        assert not service.calls


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["new", "kept"])
def test_silent_connections_are_closed(descriptor_set, messages, sent):
    with running(descriptor_set, messages, SLOW) as (gateway, _):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
            s.sendall(sent)
            assert read_all(s).startswith(b"HTTP/1.1 200 " if sent else b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST /demo/items HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
    ],
    ids=["header", "body"],
)
def test_a_trickle_is_cut(descriptor_set, messages, sent):
    """The header and the body have their time as a whole, however often a byte of it comes."""
    # nginx puts off a time limit only once 300 ms of it are over.
    changes = {**SLOW, "client_body_timeout 15s": "client_body_timeout 600ms"}
    with running(descriptor_set, messages, changes) as (gateway, service):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
            s.sendall(sent)
            s.settimeout(0.02)
            ended = False
            for _ in range(1000):
                try:
                    s.sendall(b"a")
                    ended = s.recv(1) == b""
                except TimeoutError:
                    continue
                except ConnectionError:
                    ended = True
                if ended:
                    break
            assert ended
        gateway.wait_for_log(lambda e: e["status"] == "408")
        assert not service.calls


def test_slow_reader_is_cut(descriptor_set, messages):
    with running(descriptor_set, messages, SLOW) as (gateway, service):
        service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new(
            "demo.v1.GetItemResponse", item={"name": "x" * 7_000_000}
        )
        (worker,) = gateway.worker_pids()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", gateway.port))
            s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n\r\n")
            # It never reads. The log line comes when the request has ended.
            entry = gateway.wait_for_log(lambda e: "/demo/items/a" in e["request"])
            assert int(entry["bytes_out"]) < 7_000_000
        assert gateway.worker_pids() == [worker]


# ---- memory ----

LARGE, UNREAD = 3_000_000, 60  # bytes of an answer; answers that nobody reads, of which a worker keeps 64 MiB


def memory_kb(gateway):
    (worker,) = gateway.worker_pids()
    (line,) = (line for line in pathlib.Path(f"/proc/{worker}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def ask_by_connections(gateway, stack):
    for _ in range(UNREAD):
        s = stack.enter_context(socket.socket())
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", gateway.port))
        s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert s.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 "  # the answer is there


def ask_by_streams(gateway, stack):
    """Of HTTP/2, without a window."""
    s = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.h2_port), timeout=60))
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    header = ((":method", "GET"), (":scheme", "http"), (":path", "/demo/items/a"), (":authority", "x"))
    with s.makefile("rb") as reader:
        for stream in range(1, 2 * UNREAD, 2):
            s.sendall(headers_frame(stream, header, end=True))
            got = None
            while got != (HEADERS, stream):
                head = reader.read(9)
                reader.read(int.from_bytes(head[:3], "big"))
                got = head[3], int.from_bytes(head[5:9], "big")


@pytest.mark.parametrize("ask", (ask_by_connections, ask_by_streams))
def test_answers_that_are_not_read(descriptor_set, messages, ask):
    """Those that have waited longest are ended, and whoever reads is answered."""
    h2_port = free_port()
    changes = {" default_server backlog=4096;": f" default_server backlog=4096; listen 127.0.0.1:{h2_port} http2;"}
    with running(descriptor_set, messages, changes) as (gateway, service):
        gateway.h2_port = h2_port
        service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new("demo.v1.GetItemResponse", item={"name": "x" * LARGE})
        assert len(gateway.get("/demo/items/a").body) > LARGE
        before = memory_kb(gateway)
        with contextlib.ExitStack() as stack:
            ask(gateway, stack)
            ended = gateway.wait_for_log(lambda e: e["limited"] == "unread")
            assert int(ended["bytes_out"]) < LARGE
            assert len(gateway.get("/demo/items/a").body) > LARGE
            if output_folder().name == "release":  # a sanitizer keeps what has been freed
                assert memory_kb(gateway) - before < 100 << 10
        wait_until(lambda: len(gateway.log_entries()) == UNREAD + 2)
        assert all(e["limited"] == "" for e in gateway.log_entries()[-5:])


# ---- HTTP/2 ----

PRIORITY, PING, WINDOW_UPDATE, CONTINUATION = 2, 6, 8, 9
GET_ITEM = ((":method", "GET"), (":scheme", "http"), (":path", "/demo/items/a"), (":authority", "x"))
OPENING = frame(HEADERS, END_STREAM, 1, b"\x82\x84\x86")  # a header that is not yet whole
# An entry of 3.9 KB for the table, and one byte for each time that it is meant.
BOMB = b"\x82\x84\x86\x40\x01a" + hpack_length(3900) + b"b" * 3900 + b"\xbe" * 10_000
FLOODS = {
    "pings": frame(PING, 0, 0, b"12345678") * 50_000,
    "settings": frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 50_000,
    "windows": frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 200_000,
    "priorities": frame(PRIORITY, 0, 3, struct.pack(">IB", 0, 1)) * 200_000,
    "resets": b"".join(
        headers_frame(stream, GET_ITEM, end=True) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8)) for stream in range(1, 40_000, 2)
    ),
    "continuations": OPENING + frame(CONTINUATION, 0, 1, b"\x00\x01a\x7e" + b"b" * 126) * 20_000,
    "empty continuations": OPENING + frame(CONTINUATION, 0, 1) * 200_000,
    "a header bomb": frame(HEADERS, END_STREAM | END_HEADERS, 1, BOMB),
    "empty data": headers_frame(1, ((":method", "POST"), *GET_ITEM[1:])) + frame(DATA, 0, 1) * 200_000,
}


def test_floods_of_frames(descriptor_set, messages):
    """By a client that reads nothing: nginx's own limits, which are not to be set away."""
    port = free_port()
    changes = {" default_server backlog=4096;": f" default_server backlog=4096; listen 127.0.0.1:{port} http2;"}
    with running(descriptor_set, messages, changes) as (gateway, _):
        assert gateway.get("/demo/items/a").status == 200
        before = memory_kb(gateway)
        for what, flood in FLOODS.items():
            with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                with contextlib.suppress(ConnectionError):
                    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + flood)
                assert gateway.get("/demo/items/a").status == 200, what
                assert output_folder().name != "release" or memory_kb(gateway) - before < 16 << 10, what
