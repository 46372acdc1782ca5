"""What the system refuses: descriptors, processes, temporary folders, memory: rows 40, 41 and 48."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.running import Server, fake, serving, until
from support.shim import Shim, possible

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")

FEW = 64


def alive(server: Server) -> bool:
    began = time.monotonic()
    try:
        return server.ask("GET", "/health", timeout=5).status == 200 and time.monotonic() - began < 1
    except (OSError, http.client.HTTPException):
        return False


def test_few_descriptors_mean_few_clients_not_a_dead_server(tmp_path: Path) -> None:
    server = Server(
        tmp_path, {"INHOUSE_ENGINE": "fake"}, before=("sh", "-c", f'ulimit -n {FEW}; exec "$@"', "sh")
    )
    server.start()
    try:
        assert server.chat(fake(tokens=1)).status == 200
        with contextlib.ExitStack() as held:
            for _ in range(2 * FEW):
                held.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
            time.sleep(0.3)
            assert server.process is not None
            assert server.process.poll() is None
            busy = psutil.Process(server.process.pid).cpu_percent(0.5)
            assert busy < 90, "it does not spin on what it cannot accept"
        until(lambda: alive(server), 10, "room for new clients")
        assert server.chat(fake(text="fine")).json["choices"][0]["message"]["content"] == "fine"
        answer = server.ask("POST", "/v1/chat/completions", {"model": "fake-b", "messages": [
            {"role": "user", "content": fake(tokens=1)}]})  # fmt: skip
        assert answer.status == 200, "a second worker fits, too"
    finally:
        assert server.stop() == 0


@pytest.mark.skipif(not possible(), reason="needs Linux and a C compiler")
def test_no_new_process_is_a_reason_and_not_the_end(tmp_path: Path) -> None:
    shim = Shim(tmp_path / "shim")
    with serving(tmp_path / "home", INHOUSE_ENGINE="fake", **shim.env(tmp_path / "home")) as server:
        assert server.chat(fake(tokens=1)).status == 200
        shim.forks(False)
        refused = server.chat(fake(tokens=1), "fake-b")
        assert refused.status in (500, 503)
        assert "could not be started" in refused.json["error"]["message"]
        assert server.chat(fake(tokens=1)).status == 200, "what is loaded goes on"
        assert alive(server)
        failed = server.ask("GET", "/api/events?kind=load_failed").json["events"]
        assert [one["model"] for one in failed] == ["fake-b:latest"]
        shim.forks(True)
        until(lambda: server.chat(fake(tokens=1), "fake-b").status == 200, 10, "the second model")


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_temporary_folder_that_is_none_does_not_matter(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("in the way")
    place = str(tmp_path / folder)
    with serving(tmp_path / "home", INHOUSE_ENGINE="fake", TMPDIR=place, XDG_RUNTIME_DIR=place) as server:
        assert server.chat(fake(tokens=1)).status == 200


# memory


def test_more_models_than_memory_take_turns_and_one_too_large_is_refused(tmp_path: Path) -> None:
    size = 100 * 2**20
    cards = {"fake-rerank:latest": {"memory": 10 * size}}
    env = {
        "INHOUSE_FAKE": json.dumps({"memory": size, "cards": cards}),
        "INHOUSE_MEMORY": str(2 * size + 1),
        "INHOUSE_MAX_LOADED_MODELS": "2",  # the fake's real size is far below what it claims, and is measured
    }
    with serving(tmp_path, INHOUSE_ENGINE="fake", **env) as server:
        statuses: list[int] = []

        def one(number: int) -> None:
            model = ("fake", "fake-b", "fake-embed")[number % 3]
            if model == "fake-embed":
                answer = server.ask("POST", "/v1/embeddings", {"model": model, "input": "x"})
            else:
                answer = server.chat(fake(tokens=5, rate=50), model)
            statuses.append(answer.status)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(18)]
        for thread in threads:
            thread.start()
        most = 0
        while any(thread.is_alive() for thread in threads):
            most = max(most, sum(one["state"] != "stopping" for one in server.loaded()))
            time.sleep(0.02)
        assert statuses == [200] * 18
        assert 1 <= most <= 2
        body = {"model": "fake-rerank", "query": "a", "documents": ["b"]}
        refused = server.ask("POST", "/v1/rerank", body)
        assert refused.status in (429, 503)
        assert "memory" in refused.json["error"]["message"]
        assert server.metric("inhouse_refusals_total", reason="out_of_memory") == 1
        evicted = server.ask("GET", "/api/events?kind=eviction").json["events"]
        assert evicted
        assert all(one["cause"] and one["remedy"] for one in evicted)
        assert server.chat(fake(tokens=1)).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
def test_a_worker_at_its_memory_limit_fails_its_request_only(tmp_path: Path) -> None:
    options = json.dumps({"context_length": 10**7, "memory": 1000})
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_FAKE=options) as server:
        server.chat(fake(tokens=1))
        worker = psutil.Process(server.worker())
        limit = worker.memory_info().vms + 24 * 2**20
        worker.rlimit(psutil.RLIMIT_AS, (limit, limit))
        answer = server.chat("x " * (16 * 2**20))
        assert answer.status >= 500
        assert answer.json["error"]["message"]
        assert alive(server)
        until(lambda: server.chat(fake(text="back")).status == 200, 10, "the next answer")


@pytest.mark.skipif(sys.platform != "linux", reason="the out-of-memory killer sends SIGKILL")
def test_a_worker_that_the_system_killed_is_named_with_cause_and_remedy(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        server.chat(fake(tokens=1))
        out: list[Any] = []
        thread = threading.Thread(target=lambda: out.append(server.chat(fake(tokens=10_000, rate=50))))
        thread.start()
        until(lambda: server.busy() == 1)
        os.kill(server.worker(), signal.SIGKILL)
        thread.join(10)
        assert out[0].status >= 500
        assert "SIGKILL" in out[0].json["error"]["message"] or "killed" in out[0].json["error"]["message"]
        assert server.chat(fake(tokens=1)).status == 200
        events = server.ask("GET", "/api/events?kind=restart").json["events"]
        assert len(events) == 1
        assert events[0]["cause"]
        assert events[0]["remedy"]
