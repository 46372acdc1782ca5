"""Shortening a conversation to the context: oldest messages first, then the front of the last text.

The fewest messages are dropped (found by bisection over real token counts), system messages and the
last message stay. Every cut is told in a Notice.
"""

from __future__ import annotations

import dataclasses

from ..core.errors import BadRequest, ContextExceeded
from ..core.events import Notice
from ..core.messages import Message, Text
from ..core.models import Card
from ..core.requests import Chat, Complete
from ..dialects.llamaserver import template_fields
from ..dialects.llamaserver.tools import plan
from .http import Link
from .prompt import given_ids


async def count(link: Link, card: Card, chat: Chat) -> int:
    """Tokens of the rendered conversation."""
    if chat.prompt is not None:
        return len(await given_ids(link, card, chat.prompt))
    prompt = await link.render(template_fields(chat, card, plan(chat, card)))
    return len(await link.tokenize(prompt))


def room_for_answer(request: Chat | Complete, limit: int) -> int:
    """Tokens kept free for the answer: a quarter of the context at most, one at least."""
    quarter = max(1, limit // 4)
    wanted = request.sampling.max_tokens
    return quarter if wanted is None or wanted < 0 else max(1, min(wanted, quarter))


def notice(before: int, limit: int, what: str) -> Notice:
    """Tells the user what was cut, with both numbers."""
    return Notice(
        "prompt_truncated",
        f"The prompt has {before} tokens, the context holds {limit}: {what}.",
    )


async def shorten(link: Link, card: Card, chat: Chat, *, before: int, limit: int) -> tuple[Chat, Notice]:
    """A conversation that leaves room for an answer. Raises ContextExceeded if even that is too long,
    or if the prompt was rendered already."""
    if chat.prompt is not None:
        raise ContextExceeded(before, limit, param="prompt")
    target = limit - room_for_answer(chat, limit)
    droppable = [i for i, m in enumerate(chat.messages[:-1]) if m.role != "system"]

    def without(drops: int) -> Chat:
        gone = set(droppable[:drops])
        return dataclasses.replace(
            chat, messages=tuple(m for i, m in enumerate(chat.messages) if i not in gone)
        )

    async def fits(drops: int) -> bool:
        try:
            return await count(link, card, without(drops)) <= target
        except BadRequest:  # some templates refuse a conversation that begins in the middle
            return False

    low, high = 0, len(droppable)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if await fits(middle) else (middle + 1, high)
    shorter = without(low)
    if await fits(low):
        return shorter, notice(before, limit, f"the oldest {low} messages were left out")
    cut = await _cut_last(link, card, shorter, target=target, before=before, limit=limit)
    what = "the beginning of the last message was cut off"
    if low:
        what = f"the oldest {low} messages were left out and {what}"
    return cut, notice(before, limit, what)


async def _cut_last(link: Link, card: Card, chat: Chat, *, target: int, before: int, limit: int) -> Chat:
    last = chat.messages[-1]
    ids = await link.tokenize(last.text, special=False, control=False)
    keep = target - await count(link, card, _with_last(chat, last, ""))
    while keep > 0:
        text = (await link.detokenize(ids[-keep:])).lstrip("\ufffd")
        cut = _with_last(chat, last, text)
        over = await count(link, card, cut) - target
        if over <= 0:
            return cut
        keep -= over
    raise ContextExceeded(before, limit)


def _with_last(chat: Chat, last: Message, text: str) -> Chat:
    others = tuple(part for part in last.parts if not isinstance(part, Text))
    message = dataclasses.replace(last, parts=(Text(text), *others))
    return dataclasses.replace(chat, messages=(*chat.messages[:-1], message))


def cut_ids(ids: list[int], bare: list[int], keep: int) -> list[int]:
    """The last tokens of a text, ``keep`` in all with what the model puts around it.

    ``ids`` is the text with, ``bare`` without those. Empty if not even one token of text fits.
    """
    extra = len(ids) - len(bare)
    front = next((k for k in range(extra + 1) if ids[k : k + len(bare)] == bare), 0)
    room = keep - extra
    return [*ids[:front], *bare[-room:], *ids[front + len(bare) :]] if room > 0 else []
