"""``inhouse bench`` and ``inhouse tune`` against a real server with fake workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.running import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {"INHOUSE_ENGINE": "fake", "INHOUSE_FAKE": json.dumps({"tokens": 20, "slots": 4})}
    with serving(tmp_path_factory.mktemp("bench"), **env) as running:
        yield running


def bench(server: Server, **body: Any) -> list[Any]:
    answer = server.ask(
        "POST", "/api/bench", {"model": "fake", "prompt": 40, "tokens": 12, "rounds": 2, **body}
    )
    assert answer.status == 200, answer.body
    lines: list[Any] = answer.lines
    return lines


def inhouse(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "INHOUSE_HOME": str(server.home), "INHOUSE_HOST": f"127.0.0.1:{server.port}"}
    return subprocess.run(
        [sys.executable, "-m", "inhouse", *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_figures_of_every_number_of_clients(server: Server) -> None:
    *steps, last = bench(server, clients=[1, 3])
    assert [one["status"] for one in steps if "round" in one["status"]][-1].startswith(
        "3 clients, round 2 of 2"
    )
    figures = last["result"]["figures"]
    assert [(level["clients"], level["requests"]) for level in figures["levels"]] == [(1, 2), (3, 6)]
    for level in figures["levels"]:
        assert level["decode"]["median"] > 0
        assert level["ttft"]["median"] > 0
        assert level["answer_tokens"] > 0
        assert level["total"]["low"] <= level["total"]["median"] <= level["total"]["high"]
    assert figures["about"]["engine"] == "fake"
    assert "cores" in figures["about"]["machine"]


def test_a_saved_run_is_compared_and_drawn(server: Server) -> None:
    before = bench(server)[-1]["result"]["figures"]
    result = bench(server, before=before, plot=True)[-1]["result"]
    assert result["before"] == before
    assert result["ratios"][0]["decode"]["median"] > 0
    assert result["svg"].startswith("<svg")
    assert "before: one stream" in result["svg"]


def test_another_server_is_asked_in_turns(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/v1"
    *steps, last = bench(server, against=url, there="fake-b", chat=True)
    turns = [one["status"].split(",")[0] for one in steps if "round" in one["status"]]
    assert turns == ["ours", url, url, "ours"]
    assert last["result"]["against"]["figures"]["model"] == "fake-b"
    assert last["result"]["ratios"][0]["decode"]["count"] == 2


def test_alone_nothing_is_said_to_disturb(server: Server) -> None:
    alone = bench(server)[-1]
    assert not any("answered requests" in reason for reason in alone["result"]["disturbed"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "nobody"}, 404),
        ({"against": "no-such-build"}, 404),
        ({"against": "https://example.com"}, 400),
        ({"against": "http://example.com:80"}, 400),
        ({"against": "http://127.0.0.1:1/else"}, 400),
        ({"clients": [0]}, 400),
        ({"clients": ["many"]}, 400),
        ({"rounds": 0}, 400),
        ({"before": {"levels": 3}}, 400),
        ({"task": "dance"}, 400),
    ],
)
def test_what_cannot_be_measured_is_refused(server: Server, body: dict[str, Any], status: int) -> None:
    answer = server.ask("POST", "/api/bench", {"model": "fake", **body})
    assert "error" in answer.lines[-1]
    assert answer.status in (status, 200), "a refusal of a job that has begun comes in its stream"
    assert answer.status < 500


def test_the_command_prints_a_table_and_saves_it(server: Server, tmp_path: Path) -> None:
    saved, drawn = tmp_path / "figures.json", tmp_path / "figures.svg"
    short = ("--prompt", "40", "--tokens", "12", "--rounds", "2")
    done = inhouse(
        server, "bench", "fake", "--clients", "1,2", *short, "--save", str(saved), "--plot", str(drawn)
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["CLIENTS", "1", "2"]
    assert drawn.read_text().startswith("<svg")
    again = inhouse(server, "bench", "fake", "--clients", "1", *short, "--compare", str(saved))
    assert "Times as fast as before" in again.stdout
    as_json = inhouse(server, "bench", "fake", "--clients", "1", *short, "--json")
    assert json.loads(as_json.stdout)["figures"]["levels"][0]["clients"] == 1


def test_the_command_refuses_what_is_no_run_and_no_number(server: Server, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.json"
    nothing.write_text("{")
    done = inhouse(server, "bench", "fake", "--compare", str(nothing))
    assert done.returncode != 0
    assert "holds no figures" in done.stderr
    assert "no numbers of clients" in inhouse(server, "bench", "fake", "--clients", "a,b").stderr


def test_only_models_that_can_be_loaded_otherwise_are_tuned(server: Server) -> None:
    done = inhouse(server, "tune", "fake")
    assert done.returncode != 0
    assert "Only GGUF models" in done.stderr


def test_tunings_are_shown_and_forgotten(server: Server) -> None:
    shown = inhouse(server, "tune", "fake", "--show", "--json")
    assert json.loads(shown.stdout)["tunings"] == []
    assert "was not tuned" in inhouse(server, "tune", "fake", "--show").stderr
    assert "Forgot 0 tunings" in inhouse(server, "tune", "fake", "--forget").stderr


def test_only_this_machines_own_user_tunes(server: Server) -> None:
    for path in ("/api/tune", "/api/tune/forget"):
        assert server.ask("POST", path, {"model": "fake"}).status == 403
