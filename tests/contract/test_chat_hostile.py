"""WebSockets of live rooms whose clients never read, and many that come at once; `make fault` and `make bench-chat` do the
same for longer and with more of them. And Redis that says what no instance does."""
import concurrent.futures
import contextlib
import pathlib
import socket
import struct
import subprocess
import urllib.request

from chat_fixture import call  # noqa: F401: a fixture
from live_fixture import Ended, WebSocketLive
from metrics_fixture import Numbers
from stoa_suite_fixture import output_folder, wait_until
from websocket_fixture import Refused

# 16 KB each in UTF-8: more than the buffers of a connection hold in all.
LONG = "\U0001f600" * 4096
MESSAGES = 500
NEVER_READ = 3
AT_ONCE = 300


def private_kb(suite):
    """Memory of the gateway's workers and of chat that nobody shares."""
    gateway = suite.pid("gateway")
    workers = pathlib.Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split()
    total = 0
    for pid in (*workers, suite.pid("chat")):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1])
    return total


def cut_off(suite):
    """How many WebSockets of chat the gateway has closed since they do not read."""
    with urllib.request.urlopen(f"{suite.http}/metrics") as answer:
        return Numbers(answer.read().decode(), "grpc_json_").get("sessions_slow_total", rpc="/stoa.chat.v1.LiveService/Connect")


def what_is_left(client):
    """The numbers of the events that came before the end, and the end."""
    seqs = []
    try:
        while True:
            seqs.append(int(client.next()[1]["event"]["seq"]))
    except Ended as end:
        return seqs, end


def test_who_never_reads_is_cut_and_nobody_else(suite, call, new_account):
    host, guest = new_account("host"), new_account("guest")
    room = call("CreateRoom", host, room={"name": "A room"})["room"]["id"]
    call("JoinRoom", guest, room=room)

    def connect(account):
        live = WebSocketLive(suite.ports["STOA_HTTP_PORT"], account["token"], receive_buffer=4096)
        live.expect("welcome")
        return live

    never_read = [connect(guest) for _ in range(NEVER_READ)]
    for each in never_read:
        assert len(each.follow(room, 0)) == 1
    memory, before, ends = private_kb(suite), cut_off(suite), []
    with concurrent.futures.ThreadPoolExecutor(NEVER_READ) as pool, WebSocketLive(suite.ports["STOA_HTTP_PORT"], host["token"]) as reads:
        reads.expect("welcome")
        reads.follow(room)
        for i in range(MESSAGES):
            reads.transmit({"send": {"room": room, "text": LONG, "clientId": f"c-{i}"}})
            assert reads.expect("event")["event"]["seq"] == str(i + 2)
            # They look once they have been cut: a while later the gateway hangs up on those who still do not.
            if not ends and i % 10 == 0 and cut_off(suite) == before + NEVER_READ:
                ends = [pool.submit(what_is_left, each) for each in never_read]
    # What all have in common is kept once, for who comes back; what one does not read is not kept.
    grown = private_kb(suite) - memory
    sent = MESSAGES * len(LONG.encode()) // 1024
    if output_folder().name == "release":  # a sanitizer keeps what has been freed
        assert grown < sent + 16 * 1024
    assert ends
    for each, found in zip(never_read, ends):
        seqs, end = found.result()
        assert seqs == list(range(2, len(seqs) + 2)) and len(seqs) < MESSAGES
        assert end.code == 1013 and "after the last message" in end.reason
        each.close()
    # As the reason says: with the last number; which is too far behind to be given all.
    with connect(guest) as again:
        again.done(subscribe={"room": room, "afterSeq": seqs[-1]})
        assert again.expect("reset")["lastSeq"] == str(MESSAGES + 1)
        assert again.follow(room, MESSAGES + 1) == []


def begin(suite, token):
    """A socket on which the handshake of a WebSocket has been sent."""
    begun = socket.create_connection(("127.0.0.1", suite.ports["STOA_HTTP_PORT"]))
    begun.settimeout(60)
    begun.sendall((f"GET /api/chat/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   f"Authorization: Bearer {token}\r\n\r\n").encode())
    return begun


def status_of(begun):
    return begun.recv(12)[9:]


def test_many_come_at_once(suite, new_account):
    """Each handshake is answered, and what went is forgotten. On a busy machine they may wait for so long that some are told
    to come again (grpc_json_websocket_opening); they do so until all are let in."""
    accounts = [new_account() for _ in range(AT_ONCE // 50)]
    sockets = []

    def begin_all(tokens):
        """The tokens of those that are told to come again."""
        begun = [begin(suite, token) for token in tokens]
        sockets.extend(begun)
        statuses = [status_of(each) for each in begun]
        assert set(statuses) <= {b"101", b"503"}
        return [token for status, token in zip(statuses, tokens) if status == b"503"]

    try:
        waiting = [accounts[i % len(accounts)]["token"] for i in range(AT_ONCE)]
        while waiting:
            again = begin_all(waiting)
            assert len(again) < len(waiting), "some are let in each time"
            waiting = again
        # The limit of one account at an instance.
        token = accounts[0]["token"]
        for _ in range(AT_ONCE):
            sockets.append(begin(suite, token))
            status = status_of(sockets[-1])
            assert status in (b"101", b"503", b"429")
            if status == b"429":
                break
        assert status == b"429"
    finally:
        for s in sockets:
            s.close()

    def comes_back():
        with contextlib.suppress(Refused):
            WebSocketLive(suite.ports["STOA_HTTP_PORT"], token).close()
            return True

    wait_until(comes_back, "who went has made room")


class Bus:
    """The channel of a room in Redis, for whoever reaches that."""

    def __init__(self, suite, room):
        self.command = ["redis-cli", "-s", suite.socket("redis")]
        channels = self._run("PUBSUB", "CHANNELS", "stoa:chat:*").split()
        self.channel, = (name for name in channels if name.endswith(f":{room}"))

    def _run(self, *words, **more):
        return subprocess.run([*self.command, *words], check=True, capture_output=True, timeout=30, **more).stdout.decode()

    def say(self, kind, seq, content):
        """As an instance does."""
        self._run("-x", "PUBLISH", self.channel, input=b"somebody" + kind + struct.pack(">q", seq) + content)


def test_what_no_instance_says_breaks_no_connection(suite, contract, call, new_account):
    """Nor is it kept for those who come later."""
    account = new_account()
    room = call("CreateRoom", account, room={"name": "A room"})["room"]["id"]
    number = int(room)
    response = contract.message("stoa.chat.v1.ConnectResponse")

    def message(seconds=1, text="a lie", **more):
        shown = {"room": number, "seq": 1, "text": text, "created_at": {"seconds": seconds}, **more}
        event = {"seq": 1, "kind": 1, "created_at": {"seconds": seconds}, "message": shown}
        return response(seq=1, event={"room": number, "event": event}).SerializeToString()

    def read(username, **more):
        return response(read={"room": number, "account": {"username": username}, **more}).SerializeToString()

    def typing(**author):
        return response(typing={"room": number, "accounts": [{"username": "somebody", **author}], "count": 1}).SerializeToString()

    bad = b"\xff\xfe"
    said = [
        *((b"M", message(seconds)) for seconds in (-(2**63), -1, 253402300800, 2**63 - 1)),
        (b"M", message(edited_at={"nanos": -1})),
        (b"M", message(text="x" * 70000)),
        (b"M", message(text="no").replace(b"no", bad)),
        (b"P", read("no").replace(b"no", bad)),
        (b"P", read("x" * 70000)),
        (b"P", read("x" * 2000000)),
        (b"P", response(read={"room": number + 1}).SerializeToString()),
        (b"T", typing(username="no").replace(b"no", bad)),
        (b"T", typing(image="x" * 60000)),
        *((kind, content) for kind in (b"M", b"P", b"T") for content in (b"", b"\xff" * 30)),
    ]
    with WebSocketLive(suite.ports["STOA_HTTP_PORT"], account["token"]) as live:
        live.expect("welcome")
        live.follow(room)
        bus = Bus(suite, room)
        for kind, content in said:
            bus.say(kind, 1, content)
        bus.say(b"P", 0, read("the last", seq=1))
        assert live.expect("read")["account"]["username"] == "the last"
        live.done(send={"room": room, "text": "true", "clientId": "1"})
        assert live.expect("event")["event"]["message"]["text"] == "true"
        with WebSocketLive(suite.ports["STOA_HTTP_PORT"], account["token"]) as later:
            later.expect("welcome")
            assert [event["message"]["text"] for event in later.follow(room, 0)] == ["true"]
