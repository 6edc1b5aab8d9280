"""master.py PIDFILE COMMAND...: runs nginx in the foreground for supervision, as one process that lives as long as nginx serves.

nginx changes its binary (SIGUSR2) by a second master beside the first one. Supervision knows the first one only, and would
take its end for nginx's. So it watches this process, which passes signals on to every master and ends when the one that is
named in PIDFILE has.
"""
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
# What any user may have.
PIPE_BYTES = 1 << 20
# Passed on. USR2 and the like go to the master that is meant, by whoever means it.
STOPS = (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT)
SIGNALS = (*STOPS, signal.SIGHUP, signal.SIGUSR1)


def widen_output():
    """Where standard output is a pipe, it takes several of the pieces in which nginx writes its log (nginx.conf.in), so that no
    worker waits for whoever reads."""
    try:
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # it is something else, or all that the user may have is in use


def adopt():
    """A master whose parent master has ended becomes a child of this process."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def master_of(path):
    """The pid in a file; 0: there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def is_master(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().startswith(b"nginx: master process")
    except OSError:
        return False


def start(path, command):
    """Returns nginx's pid and that of a go-between.

    nginx takes the parent that it started with for an older nginx which it replaces, and is not replaced itself while that
    one lives. So it is started by a go-between, which ends once it is there."""
    read, write = os.pipe()
    between = os.fork()
    if between:
        os.close(write)
        with open(read, "rb") as pipe:
            return int(pipe.read()), between
    os.close(read)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    nginx = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    os.write(write, str(nginx.pid).encode())
    os.close(write)
    while master_of(path) != nginx.pid and nginx.poll() is None:
        time.sleep(0.01)
    end_as(nginx.returncode or 0)


def end_as(status):
    """Ends this process as one with this exit status, negative for a signal, has ended."""
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


class Nginx:
    def __init__(self, path, command):
        self._path = path
        # What a master that was killed has left is nobody's.
        for left in (path, f"{path}.oldbin"):
            if os.path.exists(left):
                os.unlink(left)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._first, self._between = start(path, command)
        for number in SIGNALS:
            signal.signal(number, self._pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _masters(self):
        """Newest first."""
        pids = [master_of(path) for path in (self._path, f"{self._path}.oldbin")]
        return [pid for pid in pids if pid and is_master(pid)]

    def _pass_on(self, number, _frame):
        masters = self._masters() or [self._first]
        for pid in masters if number in STOPS else masters[:1]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # it has just ended

    def wait(self):
        """The exit status of the last master."""
        current = self._first
        while True:
            pid, status = os.wait()
            status = os.waitstatus_to_exitcode(status)
            if pid == self._between and status != 0:
                return status
            if pid == current:
                masters = self._masters()
                if not masters:
                    return status
                current = masters[0]


def main(path, *command):
    adopt()
    widen_output()
    end_as(Nginx(path, command).wait())


if __name__ == "__main__":
    main(*sys.argv[1:])
