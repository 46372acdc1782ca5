"""The official client's Responses API against real models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from support.running import Server

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
CAPITAL = "What is the capital of France? Answer in one word."
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 40}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
PATCH: Any = {
    "type": "custom",
    "name": "vote",
    "description": "Vote yes or no",
    "format": {"type": "grammar", "syntax": "regex", "definition": "yes|no"},
}


class City(BaseModel):
    city: str
    inhabitants: int


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{server.port}/v1"
    with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as made:
        yield made


def test_a_chain_is_understood(client: openai.OpenAI) -> None:
    first = client.responses.create(model=QWEN, input=CAPITAL, temperature=0, max_output_tokens=20)
    assert "Paris" in first.output_text
    counted = client.responses.input_tokens.count(model=QWEN, input=CAPITAL)
    assert first.usage is not None
    assert counted.input_tokens == first.usage.input_tokens
    second = client.responses.create(
        model=QWEN,
        input="Repeat that word.",
        previous_response_id=first.id,
        temperature=0,
        max_output_tokens=20,
    )
    assert "Paris" in second.output_text


def test_a_stream_is_the_whole_answer_in_parts(client: openai.OpenAI) -> None:
    asked: Any = {"model": QWEN, "input": CAPITAL, "temperature": 0, "max_output_tokens": 16}
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == whole.output_text
    assert final.usage is not None
    assert whole.usage is not None
    assert final.usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_parse_always_gives_the_object(client: openai.OpenAI, model: str) -> None:
    made = client.responses.parse(
        model=model,
        input="Tell me about Paris as JSON.",
        text_format=City,
        max_output_tokens=200,
        temperature=0,
    )
    assert isinstance(made.output_parsed, City)


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_a_required_call_is_valid_and_streams(client: openai.OpenAI, model: str) -> None:
    asked: Any = {
        "model": model, "input": "What is the weather in Paris?", "tools": [WEATHER],
        "tool_choice": "required", "temperature": 0, "max_output_tokens": 200,
    }  # fmt: skip
    with client.responses.stream(**asked) as stream:
        deltas = [e.delta for e in stream if e.type == "response.function_call_arguments.delta"]
        made = stream.get_final_response()
    calls = [item for item in made.output if item.type == "function_call"]
    assert calls
    assert "".join(deltas) == "".join(call.arguments for call in calls)
    assert isinstance(json.loads(calls[0].arguments)["city"], str)
    output: Any = [
        {"type": "function_call_output", "call_id": c.call_id, "output": "12 degrees"} for c in calls
    ]
    after = client.responses.create(
        model=model, input=output, previous_response_id=made.id, max_output_tokens=40, temperature=0
    )
    assert after.output_text


def test_a_custom_tool_writes_what_its_expression_allows(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model=QWEN, input="Vote yes.", tools=[PATCH], tool_choice={"type": "custom", "name": "vote"},
        max_output_tokens=60, temperature=0,
    )  # fmt: skip
    (call,) = [item for item in made.output if item.type == "custom_tool_call"]
    assert call.input in ("yes", "no")


def test_logprobs_belong_to_the_text(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model=QWEN,
        input=CAPITAL,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
        max_output_tokens=8,
    )
    part: Any = made.output[0]
    text = b"".join(bytes(one.bytes) for one in part.content[0].logprobs).decode()
    assert text.startswith(made.output_text)
    assert all(len(one.top_logprobs) == 2 for one in part.content[0].logprobs)


def test_a_cut_answer_is_incomplete(client: openai.OpenAI) -> None:
    made = client.responses.create(model=SMOL, input="Count to one hundred.", max_output_tokens=3)
    assert made.status == "incomplete"
    assert made.usage is not None
    assert made.usage.output_tokens == 3
