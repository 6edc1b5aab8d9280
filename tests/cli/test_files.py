"""What happens to the files: every step of a change fails or is the last one, two programs at once, and files
as people and their editors leave them."""
import concurrent.futures
import os
import random
import shutil
import signal

import pytest
from stoa_task import CONFIG, Home, IO_FAULTS, STOA, STOA_TODO

TODO = "one\n(A) two @home\nx 2026-01-01 three\n\nfive\n"
DONE = "x 2025-01-01 old\n"
CHANGES = [
    ("add", "new"),
    ("addm", "new\nnewer"),
    ("append", "2", "more"),
    ("-f", "del", "1"),
    ("do", "2"),
    ("archive",),
    ("-f", "mv", "5", "done.txt"),
    ("report",),
]


def start(tmp_path, name="home"):
    return Home(tmp_path / name, files={"todo.txt": TODO, "done.txt": DONE, "report.txt": ""})


def faults(**settings):
    # AddressSanitizer's library wants to be the first; io_faults.so calls on to it as to any other.
    options = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
    return {"LD_PRELOAD": IO_FAULTS, "ASAN_OPTIONS": options, **{f"STOA_IO_{key.upper()}": str(value) for key, value in settings.items()}}


def finished(tmp_path, change):
    """The files after the change, and its number of steps."""
    home = start(tmp_path, "whole")
    home.run(*change, env=faults(step=0, count=tmp_path / "count"))
    with open(tmp_path / "count") as f:
        return home.files(), int(f.read())


def lines(files):
    return sorted(line for name in ("todo.txt", "done.txt") for line in files[name].splitlines() if line)


def whole(now, before, after):
    """Each file is the old or the new one; a file in the making may lie beside them."""
    for name in before:
        if name == "report.txt":  # has the time in it
            assert now[name] == before[name] or now[name].endswith(b" 3 2\n"), name
        else:
            assert now[name] in (before[name], after[name]), name
    assert {name for name in now if not name.startswith(".")} == set(before)
    # What moves between files may be in both for a moment, never in none.
    assert set(lines(before)) & set(lines(after)) <= set(lines(now))
    assert set(lines(now)) <= set(lines(before)) | set(lines(after))


@pytest.mark.parametrize("fault", ["kill", "half"])
@pytest.mark.parametrize("change", CHANGES, ids=" ".join)
def test_killed_at_every_step(tmp_path, change, fault):
    after, steps = finished(tmp_path, change)
    assert steps >= 6
    for i in range(1, steps + 1):
        home = start(tmp_path, f"{fault}{i}")
        before = home.files()
        killed = home.run(*change, env=faults(step=i, fault=fault))
        assert killed.returncode == -signal.SIGKILL, (i, killed)
        whole(home.files(), before, after)
        # The next change finds nothing in its way, and takes the leavings with it.
        home.say("add", "afterwards")
        assert b"afterwards\n" in home.read()
        assert ".todo.txt.stoa-new" not in home.files()
        # Undo goes back over it, and over the cut one if it had come to anything.
        assert home.say("undo") == "TODO: Undone: add afterwards\n"


@pytest.mark.parametrize("error, text", [("ENOSPC", "No space left on device"), ("EIO", "Input/output error"),
                                         ("EROFS", "Read-only file system"), ("EACCES", "Permission denied")])
@pytest.mark.parametrize("change", CHANGES, ids=" ".join)
def test_every_step_fails(tmp_path, change, error, text):
    after, steps = finished(tmp_path, change)
    refused = 0
    for i in range(1, steps + 1):
        home = start(tmp_path, f"{error}{i}")
        before = home.files()
        run = home.run(*change, env=faults(step=i, fault=error))
        now = home.files()
        whole(now, before, after)
        if run.returncode == 0:  # only the undo journal or what is tidied up was hit
            assert run.stderr == b"" or b"cannot be undone" in run.stderr or b"no undo" in run.stderr
            assert {**now, "report.txt": b""} == {**after, "report.txt": b""}
            continue
        refused += 1
        assert run.stdout == b"", "it must not tell of what has not happened"
        told = run.stderr.decode().splitlines()
        assert all(line.startswith("stoa task: ") for line in told)
        assert text in told[-1]
        if "nothing was changed" in told[-1]:
            assert now == before
        else:
            assert "a part of the change is written" in told[-1]
    assert refused >= 3


def test_a_full_disk_for_real(tmp_path):
    """A limit on the size of files stands for the disk: the kernel cuts the write."""
    import resource
    home = Home(tmp_path, files={"todo.txt": "x" * 3000 + "\n", "done.txt": "", "report.txt": ""})
    before = home.files()
    run = home.run("add", "y" * 2000, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert run.returncode == 1 and run.stdout == b""
    assert run.stderr.decode().splitlines()[-1] == (
        f"stoa task: cannot write {home.todo}/todo.txt: File too large; nothing was changed")
    assert home.files() == before


def test_a_read_only_folder(tmp_path):
    home = start(tmp_path)
    before = home.files()
    # Root may write everywhere: then somebody else runs it.
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    # Who may not reach the clone.
    home.program[0] = shutil.copy(home.program[0], tmp_path / "stoa")
    os.chmod(tmp_path, 0o755)
    os.chmod(home.todo, 0o555)
    run = home.run("add", "x", **nobody)
    assert run.returncode == 1 and b"Permission denied; nothing was changed" in run.stderr
    assert b"one" in home.run("ls", **nobody).stdout
    os.chmod(home.todo, 0o755)
    assert home.files() == before


def test_two_programs_add_hundreds_of_tasks_each(tmp_path):
    home = Home(tmp_path, files={"todo.txt": ""})

    def add(who):
        for i in range(300):
            done = home.run("add", f"{who} {i}")
            assert done.returncode == 0, done.stderr

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(add, "ab"))
    assert sorted(home.read().decode().splitlines()) == sorted(f"{who} {i}" for who in "ab" for i in range(300))


def test_two_programs_move_tasks_across_each_other(tmp_path):
    """Their folders differ, and each needs both: a wrong order of locks would stop them for good."""
    home = Home(tmp_path, files={"todo.txt": "", "other/b.txt": "".join(f"b{i}\n" for i in range(40)),
                                 "a.txt": "".join(f"a{i}\n" for i in range(40))})

    def move(source, dest):
        for i in range(40):
            home.say("-f", "mv", str(i + 1), dest, source)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(move, ["a.txt", "other/b.txt"], ["other/b.txt", "a.txt"]))
    both = home.read("a.txt") + home.read("other/b.txt")
    assert sorted(line for line in both.decode().split("\n") if line) == sorted(f"{w}{i}" for w in "ab" for i in range(40))


def test_an_editor_that_saves_meanwhile(tmp_path):
    """The question of del is answered late; the file is another one by then."""
    import subprocess
    home = start(tmp_path)
    process = subprocess.Popen([STOA_TODO, "del", "1"], env=home.environment(), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"Delete 'one'?  (y/n)\n"
    home.write("todo.txt", "another one\n")
    out, err = process.communicate(b"y\n", timeout=30)
    assert process.returncode == 1 and out == b"" and b"task 1 was changed by another program" in err
    assert home.read() == b"another one\n"


def test_a_symbolic_link_stays_one(tmp_path):
    home = Home(tmp_path, files={"real/tasks": TODO})
    os.symlink("real/tasks", os.path.join(home.todo, "link"))
    os.symlink("link", os.path.join(home.todo, "todo.txt"))
    home.say("add", "new")
    assert os.readlink(os.path.join(home.todo, "todo.txt")) == "link"
    assert home.read("real/tasks") == (TODO + "new\n").encode()
    assert not os.path.islink(os.path.join(home.todo, "real/tasks"))
    os.symlink("nowhere/else", os.path.join(home.todo, "broken.txt"))
    run = home.run("-l", "broken", "add", "x")
    assert run.returncode == 1 and b"No such file" in run.stderr
    os.unlink(os.path.join(home.todo, "todo.txt"))
    os.symlink("real/fresh", os.path.join(home.todo, "todo.txt"))
    home.say("add", "first")
    assert home.read("real/fresh") == b"first\n"


def test_mode_and_backup(tmp_path):
    home = start(tmp_path)
    os.chmod(os.path.join(home.todo, "todo.txt"), 0o640)
    home.say("pri", "1", "B")
    assert os.stat(os.path.join(home.todo, "todo.txt")).st_mode & 0o7777 == 0o640
    assert home.read("todo.txt.bak") == TODO.encode()


def test_a_device_as_done_file(tmp_path):
    home = Home(tmp_path, files={"todo.txt": TODO}, config=CONFIG.replace("$TODO_DIR/done.txt", "/dev/null"))
    assert "marked as done" in home.say("do", "1")
    assert os.path.exists("/dev/null") and not os.path.isfile("/dev/null")
    assert home.read() == b"(A) two @home\nfive\n"


@pytest.mark.parametrize("before, args, after", [
    (b"a\r\nb\r\n", ("add", "c"), b"a\r\nb\r\nc\r\n"),
    (b"a\r\nb", ("add", "c"), b"a\r\nb\r\nc\r\n"),
    (b"a\r\nb\r\n", ("append", "1", "x"), b"a x\r\nb\r\n"),
    (b"a\r\n\r\nx b\r\n", ("-a", "do", "1"), b"x DAY a\r\n\r\nx b\r\n"),
    (b"a\r\n\r\nx b\r\n", ("archive",), b"a\r\n"),
    (b"a\nb", ("add", "c"), b"a\nb\nc\n"),
    (b"a", ("pri", "1", "A"), b"(A) a"),
    (b"a\nb\r\nc", ("pri", "2", "A"), b"a\n(A) b\r\nc"),
    (b"\xff\xfe bad \xc3\n\x80\n", ("append", "1", "more"), b"\xff\xfe bad \xc3 more\n\x80\n"),
    (b"\xff\xfe bad \xc3\n\x80\n", ("prepend", "2", "front"), b"\xff\xfe bad \xc3\nfront \x80\n"),
    (b"\xff\n", ("-a", "do", "1"), b"x DAY \xff\n"),
    (b"a\0b\nc\n", ("pri", "1", "A"), b"(A) a\0b\nc\n"),
    (b"", ("add", "c"), b"c\n"),
    (b"\n\n", ("add", "c"), b"\n\nc\n"),
    (b"(A)\n (B) x\n", ("pri", "2", "C"), b"(A)\n(C)  (B) x\n"),
    (b"\xef\xbb\xbfa\n", ("append", "1", "b"), b"\xef\xbb\xbfa b\n"),
])
@pytest.mark.parametrize("program", [(STOA, "task"), (STOA_TODO,)], ids=["stoa task", "stoa-todo"])
def test_bytes_that_are_not_touched_stay(tmp_path, program, before, args, after):
    import datetime
    home = Home(tmp_path, program, files={"todo.txt": before, "done.txt": ""})
    home.say(*args)
    day = datetime.datetime.utcnow().strftime("%Y-%m-%d").encode()
    assert home.read() == after.replace(b"DAY", day)
    if args[0] != "archive":
        home.say("undo")
        assert home.read() == before


def test_invalid_text_is_shown_and_found(tmp_path):
    home = Home(tmp_path, files={"todo.txt": b"caf\xe9 au lait\ngood\n"})
    assert home.run("ls", "lait").stdout == b"1 caf\xe9 au lait\n--\nTODO: 1 of 2 tasks shown\n"
    assert home.run("ls", "caf..*lait").returncode == 0


def test_random_files_come_through(tmp_path):
    """Any bytes: a change of one line leaves all others as they were, and undo brings back each byte."""
    rng = random.Random(6)
    home = Home(tmp_path)
    for _ in range(40):
        parts = [bytes(rng.choice(b"ab \t\r(\xc3\xa9)x:+@\0\xff") for _ in range(rng.randrange(12))) +
                 rng.choice([b"\n", b"\r\n", b""]) for _ in range(rng.randrange(1, 12))]
        before = b"".join(parts)
        home.write("todo.txt", before)
        home.say("add", "sentinel")
        now = home.read()
        assert now.startswith(before) and now.rstrip(b"\r\n").endswith(b"sentinel")
        number = len(now.splitlines(keepends=True)) if b"\r" not in now else now.count(b"\n")
        home.say("append", str(number), "more")
        assert home.read() == now.replace(b"sentinel", b"sentinel more")
        home.say("undo")
        home.say("undo")
        assert home.read() == before


def test_a_hundred_megabytes(tmp_path):
    line = b"(C) 2026-01-01 a task among very many of them +project @context due:2027-01-01 key:value\n"
    home = Home(tmp_path, files={"todo.txt": line * (100_000_000 // len(line) + 1)})
    size = len(home.read())
    assert size > 100_000_000
    number = size // len(line)
    home.say("append", str(number // 2), "here")
    assert f"{number + 1} last" in home.say("add", "last")
    text = home.read()
    assert len(text) == size + 10 and text.endswith(line + b"last\n") and text.count(b"here") == 1
    home.say("undo")
    home.say("undo")
    assert home.read() == line * number
    found = home.say("-p", "ls", "many", "-very")
    assert found == f"--\nTODO: 0 of {number} tasks shown\n"


def test_a_file_that_is_too_large_is_refused(tmp_path):
    home = start(tmp_path)
    with open(os.path.join(home.todo, "todo.txt"), "r+b") as f:
        f.truncate((1 << 30) + 1)
    run = home.run("ls")
    assert run.returncode == 1 and b"File too large" in run.stderr and run.stderr.count(b"\n") == 1


def test_a_folder_in_its_place(tmp_path):
    home = Home(tmp_path, files={"todo.txt/x": ""})
    run = home.run("ls")
    assert run.returncode == 1 and run.stdout == b"" and b"not a file" in run.stderr
