"""A WebSocket client that does only what a test tells it to, right or wrong: frames by hand on a raw socket.
Masks are zero unless a test wants others: payloads of megabytes are then sent as they are."""
import base64
import contextlib
import hashlib
import http.client
import os
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload=b"", fin=True, mask=b"\0\0\0\0", rsv=0):
    """A frame as a client sends it; mask None: unmasked, which no client may."""
    if isinstance(payload, str):
        payload = payload.encode()
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    masked = 0x80 if mask is not None else 0
    if len(payload) < 126:
        head += bytes([masked | len(payload)])
    elif len(payload) < 1 << 16:
        head += bytes([masked | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", len(payload))
    if mask and any(mask):
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return head + (mask or b"") + payload


def close_frame(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason)


class Refused(Exception):
    """The handshake was answered by something else than a 101: the http.client response, and its body."""

    def __init__(self, response, body):
        super().__init__(response.status, body)
        self.status = response.status
        self.headers = response.headers
        self.body = body


class Socket:
    """A WebSocket. headers replace those of a proper handshake (None: left out); a list gives several lines.
    early: bytes that go out together with the handshake."""

    def __init__(self, port, path, headers=None, early=b"", wrap=None, receive_buffer=None, wait=True):
        self.key = base64.b64encode(os.urandom(16)).decode()
        self.socket = socket.socket()
        self.socket.settimeout(30)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        if wrap:
            self.socket = wrap(self.socket)
        values = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self.key,
            **(headers or {}),
        }
        lines = [f"GET {path} HTTP/1.1"]
        for name, value in values.items():
            lines += [f"{name}: {one}" for one in ([value] if isinstance(value, str) else value or [])]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + early)
        if wait:
            self.open()

    def open(self):
        """Reads the answer to the handshake."""
        self.reader = self.socket.makefile("rb")
        self.response = http.client.HTTPResponse(self.socket)
        self.response.fp = self.reader
        self.response.begin()
        if self.response.status != 101:
            body = self.response.read()
            self.socket.close()
            raise Refused(self.response, body)
        accept = base64.b64encode(hashlib.sha1(self.key.encode() + GUID).digest()).decode()
        assert self.response.headers["Sec-WebSocket-Accept"] == accept
        assert self.response.headers["Upgrade"] == "websocket"
        assert self.response.headers["Connection"].lower() == "upgrade"
        self.headers = self.response.headers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def drop(self):
        with contextlib.suppress(OSError):
            self.socket.close()
        if hasattr(self, "reader"):
            self.reader.close()

    def send(self, *args, **kwargs):
        self.socket.sendall(frame(*args, **kwargs))

    def raw(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next frame: (opcode, payload); None when the server has hung up."""
        head = self.reader.read(2)
        if not head:
            return None
        assert len(head) == 2
        fin, opcode, n = head[0] & 0x80, head[0] & 0x0f, head[1]
        assert n < 128, "a server does not mask"
        assert not head[0] & 0x30
        if n == 126:
            n = struct.unpack(">H", self.reader.read(2))[0]
            assert n > 125
        elif n == 127:
            n = struct.unpack(">Q", self.reader.read(8))[0]
            assert n > 65535
        payload = self.reader.read(n)
        assert len(payload) == n and fin, "the gateway fragments nothing"
        self.compressed = bool(head[0] & 0x40)
        return opcode, payload

    def message(self):
        opcode, payload = self.receive()
        assert opcode in (TEXT, BINARY), (opcode, payload)
        return payload.decode() if opcode == TEXT else payload

    def code(self):
        """(code, reason) of the Close frame that comes next, after which the server hangs up."""
        opcode, payload = self.receive()
        assert opcode == CLOSE, (opcode, payload)
        code, reason = struct.unpack(">H", payload[:2])[0] if payload else None, payload[2:].decode()
        return code, reason

    def ends(self):
        """The same, with our Close in answer, and the server hanging up."""
        code, reason = self.code()
        with contextlib.suppress(OSError):
            self.raw(close_frame(code))
        assert self.receive() is None
        return code, reason

    def close(self, code=1000):
        """A closing handshake that we begin."""
        self.raw(close_frame(code))
        while True:
            opcode, payload = self.receive()
            if opcode == CLOSE:
                break
        assert self.receive() is None
        self.drop()
        return struct.unpack(">H", payload[:2])[0]


__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "Refused", "Socket", "TEXT", "close_frame", "frame"]
