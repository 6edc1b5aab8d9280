"""Rooms spread over three Redis (STOA_CHAT_ROOMS_REDIS): who has which, and one of three down."""
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile

import pytest
from live_fixture import GrpcLive
from stoa_contract import GrpcClient, account_maker
from stoa_suite_fixture import REPOSITORY, Suite, clean_environment, output_folder, wait_until
from stoa_suite.stage import account as suite_account
from stoa_suite.stage import as_account

SERVERS = 3


class Redis:
    """A server with a socket in a folder of the suite's account."""

    def __init__(self, folder, name):
        self.socket = f"{folder}/{name}.sock"
        self._command = [*as_account(suite_account()), "/usr/bin/redis-server", "--port", "0", "--unixsocket", self.socket,
                         "--unixsocketperm", "700", "--save", "", "--dir", str(folder)]
        self._process = None

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, cwd="/")
        wait_until(lambda: self.ask("PING") == "PONG", "Redis answers")

    def stop(self):
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *words):
        done = subprocess.run(["redis-cli", "-s", self.socket, *words], capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    def rooms(self):
        """Of the channels that somebody hears; each subscriber has one beside them, for its own beat."""
        names = {channel.rpartition(":")[2] for channel in self.ask("PUBSUB", "CHANNELS", "stoa:chat:*").split()}
        return {int(name) for name in names if name.isdecimal()}

    def published(self):
        """How much it was told."""
        calls = re.search(r"cmdstat_publish:calls=(\d+)", self.ask("INFO", "commandstats"))
        return int(calls[1]) if calls else 0


@pytest.fixture(scope="module")
def world(contract, unique):
    """Two instances of chat, three Redis for rooms, a room of each Redis, and who follows them all at chat-2."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stoa-test-", ignore_cleanup_errors=True)))
        if os.geteuid() == 0:
            os.chown(folder, suite_account().pw_uid, suite_account().pw_gid)
        servers = [Redis(folder, f"rooms-{number}") for number in range(SERVERS)]
        for server in servers:
            stack.callback(server.stop)
            server.start()
        addresses = ",".join(f"unix:{server.socket}" for server in servers)
        suite = stack.enter_context(Suite(STOA_CHAT_INSTANCES=2, STOA_CHAT_ROOMS_REDIS=addresses))
        call_grpc = GrpcClient(contract, suite.grpc)
        host = account_maker(call_grpc, unique)("host")

        def send(room, text):
            request = {"room": room, "message": {"text": text}}
            code, answer = call_grpc("chat", "SendMessage", request, host["token"], timeout=60)
            assert code == "OK", answer
            return int(answer["message"]["seq"])

        rooms = {}
        while len(rooms) < SERVERS:
            code, answer = call_grpc("chat", "CreateRoom", {"room": {"name": "A room"}}, host["token"])
            assert code == "OK", answer
            rooms.setdefault(int(answer["room"]["id"]) % SERVERS, answer["room"]["id"])
        reader = GrpcLive(contract, suite.grpc("chat-2"), host["token"])
        stack.callback(reader.close)
        reader.expect("welcome")
        for room in rooms.values():
            reader.follow(room, after=0)
        yield servers, rooms, reader, send


def hears(world, text):
    """Says something in each room at one instance; all of it comes at the other, each room's in its order."""
    _, rooms, reader, send = world
    sent = {(room, send(room, f"{text} {number}")): f"{text} {number}" for number in range(3) for room in rooms.values()}
    events = [reader.expect("event") for _ in sent]
    assert {(each["room"], int(each["event"]["seq"])): each["event"]["message"]["text"] for each in events} == sent
    for room in rooms.values():
        numbers = [int(each["event"]["seq"]) for each in events if each["room"] == room]
        assert numbers == sorted(numbers)


def all_are_where_they_belong(world):
    servers, rooms, *_ = world
    return all(server.rooms() == {int(rooms[number])} for number, server in enumerate(servers))


def test_each_has_its_part(world):
    wait_until(lambda: all_are_where_they_belong(world), "channels are with their servers")
    before = [server.published() for server in world[0]]
    hears(world, "spread")
    # What is heard may have come by Postgres before it was published.
    wait_until(lambda: all(server.published() >= early + 3 for server, early in zip(world[0], before)), "all is published")


@pytest.mark.parametrize("number", range(SERVERS))
def test_one_of_three_is_down(world, number):
    """Its rooms' news come by Postgres, the others' as always; when it is back, it has its rooms again."""
    servers, rooms, *_ = world
    servers[number].stop()
    hears(world, f"without {number}")
    assert all(server.rooms() == {int(rooms[other])} for other, server in enumerate(servers) if other != number)
    servers[number].start()
    wait_until(lambda: all_are_where_they_belong(world), "it has its rooms again", 60)
    hears(world, f"with {number} again")


@pytest.mark.parametrize("setting, says", [
    ({"STOA_CHAT_ROOMS_REDIS": "unix:/a,nowhere"}, "STOA_CHAT_ROOMS_REDIS=nowhere: set unix:/path, or host:port"),
    ({"STOA_CHAT_ROOMS_REDIS": "unix:/a,"}, "STOA_CHAT_ROOMS_REDIS=: set unix:/path, or host:port"),
    ({"STOA_CHAT_ROOMS_REDIS": ",".join(["unix:/a"] * 17)}, "STOA_CHAT_ROOMS_REDIS: set 16 servers at most"),
    ({"STOA_CHAT_ROOMS_REDIS": "unix:/a", "STOA_REDIS": ""}, "STOA_CHAT_ROOMS_REDIS: set STOA_REDIS as well"),
])
def test_bad_settings(world, setting, says, tmp_path):
    environment = {
        **clean_environment(), "STOA_LISTEN": f"unix:{tmp_path}/chat.sock", "STOA_DATABASE": "host=/nowhere",
        "STOA_REDIS": "unix:/a", **setting,
    }
    done = subprocess.run([output_folder() / "bin/chat", "serve"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and says in done.stderr, done.stderr
