"""Who is next inside one model: tenants by what they had, of each the urgent first. Pure.

Tenants take turns by their accounts (deficit round robin over tokens of work). Requests of one rank stand
in one lane; what a tenant calls urgent goes before its own others, and before other tenants' only in the
order of one round: anybody may say so, hence it can buy no turn. What gives way (the lowest rank) is
served when nothing else waits. Who waits rises by a rank every ``RISE`` seconds, up to the highest.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from .accounts import Accounts
from .crowd import Crowd, Waiting
from .messages import Ticket

LOWEST: Final = -1
USUAL: Final = 0
HIGHEST: Final = 1
RISE: Final = 30.0

_TURNS: Final = ((HIGHEST, USUAL), (LOWEST,))
"""Ranks that share one round of turns, the first round before the second."""


class Lane:
    """A round of tenants. The head stays the head until it is served, so no weight starves;
    only one of the same tenant that waits for longer, having risen, may step before it."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[Ticket, Waiting]] = {}
        self._mixed: set[str] = set()  # tenants into whose line somebody rose who is older than its last

    def __iter__(self) -> Iterator[Waiting]:
        for line in self._lines.values():
            yield from line.values()

    def push(self, item: Waiting) -> None:
        """Put one in its tenant's line, which is in the order of arrival."""
        line = self._lines.setdefault(item.tenant, {})
        if line and next(reversed(line.values())).since > item.since:
            self._mixed.add(item.tenant)
        line[item.ticket] = item

    def remove(self, item: Waiting) -> None:
        """Take one out, wherever it stands; its tenant keeps the turn."""
        line = self._lines[item.tenant]
        del line[item.ticket]
        if not line:
            del self._lines[item.tenant]

    def serve(self, item: Waiting) -> None:
        """Take out the head; its tenant goes to the end of the round."""
        self.remove(item)
        line = self._lines.pop(item.tenant, None)
        if line is not None:
            self._lines[item.tenant] = line

    def heads(self) -> Iterator[Waiting]:
        """The first of each tenant, in the order of their turns."""
        while self._mixed:
            if line := self._lines.get(tenant := self._mixed.pop()):
                ordered = sorted(line.values(), key=lambda one: one.since)
                self._lines[tenant] = {one.ticket: one for one in ordered}
        return (next(iter(line.values())) for line in self._lines.values())

    def first(self, tenant: str) -> Waiting:
        """The first of a tenant among the heads."""
        return next(iter(self._lines[tenant].values()))


class FairQueue:
    """Lanes by rank, with one account for each tenant. Times are those of the events; a call never goes
    back in time."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.crowd = Crowd()
        self._lanes = {rank: Lane() for rank in range(HIGHEST, LOWEST - 1, -1)}
        self._ranks: dict[Ticket, int] = {}
        self._rises: list[tuple[float, int, Waiting]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._ranks)

    def __iter__(self) -> Iterator[Waiting]:
        for lane in self._lanes.values():
            yield from lane

    def push(self, item: Waiting) -> None:
        """Put one in line, at the rank of its priority."""
        self.crowd.add(item)
        self._enter(item, min(HIGHEST, max(LOWEST, item.priority)), item.since)

    def remove(self, item: Waiting) -> None:
        """Take one out, wherever it stands; its tenant keeps the turn."""
        self._lanes[self._forget(item)].remove(item)

    def head(
        self, now: float, until: float = math.inf, blocked: Collection[str] = frozenset()
    ) -> Waiting | None:
        """The next one to serve among those in line since ``until`` or earlier, of no ``blocked`` tenant."""
        self._rise(now)
        for ranks in _TURNS:
            where: dict[str, Lane] = {}
            tenants = self._heads([self._lanes[rank] for rank in ranks], where, until, blocked)
            if (tenant := self.accounts.next(tenants)) is not None:
                return where[tenant].first(tenant)
        return None

    @staticmethod
    def _heads(
        lanes: list[Lane], where: dict[str, Lane], until: float, blocked: Collection[str]
    ) -> Iterator[str]:
        """Tenants in the order of their turns; ``where`` then tells the highest lane of each."""
        for lane in lanes:
            for first in lane.heads():
                tenant = first.tenant
                if first.since <= until and tenant not in blocked and tenant not in where:
                    where[tenant] = lane
                    yield tenant

    def serve(self, item: Waiting) -> None:
        """Take out the head; its tenant is charged and goes to the end of its round."""
        self._lanes[self._forget(item)].serve(item)
        self.accounts.charge(item.tenant, item.work)

    def oldest(self) -> Waiting | None:
        """The one in line for longest, of any tenant and rank."""
        heads = (head for lane in self._lanes.values() for head in lane.heads())
        return min(heads, key=lambda item: item.since, default=None)

    def _enter(self, item: Waiting, rank: int, since: float) -> None:
        """Into a lane; ``since``: when its time in it begins to count."""
        self._lanes[rank].push(item)
        self._ranks[item.ticket] = rank
        if rank < HIGHEST:
            heapq.heappush(self._rises, (since + RISE, next(self._order), item))

    def _forget(self, item: Waiting) -> int:
        """The rank it had. What is left of those who went is swept out once it is most of the heap."""
        rank = self._ranks.pop(item.ticket)
        self.crowd.remove(item)
        if len(self._rises) > 2 * len(self._ranks) + 16:
            self._rises = [rise for rise in self._rises if rise[2].ticket in self._ranks]
            heapq.heapify(self._rises)
        return rank

    def _rise(self, now: float) -> None:
        while self._rises and self._rises[0][0] <= now:
            due, _, item = heapq.heappop(self._rises)
            if item.ticket not in self._ranks:
                continue  # served or gone
            rank = self._ranks[item.ticket]
            self._lanes[rank].remove(item)
            self._enter(item, rank + 1, due)


def crowded_out(queues: Iterable[FairQueue], tenant: str, priority: int) -> Waiting | None:
    """Whom to refuse so that a newcomer of ``tenant`` finds room in a full house; None: itself.

    Only those of the lowest priority are looked at, however long they wait; urgent ones count as usual
    here. The newest request of the tenant with the most of them goes if the newcomer does not give way as
    they do; among equals only if that tenant would still have at least as many as the newcomer's.
    """
    priority = min(USUAL, priority)
    crowds = [queue.crowd for queue in queues]
    lowest = min((one.lowest for one in crowds if one.lowest is not None), default=priority + 1)
    if lowest > priority:
        return None
    counts: Counter[str] = Counter()
    for crowd in crowds:
        counts.update(crowd.counts(lowest))
    greedy = max(counts, key=lambda name: counts[name])
    if lowest == priority and counts[greedy] <= counts[tenant] + 1:
        return None
    newest = (item for crowd in crowds if (item := crowd.newest(greedy, lowest)) is not None)
    return max(newest, key=lambda item: item.since)


__all__ = ["HIGHEST", "LOWEST", "RISE", "FairQueue", "Lane", "Waiting", "crowded_out"]
