"""tools/stoa-routes: what it says of a request is what a gateway does with it."""
import json
import pathlib
import subprocess

import pytest
from google.protobuf import json_format

from gateway_fixture import OUT, SERVICE, Messages, compile_demo, serving
from stoa_suite_fixture import descriptor_set

PROGRAM = OUT / "bin" / "stoa-routes"


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return compile_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def world(demo):
    messages = Messages(demo)
    with serving(demo, messages) as gateway:
        for name in ("GetItem", "ListItems", "CreateItem", "ReplaceItem", "DeleteItem"):
            gateway.service.answers[SERVICE + name] = lambda _, __, name=name: messages.new(f"demo.v1.{name}Response")
        yield gateway


def ask(demo, method, path, *options):
    """(exit status, what it printed as JSON)"""
    ran = run("--descriptor-set", demo, *options, method, path)
    assert ran.stderr == ""
    return ran.returncode, json.loads(ran.stdout)


# ---- listing ----


def test_list(demo):
    ran = run("--descriptor-set", demo)
    assert ran.returncode == 0 and ran.stderr == ""
    assert set(ran.stdout.splitlines()) >= {
        f"GET\t/demo/items/{{name}}\t{SERVICE}GetItem\t-\t-\tunary",
        f"GET\t/demo/items\t{SERVICE}ListItems\t-\t-\tunary",
        f"POST\t/demo/items\t{SERVICE}CreateItem\t*\t-\tunary",
        f"PUT\t/demo/items/{{name}}\t{SERVICE}ReplaceItem\titem\t-\tunary",
        f"DELETE\t/demo/items/{{name}}\t{SERVICE}DeleteItem\t-\t-\tunary",
        f"GET\t/demo/watch\t{SERVICE}WatchItems\t-\t-\tserver_streaming",
    }


def test_list_as_json(demo):
    ran = run("--descriptor-set", demo, "--json")
    routes = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert [route for route in routes if route["rpc"] == SERVICE + "ReplaceItem"] == [{
        "rpc": SERVICE + "ReplaceItem",
        "kind": "unary",
        "method": "PUT",
        "path": "/demo/items/{name}",
        "body": "item",
        "response_body": "",
    }]


def test_list_of_the_suite(tmp_path):
    (tmp_path / "api.binpb").write_bytes(descriptor_set())
    ran = run("--descriptor-set", tmp_path / "api.binpb")
    assert ran.returncode == 0
    assert "GET\t/api/articles/{slug}\t/stoa.posts.v1.ArticleService/GetArticle\t-\t-\tunary" in ran.stdout.splitlines()


# ---- requests: the same as the gateway's ----


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/demo/items/a%20b%C3%A9%2Fc"),
        ("HEAD", "/demo/items/x?short=true&depth=-3"),
        ("GET", "/demo/items?tag=a&tag=b%26c&limit=5&unknown=1"),
        ("GET", "/demo/items"),
        ("DELETE", "/demo/items/~x:y"),
        ("POST", "/demo/items?name=1"),
    ],
)
def test_served(demo, world, method, path):
    calls = len(world.service.calls)
    assert world.request(method, path).status < 300
    assert len(world.service.calls) == calls + 1
    rpc, request, _ = world.service.calls[-1]
    status, answer = ask(demo, method, path)
    assert status == 0
    assert answer["rpc"] == rpc
    assert answer["request"] == json_format.MessageToDict(request)


@pytest.mark.parametrize(
    "method, path, status, error",
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/demo/items/", 404, "not_found"),
        ("GET", "/demo/items/%2e%2e", 404, "not_found"),
        ("PATCH", "/demo/items", 405, "method_not_allowed"),
        ("OPTIONS", "/demo/items", 204, "answered_by_gateway"),
        ("GET", "/demo/items?limit=x", 422, "invalid_value"),
        ("GET", "/demo/items?limit=1&limit=2", 422, "invalid_value"),
        ("GET", "/demo/items/%ff", 422, "invalid_value"),
    ],
)
def test_not_served(demo, world, method, path, status, error):
    calls = len(world.service.calls)
    seen = world.request(method, path)
    assert seen.status == status
    assert len(world.service.calls) == calls
    code, answer = ask(demo, method, path)
    assert code == 1
    assert (answer["error"], answer["status"]) == (error, status)
    if "Allow" in seen.headers:
        assert answer["allow"] == seen.headers["Allow"]
    if error == "invalid_value":
        assert list(seen.errors()) == [answer["field"]]
        assert seen.errors()[answer["field"]] == [answer["message"]]


def test_refuse_unknown(demo):
    assert ask(demo, "GET", "/demo/items?unknown=1")[0] == 0
    status, answer = ask(demo, "GET", "/demo/items?unknown=1", "--refuse-unknown")
    assert status == 1
    assert (answer["part"], answer["field"], answer["message"]) == ("query", "unknown", "is not a known parameter")


def test_a_fragment_is_no_part_of_a_request(demo):
    assert ask(demo, "GET", "/demo/items?limit=5#x=1")[1]["request"] == {"limit": 5}


# ---- the command line ----


def test_help():
    ran = run("--help")
    assert ran.returncode == 0 and "METHOD PATH" in ran.stdout and "exit status" in ran.stdout


@pytest.mark.parametrize("arguments", [[], ["--nope"], ["GET", "/"], ["--descriptor-set"]])
def test_wrong_usage(arguments):
    ran = run(*arguments)
    assert ran.returncode == 2 and ran.stdout == "" and "--help" in ran.stderr


def test_a_method_without_a_path(demo):
    assert run("--descriptor-set", demo, "GET").returncode == 2


def test_descriptor_sets_that_cannot_be_used(tmp_path):
    assert run("--descriptor-set", tmp_path / "nope").returncode == 3
    bad = pathlib.Path(tmp_path / "bad.binpb")
    bad.write_bytes(b"\xff\xff")
    ran = run("--descriptor-set", bad)
    assert ran.returncode == 3 and ran.stdout == "" and "descriptor set" in ran.stderr


def test_a_conflict_is_named(tmp_path):
    (tmp_path / "twice.proto").write_text(
        """syntax = "proto3"; package t; import "google/api/annotations.proto"; message M { string a = 1; }
        service S { rpc A(M) returns (M) { option (google.api.http) = {get: "/x/{a}"}; }
                    rpc B(M) returns (M) { option (google.api.http) = {get: "/x/*"}; } }"""
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run(
        ["protoc", "--include_imports", "-o", tmp_path / "twice.binpb", f"-I{tmp_path}", f"-I{root / 'proto'}",
         "-I/usr/include", "twice.proto"],
        check=True,
    )
    ran = run("--descriptor-set", tmp_path / "twice.binpb")
    assert ran.returncode == 3
    assert ran.stderr == 'stoa-routes: twice.proto: /t.S/B: template "/x/*": GET is taken by "/x/{a}" of /t.S/A\n'
