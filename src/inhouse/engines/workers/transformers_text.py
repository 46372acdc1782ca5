"""From token ids to text that may be shown: whole characters, nothing of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_TORN = "\ufffd"
_MOST_TORN = 8
"""Tokens that one character may take; what is still torn after so many is shown as it is."""


@dataclass
class Writing:
    """Text of an answer as it grows. ``decode`` makes text of ids; ``stops`` end the answer."""

    decode: Callable[[Sequence[int]], str]
    stops: tuple[str, ...] = ()
    stopped: str | None = None
    """The stop string that was hit."""
    _ids: list[int] = field(default_factory=list)
    _shown: int = 0
    _before: int = 0
    _held: str = ""
    _notes: list[Any] = field(default_factory=list)

    def add(self, token: int, note: Any = None) -> tuple[str, list[Any]]:
        """The text that ``token`` completes, and the notes of the tokens it is made of.

        Tokens are decoded together with those before them, for some begin with a space only there.
        """
        self._ids.append(token)
        if note is not None:
            self._notes.append(note)
        known = self.decode(self._ids[self._before : self._shown])
        text = self.decode(self._ids[self._before :])
        if text.endswith(_TORN) and len(self._ids) - self._shown < _MOST_TORN:
            return "", []
        self._before, self._shown = self._shown, len(self._ids)
        return self._show(text[len(known) :])

    def end(self) -> tuple[str, list[Any]]:
        """What was held back: nothing follows."""
        if self.stopped is not None:
            return "", []
        torn = self._ids[self._shown :]
        text = self.decode(self._ids[self._before :]) if torn else ""
        known = self.decode(self._ids[self._before : self._shown]) if torn else ""
        said, notes = self._show(text[len(known) :])
        rest, self._held = ("", "") if self.stopped is not None else (self._held, "")
        return said + rest, notes or self._taken()

    def _show(self, text: str) -> tuple[str, list[Any]]:
        self._held += text
        at = [(place, stop) for stop in self.stops if (place := self._held.find(stop)) >= 0]
        if at:
            place, self.stopped = min(at)
            said, self._held = self._held[:place], ""
            return said, self._taken() if said else []
        keep = max((_overlap(self._held, stop) for stop in self.stops), default=0)
        end = len(self._held) - keep
        said, self._held = self._held[:end], self._held[end:]
        return said, [] if keep else self._taken()

    def _taken(self) -> list[Any]:
        notes, self._notes = self._notes, []
        return notes


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` may be the front of ``stop``."""
    most = min(len(text), len(stop) - 1)
    return next((k for k in range(most, 0, -1) if text.endswith(stop[:k])), 0)
