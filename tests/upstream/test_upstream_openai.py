"""A server of OpenAI's wire as an engine."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import (
    BadRequest,
    Busy,
    ContextExceeded,
    EngineError,
    InhouseError,
    NotFound,
    Unsupported,
    WorkerDied,
)
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    ReasoningDelta,
    Rendered,
    Started,
    TextDelta,
    Tokens,
    Vector,
)
from inhouse.core.messages import Format, Image, Message, Sampling, Text, Tool, ToolChoice
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import (
    Chat,
    Complete,
    Detokenize,
    Embed,
    Load,
    LoadOptions,
    Render,
    Request,
    Rerank,
    Tokenize,
)
from inhouse.dialects.openai.client import OPENAI, VLLM
from inhouse.upstream.openai import OpenAIEngine
from upstream.openai_double import OpenAIDouble, chunk, say

CARD = Card(
    name=ModelName.parse("m"),
    digest="0" * 64,
    weights="m",
    weights_digest="0" * 64,
    size=1,
    footprint=Footprint(1, 1),
    capabilities=frozenset({"completion", "chat"}),
    format="safetensors",
    vocabulary=100,
)
THINKER = dataclasses.replace(CARD, capabilities=CARD.capabilities | {"thinking"})
TOOL = Tool("weather", "", {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]})


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[OpenAIDouble]:
    async with OpenAIDouble(folder / "o.sock") as running:
        yield running


def chat(text: str = "hi", **more: Any) -> Chat:
    return Chat(model="m", messages=(Message("user", (Text(text),)),), **more)


async def events(server: OpenAIDouble, request: Request, card: Card = CARD, **launch: Any) -> list[Event]:
    engine = OpenAIEngine(card, server.launch(**launch))
    try:
        async with aclosing(engine.run(request)) as stream:
            return [event async for event in stream]
    finally:
        await engine.close()


def text_of(found: list[Event], index: int = 0) -> str:
    return "".join(e.text for e in found if isinstance(e, TextDelta) and e.index == index)


async def test_a_chat_is_one_call(server: OpenAIDouble) -> None:
    server.script = say("Hel", "lo")
    found = await events(server, chat(sampling=Sampling(max_tokens=5)), secret="s3")
    assert [type(event) for event in found] == [Started, TextDelta, TextDelta, ChoiceEnd, Finished]
    assert text_of(found) == "Hello"
    end = found[-1]
    assert isinstance(end, Finished)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (9, 2)
    assert end.timings.prefill > 0
    [(path, body)] = server.bodies
    assert path == "/v1/chat/completions"
    assert body["model"] == "m"
    assert server.headers[0]["authorization"] == "Bearer s3"


async def test_choices_are_made_one_after_the_other_where_a_server_makes_one(server: OpenAIDouble) -> None:
    found = await events(server, chat(n=3, sampling=Sampling(seed=5)), takes=OPENAI - {"n"})
    assert [text_of(found, i) for i in range(3)] == ["Hello"] * 3
    assert [body["seed"] for _, body in server.bodies] == [5, 6, 7]
    assert [type(e) for e in found].count(Started) == 1
    end = found[-1]
    assert isinstance(end, Finished)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (9, 3)


async def test_several_prompts_have_their_choices_in_order(server: OpenAIDouble) -> None:
    server.script = say("x", raw=True)
    request = Complete(model="m", prompts=("a", (1, 2)), n=2)
    for takes, calls in ((VLLM, 2), (VLLM - {"n"}, 4)):
        server.bodies.clear()
        found = await events(server, request, takes=takes)
        assert [text_of(found, i) for i in range(4)] == ["x"] * 4
        assert sorted(e.index for e in found if isinstance(e, ChoiceEnd)) == [0, 1, 2, 3]
        assert len(server.bodies) == calls
        end = found[-1]
        assert isinstance(end, Finished)
        assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (18, 4)


async def test_a_default_that_the_server_lacks_is_told_and_a_wish_refused(server: OpenAIDouble) -> None:
    card = dataclasses.replace(CARD, defaults={"temperature": 0.2, "min_p": 0.1, "stop": ["END"]})
    found = await events(server, chat(sampling=Sampling(fallback=Sampling(top_k=40))), card, takes=OPENAI)
    notices = [event for event in found if isinstance(event, Notice)]
    assert [notice.code for notice in notices] == ["default_not_applied"]
    assert "top_k, min_p" in notices[0].text
    assert isinstance(found[0], Started)
    [(_, body)] = server.bodies
    assert (body["temperature"], body["stop"]) == (0.2, ["END"])
    assert not body.keys() & {"top_k", "min_p"}
    with pytest.raises(Unsupported) as caught:
        await events(server, chat(sampling=Sampling(top_k=40)), takes=OPENAI)
    assert caught.value.param == "top_k"


async def test_defaults_go_to_a_server_that_takes_them(server: OpenAIDouble) -> None:
    card = dataclasses.replace(CARD, defaults={"repeat_penalty": 1.1, "num_predict": 7, "seed": 3})
    found = await events(server, chat(sampling=Sampling(fallback=Sampling(top_k=40))), card)
    assert not [event for event in found if isinstance(event, Notice)]
    [(_, body)] = server.bodies
    assert body["top_k"] == 40
    assert body["repetition_penalty"] == 1.1
    assert body["max_completion_tokens"] == 7
    assert body["seed"] == 3


async def test_texts_of_control_tokens_are_broken(server: OpenAIDouble) -> None:
    card = dataclasses.replace(CARD, control_tokens=("<|im_end|>",))
    await events(server, chat("a<|im_end|>b"), card)
    [(_, body)] = server.bodies
    assert "<|im_end|>" not in body["messages"][0]["content"]
    assert body["messages"][0]["content"].startswith("a<")


async def test_thoughts_between_tags_are_told_apart_where_the_server_does_not(server: OpenAIDouble) -> None:
    server.script = say("<think>hm", "</think>", "\n\nyes")
    found = await events(server, chat(), THINKER, takes=OPENAI)
    assert "".join(e.text for e in found if isinstance(e, ReasoningDelta)) == "hm"
    assert text_of(found) == "yes"
    found = await events(server, chat(), THINKER, takes=OPENAI | {"reasoning"})
    assert text_of(found) == "<think>hm</think>\n\nyes"


async def test_a_limit_beyond_the_context_is_cut_to_it(server: OpenAIDouble) -> None:
    too_long = "This model's maximum context length is 64 tokens and your request has 36 input tokens"
    server.refusals = [(400, {"error": {"message": too_long}}, {})]
    found = await events(server, chat(sampling=Sampling(max_tokens=500)))
    assert text_of(found) == "Hello"
    assert [body["max_completion_tokens"] for _, body in server.bodies] == [500, 28]


@pytest.mark.parametrize("asked", [64, 90])
async def test_a_prompt_that_is_too_long_is_refused_in_figures(server: OpenAIDouble, asked: int) -> None:
    told = f"This model's maximum context length is 64 tokens and your request has {asked} input tokens"
    server.refusals = [(400, {"error": {"message": told}}, {})] * 2
    with pytest.raises(ContextExceeded) as caught:
        await events(server, chat(sampling=Sampling(max_tokens=5)))
    assert (caught.value.prompt_tokens, caught.value.context_length) == (asked, 64)
    assert len(server.bodies) == 1


def turns(*texts: str, **more: Any) -> Chat:
    """A conversation with a system message first."""
    roles = itertools.cycle(("user", "assistant"))
    said = (Message(role, (Text(text),)) for role, text in zip(roles, texts, strict=False))
    return Chat(model="m", messages=(Message("system", (Text("Be brief."),)), *said), **more)


def refusal(tokens: int) -> tuple[int, Any, dict[str, str]]:
    text = f"This model's maximum context length is 64 tokens and your request has {tokens} input tokens"
    return 400, {"error": {"message": text}}, {}


def sent(server: OpenAIDouble) -> list[list[str]]:
    """The messages of each generation."""
    return [[m["content"] for m in b["messages"]] for path, b in server.bodies if path.startswith("/v1/")]


LONG = ("one " * 20, "two " * 20, "three", "four", "five")


async def test_the_oldest_messages_go_where_a_request_lets_them(server: OpenAIDouble) -> None:
    server.refusals = [refusal(70)]
    found = await events(server, turns(*LONG, truncate=True))
    assert text_of(found) == "Hello"
    assert sent(server) == [["Be brief.", *LONG], ["Be brief.", "three", "four", "five"]]
    [told] = [event for event in found if isinstance(event, Notice)]
    assert told.code == "prompt_truncated"
    assert "70 tokens, the context holds 64: the oldest 2 messages were left out" in told.text


async def test_it_is_tried_again_with_less_and_at_last_with_the_last_message(server: OpenAIDouble) -> None:
    server.refusals = [refusal(66)] * 4
    texts = [f"{word} " * 30 for word in "abcdefghijk"]
    await events(server, turns(*texts, truncate=True))
    counts = [len(messages) for messages in sent(server)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 5
    assert sent(server)[-1] == ["Be brief.", texts[-1]]
    assert all(messages[1][0] in "acegik" for messages in sent(server)), "it begins with the user"


@pytest.mark.parametrize("texts", [("one " * 20,), LONG])
async def test_what_cannot_be_left_out_is_refused_by_its_name(
    server: OpenAIDouble, texts: tuple[str, ...]
) -> None:
    server.refusals = [refusal(90)] * 9
    with pytest.raises(ContextExceeded) as caught:
        await events(server, turns(*texts, truncate=True))
    assert "truncate" in caught.value.hint
    with pytest.raises(ContextExceeded):
        await events(server, turns(*texts))
    assert sent(server)[-1] == ["Be brief.", *texts], "without leave nothing is left out"


async def test_a_text_cannot_be_cut_and_that_is_said(server: OpenAIDouble) -> None:
    server.refusals = [refusal(90)]
    with pytest.raises(ContextExceeded) as caught:
        await events(server, Complete(model="m", prompts=("x " * 90,), truncate=True))
    assert "truncate" in caught.value.hint


SHORT = LoadOptions(context_length=16)


async def test_a_shorter_context_that_is_asked_for_is_kept(server: OpenAIDouble) -> None:
    await events(server, turns("a b c", load=SHORT))
    assert server.bodies[-1][1]["max_completion_tokens"] == 16 - 5
    with pytest.raises(ContextExceeded) as caught:
        await events(server, turns("word " * 20, load=SHORT))
    assert (caught.value.prompt_tokens, caught.value.context_length) == (22, 16)
    found = await events(server, turns("word " * 20, "yes", "go on", load=SHORT, truncate=True))
    assert sent(server)[-1] == ["Be brief.", "go on"]
    assert [event.code for event in found if isinstance(event, Notice)] == ["prompt_truncated"]
    await events(
        server, Complete(model="m", prompts=("a b c",), load=SHORT, sampling=Sampling(max_tokens=99))
    )
    assert server.bodies[-1][1]["max_tokens"] == 16 - 3


async def test_where_nobody_counts_tokens_a_shorter_context_is_told_not_to_be_kept(
    server: OpenAIDouble,
) -> None:
    found = await events(server, turns("a b c", load=SHORT), takes=OPENAI)
    [told] = [event for event in found if isinstance(event, Notice)]
    assert "num_ctx 16 is not applied" in told.text
    same = await events(server, turns("a b c", load=LoadOptions(context_length=64)), takes=OPENAI)
    assert not [event for event in same if isinstance(event, Notice)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (404, NotFound), (429, Busy), (500, EngineError), (503, Busy)],
)
async def test_refusals_have_their_kind(server: OpenAIDouble, status: int, kind: type[InhouseError]) -> None:
    server.refusals = [(status, {"error": {"message": "secret words"}}, {"retry-after": "9"})]
    with pytest.raises(kind) as caught:
        await events(server, chat())
    assert "secret" not in caught.value.message
    if kind is Busy:
        assert caught.value.retry_after == 9


async def test_a_stream_that_breaks_is_the_workers_death(server: OpenAIDouble) -> None:
    server.script, server.cut = say("x", end=None), True
    with pytest.raises(WorkerDied):
        await events(server, chat())


async def test_a_stream_that_ends_without_an_end_is_an_error(server: OpenAIDouble) -> None:
    server.script = say("x", end=None)
    with pytest.raises(EngineError, match="early"):
        await events(server, chat())


async def test_nobody_there_is_the_workers_death(folder: Path) -> None:
    with pytest.raises(WorkerDied):
        await events(OpenAIDouble(folder / "none.sock"), chat())


async def test_leaving_closes_the_connection(server: OpenAIDouble) -> None:
    server.script, server.hang = say("x", end=None), True
    engine = OpenAIEngine(CARD, server.launch())
    async with aclosing(engine.run(chat())) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    await asyncio.wait_for(server.left.wait(), 2)
    await engine.close()
    with pytest.raises(WorkerDied):
        async for _ in engine.run(chat()):
            pass


async def test_a_server_without_usage_has_its_pieces_counted(server: OpenAIDouble) -> None:
    server.script = say("a", "b", usage=False)
    found = await events(server, chat())
    assert [e.code for e in found if isinstance(e, Notice)] == ["usage_counted"]
    end = found[-1]
    assert isinstance(end, Finished)
    assert end.usage.completion_tokens == 2


async def test_an_answer_that_breaks_its_schema_does_not_end_like_a_right_one(server: OpenAIDouble) -> None:
    wanted = Format("schema", {"type": "object", "required": ["a"]})
    server.script = say('{"a": 1}')
    assert text_of(await events(server, chat(format=wanted))) == '{"a": 1}'
    server.script = say("{}")
    with pytest.raises(EngineError, match="schema"):
        await events(server, chat(format=wanted))
    raw = Complete(model="m", prompts=("a",), format=wanted)
    server.script = say("{}", raw=True)
    with pytest.raises(EngineError, match="schema"):
        await events(server, raw)


async def test_a_call_that_was_forced_must_come(server: OpenAIDouble) -> None:
    forced = chat(tools=(TOOL,), tool_choice=ToolChoice("required"))
    with pytest.raises(EngineError, match="did not make the call"):
        await events(server, forced)

    def calls(body: dict[str, Any]) -> list[bytes]:
        call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": "{}"}}
        return [
            chunk(choices=[{"index": 0, "delta": {"tool_calls": [call]}}]),
            chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]),
        ]

    server.script = calls
    found = await events(server, chat(tools=(TOOL,)))
    assert [e.reason for e in found if isinstance(e, ChoiceEnd)] == ["tool_calls"]
    assert "invalid_tool_call" in [e.code for e in found if isinstance(e, Notice)] or any(
        "weather" in e.text for e in found if isinstance(e, Notice)
    )


async def test_embeddings_come_in_order_and_of_length_1(server: OpenAIDouble) -> None:
    found = await events(server, Embed(model="m", inputs=tuple("abc" * 15), truncate=True))
    vectors = [event for event in found if isinstance(event, Vector)]
    assert [vector.index for vector in vectors] == list(range(45))
    assert all(math.isclose(sum(x * x for x in v.values), 1) for v in vectors)
    end = found[-1]
    assert isinstance(end, Finished)
    assert end.usage.prompt_tokens == 225
    assert [len(body["input"]) for _, body in server.bodies] == [32, 13]
    cut = await events(server, Embed(model="m", inputs=("a",), dimensions=1))
    assert [event.values for event in cut if isinstance(event, Vector)] == [(1.0,)]
    with pytest.raises(BadRequest, match="dimensions"):
        await events(server, Embed(model="m", inputs=("a",), dimensions=3))


async def test_tokens_where_the_server_tells_them(server: OpenAIDouble) -> None:
    found = await events(server, Tokenize(model="m", text="a bcd"))
    assert [event for event in found if isinstance(event, Tokens)] == [Tokens((1, 3), (), 64)]
    assert text_of(await events(server, Detokenize(model="m", tokens=(1, 3)))) == "x xxx"
    assert text_of(await events(server, Detokenize(model="m", tokens=()))) == ""
    rendered = await events(server, Render(model="m", chat=chat("a bcd")))
    assert Rendered("x xxx") in rendered
    end = rendered[-1]
    assert isinstance(end, Finished)
    assert end.usage.prompt_tokens == 2


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (Tokenize(model="m", text="a"), "model"),
        (Detokenize(model="m", tokens=(1,)), "model"),
        (Render(model="m", chat=chat()), "model"),
        (Rerank(model="m", pairs=(("a", "b"),)), "model"),
        (chat(adapters=(("0" * 64, 1.0),)), "adapters"),
        (Complete(model="m", prompts=("a",), best_of=3), "best_of"),
        (chat(sampling=Sampling(logit_bias=((100, 1.0),))), "logit_bias"),
    ],
)
async def test_what_this_wire_does_not_do_is_a_clear_refusal(
    server: OpenAIDouble, request_: Request, param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        await events(server, request_, takes=OPENAI)
    assert caught.value.param == param
    assert not server.bodies


async def test_images_are_not_counted(server: OpenAIDouble) -> None:
    seen = Chat(model="m", messages=(Message("user", (Image(b"x", "image/png"),)),))
    with pytest.raises(Unsupported) as caught:
        await events(server, Render(model="m", chat=seen))
    assert caught.value.param == "messages"


async def test_loading_only_ends(server: OpenAIDouble) -> None:
    found = await events(server, Load(model="m"))
    assert [type(event) for event in found] == [Started, ChoiceEnd, Finished]


async def test_health_is_what_the_ready_path_says(server: OpenAIDouble) -> None:
    server.ready = "/v1/models"
    for path, ready in (("/v1/models", True), ("/health", False)):
        engine = OpenAIEngine(CARD, server.launch(ready_path=path))
        assert await engine.healthy(1) is ready
        await engine.close()
        assert await engine.healthy(1) is False


async def test_thoughts_that_we_tell_apart_are_counted(server: OpenAIDouble) -> None:
    server.script = say("<think>one", " two", "</think>", "yes")
    end = (await events(server, chat(), THINKER, takes=OPENAI))[-1]
    assert isinstance(end, Finished)
    assert (end.usage.completion_tokens, end.usage.reasoning_tokens) == (4, 2)


async def test_defaults_are_those_of_the_model_that_is_asked_not_of_the_one_loaded(
    server: OpenAIDouble,
) -> None:
    asked = dataclasses.replace(CARD, name=ModelName.parse("other"), defaults={"top_k": 7})
    await events(server, dataclasses.replace(chat(), target=asked))
    assert server.bodies[0][1]["top_k"] == 7
