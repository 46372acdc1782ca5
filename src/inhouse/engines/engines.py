"""The engines of one server: which of them runs which model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

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

    def of(self, card: Card) -> Recipe:
        """The recipe that runs ``card``."""
        return self.default

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
