"""What a transfer reads from: byte ranges of one version of one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Tick = Callable[[], None]


class Changed(Exception):
    """The file at the source is no longer the one that this transfer began with."""


@dataclass(frozen=True, slots=True)
class Facts:
    """``size`` in bytes, None if it is not told; ``validator`` names the version ("" if nothing does);
    ``ranges``: any part of it can be asked for."""

    size: int | None
    validator: str
    ranges: bool


class Part(Protocol):
    """Bytes on their way."""

    def readinto(self, view: memoryview) -> int:
        """Some bytes, 0 at the end. Raises ``line.Broken`` where another try may help."""
        ...

    def close(self) -> None: ...


class Reader(Protocol):
    """One file at its source. Thread-safe. ``tick`` is called during waits; what it raises ends them."""

    def begin(self, start: int, end: int, tick: Tick) -> tuple[Facts, Part]:
        """Ask for ``start`` up to ``end`` (exclusive) of a file yet unknown. Where ``ranges`` is false
        in the answer, the part is the whole file from 0. Raises Broken and errors of ours."""
        ...

    def open(self, start: int, end: int, facts: Facts, tick: Tick) -> Part:
        """Ask for a range of exactly that version. Raises Changed, Broken and errors of ours."""
        ...

    def whole(self, tick: Tick) -> tuple[Facts, Part]:
        """Ask for the file from its first byte to its last. Raises Broken and errors of ours."""
        ...
