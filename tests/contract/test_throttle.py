"""Limits on attempts to sign in, to sign up and to refresh: by address, by account, with Redis and without it."""
import itertools
import os
import signal
import subprocess
import time

import grpc
import pytest
from metrics_fixture import service_numbers, settled
from stoa_contract import GrpcClient, HttpClient, http_request
from stoa_suite_fixture import Suite, output_folder, wait_until

PASSWORD = "correct horse battery"
# Nothing comes back while a test lasts.
LIMITS = {
    "STOA_AUTH_LOGIN_ADDRESS_RATE": "6/24h",
    "STOA_AUTH_LOGIN_PAIR_RATE": "3/24h",
    "STOA_AUTH_LOGIN_ACCOUNT_RATE": "5/24h",
    "STOA_AUTH_REGISTER_ADDRESS_RATE": "4/24h",
    "STOA_AUTH_REGISTER_ACCOUNT_RATE": "2/24h",
    "STOA_AUTH_REFRESH_ADDRESS_RATE": "8/24h",
    "STOA_AUTH_REFRESH_SESSION_RATE": "3/24h",
}
numbers = itertools.count(1)


def an_address():
    """One that nobody else has."""
    number = next(numbers)
    return f"198.51.{100 + number // 200}.{1 + number % 200}"


class Outside:
    """Calls auth as a client at an address would: through the gateway, or as the gateway does."""

    def __init__(self, suite, contract, surface):
        self.suite = suite
        self._contract = contract
        self._surface = surface
        self._grpc = GrpcClient(contract, lambda service: suite.grpc(service, "unix"))
        self._http = HttpClient(suite.http)

    def __call__(self, name, request, address):
        """-> ("OK" or a gRPC code, reason, errors, seconds to wait or None)"""
        described = self._contract.method("auth", name)
        if self._surface == "grpc":
            code, answer = self._grpc("auth", name, request, metadata=(("x-client-address", address),))
            return ("OK", answer, {}, None) if code == "OK" else (code, answer.reason, answer.errors, answer.retry_after)
        verb, path, body = http_request(described, request)
        answer = self._http(verb, path, body, headers={"X-Forwarded-For": address})
        if answer.status == described.http_status:
            return "OK", answer.json, {}, None
        code = {401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 409: "ALREADY_EXISTS"}[answer.status]
        wait = answer.headers.get("Retry-After")
        return code, answer.json["reason"], answer.json["errors"], wait and int(wait)

    def sign_up(self, address=None, name=None):
        name = name or f"user{next(numbers)}"
        request = {"user": {"username": name, "email": f"{name}@example.com", "password": PASSWORD}}
        return self("CreateUser", request, address or an_address())

    def account(self):
        code, answer, *_ = self.sign_up()
        assert code == "OK", answer
        return answer["user"]["email"], answer["refreshToken"]

    def sign_in(self, email, password=PASSWORD, address=None):
        return self("Login", {"user": {"email": email, "password": password}}, address or an_address())


@pytest.fixture(scope="module")
def limited():
    # The tests stand in for a proxy in front, which says whose request it is.
    with Suite(**LIMITS, STOA_TRUSTED_PROXIES="127.0.0.1") as started:
        yield started


@pytest.fixture(params=("grpc", "http"))
def outside(request, limited, contract):
    return Outside(limited, contract, request.param)


def is_throttled(answer):
    code, reason, _, wait = answer
    if code == "OK":
        return False
    if code == "RESOURCE_EXHAUSTED":
        assert reason == "TOO_MANY_ATTEMPTS" and wait >= 1
        return True
    return False


# ---- the limits ----


def test_sign_ins_of_one_address_on_one_account(outside):
    email, _ = outside.account()
    address = an_address()
    assert [outside.sign_in(email, address=address)[0] for _ in range(3)] == ["OK"] * 3
    code, reason, _, wait = outside.sign_in(email.upper(), address=address)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_ATTEMPTS")
    assert 8 * 3600 - 60 < wait <= 8 * 3600 + 1, "three in a day: one in eight hours"
    # Neither the account nor the address is used up.
    assert outside.sign_in(email)[0] == "OK"
    assert outside.sign_in(outside.account()[0], address=address)[0] == "OK"


def test_sign_ins_of_one_address(outside):
    address = an_address()
    codes = [outside.sign_in(f"nobody{next(numbers)}@example.com", address=address)[0] for _ in range(8)]
    assert codes == ["UNAUTHENTICATED"] * 6 + ["RESOURCE_EXHAUSTED"] * 2


def test_sign_ins_on_one_account(outside):
    """From everywhere together; the right password does not help either."""
    email, _ = outside.account()
    codes = [outside.sign_in(email, "not the password")[0] for _ in range(5)]
    assert codes == ["UNAUTHENTICATED"] * 5
    assert is_throttled(outside.sign_in(email))


def test_known_and_unknown_accounts_are_one_answer(outside):
    known, unknown = outside.account()[0], f"nobody{next(numbers)}@example.com"
    answers = {email: [outside.sign_in(email, "not the password")[:3] for _ in range(7)] for email in (known, unknown)}
    assert answers[known] == answers[unknown]
    assert [code for code, *_ in answers[known]] == ["UNAUTHENTICATED"] * 5 + ["RESOURCE_EXHAUSTED"] * 2


def test_sign_ups_of_one_address(outside):
    address = an_address()
    assert [outside.sign_up(address)[0] for _ in range(6)] == ["OK"] * 4 + ["RESOURCE_EXHAUSTED"] * 2


def test_sign_ups_for_one_email_address(outside):
    name = f"wanted{next(numbers)}"
    codes = [outside.sign_up(name=name)[0] for _ in range(4)]
    assert codes == ["OK", "ALREADY_EXISTS"] + ["RESOURCE_EXHAUSTED"] * 2


def test_refreshes_of_one_session(outside):
    _, token = outside.account()
    codes = []
    for _ in range(4):
        code, answer, *_ = outside("RefreshSession", {"refreshToken": token}, an_address())
        token = answer["refreshToken"] if code == "OK" else token
        codes.append(code)
    assert codes == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"]


def test_refreshes_of_one_address(outside):
    """Guessed tokens as well; what is no token at all costs nothing."""
    address = an_address()
    assert outside("RefreshSession", {"refreshToken": "stoa_rt_no"}, address)[0] == "UNAUTHENTICATED"
    tokens = [outside.account()[1] for _ in range(9)]
    codes = [outside("RefreshSession", {"refreshToken": token}, address)[0] for token in tokens]
    assert codes == ["OK"] * 8 + ["RESOURCE_EXHAUSTED"]


def test_an_ipv6_network_is_one_address(outside):
    network = f"2001:db8:0:{next(numbers):x}"
    codes = [outside.sign_in(f"nobody{i}x@example.com", address=f"{network}::{i + 1:x}")[0] for i in range(7)]
    assert codes == ["UNAUTHENTICATED"] * 6 + ["RESOURCE_EXHAUSTED"]


def test_current_passwords_are_attempts(outside, contract):
    """A stolen access token is no way to guess on."""
    email, _ = outside.account()
    _, answer, *_ = outside.sign_in(email)
    call = GrpcClient(contract, lambda service: outside.suite.grpc(service, "unix"))
    address = an_address()

    def change(password):
        request = {"user": {"bio": "Someone", "password": "another password"}, "currentPassword": password}
        metadata = (("x-client-address", address),)
        code, problem = call("auth", "UpdateCurrentUser", request, answer["user"]["token"], metadata=metadata)
        return code, getattr(problem, "reason", None)

    codes = [change("not the password") for _ in range(3)]
    assert codes == [("INVALID_ARGUMENT", "PASSWORD_WRONG")] * 3
    assert change(PASSWORD) == ("RESOURCE_EXHAUSTED", "TOO_MANY_ATTEMPTS")


# ---- whose address ----

FORGED = ("X-Client-Address", "X-Forwarded-For", "X-Real-IP", "Forwarded", "Grpc-Metadata-X-Client-Address", "Client-IP")


def test_nobody_passes_as_another(own_suite, contract):
    """Over HTTP without a trusted proxy, and over gRPC on TCP, the connection's own address counts."""
    suite = own_suite(**{**LIMITS, "STOA_AUTH_LOGIN_PAIR_RATE": "off", "STOA_AUTH_LOGIN_ACCOUNT_RATE": "off"})
    http = HttpClient(suite.http)
    direct = GrpcClient(contract, suite.grpc)

    def forged():
        address = an_address()
        return {name: f"for={address}" if name == "Forwarded" else address for name in FORGED}

    def request():
        return {"user": {"email": f"nobody{next(numbers)}@example.com", "password": "password123"}}

    codes = [http("POST", "/api/users/login", request(), headers=forged()).status for _ in range(3)]
    metadata = [tuple((name.lower(), value) for name, value in forged().items()) for _ in range(4)]
    # Both are 127.0.0.1, so the two ways use up one limit.
    codes += [direct("auth", "Login", request(), metadata=each)[0] for each in metadata]
    assert codes == [401] * 3 + ["UNAUTHENTICATED"] * 3 + ["RESOURCE_EXHAUSTED"]
    refused = http("POST", "/api/users/login", request(), headers=forged())
    assert refused.status == 429 and int(refused.headers["Retry-After"]) >= 1
    assert refused.json["type"] == "urn:problem:stoa:TOO_MANY_ATTEMPTS" and refused.json["errors"]


# ---- Redis ----


def ask_health(suite, contract, method, kind):
    method = contract.method("grpc.health.v1.Health", method)
    call = getattr(suite.grpc("auth"), kind)(method.path, method.request.SerializeToString, method.response.FromString)
    return call(method.request(service="redis"), timeout=120)


def redis_health(suite, contract):
    return ask_health(suite, contract, "Check", "unary_unary").status


SERVING, NOT_SERVING = 1, 2


def test_redis_comes_and_goes(own_suite, contract):
    """Sign-in works, each instance counts by itself, readiness stays, log and health say so; and a Redis that
    is back counts again."""
    suite = own_suite(**LIMITS, STOA_TRUSTED_PROXIES="127.0.0.1")
    outside = Outside(suite, contract, "http")
    http = HttpClient(suite.http)
    wait_until(lambda: redis_health(suite, contract) == SERVING, "redis is connected")

    def holds():
        """The limits, for somebody new."""
        email, _ = outside.account()
        address = an_address()
        return [outside.sign_in(email, address=address)[0] for _ in range(4)] == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"]

    assert holds()
    before = [outside.account()[0], an_address()]
    for _ in range(3):
        assert outside.sign_in(before[0], address=before[1])[0] == "OK"
    watched = ask_health(suite, contract, "Watch", "unary_stream")
    assert next(watched).status == SERVING
    suite.supervise("stop", "redis")
    assert next(watched).status == NOT_SERVING
    assert "redis connection lost" in suite.log("auth")
    down = settled(suite, "auth", lambda n: n.get("stoa_redis_connections_lost_total", connection="commands") == 1)
    assert down.get("stoa_redis_up", connection="commands") == 0
    throttled = down.get("stoa_auth_throttled_total", attempt="login")
    assert holds() and http("GET", "/readyz").status == 200
    assert is_throttled(outside.sign_in(before[0], address=before[1])), "what was used up before stays so"
    assert service_numbers(suite, "auth").get("stoa_auth_throttled_total", attempt="login") > throttled
    suite.supervise("start", "redis")
    assert next(watched).status == SERVING
    settled(suite, "auth", lambda n: n.get("stoa_redis_connects_total", connection="commands") == 2)
    assert holds() and is_throttled(outside.sign_in(before[0], address=before[1]))
    suite.wait_restarted("redis", suite.kill("redis"))
    wait_until(lambda: redis_health(suite, contract) == SERVING, "redis is back")
    assert holds()


def test_redis_pauses(own_suite, contract):
    suite = own_suite(**LIMITS, STOA_TRUSTED_PROXIES="127.0.0.1", STOA_REDIS_TIMEOUT_MS=100)
    outside = Outside(suite, contract, "grpc")
    wait_until(lambda: redis_health(suite, contract) == SERVING, "redis is connected")
    email, _ = outside.account()
    pid = suite.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        address = an_address()
        codes = [outside.sign_in(email, address=address)[0] for _ in range(4)]
        assert codes == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"]
        wait_until(lambda: redis_health(suite, contract) == NOT_SERVING, "auth has noticed")
        assert "no answer in time" in suite.log("auth")
        assert HttpClient(suite.http)("GET", "/readyz").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: redis_health(suite, contract) == SERVING, "redis is back")


def test_redis_holds_no_address(limited, contract):
    outside = Outside(limited, contract, "grpc")
    address = an_address()
    email, _ = outside.account()
    assert outside.sign_in(email, address=address)[0] == "OK"

    def redis(*commands):
        """A line for each answer."""
        command = ["redis-cli", "-s", limited.socket("redis")]
        asked = subprocess.run(command, input="\n".join(commands), capture_output=True, text=True, check=True, timeout=60)
        return asked.stdout.splitlines()

    keys = redis("KEYS stoa:auth:*")
    assert keys and all(key.startswith("stoa:auth:throttle:") for key in keys)
    values = redis(*(f"GET {key}" for key in keys))
    everything = " ".join((*keys, *values))
    assert len(values) == len(keys)
    assert address not in everything and email not in everything and "example" not in everything
    times = redis(*(f"PTTL {key}" for key in keys))
    assert len(times) == len(keys)
    assert all(0 < int(time) <= 24 * 3600 * 1000 for time in times), "each is forgotten by itself"


def test_two_instances_count_together(limited, contract, tmp_path):
    """A second auth beside the first, with a key of its own."""
    socket = f"/tmp/stoa-second-{os.getpid()}.sock"
    environment = {
        **LIMITS,
        "STOA_LISTEN": f"unix:{socket}",
        "STOA_DATABASE": f"host={limited.run_dir}/sock dbname=stoa user=stoa_auth",
        "STOA_DATABASE_PASSWORD_FILE": f"{limited.run_dir}/secrets/auth",
        "STOA_AUTH_KEY": str(tmp_path / "second.jwk"),
        "STOA_REDIS": f"unix:{limited.socket('redis')}",
    }
    with open(tmp_path / "log", "wb") as log:
        second = subprocess.Popen([output_folder() / "bin/auth"], env={**os.environ, **environment}, stderr=log)
    try:
        channel = grpc.insecure_channel(f"unix:{socket}")
        there, here = GrpcClient(contract, lambda _: channel), Outside(limited, contract, "grpc")
        address = an_address()
        metadata = (("x-client-address", address),)
        email, _ = here.account()

        def at_second():
            request = {"user": {"email": email, "password": PASSWORD}}
            return there("auth", "Login", request, metadata=metadata)[0]

        wait_until(lambda: "redis connected" in (tmp_path / "log").read_text(), "the second one runs")
        wait_until(lambda: "ready" in (tmp_path / "log").read_text(), "it is ready")
        codes = [at_second(), here.sign_in(email, address=address)[0], at_second()]
        assert codes == ["OK"] * 3
        assert here.sign_in(email, address=address)[0] == "RESOURCE_EXHAUSTED"
        assert at_second() == "RESOURCE_EXHAUSTED"
        channel.close()
    finally:
        second.terminate()
        second.wait(30)
        if os.path.exists(socket):
            os.unlink(socket)


# ---- settings ----


def test_the_suite_for_trying_has_wide_limits(call_http):
    """Public test suites make hundreds of requests a minute from one address."""
    request = {"user": {"email": "nobody@example.com", "password": "password123"}}
    began = time.monotonic()
    answers = [call_http("POST", "/api/users/login", request).status for _ in range(70)]
    assert set(answers) == {401}, f"in {time.monotonic() - began:.1f} s"


def test_settings_are_checked(tmp_path):
    environment = {
        **os.environ, "STOA_LISTEN": f"unix:{tmp_path}/s", "STOA_DATABASE": "host=/nowhere", "STOA_AUTH_KEY": f"{tmp_path}/k",
    }
    for name, value in (
        ("STOA_AUTH_LOGIN_PAIR_RATE", "many"),
        ("STOA_AUTH_REFRESH_SESSION_RATE", "5/2d"),
        ("STOA_REDIS", "localhost"),
    ):
        ended = subprocess.run(
            [output_folder() / "bin/auth"], env={**environment, name: value}, capture_output=True, text=True, timeout=30
        )
        (line,) = [line for line in ended.stderr.splitlines() if '"error"' in line]
        assert ended.returncode == 1 and f"{name}={value}: set " in line
