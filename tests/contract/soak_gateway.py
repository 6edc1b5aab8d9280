#!/usr/bin/python3
"""Clients that go at any moment: 1,000 at once, for a minute, each in the midst of a request, an answer, a stream or a
WebSocket, in the clear, over TLS and over HTTP/2. Prints what gateway and service hold before and after, and fails
when that differs.

usage: tests/contract/soak_gateway.py     (make soak builds first)
Settings: SOAK_SECONDS (60), SOAK_CLIENTS (1000), SOAK_SEED (1).
"""
import asyncio
import base64
import collections
import os
import pathlib
import random
import ssl
import struct
import subprocess
import sys
import tempfile
import time

import h2.config
import h2.connection
from gateway_fixture import ROOT, TestGateway, free_port

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
CLIENTS = int(os.environ.get("SOAK_CLIENTS", "1000"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
WARM_UP = SECONDS  # of the same load before anything is counted: malloc keeps what the busiest moment needed
SETTLE = 30  # seconds in which everything has to be as before
# Of memory, in KB: what malloc keeps differs from run to run; each of the clients' requests leaves less than this.
SLACK = 4096


def request(method, path, headers="", body=b""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n".encode() + body


def frame(rng, opcode, payload):
    mask = rng.randbytes(4)
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([0x80 | opcode]) + size + mask + masked


def unary(rng):
    return request("GET", f"/test/echo-unary/{'x' * rng.randint(1, 500)}")


def upload(rng):
    return request("POST", "/test/body/whole", "Content-Type: text/plain\r\n", rng.randbytes(rng.randint(1, 200_000)))


def json_body(rng):
    body = b'{"message":"%s"}' % (b"m" * rng.randint(1, 20_000))
    return request("POST", "/test/echo-unary", "Content-Type: application/json\r\n", body)


def stream(rng):
    form = rng.choice(["text/event-stream", "application/x-ndjson"])
    pace = rng.choice(["", "&interval=0.010s"])
    return request("GET", f"/test/count?count={rng.randint(0, 300)}&padding={rng.randint(0, 2000)}{pace}", f"Accept: {form}\r\n")


def websocket(rng):
    key = base64.b64encode(rng.randbytes(16)).decode()
    head = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    frames = b"".join(frame(rng, 2, rng.randbytes(rng.randint(0, 3000))) for _ in range(rng.randint(0, 20)))
    end = frame(rng, 8, b"\x03\xe8") if rng.random() < 0.3 else b""
    return request("GET", "/test/echo/raw", head) + frames + end


def http2(rng):
    """Several requests on one connection, some of which are reset."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    for _ in range(rng.randint(1, 8)):
        stream_id = connection.get_next_available_stream_id()
        path = rng.choice(["/test/echo-unary/x", "/test/count?count=50&interval=0.010s&padding=500"])
        head = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "localhost")]
        connection.send_headers(stream_id, head, end_stream=True)
        if rng.random() < 0.3:
            connection.reset_stream(stream_id, 8)
    return connection.data_to_send()


class Load:
    def __init__(self, gateway, ports, tls):
        self.gateway, self.ports, self.tls = gateway, ports, tls
        self.counts = collections.Counter()

    async def client(self, number, until):
        rng = random.Random(SEED * 1_000_003 + number)
        while time.monotonic() < until:
            kind = rng.choice([unary, upload, json_body, stream, websocket, http2])
            try:
                await asyncio.wait_for(self.visit(rng, kind), 20)
                self.counts[kind.__name__] += 1
            except (OSError, asyncio.TimeoutError) as error:
                self.counts[type(error).__name__] += 1

    async def visit(self, rng, kind):
        data = kind(rng)
        if kind is http2:
            port, tls = self.ports["http2"], None
        elif rng.random() < 0.2:
            port, tls = self.ports["tls"], self.tls
        else:
            port, tls = self.ports["plain"], None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        try:
            part = len(data) if rng.random() < 0.7 else rng.randint(0, len(data))
            writer.write(data[:part])
            await writer.drain()
            wanted = rng.choice([0, 1, 300, 5_000, 100_000])
            while wanted > 0 and rng.random() < 0.9:
                try:
                    got = await asyncio.wait_for(reader.read(min(wanted, 4096)), rng.uniform(0.01, 0.5))
                except asyncio.TimeoutError:
                    break
                if not got:
                    break
                wanted -= len(got)
        finally:
            if rng.random() < 0.5:
                writer.transport.abort()
            writer.close()


async def load(gateway, ports, tls, seconds):
    run = Load(gateway, ports, tls)
    until = time.monotonic() + seconds
    await asyncio.gather(*(run.client(number, until) for number in range(CLIENTS)))
    return run.counts


# ---- what is held ----


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"no VmRSS of {pid}")


def held(gateway):
    (worker,) = gateway.worker_pids()
    text = gateway.get("/metrics").body.decode()

    def open_now(name):
        lines = [line for line in text.splitlines() if line.startswith(f"grpc_json_{name}{{")]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)

    return {
        "worker": worker,
        "worker's descriptors": descriptors(worker),
        "requests open": open_now("requests_open"),
        "sessions open": open_now("sessions_open"),
        "service's descriptors": descriptors(gateway.server.pid),
        "worker's memory, KB": memory(worker),
        "service's memory, KB": memory(gateway.server.pid),
    }


def differences(before, after):
    """Names of what is not as it was. Memory may be less, and SLACK more."""
    return [
        name for name, value in after.items()
        if (value > before[name] + SLACK if "memory" in name else value != before[name])
    ]


def settle(gateway, before=None):
    """What is held when nothing more changes, or as before."""
    end = time.monotonic() + SETTLE
    last = None
    while time.monotonic() < end:
        now = held(gateway)
        if (before and not differences(before, now)) or (not before and last == now):
            return now
        last = now
        time.sleep(2)
    return last


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([ROOT / "deploy/self-signed-certificate", folder], check=True, capture_output=True)
        ports = {"http2": free_port(), "tls": free_port()}
        gateway = TestGateway({
            " default_server;": f""" default_server;
                listen 127.0.0.1:{ports['http2']} http2;
                listen 127.0.0.1:{ports['tls']} ssl; ssl_session_cache off; ssl_session_tickets off;
                ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;""",
            "    server {": "    grpc_json_metrics_zone 1m;\n    server {",
            "        location / {": "        location = /metrics { grpc_json_metrics; }\n        location / {",
        })
        gateway.start()
        try:
            return run(gateway, {**ports, "plain": gateway.port}, ssl.create_default_context(cafile=f"{folder}/certificate.pem"))
        finally:
            gateway.stop()


def run(gateway, ports, tls):
    tls.check_hostname = False
    asyncio.run(load(gateway, ports, tls, WARM_UP))
    before = settle(gateway)
    counts = asyncio.run(load(gateway, ports, tls, SECONDS))
    after = settle(gateway, before)
    print(f"{CLIENTS} clients, {SECONDS:.0f} s: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    print(f"{'':24} {'before':>10} {'after':>10}")
    for name, value in before.items():
        print(f"{name:24} {value:>10} {after[name]:>10}")
    wrong = differences(before, after)
    print("not as before: " + ", ".join(wrong) if wrong else "all as before")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
