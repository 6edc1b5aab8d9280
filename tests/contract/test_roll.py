"""deploy/suite roll under load: nobody notices; and that is found out by something that does notice."""
import asyncio
import os
import pathlib
import shutil
import sys
import tempfile

import pytest
from stoa_suite_fixture import SERVICES, HttpLoad, Suite, copy_build, output_folder

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "live"))

from roll import SETTINGS, roll, under_load  # noqa: E402

SOCKETS = 100
BROKEN_S = 30  # that it is waited for a build that does not start; and for the one that stands in for it


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return copy_build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def posts():
    """A copy of posts where the suite's account reaches it, as it may not reach the clone."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-") as folder:
        os.chmod(folder, 0o711)
        yield shutil.copy(output_folder() / "bin/posts", folder)


@pytest.fixture(scope="module")
def suite(build):
    with Suite(STOA_OUT=build, STOA_POSTS_INSTANCES=2, **SETTINGS) as started:
        yield started


def running(suite):
    return sorted(line.split()[0] for line in suite.command("status").stdout.splitlines()[:-1])


def test_a_roll_fails_no_request(suite):
    programs = (*SERVICES, "posts-2", "gateway")
    before = {name: suite.pid(name) for name in programs}
    found = asyncio.run(under_load(suite, lambda: roll(suite), sockets=SOCKETS))
    assert not found.failures, found.failures[:10]
    assert not found.wrong, found.wrong[:10]
    assert found.counts.acknowledged and found.load.acknowledged
    # To those that stand in, and by the new nginx back: nobody has to come again more often than that.
    assert SOCKETS <= found.ends.total() <= 2 * SOCKETS, found.ends
    after = {name: suite.pid(name) for name in programs}
    assert all(after[name] not in (0, before[name]) for name in programs)
    # Nobody stands in any more.
    assert running(suite) == sorted((*programs, "postgres", "redis"))
    # What runs is restarted as before, and all of it by a supervisord that begins anew.
    suite.wait_restarted("posts", suite.kill("posts"))
    suite.begin_anew()
    assert running(suite) == sorted((*programs, "postgres", "redis"))


def test_kills_do_fail_requests(suite):
    """What a roll does not do: it would be noticed."""

    def kill():
        for name in ("auth", "gateway"):
            suite.wait_restarted(name, suite.kill(name))

    found = asyncio.run(under_load(suite, kill, sockets=SOCKETS))
    assert any(failure.startswith("auth ") for failure in found.failures)
    assert found.ends
    # Nothing that was acknowledged is lost by that.
    assert not found.wrong, found.wrong[:10]


# In the place of a service: fails where it is to listen on a port and none of its own, so not when it stands in; or always.
SCRIPT = """#!/bin/sh
case "$1 $STOA_LISTEN" in
"serve "{pattern}) echo 'this build is broken'; exit 1 ;;
esac
exec {binary} "$@"
"""


def break_build(build, posts, pattern):
    """posts of the build no longer starts. Returns what mends it."""
    path, good = build / "bin/posts", build / "bin/posts.good"
    path.rename(good)
    path.write_text(SCRIPT.format(pattern=pattern, binary=posts))
    path.chmod(0o755)
    return lambda: good.rename(path)


def test_a_build_that_does_not_start_is_not_taken(suite, build, posts):
    suite.may_end("posts", "posts-2", "posts-next", "posts-next-2")
    before = suite.pid("posts")
    with HttpLoad(suite.http, keeps=False) as load:
        load.more()
        mend = break_build(build, posts, "*")
        done = suite.command("roll", "posts", STOA_START_TIMEOUT_S=BROKEN_S)
        assert done.returncode == 1 and "posts-next is not ready" in done.stderr and "what there was goes on" in done.stderr
        assert suite.pid("posts") == before and "posts-next" not in suite.command("status").stdout
        mend()
        # Those that stand in start, and what they stand in for does not: they go on being called, by a reload as well.
        mend = break_build(build, posts, "*,*")
        done = suite.command("roll", "posts", STOA_START_TIMEOUT_S=BROKEN_S)
        assert done.returncode == 1 and "posts is not ready" in done.stderr and "posts-next goes on" in done.stderr
        assert suite.command("reload").returncode == 0
        load.more()
        mend()
        done = suite.command("roll", "posts", "gateway")
        assert done.returncode == 0, done.stderr
        assert suite.pid("posts") and "posts-next" not in suite.command("status").stdout
        load.more()
    assert not load.failed, load.failed[:5]
    # What is started again is of the build that was taken.
    suite.wait_restarted("posts", suite.kill("posts"))
    assert "reload-" in os.readlink(f"/proc/{suite.pid('posts')}/exe")


def test_names_are_checked(suite):
    for command in (("roll", "redis"), ("reload", "posts")):
        assert suite.command(*command).returncode == 2
