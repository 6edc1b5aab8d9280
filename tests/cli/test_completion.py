"""What bash and zsh offer after a beginning, asked of the shells themselves."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest
from stoa_task import Home, OUT, ROOT

COMPLETION = os.path.join(ROOT, "cli/completion")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path, files={"todo.txt": "a +engine @phone\nb +euler\n", "done.txt": "", "work.txt": ""})


def bash(home, *words):
    """COMPREPLY for a line with these words, the last of which is being typed."""
    script = f"""
        . {COMPLETION}/stoa.bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _stoa
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, timeout=30,
                          env=home.environment(PATH=f"{OUT}/bin:{os.environ['PATH']}"))
    assert done.stderr == ""
    return done.stdout.split()


CASES = [
    (("stoa", "t"), ["task"]),
    (("stoa", "lo"), ["login", "logout"]),
    (("stoa", "post", ""), ["list", "search", "show", "new", "edit", "publish", "delete"]),
    (("stoa", "sessions", "e"), ["end", "end-others"]),
    (("stoa", "chat", "h"), ["history"]),
    (("stoa", "post", "list", "--d"), ["--drafts"]),
    (("stoa", "post", "show", "--t"), ["--timeout", "--tls"]),
    (("stoa", "feed", "--output", "p"), ["plain"]),
    (("stoa", "task", "cal"), ["calendar", "cal"]),
    (("stoa", "task", "ls", "+e"), ["+engine", "+euler"]),
    (("stoa", "task", "ls", "@"), ["@phone"]),
    (("stoa", "task", "-l", "wo"), ["work"]),
    (("stoa", "task", "mv", "1", "x"), []),
    (("stoa", "task", "lf", "w"), ["work.txt"]),
    (("stoa", "task", "--j"), ["--json"]),
    (("stoa", "task", "help", "undo"), ["undo"]),
    (("stoa-todo", "dedup"), ["deduplicate"]),
    (("stoa-todo", "-p", "lsp"), ["lsp", "lsprj"]),
    (("stoa-todo", "addto", "to"), ["todo.txt"]),
]


@pytest.mark.parametrize("words, expected", CASES, ids=[" ".join(words) for words, _ in CASES])
def test_bash(home, words, expected):
    assert sorted(bash(home, *words)) == sorted(expected)


class Zsh:
    """A zsh on a terminal of its own."""

    def __init__(self, home):
        env = home.environment(PATH=f"{OUT}/bin:{os.environ['PATH']}", TERM="dumb", PS1="READY> ", ZDOTDIR=home.path)
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([shutil.which("zsh"), "-f", "-i"], stdin=slave, stdout=slave, stderr=slave,
                                        env=env, start_new_session=True)
        os.close(slave)
        # The widget shows what there is to choose from, between marks, and leaves the line alone.
        self.send(f"fpath=({COMPLETION} $fpath); autoload -Uz compinit; compinit -u -D; unsetopt zle_bracketed_paste; "
                  "zstyle ':completion:*' list-grouped no; compadd () { "
                  "if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd \"$@\"; return; fi; "
                  "local -a hits; builtin compadd -O hits \"$@\"; builtin print -rl -- '<<'$^hits'>>'; "
                  "builtin compadd \"$@\"; }; choices () { zle list-choices; builtin print END.; }; zle -N choices; "
                  "bindkey '^I' choices; print END''.\n")
        self.until(r"END\.\r?\n.*READY> ")

    def send(self, text):
        os.write(self.master, text.encode())

    def until(self, pattern, seconds=60):
        seen, end = "", time.monotonic() + seconds
        while not re.search(pattern, seen, re.S):
            assert time.monotonic() < end, seen
            if select.select([self.master], [], [], 0.2)[0]:
                seen += os.read(self.master, 65536).decode(errors="replace")
        return seen

    def offers(self, line):
        self.send(line + "\t")
        seen = self.until(r"END\.")
        self.send("\x15print NEXT''.\n")  # ^U: the line is given up
        self.until(r"NEXT\.\r?\n.*READY> ")  # before the prompt a key would be the terminal's, not zsh's
        return re.findall(r"<<(.*?)>>", seen)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_zsh(home):
    assert shutil.which("zsh")
    zsh = Zsh(home)
    try:
        for words, expected in CASES:
            assert sorted(set(zsh.offers(" ".join(words)))) == sorted(expected), words
    finally:
        zsh.close()
