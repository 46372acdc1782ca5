"""A soak in small: row 70. The whole one, an hour by default, is ``bench/soak.py``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from support.running import JSON, Server, fake, serving, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

ROUND = 150


def request(server: Server, number: int) -> str:
    """One request of a kind by its number; how it ended."""
    model = ("fake", "fake-b")[number % 7 == 0]
    text = fake(tokens=3 + number % 5)
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "stream": number % 2 == 0, "max_tokens": 100}
    path = ("/v1/chat/completions", "/api/chat", "/v1/messages")[number % 3]
    if number % 11 == 0:  # a client that leaves
        body = {
            **body,
            "stream": True,
            "messages": [{"role": "user", "content": fake(tokens=9999, rate=100)}],
        }
        with contextlib.closing(server.open(path, body)) as sock:
            sock.settimeout(10)
            sock.recv(64)
        return "left"
    answer = server.ask("POST", path, body, JSON)
    if answer.status != 200:
        return "refused" if b"error" in answer.body else "lost"
    marks = (b"[DONE]", b'"done":true', b"message_stop") if body["stream"] else (b'"usage"', b"eval_count")
    return "answered" if any(mark in answer.body for mark in marks) or b"error" in answer.body else "lost"


def drive(server: Server, count: int) -> list[str]:
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda number: request(server, number), range(count)))


def test_hundreds_of_mixed_requests_kills_and_evictions_leave_nothing_behind(tmp_path: Path) -> None:
    env = {"INHOUSE_SLOTS": "3", "INHOUSE_MAX_LOADED_MODELS": "1", "INHOUSE_LOG_LEVEL": "error"}
    with serving(tmp_path, INHOUSE_ENGINE="fake", **env) as server:
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        drive(server, ROUND)
        until(lambda: server.busy() == 0, 10)
        server.chat(fake(tokens=1))
        descriptors, memory = process.num_fds(), process.memory_info().rss
        ended = drive(server, ROUND)
        killer = threading.Thread(target=lambda: os.kill(server.worker(), signal.SIGKILL))
        until(lambda: server.chat(fake(tokens=1)).status == 200)
        killer.start()
        killer.join()
        ended += drive(server, ROUND)
        until(lambda: server.busy() == 0, 10)
        until(lambda: server.chat(fake(tokens=1)).status == 200)
        assert "lost" not in ended
        assert ended.count("answered") + ended.count("left") >= 0.9 * len(ended), ended
        until(lambda: process.num_fds() <= descriptors + 2, 10, "closed descriptors")
        assert process.memory_info().rss - memory < 12 * 2**20
        counted = sum(
            server.metric("inhouse_requests_total", outcome=outcome)
            for outcome in ("ok", "error", "overloaded", "cancelled")
        )
        assert counted >= 3 * ROUND
        kinds = {one["kind"] for one in server.ask("GET", "/api/events?limit=10000").json["events"]}
        assert {"eviction", "restart"} <= kinds
        assert json.loads(server.ask("GET", "/health").body)["status"] == "ok"
