"""The official OpenAI client against real models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import openai
import pytest
from pydantic import BaseModel

from support.running import Server

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"
ASK: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME: Any = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Get the time",
        "parameters": {"type": "object", "properties": {}},
    },
}
IN_PARIS: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{server.port}/v1"
    with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as made:
        yield made


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    names = {m.id for m in client.models.list()}
    assert any(n.startswith("qwen2.5-coder") for n in names)
    assert client.models.retrieve(QWEN).object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_a_whole_answer(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=ASK, temperature=0, max_completion_tokens=20
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.model == model
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_the_whole_answer_in_parts(client: openai.OpenAI) -> None:
    want = client.chat.completions.create(model=QWEN, messages=ASK, temperature=0, seed=1, max_tokens=16)
    chunks = list(
        client.chat.completions.create(
            model=QWEN, messages=ASK, temperature=0, seed=1, max_tokens=16, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == want.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == want.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert want.usage is not None
    assert chunks[-1].usage.completion_tokens == want.usage.completion_tokens


def test_the_prompt_cache_is_counted(client: openai.OpenAI) -> None:
    long: Any = [{"role": "user", "content": "Repeat after me: " + "one two three " * 60}]
    for _ in range(2):
        answer = client.chat.completions.create(model=QWEN, messages=long, max_tokens=1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens_details.cached_tokens or 0) > 100


def test_a_seed_makes_answers_repeat(client: openai.OpenAI) -> None:
    def ask(seed: int) -> str | None:
        return client.chat.completions.create(
            model=SMOL, messages=[{"role": "user", "content": "Invent a name."}], seed=seed, temperature=1.5, max_tokens=24
        ).choices[0].message.content  # fmt: skip

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in (1, 2, 3, 4)}) > 1


def test_stop_texts_end_the_answer_and_are_not_part_of_it(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=QWEN, messages=[{"role": "user", "content": "Count from 1 to 9, separated by commas."}],
        temperature=0, stop=["5"], max_tokens=60,
    )  # fmt: skip
    assert answer.choices[0].finish_reason == "stop"
    assert "5" not in (answer.choices[0].message.content or "")
    assert "4" in (answer.choices[0].message.content or "")


def test_several_answers_at_once(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=SMOL, messages=ASK, n=3, temperature=1.0, seed=3, max_tokens=12
    )
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert all(c.message.content for c in answer.choices)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 12
    many = client.chat.completions.create(model=SMOL, messages=ASK, n=6, max_tokens=3)
    assert [c.index for c in many.choices] == list(range(6))


def test_log_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=QWEN, messages=ASK, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs
    assert content is not None
    assert content.content
    for token in content.content:
        assert token.logprob <= 0
        assert bytes(token.bytes or []).decode(errors="replace") == token.token
        assert len(token.top_logprobs) == 3
        values = [t.logprob for t in token.top_logprobs]
        assert values == sorted(values, reverse=True)
    assert "".join(t.token for t in content.content) == answer.choices[0].message.content


def test_logit_bias_can_forbid_a_token(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model=QWEN, messages=ASK, temperature=0, max_tokens=1, logprobs=True
    )
    assert (first.choices[0].message.content or "").strip() == "Paris"
    banned = client.chat.completions.create(
        model=QWEN, messages=ASK, temperature=0, max_tokens=1, logit_bias={"59604": -100}
    )
    assert banned.choices[0].message.content != first.choices[0].message.content


@pytest.mark.parametrize("model", [SMOL, QWEN])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_required_tool_is_called_with_valid_arguments(
    client: openai.OpenAI, model: str, choice: Any
) -> None:
    answer = client.chat.completions.create(
        model=model, messages=IN_PARIS, tools=[WEATHER, TIME] if choice != "required" else [WEATHER],
        tool_choice=choice, temperature=0, max_tokens=120,
    )  # fmt: skip
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls or []
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    jsonschema_rs.validate(WEATHER["function"]["parameters"], json.loads(calls[0].function.arguments))


def test_a_tool_is_called_by_itself_and_its_result_is_used(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": "Use the tools."}, *IN_PARIS]
    first = client.chat.completions.create(
        model=QWEN, messages=messages, tools=[WEATHER], temperature=0, max_tokens=120
    )
    call = (first.choices[0].message.tool_calls or [])[0]
    assert call.type == "function"
    assert "Paris" in json.loads(call.function.arguments)["city"]
    messages += [
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21, "sky": "clear"}'},
    ]
    second = client.chat.completions.create(
        model=QWEN, messages=messages, tools=[WEATHER], temperature=0, max_tokens=60
    )
    assert second.choices[0].message.content or second.choices[0].message.tool_calls


def test_tool_calls_stream_as_deltas(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model=QWEN,
        messages=IN_PARIS,
        tools=[WEATHER],
        tool_choice="required",
        temperature=0,
        max_tokens=120,
        stream=True,
    ) as stream:
        chunks = list(stream)
    deltas = [t for c in chunks if c.choices for t in (c.choices[0].delta.tool_calls or [])]
    assert deltas[0].id
    assert deltas[0].function is not None
    assert deltas[0].function.name == "get_weather"
    arguments = "".join(d.function.arguments or "" for d in deltas if d.function)
    jsonschema_rs.validate(WEATHER["function"]["parameters"], json.loads(arguments))
    assert len(deltas) > 2
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"


def test_no_tool_is_called_when_none_is_chosen(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=QWEN, messages=IN_PARIS, tools=[WEATHER], tool_choice="none", temperature=0, max_tokens=40
    )
    assert not answer.choices[0].message.tool_calls
    assert answer.choices[0].message.content


class Person(BaseModel):
    name: str
    age: int
    hobbies: list[str]


@pytest.mark.parametrize("model", [SMOL, QWEN])
def test_a_strict_schema_is_kept(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "Ada is 36 and likes chess and tea. Describe her as JSON."}],
        response_format=Person,
        temperature=0,
        max_tokens=200,
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_json_object_mode_gives_an_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=QWEN,
        messages=[{"role": "user", "content": "A JSON object with the keys city and country, for Paris."}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=100,
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=QWEN,
        prompt=["The capital of France is", "2 + 2 ="],
        max_tokens=4,
        temperature=0,
        echo=True,
    )
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.choices[0].text.startswith("The capital of France is")
    assert "Paris" in answer.choices[0].text
    scored = client.completions.create(model=QWEN, prompt="1, 2, 3,", max_tokens=3, temperature=0, logprobs=2)
    assert scored.choices[0].logprobs is not None
    assert len(scored.choices[0].logprobs.tokens or []) == 3
    parts = client.completions.create(model=QWEN, prompt="1, 2, 3,", max_tokens=4, temperature=0, stream=True)
    assert "4" in "".join(p.choices[0].text for p in parts if p.choices)


def test_fill_in_the_middle(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=QWEN,
        prompt="def add(a, b):\n    return a +",
        suffix="\n\nprint(add(1, 2))",
        max_tokens=4,
        temperature=0,
    )
    assert answer.choices[0].text.startswith(" b")


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(client: openai.OpenAI, encoding: Any) -> None:
    answer = client.embeddings.create(
        model=SMOL, input=["a cat", "a kitten", "a car"], encoding_format=encoding
    )
    assert [d.index for d in answer.data] == [0, 1, 2]
    if encoding == "float":
        assert len(answer.data[0].embedding) == 576
        assert math.isclose(sum(x * x for x in answer.data[0].embedding), 1, rel_tol=1e-3)
    small = client.embeddings.create(model=SMOL, input="a cat", dimensions=64)
    assert len(small.data[0].embedding) == 64


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=QWEN, messages=[{"role": "user", "content": "word " * 4000}])
    assert caught.value.code == "context_length_exceeded"
    assert "2048" in caught.value.message
    assert "40" in caught.value.message


def test_control_token_text_stays_text(client: openai.OpenAI) -> None:
    def tokens(text: str) -> int:
        answer = client.chat.completions.create(
            model=QWEN, messages=[{"role": "user", "content": text}], max_tokens=1
        )
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert tokens("a<|im_end|>b") - tokens("ab") >= 4


def test_wrong_requests_name_the_field(client: openai.OpenAI) -> None:
    for field, value in (
        ("temperature", 9),
        ("n", 0),
        ("top_p", -1),
        ("max_tokens", 0),
        ("top_logprobs", 50),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=QWEN, messages=ASK, extra_body={field: value})
        assert caught.value.param == field


async def test_the_async_client_streams_several_at_once(server: Server) -> None:
    import asyncio

    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="x") as client:

        async def one() -> str:
            stream = await client.chat.completions.create(
                model=QWEN, messages=ASK, temperature=0, max_tokens=8, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        answers = await asyncio.gather(*(one() for _ in range(6)))
    assert all("Paris" in a for a in answers)
