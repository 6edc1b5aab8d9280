"""/metrics of the services: what is told is what happened, its labels are the contract's, and who scrapes costs little."""
import contextlib
import re
import socket
import urllib.request

import pytest
from chat_fixture import call, open_room  # noqa: F401: fixtures
from live_fixture import GrpcEvents, GrpcLive
from metrics_fixture import CONTENT_TYPE, Numbers, ask, service_numbers, settled
from stoa_suite_fixture import SERVICES, wait_until

ARTICLES = "/stoa.posts.v1.ArticleService/"
MOST_CONNECTIONS = 16
# Of every label, what may be in it; rpc and statement are the contract's and the service's own.
LABELS = {
    "service": {"auth", "posts", "chat"},
    "version": None,
    "condition": None,
    "le": None,
    "rpc": None,
    "statement": None,
    "code": None,
    "state": {"busy", "idle", "down"},
    "outcome": {"ok", "unavailable", "deadline", "cancelled", "unique", "foreign_key", "check", "conflict", "overloaded",
                "internal", "answered", "refused", "timed_out", "lost", "sent", "exported", "dropped"},
    "class": {"none", "other", "08", "0A", "21", "22", "23", "25", "26", "28", "40", "42", "53", "55", "57", "XX"},
    "result": {"valid", "none", "missing", "invalid", "expired", "revoked", "ok", "wrong", "busy", "failed", "repeated",
               "used_twice"},
    "attempt": {"login", "register", "refresh"},
    "connection": {"commands", "publisher", "subscriber"},
    "kind": {"connect", "subscribe"},
    "seen_by": {"number", "question"},
}


@pytest.mark.parametrize("service", SERVICES)
def test_all_that_is_told(suite, contract, service, new_account):
    account = new_account()
    numbers = service_numbers(suite, service)
    for family in numbers.families:
        assert family.documentation.endswith("."), family.name
        assert re.match("(stoa|process)_", family.name)
        # So that a query can tell "none" from "no such thing".
        assert family.samples, family.name
    for name, labels in numbers.samples:
        for label, value in labels:
            assert LABELS[label] is None or value in LABELS[label], (name, label, value)
            assert account["username"] not in value and account["email"] not in value
    known = {method.path for method in contract.methods()}
    assert all(rpc in known or rpc.startswith("/grpc.") for rpc in numbers.names("rpc"))
    assert numbers.get("stoa_build_info", service=service, version="1.0") == 1
    assert numbers.get("stoa_ready") == numbers.get("stoa_db_up") == 1
    assert numbers.get("process_open_fds") > 10 and numbers.get("process_resident_memory_bytes") > 1e6
    assert numbers.get("process_threads") > 5 and numbers.get("process_cpu_seconds_total") > 0
    assert sum(numbers.get("stoa_db_connections", state=state) for state in LABELS["state"]) == 16


@pytest.mark.parametrize("service", SERVICES)
def test_through_the_gateway(suite, service):
    with urllib.request.urlopen(f"{suite.http}/metrics/{service}", timeout=30) as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        assert Numbers(answer.read().decode()).get("stoa_build_info", service=service, version="1.0") == 1


def test_calls_by_rpc_and_code(suite, call_grpc, new_account, publish):
    before = service_numbers(suite, "posts")
    article = publish(new_account())
    for slug in (article["slug"], "there-is-none-such", article["slug"]):
        call_grpc("posts", "GetArticle", {"slug": slug})
    call_grpc("posts", "GetArticle", {"slug": article["slug"]}, "no-token")

    def gained(numbers, name, **labels):
        return numbers.get(name, **labels) - before.get(name, **labels)

    get = {"rpc": ARTICLES + "GetArticle"}
    # Each is counted when it has been answered, in whatever order.
    after = settled(suite, "posts", lambda n: gained(n, "stoa_grpc_call_duration_seconds_count", **get) == 4)
    assert gained(after, "stoa_grpc_calls_total", code="UNAUTHENTICATED", **get) == 1
    assert gained(after, "stoa_grpc_calls_total", code="OK", **get) == 2
    assert gained(after, "stoa_grpc_calls_total", code="NOT_FOUND", **get) == 1
    assert after.get("stoa_grpc_calls_open", **get) == 0
    # What a client made up is refused by its shape, without the database.
    assert gained(after, "stoa_db_statement_duration_seconds_count", statement="get_article_anonymous") == 3
    assert gained(after, "stoa_db_statements_total", outcome="ok") >= 4
    assert gained(after, "stoa_token_checks_total", result="invalid") == 1
    assert gained(after, "stoa_token_checks_total", result="none") == 3
    # What comes alone goes alone: the one that was created and those that were looked for.
    assert gained(after, "stoa_db_group_items_total") == gained(after, "stoa_db_group_statements_total") == 4


def test_unknown_methods_make_no_series(suite):
    before = service_numbers(suite, "posts")
    unknown = suite.grpc("posts").unary_unary("/made.up.Service/Method", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        unknown(b"", timeout=30)
    after = service_numbers(suite, "posts")
    assert after.get("stoa_grpc_calls_unknown_total") == before.get("stoa_grpc_calls_unknown_total") + 1
    assert not any("made" in rpc for rpc in after.names("rpc"))


def test_sign_ins_and_refreshes(suite, call_grpc, new_account, sign_in, pass_time):
    before = service_numbers(suite, "auth")
    account = new_account()
    session = sign_in(account)
    code, _ = call_grpc("auth", "Login", {"user": {"email": account["email"], "password": "not this one"}})
    assert code == "UNAUTHENTICATED"
    for _ in range(2):  # the second time its answer may have been lost
        code, _ = call_grpc("auth", "RefreshSession", {"refreshToken": session["refreshToken"]})
        assert code == "OK"
    pass_time(session["session"], 60)
    code, _ = call_grpc("auth", "RefreshSession", {"refreshToken": session["refreshToken"]})
    assert code == "UNAUTHENTICATED"
    code, _ = call_grpc("auth", "RefreshSession", {"refreshToken": "made-up"})
    assert code != "OK"
    after = settled(suite, "auth", lambda n: n.get("stoa_auth_hash_threads_busy") == 0)

    def gained(name, **labels):
        return after.get(name, **labels) - before.get(name, **labels)

    assert [gained("stoa_auth_sign_ins_total", result=r) for r in ("ok", "wrong", "busy", "failed")] == [1, 1, 0, 0]
    assert gained("stoa_auth_refreshes_total", result="ok") == gained("stoa_auth_refreshes_total", result="repeated") == 1
    assert gained("stoa_auth_refreshes_total", result="used_twice") == 1
    assert gained("stoa_auth_attempts_total", attempt="login") == 2
    assert gained("stoa_auth_attempts_total", attempt="register") == 1
    assert gained("stoa_auth_throttled_total", attempt="login") == 0
    assert gained("stoa_auth_hashes_total") == 3  # one of the account's making
    assert gained("stoa_redis_commands_total", connection="commands", outcome="answered") >= 3
    assert after.get("stoa_auth_hashes_waiting") == 0


def test_live_rooms(suite, contract, open_room):
    room, host, guest = open_room(members=1)
    # Sessions of tests before this one may be about to end.
    before = settled(suite, "chat", lambda n: n.get("stoa_chat_sessions", kind="connect") == n.get("stoa_chat_subscribers") == 0)

    def gained(numbers, name, **labels):
        return numbers.get(name, **labels) - before.get(name, **labels)

    with contextlib.ExitStack() as stack:
        sessions = []
        for account in (host, guest):
            sessions.append(GrpcLive(contract, suite.grpc("chat"), account["token"]))
            stack.callback(sessions[-1].close)
            sessions[-1].expect("welcome")
            sessions[-1].follow(room)
        for n in range(3):
            sessions[0].done(send={"room": room, "text": "hello", "clientId": str(n)})
        assert len(sessions[1].events(3)) == 3
        # A message over a connection is a call as any other.
        sent = {"rpc": "/stoa.chat.v1.RoomService/SendMessage", "code": "OK"}
        numbers = settled(suite, "chat", lambda n: gained(n, "stoa_chat_events_delivered_total") == 6
                          and gained(n, "stoa_grpc_calls_total", **sent) == 3)
        assert gained(numbers, "stoa_chat_messages_sent_total") == gained(numbers, "stoa_chat_events_total") == 3
        assert gained(numbers, "stoa_chat_delivery_lag_seconds_count") == 3
        assert numbers.get("stoa_chat_sessions", kind="connect") == numbers.get("stoa_chat_subscribers") == 2
        assert numbers.get("stoa_chat_rooms") >= 1
        assert gained(numbers, "stoa_chat_publications_total", outcome="sent") >= 3
        assert [numbers.get("stoa_redis_up", connection=c) for c in ("commands", "publisher", "subscriber")] == [1, 1, 1]
        stack.callback(GrpcEvents(contract, suite.grpc("chat"), host["token"], room).close)
        settled(suite, "chat", lambda n: n.get("stoa_grpc_calls_open", rpc="/stoa.chat.v1.LiveService/Subscribe") == 1)
    settled(suite, "chat", lambda n: n.get("stoa_chat_sessions", kind="connect") == n.get("stoa_chat_subscribers") == 0)


def test_purges_are_told(suite):
    for service in ("posts", "chat"):
        first = service_numbers(suite, service).get("stoa_purge_last_success_timestamp_seconds")
        settled(suite, service, lambda n: n.get("stoa_purge_last_success_timestamp_seconds") > max(first, 1.7e9))


# ---- HTTP ----

@pytest.mark.parametrize("method, target, status", (
    ("GET", "/metrics", 200), ("GET", "/metrics?x=y", 200), ("HEAD", "/metrics", 200), ("GET", "/", 404),
    ("GET", "/metrics/", 404), ("POST", "/metrics", 405), ("DELETE", "/metrics", 405),
))
def test_requests(suite, method, target, status):
    code, headers, text = ask(suite.socket("posts.metrics"), method, target)
    assert code == status and headers["Connection"] == "close"
    assert bool(text) == (status == 200 and method == "GET")


def raw(suite):
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(30)
    plain.connect(str(suite.socket("posts.metrics")))
    return plain


def rest_of(plain):
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := plain.recv(65536):
            parts.append(part)
    plain.close()
    return b"".join(parts)


@pytest.mark.parametrize("request_bytes, answer", (
    (b"GET /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "),
    (b"GET /metrics HTTP/2.0\r\n\r\n", b"HTTP/1.1 400 "),
    (b"GET /metrics\r\n\r\n", b"HTTP/1.1 400 "),
    (b"\r\n\r\n", b"HTTP/1.1 400 "),
    (b"\0\xff\xfe GET\r\n\r\n", b"HTTP/1.1 400 "),
    (b"GET /metrics HTTP/1.1\r\n" + b"X: " + 9000 * b"x", b"HTTP/1.1 431 "),
))
def test_odd_requests(suite, request_bytes, answer):
    plain = raw(suite)
    plain.sendall(request_bytes)
    assert rest_of(plain).startswith(answer)


def test_those_that_say_nothing_are_few_and_soon_gone(suite, call_grpc):
    """16 hold all the places that there are: calls do not notice, and the next one waits until a place is free."""
    silent = [raw(suite) for _ in range(MOST_CONNECTIONS)]
    waiting = raw(suite)
    waiting.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    code, _ = call_grpc("posts", "ListTags", {})
    assert code == "OK"
    assert rest_of(waiting).startswith(b"HTTP/1.1 200 ")
    # They were closed without an answer.
    assert [rest_of(each) for each in silent] == MOST_CONNECTIONS * [b""]
    # One that goes makes room as well, before any time is up.
    again = [raw(suite) for _ in range(MOST_CONNECTIONS)]
    for each in again:
        each.close()
    wait_until(lambda: ask(suite.socket("posts.metrics"))[0] == 200, "the next one is answered")
