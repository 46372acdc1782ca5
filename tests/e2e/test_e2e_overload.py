"""More requests than slots, deadlines, fairness, more models than memory: rows 37 to 40."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import threading
import time
from pathlib import Path

from support.running import Answer, fake, serving, until

HOLDER = {
    "model": "fake",
    "stream": True,
    "messages": [{"role": "user", "content": fake(tokens=100_000, rate=50)}],
}


def test_surplus_is_refused_at_once_and_admitted_requests_finish(tmp_path: Path) -> None:
    env = {"INHOUSE_ENGINE": "fake", "INHOUSE_SLOTS": "2", "INHOUSE_MAX_QUEUE": "4"}
    with serving(tmp_path, **env) as server:
        server.chat(fake(tokens=1))
        slow: list[float] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                began = time.monotonic()
                assert server.ask("GET", "/health").status == 200
                slow.append(time.monotonic() - began)

        watcher = threading.Thread(target=watch)
        watcher.start()

        def one(i: int) -> tuple[float, Answer]:
            began = time.monotonic()
            if i % 2:
                answer = server.chat(fake(tokens=20, rate=20), stream=bool(i % 4 == 1))
            else:
                body = {"model": "fake", "messages": [{"role": "user", "content": fake(tokens=20, rate=20)}]}
                answer = server.ask("POST", "/api/chat", body)
            return time.monotonic() - began, answer

        with concurrent.futures.ThreadPoolExecutor(60) as pool:
            done = list(pool.map(one, range(60)))
        stop.set()
        watcher.join()
        refused = [(t, a) for t, a in done if a.status != 200]
        assert len(done) - len(refused) >= 6
        assert len(refused) >= 40
        for seconds, answer in refused:
            assert answer.status in (429, 503)
            assert int(answer.headers["retry-after"]) >= 1
            assert seconds < 3
        assert sorted(seconds for seconds, _ in refused)[int(len(refused) * 0.95)] < 1
        texts = {a.json["error"] for _, a in refused if isinstance(a.json["error"], str)}
        assert texts == {"server busy, please try again.  maximum pending requests exceeded"}
        assert sorted(slow)[int(len(slow) * 0.99) - 1] < 1
        assert server.metric("inhouse_requests_total", outcome="overloaded") == len(refused)


def test_one_client_that_floods_does_not_starve_another(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_SLOTS="1") as server:
        server.chat(fake(tokens=1))
        order: list[str] = []

        def ask(key: str) -> None:
            body = {"model": "fake", "messages": [{"role": "user", "content": fake(tokens=4, rate=20)}]}
            answer = server.ask("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})
            assert answer.status == 200
            order.append(key)

        flood = [threading.Thread(target=ask, args=("flood",)) for _ in range(12)]
        for thread in flood:
            thread.start()
        until(lambda: server.loaded()[0]["waiting"] >= 10, 5, "a full queue")
        served = len(order)
        single = threading.Thread(target=ask, args=("single",))
        single.start()
        single.join(20)
        for thread in flood:
            thread.join(20)
        assert order.index("single") - served <= 4


def test_a_request_that_waits_too_long_is_dropped(tmp_path: Path) -> None:
    env = {"INHOUSE_ENGINE": "fake", "INHOUSE_SLOTS": "1", "INHOUSE_QUEUE_TIMEOUT": "1s"}
    with serving(tmp_path, **env) as server:
        sock = server.open("/v1/chat/completions", {"model": "fake", "stream": True, "messages": [
            {"role": "user", "content": fake(tokens=100_000, rate=20)}]})  # fmt: skip
        until(lambda: server.loaded() and server.busy() == 1, 5)
        began = time.monotonic()
        answer = server.chat(fake(tokens=1))
        assert answer.status in (503, 504)
        assert 0.5 < time.monotonic() - began < 4
        sock.close()


def test_an_idle_model_makes_room_for_another(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_MAX_LOADED_MODELS="1") as server:
        assert server.chat(fake(text="one"), "fake").status == 200
        assert server.chat(fake(text="two"), "fake-b").status == 200
        assert [m["name"] for m in server.loaded()] == ["fake-b:latest"]
        assert server.metric("inhouse_model_evictions_total") == 1


def test_a_load_does_not_stall_requests_to_a_loaded_model(tmp_path: Path) -> None:
    env = {
        "INHOUSE_ENGINE": "fake",
        "INHOUSE_FAKE": json.dumps({"cards": {"fake-b:latest": {"load_seconds": 5}}}),
    }
    with serving(tmp_path, **env) as server:
        server.chat(fake(tokens=1))
        thread = threading.Thread(target=server.chat, args=(fake(tokens=1), "fake-b"))
        thread.start()
        until(lambda: len(server.loaded()) == 2, 5, "the load's start")
        began = time.monotonic()
        assert server.chat(fake(tokens=1)).status == 200
        assert time.monotonic() - began < 2
        thread.join(20)


def test_the_urgent_are_served_before_those_in_line(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_SLOTS="1") as server:
        server.chat(fake(tokens=1))
        order: list[str] = []

        def one(tier: str) -> None:
            assert server.chat(fake(tokens=2, rate=10), service_tier=tier).status == 200
            order.append(tier)

        threads = []
        with contextlib.closing(server.open("/v1/chat/completions", HOLDER)):
            until(lambda: server.busy() == 1)
            for count, tier in enumerate(("flex", "default", "priority"), 1):
                threads.append(threading.Thread(target=one, args=(tier,)))
                threads[-1].start()
                until(lambda count=count: server.loaded()[0]["waiting"] == count)
        for thread in threads:
            thread.join()
        assert order == ["priority", "default", "flex"]
