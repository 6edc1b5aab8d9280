"""Conditional requests: entity tags from the message or from metadata, 304 and 412, caching."""
import grpc
import pytest

from gateway_fixture import DEMO_PROTO, SERVICE, Messages, compile_demo, details, serving

Code = grpc.StatusCode

PROTO = DEMO_PROTO.replace(
    "bool hidden = 6;", "bool hidden = 6; string etag = 7 [(stoa.api.v1.field).entity_tag = true];"
).replace(
    'option (google.api.http) = {get: "/demo/items/{name}"};',
    'option (google.api.http) = {get: "/demo/items/{name}"};'
    'option (stoa.api.v1.method).cache_control = "private, max-age=60";',
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    descriptor_set = compile_demo(tmp_path_factory.mktemp("demo"), PROTO)
    # Conditions are the gateway's own to pass on, also where clients may say them.
    changes = {"    grpc_json_timeout 10s;": "    grpc_json_timeout 10s; grpc_json_response_header x-caching Cache-Control;"
                                             " grpc_json_request_header If-Match; grpc_json_request_header If-None-Match;"}
    with serving(descriptor_set, Messages(descriptor_set), changes) as gateway:
        yield gateway


def item_answer(world, etag="", initial=(), trailing=(), name="GetItem", note="n"):
    """Makes the service answer so, and returns the list of the metadata of its calls."""
    seen = []

    def answer(request, context):
        seen.append(list(context.invocation_metadata()))
        context.send_initial_metadata(initial)
        context.set_trailing_metadata(trailing)
        new = world.messages.new
        if name == "DeleteItem":
            return new("demo.v1.DeleteItemResponse")
        return new(f"demo.v1.{name}Response", item=new("demo.v1.Item", name="a", note=note, etag=etag))

    world.service.answers[SERVICE + name] = answer
    return seen


def get(world, method="GET", **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.request(method, "/demo/items/a", headers=names)


# ---- the tag ----


@pytest.mark.parametrize(
    "value, tag",
    [
        ("v1", '"v1"'),
        ('"v1"', '"v1"'),
        ('W/"v1"', 'W/"v1"'),
        ("aGVsbG8=", '"aGVsbG8="'),
        ("", None),
        ("two words", None),
        ('a"b', None),
        ("a\r\nX-Evil: 1", None),
        ("x" * 600, None),
    ],
)
def test_tag_of_the_message(world, value, tag):
    item_answer(world, etag=value)
    answer = get(world)
    assert answer.status == 200
    assert answer.headers["ETag"] == tag and answer.headers["X-Evil"] is None
    assert answer.json()["item"]["etag"] == value


@pytest.mark.parametrize("initial, trailing", [((("etag", "m1"),), ()), ((), (("etag", '"m1"'),))])
def test_tag_of_metadata(world, initial, trailing):
    item_answer(world, initial=initial, trailing=trailing)
    assert get(world).headers["ETag"] == '"m1"'


def test_metadata_wins_over_the_message(world):
    item_answer(world, etag="field", initial=(("etag", "early"),), trailing=(("etag", "late"),))
    answer = get(world)
    assert answer.headers.get_all("ETag") == ['"late"']


def test_tag_of_a_write(world):
    item_answer(world, name="ReplaceItem", etag="v2")
    assert world.request("PUT", "/demo/items/a", body={}).headers["ETag"] == '"v2"'
    item_answer(world, name="DeleteItem", trailing=(("etag", "v3"),))
    answer = world.request("DELETE", "/demo/items/a")
    assert answer.status == 204 and answer.headers["ETag"] == '"v3"'


def test_failures_have_no_tag(world):
    def answer(request, context):
        context.set_trailing_metadata((("etag", "v1"),))
        context.abort(Code.NOT_FOUND, "m")

    world.service.answers[SERVICE + "GetItem"] = answer
    answer = get(world, If_None_Match="*", If_Match='"x"')
    assert answer.status == 404 and answer.headers["ETag"] is None and answer.headers["Cache-Control"] is None


def test_compressed_answers_are_weakly_tagged(world):
    item_answer(world, etag="v1", note="n" * 5000)
    answer = get(world, Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["ETag"] == 'W/"v1"'
    again = get(world, Accept_Encoding="gzip", If_None_Match=answer.headers["ETag"])
    assert again.status == 304 and again.headers["ETag"] == answer.headers["ETag"]


# ---- If-None-Match ----


@pytest.mark.parametrize(
    "condition, status",
    [
        ('"v1"', 304),
        ('W/"v1"', 304),
        ('"v0", "v1"', 304),
        (' "v0" ,, W/"v1" ', 304),
        ("*", 304),
        ('"v2"', 200),
        ('"V1"', 200),
        ("v1", 200),  # damaged: no condition
        ('"v1', 200),
        ("", 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match(world, method, condition, status):
    item_answer(world, etag="v1")
    answer = get(world, method, If_None_Match=condition)
    assert answer.status == status
    # A cache finds what it keeps by the tag that it knows.
    assert answer.headers["ETag"] == ('W/"v1"' if "W/" in condition else '"v1"')


def test_weak_tags_match_weakly(world):
    item_answer(world, etag='W/"v1"')
    assert get(world, If_None_Match='"v1"').status == 304


@pytest.mark.parametrize("name", [b"If-Match", b"If-None-Match"])
def test_a_list_is_one_line(world, name):
    """nginx takes these headers once."""
    seen = item_answer(world, etag="v1")
    head = b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = world.raw(head + name + b': "a"\r\n' + name + b': "v1"\r\n\r\n')[0]
    assert answer.status == 400 and answer.errors() and not seen


def test_what_a_304_has(world):
    item_answer(world, etag="v1")
    whole = get(world)
    connection = world.connect()
    for _ in range(2):  # the connection stays usable
        answer = world.request("GET", "/demo/items/a", headers={"If-None-Match": '"v1"'}, connection=connection)
        assert answer.status == 304 and answer.body == b"" and answer.reason == "Not Modified"
        assert answer.headers["ETag"] == whole.headers["ETag"]
        assert answer.headers["Cache-Control"] == whole.headers["Cache-Control"] == "private, max-age=60"
        assert answer.headers["Date"] and answer.headers["X-Request-Id"]
        assert "Accept-Encoding" in answer.headers["Vary"]
        for name in ("Content-Type", "Content-Length", "Transfer-Encoding", "Content-Encoding"):
            assert answer.headers[name] is None
        entry = world.wait_for_log(lambda e: e["request_id"] == answer.headers["X-Request-Id"])
        assert entry["status"] == "304" and entry["grpc_status"] == "0"
    connection.close()


def test_no_304_of_a_write(world):
    seen = item_answer(world, name="ReplaceItem", etag="v1")
    answer = world.request("PUT", "/demo/items/a", body={}, headers={"If-None-Match": "*"})
    assert answer.status == 200
    assert dict(seen[0])["if-none-match"] == "*"


def test_no_304_of_a_failure(world):
    def answer(request, context):
        context.abort(Code.NOT_FOUND, "m")

    world.service.answers[SERVICE + "GetItem"] = answer
    assert get(world, If_None_Match="*").status == 404


# ---- If-Match ----


@pytest.mark.parametrize(
    "tag, condition, status",
    [
        ("v1", '"v1"', 200),
        ("v1", '"v0", "v1"', 200),
        ("v1", "*", 200),
        ("", "*", 200),
        ("v1", '"v2"', 412),
        ("v1", 'W/"v1"', 412),  # the comparison is the strong one
        ('W/"v1"', 'W/"v1"', 412),
        ("", '"v1"', 412),
        ("v1", "v1", 400),
        ("v1", "", 400),
        ("v1", '*, "v1"', 400),
    ],
)
def test_if_match_of_a_read(world, tag, condition, status):
    seen = item_answer(world, etag=tag)
    answer = get(world, If_Match=condition)
    assert answer.status == status
    if status == 412:
        assert answer.errors() == {"request": ["has a condition that does not hold"]}
        assert answer.headers["ETag"] is None and answer.headers["Cache-Control"] is None
    elif status == 400:
        assert answer.errors() == {"ifMatch": ["must be * or a list of entity tags"]}
        assert not seen
    if seen:
        assert "if-match" not in dict(seen[0])


def test_if_match_comes_first(world):
    item_answer(world, etag="v1")
    assert get(world, If_Match='"v2"', If_None_Match='"v1"').status == 412
    assert get(world, If_Match='"v1"', If_None_Match='"v1"').status == 304


def test_if_match_of_a_write_reaches_the_service(world):
    seen = item_answer(world, name="ReplaceItem", etag="v2")
    headers = {"If-Match": '"v1", W/"v0"'}
    assert world.request("PUT", "/demo/items/a", body={}, headers=headers).status == 200
    assert [v for k, v in seen[0] if k == "if-match"] == ['"v1", W/"v0"']


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("condition", ["v1", '"v1', "", '"v1" "v2"'])
def test_damaged_conditions_of_a_write(world, name, condition):
    seen = item_answer(world, name="ReplaceItem")
    answer = world.request("PUT", "/demo/items/a", body={}, headers={name: condition})
    assert answer.status == 400
    assert answer.errors() == {name[0].lower() + name[1:].replace("-", ""): ["must be * or a list of entity tags"]}
    assert not seen


@pytest.mark.parametrize(
    "code, reason, status",
    [
        (Code.FAILED_PRECONDITION, "ETAG_MISMATCH", 412),
        (Code.ABORTED, "ETAG_MISMATCH", 412),
        (Code.FAILED_PRECONDITION, "ACCOUNT_CLOSED", 400),
        (Code.ABORTED, "CONFLICT", 409),
        (Code.NOT_FOUND, "ETAG_MISMATCH", 404),
    ],
)
def test_refused_by_the_service(world, code, reason, status):
    info = world.messages.new("google.rpc.ErrorInfo", reason=reason, domain="demo.example")

    def answer(request, context):
        context.set_trailing_metadata(details(world.messages, code, "stale", info))
        context.abort(code, "stale")

    world.service.answers[SERVICE + "ReplaceItem"] = answer
    answer = world.request("PUT", "/demo/items/a", body={}, headers={"If-Match": '"v1"'})
    assert answer.status == status
    problem = answer.problem()
    assert problem["reason"] == reason and problem["detail"] == "stale"
    assert problem["type"] == f"urn:problem:demo.example:{reason}"


# ---- Cache-Control ----


def test_cache_control_of_the_method(world):
    item_answer(world)
    assert get(world).headers.get_all("Cache-Control") == ["private, max-age=60"]
    item_answer(world, name="ReplaceItem")
    assert world.request("PUT", "/demo/items/a", body={}).headers["Cache-Control"] is None


def test_cache_control_of_metadata_wins(world):
    item_answer(world, trailing=(("x-caching", "no-store"),))
    assert get(world).headers.get_all("Cache-Control") == ["no-store"]


def test_cache_control_of_metadata_by_allow_list_only(world):
    item_answer(world, initial=(("cache-control", "no-store"), ("expires", "0")))
    answer = get(world)
    assert answer.headers.get_all("Cache-Control") == ["private, max-age=60"]
    assert answer.headers["Expires"] is None


# ---- a service on lib/grpc ----


def test_conditions_against_the_test_server(test_gateway):
    path = "/test/echo-unary/hello?etag=v7"
    answer = test_gateway.get(path)
    assert answer.status == 200 and answer.headers["ETag"] == '"v7"' and answer.json()["etag"] == "v7"
    assert test_gateway.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status == 304
    assert test_gateway.get(path, headers={"If-Match": '"v6"'}).status == 412


def test_conditions_reach_the_test_server(test_gateway):
    request = {"returnMetadata": ["if-match", "if-none-match"], "etag": "v7"}
    headers = {"If-Match": '"v7"', "If-None-Match": 'W/"v6"'}
    answer = test_gateway.post("/test/echo-unary", request, headers=headers)
    assert answer.status == 200 and answer.headers["ETag"] == '"v7"'
    assert answer.json()["metadata"] == {"if-match": '"v7"', "if-none-match": 'W/"v6"'}


def test_refused_by_the_test_server(test_gateway):
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ETAG_MISMATCH", "domain": "stoa"}
    request = {"outcome": {"status": {"code": 10, "message": "stale", "details": [info]}}}
    answer = test_gateway.post("/test/echo-unary", request, headers={"If-Match": '"v1"'})
    assert answer.status == 412
    assert answer.json()["reason"] == "ETAG_MISMATCH" and answer.json()["detail"] == "stale"
