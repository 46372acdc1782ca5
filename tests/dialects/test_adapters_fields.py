"""Adapters of a request are read alike in all dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inhouse.core.errors import BadRequest
from inhouse.core.requests import Common
from inhouse.dialects import anthropic, ollama, openai, tasks
from inhouse.dialects.openai import responses

MESSAGES = [{"role": "user", "content": "x"}]
BODIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "chat": (openai.decode_chat, {"messages": MESSAGES}),
    "completions": (openai.decode_completions, {"prompt": "x"}),
    "embeddings": (openai.decode_embeddings, {"input": "x"}),
    "messages": (anthropic.decode_messages, {"messages": MESSAGES, "max_tokens": 5}),
    "count": (anthropic.decode_count_tokens, {"messages": MESSAGES}),
    "ollama chat": (ollama.decode_chat, {"messages": MESSAGES}),
    "generate": (ollama.decode_generate, {"prompt": "x"}),
    "raw": (ollama.decode_generate, {"prompt": "x", "raw": True}),
    "embed": (ollama.decode_embed, {"input": "x"}),
    "old embeddings": (ollama.decode_embeddings, {"prompt": "x"}),
    "rerank": (tasks.decode_rerank, {"query": "x", "documents": ["y"]}),
    "score": (tasks.decode_score, {"text_1": "x", "text_2": "y"}),
}


def request(name: str, adapters: Any) -> Common:
    decode, body = BODIES[name]
    found = decode(json.dumps({"model": "m", "adapters": adapters, **body}).encode())
    return found.request


@pytest.mark.parametrize("name", BODIES)
def test_names_and_scales_are_read(name):
    wanted = [{"name": "a"}, {"name": "b", "scale": -0.5}]
    assert request(name, wanted).adapters == (("a", 1.0), ("b", -0.5))
    assert request(name, None).adapters == ()


def test_responses_have_them_too():
    body = {"model": "m", "input": "x", "adapters": [{"name": "a", "scale": 2}]}
    order = responses.decode_create(json.dumps(body).encode())
    assert order.chat.adapters == (("a", 2.0),)


@pytest.mark.parametrize(
    "adapters, param",
    [
        ("a", "adapters"),
        ({"name": "a"}, "adapters"),
        (["a"], "adapters[0]"),
        ([{"name": "a"}, {}], "adapters[1].name"),
        ([{"name": ""}], "adapters[0].name"),
        ([{"name": 3}], "adapters[0].name"),
        ([{"name": "a", "scale": "1"}], "adapters[0].scale"),
        ([{"name": "a", "scale": 1e9}], "adapters[0].scale"),
        ([{"name": "a"}] * 17, "adapters"),
    ],
)
def test_what_is_wrong_is_named(adapters, param):
    with pytest.raises(BadRequest) as caught:
        request("chat", adapters)
    assert caught.value.param == param
