"""The request's side of the gateway: routes, bodies, headers, and everything that is refused before a
service sees it."""
import json
import socket

import pytest

from gateway_fixture import SERVICE, Messages, compile_demo, serving_items


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    descriptor_set = compile_demo(tmp_path_factory.mktemp("demo"))
    messages = Messages(descriptor_set)
    with serving_items(descriptor_set, messages) as gateway:
        for name in ("ListItems", "ReplaceItem", "DeleteItem"):
            gateway.service.answers[SERVICE + name] = lambda _, __, name=name: messages.new(f"demo.v1.{name}Response")
        yield gateway


def last_call(world):
    return world.service.calls[-1]


# ---- routes ----


def test_path_capture_is_decoded(world):
    assert world.get("/demo/items/a%20b%C3%A9%2Fc").status == 200
    path, request, _ = last_call(world)
    assert path == SERVICE + "GetItem"
    assert request.name == "a bé/c"


def test_query_parameters(world):
    assert world.get("/demo/items?tag=a&tag=b%26c&limit=5&unknown=1").status == 200
    _, request, _ = last_call(world)
    assert list(request.tag) == ["a", "b&c"] and request.limit == 5


def test_body_field(world):
    answer = world.request("PUT", "/demo/items/x", body={"name": "new", "tagList": ["t"]})
    assert answer.status == 200
    _, request, _ = last_call(world)
    assert request.name == "x" and request.item.name == "new" and list(request.item.tag_list) == ["t"]


@pytest.mark.parametrize("path", ["/demo/items/..", "/demo/items/%2e%2E", "/demo/x/../items", "/demo", "/demo/items/a/b", "/nope", "/demo/items/", "/%00", "/a%zz"])
def test_unknown_path(world, path):
    answer = world.get(path)
    assert answer.status in (400, 404)
    assert answer.errors()


def test_route_not_found_names_the_path(world):
    answer = world.get("/nope")
    assert answer.status == 404
    assert answer.errors() == {"path": ["not found"]}


def test_method_not_allowed(world):
    answer = world.request("PATCH", "/demo/items", body="{}")
    assert answer.status == 405
    assert answer.errors() == {"method": ["is not allowed here"]}
    assert sorted(answer.headers["Allow"].split(", ")) == ["GET", "HEAD", "OPTIONS", "POST"]


def test_options(world):
    answer = world.request("OPTIONS", "/demo/items")
    assert answer.status == 204 and answer.body == b""
    assert sorted(answer.headers["Allow"].split(", ")) == ["GET", "HEAD", "OPTIONS", "POST"]
    assert answer.headers["Content-Type"] is None
    assert world.request("OPTIONS", "/nope").status == 404


@pytest.mark.parametrize(
    "path, allow", [("/demo/items", "GET, HEAD, POST, OPTIONS"), ("/demo/items/a", "GET, HEAD, PUT, DELETE, OPTIONS"), ("/nope", "GET, HEAD")]
)
@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_that_nginx_refuses_itself(world, method, path, allow):
    answer = world.request(method, path)
    assert answer.status == 405 and answer.headers["Allow"] == allow
    assert answer.errors() == {"method": ["is not allowed here"]}


@pytest.mark.parametrize("path", ["/openapi.json", "/readyz", "/metrics"])
def test_methods_of_documents(world, path):
    options = world.request("OPTIONS", path, body="x" * 100)
    assert options.status == 204 and options.headers["Allow"] == "GET, HEAD, OPTIONS"
    for method in ("POST", "DELETE", "BREW"):
        answer = world.request(method, path, body="{}")
        assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD, OPTIONS"
        assert answer.errors() == {"method": ["is not allowed here"]}


def test_methods_of_files(world):
    for method in ("POST", "OPTIONS", "DELETE"):
        answer = world.request(method, "/docs/")
        assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"


def test_redirect_keeps_scheme_and_port_of_the_client(world):
    answer = world.get("/docs", headers={"Host": "api.example.com"})
    assert answer.status == 308 and answer.headers["Location"] == "/docs/"


def test_options_with_a_body_keeps_the_connection(world):
    connection = world.connect()
    for _ in range(2):
        assert world.request("OPTIONS", "/demo/items", body="x" * 100, connection=connection).status == 204
    connection.close()


def test_head_is_get_without_body(world):
    get = world.get("/demo/items/a")
    head = world.request("HEAD", "/demo/items/a")
    assert head.status == 200 and head.body == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"] == str(len(get.body))
    assert last_call(world)[0] == SERVICE + "GetItem"
    missing = world.request("HEAD", "/nope")
    assert missing.status == 404 and missing.body == b"" and int(missing.headers["Content-Length"]) > 0


# ---- bodies ----


def test_json_body(world):
    answer = world.post("/demo/items", {"item": {"name": "ü", "size": 3, "unknown": [1]}, "more": None})
    assert answer.status == 201
    assert answer.json()["item"]["name"] == "ü"
    assert last_call(world)[1].item.size == 3


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"])
def test_json_content_types(world, content_type):
    answer = world.post("/demo/items", '{"item":{}}', headers={"Content-Type": content_type})
    assert answer.status == 201


def test_no_content_type_is_json(world):
    connection = world.connect()
    connection.putrequest("POST", "/demo/items")
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}")
    assert connection.getresponse().status == 201
    connection.close()


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "json",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "application/json; charset",
    ],
)
def test_other_content_types(world, content_type):
    calls = len(world.service.calls)
    answer = world.post("/demo/items", "{}", headers={"Content-Type": content_type})
    assert answer.status == 415
    assert answer.errors() == {"contentType": ["must be application/json in UTF-8"]}
    assert answer.headers["Accept"] == "application/json" and answer.headers["Accept-Encoding"] is None
    assert len(world.service.calls) == calls


def raw_post(world, *headers):
    head = "".join(header + "\r\n" for header in headers)
    return world.raw(f"POST /demo/items HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())[0]


def test_two_content_types(world):
    answer = raw_post(world, "Content-Type: application/json", "Content-Type: application/json")
    assert answer.status == 415
    assert answer.errors() == {"contentType": ["must be application/json in UTF-8"]}


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "aws-chunked"])
def test_content_encodings(world, coding):
    answer = raw_post(world, "Content-Encoding: identity", f"Content-Encoding: {coding}")
    assert answer.status == 415
    assert answer.errors() == {"contentEncoding": ["must be identity"]}
    assert answer.headers["Accept-Encoding"] == "identity" and answer.headers["Accept"] is None
    assert raw_post(world, "Content-Encoding: Identity").status == 201


# ---- Accept ----


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "text/html, application/*;q=0.1", "application/problem+json", "", "damaged",
     "text/html,application/xhtml+xml,*/*;q=0.8"],
)
def test_acceptable(world, accept):
    assert world.get("/demo/items/a", headers={"Accept": accept}).status == 200


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "text/*, application/xml", "application/*;q=0, text/plain"]
)
def test_not_acceptable(world, accept):
    calls = len(world.service.calls)
    answer = world.get("/demo/items/a", headers={"Accept": accept})
    assert answer.status == 406
    assert answer.errors() == {"accept": ["allows no type that there is"]}
    assert world.post("/demo/items", "{}", headers={"Accept": accept}).status == 406
    assert len(world.service.calls) == calls
    # Where there is no body, or no route, the answer is what it would be.
    assert world.request("DELETE", "/demo/items/a", headers={"Accept": accept}).status == 204
    assert world.get("/nope", headers={"Accept": accept}).status == 404


def test_accept_on_several_lines(world):
    head = b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/html\r\n"
    assert world.raw(head + b"\r\n")[0].status == 406
    assert world.raw(head + b"Accept: application/json\r\n\r\n")[0].status == 200
    # One list: the range that names a type best decides, wherever it stands.
    assert world.raw(head + b"Accept: */*\r\nAccept: application/json;q=0, application/problem+json;q=0\r\n\r\n")[0].status == 406


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_empty_body_is_no_error(world, content_type):
    assert world.post("/demo/items", "", headers={"Content-Type": content_type}).status == 201


def test_stray_body_is_ignored(world):
    for body in ("not json", "{", "x" * 100_000):
        answer = world.request("DELETE", "/demo/items/a", body=body, headers={"Content-Type": "text/plain"})
        assert answer.status == 204


@pytest.mark.parametrize(
    "body, where",
    [
        ("{", ""),
        ("nonsense", ""),
        ("[]", ""),
        ('{"item":[]}', "item"),
        ('{"item":{"size":"x"}}', "item.size"),
        ('{"item":{"tagList":["a",1]}}', "item.tagList[1]"),
        ('{"item":{}} trailing', ""),
        (b'{"item":{"name":"\xff"}}', ""),
        ('{"item":{"size":99999999999}}', "item.size"),
    ],
)
def test_json_faults(world, body, where):
    calls = len(world.service.calls)
    answer = world.post("/demo/items", body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    errors = answer.errors()
    assert list(errors) == ["body"]
    assert errors["body"][0].startswith(where)
    assert len(world.service.calls) == calls


def test_json_fault_keeps_the_connection(world):
    connection = world.connect()
    for _ in range(3):
        assert world.post("/demo/items", "{", connection=connection).status == 400
        assert connection.sock is not None
    assert world.post("/demo/items", "{}", connection=connection).status == 201
    connection.close()


@pytest.mark.parametrize(
    "query, key",
    [("limit=x", "limit"), ("limit=99999999999", "limit"), ("limit=", "limit"), ("limit=1&limit=1", "limit")],
)
def test_query_faults(world, query, key):
    answer = world.get("/demo/items?" + query)
    assert answer.status == 422
    assert list(answer.errors()) == [key]


def test_bool_query_fault(world):
    answer = world.get("/demo/items/a?short=maybe")
    assert answer.status == 422
    assert list(answer.errors()) == ["short"]


def test_large_body_through_a_file(world):
    name = "é" * 500_000
    body = json.dumps({"item": {"name": name}}, ensure_ascii=False).encode()
    answer = world.post("/demo/items", body)
    assert answer.status == 201
    assert answer.json()["item"]["name"] == name


def test_chunked_body(world):
    parts = [b'{"item":', b'{"name":"', b"x" * 70_000, b'"}', b"}"]
    connection = world.connect()
    connection.request(
        "POST", "/demo/items", body=iter(parts), headers={"Content-Type": "application/json"}, encode_chunked=True
    )
    response = connection.getresponse()
    assert response.status == 201
    assert len(json.loads(response.read())["item"]["name"]) == 70_000
    connection.close()


def test_expect_100_continue(world):
    with socket.create_connection(("127.0.0.1", world.port), timeout=30) as s:
        s.sendall(
            b"POST /demo/items HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert s.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        s.sendall(b"{}")
        assert s.recv(1000).startswith(b"HTTP/1.1 201")


def test_body_limit_by_length(world):
    answer = world.raw(
        b"POST /demo/items HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n"
    )[0]
    assert answer.status == 413
    assert answer.errors() == {"body": ["is too large"]}


def test_body_limit_chunked(world):
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = b"POST /demo/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = world.raw(head + chunk * 40 + b"0\r\n\r\n")[0]
    assert answer.status == 413
    assert answer.errors() == {"body": ["is too large"]}


def test_client_goes_away_amid_its_body(world):
    calls = len(world.service.calls)
    with socket.create_connection(("127.0.0.1", world.port)) as s:
        s.sendall(b"POST /demo/items HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert world.get("/demo/items/a").status == 200
    assert len(world.service.calls) == calls + 1


def test_slow_client_is_cut(world):
    with socket.create_connection(("127.0.0.1", world.port)) as s:
        s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n")
        # The header never ends; other clients are served meanwhile.
        assert world.get("/demo/items/a").status == 200


# ---- what nginx itself refuses ----


@pytest.mark.parametrize(
    "data, status",
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET  HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /demo/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: aaaa\r\n" * 5000 + b"\r\n", 431),
    ],
    ids=lambda v: None if isinstance(v, int) else v[:40].decode("latin-1").split("\r")[0],
)
def test_bad_requests_are_problems_too(world, data, status):
    answer = world.raw(data)[-1]
    assert answer.status == status, answer.body
    assert answer.errors()


def test_codings_of_a_transfer(world):
    answer = world.raw(b"POST /demo/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")[-1]
    assert answer.status == 501 and answer.errors() == {"transferEncoding": ["must be chunked"]}


def test_internal_locations_are_hidden(world):
    for path in ("/.header-too-large", "/grpc.health.v1.Health/Check"):
        answer = world.get(path)
        assert answer.status == 404
        assert answer.errors() == {"path": ["not found"]}
    assert world.post(SERVICE + "GetItem", "{}").status == 404


# ---- headers ----


def test_allowed_headers_arrive(world):
    world.get(
        "/demo/items/a",
        headers={
            "Authorization": "Token abc.def",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "Accept-Language": "de",
            "User-Agent": "curl/8",
        },
    )
    metadata = last_call(world)[2]
    assert metadata["authorization"] == "Token abc.def"
    assert metadata["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert metadata["accept-language"] == "de"
    assert metadata["x-forwarded-user-agent"] == "curl/8"
    assert metadata["x-client-address"] == "127.0.0.1"


def test_forged_headers_do_not(world):
    forged = {
        "grpc-timeout": "1n",
        "grpc-encoding": "gzip",
        "grpc-trace-bin": "AAAA",
        "grpc-status": "0",
        "TE": "gzip",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-User-Agent": "forged",
        "X-Client-Address": "6.6.6.6",
        "X-Real-IP": "1.2.3.4",
        "Forwarded": "for=1.2.3.4",
        "Cookie": "a=b",
        "X-Anything": "1",
        "Content-Encoding": "gzip",
    }
    assert world.get("/demo/items/a", headers=forged).status == 200
    metadata = last_call(world)[2]
    assert metadata["x-client-address"] == "127.0.0.1"
    assert set(metadata) <= {"x-request-id", "x-client-address", "user-agent", "traceparent"}


def test_deadline_comes_from_the_configuration(world):
    remaining = []

    def answer(request, context):
        remaining.append(context.time_remaining())
        return world.service.messages.new("demo.v1.ListItemsResponse")

    before = world.service.answers[SERVICE + "ListItems"]
    world.service.answers[SERVICE + "ListItems"] = answer
    assert world.get("/demo/items", headers={"grpc-timeout": "1H"}).status == 200
    world.service.answers[SERVICE + "ListItems"] = before
    assert 0 < remaining[0] <= 10


def test_odd_bytes_in_what_the_gateway_says_of_a_client(world):
    data = b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\nUser-Agent: B \xc3\xa9\t1\r\nConnection: close\r\n\r\n"
    assert world.raw(data)[0].status == 200
    assert last_call(world)[2]["x-forwarded-user-agent"] == "B ???1"


def test_too_much_metadata(world):
    calls = len(world.service.calls)
    answer = world.get("/demo/items/a", headers={"Authorization": "Bearer " + "a" * 7800})
    assert answer.status == 431
    assert answer.errors() == {"headers": ["are too large"]}
    assert world.get("/demo/items/a", headers={"Authorization": "Bearer " + "a" * 6900}).status == 200
    assert len(world.service.calls) == calls + 1


def test_request_id(world):
    answer = world.get("/demo/items/a", headers={"X-Request-Id": "my-id.1"})
    assert answer.headers["X-Request-Id"] == "my-id.1"
    assert last_call(world)[2]["x-request-id"] == "my-id.1"
    assert world.wait_for_log(lambda e: e["request_id"] == "my-id.1")["rpc"] == SERVICE + "GetItem"


@pytest.mark.parametrize("bad", ["", "a b", "x" * 65, 'a"b', "<script>", "-a", "é"])
def test_bad_request_ids_are_replaced(world, bad):
    answer = world.get("/nope", headers={"X-Request-Id": bad.encode("latin-1")})
    made = answer.headers["X-Request-Id"]
    assert len(made) == 32 and int(made, 16)
    assert answer.problem()["instance"] == "urn:request:" + made


@pytest.mark.parametrize(
    "name, value",
    [
        ("If-None-Match", '"x"'),
        ("If-Modified-Since", "Thu, 01 Jan 2037 00:00:00 GMT"),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Range", "bytes=0-1"),
    ],
)
def test_nginx_judges_no_conditions_itself(world, name, value):
    assert world.get("/demo/items/a", headers={name: value}).status == 200
