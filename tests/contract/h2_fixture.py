"""Streams of gateway/h2.h, driven from Python: nginx with tests/h2module, whose client (User) opens one
stream for each connection; and H2Service, a gRPC server on python3-h2 whose RPCs a test can read in ten
lines."""
import contextlib
import os
import pathlib
import queue
import selectors
import socket
import threading
import zlib
from urllib.parse import quote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from gateway_fixture import OUT, Gateway, grpc_message, wait_until

MODULE = os.environ.get(
    "STOA_H2_TEST_MODULE", str(OUT.parent / "release" / "tests" / "ngx_http_h2_test_module.so")
)
CONFIG = """
load_module {module};
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/log/nginx-error.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {dir}/nginx/b; proxy_temp_path {dir}/nginx/p; fastcgi_temp_path {dir}/nginx/f;
    uwsgi_temp_path {dir}/nginx/u; scgi_temp_path {dir}/nginx/s;
    h2_test_times {times};
    upstream one {{ server unix:{dir}/sock/one.sock; }}
    upstream two {{ server unix:{dir}/sock/a.sock; server unix:{dir}/sock/b.sock; }}
    upstream weighted {{ server unix:{dir}/sock/a.sock weight=3; server unix:{dir}/sock/b.sock; }}
    upstream tcp {{ server 127.0.0.1:{tcp_port}; }}
    server {{
        listen 127.0.0.1:{port};
        location /one {{ h2_test one; }}
        location /two {{ h2_test two; }}
        location /weighted {{ h2_test weighted; }}
        location /tcp {{ h2_test tcp; }}
    }}
}}
"""
CARRY = "/stoa.edge.v1.CallService/Carry"
SLOW = "30s 1h 1h 1h"  # connect, ping interval, ping timeout, idle


class H2Gateway(Gateway):
    def __init__(self, times=SLOW, tcp_port=1):
        self.times = times
        self.tcp_port = tcp_port
        super().__init__("")

    def write_config(self, _changes):
        text = CONFIG.format(module=MODULE, dir=self.dir, port=self.port, times=self.times, tcp_port=self.tcp_port)
        pathlib.Path(self.config).write_text(text)

    def log(self):
        return pathlib.Path(f"{self.dir}/log/nginx-error.log").read_text()

    def user(self, upstream="one"):
        return User(self.port, upstream)

    def stats(self):
        with self.user() as user:
            user.say("stats")
            _, connections, streams = user.hear("stats")
            return int(connections), int(streams)


class User:
    """The client of one stream. heard lists what it was told."""

    def __init__(self, port, upstream):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.reader = self.socket.makefile("rb")
        self.socket.sendall(f"GET /{upstream} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if self.reader.readline() != b"HTTP/1.1 200 OK\r\n" or self.reader.readline() != b"\r\n":
            self.close()
            raise ConnectionError("the gateway does not answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.reader.close()
        self.socket.close()

    def say(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def open(self, path, limit=1 << 20, timeout=0, *headers):
        self.say(" ".join(["open", path, str(limit), str(timeout), *headers]))
        return self

    def hear(self, *kinds):
        """The next line, which is one of these kinds."""
        line = self.reader.readline().decode().split()
        assert line and line[0] in kinds, (line, kinds)
        return line

    def message(self):
        _, size, crc = self.hear("message")
        return int(size), int(crc)

    def end(self):
        """(code, from_upstream, message, details)"""
        _, code, from_upstream, message, details = self.hear("ended")
        return int(code), from_upstream == "1", bytes.fromhex(message[1:]).decode(), bytes.fromhex(details[1:])

    def nothing(self):
        """Nothing was told so far: the answer to a question comes next."""
        self.say("stats")
        self.hear("stats")


def crc(data):
    return zlib.crc32(data)


class H2Service:
    """RPCs by path: a method of the same name gets (connection, stream) with each event. connections lists
    what was accepted; requests the headers of each stream; reads how many of them came with one read, where any did."""

    def __init__(self, address, settings=None, rpcs=None):
        self.settings = settings or {}
        self.rpcs = rpcs or {}
        self.connections = []
        self.requests = []
        self.reads = []
        if isinstance(address, str):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        if isinstance(address, str):
            os.chmod(address, 0o777)
        self.socket.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            self.connections.append(Connection(self, peer))
            self.connections[-1].start()

    def stop(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in self.connections:
            connection.close()

    def open_connections(self):
        return [c for c in self.connections if not c.ended]


class Stream:
    def __init__(self, number, headers):
        self.number = number
        self.path = headers[":path"]
        self.received = b""
        self.waiting = b""  # to be sent, as windows allow
        self.trailers = None
        self.reset = None  # its error code, when the gateway reset it
        self.ended = False


class Connection:
    """One connection of the gateway, served by a thread; do() runs something in that thread."""

    def __init__(self, service, peer):
        self.service = service
        self.peer = peer
        self.streams = {}
        self.ended = False
        self.pings = 0
        self.goaway = False
        self.jobs = queue.Queue()
        self.wake_out, self.wake_in = socket.socketpair()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values={
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100, **service.settings})

    def start(self):
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_RDWR)

    def do(self, job):
        self.jobs.put(job)
        self.wake_in.send(b"x")

    def _serve(self):
        try:
            self.h2.initiate_connection()
            self._flush()
            with selectors.DefaultSelector() as selector:
                selector.register(self.peer, selectors.EVENT_READ)
                selector.register(self.wake_out, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select():
                        if key.fileobj is self.wake_out:
                            self.wake_out.recv(1)
                            self.jobs.get()(self)
                        else:
                            data = self.peer.recv(65536)
                            if not data:
                                return
                            events = self.h2.receive_data(data)
                            began = sum(isinstance(e, h2.events.RequestReceived) for e in events)
                            if began:
                                self.service.reads.append(began)
                            for event in events:
                                self._on(event)
                        self._flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.ended = True
            self.peer.close()

    def _flush(self):
        for stream in list(self.streams.values()):
            self._send(stream)
        data = self.h2.data_to_send()
        if data:
            self.peer.sendall(data)

    def _send(self, stream):
        while stream.waiting and stream.reset is None:
            n = min(self.h2.local_flow_control_window(stream.number), self.h2.max_outbound_frame_size)
            if n <= 0:
                return
            self.h2.send_data(stream.number, stream.waiting[:n])
            stream.waiting = stream.waiting[n:]
        if stream.trailers is not None and stream.reset is None:
            self.h2.send_headers(stream.number, stream.trailers, end_stream=True)
            stream.trailers = None
            stream.ended = True

    def _on(self, event):
        if isinstance(event, h2.events.RequestReceived):
            headers = dict(event.headers)
            if headers[":path"] == CARRY and CARRY not in self.service.rpcs:
                # UNIMPLEMENTED: a service that knows nothing of it, and its tests of no such stream.
                self.respond(Stream(event.stream_id, headers), ("grpc-status", "12"), end=True)
                return
            self.service.requests.append(headers)
            self.streams[event.stream_id] = Stream(event.stream_id, headers)
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = True
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if not stream:
            return
        if isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code
            return
        own = self.service.rpcs.get(stream.path)
        # What the gateway reset meanwhile is not answered.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            if own:
                own(self, stream, event)
            else:
                getattr(self, "rpc" + stream.path.replace("/", "_"))(stream, event)

    # ---- what RPCs say ----

    def respond(self, stream, *headers, status="200", kind="application/grpc", end=False):
        self.h2.send_headers(stream.number, [(":status", status), ("content-type", kind), *headers], end_stream=end)
        stream.ended = end

    def trailers(self, stream, code, message=None, *more):
        stream.trailers = [("grpc-status", str(code))]
        if message is not None:
            stream.trailers.append(("grpc-message", quote(message, safe=" ")))
        stream.trailers.extend(more)

    def consume(self, event):
        if event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    # ---- RPCs ----

    def rpc_t_Echo(self, stream, event):
        if isinstance(event, h2.events.RequestReceived):
            self.respond(stream)
        elif isinstance(event, h2.events.DataReceived):
            self.consume(event)
            stream.waiting += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.trailers(stream, 0)

    def rpc_t_Silent(self, stream, event):
        pass

    def rpc_t_Open(self, stream, event):
        """Initial metadata, then nothing."""
        if isinstance(event, h2.events.RequestReceived):
            self.respond(stream)


def wait_streams(gateway, connections, streams):
    """Until the worker has so many left; the question is a user of its own, without a stream."""
    wait_until(lambda: gateway.stats() == (connections, streams))


__all__ = ["CARRY", "Connection", "H2Gateway", "H2Service", "User", "crc", "grpc_message", "wait_streams", "wait_until"]
