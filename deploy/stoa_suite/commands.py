"""The command line: run, up, reload, roll, down, status."""
import argparse
import os
import sys
import time

from . import reload, roll, stage
from .control import UP, Control, http_status, stop
from .layout import Layout, remove_alias, short_name
from .settings import INSTANCES, PORTS, Settings, SuiteError, table_text
from .start import Interrupted, Start, interrupt_on_signals

COMMANDS = """\
  run      start a suite and show what happens until Ctrl-C
  up       start a suite in the background; returns once it answers
  reload   the gateway takes over a new build's routes and module, and new settings, without a failed request
  roll     the same, and a new build of the services: each is replaced in turn, then nginx itself, without a failed request
  down     stop it
  status   what runs
"""
# Longer than any program's own bound for stopping, taken together.
STOP_SECONDS = 120


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="deploy/suite",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A private Stoa suite: Postgres, Redis, the services and nginx.\n\n" + COMMANDS,
        epilog=table_text(),
    )
    parser.add_argument("command", choices=("run", "up", "reload", "roll", "down", "status"), metavar="COMMAND")
    parser.add_argument("names", nargs="*", metavar="NAME", help="roll: what is replaced, of auth, posts, chat and gateway (all)")
    parser.add_argument("--with-parent", action="store_true", help="run: stop when the calling process is gone")
    parser.add_argument("--staged", help=argparse.SUPPRESS)
    parser.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.names and asked.command != "roll":
        parser.error(f"{asked.command} takes no names")
    if wrong := [name for name in asked.names if name not in roll.NAMES]:
        parser.error(f"{wrong[0]}: choose from {' '.join(roll.NAMES)}")
    return asked


def main(arguments, parent):
    """parent: the process that called this one, as it began."""
    asked = parse(arguments)
    try:
        settings = Settings(os.environ)
        if asked.staged and asked.command == "reload":
            return reload.apply(settings, Layout(asked.staged))
        if asked.staged and asked.command == "roll":
            return roll.apply(settings, Layout(asked.staged), asked.names or roll.NAMES)
        if asked.staged:
            return begin(asked, settings, Layout(asked.staged))
        if asked.command in ("run", "up"):
            return prepare(asked, settings, parent)
        layout = existing_layout(settings)
        if asked.command in ("reload", "roll"):
            return reload.prepare(asked.command, settings, layout, os.environ, asked.names)
        return down(layout, settings) if asked.command == "down" else status(layout, settings)
    except SuiteError as error:
        print(f"suite: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"suite: {error}; see `deploy/suite --help` for the settings", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


# ---- run and up ----


def prepare(asked, settings, parent):
    layout, who, lock = stage.stage(settings)
    if lock is None:
        return already_running(asked, settings, layout)
    extra = [f"--parent={parent}"] if asked.with_parent else []
    return stage.continue_unprivileged(asked.command, extra, settings, layout, who, os.environ, lock)


def already_running(asked, settings, layout):
    path = settings["STOA_RUN_DIR"]
    control = Control(layout)
    if control.state() != UP:
        raise SuiteError(f"{path}: a suite is starting or stopping there; wait, or set STOA_RUN_DIR")
    if asked.command == "run":
        raise SuiteError(f"{path}: a suite is running there; `make down` stops it, or set STOA_RUN_DIR and ports")
    ours, theirs = settings.environment(), control.record()["settings"]
    for name in ("STOA_BIND", *PORTS, *INSTANCES):
        if theirs.get(name) != ours[name]:
            raise SuiteError(f"{path}: a suite with {name}={theirs.get(name)} is running there; `make down` first")
    code, body = http_status(settings.reachable("STOA_HTTP_PORT"), "/readyz")
    if code != 200:
        raise SuiteError(f"a suite is running but not ready: /readyz answers {code or 'nothing'}: {body}")
    print(f"Stoa is already up: http://{settings.shown('STOA_HTTP_PORT')} ({path}).")
    return 0


def begin(asked, settings, layout):
    """The staged half: this process is the suite's account now."""
    os.umask(0o077)
    os.set_inheritable(asked.lock, False)
    interrupt_on_signals()
    start = Start(layout, settings, asked.command == "run", asked.parent)
    try:
        start.begin()
        start.print_places()
        if asked.command == "up":
            return 0
        start.follow()
        print("Stopped.", flush=True)
    except Interrupted:
        print("Stopping ...", flush=True)
        start.stop()
        print("Stopped.", flush=True)
    except BaseException:
        start.stop()
        raise
    remove_alias(settings)
    return 0 if asked.command == "run" else 130


# ---- down and status ----


def existing_layout(settings):
    return Layout(short_name(os.path.realpath(settings["STOA_RUN_DIR"]))[0])


def down(layout, settings):
    path = settings["STOA_RUN_DIR"]
    try:
        stopped = stop(layout, STOP_SECONDS)
    except PermissionError:
        raise SuiteError(f"{path}: the suite there is another account's; run as that, or as root") from None
    remove_alias(settings)
    print(f"Stopped the suite in {path}." if stopped else f"No suite is running in {path}.")
    return 0


def status(layout, settings):
    control = Control(layout)
    if control.state() != UP:
        print(f"No suite is running in {settings['STOA_RUN_DIR']}.")
        return 3
    now = time.time()
    for program in control.programs():
        up = f"{int(now - program['start'])} s" if program["pid"] else ""
        print(f"{program['name']:<10} {program['statename']:<9} {program['pid'] or '':<8} {up}")
    running = Settings({**os.environ, **control.record()["settings"]})
    code, body = http_status(running.reachable("STOA_HTTP_PORT"), "/readyz")
    print(f"http://{running.shown('STOA_HTTP_PORT')}/readyz: {code or 'no answer'} {body}")
    return 0 if code == 200 else 1
