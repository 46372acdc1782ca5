"""Which worker a request goes to, where several models share one."""

from __future__ import annotations

import dataclasses
import time
from typing import Final

from .. import catalog, router
from ..core.models import Card
from ..core.requests import Request
from ..engines import adapters

FRESH: Final = 2.0
"""Seconds for which a look into the store is good."""


class Sharing:
    """``keep_alive``: see ``catalog.dress``."""

    def __init__(self, known: catalog.Catalog, *, keep_alive: float) -> None:
        self._catalog = known
        self._keep_alive = keep_alive
        self._cards: list[Card] = []
        self._seen = -FRESH

    def dress(self, request: Request, card: Card) -> Request:
        """The request with what its model brings along, its adapters by digest. Raises BadRequest,
        Unsupported, ModelNotFound."""
        request = catalog.dress(request, card, keep_alive=self._keep_alive)
        wanted = adapters.attached(request, card, self._catalog.resolve)
        return dataclasses.replace(request, adapters=wanted, target=card)

    def route(self, request: Request, card: Card) -> router.Route:
        """Where the request runs: on the worker that its model shares with others."""
        wanted = {digest for digest, _ in request.adapters}
        return router.route(request, adapters.target(request, card, self._known(wanted)))

    def host(self, card: Card) -> Card:
        """What a loaded worker of ``card`` goes by in the fleet."""
        return adapters.host(card, self._known(set()))

    def _known(self, wanted: set[str]) -> list[Card]:
        """The store's models; read again now and then, and when an adapter is asked for that is new."""
        now = time.monotonic()
        there = {file.digest for card in self._cards for file in card.of_role("adapter")}
        if now - self._seen > FRESH or not wanted <= there:
            self._cards, self._seen = self._catalog.cards(), now
        return self._cards
