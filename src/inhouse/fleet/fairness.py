"""Who is next inside one model: tenants in turn, each tenant's requests in order. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .messages import Ticket


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request in line since ``since``; it wants ``weight`` slots."""

    ticket: Ticket
    tenant: str
    since: float
    weight: int
    keep_alive: float | None = None
    priority: int = 0


class FairQueue:
    """Round-robin over tenants. The head stays the head until it is served, so no weight starves."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[Ticket, Waiting]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Waiting]:
        for line in self._lines.values():
            yield from line.values()

    def push(self, item: Waiting) -> None:
        self._lines.setdefault(item.tenant, {})[item.ticket] = item
        self._size += 1

    def remove(self, item: Waiting) -> None:
        """Take one out, wherever it stands; its tenant keeps the turn."""
        line = self._lines[item.tenant]
        del line[item.ticket]
        self._size -= 1
        if not line:
            del self._lines[item.tenant]

    def head(self, until: float = math.inf) -> Waiting | None:
        """The next one to serve among those in line since ``until`` or earlier."""
        for line in self._lines.values():
            first = next(iter(line.values()))
            if first.since <= until:
                return first
        return None

    def serve(self, item: Waiting) -> None:
        """Take out the head; its tenant goes to the end of the round."""
        self.remove(item)
        line = self._lines.pop(item.tenant, None)
        if line is not None:
            self._lines[item.tenant] = line

    def oldest(self) -> Waiting | None:
        """The one in line for longest, of any tenant."""
        heads = (next(iter(line.values())) for line in self._lines.values())
        return min(heads, key=lambda item: item.since, default=None)

    def count(self, tenant: str) -> int:
        return len(self._lines.get(tenant, ()))

    def newest(self, tenant: str) -> Waiting | None:
        """The last one in a tenant's line."""
        line = self._lines.get(tenant)
        return next(reversed(line.values())) if line else None

    def tenants(self) -> Iterator[str]:
        return iter(self._lines)


def crowded_out(queues: list[FairQueue], tenant: str) -> Waiting | None:
    """Whom to refuse so that ``tenant`` finds room in a full house: the newest request of the tenant
    with the most in line, if that one would still have at least as many as the newcomer; else nobody.
    """
    counts: dict[str, int] = {}
    for queue in queues:
        for name in queue.tenants():
            counts[name] = counts.get(name, 0) + queue.count(name)
    if not counts:
        return None
    greedy = max(counts, key=lambda name: counts[name])
    if counts[greedy] <= counts.get(tenant, 0) + 1:
        return None
    last = [item for queue in queues if (item := queue.newest(greedy)) is not None]
    return max(last, key=lambda item: item.since)
