"""The official Anthropic client, sync and async, against the server on the fake engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from support.running import Server, fake, serving

TOOL: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
PARIS = {"name": "weather", "arguments": {"city": "Paris"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = json.dumps({"context_length": 20_000, "slots": 2})
    with serving(tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake", INHOUSE_FAKE=options) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{server.port}"
    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0) as made:
        yield made


def asking(text: str, **more: Any) -> Any:
    return {"model": "fake", "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}


def test_a_whole_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**asking(fake(text="hello world")))
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "hello world"}]
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", "fake")
    assert message.usage.output_tokens == 2
    assert message.id.startswith("msg_")


def test_a_stream_is_the_whole_message_in_parts(client: anthropic.Anthropic) -> None:
    ask = asking(fake(text="hello world", reasoning="let me see", tool_call=PARIS), tools=[TOOL])
    ask["thinking"] = {"type": "adaptive"}
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    for block in (*whole.content, *streamed.content):
        if block.type == "tool_use":
            block.id = "toolu_x"
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert whole.content[2].to_dict()["input"] == {"city": "Paris"}
    assert streamed.stop_reason == whole.stop_reason == "tool_use"
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert {"thinking", "signature", "text", "input_json"} <= set(kinds)


def test_the_text_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**asking(fake(text="one two three"))) as stream:
        assert "".join(stream.text_stream) == "one two three"


def test_the_async_client_side_by_side(server: Server) -> None:
    async def both() -> list[str]:
        url = f"http://127.0.0.1:{server.port}"
        async with anthropic.AsyncAnthropic(base_url=url, api_key="unused", max_retries=0) as client:

            async def one(text: str) -> str:
                async with client.messages.stream(**asking(fake(text=text))) as stream:
                    return await stream.get_final_text()

            return list(await asyncio.gather(one("left side"), one("right side")))

    assert asyncio.run(both()) == ["left side", "right side"]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"system": "Be brief."},
        {"tools": [TOOL]},
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        {"cache_control": {"type": "ephemeral"}},
    ],
    ids=str,
)
def test_a_count_is_what_generation_uses(client: anthropic.Anthropic, more: dict[str, Any]) -> None:
    ask = asking("Count me, please.", **more)
    usage = client.messages.create(**ask).usage
    del ask["max_tokens"]
    counted = client.messages.count_tokens(**ask).input_tokens
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    assert counted == usage.input_tokens + read + written
    assert read + written == 0 or "cache_control" in more


def test_a_tool_conversation(client: anthropic.Anthropic) -> None:
    ask = asking(fake(text="", tool_call=PARIS), tools=[TOOL])
    first = client.messages.create(**ask)
    (call,) = [block for block in first.content if block.type == "tool_use"]
    ask["messages"] += [
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"},
                {"type": "text", "text": fake(echo=True)},
            ],
        },
    ]
    ask["max_tokens"] = 2000
    second = client.messages.create(**ask)
    text = "".join(block.text for block in second.content if block.type == "text")
    assert "sunny" in text
    assert "Paris" in text


def test_the_tool_runner_of_the_client(client: anthropic.Anthropic) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "sunny"

    turns = list(
        client.beta.messages.tool_runner(
            **asking(fake(text="", tool_call=PARIS)), tools=[weather], max_iterations=2
        )
    )
    assert asked == ["Paris", "Paris"]  # the fake engine reads its order again in the second turn
    assert [turn.stop_reason for turn in turns] == ["tool_use", "tool_use"]


def test_filling_the_cache_only(client: anthropic.Anthropic) -> None:
    none = client.messages.create(**asking("x", max_tokens=0))
    assert (none.stop_reason, none.content, none.usage.output_tokens) == ("max_tokens", [], 0)


def test_models_come_page_by_page(client: anthropic.Anthropic) -> None:
    pages = client.models.list(limit=1)
    assert len(pages.data) == 1
    names = [model.id for model in pages]
    assert "fake:latest" in names
    assert names == [model.id for model in client.models.list(limit=1000).data]
    found = client.models.retrieve("fake")
    assert (found.id, found.type) == ("fake:latest", "model")
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(limit=0)
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nope")


def test_without_the_header_models_have_openais_shape(server: Server) -> None:
    assert server.ask("GET", "/v1/models").json["object"] == "list"
    assert server.ask("GET", "/v1/models/fake").json["object"] == "model"
    anthropics = {"anthropic-version": "2023-06-01"}
    assert "has_more" in server.ask("GET", "/v1/models", headers=anthropics).json


def test_errors_are_those_of_the_client(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**asking("x", model="claude-nope"))
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.messages.create(**asking("x", extra_body={"temperature": 2}))
    assert str(wrong.value.api_message).startswith("temperature: ")
    with pytest.raises(anthropic.BadRequestError) as long:
        client.messages.create(**asking("word " * 30_000))
    assert str(long.value.api_message).startswith("prompt is too long: ")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.list()


def test_an_error_amid_the_stream_reaches_the_client(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(**asking(fake(tokens=9, error_after=3))) as stream,
    ):
        stream.until_done()
    assert caught.value.type == "api_error"


def test_an_error_before_the_stream_has_its_status(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**asking("word " * 30_000), stream=True)


def test_what_claude_code_sends_is_answered(server: Server) -> None:
    body = json.loads((Path(__file__).parents[1] / "dialects" / "anthropic_claude_code.json").read_bytes())
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,effort-2025-11-24"}
    answer = server.ask("POST", "/v1/messages?beta=true", {**body, "model": "fake"}, headers)
    assert answer.status == 200
    assert answer.events[0]["type"] == "message_start"
    assert answer.events[-1]["type"] == "message_stop"
    assert answer.events[-2]["context_management"] == {"applied_edits": []}


def test_the_version_header_must_be_a_date(server: Server) -> None:
    answer = server.ask("POST", "/v1/messages", asking("x"), {"anthropic-version": "new"})
    assert answer.status == 400
    assert answer.json["type"] == "error"
