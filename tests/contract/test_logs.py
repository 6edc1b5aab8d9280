"""Log lines of the services: one JSON object each, and those of a call say which request of the gateway's it was."""
import contextlib
import json
import uuid

import psycopg2
import pytest
from stoa_suite_fixture import SERVICES, wait_until

REFRESH = "/stoa.auth.v1.SessionService/RefreshSession"
GET = "/stoa.posts.v1.ArticleService/GetArticle"


def lines(suite, name):
    return [json.loads(line) for line in suite.log(name).splitlines() if line.startswith("{")]


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
    found = lines(suite, service)
    assert len(found) == len(suite.log(service).splitlines()) > 5
    for each in found:
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
    (said,) = wait_until(lambda: [each for each in lines(suite, "posts")[before:] if each["msg"] == "query failed"], "posts logs it")
    assert said["rpc"] == GET and "trace_id" not in said and "request_id" not in said
