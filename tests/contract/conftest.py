"""Fixtures of the contract tests. README.md shows how to use them."""
import contextlib
import itertools
import os
import subprocess

import psycopg2
import pytest
from gateway_fixture import Messages, TestGateway, compile_demo
from stoa_contract import Both, Contract, GrpcClient, HttpClient, account_maker, session_of
from stoa_suite_fixture import REPOSITORY, RunningSuite, Suite
from stoa_suite_fixture import descriptor_set as stoas_descriptor_set

# The tests' suite runs already, at these addresses.
RUNNING = os.environ.get("STOA_TEST_SUITE")


@pytest.fixture(scope="session")
def contract():
    """Messages, methods and routes, from api.binpb."""
    return Contract(stoas_descriptor_set())


@pytest.fixture(scope="session")
def suite():
    """The suite that the tests share. What a test changes in it, it makes under names of its own."""
    if RUNNING:
        with RunningSuite(RUNNING) as running:
            yield running
        return
    with Suite(STOA_DATABASE_CONNECTIONS=16, STOA_POSTS_PURGE_INTERVAL_S=1, STOA_CHAT_PURGE_INTERVAL_S=1) as started:
        yield started


@pytest.fixture
def own_suite():
    """A suite for a test that breaks things: own_suite(STOA_AUTH_TOKEN_TTL_S=1).http ..."""
    if RUNNING:
        pytest.skip("needs a suite of the tests' own")
    started = []

    def start(**settings):
        started.append(Suite(**settings).__enter__())
        return started[-1]

    yield start
    for each in reversed(started):
        each.__exit__(None, None, None)


@pytest.fixture(scope="session")
def grpc_over(request):
    """"tcp"; @pytest.mark.parametrize("grpc_over", ("tcp", "unix"), indirect=True) runs a test over both."""
    return getattr(request, "param", "tcp")


@pytest.fixture(scope="session")
def call_grpc(suite, contract, grpc_over):
    """call_grpc("posts", "GetArticle", {"slug": slug}, token) -> ("OK", dict) or (code, Problem)"""
    return GrpcClient(contract, lambda service: suite.grpc(service, grpc_over))


@pytest.fixture(scope="session")
def call_http(suite):
    """call_http("GET", "/api/articles?limit=5", body, token) -> HttpAnswer"""
    return HttpClient(suite.http)


@pytest.fixture(scope="session")
def both(contract, call_grpc, call_http):
    """both("posts", "GetArticle", {"slug": slug}, token) -> (code, dict or Problem, HttpAnswer), equal"""
    return Both(contract, call_grpc, call_http)


@pytest.fixture(scope="session")
def unique():
    """unique("jane") -> a text that no other test of this run has: "jane3x1a2b" """
    numbers = itertools.count(1)
    return lambda stem="": f"{stem}{next(numbers)}x{os.getpid():x}"


@pytest.fixture(scope="session")
def new_account(call_grpc, unique):
    """new_account(): account_maker() for the suite that the tests share"""
    return account_maker(call_grpc, unique)


@pytest.fixture(scope="session")
def publish(call_grpc, unique):
    """publish(account, title=..., tagList=[...]) -> the article"""

    def make(account, **changes):
        fields = {"title": unique("Title "), "description": "About it", "body": "The text.", **changes}
        code, answer = call_grpc("posts", "CreateArticle", {"article": fields}, account["token"])
        assert code == "OK", answer
        return answer["article"]

    return make


@pytest.fixture(scope="session")
def sign_in(call_grpc):
    """sign_in(account) -> one more session of an account: {"token": ..., "refreshToken": ..., "session": its id}"""

    def make(account):
        request = {"user": {"email": account["email"], "password": account["password"]}}
        code, answer = call_grpc("auth", "Login", request)
        assert code == "OK", answer
        token = answer["user"]["token"]
        return {"token": token, "refreshToken": answer["refreshToken"], "session": session_of(token)}

    return make


@pytest.fixture(scope="session")
def pass_time(suite):
    """pass_time(session id, seconds): for this session so much time goes by, as far as the database knows."""
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_auth"))) as database:
        database.autocommit = True

        def make(session, seconds):
            columns = ("created_at", "rotated_at", "last_used_at", "expires_at")
            changes = ", ".join(f"{name} = {name} - %(time)s * interval '1 second'" for name in columns)
            with database.cursor() as cursor:
                cursor.execute(f"UPDATE auth.sessions SET {changes} WHERE id = %(id)s", {"time": seconds, "id": session})
                assert cursor.rowcount == 1

        yield make


@pytest.fixture(scope="session")
def test_gateway():
    """The test server (tests/testserver) behind a gateway of its own: test_gateway.get("/test/count?count=3").
    Shared: a test that changes its configuration or ends a part of it starts a TestGateway of its own."""
    gateway = TestGateway()
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@pytest.fixture(scope="session")
def descriptor_set(tmp_path_factory):
    """That of the demo service, as a file, for gateways with fake upstreams."""
    return compile_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def messages(descriptor_set):
    return Messages(descriptor_set)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A folder with a self-signed certificate.pem for localhost and its key.pem."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run([REPOSITORY / "deploy/self-signed-certificate", folder, "localhost"], check=True)
    return folder
