"""Every option that a Modelfile's PARAMETER may set reaches the engine's body, unless a request says otherwise."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inhouse.core.messages import Sampling
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.dialects.llamaserver import sampling
from inhouse.dialects.ollama.options import DEFAULTS

CARD = Card(ModelName.parse("m"), "0" * 64, "", "", 0, Footprint(0, 0), context_length=4096)
ASKED = Sampling(fallback=DEFAULTS)


def body(defaults: dict[str, Any], asked: Sampling = ASKED) -> dict[str, Any]:
    return sampling.encode(asked, dataclasses.replace(CARD, defaults=defaults))


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [
        ("temperature", 0.25, "temperature"),
        ("top_k", 7, "top_k"),
        ("top_p", 0.5, "top_p"),
        ("min_p", 0.1, "min_p"),
        ("typical_p", 0.7, "typical_p"),
        ("seed", 42, "seed"),
        ("num_predict", 12, "n_predict"),
        ("repeat_penalty", 1.3, "repeat_penalty"),
        ("repeat_last_n", 32, "repeat_last_n"),
        ("presence_penalty", 0.4, "presence_penalty"),
        ("frequency_penalty", 0.6, "frequency_penalty"),
        ("stop", ["END"], "stop"),
    ],
)
def test_a_models_option_comes_before_the_dialects_default(option: str, value: Any, field: str) -> None:
    assert body({option: value})[field] == value
    assert body({}).get(field) != value


def test_the_request_comes_before_the_models_options() -> None:
    asked = Sampling(temperature=0.9, seed=1, max_tokens=5, stop=("x",), fallback=DEFAULTS)
    told = body({"temperature": 0.1, "seed": 2, "num_predict": 6, "stop": ["y"]}, asked)
    assert (told["temperature"], told["seed"], told["n_predict"], told["stop"]) == (0.9, 1, 5, ["x"])


@pytest.mark.parametrize("value", [0, -1, -2])
def test_an_unlimited_num_predict_of_the_model_is_no_limit(value: int) -> None:
    assert body({"num_predict": value})["n_predict"] == -1


@pytest.mark.parametrize("value", [-1, -7])
def test_a_negative_seed_of_the_model_is_a_random_one(value: int) -> None:
    assert body({"seed": value})["seed"] == -1
    assert body({"seed": 0})["seed"] == 0
