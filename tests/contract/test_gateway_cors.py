"""Pages of other origins (CORS, by the Fetch standard): which may read answers, and what a preflight says."""
import pytest

from gateway_fixture import SERVICE, FakeService, Gateway

APP = "https://app.example.com"
CHANGES = {
    "grpc_json_cors http://localhost:*;": f"grpc_json_cors {APP} https://*.example.org http://localhost:*;"
    " grpc_json_cors_credentials on; grpc_json_response_header x-total X-Total-Count;"
}
ALLOWED = [APP, "https://a.example.org", "https://b.a.example.org", "http://localhost", "http://localhost:3000"]
REFUSED = [
    "https://app.example.com.evil.net",
    "https://evil-app.example.com",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://example.org",
    "null",
    "",
    f"{APP}, https://evil.net",
    "*",
]


@pytest.fixture(scope="module")
def gateway(descriptor_set):
    started = Gateway(descriptor_set, CHANGES).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def service(messages, gateway):
    made = FakeService(messages, gateway.socket_path("chat"))
    made.answers[SERVICE + "GetItem"] = lambda r, c: messages.new("demo.v1.GetItemResponse")
    yield made
    made.stop()


def shared_with(answer):
    """The origin that may read an answer, after a look at what goes with it."""
    names = {name.lower() for name in answer.headers if name.lower().startswith("access-control-")}
    assert answer.headers.get_all("Vary").count("Origin") == 1
    if not names:
        return None
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    exposed = answer.headers["Access-Control-Expose-Headers"].lower().split(", ")
    assert {"x-request-id", "retry-after", "ratelimit", "x-total-count"} <= set(exposed)
    (origin,) = answer.headers.get_all("Access-Control-Allow-Origin")
    return origin


def preflight(gateway, path, origin=APP, method="GET"):
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    return gateway.request("OPTIONS", path, headers=headers)


@pytest.mark.parametrize("origin", ALLOWED)
def test_allowed_origin(gateway, service, origin):
    answer = gateway.get("/demo/items/a", headers={"Origin": origin})
    assert answer.status == 200 and shared_with(answer) == origin
    assert "Access-Control-Allow-Methods" not in answer.headers
    assert "Access-Control-Max-Age" not in answer.headers


@pytest.mark.parametrize("origin", REFUSED)
def test_refused_origin(gateway, service, origin):
    answer = gateway.get("/demo/items/a", headers={"Origin": origin})
    assert answer.status == 200 and shared_with(answer) is None
    assert shared_with(preflight(gateway, "/demo/items/a", origin)) is None


def test_no_origin(gateway, service):
    assert shared_with(gateway.get("/demo/items/a")) is None


def test_two_origins(gateway, service):
    raw = f"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: {APP}\r\nOrigin: {APP}\r\n\r\n"
    (answer,) = gateway.raw(raw.encode())
    assert answer.status == 200 and shared_with(answer) is None


def test_every_answer_is_shared(gateway, service):
    """A script must be able to read what went wrong, whoever says so."""
    headers = {"Origin": APP}
    for status, method, path, body in (
        (404, "GET", "/nope", None),
        (405, "DELETE", "/demo/items", None),
        (400, "POST", "/demo/items", "{"),
        (501, "GET", "/demo/items", None),
        (413, "POST", "/demo/items", "x" * 3_000_000),
        (200, "GET", "/healthz", None),
        (503, "GET", "/readyz", None),
        (502, "GET", "/api/articles/a", None),
        (200, "HEAD", "/demo/items/a", None),
    ):
        answer = gateway.request(method, path, body=body, headers=headers)
        assert (status, shared_with(answer)) == (answer.status, APP), path
        assert shared_with(gateway.request(method, path, body=body)) is None


def test_preflight(gateway):
    answer = preflight(gateway, "/demo/items/a", method="PUT")
    assert answer.status == 204 and answer.body == b"" and shared_with(answer) == APP
    assert answer.headers["Access-Control-Max-Age"] == "600"
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"content-type", "authorization", "x-request-id", "traceparent"} <= set(allowed)
    methods = answer.headers["Access-Control-Allow-Methods"]
    assert methods == answer.headers["Allow"]


def test_preflight_of_an_event_source(gateway):
    """A page that reads events by fetch() says itself where it was; what it asks for is all that it sends."""
    asked = "authorization, last-event-id"
    headers = {"Origin": APP, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": asked}
    answer = gateway.request("OPTIONS", "/demo/watch", headers=headers)
    assert answer.status == 204 and shared_with(answer) == APP
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert set(asked.split(", ")) <= set(allowed)
    assert "GET" in answer.headers["Access-Control-Allow-Methods"].split(", ")


@pytest.mark.parametrize(
    "path, methods",
    [
        ("/demo/items/a", {"GET", "PUT", "DELETE"}),
        ("/demo/items", {"GET", "POST"}),
        ("/api/users", {"POST"}),
    ],
)
def test_preflight_names_the_methods_of_the_routes(gateway, path, methods):
    said = set(preflight(gateway, path).headers["Access-Control-Allow-Methods"].split(", "))
    assert said - {"HEAD", "OPTIONS"} == methods


def test_preflight_of_no_path(gateway):
    answer = preflight(gateway, "/nope")
    assert answer.status == 404 and "Access-Control-Allow-Methods" not in answer.headers


def test_options_that_is_no_preflight(gateway):
    answer = gateway.request("OPTIONS", "/demo/items/a", headers={"Origin": APP})
    assert answer.status == 204 and answer.headers["Allow"] and shared_with(answer) == APP
    assert "Access-Control-Allow-Methods" not in answer.headers


def test_everybody(descriptor_set):
    changes = {"grpc_json_cors http://localhost:*;": "grpc_json_cors *;"}
    gateway = Gateway(descriptor_set, changes).start()
    try:
        for headers in ({"Origin": APP}, {"Origin": "null"}):
            answer = gateway.get("/healthz", headers=headers)
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert "Origin" not in (answer.headers.get_all("Vary") or [])
        answer = preflight(gateway, "/demo/items/a", method="PUT")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    finally:
        gateway.stop()


def test_nobody(descriptor_set):
    gateway = Gateway(descriptor_set, {"grpc_json_cors http://localhost:*;": "grpc_json_cors off;"}).start()
    try:
        answer = preflight(gateway, "/demo/items/a")
        assert answer.status == 204 and answer.headers["Allow"]
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    "directive",
    ["grpc_json_cors null;", "grpc_json_cors example.com;", "grpc_json_cors * http://a.b;", "grpc_json_cors https://a.b/;",
     "grpc_json_cors *; grpc_json_cors_credentials on;", "grpc_json_cors http://a.b; grpc_json_cors http://c.d;"],
)
def test_bad_configuration(descriptor_set, directive):
    gateway = Gateway(descriptor_set, {"grpc_json_cors http://localhost:*;": directive})
    result = gateway.test_config()
    gateway.stop()
    assert result.returncode != 0 and "grpc_json_cors" in result.stderr
