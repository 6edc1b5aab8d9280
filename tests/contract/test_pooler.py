"""PgBouncer between a service and Postgres, in session mode, as docs/scaling.md says that it works."""
import contextlib
import os
import subprocess
import tempfile

import grpc
import pytest
from stoa_contract import GrpcClient
from stoa_suite_fixture import clean_environment, free_ports, output_folder, wait_until
from test_instances import instance

CONFIGURATION = """
[databases]
stoa = host={sockets} port=5432 dbname=stoa
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = session
default_pool_size = 60
"""


@contextlib.contextmanager
def pooler(suite, services):
    """As the account that Postgres runs as, since nobody else reaches its socket. Yields the port."""
    (port,) = free_ports(1)
    owner = (suite.run_dir / "sock").stat()
    with tempfile.TemporaryDirectory(prefix="stoa-test-") as folder:
        users = [f'"stoa_{name}" "{(suite.run_dir / "secrets" / name).read_text().strip()}"\n' for name in services]
        for name, text in (("users", "".join(users)), ("ini", CONFIGURATION.format(sockets=f"{suite.run_dir}/sock", port=port, folder=folder))):
            with open(f"{folder}/{name}", "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(text)
            os.chown(file.name, owner.st_uid, owner.st_gid)
        os.chown(folder, owner.st_uid, owner.st_gid)
        with open(f"{folder}/log", "wb") as log:
            process = subprocess.Popen(["pgbouncer", f"{folder}/ini"], stdout=log, stderr=log, user=owner.st_uid, group=owner.st_gid)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def behind(suite, tmp_path_factory):
    """Instances of posts and chat behind a pooler: {name: (port, Process)}"""
    names, folder = ("posts", "chat"), tmp_path_factory.mktemp("pooler")
    with contextlib.ExitStack() as stack:
        pooled = stack.enter_context(pooler(suite, names))
        found = {}
        for name, port in zip(names, free_ports(len(names))):
            found[name] = port, stack.enter_context(instance(suite, name, port, folder, **database(pooled, name)))
        yield pooled, found


def database(port, name):
    return {"STOA_DATABASE": f"host=127.0.0.1 port={port} dbname=stoa user=stoa_{name} sslmode=disable", "STOA_DATABASE_CONNECTIONS": "8"}


def test_services_behind_a_pooler(behind, contract, new_account, unique):
    """Statements, groups of writes and transactions, more of them than there are connections."""
    _, instances = behind
    channels = {name: grpc.insecure_channel(f"127.0.0.1:{port}") for name, (port, _) in instances.items()}
    call = GrpcClient(contract, channels.get)
    token = new_account()["token"]
    for service, method in (("posts", "ListTags"), ("chat", "ListMyRooms")):
        wait_until(lambda service=service, method=method: call(service, method, {}, token)[0] == "OK", f"{service} serves", 60)

    def must(service, method, request):
        code, answer = call(service, method, request, token)
        assert code == "OK", (method, answer)
        return answer

    room = must("chat", "CreateRoom", {"room": {"name": unique("Room "), "kind": "ROOM_KIND_PUBLIC"}})["room"]["id"]
    for number in range(30):
        fields = {"title": unique("Title "), "description": "About it", "body": "The text.", "tagList": ["pooled"]}
        slug = must("posts", "CreateArticle", {"article": fields})["article"]["slug"]
        must("posts", "FavoriteArticle", {"slug": slug})
        assert must("posts", "GetArticle", {"slug": slug})["article"]["title"] == fields["title"]
        must("chat", "SendMessage", {"room": room, "message": {"text": f"message {number}"}})
    assert len(must("chat", "ListMessages", {"room": room})["messages"]) == 30
    for _, process in instances.values():
        assert '"level":"error"' not in process.log() and "prepared statement" not in process.log(), process.log()


@pytest.mark.parametrize("name", ("posts", "chat"))
def test_migrations_through_a_pooler(suite, behind, name):
    pooled, _ = behind
    settings = {"STOA_LISTEN": "unix:/nowhere/none.sock", "STOA_DATABASE_PASSWORD_FILE": str(suite.run_dir / "secrets" / name)}
    environment = {**clean_environment(), **settings, **database(pooled, name)}
    done = subprocess.run([output_folder() / "bin" / name, "migrate"], env=environment, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
