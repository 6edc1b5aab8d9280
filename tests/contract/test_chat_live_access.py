"""Live rooms: who may follow one, for how long, and what is never seen there."""
import contextlib
import http.client
import json
import time

import jwt
import psycopg2
import pytest
from live_fixture import SECONDS, Ended, GrpcEvents, ServerSentEvents
from stoa_contract import token_part
from stoa_suite_fixture import wait_until
from websocket_fixture import Refused
from world_fixture import three, world  # noqa: F401: fixtures


# ---- who may follow what ----


@pytest.mark.parametrize("how", ("removed", "left", "deleted"))
def test_gone(world, how):
    """Everything up to the end of the membership, in order, then `gone`, and nothing after it."""
    room, host, guest = world.room(1)
    reader, other = world.connect(guest, "chat-2"), world.connect(host, "chat-3")
    for each in (reader, other):
        each.follow(room, after=1)
    other.done(send={"room": room, "text": "before", "clientId": "1"})
    events = []
    if how == "removed":
        world.rpc("RemoveMember", host, room=room, username=guest["username"])
    elif how == "left":
        world.rpc("LeaveRoom", guest, room=room)
    else:
        events = reader.events(1)  # what has not come by then is deleted as well
        world.rpc("DeleteRoom", host, room=room)
    kinds = ["MESSAGE"] if how == "deleted" else ["MESSAGE", "MEMBER_REMOVED" if how == "removed" else "MEMBER_LEFT"]
    events += reader.events(len(kinds) - len(events))
    assert [each["kind"].removeprefix("EVENT_KIND_") for each in events] == kinds
    assert reader.expect("gone") == {"room": room, "reason": f"GONE_REASON_{how.upper()}"}
    if how != "deleted":
        other.done(send={"room": room, "text": "secret", "clientId": "2"})
    # What is asked for now is refused, and nothing came before that.
    assert reader.refused(subscribe={"room": room})["reason"] == "NOT_FOUND"
    assert reader.backlog == []


def test_strangers(world):
    private, host = world.room()
    public, owner = world.room(kind="ROOM_KIND_PUBLIC")
    stranger = world.account()
    client = world.connect(stranger, "chat-2")
    for room, reason, code in ((private, "NOT_FOUND", 5), (public, "NOT_A_MEMBER", 7), ("999999999", "NOT_FOUND", 5)):
        error = client.refused(subscribe={"room": room})
        assert (error["room"], error["reason"], error["code"]) == (room, reason, code)
    # Whoever joins is a member at once, at every instance.
    world.rpc("JoinRoom", stranger, room=public)
    assert [event["kind"] for event in client.follow(public, after=0)] == ["EVENT_KIND_MEMBER_JOINED"]
    assert client.refused(send={"room": private, "text": "x", "clientId": "1"})["reason"] == "NOT_FOUND"


# ---- tokens ----


def forged(world, token, seconds):
    """The same token, with so many seconds to live; signed with the suite's own key."""
    header, claims = (json.loads(token_part(token, index)) for index in (0, 1))
    jwk = json.loads((world.suite.run_dir / "keys/auth.jwk").read_text())
    key = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).from_jwk(json.dumps(jwk))
    now = int(time.time())
    return jwt.encode({**claims, "iat": now - 60, "nbf": now - 60, "exp": now + seconds}, key, "ES256",
                      {"kid": header["kid"], "typ": header["typ"]})


LEEWAY = 5  # of clocks, within which a token still counts


@pytest.mark.parametrize("instance", ("chat", "gateway"))
def test_a_token_expires(world, instance):
    """The stream ends, unless another token has come in time."""
    host, other = world.account(), world.account()
    expired = "UNAUTHENTICATED" if instance == "chat" else 4016

    def renewed_in_time(seconds):
        """Two connections with a token of so many seconds, one of which has another one by now; None: it was too late."""
        soon = forged(world, host["token"], seconds - LEEWAY)
        try:
            clients = [world.connect(soon, instance) for _ in range(2)]
            assert clients[1].refused(renew={"accessToken": "nonsense"})["reason"] == "TOKEN_INVALID"
            assert clients[1].refused(renew={"accessToken": other["token"]})["reason"] == "OTHER_ACCOUNT"
            clients[1].done(renew={"accessToken": host["token"]})
            return clients
        except Refused as refused:
            assert refused.status == 401
        except Ended as ended:
            assert ended.code == expired
        return None

    clients = next(filter(None, map(renewed_in_time, (2, 4, 8, 16, 32))))
    code, reason = clients[0].end()
    assert code == expired and reason.startswith("TOKEN_EXPIRED")
    room = world.rpc("CreateRoom", host, room={"name": "A room"})["room"]["id"]
    assert clients[1].follow(room, after=0) == []


@pytest.mark.parametrize("instance", ("chat-2", "gateway"))
def test_a_session_is_ended(world, instance):
    account = world.account()
    login = world.rpc("Login", user={name: account[name] for name in ("email", "password")})["user"]["token"]
    ended, other = world.connect(login, instance), world.connect(account, instance)
    world.rpc("EndCurrentSession", {"token": login})
    code, reason = ended.end()
    assert code == ("UNAUTHENTICATED" if instance == "chat-2" else 4016) and reason.startswith("TOKEN_REVOKED")
    other.done(unsubscribe={"room": "1"})


def test_without_a_good_token(world):
    account = world.account()
    revoked = world.rpc("Login", user={name: account[name] for name in ("email", "password")})["user"]["token"]
    world.rpc("EndCurrentSession", {"token": revoked})
    stale = forged(world, account["token"], -30)
    room = world.rpc("CreateRoom", account, room={"name": "A room"})["room"]["id"]
    for token, reason in (("nonsense", "TOKEN_INVALID"), (stale, "TOKEN_EXPIRED"), (revoked, "TOKEN_REVOKED")):
        for instance in ("chat", "chat-2", "chat-3"):  # the gateway asks any
            wait_until(lambda token=token, instance=instance: refused_with(world, token, instance), "it counts no longer")
        with pytest.raises(Refused) as refused:
            world.connect(token, "gateway")
        assert refused.value.status == 401 and reason in refused.value.body.decode()
        events = ServerSentEvents(world.suite.ports["STOA_HTTP_PORT"], token, room)
        assert events.response.status == 401 and reason in events.response.read().decode()
        with pytest.raises(Ended) as ended:
            GrpcEvents(world.contract, world.suite.grpc("chat"), token, room).next()
        assert ended.value.code == "UNAUTHENTICATED"


def refused_with(world, token, instance):
    try:
        world.connect(token, instance)
    except Ended as ended:
        return ended.code == "UNAUTHENTICATED"
    return False


# ---- subscriptions to one room ----


@pytest.mark.parametrize("over", ("grpc", "sse"))
def test_the_end_of_a_subscription(world, over):
    room, host, guest = world.room(1)
    stranger = world.account()

    def subscribe(account, after=None):
        if over == "grpc":
            return GrpcEvents(world.contract, world.suite.grpc("chat-3"), account["token"], room, after)
        return ServerSentEvents(world.suite.ports["STOA_HTTP_PORT"], account["token"], room, after)

    if over == "grpc":
        with pytest.raises(Ended) as refused:
            subscribe(stranger).next()
        assert refused.value.code == "NOT_FOUND"
    else:
        assert subscribe(stranger).response.status == 404
    events = subscribe(guest, after=0)
    assert events.next()[1]["event"]["kind"] == "EVENT_KIND_MEMBER_JOINED"
    assert events.next() == ("live", {"room": room, "seq": "1"}) and events.last_id == "1"
    world.rpc("RemoveMember", host, room=room, username=guest["username"])
    assert events.next()[1]["event"]["kind"] == "EVENT_KIND_MEMBER_REMOVED"
    assert events.next() == ("gone", {"room": room, "reason": "GONE_REASON_REMOVED"})
    with pytest.raises(Ended) as ended:
        events.next()
    assert ended.value.code == "OK"
    reset = subscribe(host, after=99)
    assert reset.next() == ("reset", {"room": room, "lastSeq": "2"})
    with pytest.raises(Ended):
        reset.next()


def waits_for_a_lock(cursor):
    cursor.execute("SELECT pg_stat_clear_snapshot()")
    cursor.execute("SELECT FROM pg_stat_activity WHERE usename = 'stoa_chat' AND wait_event_type = 'Lock'")
    return cursor.rowcount > 0


@pytest.mark.parametrize("path", ("events", "export"))
def test_a_refusal_that_takes_long_has_its_status(world, path):
    """Whether somebody may read a room is known when Postgres has answered, however late that is."""
    room, _ = world.room()
    stranger = world.account()
    connection = http.client.HTTPConnection("127.0.0.1", world.suite.ports["STOA_HTTP_PORT"], timeout=SECONDS)
    with contextlib.closing(connection), \
            contextlib.closing(psycopg2.connect(**world.suite.database())) as database, database.cursor() as cursor:
        cursor.execute("LOCK TABLE chat.rooms IN ACCESS EXCLUSIVE MODE")
        connection.request("GET", f"/api/chat/rooms/{room}/{path}",
                           headers={"Authorization": f"Bearer {stranger['token']}"})
        wait_until(lambda: waits_for_a_lock(cursor), "a query waits for the table")
        time.sleep(0.1)  # much longer than the gateway waits after a beginning
        database.rollback()
        assert connection.getresponse().status == 404


# ---- what is kept ----


def test_what_was_deleted_is_nowhere(world):
    """Nor what was written before an edit: also not in a replay of what the instance has kept."""
    room, host = world.room()
    client = world.connect(host)
    client.follow(room)
    for n, text in enumerate(("first secret", "second secret", "third")):
        client.done(send={"room": room, "text": text, "clientId": str(n)})
    client.done(edit={"room": room, "seq": "2", "text": "edited"})
    client.done(delete={"room": room, "seq": "1"})
    assert client.events(5)[-1]["kind"] == "EVENT_KIND_MESSAGE_DELETED"
    for each in (client, world.connect(host), world.connect(host, "chat-2")):
        events = each.follow(room, after=0)
        assert "secret" not in json.dumps(events)
        assert [event["message"]["text"] for event in events] == ["", "edited", "third", "edited", ""]


def test_who_deleted_their_account_is_nowhere(world):
    """Neither what they said nor their name, also not in a replay of what the instance has kept."""
    room, host, guest = world.room(1)
    client = world.connect(guest)
    client.follow(room)
    world.connect(host).done(send={"room": room, "text": "a secret", "clientId": "1"})
    assert host["username"] in json.dumps(client.events(1))
    world.rpc("DeleteCurrentUser", host)
    client.events(3)  # the message is deleted, they have left, another one is the owner
    for each in (client, world.connect(guest), world.connect(guest, "chat-2")):
        replayed = json.dumps(each.follow(room, after=0))
        assert "secret" not in replayed and host["username"] not in replayed


def test_read_marks(world):
    room, host, guest = world.room(1)
    reader, writer = world.connect(host, "chat-3"), world.connect(guest, "chat")
    reader.follow(room)
    seq = writer.done(send={"room": room, "text": "x", "clientId": "1"})["seq"]
    assert writer.done(read={"room": room, "seq": "99"})["seq"] == seq
    assert reader.events(1)[0]["seq"] == seq
    mark = reader.expect("read")
    assert (mark["room"], mark["account"]["username"], mark["seq"]) == (room, guest["username"], seq)
    writer.done(read={"room": room, "seq": "1"})  # it does not move back, and nobody is told
    writer.done(send={"room": room, "text": "y", "clientId": "2"})
    assert reader.next()[0] == "event"
