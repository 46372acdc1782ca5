"""One request in the ledger: opened on arrival, fed with its events, closed with an outcome."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Literal

from ..core.engine import Launch
from ..core.errors import BadRequest, Busy, Cancelled, InhouseError, NotFound
from ..core.events import Event, Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta
from ..core.requests import Caller
from ..core.usage import Step, Timings, Usage

Outcome = Literal["ok", "refused", "overloaded", "error", "cancelled"]

INTER_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds."""


def outcome_of(error: BaseException) -> Outcome:
    """Which outcome an error is counted under."""
    if isinstance(error, BadRequest | NotFound):
        return "refused"
    if isinstance(error, Busy):
        return "overloaded"
    if isinstance(error, Cancelled) or not isinstance(error, Exception):
        return "cancelled"
    return "error"


class Entry:
    """Feeding costs under a microsecond per token: counts go to plain lists and are merged once.

    ``at`` is when the request came, in seconds since 1970; every span is of a monotonic clock. ``pause`` is
    the longest time between two pieces of the answer; ``engine``, ``variant`` and ``build`` say by what.
    """

    def __init__(self, caller: Caller, asked: str, task: str, sink: Callable[[Entry], None]) -> None:
        self.caller = caller
        self.asked = asked
        self.task = task
        self.model = ""
        self.route = ""
        self.queue = 0.0
        self.load = 0.0
        self.steps: tuple[Step, ...] = ()
        self.engine = self.variant = self.build = ""
        self.first: float | None = None
        self.last = 0.0
        self.gaps = [0] * (len(INTER_TOKEN_BUCKETS) + 1)
        self.gap_sum = 0.0
        self.pause = 0.0
        self.usage = Usage()
        self.timings = Timings()
        self.outcome: Outcome | None = None
        self.error: InhouseError | None = None
        self._sink = sink
        self._clock = time.monotonic
        self.at = time.time()
        self.opened = self._clock()
        self.closed = 0.0

    def note(self, event: Event) -> None:
        """Take one event of the stream."""
        kind = type(event)
        if kind is TextDelta or kind is ReasoningDelta or kind is ToolCallDelta:
            now = self._clock()
            if self.first is None:
                self.first = now
            else:
                gap = now - self.last
                self.gap_sum += gap
                self.pause = max(self.pause, gap)
                self.gaps[bisect_left(INTER_TOKEN_BUCKETS, gap)] += 1
            self.last = now
        elif isinstance(event, Started):
            self.queue, self.load = event.queue, event.load
        elif isinstance(event, Finished):
            self.usage, self.timings = event.usage, event.timings

    def by(self, launch: Launch) -> None:
        """It is answered by a worker that was started so."""
        self.engine, self.variant, self.build = launch.engine, launch.variant, launch.build

    def close(self, error: BaseException | None = None) -> None:
        """End the entry, once; ``error`` None is success."""
        if self.outcome is not None:
            return
        self.closed = self._clock()
        self.outcome = "ok" if error is None else outcome_of(error)
        self.error = error if isinstance(error, InhouseError) else None
        self._sink(self)

    @property
    def seconds(self) -> float:
        """End to end, in seconds."""
        return (self.closed or self._clock()) - self.opened

    @property
    def ttft(self) -> float | None:
        """Time to first token in seconds, from arrival."""
        return None if self.first is None else self.first - self.opened
