"""deploy/compose.yaml seen running. `make compose-test` alone runs it: it needs a container engine, and minutes.

The tests are steps of one story, in this order.
"""
import collections
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import yaml
from engine import REPOSITORY, engine

sys.path.insert(0, str(REPOSITORY / "tests/contract"))

from stoa_suite_fixture import HttpLoad, free_ports, wait_until  # noqa: E402

FILE = REPOSITORY / "deploy/compose.yaml"
RULES = REPOSITORY / "deploy/observability/rules.yaml"
RUNBOOKS = REPOSITORY / "docs/runbooks/README.md"
SERVICES = ("auth", "posts", "chat")
JOBS = ("secrets", "bootstrap", "migrate-auth", "migrate-posts", "migrate-chat")
LASTING = ("postgres", "redis", *SERVICES, "gateway")
PUBLISHED = ("gateway", "grpc", "prometheus")
# Everything that a client can ask for; what asks for more is skipped.
CONTRACT = ("auth", "posts", "chat", "user", "profiles", "articles_edit", "comments", "favorites", "drafts", "pages",
            "revisions", "etags", "idempotency", "stoa_routes", "search", "sessions", "grpc")
REST_MIB = 400
# Between two requests of a client: who asks without a pause takes the processor from what is tested.
PAUSE_SECONDS = 0.02
PROJECT = "stoa-test"


def compose_spellings(environment):
    """How compose can be called here: version 1 is a program of its own, version 2 a plugin of docker."""
    found = []
    for words in (["docker-compose"], ["docker", "compose"]):
        try:
            if subprocess.run([*words, "version"], env=environment, capture_output=True).returncode == 0:
                found.append(words)
        except FileNotFoundError:
            continue
    return found


class Stack:
    """The suite of deploy/compose.yaml, with ports of its own."""

    def __init__(self, environment, compose):
        ports = dict(zip(("HTTP", *map(str.upper, SERVICES), "PROMETHEUS"), map(str, free_ports(5))))
        self.ports = {name.lower(): int(port) for name, port in ports.items()}
        clean = {name: value for name, value in environment.items()
                 if not name.startswith("STOA_") or name.startswith("STOA_BUILD_")}
        # Wide limits, as in `make run`: the contract tests make many accounts from one address.
        wide = {name: "10000/10s" for name in re.findall(r"\$\{(STOA_(?:AUTH|CHAT)_[A-Z_]+_RATE):", FILE.read_text())}
        self.environment = {
            **clean, **wide, **{f"STOA_{name}_PORT": port for name, port in ports.items()},
            "STOA_AUTH_REFUSE_COMMON_PASSWORDS": "off", "STOA_ADDRESS_RATE": "off", "STOA_ACCOUNT_RATE": "off",
            "STOA_CORS_ORIGINS": "http://localhost:*",
            # Many sign up and in at once, beside other tests.
            "STOA_AUTH_HASH_QUEUE": "64", "STOA_PATIENCE_MS": "10000",
        }
        self.command = [*compose, "-p", PROJECT, "-f", str(FILE)]

    def compose(self, *arguments, profile=True):
        """Takes as long as it takes: building may be half an hour on a machine with other work."""
        command = [*self.command, *(["--profile", "grpc"] if profile else []), *arguments]
        done = subprocess.run(command, env=self.environment, text=True, capture_output=True)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        return done.stdout

    def docker(self, *arguments):
        return subprocess.run(["docker", *arguments], env=self.environment, text=True, capture_output=True,
                              check=True, timeout=300).stdout

    def ids(self, service, every=False):
        labels = [f"label=com.docker.compose.project={PROJECT}", f"label=com.docker.compose.service={service}"]
        filters = [word for label in labels for word in ("--filter", label)]
        return self.docker("ps", "--quiet", "--no-trunc", *(["--all"] if every else []), *filters).split()

    def inspect(self, service, every=False):
        found = self.ids(service, every)
        return json.loads(self.docker("inspect", *found)) if found else []

    def wait_healthy(self, seconds=300):
        def healthy():
            states = [each["State"]["Health"]["Status"] for name in LASTING for each in self.inspect(name)]
            return len(states) >= len(LASTING) and set(states) == {"healthy"}

        wait_until(healthy, "all that lasts is healthy", seconds)

    @property
    def http(self):
        return f"127.0.0.1:{self.ports['http']}"

    def addresses(self):
        return " ".join(f"{name}=127.0.0.1:{self.ports[name]}" for name in ("http", *SERVICES))

    def ask(self, method, path, body=None, token=None):
        headers = {"Content-Type": "application/json", **({"Authorization": f"Token {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.http}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")

    def listed(self):
        """How many instances of each service nginx was last told of."""
        done = subprocess.run(["docker", "logs", self.ids("gateway")[0]], env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
        told = [json.loads(line) for line in done.stdout.splitlines() if '"msg": "instances"' in line]
        return {name: len(told[-1][name]) for name in SERVICES}


@pytest.fixture(scope="module")
def environment():
    with engine() as (environment, _private):
        yield environment


@pytest.fixture(scope="module")
def stack(environment):
    spellings = compose_spellings(environment)
    assert spellings, "neither docker-compose nor docker compose is there"
    stack = Stack(environment, spellings[0])
    stack.spellings = spellings
    try:
        stack.compose("build")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "30")


@pytest.fixture(scope="module")
def account(stack):
    """Somebody who was there from the start, and an article of theirs."""
    user = {"username": "ada", "email": "ada@example.com", "password": "correct horse battery"}
    status, answer = stack.ask("POST", "/api/users", {"user": user})
    assert status == 201, answer
    token = answer["user"]["token"]
    article = {"title": "Still here", "description": "About it", "body": "The text."}
    status, answer = stack.ask("POST", "/api/articles", {"article": article}, token)
    assert status == 201, answer
    return {**user, "token": token, "slug": answer["article"]["slug"]}


def test_no_secret_is_in_the_file():
    words = re.findall(r"(?m)^ *([A-Z0-9_]*(?:PASSWORD|SECRET|TOKEN)):[ \t]*(\S*)", FILE.read_text())
    assert words and not any(value for _, value in words), words


def test_each_variable_is_in_the_example():
    used = dict(re.findall(r"\$\{([A-Z_0-9]+):-([^}]*)\}", FILE.read_text()))
    used.update((name, "") for name in re.findall(r"(?m)^      ([A-Z_]+PASSWORD):$", FILE.read_text()))
    example = dict(re.findall(r"(?m)^#?([A-Z_0-9]+)=(.*)$", (REPOSITORY / "deploy/.env.example").read_text()))
    example.pop("COMPOSE_PROJECT_NAME")
    assert example == used


def test_both_spellings_read_it_alike(stack):
    """The file, as each that is there understands it. Version 2's plugin is not in Debian 12."""
    seen = []
    for words in stack.spellings:
        done = subprocess.run([*words, "-p", PROJECT, "-f", FILE, "--profile", "grpc", "--profile", "observability", "config"],
                              env=stack.environment, text=True, capture_output=True, check=True)
        config = yaml.safe_load(done.stdout)
        seen.append({name: (service["image"], service.get("read_only"), tuple(service.get("cap_drop", ())))
                     for name, service in config["services"].items()})
    assert all(each == seen[0] for each in seen)
    print(f"read by: {', '.join(map(shlex.join, stack.spellings))}")


def test_it_comes_up(stack):
    begun = time.monotonic()
    stack.compose("up", "--detach")
    stack.wait_healthy()
    print(f"healthy after {time.monotonic() - begun:.1f} s")
    assert stack.ask("GET", "/readyz") == (200, {"status": "ready"})
    for name in JOBS:
        state = stack.inspect(name, every=True)[0]["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0), name


def test_memory_at_rest(stack):
    sizes = {"B": 1 / 1048576, "KiB": 1 / 1024, "MiB": 1, "GiB": 1024}
    used = {}
    for name in LASTING:
        text = stack.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", *stack.ids(name))
        amount, unit = re.match(r"([0-9.]+)(B|KiB|MiB|GiB)", text).groups()
        used[name] = float(amount) * sizes[unit]
    print("MiB at rest:", {name: round(each) for name, each in used.items()}, "together", round(sum(used.values())))
    assert sum(used.values()) < REST_MIB


def check_contained(stack, name):
    container = stack.inspect(name, every=True)[0]
    host, user = container["HostConfig"], container["Config"]["User"]
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user), (name, user)
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"], name
    assert "no-new-privileges:true" in host["SecurityOpt"] and host["Memory"] > 0 and host["PidsLimit"] > 0, name
    assert host["RestartPolicy"]["Name"] == ("no" if name in JOBS else "unless-stopped"), name
    published = [port for bindings in (host["PortBindings"] or {}).values() for port in bindings]
    assert {each["HostIp"] for each in published} == ({"127.0.0.1"} if name in PUBLISHED else set()), name
    secrets = " ".join([*container["Config"]["Env"], *container["Args"]])
    assert not re.search(r"PASSWORD=[^$]", secrets), name


def test_containers_are_contained(stack):
    for name in (*LASTING, *JOBS, "grpc"):
        check_contained(stack, name)


def test_networks(stack):
    """Who can be reached from where: the way in leads to the gateway alone, and from there to no data."""
    def reaches(service, host, port):
        script = f"exec 3<>/dev/tcp/{host}/{port}"
        done = subprocess.run(["docker", "exec", stack.ids(service)[0], "timeout", "3", "bash", "-c", script],
                              env=stack.environment, capture_output=True)
        return done.returncode == 0

    assert reaches("gateway", "auth", 9001) and reaches("posts", "postgres", 5432) and reaches("auth", "redis", 6379)
    assert not reaches("gateway", "postgres", 5432) and not reaches("gateway", "redis", 6379)
    assert not reaches("grpc", "postgres", 5432) and not reaches("grpc", "gateway", 6379)
    own = {name: {each for container in stack.inspect(name) for each in container["NetworkSettings"]["Networks"]}
           for name in (*LASTING, "grpc")}
    assert {name for name, networks in own.items() if f"{PROJECT}_edge" in networks} == {"gateway", *SERVICES}
    assert {name for name, networks in own.items() if f"{PROJECT}_front" in networks} == {"gateway", "grpc"}


def test_whom_the_gateway_calls_for_is_known(stack, account):
    """Its word is believed; that of a caller by gRPC is not (tests/contract/test_sessions.py has the rest)."""
    _, answer = stack.ask("GET", "/api/sessions", token=account["token"])
    gateways = {each["Gateway"] for each in stack.inspect("gateway")[0]["NetworkSettings"]["Networks"].values()}
    assert {session["address"] for session in answer["sessions"]} <= gateways - {""}


def test_contract(stack, account):
    files = [f"tests/contract/test_{name}.py" for name in CONTRACT]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "2", "--dist", "loadfile", *files],
        env={**os.environ, "STOA_TEST_SUITE": stack.addresses()}, cwd=REPOSITORY, text=True, capture_output=True,
    )
    print(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-8000:]


def requests_of(account):
    """Reads and writes: (method, path, body, headers)."""
    headers = {"Authorization": f"Token {account['token']}", "Content-Type": "application/json"}
    comment = json.dumps({"comment": {"body": "Well said."}})
    return (
        ("GET", f"/api/articles/{account['slug']}", None, {}),
        ("POST", f"/api/articles/{account['slug']}/comments", comment, headers),
        ("GET", "/api/user", None, headers),
        ("GET", "/api/chat/rooms", None, headers),
    )


def test_more_instances(stack, account):
    gateway = stack.ids("gateway")
    with HttpLoad(stack.http, 2, requests_of(account), (200, 201), keeps=False, pause=PAUSE_SECONDS) as load:
        stack.compose("up", "--detach", "--no-recreate", "--scale", "posts=2", "--scale", "chat=3")
        wait_until(lambda: stack.listed() == {"auth": 1, "posts": 2, "chat": 3}, "the gateway has found them", 120)
        load.more()
    assert not load.failed, load.failed[:5]
    assert stack.ids("gateway") == gateway and stack.inspect("gateway")[0]["RestartCount"] == 0


def test_a_dead_instance_is_dropped(stack, account):
    reads = [each for each in requests_of(account) if each[0] == "GET"]
    with HttpLoad(stack.http, 2, reads, (200,), keeps=False, pause=PAUSE_SECONDS) as load:
        victim = stack.ids("posts")[0]
        stack.docker("kill", "--signal", "KILL", victim)
        begun = time.monotonic()
        # Killed by hand, it is not started again by the engine.
        wait_until(lambda: stack.listed()["posts"] == 1, "the gateway has dropped it", 60)
        print(f"dropped after {time.monotonic() - begun:.1f} s")
        stack.docker("start", victim)
        wait_until(lambda: stack.listed()["posts"] == 2, "the gateway has it again", 120)
        load.more()
    print(f"{len(load.served)} reads, {len(load.failed)} failed")
    assert not load.failed, load.failed[:5]


def test_rolling_restart(stack, account):
    before = {name: set(stack.ids(name)) for name in SERVICES}
    with HttpLoad(stack.http, 4, requests_of(account), (200, 201), keeps=False, pause=PAUSE_SECONDS) as load:
        load.more()
        done = subprocess.run([REPOSITORY / "deploy/roll", *SERVICES], text=True, capture_output=True, timeout=900,
                              env={**stack.environment, "COMPOSE": shlex.join(stack.command)})
        assert done.returncode == 0, done.stdout + done.stderr
        load.more()
    print(f"{len(load.served)} requests, {len(load.failed)} failed")
    assert not load.failed, load.failed[:5]
    after = {name: set(stack.ids(name)) for name in SERVICES}
    assert {name: len(ids) for name, ids in after.items()} == {"auth": 1, "posts": 2, "chat": 3}
    assert not any(before[name] & after[name] for name in SERVICES)
    # A token of an instance that is gone, with the key that was its own.
    assert stack.ask("GET", "/api/user", token=account["token"])[0] == 200


def run_commands_of_the_runbooks(stack):
    """Each prints something; `exec` has no terminal here."""
    _, *commands = re.findall(r"(?m)^    (\S.*)$", RUNBOOKS.read_text())
    assert len(commands) > 5
    compose = shlex.join([*stack.command, "--profile", "observability"])
    for command in commands:
        run = f"compose={shlex.quote(compose)}; {command.replace(' exec ', ' exec -T ', 1)}"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", run], env=stack.environment, cwd=REPOSITORY, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == 0 and done.stdout.strip(), (command, done.stdout, done.stderr)


def test_prometheus(stack):
    """The profile, but Grafana, which Debian has not: every instance is found and tells its numbers, the rules hold, the runbooks'
    commands for containers run, and a service that is gone is an alert until it is back."""
    profile = ("--profile", "observability")

    def ask(path):
        url = f"http://127.0.0.1:{stack.ports['prometheus']}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]

    def up():
        found = ask("query?query=up")["result"]
        return collections.Counter(each["metric"]["job"] for each in found if each["value"][1] == "1")

    def firing():
        return {(each["labels"]["alertname"], each["labels"].get("job")) for each in ask("alerts")["alerts"] if each["state"] == "firing"}

    stack.compose(*profile, "up", "--detach", "prometheus")
    try:
        wait_until(lambda: stack.inspect("prometheus")[0]["State"]["Health"]["Status"] == "healthy", "Prometheus is healthy", 120)
        check_contained(stack, "prometheus")
        networks = stack.inspect("prometheus")[0]["NetworkSettings"]["Networks"]
        assert set(networks) == {f"{PROJECT}_{name}" for name in ("look", "observe", "watch")}
        wait_until(lambda: up() == {"auth": 1, "posts": 2, "chat": 3, "gateway": 1}, "all are scraped", 120)
        rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
        loaded = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        assert sorted(rule["name"] for rule in loaded) == sorted(rule.get("alert") or rule["record"] for rule in rules)
        assert not any(rule.get("lastError") for rule in loaded), loaded
        assert not firing()

        stopped = stack.ids("chat")
        stack.docker("stop", *stopped)
        # They ask nothing of chat, and the alert takes more than a minute.
        run_commands_of_the_runbooks(stack)
        wait_until(lambda: ("StoaInstanceDown", "chat") in firing(), "the alert fires", 300)
        stack.docker("start", *stopped)
        wait_until(lambda: not firing(), "it is over", 300)
        wait_until(lambda: stack.listed()["chat"] == 3, "the gateway has them again", 120)
    finally:
        stack.compose(*profile, "rm", "--stop", "--force", "prometheus")


def test_backups(stack, account):
    """The profile: an archive, a base backup, and a cluster out of them beside the one that runs, which starts and has it all."""
    backup = ("--profile", "backup")
    stack.compose(*backup, "up", "--detach", "archive")
    check_contained(stack, "archive")
    try:
        assert "Made /var/lib/postgresql/data/backups/base/" in stack.compose(*backup, "run", "--rm", "archive", "base")
        assert "No damage in 1 base backup and" in stack.compose(*backup, "run", "--rm", "archive", "verify")
        restored = "/var/lib/postgresql/data/restored"
        assert f"Restored {restored}" in stack.compose(*backup, "run", "--rm", "archive", "restore", restored)
        # Without a network, as all of this profile.
        look = f"""
            pg_ctl -D {restored} -o "-c listen_addresses='' -c unix_socket_directories=/tmp" -w -l /tmp/log start >/dev/null
            PGPASSWORD=$(cat /password/password) psql --host=/tmp --username=postgres -AXtc 'SELECT slug, title FROM posts.articles' stoa
            pg_ctl -D {restored} -w stop >/dev/null"""
        found = stack.compose(*backup, "run", "--rm", "--no-deps", "--volume", f"{PROJECT}_secrets-postgres:/password:ro",
                              "--entrypoint", "bash", "archive", "-ec", look)
        assert f"{account['slug']}|Still here" in found.splitlines(), found
    finally:
        stack.compose(*backup, "rm", "--stop", "--force", "archive")


@pytest.mark.parametrize("turn", range(2))
def test_down_and_up_again(stack, account, turn):
    """Each spelling that is there takes its turn."""
    words = stack.spellings[turn % len(stack.spellings)]
    if turn >= len(stack.spellings):
        pytest.skip("only one spelling of compose is there")
    old, stack.command = stack.command, [*words, *stack.command[-4:]]
    try:
        stack.compose("down", "--timeout", "30")
        assert not any(stack.ids(name, every=True) for name in (*LASTING, *JOBS))
        stack.compose("up", "--detach", profile=False)
        stack.wait_healthy()
        assert not stack.ids("grpc"), "only its profile starts it"
    finally:
        stack.command = old
    status, answer = stack.ask("GET", f"/api/articles/{account['slug']}")
    assert status == 200 and answer["article"]["title"] == "Still here"
    user = {name: account[name] for name in ("email", "password")}
    assert stack.ask("POST", "/api/users/login", {"user": user})[0] == 200


def test_a_stopped_service_ends_well(stack):
    """Nothing had to be killed: each ended by itself, with 0, and said so."""
    stack.compose("stop", "--timeout", "60")
    codes = {name: stack.inspect(name, every=True)[0]["State"]["ExitCode"] for name in LASTING}
    assert codes == dict.fromkeys(LASTING, 0)
