"""A template that comes with a request: Go or Jinja, rendered here, and refused where it cannot be."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, InhouseError
from inhouse.core.messages import Image, Message, Text, Tool, ToolResult
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Chat, Embed, Render, Request
from inhouse.server.manage.templating import render_template
from inhouse.store import Store

CARD = Card(
    name=ModelName.parse("m"),
    digest="0" * 64,
    weights="",
    weights_digest="",
    size=1,
    footprint=Footprint(1, 1),
    capabilities=frozenset({"completion", "chat", "tools", "vision", "thinking"}),
    control_tokens=("<|im_end|>",),
)
ASKED = (Message("system", (Text("Be brief."),)), Message("user", (Text("Why?"),)))
GO = "{{ if .System }}<s>{{ .System }}</s>{{ end }}<u>{{ .Prompt }}</u><a>{{ .Response }}"


def rendered(template: str | None, *, card: Card = CARD, **more: Any) -> Chat:
    chat = Chat(model="m", messages=more.pop("messages", ASKED), template=template, **more)
    request = asyncio.run(render_template(chat, card))
    assert isinstance(request, Chat)
    return request


@pytest.mark.parametrize(
    "template, prompt",
    [
        (GO, "<s>Be brief.</s><u>Why?</u><a>"),
        ("{{ range .Messages }}[{{ .Role }}:{{ .Content }}]{{ end }}", "[system:Be brief.][user:Why?]"),
        ("no actions at all ", "no actions at all "),
        ("{% for m in messages %}({{ m.content }}){% endfor %}", "(Be brief.)(Why?)"),
        ("{% if add_generation_prompt %}>{% endif %}", ">"),
        ("{{ eos_token }}|{{ bos_token }}", "|"),
    ],
)
def test_go_and_jinja_are_rendered(template: str, prompt: str) -> None:
    request = rendered(template)
    assert request.prompt == prompt
    assert request.template is None
    assert request.messages == ASKED


def test_what_needs_no_rendering_is_left_alone() -> None:
    for request in (
        Chat(model="m", messages=ASKED),
        Chat(model="m", messages=ASKED, template="x", prompt="made already"),
        Embed(model="m", inputs=("x",)),
    ):
        assert asyncio.run(render_template(request, CARD)) == request


def test_the_chat_of_a_rendering_is_rendered_too() -> None:
    chat = Chat(model="m", messages=ASKED, template=GO)
    request: Request = asyncio.run(render_template(Render(model="m", chat=chat), CARD))
    assert isinstance(request, Render)
    assert request.chat.prompt == "<s>Be brief.</s><u>Why?</u><a>"


def test_typed_control_tokens_stay_text_and_those_of_the_template_do_not() -> None:
    asked = (Message("user", (Text("a<|im_end|>b"),)),)
    prompt = rendered("{{ messages[0].content }}<|im_end|>", messages=asked).prompt
    assert prompt is not None
    assert prompt.count("<|im_end|>") == 1
    assert prompt.endswith("<|im_end|>")


def test_thinking_tools_and_arguments_of_ones_own_are_variables() -> None:
    tool = Tool("f", "d", {"type": "object"})
    template = "{{ enable_thinking }} {{ reasoning_effort }} {{ tools[0].function.name }} {{ mine }}"
    request = rendered(template, tools=(tool,), think="low", template_args={"mine": 3})
    assert request.prompt == "True low f 3"
    assert rendered("{{ if .Think }}think{{ end }}{{ .Prompt }}", think=False).prompt == "Why?"


def test_the_tokens_around_a_text_are_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {
        "tokenizer.ggml.tokens": ["<s>", "</s>"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }
    seen: list[Card] = []

    def metadata(card: Card) -> dict[str, Any]:
        seen.append(card)
        return {**facts, "tokenizer.ggml.add_bos_token": card.weights_digest == "puts it there"}

    class File:
        role = "model"

    monkeypatch.setattr(Store, "metadata", staticmethod(metadata))
    for digest, prompt in (("puts it there", "|</s>"), ("does not", "<s>|</s>")):
        card = dataclasses.replace(CARD, weights_digest=digest, files=(File(),))  # type: ignore[arg-type]
        for _ in range(2):
            assert rendered("{{ bos_token }}|{{ eos_token }}", card=card).prompt == prompt
    assert len(seen) == 2, "the weights are read once"


IMAGE = Image(b"", "image/png")


@pytest.mark.parametrize(
    "template, more",
    [
        ("{{ .Prompt", {}),
        ("{{ .Nothing }}{{ call }}", {}),
        ("{% for m in messages %}", {}),
        ("{{ raise_exception('no') }}", {}),
        ("x", {"messages": (Message("user", (IMAGE,)),)}),
        ("x", {"messages": (Message("tool", (ToolResult("a", images=(IMAGE,)),)),)}),
    ],
)
def test_what_cannot_be_rendered_is_the_requests_fault(template: str, more: dict[str, Any]) -> None:
    with pytest.raises(InhouseError) as caught:
        rendered(template, **more)
    assert isinstance(caught.value, BadRequest)
    assert caught.value.param == "template"
