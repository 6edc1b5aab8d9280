"""Second half of a start, without privileges: configuration, cluster, supervisord, programs, readiness."""
import os
import signal
import socket
import subprocess
import time

from . import programs as table_of
from .control import BACKOFF, FATAL, UP, Control, http_status, stop
from .follow import Follower
from .postgres import Cluster, run
from .settings import SuiteError

# Between two looks at all programs. One that fails at once is started again after a second.
CHECK_SECONDS = 0.3


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP came, or the parent that was to be outlived by nothing is gone."""


def say(text):
    print(text, flush=True)


class Start:
    def __init__(self, layout, settings, in_foreground, parent):
        """parent: the process without which the suite is not to run, if there is one."""
        self.layout = layout
        self.settings = settings
        self.in_foreground = in_foreground
        self._parent = parent
        self._services = table_of.services(layout, settings)
        self._cluster = Cluster(layout, settings)
        self._table = table_of.programs(layout, settings, self._cluster)
        self._control = Control(layout)
        self._supervisor = None
        self._end = 0
        self._archive_fails = ""
        self.follower = None

    # ---- waiting ----

    def pause(self, seconds=0.05):
        time.sleep(seconds)
        self._check_parent()

    def _check_parent(self):
        if self._parent is not None and os.getppid() != self._parent:
            raise Interrupted

    def _wait(self, is_so, what):
        """Waits until is_so(), with an eye on the programs; what: "postgres", "gateway"."""
        check = time.monotonic() + CHECK_SECONDS
        while not is_so():
            now = time.monotonic()
            if now > self._end:
                limit = self.settings["STOA_START_TIMEOUT_S"]
                raise SuiteError(f"{what()} after {limit} s; see {self.layout.log} or raise STOA_START_TIMEOUT_S")
            if now > check:
                self._check_programs()
                check = now + CHECK_SECONDS
            self.pause()

    def _check_programs(self):
        if self._supervisor.poll() is not None:
            raise SuiteError(f"supervisord stopped: {self._last_words('supervisord')}")
        for program in self._control.programs():
            name = program["name"]
            if program["statename"] in (BACKOFF, FATAL) and name != "archive":
                raise SuiteError(f"{name} does not start: {self._last_words(name)}")

    def _last_words(self, name):
        path = f"{self.layout.log}/{name}.log"
        try:
            with open(path, "rb") as file:
                file.seek(max(0, os.path.getsize(path) - 4096))
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{lines[-1] if lines else 'it said nothing'}; see {path}"

    # ---- starting ----

    def check_ports(self):
        used = {service.port_setting for service in self._services} | {"STOA_HTTP_PORT", "STOA_HTTPS_PORT"}
        for name in self.settings.ports():
            for instance in range(1, self.settings.instances(name) + 1):
                if name in used:
                    self._check_port(name, instance)

    def _check_port(self, name, instance):
        bind, port = self.settings.bind(name), self.settings.port(name, instance)
        family = socket.AF_INET6 if bind.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((str(bind), port))
                probe.listen()
            except OSError as error:
                place = f"{name}={self.settings[name]}: cannot listen on {self.settings.endpoint(name, instance)}"
                cure = f"stop what does, or set {name} to another port" if error.errno == 98 else f"set {name} or STOA_BIND"
                raise SuiteError(f"{place} ({error.strerror}); {cure}") from None

    def begin(self):
        """Everything up to a suite that answers. Raises SuiteError or Interrupted."""
        self._end = time.monotonic() + self.settings["STOA_START_TIMEOUT_S"]
        self._check_parent()
        self.check_ports()
        table_of.write_nginx(self.layout, self.settings)
        # Roles and migrations are a service's, however many instances it has.
        names = [service.service for service in self._services if service.number == 1]
        if not os.path.exists(self.layout.cluster):
            say("Making a Postgres cluster ...")
        self._cluster.make(names)
        table_of.write_redis(self.layout)
        table_of.write_supervisor(self.layout, self._table)
        self._control.write_record(table_of.record_of(self.layout, self.settings.environment(), self._table))
        self._clear_leftovers()
        table_of.allow_open_files()
        if self.in_foreground:
            self.follower = Follower(self.layout, [program.name for program in self._table])
        self._start_supervisor()
        self._start_programs(names)

    def _clear_leftovers(self):
        sockets = [table_of.socket_of(self.layout, service.name) for service in self._services]
        for path in (self.layout.supervisor_pid, f"{self.layout.tmp}/gateway.group", *sockets):
            if os.path.exists(path):
                os.unlink(path)

    def _start_supervisor(self):
        command = table_of.supervisor_command(self.layout, self.layout.program)
        if self.in_foreground:
            # Should this process be killed, supervisord stops everything in order.
            command = ["/usr/bin/setpriv", "--pdeathsig", "TERM", "--", *command]
        with open(f"{self.layout.log}/supervisord.out", "wb") as output:
            self._supervisor = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        while self._control.state() != UP:
            if self._supervisor.poll() is not None:
                with open(f"{self.layout.log}/supervisord.out", encoding="utf-8", errors="replace") as output:
                    said = output.read().strip().splitlines() or ["it said nothing"]
                raise SuiteError(f"supervisord does not start: {said[-1]}")
            if time.monotonic() > self._end:
                raise SuiteError(f"supervisord does not answer; see {self.layout.log}/supervisord.log")
            self.pause()

    def _start_programs(self, names):
        self._control.start("postgres")
        self._wait(self._postgres_is_ready, lambda: "postgres is not ready")
        self._cluster.bootstrap(names)
        self._archive_fails = self._check_archive()
        for service in self._services:
            if service.number == 1:
                self._migrate(service)
        for program in self._table[1:-1]:
            self._control.start(program.name)
        sockets = [table_of.socket_of(self.layout, service.name) for service in self._services]
        self._wait(lambda: all(map(os.path.exists, sockets)), lambda: f"not all of {' '.join(names)} listen")
        self._control.start("gateway")
        self._wait(self._is_ready, self._why_not_ready)
        table_of.write_supervisor(self.layout, self._table, all_run=True)

    def _postgres_is_ready(self):
        pid = self._cluster.ready_pid()
        return pid != 0 and pid == self._control.pid_of("postgres")

    def _check_archive(self):
        """Why the archive cannot run, or nothing. The suite serves without it, and whoever starts it has to know."""
        for program in self._table:
            if program.name == "archive":
                try:
                    run([*program.command[:-1], "check"], {**os.environ, **program.environment})
                except SuiteError as error:
                    return str(error)
        return ""

    def _migrate(self, service):
        environment = {**os.environ, **table_of.service_environment(self.layout, self.settings, service)}
        try:
            run([self.layout.binary(service.service), "migrate"], environment)
        except SuiteError as error:
            raise SuiteError(f"{service.name} migrate failed: {error}") from None

    def _is_ready(self):
        return http_status(self.settings.reachable("STOA_HTTP_PORT"), "/readyz")[0] == 200

    def _why_not_ready(self):
        status, body = http_status(self.settings.reachable("STOA_HTTP_PORT"), "/readyz")
        return f"/readyz answers {status or 'nothing'}: {body}"

    # ---- running ----

    def print_places(self):
        layout, settings = self.layout, self.settings
        lines = ["Stoa is up.", f"  HTTP        http://{settings.shown('STOA_HTTP_PORT')}"]
        if settings.tls:
            lines.append(f"  HTTPS       https://{settings.shown('STOA_HTTPS_PORT')}")
        for service in self._services:
            place = f"{settings.reachable(service.port_setting, service.number)}  unix:{table_of.socket_of(layout, service.name)}"
            lines.append(f"  gRPC {service.name:<6} {place}")
        lines.append(f"  Postgres    {layout.sock}/.s.PGSQL.5432")
        lines.append(f"  Redis       {layout.sock}/redis.sock")
        lines.append(f"  Logs        {layout.log}")
        if self._archive_fails:
            lines.append(f"  Archive     does not run: {self._archive_fails}")
        lines.append(f"  Stop        {'Ctrl-C' if self.in_foreground else 'make down'}")
        say("\n".join(lines))

    def follow(self):
        """Prints what happens until the suite is stopped from elsewhere (`down`)."""
        while self._supervisor.poll() is None:
            self.follower.print_new()
            self.pause(0.1)
        self.follower.print_new(stopping=True)

    def stop(self):
        """Stops what was started, in order. Later signals do not cut it short: it has a bound."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if self._supervisor is None:
            return
        if self._supervisor.poll() is None and not stop(self.layout, table_of.stop_bound(self._table)):
            self._supervisor.terminate()
        try:
            self._supervisor.wait(table_of.stop_bound(self._table))
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
        if self.follower:
            self.follower.print_new(stopping=True)


def interrupt_on_signals():
    def interrupt(_number, _frame):
        raise Interrupted

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
