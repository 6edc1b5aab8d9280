"""The table of programs that a suite runs, and supervisord's configuration made from it."""
import os
import re
import resource
from dataclasses import dataclass, field

from .names import place, resolve, shown
from .postgres import connection, password_file, write_private
from .settings import OF_AUTH, OF_CHAT, SuiteError

# The upstream that takes traces.
COLLECTOR = "collector"


@dataclass
class Program:
    """A supervised program. The table's order is the order of starting; stopping goes backwards, the
    services all at once."""

    name: str
    command: list
    environment: dict = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    # Sent to it by the kernel should supervisord itself be killed, so that nothing outlives the suite.
    orphan_signal: str = "TERM"
    # Its children stay in its process group and, should it be killed, hold its port until they go too.
    leaves_children: bool = False
    is_service: bool = False


@dataclass
class Service:
    """An instance of a gRPC service."""

    service: str
    number: int = 1
    # It stands in while another one is replaced: with a socket, without a port.
    stands_in: bool = False

    @property
    def name(self):
        """Of the program, its socket and its log: "chat", "chat-2", "chat-3"; "chat-next", "chat-next-2"."""
        name = f"{self.service}-next" if self.stands_in else self.service
        return name if self.number == 1 else f"{name}-{self.number}"

    @property
    def port_setting(self):
        return f"STOA_{self.service.upper()}_PORT"


# In the order in which they migrate and start: posts and chat read views that auth makes.
NAMES = ("auth", "posts", "chat")


def services(layout, settings, stand_in=False):
    """The services that were built, an instance each row. stand_in: as many that stand in for them."""
    built = [name for name in NAMES if os.path.exists(layout.binary(name))]
    return [Service(name, n + 1, stand_in) for name in built for n in range(settings[f"STOA_{name.upper()}_INSTANCES"])]


def socket_of(layout, name):
    return f"{layout.sock}/{name}.sock"


def own_environment(layout, settings, service):
    """What only this service has."""
    redis = {"STOA_REDIS": f"unix:{socket_of(layout, 'redis')}"}
    if service.service == "auth":
        return {"STOA_AUTH_KEY": f"{layout.keys}/{service.name}.jwk", **redis, **{name: settings[name] for name in OF_AUTH}}
    return {**redis, **{name: settings[name] for name in OF_CHAT}} if service.service == "chat" else {}


def service_environment(layout, settings, service):
    listen = [f"unix:{socket_of(layout, service.name)}"]
    if not service.stands_in:
        listen.append(settings.endpoint(service.port_setting, service.number))
    return {
        "STOA_LISTEN": ",".join(listen),
        "STOA_DATABASE": connection(layout, service.service),
        "STOA_DATABASE_PASSWORD_FILE": password_file(layout, service.service),
        "STOA_GRACE_MS": str(settings["STOA_GRACE_MS"]),
        "STOA_TRACES": "" if settings["STOA_TRACES"] == "none" else settings["STOA_TRACES"],
        "STOA_TRACE_ONE_IN": str(settings["STOA_TRACE_ONE_IN"]),
        "STOA_METRICS_LISTEN": f"unix:{socket_of(layout, f'{service.name}.metrics')}",
        **own_environment(layout, settings, service),
    }


def archive(layout, settings):
    """What writes down all that Postgres writes (deploy/backup), when it is wanted."""
    if not settings["STOA_BACKUP_DIR"]:
        return []
    environment = {
        "STOA_BACKUP_DIR": settings["STOA_BACKUP_DIR"],
        "STOA_POSTGRES_BIN": settings["STOA_POSTGRES_BIN"],
        "STOA_RUN_DIR": layout.base,
    }
    return [Program("archive", ["/bin/bash", f"{layout.program}/deploy/backup", "archive"], environment)]


def programs(layout, settings, cluster, stand_in=False):
    """The table. stand_in: with the instances that stand in for others."""
    grace = settings["STOA_GRACE_MS"] // 1000
    instances = services(layout, settings) + (services(layout, settings, True) if stand_in else [])
    table = [
        # INT is Postgres' fast shutdown: it ends sessions, writes a checkpoint and is clean.
        Program("postgres", cluster.command(), stop_signal="INT", stop_seconds=30, orphan_signal="INT"),
        *archive(layout, settings),
        Program("redis", ["/usr/bin/redis-server", f"{layout.etc}/redis.conf"], stop_seconds=15),
    ]
    for service in instances:
        command = [layout.binary(service.service), "serve"]
        environment = service_environment(layout, settings, service)
        table.append(Program(service.name, command, environment, stop_seconds=grace + 3, is_service=True))
    nginx = ["/usr/bin/python3", "-B", f"{layout.program}/deploy/stoa_suite/master.py", layout.nginx_pid]
    nginx += ["/usr/sbin/nginx", "-e", "stderr", "-p", layout.nginx, "-c", layout.nginx_conf, "-g", "daemon off;"]
    # QUIT lets requests finish.
    table.append(Program("gateway", nginx, stop_signal="QUIT", stop_seconds=grace + 3, leaves_children=True))
    return table


def stop_phases(table):
    """Names of the programs that stop together, phase by phase."""
    phases = []
    for program in reversed(table):
        if phases and program.is_service and phases[-1][0].is_service:
            phases[-1].append(program)
        else:
            phases.append([program])
    return [[program.name for program in phase] for phase in phases]


def record_of(layout, settings, table):
    """What is to be known of a running suite (Control.record())."""
    return {
        "settings": settings,
        "stop": stop_phases(table),
        "signals": {program.name: program.stop_signal for program in table},
        "builds": layout.builds,
    }


def stop_bound(table):
    """Seconds within which all of it has stopped, at worst."""
    return sum(program.stop_seconds for program in table) + 10


# ---- configuration files ----

REDIS = """\
# Written at every start of the suite.
port 0
unixsocket {sock}/redis.sock
unixsocketperm 700
dir {redis}
daemonize no
logfile ""
save 60 1
maxmemory 256mb
maxmemory-policy noeviction
# Also when it cannot save, as on a full disk: nothing in it is worth staying for.
shutdown-on-sigterm force
"""

SUPERVISOR = """\
; Written at every start of the suite.
[supervisord]
identifier=stoa
logfile={log}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile={pid}
directory={base}
umask=077
# It closes each file up to there, whether open or not, before it starts a program; none of its own goes to those anyway.
minfds=64
nodaemon=true
silent=true

[unix_http_server]
file={control}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{control}
"""

PROGRAM = """
[program:{name}]
command={command}
environment={environment}
priority={priority}
autostart={autostart}
autorestart=true
; A program that keeps failing is tried again ever more slowly, and never given up.
startsecs=1
startretries=100000
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


def quoted(text):
    """For supervisord's configuration: % is its own, and words are split as a shell would."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def command_line(layout, program):
    words = ["/usr/bin/setpriv", "--no-new-privs", "--pdeathsig", program.orphan_signal, "--", *program.command]
    if program.leaves_children:
        words = ["/bin/sh", f"{layout.program}/deploy/stoa_suite/alone.sh", f"{layout.tmp}/{program.name}.group", *words]
    return " ".join(quoted(word) for word in words)


def allow_open_files():
    """As many as a service may want, for whatever this process starts from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536 if hard == resource.RLIM_INFINITY else min(hard, 65536), hard))


def supervisor_command(layout, program):
    """program: where deploy/ is."""
    return ["/usr/bin/python3", "-B", f"{program}/deploy/stoa_suite/supervise.py", "--nodaemon", "--configuration", layout.supervisor_conf]


def write_supervisor(layout, table, all_run=False):
    """all_run: of a suite that has been started, for a supervisord that begins anew (SIGHUP, supervisorctl reload): it starts
    what it stopped."""
    names = {"log": layout.log, "pid": layout.supervisor_pid, "base": layout.base, "control": layout.control}
    text = [SUPERVISOR.format(**names)]
    for priority, program in enumerate(table):
        text.append(
            PROGRAM.format(
                name=program.name,
                command=command_line(layout, program),
                environment=",".join(f"{name}={quoted(value)}" for name, value in program.environment.items()),
                priority=priority,
                autostart="true" if all_run else "false",
                stop_signal=program.stop_signal,
                stop_seconds=program.stop_seconds,
                log=layout.log,
            )
        )
    write_private(layout.supervisor_conf, "".join(text))


def write_redis(layout):
    write_private(f"{layout.etc}/redis.conf", REDIS.format(sock=layout.sock, redis=layout.redis))


def metrics_allowed(settings):
    return " ".join(f"allow {network};" for network in settings["STOA_METRICS_ALLOW"].split())


def service_metrics(layout, settings):
    """Where Prometheus finds the metrics of each instance, which listen on sockets of their own."""
    proxied = "access_log off; proxy_connect_timeout 2s; proxy_read_timeout 10s; proxy_pass http://unix:"
    return " ".join(
        f"location = /metrics/{service.name} {{ {metrics_allowed(settings)} deny all; {proxied}"
        f"{socket_of(layout, f'{service.name}.metrics')}:/metrics; }}"
        for service in services(layout, settings)
    )


def connections_of_an_address(settings):
    """The setting, if others find a place beside an address that has as many, and so many more as are told so
    (gateway/connections.c)."""
    limit, all_of_them = settings["STOA_ADDRESS_CONNECTIONS"], settings["STOA_HTTP_CONNECTIONS"]
    most = (all_of_them - 2) * 8 // 9
    if limit != "off" and int(limit) > most:
        raise SuiteError(f"STOA_ADDRESS_CONNECTIONS={limit}: one address could take all of STOA_HTTP_CONNECTIONS={all_of_them}; "
                         f"set {most} at most, raise the other, or set off")
    return limit


def callers(settings):
    """Values of nginx.conf.in about who may do how much. A zone that nobody asks still needs some limit."""
    limits = {
        "address": settings["STOA_ADDRESS_RATE"],
        "account": settings["STOA_ACCOUNT_RATE"],
        "address_streams": settings["STOA_ADDRESS_STREAMS"],
        "account_streams": settings["STOA_ACCOUNT_STREAMS"],
    }
    used = [name for name, limit in limits.items() if limit != "off"]
    proxies = settings["STOA_TRUSTED_PROXIES"].split()
    connections = connections_of_an_address(settings)
    zone = f"grpc_json_limit_zone $grpc_json_client zone=address_connections:4m connections={connections};"
    return {
        "@ADDRESS_RATE@": limits["address"] if "address" in used else "1/s",
        "@ACCOUNT_RATE@": limits["account"] if "account" in used else "1/s",
        "@ADDRESS_STREAMS@": limits["address_streams"] if "address_streams" in used else "1",
        "@ACCOUNT_STREAMS@": limits["account_streams"] if "account_streams" in used else "1",
        "@ADDRESS_CONNECTIONS@": zone if connections != "off" else "",
        "@LIMITS@": " ".join(used) or "off",
        "@METRICS_ALLOW@": metrics_allowed(settings),
        "@TRUSTED_PROXIES@": " ".join(f"set_real_ip_from {proxy};" for proxy in proxies),
    }


def collector_place(settings):
    """Where traces go, as (host, port); None: nowhere, or to a socket."""
    return place(settings["STOA_TRACES"])


def traces(layout, settings, collector):
    """nginx is not to start for want of a collector, so it gets addresses and no name. Without any there is a socket that
    nobody listens on: spans are lost, which the log says."""
    text = settings["STOA_TRACES"]
    if text == "none":
        return ""
    if collector is None:
        where = collector_place(settings)
        collector = sorted(resolve([where])) if where else ()
    servers = [f"{shown(each)} fail_timeout=1s" for each in collector] or [text if text.startswith("unix:") else f"unix:{socket_of(layout, COLLECTOR)}"]
    listed = " ".join(f"server {each};" for each in servers)
    return f"upstream {COLLECTOR} {{ {listed} }} grpc_json_trace_export {COLLECTOR} one_in={settings['STOA_TRACE_ONE_IN']};"


def tls_listener(layout, settings, program):
    if not settings.tls:
        return ""
    listen = f"listen {settings.endpoint('STOA_HTTPS_PORT')} ssl http2 default_server backlog=4096;"
    return f"{listen} ssl_certificate {program}/{layout.CERTIFICATE}; ssl_certificate_key {program}/{layout.KEY};"


def several_instances(text, name, instances):
    """nginx.conf.in with these instances of a service: calls go to any of them that is there, and all of them have
    to be ready."""
    server = "server unix:@RUN_DIR@/sock/{}.sock".format
    if len(instances) == 1:
        return text.replace(f"{server(name)};", f"{server(instances[0])};")
    each = "".join(f"    upstream one-{one} {{\n        {server(one)};\n    }}\n" for one in instances)
    # One that is not there says so at once, and the next one is tried. To leave it alone for some time would cost more: it is
    # back soon, and when another one goes meanwhile there would be none.
    every = "\n        ".join(f"{server(one)} max_fails=0;" for one in instances)
    text = text.replace(f"{server(name)};", every)
    text = text.replace(f"    upstream {name} {{", f"{each}    upstream {name} {{")
    asked = re.search(r"grpc_json_ready (.*);", text)
    ready = re.sub(rf"(?<!\S){name}(?!\S)", " ".join(f"one-{one}" for one in instances), asked[1])
    return text.replace(asked[0], f"grpc_json_ready {ready};")


def standing_in(layout):
    """Names of the services whose other instances the gateway calls now."""
    with open(layout.nginx_conf, encoding="utf-8") as file:
        text = file.read()
    return [name for name in NAMES if f"/{Service(name, stands_in=True).name}.sock" in text]


def nginx_configuration(layout, settings, program, called=(), collector=None):
    """The text of nginx.conf for the module, descriptor set and template in the folder `program`. called: names of
    services of which those instances are to be called that stand in; collector: addresses of what takes traces, None: those that
    its name has now."""
    workers = settings["STOA_HTTP_WORKERS"]
    values = {
        # nginx cannot rotate its files alone: through its output they end in log/gateway.log, rotated.
        "@RUN_DIR@/log/nginx-access.log": "/dev/stdout",
        "@RUN_DIR@/log/nginx-error.log": "stderr",
        "@RUN_DIR@": layout.base,
        "@HTTP_LISTEN@": settings.endpoint("STOA_HTTP_PORT"),
        "@TLS_LISTEN@": tls_listener(layout, settings, program),
        "@MODULE@": f"{program}/{layout.MODULE}",
        "@DESCRIPTOR_SET@": f"{program}/{layout.DESCRIPTOR_SET}",
        "@SERVICE_METRICS@": service_metrics(layout, settings),
        "@WEB_DIR@": f"{program}/web",
        "@WORKERS@": str(workers or len(os.sched_getaffinity(0))),
        "@CONNECTIONS@": str(settings["STOA_HTTP_CONNECTIONS"]),
        "@CORS_ORIGINS@": settings["STOA_CORS_ORIGINS"],
        "@ACCESS_LOG_IF@": "if=$stoa_failed" if settings["STOA_ACCESS_LOG"] == "errors" else "",
        "@TRACES@": traces(layout, settings, collector),
        **callers(settings),
    }
    try:
        with open(f"{program}/gateway/nginx.conf.in", encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise SuiteError(f"gateway/nginx.conf.in: {error.strerror}; the clone is not complete") from None
    for name in NAMES:
        instances = range(1, settings[f"STOA_{name.upper()}_INSTANCES"] + 1)
        text = several_instances(text, name, [Service(name, n, name in called).name for n in instances])
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def write_nginx(layout, settings):
    write_private(layout.nginx_conf, nginx_configuration(layout, settings, layout.program))
