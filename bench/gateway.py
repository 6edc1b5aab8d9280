#!/usr/bin/python3
"""What the gateway itself costs: one nginx worker in front of the test server, all in one run.

Prints the worker's CPU microseconds for nginx's static answer, for a gRPC call that nginx's own
grpc_pass passes on, and for the same call transcoded from and to JSON; then what an idle WebSocket
takes of the worker's memory, with a stream of its own and as a part of one that all share; and what
a broadcast costs the worker for each member of a room.

usage: bench/gateway.py          (make bench builds first)
Settings: BENCH_SECONDS (8) a row, BENCH_CONNECTIONS (64), BENCH_WEBSOCKETS (8000), BENCH_MEMBERS (500).
"""

import base64
import json
import os
import pathlib
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from bench import HERE, Table, fail, free_ports, h2load, wrk

WEBSOCKETS = int(os.environ.get("BENCH_WEBSOCKETS", "8000"))
MEMBERS = int(os.environ.get("BENCH_MEMBERS", "500"))
BROADCASTS = 3200  # for each row
OUT = pathlib.Path(os.environ.get("STOA_OUT") or HERE.parent / "build/release")
MESSAGE = "m" * 100

CONF = """
load_module {out}/gateway/ngx_http_grpc_json_module.so;
{user} worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; }}
http {{
    {temporary}
    access_log off;
    keepalive_requests 100000000;
    upstream test {{ server unix:{home}/test.sock; keepalive 64; keepalive_requests 100000000; }}
    grpc_set_header Content-Length "";
    grpc_json_descriptor_set {out}/../testserver.binpb;
    grpc_json_websocket_attach /stoa.test.v1.EchoService/Room /stoa.edge.v1.EdgeService/Attach;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /static {{ return 200 "{message}"; }}
        location / {{ grpc_json on; grpc_json_problems on; grpc_json_websocket test; grpc_json_pass test; }}
    }}
    server {{ listen 127.0.0.1:{plain} http2; location / {{ grpc_pass grpc://test; }} }}
}}
"""


class Gateway:
    """The test server and an nginx with one worker, without logs and limits."""

    def __init__(self, home):
        self.home, (self.port, self.plain) = home, free_ports(2)
        self.url, self.plain_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.plain}"
        temporary = "".join(
            f"{name}_temp_path {home}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (home / "nginx.conf").write_text(
            CONF.format(
                out=OUT.resolve(), home=home, port=self.port, plain=self.plain, message=MESSAGE, temporary=temporary,
                user="user root;" if os.geteuid() == 0 else "", connections=WEBSOCKETS + 512,
                descriptors=WEBSOCKETS + 1024,
            )
        )

    def __enter__(self):
        self.processes = []
        environment = dict(os.environ, STOA_TEST_LISTEN=f"unix:{self.home}/test.sock", STOA_TEST_ROOMS=str(self.home))
        self._start([OUT / "bin/testserver"], lambda: (self.home / "test.sock").exists(), environment)
        self._start(
            ["nginx", "-p", self.home, "-c", self.home / "nginx.conf", "-e", self.home / "error.log", "-g", "daemon off;"],
            self._listens,
            os.environ,
        )
        return self

    def _listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def _start(self, command, ready, environment):
        log = open(self.home / "log", "ab")
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        for _ in range(200):
            if ready():
                return
            if process.poll() is not None:
                break
            time.sleep(0.05)
        self.__exit__()
        fail(f"{command[0]} does not start: {(self.home / 'log').read_text()}")

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait()

    def worker(self):
        return int(subprocess.run(["pgrep", "-P", str(self.processes[1].pid)], capture_output=True, text=True).stdout)


# ---- WebSockets ----


def private_kb(pid):
    """KB that only this process has; memory that is shared with others is not counted."""
    total = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total


def open_websocket(port, path="/test/echo", headers="", wrap=None):
    """The socket, when the handshake is done. headers: further lines; wrap: what makes a TLS socket of it."""
    key = base64.b64encode(os.urandom(16)).decode()
    s = socket.create_connection(("127.0.0.1", port))
    if wrap:
        s = wrap(s)
    s.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = s.recv(4096)
        if not part:
            break
        answer += part
    if not answer.startswith(b"HTTP/1.1 101 "):
        fail(f"no WebSocket: {answer[:200]!r}")
    return s


def measure_websockets(gateway, path):
    """KB of the worker's memory for each, with what their requests left behind."""
    pid = gateway.worker()
    before = private_kb(pid)
    sockets = [open_websocket(gateway.port, path) for _ in range(WEBSOCKETS)]
    kb = (private_kb(pid) - before) / WEBSOCKETS
    for s in sockets:
        s.close()
    return kb


def send_json(s, message):
    payload = json.dumps(message).encode()
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xfe]) + len(payload).to_bytes(2, "big")
    s.sendall(b"\x81" + length + bytes(4) + payload)


def cpu_us(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 / os.sysconf("SC_CLK_TCK")


class Members:
    """Those in a room, who read and count what comes: one frame for a message."""

    def __init__(self, port, room):
        self.selector = selectors.DefaultSelector()
        self.received = 0
        for _ in range(MEMBERS):
            s = open_websocket(port, "/test/room")
            send_json(s, {"join": {"room": room}})
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ)

    def read(self, enough):
        buffer = bytearray(1 << 20)
        while self.received < enough:
            for key, _ in self.selector.select(5):
                self.received += key.fileobj.recv_into(buffer)


def measure_broadcasts(gateway, room, at_once):
    """(microseconds of the worker for each message and member, deliveries a second): so many messages wait at a
    time."""
    pid = gateway.worker()
    members = Members(gateway.port, room)
    time.sleep(1)  # all are live, and what came until now is read with the rest
    writer = open_websocket(gateway.port, "/test/room")
    frame = len(json.dumps({"message": {"room": str(room), "number": "1000", "text": MESSAGE}}, separators=(",", ":"))) + 4
    reader = threading.Thread(target=members.read, args=(BROADCASTS * MEMBERS * (frame - 4),))
    before, began = cpu_us(pid), time.monotonic()
    reader.start()
    for _ in range(BROADCASTS // at_once):
        send_json(writer, {"say": {"room": room, "text": MESSAGE, "repeat": at_once}})
        writer.recv(4096)  # has been said
    reader.join()
    took = time.monotonic() - began
    return (cpu_us(pid) - before) / BROADCASTS / MEMBERS, BROADCASTS * MEMBERS / took


def main():
    for tool in ("wrk", "h2load", "nginx"):
        if not shutil.which(tool):
            fail(f"{tool} is missing: run `make bench`, which installs it")
    home = pathlib.Path(tempfile.mkdtemp(prefix="stoa-bench-"))
    try:
        with Gateway(home) as gateway:
            run(gateway, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def run(gateway, home):
    # First: memory that the load leaves behind would serve them.
    shared_kb = measure_websockets(gateway, "/test/room")
    kb = measure_websockets(gateway, "/test/echo")
    table = Table()
    roots = [process.pid for process in gateway.processes]
    static = table.measure("nginx, return 200", roots, wrk("get.lua", gateway.url + "/static"))
    wire = b"\x0a" + bytes([len(MESSAGE)]) + MESSAGE.encode()
    plain = table.measure(
        "gRPC Echo, nginx grpc_pass", roots, h2load(gateway.plain_url, "/stoa.test.v1.EchoService/Echo", wire, home)
    )
    echo = table.measure("POST Echo, transcoded", roots, wrk("echo.lua", gateway.url + "/test/echo-unary"))
    print()
    ours, ceiling, passed = (row.split.get("nginx", 0) for row in (echo, static, plain))
    print(f"a transcoded call costs the worker {ours / ceiling:.2f} static answers, {ours / passed:.2f} passed calls")
    print(f"an idle WebSocket costs the worker {kb:.2f} KB, its stream included; {shared_kb:.2f} KB where all share one")
    for room, at_once in enumerate((1, 16, 64), 1):
        us, rate = measure_broadcasts(gateway, room, at_once)
        print(f"{at_once} messages at a time to {MEMBERS} members: {us:.2f} us of the worker each, {rate:,.0f} a second")


if __name__ == "__main__":
    main()
