"""Who may do what: every method of the contract, on every way to it, as nobody, as another account, as the owner, with
an expired and with a revoked token.

RULES says of each method who may call it and makes a request about what is the owner's. What a call may not do is
found in the database, whose tables and columns are read from the schema: so a new method without a rule, a new table
that belongs to nobody and a new column that shows in others' answers all fail here.
"""
import base64
import contextlib
import copy
import dataclasses
import json
import re
import typing

import jwt
import psycopg2
import pytest
from google.protobuf import json_format
from stoa_contract import Contract, GrpcClient, HttpClient, camel, http_request, session_of, token_part
from stoa_suite_fixture import Suite, descriptor_set, wait_until

CONTRACT = Contract(descriptor_set())

# ---- who may ----

ANYBODY = "anybody"  # a token is not looked at
READERS = "readers"  # also without a token, but not with a bad one
ACCOUNTS = "accounts"  # each account, for itself
OWNER = "owner"  # the account whose thing it is

AUTH_OPTION = {ANYBODY: "AUTH_NONE", READERS: "AUTH_OPTIONAL", ACCOUNTS: "AUTH_REQUIRED", OWNER: "AUTH_REQUIRED"}


@dataclasses.dataclass
class Rule:
    may: str
    request: typing.Callable  # request(world, caller) -> a dict in proto3 JSON
    to_others: str = "PERMISSION_DENIED"  # what another account is told, when only the owner may
    spends: bool = False  # the caller's account or sessions are other ones afterwards
    reads: bool = False  # the owner's things are afterwards what they were before
    credentials: bool = False  # the request itself proves that it is the owner's
    takes_along: tuple = ()  # tables where others' marks on what is deleted go with it

    @property
    def uses_up(self):
        """The owner's things may be other ones, or none, afterwards."""
        return self.may == OWNER and not self.reads


def new_user(w, _):
    name = w.unique("visitor")
    return {"user": {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}}


def slug(w, _):
    return {"slug": w.article["slug"]}


def draft(w, _):
    return {"id": w.draft["id"]}


def username(w, _):
    return {"username": w.owner["username"]}


def room(w, _):
    return {"room": w.room["id"]}


def in_room(**more):
    return lambda w, caller: {**room(w, caller), **more}


def with_third(w, caller):
    return {**room(w, caller), "username": w.third["username"]}


def message(w, caller):
    return {**room(w, caller), "seq": w.message["seq"]}


def nothing(_w, _caller):
    return {}


def with_slug(**more):
    return lambda w, caller: {**slug(w, caller), **more}


ARTICLE = {"title": "A title", "description": "About it", "body": "The text.", "tagList": ["tag"]}

# Everything that is in a room which goes; and what becomes of an heir.
IN_ROOMS = ("chat.members", "chat.messages", "chat.events", "chat.reactions")
MARKS = ("posts.favorites", "posts.follows", "posts.account_counts")

RULES = {
    "/stoa.auth.v1.AuthService/CreateUser": Rule(ANYBODY, new_user),
    "/stoa.auth.v1.AuthService/Login": Rule(
        ANYBODY, lambda w, _: {"user": {name: w.owner[name] for name in ("email", "password")}}, credentials=True),
    "/stoa.auth.v1.AuthService/GetCurrentUser": Rule(ACCOUNTS, nothing),
    "/stoa.auth.v1.AuthService/UpdateCurrentUser": Rule(
        ACCOUNTS, lambda w, _: {"user": {"username": w.unique("renamed"), "bio": "new"}}, spends=True),
    "/stoa.auth.v1.AuthService/DeleteCurrentUser": Rule(
        ACCOUNTS, nothing, spends=True, takes_along=MARKS + ("chat.members", "chat.reactions")),
    "/stoa.auth.v1.AuthService/GetJsonWebKeySet": Rule(ANYBODY, nothing),
    "/stoa.auth.v1.SessionService/RefreshSession": Rule(
        ANYBODY, lambda w, _: {"refreshToken": w.sign_in(w.owner)["refreshToken"]}, credentials=True),
    "/stoa.auth.v1.SessionService/EndCurrentSession": Rule(ACCOUNTS, nothing, spends=True),
    "/stoa.auth.v1.SessionService/ListSessions": Rule(ACCOUNTS, nothing),
    "/stoa.auth.v1.SessionService/EndSession": Rule(
        OWNER, lambda w, _: {"session": session_of(w.sign_in(w.owner)["token"])}, to_others="NOT_FOUND"),
    "/stoa.auth.v1.SessionService/EndOtherSessions": Rule(ACCOUNTS, nothing, spends=True),
    "/stoa.posts.v1.ArticleService/CreateArticle": Rule(ACCOUNTS, lambda w, _: {"article": ARTICLE}),
    "/stoa.posts.v1.ArticleService/GetArticle": Rule(READERS, slug),
    "/stoa.posts.v1.ArticleService/ListArticles": Rule(READERS, lambda w, _: {"author": w.owner["username"]}),
    "/stoa.posts.v1.ArticleService/ListFeed": Rule(ACCOUNTS, nothing),
    "/stoa.posts.v1.ArticleService/UpdateArticle": Rule(OWNER, with_slug(article=ARTICLE)),
    "/stoa.posts.v1.ArticleService/DeleteArticle": Rule(OWNER, slug, takes_along=MARKS),
    "/stoa.posts.v1.ArticleService/FavoriteArticle": Rule(ACCOUNTS, slug),
    "/stoa.posts.v1.ArticleService/UnfavoriteArticle": Rule(ACCOUNTS, slug),
    "/stoa.posts.v1.ArticleService/ListTags": Rule(ANYBODY, nothing),
    "/stoa.posts.v1.ArticleService/ListRevisions": Rule(OWNER, slug, reads=True),
    "/stoa.posts.v1.ArticleService/GetRevision": Rule(OWNER, with_slug(number=1), reads=True),
    "/stoa.posts.v1.DraftService/CreateDraft": Rule(ACCOUNTS, lambda w, _: {"draft": ARTICLE}),
    "/stoa.posts.v1.DraftService/GetDraft": Rule(OWNER, draft, to_others="NOT_FOUND", reads=True),
    "/stoa.posts.v1.DraftService/ListDrafts": Rule(ACCOUNTS, nothing),
    "/stoa.posts.v1.DraftService/UpdateDraft": Rule(
        OWNER, lambda w, caller: {**draft(w, caller), "draft": ARTICLE}, to_others="NOT_FOUND"),
    "/stoa.posts.v1.DraftService/DeleteDraft": Rule(OWNER, draft, to_others="NOT_FOUND"),
    "/stoa.posts.v1.DraftService/PublishDraft": Rule(OWNER, draft, to_others="NOT_FOUND"),
    "/stoa.posts.v1.CommentService/CreateComment": Rule(ACCOUNTS, with_slug(comment={"body": "A comment."})),
    "/stoa.posts.v1.CommentService/ListComments": Rule(READERS, slug),
    "/stoa.posts.v1.CommentService/DeleteComment": Rule(
        OWNER, lambda w, caller: {**slug(w, caller), "id": w.comment["id"]}),
    "/stoa.posts.v1.ProfileService/GetProfile": Rule(READERS, username),
    "/stoa.posts.v1.ProfileService/FollowProfile": Rule(ACCOUNTS, username),
    "/stoa.posts.v1.ProfileService/UnfollowProfile": Rule(ACCOUNTS, username),
    "/stoa.chat.v1.RoomService/CreateRoom": Rule(
        ACCOUNTS, lambda w, _: {"room": {"name": "A room", "clientId": w.unique("client-id-")}}),
    "/stoa.chat.v1.RoomService/OpenDirectRoom": Rule(ACCOUNTS, lambda w, _: {"username": w.third["username"]}),
    "/stoa.chat.v1.RoomService/GetRoom": Rule(ACCOUNTS, room),
    "/stoa.chat.v1.RoomService/ListRooms": Rule(ACCOUNTS, nothing),
    "/stoa.chat.v1.RoomService/ListMyRooms": Rule(ACCOUNTS, nothing),
    "/stoa.chat.v1.RoomService/UpdateRoom": Rule(OWNER, in_room(changes={"name": "Other", "description": "What for"})),
    "/stoa.chat.v1.RoomService/DeleteRoom": Rule(OWNER, room, takes_along=IN_ROOMS),
    "/stoa.chat.v1.RoomService/JoinRoom": Rule(ACCOUNTS, room),
    "/stoa.chat.v1.RoomService/LeaveRoom": Rule(  # not the owner its own, which it is the last owner of
        ACCOUNTS, lambda w, caller: {"room": (w.their_room if caller == "owner" else w.room)["id"]}, spends=True),
    "/stoa.chat.v1.RoomService/ListMembers": Rule(ACCOUNTS, room),
    "/stoa.chat.v1.RoomService/InviteMember": Rule(OWNER, with_third),
    "/stoa.chat.v1.RoomService/RemoveMember": Rule(OWNER, with_third),
    "/stoa.chat.v1.RoomService/SetMemberRole": Rule(
        OWNER, lambda w, caller: {**with_third(w, caller), "role": "ROLE_MODERATOR"}),
    "/stoa.chat.v1.RoomService/SendMessage": Rule(
        ACCOUNTS, lambda w, caller: {**room(w, caller), "message": {"text": "Hello", "clientId": w.unique("client-id-")}}),
    "/stoa.chat.v1.RoomService/ListMessages": Rule(ACCOUNTS, room),
    "/stoa.chat.v1.RoomService/EditMessage": Rule(
        OWNER, lambda w, caller: {**message(w, caller), "text": "Changed", "clientId": w.unique("client-id-")}),
    "/stoa.chat.v1.RoomService/DeleteMessage": Rule(
        OWNER, lambda w, caller: {**message(w, caller), "clientId": w.unique("client-id-")}, takes_along=("chat.reactions",)),
    "/stoa.chat.v1.RoomService/AddReaction": Rule(
        ACCOUNTS, lambda w, caller: {**message(w, caller), "emoji": "-1", "clientId": w.unique("client-id-")}),
    "/stoa.chat.v1.RoomService/RemoveReaction": Rule(
        ACCOUNTS, lambda w, caller: {**message(w, caller), "emoji": "-1", "clientId": w.unique("client-id-")}),
    "/stoa.chat.v1.RoomService/MarkRead": Rule(ACCOUNTS, in_room(seq="1")),
    "/stoa.chat.v1.RoomService/SearchMessages": Rule(ACCOUNTS, lambda w, _: {"query": "hello"}),
    "/stoa.chat.v1.RoomService/ListEvents": Rule(ACCOUNTS, room),
    "/stoa.chat.v1.RoomService/ExportRoom": Rule(ACCOUNTS, room),
    "/stoa.chat.v1.RoomService/GetPresence": Rule(ACCOUNTS, room),
}

# ---- what is whose ----

# In every table that has one of these, whose the row is.
OWNER_COLUMNS = ("user_id", "author_id", "account_id", "follower_id", "created_by")
# The same for the tables that say it otherwise.
OWNED_BY = {
    "auth.users": "id = %(account)s",
    "chat.events": "actor_id = %(account)s",
    **{table: "article_id IN (SELECT id FROM posts.articles WHERE author_id = %(account)s)"
       for table in ("posts.article_tags", "posts.article_revisions")},
}
# Tables whose rows are nobody's: counters, keys, what the process keeps for itself.
NOBODYS = {
    "auth.schema_migrations", "auth.signing_keys", "auth.revoked_sessions", "auth.secrets",
    "posts.schema_migrations", "posts.article_counts", "posts.tag_counts", "posts.article_search", "posts.search_queue",
    "posts.deleted_articles", "posts.dropped_tags",
    "chat.schema_migrations", "chat.reaction_counts",
}
# What the services write by themselves as well, some time after a call or without one.
BY_THEMSELVES = {"auth.signing_keys", "posts.article_search", "posts.search_queue", "posts.forgotten_accounts", "posts.deleted_articles",
                 "posts.dropped_tags", "chat.forgotten_accounts"}
# What the calls of others change in a row that is the owner's, as they should.
CHANGED_BY_OTHERS = {"posts.articles": {"favorites_count"}, "chat.messages": {"reaction_kinds"},
                     "chat.rooms": {"last_seq", "event_count", "member_count", "active_at"}}
# What of an account's rows everybody may see. Every other text, UUID or hash is for the owner alone.
PUBLIC = {
    "auth.users": {"username", "username_key", "bio", "image"},
    "posts.articles": {"slug", "title", "description", "body", "tag_list"},
    "posts.article_tags": {"tag"},
    "posts.article_revisions": {"title", "description", "tag_list"},  # which are the article's still
    "posts.comments": {"body"},
    "posts.idempotency_keys": {"slug"},  # the article's
    "chat.rooms": {"name", "description"},
    "chat.messages": {"text"},
    "chat.events": {"emoji"},
    "chat.reactions": {"emoji"},
}
PRIVATE_TYPES = {"text", "uuid", "bytea", "text[]", "inet"}


class Database:
    """The tables of all services, as the superuser sees them."""

    def __init__(self, cursor):
        self._cursor = cursor
        self.tables = {}  # "posts.articles": {column: type}
        cursor.execute(
            "SELECT c.oid::regclass::text, a.attname, format_type(a.atttypid, NULL) FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relnamespace::regnamespace::text IN ('auth', 'posts', 'chat') AND c.relkind IN ('r', 'p')")
        for table, column, kind in cursor:
            self.tables.setdefault(table, {})[column] = kind

    def whose(self, table):
        """The condition that says that a row is %(account)s's; None for tables whose rows are nobody's."""
        if table in NOBODYS:
            return None
        if table in OWNED_BY:
            return OWNED_BY[table]
        columns = [name for name in OWNER_COLUMNS if name in self.tables[table]]
        assert len(columns) == 1, f"say in {__name__} whose the rows of {table} are"
        return f"{columns[0]} = %(account)s"

    def all(self):
        """Something that differs whenever any row differs that only calls write."""
        parts = [f"SELECT '{table}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
                 for table in self.tables if table not in BY_THEMSELVES]
        self._cursor.execute(" UNION ALL ".join(parts))
        return dict(self._cursor.fetchall())

    def of(self, account, but=()):
        """table: its rows that are the account's, without what others' calls may change. but: tables left out."""
        rows = {}
        for table in self.tables:
            if table not in but and (condition := self.whose(table)):
                self._cursor.execute(f"SELECT to_jsonb(t) FROM {table} t WHERE {condition} ORDER BY t::text", {"account": account})
                left_out = CHANGED_BY_OTHERS.get(table, set())
                rows[table] = [{name: value for name, value in row.items() if name not in left_out} for row, in self._cursor]
        return rows

    def private(self, account):
        """What must not appear in answers to others: value: where it is from. What is too short to be looked for, or
        a time or a number, is left out."""
        found = {}
        for table, rows in self.of(account).items():
            for name, kind in self.tables[table].items():
                if kind in PRIVATE_TYPES and name not in PUBLIC.get(table, ()):
                    for row in rows:
                        for value in spellings(row.get(name)):
                            found[value] = f"{table}.{name}"
        return found

    def contains(self, text):
        """Tables with a row in whose text this is."""
        return [table for table in self.tables if self._has(table, text)]

    def _has(self, table, text):
        self._cursor.execute(f"SELECT EXISTS (SELECT FROM {table} t WHERE strpos(t::text, %s) > 0)", (text,))
        return self._cursor.fetchone()[0]


def spellings(value):
    """A value as answers could show it; bytes also in base64."""
    values = value if isinstance(value, list) else [value]
    for each in values:
        if isinstance(each, str) and each.startswith("\\x"):
            yield each[2:]
            yield base64.b64encode(bytes.fromhex(each[2:])).decode().rstrip("=")
        elif isinstance(each, str) and len(each) >= 8:
            yield each


# ---- the world that calls are made in ----


class World:
    """Two accounts with something of each kind; what calls spend is made anew."""

    def __init__(self, suite, unique):
        self.suite, self.unique = suite, unique
        self.grpc, self.http = GrpcClient(CONTRACT, suite.grpc), HttpClient(suite.http)
        self.settle()

    def call(self, service, method, request, token=None, metadata=()):
        code, answer = self.grpc(service, method, request, token, metadata=metadata)
        assert code == "OK", answer
        return answer

    def account(self, stem):
        """An account with all that it can say of itself, and an id."""
        name = self.unique(stem)
        user = {"username": name, "email": f"{name}@Private.example", "password": "correct horse battery"}
        made = self.http("POST", "/api/users", {"user": user}, headers={"User-Agent": f"program of {name}"})
        assert made.status == 201, made.text
        token = made.json["user"]["token"]
        about = {"bio": f"About {name}", "image": f"https://example.com/{name}.png"}
        self.call("auth", "UpdateCurrentUser", {"user": about}, token)
        return {**user, "token": token, "id": int(json.loads(token_part(token, 1))["sub"])}

    def sign_in(self, account):
        made = self.call("auth", "Login", {"user": {name: account[name] for name in ("email", "password")}})
        return {"token": made["user"]["token"], "refreshToken": made["refreshToken"]}

    def settle(self):
        """The accounts, and what the calls are about: the owner's, with the other's marks on it, and the other way
        round."""
        self.owner, self.other = self.account("owner"), self.account("other")
        self.expired, self.revoked = self._expired(), self.sign_in(self.owner)["token"]
        self.call("auth", "EndCurrentSession", {}, self.revoked)
        self.article = self.publish(self.owner)
        theirs = self.publish(self.other)
        for one, another, article in ((self.owner, self.other, theirs), (self.other, self.owner, self.article)):
            self.call("posts", "FollowProfile", {"username": another["username"]}, one["token"])
            self.call("posts", "FavoriteArticle", {"slug": article["slug"]}, one["token"])
        self.comment = self.say(self.owner)
        self.draft = self.draw_up(self.owner)
        self.third = self.account("third")
        self.rooms = []
        self.open_rooms()
        wait_until(lambda: all(self._refused(service, self.revoked) for service in ("auth", "posts", "chat")), "it is revoked")

    def renew(self):
        """The owner's things, when a call may have used them up."""
        self.article = self.publish(self.owner)
        self.comment = self.say(self.owner)
        self.draft = self.draw_up(self.owner)
        self.open_rooms()

    def open_rooms(self):
        """The owner's room, with the other in it, a message of each, and marks on the owner's; and the other's room."""
        for room, account in self.rooms:  # of which an account has not any number
            self.grpc("chat", "DeleteRoom", {"room": room["id"]}, account["token"])
        self.room = self._open_room(self.owner, self.other)
        self.their_room = self._open_room(self.other, self.owner)
        self.rooms = [(self.room, self.owner), (self.their_room, self.other)]
        self.message = self._greet(self.owner)
        self._greet(self.other)
        for account in (self.owner, self.other):
            self.call("chat", "AddReaction", {"room": self.room["id"], "seq": self.message["seq"], "emoji": "+1"}, account["token"])

    def _open_room(self, owner, guest):
        made = self.call("chat", "CreateRoom", {"room": {"name": "A room", "clientId": self.unique("client-id-")}}, owner["token"])
        for account in (guest, self.third):
            self.call("chat", "JoinRoom", {"room": made["room"]["id"]}, account["token"])
        return made["room"]

    def _greet(self, account):
        text = {"text": "Hello", "clientId": self.unique("client-id-")}
        return self.call("chat", "SendMessage", {"room": self.room["id"], "message": text}, account["token"])["message"]

    def publish(self, account):
        """An article that was another one before."""
        request = {"article": {**ARTICLE, "title": self.unique("Title "), "body": self.unique("The first text. ")}}
        key = [("idempotency-key", self.unique("idempotency-key-"))]
        made = self.call("posts", "CreateArticle", request, account["token"], key)["article"]
        change = {"slug": made["slug"], "article": {"body": self.unique("The text that is left. ")}}
        return self.call("posts", "UpdateArticle", change, account["token"])["article"]

    def draw_up(self, account):
        request = {"draft": {name: self.unique(f"draft of the {name} ") for name in ("title", "description", "body")}}
        return self.call("posts", "CreateDraft", request, account["token"])["draft"]

    def say(self, account):
        request = {"slug": self.article["slug"], "comment": {"body": "What I think."}}
        key = [("idempotency-key", self.unique("idempotency-key-"))]
        return self.call("posts", "CreateComment", request, account["token"], key)["comment"]

    @contextlib.contextmanager
    def spending(self, rule):
        """Makes anew what a call that is let through leaves used up."""
        try:
            yield
        finally:
            if rule.spends:
                self.settle()
            elif rule.uses_up:
                self.renew()

    def _expired(self):
        """A token of the owner's session that lives, signed with the suite's own key, whose time is over."""
        header, claims = (json.loads(token_part(self.owner["token"], index)) for index in (0, 1))
        jwk = json.loads((self.suite.run_dir / "keys/auth.jwk").read_text())
        key = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).from_jwk(json.dumps(jwk))
        past = {name: claims[name] - 3600 for name in ("exp", "iat", "nbf")}
        return jwt.encode({**claims, **past}, key, "ES256", {"kid": header["kid"], "typ": header.get("typ")})

    def _refused(self, service, token):
        method = {"auth": "GetCurrentUser", "posts": "ListFeed", "chat": "ListRooms"}[service]
        return self.grpc(service, method, {}, token)[0] == "UNAUTHENTICATED"


@pytest.fixture(scope="module")
def quiet_suite():
    """In which nobody else writes."""
    with Suite(STOA_POSTS_PURGE_INTERVAL_S=86400, STOA_CHAT_PURGE_INTERVAL_S=86400) as started:
        yield started


@pytest.fixture(scope="module")
def world(quiet_suite, unique):
    return World(quiet_suite, unique)


@pytest.fixture(scope="module")
def database(quiet_suite):
    with contextlib.closing(psycopg2.connect(**quiet_suite.database())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield Database(cursor)


# ---- the matrix ----

SERVED = {method.path: method for method in CONTRACT.methods() if method.service}
# Streams are tried in test_chat_live.py. An Attach and a Carry have calls in them that are authenticated each: test_chat_attach.py
# and tests/unit/test_rpc_carry.c; what is tried here over HTTP is carried.
ATTACH, CARRY = "/stoa.edge.v1.EdgeService/Attach", "/stoa.edge.v1.CallService/Carry"
STREAMS = {
    "/stoa.chat.v1.LiveService/Connect": ACCOUNTS,
    "/stoa.chat.v1.LiveService/Subscribe": ACCOUNTS,
    ATTACH: ANYBODY,
    CARRY: ANYBODY,
}
METHODS = {path: method for path, method in SERVED.items() if path not in STREAMS}


def surfaces(method):
    """Over gRPC, and over HTTP by each of its routes."""
    return ["gRPC"] + [f"{route.verb} {route.template}" for route in method.routes]


CASES = [(path, surface) for path, method in METHODS.items() if path in RULES for surface in range(len(surfaces(method)))]
NAMES = [f"{path.rpartition('.')[2]} {surfaces(METHODS[path])[surface]}" for path, surface in CASES]
REFUSED = {"expired": "TOKEN_EXPIRED", "revoked": "TOKEN_REVOKED", "nobody": "TOKEN_MISSING"}


def test_each_method_has_a_rule(suite):
    """And what the services serve is what the contract says."""
    assert METHODS.keys() == RULES.keys()
    for process in ("auth", "posts", "chat"):
        own = {path.split("/")[1] for path, method in SERVED.items() if method.service == process}
        edge = {CARRY.split("/")[1]} | ({ATTACH.split("/")[1]} if process == "chat" else set())
        assert served(suite, process) == own | edge


def served(suite, process):
    """The services of a process's own that reflection lists."""
    method = CONTRACT.method("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo")
    stream = suite.grpc(process).stream_stream(method.path, method.request.SerializeToString, method.response.FromString)
    (listed,) = stream(iter([method.request(list_services="")]), timeout=30)
    return {each.name for each in listed.list_services_response.service if each.name.startswith("stoa.")}


@pytest.mark.parametrize("path", (*RULES, *STREAMS))
def test_contract_says_the_same(path):
    """The option in the contract, which the services and the documentation go by."""
    package, service, name = re.fullmatch(r"/(.*)\.(\w+)/(\w+)", path).groups()
    described = CONTRACT.pool.FindServiceByName(f"{package}.{service}").methods_by_name[name]
    options = CONTRACT.message("google.protobuf.MethodOptions").FromString(described.GetOptions().SerializeToString())
    rules = options.Extensions[CONTRACT.pool.FindExtensionByName("stoa.api.v1.method")]
    kind = CONTRACT.pool.FindEnumTypeByName("stoa.api.v1.Auth")
    assert kind.values_by_number[rules.auth].name == AUTH_OPTION[STREAMS.get(path) or RULES[path].may]


@dataclasses.dataclass
class Answer:
    code: str  # of gRPC; over HTTP of the status, as far as it tells
    text: str  # all that came back
    reason: str
    value: object  # of a success: the message as JSON


def ask(world, method, surface, request, token):
    """Calls by gRPC (surface 0) or by one of the routes."""
    if surface == 0:
        code, answer = world.grpc(method.service, method.path.rpartition("/")[2], request, token)
        if code == "OK":
            return Answer(code, json.dumps(answer), "", answer)
        return Answer(code, repr(answer), answer.reason, None)
    verb, path, body = http_request(method, request, surface - 1)
    http = world.http(verb, path, body, token)
    code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}.get(http.status, http.status)
    reason = http.json["type"].rpartition(":")[2] if http.status >= 400 else ""
    return Answer("OK" if http.status == method.http_status else code, http.text + str(http.headers), reason, http.json)


def expected(rule, caller):
    """(code, reason) of the answer; no reason where it does not matter."""
    if rule.may == ANYBODY or caller == "owner" or (caller == "nobody" and rule.may == READERS):
        return "OK", ""
    if caller == "other":
        return ("OK", "") if rule.may != OWNER else (rule.to_others, "")
    return "UNAUTHENTICATED", REFUSED[caller]


@pytest.mark.parametrize("caller", ["nobody", "other", "owner", "expired", "revoked"])
@pytest.mark.parametrize("path, surface", CASES, ids=NAMES)
def test_who_may(world, database, path, surface, caller):
    rule, method = RULES[path], METHODS[path]
    token = {"nobody": None, "other": world.other["token"], "owner": world.owner["token"],
             "expired": world.expired, "revoked": world.revoked}[caller]
    # Whoever is not the owner must leave alone what is the owner's; the owner what is the other's.
    victim, self = (world.other, world.owner) if caller == "owner" else (world.owner, world.other)
    request = rule.request(world, caller)
    private = database.private(victim["id"])
    # Not what both have (an address), nor what an answer has from the request.
    for value in [*database.private(self["id"]), *(value for value in private if value in json.dumps(request))]:
        private.pop(value, None)
    assert rule.credentials or victim["email"] in private and len(private) > 6
    before, theirs = database.all(), database.of(victim["id"], rule.takes_along)
    code, reason = expected(rule, caller)
    with world.spending(rule) if code == "OK" else contextlib.nullcontext():
        answer = ask(world, method, surface, request, token)
        assert answer.code == code and reason in ("", answer.reason), answer
        if code != "OK" or reads_only(path):
            assert database.all() == before, "nothing has changed"
        if not rule.credentials:
            assert database.of(victim["id"], rule.takes_along) == theirs, f"{victim['username']}'s has not changed"
            assert not {where for value, where in private.items() if value in answer.text}, answer.text


def reads_only(path):
    package, service, name = re.fullmatch(r"/(.*)\.(\w+)/(\w+)", path).groups()
    described = CONTRACT.pool.FindServiceByName(f"{package}.{service}").methods_by_name[name]
    return described.GetOptions().idempotency_level == 1  # NO_SIDE_EFFECTS


def test_what_is_private_would_be_found(world, database):
    """The search that the matrix relies on: the owner's own answers have what others' must not have."""
    private = database.private(world.owner["id"])
    found = set()
    for service, method, request in (("auth", "GetCurrentUser", {}), ("auth", "ListSessions", {}),
                                     ("chat", "ListMessages", {"room": world.room["id"]})):
        text = json.dumps(world.call(service, method, request, world.owner["token"]))
        found |= {where for value, where in private.items() if value in text}
    assert found == {"auth.users.email", "auth.sessions.id", "auth.sessions.address",
                     "auth.sessions.user_agent", "chat.messages.client_id"}
    for column in ("auth.users.password_hash", "auth.sessions.refresh_hash", "posts.idempotency_keys.key"):
        assert column in private.values()


# ---- what only the services write ----

MARK, NUMBER = "forged-value", 424242424


def parts(message):
    """A message's descriptor and those of the messages in it, by their JSON path."""
    found, waiting = {}, [("", message)]
    while waiting:
        path, each = waiting.pop()
        found[path] = each
        for field in each.fields:
            if field.message_type and not field.message_type.full_name.startswith("google.") and field.label != field.LABEL_REPEATED:
                waiting.append((f"{path}.{field.json_name}" if path else field.json_name, field.message_type))
    return found


def forgeries(world, database):
    """JSON name: a value, of all that a caller might try to set: the fields of every answer, and all columns."""
    values = {}
    for method in METHODS.values():
        for message in parts(method.response.DESCRIPTOR).values():
            for field in message.fields:
                values[field.json_name] = forged(field.type)
    for columns in database.tables.values():
        for column, kind in columns.items():
            values.setdefault(camel(column), NUMBER if kind in ("bigint", "integer", "smallint") else MARK)
            values.setdefault(column, values[camel(column)])
    for name in ("id", "authorId", "author_id", "userId", "user_id", "accountId", "account_id", "createdBy", "created_by"):
        values[name] = world.owner["id"]  # would be worse than a number that is nobody's
    return values


def forged(kind):
    field = json_format.descriptor.FieldDescriptor
    if kind == field.TYPE_MESSAGE:
        return {"username": MARK, "seconds": NUMBER}
    return MARK if kind in (field.TYPE_STRING, field.TYPE_BYTES) else True if kind == field.TYPE_BOOL else NUMBER


def add_forgeries(request, message, values):
    """The request with every forged member that its message does not have, at each level."""
    known = {name for field in message.fields for name in (field.name, field.json_name)}
    made = {name: value for name, value in values.items() if name not in known}
    for field in message.fields:
        if field.json_name in request:
            value = request[field.json_name]
            made[field.json_name] = add_forgeries(value, field.message_type, values) if isinstance(value, dict) else value
    return made


WRITES = [path for path in RULES if path in METHODS and not reads_only(path)]


@pytest.mark.parametrize("path", WRITES)
def test_only_what_a_request_has_is_written(world, database, path):
    """JSON members and query parameters that are no fields of the request, but of answers or of tables."""
    rule, method = RULES[path], METHODS[path]
    values = forgeries(world, database)
    for surface in range(1, len(surfaces(method))):
        with world.spending(rule):
            request = rule.request(world, "other")
            theirs, caller = database.of(world.owner["id"], rule.takes_along), world.owner if rule.may == OWNER else world.other
            verb, url, body = http_request(method, request, surface - 1)
            known = {name for field in method.request.DESCRIPTOR.fields for name in (field.name, field.json_name)}
            query = "&".join(f"{name}={value}" for name, value in values.items() if isinstance(value, (str, int)) and name not in known)
            forged_body = add_forgeries(body, method.request.DESCRIPTOR, values) if body is not None else None
            answer = world.http(verb, f"{url}{'&' if '?' in url else '?'}{query}", forged_body, caller["token"])
            assert answer.status == method.http_status, answer.text
            for mark in (MARK, str(NUMBER)):
                assert mark not in answer.text and database.contains(mark) == []
            if rule.may != OWNER and not rule.credentials:
                assert database.of(world.owner["id"], rule.takes_along) == theirs


@pytest.mark.parametrize("path", WRITES)
def test_unknown_fields_are_not_written(world, database, path):
    """The same over gRPC: fields of the answer's messages that the request's do not have, under their numbers."""
    rule, method = RULES[path], METHODS[path]
    request = json_format.ParseDict(rule.request(world, "other"), method.request(), descriptor_pool=CONTRACT.pool)
    answers = parts(method.response.DESCRIPTOR)
    for name, message in parts(method.request.DESCRIPTOR).items():
        target = request
        for part in filter(None, name.split(".")):
            target = getattr(target, next(f.name for f in target.DESCRIPTOR.fields if f.json_name == part))
        for other in answers.values():
            extra = CONTRACT.message(other.full_name)()
            for field in other.fields:
                if field.number not in message.fields_by_number and field.type == field.TYPE_STRING:
                    setattr_or_add(extra, field)
            target.MergeFromString(extra.SerializeToString())
    caller = world.owner if rule.may == OWNER else world.other
    with world.spending(rule):
        code, answer = world.grpc(method.service, path.rpartition("/")[2], request, caller["token"])
        assert code == "OK", answer
        assert MARK not in json.dumps(answer) and database.contains(MARK) == []


def setattr_or_add(message, field):
    if field.label == field.LABEL_REPEATED:
        getattr(message, field.name).append(MARK)
    else:
        setattr(message, field.name, MARK)


MASKED = [path for path, method in METHODS.items() if path in RULES and "update_mask" in method.request.DESCRIPTOR.fields_by_name]
FORBIDDEN_PATHS = ["slug", "author", "author_id", "id", "favorites_count", "created_at", "updated_at", "token", "password_hash",
                   "email_key", "article.title", "user.email", ""]


@pytest.mark.parametrize("mask", FORBIDDEN_PATHS)
@pytest.mark.parametrize("path", MASKED)
def test_a_mask_names_only_what_may_change(world, database, path, mask):
    method = METHODS[path]
    request = RULES[path].request(world, "owner")
    message = json_format.ParseDict(request, method.request(), descriptor_pool=CONTRACT.pool)
    message.update_mask.paths.append(mask)
    before = database.all()
    code, problem = world.grpc(method.service, path.rpartition("/")[2], message, world.owner["token"])
    assert code == "INVALID_ARGUMENT" and problem.fields, problem
    verb, url, body = http_request(method, {**copy.deepcopy(request), "updateMask": mask or ","})
    assert world.http(verb, url, body, world.owner["token"]).status in (400, 422)
    assert database.all() == before
