"""Accounts that chat while things break, each on one connection at a time: a WebSocket at the gateway, or a gRPC stream
to one of the instances. What is not acknowledged is sent again, on whichever connection there is then; what is seen is
written to the History. On asyncio, in one thread."""
import asyncio
import collections
import contextlib
import json
import time

import grpc
import psycopg2
import websockets
from google.protobuf import json_format
from history import Entry

FIRST_ANSWER_S = 10  # for a connection to be there
ACK_S = 3  # after which a message is sent again
RETRY_LOOK_S = 0.2  # between looks for what is to be sent again
GIVE_UP_S = 12  # without any answer: then the connection counts as dead, whatever the system thinks of it
RECONNECT_S = (0.1, 1.0)
SETTLED_LOOK_S = 0.5
TICK_S = 0.01
STALL_S = 0.1  # by which a tick comes late when the machine has no time for whoever listens
# Codes of gRPC that ask for another try: UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE.
TRY_AGAIN = (2, 4, 8, 10, 13, 14)
# Numbers of stoa.chat.v1.EventKind, as chat.events stores them.
KINDS = ("", "MESSAGE", "MESSAGE_EDITED", "MESSAGE_DELETED", "REACTION_ADDED", "REACTION_REMOVED", "MEMBER_JOINED",
         "MEMBER_LEFT", "MEMBER_REMOVED", "MEMBER_ROLE_CHANGED", "ROOM_UPDATED")


def shown(kind, text, message_seq, emoji):
    """What an event is, in a text that stays the same whenever it is looked at: a message's first word is its client_id,
    also when it has been edited."""
    if kind == "MESSAGE":
        return f"MESSAGE {text.split(' ')[0]}"
    about = [str(part) for part in (message_seq, emoji) if part]
    return " ".join([kind, *about])


def shown_event(event):
    kind = event["kind"].removeprefix("EVENT_KIND_")
    message = event.get("message") or {}
    about = message.get("seq") if kind in ("MESSAGE_EDITED", "MESSAGE_DELETED") else event.get("messageSeq")
    return shown(kind, message.get("text", ""), about, (event.get("reaction") or {}).get("emoji"))


class Gone(Exception):
    """The connection has ended; why."""


# ---- connections: send(dict), receive() -> dict, abort() ----


class WebSocket:
    @classmethod
    async def connect(cls, url, token):
        self = cls()
        try:
            self.socket = await websockets.connect(
                url, extra_headers={"Authorization": f"Bearer {token}"}, ping_interval=None, compression=None,
                # Without a limit: its reader would wait for ever when an aborted connection's queue is full.
                open_timeout=FIRST_ANSWER_S, close_timeout=1, max_size=1 << 20, max_queue=None,
            )
        except websockets.exceptions.InvalidStatusCode as error:
            raise Gone(f"no WebSocket: {error.status_code}") from None  # whatever the headers of this one were
        except (OSError, asyncio.TimeoutError, websockets.exceptions.WebSocketException, EOFError) as error:
            raise Gone(f"no WebSocket: {error!r}") from None
        return self

    async def send(self, message):
        try:
            await self.socket.send(json.dumps(message))
        except websockets.exceptions.ConnectionClosed as error:
            raise Gone(str(error)) from None

    async def receive(self):
        try:
            return json.loads(await self.socket.recv())
        except websockets.exceptions.ConnectionClosed as error:
            raise Gone(str(error)) from None

    async def abort(self):
        self.socket.transport.abort()


class Stream:
    @classmethod
    async def connect(cls, address, method, pool, token):
        self = cls()
        self.method, self.pool = method, pool
        self.aborted = asyncio.get_running_loop().create_future()
        # Not another channel's connection.
        self.channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        open_stream = self.channel.stream_stream(
            method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
        )
        self.call = open_stream(metadata=(("authorization", f"Bearer {token}"),))
        return self

    async def send(self, message):
        request = json_format.ParseDict(message, self.method.request(), descriptor_pool=self.pool)
        writing = asyncio.gather(self.call.write(request), return_exceptions=True)
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())  # also when nobody waits any more
        # grpcio forgets whoever writes to a call that is cancelled before it has begun.
        await asyncio.wait({writing, self.aborted}, timeout=FIRST_ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            writing.cancel()
            raise Gone("cut" if self.aborted.done() else "nothing is taken")
        try:
            (error,) = writing.result()
        except asyncio.CancelledError as cancelled:  # gather() passes on what it says of a call that abort() has ended
            error = cancelled
        if error is not None:
            raise self._end(error)

    async def receive(self):
        try:
            message = await self.call.read()
        except asyncio.CancelledError as error:
            # Also what grpcio says of a call that abort() has ended.
            raise error if asyncio.current_task().cancelling() else self._end(error)
        except Exception as error:
            raise self._end(error) from None
        if message is grpc.aio.EOF:
            raise Gone(f"{(await self.call.code()).name} {await self.call.details()}")
        return json_format.MessageToDict(message, including_default_value_fields=True, descriptor_pool=self.pool)

    @staticmethod
    def _end(error):
        """What to raise for what grpcio raises."""
        if isinstance(error, grpc.aio.AioRpcError):
            return Gone(f"{error.code().name} {error.details()}")
        if isinstance(error, (asyncio.CancelledError, asyncio.InvalidStateError)):
            return Gone("cut")
        return error

    async def abort(self):
        if not self.aborted.done():
            self.aborted.set_result(None)
        self.call.cancel()
        await self.channel.close()


# ---- members ----


class Pending:
    """A request that is not acknowledged yet."""

    def __init__(self, room, request):
        self.room = room
        self.request = request
        self.tried = 0.0  # when, last; 0: not yet on any connection
        self.not_before = 0.0


class Member:
    """name: the account's, or one's own where an account has several members; rooms: ids; connect(): makes a connection;
    read_log(room, after): all events after a number, by the unary method."""

    def __init__(self, name, rooms, connect, read_log, history, rng, account=None):
        self.name, self.rooms = name, rooms
        self._account = account or name
        self._connect, self._read_log = connect, read_log
        self._history, self._rng = history, rng
        self._connection = None
        self._pending = {}  # client_id: Pending
        self._stretches = {}  # room: Stretch of the present subscription
        self._asked = set()  # rooms whose subscription is not acknowledged
        self._heard = 0.0
        self._due = asyncio.Event()  # something is to be sent
        self._count = 0
        self.positions = dict.fromkeys(rooms, 0)
        self.mine = {room: [] for room in rooms}  # (number, client_id) of its own messages that are acknowledged
        self.ends = []  # why connections ended
        self.errors = collections.Counter()  # of requests, by reason

    @property
    def idle(self):
        return not self._pending

    # ---- what it does ----

    def say(self, room):
        self._begin(room, lambda client_id: {"send": {"room": room, "text": f"{client_id} says something", "clientId": client_id}})

    def edit(self, room):
        """Each time to another text, or it would be no event."""
        seq, first_word = self._rng.choice(self.mine[room])
        self._begin(room, lambda client_id: {
            "edit": {"room": room, "seq": str(seq), "text": f"{first_word} says it better: {client_id}", "clientId": client_id}}, seq)

    def react(self, room):
        """To each message once: a second time it would be no event."""
        seq, _ = self.mine[room].pop(0)
        self._begin(room, lambda client_id: {"react": {"room": room, "seq": str(seq), "emoji": ":+1:", "clientId": client_id}}, seq)

    def _begin(self, room, request, about=None):
        self._count += 1
        client_id = f"{self.name}-{self._count}"
        self._history.send((self._account, client_id), room, time.monotonic(), about)
        self._pending[client_id] = Pending(room, {"id": client_id, **request(client_id)})
        self._due.set()

    async def leave(self):
        """Its connection breaks; it comes back."""
        if self._connection:
            await self._connection.abort()

    # ---- life ----

    async def run(self):
        """Until it is cancelled."""
        try:
            while True:
                try:
                    await self._one_connection()
                except Gone as gone:
                    self.ends.append(str(gone))
                await asyncio.sleep(self._rng.uniform(*RECONNECT_S))
        finally:
            await self.leave()

    async def _one_connection(self):
        connection = await self._connect()
        try:
            self._connection, self._heard = connection, time.monotonic()
            self._stretches.clear()
            self._asked.clear()
            for pending in self._pending.values():
                pending.tried = 0.0
            for room in self.rooms:
                await self._subscribe(room)
            sending = asyncio.create_task(self._keep_sending(connection))
            try:
                while True:
                    message = await connection.receive()
                    self._heard = time.monotonic()
                    await self._take(message)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        finally:
            self._connection = None
            await connection.abort()

    async def _subscribe(self, room):
        after = self.positions[room]
        self._asked.add(room)
        self._stretches[room] = self._history.subscribe(self.name, room, after)
        await self._connection.send({"id": f"subscribe {room}", "subscribe": {"room": room, "afterSeq": str(after)}})

    async def _keep_sending(self, connection):
        """What is due, on this connection; ends it when nothing comes back any more."""
        try:
            while True:
                now = time.monotonic()
                for pending in list(self._pending.values()):
                    if now >= pending.not_before and now - pending.tried >= ACK_S:
                        pending.tried = now
                        await connection.send(pending.request)
                if self._pending and now - self._heard > GIVE_UP_S:
                    raise Gone("nothing comes any more")
                self._due.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._due.wait(), RETRY_LOOK_S)
        except Gone:
            await connection.abort()

    # ---- what comes ----

    async def _take(self, message):
        for name, part in message.items():
            take = getattr(self, f"_on_{name}", None)
            if take:
                await take(part)

    async def _on_event(self, part):
        room, event = part["room"], part["event"]
        seq = int(event["seq"])
        self._stretches[room].events.append((seq, shown_event(event)))
        self.positions[room] = max(self.positions[room], seq)

    async def _on_ack(self, part):
        client_id = part["id"]
        if client_id.startswith("subscribe "):
            self._asked.discard(part["room"])
            return
        seq = int(part["seq"])
        self._history.acknowledge((self._account, client_id), seq, time.monotonic())
        pending = self._pending.pop(client_id, None)
        if pending and "send" in pending.request:
            self.mine[pending.room].append((seq, client_id))

    async def _on_error(self, part):
        pending = self._pending.get(part["id"])
        if pending is None and part["id"].startswith(f"{self.name}-"):
            return  # one of several attempts, of which another was acknowledged
        if pending is None:
            raise Gone(f"an error: {part}")
        if part["code"] in TRY_AGAIN:
            self.errors[part.get("reason") or f"code {part['code']}"] += 1
            pending.tried = 0.0
            pending.not_before = time.monotonic() + max(0.3, float(part.get("retryAfterMs") or 0) / 1e3)
        else:
            self._history.refuse((self._account, part["id"]), str(part))
            del self._pending[part["id"]]

    async def _on_reset(self, part):
        """Too far behind: what was missed comes from the log, and then the room again."""
        room = part["room"]
        self._history.resets += 1
        stretch = self._history.subscribe(self.name, room, self.positions[room])
        for event in await self._read_log(room, self.positions[room]):
            stretch.events.append((int(event["seq"]), shown_event(event)))
            self.positions[room] = int(event["seq"])
        await self._subscribe(room)

    async def _on_resumed(self, _):
        for room in list(self._asked):
            await self._subscribe(room)
        for pending in self._pending.values():
            pending.tried = 0.0
        self._due.set()

    async def _on_gone(self, part):
        self._history.refuse((self.name, ""), f"no longer in the room: {part}")


# ---- all of them ----


def stored(suite, rooms):
    """room -> {seq: Entry}, by SQL: what is in Postgres."""
    found = {room: {} for room in rooms}
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT room_id, seq, 1, m.text, NULL, NULL, p.username, client_id FROM chat.messages m "
            "JOIN auth.profiles p ON p.id = m.author_id WHERE room_id = ANY(%(rooms)s) "
            "UNION ALL SELECT room_id, seq, kind, '', message_seq, emoji, p.username, client_id FROM chat.events e "
            "JOIN auth.profiles p ON p.id = e.actor_id WHERE room_id = ANY(%(rooms)s)",
            {"rooms": [int(room) for room in rooms]},
        )
        for room, seq, kind, text, message_seq, emoji, account, client_id in cursor:
            key = (account, client_id) if client_id is not None else None
            found[str(room)][seq] = Entry(shown(KINDS[kind], text, message_seq, emoji), key)
    return found


async def note_stalls(history):
    """When this process stood still, until it is cancelled."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(TICK_S)
        now = time.monotonic()
        if now - before - TICK_S > STALL_S:
            history.stalls.append((before + TICK_S, now))


async def settled(suite, members, rooms, seconds):
    """Until all is acknowledged and given; False when that does not come. Looks are counted, not seconds: while this process
    stands still nothing can come."""
    for _ in range(int(seconds / SETTLED_LOOK_S)):
        if all(member.idle for member in members):
            last = {room: max(entries, default=0) for room, entries in (await asyncio.to_thread(stored, suite, rooms)).items()}
            if all(member.positions[room] >= last[room] for member in members for room in member.rooms):
                return True
        await asyncio.sleep(SETTLED_LOOK_S)
    return False


async def end(tasks):
    """Cancels them; what else they end with is raised."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def wholly(function, *arguments):
    """Calls it in a thread; who is cancelled meanwhile goes when it has returned."""
    call = asyncio.create_task(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await call
        raise
