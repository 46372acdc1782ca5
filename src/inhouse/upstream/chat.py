"""A conversation on a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ..core.errors import ContextExceeded, Unsupported
from ..core.events import ChoiceEnd, Event, Finished, Notice, Started
from ..core.models import Card
from ..core.requests import Chat
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import Order, Reading, Tally, check_ids, encode_chat, encode_complete
from ..dialects.llamaserver.encode import chat_reading, quiet
from ..dialects.llamaserver.sampling import max_tokens
from ..dialects.llamaserver.tools import ToolPlan, plan
from . import fit, systems, verify
from .answer import Answer
from .calls import CallingAnswer
from .http import Link, decoder_for
from .limits import own_limit, reseeded, rounds
from .prompt import Rendering, render


def run(link: Link, card: Card, chat: Chat) -> AsyncGenerator[Event, None]:
    """The events of a chat, looked at once more where something was promised of them.

    Raises ContextExceeded when the prompt is too long and may not be cut, EngineError when an answer
    does not satisfy its schema, and what ``encode_chat`` raises.
    """
    events = verify.promised(lambda one: _run(link, card, one), chat, link.launch.grammars)
    chosen = plan(chat, card)
    forced = chosen.mode == "forced"
    if forced or (chosen.mode == "auto" and not _scanned(chosen)):
        events = verify.calls(events, chat, forced=forced and max_tokens(chat.sampling, card) != 0)
    return events


async def _run(link: Link, card: Card, chat: Chat) -> AsyncGenerator[Event, None]:
    """Fitted to the context: cut where that is allowed, ended where nothing is left."""
    chat = await systems.settled(link, card, chat)
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
    """Run the choices: all at once, in rounds if there are more than slots, or one after the other
    where each takes several requests."""
    chosen = plan(chat, card)
    rendering: Rendering | None = None
    if _raw(chat, card, chosen):
        rendering, cap, cut = await _rendered(link, card, chat, chosen, cap)
        told = cut or told
    if rendering is not None and _in_legs(chat, card, chosen, rendering):
        events = _one_by_one(link, card, chat, chosen, rendering, cap=cap)
    else:
        events = _together(link, card, chat, chosen, rendering, cap=cap)
    begun = False
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Started):
                if not begun:
                    yield event
                    if told is not None:
                        yield told
                begun = True
            else:
                yield event


def _raw(chat: Chat, card: Card, chosen: ToolPlan) -> bool:
    """Whether we render the prompt and read the raw text, instead of the engine's chat: where it does
    not enforce all of a schema, knows no way to go on, loses log-probabilities or leaves calls in the
    text. Models with channels are left to it."""
    if chat.prompt is not None or _wants_context(chat):
        return True
    if "<|channel" in card.template:
        return False
    constrained = chat.format is not None or chosen.schema is not None
    return constrained or chat.logprobs is not None or (chosen.mode == "auto" and chosen.ours)


def _in_legs(chat: Chat, card: Card, chosen: ToolPlan, rendering: Rendering) -> bool:
    """Whether a choice may need several requests, of which only some obey a grammar or a budget."""
    if max_tokens(chat.sampling, card) == 0:
        return False
    if _scanned(chosen):
        return True
    if "thinking" not in card.capabilities or rendering.closed:
        return False
    held = chat.format is not None or chosen.schema is not None
    return held or quiet(chat) or chat.think_budget is not None


def _scanned(chosen: ToolPlan) -> bool:
    """Calls are read out of free text."""
    return chosen.mode == "auto" and chosen.schema is None and chosen.ours


async def _one_by_one(
    link: Link, card: Card, chat: Chat, chosen: ToolPlan, rendering: Rendering, *, cap: int | None
) -> AsyncGenerator[Event, None]:
    kind = CallingAnswer if _scanned(chosen) else Answer
    answers: list[Answer] = []
    for i in range(chat.n):
        part = dataclasses.replace(chat, n=1, sampling=reseeded(chat.sampling, i))
        reading = dataclasses.replace(chat_reading(part, card, chosen), offset=i)
        answers.append(kind(link, card, part, rendering, reading, left=max_tokens(chat.sampling, card, cap)))
        async with aclosing(answers[-1].run()) as events:
            async for event in events:
                yield event
    usage, timings = _joined([answer.usage() for answer in answers], [a.spent.timings for a in answers])
    context = None
    if rendering.ids is not None and chat.want_context:
        context = (*rendering.ids, *await link.tokenize(answers[0].written, special=False))
    yield Finished(usage, timings, context)


async def _together(
    link: Link, card: Card, chat: Chat, chosen: ToolPlan, rendering: Rendering | None, *, cap: int | None
) -> AsyncGenerator[Event, None]:
    tallies: list[Tally] = []
    tokens: list[int] = []
    mute = False
    for offset, part in _parts(chat, link):
        order = _order(card, part, chosen, rendering, cap=cap, offset=offset)
        mute = order.reading.mute
        decoder = decoder_for(order)
        async with aclosing(link.events(order, decoder)) as events:
            async for event in events:
                yield event
        tallies.append(decoder.tally)
        if not offset:
            tokens = getattr(decoder, "tokens", [])
    context = None
    if rendering is not None and rendering.ids is not None and chat.want_context:
        context = (*rendering.ids, *tokens)
    yield Finished(*totals(tallies, mute=mute), context=context)


def _order(
    card: Card, part: Chat, chosen: ToolPlan, rendering: Rendering | None, *, cap: int | None, offset: int
) -> Order:
    if rendering is None:
        order = encode_chat(part, card, limit=cap)
        return dataclasses.replace(order, reading=dataclasses.replace(order.reading, offset=offset))
    reading: Reading = dataclasses.replace(
        chat_reading(part, card, chosen),
        offset=offset,
        prefill="",
        thoughts=not rendering.closed,
        thinking=rendering.opened,
    )
    return encode_complete(part, card, rendering.then(""), reading=reading, limit=cap)


def totals(tallies: list[Tally], *, mute: bool) -> tuple[Usage, Timings]:
    """What rounds over one prompt used together."""
    return _joined([tally.usage(mute=mute) for tally in tallies], [tally.timings() for tally in tallies])


def _joined(parts: list[Usage], times: list[Timings]) -> tuple[Usage, Timings]:
    usage = Usage(
        max(part.prompt_tokens for part in parts),
        sum(part.completion_tokens for part in parts),
        parts[0].cached_tokens,
        sum(part.reasoning_tokens for part in parts),
        sum(part.drafted_tokens for part in parts),
        sum(part.accepted_tokens for part in parts),
    )
    return usage, Timings(prefill=sum(t.prefill for t in times), decode=sum(t.decode for t in times))


def _parts(chat: Chat, link: Link) -> list[tuple[int, Chat]]:
    return [
        (offset, dataclasses.replace(chat, n=size, sampling=reseeded(chat.sampling, offset)))
        for offset, size in rounds(chat.n, link.launch.slots)
    ]


async def _rendered(
    link: Link, card: Card, chat: Chat, chosen: ToolPlan, cap: int | None
) -> tuple[Rendering, int | None, Notice | None]:
    """The prompt, behind the given context and as token ids if the context is wanted back; how many
    tokens may follow it; what was cut."""
    told: Notice | None = None
    before = list(chat.context or ())
    check_ids(before, card, "context")
    rendering = await render(link, card, chat, chosen)
    if not _wants_context(chat) or (rendering.images and not before):
        return rendering, cap, told  # there are no token ids for images
    if rendering.images:
        raise Unsupported(
            "Images cannot follow an earlier context.", hint="Send the messages instead.", param="context"
        )
    ids = await link.tokenize(rendering.text, special=not before)
    limit = own_limit(link.launch, chat.load) or link.launch.context_length
    if limit and len(before) + len(ids) >= limit:
        used = len(before) + len(ids)
        if not chat.truncate:
            raise ContextExceeded(used, limit, param="prompt")
        keep = limit - fit.room_for_answer(chat, limit) - len(ids)
        if keep < 0:
            chat, told = await fit.shorten(link, card, chat, before=used, limit=limit)
            rendering = await render(link, card, chat, chosen)
            ids, keep = await link.tokenize(rendering.text), 0
        else:
            told = fit.notice(used, limit, "the beginning of the earlier conversation was cut off")
        before = before[-keep:] if keep else []
    if limit:
        cap = limit - len(before) - len(ids)
    return dataclasses.replace(rendering, ids=(*before, *ids)), cap, told
