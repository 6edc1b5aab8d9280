"""Sessions: refreshing, listing and ending them, and that an ended one is refused everywhere."""
import base64
import concurrent.futures
import contextlib
import json
import os
import random
import re
import signal
import threading
import time
import uuid

import psycopg2
import pytest
from stoa_contract import GrpcClient, HttpClient, session_of, token_part
from stoa_suite_fixture import wait_until

INVALID = {"refreshToken": ["is invalid"]}
GRACE = 10  # STOA_AUTH_REFRESH_GRACE_S
LIFETIME = 30 * 86400  # STOA_AUTH_SESSION_TTL_S
PREFIX = "stoa_rt_"


@pytest.fixture(scope="session")
def refresh(call_grpc):
    """refresh(token) -> RefreshSession's answer, or None when it is refused; any other failure fails the test."""

    def make(token):
        code, answer = call_grpc("auth", "RefreshSession", {"refreshToken": token})
        if code != "OK":
            assert code == "UNAUTHENTICATED" and answer.errors == INVALID, answer
            return None
        return answer

    return make


# ---- refreshing ----


def test_refresh(both, call_grpc, new_account, sign_in):
    account = new_account()
    tokens = {surface: sign_in(account)["refreshToken"] for surface in ("grpc", "http")}
    ignore = ("user.token", "refreshToken")
    code, answer, http = both("auth", "RefreshSession", lambda s: {"refreshToken": tokens[s]}, ignore=ignore)
    assert code == "OK" and http.status == 200 and http.headers["Cache-Control"] == "no-store"
    assert sorted(http.json) == ["refreshToken", "user"]
    assert http.json["user"]["username"] == account["username"]
    for each, old in ((answer, tokens["grpc"]), (http.json, tokens["http"])):
        assert each["refreshToken"] != old
        assert call_grpc("auth", "GetCurrentUser", {}, each["user"]["token"])[0] == "OK"


def test_session_stays_the_same(new_account, refresh):
    account = new_account()
    answer = refresh(account["refreshToken"])
    first, second = (json.loads(token_part(token, 1)) for token in (account["token"], answer["user"]["token"]))
    assert first["sid"] == second["sid"] and first["sub"] == second["sub"] and first["jti"] != second["jti"]


def test_an_access_token_is_not_looked_at(call_http, new_account):
    """Clients come with the one that has expired."""
    request = {"refreshToken": new_account()["refreshToken"]}
    assert call_http("POST", "/api/session:refresh", request, "expired.or.damaged").status == 200


def altered(token, kind):
    raw = bytearray(base64.urlsafe_b64decode(token[len(PREFIX):] + "=="))
    if kind == "another session":
        raw[:16] = uuid.uuid4().bytes
    elif kind == "another family":
        raw[16] ^= 1
    elif kind == "no bytes":
        raw = bytearray(64)
    elif kind == "long":
        return token + "A" * 100
    elif kind == "cut":
        return token[:-1]
    elif kind == "padded":
        return token + "=="
    elif kind == "without prefix":
        return token[len(PREFIX):]
    elif kind == "another spelling":  # the last character has four bits to spare
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    else:
        return kind
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    "kind",
    ["another session", "another family", "no bytes", "long", "cut", "padded", "without prefix", "another spelling",
     "nonsense", "\u00e9" * 94, " " + "x" * 93, "../" * 31],
)
def test_what_was_never_a_token(both, new_account, refresh, kind):
    """Guessing ends nobody's session."""
    account = new_account()
    request = {"refreshToken": altered(account["refreshToken"], kind)}
    code, problem, http = both("auth", "RefreshSession", request)
    assert code == "UNAUTHENTICATED" and http.status == 401 and http.json["errors"] == INVALID
    assert problem.reason == "REFRESH_TOKEN_INVALID"
    assert refresh(account["refreshToken"])


def test_needs_a_refresh_token(both):
    for request in ({}, {"refreshToken": ""}, {"refreshToken": "  "}):
        code, _, http = both("auth", "RefreshSession", request)
        assert code == "INVALID_ARGUMENT" and http.json["errors"] == {"refreshToken": ["can't be blank"]}
    code, _, http = both("auth", "RefreshSession", {"refreshToken": "x" * 257})
    assert code == "INVALID_ARGUMENT" and list(http.json["errors"]) == ["refreshToken"]


def test_lost_answer_is_given_again(new_account, refresh):
    account = new_account()
    first, again = refresh(account["refreshToken"]), refresh(account["refreshToken"])
    assert first["refreshToken"] == again["refreshToken"]
    assert refresh(again["refreshToken"])


def test_tabs_at_once_get_the_same(new_account, refresh):
    account = new_account()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(refresh, [account["refreshToken"]] * 8))
    assert len({answer["refreshToken"] for answer in answers}) == 1
    assert refresh(answers[0]["refreshToken"])


def test_replay_ends_the_session(call_grpc, new_account, sign_in, refresh, pass_time):
    account = new_account()
    stolen = sign_in(account)
    answer = refresh(stolen["refreshToken"])
    pass_time(stolen["session"], GRACE + 1)
    assert not refresh(stolen["refreshToken"])
    assert call_grpc("auth", "GetCurrentUser", {}, answer["user"]["token"])[0] == "UNAUTHENTICATED", "at once"
    assert not refresh(answer["refreshToken"]), "the thief's and the owner's token alike"
    assert refresh(account["refreshToken"]), "another session of the account goes on"


def test_grandparent_is_a_replay_at_once(new_account, refresh):
    account = new_account()
    newest = refresh(refresh(account["refreshToken"])["refreshToken"])
    assert not refresh(account["refreshToken"])
    assert not refresh(newest["refreshToken"])


def test_session_that_is_used_lasts(new_account, refresh, pass_time):
    account = new_account()
    session, token = session_of(account["token"]), account["refreshToken"]
    for _ in range(3):
        pass_time(session, LIFETIME - 86400 - 60)
        token = refresh(token)["refreshToken"]
    pass_time(session, LIFETIME + 1)
    assert not refresh(token)


# ---- the model ----


class Family:
    """What a session's refresh tokens must do, step by step; and a client that keeps one of them for two tabs."""

    def __init__(self, account, refresh, pass_time):
        self._refresh, self._pass_time = refresh, pass_time
        self.session = session_of(account["token"])
        self.issued = [account["refreshToken"]]
        self.rotated = 0.0  # when the newest replaced the one before
        self.passed = -time.monotonic()
        self.alive = True
        self.kept = account["refreshToken"]  # the client's
        self.unanswered = False  # the client has asked, and has got no answer

    @property
    def now(self):
        return self.passed + time.monotonic()

    def expected(self, token):
        """The refresh token that the answer must have; "new", or None for a refusal."""
        if not self.alive:
            return None
        if token == self.issued[-1]:
            return "new"
        if len(self.issued) > 1 and token == self.issued[-2] and self.now - self.rotated < GRACE:
            return self.issued[-1]
        return None

    def use(self, token):
        expected, answer = self.expected(token), self._refresh(token)
        got = answer and answer["refreshToken"]
        if expected is None:
            assert got is None
            self.alive = False
        elif expected == "new":
            assert got and got not in self.issued
            self.issued.append(got)
            self.rotated = self.now
        else:
            assert got == expected
        return got

    # ---- what happens ----

    def honest_refresh(self, random):
        got = self.use(self.kept)
        assert got, "an honest client is never signed out"
        self.unanswered = random.random() < 0.4
        if not self.unanswered:
            self.kept = got

    def two_tabs(self, random):
        """Both read the kept token before either has stored a new one."""
        token = self.kept
        tabs = random.choice((1, 1, 2))
        if tabs == 2:  # truly at once
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                got = {answer and answer["refreshToken"] for answer in pool.map(self._refresh, [token] * 2)}
            expected = self.expected(token)
            assert len(got) == 1 and None not in got
            if expected == "new":
                self.issued.append(*got)
                self.rotated = self.now
            else:
                assert got == {expected}
            self.kept = self.issued[-1]
        else:
            self.kept = self.use(token)
            assert self.kept and self.use(token) == self.kept, "the other tab, a moment later"
        self.unanswered = False

    def time_goes_by(self, random):
        # A client that has got no answer asks again while the token counts.
        most = GRACE * 0.3 if self.unanswered else random.choice((GRACE * 0.3, GRACE * 3, 86400 * 3))
        seconds = random.uniform(0, most)
        if self.unanswered and self.now - self.rotated + seconds > GRACE * 0.8:
            return self.honest_refresh(random)
        self._pass_time(self.session, seconds)
        self.passed += seconds

    def early_replay(self, random):
        """Of the predecessor, in its time: nobody can tell it from a lost answer."""
        if len(self.issued) > 1 and self.now - self.rotated < GRACE * 0.8:
            assert self.use(self.issued[-2]) == self.issued[-1]

    def guess(self, random):
        assert not self._refresh(altered(self.kept, random.choice(("another family", "another session"))))

    def stale_replay(self, random):
        wait = GRACE * 1.2 - (self.now - self.rotated)
        if wait > 0 and random.random() < 0.7:  # the predecessor, just out of its time
            self._pass_time(self.session, wait)
            self.passed += wait
        old = [token for token in self.issued[:-1] if self.expected(token) is None]
        if not old:
            return
        assert self.use(random.choice(old)) is None
        assert self.use(self.issued[-1]) is None and self.use(self.kept) is None, "it always ends the family"


@pytest.mark.parametrize("seed", range(12))
def test_model(new_account, sign_in, refresh, pass_time, seed):
    choose = random.Random(seed)
    account = new_account()
    for _ in range(3):
        family = Family({**account, **sign_in(account)}, refresh, pass_time)
        steps = [family.honest_refresh] * 5 + [family.time_goes_by] * 5 + [family.two_tabs] * 3
        steps += [family.early_replay, family.guess]
        for _ in range(choose.randrange(5, 30)):
            choose.choice(steps)(choose)
        if family.unanswered:
            family.honest_refresh(choose)
        family.stale_replay(choose)


# ---- listing ----


def test_list(both, new_account, sign_in):
    account = new_account()
    others = [sign_in(account) for _ in range(2)]
    code, answer, http = both("auth", "ListSessions", {}, account["token"])
    assert code == "OK"
    expected = [others[1]["session"], others[0]["session"], session_of(account["token"])]
    assert [session["id"] for session in answer["sessions"]] == expected, "the latest sign-in first"
    assert [session["current"] for session in answer["sessions"]] == [False, False, True]
    assert http.json["nextPageToken"] == ""
    for session in http.json["sessions"]:
        assert sorted(session) == ["address", "createdAt", "current", "device", "id", "lastUsedAt"]
        assert session["createdAt"] == session["lastUsedAt"]


def test_list_in_pages(call_grpc, new_account, sign_in):
    account = new_account()
    expected = [session_of(account["token"])] + [sign_in(account)["session"] for _ in range(4)]
    seen, token = [], ""
    while True:
        request = {"pageSize": 2, "pageToken": token}
        _, answer = call_grpc("auth", "ListSessions", request, account["token"])
        seen.append([session["id"] for session in answer["sessions"]])
        token = answer["nextPageToken"]
        if not token:
            break
    assert [len(page) for page in seen] == [2, 2, 1] and sum(seen, []) == expected[::-1]


def test_a_page_has_a_hundred_at_most(suite, call_grpc, new_account):
    account = new_account()
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_auth"))) as database, database.cursor() as cursor:
        cursor.execute("INSERT INTO auth.sessions (id, user_id) SELECT gen_random_uuid(), user_id FROM auth.sessions,"
                       " generate_series(1, 100) WHERE id = %s", (session_of(account["token"]),))
        database.commit()
    _, first = call_grpc("auth", "ListSessions", {"pageSize": 101}, account["token"])
    _, second = call_grpc("auth", "ListSessions", {"pageToken": first["nextPageToken"]}, account["token"])
    assert len(first["sessions"]) == 100 and len(second["sessions"]) == 1 and not second["nextPageToken"]


@pytest.mark.parametrize("request_", [{"pageSize": -1}, {"pageToken": "x"}, {"pageToken": str(uuid.uuid4())[:-1]}])
def test_list_refuses(both, new_account, request_):
    code, _, http = both("auth", "ListSessions", request_, new_account()["token"])
    assert code == "INVALID_ARGUMENT" and list(http.json["errors"]) == list(request_)


def test_where_and_by_what(call_grpc, call_http, new_account, pass_time):
    """What the gateway says of its client counts, and what others say of themselves does not."""
    account = new_account()
    login = {"user": {"email": account["email"], "password": account["password"]}}
    sent = {"User-Agent": "Browser/1.0 \u00fc".encode("latin-1"), "X-Client-Address": "203.0.113.9",
            "X-Forwarded-For": "203.0.113.9", "X-Forwarded-User-Agent": "forged"}
    by_http = call_http("POST", "/api/users/login", login, headers=sent).json
    forged = (("x-client-address", "203.0.113.9"), ("x-forwarded-user-agent", "forged"))
    _, by_grpc = call_grpc("auth", "Login", login, metadata=forged)

    def listed():
        _, answer = call_grpc("auth", "ListSessions", {}, account["token"])
        return {session["id"]: session for session in answer["sessions"]}

    web, direct = (listed()[session_of(each["user"]["token"])] for each in (by_http, by_grpc))
    assert web["address"] == "127.0.0.1" and re.fullmatch(r"Browser/1\.0 \?+", web["device"])
    assert direct["address"] == "127.0.0.1" and direct["device"].startswith("grpc-python/")
    pass_time(web["id"], 3600)
    call_http("POST", "/api/session:refresh", {"refreshToken": by_http["refreshToken"]}, headers={"User-Agent": "B/2"})
    later = listed()[web["id"]]
    assert later["device"] == "B/2" and later["createdAt"] < later["lastUsedAt"]


@pytest.mark.parametrize("grpc_over", ("unix",), indirect=True)
def test_whoever_may_use_the_socket_speaks_for_clients(suite, contract, new_account):
    call = GrpcClient(contract, lambda service: suite.grpc(service, "unix"))
    account = new_account()
    login = {"user": {"email": account["email"], "password": account["password"]}}
    told = {"203.0.113.9": "203.0.113.9", "::ffff:203.0.113.9": "203.0.113.9", "2001:DB8:0::1": "2001:db8::1",
            "nonsense": None}
    for address, shown in told.items():
        _, answer = call("auth", "Login", login, metadata=(("x-client-address", address),))
        token = answer["user"]["token"]
        _, answer = call("auth", "ListSessions", {"pageSize": 1}, token)
        assert answer["sessions"][0].get("address") == shown
        assert "device" not in answer["sessions"][0], "the gateway's own name is nobody's device"


def test_expired_sessions_are_not_listed(call_grpc, new_account, sign_in, pass_time):
    account = new_account()
    pass_time(sign_in(account)["session"], LIFETIME + 1)
    _, answer = call_grpc("auth", "ListSessions", {}, account["token"])
    assert len(answer["sessions"]) == 1


# ---- ending ----


def test_sign_out(both, call_grpc, refresh, new_account, sign_in):
    account = new_account()
    sessions = {surface: sign_in(account) for surface in ("grpc", "http")}
    code, _, http = both("auth", "EndCurrentSession", {}, lambda surface: sessions[surface]["token"])
    assert code == "OK" and http.status == 204
    for session in sessions.values():
        code, problem = call_grpc("auth", "GetCurrentUser", {}, session["token"])
        assert code == "UNAUTHENTICATED" and problem.errors == {"token": ["is invalid"]}
        assert problem.reason == "TOKEN_REVOKED"
        assert not refresh(session["refreshToken"])
    assert refresh(account["refreshToken"])


def test_end_one(both, call_grpc, refresh, new_account, sign_in):
    account = new_account()
    others = {surface: sign_in(account) for surface in ("grpc", "http")}
    request = lambda surface: {"session": others[surface]["session"]}
    code, _, http = both("auth", "EndSession", request, account["token"])
    assert code == "OK" and http.status == 204
    for other in others.values():
        assert call_grpc("auth", "GetCurrentUser", {}, other["token"])[0] == "UNAUTHENTICATED"
        assert not refresh(other["refreshToken"])
    code, _, http = both("auth", "EndSession", request, account["token"])
    assert code == "NOT_FOUND" and http.json["errors"] == {"session": ["not found"]}


def test_nobody_ends_anothers(both, refresh, new_account):
    account, other = new_account(), new_account()
    for session in (session_of(other["token"]), str(uuid.uuid4())):
        code, _, http = both("auth", "EndSession", {"session": session}, account["token"])
        assert code == "NOT_FOUND" and http.json["errors"] == {"session": ["not found"]}
    assert refresh(other["refreshToken"])


def test_end_all_others(both, call_grpc, refresh, new_account, sign_in):
    account, stranger = new_account(), new_account()
    others = [sign_in(account) for _ in range(3)]
    code, _, http = both("auth", "EndOtherSessions", {}, account["token"])
    assert code == "OK" and http.status == 204
    for other in others:
        assert call_grpc("auth", "GetCurrentUser", {}, other["token"])[0] == "UNAUTHENTICATED"
        assert not refresh(other["refreshToken"])
    assert refresh(account["refreshToken"]) and refresh(stranger["refreshToken"])


def test_refreshing_while_it_is_ended(call_grpc, new_account, sign_in):
    """Whichever comes first: no access token of an ended session is left."""
    account = new_account()
    for _ in range(10):
        other = sign_in(account)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            refreshed = pool.submit(call_grpc, "auth", "RefreshSession", {"refreshToken": other["refreshToken"]})
            ended = pool.submit(call_grpc, "auth", "EndSession", {"session": other["session"]}, account["token"])
            assert ended.result()[0] == "OK"
            code, answer = refreshed.result()
        if code == "OK":
            assert call_grpc("auth", "GetCurrentUser", {}, answer["user"]["token"])[0] == "UNAUTHENTICATED"
            assert call_grpc("auth", "RefreshSession", {"refreshToken": answer["refreshToken"]})[0] != "OK"


# ---- everywhere ----

# What needs to know its caller, of each service; posts looks at a token also where none is needed.
CALLS = [("auth", "GetCurrentUser", {}), ("posts", "ListArticles", {}), ("chat", "ListRooms", {})]


def expect_refused_everywhere(call_grpc, call_http, token):
    """Within the second that is promised; the bound leaves room for a slow machine."""

    def refused():
        answers = [call_grpc(service, method, request, token) for service, method, request in CALLS]
        assert all(code == "OK" or answer.errors == {"token": ["is invalid"]} for code, answer in answers)
        web = [call_http("GET", path, token=token).status for path in ("/api/user", "/api/articles")]
        return all(code == "UNAUTHENTICATED" for code, _ in answers) and web == [401, 401]

    wait_until(refused, "every service refuses the token", 3)


def end_by_replay(call_grpc, account, other, pass_time):
    call_grpc("auth", "RefreshSession", {"refreshToken": other["refreshToken"]})
    pass_time(other["session"], GRACE + 1)
    call_grpc("auth", "RefreshSession", {"refreshToken": other["refreshToken"]})


ENDINGS = {
    "sign-out": lambda call, account, other, _: call("auth", "EndCurrentSession", {}, other["token"]),
    "one": lambda call, account, other, _: call("auth", "EndSession", {"session": other["session"]}, account["token"]),
    "all others": lambda call, account, other, _: call("auth", "EndOtherSessions", {}, account["token"]),
    "new password": lambda call, account, other, _: call(
        "auth", "UpdateCurrentUser", {"user": {"password": "a new password"}}, account["token"]),
    "deletion": lambda call, account, other, _: call("auth", "DeleteCurrentUser", {}, account["token"]),
    "replay": end_by_replay,
}


@pytest.mark.parametrize("how", ENDINGS)
def test_refused_everywhere(call_grpc, call_http, new_account, sign_in, pass_time, how):
    account = new_account()
    other = sign_in(account)
    for service, method, request in CALLS:  # each remembers the token as a good one
        assert call_grpc(service, method, request, other["token"])[0] == "OK"
    ENDINGS[how](call_grpc, account, other, pass_time)
    expect_refused_everywhere(call_grpc, call_http, other["token"])


def test_a_refused_token_stays_refused_after_a_restart(own_suite, contract):
    """A service that starts reads what was ended before it lets anybody in. And Redis has no part in it."""
    suite = own_suite()
    call, http = GrpcClient(contract, suite.grpc), HttpClient(suite.http)
    user = {"username": "ada", "email": "ada@example.com", "password": "password123"}
    tokens = [call("auth", "CreateUser", {"user": user})[1]["user"]["token"]]
    credentials = {name: user[name] for name in ("email", "password")}
    tokens += [call("auth", "Login", {"user": credentials})[1]["user"]["token"]]
    os.kill(suite.pid("redis"), signal.SIGSTOP)
    try:
        assert call("auth", "EndCurrentSession", {}, tokens[0])[0] == "OK"
        expect_refused_everywhere(call, http, tokens[0])
    finally:
        os.kill(suite.pid("redis"), signal.SIGCONT)
    stop = threading.Event()
    accepted = []

    def hammer():
        while not stop.is_set():
            for service, method, request in CALLS:
                if call(service, method, request, tokens[0])[0] == "OK":
                    accepted.append(service)

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        for name, pid in [(name, suite.kill(name)) for name in ("auth", "posts", "chat")]:
            suite.wait_restarted(name, pid)

        def served():
            return all(call(*each, tokens[1])[0] == "OK" for each in CALLS)

        wait_until(served, "all services are back")
        # Another database server may be another state of it.
        suite.wait_restarted("postgres", suite.kill("postgres", signal.SIGQUIT))
        wait_until(served, "all services are back")
    finally:
        stop.set()
        thread.join(60)
    assert not accepted
