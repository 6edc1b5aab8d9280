"""The command line against a running suite: a home folder of its own, and runs of `stoa` there."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import psycopg2
import pyte
import pytest
from stoa_suite_fixture import output_folder, Suite, wait_until

STOA = output_folder() / "bin/stoa"
IO_FAULTS = output_folder() / "tests/io_faults.so"


class Cli:
    """Cli(tmp_path, suite).run("post", "list"); settings are STOA_ variables."""

    def __init__(self, home, suite=None, **settings):
        self.home = home
        self.home.mkdir(exist_ok=True, parents=True)
        self.settings = {name: str(value) for name, value in settings.items()}
        for service in ("auth", "posts", "chat") if suite else ():
            self.settings.setdefault(f"STOA_{service.upper()}_ADDRESS", suite.grpc_address(service))

    def environment(self, **more):
        inherited = {name: os.environ[name] for name in ("PATH", "ASAN_OPTIONS", "TSAN_OPTIONS") if name in os.environ}
        return {**inherited, "HOME": str(self.home), "LANG": "C.UTF-8", "TZ": "UTC", **self.settings, **more}

    def run(self, *words, stdin="", env=None, timeout=60):
        return subprocess.run([STOA, *words], input=stdin.encode(), env=self.environment(**(env or {})),
                              capture_output=True, timeout=timeout, cwd=self.home)

    def say(self, *words, **kwargs):
        """Its standard output, when all went well."""
        done = self.run(*words, **kwargs)
        assert done.returncode == 0 and done.stderr == b"", (words, done)
        return done.stdout.decode()

    def json(self, *words, **kwargs):
        return json.loads(self.say(*words, "-o", "json", **kwargs))

    def fail(self, status, *words, **kwargs):
        """The one line on standard error that it fails with."""
        done = self.run(*words, **kwargs)
        error = done.stderr.decode()
        assert done.returncode == status, (words, done)
        assert error.startswith("stoa: ") and error.endswith("\n") and error.count("\n") == 1, error
        return error[len("stoa: "):-1]

    def login(self, account):
        self.say("login", account["email"], stdin=account["password"] + "\n")
        return self

    @property
    def logins(self):
        return self.home / ".local/state/stoa/client/logins"

    def change_login(self, **changes):
        login, = json.loads(self.logins.read_text())
        self.logins.write_text(json.dumps([{**login, **changes}]))

    def kept(self):
        return sorted((self.home / ".local/state/stoa/client/kept").glob("*.md"))

    def editor(self, script):
        """An $EDITOR: a shell script in which $1 is the file."""
        path = self.home / "editor"
        path.write_text(f"#!/bin/sh\nset -e\n{script}\n")
        path.chmod(0o755)
        return {"EDITOR": str(path)}


class Terminal:
    """A run of `stoa` on a terminal of its own."""

    def __init__(self, cli, *words, rows=24, columns=80, **env):
        self.seen = ""
        pid, self.master = pty.fork()
        if not pid:
            os.chdir(cli.home)
            # An xterm without scrolling by several lines and repeated characters, which pyte does not know.
            os.execve(STOA, [str(STOA), *words], cli.environment(**{"TERM": "xterm-r6", "PAGER": "cat", **env}))
        self.pid, self.status = pid, None
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def _read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other end is gone
            return None
        self.seen += data.decode(errors="replace")
        return bool(data) or None

    def until(self, pattern, seconds=30):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen, re.S):
            assert time.monotonic() < end, f"{pattern!r} not seen in:\n{self.seen}"
            if self._read(0.1) is None:
                assert re.search(pattern, self.seen, re.S), f"{pattern!r} not seen before the end:\n{self.seen}"
        return self.seen

    def end(self, seconds=30):
        """Its exit status, when it has ended; what it printed is in `seen`."""
        stop = time.monotonic() + seconds
        while self.status is None:
            assert time.monotonic() < stop, f"still runs:\n{self.seen}"
            if self._read(0.05) is None or not select.select([self.master], [], [], 0)[0]:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
        while self._read(0.05):
            pass
        os.close(self.master)
        return self.status

    def kill(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.end()


class Screen(Terminal):
    """The same for what uses the whole screen: `lines` is what is on it."""

    def __init__(self, cli, *words, rows=24, columns=80, **env):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.Stream(self.screen)
        self.fed = 0
        super().__init__(cli, *words, rows=rows, columns=columns, **env)

    @property
    def lines(self):
        self._read(0)
        self.stream.feed(self.seen[self.fed:])
        self.fed = len(self.seen)
        return [line.rstrip() for line in self.screen.display]

    def resize_screen(self, rows, columns):
        self.screen.resize(rows, columns)
        self.resize(rows, columns)

    def shows(self, *patterns, seconds=60):
        """Waits until each is on a line of the screen."""
        end = time.monotonic() + seconds
        while not all(any(re.search(pattern, line) for line in self.lines) for pattern in patterns):
            assert time.monotonic() < end, f"{patterns} not on\n" + "\n".join(self.lines)
            self._read(0.05)
        return self.lines


class Tail:
    """`stoa chat tail` in the background; its lines so far."""

    def __init__(self, cli, *words, **env):
        self.process = subprocess.Popen([STOA, "chat", "tail", *words], env=cli.environment(**env), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, cwd=cli.home)
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(map(bytes.decode, self.process.stdout)))
        self.thread.start()

    def wait_for(self, count):
        wait_until(lambda: len(self.lines) >= count, f"{count} lines; so far {self.lines}", 60)
        return [line.rstrip("\n").split("\t") for line in self.lines]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


# ---- for those that import them ----

@pytest.fixture
def cli(tmp_path, suite):
    return Cli(tmp_path, suite)


@pytest.fixture
def signed_in(cli, new_account):
    """A Cli, signed in; .account is who."""
    cli.account = new_account("cli")
    return cli.login(cli.account)


@pytest.fixture(scope="module")
def strict_suite():
    """Tokens live for less than what is left to them when they are renewed, so that each call renews; sign-ins are
    limited. For tests that count, or stop things."""
    with Suite(STOA_AUTH_TOKEN_TTL_S=20, STOA_AUTH_LOGIN_ADDRESS_RATE="2/3600s") as started:
        yield started


@pytest.fixture
def hostile(suite):
    """hostile("posts.articles", "title", "slug", slug, text): writes what no service would accept."""

    def write(table, column, key, value, text):
        database = psycopg2.connect(**suite.database())
        try:
            database.autocommit = True
            with database.cursor() as cursor:
                cursor.execute(f"UPDATE {table} SET {column} = %s WHERE {key} = %s", (text, value))
                assert cursor.rowcount == 1
        finally:
            database.close()

    return write


@pytest.fixture
def room(signed_in, call_grpc, unique):
    code, answer = call_grpc("chat", "CreateRoom", {"room": {"name": unique("engine ")}}, signed_in.account["token"])
    assert code == "OK", answer
    return answer["room"]
