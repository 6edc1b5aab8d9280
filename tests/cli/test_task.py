"""stoa task: what todo.sh has not."""
import datetime
import json
import os
import pty
import re
import select
import subprocess

import pytest
from stoa_task import CONFIG, Home, OUT, STOA, STOA_TODO

RED, YELLOW, END = "\x1b[0;31m", "\x1b[1;33m", "\x1b[0m"


def day(ahead=0):
    return (datetime.datetime.utcnow().date() + datetime.timedelta(days=ahead)).isoformat()


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def listed(home, *args):
    """The numbers that a list shows, in its order."""
    return [int(line.split()[0]) for line in home.say("-p", *args).split("--\n")[0].splitlines()]


def on_terminal(home, *args, rows=50, **env):
    """What a terminal gets; less is no program of it, so that nothing waits."""
    import fcntl
    import struct
    import termios
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    process = subprocess.Popen([*home.program, *args], stdin=slave, stdout=slave, stderr=slave,
                               env=home.environment(**{"TERM": "xterm", **env}))
    os.close(slave)
    seen = b""
    while True:
        try:
            select.select([master], [], [], 30)
            seen += os.read(master, 65536)
        except OSError:  # the last holder of the other end is gone
            break
    process.wait(30)
    os.close(master)
    return seen.decode().replace("\r\n", "\n")


# ---- filters ----

FILTERED = f"""\
(A) call Ada @phone +engine due:{day(-1)}
(C) write report @home +work due:{day(3)}
(B) buy bread @home +house due:{day(30)} t:{day(5)}
{day(-10)} plant tree @home +garden
x {day(-2)} {day(-9)} done thing @home
call Bob @phone due:soon
"""


@pytest.mark.parametrize("terms, numbers", [
    (["@home", "-+work"], [3, 4, 5]),
    (["pri:A"], [1]),
    (["pri:b-C"], [3, 2]),
    (["-pri:none"], [1, 3, 2]),
    (["pri:none", "@phone"], [6]),
    (["due<today"], [1]),
    (["due<=+3d"], [1, 2]),
    (["due>+3d"], [3]),
    ([f"due={day(3)}"], [2]),
    (["due>=yesterday", "due<+4d"], [1, 2]),
    (["due:none"], [4, 6, 5]),
    (["due:any", "@home"], [3, 2]),
    (["-due:any", "call"], [6]),
    (["t>today"], [3]),
    (["created<-1w"], [4, 5]),
    (["done>-1w"], [5]),
    (["/call (ada|bob)/"], [1, 6]),
    (["-/call|bread/", "@home"], [2, 4, 5]),
    (["/^call/"], [6]),
    (["due:soon"], [6]),
    (["@home", "-+work", "pri:A-C", "due<+2m", "/br?ead/"], [3]),
])
def test_filters_combine(home, terms, numbers):
    home.write("todo.txt", FILTERED)
    assert listed(home, "ls", *terms) == numbers


def test_a_filter_that_cannot_be_read(home):
    home.write("todo.txt", FILTERED)
    for term in ("/(/", "[a"):
        run = home.run("ls", term)
        assert run.returncode == 1 and run.stdout == b""
        assert run.stderr.decode().startswith(f"stoa task: {term.strip('/')}: ") and run.stderr.count(b"\n") == 1


def test_by_todo_sh_s_name_terms_are_todo_sh_s(tmp_path):
    home = Home(tmp_path, [STOA_TODO], {"todo.txt": "(A) pri:A itself\n(A) another /a/\n"})
    assert listed(home, "ls", "pri:A") == [1]
    assert listed(home, "ls", "/a/") == [2]


# ---- dates ----

def test_due(home):
    home.write("todo.txt", FILTERED + f"today due:{day()}\n(A) today as well due:{day()}\n")
    assert listed(home, "due") == [1, 8, 7, 2]
    assert listed(home, "due", "0") == [1, 8, 7]
    assert listed(home, "due", "@home") == [2]
    assert listed(home, "due", "2", "pri:none") == [7]
    lines = home.say("-c", "due").splitlines()
    assert lines[0] == f"{RED}1 {day(-1)} (A) call Ada @phone +engine due:{day(-1)}{END}"
    assert lines[2] == f"{YELLOW}7 {day()} today due:{day()}{END}"
    assert lines[3].startswith("\x1b[1;34m2 ")  # not yet: by priority
    assert lines[-1] == "TODO: 4 due"
    assert f"{RED}due:{day(-1)}{END}" in home.say("-c", "ls", "Ada")


def test_next(home):
    home.write("todo.txt", FILTERED)
    assert listed(home, "next") == [1]
    assert listed(home, "next", "9") == [1, 2, 4, 6]  # 3 waits for its t:
    assert listed(home, "next", "2", "@phone") == [1, 6]
    assert listed(home, "next", "@home") == [2]


def test_calendar(home):
    home.write("todo.txt", "a due:2026-12-01\nb due:2026-12-01\nc due:2026-12-31 @x\nd due:2027-01-01\n")
    assert home.say("calendar", "2026-12") == (
        "2026-12\nMo   Tu   We   Th   Fr   Sa   Su\n"
        "      1(2) 2    3    4    5    6\n 7    8    9   10   11   12   13\n"
        "14   15   16   17   18   19   20\n21   22   23   24   25   26   27\n28   29   30   31(1)\n\n"
        "1 2026-12-01 a due:2026-12-01\n2 2026-12-01 b due:2026-12-01\n3 2026-12-31 c due:2026-12-31 @x\n"
        "--\nTODO: 3 due in this month\n")
    assert [t["number"] for t in json.loads(home.say("cal", "2026-12", "@x", "--json"))] == [3]
    assert home.say("cal").startswith(day()[:7] + "\n")
    assert home.run("cal", "2026-13").returncode == 1


# ---- recurrence ----

def test_what_recurs_comes_again(home):
    home.write("todo.txt", f"(A) rent rec:+1w due:{day(-2)} t:{day(-3)}\nwater rec:3d\nonce\n")
    told = home.say("do", "1,2", "3")
    assert "TODO: 4 added." in told and "TODO: 5 added." in told
    assert home.read().decode() == f"(A) rent rec:+1w due:{day(5)} t:{day(4)}\nwater rec:3d due:{day(3)}\n"
    assert home.read("done.txt").count(b"\n") == 3
    home.say("undo")
    assert home.read().decode().startswith("(A) rent") and home.read().count(b"\n") == 3
    home.write("todo.txt", "bad rec:sometimes\n")
    run = home.run("do", "1")
    assert run.returncode == 0 and b"rec:sometimes is not read" in run.stderr


def test_by_todo_sh_s_name_nothing_recurs(tmp_path):
    home = Home(tmp_path, [STOA_TODO], {"todo.txt": "water rec:3d\n"})
    home.say("do", "1")
    assert home.read() == b""


# ---- undo and edit ----

def test_undo_takes_back_each_change(home):
    home.write("todo.txt", "one\ntwo\none\n")
    home.write("ideas.txt", "")
    states = [home.files()]
    changes = [("pri", "1", "A"), ("append", "2", "x"), ("-f", "mv", "2", "ideas.txt"), ("-a", "do", "1"),
               ("add", "new"), ("deduplicate",), ("replace", "1", "y"), ("replace", "1", "y"), ("archive",),
               ("addto", "ideas.txt", "i"), ("prepend", "1", "z"), ("pri", "1", "B"), ("pri", "1", "C"), ("depri", "1"),
               ("-f", "del", "1", "z"), ("addm", "v\nw rec:1d"), ("do", "2"), ("report",), ("-f", "-n", "del", "1"),
               ("-f", "mv", "1", "todo.txt", "ideas.txt")]
    for change in changes:
        home.say(*change)
        if home.files() != states[-1]:
            states.append(home.files())
    assert len(states) == len(changes) - 1, "one that changes nothing is none"
    while len(states) > 1:
        states.pop()
        assert home.say("undo").startswith("TODO: Undone: ")
        assert {k: v for k, v in home.files().items() if v} == {k: v for k, v in states[-1].items() if v}
    assert home.run("undo").stdout == b"TODO: There is nothing to undo.\n"


def test_undo_tells_of_several_lines_in_one(home):
    home.say("addm", "one\ntwo")
    assert home.say("undo") == "TODO: Undone: addm one two\n"


def test_undo_does_not_go_over_another_s_change(home):
    home.say("add", "one")
    home.write("todo.txt", "one\nby hand\n")
    run = home.run("undo")
    assert run.returncode == 1 and b"changed since by another program; nothing was undone" in run.stderr
    assert home.read() == b"one\nby hand\n"


def test_edit(home):
    home.write("todo.txt", b"one\r\ntwo \xff\r\nthree")
    editor = os.path.join(home.path, "editor")
    with open(editor, "w") as f:
        f.write('#!/bin/sh\nsed -i "$1" "$2"\n')
    os.chmod(editor, 0o755)
    assert "Edited" in home.say("edit", "2", env={"EDITOR": f"{editor} s/two/2/"})
    assert home.read() == b"one\r\n2 \xff\r\nthree"
    assert "Edited" in home.say("edit", env={"VISUAL": f"{editor} 1d", "EDITOR": "false"})
    assert home.read() == b"2 \xff\r\nthree"
    assert "Nothing was changed" in home.say("edit", env={"EDITOR": "true"})
    assert home.run("edit", env={"EDITOR": "false"}).returncode == 1
    home.say("undo")
    assert home.read() == b"one\r\n2 \xff\r\nthree"


def test_edit_keeps_what_it_could_not_put_back(home):
    home.write("todo.txt", "one\n")
    editor = os.path.join(home.path, "editor")
    with open(editor, "w") as f:
        f.write(f'#!/bin/sh\necho mine >"$1"\necho theirs >{home.todo}/todo.txt\n')
    os.chmod(editor, 0o755)
    run = home.run("edit", "1", env={"EDITOR": editor, "TMPDIR": home.path})
    assert run.returncode == 1 and home.read() == b"theirs\n"
    kept = re.search(r"what you wrote is in (\S+)", run.stderr.decode()).group(1)
    with open(kept) as f:
        assert f.read() == "mine\n"


# ---- lists ----

def test_lists_by_name(home):
    home.say("-l", "work", "add", f"(A) report due:{day(-1)}")
    home.say("-l", "work", "add", "mail")
    home.say("-l", "work", "do", "2")
    home.say("add", "bread")
    assert home.read("work.txt").decode() == f"(A) report due:{day(-1)}\n"
    assert home.read("work.done.txt").decode() == f"x {day()} mail\n"
    assert home.say("lists") == "List   open   done overdue\ntodo      1      0       0\nwork      1      0       1\n"
    assert json.loads(home.say("lists", "--json"))[1] == {"list": "work", "open": 1, "done": 0, "overdue": 1}
    assert home.say("-l", "work", "undo") == "TODO: Undone: do 2\n"
    none = home.run("-l", "wrok", "ls")
    assert none.returncode == 1 and b"There is no list wrok" in none.stdout
    assert "wrok.txt" not in home.files()
    for bad in ("../x", "", ".x", "a/b"):
        assert home.run("-l", bad, "add", "x").returncode == 2


def test_wide_characters_take_two_columns(home):
    home.write("todo.txt", "a +漢字\nb +cafe\u0301\nc +🎉\n")
    assert home.say("stats").split("\n\n")[1] == (
        "Project   open   done\n+café        1      0\n+漢字        1      0\n+🎉          1      0\n"
        .replace("é", "e\u0301"))


# ---- json ----

def test_json_of_every_list(home):
    home.write("todo.txt", b"(A) 2026-01-02 Call Ada +engine @phone due:2026-12-01 k:v\nx 2026-01-03 caf\xe9\n")
    home.write("done.txt", "x old\n")
    tasks = json.loads(home.say("ls", "--json"))
    assert tasks[0] == {
        "file": f"{home.todo}/todo.txt", "number": 1, "done": False, "priority": "A", "completed": None,
        "created": "2026-01-02", "due": "2026-12-01", "body": "Call Ada +engine @phone due:2026-12-01 k:v",
        "projects": ["engine"], "contexts": ["phone"], "tags": {"due": "2026-12-01", "k": "v"},
        "line": "(A) 2026-01-02 Call Ada +engine @phone due:2026-12-01 k:v"}
    assert tasks[1]["done"] and tasks[1]["completed"] == "2026-01-03" and tasks[1]["body"] == "caf\ufffd"
    assert [(os.path.basename(t["file"]), t["number"]) for t in json.loads(home.say("lsa", "--json"))] == [
        ("todo.txt", 1), ("todo.txt", 2), ("done.txt", 1)]
    assert [t["number"] for t in json.loads(home.say("lsp", "A", "--json"))] == [1]
    assert [t["number"] for t in json.loads(home.say("--json", "lf", "done.txt"))] == [1]
    assert json.loads(home.say("lf", "--json")) == ["done.txt", "report.txt", "todo.txt"]
    assert json.loads(home.say("lsc", "--json")) == ["@phone"]
    assert json.loads(home.say("lsprj", "--json")) == ["+engine"]
    assert json.loads(home.say("listaddons", "--json")) == []
    for view in ("due", "next"):
        assert [t["number"] for t in json.loads(home.say(view, "--json"))] == [1]
    stats = json.loads(home.say("stats", "--json"))
    assert stats["open"] == 1 and stats["done"] == 2 and stats["projects"] == [{"project": "engine", "open": 1, "done": 0}]
    assert json.loads(home.say("ls", "none", "--json")) == []


# ---- habits ----

def test_colours_are_for_terminals(home):
    home.write("todo.txt", "(A) a\n")
    assert YELLOW not in home.say("ls")
    assert YELLOW in home.say("-c", "ls")
    assert YELLOW in on_terminal(home, "ls")
    assert YELLOW not in on_terminal(home, "ls", NO_COLOR="1")
    assert YELLOW in on_terminal(home, "ls", NO_COLOR="")
    assert YELLOW in on_terminal(home, "-c", "ls", NO_COLOR="1")
    assert YELLOW not in on_terminal(home, "-p", "ls")
    assert YELLOW not in on_terminal(home, "ls", TERM="dumb")


def test_by_todo_sh_s_name_colours_are_todo_sh_s_but_for_no_color(tmp_path):
    home = Home(tmp_path, [STOA_TODO], {"todo.txt": "(A) a\n"})
    assert YELLOW in home.say("ls")
    assert YELLOW not in home.say("ls", env={"NO_COLOR": "1"})


def test_the_pager_is_for_long_output_on_a_terminal(home):
    home.write("todo.txt", "".join(f"{i} a\n" for i in range(30)))
    pager = {"PAGER": "sed s/^/PAGED-/"}
    assert on_terminal(home, "ls", rows=20, **pager).count("PAGED-") == 32
    assert "PAGED-" not in on_terminal(home, "ls", rows=40, **pager)
    assert "PAGED-" not in home.say("ls", env=pager)
    assert "\n29 a" not in on_terminal(home, "ls", rows=20, PAGER="head -n 3")
    assert on_terminal(home, "ls", rows=20, PAGER="/no/such/program").count(" a\n") == 30


def test_a_reader_that_goes_away(home):
    home.write("todo.txt", "some task or other\n" * 20000)
    done = subprocess.run(["bash", "-c", '"$@" | head -n 1; echo "${PIPESTATUS[0]}"', "bash", *home.program, "ls"],
                          env=home.environment(), capture_output=True, timeout=30)
    assert done.stdout.endswith(b"141\n") and done.stderr == b""


def test_help_of_every_command(home):
    names = home.say("--complete=commands").split()
    assert len(names) > 40
    for name in names:
        text = home.say(name, "--help")
        assert text.startswith("    ") and name in re.split(r"[|\s]+", text.splitlines()[0]), name
        assert "Examples:\n        stoa task " in text, name
        assert home.say("help", name) == text
        assert all(len(line) < 80 and line == line.rstrip() for line in text.splitlines()), text
    assert "stoa COMMAND" in subprocess.run([STOA, "--help"], capture_output=True, text=True).stdout
    usage, *text = home.say("--help").splitlines()
    assert "Usage: stoa task" in usage and "  Options:" in text
    assert all(len(line) < 80 and line == line.rstrip() for line in text), text
    for name in names:
        assert any(re.match(rf"    (\w+\|)?{name}\b", line) for line in text), name


def test_manual_page(home):
    page = os.path.join(OUT, "share/man/man1/stoa-task.1")
    shown = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page], capture_output=True, text=True,
                           env={"PATH": os.environ["PATH"], "MANWIDTH": "100", "LANG": "C.UTF-8", "MAN_KEEP_FORMATTING": ""})
    assert shown.returncode == 0 and shown.stderr == ""
    for name in home.say("--complete=commands").split():
        assert re.search(rf"\b{name}\b", shown.stdout), name
    for option in re.findall(r"^    (-\S+)", home.say("--help"), re.M):
        assert option in shown.stdout, option


def test_wrong_options(home):
    for program in ([STOA, "task"], [STOA_TODO]):
        home.program = program
        run = home.run("-Z", "ls")
        assert run.returncode == 2 and run.stdout == b"" and run.stderr.count(b"\n") == 1
        assert b": invalid option -Z: `stoa" in run.stderr
        assert b": option -l needs a value: " in home.run("-f", "-l").stderr
    home.program = [STOA]
    run = home.run("tusk")
    assert run.returncode == 2 and b"there is no command 'tusk'" in run.stderr
    assert home.run().returncode == 2


def test_without_configuration_the_folders_are_xdg_s(tmp_path):
    home = Home(tmp_path, config=None)
    none = {"TODOTXT_GLOBAL_CFG_FILE": "/none"}
    home.say("add", "one", env=none)
    with open(os.path.join(home.path, ".local/share/stoa/tasks/todo.txt")) as f:
        assert f.read() == "one\n"
    assert os.listdir(os.path.join(home.path, ".local/state/stoa/undo"))
    home.say("add", "two", env={**none, "XDG_DATA_HOME": f"{home.path}/data", "XDG_STATE_HOME": f"{home.path}/state"})
    assert os.path.exists(f"{home.path}/data/stoa/tasks/todo.txt") and os.listdir(f"{home.path}/state/stoa/undo")
    os.makedirs(f"{home.path}/config/todo")
    with open(f"{home.path}/config/todo/config", "w") as f:
        f.write(CONFIG)
    home.say("add", "three", env={**none, "XDG_CONFIG_HOME": f"{home.path}/config"})
    assert home.read() == b"three\n"


def test_the_journal_is_the_owner_s_alone(home):
    home.say("add", "secret")
    folder = os.path.join(home.path, ".local/state/stoa/undo")
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert [os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in os.listdir(folder)] == [0o600]


def test_lines_of_the_configuration_that_need_a_shell(tmp_path):
    home = Home(tmp_path, config=CONFIG + "if true; then\nexport TODOTXT_DATE_ON_ADD=$(echo 1)\nfi\n")
    run = home.run("add", "x")
    assert run.returncode == 0 and home.read() == b"x\n"
    assert run.stderr.decode().count("only plain settings are read") == 3
    assert f"{home.path}/.todo/config:5: " in run.stderr.decode()
