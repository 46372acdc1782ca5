"""Responses that run on without a client, and a server that ends by itself."""

from __future__ import annotations

from pathlib import Path

from support.running import Server, fake, serving


def test_an_idle_server_ends_only_after_its_background_work(tmp_path: Path) -> None:
    idle = Server(tmp_path, {"INHOUSE_ENGINE": "fake", "INHOUSE_IDLE_EXIT": "0.5"}).start()
    told = fake(tokens=20, rate=10)
    asked = idle.ask("POST", "/v1/responses", {"model": "fake", "input": told, "background": True})
    assert asked.json["status"] in ("queued", "in_progress")
    assert idle.process is not None
    assert idle.process.wait(30) == 0
    with serving(tmp_path, INHOUSE_ENGINE="fake") as again:
        kept = again.ask("GET", f"/v1/responses/{asked.json['id']}").json
    assert kept["status"] == "completed"
    assert kept["usage"]["output_tokens"] == 20
