"""What must be spelled otherwise for llama-server's WordPiece tokenizer."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from inhouse.core.models import Card, Footprint, ModelName
from inhouse.dialects.llamaserver.embed import spelled

KOREAN, OTHERS = "서울 Seoul 은", "Ångström naïve ｶﾞ नई"


def card(**metadata: Any) -> Card:
    names = {key.replace("__", "."): value for key, value in metadata.items()}
    return Card(ModelName.parse("m"), "d", "w", "d", 1, Footprint(1, 1), metadata=names)


def test_korean_is_taken_apart_for_a_model_without_accents():
    assert spelled(KOREAN, card(tokenizer__ggml__model="bert")) == unicodedata.normalize("NFD", KOREAN)


def test_nothing_else_is_touched():
    model = card(tokenizer__ggml__model="bert")
    assert spelled(OTHERS, model) is OTHERS
    assert spelled("é " + KOREAN, model)[0] == "é"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"tokenizer__ggml__model": "gpt2"},
        {"tokenizer__ggml__model": "bert", "tokenizer__ggml__normalizer__lowercase": False},
        {"tokenizer__ggml__model": "bert", "tokenizer__ggml__normalizer__strip_accents": False},
    ],
)
def test_models_that_keep_syllables_get_them(metadata):
    assert spelled(KOREAN, card(**metadata)) is KOREAN
