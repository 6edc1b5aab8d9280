"""TLS and HTTP/2 towards clients, and the headers that make browsers careful."""
import contextlib
import json
import signal
import socket
import ssl
import subprocess
import threading

import h2.config
import h2.connection
import h2.events
import pytest

from gateway_fixture import GOAWAY, ROOT, SERVICE, FakeService, Gateway, Messages, free_port, wait_until


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run([ROOT / "deploy/self-signed-certificate", folder, "api.example.com"], check=True)
    return folder


@pytest.fixture(scope="module")
def gateway(descriptor_set, certificate):
    port = free_port()
    listen = f"listen 127.0.0.1:{port} ssl http2 default_server; ssl_certificate {certificate}/certificate.pem;"
    here = " default_server backlog=4096;\n"
    started = Gateway(descriptor_set, {here: f"{here} {listen} ssl_certificate_key {certificate}/key.pem;"})
    started.tls_port = port
    messages = Messages(descriptor_set)
    service = FakeService(messages, started.socket_path("chat"))
    service.answers[SERVICE + "GetItem"] = lambda r, c: messages.new("demo.v1.GetItemResponse", item={"name": r.name})
    service.answers[SERVICE + "CreateItem"] = lambda r, c: messages.new("demo.v1.CreateItemResponse", item=r.item)
    yield started.start()
    service.stop()
    started.stop()


def connect(gateway, certificate, alpn=("h2", "http/1.1"), minimum=None, maximum=None, name="localhost"):
    context = ssl.create_default_context(cafile=f"{certificate}/certificate.pem")
    context.set_alpn_protocols(list(alpn))
    # Debian's own client refuses old protocols as well, unless it is told not to.
    context.set_ciphers("ALL:@SECLEVEL=0")
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    plain = socket.create_connection(("127.0.0.1", gateway.tls_port), timeout=30)
    return context.wrap_socket(plain, server_hostname=name)


def http1(connection, request):
    connection.sendall(request)
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


class Http2:
    """A client on one connection."""

    def __init__(self, connection):
        self.socket = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.answers = {}
        self._pending = b""
        self.last_stream = None  # of a GOAWAY; what comes after it was not looked at and may be sent again

    def send(self, method, path, body=b"", headers=()):
        stream = self.h2.get_next_available_stream_id()
        pairs = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost"), *headers]
        self.h2.send_headers(stream, pairs, end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        self.socket.sendall(self.h2.data_to_send())
        self.answers[stream] = [None, {}, b"", False]
        return stream

    def wait(self, stream):
        """(status, headers, body)"""
        answer = self.answers[stream]
        while not answer[3]:
            if self.last_stream is not None and stream > self.last_stream:
                return None
            data = self.socket.recv(65536)
            assert data, "closed in the midst"
            for event in self.h2.receive_data(self._without_goaway(data)):
                self._take(event)
            self.socket.sendall(self.h2.data_to_send())
        return tuple(answer[:3])

    def _without_goaway(self, data):
        """The library would refuse to read on behind a GOAWAY, where the rest of the answers are."""
        self._pending += data
        passed = b""
        while len(self._pending) >= 9:
            size = 9 + int.from_bytes(self._pending[:3], "big")
            if len(self._pending) < size:
                break
            frame, self._pending = self._pending[:size], self._pending[size:]
            if frame[3] == GOAWAY:
                self.last_stream = int.from_bytes(frame[9:13], "big")
            else:
                passed += frame
        return passed

    def _take(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            headers = dict(event.headers)
            self.answers[event.stream_id][0] = int(headers[":status"])
            self.answers[event.stream_id][1] = headers
        elif isinstance(event, h2.events.DataReceived):
            self.answers[event.stream_id][2] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.answers[event.stream_id][3] = True
        assert not isinstance(event, h2.events.StreamReset), event


def test_http2_is_chosen(gateway, certificate):
    with connect(gateway, certificate) as connection:
        assert connection.version() == "TLSv1.3" and connection.selected_alpn_protocol() == "h2"
        client = Http2(connection)
        streams = [client.send("GET", f"/demo/items/{i}") for i in range(20)]
        body = json.dumps({"item": {"name": "b" * 15_000}}).encode()
        created = client.send("POST", "/demo/items", body, [("content-type", "application/json")])
        refused = client.send("GET", "/nope")
        for i, stream in enumerate(streams):
            status, headers, body = client.wait(stream)
            assert status == 200 and json.loads(body)["item"]["name"] == str(i)
            assert headers["strict-transport-security"] == "max-age=63072000"
        status, _, body = client.wait(created)
        assert status == 201 and json.loads(body)["item"]["name"] == "b" * 15_000
        status, headers, body = client.wait(refused)
        assert status == 404 and headers["content-type"] == "application/problem+json"


def test_http1_over_tls(gateway, certificate):
    for alpn in (("http/1.1",), ("nonsense", "http/1.1")):
        with connect(gateway, certificate, alpn) as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"
            answer = http1(connection, b"GET /demo/items/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ") and b"Strict-Transport-Security: max-age=" in answer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_versions(gateway, certificate, version):
    with connect(gateway, certificate, minimum=version, maximum=version) as connection:
        name, _, bits = connection.cipher()
        assert bits >= 128 and ("GCM" in name or "CHACHA20" in name)
        assert version == ssl.TLSVersion.TLSv1_3 or name.startswith("ECDHE-")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(gateway, certificate, version):
    with pytest.raises(ssl.SSLError) as refused:
        connect(gateway, certificate, minimum=version, maximum=version)
    assert "PROTOCOL" in str(refused.value).upper() or "ALERT" in str(refused.value).upper()


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "aNULL"])
def test_weak_ciphers_are_refused(gateway, certificate, ciphers):
    context = ssl.create_default_context(cafile=f"{certificate}/certificate.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", gateway.tls_port), timeout=30) as plain:
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "api.example.com"])
def test_names_of_the_self_signed_certificate(gateway, certificate, name):
    connect(gateway, certificate, name=name).close()


def test_other_names_are_not_covered(gateway, certificate):
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(gateway, certificate, name="evil.example.com")


def test_plain_text_on_the_tls_port(gateway):
    with socket.create_connection(("127.0.0.1", gateway.tls_port), timeout=30) as s:
        answer = http1(s, b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in answer and b"<html" not in answer


def test_garbage_on_the_tls_port(gateway):
    with socket.create_connection(("127.0.0.1", gateway.tls_port), timeout=30) as s, contextlib.suppress(ConnectionError):
        s.sendall(b"\x16\x03\x01\xff\xff" + bytes(range(256)) * 20)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    assert gateway.get("/healthz").status == 200


SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@pytest.mark.parametrize(
    "method, path, body",
    [("GET", "/demo/items/a", None), ("POST", "/demo/items", "{"), ("GET", "/nope", None), ("OPTIONS", "/demo/items", None),
     ("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/metrics", None)],
)
def test_security_headers(gateway, method, path, body):
    answer = gateway.request(method, path, body=body)
    for name, value in SECURITY.items():
        assert answer.headers.get_all(name) == [value], path
    # In the clear the header would mean nothing, or lock a developer out of localhost.
    assert "Strict-Transport-Security" not in answer.headers
    assert answer.headers["Server"] == "nginx"


def test_reload_without_a_failed_request(gateway, certificate):
    """Over HTTP/2 a worker that leaves says which requests it has not looked at: those are sent again."""
    stop, served, failed = threading.Event(), [], []

    def ask():
        client = Http2(connect(gateway, certificate))
        while not stop.is_set():
            try:
                streams = [client.send("GET", f"/demo/items/{i}") for i in range(3)] if client.last_stream is None else []
                answers = [client.wait(stream) for stream in streams]
            except (OSError, AssertionError) as error:
                failed.append(repr(error))
                answers, client.last_stream = [], 0
            served.extend(answer[0] for answer in answers if answer)
            if client.last_stream is not None:
                client.socket.close()
                client = Http2(connect(gateway, certificate))
        client.socket.close()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = set(gateway.worker_pids())
        wait_until(lambda n=len(served): len(served) > n + 50)
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda b=before: not b & set(gateway.worker_pids()))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed and set(served) == {200} and len(served) > 150


# ---- the script ----


def test_existing_pair_is_left_alone(certificate):
    before = [(certificate / name).read_bytes() for name in ("key.pem", "certificate.pem")]
    done = subprocess.run([ROOT / "deploy/self-signed-certificate", certificate], capture_output=True, text=True)
    assert done.returncode == 1 and "already" in done.stderr
    assert before == [(certificate / name).read_bytes() for name in ("key.pem", "certificate.pem")]


def test_key_is_its_owners_alone(certificate):
    assert (certificate / "key.pem").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["a b", "x;y", "a,DNS:evil"])
def test_names_that_are_none(tmp_path, name):
    folder = tmp_path / "new"
    done = subprocess.run([ROOT / "deploy/self-signed-certificate", folder, name], capture_output=True, text=True)
    assert done.returncode == 1 and "not a host name" in done.stderr and not folder.exists()
