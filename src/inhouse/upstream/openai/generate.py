"""Chats and completions: one call after the other where a server makes only one answer at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from ...core.errors import ContextExceeded
from ...core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from ...core.models import Card
from ...core.requests import Chat, Complete
from ...core.usage import Timings, Usage
from ...dialects.llamaserver.content import Content, Reading
from ...dialects.openai.client import ChatDecoder, Order, Service, TextDecoder, encode_chat, encode_complete
from .. import verify
from ..limits import reseeded
from .fit import R, fitted
from .link import OpenAILink
from .settle import settled, without_control

_SAID = (TextDelta, ReasoningDelta, ToolCallDelta)


@dataclass(slots=True)
class _Sum:
    """What all calls of a request used. Calls for one prompt count it once."""

    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    counted: bool = False

    def add(self, used: Usage, times: Timings, *, same_prompt: bool) -> None:
        before = self.usage
        prompt, cached = (0, 0) if same_prompt else (used.prompt_tokens, used.cached_tokens)
        self.usage = Usage(
            before.prompt_tokens + prompt,
            before.completion_tokens + used.completion_tokens,
            before.cached_tokens + cached,
            before.reasoning_tokens + used.reasoning_tokens,
        )
        self.timings = Timings(
            prefill=self.timings.prefill + times.prefill, decode=self.timings.decode + times.decode
        )


def run(
    link: OpenAILink, card: Card, service: Service, request: Chat | Complete
) -> AsyncGenerator[Event, None]:
    """The events of a request, looked at once more where something was promised of them.

    Raises what the encoder raises, ContextExceeded, and EngineError when an answer does not satisfy its
    schema.
    """
    grammars = link.launch.grammars

    def fitting(one: R) -> AsyncGenerator[Event, None]:
        return fitted(link, card, service, one, lambda shorter: _run(link, card, service, shorter))

    if isinstance(request, Complete):
        return verify.promised(fitting, request, grammars)
    events = verify.promised(fitting, request, grammars)
    if request.tools and request.tool_choice.mode != "none":
        forced = request.tool_choice.mode == "required" and request.sampling.max_tokens != 0
        events = verify.calls(events, request, forced=forced)
    return events


async def _run(
    link: OpenAILink, card: Card, service: Service, request: Chat | Complete
) -> AsyncGenerator[Event, None]:
    if isinstance(request, Chat):
        chat, told = settled(without_control(request, card), card, service.takes)
        orders = list(_chats(chat, service))
    else:
        raw, told = settled(request, card, service.takes)
        orders = list(_completions(raw, service))
    total = _Sum()
    for number, (order, same_prompt) in enumerate(orders):
        async with aclosing(_call(link, card, order, total, same_prompt=same_prompt)) as events:
            async for event in events:
                if not (number and isinstance(event, Started)):
                    yield event
                if isinstance(event, Started) and not number:
                    for notice in told:
                        yield notice
    if total.counted:
        yield Notice("usage_counted", "The engine told no token counts: pieces of text were counted.")
    yield Finished(total.usage, total.timings)


def _chats(chat: Chat, service: Service) -> Iterator[tuple[Order, bool]]:
    """The calls of a chat, each with whether its prompt is the one before's."""
    if chat.n == 1 or "n" in service.takes:
        yield encode_chat(chat, service), False
        return
    for i in range(chat.n):
        one = dataclasses.replace(chat, n=1, sampling=reseeded(chat.sampling, i))
        yield encode_chat(one, service, offset=i), i > 0


def _completions(request: Complete, service: Service) -> Iterator[tuple[Order, bool]]:
    for number, prompt in enumerate(request.prompts):
        first = number * request.n
        if request.n == 1 or "n" in service.takes:
            yield encode_complete(request, prompt, service, offset=first), False
            continue
        for i in range(request.n):
            one = dataclasses.replace(request, n=1, sampling=reseeded(request.sampling, i))
            yield encode_complete(one, prompt, service, offset=first + i), i > 0


async def _call(
    link: OpenAILink, card: Card, order: Order, total: _Sum, *, same_prompt: bool
) -> AsyncGenerator[Event, None]:
    """One call; once more with a smaller limit where prompt and limit together were too long."""
    try:
        async with aclosing(_once(link, card, order, total, same_prompt=same_prompt)) as events:
            async for event in events:
                yield event
        return
    except ContextExceeded as error:
        longest = error.context_length or link.launch.context_length
        limit = next((name for name in ("max_completion_tokens", "max_tokens") if order.body.get(name)), None)
        if limit is None or not 0 < error.prompt_tokens < longest:
            raise
        order.body[limit] = longest - error.prompt_tokens
    async with aclosing(_once(link, card, order, total, same_prompt=same_prompt)) as events:
        async for event in events:
            yield event


async def _once(
    link: OpenAILink, card: Card, order: Order, total: _Sum, *, same_prompt: bool
) -> AsyncGenerator[Event, None]:
    kind = ChatDecoder if order.path.startswith("/v1/chat") else TextDecoder
    decoder = kind(order)
    begun, first = time.monotonic(), 0.0
    events, thought = link.events(order, decoder), 0
    if "thinking" in card.capabilities and "reasoning" not in link.launch.takes and not order.mute:
        events = _thoughts_apart(events, order)
    async with aclosing(events):
        async for event in events:
            if not first and isinstance(event, _SAID):
                first = time.monotonic()
            thought += isinstance(event, ReasoningDelta)
            yield event
    now = time.monotonic()
    first = first or now
    used = decoder.usage
    if not used.reasoning_tokens:  # told apart by us: their pieces are counted
        used = dataclasses.replace(used, reasoning_tokens=min(thought, used.completion_tokens))
    total.add(used, Timings(prefill=first - begun, decode=now - first), same_prompt=same_prompt)
    total.counted |= decoder.counted


async def _thoughts_apart(events: AsyncGenerator[Event, None], order: Order) -> AsyncGenerator[Event, None]:
    """The same answer with thoughts, which the server leaves in the text between tags, as such."""
    reading = Reading(logprobs=order.logprobs, thoughts=True)
    contents = {order.offset + i: Content(reading, order.offset + i) for i in range(order.n)}
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta):
                for out in contents[event.index].feed(event.text, event.logprobs):
                    yield out
                continue
            if isinstance(event, ChoiceEnd):
                for out in contents[event.index].end():
                    yield out
            yield event
