"""Fixtures of the command line's tests."""
import pathlib
import shutil
import tempfile

import pytest


@pytest.fixture
def tmp_path():
    """A folder in memory, where there is one: thousands of flushed writes on a disk take a minute, and the
    system calls are the same."""
    memory = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
    path = pathlib.Path(tempfile.mkdtemp(prefix="stoa-cli-", dir=memory))
    yield path
    shutil.rmtree(path)
