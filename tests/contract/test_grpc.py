"""What a gRPC client sees that speaks to a service directly: reflection, health, limits, deadlines."""
import grpc
import psycopg2
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from stoa_contract import PATIENCE_SECONDS, GrpcClient
from stoa_suite_fixture import wait_until

SERVICES = {
    "auth": "stoa.auth.v1.AuthService",
    "posts": "stoa.posts.v1.ArticleService",
    "chat": "stoa.chat.v1.RoomService",
}


def raw(channel, path, request, metadata=(), timeout=PATIENCE_SECONDS):
    """A unary call of bytes: the code, and the details or the answer's bytes."""
    call = channel.unary_unary(path, lambda b: b, lambda b: b)
    try:
        return "OK", call(request, timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        return error.code().name, error.details()


# ---- reflection ----


@pytest.fixture(params=["v1", "v1alpha"])
def reflect(request, suite, contract):
    """reflect("posts", list_services="") -> the answer"""
    name = f"grpc.reflection.{request.param}.ServerReflection"

    def ask(service, *questions):
        method = contract.method(name, "ServerReflectionInfo")
        stream = suite.grpc(service).stream_stream(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        return list(stream((method.request(**question) for question in questions), timeout=PATIENCE_SECONDS))

    return ask


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_is_enough_to_call(reflect, service):
    """The way of grpcurl and buf: list, ask for the symbol's file, then for what that imports."""
    (listed,) = reflect(service, {"list_services": ""})
    names = [each.name for each in listed.list_services_response.service]
    assert SERVICES[service] in names and "grpc.health.v1.Health" in names
    known, wanted = {}, []
    (answer,) = reflect(service, {"file_containing_symbol": SERVICES[service]})
    while True:
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            known[file.name] = file
        wanted = [name for file in known.values() for name in file.dependency if name not in known]
        if not wanted:
            break
        (answer,) = reflect(service, {"file_by_filename": wanted[0]})
    pool, added = descriptor_pool.DescriptorPool(), set()

    def add(name):
        if name not in added:
            added.add(name)
            for dependency in known[name].dependency:
                add(dependency)
            pool.Add(known[name])

    for name in known:
        add(name)
    assert pool.FindServiceByName(SERVICES[service]).methods


def test_reflection_of_unknown_things(reflect):
    answers = reflect(
        "posts",
        {"file_containing_symbol": "no.such.Symbol"},
        {"file_by_filename": "no/such.proto"},
        {"all_extension_numbers_of_type": "google.protobuf.MethodOptions"},
    )
    assert [each.error_response.error_code for each in answers[:2]] == [5, 5]
    assert 72295728 in answers[2].all_extension_numbers_response.extension_number


# ---- health ----


@pytest.mark.parametrize("service", SERVICES)
def test_health(call_grpc, suite, contract, service):
    method = contract.method("grpc.health.v1.Health", "Check")

    def check(name):
        call = suite.grpc(service).unary_unary(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        return call(method.request(service=name), timeout=PATIENCE_SECONDS).status

    assert [check(name) for name in ("", "liveness", SERVICES[service])] == [1, 1, 1]
    with pytest.raises(grpc.RpcError) as error:
        check("no.such.Service")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_watch_sends_the_state_at_once(suite, contract):
    method = contract.method("grpc.health.v1.Health", "Watch")
    stream = suite.grpc("posts").unary_stream(
        method.path, method.request.SerializeToString, method.response.FromString
    )(method.request(), timeout=PATIENCE_SECONDS)
    assert next(stream).status == 1
    stream.cancel()


# ---- limits, deadlines, nonsense ----


def test_unknown_method(suite):
    for path in ("/stoa.posts.v1.ArticleService/NoSuch", "/no.such.Service/Call", "/x"):
        assert raw(suite.grpc("posts"), path, b"")[0] == "UNIMPLEMENTED"


GET = "/stoa.posts.v1.ArticleService/GetArticle"


@pytest.mark.parametrize(
    "request_",
    [b"\x0a", b"\x0a\x05ab", b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x03a\x00b", b"\x08\x01", b"\x0b"],
    ids=["cut tag", "cut string", "bad tag", "not UTF-8", "NUL", "wrong wire type", "open group"],
)
def test_bytes_that_are_no_request(suite, request_):
    code, details = raw(suite.grpc("posts"), GET, request_)
    assert code == "INVALID_ARGUMENT" and details


def test_unknown_fields_are_ignored(suite):
    assert raw(suite.grpc("posts"), GET, b"\x0a\x05no-su\x9a\x06\x03abc\x98\x06\x07")[0] == "NOT_FOUND"


def test_request_too_large(suite):
    request = b"\x0a" + b"\x80\x80\x80\x03" + b"x" * (6 << 20)
    assert raw(suite.grpc("posts"), GET, request)[0] == "RESOURCE_EXHAUSTED"


def test_deadline_reaches_postgres(suite):
    """A caller that stops waiting is told so, and its statement does not go on in Postgres."""
    with psycopg2.connect(**suite.database("stoa_posts")) as lock, lock.cursor() as cursor:
        cursor.execute("LOCK TABLE posts.articles IN ACCESS EXCLUSIVE MODE")
        assert raw(suite.grpc("posts"), GET, b"\x0a\x01x", timeout=0.5)[0] == "DEADLINE_EXCEEDED"
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'stoa_posts' AND wait_event_type = 'Lock'"
            " AND query NOT LIKE '%search_queue%'"  # what the service does by itself
        )

        def cancelled():
            cursor.execute(waiting)
            return cursor.fetchone()[0] == 0

        wait_until(cancelled, "the statement is cancelled")
        # Statements that touch no locked table go on meanwhile.
        health = raw(suite.grpc("posts"), "/grpc.health.v1.Health/Check", b"")
        assert health == ("OK", b"\x08\x01")
    assert raw(suite.grpc("posts"), GET, b"\x0a\x01x")[0] == "NOT_FOUND"


def test_many_at_once(suite):
    """More calls in flight than the engine has connections; each gets its own answer."""
    call = suite.grpc("posts").unary_unary(GET, lambda b: b, lambda b: b)
    calls = [call.future(b"\x0a\x04" + b"%04d" % i, timeout=30) for i in range(2000)]
    assert {each.code() for each in calls} == {grpc.StatusCode.NOT_FOUND}


def test_unix_listener(suite, contract):
    call = GrpcClient(contract, lambda service: suite.grpc(service, "unix"))
    assert call("posts", "ListArticles", {})[0] == "OK"
