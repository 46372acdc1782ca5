"""Which worker a request goes to, where several models share one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Final

from .. import catalog, router
from ..core.journal import Record
from ..core.models import Card
from ..core.requests import Request
from ..engines import adapters

FRESH: Final = 2.0
"""Seconds for which a look into the store is good."""


class Sharing:
    """``keep_alive``: see ``catalog.dress``. ``tell`` hears when a worker does not do any more. ``apart``
    says of which models the engine goes by the model's own name: they share with none."""

    def __init__(
        self,
        known: catalog.Catalog,
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
        host = card if self._apart(card) else adapters.target(request, card, self._known(wanted))
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

    def host(self, card: Card) -> Card:
        """What a loaded worker of ``card`` goes by in the fleet."""
        return card if self._apart(card) else adapters.host(card, self._known(set()))

    def _known(self, wanted: set[str]) -> list[Card]:
        """The store's models; read again now and then, and when an adapter is asked for that is new."""
        now = time.monotonic()
        there = {file.digest for card in self._cards for file in card.of_role("adapter")}
        if now - self._seen > FRESH or not wanted <= there:
            self._cards = [card for card in self._catalog.cards() if not self._apart(card)]
            self._seen = now
        return self._cards
