"""Log lines of the services: one JSON object each, and those of a call say which request of the gateway's it was. And which
requests have a line in the gateway's log."""
import contextlib
import json
import uuid

import psycopg2
import pytest
from live_fixture import ServerSentEvents
from metrics_fixture import Numbers
from stoa_contract import HttpClient
from stoa_suite_fixture import SERVICES, Suite, wait_until
from websocket_fixture import Refused, Socket
from world_fixture import World

REFRESH = "/stoa.auth.v1.SessionService/RefreshSession"
SUBSCRIBE = "/stoa.chat.v1.LiveService/Subscribe"
GET = "/stoa.posts.v1.ArticleService/GetArticle"


def lines(suite, name):
    """Those that are whole: the last one may just be written."""
    return [json.loads(line) for line in suite.log(name).splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]


def line(suite, name, **fields):
    """The one with these fields, once it has been written."""

    def look():
        found = [each for each in lines(suite, name) if all(each.get(key) == value for key, value in fields.items())]
        assert len(found) < 2, found
        return found and found[0]

    return wait_until(look, f"{name} logs {fields}")


def new_trace():
    trace = uuid.uuid4().hex
    return trace, f"00-{trace}-00f067aa0ba902b7-01"


@pytest.fixture
def broken_articles(suite):
    """Postgres refuses posts its own articles: an error that no handler expects."""
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("REVOKE SELECT ON posts.articles FROM stoa_posts")
            try:
                yield
            finally:
                cursor.execute("GRANT SELECT ON posts.articles TO stoa_posts")


@pytest.mark.parametrize("service", SERVICES)
def test_a_line_is_an_object(suite, service):
    found = [line for line in suite.log(service).splitlines(keepends=True) if line.endswith("\n")]
    assert len(found) > 5
    for each in map(json.loads, found):
        assert list(each)[:4] == ["time", "level", "service", "msg"] and each["service"] == service


def test_a_failed_query_is_found_by_the_trace(suite, call_http, broken_articles):
    trace, parent = new_trace()
    answer = call_http("GET", "/api/articles/whatever", headers={"traceparent": parent, "X-Request-Id": f"r-{trace}"})
    assert answer.status == 500
    said = line(suite, "posts", trace_id=trace)
    assert (said["msg"], said["rpc"], said["request_id"]) == ("query failed", GET, f"r-{trace}")
    assert (said["level"], said["statement"], said["sqlstate"]) == ("error", "get_article_anonymous", "42501")
    assert "articles" in said["cause"]
    at_the_gateway = line(suite, "gateway", trace_id=trace)
    assert (at_the_gateway["request_id"], at_the_gateway["rpc"], at_the_gateway["status"]) == (f"r-{trace}", GET, "500")


@pytest.fixture
def full_disk(suite):
    """Postgres says of each article that is written what it says when it finds no room for it."""
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("""
                CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    RAISE 'could not extend file "x": No space left on device' USING ERRCODE = 'disk_full';
                END $$;
                CREATE TRIGGER no_room BEFORE INSERT ON posts.articles EXECUTE FUNCTION public.no_room()""")
            try:
                yield
            finally:
                cursor.execute("DROP FUNCTION public.no_room() CASCADE")


def test_a_full_disk_is_our_fault_and_is_said(suite, call_http, new_account, full_disk):
    """Not 429: to ask for less does not help, and the alert for errors of ours has to see it."""
    trace, parent = new_trace()
    article = {"article": {"title": "No room", "description": "d", "body": "b"}}
    answer = call_http("POST", "/api/articles", article, new_account()["token"], headers={"traceparent": parent})
    assert answer.status == 503 and answer.headers["Retry-After"] == "1"
    said = line(suite, "posts", trace_id=trace)
    assert (said["level"], said["statement"], said["sqlstate"]) == ("error", "create_article", "53100")
    assert "No space left" in said["cause"]


def test_a_stolen_refresh_token_is_found_by_the_trace(suite, call_grpc, new_account, sign_in, pass_time):
    session = sign_in(new_account())
    trace, parent = new_trace()
    call_grpc("auth", "RefreshSession", {"refreshToken": session["refreshToken"]})
    pass_time(session["session"], 60)
    metadata = (("traceparent", parent), ("x-request-id", "from-grpc"))
    code, _ = call_grpc("auth", "RefreshSession", {"refreshToken": session["refreshToken"]}, metadata=metadata)
    assert code == "UNAUTHENTICATED"
    said = line(suite, "auth", trace_id=trace)
    assert (said["level"], said["rpc"], said["request_id"]) == ("warn", REFRESH, "from-grpc")
    assert said["msg"].startswith("a refresh token was used again")
    assert session["refreshToken"] not in suite.log("auth")


@pytest.mark.parametrize("parent, request_id", (
    ("00-short-00f067aa0ba902b7-01", "with a space"),
    ("00-" + 32 * "0" + "-00f067aa0ba902b7-01", "-begins-with-a-dash"),
    ("", 65 * "x"),
    ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", '"},{"'),
))
def test_what_a_caller_made_up_is_left_out(suite, call_grpc, broken_articles, parent, request_id):
    before = len(lines(suite, "posts"))
    code, _ = call_grpc("posts", "GetArticle", {"slug": "whatever"}, metadata=(("traceparent", parent), ("x-request-id", request_id)))
    assert code == "INTERNAL"

    def look():
        """Not what the service does by itself, and may not do either."""
        return [each for each in lines(suite, "posts")[before:] if each["msg"] == "query failed" and each.get("rpc") == GET]

    (said,) = wait_until(look, "posts logs it")
    assert "trace_id" not in said and "request_id" not in said


# ---- which requests have a line in the gateway's log ----

FINE, FAILED = {"200", "events", "websocket"}, {"404", "422", "426", "last"}


def ask_for_everything(suite, room, token, turn):
    """A request of each kind, by its X-Request-Id. The last one fails, after nginx is done with all the others."""

    def named(name, **more):
        return {"X-Request-Id": f"{turn}-{name}", **more}

    http, port = HttpClient(suite.http), suite.ports["STOA_HTTP_PORT"]
    ended = streams_ended(http)
    assert http("GET", "/api/articles", headers=named("200")).status == 200
    assert http("GET", "/api/articles/none", headers=named("404")).status == 404
    assert http("POST", "/api/users", {"user": {"username": ""}}, headers=named("422")).status == 422
    events = ServerSentEvents(port, token, room, after=0, headers=named("events"))
    assert events.response.status == 200 and events.next()
    events.close()
    socket = {"Authorization": f"Bearer {token}"}
    Socket(port, "/api/chat/ws", headers=named("websocket", **socket)).drop()
    with pytest.raises(Refused) as refused:
        Socket(port, "/api/chat/ws", headers=named("426", **socket, **{"Sec-WebSocket-Version": "12"}))
    assert refused.value.status == 426
    wait_until(lambda: streams_ended(http) == ended + 1, "nginx hears that the client has left the stream of events")
    assert http("GET", "/api/nowhere", headers=named("last")).status == 404


def streams_ended(http):
    samples = Numbers(http("GET", "/metrics").text).samples
    return sum(value for (name, labels), value in samples.items()
               if name == "grpc_json_requests_total" and ("rpc", SUBSCRIBE) in labels)


def logged(suite, turn):
    """What has a line of what was asked for in this turn."""
    line(suite, "gateway", request_id=f"{turn}-last")
    ids = [each.get("request_id", "") for each in lines(suite, "gateway")]
    return {each.removeprefix(f"{turn}-") for each in ids if each.startswith(f"{turn}-")}


def test_a_log_of_errors_alone(contract):
    # One worker writes its lines in the order of the requests.
    with Suite(STOA_ACCESS_LOG="errors", STOA_HTTP_WORKERS=1) as suite:
        room, host = World(suite, contract).room()
        ask_for_everything(suite, room, host["token"], "errors")
        assert logged(suite, "errors") == FAILED
        for wanted, lines_of in (("all", FINE | FAILED), ("errors", FAILED)):
            done = suite.command("reload", STOA_ACCESS_LOG=wanted)
            assert done.returncode == 0, done.stderr
            ask_for_everything(suite, room, host["token"], f"reloaded-{wanted}")
            assert logged(suite, f"reloaded-{wanted}") == lines_of
        refused = suite.command("reload", STOA_ACCESS_LOG="none")
        assert refused.returncode == 1 and "STOA_ACCESS_LOG=none: set all, or errors" in refused.stderr
