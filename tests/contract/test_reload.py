"""deploy/suite reload: a new build or new settings go live under load, and a bad one does not."""
import contextlib
import http.client
import os
import pathlib
import socket
import subprocess

import pytest
from stoa_suite_fixture import REPOSITORY, HttpLoad, Suite, clean_environment, copy_build, output_folder, wait_until


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build of one's own, to change: release/ and what lies beside it."""
    return copy_build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def suite(build):
    with Suite(STOA_OUT=build, STOA_HTTP_WORKERS=2) as started:
        yield started


def reload(suite, **settings):
    environment = {**suite.environment(), **{name: str(value) for name, value in settings.items()}}
    return subprocess.run(
        [REPOSITORY / "deploy/suite", "reload"], env=environment, capture_output=True, text=True, timeout=120
    )


def get(suite, path, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", suite.ports["STOA_HTTP_PORT"], timeout=30)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


def rooms_path(build, old, new):
    """A descriptor set in which one route has another path, of the same length."""
    path = build.parent / "api.binpb"
    text = path.read_bytes()
    assert text.count(old) >= 1 and len(old) == len(new)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(text.replace(old, new))
    os.replace(fresh, path)


def test_new_routes_and_settings_under_load(suite, build):
    services = {name: suite.pid(name) for name in ("auth", "posts", "chat", "gateway")}
    assert get(suite, "/api/articles/none").status == 404
    with HttpLoad(suite.http) as load:
        load.more()
        rooms_path(build, b"/api/articles/{slug}", b"/api/writings/{slug}")
        done = reload(suite)
        assert done.returncode == 0 and "Reloaded" in done.stdout, done.stderr
        load.more()
        answer = get(suite, "/api/writings/none")
        assert answer.status == 404 and b'"article"' in answer.body
        answer = get(suite, "/api/articles/none")
        assert answer.status == 404 and b'"path"' in answer.body
        done = reload(suite, STOA_CORS_ORIGINS="https://app.example.com", STOA_ADDRESS_RATE="77777/7s")
        assert done.returncode == 0, done.stderr
        load.more()
        answer = get(suite, "/api/articles/none", {"Origin": "https://app.example.com"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
        assert 'q=77777;w=7' in answer.headers["RateLimit-Policy"]
        # What was set before stays, unless it is set again.
        rooms_path(build, b"/api/writings/{slug}", b"/api/articles/{slug}")
        assert reload(suite).returncode == 0
        load.more()
        assert 'q=77777;w=7' in get(suite, "/api/articles/none").headers["RateLimit-Policy"]
    assert not load.failed and len(load.served) > 150
    # Nothing was restarted for it.
    assert services == {name: suite.pid(name) for name in services}


def test_bad_descriptor_set(suite, build):
    path = build.parent / "api.binpb"
    good = path.read_bytes()
    with HttpLoad(suite.http) as load:
        for bad in (b"\xff\xff\xff", b"", good.replace(b"/api/articles/{slug}", b"/api/articles/{slugg")):
            path.write_bytes(bad)
            done = reload(suite)
            if bad:
                assert done.returncode == 1 and "the old one goes on" in done.stderr and "api.binpb" in done.stderr
                assert len(done.stderr.splitlines()) == 1
            load.more()
            path.write_bytes(good)
            assert reload(suite).returncode == 0
    assert not load.failed
    assert get(suite, "/api/articles/none").status == 404


def test_bad_module(suite, build):
    path = build.parent / "release/gateway/ngx_http_grpc_json_module.so"
    good = path.read_bytes()
    path.write_bytes(b"\x7fELF nonsense")
    done = reload(suite)
    path.write_bytes(good)
    assert done.returncode == 1 and "the old one goes on" in done.stderr
    assert get(suite, "/readyz").status == 200


def test_settings_that_need_a_start(suite):
    for name, value in (("STOA_GRACE_MS", "1234"), ("STOA_CHAT_PORT", "9"), ("STOA_BIND", "::1")):
        done = reload(suite, **{name: value})
        assert done.returncode == 1 and name in done.stderr and "make down" in done.stderr
    done = reload(suite, STOA_CORS_ORIGINS="https://bad/path")
    assert done.returncode == 1 and "grpc_json_cors" in done.stderr and "the old one goes on" in done.stderr
    assert get(suite, "/readyz").status == 200


def test_connections_of_an_address(suite):
    """A suite has the limit without being told; 2000 at first."""
    assert "zone=address_connections:4m connections=2000;" in (suite.run_dir / "etc/nginx.conf").read_text()
    done = reload(suite, STOA_ADDRESS_CONNECTIONS="4000")
    assert done.returncode == 1 and "all of STOA_HTTP_CONNECTIONS=4096" in done.stderr
    assert reload(suite, STOA_ADDRESS_CONNECTIONS="3").returncode == 0
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", suite.ports["STOA_HTTP_PORT"])))
        # Another worker may be sooner than the one that accepts these.
        wait_until(lambda: get(suite, "/api/articles/none").status == 429, "the limit is met")
        assert reload(suite, STOA_ADDRESS_CONNECTIONS="off").returncode == 0
        wait_until(lambda: get(suite, "/api/articles/none").status == 404, "there is no limit")


def test_gateway_restarts_with_what_was_reloaded(suite):
    assert reload(suite, STOA_ADDRESS_RATE="88888/8s").returncode == 0
    old = suite.kill("gateway")
    suite.wait_restarted("gateway", old)

    def answers():
        try:
            return get(suite, "/api/articles/none")
        except OSError:
            return None

    assert "q=88888;w=8" in wait_until(answers, "the gateway answers").headers["RateLimit-Policy"]


def test_reload_while_the_gateway_restarts(suite):
    """What supervision starts is told nothing before it is nginx."""
    for quota in (66661, 66662, 66663):
        suite.kill("gateway")
        done = reload(suite, STOA_ADDRESS_RATE=f"{quota}/6s")
        assert done.returncode == 0, done.stderr
        assert f"q={quota};w=6" in get(suite, "/api/articles/none").headers["RateLimit-Policy"]


def test_old_copies_are_removed(suite):
    for _ in range(3):
        assert reload(suite).returncode == 0
    copies = [name for name in os.listdir(pathlib.Path(suite.run_dir) / "program") if name.startswith("reload-")]
    assert len(copies) == 2


def test_no_suite_to_reload(tmp_path):
    environment = {**clean_environment(), "STOA_RUN_DIR": str(tmp_path / "none"), "STOA_OUT": str(output_folder())}
    done = subprocess.run([REPOSITORY / "deploy/suite", "reload"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "no suite is running" in done.stderr
