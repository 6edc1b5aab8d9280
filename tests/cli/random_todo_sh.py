"""Random actions on random files, by todo.sh and by stoa-todo: `make compare-task`. Both must give the same standard
output, exit status and files. Prints what differs, and the seed that plays the same again; exit status 1 then."""
import os
import random
import sys
import tempfile
import time

from stoa_task import CONFIG, Home, STOA_TODO
from test_todo_sh import seen, TODO_SH

STEPS = 5
WORDS = ["call", "Ada", "(A)", "(b)", "(C) x", "@home", "@a.b", "+proj", "+p-", "@", "+", "x", "X", "x done", "2026-01-02",
         "due:2026-03-04", "ä", "漢字", "a/b", "a&b", "a|b", "back\\slash", "q'uote", 'd"q', "$HOME", "`ls`", "[a]", "a.c", "^a",
         "  two", "-minus", "5", "05", "t:1", "http://a.b/c?d=e&f", "%s", "~", "#1", "!", "{", "(AB)", "(A)x", "\t", "e\u0301"]
FILES = ["done.txt", "ideas.txt", "todo.txt", "none"]
OPTIONS = [("-f", .5), ("-p", .15), ("-@", .1), ("-+", .1), ("-P", .1), ("-n", .15), ("-N", .05), ("-t", .1), ("-T", .05),
           ("-v", .1), ("-a", .15), ("-A", .05), ("-c", .05), ("-x", .05)]
SETTINGS = [{}] * 4 + [{"TODOTXT_VERBOSE": "0"}, {"TODOTXT_VERBOSE": "2"}, {"TODOTXT_DATE_ON_ADD": "1"},
                       {"TODOTXT_PRESERVE_LINE_NUMBERS": "0"}, {"TODOTXT_FINAL_FILTER": "sed s/a/b/"},
                       {"TODOTXT_SORT_COMMAND": "sort -r"}, {"TODOTXT_AUTO_ARCHIVE": "0"}, {"TODOTXT_FORCE": "1"}]
COLORS = CONFIG + "export COLOR_PROJECT=$GREEN COLOR_CONTEXT=$RED\nexport COLOR_DONE=$BLUE\n"


class Player:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def text(self, most=4):
        return " ".join(self.rng.choices(WORDS, k=self.rng.randint(1, most)))

    def texts(self, most):
        return [self.text() for _ in range(self.rng.randint(0, most))]

    def file(self):
        begins = ["", "", "", "(A) ", "(D) ", "(Z) ", "x 2026-02-01 ", "2026-01-03 "]
        lines = self.rng.randint(250, 400) if self.rng.random() < .03 else self.rng.randint(0, 8)
        return "".join("\n" if self.rng.random() < .08 else self.rng.choice(begins) + self.text(5) + "\n"
                       for _ in range(lines))

    def item(self):
        odd = ["0", "12", "x", "", "-1", "1x", "01", "2,3", "1 2", "$", "^", "1.", "*"]
        return self.rng.choice(odd) if self.rng.random() < .25 else str(self.rng.randint(1, 8))

    def terms(self):
        made = [self.rng.choice(["", "", "", "-"]) + self.rng.choice(WORDS + ["a", "o", "call", "x "])
                for _ in range(self.rng.randint(0, 3))]
        return [term.replace("--", "-") for term in made]  # where they differ: test_differences.py

    def arguments(self):
        pick, maybe = self.rng.choice, lambda value: [value] if self.rng.random() < .5 else []
        made = {
            "add": lambda: self.texts(2), "addm": lambda: ["\n".join(self.texts(3))],
            "addto": lambda: [pick(FILES), self.text()],
            "append": lambda: [self.item(), *self.texts(2)], "del": lambda: [self.item(), *maybe(pick(WORDS))],
            "do": lambda: [self.item() for _ in range(pick([0, 1, 1, 2, 3]))],
            "pri": lambda: [self.item(), pick(["A", "b", "Z", "", "AB", "1", "é"])],
            "move": lambda: [self.item(), pick(FILES), *maybe(pick(FILES))],
            "listpri": lambda: [*maybe(pick(["A", "b", "A-C", "c-a", "a-", "ab", "(A)"])), *self.terms()],
            "listfile": lambda: [*maybe(pick([*FILES, "ideas", ""])), *self.terms()],
            "command": lambda: [pick(["ls", "lsprj", "bogus"]), *self.terms()],
            "ls": self.terms, "archive": self.terms,
        }
        like = {"a": "add", "app": "append", "prepend": "append", "prep": "append", "replace": "append", "rm": "del",
                "depri": "do", "dp": "do", "p": "pri", "mv": "move", "lsp": "listpri", "lf": "listfile", "list": "ls",
                "listall": "ls", "lsa": "ls", "listcon": "ls", "lsc": "ls", "listproj": "ls", "lsprj": "ls",
                "listaddons": "ls", "report": "archive", "deduplicate": "archive", "bogus": "ls"}
        name = pick([*made, *like])
        options = [option for option, often in OPTIONS if self.rng.random() < often]
        return [*options, name.upper() if self.rng.random() < .05 else name, *made[like.get(name, name)]()]

    def step(self):
        stdin = self.rng.choice(["", "y\n", "n\n", self.text() + "\n"])
        return self.arguments(), stdin, self.rng.choice(SETTINGS)


def play(folder, seed):
    """How many steps, and the first in which the two differ, or None."""
    player = Player(seed)
    files = {name: player.file() for name in ("todo.txt", "done.txt", "ideas.txt")}
    config = player.rng.choice([CONFIG, COLORS])
    os.symlink(TODO_SH, f"{folder}/stoa-todo")  # our name in its usage lines
    homes = [Home(f"{folder}/{i}", [program], {"report.txt": "", **files}, config)
             for i, program in enumerate((f"{folder}/stoa-todo", STOA_TODO))]
    for i in range(STEPS):
        arguments, stdin, env = player.step()
        theirs, ours = (seen(home, arguments, home.run(*arguments, stdin=stdin, env=env)) for home in homes)
        if theirs != ours:
            return i + 1, (arguments, stdin, env, theirs, ours)
    return STEPS, None


def main():
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    count, different = 0, 0
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory(prefix="stoa-cli-") as folder:
            steps, difference = play(folder, seed)
        count += steps
        if difference:
            different += 1
            arguments, stdin, env, theirs, ours = difference
            print(f"seed {seed}: {env} {arguments} {stdin!r}")
            for key in theirs:
                if theirs[key] != ours[key]:
                    print(f"  todo.sh    {key}: {theirs[key]}\n  stoa-todo  {key}: {ours[key]}")
        seed += 1
    print(f"{count} steps, {different} differ")
    sys.exit(different > 0)


if __name__ == "__main__":
    assert TODO_SH, "no todo-txt: install todotxt-cli"
    main()
