"""LlamaIndex over OpenAI's and Ollama's API."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from conftest import CODER, EMBEDDER, KEY, URL


def _openai() -> LLM:
    return OpenAILike(
        model=CODER,
        api_base=f"{URL}/v1",
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        temperature=0,
        max_tokens=120,
        context_window=4096,
    )


def _ollama() -> LLM:
    from ollama import AsyncClient, Client

    headers = {"authorization": f"Bearer {KEY}"}
    return Ollama(
        model=CODER,
        base_url=URL,
        temperature=0,
        context_window=4096,
        client=Client(URL, headers=headers),
        async_client=AsyncClient(URL, headers=headers),
        additional_kwargs={"num_predict": 120},
        request_timeout=120,
    )


@pytest.fixture(params=[_openai, _ollama])
def model(request: pytest.FixtureRequest) -> LLM:
    make: Callable[[], LLM] = request.param
    return make()


ASK = [ChatMessage(role="user", content="Name the capital of France in one word.")]


def test_chat_and_its_stream_agree(model: LLM) -> None:
    whole = model.chat(ASK).message.content
    *_, last = model.stream_chat(ASK)
    assert whole == last.message.content
    assert whole


def test_completion(model: LLM) -> None:
    assert model.complete("The capital of France is").text


async def test_async_chat(model: LLM) -> None:
    assert (await model.achat(ASK)).message.content


class Dog(BaseModel):
    name: str
    age: int


def test_structured_answer(model: LLM) -> None:
    dog = model.as_structured_llm(Dog).chat([ChatMessage(role="user", content="Invent a dog.")]).raw
    assert isinstance(dog, Dog)


def test_tool_call(model: LLM) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return "sunny"

    tool = FunctionTool.from_defaults(weather)
    answer = model.chat_with_tools([tool], "Call weather for Paris.", tool_required=True)
    calls = model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
    if isinstance(model, OpenAILike):
        assert [call.tool_name for call in calls] == ["weather"]
    assert all(call.tool_name == "weather" for call in calls)


def test_embeddings() -> None:
    model = OpenAILikeEmbedding(model_name=EMBEDDER, api_base=f"{URL}/v1", api_key=KEY)
    one, two = model.get_text_embedding_batch(["a cat", "a dog"])
    assert len(one) == len(two) > 100
