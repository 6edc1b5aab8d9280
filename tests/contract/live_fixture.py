"""Clients of live rooms, over gRPC and over the gateway's WebSocket and server-sent events, which look the same to a
test: what they get are dicts as the JSON mapping has them."""
import contextlib
import http.client
import itertools
import json
import queue
import threading

import grpc
import websocket_fixture
from google.protobuf import json_format

LIVE = "stoa.chat.v1.LiveService"
SECONDS = 30  # that a test waits for what must come


def part_of(message):
    """("event", {...}) of a message."""
    (name, value), = ((name, value) for name, value in message.items() if name != "seq")
    return name, value


class Ended(Exception):
    """The stream is over: code is gRPC's name, or a WebSocket's close code."""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Client:
    """What both transports have."""

    # Whether it takes what it hears of who is online, which comes at any time; else that is passed over.
    presence = False

    def __init__(self):
        self._ids = itertools.count(1)
        self.backlog = []  # what was passed over by answer()

    def next(self):
        """(part, value) of the next message."""
        while True:
            message = self.backlog.pop(0) if self.backlog else part_of(self.receive())
            if self.presence or message[0] != "presence":
                return message

    def expect(self, part):
        """The value of the next message, which is such a part."""
        name, value = self.next()
        assert name == part, (name, value)
        return value

    def act(self, **action):
        """Sends an action, and returns its id."""
        number = str(next(self._ids))
        self.transmit({"id": number, **action})
        return number

    def answer(self, number):
        """The ack or error of an action, and what it is; what comes before it is there for next()."""
        passed = []
        while True:
            name, value = self.next()
            if name in ("ack", "error") and value["id"] == number:
                self.backlog = passed + self.backlog
                return name, value
            passed.append((name, value))

    def done(self, **action):
        """Acts, and returns the ack."""
        name, value = self.answer(self.act(**action))
        assert name == "ack", value
        return value

    def refused(self, **action):
        """Acts, and returns the error."""
        name, value = self.answer(self.act(**action))
        assert name == "error", value
        return value

    def follow(self, room, after=None):
        """Subscribes, and returns the events up to live."""
        action = {"room": room} if after is None else {"room": room, "afterSeq": after}
        self.done(subscribe=action)
        return self.until_live(room)

    def until_live(self, room):
        events, passed = [], []
        while True:
            name, value = self.next()
            assert value["room"] == room, (name, value)
            if name == "live":
                self.backlog = passed + self.backlog
                return events
            if name == "presence":
                passed.append((name, value))
                continue
            assert name == "event", (name, value)
            events.append(value["event"])

    def events(self, count):
        """The next ones."""
        return [self.expect("event")["event"] for _ in range(count)]

    def end(self):
        """Code and reason of the end, which comes without the test's doing."""
        with contextlib.suppress(Ended):
            while True:
                self.receive()
        return self.ended

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class GrpcLive(Client):
    """Connect over gRPC: GrpcLive(contract, channel, token)."""

    def __init__(self, contract, channel, token):
        super().__init__()
        self._method = contract.method(LIVE, "Connect")
        self._actions = queue.SimpleQueue()
        call = channel.stream_stream(
            self._method.path, self._method.request.SerializeToString, self._method.response.FromString)
        self._call = call(iter(self._actions.get, None), metadata=(("authorization", f"Bearer {token}"),))
        self._watch = threading.Timer(SECONDS * 2, self._call.cancel)
        self._watch.daemon = True
        self._watch.start()

    def transmit(self, message):
        self._actions.put(json_format.ParseDict(message, self._method.request()))

    def half_close(self):
        self._actions.put(None)

    def receive(self):
        try:
            return json_format.MessageToDict(next(self._call), including_default_value_fields=True)
        except StopIteration:
            self.ended = ("OK", "")
        except grpc.RpcError as error:
            self.ended = (error.code().name, error.details())
            self.trailers = error.trailing_metadata()
        raise Ended(*self.ended)

    def close(self):
        self._actions.put(None)
        self._call.cancel()
        self._watch.cancel()


class WebSocketLive(Client):
    """Connect as a WebSocket at a gateway: WebSocketLive(port, token)."""

    def __init__(self, port, token, **more):
        super().__init__()
        self.socket = websocket_fixture.Socket(
            port, "/api/chat/ws", headers={"Authorization": f"Bearer {token}"}, **more)

    def transmit(self, message):
        self.socket.send(websocket_fixture.TEXT, json.dumps(message))

    def receive(self):
        while True:
            opcode, payload = self.socket.receive() or (None, b"")
            if opcode == websocket_fixture.TEXT:
                return json.loads(payload)
            if opcode == websocket_fixture.PING:
                self.socket.send(websocket_fixture.PONG, payload)
                continue
            assert opcode == websocket_fixture.CLOSE, (opcode, payload)
            self.ended = (int.from_bytes(payload[:2], "big"), payload[2:].decode())
            raise Ended(*self.ended)

    def close(self):
        self.socket.drop()


class GrpcEvents:
    """Subscribe over gRPC."""

    presence = False  # as a Client's

    def __init__(self, contract, channel, token, room, after=None):
        self._method = contract.method(LIVE, "Subscribe")
        call = channel.unary_stream(
            self._method.path, self._method.request.SerializeToString, self._method.response.FromString)
        request = self._method.request(room=int(room))
        if after is not None:
            request.after_seq = int(after)
        self._call = call(request, metadata=(("authorization", f"Bearer {token}"),), timeout=SECONDS * 2)
        self.last_id = None

    def next(self):
        try:
            message = json_format.MessageToDict(next(self._call), including_default_value_fields=True)
        except StopIteration:
            raise Ended("OK", "") from None
        except grpc.RpcError as error:
            raise Ended(error.code().name, error.details()) from None
        self.last_id = message.get("seq", self.last_id)
        part = part_of(message)
        return part if self.presence or part[0] != "presence" else self.next()

    def close(self):
        self._call.cancel()


class ServerSentEvents:
    """Subscribe at a gateway. last_id: of the latest event that had one, as a browser keeps it."""

    presence = False  # as a Client's

    def __init__(self, port, token, room, after=None, last_id=None, headers=None):
        self.last_id = last_id
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream", **(headers or {})}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        self._connection.request(
            "GET", f"/api/chat/rooms/{room}/events" + ("" if after is None else f"?afterSeq={after}"), headers=headers)
        self.response = self._connection.getresponse()

    def next(self):
        fields = {}
        while True:
            line = self.response.readline().decode().rstrip("\n")
            if not line and "data" in fields:
                break
            if not line and self.response.isclosed():
                raise Ended("OK", "")
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if fields.get("event") == "error":
            raise Ended("error", json.loads(fields["data"]))
        self.last_id = fields.get("id", self.last_id)
        part = part_of(json.loads(fields["data"]))
        return part if self.presence or part[0] != "presence" else self.next()

    def close(self):
        self._connection.close()


__all__ = ["Ended", "GrpcEvents", "GrpcLive", "ServerSentEvents", "WebSocketLive", "part_of"]
