"""The official Anthropic client against real models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from support.running import Server

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
GREEDY: Any = {"extra_body": {"temperature": 0}}  # this client knows no temperature of its own
CAPITAL: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the current weather in a city",
    "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"anyOf": [{"const": "celsius"}, {"const": "fahrenheit"}]},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
}


class City(BaseModel):
    name: str
    country: str


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{server.port}"
    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_a_message_streamed_and_whole(client: anthropic.Anthropic, model: str) -> None:
    ask: Any = {"model": model, "max_tokens": 12, "messages": CAPITAL, **GREEDY}
    whole = client.messages.create(**ask)
    assert "Paris" in whole.content[0].to_dict()["text"]
    with client.messages.stream(**ask) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_a_count_is_what_generation_uses(client: anthropic.Anthropic, model: str) -> None:
    ask: Any = {"model": model, "messages": CAPITAL, "system": "You are brief.", "tools": [WEATHER]}
    counted = client.messages.count_tokens(**ask).input_tokens
    usage = client.messages.create(max_tokens=1, **ask).usage
    assert counted == usage.input_tokens


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_a_conversation_with_a_tool(client: anthropic.Anthropic, model: str) -> None:
    ask: Any = {
        "model": model,
        "max_tokens": 100,
        **GREEDY,
        "system": [{"type": "text", "text": "Use the tools.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [WEATHER],
    }
    with client.messages.stream(**ask, tool_choice={"type": "any"}) as stream:
        first = stream.get_final_message()
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert call.name == "get_weather"
    assert "city" in call.input
    ask["messages"] += [
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 21 degrees"}],
        },
    ]
    second = client.messages.create(**ask, tool_choice={"type": "none"})
    assert second.stop_reason in ("end_turn", "max_tokens")
    assert "".join(block.text for block in second.content if block.type == "text").strip()


def test_an_answer_of_a_type(client: anthropic.Anthropic) -> None:
    ask: Any = {"model": QWEN, "max_tokens": 60, **GREEDY, "messages": CAPITAL}
    message = client.messages.parse(**ask, output_format=City)
    assert isinstance(message.parsed_output, City)


def test_an_answer_that_was_begun_is_continued(client: anthropic.Anthropic) -> None:
    begun = [*CAPITAL, {"role": "assistant", "content": '{"capital": "'}]
    message = client.messages.create(
        model=QWEN, max_tokens=12, messages=begun, **GREEDY, stop_sequences=["}"]
    )
    said = '{"capital": "' + message.content[0].to_dict()["text"] + "}"
    assert "Paris" in json.loads(said)["capital"]
    assert message.stop_reason == "stop_sequence"


def test_why_an_answer_stopped(client: anthropic.Anthropic) -> None:
    count: Any = [{"role": "user", "content": "Count: one two three four five"}]
    ask: Any = {"model": SMOL, "messages": count, **GREEDY}
    stopped = client.messages.create(**ask, max_tokens=50, stop_sequences=["nine", "three"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "three")
    assert "three" not in stopped.content[0].to_dict()["text"]
    assert client.messages.create(**ask, max_tokens=3).stop_reason == "max_tokens"
    greeting: Any = [{"role": "user", "content": "Reply with one word: what is the capital of France?"}]
    full = client.messages.create(**{**ask, "messages": greeting}, max_tokens=400)
    assert (full.stop_reason, full.stop_sequence) == ("end_turn", None)


def test_filling_the_cache_only_on_a_real_engine(client: anthropic.Anthropic) -> None:
    ask: Any = {"model": QWEN, "messages": [{"role": "user", "content": "Remember this. " * 40}]}
    first = client.messages.create(**ask, max_tokens=0, cache_control={"type": "ephemeral"})
    assert (first.content, first.stop_reason) == ([], "max_tokens")
    again = client.messages.create(**ask, max_tokens=1, cache_control={"type": "ephemeral"})
    assert (again.usage.cache_read_input_tokens or 0) > 100
