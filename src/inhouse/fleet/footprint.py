"""What workers really take: measured by process, remembered by the way a model was loaded.

Counted is the resident size, with the mapped weights in it: a model answers quickly only while its weights
stay in memory, so they are needed as much as what it allocated, although the kernel could take them away.
Libraries that several workers map are counted for each of them, some tens of megabytes too many.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Final

import psutil

from ..core.engine import Launch
from ..core.models import Card

_UNKNOWN: Final = (psutil.Error, OSError)
"""It is gone, not ours, or there is no descriptor left to look with."""

MOST: Final = 256
"""Ways of loading that are remembered."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes: ``resident``, of which ``mapped`` are pages of files (0 where the system does not tell)."""

    resident: int = 0
    mapped: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.resident + other.resident, self.mapped + other.mapped)


def _size(process: psutil.Process) -> Size:
    try:
        memory = process.memory_info()
    except _UNKNOWN:
        return Size()
    return Size(int(memory.rss), int(getattr(memory, "shared", 0)))


def resident(pid: int | None) -> int:
    """Bytes of one process without its children, 0 if it is gone. Quick."""
    if pid is None:
        return 0
    try:
        return _size(psutil.Process(pid)).resident
    except _UNKNOWN:
        return 0


def measure(pids: Collection[int]) -> dict[int, Size]:
    """The sizes of processes with all their children; those that are gone are left out. Blocking, some
    milliseconds."""
    out: dict[int, Size] = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
        except _UNKNOWN:
            continue
        size = sum(map(_size, family), Size())
        if size.resident:
            out[pid] = size
    return out


def shape(card: Card, launch: Launch) -> Hashable:
    """All that a model's footprint depends on."""
    return (
        card.digest,
        launch.engine,
        launch.variant,
        launch.build,
        launch.context_length,
        launch.slots,
        launch.speculative,
        launch.adapters,
        launch.device_memory,
        launch.memory,
    )


class Footprints:
    """Bytes of main memory by shape; the one learnt longest ago is forgotten first."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def expected(self, card: Card, launch: Launch) -> int:
        """As measured the last time, else as planned."""
        return self._known.get(shape(card, launch), max(0, launch.memory - launch.device_memory))

    def learn(self, card: Card, launch: Launch, size: int) -> None:
        key = shape(card, launch)
        self._known.pop(key, None)
        self._known[key] = size
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
