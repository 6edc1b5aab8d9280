"""The contract as api.binpb tells it, and clients that use it over gRPC and over HTTP.

Nothing here knows a method, a route or a field: messages, routes and options come from the descriptor
set, so a test speaks of methods by name and of messages as (canonical proto3) JSON.
"""
import base64
import copy
import dataclasses
import json
import re
import urllib.parse

import grpc
import requests
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

# How long a client waits for an answer. Nothing is proved by it: it only ends a test whose suite hangs, and a machine with other
# work may be slow.
PATIENCE_SECONDS = 60

# What the gateway makes of a gRPC code; INVALID_ARGUMENT is 422 with field violations.
HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


@dataclasses.dataclass
class Problem:
    """A gRPC error with its google.rpc details."""

    code: str
    message: str
    reason: str = ""  # ErrorInfo
    errors: dict = dataclasses.field(default_factory=dict)  # as the gateway's `errors`: {key: [message, ...]}
    fields: list = dataclasses.field(default_factory=list)  # full paths of the violations, in order
    retry_after: float = None  # RetryInfo, seconds
    details: dict = dataclasses.field(default_factory=dict)  # full message name: message

    @property
    def http_status(self):
        if self.code == "INVALID_ARGUMENT" and self.fields:
            return 422
        return HTTP_STATUS[self.code]


@dataclasses.dataclass
class HttpAnswer:
    status: int
    headers: dict  # requests' case-insensitive one
    text: str
    json: object  # None without a JSON body


@dataclasses.dataclass
class Route:
    verb: str
    template: str
    body: str
    response_body: str


@dataclasses.dataclass
class Method:
    path: str  # /package.Service/Method
    service: str  # the process that serves it: "posts"
    request: type
    response: type
    routes: list
    http_status: int
    client_streaming: bool
    server_streaming: bool


def error_key(field_path):
    """Key of a violation in `errors`: "user.tag_list[3]" -> "tagList"."""
    name = re.sub(r"\[[^\]]*\]$", "", field_path).rsplit(".", 1)[-1]
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


class Contract:
    def __init__(self, descriptor_set):
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set)
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self._factory = message_factory.MessageFactory(self.pool)
        # Also makes the option extensions (google.api.http, ...) known.
        self._factory.GetMessages([file.name for file in files.file])
        self._methods = {}
        for file in files.file:
            for service in file.service:
                for method in service.method:
                    self._add(file.package, service.name, method)

    def message(self, full_name):
        """The class of a message: contract.message("stoa.auth.v1.User")."""
        return self._factory.GetPrototype(self.pool.FindMessageTypeByName(full_name))

    def method(self, service, name):
        """service: a process ("posts"), a service's name ("ArticleService") or its full name."""
        try:
            return self._methods[service, name]
        except KeyError:
            raise LookupError(f"the contract has no {service} {name}") from None

    def methods(self):
        return {method.path: method for method in self._methods.values()}.values()

    def _add(self, package, service, method):
        options = self.message("google.protobuf.MethodOptions").FromString(method.options.SerializeToString())
        rules = options.Extensions[self.pool.FindExtensionByName("stoa.api.v1.method")]
        process = package.split(".")[1] if package.startswith("stoa.") else ""
        made = Method(
            path=f"/{package}.{service}/{method.name}",
            service=process,
            request=self.message(method.input_type[1:]),
            response=self.message(method.output_type[1:]),
            routes=self._routes(options),
            http_status=rules.http_status or 200,
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for key in (process, service, f"{package}.{service}"):
            self._methods.setdefault((key, method.name), made)

    def _routes(self, options):
        extension = self.pool.FindExtensionByName("google.api.http")
        if not options.HasExtension(extension):
            return []
        rule = options.Extensions[extension]
        return [self._route(each) for each in (rule, *rule.additional_bindings)]

    def _route(self, rule):
        verb = rule.WhichOneof("pattern")
        template = rule.custom.path if verb == "custom" else getattr(rule, verb)
        verb = rule.custom.kind if verb == "custom" else verb.upper()
        return Route(verb, template, rule.body, rule.response_body)


# ---- gRPC ----


class GrpcClient:
    def __init__(self, contract, channel_of):
        """channel_of("posts"): the channel to that process."""
        self._contract = contract
        self._channel_of = channel_of

    def __call__(self, service, method, request, token=None, timeout=PATIENCE_SECONDS, metadata=()):
        """Calls a method that takes one message. request: a dict in proto3 JSON, or a message.

        Returns ("OK", answer as a dict in canonical JSON with all fields that have no presence), or
        (code, Problem). Of a stream, which ends by itself, the answer is {"stream": [message, ...]}."""
        method = self._contract.method(service, method)
        if isinstance(request, dict):
            request = json_format.ParseDict(request, method.request(), descriptor_pool=self._contract.pool)
        kind = "unary_stream" if method.server_streaming else "unary_unary"
        call = getattr(self.channel(method), kind)(method.path, method.request.SerializeToString, method.response.FromString)
        try:
            answer = call(request, timeout=timeout, metadata=self.metadata(token, metadata))
            return "OK", {"stream": [self.to_dict(each) for each in answer]} if method.server_streaming else self.to_dict(answer)
        except grpc.RpcError as error:
            return error.code().name, self.problem(error)

    def channel(self, method):
        return self._channel_of(method.service)

    def stream(self, service, method, requests_or_request, token=None, timeout=120, metadata=()):
        """Opens a streaming method; returns grpcio's call: iterate over it for messages."""
        method = self._contract.method(service, method)
        kind = ("stream" if method.client_streaming else "unary") + "_stream"
        opened = getattr(self.channel(method), kind)(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        return opened(requests_or_request, timeout=timeout, metadata=self.metadata(token, metadata))

    @staticmethod
    def metadata(token, more=()):
        return (*more, ("authorization", f"Bearer {token}")) if token else tuple(more)

    def to_dict(self, message):
        return json_format.MessageToDict(
            message, including_default_value_fields=True, descriptor_pool=self._contract.pool
        )

    def problem(self, error):
        """A grpc.RpcError as a Problem."""
        made = Problem(error.code().name, error.details() or "")
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._read_details(made, value)
        return made

    def _read_details(self, made, value):
        status = self._contract.message("google.rpc.Status").FromString(value)
        assert grpc.StatusCode[made.code].value[0] == status.code, "grpc-status and its details differ"
        assert status.message == made.message, "grpc-message and its details differ"
        for item in status.details:
            name = item.type_url.rpartition("/")[2]
            detail = self._contract.message(name).FromString(item.value)
            made.details[name] = detail
            if name == "google.rpc.BadRequest":
                for violation in detail.field_violations:
                    made.fields.append(violation.field)
                    made.errors.setdefault(error_key(violation.field), []).append(violation.description)
            elif name == "google.rpc.ResourceInfo":
                made.errors.setdefault(detail.resource_type, []).append(detail.description)
            elif name == "google.rpc.ErrorInfo":
                made.reason = detail.reason
            elif name == "google.rpc.RetryInfo":
                made.retry_after = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9


# ---- HTTP ----


class HttpClient:
    def __init__(self, base):
        self.base = base

    def __call__(self, method, path, body=None, token=None, headers=None, scheme="Token", timeout=PATIENCE_SECONDS):
        """Sends one request on a connection of its own. body: something to send as JSON, or bytes to
        send as they are. Nothing is followed or retried."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"{scheme} {token}"
        arguments = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        answer = requests.request(
            method, self.base + path, headers=sent, timeout=timeout, allow_redirects=False, **arguments
        )
        kind = answer.headers.get("Content-Type", "")
        parsed = answer.json() if "json" in kind and "ndjson" not in kind and answer.content else None
        return HttpAnswer(answer.status_code, answer.headers, answer.text, parsed)


def http_request(method, request, route=0):
    """(verb, path with query, body) of an RPC by its google.api.http route. request: a dict in proto3
    JSON with lowerCamelCase names."""
    route = method.routes[route]
    rest = copy.deepcopy(request)
    path = re.sub(r"\{([^}=]+)(?:=([^}]*))?\}", lambda match: path_segment(rest, match), route.template)
    if route.body == "*":
        return route.verb, path, rest
    body = rest.pop(camel(route.body), {}) if route.body else None
    query = urllib.parse.urlencode(list(query_parameters(rest)))
    return route.verb, f"{path}?{query}" if query else path, body


def camel(name):
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def path_segment(rest, match):
    *parents, last = (camel(part) for part in match[1].split("."))
    for parent in parents:
        rest = rest[parent]
    # A pattern of several segments (`**`, `a/*`) keeps its slashes.
    several = match[2] is not None and match[2] != "*"
    return urllib.parse.quote(str(rest.pop(last)), safe="/" if several else "")


def query_parameters(value, name=""):
    if isinstance(value, dict):
        for key, each in value.items():
            yield from query_parameters(each, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for each in value:
            yield from query_parameters(each, name)
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif value is not None:
        yield name, value


# ---- both ----

TIMESTAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$")


def comparable(value):
    """An answer without the differences that are meant: the gateway prints null where gRPC has an unset
    field, and at least three fraction digits of a timestamp."""
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, str) and (match := TIMESTAMP.match(value)):
        return f"{match[1]}.{(match[2] or '').ljust(9, '0')}Z"
    return value


def without(value, paths):
    """The answer without what differs from call to call: paths like "user.token", "articles.createdAt"."""
    value = copy.deepcopy(value)
    for path in paths:
        remove(value, path.split("."))
    return value


def remove(value, names):
    if isinstance(value, list):
        for each in value:
            remove(each, names)
    elif isinstance(value, dict) and len(names) == 1:
        value.pop(names[0], None)
    elif isinstance(value, dict) and names[0] in value:
        remove(value[names[0]], names[1:])


class Both:
    """Makes the same call over gRPC and over HTTP and compares what comes back."""

    def __init__(self, contract, call_grpc, call_http):
        self._contract = contract
        self._call_grpc = call_grpc
        self._call_http = call_http

    def __call__(self, service, method, request, token=None, ignore=(), route=0):
        """request: a dict, or a function of "grpc" or "http" that makes one, for calls that cannot be
        repeated. token: likewise. ignore: paths in the answer that differ from call to call.

        Returns gRPC's (code, answer or Problem) and the HttpAnswer, once they have been found equal."""
        made = {surface: request(surface) if callable(request) else request for surface in ("grpc", "http")}
        tokens = {surface: token(surface) if callable(token) else token for surface in ("grpc", "http")}
        described = self._contract.method(service, method)
        code, answer = self._call_grpc(service, method, made["grpc"], tokens["grpc"])
        verb, path, body = http_request(described, made["http"], route)
        accept = {"Accept": "application/x-ndjson"} if described.server_streaming else None
        http = self._call_http(verb, path, body, tokens["http"], accept)
        if code == "OK":
            self._compare_success(described, described.routes[route], answer, http, ignore)
        else:
            compare_problem(answer, http)
        return code, answer, http

    @staticmethod
    def _compare_success(described, route, answer, http, ignore):
        assert http.status == described.http_status, http.text
        if http.status == 204:
            assert http.text == ""
            return
        if described.server_streaming:
            assert http.headers["Content-Type"].startswith("application/x-ndjson")
            lines = [json.loads(line) for line in http.text.splitlines()]
            assert without(comparable({"stream": lines}), ignore) == without(comparable(answer), ignore)
            return
        expected = answer[camel(route.response_body)] if route.response_body else answer
        assert http.headers["Content-Type"].startswith("application/json")
        assert without(comparable(http.json), ignore) == without(comparable(expected), ignore)


def compare_problem(problem, http):
    """A gRPC error and the application/problem+json that the gateway made of the same one."""
    assert http.status == problem.http_status, f"{problem}: {http.text}"
    assert http.headers["Content-Type"].startswith("application/problem+json")
    assert http.json["status"] == http.status
    if problem.errors:
        assert http.json["errors"] == problem.errors
    assert http.json["errors"], "clients of the blog's API rely on the errors map"


def account_maker(call_grpc, unique):
    """new_account() -> a fresh account as CreateUser answers it, with its password and refreshToken added"""

    def new_account(stem="user", password="correct horse battery"):
        name = unique(stem)
        request = {"user": {"username": name, "email": f"{name}@example.com", "password": password}}
        code, answer = call_grpc("auth", "CreateUser", request)
        assert code == "OK", answer
        return {**answer["user"], "password": password, "refreshToken": answer["refreshToken"]}

    return new_account


def token_part(token, index):
    """A decoded part of a JWT: 0 its header, 1 its claims (not verified)."""
    part = token.split(".")[index]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def session_of(token):
    """The id of the session that an access token belongs to."""
    return json.loads(token_part(token, 1))["sid"]
