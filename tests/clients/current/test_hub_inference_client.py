"""huggingface_hub's InferenceClient against our base URL."""

from __future__ import annotations

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient

from conftest import CODER, KEY, SMALL, URL

HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def client() -> InferenceClient:
    return InferenceClient(base_url=f"{URL}/v1", api_key=KEY)


def test_chat_whole_and_streamed_agree(client: InferenceClient) -> None:
    whole = client.chat_completion(HELLO, model=SMALL, max_tokens=20, temperature=0, seed=1)
    stream = client.chat_completion(HELLO, model=SMALL, max_tokens=20, temperature=0, seed=1, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert whole.choices[0].message.content == text != ""
    assert whole.usage.completion_tokens > 0


def test_the_openai_alias_with_logprobs(client: InferenceClient) -> None:
    # In letters: of a character that is torn over several tokens there is one entry.
    count = [{"role": "user", "content": "Count from 1 to 5."}]
    answer = client.chat.completions.create(
        messages=count, model=SMALL, max_tokens=5, temperature=0, logprobs=True, top_logprobs=2
    )
    assert len(answer.choices[0].logprobs.content) == answer.usage.completion_tokens


def test_a_schema(client: InferenceClient) -> None:
    schema = {"type": "object", "properties": {"dog": {"type": "string"}}, "required": ["dog"]}
    answer = client.chat_completion(
        [{"role": "user", "content": "Invent a dog."}],
        model=CODER,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "dog", "schema": schema}},
    )
    assert '"dog"' in answer.choices[0].message.content


def test_a_tool_that_must_be_called(client: InferenceClient) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = client.chat_completion(
        [{"role": "user", "content": "Weather in Paris?"}],
        model=SMALL,
        max_tokens=60,
        tools=[{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
        tool_choice="required",
    )
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


async def test_async_stream() -> None:
    client = AsyncInferenceClient(base_url=f"{URL}/v1", api_key=KEY)
    stream = await client.chat_completion(HELLO, model=SMALL, max_tokens=10, stream=True)
    assert [chunk async for chunk in stream]
