"""Instances that refuse calls, because they start or stop: what has not begun goes to another one."""
import grpc
import pytest

from gateway_fixture import SERVICE, FakeService, Gateway, Messages, compile_demo

ASKED = 8
CREATE = {"item": {"name": "a"}}
PUSHBACK = (("grpc-retry-pushback-ms", "0"),)


class TwoInstances(Gateway):
    def write_config(self, changes):
        server = f"server unix:{self.dir}/sock/chat"
        super().write_config({**changes, f"{server}.sock;": f"{server}.sock max_fails=0; {server}-2.sock max_fails=0;"})


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return Messages(compile_demo(tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def gateway(messages):
    gateway = TwoInstances(messages.path)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def instances(gateway, messages):
    """Two; both answer."""
    made = [FakeService(messages, gateway.socket_path(name)) for name in ("chat", "chat-2")]
    for one in made:
        for method in ("GetItem", "CreateItem"):
            one.answers[SERVICE + method] = lambda request, context, method=method: messages.new(
                f"demo.v1.{method}Response", item={"name": "served"})
    yield made
    for one in made:
        one.stop()


def refuse(instance, code, trailers=(), headers_first=False):
    def answer(_request, context):
        if headers_first:
            context.send_initial_metadata(())
        context.set_trailing_metadata(trailers)
        context.abort(code, "not now")

    for method in ("GetItem", "CreateItem"):
        instance.answers[SERVICE + method] = answer


def ask(gateway, write):
    """Statuses of ASKED requests: as many for each instance, at the first try."""
    return [(gateway.post("/demo/items", CREATE) if write else gateway.get("/demo/items/a")).status for _ in range(ASKED)]


@pytest.mark.parametrize("write", (False, True))
def test_a_call_that_was_not_begun_goes_to_another_instance(gateway, instances, write):
    refuse(instances[0], grpc.StatusCode.UNAVAILABLE, PUSHBACK)
    assert ask(gateway, write) == [201 if write else 200] * ASKED
    assert len(instances[0].calls) >= ASKED // 2 and len(instances[1].calls) == ASKED


@pytest.mark.parametrize("code", (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED))
def test_what_may_be_repeated_goes_to_another_instance(gateway, instances, code):
    refuse(instances[0], code)
    assert ask(gateway, write=False) == [200] * ASKED
    assert instances[0].calls


@pytest.mark.parametrize("code, trailers, headers_first, status", (
    (grpc.StatusCode.UNAVAILABLE, (), False, 503),
    (grpc.StatusCode.CANCELLED, (), False, 499),
    # "Do not retry", and what has nothing to do with it.
    (grpc.StatusCode.UNAVAILABLE, (("grpc-retry-pushback-ms", "-1"),), False, 503),
    (grpc.StatusCode.ABORTED, PUSHBACK, False, 409),
    # It was begun.
    (grpc.StatusCode.UNAVAILABLE, PUSHBACK, True, 503),
))
def test_a_write_that_may_have_begun_is_sent_once(gateway, instances, code, trailers, headers_first, status):
    refuse(instances[0], code, trailers, headers_first)
    assert sorted(ask(gateway, write=True)) == sorted([201, status] * (ASKED // 2))
    assert len(instances[0].calls) == len(instances[1].calls) == ASKED // 2


def test_the_last_refusal_is_the_answer(gateway, instances):
    for one in instances:
        refuse(one, grpc.StatusCode.UNAVAILABLE, PUSHBACK)
    assert ask(gateway, write=True) == [503] * ASKED
    assert gateway.post("/demo/items", CREATE).problem()["status"] == 503
    for one in instances:
        assert len(one.calls) == ASKED + 1


def test_one_that_is_gone_is_not_missed(gateway, instances):
    instances[1].stop()
    assert ask(gateway, write=True) == [201] * ASKED
    assert ask(gateway, write=False) == [200] * ASKED
