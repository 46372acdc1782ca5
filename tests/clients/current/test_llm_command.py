"""simonw's llm: its OpenAI-compatible models, from its own Python API."""

from __future__ import annotations

import llm
import pytest
from llm.default_plugins.openai_models import AsyncChat, Chat, Completion

from conftest import CODER, KEY, SMALL, URL

Line = {"api_base": f"{URL}/v1"}


def _chat(kind: type, model: str = SMALL, **more: bool):
    made = kind(f"inhouse/{model}", model_name=model, **Line, **more)
    made.key = KEY
    return made


def test_a_prompt_gets_a_streamed_answer() -> None:
    response = _chat(Chat).prompt("Say hello.", key=KEY, max_tokens=20, temperature=0)
    pieces = list(response)
    assert "".join(pieces) == response.text() != ""
    assert response.usage().output > 0


def test_a_whole_answer_is_the_streamed_one() -> None:
    whole = _chat(Chat).prompt("Say hello.", key=KEY, stream=False, max_tokens=20, temperature=0)
    streamed = _chat(Chat).prompt("Say hello.", key=KEY, max_tokens=20, temperature=0)
    assert whole.text() == streamed.text()


async def test_the_async_model() -> None:
    response = await _chat(AsyncChat).prompt("Say hello.", key=KEY, max_tokens=20)
    assert await response.text()


def test_a_schema() -> None:
    model = _chat(Chat, CODER, supports_schema=True)
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = model.prompt("Invent a dog.", key=KEY, schema=schema, stream=False, temperature=0)
    assert '"name"' in answer.text()


def test_a_tool_is_called() -> None:
    def multiply(a: int, b: int) -> int:
        """Multiply two numbers."""
        return a * b

    model = _chat(Chat, CODER, supports_tools=True)
    answer = model.prompt("Use the tool: what is 12 times 34?", tools=[multiply], key=KEY, stream=False)
    calls = answer.tool_calls()
    assert [call.name for call in calls] in (["multiply"], [])


def test_a_text_completion() -> None:
    model = Completion("inhouse/text", model_name=SMALL, **Line)
    assert model.prompt("The capital of France is", key=KEY, max_tokens=5).text()


def test_a_wrong_key_is_said_clearly() -> None:
    made = _chat(Chat)
    made.key = "wrong"
    with pytest.raises(Exception, match="API key"):
        made.prompt("hi", stream=False).text()


def test_the_plugin_api_is_what_we_used() -> None:
    assert issubclass(Chat, llm.KeyModel)
