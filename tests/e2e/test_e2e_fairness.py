"""Turns between keys: a flood, long answers, liars, and names of keys (row 38)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from support.running import Server, fake, serving, until

ENV = {"INHOUSE_ENGINE": "fake", "INHOUSE_SLOTS": "1"}


def ask(server: Server, key: str, text: str, **more: Any) -> Any:
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], **more}
    return server.ask("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})


class Line:
    """Requests sent in the background; ``order`` is that of their ends."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def send(self, key: str, text: str, count: int = 1, **more: Any) -> None:
        def one() -> None:
            assert ask(self.server, key, text, **more).status == 200
            self.order.append(key)

        for _ in range(count):
            self._threads.append(threading.Thread(target=one))
            self._threads[-1].start()

    def waiting(self, count: int) -> None:
        until(lambda: self.server.loaded() and self.server.loaded()[0]["waiting"] >= count, 10, "a line")

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)


def test_a_single_request_is_served_within_two_turns_of_a_flood(tmp_path: Path) -> None:
    with serving(tmp_path, **ENV) as server:
        server.chat(fake(tokens=1))
        line = Line(server)
        line.send("flood", fake(tokens=10, rate=80), 16)
        line.waiting(12)
        before = len(line.order)
        line.send("single", fake(tokens=1))
        line.join()
        # the one that ran, and one more that may have been begun while this one was on its way
        assert line.order.index("single") - before <= 2


def test_a_key_with_long_answers_has_fewer_turns_than_one_with_short_ones(tmp_path: Path) -> None:
    with serving(tmp_path, **ENV) as server:
        server.chat(fake(tokens=1))
        line = Line(server)
        line.send("holder", fake(tokens=30, rate=30))
        until(lambda: server.busy() == 1)
        line.send("long", fake(tokens=40, rate=400), 6, max_tokens=1000)
        line.send("short", fake(tokens=2, rate=400), 12, max_tokens=50)
        line.waiting(18)
        line.join()
        served = line.order[1:]
        last_short = len(served) - 1 - served[::-1].index("short")
        assert served[: last_short + 1].count("long") <= 3


def test_waiting_requests_are_shown_by_the_names_of_their_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# who\nalice = key-of-alice\nbob=key-of-bob\n")
    env = {**ENV, "INHOUSE_API_KEYS_FILE": str(keys), "INHOUSE_API_KEY": "plain, other"}
    with serving(tmp_path / "home", **env) as server:
        assert ask(server, "wrong", "hi").status == 401
        assert ask(server, "other", fake(tokens=1)).status == 200
        line = Line(server)
        line.send("key-of-alice", fake(tokens=60, rate=30))
        headers = {"authorization": "Bearer plain"}

        def shown() -> dict[str, Any]:
            [one] = server.ask("GET", "/api/ps", headers=headers).json["models"]
            return dict(one)

        until(lambda: shown()["busy"] == 1)
        line.send("key-of-alice", fake(tokens=1), 2)
        line.send("key-of-bob", fake(tokens=1))
        line.send("plain", fake(tokens=1))
        until(lambda: shown()["waiting"] == 4)
        assert shown()["waiting_by"] == {"alice": 2, "bob": 1, "others": 1}
        until(lambda: 5 < shown()["tokens_per_second"] < 60, 2, "a rate")
        line.join()
        everything = server.log.read_text() + str(server.ask("GET", "/api/events", headers=headers).body)
        assert "key-of-" not in everything
