"""A worker process as an Engine."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from ..core.engine import Launch
from ..core.events import ChoiceEnd, Event, Finished, Started
from ..core.models import Card
from ..core.requests import Chat, Complete, Detokenize, Embed, Load, Render, Request, Rerank, Tokenize
from ..core.usage import Timings, Usage
from ..grammar import engine_grammar
from . import chat, complete, embed, rank, tokens
from .desk import Desk
from .hot import Rules
from .http import Link
from .seat import Terms
from .shelf import Shelf
from .turn import Turn

R = TypeVar("R", Chat, Complete)


class WorkerEngine:
    """Runs requests on one worker that speaks llama-server's HTTP. Not bound to a loop until used.

    ``shelf`` is where prompts that are asked for again are saved, ``rules`` say when.
    """

    def __init__(
        self, card: Card, launch: Launch, *, shelf: Shelf | None = None, rules: Rules | None = None
    ) -> None:
        self.card = card
        self.launch = launch
        self._line = Link(launch)
        self._desk = Desk(launch, self._line.call, shelf, rules or Rules())

    def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Stream the events of one request; closing the generator frees the slot.

        Raises BadRequest and below for what the caller can mend, WorkerDied when the connection
        breaks, EngineError for everything else that goes wrong in the engine.
        """
        link = Turn(self._line, self._desk, self._desk.terms(request))
        card = request.target or self.card
        match request:
            case Chat():
                return _told(chat.run(link, card, _translated(request)), link.terms)
            case Complete():
                return _told(complete.run(link, card, _translated(request)), link.terms)
            case Embed():
                return embed.run(link, card, request)
            case Rerank():
                return rank.run(link, card, request)
            case Tokenize():
                return tokens.tokenize(link, card, request)
            case Detokenize():
                return tokens.detokenize(link, card, request)
            case Render():
                return tokens.render(link, card, request)
        return _nothing(request)

    async def healthy(self, timeout: float) -> bool:
        """Whether the worker is loaded and answers within ``timeout`` seconds."""
        return await self._line.healthy(timeout)

    async def close(self) -> None:
        """Give back connections; running requests end with WorkerDied. Idempotent."""
        await self._desk.close()
        await self._line.close()


async def _told(events: AsyncGenerator[Event, None], terms: Terms) -> AsyncGenerator[Event, None]:
    """The same events; the last one says what was read from disk."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finished) and terms.steps:
                used = event.usage
                read = min(used.cached_tokens, terms.restored)
                used = dataclasses.replace(used, restored_tokens=read, restored_bytes=terms.read)
                event = dataclasses.replace(event, usage=used, steps=tuple(terms.steps))
            yield event


def _translated(request: R) -> R:
    """A grammar in the notation that the engine reads."""
    wanted = request.format
    if wanted is None or wanted.grammar is None:
        return request
    text = engine_grammar(wanted.grammar)
    grammar = dataclasses.replace(wanted.grammar, text=text)
    return dataclasses.replace(request, format=dataclasses.replace(wanted, grammar=grammar))


async def _nothing(request: Request) -> AsyncGenerator[Event, None]:
    """Loading and unloading are done by the fleet; here they only end."""
    yield Started()
    yield ChoiceEnd("load" if isinstance(request, Load) else "unload")
    yield Finished(Usage(), Timings())
