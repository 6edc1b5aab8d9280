"""How the tests of the command line run it, beside todo.sh or alone."""
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.environ.get("STOA_OUT", os.path.join(ROOT, "build/release"))
STOA = os.path.join(OUT, "bin/stoa")
STOA_TODO = os.path.join(OUT, "bin/stoa-todo")
IO_FAULTS = os.path.join(OUT, "tests/io_faults.so")

CONFIG = """\
export TODO_DIR="$HOME/todo"
export TODO_FILE="$TODO_DIR/todo.txt"
export DONE_FILE="$TODO_DIR/done.txt"
export REPORT_FILE="$TODO_DIR/report.txt"
"""


class Home:
    """A home folder with tasks in it, and runs of a program there."""

    def __init__(self, path, program=(STOA, "task"), files=None, config=CONFIG):
        self.path, self.program = str(path), list(program)
        self.todo = os.path.join(self.path, "todo")
        os.makedirs(self.todo, exist_ok=True)
        os.makedirs(os.path.join(self.path, ".todo"), exist_ok=True)
        if config is not None:
            with open(os.path.join(self.path, ".todo/config"), "w") as f:
                f.write(config)
        for name, content in (files or {}).items():
            self.write(name, content)

    def write(self, name, content):
        target = os.path.join(self.todo, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())

    def read(self, name="todo.txt"):
        with open(os.path.join(self.todo, name), "rb") as f:
            return f.read()

    def files(self):
        return {name: self.read(name) for name in sorted(os.listdir(self.todo)) if not name.endswith(".bak")}

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "HOME": self.path, "LANG": "C.UTF-8", "TZ": "UTC",
                **({"ASAN_OPTIONS": os.environ["ASAN_OPTIONS"]} if "ASAN_OPTIONS" in os.environ else {}), **more}

    def run(self, *args, stdin="", env=None, **kwargs):
        """The finished process, its output as bytes."""
        return subprocess.run([*self.program, *args], input=stdin.encode(), env=self.environment(**(env or {})),
                              cwd=self.path, capture_output=True, timeout=180, **kwargs)

    def say(self, *args, **kwargs):
        """Its standard output, when all went well."""
        done = self.run(*args, **kwargs)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout.decode(errors="surrogateescape")
