"""deploy/suite: what it refuses and how it says so, what it keeps, what it restarts, what it leaves behind."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import tempfile

import psycopg2
import pytest
from stoa_suite_fixture import REPOSITORY, Suite, clean_environment, free_ports, output_folder, wait_until
from stoa_suite.control import UP, Control
from stoa_suite.layout import OWN, Layout, short_name
from stoa_suite.programs import Program, stop_phases, supervisor_command, write_redis, write_supervisor


def run_suite(command, **environment):
    """deploy/suite with nothing set but this. Returns (exit status, stdout, stderr)."""
    done = subprocess.run(
        [REPOSITORY / "deploy/suite", command],
        env={
            **clean_environment(),
            "STOA_OUT": str(output_folder()),
            **{name: str(value) for name, value in environment.items()},
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def free_settings():
    """Settings of a suite that could start, in a folder that its account can get to."""
    names = ("STOA_HTTP_PORT", "STOA_AUTH_PORT", "STOA_POSTS_PORT", "STOA_CHAT_PORT")
    with tempfile.TemporaryDirectory(prefix="stoa-test-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        yield {"STOA_RUN_DIR": pathlib.Path(folder) / "run", **dict(zip(names, free_ports(4)))}


@pytest.mark.parametrize(
    "setting, value, words",
    [
        ("STOA_HTTP_PORT", "http", "whole number from 1 to 65535"),
        ("STOA_HTTP_PORT", "0", "whole number from 1 to 65535"),
        ("STOA_AUTH_PORT", "65536", "whole number from 1 to 65535"),
        ("STOA_POSTS_PORT", "-1", "whole number from 1 to 65535"),
        ("STOA_CHAT_PORT", "9001", "STOA_AUTH_PORT is the same port"),
        ("STOA_BIND", "localhost", "IPv4 or IPv6 address"),
        ("STOA_HTTP_WORKERS", "1e3", "whole number from 0 to 256"),
        ("STOA_HTTP_CONNECTIONS", "63", "whole number from 64 to 1000000"),
        ("STOA_ADDRESS_CONNECTIONS", "0", "set off, or a whole number from 1 to 999999"),
        ("STOA_ADDRESS_CONNECTIONS", "3640", "all of STOA_HTTP_CONNECTIONS=4096; set 3639 at most"),
        ("STOA_HTTP_CONNECTIONS", "2250", "STOA_ADDRESS_CONNECTIONS=2000: one address could take all of"),
        ("STOA_ACCESS_LOG", "Errors", "set all, or errors"),
        ("STOA_POSTGRES_BUFFERS", "512", "a number with kB, MB or GB"),
        ("STOA_POSTGRES_BUFFERS", "1.5GB", "a number with kB, MB or GB"),
        ("STOA_POSTGRES_BUFFERS", "1023kB", "at least 1MB"),
        ("STOA_POSTGRES_BUFFERS", "8192GB", "less than 8192GB"),
        ("STOA_START_TIMEOUT_S", "0", "whole number from 1 to 3600"),
        ("STOA_POSTGRES_BIN", "/nowhere", "missing: /nowhere/initdb"),
        ("STOA_OUT", "/nowhere/release", "not built: "),
        ("STOA_RUN_DIR", "/etc", "not empty and not a suite's"),
        ("STOA_RUN_DIR", "/dev/null", "is not a folder"),
        ("STOA_RUN_DIR", "/proc/stoa", "folder that can be written"),
    ],
)
def test_wrong_setting_is_one_line_with_cause_and_cure(free_settings, setting, value, words):
    if setting == "STOA_CHAT_PORT":
        free_settings["STOA_AUTH_PORT"] = value
    status, output, error = run_suite("up", **{**free_settings, setting: value})
    assert status == 1
    assert output == ""
    assert error.count("\n") == 1 and error.startswith("suite: ")
    assert value in error and words in error


def test_taken_port(suite, free_settings):
    taken = suite.ports["STOA_POSTS_PORT"]
    status, _, error = run_suite("up", **{**free_settings, "STOA_AUTH_PORT": taken})
    assert status == 1
    assert error.count("\n") == 1
    assert f"STOA_AUTH_PORT={taken}" in error and "Address already in use" in error and "another port" in error


def test_help_names_every_setting():
    status, output, _ = run_suite("--help")
    assert status == 0
    source = (REPOSITORY / "deploy/stoa_suite/settings.py").read_text()
    names = re.findall(r'Setting\("(STOA_\w+)"', source)
    assert len(names) > 5
    assert all(name in output for name in names)


def test_down_and_status_where_nothing_runs(free_settings):
    assert run_suite("down", **free_settings)[0] == 0
    assert run_suite("status", **free_settings)[0] == 3


def test_second_start_in_the_same_folder(suite):
    again = suite.command("up")
    assert again.returncode == 0 and "already up" in again.stdout
    another = suite.command("run")
    assert another.returncode == 1 and "running there" in another.stderr


def test_start_with_other_ports_in_the_same_folder(suite):
    environment = {**suite.environment(), "STOA_HTTP_PORT": str(free_ports(1)[0])}
    done = subprocess.run([REPOSITORY / "deploy/suite", "up"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"STOA_HTTP_PORT={suite.ports['STOA_HTTP_PORT']} is running there" in done.stderr


def test_what_is_private(suite):
    for name in ("etc", "secrets", "keys", "sock", "postgres", "redis", "log"):
        assert stat.S_IMODE((suite.run_dir / name).stat().st_mode) == 0o700, name
    for path in (*suite.run_dir.glob("secrets/*"), *suite.run_dir.glob("keys/*"), *suite.run_dir.glob("etc/*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_secret_in_an_argument_list_or_a_log(suite):
    secrets = [path.read_text().strip() for path in suite.run_dir.glob("secrets/*") if path.name != "pgpass"]
    assert len(secrets) >= 3 and all(len(secret) >= 32 for secret in secrets)
    places = [path.read_bytes() for path in suite.run_dir.glob("log/*")]
    places += [path.read_bytes() for path in suite.run_dir.glob("etc/*")]
    for process in os.listdir("/proc"):
        if process.isdecimal():
            try:
                places.append(open(f"/proc/{process}/cmdline", "rb").read())
            except OSError:
                pass  # it ended meanwhile
    assert not any(secret.encode() in place for secret in secrets for place in places)


def test_nothing_runs_as_root(suite):
    for program in ("auth", "posts", "gateway", "postgres", "redis"):
        status = open(f"/proc/{suite.pid(program)}/status").read()
        assert int(re.search(r"^Uid:\s+(\d+)", status, re.M)[1]) != 0, program
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M), program


def test_programs_may_open_as_many_files_as_the_system_allows(suite):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for program in ("auth", "chat", "gateway", "redis"):
        limits = open(f"/proc/{suite.pid(program)}/limits").read()
        assert int(re.search(r"^Max open files\s+(\d+)", limits, re.M)[1]) == min(hard, 65536), program


def test_the_gateway_need_not_wait_for_who_reads_its_log(suite):
    """Several pieces of the size in which it writes, per worker, fit in the pipe."""
    piece = int(re.search(r"access_log .* buffer=(\d+)k", (suite.run_dir / "etc/nginx.conf").read_text())[1]) * 1024
    pipe = os.open(f"/proc/{suite.pid('gateway')}/fd/1", os.O_WRONLY)
    try:
        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) >= 4 * piece
    finally:
        os.close(pipe)


def test_postgres_and_redis_have_no_tcp_port(suite):
    for program in ("postgres", "redis"):
        pid = suite.pid(program)
        inodes = set()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass
        for table in ("tcp", "tcp6"):
            for line in open(f"/proc/{pid}/net/{table}").read().splitlines()[1:]:
                assert f"socket:[{line.split()[9]}]" not in inodes, program


@pytest.mark.parametrize("role, schema", [("stoa_posts", "auth"), ("stoa_chat", "posts"), ("stoa_auth", "chat")])
def test_a_role_cannot_touch_the_schema_of_another(suite, role, schema):
    with psycopg2.connect(**suite.database(role)) as connection, connection.cursor() as cursor:
        for place in (schema, "public"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"CREATE TABLE {place}.intruder (x int)")
            connection.rollback()
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("CREATE SCHEMA intruder")


def test_pages_of_the_cluster_have_checksums(suite):
    with psycopg2.connect(**suite.database()) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW data_checksums")
        assert cursor.fetchone() == ("on",)


def test_what_dies_is_restarted_and_the_log_says_so(own_suite):
    suite = own_suite()
    for program in ("auth", "posts", "gateway", "redis", "postgres"):
        old = suite.kill(program)
        suite.wait_restarted(program, old)
        wait_until(lambda: f"{program} died (terminated by SIGKILL); restarting it" in suite.output(), "says that it died")
        wait_until(lambda: f"{program} restarted, pid " in suite.output(), "says that it was restarted")
    wait_until(lambda: suite.command("status").returncode == 0, "ready again")


def test_a_supervisord_that_begins_anew_starts_everything_again(own_suite):
    """SIGHUP, which supervisorctl reload is as well, stops all programs first."""
    suite = own_suite()
    suite.begin_anew()
    assert suite.command("down").returncode == 0 and suite.command("status").returncode == 3


def test_data_outlive_a_stop_and_nothing_else_does(free_settings):
    def up(**settings):
        status, output, error = run_suite("up", **free_settings, **settings)
        assert status == 0, output + error
        return int((free_settings["STOA_RUN_DIR"] / "tmp/supervisord.pid").read_text())

    connection = {"host": str(free_settings["STOA_RUN_DIR"] / "sock"), "dbname": "stoa", "user": "postgres"}

    def sql(statement):
        password = (free_settings["STOA_RUN_DIR"] / "secrets/postgres").read_text().strip()
        with psycopg2.connect(**connection, password=password) as session, session.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None

    try:
        first = up()
        sql("CREATE TABLE auth.kept AS SELECT 42 AS answer")
        assert sql("SHOW shared_buffers") == ("128MB",)
        children = descendants(first)
        assert len(children) > 6
        assert run_suite("down", **free_settings)[0] == 0
        assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]
        up(STOA_POSTGRES_BUFFERS="20MB")
        assert sql("SELECT answer FROM auth.kept") == (42,)
        assert sql("SHOW shared_buffers") == ("20MB",)
    finally:
        assert run_suite("down", **free_settings)[0] == 0


DEAF = """
import signal, time
heard = []
signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
print("listening", flush=True)
while len(heard) < 2:
    time.sleep(0.01)
"""


@pytest.fixture
def layout(tmp_path):
    """Of a suite's folder, for parts of one."""
    for folder in OWN:
        os.mkdir(f"{tmp_path}/{folder}")
    return Layout(short_name(str(tmp_path))[0])


@contextlib.contextmanager
def supervised(layout, program, output=None):
    """supervisord's control, once it has started this program alone."""
    write_supervisor(layout, [program])
    supervisor = subprocess.Popen(supervisor_command(layout, REPOSITORY), stdout=output, stderr=output)
    control = Control(layout)
    try:
        wait_until(lambda: control.state() == UP, "supervisord answers")
        control.start(program.name)
        yield control
    finally:
        supervisor.terminate()
        supervisor.wait(90)


def test_who_missed_the_signal_to_stop_gets_it_again(layout, tmp_path):
    """supervisord's child misses it until it has become its program. It is not waited for until it is killed."""
    (tmp_path / "deaf.py").write_text(DEAF)
    deaf = Program("deaf", ["/usr/bin/python3", str(tmp_path / "deaf.py")], stop_seconds=60)
    record = {"stop": stop_phases([deaf]), "signals": {deaf.name: deaf.stop_signal}}
    pathlib.Path(layout.record).write_text(json.dumps(record))
    with supervised(layout, deaf) as control:
        wait_until(lambda: "listening" in pathlib.Path(f"{layout.log}/deaf.log").read_text(), "it runs")
        control.stop_programs()
    assert "killing 'deaf'" not in pathlib.Path(f"{layout.log}/supervisord.log").read_text()


CHATTY = """
import pathlib, sys
for n in range(20000):  # more than a pipe takes that nobody reads
    print("a line", n, flush=True)
pathlib.Path(sys.argv[1]).write_text("all of it was read")
sys.stdin.read()
"""


def test_a_full_disk_does_not_end_what_runs(layout, tmp_path):
    """supervisord loses lines of its programs, and goes on, also when it can say so nowhere."""
    (tmp_path / "chatty.py").write_text(CHATTY)
    for log in ("chatty", "supervisord"):
        os.symlink("/dev/full", f"{layout.log}/{log}.log")
    chatty = Program("chatty", ["/usr/bin/python3", f"{tmp_path}/chatty.py", f"{tmp_path}/read"])
    with open("/dev/full", "w", encoding="ascii") as full, supervised(layout, chatty, full) as control:
        wait_until((tmp_path / "read").exists, "its lines are read")
        assert control.state() == UP


def test_redis_ends_also_when_it_cannot_save(layout):
    write_redis(layout)
    redis = subprocess.Popen(["/usr/bin/redis-server", f"{layout.etc}/redis.conf"], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: subprocess.run(["redis-cli", "-s", f"{layout.sock}/redis.sock", "ping"], capture_output=True).stdout == b"PONG\n",
                   "Redis serves")
        os.mkdir(f"{layout.redis}/dump.rdb")  # which no file can be renamed to
        redis.terminate()
        redis.wait(30)
    finally:
        redis.kill()
        redis.wait()


def descendants(pid):
    """Of a process, all generations."""
    found = [pid]
    for each in found:
        try:
            found += [int(child) for child in open(f"/proc/{each}/task/{each}/children").read().split()]
        except OSError:
            pass
    return found[1:]


def test_nothing_outlives_a_killed_front(own_suite):
    suite = own_suite()
    children = descendants(suite.process.pid)
    assert len(children) > 6
    os.kill(suite.process.pid, signal.SIGKILL)
    wait_until(lambda: not [pid for pid in children if os.path.exists(f"/proc/{pid}")], "all gone", 60)


def test_nothing_begins_for_a_parent_that_has_gone(free_settings, certificate, tmp_path):
    """It goes while the programs are copied, of which its certificate is one: that comes only afterwards."""
    late, output = tmp_path / "late.pem", tmp_path / "output"
    os.mkfifo(late)
    settings = {
        **free_settings, "STOA_OUT": output_folder(), "STOA_HTTPS_PORT": free_ports(1)[0], "STOA_HTTPS_CERTIFICATE": late,
        "STOA_HTTPS_KEY": certificate / "key.pem",
    }
    command = f"{REPOSITORY}/deploy/suite run --with-parent > {output} 2>&1 & echo $!; wait"
    environment = {**clean_environment(), **{name: str(value) for name, value in settings.items()}}
    try:
        with subprocess.Popen(["/bin/sh", "-c", command], env=environment, stdout=subprocess.PIPE, text=True) as parent:
            suite = int(parent.stdout.readline())

            def asked_for():
                try:
                    return open(os.open(late, os.O_WRONLY | os.O_NONBLOCK), "wb")
                except OSError:
                    return None  # nobody reads it

            with wait_until(asked_for, "the certificate is copied") as certificate_copied:
                parent.kill()
                parent.wait()
                certificate_copied.write((certificate / "certificate.pem").read_bytes())
        wait_until(lambda: not os.path.exists(f"/proc/{suite}"), "it ends")
        assert output.read_text() == "Stopping ...\nStopped.\n"
    finally:
        run_suite("down", **free_settings)


def test_path_too_long_for_sockets():
    with Suite(subfolder="long name/" + "x" * 120) as suite:
        assert len(str(suite.run_dir)) > 107
        assert suite.command("status").returncode == 0


def test_failing_service_is_named_with_its_last_words(free_settings):
    status, _, error = run_suite("up", **free_settings, STOA_LOG_LEVEL="loud")
    assert status == 1
    assert "STOA_LOG_LEVEL" in error.splitlines()[-1]
    assert run_suite("status", **free_settings)[0] == 3
