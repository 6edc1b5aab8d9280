"""`stoa` as a client of the suite: what it does, what it says, its exit status, and what it keeps."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import tempfile
import threading

import grpc
import psycopg2
import pytest
from cli_fixture import Cli, IO_FAULTS, STOA, Tail, Terminal
from cli_fixture import cli, hostile, room, signed_in, strict_suite  # noqa: F401: fixtures
from gateway_fixture import details, FakeService, Messages
from stoa_suite_fixture import free_ports, output_folder, Suite, wait_until

STOA_FOLDER = STOA.parent
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# ---- accounts ----

def test_account(cli, unique):
    name = unique("ada")
    email = f"{name}@example.com"
    assert cli.say("register", name, email, stdin="correct horse battery\n") == f"Signed in as {name}.\n"
    assert cli.say("whoami") == f"{name}\n"
    assert cli.say("whoami", "-o", "table") == f"{name}, {email}\n"
    assert cli.json("whoami") == {"username": name, "email": email, "bio": "", "image": ""}
    session, = cli.json("sessions")["sessions"]
    assert session["current"] and session["device"].startswith("stoa/")

    assert cli.say("logout") == "Signed out.\n"
    assert "stoa login" in cli.fail(3, "whoami")
    assert json.loads(cli.logins.read_text()) == []
    assert "nobody is signed in" in cli.fail(3, "logout")

    # What is not said is asked for; of standard input each takes a line.
    assert cli.say("login", stdin=f"{email}\ncorrect horse battery\n") == f"Signed in as {name}.\n"


def test_tokens_are_the_owners(cli, new_account):
    account = new_account()
    os.umask(0)
    try:
        cli.login(account)
    finally:
        os.umask(0o022)
    assert stat.S_IMODE(cli.logins.stat().st_mode) == 0o600
    assert stat.S_IMODE(cli.logins.parent.stat().st_mode) == 0o700
    cli.logins.chmod(0o644)
    assert "chmod 600" in cli.fail(10, "whoami")
    cli.logins.chmod(0o600)
    cli.logins.write_text("{")
    assert "sign in again" in cli.fail(10, "whoami")


def test_wrong_password(cli, new_account):
    account = new_account()
    assert "password is wrong" in cli.fail(3, "login", account["email"], stdin="wrong horse battery\n")
    assert not cli.logins.exists()


def test_password_is_typed_blind(cli, new_account):
    account = new_account()
    terminal = Terminal(cli, "login", account["email"])
    terminal.until("Password: ")
    with open(f"/proc/{terminal.pid}/cmdline", "rb") as f:
        assert account["password"].encode() not in f.read()
    terminal.send(account["password"] + "\n")
    terminal.until("Signed in as")
    assert terminal.end() == 0
    assert account["password"] not in terminal.seen

    # Interrupted, the terminal shows again what is typed.
    script = f"{cli.home}/script"
    with open(script, "w") as f:
        f.write("#!/bin/sh\ntrap : INT\nstoa login x@example.com\nstty -a\n")
    os.chmod(script, 0o755)
    pid, master = os.forkpty()
    if not pid:
        environment = cli.environment(TERM="xterm")
        environment["PATH"] = f"{STOA_FOLDER}:{environment['PATH']}"
        os.execve("/bin/sh", ["sh", script], environment)
    seen = b""
    while b"Password: " not in seen:
        seen += os.read(master, 4096)
    os.write(master, b"\x03")
    while not re.search(rb"-?\becho\b", seen):
        seen += os.read(master, 4096)
    assert re.search(rb" echo\b", seen), seen
    os.waitpid(pid, 0)
    os.close(master)


def test_two_passwords_must_be_the_same(cli, unique):
    name = unique("twice")
    terminal = Terminal(cli, "register", name, f"{name}@example.com")
    terminal.until("Password: ")
    terminal.send("correct horse battery\n")
    terminal.until("again: ")
    terminal.send("correct horse buttery\n")
    assert terminal.end() == 6
    assert "two different passwords" in terminal.seen


def test_expired_token_is_renewed_silently(signed_in):
    before, = json.loads(signed_in.logins.read_text())
    signed_in.change_login(expiresAt=1)
    assert signed_in.say("whoami") == f"{signed_in.account['username']}\n"
    after, = json.loads(signed_in.logins.read_text())
    assert after["refreshToken"] != before["refreshToken"] and after["expiresAt"] > 1
    # One that only the service knows to be bad is renewed as well.
    signed_in.change_login(accessToken="x.y.z")
    assert signed_in.say("whoami") == f"{signed_in.account['username']}\n"


def test_many_at_once_use_no_refresh_token_twice(strict_suite, tmp_path):
    """Two calls with the same refresh token would get the same successor, so there would be fewer of them."""
    suite = strict_suite
    cli = Cli(tmp_path, suite)
    cli.say("register", "ada", "ada@example.com", stdin="correct horse battery\n")
    with contextlib.closing(psycopg2.connect(**suite.database())) as database, database.cursor() as cursor:
        database.autocommit = True
        cursor.execute("""
            CREATE TABLE public.rotations (n serial);
            CREATE FUNCTION public.rotated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                'BEGIN INSERT INTO public.rotations DEFAULT VALUES; RETURN NULL; END';
            CREATE TRIGGER rotated AFTER UPDATE ON auth.sessions FOR EACH ROW
                WHEN (OLD.rotated_at IS DISTINCT FROM NEW.rotated_at) EXECUTE FUNCTION public.rotated();
        """)
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            said = list(threads.map(lambda _: cli.say("whoami"), range(24)))
        assert said == ["ada\n"] * 24
        cursor.execute("SELECT count(*) FROM public.rotations")
        assert cursor.fetchone() == (24,)
    # A session that has ended is said to have, and forgotten.
    other = Cli(tmp_path / "other", suite)
    other.say("login", "ada@example.com", stdin="correct horse battery\n")
    other.say("sessions", "end-others")
    assert "has ended: sign in again" in cli.fail(3, "whoami")
    assert "nobody is signed in" in cli.fail(3, "whoami")
    assert other.say("whoami") == "ada\n"
    # Nobody may try as often as they like.
    other.fail(3, "login", "ada@example.com", stdin="wrong horse battery\n")
    assert re.search(r"try again in \d+ s", other.fail(8, "login", "ada@example.com", stdin="wrong horse battery\n"))


def test_revoked_session(signed_in, sign_in, call_grpc, tmp_path, suite):
    other = sign_in(signed_in.account)
    sessions = signed_in.json("sessions")["sessions"]
    assert len(sessions) == 3  # of the sign-up, of the command line, and this one
    signed_in.say("sessions", "end", other["session"])
    code, _ = call_grpc("auth", "GetCurrentUser", {}, other["token"])
    assert code == "UNAUTHENTICATED"
    again = Cli(tmp_path / "again", suite).login(signed_in.account)
    again.say("sessions", "end-others")
    assert len(again.json("sessions")["sessions"]) == 1
    assert "has ended" in signed_in.fail(3, "whoami")


def test_a_token_goes_nowhere_else(signed_in):
    """With another address it is as if nobody were signed in, whoever listens there."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: heard.append(server.accept()[0].recv(65536)))
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert "nobody is signed in" in signed_in.fail(3, "feed", "--posts-address", address)
        assert not heard
        signed_in.fail(9, "post", "list", "--posts-address", address, "--timeout", "1")
        thread.join(30)
    assert heard and b"earer" not in heard[0]


# ---- the disk ----

def faults(**settings):
    options = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
    return {"LD_PRELOAD": str(IO_FAULTS), "ASAN_OPTIONS": options,
            **{f"STOA_IO_{key.upper()}": str(value) for key, value in settings.items()}}


def steps_of(cli, *words, **kwargs):
    cli.say(*words, env=faults(step=0, count=cli.home / "count"), **kwargs)
    return int((cli.home / "count").read_text())


def test_full_disk_while_signing_in(tmp_path, suite, new_account):
    account = new_account()
    password = account["password"] + "\n"
    steps = steps_of(Cli(tmp_path / "whole", suite), "login", account["email"], stdin=password)
    assert steps >= 4
    for i in range(1, steps + 1):
        cli = Cli(tmp_path / f"home{i}", suite)
        done = cli.run("login", account["email"], stdin=password, env=faults(step=i, fault="ENOSPC"))
        if done.returncode:
            assert done.returncode == 10 and done.stderr.count(b"\n") == 1, (i, done)
            assert b"No space left on device" in done.stderr
        else:
            json.loads(cli.logins.read_text())
    assert cli.login(account).say("whoami") == account["username"] + "\n"


def test_full_disk_while_renewing(tmp_path, suite, new_account):
    """It fails before anything is asked of the service: so the session goes on when there is room again."""
    account = new_account()
    cli = Cli(tmp_path, suite).login(account)
    cli.change_login(expiresAt=1)
    steps = steps_of(cli, "whoami")
    assert steps >= 8
    for i in range(1, steps + 1):
        cli.change_login(expiresAt=1)
        before, = json.loads(cli.logins.read_text())
        done = cli.run("whoami", env=faults(step=i, fault="ENOSPC"))
        after, = json.loads(cli.logins.read_text())
        if i <= steps // 2:
            assert done.returncode == 10 and b"No space left on device" in done.stderr, (i, done)
            assert after["refreshToken"] == before["refreshToken"]
        assert cli.say("whoami") == account["username"] + "\n", i


# ---- services that are not there, or not yet ----

class Refusing(FakeService):
    """An auth and posts that refuse the first calls: each of them to be tried again after so many seconds."""

    def __init__(self, path, code, seconds, times):
        messages = Messages(output_folder().parent / "api.binpb")
        retry = messages.new("google.rpc.RetryInfo")
        retry.retry_delay.FromMilliseconds(round(seconds * 1000))
        user = messages.new("stoa.auth.v1.User", username="ada", email="ada@example.com", token="x.y.z")
        answers = {"/stoa.auth.v1.AuthService/Login": messages.new("stoa.auth.v1.LoginResponse", user=user, refresh_token="r"),
                   "/stoa.posts.v1.ArticleService/ListArticles": messages.new("stoa.posts.v1.ListArticlesResponse")}

        def answer_of(path):
            def answer(_request, context):
                if len(self.calls) <= times:
                    context.set_trailing_metadata(details(messages, code, "too many at once", retry))
                    context.abort(code, "too many at once")
                return answers[path]

            return answer

        super().__init__(messages, path)
        self.answers.update({path: answer_of(path) for path in answers})


@pytest.fixture
def refusing(tmp_path):
    """refusing(code, seconds, times): a Refusing, and a Cli of it."""
    started = []

    def start(code, seconds, times):
        path = tmp_path / f"{len(started)}.sock"
        started.append(Refusing(str(path), code, seconds, times))
        return started[-1], Cli(tmp_path / f"of{len(started)}", STOA_AUTH_ADDRESS=f"unix:{path}",
                                STOA_POSTS_ADDRESS=f"unix:{path}")

    yield start
    for each in started:
        each.stop()


def test_waits_as_long_as_it_is_told(refusing):
    """What is refused before anything was done for it is sent again when the service said, by itself."""
    password = {"stdin": "password123\n"}
    service, cli = refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, .01, 3)
    assert cli.say("login", "ada@example.com", **password) == "Signed in as ada.\n"
    assert len(service.calls) == 4
    # On a terminal it is said, once.
    service, cli = refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, .01, 3)
    terminal = Terminal(cli, "login", "ada@example.com")
    terminal.until("Password: ")
    terminal.send("password123\n")
    assert terminal.end() == 0 and terminal.seen.count("too many at once; trying again for 10 s") == 1, terminal.seen
    # Not when it would take longer than one waits for an answer.
    service, cli = refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, 2, 1)
    assert "too many at once: try again in 2 s" in cli.fail(8, "login", "ada@example.com", "--timeout", "1", **password)
    assert len(service.calls) == 1
    # A database that restarts: what may be sent twice is; of anything else nobody knows what was done.
    service, cli = refusing(grpc.StatusCode.UNAVAILABLE, .01, 5)
    assert cli.say("post", "list") == ""
    assert len(service.calls) == 6
    service, cli = refusing(grpc.StatusCode.UNAVAILABLE, .01, 1)
    assert "cannot answer now (too many at once)" in cli.fail(9, "login", "ada@example.com", **password)
    assert len(service.calls) == 1


def test_no_service(tmp_path):
    port, = free_ports(1)
    cli = Cli(tmp_path, STOA_POSTS_ADDRESS=f"127.0.0.1:{port}")
    line = cli.fail(9, "post", "list")
    assert "Connection refused" in line and f"127.0.0.1:{port}" in line and "--posts-address" in line


def test_no_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        cli = Cli(tmp_path, STOA_POSTS_ADDRESS=f"127.0.0.1:{server.getsockname()[1]}")
        assert "--timeout" in cli.fail(9, "post", "list", "--timeout", "1")


def test_status(cli):
    rows = cli.json("status")
    assert [row["service"] for row in rows] == ["auth", "posts", "chat"]
    for row in rows:
        assert row["state"] == "serving" and row["version"] == "1.0" and 0 < row["latencyMs"] < 60000
    assert [line.split("\t")[:2] for line in cli.say("status").splitlines()] == [
        [name, "serving"] for name in ("auth", "posts", "chat")]
    port, = free_ports(1)
    done = cli.run("status", "--chat-address", f"127.0.0.1:{port}")
    assert done.returncode == 9 and b"auth\tserving" in done.stdout and b"chat\tunreachable" in done.stdout
    assert b"cannot reach chat" in done.stderr


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Certificates:
    """Two authorities, and a certificate for localhost of the first one, in files that the services can read."""

    def __init__(self, folder):
        self.folder = folder
        self.authority, self.stranger, self.chain, self.key = (
            folder / name for name in ("authority.pem", "stranger.pem", "chain.pem", "key.pem"))
        self.request = folder / "request.pem"
        for name in (self.authority, self.stranger):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    f"/CN={name.stem}", "-keyout", name.with_suffix(".key"), "-out", name)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost", "-keyout", self.key, "-out", self.request)
        self.key.chmod(0o644)
        self.sign(2)

    def sign(self, days):
        openssl("x509", "-req", "-in", self.request, "-CA", self.authority, "-CAkey", self.authority.with_suffix(".key"),
                "-copy_extensions", "copyall", "-days", str(days), "-out", self.chain)


@pytest.fixture(scope="module")
def tls_suite():
    """A suite whose services speak TLS; not in pytest's own folder, which is closed to others."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        certificates = Certificates(folder)
        with Suite(STOA_TLS_CERTIFICATE=certificates.chain, STOA_TLS_KEY=certificates.key) as started:
            started.certificates = certificates
            yield started


@pytest.fixture
def over_tls(tls_suite, tmp_path):
    """A Cli that asks by the name that the certificate is for."""
    addresses = {f"STOA_{service.upper()}_ADDRESS": tls_suite.grpc_address(service).replace("127.0.0.1", "localhost")
                 for service in ("auth", "posts", "chat")}
    return Cli(tmp_path, STOA_TLS="on", STOA_CA_FILE=tls_suite.certificates.authority, **addresses)


def test_tls(over_tls, unique, tmp_path):
    """All of it encrypted, a stream that lives as well."""
    cli, name = over_tls, unique("tls")
    assert [line.split("\t")[:2] for line in cli.say("status").splitlines()] == [
        ["auth", "serving"], ["posts", "serving"], ["chat", "serving"]]
    cli.say("register", name, f"{name}@example.com", stdin="password123\n")
    assert name in cli.say("whoami")
    slug = cli.json("post", "new", "-F", "-", "--publish", stdin=HELLO.format(name))["article"]["slug"]
    assert f"Hello, {name}" in cli.say("post", "show", slug)
    other, other_name = Cli(tmp_path / "other", **cli.settings), unique("tls")
    other.say("register", other_name, f"{other_name}@example.com", stdin="password123\n")
    assert cli.say("chat", "send", f"@{other_name}", "hello") == "1\n"
    tail = Tail(cli, f"@{other_name}")
    try:
        tail.wait_for(1)
        other.say("chat", "send", f"@{name}", "live")
        assert [row[3] for row in tail.wait_for(2)] == ["hello", "live"]
    finally:
        tail.stop()
    line = cli.fail(9, "post", "list", "--no-tls")
    assert "cannot reach posts" in line and "--tls is for one with TLS" in line


CALLS = {"auth": ("login", "ada@example.com"), "posts": ("post", "list")}


@pytest.mark.parametrize("service, words", CALLS.items(), ids=CALLS)
def test_certificates_that_are_refused(over_tls, tls_suite, service, words):
    """In one line that says which cure helps, before a password is sent."""
    certificates, tried = tls_suite.certificates, {"stdin": "password123\n"}
    line = over_tls.fail(9, *words, "--ca-file", certificates.stranger, **tried)
    assert "not trusted (" in line and "--ca-file" in line
    address = tls_suite.grpc_address(service)
    line = over_tls.fail(9, *words, f"--{service}-address", address, **tried)
    assert f"{service} at {address} shows a certificate for another name: --{service}-address" in line
    try:
        certificates.sign(-1)
        tls_suite.supervise("restart", service)
        assert "shows a certificate that has expired" in over_tls.fail(9, *words, **tried)
    finally:
        certificates.sign(2)
        tls_suite.supervise("restart", service)


def test_tls_with_a_service_in_the_clear(cli):
    assert "no TLS" in cli.fail(9, "post", "list", "--tls")
    assert "cannot read /nowhere" in cli.fail(10, "post", "list", "--tls", "--ca-file", "/nowhere")


# ---- articles ----

HELLO = "title: Hello, {0}\ndescription: About {0}\ntags: intro, {0}\n\n# Head\n\nSome *text*.\n"


def test_post_life(signed_in, unique):
    cli, word = signed_in, unique("post")
    text = HELLO.format(word)
    draft = cli.say("post", "new", "-F", "-", stdin=text).strip()
    assert re.fullmatch(r"draft/\d+", draft)
    assert cli.say("post", "show", draft) == text
    assert cli.say("post", "list", "--drafts").split("\t")[0] == draft
    assert cli.say("post", "edit", draft, stdin=text.replace("Some", "Other")) == draft + "\n"
    slug = cli.say("post", "publish", draft).strip()
    assert cli.say("post", "show", slug) == text.replace("Some", "Other")
    assert "draft not found: `stoa post list --drafts' tells" in cli.fail(5, "post", "show", draft)

    # What a document says is what the article is: tags that are gone are gone.
    assert cli.say("post", "edit", slug, "-F", "-", stdin=f"title: Hello, {word}\ndescription: x\ntags:\n\nbody\n") == slug + "\n"
    article = cli.json("post", "show", slug)["article"]
    assert (article["description"], article["tagList"], article["body"]) == ("x", [], "body")
    assert cli.say("post", "edit", slug, stdin=cli.say("post", "show", slug)) == "Nothing is changed.\n"

    assert [a["slug"] for a in cli.json("post", "list", "-a", cli.account["username"])["articles"]] == [slug]
    wait_until(lambda: slug in cli.say("post", "search", word), "the search finds it")
    assert word in cli.say("post", "search", word, "-o", "table")

    assert "--yes" in cli.fail(2, "post", "delete", slug)
    assert cli.say("post", "delete", "-y", slug) == f"Deleted {slug}.\n"
    cli.fail(5, "post", "show", slug)


def test_publish_at_once(signed_in, unique):
    slug = signed_in.say("post", "new", "--publish", stdin=HELLO.format(unique("now"))).strip()
    assert signed_in.json("post", "show", slug)["article"]["author"]["username"] == signed_in.account["username"]


def test_pages(signed_in, publish):
    for _ in range(3):
        publish(signed_in.account)
    name = signed_in.account["username"]
    first = signed_in.json("post", "list", "-a", name, "-n", "2")
    second = signed_in.json("post", "list", "-a", name, "-n", "2", "--page", first["nextPageToken"])
    assert len({a["slug"] for a in first["articles"] + second["articles"]}) == 3
    assert "--page " + first["nextPageToken"] in signed_in.say("post", "list", "-a", name, "-n", "2", "-o", "table")


def test_editor(signed_in, unique):
    """The text goes through $EDITOR; a key that makes a resend harmless; what cannot be sent is kept."""
    cli, word = signed_in, unique("edited")
    write = cli.editor(f"cat >\"$1\" <<'END'\n{HELLO.format(word)}END")
    terminal = Terminal(cli, "post", "new", "--publish", **write)
    assert terminal.end() == 0 and "Saved hello-" in terminal.seen
    assert cli.kept() == []

    # Nothing written, an editor that fails.
    terminal = Terminal(cli, "post", "new", **cli.editor(":"))
    assert terminal.end() == 1 and "nothing was written" in terminal.seen
    terminal = Terminal(cli, "post", "new", **cli.editor("exit 3"))
    assert terminal.end() == 10 and "nothing was changed" in terminal.seen
    assert cli.kept() == []
    draft = cli.say("post", "new", stdin=HELLO.format(word)).strip()
    terminal = Terminal(cli, "post", "edit", draft, **cli.editor(":"))
    assert terminal.end() == 0 and terminal.seen == "Nothing is changed.\r\n"
    assert cli.kept() == []

    # Refused by a rule, and a head that is none: what was written is there.
    terminal = Terminal(cli, "post", "new", "--publish", **cli.editor('printf "title: x\\n\\nbody" >"$1"'))
    assert terminal.end() == 6 and "article.description" in terminal.seen
    kept, = cli.kept()
    assert kept.read_text() == "title: x\n\nbody" and kept.name in terminal.seen
    kept.unlink()
    terminal = Terminal(cli, "post", "new", **cli.editor('echo "no head" >"$1"'))
    assert terminal.end() == 6 and "line 1" in terminal.seen
    kept, = cli.kept()
    assert kept.read_text() == "no head\n"


def test_resend_after_no_answer(signed_in, unique):
    """Nobody knows whether it was published: with the key that is kept, it is so once."""
    cli, word = signed_in, unique("once")
    port, = free_ports(1)
    elsewhere = {"STOA_POSTS_ADDRESS": f"127.0.0.1:{port}"}
    cli.say("login", cli.account["email"], stdin=cli.account["password"] + "\n", env=elsewhere)
    line = cli.fail(9, "post", "new", "--publish", stdin=HELLO.format(word), env=elsewhere)
    kept, = cli.kept()
    assert str(kept) in line and "\nkey: " in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    first = cli.say("post", "new", "--publish", "-F", str(kept))
    assert cli.say("post", "new", "--publish", "-F", str(kept)) == first
    assert len(cli.json("post", "list", "-t", word)["articles"]) == 1


def test_conflict(signed_in, publish, call_grpc):
    cli = signed_in
    slug = publish(cli.account, title="Conflict", description="d", tagList=[], body="one")["slug"]
    token = cli.account["token"]

    def change(body):
        code, _ = call_grpc("posts", "UpdateArticle", {"slug": slug, "article": {"body": body}}, token)
        assert code == "OK"

    # Somebody changes it while the editor is open.
    go, wait = cli.home / "go", cli.home / "waiting"
    script = f'touch {wait}; while [ ! -e {go} ]; do sleep 0.05; done; sed -i s/one/mine/ "$1"'
    terminal = Terminal(cli, "post", "edit", slug, **cli.editor(script))
    wait_until(wait.exists, "the editor is open", 30)
    change("theirs")
    go.touch()
    assert terminal.end() == 7
    assert "theirs" in terminal.seen and "mine" in terminal.seen and "changed meanwhile" in terminal.seen
    kept, = cli.kept()
    assert "mine" in kept.read_text() and "\netag: " in kept.read_text()
    assert cli.json("post", "show", slug)["article"]["body"] == "theirs"

    # Changed once more before it is sent again: still nothing is lost.
    change("theirs again")
    done = cli.run("post", "edit", slug, "-F", str(kept))
    assert done.returncode == 7 and b"theirs again" in done.stdout and b"mine" in done.stdout
    newest = max(cli.kept(), key=lambda path: path.stat().st_mtime_ns)
    assert newest != kept
    assert cli.say("post", "edit", slug, "-F", str(newest)) == slug + "\n"
    assert cli.json("post", "show", slug)["article"]["body"] == "mine"


def test_comments(signed_in, publish, new_account):
    cli = signed_in
    slug = publish(cli.account)["slug"]
    number = cli.say("comment", "add", slug, "I could", "not agree more.").strip()
    assert cli.say("comment", "add", slug, stdin="From *standard* input\n").strip().isdigit()
    lines = [line.split("\t") for line in cli.say("comment", "list", slug).splitlines()]
    assert [line[3] for line in lines] == ["From *standard* input", "I could not agree more."]
    assert lines[1][:2] == [number, cli.account["username"]]
    assert cli.say("comment", "delete", slug, number) == f"Deleted comment {number}.\n"
    assert len(cli.json("comment", "list", slug)["comments"]) == 1
    assert "article not found: `stoa post list' and `search' tell" in cli.fail(5, "comment", "add", "no-such-article", stdin="precious\n")
    kept, = cli.kept()
    assert kept.read_text() == "precious\n"


def test_people(signed_in, new_account, publish):
    other = new_account("other")
    article = publish(other)
    name = other["username"]
    assert signed_in.say("feed") == ""
    assert signed_in.say("follow", name) == f"You follow {name}.\n"
    assert signed_in.say("feed").split("\t")[0] == article["slug"]
    assert signed_in.say("unfollow", name) == f"You do not follow {name}.\n"
    assert signed_in.say("feed") == ""


# ---- output ----

def test_hostile_text(signed_in, publish, hostile, room, call_grpc):
    """Whatever others have got into the database: no control character comes out, in any output."""
    cli, evil = signed_in, "x\x1b]0;owned\x07\x1b[2J\x9b2J\u202eabc\x7f\r\b"
    slug = publish(cli.account, body="see below")["slug"]
    for column in ("title", "description", "body"):
        hostile("posts.articles", column, "slug", slug, evil)
    number = int(cli.say("comment", "add", slug, "hello"))
    hostile("posts.comments", "body", "id", number, evil)
    cli.say("chat", "send", room["id"], "hello")
    hostile("chat.messages", "text", "room_id", room["id"], evil)
    hostile("chat.rooms", "name", "id", room["id"], evil)
    for words in (("post", "show", slug), ("post", "list", "-a", cli.account["username"]), ("comment", "list", slug),
                  ("chat", "rooms"), ("chat", "history", room["id"])):
        for output in ("table", "plain", "json"):
            said = cli.say(*words, "-o", output)
            assert "owned" in said
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said), (words, output, said)
            if output == "json":
                assert json.dumps(evil)[1:-1] in json.dumps(json.loads(said))
        terminal = Terminal(cli, *words, columns=300)
        assert terminal.end() == 0
        plain = ESCAPE.sub("", terminal.seen.replace("\r\n", "\n"))
        assert "owned" in plain and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", plain), (words, plain)


def test_colours(signed_in, publish):
    slug = publish(signed_in.account, body="**bold**")["slug"]
    for env, colours in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        terminal = Terminal(signed_in, "post", "show", slug, **env)
        assert terminal.end() == 0
        assert ("\x1b[" in terminal.seen) == colours, terminal.seen
        assert "bold" in terminal.seen
    assert "\x1b" not in signed_in.say("post", "show", slug, "-o", "table")


def test_columns(signed_in, publish):
    """CJK and emoji take two columns; what is too wide for the terminal is cut."""
    titles = ["plain and quite long so that it has to be cut somewhere", "漢字" * 20, "\U0001f389" * 20]
    for title in titles:
        publish(signed_in.account, title=title)
    terminal = Terminal(signed_in, "post", "list", "-a", signed_in.account["username"], columns=90, NO_COLOR="1")
    assert terminal.end() == 0
    lines = terminal.seen.replace("\r\n", "\n").rstrip("\n").split("\n")
    assert len(lines) == 4

    def width(text):
        return sum(2 if ord(c) >= 0x1100 and c != "\u2026" else 1 for c in text)

    start = lines[0].index("TITLE")
    for line in lines[1:]:
        assert width(line) <= 90 and "\u2026" in line
        columns, at = 0, 0
        while columns < start:
            columns += width(line[at])
            at += 1
        assert columns == start and line[at - 1] == " " and line[at] != " ", line


def test_pager(signed_in, publish):
    slug = publish(signed_in.account, body="\n\n".join(f"line {i}" for i in range(100)))["slug"]
    terminal = Terminal(signed_in, "post", "show", slug, PAGER="sed s/^/PAGED:/")
    assert terminal.end() == 0
    assert "PAGED:line 99" in terminal.seen


def test_gone_reader(signed_in):
    script = f"{STOA_FOLDER}/stoa post list --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], env=signed_in.environment(), capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


# ---- settings and exit statuses ----

def test_configuration_file(tmp_path, suite):
    cli = Cli(tmp_path)
    folder = tmp_path / ".config/stoa"
    folder.mkdir(parents=True)
    port, = free_ports(1)
    (folder / "config").write_text(f"# mine\nposts-address = {suite.grpc_address('posts')}\noutput = json\n")
    assert "articles" in json.loads(cli.say("post", "list"))
    assert cli.say("post", "list", "-o", "plain", "-n", "1").count("{") == 0
    cli.fail(9, "post", "list", env={"STOA_POSTS_ADDRESS": f"127.0.0.1:{port}"})
    (folder / "config").write_text("posts-adress = x\n")
    assert "config, line 1" in cli.fail(2, "post", "list")


def test_exit_statuses(signed_in, publish, new_account, tmp_path):
    cli = signed_in
    foreign = publish(new_account("foreign"))["slug"]
    cli.fail(4, "post", "edit", foreign, stdin="title: x\ndescription: y\n\nz\n")
    line = cli.fail(6, "post", "new", "--publish", stdin="title:\n\n\n")
    assert "article.title" in line and "article.body" in line
    taken = cli.fail(7, "register", cli.account["username"], cli.account["email"], stdin="correct horse battery\n")
    assert "taken" in taken
    for words in (("post", "lisst"), ("post", "show"), ("post", "list", "--no-such"), ("post", "list", "-n", "0"),
                  ("post", "list", "-n", "many"), ("post", "list", "x"), ("post", "show", "draft/x"),
                  ("post", "publish", "hello"), ("post", "list", "-o", "xml"), ("chat", "join", "x"),
                  ("comment", "delete", "x", "y"), ("nothing",), (), ("--nothing",), ("post", "list", "-dx"),
                  ("post", "list", "--nothing"), ("post", "list", "-d", "--tag"), ("post", "show"), ("post", "show", "a", "b")):
        done = cli.run(*words)
        assert done.returncode == 2 and done.stdout == b"", (words, done)
        assert re.fullmatch(rb"stoa[a-z ]*: [^\n]+\n", done.stderr), (words, done)
    assert cli.run("post").returncode == 2
    assert b": option --tag needs a value: `stoa post list --help'" in cli.run("post", "list", "-d", "--tag").stderr
    assert b": invalid option -dx: " in cli.run("post", "list", "-n", "2", "-dx").stderr
    cli.fail(10, "post", "new", "-F", "/no/such/file")
    assert "NUL byte" in cli.fail(6, "comment", "add", foreign, stdin="a\0b")
    assert "nothing was written" in cli.fail(1, "post", "new", stdin=" \n")


# ---- help ----

def every_command():
    done = subprocess.run([f"{STOA_FOLDER}/../libexec/stoa/stoa-client", "complete", ""], capture_output=True, text=True, check=True)
    words = [(word,) for word in done.stdout.split() if word not in ("task", "--help", "--version", "post", "comment")]
    for group in ("post", "comment", "chat", "sessions"):
        done = subprocess.run([f"{STOA_FOLDER}/../libexec/stoa/stoa-client", "complete", group, ""], capture_output=True,
                              text=True, check=True)
        words += [(group, word) for word in done.stdout.split()]
    return words


def test_help(tmp_path):
    cli = Cli(tmp_path)
    commands = every_command()
    assert len(commands) >= 24
    for words in commands:
        said = cli.say(*words, "--help")
        examples = said.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
        call = "  stoa " + " ".join(words)
        assert examples and all(f"{example} ".startswith((call + " ", "  stoa sessions ")) for example in examples), said
        assert all(len(line) < 80 and line == line.rstrip() for line in said.splitlines()), said
    for group in ("post", "comment", "chat"):
        assert "Usage: stoa " + group in cli.say(group, "--help")
    assert cli.say("--version").startswith("stoa 1.0")


@pytest.mark.parametrize("page", ("stoa", "stoa-post", "stoa-chat"))
def test_manual_page(page):
    path = f"{STOA_FOLDER}/../share/man/man1/{page}.1"
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", path], capture_output=True, text=True,
                          env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "100"}, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for part in ("NAME", "COMMANDS", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "Examples:"):
        assert part in done.stdout, part


def test_manual_pages_tell_what_help_tells(tmp_path):
    """Each command is in one page, with its arguments, options and examples."""
    sections, general = {}, ""
    for page in ("stoa", "stoa-post", "stoa-chat"):
        with open(f"{STOA_FOLDER}/../share/man/man1/{page}.1") as source:
            for section in source.read().replace("\\-", "-").replace("\\e", "\\").split("\n.S")[1:]:
                heading, _, text = section.partition("\n")
                if heading.startswith("S "):
                    assert sections.setdefault(heading[2:], text) is text, heading
                elif page == "stoa" and heading == "H OPTIONS":
                    general = text
    cli = Cli(tmp_path)
    for words in every_command():
        own, _, rest = cli.say(*words, "--help").partition(" Options of every command:\n")
        usage, _, own = own.partition("\n")
        text = sections.pop(re.fullmatch(r"Usage: (stoa .*)", usage)[1].replace(" [OPTION...]", ""))
        for option in re.findall(r"^ +((?:-\w, )? *--[a-z-]+)", own, re.M):
            assert re.search(rf"^\.B {re.escape(option.strip())}\b", text, re.M), (words, option)
        for option in set(re.findall(r"--[a-z-]+", rest.partition("-?, --help")[0])):
            assert re.search(rf"^\.B (-\w, )?{option}\b", general, re.M), option
        for example in rest.partition("Examples:\n")[2].partition("\n\n")[0].splitlines():
            assert example in text, (words, example)
    assert not sections
