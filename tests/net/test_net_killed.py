"""kill -9 in the middle of a download, again and again, and the next call goes on."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time

import pytest

from inhouse.net import journal
from support.fileserver import Fault, FileServer

MB = 2**20
DATA = random.Random(4).randbytes(48 * MB)
PULL = """
import sys
from pathlib import Path
from inhouse.net import Client
from inhouse.store.sources.base import Asset, Watch
url, sha256, folder = sys.argv[1:]
watch = Watch(lambda event: None, trusted=True)
print(Client(watch, pause=0.01).download(url, Asset("model", "m.gguf", sha256=sha256), Path(folder)).sha256)
"""


def start(server, sha256, folder):
    command = [sys.executable, "-c", PULL, server.url("/m"), sha256, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("pinned", [True, False])
def test_killed_at_random_moments_it_resumes_with_less_than_a_tenth_fetched_again(tmp_path, pinned):
    """Faults, row 60."""
    whole = hashlib.sha256(DATA).hexdigest()
    chance = random.Random()
    with FileServer({"/m": DATA}) as server:
        server.faults.append(Fault(pace=0.02))
        before = 0
        for kill in range(4):
            process = start(server, whole if pinned else "", tmp_path)
            server.hits = []
            moment = chance.randrange(MB, (len(DATA) - before) // (5 - kill) + 2 * MB)
            deadline = time.monotonic() + 30
            while server.sent() < moment and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            process.kill()
            process.communicate()
            past = journal.read(tmp_path)
            here = past.here if past else 0
            lost = server.sent() - (here - before)
            assert lost < len(DATA) / 10, f"{lost} bytes at kill {kill}"
            before = here
        server.faults.clear()
        server.hits = []  # what the killed one's connections still swallow goes to the old list
        out, error = start(server, whole if pinned else "", tmp_path).communicate(timeout=60)
        assert out.strip() == whole, error
        assert server.sent() <= len(DATA) - before + 1
    assert (tmp_path / "data").read_bytes() == DATA
