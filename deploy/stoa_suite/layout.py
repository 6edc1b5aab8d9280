"""Where everything of one suite lies under its run folder.

    lock       held while a suite starts or runs in the foreground; marks the folder as a suite's
    program/   what was built, as it was when the suite started (when started by root: root's, read-only)
    etc/       generated configuration
    secrets/   generated passwords, pgpass
    keys/      private signing keys
    sock/      unix sockets
    postgres/  the cluster, by major version
    redis/     Redis' snapshot
    nginx/     request bodies that nginx spools
    log/       one log for each program
    tmp/       pid files
"""
import hashlib
import os
import re

from .settings import SuiteError

OWN = ("etc", "secrets", "keys", "sock", "postgres", "redis", "nginx", "log", "tmp")

# sun_path holds 107 bytes and a NUL; supervisord binds supervisor.sock.PID first and renames it.
LONGEST_SOCKET = len("/sock/supervisor.sock.4194304")
PLAIN_PATH = re.compile(r"[A-Za-z0-9._/+@=-]+")


class Layout:
    # In program/ and in each folder that a reload brought.
    MODULE = "ngx_http_grpc_json_module.so"
    DESCRIPTOR_SET = "api.binpb"
    CERTIFICATE = "tls/certificate.pem"
    KEY = "tls/key.pem"

    def __init__(self, base):
        self.base = base
        self.lock = f"{base}/lock"
        self.program = f"{base}/program"
        for name in OWN:
            setattr(self, name, f"{base}/{name}")
        # Folders of the build that a service runs from, where it is another one than that of the start.
        self.builds = {}
        self.cluster = f"{self.postgres}/15"
        self.control = f"{self.sock}/supervisor.sock"
        self.record = f"{self.etc}/suite.json"
        self.nginx_conf = f"{self.etc}/nginx.conf"
        self.nginx_pid = f"{self.nginx}/nginx.pid"
        self.supervisor_conf = f"{self.etc}/supervisord.conf"
        self.supervisor_pid = f"{self.tmp}/supervisord.pid"

    def binary(self, service):
        return f"{self.builds.get(service, self.program)}/bin/{service}"


def short_name(folder):
    """Name of a run folder that fits into socket addresses and configuration files, and whether it
    is another name than the folder's own."""
    if len(os.fsencode(folder)) + LONGEST_SOCKET <= 107 and PLAIN_PATH.fullmatch(folder):
        return folder, False
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return f"{'/run' if os.geteuid() == 0 else '/tmp'}/stoa-{os.geteuid()}-{digest}", True


def make_alias(alias, folder):
    """Makes the symlink `alias` to the folder. /tmp is everybody's: a foreign one is not followed."""
    try:
        os.symlink(folder, alias)
    except FileExistsError:
        if os.lstat(alias).st_uid != os.geteuid() or not os.path.islink(alias) or os.readlink(alias) != folder:
            raise SuiteError(
                f"{folder}: the path is too long for sockets, and the short name {alias} is taken; "
                "remove that or set a shorter STOA_RUN_DIR"
            ) from None
    except OSError as error:
        raise SuiteError(f"cannot make {alias}: {error.strerror}; set a shorter STOA_RUN_DIR") from None


def remove_alias(settings):
    """Removes the symlink of make_alias(); one that root made stays until root stops the suite."""
    folder = os.path.realpath(settings["STOA_RUN_DIR"])
    alias, is_alias = short_name(folder)
    if is_alias:
        try:
            os.unlink(alias)
        except OSError:
            pass  # not ours, or gone
