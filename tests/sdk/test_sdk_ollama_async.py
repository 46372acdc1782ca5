"""Ollama's asynchronous Python client, every call, and what its examples do, against real models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ollama
import pytest
from pydantic import BaseModel

from support.running import Server

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
ASK = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
GREEDY = {"temperature": 0, "num_predict": 20}


def run(server: Server, work: Callable[[ollama.AsyncClient], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with ollama.AsyncClient(host=f"http://127.0.0.1:{server.port}") as client:
            return await work(client)

    return asyncio.run(inside())


class City(BaseModel):
    name: str
    country: str


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
      a: The first number
      b: The second number

    Returns:
      The sum
    """
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers.

    Args:
      a: The first number
      b: The second number
    """
    return a * b


def test_chats_and_texts(server: Server) -> None:
    async def work(client: ollama.AsyncClient) -> Any:
        whole = await client.chat(model=QWEN, messages=ASK, options=GREEDY)
        stream = await client.chat(model=QWEN, messages=ASK, options=GREEDY, stream=True)
        parts = [part async for part in stream]
        text = await client.generate(model=QWEN, prompt=ASK[0]["content"], options=GREEDY)
        pieces = [
            p async for p in await client.generate(model=QWEN, prompt="Hi", options=GREEDY, stream=True)
        ]
        return whole, parts, text, pieces

    whole, parts, text, pieces = run(server, work)
    assert "Paris" in whole.message.content
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert (parts[-1].done_reason, parts[-1].eval_count) == (whole.done_reason, whole.eval_count)
    assert "Paris" in text.response
    assert text.context
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_vectors_lists_and_what_runs(server: Server) -> None:
    async def work(client: ollama.AsyncClient) -> Any:
        return (
            await client.embed(model=SMOL, input=["a", "b"], dimensions=64),
            await client.embeddings(model=SMOL, prompt="a"),
            await client.list(),
            await client.ps(),
            await client.show(QWEN),
        )

    vectors, old, listed, running, shown = run(server, work)
    assert [len(vector) for vector in vectors.embeddings] == [64, 64]
    assert len(old.embedding) == 576
    assert QWEN in {model.model for model in listed.models}
    assert {model.model for model in running.models} <= {model.model for model in listed.models}
    assert shown.modelinfo["general.architecture"] == "qwen2"


def test_models_are_made_uploaded_copied_pulled_and_deleted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a model")

    async def work(client: ollama.AsyncClient) -> Any:
        digest = await client.create_blob(tmp_path / "notes.txt")
        with pytest.raises(ollama.ResponseError):
            await client.create(model="broken", files={"notes.txt": digest})
        made = await client.create(
            model="made-async",
            from_=SMOL,
            system="Be brief.",
            license=["MIT"],
            parameters={"top_k": 3, "stop": ["x"]},
            messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
        )
        steps = [step async for step in await client.create(model="made-async", from_=SMOL, stream=True)]
        copied = await client.copy("made-async", "copied-async")
        shown = await client.show("copied-async")
        gone = [await client.delete("made-async"), await client.delete("copied-async")]
        pulls = [step async for step in await client.pull(SMOL, stream=True)]
        pulled = await client.pull(SMOL)
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            await client.push("nobody/nothing")
        return digest, made, steps, copied, shown, gone, pulls, pulled, caught.value.status_code

    digest, made, steps, copied, shown, gone, pulls, pulled, status = run(server, work)
    assert digest.startswith("sha256:")
    assert made.status == steps[-1].status == copied.status == pulls[-1].status == pulled.status == "success"
    assert [one.status for one in gone] == ["success", "success"]
    assert shown.template
    assert status == 404


def test_errors_and_the_end_of_a_client(server: Server) -> None:
    async def work(client: ollama.AsyncClient) -> Any:
        for call in (
            client.chat(model="nope", messages=ASK),
            client.generate(model="nope", prompt="x"),
            client.show("nope"),
            client.delete("nope"),
        ):
            with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as caught:
                await call
            assert caught.value.status_code == 404
        with pytest.raises(ollama.ResponseError) as caught:  # of a later Ollama than the one followed
            await client.systemone(QWEN, state="x", questions={})
        assert caught.value.status_code == 404
        stream = await client.chat(model="nope", messages=ASK, stream=True)
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
            async for _ in stream:
                pass
        await client.close()

    run(server, work)
    client = ollama.Client(host=f"http://127.0.0.1:{server.port}")
    assert client.list().models
    client.close()


def test_structured_outputs(server: Server) -> None:
    asked = [{"role": "user", "content": "Tell me about Paris: its name and its country."}]

    async def work(client: ollama.AsyncClient) -> Any:
        return await client.chat(
            model=QWEN,
            messages=asked,
            format=City.model_json_schema(),
            options={"temperature": 0, "num_predict": 80},
        )

    city = City.model_validate_json(run(server, work).message.content)
    assert city.name


def test_several_tools(server: Server) -> None:
    asked: list[Any] = [{"role": "user", "content": "What is three plus one? Use the tools."}]
    functions = {"add": add, "multiply": multiply}
    options = {"temperature": 0, "num_predict": 80}

    async def work(client: ollama.AsyncClient) -> Any:
        first = await client.chat(model=QWEN, messages=asked, tools=[add, multiply], options=options)
        assert first.message.tool_calls
        messages = [*asked, first.message]
        for call in first.message.tool_calls:
            result = functions[call.function.name](**call.function.arguments)
            messages.append({"role": "tool", "content": str(result), "tool_name": call.function.name})
        return first, await client.chat(model=QWEN, messages=messages, options=options)

    first, final = run(server, work)
    call = first.message.tool_calls[0].function
    assert call.name == "add"
    assert {int(value) for value in call.arguments.values()} == {3, 1}
    assert "4" in final.message.content


@pytest.mark.parametrize("model", [SMOL, QWEN])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "multiply"}}])
def test_a_call_can_be_demanded(server: Server, model: str, choice: Any) -> None:
    tools = [ollama._utils.convert_function_to_tool(f).model_dump(exclude_none=True) for f in (add, multiply)]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is 7 times 6?"}],
        "tools": tools,
        "tool_choice": choice,
        "stream": False,
        "options": {"temperature": 0, "num_predict": 100},
    }
    answer = server.ask("POST", "/api/chat", body, timeout=120)
    assert answer.status == 200, answer.body
    call = answer.json["message"]["tool_calls"][0]["function"]
    assert call["name"] == "multiply" if isinstance(choice, dict) else call["name"] in ("add", "multiply")
    assert set(call["arguments"]) == {"a", "b"}


def test_a_history_is_remembered(server: Server) -> None:
    async def work(client: ollama.AsyncClient) -> Any:
        messages: list[Any] = []
        for said in ("My name is Ada. Remember it.", "What is my name?"):
            messages.append({"role": "user", "content": said})
            answer = await client.chat(model=QWEN, messages=messages, options=GREEDY)
            messages.append(answer.message)
        return messages

    assert "Ada" in run(server, work)[-1].content


def test_filling_in_the_middle(server: Server) -> None:
    before, after = "def remove_non_ascii(s: str) -> str:\n    ", "\n    return result\n"

    async def work(client: ollama.AsyncClient) -> Any:
        options = {"num_predict": 64, "temperature": 0, "top_p": 0.9, "stop": ["<EOT>"]}
        return await client.generate(model=QWEN, prompt=before, suffix=after, options=options)

    assert "result" in run(server, work).response


def test_leaving_a_stream_frees_the_model(server: Server) -> None:
    async def work(client: ollama.AsyncClient) -> int:
        stream = await client.chat(
            model=SMOL,
            messages=[{"role": "user", "content": "Count."}],
            stream=True,
            options={"num_predict": 400},
        )
        async for _ in stream:
            break
        await stream.aclose()
        return int(
            (await client.generate(model=SMOL, prompt="Hi", options={"num_predict": 2})).eval_count or 0
        )

    assert run(server, work) == 2
    lines = server.ask("GET", "/api/ps").json["models"]
    assert json.dumps(lines)
