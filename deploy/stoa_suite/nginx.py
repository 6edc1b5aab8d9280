"""A running nginx: its processes, and whether it would accept a configuration."""
import os
import subprocess
import time

from .master import is_master, master_of
from .settings import SuiteError

NGINX = "/usr/sbin/nginx"
# For nginx to start new workers, once it has been told to.
TAKE_OVER_SECONDS = 15


def complaint(text):
    """What nginx says is wrong, without its time and process."""
    lines = [line for line in text.splitlines() if "[emerg]" in line or "[alert]" in line]
    return (lines or text.splitlines() or ["it said nothing"])[0].partition("] ")[2].partition(": ")[2] or text.strip()


def workers(master):
    """Pids of nginx's children; a master that takes over from another one is its child, and no worker."""
    found = set()
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(entry)}/stat", encoding="ascii", errors="replace") as file:
                is_child = int(file.read().rpartition(")")[2].split()[1]) == master
            if is_child and not is_master(entry):
                found.add(int(entry))
        except (OSError, ValueError):
            continue
    return found


def title(pid):
    """What a process calls itself: nginx writes its state there."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def is_leaving(pid):
    """Whether a worker takes no new connections, or is gone."""
    found = title(pid)
    return not found or b"shutting down" in found


def serving_master(layout):
    """Pid of an nginx that has workers; None while it is being started."""
    pid = master_of(layout.nginx_pid)
    return pid if pid and is_master(pid) and workers(pid) else None


def wait_for(found, end):
    """What found() returns once that is true; None when the time is over."""
    while not (value := found()):
        if time.monotonic() > end:
            return None
        time.sleep(0.02)
    return value


def check(layout, path):
    command = [NGINX, "-e", "stderr", "-p", layout.nginx, "-c", path, "-t", "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SuiteError(f"the new configuration is refused, the old one goes on: {complaint(done.stderr)}")
