"""What happens to a request between its decoding and its wait for a model: what it only names is
brought, a template of its own is rendered, and what no engine here can enforce is refused."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

from . import grammar
from .core.errors import Unsupported
from .core.models import Card
from .core.requests import Chat, Complete, Render, Request

R = TypeVar("R", bound=Chat | Complete)


@dataclasses.dataclass(frozen=True, slots=True)
class Prepare:
    """``bring`` replaces what lies elsewhere; ``render`` applies a template of the request.
    ``grammars`` are the notations of the engine that runs a model (``Launch.grammars``), ``reachable`` those
    that it could have on another build: what needs them is run there."""

    bring: Callable[[Request], Awaitable[Request]]
    render: Callable[[Request, Card], Awaitable[Request]]
    grammars: Callable[[Card], frozenset[str]]
    reachable: Callable[[Card], frozenset[str]] = lambda card: frozenset()

    async def __call__(self, request: Request, card: Card) -> Request:
        """The request as an engine gets it. Raises BadRequest and below, naming the field."""
        request = await self.bring(request)
        request = _alone(await self.render(request, card))
        if isinstance(request, Render):  # what is counted is what would be generated from
            return dataclasses.replace(request, chat=await self._held(request.chat, card))
        return await self._held(request, card) if isinstance(request, Chat | Complete) else request

    async def _held(self, request: R, card: Card) -> R:
        """The request with its formats checked, if it has any. Compiling one may take a while."""
        if request.format is None and not _forced(request):
            return request  # what a free call is held to is looked at once there is one
        return await asyncio.to_thread(self._placed, request, card)

    def _placed(self, request: R, card: Card) -> R:
        """Blocking: which build runs a model may depend on what a build says of itself."""
        return _placed(request, self.grammars(card), self.reachable(card))


def _alone(request: Request) -> Request:
    """A request that asks for log-probabilities needs an engine that guesses no tokens ahead."""
    told = isinstance(request, Chat | Complete) and request.logprobs is not None
    if told or (isinstance(request, Complete) and request.best_of is not None):
        return dataclasses.replace(request, load=dataclasses.replace(request.load, unguessed=True))
    return request


def _placed(request: R, grammars: frozenset[str], reachable: frozenset[str]) -> R:
    """The request checked for the engine at hand, else for one that has more notations. What was checked
    for lark must not meet a worker without it: a schema would be enforced less than it says."""
    needed = grammars
    try:
        done = _checked(request, grammars)
    except Unsupported:
        if reachable <= grammars:
            raise
        needed = grammars | reachable
        done = _checked(request, needed)
    if "lark" not in needed:
        return done
    return dataclasses.replace(done, load=dataclasses.replace(done.load, grammar="lark"))


def _checked(request: R, grammars: frozenset[str]) -> R:
    if request.format is not None:
        request = dataclasses.replace(request, format=grammar.check(request.format, grammars))
    if isinstance(request, Chat) and request.tools and request.tool_choice.mode != "none":
        forced = _forced(request)
        tools = grammar.check_tools(request.tools, grammars, "tools", forced=forced)
        request = dataclasses.replace(request, tools=tools)
    return request


def _forced(request: Request) -> bool:
    return isinstance(request, Chat) and request.tool_choice.mode == "required" and bool(request.tools)


__all__ = ["Prepare"]
