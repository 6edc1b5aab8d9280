"""Signing keys: changed while everything runs, by a signal, by age and by hand; and what a made-up key costs."""
import base64
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import jwt
import psycopg2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from stoa_contract import GrpcClient, HttpClient
from stoa_suite_fixture import output_folder, wait_until

LEAD = 2
CHANGED = "the signing key has changed"
PASSWORD = "correct horse battery"


class Keys:
    """A suite whose auth changes its key, seen from outside."""

    def __init__(self, suite, contract):
        self.suite = suite
        self.grpc = GrpcClient(contract, suite.grpc)
        self.http = HttpClient(suite.http)
        self.file = pathlib.Path(suite.run_dir / "keys/auth.jwk")
        self.next_file = pathlib.Path(f"{self.file}.next")
        self._request = {"user": {"username": "ada", "email": "ada@example.com", "password": PASSWORD}}
        assert self.grpc("auth", "CreateUser", self._request)[0] == "OK"

    def sign_in(self):
        code, answer = self.grpc("auth", "Login", {"user": {"email": "ada@example.com", "password": PASSWORD}})
        assert code == "OK", answer
        return answer["user"]["token"]

    def published(self):
        """kid -> key"""
        answer = self.http("GET", "/.well-known/jwks.json")
        assert answer.status == 200 and answer.headers["Cache-Control"] == "public, max-age=300"
        return {key["kid"]: key for key in answer.json["keys"]}

    def counts(self, token):
        """Whether auth, posts and chat take it."""
        answers = [
            self.grpc("auth", "GetCurrentUser", {}, token)[0],
            self.grpc("posts", "ListFeed", {}, token)[0],
            self.grpc("chat", "ListRooms", {}, token)[0],
        ]
        assert set(answers) <= {"OK", "UNAUTHENTICATED"}
        return [answer == "OK" for answer in answers]

    def restart(self):
        """Kills auth; it is back when a connection of ours is."""
        self.suite.wait_restarted("auth", self.suite.kill("auth"))
        wait_until(lambda: self.http("GET", "/readyz").status == 200, "ready again")
        wait_until(lambda: self.grpc("auth", "GetJsonWebKeySet", {})[0] == "OK", "connected again")

    def hang_up(self):
        os.kill(self.suite.pid("auth"), signal.SIGHUP)

    def changes(self):
        return self.suite.log("auth").count(CHANGED)

    def wait_changed(self, times):
        wait_until(lambda: self.changes() >= times, f"{times} changes", 60)

    def sql(self, statement):
        with contextlib.closing(psycopg2.connect(**self.suite.database("stoa_auth"))) as database:
            database.autocommit = True
            with database.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else None

    def give(self, path, key, mode=0o600):
        """Puts a private key there, as the suite's account would."""
        owner = self.file.stat()
        part = path.with_name("given.tmp")
        part.write_text(json.dumps(key) if isinstance(key, dict) else key)
        part.chmod(mode)
        os.chown(part, owner.st_uid, owner.st_gid)
        part.rename(path)


def kid_of(token):
    return jwt.get_unverified_header(token)["kid"]


def new_key():
    """A private JWK that somebody else made."""
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()

    def encoded(number):
        return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()

    public = numbers.public_numbers
    return {"kty": "EC", "crv": "P-256", "x": encoded(public.x), "y": encoded(public.y), "d": encoded(numbers.private_value)}


@pytest.fixture
def keys(own_suite, contract):
    def start(**settings):
        return Keys(own_suite(**{"STOA_AUTH_KEY_LEAD_S": LEAD, **settings}), contract)

    return start


# ---- changing it ----


def test_a_change_under_load_fails_nothing(keys):
    """Sign-ins and calls with old and new tokens go on; a key is published well before it signs."""
    k = keys()
    first = k.sign_in()
    ended, faults = threading.Event(), []
    seen, used = {}, {}  # kid -> when it was first published, and first in a token

    def loop(step):
        try:
            while not ended.is_set():
                step()
        except BaseException as error:
            faults.append(error)
            raise

    def sign_in():
        token = k.sign_in()
        used.setdefault(kid_of(token), time.monotonic())
        assert k.counts(token) == [True] * 3

    def old_token():
        assert k.counts(first) == [True] * 3
        assert k.http("GET", "/api/user", token=first).status == 200

    def read():
        for kid in k.published():
            seen.setdefault(kid, time.monotonic())

    threads = [threading.Thread(target=loop, args=(step,)) for step in (sign_in, sign_in, old_token, old_token, read)]
    for thread in threads:
        thread.start()
    try:
        for change in (1, 2, 3):
            k.hang_up()
            k.wait_changed(change)
            wait_until(lambda: faults or len(used) > change, "the new key signs")
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert not faults
    assert len(used) == 4 and set(used) <= set(seen), "no other key signs, and the ones before stay published"
    for kid, when in list(used.items())[1:]:
        assert when - seen[kid] > LEAD / 2, "published first"
    # The file is the key's that signs, and the owner's alone.
    assert not k.next_file.exists() and k.file.stat().st_mode & 0o777 == 0o600
    latest = kid_of(k.sign_in())
    k.restart()
    assert kid_of(k.sign_in()) == latest and k.counts(first) == [True] * 3


def test_the_key_before_counts_as_long_as_its_tokens(keys):
    k = keys()
    old = k.sign_in()
    k.hang_up()
    k.wait_changed(1)
    wait_until(lambda: k.sql("SELECT 1 FROM auth.signing_keys WHERE retires_at IS NOT NULL"), "its end is known")
    ((kid, seconds),) = k.sql(
        "SELECT key_id, extract(epoch FROM retires_at - now()) FROM auth.signing_keys WHERE retires_at IS NOT NULL"
    )
    assert kid == kid_of(old) and 900 < seconds < 1100
    assert kid in k.published() and k.counts(old) == [True] * 3
    # That time goes by.
    k.sql("UPDATE auth.signing_keys SET retires_at = now() WHERE retires_at IS NOT NULL")
    assert kid not in k.published()
    wait_until(lambda: k.counts(old) == [False] * 3, "every service has forgotten it")
    assert k.counts(k.sign_in()) == [True] * 3


def test_a_key_is_changed_for_its_age(keys):
    k = keys(STOA_AUTH_KEY_ROTATION_S=3, STOA_AUTH_KEY_LEAD_S=1)
    first = kid_of(k.sign_in())
    k.wait_changed(2)
    assert kid_of(k.sign_in()) != first


def test_a_given_key(keys):
    """What is put in place of the file signs after a signal; what is no key, or not its owner's alone, does not."""
    k = keys()
    first = kid_of(k.sign_in())
    for key, mode, error in (("nonsense", 0o600, "Invalid argument"), (new_key(), 0o644, "Operation not permitted")):
        k.give(k.file, key, mode)
        k.hang_up()
        wait_until(lambda: error in k.suite.log("auth"), error)
        assert kid_of(k.sign_in()) == first
    given = new_key()
    k.give(k.file, given)
    k.hang_up()
    k.wait_changed(1)
    token = k.sign_in()
    assert k.published()[kid_of(token)]["x"] == given["x"]
    assert k.counts(token) == [True] * 3
    assert json.loads(k.file.read_text()) == given, "it is left as it is"


def test_a_key_that_is_given_meanwhile_goes_first(keys):
    """While one of auth's own waits for its time."""
    k = keys()
    k.hang_up()
    wait_until(k.next_file.exists, "one of its own is made")
    given = new_key()
    k.give(k.file, given)
    k.wait_changed(1)
    assert k.published()[kid_of(k.sign_in())]["x"] == given["x"]
    assert not k.next_file.exists(), "it would sign after a restart"


def test_a_restart_in_the_middle(keys):
    k = keys(STOA_AUTH_KEY_LEAD_S=4)
    first = k.sign_in()
    k.hang_up()
    wait_until(lambda: "the next signing key is published" in k.suite.log("auth"), "the next one is published")
    (made,) = set(k.published()) - {kid_of(first)}
    k.restart()
    assert kid_of(k.sign_in()) == kid_of(first)
    k.wait_changed(1)
    assert kid_of(k.sign_in()) == made and k.counts(first) == [True] * 3


def test_a_change_waits_for_postgres(keys):
    k = keys()
    k.suite.supervise("stop", "postgres")
    k.hang_up()
    time.sleep(LEAD)
    assert k.changes() == 0
    k.suite.supervise("start", "postgres")
    k.wait_changed(1)
    wait_until(lambda: k.http("GET", "/readyz").status == 200, "ready again")
    assert k.counts(k.sign_in()) == [True] * 3


@pytest.mark.parametrize("mode, content, cure", [(0o640, None, "chmod 600"), (0o600, "nonsense", "move it away")])
def test_a_bad_file_stops_the_start(tmp_path, mode, content, cure):
    path = tmp_path / "auth.jwk"
    path.write_text(content or json.dumps(new_key()))
    path.chmod(mode)
    environment = {**os.environ, "STOA_LISTEN": f"unix:{tmp_path}/s", "STOA_DATABASE": "host=/nowhere", "STOA_AUTH_KEY": str(path)}
    ended = subprocess.run([output_folder() / "bin/auth"], env=environment, capture_output=True, text=True, timeout=30)
    (line,) = [line for line in ended.stderr.splitlines() if '"error"' in line]
    assert ended.returncode == 1 and f"STOA_AUTH_KEY={path}" in line and cure in line


# ---- keys that nobody has ----


def test_tokens_before_any_key_is_known(own_suite, contract):
    """A service that begins can say of no token that it is invalid: all who ask are told to ask again, however many."""
    k = Keys(own_suite(), contract)
    good = k.sign_in()
    k.suite.supervise("stop", "postgres")
    old = k.suite.kill("posts")
    wait_until(lambda: k.suite.pid("posts") not in (0, old), "posts begins", 60)
    method = contract.method("stoa.posts.v1.ArticleService", "ListFeed")
    ask = k.suite.grpc("posts").unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
    metadata = (("authorization", f"Bearer {good}"),)
    calls = [ask.future(method.request(), metadata=metadata, timeout=60, wait_for_ready=True) for _ in range(600)]
    assert {call.exception().code().name for call in calls} == {"UNAVAILABLE"}
    k.suite.supervise("start", "postgres")
    wait_until(lambda: k.grpc("posts", "ListFeed", {}, good)[0] == "OK", "the token counts again", 60)


def test_unknown_keys_cost_little(own_suite, contract):
    """However many tokens name keys that do not exist: at most four questions a second to Postgres from each
    service, and everybody else is served."""
    k = Keys(own_suite(), contract)
    good = k.sign_in()
    with contextlib.closing(psycopg2.connect(**k.suite.database())) as database:
        database.autocommit = True
        with database.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET log_min_duration_statement = 0")
            cursor.execute("SELECT pg_reload_conf()")
    question = "execute verification_keys"

    def asked():
        # The log may begin anew meanwhile.
        logs = pathlib.Path(k.suite.run_dir / "log").glob("postgres.log*")
        return sum(log.read_text(errors="replace").count(question) for log in logs)

    wait_until(lambda: asked() > 0, "Postgres tells what it is asked")
    mine = ec.generate_private_key(ec.SECP256R1())
    claims = jwt.decode(good, options={"verify_signature": False})
    ended, counts, ended_well, served = threading.Event(), [0] * 20, [], []

    def flood(number):
        while not ended.is_set():
            token = jwt.encode(claims, mine, "ES256", {"kid": f"{number}x{counts[number]}"})
            assert k.grpc("posts", "ListFeed", {}, token)[0] == "UNAUTHENTICATED"
            counts[number] += 1
        ended_well.append(number)

    def serve():
        while not ended.is_set():
            served.append(k.grpc("posts", "ListFeed", {}, good)[0])
            time.sleep(0.01)

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(len(counts))]
    threads.append(threading.Thread(target=serve))
    before, began = asked(), time.monotonic()
    for thread in threads:
        thread.start()
    # Asked for some seconds at least, however fast that goes.
    wait_until(lambda: len(served) > 50 and time.monotonic() - began > 4 and min(counts) > 5, "all are served")
    ended.set()
    for thread in threads:
        thread.join(60)
    seconds, questions = time.monotonic() - began, asked() - before
    assert len(ended_well) == len(counts)
    # Four a second from posts; the others ask once in five seconds.
    assert 4 <= questions <= 4 * seconds + 3 + 2 * (seconds / 5 + 1)
    assert set(served) == {"OK"}
