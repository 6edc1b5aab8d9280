"""Streams through the gateway with clients that others wrote: Python's websockets, and JavaScript's ws and
eventsource (clients.js, with what deploy/clients/package.json names)."""
import asyncio
import json
import os
import pathlib
import signal
import subprocess

import pytest
import websockets
from gateway_fixture import OUT, TestGateway, wait_until

CLIENTS = pathlib.Path(__file__).with_name("clients.js")
MODULES = OUT.parent / "clients" / "node_modules"


def start(gateway, scenario, *arguments):
    return subprocess.Popen(
        ["node", CLIENTS, scenario, f"http://127.0.0.1:{gateway.port}", *arguments],
        env={**os.environ, "NODE_PATH": str(MODULES)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(process):
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return json.loads(out)


def node(gateway, scenario, *arguments):
    return result_of(start(gateway, scenario, *arguments))


# ---- ws ----


def test_ws_messages(test_gateway):
    got = node(test_gateway, "messages")
    assert got["answers"] == [
        {"message": f"message {i}", **({"number": str(i)} if i else {})} for i in range(100)]
    assert got["closed"] == [1000, ""]


@pytest.mark.parametrize(("argument", "extensions"), [("deflate", "permessage-deflate"), ("plain", "")])
def test_ws_raw(test_gateway, argument, extensions):
    got = node(test_gateway, "raw", argument)
    assert got["extensions"] == extensions
    assert got["same"] == [True] * 4 and got["pong"] == "are you there"
    assert got["closed"] == [4321, ""]


def test_ws_status(test_gateway):
    assert node(test_gateway, "status")["closed"] == [4005, "as you wish"]


def test_ws_client_stream(test_gateway):
    """What comes between its Close and ours is heard."""
    got = node(test_gateway, "collect")
    assert [json.loads(text) for text in got["heard"]] == [{"messages": "1000", "bytes": "3000"}]
    assert got["closed"][0] == 1000


def test_ws_subprotocol(test_gateway):
    assert node(test_gateway, "protocol")["protocol"] == "test.v1"


def test_ws_is_refused(test_gateway):
    got = node(test_gateway, "refused", "/test/echo?number=x")
    assert got["status"] == got["problem"]["status"] == 422


# ---- eventsource ----


def test_eventsource(test_gateway):
    got = node(test_gateway, "events")
    assert got == {"numbers": [["1", "1"], ["2", "2"], ["3", "3"]], "opened": 1}


def test_eventsource_goes_on_after_a_reload():
    gateway = TestGateway()
    try:
        gateway.start()
        process = start(gateway, "resume")
        assert process.stderr.readline() == "open\n"
        old = gateway.worker_pids()
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not set(old) & set(gateway.worker_pids()))
        got = result_of(process)
        assert got["numbers"] == list(range(1, 41)) and got["opened"] == 2
    finally:
        gateway.stop()


# ---- websockets ----


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario, 60))


@pytest.mark.parametrize("compression", ["deflate", None])
def test_websockets(test_gateway, compression):
    async def scenario():
        url = f"ws://127.0.0.1:{test_gateway.port}/test/echo"
        async with websockets.connect(url, compression=compression) as client:
            for i in range(1, 50):
                message = {"message": "m" * i * 100, "number": str(i)}
                await client.send(json.dumps(message))
                assert json.loads(await client.recv()) == message
            await (await client.ping())
        assert client.close_code == 1000
        async with websockets.connect(url + "/raw", compression=compression, max_size=1 << 25) as client:
            for message in ("text ü", b"\0\xff", b"", "", "x" * 100000, bytes(1 << 24)):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["in ", "three ", "parts"])
            assert await client.recv() == "in three parts"
        assert client.close_code == 1000

    run(scenario())


def test_websockets_status(test_gateway):
    async def scenario():
        async with websockets.connect(f"ws://127.0.0.1:{test_gateway.port}/test/echo") as client:
            await client.send('{"message": "fail 9"}')
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await client.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4009, "as you wish")

    run(scenario())


def test_many_at_once(test_gateway):
    """Each hears its own answers, in order."""

    async def one(number):
        async with websockets.connect(f"ws://127.0.0.1:{test_gateway.port}/test/echo") as client:
            for i in range(20):
                await client.send(json.dumps({"message": f"{number} {i}"}))
            for i in range(20):
                assert json.loads(await client.recv()) == {"message": f"{number} {i}"}

    async def scenario():
        await asyncio.gather(*(one(number) for number in range(100)))

    run(scenario())
