"""Where stoa-todo differs from todo.sh on purpose (cli/README.md): what todo.sh does is asked of it, so that
a difference that is none any more is seen."""
import os
import shutil

import pytest
from stoa_task import Home, STOA_TODO

TODO_SH = shutil.which("todo-txt")


@pytest.fixture
def both(tmp_path):
    """both(files, *args): what is left of each in todo.txt, done.txt, standard output and status."""
    assert TODO_SH, "no todo-txt: install todotxt-cli"
    count = iter(range(100))

    def run(files, *args, **kwargs):
        seen = []
        for program in (TODO_SH, STOA_TODO):
            home = Home(tmp_path / str(next(count)), [program], {"done.txt": "", **files})
            done = home.run(*args, **kwargs)
            seen.append({"todo": home.read(), "done": home.read("done.txt"), "stdout": done.stdout,
                         "status": done.returncode, "home": home})
        return seen

    return run


def test_a_missing_last_line_end(both):
    theirs, ours = both({"todo.txt": "a\nb"}, "add", "c")
    assert theirs["todo"] == b"a\nbc\n" and ours["todo"] == b"a\nb\nc\n"
    theirs, ours = both({"todo.txt": "a", "done.txt": "x b\n"}, "-p", "lsa")
    assert theirs["stdout"].startswith(b"1 ax b\n") and ours["stdout"].startswith(b"1 a\n0 x b\n")


def test_windows_line_ends(both):
    theirs, ours = both({"todo.txt": "a\r\n"}, "append", "1", "b")
    assert theirs["todo"] == b"a\r b\n" and ours["todo"] == b"a b\r\n"
    theirs, ours = both({"todo.txt": "a\r\n"}, "-p", "ls")
    assert theirs["stdout"].startswith(b"1 a\r\n") and ours["stdout"].startswith(b"1 a\n")


def test_text_that_is_no_utf8(both):
    theirs, ours = both({"todo.txt": b"caf\xe9 lait\n"}, "append", "1", "now")
    assert theirs["todo"] == b"caf now\xe9 lait\n" and ours["todo"] == b"caf\xe9 lait now\n"
    theirs, ours = both({"todo.txt": b"x caf\xe9\nb\n"}, "archive")
    assert b"caf" not in theirs["todo"] + theirs["done"], "todo.sh loses the task"
    assert ours["todo"] == b"b\n" and ours["done"] == b"x caf\xe9\n"


def test_a_symbolic_link(both, tmp_path):
    for program, stays in ((TODO_SH, False), (STOA_TODO, True)):
        home = Home(tmp_path / f"link{stays}", [program], {"real": "a\n", "done.txt": ""})
        os.symlink("real", os.path.join(home.todo, "todo.txt"))
        home.say("pri", "1", "A")
        assert os.path.islink(os.path.join(home.todo, "todo.txt")) == stays


def test_the_alias_done(both):
    theirs, ours = both({"todo.txt": "a\n"}, "done", "1")
    assert theirs["status"] == 1 and theirs["todo"] == b"a\n"
    assert ours["status"] == 0 and ours["todo"] == b""


def test_a_million_tasks_have_a_number_each(both):
    theirs, ours = both({"todo.txt": "b\na\n" + "\n" * 999_998}, "-p", "ls")
    assert b"2 a" not in theirs["stdout"]
    assert ours["stdout"].startswith(b"0000002 a\n0000001 b\n--\n")


def test_options_that_are_none(both):
    theirs, ours = both({"todo.txt": "a\n"}, "-Z", "ls")
    assert theirs["status"] == 0 and ours["status"] == 2


def test_texts_that_a_shell_takes_for_its_own(both):
    theirs, ours = both({"todo.txt": ""}, "add", "-n")
    assert theirs["todo"] == b"\n" and ours["todo"] == b"-n\n"
    theirs, ours = both({"todo.txt": ""}, "addm", "*")
    assert theirs["todo"] == b"todo\n" and ours["todo"] == b"*\n"


def test_a_slash_in_what_is_deleted(both):
    theirs, ours = both({"todo.txt": "a b/c\n"}, "del", "1", "b/c")
    assert theirs["status"] == 1 and theirs["todo"] == b"a b/c\n"
    assert ours["status"] == 0 and ours["todo"] == b"a\n"


def test_a_term_with_two_hyphens(both):
    theirs, ours = both({"todo.txt": "a -minus\nb\n"}, "-p", "ls", "--minus")
    assert theirs["stdout"].startswith(b"--\n"), "an option of grep, which does not know it"
    assert ours["stdout"].startswith(b"2 b\n--\n")


def test_no_color(both):
    theirs, ours = both({"todo.txt": "(A) a\n"}, "ls", env={"NO_COLOR": "1"})
    assert b"\x1b" in theirs["stdout"] and b"\x1b" not in ours["stdout"]


def test_the_backup_is_the_file_before_the_action(both):
    theirs, ours = both({"todo.txt": "a\nb\n"}, "do", "1")
    assert theirs["home"].read("todo.txt.bak").endswith(b" a\nb\n") and theirs["home"].read("todo.txt.bak")[0:2] == b"x "
    assert ours["home"].read("todo.txt.bak") == b"a\nb\n"
    theirs, ours = both({"todo.txt": "a\nb\n"}, "append", "1", "c")
    assert theirs["home"].read("todo.txt.bak") == ours["home"].read("todo.txt.bak") == b"a\nb\n"


def test_a_file_that_cannot_be_taken_whole(both):
    """A change that fails is told on standard error, and its success is not told before."""
    import resource

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    theirs, ours = both({"todo.txt": "a" * 900 + "\n"}, "add", "b" * 500, preexec_fn=limited)
    assert theirs["todo"] == b"a" * 900 + b"\n" + b"b" * 123, "todo.sh leaves half a task"
    assert ours["todo"] == b"a" * 900 + b"\n" and ours["stdout"] == b"" and ours["status"] == 1
