"""The settings of the suite: one table, read from the environment, checked, printed by --help."""
import ipaddress
import os
import re
import textwrap

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class SuiteError(Exception):
    """One line for a person: the cause, and what to do about it."""


class Setting:
    def __init__(self, name, default, read, about):
        self.name = name
        self.default = default
        self.read = read
        self.about = about

    def fallback(self):
        """The default as a value: a relative folder is the repository's, wherever the caller stands."""
        return os.path.join(REPOSITORY, self.default) if self.read is folder else self.default


def number(low, high):
    def read(text):
        # isdecimal() alone would take digits of other scripts.
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
            raise ValueError(f"set a whole number from {low} to {high}")
        return int(text)

    return read


def address(text):
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("set an IPv4 or IPv6 address, such as 127.0.0.1 or ::") from None


def folder(text):
    if "\0" in text or "\n" in text:
        raise ValueError("set the path of a folder")
    return os.path.abspath(text)


def file(text):
    """A file's path, or none."""
    if "\0" in text or "\n" in text:
        raise ValueError("set the path of a file, or none")
    return "" if text == "none" else os.path.abspath(text)


def rate(text):
    """Requests in a time, as grpc_json_limit_zone takes it."""
    if text != "off" and not re.fullmatch(r"[1-9][0-9]{0,8}/([1-9][0-9]{0,4})?[smh]", text):
        raise ValueError("set off, or requests in a time, such as 600/1m or 50/s")
    return text


def switch(text):
    if text not in ("on", "off"):
        raise ValueError("set on or off")
    return text


def requests_logged(text):
    if text not in ("all", "errors"):
        raise ValueError("set all, or errors for requests answered with 4xx or 5xx alone")
    return text


def buffers(text):
    """Memory as Postgres takes it, and as much as it can have (1073741823 pages of 8 kB)."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})(kB|MB|GB)", text)
    kilobytes = int(match[1]) * {"kB": 1, "MB": 1024, "GB": 1024 * 1024}[match[2]] if match else 0
    if not 1024 <= kilobytes < 8 * 1024 ** 3:
        raise ValueError("set a number with kB, MB or GB, such as 512MB: at least 1MB, less than 8192GB")
    return text


def at_once(text):
    if text != "off" and not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise ValueError("set off, or a whole number from 1 to 999999")
    return text


def networks(text):
    words = text.split()
    try:
        return " ".join(str(ipaddress.ip_network(word)) for word in words if words != ["none"])
    except ValueError:
        raise ValueError("set none, or addresses and networks such as 10.0.0.0/8, parted by spaces") from None


def origins(text):
    """What grpc_json_cors takes; the module itself judges each origin."""
    words = text.split()
    if not words or not all(re.fullmatch(r"[A-Za-z0-9.:/*\[\]_+-]+", word) for word in words):
        raise ValueError("set off, *, or origins such as https://app.example.com, parted by spaces")
    return " ".join(words)


def collector(text):
    if text != "none" and not re.fullmatch(r"unix:/[^\s;{}$'\"]+|([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}", text):
        raise ValueError("set none, or a collector's address such as 127.0.0.1:4317 or unix:/run/otlp.sock")
    return text


port = number(1, 65535)

# Front ends that their authors run on their own machines.
LOCAL_ORIGINS = "http://localhost:* http://127.0.0.1:* http://[::1]:*"

TABLE = (
    Setting("STOA_RUN_DIR", ".run", folder, "Folder of everything this suite keeps: data, sockets, logs, secrets."),
    Setting("STOA_BIND", "127.0.0.1", address, "Address that HTTP and gRPC listen on."),
    Setting("STOA_HTTP_PORT", "8080", port, "Port of the gateway: HTTP/JSON."),
    Setting("STOA_HTTPS_PORT", "8443", port, "Port of the gateway with TLS, when there is a certificate."),
    Setting("STOA_HTTPS_CERTIFICATE", "none", file, "Certificate chain (PEM); STOA_HTTP_PORT is then for this machine only."),
    Setting("STOA_HTTPS_KEY", "none", file, "Private key of STOA_HTTPS_CERTIFICATE (PEM)."),
    *(Setting(f"STOA_{name.upper()}_PORT", str(default), port, f"Port of {name}: gRPC. Each further instance has a port 10 above the one before.")
      for name, default in (("auth", 9001), ("posts", 9002), ("chat", 9003))),
    *(Setting(f"STOA_{name.upper()}_INSTANCES", "1", number(1, 16), f"Instances of {name}.") for name in ("auth", "posts", "chat")),
    Setting("STOA_HTTP_WORKERS", "0", number(0, 256), "nginx workers; 0: one for each CPU."),
    Setting("STOA_HTTP_CONNECTIONS", "4096", number(64, 1000000), "Connections of one worker, including WebSockets and those to services."),
    Setting("STOA_ADDRESS_RATE", "10000/10s", rate, "Requests of one address (IPv6: one /64) in a time; off: no limit."),
    Setting("STOA_ACCOUNT_RATE", "10000/10s", rate, "Requests with one access token in a time; off: no limit."),
    *(Setting(name, "10000/10s", rate, f"{about} in a time; off: no limit.") for name, about in (
        ("STOA_AUTH_LOGIN_ADDRESS_RATE", "Sign-ins that one address may try"),
        ("STOA_AUTH_LOGIN_PAIR_RATE", "Sign-ins that one address may try on one account"),
        ("STOA_AUTH_LOGIN_ACCOUNT_RATE", "Sign-ins that may be tried on one account"),
        ("STOA_AUTH_REGISTER_ADDRESS_RATE", "Accounts that one address may try to make"),
        ("STOA_AUTH_REGISTER_ACCOUNT_RATE", "Accounts that may be tried for one e-mail address"),
        ("STOA_AUTH_REFRESH_ADDRESS_RATE", "Refreshes of sessions that one address may try"),
        ("STOA_AUTH_REFRESH_SESSION_RATE", "Refreshes of one session"),
    )),
    *(Setting(name, "100000/10s", rate, f"{about} in a time; off: no limit.") for name, about in (
        ("STOA_CHAT_SEND_ACCOUNT_RATE", "Messages that one account may send"),
        ("STOA_CHAT_SEND_ROOM_RATE", "Messages to one room, by everybody"),
        ("STOA_CHAT_CHANGE_ACCOUNT_RATE", "Edits, reactions and the like of one account"),
        ("STOA_CHAT_CHANGE_ROOM_RATE", "Edits, reactions and the like in one room, by everybody"),
        ("STOA_CHAT_ROOMS_RATE", "Rooms that one account may open"),
        ("STOA_CHAT_TYPING_RATE", "How often one account may say that it is typing"),
        ("STOA_CHAT_FOLLOW_RATE", "How often one account may ask over live connections to follow a room, to mark it read or to go on with another token"),
        ("STOA_CHAT_EXPORT_RATE", "Exports of one account"),
    )),
    Setting("STOA_AUTH_REFUSE_COMMON_PASSWORDS", "off", switch, "Whether new passwords that many people use are refused."),
    Setting("STOA_ADDRESS_STREAMS", "1000", at_once, "Streams and WebSockets that one address has open at once; off: no limit."),
    Setting("STOA_ACCOUNT_STREAMS", "100", at_once, "Streams and WebSockets open with one access token; off: no limit."),
    Setting("STOA_ADDRESS_CONNECTIONS", "2000", at_once, "Connections that one address has open at once, WebSockets apart; eight ninths of STOA_HTTP_CONNECTIONS at most; off: no limit."),
    Setting("STOA_METRICS_ALLOW", "127.0.0.0/8 ::1", networks, "Addresses and networks that may read /metrics and /metrics/SERVICE; none: nobody."),
    Setting("STOA_TRUSTED_PROXIES", "none", networks, "Proxies in front whose X-Forwarded-For is believed."),
    Setting("STOA_CORS_ORIGINS", LOCAL_ORIGINS, origins, "Origins whose pages may use the API from a browser; off: none."),
    Setting("STOA_ACCESS_LOG", "all", requests_logged, "Requests that have a line in the gateway's log: all; errors: those answered with 4xx or 5xx."),
    Setting("STOA_TRACES", "none", collector, "Where traces go: an OpenTelemetry collector's address for OTLP/gRPC; none: nowhere."),
    Setting("STOA_TRACE_ONE_IN", "100", number(0, 999999999), "One in so many of the requests without a traceparent is traced; 0: none."),
    Setting("STOA_GRACE_MS", "5000", number(0, 600000), "How long a stopping service lets running calls finish."),
    Setting("STOA_START_TIMEOUT_S", "60", number(1, 3600), "How long a start may take before it is given up."),
    Setting("STOA_BACKUP_DIR", "none", file, "Folder for backups, in which all that Postgres writes is archived (deploy/backup); none: no archive."),
    Setting("STOA_POSTGRES_BUFFERS", "128MB", buffers, "Memory that Postgres keeps pages in (shared_buffers), with kB, MB or GB."),
    Setting("STOA_OUT", "build/release", folder, "Build output that is started (make's $(OUT))."),
    Setting("STOA_POSTGRES_BIN", "/usr/lib/postgresql/15/bin", folder, "Folder of Postgres' programs."),
)
# What a running suite takes over by `reload`; everything else waits for the next start.
RELOADED = (
    "STOA_HTTP_WORKERS", "STOA_HTTP_CONNECTIONS", "STOA_HTTPS_CERTIFICATE", "STOA_HTTPS_KEY", "STOA_ADDRESS_RATE",
    "STOA_ACCOUNT_RATE", "STOA_ADDRESS_STREAMS", "STOA_ACCOUNT_STREAMS", "STOA_ADDRESS_CONNECTIONS", "STOA_METRICS_ALLOW",
    "STOA_TRUSTED_PROXIES", "STOA_CORS_ORIGINS", "STOA_ACCESS_LOG",
)
# The services' own settings, whose defaults here are for trying: wide, and simple passwords count, as public test suites need
# it. By themselves they have those for production (bin/auth --help, bin/chat --help).
OF_AUTH = tuple(s.name for s in TABLE if re.fullmatch("STOA_AUTH_[A-Z_]+_(RATE|PASSWORDS)", s.name))
OF_CHAT = tuple(s.name for s in TABLE if re.fullmatch("STOA_CHAT_[A-Z_]+_RATE", s.name))
PORTS = tuple(s.name for s in TABLE if s.name.endswith("_PORT"))
INSTANCES = tuple(s.name for s in TABLE if s.name.endswith("_INSTANCES"))

# What the suite decides for each service; an inherited value would contradict it.
OWNED = ("STOA_LISTEN", "STOA_DATABASE", "STOA_DATABASE_PASSWORD", "STOA_AUTH_KEY", "STOA_REDIS", "STOA_DRAIN_MS", "STOA_METRICS_LISTEN")


class Settings(dict):
    """Values by the setting's name."""

    def __init__(self, environment):
        super().__init__()
        for setting in TABLE:
            text = environment.get(setting.name, "")
            try:
                self[setting.name] = setting.read(text or setting.fallback())
            except ValueError as error:
                raise SuiteError(f"{setting.name}={text}: {error}") from None
        if bool(self["STOA_HTTPS_CERTIFICATE"]) != bool(self["STOA_HTTPS_KEY"]):
            raise SuiteError("STOA_HTTPS_CERTIFICATE and STOA_HTTPS_KEY go together: set both, or none")
        owner = {}
        for name in self.ports():
            for number_of in range(1, self.instances(name) + 1):
                taken = self.port(name, number_of)
                other = owner.setdefault(taken, name)
                if other != name:
                    raise SuiteError(f"{name}={taken}: {other} is the same port; give each its own")
                if taken > 65535:
                    raise SuiteError(f"{name}={self[name]}: instance {number_of} would have port {taken}; set a lower one")

    @property
    def tls(self):
        return bool(self["STOA_HTTPS_CERTIFICATE"])

    def ports(self):
        """Names of the ports in use."""
        return [name for name in PORTS if self.tls or name != "STOA_HTTPS_PORT"]

    def instances(self, port_name):
        return self.get(port_name.replace("_PORT", "_INSTANCES"), 1)

    def port(self, port_name, instance=1):
        """Instances of a service are 10 ports apart."""
        return self[port_name] + 10 * (instance - 1)

    def bind(self, port_name):
        """The address of a listener: with TLS, HTTP in the clear does not leave the machine."""
        bind = self["STOA_BIND"]
        if not self.tls or port_name != "STOA_HTTP_PORT" or bind.is_loopback:
            return bind
        return ipaddress.ip_address("127.0.0.1" if bind.version == 4 else "::1")

    def endpoint(self, port_name, instance=1):
        """ADDRESS:PORT as a listener writes it."""
        bind, its_port = self.bind(port_name), self.port(port_name, instance)
        return f"[{bind}]:{its_port}" if bind.version == 6 else f"{bind}:{its_port}"

    def reachable(self, port_name, instance=1):
        """ADDRESS:PORT that a client on this machine can use, also when listening on every address."""
        bind, its_port = self.bind(port_name), self.port(port_name, instance)
        if not bind.is_unspecified:
            return self.endpoint(port_name, instance)
        return f"[::1]:{its_port}" if bind.version == 6 else f"127.0.0.1:{its_port}"

    def shown(self, port_name):
        """The same for people."""
        return self.reachable(port_name).replace("127.0.0.1:", "localhost:")

    def environment(self):
        return {name: str(value) or "none" for name, value in self.items()}


def inherited(environment):
    """What a suite takes over from its caller's environment: service settings and sanitizer options."""
    owned = {name + suffix for name in OWNED for suffix in ("", "_FILE")}
    sanitizers = ("ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")
    return {
        name: value
        for name, value in environment.items()
        if name in sanitizers or (name.startswith("STOA_") and name not in owned)
    }


def table_text():
    width = max(len(s.name) for s in TABLE)
    shown = [f"  {s.name:<{width}}  {s.about} [{s.default}]" for s in TABLE]
    rest = "Every other STOA_ variable goes to the services as it is (bin/auth --help and so on list theirs)."
    return "\n".join(["Settings (environment variables) and their defaults:", *shown, "", *textwrap.wrap(rest, 100)])
