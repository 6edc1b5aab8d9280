"""google.api.http end to end: every shape of route in tests/unit/protos/routes.proto, through nginx, to the
message that the service gets; and routes that a gateway refuses to start with."""
import json

import pytest
from google.protobuf import json_format

from gateway_fixture import ROOT, Gateway, Messages, compile_demo, serving

SERVICE = "/stoa.routes.Routes/"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    proto = (ROOT / "tests/unit/protos/routes.proto").read_text()
    descriptor_set = compile_demo(tmp_path_factory.mktemp("routes"), proto)
    messages = Messages(descriptor_set)
    # The page is not in the way of a route at /.
    changes = {"demo.* chat;": "stoa.routes chat;", "location = / {": "location = /.page {"}

    def answer(_, __):
        return messages.new(
            "stoa.routes.Response", name="n", names=["a", "b"], count=7, labels={"k": 1}, inner={"name": "i"}
        )

    with serving(descriptor_set, messages, changes) as gateway:
        for path in messages.methods:
            if path.startswith(SERVICE):
                gateway.service.answers[path] = answer
        yield gateway


@pytest.mark.parametrize(
    "method, path, body, rpc, request_",
    [
        # Captures: one segment is decoded wholly, several keep what is reserved.
        ("GET", "/v1/things/a%2Fb%3A%20%C3%A9", None, "Get", {"name": "a/b: é"}),
        ("GET", "/v1/things/special", None, "Fixed", {}),
        ("GET", "/v1/%74hings/speci%61l", None, "Fixed", {}),
        ("GET", "/v1/files/a%2Fb/%3Fc%20d//e", None, "File", {"name": "files/a%2Fb/%3Fc d//e"}),
        ("GET", "/v1/files", None, "File", {"name": "files"}),
        ("PUT", "/v1/inner/boxes/1/shelves/2", {"count": 3}, "Update", {"inner": {"name": "boxes/1/shelves/2", "count": 3}}),
        ("GET", "/v1/pairs/x/-7", None, "Two", {"name": "x", "id": -7}),
        ("GET", "/v1/pairs/x/fixed", None, "Star", {}),
        ("GET", "/", None, "Root", {}),
        # Methods: HEAD of GET, custom ones, any.
        ("HEAD", "/v1/things/a", None, "Get", {"name": "a"}),
        ("PURGE", "/v1/things/a", None, "Custom", {"name": "a"}),
        ("PROPFIND", "/v1/anything/a", None, "Custom", {"name": "a"}),
        ("OPTIONS", "/v1/anything/a", None, "Custom", {"name": "a"}),
        # Verbs, also behind **.
        ("POST", "/v1/things/a:b:publish", {"id": 1}, "Publish", {"name": "a:b", "id": 1}),
        ("GET", "/v1/things/a:publish", None, "Get", {"name": "a:publish"}),
        ("POST", "/v1/files/a/b:publish?id=3", None, "Publish", {"name": "files/a/b", "id": 3}),
        # Bodies: everything, a field, a list, a map, a scalar; the path comes first.
        ("POST", "/v1/things", {"name": "a", "inner": {"tags": ["x"]}}, "Create", {"name": "a", "inner": {"tags": ["x"]}}),
        ("POST", "/v1/things/a:publish", {"name": "b"}, "Publish", {"name": "a"}),
        ("PATCH", "/v1/things/a/inner?id=5", {"name": "b", "tags": ["t"]}, "Update", {"id": 5, "inner": {"name": "a", "tags": ["t"]}}),
        ("PUT", "/v1/tags", ["a", "b"], "List", {"tagList": ["a", "b"]}),
        ("PUT", "/v1/labels", {"a": "b"}, "Labels", {"labels": {"a": "b"}}),
        ("PUT", "/v1/scalar", 5, "Scalar", {"id": 5}),
        # Queries.
        (
            "GET",
            "/v1/search?inner.inner.count=2&inner.tags=x&inner.tags=y&tag_list=a&tagList=b&orders=NEWEST&orders=2",
            None,
            "Search",
            {"inner": {"inner": {"count": 2}, "tags": ["x", "y"]}, "tagList": ["a", "b"], "orders": ["NEWEST", "OLDEST"]},
        ),
        (
            "GET",
            "/v1/search?since=2020-01-02T03:04:05.5%2B01:00&age=1.5s&readMask=name,inner.tags&limit=7&maybe=0&text=a+b"
            "&raw=_-8&big=18446744073709551615&ratio=-Infinity&flag=TRUE&second=0",
            None,
            "Search",
            {
                "since": "2020-01-02T02:04:05.500Z", "age": "1.500s", "readMask": "name,inner.tags", "limit": "7",
                "maybe": False, "text": "a b", "raw": "/+8=", "big": "18446744073709551615", "ratio": "-Infinity",
                "flag": True, "second": 0,
            },
        ),
    ],
)
def test_request(world, method, path, body, rpc, request_):
    calls = len(world.service.calls)
    answer = world.request(method, path, body=None if body is None else json.dumps(body),
                           headers={"Content-Type": "application/json"} if body is not None else {})
    assert answer.status == 200, answer.body
    assert len(world.service.calls) == calls + 1
    called, message, _ = world.service.calls[-1]
    assert called == SERVICE + rpc
    assert json_format.MessageToDict(message) == request_


@pytest.mark.parametrize(
    "method, path, expected",
    [
        ("PUT", "/v1/tags", ["a", "b"]),
        ("PUT", "/v1/labels", {"k": 1}),
        ("PUT", "/v1/scalar", "7"),
        ("GET", "/v1/at", None),
    ],
)
def test_response_body(world, method, path, expected):
    answer = world.request(method, path)
    assert answer.status == 200 and json.loads(answer.body) == expected


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("PUT", "/v1/things/a", "GET, HEAD, DELETE, OPTIONS, PURGE"),
        ("POST", "/v1/search", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/things", "POST, OPTIONS"),
        ("BREW", "/v1/things/a:publish", "GET, HEAD, POST, DELETE, OPTIONS, PURGE"),
    ],
)
def test_method_not_allowed(world, method, path, allow):
    answer = world.request(method, path)
    assert answer.status == 405 and answer.headers["Allow"] == allow
    assert answer.errors() == {"method": ["is not allowed here"]}
    options = world.request("OPTIONS", path)
    assert options.status == 204 and options.headers["Allow"] == allow


@pytest.mark.parametrize(
    "path, key, message",
    [
        ("/v1/search?name=a&name=b", "name", "is given twice"),
        ("/v1/search?first=a&second=1", "second", 'only one member of "choice" may be given'),
        ("/v1/chosen/a?second=1", "second", 'only one member of "choice" may be given'),
        ("/v1/search?inner=x", "inner", "cannot be given in the query"),
        ("/v1/search?order=BEST", "order", "is not one of the known values"),
        ("/v1/search?name=%zz", "name", "has a bad percent escape"),
        ("/v1/pairs/a/b", "id", "must be a whole number from -2147483648 to 2147483647"),
    ],
)
def test_values_that_do_not_fit(world, path, key, message):
    calls = len(world.service.calls)
    answer = world.get(path)
    assert answer.status == 422
    assert answer.errors() == {key: [message]}
    assert len(world.service.calls) == calls


def test_unknown_parameters_can_be_refused(world):
    assert world.get("/v1/search?nothing=1").status == 200
    config = {"grpc_json_problems on;": "grpc_json_problems on; grpc_json_refuse_unknown on;"}
    strict = Gateway(world.descriptor_set, changes={"demo.* chat;": "stoa.routes chat;", **config})
    strict.start()
    try:
        answer = strict.get("/v1/search?nothing=1")
        assert answer.status == 422 and answer.errors() == {"nothing": ["is not a known parameter"]}
        answer = strict.request("POST", "/v1/things?id=1", body="{}")
        assert answer.status == 422 and answer.errors() == {"id": ["is not taken from the query"]}
    finally:
        strict.stop()


@pytest.mark.parametrize(
    "rules, said",
    [
        (('get: "/x/{a}"', 'get: "/x/{b=*}"'), '/t.S/R1: template "/x/{b=*}": GET is taken by "/x/{a}" of /t.S/R0'),
        (('get: "/x/{nope}"',), '/t.S/R0: template "/x/{nope}": t.M has no field nope'),
        (('get: "/x/{n=a/*}"',), '/t.S/R0: template "/x/{n=a/*}": n cannot hold several segments'),
        (('get: "/x/{c}/{d}"',), '/t.S/R0: template "/x/{c}/{d}": c and d are of one oneof, "o"'),
        (('get: "/x/**/y"',), '/t.S/R0: template "/x/**/y" has something behind **'),
    ],
)
def test_bad_routes_stop_the_start(tmp_path, rules, said):
    rpcs = "".join(
        f"rpc R{i}(M) returns (M) {{ option (google.api.http) = {{{rule}}}; }} " for i, rule in enumerate(rules)
    )
    proto = (
        'syntax = "proto3"; package t; import "google/api/annotations.proto";'
        "message M { string a = 1; string b = 2; int32 n = 3; oneof o { string c = 4; string d = 5; } }"
        f"service S {{ {rpcs} }}"
    )
    gateway = Gateway(compile_demo(tmp_path, proto))
    try:
        ran = gateway.test_config()
        assert ran.returncode != 0
        assert f"demo.proto: {said}" in ran.stderr
    finally:
        gateway.stop()
