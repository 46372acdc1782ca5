"""The list of models in Anthropic's shape, page by page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import ModelInfo

from inhouse.core.errors import BadRequest
from inhouse.core.models import Card, Footprint, ModelName, Tuning
from inhouse.dialects.anthropic import render_model, render_models


def card(name: str, **more: Any) -> Card:
    made = {"modified_at": 1_700_000_000.5, "context_length": 4096, **more}
    return Card(ModelName.parse(name), "d" * 64, "", "", 1, Footprint(1, 1), **made)


CARDS = [card(f"m{i}") for i in range(5)]
NAMES = [str(c.name) for c in CARDS]


def page(**query: str) -> tuple[list[str], bool]:
    told = json.loads(render_models(CARDS, {name: [value] for name, value in query.items()}))
    ids = [model["id"] for model in told["data"]]
    assert (told["first_id"], told["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, told["has_more"]


@pytest.mark.parametrize(
    ("query", "want", "more"),
    [
        ({}, NAMES, False),
        ({"limit": "2"}, NAMES[:2], True),
        ({"limit": "2", "after_id": NAMES[1]}, NAMES[2:4], True),
        ({"limit": "2", "after_id": NAMES[3]}, NAMES[4:], False),
        ({"after_id": NAMES[4]}, [], False),
        ({"limit": "2", "before_id": NAMES[4]}, NAMES[2:4], True),
        ({"limit": "2", "before_id": NAMES[1]}, NAMES[:1], False),
        ({"lifecycle[]": "active"}, NAMES, False),
        ({"lifecycle": "deprecated,retired"}, [], False),
    ],
    ids=str,
)
def test_pages(query, want, more):
    assert page(**query) == (want, more)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"after_id": "nope"}, "after_id"),
        ({"before_id": "nope"}, "before_id"),
        ({"before_id": NAMES[0], "after_id": NAMES[1]}, "before_id"),
        ({"lifecycle": "dead"}, "lifecycle"),
    ],
    ids=str,
)
def test_what_no_page_can_be_is_refused(query, param):
    with pytest.raises(BadRequest) as caught:
        page(**query)
    assert caught.value.param == param


def test_one_model_as_the_official_client_reads_it():
    capable = frozenset({"completion", "thinking", "vision"})
    found = ModelInfo.model_validate_json(render_model(card("m", capabilities=capable)), strict=False)
    assert found.created_at.isoformat() == "2023-11-14T22:13:20+00:00"
    assert (found.max_input_tokens, found.lifecycle) == (4096, "active")
    told = found.capabilities
    assert told is not None
    assert told.image_input.supported
    assert told.thinking.types.enabled.supported
    assert not told.batch.supported


def test_a_model_that_cannot_think_says_so_and_its_own_length_counts():
    found = json.loads(render_model(card("m", tuning=Tuning(context_length=512))))
    assert found["max_input_tokens"] == 512
    assert not found["capabilities"]["thinking"]["supported"]
    assert found["capabilities"]["thinking"]["types"]["adaptive"]["supported"]
