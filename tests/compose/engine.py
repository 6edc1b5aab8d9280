"""A container engine for the tests: the one that docker reaches, or a private one that ends with them.

The private one keeps everything below one folder and a socket of its own, so that nothing of it meets another
engine; it has no default network, and builds use the machine's own.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "build/compose"
START_SECONDS = 60
# Control group of its containers, and as how many processes beside it they count.
GROUPS = pathlib.Path("/sys/fs/cgroup")
GROUP = "stoa-compose"
PROCESSES = 16


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


def reachable(environment):
    return subprocess.run(["docker", "info"], env=environment, capture_output=True).returncode == 0


def weigh_group():
    """By default all containers together get of the processor what one process beside them gets: beside the tests, or anybody
    else's work, a suite of seven would starve."""
    first = (GROUPS / "cpu").is_dir()  # version 1 of control groups
    folder = GROUPS / "cpu" / GROUP if first else GROUPS / GROUP
    folder.mkdir(exist_ok=True)
    file, each = ("cpu.shares", 1024) if first else ("cpu.weight", 100)
    (folder / file).write_text(str(PROCESSES * each))


class PrivateEngine:
    def __init__(self):
        self._data = FOLDER / "engine"
        self._process = None
        self.environment = {
            **os.environ, "DOCKER_HOST": f"unix://{FOLDER}/docker.sock", "STOA_BUILD_NETWORK": "host",
            # Its builder is the engine's own: there is no buildx beside Debian's.
            "DOCKER_BUILDKIT": "0",
        }

    def start(self):
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [
            "/usr/sbin/dockerd", "--data-root", self._data, "--exec-root", FOLDER / "exec",
            "--pidfile", FOLDER / "dockerd.pid", "--host", self.environment["DOCKER_HOST"], "--bridge", "none",
            "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{GROUP}",
        ]
        weigh_group()
        with open(FOLDER / "dockerd.log", "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not reachable(self.environment):
            assert self._process.poll() is None and time.monotonic() < end, (FOLDER / "dockerd.log").read_text()
            time.sleep(0.2)

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(120)
        # The engine leaves its own name space of networks mounted.
        for left in sorted((FOLDER / "exec/netns").glob("*")):
            subprocess.run(["umount", left], check=True)
        for left in (*GROUPS.glob(f"*/{GROUP}"), *GROUPS.glob(GROUP)):
            left.rmdir()
        if not os.environ.get("STOA_TEST_KEEP"):
            shutil.rmtree(self._data)
        shutil.rmtree(FOLDER / "exec")


@contextlib.contextmanager
def engine():
    """Yields the environment for docker, and whether the engine is a private one."""
    if reachable(dict(os.environ)):
        yield {**os.environ}, False
        return
    assert os.geteuid() == 0, "no container engine answers, and only root can start one: start it, or run this as root"
    private = PrivateEngine()
    try:
        private.start()
        stand_ins = REPOSITORY / "tests/compose/stand-ins/make"
        subprocess.run([stand_ins, FOLDER], env=private.environment, check=True)
        yield private.environment, True
    finally:
        private.stop()
