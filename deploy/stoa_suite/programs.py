"""The table of programs that a suite runs, and supervisord's configuration made from it."""
import os
import resource
from dataclasses import dataclass, field

from .postgres import connection, password_file, write_private
from .settings import OF_AUTH, OF_CHAT, SuiteError


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
    port_setting: str
    environment: dict
    number: int = 1

    @property
    def name(self):
        """Of the program, its socket and its log: "chat", "chat-2", "chat-3"."""
        return self.service if self.number == 1 else f"{self.service}-{self.number}"


def auth_environment(layout, settings):
    own = {name: settings[name] for name in OF_AUTH}
    return {"STOA_AUTH_KEY": f"{layout.keys}/auth.jwk", "STOA_REDIS": f"unix:{socket_of(layout, 'redis')}", **own}


def services(layout, settings):
    """The services that were built, an instance each row, in the order in which they migrate and start:
    posts and chat read views that auth makes."""
    chat = {"STOA_REDIS": f"unix:{socket_of(layout, 'redis')}", **{name: settings[name] for name in OF_CHAT}}
    table = (
        Service("auth", "STOA_AUTH_PORT", auth_environment(layout, settings)),
        Service("posts", "STOA_POSTS_PORT", {}),
        *(Service("chat", "STOA_CHAT_PORT", chat, n + 1) for n in range(settings["STOA_CHAT_INSTANCES"])),
    )
    return [service for service in table if os.path.exists(f"{layout.bin}/{service.service}")]


def socket_of(layout, name):
    return f"{layout.sock}/{name}.sock"


def service_environment(layout, settings, service):
    return {
        "STOA_LISTEN": f"unix:{socket_of(layout, service.name)},{settings.endpoint(service.port_setting, service.number)}",
        "STOA_DATABASE": connection(layout, service.service),
        "STOA_DATABASE_PASSWORD_FILE": password_file(layout, service.service),
        "STOA_GRACE_MS": str(settings["STOA_GRACE_MS"]),
        "STOA_TRACES": "" if settings["STOA_TRACES"] == "none" else settings["STOA_TRACES"],
        "STOA_TRACE_ONE_IN": str(settings["STOA_TRACE_ONE_IN"]),
        **service.environment,
    }


def programs(layout, settings, cluster):
    grace = settings["STOA_GRACE_MS"] // 1000
    table = [
        # INT is Postgres' fast shutdown: it ends sessions, writes a checkpoint and is clean.
        Program("postgres", cluster.command(), stop_signal="INT", stop_seconds=30, orphan_signal="INT"),
        Program("redis", ["/usr/bin/redis-server", f"{layout.etc}/redis.conf"], stop_seconds=15),
    ]
    for service in services(layout, settings):
        command = [f"{layout.bin}/{service.service}", "serve"]
        environment = service_environment(layout, settings, service)
        table.append(Program(service.name, command, environment, stop_seconds=grace + 3, is_service=True))
    nginx = ["/usr/sbin/nginx", "-e", "stderr", "-p", layout.nginx, "-c", f"{layout.etc}/nginx.conf"]
    nginx += ["-g", "daemon off;"]
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
minfds={files}
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
autostart=false
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


def open_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)


def write_supervisor(layout, table):
    names = {"log": layout.log, "pid": layout.supervisor_pid, "base": layout.base, "control": layout.control}
    text = [SUPERVISOR.format(files=open_files(), **names)]
    for priority, program in enumerate(table):
        text.append(
            PROGRAM.format(
                name=program.name,
                command=command_line(layout, program),
                environment=",".join(f"{name}={quoted(value)}" for name, value in program.environment.items()),
                priority=priority,
                stop_signal=program.stop_signal,
                stop_seconds=program.stop_seconds,
                log=layout.log,
            )
        )
    write_private(layout.supervisor_conf, "".join(text))


def write_redis(layout):
    write_private(f"{layout.etc}/redis.conf", REDIS.format(sock=layout.sock, redis=layout.redis))


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
    return {
        "@ADDRESS_RATE@": limits["address"] if "address" in used else "1/s",
        "@ACCOUNT_RATE@": limits["account"] if "account" in used else "1/s",
        "@ADDRESS_STREAMS@": limits["address_streams"] if "address_streams" in used else "1",
        "@ACCOUNT_STREAMS@": limits["account_streams"] if "account_streams" in used else "1",
        "@LIMITS@": " ".join(used) or "off",
        "@METRICS_ALLOW@": " ".join(f"allow {network};" for network in settings["STOA_METRICS_ALLOW"].split()),
        "@TRUSTED_PROXIES@": " ".join(f"set_real_ip_from {proxy};" for proxy in proxies),
    }


def traces(settings):
    if settings["STOA_TRACES"] == "none":
        return ""
    return f"grpc_json_trace_export {settings['STOA_TRACES']} one_in={settings['STOA_TRACE_ONE_IN']};"


def tls_listener(layout, settings, program):
    if not settings.tls:
        return ""
    listen = f"listen {settings.endpoint('STOA_HTTPS_PORT')} ssl http2 default_server backlog=1024;"
    return f"{listen} ssl_certificate {program}/{layout.CERTIFICATE}; ssl_certificate_key {program}/{layout.KEY};"


def several_instances(text, settings):
    """nginx.conf.in for more than one instance of chat: calls go to any of them that is there, and all of them
    have to be ready."""
    names = ["chat", *(f"chat-{n}" for n in range(2, settings["STOA_CHAT_INSTANCES"] + 1))]
    if len(names) == 1:
        return text
    servers = {name: f"server unix:@RUN_DIR@/sock/{name}.sock" for name in names}
    each = "".join(f"    upstream one-{name} {{\n        {server};\n    }}\n" for name, server in servers.items())
    # One that does not answer is asked again a second later.
    every = "\n        ".join(f"{server} fail_timeout=1s;" for server in servers.values())
    ready = " ".join(f"one-{name}" for name in names)
    text = text.replace(f"{servers['chat']};", every)
    text = text.replace("    upstream chat {", f"{each}    upstream chat {{")
    return text.replace("grpc_json_ready auth posts chat;", f"grpc_json_ready auth posts {ready};")


def nginx_configuration(layout, settings, program):
    """The text of nginx.conf for the module, descriptor set and template in the folder `program`."""
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
        "@WEB_DIR@": f"{program}/web",
        "@WORKERS@": str(workers or len(os.sched_getaffinity(0))),
        "@CONNECTIONS@": str(settings["STOA_HTTP_CONNECTIONS"]),
        "@CORS_ORIGINS@": settings["STOA_CORS_ORIGINS"],
        "@TRACES@": traces(settings),
        **callers(settings),
    }
    try:
        with open(f"{program}/gateway/nginx.conf.in", encoding="utf-8") as file:
            text = several_instances(file.read(), settings)
    except OSError as error:
        raise SuiteError(f"gateway/nginx.conf.in: {error.strerror}; the clone is not complete") from None
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def write_nginx(layout, settings):
    write_private(f"{layout.etc}/nginx.conf", nginx_configuration(layout, settings, layout.program))
