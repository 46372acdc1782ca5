"""Limits by key and model, models loaded at the start, memory as measured: what operators set."""

from __future__ import annotations

import concurrent.futures
import json
import threading
import time
from pathlib import Path
from typing import Any

from support.running import Answer, Server, fake, serving, until

FAKE = {"INHOUSE_ENGINE": "fake"}


def ask(server: Server, key: str, text: str, path: str = "/v1/chat/completions", **more: Any) -> Answer:
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], **more}
    return server.ask("POST", path, body, {"authorization": f"Bearer {key}"})


def test_a_key_at_its_limit_waits_in_line_and_holds_up_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, **FAKE, INHOUSE_SLOTS="3", INHOUSE_KEY_CONCURRENCY="1") as server:
        server.chat(fake(tokens=1))
        threads = [
            threading.Thread(target=ask, args=(server, "greedy", fake(tokens=40, rate=40))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        until(lambda: server.loaded()[0]["waiting"] == 2)
        assert server.busy() == 1
        began = time.monotonic()
        assert ask(server, "other", fake(tokens=1)).status == 200
        assert time.monotonic() - began < 1
        for thread in threads:
            thread.join()


def test_a_keys_surplus_is_429_with_retry_after_in_every_dialect(tmp_path: Path) -> None:
    with serving(tmp_path, **FAKE, INHOUSE_SLOTS="1", INHOUSE_KEY_QUEUE="1") as server:
        server.chat(fake(tokens=1))
        slow = fake(tokens=60, rate=20)
        threads = [threading.Thread(target=ask, args=(server, "greedy", slow)) for _ in range(2)]
        for count, thread in enumerate(threads):
            thread.start()
            until(lambda count=count: server.busy() == 1 and server.loaded()[0]["waiting"] == count)
        for path, more in (
            ("/v1/chat/completions", {}),
            ("/v1/messages", {"max_tokens": 5}),
            ("/api/chat", {"stream": False}),
        ):
            answer = ask(server, "greedy", slow, path, **more)
            assert answer.status == 429, path
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "of this key" in answer.body.decode()
        for thread in threads:
            thread.join()


def test_a_model_runs_no_more_than_its_limit(tmp_path: Path) -> None:
    with serving(tmp_path, **FAKE, INHOUSE_SLOTS="4", INHOUSE_MODEL_CONCURRENCY="2") as server:
        server.chat(fake(tokens=1))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = [pool.submit(server.chat, fake(tokens=20, rate=20)) for _ in range(4)]
            until(lambda: server.loaded()[0]["waiting"] == 2)
            assert server.busy() == 2
            assert {one.result().status for one in done} == {200}


def test_models_are_loaded_at_the_start_and_what_cannot_be_is_told(tmp_path: Path) -> None:
    with serving(tmp_path, **FAKE, INHOUSE_PRELOAD="fake-b, no-such-model, fake") as server:
        until(lambda: {m["name"] for m in server.loaded() if m["state"] == "ready"} == {
            "fake:latest", "fake-b:latest"})  # fmt: skip
        lines = [json.loads(line) for line in server.ask("GET", "/api/events").body.splitlines()]
        text = json.dumps(lines)
        assert "no-such-model" in text
        assert "could not be loaded at the start" in text
        assert server.ask("GET", "/health").status == 200


def test_what_a_model_takes_is_measured_and_shown(tmp_path: Path) -> None:
    told = json.dumps({"memory": 3 * 2**30})
    with serving(tmp_path, **FAKE, INHOUSE_FAKE=told, INHOUSE_MEMORY="4g") as server:
        server.chat(fake(tokens=1))
        [one] = server.loaded()
        assert one["planned_memory"] == 3 * 2**30
        assert 2**20 < one["size"] < 2**30
        assert one["size_vram"] == 0
        # by its estimate a second one would not fit beside it; as measured it does
        until(lambda: _beside(server), 10, "two models side by side")


def _beside(server: Server) -> bool:
    assert server.chat(fake(tokens=1), "fake-b").status == 200
    both = len(server.loaded()) == 2
    if not both:
        server.chat(fake(tokens=1))
    return both


def test_the_way_of_a_request_is_told_with_causes(tmp_path: Path) -> None:
    with serving(tmp_path, **FAKE, INHOUSE_MAX_LOADED_MODELS="1") as server:
        server.chat(fake(tokens=1))
        body = {"model": "fake-b", "messages": [{"role": "user", "content": fake(tokens=1)}]}
        answer = server.ask("POST", "/v1/chat/completions", body, {"x-request-id": "traced-1"})
        assert answer.status == 200
        told = server.ask("GET", "/api/why/traced-1").body.decode()
        assert "fake:latest had to make room" in told
