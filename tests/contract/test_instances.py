"""deploy/gateway: instances of a service come, go, get stuck and are replaced, and no request fails for it."""
import contextlib
import json
import re
import shutil
import signal
import subprocess

import grpc
import pytest
from stoa_contract import GrpcClient
from stoa_suite_fixture import REPOSITORY, HttpLoad, clean_environment, free_ports, output_folder, wait_until


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """What the gateway's image has in /usr/lib/stoa."""
    folder = tmp_path_factory.mktemp("program")
    for name in ("deploy/stoa_suite", "web"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("deploy/gateway", "gateway/nginx.conf.in", "gateway/forward.conf.in"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    build = output_folder().parent
    shutil.copy(build / "api.binpb", folder)
    shutil.copy(build / "release/gateway/ngx_http_grpc_json_module.so", folder)
    return folder


class Process:
    """A program of the test's own, ended with it."""

    def __init__(self, command, environment, log):
        with open(log, "ab") as output:
            self.process = subprocess.Popen(command, env={**clean_environment(), **environment}, stdout=output, stderr=output)
        self._log = log

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()

    def log(self):
        return self._log.read_text(errors="replace")


def instance(suite, name, port, folder, **settings):
    """One more instance of a service, beside the suite's own."""
    environment = {
        "STOA_LISTEN": f"127.0.0.1:{port}",
        "STOA_DATABASE": f"host={suite.run_dir}/sock port=5432 dbname=stoa user=stoa_{name}",
        "STOA_DATABASE_PASSWORD_FILE": f"{suite.run_dir}/secrets/{name}",
        **settings,
    }
    return Process([output_folder() / "bin" / name], environment, folder / f"{name}-{port}.log")


def posts(suite, port, folder, drain_ms=0):
    return instance(suite, "posts", port, folder, STOA_DRAIN_MS=str(drain_ms))


@contextlib.contextmanager
def gateway(suite, program, folder, posts_ports, command="run", **settings):
    ports = dict(zip(("http", "auth", "posts", "chat"), free_ports(4)))
    environment = {
        "STOA_RUN_DIR": str(folder), "STOA_HTTP_WORKERS": "2", "STOA_BIND": "127.0.0.1",
        **{f"STOA_{name.upper()}_PORT": str(port) for name, port in ports.items()},
        **{f"STOA_{name.upper()}_ADDRESSES": suite.grpc_address(name) for name in ("auth", "chat")},
        "STOA_POSTS_ADDRESSES": " ".join(f"localhost:{port}" for port in posts_ports), **settings,
    }
    with Process([program / "deploy/gateway", command], environment, folder / "gateway.log") as process:
        process.ports, process.environment = ports, environment
        process.http = f"http://127.0.0.1:{ports['http']}"
        yield process


def in_use(process):
    """Ports of posts that nginx was last told of."""
    lines = [json.loads(line) for line in process.log().splitlines() if '"msg": "instances"' in line]
    return sorted({int(each.rpartition(":")[2]) for each in lines[-1]["posts"]}) if lines else None


def wait_in_use(process, ports):
    wait_until(lambda: in_use(process) == sorted(ports), f"nginx uses {ports}", 180)


def check(process, *words):
    environment = {**clean_environment(), **process.environment}
    done = subprocess.run([REPOSITORY / "deploy/check-gateway", *words], env=environment, capture_output=True, text=True,
                          timeout=60)
    return done.returncode == 0, done.stdout


def wait_healthy(process, *words):
    wait_until(lambda: check(process, *words) == (True, ""), "it is healthy", 60)


def test_instances_come_and_go(suite, program, tmp_path):
    first = int(suite.grpc_address("posts").rpartition(":")[2])
    second, third = free_ports(2)
    with gateway(suite, program, tmp_path, [first, second, third]) as process:
        wait_in_use(process, [first])
        wait_healthy(process)
        pid = process.process.pid
        with HttpLoad(process.http, keeps=False) as load:
            load.more()
            with posts(suite, second, tmp_path) as killed, posts(suite, third, tmp_path) as stuck:
                wait_in_use(process, [first, second, third])
                load.more()
                killed.process.kill()
                wait_in_use(process, [first, third])
                load.more()
                # It accepts connections, and never says a word.
                stuck.process.send_signal(signal.SIGSTOP)
                wait_in_use(process, [first])
                stuck.process.send_signal(signal.SIGCONT)
                wait_in_use(process, [first, third])
                load.more()
        # A request that a stuck instance has is lost when its time is over; every other was served elsewhere.
        assert all(answer == 504 for _, answer in load.failed), load.failed
        assert process.process.pid == pid and process.process.poll() is None


def test_replacing_an_instance_fails_no_request(suite, program, publish, new_account, tmp_path):
    account = new_account()
    slug = publish(account)["slug"]
    headers = {"Authorization": f"Token {account['token']}", "Content-Type": "application/json"}
    comment = json.dumps({"comment": {"body": "Well said."}})
    requests = (("GET", f"/api/articles/{slug}", None, {}), ("POST", f"/api/articles/{slug}/comments", comment, headers))
    old, new = free_ports(2)
    with gateway(suite, program, tmp_path, [old, new]) as process, posts(suite, old, tmp_path, 600000) as leaving:
        wait_in_use(process, [old])
        wait_healthy(process)
        with posts(suite, new, tmp_path):
            # On new connections: a client that was held up for longer than a leaving worker waits for the next
            # request of an old one would lose that.
            with HttpLoad(process.http, 4, requests, (200, 201), keeps=False) as load:
                wait_in_use(process, [old, new])
                load.more()
                # It serves on until the gateway has seen that it leaves, however long that takes here; then a second signal
                # ends it.
                leaving.process.terminate()
                wait_in_use(process, [new])
                leaving.process.terminate()
                leaving.process.wait(60)
                load.more()
            assert not load.failed, load.failed[:5]
            assert leaving.process.returncode == 0
            assert re.search(r'"msg":"draining".*"msg":"stopping".*"msg":"stopped"', leaving.log(), re.DOTALL)


@pytest.mark.parametrize("collector", ("collector.invalid:4317", "localhost:{free}"))
def test_without_a_collector_requests_are_served(suite, program, tmp_path, collector):
    """Its name may not be there yet, or no longer: nginx by itself would not start then, nor take a list of instances."""
    first = int(suite.grpc_address("posts").rpartition(":")[2])
    address = collector.format(free=free_ports(1)[0])
    with gateway(suite, program, tmp_path, [first], STOA_TRACES=address, STOA_TRACE_ONE_IN="1") as process:
        wait_in_use(process, [first])
        wait_healthy(process)
        with HttpLoad(process.http, keeps=False) as load:
            load.more()
        assert not load.failed, load.failed[:5]
        wait_until(lambda: "spans were not exported" in process.log(), "the loss is told", 60)


def test_grpc_connections_are_forwarded(suite, program, contract, tmp_path):
    own = int(suite.grpc_address("posts").rpartition(":")[2])
    with gateway(suite, program, tmp_path, [own], "forward") as process:
        wait_healthy(process, "forward")


def test_health_is_that_somebody_serves(suite, program, tmp_path):
    """One of posts that runs, and has no Postgres: for a gateway that is the only one, and so it is asked for its own answer."""
    port, = free_ports(1)
    for words in ((), ("forward",)):
        folder = tmp_path / "-".join(("gateway", *words))
        folder.mkdir()
        with gateway(suite, program, folder, [port], *words) as process:
            assert not check(process, *words)[0], "before it listens"
            wait_in_use(process, [port])
            wait_until(lambda: "posts" in check(process, *words)[1] or str(process.ports["posts"]) in check(process, *words)[1],
                       "it says who does not serve", 60)
            environment = {"STOA_LISTEN": f"127.0.0.1:{port}", "STOA_DATABASE": "host=/nonexistent user=none"}
            with Process([output_folder() / "bin/posts"], environment, folder / "posts.log") as lame:
                wait_until(lambda: "listening" in lame.log(), "it listens", 60)
                assert not check(process, *words)[0]
            with posts(suite, port, folder):
                wait_healthy(process, *words)


@pytest.mark.parametrize("setting", (
    "STOA_POSTS_ADDRESSES=posts", "STOA_POSTS_ADDRESSES=posts:0", "STOA_HTTP_PORT=x", "STOA_ADDRESS_CONNECTIONS=4000"))
def test_bad_settings(suite, program, tmp_path, setting):
    name, _, value = setting.partition("=")
    with gateway(suite, program, tmp_path, [1], **{name: value}) as process:
        assert process.process.wait(60) == 1
        assert setting in json.loads(process.log())["cause"]


def test_a_service_is_asked_whether_it_is_ready(suite, tmp_path):
    port, = free_ports(1)
    environment = {
        **clean_environment(), "STOA_LISTEN": f"127.0.0.1:{port}", "STOA_DATABASE": "host=/nonexistent user=none",
    }

    def ask(environment):
        done = subprocess.run([output_folder() / "bin/posts", "check"], env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    assert ask(environment)[0] == 1
    with posts(suite, port, tmp_path):
        wait_until(lambda: ask(environment) == (0, ""), "it is ready", 60)
    # One that lives, and has no Postgres.
    with Process([output_folder() / "bin/posts"], environment, tmp_path / "log"):
        wait_until(lambda: "not ready" in ask(environment)[1], "it says that it is not ready", 60)
    tls = {**environment, "STOA_TLS_CERTIFICATE": "x", "STOA_TLS_KEY": "x"}
    status, said = ask(tls)
    assert status == 1 and "speak TLS" in said


def test_whoever_is_a_gateway_speaks_for_clients(suite, contract, unique, tmp_path):
    """By its address, over TCP; who has another one is not believed (test_sessions.py)."""
    port, = free_ports(1)
    settings = {"STOA_GATEWAYS": "192.0.2.7, 127.0.0.0/8", "STOA_AUTH_KEY": str(tmp_path / "auth.jwk")}
    name = unique("ada")
    request = {"user": {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}}
    with instance(suite, "auth", port, tmp_path, **settings) as auth, \
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        wait_until(lambda: '"msg":"ready"' in auth.log(), "auth is ready", 60)
        call = GrpcClient(contract, lambda service: channel)
        _, answer = call("auth", "CreateUser", request, metadata=(("x-client-address", "203.0.113.9"),))
        _, answer = call("auth", "ListSessions", {}, answer["user"]["token"])
    assert answer["sessions"][0]["address"] == "203.0.113.9"


def test_gateways_are_addresses(suite, tmp_path):
    with instance(suite, "posts", 1, tmp_path, STOA_GATEWAYS="127.0.0.1,gateway") as posts:
        assert posts.process.wait(60) == 1
        assert '"cause":"STOA_GATEWAYS: \\"gateway\\" is no address or network' in posts.log()
