"""The journal: the last records, in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..core.journal import Record

KEPT = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """A record with its number (counted from 1) and when it happened, in seconds since 1970."""

    number: int
    at: float
    record: Record


class Journal:
    """Writing is quick and never fails; the oldest lines are forgotten."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._next = 1

    def write(self, record: Record) -> None:
        """Take in one record."""
        self._lines.append(Line(self._next, self._clock(), record))
        self._next += 1

    def lines(self) -> list[Line]:
        """What is remembered, oldest first."""
        return list(self._lines)
