"""A worker as an engine: what is asked of it, what comes back, and every way it can fail."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.engine import Launch
from inhouse.core.errors import BadRequest, ContextExceeded, EngineError, Unsupported, WorkerDied
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Vector,
)
from inhouse.core.messages import Message, Sampling, Text, Tool, ToolChoice
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Chat, Complete, Embed, Load, LoadOptions, Request, Unload
from inhouse.core.usage import Timings, Usage
from inhouse.upstream import WorkerEngine
from upstream.llama_double import LlamaDouble, event, say

CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "w",
    "0" * 64,
    1,
    Footprint(1, 1),
    capabilities=frozenset({"completion", "chat", "tools", "insert"}),
    vocabulary=5000,
    embedding_length=3,
)


def with_caps(*names: str, **fields: Any) -> Card:
    return dataclasses.replace(CARD, capabilities=CARD.capabilities | set(names), **fields)


Make = Callable[..., WorkerEngine]


@pytest.fixture
async def make(double: LlamaDouble) -> AsyncIterator[Make]:
    """Makes engines for a card and a launch; all are closed in the end."""
    made: list[WorkerEngine] = []

    def one(card: Card = CARD, launch: Launch | None = None) -> WorkerEngine:
        made.append(WorkerEngine(card, launch or double.launch()))
        return made[-1]

    yield one
    for engine in made:
        await engine.close()


@pytest.fixture
async def engine(make: Make) -> WorkerEngine:
    return make()


def chat(*texts: str, **fields: Any) -> Chat:
    messages = tuple(Message("user" if i % 2 == 0 else "assistant", (Text(t),)) for i, t in enumerate(texts))
    return Chat(model="m", messages=messages, **fields)


def complete(*prompts: Any, **fields: Any) -> Complete:
    return Complete(model="m", prompts=prompts, **fields)


async def collect(engine: WorkerEngine, request: Request) -> list[Event]:
    return [event async for event in engine.run(request)]


def words(count: int, word: str = "w") -> str:
    return " ".join(f"{word}{i}" for i in range(count))


def texts(events: list[Event]) -> dict[int, str]:
    out: dict[int, str] = {}
    for one in events:
        if isinstance(one, TextDelta):
            out[one.index] = out.get(one.index, "") + one.text
    return out


def last(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_a_chat_starts_tells_its_progress_speaks_and_finishes(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    double.script = say("Hel", "lo")
    events = await collect(engine, chat("Hi there"))
    assert events == [
        Started(),
        Progress(5, 5, 1),
        TextDelta("Hel"),
        TextDelta("lo"),
        ChoiceEnd("stop"),
        Finished(Usage(5, 2, 1), Timings(prefill=0.01, decode=0.02)),
    ]


async def test_the_engine_says_started_before_the_prefill_ends(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    double.script = lambda _: []
    double.hang = True
    stream = engine.run(chat("Hi"))
    async with asyncio.timeout(5):
        assert await anext(stream) == Started()
    await stream.aclose()


@pytest.mark.parametrize("request_", [chat("Hi"), complete("Hi")])
async def test_leaving_closes_the_connection_at_once(
    double: LlamaDouble, engine: WorkerEngine, request_: Request
) -> None:
    double.hang = True
    double.script = lambda body: say("x")(body)[:1]
    stream = engine.run(request_)
    assert await anext(stream) == Started()
    await stream.aclose()
    async with asyncio.timeout(2):
        await double.left.wait()


async def test_a_cancelled_task_closes_the_connection_at_once(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    double.hang = True
    double.script = lambda _: []
    task = asyncio.create_task(collect(engine, chat("Hi")))
    async with asyncio.timeout(5):
        while not double.bodies:
            await asyncio.sleep(0)
        task.cancel()
        await double.left.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_more_choices_than_slots_run_in_rounds_with_seeds_that_move_on(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    events = await collect(engine, chat("Hi", n=5, sampling=Sampling(seed=7)))
    bodies = double.sent("/v1/chat/completions")
    assert [(b["n"], b["seed"]) for b in bodies] == [(2, 7), (2, 9), (1, 11)]
    assert texts(events) == dict.fromkeys(range(5), "Hello")
    assert [e.index for e in events if isinstance(e, ChoiceEnd)] == [0, 1, 2, 3, 4]
    assert len([e for e in events if isinstance(e, Started)]) == 1
    assert last(events).usage == Usage(4, 5, 1)


async def test_nothing_asked_for_gives_an_empty_answer(double: LlamaDouble, engine: WorkerEngine) -> None:
    double.script = say("x", finish="length")
    nothing = Sampling(max_tokens=0)
    for request in (chat("Hi", sampling=nothing), complete("Hi", sampling=nothing)):
        events = await collect(engine, request)
        assert texts(events) == {}
        assert last(events).usage.completion_tokens == 0
        assert ChoiceEnd("length") in events


async def test_a_forced_call_comes_out_of_plain_text(double: LlamaDouble, engine: WorkerEngine) -> None:
    double.script = say('{"name": "add", ', '"arguments": {"a": 1}}')
    events = await collect(engine, chat("Hi", tools=(Tool("add"),), tool_choice=ToolChoice("required")))
    calls = [e for e in events if isinstance(e, ToolCallDelta)]
    assert (calls[0].name, "".join(c.arguments for c in calls)) == ("add", '{"a": 1}')
    assert ChoiceEnd("tool_calls") in events


async def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(engine: WorkerEngine) -> None:
    for request, param in ((chat(words(300)), "messages"), (complete(words(300)), "prompt")):
        with pytest.raises(ContextExceeded) as caught:
            await collect(engine, request)
        assert caught.value.context_length == 256
        assert caught.value.prompt_tokens > 300
        assert caught.value.param == param


async def test_a_prompt_that_fills_the_context_gets_an_empty_answer(engine: WorkerEngine) -> None:
    for request in (chat(words(253), n=2), complete(words(255), n=2)):
        events = await collect(engine, request)
        assert events == [
            Started(),
            ChoiceEnd("length", 0),
            ChoiceEnd("length", 1),
            Finished(Usage(256), Timings()),
        ]


async def test_the_fewest_oldest_messages_are_dropped_and_told(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    system = Message("system", (Text("sys"),))
    request = chat(*[words(46, f"m{i}-") for i in range(7)], truncate=True, sampling=Sampling(max_tokens=10))
    request = dataclasses.replace(request, messages=(system, *request.messages))
    events = await collect(engine, request)
    sent = double.sent("/v1/chat/completions")[-1]["messages"]
    assert [m["content"].split()[0] for m in sent] == ["sys", *(f"m{i}-0" for i in range(2, 7))]
    notice = next(e for e in events if isinstance(e, Notice))
    assert events.index(notice) == 1
    assert notice.code == "prompt_truncated"
    assert "340" in notice.text
    assert "256" in notice.text
    assert "oldest 2 messages" in notice.text


async def test_messages_that_a_template_refuses_to_begin_with_are_dropped_too(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    def users_first(messages: list[dict[str, Any]]) -> str:
        if messages[0]["role"] != "user":
            raise ValueError("Jinja Exception: roles must alternate")
        return " ".join(m["content"] for m in messages)

    double.template = users_first
    await collect(
        engine, chat(*[words(60, f"m{i}-") for i in range(5)], truncate=True, sampling=Sampling(max_tokens=1))
    )
    assert [m["role"] for m in double.sent("/v1/chat/completions")[-1]["messages"]] == [
        "user",
        "assistant",
        "user",
    ]


async def test_the_front_of_the_last_message_is_cut_when_nothing_else_is_left(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    events = await collect(engine, chat("old", "older", words(400), truncate=True))
    sent = double.sent("/v1/chat/completions")[-1]["messages"]
    kept = sent[-1]["content"].split()
    assert len(sent) == 1
    assert kept[-1] == "w399"
    assert len(kept) == 256 - 64 - 3, "a quarter is left for the answer"
    assert "oldest 2 messages" in next(e.text for e in events if isinstance(e, Notice))


async def test_what_cannot_be_shortened_is_refused(double: LlamaDouble, engine: WorkerEngine) -> None:
    system = Message("system", (Text(words(300)),))
    request = dataclasses.replace(chat("x", truncate=True), messages=(system, chat("x").messages[0]))
    with pytest.raises(ContextExceeded):
        await collect(engine, request)


async def test_a_smaller_context_asked_for_is_a_limit_of_the_request(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    small = LoadOptions(context_length=20)
    await collect(engine, chat(words(9), load=small))
    await collect(engine, complete(words(9), load=small))
    assert [b["n_predict"] for _, b in double.bodies if "n_predict" in b] == [8, 10]
    with pytest.raises(ContextExceeded) as caught:
        await collect(engine, chat(words(40), load=small))
    assert (caught.value.prompt_tokens, caught.value.context_length) == (43, 20)
    with pytest.raises(ContextExceeded):
        await collect(engine, complete(words(40), load=small))
    full = await collect(engine, complete(words(19), load=small))
    assert full[1:] == [ChoiceEnd("length"), Finished(Usage(20), Timings())]
    full = await collect(engine, chat(words(17), load=small))
    assert full[1:] == [ChoiceEnd("length"), Finished(Usage(20), Timings())]


async def test_a_smaller_context_may_be_met_by_cutting(double: LlamaDouble, engine: WorkerEngine) -> None:
    small = LoadOptions(context_length=40)
    events = await collect(engine, chat("a", "b", words(60), load=small, truncate=True))
    assert any(isinstance(e, Notice) for e in events)
    assert double.sent("/v1/chat/completions")[-1]["n_predict"] == 10
    events = await collect(
        engine, complete(words(60), load=small, truncate=True, sampling=Sampling(max_tokens=4))
    )
    sent = double.sent("/completion")[-1]
    assert (sent["prompt"][0], len(sent["prompt"]), sent["n_predict"]) == (0, 36, 4)
    assert any(isinstance(e, Notice) for e in events)


async def test_a_context_that_the_engine_rounds_up_is_enforced_here(double: LlamaDouble, make: Make) -> None:
    engine = make(CARD, double.launch(context_length=100))
    with pytest.raises(ContextExceeded) as caught:
        await collect(engine, chat(words(120)))
    assert caught.value.context_length == 100


async def test_token_ids_go_before_the_conversation_and_come_back(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    double.script = say("so", "be")
    events = await collect(engine, chat("Hi", context=(7, 8), want_context=True))
    prompt = double.sent("/completion")[0]["prompt"]
    assert prompt == [7, 8, *double.ids(double.template([{"role": "user", "content": "Hi"}]), special=False)]
    assert last(events).context == (*prompt, 40, 41)
    assert texts(events) == {0: "sobe"}
    fresh = await collect(engine, chat("Hi", want_context=True))
    assert last(fresh).context == (0, *prompt[2:], 40, 41), "the beginning token stands at the beginning only"


async def test_a_context_that_grew_too_long_is_refused_or_cut(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    old = tuple(range(1, 301))
    with pytest.raises(ContextExceeded):
        await collect(engine, chat("Hi", context=old))
    events = await collect(engine, chat("Hi", context=old, truncate=True))
    prompt = double.sent("/completion")[-1]["prompt"]
    assert len(prompt) == 192
    assert prompt[-4] == 300
    assert any(isinstance(e, Notice) for e in events)
    await collect(engine, chat("a", "b", words(250), context=old, truncate=True))
    assert 300 not in double.sent("/completion")[-1]["prompt"]
    with pytest.raises(BadRequest) as caught:
        await collect(engine, chat("Hi", context=(9999,)))
    assert caught.value.param == "context"


async def test_thoughts_are_split_off_where_the_engine_does_not(double: LlamaDouble, make: Make) -> None:
    engine = make(with_caps("thinking"))
    double.script = say("<think>hm</think>", "yes")
    events = await collect(engine, chat("Hi", want_context=True))
    assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["hm"]
    double.template = lambda _: "opened <think>\n"
    double.script = say("hm</think>", "yes")
    events = await collect(engine, chat("Hi", want_context=True))
    assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["hm"]
    assert texts(events) == {0: "yes"}


async def test_prompts_run_one_after_the_other_and_count_their_choices(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    double.words += ["a", "b", "c"]
    events = await collect(engine, complete("a b", (1, 2, 3), n=2, echo=True, want_context=True))
    assert [b["prompt"] for b in double.sent("/completion")] == [[0, 1, 2], [1, 2, 3]]
    assert texts(events) == {0: "a bHello", 1: "a bHello", 2: "a b cHello", 3: "a b cHello"}
    assert [e.index for e in events if isinstance(e, ChoiceEnd)] == [0, 1, 2, 3]
    assert last(events).usage == Usage(6, 4)
    assert last(events).context == (0, 1, 2, 40)
    assert len([e for e in events if isinstance(e, Started)]) == 1


async def test_text_prompts_go_as_they_are(double: LlamaDouble, engine: WorkerEngine) -> None:
    await collect(engine, complete("<|im_start|>raw"))
    assert double.bodies == [("/completion", double.bodies[0][1])]
    assert double.bodies[0][1]["prompt"] == "<|im_start|>raw"


async def test_an_empty_prompt_is_the_beginning_of_a_text(double: LlamaDouble, make: Make) -> None:
    engine = make(with_caps(metadata={"tokenizer.ggml.bos_token_id": 3}))
    await collect(engine, complete(""))
    assert double.sent("/completion")[0]["prompt"] == [3]
    engine = make(CARD)
    await collect(engine, complete(""))
    assert double.sent("/completion")[1]["prompt"] == ""


FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


async def test_a_suffix_becomes_the_models_own_infill_tokens(double: LlamaDouble, make: Make) -> None:
    engine = make(with_caps(control_tokens=FIM))
    await collect(engine, complete("before <|fim_middle|>", suffix="after"))
    prompt = double.sent("/completion")[0]["prompt"]
    assert (
        double.text(prompt) == "<s> <|fim_prefix|> before <|fim_middle|> <|fim_suffix|> after <|fim_middle|>"
    )
    assert [b["parse_special"] for b in double.sent("/tokenize")] == [True, False, True, False, True]


async def test_a_suffix_without_known_tokens_goes_to_infill(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    events = await collect(engine, complete("before", suffix="after"))
    assert double.sent("/infill")[0]["input_suffix"] == "after"
    assert texts(events) == {0: "Hello"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"echo": True, "logprobs": 1}, "logprobs"), ({"suffix": "x"}, "suffix")],
)
async def test_completions_that_cannot_be_done_are_refused_by_name(
    double: LlamaDouble, fields: dict[str, Any], param: str, make: Make
) -> None:
    engine = make(dataclasses.replace(CARD, capabilities=frozenset({"completion"})))
    with pytest.raises(Unsupported) as caught:
        await collect(engine, complete("a", **fields))
    assert caught.value.param == param
    assert double.bodies == []


async def test_a_long_prompt_of_a_completion_is_cut_at_its_front(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    events = await collect(engine, complete(words(300), truncate=True, sampling=Sampling(max_tokens=6)))
    prompt = double.sent("/completion")[-1]["prompt"]
    assert (prompt[0], double.text(prompt[-1:]), len(prompt)) == (0, "w299", 249)
    assert any(isinstance(e, Notice) for e in events)


async def test_a_completion_with_a_suffix_is_never_cut(make: Make) -> None:
    engine = make(with_caps(control_tokens=FIM))
    small = LoadOptions(context_length=64)
    with pytest.raises(ContextExceeded):
        await collect(engine, complete(words(40), suffix=words(40), truncate=True, load=small))


async def test_embeddings_come_in_order_with_length_one_in_batches(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    inputs = ("", *[f"t{i}" for i in range(40)], (1, 2))
    events = await collect(engine, Embed(model="m", inputs=inputs))
    vectors = [e for e in events if isinstance(e, Vector)]
    assert [v.index for v in vectors] == list(range(42))
    assert all(abs(sum(x * x for x in v.values) - 1) < 1e-9 for v in vectors)
    assert [len(b["input"]) for b in double.sent("/v1/embeddings")] == [32, 10]
    assert double.sent("/v1/embeddings")[0]["input"][0] == " "
    assert events[0] == Started()
    assert last(events).usage == Usage(84)


async def test_embeddings_may_be_shorter_but_not_longer(engine: WorkerEngine) -> None:
    events = await collect(engine, Embed(model="m", inputs=("a",), dimensions=2))
    assert [e.values for e in events if isinstance(e, Vector)] == [(0.6, 0.8)]
    with pytest.raises(BadRequest) as caught:
        await collect(engine, Embed(model="m", inputs=("a",), dimensions=4))
    assert caught.value.param == "dimensions"


async def test_long_inputs_of_embeddings_are_refused_or_cut_at_their_end(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    for text in (words(300), tuple(range(300))):
        with pytest.raises(ContextExceeded) as caught:
            await collect(engine, Embed(model="m", inputs=(text,)))
        assert caught.value.param == "input"
        await collect(engine, Embed(model="m", inputs=(text,), truncate=True))
        sent = double.sent("/v1/embeddings")[-1]["input"][0]
        assert len(sent) == 255, "a generating engine keeps one token for an answer"
    await collect(
        engine, Embed(model="m", inputs=("a b c d",), truncate=True, load=LoadOptions(context_length=3))
    )
    assert double.text(double.sent("/v1/embeddings")[-1]["input"][0]) == "<s> a b"
    with pytest.raises(ContextExceeded):
        await collect(
            engine, Embed(model="m", inputs=("a b c d",), truncate=True, load=LoadOptions(context_length=1))
        )
    await collect(engine, Embed(model="m", inputs=("a b",), load=LoadOptions(context_length=3)))
    assert double.sent("/v1/embeddings")[-1]["input"] == ["a b"]


async def test_an_embedding_model_uses_its_whole_context(double: LlamaDouble, make: Make) -> None:
    engine = make(dataclasses.replace(CARD, capabilities=frozenset({"embedding"})))
    await collect(engine, Embed(model="m", inputs=(words(300),), truncate=True))
    assert len(double.sent("/v1/embeddings")[-1]["input"][0]) == 256


async def test_loading_and_unloading_need_no_engine(double: LlamaDouble, engine: WorkerEngine) -> None:
    assert await collect(engine, Load(model="m")) == [
        Started(),
        ChoiceEnd("load"),
        Finished(Usage(), Timings()),
    ]
    assert (await collect(engine, Unload(model="m")))[1] == ChoiceEnd("unload")
    assert double.bodies == []


async def test_a_refusal_is_clean(double: LlamaDouble, engine: WorkerEngine) -> None:
    double.refuse = (400, b'{"error":{"code":400,"message":"Jinja Exception: secret","type":"x"}}')
    for request in (chat("Hi"), complete("Hi"), Embed(model="m", inputs=("a",))):
        with pytest.raises(BadRequest) as caught:
            await collect(engine, request)
        assert "secret" not in caught.value.message
        assert "secret" in caught.value.detail
    double.refuse = (500, b"{}")
    with pytest.raises(EngineError) as failed:
        await collect(engine, chat("Hi"))
    assert type(failed.value) is EngineError


async def test_a_connection_that_breaks_means_the_worker_died(
    double: LlamaDouble, engine: WorkerEngine
) -> None:
    double.script = say("a", "b")
    double.cut = 2
    seen: list[Event] = []

    async def read() -> None:
        async for one in engine.run(chat("Hi")):
            seen.append(one)

    with pytest.raises(WorkerDied) as caught:
        await read()
    assert seen[0] == Started()
    assert str(double.socket) not in caught.value.message


async def test_no_worker_at_all_means_it_died(folder: Path, make: Make) -> None:
    engine = make(CARD, Launch("x", ("x",), str(folder / "none.sock")))
    with pytest.raises(WorkerDied) as caught:
        await collect(engine, chat("Hi"))
    assert "sock" not in caught.value.message
    assert not await engine.healthy(1)


async def test_a_stream_without_an_end_is_an_error(double: LlamaDouble, engine: WorkerEngine) -> None:
    double.script = lambda body: say("a")(body)[:-1]
    for request in (chat("Hi"), complete("Hi")):
        with pytest.raises(EngineError, match="early"):
            await collect(engine, request)


async def test_an_error_amid_the_stream_is_raised(double: LlamaDouble, engine: WorkerEngine) -> None:
    double.script = lambda body: [*say("a")(body)[:2], event({"error": {"code": 500, "message": "secret"}})]
    with pytest.raises(EngineError) as caught:
        await collect(engine, chat("Hi"))
    assert "secret" not in caught.value.message


async def test_health_is_what_the_worker_says(double: LlamaDouble, engine: WorkerEngine) -> None:
    assert await engine.healthy(2)
    double.healthy = False
    assert not await engine.healthy(2)


async def test_a_closed_engine_answers_no_more(engine: WorkerEngine) -> None:
    assert await engine.healthy(2)
    await engine.close()
    await engine.close()
    assert not await engine.healthy(2)
    with pytest.raises(WorkerDied):
        await collect(engine, chat("Hi"))


async def test_a_worker_on_loopback_gets_the_secret(make: Make) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    engine = make(CARD, Launch("x", ("x",), f"127.0.0.1:{port}", secret="hush"))
    assert await engine.healthy(5)
    assert b"Bearer hush" in heard[0]
    async with asyncio.timeout(5):
        await gone.wait()
    server.close()
    await server.wait_closed()


async def test_a_worker_that_does_not_answer_is_not_healthy(folder: Path, make: Make) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_unix_server(serve, folder / "s.sock")
    engine = make(CARD, Launch("x", ("x",), str(folder / "s.sock")))
    begun = time.monotonic()
    assert not await engine.healthy(0.05)
    assert time.monotonic() - begun < 2
    async with asyncio.timeout(5):
        await gone.wait()
    server.close()
