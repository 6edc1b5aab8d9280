"""The private Postgres cluster: made once, configured at every start, roles and schemas, migrations.

Passwords are generated into owner-only files. Postgres itself is given SCRAM verifiers, never the
passwords: nothing secret is in an argument list, a statement or a log.
"""
import base64
import hashlib
import hmac
import os
import secrets
import shutil
import subprocess

from .settings import INSTANCES, SuiteError

DATABASE = "stoa"
SUPERUSER = "postgres"
# The role that backups are made as, beside the services' (deploy/backup).
BACKUP = "backup"
PORT = 5432  # only a part of the socket's name: there is no TCP listener
STATUS_LINE = 7  # of postmaster.pid

CONFIGURATION = """\
# Written at every start of the suite.
data_directory = '{data}'
hba_file = '{etc}/pg_hba.conf'
ident_file = '{etc}/pg_ident.conf'
listen_addresses = ''
unix_socket_directories = '{sock}'
unix_socket_permissions = 0700
port = {port}
max_connections = {connections}
shared_buffers = {buffers}
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = stderr
log_line_prefix = '%m [%p] %q%u@%d '
log_lock_waits = on
log_checkpoints = off
# What the archive has not taken yet is kept for it, but not until the disk is full.
max_slot_wal_keep_size = 4GB
# Short queries only: compiling one never pays.
jit = off
"""

DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'stoa_archive' AND NOT active;"


def write_private(path, text):
    """Writes a file that only its owner can read."""
    with open(path, "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write(text)


def password_file(layout, name):
    return f"{layout.secrets}/{name}"


def make_passwords(layout, names):
    for name in names:
        path = password_file(layout, name)
        if not os.path.exists(path):
            write_private(f"{path}.new", secrets.token_urlsafe(32) + "\n")
            os.rename(f"{path}.new", path)
    lines = [f"*:{PORT}:*:{SUPERUSER}:{read_password(layout, SUPERUSER)}"]
    lines += [f"*:{PORT}:*:stoa_{name}:{read_password(layout, name)}" for name in names if name != SUPERUSER]
    write_private(f"{layout.secrets}/pgpass", "\n".join(lines) + "\n")


def read_password(layout, name):
    with open(password_file(layout, name), encoding="ascii") as file:
        return file.read().strip()


def scram_verifier(password):
    """What Postgres stores of a password (RFC 5802, RFC 7677)."""
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    b64 = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${rounds}:{b64[0]}${b64[1]}:{b64[2]}"


def password_statements(passwords):
    """SQL that gives the services' roles, and that of backups, their passwords, by the service's name."""
    # A statement that failed would be logged with its verifier.
    statements = ["SET log_min_error_statement = panic;"]
    return statements + [f"ALTER ROLE stoa_{name} PASSWORD '{scram_verifier(text)}';" for name, text in passwords.items()]


def run(command, environment=None, stdin=None):
    """Runs a program to its end. Returns what it said, or raises with its last lines."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
    raise SuiteError("; ".join(line.strip() for line in said[-3:]))


class Cluster:
    def __init__(self, layout, settings):
        self._layout = layout
        self._bin = settings["STOA_POSTGRES_BIN"]
        # Of each instance, and of the one that stands in for it while it is replaced (STOA_DATABASE_CONNECTIONS, and a few).
        self._connections = max(200, 50 + 40 * sum(settings[name] for name in INSTANCES))
        self._buffers = settings["STOA_POSTGRES_BUFFERS"]
        self._archives = bool(settings["STOA_BACKUP_DIR"])
        self._environment = {**os.environ, "PGPASSFILE": f"{layout.secrets}/pgpass", "PGCONNECT_TIMEOUT": "10"}

    def make(self, services):
        """Makes the cluster when there is none. True when it was made."""
        data = self._layout.cluster
        exists = os.path.exists(data)
        if exists and not os.path.exists(password_file(self._layout, SUPERUSER)):
            raise SuiteError(
                f"{self._layout.secrets}: the passwords of the cluster in {data} are gone; "
                "restore them from a copy, or remove the run folder with its data"
            )
        make_passwords(self._layout, (SUPERUSER, *services, BACKUP))
        if not exists:
            self._initialise(data)
        self._configure()
        return not exists

    def _initialise(self, data):
        # Named when complete: a start that was cut off leaves no half cluster.
        fresh = f"{data}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        version = run([f"{self._bin}/postgres", "--version"])
        if " 15." not in version:
            raise SuiteError(f"{self._bin} is {version.strip()}; set STOA_POSTGRES_BIN to Postgres 15's programs")
        try:
            run(
                [f"{self._bin}/initdb", f"--pgdata={fresh}", f"--username={SUPERUSER}"]
                + [f"--pwfile={password_file(self._layout, SUPERUSER)}", "--data-checksums"]
                + ["--auth-local=scram-sha-256", "--auth-host=reject"]
                + ["--encoding=UTF8", "--locale=C.UTF-8"]
            )
        except SuiteError as error:
            raise SuiteError(f"cannot make the Postgres cluster in {data}: {error}") from None
        os.rename(fresh, data)

    def _configure(self):
        layout = self._layout
        names = {"data": layout.cluster, "etc": layout.etc, "sock": layout.sock, "port": PORT, "connections": self._connections,
                 "buffers": self._buffers}
        write_private(f"{layout.etc}/postgresql.conf", CONFIGURATION.format(**names))
        write_private(f"{layout.etc}/pg_hba.conf", f"local replication stoa_{BACKUP} scram-sha-256\nlocal all all scram-sha-256\n")
        write_private(f"{layout.etc}/pg_ident.conf", "")

    def command(self):
        return [f"{self._bin}/postgres", "-D", self._layout.cluster, f"--config-file={self._layout.etc}/postgresql.conf"]

    def ready_pid(self):
        """Of the Postgres that takes connections, by the file in which it says so itself, as pg_ctl looks; 0: none does. One that
        was killed has left its own."""
        try:
            with open(f"{self._layout.cluster}/postmaster.pid", encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            return 0
        return int(lines[0]) if len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready" else 0

    def psql(self, database, sql):
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--no-password"]
        place = [f"--host={self._layout.sock}", f"--port={PORT}", f"--username={SUPERUSER}", f"--dbname={database}"]
        return run([f"{self._bin}/psql", *options, *place], self._environment, sql)

    def bootstrap(self, services):
        """Roles, database and schemas (deploy/bootstrap.sql, repeatable), and the roles' passwords."""
        with open(f"{self._layout.program}/deploy/bootstrap.sql", encoding="utf-8") as file:
            statements = [file.read()]
        statements += password_statements({name: read_password(self._layout, name) for name in (*services, BACKUP)})
        if not self._archives:
            # Who keeps no archive is not to keep WAL for one.
            statements.append(DROP_SLOT)
        try:
            self.psql(SUPERUSER, "\n".join(statements))
        except SuiteError as error:
            raise SuiteError(f"Postgres refused deploy/bootstrap.sql: {error}; see {self._layout.log}/postgres.log") from None


def connection(layout, service):
    """A service's libpq connection string, without the password."""
    return f"host={layout.sock} port={PORT} dbname={DATABASE} user=stoa_{service}"
