"""Which slot of a worker a request is given to, so that we know what each of them holds. Pure.

The engine chooses by the tokens that a slot has in common with the prompt. We choose likewise, by marks,
but also by adapters (whose change empties a slot) and, where that is asked, by whose prompt it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from .marks import NOTHING, Marks

SIMILAR = 0.1
"""Part of a prompt that a slot must know already to be taken for that; the engine's own bound."""


@dataclass(slots=True, eq=False)
class Slot:
    """``marks`` of the prompt it holds, which was ``tenant``'s; ``adapters`` that it was computed with.
    ``tenant`` None: nobody knows whose. ``held``: busy, but nothing is computed in it."""

    number: int
    busy: bool = False
    held: bool = False
    marks: Marks = NOTHING
    tenant: str | None = None
    adapters: tuple[float, ...] = ()
    used: int = 0

    def forget(self) -> None:
        """Nothing is known of what it holds."""
        self.marks, self.tenant = NOTHING, None


class Slots:
    """All slots of one worker. ``apart``: what one tenant's prompt left is of no use to another."""

    def __init__(self, count: int, *, apart: bool = False) -> None:
        self.all = [Slot(number) for number in range(count)]
        self.apart = apart
        self._turn = 0
        self._astray = 0
        self.strayed = 0
        """Requests that went astray so far."""

    @property
    def busy(self) -> bool:
        """Does anything run?"""
        return self._astray > 0 or any(slot.busy for slot in self.all)

    def take(self, marks: Marks, tenant: str, adapters: tuple[float, ...]) -> Slot | None:
        """The best free slot, busy from now on; None: let the engine choose."""
        free = [slot for slot in self.all if not slot.busy]
        if not free or self._astray:
            return None

        def known(slot: Slot) -> int:
            alike = slot.adapters == adapters and (slot.tenant == tenant or not self.apart)
            return marks.common(slot.marks.chain) if alike else 0

        best = max(free, key=lambda slot: (known(slot), -slot.used))
        if marks.share(known(best)) <= SIMILAR:
            best = min(free, key=lambda slot: slot.used)
        best.busy = True
        self._turn += 1
        best.used = self._turn
        return best

    def hold(self, slot: Slot) -> None:
        """Keep a free slot from being taken, though the engine may still choose it."""
        slot.busy = slot.held = True

    def give(self, slot: Slot) -> None:
        """It is free again."""
        slot.busy = slot.held = False

    def stray(self, change: int) -> None:
        """A request came (1) or went (-1) for which the engine chooses slots: no free one can be told."""
        self._astray += change
        self.strayed += change > 0
        for slot in self.all:
            if not slot.busy or slot.held:
                slot.forget()
                slot.used = 0
