"""/openapi.json and /docs: the document says what the descriptor set says and what the gateway does."""
import gzip
import hashlib
import json
import pathlib
import re
import subprocess
import urllib.error
import urllib.request
from html.parser import HTMLParser

import jsonschema
import pytest

from gateway_fixture import DEMO_PROTO, OUT, ROOT, Gateway, compile_demo
from live_fixture import WebSocketLive

OPTIONS = ("--title", "Stoa", "--version", "1.0.0", "--print-unset")
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")


def fetch(base, path, headers=None, method="GET"):
    request = urllib.request.Request(base + path, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture(scope="module")
def document(suite):
    status, headers, body = fetch(suite.http, "/openapi.json")
    assert status == 200 and headers["Content-Type"] == "application/json"
    return json.loads(body)


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def resolve(document, value):
    while "$ref" in value:
        target = document
        for key in value["$ref"].split("/")[1:]:
            target = target[key]
        value = target
    return value


def validator(document, schema):
    """References are into the document, so the schema is looked at from there."""
    return jsonschema.Draft202012Validator(
        {**schema, "components": document["components"]}, format_checker=jsonschema.FormatChecker()
    )


def check(document, schema, value):
    faults = [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in validator(document, schema).iter_errors(value)]
    assert not faults, faults


def find(document, operation_id):
    found = [op for _, _, op in operations(document) if op["operationId"] == operation_id]
    assert len(found) == 1
    return found[0]


def answer_schema(document, operation_id, status):
    operation = find(document, operation_id)
    response = operation["responses"].get(str(status)) or operation["responses"]["default"]
    (media,) = resolve(document, response)["content"].values()
    return media["schema"]


# ---- the document and the descriptor set ----


def camel(path):
    return ".".join(re.sub(r"_([a-z0-9])", lambda m: m.group(1).upper(), part) for part in path.split("."))


def is_text(field):
    known = ("Timestamp", "Duration", "FieldMask") + tuple(
        f"{kind}Value" for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    )
    return field.message_type.full_name in {f"google.protobuf.{name}" for name in known}


def query_names(message, taken, prefix=(), within=()):
    """What a query may hold: scalars and what is written as text, of nested messages too, each type once."""
    names = set()
    for field in message.fields:
        path = (*prefix, field.name)
        if ".".join(path) in taken or not prefix and field.name == taken.get("body"):
            continue
        repeated = field.label == field.LABEL_REPEATED
        if field.message_type is None or is_text(field):
            names.add(camel(".".join(path)))
        elif not repeated and field.message_type not in within:
            names |= query_names(field.message_type, taken, path, (*within, field.message_type))
    return names


def routed(contract):
    return [method for method in contract.methods() if method.routes]


def test_every_route_is_described(contract, document):
    described = {(op["x-grpc-method"], method.upper(), path) for path, method, op in operations(document)}
    expected = set()
    for method in routed(contract):
        for route in method.routes:
            path = re.sub(r"\{([^}=]+)(=\*)?\}", lambda m: "{" + camel(m.group(1)).replace(".", "_") + "}", route.template)
            expected.add((method.path, route.verb, path))
    assert expected and described == expected


def test_parameters_and_bodies(contract, document):
    for method in routed(contract):
        for path, verb, op in operations(document):
            if op["x-grpc-method"] != method.path:
                continue
            (route,) = [r for r in method.routes if r.verb == verb.upper()]
            in_path = re.findall(r"\{([^}=]+)", route.template)
            parameters = op.get("parameters", [])
            assert {p["name"] for p in parameters if p["in"] == "path"} == {camel(name) for name in in_path}
            assert all(p["required"] for p in parameters if p["in"] == "path")
            taken = {name: True for name in in_path}
            taken["body"] = route.body
            expected = set() if route.body == "*" else query_names(method.request.DESCRIPTOR, taken)
            assert {p["name"] for p in parameters if p["in"] == "query"} == expected
            assert ("requestBody" in op) == bool(route.body)


def test_access_and_words(contract, document):
    security = {"AUTH_NONE": [], "AUTH_OPTIONAL": [{}, {"bearer": []}], "AUTH_REQUIRED": [{"bearer": []}]}
    assert find(document, "CreateUser")["security"] == security["AUTH_NONE"]
    assert find(document, "GetArticle")["security"] == security["AUTH_OPTIONAL"]
    assert find(document, "CreateArticle")["security"] == security["AUTH_REQUIRED"]
    for _, _, op in operations(document):
        words = " ".join(op["description"].split())  # the summary is in one line
        assert op["summary"] and words.startswith(op["summary"]), op["operationId"]
        assert op["tags"][0] in {tag["name"] for tag in document["tags"] if tag["description"]}
    ids = [op["operationId"] for _, _, op in operations(document)]
    assert len(ids) == len(set(ids))


def test_headers_beside_the_messages(document):
    def takes(operation_id):
        return {p["name"] for p in find(document, operation_id).get("parameters", []) if p["in"] == "header"}

    def gives(operation_id, status="200"):
        return set(find(document, operation_id)["responses"][status].get("headers", {}))

    for name in ("GetArticle", "GetProfile", "ListTags"):
        assert takes(name) == {"If-None-Match"} and gives(name) == {"ETag"}
        assert "304" in find(document, name)["responses"]
    for name in ("ListArticles", "ListFeed", "ListComments"):
        assert takes(name) == {"If-None-Match"} and gives(name) == {"ETag", "Link"}
    for name in ("CreateArticle", "CreateComment"):
        assert takes(name) == {"Idempotency-Key"} and gives(name, "201") == {"ETag"}
    assert takes("PublishDraft") == {"If-Match", "Idempotency-Key"} and gives("PublishDraft", "201") == {"ETag"}
    for name in ("UpdateArticle", "UpdateArticle_2", "DeleteArticle", "DeleteComment"):
        assert takes(name) == {"If-Match"} and "412" in find(document, name)["responses"]
    assert gives("UpdateArticle") == {"ETag"} and gives("DeleteArticle", "204") == set()
    assert takes("FavoriteArticle") == set() and gives("FavoriteArticle") == {"ETag"}


def test_references_and_schemas_are_sound(document):
    used = set()

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                used.add(value["$ref"])
                resolve(document, value)
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(document)
    for name, schema in document["components"]["schemas"].items():
        assert f"#/components/schemas/{name}" in used, f"{name} is never used"
        jsonschema.Draft202012Validator.check_schema(schema)


def test_examples_are_valid(document):
    seen = 0
    for _, _, op in operations(document):
        contents = [op.get("requestBody", {}).get("content", {})]
        contents += [resolve(document, r).get("content", {}) for r in op["responses"].values()]
        for media in (media for content in contents for media in content.values() if "example" in media):
            check(document, media["schema"], media["example"])
            seen += 1
        for parameter in (p for p in op.get("parameters", []) if "example" in p):
            check(document, parameter["schema"], parameter["example"])
            seen += 1
    assert seen > 20


# ---- the document and live answers ----


def call(call_http, document, operation_id, method, path, body=None, token=None, status=200):
    http = call_http(method, path, body, token)
    assert http.status == status, http.text
    if status == 204:
        assert not http.text
    else:
        check(document, answer_schema(document, operation_id, status), http.json)
    return http.json


def example_body(document, operation_id):
    content = find(document, operation_id)["requestBody"]["content"]
    return json.loads(json.dumps(content["application/json"]["example"]))


def try_blog(call_http, document, token, article):
    """Calls what belongs to an article of the token's account, and deletes it."""
    path, profile = f"/api/articles/{article['slug']}", f"/api/profiles/{article['author']['username']}"
    call(call_http, document, "GetProfile", "GET", profile)
    call(call_http, document, "FollowProfile", "POST", f"{profile}/follow", token=token)
    call(call_http, document, "ListFeed", "GET", "/api/articles/feed?limit=3", token=token)
    call(call_http, document, "UnfollowProfile", "DELETE", f"{profile}/follow", token=token)
    call(call_http, document, "FavoriteArticle", "POST", f"{path}/favorite", token=token)
    call(call_http, document, "UnfavoriteArticle", "DELETE", f"{path}/favorite", token=token)
    call(call_http, document, "ListTags", "GET", "/api/tags")
    comment = example_body(document, "CreateComment")
    made = call(call_http, document, "CreateComment", "POST", f"{path}/comments", comment, token, 201)
    call(call_http, document, "ListComments", "GET", f"{path}/comments", token=token)
    call(call_http, document, "DeleteComment", "DELETE", f"{path}/comments/{made['comment']['id']}", None, token, 204)
    call(call_http, document, "UpdateArticle_2", "PATCH", path, {"article": {"body": "New."}}, token)
    changes = example_body(document, "UpdateArticle")
    changed = call(call_http, document, "UpdateArticle", "PUT", path, changes, token)
    path = f"/api/articles/{changed['article']['slug']}/revisions"
    call(call_http, document, "ListRevisions", "GET", path, token=token)
    call(call_http, document, "GetRevision", "GET", f"{path}/1", token=token)
    call(call_http, document, "DeleteArticle", "DELETE", f"/api/articles/{changed['article']['slug']}", None, token, 204)


def try_drafts(call_http, document, token, unique):
    created = call(call_http, document, "CreateDraft", "POST", "/api/drafts", example_body(document, "CreateDraft"), token, 201)
    path = f"/api/drafts/{created['draft']['id']}"
    call(call_http, document, "GetDraft", "GET", path, token=token)
    call(call_http, document, "ListDrafts", "GET", "/api/drafts?pageSize=1", token=token)
    call(call_http, document, "UpdateDraft", "PUT", path, example_body(document, "UpdateDraft"), token)
    call(call_http, document, "UpdateDraft_2", "PATCH", path, {"draft": {"body": ""}}, token)
    call(call_http, document, "PublishDraft", "POST", f"{path}:publish", None, token, 422)
    call(call_http, document, "UpdateDraft", "PUT", path, {"draft": {"title": unique("Draft "), "body": "New."}}, token)
    call(call_http, document, "PublishDraft", "POST", f"{path}:publish", None, token, 201)
    created = call(call_http, document, "CreateDraft", "POST", "/api/drafts", {"draft": {}}, token, 201)
    call(call_http, document, "DeleteDraft", "DELETE", f"/api/drafts/{created['draft']['id']}", None, token, 204)


def test_live_answers_fit(suite, document, call_http, unique, new_account):
    """The documented examples are sent, made unique; every answer is as documented."""
    body = example_body(document, "CreateUser")
    body["user"]["username"] = unique("doc")
    body["user"]["email"] = f"{unique('doc')}@example.com"
    token = call(call_http, document, "CreateUser", "POST", "/api/users", body, status=201)["user"]["token"]
    call(call_http, document, "Login", "POST", "/api/users/login", body)
    call(call_http, document, "GetCurrentUser", "GET", "/api/user", token=token)
    call(call_http, document, "GetJsonWebKeySet", "GET", "/.well-known/jwks.json")
    change = example_body(document, "UpdateCurrentUser")
    change["user"].update(username=unique("doc"), email=f"{unique('doc')}@example.com")
    change["currentPassword"] = body["user"]["password"]
    del change["updateMask"]
    call(call_http, document, "UpdateCurrentUser", "PUT", "/api/user", change, token)
    call(call_http, document, "UpdateCurrentUser_2", "PATCH", "/api/user", {"user": {"bio": None}}, token)
    article = example_body(document, "CreateArticle")
    article["article"]["title"] = unique("Title ")
    made = call(call_http, document, "CreateArticle", "POST", "/api/articles", article, token, 201)
    call(call_http, document, "GetArticle", "GET", f"/api/articles/{made['article']['slug']}")
    call(call_http, document, "ListArticles", "GET", "/api/articles?limit=3", token=token)
    try_blog(call_http, document, token, made["article"])
    try_drafts(call_http, document, token, unique)
    room = call(call_http, document, "CreateRoom", "POST", "/api/chat/rooms", example_body(document, "CreateRoom"), token, 201)
    path = f"/api/chat/rooms/{room['room']['id']}"
    call(call_http, document, "GetRoom", "GET", path, token=token)
    call(call_http, document, "ListRooms", "GET", "/api/chat/rooms?pageSize=2", token=token)
    try_live(suite, document, token, room["room"]["id"])
    try_chat(call_http, document, token, path, new_account())
    login = {"user": {name: change["user"][name] for name in ("email", "password")}}
    other = call(call_http, document, "Login", "POST", "/api/users/login", login)
    again = {"refreshToken": other["refreshToken"]}
    call(call_http, document, "RefreshSession", "POST", "/api/session:refresh", again)
    listed = call(call_http, document, "ListSessions", "GET", "/api/sessions?pageSize=1", token=token)
    path = f"/api/sessions/{listed['sessions'][0]['id']}"
    call(call_http, document, "EndSession", "DELETE", path, token=token, status=204)
    call(call_http, document, "EndOtherSessions", "POST", "/api/sessions:endOthers", token=token, status=204)
    call(call_http, document, "EndCurrentSession", "DELETE", "/api/session", token=token, status=204)
    token = call(call_http, document, "Login", "POST", "/api/users/login", login)["user"]["token"]
    call(call_http, document, "DeleteCurrentUser", "DELETE", "/api/user", token=token, status=204)
    tried = set(re.findall(r'(?:call\(call_http|stream\(suite|websocket\(suite), document, "(\w+)"', pathlib.Path(__file__).read_text()))
    assert tried >= {op["operationId"] for _, _, op in operations(document)}, "an operation is not tried"


def try_chat(call_http, document, token, path, other):
    body = example_body(document, "SendMessage")
    del body["message"]["replyTo"]
    sent = call(call_http, document, "SendMessage", "POST", f"{path}/messages", body, token, 201)
    message = f"{path}/messages/{sent['message']['seq']}"
    call(call_http, document, "EditMessage", "PATCH", message, example_body(document, "EditMessage"), token)
    call(call_http, document, "AddReaction", "PUT", f"{message}/reactions/%F0%9F%91%8D", token=token)
    call(call_http, document, "ListMessages", "GET", f"{path}/messages?afterSeq=0", token=token)
    call(call_http, document, "SearchMessages", "GET", "/api/chat/search?query=evening", token=token)
    call(call_http, document, "RemoveReaction", "DELETE", f"{message}/reactions/%F0%9F%91%8D", token=token)
    call(call_http, document, "DeleteMessage", "DELETE", message, token=token, status=204)
    member = f"{path}/members/{other['username']}"
    call(call_http, document, "JoinRoom", "POST", f"{path}/join", token=other["token"])
    call(call_http, document, "LeaveRoom", "POST", f"{path}/leave", token=other["token"], status=204)
    call(call_http, document, "InviteMember", "PUT", member, token=token)
    role = {"role": "ROLE_MODERATOR"}
    call(call_http, document, "SetMemberRole", "PUT", f"{member}/role", role, token)
    call(call_http, document, "ListMembers", "GET", f"{path}/members", token=token)
    call(call_http, document, "UpdateRoom", "PATCH", path, example_body(document, "UpdateRoom"), token)
    call(call_http, document, "RemoveMember", "DELETE", member, token=token, status=204)
    call(call_http, document, "GetPresence", "GET", f"{path}/presence", token=token)
    call(call_http, document, "MarkRead", "PUT", f"{path}/read", example_body(document, "MarkRead"), token)
    call(call_http, document, "ListEvents", "GET", f"{path}/log?afterSeq=0", token=token)
    call(call_http, document, "OpenDirectRoom", "PUT", f"/api/chat/direct/{other['username']}", token=token)
    call(call_http, document, "ListMyRooms", "GET", "/api/chat/rooms/mine", token=token)
    call(call_http, document, "DeleteRoom", "DELETE", path, token=token, status=204)


def stream(suite, document, operation_id, path, token, last):
    """Reads lines of JSON up to the one that has the member `last`, each as it is documented."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/x-ndjson"}
    media = find(document, operation_id)["responses"]["200"]["content"]["application/x-ndjson"]
    with urllib.request.urlopen(urllib.request.Request(suite.http + path, headers=headers), timeout=20) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        for line in answer:
            message = json.loads(line)
            check(document, media["schema"], message)
            if last in message:
                return
    pytest.fail(f"no {last}")


def websocket(suite, document, operation_id, token, action, last):
    """Sends an action, and reads up to the message that has the member `last`, each as it is documented."""
    messages = find(document, operation_id)["x-websocket"]
    check(document, messages["send"], action)
    with WebSocketLive(suite.ports["STOA_HTTP_PORT"], token) as client:
        client.transmit(action)
        while True:
            message = client.receive()
            check(document, messages["receive"], message)
            if last in message:
                return


def try_live(suite, document, token, room):
    subscribe = {"id": "1", "subscribe": {"room": room, "afterSeq": "0"}}
    websocket(suite, document, "Connect", token, subscribe, "live")
    stream(suite, document, "Subscribe", f"/api/chat/rooms/{room}/events?afterSeq=0", token, "live")
    stream(suite, document, "ExportRoom", f"/api/chat/rooms/{room}/export", token, "end")


@pytest.mark.parametrize(
    "method, path, body, operation_id, status",
    (
        ("POST", "/api/users", '{"user":', "CreateUser", 400),
        ("POST", "/api/users", "{}", "CreateUser", 422),
        ("GET", "/api/user", None, "GetCurrentUser", 401),
        ("GET", "/api/articles/no-such-article", None, "GetArticle", 404),
        ("GET", "/api/articles?limit=x", None, "ListArticles", 422),
    ),
)
def test_live_errors_fit(suite, document, method, path, body, operation_id, status):
    request = urllib.request.Request(
        suite.http + path, data=body and body.encode(), method=method, headers={"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == status
    assert refused.value.headers["Content-Type"] == "application/problem+json"
    assert str(status) in find(document, operation_id)["responses"]
    check(document, answer_schema(document, operation_id, status), json.loads(refused.value.read()))


@pytest.mark.parametrize(
    "change",
    (
        {"title": ""},
        {"title": " "},
        {"title": "x" * 257},
        {"title": None},
        {"title": 5},
        {"tagList": ["x"] * 33},
        {"tagList": [" "]},
        {"tagList": "x"},
    ),
)
def test_schema_and_service_refuse_the_same(document, call_http, new_account, change):
    body = example_body(document, "CreateArticle")
    body["article"].update(change)
    schema = find(document, "CreateArticle")["requestBody"]["content"]["application/json"]["schema"]
    assert not validator(document, schema).is_valid(body)
    assert call_http("POST", "/api/articles", body, new_account()["token"]).status in (400, 422)


# ---- how it is served ----


def test_conditional_and_compressed(suite):
    status, headers, body = fetch(suite.http, "/openapi.json")
    assert headers["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert int(headers["Content-Length"]) == len(body)
    status, again, nothing = fetch(suite.http, "/openapi.json", {"If-None-Match": headers["ETag"]})
    assert status == 304 and nothing == b"" and again["ETag"] == headers["ETag"]
    status, zipped, packed = fetch(suite.http, "/openapi.json", {"Accept-Encoding": "gzip"})
    assert zipped["Content-Encoding"] == "gzip" and gzip.decompress(packed) == body
    status, head, nothing = fetch(suite.http, "/openapi.json", method="HEAD")
    assert status == 200 and nothing == b"" and head["ETag"] == headers["ETag"]
    status, refused, problem = fetch(suite.http, "/openapi.json", method="DELETE")
    assert status == 405 and json.loads(problem)["errors"]


def test_tool_writes_the_same(suite, document):
    made = subprocess.run(
        [OUT / "bin" / "stoa-openapi", "--descriptor-set", OUT.parent / "api.binpb", *OPTIONS],
        check=True, capture_output=True,
    )
    expected = json.loads(made.stdout)
    expected["info"]["description"] = document["info"]["description"]
    assert document == expected


@pytest.mark.parametrize(
    "arguments, status, line",
    (
        ((), 2, "--descriptor-set is needed"),
        (("--descriptor-set", "/nonexistent"), 1, "/nonexistent: cannot read the descriptor set"),
        (("--descriptor-set", "x", "extra"), 2, "no argument is expected"),
        (("--bad",), 2, "--bad"),
    ),
)
def test_tool_refuses(arguments, status, line):
    made = subprocess.run([OUT / "bin" / "stoa-openapi", *arguments], capture_output=True, text=True)
    assert made.returncode == status and line in made.stderr and made.stdout == ""


# ---- anyone's descriptor set ----

OPENAPI = "grpc_json_openapi Stoa 1.0.0;"


@pytest.fixture
def demo(tmp_path):
    started = []

    def start(changes=None, proto=DEMO_PROTO):
        gateway = Gateway(compile_demo(tmp_path, proto), changes)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.stop()


def test_any_descriptor_set(demo):
    gateway = demo({OPENAPI: 'grpc_json_openapi "Demo items" 2; grpc_json_openapi_server https://a.example; grpc_json_openapi_server /b;'})
    gateway.start()
    document = gateway.request("GET", "/openapi.json").json()
    assert document["info"]["title"] == "Demo items" and document["info"]["version"] == "2"
    assert [server["url"] for server in document["servers"]] == ["https://a.example", "/b"]
    create = document["paths"]["/demo/items"]["post"]
    assert create["tags"] == ["ItemService"] and "201" in create["responses"]
    # Sent and received items have different rules.
    schemas = document["components"]["schemas"]
    assert schemas["Item"]["required"] == ["name", "size", "tagList", "note", "hidden"]
    assert "required" not in schemas["ItemInput"]
    watch = document["paths"]["/demo/watch"]["get"]["responses"]["200"]["content"]
    assert set(watch) == {"text/event-stream", "application/x-ndjson"}
    assert "content" not in document["paths"]["/demo/items/{name}"]["delete"]["responses"]["204"]


@pytest.mark.parametrize(
    "changes, proto, line",
    (
        ({OPENAPI: 'grpc_json_openapi "" 1;'}, DEMO_PROTO, "must not be empty"),
        ({OPENAPI: "grpc_json_openapi A 1; grpc_json_openapi B 1;"}, DEMO_PROTO, "is duplicate"),
        ({OPENAPI: ""}, DEMO_PROTO, 'no "grpc_json_openapi" to say more about'),
        (
            None,
            DEMO_PROTO.replace("int32 size = 2;", 'int32 size = 2 [(stoa.api.v1.field).example = "{"];'),
            "the example of field size is not JSON",
        ),
    ),
)
def test_bad_configuration(demo, changes, proto, line):
    tested = demo(changes, proto).test_config()
    assert tested.returncode != 0 and line in tested.stderr


# ---- the page ----


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.files, self.inline = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.files |= {attrs[name] for name in ("src", "href") if name in attrs and not attrs[name].startswith("#")}
        self.inline += [name for name in attrs if name.startswith("on") or name == "style"]
        if tag == "style" or tag == "script" and "src" not in attrs:
            self.inline.append(tag)


def test_page_is_ours_alone(suite):
    status, headers, body = fetch(suite.http, "/docs/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    page = Page(body.decode())
    assert page.inline == []
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    scripts = {path.name for path in (ROOT / "web" / "docs").glob("*.js")}
    for name in page.files | scripts:
        assert not re.match(r"(?:[a-z]+:)?//", name), f"{name} is somebody else's"
        path = name if name.startswith("/") else f"/docs/{name}"
        status, headers, content = fetch(suite.http, path)
        assert status == 200 and content
        assert headers["Content-Type"] == types.get(name.rsplit(".")[-1], "application/json")
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", content) or name == "/openapi.json"
    status, _, body = fetch(suite.http, "/docs/no-such-file")
    assert status == 404 and json.loads(body)["errors"]
