"""A running suite's gateway takes over a new build and new settings.

Like a start it has two halves: prepare() copies, as whoever called; apply() runs the copy, as the suite's
account. What is not whole never reaches nginx: the new configuration is checked by the new module first,
and nginx itself keeps the old one when it cannot take the new one.
"""
import os
import signal
import time

from . import nginx, stage
from .control import UP, Control
from .postgres import write_private
from .programs import nginx_configuration, standing_in
from .settings import RELOADED, REPOSITORY, TABLE, Settings, SuiteError

# Settings of the command rather than of the suite.
OWN = ("STOA_OUT", "STOA_RUN_DIR", "STOA_START_TIMEOUT_S", "STOA_POSTGRES_BIN")


def prepare(command, settings, layout, environment, arguments=()):
    """command: reload, or roll, which takes over the services as well."""
    control = Control(layout)
    if control.state() != UP:
        raise SuiteError(f"no suite is running in {settings['STOA_RUN_DIR']}; `make up` starts one")
    recorded = control.record()["settings"]
    wanted = Settings({**recorded, **{name: environment[name] for name in (*RELOADED, *OWN) if environment.get(name)}})
    for setting in TABLE:
        name = setting.name
        if environment.get(name) and name not in (*RELOADED, *OWN) and str(settings[name]) != recorded.get(name):
            raise SuiteError(f"{name}={environment[name]}: the suite runs with {recorded.get(name)}; `make down` and start it anew")
    if wanted.tls != Settings(recorded).tls:
        raise SuiteError("STOA_HTTPS_CERTIFICATE: ports are opened at a start; `make down` and start the suite anew")
    folder, who, lock = stage.stage_reload(wanted, layout, with_services=command == "roll")
    return stage.continue_unprivileged(command, arguments, wanted, layout, who, environment, lock, folder)


def replace_configuration(layout, text):
    """nginx.conf is this text from now on, if nginx accepts it. Returns what it was."""
    path, fresh = layout.nginx_conf, f"{layout.nginx_conf}.new"
    try:
        write_private(fresh, text)
        nginx.check(layout, fresh)
        with open(path, encoding="utf-8") as file:
            old = file.read()
        os.replace(fresh, path)
    finally:
        if os.path.exists(fresh):
            os.unlink(fresh)
    return old


def wait_master(layout):
    master = nginx.wait_for(lambda: nginx.serving_master(layout), time.monotonic() + nginx.TAKE_OVER_SECONDS)
    if not master:
        raise SuiteError(f"the gateway is not running; see {layout.log}/gateway.log")
    return master


def take_over(layout, text):
    """nginx serves by this configuration. Returns the workers that did before; they may have requests to finish."""
    master = wait_master(layout)
    old = replace_configuration(layout, text)
    before = nginx.workers(master)
    try:
        os.kill(master, signal.SIGHUP)
    except ProcessLookupError:
        pass  # it has just died, and is started again with the new configuration

    def taken_over():
        now = nginx.serving_master(layout)
        return now and (now != master or (nginx.workers(now) - before and all(map(nginx.is_leaving, before))))

    if not nginx.wait_for(taken_over, time.monotonic() + nginx.TAKE_OVER_SECONDS):
        # A start of the gateway alone must find what works.
        write_private(layout.nginx_conf, old)
        raise SuiteError(f"nginx keeps its old configuration; see {layout.log}/gateway.log")
    return before


def record_settings(layout, settings):
    """For the next reload, which starts from them."""
    control = Control(layout)
    record = control.record()
    record["settings"].update({name: settings.environment()[name] for name in RELOADED})
    control.write_record(record)


def apply(settings, layout):
    """The staged half. This very copy lies in the folder that is to be used."""
    os.umask(0o077)
    take_over(layout, nginx_configuration(layout, settings, REPOSITORY, standing_in(layout)))
    record_settings(layout, settings)
    print("Reloaded: the gateway serves the new configuration.")
    return 0
