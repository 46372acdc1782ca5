"""Keeping to the context: the oldest messages go where a request lets them, and an asked context length
is kept where the server counts tokens.

This wire does not render a prompt, so only whole messages are left out, by what the server said of its
tokens; each further try is told in a Notice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeVar

from ...core.errors import ContextExceeded
from ...core.events import Event, Notice, Started
from ...core.messages import Image, Message
from ...core.models import Card
from ...core.requests import Chat, Complete
from ...dialects.llamaserver.sampling import max_tokens
from ...dialects.openai.client import Service, decode_tokens, encode_render, encode_tokenize
from ...dialects.openai.client.tokens import TOKENIZE
from ..fit import notice, room_for_answer
from .link import OpenAILink
from .settle import without_control

TRIES: Final = 4
"""Times that messages are left out by an estimate; then all but the last one are."""

_PICTURE: Final = 1000
"""Letters that a part without text counts for."""

_CANNOT: Final = "The engine that runs this model can leave out whole messages (truncate), not cut one."

R = TypeVar("R", Chat, Complete)


async def fitted(
    link: OpenAILink,
    card: Card,
    service: Service,
    request: R,
    run: Callable[[R], AsyncGenerator[Event, None]],
) -> AsyncGenerator[Event, None]:
    """The events of ``run`` with as much of the request as the context holds. Raises ContextExceeded where
    nothing may be left out, or not enough can."""
    request, told = await _limited(link, card, service, request)
    for tries in range(TRIES + 1):
        begun = False
        try:
            async with aclosing(run(request)) as events:
                async for event in events:
                    begun = True
                    yield event
                    if isinstance(event, Started):
                        for one in told:
                            yield one
            return
        except ContextExceeded as error:
            if begun or not request.truncate:
                raise
            request, cut = _shorter(request, error, everything=tries >= TRIES - 1)
            told.append(cut)


async def _limited(link: OpenAILink, card: Card, service: Service, request: R) -> tuple[R, list[Notice]]:
    """The request kept to the context length that it asks for, where the server's is longer."""
    asked, longest = request.load.context_length, link.launch.context_length
    told: list[Notice] = []
    if not asked or asked >= longest:
        return request, told
    used = await _count(link, card, service, request)
    if used is None:
        text = (
            f"The engine holds {longest} tokens and counts none beforehand: num_ctx {asked} is not applied."
        )
        return request, [Notice("load_options", text)]
    while used >= asked:
        over = ContextExceeded(used, asked)
        if not request.truncate:
            raise over
        request, cut = _shorter(request, over, everything=len(told) >= TRIES)
        told.append(cut)
        used = await _count(link, card, service, request) or 0
    most = max_tokens(request.sampling, card)
    most = asked - used if most < 0 else min(most, asked - used)
    return dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, max_tokens=most)), told


async def _count(link: OpenAILink, card: Card, service: Service, request: Chat | Complete) -> int | None:
    """Tokens of the longest prompt; None where the server does not tell."""
    if "tokenize" not in service.takes:
        return None
    if isinstance(request, Chat):
        if any(isinstance(part, Image) for message in request.messages for part in message.parts):
            return None
        body = encode_render(without_control(request, card), service)
        return len(decode_tokens(await link.call(TOKENIZE, body, param="messages")))
    counts = [len(prompt) for prompt in request.prompts if not isinstance(prompt, str)]
    for prompt in request.prompts:
        if isinstance(prompt, str):
            body = encode_tokenize(prompt, service, special=True)
            counts.append(len(decode_tokens(await link.call(TOKENIZE, body, param="prompt"))))
    return max(counts, default=0)


def _shorter(request: R, over: ContextExceeded, *, everything: bool) -> tuple[R, Notice]:
    """The request without its oldest messages. Raises the error where none can be left out."""
    if isinstance(request, Complete):
        over.hint = "Shorten the prompt: the engine that runs this model cannot cut it (truncate)."
        raise over
    room = over.context_length - room_for_answer(request, over.context_length)
    messages = _newest(request.messages, over, room=0 if everything else room)
    gone = len(request.messages) - len(messages)
    what = f"the oldest {gone} messages were left out"
    cut = notice(over.prompt_tokens, over.context_length, what)
    return dataclasses.replace(request, messages=messages), cut


def _newest(messages: tuple[Message, ...], over: ContextExceeded, *, room: int) -> tuple[Message, ...]:
    """As many as may have ``room`` tokens, by their letters; the system's and the last one stay."""
    system = [message for message in messages[:-1] if message.role == "system"]
    rest = [message for message in messages[:-1] if message.role != "system"]
    if not rest:
        over.hint = f"Shorten the prompt. {_CANNOT}"
        raise over
    told = over.context_length and over.prompt_tokens > room
    share = 1 - room / over.prompt_tokens if told else 0.5
    return (*system, *_without(rest, round(share * _letters(messages))), messages[-1])


def _without(messages: list[Message], letters: int) -> list[Message]:
    """What is left without the oldest that have so many letters; it begins with a user's."""
    for first, message in enumerate(messages):
        if letters <= 0 and message.role == "user":
            return messages[first:]
        letters -= _letters((message,))
    return []


def _letters(messages: tuple[Message, ...]) -> int:
    parts = [part for message in messages for part in message.parts]
    return sum(len(getattr(part, "text", "") or getattr(part, "arguments", "")) or _PICTURE for part in parts)


__all__ = ["fitted"]
