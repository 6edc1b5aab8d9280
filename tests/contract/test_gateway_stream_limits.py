"""What one caller may have open: streams and WebSockets at once, over all workers, and memory of messages that are
not whole."""
import contextlib
import json
import os
import pathlib
import re
import signal

import pytest
from gateway_fixture import TestGateway, wait_until
from websocket_fixture import BINARY, CONTINUATION, TEXT, Refused, Socket, frame

BEFORE = "    grpc_json_timeout 10s;"
LIMITS = """grpc_json_timeout 10s; grpc_json_stream_timeout 0; grpc_json_metrics_zone 1m;
    grpc_json_limit_zone $grpc_json_client zone=address:32k streams=3;
    grpc_json_limit_zone $http_authorization zone=account:1m streams=2;
    grpc_json_limit address account;"""
METRICS = {"location / {": "location = /metrics { grpc_json_metrics; } location / {"}
EVENTS = {"Accept": "text/event-stream"}


class LimitGateway(TestGateway):
    trouble = ("[alert]", "[emerg]", "exited on signal")

    def is_trouble(self, line):
        return any(word in line for word in self.trouble)


@contextlib.contextmanager
def running(limits=LIMITS, **kwargs):
    gateway = LimitGateway({BEFORE: limits, **METRICS}, **kwargs)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@contextlib.contextmanager
def events(gateway, headers=()):
    """A stream that has begun and does not end, or None and the answer that there is instead."""
    connection = gateway.connect()
    try:
        connection.request("GET", "/test/count?interval=0.2s", headers={**EVENTS, **dict(headers)})
        response = connection.getresponse()
        yield response
    finally:
        connection.close()


def judge_refusal(status, headers, body, most):
    problem = json.loads(body)
    assert status == 429 and headers["Content-Type"] == "application/problem+json", (status, body)
    assert problem["errors"] == {"streams": ["are too many at once"]}
    assert problem["detail"] == f"More than {most} streams at once."
    assert headers["Retry-After"] is None and headers["RateLimit"] is None


def refused(gateway, headers=()):
    """Whether another stream is refused, and then another WebSocket as well: places become free at any time."""
    with events(gateway, headers) as response:
        stream = response.status == 429
        if stream:
            judge_refusal(response.status, response.headers, response.read(), 2 if headers else 3)
    try:
        with Socket(gateway.port, "/test/echo", dict(headers)):
            websocket = False
    except Refused as refusal:
        websocket = True
        judge_refusal(refusal.status, refusal.headers, refusal.body, 2 if headers else 3)
    return stream and websocket


def fits(gateway, headers=()):
    """How many streams the caller can open now."""
    with contextlib.ExitStack() as stack:
        for n in range(10):
            if stack.enter_context(events(gateway, headers)).status == 429:
                return n
    raise AssertionError("there is no limit")


@pytest.mark.parametrize("workers", (1, 3))
def test_streams_of_an_address(workers):
    with running(workers=workers) as gateway:
        with events(gateway) as first, Socket(gateway.port, "/test/echo") as second:
            with events(gateway) as third:
                assert (first.status, third.status) == (200, 200)
                assert refused(gateway)
                # Other requests are not streams.
                assert gateway.get("/test/echo-unary/a").status == 200
                second.send(TEXT, '{"message":"a"}')
                assert json.loads(second.message())["message"] == "a"
            wait_until(lambda: not refused(gateway))
            second.close()
        wait_until(lambda: fits(gateway) == 3)
        refusals = re.search(r'^grpc_json_limit_refused_total\{limit="address"\} (\d+)$', gateway.get("/metrics").body.decode(), re.M)
        assert int(refusals[1]) >= 3


def test_streams_with_a_credential():
    """Also a browser's, which comes as a subprotocol."""
    ada, bob = (("Authorization", "Bearer ada"),), (("Authorization", "Bearer bob"),)
    with running() as gateway:
        with events(gateway, ada), Socket(gateway.port, "/test/echo", {"Sec-WebSocket-Protocol": "test.v1, bearer.ada"}):
            assert refused(gateway, ada)
            assert not refused(gateway, bob)
        wait_until(lambda: fits(gateway, ada) == 2)


def test_what_does_not_begin_is_not_counted():
    with running() as gateway:
        for _ in range(5):
            for changes in ({"Sec-WebSocket-Key": "a"}, {"Origin": "https://example.net"}, {"Sec-WebSocket-Version": "8"}):
                with pytest.raises(Refused):
                    Socket(gateway.port, "/test/echo", changes)
            assert gateway.get("/test/count?count=x", headers=EVENTS).status == 422
            assert gateway.get("/test/count?count=2", headers=EVENTS).status == 200
            assert gateway.request("HEAD", "/test/count?count=2", headers=EVENTS).status == 200
        wait_until(lambda: fits(gateway) == 3)


def test_a_worker_that_dies_leaves_none_behind():
    with running() as gateway:
        gateway.trouble = ("[emerg]",)
        with events(gateway), events(gateway), Socket(gateway.port, "/test/echo"):
            assert refused(gateway)
            (worker,) = gateway.worker_pids()
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: gateway.worker_pids() not in ([], [worker]))
        assert fits(gateway) == 3


def reload(gateway):
    before = gateway.worker_pids()
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.worker_pids() and not set(before) & set(gateway.worker_pids()))


def test_reloads_keep_the_limit():
    with running() as gateway:
        with Socket(gateway.port, "/test/echo"):
            reload(gateway)
        wait_until(lambda: fits(gateway) == 3)
        gateway.write_config({BEFORE: LIMITS.replace("streams=3", "streams=5"), **METRICS})
        reload(gateway)
        assert fits(gateway) == 5


def test_a_zone_that_counted_something_else_is_refused():
    with running() as gateway:
        gateway.trouble = ("[alert]",)
        worker = gateway.worker_pids()
        gateway.write_config({BEFORE: LIMITS.replace("streams=3", "rate=10/1s"), **METRICS})
        gateway.process.send_signal(signal.SIGHUP)
        log = pathlib.Path(f"{gateway.dir}/log/nginx-error.log")
        wait_until(lambda: '"address" has counted something else until now' in log.read_text())
        assert gateway.worker_pids() == worker and fits(gateway) == 3


@pytest.mark.parametrize("limit", ("streams=0", "streams=-1", "streams=x", "streams=", "streams=99999999999", "stream=1"))
def test_what_is_no_number_of_streams(limit):
    gateway = LimitGateway({BEFORE: LIMITS.replace("streams=3", limit), **METRICS})
    try:
        result = gateway.test_config()
        assert result.returncode == 1 and "or streams=NUMBER" in result.stderr
    finally:
        gateway.stop()


def test_no_room_for_another_caller():
    """Nobody gets in uncounted."""
    with running(LIMITS.replace("$grpc_json_client zone=address", "$http_x_caller zone=address")) as gateway:
        with contextlib.ExitStack() as stack:
            for caller in range(3000):
                try:
                    stack.enter_context(Socket(gateway.port, "/test/echo", {"X-Caller": str(caller)}))
                except Refused as refusal:
                    assert refusal.status == 503 and json.loads(refusal.body)["errors"]
                    break
            assert 500 < caller < 2000
            assert gateway.get("/test/echo-unary/a", headers={"X-Caller": "x"}).status == 200
        log = pathlib.Path(f"{gateway.dir}/log/nginx-error.log").read_text()
        assert '"address" has no room for another caller' in log


# ---- memory ----


def with_memory(size):
    """A buffer grows to a power of two."""
    return running(f"grpc_json_timeout 10s; grpc_json_metrics_zone 1m; grpc_json_websocket_memory {size};")


HALF = b"a" * 600_000


def opens(gateway):
    try:
        with Socket(gateway.port, "/test/echo/raw"):
            return True
    except Refused as refusal:
        problem = json.loads(refusal.body)
        assert (refusal.status, refusal.headers["Retry-After"]) == (503, "1") and problem["errors"]
        return False


def test_no_session_begins_while_memory_is_used_up():
    with with_memory("1m") as gateway:
        with Socket(gateway.port, "/test/echo/raw") as websocket:
            websocket.send(BINARY, HALF, fin=False)
            wait_until(lambda: not opens(gateway))
            # Nothing is taken from the one that is there.
            websocket.send(CONTINUATION, b"b")
            assert websocket.message() == HALF + b"b"
            wait_until(lambda: opens(gateway))
            websocket.send(BINARY, HALF, fin=False)
            wait_until(lambda: not opens(gateway))
        wait_until(lambda: opens(gateway))


def test_the_session_that_wants_too_much_is_closed():
    with with_memory("1500k") as gateway:
        with Socket(gateway.port, "/test/echo/raw") as one, Socket(gateway.port, "/test/echo/raw") as other:
            one.send(BINARY, HALF, fin=False)
            with Socket(gateway.port, "/test/echo/raw") as third:
                third.send(BINARY, b"small")
                assert third.message() == b"small"
            other.send(BINARY, HALF, fin=False)
            code, reason = other.code()
            assert (code, reason) == (1013, "the server has too much to remember")
            one.send(CONTINUATION, b"b")
            assert one.message() == HALF + b"b"
            wait_until(lambda: opens(gateway))


def test_whole_messages_need_none():
    with with_memory("64k") as gateway, Socket(gateway.port, "/test/echo/raw") as websocket:
        for _ in range(20):
            websocket.raw(frame(BINARY, b"x" * 10_000))
            assert websocket.message() == b"x" * 10_000
