"""Talks to a suite's supervisord over its control socket, and remembers what the suite was started with."""
import http.client
import json
import os
import signal
import socket
import time
import xmlrpc.client

from .postgres import write_private

# supervisord's process states (supervisor.states.ProcessStates).
BACKOFF = "BACKOFF"
FATAL = "FATAL"

# A child that supervisord has forked and that has not become its program yet misses a signal. So who does
# not stop gets it again; a second one means nothing to programs that are stopping.
MISSED_SECONDS = 1

# States of a suite.
NONE = "none"
UP = "up"
STOPPING = "stopping"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path):
        super().__init__()
        self._path = path

    def make_connection(self, host):
        return _Connection(self._path)


class Control:
    def __init__(self, layout):
        self._layout = layout

    def _call(self, method, *arguments):
        # A connection for each call: supervisord closes idle ones.
        with xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(self._layout.control)) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def state(self):
        """NONE, UP, or STOPPING while supervisord is busy with stopping everything."""
        try:
            self._call("getPID")
            return UP
        except (OSError, http.client.HTTPException):
            return NONE
        except xmlrpc.client.Fault:
            return STOPPING

    def start(self, name):
        self._call("startProcess", name, False)

    def reread(self):
        """Programs that are put in from now on are as the configuration file says."""
        self._call("reloadConfig")

    def put_in(self, name):
        self._call("addProcessGroup", name)

    def take_out(self, name):
        """Stops a program and forgets it; one that is not there is no error."""
        if name not in {each["name"] for each in self.programs()}:
            return
        self._stop(name)
        self._wait_stopped(self._pids({name}), {name: "TERM"})
        self._call("removeProcessGroup", name)

    def programs(self):
        """What supervisord knows about each program."""
        return self._call("getAllProcessInfo")

    def pid_of(self, name):
        """Of a program; 0 while it is down."""
        return self._call("getProcessInfo", name)["pid"]

    def pid(self):
        """supervisord's; for a suite that is up or stopping."""
        try:
            return self._call("getPID")
        except xmlrpc.client.Fault:
            with open(self._layout.supervisor_pid, encoding="ascii") as file:
                return int(file.read())

    def stop_programs(self):
        """Stops them phase by phase as recorded, which takes as long as they take: supervisord's own
        shutdown looks at the next program only once a second."""
        record = self.record()
        for phase in record["stop"]:
            running = self._pids(phase)
            for name in running:
                self._stop(name)
            self._wait_stopped(running, record["signals"])

    def _pids(self, names):
        """Of those that run, by name."""
        return {each["name"]: each["pid"] for each in self.programs() if each["name"] in names and each["pid"]}

    def _wait_stopped(self, running, signals):
        """running: pids by name. supervisord has the last word, but is not asked while processes are there: its answer costs as
        much as a hundred looks at them."""
        again = time.monotonic() + MISSED_SECONDS
        while running:
            time.sleep(0.02)
            is_late = time.monotonic() > again
            if not is_late and any(map(is_alive, running.values())):
                continue
            running = self._pids(running)
            if is_late:
                again += MISSED_SECONDS
                for name in running:
                    self._signal(name, signals[name])

    def _stop(self, name):
        try:
            self._call("stopProcess", name, False)
        except xmlrpc.client.Fault:
            pass  # it has just ended by itself

    def _signal(self, name, signal_name):
        try:
            self._call("signalProcess", name, signal_name)
        except xmlrpc.client.Fault:
            pass  # it has just ended

    def shutdown(self):
        """Asks supervisord to stop all programs, last one first, and then itself."""
        try:
            self._call("shutdown")
        except xmlrpc.client.Fault:
            pass  # it is at it already

    def record(self):
        """What the running suite was started with: "settings" by name, which programs "stop" together, in
        order, the "signals" that stop them, by name, and Layout.builds."""
        with open(self._layout.record, encoding="utf-8") as file:
            return json.load(file)

    def write_record(self, record):
        write_private(self._layout.record, json.dumps(record, indent=1) + "\n")


def is_alive(pid):
    """Whether pid runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_gone(pid, seconds):
    end = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def stop(layout, seconds):
    """Stops a running suite in order. False when there was none."""
    control = Control(layout)
    try:
        pid = control.pid()
        if control.state() == UP:
            control.stop_programs()
        control.shutdown()
    except PermissionError:
        raise
    except (OSError, ValueError, http.client.HTTPException):
        return False
    if not wait_gone(pid, seconds):
        # What it leaves dies with it (setpriv --pdeathsig).
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid, 5)
    return True


def http_status(endpoint, path):
    """(status, body) of a GET at ADDRESS:PORT; status 0 when nobody answers."""
    host, _, port = endpoint.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()
