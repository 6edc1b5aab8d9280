"""Follows the log files of a suite in the foreground: prints what programs say, and what became of them."""
import os
import re

# supervisord.log: "2025-01-31 12:00:00,000 WARN exited: auth (terminated by SIGKILL; not expected)"
EXITED = re.compile(r"^\S+ \S+ \w+ exited: (\S+) \((.*?)(?:; (?:not )?expected)?\)$")
SPAWNED = re.compile(r"^\S+ \S+ \w+ spawned: '(\S+)' with pid (\d+)$")
KILLING = re.compile(r"^\S+ \S+ \w+ killing '(\S+)' \(\d+\) with SIGKILL$")


class File:
    """The lines that are added to a log file from now on, also across its rotation."""

    def __init__(self, path):
        self._path = path
        self._file = None
        self._part = b""
        self._open(at_end=True)

    def _open(self, at_end=False):
        try:
            self._file = open(self._path, "rb", buffering=0)
        except OSError:
            return
        if at_end:
            self._file.seek(0, os.SEEK_END)

    def lines(self):
        if self._file is None:
            self._open()
        if self._file is None:
            return []
        read = self._file.read()
        if not read and self._was_rotated():
            self._file.close()
            self._open()
            read = self._file.read() if self._file else b""
        *whole, self._part = (self._part + read).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]

    def _was_rotated(self):
        try:
            now, mine = os.stat(self._path), os.fstat(self._file.fileno())
        except OSError:
            return False
        # supervisord renames a full file, or truncates it when it keeps no old ones.
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino) or now.st_size < self._file.tell()


class Follower:
    def __init__(self, layout, names):
        self._width = max(len(name) for name in (*names, "suite"))
        self._files = {name: File(f"{layout.log}/{name}.log") for name in names}
        self._supervisor = File(f"{layout.log}/supervisord.log")
        self._died = set()

    def print_new(self, stopping=False):
        for line in self._supervisor.lines():
            self._print_event(line, stopping)
        for name, file in self._files.items():
            for line in file.lines():
                self.print(name, line)

    def print(self, name, text):
        print(f"{name:<{self._width}} | {text}", flush=True)

    def _print_event(self, line, stopping):
        if match := EXITED.match(line):
            self._died.add(match[1])
            if not stopping:
                self.print("suite", f"{match[1]} died ({match[2]}); restarting it")
        elif match := SPAWNED.match(line):
            if match[1] in self._died:
                self.print("suite", f"{match[1]} restarted, pid {match[2]}")
            self._died.discard(match[1])
        elif match := KILLING.match(line):
            self.print("suite", f"{match[1]} did not stop in time: killed")
