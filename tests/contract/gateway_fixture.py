"""A private gateway for the tests of the nginx module: nginx on a loopback port of its own,
rendered from gateway/nginx.conf.in, with upstreams that live in the test's own process.

Upstreams are of two kinds: FakeService is a gRPC server (grpcio) whose answers a test writes, and
RawUpstream plays bytes on a socket, for what a correct server would never send.
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from stoa_suite_fixture import free_ports, wait_until, with_parent

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(os.environ.get("STOA_OUT", ROOT / "build" / "release"))
# nginx itself has no sanitizer in it, so neither has the module that it loads.
MODULE = os.environ.get(
    "STOA_GATEWAY_MODULE", str(OUT.parent / "release" / "gateway" / "ngx_http_grpc_json_module.so")
)
# A command, so that nginx can be run under a checker: STOA_NGINX="valgrind ... /usr/sbin/nginx".
NGINX = os.environ.get("STOA_NGINX", shutil.which("nginx") or "/usr/sbin/nginx").split()

# The test server (tests/testserver) and its contract.
TESTSERVER = OUT / "bin" / "testserver"
TEST_DESCRIPTOR_SET = OUT.parent / "testserver.binpb"

# A service that has nothing to do with Stoa's: the module serves any descriptor set.
DEMO_PROTO = """
syntax = "proto3";
package demo.v1;

import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
import "stoa/api/v1/annotations.proto";

service ItemService {
  rpc GetItem(GetItemRequest) returns (GetItemResponse) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {get: "/demo/items/{name}"};
  }
  rpc ListItems(ListItemsRequest) returns (ListItemsResponse) {
    option (google.api.http) = {get: "/demo/items"};
  }
  rpc CreateItem(CreateItemRequest) returns (CreateItemResponse) {
    option (google.api.http) = {post: "/demo/items" body: "*"};
    option (stoa.api.v1.method) = {http_status: 201};
  }
  rpc ReplaceItem(ReplaceItemRequest) returns (ReplaceItemResponse) {
    option (google.api.http) = {put: "/demo/items/{name}" body: "item"};
  }
  rpc DeleteItem(DeleteItemRequest) returns (DeleteItemResponse) {
    option (google.api.http) = {delete: "/demo/items/{name}"};
    option (stoa.api.v1.method) = {http_status: 204};
  }
  rpc WatchItems(WatchItemsRequest) returns (stream WatchItemsResponse) {
    option (google.api.http) = {get: "/demo/watch"};
  }
}

message Item {
  string name = 1;
  int32 size = 2;
  repeated string tag_list = 3;
  optional string note = 4 [(stoa.api.v1.field).null_when_unset = true];
  google.protobuf.Timestamp created_at = 5;
  bool hidden = 6;
}
message GetItemRequest { string name = 1; bool short = 2; int32 depth = 3; }
message GetItemResponse { Item item = 1; }
message ListItemsRequest { repeated string tag = 1; int32 limit = 2; }
message ListItemsResponse { repeated Item items = 1; }
message CreateItemRequest { Item item = 1; }
message CreateItemResponse { Item item = 1; }
message ReplaceItemRequest { string name = 1; Item item = 2; }
message ReplaceItemResponse { Item item = 1; }
message DeleteItemRequest { string name = 1; }
message DeleteItemResponse {}
message WatchItemsRequest {}
message WatchItemsResponse { Item item = 1; }
"""
SERVICE = "/demo.v1.ItemService/"


def compile_demo(folder, proto=DEMO_PROTO):
    """The descriptor set of DEMO_PROTO and of Stoa's own protos, as a file."""
    source = pathlib.Path(folder) / "demo.proto"
    source.write_text(proto)
    stoa = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto"))
    output = pathlib.Path(folder) / "demo.binpb"
    subprocess.run(
        ["protoc", "--include_imports", "-o", output, f"-I{folder}", f"-I{ROOT}/proto", "-I/usr/include"]
        + ["demo.proto"] + stoa,
        check=True,
    )
    return output


class Messages:
    """Message classes by full name, from a descriptor set."""

    def __init__(self, path):
        self.path = path
        self.pool = descriptor_pool.DescriptorPool()
        self.methods = {}
        for file in descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(path).read_bytes()).file:
            self.pool.Add(file)
            for service in file.service:
                for method in service.method:
                    self.methods[f"/{file.package}.{service.name}/{method.name}"] = (
                        method.input_type.lstrip("."),
                        method.output_type.lstrip("."),
                    )
        self.factory = message_factory.MessageFactory(self.pool)

    def type(self, name):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(name))

    def new(self, name, /, **values):
        return self.type(name)(**values)


def details(messages, code, message, *parts):
    """grpc-status-details-bin: a google.rpc.Status with these details, as metadata."""
    status = messages.new("google.rpc.Status", code=code.value[0], message=message)
    for part in parts:
        status.details.add().Pack(part)
    return (("grpc-status-details-bin", status.SerializeToString()),)


class FakeService(grpc.GenericRpcHandler):
    """A gRPC server on a unix socket. answers[path] is called with (request, context); without one
    the call fails UNIMPLEMENTED. calls lists what has arrived: (path, request, metadata)."""

    def __init__(self, messages, path, health="SERVING"):
        self.messages = messages
        self.path = path
        self.answers = {}
        self.calls = []
        self.lock = threading.Lock()
        self.health = health
        self.answers["/grpc.health.v1.Health/Check"] = self._check
        self.start()

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=32),
            handlers=(self,),
            options=(("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)),
        )
        self.server.add_insecure_port(f"unix:{self.path}")
        self.server.start()
        os.chmod(self.path, 0o777)  # nginx's workers may be another user

    def stop(self):
        self.server.stop(None).wait()

    def _check(self, _request, _context):
        response = self.messages.type("grpc.health.v1.HealthCheckResponse")
        return response(status=response.ServingStatus.Value(self.health))

    def service(self, details_of_call):
        path = details_of_call.method
        if path not in self.answers:
            return None
        input_type, output_type = map(self.messages.type, self.messages.methods[path])

        def handle(request, context):
            with self.lock:
                self.calls.append((path, request, dict(context.invocation_metadata())))
            return self.answers[path](request, context)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=input_type.FromString,
            response_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
        )


# ---- HTTP/2 by hand ----

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers_frame(stream, pairs, end=False):
    block = b""
    for name, value in pairs:
        name, value = name.encode(), value.encode()
        # A literal that is not indexed, its lengths in one byte each or with a one-byte rest.
        block += b"\x00" + hpack_length(len(name)) + name + hpack_length(len(value)) + value
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def hpack_length(n):
    if n < 127:
        return bytes([n])
    out, n = b"\x7f", n - 127
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


def grpc_message(payload, flag=0, length=None):
    return bytes([flag]) + struct.pack(">I", len(payload) if length is None else length) + payload


RESPONSE = ((":status", "200"), ("content-type", "application/grpc"))
TRAILERS = (("grpc-status", "0"),)


class RawUpstream:
    """Plays script(connection, stream) once for each connection, after the request's header has come.
    The connection is closed when the script returns."""

    def __init__(self, path, script):
        self.path = path
        self.script = script
        self.connections = []
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        os.chmod(path, 0o777)
        self.socket.listen(64)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError, EOFError):
            self._read(connection, len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            connection.sendall(frame(SETTINGS, 0, 0))
            stream = 0
            while stream == 0:
                kind, _flags, number, _payload = self.read_frame(connection)
                if kind == HEADERS:
                    stream = number
            self.script(connection, stream)

    @staticmethod
    def _read(connection, n):
        data = b""
        while len(data) < n:
            more = connection.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    @classmethod
    def read_frame(cls, connection):
        head = cls._read(connection, 9)
        length = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:], "big"), cls._read(connection, length)

    def stop(self):
        """Also ends the connections: nginx may have kept one for its next call."""
        self.socket.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def send_until_reset(connection, data=b"", pause=0):
    """Sends this again and again until the gateway resets a stream."""
    kind = None
    while kind != RST_STREAM:
        connection.sendall(data)
        if not data or select.select([connection], [], [], pause)[0]:
            kind, _flags, _stream, _payload = RawUpstream.read_frame(connection)


def wait_for_close(connection):
    """Reads until the peer closes; how a script keeps its connection open but silent."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


# ---- nginx ----


def free_port():
    return free_ports(1)[0]


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def problem(self):
        """The body, after checking that this is a well-formed problem."""
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.body)
        assert int(self.headers["Content-Length"]) == len(self.body)
        problem = self.json()
        assert problem["status"] == self.status
        typed = "reason" in problem and "domain" in problem
        assert problem["type"] == (f"urn:problem:{problem['domain']}:{problem['reason']}" if typed else "about:blank")
        assert problem["title"] and problem["title"] == self.reason
        assert problem["instance"] == "urn:request:" + self.headers["X-Request-Id"]
        assert problem["errors"]
        for key, messages in problem["errors"].items():
            assert key and messages and all(isinstance(m, str) and m for m in messages)
        assert b"nginx" not in self.body.lower() and b"<html" not in self.body.lower()
        return problem

    def errors(self):
        return self.problem()["errors"]


class Gateway:
    """nginx with the module. changes: replacements in the rendered configuration."""

    nginx = NGINX
    module = MODULE

    def __init__(self, descriptor_set, changes=None, workers=1):
        self.dir = tempfile.mkdtemp(prefix="gw-")
        os.chmod(self.dir, 0o755)
        for name in ("sock", "log", "nginx"):
            os.mkdir(f"{self.dir}/{name}")
            os.chmod(f"{self.dir}/{name}", 0o777)
        # The worker may not get through to the repository's own.
        shutil.copytree(ROOT / "web", f"{self.dir}/web")
        self.port = free_port()
        self.descriptor_set = str(descriptor_set)
        self.workers = workers
        self.config = f"{self.dir}/nginx.conf"
        self.write_config(changes or {})
        self.process = None

    def write_config(self, changes):
        text = (ROOT / "gateway" / "nginx.conf.in").read_text()
        values = {
            "@RUN_DIR@": self.dir,
            "@HTTP_LISTEN@": f"127.0.0.1:{self.port}",
            "@TLS_LISTEN@": "",
            "@MODULE@": self.module,
            "@DESCRIPTOR_SET@": self.descriptor_set,
            "@WEB_DIR@": f"{self.dir}/web",
            "@WORKERS@": str(self.workers),
            "@CONNECTIONS@": "4096",
            "@CORS_ORIGINS@": "http://localhost:*",
            "@ADDRESS_RATE@": "1000000/1s",
            "@ACCOUNT_RATE@": "1000000/1s",
            "@ADDRESS_STREAMS@": "1000000",
            "@ACCOUNT_STREAMS@": "1000000",
            "@ADDRESS_CONNECTIONS@": "",
            "@LIMITS@": "address account",
            "@TRUSTED_PROXIES@": "",
            "@METRICS_ALLOW@": "allow 127.0.0.1;",
            "@ACCESS_LOG_IF@": "",
            "@TRACES@": "",
            "@SERVICE_METRICS@": "",
            "stoa.chat.*  chat;": "stoa.chat.*  chat; demo.* chat;",
            " buffer=128k flush=1s": "",
        }
        for old, new in {**values, **changes}.items():
            assert old in text, f"nginx.conf.in has no {old!r}"
            text = text.replace(old, new)
        # Which services a suite has is not these tests' matter.
        text, found = re.subn(r"grpc_json_ready [a-z ]+;", "grpc_json_ready auth posts;", text)
        assert found == 1
        pathlib.Path(self.config).write_text(text)

    def socket_path(self, name):
        return f"{self.dir}/sock/{name}.sock"

    def test_config(self):
        command = self.nginx + ["-e", "stderr", "-p", self.dir, "-c", self.config, "-t", "-q"]
        return subprocess.run(command, capture_output=True, text=True)

    def start(self):
        command = self.nginx + ["-e", "stderr", "-p", self.dir, "-c", self.config, "-g", "daemon off;"]
        self.output = open(f"{self.dir}/log/output", "wb")
        # The master ends its workers, so it has to have the time to.
        self.process = subprocess.Popen(with_parent(command, "TERM"), stdout=self.output, stderr=self.output)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                wait_until(lambda: len(self.worker_pids()) == self.workers)
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(pathlib.Path(f"{self.dir}/log/output").read_text()) from None
                time.sleep(0.02)

    def stop(self):
        """Ends nginx; a worker that crashed, or an alert in its log, fails the test."""
        trouble = self.troubles()
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.output.close()
            self.process = None
            # The master kills a worker that has not gone a second after SIGTERM: on a busy machine that is no fault.
            trouble += [line for line in self.troubles()[len(trouble) :] if "exited on signal 9" not in line]
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not trouble, trouble

    def troubles(self):
        """The lines of the error log that should not be there."""
        log = pathlib.Path(f"{self.dir}/log/nginx-error.log")
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return [line for line in lines if self.is_trouble(line)]

    def is_trouble(self, line):
        """Whether this line of the error log should never be there."""
        return "[alert]" in line or "[emerg]" in line or "exited on signal" in line

    def worker_pids(self):
        master = self.process.pid
        return [int(pid) for pid in pathlib.Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def private_kb(self):
        """Memory of all workers that nobody shares."""
        total = 0
        for pid in self.worker_pids():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("Private_"))
        return total

    def log_entries(self):
        text = pathlib.Path(f"{self.dir}/log/nginx-access.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def wait_for_log(self, test):
        """The last entry of the access log that satisfies a test: it is written after the answer."""
        return wait_until(lambda: [e for e in self.log_entries() if test(e)])[-1]

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
                headers = {"Content-Type": "application/json", **(headers or {})}
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            if own:
                connection.close()

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body, **kwargs):
        return self.request("POST", path, body=body, **kwargs)

    def raw(self, data, timeout=30):
        """Sends bytes and reads the answers up to the one that closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            reader = s.makefile("rb")
            answers = []
            while not answers or answers[-1].headers["Connection"] != "close":
                response = http.client.HTTPResponse(_File(reader), method="GET")
                response.begin()
                answers.append(Answer(response, response.read()))
            return answers


@contextlib.contextmanager
def serving(descriptor_set, messages, changes=None, **kwargs):
    """A gateway (with gateway.messages) that runs in front of a service (gateway.service), which has no answers yet."""
    gateway = Gateway(descriptor_set, changes, **kwargs)
    gateway.messages = messages
    gateway.service = FakeService(messages, gateway.socket_path("chat"))
    try:
        yield gateway.start()
    finally:
        gateway.service.stop()
        gateway.stop()


@contextlib.contextmanager
def serving_items(descriptor_set, messages, changes=None, **kwargs):
    """The same; GetItem and CreateItem are answered."""
    with serving(descriptor_set, messages, changes, **kwargs) as gateway:
        gateway.service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new("demo.v1.GetItemResponse")
        gateway.service.answers[SERVICE + "CreateItem"] = lambda r, c: messages.new("demo.v1.CreateItemResponse", item=r.item)
        yield gateway


class TestGateway(Gateway):
    """The test server behind a gateway of its own; grpc_port: the server's, in the clear."""

    __test__ = False  # for pytest

    def __init__(self, changes=None, workers=1, settings=None):
        self.settings = settings or {}
        self.server = None
        super().__init__(TEST_DESCRIPTOR_SET, changes, workers)

    def write_config(self, changes):
        text = (ROOT / "tests" / "testserver" / "nginx.conf.in").read_text()
        values = {
            "@RUN_DIR@": self.dir,
            "@HTTP_LISTEN@": f"127.0.0.1:{self.port}",
            "@MODULE@": self.module,
            "@DESCRIPTOR_SET@": self.descriptor_set,
            "@WORKERS@": str(self.workers),
        }
        for old, new in {**values, **changes}.items():
            assert old in text, f"nginx.conf.in has no {old!r}"
            text = text.replace(old, new)
        pathlib.Path(self.config).write_text(text)

    def start_server(self):
        environment = {
            **os.environ,
            "STOA_TEST_LISTEN": f"unix:{self.dir}/sock/test.sock,127.0.0.1:0",
            "STOA_TEST_ROOMS": self.dir,
            **self.settings,
        }
        log = pathlib.Path(f"{self.dir}/log/testserver.log")
        with open(log, "wb") as output:
            self.server = subprocess.Popen(with_parent([TESTSERVER], "KILL"), env=environment, stderr=output)

        def port():
            assert self.server.poll() is None, log.read_text()
            ports = [json.loads(line).get("port") for line in log.read_text().splitlines() if line.endswith("}")]
            return len(ports) == 2 and ports[1]

        self.grpc_port = wait_until(port)
        os.chmod(self.socket_path("test"), 0o777)

    def stop_server(self):
        """Ends the server, which must end well: a sanitizer's report is in its log."""
        if self.server:
            self.server.send_signal(signal.SIGTERM)
            status = self.server.wait(30)
            self.server = None
            log = pathlib.Path(f"{self.dir}/log/testserver.log").read_text(errors="replace")
            assert status == 0, log

    def start(self):
        self.start_server()
        return super().start()

    def stop(self):
        try:
            self.stop_server()
        finally:
            super().stop()


class _File:
    """What HTTPResponse wants of a socket, over a reader that outlives one response."""

    def __init__(self, reader):
        self.reader = reader

    def makefile(self, _mode):
        return _Unclosed(self.reader)


class _Unclosed:
    def __init__(self, reader):
        self.reader = reader

    def __getattr__(self, name):
        return getattr(self.reader, name)

    def close(self):
        pass
