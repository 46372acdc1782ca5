"""The engines of one server: which of them runs which model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..core.engine import Launch
from ..core.errors import InhouseError
from ..core.models import Card
from . import registry
from .recipe import Availability, Recipe, Settings


class Engines:
    """All recipes that this configuration allows; ``default`` runs what asks for no other.

    ``state`` is a folder where engines may keep things. Raises LoadFailed with a fix when there is no
    engine at all.
    """

    def __init__(self, settings: Settings, *, state: Path, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._state = state
        self._environ = dict(os.environ if environ is None else environ)
        self.default: Recipe = registry.choose(settings, state=state, environ=self._environ)
        self._others: dict[str, Recipe] = {}

    def of(self, card: Card) -> Recipe:
        """The recipe that runs ``card``: the one it asks for, else the first that can run its kind.

        Where none can it is the default one, whose ``launch`` says why.
        """
        wanted = card.tuning.engine
        for other in registry.OTHERS:
            if other.name == wanted:
                return self._other(other)
        if self.default.can(card):
            return self.default
        able = [one for one in registry.OTHERS if self._other(one).can(card)]
        for other in able:
            if other.find(self._settings, self._state, self._environ).ok:
                return self._other(other)
        return self._other(able[0]) if able else self.default

    def _other(self, other: registry.Other) -> Recipe:
        if other.name not in self._others:
            self._others[other.name] = other.make(self._settings, self._state, self._environ)
        return self._others[other.name]

    def fall_back(self, card: Card, failed: Launch, error: InhouseError) -> Recipe | None:
        """What to run ``card`` with once ``failed`` did not become ready; None to give up."""
        return None

    def grammars(self, card: Card) -> frozenset[str]:
        """The notations that the engine of ``card`` enforces, as in ``Launch.grammars``."""
        return self.of(card).grammars

    def cards(self) -> tuple[Card, ...]:
        """Models that the engines bring along themselves."""
        return self.default.cards()

    def available(self) -> list[Availability]:
        """Every engine with what is known of it, best first. May run binaries once; blocking."""
        return registry.available(self._settings, state=self._state, environ=self._environ)


__all__ = ["Engines"]
