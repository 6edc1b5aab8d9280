#!/usr/bin/python3
"""An upgrade and the way back, with the version before itself: its suite, its build, under load, with tables of some size. The
migrations of this version run beside it; it is rolled to itself, as when an instance of it starts late; then it is rolled to this version, back, and to this
version again, each with the deploy/suite that one would have checked out. Fails on any failed request or handshake, when a
WebSocket has missed or seen twice anything, and when a write that was acknowledged is not there exactly once.

usage: tests/live/upgrade.py TREE        (make upgrade-test builds both; TREE: the version before, built)
Settings: UPGRADE_RATE (100), UPGRADE_SOCKETS (50), UPGRADE_INSTANCES (2; of each service), UPGRADE_ARTICLES (20000) and
UPGRADE_MESSAGES (100000; there before), UPGRADE_SEED (1)."""
import asyncio
import contextlib
import os
import pathlib
import random
import subprocess
import sys
import time

import psycopg2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract"))

from load import ACCOUNTS, World  # noqa: E402
from roll import SETTINGS, print_findings, roll, under_load  # noqa: E402
from stoa_suite_fixture import REPOSITORY, SERVICES, Suite, output_folder  # noqa: E402

SERVED_S = 10  # in each state, under load


class WholeWorld(World):
    """Nearly all that the services do: a migration may break any statement."""

    READS = (
        *World.READS,
        ("posts ListFeed", "GET", "/api/articles/feed"),
        ("posts ListArticles by author", "GET", "/api/articles?author={user}"),
        ("posts ListArticles by tag", "GET", "/api/articles?tag=upgrade"),
        ("posts ListArticles favourites", "GET", "/api/articles?favorited={user}"),
        ("posts ListArticles search", "GET", "/api/articles?q=article"),
        ("posts ListTags", "GET", "/api/tags"),
        ("posts GetProfile", "GET", "/api/profiles/{user}"),
        ("posts FollowProfile", "POST", "/api/profiles/{other}/follow"),
        ("posts UnfollowProfile", "DELETE", "/api/profiles/{other}/follow"),
        ("posts ListRevisions", "GET", "{article}/revisions"),
        ("posts ListDrafts", "GET", "/api/drafts"),
        ("chat ListRooms", "GET", "/api/chat/rooms"),
        ("chat ListMembers", "GET", "{room}/members"),
        ("chat JoinRoom", "POST", "{room}/join"),
        ("chat OpenDirectRoom", "PUT", "/api/chat/direct/{other}"),
        ("chat SearchMessages", "GET", "/api/chat/search?query=morning"),
        ("chat ListEvents", "GET", "{room}/log"),
        ("chat RemoveReaction", "DELETE", "{room}/messages/{seq}/reactions/:-1:"),
    )

    def reads(self, account):
        user, rng = self.users[account], random.Random(account)
        article = f"/api/articles/{self.slugs[account]}"
        names = {"user": user, "other": self.users[(account + 1) % ACCOUNTS], "article": article,
                 "room": f"/api/chat/rooms/{self.room}", "seq": self.seq}
        return [(rpc, method, path.format(**names), None) for rpc, method, path in self.READS] + [
            ("auth UpdateCurrentUser", "PUT", "/api/user", {"user": {"bio": f"bio {rng.random()}", "image": None}}),
            ("posts UpdateArticle", "PUT", article, {"article": {"body": f"text {rng.random()}", "tagList": ["upgrade", user]}}),
            ("posts CreateDraft", "POST", "/api/drafts", {"draft": {"title": "A draft"}}),
            ("chat MarkRead", "PUT", f"/api/chat/rooms/{self.room}/read", {"seq": self.seq}),
            # Few: each takes as much of the processor as fifty others.
            *([("auth Login", "POST", "/api/users/login", {"user": {"email": f"{user}@example.com", "password": self.PASSWORD}})]
              if account == 0 else []),
        ]


def fill(suite, tree, articles, messages):
    """What is quick on empty tables may take its time, and hold up others, where there is something in them."""
    if articles:
        settings = {"SEED_ARTICLES": str(articles)}
        done = subprocess.run([tree / "bench/seed"], env={**suite.environment(), **settings}, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"bench/seed: {done.stdout}{done.stderr}")
    with contextlib.closing(psycopg2.connect(**suite.database())) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO chat.rooms (name, description, last_seq) VALUES ('full', '', %s) RETURNING id", (messages,))
        cursor.execute("INSERT INTO chat.messages (room_id, seq, text, created_at)"
                       " SELECT %s, n, 'word' || n %% 1000 || ' and some more of it', now() FROM generate_series(1, %s) n",
                       (cursor.fetchone()[0], messages))


class Upgrade:
    """The steps, on a suite that the version before has started."""

    def __init__(self, suite, before):
        self._suite, self._before = suite, before
        self.done = []

    def run(self):
        for step in (self._migrate, self._roll_before, self._roll_after, self._roll_before, self._roll_after):
            begun = time.monotonic()
            what = step()
            self.done.append(what)
            print(f"{what}: {time.monotonic() - begun:.1f} s", flush=True)
            time.sleep(SERVED_S)

    def _migrate(self):
        for service in SERVICES:
            environment = {
                "PATH": os.environ["PATH"],
                "STOA_DATABASE": f"host={self._suite.run_dir}/sock dbname=stoa user=stoa_{service}",
                "STOA_DATABASE_PASSWORD_FILE": str(self._suite.run_dir / f"secrets/{service}"),
                # What a service has to have, and a migration makes no use of.
                **dict.fromkeys(("STOA_LISTEN", "STOA_AUTH_KEY", "STOA_REDIS"), "unix:none"),
            }
            done = subprocess.run([output_folder() / f"bin/{service}", "migrate"], env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{service} migrate: {done.stdout}{done.stderr}")
        return "this version's migrations, beside the version before"

    def _roll_before(self):
        self._use(self._before)
        roll(self._suite)
        return "the version before starts anew" if len(self.done) == 1 else "back to the version before"

    def _roll_after(self):
        self._use(REPOSITORY)
        roll(self._suite)
        return "to this version"

    def _use(self, tree):
        self._suite.use(tree, build_of(tree))


def build_of(tree):
    return output_folder() if tree == REPOSITORY else tree / "build/release"


def main():
    before = pathlib.Path(sys.argv[1]).resolve()
    rate, sockets = float(os.environ.get("UPGRADE_RATE", "100")), int(os.environ.get("UPGRADE_SOCKETS", "50"))
    instances, seed = int(os.environ.get("UPGRADE_INSTANCES", "2")), int(os.environ.get("UPGRADE_SEED", "1"))
    articles, messages = int(os.environ.get("UPGRADE_ARTICLES", "20000")), int(os.environ.get("UPGRADE_MESSAGES", "100000"))
    print(f"{instances} of each service; {rate:.0f} requests a second, {sockets} WebSockets, seed {seed}; "
          f"{articles} articles and {messages} messages there before", flush=True)
    settings = {**SETTINGS, **{f"STOA_{name.upper()}_INSTANCES": instances for name in SERVICES}}
    with Suite(tree=before, STOA_OUT=build_of(before), **settings) as suite:
        fill(suite, before, articles, messages)
        upgrade = Upgrade(suite, before)
        found = asyncio.run(under_load(suite, upgrade.run, rate, sockets, seed, asked=WholeWorld))
    print_findings(found)
    bad = len(found.failures) + len(found.wrong)
    print("\nNobody noticed." if not bad else f"\n{bad} failures and findings.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
