"""stoa-todo beside Debian's todo.sh on the same files: a list of BENCH_TASKS tasks, one with a term, a new task,
and the start alone (its usage, which reads no task). README.md says what stands in the columns."""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STOA_TODO = os.path.join(os.environ.get("STOA_OUT", os.path.join(ROOT, "build/release")), "bin/stoa-todo")
TODO_SH = shutil.which("todo-txt") or sys.exit("bench: no todo-txt: install todotxt-cli")
TASKS = int(os.environ.get("BENCH_TASKS", 10000))
ROWS = [("ls", ["ls"]), ("ls TERM", ["ls", "cake", "-@c1"]), ("lsprj", ["lsprj"]), ("add", ["add", "one more"]),
        ("start", [])]
WORDS = "call buy write review plan fix read send mail the a report cake house engine Ada Bob quickly".split()


def make_home(folder):
    rng = random.Random(6)
    os.makedirs(f"{folder}/.todo")
    with open(f"{folder}/.todo/config", "w") as f:
        f.write('export TODO_DIR="$HOME"\nexport TODO_FILE="$TODO_DIR/todo.txt"\n'
                'export DONE_FILE="$TODO_DIR/done.txt"\nexport REPORT_FILE="$TODO_DIR/report.txt"\n')
    with open(f"{folder}/todo.txt", "w") as f:
        for _ in range(TASKS):
            priority = f"({rng.choice('ABCDEF')}) " if rng.random() < 0.3 else ""
            f.write(f"{priority}2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d} "
                    f"{' '.join(rng.choices(WORDS, k=7))} +p{rng.randrange(40)} @c{rng.randrange(9)}\n")
    return {"PATH": os.environ["PATH"], "HOME": folder, "LANG": "C.UTF-8"}


def run(program, args, env):
    """Milliseconds; the output goes nowhere, so that no reader's time is in them."""
    start = time.perf_counter()
    subprocess.run([program, *args], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def measure(args, env):
    """The fastest of 70 runs of ours and of 10 of todo.sh, in turns: what each needs when nothing is in its
    way, which a busy machine leaves as it is."""
    if args and args[0] != "add":
        assert len({subprocess.check_output([program, *args], env=env) for program in (STOA_TODO, TODO_SH)}) == 1
    ours, theirs = [], []
    for _ in range(10):
        theirs.append(run(TODO_SH, args, env))
        ours += [run(STOA_TODO, args, env) for _ in range(7)]
    return min(ours), min(theirs)


def main():
    with tempfile.TemporaryDirectory() as folder:
        env = make_home(folder)
        print(f"{TASKS} tasks, ms       stoa-todo    todo.sh    times")
        for name, args in ROWS:
            ours, theirs = measure(args, env)
            print(f"{name:<22} {ours:9.1f} {theirs:10.1f} {theirs / ours:8.0f}")


main()
