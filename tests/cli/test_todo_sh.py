"""stoa-todo beside Debian's todo.sh (todotxt-cli): the same arguments on the same files must give the same
standard output, exit status and files.

Where the two differ on purpose is in test_differences.py and in cli/README.md. todo.sh starts a score of
programs for a list, so each scenario is short and they run two at a time.
"""
import concurrent.futures
import datetime
import os
import re
import shutil

import pytest
from stoa_task import CONFIG, Home, STOA_TODO

TODO_SH = shutil.which("todo-txt")
TASKS = """\
(B) Buy bread @shop +home
Call Ada @phone +engine
x 2026-01-02 2026-01-01 Feed the cat @home

(A) 2026-01-03 Pay rent +home due:2026-02-01
call Bob @phone
(D) écrire à Zoë @büro +straße
  indented   text\twith\ttabs 
Mail ada@example.com about +engine+ and @ and +
42
(Z) last one | with & and \\ in it
x plain done
Buy bread @shop
"""
DONE = "x 2025-12-31 Old thing @home +old\nx 2025-12-30 2025-12-01 Call Eve @phone\n\n"
COLORS = CONFIG + """
# colours
export PRI_A=$RED
export PRI_D=$LIGHT_CYAN
PRI_B=$NONE
export COLOR_PROJECT=$GREEN COLOR_CONTEXT='\\\\033[1;31m'
export COLOR_DONE="$DARK_GREY"   # a comment
"""


def case(name, *steps, files=None, env=None, config=CONFIG, actions=None):
    return pytest.param(name, steps, files if files is not None else {"todo.txt": TASKS, "done.txt": DONE},
                        env or {}, config, actions or {}, id=name)


def step(*args, stdin="", **env):
    return args, stdin, env


SCENARIOS = [
    case("nothing", step(), step("nonsense"), step("command"), step("command", "nonsense"), step("", "x")),
    case("first run", step("ls"), step("lsa"), step("lsprj"), step("archive"), step("report"), step("add", "a b"),
         step("lsa"), files={}),
    case("add", step("add", "Simple"), step("a", "two", "words  here"), step("add", "(a) small priority"),
         step("add", "line\nbreak\rtwice"), step("add", "-x"), step("-f", "add"), step("-f", "add", ""),
         step("ADD", "Capitals")),
    case("add asks", step("add", stdin="typed in  \nmore\n"), step("add", "", stdin="x y\n"),
         step("addm", stdin="one\ntwo\n"), step("add", stdin="no end")),
    case("add with date", step("-t", "add", "(A) dated"), step("-t", "add", "(b)x"), step("-T", "add", "not"),
         step("add", "by environment", TODOTXT_DATE_ON_ADD="1"),
         step("-T", "add", "option wins", TODOTXT_DATE_ON_ADD="1")),
    case("addm", step("addm", "one\n\n(c) two\nthree"), step("addm", "a", "b"), step("-f", "addm"),
         step("addm", "\n")),
    case("addto", step("addto", "ideas.txt", "An", "idea"), step("addto", "none.txt", "x"), step("addto"),
         step("addto", "ideas.txt"), step("-t", "addto", "ideas.txt", "(b) dated"),
         files={"todo.txt": TASKS, "ideas.txt": "first\n"}),
    case("append", step("append", "1", "and", "butter"), step("app", "2", ", then Bob"), step("app", "11", "a|b & \\1"),
         step("append", "4", "x"), step("append", "99", "x"), step("append", "0", "x"), step("append", "1x", "x"),
         step("append"), step("append", "", "x"), step("-f", "append", "1"), step("app", "007", "seven"),
         step("append", "2", stdin="asked for\n"), step("append", "1", "x", TODOTXT_VERBOSE="0")),
    case("prepend", step("prepend", "1", "Now:"), step("prep", "5", "a & b | c \\n"), step("prep", "2", "(A) x"),
         step("prep", "4", "x"), step("prepend"), step("prepend", "2", stdin="Asked\n"), step("-f", "prepend", "2")),
    case("replace", step("replace", "1", "Other text"), step("replace", "5", "No date"),
         step("replace", "5", "2026-05-05 New date"), step("replace", "2", "(C) With priority"),
         step("replace", "5", "(B) over"), step("replace", "77", "x"), step("replace", "x", "x"),
         step("replace", "2", stdin="asked & | \\\n"), step("-f", "replace", "6"), step("replace"),
         step("replace", "1", "silent", TODOTXT_VERBOSE="0"), step("ls")),
    case("pri", step("pri", "2", "c"), step("p", "2", "C"), step("pri", "1", "A"), step("pri", "2", "1"),
         step("pri", "2"), step("pri", "2", "AB"), step("pri", "4", "A"), step("pri", "x", "A"),
         step("pri", "2", "D", "E"), step("pri"), step("pri", "8", "b"), step("p", "6", "z", TODOTXT_VERBOSE="0"),
         step("p", "6", "z", TODOTXT_VERBOSE="0")),
    case("depri", step("depri", "1"), step("dp", "1"), step("dp", "5,7"), step("dp", "2", "11"), step("depri"),
         step("dp", "99"), step("dp", "x"), step("dp", "3,x")),
    case("del", step("del", "1", stdin="y\n"), step("rm", "2", stdin="n\n"), step("rm", "2", stdin=""),
         step("-f", "del", "6"), step("-f", "-n", "del", "5"), step("-nf", "rm", "1"), step("del", "99"), step("del"),
         step("del", "x"), step("rm", "4", stdin="Y\n"), step("-f", "rm", "2", TODOTXT_VERBOSE="0")),
    case("del term", step("del", "1", "bread"), step("del", "2", "@phone"), step("del", "2", "nowhere"),
         step("del", "5", "Pay"), step("del", "8", "tex."), step("del", "13", "B"), step("del", "6", "call Bob @phone"),
         step("del", "7", "[äé]crire à"), step("del", "9", "ada*"), step("del", "11", "o*"),
         step("del", "2", "x", TODOTXT_VERBOSE="0"), step("del", "2", "A", TODOTXT_VERBOSE="0")),
    case("do", step("do", "1"), step("-a", "do", "2,3"), step("-a", "do", "5"), step("do", "99"), step("do"),
         step("do", "x"), step("-a", "do", "6", "99", "7"), step("do", "1 2")),
    case("do quietly", step("do", "1", TODOTXT_VERBOSE="0"), step("-a", "do", "3", TODOTXT_VERBOSE="0"),
         step("do", "", TODOTXT_AUTO_ARCHIVE="1"), step("-A", "do", "2", TODOTXT_AUTO_ARCHIVE="0")),
    case("archive", step("archive"), step("archive"), step("archive", TODOTXT_VERBOSE="0")),
    case("report", step("report"), step("report"), step("report", TODOTXT_VERBOSE="0"),
         files={"todo.txt": TASKS, "done.txt": DONE, "report.txt": "2026-01-01T00:00:00 1 1\n"}),
    case("deduplicate", step("deduplicate"), step("deduplicate"),
         files={"todo.txt": "a\nb\na\n\nA\nb\n\n\na b\na\n", "done.txt": ""}),
    case("deduplicate lines away", step("-n", "deduplicate"), step("deduplicate", TODOTXT_PRESERVE_LINE_NUMBERS="0"),
         files={"todo.txt": "a\nb\na\n\nA\nb\n\n\na b\na\n", "done.txt": ""}),
    case("move", step("-f", "move", "1", "ideas.txt"), step("mv", "2", "ideas.txt", stdin="y\n"),
         step("mv", "2", "ideas.txt", stdin="n\n"), step("mv", "5", "ideas.txt", stdin="\n"),
         step("mv", "1", "done.txt", "ideas.txt", stdin="y\n"), step("mv", "1", "none.txt"),
         step("mv", "1", "ideas.txt", "none.txt"), step("mv", "1"), step("mv"), step("mv", "x", "ideas.txt"),
         step("mv", "99", "ideas.txt"), step("-fn", "mv", "6", "todo.txt"),
         files={"todo.txt": TASKS, "done.txt": DONE, "ideas.txt": "one\n"}),
    case("ls", step("ls"), step("list"), step("-p", "ls"), step("ls", "call"), step("ls", "CALL", "-bob"),
         step("ls", "a.a"), step("ls", "bread\\|rent"), step("ls", "^ *2"), step("ls", "é"), step("ls", "nowhere"),
         step("LS", "@phone"), step("ls", ""), step("ls", "-"), step("ls", "[ab"), step("ls", "it's")),
    case("ls options", step("-@", "ls"), step("-+", "ls"), step("-@+", "ls"), step("-P", "ls"), step("-PP", "ls"),
         step("-@@", "ls"), step("-P@+p", "ls", "a"), step("-v", "ls", "a"), step("-vv", "ls", "a", "-b's"),
         step("-vv", "ls"), step("-x", "ls"), step("ls", TODOTXT_VERBOSE="0"), step("-v", "ls", TODOTXT_VERBOSE="0"),
         step("ls", TODOTXT_PLAIN="1"), step("-c", "ls", TODOTXT_PLAIN="1"), step("--", "ls", "a")),
    case("ls colours", step("ls"), step("-p", "ls"), step("-+", "ls"), step("-@P", "ls"), step("lsa"),
         step("lf", "done.txt"), step("ls", HIDE_CUSTOM_SUBSTITUTION=" due:[^ ]*"), config=COLORS),
    case("ls with other programs", step("ls", TODOTXT_SORT_COMMAND="sort -r"), step("ls", TODOTXT_FINAL_FILTER="head -n 2"),
         step("-x", "ls", TODOTXT_FINAL_FILTER="head -n 2"), step("ls", TODOTXT_DISABLE_FILTER="1", TODOTXT_FINAL_FILTER="cat -A"),
         step("lsa", TODOTXT_SORT_COMMAND="cat"), step("ls", "no such", TODOTXT_FINAL_FILTER="sed s/a/b/"),
         step(TODOTXT_DEFAULT_ACTION="ls")),
    case("ls of many", step("-p", "ls"), step("-p", "ls", "7"), step("-p", "lsa", "1"),
         files={"todo.txt": "".join(f"{'tT'[i % 2]}ask {'of a long beginning ' * (i % 3)}{i * 7919 % 130:03d} {'xX'[i % 5 // 4]}\n"
                                     for i in range(390)),
                "done.txt": DONE}),
    case("lsa of blanks", step("lsa"), step("-p", "lsa"), step("lsa", TODOTXT_SORT_COMMAND="sort"),
         files={"todo.txt": "\t\nb \t\n", "done.txt": "x a\n \t \n\t\tx b\n"}),
    case("lsa", step("lsa"), step("listall", "a"), step("lsa", "-a"), step("lsa", TODOTXT_VERBOSE="0"),
         step("-p", "lsa", "@phone"), step("lsa", "none")),
    case("lsp", step("lsp"), step("listpri", "a"), step("lsp", "A-C"), step("lsp", "b-d", "home"), step("lsp", "bread"),
         step("lsp", "x"), step("-vv", "lsp", "a", "rent"), step("-P", "lsp"), step("-p", "lsp", "D", "-z")),
    case("lsc and lsprj", step("lsc"), step("listcon", "call"), step("lsprj"), step("listproj", "-home"),
         step("lsc", "none"), step("lsprj", TODOTXT_SOURCEVAR="$DONE_FILE"),
         step("lsc", TODOTXT_SOURCEVAR='("$TODO_FILE" "$DONE_FILE")')),
    case("lf", step("lf"), step("listfile", "done.txt"), step("lf", "done"), step("lf", "none"), step("lf", "done.txt", "eve"),
         step("lf", TODOTXT_VERBOSE="0"), step("lf", "todo.txt", "-a"), step("lf", "elsewhere"),
         files={"todo.txt": TASKS, "done.txt": DONE, "b.c.txt": "x\n", "Other.txt": "", "../elsewhere": "one\n"}),
    case("config file", step("ls"), step("add", "x"), step("do", "1"), step("-d", "other", "ls"), step("-A", "do", "2"),
         config=CONFIG + "export TODOTXT_AUTO_ARCHIVE=0\nTODOTXT_DATE_ON_ADD=1\nexport TODOTXT_PLAIN='1'\n"
                         "export TODOTXT_SORT_COMMAND='sort -k2 -r'\n", files={"todo.txt": TASKS, "../other": CONFIG}),
    case("config words", step("ls"), step("add", "there"), files={"todo.txt": "one\n"},
         config='D=${NONE_SUCH:-$HOME}/todo;export E="x"\n# comment\n\n  export TODO_DIR="${D}"  # trailing\n'
                "export TODO_FILE=$TODO_DIR/'to'\"do\"\\.txt DONE_FILE=~/todo/finished.txt\n"
                "REPORT_FILE=~/todo/'re port'.txt\nexport TODO_FILE\n"),
    *(case(f"config file {name}", step("ls"), step("add", "x"), files={"todo.txt": TASKS, f"../{name}": CONFIG},
           config=None, env=env)
      for name, env in [("todo.cfg", {}), (".todo.cfg", {}), (".config/todo/config", {}),
                        ("xdg/todo/config", {"XDG_CONFIG_HOME": "{home}/xdg"}), ("own.cfg", {"TODOTXT_CFG_FILE": "./own.cfg"}),
                        ("all.cfg", {"TODOTXT_GLOBAL_CFG_FILE": "./all.cfg"})]),
    case("config files", step("ls"), step("-d", "./none", "ls"), step("-d", "./first", "ls"),
         step("ls", TODOTXT_CFG_FILE="./none"), step("-d", "./first", "ls", TODOTXT_CFG_FILE="./second"),
         step("ls", TODO_DIR="/none"), files={"todo.txt": TASKS, "one.txt": "one\n", "two.txt": "two\n",
                                              "../todo.cfg": CONFIG, "../first": CONFIG.replace("/todo.txt", "/one.txt"),
                                              "../second": CONFIG.replace("/todo.txt", "/two.txt")}),
    case("folder of actions", step("hello", "x"), step("listaddons"), step("hello", TODO_ACTIONS_DIR="/none"),
         config=CONFIG + 'export TODO_ACTIONS_DIR="$HOME/.todo/own"\n',
         actions={"../own/hello": '#!/bin/sh\necho "hello $*"\n', "other": "#!/bin/sh\necho other\n"}),
    case("folder of actions by environment", step("hello", "x"), step("listaddons"), step("other"),
         env={"TODO_ACTIONS_DIR": "./.todo/own"},
         actions={"../own/hello": '#!/bin/sh\necho "hello $*"\n', "other": "#!/bin/sh\necho other\n"}),
    case("help", step("help"), step("shorthelp"), step("-h"), step("-h", "add", "x"), step("help", "ls", "add"),
         step("-V", "ls")),
    case("no such help", step("help", "ls", "nonsense")),
    case("no config", step("ls"), step("help"), step("shorthelp"), config=None, files={}, env={"TODOTXT_CFG_FILE": "/none",
                                                                           "TODOTXT_GLOBAL_CFG_FILE": "/none"}),
    case("add-ons", step("hello", "a", "b"), step("command", "hello"), step("listaddons"), step("nested", "x"),
         step("ls", "q"), step("command", "ls"), step("LS"), step("bad"),
         actions={"hello": '#!/bin/sh\necho "hello $* $TODO_FILE $TODOTXT_VERBOSE $TODO_SH"\nexit 3\n',
                  "nested/nested": "#!/bin/sh\necho nested \"$@\"\n", "ls": "#!/bin/sh\necho own ls\n", "bad": None}),
    case("archive by add-on", step("do", "1"), step("report"),
         actions={"archive": '#!/bin/sh\necho own archive "$@"\n'}),
    case("wrong folder", step("ls"), step("add", "x"), files={"todo.txt": TASKS},
         config=CONFIG.replace("$HOME/todo", "$HOME/todo/todo.txt")),
]


def put_actions(home, actions):
    for name, text in actions.items():
        path = os.path.join(home.path, ".todo/actions", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text or "not executable\n")
        os.chmod(path, 0o755 if text else 0o644)


def seen(home, args, run):
    """What both must agree on: without the folder's name and the second. Help is in words of our own: of it
    only the last line, for what stands behind the help, and the status."""
    def plain(text):
        text = text.replace(home.path.encode(), b"HOME")
        return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", b"NOW", text)

    stdout = plain(run.stdout)
    if {"help", "shorthelp", "-h", "-V"} & set(args):
        stdout = stdout.splitlines()[-1] if b"Error" in stdout.splitlines()[-1] else b"help"
    return {"stdout": stdout, "status": run.returncode,
            "files": {name: plain(content) for name, content in home.files().items()}}


def play(root, program, steps, files, env, config, actions):
    home = Home(root, [program], files, config)
    put_actions(home, actions)
    env = {name: value.replace("{home}", home.path) for name, value in env.items()}
    return [seen(home, args, home.run(*args, stdin=stdin, env={**env, **own})) for args, stdin, own in steps]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """What todo.sh did in each scenario; a link gives it our name for its usage lines."""
    assert TODO_SH, "no todo-txt: install todotxt-cli"
    root = tmp_path_factory.mktemp("theirs")
    os.mkdir(root / "bin")
    os.symlink(TODO_SH, root / "bin/stoa-todo")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        day = datetime.datetime.utcnow().date()
        runs = {s.values[0]: pool.submit(play, root / str(i), str(root / "bin/stoa-todo"), *s.values[1:])
                for i, s in enumerate(SCENARIOS)}
        yield day, runs


@pytest.mark.parametrize("name, steps, files, env, config, actions", SCENARIOS)
def test_same_as_todo_sh(theirs, tmp_path, name, steps, files, env, config, actions):
    day, runs = theirs
    expected = runs[name].result()
    got = play(tmp_path, STOA_TODO, steps, files, env, config, actions)
    if datetime.datetime.utcnow().date() != day:
        pytest.skip("midnight passed between the two")
    for i, (args, _, own) in enumerate(steps):
        assert got[i] == expected[i], f"{name}, step {i}: {own} {args}"
