"""The gateway alone, for containers: renders nginx.conf, runs nginx, and keeps its lists of instances. Or,
instead of the gateway, nginx as what carries gRPC connections to the instances (forward).

Everything else about an instance is nginx's: it tries the next one when it cannot connect, and leaves one that
failed alone for a second. This adds who is new, and takes out who is gone, stopping or stuck, by a reload
without a failed request (reload.py).
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time

from . import nginx
from .instances import Instances
from .layout import Layout
from .master import widen_output
from .names import Lookout, place, shown
from .postgres import write_private
from .programs import COLLECTOR, collector_place, nginx_configuration, socket_of
from .settings import REPOSITORY, Setting, Settings, SuiteError, table_text

PERIOD_SECONDS = 1
# In the run folder; nginx makes what it needs inside.
FOLDERS = ("etc", "nginx", "sock")


def places(text):
    """HOST:PORT, several parted by spaces; a name may stand for many addresses."""
    found = [place(word) for word in text.split()]
    if not found or None in found:
        raise ValueError("set HOST:PORT, several parted by spaces")
    return found


ADDRESSES = {
    name: Setting(f"STOA_{name.upper()}_ADDRESSES", f"{name}:{port}", places,
                  f"Where instances of {name} are: HOST:PORT, several parted by spaces; all that a name stands for.")
    for name, port in (("auth", 9001), ("posts", 9002), ("chat", 9003))
}


def read_addresses(environment):
    found = {}
    for name, setting in ADDRESSES.items():
        text = environment.get(setting.name) or setting.default
        try:
            found[name] = setting.read(text)
        except ValueError as error:
            raise SuiteError(f"{setting.name}={text}: {error}") from None
    return found


def log(level, message, **fields):
    """A line like the services' own (lib/base/log.h)."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    line = {"time": stamp, "level": level, "service": "gateway", "msg": message, **fields}
    print(json.dumps(line), file=sys.stderr, flush=True)


def with_instances(text, layout, found):
    """nginx.conf with the instances in place of each service's socket, and the collector of traces in place of its own. Without
    any, the socket stays: nobody listens there, which is the right answer."""
    for name, addresses in found.items():
        socket_line = f"server unix:{socket_of(layout, name)};"
        if socket_line not in text:
            raise SuiteError(f"gateway/nginx.conf.in has no upstream with `{socket_line}`")
        if addresses:
            # What failed is tried again soon: whether it is there is looked at here.
            servers = [f"server {shown(address)} fail_timeout={PERIOD_SECONDS}s;" for address in addresses]
            # In one line: the names of what is filled in stand in comments as well.
            text = text.replace(socket_line, " ".join(servers))
    return text


def forward_configuration(layout, settings):
    with open(f"{REPOSITORY}/gateway/forward.conf.in", encoding="utf-8") as file:
        text = file.read().replace("@RUN_DIR@", layout.base)
    for name in ADDRESSES:
        text = text.replace(f"@{name.upper()}@", settings.endpoint(f"STOA_{name.upper()}_PORT"))
    return text


class Gateway:
    def __init__(self, settings, addresses, forwards):
        self._layout = Layout(settings["STOA_RUN_DIR"])
        if forwards:
            self._text = forward_configuration(self._layout, settings)
        else:
            self._text = nginx_configuration(self._layout, settings, REPOSITORY, collector=())
        self._path = f"{self._layout.etc}/nginx.conf"
        self._instances = Instances(addresses)
        where = None if forwards else collector_place(settings)
        self._collector = Lookout(where) if where else None
        self._stopping = threading.Event()
        self._nginx = None
        self._in_use = None

    def _look(self):
        found = self._instances.look()
        return {**found, COLLECTOR: self._collector.look()} if self._collector else found

    def _write(self, found):
        fresh = f"{self._path}.new"
        write_private(fresh, with_instances(self._text, self._layout, found))
        nginx.check(self._layout, fresh)
        os.replace(fresh, self._path)
        self._in_use = found
        log("info", "instances", **{name: [shown(each) for each in addresses] for name, addresses in found.items()})

    def _start(self):
        for name in FOLDERS:
            os.makedirs(f"{self._layout.base}/{name}", mode=0o700, exist_ok=True)
        self._write(self._look())
        widen_output()
        command = [nginx.NGINX, "-e", "stderr", "-p", self._layout.nginx, "-c", self._path, "-g", "daemon off;"]
        self._nginx = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def _take_over(self):
        """nginx reads the new list; its old workers finish what they have. Not before the last time is over:
        what is asked of it twice at once it may do once."""
        before = nginx.workers(self._nginx.pid)
        self._nginx.send_signal(signal.SIGHUP)

        def done():
            return self._stopping.is_set() or self._nginx.poll() is not None or (
                nginx.workers(self._nginx.pid) - before and all(map(nginx.is_leaving, before)))

        if not nginx.wait_for(done, time.monotonic() + nginx.TAKE_OVER_SECONDS):
            log("error", "nginx does not take over its new configuration")

    def run(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: self._stopping.set())
        self._start()
        while not self._stopping.wait(PERIOD_SECONDS):
            if self._nginx.poll() is not None:
                log("error", "nginx has ended", status=self._nginx.returncode)
                return 1
            found = self._look()
            if found != self._in_use and not self._stopping.is_set():
                try:
                    self._write(found)
                except SuiteError as error:  # the old list goes on, and the next round tries again
                    log("error", "nginx refuses the new list of instances", cause=str(error))
                    continue
                self._take_over()
        # Requests may finish; worker_shutdown_timeout bounds it.
        self._nginx.send_signal(signal.SIGQUIT)
        return self._nginx.wait()


COMMANDS = """\
  run       the gateway (without a command, too)
  forward   instead of the gateway: gRPC connections, as they are, to instances of each service, by port

deploy/check-gateway says whether it is healthy.
"""


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="deploy/gateway",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The gateway alone, in front of any number of instances of each service.\n\n" + COMMANDS,
        epilog="\n".join([
            table_text(), "", "And of its own:",
            *(f"  {each.name}  {each.about} [{each.default}]" for each in ADDRESSES.values())]),
    )
    parser.add_argument("command", choices=("run", "forward"), nargs="?", default="run", metavar="COMMAND")
    asked = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        return Gateway(Settings(os.environ), read_addresses(os.environ), asked.command == "forward").run()
    except (SuiteError, OSError) as error:
        log("error", "cannot start", cause=str(error))
        return 1
