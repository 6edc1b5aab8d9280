"""What a service refuses for want of capacity, the gateway refuses in its stead (grpc_json_overload)."""
import json
import re

import pytest
from gateway_fixture import TestGateway, wait_until

BEFORE = "    grpc_json_timeout 10s;"
OVERLOAD = f"""grpc_json_timeout 10s; grpc_json_metrics_zone 1m; grpc_json_problem_type urn:problem:;
    grpc_json_overload OVERLOADED;"""
METRICS = {"location / {": "location = /metrics { grpc_json_metrics; } location / {"}


def details(reason):
    types = "type.googleapis.com/google.rpc."
    return [
        {"@type": types + "ErrorInfo", "reason": reason, "domain": "example.com"},
        {"@type": types + "RetryInfo", "retryDelay": "3s"},
    ]


def refusal(reason):
    return {"outcome": {"status": {"code": 8, "message": "too much at once", "details": details(reason)}}}


@pytest.fixture
def gateway():
    """Its own for each test: what it has heard of a service holds for seconds."""
    gateway = TestGateway({BEFORE: OVERLOAD, **METRICS})
    try:
        yield gateway.start()
    finally:
        gateway.stop()


def counted(gateway, pattern):
    found = re.search(rf"^grpc_json_{pattern} (\d+)$", gateway.get("/metrics").body.decode(), re.M)
    return int(found[1]) if found else 0


def asked(gateway):
    """Calls that the service has been asked for."""
    return counted(gateway, r'upstream_requests_total\{upstream="test",status="200"\}')


def refused_here(gateway):
    return counted(gateway, r'limit_refused_total\{limit="overload"\}')


def send(gateway, body):
    return gateway.request("POST", "/test/echo-unary", json.dumps(body).encode(), {"Content-Type": "application/json"})


def test_refusals_of_a_service_are_the_gateways_own_before_long(gateway):
    calls, here = asked(gateway), refused_here(gateway)
    answers = [send(gateway, refusal("OVERLOADED")) for _ in range(200)]
    for answer in answers:
        problem = json.loads(answer.body)
        assert answer.status == 429 and answer.headers["Retry-After"] == "3"
        assert problem["type"] == "urn:problem:example.com:OVERLOADED" and problem["reason"] == "OVERLOADED"
        assert problem["detail"] in ("too much at once", "the service is overloaded")
    # The service heard few of them, and each was counted.
    assert 0 < asked(gateway) - calls < 100
    assert asked(gateway) - calls + refused_here(gateway) - here == 200
    # Other RPCs go on.
    assert all(gateway.get("/test/count?count=1").status == 200 for _ in range(20))
    assert all(gateway.get("/test/other-unary").status != 429 for _ in range(20))
    # A while after the service has refused the last one, all is as before.
    wait_until(lambda: all(send(gateway, {"message": "hello"}).status == 200 for _ in range(250)))


def test_what_is_not_for_want_of_capacity_holds_nobody_back(gateway):
    calls, here = asked(gateway), refused_here(gateway)
    assert {send(gateway, refusal("TOO_MANY_ATTEMPTS")).status for _ in range(100)} == {429}
    assert {send(gateway, {"outcome": {"status": {"code": 8, "message": "no details"}}}).status for _ in range(100)} == {429}
    assert asked(gateway) - calls == 200 and refused_here(gateway) == here


def test_is_off_by_itself(test_gateway):
    answers = [send(test_gateway, refusal("OVERLOADED")) for _ in range(100)]
    assert {json.loads(answer.body)["detail"] for answer in answers} == {"too much at once"}
