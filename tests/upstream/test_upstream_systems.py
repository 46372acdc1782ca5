"""System messages amid a conversation, on templates that show, refuse or forget them."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.errors import BadRequest
from inhouse.core.events import ChoiceEnd, Event, Rendered, TextDelta
from inhouse.core.messages import Image, Message, Text
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Chat, Render, Request
from inhouse.upstream import WorkerEngine
from inhouse.upstream.systems import folded
from upstream.llama_double import LlamaDouble, render, say

ROLES: dict[str, Any] = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def refusing(messages: list[dict[str, Any]]) -> str:
    if any(message["role"] == "system" for message in messages[1:]):
        raise ValueError("Jinja Exception: System message must be at the beginning.")
    return render(messages)


def forgetting(messages: list[dict[str, Any]]) -> str:
    return render([m for i, m in enumerate(messages) if i == 0 or m["role"] != "system"])


def hopeless(messages: list[dict[str, Any]]) -> str:
    raise ValueError("Jinja Exception: roles must alternate")


LATE = {"refused": refusing, "forgotten": forgetting}


def talk(*said: str) -> tuple[Message, ...]:
    """Messages from words such as ``u:hello``."""
    return tuple(Message(ROLES[one[0]], (Text(one[2:]),)) for one in said)


def shown(messages: tuple[Message, ...]) -> list[str]:
    return [f"{message.role[0]}:{message.text}" for message in messages]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((), []),
        (("s:a", "u:b"), ["s:a", "u:b"]),
        (("s:a", "s:b", "u:c"), ["s:a\n\nb", "u:c"]),
        (("u:a", "s:b"), ["u:a\n\nb"]),
        (("u:a", "s:b", "s:c", "a:d"), ["u:a\n\nb\n\nc", "a:d"]),
        (("u:a", "a:b", "s:c", "u:d"), ["u:a", "a:b", "u:c\n\nd"]),
        (("u:a", "a:b", "s:c", "s:d", "u:e", "u:f"), ["u:a", "a:b", "u:c\n\nd\n\ne", "u:f"]),
        (("u:a", "a:b", "t:c", "s:d"), ["u:a", "a:b", "t:c", "u:d"]),
        (("u:a", "a:b", "s:c", "a:d", "u:e"), ["u:a", "a:b", "u:c", "a:d", "u:e"]),
        (("s:x", "u:a", "s:b", "u:c"), ["s:x", "u:a\n\nb", "u:c"]),
    ],
)
def test_later_system_messages_become_part_of_the_users_turn(given, wanted) -> None:
    assert shown(folded(talk(*given))) == wanted


def test_images_stay_where_they_are() -> None:
    image = Image(b"x", "image/png")
    (turn,) = folded((Message("user", (image,)), *talk("s:b")))
    assert turn.parts == (image, Text("\n\n"), Text("b"))


async def run(double: LlamaDouble, request: Request) -> list[Event]:
    card = Card(
        ModelName.parse("m"),
        "d",
        "w",
        "d",
        1,
        Footprint(1, 1),
        capabilities=frozenset({"completion", "chat", "tools"}),
    )
    engine = WorkerEngine(card, double.launch())
    try:
        return [event async for event in engine.run(request)]
    finally:
        await engine.close()


def chat(*said: str) -> Chat:
    return Chat(model="m", messages=talk(*said))


def answered(double: LlamaDouble) -> list[tuple[str, str]]:
    (body,) = double.sent("/v1/chat/completions")
    return [(message["role"], message["content"]) for message in body["messages"]]


async def test_a_template_that_shows_them_gets_them_as_they_are(double) -> None:
    double.script = say("ok")
    await run(double, chat("u:a", "s:b"))
    assert answered(double) == [("user", "a"), ("system", "b")]


@pytest.mark.parametrize("late", ["refused", "forgotten"])
async def test_others_get_them_in_the_users_turn(double, late) -> None:
    double.template = LATE[late]
    double.script = say("ok")
    found = await run(double, chat("s:x", "u:a", "s:b"))
    assert [e for e in found if isinstance(e, TextDelta | ChoiceEnd)] == [TextDelta("ok"), ChoiceEnd("stop")]
    assert answered(double) == [("system", "x"), ("user", "a\n\nb")]


@pytest.mark.parametrize("late", ["refused", "forgotten"])
async def test_a_prompt_is_shown_as_it_would_be_read(double, late) -> None:
    double.template = LATE[late]
    found = await run(double, Render(model="m", chat=chat("u:a", "s:b")))
    (rendered,) = (e for e in found if isinstance(e, Rendered))
    assert "a\n\nb" in rendered.prompt
    assert "system" not in rendered.prompt


async def test_a_conversation_without_them_is_not_rendered_first(double) -> None:
    double.script = say("ok")
    await run(double, chat("s:x", "u:a"))
    assert double.sent("/apply-template") == []


async def test_what_a_template_refuses_for_another_reason_stays_refused(double) -> None:
    double.template = hopeless
    with pytest.raises(BadRequest, match="template"):
        await run(double, Render(model="m", chat=chat("u:a", "s:b")))
