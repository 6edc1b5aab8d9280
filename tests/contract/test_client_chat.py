"""`stoa` in rooms: what is sent and shown, live, on the whole screen, and after a cut; what is kept."""
import contextlib
import json
import re
import socket
import threading
import time

import pytest
from cli_fixture import Cli, Screen, Tail, Terminal
from cli_fixture import cli, hostile, room, signed_in, strict_suite  # noqa: F401: fixtures
from stoa_contract import Contract, GrpcClient
from stoa_suite_fixture import descriptor_set, wait_until

PAGE_UP, PAGE_DOWN, UP, ENTER, CTRL_C, CTRL_L = "\x1b[5~", "\x1b[6~", "\x1b[A", "\r", "\x03", "\x0c"


def test_chat(signed_in, room, new_account, tmp_path, suite):
    cli, number = signed_in, room["id"]
    assert cli.say("chat", "send", number, "Good", "morning") == "1\n"
    assert cli.say("chat", "send", room["name"], stdin="two\nlines\n") == "2\n"
    other = Cli(tmp_path / "other", suite).login(new_account("bob"))
    assert room["name"] in other.say("chat", "rooms", "--all")
    assert "only members" in other.fail(4, "chat", "send", number, "x")
    assert other.say("chat", "join", number) == f"You are in {room['name']}.\n"
    lines = [line.split("\t") for line in other.say("chat", "history", number).splitlines()]
    assert [(line[0], line[2], line[3]) for line in lines] == [
        ("1", cli.account["username"], "Good morning"), ("2", cli.account["username"], "two lines")]
    assert "two\nlines" in other.say("chat", "history", number, "-o", "table")
    assert [m["seq"] for m in other.json("chat", "history", number, "--after", "1")["messages"]] == ["2"]
    assert [m["seq"] for m in other.json("chat", "history", number, "--before", "2", "-n", "1")["messages"]] == ["1"]
    assert cli.say("chat", "send", number, "three").isascii()
    row = other.say("chat", "rooms").rstrip("\n").split("\t")
    assert row[:4] == [number, room["name"], "2", "1"]
    other.say("chat", "history", number, "--read")
    assert other.say("chat", "rooms").split("\t")[3] == "0"
    # The direct room.
    assert other.say("chat", "send", "@" + cli.account["username"], "psst") == "1\n"
    assert "psst" in cli.say("chat", "history", [r for r in cli.say("chat", "rooms").splitlines() if "@" in r][0].split("\t")[0])
    assert "no room named" in cli.fail(5, "chat", "history", "nowhere")


def test_chat_message_that_cannot_be_sent_is_kept(signed_in, room):
    """Written in the editor, piped, from a file of one's own; not what the arguments say."""
    cli, number = signed_in, room["id"]
    too_long = "word " * 2000
    error = cli.fail(6, "chat", "send", number, stdin=too_long)
    kept, = cli.kept()
    assert error.endswith(f"; what you wrote is in {kept}: `stoa chat send {number} -F {kept}' sends it"), error
    assert kept.read_text() == too_long
    kept.write_text("shorter\n")
    assert cli.say("chat", "send", room["name"], "-F", str(kept)) == "1\n"
    cli.fail(6, "chat", "send", number, too_long)
    assert "NUL" in cli.fail(6, "chat", "send", number, stdin="a\0b")
    assert "nothing was written" in cli.fail(1, "chat", "send", number, stdin=" \n")
    assert cli.kept() == [kept]
    with_editor = Terminal(cli, "chat", "send", number, **cli.editor("echo 'from the editor' >\"$1\""))
    assert with_editor.end() == 0 and cli.kept() == [kept]
    assert cli.say("chat", "history", number).endswith("from the editor\n")


def test_rooms_of_one_name(signed_in, room, call_grpc):
    code, _ = call_grpc("chat", "CreateRoom", {"room": {"name": room["name"]}}, signed_in.account["token"])
    assert code == "OK"
    line = signed_in.fail(7, "chat", "send", room["name"], "x")
    assert room["id"] in line and "give the number" in line


@pytest.fixture
def tail(signed_in):
    started = []

    def start(*words, **env):
        started.append(Tail(signed_in, *words, **env))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_tail(signed_in, room, tail, new_account, tmp_path, suite):
    cli, number = signed_in, room["id"]
    for i in range(3):
        cli.say("chat", "send", number, f"before {i}")
    last, all_of_it = tail(number, "-n", "1"), tail(number, "--after", "0", "-o", "json")
    last.wait_for(1)
    cli.say("chat", "send", number, "now")
    other = Cli(tmp_path / "other", suite).login(new_account("bob"))
    other.say("chat", "join", number)
    other.say("chat", "send", number, "hello", "from", "bob")
    assert [row[3] for row in last.wait_for(3)] == ["before 2", "now", "hello from bob"]
    all_of_it.wait_for(6)
    events = [json.loads(line) for line in all_of_it.lines]
    assert [e["seq"] for e in events] == ["1", "2", "3", "4", "5", "6"]
    assert events[4]["kind"] == "EVENT_KIND_MEMBER_JOINED" and events[5]["message"]["text"] == "hello from bob"
    # For people the rest is told as well.
    terminal = Terminal(cli, "chat", "tail", number, "--after", "3")
    terminal.until("has joined.*hello from bob")
    terminal.kill()


def test_tail_ends(signed_in, room, tail, call_grpc, new_account, tmp_path, suite):
    other = Cli(tmp_path / "other", suite)
    account = new_account("bob")
    other.login(account)
    assert "only members" in other.fail(4, "chat", "tail", room["id"], "-n", "0")
    other.say("chat", "join", room["id"])
    removed = Tail(other, room["id"], "--after", "0", "-o", "json")
    try:
        removed.wait_for(1)
        call_grpc("chat", "RemoveMember", {"room": room["id"], "username": account["username"]}, signed_in.account["token"])
        assert removed.process.wait(30) == 4
        assert b"you have been removed" in removed.process.stderr.read()
    finally:
        removed.stop()


@pytest.fixture
def screen():
    started = []

    def start(*arguments, **kwargs):
        started.append(Screen(*arguments, **kwargs))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def in_a_room(strict_suite, tmp_path, unique):
    """A Cli, signed in, whose token is renewed with each call, and a room of it."""
    cli, name = Cli(tmp_path, strict_suite), unique("grace")
    cli.say("register", name, f"{name}@example.com", stdin="correct horse battery\n")
    call = GrpcClient(Contract(descriptor_set()), strict_suite.grpc)
    token, = (login["accessToken"] for login in json.loads(cli.logins.read_text()))
    code, answer = call("chat", "CreateRoom", {"room": {"name": "engine"}}, token)
    assert code == "OK", answer
    return cli, answer["room"]["id"]


@pytest.mark.parametrize("gone", (("chat",), ("auth", "chat")), ids="+".join)
def test_goes_on_after_a_cut(strict_suite, in_a_room, screen, gone):
    """Services go and come, and tokens expire: every message once, in order."""
    suite, (cli, room) = strict_suite, in_a_room
    follower, window = Tail(cli, room, "--after", "0"), screen(cli, "chat", room)
    try:
        sent = []
        for round in range(3):
            for i in range(3):
                sent.append(f"{round}.{i}")
                wait_until(lambda: cli.run("chat", "send", room, sent[-1]).returncode == 0, "it is sent", 30)
            window.shows(re.escape(sent[-1]))
            if round < 2:
                for each in gone:
                    suite.supervise("stop", each)
                # What is typed meanwhile is sent when the service is back.
                sent.append(f"meanwhile {round}")
                window.send(sent[-1] + ENTER)
                window.shows("on its way")
                for each in reversed(gone):
                    suite.supervise("start", each)
                window.shows(re.escape(sent[-1]) + "$")
        assert [row[3] for row in follower.wait_for(len(sent))] == sent
        window.send(CTRL_C)
        assert window.end() == 0
    finally:
        follower.stop()


class Wire:
    """What lies between a client and a service; hold() lets nothing more through what is connected, without a word.

    delay: seconds, of what goes each way."""

    def __init__(self, address, delay=0):
        self.delay = delay
        host, _, port = address.rpartition(":")
        self.to, self.held, self.open = (host, int(port)), set(), []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self):
        self.held.update(self.open)

    def close(self):
        self.server.close()
        for each in self.open:
            each.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                ends = self.server.accept()[0], socket.create_connection(self.to)
                self.open += ends
                for one, other in (ends, ends[::-1]):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                time.sleep(self.delay)
                if one not in self.held:
                    other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_is_gone_without_a_word(signed_in, room, screen, suite):
    """Silence is asked about."""
    wire = Wire(suite.grpc_address("chat"))
    other = Cli(signed_in.home / "other", suite).login(signed_in.account)
    with contextlib.closing(wire):
        env = {"STOA_CHAT_ADDRESS": wire.address, "STOA_TIMEOUT": "3"}
        here = Cli(signed_in.home / "here", suite, **env).login(signed_in.account)
        follower, window = Tail(here, room["id"], "--after", "0"), screen(here, "chat", room["id"])
        try:
            other.say("chat", "send", room["id"], "before")
            follower.wait_for(1)
            window.shows("  before$", f"^{room['name']}[^[]*$")  # connected
            wire.hold()
            other.say("chat", "send", room["id"], "meanwhile")
            window.shows("  meanwhile$")
            assert [row[3] for row in follower.wait_for(2)] == ["before", "meanwhile"]
        finally:
            follower.stop()


def test_sent_and_left_before_the_first_connection(signed_in, room, screen, suite):
    """It waits for the connection, and for the acknowledgement."""
    with contextlib.closing(Wire(suite.grpc_address("chat"), delay=0.2)) as wire:
        far = Cli(signed_in.home / "far", suite, STOA_CHAT_ADDRESS=wire.address).login(signed_in.account)
        window = screen(far, "chat", room["id"])
        window.shows("^>")
        window.send("in haste" + ENTER + CTRL_C)
        assert window.end() == 0 and far.kept() == []
    assert signed_in.say("chat", "history", room["id"]).endswith("\tin haste\n")


def test_what_is_not_acknowledged_is_kept(strict_suite, in_a_room, screen):
    """Somebody leaves the screen before the service is back."""
    suite, (cli, room) = strict_suite, in_a_room
    window = screen(cli, "chat", room)
    window.shows("^>")
    suite.supervise("stop", "chat")
    try:
        window.shows("no connection")
        window.send("precious" + ENTER + "\x1b[200~one\rtwo\x1b[201~" + ENTER)
        window.shows("precious .on its way")
        window.send(CTRL_C)
        assert window.end() == 9
    finally:
        suite.supervise("start", "chat")
    kept, = cli.kept()
    assert kept.read_text() == "precious\none\ntwo\n"
    assert f"it is not sure that all is sent; what you wrote is in {kept}: `stoa chat send {room} -F {kept}' sends it" in window.seen
    wait_until(lambda: cli.run("chat", "send", room, "-F", str(kept)).returncode == 0, "it is sent", 30)
    # Sent and left at once: it is sent.
    window = screen(cli, "chat", room)
    window.shows("^>", "precious")
    window.send("and this" + ENTER + CTRL_C)
    assert window.end() == 0
    assert cli.say("chat", "history", room, "-n", "1").endswith("\tand this\n")


def test_screen(signed_in, room, screen, new_account, call_grpc, tmp_path, suite):
    cli, number = signed_in, room["id"]
    name = cli.account["username"]
    other = Cli(tmp_path / "other", suite).login(new_account("bob"))
    other.say("chat", "join", number)
    for i in range(150):
        call_grpc("chat", "SendMessage", {"room": number, "message": {"text": f"old message {i}"}}, cli.account["token"])
    mine = screen(cli, "chat", number)
    lines = mine.shows("old message 149")
    assert room["name"] in lines[0] and lines[-1].startswith(">")
    assert f"{name}  old message 149" in lines[-3]

    # Typed, sent, seen by the other one, and what that one says.
    theirs = screen(other, "chat", room["name"], rows=12, columns=40)
    theirs.shows("old message 149")
    mine.send("hello \u6f22\u5b57 \U0001f389" + ENTER)
    theirs.shows(f"{name}  hello \u6f22 ?\u5b57")  # pyte has a cell for each half of a wide character
    mine.shows(f"{name}  hello")
    theirs.send("a rather long message that takes more than one line of so small a screen" + ENTER)
    theirs.shows("  a rather", "screen$")  # in several lines
    mine.shows("a rather long message that takes more")
    assert other.say("chat", "history", number, "-n", "1").split("\t")[3].startswith("a rather long")

    # The past, also what is not yet there; the line before; another size.
    mine.send(PAGE_UP)
    mine.shows("Page Down goes on", "old message 13\\d$")
    for _ in range(8):
        mine.send(PAGE_UP)
    mine.shows("old message 0$")
    for _ in range(9):
        mine.send(PAGE_DOWN)
    mine.shows("a rather long")
    mine.send("x" * 100)
    mine.shows("^> x{70,77}$")
    mine.send("\x15" + UP)
    mine.shows("^> hello")
    mine.send("\x15\x1b[17;2~\x1bOB\x1bOA")  # a key that means nothing, and the arrow in its other form
    mine.shows("^> hello")
    mine.send("\x15")
    mine.resize_screen(10, 50)
    mine.send(CTRL_L)
    assert len(mine.shows("a rather long message", "^>$")) == 10

    # Its commands, a message that begins with a slash, and the end.
    mine.send("/what" + ENTER)
    mine.shows("/room ROOM goes to")
    mine.send("//slash" + ENTER)
    theirs.shows("  /slash")
    theirs.send("/quit" + ENTER)
    assert theirs.end() == 0
    mine.send(CTRL_C)
    assert mine.end() == 0
    assert "\x1b[?47l" in mine.seen  # the terminal is as it was
    assert cli.say("chat", "rooms").split("\t")[3] == "0"  # read


def test_screen_takes_what_is_pasted_as_one_message(signed_in, room, screen):
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"

    def messages():
        return [m["text"] for m in signed_in.json("chat", "history", room["id"]).get("messages", [])]

    mine = screen(signed_in, "chat", room["id"])
    mine.shows("^>")
    assert "\x1b[?2004h" in mine.seen
    mine.send(f"\x1b[200~one\ttwo\r\x03three {family}\r\r\x1b[201~")
    lines = mine.shows("^> one two\u21b5three .*\u21b5\u21b5$")
    assert "\u200d" not in lines[-1], "terminals do not agree where a family ends"
    assert mine.screen.cursor.x == len("> one two|three ||") + 3 * 2
    assert messages() == []
    mine.send(ENTER)
    mine.shows("one    two$", "^      three ")
    wait_until(lambda: messages() == [f"one\ttwo\nthree {family}"], "one message")
    # Cut in the middle of the sequence, and lines that end as on Windows; then what is typed around it.
    mine.send("see: \x1b[20")
    mine.shows("^> see:$")
    mine.send("0~/a\r\nb\x1b[201~ !")
    mine.shows("^> see: /a\u21b5b !$")
    mine.send(ENTER)
    wait_until(lambda: messages()[1:] == ["see: /a\nb !"], "the second message")
    mine.send("\x1b[200~" + "x" * 5000 + "\x1b[201~")
    mine.shows("what was pasted is cut: a message has at most 4096 bytes")
    mine.send(CTRL_C)
    assert mine.end() == 0
    assert "\x1b[?2004l" in mine.seen


def test_screen_of_hostile_text(signed_in, room, screen, hostile):
    signed_in.say("chat", "send", room["id"], "hello")
    hostile("chat.messages", "text", "room_id", room["id"], "x\x1b[2J\x1b]0;owned\x07\x9b2J\u202eabc")
    hostile("chat.rooms", "name", "id", room["id"], "title\x1b[2J")
    mine = screen(signed_in, "chat", room["id"])
    lines = mine.shows("owned")
    assert "\u241b[2J\u241b]0;owned\u2407\ufffd2J\ufffdabc" in "".join(lines)
    assert lines[0].startswith("title\u241b[2J")
    mine.send(CTRL_C)
    assert mine.end() == 0


def test_screen_without_a_terminal(signed_in, room):
    assert "needs a terminal" in signed_in.fail(10, "chat", room["id"])
    for term in ("dumb", "no-such-terminal", ""):
        terminal = Terminal(signed_in, "chat", room["id"], TERM=term)
        assert terminal.end() == 10 and "can show no screen" in terminal.seen, terminal.seen
    assert "no room named" in signed_in.fail(5, "chat", "nowhere")
