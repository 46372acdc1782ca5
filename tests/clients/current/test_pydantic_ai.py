"""pydantic-ai: typed answers, tools and streams over each API."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelSettings, NativeOutput, ToolOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from conftest import CODER, KEY, URL

SETTINGS = ModelSettings(temperature=0, max_tokens=200)


class City(BaseModel):
    city: str
    country: str


def _openai(kind: Any) -> Model:
    return kind(CODER, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY))


def _anthropic() -> Model:
    return AnthropicModel(CODER, provider=AnthropicProvider(base_url=URL, api_key=KEY))


MODELS = {
    "chat completions": lambda: _openai(OpenAIChatModel),
    "responses": lambda: _openai(OpenAIResponsesModel),
    "messages": _anthropic,
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]()


async def test_a_typed_answer_through_a_tool(model: Model) -> None:
    agent = Agent(model, output_type=ToolOutput(City), model_settings=SETTINGS)
    answer = await agent.run("Name the capital of France and its country.")
    assert answer.output.city
    assert answer.usage.output_tokens > 0


async def test_a_typed_answer_through_a_schema(model: Model) -> None:
    if isinstance(model, AnthropicModel):
        pytest.skip("this client knows native output for Anthropic's own model names only")
    agent = Agent(model, output_type=NativeOutput(City), model_settings=SETTINGS)
    answer = await agent.run("Name the capital of France and its country.")
    assert answer.output.city


async def test_a_stream_is_the_whole_answer(model: Model) -> None:
    agent = Agent(model, model_settings=SETTINGS)
    async with agent.run_stream("Count from one to five.") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 2
    whole = await agent.run("Count from one to five.")
    assert "".join(pieces) == whole.output


async def test_a_tool_is_called_and_its_result_used(model: Model) -> None:
    agent = Agent(model, output_type=ToolOutput(City), model_settings=SETTINGS)
    asked: list[str] = []

    @agent.tool_plain
    def capital_of(country: str) -> str:
        """The capital of a country."""
        asked.append(country)
        return "Paris"

    answer = await agent.run("Ask the tool capital_of for the capital of France, then give the final result.")
    assert answer.output.country
