"""deploy/backup and deploy/restore: a suite's cluster restored into another one, as it was at a moment; what is
damaged is found and told, and nothing is overwritten."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import types

import psycopg2
import pytest
import requests
from stoa_contract import GrpcClient, account_maker
from stoa_suite_fixture import REPOSITORY, SERVICES, Suite, clean_environment, output_folder, wait_until
from stoa_suite.stage import account as suite_account
from stoa_suite.stage import as_account

BIN = "/usr/lib/postgresql/15/bin"


def deploy(story, program, *arguments, suite=None, cwd=None, wrapped=(), **settings):
    """deploy/backup or deploy/restore on the story's backups, called in cwd. Returns (exit status, stdout, stderr)."""
    environment = {
        **(suite or story.suite).environment(), "STOA_BACKUP_DIR": str(story.backups),
        **{name: str(value) for name, value in settings.items()}}
    done = subprocess.run([*wrapped, REPOSITORY / "deploy" / program, *map(str, arguments)], env=environment, cwd=cwd,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    return done.returncode, done.stdout, done.stderr


def contents(connection):
    """{table: (rows, their checksum)} of every table of the services."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                       " WHERE schemaname IN ('auth', 'posts', 'chat') ORDER BY 1")
        found = {}
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {table} t")
            found[table] = cursor.fetchone()
    return found


def texts(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT text FROM chat.messages ORDER BY seq")
        return [text for (text,) in cursor.fetchall()]


@contextlib.contextmanager
def served(data, folder):
    """A session with a restored cluster that nothing else is connected to: Postgres alone, no service."""
    sock = folder / "sock"
    sock.mkdir()
    hba = sock / "pg_hba.conf"
    hba.write_text("local all postgres trust\n")
    if os.geteuid() == 0:
        os.chown(sock, suite_account().pw_uid, suite_account().pw_gid)
    # Not the whole environment: of libpq's variables none is to be in the way.
    command = [*as_account(suite_account()), f"{BIN}/postgres", "-D", str(data), "-c", f"hba_file={hba}", "-c", "listen_addresses=",
               "-c", f"unix_socket_directories={sock}", "-p", "5432"]
    with open(folder / "postgres.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", env={"PATH": os.environ["PATH"]})

    def connect():
        assert server.poll() is None, (folder / "postgres.log").read_text()
        try:
            return psycopg2.connect(host=str(sock), user="postgres", dbname="stoa")
        except psycopg2.OperationalError:
            return None

    try:
        with contextlib.closing(wait_until(connect, "the restored cluster answers", 60)) as connection:
            yield connection
    finally:
        server.send_signal(2)
        server.wait(60)
        shutil.rmtree(sock)


@pytest.fixture
def target():
    """A folder for restored clusters, of the account that Postgres runs as."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        data = pathlib.Path(folder) / "restored"
        data.mkdir()
        if os.geteuid() == 0:
            os.chown(data, suite_account().pw_uid, suite_account().pw_gid)
        yield data


@pytest.fixture(scope="module")
def story(contract, unique):
    """A suite with an archive, and what happened: a base backup, the message `before`, the moment, the archive's
    process killed, the message `after`, some segments of WAL."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        backups = pathlib.Path(folder) / "backups"
        with Suite(own_cluster=True, STOA_BACKUP_DIR=backups) as suite:
            call_grpc = GrpcClient(contract, lambda service: suite.grpc(service))
            story = types.SimpleNamespace(suite=suite, backups=backups)
            story.account = account_maker(call_grpc, unique)("ada")

            def call(service, method, **request):
                code, answer = call_grpc(service, method, request, story.account["token"], timeout=60)
                assert code == "OK", answer
                return answer

            article = {"title": "Kept", "description": "About it", "body": "The text.", "tagList": ["one", "two"]}
            call("posts", "CreateArticle", article=article)
            story.room = call("chat", "CreateRoom", room={"name": "A room", "kind": "ROOM_KIND_PUBLIC"})["room"]["id"]
            status, said, error = deploy(story, "backup", "base")
            assert status == 0, error
            story.base = said.split()[1].strip(",")
            call("chat", "SendMessage", room=story.room, message={"text": "before"})

            with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
                connection.autocommit = True

                def ask(sql):
                    cursor.execute(sql)
                    return cursor.fetchone()[0]

                # Nobody writes at the moment.
                suite.supervise("stop", "gateway", *SERVICES)
                story.contents = contents(connection)
                story.moment = ask("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"Z\"')")
                story.place = ask("SELECT pg_current_wal_flush_lsn()")
                suite.supervise("start", *SERVICES, "gateway")
                wait_until(lambda: suite.command("status").returncode == 0, "ready again", 60)
                suite.wait_restarted("archive", suite.kill("archive"))
                call("chat", "SendMessage", room=story.room, message={"text": "after"})
                for number in range(3):
                    ask("SELECT pg_switch_wal()")
                    call("chat", "SendMessage", room=story.room, message={"text": f"later {number}"})
                end = ask("SELECT pg_current_wal_flush_lsn()")
                wait_until(lambda: ask("SELECT coalesce(bool_or(flush_lsn >= %s), false) FROM pg_stat_replication" %
                                       f"'{end}'::pg_lsn"), "the archive has everything", 60)
            yield story


def test_what_happened_until_a_moment_and_nothing_else(story, target):
    """Into the run folder of another suite, as after the loss of a machine."""
    with Suite(own_cluster=True) as second:
        assert second.command("down").returncode == 0
        data = second.run_dir / "postgres/15"
        shutil.rmtree(data)
        status, said, error = deploy(story, "restore", "--to", story.moment, "--password", second.run_dir / "secrets/postgres",
                                     data, suite=second)
        assert status == 0, error
        assert f"Restored {data} as it was at " in said
        with served(data, target.parent) as connection:
            assert contents(connection) == story.contents
            assert texts(connection) == ["before"]

        # With the folder that it came from by mistake it serves, and whoever starts it is told.
        second.may_end("archive")
        up = second.command("up", STOA_BACKUP_DIR=story.backups)
        assert up.returncode == 0, up.stderr
        assert re.search("Archive +does not run: backup: .*before it was restored; set STOA_BACKUP_DIR to a new folder", up.stdout)
        for service in SERVICES:
            environment = {
                **clean_environment(), "STOA_LISTEN": f"unix:{second.socket(service)}", "STOA_DATABASE": "dbname=stoa",
            }
            if service == "auth":
                environment["STOA_AUTH_KEY"] = "/nowhere"
            checked = subprocess.run([output_folder() / "bin" / service, "check"], env=environment, capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
        # What was signed by the lost instance is still good: its public key is in Postgres.

        answer = requests.get(f"{second.http}/api/chat/rooms/{story.room}/messages", timeout=30,
                              headers={"Authorization": f"Token {story.account['token']}"})
        assert answer.status_code == 200, answer.text
        assert [each["text"] for each in answer.json()["messages"]] == ["before"]
        # And the restored cluster's own history is not mixed with what it was restored from.
        status, _, error = deploy(story, "backup", "base", suite=second)
        assert status == 1 and "before it was restored" in error


def test_as_late_as_the_archive_reaches(story, target):
    """With paths as an operator gives them: of the folder that he is in."""
    (target / "password").write_text("another password\n")
    status, said, error = deploy(story, "restore", "--password", "password", "15", cwd=target)
    assert status == 0, error
    assert f"Restored {target}/15: last transaction " in said
    with served(target / "15", target.parent) as connection:
        assert texts(connection) == ["before", "after", "later 0", "later 1", "later 2"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_replication_slots")
            assert cursor.fetchone() == (0,)


def test_nothing_is_overwritten(story, target):
    (target / "15").mkdir()
    (target / "15/kept").write_text("kept")
    status, _, error = deploy(story, "restore", target / "15")
    assert status == 1 and "is there already" in error
    assert (target / "15/kept").read_text() == "kept" and list(target.iterdir()) == [target / "15"]


def test_a_place_that_cannot_be_written_to(story, target):
    for place in (target / "none", "/sys"):
        status, said, error = deploy(story, "restore", f"{place}/15")
        assert status == 1 and f"{place} is not a folder that" in error
        assert not said, "before anything is read"


def test_a_full_disk_is_told_in_a_line_and_nothing_is_left(story, target):
    """Which is 20 MB: a base backup has more."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    script = 'mount -t tmpfs -o size=20m,uid="$1" tmpfs "$2" && shift 2 && "$@"; status=$?; ls -A "$(dirname "${@: -1}")"; exit $status'
    wrapped = ["unshare", "--mount", "bash", "-c", script, "bash", str(suite_account().pw_uid), str(target)]
    status, said, error = deploy(story, "restore", target / "15", wrapped=wrapped)
    assert status == 1
    assert len(error.splitlines()) == 1 and "No space left on device" in error
    assert said.splitlines()[1:] == []


@pytest.mark.parametrize("to, words", [
    ("2020-01-01 00:00:00Z", "no base backup in .* was complete at 2020-01-01"),
    ("2100-01-01 00:00:00Z", "the archive ends before 2100-01-01"),
    ("2026-01-01 00:00:00", "set a time with its zone"),
    ("2026-13-01 00:00:00Z", "set a time with its zone"),
    ("yesterday'; SELECT", "set a time with its zone"),
])
def test_a_moment_that_cannot_be_restored(story, target, to, words):
    status, _, error = deploy(story, "restore", "--to", to, target / "15")
    assert status == 1
    assert re.search(words, error), error
    assert not list(target.iterdir())


def test_what_is_whole_is_found_whole(story):
    status, said, error = deploy(story, "backup", "verify")
    assert status == 0 and "No damage in 1 base backup and" in said, error


def flip(path, offset):
    """Changes one byte; the same again changes it back."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x20]))


@contextlib.contextmanager
def moved_away(path):
    path.rename(path.with_name("away"))
    yield
    path.with_name("away").rename(path)


@contextlib.contextmanager
def flipped(path, offset):
    flip(path, offset)
    yield
    flip(path, offset)


def damages(story):
    """name: (a context in which the backups are damaged, what is said of it)"""
    base = pathlib.Path(story.base)
    first, second = sorted(path for path in (story.backups / "wal").iterdir() if len(path.name) == 24)[:2]
    # A place that certainly holds a record: the last one before the moment, and not what fills it up to 8 bytes.
    high, low = (int(part, 16) for part in story.place.split("/"))
    at_the_moment = story.backups / "wal" / f"00000001{high:08X}{low >> 24:08X}"
    offset = low % (1 << 24) - 16
    table = max(base.glob("base/*/*"), key=lambda path: path.stat().st_size)
    return {
        "a segment in the middle is missing": (moved_away(second), f"{second.name} is missing"),
        "the first segment is missing": (moved_away(first), f"{first.name} is missing"),
        "a byte of WAL is another": (flipped(at_the_moment, offset), f"{at_the_moment.name} is damaged at byte"),
        "a byte of a table is another": (flipped(table, 5000), table.name),
        "a file of the base backup is missing": (moved_away(base / "global/pg_control"), "global/pg_control"),
        "a byte of the manifest is another": (flipped(base / "backup_manifest", 200), "manifest"),
    }


@pytest.mark.parametrize("name", (
    "a segment in the middle is missing", "the first segment is missing", "a byte of WAL is another",
    "a byte of a table is another", "a file of the base backup is missing", "a byte of the manifest is another"))
def test_damage_is_found_and_told(story, target, name):
    damage, words = damages(story)[name]
    with damage:
        for program, arguments in (("backup", ["verify"]), ("restore", [target / "15"])):
            status, said, error = deploy(story, program, *arguments)
            assert status == 1, said
            assert words in error, error
    assert not list(target.iterdir())


def test_it_is_the_owners_alone(story):
    for folder, _, files in os.walk(story.backups):
        for name in (".", *files):
            path = os.path.join(folder, name)
            assert os.lstat(path).st_uid == suite_account().pw_uid
            assert stat.S_IMODE(os.lstat(path).st_mode) & 0o077 == 0, path


def test_the_role_of_backups_can_do_nothing_else(story):
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(**story.suite.database("stoa_backup"))
    with contextlib.closing(psycopg2.connect(**story.suite.database())) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolreplication AND NOT rolsuper")
        assert cursor.fetchall() == [("stoa_backup",)]
        cursor.execute("SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = 'stoa_backup'")
        assert cursor.fetchone() == (False,) * 4
        cursor.execute("SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = 'stoa_backup'")
        assert cursor.fetchone() == (0,)
    arguments = pathlib.Path(f"/proc/{story.suite.pid('archive')}/cmdline").read_bytes()
    assert (story.suite.run_dir / "secrets/backup").read_bytes().strip() not in arguments


def test_a_service_cannot_read_the_wal(story):
    for service in SERVICES:
        with pytest.raises(psycopg2.OperationalError, match="no pg_hba.conf entry for replication"):
            psycopg2.connect(**story.suite.database(f"stoa_{service}"), replication="true")


def test_as_many_as_wanted_are_kept_and_the_wal_that_they_need(story):
    """The last of the story: the base backup that the others used goes."""
    before = {path.name for path in (story.backups / "wal").iterdir()}
    status, said, error = deploy(story, "backup", "base", STOA_BACKUP_KEEP=1)
    assert status == 0, error
    (base,) = (story.backups / "base").iterdir()
    assert str(base) != story.base and f"Removed {story.base}" in said
    after = {path.name for path in (story.backups / "wal").iterdir()}
    assert len(before - after) >= 4
    status, said, error = deploy(story, "backup", "verify")
    assert status == 0 and "No damage in 1 base backup and" in said, error
    assert base.name in deploy(story, "backup", "list")[1]


POSTGRES_OF_A_TEST = {
    "psql": """#!/bin/sh
case $* in *IDENTIFY*) echo '1|1|0/0|' ;; *) echo 'physical|0/1|1' ;; esac
""",
    # The first signal is missed, as by what has been forked and is no program of its own yet.
    "pg_receivewal": """#!/bin/bash
[[ " $* " != *" --create-slot "* ]] || exit 0
trap 'trap - TERM; : >"$STOA_BACKUP_DIR/missed"' TERM
: >"$STOA_BACKUP_DIR/begun"
while :; do sleep 0.1; done
"""}


def test_the_archive_ends_though_its_receiver_misses_a_signal(target):
    """Begun by a script in the background, which ignores INT for good."""
    folder = target.parent / "bin"
    folder.mkdir()
    for name, text in POSTGRES_OF_A_TEST.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {**os.environ, "STOA_BACKUP_DIR": str(target), "STOA_POSTGRES_BIN": str(folder), "PGHOST": str(target)}
    archive = subprocess.Popen([REPOSITORY / "deploy/backup", "archive"], env=environment, stdin=subprocess.DEVNULL,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        wait_until((target / "begun").exists, "it receives", 60)
        archive.terminate()
        assert archive.wait(60) == 0
        assert (target / "missed").exists()
    finally:
        archive.kill()  # what it began dies with it


def test_a_gap_is_told_and_a_new_folder_begins_anew(story):
    """The archive was away for longer than Postgres keeps WAL for it."""
    supervise = ["supervisorctl", "-c", story.suite.run_dir / "etc/supervisord.conf"]
    with contextlib.closing(psycopg2.connect(**story.suite.database())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        story.suite.supervise("stop", "archive")
        cursor.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        cursor.execute("SELECT pg_reload_conf()")

        def is_lost():
            cursor.execute("CREATE TABLE IF NOT EXISTS public.filler (x int); INSERT INTO public.filler VALUES (1)")
            cursor.execute("SELECT pg_switch_wal()")
            cursor.execute("CHECKPOINT")
            cursor.execute("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'stoa_archive'")
            return cursor.fetchone() == ("lost",)

        wait_until(is_lost, "the slot is lost", 60)
        subprocess.run([*supervise, "start", "archive"], capture_output=True, timeout=60)
        wait_until(lambda: "Postgres has dropped WAL that is not in" in story.suite.log("archive"), "the log says so")
        story.suite.supervise("stop", "archive")
        cursor.execute("DROP TABLE public.filler")
        cursor.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        cursor.execute("SELECT pg_reload_conf()")

        other = story.backups.with_name("backups-2")
        other.mkdir(0o700)
        if os.geteuid() == 0:
            os.chown(other, suite_account().pw_uid, suite_account().pw_gid)
        environment = {**story.suite.environment(), "STOA_BACKUP_DIR": str(other)}
        with open(story.backups.with_name("archive-2.log"), "wb") as log:
            archive = subprocess.Popen([REPOSITORY / "deploy/backup", "archive"], env=environment, stdout=log, stderr=log)
        try:
            status, said, error = deploy(story, "backup", "base", STOA_BACKUP_DIR=other)
            assert status == 0, error + story.backups.with_name("archive-2.log").read_text()
        finally:
            archive.terminate()
            archive.wait(60)
    status, said, error = deploy(story, "backup", "verify", STOA_BACKUP_DIR=other)
    assert status == 0 and "No damage in 1 base backup and" in said, error
