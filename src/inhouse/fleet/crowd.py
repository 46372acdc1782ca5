"""How many stand in a line, by tenant and priority, without walking along it. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .messages import Ticket


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request in line since ``since``; it wants ``weight`` slots for about ``work`` tokens. ``deadline``:
    when it is of no use any more."""

    ticket: Ticket
    tenant: str
    since: float
    weight: int
    keep_alive: float | None = None
    priority: int = 0
    work: int = 1
    deadline: float = math.inf


def _class(item: Waiting) -> int:
    """Its priority, but that nobody keeps a place by calling himself urgent."""
    return min(0, item.priority)


class Crowd:
    """Everyone in one line, by priorities up to 0. No call takes longer the more they are; ``counts`` does,
    the more tenants."""

    def __init__(self) -> None:
        self._members: dict[int, dict[str, dict[Ticket, Waiting]]] = {}
        self._work: Counter[str] = Counter()
        self._total = 0

    def add(self, item: Waiting) -> None:
        """One more, who came after all the others."""
        self._members.setdefault(_class(item), {}).setdefault(item.tenant, {})[item.ticket] = item
        self._work[item.tenant] += item.work
        self._total += item.work

    def remove(self, item: Waiting) -> None:
        """One less."""
        tenants = self._members[_class(item)]
        del tenants[item.tenant][item.ticket]
        if not tenants[item.tenant]:
            del tenants[item.tenant]
        if not tenants:
            del self._members[_class(item)]
        self._total -= item.work
        self._work[item.tenant] -= item.work
        if not self._work[item.tenant]:
            del self._work[item.tenant]

    def work(self, tenant: str | None = None) -> int:
        """Tokens that are waited for, by all or by one tenant."""
        return self._total if tenant is None else self._work.get(tenant, 0)

    def count(self, tenant: str) -> int:
        """Requests of one tenant."""
        return sum(len(tenants.get(tenant, ())) for tenants in self._members.values())

    @property
    def lowest(self) -> int | None:
        """The least priority that anybody has; None if nobody is there."""
        return min(self._members, default=None)

    def counts(self, priority: int) -> Mapping[str, int]:
        """Requests of that priority, by tenant."""
        return {name: len(items) for name, items in self._members.get(priority, {}).items()}

    def newest(self, tenant: str, priority: int) -> Waiting | None:
        """Who of them came last."""
        items = self._members.get(priority, {}).get(tenant)
        return next(reversed(items.values())) if items else None
