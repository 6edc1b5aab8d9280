"""The answer's side of the gateway: JSON, statuses, problems with their details, headers, gzip, logs."""
import gzip
import threading

import grpc
import pytest

from gateway_fixture import SERVICE, FakeService, Messages, compile_demo, details, serving

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    descriptor_set = compile_demo(tmp_path_factory.mktemp("demo"))
    changes = {"    grpc_json_timeout 10s;": "    grpc_json_timeout 10s; grpc_json_response_header X-Colour; "
                                             "grpc_json_response_header x-entity Entity;"}
    with serving(descriptor_set, Messages(descriptor_set), changes) as gateway:
        yield gateway


def answer_with(world, answer, name="GetItem"):
    world.service.answers[SERVICE + name] = answer


def get_item(world, **item):
    new = world.messages.new
    answer_with(world, lambda r, c: new("demo.v1.GetItemResponse", item=new("demo.v1.Item", **item)))
    return world.get("/demo/items/a")


def fail(world, code, message="", parts=(), metadata=()):
    extra = details(world.messages, code, message, *parts) if parts else ()

    def answer(request, context):
        context.set_trailing_metadata(tuple(extra) + tuple(metadata))
        context.abort(code, message)

    answer_with(world, answer)
    return world.get("/demo/items/a")


def violation(world, *pairs):
    bad = world.messages.new("google.rpc.BadRequest")
    for field, description in pairs:
        bad.field_violations.add(field=field, description=description)
    return bad


# ---- success ----


def test_unset_fields_are_printed(world):
    answer = get_item(world)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.json() == {"item": {"name": "", "size": 0, "tagList": [], "note": None, "hidden": False}}


def test_time_stamps_have_a_fraction(world):
    answer = get_item(world, created_at={"seconds": 1})
    assert answer.json()["item"]["createdAt"] == "1970-01-01T00:00:01.000Z"


def test_status_of_the_method(world):
    answer_with(world, lambda r, c: world.messages.new("demo.v1.CreateItemResponse"), "CreateItem")
    assert world.post("/demo/items", {}).status == 201


def test_no_content(world):
    answer_with(world, lambda r, c: world.messages.new("demo.v1.DeleteItemResponse"), "DeleteItem")
    connection = world.connect()
    for _ in range(2):
        answer = world.request("DELETE", "/demo/items/a", connection=connection)
        assert answer.status == 204 and answer.body == b""
        assert answer.headers["Content-Type"] is None and answer.headers["Content-Length"] is None
    connection.close()


def test_large_answer(world):
    note = "é\"\n" * 700_000
    answer = get_item(world, note=note)
    assert answer.status == 200
    assert answer.json()["item"]["note"] == note


def test_security_headers(world):
    for answer in (get_item(world), world.get("/nope")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Server"] == "nginx"


def test_gzip(world):
    get_item(world, note="abc" * 5000)
    answer = world.get("/demo/items/a", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert b'"note":"abcabc' in gzip.decompress(answer.body)
    assert world.get("/demo/items/a").headers["Content-Encoding"] is None


def test_head_with_gzip(world):
    get_item(world, note="abc" * 5000)
    answer = world.request("HEAD", "/demo/items/a", headers={"Accept-Encoding": "gzip"})
    assert answer.status == 200 and answer.body == b""


def test_problems_are_compressed_too(world):
    fail(world, Code.NOT_FOUND, "m" * 3000)
    answer = world.get("/demo/items/a", headers={"Accept-Encoding": "gzip"})
    assert answer.status == 404
    assert answer.headers["Content-Encoding"] == "gzip"
    assert b'"errors"' in gzip.decompress(answer.body)


def test_metadata_by_allow_list(world):
    def answer(request, context):
        context.send_initial_metadata((("x-colour", "blue"), ("x-secret", "1"), ("server", "evil"), ("set-cookie", "a=b")))
        context.set_trailing_metadata((("x-entity", "e1"), ("x-other", "2")))
        return world.messages.new("demo.v1.GetItemResponse")

    answer_with(world, answer)
    answer = world.get("/demo/items/a")
    assert answer.headers["X-Colour"] == "blue" and answer.headers["Entity"] == "e1"
    names = {name.lower() for name in answer.headers}
    assert not names & {"x-secret", "x-other", "set-cookie", "x-entity", "grpc-status", "grpc-message", "trailer"}
    assert answer.headers.get_all("Server") == ["nginx"]


def test_no_redirects_by_metadata(world):
    def answer(request, context):
        context.send_initial_metadata((("x-accel-redirect", "/healthz"), ("location", "http://evil"), ("refresh", "1")))
        return world.messages.new("demo.v1.GetItemResponse")

    answer_with(world, answer)
    answer = world.get("/demo/items/a")
    assert answer.status == 200 and answer.json() == {}
    assert answer.headers["Location"] is None and answer.headers["Refresh"] is None


# ---- failure ----


@pytest.mark.parametrize(
    "code, status",
    [
        (Code.CANCELLED, 499),
        (Code.UNKNOWN, 500),
        (Code.INVALID_ARGUMENT, 400),
        (Code.DEADLINE_EXCEEDED, 504),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.PERMISSION_DENIED, 403),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.FAILED_PRECONDITION, 400),
        (Code.ABORTED, 409),
        (Code.OUT_OF_RANGE, 400),
        (Code.UNIMPLEMENTED, 501),
        (Code.INTERNAL, 500),
        (Code.UNAVAILABLE, 503),
        (Code.DATA_LOSS, 500),
        (Code.UNAUTHENTICATED, 401),
    ],
)
def test_status_by_code(world, code, status):
    answer = fail(world, code, "a message")
    assert answer.status == status
    problem = answer.problem()
    # What a service says of its own failures is not for its callers.
    assert problem.get("detail") == ("a message" if status < 500 else None)
    entry = world.wait_for_log(lambda e: e["request_id"] == answer.headers["X-Request-Id"])
    assert entry["grpc_status"] == str(code.value[0]) and entry["status"] == str(status)


def test_failure_keeps_the_connection(world):
    fail(world, Code.INVALID_ARGUMENT)
    connection = world.connect()
    for _ in range(3):
        assert world.get("/demo/items/a", connection=connection).status == 400
        assert connection.sock is not None
    connection.close()


def test_head_of_a_failure(world):
    fail(world, Code.NOT_FOUND)
    answer = world.request("HEAD", "/demo/items/a")
    assert answer.status == 404 and answer.body == b"" and int(answer.headers["Content-Length"]) > 0


def test_violations(world):
    bad = violation(
        world,
        ("user.username", "can't be blank"),
        ("user.tag_list[3]", "is too long"),
        ("user.tag_list[4]", "is too short"),
        ('user.labels["a.b_c"]', "is odd"),
        ("user.username", "is taken"),
    )
    info = world.messages.new("google.rpc.ErrorInfo", reason="INVALID", domain="demo")
    answer = fail(world, Code.INVALID_ARGUMENT, "bad", (bad, info))
    assert answer.status == 422
    problem = answer.problem()
    assert problem["errors"] == {
        "username": ["can't be blank", "is taken"],
        "tagList": ["is too long", "is too short"],
        "labels": ["is odd"],
    }
    assert problem["reason"] == "INVALID" and problem["detail"] == "bad"
    assert problem["title"] == "Unprocessable Content"


def test_many_violations(world):
    bad = violation(world, *((f"f.field_{i}", "is wrong") for i in range(64)))
    answer = fail(world, Code.INVALID_ARGUMENT, "bad", (bad,))
    assert answer.status == 422
    assert len(answer.errors()) == 64


def test_resource(world):
    info = world.messages.new("google.rpc.ResourceInfo", resource_type="article", resource_name="x", description="not found")
    answer = fail(world, Code.NOT_FOUND, "no such article", (info,))
    assert answer.status == 404
    assert answer.errors() == {"article": ["not found"]}


def test_unauthenticated_has_a_challenge(world):
    answer = fail(world, Code.UNAUTHENTICATED, "token is missing", (violation(world, ("token", "is missing")),))
    assert answer.status == 401
    assert answer.errors() == {"token": ["is missing"]}
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ("Bearer abc", "Token abc", "Basic abc"))
def test_challenge_after_a_token(world, token):
    """RFC 6750 section 3.1."""
    fail(world, Code.UNAUTHENTICATED, "token is invalid")
    answer = world.get("/demo/items/a", headers={"Authorization": token})
    assert answer.status == 401 and answer.problem()
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_challenge_of_a_method_that_takes_no_token(world):
    """A sign-in says nothing about the token that came along."""

    def answer(request, context):
        context.abort(Code.UNAUTHENTICATED, "wrong password")

    auth = FakeService(world.messages, world.socket_path("auth"))
    auth.answers["/stoa.auth.v1.AuthService/Login"] = answer
    try:
        body = {"user": {"email": "a@example.com", "password": "wrong password"}}
        got = world.post("/api/users/login", body, headers={"Authorization": "Bearer abc"})
    finally:
        auth.stop()
    assert got.status == 401
    assert got.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("code, seconds, nanos, header", [
    (Code.RESOURCE_EXHAUSTED, 7, 0, "7"),
    (Code.UNAVAILABLE, 1, 1, "2"),
    (Code.UNAVAILABLE, 0, 5, "1"),
    (Code.UNAVAILABLE, -5, 0, None),
    (Code.UNAVAILABLE, 10**9, 0, None),
])
def test_retry_after(world, code, seconds, nanos, header):
    retry = world.messages.new("google.rpc.RetryInfo", retry_delay={"seconds": seconds, "nanos": nanos})
    answer = fail(world, code, "", (retry,))
    assert answer.headers["Retry-After"] == header
    assert answer.errors()


def test_message_is_decoded_and_escaped(world):
    message = 'sñ "quoted" \\ 100% <b>\n'
    assert fail(world, Code.NOT_FOUND, message).problem()["detail"] == message


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x1a\x7f", b"\x1a\x04\x0a\x10ab", b""])
def test_garbage_details(world, garbage):
    answer = fail(world, Code.NOT_FOUND, "m", metadata=(("grpc-status-details-bin", garbage),))
    assert answer.status == 404
    assert answer.problem()["detail"] == "m"


def test_error_after_initial_metadata(world):
    def answer(request, context):
        context.send_initial_metadata((("x-colour", "red"),))
        context.abort(Code.ALREADY_EXISTS, "late")

    answer_with(world, answer)
    answer = world.get("/demo/items/a")
    assert answer.status == 409 and answer.headers["X-Colour"] == "red"
    assert answer.problem()["detail"] == "late"


def test_unknown_method_of_the_service(world):
    world.service.answers.pop(SERVICE + "ListItems", None)
    assert world.get("/demo/items").status == 501


# ---- logs ----


def test_access_log(world):
    get_item(world)
    answer = world.get("/demo/items/a?secret=1", headers={"X-Request-Id": "log-1", "Authorization": "Bearer secret"})
    assert answer.status == 200
    entry = world.wait_for_log(lambda e: e["request_id"] == "log-1")
    assert entry["request"] == "GET /demo/items/a"
    assert entry["rpc"] == SERVICE + "GetItem" and entry["grpc_status"] == "0" and entry["status"] == "200"
    assert float(entry["upstream_seconds"]) >= 0 and float(entry["seconds"]) >= 0
    assert "secret" not in str(entry)


def test_log_of_hostile_text(world):
    world.raw(b'GET /a%22%0a"\\b HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-2\r\nConnection: close\r\n\r\n')
    assert world.wait_for_log(lambda e: e["request_id"] == "log-2")["status"] == "404"


# ---- many at once ----


def test_answers_go_to_their_askers(world):
    new = world.messages.new
    answer_with(world, lambda r, c: new("demo.v1.GetItemResponse", item=new("demo.v1.Item", name=r.name)))
    wrong = []

    def ask(worker):
        connection = world.connect()
        for i in range(50):
            name = f"{worker}-{i}"
            answer = world.get(f"/demo/items/{name}", connection=connection)
            if answer.status != 200 or answer.json()["item"]["name"] != name:
                wrong.append((name, answer.status, answer.body))
        connection.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_pipelined_requests(world):
    new = world.messages.new
    answer_with(world, lambda r, c: new("demo.v1.GetItemResponse", item=new("demo.v1.Item", name=r.name)))
    one = "GET /demo/items/{} HTTP/1.1\r\nHost: x\r\n{}\r\n"
    data = "".join(one.format(i, "Connection: close\r\n" if i == 19 else "") for i in range(20))
    answers = world.raw(data.encode())
    assert [a.json()["item"]["name"] for a in answers] == [str(i) for i in range(20)]
