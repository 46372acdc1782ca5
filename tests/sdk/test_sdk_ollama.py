"""The official Ollama client against real models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import ollama
import pytest

from support.running import Server

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
ASK = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
GREEDY = {"temperature": 0, "num_predict": 20}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ollama.Client]:
    with ollama.Client(host=f"http://127.0.0.1:{server.port}") as made:
        yield made


def test_models_are_listed_and_shown(client: ollama.Client) -> None:
    listed = {m.model: m for m in client.list().models}
    assert QWEN in listed
    entry = listed[QWEN]
    assert entry.digest is not None
    assert len(entry.digest) == 64
    assert entry.details is not None
    assert entry.details.quantization_level == "Q4_K_M"
    shown = client.show(QWEN)
    assert shown.capabilities is not None
    assert {"completion", "tools", "insert"} <= set(shown.capabilities)
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "qwen2"
    assert shown.template
    with pytest.raises(ollama.ResponseError) as caught:
        client.show("nope")
    assert caught.value.status_code == 404
    assert "model 'nope' not found" in str(caught.value)


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_chat(client: ollama.Client, model: str) -> None:
    answer = client.chat(model=model, messages=ASK, options=GREEDY)
    assert "Paris" in (answer.message.content or "")
    assert answer.done
    assert answer.done_reason in ("stop", "length")
    assert (answer.prompt_eval_count or 0) > 5
    assert (answer.eval_count or 0) > 0
    assert (answer.total_duration or 0) >= (answer.eval_duration or 0) > 0


def test_chat_streams(client: ollama.Client) -> None:
    parts = list(client.chat(model=QWEN, messages=ASK, options=GREEDY, stream=True))
    assert "Paris" in "".join(p.message.content or "" for p in parts)
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]


def test_generate_with_its_context(client: ollama.Client) -> None:
    first = client.generate(model=QWEN, prompt="My name is Ada. Remember it.", options=GREEDY)
    assert first.context
    second = client.generate(model=QWEN, prompt="What is my name?", context=first.context, options=GREEDY)
    assert "Ada" in second.response
    assert second.context is not None
    assert len(second.context) > len(first.context)


def test_generate_raw_and_suffix(client: ollama.Client) -> None:
    raw = client.generate(model=QWEN, prompt="The capital of France is", raw=True, options=GREEDY)
    assert "Paris" in raw.response
    assert raw.context is None
    filled = client.generate(model=QWEN, prompt="def add(a, b):\n    return ", suffix="\n", options=GREEDY)
    assert "a" in filled.response
    with pytest.raises(ollama.ResponseError, match="does not support insert"):
        client.generate(model=SMOL, prompt="a", suffix="b")


def test_images_are_refused_where_the_model_cannot_see(client: ollama.Client) -> None:
    png = bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c626001000000"
        "0500010d0a2db40000000049454e44ae426082"
    )
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(model=QWEN, messages=[{"role": "user", "content": "see", "images": [png]}])
    assert caught.value.status_code == 400


def test_formats(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    for form in ("json", schema):
        answer = client.chat(
            model=QWEN,
            messages=[{"role": "user", "content": "The capital of France as JSON with the key city."}],
            format=form,
            options={"temperature": 0, "num_predict": 60},
        )
        value = json.loads(answer.message.content or "")
        assert isinstance(value, dict)
    assert isinstance(value["city"], str)


def get_weather(city: str) -> str:
    """Get the current weather in a city

    Args:
        city: The name of the city

    Returns:
        The weather
    """
    return f"It is sunny in {city}."


def test_tools(client: ollama.Client) -> None:
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "Use the tools."},
        {"role": "user", "content": "What is the weather in Paris?"},
    ]
    answer = client.chat(
        model=QWEN, messages=messages, tools=[get_weather], options={"temperature": 0, "num_predict": 100}
    )
    calls = answer.message.tool_calls
    assert calls
    assert calls[0].function.name == "get_weather"
    assert "Paris" in calls[0].function.arguments["city"]
    messages += [
        answer.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_name": "get_weather", "content": get_weather("Paris")},
    ]
    final = client.chat(
        model=QWEN, messages=messages, tools=[get_weather], options={"temperature": 0, "num_predict": 60}
    )
    assert final.message.content or final.message.tool_calls


def test_embeddings(client: ollama.Client) -> None:
    answer = client.embed(model=SMOL, input=["a cat", "a kitten"])
    assert len(answer.embeddings) == 2
    assert math.isclose(sum(x * x for x in answer.embeddings[0]), 1, rel_tol=1e-3)
    assert (answer.prompt_eval_count or 0) > 0
    assert client.embed(model=SMOL, input=[]).embeddings == []
    assert len(client.embeddings(model=SMOL, prompt="a cat").embedding) == 576
    with pytest.raises(ollama.ResponseError, match="not found, try pulling it first"):
        client.embed(model="nope", input="x")


def test_load_ps_and_unload(client: ollama.Client) -> None:
    loaded = client.generate(model=SMOL, keep_alive="10m")
    assert loaded.done_reason == "load"
    names = {m.name or m.model for m in client.ps().models}
    assert any(n and n.startswith("smollm2") for n in names)
    unloaded = client.generate(model=SMOL, keep_alive=0)
    assert unloaded.done_reason == "unload"


def test_log_probabilities(client: ollama.Client) -> None:
    answer = client.chat(
        model=QWEN, messages=ASK, options={"temperature": 0, "num_predict": 3}, logprobs=True, top_logprobs=5
    )
    assert answer.logprobs
    for token in answer.logprobs:
        assert token.logprob <= 0
        assert token.top_logprobs is not None
        assert len(token.top_logprobs) == 5


def test_a_long_conversation_is_shortened_with_a_visible_warning(
    client: ollama.Client, server: Server
) -> None:
    filler = [
        {"role": r, "content": f"{i} " + "word " * 300} for i in range(5) for r in ("user", "assistant")
    ]
    body = {"model": QWEN, "messages": [*filler, *ASK], "stream": False, "options": GREEDY}
    answer = server.ask("POST", "/api/chat", body, timeout=120)
    assert answer.status == 200
    assert "prompt_truncated" in answer.headers["x-inhouse-warning"]
    assert answer.json["warnings"]
    assert answer.json["message"]["content"]
    refused = server.ask("POST", "/api/chat", {**body, "truncate": False})
    assert refused.status == 400


def test_copy_and_delete(client: ollama.Client) -> None:
    client.copy(SMOL, "smol-copy")
    assert any(m.model == "smol-copy:latest" for m in client.list().models)
    client.delete("smol-copy")
    assert not any(m.model == "smol-copy:latest" for m in client.list().models)
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete("smol-copy")
    assert caught.value.status_code == 404


def test_pull_of_a_model_that_is_here_is_quick(client: ollama.Client) -> None:
    assert client.pull(SMOL).status == "success"
    statuses = [p.status for p in client.pull(SMOL, stream=True)]
    assert statuses[-1] == "success"
