"""What the server tells of its machine, and who may let it measure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inhouse.machine import fingerprint, from_json
from support.running import Server, fake, serving, until

ENV = {"INHOUSE_ENGINE": "fake", "INHOUSE_SLOTS": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serving(tmp_path_factory.mktemp("doctor"), **ENV) as running:
        yield running


def token(server: Server) -> dict[str, str]:
    return {"x-inhouse-local": json.loads((server.home / "server.json").read_text())["token"]}


def kept(server: Server) -> Any:
    """What was measured, by fingerprint."""
    file = server.home / "machine.json"
    return json.loads(file.read_text())["bandwidth"] if file.exists() else {}


def test_strangers_learn_the_hardware_but_start_no_measurement(server: Server) -> None:
    before = kept(server)
    answer = server.ask("GET", "/api/machine")
    assert answer.status == 200
    machine = from_json(answer.json)
    assert machine.cpu
    assert machine.physical_cores >= 1
    assert machine.disk.total > 0
    assert answer.json["machine"]["fingerprint"] == fingerprint(machine)
    assert {"system", "cpu", "memory", "disk", "models"} <= {f["what"] for f in answer.json["findings"]}
    assert server.ask("POST", "/api/machine/measure").status == 403
    assert kept(server) == before


def test_the_own_command_line_lets_it_measure_once_and_again(server: Server) -> None:
    until(lambda: not server.busy())
    first = from_json(server.ask("GET", "/api/machine", headers=token(server), timeout=60).json)
    assert first.bandwidth.read > 0
    assert kept(server)[fingerprint(first)]["read"] == first.bandwidth.read
    assert from_json(server.ask("GET", "/api/machine").json).bandwidth.read > 0
    again = server.ask("POST", "/api/machine/measure", headers=token(server), timeout=60)
    assert again.status == 200
    assert "memory speed" in {f["what"] for f in again.json["findings"]}


def test_beside_a_working_model_it_is_not_measured(server: Server) -> None:
    sock = server.open(
        "/v1/chat/completions",
        {
            "model": "fake",
            "stream": True,
            "messages": [{"role": "user", "content": fake(tokens=5000, rate=50.0)}],
        },
    )
    try:
        until(lambda: server.loaded() and server.busy())
        answer = server.ask("POST", "/api/machine/measure", headers=token(server))
        assert answer.status == 409
        assert "A model works now" in json.dumps(answer.json)
    finally:
        sock.close()
