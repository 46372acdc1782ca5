"""The time that a client gives its request is over: row 39."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest

from support.running import fake, serving, until

HOLDER = {
    "model": "fake",
    "stream": True,
    "messages": [{"role": "user", "content": fake(tokens=100_000, rate=50)}],
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/v1/messages"])
def test_a_request_whose_time_is_over_never_reaches_the_model(tmp_path: Path, path: str) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_SLOTS="1") as server:
        server.chat(fake(tokens=1))
        local = {"x-inhouse-local": json.loads((tmp_path / "server.json").read_text())["token"]}
        with contextlib.closing(server.open("/v1/chat/completions", HOLDER)) as holder:
            until(lambda: server.busy() == 1)
            body = {
                "model": "fake",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": fake(tokens=5)}],
            }
            began = time.monotonic()
            late = server.ask("POST", path, body, {"x-request-timeout": "0.5", "x-request-id": "late"})
            assert 0.4 < time.monotonic() - began < 2.5
            assert late.status in (503, 504, 529)
            assert "error" in late.json
            way = server.ask("GET", "/api/why/late", headers=local).json
            assert way["error"]["code"] == "deadline_exceeded"
            assert [part["name"] for part in way["parts"]] == ["queue"]
            assert way["tokens"]["prompt_tokens"] == 0
            assert server.busy() == 1, "the one that ran goes on"
            assert holder.recv(64)
        assert server.metric("inhouse_deadlines_missed_total") == 1
        until(lambda: server.busy() == 0, 5)
        assert server.chat(fake(text="fine")).status == 200
