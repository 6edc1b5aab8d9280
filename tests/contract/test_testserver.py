"""The test server itself: grpc.testing.TestService as gRPC's interoperability tests expect it, through a
gRPC client of another make (grpcio), and the parts of EchoService that other tests rely on."""
import os
import pathlib
import signal
import subprocess
import tempfile
import threading

import grpc
import pytest
from gateway_fixture import OUT, TEST_DESCRIPTOR_SET, Messages, TestGateway, free_ports, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def messages():
    return Messages(TEST_DESCRIPTOR_SET)


@pytest.fixture(scope="module")
def channel(test_gateway):
    limits = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    with grpc.insecure_channel(f"127.0.0.1:{test_gateway.grpc_port}", options=limits) as channel:
        yield channel


@pytest.fixture(scope="module")
def call(messages, channel):
    """call("unary_unary", "/grpc.testing.TestService/EmptyCall") -> what is called with requests"""

    def make(kind, path):
        input_type, output_type = map(messages.type, messages.methods[path])
        return getattr(channel, kind)(
            path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=output_type.FromString
        )

    return make


TEST = "/grpc.testing.TestService/"
ECHO = "/stoa.test.v1.EchoService/"


def payload(messages, size):
    return messages.new("grpc.testing.Payload", body=bytes(size))


def test_empty_unary(messages, call):
    assert call("unary_unary", TEST + "EmptyCall")(messages.new("grpc.testing.Empty")).ByteSize() == 0


def test_large_unary(messages, call):
    request = messages.new("grpc.testing.SimpleRequest", response_size=314159, payload=payload(messages, 271828))
    response = call("unary_unary", TEST + "UnaryCall")(request)
    assert response.payload.body == bytes(314159)


def test_client_streaming(messages, call):
    sizes = (27182, 8, 1828, 45904)
    requests = [messages.new("grpc.testing.StreamingInputCallRequest", payload=payload(messages, n)) for n in sizes]
    response = call("stream_unary", TEST + "StreamingInputCall")(iter(requests))
    assert response.aggregated_payload_size == 74922


def output_request(messages, *sizes, interval_us=0, **more):
    parameters = [{"size": size, "interval_us": interval_us} for size in sizes]
    return messages.new("grpc.testing.StreamingOutputCallRequest", response_parameters=parameters, **more)


def test_server_streaming(messages, call):
    sizes = (31415, 9, 2653, 58979)
    responses = call("unary_stream", TEST + "StreamingOutputCall")(
        output_request(messages, *sizes, interval_us=1000)
    )
    assert [len(r.payload.body) for r in responses] == list(sizes)


@pytest.mark.parametrize("method", ("FullDuplexCall", "HalfDuplexCall"))
def test_duplex(messages, call, method):
    sizes = (31415, 9, 2653, 58979)
    requests = [output_request(messages, n, payload=payload(messages, n)) for n in sizes]
    responses = call("stream_stream", TEST + method)(iter(requests))
    assert [len(r.payload.body) for r in responses] == list(sizes)


def test_ping_pong(messages, call):
    """Each answer comes before the next request is sent."""
    answered = []

    def requests():
        for n in (31415, 9, 2653, 58979):
            count = len(answered)
            yield output_request(messages, n)
            wait_until(lambda: len(answered) > count)

    for response in call("stream_stream", TEST + "FullDuplexCall")(requests()):
        answered.append(len(response.payload.body))
    assert answered == [31415, 9, 2653, 58979]


def test_empty_stream(call):
    assert not list(call("stream_stream", TEST + "FullDuplexCall")(iter(())))


def test_custom_metadata(messages, call):
    metadata = (
        ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
        ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
    )
    request = messages.new("grpc.testing.SimpleRequest", response_size=314159, payload=payload(messages, 271828))
    unary = call("unary_unary", TEST + "UnaryCall")
    duplex = call("stream_stream", TEST + "FullDuplexCall")(iter((output_request(messages, 9),)), metadata=metadata)
    for done in (unary.with_call(request, metadata=metadata)[1], duplex):
        list(done) if done is duplex else None
        assert dict(done.initial_metadata())["x-grpc-test-echo-initial"] == "test_initial_metadata_value"
        assert dict(done.trailing_metadata())["x-grpc-test-echo-trailing-bin"] == b"\xab\xab\xab"


@pytest.mark.parametrize("message", ("test status message", "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"))
def test_status_code_and_message(messages, call, message):
    status = {"code": 2, "message": message}
    with pytest.raises(grpc.RpcError) as unary:
        call("unary_unary", TEST + "UnaryCall")(messages.new("grpc.testing.SimpleRequest", response_status=status))
    with pytest.raises(grpc.RpcError) as stream:
        list(call("stream_stream", TEST + "FullDuplexCall")(iter((output_request(messages, response_status=status),))))
    for error in (unary.value, stream.value):
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, message)


def test_unimplemented(messages, call):
    for path in (TEST + "UnimplementedCall", "/grpc.testing.UnimplementedService/UnimplementedCall"):
        with pytest.raises(grpc.RpcError) as error:
            call("unary_unary", path)(messages.new("grpc.testing.Empty"))
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_cancel_and_timeout(messages, call):
    stream = call("stream_stream", TEST + "FullDuplexCall")
    over = threading.Event()

    def requests():  # without an end, so that the stream has none of its own
        yield output_request(messages, 31415)
        over.wait(30)

    cancelled = stream(requests())
    next(cancelled)
    cancelled.cancel()
    assert cancelled.code() == grpc.StatusCode.CANCELLED
    over.set()
    with pytest.raises(grpc.RpcError) as error:
        list(stream(iter((output_request(messages, 8, interval_us=30_000_000),)), timeout=0.01))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("size", (-1, 2**31 - 1))
def test_bad_size(messages, call, size):
    with pytest.raises(grpc.RpcError) as error:
        call("unary_unary", TEST + "UnaryCall")(messages.new("grpc.testing.SimpleRequest", response_size=size))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_large_messages_come_back(messages, call):
    """More than the server queues, to a caller who reads late."""
    bodies = [messages.new("google.api.HttpBody", data=bytes([n]) * (16 << 20)) for n in range(4)]
    back = call("stream_stream", ECHO + "ChatRaw")(iter(bodies))
    assert [body.data[:1] + body.data[-1:] for body in back] == [bytes([n]) * 2 for n in range(4)]


def test_many_messages_come_back(messages, call):
    """Far more than the server's queue holds; none is lost and the order is kept."""
    requests = (messages.new("stoa.test.v1.ChatRequest", number=n) for n in range(20000))
    back = call("stream_stream", ECHO + "Chat")(requests)
    assert [response.number for response in back] == list(range(20000))


def test_slow_reader_loses_nothing(messages, call):
    """The server makes 64 MiB no faster than the caller reads."""
    stream = call("unary_stream", ECHO + "Count")(
        messages.new("stoa.test.v1.CountRequest", count=256, padding=256 << 10)
    )
    first = next(stream)
    assert first.number == 1
    assert [response.number for response in stream] == list(range(2, 257))


def test_collect(messages, call):
    requests = [messages.new("stoa.test.v1.CollectRequest", message="abc", data=b"de") for _ in range(100)]
    response = call("stream_unary", ECHO + "Collect")(iter(requests))
    assert (response.messages, response.bytes) == (100, 500)


def test_outcome_over_http(test_gateway):
    answer = test_gateway.post(
        "/test/echo-unary",
        {
            "message": "hello",
            "outcome": {
                "status": {
                    "code": 5,
                    "message": "no such thing",
                    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "GONE"}],
                },
                "delay": "0.01s",
            },
        },
    )
    problem = answer.problem()
    assert (answer.status, problem["detail"], problem["reason"]) == (404, "no such thing", "GONE")


def test_waiting_calls_do_not_delay_the_end():
    """A call that waits and a stream that pauses end when the server stops, and it ends well."""
    gateway = TestGateway(changes={"grpc_json_timeout 10s;": "grpc_json_timeout 100s;"})
    try:
        gateway.start()
        messages = Messages(TEST_DESCRIPTOR_SET)
        with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
            stream = channel.unary_stream(
                ECHO + "Count",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=messages.type("stoa.test.v1.CountResponse").FromString,
            )(messages.new("stoa.test.v1.CountRequest", interval={"seconds": 60}))
            assert next(stream).number == 1
            waiting = channel.unary_unary(
                ECHO + "Echo",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=messages.type("stoa.test.v1.EchoResponse").FromString,
            ).future(messages.new("stoa.test.v1.EchoRequest", message="late", outcome={"delay": {"seconds": 60}}))
            # A later answer of the same connection: the waiting call has been taken up.
            channel.unary_unary(
                TEST + "EmptyCall",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=messages.type("grpc.testing.Empty").FromString,
            )(messages.new("grpc.testing.Empty"))
            gateway.stop_server()
            assert waiting.result(30).message == "late"
            with pytest.raises(grpc.RpcError) as error:
                next(stream)
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        gateway.stop()


def test_make_testserver_serves_until_interrupted():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # nginx's workers may be another user
        serve_until_interrupted(folder)
        assert not os.listdir(folder)


def serve_until_interrupted(folder):
    http, rpc = free_ports(2)
    environment = {
        **os.environ,
        "STOA_OUT": str(OUT),
        "STOA_HTTP_PORT": str(http),
        "STOA_TEST_PORT": str(rpc),
        "TMPDIR": folder,
    }
    script = subprocess.Popen(
        [ROOT / "tests" / "testserver" / "serve"], env=environment, stdout=subprocess.PIPE, text=True,
        # As in a terminal: a shell that was started with SIGINT ignored could not be interrupted.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        for line in script.stdout:
            if line.startswith("Ctrl-C"):
                break
        answer = subprocess.run(
            ["curl", "-sf", "-H", "Content-Type: application/json", "-d", '{"message":"hi"}',
             f"http://localhost:{http}/test/echo-unary"],
            capture_output=True, text=True, check=True,
        )
        assert '"message":"hi"' in answer.stdout
    finally:
        script.send_signal(signal.SIGINT)
        assert script.wait(30) == 0
        script.stdout.close()


START_AND_WAIT = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from gateway_fixture import TestGateway
gateway = TestGateway().start()
print(gateway.server.pid, gateway.process.pid, *gateway.worker_pids(), flush=True)
signal.pause()
"""


def test_a_gateway_ends_with_its_tests():
    """Also when they are killed, and can end nothing themselves."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # nginx's workers may be another user
        tests = subprocess.Popen(["/usr/bin/python3", "-B", "-c", START_AND_WAIT, pathlib.Path(__file__).parent],
                                 env={**os.environ, "TMPDIR": folder}, stdout=subprocess.PIPE, text=True)
        with tests.stdout:
            pids = tests.stdout.readline().split()
        tests.kill()
        tests.wait()
        assert len(pids) == 3
        wait_until(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")], "all have ended")
