"""A chat template that comes with a request: translated where it is Go, rendered here, within limits.

An engine renders a model's own template. One of the request is a stranger's program, so it never reaches
an engine: a child with little renders it (``store.templates.trial``), and the engine gets the text.
"""

from __future__ import annotations

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...core.errors import BadRequest
from ...core.messages import Image, Remote, ToolResult
from ...core.models import Card
from ...core.requests import Chat, Render, Request
from ...dialects.llamaserver import template_fields
from ...dialects.llamaserver.tools import plan
from ...store import Store
from ...store.templates import check, is_jinja, translate, trial

AT_ONCE = 2
"""Children that run at the same time: a template may use a processor for two seconds."""

_pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="templates")
_known: dict[str, tuple[str, str]] = {}


async def render_template(request: Request, card: Card) -> Request:
    """The request with its own template's rendering as its ``prompt``; any other as it is.

    Takes the chat of a Render too. Raises BadRequest naming ``template`` where the template is broken,
    runs away, refuses the conversation, or the conversation holds images.
    """
    if isinstance(request, Chat):
        return await _templated(request, card)
    if isinstance(request, Render):
        return dataclasses.replace(request, chat=await _templated(request.chat, card))
    return request


async def _templated(chat: Chat, card: Card) -> Chat:
    if chat.template is None or chat.prompt is not None:
        return chat
    _refuse_images(chat)
    loop = asyncio.get_running_loop()
    prompt = await loop.run_in_executor(_pool, _rendered, chat.template, chat, card)
    return dataclasses.replace(chat, prompt=prompt, template=None)


def _refuse_images(chat: Chat) -> None:
    for message in chat.messages:
        for part in message.parts:
            pictured = isinstance(part, ToolResult) and part.images
            if pictured or isinstance(part, Image | Remote):
                raise BadRequest(
                    "A template of the request has no place for images.",
                    hint="Leave the template or the images out.",
                    param="template",
                )


def _rendered(template: str, chat: Chat, card: Card) -> str:
    """Blocking."""
    if is_jinja(template):
        check(template)
    else:
        template = translate(template)
    return trial.render(template, _variables(template, chat, card))


def _variables(template: str, chat: Chat, card: Card) -> dict[str, Any]:
    """What engines give to chat templates, under the names that they give it."""
    plain = dataclasses.replace(chat, template=None)
    shown = template_fields(plain, card, plan(plain, card))
    variables: dict[str, Any] = {"messages": shown["messages"], "add_generation_prompt": True}
    if shown.get("tools"):
        variables["tools"] = shown["tools"]
    if effort := shown.get("reasoning_effort"):
        variables["reasoning_effort"] = effort
    variables |= shown.get("chat_template_kwargs") or {}
    if "bos_token" in template or "eos_token" in template:
        variables["bos_token"], variables["eos_token"] = _around(card)
    return variables | dict(chat.template_args)


def _around(card: Card) -> tuple[str, str]:
    """The texts of the tokens at the beginning and the end of a text; the first is "" where the engine
    puts it there by itself. Read from the weights once, since that takes megabytes."""
    if not card.of_role("model"):
        return "", ""
    known = _known.get(card.weights_digest)
    if known is None:
        known = _known[card.weights_digest] = _ends(card)
    return known


def _ends(card: Card) -> tuple[str, str]:
    facts = Store.metadata(card)
    tokens = facts.get("tokenizer.ggml.tokens") or []

    def text(name: str) -> str:
        number = facts.get(f"tokenizer.ggml.{name}_token_id")
        return str(tokens[number]) if isinstance(number, int) and 0 <= number < len(tokens) else ""

    return ("" if facts.get("tokenizer.ggml.add_bos_token", True) else text("bos"), text("eos"))
