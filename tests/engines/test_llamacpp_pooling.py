"""How a worker of llama.cpp pools is decided by what the model is for."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import LoadOptions
from inhouse.engines.llamacpp import LlamaCpp
from inhouse.engines.recipe import Availability, Room


@dataclass(frozen=True)
class Settings:
    kind: str = "wheel"
    llama_server: str = ""
    context_length: int = 0
    slots: int = 1
    threads: int = 1
    kernels: str = "off"
    kv_cache_type: str = "f16"
    prompt_cache: int = 0
    prompt_sharing: str = "memory"
    speculative: str = "auto"
    fake: str = ""


@pytest.mark.parametrize(
    "capability, pooling", [("completion", "last"), ("embedding", ""), ("rerank", "rank")]
)
def test_a_reranking_model_is_launched_as_one(capability, pooling):
    card = Card(
        ModelName.parse("m"),
        "d",
        "w",
        "d",
        2**20,
        Footprint(2**20, 1),
        capabilities=frozenset({capability}),
        context_length=512,
    )
    recipe = LlamaCpp(Settings(), Availability("wheel", True, "1"), {})
    launch = recipe.launch(card, LoadOptions(), room=Room(2**34, 2), address="/w.sock", secret="")
    assert json.loads(launch.stdin)["pooling"] == pooling
