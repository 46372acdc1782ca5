"""What is remembered of models when they are gone: how much they are used, how long they load. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .messages import Key

HALF: Final = 600.0
"""Seconds after which a use counts half."""

READING: Final = 500 * 2**20
"""Bytes per second that a model is taken to load with before it was seen."""

WEIGHT: Final = 0.2
"""Of a new figure in a running mean."""

MOST: Final = 512
"""Models remembered."""


@dataclass(slots=True)
class Past:
    """``heat``: uses, each halved every ``HALF`` seconds, as of ``at``. ``load_seconds`` is the last load's,
    ``pace`` the running mean of seconds that one token of work takes in one slot; None unknown. ``work``: the
    running mean of tokens in a request, by which a small one counts little for the pace."""

    heat: float = 0.0
    at: float = 0.0
    load_seconds: float | None = None
    pace: float | None = None
    work: float = 0.0


class History:
    """By key; the one that was written to longest ago is forgotten first."""

    def __init__(self) -> None:
        self._pasts: dict[Key, Past] = {}

    def used(self, key: Key, now: float) -> None:
        """A request was granted."""
        past = self._write(key)
        past.heat, past.at = self._heat(past, now) + 1.0, now

    def loaded(self, key: Key, seconds: float) -> None:
        self._write(key).load_seconds = seconds

    def served(self, key: Key, seconds: float, work: float) -> None:
        """A request of ``work`` tokens held its slots for so long."""
        past, work = self._write(key), max(1.0, work)
        if past.pace is None:
            past.pace, past.work = seconds / work, work
        before = past.pace * past.work
        past.work += WEIGHT * (work - past.work)
        past.pace = (before + WEIGHT * (seconds - before)) / past.work

    def pace(self, key: Key) -> float | None:
        """Seconds a token of work takes in one slot; None before the first request."""
        past = self._pasts.get(key)
        return past.pace if past else None

    def load_seconds(self, key: Key, memory: int) -> float:
        """How long the model loads: as last time, else by its bytes."""
        past = self._pasts.get(key)
        if past is None or past.load_seconds is None:
            return memory / READING
        return past.load_seconds

    def value(self, key: Key, memory: int, now: float) -> float:
        """What it costs to lose the model: seconds to load it again, by how likely it is wanted soon."""
        past = self._pasts.get(key)
        return (self._heat(past, now) if past else 0.0) * (1.0 + self.load_seconds(key, memory))

    def _write(self, key: Key) -> Past:
        past = self._pasts.pop(key, None) or Past()
        self._pasts[key] = past
        if len(self._pasts) > MOST:
            del self._pasts[next(iter(self._pasts))]
        return past

    @staticmethod
    def _heat(past: Past, now: float) -> float:
        return float(past.heat * 2.0 ** (-max(0.0, now - past.at) / HALF))
