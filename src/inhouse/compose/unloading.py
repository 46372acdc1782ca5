"""Ends the worker of a model that a client names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..catalog import Catalog
from ..core.errors import ModelNotFound, StoreError
from ..core.models import Card
from ..fleet import Fleet


class Unloading:
    """``host`` says what the worker of a model goes by in the fleet, where models share one."""

    def __init__(self, known: Catalog, fleet: Fleet, host: Callable[[Card], Awaitable[Card]]) -> None:
        self._catalog = known
        self._fleet = fleet
        self._host = host

    async def __call__(self, text: str) -> str:
        """Unload what a client calls ``text``, also where its files are broken or gone meanwhile; the name
        of the model. Raises what resolving the name raises, where no worker goes by it either."""
        try:
            card = await asyncio.to_thread(self._catalog.resolve, text)
        except (ModelNotFound, StoreError):
            loaded = self._catalog.among(text, [one.card for one in self._fleet.loaded()])
            if loaded is None:
                raise
            card = loaded
        host = await self._host(card)
        for one in {host.digest: host, card.digest: card}.values():
            await self._fleet.stop(one)
        return str(card.name)
