"""When a model that keeps failing may be tried again. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..core.errors import CrashLoop, InhouseError
from .messages import Key

THRESHOLD = 3  # failures in a row before the first pause
WHATEVER = 6  # loads in a row that failed with whatever options before the first pause of the whole model
BASE = 1.0  # seconds of the first pause; each further failure doubles it
CAP = 60.0
FORGET = 600.0  # seconds after which an old failure counts no more


@dataclass(frozen=True, slots=True)
class Whole:
    """The key for all variants of one group: who asks with other options each time is held back, too."""

    group: Hashable


@dataclass(slots=True)
class _Record:
    failures: int
    until: float
    error: InhouseError


class Backoff:
    """Counts failures in a row by key. A success forgets them."""

    def __init__(self) -> None:
        self._records: dict[Key, _Record] = {}

    def failed(self, key: Key, error: InhouseError, now: float) -> None:
        """Note one more failure, and pause if there were several."""
        for old in [k for k, r in self._records.items() if now - r.until > FORGET]:
            del self._records[old]
        record = self._records.get(key)
        failures = record.failures + 1 if record else 1
        beyond = failures - (WHATEVER if isinstance(key, Whole) else THRESHOLD)
        pause = min(CAP, BASE * 2.0 ** min(beyond, 10)) if beyond >= 0 else 0.0
        self._records[key] = _Record(failures, now + pause, error)

    def succeeded(self, key: Key) -> None:
        self._records.pop(key, None)

    def refusal(self, key: Key, now: float) -> CrashLoop | None:
        """The error for a request while the pause lasts; it carries the last failure's reason."""
        record = self._records.get(key)
        if record is None or now >= record.until:
            return None
        wait = record.until - now
        return CrashLoop(
            f"The model failed {record.failures} times in a row: {record.error.message}",
            hint=record.error.hint or "Look into the worker's log.",
            retry_after=wait,
            detail=record.error.detail,
        )
