"""Between decoding and waiting: brought, rendered, checked."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.messages import Format, Grammar, Message, Text, Tool, ToolChoice
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Chat, Complete, Embed, Render, Request
from inhouse.prepare import Prepare

CARD = Card(ModelName.parse("m"), "d", "w", "", 1, Footprint(1, 1))
CHAT = Chat(model="m", messages=(Message("user", (Text("hi"),)),))
HARD = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}


async def bring(request: Request) -> Request:
    return dataclasses.replace(request, model=request.model + " brought")


async def render(request: Request, card: Card) -> Request:
    return dataclasses.replace(request, model=request.model + f" rendered for {card.name}")


async def same(request: Request, *_: object) -> Request:
    return request


def prepare(*grammars: str) -> Prepare:
    return Prepare(same, same, lambda card: frozenset(grammars or ("gbnf", "lark")))


async def test_what_is_named_is_brought_before_a_template_is_rendered():
    done = await Prepare(bring, render, lambda card: frozenset())(CHAT, CARD)
    assert done.model == "m brought rendered for m:latest"


async def test_a_request_without_a_form_passes_as_it_is():
    for request in (CHAT, Complete(model="m", prompts=("a",)), Embed(model="m", inputs=("a",))):
        assert await prepare()(request, CARD) is request


async def test_a_schema_that_cannot_be_enforced_is_refused_by_its_field():
    form = Format("schema", HARD, param="response_format.json_schema.schema")
    for request in (
        dataclasses.replace(CHAT, format=form),
        Complete(model="m", prompts=("a",), format=form),
    ):
        with pytest.raises(Unsupported) as caught:
            await prepare()(request, CARD)
        assert caught.value.param == form.param


async def test_a_grammar_that_the_engine_does_not_know_is_refused():
    form = Format("grammar", grammar=Grammar("lark", 'start: "a"'))
    with pytest.raises((BadRequest, Unsupported)):
        await prepare("gbnf")(dataclasses.replace(CHAT, format=form), CARD)
    done = await prepare("gbnf", "lark")(dataclasses.replace(CHAT, format=form), CARD)
    assert done.format == form


async def test_tools_are_checked_when_a_call_is_forced_and_only_then():
    tool = Tool("f", parameters=HARD)
    chat = dataclasses.replace(CHAT, tools=(tool,))
    assert await prepare()(chat, CARD) is chat
    with pytest.raises(Unsupported) as caught:
        await prepare()(dataclasses.replace(chat, tool_choice=ToolChoice("required")), CARD)
    assert (caught.value.param or "").startswith("tools[0]")


async def test_engines_are_asked_in_a_thread():
    """Which build runs a model may have to be tried first: nobody else waits for that."""
    asked: list[threading.Thread] = []

    def grammars(card: Card) -> frozenset[str]:
        asked.append(threading.current_thread())
        return frozenset({"gbnf", "lark"})

    form = Format("schema", {"type": "object"}, param="format")
    chat = dataclasses.replace(CHAT, format=form)
    await Prepare(same, same, grammars, grammars)(chat, CARD)
    assert len(asked) == 2
    assert threading.current_thread() not in asked


async def test_the_model_is_shown_the_schema_that_came_and_not_the_one_it_is_held_to():
    tool = Tool("f", parameters={"type": "object", "properties": {"a": {"type": ["integer", "null"]}}})
    chat = dataclasses.replace(CHAT, tools=(tool,), tool_choice=ToolChoice("required"))
    done = await prepare()(chat, CARD)
    assert isinstance(done, Chat)
    assert done.tools[0].parameters == tool.parameters
    assert done.tools[0].enforced not in (None, tool.parameters)


async def test_beside_a_format_the_calls_of_free_choice_are_loosened_and_not_refused():
    form = Format("schema", {"type": "object"}, param="format")
    chat = dataclasses.replace(CHAT, tools=(Tool("f", parameters=HARD),), format=form)
    done = await prepare()(chat, CARD)
    assert isinstance(done, Chat)
    assert done.tools[0].enforced is not None


async def test_a_chat_that_is_only_counted_is_held_to_the_same():
    tool = Tool("f", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
    chat = dataclasses.replace(CHAT, tools=(tool,), tool_choice=ToolChoice("required"))
    counted = await prepare()(Render(model="m", chat=chat), CARD)
    assert isinstance(counted, Render)
    assert counted.chat == await prepare()(chat, CARD)
    hard = dataclasses.replace(chat, tools=(Tool("f", parameters=HARD),))
    with pytest.raises(Unsupported):
        await prepare()(Render(model="m", chat=hard), CARD)


async def test_who_asks_for_log_probabilities_gets_an_engine_that_guesses_nothing():
    for request, alone in (
        (dataclasses.replace(CHAT, logprobs=0), True),
        (Complete(model="m", prompts=("a",), logprobs=2), True),
        (Complete(model="m", prompts=("a",), n=1, best_of=2), True),
        (Complete(model="m", prompts=("a",)), False),
        (CHAT, False),
    ):
        assert (await prepare()(request, CARD)).load.unguessed is alone
