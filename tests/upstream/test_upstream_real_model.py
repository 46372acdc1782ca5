"""Real models behind a real engine: tools, schemas, cancelling, contexts, embeddings."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inhouse.config import Engine as Settings
from inhouse.core.errors import BadRequest, ContextExceeded, WorkerDied
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    ReasoningDelta,
    Started,
    TextDelta,
    Tokens,
    ToolCallDelta,
    Vector,
)
from inhouse.core.messages import Format, Message, Sampling, Text, Tool, ToolCall, ToolChoice, ToolResult
from inhouse.core.models import Card, ModelName
from inhouse.core.requests import Chat, Complete, Embed, LoadOptions, Request, Tokenize
from inhouse.engines.llamacpp import LlamaCpp, wheel
from inhouse.engines.recipe import Room
from inhouse.prepare import Prepare
from inhouse.store.store import Store
from inhouse.upstream import WorkerEngine
from support.models import CODER, SMALL, model_home

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

WEATHER = Tool(
    "get_weather",
    "Get the weather of a city",
    {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
ADD = Tool(
    "add",
    "Add two integers",
    {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}},
        "required": ["a", "b"],
        "additionalProperties": False,
        "$defs": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
    },
)
EXACT = Sampling(temperature=0, max_tokens=60, seed=1)


@dataclass
class Running:
    """A worker process that serves ``card`` on a socket."""

    card: Card
    socket: str
    process: subprocess.Popen[bytes]
    launch: Any


def _run(name: str, folder: Path, *, slots: int = 3, label: str = "", **fields: Any) -> Running:
    store = Store(model_home(name))
    card = next(c for c in store.cards() if c.name.key == ModelName.parse(name).key)
    card = dataclasses.replace(card, **fields)
    recipe = LlamaCpp(Settings(kind="wheel", slots=slots, context_length=1024), wheel(), os.environ)
    address = str(folder / f"{len(name)}{label}.sock")
    launch = recipe.launch(card, LoadOptions(), room=Room(4 * 2**30, 2), address=address, secret="")
    with (folder / f"{len(name)}{label}.log").open("wb") as log:
        process = subprocess.Popen(
            launch.command, env=launch.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert process.stdin is not None
    process.stdin.write(launch.stdin)
    process.stdin.flush()
    return Running(card, address, process, launch)


def _stop(running: Running) -> None:
    begun = time.monotonic()
    running.process.terminate()
    assert running.process.wait(10) == 0
    assert time.monotonic() - begun < 5
    assert running.process.stdout is not None
    assert running.process.stdout.read() == b"", "a worker writes nothing to standard output"
    running.process.stdout.close()
    if running.process.stdin:
        running.process.stdin.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ih-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def small(folder: Path) -> Iterator[Running]:
    running = _run(SMALL, folder)
    yield running
    _stop(running)


@pytest.fixture(scope="module")
def coder(folder: Path) -> Iterator[Running]:
    running = _run(CODER, folder)
    yield running
    _stop(running)


@pytest.fixture(scope="module")
def single(folder: Path) -> Iterator[Running]:
    """One slot, for which all prompts fight."""
    running = _run(SMALL, folder, slots=1, label="one")
    yield running
    _stop(running)


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and m.reasoning_content %}"
    "<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""Opens a thought whatever is asked, as DeepSeek R1's does."""


@pytest.fixture(scope="module")
def thinker(folder: Path) -> Iterator[Running]:
    """A model that is made to think aloud."""
    capabilities = frozenset({"completion", "chat", "thinking"})
    running = _run(
        SMALL, folder, slots=2, label="think", template=THINKING, own_template=True, capabilities=capabilities
    )
    yield running
    _stop(running)


async def _connect(running: Running) -> WorkerEngine:
    engine = WorkerEngine(running.card, running.launch)
    async with asyncio.timeout(120):
        while not await engine.healthy(2):
            assert running.process.poll() is None
            await asyncio.sleep(0.05)
    return engine


@pytest.fixture
async def smol(small: Running) -> AsyncIterator[WorkerEngine]:
    engine = await _connect(small)
    yield engine
    await engine.close()


@pytest.fixture
async def qwen(coder: Running) -> AsyncIterator[WorkerEngine]:
    engine = await _connect(coder)
    yield engine
    await engine.close()


@pytest.fixture(params=["small", "coder"])
def which(request: pytest.FixtureRequest) -> Running:
    """A model without tools in its template, and one with."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Running)
    return found


@pytest.fixture
async def either(which: Running) -> AsyncIterator[WorkerEngine]:
    engine = await _connect(which)
    yield engine
    await engine.close()


def chat(*texts: str, **fields: Any) -> Chat:
    messages = tuple(Message("user" if i % 2 == 0 else "assistant", (Text(t),)) for i, t in enumerate(texts))
    return Chat(model="m", messages=messages, **({"sampling": EXACT} | fields))


async def collect(engine: WorkerEngine, request: Request) -> list[Event]:
    request = await Prepare(as_it_is, as_it_is, lambda card: engine.launch.grammars)(request, engine.card)
    return [event async for event in engine.run(request)]


async def as_it_is(request: Request, *_: Card) -> Request:
    return request


def text(events: list[Event], index: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta) and e.index == index)


def calls(events: list[Event]) -> list[tuple[str, Any]]:
    out: list[list[str]] = []
    for event in events:
        if isinstance(event, ToolCallDelta):
            if event.name:
                out.append([event.name, ""])
            out[event.call][1] += event.arguments
    return [(name, json.loads(arguments)) for name, arguments in out]


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def busy(running: Running) -> bool:
    connector = aiohttp.UnixConnector(path=running.socket)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get("http://worker/slots") as response:
            return any(slot["is_processing"] for slot in await response.json())


async def free_within(running: Running, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while await busy(running):
        assert time.monotonic() < deadline, f"the slot was not free after {seconds} s"
        await asyncio.sleep(0.02)


async def test_a_real_answer_streams_with_its_counts(qwen: WorkerEngine) -> None:
    events = await collect(qwen, chat("What is the capital of France? One word."))
    assert isinstance(events[0], Started)
    assert "Paris" in text(events)
    usage = finished(events).usage
    assert usage.prompt_tokens > 20
    assert usage.completion_tokens == len([e for e in events if isinstance(e, TextDelta)]) + 1
    again = finished(await collect(qwen, chat("What is the capital of France? One word."))).usage
    assert again.cached_tokens > 0


async def test_a_long_prompt_tells_its_prefill(qwen: WorkerEngine) -> None:
    events = await collect(qwen, chat("Say yes. " * 250, sampling=Sampling(max_tokens=1)))
    seen = [e for e in events if isinstance(e, Progress)]
    assert seen
    assert seen[-1].processed <= seen[-1].total


async def test_a_model_that_knows_tools_calls_one(qwen: WorkerEngine) -> None:
    events = await collect(qwen, chat("What is the weather in Paris?", tools=(WEATHER, ADD)))
    assert calls(events)[0] == ("get_weather", {"city": "Paris"})
    assert ChoiceEnd("tool_calls") in events
    assert text(events) == ""
    assert calls(await collect(qwen, chat("Say hello in one word.", tools=(WEATHER,)))) == []


async def test_a_result_goes_back_to_the_model(qwen: WorkerEngine) -> None:
    messages = (
        Message("user", (Text("What is the weather in Paris?"),)),
        Message("assistant", (ToolCall("c1", "get_weather", '{"city": "Paris"}'),)),
        Message("tool", (ToolResult("heavy snow, -5 C", "c1"),)),
        Message("user", (Text("Repeat the result in words."),)),
    )
    events = await collect(qwen, Chat(model="m", messages=messages, sampling=EXACT))
    assert "snow" in text(events)


async def test_required_and_named_calls_are_certain_on_any_chat_model(either: WorkerEngine) -> None:
    engine = either
    hot = Sampling(temperature=0.9, max_tokens=80, seed=3)
    for seed in range(3):
        wanted = chat(
            "Tell me a joke.", tools=(WEATHER, ADD), tool_choice=ToolChoice("required"),
            sampling=Sampling(temperature=0.9, max_tokens=80, seed=seed),
        )  # fmt: skip
        events = await collect(engine, wanted)
        ((name, arguments),) = calls(events)
        assert name in ("get_weather", "add")
        assert set(arguments) >= ({"city"} if name == "get_weather" else {"a", "b"})
        assert ChoiceEnd("tool_calls") in events
    named = chat(
        "Tell me a joke.", tools=(WEATHER, ADD), tool_choice=ToolChoice("required", "add"), sampling=hot
    )
    ((name, arguments),) = calls(await collect(engine, named))
    assert name == "add"
    assert all(isinstance(value, int) and 0 <= value <= 99 for value in arguments.values())


async def test_forced_arguments_stream_in_pieces(qwen: WorkerEngine) -> None:
    wanted = chat("Weather in Paris?", tools=(WEATHER,), tool_choice=ToolChoice("required"))
    events = await collect(qwen, wanted)
    assert len([e for e in events if isinstance(e, ToolCallDelta)]) > 3
    assert calls(events) == [("get_weather", {"city": "Paris"})]


async def test_parallel_required_calls_come_as_several(qwen: WorkerEngine) -> None:
    wanted = chat(
        "Call get_weather for Paris and add for 1 and 2.",
        tools=(WEATHER, ADD),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=True,
        sampling=Sampling(temperature=0, max_tokens=150),
    )
    found = calls(await collect(qwen, wanted))
    assert ("get_weather", {"city": "Paris"}) in found
    assert ("add", {"a": 1, "b": 2}) in found


async def test_a_schema_is_kept(either: WorkerEngine) -> None:
    engine = either
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "kind": {"enum": ["cat", "dog"]}},
        "required": ["name", "kind"],
        "additionalProperties": False,
    }
    hot = Sampling(temperature=0.9, max_tokens=80, seed=5)
    value = json.loads(
        text(await collect(engine, chat("A pet!", format=Format("schema", schema), sampling=hot)))
    )
    assert set(value) == {"name", "kind"}
    assert value["kind"] in ("cat", "dog")


async def test_a_schema_that_is_no_schema_is_refused_cleanly(smol: WorkerEngine) -> None:
    with pytest.raises(BadRequest) as caught:
        await collect(smol, chat("x", format=Format("schema", {"$ref": "#/nope"})))
    assert caught.value.param == "response_format"
    assert "nope" not in caught.value.message


async def test_stop_strings_seeds_and_choices(qwen: WorkerEngine) -> None:
    events = await collect(
        qwen,
        chat("Count from 1 to 9, digits only.", sampling=Sampling(temperature=0, max_tokens=40, stop=("4",))),
    )
    assert ChoiceEnd("stop", 0, "4") in events
    assert "4" not in text(events)
    hot = Sampling(temperature=1.2, max_tokens=6, seed=11)
    several = await collect(qwen, chat("Name an animal.", n=4, sampling=hot))
    assert sorted(e.index for e in several if isinstance(e, ChoiceEnd)) == [0, 1, 2, 3]
    assert finished(several).usage.completion_tokens <= 24


async def test_a_prefill_is_continued_and_not_repeated(qwen: WorkerEngine) -> None:
    events = await collect(qwen, chat("Count from 1 to 5 with commas.", "1, 2, "))
    assert text(events).lstrip().startswith("3")


async def test_nothing_is_generated_when_nothing_is_asked_for(smol: WorkerEngine) -> None:
    events = await collect(smol, chat("Hi", sampling=Sampling(max_tokens=0)))
    assert (text(events), finished(events).usage.completion_tokens) == ("", 0)


async def test_log_probabilities_of_every_token(smol: WorkerEngine) -> None:
    events = await collect(smol, chat("Hi", logprobs=2, sampling=Sampling(temperature=0, max_tokens=4)))
    found = [p for e in events if isinstance(e, TextDelta) for p in e.logprobs]
    assert "".join(p.bytes.decode() for p in found) == text(events)
    assert all(p.logprob <= 0 and len(p.top) == 2 and p.top[0].token == p.token for p in found)


async def test_control_tokens_in_content_stay_text(smol: WorkerEngine) -> None:
    async def count(content: str) -> int:
        events = await collect(smol, chat(content, sampling=Sampling(max_tokens=1)))
        return finished(events).usage.prompt_tokens

    assert await count("<|im_end|>") - await count("x") >= 4, "a control token would be one"


async def test_a_character_is_never_torn(smol: WorkerEngine) -> None:
    for limit in range(1, 7):
        sampling = Sampling(temperature=0, max_tokens=limit)
        events = await collect(smol, chat("Say 🙂日本🙂日本", "🙂日本", sampling=sampling))
        assert "\ufffd" not in text(events)


async def test_prompts_around_the_length_of_the_context(smol: WorkerEngine) -> None:
    asked = Tokenize(model="m", text=" alpha", special=False)
    [word] = [event.ids[0] for event in await collect(smol, asked) if isinstance(event, Tokens)]
    for length, reason in ((1023, "length"), (1024, "length")):
        request = Complete(model="m", prompts=((word,) * length,), sampling=Sampling(max_tokens=1))
        events = await collect(smol, request)
        assert ChoiceEnd(reason) in events
        assert finished(events).usage.prompt_tokens == length
    with pytest.raises(ContextExceeded) as caught:
        await collect(smol, Complete(model="m", prompts=((word,) * 1025,)))
    assert (caught.value.prompt_tokens, caught.value.context_length) == (1025, 1024)


async def test_a_long_conversation_is_shortened_aloud(smol: WorkerEngine) -> None:
    turns = [f"message {i} " + "word " * 100 for i in range(13)]
    with pytest.raises(ContextExceeded):
        await collect(smol, chat(*turns))
    events = await collect(smol, chat(*turns, truncate=True, sampling=Sampling(max_tokens=2)))
    assert any(isinstance(e, Notice) for e in events)
    assert 700 < finished(events).usage.prompt_tokens < 1024


async def test_a_context_of_token_ids_is_remembered(qwen: WorkerEngine) -> None:
    short = Sampling(temperature=0, max_tokens=12)
    first = finished(await collect(qwen, chat("My name is Bob.", want_context=True, sampling=short)))
    assert first.context
    events = await collect(
        qwen, chat("What is my name?", context=first.context, want_context=True, sampling=short)
    )
    assert "Bob" in text(events)
    assert finished(events).context[: len(first.context)] == first.context  # type: ignore[index]


async def test_the_middle_is_filled_in(qwen: WorkerEngine) -> None:
    request = Complete(
        model="m", prompts=("def add(a, b):\n    return ",), suffix="\n\nprint(add(1, 2))\n", sampling=EXACT
    )
    assert "a + b" in text(await collect(qwen, request))


async def test_one_worker_embeds_too(either: WorkerEngine) -> None:
    engine = either
    inputs = (
        "A kitten rests on a rug.",
        "",
        "The cat sat on the mat.",
        "Stock markets fell today.",
        "x " * 600,
    )
    events = await collect(engine, Embed(model="m", inputs=inputs))
    vectors = [e.values for e in events if isinstance(e, Vector)]
    assert len(vectors) == 5
    assert all(len(v) == engine.card.embedding_length for v in vectors)

    def near(a: int, b: int) -> float:
        return sum(x * y for x, y in zip(vectors[a], vectors[b], strict=True))

    assert near(0, 2) > near(0, 3)
    alone = await collect(engine, Embed(model="m", inputs=(inputs[3],)))
    same = next(e.values for e in alone if isinstance(e, Vector))
    assert sum(x * y for x, y in zip(same, vectors[3], strict=True)) > 0.999


async def test_leaving_while_it_writes_frees_the_slot(smol: WorkerEngine, small: Running) -> None:
    stream = smol.run(chat("Write a very long story.", sampling=Sampling(max_tokens=900)))
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    assert await busy(small)
    await stream.aclose()
    await free_within(small, 2)


async def test_leaving_while_it_reads_frees_the_slot(smol: WorkerEngine, small: Running) -> None:
    stream = smol.run(chat("omega sigma " * 400))
    async for event in stream:
        if isinstance(event, Progress):
            break
    await stream.aclose()
    await free_within(small, 4 if _loaded() else 2)


async def test_a_cancelled_task_frees_the_slot(smol: WorkerEngine, small: Running) -> None:
    task = asyncio.create_task(collect(smol, chat("Write a long poem.", sampling=Sampling(max_tokens=900))))
    async with asyncio.timeout(30):
        while not await busy(small):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await free_within(small, 4 if _loaded() else 2)


def _loaded() -> bool:
    """Whether other work takes the processors, so that a second of the engine's lasts longer."""
    with open("/proc/loadavg", encoding="ascii") as file:
        return float(file.read().split()[0]) > 2.5


async def test_a_killed_worker_is_a_clear_error(folder: Path) -> None:
    inner = folder / "killed"
    inner.mkdir()
    running = _run(SMALL, inner)
    engine = await _connect(running)
    stream = engine.run(chat("Write a very long story.", sampling=Sampling(max_tokens=900)))
    assert isinstance(await anext(stream), Started)
    running.process.kill()
    begun = time.monotonic()

    async def rest() -> None:
        async for _ in stream:
            pass

    with pytest.raises(WorkerDied):
        await rest()
    assert time.monotonic() - begun < 2
    running.process.wait(5)
    for pipe in (running.process.stdin, running.process.stdout):
        assert pipe is not None
        pipe.close()
    await engine.close()


def thoughts(events: list[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, ReasoningDelta))


async def test_thinking_ends_at_its_budget_and_never_leaks(thinker: Running) -> None:
    engine = await _connect(thinker)
    for fields in (
        {},
        {"logprobs": 1},
        {
            "format": Format(
                "schema",
                {
                    "type": "object",
                    "properties": {"n": {"type": "integer", "maximum": 99}},
                    "required": ["n"],
                    "additionalProperties": False,
                },
            )
        },
        {"tools": (ADD,)},
        {"tools": (ADD,), "tool_choice": ToolChoice("required")},
        {"want_context": True},
    ):
        events = await collect(engine, chat("Think about the number 4.", think_budget=6, **fields))
        usage = finished(events).usage
        assert thoughts(events), fields
        assert 0 < usage.reasoning_tokens <= 6, (fields, usage)
        assert usage.reasoning_tokens < usage.completion_tokens
        assert "<think>" not in text(events), fields
        if "format" in fields:
            assert isinstance(json.loads(text(events))["n"], int)
        if "tool_choice" in fields:
            assert calls(events)[0][0] == "add"
    await engine.close()


async def test_thoughts_that_are_not_wanted_do_not_come(thinker: Running) -> None:
    engine = await _connect(thinker)
    for fields in (
        {},
        {"logprobs": 1},
        {"format": Format("json")},
        {"tools": (ADD,)},
        {"want_context": True},
    ):
        events = await collect(engine, chat("Say hello.", think=False, **fields))
        assert thoughts(events) == "", fields
        assert "think>" not in text(events), fields
    await engine.close()


async def test_a_thought_cut_off_by_the_limit_is_no_content(thinker: Running) -> None:
    engine = await _connect(thinker)
    for fields in ({}, {"logprobs": 1}, {"format": Format("json")}, {"tools": (ADD,)}):
        events = await collect(engine, chat("Why?", sampling=Sampling(temperature=0, max_tokens=5), **fields))
        assert text(events) == "", fields
        assert thoughts(events), fields
        assert ChoiceEnd("length") in events
        assert finished(events).usage.completion_tokens == 5
    await engine.close()


async def test_a_prompt_that_lost_its_slot_is_found_again(single: Running) -> None:
    engine = await _connect(single)
    first = chat("Alpha beta gamma delta. " * 20, sampling=Sampling(max_tokens=2))
    other = chat("One two three four five. " * 30, sampling=Sampling(max_tokens=2))
    asked = finished(await collect(engine, first)).usage.prompt_tokens
    await collect(engine, other)
    assert finished(await collect(engine, first)).usage.cached_tokens > asked // 2
    await engine.close()


async def test_the_legs_of_a_call_read_their_prompt_once(qwen: WorkerEngine) -> None:
    wanted = chat("What is the weather in Rome? It is urgent.", tools=(WEATHER, ADD))
    begun = time.monotonic()
    events = await collect(qwen, wanted)
    assert calls(events)[0] == ("get_weather", {"city": "Rome"})
    assert len([e for e in events if isinstance(e, ToolCallDelta)]) > 3, "arguments stream"
    done = finished(events)
    assert done.usage.prompt_tokens > 100
    assert done.timings.prefill < time.monotonic() - begun


async def test_the_same_seed_says_the_same_and_choices_differ(qwen: WorkerEngine) -> None:
    hot = Sampling(temperature=1.2, max_tokens=12, seed=11)
    for fields in ({}, {"logprobs": 2}, {"tools": (ADD,)}):
        one = await collect(qwen, chat("Invent a word.", n=2, sampling=hot, **fields))
        two = await collect(qwen, chat("Invent a word.", n=2, sampling=hot, **fields))
        assert [text(one, i) for i in range(2)] == [text(two, i) for i in range(2)], fields
        assert text(one, 0) != text(one, 1), fields


async def test_log_probabilities_cover_the_text_and_no_more(qwen: WorkerEngine) -> None:
    sampling = Sampling(temperature=0, max_tokens=30, seed=1, stop=("five",))
    request = chat("Write: one, two, \U0001f389\U0001f98a, four, five, six", logprobs=2, sampling=sampling)
    events = await collect(qwen, request)
    found = [one for e in events if isinstance(e, TextDelta) for one in e.logprobs]
    assert b"".join(one.bytes for one in found).decode() == text(events)
    assert "five" not in text(events)
    assert all(one.top for one in found)


async def test_an_assistant_message_goes_on_however_it_is_asked_for(qwen: WorkerEngine) -> None:
    for fields in ({}, {"logprobs": 1}, {"tools": (ADD,)}, {"want_context": True}):
        events = await collect(qwen, chat("Count to six.", "1, 2, 3, 4, 5,", **fields))
        assert text(events).strip().startswith("6"), fields


async def test_a_rendered_prompt_answers_like_the_chat_it_was_made_of(qwen: WorkerEngine) -> None:
    prompt = "<|im_start|>user\nWhat is the capital of France? One word.<|im_end|>\n<|im_start|>assistant\n"
    events = await collect(qwen, chat("ignored", prompt=prompt))
    assert "Paris" in text(events)
