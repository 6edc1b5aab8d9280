"""A private suite for tests: its own folder, ports of its own, gone at the end."""
import atexit
import contextlib
import fcntl
import functools
import http.client
import importlib.machinery
import importlib.util
import itertools
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import grpc
import psycopg2
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "deploy"))

from stoa_suite.control import Control  # noqa: E402
from stoa_suite.layout import Layout, short_name  # noqa: E402

SERVICES = ("auth", "posts", "chat")
PORT_NAMES = ("STOA_HTTP_PORT", "STOA_AUTH_PORT", "STOA_POSTS_PORT", "STOA_CHAT_PORT")
SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|ThreadSanitizer: |runtime error: .*"
)
EXITED = re.compile(r" exited: (\S+) \((.*?); not expected\)$")
START_SECONDS = 120
LEAVE_SECONDS = 1  # grpc_json_leave_timeout in nginx.conf.in


def output_folder():
    """What is tested: STOA_OUT, as `make test` sets it, or the default build."""
    return pathlib.Path(os.environ.get("STOA_OUT") or REPOSITORY / "build/release")


def clean_environment():
    """For a program that a test gives its own settings. What is no setting stays: where programs are, and how sanitizers look."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STOA_")}


def copy_build(folder):
    """A build of one's own, to change: release/ and what lies beside it. Returns what STOA_OUT is to be. As root the suite is
    started by root, who may read it wherever it is."""
    out = output_folder()
    shutil.copytree(out / "bin", folder / out.name / "bin")
    os.makedirs(folder / "release/gateway", exist_ok=True)
    shutil.copy(out.parent / "release/gateway/ngx_http_grpc_json_module.so", folder / "release/gateway")
    shutil.copy(out.parent / "api.binpb", folder)
    return folder / out.name


def descriptor_set():
    return (output_folder().parent / "api.binpb").read_bytes()


def load_tool(name):
    """A program of tools/ as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(REPOSITORY / "tools" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Ports:
    """Ports that no other process of tests hands out: a block of them, which is of whoever holds its first one. They lie below
    those that Linux gives to connections, and to whoever asks for any: one of these could be gone before it is listened on,
    or while a service that was killed is down."""

    FIRST, END, SIZE = 10000, 32768, 500

    def __init__(self):
        for first in range(self.FIRST, self.END - self.SIZE, self.SIZE):
            self._holder = socket.socket()
            with contextlib.suppress(OSError):
                self._holder.bind(("127.0.0.1", first))
                self._turns = itertools.cycle(range(first + 1, first + self.SIZE))
                return
            self._holder.close()
        raise RuntimeError(f"of the ports from {self.FIRST} on no block of {self.SIZE} is left")

    def take(self, count):
        """By turns, so that one that was handed out comes again late."""
        found = list(itertools.islice(filter(self._is_free, itertools.islice(self._turns, self.SIZE - 1)), count))
        assert len(found) == count, "the tests' ports are all in use"
        return found

    @staticmethod
    def _is_free(port):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
        return False


@functools.cache
def own_ports():
    return Ports()


def free_ports(count):
    """Ports that nobody listens on, nor will who is not told to."""
    return own_ports().take(count)


def wait_until(holds, what="what is waited for", seconds=60):
    """Polls until holds() is true and returns what it gave; fails the test after the bound, which is far from what it takes on
    a busy machine: who waits for what never comes waits for it once. What takes longer is asked for less often."""
    began = time.monotonic()
    while not (value := holds()):
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds} s: {what}"
        time.sleep(min(0.01 + waited / 50, 0.05))
    return value


def with_parent(command, signal_name):
    """The command such that its process gets this signal when the thread that starts it is gone, as when pytest is killed."""
    return ["/usr/bin/setpriv", "--pdeathsig", signal_name, "--", *command]


class HttpLoad:
    """`with HttpLoad(suite.http) as load:` clients that ask, each the requests (method, path, body, headers) in
    turn, until the block ends, on connections that they keep or on new ones, with pauses of so many seconds. load.failed:
    what was not answered as expected."""

    READS = (("GET", "/api/articles/none", None, {}), ("GET", "/healthz", None, {}))

    def __init__(self, address, clients=2, requests=READS, expected=(200, 201, 404), keeps=True, pause=0):
        self._address = address.removeprefix("http://")
        self._requests, self._expected, self._keeps, self._pause = requests, expected, keeps, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.served, self.failed = [], []

    def _ask(self):
        connection = http.client.HTTPConnection(self._address, timeout=30)
        turns = itertools.cycle(self._requests)
        answered = None  # when the last answer came on this connection
        while not self._stop.wait(self._pause):
            request, sent = next(turns), None
            try:
                connection.request(*request)
                sent = time.monotonic()
                answer = connection.getresponse()
                answer.read()
            except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
                # A client that was held up for longer than a leaving worker waits for its next request has lost that.
                if answered is None or (sent or time.monotonic()) - answered < LEAVE_SECONDS:
                    self.failed.append((request[:2], repr(error)))
                connection.close()
                answered = None
                continue
            answered = time.monotonic() if self._keeps else None
            self.served.append(answer.status)
            if answer.status not in self._expected:
                self.failed.append((request[:2], answer.status))
            if not self._keeps:
                connection.close()
        connection.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count=50):
        wanted = len(self.served) + count
        wait_until(lambda: len(self.served) >= wanted, "requests are served", 60)


class CallLoad(threading.Thread):
    """Makes calls in a loop until the block of call_loads() ends. results: (time, code, what) of each; make() returns the last two."""

    def __init__(self, make):
        super().__init__(daemon=True)
        self._make = make
        self._stop_asked = threading.Event()
        self._error = None
        self.results = []

    def run(self):
        try:
            while not self._stop_asked.is_set():
                self.results.append((time.monotonic(), *self._make()))
        except BaseException as error:
            self._error = error

    def more(self, count):
        """Waits until that many more calls have been answered."""
        wanted = len(self.results) + count
        wait_until(lambda: self._error or len(self.results) >= wanted, "calls are answered", 60)

    def end(self):
        self._stop_asked.set()
        self.join(60)
        assert not self.is_alive()
        if self._error:
            raise self._error


@contextlib.contextmanager
def call_loads(*makes):
    """`with call_loads(read, read, write) as loads:` a CallLoad for each, for as long as the block lasts. What one of them raises
    is raised at its end."""
    with contextlib.ExitStack() as stack:
        loads = [CallLoad(make) for make in makes]
        for load in loads:
            load.start()
            stack.callback(load.end)
        yield loads


class RunningSuite:
    """A suite that somebody else has started, as its clients see it: STOA_TEST_SUITE names its addresses,
    "http=127.0.0.1:8080 auth=127.0.0.1:9001 posts=127.0.0.1:9002 chat=127.0.0.1:9003". A test that asks for
    more than an address (the database, a log, a restart) is skipped."""

    def __init__(self, addresses):
        self._addresses = dict(word.split("=") for word in addresses.split())
        self._channels = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for channel in self._channels.values():
            channel.close()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        pytest.skip(f"needs `{name}`, so a suite of the tests' own")

    @property
    def http(self):
        return f"http://{self._addresses['http']}"

    def grpc(self, service, over="tcp"):
        if over != "tcp":
            pytest.skip("needs the services' sockets, so a suite of the tests' own")
        if service not in self._channels:
            self._channels[service] = grpc.insecure_channel(self._addresses[service])
        return self._channels[service]


# What the processes of one run of pytest have in common (pytest-xdist).
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")


@functools.cache
def place():
    """Where suites are: in memory, where there is enough of it. A file system on a disk takes longer to make a suite's 1,500 files
    again and again, and longer still when it has just removed as many."""
    memory = "/dev/shm"
    with contextlib.suppress(OSError):
        found = os.statvfs(memory)
        if found.f_bavail * found.f_frsize >= 8 << 30 and not found.f_flag & os.ST_NOEXEC:
            return memory
    return tempfile.gettempdir()


@functools.cache
def made_cluster():
    """A folder with a Postgres cluster as a first start leaves it, and its passwords, to begin with: making one takes
    longer than all the rest of a start. All processes of a run use the one that the first of them makes, and the last one
    to end removes it."""
    folder = pathlib.Path(place(), f"stoa-test-cluster-{RUN or secrets.token_hex(16)}")
    folder.mkdir(0o700, exist_ok=True)
    users = open(folder / "users", "wb")
    fcntl.flock(users, fcntl.LOCK_SH)
    atexit.register(leave_cluster, folder, users)
    with open(folder / "making", "wb") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make_cluster(folder / "new")
            (folder / "new").rename(folder / "made")
    return folder / "made"


def make_cluster(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with Suite(own_cluster=True) as suite:
        with contextlib.closing(psycopg2.connect(**suite.database())) as database, database, database.cursor() as cursor:
            cursor.execute("DELETE FROM auth.signing_keys")  # whose private halves are nobody else's
        suite.command("down")
        subprocess.run(["cp", "-a", suite.run_dir / "postgres", suite.run_dir / "secrets", folder], check=True)


def leave_cluster(folder, users):
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # others use it
    shutil.rmtree(folder, ignore_errors=True)


class Suite:
    """`with Suite() as suite:`; settings are STOA_ variables beside the folder and the ports. tree: the sources whose
    deploy/suite is used, with STOA_OUT their build. own_cluster: with a Postgres cluster made by its own first start."""

    started = 0

    def __init__(self, subfolder="run", tree=REPOSITORY, own_cluster=False, **settings):
        self._tree = tree
        self._settings = {name: str(value) for name, value in settings.items()}
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="stoa-test-", dir=place()))
        # As root the suite runs under an account of its own, which has to get through.
        self._folder.chmod(0o711)
        self.run_dir = self._folder / subfolder
        self._channels = {}
        self._old_channels = []
        self._killed = []
        self.process = None
        self.ports = {}
        # One alone is sooner there with a cluster of its own.
        if (RUN or Suite.started) and not own_cluster and tree == REPOSITORY:
            self._take_cluster()
        Suite.started += 1

    def _take_cluster(self):
        made = made_cluster()
        self.run_dir.mkdir(parents=True)
        self.run_dir.chmod(0o755)
        (self.run_dir / "lock").touch()  # this is a suite's folder
        subprocess.run(["cp", "-a", made / "postgres", made / "secrets", self.run_dir], check=True)

    # ---- life ----

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._stop()
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        try:
            self._stop()
            self._check_logs()
        finally:
            self._remove()

    def environment(self):
        """For running deploy/suite on this suite."""
        ports = {name: str(port) for name, port in self.ports.items()}
        fixed = {"STOA_RUN_DIR": str(self.run_dir), "STOA_OUT": str(output_folder()), "STOA_BIND": "127.0.0.1"}
        # Sanitizers slow everything down, and so do tests that run beside; and many sign up and in at once.
        patient = {"STOA_START_TIMEOUT_S": str(START_SECONDS), "STOA_AUTH_HASH_QUEUE": "64", "STOA_PATIENCE_MS": "10000"}
        # Preparing the statements on each is half of what a start costs.
        few = {"STOA_DATABASE_CONNECTIONS": "4"}
        return {**clean_environment(), **patient, **few, **fixed, **ports, **self._settings}

    def _start(self):
        # Somebody who is no test may listen on one of them.
        for attempt in range(3):
            # With those of the other instances of a service, which are ten further on each.
            self.ports = dict(zip(PORT_NAMES, free_ports(30)))
            if self._try_to_start():
                return
            if "cannot listen" not in self.output():
                break
        raise RuntimeError(f"the suite did not start:\n{self.output()}")

    def _try_to_start(self):
        """In the foreground and bound to this process, so that it ends whatever becomes of the tests."""
        with open(self._folder / "output", "wb") as output:
            self.process = subprocess.Popen(
                [self._tree / "deploy/suite", "run", "--with-parent"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS + 30
        while self.process.poll() is None and time.monotonic() < end:
            if "Stoa is up." in self.output():
                return True
            time.sleep(0.05)
        return False

    def _stop(self):
        for channel in (*self._channels.values(), *self._old_channels):
            channel.close()
        self._channels.clear()
        by_itself = self.process is None or self.process.poll() is not None
        if not by_itself:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()  # supervisord then stops the rest
                raise
        # What one that was killed has left, and the link that only the caller's account may remove.
        if by_itself or self._short_name()[1]:
            self.command("down")

    def _check_logs(self):
        """What no test asserts and every test wants: no sanitizer report, no crash."""
        for log in sorted(self.run_dir.glob("log/*.log*")):
            text = log.read_text(errors="replace")
            report = SANITIZER_REPORT.search(text)
            assert not report, f"{log.name}:\n{text[max(0, report.start() - 200):][:8000]}"
        exits = [match.groups() for line in self.log("supervisord").splitlines() if (match := EXITED.search(line))]
        for name, how in exits:
            assert name in self._killed, f"{name} died ({how}):\n{self.log(name)[-4000:]}"

    def _remove(self):
        if not os.environ.get("STOA_TEST_KEEP"):
            shutil.rmtree(self._folder, ignore_errors=True)

    def output(self):
        """What `deploy/suite run` has printed."""
        try:
            return (self._folder / "output").read_text(errors="replace")
        except OSError:
            return ""

    # ---- use ----

    def use(self, tree, build):
        """Other sources and their build, from the next command on."""
        self._tree = tree
        self._settings["STOA_OUT"] = str(build)

    @property
    def http(self):
        return f"http://127.0.0.1:{self.ports['STOA_HTTP_PORT']}"

    def grpc(self, service, over="tcp"):
        """The channel to a service: over "tcp" or over the "unix" socket that the gateway uses."""
        key = service, over
        if key not in self._channels:
            self._channels[key] = grpc.insecure_channel(
                f"unix:{self.socket(service)}" if over == "unix" else self.grpc_address(service),
                # A pool of connections shared with channels closed before would hide a restart.
                options=[("grpc.use_local_subchannel_pool", 1)],
            )
        return self._channels[key]

    def grpc_address(self, service):
        """Of "chat", or of another instance of it: "chat-2"."""
        name, _, number = service.partition("-")
        return f"127.0.0.1:{self.ports[f'STOA_{name.upper()}_PORT'] + 10 * (int(number or 1) - 1)}"

    def socket(self, name):
        """Path of a unix socket: "auth", "posts", "chat", "redis"."""
        return self.run_dir / f"sock/{name}.sock"

    def log(self, name):
        try:
            return (self.run_dir / f"log/{name}.log").read_text(errors="replace")
        except OSError:
            return ""

    def database(self, role="postgres"):
        """Keywords for psycopg2.connect(**suite.database("stoa_posts"))."""
        name = role.removeprefix("stoa_")
        password = (self.run_dir / f"secrets/{name}").read_text().strip()
        return {"host": str(self.run_dir / "sock"), "port": 5432, "dbname": "stoa", "user": role, "password": password}

    def command(self, *arguments, **settings):
        """Runs deploy/suite on this suite: suite.command("status"); settings: other ones, for this run."""
        environment = {**self.environment(), **{name: str(value) for name, value in settings.items()}}
        return subprocess.run(
            [self._tree / "deploy/suite", *arguments], env=environment, capture_output=True, text=True, timeout=300
        )

    def supervise(self, *command):
        """Keeps a program down, or brings it back: suite.supervise("stop", "postgres")."""
        control = ["supervisorctl", "-c", self.run_dir / "etc/supervisord.conf", *command]
        subprocess.run(control, check=True, capture_output=True, timeout=60)

    def begin_anew(self):
        """supervisord stops all programs, reads its configuration, and goes on by that."""
        before = self.pid("postgres")
        os.kill(self._control().pid(), signal.SIGHUP)
        wait_until(lambda: self.command("status").returncode == 0 and self.pid("postgres") != before, "ready again")

    def pid(self, program):
        """Of "auth", "posts", "chat", "gateway" (nginx's master), "postgres", "redis"; 0 while it is down."""
        if program == "gateway":
            return self._nginx()
        return self._control().pid_of(program)

    def _control(self):
        return Control(Layout(self._short_name()[0]))

    def _short_name(self):
        """What the run folder is called where paths have to be short, and whether that is a link to it."""
        return short_name(os.path.realpath(self.run_dir))

    def _nginx(self):
        try:
            pid = int((self.run_dir / "nginx/nginx.pid").read_text())
            return pid if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"nginx: master") else 0
        except (OSError, ValueError):
            return 0

    def may_end(self, *programs):
        """These are to fail."""
        self._killed += programs

    def kill(self, program, number=signal.SIGKILL):
        """Ends a program; supervision starts it again. Returns the pid that it had."""
        pid = wait_until(lambda: self.pid(program), f"{program} runs")
        self._killed.append(program)
        os.kill(pid, number)
        # grpcio waits a second and more before it tries an address again. What goes on over the old
        # channel is to end by itself.
        for key in [key for key in self._channels if key[0] == program]:
            self._old_channels.append(self._channels.pop(key))
        return pid

    def serves(self, program):
        """Whether an instance of a service says by itself that it does."""
        options = [("grpc.use_local_subchannel_pool", 1)]  # a channel of before waits until it tries again
        with grpc.insecure_channel(self.grpc_address(program), options) as channel:
            try:
                return channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5) == b"\x08\x01"
            except grpc.RpcError:
                return False

    def wait_serving(self, program):
        wait_until(lambda: self.serves(program), f"{program} serves", 60)

    def wait_restarted(self, program, old_pid):
        """Until it is another process, which serves if it is an instance of a service. Returns its pid."""
        pid = wait_until(lambda: (new := self.pid(program)) and new != old_pid and new, f"{program} restarted", 60)
        if program.partition("-")[0] in SERVICES:
            self.wait_serving(program)
        return pid
