"""deploy/make-secrets: who gets which password, what stays, and what is refused."""
import os
import re
import subprocess

import pytest
from stoa_suite_fixture import REPOSITORY

CONSUMERS = ("postgres", "roles", "redis", "auth", "posts", "chat", "backup")


@pytest.fixture
def make(tmp_path):
    for name in CONSUMERS:
        (tmp_path / name).mkdir()

    def run(**variables):
        return subprocess.run([REPOSITORY / "deploy/make-secrets", tmp_path], env={"PATH": os.environ["PATH"], **variables},
                              capture_output=True, text=True, timeout=60)

    return run


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_everybody_gets_their_own(make, tmp_path):
    done = make()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = contents(tmp_path)
    assert set(made) == {"postgres/password", "roles/roles.sql", "redis/password", "redis/redis.conf", "auth/database",
                         "auth/redis", "posts/database", "chat/database", "chat/redis", "backup/database"}
    # Their folder says who may read them; whatever account that is, it can.
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()} == {0o444}
    passwords = {made[name].strip() for name in made if name not in ("roles/roles.sql", "redis/redis.conf")}
    assert len(passwords) == 6 and all(re.fullmatch(r"[A-Za-z0-9_-]{43}", each) for each in passwords)
    assert made["redis/redis.conf"] == f"requirepass {made['redis/password']}"
    assert made["auth/redis"] == made["chat/redis"] == made["redis/password"]
    roles = made["roles/roles.sql"]
    assert not any(each in roles for each in passwords) and roles.count("SCRAM-SHA-256$") == 4
    assert roles.startswith((REPOSITORY / "deploy/bootstrap.sql").read_text())


def test_what_is_there_stays(make, tmp_path):
    make()
    before = contents(tmp_path)
    (tmp_path / "roles/roles.sql.new").touch(0o444)  # left by one that was cut off
    assert make().returncode == 0
    after = contents(tmp_path)
    # Verifiers have a new salt each time.
    assert {**before, "roles/roles.sql": ""} == {**after, "roles/roles.sql": ""}


def test_given_passwords(make, tmp_path):
    make()
    given = "a-password.of~somebody/s=own"
    assert make(STOA_REDIS_PASSWORD=given, STOA_POSTS_DATABASE_PASSWORD=given).returncode == 0
    made = contents(tmp_path)
    assert made["redis/redis.conf"] == f"requirepass {given}\n" and made["chat/redis"] == f"{given}\n"
    assert made["posts/database"] == f"{given}\n" and given not in made["chat/database"] + made["roles/roles.sql"]


@pytest.mark.parametrize("given", ("short", "with a space and more", "line\nbreak-and-enough-more", "quote'-and-enough-more", "x" * 129))
def test_refused(make, tmp_path, given):
    done = make(STOA_REDIS_PASSWORD=given)
    assert done.returncode == 1 and "STOA_REDIS_PASSWORD" in done.stderr and given not in done.stderr
    assert "redis/password" not in contents(tmp_path)


def test_the_superusers_password_is_made_once(make, tmp_path):
    assert make(STOA_POSTGRES_PASSWORD="the-first-superusers-own").returncode == 0
    done = make(STOA_POSTGRES_PASSWORD="another-superusers-own")
    assert done.returncode == 1 and "was made with another one" in done.stderr and "superusers-own" not in done.stderr
    assert contents(tmp_path)["postgres/password"] == "the-first-superusers-own\n"
