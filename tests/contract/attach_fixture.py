"""Gateways whose sessions share a stream to each of several instances of the test server, and clients of its
rooms. What is said in a room is a line of a file, so that it outlives each instance."""
import contextlib
import json
import os
import signal
import subprocess

from gateway_fixture import TESTSERVER, TestGateway
from stoa_suite_fixture import wait_until, with_parent
from websocket_fixture import CLOSE, PING, TEXT, Socket

ATTACH = "/stoa.edge.v1.EdgeService/Attach"
DIRECTIVE = "grpc_json_websocket_attach /stoa.test.v1.EchoService/Room " + ATTACH + ";"
ROOM = "/test/room"
# A change of the configuration: /metrics.
METRICS = ("server {\n        listen", "grpc_json_metrics_zone 1m;server { location = /metrics { grpc_json_metrics; }\n        listen")


class AttachGateway(TestGateway):
    """n instances; settings of the configuration stand behind the directive that attaches."""

    def __init__(self, n=1, settings="", changes=None, workers=1):
        self.servers = [None] * n
        self.more = settings
        super().__init__(changes, workers)

    def write_config(self, changes):
        servers = " ".join(f"server unix:{self.socket_path(i)} max_fails=0;" for i in range(len(self.servers)))
        super().write_config({
            f"server unix:{self.dir}/sock/test.sock;": servers,
            DIRECTIVE: DIRECTIVE + self.more,
            **changes,
        })

    def start_server(self):
        for i in range(len(self.servers)):
            self.start_instance(i)

    def start_instance(self, i):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket_path(i))
        environment = {**os.environ, "STOA_TEST_LISTEN": f"unix:{self.socket_path(i)}", "STOA_TEST_ROOMS": self.dir}
        with open(f"{self.dir}/log/testserver-{i}.log", "ab") as output:
            self.servers[i] = subprocess.Popen(with_parent([TESTSERVER], "KILL"), env=environment, stderr=output)
        wait_until(lambda: self._listens(i))
        os.chmod(self.socket_path(i), 0o777)

    def _listens(self, i):
        assert self.servers[i].poll() is None
        return os.path.exists(self.socket_path(i))

    def kill(self, i):
        self.servers[i].kill()
        self.servers[i].wait()
        self.servers[i] = None

    def pause(self, i):
        """It stands still when this returns: each thread stops when its turn comes."""
        os.kill(self.servers[i].pid, signal.SIGSTOP)
        tasks = f"/proc/{self.servers[i].pid}/task"
        wait_until(lambda: all(open(f"{tasks}/{task}/stat").read().rsplit(")")[-1].split()[0] == "T" for task in os.listdir(tasks)))

    def go_on(self, i):
        os.kill(self.servers[i].pid, signal.SIGCONT)

    def end(self, i):
        """Gracefully; a sanitizer's report would be in its status."""
        self.servers[i].send_signal(signal.SIGTERM)
        assert self.servers[i].wait(30) == 0, open(f"{self.dir}/log/testserver-{i}.log").read()
        self.servers[i] = None

    def stop_server(self):
        for i, server in enumerate(self.servers):
            if server:
                self.go_on(i)
                self.end(i)


class Client(Socket):
    """Somebody in rooms. heard: {room: [numbers]}; texts: (room, number) -> text; resumed: how often."""

    def __init__(self, gateway, *args, **kwargs):
        self.heard, self.texts, self.live, self.shouts = {}, {}, {}, []
        self.resumed = self.asked = 0
        super().__init__(gateway.port, ROOM, *args, **kwargs)

    def ask(self, **action):
        """Sends a request, and returns its id."""
        self.asked += 1
        self.send(TEXT, json.dumps({"id": str(self.asked), **action}))
        return str(self.asked)

    def next(self):
        """The next message that is not about a room; those are noted. A Close is returned as (code, reason)."""
        while True:
            opcode, payload = self.receive()
            if opcode == PING:
                continue
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()
            message = json.loads(self.inflate(payload))
            if "message" in message:
                self.note(message["message"])
            elif "live" in message:
                self.live[int(message["live"])] = True
            elif "resumed" in message:
                self.resumed += 1
                self.live = {}
            else:
                return message
            if self.until and self.until():
                return None

    until = None

    def inflate(self, payload):
        assert not self.compressed
        return payload

    def note(self, message):
        room, number = int(message["room"]), int(message.get("number", 0))
        if not number:
            self.shouts.append(message["text"])
            return
        self.heard.setdefault(room, []).append(number)
        self.texts[room, number] = message.get("text", "")

    def answer(self, **action):
        """Asks, and returns the answer. What was asked before a resumption has none, and is asked again."""
        wanted, resumed = self.ask(**action), self.resumed
        self.until = lambda: self.resumed > resumed
        try:
            while True:
                message = self.next()
                if message is None:
                    wanted, resumed = self.ask(**action), self.resumed
                elif isinstance(message, tuple) or message.get("id") == wanted:
                    return message
        finally:
            self.until = None

    def hear(self, condition):
        """Listens until that is true; answers are passed over."""
        self.until = condition
        try:
            while not condition():
                message = self.next()
                assert not isinstance(message, tuple), message
        finally:
            self.until = None

    def join(self, room, after=0):
        self.heard.setdefault(room, [])
        self.answer(join={"room": room, "after": after})
        self.hear(lambda: self.live.get(room))
        return self

    def say(self, room, text="x", repeat=1):
        return int(self.answer(say={"room": room, "text": text, "repeat": repeat})["done"])


def check(client, room, last, first=1):
    """No hole, no double, no other order."""
    client.hear(lambda: client.heard[room] and client.heard[room][-1] >= last)
    assert client.heard[room] == list(range(first, last + 1))


@contextlib.contextmanager
def serving(*args, **kwargs):
    gateway = AttachGateway(*args, **kwargs)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


__all__ = ["ATTACH", "AttachGateway", "Client", "DIRECTIVE", "METRICS", "ROOM", "check", "serving"]
