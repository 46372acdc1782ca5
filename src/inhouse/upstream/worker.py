"""A worker process as an Engine."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from typing import TypeVar

from ..core.engine import Launch
from ..core.events import ChoiceEnd, Event, Finished, Started
from ..core.models import Card
from ..core.requests import Chat, Complete, Detokenize, Embed, Load, Render, Request, Rerank, Tokenize
from ..core.usage import Timings, Usage
from ..grammar import engine_grammar
from . import chat, complete, embed, rank, tokens
from .http import Link

R = TypeVar("R", Chat, Complete)


class WorkerEngine:
    """Runs requests on one worker that speaks llama-server's HTTP. Not bound to a loop until used."""

    def __init__(self, card: Card, launch: Launch) -> None:
        self.card = card
        self.launch = launch
        self._link = Link(launch)

    def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Stream the events of one request; closing the generator frees the slot.

        Raises BadRequest and below for what the caller can mend, WorkerDied when the connection
        breaks, EngineError for everything else that goes wrong in the engine.
        """
        link, card = self._link, self.card
        match request:
            case Chat():
                return chat.run(link, card, _translated(request))
            case Complete():
                return complete.run(link, card, _translated(request))
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
        return await self._link.healthy(timeout)

    async def close(self) -> None:
        """Give back connections; running requests end with WorkerDied. Idempotent."""
        await self._link.close()


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
