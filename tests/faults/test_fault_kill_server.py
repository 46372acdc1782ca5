"""The server is killed at any moment of any work: row 44. The next one starts at once and all is whole.

Eight rounds; ``INHOUSE_TEST_KILLS=100`` for as many as the row asks. The store alone is killed a hundred
times in ``tests/store/test_store_killed.py``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inhouse.store import Store
from support import tiny_gguf
from support.fileserver import Fault, FileServer
from support.lifecycle import sha256
from support.pulls import MODEL, put
from support.running import Server, fake, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

KILLS = int(os.environ.get("INHOUSE_TEST_KILLS", "8"))
LARGE = tiny_gguf.llama(tensors=(*tiny_gguf.TENSORS, tiny_gguf.Tensor("big", (1024, 256)))).build()
GONE = (OSError, http.client.HTTPException, ValueError)


def busy_with(server: Server, url: str, pick: random.Random) -> Callable[[], None]:
    """One piece of work of a kind chosen by chance."""
    number = pick.randrange(4)
    data = tiny_gguf.model(number + 2)

    def create() -> None:
        server.ask("POST", f"/api/blobs/{sha256(data)}", data, {"content-type": "application/octet-stream"})
        order = {"model": f"made-{number}", "files": {"a.gguf": sha256(data)}, "stream": False}
        server.ask("POST", "/api/create", order)

    def ask() -> None:
        server.chat(fake(tokens=5, rate=200), pick.choice(["fake", "fake-b"]), stream=bool(number % 2))

    def respond() -> None:
        server.ask("POST", "/v1/responses", {"model": "fake", "input": fake(tokens=2), "store": True})

    acts = [
        lambda: server.ask("POST", "/api/pull", {"model": url, "stream": False}),
        lambda: server.ask("POST", "/api/copy", {"source": "tiny", "destination": f"copy-{number}"}),
        lambda: server.ask(
            "DELETE", "/api/delete", {"model": pick.choice([f"copy-{number}", f"made-{number}", url])}
        ),
        lambda: server.ask("POST", "/api/prune", {"all": True}),
        create,
        ask,
        respond,
    ]
    act = pick.choice(acts)
    return lambda: act() and None


def workers_of(server: Server) -> list[psutil.Process]:
    assert server.process is not None
    return psutil.Process(server.process.pid).children(recursive=True)


def test_a_server_killed_at_any_moment_starts_again_and_all_is_whole(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    put(tmp_path, "tiny", MODEL)
    starts: list[float] = []
    with FileServer({"/big.gguf": LARGE}) as files:
        files.faults.append(Fault(pace=0.05))
        url = files.url("/big.gguf")
        server = Server(tmp_path, {"INHOUSE_ENGINE": "fake", "INHOUSE_PULL_HOSTS": "127.0.0.1"})
        for round_ in range(KILLS):
            pick = random.Random(seed + round_)
            began = time.monotonic()
            server.start()
            starts.append(time.monotonic() - began)
            dead = threading.Event()
            done = [0] * 4

            def traffic(at: int, pick: random.Random, dead: threading.Event, done: list[int]) -> None:
                with contextlib.suppress(*GONE):
                    while not dead.is_set():
                        busy_with(server, url, pick)()
                        done[at] += 1

            threads = [
                threading.Thread(target=traffic, args=(n, random.Random(seed + round_ * 10 + n), dead, done))
                for n in range(4)
            ]
            for thread in threads:
                thread.start()
            until(lambda done=done: sum(done) >= 4, 20, "the first work done")
            dead.wait(pick.random())
            children = workers_of(server)
            assert server.process is not None
            server.process.kill()
            server.process.wait()
            dead.set()
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive()
            _, left = psutil.wait_procs(children, timeout=5)
            assert not left, "workers end with their server"
            assert Store(tmp_path).problems() == []
        began = time.monotonic()
        server.start()
        starts.append(time.monotonic() - began)
        try:
            assert min(starts) < 2, starts
            assert sorted(starts)[len(starts) // 2] < 5, "whatever else this machine does"
            names = {one["name"] for one in server.ask("GET", "/api/tags").json["models"]}
            assert "tiny:latest" in names
            for name in names:
                assert server.ask("POST", "/api/show", {"model": name}).status == 200
            local = {"x-inhouse-local": json.loads((tmp_path / "server.json").read_text())["token"]}
            events = server.ask("GET", "/api/events?kind=server&limit=1000", headers=local).json["events"]
            assert [one["facts"]["after"] for one in events] == ["clean"] + ["broken"] * KILLS
            assert server.chat(fake(text="back")).json["choices"][0]["message"]["content"] == "back"
            files.faults.clear()
            pulled = server.ask("POST", "/api/pull", {"model": url, "stream": False})
            assert pulled.status == 200, pulled.body
        finally:
            assert server.stop() == 0
