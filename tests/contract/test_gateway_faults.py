"""Each allocation of a request fails once (tests/faults): the client gets its answer, a problem that says that it
is not its fault, or a closed connection; the worker lives, keeps nothing, and answers the next request.

make test takes some of the places; make test-faults takes each."""
import contextlib
import json
import pathlib
import re
import signal
import ssl

import pytest
from faults_fixture import (
    EACH,
    FROM,
    LIMITED,
    NO_MEMORY,
    NOT_THE_CLIENTS_FAULT,
    ONCE,
    STRIDE,
    ZONES,
    FaultGateway,
    each_place,
    expected_or_failed,
    http1,
    http2,
    problem_status,
)
from gateway_fixture import wait_until

JSON = "\r\nContent-Type: application/json"
EVENTS, LINES = "\r\nAccept: text/event-stream", "\r\nAccept: application/x-ndjson"


@pytest.fixture(scope="module")
def gateway(certificate):
    gateway = FaultGateway(certificate)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


def post(path, body, headers=JSON):
    """A request's head and body."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}{headers}", body


def get(path, headers="", method="GET"):
    return f"{method} {path} HTTP/1.1{headers}", b""


def details(*parts):
    types = "type.googleapis.com/google.rpc."
    return [{"@type": types + name, **values} for name, values in parts]


VIOLATION = details(
    ("BadRequest", {"fieldViolations": [{"field": "user.name", "description": "is taken"}]}),
    ("ErrorInfo", {"reason": "TAKEN", "domain": "example.com", "metadata": {"name": "ada"}}),
    ("LocalizedMessage", {"locale": "en", "message": "That name is taken."}),
)
MISMATCH = details(("ErrorInfo", {"reason": "ETAG_MISMATCH", "domain": "example.com"}))


def status(code, more=()):
    return {"outcome": {"status": {"code": code, "message": "it is so", "details": list(more)}}}


def with_metadata(**more):
    header = {"name": "x-grpc-test-echo-initial", "text": "a"}
    return {"outcome": {"headers": [header], "trailers": [{"name": "x-grpc-test-echo-trailing-bin", "data": "AAEC"}]}, **more}


CHUNKED = b"8\r\n{\"messag\r\n7\r\ne\":\"a\"}\r\n0\r\n\r\n"

# Requests of every kind, over HTTP/1.1.
REQUESTS = {
    "get": get("/test/echo-unary/hello?padding=20&return_metadata=a&return_metadata=b"),
    "post": post("/test/echo-unary", {"message": "hello", "value": {"a": [1, "b", None]}, "data": "AAEC"}),
    "put": ("PUT /test/echo-unary/a HTTP/1.1\r\nContent-Length: 6" + JSON, b'"AAEC"'),
    "kept connection": get("/test/echo-unary/kept"),
    "dead upstream": get("/test/echo-unary/dead"),
    "chunked": ("POST /test/echo-unary HTTP/1.1\r\nTransfer-Encoding: chunked" + JSON, CHUNKED),
    "body in a file": post("/test/echo-unary", {"message": "x" * 100_000}),
    "compressed": get("/test/echo-unary/hello?padding=3000", "\r\nAccept-Encoding: gzip"),
    "head": get("/test/echo-unary/hello", method="HEAD"),
    "metadata": post("/test/echo-unary", with_metadata(), JSON + "\r\nAuthorization: Bearer a\r\nX-Grpc-Test-Echo-Trailing-Bin: AAEC"),
    "trace": get("/test/echo-unary/a", "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b,c=d"),
    "time-out": get("/test/echo-unary/a", "\r\nRequest-Timeout: 2.5"),
    "error": post("/test/echo-unary", status(3, VIOLATION)),
    "retry later": post("/test/echo-unary", status(14, details(("RetryInfo", {"retryDelay": "7s"})))),
    "etag": post("/test/echo-unary", {"etag": "abc"}),
    "not modified": get("/test/echo-unary/a?etag=abc", '\r\nIf-None-Match: "x", W/"abc"'),
    "not matched": get("/test/echo-unary/a?etag=abc", '\r\nIf-Match: "x"'),
    "mismatch": post("/test/echo-unary", status(9, MISMATCH), JSON + '\r\nIf-Match: "x"'),
    "bad json": post("/test/echo-unary", b'{"message": 5}'),
    "bad query": get("/test/echo-unary/a?padding=x"),
    "bad type": post("/test/echo-unary", b"{}", "\r\nContent-Type: text/plain"),
    "bad accept": get("/test/echo-unary/a", "\r\nAccept: text/plain"),
    "no route": get("/nowhere"),
    "no method": get("/test/echo-unary/a", method="DELETE"),
    "options": get("/test/echo-unary/a", method="OPTIONS"),
    "preflight": get("/test/echo-unary/a", "\r\nOrigin: http://localhost:3000\r\nAccess-Control-Request-Method: PUT", "OPTIONS"),
    "other origin": get("/test/echo-unary/a", "\r\nOrigin: http://localhost:3000"),
    "limited": get("/test/echo-unary/limited"),
    "too large": ("POST /test/echo-unary HTTP/1.1\r\nContent-Length: 30000000" + JSON, b""),
    "openapi": get("/openapi.json"),
    "ready": get("/readyz"),
    "raw body": post("/test/body", bytes(range(256)) * 40, "\r\nContent-Type: image/png"),
    "whole raw body": post("/test/body/whole", b"abc" * 30_000, "\r\nContent-Type: text/plain"),
    "raw stream": post("/test/download", {"text": "0123456789" * 50, "part": 100, "contentType": "text/plain"}),
}
# Streams of messages: what has come before the failure is told, and then the failure.
STREAMS = {
    "events": get("/test/count?count=5&padding=20", EVENTS),
    "large events": get("/test/count?count=4&padding=60000", EVENTS),
    "lines": get("/test/count?count=5&padding=20", LINES),
    "last event": get("/test/count?count=5", EVENTS + "\r\nLast-Event-ID: 3"),
    "empty stream": get("/test/count?count=3&after=3", EVENTS),
    "compressed events": get("/test/count?count=5&padding=200", EVENTS + "\r\nAccept-Encoding: gzip"),
    "early failure": post("/test/count", {"count": 1, "after": 1, **status(5)}, JSON + EVENTS),
    "late failure": post("/test/count", {"count": 2, **status(5)}, JSON + EVENTS),
    "late failure in lines": post("/test/count", {"count": 2, **status(5)}, JSON + LINES),
    "slow events": get("/test/count?count=3&interval=0.05s", EVENTS),
    "raw stream as events": post("/test/download", {"text": "one\ntwo\n", "part": 3}, JSON + EVENTS),
}


def without_comments(outcome):
    outcome.body = outcome.body.replace(b":\n\n", b"")
    return outcome


def last_problem(text):
    """What comes before the problem at a stream's end, and its status; None: it ends well."""
    match = re.fullmatch(rb"(.*?)(?:event: error\n(?:retry: \d+\n)?data: |\{\"error\":)(.*)", text, re.S)
    return (match[1], problem_status(match[2])) if match else (text, None)


def stream_or_failed(outcome, expected):
    """As expected_or_failed(), or a stream that says at its end that it failed."""
    if expected_or_failed(outcome, expected):
        return True
    if outcome.cut or (outcome.status, outcome.headers) != (expected.status, expected.headers):
        return False
    before, status = last_problem(outcome.body)
    expected_before, expected_status = last_problem(expected.body)
    if status == expected_status and status:
        return before == expected_before
    return status in NOT_THE_CLIENTS_FAULT and expected_before.startswith(before)


@pytest.mark.parametrize("mode", (ONCE, FROM), ids=("once", "all after"))
@pytest.mark.parametrize("kind", REQUESTS)
def test_request(gateway, kind, mode):
    def ask():
        return http1(gateway.port, *REQUESTS[kind])

    each_place(gateway.control, gateway.worker(), ask, mode=mode)


@pytest.mark.parametrize("mode", (ONCE, FROM), ids=("once", "all after"))
@pytest.mark.parametrize("kind", STREAMS)
def test_stream(gateway, kind, mode):
    def ask():
        return without_comments(http1(gateway.port, *STREAMS[kind]))

    each_place(gateway.control, gateway.worker(), ask, stream_or_failed, mode)


def test_metrics(gateway):
    """Their numbers change from one request to the next, and there are new series; their names stay."""

    def ask():
        outcome = http1(gateway.port, *get("/metrics"))
        if outcome.status == 200:
            outcome.body = b"".join(re.findall(rb"# TYPE .*\n", outcome.body))
        return outcome

    # Each name is a place of its own, and there are thousands of them.
    each_place(gateway.control, gateway.worker(), ask, stride=STRIDE * 29)


# Over HTTP/2, in the clear and with TLS.
OVER_HTTP2 = {
    "get": ("GET", "/test/echo-unary/hello"),
    "post": ("POST", "/test/echo-unary", [("content-type", "application/json")], b'{"message":"' + b"x" * 5000 + b'"}'),
    "events": ("GET", "/test/count?count=5&padding=2000", [("accept", "text/event-stream")]),
    "no route": ("GET", "/nowhere"),
}


@pytest.mark.parametrize("kind", OVER_HTTP2)
def test_http2(gateway, kind):
    def ask():
        return without_comments(http2(gateway.h2_port, *OVER_HTTP2[kind]))

    each_place(gateway.control, gateway.worker(), ask, stream_or_failed)


# ngx_ssl_create_connection() forgets its SSL when one of the two calls fails that tell it the connection.
SSL_FORGOTTEN = 40


def test_tls(gateway, certificate):
    context = ssl.create_default_context(cafile=f"{certificate}/certificate.pem")

    def ask():
        return http1(gateway.tls_port, *REQUESTS["get"], tls=context)

    each_place(gateway.control, gateway.worker(), ask, forgotten=SSL_FORGOTTEN)


def test_tls_http2(gateway, certificate):
    context = ssl.create_default_context(cafile=f"{certificate}/certificate.pem")
    context.set_alpn_protocols(["h2"])

    def ask():
        return without_comments(http2(gateway.tls_port, *OVER_HTTP2["events"], tls=context))

    each_place(gateway.control, gateway.worker(), ask, stream_or_failed, forgotten=SSL_FORGOTTEN)


# ---- when the configuration is loaded ----

@contextlib.contextmanager
def configured(**changes):
    gateway = FaultGateway()
    gateway.write_config(changes)
    try:
        yield gateway
    finally:
        gateway.control.watch(0)
        gateway.stop()


def judge_lines(text):
    """That the configuration is refused, for want of memory."""
    for line in text.splitlines():
        assert "test failed" in line or NO_MEMORY.search(line), line


def test_configuration():
    """nginx says that there is no memory, and nothing untrue, when any allocation of its configuration fails."""
    # Shared memory would be a child's as well as its parent's: test_zones().
    without = {ZONES: "", LIMITED: "", "location = /metrics { grpc_json_metrics; }": ""}
    with configured(**without) as gateway:
        control = gateway.control
        control.stride = stride = 1 if STRIDE == 1 else 7 * STRIDE  # many are alike, and each is a process
        control.watch(-1, mode=EACH)
        result = gateway.test_config()
        assert result.returncode == 0, result.stderr
        assert control.crashed == 0, f"nginx died when place {control.crash_at} failed"
        assert control.refused > 10_000 / stride
        judge_lines(result.stderr)


def test_zones():
    """They are made last."""
    with configured() as gateway:
        control = gateway.control
        control.watch(-1)
        assert gateway.test_config().returncode == 0
        last, refused = control.seen, 0
        for place in range(last - 60, last + 1):
            control.watch(-1, place)
            result = gateway.test_config()
            assert result.returncode in (0, 1), f"nginx died when place {place} of {last} failed"
            assert control.failed == 1
            judge_lines(result.stderr)
            refused += result.returncode
        assert refused > 0


def has_reloaded(gateway):
    """Whether the master waits for its next order, and has the workers that it wants."""
    wchan = pathlib.Path(f"/proc/{gateway.process.pid}/wchan").read_text()
    return "sigsuspend" in wchan and len(gateway.worker_pids()) == 1


def reload(gateway, fail_at=0):
    """True: the new configuration serves; False: it was refused."""
    before = gateway.worker()
    gateway.control.watch(gateway.process.pid, fail_at)
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.control.seen and has_reloaded(gateway))
    return gateway.worker() != before


def test_reload():
    """A reload that has no memory leaves what serves as it is; the master keeps nothing of it."""
    with configured() as gateway:
        gateway.start()

        def ask():
            return http1(gateway.port, *REQUESTS["get"])

        expected, control = ask(), gateway.control
        assert reload(gateway)
        places, live, refused = control.seen, control.live, 0
        # There are tens of thousands, most of which are the same few lines of code.
        for place in range(places % (STRIDE * 29) + 1, places + 1, STRIDE * 29):
            taken = reload(gateway, place)
            assert gateway.process.poll() is None, f"the master died at place {place} of {places}"
            assert control.failed == 1 and control.live <= live, f"place {place} of {places}: {control.live} blocks"
            assert ask() == expected, f"after place {place} of {places}"
            refused += not taken
        assert refused > 0
        assert reload(gateway) and control.live == live
        assert ask() == expected
