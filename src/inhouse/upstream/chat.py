"""A conversation on a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ..core.errors import ContextExceeded
from ..core.events import ChoiceEnd, Event, Finished, Notice, Started
from ..core.models import Card
from ..core.requests import Chat
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import Order, Tally, check_ids, encode_chat, encode_complete, template_fields
from ..dialects.llamaserver.encode import chat_reading
from ..dialects.llamaserver.tools import plan
from . import fit
from .http import Link, decoder_for
from .limits import own_limit, reseeded, rounds


async def run(link: Link, card: Card, chat: Chat) -> AsyncGenerator[Event, None]:
    """The events of a chat. Raises ContextExceeded when the prompt is too long and may not be cut."""
    limit = own_limit(link.launch, chat.load)
    told: Notice | None = None
    cap: int | None = None
    if limit is not None and not _wants_context(chat):
        used = await fit.count(link, card, chat)
        if used > limit:
            if not chat.truncate:
                raise ContextExceeded(used, limit)
            chat, told = await fit.shorten(link, card, chat, before=used, limit=limit)
            used = await fit.count(link, card, chat)
        cap = limit - used
        if cap <= 0:
            async with aclosing(_full(chat, used)) as events:
                async for event in events:
                    yield event
            return
    started = False
    try:
        async with aclosing(_attempt(link, card, chat, cap, told)) as events:
            async for event in events:
                started = True
                yield event
        return
    except ContextExceeded as error:
        if started or (error.prompt_tokens > error.context_length and not chat.truncate):
            raise
        over = error
    if not chat.truncate:
        again = _full(chat, over.prompt_tokens)
    else:
        shorter, told = await fit.shorten(
            link, card, chat, before=over.prompt_tokens, limit=over.context_length
        )
        again = _attempt(link, card, shorter, cap, told)
    async with aclosing(again) as events:
        async for event in events:
            yield event


def _wants_context(chat: Chat) -> bool:
    return chat.want_context or chat.context is not None


async def _full(chat: Chat, used: int) -> AsyncGenerator[Event, None]:
    """The prompt fills the context to the last token: an empty answer."""
    yield Started()
    for index in range(chat.n):
        yield ChoiceEnd("length", index)
    yield Finished(Usage(used, 0), Timings())


async def _attempt(
    link: Link, card: Card, chat: Chat, cap: int | None, told: Notice | None
) -> AsyncGenerator[Event, None]:
    """Run the choices, in rounds if there are more than slots."""
    if _wants_context(chat):
        ids, orders, told = await _with_context(link, card, chat, told)
    else:
        ids, orders = (
            None,
            [_shifted(encode_chat(part, card, limit=cap), offset) for offset, part in _parts(chat, link)],
        )
    tallies: list[Tally] = []
    tokens: list[int] = []
    for number, order in enumerate(orders):
        decoder = decoder_for(order)
        async with aclosing(link.events(order, decoder)) as events:
            async for event in events:
                if isinstance(event, Started):
                    if number:
                        continue
                    yield event
                    if told is not None:
                        yield told
                    continue
                yield event
        tallies.append(decoder.tally)
        if not number:
            tokens = getattr(decoder, "tokens", [])
    mute = orders[0].reading.mute
    yield Finished(*totals(tallies, mute=mute), context=tuple(ids + tokens) if ids is not None else None)


def totals(tallies: list[Tally], *, mute: bool) -> tuple[Usage, Timings]:
    """What rounds over one prompt used together."""
    parts = [tally.usage(mute=mute) for tally in tallies]
    times = [tally.timings() for tally in tallies]
    usage = Usage(
        max(part.prompt_tokens for part in parts),
        sum(part.completion_tokens for part in parts),
        parts[0].cached_tokens,
        sum(part.reasoning_tokens for part in parts),
    )
    return usage, Timings(prefill=sum(t.prefill for t in times), decode=sum(t.decode for t in times))


def _parts(chat: Chat, link: Link) -> list[tuple[int, Chat]]:
    return [
        (offset, dataclasses.replace(chat, n=size, sampling=reseeded(chat.sampling, offset)))
        for offset, size in rounds(chat.n, link.launch.slots)
    ]


def _shifted(order: Order, offset: int) -> Order:
    if not offset:
        return order
    return dataclasses.replace(order, reading=dataclasses.replace(order.reading, offset=offset))


async def _with_context(
    link: Link, card: Card, chat: Chat, told: Notice | None
) -> tuple[list[int], list[Order], Notice | None]:
    """Orders for /completion over the given context and the rendered conversation."""
    before = list(chat.context or ())
    check_ids(before, card, "context")
    chosen = plan(chat, card)
    prompt = await link.render(template_fields(chat, card, chosen))
    rendered = await link.tokenize(prompt, special=not before)
    limit = own_limit(link.launch, chat.load) or link.launch.context_length
    cap = None
    if limit:
        used = len(before) + len(rendered)
        if used >= limit:
            if not chat.truncate:
                raise ContextExceeded(used, limit, param="prompt")
            keep = limit - fit.room_for_answer(chat, limit) - len(rendered)
            if keep < 0:
                chat, told = await fit.shorten(link, card, chat, before=used, limit=limit)
                prompt = await link.render(template_fields(chat, card, chosen))
                rendered, keep = await link.tokenize(prompt), 0
            else:
                told = fit.notice(used, limit, "the beginning of the earlier conversation was cut off")
            before = before[-keep:] if keep else []
        cap = limit - len(before) - len(rendered)
    ids = before + rendered
    reading = dataclasses.replace(
        chat_reading(chat, card, chosen),
        prefill="",
        thoughts="thinking" in card.capabilities,
        thinking=prompt.rstrip().endswith("<think>"),
    )
    orders = [
        encode_complete(
            part, card, ids, reading=dataclasses.replace(reading, n=part.n, offset=offset), limit=cap
        )
        for offset, part in _parts(chat, link)
    ]
    return ids, orders, told
