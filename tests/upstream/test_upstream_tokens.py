"""Tokens, text and prompts of a worker."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.errors import BadRequest, EngineError
from inhouse.core.events import ChoiceEnd, Event, Finished, Rendered, Started, TextDelta, Tokens
from inhouse.core.messages import Message, Text, Tool
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Chat, Detokenize, Render, Request, Tokenize
from inhouse.dialects.llamaserver.tokens import decode_pieces
from inhouse.upstream import WorkerEngine
from upstream.llama_double import LlamaDouble


def card(**fields: Any) -> Card:
    fields = {"capabilities": frozenset({"completion", "chat"})} | fields
    return Card(ModelName.parse("m"), "d", "w", "d", 1, Footprint(1, 1), **fields)


async def events(double: LlamaDouble, request: Request, of: Card | None = None) -> list[Event]:
    engine = WorkerEngine(of or card(), double.launch())
    try:
        found = [event async for event in engine.run(request)]
    finally:
        await engine.close()
    assert isinstance(found[0], Started)
    assert isinstance(found[-1], Finished)
    return found[1:-1]


def chat(*texts: str, **more: Any) -> Chat:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], (Text(text),)) for i, text in enumerate(texts))
    return Chat(model="m", messages=messages, **more)


async def test_a_text_becomes_ids_with_their_bytes(double):
    double.words += ["0xe282", "0xac"]
    (tokens,) = await events(double, Tokenize(model="m", text="0xe282 0xac hi"))
    assert tokens == Tokens((0, 1, 2, 3), (b"<s>", b"\xe2\x82", b"\xac", b"hi"), 256)
    assert b"".join(tokens.pieces[1:3]).decode() == "€"


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("control", [True, False])
async def test_what_is_added_and_read_is_up_to_the_request(double, special, control):
    (tokens,) = await events(double, Tokenize(model="m", text="hi", special=special, control=control))
    (body,) = double.sent("/tokenize")
    assert (body["add_special"], body["parse_special"]) == (special, control)
    assert len(tokens.ids) == 1 + special


async def test_ids_become_text(double):
    double.ids("a b", special=True)
    found = await events(double, Detokenize(model="m", tokens=(1, 2)))
    assert found == [TextDelta("a b"), ChoiceEnd("stop")]


async def test_no_ids_are_no_text(double):
    assert await events(double, Detokenize(model="m", tokens=())) == [TextDelta(""), ChoiceEnd("stop")]


async def test_an_id_outside_the_vocabulary_is_refused_by_its_field(double):
    with pytest.raises(BadRequest) as caught:
        await events(double, Detokenize(model="m", tokens=(1, 50)), card(vocabulary=50))
    assert caught.value.param == "tokens"
    assert not double.sent("/detokenize")


async def test_a_chat_is_rendered_and_counted_and_nothing_generated(double):
    rendered, tokens = await events(double, Render(model="m", chat=chat("hi there")))
    assert rendered == Rendered("<user> hi there </>")
    assert len(tokens.ids) == 5
    assert tokens.pieces == ()
    assert {path for path, _ in double.bodies} == {"/apply-template", "/tokenize"}


async def test_the_pieces_of_a_rendered_chat_are_given_when_asked(double):
    _, tokens = await events(double, Render(model="m", chat=chat("hi"), pieces=True))
    assert tokens.pieces == (b"<s>", b"<user>", b"hi", b"</>")


async def test_a_rendered_chat_counts_what_its_generation_reports(double):
    tool = Tool("f", "does", {"type": "object"})
    for one in (chat("hi"), chat("hi", "so"), chat("hi", tools=(tool,))):
        engine = WorkerEngine(card(), double.launch())
        counted = [event async for event in engine.run(Render(model="m", chat=one))][-1]
        generated = [event async for event in engine.run(one)][-1]
        await engine.close()
        assert isinstance(counted, Finished)
        assert isinstance(generated, Finished)
        assert counted.usage.prompt_tokens == generated.usage.prompt_tokens > 0
        assert counted.usage.completion_tokens == 0


async def test_a_prompt_that_was_rendered_already_is_counted_as_it_is(double):
    rendered, tokens = await events(double, Render(model="m", chat=chat("hi", prompt="one two three")))
    assert rendered.prompt == "one two three"
    assert len(tokens.ids) == 4
    assert not double.sent("/apply-template")


async def test_token_ids_before_a_conversation_are_counted_too(double):
    double.ids("a b", special=True)
    _, tokens = await events(double, Render(model="m", chat=chat("hi", context=(0, 1, 2))))
    assert tokens.ids == (0, 1, 2, 3, 4, 5)


async def test_a_conversation_that_the_template_refuses_is_the_callers_mistake(double):
    def refuse(messages: list[dict[str, Any]]) -> str:
        raise ValueError("Jinja Exception: roles must alternate")

    double.template = refuse
    with pytest.raises(BadRequest) as caught:
        await events(double, Render(model="m", chat=chat("hi")))
    assert caught.value.param == "messages"


@pytest.mark.parametrize("body", [b"{}", b"no", b'{"tokens": [{"id": 1, "piece": [300]}]}'])
def test_an_answer_without_tokens_is_an_engine_error(body):
    with pytest.raises(EngineError):
        decode_pieces(body)
