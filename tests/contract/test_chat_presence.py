"""Who is online in a room and who is typing, at three instances, one of which dies, and without Redis."""
import contextlib
import signal
import subprocess

import grpc
import pytest
from live_fixture import GrpcEvents, GrpcLive, ServerSentEvents, WebSocketLive
from stoa_contract import Both, GrpcClient, HttpClient, account_maker
from stoa_suite_fixture import Suite, wait_until

LONG = 40  # seconds that a test waits at most for what takes seconds
INSTANCES = ("chat", "chat-2", "chat-3")


@pytest.fixture(scope="module")
def trio():
    """Three instances; where more than three are online nobody is named."""
    with Suite(STOA_CHAT_INSTANCES=3, STOA_CHAT_PRESENCE_NAMES=3, STOA_CHAT_PRESENCE_INTERVAL_MS=200,
               STOA_CHAT_TYPING_RATE="3/24h") as started:
        yield started


@pytest.fixture(scope="module")
def channel(trio):
    """channel("chat-2"), made anew when the instance is another one."""
    made = {}

    def make(name):
        pid = wait_until(lambda: trio.pid(name), f"{name} runs")
        if (name, pid) not in made:
            made[name, pid] = grpc.insecure_channel(f"unix:{trio.socket(name)}")
            grpc.channel_ready_future(made[name, pid]).result(timeout=30)
        return made[name, pid]

    yield make
    for each in made.values():
        each.close()


@pytest.fixture
def at(contract, channel):
    """at("chat-2"): calls of that instance."""
    return lambda name: GrpcClient(contract, lambda _: channel(name))


@pytest.fixture(scope="module")
def new_account(trio, contract, unique):
    """Shadows the shared suite's."""
    return account_maker(GrpcClient(contract, trio.grpc), unique)


@pytest.fixture
def open_room(at, new_account):
    """open_room(2) -> the id of a new room, who opened it, and two more members"""

    def make(members=0, kind="ROOM_KIND_PUBLIC"):
        host, *others = people = [new_account() for _ in range(1 + members)]
        client = at("chat")
        room = client("chat", "CreateRoom", {"room": {"name": "A room", "kind": kind}}, host["token"])[1]["room"]["id"]
        for other in others:
            assert client("chat", "InviteMember", {"room": room, "username": other["username"]}, host["token"])[0] == "OK"
        return (room, *people)

    return make


@pytest.fixture
def follow(contract, channel):
    """follow(account, room, "chat-2"): a live connection to that instance that follows the room"""
    opened = []

    def make(account, room, name="chat"):
        opened.append(GrpcLive(contract, channel(name), account["token"]))
        opened[-1].presence = True
        opened[-1].expect("welcome")
        opened[-1].follow(room)
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def names(accounts):
    return {each["username"] for each in accounts}


def usernames(*accounts):
    return {each["username"] for each in accounts}


def presence(client, room, account):
    code, answer = client("chat", "GetPresence", {"room": room}, account["token"])
    assert code == "OK", answer
    return answer


def await_online(client, room, account, *online):
    wait_until(lambda: names(presence(client, room, account)["accounts"]) == usernames(*online), "who is online", LONG)


def heard(live):
    """What the next message says of who is online: how many, who came, who went."""
    said = live.expect("presence")
    return said["online"], names(said["came"]), names(said["went"])


def test_who_comes_and_goes(trio, contract, at, open_room, follow):
    room, host, guest = open_room(1)
    first = follow(host, room)
    assert heard(first) == (1, usernames(host), set())
    second = follow(guest, room, "chat-2")
    assert heard(first) == (2, usernames(guest), set())
    online, came, went = heard(second)  # who follows it first at an instance is told everybody
    if online == 1:
        assert (came, went) == (usernames(guest), set())
        assert heard(second) == (2, usernames(host), set())
    else:
        assert (online, came, went) == (2, usernames(host, guest), set())
    for name in INSTANCES:  # also one where nobody follows it
        await_online(at(name), room, guest, host, guest)
    both = Both(contract, at("chat-3"), HttpClient(trio.http))
    _, answer, http = both("chat", "GetPresence", {"room": room}, guest["token"])
    assert http.status == 200 and answer["online"] == 2 and answer["partial"] is False
    second.close()
    assert heard(first) == (1, set(), usernames(guest))
    await_online(at("chat-3"), room, guest, host)
    first.done(unsubscribe={"room": room})
    await_online(at("chat-3"), room, guest)
    assert presence(at("chat"), room, guest)["online"] == 0


def test_a_second_connection_is_no_news(at, open_room, follow):
    room, host, guest = open_room(1)
    first = follow(host, room)
    assert heard(first) == (1, usernames(host), set())
    again = [follow(host, room, name) for name in INSTANCES]
    again[0].close()
    assert heard(again[1]) == (1, usernames(host), set())
    follow(guest, room, "chat-3")
    # That is the next thing that is said, so nothing was said of the other connections.
    assert heard(first) == (2, usernames(guest), set())
    await_online(at("chat"), room, host, host, guest)


def test_who_follows_by_events(trio, contract, at, channel, open_room):
    """Subscribe, over gRPC and as server-sent events, and WebSockets count like any connection, and hear the same."""
    room, host, guest = open_room(1)
    events = GrpcEvents(contract, channel("chat-2"), host["token"], room)
    events.presence = True
    assert events.next()[0] == "live"
    name, said = events.next()
    assert name == "presence" and names(said["came"]) == usernames(host)
    port = trio.ports["STOA_HTTP_PORT"]
    sse = ServerSentEvents(port, guest["token"], room)
    sse.presence = True
    assert sse.next()[0] == "live"
    name, said = events.next()
    assert name == "presence" and names(said["came"]) == usernames(guest) and said["online"] == 2
    assert sse.next()[0] == "presence"
    with WebSocketLive(port, guest["token"]) as live:
        live.expect("welcome")
        live.follow(room)
        sse.close()
    name, said = events.next()
    assert name == "presence" and names(said["went"]) == usernames(guest)
    events.close()
    await_online(at("chat"), room, host)


def test_instances_that_die_and_pause(trio, at, open_room, follow):
    """Nobody says goodbye: their people are offline all the same, and those of the others are not. Who was only paused
    is back with everybody who is connected there."""
    room, host, guest, other = open_room(2)
    first, paused = follow(host, room), follow(other, room, "chat-3")
    follow(guest, room, "chat-2")

    def hear_until(online, went=(), came=()):
        """Until so many are online; in all, these have come and gone."""
        all_came, all_went = set(), set()
        while True:
            said = heard(first)
            all_came, all_went = all_came | said[1], all_went | said[2]
            if said[0] == online and all_came >= usernames(*came) and all_went >= usernames(*went):
                return

    hear_until(3, came=(host, guest, other))
    killed = trio.kill("chat-2", signal.SIGKILL)
    pid = trio.pid("chat-3")
    trio.kill("chat-3", signal.SIGSTOP)
    try:
        hear_until(1, went=(guest, other))
        await_online(at("chat"), room, host, host)
        trio.wait_restarted("chat-2", killed)
        await_online(at("chat-2"), room, host, host)
    finally:
        trio.kill("chat-3", signal.SIGCONT)
    assert trio.pid("chat-3") == pid
    hear_until(2, came=(other,))
    follow(guest, room, "chat-2")
    hear_until(3, came=(guest,))
    paused.done(send={"room": room, "text": "still here", "clientId": "c"})


def test_many_are_a_number(at, open_room, follow):
    room, *people = open_room(3)
    first = follow(people[0], room)
    assert heard(first) == (1, usernames(people[0]), set())
    for account, name in zip(people[1:], INSTANCES):
        follow(account, room, name)
    while (said := heard(first))[0] < 4:  # as they are noticed
        assert said[0] <= 3
    assert said == (4, set(), set())
    wait_until(lambda: presence(at("chat-2"), room, people[0])["online"] == 4, "four are online", LONG)
    answer = presence(at("chat"), room, people[0])
    assert answer["online"] == 4 and answer["accounts"] == []


def test_for_members_only(trio, contract, at, new_account, open_room, follow):
    stranger = new_account()
    both = Both(contract, at("chat-2"), HttpClient(trio.http))
    for kind, status in (("ROOM_KIND_PUBLIC", 403), ("ROOM_KIND_PRIVATE", 404)):
        room, host, guest = open_room(1, kind)
        first = follow(host, room)
        follow(guest, room, "chat-3")
        _, _, http = both("chat", "GetPresence", {"room": room}, stranger["token"])
        assert http.status == status and host["username"] not in http.text
        # Whoever is removed is not there any more, and hears nothing.
        assert at("chat")("chat", "RemoveMember", {"room": room, "username": guest["username"]}, host["token"])[0] == "OK"
        _, _, http = both("chat", "GetPresence", {"room": room}, guest["token"])
        assert http.status == status
        await_online(at("chat"), room, host, host)
        first.close()


def typing(live):
    """The next that is said of it."""
    while (message := live.next())[0] != "typing":
        assert message[0] in ("presence", "event"), message
    return message[1]["count"], names(message[1]["accounts"])


def test_typing_needs_no_postgres(trio, at, open_room, follow):
    """Who follows a room is a member of it, and whose name is known is not asked for it; whoever is removed types no more."""
    room, host, guest = open_room(1)
    first, second = follow(host, room), follow(guest, room, "chat-2")
    second.done(typing={"room": room})
    assert typing(first) == typing(second) == (1, usernames(guest))
    assert typing(first) == typing(second) == (0, set())
    trio.supervise("stop", "postgres")
    try:
        second.done(typing={"room": room})
        assert typing(first) == typing(second) == (1, usernames(guest))
    finally:
        trio.supervise("start", "postgres")
    wait_until(lambda: at("chat")("chat", "GetRoom", {"room": room}, host["token"])[0] == "OK", "Postgres is there again")
    assert at("chat")("chat", "RemoveMember", {"room": room, "username": guest["username"]}, host["token"])[0] == "OK"
    while second.next()[0] != "gone":
        pass
    assert second.refused(typing={"room": room})["reason"] == "NOT_SUBSCRIBED"
    assert typing(first) == (0, set())


def test_typing(at, open_room, follow, new_account):
    room, host, guest = open_room(1)
    first, second, third = (follow(host, room), follow(guest, room, "chat-2"), follow(host, room, "chat-3"))
    second.done(typing={"room": room})
    for live in (first, second, third):
        assert typing(live) == (1, usernames(guest))
    for live in (first, second, third):  # it is over by itself
        assert typing(live) == (0, set())
    # It is in no history.
    log = at("chat")("chat", "ListEvents", {"room": room}, host["token"])[1]
    assert len(log["events"]) == int(log["lastSeq"]) == 1
    # Only in a room that one follows, and not without end.
    error = second.refused(typing={"room": "4711"})
    assert error["reason"] == "NOT_SUBSCRIBED"
    for _ in range(2):
        second.done(typing={"room": room})
    error = second.refused(typing={"room": room})
    assert error["code"] == 8 and error["reason"] == "TOO_FAST" and int(error["retryAfterMs"]) > 0
    second.done(send={"room": room, "text": "said at last", "clientId": "c"})


def test_without_redis(trio, at, open_room, follow):
    """Each instance knows its own people; messages go on; with Redis everybody is there again."""
    room, host, guest = open_room(1)
    first, second = follow(host, room), follow(guest, room, "chat-2")
    await_online(at("chat-3"), room, host, host, guest)
    trio.supervise("stop", "redis")
    try:
        with contextlib.suppress(AssertionError):
            wait_until(lambda: presence(at("chat"), room, host)["partial"], "it is said that others are not known")
        answer = presence(at("chat"), room, host)
        assert answer["partial"] is True and names(answer["accounts"]) == usernames(host)
        assert names(presence(at("chat-2"), room, host)["accounts"]) == usernames(guest)
        assert first.done(send={"room": room, "text": "without", "clientId": "c"})["seq"] == "2"

        def next_event(live):
            while (message := live.next())[0] != "event":
                assert message[0] == "presence", message
            return message[1]["event"]["seq"]

        assert next_event(first) == "2" and next_event(second) == "2"
    finally:
        trio.supervise("start", "redis")
    for name in INSTANCES:
        await_online(at(name), room, host, host, guest)
    assert presence(at("chat"), room, host)["partial"] is False


def test_redis_forgets_by_itself(trio, at, open_room, follow):
    """What is there has a time after which it goes, and nothing says who."""
    def redis(*command):
        return subprocess.run(["redis-cli", "-s", trio.socket("redis"), *command], capture_output=True, check=True).stdout

    room, host = open_room()
    follow(host, room)
    await_online(at("chat-2"), room, host, host)
    keys = [key for key in redis("--scan", "--pattern", "stoa:chat:*").decode().split()
            if ":presence:" in key or ":instances:" in key]
    assert any(key.endswith(f":presence:{room}") for key in keys)
    for key in keys:
        assert 0 < int(redis("TTL", key)) <= 60, key
        assert host["username"].encode() not in redis("DUMP", key)
