"""Guessed tokens on a real model: the same answers, in fewer steps; log-probabilities of every token."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.models import SMALL, borrowed_home
from support.running import Server, serving

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

FILE = "".join(f"def load_{n}(value):\n    return value * {n}\n\n" for n in range(7, 19))
PROMPTS = (
    f"{FILE}\n# The same file again:\n\n{FILE[:160]}",
    "The capital of France is",
    "one two three four five six seven eight nine ten one two three four five six seven eight nine ten one two",
)
NEAR = 0.1
"""Two tokens whose log-probabilities are closer may change places with the size of a batch."""


def started(tmp_path: Path, mode: str) -> Iterator[Server]:
    env = {"INHOUSE_ENGINE": "wheel", "INHOUSE_SPECULATIVE": mode, "INHOUSE_CONTEXT_LENGTH": "2048"}
    with serving(borrowed_home(tmp_path, SMALL), **env, INHOUSE_SLOTS="2") as server:
        yield server


@pytest.fixture(scope="module")
def guessing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("guessing"), "ngram")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("plain"), "none")


def complete(server: Server, prompt: str, **more: Any) -> Any:
    body = {"model": SMALL, "prompt": prompt, "max_tokens": 64, "temperature": 0, **more}
    answer = server.ask("POST", "/v1/completions", body)
    assert answer.status == 200, answer.body
    return answer.json


def guesses(server: Server) -> dict[str, float]:
    text = server.ask("GET", "/metrics").body.decode()
    found = {}
    for kind in ("drafted", "accepted"):
        lines = [line for line in text.splitlines() if line.startswith(f"inhouse_{kind}_tokens")]
        found[kind] = sum(float(line.rpartition(" ")[2]) for line in lines)
    return found


def loaded_anew(server: Server) -> None:
    """A request for log-probabilities loads the model without guesses, and so it stays until unloaded."""
    assert server.ask("POST", "/api/generate", {"model": SMALL, "keep_alive": 0}).status == 200


def test_answers_are_the_same_and_copies_are_guessed(guessing: Server, plain: Server) -> None:
    loaded_anew(guessing)
    for prompt in PROMPTS:
        with_guesses = complete(guessing, prompt)["choices"][0]["text"]
        told = complete(plain, prompt, logprobs=2)["choices"][0]
        if with_guesses == told["text"]:
            continue
        written = ""
        for token, top in zip(told["logprobs"]["tokens"], told["logprobs"]["top_logprobs"], strict=True):
            if not with_guesses.startswith(written + token):
                first, second = sorted(top.values(), reverse=True)[:2]
                assert first - second < NEAR, "the answer changed where no two tokens were near each other"
                break
            written += token
    assert guesses(guessing)["accepted"] > 30
    assert guesses(guessing)["drafted"] >= guesses(guessing)["accepted"]
    assert guesses(plain)["drafted"] == 0


def test_every_token_has_its_own_log_probability(guessing: Server) -> None:
    told = complete(guessing, PROMPTS[0], logprobs=2)["choices"][0]["logprobs"]
    assert len(told["tokens"]) > 20
    assert all(len(top) >= 2 for top in told["top_logprobs"])
    assert all(value <= 0 for value in told["token_logprobs"])


def test_a_grammar_is_obeyed_and_the_same_seed_gives_the_same(guessing: Server) -> None:
    schema = {"type": "object", "properties": {"words": {"type": "array", "items": {"enum": ["one", "two"]},
              "minItems": 12, "maxItems": 12}}, "required": ["words"]}  # fmt: skip
    body = {
        "model": SMALL,
        "messages": [{"role": "user", "content": "Say one and two in turns, in JSON."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": schema}},
        "max_tokens": 120,
        "temperature": 0.9,
        "seed": 5,
    }
    one, other = (guessing.ask("POST", "/v1/chat/completions", body).json for _ in range(2))
    text = one["choices"][0]["message"]["content"]
    assert text.count('"one"') + text.count('"two"') == 12
    assert text == other["choices"][0]["message"]["content"]


def test_many_clients_at_once_never_overfill_a_batch(guessing: Server) -> None:
    loaded_anew(guessing)
    before = guesses(guessing)["drafted"]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda n: complete(guessing, f"# {n}\n{PROMPTS[0]}", max_tokens=40), range(3)))
    assert all(one["choices"][0]["text"] for one in done)
    assert guesses(guessing)["drafted"] > before
