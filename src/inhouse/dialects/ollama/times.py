"""Time as Ollama writes it: RFC 3339 with nanoseconds, durations in whole nanoseconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from ...core.usage import Timings

FOREVER = "9999-12-31T23:59:59.000000000Z"


class Stamper:
    """Says the time as bytes, fast: the part down to the second is made once a second."""

    __slots__ = ("_clock", "_prefix", "_second")

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._second = -1
        self._prefix = b""

    def __call__(self) -> bytes:
        second, rest = divmod(self._clock(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
        return self._prefix + b"%09dZ" % rest


def stamp(at: float | datetime | None) -> str:
    """Epoch seconds or an aware datetime; None is for ever."""
    if at is None:
        return FOREVER
    seconds = at.astimezone(UTC).timestamp() if isinstance(at, datetime) else at
    return Stamper(lambda: round(seconds * 1e6) * 1000)().decode()


def load_duration(timings: Timings) -> int:
    """From asking for the model to having it, as Ollama counts: waiting and loading.

    At least 1, since clients read 0 as missing.
    """
    return max(1, nanoseconds(timings.load + timings.queue))


def nanoseconds(seconds: float) -> int:
    """A duration as an integer."""
    return max(0, round(seconds * 1e9))
