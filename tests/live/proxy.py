"""A proxy on a unix socket, put in the place of a service's own: it delays what goes through it, holds it up, loses it.
On asyncio."""
import asyncio
import contextlib
import os

CHUNK = 16384


class Proxy:
    """`async with Proxy(path) as proxy:`; what connects to the path meanwhile goes through here. Connections that are there
    already don't: whoever has them must be made to connect anew.

    A stream's bytes cannot be dropped and the stream go on: TCP would send them again, which is a delay. Lost packets are
    therefore delays (delay_s) and pauses (hold()), and what is lost for good takes its connection along: cut() in the midst
    of a frame, swallow() in silence first."""

    def __init__(self, path, rng):
        self.path, self._behind, self._rng = str(path), f"{path}.behind", rng
        self.delay_s = 0.0  # each piece waits for a random time up to this
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._swallowing = False
        self._tasks = set()
        self.passed = self.connections = self.lost = 0  # bytes, connections, connections that were cut

    async def __aenter__(self):
        owner = os.stat(self.path)
        os.rename(self.path, self._behind)
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        os.chown(self.path, owner.st_uid, owner.st_gid)
        os.chmod(self.path, owner.st_mode & 0o777)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        os.rename(self._behind, self.path)
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """All connections end, with what is on its way."""
        self.lost += len(self._tasks)
        for task in self._tasks:
            task.cancel()

    async def hold(self, seconds):
        """Nothing passes for so long; then all of it does."""
        self._flowing.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._flowing.set()

    async def swallow(self, seconds):
        """For so long everything is taken and nothing passed on; then what was connected is cut."""
        self._swallowing = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.cut()
            self._swallowing = False

    async def _connected(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        try:
            behind_reader, behind_writer = await asyncio.open_unix_connection(self._behind)
            both = asyncio.gather(self._pass(reader, behind_writer), self._pass(behind_reader, writer))
            try:
                await both
            finally:
                both.cancel()
                behind_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # one of the two has gone, or cut() was called
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass(self, reader, writer):
        while data := await reader.read(CHUNK):
            if self.delay_s:
                await asyncio.sleep(self._rng.uniform(0, self.delay_s))
            await self._flowing.wait()
            if self._swallowing:
                continue
            self.passed += len(data)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
