"""How often a model may be loaded anew because requests want it loaded differently. Pure.

The largest context anybody wished for is remembered for a while and given to the next load, so clients
that take turns with a small and a large one cause one reload at most; a context that has to grow grows to
the next power of two. Other options (threads, batch ...) may change a few times a minute; then requests
run with those there are, and are told so.
"""

from __future__ import annotations

from collections import deque
from typing import Final

REMEMBERED: Final = 3600.0
"""Seconds for which a wished context counts."""

WINDOW: Final = 60.0
RELOADS: Final = 3
"""So many reloads for other options are made in so many seconds."""


class Wishes:
    """By the digest of a model. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._contexts: dict[str, tuple[int, float]] = {}
        self._reloads: dict[str, deque[float]] = {}

    def note(self, digest: str, context: int | None, now: float) -> None:
        """A request wished for so many tokens."""
        for old in [d for d, (_, at) in self._contexts.items() if now - at > REMEMBERED]:
            del self._contexts[old]
        if context and context >= self.largest(digest):
            self._contexts[digest] = (context, now)

    def largest(self, digest: str) -> int:
        """The largest context wished for lately, 0 if none."""
        return self._contexts.get(digest, (0, 0.0))[0]

    def may_reload(self, digest: str, now: float) -> bool:
        """May the model be loaded with other options once more? Counts it if so."""
        times = self._reloads.setdefault(digest, deque())
        while times and now - times[0] > WINDOW:
            times.popleft()
        if len(times) >= RELOADS:
            return False
        times.append(now)
        return True


def grown(context: int) -> int:
    """The next power of two."""
    return 1 << max(0, context - 1).bit_length()
