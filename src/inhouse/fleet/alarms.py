"""When those in line run out of time. Pure."""

from __future__ import annotations

import heapq
import itertools
import math

from .messages import Ticket


class Alarms:
    """One alarm for each ticket, in seconds of the events' clock. Dropping one is lazy."""

    def __init__(self) -> None:
        self._times: dict[Ticket, float] = {}
        self._heap: list[tuple[float, int, Ticket]] = []
        self._order = itertools.count()

    def set(self, ticket: Ticket, when: float) -> None:
        """``when`` may be ``inf``: never. The ticket's earlier alarm is forgotten."""
        self._times[ticket] = when
        if when < math.inf:
            heapq.heappush(self._heap, (when, next(self._order), ticket))

    def drop(self, ticket: Ticket) -> None:
        """The ticket left the line."""
        self._times.pop(ticket, None)
        if len(self._heap) > 2 * len(self._times) + 16:
            self._heap = [one for one in self._heap if self._times.get(one[2]) == one[0]]
            heapq.heapify(self._heap)

    def next(self) -> float:
        """The first alarm; ``inf`` if there is none."""
        while self._heap and self._times.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def due(self, now: float) -> list[Ticket]:
        """Those whose time is over, the first one first. They have no alarm any more."""
        out = []
        while self.next() <= now:
            ticket = heapq.heappop(self._heap)[2]
            del self._times[ticket]
            out.append(ticket)
        return out
