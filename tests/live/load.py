"""HTTP requests at the gateway at a steady rate, reads and writes of auth, posts and chat, and what came of each.

A write has an Idempotency-Key, or a client_id in chat, and is unlike any other, so that it can be looked for when all is
over. Clients are threads; a request that is late because others wait is sent late, and none is left out."""
import collections
import dataclasses
import http.client
import itertools
import json
import random
import threading
import time
import uuid

ACCOUNTS = 8
TIMEOUT_S = 30  # longer than the gateway lets anybody wait
# A connection that nobody used for this long is not used again: a worker of the gateway that leaves keeps one for a second.
IDLE_S = 0.3
RETRY_S = 0.2  # between attempts of a write
GIVE_UP_S = 60  # of a write's attempts, together


@dataclasses.dataclass
class Request:
    rpc: str  # "posts GetArticle"
    line: tuple  # method, path
    body: dict = None
    account: int = None  # whose token; None: nobody's
    key: str = None  # of a write: what it is found by; also its Idempotency-Key


@dataclasses.dataclass
class Outcome:
    """Of one attempt."""

    rpc: str
    idempotent: bool  # safe to repeat without a key, so the gateway's to try elsewhere
    begun: float
    seconds: float
    failure: str = None  # how it failed


class World:
    """What there is to ask for. The calls are the gateway's own, before anything breaks."""

    def __init__(self, address):
        self.address = address.removeprefix("http://")
        self.tag = uuid.uuid4().hex[:8]
        self.users = [f"{self.tag}-{i}" for i in range(ACCOUNTS)]
        self.tokens = [self.must("POST", "/api/users", {"user": {
            "username": name, "email": f"{name}@example.com", "password": self.PASSWORD}})["user"]["token"] for name in self.users]
        article = {"article": {"title": f"An article {self.tag}", "description": "About it", "body": "The text."}}
        # Each account's own: many that mark one article at once wait for one another.
        self.slugs = [self.must("POST", "/api/articles", article, token)["article"]["slug"] for token in self.tokens]
        self.room = self.must("POST", "/api/chat/rooms", {"room": {"name": self.tag}}, self.tokens[0])["room"]["id"]
        message = {"message": {"text": "Good morning!", "clientId": "first"}}
        self.seq = self.must("POST", f"/api/chat/rooms/{self.room}/messages", message, self.tokens[0])["message"]["seq"]
        self.join(self.room)

    def join(self, room):
        for token in self.tokens[1:]:
            self.must("POST", f"/api/chat/rooms/{room}/join", {}, token)

    def must(self, method, path, body, token=None):
        client = Client(self, keeps=False)
        status, answer = client.ask(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
        if status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return json.loads(answer)

    PASSWORD = "correct horse battery"

    # Of an account, and of its own article, or of the room.
    READS = (
        ("auth GetCurrentUser", "GET", "/api/user"),
        ("auth ListSessions", "GET", "/api/sessions"),
        ("auth GetJsonWebKeySet", "GET", "/.well-known/jwks.json"),
        ("posts GetArticle", "GET", "{article}"),
        ("posts ListArticles", "GET", "/api/articles"),
        ("posts ListComments", "GET", "{article}/comments"),
        ("posts FavoriteArticle", "POST", "{article}/favorite"),
        ("posts UnfavoriteArticle", "DELETE", "{article}/favorite"),
        ("chat GetRoom", "GET", "{room}"),
        ("chat ListMyRooms", "GET", "/api/chat/rooms/mine"),
        ("chat ListMessages", "GET", "{room}/messages"),
        ("chat AddReaction", "PUT", "{room}/messages/{seq}/reactions/:+1:"),
    )

    def reads(self, account):
        """(rpc, method, path, body): what may be asked any number of times."""
        names = {"article": f"/api/articles/{self.slugs[account]}", "room": f"/api/chat/rooms/{self.room}", "seq": self.seq}
        return [(rpc, method, path.format(**names), None) for rpc, method, path in self.READS]

    def requests(self, rng):
        """Without end: about as many of each service, one of five a write."""
        room = f"/api/chat/rooms/{self.room}"
        reads = [self.reads(account) for account in range(ACCOUNTS)]
        for n in itertools.count(1):
            account = rng.randrange(ACCOUNTS)
            article = f"/api/articles/{self.slugs[account]}"
            if rng.random() < 0.8:
                rpc, method, path, body = rng.choice(reads[account])
                yield Request(rpc, (method, path), body, account)
                continue
            key = f"{self.tag}-{n}"
            yield rng.choice((
                Request("posts CreateArticle", ("POST", "/api/articles"),
                        {"article": {"title": key, "description": "d", "body": "b"}}, account, key),
                Request("posts CreateComment", ("POST", f"{article}/comments"), {"comment": {"body": key}}, account, key),
                Request("chat SendMessage", ("POST", f"{room}/messages"), {"message": {"text": key, "clientId": key}}, account, key),
            ))

    STORED = (
        ("posts CreateArticle", "SELECT title FROM posts.articles WHERE title LIKE %s"),
        ("posts CreateComment", "SELECT body FROM posts.comments WHERE body LIKE %s"),
        ("chat SendMessage", "SELECT text FROM chat.messages WHERE text LIKE %s"),
    )

    def stored(self, cursor):
        """How often each write is in Postgres, by its key."""
        found = collections.Counter()
        for _, statement in self.STORED:
            cursor.execute(statement, (f"{self.tag}-%",))
            found.update(text for text, in cursor)
        return found


class Client:
    """One connection, kept or not."""

    def __init__(self, world, keeps):
        self._address, self._keeps = world.address, keeps
        self._connection, self._used = None, 0.0

    def ask(self, method, path, body, headers):
        """(status, bytes)"""
        if self._connection is None or time.monotonic() - self._used > IDLE_S:
            self.close()
            self._connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        text = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, text, {**kind, **headers})
            answer = self._connection.getresponse()
            read = answer.read()
        except BaseException:
            self.close()
            raise
        self._used = time.monotonic()
        if not self._keeps:
            self.close()
        return answer.status, read

    def close(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def failure_of(status, answer):
    """None, or what kind of failure it is: its status, and the reason that the problem gives."""
    if status < 400:
        return None
    try:
        problem = json.loads(answer)
        return f"{status} {problem.get('reason') or problem.get('detail') or problem.get('title')}"
    except (ValueError, AttributeError):
        return f"{status} {answer[:60]!r}"


class Load:
    """`with Load(world, 200) as load:` requests, `rate` a second, until the block ends. keeps: whether half of the clients
    keep their connections. retries: whether a write that failed is sent again, with the same key, until it is acknowledged."""

    def __init__(self, world, rate, seed=1, clients=16, keeps=True, retries=False):
        self._world, self._rate, self._retries = world, rate, retries
        self._requests = world.requests(random.Random(seed))
        self._lock = threading.Lock()
        self._made = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(Client(world, keeps and i % 2 == 0),)) for i in range(clients)]
        self.outcomes = []
        self.acknowledged, self.given_up = [], []  # keys of writes
        self.late = 0.0  # seconds by which a request was late, at worst
        self.broken = []  # what ended a client that should not have ended

    # ---- clients ----

    def _next(self):
        """A request and when it is due."""
        with self._lock:
            due = self._start + self._made / self._rate
            self._made += 1
            return next(self._requests), due

    def _run(self, client):
        try:
            while True:
                request, due = self._next()
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                self.late = max(self.late, time.monotonic() - due)
                self._serve(client, request)
        except Exception as error:  # kept for who reads the report
            self.broken.append(repr(error))
        finally:
            client.close()

    def _serve(self, client, request):
        end = time.monotonic() + GIVE_UP_S
        while self._attempt(client, request) is not None:
            if not request.key or not self._retries or time.monotonic() > end:
                break
            time.sleep(RETRY_S)
        else:
            if request.key:
                self.acknowledged.append(request.key)
            return
        if request.key:
            self.given_up.append(request.key)

    def _attempt(self, client, request):
        headers = {} if request.account is None else {"Authorization": f"Bearer {self._world.tokens[request.account]}"}
        if request.key:
            headers["Idempotency-Key"] = request.key
        begun = time.monotonic()
        try:
            failure = failure_of(*client.ask(*request.line, request.body, headers))
        except (OSError, http.client.HTTPException) as error:
            failure = type(error).__name__
        self.outcomes.append(Outcome(request.rpc, request.key is None, begun, time.monotonic() - begun, failure))
        return failure

    # ---- use ----

    def __enter__(self):
        self._start = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self):
        return [each for each in self.outcomes if each.failure]

    def check_writes(self, stored):
        """Sentences: what was acknowledged and is not there exactly once, and what is there more than once."""
        wrong = [f"{key} is acknowledged and stored {stored[key]} times" for key in self.acknowledged if stored[key] != 1]
        return wrong + [f"{key} is given up and stored {stored[key]} times" for key in self.given_up if stored[key] > 1]


# ---- the report ----


def quantile(sorted_values, q):
    return sorted_values[min(len(sorted_values) - 1, int(q * len(sorted_values)))] if sorted_values else 0.0


def longest_outage(outcomes):
    """Seconds between two answers that were no failures with nothing but failures between, or to the last failure; 0 without
    failures."""
    longest, last, failed, at = 0.0, None, False, 0.0
    for each in sorted(outcomes, key=lambda each: each.begun + each.seconds):
        at = each.begun + each.seconds
        if each.failure:
            last, failed = last if last is not None else each.begun, True
            continue
        if failed:
            longest = max(longest, at - last)
        last, failed = at, False
    return max(longest, at - last) if failed else longest


def report(outcomes):
    """Lines: by RPC how many, how many failed and how, and how long they took; by service the longest outage."""
    by_rpc = collections.defaultdict(list)
    for each in outcomes:
        by_rpc[each.rpc].append(each)
    lines = [f"{'':26} {'requests':>9} {'failed':>7} {'p50 ms':>8} {'p99 ms':>8} {'p99.9':>8} {'max ms':>8}"]
    for rpc, its in sorted(by_rpc.items()):
        times = sorted(each.seconds * 1e3 for each in its)
        failed = collections.Counter(each.failure for each in its if each.failure)
        figures = " ".join(f"{value:8.1f}" for value in (quantile(times, 0.5), quantile(times, 0.99), quantile(times, 0.999), times[-1]))
        lines.append(f"{rpc:26} {len(its):9} {failed.total():7} {figures}")
        lines += [f"    {count} times {failure}" for failure, count in failed.most_common()]
    for service in sorted({rpc.split()[0] for rpc in by_rpc}):
        its = [each for each in outcomes if each.rpc.split()[0] == service and each.idempotent]
        lines.append(f"longest outage of {service}: {longest_outage(its):.3f} s")
    return lines
