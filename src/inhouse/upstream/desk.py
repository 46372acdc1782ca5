"""Gives every request of a worker its slot.

The life of a generation: *sit* (choose a slot; if a saved prompt knows more of this one than the slot
does, read it in) · run · *rise* (free the slot; if the prompt's beginning is wanted again, save it when
the worker has nothing else to do).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.engine import Launch
from ..core.errors import EngineError
from ..core.requests import Common
from ..dialects.llamaserver import Tally
from .hot import Rules
from .keeper import Call, Keeper
from .marks import marks
from .seat import Seat, Terms
from .shelf import Shelf
from .slots import Slot, Slots


class Desk:
    """One worker's. ``shelf`` None, or a launch without a folder: nothing is saved."""

    def __init__(self, launch: Launch, call: Call, shelf: Shelf | None, rules: Rules) -> None:
        self._adapters = launch.adapters
        self._apart = rules.sharing == "none"
        self._slots = Slots(launch.slots, apart=self._apart)
        self._managed = bool(launch.prefixes or launch.adapters or self._apart)
        self._keeper: Keeper | None = None
        if shelf is not None and launch.prefixes:
            self._keeper = Keeper(launch, call, shelf, rules, self._slots)

    def terms(self, request: Common) -> Terms:
        """The terms of a request. Raises EngineError if the worker lacks one of its adapters."""
        wanted = dict(request.adapters)
        if not wanted.keys() <= set(self._adapters):
            raise EngineError(
                "The model's worker does not have the adapter that is asked for.",
                hint="Stop the model and try again: it is loaded with all adapters that there are.",
            )
        scales = tuple(wanted.get(digest, 0.0) for digest in self._adapters)
        return Terms(request.tenant, scales, request.pin is not None)

    async def sit(self, terms: Terms, body: Mapping[str, Any]) -> Seat:
        """A place for a generation. Always ``rise`` from it."""
        if terms.scales:  # without the field, the engine would keep what other adapters computed
            body = {**body, "lora": [{"id": i, "scale": scale} for i, scale in enumerate(terms.scales)]}
        if not self._managed:
            return Seat(body, terms)
        found = marks(body)
        slot = None
        if (body.get("n") or body.get("n_cmpl") or 1) == 1:
            slot = self._slots.take(found, terms.tenant, terms.scales)
        if slot is None:
            self._slots.stray(1)
            if self._apart:
                body = {**body, "cache_prompt": False}
            return Seat(body, terms, astray=True)
        try:
            return await self._seated(slot, Seat(body, terms, slot, found))
        except BaseException:
            slot.forget()
            self._slots.give(slot)
            raise

    async def _seated(self, slot: Slot, seat: Seat) -> Seat:
        terms, known = seat.terms, 0
        foreign = slot.tenant != terms.tenant
        if slot.adapters == terms.scales and not (self._apart and foreign):
            known = seat.marks.common(slot.marks.chain)
        reusable, strayed = bool(seat.body.get("cache_prompt")), self._slots.strayed
        fresh = reusable and self._keeper is not None and await self._keeper.restore(seat, known)
        slot.marks, slot.tenant, slot.adapters = seat.marks, terms.tenant, terms.scales
        own = {"id_slot": slot.number}
        if self._apart and ((foreign and not fresh) or self._slots.strayed != strayed):
            own["cache_prompt"] = False  # another's prompt is in it, or came into it while we read
        seat.body = {**seat.body, **own}
        return seat

    def rise(self, seat: Seat, tally: Tally | None) -> None:
        """Give the place back; ``tally`` is that of a generation that came to its end."""
        if seat.astray:
            self._slots.stray(-1)
        if seat.slot is None:
            return
        self._slots.give(seat.slot)
        if tally is not None and self._keeper is not None:
            self._keeper.learn(seat, tally)

    def stray(self, change: int) -> None:
        """A call begins (1) or ends (-1) for which the engine chooses slots."""
        if self._managed:
            self._slots.stray(change)

    async def close(self) -> None:
        """Give up what is being saved."""
        if self._keeper is not None:
            await self._keeper.close()
