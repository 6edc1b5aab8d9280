"""A running suite takes over a new build of everything, without a failed request: services one after the other, then nginx.

There are, for a while, twice as many instances: the new ones that stand in (posts-next) have to be ready first, all of them;
then the gateway calls them and no others, once all of its workers have gone that knew others; then those are replaced,
have to be ready, and the gateway goes back to them. So nobody is stopped who is still called, and what was does not come to
an instance that is not there. Callers of a service's own port are told by GOAWAY, and find it closed for a moment.

nginx itself is changed as its authors mean it: a second master with the same listening sockets (SIGUSR2); once that serves, the
first one finishes what it has, and goes (SIGQUIT). The second one is what goes back, so that a roll of everything changes twice
what the gateway calls.

Like a reload it has two halves: reload.prepare() and, in the copy of the build, apply().
"""
import os
import signal
import time

from . import nginx, reload
from .control import BACKOFF, FATAL, Control
from .postgres import Cluster, run, write_private
from .programs import NAMES as SERVICES
from .programs import (
    nginx_configuration, programs, record_of, service_environment, services, socket_of, standing_in, write_supervisor,
)
from .settings import REPOSITORY, SuiteError

NAMES = (*SERVICES, "gateway")
# For a worker that is leaving: worker_shutdown_timeout in nginx.conf.in, and some time.
LEAVE_SECONDS = 30


def say(text):
    print(text, flush=True)


class Roll:
    def __init__(self, settings, layout, build):
        """build: the folder of the new one."""
        self._settings, self._layout, self._build = settings, layout, build
        self._control = Control(layout)
        self._cluster = Cluster(layout, settings)
        layout.builds.update(self._control.record()["builds"])

    def _instances(self, name, stand_in=False):
        return [each for each in services(self._layout, self._settings, stand_in) if each.service == name]

    # ---- supervision ----

    def _table(self):
        return programs(self._layout, self._settings, self._cluster, stand_in=True)

    def _write(self):
        """What supervision runs, and how, from the next time that a program is put in."""
        table = self._table()
        write_supervisor(self._layout, table)
        self._control.write_record(record_of(self._layout, self._control.record()["settings"], table))
        self._control.reread()

    def _keep(self):
        """What runs now is what a supervisord that begins anew starts."""
        running = {each["name"] for each in self._control.programs()}
        write_supervisor(self._layout, [each for each in self._table() if each.name in running], all_run=True)

    def _start(self, instances):
        for instance in instances:
            self._control.take_out(instance.name)
            self._control.put_in(instance.name)
            self._control.start(instance.name)
        for instance in instances:
            self._wait_ready(instance)

    def _remove(self, instances):
        for instance in instances:
            self._control.take_out(instance.name)
            if os.path.exists(socket_of(self._layout, instance.name)):
                os.unlink(socket_of(self._layout, instance.name))

    def _run(self, instance, subcommand):
        environment = {**os.environ, **service_environment(self._layout, self._settings, instance)}
        run([self._layout.binary(instance.service), subcommand], environment)

    def _wait_ready(self, instance):
        end = time.monotonic() + self._settings["STOA_START_TIMEOUT_S"]
        while True:
            state = next(each["statename"] for each in self._control.programs() if each["name"] == instance.name)
            try:
                return self._run(instance, "check")
            except SuiteError as error:
                if state in (BACKOFF, FATAL) or time.monotonic() > end:
                    raise SuiteError(f"{instance.name} is not ready: {error}; see {self._layout.log}/{instance.name}.log") from None
            time.sleep(0.05)

    # ---- the gateway ----

    def take_over(self, called):
        """The gateway calls the instances of these services that stand in, and of the others the usual ones: the
        workers that called others are gone when this returns."""
        self._wait_gone(reload.take_over(self._layout, self._nginx_conf(called)))

    def _nginx_conf(self, called):
        return nginx_configuration(self._layout, self._settings, self._build, called)

    def _wait_gone(self, processes):
        if not nginx.wait_for(lambda: not any(map(nginx.title, processes)), time.monotonic() + LEAVE_SECONDS):
            raise SuiteError(f"what nginx was before does not leave; see {self._layout.log}/gateway.log")

    # ---- steps ----

    def replace(self, names, with_nginx):
        """Services, and then nginx. Two changes of what the gateway calls are enough for all of them, however many they are:
        each makes WebSockets come again."""
        others = [name for name in standing_in(self._layout) if name not in names]
        if names:
            self._let_stand_in(names)
        failures = []
        for name in names:
            try:
                self._start(self._instances(name))
                say(f"{name}: replaced")
            except SuiteError as error:
                others.append(name)
                stand_in = self._instances(name, True)[0].name
                failures.append(f"{error}; {stand_in} goes on in its place: roll {name} again with a build that starts")
        if with_nginx and not failures:
            try:
                self._replace_nginx(others)
                say("gateway: replaced")
            except SuiteError as error:
                failures.append(str(error))
        try:
            if set(standing_in(self._layout)) != set(others):
                self.take_over(others)
        except SuiteError as error:
            failures.append(str(error))
        self._remove_uncalled(names)
        self._keep()
        if failures:
            raise SuiteError("; ".join(failures))

    def _let_stand_in(self, names):
        """All of them, or none: what there was goes on then."""
        known, called = dict(self._layout.builds), standing_in(self._layout)
        try:
            for name in names:
                stand_in = self._instances(name, True)
                self._layout.builds[name] = self._build
                self._run(stand_in[0], "migrate")
                self._write()
                # Those that a roll that failed has left are called, and go on.
                if name not in called:
                    self._start(stand_in)
            self.take_over([*called, *(name for name in names if name not in called)])
        except SuiteError as error:
            self._remove_uncalled(names)
            self._layout.builds.clear()
            self._layout.builds.update(known)
            self._write()
            self._keep()
            raise SuiteError(f"{error}; what there was goes on") from None

    def _remove_uncalled(self, names):
        called = standing_in(self._layout)
        self._remove([each for name in names if name not in called for each in self._instances(name, True)])

    def _replace_nginx(self, called):
        old = reload.wait_master(self._layout)
        text = reload.replace_configuration(self._layout, self._nginx_conf(called))
        before = nginx.workers(old)
        os.kill(old, signal.SIGUSR2)

        def taken_over():
            now = nginx.serving_master(self._layout)
            return now if now != old else None

        if not nginx.wait_for(taken_over, time.monotonic() + nginx.TAKE_OVER_SECONDS):
            write_private(self._layout.nginx_conf, text)
            raise SuiteError(f"nginx keeps its old binary; see {self._layout.log}/gateway.log")
        os.kill(old, signal.SIGQUIT)
        self._wait_gone(before | {old})


def apply(settings, layout, names):
    """The staged half. This very copy lies in the folder that is to be used."""
    os.umask(0o077)
    roll = Roll(settings, layout, REPOSITORY)
    roll.replace([name for name in SERVICES if name in names], "gateway" in names)
    reload.record_settings(layout, settings)
    return 0
