"""How many tokens a second a worker makes now."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW: Final = 5
"""Seconds that are looked back."""


class Rate:
    """Counts in buckets of a second; adding costs a fraction of a microsecond. ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: deque[list[int]] = deque(maxlen=WINDOW + 1)
        self._first = 0.0

    def add(self, count: int = 1) -> None:
        """So many tokens came just now."""
        now = self._clock()
        second = int(now)
        if not self._buckets or self._buckets[-1][0] < second - WINDOW:
            self._first = now
        if self._buckets and self._buckets[-1][0] == second:
            self._buckets[-1][1] += count
        else:
            self._buckets.append([second, count])

    def now(self) -> float:
        """Tokens per second over the last five seconds, or since the first token if that is later."""
        now = self._clock()
        begin = max(float(int(now - WINDOW)), self._first)  # whole buckets only
        count = sum(n for second, n in self._buckets if second >= int(begin))
        return count / max(1.0, now - begin) if count else 0.0
