"""Sessions that share a stream to each instance of a service: what they say and hear, broadcasts, and that no
instance's end is one of theirs."""
import contextlib
import json
import os
import pathlib
import re
import socket
import threading
import zlib

import pytest
from attach_fixture import ATTACH, DIRECTIVE, METRICS, ROOM, AttachGateway, Client, check, serving
from gateway_fixture import NGINX, wait_until
from websocket_fixture import BINARY, CLOSE, PING, PONG, TEXT, Refused, Socket, close_frame, frame

DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}


@pytest.fixture(scope="module")
def gateway():
    with serving(changes=dict([METRICS])) as started:
        yield started


@pytest.fixture(scope="module")
def room():
    """A number that no other test has."""
    numbers = iter(range(1, 1000))
    return lambda: next(numbers)


def sessions(gateway, name="sessions_open"):
    for line in gateway.get("/metrics").body.decode().splitlines():
        if line.startswith(f"grpc_json_{name}") and "Room" in line:
            return int(line.split()[-1])
    return 0


# ---- calls ----


def test_everybody_hears_everything_in_one_order(gateway, room):
    number = room()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(gateway)).join(number) for _ in range(5)]
        for i, client in enumerate(clients * 4):
            assert client.say(number, f"text {i}") == i + 1
        for client in clients:
            check(client, number, 20)
            assert client.texts == clients[0].texts


def test_who_comes_later_gets_what_was_said(gateway, room):
    number = room()
    with Client(gateway) as first, Client(gateway) as second:
        first.join(number).say(number, repeat=500)
        second.join(number, after=490)
        first.say(number)
        check(second, number, 501, first=491)


def test_who_leaves_hears_no_more(gateway, room):
    number = room()
    with Client(gateway) as first, Client(gateway) as second:
        first.join(number)
        second.join(number).answer(leave=number)
        first.say(number)
        second.answer(metadata="")
        assert second.heard[number] == []
        second.join(number)
        check(second, number, 1)


def test_many_rooms(gateway, room):
    numbers = [room() for _ in range(40)]
    with Client(gateway) as first, Client(gateway) as second:
        for number in numbers:
            first.join(number)
        for number in numbers:
            second.say(number, str(number))
        for number in numbers:
            check(first, number, 1)
            assert first.texts[number, 1] == str(number)


def test_broadcast_without_a_number(gateway, room):
    number = room()
    with Client(gateway) as first, Client(gateway) as second:
        first.join(number)
        second.answer(shout={"room": number, "text": "hey"})
        first.answer(metadata="")
        assert first.shouts == ["hey"] and not second.shouts


def test_metadata(gateway):
    with Client(gateway) as client:
        assert client.answer(metadata="x-request-id")["text"] == client.headers["X-Request-Id"]


@pytest.mark.parametrize("code", [3, 5, 13, 16])
def test_failure(gateway, code):
    with Client(gateway) as client:
        answer = client.answer(fail=code)
        assert answer == (4000 + code, "as you wish" if code != 13 else "Internal Server Error")


def test_refused_before_the_101():
    with serving(settings="grpc_json_websocket_open_timeout 1h;") as gateway:
        with pytest.raises(Refused) as got:
            Socket(gateway.port, ROOM, {"Authorization": "Bearer bad"})
        assert got.value.status == 401
        assert json.loads(got.value.body)["detail"] == "token is invalid"


def test_no_service():
    with serving() as gateway:
        gateway.kill(0)
        with pytest.raises(Refused) as got:
            Socket(gateway.port, ROOM)
        assert got.value.status == 502


def test_end_of_messages(gateway):
    """The service hears of it, and ends the call."""
    with Client(gateway) as client:
        client.send(TEXT, "")
        assert client.ends() == (1000, "")
    with Client(gateway) as client:
        assert client.close(4321) == 4321


def test_deadline(gateway):
    with Client(gateway, {"Request-Timeout": "0.2"}) as client:
        assert client.next() == (4004, "the service did not answer in time")


def test_sizes(gateway):
    """64 KiB each way, serialized."""
    with Client(gateway) as client:
        assert len(client.answer(padding=65000)["text"]) == 65000
        client.answer(metadata="m" * 65000)
        client.ask(metadata="m" * 65536)
        assert client.next() == (1009, "the message is too large")
    with Client(gateway) as client:
        client.ask(padding=65536)
        assert client.next()[0] == 1011


def test_raw_and_client_streams():
    """The same carrier for every kind of method that takes a stream."""
    attach = "".join(f"grpc_json_websocket_attach /stoa.test.v1.EchoService/{m} {ATTACH};" for m in ("ChatRaw", "Collect"))
    with serving(settings=attach) as gateway:
        with Socket(gateway.port, "/test/echo/raw") as s:
            s.send(BINARY, b"\0\xff")
            assert s.receive() == (BINARY, b"\0\xff")
            s.send(TEXT, "text")
            assert s.receive() == (TEXT, b"text")
            assert s.close() == 1000
        with Socket(gateway.port, "/test/collect") as s:
            s.send(TEXT, '{"message":"abc"}')
            s.send(TEXT, '{"message":"de"}')
            s.send(TEXT, "")
            assert json.loads(s.message()) == {"messages": "2", "bytes": "5"}
            assert s.ends() == (1000, "")


def test_pings(gateway):
    with Client(gateway) as client:
        client.send(PING, "x")
        assert client.receive() == (PONG, b"x")


def test_compressed_for_those_who_want_it(gateway, room):
    """Once for all of them, plain for the others."""
    number = room()

    class Deflated(Client):
        was_compressed = 0

        def inflate(self, payload):
            if not self.compressed:
                return payload
            self.was_compressed += 1
            return zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")

    with Client(gateway) as plain, Deflated(gateway, DEFLATE) as one, Deflated(gateway, DEFLATE) as other:
        for client in (plain, one, other):
            client.join(number)
        for text in ("short", "long " * 200):
            plain.say(number, text)
        for client in (plain, one, other):
            check(client, number, 2)
            assert client.texts == {(number, 1): "short", (number, 2): "long " * 200}
        assert one.was_compressed == other.was_compressed == 1


def test_locations_print_as_they_are_told(room):
    """One broadcast, and a form for each location."""
    location = "location / {\n            grpc_json on;"
    other = f"location /test/ {{ grpc_json on; grpc_json_print unset; grpc_json_pass test; }} {location}"
    number = room()
    with serving(changes={location: other}) as gateway, Client(gateway) as client:
        client.join(number).ask(say={"room": number, "text": ""})
        while "message" not in (message := json.loads(client.receive()[1])):
            pass
        assert message == {"id": "", "message": {"room": str(number), "number": "1", "text": ""}}


# ---- those who do not keep up ----


def test_slow_client_is_closed_and_nobody_waits(gateway, room):
    number, text = room(), "x" * 1000
    before = sessions(gateway, "sessions_slow_total")
    with Client(gateway, receive_buffer=4096) as slow, Client(gateway) as reader, Client(gateway) as writer:
        slow.join(number)
        reader.join(number)
        total = 0
        while total < 5000:  # 5 MB: more than queue and sockets hold
            total = writer.say(number, text, repeat=50)
            check(reader, number, total)
        with contextlib.suppress(AssertionError):  # the rest of a frame may be missing
            while (message := slow.next()) and not isinstance(message, tuple):
                pass
            assert message[0] == 1013
        assert sessions(gateway, "sessions_slow_total") == before + 1
        # What it has is whole, and it may go on from there.
        last = len(slow.heard[number])
        assert slow.heard[number] == list(range(1, last + 1)) and last < total
        with Client(gateway) as again:
            again.join(number, after=last)
            check(again, number, total, first=last + 1)


def test_many_slow_clients_take_no_more_together(room):
    """Each has less waiting than a client may have, and all together more than a worker may have."""
    changes = {METRICS[0]: "grpc_json_websocket_memory 1m;" + METRICS[1]}
    rooms, text = [room() for _ in range(40)], "x" * 1000
    with serving(changes=changes) as gateway, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Client(gateway, receive_buffer=4096)).join(number) for number in rooms]
        number = room()
        reader, writer = stack.enter_context(Client(gateway)).join(number), stack.enter_context(Client(gateway))
        for each in rooms:
            writer.say(each, text, repeat=200)
        for _ in range(20):
            for each in rooms:
                writer.say(each, text)
        wait_until(lambda: sessions(gateway, "sessions_slow_total") > 0)
        assert sessions(gateway, "sessions_slow_total") < len(rooms)
        check(reader, number, writer.say(number, "y" * 1000, repeat=10))
        assert sessions(gateway, "sessions_open") >= 2 and len(slow) == len(rooms)


def test_replay_goes_at_the_speed_of_its_reader(gateway, room):
    """More than a queue holds: the service hears when there is room again."""
    number = room()
    with Client(gateway) as writer, Client(gateway, receive_buffer=4096) as reader:
        writer.say(number, "x" * 1000, repeat=4000)
        reader.join(number)
        check(reader, number, 4000)


def test_flood_does_not_starve_others(gateway):
    """One says as much as it can, for as long as another one needs to be answered."""
    enough = threading.Event()
    with Client(gateway) as flooder, Client(gateway) as other:
        messages = frame(TEXT, '{"shout":{"room":"999999"}}') * 1000

        def write():
            while not enough.is_set():
                flooder.raw(messages)
            flooder.raw(close_frame(1000))

        def read():
            while flooder.receive()[0] != CLOSE:
                pass

        threads = [threading.Thread(target=each) for each in (read, write)]
        for each in threads:
            each.start()
        for _ in range(20):
            assert other.answer(metadata="x-request-id")["text"]
        enough.set()
        for each in threads:
            each.join()


# ---- instances that go ----


def test_killed_instance_drops_nobody(room):
    """Sessions of one go to the others while rooms are busy; each hears all, once, in order."""
    number = room()
    with serving(3) as gateway, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(gateway)).join(number) for _ in range(9)]
        said = 0
        for i in range(3):
            for client in clients:
                said = client.say(number, repeat=3)
            gateway.kill(i)
            for client in clients:
                said = client.say(number, repeat=3)
            gateway.start_instance(i)
        for client in clients:
            check(client, number, said)
        assert sum(client.resumed for client in clients) >= 9
        assert {client.close() for client in clients} == {1000}


def test_instance_that_stands_still(room):
    """Nothing tells of it but its silence. Its sessions go to the other one; when it goes on, it has none of them."""
    number = room()
    with serving(2) as gateway, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(gateway)).join(number) for _ in range(6)]
        for i in (0, 1):
            for client in clients:
                client.say(number)
            gateway.pause(i)
            for client in clients:
                said = client.say(number)
            gateway.go_on(i)
            clients.append(stack.enter_context(Client(gateway)).join(number))
            for client in clients:
                said = client.say(number)
        for client in clients:
            check(client, number, said)
        assert all(client.resumed for client in clients[:6])  # all were with the second one at last


def test_only_instance_comes_back(room):
    """What was said meanwhile elsewhere is heard when it is back."""
    number = room()
    with serving() as gateway, Client(gateway) as client:
        client.join(number).say(number)
        for _ in range(3):
            gateway.kill(0)
            with open(f"{gateway.dir}/room-{number}", "a") as file:
                file.write("meanwhile\n")
            gateway.start_instance(0)
            said = client.say(number)  # twice, when the client could not know whether it got there
        check(client, number, said)
        assert list(client.texts.values()).count("meanwhile") == 3
        assert client.resumed >= 3
        assert client.answer(metadata="x-request-id")["text"] == client.headers["X-Request-Id"]


def test_killed_in_the_middle_of_a_replay(room):
    number, total = room(), 3000
    with serving(2) as gateway, Client(gateway) as writer:
        writer.say(number, "x" * 500, repeat=total)
        for i in range(4):
            with Client(gateway, receive_buffer=4096) as reader:
                reader.heard[number] = []
                reader.ask(join={"room": number})
                reader.hear(lambda: len(reader.heard[number]) > 50)  # it is not live yet, and does not read on
                gateway.kill(i % 2)
                reader.hear(lambda: reader.live.get(number))
                check(reader, number, total)
            gateway.start_instance(i % 2)


def test_instance_that_stops_gracefully(room):
    number = room()
    with serving(2) as gateway, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(gateway)).join(number) for _ in range(6)]
        for i in (0, 1):
            gateway.end(i)
            for client in clients:
                said = client.say(number)
            gateway.start_instance(i)
        for client in clients:
            check(client, number, said)


def test_no_instance_for_too_long():
    with serving(settings="grpc_json_websocket_attach_timeout 3s;") as gateway, Client(gateway) as client:
        client.answer(metadata="")
        gateway.kill(0)
        assert client.next() == (1012, "the service cannot be reached")


def test_messages_wait_for_an_instance():
    """They are not read while there is none, and lost to nobody. (What was on its way to it is: see `resumed`.)"""
    with serving() as gateway, Client(gateway) as client:
        client.answer(metadata="")
        log = pathlib.Path(f"{gateway.dir}/log/nginx-error.log")
        before = log.stat().st_size
        gateway.kill(0)
        wait_until(lambda: "gRPC server" in log.read_text()[before:])
        for _ in range(100):
            client.ask(padding=1)
        gateway.start_instance(0)
        assert [client.next()["text"] for _ in range(100)] == ["x"] * 100
        assert client.resumed == 1


def test_client_that_goes_while_there_is_no_instance():
    with serving(changes=dict([METRICS])) as gateway:
        clients = [Client(gateway) for _ in range(10)]
        for client in clients:
            client.answer(metadata="")
        gateway.kill(0)
        for client in clients:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.drop()
        gateway.start_instance(0)
        wait_until(lambda: sessions(gateway) == 0)


def test_end_of_messages_is_told_again():
    """A call that is half closed is so at the next instance, too."""
    attach = f"grpc_json_websocket_attach /stoa.test.v1.EchoService/ChatRaw {ATTACH};"
    with serving(settings=attach) as gateway, Client(gateway) as client:
        client.answer(metadata="")
        gateway.kill(0)
        client.send(TEXT, "")
        gateway.start_instance(0)
        client.until = lambda: False
        assert client.next() == (1000, "")


# ---- the gateway's own end ----


def test_reload(room):
    with serving() as gateway, Client(gateway) as client:
        client.join(room())
        gateway.process.send_signal(1)
        assert client.next() == (1001, "the server restarts")


def test_limit_of_streams():
    changes = {
        "server {\n        listen": "grpc_json_limit_zone $remote_addr zone=s:64k streams=3;server { grpc_json_limit s;\n        listen"}
    with serving(changes=changes) as gateway:
        clients = [Client(gateway) for _ in range(3)]
        with pytest.raises(Refused) as got:
            Client(gateway)
        assert got.value.status == 429
        clients[0].close()
        wait_until(lambda: one_more(gateway))
        for client in clients:
            client.drop()


def one_more(gateway):
    try:
        Client(gateway).drop()
        return True
    except Refused:
        return False


@pytest.mark.parametrize(("directive", "error"), [
    ("grpc_json_websocket_attach /a.B/C a.B/C;", "wants two methods"),
    ("grpc_json_websocket_attach / /a.B/C;", "wants two methods"),
    ("grpc_json_websocket_attach_queue 1 256k;", "wants a number of messages"),
    ("grpc_json_websocket_attach_queue 100 1k;", "wants a number of messages"),
    ("grpc_json_websocket_attach_timeout x;", "invalid value"),
    ("grpc_json_websocket_opening 1s;", "wants two times"),
    ("grpc_json_websocket_opening 1s x;", "wants two times"),
    ("grpc_json_websocket_opening off; grpc_json_websocket_opening off;", "is duplicate"),
])
def test_bad_configuration(directive, error):
    gateway = AttachGateway(settings=directive)
    try:
        result = gateway.test_config()
        assert result.returncode != 0 and error in result.stderr
    finally:
        gateway.stop()


# ---- too many that begin ----


def test_calls_that_are_not_accepted_yet():
    """The 101 may be out: until an instance has accepted it, a call waits, and others wait behind it."""
    with serving(settings="grpc_json_websocket_opening 200ms 0;", changes=dict([METRICS])) as gateway, Client(gateway) as first:
        first.answer(metadata="")
        gateway.pause(0)
        waiting = Client(gateway)

        def refused():
            try:
                Client(gateway).drop()
            except Refused as refusal:
                return refusal

        refusal = wait_until(refused)
        assert refusal.status == 503 and refusal.headers["Retry-After"]
        assert re.search(r'^grpc_json_limit_refused_total{limit="opening"} [1-9]', gateway.get("/metrics").body.decode(), re.M)
        gateway.go_on(0)
        waiting.answer(metadata="")
        wait_until(lambda: not refused())
        waiting.drop()


# ---- nothing is left ----


def memory_kb(gateway):
    return 0 if any("valgrind" in part for part in NGINX) else gateway.private_kb()


def test_idle_sessions_are_small(room):
    """At most 1.2 KB of the worker's memory for each, with a room."""
    number = room()
    with serving(settings="grpc_json_websocket_ping_interval 0;") as gateway:
        clients = [Client(gateway).join(number) for _ in range(100)]  # what grows once has grown
        before = memory_kb(gateway)
        clients += [Client(gateway).join(number) for _ in range(300)]
        grown = memory_kb(gateway) - before
        for client in clients:
            client.drop()
        assert grown <= 300 * 1.2


def test_clients_that_break_off_leave_nothing(room):
    number = room()
    with serving(2, changes=dict([METRICS])) as gateway:
        (worker,) = gateway.worker_pids()

        def storm():
            for i in range(300):
                with contextlib.suppress(OSError, Refused):
                    s = Socket(gateway.port, ROOM, wait=i % 3 != 0)
                    s.raw(frame(TEXT, json.dumps({"join": {"room": number}}))
                          + frame(TEXT, json.dumps({"say": {"room": number, "text": "x" * 300}}))
                          + (close_frame(1000) if i % 5 == 0 else b""))
                    if i % 2:
                        s.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    s.drop()
                if i % 100 == 99:
                    gateway.kill(i // 100 % 2)
                    gateway.start_instance(i // 100 % 2)
            wait_until(lambda: sessions(gateway) == 0)
            return len(os.listdir(f"/proc/{worker}/fd")), memory_kb(gateway)

        files, memory = storm()
        again, grown = storm()
        assert again <= files + 1 and grown < memory + 1024
        assert gateway.worker_pids() == [worker]
