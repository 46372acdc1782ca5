"""What was found best for a model, handed to every launch of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..core.models import Card
from ..machine import Machine, fingerprint
from .recipe import Recipe, Room, Tuned
from .speculation import pairs
from .tuned import Kept, Key, Shelf, free_of

_SETTINGS: Final = {
    "threads": "engine.threads",
    "slots": "engine.slots",
    "kv_cache_type": "engine.kv_cache_type",
    "speculative": "engine.speculative",
}
"""Fields of a tuning that a setting of the user's goes before."""


class Tunings:
    """The tunings of a home on a machine. ``origins`` says of each setting where it comes from, ``default``
    if from nobody; ``models`` lists the stored ones."""

    def __init__(
        self,
        home: Path,
        machine: Machine,
        *,
        origins: Mapping[str, str],
        models: Callable[[], Sequence[Card]],
    ) -> None:
        self._shelf = Shelf(home)
        self._origins = origins
        self._machine = fingerprint(machine)
        self._models = models
        self._known: dict[Key, Kept | None] = {}
        self._trials: dict[str, Tuned] = {}

    def key(self, card: Card, recipe: Recipe) -> Key:
        """What a tuning of ``card`` on ``recipe`` holds for."""
        return Key(card.weights_digest, recipe.build, self._machine)

    def kept(self, card: Card, recipe: Recipe) -> Kept | None:
        """The tuning that holds now, None without one."""
        key = self.key(card, recipe)
        if key not in self._known:
            self._known[key] = self._shelf.get(key)
        return self._known[key]

    def all(self, card: Card) -> list[Kept]:
        """Every tuning of these weights, newest first. Blocking."""
        return self._shelf.of(card.weights_digest)

    def keep(self, kept: Kept) -> None:
        """Use it from the next load on. Blocking. Raises OSError."""
        self._shelf.put(kept)
        self._known.clear()

    def forget(self, card: Card) -> int:
        """Forget every tuning of these weights; how many there were. Blocking."""
        self._known.clear()
        return self._shelf.forget(card.weights_digest)

    def settled(self, card: Card) -> frozenset[str]:
        """Fields that the model or the user decides, whatever is measured."""
        named = {name for name, key in _SETTINGS.items() if self._origins.get(key, "default") != "default"}
        own = {name for name in _SETTINGS if getattr(card.tuning, name, None)}
        return frozenset(named | own)

    def try_out(self, card: Card, trial: Tuned) -> None:
        """Load this (copy of a) card as ``trial`` says, until ``tried``."""
        self._trials[card.digest] = trial

    def tried(self, card: Card) -> None:
        self._trials.pop(card.digest, None)

    def apply(self, card: Card, recipe: Recipe, room: Room) -> tuple[Card, Room]:
        """The card and the room as they are launched: with what was measured, and with the draft model
        that guesses, where one does. Blocking."""
        found = self._trials.get(card.digest)
        if found is None:
            kept = self.kept(card, recipe)
            found = free_of(kept.tuned, self.settled(card)) if kept else Tuned()
        if found.draft and found.speculative == "draft" and not card.of_role("draft"):
            draft = next((one for one in self._models() if one.weights_digest == found.draft), None)
            if draft is None or not pairs(card, draft):
                found = dataclasses.replace(found, draft="", speculative="")
            else:
                card = with_draft(card, draft)
        return card, dataclasses.replace(room, tuned=found)

    def drafts(self, card: Card) -> list[tuple[str, str]]:
        """(name, digest) of stored models that could guess for this one, the smallest first. Blocking."""
        able = sorted((one for one in self._models() if pairs(card, one)), key=lambda one: one.size)
        return list({one.weights_digest: (str(one.name), one.weights_digest) for one in able}.values())


def with_draft(card: Card, draft: Card) -> Card:
    """``card`` with another model's weights as its draft model."""
    weights = next(file for file in draft.files if file.role == "model")
    return dataclasses.replace(card, files=(*card.files, dataclasses.replace(weights, role="draft")))


__all__ = ["Tunings", "with_draft"]
