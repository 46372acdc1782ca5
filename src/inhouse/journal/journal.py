"""The journal: what happened to models and to the server, numbered for as long as it is kept."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

from msgspec import Meta

from ..core.journal import Record
from .book import Book
from .roll import LAST, Roll

KEPT = 2000
"""Lines at hand without reading the disk."""
WINDOW = 10.0
"""Seconds in which refusals like one that was written are only counted: an overload writes two lines."""
TURN = 1.0
"""Seconds after which one who follows looks up without being woken."""

_NUMBERS = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Line:
    """A record with its number (counted from 1, on and on over restarts) and when it happened, in seconds
    since 1970."""

    number: Annotated[int, Meta(ge=0, le=2**53)]
    at: Annotated[float, Meta(ge=0, le=LAST)]
    record: Record


@dataclass(slots=True)
class _Repeated:
    """Refusals of one sort since the one that was written."""

    until: float
    count: int = 0
    last: Record = field(default_factory=lambda: Record("refusal", "", ""))


class Journal:
    """Writing is quick, never fails and may be done from any thread; the oldest lines are forgotten.

    ``hear`` is told of every record, those that are only counted too; it must be quick.
    """

    def __init__(
        self,
        book: Book | None = None,
        *,
        hear: Callable[[Record], None] = lambda record: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hear, self._clock, self._monotonic = hear, clock, monotonic
        self._roll: Roll[Line] = Roll(Line, book, kept=KEPT)
        before = self._roll.items()
        self._next = before[-1].number + 1 if before else 1
        self._lock = threading.Lock()
        self._repeated: dict[tuple[str, str], _Repeated] = {}
        self._woken: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def write(self, record: Record) -> None:
        """Take in one record."""
        with self._lock:
            self._hear(record)
            self._sum_up()
            if record.kind != "refusal" or not self._is_repeated(record):
                self._add(record)

    def lines(self) -> list[Line]:
        """What is remembered, oldest first."""
        with self._lock:
            self._sum_up()
        return self._roll.items()

    def everything(self) -> list[Line]:
        """What is remembered and what the disk still has, oldest first. Blocking."""
        self.lines()
        return self._roll.everything()

    async def follow(self, after: int, ended: Callable[[], bool]) -> AsyncGenerator[Line, None]:
        """The lines with a number above ``after`` that are remembered, then further ones as they come,
        until ``ended``."""
        news = asyncio.Event()
        self._woken[news] = asyncio.get_running_loop()
        try:
            while True:
                news.clear()
                for line in self.lines():
                    if line.number > after:
                        after = line.number
                        yield line
                if ended():
                    return
                try:
                    async with asyncio.timeout(TURN):
                        await news.wait()
                except TimeoutError:
                    continue
        finally:
            del self._woken[news]

    @property
    def dropped(self) -> int:
        """Lines that the disk did not take."""
        return self._roll.dropped

    def close(self) -> None:
        """Write down what waits. Blocking, for some seconds at most."""
        with self._lock:
            self._sum_up(end=True)
        self._roll.close()

    def _add(self, record: Record) -> None:
        self._roll.add(Line(self._next, self._clock(), record))
        self._next += 1
        for news, loop in list(self._woken.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

    def _is_repeated(self, record: Record) -> bool:
        """Whether one of its sort was written just now; then it is counted."""
        sort = (record.model, _NUMBERS.sub("#", record.cause))
        known = self._repeated.get(sort)
        if known is None:
            self._repeated[sort] = _Repeated(self._monotonic() + WINDOW)
            return False
        known.count += 1
        known.last = record
        return True

    def _sum_up(self, *, end: bool = False) -> None:
        """Write one line for the refusals that were only counted, once their time is over."""
        now = self._monotonic()
        for sort in [s for s, known in self._repeated.items() if end or now >= known.until]:
            known = self._repeated.pop(sort)
            if known.count:
                facts = {**known.last.facts, "times": known.count}
                self._add(replace(known.last, facts=facts))
