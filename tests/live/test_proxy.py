"""The proxy of `make fault` passes everything in order, and loses only what it says."""
import asyncio
import contextlib
import os
import random

import pytest
from proxy import Proxy


@contextlib.asynccontextmanager
async def echo(path):
    """A service that sends back what it is sent; counts in the list that it gives."""
    taken = []

    async def serve(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                taken.append(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield taken
    finally:
        server.close()


def against(path, test):
    """test(proxy, taken) with an echo behind the proxy."""

    async def run():
        async with echo(path) as taken:
            async with Proxy(path, random.Random(1)) as proxy:
                await asyncio.wait_for(test(proxy, taken), 30)
            # The service's own socket is back.
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"direct")
            assert await reader.readexactly(6) == b"direct"
            writer.close()

    asyncio.run(run())


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "service.sock")


def test_delayed_bytes_come_in_order(path):
    async def test(proxy, taken):
        proxy.delay_s = 0.002
        reader, writer = await asyncio.open_unix_connection(path)
        sent = os.urandom(200_000)
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        assert proxy.passed == 2 * len(sent)
        writer.close()

    against(path, test)


def test_what_is_held_comes_later(path):
    async def test(proxy, taken):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        holding = asyncio.create_task(proxy.hold(0.2))
        await asyncio.sleep(0)
        writer.write(b"b")
        answer = asyncio.create_task(reader.readexactly(1))
        await asyncio.wait([answer, holding], return_when=asyncio.FIRST_COMPLETED)
        assert taken == [b"a"] or holding.done()
        assert await answer == b"b"
        writer.close()

    against(path, test)


def test_a_cut_ends_both_sides(path):
    async def test(proxy, taken):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.cut()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert proxy.lost == 1
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        writer.close()

    against(path, test)


def test_what_is_swallowed_is_gone(path):
    async def test(proxy, taken):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        swallowing = asyncio.create_task(proxy.swallow(0.2))
        await asyncio.sleep(0)
        writer.write(b"b")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await swallowing
        assert taken == [b"a"]

    against(path, test)
