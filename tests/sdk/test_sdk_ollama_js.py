"""Ollama's JavaScript client, every call, against real models."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.npm import PINNED, node, packages
from support.running import Server, until

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
CALLS = Path(__file__).with_name("ollama_calls.mjs")


@pytest.fixture(scope="module")
def said(server: Server) -> dict[str, Any]:
    """What each call gave."""
    env = {"NODE_MODULES": str(packages(*PINNED) / "node_modules"), "PATH": "/usr/bin:/bin"}
    command = [node(), str(CALLS), f"http://127.0.0.1:{server.port}", SMOL, QWEN]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_no_call_fails(said: dict[str, Any]) -> None:
    assert not {name: one for name, one in said.items() if isinstance(one, dict) and "failed" in one}


def test_models_are_listed_shown_and_running(said: dict[str, Any], server: Server) -> None:
    assert said["version"]["version"]
    assert QWEN in {model["name"] for model in said["list"]["models"]}
    assert said["show"]["model_info"]["general.architecture"] == "qwen2"
    assert "tools" in said["show"]["capabilities"]
    running = {model["name"]: model for model in said["ps"]["models"]}
    assert running[QWEN]["expires_at"]


def test_chats(said: dict[str, Any]) -> None:
    for name in ("chat", "browser"):
        assert "Paris" in said[name]["message"]["content"]
        assert said[name]["done"]
    parts = said["chat_stream"]
    assert "".join(part["message"]["content"] for part in parts) == said["chat"]["message"]["content"]
    assert parts[-1]["eval_count"] == said["chat"]["eval_count"]
    assert len(said["chat_logprobs"]["logprobs"][0]["top_logprobs"]) == 2
    assert isinstance(json.loads(said["chat_schema"]["message"]["content"])["city"], str)
    (call,) = said["chat_tools"]["message"]["tool_calls"]
    assert call["function"] == {"index": 0, "name": "get_weather", "arguments": {"city": "Paris"}}


def test_texts_are_generated(said: dict[str, Any]) -> None:
    assert "Paris" in said["generate"]["response"]
    assert said["generate"]["context"]
    assert said["generate_stream"][-1]["done"]
    assert "Paris" in said["generate_raw"]["response"]
    assert said["fill_in"]["response"].strip()


def test_vectors(said: dict[str, Any]) -> None:
    first, second = said["embed"]["embeddings"]
    assert len(first) == len(second) == 576
    assert len(said["embeddings"]["embedding"]) == 576


def test_models_are_made_copied_pulled_and_deleted(said: dict[str, Any]) -> None:
    assert said["create"]["status"] == "success"
    assert said["create_stream"][-1]["status"] == "success"
    assert said["copy"] == {"status": "success"}
    assert ["top_k", "3"] in [line.split() for line in said["shown"]["parameters"].splitlines()]
    assert said["pull"]["status"] == "success"
    assert said["pull_stream"][-1]["status"] == "success"
    assert said["delete"] == [{"status": "success"}] * 2


def test_refusals_are_the_clients_errors(said: dict[str, Any]) -> None:
    assert said["unknown"] == {"name": "ResponseError", "message": "model 'nope' not found", "status": 404}
    text = f'"{QWEN}" does not support thinking'
    assert said["no_thinking"] == {"name": "ResponseError", "message": text, "status": 400}


def test_a_model_is_unloaded_and_an_answer_given_up(said: dict[str, Any], server: Server) -> None:
    assert said["unload"]["done_reason"] == "unload"
    assert said["aborted"]["name"] == "AbortError"
    until(lambda: server.busy() == 0, 10, "the end of the answer that was given up")
