"""A plan over the wire: what is told to anyone, and what only to this machine's own user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.running import Server, serving
from support.tiny_gguf import model as tiny_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with serving(tmp_path_factory.mktemp("plan"), INHOUSE_ENGINE="fake") as running:
        yield running


def own(server: Server) -> dict[str, str]:
    """What this user's command line sends."""
    token = json.loads((server.home / "server.json").read_text())["token"]
    return {"x-inhouse-local": token, "content-type": "application/json"}


def test_a_model_that_is_not_here_is_planned(server: Server) -> None:
    body = {"model": "qwen2.5:7b", "context": 4096, "users": 1}
    answer = server.ask("POST", "/api/plan", body, timeout=60)
    assert answer.status == 200, answer.body
    assert answer.json["source"] == "catalogue"
    assert answer.json["memory"]["kv"] == 28 * 2 * 512 * 2 * 4096
    assert answer.json["speed"]["basis"] == "nothing"
    assert server.loaded() == []


def test_a_file_is_read_for_its_owner_only(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model())
    body = {"path": str(path)}
    assert server.ask("POST", "/api/plan", body).status == 403
    answer = server.ask("POST", "/api/plan", body, headers=own(server), timeout=60)
    assert (answer.status, answer.json["source"]) == (200, "file")


def test_a_broken_file_is_refused_by_its_header(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    answer = server.ask("POST", "/api/plan", {"path": str(path)}, headers=own(server))
    assert answer.status == 400
    assert str(path) not in answer.body.decode()


@pytest.mark.parametrize(
    "body, status",
    [
        ({"model": "no-such-model"}, 404),
        ({"model": "fake"}, 400),
        ({"model": "qwen2.5:7b", "users": -1}, 400),
        ({"model": "qwen2.5:7b", "machine": {"memory_total": "much"}}, 400),
        ({"model": "qwen2.5:7b", "exact": True}, 403),
        ({}, 400),
    ],
)
def test_what_makes_no_sense_is_no_failure_of_the_server(server: Server, body: dict, status: int) -> None:
    assert server.ask("POST", "/api/plan", body).status == status
