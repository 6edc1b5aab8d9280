#!/usr/bin/python3
"""Clients that go at any moment: 1,000 at once, each in the midst of a request, an answer, a stream or a WebSocket, in
the clear, over TLS and over HTTP/2. They come in rounds: one to warm up, and then some more. Prints what gateway and
service hold after each, and fails when something open is not as it was, when the worker holds more blocks of memory than
after the first, or when memory grew in every round.

Memory of a working set grows as well, as long as a round has a busier moment than those before, and malloc keeps it. It
levels off; what is never given back grows in each round, by what the round has done. Of the worker the blocks that it
holds are counted (tests/faults): at rest it is the same number but for a few. malloc is told to give back what it can, or
a service's memory rises for ten rounds by what its threads keep.

usage: tests/contract/soak_gateway.py     (make soak builds first)
Settings: SOAK_ROUNDS (8), SOAK_SECONDS of a round (15), SOAK_CLIENTS (1000), SOAK_SEED (1).
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
from faults_fixture import Control
from gateway_fixture import NGINX, ROOT, TestGateway, free_port

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "8"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
CLIENTS = int(os.environ.get("SOAK_CLIENTS", "1000"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
SETTLE = 90  # seconds in which everything has to be as before: a connection to a service is kept for a minute
GROWTH = 64  # KB of a round that are none
BLOCKS = 64  # of the worker that are no more than before
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}


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
    def __init__(self, ports, tls, number):
        self.ports, self.tls, self.number = ports, tls, number
        self.counts = collections.Counter()

    async def client(self, number, until):
        rng = random.Random(f"{SEED} {self.number} {number}")
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


async def load(ports, tls, number):
    run = Load(ports, tls, number)
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(run.client(client, until) for client in range(CLIENTS)))
    return run.counts


# ---- what is held ----


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid):
    """In KB. VmRSS of /proc/PID/status may be off by as much as a leak leaves in a round."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise AssertionError(f"no Rss of {pid}")


BLOCKS_HELD = "worker's blocks"


class Watched(TestGateway):
    """Its worker's blocks are counted."""

    def __init__(self, changes):
        self.control = Control()
        self.nginx = self.control.preload(NGINX)
        super().__init__(changes)


def held(gateway):
    """What is open by name, and then the memory."""
    (worker,) = gateway.worker_pids()
    gateway.control.watch(worker)
    # Counted before the worker has a connection of ours, which it closes some time after we do.
    counted = {"worker's descriptors": descriptors(worker), "service's descriptors": descriptors(gateway.server.pid)}
    text = gateway.get("/metrics").body.decode()

    def open_now(name):
        lines = [line for line in text.splitlines() if line.startswith(f"grpc_json_{name}{{")]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)

    return (
        {"worker": worker, **counted, "requests open": open_now("requests_open"), "sessions open": open_now("sessions_open")},
        {BLOCKS_HELD: gateway.control.live, "worker's memory, KB": memory(worker), "service's memory, KB": memory(gateway.server.pid)},
    )


def settle(gateway, wanted=None):
    """What is held when nothing more changes, or when as much is open as wanted."""
    end = time.monotonic() + SETTLE
    last = None
    while True:
        now = held(gateway)
        if now[0] == wanted or (wanted is None and now == last) or time.monotonic() > end:
            return now
        last = now
        time.sleep(2)


def grows(values):
    """Whether it does so from each to the next."""
    return len(values) > 2 and all(after - before > GROWTH for before, after in zip(values, values[1:]))


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([ROOT / "deploy/self-signed-certificate", folder], check=True, capture_output=True)
        ports = {"http2": free_port(), "tls": free_port()}
        gateway = Watched({
            " default_server;": f""" default_server;
                listen 127.0.0.1:{ports['http2']} http2;
                listen 127.0.0.1:{ports['tls']} ssl; ssl_session_cache off; ssl_session_tickets off;
                ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;""",
            "    server {": "    grpc_json_metrics_zone 1m;\n    grpc_json_carry /stoa.edge.v1.CallService/Carry;\n    server {",
            "        location / {": "        location = /metrics { grpc_json_metrics; }\n        location / {",
        })
        os.environ.update(MALLOC)
        gateway.start()
        try:
            return run(gateway, {**ports, "plain": gateway.port}, ssl.create_default_context(cafile=f"{folder}/certificate.pem"))
        finally:
            gateway.stop()


def run(gateway, ports, tls):
    tls.check_hostname = False
    counts = collections.Counter()
    rounds = []
    for number in range(ROUNDS):
        counts += asyncio.run(load(ports, tls, number))
        rounds.append(settle(gateway, rounds[0][0] if rounds else None))
    print(f"{CLIENTS} clients, {ROUNDS} rounds of {SECONDS:.0f} s: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    rows = {name: [each[part][name] for each in rounds] for part in (0, 1) for name in rounds[0][part]}
    for name, values in rows.items():
        print(f"{name:24}" + "".join(f" {value:>8}" for value in values))
    wrong = [f"{name}: not as it was" for name in rounds[0][0] if len(set(rows[name])) > 1]
    wrong += [f"{name}: more in each round" for name in rounds[0][1] if grows(rows[name])]
    if rows[BLOCKS_HELD][-1] - rows[BLOCKS_HELD][0] > BLOCKS:
        wrong.append(f"{BLOCKS_HELD}: more than they were")
    print("; ".join(wrong) or "all is open as it was, and memory levels off")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
