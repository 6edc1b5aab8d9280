"""Every field of every request with what people and attackers put into fields, over gRPC and over HTTP.

Fields and their limits come from the contract. What becomes of characters says CHARACTERS, by the field: a new text
field without a line there fails.
"""
import copy
import json

import grpc
import pytest
from google.protobuf import descriptor, json_format
from stoa_contract import Contract, compare_problem, http_request
from stoa_suite_fixture import descriptor_set
from test_authorization import METHODS, RULES, World

CONTRACT = Contract(descriptor_set())
Field = descriptor.FieldDescriptor
TEXT, NUMBERS = Field.TYPE_STRING, (Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT32)
MOST = {Field.TYPE_INT32: 2**31 - 1, Field.TYPE_INT64: 2**63 - 1, Field.TYPE_UINT32: 2**32 - 1}

# ---- fields ----


def rules_of(field):
    """buf.validate's rules of a field: {"string": {"max_len": 64}}."""
    options = CONTRACT.message("google.protobuf.FieldOptions").FromString(field.GetOptions().SerializeToString())
    rules = options.Extensions[CONTRACT.pool.FindExtensionByName("buf.validate.field")]
    return json_format.MessageToDict(rules, preserving_proto_field_name=True, descriptor_pool=CONTRACT.pool)


def leaves(message, path=()):
    """(path of JSON names, field) of all that is text or a number, and of lists of text."""
    for field in message.fields:
        here = (*path, field.json_name)
        if field.type == Field.TYPE_MESSAGE and not field.message_type.full_name.startswith("google."):
            yield from leaves(field.message_type, here)
        elif field.type == TEXT or field.type in NUMBERS:
            yield here, field


ALL = [(path, where, field) for path in RULES if path in METHODS for where, field in leaves(METHODS[path].request.DESCRIPTOR)]
TEXTS = [each for each in ALL if each[2].type == TEXT]
NAMES = lambda cases: [f"{path.rpartition('/')[2]} {'.'.join(where)}" for path, where, *_ in cases]  # noqa: E731


def text_rules(field):
    rules = rules_of(field)
    if field.label == Field.LABEL_REPEATED:
        return rules["repeated"].get("items", {}).get("string", {})
    return rules.get("string", {})


def proto_path(method, where):
    """"article.tag_list[0]", as violations have it."""
    message, names = method.request.DESCRIPTOR, []
    for name in where:
        field = next(field for field in message.fields if field.json_name == name)
        names.append(field.name + ("[0]" if field.label == Field.LABEL_REPEATED else ""))
        message = field.message_type
    return ".".join(names)


# ---- requests ----


@pytest.fixture(scope="module")
def shared_world(suite, unique):
    return World(suite, unique)


@pytest.fixture
def world(shared_world):
    shared_world.spent = None
    return shared_world


def prepared(world, path):
    """A fresh request that is good, and the token for it: of an account of the test's own when the call changes it."""
    rule = RULES[path]
    account = world.owner
    if rule.spends:
        account = world.spent = world.spent or world.account("spent")
    elif rule.uses_up:
        world.renew()
    elif "Reaction" in path:  # to a message that is there, without what was done to it before
        world.open_rooms()
    return copy.deepcopy(rule.request(world, "owner")), account["token"]


def put(request, where, value):
    for name in where[:-1]:
        request = request.setdefault(name, {})
    request[where[-1]] = value
    return request


def in_path(method, where):
    return any("{" + proto + "}" in route.template for route in method.routes for proto in (".".join(where), where[-1]))


def unique_among(world, where, value):
    """A value of the same length that no other account has, when there may be one only."""
    if where == ("user", "username") and len(value) > 20:
        end = world.unique("u")
        return value[: -len(end)] + end
    return value


def ask(world, path, where, value, field):
    """(gRPC's code, answer or Problem, HttpAnswer, what was sent in each) with the value in the field."""
    method, sent, answers = METHODS[path], [], []
    for surface in ("grpc", "http"):
        each = unique_among(world, where, value) if isinstance(value, str) else value(world) if callable(value) else value
        request, token = prepared(world, path)
        put(request, where, [each] if field.label == Field.LABEL_REPEATED else each)
        sent.append(each)
        if surface == "grpc":
            answers += world.grpc(method.service, path.rpartition("/")[2], request, token, timeout=30)
        else:
            verb, url, body = http_request(method, request)
            answers.append(send(world, verb, url, body, token))
    return (*answers, sent)


def send(world, verb, url, body, token):
    """JSON with characters as they are, as browsers send it."""
    if body is None:
        return world.http(verb, url, None, token, timeout=30)
    text = json.dumps(body, ensure_ascii=False).encode()
    return world.http(verb, url, text, token, {"Content-Type": "application/json"}, timeout=30)


def expect_refused(world, path, where, value, field, message=None):
    """As a violation of that field, and of no other; a path that cannot have the value may have no route instead."""
    method = METHODS[path]
    code, problem, http, _ = ask(world, path, where, value, field)
    assert code == "INVALID_ARGUMENT" and problem.fields == [proto_path(method, where)], problem
    if in_path(method, where) and http.status in (400, 404, 405):
        return
    compare_problem(problem, http)
    if message:
        assert message in next(iter(problem.errors.values()))[0], problem


def expect_taken(world, path, where, value, field):
    """Not refused for what it is. And where the answer has it, it is what was sent."""
    check_taken(path, where, field, *ask(world, path, where, value, field))


def check_taken(path, where, field, code, answer, http, sent):
    if code != "OK":  # there is no such thing, no such password, or no word in it to search for
        assert code in ("NOT_FOUND", "UNAUTHENTICATED") or answer.reason in ("PASSWORD_WRONG", "NO_WORDS"), answer
        assert http.status == answer.http_status, http.text
        return
    assert http.status == METHODS[path].http_status, http.text
    if in_response(path, where[-1]):
        for each, value in zip((answer, http.json), sent):
            assert ([value] if field.label == Field.LABEL_REPEATED else value) in found(each, where[-1]), each


def in_response(path, name):
    """Whether the answer says what the request wrote in a field of this name."""
    if path.endswith("/EditMessage") and name == "clientId":
        return False  # there it is what the message was sent with
    return not path.rpartition("/")[2].startswith(("Get", "List", "Delete", "Follow", "Unfollow", "Favorite", "Unfavorite", "End")) and \
        any(field.json_name == name for field in resource(METHODS[path].response.DESCRIPTOR))


def resource(message):
    return [field for each in message.fields if each.message_type for field in each.message_type.fields]


def found(value, name):
    """All values of members of this name."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == name:
                yield each
            else:
                yield from found(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from found(each, name)


# ---- length ----

@pytest.mark.parametrize("path, where, field", TEXTS, ids=NAMES(TEXTS))
def test_length(world, path, where, field):
    rules = text_rules(field)
    most = int(rules.get("max_len", 0))
    if rules.get("uuid"):
        for value in ("x", "0192c127-b760-7740-b8de-0c1f6d1a3b5", "0192c127-b760-7740-b8de-0c1f6d1a3b5g"):
            expect_refused(world, path, where, value, field, "UUID")
        return
    assert most, f"{'.'.join(where)} has no limit"
    if rules.get("email"):
        domain = f"{'y' * 63}.{'y' * 63}.{'y' * 61}"
        expect_taken(world, path, where, lambda w: f"{w.unique('e').ljust(64, 'x')}@{domain}", field)
        expect_refused(world, path, where, f"{'x' * 64}@{domain}y", field, f"maximum is {most}")
        return
    # Characters are counted, not bytes and not UTF-16.
    for character in ("x", "é", "\U0001f642"):
        if in_path(METHODS[path], where) and most * len(character.encode()) > 1000 and character != "x":
            continue  # nginx's limit on a request line comes first
        if where[-1] not in ("pageToken", "refreshToken"):
            expect_taken(world, path, where, character * most, field)
        expect_refused(world, path, where, character * (most + 1), field, f"is too long (maximum is {most} characters)")
    least = int(rules.get("min_len", 0))
    if least > 1:
        expect_refused(world, path, where, "é" * (least - 1), field, f"is too short (minimum is {least} characters)")
        expect_taken(world, path, where, "é" * least, field)


@pytest.mark.parametrize("path, where, field", TEXTS, ids=NAMES(TEXTS))
def test_empty(world, path, where, field):
    """Refused where the contract wants something, with the words that clients show; otherwise as if it was not there."""
    rules, name = text_rules(field), ".".join(where)
    wanted = "pattern" in rules or "min_len" in rules or "email" in rules or "uuid" in rules
    if "ignore" in rules_of(field):
        wanted = False
    if wanted:
        expect_refused(world, path, where, "", field, "can't be blank" if "uuid" not in rules else None)
        if "pattern" in rules:
            # In the blog also what other scripts have as white space: a space bar may give U+3000.
            more = ("\u00a0", "\u3000 \u2003") if METHODS[path].service == "posts" else ()
            for blank in (" ", "\t\n\f\r ", *more):
                expect_refused(world, path, where, blank, field, "can't be blank")
    else:
        code, answer, http, _ = ask(world, path, where, "", field)
        assert code == "OK" and http.status == METHODS[path].http_status, f"{name}: {answer} {http.text}"


# ---- wrong types ----

NO_TEXT = [1, 1.5, True, [], {}, ["x"], {"a": "b"}]
NO_NUMBER = ["x", "", " 1", "1 ", "0x1", "1.5", "1e", True, {}, [1], "NaN"]


@pytest.mark.parametrize("path, where, field", ALL, ids=NAMES(ALL))
def test_wrong_type(world, path, where, field):
    """JSON of another type, a number that does not fit its type, text that is not Unicode: 400, or no route."""
    method = METHODS[path]
    request, token = prepared(world, path)
    if in_path(method, where) or method.routes[0].body != "*":
        if field.type in NUMBERS:
            for value in [*(each for each in NO_NUMBER if isinstance(each, str)), MOST[field.type] + 1, -(2**63) - 1]:
                put(request, where, value)
                assert world.http(*http_request(method, request), token).status in (400, 404, 405, 422), value
        return
    wrong = NO_TEXT if field.type == TEXT else [*NO_NUMBER, MOST[field.type] + 1, -(2**63) - 1]
    for value in wrong:
        if field.label == Field.LABEL_REPEATED and isinstance(value, list):
            continue
        put(request, where, value)
        answer = world.http(*http_request(method, request), token)
        assert answer.status == 400 and list(answer.json["errors"]) == ["body"], f"{value!r}: {answer.text}"
        assert where[-1] in answer.json["errors"]["body"][0], answer.text
    if field.type == TEXT:
        put(request, where, ["MARK"] if field.label == Field.LABEL_REPEATED else "MARK")
        verb, url, body = http_request(method, request)
        for bytes_ in (b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"a\x01b"', b'"a\nb"', b'"\\x"'):
            sent = json.dumps(body).encode().replace(b'"MARK"', bytes_)
            answer = world.http(verb, url, sent, token, {"Content-Type": "application/json"})
            assert answer.status == 400 and list(answer.json["errors"]) == ["body"], f"{bytes_}: {answer.text}"


@pytest.mark.parametrize("path, where, field", TEXTS, ids=NAMES(TEXTS))
def test_text_that_is_not_utf8(world, path, where, field):
    """Over gRPC, where a damaged client can send it."""
    method = METHODS[path]
    request, token = prepared(world, path)
    put(request, where, ["MARK"] if field.label == Field.LABEL_REPEATED else "MARK")
    wire = json_format.ParseDict(request, method.request(), descriptor_pool=CONTRACT.pool).SerializeToString()
    call = world.suite.grpc(method.service).unary_unary(method.path, lambda b: b, method.response.FromString)
    for bytes_ in (b"\xff\xff\xff\xff", b"a\xc0\x80b", b"a\xed\xa0\x80"):
        problem = refused(call, wire.replace(b"MARK", bytes_), world.grpc, token)
        assert problem.code == "INVALID_ARGUMENT" and problem.reason == "MALFORMED_MESSAGE", problem


def refused(call, wire, client, token):
    try:
        call(wire, timeout=30, metadata=client.metadata(token))
    except grpc.RpcError as error:
        return client.problem(error)
    raise AssertionError(f"{wire} was let through")


# ---- numbers ----

INTEGERS = [each for each in ALL if each[2].type in NUMBERS]


@pytest.mark.parametrize("path, where, field", INTEGERS, ids=NAMES(INTEGERS))
def test_bounds_of_numbers(world, path, where, field):
    kind = {Field.TYPE_INT32: "int32", Field.TYPE_INT64: "int64", Field.TYPE_UINT32: "uint32"}[field.type]
    rules = rules_of(field).get(kind, {})
    assert "gte" in rules, f"{'.'.join(where)} has no lower bound"
    least = int(rules["gte"])
    if least > 0 or field.type != Field.TYPE_UINT32:
        expect_refused(world, path, where, least - 1, field)
    if field.type != Field.TYPE_UINT32:
        expect_refused(world, path, where, -MOST[field.type] - 1, field)
    most = int(rules.get("lte", MOST[field.type]))
    if most < MOST[field.type]:
        expect_refused(world, path, where, most + 1, field)
    for value in (least, least + 1, most):
        code, answer, http, _ = ask(world, path, where, value, field)
        if code in ("PERMISSION_DENIED", "FAILED_PRECONDITION") and where[-1] == "room":  # of another test
            assert http.status == answer.http_status, http.text
            continue
        assert code in ("OK", "NOT_FOUND"), answer
        used_up = code == "OK" and RULES[path].uses_up and where[-1] == "id"  # by the call before
        assert http.status == (METHODS[path].http_status if code == "OK" else 404) or used_up and http.status == 404, http.text


# ---- lists ----

LISTS = [each for each in TEXTS if each[2].label == Field.LABEL_REPEATED]


@pytest.mark.parametrize("path, where, field", LISTS, ids=NAMES(LISTS))
def test_number_of_items(world, path, where, field):
    method, most = METHODS[path], int(rules_of(field)["repeated"]["max_items"])
    for count, good in ((most, True), (most + 1, False)):
        items = [f"item {i:03}" for i in range(count)]
        request, token = prepared(world, path)
        put(request, where, items)
        code, answer = world.grpc(method.service, path.rpartition("/")[2], request, token)
        request, token = prepared(world, path)
        put(request, where, items)
        http = world.http(*http_request(method, request), token)
        if good:
            assert code == "OK" and http.status == method.http_status and items in found(http.json, where[-1])
        else:
            assert code == "INVALID_ARGUMENT" and http.status == 422 and list(http.json["errors"]) == [where[-1]]
            compare_problem(answer, http)


# ---- characters ----

PROBES = {
    "emoji": "a\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "flag": "\U0001f1ea\U0001f1fa",
    "combining": "e\u0301\u0323\u0302",
    "zalgo": "z" + "\u0301\u0330\u0489" * 10,
    "right to left": "\u05e9\u05dc\u05d5\u05dd",
    "beyond the BMP": "\U00020000\U0001d11e",
    "quotes": "'\";--\\%_<b>&amp;$1{}",
    "line": "a\nb",
    "tab": "a\tb",
    "control": "a\x07b",
    "escape": "a\x1b[31mb",
    "delete": "a\x7fb",
    "C1": "a\u0085b",
    "bidi override": "a\u202eb",
    "bidi embedding": "a\u202ab",
    "unclosed isolate": "a\u2066b",
    "closed isolate": "a\u2066b\u2069",
    "zero width": "a\u200bb",
    "no character": "a\ufffeb",
}
GOOD = {"emoji", "flag", "combining", "zalgo", "right to left", "beyond the BMP", "quotes"}
CONTROL = {"control", "escape", "delete"}
SPOILS_OTHERS = {"bidi override", "bidi embedding"}  # an isolate ends with its paragraph
# Kinds of fields: which of PROBES they refuse.
KEPT = set()  # to the byte: nothing but NUL is refused
KINDS = {
    "name": set(PROBES) - GOOD,
    "line": {*CONTROL, *SPOILS_OTHERS, "line", "C1", "tab", "no character"},
    "text": {*CONTROL, *SPOILS_OTHERS, "no character"},
    "kept": KEPT,
    "key": KEPT,  # names a thing: not found, rather than refused
    "email": set(PROBES),
    "secret": KEPT,
    "token": None,  # what is not ours is refused as a token
}
CHARACTERS = {
    "CreateUser user.username": "name", "CreateUser user.email": "email", "CreateUser user.password": "secret",
    "Login user.email": "secret", "Login user.password": "secret",
    "UpdateCurrentUser user.username": "name", "UpdateCurrentUser user.email": "email",
    "UpdateCurrentUser user.password": "secret", "UpdateCurrentUser user.bio": "text",
    "UpdateCurrentUser user.image": "line", "UpdateCurrentUser currentPassword": "secret",
    "DeleteCurrentUser currentPassword": "secret",
    "RefreshSession refreshToken": "token", "ListSessions pageToken": "token", "EndSession session": "token",
    "CreateArticle article.title": "kept", "CreateArticle article.description": "kept",
    "CreateArticle article.body": "kept", "CreateArticle article.tagList": "line",
    "UpdateArticle article.title": "kept", "UpdateArticle article.description": "kept",
    "UpdateArticle article.body": "kept", "UpdateArticle article.tagList": "line",
    "GetArticle slug": "key", "UpdateArticle slug": "key", "DeleteArticle slug": "key", "FavoriteArticle slug": "key",
    "UnfavoriteArticle slug": "key", "CreateComment slug": "key", "ListComments slug": "key", "DeleteComment slug": "key",
    "ListArticles tag": "key", "ListArticles author": "key", "ListArticles favorited": "key",
    "ListArticles q": "kept", "GetRevision slug": "key", "ListRevisions slug": "key",
    **{f"{method} draft.{name}": "line" if name == "tagList" else "kept"
       for method in ("CreateDraft", "UpdateDraft") for name in ("title", "description", "body", "tagList")},
    "ListDrafts pageToken": "token",
    "ListArticles pageToken": "token", "ListFeed pageToken": "token", "ListComments pageToken": "token",
    "CreateComment comment.body": "kept",
    "GetProfile username": "key", "FollowProfile username": "key", "UnfollowProfile username": "key",
    "CreateRoom room.name": "line", "CreateRoom room.description": "text", "CreateRoom room.clientId": "kept",
    "UpdateRoom changes.name": "line", "UpdateRoom changes.description": "text",
    "ListRooms pageToken": "token", "ListMyRooms pageToken": "token", "ListMembers pageToken": "token",
    "OpenDirectRoom username": "key", "InviteMember username": "key", "RemoveMember username": "key",
    "SetMemberRole username": "key",
    "SendMessage message.text": "kept", "SendMessage message.clientId": "kept",
    "EditMessage text": "kept", "EditMessage clientId": "kept", "DeleteMessage clientId": "kept",
    "AddReaction emoji": "line", "AddReaction clientId": "kept",
    "RemoveReaction emoji": "line", "RemoveReaction clientId": "kept",
    "SearchMessages query": "kept", "SearchMessages pageToken": "token",
}


def test_each_text_field_is_of_a_kind():
    assert sorted(NAMES(TEXTS)) == sorted(CHARACTERS)


@pytest.mark.parametrize("path, where, field", TEXTS, ids=NAMES(TEXTS))
def test_characters(world, path, where, field):
    kind = CHARACTERS[NAMES([(path, where)])[0]]
    refuses = KINDS[kind]
    for probe, text in PROBES.items():
        value = text
        if kind in ("name", "email"):
            tail = "@example.com" if kind == "email" else ""
            value = lambda w, text=text, tail=tail: f"{text}{w.unique('u')}{tail}"
        elif where[-1].lower().endswith("password"):
            value = "password " + text
        elif where[-1] == "slug":  # which an article with that title may have
            value = text + world.unique("-")
        code, answer, http, sent = ask(world, path, where, value, field)
        if refuses is None:
            assert code in ("INVALID_ARGUMENT", "UNAUTHENTICATED") and answer.errors, answer
            assert http.status == answer.http_status or in_path(METHODS[path], where) and http.status == 400, f"{probe}: {http.text}"
        elif probe in refuses:
            assert code == "INVALID_ARGUMENT" and answer.reason == "INVALID_FIELDS", f"{probe}: {answer}"
            assert answer.fields == [proto_path(METHODS[path], where)], answer
            compare_problem(answer, http)
        elif in_path(METHODS[path], where) and http.status == 400:
            assert code == "NOT_FOUND", "only a path with control characters is no path"
            assert probe in ("line", "tab", *CONTROL), probe
        else:
            check_taken(path, where, field, code, answer, http, sent)


@pytest.mark.parametrize("path, where, field", TEXTS, ids=NAMES(TEXTS))
def test_nul(world, path, where, field):
    """Nowhere, by any way of writing it."""
    if in_path(METHODS[path], where):
        request, token = prepared(world, path)
        put(request, where, "a\0b")
        code, problem = world.grpc(METHODS[path].service, path.rpartition("/")[2], request, token)
        assert code == "INVALID_ARGUMENT", problem
        assert world.http(*http_request(METHODS[path], request), token).status in (400, 404)
        return
    expect_refused(world, path, where, "a\0b", field, "must not contain a NUL character")
