"""/metrics: every number is what happened, told in Prometheus' own format."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import threading
import time

import grpc
import pytest

import attach_fixture
from gateway_fixture import DEMO_PROTO, SERVICE, Gateway, compile_demo, serving_items, wait_until
from metrics_fixture import CONTENT_TYPE, Numbers

GET, CREATE = SERVICE + "GetItem", SERVICE + "CreateItem"


@contextlib.contextmanager
def running(descriptor_set, messages, changes=None, **kwargs):
    with serving_items(descriptor_set, messages, changes, **kwargs) as gateway:
        yield gateway, gateway.service


def numbers(gateway):
    answer = gateway.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    return Numbers(answer.body.decode(), "grpc_json_")


def settled(gateway, test):
    """The numbers, once they are as expected: a request is counted after its answer has gone out."""

    def look():
        found = numbers(gateway)
        return found if test(found) else None

    return wait_until(look)


def test_requests_by_rpc_and_status(descriptor_set, messages):
    def not_found(_request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such item")

    with running(descriptor_set, messages) as (gateway, service):
        for _ in range(3):
            assert gateway.get("/demo/items/a").status == 200
        assert gateway.post("/demo/items", {"item": {"name": "a"}}).status == 201
        assert gateway.post("/demo/items", "{").status == 400
        service.answers[GET] = not_found
        assert gateway.get("/demo/items/a").status == 404
        assert gateway.get("/nope").status == 404
        found = settled(gateway, lambda n: n.get("requests_total", rpc="", status="404") == 1)
        assert found.get("requests_total", rpc=GET, status="200") == 3
        assert found.get("requests_total", rpc=GET, status="404") == 1
        assert found.get("requests_total", rpc=CREATE, status="201") == 1
        assert found.get("requests_total", rpc=CREATE, status="400") == 1
        assert found.get("grpc_results_total", rpc=GET, code="OK") == 3
        assert found.get("grpc_results_total", rpc=GET, code="NOT_FOUND") == 1
        assert found.get("grpc_results_total", rpc=CREATE, code="OK") == 1
        # The one that the gateway refused has reached no service.
        assert found.get("upstream_requests_total", upstream="chat", status="200") == 5
        assert found.get("upstream_grpc_results_total", upstream="chat", code="NOT_FOUND") == 1


def test_durations(descriptor_set, messages):
    with running(descriptor_set, messages) as (gateway, service):
        hold = threading.Event()

        def slow(request, _context):
            if request.name == "slow":
                assert hold.wait(30)
            return messages.new("demo.v1.GetItemResponse")

        service.answers[GET] = slow
        for _ in range(4):
            gateway.get("/demo/items/a")
        thread = threading.Thread(target=gateway.get, args=("/demo/items/slow",))
        thread.start()
        settled(gateway, lambda n: n.get("requests_open", rpc=GET) == 1)
        started = time.monotonic()
        wait_until(lambda: time.monotonic() - started > 0.3)
        hold.set()
        thread.join()
        found = settled(gateway, lambda n: n.get("duration_seconds_count", rpc=GET) == 5)
        assert found.get("requests_open", rpc=GET) == 0
        for label in ({"rpc": GET}, {"upstream": "chat"}):
            prefix = "upstream_" if "upstream" in label else ""
            assert found.get(prefix + "duration_seconds_sum", **label) >= 0.3
            buckets = {
                dict(labels)["le"]: value
                for (name, labels), value in found.samples.items()
                if name == f"grpc_json_{prefix}duration_seconds_bucket" and set(label.items()) <= set(labels)
            }
            # As text, since that is how queries compare them.
            assert {"0.001", "0.01", "0.25", "1", "10", "+Inf"} <= set(buckets)
            bounds = {float(bound): value for bound, value in buckets.items()}
            assert len(bounds) == 14 and bounds[float("inf")] == 5
            values = [bounds[bound] for bound in sorted(bounds)]
            assert values == sorted(values)
            # The slow one is in none of those up to 250 ms.
            assert bounds[0.25] <= 4


def test_bytes(descriptor_set, messages):
    with running(descriptor_set, messages) as (gateway, _):
        before = numbers(gateway)
        answer = gateway.post("/demo/items", {"item": {"name": "x" * 100_000}})
        assert answer.status == 201
        found = settled(gateway, lambda n: n.get("requests_total", rpc=CREATE, status="201") == 1)
        for name, label in (
            ("received_bytes_total", {"rpc": CREATE}),
            ("sent_bytes_total", {"rpc": CREATE}),
            ("upstream_received_bytes_total", {"upstream": "chat"}),
            ("upstream_sent_bytes_total", {"upstream": "chat"}),
        ):
            assert 100_000 < found.get(name, **label) - before.get(name, **label) < 102_000, name
        entry = gateway.wait_for_log(lambda e: e["status"] == "201")
        assert int(entry["bytes_in"]) == found.get("received_bytes_total", rpc=CREATE)
        assert int(entry["bytes_out"]) == found.get("sent_bytes_total", rpc=CREATE)


def test_names_come_from_the_descriptors_alone(descriptor_set, messages):
    with running(descriptor_set, messages) as (gateway, _):
        before = numbers(gateway)
        for i in range(200):
            gateway.request("GET", f"/a{i}", headers={"Host": f"h{i}"})
            gateway.get(f"/demo/items/{i}")
            gateway.request(f"M{i}".replace("0", "O"), "/demo/items")
        found = settled(gateway, lambda n: n.get("requests_total", rpc=GET, status="200") == 200)
        assert found.names("rpc") == before.names("rpc") and GET in found.names("rpc")
        assert found.names("rpc") == set(messages.methods) | {""}
        assert found.names("upstream") == {"auth", "posts", "chat"}
        assert len(gateway.get("/metrics").body) < 200_000


def test_refusals_of_limits(descriptor_set, messages):
    changes = {"zone=address:4m rate=1000000/1s": "zone=address:4m rate=2/1h"}
    with running(descriptor_set, messages, changes) as (gateway, _):
        for _ in range(5):
            gateway.get("/demo/items/a")
        found = settled(gateway, lambda n: n.get("requests_total", rpc="", status="429") == 3
                        or n.get("requests_total", rpc=GET, status="429") == 3)
        assert found.get("limit_refused_total", limit="address") == 3
        assert found.get("limit_refused_total", limit="account") == 0


def test_sessions_that_share_streams():
    """By instance: streams, sessions, what goes each way, and copies of broadcasts."""
    with attach_fixture.serving(2, changes=dict([attach_fixture.METRICS])) as gateway, contextlib.ExitStack() as stack:
        instances = [f"unix:{gateway.socket_path(i)}" for i in range(2)]

        def every(found, name):
            return [found.get("attach_" + name, instance=instance) for instance in instances]

        assert numbers(gateway).names("instance") == {*instances, "other"}
        clients = [stack.enter_context(attach_fixture.Client(gateway)) for _ in range(6)]
        for client in clients:
            client.join(1)
        for client in clients:
            attach_fixture.check(client, 1, clients[0].say(1, "x" * 1000))
        found = settled(gateway, lambda n: sum(every(n, "streams_open")) == 2)
        assert sum(every(found, "sessions_open")) == 6
        # Each of the six messages to each of six, but to who was just catching up by itself.
        assert 6 <= sum(every(found, "deliveries_total")) <= 36
        assert sum(every(found, "received_bytes_total")) > 6 * 1000 and sum(every(found, "received_messages_total")) >= 6
        assert sum(every(found, "sent_bytes_total")) > 6 * 1000 and sum(every(found, "sent_messages_total")) >= 6
        assert sum(every(found, "resumed_total")) == 0
        assert sum(every(found, "accepted_seconds_count")) == 6
        assert found.get("limit_refused_total", limit="opening") == 0
        lost = every(found, "sessions_open")[0]
        gateway.kill(0)
        found = settled(gateway, lambda n: every(n, "sessions_open") == [0, 6])
        assert every(found, "resumed_total") == [0, lost] and every(found, "streams_open") == [0, 1]
        assert sum(every(found, "accepted_seconds_count")) == 6  # that were accepted before are not counted again
        for client in clients:
            client.drop()
        found = settled(gateway, lambda n: every(n, "sessions_open") == [0, 0])
        assert found.get("sessions_queued_bytes") == 0


def test_bytes_that_wait_for_clients():
    """What they have not read yet; nothing when they have gone."""
    with attach_fixture.serving(changes=dict([attach_fixture.METRICS])) as gateway:
        with attach_fixture.Client(gateway, receive_buffer=4096) as slow, attach_fixture.Client(gateway) as writer:
            slow.join(1)
            while not numbers(gateway).get("sessions_queued_bytes"):
                writer.say(1, "x" * 1000, repeat=10)
        settled(gateway, lambda n: n.get("sessions_queued_bytes") == 0)


def test_open_connections(descriptor_set, messages):
    with running(descriptor_set, messages) as (gateway, _):
        with contextlib.ExitStack() as stack:
            for _ in range(7):
                stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            settled(gateway, lambda n: n.get("connections", state="active") >= 8)
        found = settled(gateway, lambda n: n.get("connections", state="active") == 1)
        assert found.get("connections_accepted_total") >= 9


def test_aborted_requests_are_not_left_open(descriptor_set, messages):
    with running(descriptor_set, messages) as (gateway, service):
        hold = threading.Event()
        service.answers[GET] = lambda r, c: hold.wait(30) and messages.new("demo.v1.GetItemResponse")
        sockets = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(5)]
        for s in sockets:
            s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n\r\n")
        settled(gateway, lambda n: n.get("requests_open", rpc=GET) == 5)
        for s in sockets:
            s.close()
        settled(gateway, lambda n: n.get("requests_open", rpc=GET) == 0)
        settled(gateway, lambda n: n.get("requests_total", rpc=GET, status="499") == 5)
        hold.set()


def test_workers_together_and_across_reloads(descriptor_set, messages):
    with running(descriptor_set, messages, workers=3) as (gateway, _):
        for _ in range(30):
            assert gateway.get("/demo/items/a").status == 200
        found = settled(gateway, lambda n: n.get("requests_total", rpc=GET, status="200") == 30)
        loaded = found.get("configuration_loaded_timestamp_seconds")
        assert found.get("workers") == 3
        before = set(gateway.worker_pids())
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not before & set(gateway.worker_pids()))
        for _ in range(10):
            assert gateway.get("/demo/items/a").status == 200
        found = settled(gateway, lambda n: n.get("requests_total", rpc=GET, status="200") == 40)
        assert found.get("workers") == 3
        assert found.get("configuration_loaded_timestamp_seconds") >= loaded > 1_600_000_000


def test_killed_worker(descriptor_set, messages):
    """What it had counted stays; what it had open does not."""
    with running(descriptor_set, messages) as (gateway, service):
        assert gateway.get("/demo/items/a").status == 200
        settled(gateway, lambda n: n.get("requests_total", rpc=GET, status="200") == 1)
        hold = threading.Event()
        service.answers[GET] = lambda r, c: hold.wait(30) and messages.new("demo.v1.GetItemResponse")
        with socket.create_connection(("127.0.0.1", gateway.port)) as s:
            s.sendall(b"GET /demo/items/a HTTP/1.1\r\nHost: x\r\n\r\n")
            settled(gateway, lambda n: n.get("requests_open", rpc=GET) == 1)
            (worker,) = gateway.worker_pids()
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: gateway.worker_pids() not in ([worker], []))
        found = settled(gateway, lambda n: n.get("requests_open", rpc=GET) == 0)
        assert found.get("requests_total", rpc=GET, status="200") == 1
        assert found.get("workers") == 1
        hold.set()
        log = f"{gateway.dir}/log/nginx-error.log"
        wait_until(lambda: re.search(r"worker process \d+ exited on signal 9", open(log).read()))
        open(log, "w").close()


def test_a_new_descriptor_set_brings_new_names(descriptor_set, messages, tmp_path):
    used = tmp_path / "used.binpb"
    shutil.copy(descriptor_set, used)
    with running(used, messages) as (gateway, _):
        gateway.get("/demo/items/a")
        settled(gateway, lambda n: n.get("requests_total", rpc=GET, status="200") == 1)
        fresh = compile_demo(tmp_path, DEMO_PROTO.replace("rpc ListItems(", "rpc EnumerateItems("))
        os.replace(fresh, used)
        before = set(gateway.worker_pids())
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not before & set(gateway.worker_pids()))
        found = numbers(gateway)
        assert SERVICE + "EnumerateItems" in found.names("rpc")
        assert found.get("requests_total", rpc=GET, status="200") == 1


def test_not_for_everybody(descriptor_set, messages):
    changes = {"allow 127.0.0.1;": "allow 192.0.2.1;"}
    with running(descriptor_set, messages, changes) as (gateway, _):
        answer = gateway.get("/metrics")
        assert answer.status == 403 and answer.errors() == {"request": ["is forbidden"]}


def test_only_read(descriptor_set, messages):
    with running(descriptor_set, messages) as (gateway, _):
        assert gateway.post("/metrics", "{}").status == 405
        answer = gateway.request("HEAD", "/metrics")
        assert answer.status == 200 and answer.body == b""


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("grpc_json_metrics_zone 5m;", "", "grpc_json_metrics_zone"),
        ("grpc_json_metrics_zone 5m;", "grpc_json_metrics_zone 1k;", "64k"),
        ("grpc_json_metrics_zone 5m;", "grpc_json_metrics_zone 5m; grpc_json_metrics_zone 5m;", "duplicate"),
    ],
)
def test_bad_configuration(descriptor_set, old, new, says):
    gateway = Gateway(descriptor_set, {old: new})
    result = gateway.test_config()
    gateway.stop()
    assert result.returncode != 0 and says in result.stderr


def test_too_small_a_zone(descriptor_set):
    gateway = Gateway(descriptor_set, {"grpc_json_metrics_zone 5m;": "grpc_json_metrics_zone 64k;"})
    assert gateway.test_config().returncode != 0
    log = pathlib.Path(f"{gateway.dir}/log/nginx-error.log")
    assert "grpc_json_metrics_zone: 65536 bytes are too few" in log.read_text()
    log.write_text("")
    gateway.stop()
