"""Which worker a request goes to, where several models share one."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from .. import catalog, router
from ..core.errors import InhouseError
from ..core.journal import Record
from ..core.models import Card
from ..core.requests import Request
from ..engines import adapters

FRESH: Final = 2.0
"""Seconds for which nobody looks whether others, not this server, have changed the store."""
OLD: Final = 60.0
"""Seconds after which a request waits for such a look; before, it goes by the one before."""

_log = logging.getLogger(__name__)


class Sharing:
    """``keep_alive``: see ``catalog.dress``. ``tell`` hears when a worker does not do any more. ``apart``
    says of which models the engine goes by the model's own name: they share with none."""

    def __init__(
        self,
        known: catalog.Looks,
        *,
        keep_alive: float,
        tell: Callable[[Record], None] = lambda _: None,
        apart: Callable[[Card], bool] = lambda _: False,
    ) -> None:
        self._catalog = known
        self._keep_alive = keep_alive
        self._tell = tell
        self._apart = apart
        self._hosts: dict[str, tuple[str, ...]] = {}
        self._cards: list[Card] = []
        self._there: set[str] = set()
        self._changes = -1
        self._seen = -math.inf
        self._reading = asyncio.Lock()
        self._look: asyncio.Task[None] | None = None

    async def dress(self, request: Request, card: Card) -> Request:
        """The request with what its model brings along, its adapters by digest. Raises BadRequest,
        Unsupported, ModelNotFound."""
        request = catalog.dress(request, card, keep_alive=self._keep_alive)
        named = {name: await self._found(name) for name, _ in request.adapters}

        def find(name: str) -> Card:
            if isinstance(found := named[name], InhouseError):
                raise found
            return found

        wanted = adapters.attached(request, card, find)
        return dataclasses.replace(request, adapters=wanted, target=card)

    async def _found(self, name: str) -> Card | InhouseError:
        """A model, or why it cannot be had."""
        try:
            return await self._catalog.resolve(name)
        except InhouseError as error:
            return error

    async def route(self, request: Request, card: Card) -> router.Route:
        """Where the request runs: on the worker that its model shares with others. Raises StoreError."""
        wanted = {digest for digest, _ in request.adapters}
        host = card if self._apart(card) else adapters.target(request, card, await self._known(wanted))
        if host is not card or not card.of_role("adapter"):
            self._note(host)
        return router.route(request, host)

    def _note(self, host: Card) -> None:
        """Say so, once, when a model's worker is made anew because its adapters are others now."""
        name, now = str(host.name), tuple(file.digest for file in host.of_role("adapter"))
        before = self._hosts.get(name, now)
        self._hosts[name] = now
        if before != now:
            cause = "Adapters of its weights were stored or removed: a worker with all of them is started."
            remedy = "The earlier one ends after its keep-alive, or when its memory is needed."
            self._tell(Record("notice", name, cause, remedy, facts={"adapters": len(now)}))

    async def host(self, card: Card) -> Card:
        """What a loaded worker of ``card`` goes by in the fleet."""
        return card if self._apart(card) else adapters.host(card, await self._known(set()))

    async def _known(self, wanted: set[str]) -> list[Card]:
        """The store's models. Read again when this server changed them, and when an adapter is asked for
        that is new; what others did to the files is found by a look that nobody waits for."""
        asked = time.monotonic()
        if self._due(asked, wanted):
            async with self._reading:
                if self._due(asked, wanted):  # else whoever was before did it
                    await self._read()
        elif asked - self._seen > FRESH and not self._reading.locked():
            self._look = asyncio.create_task(self._look_again())
        return self._cards

    def _due(self, asked: float, wanted: set[str]) -> bool:
        if self._changes != self._catalog.changes or asked - self._seen > OLD:
            return True
        return not wanted <= self._there and self._seen < asked

    async def _look_again(self) -> None:
        async with self._reading:
            try:
                await self._read()
            except InhouseError as error:  # the next one that needs to know is told
                _log.warning("the store was not looked through: %s", error.detail or error.message)

    async def _read(self) -> None:
        seen, changes = time.monotonic(), self._catalog.changes
        self._cards = [card for card in await self._catalog.cards() if not self._apart(card)]
        self._there = {file.digest for card in self._cards for file in card.of_role("adapter")}
        self._seen, self._changes = seen, changes
