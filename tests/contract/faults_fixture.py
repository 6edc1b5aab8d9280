"""Failing allocations in nginx (tests/faults): the worker's N-th allocation fails while a request is in
work, for each N, and what the client then sees is judged."""
import http.client
import io
import json
import mmap
import os
import re
import socket
import ssl
import tempfile
import time
import zlib

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from gateway_fixture import MODULE, NGINX, OUT, TestGateway, free_ports

FAULTS = OUT.parent / "release" / "tests" / "faults.so"
# The module with places of its own (tests/faults/wrap.c): beside the one that is tested otherwise.
FAULT_MODULE = os.environ.get("STOA_FAULT_MODULE", str(OUT.parent / "release" / "tests" / os.path.basename(MODULE)))
# Each such place fails; 1: each one. make test has no time for all.
STRIDE = int(os.environ.get("STOA_FAULT_STRIDE", "29"))
SECONDS = float(os.environ.get("STOA_FAULT_SECONDS", "30"))  # that an answer may take, whatever fails

ONCE, FROM, EACH = 0, 1, 2


class Control:
    """struct fault_control of tests/faults/faults.h, shared with nginx."""

    FIELDS = "pid mode fail_at seen failed live harmless refused crashed crash_at stride".split()

    def __init__(self):
        self.__dict__["file"] = tempfile.NamedTemporaryFile(prefix="faults-")
        self.file.truncate(mmap.PAGESIZE)
        self.__dict__["map"] = memoryview(mmap.mmap(self.file.fileno(), mmap.PAGESIZE)).cast("q")

    def __getattr__(self, name):
        return self.map[self.FIELDS.index(name)]

    def __setattr__(self, name, value):
        self.map[self.FIELDS.index(name)] = value

    def watch(self, pid, fail_at=0, mode=ONCE):
        """From now on the places of the process count."""
        self.pid = 0
        self.mode, self.fail_at, self.seen, self.failed = mode, fail_at, 0, 0
        self.pid = pid

    def preload(self, command):
        """nginx's command with the library in front of everything else that it preloads."""
        own = [f"LD_PRELOAD={FAULTS}", f"STOA_FAULTS={self.file.name}"]
        rest = [part.replace("LD_PRELOAD=", f"LD_PRELOAD={FAULTS}:") for part in command if part != "env"]
        if rest != [part for part in command if part != "env"]:
            own.pop(0)
        # AddressSanitizer wants to be the first library; the one that is hands on to it.
        rest = [part.replace("ASAN_OPTIONS=", "ASAN_OPTIONS=verify_asan_link_order=0:") for part in rest]
        return ["env", *own, *rest]


# ---- what a client sees ----

# What differs from one answer to the next; a Content-Length that is not right makes an answer cut.
VOLATILE = {"date", "x-request-id", "ratelimit", "retry-after", "connection", "content-length"}
CHANGING = re.compile(rb'(urn:request:)[0-9a-f]{32}|("timeoutMs":)"[0-9]+"|(try again in )[0-9]+')


class Outcome:
    """An answer as far as it came: status None when no header did; cut when it did not end as it should."""

    def __init__(self, status=None, headers=(), body=b"", cut=True):
        self.status = status
        self.headers = sorted((n.lower(), v) for n, v in headers if n.lower() not in VOLATILE)
        if dict(self.headers).get("content-encoding") == "gzip":
            body = zlib.decompressobj(31).decompress(body)
        self.body = CHANGING.sub(lambda match: match[match.lastindex], body)
        self.cut = cut

    def __eq__(self, other):
        return isinstance(other, Outcome) and self.__dict__ == other.__dict__

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:500]!r}{' cut' if self.cut else ''}"

    def problem(self):
        """The status of a whole problem; None: this is none."""
        if self.cut or dict(self.headers).get("content-type") != "application/problem+json":
            return None
        return self.status if not self.body or problem_status(self.body) == self.status else None


NOT_THE_CLIENTS_FAULT = (500, 502, 503)


def problem_status(text):
    """Of a problem that the text begins with."""
    problem, _ = json.JSONDecoder().raw_decode(text.decode())
    assert problem["type"] and problem["title"] and problem["errors"], problem
    return problem["status"]


def read_http1(data, method):
    """The Outcome of all that came over a connection that has been closed."""
    if b"\r\n\r\n" not in data:
        return Outcome()
    source = io.BytesIO(data)
    source.makefile = lambda _mode: source
    response = http.client.HTTPResponse(source, method=method)
    response.begin()
    try:
        body, cut = response.read(), False
    except http.client.IncompleteRead as error:
        body, cut = error.partial, True
    return Outcome(response.status, response.getheaders(), body, cut)


def receive(connection):
    data = b""
    try:
        while more := connection.recv(1 << 20):
            data += more
    except (ConnectionError, ssl.SSLError):
        pass
    return data


def send(connection, data):
    """A server that has answered already may have closed."""
    try:
        connection.sendall(data)
    except (ConnectionError, ssl.SSLError):
        pass


def http1(port, head, body=b"", tls=None):
    """One request over a connection of its own; the server closes it when all is done."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain:
            with tls.wrap_socket(plain, server_hostname="localhost") if tls else plain as connection:
                send(connection, head.encode() + b"\r\nHost: a\r\nConnection: close\r\n\r\n" + body)
                return read_http1(receive(connection), head.split(" ")[0])
    except (ConnectionError, ssl.SSLError):
        return Outcome()


def http2(port, method, path, headers=(), body=b"", tls=None):
    """One request over an HTTP/2 connection of its own."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain:
            with tls.wrap_socket(plain, server_hostname="localhost") if tls else plain as connection:
                return Http2(connection).request(method, path, headers, body)
    except (ConnectionError, ssl.SSLError):
        return Outcome()


class Http2:
    def __init__(self, connection):
        self.socket = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)

    def request(self, method, path, headers, body):
        stream = self.h2.get_next_available_stream_id()
        pairs = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "a"), *headers]
        self.h2.send_headers(stream, pairs, end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        status, fields, text = None, [], b""
        while True:
            self.socket.sendall(self.h2.data_to_send())
            data = self.socket.recv(1 << 16)
            for event in self.h2.receive_data(data) if data else [None]:
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])
                    fields = [(n, v) for n, v in event.headers if n != ":status"]
                elif isinstance(event, h2.events.DataReceived):
                    text += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                elif event is None or isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    return Outcome(status, fields, text)
                elif isinstance(event, h2.events.StreamEnded):
                    return Outcome(status, fields, text, cut=False)


# ---- the gateway ----

# What has shared memory.
ZONES = """grpc_json_metrics_zone 1m;
                grpc_json_limit_zone $grpc_json_client zone=many:1m rate=1000000/1s;
                grpc_json_limit_zone $grpc_json_client zone=few:1m rate=1/1h;
                grpc_json_limit_zone $grpc_json_client zone=open:1m streams=3;
                grpc_json_limit_zone $grpc_json_client zone=connections:1m connections=100;
                grpc_json_limit many open;"""
LIMITED = "grpc_json_limit many few;"
# What a log may say when memory runs out.
NO_MEMORY = re.compile("Cannot allocate memory|malloc failure|[Nn]o memory|out of memory|are too few")


class FaultGateway(TestGateway):
    """The test server behind everything that the module can do."""

    module = FAULT_MODULE

    def __init__(self, certificate=None):
        self.control = Control()
        self.nginx = self.control.preload(NGINX)
        self.certificate = certificate
        self.h2_port, self.tls_port = free_ports(2)
        super().__init__()

    def write_config(self, changes):
        kept = "grpc_json on; grpc_json_pass kept;"
        super().write_config({
            " default_server;": f" default_server; listen 127.0.0.1:{self.h2_port} http2;" + (f"""
                listen 127.0.0.1:{self.tls_port} ssl http2;
                ssl_certificate {self.certificate}/certificate.pem;
                ssl_certificate_key {self.certificate}/key.pem;
                ssl_session_tickets off;
                ssl_session_cache off;""" if self.certificate else ""),
            "    grpc_json_timeout 10s;": f"""
                upstream kept {{ server unix:{self.dir}/sock/test.sock; }}
                # For what a client may yet send nobody waits.
                lingering_close off;
                lingering_timeout 10ms;
                grpc_json_timeout 10s;
                {ZONES}
                grpc_json_trace on;
                grpc_json_heartbeat 20ms;
                grpc_json_cors http://localhost:*;""",
            "location / {": f"""
                location = /test/echo-unary/kept {{ {kept} }}
                location = /test/echo-unary/limited {{ {LIMITED} {kept} }}
                location = /test/echo-unary/dead {{ grpc_json on; grpc_json_pass unix:{self.dir}/sock/none.sock; }}
                location = /openapi.json {{ grpc_json_openapi Test 1.0.0; }}
                location = /metrics {{ grpc_json_metrics; }}
                location = /readyz {{ grpc_json_ready test kept; }}
                location / {{""",
            **changes,
        })

    def is_trouble(self, line):
        return super().is_trouble(line) and not NO_MEMORY.search(line)

    def worker(self):
        (pid,) = self.worker_pids()
        return pid


# ---- one place after the other ----


def expected_or_failed(outcome, expected):
    """What a client may see when something failed: what it would have seen, a problem that is not its fault, the
    same problem with less to say, or the beginning of the answer and a cut."""
    if outcome == expected or outcome.problem() in (*NOT_THE_CLIENTS_FAULT, expected.problem() or 0):
        return True
    if not outcome.cut:
        return False
    begun = outcome.status is None or (outcome.status, outcome.headers) == (expected.status, expected.headers)
    return begun and expected.body.startswith(outcome.body)


def each_place(control, pid, ask, judge=expected_or_failed, mode=ONCE, stride=None, forgotten=0, patience=0):
    """Asks with the first place failing, with the second … until a request has no more of them. What the worker
    holds afterwards is what it held before; what a library keeps from its first failure on, it keeps once.
    forgotten: blocks that nginx itself loses; patience: seconds until it must work again."""
    ask()  # the first may be another one: of a limit, or that sets something up
    expected = ask()
    assert ask() == expected, "the answer is not always the same"
    before = held(control, pid, ask)
    for _ in range(3):
        try_each(control, pid, ask, expected, judge, mode, stride or STRIDE, patience)
        after = held(control, pid, ask, before + forgotten)
        if after <= before + forgotten:
            return
        grown, before = after - before, after
    raise AssertionError(f"each time {grown} blocks more are held")


def try_each(control, pid, ask, expected, judge, mode, stride, patience):
    # Kinds begin at different places, so that a stride passes over other ones in each.
    place, wrong = 1 + zlib.crc32(repr(expected).encode()) % stride, []
    while True:
        control.watch(pid, place, mode)
        outcome = ask()
        failed, seen = control.failed, control.seen
        control.watch(0)
        assert os.path.exists(f"/proc/{pid}"), f"the worker died at place {place}"
        if not failed:
            assert outcome == expected
            break
        if not judge(outcome, expected):
            wrong.append(f"place {place} of {seen}: {outcome}")
        deadline = time.monotonic() + patience
        while (again := ask()) != expected and time.monotonic() < deadline:
            pass
        if again != expected:
            wrong.append(f"after place {place}: {again}")
        place += stride
    assert not wrong, "\n".join([f"expected: {expected}", *wrong[:10], f"{len(wrong)} in all"])


def held(control, pid, ask, enough=0):
    """The least number of blocks that the worker holds after a request. Some of it goes after the client has seen
    the end."""
    least = None
    for _ in range(20 if enough else 5):
        control.watch(pid)
        ask()
        deadline = time.monotonic() + 0.003
        while time.monotonic() < deadline and (least is None or least > enough):
            least = control.live if least is None else min(control.live, least)
    control.watch(0)
    return least
